"""Batches of neighbours as the reference code finds them: in one cell of one rank's share of the videos."""

import numpy as np

from vcwork.base.errors import VcworkError
from vcwork.core.batches import cluster_batches, finite
from vcwork.core.config import ClusterConfig

TRAINED_ON = 48  # reference code: cells are found from the first 48 * nlist vectors


def search(vectors: np.ndarray, config: ClusterConfig, batches: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Batches as `config.search` asks for them; from cells they may be smaller than k."""
    made = reference_batches if config.search == "reference cell" else cluster_batches
    return made(vectors, config, batches, rng)


def reference_batches(
    vectors: np.ndarray, config: ClusterConfig, batches: int, rng: np.random.Generator
) -> list[np.ndarray]:
    """Batches as the reference code makes them: each rank draws #videos // k centres of its own, without replacement.

    A batch is a random k of the centre's candidates (`cell_candidates`), or all of them where they are fewer; the
    ranks' batches are put together and shuffled, and drawn anew until there are `batches`. Nothing depends on the
    number of threads. Raises VcworkError where a rank has fewer videos than k or than cells.
    """
    k, pools = config.videos_per_batch, rank_videos(len(vectors), config.ranks)
    refuse_few(len(vectors), config, "videos_per_batch")
    candidates = cell_candidates(vectors, config)
    found: list[np.ndarray] = []
    while len(found) < batches:
        centres = [rng.choice(pool, len(pool) // k, replace=False) for pool in pools]
        drawn = [rng.permutation(candidates[c])[:k] for c in np.concatenate(centres)]
        found += [drawn[i] for i in rng.permutation(len(drawn))]
    return found[:batches]


def refuse_few(videos: int, config: ClusterConfig, *names: str) -> None:
    """VcworkError where a rank has fewer of the videos than one of these settings asks for."""
    each = videos // config.ranks
    for name, least in ((name, getattr(config, name)) for name in names):
        if each < least:
            raise VcworkError(
                f"reference cell: expected at least {name}={least} videos a rank, got {each} "
                f"({videos} videos on ranks={config.ranks}); lower ranks or {name}"
            )


def rank_videos(videos: int, ranks: int) -> list[np.ndarray]:
    """Video indexes of each rank: one fixed shuffle (seed 0, the same every epoch), dealt out in turn.

    As torch's DistributedSampler without `set_epoch`, which the reference code uses; it would give some videos to two
    ranks so that all have equally many, and shuffles by another generator.
    """
    order = np.random.default_rng(0).permutation(videos)
    return [order[rank::ranks] for rank in range(ranks)]


def cell_candidates(vectors: np.ndarray, config: ClusterConfig) -> list[np.ndarray]:
    """Candidates of each video as the reference code finds them: V arrays of ids, the video itself first.

    They are its nearest by L2 within one cell (nprobe 1) of its rank's inverted-file index of `nlist` cells, trained
    on the rank's first 48 * nlist vectors; up to pool_factor * k with the video, and one when it is alone in its cell.
    Raises VcworkError where a rank has fewer vectors than cells.
    """
    vectors = finite(vectors)
    pools = rank_videos(len(vectors), config.ranks)
    refuse_few(len(vectors), config, "nlist")
    out: list[np.ndarray] = [np.empty(0, int)] * len(vectors)
    for pool in pools:
        for video, near in zip(pool, _search_cells(vectors[pool], config), strict=True):
            ids = pool[near[near >= 0]]  # -1 fills up where the cell held fewer
            out[video] = np.append(video, ids[ids != video])
    return out


def _search_cells(vectors: np.ndarray, config: ClusterConfig) -> np.ndarray:
    """Nearest within the cell of each of a rank's vectors (n, D) -> (n, pool_factor * k) places, -1 where none."""
    from vcwork.base.blas import faiss

    quantizer = faiss.IndexFlatL2(vectors.shape[1])
    index = faiss.IndexIVFFlat(quantizer, vectors.shape[1], config.nlist, faiss.METRIC_L2)
    index.cp.min_points_per_centroid = 1  # no warning: few vectors a cell are what is looked at here
    index.nprobe = 1
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)  # sums in one order, so that no cell border depends on the machine
    try:
        index.train(vectors[: TRAINED_ON * config.nlist])
        index.add(vectors)
        return index.search(vectors, config.pool_factor * config.videos_per_batch)[1]
    finally:
        faiss.omp_set_num_threads(threads)
