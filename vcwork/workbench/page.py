"""The results page of a run: one self-contained HTML file, readable in light and dark, without a network.

It shows what `run.json` and `metrics.json` hold and computes nothing: what ran on what, the first number of each
notebook, a card per notebook with its figures, and all metrics with chance, interval and protocol beside each value.
Known gaps: figures are pictures on a light ground, in dark as well; which number a notebook records first is its own
choice and no judgement.
"""

from html import escape
from typing import Any

from vcwork.measure.result import Result, as_result, row

STATUS_WORDS = {
    "done": "done",
    "failed": "failed",
    "skipped": "skipped",
    "interrupted": "interrupted",
    "running": "running",
    "waiting": "not run",
}

CSS = """
:root { color-scheme: light dark; --ink: #1c2026; --soft: #5c6570; --line: #d9dee4; --ground: #ffffff; --card: #f6f8fa;
        --link: #0b62b8; --good: #1a7f4b; --bad: #b3261e; --mark: #2f6fde; --band: #a9c6f5; }
@media (prefers-color-scheme: dark) {
:root { --ink: #e4e8ed; --soft: #9aa4b0; --line: #343b44; --ground: #14171b; --card: #1d2127; --link: #7db4f5;
        --good: #5fce96; --bad: #ff8a80; --mark: #7aa8ff; --band: #33507f; } .figures img { filter: brightness(.9); } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--ground); max-width: 84rem;
       margin: 0 auto; padding: 1.5rem; }
h1 { margin: 0 0 .3rem; } h2 { margin: 2rem 0 .6rem; } a { color: var(--link); } .soft { color: var(--soft); }
nav { display: flex; flex-wrap: wrap; gap: .3rem 1.4rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1.2rem; margin: 1rem 0; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; width: 100%; font-size: .93rem; }
th, td { text-align: left; padding: .25rem .8rem .25rem 0; vertical-align: top; }
th { color: var(--soft); font-weight: 600; } td { font-variant-numeric: tabular-nums; min-width: 6.5rem; }
td.number { white-space: nowrap; min-width: 0; }
td.name { overflow-wrap: anywhere; min-width: 10rem; max-width: 22rem; }
tr.notebook th { border-top: 2px solid var(--soft); padding-top: .5rem; }
tr.protocol td { color: var(--soft); font-size: .83rem; padding-bottom: .55rem; border-bottom: 1px solid var(--line); }
.bar { position: relative; display: block; width: 8.5rem; height: .6rem; margin: .2rem 0 .3rem;
       background: var(--line); }
.bar i { position: absolute; top: 0; bottom: 0; } .bar .band { background: var(--band); }
.bar .value { width: 3px; margin-left: -1px; background: var(--mark); }
.bar .chance { width: 0; border-left: 2px dotted var(--ink); }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(24rem, 100%), 1fr)); gap: 1rem; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: .9rem 1rem; min-width: 0; }
.card h3 { margin: 0 0 .2rem; font-size: 1rem; } .card p, details { margin: .3rem 0; overflow-wrap: anywhere; }
.figures { display: flex; flex-wrap: wrap; gap: .4rem; margin-top: .5rem; }
.figures a { flex: 0 0 calc((100% - 1.2rem) / 4); } .figures a:first-child { flex: 0 0 100%; }
.figures img { display: block; width: 100%; height: 3.6rem; object-fit: contain; background: white; border-radius: 3px;
               border: 1px solid var(--line); box-sizing: border-box; }
.figures a:first-child img { height: 13rem; }
.done { color: var(--good); } .failed, .interrupted, .skipped { color: var(--bad); }
pre.error { white-space: pre-wrap; overflow-wrap: anywhere; background: var(--ground); margin: .4rem 0;
            border-left: 3px solid var(--bad); padding: .4rem .6rem; font-size: .85rem; }
"""

NOTE = (
    "Chance is what guessing would score; best trivial is the strongest rule that never looked at the content; "
    "“if told” is what a guesser scores who is told the video, recipe or task. "
    "Bars run from 0 to 100 %: line the value, band its interval, dots chance."
)


def page_html(run: dict[str, Any]) -> str:
    """The whole page for the contents of `run.json`, with each notebook's `results` rows inside it."""
    name = escape(run["profile"])
    return "\n".join(
        [
            f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8"/>\n<title>{name}: results</title>',
            '<meta name="viewport" content="width=device-width, initial-scale=1"/>',
            f"<style>{CSS}</style>\n</head>\n<body>\n<h1>VideoCLIP Workbench: {name}</h1>",
            _verdict(run),
            _ways(run["notebooks"]),
            _summary(run),
            '<h2 id="summary">In short</h2>',
            _short(run["notebooks"]),
            '<h2 id="notebooks">Notebooks</h2>',
            '<div class="cards">',
            *(_card(notebook) for notebook in run["notebooks"]),
            "</div>",
            '<h2 id="metrics">All metrics</h2>',
            _metrics(run["notebooks"]),
            "</body>\n</html>\n",
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
    return f"<dl>{rows}</dl>"


def _seeds(run: dict[str, Any]) -> str:
    seeds = sorted(
        {str(notebook["parameters"]["seed"]) for notebook in run["notebooks"] if "seed" in notebook["parameters"]}
    )
    return ", ".join(seeds) or "none"


def _ways(notebooks: list[dict[str, Any]]) -> str:
    """Links to the parts of the page, to the records, and to what went wrong."""
    links = {"#summary": "in short", "#notebooks": "notebooks", "#metrics": "all metrics", "run.json": "run.json",
             "metrics.json": "metrics.json"}  # fmt: skip
    bad = {f"#{n['name']}": n["name"] for n in notebooks if n["status"] in ("failed", "skipped", "interrupted")}
    shown = [f'<a href="{escape(where)}">{escape(text)}</a>' for where, text in links.items()]
    shown += [f'<a class="failed" href="{escape(where)}">{escape(text)}</a>' for where, text in bad.items()]
    return f"<nav>{''.join(shown)}</nav>"


def _short(notebooks: list[dict[str, Any]]) -> str:
    """The first number that each notebook recorded, under the notebook's question."""
    firsts = [(notebook, as_result(notebook["results"][0])) for notebook in notebooks if notebook["results"]]
    if not firsts:
        return '<p class="soft">No notebook has recorded a metric yet.</p>'
    columns = _columns([result for _, result in firsts])
    body = []
    for notebook, result in firsts:
        question = _to_page(notebook, notebook["title"] or notebook["name"])
        body += [_metric_line(result, columns, f"{question}<br/>"), _protocol_line(result, len(columns))]
    note = f"The first number that each notebook recorded; all of them stand below. {NOTE}"
    return f'<p class="soft">{note}</p>{_table(columns, body)}'


def _metrics(notebooks: list[dict[str, Any]]) -> str:
    """Every metric by notebook; what shares a protocol stands together above it."""
    found = [as_result(row) for notebook in notebooks for row in notebook["results"]]
    if not found:
        return '<p class="soft">No notebook has recorded a metric yet.</p>'
    columns, body = _columns(found), []
    for notebook in notebooks:
        results = [as_result(row) for row in notebook["results"]]
        if not results:
            continue
        link = _to_page(notebook, notebook["name"])
        body.append(f'<tr class="notebook"><th colspan="{len(columns)}">{link}</th></tr>')
        for result, after in zip(results, [*results[1:], None], strict=True):
            body.append(_metric_line(result, columns))
            if after is None or after.protocol != result.protocol:
                body.append(_protocol_line(result, len(columns)))
    return f'<p class="soft">{NOTE}</p>{_table(columns, body)}'


def _columns(results: list[Result]) -> list[str]:
    """The columns of a table on the page: all but the protocol, which has a line of its own."""
    return [name for name in used_columns(results) if name != "protocol"]


def _table(columns: list[str], body: list[str]) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in columns)
    rows = "\n".join(body)
    return f'<div class="scroll"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody></table></div>'


def _to_page(notebook: dict[str, Any], text: str) -> str:
    """`text` as a link to the notebook's page, where it has one."""
    return f'<a href="{escape(notebook["page"])}">{escape(text)}</a>' if notebook["page"] else escape(text)


def used_columns(results: list[Result]) -> list[str]:
    """The columns of `vcwork.measure.result.row` in which some result has anything to say."""
    lines = [row(result) for result in results]
    return [name for name in lines[0] if any(line[name] for line in lines)]


def _metric_line(result: Result, columns: list[str], above: str = "") -> str:
    """A metric with `above` (HTML) over its name and its bar below the value; the protocol has a line of its own."""
    texts = row(result)
    kinds = {"metric": "name", **dict.fromkeys(("value", "95 % interval", "chance", "n"), "number")}
    cells = []
    for column in columns:
        exact = f' title="{result.value!r}"' if column == "value" else ""
        text = (above if column == "metric" else "") + escape(texts[column]) + (_bar(result) if exact else "")
        cells.append(f'<td class="{kinds.get(column, "")}"{exact}>{text}</td>')
    return f"<tr>{''.join(cells)}</tr>"


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
        f'<div class="card" id="{escape(name)}"><h3>{escape(notebook["title"] or name)}</h3>',
        f'<p class="soft">{escape(name)} · <span class="{status}">{STATUS_WORDS[status]}</span>'
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
        lines.append(f'<details class="soft"><summary>parameters</summary>{escape(given)}</details>')
    figures = "".join(
        f'<a href="figures/{file}"><img src="figures/{file}" alt="figure {i} of {escape(name)}" loading="lazy"/></a>'
        for i, file in enumerate(notebook["figures"], 1)
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
