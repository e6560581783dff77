"""The alignment panel opened at a sentence: the best second of all videos, its truth where it is known."""

import numpy as np
import pytest

from vcwork.base.errors import VcworkError
from vcwork.encoders.encode import encode_seconds, encode_text
from vcwork.panels.make_alignment import explore_query
from vcwork.search.library import build_library
from vcwork.training.workspace import prepare


@pytest.fixture(scope="module")
def world():
    ws = prepare()
    held = {v.id: ws.store[v.id] for v in ws.corpus.split("test")}
    return ws, held, build_library(ws.encoder, held, per="second")


def test_it_opens_at_the_best_second_of_all_videos(world):
    ws, held, library = world
    for video in list(held)[:4]:
        step = ws.corpus[video].segments[0].step
        sentence = ws.corpus.steps[step]
        panel = explore_query(ws.corpus, ws.store, ws.encoder, f"  {sentence} ", library)
        text = encode_text(ws.encoder, [sentence])[0]
        curves = {v: encode_seconds(ws.encoder, held[v]) @ text for v in held}
        best = max(curves, key=lambda v: curves[v].max())
        assert panel.title == best and panel.rows[0].text == sentence
        np.testing.assert_allclose(panel.scores[0], curves[best], rtol=1e-4, atol=1e-4)
        spans = [(s.start_s, s.end_s) for s in ws.corpus[best].segments if s.step == step]
        assert list(panel.rows[0].truth) == spans
        assert [row.text for row in panel.rows].count(sentence) == 1
        assert panel.panel()["first"] == 0
        answer = panel.update(sentence)
        assert answer["row"] == 0 and answer["elsewhere"][0]["video"] == best


def test_other_sentences_and_what_cannot_be_asked(world):
    ws, held, library = world
    panel = explore_query(ws.corpus, ws.store, ws.encoder, "Open the window", library)
    assert panel.rows[0].truth == () and any(row.truth for row in panel.rows) and panel.panel()["first"] == 0
    assert any("does not show what was asked for" in note for note in panel.notes)
    with pytest.raises(VcworkError, match="expected a sentence"):
        explore_query(ws.corpus, ws.store, ws.encoder, "  ", library)
    windows = build_library(ws.encoder, held, per="window", window_s=8)
    with pytest.raises(VcworkError, match="one vector a second"):
        explore_query(ws.corpus, ws.store, ws.encoder, "Open the window", windows)
