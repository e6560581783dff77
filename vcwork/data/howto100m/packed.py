"""The reference code's packed pre-training data: shards of 4096 videos with rows, starts and a pickled list of ids.

Features `{split}_{shard}_data.npy` (rows, 512) with `_starts.npy` (videos + 1), ids in `{split}_meta.pkl`; captions
under a prefix, `{split}_{shard}.startends_{data,starts}.npy` (clips, 2) and `.caps_ids_{data,starts}.npy` (clips, 32),
tokens padded with -1. Split "test" reads "val". Everything is checked when opened; rows are read by plain file reads,
so memory does not grow with what was read. The meta file is unpickled without a single name from any module allowed,
so it can hold nothing but plain containers, text and numbers.
Known gap: a hostile pickle can still waste memory, though not run code; take only files whose size you expect.
"""

import bisect
import itertools
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np

from vcwork.base.errors import VcworkError
from vcwork.data.store import load_npy

_PLAIN_ID = re.compile(r"(?!\.{1,2}$)[^\s/\\\0]+")


def is_plain_id(id: object) -> bool:
    """Whether `id` can stand alone in a line and be a file's name in its folder."""
    return isinstance(id, str) and _PLAIN_ID.fullmatch(id) is not None


def packed_split(split: str) -> str:
    """The split whose files hold `split`: "test" reads "val"."""
    return "val" if split == "test" else split


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        raise VcworkError(f"expected plain lists, text and numbers, got {module}.{name}, which is never loaded")


def read_meta(path: str | Path) -> dict[int, list[str]]:
    """`{split}_meta.pkl`: {shard: ids of its videos}, shards in order; VcworkError for anything else in it."""
    path = Path(path)
    try:
        with open(path, "rb") as file:
            meta = _PlainUnpickler(file).load()
    except VcworkError as error:
        raise VcworkError(f"{path}: {error}") from None
    except FileNotFoundError:
        raise VcworkError(f"{path}: no such file") from None
    except Exception as error:  # unpickling bytes of any kind may raise anything
        raise VcworkError(
            f"{path}: not readable as a pickle of plain values ({type(error).__name__}: {error})"
        ) from None
    if not isinstance(meta, dict) or not meta:
        raise VcworkError(f"{path}: expected {{shard: [video id, ...]}}, got {type(meta).__name__} {str(meta)[:40]}")
    for shard, ids in meta.items():
        plain = type(shard) is int and isinstance(ids, list | tuple) and all(map(is_plain_id, ids))
        if not plain:
            raise VcworkError(f"{path}: shard {shard!r}: expected a number and a list of ids, got {str(ids)[:40]}")
    return {shard: list(meta[shard]) for shard in sorted(meta)}


class RaggedFile:
    """`<stem>_data.npy` (rows, ...) cut by `<stem>_starts.npy` (items + 1): `file[i]` reads the rows of item `i`.

    `kinds` are the allowed kinds of numbers ("f", "iu"). VcworkError, naming the file: missing, not a plain array,
    another shape, shorter than its header says, starts that do not rise from 0 to the number of rows.
    """

    def __init__(self, stem: str, kinds: str, width: int | None = None) -> None:
        self.path, starts_path = Path(f"{stem}_data.npy"), Path(f"{stem}_starts.npy")
        for path in (self.path, starts_path):
            if not path.is_file():
                raise VcworkError(f"{path}: this file of the packed data is missing")
        self.shape, self.dtype, self._offset = _header(self.path)
        if len(self.shape) != 2 or self.dtype.kind not in kinds or width not in (None, self.shape[1]):
            expected = f"numbers of kind {kinds!r} (rows, {width or 'width'})"
            raise VcworkError(f"{self.path}: expected {expected}, got {self.dtype} {self.shape}")
        self.starts = _read_starts(starts_path, self.shape[0])  # (items + 1,)

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, i: int) -> np.ndarray:
        if not 0 <= i < len(self):
            raise IndexError(f"{self.path}: item {i} of {len(self)}")
        first, last = int(self.starts[i]), int(self.starts[i + 1])
        width = self.shape[1]
        offset = self._offset + first * width * self.dtype.itemsize
        flat = np.fromfile(self.path, self.dtype, (last - first) * width, offset=offset)
        return flat.reshape(last - first, width)


class PackedSplit:
    """One split of packed data: `ids` in packed order, `features(i)` (T, W) and `captions(i)` of the i-th.

    `folder` holds features and meta; `text_prefix` is what the captions' file names begin with (a folder, or a prefix
    ending in "."), empty for none. `features=False` opens the captions alone. VcworkError names the file at fault.
    """

    def __init__(self, folder: str | Path, split: str, text_prefix: str = "", features: bool = True) -> None:
        self.split = packed_split(split)
        self.meta_path = Path(folder) / f"{self.split}_meta.pkl"
        meta = read_meta(self.meta_path)
        self.ids = [id for ids in meta.values() for id in ids]
        self._first = list(itertools.accumulate(map(len, meta.values()), initial=0))
        if len(set(self.ids)) != len(self.ids):
            raise VcworkError(
                f"{self.meta_path}: expected every id once; {len(self.ids) - len(set(self.ids))} come again"
            )
        stems = {shard: f"{Path(folder)}/{self.split}_{shard}" for shard in meta} if features else {}
        self._features = [self._checked(RaggedFile(s, "f"), len(meta[shard])) for shard, s in stems.items()]
        texts = {shard: f"{_as_prefix(text_prefix)}{self.split}_{shard}." for shard in meta} if text_prefix else {}
        self._text = [self._text_shard(stem, len(meta[shard])) for shard, stem in texts.items()]

    def __len__(self) -> int:
        return len(self.ids)

    def features(self, i: int) -> np.ndarray:
        """(T, W) of the i-th video, as stored."""
        shard, row = self._place(i)
        return self._features[shard][row]

    def captions(self, i: int) -> tuple[np.ndarray, np.ndarray, list[list[int]]]:
        """start_s (C,), end_s (C,) and the tokens of each caption of the i-th video; C may be 0."""
        shard, row = self._place(i)
        times, rows = (file[row] for file in self._text[shard])
        ends = np.where((rows < 0).any(1), (rows < 0).argmax(1), rows.shape[1])  # (C,) length of each caption
        return times[:, 0], times[:, 1], [r[:n].tolist() for r, n in zip(rows, ends, strict=True)]

    def _place(self, i: int) -> tuple[int, int]:
        if not 0 <= i < len(self):
            raise IndexError(f"{self.meta_path}: video {i} of {len(self)}")
        shard = bisect.bisect_right(self._first, i) - 1
        return shard, i - self._first[shard]

    def _checked(self, file: RaggedFile, videos: int) -> RaggedFile:
        if len(file) != videos:
            stem = str(file.path).removesuffix("_data.npy")
            raise VcworkError(
                f"{stem}_starts.npy: expected {videos} videos as {self.meta_path.name} has, got {len(file)}"
            )
        return file

    def _text_shard(self, stem: str, videos: int) -> tuple[RaggedFile, RaggedFile]:
        times = self._checked(RaggedFile(f"{stem}startends", "f", 2), videos)
        tokens = self._checked(RaggedFile(f"{stem}caps_ids", "iu"), videos)
        if not np.array_equal(times.starts, tokens.starts):
            raise VcworkError(f"{stem}caps_ids_starts.npy: expected the starts of startends_starts.npy, got others")
        return times, tokens


def _as_prefix(text_prefix: str) -> str:
    return f"{text_prefix.rstrip('/')}/" if Path(text_prefix).is_dir() else text_prefix


def _header(path: Path) -> tuple[tuple[int, ...], np.dtype, int]:
    """Shape, type and the byte at which the numbers begin; the file must be as long as they say."""
    array = load_npy(path, mmap=True)
    if not array.flags.c_contiguous:
        raise VcworkError(f"{path}: expected a plain array of rows")
    return array.shape, array.dtype, array.offset


def _read_starts(path: Path, rows: int) -> np.ndarray:
    starts = load_npy(path)
    if starts.ndim != 1 or starts.dtype.kind not in "iu" or len(starts) < 1:
        raise VcworkError(f"{path}: expected whole numbers (videos + 1,), got {starts.dtype} {starts.shape}")
    starts = starts.astype(np.int64)
    falls = np.flatnonzero(np.diff(starts) < 0)
    if len(falls):
        n = int(falls[0])
        raise VcworkError(f"{path}: expected starts that never fall, got {starts[n + 1]} after {starts[n]} (video {n})")
    if starts[0] != 0 or starts[-1] != rows:
        raise VcworkError(f"{path}: expected starts from 0 to the {rows} rows, got {starts[0]} to {starts[-1]}")
    return starts
