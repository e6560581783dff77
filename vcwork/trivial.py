"""Predictors that never see the content: what a score must beat before it means anything.

Random ones are given as exact expectations, not as one lucky draw. Fitted ones (`fit_…`) take the truth of train or
validation videos. A report without such a row beside it is incomplete. NumPy alone.
"""

from collections.abc import Sequence

import numpy as np

from vcwork.errors import VcworkError

# -------------------------------------------------------------------------------------- retrieval and choices


def constant(n_queries: int, n_items: int) -> np.ndarray:
    """Scores of a collapsed model that finds everything equally similar, (Q, N): all ties."""
    return np.zeros((n_queries, n_items))


def longest(lengths: np.ndarray) -> np.ndarray:
    """Scores (Q, C) of a reader who always picks the longest caption; lengths (Q, C) in words or characters."""
    return np.asarray(lengths, dtype=float)


def majority_class(labels: np.ndarray) -> int:
    """The most frequent label (the smallest of several)."""
    values, counts = np.unique(labels, return_counts=True)
    return int(values[counts.argmax()])


# ----------------------------------------------------------------------------- localization: one second a step


def uniform_in_order(n_steps: int, n_seconds: int) -> np.ndarray:
    """Step k in the middle of the k-th of K equal parts: floor((k + 0.5) / K * T), (K,) seconds."""
    return linear_in_time(n_steps, n_seconds, (0.0, 1.0))


def fit_linear_in_time(centres: Sequence[np.ndarray], n_seconds: Sequence[int]) -> tuple[float, float]:
    """Least-squares line from relative order to relative time, fitted on train videos.

    centres: per video (K,) mean time of each step in seconds, NaN where the step is absent -> (intercept, slope).
    """
    order = np.concatenate([(np.arange(len(c)) + 0.5) / len(c) for c in centres])
    time = np.concatenate([np.asarray(c, dtype=float) / t for c, t in zip(centres, n_seconds, strict=True)])
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
    ways = _log_choose(t, k) + _log_choose(n_seconds - 1 - t, n_steps - 1 - k)
    return (inside * np.exp(ways - _log_choose(n_seconds, n_steps))).sum(1)


def _log_choose(n: np.ndarray | int, k: np.ndarray | int) -> np.ndarray:
    """log C(n, k), -inf where k > n; elementwise."""
    n, k = np.broadcast_arrays(n, k)
    log_factorial = np.append(0, np.cumsum(np.log(np.arange(1, n.max() + 1))))
    inside = k <= n
    gap = np.where(inside, n - k, 0)
    return np.where(inside, log_factorial[n] - log_factorial[np.minimum(k, n)] - log_factorial[gap], -np.inf)


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
    bins = np.concatenate([_bins(len(truth), n_bins) for truth in truths])
    labels = np.concatenate(list(truths))
    return np.array([majority_class(labels[bins == b]) if (bins == b).any() else 0 for b in range(n_bins)])


def relative_time(prior: np.ndarray, n_seconds: int) -> np.ndarray:
    """Label of each second by its place in the video alone; prior (n_bins,) from `fit_relative_time` -> (T,)."""
    return prior[_bins(n_seconds, len(prior))]


def _bins(n_seconds: int, n_bins: int) -> np.ndarray:
    return ((np.arange(n_seconds) + 0.5) / max(n_seconds, 1) * n_bins).astype(int)
