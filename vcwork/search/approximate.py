"""The approximate indexes of the vector database, all of them faiss's, and the settings that choose one.

Kinds: `flat` compares with every vector. `ivf` looks into the `nprobe` of `nlist` cells nearest to the query, `pq` does
so on vectors shortened to `parts` bytes, `hnsw` walks a graph of near neighbours. What an approximate index finds is
scored again from the vectors themselves, so a score is the same number in every kind, and only which items are found
can differ. Training draws its vectors by `seed`; with one thread the same input gives the same index.
Known gaps: an `hnsw` graph over inner products does not reach every item (a short vector is nobody's near neighbour;
on made vectors of very different lengths a third were out of reach, and recall@10 was 0.99), and it depends on timing
when faiss builds it with several threads.
"""

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from vcwork.base.errors import VcworkError
from vcwork.search.exact import PAIRS, Rows, join, products

KINDS = ("flat", "ivf", "pq", "hnsw")
_SPARE = 8  # more candidates than asked for: what the index rounds at the end of the list is put right
PER_CENTRE = 39  # vectors a centre wants in training; below it faiss warns


@dataclass(frozen=True)
class IndexSettings:
    """How vectors are kept and searched; 0 means: chosen by how many vectors there are when the index is built."""

    kind: str = "flat"  # flat, ivf, pq or hnsw
    unit: bool = False  # vectors and queries scaled to length 1: scores are cosines, not raw dot products
    dtype: str = "float32"  # of the stored vectors; float16 halves memory and disk, and rounds to 11 bits
    nlist: int = 0  # ivf, pq: cells; 0: twice the root of the number of vectors
    nprobe: int = 0  # ivf, pq: cells looked into; 0: one in 32, at least 8
    parts: int = 0  # pq: bytes a vector is shortened to; 0: one for 8 numbers
    bits: int = 0  # pq: of a part, 4 to 8; 0: 8, fewer where the vectors are too few to train that
    candidates: int = 0  # best by the index for each answer asked for, scored again; 0: 20 for pq, else 1
    links: int = 32  # hnsw: neighbours of a node
    ef_build: int = 120  # hnsw: nodes kept in view while building
    ef_search: int = 256  # hnsw: nodes kept in view while searching
    rebuild_share: float = 0.1  # changed items, as a share of those in the index, after which it is built again
    seed: int = 0

    def __post_init__(self) -> None:
        if self.kind not in KINDS or self.dtype not in ("float32", "float16"):
            raise VcworkError(f"expected kind in {KINDS}, float32 or float16, got {self.kind!r}, {self.dtype!r}")
        for name in ("nlist", "nprobe", "parts", "candidates", "seed"):
            if getattr(self, name) < 0:
                raise VcworkError(f"index settings: expected {name} of at least 0, got {getattr(self, name)}")
        if self.bits and not 4 <= self.bits <= 8:
            raise VcworkError(f"index settings: expected 4 to 8 bits (or 0), got {self.bits}")
        if min(self.links, self.ef_build, self.ef_search) < 2 or not 0 < self.rebuild_share <= 1:
            got = (self.links, self.ef_build, self.ef_search, self.rebuild_share)
            raise VcworkError(f"expected links, ef_build, ef_search of at least 2, 0 < rebuild_share <= 1, got {got}")

    def fit(self, n: int, dimension: int) -> "IndexSettings":
        """The settings for `n` vectors, nothing left at 0; VcworkError where they are too few to train on."""
        if self.kind in ("flat", "hnsw"):
            return replace(self, candidates=self.candidates or 1)
        nlist = self.nlist or max(2, min(round(2 * math.sqrt(n)), n // PER_CENTRE))
        if n < PER_CENTRE * nlist:
            expected = f"at least {PER_CENTRE * nlist} vectors to train {nlist} cells"
            raise VcworkError(f"kind {self.kind!r}: expected {expected}, got {n}; use fewer cells, or kind 'flat'")
        nprobe = min(nlist, self.nprobe or max(8, nlist // 32))
        found = replace(self, nlist=nlist, nprobe=nprobe, candidates=self.candidates or 1)
        return self._fit_codes(found, n, dimension) if self.kind == "pq" else found

    def _fit_codes(self, found: "IndexSettings", n: int, dimension: int) -> "IndexSettings":
        parts = self.parts or max(p for p in range(1, max(1, dimension // 8) + 1) if dimension % p == 0)
        if dimension % parts:
            raise VcworkError(f"kind 'pq': expected parts that divide {dimension} numbers, got {parts}")
        bits = self.bits or max((b for b in range(4, 9) if PER_CENTRE << b <= n), default=4)
        if n < PER_CENTRE << bits:
            expected = f"at least {PER_CENTRE << bits} vectors to train codes of {bits} bits"
            raise VcworkError(f"kind 'pq': expected {expected}, got {n}; use fewer bits, or kind 'flat'")
        return replace(found, parts=parts, bits=bits, candidates=self.candidates or 20)


def train(rows: Rows, settings: IndexSettings) -> faiss.Index:
    """A faiss index over all rows, numbered by place; `settings` as `fit` returns them."""
    codes = "Flat" if settings.dtype == "float32" else "SQfp16"
    name = {"ivf": f"IVF{settings.nlist},{codes}", "hnsw": f"HNSW{settings.links},{codes}"}
    name["pq"] = f"IVF{settings.nlist},PQ{settings.parts}x{settings.bits}np"  # np: without a slow step of no use here
    try:
        index = faiss.index_factory(rows.dimension, name[settings.kind], faiss.METRIC_INNER_PRODUCT)
        index.train(rows.take(_seeded(index, rows, settings)))
        for _, block in rows.scan():
            index.add(block)
    except RuntimeError as error:
        raise VcworkError(f"faiss could not build {settings}: {error}") from error
    return index


def _seeded(index: faiss.Index, rows: Rows, settings: IndexSettings) -> np.ndarray:
    """Seeds everything random in the index; places of the rows to train on, in order."""
    if settings.kind == "hnsw":
        index.hnsw.efConstruction = settings.ef_build
        index.hnsw.rng = faiss.RandomGenerator(settings.seed)
        return np.arange(min(len(rows), 256))  # trains nothing, but faiss wants to be asked
    index.cp.seed = settings.seed
    wanted = 48 * settings.nlist
    if settings.kind == "pq":
        index.pq.cp.seed = settings.seed
        wanted = max(wanted, 64 << settings.bits)
    drawn = np.random.default_rng(settings.seed).choice(len(rows), min(len(rows), wanted), replace=False)
    return np.sort(drawn)


def approximate(
    index: faiss.Index,
    rows: Rows,
    queries: np.ndarray,
    k: int,
    settings: IndexSettings,
    alive: np.ndarray,
    effort: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """What the index finds of the live rows it covers, scored exactly: as `exact`, but maybe fewer than k.

    `effort` in place of `nprobe` (ivf, pq) or `ef_search` (hnsw).
    """
    alive, wanted = alive[: index.ntotal], min(index.ntotal, k * settings.candidates + _SPARE)
    dead = {} if alive.all() else {"sel": faiss.IDSelectorBitmap(np.packbits(alive, bitorder="little"))}
    if settings.kind == "hnsw":
        options = faiss.SearchParametersHNSW(efSearch=max(effort or settings.ef_search, wanted), **dead)
    else:
        options = faiss.SearchParametersIVF(nprobe=min(effort or settings.nprobe, settings.nlist), **dead)
    _, places = index.search(queries, wanted, params=options)  # (Q, wanted)
    query, column = np.nonzero(places >= 0)
    scores = np.full(places.shape, -np.inf, np.float32)
    for i in range(0, len(query), PAIRS):
        q, c = query[i : i + PAIRS], column[i : i + PAIRS]
        scores[q, c] = products(queries[q], rows.take(places[q, c]))
    return join([(scores, places)], k)


def write_index(index: faiss.Index, file: Any) -> None:
    """faiss's own format, into an open binary file."""
    faiss.write_index(index, faiss.PyCallbackIOWriter(file.write))


def read_index(path: Path, settings: IndexSettings, count: int, dimension: int) -> faiss.Index:
    """Read what `write_index` wrote. Only for a file whose digest was compared: faiss trusts what it reads."""
    try:
        index = faiss.read_index(str(path))
    except RuntimeError as error:
        raise VcworkError(f"{path}: not readable as a faiss index ({str(error)[-120:]})") from None
    kind = {faiss.IndexIVFPQ: "pq", faiss.IndexIVFFlat: "ivf", faiss.IndexIVFScalarQuantizer: "ivf"}.get(type(index))
    kind = "hnsw" if isinstance(index, faiss.IndexHNSW) else kind
    got = (kind, index.ntotal, index.d, index.metric_type == faiss.METRIC_INNER_PRODUCT)
    if got != (settings.kind, count, dimension, True):
        expected = (settings.kind, count, dimension, True)
        raise VcworkError(f"{path}: expected (kind, vectors, width, inner product) {expected}, got {got}")
    return index
