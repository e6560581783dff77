"""Text-video retrieval, both directions: find the clip for a sentence, the sentence for a clip.

Two texts of the same step are both right, so the main numbers are group-positive: any item of the same group counts.
`instance_R@1` wants the very pair; `within_video_R@1` ranks only items of the query's own video and tells whether the
model knows *steps* or merely *videos*. `errors` says what the first answer got wrong.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vcwork import metrics, trivial
from vcwork.audit import Result, bootstrap_median
from vcwork.errors import VcworkError
from vcwork.protocol import Card, as_card
from vcwork.tasks.common import check_lengths, mean_result


@dataclass(frozen=True)
class _Side:
    """One direction: scores (Q, N), relevant (Q, N), own (Q,) item index or None, videos of queries and items."""

    prefix: str
    scores: np.ndarray
    relevant: np.ndarray
    own: np.ndarray | None
    query_video: np.ndarray | None
    item_video: np.ndarray | None


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
    setting: Card | str = "",
    n_boot: int = 1000,
    seed: int = 0,
) -> list[Result]:
    """R@k, median rank, instance R@1 and within-video R@1, `t2v_` and `v2t_`; scores (Q texts, N clips).

    query_group, clip_group: what a text or clip shows (step ids). Texts given with query_video (Q,) are paired: text i
    describes clip i (Q = N). Without it they belong to no video, and only the group metrics are given.
    Queries whose group is not in the gallery are left out; the protocol counts them.
    """
    scores = metrics.check_scores(scores)
    check_lengths(scores=scores, query_group=query_group)
    check_lengths(clips=scores.T, clip_group=clip_group, clip_video=clip_video)
    relevant = np.asarray(query_group)[:, None] == np.asarray(clip_group)  # (Q, N)
    clip_video, own = np.asarray(clip_video), None
    if query_video is not None:
        check_lengths(texts=scores, clips=scores.T, query_video=query_video)
        query_video, own = np.asarray(query_video), np.arange(len(scores))
    sides = (
        _Side("t2v_", scores, relevant, own, query_video, clip_video),
        _Side("v2t_", scores.T, relevant.T, own, clip_video, query_video),
    )
    options = {"n_boot": n_boot, "seed": seed}
    results = [r for side in sides for r in _direction(side, ks, ties, as_card(setting), options)]
    if clip_recipe is not None and query_video is not None:
        recipe = clip_recipe if query_recipe is None else query_recipe
        results[0].extra["errors"] = errors(scores, relevant, query_video, clip_video, recipe, clip_recipe)
    return results


def _direction(side: _Side, ks: tuple[int, ...], ties: str, setting: Card, options: dict) -> list[Result]:
    keep = side.relevant.any(1)
    if not keep.any():
        raise VcworkError(f"{side.prefix}: no query shares a group with any of {side.scores.shape[1]} items")
    scores, relevant = side.scores[keep], side.relevant[keep]
    videos = np.arange(len(scores)) if side.query_video is None else side.query_video[keep]
    protocol = _protocol(side, int((~keep).sum()), ties, setting)
    places = metrics.place(scores, relevant)
    results = [_at_k(side.prefix, places, videos, k, ties, protocol, options) for k in ks if k < scores.shape[1]]
    results.append(_median_rank(side.prefix, places, videos, ties, protocol, options))
    if side.own is not None:
        results.append(_instance(side, ties, setting, options))
        results += _within_video(side, ties, setting, options)
    return results


def _at_k(prefix: str, places: metrics.Places, videos, k: int, ties: str, protocol: Card, options: dict) -> Result:
    chance = metrics.chance_recall_at_k(places.n_items, k, places.n_relevant)
    hits, extra = places.hit(k, ties), {"tied_queries": places.n_ties}
    known = {"constant score": float(_collapsed(places).hit(k, ties).mean())}
    return mean_result(f"{prefix}R@{k}", hits, videos, chance, protocol, trivial=known, extra=extra, **options)


def _median_rank(prefix: str, places: metrics.Places, videos, ties: str, protocol: Card, options: dict) -> Result:
    ranks, chance = places.rank(ties), metrics.chance_median_rank(places.n_items, places.n_relevant)
    low, high = bootstrap_median(ranks, videos, **options)
    known = {"constant score": float(np.median(_collapsed(places).rank(ties)))}
    value, extra = float(np.median(ranks)), {"tied_queries": places.n_ties, "mean_rank": float(ranks.mean())}
    return Result(f"{prefix}MdR", value, low, high, chance, protocol, len(ranks), known, extra=extra, unit="rank")


def _collapsed(places: metrics.Places) -> metrics.Places:
    """The places a constant score would give: every item tied with the relevant ones."""
    full = np.full(len(places.above), places.n_items)
    return metrics.Places(np.zeros_like(full), full, places.n_relevant, places.n_items, places.n_relevant)


def _instance(side: _Side, ties: str, setting: Card, options: dict) -> Result:
    relevant = side.own[:, None] == np.arange(side.scores.shape[1])
    hits = metrics.place(side.scores, relevant).hit(1, ties)
    protocol = _protocol(side, 0, ties, setting, "only its own pair counts")
    chance = 1 / side.scores.shape[1]
    known = {"constant score": metrics.recall_at_k(trivial.constant(*side.scores.shape), 1, relevant, ties)}
    name = f"{side.prefix}instance_R@1"
    return mean_result(name, hits, side.query_video, chance, protocol, trivial=known, **options)


def _within_video(side: _Side, ties: str, setting: Card, options: dict) -> list[Result]:
    """R@1 among the items of the query's own video; queries whose video holds nothing wrong to pick are left out."""
    same = side.query_video[:, None] == side.item_video  # (Q, N)
    right = side.relevant & same
    keep = right.any(1) & (right.sum(1) < same.sum(1))
    if not keep.any() or len(np.unique(side.query_video[keep])) < 2:
        return []
    pool = np.where(same, side.scores, -np.inf)[keep]
    hits = metrics.place(pool, right[keep]).hit(1, ties)
    chance = float((right.sum(1) / same.sum(1))[keep].mean())
    rule = "pool: the items of the query's own video, same group counts"
    protocol = _protocol(side, int((~keep).sum()), ties, setting, rule, float(same.sum(1)[keep].mean()))
    name = f"{side.prefix}within_video_R@1"
    return [mean_result(name, hits, side.query_video[keep], chance, protocol, **options)]


def _protocol(
    side: _Side, left_out: int, ties: str, setting: Card,
    rule: str = "any item of the same group counts", pool: float | None = None,
) -> Card:  # fmt: skip
    way = "text to video" if side.prefix == "t2v_" else "video to text"
    lost = f", {left_out} left out without a right (or wrong) item" if left_out else ""
    texts, clips = (len(side.scores), side.scores.shape[1])[:: 1 if side.prefix == "t2v_" else -1]
    return setting.but(
        f"{way}, {len(side.scores) - left_out} queries{lost}; {rule}",
        task="retrieval", pool=side.scores.shape[1] if pool is None else pool, captions=texts / clips, ties=ties,
        interval="queries, gallery fixed" if side.query_video is None else "videos, gallery fixed",
    )  # fmt: skip


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
    top = scores == scores.max(1, keepdims=True)
    share = top / top.sum(1, keepdims=True)  # (Q, N)
    video = np.asarray(query_video)[:, None] == np.asarray(clip_video)
    recipe = np.asarray(query_recipe)[:, None] == np.asarray(clip_recipe)
    cases = {
        "right": relevant,
        "right video, wrong clip": ~relevant & video,
        "right recipe, wrong video": ~relevant & ~video & recipe,
        "wrong recipe": ~relevant & ~video & ~recipe,
    }
    return {name: float(share[case].sum()) for name, case in cases.items()}
