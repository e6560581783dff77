"""Stages over many vectors: neighbours for hard negatives, and a vector database."""

from collections.abc import Iterator

import numpy as np

from benchmarks.speed.made import WIDTH, Size
from benchmarks.speed.timing import OURS, Row, expect_equal, in_turns
from vcwork.base.blas import faiss
from vcwork.core.batches import cluster_batches
from vcwork.core.config import ClusterConfig
from vcwork.search.approximate import usual_effort
from vcwork.search.index import VideoIndex

RAW = "raw faiss"
K = 10


def neighbours(size: Size) -> Iterator[Row]:
    """Batches of hard negatives for an epoch: of each drawn centre the 64 nearest of all videos, exactly.

    Beside faiss's flat index asked for the same centres. Equal is every batch: all of it lies among those 64.
    """
    rng, config = np.random.default_rng(8), ClusterConfig()
    vectors = rng.standard_normal((size.neighbours, 768), np.float32)
    batches, wanted = max(1, size.neighbours // config.videos_per_batch), 2 * config.videos_per_batch
    found = cluster_batches(vectors, config, batches, np.random.default_rng(9))
    centres = np.random.default_rng(9).permutation(len(vectors))[:batches]  # the generator's first draw

    def raw() -> np.ndarray:
        index = faiss.IndexFlatL2(vectors.shape[1])
        index.add(vectors)
        return index.search(vectors[centres], wanted)[1]

    for batch, near in zip(found, raw(), strict=True):
        if not set(batch.tolist()) <= set(near.tolist()):
            raise AssertionError("neighbours: a batch holds a video that faiss does not find near its centre")
    if size.repeats:
        ways = {RAW: raw, OURS: lambda: cluster_batches(vectors, config, batches, np.random.default_rng(9))}
        work, note = 2.0 * batches * vectors.size, "an epoch's batches, exact; faiss's flat index for the same centres"
        name, taken = f"neighbours of {size.neighbours:,} videos", in_turns(ways, size.repeats)
        yield Row(name, taken, batches, "centres", None, work, "fp32", note)


def vectors(size: Size) -> Iterator[Row]:
    """A thousand queries to the vector database, exact and by cells, beside faiss with the same index and settings."""
    rng = np.random.default_rng(10)
    centres = rng.standard_normal((max(2, size.vectors // 500), WIDTH), np.float32)
    made = centres[rng.integers(0, len(centres), size.vectors)] + rng.standard_normal((size.vectors, WIDTH), np.float32)
    made /= np.linalg.norm(made, axis=1, keepdims=True)
    noise = rng.standard_normal((size.queries, WIDTH), np.float32) / 32
    queries = made[rng.integers(0, size.vectors, size.queries)] + noise
    ids = [f"v{i}" for i in range(size.vectors)]
    metadata = [{"video": f"v{i // 60}", "start_s": i % 60, "end_s": i % 60 + 1} for i in range(size.vectors)]
    flat = faiss.IndexFlatIP(WIDTH)
    flat.add(made)
    for kind in ("flat", "ivf"):
        index = VideoIndex.build(made, ids, metadata, kind=kind)
        raw, options, work = flat, None, 2.0 * size.queries * made.size
        if kind == "ivf":
            raw, options = index.ann, faiss.SearchParametersIVF(nprobe=usual_effort(index.ann))
            work = work * options.nprobe / raw.nlist
        yield from _against(raw, options, index, queries, work, size, kind)


def _against(
    raw: faiss.Index, options: object, index: VideoIndex, queries: np.ndarray, work: float, size: Size, kind: str
) -> Iterator[Row]:
    scores, places = raw.search(queries, K, params=options)
    hits = index.query(queries, K)
    expect_equal(f"vector search, {kind}", [[hit.score for hit in each] for each in hits], scores, 1e-5)
    same = np.mean([[hit.id == f"v{p}" for hit, p in zip(*row, strict=True)] for row in zip(hits, places, strict=True)])
    if same < 0.99:  # two equal scores may stand in either order
        raise AssertionError(f"vector search, {kind}: {1 - same:.1%} of the answers are other items than faiss's")
    if size.repeats:
        ways = {RAW: lambda: raw.search(queries, K, params=options), OURS: lambda: index.query(queries, K)}
        note = f"{size.vectors:,} x {WIDTH}; ours with ids, metadata, and scores that no batch changes"
        taken = in_turns(ways, size.repeats)
        yield Row(f"vector search, {kind}", taken, len(queries), "queries", None, work, "fp32", note)
