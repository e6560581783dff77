"""Recording a notebook's numbers: the same values go to the reader's screen, into the notebook, and to the runner.

A notebook calls `record` once, in its cell tagged `results`. The runner names a folder in `VCWORK_RESULTS_DIR`;
without it nothing is written. A result is a `vcwork.measure.result.Result`, anything else with `as_dict()`, or a dict
with its fields; NaN and infinity are refused, because a metric that could not be computed is not a result. JSON holds
the protocol twice: `protocol` is the sentence, `card` its fields; records older than cards have the sentence alone, and
are still read.
"""

import dataclasses
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from IPython import get_ipython
from IPython.display import display

from vcwork.base.console import say
from vcwork.base.errors import VcworkError
from vcwork.base.sealed import read_sealed, well_formed, write_sealed
from vcwork.measure.card import MODELLED
from vcwork.measure.result import METRICS, Result, as_result, check_company, plain, results_table

MIME = "application/vnd.vcwork.metrics+json"


def record(results: Iterable[Any], notebook: str, hashes: dict[str, str] | None = None) -> None:
    """Show `results` as a table and hand them to the runner, with `hashes` of what they were measured on.

    Cards that name no model or no features get those of `hashes` (`checkpoint`, `features`). A second call replaces the
    first. Raises VcworkError for NaN, a missing field, a card that lacks what its task needs, or one result twice.
    """
    results = [_hashed(as_result(result), hashes or {}) for result in results]
    check_company(results, recorded=True)
    keys = [(result.name, result.protocol) for result in results]
    for key in keys:
        if keys.count(key) > 1:
            raise VcworkError(f"result {key[0]!r} ({key[1]}) is recorded twice")
    payload = {
        "notebook": notebook,
        "hashes": plain(hashes or {}, "hashes"),
        "results": [plain(result.as_dict(), f"result {result.name}") for result in results],
    }
    if os.environ.get("VCWORK_RESULTS_DIR"):
        write_sealed(Path(os.environ["VCWORK_RESULTS_DIR"]) / METRICS, payload)
    table = results_table(results) if results else "no metrics in this notebook"
    if get_ipython() is None:
        say(table)
    else:
        display({MIME: payload, "text/plain": table}, raw=True)


def _hashed(result: Result, hashes: dict[str, str]) -> Result:
    """The result with the hashes of what the notebook stands on, where its task needs them and its card has none."""
    card = result.protocol
    known = {"model": hashes.get("checkpoint", ""), "features": hashes.get("features", "")}
    new = {name: value for name, value in known.items() if value and not getattr(card, name)}
    return dataclasses.replace(result, protocol=card.but(**new)) if new and card.task in MODELLED else result


def recorded(folder: Path) -> dict[str, Any]:
    """What the last `record` wrote into `folder`: `results` (list of dicts) and `hashes`, empty without a record."""
    path = folder / METRICS
    if not path.exists():
        return {"results": [], "hashes": {}}
    payload = read_sealed(path, "the notebook should write it by `record` alone")
    with well_formed(path):
        [as_result(row) for row in payload["results"]]
        return {"results": list(payload["results"]), "hashes": dict(payload["hashes"])}
