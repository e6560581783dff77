"""Metrics against worked answers, against shuffling, and against published segmentation scores."""

import subprocess
import sys

import numpy as np
import pytest

from vcwork.base.errors import VcworkError
from vcwork.measure import metrics

# rows are queries; the diagonal is right. Ranks by hand: 1, 2, 4, 1
WORKED = np.array([[9, 1, 2, 3], [8, 7, 1, 2], [4, 3, 1, 2], [0, 1, 2, 3]], float)
# one relevant item, tied with two others, one item above: ranks 2, 3 or 4
TIED = np.array([[5, 5, 5, 7, 1]], float)
FIRST = np.array([[True, False, False, False, False]])


def test_worked_4x4():
    assert metrics.ranks(WORKED).tolist() == [1, 2, 4, 1]
    assert metrics.recall_at_k(WORKED, 1) == 0.5
    assert metrics.recall_at_k(WORKED, 2) == 0.75
    assert metrics.median_rank(WORKED) == 1.5
    assert metrics.place(WORKED).reciprocal() == pytest.approx([1, 1 / 2, 1 / 4, 1])


@pytest.mark.parametrize(("ties", "rank", "at2", "at3"), [
    ("optimistic", 2, 1, 1), ("pessimistic", 4, 0, 0), ("expected", 3, 1 / 3, 2 / 3),
])  # fmt: skip
def test_tie_policies_worked(ties, rank, at2, at3):
    assert metrics.ranks(TIED, FIRST, ties) == [rank]
    assert metrics.recall_at_k(TIED, 1, FIRST, ties) == 0
    assert metrics.recall_at_k(TIED, 2, FIRST, ties) == pytest.approx(at2)
    assert metrics.recall_at_k(TIED, 3, FIRST, ties) == pytest.approx(at3)
    assert metrics.place(TIED, FIRST).n_ties == 1


def test_reference_counting_worked():
    scores = np.array([[5, 5, 5], [1, 2, 0], [0, 3, 3.0]])  # tied three, alone, tied two: six entries
    assert metrics.recall_at_k(scores, 1, ties="reference") == pytest.approx(3 / 6)
    assert metrics.recall_at_k(scores, 2, ties="reference") == pytest.approx(5 / 6)
    assert metrics.median_rank(scores, ties="reference") == 1.5  # positions 0 1 2, 0, 0 1
    assert metrics.recall_at_k(np.zeros((20, 20)), 1, ties="reference") == 1 / 20


def test_every_other_metric_refuses_reference_counting():
    many = np.ones((4, 4), bool)
    for ask in (metrics.ranks,
                lambda s, ties: metrics.place(s).reciprocal(ties),
                lambda s, ties: metrics.place(s).hit(1, ties),
                lambda s, ties: metrics.choice_accuracy(s, np.arange(4), ties)):  # fmt: skip
        with pytest.raises(VcworkError, match="the reference code's counting is there for R@k and the median rank"):
            ask(WORKED, ties="reference")
    for ask in (lambda: metrics.recall_at_k(WORKED, 1, many, "reference"),
                lambda: metrics.median_rank(WORKED, many, "reference")):  # fmt: skip
        with pytest.raises(VcworkError, match="knows one relevant item a query"):
            ask()


def _by_shuffling(scores, relevant, k, draws, rng):
    """Slow and obvious: sort each row many times with ties broken at random, look where the first relevant one is."""
    first = np.empty((draws, len(scores)))
    for d in range(draws):
        order = np.lexsort((rng.random(scores.shape), -scores), axis=1)
        first[d] = np.take_along_axis(relevant, order, 1).argmax(1) + 1
    return (first <= k).mean(0), first.mean(0), (1 / first).mean(0)


def test_expected_values_equal_shuffling():
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 4, (6, 12)).astype(float)  # many ties
    relevant = rng.random((6, 12)) < 0.3
    relevant[:, 0] = True
    hit, rank, reciprocal = _by_shuffling(scores, relevant, 3, 8000, rng)
    places = metrics.place(scores, relevant)
    assert places.hit(3) == pytest.approx(hit, abs=0.02)
    assert places.rank() == pytest.approx(rank, abs=0.06)
    assert places.reciprocal() == pytest.approx(reciprocal, abs=0.02)


def test_policies_are_ordered_and_agree_without_ties():
    rng = np.random.default_rng(1)
    tied = rng.integers(0, 5, (30, 30)).astype(float)
    low, middle, high = (metrics.recall_at_k(tied, 5, ties=t) for t in ("pessimistic", "expected", "optimistic"))
    assert low < middle < high
    plain = rng.standard_normal((30, 30))
    assert len({metrics.recall_at_k(plain, 5, ties=t) for t in metrics.TIES}) == 1


@pytest.mark.parametrize("relevant_each", [1, 3])
def test_constant_scores_give_exactly_chance(relevant_each):
    relevant = np.kron(np.eye(8, dtype=bool), np.ones((relevant_each, relevant_each), bool))
    n = len(relevant)
    for k in (1, 5, 10):
        value = metrics.recall_at_k(np.zeros((n, n)), k, relevant)
        assert value == pytest.approx(metrics.chance_recall_at_k(n, k, relevant.sum(1)))


def test_limits_and_invariances():
    rng = np.random.default_rng(2)
    scores = rng.standard_normal((200, 200))
    assert metrics.recall_at_k(scores + 100 * np.eye(200), 1) == 1
    assert metrics.recall_at_k(scores, 10) == pytest.approx(0.05, abs=0.04)
    order = rng.permutation(200)
    assert metrics.median_rank(scores[order][:, order]) == metrics.median_rank(scores)
    assert metrics.recall_at_k(3 * scores - 7, 5) == metrics.recall_at_k(scores, 5)


def test_chance_closed_forms_equal_simulation():
    assert metrics.chance_recall_at_k(100, 1) == pytest.approx(0.01)
    assert metrics.chance_recall_at_k(10, 10, 2) == 1
    assert metrics.chance_median_rank(101) == 51
    assert metrics.chance_median_rank(100) == 50.5
    rng = np.random.default_rng(3)
    n_relevant = np.array([1, 4])
    first = np.array([np.sort(rng.permutation(30)[:r])[0] + 1 for r in n_relevant for _ in range(20000)])
    assert metrics.chance_recall_at_k(30, 5, n_relevant) == pytest.approx((first <= 5).mean(), abs=0.01)
    assert metrics.chance_median_rank(30, n_relevant) == pytest.approx(np.median(first), abs=1)


def test_choices():
    scores = np.array([[1, 2, 3], [3, 2, 1], [1, 1, 1]], float)
    assert metrics.choice_hits(scores, np.array([2, 1, 0])) == pytest.approx([1, 0, 1 / 3])
    assert metrics.choice_accuracy(scores, np.array([2, 0, 0]), "pessimistic") == pytest.approx(2 / 3)


# --------------------------------------------------------------------------------------------------- seconds

TRUTH = np.array([0, 0, 1, 1, 2, 2, 0, 0])


def test_frames_worked():
    predicted = np.array([0, 1, 1, 1, 2, 1, 0, 0])
    assert metrics.frame_accuracy(predicted, TRUTH) == 6 / 8
    assert metrics.foreground_recall(predicted, TRUTH) == 3 / 4
    assert metrics.foreground_precision(predicted, TRUTH) == 3 / 5
    assert metrics.predicted_background_share(predicted) == 3 / 8


def test_all_background_gives_the_background_share_and_nothing_else():
    silent = np.zeros_like(TRUTH)
    assert metrics.frame_accuracy(silent, TRUTH) == 4 / 8
    assert metrics.foreground_recall(silent, TRUTH) == 0
    assert metrics.foreground_precision(silent, TRUTH) == 0
    assert metrics.predicted_background_share(silent) == 1


# -------------------------------------------------------------------------------------------------- segments


def edit_score(predicted, truth):
    return metrics.segment_scores(predicted, truth, ())[0]


def segment_f1(predicted, truth, overlap):
    return metrics.segment_scores(predicted, truth, (overlap,))[1]


def test_published_segmentation_scores(real):
    stored = np.load(real / "segmentation_golden" / "ed_tcn_50salads_mid.npz")
    pairs = [(stored[f"{key[:-2]}/P"], stored[key]) for key in stored if key.endswith("/Y")]
    assert len(pairs) == 50
    mean = lambda metric, *a: 100 * np.mean([metric(p, y, *a) for p, y in pairs])  # noqa: E731
    assert mean(metrics.frame_accuracy) == pytest.approx(64.7, abs=0.05)
    assert mean(edit_score) == pytest.approx(59.8, abs=0.05)
    assert [mean(segment_f1, o) for o in (0.1, 0.25, 0.5)] == pytest.approx([68.0, 63.9, 52.6], abs=0.06)


def test_segments_worked():
    labels, starts, ends = metrics.runs(np.array([0, 3, 3, 0, 2, 3]))
    assert (labels.tolist(), starts.tolist(), ends.tolist()) == ([3, 2, 3], [1, 4, 5], [3, 5, 6])
    truth = np.array([1, 1, 0, 2, 2, 3, 3])
    assert edit_score(truth, truth) == 1
    assert edit_score(np.array([1, 1, 1, 3, 3, 3, 3]), truth) == pytest.approx(1 - 1 / 3)  # one step dropped
    half = np.array([1, 0, 0, 2, 2, 2, 2])  # 1 with tIoU 1/2, 2 with 2/4, 3 missed
    assert segment_f1(half, truth, 0.5) == pytest.approx(2 * 2 / 5)
    assert segment_f1(half, truth, 0.51) == 0
    # two pieces of one true segment: the second is a false positive
    assert segment_f1(np.array([1, 1, 1, 0, 1]), np.array([1, 1, 1, 1, 1]), 0.1) == pytest.approx(2 / 3)


def _levenshtein(a, b):
    if not a or not b:
        return len(a) + len(b)
    return min(_levenshtein(a[1:], b) + 1, _levenshtein(a, b[1:]) + 1, _levenshtein(a[1:], b[1:]) + (a[0] != b[0]))


def test_edit_score_equals_the_recursive_definition():
    rng = np.random.default_rng(4)
    for _ in range(20):
        a, b = rng.integers(0, 4, (2, 8))
        x, y = metrics.runs(a)[0].tolist(), metrics.runs(b)[0].tolist()
        expected = 1 - _levenshtein(x, y) / max(len(x), len(y)) if x or y else 1
        assert edit_score(a, b) == pytest.approx(expected)


def test_empty_segmentations():
    silent, spoken = np.zeros(4, int), np.array([0, 1, 1, 0])
    assert edit_score(silent, silent) == segment_f1(silent, silent, 0.5) == 1
    for a, b in ((silent, spoken), (spoken, silent)):
        assert edit_score(a, b) == segment_f1(a, b, 0.5) == 0


def test_tiou():
    assert metrics.tiou([0, 10], [5, 15]) == pytest.approx(1 / 3)
    table = metrics.tiou(np.array([[[0, 4]], [[4, 8]]]), np.array([[[0, 4], [2, 6], [9, 9]]]))  # (2, 1) x (1, 3)
    assert table == pytest.approx(np.array([[1, 1 / 3, 0], [0, 1 / 3, 0]]))
    assert metrics.tiou([3, 3], [3, 3]) == 0


# -------------------------------------------------------------------------------------------------- clusters


def test_purity_and_nmi():
    classes = np.array(["stew", "stew", "pie", "pie"])
    assert metrics.purity(np.array([7, 7, 2, 2]), classes) == metrics.nmi(np.array([7, 7, 2, 2]), classes) == 1
    assert metrics.purity(np.zeros(4, int), classes) == 0.5
    assert metrics.nmi(np.zeros(4, int), classes) == 0
    assert metrics.nmi(np.array([0, 1, 0, 1]), classes) == pytest.approx(0)
    # by hand: joint (1/2, 1/4, 1/4), entropies ln2-ish; I = H(u) + H(v) - H(u, v)
    u, v, both = np.log(2), 0.75 * np.log(4 / 3) + 0.25 * np.log(4), 0.5 * np.log(2) + 0.5 * np.log(4)
    assert metrics.nmi(np.array([0, 0, 1, 1]), np.array([0, 0, 0, 1])) == pytest.approx(2 * (u + v - both) / (u + v))


@pytest.mark.parametrize(("ask", "message"), [
    (lambda: metrics.ranks([[1, 2], [np.nan, 3]]), r"1 NaN, the first at \(1, 0\)"),
    (lambda: metrics.ranks(WORKED[:3]), "must be square"),
    (lambda: metrics.ranks(WORKED, np.arange(16).reshape(4, 4) > 3), "query 0 has no relevant item"),
    (lambda: metrics.ranks(WORKED, np.ones((4, 3), bool)), r"expected relevant \(4, 4\), got \(4, 3\)"),
    (lambda: metrics.ranks(WORKED, ties="lucky"), "expected ties to be one of"),
    (lambda: metrics.ranks(np.zeros((0, 4))), "non-empty"),
    (lambda: metrics.choice_hits(WORKED, np.array([0, 1, 2, 4])), r"answers in 0\.\.3"),
    (lambda: metrics.frame_accuracy(np.array([0.0, np.nan]), TRUTH[:2]), "expected predicted labels as integers"),
    (lambda: metrics.frame_accuracy(TRUTH[1:], TRUTH), r"expected predicted labels \(8,\), got \(7,\)"),
    (lambda: metrics.tiou([5, 3], [0, 1]), "start <= end"),
])  # fmt: skip
def test_what_is_wrong_is_named(ask, message):
    with pytest.raises(VcworkError, match=message):
        ask()


@pytest.mark.parametrize("module", ["vcwork.measure.metrics", "vcwork.measure.result", "vcwork.measure.trivial"])
def test_no_heavy_package_is_imported(module):
    code = f"import sys, {module}; print([m for m in ('torch', 'faiss', 'matplotlib', 'av') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"
