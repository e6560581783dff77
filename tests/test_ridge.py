"""Ridge as a probe and as a rival: what is linearly there, and what a model is ahead of it."""

from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest
from checks import refused

from vcwork.data.backbones.motion import MotionBackbone
from vcwork.data.corpus import Corpus, Segment, Video
from vcwork.review.baselines import RidgeForm
from vcwork.review.linear_probe import OneFrame, StepSeconds, fitted, probe, some_videos, step_seconds
from vcwork.review.rivals import ClipRidge, beside_ridge, cross_validated, gains_table, whole_video_results
from vcwork.tasks import retrieval
from vcwork.tasks.cases import setting_of
from vcwork.training.run import new_encoder
from vcwork.training.workspace import tiny_recipe

RNG = np.random.default_rng(0)


def test_ridge_finds_what_is_there_and_nothing_else():
    labels = RNG.integers(0, 3, 300)
    there = np.eye(3)[labels] + 0.1 * RNG.normal(size=(300, 3))
    absent = RNG.normal(size=(300, 3))
    assert fitted(there[:200], labels[:200], 1.0).score(there[200:], labels[200:]) == 1
    assert 0.15 < fitted(absent[:200], labels[:200], 1.0).score(absent[200:], labels[200:]) < 0.55


def test_probe_results_carry_chance_and_the_most_frequent_label():
    labels = {"action": np.array(["chop"] * 6 + ["stir"] * 2)}
    seconds = StepSeconds(np.eye(8), labels, np.array(["a", "b"] * 4))
    result = probe(seconds, seconds, "second", "toy")[0]
    assert result.name == "second_action" and result.chance == 0.5 and result.trivial == {"most frequent": 0.75}
    assert "8 seconds of 2 videos" in result.protocol.rule


def test_one_frame_cannot_tell_directions_of_motion():
    frames = np.full((10, 64, 64, 3), 90, np.uint8)
    for i in range(10):
        frames[i, 30:36, 4 + 5 * i : 12 + 5 * i] = 240
    frames[9] = frames[5]  # the middle frame of both directions is the same
    motion, still = MotionBackbone(), OneFrame(MotionBackbone())
    there, back = frames[:9], frames[:9][::-1]
    assert still.width == motion.width and still.name != motion.name
    assert not np.allclose(motion(there), motion(back), atol=1e-3)
    assert np.array_equal(still(there), still(back))


def corpus() -> Corpus:
    videos = {
        id: Video(id, None, None, 10.0, split, segments=(Segment(1.5, 4.0, "chop.egg.knife"), Segment(6, 7, "other")))
        for id, split in (("a", "train"), ("b", "train"), ("c", "train"), ("d", "val"))
    }
    parts = {"chop.egg.knife": {"action": "chop", "thing": "egg", "tool": "knife"}}
    return Corpus(None, "toy", videos, meta={"step_parts": parts})


class Store(dict):
    lengths: ClassVar = {"a": 10, "b": 3}


def test_only_seconds_wholly_inside_a_known_step_count():
    store = Store({id: np.arange(10)[:, None].astype(np.float16) for id in Store.lengths})
    found = step_seconds(corpus(), store, "train")
    assert found.features[:, 0].tolist() == [2, 3, 2] and found.videos.tolist() == ["a", "a", "b"]
    assert set(found.labels["object"]) == {"egg"}
    refused("no val second", step_seconds, corpus(), store, "val")


def test_some_videos_are_spread_evenly():
    assert list(some_videos(corpus(), ("train", "val"), 2).videos) == ["a", "c", "d"]
    assert len(corpus().videos) == 4


@pytest.fixture(scope="module")
def stage(ws, clips):
    """Workspace, clips of test, their card, and ridge fitted on train."""
    return ws, clips, setting_of(ws.corpus, "test", ws.store), ClipRidge(ws.corpus, ws.store)


def test_ridge_takes_the_form_best_in_cross_validation_inside_train(stage):
    *_, ridge = stage
    assert len(ridge.tried) == len({form for form, *_ in ridge.tried}) > 1 and ridge.form == ridge.tried[0][0]
    means = [r10 + within for _, r10, within in ridge.tried]
    assert means == sorted(means, reverse=True) and means[0] > means[-1]


def test_meaning_is_chosen_where_words_say_nothing(stage):
    """Sentences that share no word in two videos, and an encoder that knows what they show."""
    train = stage[3].clips
    told = {f"word{i:04d}": f.mean(0) for i, f in enumerate(train.features)}  # the picture itself
    clips = replace(train, sentences=[f"{word} the thing" for word in told])
    encode = lambda sentences: np.stack([told[s.split()[0]] for s in sentences])  # noqa: E731
    [(form, *_), *_] = cross_validated(clips, np.stack([*told.values()]), encode)
    assert form.meaning > 0
    few = train.some(np.isin(train.videos, np.unique(train.videos)[:3]))
    assert cross_validated(few, np.stack([f.mean(0) for f in few.features]))[0][0] == RidgeForm()


@pytest.mark.parametrize("model", ["ridge itself", "perfect"])
def test_what_a_model_is_ahead_of_ridge(stage, model):
    _, clips, card, ridge = stage
    scores = ridge.score(clips) if model == "ridge itself" else clips.same.astype(float)
    results = retrieval.evaluate(scores, *clips.labels, setting=card)
    theirs = {r.name: r for r in beside_ridge(ridge, clips, scores, results, {}, card)}
    assert {"ridge_t2v_R@1", "ridge_v2t_MdR"} <= theirs.keys() and "ridge_t2v_instance_R@1" not in theirs
    named = {r.name: r for r in results}
    for name in ("t2v_R@1", "t2v_R@10", "t2v_within_video_R@1"):
        gain = named[name].extra["minus_ridge"]
        assert gain["difference"] == pytest.approx(named[name].value - theirs[f"ridge_{name}"].value)
    ahead = named["t2v_R@1"].extra["minus_ridge"]
    assert (ahead["low"] > 0 and ahead["randomisation_p"] < 0.05) == (model == "perfect")
    assert gains_table(results).count("ridge") == 3


def test_a_video_read_as_a_whole_stands_beside_what_knows_the_order(stage):
    ws, clips, card, ridge = stage
    encoder = new_encoder(ws.corpus, ws.store, tiny_recipe())
    encoder.model.eval()  # with dropout no two readings are alike
    [alone] = whole_video_results(encoder, ws.store, clips, {}, card)
    ours, *theirs = whole_video_results(encoder, ws.store, clips, {}, card, ridge)
    assert alone.value == ours.value and not alone.extra.keys() & {"minus_ridge"}
    assert [r.name.removesuffix("_whole_video_R@1") for r in theirs] == ["ridge", "ridge_order", "order_alone"]
    for other in theirs:
        behind = ours.extra[f"minus_{other.name.removesuffix('_whole_video_R@1')}"]["difference"]
        assert behind == pytest.approx(ours.value - other.value), other.name
    assert "order from the words alone" in ours.trivial
