"""What an update is fed: which videos meet in a batch, which pairs are drawn of them, and their tensors.

Everything drawn depends on (seed, epoch, batch) alone, so neither the number of ranks nor an interruption changes it.
Hard negatives: once an epoch every training video gets a vector, and a batch is a random k of the 2k videos nearest to
a drawn centre (paper, Algorithm 1). We search all videos exactly; the reference code searches one cell of an eighth of
them, as `vcwork.training.reference_cells` does.
"""

import math
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vcwork.base.errors import VcworkError
from vcwork.base.feed import drawn_ahead, made_ahead
from vcwork.core.config import ClusterConfig, TrainConfig
from vcwork.core.engine import Engine
from vcwork.core.model import VideoCLIP
from vcwork.core.sampling import Pair, Track, bag_of, caption_pair, first_seconds, sample_pair, sliding_windows
from vcwork.core.text import Tokenizer

Span = tuple[int, int, int]  # track, first second, end
ALL_ASKED = 1 << 13  # up to so many videos the neighbours of all are sought at once, beyond, of the drawn centres
# vectors (V, D), so many batches, generator -> video indexes of each batch
Search = Callable[[np.ndarray, ClusterConfig, int, np.random.Generator], list[np.ndarray]]


@dataclass
class PairData:
    """Tracks with captions, and their features: `features[i]` (T, W) belongs to `tracks[i]`.

    `steps[i]` (T,) int, where known: what each second truly shows, 0 = background. It is logged, never trained on.
    """

    tracks: Sequence[Track]
    features: Sequence[np.ndarray]
    steps: Sequence[np.ndarray] | None = None

    def __post_init__(self) -> None:
        if not len(self.tracks) or len(self.tracks) != len(self.features):
            raise VcworkError(f"expected one feature array a track and at least one, got {len(self.tracks)} tracks")

    def clips(self, spans: list[Span]) -> list[np.ndarray]:
        """Features (T_i, W) of each span; data from pixels decode their frames here."""
        of = {v: self.features[v] for v in dict.fromkeys(v for v, _, _ in spans)}
        return [of[v][start:end] for v, start, end in spans]

    def read(self, drawn: Iterable["Batch"], longest: int) -> Generator["Batch"]:
        """The batches with their clips; the next is drawn and read while the caller works with one."""
        return made_ahead(batch.with_clips(self.clips(batch.spans), longest) for batch in drawn)


@dataclass(frozen=True)
class Batch:
    """This rank's share of an update, drawn: `pairs`, of `all_pairs` that are in one contrast; `clips` once read.

    `spans`: the clips to read, (track, first second, end); `texts`: tokens; `of`: whom clips (N,) and texts (B,) belong
    to, candidates of each other where the numbers are equal. A pair's number is its video's; with rule bag, its clip's.
    """

    pairs: list[Pair]
    all_pairs: list[Pair]
    spans: list[Span]
    texts: Sequence[Any]
    of: tuple[np.ndarray, np.ndarray]
    data: PairData
    config: TrainConfig
    clips: tuple[Tensor, ...] = ()

    def with_clips(self, clips: list[np.ndarray], longest: int) -> "Batch":
        """Features and mask padded."""
        padded = pad_clips(clips, longest)
        return replace(self, clips=tuple(x.pin_memory() for x in padded) if torch.cuda.is_available() else padded)

    def __call__(self, model: VideoCLIP, tokenizer: Tokenizer) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """features (N, T, W), mask (N, T), ids (B, L), mask (B, L) on the model's device, padded to the longest."""
        if not self.clips:
            return self.with_clips(self.data.clips(self.spans), model.config.max_video_tokens)(model, tokenizer)
        device, texts = next(model.parameters()).device, self.texts
        if self.config.word_dropout:
            words, ends = np.concatenate(texts), np.cumsum([len(row) for row in texts])
            dropped = (torch.rand(len(words)) < self.config.word_dropout).numpy()
            texts = np.split(np.where(dropped, tokenizer.unk, words), ends[:-1])
        read = (*self.clips, *tokenizer.batch(texts, model.config.max_text_tokens))
        features, mask, ids, text_mask = (x.to(device, non_blocking=True) for x in read)
        return features, mask, ids, text_mask

    def groups(self, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
        """`of` as tensors."""
        clips, texts = (torch.from_numpy(numbers).to(device) for numbers in self.of)
        return clips, texts


def pairs_of(
    data: PairData, batches: list[np.ndarray], i: int, epoch: int, config: TrainConfig, engine: Engine
) -> Batch:
    """Update i: a batch of its own for each rank (local negatives), or each rank's share of one batch.

    The loss may choose among candidates: all windows of each video, or a bag of captions for each clip.
    """
    local, rule = config.negatives == "local", config.pairs
    i = i * engine.world + engine.rank if local else i
    pairs = draw_pairs(data, batches[i], config, np.random.default_rng([config.seed, 10, epoch, i]))
    batch = replace(_batch(pairs if local else engine.share(pairs), data, batches[i], config), all_pairs=pairs)
    at = batch.of[1]
    if config.candidates and rule.rule == "bag":
        texts = [data.tracks[v].tokens[i] for v, p in zip(at, batch.pairs, strict=True)
                 for i in bag_of(data.tracks[v], p.first, rule.bag)]  # fmt: skip
        clips = np.arange(len(at))
        return replace(batch, texts=texts, of=(clips, np.repeat(clips, rule.bag)))
    if config.candidates:
        spans = [(v, *span) for v in dict.fromkeys(at.tolist())
                 for span in sliding_windows(data.tracks[v].seconds, rule.max_video_s, rule.stride_s)]  # fmt: skip
        return replace(batch, spans=spans, of=(np.array([v for v, _, _ in spans]), at))
    return batch


def _batch(pairs: list[Pair], data: PairData, videos: np.ndarray, config: TrainConfig) -> Batch:
    """Each pair with its own clip and text."""
    row = {data.tracks[v].video_id: int(v) for v in videos}
    spans = [(row[p.video_id], p.video_start, p.video_end) for p in pairs]
    at = np.array([v for v, _, _ in spans])
    return Batch(pairs, pairs, spans, [p.tokens for p in pairs], (at, at), data, config)


def epoch_batches(
    model: VideoCLIP, tokenizer: Tokenizer, data: PairData, config: TrainConfig, epoch: int, updates: int,
    engine: Engine | None = None, search: Search | None = None,
) -> tuple[list[np.ndarray], bool]:  # fmt: skip
    """Video indexes of each batch of an epoch of `updates`, and whether they were retrieved; alike on every rank."""
    engine = engine or Engine()
    batches = updates * (engine.world if config.negatives == "local" else 1)
    rng = np.random.default_rng([config.seed, 11, epoch])
    if not config.clusters.retrieve or epoch < config.clusters.start_epoch:
        return random_batches(len(data.tracks), config.clusters, batches, rng), False
    vectors = video_vectors(model, tokenizer, data, config, epoch, engine)
    return (search or cluster_batches)(vectors, config.clusters, batches, rng), True


def nearest(vectors: np.ndarray, k: int, of: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Exact L2 neighbours within `vectors` (V, D): ids (V, k) and squared distances (V, k), itself first.

    of (Q,): of these vectors alone, (Q, k). The last bits of a distance depend on what else is asked.
    """
    from vcwork.base.blas import faiss  # an epoch without neighbours does not need it

    vectors = finite(vectors)
    distance, ids = faiss.knn(vectors if of is None else vectors[of], vectors, min(k, len(vectors)))  # no copy of all
    return ids, distance


def cluster_batches(
    vectors: np.ndarray, config: ClusterConfig, batches: int, rng: np.random.Generator
) -> list[np.ndarray]:
    """`batches` arrays of k video indexes, each a random k of the pool_factor * k nearest of a random centre.

    Centres are drawn without replacement as long as there are enough; the centre itself may drop out (paper). Which of
    two neighbours is nearer changes nothing, only who is among them: the last bits of a distance differ by processor.
    VcworkError unless `config.search` is exact.
    """
    if config.search != "exact":
        raise VcworkError(f"search: expected exact, got {config.search}; vcwork.training.search knows both")
    k = min(config.videos_per_batch, len(vectors))
    rounds = -(-batches // len(vectors))
    centres = np.concatenate([rng.permutation(len(vectors)) for _ in range(rounds)])[:batches]
    few = len(vectors) <= ALL_ASKED
    ids, _ = nearest(vectors, config.pool_factor * k, None if few else centres)
    return [rng.permutation(np.sort(ids[c]))[:k] for c in (centres if few else range(batches))]


def random_batches(videos: int, config: ClusterConfig, batches: int, rng: np.random.Generator) -> list[np.ndarray]:
    """`batches` arrays of k different random video indexes: the run without retrieval."""
    k = min(config.videos_per_batch, videos)
    return [rng.permutation(videos)[:k] for _ in range(batches)]


def finite(vectors: np.ndarray) -> np.ndarray:
    vectors = np.ascontiguousarray(vectors, dtype=np.float32)
    if not np.isfinite([vectors.min(), vectors.max()]).all():  # no copy of a million vectors
        raise VcworkError("video vectors: expected finite numbers, got NaN or infinity")
    return vectors


@torch.no_grad()
def video_vectors(
    model: VideoCLIP, tokenizer: Tokenizer, data: PairData, config: TrainConfig, epoch: int,
    engine: Engine | None = None,
) -> np.ndarray:  # fmt: skip
    """(V, D) float32: mean over a video's clips of (pooled video + pooled text) / 2, in evaluation mode.

    Clips are drawn as in training, or by `pool_rule` varied with the text's own seconds (reference code); with
    `vector_first_s` they come from the video's first seconds only.
    """
    was_training, engine, clusters = model.training, engine or Engine(), config.clusters
    model.eval()
    clips, pool, plain = clusters.clips_for_vector, data, config.model_copy(update={"word_dropout": 0.0})
    if clusters.pool_rule == "varied":
        plain = plain.model_copy(update={"pairs": config.pairs.model_copy(update={"rule": "varied"})})
    out = np.zeros((len(data.tracks), model.config.embedding), np.float32)
    if clusters.vector_first_s:
        pool = PairData([first_seconds(track, clusters.vector_first_s) for track in data.tracks], data.features)
    chunks = np.array_split(np.arange(len(data.tracks)), math.ceil(len(data.tracks) * clips / 512))
    chunks = chunks[engine.rank :: engine.world]

    def drawn(videos: np.ndarray) -> Batch:
        rng = np.random.default_rng([config.seed, 12, epoch, int(videos[0])])  # its own, so that any rank may do it
        pairs = draw_pairs(pool, videos, plain, rng, clips)
        return _batch(pairs, data, videos, plain)

    with closing(data.read(map(drawn, chunks), model.config.max_video_tokens)) as batches:
        for chunk, batch in zip(chunks, batches, strict=True):
            video, text = model(*batch(model, tokenizer))
            out[chunk] = ((video.pooled + text.pooled) / 2).view(len(chunk), clips, -1).mean(1).float().cpu()
    model.train(was_training)
    return engine.sum(out)


def draw_pairs(
    data: PairData, videos: np.ndarray, config: TrainConfig, rng: np.random.Generator, clips: int | None = None
) -> list[Pair]:
    """`clips` pairs of each of `videos`, in order; rule `each`: all its captions, or `clips` of them, cyclic."""
    tracks, rule = [data.tracks[v] for v in videos], config.pairs
    if rule.rule == "each":
        return [caption_pair(t, i % len(t.tokens), rule) for t in tracks for i in range(clips or len(t.tokens))]
    clips = clips or config.clusters.clips_per_video
    with drawn_ahead(rng) as draws:
        return [sample_pair(track, rule, draws) for track in tracks for _ in range(clips)]


def collate(
    pairs: list[Pair], data: PairData, videos: np.ndarray, model: VideoCLIP, tokenizer: Tokenizer, config: TrainConfig
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """features (B, T, W), mask (B, T), ids (B, L), mask (B, L), padded to the batch's longest."""
    return _batch(pairs, data, videos, config)(model, tokenizer)


def pad_clips(clips: list[np.ndarray], max_tokens: int) -> tuple[Tensor, Tensor]:
    """Clips (T_i, W) -> features (B, T, W) and mask (B, T); only the first `max_tokens` seconds are kept.

    float16 stays so, half as much to move: a model widens the seconds that are there. Frames, uint8 (N_i, 3, H, W), do,
    too: (B, N, 3, H, W). All else becomes float32.
    """
    kind = np.result_type(*{clip.dtype for clip in clips})
    lengths = np.array([min(len(clip), max_tokens) for clip in clips])
    mask = np.arange(max(1, lengths.max())) < lengths[:, None]  # (B, T)
    kind = kind if kind in (np.uint8, np.float16) else np.float32
    features = np.zeros((*mask.shape, *clips[0].shape[1:]), kind)
    for row, clip, n in zip(features, clips, lengths, strict=True):
        row[:n] = clip[:n]
    return torch.from_numpy(features), torch.from_numpy(mask)


def false_negatives(pairs: list[Pair], data: PairData) -> float | None:
    """Share of negatives whose clip shows the same step as the anchor's, by the clips' most frequent seconds.

    None without truth, and in a batch whose clips all show background.
    """
    if data.steps is None:
        return None
    row = {track.video_id: i for i, track in enumerate(data.tracks)}
    shown = np.array([np.bincount(data.steps[row[p.video_id]][p.video_start : p.video_end]).argmax() for p in pairs])
    same = (shown[:, None] == shown) & (shown[:, None] > 0)  # (B, B)
    anchors = shown > 0
    if not anchors.any() or len(pairs) < 2:
        return None
    return float((same.sum() - anchors.sum()) / (anchors.sum() * (len(pairs) - 1)))
