"""VideoCLIP's two encoders: seconds of video features and tokens of text into one space.

Follows the paper and the reference code: video MLP (Linear, GELU, LayerNorm, Linear), CLS and SEP around the
seconds, BERT layers, mean over content tokens and SEP (CLS left out), raw dot product, no projection heads. What we do
not carry are the weights the reference never uses: the video tower's word table beyond CLS and SEP, and the poolers.
Padding is not computed (`vcwork.core.bert`), unless a model is made with `packed=False`: the same numbers, plainly.
Options of `ModelConfig`, each off by default: CLS instead of the mean, one transformer for both, unit-length
embeddings, a learned temperature, a projection head on each tower.
"""

from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor, nn

from vcwork.base.errors import VcworkError
from vcwork.core.bert import Bert, Layout, Linear, Packed, Padded, dropout, init_bert
from vcwork.core.config import ModelConfig


class Encoded:
    """pooled (B, D); states (B, T, D), one per second or token, CLS and SEP taken off; mask (B, T), True where real."""

    def __init__(self, pooled: Tensor, states: Tensor | Callable[[], Tensor], mask: Tensor) -> None:
        self.pooled, self.mask, self._states = pooled, mask, states

    @cached_property
    def states(self) -> Tensor:
        """Laid out when first asked for: training and retrieval never ask. Not to be read where `mask` is False."""
        return self._states if isinstance(self._states, Tensor) else self._states()


class VideoMLP(nn.Module):
    """Features to the width of the transformer. Activation, then norm, two layers: as in the reference code."""

    def __init__(self, feature_dim: int, hidden: int):
        super().__init__()
        self.linear1 = Linear(feature_dim, hidden)
        self.norm = nn.LayerNorm(hidden)  # eps 1e-5, not BERT's 1e-12
        self.linear2 = Linear(hidden, hidden)

    def forward(self, features: Tensor) -> Tensor:
        return self.linear2(self.norm(nn.functional.gelu(self.linear1(features))))  # (B, T, D)


def mlp_head(hidden: int, width: int) -> nn.Module:
    """hidden, GELU, then the shared width. As CLIP-like documents have it; paper and code: none."""
    return nn.Sequential(Linear(hidden, hidden), nn.GELU(), Linear(hidden, width))


class VideoCLIP(nn.Module):
    """Two separate transformers. `forward` gives both encodings; the loss compares their `pooled`."""

    input_mean: Tensor
    input_scale: Tensor

    def __init__(self, config: ModelConfig, packed: bool = True):
        super().__init__()
        self.config, self.layout = config, Packed if packed else Padded
        self.video_mlp = VideoMLP(config.feature_dim, config.hidden)
        if not config.shared:
            self.video_bert = Bert(config, config.video_layers, vocab_size=2)
        self.text_bert = Bert(config, config.text_layers, config.vocab_size)
        self.video_mlp.apply(init_bert)
        if config.projection:
            self.video_head, self.text_head = (mlp_head(config.hidden, config.projection) for _ in range(2))
            self.video_head.apply(init_bert)
            self.text_head.apply(init_bert)
        if config.input_transform != "none":
            self.register_buffer("input_mean", torch.zeros(config.feature_dim))
            self.register_buffer("input_scale", torch.ones(()))
        if config.learn_temperature:
            self.log_temperature = nn.Parameter(torch.zeros(()))
        if config.learn_bias:
            self.bias = nn.Parameter(torch.tensor(-10.0))

    def temperature(self, fixed: float = 1.0) -> Tensor | float:
        """What scores are divided by in the loss: `fixed`, or the learned one (at least 0.01, as CLIP has it)."""
        return self.log_temperature.exp().clamp(min=0.01) if self.config.learn_temperature else fixed

    def _video_tower(self) -> tuple[Bert, Tensor]:
        """Transformer over seconds, and the embeddings of its CLS and SEP (2, D)."""
        if self.config.shared:
            table = self.text_bert.embeddings.word_embeddings.weight  # (V, D)
            return self.text_bert, table[[self.config.cls_id, self.config.sep_id]]
        return self.video_bert, self.video_bert.embeddings.word_embeddings.weight

    def transform(self, features: Tensor) -> Tensor:
        """What the MLP reads: the features themselves, or (sqrt(max(x, 0)) - mean) / scale."""
        if self.config.input_transform == "none":
            return features
        return (features.clamp(min=0).sqrt() - self.input_mean) / self.input_scale

    def encode_video(self, features: Tensor, mask: Tensor, hide_cls: bool = False) -> Encoded:
        """features (B, T, W) float or half, mask (B, T) bool with T <= max_video_tokens -> Encoded.

        An all-False row is an empty clip: its pooled vector is the SEP state. `hide_cls`: nothing attends to CLS, as in
        the reference code's segmentation and localization (paper and its pre-training: attended).
        """
        b, t, width = features.shape
        if width != self.config.feature_dim or t > self.config.max_video_tokens or mask.shape != (b, t):
            raise VcworkError(
                f"expected features (B, T<={self.config.max_video_tokens}, {self.config.feature_dim}), mask (B, T), "
                f"got {tuple(features.shape)} and {tuple(mask.shape)}"
            )
        mask = mask.bool()
        layout = self.layout(nn.functional.pad(mask, (1, 1), value=True), hide_cls)  # of (B, T+2)
        position = torch.arange(t + 2, device=mask.device)
        position[-1] = self.config.max_video_tokens + 1  # the SEP's place does not depend on the padding
        bert, frame = self._video_tower()
        real = torch.ones_like(mask) if self.layout is Padded else mask
        found = features[real].float() if features.dtype == torch.float16 else features[real]
        features = dropout(self.transform(found), self.config.feature_dropout, self.training)  # (M, W)
        table = torch.cat([frame, self.video_mlp(features)])  # (2 + M, D)
        row = real.flatten().cumsum(0).view(b, t) + 1  # (B, T), a second's in the table
        row = nn.functional.pad(nn.functional.pad(row, (1, 0), value=0), (0, 1), value=1)  # (B, T+2)
        words = nn.functional.embedding(layout.rows(row), table)
        states = bert(words, layout.rows(position.expand(b, -1)), layout)
        return self._encoded(layout, states, slice(1, -1), mask, "video_head")

    def encode_text(self, ids: Tensor, mask: Tensor) -> Encoded:
        """ids (B, L) with CLS first and SEP last, mask (B, L) True on CLS, tokens and SEP -> Encoded."""
        if ids.shape[1] > self.config.max_text_tokens + 2:
            raise VcworkError(f"expected at most {self.config.max_text_tokens + 2} ids a sentence, got {ids.shape[1]}")
        mask = mask.bool()
        layout = self.layout(mask)
        position = torch.arange(ids.shape[1], device=ids.device).expand(ids.shape)
        words = self.text_bert.embeddings.word_embeddings(layout.rows(ids))
        states = self.text_bert(words, layout.rows(position), layout)
        return self._encoded(layout, states, slice(1, None), mask[:, 1:], "text_head")

    def _encoded(self, layout: Layout, states: Tensor, content: slice, mask: Tensor, head: str) -> Encoded:
        pooled = layout.pooled(states, self.config.pooling == "cls")  # (B, D)
        if self.config.projection:
            pooled, states = getattr(self, head)(pooled), getattr(self, head)(states)
        if self.config.unit_length:
            pooled, states = (nn.functional.normalize(x, dim=-1) for x in (pooled, states))
        return Encoded(pooled, lambda: layout.padded(states)[:, content], mask)

    def forward(self, features: Tensor, video_mask: Tensor, ids: Tensor, text_mask: Tensor) -> tuple[Encoded, Encoded]:
        return self.encode_video(features, video_mask), self.encode_text(ids, text_mask)
