"""Where HowTo100M-shaped data lies and how it is read: one video after the other, from any place on.

Each source gives items in its own order: raw_caption.json its entries, a folder the files of the expected ids, packed
shards their ids. One video's unreadable file is that item's reason; what concerns the whole source is a VcworkError.
"""

import functools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vcwork.base.errors import VcworkError
from vcwork.base.files import resolve
from vcwork.data.captions import CaptionReport, captions_of_entry, read_captions
from vcwork.data.corpus import SPLITS
from vcwork.data.howto100m.json_stream import stream_object
from vcwork.data.howto100m.packed import PackedSplit, is_plain_id, packed_split
from vcwork.data.store import load_npy


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
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        raise VcworkError(f"{path}: no such id list") from None
    except (OSError, UnicodeDecodeError) as error:
        raise VcworkError(f"{path}: not readable as a list of ids, one a line ({error})") from error
    for number, line in enumerate(lines, 1):
        if line.strip() and not is_plain_id(line.strip()):
            raise VcworkError(f"{path}, line {number}: expected one video id, got {line[:40]!r}")
    ids = [line.strip() for line in lines if line.strip()]
    if not ids:
        raise VcworkError(f"{path}: expected video ids, one a line, got none")
    return ids


@dataclass
class Item:
    """One video of a source: its captions or features, or why it has none. `position`: where the next one begins."""

    position: int
    id: str | None  # None: the end of the source
    value: Any = None
    why: str = ""
    counts: Counter = field(default_factory=Counter)  # what was met on the way here
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
        unknown = [split for split in source.ids if split not in SPLITS]
        if unknown:
            raise VcworkError(f"ids: expected the splits {', '.join(SPLITS)}, got {unknown[0]!r}")
        self.ids = {split: read_id_list(resolve(source.ids[split])) for split in SPLITS if split in source.ids}
        self.packed: list[PackedSplit] = []
        if "packed" in (self.text, self.video):
            self._open_packed()
        elif not self.ids:
            raise VcworkError("ids: expected a list of video ids of each split; only packed data brings its own")

    def _open_packed(self) -> None:
        if self.text == "packed" and not list(self.meta.glob("*_meta.pkl")):
            raise VcworkError(f"{self.meta}: expected the packed captions' *_meta.pkl here; name their folder as meta")
        splits = self.ids or [s for s in ("train", "val") if (self.meta / f"{s}_meta.pkl").is_file()]
        prefix = str(self.captions) if self.text == "packed" else ""
        for split in dict.fromkeys(map(packed_split, splits)):
            self.packed.append(PackedSplit(self.meta, split, prefix, self.video == "packed"))
        if not self.ids:
            self.ids = {split.split: split.ids for split in self.packed}

    def caption_items(self, ids: list[str], position: int) -> Iterator[Item]:
        """Captions from `position` on: a list of `Caption`, or from packed data (start_s, end_s, tokens)."""
        if self.text == "json":
            return _json_items(self.captions, position)
        if self.text == "csv":
            return _file_items(ids, position, functools.partial(_read_csv, self.captions))
        return _packed_items(self.packed, position, "captions")

    def feature_items(self, ids: list[str], position: int) -> Iterator[Item]:
        """Features (T, W) from `position` on."""
        if self.video == "npy":
            return _file_items(ids, position, functools.partial(_read_npy, self.features))
        return _packed_items(self.packed, position, "features")


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
    for after, id, entry in stream_object(path, position):
        report = CaptionReport()
        try:
            item = Item(after, id, captions_of_entry(f"{path.name}: {id}", entry, report))
        except VcworkError as error:
            item = Item(after, id, why=str(error))
        _tell(item, report)
        yield item


def _file_items(ids: list[str], position: int, read: Callable[[str, Item], None]) -> Iterator[Item]:
    for number in range(position, len(ids)):
        item = Item(number + 1, ids[number])
        read(ids[number], item)
        yield item


def _packed_items(packed: list[PackedSplit], position: int, what: str) -> Iterator[Item]:
    before = 0
    for split in packed:
        for i in range(max(0, position - before), len(split)):
            yield Item(before + i + 1, split.ids[i], getattr(split, what)(i))
        before += len(split)


def _read_csv(folder: Path, id: str, item: Item) -> None:
    report, path = CaptionReport(), folder / f"{id}.csv"
    if not path.is_file():
        item.why = "no caption file"
        return
    try:
        item.value = read_captions(path, report)
    except VcworkError as error:
        item.why = str(error).replace(f"{folder}/", "")
    report.dropped = [line.replace(f"{folder}/", "") for line in report.dropped]
    _tell(item, report)


def _read_npy(folder: Path, id: str, item: Item) -> None:
    path = folder / f"{id}.npy"
    if not path.is_file():
        item.why = "no feature file"
        return
    try:
        item.value = load_npy(path)
    except VcworkError as error:
        item.why = str(error).replace(f"{folder}/", "")


def _tell(item: Item, report: CaptionReport) -> None:
    item.counts["cues_dropped"] += len(report.dropped)
    item.counts["cues_reordered"] += report.reordered
    item.note = report.dropped[0] if report.dropped else ""
