"""Contrastive objectives on pooled embeddings."""

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from vcwork.errors import VcworkError


def symmetric_nce(video: Tensor, text: Tensor, temperature: float = 1.0) -> Tensor:
    """Symmetric NCE over a batch; video (B, D), text (B, D) -> scalar in nats, mean of both directions.

    Raw dot products, not normalised, divided by `temperature` (paper: 1.0). Row i of both belongs together; every
    other row is a negative, other clips of the same video included. Raises VcworkError if the shapes differ.
    Source: VideoCLIP (EMNLP 2021), training objective. Departs: averages the directions where the reference code
    sums them. log B when all scores are equal; its value may not be compared across batch sizes.
    """
    if video.shape != text.shape or video.ndim != 2:
        raise VcworkError(f"expected two (B, D) batches of one shape, got {tuple(video.shape)} and {tuple(text.shape)}")
    logits = video @ text.T / temperature  # (B, B)
    target = torch.arange(len(video), device=video.device)
    return (cross_entropy(logits, target) + cross_entropy(logits.T, target)) / 2
