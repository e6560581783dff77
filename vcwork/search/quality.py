"""How much an approximate index misses, beside what that costs in retrieval."""

from collections.abc import Iterable, Sequence

import numpy as np

from vcwork.base.errors import VcworkError
from vcwork.measure.result import show, text_table
from vcwork.search.index import Hit, VideoIndex

EFFORTS = {"flat": (0,), "ivf": (1, 2, 4, 8), "hnsw": (20, 100)}


def recall_of(
    exact: VideoIndex, approximate: VideoIndex, queries: np.ndarray, k: int = 10, effort: int = 0
) -> np.ndarray:
    """Recall@k of one index against an exact one of the same items, query by query: (Q, D) -> (Q,).

    An answer counts when its exact score is as high as the k-th exact one, so of equal items any will do.
    """
    if set(exact.ids) != set(approximate.ids) or exact.covered:
        raise VcworkError(f"expected an exact index and one of its {len(exact)} items, got one of {exact.kind!r} first")
    best, found = exact.query(queries, k), approximate.query(queries, k, effort)
    return np.array([_found(exact, *row) for row in zip(queries, best, found, strict=True)])


def _found(exact: VideoIndex, query: np.ndarray, best: list[Hit], found: list[Hit]) -> float:
    """Share of the best that was found, judged by the exact scores of what was found."""
    if not best or not found:
        return float(not best)
    scores = exact.scores(query, [hit.id for hit in found])
    return float((scores >= best[-1].score).sum() / len(best))


def right_share(lists: Sequence[Sequence[Hit]], truth: Sequence[Iterable[str]]) -> float:
    """Share of queries with a right item among their hits; of equal scores the item added first is ahead."""
    return float(np.mean([any(hit.id in set(right) for hit in hits) for hits, right in zip(lists, truth, strict=True)]))


def kinds_table(
    exact: VideoIndex, queries: np.ndarray, k: int = 10, truth: Sequence[Iterable[str]] | None = None
) -> str:
    """`recall_of` indexes of the same vectors, of each kind and effort, as text; why, where a kind cannot be had.

    truth: ids of the right items of each query, for the share of queries that have one among their k best.
    """
    rows, head = [], ("kind", "effort", f"found of {k}", f"R@{k}", f"exact R@{k}")
    by_exact = None if truth is None else right_share(exact.query(queries, k), truth)
    for kind, efforts in EFFORTS.items():
        try:
            index = VideoIndex.build(exact.vectors, exact.ids, kind=kind)
        except VcworkError as error:
            rows.append((kind, str(error), *[""] * (1 if truth is None else 3)))
            continue
        for effort in efforts:
            shares = [float(recall_of(exact, index, queries, k, effort).mean())]
            if truth is not None:
                shares += [right_share(index.query(queries, k, effort), truth), by_exact]
            rows.append((kind, effort or "all", *map(show, shares)))
    return text_table(head[: len(rows[0])], rows)
