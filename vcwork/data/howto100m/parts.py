"""A store made in parts that survive a kill: what is finished is known by its record, what is not is made again.

A part's files are written first, its record (ids, reasons, counts, where the source goes on) last. A new run believes
only records whose files are as written, and removes every other file of ours.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from vcwork.base.errors import VcworkError
from vcwork.base.files import read_json, write_json
from vcwork.base.sealed import differs
from vcwork.data.howto100m.captions import CaptionWriter
from vcwork.data.howto100m.sources import Item
from vcwork.data.store import ShardWriter

Writer = CaptionWriter | ShardWriter  # a part holds at most `limit` of what `size` says of each video


@dataclass
class _Next:
    """What the next part is made of so far; `failed` {id: why} of videos of which nothing is stored."""

    ids: list[str] = field(default_factory=list)
    values: list[Any] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    counts: Counter = field(default_factory=Counter)
    note: str = ""
    size: int = 0


class Parts:
    """The parts of one store, `records` of the finished ones; the source is read on from its item `position`."""

    def __init__(self, writer: Writer, ids: Iterable[str]) -> None:
        self.writer, self.expected, self.seen = writer, dict.fromkeys(ids), set()
        self.records: list[dict[str, Any]] = []
        self.next, self.position = _Next(), 0
        while (record := self._whole(len(self.records))) is not None:
            self.records.append(record)
            self.seen.update(record["ids"], record["failed"])
            self.position = record["position"]
            if record["part"]:
                writer.resume(record["part"], record["ids"], record["sizes"])
        self._clear()

    def fill(self, items: Callable[[int], Iterator[Item]], read: Callable[[Item], Any], what: str, bar: bool) -> None:
        """Every expected video of the source, the first time it comes, into a part.

        `items(n)`: the source from its n-th item on; `read(item)`: what is stored of it, None with the reason in the
        item. VcworkError where no video at all is stored.
        """
        known = {"total": len(self.expected), "initial": len(self.seen), "desc": what, "unit": "video"}
        with tqdm(**known, disable=not bar) as progress:
            for item in items(self.position):
                if item.id in self.expected and item.id not in self.seen:
                    self._take(item, None if item.why else read(item))
                    progress.update()
                else:
                    self.next.counts["repeated" if item.id in self.seen else "not expected"] += 1
                self.position += 1
        self._flush()
        if not any(record["part"] for record in self.records):
            first = next((f"{id}: {why}" for id, why in self.failed(what).items()), "the source is empty")
            raise VcworkError(f"{self.writer.folder}: none of {len(self.expected)} videos has {what}; {first}")

    def counts(self) -> dict[str, int]:
        """What was met in all parts."""
        return dict(sorted(sum((Counter(record["counts"]) for record in self.records), Counter()).items()))

    def note(self) -> str:
        """The first cue that was dropped, and why."""
        return next((record["note"] for record in self.records if record["note"]), "")

    def failed(self, what: str) -> dict[str, str]:
        """{id: reason} of every expected video that is not in the store."""
        known = {id: why for record in self.records for id, why in record["failed"].items()}
        return known | {id: f"not in the {what}" for id in self.expected if id not in self.seen}

    def _take(self, item: Item, value: Any) -> None:
        size = self.writer.size(value)
        if self.next.size and self.next.size + size > self.writer.limit:
            self._flush()
        self.seen.add(item.id)
        self.next.size += size
        self.next.counts += item.counts
        self.next.note = self.next.note or item.note
        if value is None:
            self.next.failed[item.id] = item.why
            return
        self.next.ids.append(item.id)
        self.next.values.append(value)
        self.next.sizes.append(size)

    def _flush(self) -> None:
        """Write the next part; when its record is there, it is finished."""
        made, self.next = self.next, _Next()
        if not (made.ids or made.failed or made.counts):
            return
        record = {name: getattr(made, name) for name in ("ids", "sizes", "failed", "counts", "note")}
        record |= {"position": self.position, "part": self.writer.write(made.ids, made.values) if made.ids else None}
        write_json(self._path(len(self.records)), record)
        self.records.append(record)

    def _path(self, number: int) -> Path:
        return self.writer.folder / ".parts" / f"{number:05d}.json"

    def _whole(self, number: int) -> dict[str, Any] | None:
        """The record, if all its files are there as written."""
        if not self._path(number).is_file():
            return None
        record = read_json(self._path(number))
        files = self.writer.files(record["part"]) if record["part"] else {}
        return None if any(differs(path, sealed) for path, sealed in files.items()) else record

    def _clear(self) -> None:
        """Remove what a killed run left behind: files of ours that no finished part has."""
        keep = {path for record in self.records if record["part"] for path in self.writer.files(record["part"])}
        keep |= {self._path(n) for n in range(len(self.records))}
        ours = ("shard-*.npy", "part-*/*", ".parts/*", ".*.part", "*/.*.part")
        for path in {path for pattern in ours for path in self.writer.folder.glob(pattern)} - keep:
            path.unlink()
