"""A published benchmark as our corpus and feature store, so that the notebooks run on it unchanged.

A source folder holds the release's own annotation files and `features/`; which files, says `SOURCES`. Splits become
train, val and test by their role; where the release has no val apart from what is tested on, a tenth of the training
videos is carved out. In retrieval, clips of one text share a step, so that each counts as right for the others.
No subtitles are written: an annotator's sentence is truth, not narration.
Known gap: full MSR-VTT (20 captions a test video) has a reader and no kind here.
"""

import math
from collections.abc import Callable, Collection
from itertools import combinations
from pathlib import Path

from vcwork.base.errors import VcworkError
from vcwork.base.files import resolve, sha256_json, write_json
from vcwork.data.benchmarks.coin import read_coin, read_coin_taxonomy
from vcwork.data.benchmarks.common import Benchmark, Clip, check_no_leak, plain
from vcwork.data.benchmarks.crosstask import read_crosstask
from vcwork.data.benchmarks.didemo import Moment, read_didemo
from vcwork.data.benchmarks.features import FeatureFolder, carve_val, contract_beside, have, store_once, with_features
from vcwork.data.benchmarks.msrvtt import described, read_msrvtt_1ka, read_msrvtt_ids, read_msrvtt_json
from vcwork.data.benchmarks.msrvtt_qa import Question, read_msrvtt_qa
from vcwork.data.benchmarks.youcook2 import read_youcook2_csv, read_youcook2_json
from vcwork.data.corpus import Corpus, Recipe, Video, open_corpus, save_corpus
from vcwork.data.coverage import Count
from vcwork.data.store import FeatureStore

SOURCES = {  # benchmark: its files, optional ones in brackets
    "youcook2": "validation_youcook.csv, youcookii_annotations_trainval.json (one of them is enough)",
    "msrvtt": "MSRVTT_JSFUSION_test.csv or msrvtt_test.csv [MSRVTT_data.json, or train_val_videodatainfo.json and "
    "test_videodatainfo.json] [MSRVTT_train.9k.csv or MSRVTT_train.7k.csv]",
    "msrvtt_qa": "one .tsv [the json files of msrvtt]",
    "didemo": "test_data.json, val_data.json, train_data.json (one of them is enough)",
    "coin": "COIN.json or COIN_sample.json [taxonomy.csv]",
    "crosstask": "tasks_primary.txt, videos.csv, annotations/ [tasks_related.txt, videos_val.csv]",
}


def read_benchmark(name: str, source: str | Path, have: Collection[str] | None = None) -> dict[str, Benchmark]:
    """{role: split} of a source folder, whatever of train, val and test its files hold; features are not needed.

    `have`: the videos that have features, for a draw that depends on them (CrossTask). VcworkError: an unknown
    benchmark, a folder without its files, a video in two splits.
    """
    if name not in SOURCES:
        raise VcworkError(f"benchmark: expected one of {', '.join(SOURCES)}, got {name!r}")
    source = resolve(source)
    if not source.is_dir():
        raise VcworkError(f"{source}: no such folder; {name} needs {SOURCES[name]}")
    parts = {part.role: part for part in _READERS[name](source, have)}
    if not parts:
        raise VcworkError(f"{source}: found no file of {name}, which needs {SOURCES[name]}")
    if "train" in parts and "val" not in parts and len(parts["train"].videos) > 1:
        parts["train"], parts["val"] = carve_val(parts["train"])
    for one, other in combinations(parts.values(), 2):
        check_no_leak(one, other)
    return {role: parts[role] for role in ("train", "val", "test") if role in parts}


def benchmark_corpus(
    name: str, source: str | Path, folder: str | Path, features: str | Path
) -> tuple[Corpus, FeatureStore]:
    """Corpus in `folder`, with `accounting.json`, and store in `features`, from a source folder with `features/`.

    corpus.meta["benchmark"] = {name, splits: {role: full name}}: a number measured here belongs to that name. A video
    without features stays in the corpus, so that coverage counts what its split lost; one whose length nobody knows
    then is a missing video. Called again it opens what is there; VcworkError when that came from other data, and
    where `read_benchmark` or a feature file is wrong.
    """
    source, folder = resolve(source), resolve(folder)
    beside = source / "features"
    parts = read_benchmark(name, source, have(beside) if source.is_dir() else None)
    found = FeatureFolder(beside, contract_beside(beside), [id for part in parts.values() for id in part.videos])
    if name == "crosstask":
        found.drop({id: why for part in parts.values() for id, why in _too_short(part, found.lengths).items()})
    measured = {role: with_features(part, found.lengths, found.lost) for role, part in parts.items()}
    if not any(part.clips for part in measured.values()):
        raise VcworkError(f"{beside}: holds features of none of the {len(found.lost)} videos of {name}")
    if found.unlisted:
        note = f"feature files of no listed video: {len(found.unlisted)}, first {found.unlisted[0]}.npy"
        next(iter(measured.values())).accounting.notes.append(note)
    digest = sha256_json([[part.split, part.clips] for part in parts.values()] + [found.lengths])
    if not (folder / "corpus.json").exists():
        _write(folder, parts, measured, found, digest)
    corpus = open_corpus(folder)
    if corpus.meta.get("source_digest") != digest:
        raise VcworkError(f"{folder}: holds another corpus ({corpus.name}); choose another folder")
    return corpus, store_once(resolve(features), found)


def questions(corpus: Corpus, split: str = "test") -> list[Question]:
    """The published multiple-choice questions of an MSR-VTT-QA corpus, in corpus order."""
    return [
        Question(v.id, s["start_s"], s["end_s"], s["caption"], choices=tuple(s["choices"]), answer=s["answer"])
        for v in corpus.split(split) for s in corpus.truth(v.id).get("segments", []) if "choices" in s
    ]  # fmt: skip


def splits_table(corpus: Corpus) -> str:
    """The full names of a benchmark corpus's splits, a line each."""
    return "\n".join(f"{role}: {name}" for role, name in corpus.meta["benchmark"]["splits"].items())


def _write(
    folder: Path, parts: dict[str, Benchmark], measured: dict[str, Benchmark], found: FeatureFolder, digest: str
) -> None:
    first = next(iter(parts.values()))
    meta = {"rolling_captions": False, "source_digest": digest}
    meta["benchmark"] = {"name": first.name, "splits": {role: part.split for role, part in measured.items()}}
    corpus = Corpus(folder, first.name, {}, meta=meta)
    members: dict[str, list[str]] = {}
    for role, part in parts.items():
        corpus.steps |= {id: part.steps[id] for id in part.steps if id not in corpus.steps}
        by_video: dict[str, list[Clip]] = {id: [] for id in part.videos}
        for clip in part.clips:
            by_video[clip.video].append(clip)
        for id, clips in by_video.items():
            _add_video(corpus, role, part, id, clips, found, members)
        for kind in ("videos", "listed"):  # what the release itself lacks
            lost = part.accounting.counts.get(kind, Count(0)).missing
            corpus.missing_videos |= {id: why for id, why in lost.items() if id not in corpus.videos}
    tasks = {id: task for part in parts.values() for id, task in part.tasks.items()}
    for id, steps in members.items():
        name, ordered = (tasks[id].name, tasks[id].steps) if id in tasks else (id, ())
        corpus.recipes[id] = Recipe(id, name, ordered or tuple(dict.fromkeys(steps)))
    write_json(folder / "accounting.json", {role: {"split": part.split} | part.accounting.as_dict()
                                            for role, part in measured.items()})  # fmt: skip
    save_corpus(corpus)


def _add_video(
    corpus: Corpus, role: str, part: Benchmark, id: str, clips: list[Clip], found: FeatureFolder,
    members: dict[str, list[str]],
) -> None:  # fmt: skip
    """One video with its truth file."""
    listed, seconds = part.videos[id], found.lengths.get(id, 0)
    if not seconds and any(math.isinf(clip.end_s) for clip in clips):
        corpus.missing_videos[id] = f"{found.lost.get(id, 'no features')}, and nobody says how long the video is"
        return
    segments = []
    for clip in clips:
        step = clip.step or plain(clip.text)
        corpus.steps.setdefault(step, clip.text)
        end_s = float(seconds) if math.isinf(clip.end_s) else clip.end_s
        segments.append({"start_s": clip.start_s, "end_s": end_s, "step": step, "caption": clip.text} | _more(clip))
    recipe = listed.recipe or (f"{part.name} {role}" if part.name == "DiDeMo" else None)
    if recipe:
        members.setdefault(recipe, []).extend(s["step"] for s in segments)
    path = corpus.folder / "truth" / f"{id}.json"
    write_json(path, {"segments": segments, "caption_segment": [], "mentions": []})
    duration_s = listed.duration_s or float(seconds)
    corpus.videos[id] = Video(id, None, None, duration_s, role, recipe, truth=path)


def _more(clip: Clip) -> dict:
    """What only this benchmark's clips have."""
    if isinstance(clip, Moment):
        return {"chunks": clip.chunks, "n_chunks": clip.n_chunks, "annotation": clip.annotation}
    return {"choices": clip.choices, "answer": clip.answer} if isinstance(clip, Question) else {}


def _too_short(part: Benchmark, lengths: dict[str, int]) -> dict[str, str]:
    """Videos with fewer seconds of features than their task has steps: no order of steps fits into them."""
    steps = {id: len(part.tasks[listed.recipe].steps) for id, listed in part.videos.items()}
    return {id: f"{lengths[id]} s of features, {n} steps in order" for id, n in steps.items() if lengths.get(id, n) < n}


# ------------------------------------------------------------------------------------- which file is which split


def _youcook2(source: Path, have: Collection[str] | None) -> list[Benchmark]:
    csv, json = source / "validation_youcook.csv", source / "youcookii_annotations_trainval.json"
    parts = [read_youcook2_json(json, "training")] if json.is_file() else []
    if csv.is_file():
        return [*parts, read_youcook2_csv(csv)]
    return [*parts, read_youcook2_json(json, "validation")] if json.is_file() else []


def _msrvtt(source: Path, have: Collection[str] | None) -> list[Benchmark]:
    found, jsons = _first(source, "MSRVTT_JSFUSION_test.csv", "msrvtt_test.csv"), _videodatainfo(source)
    if found is None:
        return []
    if not jsons:
        return [read_msrvtt_1ka(found)]
    listed = _first(source, "MSRVTT_train.9k.csv", "MSRVTT_train.7k.csv")
    halved = [path.name for path in jsons] == ["train_val_videodatainfo.json"]
    split = "7k" if halved or (listed and "7k" in listed.name) else "9k"
    test = read_msrvtt_1ka(found) if halved else described(read_msrvtt_1ka(found), read_msrvtt_json(jsons, "full test"))
    return [read_msrvtt_json(jsons, split, test.videos, read_msrvtt_ids(listed) if listed else None), test]


def _msrvtt_qa(source: Path, have: Collection[str] | None) -> list[Benchmark]:
    tables, jsons = sorted(source.glob("*.tsv")), _videodatainfo(source)
    if len(tables) > 1:
        raise VcworkError(f"{source}: expected one .tsv, got {', '.join(path.name for path in tables)}")
    tests = [read_msrvtt_qa(path) for path in tables]
    return [read_msrvtt_json(jsons, "7k", tests[0].videos), *tests] if jsons and tests else tests


def _videodatainfo(source: Path) -> list[Path]:
    one = source / "MSRVTT_data.json"
    halves = [source / f"{half}_videodatainfo.json" for half in ("train_val", "test")]
    return [one] if one.is_file() else [path for path in halves if path.is_file()]


def _didemo(source: Path, have: Collection[str] | None) -> list[Benchmark]:
    paths = [source / f"{split}_data.json" for split in ("train", "val", "test")]
    return [read_didemo(path) for path in paths if path.is_file()]


def _coin(source: Path, have: Collection[str] | None) -> list[Benchmark]:
    found, sheet = _first(source, "COIN.json", "COIN_sample.json"), source / "taxonomy.csv"
    taxonomy = read_coin_taxonomy(sheet) if sheet.is_file() else None
    return [read_coin(found, subset, taxonomy) for subset in ("training", "testing")] if found else []


def _crosstask(source: Path, have: Collection[str] | None) -> list[Benchmark]:
    if not (source / "tasks_primary.txt").is_file():
        return []
    names = ["train", "test", *(["val"] if (source / "videos_val.csv").is_file() else [])]
    return [read_crosstask(source, part, have) for part in names]


def _first(source: Path, *names: str) -> Path | None:
    return next((source / name for name in names if (source / name).is_file()), None)


_READERS: dict[str, Callable[[Path, Collection[str] | None], list[Benchmark]]] = {
    "youcook2": _youcook2,
    "msrvtt": _msrvtt,
    "msrvtt_qa": _msrvtt_qa,
    "didemo": _didemo,
    "coin": _coin,
    "crosstask": _crosstask,
}
