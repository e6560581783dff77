"""The results page of a run: one self-contained HTML file, readable in light and dark, without a network.

It shows what `run.json` and `metrics.json` hold and computes nothing: a summary, one table of metrics with chance,
interval and protocol beside each value, and a card per notebook.
"""

from html import escape
from typing import Any

from vcwork.audit import Result, row
from vcwork.results import as_result

STATUS_WORDS = {
    "done": "done",
    "failed": "failed",
    "skipped": "skipped",
    "interrupted": "interrupted",
    "running": "running",
    "waiting": "not run",
}

CSS = """
:root { --ink: #1c2026; --soft: #5c6570; --line: #d9dee4; --ground: #ffffff; --card: #f6f8fa; --link: #0b62b8;
        --good: #1a7f4b; --bad: #b3261e; --mark: #2f6fde; --band: #a9c6f5; }
@media (prefers-color-scheme: dark) {
:root { --ink: #e4e8ed; --soft: #9aa4b0; --line: #343b44; --ground: #14171b; --card: #1d2127; --link: #7db4f5;
        --good: #5fce96; --bad: #ff8a80; --mark: #7aa8ff; --band: #33507f; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--ground); max-width: 76rem;
       margin: 0 auto; padding: 1.5rem; }
h1 { margin: 0 0 .3rem; } h2 { margin: 2rem 0 .6rem; } a { color: var(--link); } .soft { color: var(--soft); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1.2rem; margin: 1rem 0; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .2rem .7rem; vertical-align: top; }
th { color: var(--soft); font-weight: 600; } td.number { font-variant-numeric: tabular-nums; white-space: nowrap; }
td.name { white-space: normal; }
tr.notebook th { border-top: 2px solid var(--soft); padding-top: .5rem; }
tr.protocol td { color: var(--soft); font-size: .85rem; padding-bottom: .55rem; border-bottom: 1px solid var(--line); }
.bar { position: relative; display: block; width: 9rem; height: .8rem; margin-top: .35rem; background: var(--line); }
.bar i { position: absolute; top: 0; bottom: 0; } .bar .band { background: var(--band); }
.bar .value { width: 3px; margin-left: -1px; background: var(--mark); }
.bar .chance { width: 0; border-left: 2px dotted var(--ink); }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(22rem, 1fr)); gap: 1rem; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: .9rem 1rem; }
.card h3 { margin: 0 0 .2rem; font-size: 1rem; } .card p { margin: .3rem 0; }
.figures { display: flex; gap: .4rem; margin-top: .5rem; }
.figures img { width: 100%; height: 6.5rem; object-fit: contain; background: white; border: 1px solid var(--line); }
.figures a { flex: 1 1 0; min-width: 0; max-width: 12rem; }
.done { color: var(--good); } .failed, .interrupted, .skipped { color: var(--bad); }
pre.error { white-space: pre-wrap; overflow-wrap: anywhere; background: var(--ground); margin: .4rem 0;
            border-left: 3px solid var(--bad); padding: .4rem .6rem; font-size: .85rem; }
"""


def page_html(run: dict[str, Any]) -> str:
    """The whole page for the contents of `run.json`, with each notebook's `results` rows inside it."""
    name = escape(run["profile"])
    return "\n".join(
        [
            f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8"/>\n<title>{name}: results</title>',
            '<meta name="viewport" content="width=device-width, initial-scale=1"/>',
            f"<style>{CSS}</style>\n</head>\n<body>\n<h1>VideoCLIP Workbench: {name}</h1>",
            _verdict(run),
            _summary(run),
            "<h2>Metrics</h2>",
            _metrics(run["notebooks"]),
            "<h2>Notebooks</h2>",
            '<div class="cards">',
            *(_card(notebook) for notebook in run["notebooks"]),
            "</div>\n</body>\n</html>\n",
        ]
    )


def _verdict(run: dict[str, Any]) -> str:
    counts = {
        word: sum(notebook["status"] == status for notebook in run["notebooks"])
        for status, word in STATUS_WORDS.items()
    }
    told = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
    kind = run["status"] if run["status"] != "running" else "soft"
    return f'<p><strong class="{kind}">{escape(run["status"])}</strong> <span class="soft">{told}</span></p>'


def _summary(run: dict[str, Any]) -> str:
    git, machine = run["git"], run["hardware"]
    commit = "not a git checkout" if not git["commit"] else git["commit"][:12] + (" + changes" if git["dirty"] else "")
    memory = f"{run['peak_memory_mb']:.0f} MB ({run['peak_memory_how']})" if run["peak_memory_mb"] else "not measured"
    gpu = ", ".join(machine["gpu"]) or "no GPU"
    threads = f", torch on {machine['torch_threads']} threads" if machine["torch_threads"] else ""
    facts = {
        "started": run["started"],
        "wall time": duration(run["wall_s"]),
        "peak memory": memory,
        "seed": _seeds(run),
        "commit": commit,
        "hardware": f"{machine['processor']}, {machine['cores']} cores{threads}, {gpu}, {machine['platform']}",
        "software": ", ".join(
            [f"Python {run['python']}"]
            + [
                f"{name} {run['packages'][name]}"
                for name in ("torch", "transformers", "faiss-cpu", "av")
                if name in run["packages"]
            ]
        ),
    }
    rows = "".join(f"<dt>{key}</dt><dd>{escape(str(value))}</dd>" for key, value in facts.items())
    links = 'everything else: <a href="run.json">run.json</a>, <a href="metrics.json">metrics.json</a>'
    return f"<dl>{rows}</dl><p class='soft'>{links}</p>"


def _seeds(run: dict[str, Any]) -> str:
    seeds = sorted(
        {str(notebook["parameters"]["seed"]) for notebook in run["notebooks"] if "seed" in notebook["parameters"]}
    )
    return ", ".join(seeds) or "none"


def _metrics(notebooks: list[dict[str, Any]]) -> str:
    rows = [(notebook["name"], as_result(row)) for notebook in notebooks for row in notebook["results"]]
    if not rows:
        return '<p class="soft">No notebook has recorded a metric.</p>'
    columns = [name for name in used_columns([result for _, result in rows]) if name != "protocol"]
    header = "".join(f"<th>{head}</th>" for head in [columns[0], "", *columns[1:]])
    body = []
    for i, (name, result) in enumerate(rows):
        after = rows[i + 1] if i + 1 < len(rows) else None
        if i == 0 or rows[i - 1][0] != name:
            link = f'<a href="pages/{name}.html">{name}</a>'
            body.append(f'<tr class="notebook"><th colspan="{len(columns) + 1}">{link}</th></tr>')
        shared = after is not None and after[0] == name and after[1].protocol == result.protocol
        body += [_metric_line(result, columns)] + ([] if shared else [_protocol_line(result, len(columns) + 1)])
    body = "\n".join(body)
    note = (
        "Chance is what guessing would score; best trivial is the strongest rule that never looked at the content; "
        "“if told” is what a guesser scores who is told the video, recipe or task. "
        "Bars run from 0 to 100 %: line the value, band its interval, dots chance."
    )
    return (
        f'<p class="soft">{note}</p><div class="scroll"><table>\n<thead><tr>{header}</tr></thead>\n'
        f"<tbody>\n{body}\n</tbody></table></div>"
    )


def used_columns(results: list[Result]) -> list[str]:
    """The columns of `vcwork.tables.row` in which some result has anything to say."""
    lines = [row(result) for result in results]
    return [name for name in lines[0] if any(line[name] for line in lines)]


def _metric_line(result: Result, columns: list[str]) -> str:
    """A metric with its bar beside the name; the protocol stands in a line of its own."""
    texts = row(result)
    exact = f' title="{result.value!r}"'
    cells = [f'<td class="number{" name" * (c == "metric")}"{exact * (c == "value")}>{escape(texts[c])}</td>'
             for c in columns]  # fmt: skip
    return f"<tr>{cells[0]}<td>{_bar(result)}</td>{''.join(cells[1:])}</tr>"


def _protocol_line(result: Result, width: int) -> str:
    """How the metrics above it were measured."""
    return f'<tr class="protocol"><td colspan="{width}">{escape(str(result.protocol))}</td></tr>'


def _bar(result: Result) -> str:
    """Value, interval and chance on a scale from 0 to 1; nothing for ranks."""
    if result.unit != "share":
        return ""
    marks = [f'<i class="band" style="left:{result.low:.1%};width:{result.high - result.low:.1%}"></i>']
    marks += [f'<i class="{key}" style="left:{getattr(result, key):.1%}"></i>' for key in ("chance", "value")]
    return f'<span class="bar">{"".join(marks)}</span>'


def _card(notebook: dict[str, Any]) -> str:
    name, status = notebook["name"], notebook["status"]
    lines = [
        f'<div class="card"><h3>{escape(notebook["title"] or name)}</h3>',
        f'<p class="soft">{name} · <span class="{status}">{STATUS_WORDS[status]}</span>'
        + (f" · {duration(notebook['wall_s'])}" if notebook["wall_s"] else "")
        + "</p>",
    ]
    if notebook["error"]:
        lines.append(f'<pre class="error">{escape(error_text(notebook["error"]))}</pre>')
    links = {"page": "read it", "executed": "executed notebook", "log": "kernel log"}
    shown = [f'<a href="{notebook[key]}">{text}</a>' for key, text in links.items() if notebook[key]]
    lines.append(f"<p>{' · '.join(shown)}</p>")
    if notebook["given"]:
        given = ", ".join(f"{key} = {value!r}" for key, value in notebook["given"].items())
        lines.append(f'<p class="soft">{escape(given)}</p>')
    figures = "".join(
        f'<a href="figures/{file}"><img src="figures/{file}" alt="figure of {name}" loading="lazy"/></a>'
        for file in notebook["figures"][:3]
    )
    return "\n".join([*lines, f'<div class="figures">{figures}</div>' if figures else "", "</div>"])


def error_text(error: dict[str, Any]) -> str:
    """What went wrong and in which cell, in two or three lines."""
    place = f"cell In [{error['cell']}]: {error['line']}\n" if error["cell"] else ""
    return f"{place}{error['message']}"


def duration(seconds: float) -> str:
    """`24 s`, `12.0 min`."""
    return f"{seconds:.0f} s" if seconds < 60 else f"{seconds / 60:.1f} min"


def metrics_text(notebooks: list[dict[str, Any]]) -> str:
    """The table of metrics for the terminal, without the long protocols."""
    rows = [(notebook["name"], as_result(row)) for notebook in notebooks for row in notebook["results"]]
    if not rows:
        return "no metrics recorded"
    columns = [name for name in used_columns([result for _, result in rows]) if name != "protocol"]
    cells = [["notebook", *columns]]
    cells += [[name, *(row(result)[column] for column in columns)] for name, result in rows]
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in cells)
