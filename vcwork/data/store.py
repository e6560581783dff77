"""A feature store on disk: one feature a second of every video, as sharded .npy memory maps with a manifest.

The manifest holds the contract under which the features were made (backbone, weights hash, fps, size, normalisation,
width); opening a store under another contract is an error naming both. It is written last, with its own digest and
those of the shards: a folder without it is not a store, whatever lies in it. Nothing here is ever unpickled. A store of
any number of shards keeps no file open: maps do without (`load_npy`), and the last few thousand of them are kept.
Known gaps: ids and lengths are JSON, comfortable to about a million videos; a store is not extended, but made anew.
"""

import functools
import hashlib
import io
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from vcwork.base.errors import VcworkError
from vcwork.base.files import alone, atomic_write, resolve, sha256_json
from vcwork.base.sealed import Kind, begin, member, read_manifest, seal, well_formed, write_manifest

SHARDS = f"shard-{'[0-9]' * 5}.npy"
STORE = Kind(
    "feature store", "vcwork-features-1", resume="run the extraction again to resume", begun=(".parts",),
    owns=(SHARDS,), fields={"digest": str, "files": dict},
)  # fmt: skip
SHARD_ROWS = 1 << 17  # 134 MB at width 512
MAPS = 4096  # kept of a store's files; a process may have 65,530 on Linux


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
        return sha256_json(asdict(self))


# what the release was trained on; whose S3D weights, is known once somebody has the file (`--s3d`)
S3D_FEATURES = Contract(
    "s3d",
    "unknown",
    30.0,
    224,
    "30 fps, short side 224 (long side rounded down, bicubic), centre crop 224, RGB / 255, "
    "30 frames a feature (the last padded with black), video_embedding 512, unit length, float16",
    512,
)


class FeatureStore:
    """Read-only features by video id: `store[id]` is a float16 view (T, width) on the memory map, one row a second.

    `ids` in store order, `lengths` {id: T}, `failed` {id: reason} of videos that gave no features.
    """

    def __init__(self, folder: Path, manifest: dict[str, Any]) -> None:
        self.folder, self.manifest = folder, manifest
        self.contract = Contract(**manifest["contract"])
        self.ids: list[str] = manifest["ids"]
        self.lengths: dict[str, int] = dict(zip(self.ids, manifest["lengths"], strict=True))
        self.failed: dict[str, str] = dict(manifest["failed"])
        self._map = functools.lru_cache(MAPS)(lambda file: load_npy(folder / file, mmap=True))
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
        file, offset = self._at[video_id]
        return self._map(file)[offset : offset + self.lengths[video_id]]

    def digest(self) -> str:
        """sha256 over contract, ids, lengths and features; the same however they are sharded."""
        return self.manifest["digest"]


def write_store(
    folder: str | Path, contract: Contract, arrays: Mapping[str, np.ndarray] | Iterable[tuple[str, np.ndarray]],
    failed: Mapping[str, str] | None = None, shard_rows: int = SHARD_ROWS, **more: Any,
) -> FeatureStore:  # fmt: skip
    """Store arrays (T, width) by id as float16, in the order given; `more` goes into the manifest.

    VcworkError: an array that is not finite or not of that shape, by id; a folder that holds a store or anything else.
    """
    folder = resolve(folder)
    if (folder / STORE.manifest).exists():
        raise VcworkError(f"{folder}: already holds a feature store; choose another folder")
    writer, held, rows = ShardWriter(folder, contract), {}, 0
    for left in folder.glob(SHARDS):  # of an attempt that was not finished
        left.unlink()
    for id, array in arrays.items() if isinstance(arrays, Mapping) else arrays:
        array = as_float16(np.asarray(array), contract.width, f"features of video {id!r}")
        if held and rows + len(array) > shard_rows:
            writer.write([*held], [*held.values()])
            held, rows = {}, 0
        held[id] = array
        rows += len(array)
    if held:
        writer.write([*held], [*held.values()])
    return writer.finish({"failed": dict(failed or {}), **more})


def open_store(folder: str | Path, contract: Contract | None = None, verify: bool = True) -> FeatureStore:
    """Open a finished store; `verify` reads it once and compares sha256 (sizes and shapes are compared always).

    VcworkError: no manifest (unfinished), another contract than the one asked for, a shard that is not the one written.
    """
    folder = resolve(folder)
    manifest = read_manifest(folder, STORE, verify)
    with well_formed(folder / STORE.manifest):
        store = FeatureStore(folder, manifest)
        if (names := [shard["file"] for shard in manifest["shards"]]) != list(manifest["files"]):
            raise VcworkError(f"{folder}: expected its shards {names} as its files, got {list(manifest['files'])}")
        for shard in manifest["shards"]:
            path, wanted = member(folder, shard["file"]), (shard["rows"], store.contract.width)
            array = load_npy(path, mmap=True)
            if array.shape != wanted or array.dtype != np.float16:
                raise VcworkError(f"{path}: expected float16 {wanted}, got {array.dtype} {array.shape}")
    check_same(f"{folder}: features of another contract", contract, store.contract)
    return store


def check_same(complaint: str, asked: Any, found: Any) -> None:
    """VcworkError, `complaint` and every field in which what was found differs from what is asked for (None: any)."""
    if asked is not None and asked != found:
        pairs = [(f.name, getattr(asked, f.name), getattr(found, f.name)) for f in fields(found)]
        differ = "; ".join(f"{name}: asked for {a!r}, found {b!r}" for name, a, b in pairs if a != b)
        raise VcworkError(f"{complaint}: {differ}")


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


def save_npy(file: Any, *arrays: np.ndarray) -> None:
    """Arrays (n_i, ...) of one type, one behind the other, as one .npy into an open file.

    As `np.save`, but a full disk says so: NumPy's own writing only tells how many items it wrote.
    """
    shape = (sum(map(len, arrays)), *arrays[0].shape[1:])
    header = np.lib.format.header_data_from_array_1_0(arrays[0]) | {"shape": shape, "fortran_order": False}
    np.lib.format.write_array_header_1_0(file, header)
    for array in arrays:
        file.write(np.ascontiguousarray(array).data)


def npy_bytes(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    save_npy(file, array)
    return file.getvalue()


def load_npy(path: Path, mmap: bool = False) -> np.ndarray:
    """A whole, plain array from a .npy file, read or mapped; anything else is a VcworkError that names the file.

    A map holds no file open (NumPy's own keep one each, and a process may have 1,024) and cannot be written to.
    """
    try:
        with open(path, "rb") as file:
            if file.read(2) == b"PK":
                raise VcworkError(f"{path}: expected one plain .npy array, got an archive of some")
            file.seek(0)
            shape, fortran, dtype = _HEADERS[np.lib.format.read_magic(file)](file)
            offset, size = file.tell(), math.prod(shape) * dtype.itemsize
            if dtype.hasobject or min(shape, default=0) < 0 or path.stat().st_size != offset + size:
                raise ValueError
            if mmap:
                import torch  # whose maps do without the file; most of this module does without torch

                flat = torch.from_file(str(path), size=offset + size, dtype=torch.uint8).numpy()
                flat.flags.writeable = False
            else:
                flat = np.fromfile(file, np.uint8)
            return np.ndarray(shape, dtype, flat, offset * mmap, order="F" if fortran else "C")
    except VcworkError:
        raise
    except Exception as error:  # bytes of any kind may raise anything; NumPy's words would advise to allow pickles
        why = error.strerror if isinstance(error, OSError) and error.strerror else "cut, damaged or of Python objects"
        raise VcworkError(f"{path}: not readable as a whole, plain .npy array ({why})") from error


_HEADERS = {  # version 3 writes fields' names otherwise, which nothing here has
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
    (3, 0): np.lib.format.read_array_header_2_0,
}


class ShardWriter:
    """Writes a store shard by shard; `finish` writes the manifest, last.

    The digest is fed video by video, so it does not depend on the sharding. `limit` rows of a shard are for whoever
    deals the videos out (one longer video alone). VcworkError: a folder that holds anything else.
    """

    def __init__(self, folder: Path, contract: Contract, shard_rows: int = SHARD_ROWS) -> None:
        self.folder, self.contract, self.limit = folder, contract, shard_rows
        self._digest = hashlib.sha256(contract.digest().encode())
        self._ids: list[str] = []
        self._lengths: list[int] = []
        self._shards: list[dict[str, Any]] = []
        begin(folder, STORE)

    def size(self, array: np.ndarray | None) -> int:
        """Rows of a video; none where it has no features."""
        return 0 if array is None else len(array)

    def write(self, ids: Sequence[str], arrays: Sequence[np.ndarray]) -> dict[str, Any]:
        """One more shard of float16 (T, width), without a second copy in memory; its record, with its `files`."""
        path = self.folder / f"shard-{len(self._shards):05d}.npy"
        with atomic_write(path, "wb") as file:
            save_npy(file, *arrays)
        shard = {"file": path.name, "videos": len(ids), "rows": sum(map(len, arrays)), "files": {path.name: seal(path)}}
        self._take(shard, ids, arrays)
        return shard

    def resume(self, shard: dict[str, Any], ids: Sequence[str], lengths: Sequence[int]) -> None:
        """A shard that an earlier run wrote."""
        rows = load_npy(self.folder / shard["file"])
        self._take(shard, ids, np.split(rows, np.cumsum(lengths)[:-1]))

    def finish(self, more: Mapping[str, Any]) -> FeatureStore:
        """The manifest, with `more` in it, and the store."""
        if not self._ids:
            raise VcworkError(f"{self.folder}: no features to store")
        made = {"contract": asdict(self.contract), "digest": self._digest.hexdigest(), "dtype": "float16"}
        made |= split_files("shards", self._shards) | {"ids": self._ids, "lengths": self._lengths}
        write_manifest(self.folder, STORE, made | dict(more))
        return open_store(self.folder, self.contract, verify=False)

    def _take(self, shard: dict[str, Any], ids: Sequence[str], arrays: Sequence[np.ndarray]) -> None:
        for id, array in zip(ids, arrays, strict=True):
            self._digest.update(f"|{id}|{len(array)}|".encode())
            self._digest.update(np.ascontiguousarray(array).tobytes())
        self._ids += ids
        self._lengths += map(len, arrays)
        self._shards.append(shard)


def split_files(what: str, records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """{what: the records, "files": what each of them had as its files}, as a manifest has them."""
    files = {name: sealed for record in records for name, sealed in record["files"].items()}
    return {what: [{k: v for k, v in record.items() if k != "files"} for record in records], "files": files}


def store_once(
    folder: str | Path, contract: Contract, arrays: Mapping[str, np.ndarray], failed: Mapping[str, str] | None = None
) -> FeatureStore:
    """The features as a store, written or, when one is there, compared; VcworkError when it holds others."""
    folder = resolve(folder)
    with alone(folder):
        if not (folder / STORE.manifest).exists():
            return write_store(folder, contract, arrays, failed)
    store = open_store(folder, contract)
    if store.ids != list(arrays) or any(not np.array_equal(store[id], array) for id, array in arrays.items()):
        raise VcworkError(f"{folder}: holds other features; choose another folder")
    return store
