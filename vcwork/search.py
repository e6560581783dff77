"""A small vector database: build, add, delete, query, save, open. Exact inner-product search (faiss flat index).

Scores are raw dot products, as VideoCLIP uses them; scale the vectors yourself for cosine. On disk an index is
`vectors-<digest>.npy`, `entries-<digest>.json` and a manifest that names them with their digests; the manifest is
replaced last and atomically, so a crash while saving leaves the index that was there before. Nothing is ever pickled.
Gap: exact search reads every vector; beyond some millions an inverted-file index is the thing to add.
"""

import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from vcwork.errors import VcworkError
from vcwork.files import atomic_write, read_json, sha256_file, write_json
from vcwork.metrics import check_scores

FORMAT = "vcwork-index-1"
MANIFEST = "manifest.json"


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
    """Vectors (N, D) with ids and metadata; `encoder` is the digest of what made them, checked when opened."""

    def __init__(self, dimension: int, encoder: str = "") -> None:
        self.dimension = dimension
        self.encoder = encoder
        self.ids: list[str] = []
        self.metadata: list[dict[str, Any]] = []
        self._flat = faiss.IndexFlatIP(dimension)

    @classmethod
    def build(
        cls,
        vectors: np.ndarray,
        ids: Sequence[str],
        metadata: Sequence[dict[str, Any]] | None = None,
        encoder: str = "",
    ) -> "VideoIndex":
        """An index of vectors (N, D), ids (N,) all different, metadata (N,) JSON-able dictionaries."""
        index = cls(check_scores(vectors, "vectors").shape[1], encoder)
        index.add(vectors, ids, metadata)
        return index

    def __len__(self) -> int:
        return len(self.ids)

    def __contains__(self, item: str) -> bool:
        return item in set(self.ids)

    @property
    def vectors(self) -> np.ndarray:
        """A copy of the vectors, (N, D) float32, in the order of `ids`."""
        return self._flat.reconstruct_n(0, len(self)) if len(self) else np.zeros((0, self.dimension), np.float32)

    def add(self, vectors: np.ndarray, ids: Sequence[str], metadata: Sequence[dict[str, Any]] | None = None) -> None:
        """Add vectors (n, D). Raises VcworkError on NaN or infinity, another width, or an id already there."""
        vectors, ids = self._checked(vectors), [str(i) for i in ids]
        metadata = [dict(m) for m in metadata] if metadata is not None else [{} for _ in ids]
        if not len(vectors) == len(ids) == len(metadata):
            raise VcworkError(f"{len(vectors)} vectors, {len(ids)} ids, {len(metadata)} metadata: expected as many")
        known = set(self.ids)
        twice = next((i for n, i in enumerate(ids) if i in known or i in ids[:n]), None)
        if twice is not None:
            raise VcworkError(f"id {twice!r} is in the index already; delete it first")
        self._flat.add(vectors)
        self.ids += ids
        self.metadata += metadata

    def delete(self, ids: Sequence[str]) -> None:
        """Remove items by id; the others keep their order. Raises VcworkError on an unknown id."""
        gone = {str(i) for i in ids}
        if gone - set(self.ids):
            raise VcworkError(f"not in the index of {len(self)}: {sorted(gone - set(self.ids))[:5]}")
        keep = [n for n, i in enumerate(self.ids) if i not in gone]
        vectors = self.vectors[keep]
        self._flat.reset()
        self._flat.add(vectors)
        self.ids, self.metadata = [self.ids[n] for n in keep], [self.metadata[n] for n in keep]

    def query(self, vectors: np.ndarray, k: int = 10) -> list[list[Hit]]:
        """The k best items of each query, best first: (Q, D) or one (D,) -> Q lists of at most N hits.

        Of equal scores the item added first comes first.
        """
        vectors = self._checked(np.atleast_2d(vectors), "query vectors")
        if k < 1:
            raise VcworkError(f"expected k of at least 1, got {k}")
        if not len(self):
            return [[] for _ in vectors]
        scores, found = self._flat.search(vectors, min(k, len(self)))
        return [self._hits(s, n) for s, n in zip(scores, found, strict=True)]

    def _hits(self, scores: np.ndarray, found: np.ndarray) -> list[Hit]:
        order = np.lexsort((found, -scores))
        return [
            Hit(rank, float(scores[o]), self.ids[found[o]], self.metadata[found[o]]) for rank, o in enumerate(order, 1)
        ]

    def _checked(self, vectors: np.ndarray, name: str = "vectors") -> np.ndarray:
        vectors = np.ascontiguousarray(check_scores(vectors, name), dtype=np.float32)
        if vectors.shape[1] != self.dimension or not np.isfinite(vectors).all():
            raise VcworkError(f"expected finite {name} of width {self.dimension}, got shape {vectors.shape}")
        return vectors

    # ------------------------------------------------------------------------------------------------- on disk

    def save(self, folder: str | Path) -> Path:
        """Write the index into `folder`, replacing an older index there; raises VcworkError on a foreign folder."""
        folder = Path(folder)
        if (folder / MANIFEST).exists():
            _manifest(folder)  # refuses a folder that another program's manifest describes
        elif folder.is_dir() and not all(_ours(p) or p.name.startswith(".") for p in folder.iterdir()):
            raise VcworkError(f"{folder}: holds other files and no index; choose an empty or a new folder")
        tag = uuid.uuid4().hex[:12]
        files = {"vectors": f"vectors-{tag}.npy", "entries": f"entries-{tag}.json"}
        with atomic_write(folder / files["vectors"], "wb") as file:
            np.save(file, self.vectors, allow_pickle=False)
        write_json(folder / files["entries"], {"ids": self.ids, "metadata": self.metadata})
        digests = {key: sha256_file(folder / name) for key, name in files.items()}
        stored = {"format": FORMAT, "dimension": self.dimension, "count": len(self), "encoder": self.encoder}
        write_json(folder / MANIFEST, stored | {"files": files, "sha256": digests})
        for path in folder.iterdir():  # what an older manifest named, or a save that never came to its end
            if _ours(path) and path.name not in (MANIFEST, *files.values()):
                path.unlink(missing_ok=True)
        return folder

    @classmethod
    def open(cls, folder: str | Path, encoder: str | None = None) -> "VideoIndex":
        """Read an index back. Raises VcworkError where it is absent, incomplete, altered, or another encoder's."""
        folder = Path(folder)
        stored = _manifest(folder)
        if encoder is not None and stored["encoder"] != encoder:
            raise VcworkError(f"{folder}: made by encoder {stored['encoder']!r}, asked for {encoder!r}; build it again")
        for key, name in stored["files"].items():
            if not (folder / name).is_file() or sha256_file(folder / name) != stored["sha256"][key]:
                raise VcworkError(f"{folder / name}: missing, or not the file the manifest describes")
        vectors = _load(folder / stored["files"]["vectors"])
        entries = read_json(folder / stored["files"]["entries"])
        if vectors.shape != (stored["count"], stored["dimension"]):
            expected = (stored["count"], stored["dimension"])
            raise VcworkError(f"{folder}: expected vectors {expected}, got {vectors.shape}")
        index = cls(stored["dimension"], stored["encoder"])
        if stored["count"]:
            index.add(vectors, entries["ids"], entries["metadata"])
        return index


def _manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a complete index; every wrong one is named."""
    if not (folder / MANIFEST).is_file():
        raise VcworkError(f"{folder}: no index here (no {MANIFEST}), or its saving never finished")
    stored = read_json(folder / MANIFEST)
    if not isinstance(stored, dict) or stored.get("format") != FORMAT:
        came = stored.get("format") if isinstance(stored, dict) else type(stored).__name__
        raise VcworkError(f"{folder / MANIFEST}: expected format {FORMAT}, got {json.dumps(came)}")
    types = {"dimension": int, "count": int, "encoder": str, "files": dict, "sha256": dict}
    for key, kind in types.items():
        if not isinstance(stored.get(key), kind):
            raise VcworkError(f"{folder / MANIFEST}: {key} should be {kind.__name__}, got {stored.get(key)!r}")
    for key in ("vectors", "entries"):
        name = stored["files"].get(key)
        if not isinstance(name, str) or Path(name).name != name or key not in stored["sha256"]:
            raise VcworkError(f"{folder / MANIFEST}: no plain file name and digest for {key}, got {name!r}")
    return stored


def _load(path: Path) -> np.ndarray:
    try:
        return np.load(path, allow_pickle=False)
    except ValueError as error:
        raise VcworkError(f"{path}: not a plain array ({error})") from None


def _ours(path: Path) -> bool:
    return path.name == MANIFEST or path.match("vectors-*.npy") or path.match("entries-*.json")
