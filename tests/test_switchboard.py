"""The switchboard: every declared switch trains, effects are differences of equal seeds, nothing is done twice."""

import importlib
import json
from types import SimpleNamespace

import numpy as np
import pytest
from checks import refused

import vcwork
from vcwork.base.sealed import read_sealed, write_sealed
from vcwork.data.backbones.image import get_backbone
from vcwork.data.extract import extract
from vcwork.data.lab.make import LabConfig
from vcwork.measure.card import Card
from vcwork.training import switchboard
from vcwork.training.ingredients import INGREDIENTS, SOURCES, configure, disagreements, ingredient
from vcwork.training.switchboard import Run, effects, effects_table, name_of, one_at_a_time, run_all

SWITCHES = [(i.name, c.name) for i in INGREDIENTS for c in i.choices if not c.elsewhere]


@pytest.mark.parametrize(("name", "choice"), SWITCHES)
@pytest.mark.parametrize("size", ["lab", "tiny"])
def test_every_switch_makes_a_training_of_its_own(name, choice, size):
    first = ingredient(name).choices[0].name == choice
    base, changed = configure({}, 0, size), configure({name: choice}, 0, size)
    assert (base == changed) == first, "the paper's choice is the baseline, and every other one changes something"


def test_every_ingredient_begins_with_the_papers_choice_and_names_its_sources():
    for i in INGREDIENTS:
        assert "paper" in i.choices[0].says, i.name
        assert len({c.name for c in i.choices}) == len(i.choices)
        for c in i.choices:
            assert set(c.says) <= set(SOURCES) and (c.says or c.note), (i.name, c.name)


def test_disagreements_are_made_from_the_declaration():
    rows = {row[0]: dict(zip(SOURCES, row[1:], strict=True)) for row in disagreements()}
    assert list(rows["temperature"].items()) == list(zip(SOURCES, ("1.0", "1.0", "0.07", "", ""), strict=True))
    assert rows["scorer"]["document 1"].startswith("cross-attention") and rows["scorer"]["document 3"] == "dot product"
    assert rows["loss"]["code"] == "both, sum" and rows["towers"]["document 2"] == "shared"
    assert "pooling" not in rows, "where all who speak agree there is nothing to show"
    assert "Table 7" not in json.dumps(rows)


def test_what_cannot_be_is_refused():
    for picked, message in (
        ({"colour": "red"}, "expected an ingredient of"),
        ({"batches": "sorted"}, "expected one of"),
        ({"scorer": "cross-attention and a score head"}, "rerank"),
        ({"positives": "best fit", "negatives": "other videos only"}, "leave them out"),
    ):
        refused(message, configure, picked, 0)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("switchboard")
    small = {"train_families": 2, "val_families": 1, "test_families": 1, "train_videos": 2}
    corpus = vcwork.make_corpus(folder / "corpus", LabConfig.named("tiny", 0).model_copy(update=small))
    return corpus, extract(corpus, get_backbone("motion"), folder / "features")


@pytest.fixture
def ablation(root, monkeypatch):
    """The benchmark that reads all that a folder of trainings holds."""
    monkeypatch.syspath_prepend(root / "benchmarks")
    return importlib.import_module("ablation")


def test_runs_are_kept_and_measured(world, ablation, tmp_path, monkeypatch):
    corpus, store = world
    settings = [{}, {"positives": "best fit"}, {"projection": "MLP", "temperature": "learned"}]
    first = run_all(corpus, store, settings, [0], tmp_path, size="tiny", epochs=1)
    assert [r.name for r in first] == ["baseline", "positives: best fit", "projection: MLP, temperature: learned"]
    for run in first:
        assert run.scores.keys() == run.chance.keys() == set(switchboard.METRICS)
        assert run.scores["t2v_R@1"] == pytest.approx(np.mean(run.hits["t2v_R@1"]))
        assert len(run.videos) == len(run.hits["v2t_R@1"]) and run.updates > 0 and run.seconds > 0
        assert len(run.log) == 1 and 0 <= run.log[0]["val_same_choice"] <= 1, "epoch by epoch"
    assert first[2].weights > first[0].weights == first[1].weights

    def never(*_, **__):
        raise AssertionError("trained again")

    monkeypatch.setattr(switchboard, "train", never)
    assert run_all(corpus, store, settings, [0], tmp_path, size="tiny", epochs=1) == first
    with pytest.raises(AssertionError, match="trained again"):
        run_all(corpus, store, [{}], [1], tmp_path, size="tiny", epochs=1)
    assert ablation.stored_runs(tmp_path) == first, "whatever was asked for"
    path = next(tmp_path.glob("*.json"))
    whole = read_sealed(path)
    path.write_text(path.read_text().replace(corpus.name, "another corpus"))
    refused("its own digest", ablation.stored_runs, tmp_path)
    write_sealed(path, whole | {"made_of": whole["made_of"] | {"corpus": "another corpus"}})
    refused("one corpus, got 2", ablation.stored_runs, tmp_path)
    for change, why in (({"format": "x"}, "a result of this switchboard"), ({"run": {}}, "expected another structure")):
        write_sealed(path, whole | change)
        refused(why, run_all, corpus, store, settings, [0], tmp_path, size="tiny", epochs=1)
    assert {row["setting"] for row in ablation.tidy(first)} == {run.name for run in first}
    refused("nothing to compare with", run_all, corpus, store, settings[1:], [0], tmp_path)
    refused("got 0", ablation.stored_runs, tmp_path / "nothing")


def made(setting: dict, seed: int, value: float, hits: list[float] | None = None, seconds: float = 1.0) -> Run:
    scores = dict.fromkeys(switchboard.METRICS, value)
    hits = [value] * 6 if hits is None else hits
    videos = ["a", "a", "b", "b", "c", "c"]
    return Run(setting, seed, scores, {"t2v_R@1": hits}, videos, scores, seconds, 10, 100, [])


def test_effects_are_differences_of_equal_seeds():
    base, gain = [0.50, 0.60, 0.70, 0.40], [0.02, 0.03, 0.04, 0.03]
    change = {"pooling": "[CLS]"}
    runs = [made({}, s, b) for s, b in enumerate(base)]
    runs += [made(change, s, b + g, seconds=2.0) for s, (b, g) in enumerate(zip(base, gain, strict=True))]
    runs.append(made(change, 9, 0.0))  # a seed without a baseline
    (effect,) = effects(runs, "t2v_R@1")
    half = 3.182 * np.std(gain, ddof=1) / 2
    assert effect.difference == pytest.approx(0.03) and effect.high - effect.difference == pytest.approx(half, rel=1e-3)
    assert effect.over == "seeds" and effect.seeds == 4 and effect.clear and effect.seconds == pytest.approx(2.0)
    assert name_of(change) in effects_table([effect]) and "+3.0 points (+1.7 .. +4.3) *" in effects_table([effect])
    noisy = [made(change, seed, value) for seed, value in enumerate((0.7, 0.4, 0.9, 0.3))]
    assert not effects([*runs[:4], *noisy], "t2v_R@1")[0].clear


def test_one_seed_has_an_interval_over_videos_or_none():
    runs = [made({}, 0, 0.5, [1, 0, 1, 0, 1, 0]), made({"pooling": "[CLS]"}, 0, 0.5, [0, 1, 1, 0, 1, 0])]
    (effect,) = effects(runs, "t2v_R@1")
    assert effect.over == "videos" and effect.low <= 0 <= effect.high
    assert effects(runs, "choice_IoU") == [], "nothing is known of its noise"
    refused("metric: expected one of", effects, runs, "loss")


def test_what_is_recorded_is_the_same_however_long_the_trainings_took():
    """A run that was stopped and went on has the numbers of an undisturbed one, byte by byte."""
    steps, videos = np.array(list("abcabc")), np.array(list("aabbcc"))
    clips = SimpleNamespace(labels=[steps, None, videos, None, np.array(["r"] * 6)])
    change, card = {"pooling": "[CLS]"}, Card(split="toy test", model="none", features="none")
    some = [
        [made({}, 0, 0.5, [1, 0, 1, 0, 1, 0]), made(change, 0, 0.5, [0, 1, 1, 0, 1, 0], seconds=took)]
        for took in (1.0, 3.0)
    ]
    first, second = (switchboard.results(runs, clips, {"beside": {}}, card) for runs in some)
    assert first == second and first[1].extra["minus_baseline"]["setting"] == change


def test_settings_are_every_choice_alone():
    settings = one_at_a_time(["pooling", "temperature"])
    assert settings == [{}, {"pooling": "[CLS]"}, {"temperature": "0.07"}, {"temperature": "learned"}]
    assert len(one_at_a_time()) == 1 + len(SWITCHES) - len({i for i, _ in SWITCHES})
