"""What any index of vectors shares, wherever it lies: hits, checks of what is given, and search by video."""

import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from vcwork.base.errors import VcworkError, listed
from vcwork.measure.metrics import check_scores

BLOCK = 1 << 15  # vectors handled together: 64 MB at width 512
_AS_JSON = json.JSONEncoder(allow_nan=False).encode


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


class Asked:
    """An index that can be asked: who inherits has `__len__`, `query` and what `vcwork.search.index` has beside."""

    dimension: int
    encoder: str
    kind: str

    def __len__(self) -> int:
        raise NotImplementedError

    def query(self, vectors: np.ndarray, k: int = 10, effort: int = 0) -> list[list[Hit]]:
        raise NotImplementedError

    def query_videos(self, vectors: np.ndarray, k: int = 10) -> list[list[Hit]]:
        """MaxSim: the k best videos, each by the best of its vectors: Q lists of hits, one hit a video.

        A hit is the video's best item, so it also says where. Metadata needs `video`, which an item belongs to.
        """
        vectors, k, _ = self._asked(vectors, k, 0)
        asked = 4 * k
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

    def _valid(
        self, vectors: np.ndarray, ids: Sequence[str], metadata: Sequence[dict[str, Any]] | None
    ) -> tuple[list[np.ndarray], list[tuple[str, str, str]]]:
        """Vectors in blocks (n, D) float32, and of each its id, metadata as JSON, and text."""
        ids = as_ids(ids)
        metadata = [{}] * len(ids) if metadata is None else metadata
        if not len(vectors) == len(ids) == len(metadata):
            raise VcworkError(f"{len(vectors)} vectors, {len(ids)} ids, {len(metadata)} metadata: expected as many")
        stored = _as_json(ids, metadata)
        texts = [text if isinstance(text := entry.get("text"), str) else "" for entry in metadata]
        blocks = [self._checked(vectors[i : i + BLOCK]) for i in range(0, len(vectors), BLOCK)]
        return blocks, list(zip(ids, stored, texts, strict=True))

    def _asked(self, vectors: np.ndarray, k: int, effort: int) -> tuple[np.ndarray, int, int]:
        k, effort = whole(k, "k"), whole(effort, "effort", 0)
        return self._checked(np.atleast_2d(vectors), "query vectors"), k, effort

    def _one(self, vector: np.ndarray) -> np.ndarray:
        """The one query vector (D,) that was asked for."""
        vectors = self._checked(np.atleast_2d(vector), "query vectors")
        if len(vectors) > 1:
            raise VcworkError(f"expected one query vector, got {len(vectors)}")
        return vectors[0]

    def _checked(self, vectors: np.ndarray, name: str = "vectors") -> np.ndarray:
        vectors = np.ascontiguousarray(check_scores(vectors, name), dtype=np.float32)
        if vectors.shape[1] != self.dimension or not np.isfinite(vectors).all():
            raise VcworkError(f"expected finite {name} of width {self.dimension}, got shape {vectors.shape}")
        return vectors


def whole(value: int, name: str, least: int = 1) -> int:
    """A whole number of Python's, for faiss and SQLite take no others; VcworkError for anything else, or less."""
    if not isinstance(value, int | np.integer) or value < least:
        raise VcworkError(f"expected {name} of at least {least}, a whole number, got {value!r}")
    return int(value)


def as_ids(ids: Sequence[str]) -> list[str]:
    """Ids as texts; VcworkError for one that is missing: None, or a table's NaN."""
    ids = listed(ids, "ids")
    if missing := [id for id in ids if id is None or (isinstance(id, float) and np.isnan(id))]:
        raise VcworkError(f"expected a list of ids, got one with {missing[0]!r} in it")
    return [str(id) for id in ids]


def _video(hit: Hit) -> Any:
    if "video" not in hit.metadata:
        raise VcworkError(f"item {hit.id!r}: expected 'video' in its metadata, got {sorted(hit.metadata)}")
    return hit.metadata["video"]


def _as_json(ids: Sequence[str], metadata: Sequence[dict[str, Any]]) -> list[str]:
    """Each dictionary as JSON: all in one call, a third of the time, cut at a word that stands in none of them."""
    word = uuid.uuid4().hex
    try:
        whole = _AS_JSON([part for entry in metadata for part in ({**entry}, word)][:-1])
        return whole[1:-1].split(f', "{word}", ') if ids else []
    except (TypeError, ValueError):
        return [_json(id, entry) for id, entry in zip(ids, metadata, strict=True)]  # which tells whose it is


def _json(id: str, metadata: dict[str, Any]) -> str:
    try:
        return _AS_JSON({**metadata})
    except (TypeError, ValueError) as error:
        raise VcworkError(f"metadata of {id!r}: expected a dictionary that JSON can hold ({error})") from None
