"""A store made in parts that survive a kill: what is finished is known by its record, what is not is made again.

A part's files are written first, its record (ids, reasons, counts, sha256 of the files, where the source goes on)
last. A new run believes only records whose files are as written, and removes every other file of ours. `write_parts`
is the one loop: items of a source in, a store's parts and their records out.
"""

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from tqdm.auto import tqdm

from vcwork.base.files import read_json, sha256_file, write_json
from vcwork.base.sealed import differs
from vcwork.data.howto100m.sources import Item


class Writer(Protocol):
    """What a store is written by, part after part."""

    what: str

    def read(self, item: Item) -> Any:
        """What is to be stored of an item; None, with the reason in the item, where nothing is."""

    def fits(self, value: Any, videos: int) -> bool:
        """Whether the part being collected, of so many videos already, has room for this one."""

    def add(self, id: str, value: Any) -> None:
        """A video of that part."""

    def flush(self) -> tuple[dict[str, Any] | None, list[Path], dict[str, Any]]:
        """Write the part: its record in the store's manifest (None: it has no video), its files, more to remember."""

    def resume(self, record: Mapping[str, Any]) -> None:
        """A part that an earlier run finished."""


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


class Parts:
    """The records of a store's finished parts, one small file each in `.parts`; what no record knows is removed."""

    def __init__(self, folder: Path, expected: Expected) -> None:
        self.folder, self.expected, self.seen = folder, expected, bytearray(len(expected.ids))
        self.records: list[dict[str, Any]] = []
        while (record := self._whole(len(self.records))) is not None:
            self.records.append(record)
            for id in itertools.chain(record["ids"], record["failed"]):
                self.seen[expected.index[id]] = 1
        self._clear()

    @property
    def position(self) -> int:
        """Where the source goes on."""
        return self.records[-1]["position"] if self.records else 0

    def add(self, items: list[Item], part: dict | None, files: Iterable[Path], more: Mapping[str, Any]) -> None:
        """Called when the files of the part that these items became are whole: from now on it is finished."""
        counts = sum((item.counts for item in items), Counter())
        record = {
            "position": items[-1].position,
            "ids": [item.id for item in items if item.id is not None and not item.why],
            "failed": {item.id: item.why for item in items if item.why},
            "counts": dict(sorted(counts.items())),
            "note": next((item.note for item in items if item.note), ""),
            "part": part,
            "files": {str(path.relative_to(self.folder)): sha256_file(path) for path in files},
        }
        write_json(self._path(len(self.records)), record | more)
        self.records.append(record | more)

    def counts(self) -> dict[str, int]:
        """What was met in all parts."""
        return dict(sorted(sum((Counter(record["counts"]) for record in self.records), Counter()).items()))

    def note(self) -> str:
        """The first cue that was dropped, and why."""
        return next((record["note"] for record in self.records if record["note"]), "")

    def failed(self, absent: str) -> dict[str, str]:
        """{id: reason} of every expected video that is not in the store; `absent` where the source has it not."""
        known = {id: why for record in self.records for id, why in record["failed"].items()}
        return known | {id: absent for id, n in self.expected.index.items() if not self.seen[n]}

    def _path(self, number: int) -> Path:
        return self.folder / ".parts" / f"{number:05d}.json"

    def _whole(self, number: int) -> dict[str, Any] | None:
        """The record, if all its files are there as written."""
        if not self._path(number).is_file():
            return None
        record = read_json(self._path(number))
        files = record["files"].items()
        return None if any(differs(self.folder / name, {"sha256": sha256}) for name, sha256 in files) else record

    def _clear(self) -> None:
        """Remove what a killed run left behind: files of ours that no finished part has."""
        keep = {self.folder / name for record in self.records for name in record["files"]}
        keep |= {self._path(n) for n in range(len(self.records))}
        ours = ("shard-*.npy", "part-*/*", ".parts/*", ".*.part", "*/.*.part")
        for path in {path for pattern in ours for path in self.folder.glob(pattern)} - keep:
            path.unlink()


def write_parts(parts: Parts, items: Callable[[int], Iterator[Item]], writer: Writer, progress: bool) -> None:
    """Every expected item into a part, from where an earlier run stopped; `items(position)` reads the source."""
    for record in parts.records:
        if record["part"]:
            writer.resume(record)
    expected, taken = parts.expected, []
    done = sum(len(record["ids"]) + len(record["failed"]) for record in parts.records)
    with tqdm(total=len(expected.ids), initial=done, desc=writer.what, unit="video", disable=not progress) as bar:
        for item in expected.only(items(parts.position), parts.seen):
            value = writer.read(item) if item.id is not None and not item.why else None
            if item.id is not None and not writer.fits(value, len(taken)):
                parts.add(taken, *writer.flush())
                taken = []
            taken.append(item)
            item.value = None  # memory holds what is stored of a part, not what it was made of
            if value is not None:
                writer.add(item.id, value)
            bar.update(item.id is not None)
    if taken:  # the last of them is the source's end
        parts.add(taken, *writer.flush())
