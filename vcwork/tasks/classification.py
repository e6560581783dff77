"""Zero-shot classification: name a video by comparing it with prompts, one or several sentences for each class.

The paper has no such table; it is an application. Gap: prompts are written by people who know the classes, so give
the accuracy of each template beside the ensemble's.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from vcwork.base.errors import VcworkError
from vcwork.measure import metrics, trivial
from vcwork.measure.card import BLANK, Card
from vcwork.measure.metrics import check_lengths
from vcwork.measure.result import Result, mean_result
from vcwork.tasks.retrieval import first_places


def fill(templates: Sequence[str], names: Sequence[str]) -> list[list[str]]:
    """Prompts for each class: every template with its `{}` replaced by the class name -> C lists of P sentences."""
    for template in templates:
        if template.count("{}") != 1:
            raise VcworkError(f"expected one {{}} in the prompt template, got {template!r}")
    return [[template.replace("{}", name) for template in templates] for name in names]


def ensemble(prompts: np.ndarray, normalise: bool = False) -> np.ndarray:
    """One vector for each class: the mean of its prompts' embeddings, (C, P, D) -> (C, D).

    The mean is raw by default, because VideoCLIP scores with raw dot products; normalise=True gives each prompt
    unit length first, so that a long vector cannot outvote the others.
    """
    prompts = metrics.check_scores(prompts, "prompt embeddings", ndim=3)
    if normalise:
        prompts = metrics.unit(prompts)
    return prompts.mean(1)


def evaluate(
    scores: np.ndarray,
    labels: Sequence[int],
    video_ids: Sequence,
    *,
    ks: tuple[int, ...] = (1, 5),
    ties: str = "expected",
    beside: Mapping[str, np.ndarray] | None = None,
    setting: Card = BLANK,
    **draws: int,
) -> list[Result]:
    """accuracy@k for k below the number of classes; scores (N, C), labels (N,) in 0..C-1, video_ids (N,).

    Trivial: always the most frequent class of these very labels, which no honest predictor could know; beside: scores
    (N, C) of further ones, by their name in `trivial.REGISTRY` (`vcwork.tasks.opponents.of_classification`).
    """
    trivial.registered("classification", beside or {})
    scores, labels = metrics.check_scores(scores), np.asarray(labels)
    n = check_lengths(scores=scores, labels=labels, video_ids=video_ids)
    n_classes = scores.shape[1]
    if labels.dtype.kind not in "iu":
        raise VcworkError(f"expected labels as integers, got {labels.dtype}")
    if labels.min() < 0 or labels.max() >= n_classes:
        raise VcworkError(f"expected labels in 0..{n_classes - 1}, got {labels.min()} to {labels.max()}")
    relevant = labels[:, None] == np.arange(n_classes)
    places = metrics.place(scores, relevant)
    counts = np.bincount(labels, minlength=n_classes)
    usual = np.broadcast_to(-np.argsort(np.argsort(-counts, kind="stable")), scores.shape)  # frequent ones first
    others = {name: metrics.place(each, relevant) for name, each in {"majority class": usual, **(beside or {})}.items()}
    rule = f"{n} videos, {n_classes} classes of which {(counts > 0).sum()} occur"
    card = {"task": "classification", "pool": n_classes, "ties": ties, "tied": places.n_ties, "interval": "videos"}
    protocol = setting.but(rule, **card)
    return [
        mean_result(f"accuracy@{k}", places.hit(k, ties), video_ids, k / n_classes, protocol,
                    beside={name: each.hit(k, ties) for name, each in others.items()}, **draws)
        for k in ks if k < n_classes
    ]  # fmt: skip


def lookalike_errors(
    scores: np.ndarray,
    labels: Sequence[int],
    lookalike: Sequence[int],
    video_ids: Sequence,
    *,
    setting: Card = BLANK,
    **draws: int,
) -> list[Result]:
    """Of the videos named wrongly, the share given to the look-alike of the right class; chance: any other class.

    lookalike (C,): index of each class's look-alike, -1 where it has none (such videos are left out). Tied first
    places share the count. No result where fewer than two videos are named wrongly.
    """
    scores, labels = metrics.check_scores(scores), np.asarray(labels)
    check_lengths(scores=scores, labels=labels, video_ids=video_ids)
    twin, rows = np.asarray(lookalike)[labels], np.arange(len(labels))
    share = first_places(scores)  # (N, C)
    wrong = (1 - share[rows, labels]) * (twin >= 0)
    keep = wrong > 0
    if len(np.unique(np.asarray(video_ids)[keep])) < 2:
        return []
    hits = (share[rows, twin] / np.maximum(wrong, 1e-12))[keep]
    rule = f"{int(keep.sum())} videos named wrongly, {scores.shape[1]} classes; chance: any wrong class"
    protocol = setting.but(rule, task="look-alike errors", ties="expected", interval="videos")
    chance, videos = 1 / (scores.shape[1] - 1), np.asarray(video_ids)[keep]
    name = "lookalike_share_of_errors"
    return [mean_result(name, hits, videos, chance, protocol, **draws)]
