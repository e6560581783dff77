"""Intervals cover the truth as often as they claim, and paired tests are as sharp as they say."""

import numpy as np
import pytest

from vcwork.base.errors import VcworkError
from vcwork.measure import intervals


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
    wide, narrow = (
        np.ptp(intervals.bootstrap_by_video(np.tile([1.0, 0], n), np.repeat(np.arange(n), 2))) for n in (5, 50)
    )
    assert narrow < wide / 2


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
    with pytest.raises(VcworkError, match="at least 2 videos, got 1"):
        intervals.bootstrap_by_video(np.ones(3), ["a", "a", "a"])
    with pytest.raises(VcworkError, match="hold NaN"):
        intervals.bootstrap_by_video(np.array([1, np.nan]), ["a", "b"])
    with pytest.raises(VcworkError, match=r"one video id per item \(3\), got \(2,\)"):
        intervals.bootstrap_by_video(np.ones(3), ["a", "b"])


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
    with pytest.raises(VcworkError, match="same items for both systems"):
        intervals.paired_randomisation(a, b[:4], list("xxyzz"))


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
    with pytest.raises(VcworkError, match="at least 2 numbers"):
        intervals.t_half_width([0.3])


def test_shares_alone_give_the_widths_and_z_known_from_the_paper():
    widths = {(0.227, 3305): 1.43, (0.322, 3305): 1.59, (0.104, 1000): 1.89, (0.309, 1000): 2.86, (0.166, 4021): 1.15}
    assert {key: round(100 * intervals.half_width(*key), 2) for key in widths} == widths
    table7 = {0.185: 4.2, 0.124: 11.1, 0.161: 6.8, 0.219: 0.8, 0.225: 0.2, 0.201: 2.6, 0.221: 0.6}
    assert {row: round(intervals.unpaired_z(0.227, row, 3305), 1) for row in table7} == table7
    assert intervals.unpaired_z(0.2, 0.3, 100) == -intervals.unpaired_z(0.3, 0.2, 100) < 0


def test_the_interval_covers_about_95_in_100():
    rng = np.random.default_rng(1)
    for share, n in ((0.03, 200), (0.5, 100), (0.974, 500)):
        inside = [
            low <= share <= high for low, high in (intervals.wilson(x / n, n) for x in rng.binomial(n, share, 2000))
        ]
        assert 0.92 < np.mean(inside) < 0.98
    assert intervals.wilson(0.0, 10)[0] == pytest.approx(0) and intervals.wilson(1.0, 10)[1] == pytest.approx(1)
    with pytest.raises(VcworkError, match="a share from 0 to 1"):
        intervals.unpaired_z(22.7, 0.2, 100)
