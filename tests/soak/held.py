"""What a process holds: memory of its own, threads, open files, children; and whether that stays flat over many units.

Linux alone: elsewhere nobody tells how much of a process's memory is its own.
Known gap: what a library keeps for the next call (arenas, thread pools, caches with a limit) looks like a leak until it
is full; the first third of a soak is not judged.
"""

import ctypes
import gc
import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

MARKS = 18  # looks at a process over one soak, at most
SLACK_MB = 1.5  # that memory may grow over the judged part, whatever its length: an arena more
A_UNIT_KB = 4.0  # and for each unit


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
    status = Path("/proc/self/status").read_text().splitlines()
    anonymous = next(int(line.split()[1]) for line in status if line.startswith("RssAnon"))
    return Held(anonymous / 1024, me.num_threads(), files, len(me.children(recursive=True)))


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
    """What grew too much: memory by more than SLACK_MB and A_UNIT_KB a unit, threads, files or children at all."""
    judged = units * 2 / 3
    room = {"memory_mb": SLACK_MB + judged * A_UNIT_KB / 1024}
    told = [f"{kind} grew by {by:.4g} over {judged:.0f} units" for kind, by in grown.items() if by > room.get(kind, 0)]
    return told


def _grown(values: list[float]) -> float:
    """From the middle of the three values behind the first third to the middle of the last three."""
    third = len(values) // 3
    return statistics.median(values[-3:]) - statistics.median(values[third : third + 3])
