"""Annotations without videos, as plain lists: read from a folder of published files, or made up from a seed.

`read_annotations` takes what it finds of YouCook2, MSR-VTT 1k-A, DiDeMo, COIN and CrossTask by the registry of
`vcwork.data.benchmarks.sources`; `made_annotations` invents a small set of the same shape, so that `blind` and its
notebook run without any file. Made-up numbers show that the arithmetic works, and nothing about any benchmark.
Gap: CrossTask's files do not say how long a video is; it is taken to end with its last annotated step.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from vcwork.base.errors import VcworkError
from vcwork.base.files import resolve
from vcwork.data.benchmarks.common import Benchmark
from vcwork.data.benchmarks.sources import SOURCES, lacking, read_splits

SHORT_VIDEO = "the files give no video lengths: a video is taken to end with its last annotated step"


@dataclass(frozen=True)
class Clips:
    """Clips of a retrieval gallery, each field (N,): text, video, recipe and length in seconds, () where unknown."""

    texts: Sequence[str]
    videos: Sequence[str]
    recipes: Sequence[str] = ()
    durations_s: Sequence[float] = ()


@dataclass(frozen=True)
class Moments:
    """DiDeMo: per sentence the annotators' (first, last) chunks, to fit on (`fit`, may be empty) and to score."""

    fit: Sequence[Sequence[tuple[int, int]]]
    times: Sequence[Sequence[tuple[int, int]]]
    videos: Sequence[str]


@dataclass(frozen=True)
class Segmented:
    """COIN: per video its (start_s, end_s, step id) segments, length, task, whether it is for training; id -> label."""

    ids: Sequence[str]
    segments: Sequence[Sequence[tuple[float, float, str]]]
    durations_s: Sequence[float]
    tasks: Sequence[str]
    training: Sequence[bool]
    labels: dict[str, str]


@dataclass(frozen=True)
class Located:
    """CrossTask: per video, for each step of its task in order, the annotated (start_s, end_s); length, task, id."""

    ids: Sequence[str]
    intervals: Sequence[Sequence[Sequence[tuple[float, float]]]]
    durations_s: Sequence[float]
    tasks: Sequence[str]
    note: str = ""


@dataclass(frozen=True)
class Annotations:
    """What was found; None where a benchmark is not there. `splits`: name of a benchmark -> its split's full name."""

    youcook2: Clips | None = None
    msrvtt: Clips | None = None
    didemo: Moments | None = None
    coin: Segmented | None = None
    crosstask: Located | None = None
    splits: dict[str, str] = field(default_factory=dict)
    made_up: bool = False

    def found(self) -> list[str]:
        return [name for name in _KINDS if getattr(self, name) is not None]


# ----------------------------------------------------------------------------------------------------- reading


def read_annotations(folder: str | Path, only: Collection[str] = ()) -> Annotations:
    """Everything known in `folder`, or only these benchmarks, files by the names of `benchmarks.sources.SOURCES`.

    In place of a folder one file, as `benchmarks.sources` says, for the only benchmark. DiDeMo's may lie in `didemo/`,
    CrossTask's in `crosstask/`. A test split alone will do: what is fitted on training videos is left out then, and
    DiDeMo's prior is that of the other videos. VcworkError where the folder or all of them are missing, or a file is
    wrong.
    """
    folder = resolve(folder)
    if not folder.exists():
        raise VcworkError(f"{folder}: no such folder of annotations, or file")
    found, splits, lost = {}, {}, list[str]()
    kinds = {name: _KINDS[name] for name in only or _KINDS}
    for name, (as_lists, *places) in kinds.items():
        parts = next((parts for place in places if (parts := read_splits(name, folder / place))), {})
        if "test" in parts:  # what holds no test is no benchmark; a test alone is one
            found[name], splits[name] = as_lists(parts), parts["test"].split
        else:
            lost += lacking(parts)
    if not found:
        wanted = "; ".join([*(SOURCES[name] for name in kinds), *lost])
        raise VcworkError(f"{folder}: the test split of none of these is there: {wanted}")
    return Annotations(**found, splits=splits)


def _clips(parts: dict[str, Benchmark]) -> Clips:
    part = parts["test"]
    lengths = [clip.end_s - clip.start_s for clip in part.clips]
    known = lengths if all(map(math.isfinite, lengths)) else ()
    recipes = [clip.recipe for clip in part.clips] if all(clip.recipe for clip in part.clips) else ()
    return Clips(part.texts, [clip.video for clip in part.clips], recipes, known)


def _moments(parts: dict[str, Benchmark]) -> Moments:
    fit = parts.get("val") or parts.get("train")
    test = parts["test"].clips
    fitted = [clip.chunks for clip in fit.clips] if fit else []
    return Moments(fitted, [clip.chunks for clip in test], [clip.video for clip in test])


def _segmented(parts: dict[str, Benchmark]) -> Segmented:
    roles = [role for role in ("train", "test") if role in parts]
    rows = [(id, listed, role) for role in roles for id, listed in parts[role].videos.items()]
    segments: dict[str, list] = {id: [] for id, _, _ in rows}
    for part in parts.values():
        for clip in part.clips:
            segments[clip.video].append((clip.start_s, clip.end_s, clip.step))
    return Segmented(
        list(segments), list(segments.values()), [listed.duration_s for _, listed, _ in rows],
        [listed.recipe for _, listed, _ in rows], [role == "train" for _, _, role in rows], parts["test"].steps,
    )  # fmt: skip


def _located(parts: dict[str, Benchmark]) -> Located:
    part, spans, ends = parts["test"], {}, {}
    for clip in part.clips:
        spans.setdefault((clip.video, clip.step), []).append((clip.start_s, clip.end_s))
        ends[clip.video] = max(ends.get(clip.video, 0.0), clip.end_s)
    tasks = [listed.recipe for listed in part.videos.values()]
    intervals = [[spans.get((id, step), []) for step in part.tasks[task].steps]
                 for id, task in zip(part.videos, tasks, strict=True)]  # fmt: skip
    return Located(list(part.videos), intervals, [ends[id] for id in part.videos], tasks, SHORT_VIDEO)


_KINDS: dict[str, tuple] = {  # how its splits become lists, where in the folder they may lie
    "youcook2": (_clips, ""),
    "msrvtt": (_clips, ""),
    "didemo": (_moments, "didemo", ""),
    "coin": (_segmented, ""),
    "crosstask": (_located, "crosstask", "crosstask_release", ""),
}

# ---------------------------------------------------------------------------------------------------- made up


def made_annotations(seed: int = 0) -> Annotations:
    """A small invented set of every benchmark: same shape, same weaknesses, none of the real numbers."""
    rng = np.random.default_rng(seed)
    made = {
        "youcook2": _made_clips(rng, 60, 12),
        "msrvtt": _made_captions(200),
        "didemo": _made_moments(rng, 200, 150),
        "coin": _made_segments(rng, 60, 6),
        "crosstask": _made_steps(rng, 40, 4),
    }  # fmt: skip
    return Annotations(**made, splits={name: f"made up like {name}" for name in made}, made_up=True)  # of any seed


def _made_captions(n: int) -> Clips:
    """A caption a video; every 25th says what the one before it says."""
    return Clips([f"somebody does thing {i - (i % 25 == 0 and i > 0)}" for i in range(n)], [f"v{i}" for i in range(n)])


def _made_clips(rng: np.random.Generator, n_videos: int, n_recipes: int) -> Clips:
    """3 to 9 clips a video; sentences of verb and thing, so that some repeat."""
    rows = []
    for v in range(n_videos):
        for _ in range(rng.integers(3, 10)):
            verb, thing = rng.choice(["cut", "fry", "mix", "add", "pour", "peel", "salt", "boil"]), rng.integers(60)
            rows.append((f"{verb} thing {thing}", f"video{v:03d}", f"recipe{v % n_recipes:02d}", rng.exponential(18.0)))
    texts, videos, recipes, lengths = zip(*rows, strict=True)
    return Clips(texts, videos, recipes, lengths)


def _made_moments(rng: np.random.Generator, n_fit: int, n_test: int) -> Moments:
    """Four annotators a sentence who agree by halves; early and short moments are the commonest."""

    def one() -> list[tuple[int, int]]:
        starts = [min(5, int(rng.exponential(1.6))) for _ in range(2)]
        options = [(a, min(5, a + int(rng.random() < 0.15))) for a in starts]
        return [options[0], options[0], options[int(rng.random() < 0.4)], options[int(rng.random() < 0.5)]]

    times = [one() for _ in range(n_fit + n_test)]
    return Moments(times[:n_fit], times[n_fit:], [f"video{i // 4:03d}" for i in range(n_test)])


def _made_segments(rng: np.random.Generator, n_videos: int, n_tasks: int) -> Segmented:
    """Four steps a task, in order, about half of the time background; the last step's text is the same everywhere."""
    labels = {
        f"{4 * k + s + 1}": f"do step {s} of task {k}" if s < 3 else "clean up"
        for k in range(n_tasks)
        for s in range(4)
    }
    segments, lengths = [], []
    for v in range(n_videos):
        at, own = rng.uniform(5, 25), []
        for s in range(4):
            end = at + rng.uniform(6, 24)
            own.append((at, end, f"{4 * (v % n_tasks) + s + 1}"))
            at = end + rng.uniform(4, 20)
        segments.append(own)
        lengths.append(at + rng.uniform(0, 20))
    ids, tasks = [f"video{v:03d}" for v in range(n_videos)], [f"task{v % n_tasks}" for v in range(n_videos)]
    return Segmented(ids, segments, lengths, tasks, [v >= n_videos // 3 for v in range(n_videos)], labels)


def _made_steps(rng: np.random.Generator, n_videos: int, n_tasks: int) -> Located:
    """Five to eight steps a task, one in four skipped, in order, in videos of three to five minutes."""
    n_steps, ids, intervals, lengths, tasks = 5 + np.arange(n_tasks) % 4, [], [], [], []
    for v in range(n_videos):
        task, length = v % n_tasks, rng.uniform(180, 300)
        at = np.sort(rng.uniform(0, length - 20, n_steps[task]))
        there = rng.random(n_steps[task]) < 0.75
        there[rng.integers(n_steps[task])] = True
        intervals.append(
            [[(float(t), float(t + rng.uniform(4, 18)))] if here else [] for t, here in zip(at, there, strict=True)]
        )
        ids.append(f"video{v:03d}")
        lengths.append(float(length))
        tasks.append(f"task{task}")
    return Located(ids, intervals, lengths, tasks)
