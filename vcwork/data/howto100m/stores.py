"""The two passes of a HowTo100M conversion: captions to a caption store, features to a feature store, part by part.

Both are resumed where `parts.Parts` says; the feature store's files are those `store.write_store` would write.
"""

import hashlib
import math
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from vcwork.base.errors import VcworkError
from vcwork.base.files import atomic_write, sha256_file, write_json
from vcwork.core.text import Tokenizer
from vcwork.data import store as feature_store
from vcwork.data.captions import Caption, deduplicate
from vcwork.data.howto100m.captions import (
    CaptionRule,
    CaptionStore,
    PartBuilder,
    cut_tokens,
    feed_digest,
    finish_store,
    new_digest,
    open_caption_store,
    open_part,
    write_part,
)
from vcwork.data.howto100m.characters import deduplicate_characters
from vcwork.data.howto100m.parts import Expected, Group, Parts
from vcwork.data.howto100m.sources import Item
from vcwork.data.store import Contract, FeatureStore, as_float16, load_npy, open_store


def convert_captions(
    folder: Path, items: Callable[[int], Iterator[Item]], expected: Expected, rule: CaptionRule, tokenizer: Tokenizer,
    videos_per_part: int, progress: bool,
) -> tuple[CaptionStore, dict[str, Any]]:  # fmt: skip
    """The caption store of the expected items, and what the conversion's report says of it."""
    parts, digest = Parts(folder, expected), new_digest(rule)
    for record in parts.records:
        if record["part"]:
            feed_digest(digest, record["ids"], open_part(folder, record["part"], mmap=False))
    group, part = Group(), PartBuilder(rule)

    def flush() -> None:
        if part.ids:
            feed_digest(digest, part.ids, part.arrays())
        written = write_part(folder, len(parts.written), part) if part.ids else None
        files = [folder / written["name"] / name for name in written["files"]] if written else []
        parts.add(group, written, files, {})

    with _bar("captions", parts, expected, progress) as bar:
        for item in expected.only(items(parts.position), parts.seen):
            _add_captions(item, part, rule, tokenizer)
            group.take(item)
            bar.update(item.id is not None)
            if len(group.ids) + len(group.failed) >= videos_per_part or item.id is None:
                flush()
                group, part = Group(), PartBuilder(rule)
    failed = parts.failed() | {id: "not in the captions" for id, n in expected.index.items() if not parts.seen[n]}
    if not parts.written:
        raise VcworkError(f"{folder}: none of {len(expected.ids)} videos has captions; {_first(failed)}")
    if (folder / "manifest.json").exists():
        store = open_caption_store(folder, rule, verify=False)
    else:
        store = finish_store(folder, rule, tokenizer, parts.written, digest.hexdigest(), failed)
    return store, {"digest": store.digest(), "rule": asdict(rule), "counts": parts.counts(), "note": parts.note()}


def _add_captions(item: Item, part: PartBuilder, rule: CaptionRule, tokenizer: Tokenizer) -> None:
    """The item's captions into the part, or why there are none into the item."""
    if item.id is None or item.why:
        return
    value = item.value
    if isinstance(value, list):
        value = _as_tokens(item, value, rule, tokenizer)
    start_s, end_s, tokens = value
    if not (np.isfinite(start_s).all() and np.isfinite(end_s).all()):
        item.why = "caption times that are no numbers"
        return
    item.counts["captions"] += len(tokens)
    item.counts["tokens"] += sum(map(len, tokens))
    if any(tokens):
        part.add(item.id, start_s, end_s, tokens)
    else:
        item.why = "captions without a word"


def _as_tokens(
    item: Item, captions: list[Caption], rule: CaptionRule, tokenizer: Tokenizer
) -> tuple[list[float], list[float], list[list[int]]]:
    timed = [c for c in captions if math.isfinite(c.end_s)]
    item.counts["cues_dropped"] += len(captions) - len(timed)
    item.counts["captions_before_dedup"] += len(timed)
    if rule.dedup == "words":
        timed = deduplicate(timed)
    elif rule.dedup == "characters":
        coin = np.random.default_rng([rule.seed, zlib.crc32(item.id.encode())])
        timed, truncated = deduplicate_characters(timed, coin)
        item.counts["characters_words_out"] += sum(len(c.text.split()) for c in timed)
        item.counts["characters_truncated"] += truncated
    tokens = cut_tokens([c.text for c in timed], tokenizer, rule.cut)
    return [c.start_s for c in timed], [c.end_s for c in timed], tokens


def convert_features(
    folder: Path, items: Callable[[int], Iterator[Item]], expected: Expected, contract: Contract, shard_rows: int,
    progress: bool,
) -> tuple[FeatureStore, dict[str, Any]]:  # fmt: skip
    """The feature store of the expected items, and what the conversion's report says of it."""
    parts, digest = Parts(folder, expected), hashlib.sha256(contract.digest().encode())
    for record in parts.records:
        if record["part"]:
            shard = load_npy(folder / record["part"]["file"])
            _feed_features(digest, record["ids"], np.split(shard, np.cumsum(record["lengths"])[:-1]))
            del shard
    group, arrays, rows = Group(), [], 0

    def flush() -> None:
        part = _write_shard(folder / f"shard-{len(parts.written):05d}.npy", arrays) if arrays else None
        _feed_features(digest, group.ids, arrays)
        more = {"lengths": [len(array) for array in arrays], "norms": _norms(arrays)}
        parts.add(group, part, [folder / part["file"]] if part else [], more)

    with _bar("features", parts, expected, progress) as bar:
        for item in expected.only(items(parts.position), parts.seen):
            array = _half(item, contract)
            if item.id is None or (rows and array is not None and rows + len(array) > shard_rows):
                if item.id is None:
                    group.take(item)
                flush()
                group, arrays, rows = Group(), [], 0
            if item.id is not None:
                group.take(item)
                bar.update()
            if array is not None:
                arrays.append(array)
                rows += len(array)
    missing = {id: "not in the features" for id, n in expected.index.items() if not parts.seen[n]}
    failed = parts.failed() | missing
    if not parts.written:
        raise VcworkError(f"{folder}: none of {len(expected.ids)} videos has features; {_first(failed)}")
    report = {"counts": parts.counts(), "norms": _sum_norms(parts.records), "contract": asdict(contract)}
    if not (folder / "manifest.json").exists():
        manifest = {"format": feature_store.STORE.format, "contract": asdict(contract), "digest": digest.hexdigest()}
        manifest |= {"dtype": "float16", "shards": parts.written}
        manifest |= {key: [value for record in parts.records for value in record[key]] for key in ("ids", "lengths")}
        write_json(folder / "manifest.json", manifest | {"failed": failed})
    store = open_store(folder, contract, verify=False)
    return store, {"digest": store.digest(), **report}


def _half(item: Item, contract: Contract) -> np.ndarray | None:
    """The item's features as float16, or why not into the item."""
    if item.id is None or item.why:
        return None
    try:
        return as_float16(np.asarray(item.value), contract.width, f"features of {item.id}")
    except VcworkError as error:
        item.why = str(error)
        return None


def _feed_features(digest: "hashlib._Hash", ids: list[str], arrays: list[np.ndarray]) -> None:
    """As `store.write_shards` does."""
    for id, array in zip(ids, arrays, strict=True):
        digest.update(f"|{id}|{len(array)}|".encode())
        digest.update(np.ascontiguousarray(array).tobytes())


def _write_shard(path: Path, arrays: list[np.ndarray]) -> dict[str, Any]:
    """All arrays as one, without a second copy in memory."""
    rows = sum(map(len, arrays))
    header = np.lib.format.header_data_from_array_1_0(arrays[0]) | {"shape": (rows, arrays[0].shape[1])}
    with atomic_write(path, "wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for array in arrays:
            file.write(np.ascontiguousarray(array).data)
    shape = {"videos": len(arrays), "rows": rows}
    return {"file": path.name, **shape, "bytes": path.stat().st_size, "sha256": sha256_file(path)}


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


def _bar(what: str, parts: Parts, expected: Expected, progress: bool) -> tqdm:
    return tqdm(total=len(expected.ids), initial=parts.videos, desc=what, unit="video", disable=not progress)


def _first(failed: Mapping[str, str]) -> str:
    return next((f"{id}: {why}" for id, why in failed.items()), "the source is empty")
