"""The verbs of `VideoIndex` on Milvus, an engine that grows past one machine (extra `cluster`).

An address is `milvus:FILE.db` (Milvus Lite, within this process) or `milvus:http://HOST:19530` (a server or cluster).
`index.save(address)` copies an index there, `VideoIndex.open(address)` goes on with it; every change counts at once.
Known gaps: scores are Milvus's own, whose last bits may depend on the batch, and of equal scores at the end of a list
any may be left out; a hit list ends at 16,384; two writers can add one id twice; dying within `add` leaves
the items before it; names that are no UTF-8 are refused. A token for a server is read from MILVUS_TOKEN.
"""

import contextlib
import json
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vcwork.base.errors import VcworkError
from vcwork.search import approximate
from vcwork.search.hits import Asked, Hit, as_ids, whole

PREFIX, NAME, ABOUT = "milvus:", "vcwork", "vcwork_about"
MOST, TEXT, BATCH = 16384, 65535, 1000  # hits of one query, bytes of a text (Milvus's limits), items sent together


class MilvusIndex(Asked):
    """What lies at an address, or with `about` (dimension, encoder, kind) a new, empty index there.

    VcworkError where there is none, or one already, and where pymilvus or the server is not to be had.
    """

    ann, covered = None, 0

    def __init__(self, address: str, about: dict[str, Any] | None = None) -> None:
        try:
            from pymilvus import MilvusClient
        except ImportError:
            raise VcworkError(f"{address}: needs pymilvus; pip install 'vcwork[cluster]'") from None
        self.address = address
        uri = address.removeprefix(PREFIX)
        if "://" not in uri:
            Path(uri).absolute().parent.mkdir(parents=True, exist_ok=True)
        with self._named():
            self._client = MilvusClient(uri, token=os.environ.get("MILVUS_TOKEN", ""))
            there = self._client.has_collection(NAME)
            if there == (about is not None):
                raise VcworkError(
                    f"{address}: {'holds an index already' if there else 'expected an index, found none'}"
                )
            if about is not None:
                self._create(about)
            about = json.loads(self._client.query(ABOUT, ids=["index"], output_fields=["about"])[0]["about"])
        self.dimension, self.encoder, self.kind = about["dimension"], about["encoder"], about["kind"]

    def _create(self, about: dict[str, Any]) -> None:
        from pymilvus import DataType, Function, FunctionType

        folded = {"tokenizer": "standard", "filter": ["lowercase", "asciifolding"]}
        kept = {
            "id": "index",
            "vector": [0.0, 0.0],
            "about": json.dumps(about),
        }  # a collection has a vector, asked or not
        self._client.create_collection(ABOUT, 2, id_type="str", max_length=100, consistency_level="Strong")
        self._client.insert(ABOUT, [kept])
        schema = self._client.create_schema(auto_id=False)
        schema.add_field("place", DataType.INT64, is_primary=True)
        schema.add_field("id", DataType.VARCHAR, max_length=TEXT)
        schema.add_field("metadata", DataType.VARCHAR, max_length=TEXT)
        schema.add_field("text", DataType.VARCHAR, max_length=TEXT, enable_analyzer=True, analyzer_params=folded)
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=about["dimension"])
        schema.add_field("said", DataType.SPARSE_FLOAT_VECTOR)
        bm25 = {"input_field_names": ["text"], "output_field_names": ["said"], "function_type": FunctionType.BM25}
        schema.add_function(Function(name="bm25", **bm25))
        indexes = self._client.prepare_index_params()
        indexes.add_index("vector", index_type="FLAT", metric_type="IP")
        indexes.add_index("said", index_type="SPARSE_INVERTED_INDEX", metric_type="BM25")
        self._client.create_collection(NAME, schema=schema, index_params=indexes, consistency_level="Strong")

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        from pymilvus.exceptions import MilvusException

        try:
            yield
        except MilvusException as error:
            raise VcworkError(f"{self.address}: {error.message.splitlines()[0]}") from error

    # ------------------------------------------------------------------------------------------------ reading

    def _every(self, *fields: str, filter: str = "") -> list[dict[str, Any]]:
        """These fields of all items, or of those that a filter lets through, in the order of adding."""
        with self._named():
            pages, found = self._client.query_iterator(NAME, BATCH, filter=filter, output_fields=["place", *fields]), []
            while page := pages.next():
                found += page
        return sorted(found, key=lambda row: row["place"])

    def _of(self, ids: Sequence[str], *fields: str) -> dict[str, dict[str, Any]]:
        """{id: fields} of those of these items that are there."""
        found: dict[str, dict[str, Any]] = {}
        batch = BATCH if fields else MOST  # Milvus Lite looks through all items each time
        for first in range(0, len(ids), batch):
            wanted = f"id in {json.dumps(ids[first : first + batch], ensure_ascii=False)}"
            with self._named():
                rows = self._client.query(NAME, filter=wanted, output_fields=["place", "id", *fields])
            found |= {row["id"]: row for row in rows}
        return found

    def _rows(self, ids: Sequence[str], *fields: str) -> list[dict[str, Any]]:
        found = self._of(ids := as_ids(ids), *fields)
        if unknown := set(ids) - set(found):
            raise VcworkError(f"not in the index of {len(self)}: {sorted(unknown)[:5]}")
        return [found[id] for id in ids]

    def __len__(self) -> int:
        with self._named():
            return self._client.query(NAME, filter="place >= 0", output_fields=["count(*)"])[0]["count(*)"]

    def __contains__(self, item: object) -> bool:
        return isinstance(item, str) and bool(self._of([item]))

    @property
    def ids(self) -> list[str]:
        return [row["id"] for row in self._every("id")]

    @property
    def metadata(self) -> list[dict[str, Any]]:
        return [json.loads(row["metadata"]) for row in self._every("metadata")]

    @property
    def vectors(self) -> np.ndarray:
        return np.array([row["vector"] for row in self._every("vector")], np.float32).reshape(-1, self.dimension)

    def entry(self, id: str) -> dict[str, Any]:
        return json.loads(self._rows([id], "metadata")[0]["metadata"])

    def beginning(self, prefix: str) -> dict[str, dict[str, Any]]:
        every = self._every("id", "metadata", filter=f"id like {json.dumps(prefix + '%', ensure_ascii=False)}")
        return {row["id"]: json.loads(row["metadata"]) for row in every if row["id"].startswith(prefix)}

    def scores(self, vector: np.ndarray, ids: Sequence[str]) -> np.ndarray:
        rows = np.array([row["vector"] for row in self._rows(ids, "vector")], np.float32).reshape(-1, self.dimension)
        return rows @ self._one(vector)

    # ----------------------------------------------------------------------------------------------- changing

    def add(self, vectors: np.ndarray, ids: Sequence[str], metadata: Sequence[dict[str, Any]] | None = None) -> None:
        blocks, items = self._valid(vectors, ids, metadata)
        here, seen = self._of([id for id, _, _ in items]), set()
        for id, stored, text in items:
            if id in here or id in seen:
                raise VcworkError(f"id {id!r} is in the index already; delete it first")
            seen.add(id)
            for what in (id, stored, text):
                if len(what.encode("utf-8", "replace")) > TEXT or what != what.encode("utf-8", "replace").decode():
                    raise VcworkError(f"item {id!r}: expected UTF-8 of at most {TEXT} bytes, got {what[:60]!r}")
        now = time.time_ns()  # places count on from the clock, so whoever adds, their order is that of adding
        whole = np.concatenate([np.empty((0, self.dimension), np.float32), *blocks])
        for first in range(0, len(items), BATCH):
            part = enumerate(items[first : first + BATCH], first)
            rows = [{"place": now + n, "id": i, "metadata": m, "text": t, "vector": whole[n]} for n, (i, m, t) in part]
            with self._named():
                self._client.insert(NAME, rows)

    def delete(self, ids: Sequence[str]) -> None:
        places = sorted({row["place"] for row in self._rows(ids)})
        for first in range(0, len(places), BATCH):
            with self._named():
                self._client.delete(NAME, ids=places[first : first + BATCH])

    def rebuild(self) -> None:
        """Have Milvus build its index of that kind anew."""
        approximate.check_trainable(self.kind, n := len(self))
        cells, parts = {"nlist": approximate.cells_of(n)}, max(1, self.dimension // 8)
        graph = {"M": approximate.LINKS, "efConstruction": approximate.EF_BUILD}
        name, params = {"flat": ("FLAT", {}), "ivf": ("IVF_FLAT", cells),
                        "pq": ("IVF_PQ", cells | {"m": parts, "nbits": 8}),
                        "hnsw": ("HNSW", graph)}[self.kind]  # fmt: skip
        indexes = self._client.prepare_index_params()
        indexes.add_index(
            "vector", index_type=name, metric_type="IP", params={"params": params}
        )  # Lite reads no others
        with self._named():
            self._client.flush(NAME)
            self._client.release_collection(NAME)
            self._client.drop_index(NAME, "vector")
            self._client.create_index(NAME, indexes)
            self._client.load_collection(NAME)

    # ------------------------------------------------------------------------------------------------- asking

    def query(self, vectors: np.ndarray, k: int = 10, effort: int = 0) -> list[list[Hit]]:
        vectors, k, effort = self._asked(vectors, k, effort)
        if not (n := len(self)):
            return [[] for _ in vectors]
        cells = approximate.cells_of(n)
        usual = {"hnsw": {"ef": max(effort or approximate.EF_SEARCH, k)}, "flat": {}}
        params = usual.get(self.kind, {"nprobe": min(effort or approximate.usual_cells(cells), cells)})
        return self._search(vectors, min(k, n), "vector", {"params": params})

    def words(self, query: str, k: int = 10) -> list[Hit]:
        plain, k = query.encode("utf-8", "replace").decode(), min(whole(k, "k"), MOST)
        return self._search([plain], k, "said", {})[0] if plain.strip() else []

    def _search(self, data: Any, k: int, field: str, params: dict[str, Any]) -> list[list[Hit]]:
        if k > MOST:
            raise VcworkError(f"{self.address}: Milvus gives at most {MOST} hits, asked for {k}")
        with self._named():
            found = self._client.search(NAME, data=list(data), limit=k, anns_field=field, search_params=params,
                                        output_fields=["id", "metadata", "place"])  # fmt: skip
        return [[Hit(rank, score, row["entity"]["id"], json.loads(row["entity"]["metadata"]))
                 for rank, (score, row) in enumerate(_ordered(hits, field), 1)] for hits in found]  # fmt: skip

    def save(self, folder: str | Path) -> Path:
        """Every change counts at once, so there is nothing to do at the address itself; VcworkError anywhere else."""
        if str(folder) != self.address:
            way = "VideoIndex.build(index.vectors, index.ids, index.metadata) makes one that can be saved there"
            raise VcworkError(f"{folder}: this index lies at {self.address}; {way}")
        return Path(folder)


def copied(index: Any, address: str) -> Path:
    """All items of an index at a new address."""
    there = MilvusIndex(address, {"dimension": index.dimension, "encoder": index.encoder, "kind": index.kind})
    if len(index):
        there.add(index.vectors, index.ids, index.metadata)
        there.rebuild()
    return Path(address)


def _ordered(hits: Any, field: str) -> list[tuple[float, Any]]:
    """(score, row), best first, of equals the earlier place. Milvus Lite gives BM25 below zero, servers above."""
    scored = [(abs(row["distance"]) if field == "said" else row["distance"], row) for row in hits]
    return sorted(scored, key=lambda pair: (-pair[0], pair[1]["place"]))
