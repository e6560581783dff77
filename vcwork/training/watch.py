"""Looking on while training runs, and ending it between two updates: `Watcher`, `interrupts`, `Stopped`.

An interrupt (Ctrl-C, the stop button of a notebook, SIGTERM) that comes in the middle of an update would leave half of
it; so it is remembered, the update ends, the state is kept, and then `Stopped` is raised. A second one is not waited
for.
Known gaps: only where signals can be taken over (the main thread) and in one process; under torchrun an interrupt ends
all ranks at once, and processes that decode frames are interrupted with the rest. Such a run goes on from the last
state that was kept.
"""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class Stopped(KeyboardInterrupt):
    """Training was asked to end and has kept its state. Notebooks show the message without a stack trace."""

    def _render_traceback_(self) -> list[str]:
        return [str(self)]


class Watcher:
    """What looks on: called with each record, and told the rest. Every method may be left as it is."""

    def began(self, total: int, log: Path | None) -> None:
        """`total` updates of the whole run; `log`: its log.jsonl, whose earlier lines were written before this call."""

    def __call__(self, record: Any) -> None:
        """What one update did."""

    def validated(self, epoch: int, step: int, numbers: dict[str, float]) -> None:
        """The validation numbers after an epoch; `step`: its last update."""

    def ended(self, told: str) -> None:
        """How it ended, in a sentence."""


class _Function(Watcher):
    def __init__(self, act: Callable[[Any], None]) -> None:
        self.act = act

    def __call__(self, record: Any) -> None:
        self.act(record)


Watch = Watcher | Callable[[Any], None]


def as_watcher(watch: Watch | None) -> Watcher:
    """The watcher itself, or one that hands each record to a function, or one that does nothing."""
    if isinstance(watch, Watcher):
        return watch
    return Watcher() if watch is None else _Function(watch)


@contextmanager
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
