"""Pairs really overlap, lengths keep their ranges, and the same seed draws the same; clusters hold neighbours."""

import numpy as np
import pytest

from vcwork.clusters import cluster_batches, kmeans, nearest, random_batches
from vcwork.config import ClusterConfig, OverlapConfig
from vcwork.errors import VcworkError
from vcwork.sampling import Track, overlapped_span, sample_pair, span_iou, strict_span
from vcwork.tasks import clustering


def make_track(n: int = 40, seconds: int = 160) -> Track:
    starts = np.arange(n) * seconds / n
    return Track("v", starts, starts + seconds / n, tuple((i,) * (5 + i % 4) for i in range(n)), seconds)


def draws(rule: OverlapConfig, n: int = 2000) -> list:
    track, rng = make_track(), np.random.default_rng(0)
    return [sample_pair(track, rule, rng) for _ in range(n)]


def test_overlapped_pairs_share_a_moment_and_keep_their_ranges():
    rule = OverlapConfig()
    pairs = draws(rule)
    for p in pairs:
        assert 0 <= p.video_start < p.video_end <= 160 and 3 <= p.video_end - p.video_start <= 32
        assert p.video_start <= np.ceil(p.text_end_s) and p.video_end >= np.floor(p.text_start_s), "must touch in time"
        assert len(p.tokens) >= rule.min_text_tokens
    lengths = np.array([p.video_end - p.video_start for p in pairs])
    assert lengths.min() == 3 and lengths.max() == 32 and abs(lengths.mean() - 17.5) < 0.7, "uniform on 3..32"
    assert 0.1 < np.mean([span_iou(p) for p in pairs]) < 0.9


def test_strict_pairs_are_the_texts_own_range():
    for p in draws(OverlapConfig(rule="strict"), 300):
        assert p.video_start == int(np.floor(p.text_start_s)) and p.video_end <= p.video_start + 32
    assert strict_span(200.0, 210.0, 160, 32) == (159, 160), "a text beyond the features still gets one second"


def test_same_seed_same_pairs():
    assert draws(OverlapConfig(), 50) == draws(OverlapConfig(), 50)


def test_short_videos_and_single_captions():
    track = Track("s", np.array([0.0]), np.array([2.0]), ((1, 2, 3),), 2)
    pair = sample_pair(track, OverlapConfig(), np.random.default_rng(0))
    assert (pair.video_start, pair.video_end) == (0, 2) and pair.tokens == [1, 2, 3]
    assert overlapped_span(5.0, 5.0, 3, OverlapConfig(), np.random.default_rng(0)) == (0, 3), "centre clamped"


def test_empty_tracks_are_refused_by_name():
    with pytest.raises(VcworkError, match="nothing"):
        sample_pair(Track("nothing", np.zeros(0), np.zeros(0), (), 5), OverlapConfig(), np.random.default_rng(0))


def test_ranges_the_wrong_way_round():
    with pytest.raises(VcworkError, match="min <= max"):
        OverlapConfig.checked(min_video_s=9, max_video_s=3)


def test_nearest_is_brute_force():
    x = np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32)
    ids, distance = nearest(x, 5)
    slow = ((x[:, None] - x) ** 2).sum(-1)
    np.testing.assert_array_equal(ids, slow.argsort(1)[:, :5])
    np.testing.assert_allclose(distance, np.sort(slow, 1)[:, :5], atol=1e-4)
    with pytest.raises(VcworkError, match="finite"):
        nearest(np.full((3, 2), np.nan), 1)


def test_cluster_batches_stay_in_the_neighbourhood():
    groups = np.repeat(np.arange(4), 16)
    x = np.eye(4)[groups] * 9 + np.random.default_rng(0).normal(size=(64, 4)) * 0.1
    batches = cluster_batches(x, ClusterConfig(videos_per_batch=8), 10, np.random.default_rng(0))
    assert len(batches) == 10 and all(len(set(b)) == 8 for b in batches)
    assert all(len(set(groups[b])) == 1 for b in batches)
    assert any(
        len(set(groups[b])) > 1
        for b in random_batches(64, ClusterConfig(videos_per_batch=8), 10, np.random.default_rng(0))
    )


def test_kmeans_finds_separate_groups_and_is_reproducible():
    groups = np.repeat(np.arange(3), 20)
    x = np.eye(3)[groups] * 5 + np.random.default_rng(1).normal(size=(60, 3)) * 0.1
    found = kmeans(x, 3, seed=0)
    np.testing.assert_array_equal(found, kmeans(x, 3, seed=0))
    purity, nmi = clustering.evaluate(found, groups, np.arange(60), n_boot=50)
    assert purity.value == nmi.value == 1 and purity.chance < 0.6 and nmi.chance < 0.2


def test_kin_share_of_random_batches_is_chance():
    kin = np.repeat(np.arange(8), 8)
    kin = kin[:, None] == kin
    batches = random_batches(64, ClusterConfig(videos_per_batch=16), 300, np.random.default_rng(0))
    result = clustering.kin_share(batches, kin, "kin")
    assert result.low <= result.chance <= result.high and result.chance == pytest.approx(7 / 63)
