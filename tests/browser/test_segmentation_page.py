"""The segmentation studio's page in a real browser, from disk, offline: gamma moves, the library's numbers follow."""

import pytest
from browsing import Studio, percents, watched


@pytest.fixture
def page(browser, studio, tmp_path):
    (tmp_path / "studio.html").write_text(studio.page(), encoding="utf-8")
    with watched(browser, offline=True, viewport={"width": 1400, "height": 1000}) as one:
        one.page.goto((tmp_path / "studio.html").as_uri())
        one.page.locator(".vcwork-segmentation h3").wait_for()
        yield one
        assert one.outside == [] and one.errors == []


def test_the_gamma_slider_changes_the_metrics(page, studio):
    panel = Studio(page.page)
    paper = studio.gammas.tolist().index(studio.gamma)
    assert panel.level() == paper and panel.metrics() == percents(studio, studio.gamma)
    panel.gamma.focus()
    seen = [panel.metrics()]
    for key, level in (("End", len(studio.gammas) - 1), ("Home", 0), ("ArrowRight", 1)):
        page.page.keyboard.press(key)
        panel.until_level(level)
        seen.append(panel.metrics())
        assert seen[-1] == percents(studio, studio.gammas[level])
    silent, lowest = seen[1], seen[2]
    assert silent["predicted background"][2] == "100.0 %" and silent["frame accuracy"][2] == silent["frame accuracy"][3]
    assert lowest["predicted background"][2] == "0.0 %" and lowest["frame accuracy"] != silent["frame accuracy"]


def test_another_window_is_read_anew(page, studio):
    panel = Studio(page.page)
    stride = studio.readings[0][1]
    table = [[percents(studio, gamma, (w, s)) for w, s in studio.readings if s == stride] for gamma in studio.gammas]
    level = next(i for i, (one, other) in enumerate(table) if one != other)
    panel.gamma.fill(str(level))
    assert panel.metrics() == table[level][0]
    slider = panel.root.get_by_label("window", exact=True)
    slider.focus()
    at = int(slider.input_value())
    page.page.keyboard.press("ArrowRight" if at == 0 else "ArrowLeft")
    assert int(slider.input_value()) != at and panel.metrics() == table[level][1]
    page.shot("studio")
