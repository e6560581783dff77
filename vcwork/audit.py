"""What has to stand beside a number before anyone may trust it: chance, trivial scores, interval, protocol.

`Result` is one number with its company; it refuses to exist without chance and a protocol card, and no table shows one
whose card leaves out what its task needs. Intervals resample *videos*, because clips and seconds of one video are not
independent. `vcwork.trivial` holds the predictors that know nothing.
`vcwork.intervals` and `vcwork.tables` do the work; their functions are here as well, so that one import is enough.
NumPy alone. Gap: an interval over videos says nothing about another training seed; `over_seeds` shows that range.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from vcwork.errors import VcworkError
from vcwork.intervals import (
    Comparison,
    bootstrap_by_video,
    bootstrap_median,
    bootstrap_median_counts,
    bootstrap_ratio,
    paired_bootstrap,
    paired_randomisation,
    sum_by_video,
    t_half_width,
    t_quantile,
)
from vcwork.protocol import Card, one_split
from vcwork.tables import (
    check_company,
    paper_cell,
    results_html,
    results_latex,
    results_table,
    row,
    rows,
    seeds_table,
    show,
    text_table,
)
from vcwork.trivial import TOLD

__all__ = [
    "UNITS", "Card", "Comparison", "Result", "SeedSummary", "bootstrap_by_video", "bootstrap_median",
    "bootstrap_median_counts", "bootstrap_ratio", "check_company", "over_seeds", "paired_bootstrap",
    "paired_randomisation", "paper_cell", "results_html", "results_latex", "results_table", "row", "rows",
    "seeds_table", "show", "sum_by_video", "t_half_width", "t_quantile", "text_table",
]  # fmt: skip

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
        """Name and score of the strongest predictor that knows nothing, chance included."""
        blind = {name: score for name, score in self.trivial.items() if name not in TOLD}
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

    def show(self, key: str = "value") -> str:
        """One of the numbers as text: percent for shares, plain for ranks."""
        return show(getattr(self, key), self.unit)

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers, texts and dictionaries, ready for JSON: `protocol` the sentence, `card` its fields."""
        given = asdict(self) | {"protocol": str(self.protocol), "card": self.protocol.as_dict()}
        paper = given.pop("paper_protocol")
        return given if paper is None else given | {"paper_card": self.paper_protocol.as_dict()}


def _number(name: str, key: str, value: Any) -> float:
    if not isinstance(value, (int, float, np.number)) or not math.isfinite(value):
        raise VcworkError(f"result {name}: expected {key} to be a finite number, got {value!r}")
    return float(value)


# ------------------------------------------------------------------------------------------------------ seeds


@dataclass(frozen=True)
class SeedSummary:
    """One metric over several training seeds: mean and range of its values, its 95 % t interval, and mean chance.

    The range grows with the number of seeds and the interval shrinks: only the interval speaks of seeds not yet run. It
    takes the seeds' values for normal, and is not cut at 0 or 1.
    """

    name: str
    mean: float
    low: float
    high: float
    values: tuple[float, ...]
    chance: float
    protocol: str
    unit: str = "share"
    t_low: float = math.nan
    t_high: float = math.nan


def over_seeds(runs: Sequence[Sequence[Result]]) -> list[SeedSummary]:
    """Mean, range and t interval per metric over runs that differ in the seed alone; each run is a list of results.

    Raises VcworkError where the runs hold different metrics, or one of them speaks of another split.
    """
    if len(runs) < 2:
        raise VcworkError(f"a summary over seeds needs at least 2 runs, got {len(runs)}")
    tables = [{r.name: r for r in run} for run in runs]
    if any(list(t) != list(tables[0]) for t in tables):
        raise VcworkError(f"expected the same metrics in every run, got {[sorted(t) for t in tables]}")
    return [_over_seeds([t[name] for t in tables]) for name in tables[0]]


def _over_seeds(same: list[Result]) -> SeedSummary:
    one_split([r.protocol for r in same], f"{same[0].name} over seeds")
    values = tuple(r.value for r in same)
    chance = float(np.mean([r.chance for r in same]))
    protocol = f"{len(same)} seeds; first of them: {same[0].protocol}"
    mean, half = float(np.mean(values)), t_half_width(values)
    return SeedSummary(
        same[0].name, mean, min(values), max(values), values, chance, protocol, same[0].unit, mean - half, mean + half
    )
