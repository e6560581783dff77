"""Notebook 40 as an app of its own: Voilà runs it, the panel is there, and its kernel answers a typed sentence.

Nobody else gets in, and nothing comes from elsewhere."""

import numpy as np
from browsing import NOTEBOOK, Explorer, project, refused, server, watched


def test_voila_shows_the_panel_and_it_answers(browser, ws, panel, tmp_path):
    folder = project(tmp_path / "project", ws.tiny)
    notebook = str(folder / "notebooks" / f"{NOTEBOOK}.ipynb")
    with (
        server(folder, "vcwork", "app", notebook, ready="/voila/static/voila.js") as (address, token),
        watched(browser, viewport={"width": 1200, "height": 1000}) as one,
    ):
        page = one.page.goto(f"{address}/?token={token}", timeout=240_000)
        assert "default-src 'self'" in page.header_value("Content-Security-Policy")
        one.page.locator('.vcwork-alignment input[placeholder="type any sentence"]').wait_for(timeout=240_000)
        explorer = Explorer(one.page)
        sentence = f"now {next(r.text for r in panel.rows if r.kind == 'steps')} please"
        explorer.ask(sentence)
        explorer.root.get_by_text(f"“{sentence}”", exact=True).wait_for()
        expected = panel.update(sentence)
        assert explorer.readout()[:2] == (int(np.argmax(expected["scores"])), sentence)
        second = explorer.click(0.7, 0.3)[0]
        explorer.until_time(second)
        explorer.root.scroll_into_view_if_needed()
        one.shot("voila", whole=False)
        assert one.errors == []
        away = [url for url in one.requests if not url.startswith((address, "data:", "blob:"))]
        assert away == [] and len(one.requests) > 5, "all that the page loads comes from this server"
        assert refused(f"{address}/") and refused(f"{address}/api/kernels", data=b"{}", method="POST")
