"""What a retrieval number owes to its gallery, duplicates and tricks; hubs, gap and lengths in known spaces."""

import numpy as np
import pytest
from checks import refused

from vcwork.measure import metrics
from vcwork.measure.card import Card
from vcwork.measure.result import results_table
from vcwork.review import geometry, retrieval_audit
from vcwork.tasks import retrieval

SETTING = Card(split="toy test", model="none", features="none")


def _weak(n=60, per_video=3, signal=2.0, seed=0):
    """Scores (N, N) of a weak model, and each clip's video."""
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, n)) + signal * np.eye(n), np.repeat(np.arange(n // per_video), per_video)


def _hubs(n=200, bias=1.5, seed=0):
    """A model that is good but for a bias of each clip: some are found by everyone."""
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, n)) + 4 * np.eye(n) + bias * rng.standard_normal(n), np.arange(n)


# ------------------------------------------------------------------------------------------------- pool size


def test_pool_curve_falls_with_the_pool_and_is_one_by_n_for_scores_that_mean_nothing():
    scores, videos = _weak(n=300, per_video=3)
    sizes, own = [2, 5, 10, 30, 100, 300], np.eye(300, dtype=bool)
    curve = retrieval_audit.pool_curve(scores, videos, sizes, own, setting=SETTING)
    values = [r.value for r in curve]
    assert values == sorted(values, reverse=True) and [r.protocol.pool for r in curve] == sizes
    assert [r.chance for r in curve] == pytest.approx([1 / n for n in sizes])
    flat = retrieval_audit.pool_curve(np.zeros((300, 300)), videos, sizes, own, draws=3, setting=SETTING)
    assert [r.value for r in flat] == pytest.approx([1 / n for n in sizes])
    assert "pool of 30" in results_table(curve), "and every row says its pool"


def test_pool_curve_of_groups():
    scores, videos = _weak(n=80, per_video=4)
    groups = np.arange(80) % 20
    same = groups[:, None] == groups
    curve = retrieval_audit.pool_curve(scores, videos, [10, 80], same, draws=200, setting=SETTING)
    assert curve[1].value == pytest.approx(metrics.recall_at_k(scores, 1, same)), "the whole gallery is no sample"
    assert curve[1].chance == pytest.approx(metrics.chance_recall_at_k(80, 1, same.sum(1)))
    assert curve[0].value > curve[1].value and curve[0].trivial["constant score"] == pytest.approx(curve[0].chance)
    refused(r"sizes above 1 and up to 80, got \[1\]", retrieval_audit.pool_curve, scores, videos, [1], same)


# ---------------------------------------------------------------------------------------------------- tricks


def test_dual_softmax_one_query_at_a_time_is_the_plain_model():
    scores, _ = _hubs()
    alone = retrieval_audit.dual_softmax(scores, 1)
    np.testing.assert_array_equal(alone.scores, scores)
    # one batch by hand: the product of the two softmaxes ranks alike
    batch = retrieval_audit.dual_softmax(scores)
    e = np.exp(scores)
    by_hand = e / e.sum(1, keepdims=True) * (e / e.sum(0, keepdims=True))
    assert np.array_equal(np.argsort(-batch.scores, 1), np.argsort(-by_hand, 1))
    shifted = retrieval_audit.dual_softmax(scores + 5.0)
    np.testing.assert_allclose(shifted.scores - 5.0, batch.scores, err_msg="a common level means nothing")
    refused("at least one query at a time, got 0", retrieval_audit.dual_softmax, scores, 0)


def test_the_batch_curve_shows_what_the_trick_owes_to_the_crowd():
    scores, videos = _hubs()
    own = np.eye(200, dtype=bool)
    curve = retrieval_audit.batch_curve(scores, own, videos, [1, 10, 200], draws=5, setting=SETTING)
    assert curve[0].value == metrics.recall_at_k(scores, 1), "batch 1 equals plain"
    assert curve[0].value < curve[1].value < curve[2].value - 0.05
    for found, told in zip(curve, ("1 at a time", "10 at a time", "all at once"), strict=True):
        assert found.protocol.tricks == (f"dual softmax over 200 test queries, {told} (transductive)",)
    assert "TEST-TIME TRICK: dual softmax over 200 test queries, all at once (transductive)" in results_table(curve)


def test_query_bank_takes_train_texts_only_and_pushes_hubs_down():
    rng = np.random.default_rng(5)
    bias = 1.5 * rng.standard_normal(200)
    scores = rng.standard_normal((200, 200)) + 4 * np.eye(200) + bias
    bank = rng.standard_normal((400, 200)) + bias  # train texts see the same hubs
    tricked = retrieval_audit.query_bank(scores, bank, "toy")
    assert metrics.recall_at_k(tricked.scores, 1) > metrics.recall_at_k(scores, 1) + 0.1
    assert tricked.card(SETTING).tricks == ("query bank of 400 texts of toy train",)
    quiet = np.full((1, 200), -1.0)
    quiet[0, 3] = 9  # this bank text speaks of clip 3 alone
    changed = (retrieval_audit.query_bank(scores, quiet, "toy").scores != scores).any(1)
    assert np.array_equal(changed, scores.argmax(1) == 3), "queries whose best clip no bank text found stay as they are"
    for split in ("test", "val", "", "no train"):
        refused("expected texts of the train split", retrieval_audit.query_bank, scores, bank, "toy", split)
    refused(r"same 200 items, got \(400, 199\)", retrieval_audit.query_bank, scores, bank[:, 1:], "toy")


def test_tricks_reach_the_results_of_the_task():
    scores, videos = _hubs()
    tricked = retrieval_audit.dual_softmax(scores)
    results = retrieval.evaluate(tricked.scores, videos, videos, videos, setting=tricked.card(SETTING), n_boot=20)
    assert all(r.protocol.tricks == (tricked.trick,) for r in results)
    assert results[0].protocol.differs(Card(tricks=())) == ["tricks"]


# -------------------------------------------------------------------------------- lengths and false negatives


def test_length_bins_hold_every_query_once():
    scores, videos = _weak()
    seconds = np.linspace(1, 50, 60)
    own = np.eye(60, dtype=bool)
    bins = retrieval_audit.by_length(scores, own, seconds, videos, setting=SETTING)
    assert [r.name.removeprefix("t2v_R@1 clips ") for r in bins] == [
        "of 0 to 8 s", "of 8 to 16 s", "of 16 to 32 s", "over 32 s"
    ]  # fmt: skip
    assert sum(r.n for r in bins) == 60
    hits = metrics.place(scores, own).hit(1)
    assert sum(r.value * r.n for r in bins) == pytest.approx(hits.sum())
    assert bins[-1].value == hits[seconds > 32].mean() and bins[-1].protocol.pool == 60
    short = retrieval_audit.by_length(scores, own, np.where(np.arange(60) < 2, 40, 4), videos)
    assert len(short) == 1, "one video alone has no interval"


def test_false_negatives_equal_counting_every_pair():
    rng = np.random.default_rng(0)
    batches = [list(rng.integers(0, 5, 12)) for _ in range(4)]
    pairs = [(a == b) for batch in batches for i, a in enumerate(batch) for j, b in enumerate(batch) if i != j]
    met = [batch.count(a) > 1 for batch in batches for a in batch]
    found = retrieval_audit.false_negatives(batches)
    assert found.negatives == len(pairs) == 4 * 12 * 11
    assert found.share == pytest.approx(np.mean(pairs)) and found.affected == pytest.approx(np.mean(met))
    cluster = retrieval_audit.false_negatives([np.repeat(np.arange(32), 16).tolist()])
    assert cluster.share == pytest.approx(15 / 511) and cluster.affected == 1, "16 clips of each of 32 videos"
    assert retrieval_audit.false_negatives(["abc"]).share == 0
    refused("a batch of at least two items", retrieval_audit.false_negatives, [["a"], ["b"]])


# -------------------------------------------------------------------------------------------------- geometry


def _sphere(n, width, rng):
    return metrics.unit(rng.standard_normal((n, width)))


def test_hubs_grow_with_dimension_and_with_a_bias_of_items():
    rng, skew = np.random.default_rng(0), {}
    for width in (2, 16, 256):
        items = rng.standard_normal((1000, width))
        queries = rng.standard_normal((2000, width))
        near = -((queries[:, None, :16] - items[None, :, :16]) ** 2).sum(2) if width <= 16 else (
            2 * queries @ items.T - (items**2).sum(1))  # fmt: skip
        skew[width] = geometry.hubness(near).skew
    assert skew[2] < 1 < skew[16] < skew[256]
    circle = geometry.hubness(_sphere(2000, 2, rng) @ _sphere(500, 2, rng).T)
    biased = geometry.hubness(_sphere(2000, 2, rng) @ _sphere(500, 2, rng).T + rng.standard_normal(500))
    assert abs(circle.skew) < 1.2 and biased.skew > 3 and biased.never > circle.never + 0.3


def test_hubness_worked():
    scores = np.array([[9, 5, 1], [9, 1, 5], [8, 7, 7.0]])
    first, two = geometry.hubness(scores, 1), geometry.hubness(scores, 2)
    assert first.counts.tolist() == [3, 0, 0] and first.never == pytest.approx(2 / 3) and first.top[0] == (0, 3)
    assert two.counts.tolist() == [3, 1.5, 1.5], "two items tied for the last place share it"
    assert first.skew == pytest.approx(np.sqrt(0.5))  # two of three alike, one apart
    assert geometry.hubness(np.zeros((4, 8)), 2).counts == pytest.approx(np.ones(8))
    assert geometry.hubness(np.zeros((4, 8)), 2).skew == 0
    refused("k from 1 to 3 items, got 4", geometry.hubness, scores, 4)


def test_modality_gap_of_a_known_shift():
    rng = np.random.default_rng(1)
    text = rng.standard_normal((400, 8))
    shift = np.arange(8.0)
    gap = geometry.modality_gap(text + shift, text)
    assert gap.length == pytest.approx(np.linalg.norm(shift)) and gap.spread == pytest.approx(np.sqrt(8), rel=0.05)
    assert gap.within_video > 0.9 > abs(gap.within_text) + 0.8, "all videos point the same way now"
    u, v = metrics.unit(text + shift), metrics.unit(text)
    cosines, others = u @ v.T, ~np.eye(400, dtype=bool)
    assert gap.pairs == pytest.approx(np.diag(cosines).mean()) and gap.across == pytest.approx(cosines[others].mean())
    assert gap.within_video == pytest.approx((u @ u.T)[others].mean())
    refused(r"expected pairs \(N, D\), N >= 2", geometry.modality_gap, text, text[:5])


def test_rank_correlation():
    assert geometry.rank_correlation([1, 2, 3, 4], [10, 20, 30, 45]) == pytest.approx(1)
    assert geometry.rank_correlation([1, 2, 3, 4], [4, 3, 2, 1]) == pytest.approx(-1)
    assert geometry.rank_correlation([1, 2, 2, 4], [1, 2, 2, 9]) == pytest.approx(1), "ties at their mean rank"
    assert geometry.rank_correlation([1, 1, 1], [1, 2, 3]) == 0
    rng = np.random.default_rng(0)
    norms = rng.random(300) * 5
    long_ones = geometry.hubness(rng.standard_normal((300, 8)) @ (norms[:, None] * _sphere(300, 8, rng)).T)
    assert geometry.rank_correlation(norms, long_ones.counts) > 0.8, "raw dot products favour long vectors"


def test_curves_over_k_are_the_metric_at_each_k():
    rng, steps = np.random.default_rng(0), np.arange(6) % 4
    scores, right = rng.normal(size=(6, 6)), steps[:, None] == steps
    curves = retrieval.recall_curves(scores, right)
    assert {name: len(curve) for name, curve in curves.items()} == dict.fromkeys(curves, 5)
    assert curves["text to video"][1] == metrics.recall_at_k(scores, 2, right)
    assert curves["video to text"][2] == metrics.recall_at_k(scores.T, 3, right.T)
    assert curves["chance"][0] == pytest.approx(right.sum(1).mean() / 6)


@pytest.mark.parametrize(("scores", "value"), [(np.eye(4), 1.0), (np.zeros((4, 4)), 0.25)])
def test_each_finds_its_own(scores, value):
    found = retrieval.find_own(scores, list("abcd"), "own_R@1", Card("any", "toy test"), "halves find halves")
    assert (found.value, found.chance, found.trivial) == (value, 0.25, {"constant score": 0.25})
    assert found.protocol.pool == 4 and "halves find halves" in str(found.protocol)


def test_centred_units_have_no_common_part():
    vectors = np.array([[10, 1.0], [10, -1], [12, 0], [8, 0]])
    units = geometry.centred_units(vectors)
    np.testing.assert_allclose(np.linalg.norm(units, axis=1), 1)
    np.testing.assert_allclose(units @ units[0], [1, -1, 0, 0], atol=1e-12)
