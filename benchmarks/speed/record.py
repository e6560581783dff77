"""What was measured, as JSON: the machine, the runs (when, of which code, how fast the machine was then), the rows.

Stages may be run apart and put into one file: each row says of which run it is, and a stage that is run again replaces
its rows. Rows of two machines never meet in a file.
"""

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.speed.timing import Asked, Row
from vcwork.base.errors import VcworkError
from vcwork.base.files import read_json

FORMAT = "vcwork-speed-1"


def merged(
    path: Path | None, machine: dict[str, Any], run: dict[str, Any], rows: dict[str, list[Row]]
) -> dict[str, Any]:
    """The record at `path`, if there is one, with the stages of this run put in; rows {stage: its rows}."""
    before = opened(path) if path and path.exists() else {"machine": machine, "runs": [], "rows": []}
    if before["machine"]["name"] != machine["name"]:
        raise VcworkError(f"{path}: measured on {before['machine']['name']}, this is {machine['name']}")
    new = [{"stage": stage, "run": len(before["runs"]), **asdict(row)} for stage, each in rows.items() for row in each]
    kept = [row for row in before["rows"] if row["stage"] not in rows] + new
    runs = [*before["runs"], run]
    used = sorted({row["run"] for row in kept})
    place = {old: number for number, old in enumerate(used)}
    for row in kept:
        row["run"] = place[row["run"]]
    return {"format": FORMAT, "machine": machine, "runs": [runs[i] for i in used], "rows": kept}


def opened(path: Path) -> dict[str, Any]:
    """A stored record; VcworkError for anything else."""
    record = read_json(path)
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise VcworkError(f"{path}: expected a record of `python -m benchmarks` ({FORMAT})")
    return record


def rows_of(record: dict[str, Any]) -> Iterable[tuple[Row, dict[str, Any]]]:
    """Every row, and the run it is of."""
    for stored in record["rows"]:
        fields = {key: value for key, value in stored.items() if key not in ("stage", "run")}
        asked = fields.pop("asked")
        yield Row(**fields, asked=Asked(**asked) if asked else None), record["runs"][stored["run"]]
