"""Hard negatives: batches of mutually similar videos, found by exact nearest-neighbour search. faiss lives here.

Once an epoch every training video gets a vector, the mean over its clips of (video + text) / 2, and each batch is a
random k of the 2k videos nearest to a drawn centre (paper, Algorithm 1). We search all videos exactly; the reference
code searches one cell of an eighth of them.
"""

import faiss
import numpy as np

from vcwork.config import ClusterConfig
from vcwork.errors import VcworkError


def nearest(vectors: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Exact L2 neighbours within `vectors` (V, D): ids (V, k) and squared distances (V, k), itself first."""
    vectors = np.ascontiguousarray(vectors, dtype=np.float32)
    if not np.isfinite(vectors).all():
        raise VcworkError("video vectors: expected finite numbers, got NaN or infinity")
    index = faiss.IndexFlatL2(vectors.shape[1])
    index.add(vectors)
    distance, ids = index.search(vectors, min(k, len(vectors)))
    return ids, distance


def kmeans(vectors: np.ndarray, k: int, seed: int = 0) -> np.ndarray:
    """Cluster of each vector (N, D) -> (N,) int: Lloyd's algorithm by faiss, best of five starts from `seed`."""
    vectors = np.ascontiguousarray(vectors, dtype=np.float32)
    if not 1 <= k <= len(vectors):
        raise VcworkError(f"k-means: expected 1 to {len(vectors)} clusters for {len(vectors)} vectors, got {k}")
    means = faiss.Kmeans(vectors.shape[1], k, niter=30, nredo=5, seed=seed, min_points_per_centroid=1)
    means.train(vectors)
    return means.index.search(vectors, 1)[1][:, 0]


def cluster_batches(
    vectors: np.ndarray, config: ClusterConfig, batches: int, rng: np.random.Generator
) -> list[np.ndarray]:
    """`batches` arrays of k video indexes, each a random k of the pool_factor * k nearest of a random centre.

    Centres are drawn without replacement as long as there are enough; the centre itself may drop out (paper).
    """
    k = min(config.videos_per_batch, len(vectors))
    ids, _ = nearest(vectors, config.pool_factor * k)
    rounds = -(-batches // len(vectors))
    centres = np.concatenate([rng.permutation(len(vectors)) for _ in range(rounds)])[:batches]
    return [rng.permutation(ids[c])[:k] for c in centres]


def random_batches(videos: int, config: ClusterConfig, batches: int, rng: np.random.Generator) -> list[np.ndarray]:
    """`batches` arrays of k different random video indexes: the run without retrieval."""
    k = min(config.videos_per_batch, videos)
    return [rng.permutation(videos)[:k] for _ in range(batches)]
