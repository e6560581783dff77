"""Parameters and profiles: what a cell declares, what a file may say, and that every mistake is told before a run."""

import json
from pathlib import Path
from typing import get_args

import papermill
import pytest
from checks import refused
from nbformat.v4 import new_code_cell, new_notebook

from vcwork import __main__ as cli
from vcwork.base.errors import VcworkError
from vcwork.core.config import OverlapConfig, TrainConfig
from vcwork.data.benchmarks.sources import SOURCES
from vcwork.measure.metrics import TIES
from vcwork.training.few_shot import TASKS
from vcwork.training.recipe import read_recipe
from vcwork.workbench.parameters import Parameter, annotated_type, fill, from_text, parse_parameters, read_parameters
from vcwork.workbench.profiles import find_notebook, plan_notebook, plan_profile
from vcwork.workbench.stored_notebooks import KERNEL

CELL = """seed: int = 0            # feeds everything
lr: float = 1.0e-3       # peak rate; lr = 0 freezes
prompts: list[str] = ["how to {}"]   # one or more
corpus: str = ""         # folder: a corpus
truth: str = ""          # file: its truth
saved: str = ""          # out: where it goes
limit: int | None = None # no limit by default"""


def notebook_json(source: str) -> dict:
    cell = new_code_cell(source, metadata={"tags": ["parameters"]})
    return new_notebook(cells=[cell], metadata={"kernelspec": KERNEL})


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "params" / "lab").mkdir(parents=True)
    for name in ("10_first", "20_second"):
        (tmp_path / "notebooks" / f"{name}.ipynb").write_text(json.dumps(notebook_json(CELL)))
        (tmp_path / "params" / "lab" / f"{name}.yaml").write_text("# defaults are fine\n")
    return tmp_path


def write(project: Path, text: str, notebook: str = "10_first") -> None:
    (project / "params" / "lab" / f"{notebook}.yaml").write_text(text)


def test_cell_is_read_in_order_with_types_and_help(project: Path) -> None:
    found = read_parameters(project / "notebooks" / "10_first.ipynb")
    assert list(found) == ["seed", "lr", "prompts", "corpus", "truth", "saved", "limit"]
    assert found["lr"] == Parameter("lr", "float", 1e-3, "peak rate; lr = 0 freezes")
    assert [p.name for p in found.values() if p.is_input] == ["corpus", "truth"]


@pytest.mark.parametrize("line", ["lr = 1.0", "lr: float = 1 / 3", "import os", "lr: Rate = 1.0", "x: int"])
def test_cell_with_anything_but_annotated_literals_is_refused(line: str) -> None:
    refused(r"parameters cell|annotation", parse_parameters, f"seed: int = 0\n{line}\n", "a.ipynb")


OUTSIDE = "[c for c in ().__class__.__base__.__subclasses__() if c.__name__ == 'Popen'][0](['touch', {0!r}]).wait()"


@pytest.mark.parametrize("annotation", ["{}", "list[{}]", "int | {}", "dict[str, {}]"])
def test_a_strangers_notebook_runs_nothing_when_it_is_looked_at(project, annotation, monkeypatch, capsys) -> None:
    """Reading, listing, checking, and papermill's own look at a notebook; `Popen` is there, as subprocess is loaded."""
    monkeypatch.setenv("VCWORK_ROOT", str(project))
    touched, notebook = project / "touched", project / "notebooks" / "10_first.ipynb"
    cell = f"seed: {annotation.format(OUTSIDE.format(str(touched)))} = 0  # x\n"
    notebook.write_text(json.dumps(notebook_json(cell)))
    assert cli.main(["list", "10"]) == cli.main(["check", "lab"]) == 2
    assert capsys.readouterr().err.count("10_first.ipynb: parameters cell: expected") == 2
    papermill.inspect_notebook(notebook)  # reads the cell by regular expressions
    assert not touched.exists()


def test_other_annotations_are_refused() -> None:
    for annotation in ("x", "int.real", "int()", "str & int", "list[3]", "int[str]", "'int'", "9**9", ""):
        refused("expected built-in types", annotated_type, annotation)


def test_cell_that_is_no_python_is_refused_with_its_line() -> None:
    refused(r"a\.ipynb: parameters cell: line 2", parse_parameters, "seed: int = 0\n%pip install x\n", "a.ipynb")


@pytest.mark.parametrize("annotation, value, kept", [
    ("float", 3, 3.0), ("int | None", None, None), ("list[str]", ["a"], ["a"]), ("bool", True, True), ("str", "", ""),
    ("dict[str, list[str]]", {"a": ["b"]}, {"a": ["b"]}), ("tuple[int, int]", (1, 2), (1, 2)), ("list", [1], [1]),
])  # fmt: skip
def test_fitting_values_are_kept(annotation: str, value: object, kept: object) -> None:
    assert Parameter("x", annotation, None, "").check(value) == kept


@pytest.mark.parametrize("annotation, value", [
    ("int", True), ("int", 1.5), ("float", "fast"), ("bool", 1), ("str", 3), ("list[int]", ["a"]), ("int", None),
    ("float", float("nan")), ("float", float("inf")),
])  # fmt: skip
def test_other_types_are_refused(annotation: str, value: object) -> None:
    refused(r"expected .*, got ", Parameter("x", annotation, None, "").check, value)


@pytest.mark.parametrize("cell, told", [
    ("a: float = 1e999", "a: expected float, got inf"), ("a: list = {1}", "a: expected list, got {1}"),
    ("a: str = b'x'", "a: expected str"), ("a: int = 'one'", "a: expected int, got 'one'"),
    ("a: int = 1\na: int = 2", "'a' is given twice"),
])  # fmt: skip
def test_defaults_are_checked_as_what_is_given_is(cell: str, told: str) -> None:
    refused(f"10.ipynb: parameters cell: {told}", parse_parameters, cell, "10.ipynb")


def test_the_word_empty_is_nothing_where_it_is_offered_and_no_path_is_too_long(tmp_path: Path) -> None:
    assert Parameter("x", "str", "", "low | empty: how much").check("empty") == ""
    assert Parameter("x", "str", "", "how much").check("empty") == "empty"
    refused("no such folder", Parameter("x", "str", "", "folder: a corpus").check_path, "x" * 300, tmp_path)


def test_command_line_accepts_1e_3_and_keeps_text_for_str() -> None:
    assert from_text("1e-3", "float") == 1e-3
    assert from_text("007", "str") == "007"
    assert from_text("[1, 2]", "list[int]") == [1, 2]


@pytest.mark.parametrize("seed", ["-1", "9" * 20, "1.5", "x"])
def test_seeds_that_no_generator_takes_are_mistakes_of_the_command(root, seed, capsys) -> None:
    recipe = root / "params/lab/recipes/pretraining.yaml"
    trained = ["--corpus", "c", "--features", "f", "--checkpoint", "k"]
    for command in (["pretrain", str(recipe), *trained], ["check", "lab"], ["audit", "scores.csv"]):
        with pytest.raises(SystemExit, match="2"):
            cli.main([*command, "--seed", seed])
        assert "expected a whole number from 0" in capsys.readouterr().err
    if seed == "-1":
        refused("seed: Input should be greater", read_recipe, recipe, -1)


@pytest.mark.parametrize("text, message", [
    ("lrr: 1.0\n", "unknown parameter 'lrr' .did you mean 'lr'"), ("seed: one\n", "expected int, got 'one'"),
    ("corpus: nowhere\n", "no such folder"), ("truth: params\n", "no such file"), ("lr: [1\n", "line 2: not YAML"),
    ("- 1\n", "expected `name: value` lines"), ("seed: 1\nseed: 2\n", "'seed' is given twice"),
    ("corpus: '{shared}/x'\n", "unknown placeholder {shared}"), ("seed: '3'\n", "write 3 without quotes"),
    ("seed: -1\n", "expected a whole number from 0"),
    ("lr: 1e-3\n", r"params/lab/10_first.yaml: lr: expected float.*write 1\.0e-3"),
])  # fmt: skip
def test_each_mistake_in_a_file_is_named(project: Path, text: str, message: str) -> None:
    write(project, text)
    with pytest.raises(VcworkError, match=message) as caught:
        plan_profile(project, "lab")
    assert "10_first" in str(caught.value)


def test_all_mistakes_are_told_at_once(project: Path) -> None:
    write(project, "lrr: 1.0\nseed: one\n")
    write(project, "truth: nowhere.json\n", "20_second")
    write(project, "", "30_third")
    with pytest.raises(VcworkError) as caught:
        plan_profile(project, "lab", settings=["10.lr=fast", "nonsense"])
    told = str(caught.value)
    assert told.startswith("6 mistakes, nothing was run:")
    assert all(part in told for part in ("lrr", "'one'", "nowhere.json", "30_third.yaml", "'fast'", "--set nonsense"))


def test_unknown_profile_lists_the_known_ones(project: Path) -> None:
    refused(r"unknown profile 'lba' .did you mean 'lab'.*profiles in params/: lab", plan_profile, project, "lba")


def test_seed_only_and_set_reach_the_steps(project: Path) -> None:
    plan = plan_profile(project, "lab", seed=7, only=["20"], settings=["20_second.lr=1e-2", "20.corpus={run}/c"])
    assert [step.name for step in plan.steps] == ["20_second"]
    assert plan.steps[0].given == {"seed": 7, "lr": 1e-2, "corpus": "{run}/c"}
    assert plan.files == ["params/lab/20_second.yaml"]


@pytest.mark.parametrize("file, asked, message", [
    ("", {"settings": ["10.seed=7"], "seed": 1}, "--seed, 10_first: has a seed of its own by file or --set, 7"),
    ("seed: 7", {"seed": 1}, "--seed, 10_first: has a seed of its own"),
    ("", {"settings": ["10.lr=1", "10_first.lr=2"]}, "--set 10_first.lr=2: 10_first.lr is set twice"),
    ("", {"settings": ["10.limit=1e3"]}, "expected int | None, got '1e3' .str.; write 1000$"),
    ("", {"settings": ["10.limit=1e-3"]}, "expected int | None, got '1e-3' .str.$"),
])  # fmt: skip
def test_of_two_values_none_is_taken_silently_and_hints_are_of_the_type(project: Path, file, asked, message) -> None:
    write(project, file)
    refused(message.replace("|", r"\|"), plan_profile, project, "lab", **asked)
    assert plan_profile(project, "lab", seed=7).steps[0].given["seed"] == 7


def test_a_list_of_nothing_and_a_name_twice_are_mistakes_of_the_command(project: Path, capsys, monkeypatch) -> None:
    monkeypatch.setenv("VCWORK_ROOT", str(project))
    for arguments, message in (
        (["check", "lab", "--only", ","], "--only: expected notebooks such as 20,30, got ','"),
        (["papermill", "10", "-p", "lr", "1", "-p", "lr", "2"], "-p: expected each name once, got lr, lr"),
    ):
        assert cli.main(arguments) == 2 and message in capsys.readouterr().err
    (project / "params" / "lab" / "20_second.YAML").write_text("")
    refused("20_second.YAML: expected <notebook>.yaml", plan_profile, project, "lab")


def test_a_plan_tells_what_was_changed_against_its_profile(project: Path) -> None:
    write(project, "lr: 2.0\n")
    assert plan_profile(project, "lab").changed == [], "what the profile says is no change"
    assert plan_profile(project, "lab", seed=0).changed == [], "nor is the seed that it has anyhow"
    asked = plan_profile(project, "lab", seed=7, settings=["10.lr=2.0", "10.limit=3", "20.lr=2.0"])
    told = ["seed 7", "10_first: limit is 3 instead of None", "20_second: lr is 2.0 instead of 0.001"]
    assert asked.changed == told, "--set to the same value is none, and the seed is told once"
    assert plan_profile(project, "lab", only=["20"]).changed == ["1 of its 2 notebooks"]
    assert plan_notebook(project, "10", overrides={"lr": "3"}).changed == ["10_first: lr is 3.0 instead of 0.001"]


def test_notebook_outside_the_profile_cannot_be_chosen(project: Path) -> None:
    (project / "params" / "lab" / "20_second.yaml").unlink()
    refused(r"20_second is not among the notebooks to run \(10_first", plan_profile, project, "lab", only=["20"])


def test_inputs_lie_in_the_project_or_come_in_the_run_and_then_count(project: Path, tmp_path: Path) -> None:
    (project / "data").mkdir()
    write(project, "corpus: data\n")
    assert plan_profile(project, "lab").steps[0].given == {"corpus": "data"}
    write(project, "corpus: '{run}/corpus'\n")
    step, run = plan_profile(project, "lab").steps[0], tmp_path / "outputs" / "lab-1"
    assert step.needs(run, project) == ["corpus = {run}/corpus"]
    (run / "corpus").mkdir(parents=True)
    assert step.needs(run, project) == []
    assert step.values(run, project)["corpus"] == str(run / "corpus")


def test_other_texts_may_hold_braces(project: Path) -> None:
    write(project, "prompts: ['a video of {}', '{run}']\n")
    values = plan_profile(project, "lab").steps[0].values(Path("r"), Path("p"))
    assert values["prompts"] == ["a video of {}", "r"]
    assert fill({"a": ("{root}", 1)}, Path("r"), Path("p")) == {"a": ("p", 1)}


def test_a_notebook_waits_for_what_it_reads_in_the_run(project: Path) -> None:
    write(project, "corpus: '{run}/corpus/inner'\n")
    write(project, "saved: '{run}/corpus/'\n", "20_second")
    plan = plan_profile(project, "lab")
    assert [step.name for step in plan.steps] == ["20_second", "10_first"]
    assert plan.files == ["params/lab/20_second.yaml", "params/lab/10_first.yaml"]
    write(project, "saved: '{run}/corpus-2'\n", "20_second")
    assert [step.name for step in plan_profile(project, "lab").steps] == ["10_first", "20_second"]


def test_notebooks_that_wait_for_each_other_are_refused(project: Path) -> None:
    write(project, "{corpus: '{run}/a', saved: '{run}/b'}\n")
    write(project, "{corpus: '{run}/b', saved: '{run}/a'}\n", "20_second")
    refused("10_first and 20_second: each reads what another", plan_profile, project, "lab")


def test_a_label_runs_a_notebook_once_more(project: Path) -> None:
    write(project, "seed: 1\n", "10_first--a")
    write(project, "seed: 2\n", "10_first--b")
    plan = plan_profile(project, "lab", settings=["10--a.lr=2", "10.truth={run}/t"])
    assert [step.name for step in plan.steps] == ["10_first", "10_first--a", "10_first--b", "20_second"]
    assert {step.path.stem for step in plan.steps} == {"10_first", "20_second"}
    assert plan.steps[1].given == {"seed": 1, "lr": 2.0, "truth": "{run}/t"}
    assert [step.name for step in plan_profile(project, "lab", only=["10--b"]).steps] == ["10_first--b"]
    refused("10_first--c is not among", plan_profile, project, "lab", only=["10--c"])
    write(project, "", "10_first--")
    refused(r"expected <notebook>.yaml or <notebook>--<label>.yaml", plan_profile, project, "lab")


def test_notebooks_are_found_by_number_name_and_path(project: Path) -> None:
    for text in ("10", "10_first", "notebooks/10_first.ipynb"):
        assert find_notebook(project, text) == "10_first"
    refused("did you mean '20_second'", find_notebook, project, "second")
    refused("unknown notebook 'elsewhere/10_first.ipynb'", find_notebook, project, "elsewhere/10_first.ipynb")


def test_one_notebook_with_files_and_pairs(project: Path, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("seed: 4\nlr: 2.0\n")
    assert plan_notebook(project, "10", [file], {"lr": "3"}).steps[0].given == {"seed": 4, "lr": 3}
    refused(r"none.yaml: .*not readable", plan_notebook, project, "10", [tmp_path / "none.yaml"])


def test_a_notebook_anywhere_is_that_one(project: Path) -> None:
    """Also where it is called as one of ours."""
    (project / "mine").mkdir()
    other = project / "mine" / "10_first.ipynb"
    other.write_text(json.dumps(notebook_json("seed: int = 7  # another one")))
    for text in (str(other), "mine/10_first.ipynb"):
        step = plan_notebook(project, text, overrides={"seed": "8"}).steps[0]
        assert (step.name, step.path, step.raw()) == ("10_first", other, {"seed": 8})
    refused("unknown notebook 'mine/20_second.ipynb'", plan_notebook, project, "mine/20_second.ipynb")


def test_broken_notebook_is_one_message(project: Path) -> None:
    written, code = notebook_json(CELL), {"cell_type": "code", "metadata": {}, "source": None}
    for change in (
        {"nbformat": 5},
        {"nbformat_minor": "5"},
        {"metadata": None},
        {"cells": [*written["cells"], code]},
        {},
    ):
        changed = written | change if change else {}
        (project / "notebooks" / "10_first.ipynb").write_text(json.dumps(changed))
        refused(r"10_first\.ipynb: not a notebook of format 4", plan_profile, project, "lab")
    (project / "notebooks" / "10_first.ipynb").write_text(json.dumps(written | {"cells": 2 * written["cells"]}))
    refused("expected one code cell tagged `parameters`, found 2", plan_profile, project, "lab")


@pytest.mark.parametrize("about", [{"kernelspec": {"name": "ir", "language": "R"}}, {"language_info": {"name": "R"}}])
def test_a_notebook_of_another_language_is_refused(project: Path, about: dict) -> None:
    (project / "notebooks" / "10_first.ipynb").write_text(json.dumps(notebook_json(CELL) | {"metadata": about}))
    refused(r"10_first\.ipynb: expected a notebook in Python, got one in R", plan_profile, project, "lab")


CHOICES = {
    "kind": {"lab", "folder", "keyframes", *SOURCES},
    "size": {"tiny", "lab", "large"},
    "pair_rule": {*get_args(OverlapConfig.model_fields["rule"].annotation), "empty"},
    "ties": set(TIES),
    "tasks": set(TASKS),
    "keep": set(get_args(TrainConfig.model_fields["keep"].annotation)),
    "baseline": {"ridge", "empty"},
    "checkpoint_contract": {"strict", "accept"},
}


def test_a_value_of_a_fixed_set_is_refused_before_anything_runs(root: Path, capsys, monkeypatch) -> None:
    """And the sets that notebooks name are those that the library knows."""
    found = {}
    for path in sorted((root / "notebooks").glob("*.ipynb")):
        for parameter in read_parameters(path).values():
            if parameter.choices:
                parameter.check(parameter.default)
                found.setdefault(parameter.name, set()).update(parameter.choices)
    assert found == CHOICES
    monkeypatch.setenv("VCWORK_ROOT", str(root))
    assert cli.main(["papermill", "30", "-p", "ties", "maybe"]) == 2
    assert "30_text_video_retrieval.ties: expected one of expected, optimistic, pessimistic, got 'maybe'" in (
        capsys.readouterr().err)  # fmt: skip
    assert cli.main(["check", "lab", "--set", "20.pair_rule=strikt"]) == 2
    assert "got 'strikt' (did you mean 'strict'?)" in capsys.readouterr().err
    assert cli.main(["check", "lab", "--set", "36.tasks=[retrieval, qa]"]) == 2 and "'qa'" in capsys.readouterr().err


def test_paths_in_messages_are_as_they_were_typed(project: Path, capsys, monkeypatch) -> None:
    monkeypatch.setenv("VCWORK_ROOT", str(project))
    (project / "outputs" / "x").mkdir(parents=True)
    write(project, "")
    for arguments, message in (
        (["papermill", "10", "-p", "corpus", "./no where"], "10_first.corpus: no such folder: ./no where"),
        (["run", "lab", "--set", "10.corpus=no/where"], "10_first.corpus: no such folder: no/where"),
        (["run", "lab", "--out", "outputs/x"], "outputs/x: exists already; runs never overwrite each other"),
        (["run", "lab", f"--out={project}/outputs/x"], f"{project}/outputs/x: exists already"),
    ):
        assert cli.main(arguments) == 2
        assert capsys.readouterr().err.startswith(f"vcwork: {message}")
