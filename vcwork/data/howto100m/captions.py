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
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np

from vcwork.base.errors import VcworkError
from vcwork.base.files import atomic_write, read_json, resolve, sha256_file, write_json
from vcwork.core.sampling import Track
from vcwork.core.text import Tokenizer
from vcwork.data.store import save_npy

FORMAT = "vcwork-captions-1"
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
            self._maps[part] = open_part(self.folder, self.parts[part], mmap=True)
        return self._maps[part], index - self._first[part]


@dataclass
class PartBuilder:
    """Videos collected for one part, in compact arrays."""

    rule: CaptionRule
    ids: list[str] = field(default_factory=list)
    start_s: array = field(default_factory=lambda: array("f"))
    end_s: array = field(default_factory=lambda: array("f"))
    tokens: array = field(default_factory=lambda: array("i"))
    token_offsets: array = field(default_factory=lambda: array("q", [0]))
    clip_offsets: array = field(default_factory=lambda: array("q", [0]))

    def add(
        self, video_id: str, start_s: Iterable[float], end_s: Iterable[float], tokens: Iterable[Sequence[int]]
    ) -> None:
        """One video: as many starts as ends as token lists, at least one; tokens within the vocabulary."""
        before = len(self.start_s)
        for row in tokens:
            if len(row) and not 0 <= min(row) <= max(row) < self.rule.vocab_size:
                raise VcworkError(
                    f"{video_id}: expected tokens below {self.rule.vocab_size}, got {min(row)}..{max(row)}"
                )
            self.tokens.extend(row)
            self.token_offsets.append(len(self.tokens))
        self.start_s.extend(start_s)
        self.end_s.extend(end_s)
        counts = {len(self.start_s), len(self.end_s), len(self.token_offsets) - 1}
        if len(counts) > 1 or before in counts:
            raise VcworkError(f"{video_id}: expected captions, as many starts as ends and token lists")
        self.clip_offsets.append(len(self.start_s))
        self.ids.append(video_id)

    def arrays(self) -> dict[str, np.ndarray]:
        """The part's arrays in their stored types."""
        return {
            "start_s": np.array(self.start_s, np.float32),
            "end_s": np.array(self.end_s, np.float32),
            "tokens": np.array(self.tokens, self.rule.dtype),
            "token_offsets": np.array(self.token_offsets, np.int64),
            "clip_offsets": np.array(self.clip_offsets, np.int64),
        }


def write_part(folder: Path, number: int, part: PartBuilder) -> dict[str, Any]:
    """Write one part's files, each whole or not at all; returns its record for the manifest."""
    name, arrays = f"part-{number:05d}", part.arrays()
    for key, values in arrays.items():
        with atomic_write(folder / name / f"{key}.npy", "wb") as file:
            save_npy(file, values)
    write_json(folder / name / "ids.json", part.ids)
    files = {}
    for key in ("ids.json", *(f"{key}.npy" for key in arrays)):
        path = folder / name / key
        files[key] = {"bytes": path.stat().st_size, "sha256": sha256_file(path)}
    return {
        "name": name,
        "videos": len(part.ids),
        "clips": len(part.start_s),
        "tokens": len(part.tokens),
        "files": files,
    }


def open_part(folder: Path, record: Mapping[str, Any], mmap: bool) -> dict[str, np.ndarray]:
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
        try:
            values = np.load(path, mmap_mode="r" if mmap and length else None, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise VcworkError(f"{path}: not readable as a plain .npy array ({error})") from error
        if values.shape != (length,) or values.dtype.str[1:] not in kinds:
            raise VcworkError(f"{path}: expected {kinds} ({length},), got {values.dtype} {values.shape}")
        arrays[key] = values
    for key, length in (("token_offsets", tokens), ("clip_offsets", clips)):
        if arrays[key][-1] != length:
            raise VcworkError(
                f"{folder / record['name'] / key}.npy: expected to end at {length}, got {arrays[key][-1]}"
            )
    return arrays


def new_digest(rule: CaptionRule) -> "hashlib._Hash":
    """The running digest of a store, before its first video."""
    return hashlib.sha256(repr(sorted(asdict(rule).items())).encode())


def feed_digest(digest: "hashlib._Hash", ids: Sequence[str], arrays: Mapping[str, np.ndarray]) -> None:
    """Feed a part video by video, so that the digest does not depend on the parts."""
    clips, ends = arrays["clip_offsets"], arrays["token_offsets"]
    for id, first, last in zip(ids, clips[:-1], clips[1:], strict=True):
        digest.update(f"|{id}|{last - first}|".encode())
        digest.update(arrays["start_s"][first:last].tobytes() + arrays["end_s"][first:last].tobytes())
        digest.update((ends[first : last + 1] - ends[first]).tobytes())
        digest.update(arrays["tokens"][ends[first] : ends[last]].astype(np.int32).tobytes())


def finish_store(
    folder: Path, rule: CaptionRule, tokenizer: Tokenizer, parts: list[dict[str, Any]], digest: str,
    failed: Mapping[str, str],
) -> CaptionStore:  # fmt: skip
    """Vocabulary, then the manifest, last of all."""
    if not parts:
        raise VcworkError(f"{folder}: no captions to store")
    tokenizer.save(folder)
    manifest = {"format": FORMAT, "rule": asdict(rule), "digest": digest, "parts": parts, "failed": dict(failed)}
    write_json(folder / "manifest.json", manifest)
    return open_caption_store(folder, rule, verify=False)


def write_caption_store(
    folder: str | Path,
    rule: CaptionRule,
    tokenizer: Tokenizer,
    tracks: Iterable[Track],
    failed: Mapping[str, str] | None = None,
    videos_per_part: int = VIDEOS_PER_PART,
) -> CaptionStore:
    """Store the captions of `tracks` in the order given; their `seconds` is not stored.

    VcworkError: a track without captions or with tokens outside the vocabulary; a folder that already holds a store.
    """
    folder = resolve(folder)
    if (folder / "manifest.json").exists():
        raise VcworkError(f"{folder}: already holds a store; choose another folder")
    if vocabulary_hash(tokenizer) != rule.vocabulary:
        raise VcworkError("tokenizer: expected the one whose vocabulary the rule names")
    digest, parts = new_digest(rule), []
    for group in _groups(tracks, videos_per_part):
        part = PartBuilder(rule)
        for track in group:
            part.add(track.video_id, track.start_s, track.end_s, track.tokens)
        feed_digest(digest, part.ids, part.arrays())
        parts.append(write_part(folder, len(parts), part))
    return finish_store(folder, rule, tokenizer, parts, digest.hexdigest(), failed or {})


def open_caption_store(folder: str | Path, rule: CaptionRule | None = None, verify: bool = True) -> CaptionStore:
    """Open a finished store; `verify` reads it once and compares sha256 (sizes and shapes are compared always).

    VcworkError: no manifest (unfinished), another rule than the one asked for, a file that is not the one written.
    """
    folder = resolve(folder)
    path = folder / "manifest.json"
    if not path.is_file():
        remains = (folder / ".parts").exists() or any(folder.glob("part-*"))
        hint = "incomplete: run the conversion again to resume" if remains else "no such caption store"
        raise VcworkError(f"{folder}: {hint} (expected manifest.json)")
    manifest = read_json(path)
    found = manifest.get("format") if isinstance(manifest, dict) else type(manifest).__name__
    if found != FORMAT:
        raise VcworkError(f"{path}: expected format {FORMAT!r}, got {found!r}")
    try:
        for part in manifest["parts"]:
            check_part(folder, part, verify)
        store = CaptionStore(folder, manifest)
    except (KeyError, TypeError, AttributeError) as error:
        raise VcworkError(f"{path}: expected another structure ({type(error).__name__}: {error})") from error
    if rule is not None and rule != store.rule:
        raise VcworkError(f"{folder}: captions under another rule: {_difference(rule, store.rule)}")
    return store


def check_part(folder: Path, record: Mapping[str, Any], verify: bool) -> None:
    """Every file of a part is there, of its size, of its type and, with `verify`, of its sha256."""
    for name, written in record["files"].items():
        path = folder / record["name"] / name
        if path.name != name or path.parent.parent != folder or not path.is_file():
            raise VcworkError(f"{path}: this file of the caption store is missing")
        if path.stat().st_size != written["bytes"]:
            size = path.stat().st_size
            raise VcworkError(
                f"{path}: expected {written['bytes']} bytes, got {size}; the store is damaged, convert again"
            )
        if verify and sha256_file(path) != written["sha256"]:
            raise VcworkError(f"{path}: its sha256 is not the one in its manifest; the store is damaged, convert again")
    open_part(folder, record, mmap=True)


def _part_ids(folder: Path, part: Mapping[str, Any]) -> list[str]:
    path = folder / part["name"] / "ids.json"
    ids = read_json(path)
    if not isinstance(ids, list) or len(ids) != part["videos"] or not all(isinstance(id, str) for id in ids):
        raise VcworkError(f"{path}: expected a list of {part['videos']} ids")
    return ids


def _groups(tracks: Iterable[Track], size: int) -> Iterator[list[Track]]:
    rest = iter(tracks)
    while group := list(itertools.islice(rest, size)):
        yield group


def _difference(asked: CaptionRule, found: CaptionRule) -> str:
    pairs = [(f.name, getattr(asked, f.name), getattr(found, f.name)) for f in fields(CaptionRule)]
    return "; ".join(f"{name}: asked for {a!r}, found {b!r}" for name, a, b in pairs if a != b)
