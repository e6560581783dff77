"""What the tasks share: which seconds an interval covers, and making a Result from per-item or per-video counts."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from types import MappingProxyType

import numpy as np

from vcwork.base.errors import VcworkError
from vcwork.measure.card import Card
from vcwork.measure.intervals import bootstrap_by_video, bootstrap_ratio, paired_ratios, sum_by_video
from vcwork.measure.metrics import seconds_of
from vcwork.measure.result import Result

Intervals = Iterable[tuple[float, float]]


def inside(intervals: Intervals, n_seconds: int) -> np.ndarray:
    """Is each second touched by one of the intervals? (T,) bool."""
    out = np.zeros(n_seconds, dtype=bool)
    for start_s, end_s in intervals:
        out[seconds_of(start_s, end_s, n_seconds)] = True
    return out


def mean_result(
    name: str, per_item: np.ndarray, videos: Sequence, chance: float, protocol: Card, *, n_boot: int = 1000,
    seed: int = 0, beside: Mapping[str, np.ndarray] = MappingProxyType({}), **more,
) -> Result:  # fmt: skip
    """Mean of per_item (N,) with its interval over videos (N,); beside: the same items by each predictor.

    n_boot, seed: of the videos drawn again. Each task's `evaluate` hands on what it is given of these as `draws`.
    """
    low, high = bootstrap_by_video(per_item, videos, n_boot, seed)
    known = {key: float(np.mean(each)) for key, each in beside.items()} | more.pop("trivial", {})
    result = Result(name, float(np.mean(per_item)), low, high, chance, protocol, len(per_item), known, **more)
    count = sum_by_video(np.ones(len(per_item)), videos)
    parts = {key: (sum_by_video(each, videos), count) for key, each in {"": per_item, **beside}.items()}
    return _compared(result, parts, n_boot, seed)


def ratio_result(
    name: str, hits: np.ndarray, totals: np.ndarray, chance: float, protocol: Card, *, n_boot: int = 1000,
    seed: int = 0, beside: Mapping[str, tuple[np.ndarray, np.ndarray]] = MappingProxyType({}), **more,
) -> Result:  # fmt: skip
    """Sum of hits / sum of totals, averaged over groups that occur; hits, totals (V,) or (V, G) per video.

    beside: each predictor's own hits and totals of the same videos.
    """
    low, high = bootstrap_ratio(hits, totals, n_boot, seed)
    known = {key: group_mean(*each) for key, each in beside.items()} | more.pop("trivial", {})
    n = max(1, round(float(np.sum(totals))))
    result = Result(name, group_mean(hits, totals), low, high, chance, protocol, n, known, **more)
    return _compared(result, {"": (hits, totals), **beside}, n_boot, seed)


def _compared(result: Result, parts: Mapping[str, tuple[np.ndarray, np.ndarray]], n_boot: int, seed: int) -> Result:
    """With `times_chance` in extra; and `over`, the paired difference to the strongest opponent among the parts."""
    if result.chance > 0:
        result.extra["times_chance"] = result.value / result.chance
    best = result.best_trivial[0]
    if best in parts:
        result.extra["over"] = {"opponent": best, **asdict(paired_ratios(parts[""], parts[best], n_boot, seed))}
    return result


def group_mean(hits: np.ndarray, totals: np.ndarray) -> float:
    """Mean over groups of hits / totals; groups without any total are left out; 0 where none is left."""
    hits, totals = np.atleast_1d(np.sum(hits, axis=0)), np.atleast_1d(np.sum(totals, axis=0))
    return float(np.mean(hits[totals > 0] / totals[totals > 0])) if (totals > 0).any() else 0.0


def check_lengths(**arrays: Sequence) -> int:
    """All of one length, and not empty; raises VcworkError naming each length. Returns it."""
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) != 1 or 0 in lengths.values():
        raise VcworkError(f"expected arrays of one length, not empty, got {lengths}")
    return next(iter(lengths.values()))
