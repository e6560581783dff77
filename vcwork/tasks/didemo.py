"""DiDeMo, which is two tasks under one name. Their numbers never share a column.

*Moment localization* (`evaluate_moments`): one sentence, its own video of 30 s, 21 candidate moments made of six chunks
of 5 s; are the annotators' moments near the top? This is what VideoCLIP's code measures (its "R@1" is rank@1).
*Paragraph retrieval* (`evaluate_paragraphs`): all sentences of a video as one text, find the video among all others.
This is what ClipBERT, FSE and CE report. Moments are ranked by the rule of LocalizingMoments (Hendricks et al., ICCV
2017): of several annotators the 3 best IoUs and the 3 smallest ranks are averaged.
Ties: `expected` (default) is the mean over all orders of tied moments, in closed form; `reference` ranks tied moments
as `SEGMENTS` lists them, as a stable sort does: there a model that gives every moment one score gets 19 %.
"""

import dataclasses
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from vcwork.base.errors import VcworkError
from vcwork.measure.card import BLANK, Card
from vcwork.measure.metrics import check_lengths
from vcwork.measure.result import Result, mean_result
from vcwork.tasks import retrieval

N_CHUNKS, CHUNK_S = 6, 5
_LONGER = tuple((i, j) for i in range(N_CHUNKS) for j in range(i + 1, N_CHUNKS))
SEGMENTS = tuple((i, i) for i in range(N_CHUNKS)) + _LONGER
"""The 21 candidate moments as (first chunk, last chunk), both included, in the benchmark's order."""
TIES = ("expected", "reference")
BEST_OF = 3  # annotators that count

_INDEX = {segment: i for i, segment in enumerate(SEGMENTS)}
_FIRST, _LAST = np.array(SEGMENTS).T  # (21,) each


class Case(NamedTuple):
    """One sentence: scores (21,) of its video's moments (-inf: not a candidate), each annotator's moment, the video."""

    scores: np.ndarray
    times: Sequence[tuple[int, int]]
    video: str


class Scored(NamedTuple):
    """What one or many sentences earn, each in [0, 1]: annotators ranked first, among five, and IoU of the top one."""

    rank1: np.ndarray
    rank5: np.ndarray
    iou: np.ndarray


# ---------------------------------------------------------------------------------------------------- moments


def chunk_iou(a: tuple[int, int], b: tuple[int, int]) -> float:
    """IoU of two moments given as chunks, both ends included: (0, 1) and (1, 2) share 1 of 3."""
    both = min(a[1], b[1]) - max(a[0], b[0]) + 1
    return max(both, 0) / (max(a[1], b[1]) - min(a[0], b[0]) + 1) if both > 0 else 0.0


def candidates(n_seconds: int) -> np.ndarray:
    """Moments that hold at least one of a video's seconds, (21,) bool; the reference code leaves the others out."""
    return n_seconds > _FIRST * CHUNK_S


def moment_vectors(states: np.ndarray, n_seconds: int | None = None, reference: bool = False) -> np.ndarray:
    """Mean state of each moment, (T, D) -> (21, D); NaN rows where `candidates` is False.

    n_seconds: how many of the T states belong to the video (None: all). reference=True averages the states of padding
    too, as the reference code does; then T must be 30 at least. Raises VcworkError on a wrong shape.
    """
    states = np.asarray(states, dtype=float)
    n_seconds = len(states) if n_seconds is None else n_seconds
    need = N_CHUNKS * CHUNK_S if reference else n_seconds
    if states.ndim != 2 or n_seconds < 1 or len(states) < need:
        raise VcworkError(f"moments: expected states ({max(need, 1)} or more, D), got {states.shape}")
    states = states if reference else states[:n_seconds]
    out = np.full((len(SEGMENTS), states.shape[1]), np.nan)
    for i in np.flatnonzero(candidates(n_seconds)):
        out[i] = states[_FIRST[i] * CHUNK_S : (_LAST[i] + 1) * CHUNK_S].mean(0)
    return out


def moment_scores(vectors: np.ndarray, text: np.ndarray) -> np.ndarray:
    """Dot products of moments (21, D) with one text (D,) -> (21,), -inf where there is no moment."""
    scores = np.asarray(vectors) @ np.asarray(text)
    return np.where(np.isnan(scores), -np.inf, scores)


def fit_moment_frequency(times: Sequence[Sequence[tuple[int, int]]]) -> np.ndarray:
    """How often annotators of these (train or validation) sentences chose each moment, (21,): a score that never
    looks at a video or a sentence."""
    found = [segment for i, each in enumerate(times) for segment in _segments(each, i)]
    if not found:
        raise VcworkError("moment frequency: no annotation to count")
    return np.bincount(found, minlength=len(SEGMENTS)).astype(float)


def score(cases: Sequence[Case], ties: str = "expected") -> Scored:
    """rank1, rank5 and IoU of each sentence, (N,) each.

    rank1: the mean of the 3 smallest ranks among its annotators is 1; rank5: at most 5; under expected ties both are
    chances. Annotators whose moment is no candidate are skipped. Raises VcworkError naming the sentence that is wrong.
    """
    if ties not in TIES:
        raise VcworkError(f"expected ties to be one of {', '.join(TIES)}, got {ties!r}")
    rows = [_score_one(Case(*case), i, ties) for i, case in enumerate(cases)]
    if not rows:
        raise VcworkError("moments: no sentences to score")
    return Scored(*(np.array(column) for column in zip(*rows, strict=True)))


def _score_one(case: Case, i: int, ties: str) -> tuple[float, float, float]:
    scores = np.asarray(case.scores, dtype=float)
    if scores.shape != (len(SEGMENTS),) or np.isnan(scores).any() or np.isposinf(scores).any():
        raise VcworkError(f"sentence {i}: expected scores ({len(SEGMENTS)},), no NaN or +inf, got {scores.shape}")
    given, there = _segments(case.times, i), np.isfinite(scores)
    named = np.bincount(given, minlength=len(SEGMENTS)) * there  # (21,) annotators that chose each candidate
    if not named.any():
        raise VcworkError(f"sentence {i}: none of its annotated moments {list(case.times)} is a candidate")
    groups = _groups(scores, named, ties)
    need = min(BEST_OF, int(named.sum()))
    top = np.flatnonzero(scores == scores.max())
    top = top if ties == "expected" else top[:1]
    rank1, rank5 = (_reach(groups, 1, need, k * need) for k in (1, 5))
    return rank1, rank5, float(np.mean([_best_iou(int(t), tuple(given)) for t in top]))


def _segments(times: Sequence[tuple[int, int]], i: int) -> list[int]:
    """Index of each annotator's moment."""
    try:
        return [_INDEX[int(a), int(b)] for a, b in times]
    except (KeyError, TypeError, ValueError):
        raise VcworkError(f"sentence {i}: expected (first, last) chunks of 0..5, got {list(times)}") from None


def _groups(scores: np.ndarray, named: np.ndarray, ties: str) -> tuple:
    """Moments from best to worst as ((how many share a score, annotators of each named one), ...)."""
    order = np.argsort(-scores, kind="stable")
    order = order[np.isfinite(scores[order])]
    new = np.ones(len(order), dtype=bool)
    if ties == "expected":
        new[1:] = scores[order][1:] != scores[order][:-1]
    parts = np.split(named[order], np.flatnonzero(new)[1:])
    return tuple((len(part), tuple(sorted(int(c) for c in part[part > 0]))) for part in parts)


@lru_cache(maxsize=200_000)
def _reach(groups: tuple, rank: int, need: int, left: int) -> float:
    """Chance that the `need` smallest of the annotators' ranks, from `rank` on, sum to `left` at most.

    The moments of a group come in random order: the next one is any of them with the same chance.
    """
    if need == 0:
        return 1.0
    if rank * need > left or not groups:
        return 0.0
    (size, named), rest = groups[0], groups[1:]
    if not named:
        return _reach(rest, rank + size, need, left)
    chance = 0.0
    if size > len(named):
        chance = (size - len(named)) / size * _reach(((size - 1, named), *rest), rank + 1, need, left)
    for i, count in enumerate(named):
        took, others = min(count, need), named[:i] + named[i + 1 :]
        after = ((size - 1, others), *rest) if size > 1 else rest
        chance += _reach(after, rank + 1, need - took, left - took * rank) / size
    return chance


@lru_cache(maxsize=200_000)
def _best_iou(top: int, given: tuple[int, ...]) -> float:
    """Mean of the best 3 IoUs of one moment with the annotators' moments."""
    ious = sorted(chunk_iou(SEGMENTS[top], SEGMENTS[g]) for g in given)
    return float(np.mean(ious[-BEST_OF:]))


def evaluate_moments(
    cases: Sequence[Case],
    prior: np.ndarray | None = None,
    *,
    ties: str = "expected",
    setting: Card = BLANK,
    **draws: int,
) -> list[Result]:
    """moment_rank1, moment_rank5, moment_mIoU over sentences, videos drawn again for the interval.

    prior (21,): from `fit_moment_frequency` on other sentences. Chance: a random order of the candidates, exactly.
    """
    cases = [Case(*case) for case in cases]
    mine, blank = score(cases, ties), [_blind(case, np.zeros(len(SEGMENTS))) for case in cases]
    chance, known = score(blank), {"list order": score(blank, "reference")}
    if prior is not None:
        prior = np.asarray(prior, dtype=float)
        known["moment frequency"] = score([_blind(case, prior) for case in cases], "reference")
    videos = [case.video for case in cases]
    pool = float(np.mean([np.isfinite(case.scores).sum() for case in cases]))
    rule = f"moment localization in the sentence's own video: {len(cases)} sentences of {len(set(videos))} videos, "
    rule += "the best 3 annotators count; chance: a random order of the moments"
    card = setting.but(rule, task="didemo", pool=pool, ties=ties, interval="videos")
    results = []
    for name, field in (("moment_rank1", "rank1"), ("moment_rank5", "rank5"), ("moment_mIoU", "iou")):
        beside = {key: getattr(each, field) for key, each in known.items()}
        per_item, by_luck = getattr(mine, field), float(getattr(chance, field).mean())
        results.append(mean_result(name, per_item, videos, by_luck, card, beside=beside, **draws))
    return results


def _blind(case: Case, scores: np.ndarray) -> Case:
    """The same sentence scored without looking, over the same candidates."""
    return case._replace(scores=np.where(np.isfinite(case.scores), scores, -np.inf))


# ------------------------------------------------------------------------------------------------- paragraphs


def paragraphs(sentences: Sequence[str], videos: Sequence[str]) -> dict[str, str]:
    """Each video's sentences joined by a space, in the order given: video -> text, videos in order of appearance."""
    check_lengths(sentences=sentences, videos=videos)
    texts: dict[str, list[str]] = {}
    for text, video in zip(sentences, videos, strict=True):
        texts.setdefault(video, []).append(text.strip())
    return {video: " ".join(parts) for video, parts in texts.items()}


def evaluate_paragraphs(
    scores: np.ndarray,
    videos: Sequence[str],
    *,
    setting: Card = BLANK,
    **draws: int,
) -> list[Result]:
    """Recall and median rank of paragraphs and videos, both directions, named `paragraph_...`.

    scores (V, V): row i is the paragraph of videos[i], column i that video.
    """
    if len(set(videos)) != len(videos):
        raise VcworkError(f"paragraph retrieval: expected one row a video, got {len(videos)} for {len(set(videos))}")
    card = setting.but("paragraph retrieval: all sentences of a video as one text")
    results = retrieval.evaluate(scores, videos, videos, videos, setting=card, **draws)  # one text a video
    return [dataclasses.replace(r, name=f"paragraph_{r.name}") for r in results]
