"""The results page of a run: one self-contained HTML file, readable in light and dark, without a network.

It shows what `run.json` and `metrics.json` hold and computes nothing. First a panel of the run to touch, and at most
six headlines, each beside its strongest opponent (`headlines_of` says which); then a card per notebook with its
figures, and all metrics with chance, interval and protocol; what ran on what is folded away.
How it looks stands in `page.html.j2` and `page.css`; here is what it says.
Known gap: which number a notebook records first is its own choice and no judgement.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from markupsafe import Markup

from vcwork.base.files import script_hash, template
from vcwork.measure.card import MODELLED, NEEDS
from vcwork.measure.result import Result, as_result, row, show, text_table

SCRIPT = re.compile(r'<script type="module">(.*?)</script>', re.DOTALL)
STATUS_WORDS = {
    "done": "done",
    "failed": "failed",
    "skipped": "skipped",
    "interrupted": "interrupted",
    "running": "running",
    "waiting": "not run",
}
HEADLINES = 6
TOUCHED = "40"  # the notebook whose panel stands at the top, where the run has it; else the first that has one
SIGNS = {"above": "▲", "level with": "=", "below": "▼"}  # colour alone tells nothing


@dataclass(frozen=True)
class Line:
    """A result of a notebook and its texts by column; `ends`: its protocol is not that of the next one."""

    notebook: dict[str, Any]
    result: Result
    texts: dict[str, str]
    ends: bool


def page_html(run: dict[str, Any], panels: Mapping[str, str] = MappingProxyType({})) -> str:
    """The whole page for the contents of `run.json`, with each notebook's `results` rows inside it.

    panels: of notebooks by name, the HTML of a panel with its one script; one of them is to be touched at the top.
    """
    name = next((name for name in panels if name.startswith(TOUCHED)), next(iter(panels), ""))
    by_notebook = [lines_of(notebook) for notebook in sorted(run["notebooks"], key=lambda entry: entry["name"])]
    lines = [line for found in by_notebook for line in found]
    return template(__package__, "page.html.j2").render(
        run=run,
        changed=run.get("changed", []),
        facts=_facts(run),
        counts=_counts(run),
        words=STATUS_WORDS,
        bad=[n["name"] for n in run["notebooks"] if n["status"] in ("failed", "skipped", "interrupted")],
        headlines=headlines_of(lines),
        signs=SIGNS,
        panel=Markup(panels.get(name, "")),
        shown=next((notebook for notebook in run["notebooks"] if notebook["name"] == name), None),
        scripts=" ".join(map(script_hash, SCRIPT.findall(panels.get(name, "")))) or "'none'",
        notebooks=[found for found in by_notebook if found],
        columns=used_columns(lines),
        dark=dark,
        duration=duration,
        error_text=error_text,
        show=show,
    )


def headlines_of(lines: Sequence[Line]) -> list[Line]:
    """What may stand at the top: of each task and split the first number of the notebook that has most of them.

    Only shares of a model on videos that it was not chosen by, without test-time tricks, whose strongest opponent is
    known item by item (or is chance): so a verdict can be given, and no made-up annotations are among them. All tasks
    come once before one comes twice.
    """
    groups: dict[tuple[str, str], list[Line]] = {}
    for line in filter(_may_lead, lines):
        groups.setdefault((line.result.protocol.task, line.result.protocol.split), []).append(line)
    tasks, found = list(NEEDS), []
    for (task, _), group in groups.items():
        most = Counter(line.notebook["name"] for line in group).most_common(1)[0][0]
        again = sum(line.result.protocol.task == task for _, line in found)
        found.append(((again, tasks.index(task)), next(line for line in group if line.notebook["name"] == most)))
    return [line for _, line in sorted(found, key=lambda pair: pair[0])[:HEADLINES]]


def _may_lead(line: Line) -> bool:
    result, card = line.result, line.result.protocol
    paired = "over" in result.extra or result.best_trivial[0] == "chance"
    held_out = not (card.split.endswith("val") or card.tricks)
    return result.unit == "share" and card.task in MODELLED and bool(card.model) and held_out and paired


def lines_of(notebook: dict[str, Any]) -> list[Line]:
    """A notebook's rows, each read once."""
    results = [as_result(found) for found in notebook["results"]]
    after = [*(result.protocol for result in results[1:]), None]
    return [
        Line(notebook, result, row(result), result.protocol != following)
        for result, following in zip(results, after, strict=False)
    ]


def used_columns(lines: Sequence[Line]) -> list[str]:
    """The columns of `vcwork.measure.result.row` in which some line has anything to say, but the long protocols."""
    names = lines[0].texts if lines else {}
    return [name for name in names if name != "protocol" and any(line.texts[name] for line in lines)]


def _counts(run: dict[str, Any]) -> str:
    """`12 done, 1 failed`."""
    counts = Counter(notebook["status"] for notebook in run["notebooks"])
    return ", ".join(f"{counts[status]} {word}" for status, word in STATUS_WORDS.items() if counts[status])


def _facts(run: dict[str, Any]) -> dict[str, str]:
    """What ran, how long, and on what."""
    git, machine = run["git"], run["hardware"]
    commit = "not a git checkout" if not git["commit"] else git["commit"][:12] + (" + changes" if git["dirty"] else "")
    memory = f"{run['peak_memory_mb']:.0f} MB ({run['peak_memory_how']})" if run["peak_memory_mb"] else "not measured"
    gpu = ", ".join(machine["gpu"]) or "no GPU"
    threads = f", torch on {machine['torch_threads']} threads" if machine["torch_threads"] else ""
    packages = [name for name in ("torch", "transformers", "faiss-cpu", "av") if name in run["packages"]]
    seeds = {str(notebook["parameters"]["seed"]) for notebook in run["notebooks"] if "seed" in notebook["parameters"]}
    return {
        "started": run["started"],
        "wall time": duration(run["wall_s"]),
        "peak memory": memory,
        "seed": ", ".join(sorted(seeds)) or "none",
        "commit": commit,
        "hardware": f"{machine['processor']}, {machine['cores']} cores{threads}, {gpu}, {machine['platform']}",
        "software": ", ".join([f"Python {run['python']}", *(f"{name} {run['packages'][name]}" for name in packages)]),
    }


def dark(figure: str) -> str:
    """The file name of a figure's twin for a dark page, which lies beside it."""
    return f"{figure.removesuffix('.png')}.dark.png"


def error_text(error: dict[str, Any]) -> str:
    """What went wrong and in which cell, in two or three lines."""
    place = f"cell In [{error['cell']}]: {error['line']}\n" if error["cell"] else ""
    return f"{place}{error['message']}"


def duration(seconds: float) -> str:
    """`24 s`, `12.0 min`."""
    return f"{seconds:.0f} s" if seconds < 60 else f"{seconds / 60:.1f} min"


def metrics_text(notebooks: list[dict[str, Any]]) -> str:
    """The table of metrics for the terminal, without the long protocols."""
    lines = [line for notebook in notebooks for line in lines_of(notebook)]
    if not lines:
        return "no metrics recorded"
    columns = used_columns(lines)
    cells = [[line.notebook["name"], *(line.texts[column] for column in columns)] for line in lines]
    return text_table(["notebook", *columns], cells)
