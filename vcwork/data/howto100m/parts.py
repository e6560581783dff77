"""A store made in parts that survive a kill: what is finished is known by its record, what is not is made again.

A part's files are written first, its record (ids, reasons, counts, sha256 of the files, where the source goes on)
last. A new run believes only records whose files are as written, and removes every other file of ours.
"""

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vcwork.base.files import read_json, sha256_file, write_json
from vcwork.data.howto100m.sources import Item


class Expected:
    """The ids of all splits, each once, and which of them a source has shown already."""

    def __init__(self, ids: Mapping[str, list[str]]) -> None:
        self.index = {id: n for n, id in enumerate(dict.fromkeys(itertools.chain(*ids.values())))}
        self.ids = list(self.index)

    def only(self, items: Iterable[Item], seen: bytearray) -> Iterator[Item]:
        """The expected items, each id once; what was passed over is counted in the next. The last has no id."""
        passed, position = Counter(), None
        for item in items:
            n, position = self.index.get(item.id), item.position
            if n is None or seen[n]:
                passed["not expected" if n is None else "repeated"] += 1
                continue
            seen[n] = 1
            item.counts += passed
            passed = Counter()
            yield item
        if position is not None:
            yield Item(position, None, counts=passed)


@dataclass
class Group:
    """Videos that become one part, and what its record says of them beside."""

    position: int = 0
    ids: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    counts: Counter = field(default_factory=Counter)
    note: str = ""

    def take(self, item: Item) -> None:
        """The item is part of this group: goes on after it when resumed."""
        self.position = item.position
        self.counts.update(item.counts)
        self.note = self.note or item.note
        if item.id is not None:
            if item.why:
                self.failed[item.id] = item.why
            else:
                self.ids.append(item.id)

    def record(self) -> dict[str, Any]:
        counts = {key: self.counts[key] for key in sorted(self.counts) if self.counts[key]}
        return {"position": self.position, "ids": self.ids, "failed": self.failed, "counts": counts, "note": self.note}


class Parts:
    """The records of a store's finished parts, one small file each in `.parts`; what no record knows is removed."""

    def __init__(self, folder: Path, expected: Expected) -> None:
        self.folder, self.seen = folder, bytearray(len(expected.ids))
        self.records: list[dict[str, Any]] = []
        while (record := self._whole(len(self.records))) is not None:
            self.records.append(record)
            for id in itertools.chain(record["ids"], record["failed"]):
                self.seen[expected.index[id]] = 1
        self._clear()

    @property
    def position(self) -> int:
        return self.records[-1]["position"] if self.records else 0

    @property
    def videos(self) -> int:
        return sum(len(record["ids"]) + len(record["failed"]) for record in self.records)

    @property
    def written(self) -> list[dict[str, Any]]:
        """What the stores' manifests say of their parts."""
        return [record["part"] for record in self.records if record["part"]]

    def add(self, group: Group, part: dict[str, Any] | None, files: Iterable[Path], more: dict[str, Any]) -> None:
        """Called when the part's files are whole: from now on the part is finished."""
        names = {str(path.relative_to(self.folder)): sha256_file(path) for path in files}
        record = group.record() | {"part": part, "files": names} | more
        write_json(self._path(len(self.records)), record)
        self.records.append(record)

    def counts(self) -> dict[str, int]:
        total = Counter()
        for record in self.records:
            total.update(record["counts"])
        return dict(sorted(total.items()))

    def note(self) -> str:
        return next((record["note"] for record in self.records if record["note"]), "")

    def failed(self) -> dict[str, str]:
        return {id: why for record in self.records for id, why in record["failed"].items()}

    def _path(self, number: int) -> Path:
        return self.folder / ".parts" / f"{number:05d}.json"

    def _whole(self, number: int) -> dict[str, Any] | None:
        """The record, if all its files are there as written."""
        if not self._path(number).is_file():
            return None
        record = read_json(self._path(number))
        paths = [(self.folder / name, sha) for name, sha in record["files"].items()]
        return record if all(path.is_file() and sha256_file(path) == sha for path, sha in paths) else None

    def _clear(self) -> None:
        """Remove what a killed run left behind: files of ours that no finished part has."""
        keep = {self.folder / name for record in self.records for name in record["files"]}
        keep |= {self._path(n) for n in range(len(self.records))}
        ours = ("shard-*.npy", "part-*/*", ".parts/*", ".*.part", "*/.*.part")
        for path in {path for pattern in ours for path in self.folder.glob(pattern)} - keep:
            path.unlink()
