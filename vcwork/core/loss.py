"""Contrastive objectives on pooled embeddings: raw dot products, nothing normalised here, in nats.

Pairs: row i of `video` and row i of `text` belong together, every other row of the batch is a negative, other clips of
the same video included; `keep` (B, B) takes some of the negatives out.
Candidates: of several clips for a text, or texts for a clip, nobody knows which is right; `own` says which belong.
All divide scores by `temperature`. A value may not be compared across batch sizes, nor between two objectives.
`objective_of` chooses what a configuration asks for.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize, softplus

from vcwork.base.errors import VcworkError
from vcwork.core.config import TrainConfig

Number = Tensor | float
# -------------------------------------------------------------------------------------------------------- pairs


def symmetric_nce(video: Tensor, text: Tensor, temperature: Number = 1.0, keep: Tensor | None = None) -> Tensor:
    """Symmetric NCE over a batch; video (B, D), text (B, D) -> scalar in nats, *mean* of both directions.

    Dot products divided by `temperature` (paper: 1.0). log B when all scores are equal. VcworkError if shapes differ.
    Source: VideoCLIP (EMNLP 2021), training objective. Departs: averages the directions where the reference code sums.
    """
    return reference_nce(video, text, temperature, keep) / 2


def reference_nce(video: Tensor, text: Tensor, temperature: Number = 1.0, keep: Tensor | None = None) -> Tensor:
    """The reference code's pre-training loss: the *sum* of both directions, 2 log B when all scores are equal.

    Twice `symmetric_nce`: under Adam the same training but for the clipping. The reference has no temperature: 1.0.
    """
    logits = _logits(video, text, temperature, keep)  # (B, B), rows are videos
    return _own_first(logits) + _own_first(logits.T)


def t2v_nce(video: Tensor, text: Tensor, temperature: Number = 1.0, keep: Tensor | None = None) -> Tensor:
    """Each text has to find its video, mean over the batch. Source: reference code, fine-tuning for retrieval."""
    return _own_first(_logits(video, text, temperature, keep).T)


def v2t_nce(video: Tensor, text: Tensor, temperature: Number = 1.0, keep: Tensor | None = None) -> Tensor:
    """Each video has to find its text, mean over the batch. Source: reference code, fine-tuning for VideoQA."""
    return _own_first(_logits(video, text, temperature, keep))


def sigmoid_loss(
    video: Tensor, text: Tensor, temperature: Number = 1.0, keep: Tensor | None = None, bias: Number = 0.0
) -> Tensor:
    """Each video and text a question of its own, together or not: -log sigmoid(+-(score + bias)), summed over a row,
    mean over rows; B log 2 where score + bias is 0. Source: Zhai et al., ICCV 2023 (SigLIP)."""
    logits = _logits(video, text, temperature, keep) + bias  # (B, B), -inf where left out
    return (softplus(logits).sum(1) - logits.diagonal()).mean()  # -log sigmoid(x) = softplus(x) - x


LOSSES = {
    "symmetric": symmetric_nce,
    "reference": reference_nce,
    "t2v": t2v_nce,
    "v2t": v2t_nce,
    "sigmoid": sigmoid_loss,
}


def _logits(video: Tensor, text: Tensor, temperature: Number, keep: Tensor | None) -> Tensor:
    if video.shape != text.shape or video.ndim != 2:
        raise VcworkError(f"expected two (B, D) batches of one shape, got {tuple(video.shape)} and {tuple(text.shape)}")
    logits = video @ text.T / temperature  # (B, B)
    if keep is None:
        return logits
    if keep.shape != logits.shape or not keep.diagonal().all():
        raise VcworkError(f"keep: expected (B, B) with every pair's own text kept, got {tuple(keep.shape)}")
    return logits.masked_fill(~keep, float("-inf"))


def _own_first(logits: Tensor) -> Tensor:
    """Cross-entropy of each row against its own place, mean over rows."""
    return cross_entropy(logits, torch.arange(len(logits), device=logits.device))


# ---------------------------------------------------------------------------------------------- which negatives


def other_videos(videos: Tensor) -> Tensor:
    """`keep` without other clips of a pair's own video, which paper and code keep; videos (B,) -> (B, B) bool."""
    own = torch.eye(len(videos), dtype=torch.bool, device=videos.device)
    return own | (videos[:, None] != videos)


@torch.no_grad()
def nearest_negatives(video: Tensor, threshold: float, ratio: float) -> Tensor:
    """`keep` of the hardest negatives alone: clips as near as cosine `threshold`, at most `ratio` * B of each row.

    video (B, D) -> (B, B) bool, diagonal True. A row without any so near keeps its nearest one. Source: the first
    source document (nearest video of the batch above 0.5; there it is then listed as a positive, which is mended here).
    """
    unit = normalize(video.float())  # (B, D)
    near = (unit @ unit.T).fill_diagonal_(-2.0)  # (B, B), cosine
    n = max(1, min(len(video) - 1, round(ratio * len(video))))
    score, order = near.topk(n)  # (B, n)
    hard = score >= threshold
    hard[:, 0] = True
    return torch.zeros_like(near, dtype=torch.bool).scatter_(1, order, hard).fill_diagonal_(True)


# ---------------------------------------------------------------------------------------------------- candidates


def mil_nce(video: Tensor, text: Tensor, own: Tensor, temperature: Number = 1.0) -> Tensor:
    """MIL-NCE: a clip has candidate texts, of which some may be right; video (N, D), text (B, D), own (N, B) bool.

    Mean over clips of -log(sum over its candidates / (these + all its other texts + the other clips of these texts)),
    scores as exponents; log(2 N - 1) when all are equal and every clip has a bag of its own. A clip without candidates
    is left out. With the roles of video and text exchanged it chooses among clips for a text.
    Source: Miech et al., CVPR 2020, eq. 1.
    """
    own = _checked_own(own, video, text)
    scores = video @ text.T / temperature  # (N, B)
    positive = scores.masked_fill(~own, float("-inf")).logsumexp(1)  # (N,)
    by_clip = scores.logsumexp(1)  # (N,): this clip against all texts, its own included
    by_text = scores.masked_fill(own, float("-inf")).logsumexp(0)  # (B,): clips that do not own this text
    others = by_text.expand_as(scores).masked_fill(~own, float("-inf")).logsumexp(1)  # (N,)
    has = own.any(1)
    return (torch.logaddexp(by_clip, others) - positive)[has].mean()


def best_fit(video: Tensor, text: Tensor, own: Tensor, temperature: Number = 1.0, own_negatives: bool = True) -> Tensor:
    """Best-fit NCE: of a text's candidate clips the one with the highest score is its positive, one direction.

    video (N, D), text (B, D), own (B, N) bool: clip n is a candidate of text b. Mean over texts of -log softmax of the
    best. With `own_negatives` the denominator is over all N clips: "all other video clips from the same long video
    [...] are treated as negatives" (third source document); without, over the best and the clips of other videos.
    The choice has no gradient; texts without candidates are left out. Equal scores: log N, or log(1 + clips of others).
    """
    own = _checked_own(own, text, video)
    scores = text @ video.T / temperature  # (B, N)
    best = scores.masked_fill(~own, float("-inf")).amax(1)  # (B,)
    if own_negatives:
        total = scores.logsumexp(1)  # (B,)
    else:
        total = torch.logaddexp(best, scores.masked_fill(own, float("-inf")).logsumexp(1))
    has = own.any(1)
    return (total - best)[has].mean()


def _checked_own(own: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    if own.shape != (len(rows), len(columns)) or own.dtype != torch.bool or not own.any():
        raise VcworkError(f"own: expected bool ({len(rows)}, {len(columns)}) with a candidate, got {tuple(own.shape)}")
    return own


# ------------------------------------------------------------------------------------- what a configuration asks for


class Contrast(NamedTuple):
    """`loss`, `flat` (that of equal scores), and what was contrasted pair by pair: partners (B, D) of each side."""

    loss: Tensor
    flat: Tensor
    video: Tensor
    text: Tensor


Groups = tuple[Tensor, Tensor]  # whom clips (N,) and texts (B,) belong to: candidates of each other where equal
Objective = Callable[[Tensor, Tensor, Groups | None, Number], Contrast]  # pooled (N, D), (B, D), temperature


def objective_of(config: TrainConfig, bias: Number = 0.0) -> Objective:
    """What `config` asks for, chosen once for a run: a loss of pairs with its negatives, or one of candidates."""
    if config.loss == "best fit":
        return partial(_of_candidates, partial(best_fit, own_negatives=config.own_negatives))
    if config.loss == "mil":
        if config.pairs.rule == "bag":  # texts for a clip
            return partial(_of_candidates, lambda video, text, own, t: mil_nce(video, text, own.T, t))
        return partial(_of_candidates, lambda video, text, own, t: mil_nce(text, video, own, t))  # clips for a text
    loss = partial(sigmoid_loss, bias=bias) if config.loss == "sigmoid" else LOSSES[config.loss]
    return partial(_of_pairs, loss, config)


def _of_pairs(
    loss: Callable[..., Tensor], config: TrainConfig, video: Tensor, text: Tensor, groups: Groups | None, t: Number
) -> Contrast:
    keep = None
    if config.mining == "nearest":
        keep = nearest_negatives(video.detach(), config.mining_threshold, config.negative_ratio)
    if config.same_video == "left out":
        if groups is None:
            raise VcworkError("same_video left out: expected groups, whom clips and texts belong to")
        others = other_videos(groups[0])
        keep = others if keep is None else keep & others
    return _contrasted(partial(loss, temperature=t, keep=keep), video, text, video)


def _of_candidates(loss: Callable[..., Tensor], video: Tensor, text: Tensor, groups: Groups, t: Number) -> Contrast:
    """The pairs are each text and the clip it scores highest."""
    own = groups[1][:, None] == groups[0]  # (B, N)
    best = (text @ video.T).masked_fill(~own, float("-inf")).argmax(1)  # (B,)
    return _contrasted(lambda clips, texts: loss(clips, texts, own, t), video, text, video[best])


def _contrasted(loss: Callable[..., Tensor], video: Tensor, text: Tensor, partners: Tensor) -> Contrast:
    with torch.no_grad():
        flat = loss(torch.zeros_like(video), torch.zeros_like(text))
    return Contrast(loss(video, text), flat, partners.detach(), text.detach())
