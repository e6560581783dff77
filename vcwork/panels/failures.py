"""What a search got wrong, to look through: the query, the truth and the winner side by side: `FailureBrowser`.

Errors stand first by how far the best wrong answer is ahead of the best right one, and the right answers can be looked
through as well, so that nobody judges by failures alone. Counts are of all queries, whatever is listed.
Known gaps: of many queries only some of each kind are listed (the notes say how many); a clip is seen as a few frames,
which show an object and not a motion.
"""

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, asdict, dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from vcwork.base.errors import VcworkError
from vcwork.measure import metrics
from vcwork.panels import plots
from vcwork.panels.base import Panel
from vcwork.tasks.retrieval import first_places

EDGES = (1, 2, 3, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000)  # last rank of each bar of the histogram


@dataclass(frozen=True)
class Entry:
    """What is asked with or found: its text, where it is, and what it is made of (an object, an action)."""

    text: str
    video: str = ""
    span: tuple[float, float] | None = None
    parts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Direction:
    """One way of asking: scores (Q, N), higher is better; queries (Q,) and items (N,) are places among the entries.

    kinds: what an item would be as the answer, masks (Q, N) of which exactly one holds everywhere, worst kind first;
    right: those of them that are no error. own (Q,): the item that belongs to each query, None where none does.
    asks: what the query is ("sentence", "clip", "step"). VcworkError where scores are not finite, a kind has another
    shape, or nothing is right for a query.
    """

    scores: np.ndarray
    kinds: Mapping[str, np.ndarray]
    right: Sequence[str]
    queries: Sequence[int]
    items: Sequence[int]
    own: Sequence[int] | None = None
    asks: str = "sentence"

    def __post_init__(self) -> None:
        scores = metrics.check_scores(self.scores, f"{self.asks}s' scores").astype(float)
        object.__setattr__(self, "scores", scores)
        if any(np.shape(mask) != scores.shape for mask in self.kinds.values()) or (sum(self.kinds.values()) != 1).any():
            raise VcworkError(f"expected kinds {scores.shape}, exactly one of them true everywhere")
        _ = self.places

    @property
    def n(self) -> int:
        return len(self.scores)

    @property
    def names(self) -> list[str]:
        return list(self.kinds)

    @cached_property
    def kind(self) -> np.ndarray:
        """(Q, N) which of the names an item would be as the answer."""
        return np.argmax(list(self.kinds.values()), axis=0)

    @cached_property
    def relevant(self) -> np.ndarray:
        """(Q, N) what is no error."""
        return np.isin(self.kind, [self.names.index(name) for name in self.right])

    @cached_property
    def places(self) -> metrics.Places:
        return metrics.place(self.scores, self.relevant)

    @cached_property
    def ranks(self) -> np.ndarray:
        """(Q,) of the best right item, from 1, ties at their mean."""
        return self.places.rank()

    @cached_property
    def margin(self) -> np.ndarray:
        """(Q,) by how much the best wrong item is ahead of the best right one; -inf where nothing is wrong."""
        wrong, right = (np.where(mask, self.scores, -np.inf).max(1) for mask in (~self.relevant, self.relevant))
        return wrong - right

    @cached_property
    def tied(self) -> np.ndarray:
        """(Q,) how many items have the best score."""
        return (self.scores == self.scores.max(1, keepdims=True)).sum(1)

    @cached_property
    def winner(self) -> np.ndarray:
        """(Q,) the item with the best score; of equal ones the least right."""
        first = self.scores == self.scores.max(1, keepdims=True)
        return np.where(first, self.kind, len(self.names)).argmin(1)

    @cached_property
    def won(self) -> np.ndarray:
        """(Q,) kind of the winner."""
        return self.kind[np.arange(self.n), self.winner]

    @cached_property
    def counts(self) -> list[dict[str, Any]]:
        """Of all queries; items tied for the first place divide it. Chance: what a constant score would give."""
        share, items = first_places(self.scores), self.scores.shape[1]
        return [
            {"name": name, "right": name in self.right, "count": round(float(share[self.kind == k].sum()), 4),
             "chance": round(float((self.kind == k).sum() / items), 4), "queries": int((self.won == k).sum())}
            for k, name in enumerate(self.names)
        ]  # fmt: skip

    @cached_property
    def bars(self) -> list[dict[str, Any]]:
        """How many queries have their best right item at these ranks, and how many by chance; sums are Q."""
        places, ranks = self.places, self.ranks
        ends = [*(e for e in EDGES if e < places.n_items), places.n_items]
        bars, before = [], 0.0
        for low, high in zip([1, *(e + 1 for e in ends)], ends, strict=False):
            until = metrics.chance_recall_at_k(places.n_items, high, places.n_relevant) * len(ranks)
            n = int(((ranks >= low) & (ranks < high + 1)).sum())  # an expected rank of 2.5 is between 2 and 3
            bars.append({"low": low, "high": high, "n": n, "chance": round(until - before, 4)})
            before = until
        return bars

    def listed(self, most: int) -> list[int]:
        """Of each kind at most so many queries, all by margin: errors furthest ahead, right ones evenly over all."""
        order, kept = np.argsort(-self.margin, kind="stable"), []
        for k, name in enumerate(self.names):
            own = order[self.won[order] == k]
            if len(own) > most:
                own = own[np.linspace(0, len(own) - 1, most).astype(int)] if name in self.right else own[:most]
            kept += own.tolist()
        return sorted(kept, key=np.argsort(order).__getitem__)

    def case(self, q: int, top: int) -> dict[str, Any]:
        """A query with its truth, its winner and the `top` first answers."""
        scores, first = self.scores[q], int(self.winner[q])
        best = int(np.where(self.relevant[q], scores, -np.inf).argmax())
        truth = best if self.own is None else int(self.own[q])
        order = np.lexsort((self.kind[q], -scores))[:top]  # of equal ones the least right first, as the winner is
        return {
            "query": int(self.queries[q]), "kind": self.names[self.won[q]], "tied": int(self.tied[q]),
            "truth": int(self.items[truth]), "truth_score": _number(scores[truth]),
            "truth_rank": _number((scores > scores[truth]).sum() + ((scores == scores[truth]).sum() + 1) / 2),
            "winner": int(self.items[first]), "winner_score": _number(scores[first]),
            "best": int(self.items[best]), "best_score": _number(scores[best]),
            "rank": _number(self.ranks[q]), "margin": _number(self.margin[q]),
            "top": [[int(self.items[n]), _number(scores[n]), self.names[self.kind[q, n]]] for n in order],
        }  # fmt: skip


@dataclass(frozen=True, eq=False)
class FailureBrowser(Panel):
    """Ranked errors by kind, and the right answers beside them; `directions` by name, the first one is shown first.

    entries: all that is asked with or found. most: cases listed of each kind; top: answers told of each. VcworkError:
    no direction.
    """

    module = "failures.js"
    side = 96
    entries: Sequence[Entry]
    directions: Mapping[str, Direction]
    _: KW_ONLY
    most: int = 100
    top: int = 5

    def __post_init__(self) -> None:
        if not self.directions:
            raise VcworkError("expected at least one direction, got none")

    @cached_property
    def cases(self) -> dict[str, list[dict[str, Any]]]:
        """What is listed of each direction, by margin."""
        return {name: [way.case(q, self.top) for q in way.listed(self.most)] for name, way in self.directions.items()}

    def shown(self) -> list[int]:
        """Entries of the cases, those first that a reader of the list meets first."""
        cases = [case for listed in self.cases.values() for case in listed]
        roles = [case[role] for case in cases for role in ("truth", "winner", "query", "best")]
        return list(dict.fromkeys([*roles, *(entry for case in cases for entry, _, _ in case["top"])]))

    def panel(self) -> dict[str, Any]:
        """All that `failures.js` draws, as JSON values; of the entries only those that occur in a case."""
        state = self.common()
        entries = {
            str(i): asdict(self.entries[i]) | {"at": state["pictures"].get(str(i), [])} for i in sorted(self.shown())
        }
        directions = [
            {"name": name, "asks": way.asks, "n": way.n, "items": len(way.items), "kinds": way.counts,
             "bars": way.bars, "ties": int((way.tied > 1).sum()), "cases": self.cases[name]}
            for name, way in self.directions.items()
        ]  # fmt: skip
        return state | {"entries": entries, "directions": directions, "most": self.most}

    def words(self) -> str:
        some = [f"{name}: " + ", ".join(f"{k['count']:.0f} {k['name']}" for k in way.counts)
                for name, way in self.directions.items()]  # fmt: skip
        return "; ".join(some)

    def figure(self) -> Figure:
        """The same without a browser: kinds beside chance, ranks, and the error furthest ahead."""
        name, way = next(iter(self.directions.items()))
        fig, axes = plots.figure(9.5, 4.4, rows=2, columns=2, height_ratios=[1, 1.1])
        rows = {n: {k["name"]: k["count"] for k in w.counts} for n, w in self.directions.items()}
        rows |= {f"{n}, by chance": {k["name"]: k["chance"] for k in w.counts} for n, w in self.directions.items()}
        plots.stacked_bars(axes[0, 0], rows, xlabel="percent of queries")
        axes[0, 0].get_legend().remove()
        handles = axes[0, 0].get_legend_handles_labels()
        fig.legend(*handles, loc="outside upper center", ncols=5, fontsize=plots.SMALL, frameon=False)
        _draw_bars(axes[0, 1], way.bars, name)
        listed = self.cases[name]
        case = next((case for case in listed if case["kind"] not in way.right), listed[0])
        for ax, role in zip(axes[1], ("truth", "winner"), strict=True):
            entry, score = self.entries[case[role]], case[f"{role}_score"]
            told = f"{role}, {score:.1f}" + (f": “{plots.short(entry.text, 46)}”" if entry.text else "")
            if case[role] in self.pictures:
                plots.frame_strip(ax, self.pictures[case[role]], title=told)
            else:
                plots.finish(plots.blank(ax, "no frames", color=plots.GREY), told)
        return fig


def _draw_bars(ax: Any, bars: list[dict[str, Any]], name: str) -> None:
    at, chance = np.arange(len(bars)), [bar["chance"] for bar in bars]
    ax.bar(at, [bar["n"] for bar in bars], 0.7, color=plots.COLOURS[4], label="queries")
    ax.hlines(chance, at - 0.45, at + 0.45, color=plots.COLOURS[5], lw=2, label="by chance")
    ax.set_ylim(0, 1.45 * max(*chance, *(bar["n"] for bar in bars)))
    ax.set_xticks(at, [str(b["low"]) if b["low"] == b["high"] else f"{b['low']}–{b['high']}" for b in bars])
    plots.finish(ax, f"{name}: rank of the best right answer")
    ax.legend(fontsize=plots.SMALL, frameon=False)  # there is room inside


def _number(value: float) -> float | None:
    return round(float(value), 4) if np.isfinite(value) else None
