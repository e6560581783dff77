"""A published benchmark as our corpus and feature store, so that the notebooks run on it unchanged.

A source folder holds the release's own annotation files (`sources`) and `features/` beside them. Splits become
train, val and test by their role; where the release has no val apart from what is tested on, a tenth of the training
videos is carved out. In retrieval, clips of one text share a step, so that each counts as right for the others.
No subtitles are written: an annotator's sentence is truth, not narration.
"""

import math
from collections.abc import Callable, Collection, Iterable
from dataclasses import fields, replace
from itertools import combinations
from pathlib import Path
from typing import Any

from vcwork.base.errors import VcworkError
from vcwork.base.files import resolve, sha256_json, write_json
from vcwork.data.benchmarks.common import Benchmark, Clip, check_no_leak, plain
from vcwork.data.benchmarks.features import FeatureFolder, carve_val, contract_beside, have, with_features
from vcwork.data.benchmarks.msrvtt_qa import Question
from vcwork.data.benchmarks.sources import SOURCES, read_splits
from vcwork.data.corpus import Corpus, Recipe, Video, corpus_once, save_corpus
from vcwork.data.coverage import Count
from vcwork.data.store import FeatureStore, store_once

Reader = Callable[[Path], Iterable[Benchmark]]  # the splits that a folder holds


def read_benchmark(name: str | Reader, source: str | Path, have: Collection[str] | None = None) -> dict[str, Benchmark]:
    """{role: split} of a source folder, whatever of train, val and test its files hold; features are not needed.

    `name`: of a benchmark that is known here, or a reader of your own. `have`: the videos that have features, for a
    draw that depends on them (CrossTask). VcworkError: an unknown benchmark, a folder without its files, a video in
    two splits.
    """
    if callable(name):
        told, read = "your reader", name
    elif name in SOURCES:
        told, read = f"{name}, which needs {SOURCES[name]}", lambda folder: read_splits(name, folder, have).values()
    else:
        raise VcworkError(f"benchmark: expected one of {', '.join(SOURCES)}, or a reader, got {name!r}")
    source = resolve(source)
    if not source.is_dir():
        raise VcworkError(f"{source}: no such folder of {told}")
    parts = {part.role: part for part in read(source)}
    if not parts:
        raise VcworkError(f"{source}: found no file of {told}")
    if "train" in parts and "val" not in parts and len(parts["train"].videos) > 1:
        parts["train"], parts["val"] = carve_val(parts["train"])
    for one, other in combinations(parts.values(), 2):
        check_no_leak(one, other)
    return {role: parts[role] for role in ("train", "val", "test") if role in parts}


def benchmark_corpus(
    name: str | Reader, source: str | Path, folder: str | Path, features: str | Path
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
        for part in parts.values():
            _drop_too_short(part, found)
    measured = {role: with_features(part, found.lengths, found.lost) for role, part in parts.items()}
    if not any(part.clips for part in measured.values()):
        told = f"holds features of none of the {len(found.lost)} videos of {next(iter(parts.values())).name}"
        wanted = f"expected {next(iter(found.lost))}.npy" if found.lost else "all clips begin after them"
        raise VcworkError(f"{beside}: {told}; {wanted}" + "".join(f", got {id}.npy" for id in found.unlisted[:1]))
    if found.unlisted:
        note = f"feature files of no listed video: {len(found.unlisted)}, first {found.unlisted[0]}.npy"
        first = next(iter(measured))
        measured[first] = replace(measured[first], notes=(*measured[first].notes, note))
    digest = sha256_json([[part.split, part.clips] for part in parts.values()] + [found.lengths])
    made, segments = _made(folder, parts, measured, found, digest)
    corpus = corpus_once(folder, digest, lambda: _write(made, segments, measured))
    if _told(corpus) != _told(made):
        raise VcworkError(f"{folder}: holds another corpus ({corpus.name}); choose another folder")
    return corpus, store_once(features, found.contract, found, found.lost)


def questions(corpus: Corpus, split: str = "test") -> list[Question]:
    """The published multiple-choice questions of an MSR-VTT-QA corpus, in corpus order."""
    return [
        Question(v.id, s["start_s"], s["end_s"], s["caption"], choices=tuple(s["choices"]), answer=s["answer"])
        for v in corpus.split(split) for s in corpus.truth(v.id).get("segments", []) if "choices" in s
    ]  # fmt: skip


def splits_table(corpus: Corpus) -> str:
    """The full names of a benchmark corpus's splits, a line each."""
    return "\n".join(f"{role}: {name}" for role, name in corpus.meta["benchmark"]["splits"].items())


def _made(
    folder: Path, parts: dict[str, Benchmark], measured: dict[str, Benchmark], found: FeatureFolder, digest: str
) -> tuple[Corpus, dict[str, list[dict[str, Any]]]]:
    """The corpus, of which nothing is written yet, and {video: the segments of its truth}."""
    first = next(iter(parts.values()))
    meta = {"rolling_captions": False, "source_digest": digest}
    meta["benchmark"] = {"name": first.name, "splits": {role: part.split for role, part in measured.items()}}
    corpus, segments = Corpus(folder, first.name, {}, meta=meta), dict[str, list[dict[str, Any]]]()
    members: dict[str, list[str]] = {}
    for role, part in parts.items():
        corpus.steps |= {id: part.steps[id] for id in part.steps if id not in corpus.steps}
        by_video: dict[str, list[Clip]] = {id: [] for id in part.videos}
        for clip in part.clips:
            by_video[clip.video].append(clip)
        for id, clips in by_video.items():
            segments[id] = _add_video(corpus, role, part, id, clips, found, members)
        for kind in ("videos", "listed"):  # what the release itself lacks
            lost = part.counts.get(kind, Count(0)).missing
            corpus.missing_videos |= {id: why for id, why in lost.items() if id not in corpus.videos}
    tasks = {id: task for part in parts.values() for id, task in part.tasks.items()}
    for id, steps in members.items():
        name, ordered = (tasks[id].name, tasks[id].steps) if id in tasks else (id, ())
        corpus.recipes[id] = Recipe(id, name, tuple(ordered or dict.fromkeys(steps)))
    return corpus, segments


def _told(corpus: Corpus) -> tuple:
    """What the annotations say besides the clips, which the digest holds: lengths, recipes, steps in their order."""
    videos = [(v.id, v.duration_s, v.split, v.recipe) for v in corpus.videos.values()]
    return videos, list(corpus.steps.items()), corpus.recipes


def _write(made: Corpus, segments: dict[str, list[dict[str, Any]]], measured: dict[str, Benchmark]) -> None:
    for id, video in made.videos.items():
        write_json(video.truth, {"segments": segments[id], "caption_segment": [], "mentions": []})
    account = made.folder / "accounting.json"
    write_json(account, {role: {"split": part.split} | part.accounting.as_dict() for role, part in measured.items()})
    save_corpus(made, account)


def _add_video(
    corpus: Corpus, role: str, part: Benchmark, id: str, clips: list[Clip], found: FeatureFolder,
    members: dict[str, list[str]],
) -> list[dict[str, Any]]:  # fmt: skip
    """The segments of a video that is taken into the corpus; none where nobody says how long it is."""
    listed, seconds = part.videos[id], found.lengths.get(id, 0)
    if not seconds and any(math.isinf(clip.end_s) for clip in clips):
        corpus.missing_videos[id] = f"{found.lost.get(id, 'no features')}, and nobody says how long the video is"
        return []
    segments = []
    for clip in clips:
        step = clip.step or plain(clip.text)
        corpus.steps.setdefault(step, clip.text)
        own = fields(clip)[len(fields(Clip)) :]  # what only this benchmark's clips have
        end_s = float(seconds) if math.isinf(clip.end_s) else clip.end_s
        segments.append({"start_s": clip.start_s, "end_s": end_s, "step": step, "caption": clip.text})
        segments[-1] |= {field.name: getattr(clip, field.name) for field in own}
    recipe = listed.recipe or (f"{part.name} {role}" if part.name == "DiDeMo" else None)
    if recipe:
        members.setdefault(recipe, []).extend(s["step"] for s in segments)
    duration_s = listed.duration_s or float(seconds)
    truth = Path(corpus.folder) / "truth" / f"{id}.json"
    corpus.videos[id] = Video(id, None, None, duration_s, role, recipe, truth=truth)
    return segments


def _drop_too_short(part: Benchmark, found: FeatureFolder) -> None:
    """Videos with fewer seconds of features than their task has steps: no order of steps fits into them."""
    for id, listed in part.videos.items():
        steps = len(part.tasks[listed.recipe].steps)
        if found.lengths.get(id, steps) < steps:
            found.lost[id] = f"{found.lengths.pop(id)} s of features, {steps} steps in order"
