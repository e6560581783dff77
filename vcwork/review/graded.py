"""How good search is in this very folder, by its own captions: each kind of evidence, and all of them together.

A caption is a question with a known answer, the moment at which it is said. It is asked of everything but itself: its
own entry, and whatever is said in its video at the same time, does not count as found by words or by meaning, so these
have only what is said before and after to go by. The folder is cut into windows of ten seconds; a hit stands for the
window in which it opens (where something is shown: that of its peak, else that of its middle), a window that no hit
names stands behind all others, tied. Right are the windows in which the caption is said.
Pointing is the same within the caption's own video: is the first hit there right? Intervals draw whole videos again.
Known gaps: captions are not what people ask: they are told in the folder's own words, and what is said just before
helps. The right windows have a caption less than others, so that words and meaning can stand below chance. Only the
own entry is held out, the rarity of its words in the folder still counts it.
"""

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from tqdm.auto import tqdm

from vcwork.base.errors import VcworkError
from vcwork.measure import metrics
from vcwork.measure.card import BLANK, Card
from vcwork.measure.intervals import Comparison, bootstrap_median, paired_bootstrap, wilson
from vcwork.measure.metrics import Places
from vcwork.measure.result import Result, mean_result, points, show, text_table
from vcwork.search.fused import DEPTH, SAID, FusedHit, Kind, Piece, fused

WINDOW_S = 10
KS = (1, 5, 10)
MOST = 400  # captions that are asked, spread evenly over all
FEW = 20  # videos, below which the table says how little they tell
TOGETHER = "together"
TASK = "folder search"
SPARE = 20  # pieces asked for beyond DEPTH, in place of those held out
INSIDE = 10 * DEPTH  # pieces among which those of one video are looked for, as `fused.search_all` does


class Windows:
    """All windows of a folder, numbered video by video; lengths: {id: seconds}."""

    def __init__(self, lengths: Mapping[str, int]) -> None:
        self._counts = {id: max(1, -(-int(seconds) // WINDOW_S)) for id, seconds in lengths.items()}
        starts = np.cumsum([0, *self._counts.values()])
        self._first = dict(zip(self._counts, starts.tolist(), strict=False))
        self.n = int(starts[-1])

    def at(self, video: str, second: float) -> int:
        """The window of a second; the last one's, beyond the end."""
        return self._first[video] + min(max(int(second // WINDOW_S), 0), self._counts[video] - 1)

    def of(self, video: str, start_s: float = 0.0, end_s: float = np.inf) -> range:
        """The windows that a stretch of a video touches."""
        last = self._first[video] + self._counts[video] - 1
        last = last if not np.isfinite(end_s) else self.at(video, max(start_s, end_s - 1e-6))
        return range(self.at(video, start_s), last + 1)


@dataclass(frozen=True)
class Grade:
    """results: of each kind of evidence and of TOGETHER, its R@k, pointing and median rank; gains: {kind: what TOGETHER
    has more, metric by metric}; notes: what has to be said of them."""

    results: Mapping[str, Sequence[Result]]
    gains: Mapping[str, Mapping[str, Comparison]]
    notes: list[str]

    def rows(self) -> tuple[list[str], list[list[str]]]:
        """Head and rows of the table: each kind with intervals, chance, the best rule that looks at no question, and
        the differences, with intervals."""
        first = next(iter(self.results.values()))
        head = ["evidence", *(result.name for result in first)]
        rows = [[kind, *map(_with_interval, results)] for kind, results in self.results.items()]
        rows.append(["chance", *(result.show("chance") for result in first)])
        rows.append(["best rule", *(f"{show(r.best_trivial[1], r.unit)} {r.best_trivial[0]}" for r in first)])
        for kind, gains in self.gains.items():
            found = (gains.get(result.name) for result in first)
            rows.append([f"{TOGETHER} - {kind}", *(points(g.difference, g.low, g.high) if g else "" for g in found)])
        return head, rows

    def text(self) -> str:
        head, rows = self.rows()
        return "\n".join([text_table(head, rows), *self.notes])


def _with_interval(result: Result) -> str:
    return f"{result.show()} ({show(result.low, result.unit)} .. {show(result.high, result.unit)})"


def grade(
    kinds: Sequence[Kind], lines: Sequence[Piece], lengths: Mapping[str, int], most: int = MOST, *,
    only: Container[str] | None = None, card: Card = BLANK, seed: int = 0, progress: bool = False,
) -> Grade:  # fmt: skip
    """Grade kinds of evidence by lines, pieces with times and text, of videos of these lengths in seconds.

    most: captions that are asked, only: of these videos (the others stay among what is searched); card: what is known
    of model and features. VcworkError where nothing is said at a known time, or there is nothing to search with.
    """
    windows, timed = Windows(lengths), [line for line in lines if line.start_s is not None and line.text.strip()]
    able = [line for line in timed if only is None or line.video in only]
    if not able or not kinds:
        raise VcworkError("a folder is graded by its own captions, and there are none whose times are known")
    asked = [able[i] for i in np.unique(np.linspace(0, len(able) - 1, most).astype(int))]
    questions = Questions(asked, windows, _busiest(timed, asked, windows))
    rule = f"windows of {WINDOW_S} s, right where the caption is said; its own words held out"
    card = card.but(rule, task=TASK, pool=windows.n, ties="expected", interval="videos")
    tables = {
        kind: _results(orders, questions, card, seed) for kind, orders in _orders(kinds, questions, progress).items()
    }
    results = {kind: [result for result, _ in table] for kind, table in tables.items()}
    gains = {kind: _gains(tables, kind, asked, seed) for kind in results if TOGETHER in results and kind != TOGETHER}
    return Grade(results, gains, _notes(asked, able))


# --------------------------------------------------------------------------------------------------------- ranking


@dataclass(frozen=True)
class Questions:
    """Captions that are asked. busy: how much is said in each window (N,), and of each caption in which windows it, and
    what is said over it, is counted there."""

    asked: Sequence[Piece]
    windows: Windows
    busy: tuple[np.ndarray, Sequence[Sequence[int]]]

    @cached_property
    def right(self) -> list[set[int]]:
        """Of each caption the windows in which it is said."""
        return [set(self.windows.of(line.video, line.start_s, line.end_s)) for line in self.asked]

    @cached_property
    def videos(self) -> list[str]:
        return [line.video for line in self.asked]

    def galleries(self, inside: bool) -> list[range]:
        """Of each caption the windows that are ranked: all, or those of its own video."""
        return [self.windows.of(video) if inside else range(self.windows.n) for video in self.videos]


Order = list[int]  # windows, best first


def _orders(kinds: Sequence[Kind], questions: Questions, progress: bool) -> dict[str, list[tuple[Order, Order]]]:
    """{kind: of each caption the windows it names in the folder, and in the caption's own video}; TOGETHER as well,
    where there are several kinds."""
    orders: dict[str, list[tuple[Order, Order]]] = {kind.name: [] for kind in kinds}
    orders |= {TOGETHER: []} if len(kinds) > 1 else {}
    for line in tqdm(questions.asked, desc="grading", unit="caption", disable=not progress):
        found = [(kind, _without(line, kind, kind.ask([line.text], INSIDE + SPARE)[0])) for kind in kinds]
        first = [(kind, pieces[:DEPTH]) for kind, pieces in found]
        inside = [(kind, [piece for piece in pieces if piece.video == line.video]) for kind, pieces in found]
        for (kind, pieces), (_, own) in zip(first, inside, strict=True):
            orders[kind.name].append((_named(pieces, questions.windows), _named(own, questions.windows)))
        if TOGETHER in orders:
            orders[TOGETHER].append(tuple(_named(fused(lists), questions.windows) for lists in (first, inside)))
    return orders


def _without(line: Piece, kind: Kind, pieces: Sequence[Piece]) -> list[Piece]:
    """The pieces of a kind but the caption that is asked, and what is said over it (captions that roll, or in another
    language)."""
    return [piece for piece in pieces if kind.evidence != SAID or not _over(piece, line)]


def _over(piece: Piece, line: Piece) -> bool:
    if piece.video != line.video:
        return False
    if piece.start_s is None:
        return piece.text == line.text
    same = (piece.start_s, piece.text) == (line.start_s, line.text)
    return same or (piece.start_s < line.end_s and line.start_s < piece.end_s)


def _named(hits: Iterable[Piece | FusedHit], windows: Windows) -> list[int]:
    """The windows that hits stand for, best first, each once."""
    found = []
    for hit in hits:
        if hit.start_s is not None:
            opens = (hit.start_s + hit.end_s) / 2 if hit.peak_s is None else hit.peak_s
            found.append(windows.at(hit.video, opens))
    return list(dict.fromkeys(found))


def _places(orders: Sequence[Order], questions: Questions, inside: bool) -> Places:
    """Where the first right window stands; windows that no hit named are tied, last."""
    rows = []
    galleries = questions.galleries(inside)
    for order, good, gallery in zip(orders, questions.right, galleries, strict=True):
        above = next((i for i, window in enumerate(order) if window in good), None)
        behind = (len(order), len(gallery) - len(order), len(good), len(good))
        rows.append(behind if above is None else (above, 1, 1, len(good)))
    return Places(*np.array(rows).T[:3], max(map(len, galleries)), np.array([len(good) for good in questions.right]))


def _busiest(timed: Sequence[Piece], asked: Sequence[Piece], windows: Windows) -> tuple[np.ndarray, list[list[int]]]:
    """How much is said in each window, and where each caption and what is said over it counts: `Questions.busy`."""
    by_video: dict[str, list[Piece]] = {}
    for line in timed:
        by_video.setdefault(line.video, []).append(line)
    begun = [windows.at(line.video, line.start_s) for line in timed]
    own = [[windows.at(o.video, o.start_s) for o in by_video[line.video] if _over(o, line)] for line in asked]
    return np.bincount(begun, minlength=windows.n), own


def _rule(questions: Questions, inside: bool) -> Places:
    """Places by a rule that reads no question, "where most is said"; the caption's own words are held out here, too."""
    rows, (said, counted) = [], questions.busy
    galleries = questions.galleries(inside)
    for own, good, gallery in zip(counted, questions.right, galleries, strict=True):
        others = said.copy()
        np.subtract.at(others, own, 1)
        others, at = others[gallery.start : gallery.stop], np.array(sorted(good)) - gallery.start
        best = others[at].max()
        rows.append(((others > best).sum(), (others == best).sum(), (others[at] == best).sum()))
    return Places(*np.array(rows).T, max(map(len, galleries)), np.array([len(good) for good in questions.right]))


# --------------------------------------------------------------------------------------------------------- numbers


def _results(
    orders: Sequence[tuple[Order, Order]], questions: Questions, card: Card, seed: int
) -> list[tuple[Result, np.ndarray]]:
    """R@k, pointing and median rank of one kind of evidence, each with its values by caption."""
    places, rule = _places([order for order, _ in orders], questions, False), _rule(questions, False)
    found = []
    for k in KS:
        chance = metrics.chance_recall_at_k(places.n_items, k, places.n_relevant)
        found.append((f"R@{k}", places.hit(k), chance, card, {"where most is said": rule.hit(k)}))
    pairs = list(zip(questions.right, questions.galleries(True), strict=True))
    share = float(np.mean([len(good) / len(gallery) for good, gallery in pairs]))
    beside = {"where most is said": _rule(questions, True).hit(1)}
    beside["middle of the video"] = np.array([float(gallery[len(gallery) // 2] in good) for good, gallery in pairs])
    within = card.but("of the caption's own video", pool=float(np.mean([len(gallery) for _, gallery in pairs])))
    found.append(("pointing", _places([own for _, own in orders], questions, True).hit(1), share, within, beside))
    made = [(_mean(name, each, questions.videos, *rest, seed), each) for name, each, *rest in found]
    return [*made, _median(places, rule, questions.videos, card, seed)]


def _mean(name, each, videos, chance: float, card: Card, beside: Mapping[str, np.ndarray], seed: int) -> Result:
    if len(set(videos)) > 1:
        return mean_result(name, each, videos, chance, card, beside=beside, seed=seed)
    known = {rule: float(np.mean(values)) for rule, values in beside.items()}
    return Result(name, float(np.mean(each)), 0.0, 1.0, chance, card, len(each), known)  # one video: anything may be


def _median(places: Places, rule: Places, videos, card: Card, seed: int) -> tuple[Result, np.ndarray]:
    ranks = places.rank()
    ends = bootstrap_median(ranks, videos, seed=seed) if len(set(videos)) > 1 else (1.0, float(places.n_items))
    chance = metrics.chance_median_rank(places.n_items, places.n_relevant)
    known = {"where most is said": float(np.median(rule.rank()))}
    result = Result("median rank", float(np.median(ranks)), *ends, chance, card, len(ranks), known, unit="rank")
    return result, ranks


def _gains(tables: Mapping, kind: str, asked: Sequence[Piece], seed: int) -> dict[str, Comparison]:
    """What all kinds together have more than one, share by share, on the same captions."""
    videos = [line.video for line in asked]
    if len(set(videos)) < 2:
        return {}
    pairs = zip(tables[TOGETHER], tables[kind], strict=True)
    shares = [(a.name, both, one) for (a, both), (_, one) in pairs if a.unit == "share"]
    return {name: paired_bootstrap(both, one, videos, seed=seed) for name, both, one in shares}


def _notes(asked: Sequence[Piece], timed: Sequence[Piece]) -> list[str]:
    n, notes = len({line.video for line in asked}), []
    notes.append(
        f"{len(asked)} of {len(timed)} captions of {n} videos were asked, each without its own words; right within the "
        f"{WINDOW_S} s in which it is said. Words and meaning have only what is said around it to go by, and may stand "
        "below chance where that is about something else. People ask otherwise than films speak."
    )
    if n == 1:
        notes.append("One video: no interval can be told, and nothing follows for another film.")
    elif n < FEW:
        low, high = wilson(0.5, n)
        notes.append(
            f"{n} videos tell little: where half is found, anything from {low:.0%} to {high:.0%} may be the truth "
            "for other films of this kind."
        )
    return notes
