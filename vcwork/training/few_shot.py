"""Few-shot curves: from zero-shot to fine-tuned on n labelled videos of each recipe, over seeds, on the test split.

Labels are drawn from train videos only, and a fine-tuning sees a corpus from which all other truth but val's is taken
away; val chooses the epoch and gamma, test is measured. Every n gets about as many updates, so that a curve shows
labels and not more training. On a corpus whose test recipes have no train video (the lab), "n of each recipe" teaches
*other* recipes: the curve then shows how far labels carry over, not what they buy for a recipe of one's own, which
`own_tasks` is for. Each finished point is kept as JSON, known by what it was made of, and not measured again.
Known gaps: one process (no torchrun); a recipe's epoch is chosen among trained ones, so that labels can do harm.
"""

import copy
from collections.abc import Iterable, Sequence
from dataclasses import asdict, astuple, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from vcwork.base.errors import NoData, VcworkError
from vcwork.base.files import resolve, sha256_json
from vcwork.base.progress import bar
from vcwork.base.sealed import kept, well_formed
from vcwork.core.engine import Engine
from vcwork.data.corpus import Corpus
from vcwork.data.store import FeatureStore
from vcwork.encoders.encoder import Encoder
from vcwork.measure.card import Card
from vcwork.measure.intervals import paired_ratios
from vcwork.measure.result import Result, as_result, plain, points, show, text_table
from vcwork.tasks.cases import setting_of
from vcwork.training.few_shot_tasks import MEASURE, Counts, Subject, annotated
from vcwork.training.finetune import FinetuneRecipe, n_updates
from vcwork.training.finetune_corpus import tuning_of

FORMAT = "vcwork-few-shot-1"
TASKS = ("retrieval", "localization", "segmentation")
CURVES = {  # title: task that is trained, metric that is shown
    "retrieval": ("retrieval", "t2v_R@1"),
    "localization": ("localization", "recall"),
    "segmentation, a new head": ("segmentation", "frame_accuracy"),
    "segmentation, by step texts": ("localization", "texts_frame_accuracy"),
}

# ------------------------------------------------------------------------------------------------ which labels


@dataclass(frozen=True)
class Draw:
    """The videos labelled: n of each recipe, all where a recipe has fewer (`short`: how many those have)."""

    n: int
    seed: int
    videos: tuple[str, ...]
    short: dict[str, int]


NOBODY = Draw(0, 0, (), {})  # zero-shot


def candidates(corpus: Corpus, store: FeatureStore) -> dict[str, list[str]]:
    """By recipe, the train videos with features and annotations; VcworkError where there is none."""
    found: dict[str, list[str]] = {}
    for v in annotated(corpus, store, "train"):
        found.setdefault(v.recipe, []).append(v.id)
    return {recipe: sorted(found[recipe]) for recipe in sorted(found)}


def draw(corpus: Corpus, store: FeatureStore, n: int, seed: int) -> Draw:
    """n train videos of each recipe. Of one seed, the videos of a smaller n are among those of a larger one."""
    pool, taken = candidates(corpus, store), []
    for recipe, ids in pool.items():
        taken += np.random.default_rng([seed, 24, *recipe.encode()]).permutation(ids)[:n].tolist()
    short = {recipe: len(ids) for recipe, ids in pool.items() if len(ids) < n}
    return Draw(n, seed, tuple(sorted(taken)), short)


def distinct_shots(corpus: Corpus, store: FeatureStore, shots: Sequence[int]) -> tuple[list[int], dict[int, int]]:
    """The shots that differ, in order, and of the others which they equal: {30: 5} where nobody has more than five."""
    if wrong := [n for n in shots if type(n) is not int or n < 0]:
        raise VcworkError(f"shots: expected numbers of videos from 0, got {wrong[0]!r}")
    if not any(shots):
        raise VcworkError("shots: expected at least one number of videos above 0")
    most = max(map(len, candidates(corpus, store).values()))
    kept: dict[int, int] = {}  # videos of the largest recipe: the smallest n that takes them
    same = {}
    for n in sorted({*shots} - {0}):
        if kept.setdefault(min(n, most), n) != n:
            same[n] = kept[min(n, most)]
    return list(kept.values()), same


def draws_table(corpus: Corpus, draws: Sequence[Draw]) -> str:
    rows = []
    for d in draws:
        segments, first = sum(len(corpus[v].segments) for v in d.videos), ", ".join(d.videos[:3]) + ", ..."
        rows.append((f"{d.n} a recipe", len(d.videos), segments, len(d.short), first))
    return text_table(("labels", "videos", "segments", "recipes with fewer", "the first"), rows)


def shared_with_train(corpus: Corpus) -> dict[str, tuple[int, int]]:
    """How many recipes and steps of the annotated test videos are in annotated train videos, and how many there are."""
    seen = {"recipes": lambda v: [v.recipe], "steps": lambda v: [s.step for s in v.segments]}
    out = {}
    for name, of in seen.items():
        test, train = ({x for v in corpus.split(split) if v.segments for x in of(v)} for split in ("test", "train"))
        out[name] = (len(test & train), len(test))
    return out


def only_labelled(corpus: Corpus, ids: Iterable[str], val: bool = True) -> Corpus:
    """The corpus as an annotator leaves it who labelled these train videos: no truth but theirs and val's."""
    ids = set(ids)
    if wrong := sorted(i for i in ids if corpus[i].split != "train"):
        raise VcworkError(f"{corpus.folder}: only train videos may be labelled, got {', '.join(wrong)}")
    kept = {i: v if i in ids or (val and v.split == "val") else replace(v, segments=(), truth=None)
            for i, v in corpus.videos.items()}  # fmt: skip
    return replace(corpus, videos=kept, _raw={})


def own_tasks(corpus: Corpus, store: FeatureStore, split: str = "test") -> Corpus:
    """A split dealt anew, so that labels speak of the very recipes that are measured, in other videos of them.

    Half of each recipe's annotated videos (rounded down) become train and may be labelled, the rest is test; always the
    same halves. Recipes with one video and all other train and test videos are left out; NoData where none stays.
    """
    by_recipe: dict[str, list] = {}
    for v in annotated(corpus, store, split):
        by_recipe.setdefault(v.recipe, []).append(v)
    dealt = {v.id: v for v in corpus.split("val") if split != "val"}
    for recipe, videos in sorted(by_recipe.items()):
        order = np.random.default_rng([25, *recipe.encode()]).permutation(len(videos))
        for place, i in enumerate(order if len(videos) > 1 else []):
            dealt[videos[i].id] = replace(videos[i], split="train" if place < len(videos) // 2 else "test")
    if not any(v.split == "test" for v in dealt.values()):
        raise NoData(f"{corpus.folder}: no {split} recipe has two annotated videos, one to label, one to measure")
    name = f"{corpus.name}, half of the videos of each {split} recipe,"
    return replace(corpus, name=name, videos={i: dealt[i] for i in corpus.videos if i in dealt}, _raw={})


# --------------------------------------------------------------------------------------------------- the points


@dataclass(frozen=True)
class Point:
    """One fine-tuned model measured, or, with n 0, the checkpoint as it is. `training`: what the fine-tuning did."""

    task: str
    n: int
    seed: int
    labelled: tuple[str, ...]
    results: tuple[Result, ...]
    counts: dict[str, Counts]
    short: dict[str, int] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)

    def result(self, metric: str) -> Result:
        """The result of that name; VcworkError lists the names there are."""
        for result in self.results:
            if result.name == metric:
                return result
        raise VcworkError(f"{self.task}: no metric {metric!r} among {', '.join(r.name for r in self.results)}")


def small_recipe(task: str, lr: float, keep: str = "last") -> FinetuneRecipe:
    """How a task is fine-tuned on few labels: small batches, a short warm-up, then a constant rate."""
    batch = 32 if task == "retrieval" else 4
    fixed = {"warmup": 5, "decay_updates": 0, "adam": "torch", "stride": 16, "test_stride": 16}
    return FinetuneRecipe.checked(task=task, batch_size=batch, lr=lr, keep=keep, **fixed)


def few_shot_points(
    corpus: Corpus, store: FeatureStore, encoder: Encoder, recipes: Sequence[FinetuneRecipe], shots: Sequence[int],
    seeds: Sequence[int], out: str | Path, updates: int = 60, progress: bool = False,
) -> list[Point]:  # fmt: skip
    """Measure the checkpoint and copies of it fine-tuned by each recipe on each number of shots, with each seed.

    A recipe's `epochs` and `seed` are replaced: as many whole epochs as `updates` need (one at least), so that few
    labels are repeated more often, and the seed of the draw. Points go to `out`, one JSON each, and are read from there
    when they were made of the same checkpoint, features, annotations, recipe and videos. Shots that no recipe has
    videos for are left out where they equal smaller ones (`distinct_shots`). VcworkError: a task that has no curve, a
    negative number of shots, a checkpoint that was never saved, no train video to label.
    """
    out = resolve(out)
    if wrong := [recipe.task for recipe in recipes if recipe.task not in TASKS]:
        raise VcworkError(f"task: expected one of {', '.join(TASKS)}, got {wrong[0]!r}")
    if encoder.digest == "unsaved":
        raise VcworkError("few-shot: expected a saved checkpoint, because points are known by its hash")
    if updates < 1 or not len(seeds):
        raise VcworkError(f"few-shot: expected updates from 1 and at least one seed, got {updates} and {list(seeds)}")
    different, _ = distinct_shots(corpus, store, shots)
    draws = [NOBODY, *(draw(corpus, store, n, seed) for n in different for seed in seeds)]
    todo = [(_fitted(recipe, drawn, corpus, updates), drawn) for recipe in recipes for drawn in draws]
    annotations = _annotations(corpus)
    return [
        _point(corpus, store, encoder, recipe, drawn, out, annotations)
        for recipe, drawn in bar(todo, progress, desc="few-shot")
    ]


def _fitted(recipe: FinetuneRecipe, drawn: Draw, corpus: Corpus, updates: int) -> FinetuneRecipe:
    """The recipe with the draw's seed and the epochs that give at least so many updates."""
    if not drawn.n:
        return recipe
    once = recipe.but(seed=drawn.seed, epochs=1)
    items = sum(len(corpus[i].segments) for i in drawn.videos) if recipe.task == "retrieval" else len(drawn.videos)
    return once.but(epochs=-(-updates // n_updates(items, once)))


def _annotations(corpus: Corpus) -> str:
    videos = [(v.id, v.split, v.recipe, [astuple(s) for s in v.segments]) for v in corpus.videos.values()]
    return sha256_json([corpus.name, videos, corpus.steps, {r.id: r.steps for r in corpus.recipes.values()}])


def _point(corpus, store, encoder, recipe, drawn: Draw, out: Path, annotations: str) -> Point:
    """The point from its file, or measured and stored."""
    made_of = {
        "format": FORMAT, "model": encoder.digest, "features": store.digest(), "annotations": annotations,
        "recipe": recipe.model_dump(), "labelled": list(drawn.videos),
    }  # fmt: skip
    which = f"n{drawn.n}-seed{drawn.seed}" if drawn.n else "zero-shot"
    path = out / f"{recipe.task}-{which}-{sha256_json(made_of)[:10]}.json"

    def measured() -> dict[str, Any]:
        point = _measure(corpus, store, encoder, recipe, drawn)
        return plain({**asdict(point), "results": [r.as_dict() for r in point.results]}, path.name)

    with well_formed(path):
        point = kept(path, made_of, measured)
        rows = {"labelled": tuple(point["labelled"]), "results": tuple(map(as_result, point["results"]))}
        return Point(**point | rows)


def _measure(corpus, store, encoder: Encoder, recipe, drawn: Draw) -> Point:
    """Fine-tune a copy where there are labels, and measure it on the test split."""
    tuned, head, training = copy.deepcopy(encoder), None, {}
    known = only_labelled(corpus, drawn.videos, val=recipe.train.keep == "best")
    if drawn.n:
        run = tuning_of(known, store, tuned, recipe)
        records, head = list(run.training), run.head
        values = [r.validation for r in records if r.validation is not None]
        training = {"updates": len(records), "epochs": recipe.train.epochs, "loss": records[-1].loss}
        training["validation"] = values
    tuned.model.to(Engine().device)
    card = _card(corpus, store, encoder, drawn)
    results, counts = MEASURE[recipe.task](Subject(corpus, known, store, tuned, recipe, card, head))
    return Point(recipe.task, drawn.n, drawn.seed, drawn.videos, tuple(results), counts, drawn.short, training)


def _card(corpus: Corpus, store, encoder: Encoder, drawn: Draw) -> Card:
    card = setting_of(corpus, "test", store, encoder)
    if not drawn.n:
        return replace(card, rule="zero-shot: no labels", truncation=None)
    taught = {corpus[i].recipe for i in drawn.videos} & {v.recipe for v in corpus.split("test")}
    whose = "of the recipes measured, other videos" if taught else "of other recipes than those measured"
    many = f"{'at most ' if drawn.short else ''}{drawn.n} of each recipe"
    rule = f"fine-tuned on {len(drawn.videos)} labelled videos, {many}, {whose}"
    return replace(card, rule=rule, truncation=None, model=f"fine-tuned from {encoder.digest[:8]}")


# -------------------------------------------------------------------------------------------------------- curves


def curve(points: Sequence[Point], task: str, metric: str) -> list[Result]:
    """One result for zero-shot and for each n, each the mean over its seeds, under names such as `..._5_shot`.

    low and high are the widest ends of the seeds' intervals over videos. extra: `n`, `labelled` (videos, mean over
    seeds), `values` (one a seed, in order), `seeds`, and, but for zero-shot, the `gain` over it, `gain_low` and
    `gain_high`: its 95 % interval over the videos measured, which are the same for both.
    """
    own = [p for p in points if p.task == task]
    start = [p for p in own if p.n == 0]
    if len(start) != 1:
        raise VcworkError(f"{task}: expected one zero-shot point among the points, got {len(start)}")
    return [_mean([p for p in own if p.n == n], start[0], metric) for n in sorted({p.n for p in own})]


def curves(points: Sequence[Point], prefix: str = "") -> dict[str, list[Result]]:
    """`CURVES` of all tasks among the points, by a title that names the metric; results' names begin with `prefix`."""
    there, found = {p.task for p in points}, {}
    for title, (task, metric) in CURVES.items():
        if task in there:
            results = [replace(r, name=prefix + r.name) for r in curve(points, task, metric)]
            found[f"{title}: {metric.removeprefix('texts_')}"] = results
    return found


def silence_table(points: Sequence[Point], seed: int) -> str:
    """What is behind frame accuracy, for one seed: foreground, class mean, the share of seconds called background."""
    rows = []
    for p in points:
        if p.seed in (0, seed) and p.task in ("localization", "segmentation"):
            named = {r.name.removeprefix("texts_"): r for r in p.results}
            shares = [named[m].show() for m in ("frame_accuracy", "foreground_recall", "class_mean_recall")]
            silent = named["frame_accuracy"].extra["predicted_background_share"]
            way = "new head" if p.n and p.task == "segmentation" else "step texts"
            rows.append((f"{p.n} a recipe" if p.n else "none", way, *shares, f"{silent:.0%}"))
    rows = dict.fromkeys(rows)  # zero-shot is the same for both
    return text_table(("labels", "by", "frame accuracy", "foreground recall", "class mean recall", "silent"), [*rows])


def _mean(same: list[Point], start: Point, metric: str) -> Result:
    results, n = [p.result(metric) for p in same], same[0].n
    values = [r.value for r in results]
    extra = {"n": n, "labelled": float(np.mean([len(p.labelled) for p in same])), "values": values}
    extra["seeds"] = [p.seed for p in same] if n else []
    card = results[0].protocol
    if n:
        extra["gain"], extra["gain_low"], extra["gain_high"] = gain(same, start, metric)
        card = card.but(f"mean of {len(same)} seeds, the widest of their intervals")
    known = {name: float(np.mean([r.trivial[name] for r in results])) for name in results[0].trivial}
    return replace(
        results[0], name=f"{same[0].task}_{metric}_{n or 'zero'}_shot", value=float(np.mean(values)),
        low=min(r.low for r in results), high=max(r.high for r in results), protocol=card, trivial=known, extra=extra,
        chance=float(np.mean([r.chance for r in results])),
    )  # fmt: skip


def gain(same: Sequence[Point], start: Point, metric: str) -> tuple[float, float, float]:
    """Mean gain of points of several seeds over `start`, with its 95 % interval when whole videos are drawn again.

    Paired: hard videos are hard for both. It says nothing about other seeds. VcworkError where the metric has no counts
    by video, or the videos differ.
    """
    before, after = start.counts.get(metric), [p.counts.get(metric, {}) for p in same]
    if not before or any(c.keys() != before.keys() for c in after):
        raise VcworkError(f"{start.task}: {metric} has no counts of the same videos to compare")
    groups = sorted({group for _, _, group in before.values()})
    hits, gained, totals = (np.zeros((len(before), len(groups))) for _ in range(3))  # (V, G)
    for i, (video, (hit, total, group)) in enumerate(sorted(before.items())):
        at = i, groups.index(group)
        hits[at], gained[at], totals[at] = hit, np.mean([c[video][0] for c in after]), total
    found = paired_ratios((gained, totals), (hits, totals))
    return found.difference, found.low, found.high


def reading(result: Result) -> str:
    """What a point of a curve shows, in words: is it worth more than knowing nothing, and is the gain clear?"""
    name, score = result.best_trivial
    known = "" if result.value > score + 1e-9 else f"not above {name}"
    if "gain" not in result.extra:
        return known
    if result.extra["gain_low"] > 0:
        clear = "clear gain"
    elif result.extra["gain_high"] < 0:
        clear = "clear loss"
    else:
        clear = "no clear change"
    return f"{clear}, {known}" if known else clear


def curve_table(results: Sequence[Result]) -> str:
    """A curve as text: mean and range over seeds, gain over zero-shot with its 95 % interval over videos, `reading`."""
    rows = []
    for r in results:
        name, score = r.best_trivial
        known = "gain" in r.extra
        values = f"{show(min(r.extra['values']))} .. {show(max(r.extra['values']))}" if known else ""
        gained = points(*(r.extra[key] for key in ("gain", "gain_low", "gain_high"))) if known else ""
        asked = f"{r.extra['n']} a recipe" if known else "none"
        trivials = f"{show(score)} {name}"
        rows.append((asked, f"{r.extra['labelled']:.0f}", r.show(), values, gained, trivials, reading(r)))
    head = ("labels", "videos", "mean", "range over seeds", "gain over zero-shot", "best trivial", "reading")
    return text_table(head, rows)
