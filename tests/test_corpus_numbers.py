"""What truth says of a corpus and of positive pairs, on small corpora whose numbers can be counted by hand."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from checks import refused
from toys import toy_contract

from vcwork.base.errors import VcworkError
from vcwork.base.files import write_json
from vcwork.core.config import OverlapConfig
from vcwork.core.sampling import Pair, Track
from vcwork.data.captions import Caption, write_vtt
from vcwork.data.corpus import Corpus, open_corpus
from vcwork.data.store import write_store
from vcwork.review import corpus_numbers
from vcwork.review.corpus_numbers import describe, mention_offsets
from vcwork.review.judged_pairs import Named, draw, judge, lengths, named, table


def made(folder: Path, ids: str, cues: Iterable, segments: list, seconds: float, **truth) -> Corpus:
    """A corpus of videos alike, without files; cues (start, end, text), segments (start, end, step)."""
    parts, videos = [{"start_s": s, "end_s": e, "step": k, "caption": k} for s, e, k in segments], []
    for id in ids:
        write_vtt(folder / f"captions/{id}.vtt", [Caption(*cue) for cue in cues])
        write_json(folder / f"truth/{id}.json", {"segments": parts, "mentions": [], **truth})
        videos.append({"id": id, "video": None, "captions": f"captions/{id}.vtt", "truth": f"truth/{id}.json",
                       "duration_s": seconds, "split": "train", "recipe": None})  # fmt: skip
    head = {"format": "vcwork-corpus-1", "name": "x", "complete": True, "steps": {"s": "cut", "t": "fry"}}
    write_json(folder / "corpus.json", {**head, "recipes": {}, "videos": videos})
    return open_corpus(folder)


@pytest.fixture
def corpus(tmp_path):
    """One video of 60 s: two steps of 10 and 20 s, three cues of which one repeats a word."""
    cues = [(1, 3, "cut the onion"), (3, 5, "onion and fry"), (30, 33, "that is it")]
    mentions = [{"segment": 1, "start_s": 18.0, "offset_s": -2.0}]
    return made(tmp_path, "a", cues, [(0, 10, "s"), (20, 40, "s")], 60.0, caption_segment=[0, 0, -1], mentions=mentions)


def test_numbers_by_hand(corpus):
    numbers = describe(corpus)
    assert numbers["videos"] == 1 and numbers["minutes a video"] == 1
    assert numbers["captions a video"] == 3 and numbers["words a second"] == pytest.approx(8 / 60)
    assert numbers["repeated words, raw"] == pytest.approx(1 / 9)
    assert numbers["background"] == pytest.approx(0.5) and numbers["seconds a segment"] == 15
    assert numbers["segments a video"] == 2 and numbers["steps mentioned"] == 0.5
    assert numbers["offset of a mention, mean (s)"] == -2 and list(mention_offsets(corpus)) == [-2]


def test_published_figures_have_columns_of_their_own(corpus):
    lines = corpus_numbers.table(corpus).splitlines()
    assert lines[0].split("  ")[-1].strip() == "COIN, published"
    row = next(line for line in lines if line.startswith("background"))
    assert row.split()[1:3] == ["50.0", "%"] and row.rstrip().endswith("58.5 %")


def test_what_a_corpus_cannot_tell_is_a_dash(corpus):
    corpus.meta["second_is"] = "step"
    numbers = describe(corpus)
    assert np.isnan([numbers[k] for k in ("minutes a video", "words a second", "background")]).all()
    assert numbers["segments a video"] == 2 and "minutes a video" in corpus_numbers.table(corpus)


TRACK = Track("a", np.array([0.0, 5.0, 12.0]), np.array([4.0, 9.0, 15.0]), ((1, 2), (3,), (4, 5, 6)), 20)


@pytest.fixture
def world(tmp_path):
    """Two videos of 20 s. Step s fills seconds 0-10, t the last five; cue 0 names s, cue 2 names t."""
    cues = [*zip(TRACK.start_s, TRACK.end_s, ("cut it", "hello there", "fry it now"), strict=True)]
    corpus = made(tmp_path, "ab", cues, [(0, 10, "s"), (15, 20, "t")], 20.0, caption_segment=[0, -1, 1])
    return corpus, write_store(tmp_path / "f", toy_contract(2), {id: np.ones((20, 2)) for id in "ab"})


def pair(video: str, first: int, last: int, start: int, end: int) -> Pair:
    return Pair(video, first, last, [1], float(TRACK.start_s[first]), float(TRACK.end_s[last]), start, end)


def test_draws_take_turns_and_repeat_with_the_seed():
    tracks, rule = [TRACK, replace(TRACK, video_id="b")], OverlapConfig(max_text_tokens=8)
    pairs = draw(tracks, rule, 5, seed=1)
    assert [p.video_id for p in pairs] == list("ababa") and repr(pairs) == repr(draw(tracks, rule, 5, seed=1))
    assert repr(pairs) != repr(draw(tracks, rule, 5, seed=2))


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
    refused("none of 1 texts names a step", named, *world, [pair("a", 1, 1, 0, 5)])


def test_shares_by_hand(world):
    found = named(*world, [pair("a", 0, 0, 8, 12), pair("b", 2, 2, 0, 4)])
    shows, seconds = judge(found, "toy", "by hand")
    assert shows.name == "toy_shows_named_step" and (shows.value, seconds.value) == (0.5, 0.25)
    assert (shows.chance, seconds.chance) == (0.5, 0.5), "b's clip shows what a's text names, not the reverse"
    assert shows.trivial["same video, anywhere"] == pytest.approx((10 / 17 + 5 / 17) / 2), "of 17 places for 4 seconds"


def test_truth_that_is_absent_is_an_error(world):
    corpus, store = world
    write_json(corpus["a"].truth, {"segments": []})
    refused("nobody knows which step", named, corpus, store, [pair("a", 0, 0, 0, 3)])
    with pytest.raises(VcworkError, match="at least two videos"):
        judge(Named([pair("b", 0, 0, 0, 3)], [{"s"}], {"b": np.array(["s"] * 20)}), "x", "y")
