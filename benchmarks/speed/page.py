"""The stored records as a table and a picture: what stands between the marks of docs/speed.md, and docs/speed.svg."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.speed.record import opened, rows_of
from benchmarks.speed.timing import OURS, Row, holds, median, ratios, reached
from vcwork.base.errors import VcworkError
from vcwork.base.files import atomic_write, project_root

RESULTS, PAGE = "benchmarks/results", "docs/speed.md"
COLUMNS = ("work", "beside", "other, s", "ours, s", "ratio", "asked", "reached", "of the floor")
HEADER = (f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|")
WORDS = {"ratio": "≥ {:g} ×", "seconds": "≤ {:g} s", "rate": "≥ {:,g} /s", "share": "≤ {:.0%}", "more": "≤ {:g} s more"}
FOUND = {"ratio": "{:.2f} ×", "seconds": "{:.1f} s", "rate": "{:,.0f} /s", "share": "{:.2%}", "more": "{:.1f} s more"}


def stored(root: Path | None = None) -> list[dict[str, Any]]:
    """All records of the repository, by the machine's name."""
    return [opened(path) for path in paths(root or project_root())]


def paths(root: Path) -> list[Path]:
    """Where they lie."""
    return sorted((root / RESULTS).glob("speed-*.json"))


def tables(records: Sequence[dict[str, Any]]) -> str:
    """The picture; then a heading, the machine, and a table for each record."""
    picture = ["![How many times as fast each stage is, and what was asked](speed.svg)\n"] if records else []
    return "\n".join([*picture, *(line for record in records for line in _table(record))])


def _table(record: dict[str, Any]) -> Iterable[str]:
    machine, rows = record["machine"], [*rows_of(record)]
    able = ", ".join(machine["flags"]) or "no wide units"
    yield f"### {_titled(machine)}\n"
    yield f"`{machine['name']}`: {able}; torch {machine['torch']}, {machine['threads']} threads.\n"
    for run in record["runs"]:
        yield f"- {_told(run, [row.name for row, of in rows if of is run])}"
    yield "\n" + "\n".join(HEADER)
    yield from (_line(row, run["floors"]) for row, run in rows)
    yield from ("\n" + "\n".join(f"- *{row.name}*: {row.note}" for row, _ in rows if row.note), "")


def _titled(machine: dict[str, Any]) -> str:
    """A processor by its widest units, since one maker's name stands for several."""
    return ", ".join([machine["processor"], f"{machine['cores']} cores", *machine["flags"][-1:]])


def _told(run: dict[str, Any], names: Sequence[str]) -> str:
    rates = ", ".join(f"{name} {rate / 1e9:,.0f} {'GB' if 'copy' in name else 'GFLOP'}/s"
                      for name, rate in run["floors"].items())  # fmt: skip
    code = (run["commit"] or "no commit")[:9] + (" and changes" if run["dirty"] else "")
    when = f"{run['date'][:16].replace('T', ' ')} UTC, {code}, load before {run['load_before'][0]:g}"
    return f"{when}: {rates} ({len(names)} rows)"


def _line(row: Row, floors: dict[str, float]) -> str:
    other, times = next((name for name in row.seconds if name != OURS), ""), ratios(row)
    spread = f"{median(times):.2f} ({min(times):.2f} – {max(times):.2f})" if times else ""
    asked = WORDS[row.asked.kind].format(row.asked.value) if row.asked else ""
    found = FOUND[row.asked.kind].format(reached(row)) if row.asked else ""
    found += "" if holds(row) in (True, None) else ", **not reached**"
    share = f"{row.work / median(row.seconds[OURS]) / floors[row.floor]:.0%} of {row.floor}" if row.floor else ""
    cells = [row.name, other, _seconds(row.seconds[other]) if other else "", _seconds(row.seconds[OURS])]
    return f"| {' | '.join([*cells, spread, asked, found, share])} |"


def _seconds(taken: list[float]) -> str:
    """Median, and from which to which."""
    return f"{median(taken):.3g} ({min(taken):.3g} – {max(taken):.3g})"


def write(root: Path | None = None) -> Path:
    """Put the stored records' tables and picture into the documents; the page."""
    root = root or project_root()
    page, records = root / PAGE, stored(root)
    text = between_marks(page.read_text(encoding="utf-8"), "speed", tables(records), page)
    with atomic_write(page) as file:
        file.write(text)
    if records:
        draw(records, page.with_suffix(".svg"))
    return page


def between_marks(text: str, name: str, table: str, page: str | Path) -> str:
    """The text of a page with this table between the marks of that name."""
    if not marks(name).search(text):
        raise VcworkError(f"{page}: expected the marks <!-- {name} --> and <!-- end -->, between which the table goes")
    return marks(name).sub(lambda _: table, text)


def marks(name: str) -> re.Pattern[str]:
    """What stands between the marks of that name."""
    return re.compile(rf"(?<=<!-- {re.escape(name)} -->\n).*?(?=<!-- end -->)", re.DOTALL)


def draw(records: Sequence[dict[str, Any]], path: Path) -> None:
    """How many times as fast as what stands beside it each row is, its spread, and what was asked."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    kept = [[row for row, _ in rows_of(record) if _is_compared(row)] for record in records]
    with plt.rc_context({"svg.hashsalt": "speed", "font.size": 9}):
        figure, axes = plt.subplots(len(records), 1, figsize=(8, 0.8 + 0.36 * sum(map(len, kept))), squeeze=False)
        for axis, record, rows in zip(axes[:, 0], records, kept, strict=True):
            _bars(axis, rows)
            axis.set_title(_titled(record["machine"]), fontsize=9)
        figure.tight_layout()
        figure.savefig(path, metadata={"Date": None})
        plt.close(figure)


def _is_compared(row: Row) -> bool:
    """Do both ways do the same work?"""
    return bool(ratios(row)) and not (row.asked and row.asked.kind in ("more", "share"))


def _bars(axis, rows: Sequence[Row]) -> None:
    times = [ratios(row) for row in rows]
    middle = [median(each) for each in times]
    off = [[m - min(each) for m, each in zip(middle, times, strict=True)],
           [max(each) - m for m, each in zip(middle, times, strict=True)]]  # fmt: skip
    axis.barh(range(len(rows)), middle, xerr=off, color="#4878a8", ecolor="#333333", height=0.6)
    wanted = [(i, row.asked.value) for i, row in enumerate(rows) if row.asked and row.asked.kind == "ratio"]
    axis.plot([value for _, value in wanted], [i for i, _ in wanted], "|", color="#c00000", markersize=16, mew=2)
    axis.set(xscale="log", xlabel="times as fast as what stands beside it (bar: median; line: spread; red: asked)")
    low, high = min([0.5, *map(min, times)]), max([1.5, *map(max, times), *(value for _, value in wanted)])
    ticks = [
        tick for tick in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500) if low <= tick < 2 * max([1.0, *middle])
    ]
    axis.set_xlim(0.8 * low, 1.3 * high)
    axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axis.minorticks_off()
    axis.set_yticks(range(len(rows)), [row.name for row in rows])
    axis.axvline(1, color="#999999", linewidth=0.8)
    axis.invert_yaxis()
