"""The segmentation panel: labels and metrics worked out by hand, and a page that answers as Python does."""

import base64
import json
from dataclasses import replace

import numpy as np
import pytest
from panel_checks import NASTY, check_page, check_text_stays_text, opened, seen

from vcwork.base.errors import VcworkError
from vcwork.encoders.encode import encode_text
from vcwork.panels.make_segmentation import segmentation_studio
from vcwork.panels.segmentation import METRICS, SegmentationStudio, Watched
from vcwork.tasks import segmentation
from vcwork.tasks.cases import seconds_of_split
from vcwork.training.workspace import prepare

STEPS = ["cut", "stir", "cut"]  # the third repeats the first
A = np.array([[5, 1, 0], [1, 2, 4], [0, 3, 1], [0, 1, 0.5]])  # best: 1 with 5, 3 with 4, 2 with 3, 2 with 1
B = np.array([[0, 2, 1], [6, 0, 0.0]])  # best: 2 with 2, 1 with 6


@pytest.fixture
def panel():
    videos = [Watched("a", np.array([1, 1, 2, 0])), Watched("b", np.array([0, 3]))]
    readings = {(4, 2): [A, B], (2, 1): [A[::-1], B]}
    return SegmentationStudio(
        videos, STEPS, readings, paper={"removed": 2.5, "kept": 9.0}, marks={"by hand": 1.5}, title="toy", levels=9
    )


def test_labels_and_metrics_by_hand(panel):
    shown = panel.update("a", 2.5, 4, 2, "removed")
    # best steps 1, 3, 2, 2 with 5, 4, 3, 1; the third step has the first one's text; above 2.5 only
    assert shown["best"] == [1, 1, 2, 2] and shown["scores"] == [5, 4, 3, 1]
    assert shown["predicted"] == [1, 1, 2, 0] == shown["truth"]
    assert set(shown["here"].values()) == {1.0, 0.25} and shown["here"]["predicted background"] == 0.25
    assert shown["silent_here"]["frame accuracy"] == 0.25 and shown["silent_here"]["edit score"] == 0
    # video b: predicted 0, 1 and its truth 0, 3 is folded to 0, 1: all six seconds right, one third background
    assert shown["all"]["frame accuracy"] == 1 and shown["all"]["predicted background"] == round(2 / 6, 4)
    assert shown["silent_all"]["frame accuracy"] == round(2 / 6, 4) and shown["note"] == ""
    json.dumps(shown, allow_nan=False)


def test_repeated_labels_kept_are_two_labels(panel):
    shown = panel.update("a", 2.5, 4, 2, "kept")
    assert shown["predicted"] == [1, 3, 2, 0] and shown["truth"] == [1, 1, 2, 0]
    assert shown["here"]["frame accuracy"] == 0.75 and shown["here"]["foreground recall"] == round(2 / 3, 4)
    assert shown["here"]["edit score"] == round(1 - 1 / 3, 4), "1 3 2 for 1 2: one change of three"
    assert panel.update("b", 2.5, 4, 2, "kept")["here"]["foreground recall"] == 0, "truth 3, predicted 1"


def test_silence_and_chatter_are_said(panel):
    quiet, loud = panel.update("a", 9.0, 4, 2), panel.update("a", 0.5, 4, 2)
    assert "Every second of every video" in quiet["note"] and "33.3 %" in quiet["note"]
    assert quiet["all"] == quiet["silent_all"] and quiet["here"] == quiet["silent_here"]
    assert "called a step" in loud["note"] and loud["predicted"] == loud["best"]
    assert "In this video every second is called background" in panel.update("a", 5.0, 4, 2)["note"], "b still speaks"


def test_a_score_equal_to_gamma_is_background(panel):
    assert panel.update("a", 3.0, 4, 2)["predicted"] == [1, 1, 0, 0]


def test_named_gammas_stand_on_the_grid_and_the_papers_is_the_start(panel):
    assert {2.5, 9.0, 1.5} <= set(panel.gammas) and (np.diff(panel.gammas) > 0).all()
    low, high = panel.update("a", panel.gammas[0], 4, 2), panel.update("a", panel.gammas[-1], 4, 2)
    assert low["all"]["predicted background"] == 0 and high["all"]["predicted background"] == 1
    assert panel.start == {"video": "a", "gamma": 2.5, "window": 4, "stride": 2, "duplicates": "removed"}


def test_what_is_not_stored_is_refused(panel):
    for choice, told in (
        (("c", 1.0, 4, 2), "no video 'c'"),
        (("a", 1.0, 4, 3), "stored: 4/2, 2/1"),
        (("a", 1.0, 4, 2, "both"), "removed, kept"),
    ):
        with pytest.raises(VcworkError, match=told):
            panel.update(*choice)
    video = [Watched("a", np.zeros(4, int))]
    for scores, told in (
        ({(4, 2): [A[:3]]}, r"expected scores \(4, 3\)"),
        ({(2, 4): [A]}, "stride"),
        ({(4, 2): [A * np.nan]}, "NaN|finite"),
    ):
        with pytest.raises(VcworkError, match=told):
            SegmentationStudio(video, STEPS, scores)
    with pytest.raises(VcworkError, match="truth from 0 to 3"):
        SegmentationStudio([Watched("a", np.array([7]))], STEPS, {})
    with pytest.raises(VcworkError, match="at least one video"):
        SegmentationStudio([], STEPS, {})


def test_stored_tables_hold_what_update_says(panel):
    state = panel.panel()
    json.dumps(state, allow_nan=False)
    rows = (len(state["gammas"]), len(state["videos"]) + 1, len(METRICS))
    for kind in ("removed", "kept"):
        for r, reading in enumerate(state["readings"]):
            table = np.frombuffer(base64.b64decode(state["tables"][kind][r]), "<u2").reshape(rows)
            for g, gamma in enumerate(state["gammas"]):
                shown = panel.update("b", gamma, *reading, kind)
                assert table[g, 1].tolist() == [round(v * 10_000) for v in shown["here"].values()]
                assert table[g, 2].tolist() == [round(v * 10_000) for v in shown["all"].values()]


def test_without_truth_nothing_is_scored_and_without_scores_nothing_is_predicted(panel):
    blind = SegmentationStudio([Watched("a"), Watched("b", np.array([0, 2]))], STEPS, {(4, 2): [A, B]})
    shown = blind.update("a", 2.5, 4, 2)
    assert shown["truth"] is None and set(shown["here"].values()) == {None} and shown["all"]["frame accuracy"] == 0.5
    nobody = SegmentationStudio([Watched("a")], STEPS, {(4, 2): [A]})
    assert set(nobody.update("a", 2.5, 4, 2)["all"].values()) == {None} and nobody.png().startswith(b"\x89PNG")
    json.dumps(nobody.panel(), allow_nan=False)
    bare = SegmentationStudio([Watched("a", np.array([0, 1]))], STEPS, {}, notes=["No checkpoint."])
    assert bare.panel()["readings"] == [] and "No checkpoint." in bare.html() and bare.png().startswith(b"\x89PNG")
    assert panel.png().startswith(b"\x89PNG")


def test_data_never_becomes_code():
    panel = SegmentationStudio([Watched(NASTY, np.array([1, 0, 0, 2]))], [NASTY, "b", "c"], {(4, 2): [A]},
                               marks={NASTY: 1.0}, title=NASTY, notes=[NASTY])  # fmt: skip
    check_text_stays_text(panel)


def test_page_needs_no_network_and_the_module_is_valid(panel, tmp_path):
    check_page(panel, tmp_path)


def test_the_page_answers_as_python_does(browser, panel, tmp_path):
    with opened(browser, panel, tmp_path) as page:
        assert seen(page) == panel.update(**panel.start)
        ask = "choice => document.querySelector('.vcwork').update(...choice)"
        for video in ("a", "b"):
            for gamma in panel.gammas.tolist():
                for reading in panel.readings:
                    for kind in ("removed", "kept"):
                        choice = [video, gamma, *reading, kind]
                        assert page.evaluate(ask, choice) == panel.update(*choice)


def test_sliders_keys_and_switch_move_the_page(browser, panel, tmp_path):
    with opened(browser, panel, tmp_path) as page:
        grid, at = panel.gammas.tolist(), panel.gammas.tolist().index(2.5)
        page.focus("input[aria-label=gamma]")
        page.keyboard.press("ArrowRight")
        assert seen(page) == panel.update("a", grid[at + 1], 4, 2)
        page.focus(".plot")
        page.keyboard.press("ArrowDown")
        assert seen(page)["gamma"] == 2.5
        page.keyboard.press("ArrowRight")
        assert "1 s" in page.inner_text(".readout") and "stir" not in page.inner_text(".readout")
        page.click("input[role=switch]")
        assert seen(page) == panel.update("a", 9.0, 4, 2, "kept"), "gamma stays with the paper's rule"
        assert "nothing but the share of background" in page.inner_text(".numbers .note")
        page.click("text=by hand")
        page.focus("input[aria-label=window]")
        page.keyboard.press("ArrowLeft")
        page.select_option("select", "b")
        assert seen(page) == panel.update("b", 1.5, 2, 1, "kept"), "a stride that leaves gaps is not offered"
        box = page.locator("canvas.curve").bounding_box()
        page.mouse.click(box["x"] + 200, box["y"] + 9)
        assert seen(page)["gamma"] == grid[-1] and seen(page)["predicted"] == [0, 0]


# ------------------------------------------------------------------------------------------------ from a corpus


@pytest.fixture(scope="module")
def ws():
    return prepare()


@pytest.fixture(scope="module")
def studio(ws):
    return segmentation_studio(ws.corpus, ws.store, ws.encoder, "test", videos=100, windows=(32, 8), strides=(16, 8))


def test_the_towers_own_window_gives_the_tasks_numbers(ws, studio):
    assert studio.readings == [(32, 16), (32, 8), (8, 8)] and studio.repeated == 0
    seconds = seconds_of_split(ws.encoder, ws.corpus, ws.store, "test")
    gamma = float(studio.gammas[20])
    shown = studio.update(seconds.ids[0], gamma, 32, 16)
    assert shown["scores"] == pytest.approx(seconds.scores[0].max(1), abs=2e-3)
    rounded = [np.round(s.astype(float), 3) for s in seconds.scores]
    results = segmentation.evaluate(rounded, seconds.truths, seconds.ids, gamma, n_boot=2)
    known = {"frame_accuracy": "frame accuracy", "foreground_recall": "foreground recall", "edit": "edit score",
             "foreground_precision": "foreground precision", "F1@10": "F1@10", "F1@50": "F1@50"}  # fmt: skip
    for result in results:
        if result.name in known:
            assert shown["all"][known[result.name]] == pytest.approx(result.value, abs=6e-5), result.name
    names = [ws.corpus.steps[s] for s in seconds.steps]
    rule = segmentation.text_gamma(encode_text(ws.encoder, names), names)
    assert studio.start["gamma"] == pytest.approx(rule, abs=1e-3)


def test_cls_is_hidden_or_seen_as_the_task_is_asked_to(ws):
    asked = {"windows": (32,), "strides": (16,)}
    for hidden in (True, False):
        panel = segmentation_studio(ws.corpus, ws.store, ws.encoder, "test", 1, **asked, as_reference=hidden)
        task = seconds_of_split(ws.encoder, ws.corpus, ws.store, "test", hidden).scores[0].max(1)
        other = seconds_of_split(ws.encoder, ws.corpus, ws.store, "test", not hidden).scores[0].max(1)
        shown = panel.update(panel.videos[0].id, 0.0, 32, 16)["scores"]
        assert shown == pytest.approx(task, abs=2e-3) and shown != pytest.approx(other, abs=2e-3)


def test_a_shorter_window_reads_other_scores(studio):
    video = studio.videos[1].id
    whole, short = (studio.update(video, 0.0, *reading)["scores"] for reading in ((32, 8), (8, 8)))
    assert len(whole) == len(short) and not np.allclose(whole, short, atol=0.1)


def test_a_step_listed_twice_raises_the_naive_gamma_only(ws, studio):
    texts = encode_text(ws.encoder, studio.steps)
    longest = int(np.linalg.norm(texts, axis=1).argmax())
    step = next(id for id, text in ws.corpus.steps.items() if text == studio.steps[longest])
    again = segmentation_studio(ws.corpus, ws.store, ws.encoder, "test", 1, windows=(32,), strides=(16,), again=[step])
    assert again.repeated == 1 and any("listed twice" in note for note in again.notes)
    assert again.paper["removed"] == studio.paper["removed"]
    assert again.paper["kept"] == pytest.approx(float(texts[longest] @ texts[longest]), abs=1e-2)
    first = again.videos[0].id
    assert again.update(first, 5.0, 32, 16, "kept")["predicted"] == studio.update(first, 5.0, 32, 16)["predicted"]


def test_what_is_missing_is_said_in_the_panel(ws):
    blind = segmentation_studio(ws.corpus, ws.store, None, "test", 2)
    assert blind.readings == [] and any("No checkpoint" in note for note in blind.notes)
    video = replace(ws.corpus.split("test")[0], segments=())
    bare = segmentation_studio(replace(ws.corpus, videos={video.id: video}), ws.store, ws.encoder, "test")
    assert bare.videos[0].truth is None and any(f"No annotated segment in {video.id}" in note for note in bare.notes)
    for more, told in (
        ({"videos": ["nobody"]}, "no video 'nobody'"),
        ({"windows": (64,)}, "1 to 32 seconds"),
        ({"windows": (8,), "strides": (16,)}, "leave gaps"),
        ({"again": ["fly"]}, "'fly'"),
    ):
        with pytest.raises(VcworkError, match=told):
            segmentation_studio(ws.corpus, ws.store, ws.encoder, "test", **more)
