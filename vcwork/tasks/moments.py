"""Moment search: from one score a second to a few stretches of video worth jumping to.

Greedy: the best second opens a moment, seconds too close to it are taken out, and so on. Scores of one query are
compared over time only, so no threshold is needed; whether the *best* moment is any good is for `evaluate` to say.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from vcwork.base.errors import VcworkError
from vcwork.measure import metrics, trivial
from vcwork.measure.card import BLANK, Card
from vcwork.measure.metrics import Intervals, check_scores, inside
from vcwork.measure.result import Result, mean_result
from vcwork.tasks.retrieval import Ranked

MIN_GAP_S = 2  # between two moments of a video
KS = (1, 5)  # of a search in a library


@dataclass(frozen=True)
class Moment:
    """A stretch of video [start_s, end_s) around its best second, with that second's score."""

    start_s: float
    end_s: float
    peak_s: float
    score: float


def best_moments(scores: np.ndarray, top: int = 5) -> list[Moment]:
    """The best moments, best first, `MIN_GAP_S` apart at least; scores (T,), one a second.

    A moment goes as far as the score stays above the middle between its peak and the video's median. peak_s is the
    middle of the best second.
    """
    scores = check_scores(scores, ndim=1)
    if top < 1:
        raise VcworkError(f"expected top of at least 1, got {top}")
    free, found = np.ones(len(scores), dtype=bool), []
    floor = float(np.median(scores))
    for peak in np.argsort(-scores, kind="stable"):
        if len(found) == top:
            break
        if not free[peak]:
            continue
        start, end = _around(scores, int(peak), free, (scores[peak] + floor) / 2)
        free[max(0, start - MIN_GAP_S) : end + MIN_GAP_S] = False
        found.append(Moment(float(start), float(end), peak + 0.5, float(scores[peak])))
    return found


def _around(scores: np.ndarray, peak: int, free: np.ndarray, half: float) -> tuple[int, int]:
    """First and last (exclusive) second of the moment, never into seconds that are taken."""
    start, end = peak, peak + 1
    while start > 0 and free[start - 1] and scores[start - 1] > half:
        start -= 1
    while end < len(scores) and free[end] and scores[end] > half:
        end += 1
    return start, end


class Case(NamedTuple):
    """One query in one video: scores (T,), the true (start_s, end_s) intervals, and the video's id."""

    scores: np.ndarray
    intervals: Intervals
    video: str


def evaluate(
    cases: Sequence[Case],
    heard: Sequence[np.ndarray] | None = None,
    *,
    setting: Card = BLANK,
    **draws: int,
) -> list[Result]:
    """Pointing accuracy (the best second lies in the truth), and tIoU of the best moment with its nearest true one.

    Chance: a random second; a window of the same length anywhere in the video. Trivial: the middle of the video; with
    heard, scores (T,) of each case by what is said (`vcwork.tasks.opponents.of_moments`), those as ours.
    Ties of the best second count by the share of them inside; the best moment is the first one's. Raises VcworkError
    where a case has no true interval.
    """
    cases = [Case(c[0], [tuple(map(float, span)) for span in c[1]], c[2]) for c in cases]
    if not cases or any(not case.intervals for case in cases):
        raise VcworkError("moments: expected at least one case, and a true interval in each")
    rows = np.array([_score(case) for case in cases])  # (N, 6)
    many = f"{len(cases)} queries, each in its own video of {np.mean([len(c.scores) for c in cases]):.0f} s on average"
    tied = sum(int((case.scores == np.max(case.scores)).sum() > 1) for case in cases)
    protocol = setting.but(many, task="moments", ties="expected", tied=tied, interval="videos")
    wide = protocol.but("best moment, as wide as the score says, of equal seconds the first", ties="")
    videos = [case.video for case in cases]
    point, point_chance, point_middle, iou, iou_chance, iou_middle = rows.T
    pointed, overlap = {"middle of the video": point_middle}, {"middle of the video": iou_middle}
    if heard is not None:
        told = [_score(case._replace(scores=own)) for case, own in zip(cases, heard, strict=True)]
        pointed["bag of words"], overlap["bag of words"] = np.array(told).T[[0, 3]]
    return [
        mean_result("pointing", point, videos, float(point_chance.mean()), protocol, beside=pointed, **draws),
        mean_result("moment_tIoU", iou, videos, float(iou_chance.mean()), wide, beside=overlap, **draws),
    ]


def _score(case: Case) -> tuple[float, ...]:
    """Pointing and tIoU, each as ours, by chance, and at the middle of the video."""
    scores, truth = check_scores(case.scores, ndim=1), np.array(case.intervals)
    n, right = len(scores), inside(case.intervals, len(scores))
    best = best_moments(scores, 1)[0]
    starts = np.arange(n - int(best.end_s - best.start_s) + 1)[:, None]  # every place the window could be
    anywhere = np.concatenate([starts, starts + (best.end_s - best.start_s)], 1)[:, None]  # (P, 1, 2)
    ious = metrics.tiou(anywhere, truth).max(1)  # (P,)
    ours = metrics.tiou([best.start_s, best.end_s], truth).max()
    pointed = right[scores == scores.max()].mean()
    return pointed, right.mean(), float(right[n // 2]), ours, ious.mean(), ious[len(ious) // 2]


def evaluate_search(
    scores: np.ndarray,
    relevant: np.ndarray,
    *,
    beside: Mapping[str, np.ndarray] | None = None,
    setting: Card = BLANK,
    **draws: int,
) -> list[Result]:
    """Search in a library of windows: library_R@k over queries; scores and relevant (bool), (Q, N windows).

    Chance knows how many windows are right for each query. The interval draws queries again, since a query belongs to
    no single video. Queries without a right window are left out and counted. beside: scores (Q, N) of further trivial
    predictors, by their name in `trivial.REGISTRY` (`vcwork.tasks.opponents.of_windows`).
    """
    trivial.registered("library search", beside or {})
    scores, relevant = metrics.check_scores(scores), metrics.flags(relevant)
    metrics.check_lengths(scores=scores, relevant=relevant)
    keep = relevant.any(1)
    if not keep.any():
        raise VcworkError(f"moments: none of {len(keep)} queries has a right window")
    places = metrics.place(scores[keep], relevant[keep])
    lost = f"; {(~keep).sum()} queries without a right window left out" if not keep.all() else ""
    many = f"{keep.sum()} queries among {places.n_items} windows, {places.n_relevant.mean():.1f} right on average{lost}"
    card = setting.but(many, task="library search", pool=places.n_items, ties="expected", interval="queries")
    others = {name: metrics.place(each[keep], relevant[keep]) for name, each in (beside or {}).items()}
    ranked = Ranked("library_", card, places, others, np.arange(keep.sum()), draws)
    return [ranked.recall(k) for k in KS if k < places.n_items]
