"""Notebook 40 as an app of its own: its question and its panel, whose kernel answers a sentence and opens other videos.

Nobody else gets in, and nothing comes from elsewhere."""

import numpy as np
from browsing import NOTEBOOK, Explorer, contrast, luminance, project, refused, server, watched


def test_voila_shows_the_panel_and_it_answers(browser, ws, panel, tmp_path):
    folder = project(tmp_path / "project", ws.tiny)
    notebook = str(folder / "notebooks" / f"{NOTEBOOK}.ipynb")
    with (
        server(folder, "vcwork", "app", notebook, ready="/voila/static/voila.js") as (address, token),
        watched(browser, viewport={"width": 1200, "height": 1000}, color_scheme="dark") as one,
    ):
        page = one.page.goto(f"{address}/?token={token}", timeout=240_000)
        assert "default-src 'self'" in page.header_value("Content-Security-Policy")
        one.page.locator('.vcwork-alignment input[placeholder="type any sentence"]').wait_for(timeout=240_000)
        question = "Where in the video does each sentence fit?"
        seen = one.page.locator("#rendered_cells")
        assert one.page.title() == question and seen.locator("h1").inner_text().startswith(question)
        assert "Type any sentence" in seen.inner_text(), "how it is used"
        for other in ("A map of four seconds", "above the mean:", "width 128", "Is it right?", "choice_pointing"):
            assert other not in seen.inner_text(), "what the notebook teaches with is not in the app"
        ground = seen.evaluate("() => getComputedStyle(document.body).backgroundColor")
        assert contrast(seen.locator("h1")) > 10 and luminance(ground) < 0.05, "dark where the system is"
        explorer = Explorer(one.page)
        sentence = f"now {next(r.text for r in panel.rows if r.kind == 'steps')} please"
        explorer.ask(sentence)
        explorer.root.get_by_text(f"“{sentence}”", exact=True).wait_for()
        expected = panel.update(sentence)
        assert explorer.readout()[:2] == (int(np.argmax(expected["scores"])), sentence)
        second = explorer.click(0.7, 0.3)[0]
        explorer.until_time(second)
        explorer.root.scroll_into_view_if_needed()
        first, other = explorer.title, panel.videos[1]
        explorer.root.get_by_label("video", exact=True).select_option(other)
        explorer.until_title(other)
        assert first != other
        one.shot("voila", whole=False)
        assert one.errors == []
        away = [url for url in one.requests if not url.startswith((address, "data:", "blob:"))]
        assert away == [] and len(one.requests) > 5, "all that the page loads comes from this server"
        assert refused(f"{address}/") and refused(f"{address}/api/kernels", data=b"{}", method="POST")
