"""The segmentation panel: labels and metrics worked out by hand, and a page that answers as Python does."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from checks import opened, refused, seen

from vcwork.encoders.encoder import encode_text
from vcwork.panels.make_segmentation import readings_of, segmentation_studio
from vcwork.panels.segmentation import METRICS, REPEATS, SegmentationStudio, Watched
from vcwork.tasks import segmentation
from vcwork.tasks.cases import seconds_of_split

STEPS = ["cut", "stir", "cut"]  # the third repeats the first
A = np.array([[5, 1, 0], [1, 2, 4], [0, 3, 1], [0, 1, 0.5]])  # best: 1 with 5, 3 with 4, 2 with 3, 2 with 1
B = np.array([[0, 2, 1], [6, 0, 0.0]])  # best: 2 with 2, 1 with 6


@pytest.fixture
def panel():
    videos = [Watched("a", np.array([1, 1, 2, 0])), Watched("b", np.array([0, 3]))]
    readings = {(4, 2): [A, B], (2, 1): [A[::-1], B]}
    told = {"paper": {"removed": 2.5, "kept": 9.0}, "marks": {"by hand": 1.5}, "title": "toy"}
    return SegmentationStudio(videos, STEPS, readings, levels=9, **told)


def told(panel: SegmentationStudio, row: int, *choice) -> dict[str, float]:
    """Metrics of a video, or of all (-1), by name."""
    return dict(zip(METRICS, panel.measure(*choice)[row].tolist(), strict=True))


def test_labels_and_metrics_by_hand(panel):
    # best steps 1, 3, 2, 2 with 5, 4, 3, 1; the third step has the first one's text; above 2.5 only
    choice = (2.5, (4, 2), "removed")
    assert panel.best[4, 2][0].tolist() == [5, 4, 3, 1]
    assert panel.labels(0, *choice).tolist() == [1, 1, 2, 0] == panel.truth(0, "removed").tolist()
    here = told(panel, 0, *choice)
    assert set(here.values()) == {1.0, 0.25} and here["predicted background"] == 0.25
    silent = told(panel, 0, np.inf, (4, 2), "removed")
    assert silent["frame accuracy"] == 0.25 and silent["edit score"] == 0
    # video b: predicted 0, 1 and its truth 0, 3 is folded to 0, 1: all six seconds right, one third background
    every = told(panel, -1, *choice)
    assert every["frame accuracy"] == 1 and every["predicted background"] == pytest.approx(2 / 6)
    assert told(panel, -1, np.inf, (4, 2), "removed")["frame accuracy"] == pytest.approx(2 / 6)
    assert panel.labels(0, 3.0, (4, 2), "removed").tolist() == [1, 1, 0, 0], "a score equal to gamma is background"


def test_repeated_labels_kept_are_two_labels(panel):
    choice = (2.5, (4, 2), "kept")
    assert panel.labels(0, *choice).tolist() == [1, 3, 2, 0] and panel.truth(0, "kept").tolist() == [1, 1, 2, 0]
    here = told(panel, 0, *choice)
    assert here["frame accuracy"] == 0.75 and here["foreground recall"] == pytest.approx(2 / 3)
    assert here["edit score"] == pytest.approx(1 - 1 / 3), "1 3 2 for 1 2: one change of three"
    assert told(panel, 1, *choice)["foreground recall"] == 0, "truth 3, predicted 1"


def test_it_opens_at_a_gamma_that_says_something(panel):
    silent = {"removed": 9.0, "kept": 9.5}
    assert panel.gamma == 2.5, "the paper's"
    assert replace(panel, paper=silent).gamma == 1.5, "the mark, with the paper's beside it"
    for nothing_named in (replace(panel, paper=silent, marks={}), replace(panel, paper=None, marks={})):
        assert 0 < (nothing_named.labels(0, nothing_named.gamma, (4, 2), "removed") > 0).mean() < 1


def test_named_gammas_stand_on_the_grid_and_the_papers_is_the_start(panel):
    assert {2.5, 9.0, 1.5} <= set(panel.gammas) and (np.diff(panel.gammas) > 0).all() and panel.gamma == 2.5
    silence = [told(panel, -1, gamma, (4, 2), "removed")["predicted background"] for gamma in panel.gammas[[0, -1]]]
    assert silence == [0, 1]


def test_without_truth_nothing_is_scored():
    blind = SegmentationStudio([Watched("a"), Watched("b", np.array([0, 2]))], STEPS, {(4, 2): [A, B]})
    found = blind.measure(2.5, (4, 2), "removed")
    assert np.isnan(found[0]).all() and found[-1, 0] == 0.5


def test_the_page_answers_as_python_does(browser, panel, tmp_path):
    ask, readings = "choice => document.querySelector('.vcwork').update(...choice)", panel.readings
    with opened(browser, panel, tmp_path) as page:
        assert page.evaluate(ask, ["a", 2.5, 4, 2, "removed"]) == seen(page), "what is shown first"
        for (v, id), gamma, reading, kind in product(enumerate("ab"), panel.gammas.tolist(), readings, REPEATS):
            found = page.evaluate(ask, [id, gamma, *reading, kind])
            assert found["predicted"] == panel.labels(v, gamma, reading, kind).tolist()
            assert found["truth"] == panel.truth(v, kind).tolist()
            assert found["scores"] == panel.best[reading][v].tolist()
            for name, row, level in (("here", v, gamma), ("all", -1, gamma), ("silent_all", -1, np.inf)):
                assert found[name] == pytest.approx(told(panel, row, level, reading, kind), abs=6e-5)


def test_silence_and_chatter_are_said(browser, panel, tmp_path):
    ask = "gamma => document.querySelector('.vcwork').update('a', gamma, 4, 2, 'removed')"
    grid = panel.gammas.tolist()
    some = next(gamma for gamma in grid if 5 <= gamma < 6)
    with opened(browser, panel, tmp_path) as page:
        quiet, loud, half = (page.evaluate(ask, gamma) for gamma in (9.0, grid[0], some))
    assert "Every second of every video" in quiet["note"] and "33.3 %" in quiet["note"]
    assert quiet["all"] == quiet["silent_all"] and quiet["here"] == quiet["silent_here"]
    assert "called a step" in loud["note"] and loud["predicted"] == loud["best"]
    assert "In this video every second is called background" in half["note"], "b still speaks"


def test_sliders_keys_and_switch_move_the_page(browser, panel, tmp_path):
    def chosen():
        return [seen(page)[name] for name in ("video", "gamma", "window", "stride", "duplicates")]

    with opened(browser, panel, tmp_path) as page:
        grid, at = panel.gammas.tolist(), panel.gammas.tolist().index(2.5)
        page.focus("input[aria-label=gamma]")
        page.keyboard.press("ArrowRight")
        assert chosen() == ["a", grid[at + 1], 4, 2, "removed"]
        page.focus(".plot")
        page.keyboard.press("ArrowDown")
        assert seen(page)["gamma"] == 2.5
        page.keyboard.press("ArrowRight")
        assert "1 s" in page.inner_text(".readout") and "stir" not in page.inner_text(".readout")
        page.click("input[role=switch]")
        assert chosen() == ["a", 9.0, 4, 2, "kept"], "gamma stays with the paper's rule"
        assert "nothing but the share of background" in page.inner_text(".numbers .note")
        page.click("text=by hand")
        page.focus("input[aria-label=window]")
        page.keyboard.press("ArrowLeft")
        page.select_option("select", "b")
        assert chosen() == ["b", 1.5, 2, 1, "kept"], "a stride that leaves gaps is not offered"
        box = page.locator("canvas.curve").bounding_box()
        page.mouse.click(box["x"] + 200, box["y"] + 9)
        assert seen(page)["gamma"] == grid[-1] and seen(page)["predicted"] == [0, 0]


# ------------------------------------------------------------------------------------------------ from a corpus


@pytest.fixture(scope="module", autouse=True)
def few():
    """Fewer readings than a panel has."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vcwork.panels.make_segmentation.readings_of", lambda tower: [(tower, 16), (tower, 8), (8, 8)])
        yield


@pytest.fixture(scope="module")
def studio(ws, few):
    return segmentation_studio(ws.corpus, ws.store, ws.encoder, "test", videos=100)


def test_windows_and_strides_leave_no_gap():
    assert readings_of(32) == [(32, 16), (32, 32), (32, 8), (32, 4), (16, 16), (16, 8), (16, 4), (8, 8), (8, 4)]
    assert readings_of(1) == [(1, 1)]


def test_the_towers_own_window_gives_the_tasks_numbers(ws, studio):
    assert studio.repeated == 0
    seconds = seconds_of_split(ws.encoder, ws.corpus, ws.store, "test")
    gamma = float(studio.gammas[20])
    every = told(studio, -1, gamma, (32, 16), "removed")
    assert studio.best[32, 16][0] == pytest.approx(seconds.scores[0].max(1), abs=2e-3)
    rounded = [np.round(s.astype(float), 3) for s in seconds.scores]
    results = segmentation.evaluate(rounded, seconds.truths, seconds.ids, gamma, n_boot=2)
    known = {"frame_accuracy": "frame accuracy", "foreground_recall": "foreground recall", "edit": "edit score",
             "foreground_precision": "foreground precision", "F1@10": "F1@10", "F1@50": "F1@50"}  # fmt: skip
    for result in results:
        if result.name in known:
            assert every[known[result.name]] == pytest.approx(result.value, abs=6e-5), result.name
    names = [ws.corpus.steps[s] for s in seconds.steps]
    rule = segmentation.text_gamma(encode_text(ws.encoder, names), names)
    assert studio.paper["removed"] == pytest.approx(rule, abs=1e-3)


def test_cls_is_hidden_or_seen_as_the_task_is_asked_to(ws):
    for hidden in (True, False):
        panel = segmentation_studio(ws.corpus, ws.store, ws.encoder, "test", 1, as_reference=hidden)
        task = seconds_of_split(ws.encoder, ws.corpus, ws.store, "test", hidden).scores[0].max(1)
        other = seconds_of_split(ws.encoder, ws.corpus, ws.store, "test", not hidden).scores[0].max(1)
        shown = panel.best[32, 16][0]
        assert shown == pytest.approx(task, abs=2e-3) and shown != pytest.approx(other, abs=2e-3)


def test_a_shorter_window_reads_other_scores(studio):
    whole, short = (studio.best[reading][1] for reading in ((32, 8), (8, 8)))
    assert len(whole) == len(short) and not np.allclose(whole, short, atol=0.1)


def test_a_step_listed_twice_raises_the_naive_gamma_only(ws, studio):
    texts = encode_text(ws.encoder, studio.steps)
    longest = int(np.linalg.norm(texts, axis=1).argmax())
    step = next(id for id, text in ws.corpus.steps.items() if text == studio.steps[longest])
    again = segmentation_studio(ws.corpus, ws.store, ws.encoder, "test", 1, again=[step])
    assert again.repeated == 1 and any("listed twice" in note for note in again.notes)
    assert again.paper["removed"] == studio.paper["removed"]
    assert again.paper["kept"] == pytest.approx(float(texts[longest] @ texts[longest]), abs=1e-2)
    kept, removed = again.labels(0, 5.0, (32, 16), "kept"), studio.labels(0, 5.0, (32, 16), "removed")
    named = [[label and panel.steps[label - 1] for label in own] for panel, own in ((again, kept), (studio, removed))]
    assert named[0] == named[1], "which of two equal texts wins is a matter of the last bit"


def test_what_is_missing_is_said_in_the_panel(ws):
    blind = segmentation_studio(ws.corpus, ws.store, None, "test", 2)
    assert blind.readings == [] and any("No checkpoint" in note for note in blind.notes)
    video = replace(ws.corpus.split("test")[0], segments=())
    bare = segmentation_studio(replace(ws.corpus, videos={video.id: video}), ws.store, ws.encoder, "test")
    assert bare.videos[0].truth is None and any(f"No annotated segment in {video.id}" in note for note in bare.notes)
    refused("'fly'", segmentation_studio, ws.corpus, ws.store, ws.encoder, "test", again=["fly"])
