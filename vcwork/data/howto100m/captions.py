"""A caption store on disk: times and tokens of every caption of every video, as memory-mapped .npy arrays in parts.

The text half of what pre-training reads, beside the feature store. A part holds whole videos; per part `start_s` and
`end_s` (float32, one a clip), `tokens` (uint16 or int32, all clips after each other), `token_offsets` (one a clip,
plus the end) and `clip_offsets` (one a video, plus the end). The manifest names the rule under which captions became
tokens (vocabulary, de-duplication, cut) and is written last: a folder without it is not a store. Ids are compared with
their digests whenever a store is opened, since that reads them anyway.
Known gaps: opening reads all ids (about 150 bytes of memory a video); the text itself is not kept, only its tokens.
"""

import bisect
import functools
import hashlib
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vcwork.base.errors import VcworkError
from vcwork.base.feed import Rows
from vcwork.base.files import atomic_write, read_json, resolve, write_json
from vcwork.base.sealed import Kind, begin, check, read_manifest, seal, well_formed, write_manifest
from vcwork.core.sampling import Track
from vcwork.core.text import Tokenizer
from vcwork.data.store import MAPS, check_same, load_npy, save_npy, split_files

VOCABULARY = "vocab.txt"

CAPTIONS = Kind(
    "caption store", "vcwork-captions-1", resume="run the conversion again to resume", begun=(".parts",),
    owns=(f"part-{'[0-9]' * 5}", VOCABULARY), fields={"digest": str, "parts": list, "files": dict},
)  # fmt: skip
VIDEOS_PER_PART = 4096
DEDUPS, CUTS = ("words", "characters", "none"), ("none", "reference")
REFERENCE_CHARACTERS, REFERENCE_TOKENS = 96, 32  # the reference code's cut of each caption


@dataclass(frozen=True)
class CaptionRule:
    """How captions became tokens. `seed` is that of the coins of "characters", and says nothing for the others.

    `dedup`: "words" (ours), "characters" (the reference code's), "none", or "as published" for tokens that came ready.
    `cut`: "reference" keeps the first 96 characters of a caption and then its first 32 tokens; "none" keeps all.
    """

    vocabulary: str  # sha256 of the word pieces in order
    vocab_size: int
    dedup: str = "words"
    cut: str = "none"
    seed: int = 0

    @classmethod
    def of(cls, tokenizer: Tokenizer, dedup: str = "words", cut: str = "none", seed: int = 0) -> "CaptionRule":
        """The rule with this tokenizer's vocabulary; VcworkError for a name that is not one of the listed."""
        for name, value, known in (("dedup", dedup, (*DEDUPS, "as published")), ("cut", cut, CUTS)):
            if value not in known:
                raise VcworkError(f"{name}: expected {', '.join(known)}, got {value!r}")
        return cls(vocabulary_hash(tokenizer), len(tokenizer), dedup, cut, seed)

    @property
    def dtype(self) -> np.dtype:
        """Of the stored tokens: the smallest of uint16 and int32 that holds the vocabulary."""
        return np.dtype(np.uint16 if self.vocab_size <= 1 << 16 else np.int32)


def vocabulary_hash(tokenizer: Tokenizer) -> str:
    """sha256 over the word pieces in order."""
    return hashlib.sha256("\n".join(tokenizer.vocabulary).encode()).hexdigest()


def cut_tokens(texts: list[str], tokenizer: Tokenizer, cut: str) -> list[list[int]]:
    """Token ids of each text under the named cut (`CaptionRule`). Lone surrogates, which JSON can hold, become �."""
    texts = [text.encode("utf-16", "surrogatepass").decode("utf-16", "replace") for text in texts]
    if cut == "none":
        return tokenizer.tokens(texts)
    rows = tokenizer.tokens([text[:REFERENCE_CHARACTERS] for text in texts])
    return [row[:REFERENCE_TOKENS] for row in rows]


def as_stored(
    rule: CaptionRule, id: str, start_s: Sequence[float], end_s: Sequence[float], rows: Sequence[Sequence[int]]
) -> Track:
    """A video's captions in the stored types; VcworkError for tokens of another vocabulary."""
    rows = Rows.of(rows)
    if len(rows.flat) and not 0 <= rows.flat.min() <= rows.flat.max() < rule.vocab_size:
        came = f"{rows.flat.min()}..{rows.flat.max()}"
        raise VcworkError(f"{id}: expected tokens below {rule.vocab_size}, got {came}")
    times = (np.array(each, np.float32) for each in (start_s, end_s))
    return Track(id, *times, Rows(rows.flat.astype(rule.dtype), rows.offsets), 0)


class CaptionStore:
    """Read-only captions by video id: `track(id)` reads one video's from the maps, nothing else is touched.

    `ids` in store order, `failed` {id: reason} of videos without captions.
    """

    def __init__(self, folder: Path, manifest: dict[str, Any]) -> None:
        self.folder, self.manifest = folder, manifest
        self.rule = CaptionRule(**manifest["rule"])
        self.failed: dict[str, str] = dict(manifest["failed"])
        self.parts: list[dict[str, Any]] = manifest["parts"]
        self.ids: list[str] = [id for part in self.parts for id in self._ids_of(part["name"])]
        self._index = {id: i for i, id in enumerate(self.ids)}
        self._first = list(itertools.accumulate((part["videos"] for part in self.parts), initial=0))
        self._map = functools.lru_cache(MAPS // 5)(self._arrays)
        if len(self._index) != self._first[-1]:
            raise VcworkError(f"{folder}: expected {self._first[-1]} videos, got {len(self._index)} different ids")

    def __len__(self) -> int:
        return len(self.ids)

    def __contains__(self, video_id: object) -> bool:
        return video_id in self._index

    def _ids_of(self, part: str) -> list[str]:
        file = f"{part}/ids.json"
        check(self.folder / file, self.manifest["files"][file])
        return read_json(self.folder / file)

    def _arrays(self, part: int) -> dict[str, np.ndarray]:
        with well_formed(self.folder / CAPTIONS.manifest):
            return _arrays(self.folder, self.parts[part], self.rule)

    def track(self, video_id: str, seconds: int = 0) -> Track:
        """The video's captions on the maps, as the sampler wants them, for a video of `seconds` features."""
        if video_id not in self._index:
            why = self.failed.get(video_id, f"not among its {len(self)} videos")
            raise VcworkError(f"{self.folder}: no captions of video {video_id!r}: {why}")
        index = self._index[video_id]
        part = bisect.bisect_right(self._first, index) - 1
        return _track(self._map(part), index - self._first[part], video_id, seconds)

    def tokenizer(self) -> Tokenizer:
        """The tokenizer of the store's own vocab.txt; VcworkError when that is not the one it was written with."""
        with well_formed(self.folder / CAPTIONS.manifest):
            check(self.folder / VOCABULARY, self.manifest["files"][VOCABULARY])
        tokenizer = Tokenizer.load(self.folder)
        if vocabulary_hash(tokenizer) != self.rule.vocabulary:
            raise VcworkError(f"{self.folder / VOCABULARY}: not the vocabulary this store was written with")
        return tokenizer

    def digest(self) -> str:
        """sha256 over rule, ids, times and tokens; the same however they are split into parts."""
        return self.manifest["digest"]


class CaptionWriter:
    """Writes a caption store part by part; `finish` writes vocabulary and manifest, last.

    The digest is fed video by video, so it does not depend on the parts.
    """

    def __init__(self, folder: Path, rule: CaptionRule, videos_per_part: int = VIDEOS_PER_PART) -> None:
        self.folder, self.rule, self.limit = folder, rule, videos_per_part
        self._digest = hashlib.sha256(repr(sorted(asdict(rule).items())).encode())
        self._parts: list[dict[str, Any]] = []
        begin(folder, CAPTIONS)

    def size(self, value: Track | None) -> int:
        """Videos are counted, those without captions too."""
        return 1

    def write(self, ids: Sequence[str], videos: Sequence[Track]) -> dict[str, Any]:
        """One more part, each file whole or not at all; its record, with its `files`."""
        lengths = np.concatenate([np.diff(video.tokens.offsets) for video in videos])
        arrays = {name: np.concatenate([getattr(video, name) for video in videos]) for name in ("start_s", "end_s")}
        arrays["tokens"] = np.concatenate([video.tokens.flat for video in videos])
        arrays["token_offsets"] = np.cumsum([0, *lengths])
        arrays["clip_offsets"] = np.cumsum([0, *(len(video.start_s) for video in videos)])
        folder = self.folder / f"part-{len(self._parts):05d}"
        for key, values in arrays.items():
            with atomic_write(folder / f"{key}.npy", "wb") as file:
                save_npy(file, values)
        write_json(folder / "ids.json", list(ids))
        names = [f"{folder.name}/{file}" for file in ("ids.json", *(f"{key}.npy" for key in arrays))]
        files = {name: seal(self.folder / name) for name in names}
        counts = {"videos": len(ids), "clips": len(lengths), "tokens": len(arrays["tokens"])}
        part = {"name": folder.name, **counts, "files": files}
        self._take(part, ids, videos)
        return part

    def resume(self, part: dict[str, Any], ids: Sequence[str], sizes: Sequence[int]) -> None:
        """A part that an earlier run wrote."""
        arrays = _arrays(self.folder, part, self.rule)
        self._take(part, ids, (_track(arrays, row, id) for row, id in enumerate(ids)))

    def finish(self, tokenizer: Tokenizer, failed: Mapping[str, str]) -> CaptionStore:
        """The vocabulary, the rule's, then the manifest, last of all."""
        tokenizer.save(self.folder)
        made = {"rule": asdict(self.rule), "digest": self._digest.hexdigest(), **split_files("parts", self._parts)}
        made["files"][VOCABULARY] = seal(self.folder / VOCABULARY)
        write_manifest(self.folder, CAPTIONS, made | {"failed": dict(failed)})
        return open_caption_store(self.folder, self.rule, verify=False)

    def _take(self, part: dict[str, Any], ids: Sequence[str], videos: Iterable[Track]) -> None:
        for id, own in zip(ids, videos, strict=True):
            self._digest.update(f"|{id}|{len(own.start_s)}|".encode())
            for array in (own.start_s, own.end_s, own.tokens.offsets, own.tokens.flat.astype(np.int32)):
                self._digest.update(array.tobytes())
        self._parts.append(part)


def open_caption_store(folder: str | Path, rule: CaptionRule | None = None, verify: bool = True) -> CaptionStore:
    """Open a finished store; `verify` reads it once and compares sha256 (sizes are compared always).

    VcworkError: no manifest (unfinished), another rule than the one asked for, a file that is not the one written.
    """
    folder = resolve(folder)
    manifest = read_manifest(folder, CAPTIONS, verify)
    with well_formed(folder / CAPTIONS.manifest):
        store = CaptionStore(folder, manifest)
    check_same(f"{folder}: captions under another rule", rule, store.rule)
    return store


def _arrays(folder: Path, part: Mapping[str, Any], rule: CaptionRule) -> dict[str, np.ndarray]:
    """The arrays of a part, as memory maps; VcworkError where one is not what the manifest lets expect."""
    times, offsets = (np.dtype(np.float32), part["clips"]), np.dtype(np.int64)
    wanted = {"start_s": times, "end_s": times, "tokens": (rule.dtype, part["tokens"])}
    wanted |= {"token_offsets": (offsets, part["clips"] + 1), "clip_offsets": (offsets, part["videos"] + 1)}
    arrays = {}
    for key, (dtype, n) in wanted.items():
        path = folder / part["name"] / f"{key}.npy"
        arrays[key] = array = load_npy(path, mmap=True)
        if array.shape != (n,) or array.dtype != dtype:
            raise VcworkError(f"{path}: expected {dtype} ({n},), got {array.dtype} {array.shape}")
        if dtype is offsets and (
            array[0] or array[-1] != part[key.replace("_offsets", "s")] or (np.diff(array) < 0).any()
        ):
            raise VcworkError(
                f"{path}: expected places that rise from 0 to the number of {key.replace('_offsets', 's')}"
            )
    return arrays


def _track(arrays: Mapping[str, np.ndarray], row: int, id: str, seconds: int = 0) -> Track:
    """The captions of a part's `row`-th video."""
    first, last = arrays["clip_offsets"][row : row + 2].tolist()
    ends = arrays["token_offsets"][first : last + 1]
    tokens = Rows(arrays["tokens"][ends[0] : ends[-1]], ends - ends[0])
    return Track(id, arrays["start_s"][first:last], arrays["end_s"][first:last], tokens, seconds)
