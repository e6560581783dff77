"""What has to stand beside a number before anyone may trust it: chance, trivial scores, interval, protocol.

`Result` is one number with its company; it refuses to exist without chance and a protocol card, and no table shows one
whose card leaves out what its task needs. Intervals resample *videos*, because clips and seconds of one video are not
independent. `vcwork.trivial` holds the predictors that know nothing.
NumPy alone. Gap: an interval over videos says nothing about another training seed; `over_seeds` shows that range.
"""

import html
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from statistics import NormalDist
from typing import Any

import numpy as np

from vcwork.errors import VcworkError
from vcwork.protocol import Card, one_split

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
        best = min if self.unit == "rank" else max
        return best({"chance": self.chance, **self.trivial}.items(), key=lambda item: round(item[1], 9))

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


def show(value: float, unit: str = "share") -> str:
    """A number as people read it: 0.523 -> `52.3 %`, 0.0003 -> `0.03 %` for a share, 17.0 -> `17.0` for a rank."""
    if unit == "share":
        return f"{100 * value:.{2 if 0 < abs(value) < 0.01 else 1}f} %"
    return f"{value:.1f}"


def _number(name: str, key: str, value: Any) -> float:
    if not isinstance(value, (int, float, np.number)) or not math.isfinite(value):
        raise VcworkError(f"result {name}: expected {key} to be a finite number, got {value!r}")
    return float(value)


# ------------------------------------------------------------------------------------------------- intervals


def bootstrap_by_video(
    per_item: np.ndarray, video_ids: Sequence, n_boot: int = 1000, seed: int = 0, confidence: float = 0.95
) -> tuple[float, float]:
    """Interval of the mean of `per_item` (N,) when whole videos are drawn again; video_ids (N,) -> (low, high).

    Cluster bootstrap, percentile, widened for few videos (see `bootstrap_ratio`). Where every item is 0, or every
    item 1, resampling sees no spread: then the open end is the exact binomial bound for that many videos.
    Raises VcworkError on NaN, unequal lengths, or fewer than two videos.
    """
    per_item = np.asarray(per_item, dtype=float)
    hits, totals = sum_by_video(per_item, video_ids), sum_by_video(np.ones(len(per_item)), video_ids)
    return bootstrap_ratio(hits, totals, n_boot, seed, confidence)


def bootstrap_ratio(
    hits: np.ndarray, totals: np.ndarray, n_boot: int = 1000, seed: int = 0, confidence: float = 0.95
) -> tuple[float, float]:
    """Interval of (sum of hits / sum of totals), averaged over groups; hits, totals (V,) or (V, G) per video.

    Groups are classes or tasks; one that a draw does not contain is left out of that draw's mean.
    Percentile levels are moved out by the t quantile and sqrt(V / (V - 1)), because the bare percentile interval is
    too narrow for few videos. Source: Hesterberg, What Teachers Should Know About the Bootstrap (2015), section 3.
    """
    hits, totals = (np.asarray(a, dtype=float).reshape(len(a), -1) for a in (hits, totals))
    if hits.shape != totals.shape or np.isnan(hits).any() or np.isnan(totals).any():
        raise VcworkError(f"expected hits and totals of one shape without NaN, got {hits.shape} and {totals.shape}")
    alpha = (1 - confidence) / 2
    exact = alpha ** (1 / len(hits))
    if not hits.any():
        return 0.0, 1 - exact
    if np.array_equal(hits, totals):
        return exact, 1.0
    draws = _draws(len(hits), n_boot, seed)  # (n_boot, V)
    with np.errstate(invalid="ignore", divide="ignore"):
        ratios = (draws @ hits) / (draws @ totals)  # (n_boot, G)
    seen = np.isfinite(ratios)
    means = np.where(seen, ratios, 0).sum(1)[seen.any(1)] / seen.sum(1)[seen.any(1)]
    return _ends(means, alpha, len(hits))


def bootstrap_median(
    per_item: np.ndarray, video_ids: Sequence, n_boot: int = 1000, seed: int = 0, confidence: float = 0.95
) -> tuple[float, float]:
    """Interval of the median of `per_item` (N,) when whole videos are drawn again; as `bootstrap_by_video`."""
    per_item, (_, video) = np.asarray(per_item, dtype=float), _clusters(per_item, video_ids)
    order = np.argsort(per_item, kind="stable")
    weights = _draws(video.max() + 1, n_boot, seed)[:, video[order]].cumsum(1)  # (n_boot, N)
    half = weights[:, -1:] / 2
    lower, upper = (weights >= half).argmax(1), (weights > half).argmax(1)
    medians = (per_item[order][lower] + per_item[order][upper]) / 2
    return _ends(medians, (1 - confidence) / 2, video.max() + 1)


def sum_by_video(values: np.ndarray, video_ids: Sequence) -> np.ndarray:
    """Sums of values (N,) or (N, G) over the items of each video, videos in sorted order -> (V,) or (V, G)."""
    values, (n_videos, video) = np.asarray(values, dtype=float), _clusters(values, video_ids)
    out = np.zeros((n_videos, *values.shape[1:]))
    np.add.at(out, video, values)
    return out


@dataclass(frozen=True)
class Comparison:
    """Mean difference a - b with its 95 % interval over videos, and a two-sided bootstrap p-value."""

    difference: float
    low: float
    high: float
    p: float

    @property
    def clear(self) -> bool:
        """Does the interval exclude no difference?"""
        return self.low > 0 or self.high < 0


def paired_bootstrap(
    a: np.ndarray, b: np.ndarray, video_ids: Sequence, n_boot: int = 2000, seed: int = 0, cards: Sequence[Card] = ()
) -> Comparison:
    """Compare two systems on the same items: per-item scores a, b (N,), videos drawn again together.

    Sharper than two separate intervals, because hard items are hard for both. cards: the two protocols, where they are
    known; VcworkError names both splits where they differ.
    """
    one_split(list(cards), "paired comparison")
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    if a.shape != b.shape:
        raise VcworkError(f"expected the same items for both systems, got {a.shape} and {b.shape}")
    gains, counts = sum_by_video(a - b, video_ids), sum_by_video(np.ones(len(a)), video_ids)
    if not gains.any():
        return Comparison(0.0, 0.0, 0.0, 1.0)
    draws = _draws(len(gains), n_boot, seed)
    differences = (draws @ gains) / (draws @ counts)
    p = 2 * min((differences <= 0).mean(), (differences >= 0).mean())
    low, high = _ends(differences, 0.025, len(gains))
    return Comparison(float((a - b).mean()), low, high, float(min(1.0, max(p, 2 / n_boot))))


def _clusters(values: np.ndarray, video_ids: Sequence) -> tuple[int, np.ndarray]:
    """(V, index of each item's video); refuses NaN, unequal lengths and fewer than two videos."""
    video_ids = np.asarray(video_ids)
    if len(values) != len(video_ids) or video_ids.ndim != 1:
        raise VcworkError(f"expected one video id per item ({len(values)}), got {video_ids.shape}")
    if np.isnan(np.asarray(values, dtype=float)).any():
        raise VcworkError("per-item values hold NaN: leave out items without a value, and say how many")
    names, video = np.unique(video_ids, return_inverse=True)
    if len(names) < 2:
        raise VcworkError(f"an interval over videos needs at least 2 videos, got {len(names)}")
    return len(names), video


@lru_cache(maxsize=4)
def _draws(n_videos: int, n_boot: int, seed: int) -> np.ndarray:
    """How often each video is drawn, (n_boot, V); the same for every metric, so differences stay paired."""
    picks = np.random.default_rng(seed).integers(0, n_videos, (n_boot, n_videos))
    cells = picks + n_videos * np.arange(n_boot)[:, None]
    return np.bincount(cells.ravel(), minlength=n_boot * n_videos).reshape(n_boot, n_videos).astype(float)


def _ends(values: np.ndarray, alpha: float, n_videos: int) -> tuple[float, float]:
    """Percentiles of the draws at a level moved out for few videos."""
    normal = NormalDist()
    z, v = normal.inv_cdf(1 - alpha), n_videos - 1
    t = z + (z**3 + z) / (4 * v) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * v**2)  # t quantile, Cornish-Fisher
    level = normal.cdf(-math.sqrt(n_videos / v) * t)
    low, high = np.quantile(values, [level, 1 - level])
    return float(low), float(high)


# ------------------------------------------------------------------------------------------------------ seeds


@dataclass(frozen=True)
class SeedSummary:
    """One metric over several training seeds: mean and range of its values, and chance (mean over seeds)."""

    name: str
    mean: float
    low: float
    high: float
    values: tuple[float, ...]
    chance: float
    protocol: str
    unit: str = "share"


def over_seeds(runs: Sequence[Sequence[Result]]) -> list[SeedSummary]:
    """Mean and range per metric over runs that differ in the seed alone; each run is a list of results.

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
    return SeedSummary(
        same[0].name, float(np.mean(values)), min(values), max(values), values, chance, protocol, same[0].unit
    )


def seeds_table(summaries: Sequence[SeedSummary]) -> str:
    """Aligned text: metric, mean, range, chance, the value of each seed."""
    rows = [("metric", "mean", "range", "chance", "each seed")]
    for s in summaries:
        spread = f"{show(s.low, s.unit)} .. {show(s.high, s.unit)}"
        each = ", ".join(show(v, s.unit) for v in s.values)
        rows.append((s.name, show(s.mean, s.unit), spread, show(s.chance, s.unit), each))
    return _align(rows)


# ----------------------------------------------------------------------------------------------------- tables

_HEADINGS = ("metric", "value", "95 % interval", "chance", "best trivial", "n", "protocol")


def check_cards(results: Sequence[Result], recorded: bool = False) -> None:
    """VcworkError, naming result and fields, where a card lacks what its task needs (`vcwork.protocol.NEEDS`)."""
    for result in results:
        if lacking := result.protocol.lacks(recorded):
            task = result.protocol.task or "no task named"
            raise VcworkError(f"result {result.name} ({task}): its protocol card lacks {', '.join(lacking)}")


def results_table(results: Sequence[Result]) -> str:
    """Aligned text: value, interval, chance, best trivial score, n; protocols as numbered notes below.

    VcworkError where a protocol card lacks what its task needs."""
    check_cards(results)
    protocols = list(dict.fromkeys(r.protocol for r in results))
    rows = [_with_paper(_HEADINGS, results, "paper")]
    rows += [_with_paper(_cells(r, f"[{protocols.index(r.protocol) + 1}]"), results, paper_cell(r)) for r in results]
    notes = [f"[{i}] {protocol}" for i, protocol in enumerate(protocols, 1)]
    return "\n".join([_align(rows), "", *notes])


def results_html(results: Sequence[Result]) -> str:
    """The same table as a self-contained HTML fragment, every trivial score listed, texts escaped."""
    check_cards(results)
    head = "".join(f"<th>{html.escape(h)}</th>" for h in _with_paper(_HEADINGS, results, "paper"))
    body = "".join(_html_row(r, results) for r in results)
    return f'<table class="vcwork-results"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


def _html_row(result: Result, results: Sequence[Result]) -> str:
    cells = list(_cells(result, str(result.protocol)))
    cells[4] = "; ".join(f"{name} {show(value, result.unit)}" for name, value in result.trivial.items()) or cells[4]
    cells = [f"<td>{html.escape(cell)}</td>" for cell in _with_paper(cells, results, paper_cell(result))]
    return f"<tr>{''.join(cells)}</tr>"


def _cells(r: Result, protocol: str) -> tuple[str, ...]:
    name, score = r.best_trivial
    trivial = f"{show(score, r.unit)} {name}"
    return r.name, r.show(), f"{r.show('low')} .. {r.show('high')}", r.show("chance"), trivial, str(r.n), protocol


def paper_cell(result: Result) -> str:
    """The published number where its protocol is this one's, else in what the two differ."""
    if result.paper is None:
        return ""
    other = result.protocol.differs(result.paper_protocol)
    return f"not comparable ({', '.join(other)})" if other else result.show("paper")


def _with_paper(cells: Sequence[str], results: Sequence[Result], paper: str) -> tuple[str, ...]:
    """Put the paper's number before the protocol, but only in tables where some result has one."""
    has = any(r.paper is not None for r in results)
    return (*cells[:-1], paper, cells[-1]) if has else tuple(cells)


def text_table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Any small table as aligned text; cells are shown as str() gives them."""
    return _align([tuple(map(str, row)) for row in (header, *rows)])


def _align(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([lines[0], "  ".join("-" * w for w in widths), *lines[1:]])
