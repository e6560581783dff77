"""A scorer that looks at a clip and a sentence together: cross-attention and a score head over the encoders' states.

The first source document scores pairs so: every second of the clip attends to the words, a linear head gives each
second a number, their mean is the score. Its mistakes are mended: all pairs of a batch make a matrix, contrasted in
both directions, and padding counts nowhere. The dual encoder stays as it is; the scorer learns on its states. One
score costs an attention where the dual encoder needs a dot product, so a search first takes the best `top` by dot
product and lets the scorer order these (`rerank`).
Known gaps: the encoders are not trained along; one process.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from vcwork.base.errors import VcworkError
from vcwork.base.settings import Strict
from vcwork.core.batches import PairData, collate, draw_pairs, pad_clips, random_batches
from vcwork.core.config import ClusterConfig, OverlapConfig, TrainConfig
from vcwork.core.step import AdamW
from vcwork.encoders.encoder import Encoder


class CrossConfig(Strict):
    """The scorer and its training. The document has one attention layer and no feed-forward part."""

    heads: int = Field(4, ge=1)
    layers: int = Field(1, ge=1)
    add_dot: bool = True  # the score is added to the dual encoder's (ours); False: it stands alone (first document)
    updates: int = Field(300, ge=1)
    videos: int = Field(8, ge=2)  # of a batch
    clips: int = Field(4, ge=1)  # of each video
    lr: float = Field(1.0e-3, gt=0)
    temperature: float = Field(1.0, gt=0)
    seed: int = 0
    pairs: OverlapConfig = OverlapConfig()


class CrossScorer(nn.Module):
    """Scores of all pairs of N clips and M sentences from their states; `width` is that of the encoders' embeddings."""

    def __init__(self, width: int, config: CrossConfig):
        super().__init__()
        if width % config.heads:
            raise VcworkError(f"scorer: {config.heads} heads do not divide the embeddings' width {width}")
        self.config = config
        self.attend = nn.ModuleList(
            nn.MultiheadAttention(width, config.heads, batch_first=True) for _ in range(config.layers)
        )
        self.norm = nn.ModuleList(nn.LayerNorm(width) for _ in range(config.layers))
        self.before = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))  # states are as long as training made them
        self.head = nn.Linear(width, 1)
        nn.init.zeros_(self.head.weight)  # begins as the dual encoder, or with equal scores
        nn.init.zeros_(self.head.bias)

    def forward(self, video: Tensor, video_mask: Tensor, text: Tensor, text_mask: Tensor) -> Tensor:
        """video (N, T, D), mask (N, T); text (M, L, D), mask (M, L) -> (N, M) scores.

        Each text is read by the seconds of all clips at once, so its keys and values are computed once."""
        n, m = len(video), len(text)
        seconds = video.reshape(1, -1, video.shape[-1]).expand(m, -1, -1)  # (M, N * T, D)
        return self._scores(seconds, text, text_mask).view(m, n, -1).mul(video_mask).sum(2).div(_seconds(video_mask)).T

    def pairs(self, video: Tensor, video_mask: Tensor, text: Tensor, text_mask: Tensor) -> Tensor:
        """Row by row: video (P, T, D), text (P, L, D) and their masks -> (P,)."""
        return self._scores(video, text, text_mask).mul(video_mask).sum(1) / _seconds(video_mask)

    def _scores(self, video: Tensor, text: Tensor, text_mask: Tensor) -> Tensor:
        """What each second (P, S, D) scores with its row's text (P, L, D): (P, S), padding among them."""
        states, words = self.before[0](video), self.before[1](text)  # (P, S, D), (P, L, D)
        for attend, norm in zip(self.attend, self.norm, strict=True):
            seen, _ = attend(states, words, words, key_padding_mask=~text_mask, need_weights=False)
            states = norm(states + seen)  # (P, S, D)
        return self.head(states)[..., 0]


def _seconds(mask: Tensor) -> Tensor:
    """Valid seconds of each clip, (N, T) -> (N,); padding counts nowhere."""
    return mask.sum(1).clamp(min=1)


@dataclass(frozen=True)
class ScorerRecord:
    """What one update did; `flat` = log B is the loss of equal scores."""

    step: int
    loss: float
    flat: float
    accuracy: float  # text to video, in the batch


def train_scorer(encoder: Encoder, data: PairData, config: CrossConfig, scorer: CrossScorer) -> Iterator[ScorerRecord]:
    """Train `scorer` in place on pairs drawn as in pre-training, random videos in a batch; a record an update."""
    model = encoder.model.eval()
    draws = TrainConfig(seed=config.seed, pairs=config.pairs)
    optimizer = AdamW(scorer.parameters(), lr=config.lr, weight_decay=0.0)
    rng = np.random.default_rng([config.seed, 21])
    clusters = ClusterConfig(videos_per_batch=config.videos)
    for step, videos in enumerate(random_batches(len(data.tracks), clusters, config.updates, rng)):
        batch_rng = np.random.default_rng([config.seed, 22, step])
        pairs = draw_pairs(data, videos, draws, batch_rng, config.clips)
        with torch.no_grad():
            video, text = model(*collate(pairs, data, videos, model, encoder.tokenizer, draws))
        scores = scorer(video.states, video.mask, text.states, text.mask)  # (B, B)
        if config.add_dot:
            scores = scores + video.pooled @ text.pooled.T
        own = torch.arange(len(pairs))
        logits = scores / config.temperature
        loss = (cross_entropy(logits, own) + cross_entropy(logits.T, own)) / 2
        scorer.zero_grad()
        loss.backward()
        optimizer.step()
        right = float((scores.T.argmax(1) == own).float().mean())
        yield ScorerRecord(step, loss.item(), float(np.log(len(pairs))), right)


@torch.inference_mode()
def cross_scores(
    scorer: CrossScorer, encoder: Encoder, sentences: Sequence[str], clips: Sequence[np.ndarray],
    which: np.ndarray | None = None, block: int = 256,
) -> np.ndarray:  # fmt: skip
    """(Q, N) scores of sentences with clips (T, W); only where `which` (Q, N) is True, 0 elsewhere.

    Without the dot product, whatever `add_dot` says. A clip longer than the window is read by its first window.
    """
    which = np.ones((len(sentences), len(clips)), bool) if which is None else which
    video, text = video_states(encoder, clips, block), text_states(encoder, sentences, block)
    out, asked = np.zeros(which.shape, np.float32), np.argwhere(which)
    for first in range(0, len(asked), block):
        q, n = asked[first : first + block].T
        out[q, n] = scorer.pairs(video[0][n], video[1][n], text[0][q], text[1][q]).numpy()
    return out


def rerank(
    scorer: CrossScorer, encoder: Encoder, sentences: Sequence[str], clips: Sequence[np.ndarray], scores: np.ndarray,
    top: int = 10,
) -> np.ndarray:  # fmt: skip
    """The dual encoder's scores (Q, N) with each sentence's best `top` clips in the scorer's order.

    The values stay those of the row, dealt out anew among these clips, so what was below the best `top` stays below.
    With `add_dot` the order is that of the sum of both scores.
    """
    top = min(top, scores.shape[1])
    best = np.argsort(-scores, axis=1, kind="stable")[:, :top]  # (Q, top)
    which = np.zeros(scores.shape, bool)
    np.put_along_axis(which, best, True, 1)
    anew = cross_scores(scorer, encoder, sentences, clips, which)
    if scorer.config.add_dot:
        anew = anew + scores
    values = np.take_along_axis(scores, best, 1)  # descending
    order = np.argsort(-np.take_along_axis(anew, best, 1), axis=1, kind="stable")
    out = scores.copy()
    np.put_along_axis(out, np.take_along_axis(best, order, 1), values, 1)
    return out


def video_states(encoder: Encoder, clips: Sequence[np.ndarray], block: int) -> tuple[Tensor, Tensor]:
    """States (N, T, D) and mask (N, T) of every clip's first window, padded to the window."""
    return _padded([encoder.model.encode_video(*pad_clips(clips[i : i + block], encoder.window))
                    for i in range(0, len(clips), block)], encoder.window)  # fmt: skip


def text_states(encoder: Encoder, sentences: Sequence[str], block: int) -> tuple[Tensor, Tensor]:
    tokens, longest = encoder.tokenizer.tokens(list(sentences)), encoder.model.config.max_text_tokens
    return _padded([encoder.model.encode_text(*encoder.tokenizer.batch(tokens[i : i + block], longest))
                    for i in range(0, len(tokens), block)], longest + 1)  # fmt: skip


def _padded(parts: list, length: int) -> tuple[Tensor, Tensor]:
    states = [nn.functional.pad(p.states, (0, 0, 0, length - p.states.shape[1])) for p in parts]
    masks = [nn.functional.pad(p.mask, (0, length - p.mask.shape[1])) for p in parts]
    return torch.cat(states), torch.cat(masks)
