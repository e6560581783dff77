"""Stages of evaluation's arithmetic, on made-up scores at the size of the published benchmarks: no model, no data."""

from collections.abc import Callable, Iterator

import numpy as np

from benchmarks.speed.made import Size, coin_lengths
from benchmarks.speed.timing import OURS, Asked, Row, expect_equal, in_turns
from vcwork.measure import trivial
from vcwork.review import geometry, retrieval_audit
from vcwork.tasks import retrieval, segmentation

CLIPS_A_VIDEO = 7.8  # of YouCook2's validation: 3,350 clips of 430 videos


def of_retrieval(size: Size) -> Iterator[Row]:
    """Retrieval's metrics, both directions, trivial predictors beside them, 1,000 bootstrap samples; then its audit.

    Equal to counting ranks one query at a time: R@1, R@5 and R@10 of the very pair.
    """
    n, rng = size.retrieval, np.random.default_rng(7)
    scores, own = rng.standard_normal((n, n), dtype=np.float32), np.eye(n, dtype=bool)
    scores[own] += 3
    videos = np.sort(rng.integers(0, max(2, round(n / CLIPS_A_VIDEO)), n))
    groups, recipes = rng.integers(0, round(0.977 * n), n), videos % 89
    ranks = np.array([(row > row[i]).sum() for i, row in enumerate(scores)])
    alone = retrieval.evaluate(scores, np.arange(n), np.arange(n), videos, videos)
    found = {result.name: result.value for result in alone}
    for k in (1, 5, 10):
        expect_equal(f"retrieval: t2v_R@{k}", found[f"t2v_R@{k}"], (ranks < k).mean(), 1e-12)

    def ours() -> list:
        return retrieval.evaluate(scores, groups, groups, videos, videos, recipes)

    once, asked = 2.0 * scores.nbytes, Asked("seconds", 5)  # every score, in each direction
    yield from _alone("retrieval, all metrics, 1,000 samples", ours, size, n, "queries", asked, once)
    pools, batches = [k for k in (10, 100, 1000) if k < n] + [n], [k for k in (1, 100) if k < n] + [n]
    parts: dict[str, Callable[[], object]] = {
        "pool curve": lambda: retrieval_audit.pool_curve(scores, videos, pools, own),
        "dual softmax, batches of 1, 100, all": lambda: retrieval_audit.batch_curve(
            scores, own, videos, batches, draws=1
        ),
        "hubness": lambda: geometry.hubness(scores),
    }
    for name, run in parts.items():
        yield from _alone(f"retrieval, {name}", run, size, n, "queries")


def of_segmentation(size: Size) -> Iterator[Row]:
    """Segmentation's metrics over COIN's 2,797 test videos and 778 labels, 1,000 bootstrap samples; choosing gamma.

    Equal to comparing second by second: frame accuracy.
    """
    truths, scores = _segmented(size, np.random.default_rng(11))
    ids, prior = np.arange(len(truths)), trivial.fit_relative_time(truths[: len(truths) // 2])
    beside = {"relative time": [trivial.relative_time(prior, len(truth)) for truth in truths]}
    gamma, seconds = 2.8, float(sum(map(len, truths)))  # 57 % of the seconds are called background, as in COIN

    def ours() -> list:
        return segmentation.evaluate(scores, truths, ids, gamma, beside)

    said = np.concatenate([np.where(each.max(1) > gamma, each.argmax(1) + 1, 0) for each in scores])
    right = {result.name: result.value for result in ours()}["frame_accuracy"]
    expect_equal("segmentation: frame accuracy", right, (said == np.concatenate(truths)).mean(), 1e-12)
    read = float(sum(each.nbytes for each in scores))
    yield from _alone("segmentation, all metrics, 1,000 samples", ours, size, seconds, "seconds of video", None, read)
    yield from _alone("segmentation, choosing gamma", lambda: segmentation.choose_gamma(scores, truths), size, seconds,
                      "seconds of video", None, read)  # fmt: skip


def _segmented(size: Size, rng: np.random.Generator) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Truth (T,) and scores (T, K) of each video: steps of about 8 s, background between them."""
    truths, scores = [], []
    for length in coin_lengths(size.segmented, rng):
        pieces = rng.integers(1, size.labels_scored + 1, length // 8 + 2) * (rng.random(length // 8 + 2) < 0.42)
        truth = np.repeat(pieces, rng.integers(4, 13, len(pieces)))[:length]
        truth = np.pad(truth, (0, length - len(truth)))
        each = rng.standard_normal((length, size.labels_scored), dtype=np.float32)
        each = (each + np.roll(each, 1, 0) + np.roll(each, 2, 0)) / 2  # neighbouring seconds resemble each other
        each[truth > 0, truth[truth > 0] - 1] += 2
        truths.append(truth)
        scores.append(each)
    return truths, scores


def _alone(
    name: str, run: Callable[[], object], size: Size, amount: float, unit: str, asked: Asked | None = None,
    read: float = 0.0,
) -> Iterator[Row]:  # fmt: skip
    """A row of ours alone; `read`: bytes of scores that must be read, held against copying as many."""
    if size.repeats:
        floor, note = ("copy", "floor: every score read once a direction") if read else ("", "")
        yield Row(name, in_turns({OURS: run}, min(3, size.repeats)), amount, unit, asked, read, floor, note)
