"""Notebook 40 in JupyterLab, run by hand: cells clicked, new sentences asked of the kernel, other videos opened."""

import contextlib

import numpy as np
import pytest
from browsing import NOTEBOOK, Explorer, Studio, contrast, luminance, percents, project, refused, server, watched

STUDIO = """from vcwork.panels.make_segmentation import segmentation_studio
segmentation_studio(ws.corpus, ws.store, encoder).show()"""
LIVE = '.vcwork-alignment input[placeholder="type any sentence"]'


@pytest.fixture(scope="module")
def lab(browser, ws, tmp_path_factory):
    """The notebook in JupyterLab after Run All, as a watched page, with its panel in sight."""
    folder = project(tmp_path_factory.mktemp("lab") / "project", ws.tiny, STUDIO)
    options = ["--allow-root", "--expose-app-in-browser", f"--ServerApp.root_dir={folder}"]
    with contextlib.ExitStack() as stack:
        address, token = stack.enter_context(server(folder, "jupyterlab", *options, ready="/api/status"))
        assert refused(f"{address}/lab") and refused(f"{address}/api/kernels", data=b"{}", method="POST")
        one = stack.enter_context(watched(browser, viewport={"width": 1600, "height": 1000}))
        one.page.goto(f"{address}/lab/tree/notebooks/{NOTEBOOK}.ipynb?token={token}")
        one.page.get_by_text("| Idle").wait_for()  # cells that are run before the kernel answers are forgotten
        one.page.get_by_role("menuitem", name="Run", exact=True).click()
        one.page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
        one.page.locator(LIVE).wait_for(state="attached", timeout=240_000)
        one.page.get_by_text("| Idle").wait_for()
        Explorer(one.page).plot.scroll_into_view_if_needed()
        yield one
        one.shot("jupyterlab-last", whole=False)
        away = [url for url in one.requests if not url.startswith((address, "data:", "blob:"))]
        assert away == [] and len(one.requests) > 20, "all that the page loads comes from this server"


def test_keys_belong_to_the_panel_and_not_to_the_notebook(lab, panel):
    """JupyterLab would take the arrows to move between headings, and Enter to edit the cell."""
    explorer = Explorer(lab.page)
    second, text, _ = explorer.click(0.5, 0.2)
    lab.page.keyboard.press("ArrowRight")
    lab.page.keyboard.press("ArrowRight")
    lab.page.keyboard.press("ArrowDown")
    texts = [row.text for row in panel.rows]
    assert explorer.readout()[:2] == (second + 2, texts[texts.index(text) + 1])
    lab.page.keyboard.press("Enter")
    explorer.until_time(second + 2)
    assert explorer.plot.evaluate("e => e === document.activeElement")


def test_the_kernel_answers_a_new_sentence(lab, panel):
    explorer = Explorer(lab.page)
    sentence = f"now {next(r.text for r in panel.rows if r.kind == 'steps')} please"
    expected, before = panel.update(sentence), explorer.curve()
    assert expected["row"] is None and expected["scores"], "a new sentence"
    explorer.ask(sentence)
    explorer.root.get_by_text(f"“{sentence}”", exact=True).wait_for()
    second, text, score = explorer.readout()
    assert (second, text) == (int(np.argmax(expected["scores"])), sentence)
    assert score == pytest.approx(max(expected["scores"]), abs=0.006)
    assert explorer.curve() != before and len(explorer.moments()) == len(expected["moments"]) > 0
    lab.shot("jupyterlab-asked", whole=False)
    explorer.ask("xqzt wkvv")
    explorer.root.get_by_text("none of these words").wait_for()


def test_a_hit_in_another_video_opens_there_and_leads_back(lab, panel):
    explorer = Explorer(lab.page)
    row = next(r for r in panel.rows if any(v != panel.video.id for v, _ in r.elsewhere))
    video, moment = next((v, m) for v, m in row.elsewhere if v != panel.video.id)
    explorer.ask(row.text)
    explorer.root.locator(".lists ol").last.get_by_role("button", name=f"{video} at").first.click()
    explorer.until_title(video)
    explorer.until_time(int(moment.peak_s))
    second, text, score = explorer.readout()
    assert (second, text) == (int(moment.peak_s), row.text) and score == pytest.approx(moment.score, abs=0.006)
    lab.shot("jupyterlab-other-video", whole=False)
    # a sentence is now asked of that video
    sentence = f"{row.text} again"
    expected = panel.answer({"ask": sentence, "video": video})
    explorer.ask(sentence)
    explorer.root.get_by_text(f"“{sentence}”", exact=True).wait_for()
    assert explorer.readout()[0] == int(np.argmax(expected["scores"]))
    explorer.root.get_by_role("button", name="← back to").click()
    explorer.until_title(panel.title)
    assert explorer.root.get_by_role("button", name="← back to").count() == 0


def test_a_video_is_chosen_from_the_list(lab, panel):
    explorer = Explorer(lab.page)
    choice = explorer.root.get_by_label("video", exact=True)
    assert choice.locator("option").all_inner_texts() == panel.videos
    choice.select_option(panel.videos[-1])
    explorer.until_title(panel.videos[-1])
    explorer.until_time(0)
    explorer.root.get_by_label("video", exact=True).select_option(panel.video.id)
    explorer.until_title(panel.title)


def test_the_gamma_slider_changes_the_metrics(lab, studio):
    panel = Studio(lab.page)
    panel.gamma.scroll_into_view_if_needed()
    panel.gamma.focus()
    before = panel.metrics()
    for key in ("Home", *["ArrowRight"] * 8):
        lab.page.keyboard.press(key)
    panel.until_level(8)
    assert panel.metrics() == percents(studio, studio.gammas[8]) != before
    lab.shot("jupyterlab-studio", whole=False)


def test_the_dark_theme_is_followed(lab):
    explorer = Explorer(lab.page)
    explorer.plot.scroll_into_view_if_needed()
    before = explorer.curve()
    lab.page.evaluate("jupyterapp.commands.execute('apputils:change-theme', { theme: 'JupyterLab Dark' })")
    lab.page.locator('body[data-jp-theme-light="false"]').wait_for(state="attached")
    for _ in range(300):  # asked anew each time: JupyterLab may take an output away and put another canvas in its place
        if explorer.curve() != before:
            break
        lab.page.wait_for_timeout(100)
    assert explorer.curve() != before
    assert luminance(explorer.root.evaluate("e => getComputedStyle(e).backgroundColor")) < 0.2
    for words in ("p.readout", ".lists button", "input"):
        assert contrast(explorer.root.locator(words).first) >= 4.5, words
    lab.shot("jupyterlab-dark", whole=False)


def test_nothing_is_wider_than_its_cell_and_nothing_complains(lab):
    root = Explorer(lab.page).root
    assert root.evaluate("e => e.scrollWidth <= e.clientWidth + 1")
    # anywidget says so after two seconds, on a busy machine, and goes on; a panel that did not come fails above
    assert [error for error in lab.errors if "[anywidget] Failed to initialize model" not in error] == []
    assert [url for url in lab.outside if "//127.0.0.1:" not in url] == [], "nothing is asked of a network"
