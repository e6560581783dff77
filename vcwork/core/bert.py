"""BERT in plain torch, and the two ways to lay out a batch for it: without padding, or padded.

Linear layers, norms and GELU look at each place alone, so padding is work for nothing: `Packed` keeps the real places
of a batch as rows (N, ...), sentences of one length side by side, and only attention sees sentences again. `Padded` is
the plain way, every place of (B, L) through every layer. Both give the same numbers; in training with dropout both
draw from the same generator, but not the same, since `Packed` draws for less padding.
Source: Devlin et al., 2019; names of weights, their start and the places of dropout as in transformers' BertModel.
Not carried: the pooler, and the second kind of token.
"""

import os
from functools import cache, cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, linear, scaled_dot_product_attention

from vcwork.core.config import ModelConfig

os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64")  # each batch has a new shape: 1,024 take half a GB
os.environ.setdefault("LRU_CACHE_CAPACITY", "16")  # torch's own cache of the same

BUCKET = 16  # places of length; a block for each length takes two threads a quarter longer at the lab's sizes


class Padded:
    """Every place of a batch; `real` (B, L) bool, CLS first, says which count. `hide_cls`: nothing attends to CLS."""

    def __init__(self, real: Tensor, hide_cls: bool = False) -> None:
        self.real = real
        self.keys = nn.functional.pad(real[:, 1:], (1, 0), value=not hide_cls)[:, None, None]  # (B, 1, 1, L)

    def rows(self, x: Tensor) -> Tensor:
        """What the layers see of (B, L, ...)."""
        return x

    def attend(self, query: Tensor, key: Tensor, value: Tensor, drop: float) -> Tensor:
        """Attention inside each sentence, zeros where it sees nothing; rows (..., H, D / H) each, and so the result."""
        q, k, v = (x.transpose(1, 2) for x in (query, key, value))  # (B, H, L, D / H)
        if q.is_cuda or not drop:
            return scaled_dot_product_attention(q, k, v, self.keys, drop).transpose(1, 2)
        hidden = torch.zeros_like(self.keys, dtype=q.dtype).masked_fill(~self.keys, torch.finfo(q.dtype).min)
        share = dropout((q / q.shape[-1] ** 0.5 @ k.mT + hidden).softmax(-1), drop)  # (B, H, L, L); torch has no kernel
        return (share @ (v * self.keys.mT)).transpose(1, 2)

    def pooled(self, states: Tensor, cls: bool) -> Tensor:
        """(B, D): the state of CLS, or the mean of all others."""
        weight = self.real[:, 1:].to(states.dtype).unsqueeze(-1)  # (B, L-1, 1); padding and CLS must not count
        return states[:, 0] if cls else (states[:, 1:] * weight).sum(1) / weight.sum(1)

    def padded(self, states: Tensor) -> Tensor:
        """States as (B, L, D)."""
        return states


class Packed:
    """The real places alone, (N, ...), by the length of their sentence; methods as of `Padded`."""

    def __init__(self, real: Tensor, hide_cls: bool = False) -> None:
        self.shape, self.hidden = real.shape, int(hide_cls)
        self.length, order = real.sum(1).sort(stable=True)  # (B,) each
        self.back = order.argsort()  # (B,): a sentence's number among the sorted
        place = torch.arange(real.numel(), device=real.device).view(self.shape)  # (B, L)
        self.place = place[order][real[order]]  # (N,): where each row stands in B * L
        lengths, sentences = torch.stack(self.length.unique_consecutive(return_counts=True)).tolist()
        self.blocks = list(zip(sentences, lengths, strict=True))  # so many sentences of this length

    def rows(self, x: Tensor) -> Tensor:
        return x.flatten(0, 1).index_select(0, self.place)

    def attend(self, query: Tensor, key: Tensor, value: Tensor, drop: float) -> Tensor:
        """By torch's kernel for sentences of any length where the machine has it, or padded, bucket by bucket."""
        half = query.dtype in (torch.float16, torch.bfloat16)
        if half and not drop and query.is_cuda and torch.cuda.get_device_capability(query.device) >= (8, 0):
            return self._attend_at_once(query, key, value)
        sizes = [len(packed.place) for _, packed in self.buckets]
        parts = zip(self.buckets, *(x.split(sizes) for x in (query, key, value)), strict=True)
        return torch.cat([packed.rows(padded.attend(*map(packed.padded, rows), drop))
                          for (padded, packed), *rows in parts])  # fmt: skip

    @cached_property
    def buckets(self) -> list[tuple[Padded, "Packed"]]:
        """Both layouts of sentences whose lengths are alike to `BUCKET` places, for each such length."""
        real = torch.arange(self.shape[1], device=self.place.device) < self.length[:, None]  # (B, L), sorted
        sizes = (-(-self.length // BUCKET)).unique_consecutive(return_counts=True)[1].tolist()
        parts = (part[:, part.any(0)] for part in real.split(sizes))  # (n, longest) each
        return [(Padded(part, bool(self.hidden)), Packed(part)) for part in parts]

    def _attend_at_once(self, query: Tensor, key: Tensor, value: Tensor) -> Any:
        from torch.nn.attention.varlen import varlen_attn  # of no use without CUDA

        start = nn.functional.pad(self.length.cumsum(0), (1, 0)).int()  # (B + 1,): a sentence's first row, and the end
        seen = torch.ones(len(key), dtype=torch.bool, device=key.device)
        seen[start[:-1].long()] = not self.hidden
        keys = start - self.hidden * torch.arange(len(start), device=start.device, dtype=torch.int)  # a key less each
        longest = self.blocks[-1][1]
        return varlen_attn(query, key[seen], value[seen], start, keys, longest, longest - self.hidden)

    def _split(self, x: Tensor) -> list[Tensor]:
        """Rows (N, ...) as a block (sentences, length, ...) for each length."""
        sizes = [n * length for n, length in self.blocks]
        return [part.unflatten(0, block) for part, block in zip(x.split(sizes), self.blocks, strict=True)]

    def pooled(self, states: Tensor, cls: bool) -> Tensor:
        found = [block[:, 0] if cls else block[:, 1:].mean(1) for block in self._split(states)]  # (n, D) each
        return torch.cat(found)[self.back]  # (B, D)

    def padded(self, states: Tensor) -> Tensor:
        """States as (B, L, D), zero in the padding."""
        empty = states.new_zeros(self.shape.numel(), *states.shape[1:])
        return empty.index_copy(0, self.place, states).unflatten(0, self.shape)


Layout = Padded | Packed


def dropout(x: Tensor, drop: float, training: bool = True) -> Tensor:
    """torch's; on a CPU four draws of one number, so in less than half its time: a chance in steps of 1 / 65,536."""
    if x.is_cuda or not (drop and training):
        return nn.functional.dropout(x, drop, training)
    least = round(drop * 65536)
    drawn = torch.randint(-(1 << 63), (1 << 63) - 1, (-(-x.numel() // 4),)).view(torch.int16)[: x.numel()]
    return x * (drawn.view(x.shape) >= least - 32768).to(x.dtype).div_(1 - least / 65536)


class Linear(nn.Linear):
    """torch's, in float32 by oneDNN on other makers' CPUs with AVX-512, where MKL computes as if they had AVX2."""

    def forward(self, x: Tensor) -> Tensor:
        plain = x.is_cuda or x.dtype != torch.float32 or torch.is_autocast_enabled("cpu") or not x.numel()
        if plain or not _by_onednn():
            return super().forward(x)
        return linear(x.to_mkldnn(), self.weight, self.bias).to_dense()


@cache
def _by_onednn() -> bool:
    wide = torch.backends.cpu.get_cpu_capability() == "AVX512" and torch.backends.mkldnn.is_available()
    return wide and "Intel" not in str(torch.cpu.get_capabilities().get("cpu_name"))


class Embeddings(nn.Module):
    """Word, place and kind (always the first) to one state, normalised."""

    def __init__(self, config: ModelConfig, vocab_size: int) -> None:
        super().__init__()
        padding = 0 if vocab_size > 2 else None
        self.word_embeddings = nn.Embedding(vocab_size, config.hidden, padding_idx=padding)
        self.position_embeddings = nn.Embedding(512, config.hidden)
        self.token_type_embeddings = nn.Embedding(2, config.hidden)
        self.LayerNorm = nn.LayerNorm(config.hidden, eps=1e-12)
        self.drop = config.dropout

    def forward(self, words: Tensor, position: Tensor) -> Tensor:
        """Vectors of words (..., D) at places (...) -> (..., D)."""
        told = words + self.token_type_embeddings.weight[0] + self.position_embeddings(position)
        return dropout(self.LayerNorm(told), self.drop, self.training)


class Layer(nn.Module):
    """Attention and a feed-forward part, each with a residual and a norm after it."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width, self.heads, self.drop = config.hidden, config.heads, config.dropout
        self.attention = nn.ModuleDict({
            "self": nn.ModuleDict({name: Linear(width, width) for name in ("query", "key", "value")}),
            "output": _output(width, width),
        })  # fmt: skip
        self.intermediate = nn.ModuleDict({"dense": Linear(width, config.ffn)})
        self.output = _output(config.ffn, width)

    def forward(self, states: Tensor, layout: Layout) -> Tensor:
        """States (..., D) of the places of `layout` -> the same shape."""
        query, key, value = (
            linear(states).unflatten(-1, (self.heads, -1)) for linear in self.attention["self"].children()
        )  # (..., H, D / H) each
        seen = layout.attend(query, key, value, self.drop if self.training else 0.0).flatten(-2)  # (..., D)
        states = self._add(self.attention["output"], seen, states)
        return self._add(self.output, gelu(self.intermediate["dense"](states)), states)

    def _add(self, output: Any, found: Tensor, states: Tensor) -> Tensor:
        return output["LayerNorm"](states + dropout(output["dense"](found), self.drop, self.training))


def _output(wide: int, width: int) -> nn.ModuleDict:
    return nn.ModuleDict({"dense": Linear(wide, width), "LayerNorm": nn.LayerNorm(width, eps=1e-12)})


class Bert(nn.Module):
    """Embeddings and layers."""

    def __init__(self, config: ModelConfig, layers: int, vocab_size: int) -> None:
        super().__init__()
        self.embeddings = Embeddings(config, vocab_size)
        self.encoder = nn.ModuleDict({"layer": nn.ModuleList(Layer(config) for _ in range(layers))})
        self.apply(init_bert)

    def forward(self, words: Tensor, position: Tensor, layout: Layout) -> Tensor:
        """Vectors of words at places, both in `layout` -> states, as many."""
        states = self.embeddings(words, position)
        for layer in self.encoder["layer"].children():
            states = layer(states, layout)
        return states


def init_bert(module: nn.Module) -> None:
    """BERT's initialisation for new layers: N(0, 0.02), biases and the padding's word zero."""
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=0.02)
    if isinstance(module, nn.Linear):
        nn.init.zeros_(module.bias)
    if isinstance(module, nn.Embedding) and module.padding_idx is not None:
        nn.init.zeros_(module.weight[module.padding_idx])
