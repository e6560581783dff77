"""One comparison: what is run, in turns, and what a reader needs to judge its seconds."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

OURS, REFERENCE = "ours", "reference-like"


@dataclass(frozen=True)
class Asked:
    """What was asked for. `kind` says of what: see `reached`."""

    kind: str
    value: float


@dataclass(frozen=True)
class Row:
    """Seconds of each way, repeat by repeat: `seconds` {"reference-like" or what stands in its place: [...], "ours"}.

    amount, unit: how much each run did, such as 32 pairs. work: what cannot be left out, in FLOPs or bytes, and the
    `floor` (a name of `floor.measure`) that it is held against; 0 where nobody can count it.
    """

    name: str
    seconds: Mapping[str, list[float]]
    amount: float
    unit: str
    asked: Asked | None = None
    work: float = 0.0
    floor: str = ""
    note: str = ""


def in_turns(ways: Mapping[str, Callable[[], object]], repeats: int, warm: bool = False) -> dict[str, list[float]]:
    """Seconds of every run: a, b, a, b, ..., so that what else the machine does meets all of them alike.

    Each way runs once before, for caches and first-time set-up, unless it is `warm` already.
    """
    for run in () if warm else ways.values():
        run()
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, run in ways.items():
            start = time.perf_counter()
            run()
            taken[name].append(time.perf_counter() - start)
    return taken


def median(seconds: list[float]) -> float:
    return statistics.median(seconds)


def ratios(row: Row) -> list[float]:
    """How many times as long the other way took, turn by turn; empty where ours stands alone."""
    other = next((name for name in row.seconds if name != OURS), None)
    return [a / b for a, b in zip(row.seconds[other], row.seconds[OURS], strict=True)] if other else []


def reached(row: Row) -> float | None:
    """The number that `asked` speaks of, from the medians.

    ratio: other / ours; seconds: ours; rate: amount a second; share: ours / other; more: ours - other, in seconds.
    """
    if row.asked is None:
        return None
    mine = median(row.seconds[OURS])
    if row.asked.kind == "ratio":
        return median(ratios(row))
    if row.asked.kind == "rate":
        return row.amount / mine
    others = [median(seconds) for name, seconds in row.seconds.items() if name != OURS]
    return {"seconds": lambda: mine, "share": lambda: mine / others[0], "more": lambda: mine - others[0]}[
        row.asked.kind
    ]()


def holds(row: Row) -> bool | None:
    """Was it reached? At least for ratio and rate, at most for the others."""
    if row.asked is None:
        return None
    found = reached(row)
    return found >= row.asked.value if row.asked.kind in ("ratio", "rate") else found <= row.asked.value


def expect_equal(name: str, ours: object, other: object, tolerance: float) -> None:
    """AssertionError unless both hold the same numbers, up to `tolerance` of the largest: nothing unequal is timed."""
    ours, other = np.asarray(ours, dtype=float), np.asarray(other, dtype=float)
    if ours.shape != other.shape:
        raise AssertionError(f"{name}: ours has shape {ours.shape}, the other way {other.shape}")
    off = float(np.abs(ours - other).max(initial=0)) / max(float(np.abs(other).max(initial=0)), 1e-30)
    if not off <= tolerance:
        raise AssertionError(f"{name}: differ by {off:.2g} of the largest, expected at most {tolerance:g}")
