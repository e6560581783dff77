"""What a retrieval number depends on besides the model: gallery, duplicates, test-time tricks, clip lengths, negatives.

Each function answers one doubt about R@1: would it hold in another gallery (`pool_curve`)? did the test see more than
one query at a time (`dual_softmax`, `query_bank`, `batch_curve`)? are long clips worse (`by_length`)? are the negatives
wrong at all (`false_negatives`)? Scores are (Q, N), text i belongs to clip i. Results carry the protocol card of what
was done, tricks included. NumPy alone; `vcwork.review.geometry` looks at the vectors behind the scores, and
`vcwork.review.blind.known_hits` says how many of the queries share their text with another.
Gap: a pool drawn from this gallery is as easy as this gallery; other videos may be harder at the same size.
"""

import itertools
import math
from collections import Counter
from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np

from vcwork.base.errors import VcworkError
from vcwork.measure import metrics
from vcwork.measure.card import Card, as_card
from vcwork.measure.intervals import sum_by_video
from vcwork.measure.metrics import check_lengths, check_scores
from vcwork.measure.result import Result, mean_result, ratio_result

INTERVAL = "videos, gallery fixed"
N_BOOT = 1000
EDGES = (8, 16, 32)  # seconds; the last is the model's window


# --------------------------------------------------------------------------------------------------- gallery


def pool_curve(
    scores: np.ndarray, videos: Sequence, sizes: Sequence[int], relevant: np.ndarray, *, ties: str = "expected",
    draws: int = 30, setting: Card | str = "", seed: int = 0,
) -> list[Result]:  # fmt: skip
    """t2v_R@1 of the same scores in smaller galleries, one Result for each size n (1 < n <= N).

    relevant (N, N) bool: `draws` random sets of n pairs, texts and clips alike. Each card names the pool. Interval:
    videos drawn again.
    """
    scores = check_scores(scores)
    n_items = check_lengths(scores=scores, clips=scores.T, videos=videos)
    if any(not 1 < n <= n_items for n in sizes):
        raise VcworkError(f"pool curve: expected sizes above 1 and up to {n_items}, got {list(sizes)}")
    results = []
    for n in sizes:
        drawn = _drawn_hits(scores, np.asarray(relevant, dtype=bool), n, ties, draws, seed)
        rule = f"any clip of the same group counts; {1 if n == n_items else draws} pools of {n} drawn from {n_items}"
        parts = [sum_by_video(each, videos) for each in (drawn.hits, drawn.times)]
        options = {"trivial": {"constant score": drawn.constant}, "n_boot": N_BOOT, "seed": seed}
        results.append(ratio_result("t2v_R@1", *parts, drawn.chance, _card(setting, n, ties).but(rule), **options))
    return results


class _Drawn(NamedTuple):
    """Hits and appearances of each query (N,) over the pools drawn; mean chance, mean of a constant score."""

    hits: np.ndarray
    times: np.ndarray
    chance: float
    constant: float


def _drawn_hits(scores: np.ndarray, relevant: np.ndarray, n: int, ties: str, draws: int, seed: int) -> _Drawn:
    rng, hits, times = np.random.default_rng(seed), np.zeros(len(scores)), np.zeros(len(scores))
    chance, constant = [], []
    for _ in range(1 if n == len(scores) else draws):
        pick = rng.permutation(len(scores))[:n]
        part = relevant[np.ix_(pick, pick)] | np.eye(n, dtype=bool)
        hits[pick] += metrics.place(scores[np.ix_(pick, pick)], part).hit(1, ties)
        times[pick] += 1
        chance.append(metrics.chance_recall_at_k(n, 1, part.sum(1)))
        constant.append(metrics.place(np.zeros((n, n)), part).hit(1, ties).mean())
    return _Drawn(hits, times, float(np.mean(chance)), float(np.mean(constant)))


def _card(setting: Card | str, pool: int, ties: str) -> Card:
    card = as_card(setting)
    return card.but("text to video", task="retrieval", pool=pool, captions=1, ties=ties, interval=INTERVAL)


def _right(places: metrics.Places) -> str:
    return f"{places.n_relevant.mean():.1f} clips right for a text on average"


# ---------------------------------------------------------------------------------------------------- tricks


class Tricked(NamedTuple):
    """Scores (Q, N) after a test-time trick, its name for the card, and whether it saw other test queries."""

    scores: np.ndarray
    trick: str
    transductive: bool = False

    def card(self, setting: Card | str) -> Card:
        """The setting with this trick among its test-time tricks."""
        card = as_card(setting)
        return card.but(tricks=(*card.tricks, self.trick), transductive=card.transductive or self.transductive)


def dual_softmax(scores: np.ndarray, batch: int | None = None, seed: int = 0) -> Tricked:
    """Softmax over items times softmax over the queries that arrive together, as log scores (Q, N).

    Transductive: an item that many queries like counts less, which no single user's query could know. batch: queries
    that arrive at a time, dealt out at random; None: all. One at a time leaves the scores as they are.
    Rows only are comparable afterwards. Source: Cheng et al., CAMoE (2021); departs: products of probabilities, not of
    a raw score and a probability, so that a constant added to a row changes nothing.
    """
    scores = check_scores(scores)
    batch = len(scores) if batch is None else batch
    if batch < 1:
        raise VcworkError(f"dual softmax: expected at least one query at a time, got {batch}")
    order, out = np.random.default_rng(seed).permutation(len(scores)), np.empty(scores.shape)
    for start in range(0, len(order), batch):
        rows = scores[order[start : start + batch]]  # (b, N)
        out[order[start : start + batch]] = 2 * rows - _log_sum_exp(rows)
    told = "all at once" if batch >= len(scores) else f"{batch} at a time"
    return Tricked(out, f"dual softmax over {len(scores)} test queries, {told} (transductive)", transductive=True)


def query_bank(scores: np.ndarray, bank: np.ndarray, corpus: str, split: str = "train") -> Tricked:
    """Scores (Q, N) less each item's likeness to a bank of *training* texts (B, N): hubs are pushed down.

    Only queries whose best item is that of some bank text are changed. It needs no other test query,
    so it is not transductive, but it is a test-time trick. VcworkError for texts of another split than train.
    Source: Bogolin et al., Cross Modal Retrieval with Querybank Normalisation (CVPR 2022), dynamic inverted softmax.
    """
    scores, bank = check_scores(scores), check_scores(bank, "bank")
    if bank.shape[1] != scores.shape[1]:
        raise VcworkError(f"query bank: expected scores with the same {scores.shape[1]} items, got {bank.shape}")
    if split != "train":
        raise VcworkError(f"query bank: expected texts of the train split, got {split!r}; others see the test")
    change = np.isin(scores.argmax(1), bank.argmax(1))
    out = np.where(change[:, None], scores - _log_sum_exp(bank), scores)
    return Tricked(out, f"query bank of {len(bank)} texts of {corpus} {split}")


def batch_curve(
    scores: np.ndarray, relevant: np.ndarray, videos: Sequence, sizes: Sequence[int], *, ties: str = "expected",
    draws: int = 10, setting: Card | str = "", seed: int = 0,
) -> list[Result]:  # fmt: skip
    """t2v_R@1 under `dual_softmax` when queries arrive in batches of each size: what the trick owes to the crowd.

    relevant (Q, N) bool. Queries are dealt out `draws` times (once where all come together, or one by one). The first
    size is best 1: the plain scores.
    """
    results, options = [], {"trivial": _constant(scores, relevant, ties), "n_boot": N_BOOT, "seed": seed}
    for batch in sizes:
        times = 1 if batch in (1, len(scores)) else draws
        tricked = [dual_softmax(scores, batch, seed + d) for d in range(times)]
        places = [metrics.place(each.scores, relevant) for each in tricked]
        hits = np.mean([each.hit(1, ties) for each in places], axis=0)
        chance = metrics.chance_recall_at_k(places[0].n_items, 1, places[0].n_relevant)
        card = tricked[0].card(_card(setting, places[0].n_items, ties)).but(_right(places[0]), tied=places[0].n_ties)
        results.append(mean_result("t2v_R@1", hits, videos, chance, card, **options))
    return results


def _constant(scores: np.ndarray, relevant: np.ndarray, ties: str) -> dict[str, float]:
    blind = metrics.place(np.zeros(np.shape(scores)), relevant).hit(1, ties)
    return {"constant score": float(blind.mean())}


def _log_sum_exp(rows: np.ndarray) -> np.ndarray:
    """log of the summed exponentials down each column, (Q, N) -> (N,)."""
    best = rows.max(0)
    return best + np.log(np.exp(rows - best).sum(0))


# ------------------------------------------------------------------------------------------ lengths, negatives


def by_length(
    scores: np.ndarray, relevant: np.ndarray, seconds: Sequence[float], videos: Sequence, *,
    ties: str = "expected", setting: Card | str = "", seed: int = 0,
) -> list[Result]:  # fmt: skip
    """t2v_R@1 of the texts whose own clip has so many seconds, `EDGES` between the bins.

    The gallery stays whole. Bins with clips of fewer than two videos are left out.
    """
    check_lengths(scores=scores, seconds=seconds, videos=videos)
    places, results = metrics.place(scores, relevant), []
    hits, seconds, videos = places.hit(1, ties), np.asarray(seconds, dtype=float), np.asarray(videos)
    for low, high in itertools.pairwise([0.0, *EDGES, math.inf]):
        there = (seconds > low) & (seconds <= high)
        if len(np.unique(videos[there])) < 2:
            continue
        what = f"clips over {low:g} s" if high == math.inf else f"clips of {low:g} to {high:g} s"
        chance = metrics.chance_recall_at_k(places.n_items, 1, places.n_relevant[there])
        rule = f"{what} only, {there.sum()} of {len(there)} queries; {_right(places)}"
        card, known = _card(setting, places.n_items, ties).but(rule), _constant(scores[there], relevant[there], ties)
        options = {"trivial": known, "n_boot": N_BOOT, "seed": seed}
        results.append(mean_result(f"t2v_R@1 {what}", hits[there], videos[there], chance, card, **options))
    return results


class FalseNegatives(NamedTuple):
    """Of all pairs that training or a metric takes for negatives: how many, the share that is none, and who meets one.

    negatives: pairs of different items; share: those of one group; affected: items with at least one such partner.
    """

    negatives: int
    share: float
    affected: float


def false_negatives(batches: Sequence[Sequence[Hashable]]) -> FalseNegatives:
    """Negatives that are not wrong: pairs of one batch that share a group; batches of group labels, one for each item.

    A gallery is one batch. Closed form: the sum of c (c - 1) over the groups of c items.
    """
    sizes = [Counter(batch) for batch in batches]
    negatives = sum(groups.total() * (groups.total() - 1) for groups in sizes)
    if not negatives:
        raise VcworkError(f"false negatives: expected a batch of at least two items, got {[len(b) for b in batches]}")
    kin = sum(c * (c - 1) for groups in sizes for c in groups.values())
    affected = sum(c for groups in sizes for c in groups.values() if c > 1)
    return FalseNegatives(negatives, kin / negatives, affected / sum(map(Counter.total, sizes)))
