"""The results page of a run: one self-contained HTML file, readable in light and dark, without a network.

It shows what `run.json` and `metrics.json` hold and computes nothing: what ran on what, the first number of each
notebook, a card per notebook with its figures, and all metrics with chance, interval and protocol beside each value.
How it looks stands in `page.html.j2` and `page.css`; here is what it says.
Known gaps: figures are pictures on a light ground, in dark as well; which number a notebook records first is its own
choice and no judgement.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from vcwork.base.files import template
from vcwork.measure.result import Result, as_result, row, text_table

STATUS_WORDS = {
    "done": "done",
    "failed": "failed",
    "skipped": "skipped",
    "interrupted": "interrupted",
    "running": "running",
    "waiting": "not run",
}


@dataclass(frozen=True)
class Line:
    """A result of a notebook and its texts by column; `ends`: its protocol is not that of the next one."""

    notebook: dict[str, Any]
    result: Result
    texts: dict[str, str]
    ends: bool


def page_html(run: dict[str, Any]) -> str:
    """The whole page for the contents of `run.json`, with each notebook's `results` rows inside it."""
    lines = [line for notebook in run["notebooks"] for line in lines_of(notebook)]
    by_notebook = [[line for line in lines if line.notebook is notebook] for notebook in run["notebooks"]]
    firsts = [found[0] for found in by_notebook if found]
    return template(__package__, "page.html.j2").render(
        run=run,
        facts=_facts(run),
        counts=_counts(run),
        words=STATUS_WORDS,
        bad=[n["name"] for n in run["notebooks"] if n["status"] in ("failed", "skipped", "interrupted")],
        firsts=firsts,
        first_columns=used_columns(firsts),
        notebooks=[found for found in by_notebook if found],
        columns=used_columns(lines),
        duration=duration,
        error_text=error_text,
    )


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
