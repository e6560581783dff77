"""A vector database: build, add, delete, query, save, open; exact or approximate by one setting.

`VideoIndex` is exact unless `kind` names another (`approximate`: ivf, pq, hnsw). Scores are raw dot products, as
VideoCLIP uses them. Items live in places that are never given to another item: an added one gets a new place, a
deleted one's place is passed over in every kind. What was added since an approximate index was built is compared
exactly; once more than `REBUILD_SHARE` of it has changed, the next query or save builds it again. Nothing is ever
pickled, and vectors are memory-mapped when opened.
Known gaps: ids and metadata are held as text in memory (some 200 bytes an item); of an approximate index a deleted
item's vector stays on disk until the index is built again.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from vcwork.base.errors import VcworkError
from vcwork.base.sealed import Kind, open_sealed, write_sealed
from vcwork.measure.metrics import check_scores
from vcwork.search import approximate
from vcwork.search.exact import BLOCK, Rows, exact, merged, products

REBUILD_SHARE = 0.1  # changed items, as a share of those in an approximate index

INDEX = Kind(
    "index", "vcwork-index-2", make="build it, or save it again",
    fields={"dimension": int, "count": int, "places": int, "covered": int, "longest": float, "encoder": str,
            "settings": dict},
    files={"vectors": ".npy", "entries": ".jsonl", "index": ".faiss"},
)  # fmt: skip


@dataclass(frozen=True)
class Hit:
    """One answer: rank from 1, dot product, the item's id and what was stored with it."""

    rank: int
    score: float
    id: str
    metadata: dict[str, Any] = field(default_factory=dict)


def without_overlap(hits: Sequence[Hit], top: int = 5) -> list[Hit]:
    """The best `top` hits of which no two share a second of one video, ranked anew.

    Metadata needs `video`, `start_s` and `end_s`: overlapping windows of one moment would otherwise fill the list.
    """
    kept: list[Hit] = []
    for hit in hits:
        new = hit.metadata
        clash = any(
            old.metadata["video"] == new["video"]
            and old.metadata["start_s"] < new["end_s"]
            and new["start_s"] < old.metadata["end_s"]
            for old in kept
        )
        if not clash:
            kept.append(replace(hit, rank=len(kept) + 1))
        if len(kept) == top:
            break
    return kept


class VideoIndex:
    """Vectors (N, D) with ids and metadata; `encoder` is the digest of what made them, checked when opened.

    `ann` is faiss's approximate index, None while there is none.
    """

    def __init__(self, dimension: int, encoder: str = "", kind: str = "flat") -> None:
        self.dimension, self.encoder, self.kind = dimension, encoder, approximate.check_kind(kind)
        self._rows = Rows(dimension)
        self._lines: list[str | None] = []  # '["id", {metadata}]' by place, None where deleted
        self._place: dict[str, int] = {}
        self._alive = np.ones(0, dtype=bool)
        self.ann = None

    @classmethod
    def build(
        cls,
        vectors: np.ndarray,
        ids: Sequence[str],
        metadata: Sequence[dict[str, Any]] | None = None,
        encoder: str = "",
        kind: str = "flat",
    ) -> "VideoIndex":
        """An index of vectors (N, D), ids (N,) all different, metadata (N,) JSON-able dictionaries.

        Raises VcworkError where the vectors are too few to train that kind.
        """
        index = cls(check_scores(vectors[:1], "vectors").shape[1], encoder, kind)
        index.add(vectors, ids, metadata)
        index.rebuild()
        return index

    def __len__(self) -> int:
        return len(self._place)

    def __contains__(self, item: object) -> bool:
        return item in self._place

    @property
    def ids(self) -> list[str]:
        """Ids in the order of adding."""
        return list(self._place)

    @property
    def metadata(self) -> list[dict[str, Any]]:
        """A copy of what is stored with each item, in the order of `ids`."""
        return [json.loads(self._lines[place])[1] for place in self._place.values()]

    @property
    def vectors(self) -> np.ndarray:
        """A copy of the vectors, (N, D) float32, in the order of `ids`."""
        return self._rows.take(np.flatnonzero(self._alive))

    def entry(self, id: str) -> dict[str, Any]:
        """What is stored with an item. Raises VcworkError on an unknown id."""
        return json.loads(self._lines[self._places([id])[0]])[1]

    def scores(self, vector: np.ndarray, ids: Sequence[str]) -> np.ndarray:
        """Scores (n,) of one query vector (D,) with these items, the numbers `query` gives."""
        rows = self._rows.take(np.array(self._places(ids), dtype=np.int64))  # (n, D)
        return products(np.broadcast_to(self._checked(np.atleast_2d(vector), "query vectors"), rows.shape), rows)

    @property
    def covered(self) -> int:
        """Places the approximate index knows, 0 while there is none; later ones are compared exactly."""
        return self.ann.ntotal if self.ann is not None else 0

    # --------------------------------------------------------------------------------------------- changing

    def add(self, vectors: np.ndarray, ids: Sequence[str], metadata: Sequence[dict[str, Any]] | None = None) -> None:
        """Add vectors (n, D), all or none.

        Raises VcworkError on NaN or infinity, another width, an id already there, and metadata that is no JSON.
        """
        metadata = [{}] * len(ids) if metadata is None else metadata
        if not len(vectors) == len(ids) == len(metadata):
            raise VcworkError(f"{len(vectors)} vectors, {len(ids)} ids, {len(metadata)} metadata: expected as many")
        lines = [_line(str(i), m) for i, m in zip(ids, metadata, strict=True)]
        new: dict[str, int] = {}
        for place, id in enumerate(map(str, ids), len(self._lines)):
            if id in self._place or id in new:
                raise VcworkError(f"id {id!r} is in the index already; delete it first")
            new[id] = place
        rows = Rows(self.dimension)
        for first in range(0, len(vectors), BLOCK):
            rows.append(self._checked(vectors[first : first + BLOCK]))
        self._rows.extend(rows)
        self._lines += lines
        self._place |= new
        self._alive = np.append(self._alive, np.ones(len(lines), dtype=bool))

    def delete(self, ids: Sequence[str]) -> None:
        """Remove items by id; the others keep their order. Raises VcworkError on an unknown id."""
        for place in set(self._places(ids)):
            del self._place[json.loads(self._lines[place])[0]]
            self._lines[place], self._alive[place] = None, False

    def rebuild(self) -> None:
        """Give up deleted places, and build the approximate index over all items, trained anew.

        Raises VcworkError where they are too few for that (and leaves everything as it was).
        """
        approximate.check_trainable(self.kind, len(self))
        self.ann = None  # its memory first, then that of the deleted
        if not self._alive.all():
            self._rows = self._rows.kept(self._alive)
            self._lines = [line for line in self._lines if line is not None]
            self._place = {id: place for place, id in enumerate(self._place)}
            self._alive = np.ones(len(self._rows), dtype=bool)
        if self.kind != "flat" and len(self):
            self.ann = approximate.train(self.kind, self._rows)

    def _settle(self) -> None:
        """Build again where too much has changed; where too little is left for that, compare exactly."""
        known = self.covered or len(self._alive)
        changed = int((~self._alive[:known]).sum()) + len(self._alive) - known
        if self.kind != "flat" and self.ann is None:
            changed = len(self)
        if changed <= REBUILD_SHARE * known:
            return
        if len(self) < approximate.LEAST.get(self.kind, 0):
            self.ann = None
        else:
            self.rebuild()

    def _places(self, ids: Sequence[str]) -> list[int]:
        unknown = {str(i) for i in ids if str(i) not in self._place}  # the index may be a thousand times longer
        if unknown:
            raise VcworkError(f"not in the index of {len(self)}: {sorted(unknown)[:5]}")
        return [self._place[str(i)] for i in ids]

    def _checked(self, vectors: np.ndarray, name: str = "vectors") -> np.ndarray:
        vectors = np.ascontiguousarray(check_scores(vectors, name), dtype=np.float32)
        if vectors.shape[1] != self.dimension or not np.isfinite(vectors).all():
            raise VcworkError(f"expected finite {name} of width {self.dimension}, got shape {vectors.shape}")
        return vectors

    # --------------------------------------------------------------------------------------------- asking

    def query(self, vectors: np.ndarray, k: int = 10, effort: int = 0) -> list[list[Hit]]:
        """The k best items of each query, best first: (Q, D) or one (D,) -> Q lists of at most N hits.

        Of equal scores the item added first comes first. An approximate index may miss some, and find fewer than k;
        `effort` is how many cells it looks into (ivf, pq) or nodes it keeps in view (hnsw); 0: `usual_effort`.
        """
        vectors = self._checked(np.atleast_2d(vectors), "query vectors")
        if k < 1 or effort < 0:
            raise VcworkError(f"expected k of at least 1 and effort of at least 0, got {k} and {effort}")
        if not len(self):
            return [[] for _ in vectors]
        self._settle()
        k = min(k, len(self))
        best = exact(self._rows, vectors, k, self._alive, self.covered)
        if self.ann is not None:
            found = approximate.approximate(self.ann, self._rows, vectors, k, self._alive, effort)
            best = merged(best, found)
        scores, places = best
        return [self._hits(s[p >= 0], p[p >= 0]) for s, p in zip(scores, places, strict=True)]

    def query_videos(self, vectors: np.ndarray, k: int = 10) -> list[list[Hit]]:
        """MaxSim: the k best videos, each by the best of its vectors: Q lists of hits, one hit a video.

        A hit is the video's best item, so it also says where. Metadata needs `video`, which an item belongs to.
        """
        vectors, asked = np.atleast_2d(vectors), 4 * k
        best: list[dict[Any, Hit]] = [{} for _ in vectors]
        seen, todo = [0] * len(vectors), list(range(len(vectors)))
        while todo:
            answers = self.query(vectors[todo], asked)
            for q, hits in zip(list(todo), answers, strict=True):
                best[q] = {}
                for hit in hits:
                    best[q].setdefault(_video(hit), hit)
                if len(best[q]) >= k or asked >= len(self) or len(hits) == seen[q]:
                    todo.remove(q)
                seen[q] = len(hits)
            asked *= 4
        return [[replace(h, rank=n) for n, h in enumerate([*found.values()][:k], 1)] for found in best]

    def _hits(self, scores: np.ndarray, places: np.ndarray) -> list[Hit]:
        items = [json.loads(self._lines[place]) for place in places]
        return [Hit(n, float(s), *item) for n, (s, item) in enumerate(zip(scores, items, strict=True), 1)]

    # --------------------------------------------------------------------------------------------- on disk

    def save(self, folder: str | Path) -> Path:
        """Write the index into `folder`, replacing an older index there; raises VcworkError on a foreign folder."""
        folder = Path(folder)
        self._settle()
        rows, lines = self._rows, self._lines
        if self.ann is None and not self._alive.all():  # nobody counts on the places of the deleted ones
            rows, lines = rows.kept(self._alive), [line for line in lines if line is not None]
        header = {"dimension": self.dimension, "count": len(self), "places": len(lines), "covered": self.covered}
        header |= {"longest": float(rows.longest), "encoder": self.encoder, "settings": {"kind": self.kind}}
        writers = {"vectors": rows.write, "entries": lambda file: _write_lines(file, lines)}
        if self.ann is not None:
            writers["index"] = lambda file: approximate.write_index(self.ann, file)
        write_sealed(folder, INDEX, header, writers)
        return folder

    @classmethod
    def open(cls, folder: str | Path, encoder: str | None = None) -> "VideoIndex":
        """Read an index back, its vectors as a memory map.

        Raises VcworkError where the index is absent, incomplete, altered, another encoder's, or was built with a
        setting that is no more (half precision, vectors scaled to length 1).
        """
        folder = Path(folder)
        stored, files = open_sealed(folder, INDEX)
        if encoder is not None and stored["encoder"] != encoder:
            came = stored["encoder"]
            raise VcworkError(f"{folder}: made by encoder {came!r}, asked for {encoder!r}; build it again")
        settings = {"unit": False, "dtype": "float32"} | stored["settings"]
        if settings["unit"] or settings["dtype"] != "float32":
            raise VcworkError(f"{folder}: settings of another version (unit, dtype); build the index again")
        index = cls(stored["dimension"], stored["encoder"], settings.get("kind", ""))
        index._rows = Rows.read(files["vectors"], (stored["places"], stored["dimension"]))
        index._rows.longest = stored["longest"]
        index._read_lines(files["entries"], stored)
        if "index" in files:
            index.ann = approximate.read_index(files["index"], index.kind, stored["covered"], index.dimension)
        return index

    def _read_lines(self, path: Path, stored: dict[str, Any]) -> None:
        with open(path, "rb") as file:
            for number, line in enumerate(file):
                id = _id_of(line, f"{path}, line {number + 1}")
                self._lines.append(None if id is None else line.decode().rstrip("\n"))
                if id is not None:
                    self._place[id] = number
        self._alive = np.array([line is not None for line in self._lines], dtype=bool)
        got = (len(self._lines), len(self._place), int(self._alive.sum()))
        if got != (stored["places"], stored["count"], stored["count"]):
            expected = (stored["places"], stored["count"])
            raise VcworkError(f"{path}: expected (places, items) {expected}, got {got[0]} places, {got[1]} ids")


def _video(hit: Hit) -> Any:
    if "video" not in hit.metadata:
        raise VcworkError(f"item {hit.id!r}: expected 'video' in its metadata, got {sorted(hit.metadata)}")
    return hit.metadata["video"]


def _line(id: str, metadata: dict[str, Any]) -> str:
    try:
        return json.dumps([id, dict(metadata)], allow_nan=False)
    except (TypeError, ValueError) as error:
        raise VcworkError(f"metadata of {id!r}: expected a dictionary that JSON can hold ({error})") from None


def _id_of(line: bytes, where: str) -> str | None:
    """The id in '["id", {metadata}]', None for null; VcworkError for anything else."""
    try:
        entry = json.loads(line)
    except ValueError:
        entry = ...
    match entry:
        case None:
            return None
        case [str() as id, dict()]:
            return id
    raise VcworkError(f"{where}: expected [id, metadata] or null, got {line[:60]!r}")


def _write_lines(file: Any, lines: list[str | None]) -> None:
    for first in range(0, len(lines), BLOCK):
        part = "".join(f"{line or 'null'}\n" for line in lines[first : first + BLOCK])
        file.write(part.encode())
