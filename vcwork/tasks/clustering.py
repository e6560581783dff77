"""Do groups found without labels agree with the truth? Purity and NMI of clusters, shares of kin among neighbours.

And what an epoch's batches of neighbours hold: their sizes, which videos are seen, which exact neighbours are missed.

Purity grows with the number of clusters and NMI is above zero by luck, so both stand beside the same clusters with
their labels shuffled.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vcwork.base.errors import VcworkError
from vcwork.core.batches import nearest
from vcwork.measure import metrics
from vcwork.measure.card import Card, as_card
from vcwork.measure.metrics import check_lengths
from vcwork.measure.result import Result, mean_result


def evaluate(
    clusters: Sequence[int],
    classes: Sequence,
    video_ids: Sequence,
    name: str = "",
    *,
    setting: Card | str = "",
    n_boot: int = 300,
    seed: int = 0,
) -> list[Result]:
    """`<name>_purity` and `<name>_NMI` of clusters (N,) against classes (N,); chance: shuffled labels."""
    n = check_lengths(clusters=clusters, classes=classes, video_ids=video_ids)
    clusters, classes = np.unique(clusters, return_inverse=True)[1], np.unique(classes, return_inverse=True)[1]
    rng = np.random.default_rng(seed)
    shuffled = [rng.permutation(classes) for _ in range(20)]
    rule = f"{n} items, {clusters.max() + 1} clusters, {classes.max() + 1} classes; chance: shuffled labels"
    protocol = as_card(setting).but(rule, task="clusters", interval="videos, clusters fixed")
    per_item, chance = _in_majority(clusters, classes), np.mean([metrics.purity(clusters, s) for s in shuffled])
    prefix = f"{name}_" if name else ""
    purity = mean_result(f"{prefix}purity", per_item, video_ids, chance, protocol, n_boot=n_boot, seed=seed)
    low, high = _nmi_interval(clusters, classes, np.asarray(video_ids), n_boot, rng)
    value, chance = metrics.nmi(clusters, classes), float(np.mean([metrics.nmi(clusters, s) for s in shuffled]))
    extra = {"times_chance": value / chance} if chance > 0 else {}
    return [purity, Result(f"{prefix}NMI", value, min(low, value), max(high, value), chance, protocol, n, extra=extra)]


def _in_majority(clusters: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """1.0 for items of their cluster's most frequent class, (N,)."""
    major = {c: np.bincount(classes[clusters == c]).argmax() for c in np.unique(clusters)}
    return np.array([float(classes[i] == major[c]) for i, c in enumerate(clusters)])


def _nmi_interval(
    clusters: np.ndarray, classes: np.ndarray, videos: np.ndarray, n_boot: int, rng
) -> tuple[float, float]:
    """Whole videos left out at random, half of them: repeating videos, as the bootstrap does, would inflate NMI."""
    ids, values = np.unique(videos), []
    full = metrics.nmi(clusters, classes)
    for _ in range(n_boot):
        keep = np.isin(videos, rng.permutation(ids)[: max(1, len(ids) // 2)])
        values.append(metrics.nmi(clusters[keep], classes[keep]))
    spread = np.asarray(values) - np.mean(values)
    low, high = np.quantile(spread, [0.025, 0.975])
    return float(np.clip(full + low, 0, 1)), float(np.clip(full + high, 0, 1))


def kin_share(
    batches: Sequence[np.ndarray],
    kin: np.ndarray,
    name: str,
    *,
    setting: Card | str = "",
    seed: int = 0,
) -> Result:
    """Share of pairs inside a batch that are kin; kin (V, V) bool, diagonal ignored; interval over batches.

    Chance is the share among all pairs of videos: what batches of random videos hold on average.
    """
    kin = np.asarray(kin, dtype=bool) & ~np.eye(len(kin), dtype=bool)
    shares, batch = [], []
    for b, members in enumerate(batches):
        inside = kin[np.ix_(members, members)]
        shares += list(inside.sum(1) / max(1, len(members) - 1))
        batch += [b] * len(members)
    chance = float(kin.sum() / (len(kin) * (len(kin) - 1)))
    rule = f"{len(batches)} batches of {len(batches[0])} videos"
    protocol = as_card(setting).but(rule, task="neighbours", pool=len(kin), interval="batches")
    return mean_result(name, np.array(shares), batch, chance, protocol, n_boot=1000, seed=seed)


def recall_of_exact(candidates: Sequence[np.ndarray], vectors: np.ndarray, n: int) -> np.ndarray:
    """Share of each video's `n` exact neighbours, itself left out, that are among its candidates: (V,) in [0, 1]."""
    if len(candidates) != len(vectors) or not 1 <= n < len(vectors):
        raise VcworkError(f"expected {len(vectors)} candidate lists and n below, got {len(candidates)} and {n}")
    exact, _ = nearest(vectors, n + 1)  # (V, n + 1)
    exact = [ids[ids != v][:n] for v, ids in enumerate(exact)]
    return np.array([np.isin(e, found).mean() for e, found in zip(exact, candidates, strict=True)])


@dataclass(frozen=True)
class BatchSummary:
    """An epoch's batches: `sizes` (n,) in videos, `seen` (V,) how often each video is in a batch, `k` asked for."""

    sizes: np.ndarray
    seen: np.ndarray
    k: int

    @property
    def coverage(self) -> float:
        """Share of the videos that are in a batch at all."""
        return float((self.seen > 0).mean())

    @property
    def full(self) -> float:
        """Share of the batches that have all k videos."""
        return float((self.sizes >= self.k).mean())


def summarize(batches: Sequence[np.ndarray], videos: int, k: int) -> BatchSummary:
    """Sizes of the batches and how often each of `videos` videos is seen; VcworkError without a batch."""
    if not len(batches):
        raise VcworkError("expected at least one batch")
    return BatchSummary(
        np.array([len(b) for b in batches]), np.bincount(np.concatenate(batches).astype(int), minlength=videos), k
    )


def kmeans(vectors: np.ndarray, k: int, seed: int = 0) -> np.ndarray:
    """Cluster of each vector (N, D) -> (N,) int: Lloyd's algorithm by faiss, best of five starts from `seed`."""
    from vcwork.base.blas import faiss  # nothing else here needs it

    vectors = np.ascontiguousarray(vectors, dtype=np.float32)
    if not 1 <= k <= len(vectors):
        raise VcworkError(f"k-means: expected 1 to {len(vectors)} clusters for {len(vectors)} vectors, got {k}")
    means = faiss.Kmeans(vectors.shape[1], k, niter=30, nredo=5, seed=seed, min_points_per_centroid=1)
    means.train(vectors)
    return means.index.search(vectors, 1)[1][:, 0]
