"""The approximate indexes of the vector database, all of them faiss's.

Kinds: `flat` compares with every vector. `ivf` looks into some of the cells nearest to the query, `pq` does so on
vectors shortened to a byte for 8 numbers, `hnsw` walks a graph of near neighbours; how large each is follows from how
many vectors there are when it is built. What an approximate index finds is scored again from the vectors themselves, so
a score is the same number in every kind, and only which items are found can differ. With one thread the same input
gives the same index.
Known gaps: an `hnsw` graph over inner products does not reach every item (a short vector is nobody's near neighbour;
on made vectors of very different lengths a third were out of reach, and recall@10 was 0.99), and it depends on timing
when faiss builds it with several threads.
"""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vcwork.base.errors import VcworkError
from vcwork.search.exact import Pairs, Rows, pairs_of

if TYPE_CHECKING:
    import faiss  # elsewhere where it is used: an exact index needs none

KINDS = ("flat", "ivf", "pq", "hnsw")
PER_CENTRE = 39  # vectors a centre wants in training; below it faiss warns
LEAST = {"ivf": PER_CENTRE * 2, "pq": PER_CENTRE << 4}  # two cells; codes of 4 bits
LINKS, EF_BUILD, EF_SEARCH = 32, 120, 256  # hnsw: neighbours of a node, nodes in view while building and searching
_SPARE = 8  # more candidates than asked for: what the index rounds at the end of the list is put right
_CODED = 20  # pq: candidates for each answer asked for, because codes alone are rough


def check_kind(kind: str) -> str:
    if kind not in KINDS:
        raise VcworkError(f"expected kind in {KINDS}, got {kind!r}")
    return kind


def check_trainable(kind: str, n: int) -> None:
    """VcworkError where `n` vectors are too few to build that kind."""
    if n < LEAST.get(kind, 0):
        raise VcworkError(f"kind {kind!r}: expected at least {LEAST[kind]} vectors to train on, got {n}; use 'flat'")


def train(kind: str, rows: Rows) -> "faiss.Index":
    """A faiss index over all rows, numbered by place."""
    import faiss

    try:
        index = faiss.index_factory(
            rows.dimension, _factory(kind, len(rows), rows.dimension), faiss.METRIC_INNER_PRODUCT
        )
        index.train(rows.take(_seeded(index, rows)))
        for _, block in rows.scan():
            index.add(block)
    except RuntimeError as error:
        raise VcworkError(f"faiss could not build an index of kind {kind!r}: {error}") from error
    return index


def _factory(kind: str, n: int, dimension: int) -> str:
    """faiss's name of the index that suits `n` vectors."""
    if kind == "hnsw":
        return f"HNSW{LINKS},Flat"
    cells = max(2, min(round(2 * math.sqrt(n)), n // PER_CENTRE))
    if kind == "ivf":
        return f"IVF{cells},Flat"
    parts = max(p for p in range(1, max(1, dimension // 8) + 1) if dimension % p == 0)
    bits = max(b for b in range(4, 9) if PER_CENTRE << b <= n)
    return f"IVF{cells},PQ{parts}x{bits}np"  # np: without a slow step of no use here


def _seeded(index: "faiss.Index", rows: Rows) -> np.ndarray:
    """Seeds everything random in the index; places of the rows to train on, in order."""
    import faiss

    if isinstance(index, faiss.IndexHNSW):
        index.hnsw.efConstruction = EF_BUILD
        index.hnsw.rng = faiss.RandomGenerator(0)
        return np.arange(min(len(rows), 256))  # trains nothing, but faiss wants to be asked
    index.cp.seed = 0
    wanted = 48 * index.nlist
    if isinstance(index, faiss.IndexIVFPQ):
        index.pq.cp.seed = 0
        wanted = max(wanted, 64 << index.pq.nbits)
    return np.sort(np.random.default_rng(0).choice(len(rows), min(len(rows), wanted), replace=False))


def usual_effort(index: "faiss.Index") -> int:
    """Cells looked into (ivf, pq: one in 32, at least 8), or nodes kept in view (hnsw), unless a query says."""
    return EF_SEARCH if hasattr(index, "hnsw") else min(index.nlist, max(8, index.nlist // 32))


def approximate(
    index: "faiss.Index", rows: Rows, queries: np.ndarray, k: int, alive: np.ndarray, effort: int = 0
) -> Pairs:
    """What the index finds of the live rows it covers, scored exactly; maybe fewer than k of a query."""
    import faiss

    alive, effort = alive[: index.ntotal], effort or usual_effort(index)
    wanted = min(index.ntotal, k * (_CODED if isinstance(index, faiss.IndexIVFPQ) else 1) + _SPARE)
    dead = {} if alive.all() else {"sel": faiss.IDSelectorBitmap(np.packbits(alive, bitorder="little"))}
    if isinstance(index, faiss.IndexHNSW):
        options = faiss.SearchParametersHNSW(efSearch=max(effort, wanted), **dead)
    else:
        options = faiss.SearchParametersIVF(nprobe=min(effort, index.nlist), **dead)
    _, places = index.search(queries, wanted, params=options)  # (Q, wanted)
    query, column = np.nonzero(places >= 0)
    return pairs_of(queries, query, rows.take, places[query, column])


def write_index(index: "faiss.Index", file: Any) -> None:
    """faiss's own format, into an open binary file."""
    import faiss

    faiss.write_index(index, faiss.PyCallbackIOWriter(file.write))


def read_index(path: Path, kind: str, count: int, dimension: int) -> "faiss.Index":
    """Read what `write_index` wrote. Only for a file whose digest was compared: faiss trusts what it reads."""
    import faiss

    try:
        index = faiss.read_index(str(path))
    except RuntimeError as error:
        raise VcworkError(f"{path}: not readable as a faiss index ({str(error)[-120:]})") from None
    came = {faiss.IndexIVFPQ: "pq", faiss.IndexIVFFlat: "ivf", faiss.IndexHNSWFlat: "hnsw"}.get(type(index))
    got = (came, index.ntotal, index.d, index.metric_type == faiss.METRIC_INNER_PRODUCT)
    if got != (kind, count, dimension, True):
        expected = (kind, count, dimension, True)
        raise VcworkError(f"{path}: expected (kind, vectors, width, inner product) {expected}, got {got}")
    return index
