"""Notebooks as pages: formulas, progress bars, other widgets, figures."""

import base64
import re
from pathlib import Path
from urllib.parse import unquote

import nbformat
import numpy as np
import pytest
from bs4 import BeautifulSoup
from checks import dead_links
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from vcwork.panels.alignment import AlignmentExplorer, Row
from vcwork.panels.base import Narrated
from vcwork.workbench.notebook_html import draw_formulas, settle, title, widget_text, write_figures, write_html

WIDGET = "application/vnd.jupyter.widget-view+json"
STATE = {
    "box": {"state": {"children": ["IPY_MODEL_left", "IPY_MODEL_bar", "IPY_MODEL_right"]}},
    "left": {"state": {"description": "", "value": "epochs:  50%"}},
    "bar": {"state": {"bar_style": "", "value": 5.0, "max": 10.0}},
    "right": {"state": {"value": " 5/10 [00:03&lt;00:03]"}},
}


def test_progress_bar_becomes_its_last_text() -> None:
    assert widget_text("box", STATE) == "epochs:  50% ██████████ 5/10 [00:03<00:03]"


def test_a_widget_shows_what_is_stored_beside_it() -> None:
    bar = new_output("display_data", {WIDGET: {"model_id": "box"}, "text/plain": "0%|"})
    assert settle(bar, STATE).data == {"text/plain": widget_text("box", STATE)}
    figure = new_output("display_data", {WIDGET: {"model_id": "box"}, "image/png": "x", "text/plain": "<Panel>"})
    assert settle(figure, STATE).data == {"image/png": "x", "text/plain": "<Panel>"}
    unknown = new_output("display_data", {WIDGET: {"model_id": "gone"}, "text/plain": "Panel()"})
    assert settle(unknown, STATE).data == {"text/plain": "Panel()"}


@pytest.mark.parametrize("text", ["costs $5 and $6", "`a $b$ c`", "```\n$x$\n```", r"$\nosuchcommand{x}$", "none"])
def test_what_is_no_formula_stays(text: str) -> None:
    assert draw_formulas(text) == text


def test_formulas_are_drawn_inline_and_displayed() -> None:
    drawn = draw_formulas("loss $x^2$ and\n\n$$\n\\frac{1}{B}\n$$\n")
    assert drawn.count('<img class="formula"') == 2 and "$" not in drawn
    assert 'alt="\\frac{1}{B}"' in drawn


def test_page_and_figures_of_a_notebook(tmp_path: Path) -> None:
    png = base64.b64encode(b"\x89PNG...").decode()
    outputs = [
        new_output("display_data", {"image/png": png, "text/plain": 'A "curve" from 1 to 3.'}),
        new_output("display_data", {"image/png": png}),
    ]
    notebook = new_notebook(
        cells=[
            new_markdown_cell("text only"),
            new_markdown_cell("## How `far`?\n"),
            new_code_cell("1", outputs=outputs),
        ]
    )
    path = tmp_path / "10_any.ipynb"
    nbformat.write(notebook, path)
    write_html(path, tmp_path / "pages" / "10_any.html")
    page = (tmp_path / "pages" / "10_any.html").read_text()
    assert page.startswith("<!DOCTYPE html>") and "<script" not in page
    assert title(notebook) == "How far?"
    assert [image["alt"] for image in BeautifulSoup(page, "html.parser")("img")] == ['A "curve" from 1 to 3.', ""]
    figures = write_figures(path, tmp_path / "figures")
    assert figures == {"10_any-1.png": 'A "curve" from 1 to 3.', "10_any-2.png": ""}
    assert (tmp_path / "figures" / "10_any-2.png").read_bytes() == b"\x89PNG..."


def test_a_panel_arrives_whole_and_follows_the_theme(tmp_path: Path) -> None:
    panel = AlignmentExplorer(
        Narrated("v", 3), [Row("stir"), Row("</script><b>")], np.arange(6.0).reshape(2, 3), title="kitchen"
    )
    output = new_output("display_data", {"text/html": panel.html(), "image/png": "eA==", "text/plain": "Panel"})
    path = tmp_path / "40_any.ipynb"
    nbformat.write(new_notebook(cells=[new_markdown_cell("# Far?"), new_code_cell("1", outputs=[output])]), path)
    write_html(path, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    inside = re.search(r'<script type="module">.*</script>', panel.html(), re.DOTALL)[0]
    assert inside in page and 'class="vcwork-panel"' in page, "not sanitised, not escaped, not the picture alone"
    assert page.count("<script") == 1 and not re.search(r'(src|href)="(https?:)?//', page)
    assert "data-jp-theme-light" not in page.split("<body", 1)[1].split(">", 1)[0], "the system's theme decides"
    assert "<title>Far?</title>" in page


def test_a_page_of_a_run_knows_its_neighbours(tmp_path: Path) -> None:
    path = tmp_path / "20_b.ipynb"
    nbformat.write(new_notebook(cells=[new_markdown_cell("# B")]), path)
    ways = {}
    for names in (("10_a", "20_b", "30_c"), ("20_b",), ("10_a",), ()):
        write_html(path, tmp_path / "page.html", names)
        ways[names] = re.findall('<nav aria-label="run".*?</nav>', (tmp_path / "page.html").read_text(), re.S)
    assert re.findall(r'href="(.*?)"', ways["10_a", "20_b", "30_c"][0]) == ["../index.html", "10_a.html", "30_c.html"]
    assert re.findall(r'href="(.*?)"', ways["20_b",][0]) == ["../index.html"]
    assert ways["10_a",] == ways[()] == [], "alone, or of another run"


def test_code_is_folded_and_the_sections_are_listed(tmp_path: Path) -> None:
    error = new_output("error", ename="ValueError", evalue="no", traceback=["no"])
    cells = [new_markdown_cell("# Why?\n\n## Is *it* & $x^2$?\n\n### no section"), new_code_cell("a\nb"),
             new_markdown_cell("## Is *it* far?"), new_code_cell("c", outputs=[error])]  # fmt: skip
    nbformat.write(new_notebook(cells=cells), tmp_path / "a.ipynb")
    write_html(tmp_path / "a.ipynb", tmp_path / "a.html")
    page = (tmp_path / "a.html").read_text("utf-8")
    contents = re.search('<nav aria-label="contents">(.*?)<button', page)[1]
    assert re.findall(r">([^<]+)</a>", contents) == ["Is it &amp; ?", "Is it far?"]
    assert 'href="#Is-it-far%3F"' in contents and 'id="Is-it-far?"' in page
    assert re.findall(r'<details class="code"( open)?(?:="")?><summary>(.*?)<', page) == [("", "2 lines of code"),
                                                                             (" open", "1 line of code")]  # fmt: skip
    assert dead_links(tmp_path / "a.html") == []


def test_links_lead_to_pages_of_the_run_and_nowhere_else(tmp_path: Path) -> None:
    path = tmp_path / "10_any--clips.ipynb"
    links = " ".join(f"[x]({name}.ipynb)" for name in ("20_a", "30_b", "35_c", "40_d"))
    nbformat.write(new_notebook(cells=[new_markdown_cell(f"{links} [y](30_b.ipynb#part)")]), path)
    names = ["10_any--clips", "20_a", "20_a--clips", "30_b", "35_c--other"]
    write_html(path, tmp_path / "page.html", names)
    page = (tmp_path / "page.html").read_text()
    for name in ("20_a--clips.html", "30_b.html", "35_c--other.html", "30_b.html#part"):
        assert f'href="{name}"' in page
    assert "40_d" not in page and ".ipynb" not in page.split("<body", 1)[1]


def test_a_label_is_a_text_on_the_pages_of_its_run(tmp_path: Path) -> None:
    """A parameter file's name reaches the page: the ways to its neighbours, and links of the notebook."""
    label = """10_a--"><script>alert(1)</script>&'#?%41"""
    cells = [nbformat.v4.new_markdown_cell("# Why?\n\n[there](10_a.ipynb)")]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "20_b.ipynb")
    write_html(tmp_path / "20_b.ipynb", tmp_path / "20_b.html", [label, "20_b"])
    page = (tmp_path / "20_b.html").read_text("utf-8")
    assert "<script" not in page
    links = [unquote(link) for link in re.findall(r'href="([^"#]*)"', page)]
    assert links.count(f"{label}.html") == 2, "both lead to the file of that name"
