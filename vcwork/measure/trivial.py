"""Predictors that never see the pictures: what a score must beat before it means anything.

Four kinds, and a fifth that is none (`KNOWS`): some know nothing, some read statistics of annotations, some read what
is said in the very videos, some are told what the model has to find out; and one is shown pictures. The strongest of
the first three is the opponent that a number stands beside (`vcwork.measure.result.Result.best_trivial`).
Random ones are given as exact expectations, not as one lucky draw. Fitted ones (`fit_…`) take the truth of train or
validation videos. `REGISTRY` says which belong to a task; `vcwork.tasks.opponents` makes them from a corpus, its
`evaluate` puts every one beside the number that its inputs allow, and no table shows a result without those that need
no further input.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.special import gammaln

from vcwork.base.errors import VcworkError

KNOWS = ("nothing", "statistics", "narration", "told", "pictures")


@dataclass(frozen=True)
class Predictor:
    """What a predictor does, in words; what it knows, one of `KNOWS`; and what it needs beyond the scores and their
    truth ("": nothing). One that is told something of the very query is no floor but a measure of what that is worth.
    """

    does: str
    knows: str = "nothing"
    needs: str = ""


def _heard(does: str) -> dict[str, Predictor]:
    return {"bag of words": Predictor(does, "narration", "captions")}


REGISTRY: dict[str, dict[str, Predictor]] = {
    "retrieval": {
        "constant score": Predictor("finds everything equally similar"),
        "video known": Predictor("is told the query's video and guesses within it", "told", "each query's video"),
        "recipe known": Predictor("is told the query's recipe and guesses within it", "told", "each query's recipe"),
        "one second": Predictor("the model shown each clip's mean second alone", "pictures", "an encoder"),
    } | _heard("shares words between the query and what is said in the clip"),
    "videoqa": {
        "constant score": Predictor("finds all choices equally good"),
        "longest caption": Predictor("takes the longest choice", needs="the choices' texts"),
        "text prior": Predictor("takes the choice most like the captions of training", "statistics", "train videos"),
    } | _heard("takes the choice that shares most words with what is said in the clip"),
    "localization": {
        "uniform in order": Predictor("step k in the middle of the k-th of K equal parts"),
        "random in order": Predictor("sorted random seconds, dealt out in order"),
        "random": Predictor("a random second for each step"),
        "linear in time": Predictor("a line from place in the recipe to time", "statistics", "train videos"),
    } | _heard("the second in which the step's words are said; steps not spoken of, by their place in order"),
    "segmentation": {
        "all background": Predictor("says nothing"),
        "majority step": Predictor("calls every second the step that fills most seconds of these very videos"),
        "relative time": Predictor("the most frequent label at that share of a video", "statistics", "other videos"),
        "task and time": Predictor("the same, task by task", "told", "other videos, and every video's task"),
        "oracle task": Predictor("is told the task: its steps in equal parts, in order", "told", "the tasks' steps"),
    } | _heard("the step whose words are said in the second, where they share enough"),
    "classification": {
        "majority class": Predictor("always the most frequent class of these very videos"),
    } | _heard("the class whose prompts share most words with all that is said in the video"),
    "moments": {"middle of the video": Predictor("points at the middle")}
    | _heard("the second in which most words of the query are said"),
    "library search": {"constant score": Predictor("finds every window equally similar")}
    | _heard("shares words between the query and what is said in the window"),
    "spans": {
        "whole video": Predictor("answers every sentence with all of its video"),
        "frequent place": Predictor("the share of a video that is right most often in other videos", "statistics"),
    },
    "boundaries": {
        "equal parts": Predictor("cuts the moment into equal parts, as many as other videos have", "statistics"),
    },
    "didemo": {
        "list order": Predictor("the benchmark's order of the moments, as equal scores earn under ties by list"),
        "moment frequency": Predictor("how often annotators chose each moment", "statistics", "other sentences"),
    },
}  # fmt: skip

TOLD, SEEING = (frozenset(name for known in REGISTRY.values() for name, p in known.items() if p.knows == what)
                for what in ("told", "pictures"))  # fmt: skip


def missing(task: str, known: Iterable[str]) -> list[str]:
    """Registered predictors of a task that need no input and are not among the `known`; none for other tasks."""
    return [name for name, p in REGISTRY.get(task, {}).items() if not p.needs and name not in set(known)]


def registered(task: str, known: Iterable[str]) -> None:
    """VcworkError naming a predictor that the task's registry does not hold."""
    if other := [name for name in known if name not in REGISTRY[task]]:
        raise VcworkError(f"{task}: expected trivial predictors among {', '.join(REGISTRY[task])}, got {other[0]!r}")


# -------------------------------------------------------------------------------------- retrieval and choices


def constant(n_queries: int, n_items: int) -> np.ndarray:
    """Scores of a collapsed model that finds everything equally similar, (Q, N): all ties."""
    return np.zeros((n_queries, n_items))


def known_group(query_labels: Sequence, item_labels: Sequence) -> np.ndarray:
    """Scores (Q, N) of someone who is told a label of each query (its video, its recipe) and guesses within it."""
    return (np.asarray(query_labels)[:, None] == np.asarray(item_labels)).astype(np.int8)


@lru_cache(maxsize=1 << 16)  # the narration of a split is asked again by every task
def words(text: str) -> tuple[str, ...]:
    """Lower-case words of a text, without marks."""
    return tuple("".join(c.lower() if c.isalnum() else " " for c in text).split())


def bag_of_words(queries: Sequence[str], spoken: Sequence[str]) -> np.ndarray:
    """Scores (Q, N) of a search in the narration alone: cosine of tf-idf vectors of query q and what clip n says.

    idf over the N narrations: log((N + 1) / (documents + 1)) + 1. A clip in silence scores 0 with everything.
    scikit-learn's agree to 4e-16, which is enough to break other ties among sentences said twice: so these stay.
    """
    said = [Counter(words(text)) for text in spoken]
    asked = [Counter(words(text)) for text in queries]
    index = {word: i for i, word in enumerate(sorted(set().union(*said, *asked)))}
    if not index:
        return np.zeros((len(asked), len(said)))
    documents = Counter(word for counts in said for word in counts)
    idf = np.array([math.log((len(said) + 1) / (documents[word] + 1)) + 1 for word in index])  # (W,)
    asked, said = (_count_rows(counts, index) * idf for counts in (asked, said))
    lengths = [np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12) for rows in (asked, said)]
    return (asked / lengths[0]) @ (said / lengths[1]).T  # (Q, N)


def _count_rows(texts: Sequence[Mapping[str, int]], index: dict[str, int]) -> np.ndarray:
    rows = np.zeros((len(texts), len(index)))
    for row, counts in zip(rows, texts, strict=True):
        for word, n in counts.items():
            row[index[word]] = n
    return rows


def spoken_in_order(said: np.ndarray) -> np.ndarray:
    """Scores (T, K) that place a task's steps by what is said; said (T, K) from 0 to 1, as `bag_of_words` gives.

    Where nothing is said of a step, the second nearest to its place in the order is best, as in `uniform_in_order`.
    """
    n_seconds, n_steps = said.shape
    away = np.abs(np.arange(n_seconds)[:, None] - uniform_in_order(n_steps, n_seconds)) / n_seconds  # (T, K) below 1
    return 10 * said - away


def one_second(features: np.ndarray) -> np.ndarray:
    """A clip (T, W) as its mean second (1, W): what is left for an encoder when nothing happens."""
    return np.asarray(features, dtype=np.float32).mean(0, keepdims=True)


def fit_text_prior(texts: Sequence[str]) -> dict[str, float]:
    """Log probability of each word among the texts of training, with one count for all words never seen ("")."""
    counts = Counter(word for text in texts for word in words(text))
    total = sum(counts.values()) + len(counts) + 1
    return {word: math.log((n + 1) / total) for word, n in counts.items()} | {"": math.log(1 / total)}


def text_prior(prior: Mapping[str, float], choices: Sequence[Sequence[str]]) -> np.ndarray:
    """Scores (Q, C) of a reader who takes the most usual wording: mean log probability of a choice's words."""
    mean = lambda text: float(np.mean([prior.get(w, prior[""]) for w in words(text)] or [prior[""]]))  # noqa: E731
    return np.array([[mean(text) for text in row] for row in choices])


def majority_class(labels: np.ndarray) -> int:
    """The most frequent label (the smallest of several)."""
    values, counts = np.unique(labels, return_counts=True)
    return int(values[counts.argmax()])


# ----------------------------------------------------------------------------- localization: one second a step


def uniform_in_order(n_steps: int, n_seconds: int) -> np.ndarray:
    """Step k in the middle of the k-th of K equal parts: floor((k + 0.5) / K * T), (K,) seconds."""
    return _bins(n_steps, n_seconds)


def fit_linear_in_time(centres: Sequence[np.ndarray], n_seconds: Sequence[int]) -> tuple[float, float]:
    """Least-squares line from relative order to relative time, fitted on train videos.

    centres: per video (K,) mean time of each step in seconds, NaN where the step is absent -> (intercept, slope).
    """
    nothing = np.empty(0)
    order = np.concatenate([nothing, *((np.arange(len(c)) + 0.5) / len(c) for c in centres)])
    time = np.concatenate([nothing, *(np.asarray(c, dtype=float) / t for c, t in zip(centres, n_seconds, strict=True))])
    known = np.isfinite(time)
    if known.sum() < 2:
        raise VcworkError(f"a line in time needs at least 2 steps with a known time, got {int(known.sum())}")
    slope, intercept = np.polyfit(order[known], time[known], 1)
    return float(intercept), float(slope)


def linear_in_time(n_steps: int, n_seconds: int, prior: tuple[float, float]) -> np.ndarray:
    """Step k at (intercept + slope * (k + 0.5) / K) of the duration, (K,) seconds."""
    intercept, slope = prior
    at = (intercept + slope * (np.arange(n_steps) + 0.5) / n_steps) * n_seconds
    return np.clip(np.floor(at), 0, n_seconds - 1).astype(int)


def random_hits(inside: np.ndarray) -> np.ndarray:
    """Chance of each step to be hit by a random second: inside (K, T) bool -> (K,)."""
    return inside.mean(1)


def random_in_order_hits(inside: np.ndarray) -> np.ndarray:
    """Chance of each step to be hit when K distinct random seconds are sorted and dealt out in order; (K, T) -> (K,).

    The k-th smallest of K out of T seconds is t with probability C(t, k) C(T-1-t, K-1-k) / C(T, K).
    """
    n_steps, n_seconds = inside.shape
    if n_seconds < n_steps:
        raise VcworkError(f"{n_steps} steps do not fit in order into {n_seconds} seconds")
    k, t = np.arange(n_steps)[:, None], np.arange(n_seconds)  # (K, 1), (T,)
    ways = log_choose(t, k) + log_choose(n_seconds - 1 - t, n_steps - 1 - k)
    return (inside * np.exp(ways - log_choose(n_seconds, n_steps))).sum(1)


def log_choose(n: np.ndarray | int, k: np.ndarray | int) -> np.ndarray:
    """log C(n, k), -inf where k > n or k < 0; elementwise."""
    return gammaln(np.add(n, 1)) - gammaln(np.add(k, 1)) - gammaln(np.subtract(n, k) + 1)


# ------------------------------------------------------------------------- segmentation: one label for a second


def all_background(n_seconds: int) -> np.ndarray:
    """Label 0 for every second: its frame accuracy is the background share."""
    return np.zeros(n_seconds, dtype=int)


def majority_step(truths: Sequence[np.ndarray]) -> int:
    """The step that fills most seconds of these videos; 0 where there is none."""
    labels = np.concatenate(list(truths))
    return majority_class(labels[labels > 0]) if (labels > 0).any() else 0


def fit_relative_time(truths: Sequence[np.ndarray], n_bins: int = 20) -> np.ndarray:
    """Most frequent label, background included, in each of n_bins equal parts of a video's time -> (n_bins,)."""
    if not len(truths):
        raise VcworkError("labels by relative time need a video or more, got none")
    bins = np.concatenate([_bins(len(truth), n_bins) for truth in truths])
    labels = np.concatenate(list(truths))
    return np.array([majority_class(labels[bins == b]) if (bins == b).any() else 0 for b in range(n_bins)])


def relative_time(prior: np.ndarray, n_seconds: int) -> np.ndarray:
    """Label of each second by its place in the video alone; prior (n_bins,) from `fit_relative_time` -> (T,)."""
    return prior[_bins(n_seconds, len(prior))]


def fit_task_and_time(
    truths: Sequence[np.ndarray], tasks: Sequence[str], n_bins: int = 20
) -> dict[str | None, np.ndarray]:
    """`fit_relative_time` of each task's videos; under None that of all videos, for tasks never seen."""
    priors: dict[str | None, np.ndarray] = {None: fit_relative_time(truths, n_bins)}
    for task in dict.fromkeys(tasks):
        own = [truth for truth, each in zip(truths, tasks, strict=True) if each == task]
        priors[task] = fit_relative_time(own, n_bins)
    return priors


def by_time(
    truths: Sequence[np.ndarray], tasks: Sequence[str], lengths: Sequence[int], own_tasks: Sequence[str]
) -> dict[str, list[np.ndarray]]:
    """What annotated videos, labels (T,) and tasks, say of others of these lengths by their time, by name.

    Nothing without annotated videos; "task and time" where the others' tasks are known.
    """
    if not truths:
        return {}
    priors = fit_task_and_time(truths, tasks)
    known = {"relative time": [relative_time(priors[None], n) for n in lengths]}
    if own_tasks:
        own = zip([priors.get(task, priors[None]) for task in own_tasks], lengths, strict=True)
        known["task and time"] = [relative_time(prior, n) for prior, n in own]
    return known


def steps_in_order(labels: Sequence[int], n_seconds: int) -> np.ndarray:
    """A task's labels in K equal parts of the video, in order, without background -> (T,)."""
    labels = np.asarray(labels)
    return labels[_bins(n_seconds, len(labels))] if len(labels) else all_background(n_seconds)


def _bins(n: int, n_bins: int) -> np.ndarray:
    """In which of n_bins equal parts the middle of each of n lies, (n,): floor((i + 0.5) / n * n_bins), by integers."""
    return (2 * np.arange(n) + 1) * n_bins // (2 * max(n, 1))
