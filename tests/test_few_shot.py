"""Few-shot curves: who is labelled, that nobody else's truth is seen, that points come back, and that labels help."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from checks import refused
from toys import recipe_video, toy_contract, toy_encoder

from vcwork.base.errors import VcworkError
from vcwork.base.sealed import read_sealed, write_sealed
from vcwork.core.text import SPECIAL, Tokenizer
from vcwork.data.corpus import Corpus, Recipe
from vcwork.data.store import FeatureStore, write_store
from vcwork.encoders.checkpoint import save_encoder
from vcwork.encoders.encoder import Encoder
from vcwork.measure.card import Card
from vcwork.measure.metrics import recall_at_k
from vcwork.measure.result import Result
from vcwork.panels import plots
from vcwork.panels.plots import draw_curve
from vcwork.tasks.cases import annotated_clips, clip_scores
from vcwork.tasks.segmentation import segment
from vcwork.training import few_shot
from vcwork.training.few_shot import few_shot_points
from vcwork.training.few_shot_tasks import Subject, head_scores, measure_localization, seconds_by_text
from vcwork.training.finetune import FinetuneRecipe
from vcwork.training.segmentation_head import TokenClassifier, predict_labels
from vcwork.training.step_scorer import StepVideo, step_scores

WIDTH, THEMES = 12, 9
RECIPES = {"soup": (1, 2, 3, 4), "cake": (5, 6, 7, 8)}
TRAIN = {"soup": 8, "cake": 3}  # annotated train videos of each
FAST = {"lr": 3e-3, "warmup": 5, "decay_updates": 0, "adam": "torch", "stride": 4, "test_stride": 4}


def recipe(task: str, **more) -> FinetuneRecipe:
    return FinetuneRecipe(task=task, **{**FAST, "batch_size": 16 if task == "retrieval" else 4, **more})


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[Corpus, FeatureStore, Encoder]:
    """Two recipes with 8 and 3 annotated train videos, one train video nobody annotated, and an untrained encoder."""
    folder, rng, made = tmp_path_factory.mktemp("world"), np.random.default_rng(0), {}
    for split, counts in {"train": TRAIN, "val": dict.fromkeys(RECIPES, 3), "test": dict.fromkeys(RECIPES, 6)}.items():
        for r, n in counts.items():
            names = [f"{split}-{r}{i}" for i in range(n)]
            made |= {name: recipe_video(name, split, r, RECIPES[r], WIDTH, rng, 4) for name in names}
    bare, features = recipe_video("train-bare", "train", "soup", RECIPES["soup"], WIDTH, rng, 4)
    made["train-bare"] = (replace(bare, segments=()), features)
    steps = {f"s{k}": f"do w{k}" for k in range(1, THEMES)}
    recipes = {r: Recipe(r, r, tuple(f"s{k}" for k in ks)) for r, ks in RECIPES.items()}
    corpus = Corpus(folder, "toy", {i: v for i, (v, _) in made.items()}, steps, recipes)
    store = write_store(folder / "features", toy_contract(WIDTH), {i: f for i, (_, f) in made.items()})
    tokenizer = Tokenizer([*SPECIAL, *(f"w{i}" for i in range(THEMES)), "do"])
    return corpus, store, save_encoder(folder / "checkpoint", toy_encoder(tokenizer, WIDTH))


# ------------------------------------------------------------------------------------------------ which labels


def test_draws_are_nested_and_of_train_alone(world):
    corpus, store, _ = world
    for seed in range(20):
        draws = [set(few_shot.draw(corpus, store, n, seed).videos) for n in (0, 1, 2, 5, 30)]
        assert [len(d) for d in draws] == [0, 2, 4, 5 + 3, 8 + 3]
        assert all(a <= b for a, b in pairwise(draws)), "the 5 contain the 1"
        labelled = [corpus[i] for i in draws[-1]]
        assert {v.split for v in labelled} == {"train"} and all(v.segments for v in labelled)
    ones = [few_shot.draw(corpus, store, 1, seed).videos for seed in range(20)]
    assert ones[0] == few_shot.draw(corpus, store, 1, 0).videos and len(set(ones)) > 5, "another seed draws others"
    own = {recipe: {i for ids in ones for i in ids if recipe in i} for recipe in RECIPES}
    assert len(own["soup"]) > 4 and len(own["cake"]) == 3, "every video has its chance"


def test_what_is_not_there_is_counted(world):
    corpus, store, _ = world
    assert few_shot.draw(corpus, store, 1, 0).short == {}
    assert few_shot.draw(corpus, store, 5, 0).short == {"cake": 3}
    assert few_shot.draw(corpus, store, 30, 0).short == {"cake": 3, "soup": 8}
    assert few_shot.distinct_shots(corpus, store, [30, 1, 5, 5, 100, 0]) == ([1, 5, 30], {100: 30})
    assert few_shot.distinct_shots(corpus, store, [8, 9]) == ([8], {9: 8})


@pytest.mark.parametrize("shots", [[-1], [1.5], [True], ["1"], []])
def test_shots_are_counts(world, shots):
    refused("shots: expected", few_shot.distinct_shots, *world[:2], shots)


def test_only_the_labelled_truth_is_left(world):
    corpus, store, _ = world
    labelled = few_shot.draw(corpus, store, 2, 0).videos
    for val in (True, False):
        known = few_shot.only_labelled(corpus, labelled, val)
        seen = {v.id for v in known.videos.values() if v.segments}
        assert seen == {*labelled, *(v.id for v in corpus.split("val") if val)}
        assert list(known.videos) == list(corpus.videos), "the videos are still there, unlabelled"
    assert all(v.segments for v in corpus.split("test")), "the corpus itself is left as it was"
    with pytest.raises(VcworkError, match="only train videos may be labelled, got test-cake0, val-soup1"):
        few_shot.only_labelled(corpus, [*labelled, "val-soup1", "test-cake0"])


def test_a_fine_tuning_is_given_no_truth_but_the_labels(world, tmp_path, monkeypatch):
    given = []
    real = few_shot.tuning_of
    monkeypatch.setattr(few_shot, "tuning_of", lambda corpus, *more: given.append(corpus) or real(corpus, *more))
    corpus, store, encoder = world
    for keep in ("last", "best"):
        one = [recipe("localization", keep=keep)]
        points = few_shot_points(corpus, store, encoder, one, [1], [3], tmp_path, updates=1)
        truth = {v.id: v.split for v in given[-1].videos.values() if v.segments}
        assert set(truth.values()) == ({"train", "val"} if keep == "best" else {"train"})
        assert {i for i, split in truth.items() if split == "train"} == set(points[1].labelled)
    assert points[1].training["validation"], "keep best validates"


def test_own_tasks_deals_every_recipe_anew(world):
    corpus, store, _ = world
    dealt = few_shot.own_tasks(corpus, store)
    for r in RECIPES:
        assert [sum(v.recipe == r for v in dealt.split(s)) for s in ("train", "val", "test")] == [3, 3, 3]
    assert {v.id for s in ("train", "test") for v in dealt.split(s)} == {v.id for v in corpus.split("test")}
    assert list(dealt.videos) == list(few_shot.own_tasks(corpus, store).videos) and dealt.name != corpus.name
    odd = few_shot.own_tasks(corpus, store, "train")  # 8 and 3
    assert [len(odd.split(s)) for s in ("train", "test")] == [4 + 1, 4 + 2], "the smaller half is labelled"
    single = replace(corpus, videos={i: v for i, v in corpus.videos.items() if v.split != "test" or i.endswith("0")})
    refused("no test recipe has two annotated videos", few_shot.own_tasks, single, store)


# --------------------------------------------------------------------------------------------------- the points


def test_points_come_back_and_go_on(world, tmp_path):
    corpus, store, encoder = world
    recipes = [recipe(task) for task in ("retrieval", "localization", "segmentation")]
    before = {k: v.clone() for k, v in encoder.model.state_dict().items()}
    first = few_shot_points(corpus, store, encoder, recipes, [1, 2], [0, 1], tmp_path, updates=6)
    assert all(torch.equal(v, before[k]) for k, v in encoder.model.state_dict().items()), "the checkpoint is a start"
    files = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    assert len(files) == len(first) == 3 * (1 + 2 * 2) and not any(name.startswith(".") for name in files)
    for path in sorted(tmp_path.iterdir())[::2]:  # as if it had been interrupted
        path.unlink()
    again = few_shot_points(corpus, store, encoder, recipes, [1, 2], [0, 1], tmp_path, updates=6)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == files, "the same bytes"
    assert again == first
    few_shot_points(corpus, store, encoder, [recipe("retrieval", lr=1e-3)], [1], [0], tmp_path, updates=6)
    assert len(list(tmp_path.iterdir())) == len(files) + 2, "another recipe is another point"
    fewer = replace(corpus, videos={**corpus.videos, "test-soup0": replace(corpus["test-soup0"], segments=())})
    few_shot_points(fewer, store, encoder, [recipe("retrieval")], [1], [0], tmp_path, updates=6)
    assert len(list(tmp_path.iterdir())) == len(files) + 4, "other annotations are another point"


def test_a_point_that_was_changed_is_not_believed(world, tmp_path, capsys):
    corpus, store, encoder = world

    def points():
        return few_shot_points(corpus, store, encoder, [recipe("retrieval")], [1], [0], tmp_path, updates=6)

    first = points()
    path = next(tmp_path.glob("retrieval-zero-shot-*"))
    whole, stored = path.read_bytes(), read_sealed(path)
    path.write_text(path.read_text().replace('"n": 0', '"n": 8'))
    assert points() == first and path.read_bytes() == whole, "measured again"
    assert "its own digest" in capsys.readouterr().err
    write_sealed(path, stored | {"key": stored["key"] | {"model": "another"}})
    assert points() == first and path.read_bytes() == whole, "that of another checkpoint as well"
    write_sealed(path, stored | {"value": {name: told for name, told in stored["value"].items() if name != "n"}})
    refused("expected another structure", points)


def test_every_n_that_has_videos_gets_the_updates_asked_for_once(world, tmp_path):
    corpus, store, encoder = world
    points = few_shot_points(corpus, store, encoder, [recipe("segmentation")], [1, 8, 30], [0], tmp_path, updates=9)
    assert [p.n for p in points] == [0, 1, 8] and points[2].short == {"cake": 3}
    assert "at most 8 of each recipe" in points[2].result("frame_accuracy").protocol.rule
    did = {p.n: (p.training["epochs"], p.training["updates"]) for p in points if p.n}
    assert did == {1: (9, 9), 8: (3, 9)}, "2 videos are one batch of 4, 11 are three"


@pytest.mark.parametrize("task", ["retrieval", "localization", "segmentation"])
def test_labels_help_and_more_labels_help_more(world, tmp_path, task):
    corpus, store, encoder = world
    points = few_shot_points(corpus, store, encoder, [recipe(task)], [1, 8], [0, 1, 2], tmp_path, updates=30)
    metric = {t: m for t, m in few_shot.CURVES.values() if not m.startswith("texts")}[task]
    zero, one, all_ = few_shot.curve(points, task, metric)
    floor = max(zero.value, all_.best_trivial[1])
    assert all_.value > floor + 0.1 and all_.value > one.value + 0.02, (zero.value, one.value, all_.value)
    assert all_.extra["gain"] == pytest.approx(all_.value - zero.value) and all_.extra["gain_low"] > 0
    assert (one.extra["labelled"], all_.extra["labelled"]) == (2, 11) and all_.extra["seeds"] == [0, 1, 2]
    values = [p.result(metric).value for p in points if p.n == 8]
    assert all_.extra["values"] == values and all_.value == pytest.approx(np.mean(values))
    assert all_.low <= min(values) and max(values) <= all_.high
    assert "recipes measured, other videos" in all_.protocol.rule and "no labels" in zero.protocol.rule
    assert [r.name for r in (zero, one)] == [f"{task}_{metric}_zero_shot", f"{task}_{metric}_1_shot"]


def test_labels_of_other_recipes_are_said_to_be_that(world, tmp_path):
    corpus, store, encoder = world
    kept = {i: v for i, v in corpus.videos.items() if v.split != "train" or v.recipe == "soup"}
    soups = {i: replace(v, split="val") for i, v in corpus.videos.items() if i.startswith("test-soup")}
    unseen = replace(corpus, videos=kept | soups)
    points = few_shot_points(unseen, store, encoder, [recipe("segmentation")], [8], [0], tmp_path, updates=20)
    result = points[1].result("frame_accuracy")
    assert "of other recipes than those measured" in result.protocol.rule
    assert "a head of 4 labelled steps, 0 of the 4 steps measured" in result.protocol.rule
    assert points[1].result("foreground_recall").value == 0, "a head cannot say a step that it has no class for"


# ----------------------------------------------------------------------------------------------------- measuring


def test_zero_shot_is_the_checkpoint_measured_by_hand(world, tmp_path):
    corpus, store, encoder = world
    recipes = [recipe(task) for task in ("retrieval", "localization", "segmentation")]
    points = few_shot_points(corpus, store, encoder, recipes, [1], [0], tmp_path, updates=1)
    zero = {p.task: p for p in points if p.n == 0}
    clips = annotated_clips(corpus, store, "test")
    by_hand = recall_at_k(clip_scores(encoder, clips), 1, clips.steps[:, None] == clips.steps)
    assert zero["retrieval"].result("t2v_R@1").value == pytest.approx(by_hand)
    video = corpus.split("test")[0]
    steps = corpus.recipes[video.recipe].steps
    seconds = seconds_by_text(Subject(corpus, corpus, store, encoder, recipe("localization"), Card()), "test")
    asked = StepVideo(video.id, store[video.id], [corpus.steps[s] for s in steps], [])
    (expected,) = step_scores(encoder, [asked], recipe("localization"))
    np.testing.assert_allclose(seconds.scores[0][:, [seconds.steps.index(s) for s in steps]], expected, atol=1e-4)
    for task, point in zero.items():
        for metric, counts in point.counts.items():
            groups = {g for _, _, g in counts.values()}
            sums = [np.sum([(h, t) for h, t, own in counts.values() if own == g], axis=0) for g in groups]
            assert point.result(metric).value == pytest.approx(np.mean([h / t for h, t in sums])), (task, metric)
    texts = zero["localization"].result("texts_frame_accuracy")
    assert texts.value == zero["segmentation"].result("frame_accuracy").value, "without labels there is no head"
    assert "gamma chosen on val" in texts.protocol.rule
    refused("no metric 'R@2' among t2v_R@1", zero["retrieval"].result, "R@2")


def test_without_val_gamma_is_the_papers(world):
    corpus, store, encoder = world
    bare = replace(corpus, videos={i: v for i, v in corpus.videos.items() if v.split != "val"})
    blind = few_shot.only_labelled(bare, ())
    who = Subject(bare, blind, store, encoder, recipe("localization"), Card(split="toy test"))
    results, _ = measure_localization(who)
    rules = {r.name: r.protocol.rule for r in results}
    assert "gamma by the paper's rule" in rules["texts_frame_accuracy"]
    assert not any("linear in time" in r.trivial for r in results), "no labels, nothing to fit a line to"


def test_a_head_says_what_its_argmax_says(world):
    _, store, encoder = world
    torch.manual_seed(0)
    classifier, features = TokenClassifier(encoder.model, 3).eval(), store["test-soup0"]
    names, steps = ["", "s7", "s2"], ["s1", "s2", "s7"]
    (scores,) = head_scores(classifier, names, steps, [features], recipe("segmentation"))
    (labels,) = predict_labels(classifier, [features], recipe("segmentation"))
    assert len(set(labels)) > 1
    assert segment(scores, 0.0).tolist() == [0 if k == 0 else 1 + steps.index(names[k]) for k in labels]


def test_the_gain_is_paired_over_videos(world, tmp_path):
    corpus, store, encoder = world
    start, *_ = few_shot_points(corpus, store, encoder, [recipe("retrieval")], [1], [0], tmp_path, 1)
    counts = {f"v{i}": [i % 3, 3, ""] for i in range(12)}
    start = replace(start, counts={"t2v_R@1": counts})
    more = [{v: [h + k, t, g] for v, (h, t, g) in counts.items()} for k in (0, 1)]
    better = [replace(start, n=1, counts={"t2v_R@1": counted}) for counted in more]
    found = few_shot.gain(better, start, "t2v_R@1")
    assert found == pytest.approx((1 / 6, 1 / 6, 1 / 6)), "one of six, in every video: no doubt about it"
    assert few_shot.gain([start], start, "t2v_R@1") == (0, 0, 0)
    refused("no counts of the same videos", few_shot.gain, [replace(start, counts={})], start, "t2v_R@1")
    refused("expected one zero-shot point among the points, got 0", few_shot.curve, better, "retrieval", "t2v_R@1")


def shown(value: float, n: int, ends: tuple[float, float] | None, trivial: float) -> Result:
    """A point of a curve, as `curve` makes it."""
    extra = {"n": n, "labelled": 2.0 * n, "values": [value - 0.1, value + 0.1] if n else [value]}
    if ends:
        extra |= {"gain": sum(ends) / 2, "gain_low": ends[0], "gain_high": ends[1]}
    return Result(f"r_{n}", value, 0.0, 1.0, 0.05, Card(split="toy"), 9, {"uniform": trivial}, extra=extra)


def test_a_curve_is_read_and_drawn():
    points = [shown(0.3, 0, None, 0.2), shown(0.5, 1, (0.1, 0.3), 0.2), shown(0.3, 5, (-0.1, 0.1), 0.4)]
    assert list(map(few_shot.reading, points)) == ["", "clear gain", "no clear change, not above uniform"]
    assert few_shot.reading(shown(0.1, 5, (-0.2, -0.1), 0.1)) == "clear loss, not above uniform", "as good is not above"
    lines = few_shot.curve_table(points).splitlines()
    assert lines[3].split("  ")[0] == "1 a recipe" and "40.0 % .. 60.0 %" in lines[3]
    assert "+20.0 points (+10.0 .. +30.0)" in lines[3] and "40.0 % uniform" in lines[4]
    fig, ax = plots.figure()
    draw_curve(ax, points, "toy")
    by_name = {line.get_label(): line.get_ydata() for line in ax.lines}
    np.testing.assert_allclose(by_name["mean over seeds"], [30, 50, 30])
    assert by_name["zero-shot = 30"][0] == 30 and by_name["uniform = 40"][0] == pytest.approx(40), "the best of all"
    assert ax.collections[0].get_datalim(ax.transData).ymax == pytest.approx(60), "the range is drawn"
    assert [t.get_text() for t in ax.get_xticklabels()] == ["none", "1 a recipe\n(2)", "5 a recipe\n(10)"]
    plt.close(fig)


def test_what_cannot_be_asked_for(world, tmp_path):
    corpus, store, encoder = world
    one = recipe("retrieval")

    def ask(corpus=corpus, encoder=encoder, recipes=(one,), shots=(1,), seeds=(0,), **more):
        few_shot_points(corpus, store, encoder, recipes, shots, seeds, tmp_path, **more)

    refused("task: expected one of .*, got 'videoqa'", ask, recipes=[one, FinetuneRecipe(task="videoqa")])
    refused("numbers of videos from 0, got -5", ask, shots=(1, -5))
    refused("at least one seed", ask, seeds=())
    refused("updates from 1", ask, updates=0)
    refused("expected a saved checkpoint", ask, encoder=replace(encoder, digest="unsaved"))
    bare = replace(corpus, videos={i: v for i, v in corpus.videos.items() if v.split != "train" or not v.segments})
    refused("no train video has a recipe and annotated segments", ask, corpus=bare)
    assert not list(Path(tmp_path).iterdir()), "nothing was begun"
