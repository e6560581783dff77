"""What has to stand beside a number before anyone may trust it: chance, trivial scores, interval, protocol.

`Result` is one number with its company; it refuses to exist without chance and a protocol card, and no table shows one
whose card leaves out what its task needs, or that comes without the trivial predictors of its task
(`vcwork.measure.trivial.REGISTRY`). `row` renders a result; every table shows what it gives. Plain Python and NumPy.
Gap: an interval over videos says nothing about another training seed; `seeds_table` shows that range.
"""

import dataclasses
import math
import numbers
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from vcwork.base.errors import VcworkError
from vcwork.base.sealed import read_sealed, well_formed
from vcwork.measure.card import Card, as_card, one_split
from vcwork.measure.intervals import bootstrap_by_video, bootstrap_ratio, paired_ratios, sum_by_video, t_half_width
from vcwork.measure.trivial import SEEING, TOLD, missing

METRICS = "metrics.json"  # of a run
UNITS = ("share", "rank")  # share: a fraction, shown in percent, higher is better; rank: from 1, lower is better


@dataclass(frozen=True)
class Result:
    """One metric: its value, 95 % interval over videos, what chance gives, and how it was measured.

    value, low, high, chance, trivial and paper share one unit; n counts what was averaged (queries, steps, seconds).
    trivial: scores of predictors that never saw the content. paper: a published number, which needs the card of *its*
    protocol; another split there is refused. Raises VcworkError on NaN or where company is missing.
    """

    name: str
    value: float
    low: float
    high: float
    chance: float
    protocol: Card
    n: int
    trivial: dict[str, float] = field(default_factory=dict)
    paper: float | None = None
    extra: dict[str, Any] = field(default_factory=dict)
    unit: str = "share"
    paper_protocol: Card | None = None

    def __post_init__(self) -> None:
        if not self.name.strip() or not isinstance(self.protocol, Card) or not str(self.protocol):
            raise VcworkError(f"result {self.name!r}: expected a name and a protocol card, got {self.protocol!r}")
        if self.unit not in UNITS:
            raise VcworkError(f"result {self.name}: expected unit to be one of {', '.join(UNITS)}, got {self.unit!r}")
        for key in ("value", "low", "high", "chance"):
            object.__setattr__(self, key, _number(self.name, key, getattr(self, key)))
        object.__setattr__(self, "trivial", {k: _number(self.name, k, v) for k, v in self.trivial.items()})
        if self.paper is not None:
            object.__setattr__(self, "paper", _number(self.name, "paper", self.paper))
            if self.paper_protocol is None:
                raise VcworkError(f"result {self.name}: a paper's number needs the card of its own protocol")
            one_split([self.protocol, self.paper_protocol], f"result {self.name}, paper")
        if self.low > self.high or self.n < 1:
            raise VcworkError(f"result {self.name}: low {self.low} above high {self.high}, or n {self.n} below 1")

    @property
    def best_trivial(self) -> tuple[str, float]:
        """Name and score of the strongest predictor that saw no pictures and was told nothing, chance included."""
        blind = {name: score for name, score in self.trivial.items() if name not in TOLD | SEEING}
        return self._best({"chance": self.chance, **blind})

    @property
    def best_told(self) -> tuple[str, float] | None:
        """The strongest of those that are told the video, recipe or task; None where there is none."""
        told = {name: score for name, score in self.trivial.items() if name in TOLD}
        return self._best(told) if told else None

    def _best(self, scores: dict[str, float]) -> tuple[str, float]:
        best = min if self.unit == "rank" else max
        return best(scores.items(), key=lambda item: round(item[1], 9))

    @property
    def times_chance(self) -> float:
        """value / chance (chance / value for ranks); infinite where the denominator is 0."""
        a, b = (self.chance, self.value) if self.unit == "rank" else (self.value, self.chance)
        return a / b if b else math.inf

    @property
    def verdict(self) -> str:
        """Of a share: above, level with or below its strongest opponent, by the 95 % interval of the difference."""
        over = self.extra.get("over")
        if over is None:  # not known item by item: the interval of the value decides
            over = {"low": self.low - self.best_trivial[1], "high": self.high - self.best_trivial[1]}
        return "above" if over["low"] > 0 else "below" if over["high"] < 0 else "level with"

    def show(self, key: str = "value") -> str:
        """One of the numbers as text: percent for shares, plain for ranks."""
        return show(getattr(self, key), self.unit)

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers, texts and dictionaries, ready for JSON: `protocol` the sentence, `card` its fields."""
        given = asdict(self) | {"protocol": str(self.protocol), "card": self.protocol.as_dict()}
        del given["paper_protocol"]
        paper = self.paper_protocol
        return given if paper is None else given | {"paper_card": paper.as_dict()}


def _number(name: str, key: str, value: Any) -> float:
    if not isinstance(value, (int, float, np.number)) or not math.isfinite(value):
        raise VcworkError(f"result {name}: expected {key} to be a finite number, got {value!r}")
    return float(value)


# ------------------------------------------------------------------------------- from counts of items or videos


def mean_result(
    name: str, per_item: np.ndarray, videos: Sequence, chance: float, protocol: Card, *, n_boot: int = 1000,
    seed: int = 0, beside: Mapping[str, np.ndarray] = MappingProxyType({}), **more: Any,
) -> Result:  # fmt: skip
    """Mean of per_item (N,) with its interval over videos (N,); beside: the same items by each predictor.

    n_boot, seed: of the videos drawn again. Each task's `evaluate` hands on what it is given of these as `draws`.
    """
    low, high = bootstrap_by_video(per_item, videos, n_boot, seed)
    known = {key: float(np.mean(each)) for key, each in beside.items()} | more.pop("trivial", {})
    result = Result(name, float(np.mean(per_item)), low, high, chance, protocol, len(per_item), known, **more)
    count = sum_by_video(np.ones(len(per_item)), videos)
    parts = {key: (sum_by_video(each, videos), count) for key, each in {"": per_item, **beside}.items()}
    return _compared(result, parts, n_boot, seed)


def ratio_result(
    name: str, hits: np.ndarray, totals: np.ndarray, chance: float, protocol: Card, *, n_boot: int = 1000,
    seed: int = 0, beside: Mapping[str, tuple[np.ndarray, np.ndarray]] = MappingProxyType({}), **more: Any,
) -> Result:  # fmt: skip
    """Sum of hits / sum of totals, averaged over groups that occur; hits, totals (V,) or (V, G) per video.

    beside: each predictor's own hits and totals of the same videos.
    """
    low, high = bootstrap_ratio(hits, totals, n_boot, seed)
    known = {key: group_mean(*each) for key, each in beside.items()} | more.pop("trivial", {})
    n = max(1, round(float(np.sum(totals))))
    result = Result(name, group_mean(hits, totals), low, high, chance, protocol, n, known, **more)
    return _compared(result, {"": (hits, totals), **beside}, n_boot, seed)


def _compared(result: Result, parts: Mapping[str, tuple[np.ndarray, np.ndarray]], n_boot: int, seed: int) -> Result:
    """With `times_chance` in extra; and `over`, the paired difference to the strongest opponent among the parts."""
    if result.chance > 0:
        result.extra["times_chance"] = result.value / result.chance
    best = result.best_trivial[0]
    if best in parts:
        result.extra["over"] = {"opponent": best, **asdict(paired_ratios(parts[""], parts[best], n_boot, seed))}
    return result


def group_mean(hits: np.ndarray, totals: np.ndarray) -> float:
    """Mean over groups of hits / totals; groups without any total are left out; 0 where none is left."""
    hits, totals = np.atleast_1d(np.sum(hits, axis=0)), np.atleast_1d(np.sum(totals, axis=0))
    return float(np.mean(hits[totals > 0] / totals[totals > 0])) if (totals > 0).any() else 0.0


# ------------------------------------------------------------------------------------------------------ seeds


def seeds_table(runs: Sequence[Sequence[Result]]) -> str:
    """Aligned text over runs, lists of results, that differ in the seed alone: mean, t interval, range, mean chance.

    The range grows with the number of seeds and the interval shrinks: only the interval speaks of seeds not yet run. It
    takes the seeds' values for normal, and is not cut at 0 or 1. Raises VcworkError where the runs hold different
    metrics, or one of them speaks of another split.
    """
    if len(runs) < 2:
        raise VcworkError(f"a summary over seeds needs at least 2 runs, got {len(runs)}")
    tables = [{r.name: r for r in run} for run in runs]
    if any(list(t) != list(tables[0]) for t in tables):
        raise VcworkError(f"expected the same metrics in every run, got {[sorted(t) for t in tables]}")
    head = ("metric", "mean", "95 % t interval", "range", "chance", "each seed")
    return text_table(head, [_over_seeds([t[name] for t in tables]) for name in tables[0]])


def _over_seeds(same: list[Result]) -> tuple[str, ...]:
    one_split([r.protocol for r in same], f"{same[0].name} over seeds")
    values, unit = [r.value for r in same], same[0].unit
    mean, half, chance = float(np.mean(values)), t_half_width(values), float(np.mean([r.chance for r in same]))
    spread = _range(mean - half, mean + half, unit), _range(min(values), max(values), unit)
    return same[0].name, show(mean, unit), *spread, show(chance, unit), ", ".join(show(v, unit) for v in values)


# --------------------------------------------------------------------------------------------------- as stored


def read_metrics(folder: Path) -> list[tuple[str, Result]]:
    """What a run recorded, its `metrics.json`: the notebook of each result, and the result.

    VcworkError for another file or none, and one that is not as it was written.
    """
    path = folder / METRICS
    found = read_sealed(path, f"to keep it as it is, `python -m vcwork verify --seal {path}`")
    if found.get("format") not in ("vcwork-metrics-1", "vcwork-metrics-2"):
        raise VcworkError(f"{path}: expected the metrics of a run (vcwork-metrics-2), got {found.get('format')!r}")
    with well_formed(path):
        return [(str(row.pop("notebook")), as_result(row)) for row in found["results"]]


def as_result(value: Any) -> Result:
    """A Result from one, from anything with `as_dict()`, or from a dict. VcworkError names wrong or missing fields."""
    if isinstance(value, Result):
        return value
    given = _with_cards(dict(value if isinstance(value, dict) else value.as_dict()))
    fields = {field.name: field for field in dataclasses.fields(Result)}
    required = [name for name, field in fields.items() if field.default is field.default_factory is dataclasses.MISSING]
    wrong = [f"unknown {name}" for name in given if name not in fields]
    wrong += [f"no {name}" for name in required if name not in given]
    if wrong:
        raise VcworkError(f"result {given.get('name')!r}: {', '.join(wrong)}; its fields: {', '.join(fields)}")
    return Result(**given)


def _with_cards(given: dict[str, Any]) -> dict[str, Any]:
    """Cards made from their dictionaries; of a record older than cards from its sentence alone."""
    if isinstance(given.get("protocol"), str) or "card" in given:
        older = "card" not in given
        given["protocol"] = as_card(given.pop("card", given.get("protocol")))
        paper = given.pop("paper_card", None)
        if given.get("paper") is not None and (paper or older):
            given["paper_protocol"] = as_card(paper) if paper else given["protocol"]
    return given


def plain(value: Any, where: str) -> Any:
    """NumPy scalars and arrays, tuples and paths as JSON values. Raises VcworkError for NaN, infinity and objects."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, numbers.Real):
        value = int(value) if isinstance(value, numbers.Integral) else float(value)
        if not math.isfinite(value):
            raise VcworkError(f"{where}: expected a finite number, got {value}")
        return value
    if isinstance(value, dict):
        return {str(key): plain(item, f"{where}: {key}") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item, where) for item in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist(), where)
    if isinstance(value, Path):
        return str(value)
    raise VcworkError(f"{where}: expected plain values, got {type(value).__name__}")


# ---------------------------------------------------------------------------------------------------- tables


def show(value: float, unit: str = "share") -> str:
    """A number as people read it: 0.523 -> `52.3 %`, 0.0003 -> `0.03 %` for a share, 17.0 -> `17.0` for a rank."""
    if unit == "share":
        return f"{100 * value:.{2 if 0 < abs(value) < 0.01 else 1}f} %"
    return f"{value:.1f}"


def points(difference: float, low: float | None = None, high: float | None = None, unit: str = "share") -> str:
    """A difference, with its 95 % interval where there is one: `+38.6 points (+31.3 .. +45.5)`.

    Shares differ by percentage points, never by per cent; ranks by places, which need no word.
    """
    scale, word = (100, " points") if unit == "share" else (1, "")
    numbers = [scale * x for x in (difference, low, high) if x is not None]
    first, *ends = (f"{x:+.{2 if 0 < abs(x) < 0.05 else 1}f}" for x in numbers)
    return first + word + (f" ({' .. '.join(ends)})" if ends else "")


def check_company(results: Iterable[Result], recorded: bool = False) -> None:
    """VcworkError naming result and what is missing: fields of the card (`measure.card.NEEDS`), trivial scores."""
    for result in results:
        where = f"result {result.name} ({result.protocol.task or 'no task named'})"
        if lacking := result.protocol.lacks(recorded):
            raise VcworkError(f"{where}: its protocol card lacks {', '.join(lacking)}")
        if without := missing(result.protocol.task, result.trivial):
            raise VcworkError(f"{where}: stands without its trivial predictors {', '.join(without)}")


def row(result: Result) -> dict[str, str]:
    """A result as the texts of one line, by column; the same in notebooks and on the page."""
    return {
        "metric": " ".join([result.name, *_badge(result)]),
        "value": result.show(),
        "95 % interval": _range(result.low, result.high, result.unit),
        "chance": result.show("chance"),
        "best trivial": _named(result.best_trivial, result.unit),
        "over it": _over(result),
        "if told": _named(result.best_told, result.unit),
        "paper": paper_cell(result),
        "n": str(result.n),
        "protocol": str(result.protocol),
    }


def _badge(result: Result) -> list[str]:
    """What a reader must see beside the very name: that the test knew more than one query, or used a trick."""
    card = result.protocol
    return ["[transductive]" if card.transductive else "[test-time trick]"] if card.tricks else []


def paper_cell(result: Result) -> str:
    """The published number where its protocol is this one's, else in what the two differ."""
    there = result.paper_protocol
    if result.paper is None or there is None:
        return ""
    other = [_said(name, getattr(there, name)) for name in result.protocol.differs(there)]
    return f"not comparable (there {', '.join(other)})" if other else result.show("paper")


def _said(name: str, value: Any) -> str:
    return f"{name} {value:,g}" if isinstance(value, int | float) else f"{name} {value or 'none'}"


def _over(result: Result) -> str:
    """Value minus best trivial, and the 95 % interval of that, where both are known item by item."""
    over = result.extra.get("over")
    return points(over["difference"], over["low"], over["high"], result.unit) if over else ""


def _named(best: tuple[str, float] | None, unit: str) -> str:
    return "" if best is None else f"{show(best[1], unit)} {best[0]}"


def _range(low: float, high: float, unit: str) -> str:
    return f"{show(low, unit)} .. {show(high, unit)}"


def results_table(results: Sequence[Result]) -> str:
    """Aligned text: the columns of `row` in which some result has anything to say; protocols as numbered notes below.

    VcworkError where a result stands without its company (`check_company`)."""
    if not results:
        return "no results"
    check_company(results)
    lines = [row(result) for result in results]
    columns = [name for name in lines[0] if any(line[name] for line in lines)]
    notes = {protocol: f"[{i}]" for i, protocol in enumerate(dict.fromkeys(line["protocol"] for line in lines), 1)}
    cells = [[(line | {"protocol": notes[line["protocol"]]})[name] for name in columns] for line in lines]
    return "\n".join([text_table(columns, cells), "", *(f"{note} {protocol}" for protocol, note in notes.items())])


def text_table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Any small table as aligned text; cells are shown as str() gives them."""
    cells = [[str(cell) for cell in row] for row in (header, *rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in cells]
    return "\n".join([lines[0], "  ".join("-" * w for w in widths), *lines[1:]])
