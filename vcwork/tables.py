"""Tables of results, as aligned text, as HTML and as LaTeX, all from one row: value with its company, or no table.

`row` renders a result; every table shows what it gives. A result whose protocol card lacks what its task needs, or that
comes without the trivial predictors of its task (`vcwork.trivial.REGISTRY`), is refused. Plain Python.
"""

import html
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from vcwork import trivial
from vcwork.errors import VcworkError

if TYPE_CHECKING:
    from vcwork.audit import Result, SeedSummary


def show(value: float, unit: str = "share") -> str:
    """A number as people read it: 0.523 -> `52.3 %`, 0.0003 -> `0.03 %` for a share, 17.0 -> `17.0` for a rank."""
    if unit == "share":
        return f"{100 * value:.{2 if 0 < abs(value) < 0.01 else 1}f} %"
    return f"{value:.1f}"


def check_company(results: Iterable["Result"], recorded: bool = False) -> None:
    """VcworkError, naming result and what is missing: fields of the card (`vcwork.protocol.NEEDS`), trivial scores."""
    for result in results:
        where = f"result {result.name} ({result.protocol.task or 'no task named'})"
        if lacking := result.protocol.lacks(recorded):
            raise VcworkError(f"{where}: its protocol card lacks {', '.join(lacking)}")
        if without := trivial.missing(result.protocol.task, result.trivial):
            raise VcworkError(f"{where}: stands without its trivial predictors {', '.join(without)}")


# -------------------------------------------------------------------------------------------------------- rows


def row(result: "Result") -> dict[str, str]:
    """A result as the texts of one line, by column; the same in notebooks, on the page, in HTML and in LaTeX."""
    return {
        "metric": " ".join([result.name, *_badge(result)]),
        "value": result.show(),
        "95 % interval": _range(result.low, result.high, result.unit),
        "chance": result.show("chance"),
        "best trivial": _named(result.best_trivial, result.unit),
        "if told": _named(result.best_told, result.unit),
        "paper": paper_cell(result),
        "n": str(result.n),
        "protocol": str(result.protocol),
    }


def _badge(result: "Result") -> list[str]:
    """What a reader must see beside the very name: that the test knew more than one query, or used a trick."""
    tricks = result.protocol.tricks
    if not tricks:
        return []
    return ["[transductive]" if any("transductive" in trick for trick in tricks) else "[test-time trick]"]


def rows(results: Sequence["Result"]) -> list[dict[str, str]]:
    """`row` of each, without the columns `paper` and `if told` where no result has anything to say there."""
    made = [row(result) for result in results]
    empty = [name for name in ("paper", "if told") if not any(line[name] for line in made)]
    return [{key: text for key, text in line.items() if key not in empty} for line in made]


def paper_cell(result: "Result") -> str:
    """The published number where its protocol is this one's, else in what the two differ."""
    if result.paper is None:
        return ""
    other = result.protocol.differs(result.paper_protocol)
    return f"not comparable ({', '.join(other)})" if other else result.show("paper")


def _named(best: tuple[str, float] | None, unit: str) -> str:
    return "" if best is None else f"{show(best[1], unit)} {best[0]}"


def _range(low: float, high: float, unit: str) -> str:
    return f"{show(low, unit)} .. {show(high, unit)}"


def _numbered(results: Sequence["Result"]) -> tuple[list[dict[str, str]], list[str]]:
    """The rows with a number in place of each protocol, and the protocols in that order."""
    check_company(results)
    made = rows(results)
    protocols = list(dict.fromkeys(line["protocol"] for line in made))
    return [line | {"protocol": f"[{protocols.index(line['protocol']) + 1}]"} for line in made], protocols


# ------------------------------------------------------------------------------------------------------ tables


def results_table(results: Sequence["Result"]) -> str:
    """Aligned text: value, interval, chance, best trivial score, n; protocols as numbered notes below.

    VcworkError where a result stands without its company (`check_company`)."""
    if not results:
        return "no results"
    lines, protocols = _numbered(results)
    notes = [f"[{i}] {protocol}" for i, protocol in enumerate(protocols, 1)]
    return "\n".join([_align([tuple(lines[0]), *(tuple(line.values()) for line in lines)]), "", *notes])


def results_html(results: Sequence["Result"]) -> str:
    """The same table as a self-contained HTML fragment, every trivial score listed, texts escaped."""
    check_company(results)
    lines = rows(results)
    for line, r in zip(lines, results, strict=True):
        every = "; ".join(f"{name} {show(value, r.unit)}" for name, value in r.trivial.items())
        line["best trivial"] = every or line["best trivial"]
        line.pop("if told", None)
    head = "".join(f"<th>{html.escape(name)}</th>" for name in (lines[0] if lines else ()))
    body = "".join(f"<tr>{''.join(f'<td>{html.escape(c)}</td>' for c in line.values())}</tr>" for line in lines)
    return f'<table class="vcwork-results"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


def results_latex(results: Sequence["Result"]) -> str:
    """The same table as LaTeX without any package: a tabular, and below it the protocols as numbered notes."""
    lines, protocols = _numbered(results)
    if not lines:
        return "% no results"
    cells = [tuple(lines[0]), *(tuple(line.values()) for line in lines)]
    head, *body = (" & ".join(map(latex, line)) + r" \\" for line in cells)
    table = [rf"\begin{{tabular}}{{l{'r' * (len(lines[0]) - 1)}}}", r"\hline", head, r"\hline", *body, r"\hline"]
    notes = [rf"\par{{\footnotesize [{i}] {latex(protocol)}}}" for i, protocol in enumerate(protocols, 1)]
    return "\n".join([*table, r"\end{tabular}", *notes])


_LATEX = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}",
          ">": r"\textgreater{}", "|": r"\textbar{}", "\n": " "} | {c: f"\\{c}" for c in "{}$&#_%"}  # fmt: skip


def latex(text: str) -> str:
    """Text with everything escaped that LaTeX would take for a command."""
    return "".join(_LATEX.get(c, c) for c in text)


def seeds_table(summaries: Sequence["SeedSummary"]) -> str:
    """Aligned text: metric, mean, t interval, range, chance, the value of each seed."""
    lines = [("metric", "mean", "95 % t interval", "range", "chance", "each seed")]
    for s in summaries:
        spread = _range(s.t_low, s.t_high, s.unit), _range(s.low, s.high, s.unit)
        each = ", ".join(show(v, s.unit) for v in s.values)
        lines.append((s.name, show(s.mean, s.unit), *spread, show(s.chance, s.unit), each))
    return _align(lines)


def text_table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Any small table as aligned text; cells are shown as str() gives them."""
    return _align([tuple(map(str, row)) for row in (header, *rows)])


def _align(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([lines[0], "  ".join("-" * w for w in widths), *lines[1:]])
