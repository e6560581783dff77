"""Several runs of one profile that differ in their seed: mean and range of every metric, and the tables of documents.

A document's table stands between `<!-- table: lab -->` and `<!-- end -->`; `<!-- table: lab: 30, 31 -->` has the rows
of these notebooks alone. It is written from what `keep` stored of three runs in `docs/numbers/`, and never by hand.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from vcwork.base.errors import VcworkError
from vcwork.base.files import atomic_write, own_yaml, project_root, resolve
from vcwork.base.sealed import read_sealed, well_formed, write_sealed
from vcwork.measure.result import Result, as_result, points, seeds_table, show
from vcwork.workbench.records import read_run

NUMBERS = "docs/numbers"
_MARKED = re.compile(r"(<!-- table: (\w+)(?:: ([\d, ]+))? -->\n)(.*?)(<!-- end -->)", re.S)


def summarise(folders: list[str | Path]) -> str:
    """A table over the runs in `folders`: finished ones of one profile, with different seeds (else VcworkError)."""
    return seeds_table([results for _, _, results in read_runs(folders)])


def read_runs(folders: Sequence[str | Path]) -> list[tuple[str, int, list[Result]]]:
    """(profile, seed, results) of finished runs of one profile that differ in their seed alone; VcworkError else."""
    runs, first = [], dict[tuple[str, str], tuple[Any, Path]]()
    for folder in map(resolve, folders):
        record, rows = read_run(folder)
        if record["status"] != "done":
            raise VcworkError(f"{folder}: expected a finished run, this one is {record['status']!r}")
        runs.append((record["profile"], _seed(folder, record), named(rows)))
        for entry in record["notebooks"]:
            for key, value in entry["parameters"].items():
                was, there = first.setdefault((entry["name"], key), (value, folder))
                if value != was and key != "seed":
                    expected = f"expected runs that differ in their seed alone, {entry['name']} has {key} {value!r}"
                    raise VcworkError(f"{folder}: {expected} here and {was!r} in {there}")
    profiles, seeds = {profile for profile, _, _ in runs}, [seed for _, seed, _ in runs]
    if len(profiles) > 1 or len(set(seeds)) < len(seeds):
        raise VcworkError(f"expected one profile and different seeds, got {sorted(profiles)} with seeds {seeds}")
    return runs


def _seed(folder: Path, record: Mapping[str, Any]) -> Any:
    """What its notebooks ran with, whether or not anybody gave it; VcworkError where they are of several."""
    used = {
        entry["name"]: entry["parameters"]["seed"] for entry in record["notebooks"] if "seed" in entry["parameters"]
    }
    if len(set(used.values())) > 1:
        told = ", ".join(f"{name} {seed}" for name, seed in used.items())
        raise VcworkError(f"{folder}: expected one seed of all its notebooks (--seed), got {told}")
    return next(iter(used.values()), record.get("seed"))


def named(rows: Sequence[tuple[str, Result]]) -> list[Result]:
    """Results as `<notebook number> <name>`, numbered where one notebook has a name twice."""
    seen: Counter[str] = Counter()
    results = []
    for notebook, result in rows:
        name = f"{notebook.split('_')[0]} {result.name}"
        seen[name] += 1
        suffix = f" ({seen[name]})" if seen[name] > 1 else ""
        results.append(replace(result, name=name + suffix))
    return results


# --------------------------------------------------------------------------------------------- tables of documents


def keep(folders: Sequence[str | Path]) -> list[Path]:
    """Store what the profile's table needs of each run as `docs/numbers/<profile>-seed<seed>.json`; the paths."""
    paths = []
    for profile, seed, results in read_runs(folders):
        wanted = {name for _, name, _ in _rows(profile)}
        few = [
            replace(r, extra={k: v for k, v in r.extra.items() if k == "over" or k.startswith("minus_")})
            for r in results
            if r.name in wanted
        ]
        paths.append(project_root() / NUMBERS / f"{profile}-seed{seed}.json")
        write_sealed(paths[-1], {"profile": profile, "seed": seed, "results": [r.as_dict() for r in few]})
    return paths


def kept(profile: str) -> list[dict[str, Result]]:
    """What was stored of each run of a profile, by name; VcworkError where nothing was."""
    paths = sorted((project_root() / NUMBERS).glob(f"{profile}-seed*.json"))
    if len(paths) < 2:
        raise VcworkError(f"{NUMBERS}: expected the numbers of at least 2 runs of {profile}, got {len(paths)}; "
                          f"python -m vcwork table RUN0 RUN1 ... keeps them")  # fmt: skip
    runs = []
    for path in paths:
        stored = read_sealed(path, "python -m vcwork table RUN0 RUN1 ... keeps them anew")
        with well_formed(path):
            runs.append({row["name"]: as_result(row) for row in stored["results"]})
    return runs


def table(runs: Sequence[dict[str, Result]], profile: str, notebooks: Sequence[str] = ()) -> str:
    """Markdown over runs: mean and range, the usual half-width of one run's interval, chance, the strongest opponent
    that saw no pictures, and what the model adds over it, item by item, with the widest of the runs' intervals.

    Rows of which some run has no number are left out.
    """
    lines = ["| task | metric | mean (range) | ± | chance | strongest opponent | over it |", "|---" * 7 + "|"]
    about = ""
    for task, name, words in _rows(profile):
        about = task or about
        same = [run[name] for run in runs if name in run]
        if len(same) == len(runs) and (not notebooks or name.split(" ")[0] in notebooks):
            lines.append(_line(_filled(about, same), words, same))
            about = ""
    return "\n".join(lines) + "\n"


def _rows(profile: str) -> list[tuple[str, str, str]]:
    """Task, notebook and metric, and the metric in words, of each line of a profile's table (`tables.yaml`)."""
    tables = own_yaml(__package__, "tables.yaml")
    if profile not in tables:
        raise VcworkError(f"expected a profile with a table, {', '.join(tables)}, got {profile!r}")
    return [(task, name, words) for task, name, words in tables[profile]]


def _filled(text: str, same: list[Result]) -> str:
    """The task's words with how many items there are, a range where runs differ."""

    def span(values: list[float]) -> str:
        low, high = f"{min(values):,.0f}", f"{max(values):,.0f}"
        return low if low == high else f"{low}–{high}"  # fmt: skip

    return text.format(n=span([r.n for r in same]), pool=span([r.protocol.pool or 0 for r in same]))


def _line(task: str, words: str, same: list[Result]) -> str:
    values, unit = [r.value for r in same], same[0].unit
    mean = replace(
        same[0], value=float(np.mean(values)), low=min(values), high=max(values),
        chance=float(np.mean([r.chance for r in same])),
        trivial={key: float(np.mean([r.trivial[key] for r in same]))
                 for key in same[0].trivial if all(key in r.trivial for r in same)},
    )  # fmt: skip
    half, (name, best) = float(np.median([(r.high - r.low) / 2 for r in same])), mean.best_trivial
    ends = f"{100 * mean.low:.1f} – {100 * mean.high:.1f}" if unit == "share" else f"{mean.low:.1f} – {mean.high:.1f}"
    cells = [task, words, f"{mean.show()} ({ends})", f"{100 * half:.1f}" if unit == "share" else f"{half:.1f}",
             mean.show("chance"), f"{show(best, unit)} {name}", _gain(same, name)]  # fmt: skip
    return "| " + " | ".join(cells) + " |"


def _gain(same: list[Result], opponent: str) -> str:
    """The paired difference in points, and the widest of its intervals; "" where some run's opponent is another."""
    over: list[dict[str, Any]] = [r.extra.get("over", {}) for r in same]
    if any(each.get("opponent") != opponent for each in over):
        return ""
    low, high = min(each["low"] for each in over), max(each["high"] for each in over)
    return points(float(np.mean([each["difference"] for each in over])), low, high, same[0].unit)


def filled(text: str, where: str = "text") -> str:
    """A document with all its marked tables written from the kept numbers. VcworkError where it has no table."""
    if not _MARKED.search(text):
        raise VcworkError(f"{where}: expected a table between <!-- table: PROFILE --> and <!-- end -->, found none")

    def written(found: re.Match) -> str:
        only = [name.strip() for name in (found[3] or "").split(",") if name.strip()]
        return found[1] + table(kept(found[2]), found[2], only) + found[5]

    return _MARKED.sub(written, text)


def fill(paths: Sequence[str | Path]) -> None:
    """Write the marked tables of these documents, from the kept numbers."""
    for path in map(resolve, paths):
        text = path.read_text(encoding="utf-8")
        with atomic_write(path) as file:
            file.write(filled(text, str(path)))
