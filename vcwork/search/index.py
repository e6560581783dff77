"""A vector database: build, add, delete, query, words, save, open; exact or approximate by one setting.

`VideoIndex` is exact unless `kind` names another (`approximate`: ivf, pq, hnsw). Scores are raw dot products, as
VideoCLIP uses them; those of `words` are BM25's, of the captions in the metadata. Vectors added since faiss's index was
built are compared exactly; once more than `REBUILD_SHARE` of it has changed, the next query or save builds it again.
How it lies on disk, and what a process that dies leaves there, is `store`; past one machine: `milvus`.
Known gaps: words are what stands between blanks and signs, so Chinese and Japanese have hardly any; a deleted item's
vector stays on disk until faiss's index is built again.
"""

import json
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vcwork.base.errors import VcworkError
from vcwork.measure.metrics import check_scores
from vcwork.search import approximate
from vcwork.search.hits import Asked, Hit, as_ids, whole
from vcwork.search.store import Store

REBUILD_SHARE = 0.1  # changed items, as a share of those in faiss's index
SPARE = 8  # more candidates than asked for: what is deleted, equal or rounded at the end of the list is put right


class VideoIndex(Asked):
    """Vectors (N, D) with ids and metadata; `encoder` is the digest of what made them, checked when opened.

    faiss holds most of them in `_main`, memory-mapped once saved, and those added since in `_tail`; `_dead` are places
    in `_main` of deleted items. Places count the items ever added, so their order is that of adding.
    """

    def __init__(self, dimension: int, encoder: str = "", kind: str = "flat") -> None:
        about = {"dimension": whole(dimension, "a dimension"), "encoder": encoder, "kind": approximate.check_kind(kind)}
        about |= {"next": 0, "tail": 0, "longest": 0.0, "approximate": False}
        self._load(Store(None, about, self._load))

    def _load(self, store: Store) -> None:
        self._store, self._moved = store, False
        self.dimension, self.encoder, self.kind = (store.about[key] for key in ("dimension", "encoder", "kind"))
        self._main = approximate.read(store.file) if store.file else None
        self._tail = approximate.build("flat", self.dimension)
        for place, vector in store.db.execute("SELECT place, vector FROM fresh ORDER BY place"):
            self._tail.add_with_ids(np.frombuffer(vector, np.float32)[None], np.array([place]))
        self._dead = {place for (place,) in store.db.execute("SELECT place FROM gone")}

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
        with self._store.reading():
            return (self._main.ntotal if self._main else 0) - len(self._dead) + self._tail.ntotal

    def __contains__(self, item: object) -> bool:
        with self._store.reading():
            return isinstance(item, str) and self._place(item) is not None

    @property
    def ids(self) -> list[str]:
        """Ids in the order of adding."""
        with self._store.reading() as db:
            return [id for (id,) in db.execute("SELECT id FROM item ORDER BY place")]

    @property
    def metadata(self) -> list[dict[str, Any]]:
        """A copy of what is stored with each item, in the order of `ids`."""
        with self._store.reading() as db:
            return [json.loads(stored) for (stored,) in db.execute("SELECT metadata FROM item ORDER BY place")]

    @property
    def vectors(self) -> np.ndarray:
        """A copy of the vectors, (N, D) float32, in the order of `ids`."""
        with self._store.reading():
            return self._take(self._all())

    def entry(self, id: str) -> dict[str, Any]:
        """What is stored with an item. Raises VcworkError on an unknown id."""
        with self._store.reading():
            return self._item(self._places([id])[0])[1]

    def beginning(self, prefix: str) -> dict[str, dict[str, Any]]:
        """What is stored with each item whose id begins so, {id: metadata}; costs no more than there are."""
        first, rows = prefix.encode("utf-8", "surrogatepass"), "id >= CAST(? AS TEXT) AND id < CAST(? AS TEXT)"
        with self._store.reading() as db:
            found = db.execute(f"SELECT id, metadata FROM item WHERE {rows}", (first, first + b"\xff")).fetchall()
        return {id: json.loads(stored) for id, stored in found}

    def scores(self, vector: np.ndarray, ids: Sequence[str]) -> np.ndarray:
        """Scores (n,) of one query vector (D,) with these items, the numbers `query` gives."""
        query = self._one(vector)
        with self._store.reading():
            return self._products(query, np.array(self._places(ids), np.int64))

    @property
    def ann(self) -> Any:
        """faiss's approximate index, None while there is none."""
        return self._main if self.covered else None

    @property
    def covered(self) -> int:
        """Vectors the approximate index knows, 0 while there is none; later ones are compared exactly."""
        return self._main.ntotal if self._store.about["approximate"] else 0

    # --------------------------------------------------------------------------------------------- changing

    def detach(self) -> None:
        """From now on changes are nobody's but ours: the folder is neither locked by them nor followed."""
        self._store.detach()

    def add(self, vectors: np.ndarray, ids: Sequence[str], metadata: Sequence[dict[str, Any]] | None = None) -> None:
        """Add vectors (n, D), all or none. A text at `text` of its metadata is what `words` searches.

        Raises VcworkError on NaN or infinity, another width, an id already there, and metadata that is no JSON.
        """
        blocks, items = self._valid(vectors, ids, metadata)
        with self._store.changing() as db:
            about = self._store.about
            rows = ((place, _text(id), stored) for place, (id, stored, _) in enumerate(items, about["next"]))
            try:
                db.executemany("INSERT INTO item VALUES (?, CAST(? AS TEXT), ?)", rows)
            except sqlite3.IntegrityError:
                done = db.execute("SELECT count(*) FROM item WHERE place >= ?", (about["next"],)).fetchone()[0]
                raise VcworkError(f"id {items[done][0]!r} is in the index already; delete it first") from None
            said = ((place, _text(text)) for place, (_, _, text) in enumerate(items, about["next"]) if text)
            db.executemany("INSERT INTO said (rowid, text) VALUES (?, CAST(? AS TEXT))", said)
        for block in blocks:
            self._tail.add_with_ids(block, np.arange(about["next"], about["next"] + len(block)))
            about["next"] += len(block)
            about["longest"] = max(about["longest"], float(np.linalg.norm(block, axis=1).max()))

    def delete(self, ids: Sequence[str]) -> None:
        """Remove items by id; the others keep their order. Raises VcworkError on an unknown id."""
        with self._store.changing() as db:
            gone = sorted(set(self._places(ids)))
            db.executemany("DELETE FROM item WHERE place = ?", ((place,) for place in gone))
            db.executemany("DELETE FROM said WHERE rowid = ?", ((place,) for place in gone))
        first = self._store.about["tail"]
        self._tail.remove_ids(np.array([place for place in gone if place >= first], np.int64))
        self._dead.update(place for place in gone if place < first)

    def rebuild(self) -> None:
        """Give up deleted vectors, and build the approximate index over all items, trained anew.

        Raises VcworkError where they are too few for that (and leaves everything as it was).
        """
        with self._store.reading():
            approximate.check_trainable(self.kind, len(self))
            self._rebuild(self.kind if len(self) else "flat")

    def _rebuild(self, kind: str) -> None:
        if kind == "flat" and self._main is None:
            main = self._tail
        elif kind == "flat" and not self._dead and not self._tail.ntotal:
            return
        else:
            main = approximate.build(kind, self.dimension, self._all(), self._take)
        self._main, self._tail, self._dead, self._moved = main, approximate.build("flat", self.dimension), set(), True
        self._store.about |= {"tail": self._store.about["next"], "approximate": kind != "flat"}

    def _settle(self) -> None:
        """Build again where too much has changed; where too little is left for that, compare exactly."""
        known = self._main.ntotal if self._main else 0
        if len(self._dead) + self._tail.ntotal > REBUILD_SHARE * known:
            self._rebuild(self.kind if len(self) >= approximate.LEAST.get(self.kind, 1) else "flat")

    def _all(self) -> np.ndarray:
        """The places (N,) of all items."""
        found = self._store.db.execute("SELECT place FROM item ORDER BY place")
        return np.array([place for (place,) in found], np.int64)

    def _take(self, places: np.ndarray) -> np.ndarray:
        """The vectors (n, D) at these places (n,)."""
        vectors, old = np.empty((len(places), self.dimension), np.float32), places < self._store.about["tail"]
        for index, these in ((self._main, old), (self._tail, ~old)):
            if these.any():
                vectors[these] = index.reconstruct_batch(places[these])
        return vectors

    def _place(self, id: str) -> int | None:
        found = self._store.db.execute("SELECT place FROM item WHERE id = CAST(? AS TEXT)", (_text(id),)).fetchone()
        return found[0] if found else None

    def _places(self, ids: Sequence[str]) -> list[int]:
        ids = as_ids(ids)
        places = [self._place(id) for id in ids]
        if None in places:
            unknown = {id for id, place in zip(ids, places, strict=True) if place is None}
            raise VcworkError(f"not in the index of {len(self)}: {sorted(unknown)[:5]}")
        return places

    def _item(self, place: int) -> tuple[str, dict[str, Any]]:
        id, stored = self._store.db.execute("SELECT id, metadata FROM item WHERE place = ?", (place,)).fetchone()
        return id, json.loads(stored)

    # --------------------------------------------------------------------------------------------- asking

    def query(self, vectors: np.ndarray, k: int = 10, effort: int = 0) -> list[list[Hit]]:
        """The k best items of each query, best first: (Q, D) or one (D,) -> Q lists of at most N hits.

        Of equal scores the item added first comes first. An approximate index may miss some, and find fewer than k;
        `effort` is how many cells it looks into (ivf, pq) or nodes it keeps in view (hnsw); 0: `usual_effort`.
        """
        vectors, k, effort = self._asked(vectors, k, effort)
        with self._store.reading():
            self._settle()
            found = zip(self._best(self._main, vectors, k, effort), self._best(self._tail, vectors, k), strict=True)
            return [self._hits(sorted([*old, *new], key=lambda pair: (-pair[0], pair[1]))[:k]) for old, new in found]

    def _best(self, index: Any, queries: np.ndarray, k: int, effort: int = 0) -> list[list[tuple[float, int]]]:
        """(score, place) of at least the k best live items that one of the two indexes finds of each query.

        A score is the pair's own product, the same in any batch and kind. Products made together are rounded otherwise,
        and faiss knows no deleted items: where the end of its list is not clearly worse than the k-th best, it is asked
        for a longer one.
        """
        best: list[list[tuple[float, int]]] = [[] for _ in queries]
        eps = 2 * self.dimension * np.finfo(np.float32).eps * self._store.about["longest"]
        surely = index is self._main and self._store.about["approximate"]
        todo, wanted = list(range(len(queries))), k + SPARE
        while todo and index and index.ntotal:
            wanted, again = min(wanted, index.ntotal), []
            for q, raw, places in zip(todo, *approximate.search(index, queries[todo], wanted, effort), strict=True):
                live = np.array([p for p in places.tolist() if p >= 0 and p not in self._dead], np.int64)
                own = self._products(queries[q], live)
                end = raw[-1] + eps * float(np.linalg.norm(queries[q]))  # what is further down scores no more
                enough = len(own) >= k and (surely or np.partition(own, -k)[-k] > end)
                if enough or places[-1] < 0 or wanted == index.ntotal:
                    best[q] = list(zip(own.tolist(), live.tolist(), strict=True))
                else:
                    again.append(q)
            todo, wanted = again, 4 * wanted
        return best

    def _products(self, query: np.ndarray, places: np.ndarray) -> np.ndarray:
        """Dot products (n,) of one query (D,) with the items at these places, each of its own."""
        return np.einsum("pd,pd->p", np.broadcast_to(query, (len(places), self.dimension)), self._take(places))

    def words(self, query: str, k: int = 10) -> list[Hit]:
        """The k items whose text has most of these words, by BM25; of equal scores the one added first."""
        plain = query.encode("utf-8", "replace").decode().replace("\0", " ").replace('"', " ").split()
        match, k = " OR ".join(f'"{word}"' for word in dict.fromkeys(plain)), min(whole(k, "k"), 2**31)
        with self._store.reading() as db:
            found = "SELECT -bm25(said), rowid FROM said WHERE said MATCH ? ORDER BY bm25(said), rowid LIMIT ?"
            return self._hits(db.execute(found, (match, k)).fetchall() if plain else [])

    def _hits(self, found: list[tuple[float, int]]) -> list[Hit]:
        return [Hit(rank, score, *self._item(place)) for rank, (score, place) in enumerate(found, 1)]

    # --------------------------------------------------------------------------------------------- on disk

    def save(self, folder: str | Path) -> Path:
        """Make `folder` hold this index, replacing an older one there; raises VcworkError on a foreign folder.

        To `milvus:` and a file or address: as a copy.
        """
        if str(folder).startswith("milvus:"):
            from vcwork.search.milvus import copied

            return copied(self, str(folder))
        folder = Path(folder)
        with self._store.reading():
            self._settle()
            if self._store.holds(folder) and not self._moved:
                return folder
        with self._store.changing() as db:
            places = approximate.ids(self._tail)
            fresh = zip(places.tolist(), map(np.ndarray.tobytes, self._take(places)), strict=True)
            db.execute("DELETE FROM fresh")
            db.executemany("INSERT INTO fresh VALUES (?, ?)", fresh)
            db.execute("DELETE FROM gone")
            db.executemany("INSERT INTO gone VALUES (?)", ((place,) for place in sorted(self._dead)))
        before = self._store.file
        self._store.save(folder, approximate.writer(self._main) if self._moved else None)
        if self._store.file != before:
            self._main, self._moved = approximate.read(self._store.file), False
        return folder

    def check(self) -> None:
        """VcworkError where a byte on disk is not as saved, also where that changes no answer, which opening bears."""
        self._store.check_bytes()

    @classmethod
    def open(cls, folder: str | Path, encoder: str | None = None) -> Asked:
        """Read an index back, its vectors as a memory map; or go on with one at a `milvus:` address.

        Raises VcworkError where the index is absent, incomplete, altered, or another encoder's.
        """
        if str(folder).startswith("milvus:"):
            from vcwork.search.milvus import MilvusIndex

            index: Asked = MilvusIndex(str(folder))
        else:
            index = cls.__new__(cls)
            Store(Path(folder), {}, index._load)
        if encoder is not None and index.encoder != encoder:
            raise VcworkError(f"{folder}: made by encoder {index.encoder!r}, asked for {encoder!r}; build it again")
        return index


def _text(text: str) -> str | bytes:
    """What a CAST AS TEXT takes, also of a file name that is no UTF-8; plain text as it is, which is quicker."""
    return text if text.isascii() else text.encode("utf-8", "surrogatepass")
