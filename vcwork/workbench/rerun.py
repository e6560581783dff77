"""A run once more, from its record, with every difference by name; or one that was stopped, to its end.

What is compared: what the notebooks are and ran on, what they were measured on (digests), and every number with its
company. Numbers are the same where code, packages, threads and kind of processor are; `docs/promises.md` says how far
they may be apart where these are not.
Known gaps: what a notebook reads from outside of its run is taken as it is now, though its digest tells; times and
memory are not compared.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from vcwork.base.console import say
from vcwork.base.errors import VcworkError
from vcwork.base.files import alone, project_root
from vcwork.base.sealed import read_manifest, well_formed, write_sealed
from vcwork.measure.result import Result, plain
from vcwork.workbench.profiles import Plan, plan_again, relative
from vcwork.workbench.records import RUN, read_run

CIRCUMSTANCES = ("git", "python", "packages", "hardware")  # of the whole run
OF_NOTEBOOKS = ("code", "parameters", "threads", "hashes", "status")
KEPT = "differences.json"
MISSING = "nothing"


def rerun(folder: Path, out: Path | None = None, at_once: int = 0) -> int:
    """Repeat the run in `folder` in a new one; 0 when every number is the same, 1 when not, 130 when interrupted.

    VcworkError for a folder whose record is damaged, and where the run cannot be repeated as it was.
    """
    record, numbers = read_run(folder)
    plan, threads = _again(folder, record)
    from vcwork.workbench import runs  # Jupyter's packages: seconds

    log = runs.execute_plan(plan, out, at_once=at_once, threads=threads)
    again, new_numbers = read_run(log.folder)
    about, differing = circumstances(record, again), differences(numbers, new_numbers)
    kept = {"format": "vcwork-differences-1", "of": folder.name, "circumstances": about, "numbers": differing}
    write_sealed(log.folder / KEPT, kept)
    say(f"\n{told(relative(folder, plan.root), len(numbers), about, differing)}")
    code = runs.exit_code(log)
    return runs.FAILED if code == runs.OK and differing else code


def resume(folder: Path, profile: str, at_once: int = 0) -> int:
    """Go on with a run of `profile` that was stopped or killed; 0 when all is done, 1 when not, 130 when interrupted.

    What was done is kept as it is; another process that is still at work on it is waited for. VcworkError for a run of
    another profile, and where a file of it is not what it was.
    """
    from vcwork.workbench import runs  # Jupyter's packages: seconds

    read_run(folder)  # before there is a lock beside it
    with alone(folder):
        record, _ = read_run(folder)
        if record["profile"] != profile:
            how = runs.how_to_resume(record["profile"], str(folder))
            raise VcworkError(f"{folder}: expected a run of {profile}, got one of {record['profile']}: {how}")
        if record["status"] == "done":
            say(f"{relative(folder, project_root())}: is done already")
            return runs.OK
        read_manifest(folder, RUN, verify=True)
        plan, threads = _again(folder, record)
        log = runs.execute_plan(plan, folder, at_once=at_once, threads=threads, stopped=record)
    return runs.exit_code(log)


def _again(folder: Path, record: Mapping[str, Any]) -> tuple[Plan, dict[str, int]]:
    """What the record says to run, and with how many threads each; 0 where it does not say."""
    with well_formed(folder / RUN.manifest):
        threads = {entry["name"]: int(entry.get("threads", 0)) for entry in record["notebooks"]}
        return plan_again(project_root(), record), threads


def told(name: str, count: int, about: list[str], differing: list[str]) -> str:
    """The lines of both lists, and how many numbers there were."""
    found = f"{len(differing)} differ" if differing else "all are the same"
    head = f"{name} once more: of {count} results {found}" if count else f"{name} has no results to compare with"
    return "\n    ".join([head, *differing, *(f"{line} (circumstance)" for line in about)])


def circumstances(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What else than the numbers is another in two records, a line each."""
    whole = ({name: record.get(name) for name in CIRCUMSTANCES} for record in (before, now))
    notebooks = (
        {entry["name"]: {name: entry.get(name) for name in OF_NOTEBOOKS} for entry in record["notebooks"]}
        for record in (before, now)
    )
    return [*_changed(*whole), *_changed(*notebooks)]


def differences(before: list[tuple[str, Result]], now: list[tuple[str, Result]]) -> list[str]:
    """Every number that is another, a line a result: its value, and all of its company that differs."""
    old, new = _by_name(before), _by_name(now)
    lines = []
    for name in dict.fromkeys([*old, *new]):
        if name not in old or name not in new:
            lines.append(f"{name}: {'in the first run alone' if name in old else 'new'}")
        elif changed := list(_changed(old[name], new[name])):
            lines.append(f"{name}: {'; '.join(changed)}")
    return lines


def _by_name(numbers: list[tuple[str, Result]]) -> dict[str, dict[str, Any]]:
    """A result's fields by notebook and name, numbered where a notebook has a name twice.

    Its protocol is told by the fields of its card.
    """
    found: dict[str, dict[str, Any]] = {}
    for notebook, result in numbers:
        name, number = f"{notebook} {result.name}", 1
        while (key := name if number == 1 else f"{name} ({number})") in found:
            number += 1
        found[key] = {k: v for k, v in plain(result.as_dict(), name).items() if k not in ("name", "protocol")}
    return found


def _changed(before: Any, now: Any, where: str = "") -> Iterator[str]:
    """`card.model abc → def` for each value that is another, however deep; numbers with their difference."""
    if isinstance(before, dict) and isinstance(now, dict):
        for key in dict.fromkeys([*before, *now]):
            yield from _changed(before.get(key, MISSING), now.get(key, MISSING), f"{where}.{key}".lstrip("."))
    elif before != now:
        apart = f" ({now - before:+.3g})" if _number(before) and _number(now) else ""
        yield f"{where} {_short(before)} → {_short(now)}{apart}"


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 40 else f"{text[:16]}…{text[-16:]}"
