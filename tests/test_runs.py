"""The runner on tiny notebooks: records, page, failures, skips, interruption. No torch, no corpus."""

import datetime
import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import nbformat
import psutil
import pytest
from checks import dead_links, edited
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from tqdm import tqdm

from vcwork import __main__ as cli
from vcwork.base.errors import VcworkError
from vcwork.base.progress import Place
from vcwork.measure.result import show
from vcwork.workbench import kernels, machine, runs
from vcwork.workbench.parameters import Parameter
from vcwork.workbench.profiles import Step, plan_notebook, plan_profile
from vcwork.workbench.records import RUN, read_run
from vcwork.workbench.verify import verify

RECORD = """from vcwork.workbench.recording import record
record([dict(name="t2v_R@1", value=round(0.652 + seed / 10, 3), low=0.6, high=0.7, chance=0.005, n=204,
             trivial={"length": 0.05}, protocol="", card=dict(task="toy", split="toy", rule="204 clips, <any> step"))],
       "any", hashes={"features": "abc"})"""
FIGURE = "import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()"


def write_notebook(folder: Path, name: str, parameters: str, *sources: str) -> None:
    cells = [
        new_markdown_cell(f"# What is *{name}*, and $x^2$?\n\n[next](20_fails.ipynb)"),
        new_markdown_cell('## Why is "it" 100 %?\n\n[docs](../docs/tour.md), [there](#Why-is-"it"-100-%25?)'),
        new_code_cell(f"seed: int = 0  # random\n{parameters}", metadata={"tags": ["parameters"]}),
    ]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    notebook = new_notebook(cells=cells + [new_code_cell(source) for source in sources], metadata=kernel)
    nbformat.write(notebook, folder / "notebooks" / f"{name}.ipynb")


def write_project(folder: Path) -> Path:
    (folder / "notebooks").mkdir()
    (folder / "params" / "tiny").mkdir(parents=True)
    write_notebook(
        folder,
        "10_works",
        "made: str = ''  # out: a folder",
        "import os, sys, numpy\nos.makedirs(made)\nprint(os.path.basename(os.getcwd()), hasattr(numpy, 'mark'))\n"
        "numpy.mark = os.environ['MARK'] = '1'\nprint('for the log', file=sys.__stderr__, flush=True)",
        FIGURE,
        RECORD,
    )
    write_notebook(folder, "20_fails", "", "x = 1\nraise ValueError('no <luck>')", RECORD)
    write_notebook(folder, "30_needs", "first: str = ''  # folder: made by 10\nother: str = ''  # folder: by nobody")
    write_notebook(folder, "40_dies", "", "import os\nos._exit(9)")
    write_notebook(folder, "50_waits", "", "print('waiting', flush=True)\nimport time\ntime.sleep(120)")
    stubborn = "import time\nwhile True:\n    try:\n        time.sleep(60)\n    except KeyboardInterrupt:\n        pass"
    write_notebook(folder, "55_stays", "", stubborn)
    files = {
        "10_works": "made: '{run}/made'",
        "10_works--again": "{made: '{run}/made-again', seed: 1}",
        "20_fails": "",
        "30_needs": "{first: '{run}/made', other: '{run}/no'}",
        "40_dies": "",
        "50_waits": "",
        "55_stays": "",
    }
    for name, text in files.items():
        (folder / "params" / "tiny" / f"{name}.yaml").write_text(text)
    return folder


@pytest.fixture(scope="module", autouse=True)
def own_jupyter_data(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Signatures of trusted notebooks go to a folder of the test; torch is not asked."""
    patch = pytest.MonkeyPatch()
    patch.setenv("JUPYTER_DATA_DIR", str(tmp_path_factory.mktemp("jupyter")))
    patch.setattr(machine, "torch_facts", lambda: {"torch_threads": 1, "gpu": []})
    yield
    patch.undo()


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_project(tmp_path_factory.mktemp("project {x}"))  # a folder's name may hold blanks and braces


@pytest.fixture(scope="module")
def finished(project: Path) -> tuple[int, Path]:
    plan = plan_profile(project, "tiny", only=["10", "20", "30", "40"])
    code = runs.run(plan, project / "outputs" / "all")
    return code, project / "outputs" / "all"


@pytest.fixture
def entries(finished: tuple[int, Path]) -> dict[str, dict]:
    return {entry["name"]: entry for entry in json.loads((finished[1] / "run.json").read_text())["notebooks"]}


def test_a_failing_notebook_makes_the_run_fail_and_the_others_still_run(finished: tuple, entries: dict) -> None:
    assert finished[0] == runs.FAILED
    assert {name: entry["status"] for name, entry in entries.items()} == {
        "10_works": "done",
        "10_works--again": "done",
        "20_fails": "failed",
        "30_needs": "skipped",
        "40_dies": "failed",
    }


def test_failures_say_where_and_why(entries: dict) -> None:
    assert entries["20_fails"]["error"] == {
        "cell": 2,
        "line": "raise ValueError('no <luck>')",
        "message": "ValueError: no <luck>",
    }
    assert entries["30_needs"]["error"]["message"] == "needs other = {run}/no, which nothing has written"
    assert "died" in entries["40_dies"]["error"]["message"] and entries["40_dies"]["error"]["cell"] == 2


def test_the_failed_copy_is_kept_up_to_the_error(finished: tuple) -> None:
    cells = nbformat.read(finished[1] / "notebooks" / "20_fails.ipynb", as_version=4).cells
    code = [cell for cell in cells if cell.cell_type == "code"]
    assert [bool(cell.outputs) for cell in code] == [False, True, False]
    assert code[1].outputs[0].ename == "ValueError"


def test_run_json_tells_what_ran_on_what(finished: tuple, entries: dict) -> None:
    state = json.loads((finished[1] / "run.json").read_text())
    assert state["status"] == "failed" and state["profile"] == "tiny" and state["started"] <= state["ended"]
    assert state["python"] == ".".join(map(str, sys.version_info[:3]))
    assert state["git"] == {"commit": None, "dirty": None}
    assert state["hardware"]["cores"] >= 1 and state["peak_memory_mb"] > 10
    assert state["packages"]["papermill"]
    works = entries["10_works"]
    assert works["given"] == {"made": "{run}/made"} and works["hashes"] == {"features": "abc"}
    assert works["parameters"] == {"seed": 0, "made": "{run}/made"} and (finished[1] / "made").is_dir()
    assert works["wall_s"] > 0 and list(works["figures"]) == ["10_works-1.png"]


def test_metrics_json_holds_each_number_once(finished: tuple) -> None:
    metrics = json.loads((finished[1] / "metrics.json").read_text())
    assert (finished[1] / "run.json").read_text().count("t2v_R@1") == 0, "numbers stand in metrics.json alone"
    assert [(row["notebook"], row["name"], row["value"]) for row in metrics["results"]] == [
        ("10_works", "t2v_R@1", 0.652),
        ("10_works--again", "t2v_R@1", 0.752),
    ]


def test_page_shows_numbers_errors_and_figures_and_loads_nothing(finished: tuple) -> None:
    page = (finished[1] / "index.html").read_text()
    row = page[page.index("<tbody>") : page.index("</tbody>")]
    for text in ("65.2 %", "60.0 % .. 70.0 %", f">{show(0.005)}<", "5.0 % length", "204 clips, &lt;any&gt; step"):
        assert text in row
    assert "ValueError: no &lt;luck&gt;" in page and "What is 10_works, and x^2?" in page
    assert "prefers-color-scheme: dark" in page and not loads_from_elsewhere(page)


def test_every_link_of_a_run_leads_to_what_is_there(finished: tuple) -> None:
    pages = [finished[1] / "index.html", *sorted((finished[1] / "pages").glob("*.html"))]
    assert len(pages) == 6 and [dead_links(page) for page in pages] == [[]] * 6
    assert "no page in this run" in (finished[1] / "pages" / "30_needs.html").read_text()
    works = (finished[1] / "pages" / "10_works.html").read_text()
    assert '<a title="not in this run">docs</a>' in works, "what lies outside may not travel with the run"
    assert works.count('href="#Why-is-%22it%22-100-%25%3F"') == 2, "the contents and the heading lead there"


def test_notebook_pages_need_no_network(finished: tuple) -> None:
    for name in ("10_works", "20_fails", "40_dies"):
        page = (finished[1] / "pages" / f"{name}.html").read_text()
        assert not loads_from_elsewhere(page)
        assert 'href="20_fails.html"' in page
        assert '<img alt="x^2" class="formula" src="data:image/svg+xml;base64,' in page


def loads_from_elsewhere(page: str) -> list[str]:
    return re.findall(r"<(?:script|link|img|iframe|source)\b[^>]*(?:src|href)\s*=\s*[\"']?(?:https?:)?//[^>]*>", page)


def test_kernel_runs_in_the_notebooks_folder_and_the_copy_is_trusted(finished: tuple) -> None:
    notebook = nbformat.read(finished[1] / "notebooks" / "10_works.ipynb", as_version=4)
    printed = [output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", [])]
    assert "notebooks False\n" in printed
    assert runs.NotebookNotary().check_signature(notebook)


def test_kernels_share_no_state(finished: tuple, entries: dict) -> None:
    """Forked from one process or not: what a notebook leaves in a package or the environment, no other one finds."""
    again = (finished[1] / "notebooks" / "10_works--again.ipynb").read_text()
    assert "notebooks False" in again and entries["10_works"]["log"] == "logs/10_works.txt"
    assert (finished[1] / "logs" / "10_works--again.txt").read_text().splitlines()[0] == "for the log"
    assert "MARK" not in os.environ


def test_a_notebook_starts_when_those_that_it_waits_for_have_ended(project: Path) -> None:
    works, again, fails, needs, *_ = steps = plan_profile(project, "tiny").steps
    assert runs._free(steps, []) == [step for step in steps if step is not needs]
    assert needs not in runs._free([needs], [again, works]) and runs._free([needs], [fails]) == [needs]
    reader = replace(fails, parameters={"run": Parameter("run", "str", "{run}", "folder: what the others recorded")})
    assert runs._free([reader], [works]) == [] and runs._free([reader], [reader]) == [reader]


def test_what_most_wait_for_runs_alone_and_first(project: Path) -> None:
    works, again, fails, needs, *_ = steps = plan_profile(project, "tiny").steps
    assert runs._free(steps, [], [fails]) == [fails] and runs._free(steps, [fails], [fails]) == []
    assert runs._free([works, again], [needs], [fails]) == [works, again]
    assert runs._alone([works, fails, needs]) == [] and runs._alone([works, *[needs] * 3]) == [works]


def test_a_finished_run_is_whole_and_tells_what_was_changed(finished: tuple, tmp_path: Path) -> None:
    folder, lines = tmp_path / "moved", []
    shutil.copytree(finished[1], folder)
    assert verify([folder], told=lines.append) and "run: whole (" in lines[0]
    names = json.loads((folder / "run.json").read_text())["files"]
    assert {"index.html", "metrics.json", "notebooks/10_works.ipynb", "figures/10_works-1.png"} < set(names)
    record, numbers = read_run(folder)
    assert record["status"] == "failed" and [result.value for _, result in numbers] == [0.652, 0.752]
    for name in names:
        raw = (folder / name).read_bytes()
        (folder / name).write_bytes(raw[:-2] + bytes([raw[-2] ^ 1]) + raw[-1:])
        lines.clear()
        assert not verify([folder], told=lines.append) and f"{name}: its sha256 differs" in lines[0], name
        (folder / name).write_bytes(raw)


def test_a_clock_that_jumps_back_changes_no_duration(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Jumping(datetime.datetime):
        times = iter(range(2_000_000_000, 0, -86400))

        @classmethod
        def now(cls, tz: object = None) -> datetime.datetime:
            return cls.fromtimestamp(next(cls.times), tz)

    monkeypatch.setattr(runs.datetime, "datetime", Jumping)
    plan = plan_profile(project, "tiny", only=["20"])
    log = runs.execute_plan(plan)
    assert log.state["started"] > log.state["ended"] and 0 < log.state["wall_s"] < 600
    assert read_run(log.folder)[0]["status"] == "failed"


def test_a_folder_that_is_moved_away_ends_the_run_in_one_sentence(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, moved = project / "outputs" / "here", project / "outputs" / "there"
    executed = runs.execute
    monkeypatch.setattr(runs, "execute", lambda *given: [executed(*given), out.rename(moved)][0])
    with pytest.raises(VcworkError, match="here: the run's folder was moved or removed meanwhile"):
        runs.run(plan_profile(project, "tiny", only=["20", "40"]), out, at_once=1)
    assert not out.exists() and read_run(moved)[0]["notebooks"][0]["status"] == "running"
    lines = []
    assert not verify([moved], told=lines.append) and "still running, or its process was killed" in lines[0]


def test_a_full_disk_ends_the_run_in_one_sentence_and_leaves_what_was_whole(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = project / "outputs" / "full"
    executed = runs.execute

    def full(step: Step, folder: Path, *given: object) -> dict:
        result = executed(step, folder, *given)
        (folder / "notebooks" / f"{step.name}.ipynb").write_text('{"cells": [')  # as far as there was room
        monkeypatch.setattr(os, "fsync", _no_room)
        return result

    monkeypatch.setattr(runs, "execute", full)
    with pytest.raises(VcworkError, match=r"full/.*could not be written \(No space left on device\)"):
        runs.run(plan_profile(project, "tiny", only=["20", "40"]), out, at_once=1)
    monkeypatch.undo()
    record, numbers = read_run(out)
    assert record["notebooks"][0]["status"] == "running" and numbers == []
    assert sorted(path.name for path in out.rglob("*") if path.is_file()) == [
        "20_fails.html", "20_fails.txt", "40_dies.html", "index.html", "metrics.json", "run.json",
    ]  # fmt: skip


def _no_room(handle: int) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_where_home_is_no_folder_the_run_is_whole_and_trust_is_told(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setenv("HOME", "/dev/null")
    monkeypatch.delenv("JUPYTER_DATA_DIR")
    out = project / "outputs" / "homeless"
    assert runs.run(plan_profile(project, "tiny", only=["10--again"]), out) == runs.OK
    assert "JupyterLab will not trust the executed copy" in capsys.readouterr().out
    assert read_run(out)[0]["notebooks"][0]["page"] and verify([out], told=str)


def test_a_record_of_a_notebook_that_is_none_costs_that_notebook(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = project / "outputs" / "odd"
    executed = runs.execute

    def odd(step: Step, folder: Path, *given: object) -> dict:
        if step.name == "20_fails":
            (folder / "results" / step.name).mkdir(parents=True)
            (folder / "results" / step.name / "metrics.json").write_text('{"results": 3}')
        return executed(step, folder, *given)

    monkeypatch.setattr(runs, "execute", odd)
    assert runs.run(plan_profile(project, "tiny", only=["10--again", "20"]), out) == runs.FAILED
    works, fails = read_run(out)[0]["notebooks"]
    assert works["status"] == "done" and "metrics.json: its own digest" in fails["error"]["message"]


@pytest.mark.skipif(not kernels.FORKS, reason="nothing is forked here")
def test_kernels_whose_fork_server_died_are_told_and_the_next_ones_run(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = project / "outputs" / "orphans"
    executed = runs.execute

    def orphaned(step: Step, *given: object) -> dict:
        if step.name == "50_waits":
            pid = kernels.forkserver._forkserver._forkserver_pid
            threading.Timer(3, os.kill, (pid, signal.SIGKILL)).start()
        return executed(step, *given)

    monkeypatch.setattr(runs, "execute", orphaned)
    plan = plan_profile(project, "tiny", only=["50", "10--again"])
    plan = replace(plan, steps=plan.steps[::-1])
    runs.run(plan, out, at_once=1)
    waits, works = read_run(out)[0]["notebooks"]
    assert waits["status"] == "failed" and "died" in waits["error"]["message"] and works["status"] == "done"


def test_a_run_is_repeated_from_its_record_and_every_difference_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    project = write_project(tmp_path)
    monkeypatch.setenv("VCWORK_ROOT", str(project))
    assert cli.main(["run", "tiny", "--only", "10", "--set", "10_works.seed=2", "--out", "outputs/first"]) == runs.OK
    (project / "outputs" / "first").rename(project / "elsewhere")  # a record holds no place
    shutil.rmtree(project / "params")  # and needs no profile
    notebook = project / "notebooks" / "10_works.ipynb"
    notebook.write_text(notebook.read_text().replace("seed: int = 0", "seed: int = 5"))  # nor the defaults of today
    assert cli.main(["rerun", "elsewhere", "--out", "outputs/second"]) == runs.OK
    out = capsys.readouterr().out
    assert "elsewhere once more: of 2 results all are the same" in out and "10_works.code" in out
    assert (project / "outputs" / "second" / "made").is_dir()
    first, second = (project / name / "metrics.json" for name in ("elsewhere", "outputs/second"))
    assert first.read_bytes() == second.read_bytes()

    notebook.write_text(notebook.read_text().replace("0.652 +", "0.654 +").replace("abc", "def"))
    notebook.write_text(notebook.read_text().replace("0.05", "0.06").replace("204 clips", "205 clips"))
    assert cli.main(["rerun", "elsewhere", "--out", "outputs/third"]) == runs.FAILED
    out = capsys.readouterr().out
    assert "of 2 results 2 differ" in out and "10_works.hashes.features abc → def (circumstance)" in out
    assert "10_works t2v_R@1: value 0.852 → 0.854 (+0.002); trivial.length 0.05 → 0.06 (+0.01); card.rule 204" in out
    assert verify([project / "outputs" / "third"], told=str)

    notebook.write_text(notebook.read_text().replace("made: str", "renamed: str"))
    assert cli.main(["rerun", "elsewhere"]) == 2
    assert "10_works.made: unknown parameter 'made'" in capsys.readouterr().err
    edited(project / "elsewhere", RUN, lambda record: record["notebooks"][0].update(name="../../x"))
    assert cli.main(["rerun", "elsewhere"]) == 2 and "unknown notebook" in capsys.readouterr().err


@pytest.mark.skipif(not kernels.FORKS, reason="nothing is forked here")
@pytest.mark.parametrize("silent", [1, 2])
def test_a_kernel_that_never_answers_is_started_once_more(
    silent: int, project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """The first `silent` kernels are stopped before they can say anything."""
    started, start = [], kernels.ForkedKernel.start

    def stopped(kernel: kernels.ForkedKernel) -> None:
        start(kernel)
        started.append(kernel)
        if len(started) <= silent:
            os.kill(kernel.pid, signal.SIGSTOP)

    monkeypatch.setattr(kernels.ForkedKernel, "start", stopped)
    monkeypatch.setattr(kernels, "START_S", (1, 60) if silent == 1 else (1, 1))
    out = project / "outputs" / f"silent-{silent}"
    code = runs.run(plan_profile(project, "tiny", only=["10--again"]), out)
    entry = read_run(out)[0]["notebooks"][0]
    assert len(started) == 2 and not started[0].is_alive()
    assert capsys.readouterr().out.count("10_works--again: Kernel didn't respond in 1 seconds; once more") == 1
    if silent == 1:
        assert code == runs.OK and entry["status"] == "done"
    else:
        assert code == runs.FAILED and "didn't respond" in entry["error"]["message"]


@pytest.mark.skipif(not kernels.FORKS, reason="nothing is forked here")
def test_kernels_end_by_themselves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight, as one of four used to wait for a thread that had ended, until it was killed."""
    ended, start = [], kernels.ForkedKernel.start
    monkeypatch.setattr(kernels.ForkedKernel, "start", lambda kernel: (start(kernel), ended.append(kernel)))
    for _ in range(8):
        notebook = new_notebook(cells=[new_code_cell("1")])
        kind = kernels.manager(tmp_path, tmp_path / "log", {})
        NotebookClient(notebook, kernel_name="python3", kernel_manager_class=kind).execute()
    assert [kernel.exitcode for kernel in ended] == [0] * 8


def test_where_nothing_can_be_forked_kernels_begin_as_usual(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(kernels, "FORKS", False)
    plan = plan_profile(project, "tiny", only=["10--again"])
    assert runs.run(plan, project / "outputs" / "unforked") == runs.OK
    assert "each notebook loads its packages anew" in capsys.readouterr().out
    log = (project / "outputs" / "unforked" / "logs" / "10_works--again.txt").read_text()
    assert log.splitlines()[0] == "for the log"  # Jupyter interrupts a kernel it ends, and a slow one may say so


def test_runs_never_share_a_folder(project: Path) -> None:
    plan = plan_profile(project, "tiny")
    folders = [runs.make_folder(plan, None) for _ in range(3)]
    assert len(set(folders)) == 3 and all(folder.name.startswith("tiny-2") for folder in folders)
    with pytest.raises(VcworkError, match="never overwrite"):
        runs.make_folder(plan, folders[0])


def test_seed_and_set_change_what_is_recorded_and_out_is_copied(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VCWORK_ROOT", str(project))
    assert cli.main(["papermill", "10", "copy/10.ipynb", "-p", "seed", "1", "-p", "made", "{run}/m"]) == runs.OK
    assert (project / "copy" / "10.ipynb").exists()
    written = next((project / "outputs").glob("10_works-*/metrics.json"))
    assert json.loads(written.read_text())["results"][0]["value"] == 0.752
    assert cli.main(["papermill", "10", "copy/10.ipynb"]) == 2, "an existing copy must not be overwritten"


def test_a_notebook_without_metadata_is_run_and_one_that_nbformat_cannot_read_leaves_no_folder(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setenv("VCWORK_ROOT", str(project))
    written = json.loads((project / "notebooks" / "10_works.ipynb").read_text()) | {"metadata": {}}
    (tmp_path / "thin.ipynb").write_text(json.dumps(written))
    assert cli.main(["papermill", str(tmp_path / "thin.ipynb"), "-p", "seed", "1", "-p", "made", "{run}/m"]) == runs.OK
    written["cells"][3]["source"] = "import sys\nsys.exit(0)"
    (tmp_path / "exits.ipynb").write_text(json.dumps(written))
    assert cli.main(["papermill", str(tmp_path / "exits.ipynb"), "-p", "made", "{run}/m"]) == runs.FAILED
    assert "2 of 5 code cells were not run" in capsys.readouterr().out
    (tmp_path / "marked.ipynb").write_text(json.dumps(written), encoding="utf-8-sig")
    assert cli.main(["papermill", str(tmp_path / "marked.ipynb"), "-p", "made", "{run}/m"]) == 2
    assert "marked.ipynb: not a notebook that can be run (Notebook does not appear to be" in capsys.readouterr().err
    assert len([*project.glob("outputs/thin-*")]) == 1 and not [*project.glob("outputs/marked-*")]


def test_a_mistake_is_one_message_and_leaves_no_folder(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setenv("VCWORK_ROOT", str(project))
    before = list(project.glob("outputs/*"))
    assert cli.main(["run", "tiny", "--set", "10--again.mad=1"]) == 2
    assert capsys.readouterr().err == (
        "vcwork: 10_works--again.mad: unknown parameter 'mad' (did you mean 'made'?); accepted: seed, made\n"
    )
    assert list(project.glob("outputs/*")) == before


def test_check_and_list_show_what_would_run(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setenv("VCWORK_ROOT", str(project))
    assert cli.main(["check", "tiny", "--only", "10--again"]) == 0
    assert capsys.readouterr().out == "10_works--again\n    made = '{run}/made-again'\n    seed = 1\n"
    assert cli.main(["list", "30"]) == 0
    assert "first: str = ''  # folder: made by 10" in capsys.readouterr().out


def start_waiting(
    project: Path, name: str, *notebooks: str, patience_s: int = runs.PATIENCE_S, after: str = "20_fails: failed"
) -> subprocess.Popen:
    """A run in a process of its own, once its last notebook waits."""
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from vcwork import __main__ as m; from vcwork.workbench import machine, runs; "
        f"runs.PATIENCE_S = {patience_s}; "
        "machine.torch_facts = lambda: {'torch_threads': 1, 'gpu': []}; raise SystemExit(m.main())"
    )
    command = [sys.executable, "-c", code, "run", "tiny", "--only", ",".join(notebooks), "--out", f"outputs/{name}"]
    environment = os.environ | {"VCWORK_ROOT": str(project)}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    last = {"50": "50_waits", "55": "55_stays"}[notebooks[-1]]
    executed = project / "outputs" / name / "notebooks" / f"{last}.ipynb"
    for line in process.stdout if len(notebooks) > 1 else ():
        if after in line:
            break
    while process.poll() is None and '"running"' not in (executed.read_text() if executed.exists() else ""):
        time.sleep(0.2)
    return process


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_killed_run_leaves_no_kernel_behind(project: Path) -> None:
    process = start_waiting(project, "killed", "50")
    started = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.communicate(timeout=60)
    assert started and not psutil.wait_procs(started, timeout=30)[1]


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_interruption_leaves_a_page_of_what_was_done(project: Path) -> None:
    process = start_waiting(project, "stopped", "20", "50")
    process.send_signal(signal.SIGINT)
    told, _ = process.communicate(timeout=60)
    assert "to go on: ./run profile tiny --resume outputs/stopped\n" in told
    state, _ = read_run(project / "outputs" / "stopped")
    assert process.returncode == runs.INTERRUPTED and state["status"] == "interrupted"
    assert [entry["status"] for entry in state["notebooks"]] == ["failed", "interrupted"]
    assert "interrupted" in (project / "outputs" / "stopped" / "index.html").read_text()


@pytest.mark.skipif(not kernels.FORKS, reason="nothing is forked here")
def test_ctrl_c_while_packages_load_is_for_the_runner_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """What loads them inherits that SIGINT is ignored; else it would print a stack trace of its own."""
    seen, before = [], signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(kernels.forkserver, "ensure_running", lambda: seen.append(signal.getsignal(signal.SIGINT)))
    kernels.get_ready(1)
    assert seen == [signal.SIG_IGN] and signal.getsignal(signal.SIGINT) is before


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_second_ctrl_c_waits_for_no_cell_and_the_record_is_whole(project: Path) -> None:
    process = start_waiting(project, "hurried", "55", patience_s=600)
    for _ in range(2):
        process.send_signal(signal.SIGINT)
        time.sleep(1.5)
    process.communicate(timeout=120)
    record, _ = read_run(project / "outputs" / "hurried")
    assert process.returncode == runs.INTERRUPTED and record["status"] == "interrupted"


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_killed_run_goes_on_to_the_numbers_of_an_undisturbed_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    project = write_project(tmp_path)
    monkeypatch.setenv("VCWORK_ROOT", str(project))
    wait = "import os, time\nif not os.path.exists('go'):\n    time.sleep(120)"
    write_notebook(project, "50_waits", "", RECORD.replace("0.652", "0.1"), wait, RECORD)
    process = start_waiting(project, "cut", "10--again", "50", after="10_works--again: done")
    process.kill()
    process.communicate(timeout=60)
    (project / "notebooks" / "go").touch()
    resume = ["run", "tiny", "--resume", "outputs/cut"]
    assert cli.main([*resume, "--seed", "3"]) == 2 and "leave --seed" in capsys.readouterr().err
    assert cli.main(["run", "other", *resume[2:]]) == 2
    assert "expected a run of other, got one of tiny: ./run profile tiny" in capsys.readouterr().err
    assert (
        cli.main(["run", "tiny", "--resume", "outputs/none/there"]) == 2 and not (project / "outputs" / "none").exists()
    )
    assert cli.main([*resume[:2], "--at-once", "0"]) == 2 and "expected 1 or more, got 0" in capsys.readouterr().err
    before = (project / "outputs" / "cut" / "run.json").read_bytes()
    with monkeypatch.context() as changed:
        changed.setattr(machine, "package_versions", lambda: {"numpy": "0"})
        assert cli.main(resume) == 2 and "was begun otherwise" in capsys.readouterr().err
    assert (project / "outputs" / "cut" / "run.json").read_bytes() == before
    for name in ("notebooks/10_works--again.ipynb", "results/10_works--again/metrics.json"):
        path = project / "outputs" / "cut" / name
        whole = path.read_bytes()
        path.write_bytes(whole[:-1])
        assert cli.main(resume) == 2 and f"{path.name}: missing, or not the file of run.json" in capsys.readouterr().err
        path.write_bytes(whole)
    assert cli.main(resume) == runs.OK
    assert cli.main(["run", "tiny", "--only", "10--again,50", "--out", "outputs/whole"]) == runs.OK
    cut, whole = (project / "outputs" / name for name in ("cut", "whole"))
    assert (cut / "metrics.json").read_bytes() == (whole / "metrics.json").read_bytes()
    assert verify([cut], told=str)
    was, now = json.loads(before)["notebooks"][0], read_run(cut)[0]["notebooks"][0]
    assert was["status"] == "done" and was == now, "what was done is kept"
    assert cli.main(resume) == runs.OK and "outputs/cut: is done already" in capsys.readouterr().out


def test_a_headless_notebook_tells_its_cell_and_how_far_its_step_is(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    step = "import time\nfrom vcwork.base.progress import bar\nfor _ in bar(range(4), False, desc='training'):\n    "
    write_notebook(project, "60_long", "", step + "for _ in bar(range(2), desc='part'):\n        time.sleep(0.6)")
    monkeypatch.setattr(runs, "QUIET_S", 0.2)
    assert runs.run(plan_notebook(project, "60"), project / "outputs" / "long") == runs.OK
    told = capsys.readouterr().out
    words = r"    60_long: 3 of 4 cells, training ([123]) of 4, \d\d:\d\d left; part 1 of 2, \d\d:\d\d left$"
    assert set(re.findall(words, told, re.MULTILINE)) == {"1", "2", "3"}, told


def test_ctrl_c_while_a_bar_is_drawn_stops_the_run(project: Path) -> None:
    """In a terminal that tells no size, as in some containers. tqdm keeps its lock for ever when one comes then."""
    terminal, end = pytest.importorskip("pty").openpty()
    code = (
        "import os, signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from vcwork import __main__ as m; from tqdm import tqdm; draw, drawn = tqdm.display, []\n"
        "def display(bar, *given, **known):\n"
        "    if 'of 4 cells' in str(bar) and 'notebooks' in str(bar) and not drawn:\n"
        "        drawn.append(os.kill(os.getpid(), signal.SIGINT))\n"
        "    return draw(bar, *given, **known)\n"
        "tqdm.display = display; raise SystemExit(m.main())"
    )
    command = [sys.executable, "-c", code, "run", "tiny", "--only", "50", "--out", "outputs/drawn"]
    variables = os.environ | {"VCWORK_ROOT": str(project)}
    done = subprocess.run(command, env=variables, stdout=end, stderr=end, timeout=120)
    os.close(end)
    told = os.read(terminal, 65536).decode()
    assert "loading packages, 00:0" in told
    assert "0 of 1 notebooks |" in told and "stopping, once what runs is kept" in told, told
    assert done.returncode == runs.INTERRUPTED and "to go on: ./run profile tiny --resume" in told, told


def test_of_two_notebooks_at_once_neither_tells_how_their_bars_move_the_cursor(tmp_path: Path) -> None:
    words = {"file": Place(tmp_path / "none"), "bar_format": "{n_fmt} of {total_fmt} cells", "mininterval": 0}
    with tqdm(total=3, **words), tqdm(total=3, **words | {"file": (place := Place(tmp_path / "none"))}) as second:
        second.update(2)
        assert str(place) == "2 of 3 cells"
