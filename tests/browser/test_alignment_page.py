"""The alignment panel's page in a real browser, from disk, with the network off: it shows what Python computed."""

import contextlib
import re
from dataclasses import replace

import numpy as np
import pytest
from browsing import Explorer, contrast, luminance, watched

from vcwork.panels.alignment import AlignmentExplorer, Row
from vcwork.panels.base import Narrated
from vcwork.workbench.notebook_html import write_html

STEP = "button[aria-label='show less time, larger']"


@pytest.fixture(scope="module")
def file(panel, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "panel.html"
    path.write_text(panel.page(), encoding="utf-8")
    return path


@pytest.fixture
def open_page(browser, file):
    """Opens a page from disk, offline; afterwards it must have asked nothing of a network and complained of nothing."""
    with contextlib.ExitStack() as stack:

        def opened(path=file, **context):
            one = stack.enter_context(watched(browser, offline=True, **context))
            one.page.goto(path.as_uri())
            one.page.locator(".vcwork h3").wait_for()
            stack.callback(lambda: check(one))
            return one

        def check(one):
            assert one.outside == [] and one.errors == []

        yield opened


def test_a_clicked_cell_is_where_the_video_stands(open_page, panel):
    one = open_page()
    explorer = Explorer(one.page)
    seen = set()
    for across, down in ((0.45, 0.1), (0.9, 0.5), (0.6, 0.8)):
        second, text, score = explorer.click(across, down)
        explorer.until_time(second)
        row = [r.text for r in panel.rows].index(text)
        assert score == pytest.approx(panel.scores[row, second], abs=0.006), "the map shows Python's scores"
        seen.add((second, text))
    assert len(seen) == 3
    # a click on the lanes seeks as well, and keeps the row
    box = explorer.plot.locator("canvas").nth(1).bounding_box()
    explorer.plot.locator("canvas").nth(1).click(position={"x": 0.5 * box["width"], "y": 10})
    explorer.until_time(explorer.readout()[0])
    assert explorer.readout()[1] == text


def test_a_stored_sentence_shows_its_curve_and_moments(open_page, panel):
    one = open_page()
    explorer = Explorer(one.page)
    first = explorer.readout()[1]
    text = next(r.text for r in panel.rows if r.kind == "steps" and r.text != first)
    before, answer = explorer.curve(), panel.update(text)
    explorer.ask(text.upper())
    assert explorer.readout()[:2] == (int(np.argmax(answer["scores"])), text)
    assert explorer.curve() != before
    told = [(m["start_s"], m["end_s"], m["score"]) for m in answer["moments"]]
    buttons = [re.fullmatch(r"\d+\. (\d+) s to (\d+) s \((-?[\d.]+)\)", b) for b in explorer.moments()]
    assert np.allclose([[float(n) for n in b.groups()] for b in buttons], told, atol=0.051) and told
    explorer.root.locator(".lists ol").first.get_by_role("button").last.click()
    explorer.until_time(int(answer["moments"][-1]["peak_s"]))
    explorer.ask("xqzt")
    assert "Without a kernel only" in explorer.note.inner_text()
    explorer.ask(" ")
    assert "Type a sentence first" in explorer.note.inner_text()


def test_other_videos_do_not_open_from_disk_and_the_page_says_so(open_page, panel):
    one = open_page()
    explorer = Explorer(one.page)
    row = next(r for r in panel.rows if {v for v, _ in r.elsewhere} > {panel.video.id})
    explorer.ask(row.text)
    other = explorer.root.locator(".lists ol").last
    assert "the others open where the notebook runs" in explorer.root.locator(".lists").inner_text()
    assert other.get_by_role("listitem").count() == len(row.elsewhere)
    own = [m for v, m in row.elsewhere if v == panel.video.id]
    assert other.get_by_role("button").count() == len(own), "only this video's moments can be clicked"
    other.get_by_role("button").last.click()
    explorer.until_time(int(own[-1].peak_s))
    assert explorer.root.get_by_label("video", exact=True).count() == 0


def test_pages_that_lie_together_lead_to_each_others_moments(open_page, panel, tmp_path):
    row = next(r for r in panel.rows if any(v != panel.video.id for v, _ in r.elsewhere))
    video, moment = next((v, m) for v, m in row.elsewhere if v != panel.video.id)
    for id in (panel.video.id, video):
        one = panel.opener(id)
        names = {v: f"page-{v}.html" for v in (panel.video.id, video)}
        both = replace(one, opener=None, ask=None, pages=names)
        (tmp_path / names[id]).write_text(both.page(), encoding="utf-8")
    one = open_page(tmp_path / f"page-{panel.video.id}.html")
    Explorer(one.page).ask(row.text)
    one.page.get_by_role("link", name=f"{video} at").first.click()
    explorer = Explorer(one.page)
    explorer.until_title(video)
    explorer.until_time(int(moment.peak_s))
    assert explorer.readout()[0] == int(moment.peak_s)


def test_the_page_of_notebook_40_is_touched_like_the_panel(open_page, root, tmp_path):
    write_html(root / "notebooks" / "40_alignment_explorer.ipynb", tmp_path / "40.html")
    one = open_page(tmp_path / "40.html", viewport={"width": 1200, "height": 1000})
    explorer = Explorer(one.page)
    second, first, _ = explorer.click(0.7, 0.4)
    explorer.until_time(second)
    before, other = explorer.curve(), explorer.root.locator("datalist option").last.get_attribute("value")
    explorer.ask(other)
    assert explorer.readout()[1] == other != first and explorer.curve() != before and explorer.moments()


def test_keys_move_jump_and_play(open_page, panel):
    one = open_page()
    explorer = Explorer(one.page)
    explorer.click(0.5, 0.4)
    second, text, _ = explorer.readout()
    for key, moved in (("ArrowRight", 1), ("Shift+ArrowRight", 6), ("ArrowLeft", 5)):
        one.page.keyboard.press(key)
        assert explorer.readout()[:2] == (second + moved, text)
    one.page.keyboard.press("ArrowDown")
    texts = [r.text for r in panel.rows]
    assert explorer.readout()[1] == texts[texts.index(text) + 1]
    assert int(explorer.time()) == second, "moving the cell does not move the video"
    one.page.keyboard.press("Enter")
    explorer.until_time(second + 5)
    one.page.keyboard.press("Home")
    one.page.keyboard.press("Enter")
    explorer.until_time(0)
    start = explorer.root.locator(".playhead").evaluate("e => parseFloat(e.style.left)")
    one.page.keyboard.press(" ")
    playing = "v => !v.paused && v.currentTime > 1.2"
    one.page.wait_for_function(playing, arg=explorer.root.locator("video").element_handle())
    moved = explorer.root.locator(".playhead").evaluate("e => parseFloat(e.style.left)")
    one.page.keyboard.press(" ")
    assert explorer.root.locator("video").evaluate("v => v.paused")
    wide = explorer.heat.bounding_box()["width"]
    assert moved - start > 0.5 * wide / panel.video.seconds, "the playhead follows"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [900, 1600])
def test_nothing_is_wider_than_the_page_and_words_can_be_read(open_page, scheme, width):
    one = open_page(color_scheme=scheme, viewport={"width": width, "height": 1000})
    explorer = Explorer(one.page)
    explorer.click(0.6, 0.5)
    wide = """() => [...document.querySelectorAll("body, body *")].filter((e) => {
        const box = e.getBoundingClientRect();
        return box.width && (box.right > innerWidth + 1 || box.left < -1) && !e.closest(".rows");
    }).map((e) => e.outerHTML.slice(0, 80))"""
    assert one.page.evaluate(wide) == []
    assert one.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    for words in ("h3", "p.readout", "p.soft", ".lists button", "input"):
        assert contrast(explorer.root.locator(words).first) >= 4.5, words
    ground = explorer.root.evaluate("e => getComputedStyle(e).backgroundColor")
    assert (luminance(ground) < 0.2) == (scheme == "dark")
    one.shot(f"alignment-{scheme}-{width}")


def test_twenty_minutes_are_enlarged_until_a_second_can_be_hit(open_page, tmp_path):
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(100, 1200))
    rows = [Row(f"sentence {i}") for i in range(100)]
    panel = AlignmentExplorer(Narrated("long", scores.shape[1]), rows, scores, title="twenty minutes")
    (tmp_path / "long.html").write_text(panel.page(), encoding="utf-8")
    one = open_page(tmp_path / "long.html", viewport={"width": 900, "height": 1000})
    explorer = Explorer(one.page)
    explorer.click(0.7, 0.02)
    seconds = []
    for _ in range(6):
        explorer.root.locator(STEP).click()
    width = explorer.heat.bounding_box()["width"]
    for pixels in range(0, 120, 4):
        second, text, score = explorer.click(0.6 + pixels / width, 0.02)
        seconds.append(second)
        assert score == pytest.approx(scores[int(text.split()[1]), second], abs=0.006)
    assert max(np.diff(seconds)) == 1 and len(set(seconds)) > 3, "every second in sight can be clicked"
    explorer.plot.focus()
    one.page.keyboard.press("End")
    assert explorer.readout()[0] == 1199, "the part that is seen follows the chosen second"
    one.shot("alignment-long-enlarged")
    explorer.root.get_by_label("show the whole video").click()
    assert explorer.click(0.35, 0.02)[0] < 100


def test_nothing_to_show_is_said_in_place(open_page, tmp_path):
    empty = AlignmentExplorer(Narrated("a", 9), [], np.zeros((0, 9)), title="no model", notes=["No checkpoint."])
    (tmp_path / "empty.html").write_text(empty.page(), encoding="utf-8")
    one = open_page(tmp_path / "empty.html")
    told = one.page.locator("body").inner_text()
    for words in ("No checkpoint.", "No video to show here.", "No captions."):
        assert words in told
    video = Narrated("a", 9, clip=b"this is no mp4")
    broken = AlignmentExplorer(video, [Row("a"), Row("b")], np.eye(2, 9), title="broken")
    (tmp_path / "broken.html").write_text(broken.page(), encoding="utf-8")
    two = open_page(tmp_path / "broken.html")
    two.page.get_by_text("This browser cannot play the clip").wait_for()
    assert Explorer(two.page).click(0.9, 0.2)[1] == "a", "the map works without it"
