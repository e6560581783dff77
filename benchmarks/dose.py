"""Dose and response: how much of each fault of narrated video does an objective bear? In worlds whose truth is known.

    python -m benchmarks.dose --out outputs/dose --json benchmarks/results/dose.json

Four faults in five doses each, one at a time, in generated worlds; seed s draws world s and every training in it.
Lag: captions come so many seconds late, and what falls behind the video's end is lost. Noise: so many of the words are
others of the same world, each as often as it is said there. Background: longer or shorter pauses between the steps, and
the narration that goes with them. False negatives: a batch shows takes of so few families of look-alike recipes, all
videos being used as often; what is told is the share of negatives that showed the anchor's own step. Only the videos to
train on are changed (for the bag of words, which trains on nothing, the narration of the test videos): test films are
the same in every dose. Towers are small and without transformer layers, so that a training takes seconds; a finished
one is kept in `--out` and not done again. Size and updates were settled on world 3, without any dose.
Known gap: three worlds make wide t intervals, and with so many of them some exclude no change by luck.
"""

import argparse
import functools
import itertools
import json
import os
import platform
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vcwork.base.errors import VcworkError
from vcwork.base.files import resolve, sha256_json, write_json
from vcwork.base.sealed import read_sealed, write_sealed
from vcwork.core.batches import PairData
from vcwork.core.config import ClusterConfig, TrainConfig
from vcwork.core.loop import pretrain
from vcwork.core.text import Tokenizer
from vcwork.data.backbones.image import get_backbone
from vcwork.data.captions import Caption, deduplicate
from vcwork.data.corpus import Corpus, Video
from vcwork.data.extract import extract
from vcwork.data.lab.make import LabConfig, make_corpus, plan
from vcwork.data.lab.story import Story
from vcwork.data.store import FeatureStore
from vcwork.encoders.encoder import Encoder
from vcwork.measure import trivial
from vcwork.measure.intervals import t_half_width
from vcwork.measure.metrics import place
from vcwork.measure.result import points, text_table
from vcwork.panels import plots
from vcwork.review.baselines import RidgeForm, TextRidge
from vcwork.tasks.cases import Clips, annotated_clips, clip_scores
from vcwork.training import window_choice
from vcwork.training.ingredients import configure
from vcwork.training.pairs import caption_track
from vcwork.training.recipe import Recipe
from vcwork.training.reference_cells import search
from vcwork.training.run import new_encoder

WORLD = LabConfig(
    train_families=20, train_videos=2, val_families=1, val_videos=1, test_families=10, test_videos=2, steps=4
)  # 80 films of 40 recipes to train on, 40 of 20 others to test
PAUSES = ((0.5, 1.5), (1.5, 4.5), (3.0, 9.0), (6.0, 14.0), (12.0, 24.0))  # seconds between two steps, from and to
DOSES: dict[str, Sequence[float]] = {
    "lag": (0, 2, 4, 8, 16),  # seconds
    "noise": (0, 0.1, 0.2, 0.4, 0.8),  # share of words
    "background": (0, 1, 2, 3, 4),  # which of PAUSES
    "false negatives": (16, 12, 8, 6, 4),  # families of recipes in a batch of 16 videos
}
PLAIN = {"lag": 0, "noise": 0, "background": 2}  # the world as it is: one training for all three
RIDGE, WORDS = "ridge", "bag of words"  # what needs no network; what needs no picture either
OBJECTIVES: dict[str, dict[str, str]] = {
    WORDS: {}, RIDGE: {}, "overlapped": {}, "strict": {"positives": "strict"}, "MIL-NCE": {"positives": "MIL-NCE"},
    "best fit": {"positives": "best fit"}, "sigmoid": {"loss": "sigmoid, raw"},
}  # fmt: skip
MODEL = {"hidden": 128, "heads": 4, "ffn": 256, "video_layers": 0, "text_layers": 0}
TRAIN = {"lr": 3.0e-3, "passes_per_epoch": 24, "epochs": 3}  # 360 updates of 64 pairs
METRICS = ("t2v_R@1", "v2t_R@1", "choice_pointing", "same_choice")


class Told(NamedTuple):
    """A video to train on: features (T, W), what each second shows (T,), and what is said."""

    id: str
    family: str  # of its recipe and the look-alike
    features: np.ndarray
    shown: np.ndarray
    captions: list[Caption]


def recipe_of(objective: str, seed: int) -> Recipe:
    """The switchboard's setting on this benchmark's size."""
    found = configure(OBJECTIVES[objective], seed, "tiny")
    told = found.train.model_dump() | TRAIN
    told["clusters"]["clips_per_video"] = 4
    return Recipe.checked(model=found.model | MODEL, train=TrainConfig.checked(**told))


# ----------------------------------------------------------------------------------------------------- worlds, doses


@functools.cache
def world(folder: Path, seed: int) -> tuple[Corpus, FeatureStore]:
    """Films and features of world `seed`, made once."""
    at = folder / f"world-{seed}"
    corpus = make_corpus(at / "corpus", WORLD.model_copy(update={"seed": seed}), workers=1)
    return corpus, extract(corpus, get_backbone("motion"), at / "features", workers=1)


@functools.cache
def videos(folder: Path, seed: int, pause: int) -> list[Told]:
    """The videos to train on, with these pauses between their steps.

    Other pauses than usual leave every step as it is and as long as it is; its seconds are those of the film, and those
    of the pauses are drawn from the film's own. The narration is what the lab makes of the new times.
    """
    corpus, store = world(folder, seed)
    index = {step: k for k, step in enumerate(corpus.steps)}
    films = corpus.split("train")
    family = {r.id: min(r.id, r.lookalike or r.id) for r in corpus.recipes.values()}
    plain = [Told(v.id, family[str(v.recipe)], store[v.id], v.labels(index, store.lengths[v.id]), corpus.captions(v.id))
             for v in films]  # fmt: skip
    if pause == PLAIN["background"]:
        return plain
    low, high = PAUSES[pause]
    config = WORLD.model_copy(update={"seed": seed, "gap_min_s": low, "gap_max_s": high})
    stories = {story.id: story for story in plan(config)}
    return [laid_out_anew(film, told, stories[film.id], seed) for film, told in zip(films, plain, strict=True)]


def laid_out_anew(film: Video, told: Told, story: Story, seed: int) -> Told:
    """The film's seconds in the order of a story that has the same steps at other times."""
    rng = np.random.default_rng([seed, 8, *film.id.encode()])
    rows = rng.choice(np.flatnonzero(told.shown == 0), story.duration_s)
    shown = np.zeros(story.duration_s, int)
    for old, new in zip(film.segments, story.happenings, strict=True):
        at = np.arange(int(new.start_s), min(int(np.ceil(new.end_s)), story.duration_s))
        rows[at] = np.minimum(at - int(new.start_s) + int(old.start_s), len(told.shown) - 1)
        shown[at] = told.shown[rows[at]]
    said = [Caption(c.start_s, min(c.end_s, story.duration_s), c.text) for c in story.cues]
    return told._replace(features=told.features[rows], shown=shown, captions=deduplicate(said))


def late(captions: list[Caption], lag_s: float, duration_s: float) -> list[Caption]:
    """The captions `lag_s` later; those that would begin behind the end are gone."""
    return [Caption(c.start_s + lag_s, min(c.end_s + lag_s, duration_s), c.text)
            for c in captions if c.start_s + lag_s < duration_s]  # fmt: skip


def misheard(captions: list[Caption], share: float, pool: list[str], rng: np.random.Generator) -> list[Caption]:
    """With so many words exchanged; a word wrong at one share is wrong in the same way at every higher one."""
    out = []
    for c in captions:
        words = c.text.split()
        wrong, other = rng.random(len(words)) < share, rng.integers(len(pool), size=len(words))
        text = " ".join(pool[o] if w else word for word, w, o in zip(words, wrong, other, strict=True))
        out.append(Caption(c.start_s, c.end_s, text))
    return out


def dosed(said: dict[str, list[Caption]], lengths: dict[str, int], factor: str, dose: float, seed: int) -> dict:
    """{video: its captions} with a lag or noise; those of other factors as they are."""
    if factor == "lag":
        return {id: late(captions, dose, lengths[id]) for id, captions in said.items()}
    if factor != "noise":
        return said
    pool, rng = [w for cs in said.values() for c in cs for w in c.text.split()], np.random.default_rng([seed, 7])
    return {id: misheard(captions, dose, pool, rng) for id, captions in said.items()}


def alike(
    families: np.ndarray, shown: int, _: np.ndarray, config: ClusterConfig, batches: int, rng: np.random.Generator
) -> list[np.ndarray]:
    """Batches of videos (V,) of `shown` families each, in place of neighbours (`core.batches.Search`)."""
    takes = {name: np.flatnonzero(families == name) for name in dict.fromkeys(families)}
    sizes = [len(part) for part in np.array_split(np.arange(config.videos_per_batch), shown)]
    out = []
    for _batch in range(batches):
        names = rng.permutation(list(takes))[:shown]
        out.append(np.concatenate([rng.permutation(takes[x])[:n] for x, n in zip(names, sizes, strict=True)]))
    return out


# --------------------------------------------------------------------------------------------------------- one cell


def train(folder: Path, objective: str, factor: str, dose: float, seed: int) -> tuple[Encoder, float]:
    """The encoder, and the mean share of the negatives that showed the anchor's own step."""
    corpus, store = world(folder, seed)
    told = {v.id: v for v in videos(folder, seed, int(dose) if factor == "background" else PLAIN["background"])}
    lengths = {id: len(v.shown) for id, v in told.items()}
    said = dosed({id: v.captions for id, v in told.items()}, lengths, factor, dose, seed)
    told = {id: v for id, v in told.items() if said[id]}
    recipe, find = recipe_of(objective, seed), search
    config = recipe.train
    if factor == "false negatives":
        find = functools.partial(alike, np.array([v.family for v in told.values()]), int(dose))
        config = config.model_copy(update={"clusters": config.clusters.model_copy(update={"start_epoch": 0})})
    words = Tokenizer.train(c.text for id in told for c in said[id])
    tracks = [caption_track(id, said[id], words, lengths[id]) for id in told]
    data = PairData(tracks, [v.features for v in told.values()], [v.shown for v in told.values()])
    encoder = new_encoder(corpus, store, recipe, words)
    records = list(pretrain(encoder.model, words, data, config, search=find))
    return encoder, float(np.mean([r.false_negatives for r in records if r.false_negatives is not None]))


def ridge(folder: Path, factor: str, dose: float, seed: int) -> TextRidge:
    """From the mean feature while a caption is shown to its words: nothing is drawn, nothing contrasted."""
    told = {v.id: v for v in videos(folder, seed, int(dose) if factor == "background" else PLAIN["background"])}
    lengths = {id: len(v.shown) for id, v in told.items()}
    said = dosed({id: v.captions for id, v in told.items()}, lengths, factor, dose, seed)
    shown = [(told[id].features[int(c.start_s) : int(np.ceil(c.end_s))], c.text) for id in told for c in said[id]]
    pairs = [(np.asarray(clip, np.float64).mean(0), text) for clip, text in shown if len(clip)]
    return TextRidge(RidgeForm(penalty=1e3, cosine=True)).fit(np.array([x for x, _ in pairs]), [t for _, t in pairs])


def heard(corpus: Corpus, store: FeatureStore, clips: Clips, factor: str, dose: float, seed: int) -> list[str]:
    """What is said in each test clip, with the dose."""
    said = {v.id: corpus.captions(v.id) for v in corpus.split("test")}
    said = dosed(said, {id: store.lengths[id] for id in said}, factor, dose, seed)
    return [" ".join(c.text for c in said[video] if c.start_s < end and c.end_s > start)
            for video, (start, end) in zip(clips.videos, clips.spans, strict=True)]  # fmt: skip


def measure(folder: Path, objective: str, factor: str, dose: float, seed: int) -> dict[str, float]:
    """Scores on the test films of the world, what guessing would have, and the seconds it took."""
    corpus, store = world(folder, seed)
    begun, clips, told = time.perf_counter(), annotated_clips(corpus, store, "test"), {}
    if objective == WORDS:
        scores = trivial.bag_of_words(clips.sentences, heard(corpus, store, clips, factor, dose, seed))
    elif objective == RIDGE:
        means = np.array([np.asarray(clip, np.float64).mean(0) for clip in clips.features])
        scores = ridge(folder, factor, dose, seed).score(clips.sentences, means)
    else:
        encoder, told["false_negatives"] = train(folder, objective, factor, dose, seed)
        scores = clip_scores(encoder, clips)
        asked = window_choice.spoken_of(corpus, store, "test")
        found = window_choice.evaluate(window_choice.scores_of(encoder, store, asked), asked, n_boot=10)
        told |= {r.name: r.value for r in found} | {f"{r.name}_chance": r.chance for r in found}
    for name, matrix in (("t2v_R@1", scores), ("v2t_R@1", scores.T)):
        told[name], told[f"{name}_chance"] = float(place(matrix, clips.same).hit(1).mean()), float(clips.same.mean())
    return told | {"clips": len(clips), "seconds": round(time.perf_counter() - begun, 2)}


def background(folder: Path, seed: int, pause: int) -> float:
    """Share of the seconds to train on that show no step."""
    return float((np.concatenate([v.shown for v in videos(folder, seed, pause)]) == 0).mean())


# ------------------------------------------------------------------------------------------------------- the series


def cells(objectives: Sequence[str], seeds: Sequence[int]) -> Iterator[tuple[str, str, float, int]]:
    """(objective, factor, dose, seed), factor by factor, so that a series that is stopped has whole curves.

    The world as it is comes first and once; ridge has no batches, and words alone no films to train on either.
    """
    without = {RIDGE: ("false negatives",), WORDS: ("false negatives", "background")}
    doses = [(factor, dose) for factor in DOSES for dose in DOSES[factor] if dose != PLAIN.get(factor)]
    for factor, dose in [("lag", 0.0), *doses]:
        for seed, objective in itertools.product(seeds, objectives):
            if factor not in without.get(objective, ()):
                yield objective, factor, dose, seed


def run_all(folder: Path, seeds: Sequence[int], objectives: Sequence[str], stored: bool = False) -> list[dict]:
    """Every cell; one that `folder` holds is read, and with `stored` no other is made.

    A row has objective, factor, dose, seed, and its numbers.
    """
    rows = []
    for objective, factor, dose, seed in cells(objectives, seeds):
        key = {"objective": objective, "factor": factor, "dose": dose, "seed": seed}
        made_of = [key, recipe_of(objective, seed).identity, WORLD.model_dump(), PAUSES, DOSES]
        path = folder / f"{sha256_json(made_of)[:16]}.json"
        if stored and not path.exists():
            continue
        if not path.exists():
            write_sealed(path, key | measure(folder, objective, factor, dose, seed))
        rows.append(read_sealed(path))
        if not stored:
            print(json.dumps(rows[-1]), flush=True)
    return rows


# ------------------------------------------------------------------------------------------------------- the curves


def curves(rows: Sequence[dict], folder: Path) -> list[dict]:
    """A row an objective, factor, dose and metric: `at` on the axis, mean over worlds, 95 % t interval, and `change`
    with its interval: this dose less the first one of the factor, world by world. Doses that not every world has are
    left out; the world as it is stands in every factor but that of false negatives.
    """
    by = {(r["objective"], r["factor"], r["dose"], r["seed"]): r for r in rows}
    for row in [r for r in rows if r["factor"] == "lag" and r["dose"] == 0]:
        by |= {(row["objective"], factor, dose, row["seed"]): row for factor, dose in PLAIN.items()}
    worlds, out = len({row["seed"] for row in rows}), []
    for factor, objective, metric in itertools.product(DOSES, OBJECTIVES, METRICS):
        first = {s: r for (o, f, d, s), r in by.items() if (o, f, d) == (objective, factor, DOSES[factor][0])}
        for dose in DOSES[factor]:
            found = {s: r for (o, f, d, s), r in by.items() if (o, f, d) == (objective, factor, dose) and metric in r}
            gains = [r[metric] - first[s][metric] for s, r in found.items() if s in first]
            if len(gains) == worlds > 1:
                out.append({
                    "factor": factor, "objective": objective, "metric": metric, "dose": dose,
                    "at": at(factor, dose, found, folder), **_told([r[metric] for r in found.values()]),
                    "chance": round(float(np.mean([r[f"{metric}_chance"] for r in found.values()])), 4),
                    "change": _told(gains),
                })  # fmt: skip
    more = {c["factor"] for c in out if c["dose"] != PLAIN.get(c["factor"])}  # than the world as it is
    return [c for c in out if c["factor"] in more]


def at(factor: str, dose: float, found: dict[int, dict], folder: Path) -> float:
    """Where a dose stands on the axis: seconds, or shares; those that follow from a world as means over the worlds."""
    if factor == "background":
        return round(float(np.mean([background(folder, seed, int(dose)) for seed in found])), 4)
    if factor == "false negatives":
        return round(float(np.mean([row["false_negatives"] for row in found.values()])), 4)
    return dose


def _told(values: list[float]) -> dict[str, float]:
    mean, half = float(np.mean(values)), t_half_width(values)
    return {"mean": round(mean, 4), "low": round(mean - half, 4), "high": round(mean + half, 4), "worlds": len(values)}


def table(found: Sequence[dict], metric: str) -> str:
    """Aligned text, a row an objective and factor: per cent at each dose, and what the highest one changes."""
    rows = []
    for factor, objective in itertools.product(DOSES, OBJECTIVES):
        line = {
            c["dose"]: c for c in found if (c["factor"], c["objective"], c["metric"]) == (factor, objective, metric)
        }
        if len(line) > 1:
            change = line[max(line, key=DOSES[factor].index)]["change"]
            clear = change["low"] > 0 or change["high"] < 0
            shown = (f"{100 * line[dose]['mean']:.1f}" if dose in line else "" for dose in DOSES[factor])
            told = points(change["mean"], change["low"], change["high"])
            rows.append((factor, objective, *shown, told + " *" * clear))
    return text_table(("factor", "objective", *(f"dose {i}" for i in range(1, 6)), "highest less first"), rows)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", required=True, help="folder of worlds and finished cells; these are not done again")
    parser.add_argument("--worlds", type=int, default=3)
    parser.add_argument("--objectives", nargs="+", choices=OBJECTIVES, default=list(OBJECTIVES))
    parser.add_argument("--stored", action="store_true", help="train nothing, report what --out holds")
    parser.add_argument("--json", help="where the curves and all cells are written")
    parser.add_argument("--plot", help="where text to video R@1 against each dose is drawn (svg, png)")
    options = parser.parse_args()
    folder = resolve(options.out)
    try:
        rows = run_all(folder, range(options.worlds), options.objectives, options.stored)
        found = curves(rows, folder)
    except VcworkError as error:
        raise SystemExit(f"error: {error}") from None
    minutes = round(sum(row["seconds"] for row in rows) / 60, 1)
    print(f"\n{len(rows)} cells, {minutes} minutes\n")
    for metric in METRICS:
        print(f"{metric}, per cent; axis of each dose in the JSON\n{table(found, metric)}\n")
    if options.json:
        made = {"world": WORLD.model_dump(exclude={"seed"}), "pauses_s": PAUSES, "model": MODEL, "train": TRAIN}
        told = {"format": "vcwork-dose-1", "machine": platform.machine(), "cores": os.cpu_count(), "minutes": minutes}
        kept = ("objective", "factor", "dose", "seed", *METRICS, "false_negatives", "clips", "seconds")
        cells = [{key: row[key] for key in kept if key in row} for row in rows]
        write_json(options.json, told | {"made_of": made, "curves": found, "cells": cells})
    if options.plot:
        plots.dose_curves(found, "t2v_R@1").savefig(options.plot)
    return 0


if __name__ == "__main__":
    sys.exit(main())
