"""Contrastive objectives on pooled embeddings: raw dot products, nothing normalised here, in nats.

Row i of `video` and row i of `text` belong together; every other row of the batch is a negative, other clips of the
same video included. All are functions of (video, text, temperature); `LOSSES` names them for configuration. A value may
not be compared across batch sizes, nor between two of them.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from vcwork.errors import VcworkError


def symmetric_nce(video: Tensor, text: Tensor, temperature: Tensor | float = 1.0) -> Tensor:
    """Symmetric NCE over a batch; video (B, D), text (B, D) -> scalar in nats, *mean* of both directions.

    Dot products divided by `temperature` (paper: 1.0). log B when all scores are equal. Raises VcworkError if the
    shapes differ. Source: VideoCLIP (EMNLP 2021), training objective. Departs: averages the directions where the
    reference code sums them.
    """
    return reference_nce(video, text, temperature) / 2


def reference_nce(video: Tensor, text: Tensor, temperature: Tensor | float = 1.0) -> Tensor:
    """The reference code's pre-training loss: the *sum* of both directions, 2 log B when all scores are equal.

    Twice `symmetric_nce`; under Adam without clipping the same training, and with clipping another one. The reference
    has no temperature: 1.0.
    """
    logits = _logits(video, text, temperature)  # (B, B), rows are videos
    return _own_first(logits) + _own_first(logits.T)


def t2v_nce(video: Tensor, text: Tensor, temperature: Tensor | float = 1.0) -> Tensor:
    """Each text has to find its video: one direction, mean over the batch.

    Source: the reference code's fine-tuning for text-to-video retrieval.
    """
    return _own_first(_logits(video, text, temperature).T)


def v2t_nce(video: Tensor, text: Tensor, temperature: Tensor | float = 1.0) -> Tensor:
    """Each video has to find its text: one direction, mean over the batch. Source: as above, for VideoQA."""
    return _own_first(_logits(video, text, temperature))


def mil_nce(video: Tensor, text: Tensor, temperature: Tensor | float = 1.0, bag: int | None = None) -> Tensor:
    """MIL-NCE: a clip has a bag of K candidate texts, of which some may be right; video (B, D), text (B * K, D).

    Mean over clips of -log(sum over its bag / (its bag + its other pairs in both directions)), scores as exponents
    divided by `temperature`; texts i K to (i + 1) K - 1 are the bag of clip i, `bag` = K by default from the shapes.
    log(2 B - 1) when all scores are equal. Source: Miech et al., CVPR 2020, eq. 1.
    """
    if video.ndim != 2 or text.ndim != 2 or video.shape[1] != text.shape[1] or not len(video) or len(text) % len(video):
        raise VcworkError(f"expected video (B, D) and text (B * K, D), got {tuple(video.shape)}, {tuple(text.shape)}")
    b, k = len(video), len(text) // len(video)
    if bag is not None and bag != k:
        raise VcworkError(f"expected bags of {bag} texts, got {len(text)} texts for {b} clips")
    scores = (video @ text.T / temperature).view(b, b, k)  # (B clips, B bags, K)
    own = torch.eye(b, dtype=torch.bool, device=scores.device)  # (B, B)
    positive = scores[own].logsumexp(1)  # (B,)
    by_clip = scores.flatten(1).logsumexp(1)  # (B,): this clip against all texts, its own included
    others = scores.masked_fill(own[..., None], float("-inf")).transpose(0, 1).flatten(1).logsumexp(1)  # (B,)
    return (torch.logaddexp(by_clip, others) - positive).mean()


LOSSES: dict[str, Callable[..., Tensor]] = {
    "symmetric": symmetric_nce,
    "reference": reference_nce,
    "t2v": t2v_nce,
    "v2t": v2t_nce,
    "mil": mil_nce,
}


def _logits(video: Tensor, text: Tensor, temperature: Tensor | float) -> Tensor:
    if video.shape != text.shape or video.ndim != 2:
        raise VcworkError(f"expected two (B, D) batches of one shape, got {tuple(video.shape)} and {tuple(text.shape)}")
    return video @ text.T / temperature  # (B, B)


def _own_first(logits: Tensor) -> Tensor:
    """Cross-entropy of each row against its own place, mean over rows."""
    return cross_entropy(logits, torch.arange(len(logits), device=logits.device))
