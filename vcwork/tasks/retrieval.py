"""Text-video retrieval, both directions: find the clip for a sentence, the sentence for a clip.

Two texts of the same step are both right, so the main numbers are group-positive: any item of the same group counts.
`instance_R@1` wants the very pair; `within_video_R@1` ranks only items of the query's own video and tells whether the
model knows *steps* or merely *videos*. `errors` says what the first answer got wrong.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from vcwork.base.errors import VcworkError
from vcwork.measure import metrics, trivial
from vcwork.measure.card import BLANK, Card
from vcwork.measure.intervals import bootstrap_median, bootstrap_median_counts, sum_by_video
from vcwork.measure.metrics import REFERENCE, check_lengths
from vcwork.measure.result import Result, mean_result, ratio_result


@dataclass(frozen=True)
class _Side:
    """One direction: scores (Q, N), relevant (Q, N), videos of queries and items, scores of trivial predictors.

    paired: query i belongs to item i; queries without videos are paired with nothing. out (Q, N): items that are not
    in a query's gallery, which are not relevant either.
    """

    prefix: str
    scores: np.ndarray
    relevant: np.ndarray
    paired: bool
    query_video: np.ndarray | None
    item_video: np.ndarray
    known: dict[str, np.ndarray]
    ties: str
    setting: Card
    draws: dict[str, int]
    out: np.ndarray | None = None

    @property
    def turned(self) -> "_Side":
        """The other direction, from video to text."""
        known = {name: scores.T for name, scores in self.known.items()}
        videos = {"query_video": self.item_video, "item_video": self.query_video}
        return replace(self, prefix="v2t_", scores=self.scores.T, relevant=self.relevant.T, known=known, **videos)

    def rows(self, keep: np.ndarray) -> "_Side":
        """The same with some of the queries."""
        video, out = (None if each is None else each[keep] for each in (self.query_video, self.out))
        known = {name: scores[keep] for name, scores in self.known.items()}
        more = {"relevant": self.relevant[keep], "query_video": video, "out": out}
        return replace(self, scores=self.scores[keep], known=known, **more)

    def without(self, out: np.ndarray) -> "_Side":
        """The same where each query's gallery lacks the items of `out` (Q, N)."""
        return replace(self, relevant=self.relevant & ~out, out=out)

    def card(
        self, left_out: int, rule: str = "any item of the same group counts", pool: float | None = None,
        right: str = "same group",
    ) -> Card:  # fmt: skip
        way = "text to video" if self.prefix == "t2v_" else "video to text"
        lost = f", {left_out} left out without a right (or wrong) item" if left_out else ""
        queries, items = self.scores.shape
        return self.setting.but(
            f"{way}, {queries - left_out} queries{lost}; {rule}",
            task="retrieval", pool=items if pool is None else pool, ties=self.ties, right=right,
            captions=queries / items if self.prefix == "t2v_" else items / queries,
            interval="queries, gallery fixed" if self.query_video is None else "videos, gallery fixed",
        )  # fmt: skip


@dataclass(frozen=True)
class Ranked:
    """Where the right items of one direction stand for the model, and for each predictor that does not look (`others`).

    prefix: of the names, t2v_ or v2t_; groups (Q,): what the interval draws again; draws: n_boot and seed of it.
    """

    prefix: str
    card: Card
    places: metrics.Places
    others: dict[str, metrics.Places]
    groups: np.ndarray
    draws: dict[str, int]

    def __post_init__(self) -> None:
        object.__setattr__(self, "others", {"constant score": _collapsed(self.places)} | self.others)
        object.__setattr__(self, "card", self.card.but(tied=self.places.n_ties))

    @classmethod
    def of(cls, side: _Side, card: Card) -> "Ranked":
        """From the scores themselves; queries without videos are drawn again one by one."""
        relevant = side.relevant, side.out
        others = {name: metrics.place(scores, *relevant) for name, scores in side.known.items()}
        groups = np.arange(len(side.scores)) if side.query_video is None else side.query_video
        return cls(side.prefix, card, metrics.place(side.scores, *relevant), others, groups, side.draws)

    def recall(self, k: int, name: str = "", chance: float | None = None, **known: np.ndarray) -> Result:
        """R@k; chance, known: what a gallery of another size for each query makes of these."""
        ties, places = self.card.ties, self.places
        if chance is None:
            chance = metrics.chance_recall_at_k(places.n_items, k, places.n_relevant)
        beside = {key: each.hit(k, ties) for key, each in self.others.items()} | known
        return self._mean(name or f"R@{k}", places.hit(k, ties), chance, beside)

    def reciprocal(self) -> Result:
        """Mean of 1 / rank of the best right item; chance is its mean over random orders."""
        beside = {name: each.reciprocal(self.card.ties) for name, each in self.others.items()}
        chance = float(_collapsed(self.places).reciprocal("expected").mean())
        return self._mean("MRR", self.places.reciprocal(self.card.ties), chance, beside)

    def _mean(self, name: str, per_query: np.ndarray, chance: float, beside: dict[str, np.ndarray]) -> Result:
        name = f"{self.prefix}{name}"
        return mean_result(name, per_query, self.groups, chance, self.card, beside=beside, **self.draws)

    def median(self) -> Result:
        ranks = self.places.rank(self.card.ties)
        return Result(
            f"{self.prefix}MdR", float(np.median(ranks)), *bootstrap_median(ranks, self.groups, **self.draws),
            metrics.chance_median_rank(self.places.n_items, self.places.n_relevant), self.card, len(ranks),
            {name: float(np.median(each.rank(self.card.ties))) for name, each in self.others.items()},
            extra={"mean_rank": float(ranks.mean())}, unit="rank",
        )  # fmt: skip


def _collapsed(places: metrics.Places) -> metrics.Places:
    """The places a constant score would give: every item tied with the relevant ones."""
    full = np.full(len(places.above), places.n_items)
    return metrics.Places(np.zeros_like(full), full, places.n_relevant, places.n_items, places.n_relevant)


def evaluate(
    scores: np.ndarray,
    query_group: Sequence,
    clip_group: Sequence,
    clip_video: Sequence,
    query_video: Sequence | None = None,
    clip_recipe: Sequence | None = None,
    query_recipe: Sequence | None = None,
    *,
    ks: tuple[int, ...] = (1, 5, 10),
    ties: str = "expected",
    beside: Mapping[str, np.ndarray] | None = None,
    silent: np.ndarray | None = None,
    setting: Card = BLANK,
    **draws: int,
) -> list[Result]:
    """R@k, median rank, instance R@1 and within-video R@1, `t2v_` and `v2t_`; scores (Q texts, N clips).

    query_group, clip_group: what a text or clip shows (step ids). Texts given with query_video (Q,) are paired: text i
    describes clip i (Q = N). Without it they belong to no video, and only the group metrics are given.
    Queries whose group is not in the gallery are left out; the protocol counts them.
    beside: scores (Q, N) of further trivial predictors, by their name in `trivial.REGISTRY`; a constant score, and
    knowing the video or the recipe, are put beside each number by themselves. With those of a corpus, and which clips
    are silent (N,), from `vcwork.tasks.opponents.of_retrieval`; pairs of silent clips get rows of their own.
    ties="reference" counts as the reference code does: text to video, the very pair alone, texts and clips paired.
    """
    scores = metrics.check_scores(scores)
    check_lengths(scores=scores, query_group=query_group)
    check_lengths(clips=scores.T, clip_group=clip_group, clip_video=clip_video)
    relevant = np.asarray(query_group)[:, None] == np.asarray(clip_group)  # (Q, N)
    clip_video, paired = np.asarray(clip_video), query_video is not None
    if paired:
        check_lengths(texts=scores, clips=scores.T, query_video=query_video)
        query_video = np.asarray(query_video)
    recipes = (clip_recipe if query_recipe is None else query_recipe) if paired else query_recipe, clip_recipe
    known = _known(scores, beside or {}, (query_video, clip_video), recipes)
    side = _Side("t2v_", scores, relevant, paired, query_video, clip_video, known, ties, setting, draws)
    if ties == REFERENCE:
        return _reference(side, ks)
    results = [r for each in (side, side.turned) for r in _direction(each, ks)]
    if silent is not None and paired:
        results += [r for each in (side, side.turned) for r in _silent(each, np.asarray(silent))]
    if clip_recipe is not None and paired:
        results[0].extra["errors"] = errors(scores, relevant, query_video, clip_video, recipes[0], clip_recipe)
    return results


def blind_hits(labels: Sequence[np.ndarray], beside: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Each sentence's right clip first, (N,) 0 to 1, for every predictor that `evaluate` puts beside t2v_R@1.

    labels: a corpus's clips' (`cases.Clips.labels`); beside: as of `evaluate`. For those who keep hits and no scores.
    """
    steps, _, videos, _, recipes = labels
    relevant = steps[:, None] == steps  # (N, N)
    blind = np.zeros(relevant.shape)
    known = {"constant score": blind} | _known(blind, beside, (videos, videos), (recipes, recipes))
    return {name: metrics.place(each, relevant).hit(1) for name, each in known.items()}


def _known(scores: np.ndarray, beside: Mapping[str, np.ndarray], videos: tuple, recipes: tuple) -> dict:
    """Scores (Q, N) of predictors that know a label of the query, and of those given."""
    trivial.registered("retrieval", beside)
    for name, each in beside.items():
        if np.shape(each) != scores.shape:
            raise VcworkError(f"retrieval, {name}: expected scores {scores.shape}, got {np.shape(each)}")
    told = {"video known": videos, "recipe known": recipes}
    told = {name: trivial.known_group(*pair) for name, pair in told.items() if pair[0] is not None is not pair[1]}
    return told | {name: metrics.check_scores(each, name) for name, each in beside.items()}


def _direction(side: _Side, ks: tuple[int, ...]) -> list[Result]:
    keep = side.relevant.any(1)
    if not keep.any():
        raise VcworkError(f"{side.prefix}: no query shares a group with any of {side.scores.shape[1]} items")
    alone = "own pair" if (side.relevant.sum(1) == 1).all() and side.paired else "same group"  # one text a group
    ranked = Ranked.of(side if keep.all() else side.rows(keep), side.card(int((~keep).sum()), right=alone))
    results = [ranked.recall(k) for k in ks if k < ranked.places.n_items]
    results += [ranked.median(), ranked.reciprocal()]
    if side.paired:
        own = replace(side, relevant=np.eye(len(side.scores), dtype=bool))
        ranked = Ranked.of(own, side.card(0, "only its own pair counts", right="own pair"))
        results += [ranked.recall(1, "instance_R@1"), *_within_video(side)]
    return results


def choosable(relevant: np.ndarray, pool: np.ndarray) -> np.ndarray:
    """(Q,) bool: does a query's own pool hold both right and wrong items? relevant, pool (Q, N) bool."""
    n_right = (relevant & pool).sum(1)  # (Q,)
    return (n_right > 0) & (n_right < pool.sum(1))


def _within_video(side: _Side) -> list[Result]:
    """R@1 among the items of the query's own video; queries whose video holds nothing wrong to pick are left out."""
    out = side.query_video[:, None] != side.item_video  # (Q, N)
    keep = choosable(side.relevant, ~out)
    if len(np.unique(side.query_video[keep])) < 2:
        return []
    size = (~out)[keep].sum(1)
    share = (side.relevant & ~out)[keep].sum(1) / size
    rule = "pool: the items of the query's own video, same group counts"
    constant = {"constant score": np.broadcast_to(np.int8(0), side.scores.shape)}
    kept = replace(side, known=side.known | constant).without(out).rows(keep)
    ranked = Ranked.of(kept, side.card(int((~keep).sum()), rule, float(size.mean())))
    return [ranked.recall(1, "within_video_R@1", float(share.mean()))]


def _silent(side: _Side, silent: np.ndarray) -> list[Result]:
    """R@1 of pairs whose step is never spoken of: what nobody can know who only listens.

    Clips that show the same step and are spoken of are taken out of such a sentence's gallery: found there, the words
    would have been enough. Sentences are all there for a silent clip. Nothing where fewer than two videos hold one.
    """
    if len(np.unique(side.query_video[silent])) < 2:
        return []
    given = side.prefix == "t2v_"
    kept = side.without(side.relevant & ~silent & given).rows(silent)
    n_items = (~kept.out).sum(1)  # (Q',)
    chance = kept.relevant.sum(1) / n_items
    rule = "steps never spoken of in their video; " + ("clips where they are, left out" if given else "all sentences")
    ranked = Ranked.of(kept, side.card(int((~silent).sum()), rule, float(n_items.mean())))
    return [ranked.recall(1, "R@1_silent", float(chance.mean()), **{"constant score": chance})]


def _reference(side: _Side, ks: tuple[int, ...]) -> list[Result]:
    """Text to video as the reference code counts: a tied query is counted as often as it has ties."""
    if not side.paired:
        raise VcworkError("ties: the reference code's counting needs paired texts and clips (query_video)")
    card = side.card(0, "only its own pair counts", right="own pair")
    return by_reference(metrics.place(side.scores), side.query_video, ks, card, side.draws)


def by_reference(
    places: metrics.Places, videos: Sequence, ks: Sequence[int], card: Card, draws: Mapping[str, int]
) -> list[Result]:
    """t2v R@k and median rank of each query's one right item as the reference code counts; videos (Q,)."""
    groups = np.unique(videos, return_inverse=True)[1]
    card = card.but(f"{int(places.tied.sum())} entries counted", tied=places.n_ties)
    results = []
    for k in [k for k in ks if k < places.n_items]:
        parts = [sum_by_video(each, groups) for each in places.entries(k)]
        chance = k / places.n_items  # the constant score's as well
        blind = {"constant score": chance}
        results.append(ratio_result(f"t2v_R@{k}", *parts, chance, card, trivial=blind, **draws))
    counts = metrics.position_counts(places, groups)  # (V, N)
    ends = bootstrap_median_counts(counts, 1.0 + np.arange(places.n_items), **draws)
    value, chance = metrics.median_position(places), metrics.chance_median_rank(places.n_items)
    blind = {"constant score": (places.n_items + 1) / 2}
    return [*results, Result("t2v_MdR", value, *ends, chance, card, len(groups), blind, unit="rank")]


def find_own(scores: np.ndarray, ids: Sequence, name: str, setting: Card, what: str, seed: int = 0) -> Result:
    """R@1 of N queries of which each wants the item of its own video, (N, N), ties at their expected share."""
    found, n = metrics.place(scores), len(ids)
    card = setting.but(what, task="retrieval", pool=n, captions=1, ties="expected", interval="videos")
    blind = {"constant score": 1 / n}
    return mean_result(name, found.hit(1), ids, 1 / n, card.but(tied=found.n_ties), trivial=blind, seed=seed)


def recall_curves(scores: np.ndarray, relevant: np.ndarray, ties: str = "expected") -> dict[str, np.ndarray]:
    """R@k of both directions, and of chance, for each k below the gallery's size, (N - 1,); scores, relevant (N, N)."""
    ks = range(1, len(scores))
    ways = {"text to video": metrics.place(scores, relevant), "video to text": metrics.place(scores.T, relevant.T)}
    curves = {name: np.array([places.hit(k, ties).mean() for k in ks]) for name, places in ways.items()}
    chance = [metrics.chance_recall_at_k(len(scores), k, relevant.sum(1)) for k in ks]
    return curves | {"chance": np.array(chance)}


def errors(
    scores: np.ndarray,
    relevant: np.ndarray,
    query_video: Sequence,
    clip_video: Sequence,
    query_recipe: Sequence,
    clip_recipe: Sequence,
) -> dict[str, float]:
    """What is right about the clip ranked first: counts over queries, which sum to Q; scores, relevant (Q, N).

    The nearest thing that is right names the error: its video, else its recipe, else nothing. Clips tied for the
    first place share the count.
    """
    scores, query_video, query_recipe = metrics.check_scores(scores), np.asarray(query_video), np.asarray(query_recipe)
    counts: Counter[str] = Counter()
    for at in metrics.blocks(scores.shape):
        share = first_places(scores[at])  # (q, N)
        cases = error_kinds(relevant[at], query_video[at], clip_video, query_recipe[at], clip_recipe)
        counts.update({name: float(share[case].sum()) for name, case in cases.items()})
    return dict(counts)


def error_kinds(
    relevant: np.ndarray, query_video: Sequence, clip_video: Sequence, query_recipe: Sequence, clip_recipe: Sequence
) -> dict[str, np.ndarray]:
    """What each item would get wrong as the answer, masks (Q, N) of which exactly one holds everywhere."""
    video = np.asarray(query_video)[:, None] == np.asarray(clip_video)
    recipe = np.asarray(query_recipe)[:, None] == np.asarray(clip_recipe)
    return {
        "right": relevant,
        "right video, wrong clip": ~relevant & video,
        "right recipe, wrong video": ~relevant & ~video & recipe,
        "wrong recipe": ~relevant & ~video & ~recipe,
    }


def first_places(scores: np.ndarray) -> np.ndarray:
    """Each item's share of each query's first place, (Q, N), rows sum to 1: items tied for it divide it."""
    top = scores == scores.max(1, keepdims=True)
    return top / top.sum(1, keepdims=True)
