"""Vectors in blocks, some of them memory-mapped, and exact search among them.

`Rows` grows without copying what is there; `exact` compares queries with all of it, block by block, so memory does not
grow with the number of vectors. Dot products are first computed together (fast, but their last bits depend on what else
is in the batch), and whatever could be among the best is computed again pair by pair: a score is the same number in any
batch, and of equal scores the earlier place wins.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from vcwork.base.errors import VcworkError
from vcwork.data.store import load_npy

BLOCK = 1 << 15  # rows looked at together: 64 MB at width 512
PAIRS = 1 << 13  # pairs multiplied together: twice 16 MB at width 512
_QUERIES = 256

Pairs = tuple[np.ndarray, np.ndarray, np.ndarray]  # (P,) each: place of the query, score, place of the row


class Rows:
    """Vectors (N, D) float32 in the order of adding; the first block may be a memory map.

    `longest` is the length of the longest one, from which the rounding of a dot product is bounded.
    """

    def __init__(self, dimension: int) -> None:
        self.dimension, self.longest = dimension, 0.0
        self._blocks: list[np.ndarray] = []
        self._mapped = 0  # blocks that are never joined with others

    @classmethod
    def read(cls, path: Path, shape: tuple[int, int]) -> "Rows":
        """Rows as `write` wrote them, memory-mapped; VcworkError for another shape or type, or anything pickled."""
        rows = cls(shape[1])
        if not shape[0]:
            return rows
        base = load_npy(path, mmap=True)
        if base.shape != shape or base.dtype != np.float32:
            raise VcworkError(f"{path}: expected vectors {shape} float32, got {base.shape} {base.dtype}")
        rows._blocks, rows._mapped = [base], 1
        return rows

    def write(self, file: Any) -> None:
        """As one .npy, block by block."""
        header = {"descr": "<f4", "fortran_order": False, "shape": (len(self), self.dimension)}
        np.lib.format.write_array_header_1_0(file, header)
        for block in self._blocks:
            for at in range(0, len(block), BLOCK):
                file.write(np.ascontiguousarray(block[at : at + BLOCK]).data)

    def __len__(self) -> int:
        return sum(map(len, self._blocks))

    def append(self, vectors: np.ndarray) -> None:
        """Add float32 vectors (n, D). Adding one by one is cheap."""
        new = vectors.copy()  # later changes of the caller's array must not count
        self.longest = max(self.longest, float(np.linalg.norm(new, axis=1).max(initial=0)))
        self._push(new)

    def extend(self, other: "Rows") -> None:
        """All rows of another one behind ours, not copied where they fill blocks."""
        self.longest = max(self.longest, other.longest)
        for block in other._blocks:
            self._push(block)

    def kept(self, alive: np.ndarray) -> "Rows":
        """The rows where `alive` (N,) as new ones."""
        rows, places = Rows(self.dimension), np.flatnonzero(alive)
        for at in range(0, len(places), BLOCK):
            rows.append(self.take(places[at : at + BLOCK]))
        return rows

    def _push(self, block: np.ndarray) -> None:
        """Behind the others; small neighbours are joined as long as the last is the larger, so seldom."""
        self._blocks.append(block)
        while len(self._blocks) > self._mapped + 1:
            before, last = map(len, self._blocks[-2:])
            if before > last or before + last > BLOCK:
                break
            self._blocks[-2:] = [np.concatenate(self._blocks[-2:])]

    def take(self, places: np.ndarray) -> np.ndarray:
        """The vectors at `places` (n,) -> (n, D) float32."""
        places = np.asarray(places, dtype=np.int64)
        ends = np.cumsum([0, *map(len, self._blocks)])
        owner = np.searchsorted(ends, places, side="right") - 1
        out = np.empty((len(places), self.dimension), np.float32)
        for b in np.unique(owner):
            here = owner == b
            out[here] = self._blocks[b][places[here] - ends[b]]
        return out

    def scan(self, first: int = 0) -> Iterator[tuple[int, np.ndarray]]:
        """(place of the first one, vectors (n, D) float32) of every block from `first` on."""
        end = 0
        for block in self._blocks:
            start, end = end, end + len(block)
            for at in range(max(first, start), end, BLOCK):
                part = block[at - start : min(at + BLOCK, end) - start]
                yield at, np.ascontiguousarray(part, dtype=np.float32)


def exact(rows: Rows, queries: np.ndarray, k: int, alive: np.ndarray, first: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """The k best of the live rows from `first` on: queries (Q, D) -> scores (Q, k), places (Q, k), -1 where none.

    Of equal scores the earlier place wins, at the end of the list too (faiss's flat index keeps the later one there).
    """
    best = [_exact(rows, queries[q : q + _QUERIES], k, alive, first) for q in range(0, len(queries), _QUERIES)]
    return np.concatenate([s for s, _ in best]), np.concatenate([p for _, p in best])


def _exact(rows: Rows, queries: np.ndarray, k: int, alive: np.ndarray, first: int) -> tuple[np.ndarray, np.ndarray]:
    best = np.full((len(queries), k), -np.inf, np.float32), np.full((len(queries), k), -1)
    lengths = np.linalg.norm(queries.astype(np.float64), axis=1, keepdims=True)
    doubt = 2 * rows.dimension * np.finfo(np.float32).eps * lengths * rows.longest  # (Q, 1), rounding of two products
    for start, block in rows.scan(first):
        live = alive[start : start + len(block)]
        scores = queries @ block.T  # (Q, n)
        if not live.all():
            scores[:, ~live] = -np.inf
        floor = best[0][:, -1:].astype(np.float64)  # (Q, 1), the k-th best so far
        if len(block) > k and not np.isfinite(floor).all():
            floor = np.maximum(floor, np.partition(scores, -k, axis=1)[:, -k, None])
        query, row = np.nonzero((scores >= floor - doubt) & live)
        query, found, row = pairs_of(queries, query, block.__getitem__, row)
        best = merged(best, (query, found, row + start))
    return best


def products(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Dot products of pairs, (P, D), (P, D) -> (P,): a pair's number does not depend on the pairs beside it."""
    return np.einsum("pd,pd->p", left, right)


def pairs_of(
    queries: np.ndarray, query: np.ndarray, take: Callable[[np.ndarray], np.ndarray], places: np.ndarray
) -> Pairs:
    """Queries of these numbers (P,) with the rows that `take` gives for places (P,), some at a time, scored."""
    parts = [products(queries[query[i : i + PAIRS]], take(places[i : i + PAIRS])) for i in range(0, len(query), PAIRS)]
    return query, np.concatenate([np.empty(0, np.float32), *parts]), places


def merged(best: tuple[np.ndarray, np.ndarray], pairs: Pairs) -> tuple[np.ndarray, np.ndarray]:
    """The best lists, scores and places (Q, k), with pairs sorted in: best first, of equals the earlier place."""
    (many, k), (query, scores, places) = best[0].shape, pairs
    query = np.concatenate([np.repeat(np.arange(many), k), query])
    scores, places = np.concatenate([best[0].ravel(), scores]), np.concatenate([best[1].ravel(), places])
    order = np.lexsort((places, -scores, query))
    within = np.arange(len(order)) - np.searchsorted(query[order], np.arange(many))[query[order]]
    order = order[within < k]  # k of each query, since the lists were full
    return scores[order].reshape(many, k), places[order].reshape(many, k)
