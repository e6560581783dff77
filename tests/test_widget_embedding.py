"""The embedding map: neighbours, ranks, hubs and gap by hand, what travels with the page, what is said when missing."""

import base64
import json
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from panel_checks import NASTY, check_page, check_text_stays_text

from vcwork.base.errors import VcworkError
from vcwork.data.video import frames_at
from vcwork.encoders.encode import encode_text, encode_video
from vcwork.panels.embedding import EmbeddingMap, Layout, MapClip
from vcwork.panels.make_embedding import map_clips
from vcwork.review.geometry import hubness, modality_gap
from vcwork.tasks.cases import annotated_clips, step_parts
from vcwork.training.workspace import prepare

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


def decoded(text: str, kind: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), kind)


def test_neighbours_of_a_sentence_are_clips_by_raw_dot_product(panel):
    found = panel.update(4)  # the sentence of clip 1, whose own clip scores last
    assert found["modality"] == "sentence" and found["text"] == "slice the onion" and found["partner"] == 1
    assert [(n["point"], n["score"]) for n in found["neighbours"]] == [(0, 3), (2, 1)]
    assert [n["right"] for n in found["neighbours"]] == [True, False], "clip 0 shows the same step, clip 2 another"
    assert [n["own"] for n in found["neighbours"]] == [False, False]
    assert found["own_rank"] == 3 and found["own_score"] == 0
    json.dumps(found, allow_nan=False)


def test_neighbours_of_a_clip_are_sentences_and_ties_share_a_rank(panel):
    found = panel.update(0)
    assert found["modality"] == "clip" and [n["point"] for n in found["neighbours"]] == [3, 4]
    assert [(n["own"], n["right"]) for n in found["neighbours"]] == [(True, True), (False, True)]
    assert found["own_rank"] == 1.5, "two sentences score 3: first or second"
    assert panel.update(2)["own_rank"] == 2, "three sentences score 1: the middle"


def test_without_steps_only_the_partner_is_right():
    bare = [replace(clip, step="", recipe="") for clip in CLIPS]
    panel = EmbeddingMap(VIDEO, TEXT, bare, k=3)
    assert [(n["point"], n["right"]) for n in panel.update(0)["neighbours"]] == [(3, True), (4, False), (5, False)]
    assert panel.panel()["colourings"] == [] and panel.png().startswith(b"\x89PNG")


def test_hubs_and_gap_are_those_of_the_library(panel):
    scores = TEXT @ VIDEO.T
    # the best two clips of the sentences: {0, 2}, {0, 2}, {1, 2}
    assert panel.meeting.hub_counts[:3].tolist() == [2, 1, 3] == hubness(scores, 2).counts.tolist()
    assert panel.meeting.hub_counts[3:].tolist() == hubness(scores.T, 2).counts.tolist()
    assert panel.update(2)["hub"] == 3 and panel.meeting.hubs[0] == 2 and 0 not in panel.meeting.hubs, (
        "two of three is no more than usual"
    )
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


def test_the_page_holds_what_update_says():
    panel = EmbeddingMap(VIDEO, TEXT, CLIPS, k=2, labels={"object": ["onion", "onion", ""]})
    state = panel.panel()
    json.dumps(state, allow_nan=False)
    nearest, scores = decoded(state["nearest"], "<u2").reshape(6, 2), decoded(state["scores"], "<f4").reshape(6, 2)
    for point in range(6):
        found = panel.update(point)
        assert [n["point"] for n in found["neighbours"]] == nearest[point].tolist()
        assert [n["score"] for n in found["neighbours"]] == pytest.approx(scores[point].tolist())
        assert found["own_rank"] == decoded(state["own_rank"], "<f4")[point]
        assert found["hub"] == decoded(state["hub_counts"], "<f4")[point]
    assert np.allclose(decoded(state["layouts"][0]["xy"], "<f4").reshape(6, 2), panel.layouts[0].xy, atol=1e-6)
    recipe, step, thing = state["colourings"]
    assert (recipe["name"], recipe["labels"], recipe["counts"]) == ("recipe", ["soup", "stew"], [2, 1])
    assert decoded(step["codes"], "<u2").tolist() == [0, 0, 1] and thing["labels"] == ["onion", "unknown"]


def test_empty_and_tiny_maps_say_so():
    for n in (0, 1):
        panel = EmbeddingMap(VIDEO[:n], TEXT[:n], CLIPS[:n])
        assert panel.panel()["layouts"] == [] and f"at least two clips, there are {n}" in panel.html()
        assert panel.png().startswith(b"\x89PNG")
        with pytest.raises(VcworkError, match="point"):
            panel.update(0)
    same = EmbeddingMap(np.ones((4, 3)), np.ones((4, 3)), [CLIPS[0]] * 4, k=9)
    assert same.k == 4 and same.update(0)["own_rank"] == 2.5 and same.meeting.hubs == []
    json.dumps(same.panel(), allow_nan=False)


def test_shapes_that_do_not_fit_are_refused(panel):
    for video, text, more, told in (
        (VIDEO, TEXT[:2], {}, r"expected video and text \(3, D\)"),
        (VIDEO[:2], TEXT[:2], {}, r"expected video and text \(3, D\)"),
        (VIDEO * np.nan, TEXT, {}, "NaN|finite"),
        (VIDEO, TEXT, {"k": 0}, "k: expected"),
        (VIDEO, TEXT, {"labels": {"object": ["one"]}}, "'object'"),
        (VIDEO, TEXT, {"labels": {"modality": [""] * 3}}, "modality"),
        (VIDEO, TEXT, {"more": [Layout("odd", np.zeros((3, 2)))]}, r"odd: expected xy \(6, 2\)"),
    ):
        with pytest.raises(VcworkError, match=told):
            EmbeddingMap(video, text, CLIPS, **more)
    for point in (-1, 6):
        with pytest.raises(VcworkError, match="expected 0 to 5"):
            panel.update(point)


def test_data_never_becomes_code():
    clips = [MapClip(NASTY, NASTY, 0, 1, NASTY, NASTY)] * 3
    panel = EmbeddingMap(VIDEO, TEXT, clips, labels={NASTY: [NASTY] * 3}, title=NASTY, notes=[NASTY])
    check_text_stays_text(panel)


def test_page_needs_no_network_and_its_module_is_valid(tmp_path):
    frames = {2: [np.zeros((20, 30, 3), np.uint8)] * 2, 0: [np.full((8, 8, 3), 255, np.uint8)]}
    panel = EmbeddingMap(VIDEO, TEXT, CLIPS, pictures=frames)
    assert panel.panel()["pictures"] == {"0": [0], "2": [1, 2]} and panel.media()["sheet"].startswith(b"\xff\xd8")
    check_page(panel, tmp_path)


# ------------------------------------------------------------------------------------------------ from a corpus


@pytest.fixture(scope="module")
def ws():
    return prepare()


@pytest.fixture(scope="module")
def clips(ws):
    return annotated_clips(ws.corpus, ws.store, "test")


@pytest.fixture(scope="module")
def vectors(ws, clips):
    return encode_video(ws.encoder, clips.features), encode_text(ws.encoder, clips.sentences)


def test_the_map_of_a_corpus(ws, clips, vectors):
    panel = map_clips(ws.corpus, clips, *vectors, labels=step_parts(ws.corpus, clips.steps))
    assert [c.text for c in panel.clips] == clips.sentences and panel.notes == [] and len(panel.pictures) == len(clips)
    assert list(panel.colourings) == ["recipe", "step", "object", "action"]
    video, text = vectors
    best = np.argsort(-(text @ video.T), axis=1)[:, 0]
    assert [panel.update(len(clips) + i)["neighbours"][0]["point"] for i in range(len(clips))] == best.tolist()
    some = map_clips(ws.corpus, clips, *vectors, pictures=3)
    assert list(some.pictures) == [0, 1, 2] and any("Only the first 3 of" in note for note in some.notes)


def test_each_clip_has_its_own_frames(ws, clips, vectors):
    panel = map_clips(ws.corpus, clips, *vectors, pictures=len(clips))
    for i in (0, 1, len(clips) - 1):
        middle = sum(clips.spans[i]) / 2
        assert np.array_equal(panel.pictures[i][0], frames_at(ws.corpus[clips.videos[i]].video, [middle], 64)[0])


def test_what_is_missing_is_said(ws, clips, vectors):
    videos = {id: replace(video, video=None) for id, video in ws.corpus.videos.items()}
    panel = map_clips(
        replace(ws.corpus, videos=videos), replace(clips, steps=np.array([""] * len(clips))), *vectors, most=10
    )
    assert panel.n == 10 and panel.pictures == {} and len(panel.notes) == 3
    assert "10 of" in panel.notes[0] and "No steps are known" in panel.notes[1] and "No pictures of" in panel.notes[2]
    with pytest.raises(VcworkError, match="expected vectors and labels of"):
        map_clips(ws.corpus, clips, vectors[0][:3], vectors[1])


def test_tsne_where_it_is_installed(ws, clips, vectors, monkeypatch):
    monkeypatch.setitem(sys.modules, "openTSNE", None)
    without = map_clips(ws.corpus, clips, *vectors, pictures=1, tsne=True)
    assert len(without.layouts) == 2 and any("openTSNE is not installed" in note for note in without.notes)

    def made(**options):
        assert options["perplexity"] < 2 * len(clips) / 3 and options["random_state"] == 3
        return SimpleNamespace(fit=lambda vectors: vectors[:, :2])

    monkeypatch.setitem(sys.modules, "openTSNE", SimpleNamespace(TSNE=made))
    there = map_clips(ws.corpus, clips, *vectors, pictures=1, tsne=True, seed=3)
    assert [layout.name for layout in there.layouts] == ["PCA", "PCA, gap taken out", "t-SNE"]
    assert there.panel()["layouts"][2]["shares"] is None and there.panel()["layouts"][2]["gap"] is None
