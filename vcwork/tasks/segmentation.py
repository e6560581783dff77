"""Action segmentation as COIN plays it: name the step of every second, or none (0 = background, k + 1 = step k).

A second is background unless its best step scores above gamma. The paper's gamma is the largest similarity between
two different label texts; with a repeated label it becomes a text's similarity with itself, every second turns into
background, and frame accuracy still shows the background share. `text_gamma` therefore drops repeated texts
(naive=True keeps the original behaviour); `choose_gamma` picks one on validation videos.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from vcwork.base.errors import VcworkError
from vcwork.measure import metrics, trivial
from vcwork.measure.card import BLANK, Card
from vcwork.measure.intervals import sum_by_video
from vcwork.measure.metrics import BACKGROUND, check_lengths, check_scores
from vcwork.measure.result import Result, mean_result, ratio_result

# ---------------------------------------------------------------------------------------------------- labels


def segment(scores: np.ndarray, gamma: float, same: np.ndarray | None = None) -> np.ndarray:
    """Label of each second, (T, K) -> (T,) int: best step + 1 where its score is above gamma, else 0.

    same (K,): from `first_of_same`; steps with one text then all answer as the first of them.
    """
    if np.isnan(gamma):
        raise VcworkError("expected gamma to be a number, got NaN")
    best, label = _best(scores, same)
    return np.where(best > gamma, label, BACKGROUND)


def _best(scores: np.ndarray, same: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Score and label of the best step of each second, (T,) each."""
    scores = check_scores(scores)
    step = scores.argmax(1)
    return scores[np.arange(len(scores)), step], (step if same is None else np.asarray(same)[step]) + 1


def centred(scores: np.ndarray) -> np.ndarray:
    """Scores minus their mean over the steps, second by second, (T, K) -> (T, K).

    Our choice, not the paper's. Contrastive training compares scores within a row only, so what a second adds to all
    of its scores means nothing, yet a gamma on raw scores compares it across seconds.
    """
    scores = check_scores(scores)
    return scores - scores.mean(1, keepdims=True)


def first_of_same(texts: Sequence[str]) -> np.ndarray:
    """Index of the first step with the same text, (K,); COIN's 778 labels hold 749 different texts."""
    first: dict[str, int] = {}
    return np.array([first.setdefault(text, k) for k, text in enumerate(texts)])


# ----------------------------------------------------------------------------------------------------- gamma


def text_gamma(texts: np.ndarray, sentences: Sequence[str] | None = None, naive: bool = False) -> float:
    """The largest dot product of two different label texts; texts (K, D) raw embeddings.

    Repeated labels are dropped first: by `sentences` (K,) where given, else by equal embeddings. naive=True keeps
    them, as the reference code does. Raises VcworkError where fewer than two texts are left.
    """
    texts = check_scores(texts, "text embeddings").astype(float)
    if not naive:
        texts = texts[_different(texts, sentences)]
    if len(texts) < 2:
        raise VcworkError(f"gamma needs at least 2 different label texts, got {len(texts)}")
    products = texts @ texts.T
    return float(products[~np.eye(len(texts), dtype=bool)].max())


def _different(texts: np.ndarray, sentences: Sequence[str] | None) -> np.ndarray:
    """Indexes of texts that repeat no earlier one; embeddings are equal up to rounding (batches differ in it)."""
    if sentences is not None:
        check_lengths(texts=texts, sentences=sentences)
        return np.unique(first_of_same(sentences))
    size = np.linalg.norm(texts, axis=1)
    kept: list[int] = []
    for i, text in enumerate(texts):
        if not kept or (np.linalg.norm(texts[kept] - text, axis=1) > 1e-4 * (size[kept] + size[i])).all():
            kept.append(i)
    return np.array(kept)


@dataclass(frozen=True)
class GammaCurve:
    """What each gamma (G,) gives over all seconds; every other field (G,) in [0, 1]."""

    gamma: np.ndarray
    frame_accuracy: np.ndarray
    foreground_recall: np.ndarray
    foreground_precision: np.ndarray
    background_recall: np.ndarray
    predicted_background: np.ndarray


def gamma_curve(scores: Sequence[np.ndarray], truths: Sequence[np.ndarray]) -> GammaCurve:
    """Sweep gamma over videos: scores, per video (T, K); truths, per video (T,).

    All values at which a label changes, thinned to 500, from everything foreground to everything background. Exact and
    fast: one sort instead of one segmentation for each gamma.
    """
    best, label, truth = _seconds(scores, truths)
    levels = np.unique(best)
    picks = np.unique(np.linspace(0, len(levels) - 1, min(500, len(levels))).astype(int))
    gammas = np.append(levels[0] - 1e-6 * max(1, abs(levels[0])), levels[picks]).astype(float)
    order = np.argsort(best)
    below = np.searchsorted(best[order], gammas, side="right")  # seconds labelled background

    def under(flags: np.ndarray) -> np.ndarray:
        return np.append(0, np.cumsum(flags[order]))[below]

    background, right = truth == BACKGROUND, label == truth
    quiet, hits = under(background), right.sum() - under(right)
    n, n_background = len(truth), background.sum()
    divide = lambda a, b: a / np.maximum(b, 1)  # noqa: E731
    return GammaCurve(
        gammas,
        (quiet + hits) / n,
        divide(hits, n - n_background),
        divide(hits, n - below),
        divide(quiet, n_background),
        below / n,
    )


def _seconds(scores: Sequence[np.ndarray], truths: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Best score, best label and truth of all seconds of all videos."""
    check_lengths(scores=scores, truths=truths)
    for i, (s, t) in enumerate(zip(scores, truths, strict=True)):
        if len(s) != len(t):
            raise VcworkError(f"video {i}: {len(s)} seconds of scores, {len(t)} of truth")
    best, label = (np.concatenate(each) for each in zip(*map(_best, scores), strict=True))
    return best, label, np.concatenate(list(truths))


def _harmonic(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return 2 * a * b / np.maximum(a + b, 1e-12)


OBJECTIVES: dict[str, Callable[[GammaCurve], np.ndarray]] = {
    "frame accuracy": lambda c: c.frame_accuracy,
    "foreground F1": lambda c: _harmonic(c.foreground_recall, c.foreground_precision),
    "balanced accuracy": lambda c: (c.foreground_recall + c.background_recall) / 2,
    "frame accuracy and foreground recall": lambda c: _harmonic(c.frame_accuracy, c.foreground_recall),
}


def choose_gamma(
    scores: Sequence[np.ndarray], truths: Sequence[np.ndarray], objective: str = "frame accuracy"
) -> float:
    """The gamma that maximises the objective on these (validation, never test) videos; the lowest of equal ones."""
    if objective not in OBJECTIVES:
        raise VcworkError(f"expected objective to be one of {', '.join(OBJECTIVES)}, got {objective!r}")
    curve = gamma_curve(scores, truths)
    return float(curve.gamma[OBJECTIVES[objective](curve).argmax()])


# -------------------------------------------------------------------------------------------------- evaluate


def evaluate(
    scores: Sequence[np.ndarray],
    truths: Sequence[np.ndarray],
    video_ids: Sequence,
    gamma: float,
    beside: Mapping[str, Sequence[np.ndarray]] | None = None,
    silent: Sequence[np.ndarray] | None = None,
    *,
    setting: Card = BLANK,
    **draws: int,
) -> list[Result]:
    """Frame accuracy, foreground recall and precision, class-mean recall, edit score, F1@10, 25, 50.

    scores: per video (T, K); truths: per video (T,). beside: labels (T,) of each video by further trivial predictors,
    by their name in `trivial.REGISTRY`; silent, per video (T,) bool: seconds of steps that are never spoken of, whose
    foreground recall gets a row. `vcwork.tasks.opponents.of_segmentation` makes both.
    gamma and the shares of background are in the first result's extra.
    Chance deals the predicted labels out to the seconds at random (segment metrics: gives each video the labels of
    another one), so a model that only knows how often to speak stays at chance.
    """
    _seconds(scores, truths)
    check_lengths(scores=scores, video_ids=video_ids)
    tied = sum(int(((s == s.max(1, keepdims=True)).sum(1) > 1).sum()) for s in map(np.asarray, scores))
    steps = np.shape(scores[0])[1]
    card, predicted = setting.but(pool=steps, tied=tied), [segment(s, gamma) for s in scores]
    rule = "of equal steps the first"
    results = evaluate_labels(predicted, truths, video_ids, beside, silent, rule, setting=card, **draws)
    results[0].extra.update(gamma=float(gamma))
    return results


def evaluate_labels(
    predicted: Sequence[np.ndarray], truths: Sequence[np.ndarray], video_ids: Sequence,
    beside: Mapping[str, Sequence[np.ndarray]] | None = None, silent: Sequence[np.ndarray] | None = None,
    rule: str = "", *, setting: Card = BLANK, **draws: int,
) -> list[Result]:  # fmt: skip
    """The same from labels (T,) of each video, 0 for background, however they were found; rule: what else to know."""
    check_lengths(predicted=predicted, truths=truths, video_ids=video_ids)
    for video, *both in zip(video_ids, predicted, truths, strict=True):
        if not len(metrics.check_labels(*both, f"video {video}: ")[0]):
            raise VcworkError(f"video {video}: expected a label or more, one a second, got none")
    truths = [np.asarray(t) for t in truths]
    if not any((t != BACKGROUND).any() for t in truths):
        raise VcworkError("segmentation: no second of any video belongs to a step")
    trivial.registered("segmentation", beside or {})
    step = trivial.majority_step(truths)
    known = {"all background": [trivial.all_background(len(t)) for t in truths]}
    known |= {"majority step": [np.full(len(t), step) for t in truths], **(beside or {})}
    steps = setting.pool or max(int(labels.max(initial=0)) for labels in (*truths, *predicted))
    many = f"{sum(map(len, truths))} seconds of {len(truths)} videos, {steps:.0f} steps or none"
    card = setting.but(many).but(rule, task="segmentation", pool=steps, interval="videos")
    protocol = card.but("chance: the predicted labels dealt out to seconds at random")
    means = card.but("mean over videos, background ignored; chance: labels of another video")
    results = frame_results(predicted, truths, video_ids, known, protocol, draws)
    results += _segment_results(predicted, truths, video_ids, known, means, draws)
    if silent is not None and any(quiet.any() for quiet in silent):
        seen = [np.where(quiet, t, BACKGROUND) for t, quiet in zip(truths, silent, strict=True)]  # what is left to name
        rule = protocol.but("only seconds of steps that are never spoken of in their video")
        found = frame_results(predicted, seen, video_ids, known, rule, draws, ["foreground_recall"])
        results += [replace(r, name=f"{r.name}_silent") for r in found]
    results[0].extra.update(
        predicted_background_share=metrics.predicted_background_share(np.concatenate(predicted)),
        background_share=metrics.predicted_background_share(np.concatenate(truths)),
    )
    return results


def _by_class(p: np.ndarray, t: np.ndarray, classes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    size = classes.max(initial=0) + 1
    return np.bincount(t[p == t], minlength=size)[classes], np.bincount(t, minlength=size)[classes]


# each: (predicted, truth, classes) of one video -> (hits, totals), numbers or one for each class
_FRAME_METRICS: dict[str, Callable] = {
    "frame_accuracy": lambda p, t, _: ((p == t).sum(), len(t)),
    "foreground_recall": lambda p, t, _: ((p == t)[t != BACKGROUND].sum(), (t != BACKGROUND).sum()),
    "foreground_precision": lambda p, t, _: ((p == t)[p != BACKGROUND].sum(), (p != BACKGROUND).sum()),
    "class_mean_recall": _by_class,
}


def _counts(count: Callable, predicted, truths, classes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Hits and totals per video, (V,) or (V, G)."""
    pairs = [count(p, t, classes) for p, t in zip(predicted, truths, strict=True)]
    return np.array([h for h, _ in pairs], dtype=float), np.array([n for _, n in pairs], dtype=float)


def frame_results(
    predicted: Sequence[np.ndarray], truths: Sequence[np.ndarray], video_ids: Sequence,
    known: Mapping[str, Sequence[np.ndarray]], protocol: Card, draws: Mapping[str, int],
    names: Sequence[str] = tuple(_FRAME_METRICS),
) -> list[Result]:  # fmt: skip
    """`_FRAME_METRICS` of predicted labels, per video (T,); known: labels of predictors that never look, by name.

    Chance deals the predicted labels out to the seconds at random.
    """
    p, t = np.concatenate(predicted), np.concatenate(truths)
    classes = np.unique(t[t != BACKGROUND])
    labels = np.unique(np.concatenate([p, t]))
    mine, true = (np.array([(a == c).mean() for c in labels]) for a in (p, t))  # how often each label is used
    step = labels != BACKGROUND
    both = float(mine[step] @ true[step])
    chance = {
        "frame_accuracy": float(mine @ true),
        "foreground_recall": both / true[step].sum(),
        "foreground_precision": both / max(mine[step].sum(), 1e-12),
        "class_mean_recall": float(mine[np.isin(labels, classes)].mean()),
    }
    results = []
    for name in names:
        parts = {key: [sum_by_video(part, video_ids) for part in _counts(_FRAME_METRICS[name], said, truths, classes)]
                 for key, said in {"": predicted, **known}.items()}  # fmt: skip
        results.append(ratio_result(name, *parts.pop(""), chance[name], protocol, beside=parts, **draws))
    return results


_SEGMENT_METRICS = ("edit", "F1@10", "F1@25", "F1@50")


def _segment_results(predicted, truths, video_ids, known, protocol: Card, draws: Mapping[str, int]) -> list[Result]:
    def scored(labels: list[np.ndarray]) -> np.ndarray:  # (V, 4)
        return np.array([metrics.segment_scores(p, t, (0.10, 0.25, 0.50)) for p, t in zip(labels, truths, strict=True)])

    foreign = [_of_another_video(predicted, shift) for shift in range(1, min(6, len(predicted)))]
    mine, chance = scored(predicted), np.mean([scored(labels).mean(0) for labels in foreign], axis=0)
    others = {key: scored(labels) for key, labels in known.items()}
    results = []
    for i, name in enumerate(_SEGMENT_METRICS):
        beside = {key: each[:, i] for key, each in others.items()}
        results.append(mean_result(name, mine[:, i], video_ids, chance[i], protocol, beside=beside, **draws))
    return results


def _of_another_video(predicted: list[np.ndarray], shift: int) -> list[np.ndarray]:
    """Each video gets the labels predicted for the video `shift` places on, stretched to its own length."""
    others = predicted[shift:] + predicted[:shift]
    return [b[np.arange(len(a)) * len(b) // len(a)] for a, b in zip(predicted, others, strict=True)]
