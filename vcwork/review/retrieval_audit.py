"""What a retrieval number depends on besides the model: gallery, duplicates, test-time tricks, clip lengths, negatives.

Each function answers one doubt about R@k: would it hold in another gallery (`pool_curve`)? could anyone reach 100 %
(`duplicate_ceiling`)? did the test see more than one query at a time (`dual_softmax`, `query_bank`, `batch_curve`)? are
long clips worse (`by_length`)? are the negatives wrong at all (`false_negatives`)? Scores are (Q, N), text i belongs to
clip i. Results carry the protocol card of what was done, tricks included. NumPy alone; `vcwork.review.geometry` looks
at the vectors behind the scores.
Gap: a pool drawn from this gallery is as easy as this gallery; other videos may be harder at the same size.
"""

import itertools
import math
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from vcwork.base.errors import VcworkError
from vcwork.measure import metrics
from vcwork.measure.card import Card, as_card
from vcwork.measure.intervals import sum_by_video
from vcwork.measure.metrics import check_scores
from vcwork.measure.result import Result
from vcwork.measure.trivial import log_choose
from vcwork.tasks.common import check_lengths, mean_result, ratio_result

INTERVAL = "videos, gallery fixed"


# --------------------------------------------------------------------------------------------------- gallery


def pool_curve(
    scores: np.ndarray,
    videos: Sequence,
    sizes: Sequence[int],
    relevant: np.ndarray | None = None,
    *,
    k: int = 1,
    ties: str = "expected",
    draws: int = 30,
    setting: Card | str = "",
    n_boot: int = 1000,
    seed: int = 0,
) -> list[Result]:
    """t2v_R@k of the same scores in smaller galleries, one Result for each size n (k < n <= N).

    relevant None: only the own pair counts, and the mean over all galleries of n that hold it is exact: the items above
    are drawn hypergeometrically, so the curve never rises with n, and a constant score gives k / n. Else (N, N) bool,
    `draws` random sets of n pairs, texts and clips alike. Each card names the pool. Interval: videos drawn again.
    """
    scores = check_scores(scores)
    n_items = check_lengths(scores=scores, clips=scores.T, videos=videos)
    if any(not k < n <= n_items for n in sizes):
        raise VcworkError(f"pool curve: expected sizes above {k} and up to {n_items}, got {list(sizes)}")
    options, results = {"n_boot": n_boot, "seed": seed}, []
    places = metrics.place(scores) if relevant is None else None
    for n in sizes:
        card = _card(setting, n, ties)
        if places is not None:
            hits, blind = pool_hits(places, n, k, ties), pool_hits(_constant(n_items), n, k, ties)
            card = card.but(f"only the own pair counts; mean over all pools of {n} from {n_items}", tied=places.n_ties)
            known = {"constant score": float(blind.mean())}
            results.append(mean_result(f"t2v_R@{k}", hits, videos, k / n, card, trivial=known, **options))
        else:
            drawn = _drawn_hits(scores, np.asarray(relevant, dtype=bool), n, k, ties, draws, seed)
            rule = (
                f"any clip of the same group counts; {1 if n == n_items else draws} pools of {n} drawn from {n_items}"
            )
            parts = [sum_by_video(each, videos) for each in (drawn.hits, drawn.times)]
            known, name = {"constant score": drawn.constant}, f"t2v_R@{k}"
            results.append(ratio_result(name, *parts, drawn.chance, card.but(rule), trivial=known, **options))
    return results


def pool_hits(places: metrics.Places, n: int, k: int = 1, ties: str = "expected") -> np.ndarray:
    """Chance of each query (Q,) to have its one right item among the first k of a random pool of n that holds it."""
    above, tied, rest = places.above, places.tied, places.n_items - 1
    a, j = np.arange(places.n_items)[:, None], np.arange(min(k, n))  # items above, those of them in the pool
    ways = log_choose(a, j) + log_choose(rest - a, n - 1 - j) - log_choose(rest, n - 1)
    each = np.minimum(1.0, np.exp(ways).sum(1))  # (N,) by how many items are above
    if ties == "expected":  # every place among its equals is as likely
        total = np.append(0, each.cumsum())
        return (total[above + tied] - total[above]) / tied
    metrics.check_ties(ties)
    return each[above if ties == "optimistic" else above + tied - 1]


def _constant(n: int) -> metrics.Places:
    one = np.ones(1, dtype=int)
    return metrics.Places(0 * one, n * one, one, n, one)


class _Drawn(NamedTuple):
    """Hits and appearances of each query (N,) over the pools drawn; mean chance, mean of a constant score."""

    hits: np.ndarray
    times: np.ndarray
    chance: float
    constant: float


def _drawn_hits(scores: np.ndarray, relevant: np.ndarray, n: int, k: int, ties: str, draws: int, seed: int) -> _Drawn:
    rng, hits, times = np.random.default_rng(seed), np.zeros(len(scores)), np.zeros(len(scores))
    chance, constant = [], []
    for _ in range(1 if n == len(scores) else draws):
        pick = rng.permutation(len(scores))[:n]
        part = relevant[np.ix_(pick, pick)] | np.eye(n, dtype=bool)
        hits[pick] += metrics.place(scores[np.ix_(pick, pick)], part).hit(k, ties)
        times[pick] += 1
        chance.append(metrics.chance_recall_at_k(n, k, part.sum(1)))
        constant.append(metrics.place(np.zeros((n, n)), part).hit(k, ties).mean())
    return _Drawn(hits, times, float(np.mean(chance)), float(np.mean(constant)))


def duplicate_ceiling(labels: Sequence[Hashable], k: int = 1) -> float:
    """The best R@k that anyone can reach where the own pair alone counts and some queries (Q,) are the same text.

    Equal texts rank all clips alike, so of g of them only k find their own: the sum of min(g, k) over the groups / Q.
    """
    if k < 1 or not len(labels):
        raise VcworkError(f"duplicate ceiling: expected some labels and k of at least 1, got {len(labels)} and {k}")
    return sum(min(g, k) for g in Counter(labels).values()) / len(labels)


def _card(setting: Card | str, pool: int, ties: str) -> Card:
    card = as_card(setting)
    return card.but("text to video", task="retrieval", pool=pool, captions=1, ties=ties, interval=INTERVAL)


def _right(places: metrics.Places) -> str:
    return f"{places.n_relevant.mean():.1f} clips right for a text on average"


# ---------------------------------------------------------------------------------------------------- tricks


class Tricked(NamedTuple):
    """Scores (Q, N) after a test-time trick, and its name for the card."""

    scores: np.ndarray
    trick: str

    def card(self, setting: Card | str) -> Card:
        """The setting with this trick among its test-time tricks."""
        card = as_card(setting)
        return card.but(tricks=(*card.tricks, self.trick))


def dual_softmax(scores: np.ndarray, batch: int | None = None, temperature: float = 1.0, seed: int = 0) -> Tricked:
    """Softmax over items times softmax over the queries that arrive together, as log scores (Q, N).

    Transductive: an item that many queries like counts less, which no single user's query could know. batch: queries
    that arrive at a time, dealt out at random; None: all. One at a time leaves the scores as they are (/ temperature).
    Rows only are comparable afterwards. Source: Cheng et al., CAMoE (2021); departs: products of probabilities, not of
    a raw score and a probability, so that a constant added to a row changes nothing.
    """
    scores = check_scores(scores) / temperature
    batch = len(scores) if batch is None else batch
    if batch < 1:
        raise VcworkError(f"dual softmax: expected at least one query at a time, got {batch}")
    order, out = np.random.default_rng(seed).permutation(len(scores)), np.empty(scores.shape)
    for start in range(0, len(order), batch):
        rows = scores[order[start : start + batch]]  # (b, N)
        out[order[start : start + batch]] = 2 * rows - _log_sum_exp(rows)
    told = "all at once" if batch >= len(scores) else f"{batch} at a time"
    return Tricked(out, f"dual softmax over {len(scores)} test queries, {told} (transductive)")


def query_bank(
    scores: np.ndarray, bank: np.ndarray, bank_split: str, temperature: float = 1.0, top: int = 1
) -> Tricked:
    """Scores (Q, N) less each item's likeness to a bank of *training* texts (B, N): hubs are pushed down.

    Only queries whose best item is among the `top` items of some bank text are changed. It needs no other test query,
    so it is not transductive, but it is a test-time trick. VcworkError unless bank_split names a train split.
    Source: Bogolin et al., Cross Modal Retrieval with Querybank Normalisation (CVPR 2022), dynamic inverted softmax.
    """
    scores, bank = check_scores(scores) / temperature, check_scores(bank, "bank") / temperature
    if bank.shape[1] != scores.shape[1]:
        raise VcworkError(f"query bank: expected scores with the same {scores.shape[1]} items, got {bank.shape}")
    if "train" not in bank_split.lower().split():
        raise VcworkError(f"query bank: expected texts of a train split, got {bank_split!r}; others see the test")
    active = np.unique(np.argsort(-bank, axis=1, kind="stable")[:, :top])
    change = np.isin(scores.argmax(1), active)
    out = np.where(change[:, None], scores - _log_sum_exp(bank), scores)
    return Tricked(out, f"query bank of {len(bank)} texts of {bank_split}")


def batch_curve(
    scores: np.ndarray,
    relevant: np.ndarray,
    videos: Sequence,
    sizes: Sequence[int],
    *,
    k: int = 1,
    temperature: float = 1.0,
    ties: str = "expected",
    draws: int = 10,
    setting: Card | str = "",
    n_boot: int = 1000,
    seed: int = 0,
) -> list[Result]:
    """t2v_R@k under `dual_softmax` when queries arrive in batches of each size: what the trick owes to the crowd.

    relevant (Q, N) bool. Queries are dealt out `draws` times (once where all come together, or one by one). The first
    size is best 1: the plain scores.
    """
    results = []
    for batch in sizes:
        times = 1 if batch in (1, len(scores)) else draws
        tricked = [dual_softmax(scores, batch, temperature, seed + d) for d in range(times)]
        places = [metrics.place(each.scores, relevant) for each in tricked]
        hits = np.mean([each.hit(k, ties) for each in places], axis=0)
        chance = metrics.chance_recall_at_k(places[0].n_items, k, places[0].n_relevant)
        blind = metrics.place(np.zeros(np.shape(scores)), relevant).hit(k, ties)
        card = tricked[0].card(_card(setting, places[0].n_items, ties)).but(_right(places[0]), tied=places[0].n_ties)
        known, options = {"constant score": float(blind.mean())}, {"n_boot": n_boot, "seed": seed}
        results.append(mean_result(f"t2v_R@{k}", hits, videos, chance, card, trivial=known, **options))
    return results


def _log_sum_exp(rows: np.ndarray) -> np.ndarray:
    """log of the summed exponentials down each column, (Q, N) -> (N,)."""
    best = rows.max(0)
    return best + np.log(np.exp(rows - best).sum(0))


# ------------------------------------------------------------------------------------------ lengths, negatives


def by_length(
    scores: np.ndarray,
    relevant: np.ndarray,
    seconds: Sequence[float],
    videos: Sequence,
    edges: Sequence[float] = (8, 16, 32),
    *,
    k: int = 1,
    ties: str = "expected",
    setting: Card | str = "",
    n_boot: int = 1000,
    seed: int = 0,
) -> list[Result]:
    """t2v_R@k of the texts whose own clip has so many seconds, `edges` (last: the model's window) between the bins.

    The gallery stays whole. Bins with clips of fewer than two videos are left out.
    """
    scores = check_scores(scores)
    check_lengths(scores=scores, seconds=seconds, videos=videos)
    places = metrics.place(scores, relevant)
    hits, seconds, videos = places.hit(k, ties), np.asarray(seconds, dtype=float), np.asarray(videos)
    blind = metrics.place(np.zeros(scores.shape), relevant).hit(k, ties)
    ends, results = [0.0, *edges, math.inf], []
    for low, high in itertools.pairwise(ends):
        there = (seconds > low) & (seconds <= high)
        if len(np.unique(videos[there])) < 2:
            continue
        what = f"clips over {low:g} s" if high == math.inf else f"clips of {low:g} to {high:g} s"
        chance = metrics.chance_recall_at_k(places.n_items, k, places.n_relevant[there])
        rule = f"{what} only, {there.sum()} of {len(there)} queries; {_right(places)}"
        card = _card(setting, places.n_items, ties).but(rule)
        known = {"constant score": float(blind[there].mean())}
        options = {"trivial": known, "n_boot": n_boot, "seed": seed}
        results.append(mean_result(f"t2v_R@{k} {what}", hits[there], videos[there], chance, card, **options))
    return results


@dataclass(frozen=True)
class FalseNegatives:
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
    items = sum(sum(groups.values()) for groups in sizes)
    negatives = sum(n * (n - 1) for n in (sum(groups.values()) for groups in sizes))
    if not negatives:
        raise VcworkError(f"false negatives: expected a batch of at least two items, got {[len(b) for b in batches]}")
    kin = sum(c * (c - 1) for groups in sizes for c in groups.values())
    affected = sum(c for groups in sizes for c in groups.values() if c > 1)
    return FalseNegatives(negatives, kin / negatives, affected / items)
