"""Text-video retrieval, both directions: find the clip for a sentence, the sentence for a clip.

Two texts of the same step are both right, so the main numbers are group-positive: any item of the same group counts.
`instance_R@1` wants the very pair; `within_video_R@1` ranks only items of the query's own video and tells whether the
model knows *steps* or merely *videos*. `errors` says what the first answer got wrong.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from vcwork.base.errors import VcworkError
from vcwork.measure import metrics, trivial
from vcwork.measure.card import Card, as_card
from vcwork.measure.intervals import bootstrap_by_video, bootstrap_median, bootstrap_median_counts, sum_by_video
from vcwork.measure.metrics import REFERENCE
from vcwork.measure.result import Result
from vcwork.tasks.common import check_lengths, mean_result, ratio_result


@dataclass(frozen=True)
class _Side:
    """One direction: scores (Q, N), relevant (Q, N), videos of queries and items, scores of trivial predictors.

    paired: query i belongs to item i; queries without videos are paired with nothing.
    """

    prefix: str
    scores: np.ndarray
    relevant: np.ndarray
    paired: bool
    query_video: np.ndarray | None
    item_video: np.ndarray
    known: dict[str, np.ndarray] = field(default_factory=dict)

    def rows(self, keep: np.ndarray) -> "_Side":
        """The same with some of the queries."""
        video = None if self.query_video is None else self.query_video[keep]
        known = {name: scores[keep] for name, scores in self.known.items()}
        return _Side(self.prefix, self.scores[keep], self.relevant[keep], False, video, self.item_video, known)

    @property
    def groups(self) -> np.ndarray:
        """(Q,) what the interval draws again: videos, or queries where they have none."""
        return np.arange(len(self.scores)) if self.query_video is None else self.query_video


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
    setting: Card | str = "",
    n_boot: int = 1000,
    seed: int = 0,
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
    text_side = _Side("t2v_", scores, relevant, paired, query_video, clip_video, known)
    options = {"n_boot": n_boot, "seed": seed}
    if ties == REFERENCE:
        return _reference(text_side, ks, as_card(setting), options)
    turned = {name: each.T for name, each in known.items()}
    sides = [text_side, _Side("v2t_", scores.T, relevant.T, paired, clip_video, query_video, turned)]
    results = [r for side in sides for r in _direction(side, ks, ties, as_card(setting), options)]
    if silent is not None and paired:
        results += [r for side in sides for r in _silent(side, np.asarray(silent), ties, as_card(setting), options)]
    if clip_recipe is not None and paired:
        results[0].extra["errors"] = errors(scores, relevant, query_video, clip_video, recipes[0], clip_recipe)
    return results


def _known(scores: np.ndarray, beside: Mapping[str, np.ndarray], videos: tuple, recipes: tuple) -> dict:
    """Scores (Q, N) of predictors that know a label of the query, and of those given."""
    trivial.registered("retrieval", beside)
    for name, each in beside.items():
        if np.shape(each) != scores.shape:
            raise VcworkError(f"retrieval, {name}: expected scores {scores.shape}, got {np.shape(each)}")
    told = {"video known": videos, "recipe known": recipes}
    told = {name: trivial.known_group(*pair) for name, pair in told.items() if pair[0] is not None is not pair[1]}
    return told | {name: metrics.check_scores(each, name) for name, each in beside.items()}


def _direction(side: _Side, ks: tuple[int, ...], ties: str, setting: Card, options: dict) -> list[Result]:
    keep = side.relevant.any(1)
    if not keep.any():
        raise VcworkError(f"{side.prefix}: no query shares a group with any of {side.scores.shape[1]} items")
    kept = side if keep.all() else side.rows(keep)
    alone = "own pair" if (side.relevant.sum(1) == 1).all() and side.paired else "same group"  # one text a group
    protocol = _protocol(side, int((~keep).sum()), ties, setting, right=alone)
    results = _ranked(kept, kept.relevant, ks, ties, protocol, options)
    if side.paired:
        results.append(_instance(side, ties, setting, options))
        results += _within_video(side, ties, setting, options)
    return results


def _ranked(side: _Side, relevant: np.ndarray, ks, ties: str, protocol: Card, options: dict) -> list[Result]:
    """R@k for each k below the gallery's size, the median rank and the mean reciprocal rank."""
    places, others = _places(side, relevant)
    results = [_at_k(side, places, others, k, ties, protocol, options) for k in ks if k < places.n_items]
    return [*results, *(of(side, places, others, ties, protocol, options) for of in (_median_rank, _mrr))]


def _mrr(side: _Side, places: metrics.Places, others: dict, ties: str, protocol: Card, options: dict) -> Result:
    """Mean of 1 / rank of the best right item; chance is its mean over random orders."""
    beside = {name: each.reciprocal(ties) for name, each in others.items()}
    chance, mine = float(_collapsed(places).reciprocal("expected").mean()), places.reciprocal(ties)
    card = protocol.but(tied=places.n_ties)
    return mean_result(f"{side.prefix}MRR", mine, side.groups, chance, card, beside=beside, **options)


def _places(side: _Side, relevant: np.ndarray) -> tuple[metrics.Places, dict[str, metrics.Places]]:
    """Where the right items stand for the model, and for each predictor that does not look."""
    places = metrics.place(side.scores, relevant)
    others = {name: metrics.place(scores, relevant) for name, scores in side.known.items()}
    return places, {"constant score": _collapsed(places)} | others


def _at_k(side: _Side, places: metrics.Places, others: dict, k: int, ties: str, protocol: Card, options) -> Result:
    chance = metrics.chance_recall_at_k(places.n_items, k, places.n_relevant)
    beside = {name: each.hit(k, ties) for name, each in others.items()}
    card = protocol.but(tied=places.n_ties)
    return mean_result(f"{side.prefix}R@{k}", places.hit(k, ties), side.groups, chance, card, beside=beside, **options)


def _median_rank(side: _Side, places: metrics.Places, others: dict, ties: str, protocol: Card, options) -> Result:
    ranks, chance = places.rank(ties), metrics.chance_median_rank(places.n_items, places.n_relevant)
    low, high = bootstrap_median(ranks, side.groups, **options)
    known = {name: float(np.median(each.rank(ties))) for name, each in others.items()}
    value, extra, card = float(np.median(ranks)), {"mean_rank": float(ranks.mean())}, protocol.but(tied=places.n_ties)
    return Result(f"{side.prefix}MdR", value, low, high, chance, card, len(ranks), known, extra=extra, unit="rank")


def _collapsed(places: metrics.Places) -> metrics.Places:
    """The places a constant score would give: every item tied with the relevant ones."""
    full = np.full(len(places.above), places.n_items)
    return metrics.Places(np.zeros_like(full), full, places.n_relevant, places.n_items, places.n_relevant)


def _instance(side: _Side, ties: str, setting: Card, options: dict) -> Result:
    places, others = _places(side, np.eye(len(side.scores), dtype=bool))
    protocol = _protocol(side, 0, ties, setting, "only its own pair counts", right="own pair")
    found = _at_k(side, places, others, 1, ties, protocol, options)
    return replace(found, name=f"{side.prefix}instance_R@1")


def _within_video(side: _Side, ties: str, setting: Card, options: dict) -> list[Result]:
    """R@1 among the items of the query's own video; queries whose video holds nothing wrong to pick are left out."""
    blocks = [(np.flatnonzero(side.query_video == v), np.flatnonzero(side.item_video == v))
              for v in np.unique(side.query_video)]  # fmt: skip
    n_right, size = np.zeros(len(side.scores)), np.zeros(len(side.scores))
    for rows, columns in blocks:
        n_right[rows], size[rows] = side.relevant[np.ix_(rows, columns)].sum(1), len(columns)
    keep = (n_right > 0) & (n_right < size)
    blocks = [(rows[keep[rows]], columns) for rows, columns in blocks if keep[rows].any()]
    if len(blocks) < 2:
        return []
    places = _in_blocks(side.scores, side.relevant, blocks)
    blind = side.known | {"constant score": np.broadcast_to(np.int8(0), side.scores.shape)}
    hits = {name: _in_blocks(each, side.relevant, blocks).hit(1, ties) for name, each in blind.items()}
    rule = "pool: the items of the query's own video, same group counts"
    card = _protocol(side, int((~keep).sum()), ties, setting, rule, float(size[keep].mean())).but(tied=places.n_ties)
    videos = np.concatenate([side.query_video[rows] for rows, _ in blocks])
    chance, name = float((n_right / np.maximum(size, 1))[keep].mean()), f"{side.prefix}within_video_R@1"
    return [mean_result(name, places.hit(1, ties), videos, chance, card, beside=hits, **options)]


def _silent(side: _Side, silent: np.ndarray, ties: str, setting: Card, options: dict) -> list[Result]:
    """R@1 of pairs whose step is never spoken of: what nobody can know who only listens.

    Clips that show the same step and are spoken of are taken out of such a sentence's gallery: found there, the words
    would have been enough. Sentences are all there for a silent clip. Nothing where fewer than two videos hold one.
    """
    if len(np.unique(side.query_video[silent])) < 2:
        return []
    given = side.prefix == "t2v_"
    out = side.relevant & ~silent & given  # (Q, N)
    hidden = {name: np.where(out, -np.inf, each) for name, each in {"": side.scores, **side.known}.items()}
    kept = _Side(side.prefix, hidden.pop(""), side.relevant & ~out, True, side.query_video, side.item_video, hidden)
    kept = kept.rows(silent)
    n_items = (~out[silent]).sum(1)  # (Q',)
    chance = kept.relevant.sum(1) / n_items
    places, others = _places(kept, kept.relevant)
    beside = {name: each.hit(1, ties) for name, each in others.items()} | {"constant score": chance}
    rule = "steps never spoken of in their video; " + ("clips where they are, left out" if given else "all sentences")
    card = _protocol(side, int((~silent).sum()), ties, setting, rule, float(n_items.mean())).but(tied=places.n_ties)
    name, hits = f"{side.prefix}R@1_silent", places.hit(1, ties)
    return [mean_result(name, hits, kept.groups, float(chance.mean()), card, beside=beside, **options)]


def _in_blocks(scores: np.ndarray, relevant: np.ndarray, blocks: list) -> metrics.Places:
    """Places of queries (rows) among some items (columns), block after block."""
    each = [metrics.place(scores[np.ix_(*block)], relevant[np.ix_(*block)]) for block in blocks]
    above, tied, relevant_tied, n_relevant = (
        np.concatenate([getattr(p, key) for p in each]) for key in ("above", "tied", "relevant_tied", "n_relevant")
    )
    return metrics.Places(above, tied, relevant_tied, max(p.n_items for p in each), n_relevant)


def _reference(side: _Side, ks: tuple[int, ...], setting: Card, options: dict) -> list[Result]:
    """Text to video as the reference code counts: a tied query is counted as often as it has ties."""
    if not side.paired:
        raise VcworkError("ties: the reference code's counting needs paired texts and clips (query_video)")
    places, others = _places(side, np.eye(len(side.scores), dtype=bool))
    known = {name: each for name, each in others.items() if name == "constant score"}
    rule = f"only its own pair counts, {int(places.tied.sum())} entries counted"
    card = _protocol(side, 0, REFERENCE, setting, rule, right="own pair").but(tied=places.n_ties)
    results = []
    for k in [k for k in ks if k < places.n_items]:
        parts = [sum_by_video(each, side.groups) for each in places.entries(k)]
        chance = k / places.n_items  # the constant score's as well
        blind = dict.fromkeys(known, chance)
        results.append(ratio_result(f"{side.prefix}R@{k}", *parts, chance, card, trivial=blind, **options))
    counts = metrics.position_counts(places, np.unique(side.groups, return_inverse=True)[1])  # (V, N)
    low, high = bootstrap_median_counts(counts, 1.0 + np.arange(places.n_items), **options)
    value = metrics.median_rank(side.scores, ties=REFERENCE)
    chance = metrics.chance_median_rank(places.n_items)
    blind = dict.fromkeys(known, (places.n_items + 1) / 2)
    name = f"{side.prefix}MdR"
    return [*results, Result(name, value, low, high, chance, card, len(side.scores), blind, unit="rank")]


def _protocol(
    side: _Side, left_out: int, ties: str, setting: Card,
    rule: str = "any item of the same group counts", pool: float | None = None, right: str = "same group",
) -> Card:  # fmt: skip
    way = "text to video" if side.prefix == "t2v_" else "video to text"
    lost = f", {left_out} left out without a right (or wrong) item" if left_out else ""
    texts, clips = (len(side.scores), side.scores.shape[1])[:: 1 if side.prefix == "t2v_" else -1]
    return setting.but(
        f"{way}, {len(side.scores) - left_out} queries{lost}; {rule}",
        task="retrieval", pool=side.scores.shape[1] if pool is None else pool, captions=texts / clips, ties=ties,
        right=right,
        interval="queries, gallery fixed" if side.query_video is None else "videos, gallery fixed",
    )  # fmt: skip


def find_own(scores: np.ndarray, ids: Sequence, name: str, setting: Card, what: str, seed: int = 0) -> Result:
    """R@1 of N queries of which each wants the item of its own video, (N, N), ties at their expected share."""
    found, n = metrics.place(scores), len(ids)
    card = setting.but(what, task="retrieval", pool=n, captions=1, ties="expected", interval="videos")
    own = found.hit(1)
    ends = bootstrap_by_video(own, ids, seed=seed)
    return Result(name, own.mean(), *ends, 1 / n, card.but(tied=found.n_ties), n, {"constant score": 1 / n})


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
    scores = metrics.check_scores(scores)
    cases = error_kinds(relevant, query_video, clip_video, query_recipe, clip_recipe)
    share = first_places(scores)
    return {name: float(share[case].sum()) for name, case in cases.items()}


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
