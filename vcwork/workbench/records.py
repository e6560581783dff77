"""What a run keeps of itself, read again: `run.json`, its record, and `metrics.json`, its numbers.

Both carry their own digest from the first moment, and are written whole or not at all; the record tells the digest of
every file that the runner wrote, of a notebook's once it is done, of all when the run has ended. So a run whose record
says "running" is one that still goes on, or whose process was killed. What notebooks write under `{run}` has digests of
its own.
"""

from pathlib import Path
from typing import Any

from vcwork.base.errors import VcworkError
from vcwork.base.files import sha256_json
from vcwork.base.sealed import Kind, check, manifest_alone, well_formed
from vcwork.measure.result import METRICS, Result, read_metrics

RUN = Kind(
    "run", "vcwork-run-2", "run.json", "make one with `./run workbench`",
    fields={"profile": str, "status": str, "notebooks": list},
)  # fmt: skip


def cells_digest(notebook: Any) -> str:
    """What a record knows a notebook's code by; outputs and texts are not part of it."""
    return sha256_json([cell.source for cell in notebook.cells if cell.cell_type == "code"])


def read_run(folder: Path) -> tuple[dict[str, Any], list[tuple[str, Result]]]:
    """The record, and each number with its notebook.

    VcworkError where one of them is damaged, or the numbers are another run's. Executed notebooks and pages are not
    looked at, so that a run stays readable when somebody saves one of them.
    """
    record = manifest_alone(folder, RUN)
    with well_formed(folder / RUN.manifest):
        if METRICS in record.get("files", {}):
            check(folder / METRICS, record["files"][METRICS], RUN.manifest)
        for entry in record["notebooks"]:
            str(entry["name"]), entry["given"].items(), entry["parameters"].items(), entry["hashes"].items()
    return record, read_metrics(folder)


def check_ended(folder: Path, record: dict[str, Any]) -> None:
    """VcworkError for a run that has not ended, or not in the way that runs do."""
    if record["status"] == "running":
        raise VcworkError(f"{folder}: still running, or its process was killed; `--resume` goes on with it")
