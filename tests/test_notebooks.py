"""Stored notebooks: clean, complete, comparable. That they run is tested by nbval, which executes every one of them."""

import json
import re
from pathlib import Path
from statistics import median

import nbformat
import papermill
import pytest
from checks import refused

from vcwork.measure import trivial
from vcwork.measure.result import as_result
from vcwork.workbench.notebook_html import title
from vcwork.workbench.parameters import read_parameters
from vcwork.workbench.recording import MIME
from vcwork.workbench.stored_notebooks import personal_paths, refresh_one

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def path(request: pytest.FixtureRequest) -> Path:
    return request.param


@pytest.fixture
def notebook(path: Path) -> nbformat.NotebookNode:
    return nbformat.read(path, as_version=4)


@pytest.fixture
def code(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def tagged(cells: list[nbformat.NotebookNode], tag: str) -> list[nbformat.NotebookNode]:
    return [cell for cell in cells if tag in cell.metadata.get("tags", [])]


def test_there_are_notebooks() -> None:
    assert NOTEBOOKS, "the tests below would pass without testing anything"


def test_stored_run_is_clean(notebook: nbformat.NotebookNode, code: list) -> None:
    assert notebook.metadata.kernelspec.name == "python3"
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1)), "run it again, top to bottom"
    errors = [output.ename for cell in code for output in cell.outputs if output.output_type == "error"]
    assert not errors
    assert not personal_paths(notebook)


def test_stored_outputs_exist_and_stay_modest(path: Path, code: list) -> None:
    assert sum(bool(cell.outputs) for cell in code) >= len(code) / 3, "outputs were stripped"
    assert path.stat().st_size < 1_500_000


def test_every_picture_is_told_in_words(code: list) -> None:
    shown = [output.data for cell in code for output in cell.outputs if "image/png" in output.get("data", {})]
    assert not [data["text/plain"] for data in shown if data.get("text/plain", "<").startswith("<")]


def test_something_is_compared(code: list) -> None:
    compared = tagged(code, "nbval-check-output")
    assert compared, "no cell is tagged nbval-check-output, so nbval would compare nothing"
    for cell in compared:
        assert cell.outputs, f"tagged for comparison but nothing is stored: {cell.source}"
        assert "it/s" not in str(cell.outputs), "timings are never the same twice"


def test_parameters_cell_is_first_and_papermill_reads_it_alike(path: Path, code: list) -> None:
    assert tagged(code, "parameters") == code[:1]
    ours = read_parameters(path)
    theirs = papermill.inspect_notebook(path)
    types = {name: p["inferred_type_name"] for name, p in theirs.items()}
    assert {n: p.annotation for n, p in ours.items()} == types, "no = in a help text: papermill drops such a line"
    assert ours["seed"].annotation == "int"
    for parameter in ours.values():
        assert parameter.help, f"{parameter.name} has no help text"
        assert parameter.check(parameter.default) == parameter.default
        assert not (parameter.is_input and parameter.default), f"{parameter.name}: the default must run from nothing"


def payloads_of(cells: list[nbformat.NotebookNode]) -> list[dict]:
    return [output.data[MIME] for cell in cells for output in cell.outputs if MIME in output.get("data", {})]


def recorded(notebook: nbformat.NotebookNode) -> list[dict]:
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return [row for payload in payloads_of(code) for row in payload["results"]]


def test_results_are_recorded_with_their_company(path: Path, code: list) -> None:
    cells = tagged(code, "results")
    assert len(cells) == 1, "exactly one cell is tagged results"
    payloads = payloads_of(cells)
    assert len(payloads) == 1 and payloads[0]["notebook"] == path.stem
    for row in payloads[0]["results"]:
        result = as_result(row)  # refuses a missing chance, interval or protocol
        assert result.low - 1e-9 <= result.value <= result.high + 1e-9, f"{result.name} lies outside its own interval"


def test_it_opens_with_a_question_and_leads_on(path: Path, notebook: nbformat.NotebookNode) -> None:
    assert title(notebook).endswith("?")
    for target in re.findall(r"\]\(([\w.-]+\.ipynb)\)", json.dumps([cell.source for cell in notebook.cells])):
        assert (path.parent / target).exists(), f"links to {target}, which is not there"


SHORT = ("20", "23", "30", "35", "36", "37", "38")  # one idea a cell, bookkeeping in the library


def test_shape(path: Path, notebook: nbformat.NotebookNode, code: list) -> None:
    lines = [len(cell.source.splitlines()) for cell in code]
    if path.stem[:2] in SHORT:
        assert 12 <= len(notebook.cells) <= 20, f"{len(notebook.cells)} cells"
        assert max(lines) <= 20 and median(lines) <= 7, sorted(lines)
    assert max(lines) <= 25, sorted(lines)


def test_one_metric_stands_beside_the_same_opponents_in_every_notebook() -> None:
    """Of one task, split and gallery: who knows nothing, and who only listens, is the same wherever a metric stands."""
    found: dict[tuple, dict[str, list[str]]] = {}
    for path in NOTEBOOKS:
        for result in map(as_result, recorded(nbformat.read(path, as_version=4))):
            card, metric = result.protocol, re.search(r"(t2v|v2t)_(R@\d+|MdR|MRR)(?=\W|_\d|_zero|$)", result.name)
            if card.task == "retrieval" and metric:
                key = metric[0], card.split, card.pool, result.n, round(result.chance, 9)
                blind = {n: v for n, v in result.trivial.items() if n not in trivial.SEEING and n != "constant score"}
                shown = [f"{name} {value:.4f}" for name, value in sorted(blind.items())]
                found.setdefault(key, {})[f"{path.stem} {result.name}"] = shown
    several = {key: rows for key, rows in found.items() if len({name.split()[0] for name in rows}) > 1}
    assert several, "no metric stands in two notebooks"
    for key, rows in several.items():
        assert len({tuple(shown) for shown in rows.values()}) == 1, (key, rows)


def test_refresh_stores_a_clean_run_or_nothing(tmp_path: Path) -> None:
    metadata = {"tags": ["nbval-check-output"], "papermill": {"duration": 3}}
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("print(1 + 1)", metadata=metadata)])
    stored = tmp_path / "10_any.ipynb"
    nbformat.write(notebook, stored)
    refresh_one(stored)
    again = nbformat.read(stored, as_version=4)
    assert again.cells[0].outputs[0].text == "2\n" and again.cells[0].execution_count == 1
    assert again.cells[0].metadata == {"tags": ["nbval-check-output"]} and again.metadata.kernelspec.name == "python3"
    faults = {"print('/ho' + 'me/somebody/x')": "shows a path of this machine", "1 / 0": "ZeroDivisionError"}
    for source, message in faults.items():
        again.cells[0].source = source
        nbformat.write(again, stored)
        before = stored.read_bytes()
        refused(message, refresh_one, stored)
        assert stored.read_bytes() == before
