"""The embedding map: neighbours, ranks, hubs and gap by hand, what travels with the page, what is said when missing."""

import base64
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from checks import opened, refused

from vcwork.data.video import frames_at
from vcwork.encoders.encoder import encode_text, encode_video
from vcwork.panels import embedding
from vcwork.panels.embedding import EmbeddingMap, MapClip, map_clips
from vcwork.review.geometry import hubness, modality_gap
from vcwork.tasks.cases import step_parts

VIDEO = np.array([[3, 0], [0, 2], [1, 1.0]])
TEXT = np.array([[1, 0], [1, 0], [0, 1.0]])
CLIPS = [
    MapClip("cut the onion", "a", 0, 4, "soup", "cut"),
    MapClip("slice the onion", "a", 5, 9, "soup", "cut"),
    MapClip("stir it", "b", 1, 3, "stew", "stir"),
]
# scores, rows sentences: [3 0 1], [3 0 1], [0 2 1]


@pytest.fixture
def panel() -> EmbeddingMap:
    return EmbeddingMap(VIDEO, TEXT, CLIPS, k=2, title="kitchen")


def test_neighbours_are_of_the_other_modality_by_raw_dot_product(panel):
    found = panel.meeting
    # the sentence of clip 1, whose own clip scores last
    assert found.nearest[4].tolist() == [0, 2] and found.scores[4].tolist() == [3, 1]
    assert (found.own_rank[4], found.own_score[4]) == (3, 0)
    assert [panel.right(4, clip) for clip in (0, 1, 2)] == [True, True, False], "clip 0 shows the same step"
    assert found.nearest[0].tolist() == [3, 4] and found.own_rank[0] == 1.5, "two sentences score 3: first or second"
    assert found.own_rank[2] == 2, "three sentences score 1: the middle"
    bare = EmbeddingMap(VIDEO, TEXT, [replace(clip, step="", recipe="") for clip in CLIPS], k=3)
    assert [bare.right(0, point) for point in bare.meeting.nearest[0]] == [True, False, False], "only its own"
    assert bare.panel()["colourings"] == {} and bare.picture()[0].startswith("iVBOR")
    same = EmbeddingMap(np.ones((4, 3)), np.ones((4, 3)), [CLIPS[0]] * 4, k=9)
    assert same.k == 4 and same.meeting.own_rank[0] == 2.5 and same.meeting.hubs == []


def test_hubs_and_gap_are_those_of_the_library(panel):
    scores = TEXT @ VIDEO.T
    # the best two clips of the sentences: {0, 2}, {0, 2}, {1, 2}
    assert panel.meeting.hub_counts[:3].tolist() == [2, 1, 3] == hubness(scores, 2).counts.tolist()
    assert panel.meeting.hub_counts[3:].tolist() == hubness(scores.T, 2).counts.tolist()
    assert panel.meeting.hubs[0] == 2 and 0 not in panel.meeting.hubs, "two of three is no more than usual"
    gap = modality_gap(VIDEO, TEXT)
    assert panel.panel()["gap"] == {"length": round(gap.length, 4), "spread": round(gap.spread, 4)}
    # centres (4/3, 1) and (2/3, 1/3): two axes hold everything, so the map shows the whole gap
    assert gap.length == pytest.approx(np.sqrt(8) / 3)
    a, b = np.array(panel.panel()["layouts"][0]["gap"])
    assert np.linalg.norm(a - b) == pytest.approx(gap.length, abs=1e-3)
    first, second = panel.panel()["layouts"]
    assert sum(first["shares"]) == pytest.approx(1, abs=1e-3) and second["gap"] is None


def test_the_second_map_has_no_gap(panel):
    xy = panel.layouts[1].xy
    assert np.allclose(xy[:3].mean(0), xy[3:].mean(0)) and not np.allclose(*np.split(panel.layouts[0].xy, 2))


def test_the_page_says_who_is_near_whom(browser, tmp_path):
    panel = EmbeddingMap(VIDEO, TEXT, CLIPS, k=2, labels={"object": ["onion", "onion", ""]})
    xy = np.frombuffer(base64.b64decode(panel.panel()["layouts"][0]["xy"]), "<f4").reshape(6, 2)
    assert np.allclose(xy, panel.layouts[0].xy, atol=1e-6)
    with opened(browser, panel, tmp_path) as page:
        told = page.inner_text(".readout")  # the first clip
        assert "1. “cut the onion” (its own)" in told and "2. “slice the onion” (same step)" in told
        assert "rank 1.5 of 3, score 3.00" in told and "2 of 3 sentences have it" in told
        page.focus(".plot")
        page.keyboard.press("Enter")
        assert "“cut the onion”" in page.inner_text(".readout") and "nearest clips" in page.inner_text(".readout")
        assert page.locator(".legend button").all_inner_texts() == ["1\nsoup (2)", "2\nstew (1)"], (
            "numbers as in the points"
        )
        page.select_option("select[aria-label=colour]", "3")
        assert page.locator(".legend button").all_inner_texts() == ["1\nonion (2)", "2\nunknown (1)"]


# ------------------------------------------------------------------------------------------------ from a corpus


@pytest.fixture(scope="module")
def vectors(ws, clips):
    return encode_video(ws.encoder, clips.features), encode_text(ws.encoder, clips.sentences)


def test_the_map_of_a_corpus(ws, clips, vectors, monkeypatch):
    panel = map_clips(ws.corpus, clips, *vectors, labels=step_parts(ws.corpus, clips.steps))
    assert [c.text for c in panel.clips] == clips.sentences and panel.notes == [] and len(panel.pictures) == len(clips)
    assert list(panel.colourings) == ["recipe", "step", "object", "action"]
    video, text = vectors
    best = np.argsort(-(text @ video.T), axis=1)[:, 0]
    assert panel.meeting.nearest[len(clips) :, 0].tolist() == best.tolist()
    monkeypatch.setattr(embedding, "PICTURES", 3)
    some = map_clips(ws.corpus, clips, *vectors)
    assert list(some.pictures) == [0, 1, 2] and any("Only the first 3 of" in note for note in some.notes)
    for i, pictures in some.pictures.items():
        middle = sum(clips.spans[i]) / 2
        assert np.array_equal(pictures[0], frames_at(ws.corpus[clips.videos[i]].video, [middle], 64)[0])


def test_what_is_missing_is_said(ws, clips, vectors, monkeypatch):
    monkeypatch.setattr(embedding, "MOST", 10)
    videos = {id: replace(video, video=None) for id, video in ws.corpus.videos.items()}
    bare = replace(clips, steps=np.array([""] * len(clips)))
    panel = map_clips(replace(ws.corpus, videos=videos), bare, *vectors)
    assert panel.n == 10 and panel.pictures == {} and len(panel.notes) == 3
    assert "10 of" in panel.notes[0] and "No steps are known" in panel.notes[1] and "No pictures of" in panel.notes[2]
    refused("expected vectors and labels of", map_clips, ws.corpus, clips, vectors[0][:3], vectors[1])


def test_tsne_where_it_is_installed(ws, clips, vectors, monkeypatch):
    monkeypatch.setitem(sys.modules, "openTSNE", None)
    without = map_clips(ws.corpus, clips, *vectors, tsne=True)
    assert len(without.layouts) == 2 and any("openTSNE is not installed" in note for note in without.notes)

    def made(**options):
        assert options["perplexity"] < 2 * len(clips) / 3 and options["random_state"] == 3
        return SimpleNamespace(fit=lambda vectors: vectors[:, :2])

    monkeypatch.setitem(sys.modules, "openTSNE", SimpleNamespace(TSNE=made))
    there = map_clips(ws.corpus, clips, *vectors, tsne=True, seed=3)
    assert [layout.name for layout in there.layouts] == ["PCA", "PCA, gap taken out", "t-SNE"]
    assert there.panel()["layouts"][2]["shares"] is None and there.panel()["layouts"][2]["gap"] is None
