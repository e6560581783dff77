"""A feature store on disk: one feature a second of every video, as sharded .npy memory maps with a manifest.

The manifest holds the contract under which the features were made (backbone, weights hash, fps, size, normalisation,
width); opening a store under another contract is an error naming both. It is written last: a folder without it is not
a store, whatever lies in it. Nothing here is ever unpickled.
Known gaps: ids and lengths are JSON, comfortable to about a million videos; a store is not extended, but made anew.
"""

import hashlib
import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from vcwork.base.errors import VcworkError
from vcwork.base.files import atomic_write, read_json, resolve, sha256_file, sha256_json, write_json

FORMAT = "vcwork-features-1"
SHARD_ROWS = 1 << 17  # 134 MB at width 512


@dataclass(frozen=True)
class Contract:
    """How pixels became features. Features of different contracts must never meet in one model."""

    backbone: str
    weights: str
    fps: float
    size: int
    normalisation: str
    width: int

    def digest(self) -> str:
        """sha256 over all fields."""
        return sha256_json(asdict(self))


class FeatureStore:
    """Read-only features by video id: `store[id]` is a float16 view (T, width) on the memory map, one row a second.

    `ids` in store order, `lengths` {id: T}, `failed` {id: reason} of videos that gave no features.
    """

    def __init__(self, folder: Path, manifest: dict[str, Any]) -> None:
        self.folder, self.manifest = folder, manifest
        self.contract = Contract(**manifest["contract"])
        self.ids: list[str] = manifest["ids"]
        self.lengths: dict[str, int] = dict(zip(self.ids, manifest["lengths"], strict=True))
        self.failed: dict[str, str] = manifest["failed"]
        self._maps: dict[str, np.ndarray] = {}
        self._at: dict[str, tuple[str, int]] = {}
        rest = iter(self.lengths.items())
        for shard in manifest["shards"]:
            offset = 0
            for id, length in itertools.islice(rest, shard["videos"]):
                self._at[id] = (shard["file"], offset)
                offset += length
            if offset != shard["rows"]:
                raise VcworkError(f"{folder}: {shard['file']} holds {shard['rows']} rows, its videos {offset}")

    def __len__(self) -> int:
        return len(self.ids)

    def __contains__(self, video_id: object) -> bool:
        return video_id in self._at

    def __getitem__(self, video_id: str) -> np.ndarray:
        if video_id not in self._at:
            why = self.failed.get(video_id, f"not among its {len(self)} videos")
            raise VcworkError(f"{self.folder}: no features of video {video_id!r}: {why}")
        name, offset = self._at[video_id]
        if name not in self._maps:
            self._maps[name] = np.load(self.folder / name, mmap_mode="r", allow_pickle=False)
        return self._maps[name][offset : offset + self.lengths[video_id]]

    def digest(self) -> str:
        """sha256 over contract, ids, lengths and features; the same however they are sharded."""
        return self.manifest["digest"]


def write_store(
    folder: str | Path,
    contract: Contract,
    arrays: Mapping[str, np.ndarray],
    failed: Mapping[str, str] | None = None,
    shard_rows: int = SHARD_ROWS,
) -> FeatureStore:
    """Store arrays (T, width) by id as float16, in the order given.

    VcworkError: an array that is not finite or not of that shape, by id; a folder that already holds a store.
    """
    folder = resolve(folder)
    if (folder / "manifest.json").exists():
        raise VcworkError(f"{folder}: already holds a feature store; choose another folder")
    return write_shards(folder, contract, arrays.items(), {"failed": dict(failed or {})}, shard_rows)


def store_from_npy(
    npy_folder: str | Path, contract: Contract, folder: str | Path, skip_bad: bool = False
) -> FeatureStore:
    """A store from a folder of <video id>.npy, each (T, width): the layout of the original code.

    A bad file (NaN, other width, not an array, pickled) is an error that names it; with `skip_bad` it is counted in
    `failed` instead, and only a folder without any good file is an error.
    """
    npy_folder, good, failed = resolve(npy_folder), {}, {}
    files = sorted(npy_folder.glob("*.npy"))
    if not files:
        raise VcworkError(f"{npy_folder}: expected features as <video id>.npy, found none")
    for path in files:
        try:
            good[path.stem] = as_float16(load_npy(path), contract.width, str(path))
        except VcworkError as error:
            if not skip_bad:
                raise
            failed[path.stem] = str(error)
    if not good:
        raise VcworkError(f"{npy_folder}: none of {len(files)} feature files can be used; {failed[files[0].stem]}")
    return write_store(folder, contract, good, failed)


def open_store(folder: str | Path, contract: Contract | None = None, verify: bool = True) -> FeatureStore:
    """Open a finished store; `verify` reads it once and compares sha256 (sizes and shapes are compared always).

    VcworkError: no manifest (unfinished), another contract than the one asked for, a shard that is not the one written.
    """
    folder = resolve(folder)
    path = folder / "manifest.json"
    if not path.is_file():
        hint = "incomplete: run the extraction again to resume" if _has_remains(folder) else "no such feature store"
        raise VcworkError(f"{folder}: {hint} (expected manifest.json)")
    manifest = read_json(path)
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise VcworkError(f"{path}: expected format {FORMAT!r}, got {manifest.get('format')!r}")
    try:
        store = FeatureStore(folder, manifest)
        for shard in manifest["shards"]:
            _check_shard(folder / shard["file"], shard, store.contract.width, verify)
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, VcworkError):
            raise
        raise VcworkError(f"{path}: expected another structure ({type(error).__name__}: {error})") from error
    if contract is not None and contract != store.contract:
        raise VcworkError(f"{folder}: features of another contract: {_difference(contract, store.contract)}")
    return store


def _difference(asked: Contract, found: Contract) -> str:
    pairs = [(f.name, getattr(asked, f.name), getattr(found, f.name)) for f in fields(Contract)]
    return "; ".join(f"{name}: asked for {a!r}, found {b!r}" for name, a, b in pairs if a != b)


def _has_remains(folder: Path) -> bool:
    return (folder / ".parts").exists() or any(folder.glob("shard-*.npy"))


def as_float16(array: np.ndarray, width: int, where: str) -> np.ndarray:
    """(T, width) as float16; VcworkError for another shape, no rows, or a value that is or becomes NaN or infinite."""
    if array.ndim != 2 or array.shape[1] != width or not len(array) or array.dtype.kind not in "fiu":
        raise VcworkError(f"{where}: expected numbers (T, {width}), T > 0, got {array.dtype} {array.shape}")
    with np.errstate(over="ignore"):
        half = array.astype(np.float16)
    wrong = np.argwhere(~np.isfinite(half))
    if len(wrong):
        row, column = wrong[0]
        came = f"{array[row, column]} at second {row}, column {column} ({len(wrong)} such values)"
        raise VcworkError(f"{where}: expected finite numbers within float16's ±65504, got {came}")
    return half


def save_npy(file: Any, array: np.ndarray) -> None:
    """`np.save` for an open file, but a full disk says so: NumPy's own writing only tells how many items it wrote."""
    header = np.lib.format.header_data_from_array_1_0(array)
    np.lib.format.write_array_header_1_0(file, header)
    file.write(np.ascontiguousarray(array).data)


def load_npy(path: Path) -> np.ndarray:
    """A plain array from a .npy file; pickles and anything else are a VcworkError that names the file."""
    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise VcworkError(f"{path}: not readable as a plain .npy array ({error})") from error


def write_shards(
    folder: Path,
    contract: Contract,
    arrays: Iterable[tuple[str, np.ndarray]],
    more: dict[str, Any],
    shard_rows: int = SHARD_ROWS,
) -> FeatureStore:
    """Shards first, manifest last. The digest is fed video by video, so it does not depend on the sharding."""
    digest = hashlib.sha256(contract.digest().encode())
    ids, lengths, shards = [], [], []
    for group in _grouped(arrays, contract.width, shard_rows):
        for id, array in group:
            digest.update(f"|{id}|{len(array)}|".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
        ids += [id for id, _ in group]
        lengths += [len(array) for _, array in group]
        shards.append(_write_shard(folder / f"shard-{len(shards):05d}.npy", [array for _, array in group]))
    if not ids:
        raise VcworkError(f"{folder}: no features to store")
    manifest = {"format": FORMAT, "contract": asdict(contract), "digest": digest.hexdigest(), "dtype": "float16"}
    manifest |= {"shards": shards, "ids": ids, "lengths": lengths, **more}
    write_json(folder / "manifest.json", manifest)
    return open_store(folder, contract)


def _grouped(arrays: Iterable[tuple[str, np.ndarray]], width: int, rows: int) -> Iterator[list[tuple[str, np.ndarray]]]:
    """Whole videos, up to `rows` rows a group (one longer video makes a group of its own)."""
    group: list[tuple[str, np.ndarray]] = []
    held = 0
    for id, array in arrays:
        array = as_float16(np.asarray(array), width, f"features of video {id!r}")
        if group and held + len(array) > rows:
            yield group
            group, held = [], 0
        group.append((id, array))
        held += len(array)
    if group:
        yield group


def _write_shard(path: Path, arrays: list[np.ndarray]) -> dict[str, Any]:
    with atomic_write(path, "wb") as file:
        save_npy(file, np.concatenate(arrays))
    shape = {"videos": len(arrays), "rows": sum(map(len, arrays))}
    return {"file": path.name, **shape, "bytes": path.stat().st_size, "sha256": sha256_file(path)}


def _check_shard(path: Path, shard: dict[str, Any], width: int, verify: bool) -> None:
    if path.name != shard["file"] or not path.is_file():
        raise VcworkError(f"{path}: this shard of the feature store is missing")
    size = path.stat().st_size
    if size != shard["bytes"]:
        raise VcworkError(f"{path}: expected {shard['bytes']} bytes, got {size}; the store is damaged, extract again")
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    if array.shape != (shard["rows"], width) or array.dtype != np.float16:
        raise VcworkError(f"{path}: expected float16 {(shard['rows'], width)}, got {array.dtype} {array.shape}")
    if verify and sha256_file(path) != shard["sha256"]:
        raise VcworkError(f"{path}: its sha256 is not the one in manifest.json; the store is damaged, extract again")
