"""The documentation's search in a real browser, from disk: the words around what was found stand below each hit."""

import json
from pathlib import Path

import pytest
from browsing import ROOT, watched

TEXT = (
    "An overlapped pair. "
    + "Nothing of it here. " * 30
    + "Silence earns the background share, <b>no</b> more. "
    + "End. " * 40
)
PAGE = """<!DOCTYPE html><title>search</title><body data-theme="light"><div id="search-results"></div>
<script>window.excerpts = {excerpts}</script><script>{code}</script><script>
document.addEventListener("DOMContentLoaded", () => {{
  const list = document.getElementById("search-results").appendChild(document.createElement("ul"));
  list.innerHTML = `<li><a href="notebooks/33.html#x">33</a></li><li class="kind-object">
    <a href="reference/m.html#m.silent">vcwork.m.silent</a></li><li><a href="gone.html">gone</a></li>`;
}});</script>"""


@pytest.fixture
def page(tmp_path: Path) -> str:
    told = {"notebooks/33": TEXT, "reference/m": "silent(truth) -> labels Calls every second background."}
    code = (ROOT / "docs/_static/site.js").read_text(encoding="utf-8")
    (tmp_path / "search.html").write_text(PAGE.format(excerpts=json.dumps(told), code=code), encoding="utf-8")
    return (tmp_path / "search.html").as_uri()


def test_a_hit_shows_the_words_where_most_of_those_asked_for_stand(browser, page):
    with watched(browser, offline=True) as seen:
        seen.page.goto(f"{page}?q=backgrounds+Silence")
        lines = seen.page.locator(".context")
        lines.first.wait_for()
        assert lines.count() == 2, "a page whose text is not known has no line"
        first = lines.nth(0)
        assert "Silence earns the background share, <b>no</b> more." in first.inner_text()
        assert first.locator("mark").all_inner_texts() == ["Silence", "background"] and not first.locator("b").count()
        assert lines.nth(1).locator("mark").all_inner_texts() == ["silent"], "a function's own name, not what was asked"
        assert not seen.errors and not seen.outside
