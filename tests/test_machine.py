"""What a run says about the machine, without failing where the machine cannot say it."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from vcwork.workbench import machine


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


def test_peak_memory_counts_child_processes() -> None:
    code = "x = bytearray(200 << 20); print('there', flush=True); import time; time.sleep(30)"
    command = [sys.executable, "-c", code]
    with machine.PeakMemory(interval_s=0.1) as peak, subprocess.Popen(command, stdout=subprocess.PIPE) as child:
        child.stdout.readline()
        deadline = time.monotonic() + 20
        while peak.peak_mb < 190 and time.monotonic() < deadline:
            time.sleep(0.1)
        child.terminate()
    assert peak.peak_mb > 190 and "every 0.1 s" in peak.how


def test_hardware_is_told_without_asking_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "torch_facts", lambda: {"torch_threads": None, "gpu": []})
    told = machine.hardware()
    assert told["cores"] >= 1 and told["memory_mb"] > 100 and told["processor"] and told["platform"]


def test_package_versions_are_the_direct_dependencies() -> None:
    versions = machine.package_versions()
    assert versions["torch"].startswith("2.") and "pytest" not in versions
