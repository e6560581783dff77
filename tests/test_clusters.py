"""Retrieval batches as the reference code makes them beside ours, and the vectors they are made from."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from checks import refused
from toys import toy_encoder

from vcwork.base.blas import faiss
from vcwork.core.batches import PairData, cluster_batches, collate, draw_pairs, epoch_batches, nearest, video_vectors
from vcwork.core.config import ClusterConfig, TrainConfig
from vcwork.core.model import VideoCLIP
from vcwork.core.sampling import Track
from vcwork.core.text import SPECIAL, Tokenizer
from vcwork.tasks.clustering import recall_of_exact, summarize
from vcwork.training.reference_cells import cell_candidates, rank_videos, reference_batches, search

CELLS = ClusterConfig(search="reference cell", videos_per_batch=8, nlist=5, ranks=3)


def cloud(n: int = 240, width: int = 6) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(n, width)).astype(np.float32)


def test_asking_for_the_drawn_centres_alone_gives_the_same_batches(monkeypatch):
    config, x = ClusterConfig(videos_per_batch=8), cloud()
    before = cluster_batches(x, config, 300, np.random.default_rng(3))  # more batches than videos
    monkeypatch.setattr("vcwork.core.batches.ALL_ASKED", 100)
    after = cluster_batches(x, config, 300, np.random.default_rng(3))
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))


# --------------------------------------------------------------------------------------------- reference cell


def test_ranks_share_the_videos_the_same_way_every_time():
    pools = rank_videos(50, 3)
    assert sorted(map(len, pools)) == [16, 17, 17]
    assert np.array_equal(np.sort(np.concatenate(pools)), np.arange(50))
    assert all(np.array_equal(a, b) for a, b in zip(pools, rank_videos(50, 3), strict=True))
    assert not np.array_equal(np.concatenate(pools), np.arange(50)), "shuffled"


def test_candidates_are_the_nearest_of_one_cell_of_the_rank():
    """Slow and obvious: train the same cells, put each vector into its nearest centroid, sort what is in there."""
    x, found = cloud(), cell_candidates(cloud(), CELLS)
    for pool in rank_videos(len(x), 3):
        means = faiss.Clustering(6, 5)
        means.niter, means.min_points_per_centroid = 10, 1
        means.train(x[pool], faiss.IndexFlatL2(6))
        centroids = faiss.vector_to_array(means.centroids).reshape(5, 6)
        cell = ((x[pool][:, None] - centroids) ** 2).sum(2).argmin(1)
        for i, video in enumerate(pool):
            inside = pool[cell == cell[i]]
            order = ((x[inside] - x[video]) ** 2).sum(1).argsort()
            assert found[video].tolist() == inside[order][:16].tolist()
            assert found[video][0] == video


def test_batches_are_part_of_the_candidates_and_may_be_small():
    x, found = cloud(), cell_candidates(cloud(), CELLS)
    batches = search(x, CELLS, 30, np.random.default_rng(0))
    again = search(x, CELLS, 30, np.random.default_rng(0))
    assert all(np.array_equal(a, b) for a, b in zip(batches, again, strict=True))
    for batch in batches:
        assert len(set(batch)) == len(batch)
        fits = [c for c in found if set(batch) <= set(c) and len(batch) == min(8, len(c))]
        assert fits, "every batch is drawn from one centre's candidates"
    rank_of = np.empty(240, int)
    for rank, pool in enumerate(rank_videos(240, 3)):
        rank_of[pool] = rank
    assert all(len(set(rank_of[b])) == 1 for b in batches) and len({rank_of[b[0]] for b in batches}) == 3
    tight = CELLS.model_copy(update={"nlist": 40})
    sizes = summarize(search(x, tight, 30, np.random.default_rng(0)), 240, 8).sizes
    assert sizes.min() < 4 and len(sizes) == 30


def test_an_epoch_of_the_reference_index_on_few_videos():
    """1,200 videos and 512 cells: the reference code gave 37 batches of 1 to 23 videos, where 32 were wanted."""
    config = ClusterConfig(search="reference cell", ranks=1)
    x = cloud(1200, 32)
    cells = summarize(search(x, config, 1200 // 32, np.random.default_rng(0)), 1200, 32)
    exact = summarize(cluster_batches(x, ClusterConfig(), 1200 // 32, np.random.default_rng(0)), 1200, 32)
    assert len(cells.sizes) == 37 and cells.sizes.min() == 1 and cells.sizes.max() < 32 and cells.full == 0
    assert exact.full == 1 and (exact.sizes == 32).all() and cells.coverage < exact.coverage < 1


def test_centres_of_an_epoch_are_drawn_without_replacement():
    """One cell and far-off pairs: a batch of one names its centre's neighbourhood, and no pair comes up twice."""
    config = ClusterConfig(search="reference cell", videos_per_batch=2, pool_factor=1, nlist=1, ranks=1)
    x = np.repeat(np.arange(20.0)[:, None] * 9, 2, 0) + np.tile([[0.0], [1.0]], (20, 1))  # (40, 1)
    batches = search(x, config, 20, np.random.default_rng(0))  # one pass: 40 // 2 centres
    pairs = np.array([sorted(b) for b in batches])
    assert (pairs[:, 0] // 2 == pairs[:, 1] // 2).all()
    assert np.bincount(pairs[:, 0] // 2).max() <= 2, "a pair has two centres to be drawn by, each once"


def test_more_batches_than_one_pass_gives():
    assert len(search(cloud(), CELLS, 77, np.random.default_rng(0))) == 77


@pytest.mark.parametrize(("change", "said"), [
    ({"nlist": 81}, "expected at least nlist=81 videos a rank, got 80"),
    ({"videos_per_batch": 100}, "expected at least videos_per_batch=100 videos a rank, got 80"),
    ({"ranks": 300}, "got 0"),
])  # fmt: skip
def test_too_few_videos_for_cells_or_batches(change, said):
    refused(said, search, cloud(), CELLS.model_copy(update=change), 5, np.random.default_rng(0))
    refused("finite", cell_candidates, cloud() * np.nan, CELLS)


def test_number_of_threads_changes_nothing():
    code = (
        "import numpy as np; from vcwork.training.reference_cells import search;"
        "from vcwork.core.config import ClusterConfig;"
        "x = np.random.default_rng(0).normal(size=(3000, 48)).astype('f4');"
        "c = ClusterConfig(search='reference cell', videos_per_batch=8, nlist=40, ranks=2);"
        "print([b.tolist() for b in search(x, c, 60, np.random.default_rng(0))])"
    )
    printed = [
        subprocess.run([sys.executable, "-c", f"import os; os.environ['OMP_NUM_THREADS'] = '{n}'; {code}"],
                       capture_output=True, text=True, check=True).stdout
        for n in (1, 3)
    ]  # fmt: skip
    assert printed[0] == printed[1] and len(printed[0]) > 1000
    before = faiss.omp_get_max_threads()
    cell_candidates(cloud(), CELLS)
    assert faiss.omp_get_max_threads() == before


# ------------------------------------------------------------------------------------------- what it loses


def test_recall_of_exact():
    x = cloud()
    exact, _ = nearest(x, 16)
    assert recall_of_exact(list(exact), x, 15).tolist() == [1.0] * 240
    alone = [np.array([v]) for v in range(240)]
    assert recall_of_exact(alone, x, 15).tolist() == [0.0] * 240, "a video is no neighbour of its own"
    assert recall_of_exact([ids[:6] for ids in exact], x, 15) == pytest.approx(np.full(240, 5 / 15))
    one_cell = CELLS.model_copy(update={"nlist": 1, "ranks": 1})
    assert recall_of_exact(cell_candidates(x, one_cell), x, 15).mean() == pytest.approx(1)
    three_ranks = CELLS.model_copy(update={"nlist": 1})
    assert recall_of_exact(cell_candidates(x, three_ranks), x, 15).mean() == pytest.approx(1 / 3, abs=0.03)
    assert recall_of_exact(cell_candidates(x, CELLS), x, 15).mean() < 0.3
    refused("240 candidate lists", recall_of_exact, alone[:3], x, 15)


def test_summary_of_batches():
    summary = summarize([np.array([0, 1]), np.array([1]), np.array([1, 3])], 5, 2)
    assert summary.sizes.tolist() == [2, 1, 2] and summary.seen.tolist() == [1, 3, 0, 1, 0]
    assert summary.coverage == 3 / 5 and summary.full == pytest.approx(2 / 3)
    refused("at least one batch", summarize, [], 5, 2)


# ---------------------------------------------------------------------------------------------- video vectors


def toy(seconds: int = 60) -> tuple[VideoCLIP, Tokenizer, PairData]:
    """Nine videos: one theme in the first 30 s, the theme of another video after that; a word every two seconds."""
    rng, tracks, features = np.random.default_rng(0), [], []
    for v in range(9):
        themes = np.where(np.arange(seconds) < 30, v, (v + 1) % 9)
        starts = np.arange(0, seconds, 2.0)
        tracks.append(Track(f"v{v}", starts, starts + 2, tuple((5 + themes[int(s)],) * 3 for s in starts), seconds))
        features.append((np.eye(9)[themes] * 3 + rng.normal(size=(seconds, 9)) * 0.1).astype(np.float32))
    encoder = toy_encoder(
        Tokenizer([*SPECIAL, *(f"w{i}" for i in range(9))]), 9, hidden=16, ffn=32, max_video_tokens=32
    )
    return encoder.model, encoder.tokenizer, PairData(tracks, features)


def settings(**changes: object) -> TrainConfig:
    return TrainConfig(clusters=ClusterConfig(videos_per_batch=3, clips_for_vector=6, **changes))


def test_default_vectors_are_the_mean_over_training_pairs():
    model, tokenizer, data = toy()
    config = settings()
    pairs = draw_pairs(data, np.arange(9), config, np.random.default_rng([0, 12, 0, 0]), 6)
    with torch.no_grad():
        video, text = model.eval()(*collate(pairs, data, np.arange(9), model, tokenizer, config))
    expected = ((video.pooled + text.pooled) / 2).view(9, 6, -1).mean(1).numpy()
    np.testing.assert_array_equal(video_vectors(model, tokenizer, data, config, 0), expected)


@pytest.mark.parametrize("rule", ["overlapped", "varied"])
def test_vectors_of_the_first_seconds_see_nothing_else(rule):
    model, tokenizer, data = toy()
    changed = PairData(data.tracks, [np.concatenate([f[:30], 100 + f[30:]]) for f in data.features])
    first, whole = settings(pool_rule=rule, vector_first_s=30), settings(pool_rule=rule)
    compare = lambda c: [video_vectors(model, tokenizer, d, c, 0) for d in (data, changed)]  # noqa: E731
    np.testing.assert_array_equal(*compare(first))
    a, b = compare(whole)
    assert np.abs(a - b).max() > 0.1


def test_varied_vectors_stay_finite_where_captions_outlast_the_features():
    model, tokenizer, data = toy()
    short = PairData([Track(t.video_id, t.start_s + 100, t.end_s + 100, t.tokens, 60) for t in data.tracks],
                     data.features)  # fmt: skip
    other = PairData(short.tracks, [f + 1 for f in data.features])
    vectors, same = (video_vectors(model, tokenizer, d, settings(pool_rule="varied"), 0) for d in (short, other))
    assert vectors.shape == (9, 16) and np.isfinite(vectors).all()
    np.testing.assert_array_equal(vectors, same, "all clips are empty, so no feature is seen")
    clamped, seen = (video_vectors(model, tokenizer, d, settings(), 0) for d in (short, other))
    assert np.abs(clamped - seen).max() > 1e-3


def test_epoch_batches_follow_the_configured_search():
    model, tokenizer, data = toy()
    config = settings(search="reference cell", nlist=2, ranks=1)
    batches, retrieved = epoch_batches(model, tokenizer, data, config, 1, 3, search=search)
    vectors = video_vectors(model, tokenizer, data, config, 1)
    expected = reference_batches(vectors, config.clusters, 3, np.random.default_rng([0, 11, 1]))
    assert retrieved and all(np.array_equal(a, b) for a, b in zip(batches, expected, strict=True))


def test_retrieve_k_takes_exactly_the_nearest():
    x = cloud()
    exact, _ = nearest(x, 8)
    for batch in cluster_batches(x, ClusterConfig(videos_per_batch=8, pool_factor=1), 20, np.random.default_rng(0)):
        assert any(set(batch) == set(ids) for ids in exact)


def test_what_nobody_asks_for_stays_as_it_was():
    """Stored runs were made without these settings; their defaults must mean the same."""
    ours = ClusterConfig()
    assert (ours.search, ours.pool_rule, ours.vector_first_s) == ("exact", "overlapped", 0)
