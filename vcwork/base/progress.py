"""How far a long piece of work is, in words for whoever waits: one bar for the library, both ends of its wire, and
interrupts that come when it suits the work.

In a notebook or a terminal a bar is tqdm's own. While a notebook runs headless nobody sees its output; there the bars
are a line in the file that $VCWORK_PROGRESS names, and the runner, which knows the cell, reads it (`Place`).
"""

import contextlib
import io
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from tqdm import tqdm

from vcwork.base.console import shown

WIRE = "VCWORK_PROGRESS"
EVERY_S = 0.5  # between two words
_STEERING = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")  # tqdm moves up from a bar below another one


def bar(items: Iterable | None = None, wanted: bool = True, **known: Any) -> tqdm:
    """tqdm's bar over `items`, or one to be updated; known: what tqdm takes, such as total, desc and unit.

    It shows nothing unless `wanted`; a headless run is told in any case.
    """
    if os.environ.get(WIRE):
        words = "{desc} {n_fmt} of {total_fmt}, {remaining} left"
        return _Told(items, file=io.StringIO(), bar_format=words, mininterval=EVERY_S, **known)
    from tqdm.auto import tqdm as here  # asks where it is

    return here(items, disable=not wanted, **known)


class SecondsBar:
    """How far work on films is, in seconds of them; in films, where one has no known length (0), as at an address.

    `seconds`: {film: length}; of these those in `todo` are not done yet. One counts as it is gone through, where
    whoever does so tells, and whole when it has ended, however that was.
    """

    def __init__(self, desc: str, seconds: Mapping[str, float], todo: Collection[str], wanted: bool) -> None:
        self._known = all(seconds.values())
        self._each = dict(seconds) if self._known else dict.fromkeys(seconds, 1.0)
        total, rest = sum(self._each.values()), sum(self._each[film] for film in todo)
        self._n = self._ended = total - rest
        about = {"total": round(total), "initial": round(self._n), "unit": "s" if self._known else "video"}
        self._bar = bar(None, wanted, desc=desc, **about)

    def __enter__(self) -> "SecondsBar":
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def more(self, seconds: float) -> None:
        """So many more have been gone through."""
        if self._known:
            self._show(self._n + seconds)

    def ended(self, film: str) -> None:
        self._ended += self._each[film]
        self._show(max(self._n, self._ended))

    def _show(self, n: float) -> None:
        self._n = n
        self._bar.update(max(0, min(round(n), self._bar.total) - self._bar.n))


@contextlib.contextmanager
def waiting(words: str) -> Iterator[None]:
    """On a terminal, `words` and the seconds so far, until the block has ended; a log gets nothing."""
    ended = threading.Event()
    line = tqdm(desc=words, bar_format="{desc}, {elapsed}", leave=False, disable=not sys.stderr.isatty())

    def tick() -> None:
        while not ended.wait(1):
            line.refresh()

    with line:
        clock = threading.Thread(target=tick, daemon=True)
        clock.start()
        try:
            yield
        finally:
            ended.set()
            clock.join()


class _Told(tqdm):
    """A bar whose words go over the wire, with those of the bars around it."""

    open: ClassVar[dict[int, str]] = {}  # the words of each, by the bar's id

    def display(self, *_: Any, **__: Any) -> None:
        self.open[id(self)] = str(self)
        self._tell()

    def close(self) -> None:
        super().close()
        self.open.pop(id(self), None)
        self._tell()

    def _tell(self) -> None:
        with contextlib.suppress(OSError):  # words are not worth a run
            Path(os.environ[WIRE]).write_text("; ".join(self.open.values()), encoding="utf-8")


class Place:
    """Where a headless notebook is: its cell, from papermill's bar, whose file this is, and its own bars from `wire`.

    As text: `9 of 34 cells, training 148 of 200, 00:04 left`.
    """

    def __init__(self, wire: Path) -> None:
        self.wire, self.cells = wire, ""

    def write(self, text: str) -> None:
        self.cells = _STEERING.sub("", text).strip() or self.cells

    def flush(self) -> None:
        """Nothing waits to be written."""

    def __str__(self) -> str:
        step = ""
        with contextlib.suppress(OSError, UnicodeDecodeError):  # no bar so far, or half a line
            step = self.wire.read_text(encoding="utf-8")
        return shown(", ".join(filter(None, (self.cells, step))))


@contextlib.contextmanager
def interrupts(taken: bool = True) -> Iterator[Callable[[], bool]]:
    """Inside, the first SIGINT or SIGTERM is remembered: the function given says whether it came; a second one raises.

    Nothing is taken over unless `taken`, in another thread, or where a signal has a handler other than Python's own.
    """
    came: list[int] = []

    def remember(number: int, frame: Any) -> None:
        if came:
            raise KeyboardInterrupt
        came.append(number)

    own = (signal.default_int_handler, signal.SIG_DFL)  # SIGTERM has the first where a command line asked for it
    taken &= threading.current_thread() is threading.main_thread()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    ours = {number: handler for number, handler in before.items() if taken and handler in own}
    for number in ours:
        signal.signal(number, remember)
    try:
        yield lambda: bool(came)
    finally:
        for number, handler in ours.items():
            signal.signal(number, handler)
