"""A caption store on disk: times and tokens of every caption of every video, as memory-mapped .npy arrays in parts.

The text half of what pre-training reads, beside the feature store. A part holds whole videos; per part `start_s` and
`end_s` (float32, one a clip), `tokens` (uint16 or int32, all clips after each other), `token_offsets` (one a clip,
plus the end) and `clip_offsets` (one a video, plus the end). The manifest names the rule under which captions became
tokens (vocabulary, de-duplication, cut) and is written last: a folder without it is not a store.
Known gaps: opening reads all ids (about 150 bytes of memory a video); the text itself is not kept, only its tokens.
"""

import bisect
import hashlib
import itertools
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from vcwork.base.errors import VcworkError
from vcwork.base.files import atomic_write, read_json, resolve, write_json
from vcwork.base.sealed import Kind, check, member, read_manifest, seal, well_formed, write_manifest
from vcwork.core.sampling import Track
from vcwork.core.text import Tokenizer
from vcwork.data.store import check_same, load_npy, save_npy

CAPTIONS = Kind(
    "caption store", "vcwork-captions-1", resume="run the conversion again to resume", begun=(".parts", "part-*")
)
VIDEOS_PER_PART = 4096
REFERENCE_CHARACTERS, REFERENCE_TOKENS = 96, 32  # the reference code's cut of each caption


@dataclass(frozen=True)
class CaptionRule:
    """How captions became tokens. `seed` is that of the coins of "characters", and says nothing for the others.

    `dedup`: "words" (ours), "characters" (the reference code's), "none", or "as published" for tokens that came ready.
    `cut`: "reference" keeps the first 96 characters of a caption and then its first 32 tokens; "none" keeps all.
    """

    vocabulary: str  # sha256 of the word pieces in order
    vocab_size: int
    dedup: Literal["words", "characters", "none", "as published"] = "words"
    cut: Literal["none", "reference"] = "none"
    seed: int = 0

    @classmethod
    def of(cls, tokenizer: Tokenizer, dedup: str = "words", cut: str = "none", seed: int = 0) -> "CaptionRule":
        """The rule with this tokenizer's vocabulary; VcworkError for a name that is not one of the listed."""
        for name, value, known in (
            ("dedup", dedup, ("words", "characters", "none", "as published")),
            ("cut", cut, ("none", "reference")),
        ):
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


class CaptionStore:
    """Read-only captions by video id: `store[id]` is a `Track` read from the maps, nothing else is touched.

    `ids` in store order, `failed` {id: reason} of videos without captions. A store knows no videos, so `seconds` of
    `store[id]` is 0; `track(id, seconds)` gives a track that can be sampled from.
    """

    def __init__(self, folder: Path, manifest: dict[str, Any]) -> None:
        self.folder, self.manifest = folder, manifest
        self.rule = CaptionRule(**manifest["rule"])
        self.failed: dict[str, str] = manifest["failed"]
        self.parts: list[dict[str, Any]] = manifest["parts"]
        self.ids: list[str] = [id for part in self.parts for id in _part_ids(folder, part)]
        self._index = {id: i for i, id in enumerate(self.ids)}
        self._first = list(itertools.accumulate((part["videos"] for part in self.parts), initial=0))
        self._maps: dict[int, dict[str, np.ndarray]] = {}
        if len(self._index) != self._first[-1]:
            raise VcworkError(f"{folder}: expected {self._first[-1]} videos, got {len(self._index)} different ids")

    def __len__(self) -> int:
        return len(self.ids)

    def __contains__(self, video_id: object) -> bool:
        return video_id in self._index

    def __getitem__(self, video_id: str) -> Track:
        return self.track(video_id, 0)

    def track(self, video_id: str, seconds: int) -> Track:
        """The video's captions as the sampler wants them, for a video of `seconds` features."""
        arrays, row = self._find(video_id)
        first, last = (int(n) for n in arrays["clip_offsets"][row : row + 2])
        ends = arrays["token_offsets"][first : last + 1].tolist()
        tokens = arrays["tokens"][ends[0] : ends[-1]].tolist()
        rows = tuple(tuple(tokens[a - ends[0] : b - ends[0]]) for a, b in itertools.pairwise(ends))
        times = (np.array(arrays[name][first:last]) for name in ("start_s", "end_s"))
        return Track(video_id, *times, rows, seconds)

    def clips(self, video_id: str) -> int:
        """How many captions the video has, without reading them."""
        arrays, row = self._find(video_id)
        return int(arrays["clip_offsets"][row + 1] - arrays["clip_offsets"][row])

    def tokenizer(self) -> Tokenizer:
        """The tokenizer of the store's own vocab.txt; VcworkError when that is not the one it was written with."""
        tokenizer = Tokenizer.load(self.folder)
        if vocabulary_hash(tokenizer) != self.rule.vocabulary:
            raise VcworkError(f"{self.folder / 'vocab.txt'}: not the vocabulary this store was written with")
        return tokenizer

    def digest(self) -> str:
        """sha256 over rule, ids, times and tokens; the same however they are split into parts."""
        return self.manifest["digest"]

    def _find(self, video_id: str) -> tuple[dict[str, np.ndarray], int]:
        if video_id not in self._index:
            why = self.failed.get(video_id, f"not among its {len(self)} videos")
            raise VcworkError(f"{self.folder}: no captions of video {video_id!r}: {why}")
        index = self._index[video_id]
        part = bisect.bisect_right(self._first, index) - 1
        if part not in self._maps:
            self._maps[part] = read_part(self.folder, self.parts[part])
        return self._maps[part], index - self._first[part]


class CaptionWriter:
    """Writes a caption store part by part; `finish` writes vocabulary and manifest, last.

    The digest is fed video by video, so it does not depend on the parts.
    """

    def __init__(self, folder: Path, rule: CaptionRule) -> None:
        self.folder, self.rule = folder, rule
        self._digest = hashlib.sha256(repr(sorted(asdict(rule).items())).encode())
        self._parts: list[dict[str, Any]] = []
        self._begin()

    def _begin(self) -> None:
        """A new part, in compact arrays."""
        self._ids: list[str] = []
        self._start_s, self._end_s, self._tokens = array("f"), array("f"), array("i")
        self._token_offsets, self._clip_offsets = array("q", [0]), array("q", [0])

    def add(
        self, video_id: str, start_s: Iterable[float], end_s: Iterable[float], tokens: Iterable[Sequence[int]]
    ) -> None:
        """One video: as many starts as ends as token lists, at least one; tokens within the vocabulary."""
        before, size = len(self._start_s), self.rule.vocab_size
        for row in tokens:
            if len(row) and not 0 <= min(row) <= max(row) < size:
                raise VcworkError(f"{video_id}: expected tokens below {size}, got {min(row)}..{max(row)}")
            self._tokens.extend(row)
            self._token_offsets.append(len(self._tokens))
        self._start_s.extend(start_s)
        self._end_s.extend(end_s)
        counts = {len(self._start_s), len(self._end_s), len(self._token_offsets) - 1}
        if len(counts) > 1 or before in counts:
            raise VcworkError(f"{video_id}: expected captions, as many starts as ends and token lists")
        self._clip_offsets.append(len(self._start_s))
        self._ids.append(video_id)

    def flush(self) -> dict[str, Any] | None:
        """Write what was added as one part, each file whole or not at all; its record (nothing added: None)."""
        if not self._ids:
            return None
        ids, arrays = self._ids, {
            "start_s": np.array(self._start_s, np.float32),
            "end_s": np.array(self._end_s, np.float32),
            "tokens": np.array(self._tokens, self.rule.dtype),
            "token_offsets": np.array(self._token_offsets, np.int64),
            "clip_offsets": np.array(self._clip_offsets, np.int64),
        }  # fmt: skip
        self._begin()
        name = f"part-{len(self._parts):05d}"
        for key, values in arrays.items():
            with atomic_write(self.folder / name / f"{key}.npy", "wb") as file:
                save_npy(file, values)
        write_json(self.folder / name / "ids.json", ids)
        files = {file: seal(self.folder / name / file) for file in ("ids.json", *(f"{key}.npy" for key in arrays))}
        counts = {"videos": len(ids), "clips": len(arrays["start_s"]), "tokens": len(arrays["tokens"])}
        part = {"name": name, **counts, "files": files}
        self.take(part, ids, arrays)
        return part

    def take(self, part: dict[str, Any], ids: Sequence[str], arrays: Mapping[str, np.ndarray]) -> None:
        """A part that is written."""
        clips, ends = arrays["clip_offsets"], arrays["token_offsets"]
        for id, first, last in zip(ids, clips[:-1], clips[1:], strict=True):
            self._digest.update(f"|{id}|{last - first}|".encode())
            self._digest.update(arrays["start_s"][first:last].tobytes() + arrays["end_s"][first:last].tobytes())
            self._digest.update((ends[first : last + 1] - ends[first]).tobytes())
            self._digest.update(arrays["tokens"][ends[first] : ends[last]].astype(np.int32).tobytes())
        self._parts.append(part)

    def finish(self, tokenizer: Tokenizer, failed: Mapping[str, str]) -> CaptionStore:
        """Vocabulary, then the manifest, last of all. VcworkError without a part, or for another vocabulary."""
        self.flush()
        if not self._parts:
            raise VcworkError(f"{self.folder}: no captions to store")
        if vocabulary_hash(tokenizer) != self.rule.vocabulary:
            raise VcworkError("tokenizer: expected the one whose vocabulary the rule names")
        tokenizer.save(self.folder)
        made = {"rule": asdict(self.rule), "digest": self._digest.hexdigest(), "parts": self._parts}
        write_manifest(self.folder, CAPTIONS, made | {"failed": dict(failed)})
        return open_caption_store(self.folder, self.rule, verify=False)


def open_caption_store(folder: str | Path, rule: CaptionRule | None = None, verify: bool = True) -> CaptionStore:
    """Open a finished store; `verify` reads it once and compares sha256 (sizes and shapes are compared always).

    VcworkError: no manifest (unfinished), another rule than the one asked for, a file that is not the one written.
    """
    folder = resolve(folder)
    manifest = read_manifest(folder, CAPTIONS)
    with well_formed(folder / CAPTIONS.manifest):
        for part in manifest["parts"]:
            for name, sealed in part["files"].items():
                check(member(member(folder, part["name"]), name), sealed, verify=verify)
            read_part(folder, part)
        store = CaptionStore(folder, manifest)
    check_same(f"{folder}: captions under another rule", rule, store.rule)
    return store


def read_part(folder: Path, record: Mapping[str, Any], mmap: bool = True) -> dict[str, np.ndarray]:
    """The arrays of a part, as memory maps or read; VcworkError for types or lengths other than the record's."""
    videos, clips, tokens = record["videos"], record["clips"], record["tokens"]
    expected = {
        "start_s": ("f4", clips),
        "end_s": ("f4", clips),
        "tokens": (("u2", "i4"), tokens),
        "token_offsets": ("i8", clips + 1),
        "clip_offsets": ("i8", videos + 1),
    }
    arrays = {}
    for key, (kinds, length) in expected.items():
        path = folder / record["name"] / f"{key}.npy"
        values = arrays[key] = load_npy(path, mmap=mmap and length > 0)
        if values.shape != (length,) or values.dtype.str[1:] not in kinds:
            raise VcworkError(f"{path}: expected {kinds} ({length},), got {values.dtype} {values.shape}")
    for key, length in (("token_offsets", tokens), ("clip_offsets", clips)):
        if arrays[key][-1] != length:
            path = folder / record["name"] / f"{key}.npy"
            raise VcworkError(f"{path}: expected to end at {length}, got {arrays[key][-1]}")
    return arrays


def _part_ids(folder: Path, part: Mapping[str, Any]) -> list[str]:
    path = folder / part["name"] / "ids.json"
    ids = read_json(path)
    if not isinstance(ids, list) or len(ids) != part["videos"] or not all(isinstance(id, str) for id in ids):
        raise VcworkError(f"{path}: expected a list of {part['videos']} ids")
    return ids
