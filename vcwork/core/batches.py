"""What an update is fed: which videos meet in a batch, which pairs are drawn of them, and their tensors.

Everything drawn depends on (seed, epoch, batch) alone, so neither the number of ranks nor an interruption changes it.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from vcwork.base.errors import VcworkError
from vcwork.core.clusters import cluster_batches, random_batches
from vcwork.core.config import TrainConfig
from vcwork.core.engine import Engine
from vcwork.core.model import VideoCLIP
from vcwork.core.sampling import (
    Pair,
    Track,
    bag_of,
    caption_pair,
    first_seconds,
    sample_pair,
    sliding_windows,
    varied_pair,
)
from vcwork.core.text import Tokenizer

Span = tuple[int, int, int]  # track, first second, end


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

    def expect(self, batch: "Batch", following: Iterator["Batch"]) -> None:
        """`batch` is wanted now, and these after it: a hint for data that take time to read. Here nothing."""


@dataclass(frozen=True)
class Batch:
    """This rank's share of an update, drawn but not read: `pairs`, of `all_pairs` that are in one contrast.

    `spans`: the clips to read, (track, first second, end); `texts`: tokens; `of`: whom clips (N,) and texts (B,) belong
    to, candidates of each other where the numbers are equal. For pairs the number is the video's; with rule bag, the
    clip's.
    """

    pairs: list[Pair]
    all_pairs: list[Pair]
    spans: list[Span]
    texts: list[Sequence[int]]
    of: tuple[np.ndarray, np.ndarray]
    data: PairData
    config: TrainConfig

    def __call__(self, model: VideoCLIP, tokenizer: Tokenizer) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return tensors(self.data.clips(self.spans), self.texts, model, tokenizer, self.config)

    def groups(self, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
        """`of` as tensors."""
        clips, texts = (torch.from_numpy(numbers).to(device) for numbers in self.of)
        return clips, texts


def pairs_of(
    data: PairData, batches: list[np.ndarray], i: int, epoch: int, config: TrainConfig, engine: Engine
) -> Batch:
    """Update i: a batch of its own for each rank (local negatives), or each rank's share of one batch."""
    local = config.negatives == "local"

    def drawn(i: int) -> Batch:
        i = i * engine.world + engine.rank if local else i
        pairs = draw_pairs(data, batches[i], config, np.random.default_rng([config.seed, 10, epoch, i]))
        mine = pairs if local else engine.share(pairs)
        return Batch(mine, pairs, *_contrasted(mine, data, batches[i], config), data, config)

    batch, per_epoch = drawn(i), len(batches) // (engine.world if local else 1)
    data.expect(batch, (drawn(j) for j in range(i + 1, per_epoch)))
    return batch


def _contrasted(
    pairs: list[Pair], data: PairData, videos: np.ndarray, config: TrainConfig
) -> tuple[list[Span], list[Sequence[int]], tuple[np.ndarray, np.ndarray]]:
    """`spans`, `texts` and `of` of a Batch: the pairs' own, all windows of each video, or a bag for each clip."""
    spans, rule = _spans(pairs, data, videos), config.pairs
    at = np.array([v for v, _, _ in spans])
    if not config.candidates:
        return spans, [p.tokens for p in pairs], (at, at)
    if rule.rule == "bag":
        bags = [(data.tracks[v], bag_of(data.tracks[v], p.first, rule.bag)) for v, p in zip(at, pairs, strict=True)]
        clips = np.arange(len(spans))
        return spans, [track.tokens[i] for track, bag in bags for i in bag], (clips, np.repeat(clips, rule.bag))
    spans = [(v, *span) for v in dict.fromkeys(at.tolist())
             for span in sliding_windows(data.tracks[v].seconds, rule.max_video_s, rule.stride_s)]  # fmt: skip
    return spans, [p.tokens for p in pairs], (np.array([v for v, _, _ in spans]), at)


def epoch_batches(
    model: VideoCLIP, tokenizer: Tokenizer, data: PairData, config: TrainConfig, epoch: int, updates: int,
    engine: Engine | None = None,
) -> tuple[list[np.ndarray], bool]:  # fmt: skip
    """Video indexes of each batch of an epoch of `updates`, and whether they were retrieved; alike on every rank."""
    engine = engine or Engine()
    batches = updates * (engine.world if config.negatives == "local" else 1)
    rng = np.random.default_rng([config.seed, 11, epoch])
    if not config.clusters.retrieve or epoch < config.clusters.start_epoch:
        return random_batches(len(data.tracks), config.clusters, batches, rng), False
    vectors = video_vectors(model, tokenizer, data, config, epoch, engine)
    return cluster_batches(vectors, config.clusters, batches, rng), True


@torch.no_grad()
def video_vectors(
    model: VideoCLIP, tokenizer: Tokenizer, data: PairData, config: TrainConfig, epoch: int,
    engine: Engine | None = None,
) -> np.ndarray:  # fmt: skip
    """(V, D) float32: mean over a video's clips of (pooled video + pooled text) / 2, in evaluation mode.

    Clips are drawn as in training, or by `pool_rule` varied with the text's own seconds (reference code); with
    `vector_first_s` they come from the video's first seconds only.
    """
    was_training = model.training
    model.eval()
    engine = engine or Engine()
    clips, first_s, pool = config.clusters.clips_for_vector, config.clusters.vector_first_s, data
    out = np.zeros((len(data.tracks), model.config.embedding), np.float32)
    if first_s:
        pool = PairData([first_seconds(track, first_s) for track in data.tracks], data.features)
    chunks = np.array_split(np.arange(len(data.tracks)), math.ceil(len(data.tracks) * clips / 512))
    for chunk in chunks[engine.rank :: engine.world]:  # each draws from its own generator, so any rank may do it
        rng = np.random.default_rng([config.seed, 12, epoch, int(chunk[0])])
        plain = config.model_copy(update={"word_dropout": 0.0})
        if config.clusters.pool_rule == "varied":
            pairs = [varied_pair(pool.tracks[v], config.pairs, rng) for v in chunk for _ in range(clips)]
        else:
            pairs = draw_pairs(pool, chunk, plain, rng, clips)
        video, text = model(*collate(pairs, data, chunk, model, tokenizer, plain))
        out[chunk] = ((video.pooled + text.pooled) / 2).view(len(chunk), clips, -1).mean(1).float().cpu()  # (chunk, D)
    model.train(was_training)
    return engine.sum(out)


def draw_pairs(
    data: PairData, videos: np.ndarray, config: TrainConfig, rng: np.random.Generator, clips: int | None = None
) -> list[Pair]:
    """`clips` pairs of each of `videos`, in order; rule `each`: all its captions, or `clips` of them, cyclic."""
    if config.pairs.rule == "each":
        tracks = [data.tracks[v] for v in videos]
        return [caption_pair(t, i % len(t.tokens), config.pairs) for t in tracks for i in range(clips or len(t.tokens))]
    clips = clips or config.clusters.clips_per_video
    return [sample_pair(data.tracks[v], config.pairs, rng) for v in videos for _ in range(clips)]


def collate(
    pairs: list[Pair], data: PairData, videos: np.ndarray, model: VideoCLIP, tokenizer: Tokenizer, config: TrainConfig
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """features (B, T, W), mask (B, T), ids (B, L), mask (B, L), padded to the batch's longest."""
    clips = data.clips(_spans(pairs, data, videos))
    return tensors(clips, [p.tokens for p in pairs], model, tokenizer, config)


def _spans(pairs: list[Pair], data: PairData, videos: np.ndarray) -> list[Span]:
    row = {data.tracks[v].video_id: int(v) for v in videos}
    return [(row[p.video_id], p.video_start, p.video_end) for p in pairs]


def tensors(
    clips: list[np.ndarray], texts: Sequence[Sequence[int]], model: VideoCLIP, tokenizer: Tokenizer, config: TrainConfig
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Clips (T_i, W) and tokens, as many as there are of each, to the model's device: see `collate`."""
    features, mask = pad_clips(clips, model.config.max_video_tokens)
    if config.word_dropout:
        texts = [[tokenizer.unk if torch.rand(()) < config.word_dropout else t for t in row] for row in texts]
    device = next(model.parameters()).device
    ids, text_mask = tokenizer.batch(texts, model.config.max_text_tokens)
    return features.to(device), mask.to(device), ids.to(device), text_mask.to(device)


def pad_clips(clips: list[np.ndarray], max_tokens: int) -> tuple[Tensor, Tensor]:
    """Clips (T_i, W) -> features (B, T, W) float32 and mask (B, T); only the first `max_tokens` seconds are kept.

    Frames, uint8 (N_i, 3, H, W), stay so: (B, N, 3, H, W).
    """
    length = max(1, min(max_tokens, max(len(c) for c in clips)))
    kind = np.uint8 if clips[0].ndim == 4 else np.float32
    features = np.zeros((len(clips), length, *clips[0].shape[1:]), kind)
    mask = np.zeros((len(clips), length), bool)
    for row, clip in enumerate(clips):
        n = min(len(clip), length)
        features[row, :n], mask[row, :n] = clip[:n], True
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


def derange(data: PairData, seed: int) -> PairData:
    """Captions of another video, stretched to this one's length."""
    n = len(data.tracks)
    order = np.random.default_rng([seed, 13]).permutation(n)
    other = np.empty(n, int)
    other[order] = np.roll(order, 1)  # one cycle: nobody keeps their own
    tracks = []
    for i, track in enumerate(data.tracks):
        donor = data.tracks[other[i]]
        stretch = track.seconds / donor.seconds
        tracks.append(
            Track(track.video_id, donor.start_s * stretch, donor.end_s * stretch, donor.tokens, track.seconds)
        )
    return replace(data, tracks=tracks)


def caption_track(video_id: str, captions: list, tokenizer: Tokenizer, seconds: int) -> Track:
    """Captions as the arrays the sampler draws from."""
    starts, ends = np.array([[c.start_s, c.end_s] for c in captions]).T
    return Track(video_id, starts, ends, tuple(map(tuple, tokenizer.tokens([c.text for c in captions]))), seconds)
