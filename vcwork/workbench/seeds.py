"""Several runs of one profile that differ in their seed: mean and range of every metric, from their stored numbers."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

from vcwork.base.errors import VcworkError
from vcwork.base.files import read_json, resolve
from vcwork.measure.result import Result, as_result, over_seeds, seeds_table


def summarise(folders: list[str | Path]) -> str:
    """A table over the runs in `folders`: finished ones of one profile, with different seeds (else VcworkError)."""
    runs, seeds, profiles = [], [], set()
    for folder in map(resolve, folders):
        record = read_json(folder / "run.json")
        if record["status"] != "done":
            raise VcworkError(f"{folder}: expected a finished run, this one is {record['status']!r}")
        seeds.append(record["seed"])
        profiles.add(record["profile"])
        runs.append(named(read_json(folder / "metrics.json")["results"]))
    if len(profiles) > 1 or len(set(seeds)) < len(seeds):
        raise VcworkError(f"expected one profile and different seeds, got {sorted(profiles)} with seeds {seeds}")
    return seeds_table(over_seeds(runs))


def named(rows: list[dict]) -> list[Result]:
    """Results as `<notebook number> <name>`, numbered where one notebook has a name twice."""
    seen: Counter[str] = Counter()
    results = []
    for row in rows:
        name = f"{row['notebook'].split('_')[0]} {row['name']}"
        seen[name] += 1
        suffix = f" ({seen[name]})" if seen[name] > 1 else ""
        result = as_result({key: value for key, value in row.items() if key != "notebook"})
        results.append(replace(result, name=name + suffix))
    return results
