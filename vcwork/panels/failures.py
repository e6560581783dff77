"""What a search got wrong, to look through: the query, the truth and the winner side by side: `FailureBrowser`.

Errors stand first by how far the best wrong answer is ahead of the best right one, and the right answers can be looked
through as well, so that nobody judges by failures alone. Counts are of all queries, whatever is listed.
Known gaps: of many queries only some of each kind are listed (the notes say how many); a clip is seen as a few frames,
which show an object and not a motion.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from vcwork.base.errors import VcworkError
from vcwork.measure import metrics
from vcwork.measure.trivial import words
from vcwork.panels import plots
from vcwork.panels.base import Panel, sheet
from vcwork.tasks.retrieval import first_places

EDGES = (1, 2, 3, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000)  # last rank of each bar of the histogram
GROUPS = ("errors", "right", "all")  # what can be listed besides one kind
ORDERS = ("margin", "rank")


@dataclass(frozen=True)
class Entry:
    """What is asked with or found: its text, where it is, and what it is made of (an object, an action)."""

    text: str
    video: str = ""
    span: tuple[float, float] | None = None
    parts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Direction:
    """One way of asking: scores (Q, N), higher is better; queries (Q,) and items (N,) are places among the entries.

    kinds: what an item would be as the answer, masks (Q, N) of which exactly one holds everywhere, worst kind first;
    right: those of them that are no error. own (Q,): the item that belongs to each query, None where none does.
    asks: what the query is ("sentence", "clip").
    """

    scores: np.ndarray
    kinds: Mapping[str, np.ndarray]
    right: Sequence[str]
    queries: Sequence[int]
    items: Sequence[int]
    own: Sequence[int] | None = None
    asks: str = "sentence"


class FailureBrowser(Panel):
    """Ranked errors by kind, and the right answers beside them; `directions` by name, the first one is shown first.

    entries: all that is asked with or found. frames: pictures (H, W, 3) uint8 of some entries, by their place. most:
    cases listed of each kind. VcworkError where shapes do not fit, kinds are no partition, or nothing is right for a
    query.
    """

    module = "failures.js"

    def __init__(
        self,
        entries: Sequence[Entry],
        directions: Mapping[str, Direction],
        *,
        frames: Mapping[int, Sequence[np.ndarray]] | None = None,
        title: str = "",
        notes: Sequence[str] = (),
        most: int = 100,
        top: int = 5,
    ) -> None:
        if not directions or most < 1 or top < 1:
            raise VcworkError(f"expected a direction, most and top of at least 1, got {len(directions)}, {most}, {top}")
        self.entries, self.frames, self.title = list(entries), dict(frames or {}), title
        self.sides = {name: _Side(one, len(self.entries), most, top, name) for name, one in directions.items()}
        self.notes = [*notes, *(note for side in self.sides.values() for note in side.notes(most))]

    def update(
        self, direction: str = "", kind: str = "errors", find: str = "", ranks: int | None = None, by: str = "margin",
        place: int = 0,
    ) -> dict[str, Any]:  # fmt: skip
        """What is listed for these choices, and the case at `place` of the list; nothing is changed.

        direction: its name, "" the first; kind: "errors", "right", "all" or one kind; find: words that must all occur
        in the texts or ids of a case; ranks: a bar of the histogram; by: "margin" or "rank", largest first.
        `listed`: places in `panel()`'s cases; `case`: None where nothing is listed, and `note` says so.
        VcworkError for a choice that there is not.
        """
        side = self._side(direction)
        wanted = side.wanted(kind)
        if by not in ORDERS or not (ranks is None or 0 <= ranks < len(side.bars)):
            raise VcworkError(f"expected one of {ORDERS} and a bar of {len(side.bars)}, got {by!r} and {ranks}")
        low, high = (0, np.inf) if ranks is None else (side.bars[ranks]["low"], side.bars[ranks]["high"] + 1)
        asked = find.lower().split()
        listed = [
            i for i, case in enumerate(side.cases)
            if case["kind"] in wanted and low <= case["rank"] < high
            and all(word in self._told(case) for word in asked)
        ]  # fmt: skip
        if by == "rank":
            listed.sort(key=lambda i: -side.cases[i]["rank"])
        place = max(0, min(place, len(listed) - 1))
        case = self._case(side.cases[listed[place]]) if listed else None
        return {"listed": listed, "place": place, "case": case, "note": "" if listed else "Nothing fits these choices."}

    def _side(self, direction: str) -> "_Side":
        if direction and direction not in self.sides:
            raise VcworkError(f"expected a direction of {list(self.sides)}, got {direction!r}")
        return self.sides[direction or next(iter(self.sides))]

    def _told(self, case: dict[str, Any]) -> str:
        """All that `find` looks into: kind, texts and videos of query, truth and winner."""
        seen = [self.entries[case[role]] for role in ("query", "truth", "winner")]
        return " ".join([case["kind"], *(f"{e.text} {e.video}" for e in seen)]).lower()

    def _case(self, case: dict[str, Any]) -> dict[str, Any]:
        """A case with what its query and its winner share: words, and parts that are known of both."""
        query, winner = self.entries[case["query"]], self.entries[case["winner"]]
        common = sorted(set(words(query.text)) & set(words(winner.text)))
        agrees = {name: query.parts[name] == winner.parts[name] for name in query.parts if name in winner.parts}
        return case | {"common": common, "agrees": agrees}

    def shown(self) -> list[int]:
        """Entries with a place in a video, those first that a reader of the list meets first."""
        cases = [case for side in self.sides.values() for case in side.cases]
        roles = [case[role] for case in cases for role in ("truth", "winner", "query")]
        found = dict.fromkeys([*roles, *(entry for case in cases for entry, _, _ in case["top"])])
        return [i for i in found if self.entries[i].video]

    def panel(self) -> dict[str, Any]:
        """All that `failures.js` draws, as JSON values; of the entries only those that occur in a case."""
        used = {case[role] for side in self.sides.values() for case in side.cases for role in case if role in ROLES}
        used |= {entry for side in self.sides.values() for case in side.cases for entry, _, _ in case["top"]}
        at, where = self._places()
        entries = {}
        for i in sorted(used):
            entry = self.entries[i]
            entries[str(i)] = {"text": entry.text, "video": entry.video, "span": entry.span, "at": at.get(i, [])}
        sides = [
            {"name": name, "asks": side.asks, "n": side.n, "items": side.n_items, "kinds": side.counts,
             "bars": side.bars, "cases": [self._case(case) for case in side.cases]}
            for name, side in self.sides.items()
        ]  # fmt: skip
        return self.common() | {"entries": entries, "directions": sides, "sheet": where}

    def _places(self) -> tuple[dict[int, list[int]], dict[str, int] | None]:
        """Where each entry's frames stand on the sheet, and the sheet's measures."""
        at, n = {}, 0
        for i, pictures in self.frames.items():
            at[i] = list(range(n, n + len(pictures)))
            n += len(pictures)
        return at, self._sheet()[1] if n else None

    def _sheet(self) -> tuple[bytes, dict[str, int]]:
        pictures = self._pictures()
        return sheet(pictures, pictures[0].shape[0])

    def _pictures(self) -> list[np.ndarray]:
        return [picture for pictures in self.frames.values() for picture in pictures]

    def media(self) -> dict[str, bytes]:
        """The sheet of frames."""
        return {"frames": self._sheet()[0]} if self._pictures() else {}

    def figure(self) -> Figure:
        """The same without a browser: kinds beside chance, ranks, and the error furthest ahead."""
        side, name = self._side(""), next(iter(self.sides))
        fig, axes = plots.figure(9.5, 4.4, rows=2, columns=2, height_ratios=[1, 1.1])
        rows = {n: {k["name"]: k["count"] for k in s.counts} for n, s in self.sides.items()}
        rows |= {f"{n}, by chance": {k["name"]: k["chance"] for k in s.counts} for n, s in self.sides.items()}
        plots.stacked_bars(axes[0, 0], rows, xlabel="percent of queries")
        axes[0, 0].get_legend().remove()
        handles = axes[0, 0].get_legend_handles_labels()
        fig.legend(*handles, loc="outside upper center", ncols=5, fontsize=plots.SMALL, frameon=False)
        _draw_bars(axes[0, 1], side, name)
        case = next((c for c in side.cases if c["kind"] not in side.right), side.cases[0])
        for ax, role in zip(axes[1], ("truth", "winner"), strict=True):
            self._strip(ax, case, role)
        return fig

    def _strip(self, ax: Any, case: dict[str, Any], role: str) -> None:
        entry, score = self.entries[case[role]], case[f"{role}_score"]
        told = f"{role}, {score:.1f}: “{plots.short(entry.text, 46)}”" if entry.text else f"{role}, {score:.1f}"
        pictures = self.frames.get(case[role])
        if pictures:
            plots.frame_strip(ax, [np.asarray(p) for p in pictures], title=told)
        else:
            ax.set_axis_off()
            ax.set_title(told, fontsize=plots.SMALL + 2)
            ax.text(0.5, 0.5, "no frames", ha="center", va="center", color=plots.GREY)

    def words(self) -> str:
        """What the picture shows."""
        some = [f"{name}: " + ", ".join(f"{k['count']:.0f} {k['name']}" for k in side.counts)
                for name, side in self.sides.items()]  # fmt: skip
        return "; ".join(some)


ROLES = ("query", "truth", "winner", "best")


class _Side:
    """The cases of one direction, worked out once: `cases` in order of margin, `counts` and `bars` of all queries."""

    def __init__(self, given: Direction, n_entries: int, most: int, top: int, name: str) -> None:
        self.scores = metrics.check_scores(given.scores, f"{name}: scores").astype(np.float64)
        self.asks, self.right, self.names = given.asks, tuple(given.right), list(given.kinds)
        self.n, self.n_items = self.scores.shape
        self.queries, self.items, self.own = given.queries, given.items, given.own
        self.kinds = self._checked(given, n_entries, name)  # (Q, N) place among the names
        self.relevant = np.isin(self.kinds, [self.names.index(r) for r in self.right])  # (Q, N)
        self.places = metrics.place(self.scores, self.relevant)
        self.ranks = self.places.rank()
        self.margin = self._best(~self.relevant) - self._best(self.relevant)  # (Q,) > 0: an error; -inf: nothing wrong
        first = self.scores == self.scores.max(1, keepdims=True)
        self.tied = first.sum(1)
        self.winner = np.where(first, self.kinds, len(self.names)).argmin(1)  # of equal ones the least right
        self.counts = self._counts()
        self.bars = _bars(self.ranks, self.places)
        self.cases = [self._case(q, top) for q in self._listed(most)]

    def _checked(self, given: Direction, n_entries: int, name: str) -> np.ndarray:
        masks = [np.asarray(mask, dtype=bool) for mask in given.kinds.values()]
        if not masks or any(mask.shape != self.scores.shape for mask in masks) or (np.sum(masks, axis=0) != 1).any():
            raise VcworkError(f"{name}: expected kinds {self.scores.shape}, exactly one of them true everywhere")
        sizes = len(given.queries), len(given.items), self.n if given.own is None else len(given.own)
        if sizes != (self.n, self.n_items, self.n):
            raise VcworkError(f"{name}: expected {self.n} queries and own items, {self.n_items} items, got {sizes}")
        if not set(self.right) < set(self.names):
            raise VcworkError(f"{name}: expected right kinds among {self.names}, not all of them, got {self.right}")
        if not all(0 <= i < n_entries for i in (*given.queries, *given.items)):
            raise VcworkError(f"{name}: expected places among {n_entries} entries")
        return np.argmax(masks, axis=0)

    def _best(self, mask: np.ndarray) -> np.ndarray:
        return np.where(mask, self.scores, -np.inf).max(1)

    def _counts(self) -> list[dict[str, Any]]:
        """Of all queries; items tied for the first place divide it. Chance: what a constant score would give."""
        share = first_places(self.scores)
        return [
            {"name": name, "right": name in self.right, "count": round(float(share[self.kinds == k].sum()), 4),
             "chance": round(float((self.kinds == k).sum() / self.n_items), 4),
             "queries": int((self._kind() == k).sum())}
            for k, name in enumerate(self.names)
        ]  # fmt: skip

    def _kind(self) -> np.ndarray:
        return self.kinds[np.arange(self.n), self.winner]

    def wanted(self, kind: str) -> list[str]:
        """The kinds that a choice stands for."""
        chosen = {"errors": [n for n in self.names if n not in self.right], "right": list(self.right),
                  "all": self.names} | {n: [n] for n in self.names}  # fmt: skip
        if kind not in chosen:
            raise VcworkError(f"expected a kind of {list(chosen)}, got {kind!r}")
        return chosen[kind]

    def _listed(self, most: int) -> list[int]:
        """Of each kind at most so many queries, all by margin: errors furthest ahead, right ones evenly over all."""
        order, kept = np.argsort(-self.margin, kind="stable"), []
        for k, name in enumerate(self.names):
            own = order[self._kind()[order] == k]
            if len(own) > most:
                own = own[np.linspace(0, len(own) - 1, most).astype(int)] if name in self.right else own[:most]
            kept += own.tolist()
        return sorted(kept, key=np.argsort(order).__getitem__)

    def _case(self, q: int, top: int) -> dict[str, Any]:
        scores, first = self.scores[q], int(self.winner[q])
        best = int(np.where(self.relevant[q], scores, -np.inf).argmax())
        truth = best if self.own is None else int(self.own[q])
        order = np.lexsort((self.kinds[q], -scores))[:top]  # of equal ones the least right first, as the winner is
        return {
            "query": int(self.queries[q]), "kind": self.names[self.kinds[q, first]], "tied": int(self.tied[q]),
            "truth": int(self.items[truth]), "truth_score": _number(scores[truth]),
            "truth_rank": _number((scores > scores[truth]).sum() + ((scores == scores[truth]).sum() + 1) / 2),
            "winner": int(self.items[first]), "winner_score": _number(scores[first]),
            "best": int(self.items[best]), "best_score": _number(scores[best]), "rank": _number(self.ranks[q]),
            "margin": _number(self.margin[q]),
            "top": [[int(self.items[n]), _number(scores[n]), self.names[self.kinds[q, n]]] for n in order],
        }  # fmt: skip

    def notes(self, most: int) -> list[str]:
        """What a reader of the list has to know."""
        told = []
        if any(kind["queries"] > most for kind in self.counts):
            told.append(f"Of each kind {most} {self.asks}s at most are listed: errors furthest ahead, right ones "
                        "evenly over all. Counts are of all.")  # fmt: skip
        if (self.tied > 1).any():
            told.append(f"{int((self.tied > 1).sum())} {self.asks}s have equal answers in the first place: each is "
                        "listed under the least right one, and divided among them where it is counted.")  # fmt: skip
        return told


def _bars(ranks: np.ndarray, places: metrics.Places) -> list[dict[str, Any]]:
    """How many queries (Q,) have their best right item at these ranks, and how many by chance; sums are Q."""
    ends = [*(e for e in EDGES if e < places.n_items), places.n_items]
    bars, before = [], 0.0
    for low, high in zip([1, *(e + 1 for e in ends)], ends, strict=False):
        until = metrics.chance_recall_at_k(places.n_items, high, places.n_relevant) * len(ranks)
        n = int(((ranks >= low) & (ranks < high + 1)).sum())  # an expected rank of 2.5 is between 2 and 3
        bars.append({"low": low, "high": high, "n": n, "chance": round(until - before, 4)})
        before = until
    return bars


def _draw_bars(ax: Any, side: _Side, name: str) -> None:
    at = np.arange(len(side.bars))
    ax.bar(at, [bar["n"] for bar in side.bars], 0.7, color=plots.COLOURS[4], label="queries")
    chance = [bar["chance"] for bar in side.bars]
    ax.hlines(chance, at - 0.45, at + 0.45, color=plots.COLOURS[5], lw=2, label="by chance")
    ax.set_ylim(0, 1.45 * max(*chance, *(bar["n"] for bar in side.bars)))
    ax.set_xticks(at, [str(b["low"]) if b["low"] == b["high"] else f"{b['low']}–{b['high']}" for b in side.bars])
    ax.tick_params(labelsize=plots.SMALL)
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(fontsize=plots.SMALL, frameon=False)
    ax.set_title(f"{name}: rank of the best right answer", fontsize=plots.SMALL + 2)


def _number(value: float) -> float | None:
    return round(float(value), 4) if np.isfinite(value) else None
