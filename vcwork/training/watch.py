"""Looking on while training runs, and ending it between two updates: `Watcher`, `Stopped`.

An interrupt (Ctrl-C, the stop button of a notebook, SIGTERM) that comes in the middle of an update would leave half of
it; so it is remembered (`base.progress.interrupts`), the update ends, the state is kept, and then `Stopped` is raised.
A second one is not waited for.
Known gaps: only where signals can be taken over (the main thread) and in one process; under torchrun an interrupt ends
all ranks at once, and processes that decode frames are interrupted with the rest. Such a run goes on from the last
state that was kept.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vcwork.base.console import say


class Stopped(KeyboardInterrupt):
    """Training was asked to end and has kept its state. Notebooks show the message without a stack trace."""

    def _render_traceback_(self) -> list[str]:
        return [str(self)]


def tell_warm_up(warmup: int, total: int) -> None:
    """Say that a run of `total` updates ends within its warm-up, where it does: it may leave the model as it was."""
    if warmup >= total:
        why = f"warm-up ({warmup}) is as long as the run's updates ({total}), or longer: the rate never comes to lr"
        say(f"{why}; lower warmup, or train longer", file=sys.stderr)


def tell_batches(wanted: int, videos: int) -> None:
    """Say that there are fewer videos than a batch should have, where it is so."""
    if wanted > videos:
        say(f"videos_per_batch ({wanted}): there are {videos} to train on, so all are in every batch", file=sys.stderr)


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
