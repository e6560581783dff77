"""Pairs really overlap, lengths keep their ranges, and the same seed draws the same; clusters hold neighbours."""

import itertools
import threading
from contextlib import closing
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from checks import refused

from vcwork.base.errors import VcworkError
from vcwork.base.feed import drawn_ahead, made_ahead
from vcwork.core.batches import PairData, cluster_batches, collate, draw_pairs, nearest, pad_clips, random_batches
from vcwork.core.config import ClusterConfig, OverlapConfig, TrainConfig
from vcwork.core.sampling import (
    Track,
    first_seconds,
    overlapped_span,
    sample_pair,
    sliding_windows,
    span_iou,
    strict_span,
    varied_pair,
    windows_of,
)
from vcwork.core.text import SPECIAL, Tokenizer
from vcwork.tasks import clustering
from vcwork.tasks.clustering import kmeans


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


@pytest.mark.parametrize("rule", ["overlapped", "strict", "iou", "windows", "bag", "each"])
@pytest.mark.parametrize("before", [0, 1])
def test_draws_read_ahead_are_those_made_one_by_one(rule, before):
    """Whole batches, wherever the generator stands, and afterwards it stands where it would."""
    config = TrainConfig.model_construct(pairs=OverlapConfig(rule=rule), clusters=ClusterConfig(clips_per_video=40))
    tracks = [make_track(), make_track(3, 9), make_track(1, 200)]
    data, ahead, one = PairData(tracks, [None] * 3), *(np.random.default_rng([3, 10, 0, 7]) for _ in range(2))
    for rng in (ahead, one):
        rng.integers(9, size=before)  # half of a word is left
    drawn = draw_pairs(data, np.array([2, 0, 1, 0]), config, ahead)
    if rule != "each":
        each = [sample_pair(tracks[v], config.pairs, one) for v in (2, 0, 1, 0) for _ in range(40)]
        assert [p[:3] + p[4:] for p in drawn] == [p[:3] + p[4:] for p in each]
        assert all(np.array_equal(p.tokens, q.tokens) for p, q in zip(drawn, each, strict=True))
    assert [rng.integers(1000) for rng in (ahead, ahead)] == [rng.integers(1000) for rng in (one, one)]
    assert ahead.random() == one.random()


def test_what_is_made_ahead_comes_in_order_and_leaves_nothing_running():
    def items():
        for i in range(4):
            made.append(threading.current_thread() is not threading.main_thread())
            yield i
        raise VcworkError("clip 4: gone")

    made: list[bool] = []
    ahead, seen, running = made_ahead(items()), [], threading.active_count()
    with pytest.raises(VcworkError, match="clip 4: gone"):
        for i in ahead:
            seen.append(i)
            assert len(made) <= i + 2, "one ahead, not more"
    assert seen == [0, 1, 2, 3] and all(made) and list(made_ahead([])) == []
    stopped = made_ahead(itertools.count())
    assert next(stopped) == 0
    stopped.close()
    with pytest.raises(KeyboardInterrupt), closing(made_ahead(itertools.count())) as interrupted:
        next(interrupted)
        raise KeyboardInterrupt
    assert threading.active_count() == running


def test_dropped_words_are_those_dropped_one_by_one():
    """The same numbers of torch's generator in the same order, tokens beyond the longest text included."""
    tokenizer = Tokenizer([*SPECIAL, *map(str, range(60))])
    config = TrainConfig(word_dropout=0.3, clusters=ClusterConfig(clips_per_video=6))
    limits = SimpleNamespace(max_video_tokens=32, max_text_tokens=20)
    model = SimpleNamespace(parameters=lambda: iter([torch.zeros(1)]), config=limits)
    data, videos = PairData([make_track()], [np.ones((160, 2))]), np.array([0])
    pairs = draw_pairs(data, videos, config, np.random.default_rng(0))
    torch.manual_seed(5)
    ids, mask = collate(pairs, data, videos, model, tokenizer, config)[2:]
    torch.manual_seed(5)
    rows = [[1 if torch.rand(()) < 0.3 else int(t) for t in pair.tokens] for pair in pairs]
    assert max(map(len, rows)) > 20 and any(1 in row for row in rows)
    for row, own, there in zip(rows, ids.tolist(), mask.tolist(), strict=True):
        wanted = [tokenizer.cls, *row[:20], tokenizer.sep]
        assert own == wanted + [tokenizer.pad] * (len(own) - len(wanted)) and sum(there) == len(wanted)
        assert all(there[: len(wanted)])


def test_numbers_read_ahead_are_numpys():
    """Ranges of every size, up to those of which a half of the draws is made again, over more than a block."""
    sizes = [1, 2, 57, 1000, (1 << 31) + 1, (3 << 30) + 1]
    rng, one = np.random.default_rng(5), np.random.default_rng(5)
    with drawn_ahead(rng) as ahead:
        found = [(ahead.integers(-3, size - 3), ahead.random()) for _ in range(500) for size in sizes]
    assert found == [(one.integers(-3, size - 3), one.random()) for _ in range(500) for size in sizes]
    assert (rng.bit_generator.state | {"uinteger": 0}) == (one.bit_generator.state | {"uinteger": 0})
    other = np.random.Generator(np.random.MT19937(1))
    with drawn_ahead(other) as given:
        assert given is other


def test_short_videos_and_single_captions():
    track = Track("s", np.array([0.0]), np.array([2.0]), ((1, 2, 3),), 2)
    pair = sample_pair(track, OverlapConfig(), np.random.default_rng(0))
    assert (pair.video_start, pair.video_end) == (0, 2) and pair.tokens.tolist() == [1, 2, 3]
    assert overlapped_span(5.0, 5.0, 3, OverlapConfig(), np.random.default_rng(0)) == (0, 3), "centre clamped"


def test_empty_tracks_are_refused_by_name():
    with pytest.raises(VcworkError, match="nothing"):
        sample_pair(Track("nothing", np.zeros(0), np.zeros(0), (), 5), OverlapConfig(), np.random.default_rng(0))


def test_ranges_the_wrong_way_round():
    refused("min <= max", OverlapConfig.checked, min_video_s=9, max_video_s=3)


def test_nearest_is_brute_force():
    x = np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32)
    ids, distance = nearest(x, 5)
    slow = ((x[:, None] - x) ** 2).sum(-1)
    np.testing.assert_array_equal(ids, slow.argsort(1)[:, :5])
    np.testing.assert_allclose(distance, np.sort(slow, 1)[:, :5], atol=1e-4)
    refused("finite", nearest, np.full((3, 2), np.nan), 1)


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


# ------------------------------------------------------------------------------------- the reference's pool, ablation


def test_varied_is_the_texts_own_time_and_may_be_empty():
    track, rng = make_track(), np.random.default_rng(0)
    short = Track("v", track.start_s, track.end_s, track.tokens, 60)  # captions go on to 160 s
    empty = 0
    for _ in range(500):
        p = varied_pair(short, OverlapConfig(), rng)
        assert p.video_end == min(int(np.ceil(p.text_end_s)), 60)
        assert p.video_start == min(int(np.floor(p.text_start_s)), p.video_end)
        empty += p.video_start == p.video_end
        start, end = strict_span(p.text_start_s, p.text_end_s, 60, 32)
        assert end > start, "ours is never empty"
    assert 100 < empty < 450
    nothing = [np.zeros((0, 4), np.float32)] * 2
    assert not pad_clips(nothing, 32)[1].any(), "a mask all False"
    assert pad_clips([np.zeros((50, 4), np.float32)], 32)[1].sum() == 32, "cut from the left"


def test_varied_grows_its_text_as_overlapped_does():
    tracks = [make_track() for _ in range(2)]
    ours = sample_pair(tracks[0], OverlapConfig(), np.random.default_rng(3))
    pool = varied_pair(tracks[1], OverlapConfig(), np.random.default_rng(3))
    assert (ours.first, ours.last) == (pool.first, pool.last) and np.array_equal(ours.tokens, pool.tokens)


def test_first_seconds():
    cut = first_seconds(make_track(), 32)
    assert cut.seconds == 32 and len(cut.tokens) == 8 and cut.start_s.max() < 32
    assert all(sample_pair(cut, OverlapConfig(), np.random.default_rng(i)).video_end <= 32 for i in range(50))
    late = Track("v", np.array([90.0, 50.0]), np.array([91.0, 52.0]), ((1,), (2,)), 100)
    assert first_seconds(late, 32).tokens.flat.tolist() == [2], "the earliest caption stays"


# -------------------------------------------------------------------------------------------- the sources' rules


def test_iou_pairs_overlap_as_much_as_asked():
    for least in (0.5, 0.8):
        pairs = draws(OverlapConfig(rule="iou", min_iou=least), 300)
        assert all(span_iou(p) >= least and 0 <= p.video_start < p.video_end <= 160 for p in pairs)
        assert len({(p.video_start, p.video_end) for p in pairs}) > 100
    silent = Track(
        "s", np.array([0.0]), np.array([0.1]), ((1, 2),), 100
    )  # nothing overlaps a tenth of a second by half
    pair = sample_pair(silent, OverlapConfig(rule="iou"), np.random.default_rng(0))
    assert (pair.video_start, pair.video_end) == (0, 1), "its own second, after 1000 draws in vain"


@pytest.mark.parametrize(("seconds", "expected"), [
    (10, [(0, 10)]), (32, [(0, 32)]), (33, [(0, 32), (16, 33)]), (64, [(0, 32), (16, 48), (32, 64)]),
])  # fmt: skip
def test_sliding_windows_cover_the_video(seconds, expected):
    assert sliding_windows(seconds, 32, 16) == expected


def test_window_pairs_are_a_caption_and_a_window_that_touches_it():
    rule, track, met = OverlapConfig(rule="windows"), make_track(), set()
    for p in draws(rule, 500):
        assert p.first == p.last and (p.video_start, p.video_end) in sliding_windows(160, 32, 16)
        assert p.video_start < p.text_end_s and p.video_end > p.text_start_s
        met.add((p.first, p.video_start))
    assert all(len(windows_of(track, i, rule)) == (1 if i < 4 or i >= 36 else 2) for i in range(40))
    assert len(met) == sum(len(windows_of(track, i, rule)) for i in range(40)), "every one of them comes up"
    beyond = Track("b", np.array([200.0]), np.array([210.0]), ((1,),), 160)
    assert windows_of(beyond, 0, rule) == [(128, 160)]
    refused("leave gaps", OverlapConfig.checked, rule="windows", max_video_s=8)
