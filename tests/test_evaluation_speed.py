"""The speed benchmark of evaluation runs, at a size of seconds, and says when something is too slow."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SMALL = ["--clips", "40", "--videos", "6", "--labels", "5", "--seconds", "60", "--repeats", "2"]


@pytest.mark.parametrize(("limit", "code"), [("60", 0), ("0.000001", 1)])
def test_it_times_every_part(root: Path, tmp_path: Path, limit: str, code: int):
    command = [sys.executable, root / "benchmarks" / "evaluation_speed.py", *SMALL, "--limit", limit]
    done = subprocess.run([*command, "--json", tmp_path / "r.json"], capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    record = json.loads((tmp_path / "r.json").read_text())
    assert record["ok"] is (code == 0) and set(record["seconds"]) == set(record["runs"])
    assert {"retrieval, all metrics", "segmentation, all metrics", "hubness"} <= set(record["seconds"])
    assert all(len(taken) == 2 and min(taken) > 0 for taken in record["runs"].values())
