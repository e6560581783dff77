"""Metrics and intervals against worked answers, simulation and published scores; predictors that know nothing."""

import numpy as np
import pytest
from checks import refused

from vcwork.measure import intervals, metrics, trivial

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


@pytest.mark.parametrize("kind", [np.float32, np.int8])
def test_places_are_the_same_in_blocks_and_with_items_taken_out(monkeypatch, kind):
    rng = np.random.default_rng(0)
    scores, relevant = rng.integers(0, 5, (40, 30)).astype(kind), rng.random((40, 30)) < 0.2
    relevant[:, 0], out = True, rng.random((40, 30)) < 0.5
    out[:, 0] = False
    hidden = np.where(out, -np.inf, scores)
    by_hand = [[row.tolist() for row in _places(s, r)] for s, r in ((scores, relevant), (hidden, relevant & ~out))]
    monkeypatch.setattr(metrics, "BLOCK", 90)  # three queries
    for args, rows in zip([(relevant,), (relevant & ~out, out)], by_hand, strict=True):
        places = metrics.place(scores, *args)
        found = places.above, places.tied, places.relevant_tied, places.n_relevant
        assert [row.tolist() for row in found] == rows
    assert metrics.ranks(scores[:30]).tolist() == metrics.ranks(scores[:30], np.eye(30, dtype=bool)).tolist()


def _places(scores, relevant):
    """The whole matrix at once: above, tied, tied and relevant, relevant."""
    best = np.where(relevant, scores, -np.inf).max(1, keepdims=True)
    return (scores > best).sum(1), (scores == best).sum(1), ((scores == best) & relevant).sum(1), relevant.sum(1)


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
        refused("the reference code's counting is there for R@k and the median rank", ask, WORKED, ties="reference")
    for ask in (lambda: metrics.recall_at_k(WORKED, 1, many, "reference"),
                lambda: metrics.median_rank(WORKED, many, "reference")):  # fmt: skip
        refused("knows one relevant item a query", ask)


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


@pytest.mark.parametrize("predicted, values", [
    ([0, 1, 1, 1, 2, 1, 0, 0], (6 / 8, 3 / 4, 3 / 5, 3 / 8)),
    ([0] * 8, (4 / 8, 0, 0, 1)),  # silence earns the share of background and nothing else
])  # fmt: skip
def test_frames_worked(predicted, values):
    predicted = np.array(predicted)
    of = (metrics.frame_accuracy, metrics.foreground_recall, metrics.foreground_precision)
    found = [metric(predicted, TRUTH) for metric in of]
    assert (*found, metrics.predicted_background_share(predicted)) == values


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
    (lambda: metrics.ranks(WORKED, np.where(np.eye(4), 1, np.nan)), "True and False, or 1 and 0, got nan"),
    (lambda: metrics.ranks(WORKED, 1 - 2 * np.eye(4, dtype=int)), "True and False, or 1 and 0, got -1"),
    (lambda: metrics.ranks(WORKED, np.eye(4).astype(int).astype(str)), "True and False, or 1 and 0, got '1'"),
    (lambda: metrics.ranks(WORKED, ties="lucky"), "expected ties to be one of"),
    (lambda: metrics.ranks(np.zeros((0, 4))), "non-empty"),
    (lambda: metrics.choice_hits(WORKED, np.array([0, 1, 2, 4])), r"answers in 0\.\.3"),
    (lambda: metrics.choice_hits(WORKED, np.array(["0", "1", "2", "3"])), r"4 answers in 0\.\.3, got <U1"),
    (lambda: metrics.frame_accuracy(np.array([0.0, np.nan]), TRUTH[:2]), "expected predicted labels as integers"),
    (lambda: metrics.frame_accuracy(TRUTH[1:], TRUTH), r"expected predicted labels \(8,\), got \(7,\)"),
    (lambda: metrics.tiou([5, 3], [0, 1]), "start <= end"),
])  # fmt: skip
def test_what_is_wrong_is_named(ask, message):
    refused(message, ask)


def test_ones_and_zeros_are_as_good_as_true_and_false():
    for kind in (bool, int, float, np.uint8):
        assert np.array_equal(metrics.ranks(WORKED, np.eye(4, dtype=kind)), metrics.ranks(WORKED))


# ------------------------------------------------------------------------------- predictors that know nothing


def test_random_in_order_equals_simulation():
    rng = np.random.default_rng(7)
    inside = np.zeros((3, 20), bool)
    inside[0, 2:6] = inside[1, 8:10] = inside[2, 0:9] = True
    draws = np.array([np.sort(rng.choice(20, 3, replace=False)) for _ in range(20000)])
    simulated = [inside[k, draws[:, k]].mean() for k in range(3)]
    assert trivial.random_in_order_hits(inside) == pytest.approx(simulated, abs=0.012)
    assert trivial.random_in_order_hits(np.ones((5, 300), bool)) == pytest.approx(np.ones(5))
    assert trivial.random_hits(inside).tolist() == [4 / 20, 2 / 20, 9 / 20]
    refused("3 steps do not fit", trivial.random_in_order_hits, inside[:, :2])


def test_linear_in_time_recovers_a_line():
    centres = [np.array([20.0, np.nan, 60.0]), np.array([15.0, 35.0])]
    intercept, slope = trivial.fit_linear_in_time(centres, [100, 50])
    at = [(1 / 6, 0.2), (5 / 6, 0.6), (1 / 4, 0.3), (3 / 4, 0.7)]
    assert (slope, intercept) == pytest.approx(tuple(np.polyfit(*zip(*at, strict=True), 1)))
    assert trivial.linear_in_time(2, 10, (0.5, 3.0)).tolist() == [9, 9]  # never beyond the video


def test_bag_of_words_finds_what_is_said_and_nothing_else():
    said = ["now fry the onion", "stir the soup slowly", "", "fry the fish and the onion"]
    scores = trivial.bag_of_words(["Fry the fish!", "stir", "dance"], said)
    assert scores.shape == (3, 4) and scores[0].argmax() == 3 and scores[1].argmax() == 1
    assert not scores[:, 2].any() and not scores[2].any() and scores.max() <= 1 + 1e-9
    assert trivial.bag_of_words(["a b", "c"], ["b a", "c c"])[[0, 1], [0, 1]] == pytest.approx([1, 1])
    assert not trivial.bag_of_words(["..."], ["", "!"]).any()


def test_text_prior_prefers_usual_words():
    prior = trivial.fit_text_prior(["stir the soup", "stir the sauce"])
    scores = trivial.text_prior(prior, [["stir the soup", "juggle three knives", "stir the knives", ""]])[0]
    assert scores[0] > scores[2] > scores[1] == scores[3]
    assert sum(np.exp(p) for p in prior.values()) == pytest.approx(1)


def test_predictors_from_time_and_order_alone():
    assert trivial.one_second(np.array([[0.0, 2], [4, 4]])).tolist() == [[2, 3]], "the mean"
    assert trivial.steps_in_order([4, 2], 5).tolist() == [4, 4, 2, 2, 2]
    assert trivial.steps_in_order([], 3).tolist() == [0, 0, 0]
    assert trivial.uniform_in_order(3, 30).tolist() == [5, 15, 25]
    assert trivial.uniform_in_order(4, 4).tolist() == [0, 1, 2, 3]
    assert trivial.uniform_in_order(5, 90)[1] == 27, "0.3 * 90 in floats falls short of it"
    refused("a line in time needs at least 2 steps", trivial.fit_linear_in_time, [], [])
    refused("a video or more", trivial.fit_relative_time, [])
    truths = [np.array([0, 0, 1, 1, 0, 0, 2, 2]), np.array([0, 1, 0, 2])]
    prior = trivial.fit_relative_time(truths, n_bins=4)
    assert prior.tolist() == [0, 1, 0, 2]
    assert trivial.relative_time(prior, 8).tolist() == [0, 0, 1, 1, 0, 0, 2, 2]
    assert trivial.majority_step(truths) == 1
    assert trivial.majority_step([np.zeros(5, int)]) == 0


def test_what_is_said_places_a_step_and_the_order_those_never_spoken_of():
    said = np.zeros((30, 3))
    said[[7, 8], 0] = 0.2, 0.9
    assert trivial.spoken_in_order(said).argmax(0).tolist() == [8, 15, 25]


def _world(rng, n_videos):
    """Items of a video share its own difficulty; the true mean is one half."""
    sizes = rng.integers(3, 9, n_videos)
    video = np.repeat(np.arange(n_videos), sizes)
    return (rng.random(len(video)) < rng.beta(2, 2, n_videos)[video]).astype(float), video


@pytest.mark.parametrize("n_videos", [12, 60])
def test_the_interval_covers_the_truth_as_often_as_it_claims(n_videos):
    rng, covered, covered_items = np.random.default_rng(0), 0, 0
    for _ in range(1000):
        items, video = _world(rng, n_videos)
        low, high = intervals.bootstrap_by_video(items, video)
        covered += low <= 0.5 <= high
        low, high = intervals.bootstrap_by_video(items, np.arange(len(items)))
        covered_items += low <= 0.5 <= high
    assert 0.93 <= covered / 1000 <= 0.97
    assert covered_items / 1000 < 0.92  # pretending that clips are independent is too sure of itself


def test_bootstrap_equals_the_slow_way():
    rng = np.random.default_rng(1)
    items, video = _world(rng, 40)
    low, high = intervals.bootstrap_by_video(items, video, n_boot=4000)
    groups = [items[video == v] for v in range(40)]
    slow = [np.concatenate([groups[i] for i in rng.integers(0, 40, 40)]).mean() for _ in range(4000)]
    assert (low, high) == pytest.approx(tuple(np.quantile(slow, [0.02, 0.98])), abs=0.012)


def test_bootstrap_same_seed_same_interval_and_order_does_not_matter():
    items, video = _world(np.random.default_rng(2), 20)
    shuffled = np.random.default_rng(3).permutation(len(items))
    first = intervals.bootstrap_by_video(items, video, seed=5)
    assert first == pytest.approx(intervals.bootstrap_by_video(items[shuffled], video[shuffled], seed=5))
    assert first != intervals.bootstrap_by_video(items, video, seed=6)
    named = np.array([f"video-{v:03d}" for v in video])
    assert first == intervals.bootstrap_by_video(items, named, seed=5)


def test_all_right_or_all_wrong_still_has_an_interval():
    assert intervals.bootstrap_by_video(np.zeros(10), np.arange(10)) == pytest.approx((0, 0.3085), abs=1e-3)
    assert intervals.bootstrap_by_video(np.ones(10), np.arange(10)) == pytest.approx((0.6915, 1), abs=1e-3)


def test_videos_that_all_have_one_share_still_have_an_interval():
    items = np.tile([1.0, 0, 0], 4)  # each of four videos has a third
    low, high = intervals.bootstrap_by_video(items, np.repeat(np.arange(4), 3))
    assert (low, high) == pytest.approx((0.0751, 0.7549), abs=1e-4)  # Wilson: 0.415 +- 0.340
    width = lambda n: np.ptp(intervals.bootstrap_by_video(np.tile([1.0, 0], n), np.repeat(np.arange(n), 2)))  # noqa: E731
    assert width(50) < width(5) / 2


def test_mean_over_groups_skips_groups_a_draw_does_not_hold():
    totals = np.kron(np.eye(2), np.ones((10, 1)))  # ten videos of each of two tasks
    low, high = intervals.bootstrap_ratio(totals * [1, 0], totals)
    assert low == high == 0.5  # one task always right, the other always wrong


def test_bootstrap_median():
    rng = np.random.default_rng(4)
    ranks, video = rng.integers(1, 100, 400).astype(float), np.repeat(np.arange(100), 4)
    low, high = intervals.bootstrap_median(ranks, video)
    assert low < np.median(ranks) < high and high - low < 25


def test_bad_bootstrap_input_is_named():
    refused("at least 2 videos, got 1", intervals.bootstrap_by_video, np.ones(3), ["a", "a", "a"])
    refused("hold NaN", intervals.bootstrap_by_video, np.array([1, np.nan]), ["a", "b"])
    refused("without NaN or infinity", intervals.bootstrap_by_video, np.array([1, np.inf]), ["a", "b"])
    refused("at least one draw", intervals.bootstrap_by_video, np.array([1, 0.5]), ["a", "b"], n_boot=0)
    refused(r"one video id per item \(3\), got \(2,\)", intervals.bootstrap_by_video, np.ones(3), ["a", "b"])


def test_paired_comparison_is_sharper_than_two_intervals():
    rng = np.random.default_rng(5)
    hard = rng.random(300)  # each item's own difficulty, shared by both systems
    video = np.repeat(np.arange(60), 5)
    a, b = (hard > 0.4).astype(float), (hard > 0.45).astype(float)
    paired = intervals.paired_bootstrap(a, b, video)
    assert paired.clear and paired.difference > 0 and paired.p < 0.05
    assert intervals.bootstrap_by_video(a, video)[0] < intervals.bootstrap_by_video(b, video)[1]  # these overlap
    same = intervals.paired_bootstrap(a, a, video)
    assert not same.clear and same.p == 1


def test_a_comparison_of_equal_systems_is_rarely_clear():
    rng, clear = np.random.default_rng(6), np.zeros(2)
    for _ in range(400):
        a, b = rng.random((2, 90)) < 0.5
        video = np.repeat(np.arange(30), 3)
        clear[0] += intervals.paired_bootstrap(a, b, video, n_boot=1000).clear
        clear[1] += intervals.paired_randomisation(a, b, video, n_draws=500) <= 0.05
    assert (clear / 400 < 0.08).all() and clear[1] > 0


def test_paired_randomisation_counts_all_sign_changes():
    a, b = np.array([1, 1, 1, 0, 1.0]), np.array([0, 0, 0, 0, 1.0])
    # by video: +2, +1, 0: of the 8 ways (4 without the zero) +-3 is as far as it gets, two of four
    assert intervals.paired_randomisation(a, b, list("xxyzz")) == pytest.approx(2 / 4)
    assert intervals.paired_randomisation(a, a, list("xxyzz")) == 1
    refused("same items for both systems", intervals.paired_randomisation, a, b[:4], list("xxyzz"))


def test_drawn_randomisation_agrees_with_all_of_them_and_with_the_bootstrap():
    rng = np.random.default_rng(8)
    video = np.repeat(np.arange(13), 4)
    b = (rng.random(52) < 0.5).astype(float)
    a = np.maximum(b, rng.random(52) < 0.6)
    every = intervals.paired_randomisation(a, b, video)
    wide = np.append(video, [13, 14])  # two more videos without a difference: random signs instead of all
    drawn = intervals.paired_randomisation(np.append(a, [1, 1]), np.append(b, [1, 1]), wide, n_draws=20_000)
    assert drawn == pytest.approx(every, abs=0.01) and 0 < drawn < 0.05
    assert intervals.paired_bootstrap(a, b, video).clear


def test_the_t_interval_of_three_seeds_covers_as_often_as_it_claims():
    rng, covered, in_range = np.random.default_rng(10), 0, 0
    for _ in range(2000):
        values = rng.normal(0.3, 0.02, 3)
        covered += abs(values.mean() - 0.3) <= intervals.t_half_width(values)
        in_range += values.min() <= 0.3 <= values.max()
    assert 0.94 < covered / 2000 < 0.96 and in_range / 2000 < 0.8, "the range of three seeds holds the truth 3 in 4"
    refused("at least 2 numbers", intervals.t_half_width, [0.3])


def test_shares_alone_give_the_widths_and_z_known_from_the_paper():
    widths = {(0.227, 3305): 1.43, (0.322, 3305): 1.59, (0.104, 1000): 1.89, (0.309, 1000): 2.86, (0.166, 4021): 1.15}
    assert {key: round(100 * intervals.half_width(*key), 2) for key in widths} == widths
    table7 = {0.185: 4.2, 0.124: 11.1, 0.161: 6.8, 0.219: 0.8, 0.225: 0.2, 0.201: 2.6, 0.221: 0.6}
    assert {row: round(intervals.unpaired_z(0.227, row, 3305), 1) for row in table7} == table7
    assert intervals.unpaired_z(0.2, 0.3, 100) == -intervals.unpaired_z(0.3, 0.2, 100) < 0


def test_the_interval_covers_about_95_in_100():
    rng = np.random.default_rng(1)
    for share, n in ((0.03, 200), (0.5, 100), (0.974, 500)):
        found = [intervals.wilson(x / n, n) for x in rng.binomial(n, share, 2000)]
        inside = [low <= share <= high for low, high in found]
        assert 0.92 < np.mean(inside) < 0.98
    assert intervals.wilson(0.0, 10)[0] == pytest.approx(0) and intervals.wilson(1.0, 10)[1] == pytest.approx(1)
    refused("a share from 0 to 1", intervals.unpaired_z, 22.7, 0.2, 100)
