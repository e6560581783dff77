"""Metrics as pure array functions: retrieval ranks, choices, seconds with labels, segments, intervals, clusters.

Axes: `scores[q, n]`, rows are queries, higher is better. Ranks start at 1; every metric is a fraction in [0, 1].
Ties: a query's best relevant item may share its score with others. `expected` (default) is the mean over all orders
of the tied items, in closed form; `optimistic` puts the relevant one first, `pessimistic` last. A constant score
therefore gives exactly chance. NaN is refused everywhere. NumPy alone.
`reference` is the reference code's counting, wrong under ties and for comparison only: R@k and median rank where each
query has one relevant item; every other metric refuses it. Under ties it counts every position whose score equals the
relevant item's as a query of its own, so the denominator grows and R@k can be below the pessimistic policy.
Gap: a metric says nothing without chance, interval and protocol; `vcwork.measure.result` puts them beside it.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import comb

import numpy as np

from vcwork.base.errors import VcworkError

TIES = ("expected", "optimistic", "pessimistic")  # what every ranking metric takes
REFERENCE = "reference"  # what R@k and the median rank take besides
BACKGROUND = 0
Intervals = Iterable[tuple[float, float]]
BLOCK = 1 << 18  # scores looked at together: about what a cache holds


def unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors (..., D) scaled to length 1, zero ones left."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)


def check_scores(scores: np.ndarray, name: str = "scores", ndim: int = 2) -> np.ndarray:
    """The array as float32 or float64, with `ndim` axes, none of them empty; VcworkError on NaN or another shape."""
    scores = _check_numbers(scores, name, ndim)
    return scores.astype(np.result_type(scores, np.float32), copy=False)  # float16 rounds, unsigned numbers wrap


def _check_numbers(scores: np.ndarray, name: str = "scores", ndim: int = 2) -> np.ndarray:
    """`check_scores` of what is only compared, which any kind of number serves; the array as it is."""
    scores = np.asarray(scores)
    if scores.ndim != ndim or 0 in scores.shape:
        raise VcworkError(f"expected {name} with {ndim} non-empty axes, got shape {scores.shape}")
    if not np.issubdtype(scores.dtype, np.number) or np.iscomplexobj(scores):
        raise VcworkError(f"expected {name} to be real numbers, got {scores.dtype}")
    if np.isnan(scores.max()):  # NaN wins; and no matrix of flags is made
        where = tuple(int(i) for i in np.argwhere(np.isnan(scores))[0])
        raise VcworkError(f"{name} holds {int(np.isnan(scores).sum())} NaN, the first at {where}")
    return scores


def check_lengths(**arrays: Sequence) -> int:
    """All of one length, and not empty; raises VcworkError naming each length. Returns it."""
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) != 1 or 0 in lengths.values():
        raise VcworkError(f"expected arrays of one length, not empty, got {lengths}")
    return next(iter(lengths.values()))


# ------------------------------------------------------------------------------------------------- retrieval


@dataclass(frozen=True)
class Places:
    """Where each query's best relevant item stands: (Q,) counts, from which any tie rule follows.

    above: items scored strictly higher; tied: items of the same score, itself included; relevant_tied: how many
    of those are relevant; n_items: gallery size; n_relevant: relevant items in the whole gallery.
    """

    above: np.ndarray
    tied: np.ndarray
    relevant_tied: np.ndarray
    n_items: int
    n_relevant: np.ndarray

    def rank(self, ties: str = "expected") -> np.ndarray:
        """Rank of the best relevant item, (Q,) float from 1; under ties its expected value is above+(t+1)/(r+1)."""
        extra = {
            "expected": (self.tied + 1) / (self.relevant_tied + 1),
            "optimistic": np.ones(len(self.above)),
            "pessimistic": self.tied - self.relevant_tied + 1.0,
        }
        return self.above + extra[check_ties(ties)]

    def hit(self, k: int, ties: str = "expected") -> np.ndarray:
        """Is the best relevant item among the first k? (Q,) in [0, 1]; fractions only under expected ties."""
        if k < 1:
            raise VcworkError(f"expected k of at least 1, got {k}")
        if check_ties(ties) != "expected":
            return (self.rank(ties) <= k).astype(float)
        return 1 - _none_among(self.tied, self.relevant_tied, np.clip(k - self.above, 0, self.tied))

    def reciprocal(self, ties: str = "expected") -> np.ndarray:
        """1 / rank, (Q,); under ties the expected value of the reciprocal, not the reciprocal of the expectation."""
        if check_ties(ties) != "expected":
            return 1 / self.rank(ties)
        total, later = np.zeros(len(self.above)), np.ones(len(self.above))  # later: no relevant item met so far
        for j in range(int(self.tied.max())):
            miss = np.clip((self.tied - self.relevant_tied - j) / np.maximum(self.tied - j, 1), 0, 1)
            total += later * (1 - miss) / (self.above + j + 1)
            later *= miss
        return total

    def entries(self, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The reference code's counting, (Q,) each: positions among the first k, and positions in all, of a query.

        It takes every position of the relevant item's score for a query of its own. R@k is the sum of the first over
        the sum of the second, so tied queries weigh more. VcworkError unless each query has one relevant item.
        """
        if (self.n_relevant != 1).any():
            raise VcworkError("ties: the reference code's counting knows one relevant item a query; use expected")
        return np.clip(k - self.above, 0, self.tied), self.tied

    @property
    def n_ties(self) -> int:
        """Queries whose rank depends on the tie rule."""
        return int((self.tied > self.relevant_tied).sum())


def place(scores: np.ndarray, relevant: np.ndarray | None = None, out: np.ndarray | None = None) -> Places:
    """Places of the best relevant item; scores (Q, N), relevant (Q, N) bool or None for the diagonal (Q = N).

    out (Q, N) bool: items that stand behind all others of a query. Block by block of queries, so that beside the
    matrices given little is in memory. Raises VcworkError on NaN, on a
    shape mismatch, or where a query has no relevant item (naming its row).
    """
    scores = _check_numbers(scores)
    if relevant is None and scores.shape[0] != scores.shape[1]:
        raise VcworkError(f"without a relevance matrix scores must be square, got {scores.shape}")
    if relevant is not None and np.shape(relevant) != scores.shape:
        raise VcworkError(f"expected relevant {scores.shape}, got {np.shape(relevant)}")
    counts, items = np.empty((4, len(scores)), int), np.arange(scores.shape[1])
    for at in blocks(scores.shape):
        block = scores[at] if out is None else np.where(out[at], -np.inf, scores[at])
        right = items[at, None] == items if relevant is None else flags(relevant[at])  # (q, N)
        best = np.where(right, block, -np.inf).max(1, keepdims=True)  # (q, 1)
        same = block == best  # (q, N)
        counts[:, at] = (block > best).sum(1), same.sum(1), (same & right).sum(1), right.sum(1)
    above, tied, relevant_tied, n_relevant = counts
    if not n_relevant.all():
        raise VcworkError(f"query {int((n_relevant == 0).argmax())} has no relevant item in the gallery")
    return Places(above, tied, relevant_tied, scores.shape[1], n_relevant)


def flags(given: np.ndarray) -> np.ndarray:
    """As bool; VcworkError for all but True, False, 1 and 0: NumPy takes NaN, -1 and the text 0 for true."""
    given = np.asarray(given)
    if given.dtype == bool:
        return given
    strange = given[given.astype(bool) != given] if given.dtype.kind in "iuf" else given.ravel()
    if len(strange):
        raise VcworkError(f"expected relevant to hold True and False, or 1 and 0, got {strange[:1].tolist()[0]!r}")
    return given.astype(bool)


def blocks(shape: tuple[int, ...]) -> Iterator[slice]:
    """Rows of a matrix (Q, N) in parts of about `BLOCK` numbers."""
    rows = max(1, BLOCK // shape[1])
    return (slice(first, first + rows) for first in range(0, shape[0], rows))


def ranks(scores: np.ndarray, relevant: np.ndarray | None = None, ties: str = "expected") -> np.ndarray:
    """Rank of each query's best relevant item, (Q,) float, from 1."""
    return place(scores, relevant).rank(ties)


def recall_at_k(scores: np.ndarray, k: int, relevant: np.ndarray | None = None, ties: str = "expected") -> float:
    """R@k: share of queries with a relevant item among the first k."""
    places = place(scores, relevant)
    if ties == REFERENCE:
        hits, entries = places.entries(k)
        return float(hits.sum() / entries.sum())
    return float(places.hit(k, ties).mean())


def median_rank(scores: np.ndarray, relevant: np.ndarray | None = None, ties: str = "expected") -> float:
    """MdR: median over queries of the rank of the best relevant item."""
    if ties == REFERENCE:
        return median_position(place(scores, relevant))
    return float(np.median(ranks(scores, relevant, ties)))


def median_position(places: Places) -> float:
    """Median rank over the reference code's entries."""
    counts = position_counts(places).sum(0).cumsum()
    middle = np.searchsorted(counts, [(counts[-1] + 1) // 2, counts[-1] // 2 + 1])  # counts[-1] entries in all
    return float(middle.mean()) + 1


def position_counts(places: Places, groups: np.ndarray | None = None) -> np.ndarray:
    """How many of the reference code's entries stand at each position from 0: (G, N), by group (Q,) of the queries."""
    groups = np.zeros(len(places.above), dtype=int) if groups is None else np.asarray(groups)
    _, tied = places.entries(1)
    steps = np.zeros((groups.max() + 1, places.n_items + 1))
    np.add.at(steps, (groups, places.above), 1)
    np.add.at(steps, (groups, places.above + tied), -1)
    return steps.cumsum(1)[:, :-1]


def ndcg(
    queries: np.ndarray, grades: np.ndarray, above: np.ndarray, tied: np.ndarray, n_items: int, k: int
) -> np.ndarray:
    """Discounted cumulative gain of the first k over the best that is possible, of every query (Q,); 0 without a grade.

    queries, grades (P,): whose judged items these are, by query, and how good each is, which is its gain; above, tied
    (P,): items scored higher, and of the same score, itself included. Rank r is discounted by log2(r + 1); tied items
    have their ranks' mean. Sources: Järvelin and Kekäläinen (2002); McSherry and Najork (2008).
    """
    discount = np.zeros(n_items + 1)  # of the first r ranks together
    discount[1:] = np.cumsum(np.where(np.arange(n_items) < k, 1 / np.log2(2 + np.arange(n_items)), 0))
    gained = np.bincount(queries, grades * (discount[above + tied] - discount[above]) / tied)
    best = np.lexsort((-grades, queries))
    first = np.searchsorted(queries[best], queries[best])
    rank = np.arange(len(best)) - first  # of each judged item in the best order
    ideal = np.bincount(queries, grades[best] * (discount[rank + 1] - discount[rank]))
    return np.divide(gained, ideal, out=np.zeros(len(gained)), where=ideal > 0)


def chance_recall_at_k(n_items: int, k: int, n_relevant: int | np.ndarray = 1) -> float:
    """R@k of a random order: 1 - C(N-r, k) / C(N, k), averaged over queries when r is an array."""
    values, counts = np.unique(np.atleast_1d(n_relevant), return_counts=True)
    if values[0] < 1 or values[-1] > n_items:
        raise VcworkError(f"expected 1 to {n_items} relevant items, got {values[0]} to {values[-1]}")
    k = min(k, n_items)
    hit = [1 - comb(n_items - int(r), k) / comb(n_items, k) for r in values]
    return float(np.average(hit, weights=counts))


def chance_median_rank(n_items: int, n_relevant: int | np.ndarray = 1) -> float:
    """Median rank of a random order, over all queries; (N+1)/2 for one relevant item."""
    values, counts = np.unique(np.atleast_1d(n_relevant), return_counts=True)
    weights = counts / counts.sum()
    later, low = np.ones(len(values)), 0
    for j in range(n_items):
        later = later * np.clip((n_items - values - j) / (n_items - j), 0, 1)
        reached = 1 - float(weights @ later)  # share of ranks <= j + 1
        low = low or (j + 1 if reached > 0.5 - 1e-9 else 0)
        if reached > 0.5 + 1e-9:
            return (low + j + 1) / 2
    return float(n_items)


def choice_hits(scores: np.ndarray, answer: np.ndarray, ties: str = "expected") -> np.ndarray:
    """Is the right choice scored highest? scores (Q, C), answer (Q,) positions -> (Q,) in [0, 1]."""
    scores, answer = check_scores(scores), np.asarray(answer)
    expected = f"expected {len(scores)} answers in 0..{scores.shape[1] - 1}, got {answer.dtype} {answer.shape}"
    if answer.shape != scores.shape[:1] or answer.dtype.kind not in "biuf":
        raise VcworkError(expected)
    if answer.min() < 0 or answer.max() >= scores.shape[1]:
        raise VcworkError(expected)
    return place(scores, answer[:, None] == np.arange(scores.shape[1])).hit(1, ties)


def choice_accuracy(scores: np.ndarray, answer: np.ndarray, ties: str = "expected") -> float:
    """Multiple-choice accuracy: share of questions whose right choice is scored highest."""
    return float(choice_hits(scores, answer, ties).mean())


def check_ties(ties: str) -> str:
    """One of `TIES`, or a VcworkError that lists them."""
    if ties == REFERENCE:
        raise VcworkError(
            "ties: the reference code's counting is there for R@k and the median rank of text-to-video retrieval with "
            f"one right clip; expected one of {', '.join(TIES)} here"
        )
    if ties not in TIES:
        raise VcworkError(f"expected ties to be one of {', '.join(TIES)}, got {ties!r}")
    return ties


def _none_among(n: np.ndarray, r: np.ndarray, m: np.ndarray) -> np.ndarray:
    """Chance that the first m of n shuffled items hold none of the r relevant: C(n-r, m) / C(n, m), elementwise."""
    out = np.ones(np.shape(n))
    for i in range(int(np.max(m))):
        out = np.where(i < m, out * np.clip((n - r - i) / np.maximum(n - i, 1), 0, 1), out)
    return out


# ------------------------------------------------------------------------- labels, one a second; 0 = background


def frame_accuracy(predicted: np.ndarray, truth: np.ndarray) -> float:
    """Share of seconds with their right label; labels (T,) int, 0 = background.

    It rewards silence: predicting none everywhere scores the background share.
    """
    predicted, truth = check_labels(predicted, truth)
    return _share(predicted == truth)


def foreground_recall(predicted: np.ndarray, truth: np.ndarray) -> float:
    """Share of truth-foreground seconds given their right step."""
    predicted, truth = check_labels(predicted, truth)
    return _share((predicted == truth)[truth != BACKGROUND])


def foreground_precision(predicted: np.ndarray, truth: np.ndarray) -> float:
    """Share of seconds predicted as a step that are right; 0 where no second is predicted as one."""
    predicted, truth = check_labels(predicted, truth)
    claimed = predicted != BACKGROUND
    return _share(predicted[claimed] == truth[claimed])


def predicted_background_share(predicted: np.ndarray) -> float:
    """Share of seconds labelled background; 1.0 means the predictor never says anything."""
    return _share(np.asarray(predicted) == BACKGROUND)


def check_labels(predicted: np.ndarray, truth: np.ndarray, where: str = "") -> tuple[np.ndarray, np.ndarray]:
    """Both as arrays; VcworkError, which begins with `where`, unless they are integers (T,) from 0."""
    predicted, truth = np.asarray(predicted), np.asarray(truth)
    for name, labels in (("predicted", predicted), ("truth", truth)):
        if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
            raise VcworkError(f"{where}expected {name} labels as integers (T,), got {labels.dtype} {labels.shape}")
        if labels.min(initial=0) < 0:
            raise VcworkError(f"{where}expected {name} labels from 0, which is background, got {labels.min()}")
    if predicted.shape != truth.shape:
        raise VcworkError(f"{where}expected predicted labels {truth.shape}, got {predicted.shape}")
    return predicted, truth


def _share(right: np.ndarray) -> float:
    return float(np.mean(right)) if len(right) else 0.0


# ---------------------------------------------------------------------------------- segments (runs of one label)


def runs(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Runs of equal labels as (label, start, end), end exclusive; runs of background are left out."""
    labels = np.asarray(labels)
    cuts = np.flatnonzero(np.diff(labels)) + 1
    starts, ends = np.append(0, cuts)[: len(labels)], np.append(cuts, len(labels))[: len(labels)]
    keep = labels[starts] != BACKGROUND
    return labels[starts][keep], starts[keep], ends[keep]


def segment_scores(predicted: np.ndarray, truth: np.ndarray, overlaps: tuple[float, ...]) -> np.ndarray:
    """Segmental edit score and F1 at each overlap of one video, (1 + O,); all 1.0 if both are empty; mean over videos.

    Edit score: 1 - edit distance of the two orders of segments / the longer one. F1@overlap: a predicted segment hits
    when its tIoU with the best true segment of the same label is at least `overlap`, each true segment counting once.
    Source: Lea et al., Temporal Convolutional Networks (CVPR 2017).
    """
    predicted, truth = check_labels(predicted, truth)
    a, b = runs(predicted), runs(truth)
    if not len(a[0]) or not len(b[0]):
        return np.full(1 + len(overlaps), float(len(a[0]) == len(b[0])))
    return np.array([_edit(a[0], b[0]), *_f1(a, b, overlaps)])


def _edit(a: np.ndarray, b: np.ndarray) -> float:
    """1 - Levenshtein distance of two orders of labels / the longer one."""
    place = np.arange(len(b) + 1)
    row = place
    for i, label in enumerate(a, 1):
        kept = np.minimum(row[1:] + 1, row[:-1] + (b != label))  # drop the segment, or keep or change it
        new = np.append(i, kept) - place
        row = np.minimum.accumulate(new) + place  # an insertion costs 1 for each step to the right
    return 1 - row[-1] / max(len(a), len(b))


def _f1(predicted: tuple, truth: tuple, overlaps: tuple[float, ...]) -> list[float]:
    """F1 at each overlap from the runs (label, start, end) of both."""
    (a, a0, a1), (b, b0, b1) = predicted, truth
    if not overlaps:
        return []
    both = np.clip(np.minimum(a1[:, None], b1) - np.maximum(a0[:, None], b0), 0, None)  # (A, B) seconds
    either = np.maximum(a1[:, None], b1) - np.minimum(a0[:, None], b0)  # exact wherever they overlap
    iou = np.where(a[:, None] == b, both / either, 0)
    best = iou.argmax(1)  # (A,) the true segment each predicted one is held against
    reached = iou[np.arange(len(a)), best]
    return [2 * len(np.unique(best[reached >= overlap])) / (len(a) + len(b)) for overlap in overlaps]


def tiou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Temporal IoU of intervals (..., 2) in seconds, broadcast against each other; 0 where both have no length."""
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    for name, spans in (("a", a), ("b", b)):
        if spans.shape[-1:] != (2,) or np.isnan(spans).any() or (spans[..., 1] < spans[..., 0]).any():
            raise VcworkError(f"expected {name} as intervals (..., 2) with start <= end and no NaN, got {spans!r}")
    both = np.clip(np.minimum(a[..., 1], b[..., 1]) - np.maximum(a[..., 0], b[..., 0]), 0, None)
    either = (a[..., 1] - a[..., 0]) + (b[..., 1] - b[..., 0]) - both
    return both / np.where(either > 0, either, 1)


# -------------------------------------------------------------------------------------------------- clusters


def purity(clusters: np.ndarray, classes: np.ndarray) -> float:
    """Share of items that belong to the most frequent class of their cluster; grows with the number of clusters."""
    from sklearn.metrics.cluster import contingency_matrix  # a second to import, and few need it

    return float(contingency_matrix(*_groupings(classes, clusters)).max(0).sum() / len(clusters))


def nmi(clusters: np.ndarray, classes: np.ndarray) -> float:
    """Mutual information over the arithmetic mean of the two entropies; 1.0 if both hold one group only."""
    from sklearn.metrics import normalized_mutual_info_score

    return float(normalized_mutual_info_score(*_groupings(classes, clusters)))


def _groupings(classes: np.ndarray, clusters: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    classes, clusters = np.asarray(classes), np.asarray(clusters)
    if clusters.shape != classes.shape or clusters.ndim != 1 or not len(clusters):
        raise VcworkError(f"expected clusters and classes (N,), got {clusters.shape} and {classes.shape}")
    return classes, clusters


def seconds_of(start_s: float, end_s: float, n_seconds: int) -> slice:
    """Whole seconds touched by an interval, cut at the video's end: [floor(start), ceil(end))."""
    if not (math.isfinite(start_s) and math.isfinite(end_s)) or start_s < 0 or end_s < start_s:
        raise VcworkError(f"expected an interval with 0 <= start <= end, got {start_s} to {end_s} s")
    return slice(min(math.floor(start_s), n_seconds), min(math.ceil(end_s), n_seconds))


def inside(intervals: Intervals, n_seconds: int) -> np.ndarray:
    """Is each second touched by one of the intervals? (T,) bool."""
    out = np.zeros(n_seconds, dtype=bool)
    for start_s, end_s in intervals:
        out[seconds_of(start_s, end_s, n_seconds)] = True
    return out


def truth_labels(segments: Sequence[tuple[float, float, str]], index: dict[str, int], n_seconds: int) -> np.ndarray:
    """Label of each second from (start_s, end_s, step id): index[step] + 1 on [floor(start), ceil(end)), else 0.

    Later segments overwrite earlier ones, and the part beyond the video's end is cut. Raises VcworkError on an
    unknown step.
    """
    labels = np.zeros(n_seconds, dtype=int)
    for start_s, end_s, step in segments:
        if step not in index:
            raise VcworkError(f"segment {start_s}-{end_s} s: step {step!r} is not among the {len(index)} steps scored")
        labels[seconds_of(start_s, end_s, n_seconds)] = index[step] + 1
    return labels
