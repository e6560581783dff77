"""Moment retrieval by predicted spans, as QVHighlights and Charades-STA measure it: a sentence, and its own video.

`evaluate_boundaries` is HiREST's moment segmentation: where do the steps of a moment begin and end, whatever they are?

R1@0.5 and R1@0.7: is the best span's IoU with its nearest true one at least that? mIoU: its mean; mAP: average
precision at IoU 0.5 to 0.95, mean over the ten and over sentences. Annotators choose some places more than others:
`frequent place` says what a rule earns that knows where the moments of *other* videos lie.
Gap: without a video's length the end of its last annotated moment stands for it.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from vcwork.base.errors import VcworkError
from vcwork.measure import metrics
from vcwork.measure.card import BLANK, Card
from vcwork.measure.result import Result, mean_result

LEVELS = np.arange(0.5, 0.96, 0.05)
_EDGES = np.linspace(0, 1, 11)
PLACES = np.array([(a, b) for i, a in enumerate(_EDGES) for b in _EDGES[i + 1 :]])  # (55, 2) shares of a video


class Case(NamedTuple):
    """One sentence: predicted spans (P, 2) in seconds, best first; the true ones (M, 2); its video and its length."""

    spans: np.ndarray
    truth: np.ndarray
    video: str
    duration_s: float


def evaluate(cases: Sequence[Case], *, setting: Card = BLANK, **draws: int) -> list[Result]:
    """R1@0.5, R1@0.7, mIoU and mAP over sentences, videos drawn again.

    Chance: the spans predicted for another sentence, stretched to this video. Trivial: the whole video; the place that
    was right most often in other videos. VcworkError: a sentence without a span or a truth, a span that ends first, or
    fewer than two sentences.
    """
    if len(cases) < 2:
        raise VcworkError(
            f"spans: expected two sentences or more, whose spans are each other's chance, got {len(cases)}"
        )
    for case in cases:
        if not len(case.spans) or not len(case.truth) or not case.duration_s > 0:
            raise VcworkError(
                f"spans: video {case.video}: expected a predicted and a true span and a length in seconds"
            )
    known = {"whole video": [_at(case, 0, 1) for case in cases], "frequent place": _frequent(cases)}
    rule = f"{len(cases)} sentences, each in its own video; chance: the spans of another sentence, stretched"
    card = setting.but(rule, task="spans", interval="videos")
    return _results(("R1@0.5", "R1@0.7", "mIoU", "mAP"), scored, cases, _of_another, known, card, draws)


def _results(
    names: Sequence[str], scored: Callable[[Sequence[Case]], np.ndarray], cases: Sequence[Case],
    of_another: Callable[[Sequence[Case], int], list[Case]], known: dict[str, list[Case]], card: Card,
    draws: dict[str, int],
) -> list[Result]:  # fmt: skip
    """Means of what `scored` gives (N, names); chance: what is said of up to five others; known: opponents' answers."""
    others = [of_another(cases, shift) for shift in range(1, min(6, len(cases)))]
    mine, chance = scored(cases), np.mean([scored(each).mean(0) for each in others], axis=0)
    beside, videos = {name: scored(each) for name, each in known.items()}, [case.video for case in cases]
    return [
        mean_result(name, mine[:, i], videos, float(chance[i]), card, beside={k: v[:, i] for k, v in beside.items()},
                    **draws)
        for i, name in enumerate(names)
    ]  # fmt: skip


def scored(cases: Sequence[Case]) -> np.ndarray:
    """(N, 4): R1@0.5, R1@0.7, IoU of the first span, and mean average precision of each sentence."""
    rows = []
    for case in cases:
        ious = metrics.tiou(case.spans[:, None], case.truth[None])  # (P, M)
        best = float(ious[0].max())
        rows.append((best >= 0.5, best >= 0.7, best, np.mean([_precision(ious, level) for level in LEVELS])))
    return np.array(rows, dtype=float)


def _precision(ious: np.ndarray, level: float) -> float:
    """Average precision of spans in order, (P, M): each true one is found once, by the first span that reaches it.

    Precision at a recall is the best at that recall or a later one, as in object detection.
    """
    free, hits = np.ones(ious.shape[1], bool), []
    for row in ious:
        best = int(np.where(free, row, -1).argmax())
        found = bool(free[best] and row[best] >= level - 1e-9)
        free[best] &= not found
        hits.append(found)
    counted = np.cumsum(hits)
    precision = np.maximum.accumulate((counted / np.arange(1, len(hits) + 1))[::-1])[::-1]
    return float(precision[np.array(hits)].sum() / ious.shape[1])


def evaluate_boundaries(cases: Sequence[Case], *, setting: Card = BLANK, **draws: int) -> list[Result]:
    """Recall and precision of steps at IoU above 0.5 and 0.7, mean over videos; a case is a video, its truth the steps.

    A true step is found where some predicted one overlaps it by more; a predicted one is right likewise. Chance: the
    steps predicted for another video, fitted into this one's moment. Trivial: equal parts of the moment, as many as
    other videos have steps. VcworkError: a video without a predicted or a true step, or fewer than two videos.
    """
    if len(cases) < 2 or any(not len(case.spans) or not len(case.truth) for case in cases):
        raise VcworkError("boundaries: expected two videos or more, with predicted and true steps each")
    rule = f"steps of {len(cases)} moments, IoU above the level; chance: the steps of another moment, stretched"
    card, parts = setting.but(rule, task="boundaries", interval="videos"), {"equal parts": _equal_parts(cases)}
    names = ("recall@0.5", "precision@0.5", "recall@0.7", "precision@0.7")
    return _results(names, scored_boundaries, cases, _of_another_moment, parts, card, draws)


def scored_boundaries(cases: Sequence[Case]) -> np.ndarray:
    """(V, 4): recall and precision of each video at 0.5, and at 0.7."""
    rows = []
    for case in cases:
        ious = metrics.tiou(case.spans[:, None], case.truth[None])  # (P, M)
        rows.append([hits.any(axis).mean() for hits in (ious > 0.5, ious > 0.7) for axis in (0, 1)])
    return np.array(rows)


def _moment(case: Case) -> np.ndarray:
    return np.array([case.truth.min(), case.truth.max()])


def _of_another_moment(cases: Sequence[Case], shift: int) -> list[Case]:
    """Each moment with the steps predicted for the one `shift` places on, stretched from that one's ends to its own."""
    turned = [*cases[shift:], *cases[:shift]]
    pairs = ((a, b, _moment(a), _moment(b)) for a, b in zip(cases, turned, strict=True))
    return [a._replace(spans=np.interp(b.spans, there, here)) for a, b, here, there in pairs]


def _equal_parts(cases: Sequence[Case]) -> list[Case]:
    total = sum(len(case.truth) for case in cases)
    out = []
    for case in cases:
        n = max(1, round((total - len(case.truth)) / (len(cases) - 1)))
        edges = np.linspace(*_moment(case), n + 1)
        out.append(case._replace(spans=np.stack([edges[:-1], edges[1:]], 1)))
    return out


def _at(case: Case, start: float, end: float) -> Case:
    """The same sentence answered by one share of its video."""
    return case._replace(spans=np.array([[start, end]]) * case.duration_s)


def _of_another(cases: Sequence[Case], shift: int) -> list[Case]:
    """Each sentence with the spans of the one `shift` places on."""
    turned = [*cases[shift:], *cases[:shift]]
    return [a._replace(spans=b.spans * (a.duration_s / b.duration_s)) for a, b in zip(cases, turned, strict=True)]


def _frequent(cases: Sequence[Case]) -> list[Case]:
    """Each sentence answered by the place of `PLACES` that reaches IoU 0.5 most often in the other videos."""
    ious = np.array([metrics.tiou(PLACES[:, None], case.truth[None] / case.duration_s).max(1) for case in cases])
    hits = ious >= 0.5  # (N, 55)
    videos = np.array([case.video for case in cases])
    own = {video: hits[videos == video].sum(0) for video in dict.fromkeys(videos)}
    best = {video: PLACES[(hits.sum(0) - mine).argmax()] for video, mine in own.items()}
    return [_at(case, *best[case.video]) for case in cases]
