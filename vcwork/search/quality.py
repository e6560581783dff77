"""How much an approximate index misses, beside what that costs in retrieval."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from vcwork.base.errors import VcworkError
from vcwork.measure.result import show, text_table
from vcwork.search.index import Hit, VideoIndex


@dataclass(frozen=True)
class Recall:
    """What an approximate index finds of the exact answers, and with a truth what that does to retrieval.

    recall: mean of `each` (Q,), the share of a query's k best that were found. exact_R, approximate_R: share of queries
    with a right item among their k best; None without a truth.
    """

    k: int
    recall: float
    each: np.ndarray
    exact_R: float | None = None
    approximate_R: float | None = None


def recall_of(
    exact: VideoIndex,
    approximate: VideoIndex,
    queries: np.ndarray,
    k: int = 10,
    truth: Sequence[str | Iterable[str]] | None = None,
    effort: int = 0,
) -> Recall:
    """Recall@k of one index against an exact one of the same items; queries (Q, D).

    An answer counts when its exact score is as high as the k-th exact one, so of equal items any will do. `truth`: the
    right id of each query, or several; of equal scores the item added first is ahead, so a collapsed model is judged
    by the order of adding (`metrics.place` has fairer rules). Raises VcworkError where the items of the indexes
    differ, or a query has no right one among them.
    """
    if set(exact.ids) != set(approximate.ids):
        raise VcworkError(f"expected two indexes of the same items, got {len(exact)} and {len(approximate)}")
    if exact.covered:
        raise VcworkError(f"expected an exact index to compare with, got one of kind {exact.settings.kind!r}")
    queries = np.atleast_2d(queries)
    best, found = exact.query(queries, k), approximate.query(queries, k, effort)
    each = np.array([_found(exact, *row) for row in zip(queries, best, found, strict=True)])
    if truth is None:
        return Recall(k, float(each.mean()), each)
    if len(truth) != len(queries):
        raise VcworkError(f"expected a truth for each of {len(queries)} queries, got {len(truth)}")
    right = [{t} if isinstance(t, str) else set(t) for t in truth]
    lost = next((q for q, ids in enumerate(right) if not any(id in exact for id in ids)), None)
    if lost is not None:
        raise VcworkError(f"query {lost}: none of its right items is in the index, got {sorted(right[lost])[:3]}")
    shares = [np.mean([any(h.id in r for h in hits) for hits, r in zip(lists, right, strict=True)])
              for lists in (best, found)]  # fmt: skip
    return Recall(k, float(each.mean()), each, *map(float, shares))


EFFORTS = {"flat": (0,), "ivf": (1, 2, 4, 8), "hnsw": (20, 100)}


def kinds_table(
    exact: VideoIndex, queries: np.ndarray, k: int = 10, truth: Sequence[Iterable[str]] | None = None
) -> str:
    """`recall_of` indexes of the same vectors, of each kind and effort, as text; why, where a kind cannot be had."""
    rows, head = [], ("kind", "effort", f"found of {k}", f"R@{k}", f"exact R@{k}")
    for kind, efforts in EFFORTS.items():
        try:
            index = VideoIndex.build(exact.vectors, exact.ids, settings=kind)
        except VcworkError as error:
            rows.append((kind, str(error), *[""] * (1 if truth is None else 3)))
            continue
        for effort in efforts:
            found = recall_of(exact, index, queries, k, truth, effort)
            shares = [show(x) for x in (found.recall, found.approximate_R, found.exact_R) if x is not None]
            rows.append((kind, effort or "all", *shares))
    return text_table(head[: len(rows[0])], rows)


def _found(exact: VideoIndex, query: np.ndarray, best: list[Hit], found: list[Hit]) -> float:
    """Share of the best that was found, judged by the exact scores of what was found."""
    if not best or not found:
        return float(not best)
    scores = exact.scores(query, [hit.id for hit in found])
    return float((scores >= best[-1].score).sum() / len(best))
