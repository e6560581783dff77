"""HowTo100M-shaped data to ours: id lists, captions and features of any number of videos into two memory-mapped stores.

Captions come as raw_caption.json, as a folder of <id>.csv, or in the reference code's packed shards; features as
<id>.npy or packed. Everything streams: memory holds the ids (a few hundred bytes a video) and one part, not the data.
Work is written in whole parts, each followed by its record in `.parts`, so a killed conversion goes on at the first
missing part and ends with the same bytes as an undisturbed one. A video that is missing is never silent: the coverage
report has its reason. Captions are stored in the order of their source, features in that of the id lists.
Of two conversions into one folder the second waits, and finds it done.
Known gaps: resuming reads the finished parts once, to check them; folders of files are trusted not to change meanwhile.
"""

import argparse
import functools
import itertools
import json
import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vcwork.base.console import say, seed
from vcwork.base.errors import VcworkError
from vcwork.base.files import alone, atomic_write, resolve, sha256_json, write_json
from vcwork.base.sealed import Kind, begin, read_manifest, read_sealed, seal, well_formed, write_manifest, write_sealed
from vcwork.core.batches import PairData
from vcwork.core.sampling import Track, first_seconds
from vcwork.core.text import Tokenizer
from vcwork.data.corpus import SPLITS
from vcwork.data.coverage import Count, Coverage
from vcwork.data.howto100m.captions import CUTS, DEDUPS, VIDEOS_PER_PART, CaptionRule, CaptionStore, open_caption_store
from vcwork.data.howto100m.sources import HowTo100M, Sources
from vcwork.data.howto100m.stores import convert_captions, convert_features
from vcwork.data.store import S3D_FEATURES, SHARD_ROWS, Contract, FeatureStore, open_store

STATE = ".conversion.json"  # which conversion a folder is for
CONVERSION = Kind(
    "HowTo100M conversion", "vcwork-howto100m-1", "conversion.json", resume="run the conversion again to resume",
    begun=(STATE,), owns=("captions", "features", "splits", "coverage.json"),
)  # fmt: skip


@dataclass(frozen=True)
class Converted:
    """A finished conversion: stores (None for what was not converted), ids expected of each split, and coverage."""

    folder: Path
    ids: dict[str, list[str]]
    captions: CaptionStore | None
    features: FeatureStore | None
    coverage: Coverage
    report: dict[str, Any]

    def pairs(self, split: str = "train") -> PairData:
        """Tracks and features of the split's videos that have both, read from the stores when asked for.

        Captions that begin after the features end are left out, and so are the videos that have no others.
        `shuffle_captions` and the closed-form start still read all of them into memory. VcworkError: no such split, or
        no video in it has both.
        """
        captions, features = self.captions, self.features
        if captions is None or features is None or split not in self.ids:
            raise VcworkError(
                f"{self.folder}: expected captions and features of split {split!r}; has {sorted(self.ids)}"
            )
        late = self.report.get("late", {})
        ids = [id for id in self.ids[split] if id in features and id in captions and id not in late]
        if not ids:
            raise VcworkError(f"{self.folder}: no video of split {split!r} has both captions and features")

        def read(id: str) -> Track:
            track = captions.track(id, features.lengths[id])
            return first_seconds(track, track.seconds) if (track.start_s >= track.seconds).any() else track

        return PairData(_Lazy(ids, read), _Lazy(ids, features.__getitem__))


def convert_howto100m(
    source: HowTo100M, out: str | Path, tokenizer: Tokenizer, contract: Contract = S3D_FEATURES, dedup: str = "words",
    cut: str = "none", seed: int = 0, progress: bool = True, videos_per_part: int = VIDEOS_PER_PART,
    shard_rows: int = SHARD_ROWS,
) -> Converted:  # fmt: skip
    """Convert `source` into `out`: `features/`, `captions/`, `splits/<split>.txt`, coverage.json, conversion.json.

    `contract` says how the features were made (the files cannot). `dedup`, `cut`, `seed`: see `CaptionRule`; packed
    captions are tokens already and keep them. Called again with the same arguments it resumes, or opens the finished
    one. VcworkError: another or no such source, a packed file at fault, tokens outside the vocabulary, no video at all
    with captions, or with features. One video's bad file is not an error but that video's reason in the report.
    """
    out, sources = resolve(out), Sources(source)
    rule = CaptionRule.of(tokenizer, "as published" if sources.text == "packed" else dedup, cut, seed)
    if sources.text == "packed" and cut != "none":
        raise VcworkError("cut: packed captions are cut already; expected 'none'")
    with alone(out):
        _claim(out, _identity(sources, rule, contract, videos_per_part, shard_rows))
        if not (out / CONVERSION.manifest).exists():
            ids = list(dict.fromkeys(itertools.chain(*sources.ids.values())))
            texts = features = (None, None)
            if sources.text:
                items = functools.partial(sources.caption_items, ids)
                texts = convert_captions(out / "captions", items, ids, rule, tokenizer, videos_per_part, progress)
            if sources.video:
                items = functools.partial(sources.feature_items, ids)
                features = convert_features(out / "features", items, ids, contract, shard_rows, progress)
            _finish(out, sources, contract, texts, features)
        for what in ("captions", "features"):
            shutil.rmtree(out / what / ".parts", ignore_errors=True)
    return open_converted(out)


def _finish(out: Path, sources: Sources, contract: Contract, texts: tuple, features: tuple) -> None:
    """What lies beside the two stores; `texts` and `features`: a store and what the report says of it, or None."""
    report = {"sources": {"captions": sources.text, "features": sources.video}}
    report |= {"captions": texts[1], "features": features[1]}
    report["notes"] = _notes(sources.ids, report, contract)
    _tell_late(report, texts[0], features[0])
    for split, own in sources.ids.items():
        with atomic_write(out / "splits" / f"{split}.txt") as file:
            file.writelines(f"{id}\n" for id in dict.fromkeys(own))
    write_json(out / "coverage.json", _coverage(sources.ids, texts[0], features[0], report).as_dict())
    beside = (STATE, "coverage.json", *(f"splits/{split}.txt" for split in sources.ids))
    report["files"] = {name: seal(out / name) for name in beside}
    write_manifest(out, CONVERSION, report)


def open_converted(folder: str | Path, verify: bool = False) -> Converted:
    """Open a finished conversion; `verify`, before anything is trained on it, reads all of it once.

    VcworkError: unfinished, not one, damaged, or with a store of another conversion.
    """
    folder = resolve(folder)
    report = read_manifest(folder, CONVERSION, verify=True)  # of small files, which are read here
    with well_formed(folder / CONVERSION.manifest):
        texts = open_caption_store(folder / "captions", verify=verify) if report["captions"] else None
        features = open_store(folder / "features", verify=verify) if report["features"] else None
        for what, store in (("captions", texts), ("features", features)):
            if store is not None and store.digest() != report[what]["digest"]:
                raise VcworkError(f"{folder / what}: expected the {what} that this conversion made, got others")
        lists = {split: folder / "splits" / f"{split}.txt" for split in SPLITS}
        there = {split: path for split, path in lists.items() if path.relative_to(folder).as_posix() in report["files"]}
        ids = {split: path.read_text(encoding="utf-8").splitlines() for split, path in there.items()}
        if "late" not in report:  # made before these were told: all captions are read
            _tell_late(report, texts, features)
        coverage = _coverage(ids, texts, features, report)
    return Converted(folder, ids, texts, features, coverage, report)


class _Lazy(Sequence):
    """A sequence that reads an item when it is asked for, and remembers the last few."""

    def __init__(self, ids: Sequence[str], read: Callable[[str], Any]) -> None:
        self.ids, self.read = ids, functools.lru_cache(64)(read)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, i: int) -> Any:
        return self.read(self.ids[i])


def _identity(sources: Sources, rule: CaptionRule, contract: Contract, *sizes: int) -> dict:
    """What must be the same for a run to go on where another one stopped, as JSON has it."""
    stat = sources.captions.stat() if sources.text == "json" else None
    found = {"paths": [str(sources.captions), str(sources.features), str(sources.meta)], "sizes": sizes}
    found |= {"json": stat and [stat.st_size, stat.st_mtime_ns], "kinds": [sources.text, sources.video]}
    found |= {"ids": {split: sha256_json(ids) for split, ids in sources.ids.items()}}
    return json.loads(json.dumps(found | {"rule": asdict(rule), "contract": asdict(contract)}))


def _claim(out: Path, identity: dict) -> None:
    """`out` becomes this conversion's folder, if it is new, empty, or this conversion's already."""
    begin(out, CONVERSION)
    if not (out / STATE).exists():
        if (out / CONVERSION.manifest).exists():  # another program's: refused, and nothing is put beside it
            read_manifest(out, CONVERSION)
        write_sealed(out / STATE, identity)
    found = read_sealed(out / STATE, f"delete {out} to convert anew")
    if found != identity:
        other = sorted(key for key in {*identity, *found} if identity.get(key) != found.get(key))
        raise VcworkError(f"{out}: holds another conversion ({', '.join(other)} differ); choose another folder")


def _coverage(
    ids: Mapping[str, list[str]], captions: CaptionStore | None, features: FeatureStore | None, report: dict[str, Any]
) -> Coverage:
    counts, denominators, late = {}, {}, dict(report.get("late", {}))
    for split, every in ids.items():
        expected = list(dict.fromkeys(every))
        for name, store in (("captions", captions), ("features", features)):
            if store is not None:
                missing = {id: store.failed[id] for id in expected if id not in store}
                missing |= {id: late[id] for id in expected if id in late and store is captions}
                counts[f"{split} {name}"] = Count(len(expected), missing)
        if captions is not None and features is not None:
            usable = sum(id in captions and id in features and id not in late for id in expected)
            denominators[f"{split} videos with both"] = (len(expected), usable)
    return Coverage(counts, denominators, report.get("notes", []))


def _tell_late(report: dict[str, Any], captions: CaptionStore | None, features: FeatureStore | None) -> None:
    """Of captions that begin after their video's features end: a note, and late, {id: why} of videos with no others."""
    many, whole = 0, {}
    for id in captions.ids if captions and features else ():
        if seconds := features.lengths.get(id):
            late = captions.track(id).start_s >= seconds  # (C,)
            many += int(late.sum())
            whole |= {id: f"no caption begins before the features end, at {seconds} s"} if late.all() else {}
    report["late"] = whole
    told = [f"captions that begin after their features end, left out: {many}"] * bool(many)
    report["notes"] = [*report.get("notes", []), *told]


def _notes(ids: Mapping[str, list[str]], report: Mapping[str, Any], contract: Contract) -> list[str]:
    notes = []
    for split, every in ids.items():
        again = len(every) - len(set(every))
        notes += [f"{split}: {again} ids stand in the list more than once, counted once"] if again else []
    for a, b in itertools.combinations(ids, 2):
        both = set(ids[a]) & set(ids[b])
        notes += [f"LEAK: {len(both)} ids are in {a} and in {b}, among them {min(both)}"] if both else []
    for what in ("captions", "features"):
        counts = (report[what] or {}).get("counts", {})
        told = {"not expected": "videos that no list names, left out", "repeated": "ids that came again"}
        notes += [f"{what}: {counts[key]} {words}" for key, words in told.items() if key in counts]
    if captions := report["captions"]:
        dropped = captions["counts"].get("cues_dropped")
        notes += [f"caption cues dropped: {dropped}; first: {captions['note'] or 'without an end'}"] if dropped else []
    if report["features"]:
        counts = report["features"]["counts"]
        unit, rows = counts.get("rows of unit length", 0), counts["rows"]
        if ("unit length" in contract.normalisation) != (unit == rows):
            came = f"{unit} of {rows} features have unit length"
            notes.append(f"CONTRACT: {came}; the contract says {contract.normalisation!r}")
    return notes


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    ids = "video ids of train, val or test, one a line; once per split (packed data brings its own)"
    add("--ids", action="append", default=[], metavar="SPLIT=FILE", help=ids)
    add("--captions", default="", metavar="PATH", help="raw_caption.json, folder of <id>.csv, or packed prefix")
    add("--features", default="", metavar="FOLDER", help="folder of <id>.npy, or packed features")
    add("--meta", default="", metavar="FOLDER", help="folder of packed *_meta.pkl (default: the features')")
    add("--vocab", required=True, metavar="FILE", help="vocab.txt of the tokenizer (BERT uncased in the paper)")
    add("--out", required=True, metavar="FOLDER", help="new folder, or that of an interrupted conversion")
    add("--dedup", choices=DEDUPS, default="words", help="how rolling repeats go")
    add("--cut", choices=CUTS, default="none", help="reference: 96 characters, 32 tokens")
    add("--seed", type=seed, default=0, help="of the coins of --dedup characters")
    add("--videos-per-part", type=int, default=VIDEOS_PER_PART, help="videos in one part of the captions")
    add("--shard-rows", type=int, default=SHARD_ROWS, help="seconds in one shard of the features")
    for name, value in asdict(S3D_FEATURES).items():
        help = f"how the features were made: {name} (default: {value})"
        add(f"--{name}", type=type(value), default=value, metavar=name.upper(), help=help)
    add("--quiet", action="store_true", help="no progress bars")


def main(options: argparse.Namespace) -> int:
    """`convert howto100m`: convert, and print the coverage report."""
    pairs = [text.partition("=") for text in options.ids]
    wrong = [text for text, (_, sign, path) in zip(options.ids, pairs, strict=True) if not sign or not path]
    if wrong or len({split for split, _, _ in pairs}) < len(pairs):
        raise VcworkError(f"--ids: expected SPLIT=FILE, each split once, got {(wrong or options.ids)[0]!r}")
    if min(options.videos_per_part, options.shard_rows, options.size, options.width) < 1:
        raise VcworkError("--videos-per-part, --shard-rows, --size, --width: expected at least 1")
    if not 0 < options.fps < math.inf:
        raise VcworkError(f"--fps: expected a number above 0, got {options.fps}")
    source = HowTo100M({s: p for s, _, p in pairs}, options.captions, options.features, options.meta)
    contract = Contract(**{name: getattr(options, name) for name in asdict(S3D_FEATURES)})
    converted = convert_howto100m(
        source, options.out, Tokenizer.load(resolve(options.vocab)), contract, options.dedup, options.cut, options.seed,
        not options.quiet, options.videos_per_part, options.shard_rows,
    )  # fmt: skip
    say(converted.coverage.table())
    return 0
