"""What a run says about the machine, without failing where the machine cannot say it."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from vcwork.base import blas
from vcwork.workbench import kernels, machine


def git(folder: Path, *arguments: str) -> None:
    command = ["git", "-C", str(folder), "-c", "user.name=x", "-c", "user.email=x@example.org", *arguments]
    subprocess.run(command, check=True, capture_output=True)


def test_git_state_outside_inside_and_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert machine.git_state(tmp_path) == {"commit": None, "dirty": None}
    git(tmp_path, "init")
    git(tmp_path, "commit", "--allow-empty", "-m", "first")
    state = machine.git_state(tmp_path)
    assert len(state["commit"]) == 40 and state["dirty"] is False
    (tmp_path / "new.txt").write_text("x")
    assert machine.git_state(tmp_path)["dirty"] is True


def test_no_git_at_all_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert machine.git_state(tmp_path) == {"commit": None, "dirty": None}


ASKED_AND_KILLED = """
import os, threading, time, psutil
from vcwork.workbench import machine
threading.Thread(target=machine.torch_facts).start()
while len(there := psutil.Process().children(recursive=True)) < 3:
    time.sleep(0.05)
print(*(one.pid for one in there), flush=True)
os.kill(os.getpid(), 9)
"""


@pytest.mark.skipif(not kernels.FORKS, reason="nothing is forked here")
def test_a_run_killed_while_the_machine_is_asked_leaves_nothing_behind() -> None:
    """The fork server and the process that loads torch; a server that still has a child stays for ever."""
    killed = subprocess.run([sys.executable, "-c", ASKED_AND_KILLED], stdout=subprocess.PIPE, text=True, timeout=120)
    left = [psutil.Process(int(pid)) for pid in killed.stdout.split() if psutil.pid_exists(int(pid))]
    assert killed.returncode == -9 and killed.stdout.split() and not psutil.wait_procs(left, timeout=60)[1]


def test_peak_memory_counts_child_processes() -> None:
    code = "x = bytearray(200 << 20); print('there', flush=True); import time; time.sleep(30)"
    command = [sys.executable, "-c", code]
    with machine.PeakMemory(interval_s=0.1) as before:
        time.sleep(0.3)
    alone = before.peak_mb  # this process has run other tests
    with machine.PeakMemory(interval_s=0.1) as peak, subprocess.Popen(command, stdout=subprocess.PIPE) as child:
        child.stdout.readline()
        deadline = time.monotonic() + 20
        while peak.peak_mb < alone + 190 and time.monotonic() < deadline:
            time.sleep(0.1)
        child.terminate()
        child.wait()
        gone = time.monotonic()
        time.sleep(0.5)
    assert peak.peak_mb > alone + 150 and "every 0.1 s" in peak.how
    assert 0 < peak.since(gone) < peak.peak_mb - 150


def test_hardware_is_told_without_asking_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "torch_facts", lambda: {"torch_threads": None, "gpu": []})
    told = machine.hardware()
    assert told["cores"] >= 1 and told["memory_mb"] > 100 and told["processor"] and told["platform"]


def test_package_versions_are_the_direct_dependencies() -> None:
    versions = machine.package_versions()
    assert versions["torch"].startswith("2.") and "pytest" not in versions


ARCHITECTURES = """
import os, json, threadpoolctl
from vcwork.base.blas import faiss, kernels
found = {os.path.basename(each["filepath"]): each["architecture"] for each in threadpoolctl.threadpool_info()
         if each["internal_api"] == "openblas"}
print(json.dumps([found, os.environ.get("OPENBLAS_CORETYPE"), kernels()]))
"""


def architectures(**environment: str) -> tuple[dict[str, str], str | None, str | None]:
    """What each OpenBLAS of a process with faiss computes as, {file: name}; what is left in its environment; ours."""
    whole = {key: value for key, value in os.environ.items() if key != blas.ASKED} | environment
    done = subprocess.run(
        [sys.executable, "-c", ARCHITECTURES], env=whole, stdout=subprocess.PIPE, text=True, check=True
    )
    return tuple(json.loads(done.stdout))


def test_faiss_computes_as_the_processor_can_and_nobody_else_is_told() -> None:
    """Its OpenBLAS of 2021 took younger processors for ones with SSE3 alone: five times slower."""
    found, left, chosen = architectures()
    if chosen is None or len(found) < 2:
        pytest.skip(f"faiss or NumPy has no OpenBLAS here: {found}")
    assert set(found.values()) - set(blas.KNOWN) == set() and left is None
    assert chosen in found.values()
    told, left, _ = architectures(OPENBLAS_CORETYPE="Nehalem")  # the user's own word, known to both
    assert set(told.values()) == {"Nehalem"} and left == "Nehalem"


@pytest.mark.parametrize(
    ("found", "chosen"),
    [
        (["SapphireRapids"], "SkylakeX"),
        (["Cooperlake"], "SkylakeX"),
        (["Prescott", "Haswell"], "Haswell"),  # the first is faiss's own, loaded by somebody else
        (["neoversen1"], None),  # of no name that the old one knows
        ([None], None),
        ([], None),
    ],
)
def test_faiss_is_told_only_names_that_it_knows(
    found: list[str], chosen: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = [{"internal_api": "openblas", "architecture": name} for name in found] + [{"internal_api": "openmp"}]
    monkeypatch.setattr(blas, "threadpool_info", lambda: there)
    assert blas.kernels() == chosen
