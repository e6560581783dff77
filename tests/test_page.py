"""The results page of a run: every number with its company, every link to what is there, nothing from elsewhere."""

import re
from html.parser import HTMLParser
from typing import Any
from urllib.parse import unquote

import pytest

from vcwork.workbench.page import page_html

NASTY = '</script><img src=x onerror=alert(1)> & "quotes"'
PROTOCOL = "27 clips; pool of 27; ties: expected"


def _result(name: str, value: float, **changes: Any) -> dict[str, Any]:
    spread = {"low": value - 0.1, "high": value + 0.1, "chance": 0.0625, "trivial": {"bag of words": 0.25}}
    other = {"protocol": PROTOCOL, "n": 27, "paper": None, "extra": {}, "unit": "share"}
    return {"name": name, "value": value, **spread, **other, **changes}


def _notebook(name: str, **changes: Any) -> dict[str, Any]:
    files = {"executed": f"notebooks/{name}.ipynb", "page": f"pages/{name}.html", "log": None, "figures": {}}
    state = {"status": "done", "started": None, "wall_s": 72.0, "error": None, "results": []}
    return {"name": name, "title": f"{name[:2]} · Why?", "given": {}, "parameters": {"seed": 3}, **files, **state,
            **changes}  # fmt: skip


def _run(*notebooks: dict[str, Any], **changes: Any) -> dict[str, Any]:
    machine = {"processor": "cpu", "cores": 2, "torch_threads": 2, "gpu": [], "platform": "Linux"}
    return {"profile": "lab", "status": "done", "started": "2026-11-21", "wall_s": 600.0, "git": {"commit": "abc" * 8,
            "dirty": False}, "python": "3.11.7", "packages": {"torch": "2.13.0"}, "hardware": machine,
            "peak_memory_mb": 1000, "peak_memory_how": "measured", "notebooks": list(notebooks), **changes}  # fmt: skip


class Tags(HTMLParser):
    """All tags with their attributes, and the text outside of styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags, self.text, self.inside = [], "", ""
        self.feed(text)

    def handle_starttag(self, tag: str, given: list) -> None:
        self.tags.append((tag, dict(given)))
        self.inside = tag

    def handle_data(self, data: str) -> None:
        self.text += "" if self.inside == "style" else data

    def values(self, tag: str, key: str) -> list[str]:
        return [given[key] for name, given in self.tags if name == tag and key in given]


def test_the_first_number_of_each_notebook_stands_above_all_of_them():
    page = page_html(_run(_notebook("30_a", results=[_result("R@1", 0.5), _result("R@5", 0.75)]), _notebook("40_b"),
                          _notebook("33_c", results=[_result("frames", 0.375)])))  # fmt: skip
    short, rest = page.split('id="notebooks"')
    assert "R@1" in short and "frames" in short and "R@5" not in short
    assert all(name in rest for name in ("R@1", "R@5", "frames"))
    for told in ("50.0 %", "40.0 % .. 60.0 %", "6.2 %", "25.0 % bag of words", PROTOCOL):
        assert told in short, told
    assert rest.count(PROTOCOL) == 2, "once for the two metrics that share it, once for the other notebook"


def test_bars_show_shares_and_nothing_else():
    page = page_html(
        _run(_notebook("30_a", results=[_result("R@1", 0.5), _result("MdR", 3.0, unit="rank", chance=14.0)]))
    )
    bars = re.findall(r'<span class="bar">(.*?)</span>', page)
    assert len(bars) == 2, "the first number twice, the rank never"
    assert 'class="band" style="left:40.0%;width:20.0%"' in bars[0] and 'class="value" style="left:50.0%"' in bars[0]
    assert 'class="chance" style="left:6.2%"' in bars[0]


def test_links_lead_to_what_the_run_wrote():
    failed = _notebook("33_c", status="failed", page=None, executed=None, results=[_result("frames", 0.4)],
                       error={"cell": 4, "line": "boom()", "message": "ValueError: no"})  # fmt: skip
    figures = {"30_a-1.png": "a curve", "30_a-2.png": "bars"}
    tags = Tags(page_html(_run(_notebook("30_a", figures=figures), failed, status="failed")))
    ids = {given["id"] for _, given in tags.tags if "id" in given}
    there = {"pages/30_a.html", "notebooks/30_a.ipynb", "figures/30_a-1.png", "figures/30_a-2.png", "run.json",
             "metrics.json", *(f"#{name}" for name in ids)}  # fmt: skip
    assert set(tags.values("a", "href")) <= there and "#33_c" in tags.values("a", "href")
    assert tags.values("img", "src") == ["figures/30_a-1.png", "figures/30_a-2.png"]
    assert tags.values("img", "alt") == ["a curve", "bars"]
    assert "cell In [4]: boom()" in tags.text and "1 done, 1 failed" in tags.text


def test_nothing_comes_from_elsewhere_and_both_themes_are_there():
    page = page_html(_run(_notebook("30_a", results=[_result("R@1", 0.5)], figures={"30_a-1.png": "a curve"})))
    assert not re.search(r"https?:|//|<script|@import|url\(", page)
    assert "prefers-color-scheme: dark" in page and "color-scheme: light dark" in page


def test_texts_of_a_run_are_texts():
    page = page_html(_run(_notebook("30_a", title=NASTY, given={"query": NASTY}, results=[_result(NASTY, 0.5)]),
                          profile=NASTY))  # fmt: skip
    tags = Tags(page)
    assert "script" not in {tag for tag, _ in tags.tags} and "img" not in {tag for tag, _ in tags.tags}
    assert tags.text.count("onerror=alert(1)") >= 4


@pytest.mark.parametrize("status", ["running", "interrupted"])
def test_a_run_without_numbers_says_so(status):
    text = Tags(page_html(_run(_notebook("30_a", status="waiting", page=None, executed=None), status=status))).text
    assert text.count("No notebook has recorded a metric yet.") == 2 and status in text and "1 not run" in text


def test_links_lead_to_files_of_any_name():
    name = """10_a--"><script>alert(1)</script>&'#?%41"""
    tags = Tags(page_html(_run(_notebook(name, figures={f"{name}-1.png": "a curve"}, results=[_result("R@1", 0.5)]))))
    links = [unquote(link) for link in (*tags.values("a", "href"), *tags.values("img", "src"))]
    assert {f"pages/{name}.html", f"notebooks/{name}.ipynb", f"figures/{name}-1.png"} <= set(links)
    assert "script" not in {tag for tag, _ in tags.tags}
