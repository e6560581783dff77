"""The results page of a run: every number with its company, every link to what is there, nothing from elsewhere."""

import re
from html.parser import HTMLParser
from typing import Any
from urllib.parse import unquote

import pytest

from vcwork.base.files import script_hash
from vcwork.measure.card import Card
from vcwork.workbench.page import headlines_of, lines_of, page_html

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


def _measured(
    name: str, value: float, task: str = "retrieval", split: str = "lab test", **changes: Any
) -> dict[str, Any]:
    """A result of a model that was compared with its opponent item by item."""
    over = {"opponent": "bag of words", "difference": value - 0.25, "low": value - 0.35, "high": value - 0.15, "p": 0.5}
    card = Card(task, split, pool=27, ties="expected", model="ab" * 32, **changes.pop("card", {})).as_dict()
    return _result(name, value, card=card, extra={"over": over}, **changes)


def test_a_headline_stands_beside_its_strongest_opponent_with_a_verdict_in_words():
    verdicts = {0.7: "▲ above it: +45.0 points (+35.0 .. +55.0)",
                0.3: "= level with it: +5.0 points (-5.0 .. +15.0)",
                0.1: "▼ below it: -15.0 points (-25.0 .. -5.0)"}  # fmt: skip
    for value, told in verdicts.items():
        tags = Tags(page_html(_run(_notebook("30_a", results=[_measured("R@1", value), _result("R@5", 0.75)]))))
        short, rest = " ".join(tags.text.split()).split("Notebooks", 1)
        assert told in short and f"{100 * value:.1f} % the model 25.0 % bag of words" in short, short
        assert "30 · Why? R@1, n 27" in short and "R@5" not in short
        assert "R@5" in rest and "pool of 27; expected ties" in rest, "all numbers and protocols stand below"


def test_six_headlines_one_a_task_and_none_of_what_proves_nothing():
    tasks = ("retrieval", "videoqa", "localization", "segmentation", "classification", "moments", "library search")
    first = _notebook("00_a", results=[_measured("taste", 0.3)])
    several = _notebook("30_b", results=[_measured("R@1", 0.5), _measured("R@5", 0.6),
                                         _measured("other", 0.6, split="other")])  # fmt: skip
    rest = [_notebook(f"{i}_c", results=[_measured(task, 0.4, task)]) for i, task in enumerate(tasks[1:], 31)]
    proves_nothing = [
        _measured("made_up_R@1", 0.9, "annotations", "made up like youcook2"),
        _measured("val_R@1", 0.9, split="lab val"),
        _measured("trick_R@1", 0.9, split="b", card={"tricks": ("dual softmax",), "transductive": True}),
        _measured("MdR", 0.9, split="c", unit="rank"),
        _result("no model", 0.9, card=Card("retrieval", "d", "x").as_dict()),
        _measured("alone", 0.9, split="e") | {"extra": {}},
    ]
    notebooks = [first, _notebook("20_x", results=proves_nothing), several, *rest]
    lines = [line for notebook in notebooks for line in lines_of(notebook)]
    assert [line.result.name for line in headlines_of(lines)] == ["R@1", *tasks[1:6]]
    only = [line for line in lines if line.result.protocol.task == "retrieval"]
    assert [line.result.name for line in headlines_of(only)] == ["R@1", "other"], "a task's other split comes after all"
    page = page_html(_run(notebooks[1]))
    assert "beside an opponent yet" in page and page.count("made_up_R@1") == 1, "in the table alone"


def test_a_changed_run_does_not_look_like_its_profile():
    told = "10_a: size is 'tiny' instead of 'lab'"
    page = page_html(_run(_notebook("10_a"), changed=["seed 3", told]))
    assert f"Not the profile lab as it stands: seed 3; {told}." in Tags(page).text
    assert "<title>lab, changed: results</title>" in page and "Workbench: lab, changed</h1>" in page
    assert "changed" not in Tags(page_html(_run(_notebook("10_a"), changed=[]))).text


def test_one_panel_can_be_touched_and_no_other_script_runs():
    panels = {name: f'<div class="vcwork-panel">{name}</div><script type="module">{name}()</script>'
              for name in ("00_a", "40_b", "50_c")}  # fmt: skip
    notebooks = [_notebook(name) for name in ("00_a", "20_a", "40_b", "50_c")]
    for known, shown in ((panels, "40_b"), ({"50_c": panels["50_c"]}, "50_c")):
        page = page_html(_run(*notebooks), known)
        assert page.count("<script") == 1 and panels[shown] in page, "the one of notebook 40, or any"
        assert f"script-src {script_hash(f'{shown}()')};" in page
        assert f'A panel of <a href="pages/{shown}.html">' in page
    assert "script-src 'none'" in page_html(_run(*notebooks)) and "Touch it" not in page_html(_run(*notebooks))


def test_bars_show_shares_and_nothing_else():
    page = page_html(
        _run(_notebook("30_a", results=[_result("R@1", 0.5), _result("MdR", 3.0, unit="rank", chance=14.0)]))
    )
    bars = re.findall(r'<span class="bar">(.*?)</span>', page)
    assert len(bars) == 1, "the rank has none"
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
    assert tags.values("source", "srcset") == ["figures/30_a-1.dark.png", "figures/30_a-2.dark.png"]
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
    assert tags.text.count("onerror=alert(1)") >= 3


@pytest.mark.parametrize("status", ["running", "interrupted"])
def test_a_run_without_numbers_says_so(status):
    text = Tags(page_html(_run(_notebook("30_a", status="waiting", page=None, executed=None), status=status))).text
    assert "No notebook has recorded a metric yet." in text and status in text and "1 not run" in text


def test_links_lead_to_files_of_any_name():
    name = """10_a--"><script>alert(1)</script>&'#?%41"""
    tags = Tags(page_html(_run(_notebook(name, figures={f"{name}-1.png": "a curve"}, results=[_result("R@1", 0.5)]))))
    links = [unquote(link) for link in (*tags.values("a", "href"), *tags.values("img", "src"))]
    assert {f"pages/{name}.html", f"notebooks/{name}.ipynb", f"figures/{name}-1.png"} <= set(links)
    assert "script" not in {tag for tag, _ in tags.tags}
