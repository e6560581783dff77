"""What a process holds: memory of its own, threads, open files, children; and whether that stays flat over many units.

Linux alone: elsewhere nobody tells how much of a process's memory is its own.
Known gap: what a library keeps for the next call (arenas, thread pools, caches with a limit) looks like a leak until it
is full; the first third of a soak is not judged.
"""

import ctypes
import gc
import statistics
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

MARKS = 12  # looks at a process over one soak, at most
ROOM = {"memory_mb": 1.5, "threads": 1, "files": 2, "children": 0}  # to grow by: an arena more, what is just closing
A_UNIT_KB = 8.0  # of memory, besides, for each unit: a small store that stays open takes 6.5


@dataclass(frozen=True)
class Held:
    """One look: anonymous memory in MB, threads, open files before the garbage collector came, children."""

    memory_mb: float
    threads: int
    files: int
    children: int


def look() -> Held:
    """What this process holds now."""
    me = psutil.Process()
    files = me.num_fds()  # a file that only the collector closes is one too many
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what is free counts as free
    return Held(own_mb(), me.num_threads(), files, len(me.children(recursive=True)))


def own_mb() -> float:
    """Anonymous memory of this process; what is mapped from files is the system's to take back."""
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith("RssAnon")) / 1024


class Highest:
    """`mb`: the most that this process held while the block ran, above what it held before."""

    def __enter__(self) -> "Highest":
        self.before, self.mb, self.done = look().memory_mb, 0.0, threading.Event()
        self.thread = threading.Thread(target=self._watch)
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.done.set()
        self.thread.join()

    def _watch(self) -> None:
        while not self.done.wait(0.01):
            self.mb = max(self.mb, own_mb() - self.before)


def soak(load: Callable[[Callable[[], None]], None], units: int) -> dict:
    """Run a load, which calls what it is given after each of its `units`: what it holds at up to `MARKS` moments.

    {"units", "looks", "grown": what each kind grew by from the first third to the end, "faults": sentences}
    """
    looks, done, marks = [look()], 0, min(MARKS, units)

    def tick() -> None:
        nonlocal done
        done += 1
        if done * marks // units > (done - 1) * marks // units:
            looks.append(look())

    load(tick)
    assert done == units, f"{done} units of {units}"
    grown = {kind: _grown([asdict(each)[kind] for each in looks]) for kind in asdict(looks[0])}
    return {"units": units, "looks": [asdict(each) for each in looks], "grown": grown, "faults": faults(grown, units)}


def faults(grown: dict[str, float], units: int) -> list[str]:
    """What grew by more than its room."""
    judged = units * 2 / 3
    room = ROOM | {"memory_mb": ROOM["memory_mb"] + judged * A_UNIT_KB / 1024}
    return [f"{kind} grew by {by:.4g} over {judged:.0f} units" for kind, by in grown.items() if by > room[kind]]


def _grown(values: list[float]) -> float:
    """From the middle of the three values behind the first third to the middle of the last three."""
    third = len(values) // 3
    return statistics.median(values[-3:]) - statistics.median(values[third : third + 3])
