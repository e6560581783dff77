"""The two passes of a HowTo100M conversion: captions to a caption store, features to a feature store, part by part.

What is finished survives a kill: a part's files are written first, its record (ids, reasons, counts, where the source
goes on) last, in `.parts`. A new run believes only whole records whose files are as written, removes every other file
of ours, and goes on from there; the stores' files are those that their writers would write in one go.

`deduplicate_characters` is the reference code's rule, which works on characters and cuts words: to compare with its
runs. Departs: the coin is a generator's, not a global one; captions arrive cleaned and sorted; none are no error.
"""

import math
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from vcwork.base.errors import VcworkError
from vcwork.base.sealed import differs, read_sealed, write_sealed
from vcwork.core.sampling import Track
from vcwork.core.text import Tokenizer
from vcwork.data.captions import Caption, deduplicate
from vcwork.data.howto100m.captions import CaptionRule, CaptionStore, CaptionWriter, as_stored, cut_tokens
from vcwork.data.howto100m.sources import Item
from vcwork.data.store import SHARDS, Contract, FeatureStore, ShardWriter, as_float16

Items = Callable[[int], Iterator[Item]]  # the source from its n-th item on
OURS = (SHARDS, "part-*/*", ".parts/*", ".*.part", "*/.*.part")


class Parts:
    """The parts of one store, `records` of the finished ones; the source is read on from its item `position`.

    A part holds at most the writer's `limit` of what its `size` says of each video.
    """

    def __init__(self, writer: CaptionWriter | ShardWriter, ids: Iterable[str]) -> None:
        self.writer, self.expected, self.seen = writer, dict.fromkeys(ids), set()
        self.records: list[dict[str, Any]] = []
        self.position = 0
        while (record := self._whole(len(self.records))) is not None:
            self.records.append(record)
            self.seen.update(record["ids"], record["failed"])
            self.position = record["position"]
            if record["part"]:
                writer.resume(record["part"], record["ids"], record["sizes"])
        self._clear()
        self._begin()

    def fill(self, items: Items, read: Callable[[Item], Any], what: str, bar: bool) -> None:
        """Every expected video of the source, the first time it comes, into a part.

        `read(item)`: what is stored of it, None with the reason in the item. VcworkError where no video at all is
        stored.
        """
        known = {"total": len(self.expected), "initial": len(self.seen), "desc": what, "unit": "video"}
        with tqdm(**known, disable=not bar) as progress:
            for item in items(self.position):
                if item.id in self.expected and item.id not in self.seen:
                    self._take(item, None if item.why else read(item))
                    progress.update()
                else:
                    self.next["counts"]["repeated" if item.id in self.seen else "not expected"] += 1
                self.position += 1
        self._flush()
        if not any(record["part"] for record in self.records):
            failed = [f"{id}: {why}" for id, why in self.failed(what).items()]
            absent = ("is missing", f"not in the {what}")  # which says less than what is wrong with one that is there
            first = min(failed, key=lambda told: told.endswith(absent), default="the source is empty")
            self.records = []  # so that the next run reads all of it again
            self._clear()
            raise VcworkError(f"{self.writer.folder}: none of {len(self.expected)} videos has {what}; {first}")

    def report(self) -> dict[str, Any]:
        """What was met in all parts, and the first cue that was dropped, and why."""
        counts = sum((Counter(record["counts"]) for record in self.records), Counter())
        note = next((record["note"] for record in self.records if record["note"]), "")
        return {"counts": dict(sorted(counts.items())), "note": note}

    def failed(self, what: str) -> dict[str, str]:
        """{id: reason} of every expected video that is not in the store."""
        known = {id: why for record in self.records for id, why in record["failed"].items()}
        return known | {id: f"not in the {what}" for id in self.expected if id not in self.seen}

    def _begin(self) -> None:
        """The next part, of which nothing is there yet; its `failed` are videos of which nothing is stored."""
        self.values: list[Any] = []
        self.size = 0
        self.next: dict[str, Any] = {"ids": [], "sizes": [], "failed": {}, "counts": Counter(), "note": ""}

    def _take(self, item: Item, value: Any) -> None:
        size = self.writer.size(value)
        if self.size and self.size + size > self.writer.limit:
            self._flush()
        self.seen.add(item.id)
        self.size += size
        self.next["counts"] += item.counts
        self.next["note"] = self.next["note"] or item.note
        if value is None:
            self.next["failed"][item.id] = item.why
            return
        self.next["ids"].append(item.id)
        self.next["sizes"].append(size)
        self.values.append(value)

    def _flush(self) -> None:
        """Write the next part; when its record is there, it is finished."""
        made, values = self.next, self.values
        self._begin()
        if made["ids"] or made["failed"] or made["counts"]:
            part = self.writer.write(made["ids"], values) if values else None
            self.records.append(made | {"position": self.position, "part": part})
            write_sealed(self._path(len(self.records) - 1), self.records[-1])

    def _path(self, number: int) -> Path:
        return self.writer.folder / ".parts" / f"{number:05d}.json"

    def _whole(self, number: int) -> dict[str, Any] | None:
        """The record, if it and all its files are there as written."""
        try:
            record = read_sealed(self._path(number))
        except VcworkError:
            return None
        return None if any(differs(path, sealed) for path, sealed in self._files(record).items()) else record

    def _files(self, record: dict[str, Any]) -> dict[Path, dict[str, Any]]:
        files = record["part"]["files"] if record["part"] else {}
        return {self.writer.folder / name: sealed for name, sealed in files.items()}

    def _clear(self) -> None:
        """Remove what a killed run left behind: files of ours that no finished part has."""
        keep = {path for record in self.records for path in self._files(record)}
        keep |= {self._path(n) for n in range(len(self.records))}
        for path in {path for pattern in OURS for path in self.writer.folder.glob(pattern)} - keep:
            path.unlink()


def convert_captions(
    folder: Path, items: Items, ids: Iterable[str], rule: CaptionRule, tokenizer: Tokenizer, videos_per_part: int,
    progress: bool,
) -> tuple[CaptionStore, dict[str, Any]]:  # fmt: skip
    """The caption store of the expected ids, and what the conversion's report says of it."""
    writer = CaptionWriter(folder, rule, videos_per_part)
    parts = Parts(writer, ids)
    parts.fill(items, lambda item: _captions(item, rule, tokenizer), "captions", progress)
    store = writer.finish(tokenizer, parts.failed("captions"))
    return store, {"digest": store.digest(), "rule": asdict(rule), **parts.report()}


def convert_features(
    folder: Path, items: Items, ids: Iterable[str], contract: Contract, shard_rows: int, progress: bool
) -> tuple[FeatureStore, dict[str, Any]]:
    """The feature store of the expected ids, and what the conversion's report says of it."""
    writer = ShardWriter(folder, contract, shard_rows)
    parts = Parts(writer, ids)
    parts.fill(items, lambda item: _features(item, contract.width), "features", progress)
    store = writer.finish({"failed": parts.failed("features")})
    return store, {"digest": store.digest(), "counts": parts.report()["counts"], "contract": asdict(contract)}


def _captions(item: Item, rule: CaptionRule, tokenizer: Tokenizer) -> Track | None:
    """An item's captions, `Caption`s or tokens already, as they are stored; None, and why, without any word."""
    start_s, end_s, tokens = _as_tokens(item, rule, tokenizer) if isinstance(item.value, list) else _in_order(item)
    with np.errstate(over="ignore"):
        times = np.array([start_s, end_s], np.float32)  # (2, C), as they are stored
    if not np.isfinite(times).all():
        item.why = "caption times that are no numbers" if np.isnan(times).any() else "caption times beyond float32"
        return None
    item.counts.update({"captions": len(tokens), "tokens": sum(map(len, tokens))})
    if not any(tokens):
        item.why = "captions without a word"
        return None
    return as_stored(rule, item.id, start_s, end_s, tokens)


def _in_order(item: Item) -> tuple[np.ndarray, np.ndarray, list[list[int]]]:
    """Packed captions, without those that begin before 0 or end before they begin, which are counted."""
    start_s, end_s, tokens = item.value
    wrong = (start_s < 0) | (end_s < start_s)  # (C,)
    for n in np.flatnonzero(wrong)[:1].tolist():
        item.note = f"{item.id} caption {n}: from {start_s[n]:g} to {end_s[n]:g} s"
    item.counts["cues_dropped"] = int(wrong.sum())
    return start_s[~wrong], end_s[~wrong], [row for row, left in zip(tokens, wrong, strict=True) if not left]


def _as_tokens(item: Item, rule: CaptionRule, tokenizer: Tokenizer) -> tuple[list[float], list[float], list[list[int]]]:
    captions: list[Caption] = item.value
    timed = [c for c in captions if math.isfinite(c.end_s)]
    item.counts.update({"cues_dropped": len(captions) - len(timed), "captions_before_dedup": len(timed)})
    if rule.dedup == "words":
        timed = deduplicate(timed)
    elif rule.dedup == "characters":
        timed = deduplicate_characters(timed, np.random.default_rng([rule.seed, zlib.crc32(item.id.encode())]))
    tokens = cut_tokens([c.text for c in timed], tokenizer, rule.cut)
    return [c.start_s for c in timed], [c.end_s for c in timed], tokens


def _features(item: Item, width: int) -> np.ndarray | None:
    """An item's features as they are stored, and in its counts how many rows have unit length; None, and why."""
    try:
        rows = as_float16(np.asarray(item.value), width, f"features of {item.id}")  # (T, width)
    except VcworkError as error:
        item.why = str(error)
        return None
    lengths = np.linalg.norm(rows.astype(np.float32), axis=1)
    item.counts.update({"rows": len(rows), "rows of unit length": int((np.abs(lengths - 1) < 0.02).sum())})
    return rows


def deduplicate_characters(captions: Iterable[Caption], rng: np.random.Generator) -> list[Caption]:
    """What the reference code's rule keeps. For comparison, not for use: an `end_s` before its `start_s` can come out.

    Of each caption and the last one kept: what that one ends with is dropped; what starts with that one replaces it;
    else the *shortest* start of the caption that ends the one before counts as repeated, were it a single letter, and
    a coin decides which of the two loses it. Neither is empty then, as neither holds the other.
    """
    kept: list[Caption] = []
    for now in captions:
        last = kept[-1] if kept else Caption(now.start_s, now.start_s, "\n")  # ends nothing and starts nothing
        n = next((n for n in range(1, min(len(last.text), len(now.text))) if last.text.endswith(now.text[:n])), 0)
        if last.text.endswith(now.text):
            kept[-1] = replace(last, end_s=max(last.end_s, now.end_s))
        elif now.text.startswith(last.text):
            kept[-1] = Caption(min(last.start_s, now.start_s), max(last.end_s, now.end_s), now.text)
        elif n and rng.random() > 0.5:
            start_s = max(last.end_s, now.start_s)
            rest = Caption(start_s, max(now.end_s, start_s), now.text[n:].strip())
            kept[-1:] = replace(last, end_s=start_s), rest
        elif n:
            kept[-1:] = Caption(last.start_s, min(last.end_s, now.start_s), last.text[:-n].strip()), now
        else:
            kept.append(now)
    return kept
