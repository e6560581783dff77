"""Pages in a real browser: their Content-Security-Policy lets them work, and lets nothing else in or out.

What is tried is put into the finished page, as if a text had not been escaped.
"""

import http.server
import re
import threading

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pytest
from browsing import watched

from vcwork.panels.alignment import AlignmentExplorer, Row
from vcwork.panels.base import Narrated
from vcwork.panels.wall import Card, Said, VideoWall
from vcwork.workbench.notebook_html import write_html
from vcwork.workbench.page import page_html

EVIL = """<script>window.ran = 1</script><img src="x" onerror="window.ran = 1"><script src="{away}a.js"></script>
<img src="{away}b.png"><link rel="stylesheet" href="{away}c.css"><iframe src="{away}d.html"></iframe>
<style>body {{ background: url({away}e.png) }}</style><video src="{away}f.mp4"></video>
<script type="module">fetch("{away}g")</script>"""


@pytest.fixture
def elsewhere():
    """The address of a server, and what was asked of it."""
    asked = []

    class Listens(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(200)
            self.send_header("Access-Control-Allow-Origin", "*")
            self.end_headers()

        def log_message(self, *told):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Listens)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/", asked
    server.shutdown()
    server.server_close()


def panel_page(folder):
    rows = [Row("stir"), Row("</script><b>")]
    return AlignmentExplorer(Narrated("v", 3), rows, np.arange(6.0).reshape(2, 3), title="a kitchen").page()


def wall_page(folder):
    wall = VideoWall([Card("v", 3.0)], [Said("stir the pot", 0, 0.0, 1.0)], title="a wall", beside="words.js")
    (folder / "words.js").write_text(wall.sentences(), encoding="utf-8")
    return wall.page()


def run_page(folder):
    (folder / "figures").mkdir()
    plt.imsave(folder / "figures" / "10_a-1.png", np.zeros((4, 4)))
    notebook = {"name": "10_a", "title": "Why?", "given": {}, "parameters": {}, "status": "done", "wall_s": 1.0}
    notebook |= {"executed": None, "page": None, "log": None, "results": [], "error": None}
    notebook["figures"] = {"10_a-1.png": "black"}
    machine = {"processor": "cpu", "cores": 2, "torch_threads": 2, "gpu": [], "platform": "Linux"}
    return page_html({"profile": "lab", "status": "done", "started": "", "wall_s": 1.0, "python": "3", "packages": {},
                      "git": {"commit": "", "dirty": False}, "hardware": machine, "peak_memory_mb": 0,
                      "peak_memory_how": "", "notebooks": [notebook]})  # fmt: skip


def notebook_page(folder):
    shown = nbformat.v4.new_output("display_data", {"text/html": "<script>document.body.dataset.panel = 1</script>"})
    cells = [nbformat.v4.new_markdown_cell("# Why?"), nbformat.v4.new_code_cell("1", outputs=[shown])]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), folder / "a.ipynb")
    write_html(folder / "a.ipynb", folder / "a.html")
    return (folder / "a.html").read_text("utf-8")


WORKS = {  # JavaScript that is true once the page is whole
    panel_page: "() => document.querySelector('.vcwork-alignment h3')?.innerText === 'a kitchen'",
    wall_page: """() => { const typed = document.querySelector('.vcwork input'); if (!typed) return false;
        typed.value = 'stir'; typed.dispatchEvent(new Event('input', { bubbles: true }));
        return document.body.innerText.includes('stir the pot'); }""",
    run_page: "() => document.querySelector('.figures img')?.naturalWidth === 4",
    notebook_page: "() => document.body.dataset.panel === '1'",
}


@pytest.mark.parametrize("make", WORKS, ids=lambda make: make.__name__)
def test_a_page_works_and_nothing_gets_in_or_out(make, browser, tmp_path, elsewhere):
    address, asked = elsewhere
    page = make(tmp_path)
    (tmp_path / "page.html").write_text(page, encoding="utf-8")
    evil = page.replace("</body>", EVIL.format(away=address) + "</body>")
    (tmp_path / "evil.html").write_text(evil, "utf-8")
    (tmp_path / "bare.html").write_text(re.sub("<meta [^>]*Content-Security-Policy[^>]*>", "", evil), "utf-8")
    with watched(browser) as one:
        one.page.goto((tmp_path / "page.html").as_uri())
        one.page.wait_for_function(WORKS[make])
        assert one.outside == [] and one.errors == []
    with watched(browser) as one:
        one.page.goto((tmp_path / "evil.html").as_uri())
        one.page.wait_for_function(WORKS[make])
        one.page.wait_for_timeout(500)
        assert asked == [], "nothing is loaded from elsewhere, and nothing is told there"
        if make is not notebook_page:  # which runs its own outputs, as the notebook's author made them
            assert one.page.evaluate("window.ran") is None
    with watched(browser) as one:
        one.page.goto((tmp_path / "bare.html").as_uri())
        one.page.wait_for_function(WORKS[make])
        one.page.wait_for_timeout(500)
        assert one.page.evaluate("window.ran") == 1
        assert {"/a.js", "/b.png", "/c.css", "/d.html"} <= set(asked), "the same without the policy"
