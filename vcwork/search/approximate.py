"""faiss's indexes of vectors with ids: which one suits how many vectors, built, read through a memory map, searched.

Kinds: `flat` compares with every vector. `ivf` looks into some of the cells nearest to the query, `pq` does so on
vectors shortened to a byte for 8 numbers and compares the best of them whole, `hnsw` walks a graph of near neighbours;
how large each is follows from how many vectors there are when it is built. Every kind holds the vectors themselves,
once. With one thread the same input gives the same index.
Known gaps: an `hnsw` graph over inner products does not reach every item (a short vector is nobody's near neighbour;
on made vectors of very different lengths a third were out of reach, and recall@10 was 0.99), and it depends on timing
when faiss builds it with several threads.
"""

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vcwork.base.errors import VcworkError
from vcwork.search.hits import BLOCK

if TYPE_CHECKING:
    from vcwork.base.blas import faiss  # elsewhere where it is used: importing it takes a while

KINDS = ("flat", "ivf", "pq", "hnsw")
PER_CENTRE = 39  # vectors a centre wants in training; below it faiss warns
LEAST = {"ivf": PER_CENTRE * 2, "pq": PER_CENTRE << 4}  # two cells; codes of 4 bits
LINKS, EF_BUILD, EF_SEARCH = 32, 120, 256  # hnsw: neighbours of a node, nodes in view while building and searching
_CODED = 20  # pq: candidates compared whole for each answer asked for, because codes alone are rough
_MANY = 10_000  # vectors from which threads share a query
_TOGETHER = 8  # queries from which matrix products are faster than one dot product after the other

_NONE = np.empty(0, np.int64)

Take = Callable[[np.ndarray], np.ndarray]  # ids (n,) int64 -> their vectors (n, D)


def check_kind(kind: str) -> str:
    if kind not in KINDS:
        raise VcworkError(f"expected kind in {KINDS}, got {kind!r}")
    return kind


def check_trainable(kind: str, n: int) -> None:
    """VcworkError where `n` vectors are too few to build that kind."""
    if n < LEAST.get(kind, 0):
        raise VcworkError(f"kind {kind!r}: expected at least {LEAST[kind]} vectors to train on, got {n}; use 'flat'")


def build(kind: str, dimension: int, ids: np.ndarray = _NONE, take: Take | None = None) -> "faiss.Index":
    """A faiss index of that kind over the vectors of these ids (N,) int64, which are taken some at a time."""
    from vcwork.base.blas import faiss

    n = len(ids)
    try:
        index = faiss.index_factory(dimension, _factory(kind, n, dimension), faiss.METRIC_INNER_PRODUCT)
        if kind == "hnsw":
            inner(index).hnsw.efConstruction = EF_BUILD
        elif kind != "flat":
            index.train(take(_sample(ids, max(96 * round(math.sqrt(n)), 64 << 8))))
        if kind == "ivf":
            index.set_direct_map_type(faiss.DirectMap.Hashtable)  # so that it gives its vectors back
        for first in range(0, n, BLOCK):
            index.add_with_ids(take(ids[first : first + BLOCK]), ids[first : first + BLOCK])
    except RuntimeError as error:
        raise VcworkError(f"faiss could not build an index of kind {kind!r}: {error}") from error
    return index


def _factory(kind: str, n: int, dimension: int) -> str:
    """faiss's name of the index that suits `n` vectors."""
    cells = cells_of(n)
    if kind != "pq":
        return {"flat": "IDMap2,Flat", "hnsw": f"IDMap2,HNSW{LINKS},Flat", "ivf": f"IVF{cells},Flat"}[kind]
    parts = max(p for p in range(1, max(1, dimension // 8) + 1) if dimension % p == 0)
    bits = max(b for b in range(4, 9) if PER_CENTRE << b <= n)
    return f"IDMap2,IVF{cells},PQ{parts}x{bits}np,RFlat"  # np: without a slow step of no use here


def cells_of(n: int) -> int:
    """Cells that suit `n` vectors."""
    return max(2, min(round(2 * math.sqrt(n)), n // PER_CENTRE))


def usual_cells(cells: int) -> int:
    """Of so many cells those looked into, unless a query says: one in 32, at least 8."""
    return min(cells, max(8, cells // 32))


def _sample(ids: np.ndarray, most: int) -> np.ndarray:
    """At most so many of the ids (N,), drawn from all of them, in their order."""
    return ids[np.sort(np.random.default_rng(0).choice(len(ids), min(len(ids), most), replace=False))]


def inner(index: "faiss.Index") -> "faiss.Index":
    """What does the work: the index itself, or the one behind its table of ids."""
    from vcwork.base.blas import faiss

    return faiss.downcast_index(index.index) if isinstance(index, faiss.IndexIDMap2) else index


def read(path: Path) -> "faiss.Index":
    """An index that faiss wrote, memory-mapped. Only for a file whose digest was compared: faiss trusts it."""
    from vcwork.base.blas import faiss

    try:
        index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
        if isinstance(index, faiss.IndexIVFFlat):  # cells are mapped another way
            index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP | faiss.IO_FLAG_READ_ONLY)
    except RuntimeError as error:
        raise VcworkError(f"{path}: could not be read ({error})") from error
    if isinstance(index, faiss.IndexIVFFlat):
        faiss.downcast_InvertedLists(index.invlists).prefetch_nthread = 0  # a query's threads cost more than they help
    return index


def writer(index: "faiss.Index") -> Callable[[Path], None]:
    from vcwork.base.blas import faiss

    return lambda path: faiss.write_index(index, str(path))


def ids(index: "faiss.Index") -> np.ndarray:
    """The ids (n,) of an index with a table of them."""
    from vcwork.base.blas import faiss

    return faiss.vector_to_array(index.id_map)


def usual_effort(index: "faiss.Index") -> int:
    """Cells looked into (ivf, pq), or nodes kept in view (hnsw), unless a query says."""
    from vcwork.base.blas import faiss

    index = inner(index)
    cells = getattr(faiss.downcast_index(index.base_index) if hasattr(index, "base_index") else index, "nlist", 0)
    return usual_cells(cells) if cells else EF_SEARCH


def search(index: "faiss.Index", queries: np.ndarray, k: int, effort: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """The k best that the index finds of queries (Q, D): scores and ids (Q, k), -1 where it finds no more.

    Of many queries with every vector the dot products are made by BLAS, six times as fast as faiss's own choice; for
    one alone each core compares its share of many vectors, where faiss leaves them to one.
    """
    from vcwork.base.blas import faiss

    kind, effort = inner(index), effort or usual_effort(index)
    options, usual, threads = None, faiss.cvar.distance_compute_blas_threshold, faiss.omp_get_max_threads()
    if isinstance(kind, faiss.IndexHNSW):
        options = faiss.SearchParametersHNSW(efSearch=max(effort, k))
    elif not isinstance(kind, faiss.IndexFlat):
        options = faiss.SearchParametersIVF(nprobe=effort)
    if isinstance(kind, faiss.IndexRefineFlat):
        options = faiss.IndexRefineSearchParameters(k_factor=_CODED, base_index_params=options)
    if len(queries) == 1 and isinstance(kind, faiss.IndexFlat) and kind.ntotal >= max(_MANY, k * threads):
        return _shared(index, queries, k, threads)
    if len(queries) >= _TOGETHER:
        faiss.cvar.distance_compute_blas_threshold = 1
        faiss.cvar.distance_compute_blas_database_bs = 1 << 14  # rows a product: threads wait for one another seldom
    try:
        return index.search(queries, k, params=options)
    finally:
        faiss.cvar.distance_compute_blas_threshold = usual


def _shared(index: "faiss.Index", query: np.ndarray, k: int, threads: int) -> tuple[np.ndarray, np.ndarray]:
    """`search` of one query (1, D) in a flat index of at least k vectors a thread, which so many threads share."""
    from vcwork.base.blas import faiss

    kind = inner(index)
    rows = faiss.rev_swig_ptr(kind.get_xb(), kind.ntotal * kind.d).reshape(-1, kind.d)  # (N, D)
    bounds = np.linspace(0, len(rows), threads + 1).astype(int)

    def part(start: int, end: int) -> tuple[np.ndarray, np.ndarray]:
        faiss.omp_set_num_threads(1)  # of this thread alone
        scores, places = faiss.knn(query, rows[start:end], k, metric=faiss.METRIC_INNER_PRODUCT)
        return scores[0], places[0] + start

    with ThreadPoolExecutor(threads) as pool:
        parts = [*pool.map(part, bounds[:-1], bounds[1:])]
    scores, places = (np.concatenate(some) for some in zip(*parts, strict=True))  # (threads k,)
    best = np.argsort(-scores, kind="stable")[:k]
    return scores[None, best], faiss.rev_swig_ptr(index.id_map.data(), index.ntotal)[places[best]][None]
