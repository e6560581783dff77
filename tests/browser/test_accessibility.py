"""Pages for everyone: axe finds no barrier of the levels A and AA, light or dark; nothing moves by itself.

Explore's pages and the documentation are looked at where they are made: test_own_pages and test_docs_site.
"""

import base64

import nbformat
import numpy as np
import pytest
from browsing import barriers, watched
from test_page import _measured, _notebook, _result, _run
from test_panels import EMPTY, MADE

from vcwork.__main__ import main
from vcwork.workbench.notebook_html import write_html
from vcwork.workbench.page import page_html

CODE = '''corpus: str = ""  # folder: a corpus with truth; empty: the tiny lab world
@dataclass
class Case(Base):
    """What it holds."""
    share: float = 9.5e-3
for i in range(10):
    if not i % 2 and i in known and x is not None:
        print(f"{names[i]:28s} gamma {rules['a'][1]:8.2f}", lambda: True)'''
TEXT = (
    "Read [30 · Find the clip](30_a.ipynb), the `table` and $x^2$.\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n1. **one**\n"
)
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


def notebook(folder):
    """Each panel, a figure, code with a comment, text with a link."""
    v4 = nbformat.v4
    shown = [v4.new_output("display_data", make("stir the pot", title="a kitchen").bundle()) for make in MADE]
    shown += [v4.new_output("display_data", {"image/png": PNG, "text/plain": "A curve from 1 to 3."})]
    shown += [
        v4.new_output("stream", text="gamma 9.2\n"),
        v4.new_output("execute_result", {"text/plain": "1"}, execution_count=1),
    ]
    cells = [v4.new_markdown_cell(f"# Why?\n\n{TEXT}"), v4.new_code_cell(CODE, outputs=shown, execution_count=1)]
    nbformat.write(v4.new_notebook(cells=cells), folder / "20_a.ipynb")
    write_html(folder / "20_a.ipynb", folder / "page.html", ["10_b", "20_a", "30_a"])


def results(folder):
    figure = {"figures": {"30_a-1.png": "a curve"}}
    (folder / "figures").mkdir()
    (folder / "figures" / "30_a-1.png").write_bytes(base64.b64decode(PNG))
    error = {"cell": 4, "line": "boom()", "message": "ValueError: no"}
    rows = [_measured("R@1", 0.5), _result("MdR", 3.0, unit="rank")]
    run = _run(
        _notebook("30_a", results=rows, given={"corpus": "a"}, **figure),
        _notebook("33_c", status="failed", error=error, results=[_measured("frames", 0.1, "segmentation")]),
        changed=["seed 3", "10_a: size is 'tiny' instead of 'lab'"],
    )
    panel = next(iter(MADE))("stir the pot", title="a kitchen").html()
    (folder / "page.html").write_text(page_html(run, {"30_a": panel}), "utf-8")


def audit(folder):
    np.save(folder / "scores.npy", np.eye(12) / 2 + np.random.default_rng(0).random((12, 12)))
    assert main(["audit", str(folder / "scores.npy"), "--out", str(folder / "audit")]) == 0
    (folder / "page.html").write_text((folder / "audit" / "index.html").read_text("utf-8"), "utf-8")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Of each page one, in a folder of its name."""
    made = tmp_path_factory.mktemp("everyone")
    for make in (notebook, results, audit):
        (made / make.__name__).mkdir()
        make(made / make.__name__)
    return made


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["notebook", "results", "audit"])
def test_nobody_is_kept_out(name, scheme, browser, folder):
    with watched(browser, offline=True, color_scheme=scheme, viewport={"width": 1280, "height": 900}) as one:
        one.page.goto((folder / name / "page.html").as_uri())
        assert barriers(one.page) == []
        one.shot(f"everyone-{name}-{scheme}")


@pytest.mark.parametrize("name", EMPTY)
def test_a_panel_with_nothing_to_show_keeps_nobody_out(name, browser, tmp_path):
    (tmp_path / "page.html").write_text(EMPTY[name].page(), encoding="utf-8")
    with watched(browser, offline=True) as one:
        one.page.goto((tmp_path / "page.html").as_uri())
        assert barriers(one.page) == []


def test_all_that_can_be_touched_is_reached_by_keyboard_and_nothing_moves_by_itself(browser, folder):
    with watched(browser, offline=True, reduced_motion="reduce", viewport={"width": 1280, "height": 900}) as one:
        one.page.goto((folder / "notebook" / "page.html").as_uri())
        one.page.locator(".vcwork-wall .grid").wait_for()
        places = {make.__name__ for make in MADE}
        touched = set()
        for _ in range(250):
            one.page.keyboard.press("Tab")
            touched.add(
                one.page.evaluate("() => document.activeElement.closest('.vcwork')?.className.split('-').at(-1)")
            )
        assert places <= touched, f"no way by keyboard into {places - touched}"
        moving = "() => document.getAnimations().length + document.querySelectorAll('video[autoplay]').length"
        assert one.page.evaluate(moving) == 0
