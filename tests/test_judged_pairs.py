"""What truth says of positive pairs, by hand on one small corpus."""

import numpy as np
import pytest

from vcwork.base.errors import VcworkError
from vcwork.base.files import write_json
from vcwork.core.config import OverlapConfig
from vcwork.core.sampling import Pair, Track
from vcwork.data.captions import Caption, write_vtt
from vcwork.data.corpus import open_corpus
from vcwork.data.store import Contract, write_store
from vcwork.review.judged_pairs import Named, draw, judge, lengths, named, table

TRACK = Track("a", np.array([0.0, 5.0, 12.0]), np.array([4.0, 9.0, 15.0]), ((1, 2), (3,), (4, 5, 6)), 20)


@pytest.fixture
def world(tmp_path):
    """Two videos of 20 s. Step s fills seconds 0-10, t the last five; cue 0 names s, cue 2 names t."""
    for id in "ab":
        cues = zip(TRACK.start_s, TRACK.end_s, ("cut it", "hello there", "fry it now"), strict=True)
        write_vtt(tmp_path / f"captions/{id}.vtt", [Caption(*cue) for cue in cues])
        segments = [{"start_s": s, "end_s": e, "step": k, "caption": k} for s, e, k in ((0, 10, "s"), (15, 20, "t"))]
        truth = {"segments": segments, "mentions": [], "caption_segment": [0, -1, 1]}
        write_json(tmp_path / f"truth/{id}.json", truth)
    videos = [
        {"id": id, "video": None, "captions": f"captions/{id}.vtt", "truth": f"truth/{id}.json", "duration_s": 20.0}
        | {"split": "train", "recipe": None}
        for id in "ab"
    ]
    head = {"format": "vcwork-corpus-1", "name": "x", "complete": True, "steps": {"s": "cut", "t": "fry"}}
    write_json(tmp_path / "corpus.json", {**head, "recipes": {}, "videos": videos})
    store = write_store(tmp_path / "f", Contract("b", "none", 1, 1, "", 2), {id: np.ones((20, 2)) for id in "ab"})
    return open_corpus(tmp_path), store


def pair(video: str, first: int, last: int, start: int, end: int) -> Pair:
    return Pair(video, first, last, [1], float(TRACK.start_s[first]), float(TRACK.end_s[last]), start, end)


def test_draws_take_turns_and_repeat_with_the_seed():
    tracks, rule = [TRACK, Track("b", *list(vars(TRACK).values())[1:])], OverlapConfig(max_text_tokens=8)
    pairs = draw(tracks, rule, 5, seed=1)
    assert [p.video_id for p in pairs] == list("ababa") and pairs == draw(tracks, rule, 5, seed=1)
    assert pairs != draw(tracks, rule, 5, seed=2)


def test_lengths_by_hand():
    found = lengths([pair("a", 0, 1, 3, 12)])
    assert {k: v.tolist() for k, v in found.items()} == {
        "tokens": [1], "text_s": [9], "video_s": [9], "iou": [0.5], "inside": [pytest.approx(6 / 9)]
    }  # fmt: skip
    row = table({"own": [pair("a", 0, 1, 3, 12)]}).splitlines()[5]
    assert row.split("  ")[0] == "IoU of their times" and row.split()[-2:] == ["0.50", "0.45"]


def test_texts_that_name_nothing_are_left_out(world):
    found = named(*world, [pair("a", 1, 1, 0, 5), pair("a", 0, 2, 8, 18)])
    assert found.steps == [{"s", "t"}] and len(found.pairs) == 1
    assert found.showing(found.pairs[0], {"s"}).tolist() == [True] * 10 + [False] * 10
    with pytest.raises(VcworkError, match="none of 1 texts names a step"):
        named(*world, [pair("a", 1, 1, 0, 5)])


def test_shares_by_hand(world):
    found = named(*world, [pair("a", 0, 0, 8, 12), pair("b", 2, 2, 0, 4)])
    shows, seconds = judge(found, "toy", "by hand")
    assert shows.name == "toy_shows_named_step" and (shows.value, seconds.value) == (0.5, 0.25)
    assert (shows.chance, seconds.chance) == (0.5, 0.5), "b's clip shows what a's text names, not the reverse"
    assert shows.trivial["same video, anywhere"] == pytest.approx((10 / 17 + 5 / 17) / 2), "of 17 places for 4 seconds"


def test_truth_that_is_absent_is_an_error(world):
    corpus, store = world
    write_json(corpus["a"].truth, {"segments": []})
    with pytest.raises(VcworkError, match="nobody knows which step"):
        named(corpus, store, [pair("a", 0, 0, 0, 3)])
    with pytest.raises(VcworkError, match="at least two videos"):
        judge(Named([pair("b", 0, 0, 0, 3)], [{"s"}], {"b": np.array(["s"] * 20)}), "x", "y")
