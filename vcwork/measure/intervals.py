"""How sure is a number: intervals over videos, paired tests of two systems, and the t interval over seeds.

Items of one video (clips, seconds, queries) are not independent, so whole videos are drawn again, or change sides.
Every bootstrap of one seed and number of videos uses the same draws, so that differences stay paired.
A paper gives a share and a number of queries, and nothing else: `wilson`, `half_width` and `unpaired_z` know the spread
of that *one* test set; they take clips of a video as independent (too narrow) and two systems as tested on different
queries (too wide for a difference).
Gap: the intervals speak of another sample of videos with the gallery as it is, not of another training run.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist

import numpy as np
from scipy.special import stdtrit

from vcwork.base.errors import VcworkError
from vcwork.measure.card import Card, one_split

ALPHA = (1 - 0.95) / 2  # beyond either end of every interval here


def bootstrap_by_video(
    per_item: np.ndarray, video_ids: Sequence, n_boot: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """Interval of the mean of `per_item` (N,) when whole videos are drawn again; video_ids (N,) -> (low, high).

    Cluster bootstrap, percentile, widened for few videos (see `bootstrap_ratio`). Where every item is 0, or every
    item 1, resampling sees no spread: then the open end is the exact binomial bound for that many videos. Where all
    videos have one and the same share, it sees none either: then it is Wilson's interval for that many videos.
    Raises VcworkError on NaN, unequal lengths, or fewer than two videos.
    """
    per_item = np.asarray(per_item, dtype=float)
    hits, totals = sum_by_video(per_item, video_ids), sum_by_video(np.ones(len(per_item)), video_ids)
    return bootstrap_ratio(hits, totals, n_boot, seed)


def bootstrap_ratio(hits: np.ndarray, totals: np.ndarray, n_boot: int = 1000, seed: int = 0) -> tuple[float, float]:
    """Interval of (sum of hits / sum of totals), averaged over groups; hits, totals (V,) or (V, G) per video.

    Groups are classes or tasks; one that a draw does not contain is left out of that draw's mean.
    Percentile levels are moved out by the t quantile and sqrt(V / (V - 1)), because the bare percentile interval is
    too narrow for few videos. Source: Hesterberg, What Teachers Should Know About the Bootstrap (2015), section 3.
    """
    hits, totals = (np.asarray(a, dtype=float).reshape(len(a), -1) for a in (hits, totals))
    if hits.shape != totals.shape or not (np.isfinite(hits).all() and np.isfinite(totals).all()):
        came = f"got {hits.shape} and {totals.shape}"
        raise VcworkError(f"expected hits and totals of one shape without NaN or infinity, {came}")
    exact = ALPHA ** (1 / len(hits))
    if not hits.any():
        return 0.0, 1 - exact
    if np.array_equal(hits, totals):
        return exact, 1.0
    if hits.shape[1] == 1 and totals.all() and np.ptp(hits / totals) < 1e-12:
        return wilson(float(hits.sum() / totals.sum()), len(hits))
    means = _mean_ratios(_draws(len(hits), n_boot, seed), hits, totals)
    return _ends(means[np.isfinite(means)], len(hits))


def _mean_ratios(draws: np.ndarray, hits: np.ndarray, totals: np.ndarray) -> np.ndarray:
    """Of each draw (n_boot, V) the mean over groups of hits / totals, (V, G) -> (n_boot,); NaN where none occurs."""
    with np.errstate(invalid="ignore", divide="ignore"):
        ratios = (draws @ hits) / (draws @ totals)  # (n_boot, G)
        seen = np.isfinite(ratios)
        return np.where(seen, ratios, 0).sum(1) / np.where(seen.any(1), seen.sum(1), np.nan)


def bootstrap_median(
    per_item: np.ndarray, video_ids: Sequence, n_boot: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """Interval of the median of `per_item` (N,) when whole videos are drawn again; as `bootstrap_by_video`."""
    per_item, (n_videos, video) = np.asarray(per_item, dtype=float), _clusters(per_item, video_ids)
    values, at = np.unique(per_item, return_inverse=True)
    counts = np.zeros((n_videos, len(values)))
    np.add.at(counts, (video, at), 1)
    return bootstrap_median_counts(counts, values, n_boot, seed)


def bootstrap_median_counts(
    counts: np.ndarray, values: np.ndarray, n_boot: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """The same from counts (V, U), how often each video has each of the sorted values (U,)."""
    weights = (_draws(len(counts), n_boot, seed) @ counts).cumsum(1)  # (n_boot, U)
    half = weights[:, -1:] / 2
    lower, upper = (weights >= half).argmax(1), (weights > half).argmax(1)
    return _ends((values[lower] + values[upper]) / 2, len(counts))


def sum_by_video(values: np.ndarray, video_ids: Sequence) -> np.ndarray:
    """Sums of values (N,) or (N, G) over the items of each video, videos in sorted order -> (V,) or (V, G)."""
    values, (n_videos, video) = np.asarray(values, dtype=float), _clusters(values, video_ids)
    out = np.zeros((n_videos, *values.shape[1:]))
    np.add.at(out, video, values)
    return out


@dataclass(frozen=True)
class Comparison:
    """Mean difference a - b with its 95 % interval over videos, and a two-sided bootstrap p-value."""

    difference: float
    low: float
    high: float
    p: float

    @property
    def clear(self) -> bool:
        """Does the interval exclude no difference?"""
        return self.low > 0 or self.high < 0


def paired_bootstrap(
    a: np.ndarray, b: np.ndarray, video_ids: Sequence, n_boot: int = 2000, seed: int = 0, cards: Sequence[Card] = ()
) -> Comparison:
    """Compare two systems on the same items: per-item scores a, b (N,), videos drawn again together.

    Sharper than two separate intervals, because hard items are hard for both. cards: the two protocols, where they are
    known; VcworkError names both splits where they differ.
    """
    gains = _gains(a, b, video_ids, cards)
    counts = sum_by_video(np.ones(len(a)), video_ids)
    if not gains.any():
        return Comparison(0.0, 0.0, 0.0, 1.0)
    draws = _draws(len(gains), n_boot, seed)
    return _comparison(float(np.subtract(a, b, dtype=float).mean()), (draws @ gains) / (draws @ counts), len(gains))


def paired_ratios(
    a: tuple[np.ndarray, np.ndarray], b: tuple[np.ndarray, np.ndarray], n_boot: int = 1000, seed: int = 0
) -> Comparison:
    """The same of two ratios as `bootstrap_ratio` takes them: (hits, totals), (V,) or (V, G) per video, of the same V
    videos. A system that never claims anything has ratio 0."""
    a, b = ([np.asarray(part, dtype=float).reshape(len(part), -1) for part in each] for each in (a, b))
    draws = np.concatenate([np.ones((1, len(a[0]))), _draws(len(a[0]), n_boot, seed)])  # the videos as they are, first
    gains = np.nan_to_num(_mean_ratios(draws, *a)) - np.nan_to_num(_mean_ratios(draws, *b))
    return _comparison(float(gains[0]), gains[1:], len(a[0]))


def _comparison(value: float, differences: np.ndarray, n_videos: int) -> Comparison:
    """From the differences (n_boot,) of the draws; no p below what so many draws can tell."""
    p = 2 * min((differences <= 0).mean(), (differences >= 0).mean())
    return Comparison(value, *_ends(differences, n_videos), float(min(1.0, max(p, 2 / len(differences)))))


def _gains(a: np.ndarray, b: np.ndarray, video_ids: Sequence, cards: Sequence[Card]) -> np.ndarray:
    """Sums of a - b over the items of each video, (V,); VcworkError for other items, or another split."""
    one_split(list(cards), "paired comparison")
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    if a.shape != b.shape:
        raise VcworkError(f"expected the same items for both systems, got {a.shape} and {b.shape}")
    return sum_by_video(a - b, video_ids)


def paired_randomisation(
    a: np.ndarray, b: np.ndarray, video_ids: Sequence, n_draws: int = 10_000, seed: int = 0, cards: Sequence[Card] = ()
) -> float:
    """Two-sided p-value of "the two systems could be swapped", video by video; a, b per-item scores (N,).

    Each video's difference keeps or changes its sign: all 2^V ways up to 13 videos, else n_draws random ones, of which
    the observed one counts as one (so p is never 0). Unlike the bootstrap it needs no large sample. cards as in
    `paired_bootstrap`. Source: Smucker et al., A Comparison of Statistical Significance Tests (CIKM 2007).
    """
    gains = _gains(a, b, video_ids, cards)
    bar = abs(gains.sum()) - 1e-9 * max(1.0, np.abs(gains).sum())
    if len(gains) <= 13:
        ways = np.arange(2 ** len(gains))[:, None] >> np.arange(len(gains)) & 1
        return float((np.abs((2 * ways - 1) @ gains) >= bar).mean())
    rng, extreme = np.random.default_rng(seed), 0
    for start in range(0, n_draws, 1000):
        signs = 2.0 * rng.integers(0, 2, (min(1000, n_draws - start), len(gains))) - 1
        extreme += int((np.abs(signs @ gains) >= bar).sum())
    return (1 + extreme) / (1 + n_draws)


def _clusters(values: np.ndarray, video_ids: Sequence) -> tuple[int, np.ndarray]:
    """(V, index of each item's video); refuses NaN, unequal lengths and fewer than two videos."""
    video_ids = np.asarray(video_ids)
    if len(values) != len(video_ids) or video_ids.ndim != 1:
        raise VcworkError(f"expected one video id per item ({len(values)}), got {video_ids.shape}")
    if np.isnan(np.asarray(values, dtype=float)).any():
        raise VcworkError("per-item values hold NaN: leave out items without a value, and say how many")
    names, video = np.unique(video_ids, return_inverse=True)
    if len(names) < 2:
        raise VcworkError(f"an interval over videos needs at least 2 videos, got {len(names)}")
    return len(names), video


@lru_cache(maxsize=4)
def _draws(n_videos: int, n_boot: int, seed: int) -> np.ndarray:
    """How often each video is drawn, (n_boot, V); the same for every metric, so differences stay paired."""
    if n_boot < 1:
        raise VcworkError(f"expected at least one draw, got n_boot {n_boot}")
    rng, draws = np.random.default_rng(seed), np.empty((n_boot, n_videos))
    for row in draws:  # one at a time: of 50,000 videos all picks together would take more memory than the counts
        row[:] = np.bincount(rng.integers(0, n_videos, n_videos), minlength=n_videos)
    return draws


def _ends(values: np.ndarray, n_videos: int) -> tuple[float, float]:
    """Percentiles of the draws at a level moved out for few videos."""
    normal = NormalDist()
    z, v = normal.inv_cdf(1 - ALPHA), n_videos - 1
    t = z + (z**3 + z) / (4 * v) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * v**2)  # t quantile, Cornish-Fisher
    level = normal.cdf(-math.sqrt(n_videos / v) * t)
    low, high = np.quantile(values, [level, 1 - level])
    return float(low), float(high)


def t_half_width(values: Sequence[float]) -> float:
    """Half the t interval of the mean of these values (at least 2, independent, about normal)."""
    values = np.asarray(values, dtype=float)
    if len(values) < 2 or np.isnan(values).any():
        raise VcworkError(f"a t interval needs at least 2 numbers, got {values}")
    t = stdtrit(len(values) - 1, 1 - ALPHA)
    return float(t * values.std(ddof=1) / math.sqrt(len(values)))


# ------------------------------------------------------------------- shares that come without per-query results


def wilson(share: float, n: int) -> tuple[float, float]:
    """Wilson's interval of a share of n queries; unlike share +- `half_width` it is sound near 0 and 1."""
    _check(share, n)
    z2 = NormalDist().inv_cdf(1 - ALPHA) ** 2
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    reach = math.sqrt(z2 * share * (1 - share) / n + z2**2 / (4 * n**2)) / (1 + z2 / n)
    return max(0.0, middle - reach), min(1.0, middle + reach)


def half_width(share: float, n: int) -> float:
    """Half of the 95 % binomial interval (normal approximation) of a share of n queries: 0.227 of 3305 -> 0.0143."""
    _check(share, n)
    return NormalDist().inv_cdf(0.975) * math.sqrt(share * (1 - share) / n)


def unpaired_z(a: float, b: float, n: int) -> float:
    """z of a - b for two shares of n queries each, variances apart; within noise below 1.96."""
    _check(a, n)
    _check(b, n)
    spread = math.sqrt((a * (1 - a) + b * (1 - b)) / n)
    return (a - b) / spread if spread else math.copysign(math.inf, a - b) if a != b else 0.0


def _check(share: float, n: int) -> None:
    if not 0 <= share <= 1 or n < 1:
        raise VcworkError(f"expected a share from 0 to 1 of at least 1 query, got {share} of {n}")
