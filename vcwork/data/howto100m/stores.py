"""The two passes of a HowTo100M conversion: captions to a caption store, features to a feature store, part by part.

Both are resumed where `parts` says; the stores' files are those that their writers would write in one go.
"""

import math
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from vcwork.base.errors import VcworkError
from vcwork.core.text import Tokenizer
from vcwork.data.captions import Caption, deduplicate
from vcwork.data.howto100m.captions import CaptionRule, CaptionStore, CaptionWriter, cut_tokens, read_part
from vcwork.data.howto100m.characters import deduplicate_characters
from vcwork.data.howto100m.parts import Expected, Parts, write_parts
from vcwork.data.howto100m.sources import Item
from vcwork.data.store import Contract, FeatureStore, ShardWriter, as_float16, load_npy

Items = Callable[[int], Iterator[Item]]
Timed = tuple[list[float], list[float], list[list[int]]]  # starts, ends, tokens


def convert_captions(
    folder: Path, items: Items, expected: Expected, rule: CaptionRule, tokenizer: Tokenizer, videos_per_part: int,
    progress: bool,
) -> tuple[CaptionStore, dict[str, Any]]:  # fmt: skip
    """The caption store of the expected items, and what the conversion's report says of it."""
    parts, writer = Parts(folder, expected), _Captions(folder, rule, tokenizer, videos_per_part)
    failed = _run(parts, items, writer, progress)
    store = writer.store.finish(tokenizer, failed)
    return store, {"digest": store.digest(), "rule": asdict(rule), "counts": parts.counts(), "note": parts.note()}


def convert_features(
    folder: Path, items: Items, expected: Expected, contract: Contract, shard_rows: int, progress: bool
) -> tuple[FeatureStore, dict[str, Any]]:
    """The feature store of the expected items, and what the conversion's report says of it."""
    parts, writer = Parts(folder, expected), _Features(folder, contract, shard_rows)
    failed = _run(parts, items, writer, progress)
    store = writer.store.finish({"failed": failed})
    norms = _sum_norms(parts.records)
    return store, {"digest": store.digest(), "counts": parts.counts(), "norms": norms, "contract": asdict(contract)}


def _run(parts: Parts, items: Items, writer: "_Captions | _Features", progress: bool) -> dict[str, str]:
    """Write all parts; why which expected video is in none. VcworkError where none is in any."""
    write_parts(parts, items, writer, progress)
    failed = parts.failed(f"not in the {writer.what}")
    if not any(record["part"] for record in parts.records):
        first = next((f"{id}: {why}" for id, why in failed.items()), "the source is empty")
        raise VcworkError(f"{parts.folder}: none of {len(parts.expected.ids)} videos has {writer.what}; {first}")
    return failed


class _Captions:
    """Captions, as `Caption`s or as tokens already, to parts of a caption store; see `parts.Writer`."""

    what = "captions"

    def __init__(self, folder: Path, rule: CaptionRule, tokenizer: Tokenizer, videos_per_part: int) -> None:
        self.store, self.rule, self.tokenizer = CaptionWriter(folder, rule), rule, tokenizer
        self.videos_per_part = videos_per_part

    def read(self, item: Item) -> Timed | None:
        timed = _as_tokens(item, self.rule, self.tokenizer) if isinstance(item.value, list) else item.value
        start_s, end_s, tokens = timed
        if not (np.isfinite(start_s).all() and np.isfinite(end_s).all()):
            item.why = "caption times that are no numbers"
            return None
        item.counts["captions"] += len(tokens)
        item.counts["tokens"] += sum(map(len, tokens))
        if not any(tokens):
            item.why = "captions without a word"
        return timed if any(tokens) else None

    def fits(self, value: Timed | None, videos: int) -> bool:
        return videos < self.videos_per_part

    def add(self, id: str, value: Timed) -> None:
        self.store.add(id, *value)

    def flush(self) -> tuple[dict[str, Any] | None, list[Path], dict[str, Any]]:
        part = self.store.flush()
        return part, [self.store.folder / part["name"] / name for name in part["files"]] if part else [], {}

    def resume(self, record: Mapping[str, Any]) -> None:
        self.store.take(record["part"], record["ids"], read_part(self.store.folder, record["part"], mmap=False))


def _as_tokens(item: Item, rule: CaptionRule, tokenizer: Tokenizer) -> Timed:
    captions: list[Caption] = item.value
    timed = [c for c in captions if math.isfinite(c.end_s)]
    item.counts["cues_dropped"] += len(captions) - len(timed)
    item.counts["captions_before_dedup"] += len(timed)
    if rule.dedup == "words":
        timed = deduplicate(timed)
    elif rule.dedup == "characters":
        coins = np.random.default_rng([rule.seed, zlib.crc32(item.id.encode())])
        timed, lacking = deduplicate_characters(timed, coins)
        item.counts["characters_words_out"] += sum(len(c.text.split()) for c in timed)
        item.counts["characters_truncated"] += lacking
    tokens = cut_tokens([c.text for c in timed], tokenizer, rule.cut)
    return [c.start_s for c in timed], [c.end_s for c in timed], tokens


class _Features:
    """Features to shards of a feature store; see `parts.Writer`."""

    what = "features"

    def __init__(self, folder: Path, contract: Contract, shard_rows: int) -> None:
        self.store, self.contract = ShardWriter(folder, contract, shard_rows), contract

    def read(self, item: Item) -> np.ndarray | None:
        try:
            return as_float16(np.asarray(item.value), self.contract.width, f"features of {item.id}")
        except VcworkError as error:
            item.why = str(error)
            return None

    def fits(self, value: np.ndarray | None, videos: int) -> bool:
        return value is None or self.store.fits(value)

    def add(self, id: str, value: np.ndarray) -> None:
        self.store.add(id, value)

    def flush(self) -> tuple[dict[str, Any] | None, list[Path], dict[str, Any]]:
        shard, arrays = self.store.flush()
        more = {"lengths": [len(array) for array in arrays], "norms": _norms(arrays)}
        return shard, [self.store.folder / shard["file"]] if shard else [], more

    def resume(self, record: Mapping[str, Any]) -> None:
        rows = load_npy(self.store.folder / record["part"]["file"])
        self.store.take(record["part"], record["ids"], np.split(rows, np.cumsum(record["lengths"])[:-1]))


def _norms(arrays: list[np.ndarray]) -> list[float]:
    """Sum, smallest and largest of the rows' lengths: unit length is part of the contract, and often forgotten."""
    if not arrays:
        return [0.0, 0.0, 0.0]
    norms = np.concatenate([np.linalg.norm(array.astype(np.float32), axis=1) for array in arrays])
    return [float(norms.sum(dtype=np.float64)), float(norms.min()), float(norms.max())]


def _sum_norms(records: list[dict[str, Any]]) -> dict[str, float]:
    rows = sum(sum(record["lengths"]) for record in records)
    total, low, high = zip(*(record["norms"] for record in records if record["lengths"]), strict=True)
    return {"rows": rows, "mean": round(sum(total) / rows, 4), "min": round(min(low), 4), "max": round(max(high), 4)}
