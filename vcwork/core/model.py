"""VideoCLIP's two encoders: seconds of video features and tokens of text into one space.

Follows the paper and the reference code: video MLP (Linear, GELU, LayerNorm, Linear), CLS and SEP around the
seconds, BERT layers, mean over content tokens and SEP (CLS left out), raw dot product, no projection heads. What we do
not carry are the weights the reference never uses: the video tower's word table beyond CLS and SEP, and the poolers.
Options of `ModelConfig`, each off by default: CLS instead of the mean, one transformer for both, unit-length
embeddings, a learned temperature, a projection head on each tower.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import BertConfig, BertModel

from vcwork.base.errors import VcworkError
from vcwork.core.config import ModelConfig


@dataclass
class Encoded:
    """pooled (B, D); states (B, T, D), one per second or token, CLS and SEP taken off; mask (B, T), True where real."""

    pooled: Tensor
    states: Tensor
    mask: Tensor


class VideoMLP(nn.Module):
    """Features to the width of the transformer. Activation, then norm, two layers: as in the reference code."""

    def __init__(self, feature_dim: int, hidden: int):
        super().__init__()
        self.linear1 = nn.Linear(feature_dim, hidden)
        self.norm = nn.LayerNorm(hidden)  # eps 1e-5, not BERT's 1e-12
        self.linear2 = nn.Linear(hidden, hidden)

    def forward(self, features: Tensor) -> Tensor:
        return self.linear2(self.norm(nn.functional.gelu(self.linear1(features))))  # (B, T, D)


class Projection(nn.Sequential):
    """An MLP head: hidden, GELU, then the shared width. As CLIP-like documents have it; paper and code: none."""

    def __init__(self, hidden: int, width: int):
        super().__init__(nn.Linear(hidden, hidden), nn.GELU(), nn.Linear(hidden, width))


class VideoCLIP(nn.Module):
    """Two separate transformers. `forward` gives both encodings; the loss compares their `pooled`."""

    input_mean: Tensor
    input_scale: Tensor

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = config
        self.video_mlp = VideoMLP(config.feature_dim, config.hidden)
        if not config.shared:
            self.video_bert = BertModel(_bert(config, config.video_layers, vocab_size=2), add_pooling_layer=False)
        self.text_bert = BertModel(_bert(config, config.text_layers, config.vocab_size), add_pooling_layer=False)
        self.video_mlp.apply(init_bert)
        if config.projection:
            self.video_head, self.text_head = (Projection(config.hidden, config.projection) for _ in range(2))
            self.video_head.apply(init_bert)
            self.text_head.apply(init_bert)
        if config.input_transform != "none":
            self.register_buffer("input_mean", torch.zeros(config.feature_dim))
            self.register_buffer("input_scale", torch.ones(()))
        if config.learn_temperature:
            self.log_temperature = nn.Parameter(torch.zeros(()))

    def temperature(self, fixed: float = 1.0) -> Tensor | float:
        """What scores are divided by in the loss: `fixed`, or the learned one (at least 0.01, as CLIP has it)."""
        return self.log_temperature.exp().clamp(min=0.01) if self.config.learn_temperature else fixed

    def _video_tower(self) -> tuple[BertModel, Tensor, Tensor]:
        """Transformer over seconds, and the embeddings of its CLS and SEP (D,)."""
        if self.config.shared:
            table = self.text_bert.embeddings.word_embeddings.weight  # (V, D)
            return self.text_bert, table[self.config.cls_id], table[self.config.sep_id]
        return self.video_bert, *self.video_bert.embeddings.word_embeddings.weight

    @torch.no_grad()
    def fit_input(self, features: Tensor) -> None:
        """Set mean and scale of the input transform from training features (N, W); one scale for all dimensions."""
        if self.config.input_transform == "sqrt":
            root = features.clamp(min=0).sqrt()  # (N, W)
            self.input_mean.copy_(root.mean(0))
            self.input_scale.copy_((root - root.mean(0)).std(correction=0).clamp(min=1e-6))

    def transform(self, features: Tensor) -> Tensor:
        """What the MLP reads: the features themselves, or (sqrt(max(x, 0)) - mean) / scale."""
        if self.config.input_transform == "none":
            return features
        return (features.clamp(min=0).sqrt() - self.input_mean) / self.input_scale

    def encode_video(self, features: Tensor, mask: Tensor, hide_cls: bool = False) -> Encoded:
        """features (B, T, W) float, mask (B, T) bool with T <= max_video_tokens -> Encoded.

        An all-False row is an empty clip: its pooled vector is the SEP state. `hide_cls`: nothing attends to CLS, as in
        the reference code's segmentation and localization (paper and its pre-training: attended).
        """
        b, t, width = features.shape
        if width != self.config.feature_dim or t > self.config.max_video_tokens or mask.shape != (b, t):
            raise VcworkError(
                f"expected features (B, T<={self.config.max_video_tokens}, {self.config.feature_dim}), mask (B, T), "
                f"got {tuple(features.shape)} and {tuple(mask.shape)}"
            )
        features = self.transform(features)
        if self.training and self.config.feature_dropout:
            features = nn.functional.dropout(features, self.config.feature_dropout)
        bert, cls, sep = self._video_tower()
        tokens = self.video_mlp(features)  # (B, T, D)
        embeds = torch.cat([cls.expand(b, 1, -1), tokens, sep.expand(b, 1, -1)], 1)  # (B, T+2, D)
        position = torch.arange(t + 2, device=mask.device)
        position[-1] = self.config.max_video_tokens + 1  # the SEP's place does not depend on the padding
        mask = mask.bool()
        attend = nn.functional.pad(mask, (1, 1), value=True)  # (B, T+2)
        seen = nn.functional.pad(attend[:, 1:], (1, 0), value=not hide_cls)  # (B, T+2)
        states = bert(
            inputs_embeds=embeds, attention_mask=seen.long(), position_ids=position.expand(b, -1)
        ).last_hidden_state  # (B, T+2, D)
        return self._encoded(states, attend, states[:, 1:-1], mask, "video_head")

    def encode_text(self, ids: Tensor, mask: Tensor) -> Encoded:
        """ids (B, L) with CLS first and SEP last, mask (B, L) True on CLS, tokens and SEP -> Encoded."""
        if ids.shape[1] > self.config.max_text_tokens + 2:
            raise VcworkError(f"expected at most {self.config.max_text_tokens + 2} ids a sentence, got {ids.shape[1]}")
        mask = mask.bool()
        states = self.text_bert(input_ids=ids, attention_mask=mask.long()).last_hidden_state  # (B, L, D)
        return self._encoded(states, mask, states[:, 1:], mask[:, 1:], "text_head")

    def _encoded(self, states: Tensor, attend: Tensor, content: Tensor, mask: Tensor, head: str) -> Encoded:
        pooled = states[:, 0] if self.config.pooling == "cls" else _mean_without_cls(states, attend)  # (B, D)
        if self.config.projection:
            pooled, content = getattr(self, head)(pooled), getattr(self, head)(content)
        if self.config.unit_length:
            pooled, content = (nn.functional.normalize(x, dim=-1) for x in (pooled, content))
        return Encoded(pooled, content, mask)

    def forward(self, features: Tensor, video_mask: Tensor, ids: Tensor, text_mask: Tensor) -> tuple[Encoded, Encoded]:
        return self.encode_video(features, video_mask), self.encode_text(ids, text_mask)


def _mean_without_cls(states: Tensor, mask: Tensor) -> Tensor:
    weight = mask[:, 1:].to(states.dtype).unsqueeze(-1)  # (B, L-1, 1); padding and CLS must not count
    return (states[:, 1:] * weight).sum(1) / weight.sum(1)  # (B, D)


def _bert(config: ModelConfig, layers: int, vocab_size: int) -> BertConfig:
    return BertConfig(
        vocab_size=vocab_size, hidden_size=config.hidden, num_hidden_layers=layers, num_attention_heads=config.heads,
        intermediate_size=config.ffn, hidden_dropout_prob=config.dropout, attention_probs_dropout_prob=config.dropout,
        max_position_embeddings=512, pad_token_id=0 if vocab_size > 2 else None,
    )  # fmt: skip


def init_bert(module: nn.Module) -> None:
    """BERT's initialisation for new layers: N(0, 0.02), biases zero."""
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
