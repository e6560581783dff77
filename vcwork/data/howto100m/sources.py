"""Where HowTo100M-shaped data lies and how it is read: one video after the other, from any place on.

Each source gives items in its own order: raw_caption.json its entries, a folder the files of the expected ids, packed
shards their ids. One video's unreadable file is that item's reason; what concerns the whole source is a VcworkError.
JSON is streamed by the standard library's decoder, because such files are written by it and hold its NaN, which ijson
refuses: a file of many GB needs the memory of its largest entry.
"""

import functools
import itertools
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from vcwork.base.errors import VcworkError, could_not
from vcwork.base.files import DIGITS, read_text, resolve
from vcwork.data.captions import CaptionReport, captions_of_entry, read_captions
from vcwork.data.corpus import SPLITS
from vcwork.data.howto100m.packed import PackedSplit, is_plain_id
from vcwork.data.store import load_npy

BLOCK = 1 << 20  # characters read at a time, more for an entry that is longer
MAX_ENTRY = 1 << 26  # characters; what does not parse within them is an error, not a reason to read on

_SPACE = re.compile(r"[ \t\n\r]*")
_decode = json.JSONDecoder(parse_int=lambda digits: float(digits) if len(digits) > DIGITS else int(digits)).raw_decode


@dataclass(frozen=True)
class HowTo100M:
    """Where the data lies; what is empty is not converted.

    `ids`: {split: text file, one id a line}; may be empty when the data is packed, which brings its own.
    `captions`: raw_caption.json, a folder of <id>.csv, or what packed file names begin with. `features`: a folder of
    <id>.npy, or a packed one. `meta`: the folder of packed `{split}_meta.pkl`, by default that of the features.
    """

    ids: Mapping[str, str | Path] = field(default_factory=dict)
    captions: str = ""
    features: str = ""
    meta: str = ""


def read_id_list(path: str | Path) -> list[str]:
    """Ids of a text file, one a line, in order; blank lines are skipped, repeats kept.

    VcworkError: missing, not UTF-8, empty, or an id that could not be a file's name.
    """
    lines = [(n, line.strip()) for n, line in enumerate(read_text(resolve(path)).split("\n"), 1) if line.strip()]
    for number, line in lines:
        if not is_plain_id(line) or "," in line:  # a table is no list of ids
            raise VcworkError(f"{path}, line {number}: expected one video id, got {line[:40]!r}")
    if not lines:
        raise VcworkError(f"{path}: expected video ids, one a line, got none")
    return [line for _, line in lines]


@dataclass
class Item:
    """One video of a source: its captions or features, or why it has none; what was met in reading them."""

    id: str
    value: Any = None
    why: str = ""
    counts: Counter = field(default_factory=Counter)
    note: str = ""


class Sources:
    """The source's files, recognised: `text` is "json", "csv", "packed" or "", `video` "npy", "packed" or ""."""

    def __init__(self, source: HowTo100M) -> None:
        if not source.captions and not source.features:
            raise VcworkError("source: expected captions, features, or both")
        self.captions, self.features = resolve(source.captions), resolve(source.features)
        self.text = _kind_of_captions(self.captions) if source.captions else ""
        self.video = _kind_of_features(self.features) if source.features else ""
        self.meta = resolve(source.meta) if source.meta and self.video != "packed" else self.features
        if unknown := [split for split in source.ids if split not in SPLITS]:
            raise VcworkError(f"ids: expected the splits {', '.join(SPLITS)}, got {unknown[0]!r}")
        self.ids = {split: read_id_list(source.ids[split]) for split in SPLITS if split in source.ids}
        self.packed = self._open_packed() if "packed" in (self.text, self.video) else []
        self.ids = self.ids or {split.split: split.ids for split in self.packed}
        if not self.ids:
            raise VcworkError("ids: expected a list of video ids of each split; only packed data brings its own")

    def _open_packed(self) -> list[PackedSplit]:
        if self.text == "packed" and not list(self.meta.glob("*_meta.pkl")):
            raise VcworkError(f"{self.meta}: expected the packed captions' *_meta.pkl here; name their folder as meta")
        wanted = self.ids or [split for split in ("train", "val") if (self.meta / f"{split}_meta.pkl").is_file()]
        prefix = str(self.captions) if self.text == "packed" else ""
        held_by = dict.fromkeys("val" if split == "test" else split for split in wanted)
        return [PackedSplit(self.meta, split, prefix, self.video == "packed") for split in held_by]

    def caption_items(self, ids: list[str], position: int) -> Iterator[Item]:
        """Captions from the item `position` on: a list of `Caption`, or from packed data (start_s, end_s, tokens)."""
        if self.text == "json":
            return _json_items(self.captions, position)
        if self.text == "csv":
            return _file_items(ids[position:], self.captions, "csv", read_captions)
        return _packed_items(self.packed, position, PackedSplit.captions)

    def feature_items(self, ids: list[str], position: int) -> Iterator[Item]:
        """Features (T, W) from the item `position` on."""
        if self.video == "npy":
            return _file_items(ids[position:], self.features, "npy", lambda path, report: load_npy(path))
        return _packed_items(self.packed, position, PackedSplit.features)


def _kind_of_captions(path: Path) -> str:
    if path.is_file():
        return "json"
    folder, start = (path, "") if path.is_dir() else (path.parent, path.name)
    if any(p.name.startswith(start) for p in folder.glob("*.startends_data.npy")):
        return "packed"
    if path.is_dir():
        return "csv"
    raise VcworkError(f"{path}: expected raw_caption.json, a folder of <id>.csv, or the start of packed files' names")


def _kind_of_features(folder: Path) -> str:
    if not folder.is_dir():
        raise VcworkError(f"{folder}: expected a folder of <id>.npy, or of packed features")
    return "packed" if any(folder.glob("*_meta.pkl")) else "npy"


def _json_items(path: Path, position: int) -> Iterator[Item]:
    for id, entry in itertools.islice(stream_object(path), position, None):
        yield _item(id, path.parent, functools.partial(captions_of_entry, f"{path.name}: {id}", entry))


def _file_items(ids: list[str], folder: Path, suffix: str, read: Callable) -> Iterator[Item]:
    for id in ids:
        path = folder / f"{id}.{suffix}"
        there = os.path.isfile(path)  # no error for a name that is too long
        yield _item(id, folder, functools.partial(read, path)) if there else Item(id, why=f"{path.name} is missing")


def _packed_items(packed: list[PackedSplit], position: int, read: Callable) -> Iterator[Item]:
    places = ((split, shard, row) for split in packed for shard, n in enumerate(split.sizes) for row in range(n))
    ids = itertools.chain(*(split.ids for split in packed))
    for id, (split, shard, row) in itertools.islice(zip(ids, places, strict=True), position, None):
        yield Item(id, read(split, shard, row))


def _item(id: str, folder: Path, read: Callable[[CaptionReport], Any]) -> Item:
    """What is read of one video, or why not, and what was left out; told without the folder's own path."""
    item, report = Item(id), CaptionReport()
    try:
        item.value = read(report)
    except VcworkError as error:
        item.why = str(error).replace(f"{folder}/", "")
    item.counts.update(cues_dropped=len(report.dropped), cues_reordered=report.reordered)
    item.note = report.dropped[0].replace(f"{folder}/", "") if report.dropped else ""
    return item


# ------------------------------------------------------------------------------------------------- raw_caption.json


def stream_object(path: str | Path, block: int = BLOCK, limit: int = MAX_ENTRY) -> Iterator[tuple[str, Any]]:
    """(key, value) of each entry of the object in `path`, in order; repeated keys come again.

    VcworkError, naming file and entry: missing, not UTF-8, not one JSON object, cut short, or an entry of more than
    `limit` characters.
    """
    try:
        with could_not(f"{path}: could not be read"), open(path, encoding="utf-8-sig") as file:
            yield from _entries(path, file, block, limit)
    except UnicodeDecodeError as error:
        raise VcworkError(f"{path}: expected UTF-8 ({error.reason})") from None


def _entries(path: str | Path, file: TextIO, block: int, limit: int) -> Iterator[tuple[str, Any]]:
    text, at, where, number = "", 0, "{", 0
    while where != "}":
        try:
            where, entry, at = _entry(text, at, where)
        except (ValueError, IndexError, RecursionError) as error:  # wrong, or only half there yet
            more = file.read(max(block, len(text) - at)) if len(text) - at <= limit else None
            if not more:
                why = {IndexError: "ends too soon", RecursionError: "nested too deep"}.get(type(error), error)
                cut = "; cut short?" if more == "" else ""
                raise VcworkError(f"{path}, entry {number}: not readable as JSON ({why}{cut})") from None
            text, at = text[at:] + more, 0
            continue
        if entry:
            number += 1
            yield entry
    if rest := (text[at:] + file.read(block)).strip():
        raise VcworkError(f"{path}: expected the end of the file after {number} entries, got {rest[:20]!r}")


def _entry(text: str, at: int, where: str) -> tuple[str, tuple[str, Any] | None, int]:
    """What comes next ("," or "}"), the entry that `where`, "{" or ",", begins, and the place behind it.

    ValueError or IndexError where the text is not JSON, or ends before what comes next.
    """
    at = _skip(text, at, where)
    if where == "{" and text[_SPACE.match(text, at).end()] == "}":
        return "}", None, _skip(text, at, "}")
    key, at = _decode(text, _skip(text, at))
    if not isinstance(key, str):
        raise ValueError(f'expected a "key", got {key!r}')
    value, at = _decode(text, _skip(text, _skip(text, at, ":")))
    at = _SPACE.match(text, at).end()
    if text[at] not in ",}":
        raise ValueError(f"expected , or }} after {key!r}, got {text[at]!r}")
    return text[at], (key, value), at + (text[at] == "}")


def _skip(text: str, at: int, character: str = "") -> int:
    """The place behind spaces and, after them, `character`."""
    at = _SPACE.match(text, at).end()
    if character and text[at] != character:
        raise ValueError(f"expected {character}, got {text[at]!r}")
    return at + len(character)
