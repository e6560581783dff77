"""A corpus in numbers, on one small corpus whose numbers can be counted by hand."""

import numpy as np
import pytest

from vcwork.base.files import write_json
from vcwork.data.captions import Caption, write_vtt
from vcwork.data.corpus import open_corpus
from vcwork.review.corpus_numbers import describe, mention_offsets, table


@pytest.fixture
def folder(tmp_path):
    """One video of 60 s: two steps of 10 and 20 s, three cues of which one repeats a word."""
    cues = [Caption(1, 3, "cut the onion"), Caption(3, 5, "onion and fry"), Caption(30, 33, "that is it")]
    write_vtt(tmp_path / "captions/a.vtt", cues)
    segments = [{"start_s": s, "end_s": e, "step": "s", "caption": "cut"} for s, e in ((0, 10), (20, 40))]
    mentions = [{"segment": 1, "start_s": 18.0, "offset_s": -2.0}, {"segment": 0, "start_s": 1.0, "offset_s": 1.0}]
    write_json(
        tmp_path / "truth/a.json", {"segments": segments, "caption_segment": [0, 0, -1], "mentions": mentions[:1]}
    )
    entry = {"id": "a", "video": None, "captions": "captions/a.vtt", "truth": "truth/a.json", "duration_s": 60.0}
    corpus = {"format": "vcwork-corpus-1", "name": "x", "complete": True, "steps": {"s": "cut"}, "recipes": {}}
    write_json(tmp_path / "corpus.json", corpus | {"videos": [{**entry, "split": "train", "recipe": None}]})
    return tmp_path


def test_numbers_by_hand(folder):
    numbers = describe(open_corpus(folder))
    assert numbers["videos"] == 1 and numbers["minutes a video"] == 1
    assert numbers["captions a video"] == 3 and numbers["words a second"] == pytest.approx(8 / 60)
    assert numbers["repeated words, raw"] == pytest.approx(1 / 9)
    assert numbers["background"] == pytest.approx(0.5) and numbers["seconds a segment"] == 15
    assert numbers["segments a video"] == 2 and numbers["steps mentioned"] == 0.5
    assert numbers["offset of a mention, mean (s)"] == -2 and list(mention_offsets(open_corpus(folder))) == [-2]


def test_published_figures_have_columns_of_their_own(folder):
    lines = table(open_corpus(folder)).splitlines()
    assert lines[0].split("  ")[-1].strip() == "COIN, published"
    row = next(line for line in lines if line.startswith("background"))
    assert row.split()[1:3] == ["50.0", "%"] and row.rstrip().endswith("58.5 %")


def test_what_a_corpus_cannot_tell_is_a_dash(folder):
    corpus = open_corpus(folder)
    corpus.meta["second_is"] = "step"
    numbers = describe(corpus)
    assert np.isnan([numbers[k] for k in ("minutes a video", "words a second", "background")]).all()
    assert numbers["segments a video"] == 2 and "minutes a video" in table(corpus)
