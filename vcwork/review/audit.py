"""Everything that should stand beside a retrieval number, from somebody's scores alone: no model, no GPU, no notebook.

The numbers are those of `vcwork.tasks.retrieval` (which items are right, ties, opponents, intervals), made from blocks
of rows, so that a matrix may be larger than memory. Beside them: what equal scores hide, the ceiling by texts that are
the same, smaller galleries, hubs, what a test-time trick would add, and a paired test against a second system.
Gap: what a model was trained on stands in no score file; the page says what it was told, or that nobody told it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from vcwork.base.errors import VcworkError
from vcwork.measure import metrics
from vcwork.measure.card import BLANK, Card
from vcwork.measure.intervals import Comparison, bootstrap_by_video, paired_bootstrap, paired_randomisation
from vcwork.measure.metrics import Places
from vcwork.measure.result import Result, mean_result, points, show
from vcwork.measure.streamed import (
    Pairs,
    Streamed,
    gathered,
    hit_in_pool,
    kept,
    place_among,
    place_streamed,
    standing,
    told,
)
from vcwork.review.blind import known_hits
from vcwork.review.gallery import Gallery, aligned, same_texts, within
from vcwork.review.geometry import skewness
from vcwork.review.scores import Scores
from vcwork.tasks.retrieval import Ranked, by_reference

PUBLISHED_POOLS = {"YouCook2": (3104, 3179, 3305, 3350), "MSR-VTT": (1000, 1758, 2990)}  # galleries in circulation
POOLS = (10, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000)
NOT_TOLD = "not told"


@dataclass(frozen=True)
class Doubts:
    """What a retrieval number depends on besides the model.

    tie_rules {rule: own pair's R@1}; pools [(n, R@1, low, high)] of the own pair in galleries of n; ceiling {k: R@k
    that no model exceeds}; tricked: R@1 under dual softmax; found (N,): how often an item is among the first k. Where a
    text has several right items and none of its own, the rules are those of R@1, and there is neither pool nor ceiling.
    """

    tie_rules: dict[str, float]
    pools: list[tuple[int, float, float, float]]
    ceiling: dict[int, float]
    tricked: float
    found: np.ndarray
    k: int


@dataclass(frozen=True)
class Audit:
    """What an audit found: `results` as the task's notebook gives them, verdicts in sentences, how the files were read.

    sizes: what the numbers stand on, in words; against [(metric, the other's value, comparison, p of a permutation)].
    """

    task: str
    path: Path
    sha256: str
    split: str
    sizes: str
    results: list[Result]
    benchmark: str = ""
    doubts: Doubts | None = None
    against: list[tuple[str, float, Comparison, float]] = field(default_factory=list)
    other: str = ""
    verdicts: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def headline(self) -> Result:
        """The task's first number."""
        return self.results[0]


def audit_retrieval(
    scores: Scores, gallery: Gallery, *, against: Scores | None = None, pool: str | Path = "", ties: str = "expected",
    ks: tuple[int, ...] = (1, 5, 10), trained_on: str = NOT_TOLD, setting: Card = BLANK, n_boot: int = 1000,
    seed: int = 0,
) -> Audit:  # fmt: skip
    """Audit scores (Q texts, N items) of a gallery; `against`: a second system's scores of the same gallery.

    pool: a file that lists the items to keep, an id a line; what another paper tested on, where it is known.

    VcworkError: ids or shapes that do not fit, scores that are not finite, an unknown rule for ties.
    """
    if ties != metrics.REFERENCE:
        metrics.check_ties(ties)
    elif against is not None or not gallery.paired:
        raise VcworkError("ties: the reference code's counting needs a text an item, and pairs with no second system")
    whole, draws = gallery, {"n_boot": n_boot, "seed": seed}

    def taken(found: Scores) -> tuple[Gallery, Scores]:
        return within(whole, aligned(found, whole), pool) if pool else (whole, aligned(found, whole))

    gallery, scores = taken(scores)
    card = setting.but(f"trained on: {trained_on}", split=gallery.split, benchmark=gallery.benchmark)
    card = card.but(model=card.model or scores.sha256, features=card.features or "not told")
    ways = _Ways(gallery, scores, ties, card, draws)
    results = ways.results(ks)
    doubts = ways.doubts(ks)
    many = f"{gallery.shape[0]:,} texts, {gallery.shape[1]:,} items"
    made = Audit("retrieval", scores.path, scores.sha256, gallery.split, many, results, gallery.benchmark, doubts,
                 other=against.path.name if against else "", notes=[*gallery.notes, *scores.told])  # fmt: skip
    if against is not None:
        other = _Ways(*taken(against), ties, card, draws)
        pairs = {f"t2v_R@{k}": [kept(each.main.to_item, each.asked).hit(k, ties) for each in (ways, other)] for k in ks}
        pairs |= {name: [mine, other.gains()[name][0]] for name, (mine, _) in ways.gains().items()}
        made.against.extend(compared(pairs, ways.query_videos[ways.asked], draws))
    made.verdicts.extend([*said_of(made, "Text to video R@1"), *_doubted(made, doubts, gallery)])
    made.verdicts.extend(last_words(made, trained_on))
    return made


def pools_of(
    own: Places, videos: Sequence, benchmark: str, draws: dict[str, int]
) -> list[tuple[int, float, float, float]]:
    """(n, R@1, low, high) of the own pair in smaller galleries, those in which a benchmark is published among them."""
    sizes = sorted({n for n in (*POOLS, *PUBLISHED_POOLS.get(benchmark, ())) if n < own.n_items} | {own.n_items})
    hits = {n: hit_in_pool(own, n) for n in sizes}
    return [(n, float(each.mean()), *bootstrap_by_video(each, videos, **draws)) for n, each in hits.items()]


class _Ways:
    """Both directions of one system's scores: any item of the group counts, and the own pair alone."""

    def __init__(self, gallery: Gallery, scores: Scores, ties: str, card: Card, draws: dict[str, int]) -> None:
        self.gallery, self.ties, self.card, self.draws = gallery, ties, card, draws
        self.right, self.pairs = _right(gallery)
        self.main = place_streamed(scores.rows, self.right)
        self.own: Streamed = self.main if self.right is self.pairs else place_streamed(scores.rows, self.pairs)
        self.asked = self.right.per_query > 0  # (Q,) some item is right
        self.videos, judged = np.asarray(gallery.videos), gallery.judged
        self.query_videos = self.videos[gallery.item_of] if judged is None else np.arange(gallery.shape[0])
        self.within = self._gathered(scores)
        self.standing = None if judged is None else standing(scores.rows, judged)

    def results(self, ks: Sequence[int]) -> list[Result]:
        """As `vcwork.tasks.retrieval.evaluate` orders them, where the gallery is paired; else text to video alone."""
        if self.ties == metrics.REFERENCE:
            card = self._card("t2v_", self.asked, "only its own pair counts", "own pair")
            return by_reference(self.own.to_item, self.query_videos, ks, card, self.draws)
        ways = ("t2v_", "v2t_") if self.gallery.paired else ("t2v_",)
        return [result for way in ways for result in self._direction(way, ks)] + self._graded()

    def doubts(self, ks: Sequence[int]) -> Doubts:
        """What the number depends on."""
        own, judged = kept(self.own.to_item, self.own.to_item.n_relevant > 0), self.gallery.judged is not None
        rules = {rule: float(own.hit(1, rule).mean()) for rule in metrics.TIES}
        if self.gallery.paired:
            rules[metrics.REFERENCE] = float(np.divide(*(each.sum() for each in own.entries(1))))
        texts, ties = () if judged else self.gallery.texts, "expected" if self.ties == metrics.REFERENCE else self.ties
        return Doubts(
            rules, [] if judged else pools_of(own, self.query_videos, self.gallery.benchmark, self.draws),
            {k: float(known_hits(texts, k).mean()) for k in ks} if len(texts) else {},
            float(kept(self.main.dual, self.asked).hit(1, ties).mean()), self.main.found, self.main.k,
        )  # fmt: skip

    def gains(self) -> dict[str, list[np.ndarray]]:
        """{name: nDCG of the scores, and of equal ones}, (Q,), of the first ten and of all; {} if none is judged."""
        if self.standing is None:
            return {}
        judged, grades, n = self.gallery.judged, self.gallery.grades, self.gallery.shape[1]
        equal = np.zeros_like(self.standing[0]), np.full_like(self.standing[1], n)

        def gain(standing: tuple[np.ndarray, np.ndarray], k: int) -> np.ndarray:
            return metrics.ndcg(judged.queries, grades, *standing, n, k)[self.asked]

        depths = {"t2v_nDCG@10": 10, "t2v_nDCG": n}
        return {name: [gain(each, k) for each in (self.standing, equal)] for name, k in depths.items()}

    def _graded(self) -> list[Result]:
        """nDCG as results; ties at their mean gain."""
        card = self._card("t2v_", self.asked, "gain is the grade, discount log2(rank + 1)", "same group")
        card, groups = card.but(ties="expected"), self.query_videos[self.asked]
        return [
            mean_result(name, mine, groups, float(blind.mean()), card, beside={"constant score": blind}, **self.draws)
            for name, (mine, blind) in self.gains().items()
        ]

    def _direction(self, way: str, ks: Sequence[int]) -> list[Result]:
        places, keep = self.places(self.main, way), self._keep(way)
        alone = "own pair" if (places.n_relevant[keep] == 1).all() and self.gallery.paired else "same group"
        rule = "any item of the same group counts" if len(self.gallery.groups) else "only its own item counts"
        rule = rule if self.gallery.judged is None else "any item that was judged right counts"
        ranked = self._ranked(way, self.right, kept(places, keep), keep, self._card(way, keep, rule, alone))
        results = [ranked.recall(k) for k in ks if k < places.n_items] + [ranked.median(), ranked.reciprocal()]
        if self.gallery.paired:
            every = np.ones(len(keep), bool)
            card = self._card(way, every, "only its own pair counts", "own pair")
            ranked = self._ranked(way, self.pairs, self.places(self.own, way), every, card)
            results += [ranked.recall(1, "instance_R@1"), *self._within(way)]
        return results

    def places(self, streamed: Streamed, way: str) -> Places:
        return streamed.to_item if way == "t2v_" else streamed.to_query

    def _keep(self, way: str) -> np.ndarray:
        return self.asked if way == "t2v_" else self.right.per_item > 0

    def _labels(self, way: str, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """A label of the items (N,) as one of this direction's queries, and of what they choose from."""
        both = labels[self.gallery.item_of], labels
        return both if way == "t2v_" else both[::-1]

    def _groups(self, way: str) -> np.ndarray:
        """What the interval draws again, of each of this direction's queries."""
        return self.query_videos if way == "t2v_" else self.videos

    def _ranked(self, way: str, right: Pairs, places: Places, keep: np.ndarray, card: Card) -> Ranked:
        turned = right if way == "t2v_" else right.turned
        known = {"video known": self.videos} if self.gallery.judged is None else {}
        known |= {"recipe known": np.asarray(self.gallery.recipes)} if len(self.gallery.recipes) else {}
        others = {name: kept(told(*self._labels(way, labels), turned), keep) for name, labels in known.items()}
        return Ranked(way, card, places, others, self._groups(way)[keep], self.draws)

    def _card(self, way: str, keep: np.ndarray, rule: str, right: str, pool: float | None = None) -> Card:
        n_queries, n_items = self.gallery.shape if way == "t2v_" else self.gallery.shape[::-1]
        left = int((~keep).sum())
        lost = f", {left} left out without a right (or wrong) item" if left else ""
        told_way = "text to video" if way == "t2v_" else "video to text"
        return self.card.but(
            f"{told_way}, {n_queries - left} queries{lost}; {rule}", task="retrieval", ties=self.ties, right=right,
            pool=n_items if pool is None else pool, captions=self.gallery.shape[0] / self.gallery.shape[1],
            interval=f"{'videos' if self.gallery.judged is None else 'queries'}, gallery fixed",
        )  # fmt: skip

    def _gathered(self, scores: Scores) -> tuple[Pairs, np.ndarray] | None:
        """Each text's scores with the items of its own video, where videos have several and not all of them."""
        if not self.gallery.paired or not 1 < len(np.unique(self.videos)) < len(self.videos):
            return None
        pool = Pairs.of(self.query_videos, self.videos)
        return pool, gathered(scores.rows, pool)

    def _within(self, way: str) -> list[Result]:
        """R@1 among the items of the query's own video, as `vcwork.tasks.retrieval` has it."""
        if self.within is None:
            return []
        pool, values = self.within
        right = self.right.holds(pool)  # (P,)
        if way == "v2t_":
            pool, order = pool.turned, np.lexsort((pool.queries, pool.items))
            values, right = values[order], right[order]
        places, size = place_among(pool, values, right)
        keep = (places.n_relevant > 0) & (places.n_relevant < size)  # both right and wrong items to choose from
        groups = self._groups(way)
        if len(np.unique(groups[keep])) < 2:
            return []
        rule = "pool: the items of the query's own video, same group counts"
        card = self._card(way, keep, rule, "same group", float(size[keep].mean()))
        blind = kept(Places(np.zeros_like(size), size, places.n_relevant, places.n_items, places.n_relevant), keep)
        others = {"constant score": blind, "video known": blind}
        if len(self.gallery.recipes):
            others["recipe known"] = blind
        ranked = Ranked(way, card, kept(places, keep), others, groups[keep], self.draws)
        return [ranked.recall(1, "within_video_R@1", float((places.n_relevant / size)[keep].mean()))]


def _right(gallery: Gallery) -> tuple[Pairs, Pairs]:
    """What is right for each text, and its own item, which are the same where there is only one of both."""
    if gallery.judged is not None:
        good = gallery.grades > 0
        right = replace(gallery.judged, queries=gallery.judged.queries[good], items=gallery.judged.items[good])
        return right, right
    pairs = Pairs.of(gallery.item_of, np.arange(gallery.shape[1]))
    return (Pairs.of(gallery.group_of, gallery.groups) if len(gallery.groups) else pairs), pairs


def compared(
    pairs: Mapping[str, Sequence[np.ndarray]], videos: Sequence, draws: dict[str, int]
) -> list[tuple[str, float, Comparison, float]]:
    """Of each metric what both systems earn item by item, (N,) and (N,): the second's value, difference, two p."""
    out = []
    for metric, (here, there) in pairs.items():
        found = paired_bootstrap(here, there, videos, draws["n_boot"], draws["seed"])
        out.append((metric, float(np.mean(there)), found, paired_randomisation(here, there, videos)))
    return out


# --------------------------------------------------------------------------------------------------- verdicts


def small(p: float) -> str:
    """A p-value as people write it."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def said_of(made: Audit, name: str) -> list[str]:
    """The first number and its strongest opponent, in a sentence."""
    best = made.headline
    opponent, score = best.best_trivial
    span = f"{best.show()} ({best.show('low')} to {best.show('high')})"
    strongest = f"the strongest opponent that saw no picture, {opponent} ({show(score, best.unit)})"
    return [f"{name} is {span} on {made.sizes}: {best.verdict} {strongest}."]


def last_words(made: Audit, trained_on: str) -> list[str]:
    """What the model was trained on, as far as somebody told; and how it stands against the second system."""
    lines = [f"Trained on: {trained_on}. Whether the test was seen nobody can tell from scores."]
    for metric, other, found, p in made.against:
        way = "above" if found.low > 0 else "below" if found.high < 0 else "level with"
        lines.append(
            f"{metric}: {way} {made.other} ({show(other)}) by "
            f"{points(found.difference, found.low, found.high)}, p {small(found.p)}, by permutation {small(p)}."
        )
    return lines


def _doubted(made: Audit, doubts: Doubts, gallery: Gallery) -> list[str]:
    lines, n_queries = [_ties_told(made, doubts)], gallery.shape[0]
    if doubts.ceiling:
        copies = int((same_texts(gallery) > 1).sum())
        exceeds = f"so no model exceeds {show(doubts.ceiling[min(doubts.ceiling)])} in the own pair's R@1."
        lines.append(f"{copies:,} of {n_queries:,} texts stand there more than once, {exceeds}")
    if doubts.pools:
        lines.append(_pools_told(doubts, gallery.benchmark))
    never, skew = float((doubts.found == 0).mean()), skewness(doubts.found)
    lines.append(f"Hubs: {show(never)} of the items are never among anybody's first {doubts.k}; skewness {skew:.1f}.")
    lines.append(
        f"Dual softmax over all {n_queries:,} test texts would make R@1 {show(doubts.tricked)}: it sees the other test "
        "queries, so a number that uses it is another quantity."
    )
    return lines


def _pools_told(doubts: Doubts, benchmark: str) -> str:
    """Why two published numbers may not be compared: what the same scores give in galleries of other sizes."""
    *smaller, whole = doubts.pools
    here, published = whole[0], PUBLISHED_POOLS.get(benchmark, ())
    shown = [each for each in smaller if each[0] in published] or smaller[:1]
    told = ", ".join(f"{show(value)} ({show(low)} to {show(high)}) among {n:,}" for n, value, low, high in shown)
    other = [f"{n:,}" for n in published if n > here]
    unknown = f"; what they give among {' or '.join(other)} nobody can tell without those items" if other else ""
    same = f"the same scores give {told}{unknown}" if shown else "no smaller one was tried"
    return (
        f"The own pair's R@1 is {show(whole[1])} among {here:,} items; {same}: numbers of two pools are not compared."
    )


def _ties_told(made: Audit, doubts: Doubts) -> str:
    low, high = doubts.tie_rules["pessimistic"], doubts.tie_rules["optimistic"]
    what = "the own pair's R@1" if doubts.pools else "R@1"
    if low == high:
        return f"No equal scores decide {what}."
    return (
        f"Equal scores decide: {what} is {show(low)} if ties count as lost and {show(high)} if they count "
        f"as won; here they count {made.headline.protocol.ties}."
    )


def as_dict(made: Audit) -> dict[str, Any]:
    """Plain numbers and texts, for JSON."""
    told: dict[str, Any] = {
        "task": made.task, "split": made.split, "benchmark": made.benchmark, "sizes": made.sizes,
        "scores": {"file": made.path.name, "sha256": made.sha256},
        "results": [result.as_dict() for result in made.results],
        "against": [{"metric": m, "other": made.other, "value": value, "difference": c.difference, "low": c.low,
                     "high": c.high, "p": c.p, "p_permutation": p} for m, value, c, p in made.against],
        "verdicts": made.verdicts, "notes": made.notes,
    }  # fmt: skip
    if (doubts := made.doubts) is not None:
        hubs = {"k": doubts.k, "skewness": skewness(doubts.found), "never": float((doubts.found == 0).mean())}
        told |= {"ties": doubts.tie_rules, "pools": [list(each) for each in doubts.pools], "hubs": hubs,
                 "ceiling": {str(k): value for k, value in doubts.ceiling.items()},
                 "dual_softmax_R@1": doubts.tricked}  # fmt: skip
    return told
