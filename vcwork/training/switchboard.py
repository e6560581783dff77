"""The switchboard: the same corpus, one ingredient changed, several seeds; what it does to the scores, and its cost.

A *setting* is {ingredient: choice} over the baseline of `vcwork.training.ingredients`, {} being the baseline itself.
Every training is kept as a JSON file, known by what it was made of, so a run can be interrupted and gone on with, and
more settings be added later. Effects are differences to the baseline with the same seed. Nothing is selected here: the
test split is measured once for each training, and no choice is tuned.
Known gap: times are of this machine beside whatever else it did; compare them with the baseline's of the same run.
"""

import json
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vcwork.base.errors import VcworkError
from vcwork.base.files import resolve, sha256_json
from vcwork.base.progress import bar
from vcwork.base.sealed import read_sealed, well_formed, write_sealed
from vcwork.data.corpus import Corpus
from vcwork.data.store import FeatureStore
from vcwork.encoders.encoder import Encoder
from vcwork.measure.card import Card
from vcwork.measure.intervals import paired_bootstrap, t_half_width
from vcwork.measure.metrics import place
from vcwork.measure.result import Result, mean_result, points, text_table
from vcwork.tasks import localization, retrieval
from vcwork.tasks.cases import Clips, annotated_clips, clip_scores, localization_cases, seconds_of_split
from vcwork.training import window_choice
from vcwork.training.ingredients import INGREDIENTS, configure, ingredient
from vcwork.training.recipe import Recipe
from vcwork.training.run import train
from vcwork.training.validation import corpus_check

FORMAT = "vcwork-switchboard-1"
Setting = dict[str, str]
METRICS = ("t2v_R@1", "v2t_R@1", "recall_unordered", "choice_pointing", "choice_IoU", "same_choice")


@dataclass(frozen=True)
class Run:
    """One training: its setting and seed, test scores, whether each query was hit (by metric), and what it took."""

    setting: Setting
    seed: int
    scores: dict[str, float]
    hits: dict[str, list[float]]
    videos: list[str]  # of the queries
    chance: dict[str, float]
    seconds: float
    updates: int
    weights: int
    log: list[dict]  # an entry an epoch: validation and which windows sentences chose

    @property
    def name(self) -> str:
        """The choices that differ from the baseline."""
        return name_of(self.setting)


def name_of(setting: Setting) -> str:
    """`baseline`, or the choices that differ from it."""
    return ", ".join(f"{i}: {c}" for i, c in setting.items()) or "baseline"


def one_at_a_time(names: Sequence[str] = ()) -> list[Setting]:
    """The baseline, and every switch of these ingredients (all of them without names) alone."""
    chosen = [ingredient(name) for name in names] if names else list(INGREDIENTS)
    return [{}, *({i.name: c.name} for i in chosen for c in i.choices[1:] if not c.elsewhere)]


def run_all(
    corpus: Corpus, store: FeatureStore, settings: Sequence[Setting], seeds: Sequence[int], folder: str | Path,
    size: str = "lab", epochs: int = 0, split: str = "test", progress: bool = False,
) -> list[Run]:  # fmt: skip
    """Train and measure every setting with every seed, seed by seed; what `folder` holds already is not done again.

    VcworkError, before any training, for a setting that cannot be.
    """
    folder = resolve(folder)
    planned = list(_planned(corpus, store, settings, seeds, size, epochs, split))
    runs = []
    for setting, seed, recipe, made_of in bar(planned, progress, desc="switchboard", unit="training"):
        path = folder / f"{sha256_json(made_of)[:16]}.json"
        if path.exists():
            with well_formed(path):
                runs.append(Run(**read_run(path, made_of)["run"]))
            continue
        runs.append(_run(corpus, store, setting, seed, recipe, split))
        write_sealed(path, {"format": FORMAT, "made_of": made_of, "run": asdict(runs[-1])})
    return runs


def read_run(path: Path, made_of: dict | None = None) -> dict:
    """What `run_all` kept in a file: `run`, and `made_of`, which must be the one given. VcworkError otherwise."""
    stored = read_sealed(path)
    if stored.get("format") != FORMAT or (made_of is not None and stored.get("made_of") != made_of):
        raise VcworkError(f"{path}: expected a result of this switchboard ({FORMAT}); delete it")
    return stored


def _planned(corpus, store, settings, seeds, size, epochs, split) -> Iterator[tuple]:
    if {} not in settings:
        raise VcworkError("settings: expected the baseline {} among them, or there is nothing to compare with")
    texts = corpus.digest()
    for seed in seeds:
        for setting in settings:
            recipe = configure(setting, seed, size, epochs)
            made_of = {"sizes": recipe.model, "config": recipe.train.model_dump(mode="json")}
            made_of |= {"features": store.digest(), "split": split, "corpus": corpus.name, "texts": texts}
            yield setting, seed, recipe, made_of


def _run(corpus, store, setting, seed, recipe: Recipe, split) -> Run:
    val = corpus_check(corpus, store, recipe.train)

    def check(encoder: Encoder) -> dict[str, float]:
        return val(encoder) | window_choice.numbers(encoder, corpus, store)

    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        encoder = train(corpus, store, Path(folder) / "run", recipe, check=check)
        seconds = time.perf_counter() - begun
        rows = [json.loads(line) for line in (Path(folder) / "run" / "log.jsonl").read_text().splitlines()]
    log = [row for row in rows if "loss" not in row]
    scores, hits, chance, videos = measure(encoder, corpus, store, split)
    weights = sum(p.numel() for p in encoder.model.parameters())
    return Run(setting, seed, scores, hits, videos, chance, round(seconds, 2), len(rows) - len(log), weights, log)


def measure(
    encoder, corpus: Corpus, store: FeatureStore, split: str
) -> tuple[dict[str, float], dict[str, list[float]], dict[str, float], list[str]]:
    """Scores {metric: value}, hits of each retrieval query {metric: [0 or 1]}, chance, and the queries' videos."""
    clips = annotated_clips(corpus, store, split)
    same, scores = clips.same, clip_scores(encoder, clips)
    values, hits, chance = {}, {}, {}
    for name, matrix in (("t2v_R@1", scores), ("v2t_R@1", scores.T)):
        places = place(matrix, same)
        hits[name] = places.hit(1).tolist()
        values[name], chance[name] = float(np.mean(hits[name])), float(np.mean(same.sum(1) / len(same)))
    cases = localization_cases(seconds_of_split(encoder, corpus, store, split, as_reference=False), corpus)
    found = [r for r in localization.evaluate(cases, n_boot=10) if r.name == "recall_unordered"]
    spoken = window_choice.spoken_of(corpus, store, split)
    found += window_choice.evaluate(window_choice.scores_of(encoder, store, spoken), spoken, n_boot=10)
    values |= {r.name: r.value for r in found}
    return values, hits, chance | {r.name: r.chance for r in found}, clips.videos.tolist()


# -------------------------------------------------------------------------------------------------------- effects


@dataclass(frozen=True)
class Effect:
    """A setting minus the baseline: mean difference, its 95 % interval, over what it was taken, and relative cost."""

    setting: Setting
    metric: str
    baseline: float
    value: float
    difference: float
    low: float
    high: float
    over: str  # seeds, or videos
    seeds: int
    seconds: float  # times the baseline's
    weights: float

    @property
    def clear(self) -> bool:
        """Does the interval exclude no difference?"""
        return self.low > 0 or self.high < 0


def effects(runs: Sequence[Run], metric: str) -> list[Effect]:
    """Every setting against the baseline of the same seeds.

    From three seeds on the interval is a t interval over seeds; with fewer it is a paired bootstrap over videos, which
    says nothing about another seed, and only retrieval has one (others are left out).
    """
    if metric not in METRICS:
        raise VcworkError(f"metric: expected one of {', '.join(METRICS)}, got {metric!r}")
    by = {(run.name, run.seed): run for run in runs}
    out = []
    for name in dict.fromkeys(run.name for run in runs if run.setting):
        seeds = [s for n, s in by if n == name and ("baseline", s) in by]
        ours, base = [by[name, s] for s in seeds], [by["baseline", s] for s in seeds]
        found = _difference(ours, base, metric)
        if found is None:
            continue
        cost = {key: float(np.mean([getattr(a, key) / getattr(b, key) for a, b in zip(ours, base, strict=True)]))
                for key in ("seconds", "weights")}  # fmt: skip
        means = [float(np.mean([r.scores[metric] for r in part])) for part in (base, ours)]
        out.append(Effect(ours[0].setting, metric, *means, *found, len(seeds), **cost))
    return out


def _difference(ours: list[Run], base: list[Run], metric: str) -> tuple[float, float, float, str] | None:
    gains = [a.scores[metric] - b.scores[metric] for a, b in zip(ours, base, strict=True)]
    mean = float(np.mean(gains))
    if len(gains) >= 3:
        half = t_half_width(gains)
        return mean, mean - half, mean + half, "seeds"
    if metric not in ours[0].hits:
        return None
    pair = [np.mean([run.hits[metric] for run in part], 0) for part in (ours, base)]
    gain = paired_bootstrap(*pair, ours[0].videos)
    return mean, gain.low, gain.high, "videos"


def results(runs: Sequence[Run], clips: Clips, others: Mapping[str, Any], setting: Card, seed: int = 0) -> list[Result]:
    """Text-to-video R@1 of every setting, mean over its seeds, with interval over videos and its gain in `extra`.

    clips, others: what was measured, and its predictors that look at no picture (`opponents.of_retrieval`).
    """
    beside = retrieval.blind_hits(clips.labels, others["beside"])
    gains = {name_of(e.setting): e for e in effects(runs, "t2v_R@1")}
    out = []
    for name in dict.fromkeys(run.name for run in runs):
        same = [run for run in runs if run.name == name]
        hits, chance = np.mean([run.hits["t2v_R@1"] for run in same], 0), same[0].chance["t2v_R@1"]
        card = setting.but(
            f"any clip of the sentence's step counts; {name}; mean of {len(same)} trainings", task="retrieval",
            pool=len(hits), captions=1, ties="expected", model=sha256_json([run.setting for run in same]),
            interval="videos",
        )  # fmt: skip
        gain = asdict(gains[name]) if name in gains else {}
        gain.pop("seconds", None)  # the same run would write another number
        extra = {"minus_baseline": gain} if gain else {}
        out.append(mean_result(
            f"t2v_R@1 {name}", hits, same[0].videos, chance, card, beside=beside, extra=extra, n_boot=1000, seed=seed
        ))  # fmt: skip
    return out


def effects_table(found: Sequence[Effect]) -> str:
    """Aligned text; `*` where the interval excludes 0."""
    rows = [
        (
            name_of(e.setting),
            f"{e.baseline:.1%}",
            f"{e.value:.1%}",
            points(e.difference, e.low, e.high) + " *" * e.clear,
            f"{e.seeds} seeds" if e.over == "seeds" else e.over,
            f"{e.seconds:.2f}",
            f"{e.weights:.2f}",
        )
        for e in found
    ]
    head = ("changed", "baseline", "so", "difference (95 % interval)", "over", "time", "weights")
    return text_table(head, rows)
