"""The documentation site: it builds without a warning, needs no network, its links live, every module is in it."""

import importlib.util
import io
import itertools
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
from checks import refused
from PIL import Image

from vcwork.base.errors import VcworkError
from vcwork.base.sealed import seal, write_manifest, write_sealed
from vcwork.measure.result import METRICS
from vcwork.panels.dark import darkened
from vcwork.workbench.records import RUN

pytest.importorskip("sphinx", reason="needs the extra `docs`")
pytest.importorskip("myst_nb", reason="needs the extra `docs`")
ROOT = Path(__file__).resolve().parents[1]
PAGES = ("index", "start", "tour", "teaching", "own_data", "extend", "reproduction", "variants", "speed", "scale",
         "faq", "reference", "notebooks/lessons")  # fmt: skip


def _load(name: str):
    """A module of `docs/`, which is no package."""
    spec = importlib.util.spec_from_file_location(f"docs_{name}", ROOT / "docs" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


build, conf = _load("build"), _load("conf")


LOADS = {"script": "src", "img": "src", "link": "href", "iframe": "src", "video": "src", "audio": "src", "track": "src",
         "source": "src", "embed": "src", "object": "data", "input": "src"}  # fmt: skip
NO_LOAD = ("index", "search", "next", "prev", "canonical")  # what a <link> may name and no browser fetches


class Page(HTMLParser):
    """What a page loads, where its links lead, and the anchors it has."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loads, self.links, self.anchors = [], [], set()
        self.feed(text)

    def handle_starttag(self, tag: str, given: list) -> None:
        values = dict(given)
        if values.get(LOADS.get(tag)) and values.get("rel") not in NO_LOAD:
            self.loads.append(values[LOADS[tag]])
        if tag == "a" and values.get("href"):
            self.links.append(values["href"])
        self.anchors |= {values[key] for key in ("id", "name") if values.get(key)}


# ------------------------------------------------------------------------------------------------- the built site


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    before = _state()
    target = tmp_path_factory.mktemp("docs") / "site"
    command = [sys.executable, str(ROOT / "docs/build.py"), str(target)]
    done = subprocess.run(command, cwd=target.parent, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True,
                          text=True)  # fmt: skip
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert _state() == before, "building left something in the project"
    return target


def _state() -> set[str]:
    return {str(file.relative_to(ROOT)) for file in (ROOT / "docs").rglob("*") if "__pycache__" not in file.parts}


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    read = {path: Page(path.read_text(encoding="utf-8")) for path in sorted(site.rglob("*.html"))}
    assert len(read) > 100 and sum(len(page.links) for page in read.values()) > 1000, "there is something to check"
    return read


def test_every_page_and_notebook_is_there(site):
    notebooks = [f"notebooks/{path.stem}" for path in (ROOT / "notebooks").glob("[0-9]*.ipynb")]
    for name in (*PAGES, "source_documents", "benchmarks/README", "params/README", *notebooks):
        assert (site / f"{name}.html").is_file(), name
    assert not (site / "notebooks/template.html").exists()


def test_nothing_is_loaded_from_elsewhere(site, pages):
    for path, page in pages.items():
        away = [what for what in page.loads if re.match(r"\w+:|//", what) and not what.startswith("data:")]
        assert not away, f"{path.relative_to(site)} loads {away}"
    for style in site.rglob("*.css"):
        assert not re.search(r"(url\(['\"]?|@import\s+['\"]?)(https?:)?//", style.read_text(encoding="utf-8")), style
    for code in (*site.rglob("*.js"), *site.rglob("*.html")):
        text = code.read_text(encoding="utf-8")
        assert not re.search(r"requirejs|require\.min\.js|mathjax\w*\.js|cdn\.jsdelivr|cdnjs|unpkg", text, re.I), code


def test_every_page_may_load_what_lies_beside_it_alone(pages):
    for path in pages:
        text = path.read_text("utf-8")
        told = re.search(r'<meta http-equiv="Content-Security-Policy" content="(.*?)">', text)
        assert told and "default-src 'none'" in told[1] and "http" not in told[1], path
        assert "&lt;meta name" not in text, f"{path}: shows a tag as text"


def test_no_docstring_shows_its_asterisks(site):
    for path in (*site.glob("reference/*.html"), site / "reference.html"):
        text = re.sub(r"<(script|pre)\b.*?</\1>|<[^>]*>", "", path.read_text(encoding="utf-8"), flags=re.S)
        assert not re.search(r"(?<![\w*])\*\w[\w’' -]*\*(?![\w*])", text), path


def test_a_search_has_the_words_of_every_page_and_every_picture_a_twin_for_the_dark(site, pages):
    quoted = json.loads(
        (site / "_static/excerpts.js").read_text("utf-8").removeprefix("window.excerpts = ").rstrip(";\n")
    )
    assert {path.relative_to(site).with_suffix("").as_posix() for path in pages} - quoted.keys() <= {
        "genindex", "py-modindex", "search", "_modules/index"}  # fmt: skip
    assert "background" in quoted["notebooks/33_action_segmentation"] and "<script" not in json.dumps(quoted)
    assert "excerpts.js" in (site / "search.html").read_text("utf-8")
    page = (site / "notebooks/33_action_segmentation.html").read_text("utf-8")
    light, dark = (re.findall(rf'<img class="only-{tone}"[^>]*_images/([\w.]+)"', page) for tone in ("light", "dark"))
    assert light and [name.replace(".png", ".dark.png") for name in light] == dark


def test_each_notebook_says_what_it_ran_with(site):
    for path in (ROOT / "notebooks").glob("[0-9]*.ipynb"):
        assert "As it is stored" in (site / f"notebooks/{path.stem}.html").read_text("utf-8"), path


def test_links_and_loaded_files_live(site, pages):
    dead = []
    for path, page in pages.items():
        for link in (*page.links, *page.loads):
            if re.match(r"\w+:|//", link):
                continue
            name, _, anchor = link.partition("#")
            target = (path.parent / unquote(name.partition("?")[0])).resolve() if name else path
            places = pages[target].anchors if target in pages and target.stem != "search" else {unquote(anchor)}
            if not target.is_file():
                dead.append(f"{path.relative_to(site)}: {link}")
            elif anchor and unquote(anchor) not in places:
                dead.append(f"{path.relative_to(site)}: {link} (no such place)")
    assert not dead, "\n".join(dead)


def test_every_public_module_is_in_the_reference(site):
    listed = (site / "reference.html").read_text(encoding="utf-8")
    for file in (ROOT / "vcwork").rglob("*.py"):
        name = build.module_name(file.relative_to(ROOT).as_posix())
        if file.stem != "__main__":
            assert f'href="reference/{name}.html"' in listed, name
            page = (site / f"reference/{name}.html").read_text(encoding="utf-8")
            assert f'id="module-{name}"' in page, name
    page = (site / "reference/vcwork.encoders.encoder.html").read_text(encoding="utf-8")
    assert 'id="vcwork.encoders.encoder.encode_video"' in page


def test_panels_and_outputs_arrive_whole(site):
    page = (site / "notebooks/40_alignment_explorer.html").read_text(encoding="utf-8")
    assert '<script type="module">' in page and 'class="vcwork-panel"' in page and "standalone(" in page
    assert "data-jp-theme-light" in page or "jpThemeLight" in (site / "_static/site.js").read_text(encoding="utf-8")
    assert len(page.encode()) < 10e6
    ledger = (site / "notebooks/90_reproduction_review.html").read_text(encoding="utf-8")
    assert "vcwork-ledger" in ledger and "not testable here" in ledger


def test_nobody_is_kept_out(site, browser):
    from browser.browsing import barriers, watched

    for name in ("teaching", "notebooks/33_action_segmentation", "reference/vcwork.core.loss", "search"):
        for scheme in ("light", "dark"):
            with watched(browser, offline=True, color_scheme=scheme, viewport={"width": 1280, "height": 900}) as one:
                one.page.goto(f"{(site / name).as_uri()}.html?q=background")
                assert not one.outside and not one.errors  # before axe, which asks for the page's own files again
                assert barriers(one.page) == [], f"{name} in the {scheme}"


# ------------------------------------------------------------------------------------------------- by hand


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run that ended, of notebook 31 alone: what it recorded, and the stored notebook as if executed."""
    folder, name = tmp_path / "run", "31_video_qa"
    executed = folder / "notebooks" / f"{name}.ipynb"
    executed.parent.mkdir(parents=True)
    text = (
        (ROOT / f"notebooks/{name}.ipynb")
        .read_text("utf-8")
        .replace("## Results", f"## Results {ROOT / 'outputs/run'}")
    )
    executed.write_text(text)
    code = build.cells_digest(build.nbformat.read(executed, as_version=4))
    entry = {"name": name, "status": "done", "code": code, "executed": f"notebooks/{name}.ipynb", "wall_s": 7.2,
             "given": {"corpus": "{run}/corpus"}, "parameters": {"seed": 3}, "hashes": {},
             "started": "2026-11-27T01:02"}  # fmt: skip
    numbers = {"format": "vcwork-metrics-2", "profile": "lab", "results": []}
    write_sealed(folder / METRICS, numbers)
    write_manifest(folder, RUN, {"profile": "lab", "status": "done", "seed": None, "changed": ["20.epochs=5"],
                                 "notebooks": [entry], "files": {entry["executed"]: seal(executed)}})  # fmt: skip
    return folder


def test_a_site_of_a_run_shows_what_ran_and_with_what(run, tmp_path):
    ran = build.executed(ROOT, run)
    assert ran["31_video_qa"].note == ("As it ran in profile `lab` (seed 3), 2026-11-27, 7 s, `corpus: {run}/corpus`. "
                                       "Changed against the profile: 20.epochs=5.")  # fmt: skip
    page = build._notebook(ROOT / "notebooks/31_video_qa.ipynb", ROOT, set(), ran["31_video_qa"])
    assert ran["31_video_qa"].note in page and "## Results outputs/run" in page and str(ROOT) not in page


def test_a_run_that_does_not_fit_is_refused(run, tmp_path):
    executed = run / "notebooks/31_video_qa.ipynb"
    whole = executed.read_bytes()
    executed.write_bytes(whole + b" ")
    refused("31_video_qa.ipynb: missing, or not the file of run.json", build.executed, ROOT, run)
    executed.write_bytes(whole)
    other = tmp_path / "project"
    (other / "notebooks").mkdir(parents=True)
    shutil.copy(ROOT / "notebooks/32_action_localization.ipynb", other / "notebooks/31_video_qa.ipynb")
    refused("ran another 31_video_qa than notebooks/ holds now", build.executed, other, run)
    refused("run.json", build.executed, ROOT, tmp_path)


def test_a_figure_for_the_dark_keeps_its_colours_and_its_scale():
    drawn = np.full((60, 80, 3), 255, np.uint8)
    drawn[20:50, 20:60] = np.linspace(60, 200, 40, dtype=np.uint8)[None, :, None]  # a grey map inside
    drawn[5:8, 10:30] = 0  # a word on the ground
    drawn[52:56, 10:30] = (0, 114, 178)  # a line
    Image.fromarray(drawn).save(png := io.BytesIO(), "PNG")
    dark = np.asarray(Image.open(io.BytesIO(darkened(png.getvalue()))))
    assert dark[0, 0].max() < 40 and dark[6, 20].min() > 200, "the ground is dark, and what stands on it light"
    assert (dark[25:45, 25:55] == drawn[25:45, 25:55]).all() and (dark[54, 20] == (0, 114, 178)).all()


def test_the_workflow_publishes_the_run_that_it_made():
    import yaml

    steps = yaml.safe_load((ROOT / ".github/workflows/pages.yml").read_text())["jobs"]["site"]["steps"]
    made, site = (shlex.split(step["run"])[1:] for step in steps if "run" in step)
    asked = build.parser().parse_args(site[1:])
    assert made == ["workbench", "--out", str(asked.run)] and site[0] == "docs"
    assert next(step["with"]["path"] for step in steps if "upload" in step.get("uses", "")) == str(asked.folder)


def test_every_question_of_the_lessons_is_answered_by_a_cell():
    import nbformat

    page = (ROOT / "docs/teaching.md").read_text(encoding="utf-8")
    asked = re.findall(r"^\| (\d\.\d .*?) \|", page, re.MULTILINE)
    cells = nbformat.read(ROOT / "notebooks/lessons.ipynb", as_version=4).cells
    found = {}
    for cell, after in itertools.pairwise(cells):
        for heading in re.findall(r"^### (.*)$", cell.source, re.MULTILINE):
            found[heading] = after
    assert list(found) == asked and len(asked) == 12
    told = re.sub(r"[^\d.]+", " ", page).split()
    for heading, cell in found.items():
        assert re.search(r"^assert ", cell.source, re.MULTILINE) and cell.outputs, heading
    for lesson in page.split("## Lesson ")[1:]:
        assert sum(map(int, re.findall(r"^\| (\d+) \| ", lesson, re.MULTILINE))) == 45
    shown = " ".join(o.text for cell in found.values() for o in cell.outputs)
    for number in ("44%", "0.94", "0.50", "38%", "25%", "10.3%", "0.5%", "2.13", "2.75", "47.0%", "48.0%", "49.6%"):
        assert number in shown and number.rstrip("%") in told, number


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for folder in ("docs", "notebooks", "vcwork/core", "vcwork/tasks", "params", "benchmarks"):
        (tmp_path / folder).mkdir(parents=True)
    for name in ("docs/a.md", "docs/b.md", "notebooks/10_x.ipynb", "vcwork/core/model.py", "vcwork/tasks/__init__.py",
                 "params/x.yaml", "benchmarks/README.md", "docs/p.png", "README.md"):  # fmt: skip
        (tmp_path / name).write_text("x: 1\n")
    return tmp_path


def test_links_lead_to_what_stands_in_the_site(project):
    told = {
        "[x](b.md#part)": "[x](b.md#part)",
        "[x](../notebooks/10_x.ipynb)": "[x](notebooks/10_x.ipynb)",
        "[x](../vcwork/core/model.py)": "[x](reference/vcwork.core.model.md)",
        "[x](../vcwork/tasks/__init__.py)": "[x](reference/vcwork.tasks.md)",
        "[x](../benchmarks/README.md)": "[x](benchmarks/README.md)",
        "[x](../params/x.yaml)": "[x](params/x.yaml.md)",
        "![x](p.png)": "![x](docs/p.png)",
        "[x](https://example.org/a.md) [y](#here)": "[x](https://example.org/a.md) [y](#here)",
        "```{include} ../README.md\n:start-after: x": "```{include} README.md\n:start-after: x",
    }
    linked = set()
    for given, wanted in told.items():
        assert build.relink(given, project / "docs/a.md", "a.md", project, linked) == wanted
    assert linked == {"params/x.yaml", "docs/p.png"}
    readme = project / "benchmarks/README.md"
    assert build.relink("[x](../params/x.yaml)", readme, "benchmarks/README.md", project, linked) == (
        "[x](../params/x.yaml.md)"
    )


@pytest.mark.parametrize("link", ["../gone.md", "../../outside.md", "../params"])
def test_a_link_to_nothing_is_named(project, link):
    with pytest.raises(VcworkError, match=rf"docs/a.md: the link '{re.escape(link)}' leads to no file"):
        build.relink(f"[x]({link})", project / "docs/a.md", "a.md", project, set())


def test_an_output_is_quoted_as_it_is_stored(project):
    import nbformat
    from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

    one, two = (new_output("stream", text=text) for text in ("other 1\n", "table 2\nrow\n"))
    cells = [new_markdown_cell("## One"), new_code_cell("1", outputs=[one])]
    cells += [new_markdown_cell("## Two"), new_code_cell("2", outputs=[two])]
    nbformat.write(new_notebook(cells=cells), project / "notebooks/10_x.ipynb")
    fence = "before\n```{stored} ../notebooks/10_x.ipynb ## HEAD | table\n```\nafter"
    assert build.quote_stored(fence.replace("HEAD", "Two"), project / "docs/a.md") == (
        "before\n```text\ntable 2\nrow\n```\nafter"
    )
    with pytest.raises(VcworkError, match="no output below '## One' that begins with 'table'"):
        build.quote_stored(fence.replace("HEAD", "One"), project / "docs/a.md")


def test_docstrings_are_escaped_and_their_code_stays_code():
    assert conf.as_text(["Scores (Q, N) of *all* pairs_ and `score`;", "see `vcwork.encoders.encoder.score`."])[0] == (
        r"Scores (Q, N) of \ *all*\  pairs\_ and \ ``score``\ ; see \ :py:obj:`vcwork.encoders.encoder.score`\ ."
    )
    assert conf.as_text(["a * b * c, *args and **kwargs"])[0] == r"a \* b \* c, \*args and \*\*kwargs"
    assert conf.as_text(["One.", "", "    a = *b", "", "Two."]) == ["One.", "", "::", "", "    a = *b", "", "Two.", ""]
    assert conf.as_text(["Either", "* one", "* two"])[:3] == ["| Either", r"| \* one", r"| \* two"]


def test_every_choice_and_disagreement_is_in_the_tables():
    from vcwork.training import ingredients

    text = build.choices()
    assert all(f"| {choice.name} |" in text for one in ingredients.INGREDIENTS for choice in one.choices)
    assert build.disagreements().count("\n") == len(ingredients.disagreements()) + 1


def test_sphinx_finds_nothing_of_an_earlier_build(tmp_path, monkeypatch):
    """It would stamp links to the scripts that lie there: other bytes than those of a first build."""
    found, made = [], tmp_path / "site-build" / "made"
    made.mkdir(parents=True)
    (made / "old.js").touch()
    monkeypatch.setattr(build, "stage", lambda *_: None)
    monkeypatch.setattr("sphinx.cmd.build.main", lambda asked: found.append(list(Path(asked[-1]).glob("*"))) or 1)
    assert build.main([str(tmp_path / "site")]) == 1 and found == [[]]


def test_files_of_an_earlier_build_go(tmp_path):
    (tmp_path / "old.md").write_text("x")
    build._write(tmp_path / "new.md", b"y")
    build._remove_others(tmp_path, {"new.md"})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new.md"]
