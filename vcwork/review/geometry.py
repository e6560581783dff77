"""The vectors behind the scores: hubs, the gap between the two modalities, lengths that act as a bias.

Scores (Q, N), rows are queries; vectors (N, D), row i of video and text a pair.
Gap: these describe a space, they do not say what a different one would score.
"""

from dataclasses import dataclass

import numpy as np

from vcwork.base.errors import VcworkError
from vcwork.measure.metrics import check_scores, unit


@dataclass(frozen=True)
class Hubness:
    """How often each item is among the k best of a query: counts (N,), their skewness, the share with none, the top.

    skew: third standardised moment of the counts, about 0 where all items are found alike, large where a few are found
    by everyone. top: (item, count), most found first.
    """

    k: int
    counts: np.ndarray
    skew: float
    never: float
    top: list[tuple[int, float]]


def hubness(scores: np.ndarray, k: int = 10, top: int = 5) -> Hubness:
    """k-occurrences of the N items over the Q queries; items tied for the last of the k places share what is left.

    Counts sum to Q * k. Source: Radovanovic et al., Hubs in Space (JMLR 2010).
    """
    scores = check_scores(scores)
    if not 1 <= k <= scores.shape[1]:
        raise VcworkError(f"hubness: expected k from 1 to {scores.shape[1]} items, got {k}")
    last = np.partition(scores, -k, axis=1)[:, -k][:, None]  # (Q, 1) the k-th best score
    above, equal = scores > last, scores == last
    left = (k - above.sum(1, keepdims=True)) / equal.sum(1, keepdims=True)
    counts = (above + equal * left).sum(0)  # (N,)
    best = np.argsort(-counts, kind="stable")[:top]
    return Hubness(k, counts, skewness(counts), float((counts == 0).mean()), [(int(i), float(counts[i])) for i in best])


def skewness(values: np.ndarray) -> float:
    """Third central moment over the standard deviation cubed; 0 where all values are equal."""
    from scipy import stats  # a second and more to import

    return 0.0 if np.std(values) <= 1e-12 else float(stats.skew(np.asarray(values, dtype=float)))


@dataclass(frozen=True)
class Gap:
    """Where the two modalities lie: the length from the texts' centre to the videos', and cosines.

    spread: root mean square distance of the videos from their centre, what the length is to be read against.
    Mean cosines of two different videos, two different texts, the pairs, and a video with a text not its own.
    """

    length: float
    spread: float
    within_video: float
    within_text: float
    pairs: float
    across: float


def modality_gap(video: np.ndarray, text: np.ndarray) -> Gap:
    """Gap between paired vectors video (N, D) and text (N, D), N >= 2.

    Source: Liang et al., Mind the Gap (NeurIPS 2022); departs: vectors are not scaled to length 1 first, since
    VideoCLIP scores raw dot products; cosines are.
    """
    video, text = (check_scores(v, name).astype(float) for v, name in ((video, "video"), (text, "text")))
    if video.shape != text.shape or len(video) < 2:
        raise VcworkError(f"modality gap: expected pairs (N, D), N >= 2, got {video.shape} and {text.shape}")
    vector, n, (u, v) = video.mean(0) - text.mean(0), len(video), map(unit, (video, text))
    pairs, all_of_it = (u * v).sum(1).mean(), u.sum(0) @ v.sum(0)
    return Gap(
        float(np.linalg.norm(vector)), float(np.sqrt(((video - video.mean(0)) ** 2).sum(1).mean())),
        _off_diagonal(u), _off_diagonal(v), float(pairs), float((all_of_it - n * pairs) / (n * (n - 1))),
    )  # fmt: skip


def _off_diagonal(u: np.ndarray) -> float:
    """Mean dot product of two different rows."""
    total = u.sum(0)
    return float((total @ total - (u * u).sum()) / (len(u) * (len(u) - 1)))


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's correlation of two sequences (N,), ties at their mean rank; 0 where one of them is constant.

    Lengths of the clips' vectors against how often they are found: raw dot products favour long vectors.
    """
    from scipy import stats

    a, b = (check_scores(x, "values", 1) for x in (a, b))
    if a.shape != b.shape:
        raise VcworkError(f"rank correlation: expected two of one length, got {a.shape} and {b.shape}")
    if not np.ptp(a) or not np.ptp(b):
        return 0.0
    return float(stats.spearmanr(a, b).statistic)


def centred_units(vectors: np.ndarray) -> np.ndarray:
    """Vectors (N, D) less their common mean, scaled to length 1, so that dot products are cosines of what differs."""
    return unit(vectors - vectors.mean(0))
