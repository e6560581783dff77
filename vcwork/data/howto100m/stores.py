"""The two passes of a HowTo100M conversion: captions to a caption store, features to a feature store, part by part.

Both are resumed where `parts` says; the stores' files are those that their writers would write in one go.
"""

import math
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from vcwork.base.errors import VcworkError
from vcwork.core.sampling import Track
from vcwork.core.text import Tokenizer
from vcwork.data.captions import Caption, deduplicate
from vcwork.data.howto100m.captions import CaptionRule, CaptionStore, CaptionWriter, as_stored, cut_tokens
from vcwork.data.howto100m.characters import deduplicate_characters
from vcwork.data.howto100m.parts import Parts
from vcwork.data.howto100m.sources import Item
from vcwork.data.store import Contract, FeatureStore, ShardWriter, as_float16

Items = Callable[[int], Iterator[Item]]


def convert_captions(
    folder: Path, items: Items, ids: Iterable[str], rule: CaptionRule, tokenizer: Tokenizer, videos_per_part: int,
    progress: bool,
) -> tuple[CaptionStore, dict[str, Any]]:  # fmt: skip
    """The caption store of the expected ids, and what the conversion's report says of it."""
    writer = CaptionWriter(folder, rule, videos_per_part)
    parts = Parts(writer, ids)
    parts.fill(items, lambda item: _captions(item, rule, tokenizer), "captions", progress)
    store = writer.finish(tokenizer, parts.failed("captions"))
    return store, {"digest": store.digest(), "rule": asdict(rule), "counts": parts.counts(), "note": parts.note()}


def convert_features(
    folder: Path, items: Items, ids: Iterable[str], contract: Contract, shard_rows: int, progress: bool
) -> tuple[FeatureStore, dict[str, Any]]:
    """The feature store of the expected ids, and what the conversion's report says of it."""
    writer = ShardWriter(folder, contract, shard_rows)
    parts = Parts(writer, ids)
    parts.fill(items, lambda item: _features(item, contract.width), "features", progress)
    store = writer.finish({"failed": parts.failed("features")})
    return store, {"digest": store.digest(), "counts": parts.counts(), "contract": asdict(contract)}


def _captions(item: Item, rule: CaptionRule, tokenizer: Tokenizer) -> Track | None:
    """An item's captions, `Caption`s or tokens already, as they are stored; None, and why, without any word."""
    timed = _as_tokens(item, rule, tokenizer) if isinstance(item.value, list) else item.value
    start_s, end_s, tokens = timed
    if not (np.isfinite(start_s).all() and np.isfinite(end_s).all()):
        item.why = "caption times that are no numbers"
        return None
    item.counts.update({"captions": len(tokens), "tokens": sum(map(len, tokens))})
    if not any(tokens):
        item.why = "captions without a word"
        return None
    return as_stored(rule, item.id, start_s, end_s, tokens)


def _as_tokens(item: Item, rule: CaptionRule, tokenizer: Tokenizer) -> tuple[list[float], list[float], list[list[int]]]:
    captions: list[Caption] = item.value
    timed = [c for c in captions if math.isfinite(c.end_s)]
    item.counts.update({"cues_dropped": len(captions) - len(timed), "captions_before_dedup": len(timed)})
    if rule.dedup == "words":
        timed = deduplicate(timed)
    elif rule.dedup == "characters":
        coins = np.random.default_rng([rule.seed, zlib.crc32(item.id.encode())])
        timed = deduplicate_characters(timed, coins)
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
