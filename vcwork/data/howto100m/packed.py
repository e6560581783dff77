"""The reference code's packed pre-training data: shards of 4096 videos with rows, starts and a pickled list of ids.

Features `{split}_{shard}_data.npy` (rows, 512) with `_starts.npy` (videos + 1), ids in `{split}_meta.pkl`; captions
under a prefix, `{split}_{shard}.startends_{data,starts}.npy` (clips, 2) and `.caps_ids_{data,starts}.npy` (clips, 32),
tokens padded with -1. Split "test" reads "val". Everything is checked when opened; rows are read by plain file reads,
so memory does not grow with what was read. The meta file is unpickled without a single name from any module allowed,
so it can hold nothing but plain containers, text and numbers.
"""

import pickle
import re
import reprlib
from pathlib import Path
from typing import Any

import numpy as np

from vcwork.base.errors import VcworkError
from vcwork.data.store import load_npy

_PLAIN_ID = re.compile(r"(?!\.{1,2}$)[^\s/\\\0\ud800-\udfff]+")


def is_plain_id(id: object) -> bool:
    """Whether `id` can stand alone in a line and be a file's name in its folder."""
    return isinstance(id, str) and _PLAIN_ID.fullmatch(id) is not None


class _PlainUnpickler(pickle._Unpickler):
    """Python's own: the one in C reserves what a few bytes ask for, 34 GB for the place 2³¹ of its memory."""

    def find_class(self, module: str, name: str) -> Any:
        raise ValueError(f"expected plain lists, text and numbers, got {module}.{name}, which is never loaded")


def read_meta(path: Path) -> dict[int, list[str]]:
    """`{split}_meta.pkl`: {shard: ids of its videos}, shards in order; VcworkError for anything else in it."""
    try:
        with open(path, "rb") as file:
            meta = _PlainUnpickler(file).load()
    except FileNotFoundError:
        raise VcworkError(f"{path}: no such file") from None
    except Exception as error:  # unpickling bytes of any kind may raise anything
        raise VcworkError(f"{path}: not readable as a pickle of plain values ({error})") from None
    if not isinstance(meta, dict) or not meta:
        came = f"{type(meta).__name__} {reprlib.repr(meta)}"
        raise VcworkError(f"{path}: expected {{shard: [video id, ...]}}, got {came}")
    for shard, ids in meta.items():
        if type(shard) is not int or not isinstance(ids, list | tuple) or not all(map(is_plain_id, ids)):
            said = f"shard {reprlib.repr(shard)}: expected a number and a list of ids, got {reprlib.repr(ids)}"
            raise VcworkError(f"{path}: {said}")
    return {shard: list(meta[shard]) for shard in sorted(meta)}


class RaggedFile:
    """`<stem>_data.npy` (rows, width) cut by `<stem>_starts.npy` (items + 1): `file[i]` reads the rows of item `i`.

    `kinds` are the allowed kinds of numbers ("f", "iu"). VcworkError, naming the file: missing, not a plain array,
    another shape, shorter than its header says, starts that do not rise from 0 to the number of rows.
    """

    def __init__(self, stem: str, kinds: str, items: int, width: int | None = None) -> None:
        self.path = Path(f"{stem}_data.npy")
        rows = load_npy(self.path, mmap=True)  # for its header; a file that is too short is refused
        plain = rows.ndim == 2 and rows.flags.c_contiguous
        if not plain or rows.dtype.kind not in kinds or width not in (None, rows.shape[1]):
            expected = f"numbers of kind {kinds!r} (rows, {width or 'width'})"
            raise VcworkError(f"{self.path}: expected {expected}, got {rows.dtype} {rows.shape}")
        self.width, self.dtype, self.offset = rows.shape[1], rows.dtype, self.path.stat().st_size - rows.nbytes
        self.starts = _read_starts(Path(f"{stem}_starts.npy"), len(rows), items)  # (items + 1,)

    def __getitem__(self, i: int) -> np.ndarray:
        first, last = (int(start) for start in self.starts[i : i + 2])
        offset = self.offset + first * self.width * self.dtype.itemsize
        return np.fromfile(self.path, self.dtype, (last - first) * self.width, offset=offset).reshape(-1, self.width)


class PackedSplit:
    """One split of packed data: `ids` in packed order, `sizes` of its shards, and what a row of a shard holds.

    `folder` holds features and meta; `text_prefix` is what the captions' file names begin with (a folder, or a prefix
    ending in "."), empty for none. `features=False` opens the captions alone. VcworkError names the file at fault.
    """

    def __init__(self, folder: Path, split: str, text_prefix: str = "", features: bool = True) -> None:
        self.split, path = split, folder / f"{split}_meta.pkl"
        meta = read_meta(path)
        self.ids = [id for ids in meta.values() for id in ids]
        self.sizes = [len(ids) for ids in meta.values()]
        if again := len(self.ids) - len(set(self.ids)):
            raise VcworkError(f"{path}: expected every id once; {again} come again")
        prefix = f"{text_prefix.rstrip('/')}/" if Path(text_prefix).is_dir() else text_prefix
        self._features, self._times, self._tokens = [], [], []
        for shard, ids in meta.items():
            if features:
                self._features.append(RaggedFile(f"{folder}/{split}_{shard}", "f", len(ids)))
            if text_prefix:
                self._open_text(f"{prefix}{split}_{shard}.", len(ids))

    def _open_text(self, stem: str, videos: int) -> None:
        self._times.append(RaggedFile(f"{stem}startends", "f", videos, 2))
        self._tokens.append(RaggedFile(f"{stem}caps_ids", "iu", videos))
        if not np.array_equal(self._times[-1].starts, self._tokens[-1].starts):
            raise VcworkError(f"{stem}caps_ids_starts.npy: expected the starts of startends_starts.npy, got others")

    def features(self, shard: int, row: int) -> np.ndarray:
        """(T, W) of one video, as stored."""
        return self._features[shard][row]

    def captions(self, shard: int, row: int) -> tuple[np.ndarray, np.ndarray, list[list[int]]]:
        """start_s (C,), end_s (C,) and the tokens of each caption of one video; C may be 0."""
        times, rows = self._times[shard][row], self._tokens[shard][row]
        return times[:, 0], times[:, 1], [r[r >= 0].tolist() for r in rows]  # -1 pads


def _read_starts(path: Path, rows: int, items: int) -> np.ndarray:
    starts = load_npy(path)
    if starts.shape != (items + 1,) or starts.dtype.kind not in "iu":
        expected = f"whole numbers ({items + 1},), one a video of the meta file and the end"
        raise VcworkError(f"{path}: expected {expected}, got {starts.dtype} {starts.shape}")
    starts = starts.astype(np.int64)
    if (np.diff(starts) < 0).any() or starts[0] != 0 or starts[-1] != rows:
        came = f"{starts[0]} to {starts[-1]}, falling at {(np.diff(starts) < 0).sum()} places"
        raise VcworkError(f"{path}: expected starts that rise from 0 to the {rows} rows, got {came}")
    return starts
