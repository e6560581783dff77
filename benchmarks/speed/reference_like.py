"""The reference code's way of computing, in our words: what the fast path is held against, and must equal.

Facts followed, none of its lines: clips padded to 32 seconds and texts to 61 tokens whatever they hold, so that the
towers always see 34 and 63; float32; attention written out, over padding too, which is masked by -10000; every file
opened when it is wanted; windows merged one by one; Adam without fusing. The weights are those of our model, by name.
Left out to its advantage: its video tower's word table of 23 million unused weights, its unused poolers, and the
decoding of captions that its retrieval prints.
"""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from vcwork.core.config import ModelConfig
from vcwork.core.text import Tokenizer

MASKED = -10000.0
STRIDE = 16  # seconds between windows of 32

Weights = dict[str, Tensor]


class Towers:
    """Both towers over padded batches. `weights`: `state_dict` of a VideoCLIP; gradients reach them where they ask."""

    def __init__(self, weights: Weights, config: ModelConfig, tokenizer: Tokenizer, training: bool = False) -> None:
        self.weights, self.config, self.tokenizer = weights, config, tokenizer
        self.dropout = config.dropout if training else 0.0

    def video(self, clips: Sequence[np.ndarray], hide_cls: bool = False) -> tuple[Tensor, Tensor]:
        """Clips (T_i, W), T_i <= 32 -> pooled (B, D), states of all 32 places (B, 32, D)."""
        b, t = len(clips), self.config.max_video_tokens
        features, mask = torch.zeros(b, t, self.config.feature_dim), torch.zeros(b, t + 2)
        for row, clip in enumerate(clips):
            features[row, : len(clip)] = torch.from_numpy(np.asarray(clip, np.float32))
            mask[row, 1 : len(clip) + 1] = 1
        mask[:, 0], mask[:, -1] = float(not hide_cls), 1
        w = self.weights
        hidden = F.gelu(F.linear(features, w["video_mlp.linear1.weight"], w["video_mlp.linear1.bias"]))
        hidden = F.layer_norm(hidden, hidden.shape[-1:], w["video_mlp.norm.weight"], w["video_mlp.norm.bias"])
        hidden = F.linear(hidden, w["video_mlp.linear2.weight"], w["video_mlp.linear2.bias"])  # (B, 32, D)
        cls, sep = w["video_bert.embeddings.word_embeddings.weight"]  # (D,) each
        embeds = torch.cat([cls.expand(b, 1, -1), hidden, sep.expand(b, 1, -1)], 1)  # (B, 34, D)
        states = self._bert("video_bert", embeds, mask, self.config.video_layers)
        return self._pooled(states, mask), states[:, 1:-1]

    def text(self, tokens: Sequence[Sequence[int]]) -> Tensor:
        """Token ids of each sentence, cut at 61 -> pooled (B, D)."""
        length, t = self.config.max_text_tokens, self.tokenizer
        ids = torch.full((len(tokens), length + 2), t.pad)
        for row, each in enumerate(tokens):
            line = [t.cls, *each[:length], t.sep]
            ids[row, : len(line)] = torch.tensor(line)
        mask = (ids != t.pad).float()  # (B, 63)
        embeds = F.embedding(ids, self.weights["text_bert.embeddings.word_embeddings.weight"])  # (B, 63, D)
        return self._pooled(self._bert("text_bert", embeds, mask, self.config.text_layers), mask)

    def _pooled(self, states: Tensor, mask: Tensor) -> Tensor:
        """Mean over content and SEP; CLS and padding do not count."""
        weight = mask[:, 1:] / mask[:, 1:].sum(1, keepdim=True)  # (B, L-1)
        return torch.bmm(weight[:, None], states[:, 1:])[:, 0]  # (B, D)

    def _bert(self, tower: str, embeds: Tensor, mask: Tensor, layers: int) -> Tensor:
        w, part = self.weights, f"{tower}.embeddings"
        places = w[f"{part}.position_embeddings.weight"][: embeds.shape[1]]  # (L, D)
        hidden = embeds + places + w[f"{part}.token_type_embeddings.weight"][0]
        hidden = self._drop(self._norm(hidden, f"{part}.LayerNorm"))
        hide = (1 - mask)[:, None, None] * MASKED  # (B, 1, 1, L)
        for i in range(layers):
            hidden = self._layer(f"{tower}.encoder.layer.{i}", hidden, hide)  # (B, L, D)
        return hidden

    def _layer(self, name: str, x: Tensor, hide: Tensor) -> Tensor:
        b, length, d = x.shape
        query, key, value = (
            self._linear(x, f"{name}.attention.self.{part}").view(b, length, self.config.heads, -1).transpose(1, 2)
            for part in ("query", "key", "value")
        )  # (B, H, L, D/H)
        scores = query @ key.transpose(2, 3) / math.sqrt(d // self.config.heads) + hide  # (B, H, L, L)
        mixed = (self._drop(scores.softmax(-1)) @ value).transpose(1, 2).reshape(b, length, d)
        mixed = self._drop(self._linear(mixed, f"{name}.attention.output.dense"))
        x = self._norm(mixed + x, f"{name}.attention.output.LayerNorm")
        wide = F.gelu(self._linear(x, f"{name}.intermediate.dense"))  # (B, L, F)
        return self._norm(self._drop(self._linear(wide, f"{name}.output.dense")) + x, f"{name}.output.LayerNorm")

    def _linear(self, x: Tensor, name: str) -> Tensor:
        return F.linear(x, self.weights[f"{name}.weight"], self.weights[f"{name}.bias"])

    def _norm(self, x: Tensor, name: str) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], self.weights[f"{name}.weight"], self.weights[f"{name}.bias"], 1e-12)

    def _drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout) if self.dropout else x


class Trainer:
    """One update after another on weights of its own: sum of both cross-entropies, clip at 2.0, Adam."""

    def __init__(self, weights: Weights, config: ModelConfig, tokenizer: Tokenizer, training: bool, lr: float) -> None:
        self.weights = {name: tensor.clone().requires_grad_() for name, tensor in weights.items()}
        self.towers = Towers(self.weights, config, tokenizer, training)
        self.optimizer = torch.optim.Adam(self.weights.values(), lr=lr, betas=(0.9, 0.98), foreach=False, fused=False)

    def update(self, clips: Sequence[np.ndarray], tokens: Sequence[Sequence[int]]) -> tuple[float, float]:
        """The loss, in nats, and the gradient's norm before clipping."""
        self.optimizer.zero_grad()
        logits = self.towers.video(clips)[0] @ self.towers.text(tokens).T  # (B, B)
        own = torch.arange(len(logits))
        loss = F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.weights.values(), 2.0)
        self.optimizer.step()
        return loss.item(), norm.item()


@torch.inference_mode()
def encode_sentences(towers: Towers, sentences: Sequence[str], batch_size: int = 32) -> np.ndarray:
    """(N, D), in the order given, each sentence as often as it comes."""
    tokens = towers.tokenizer.tokens(list(sentences))
    parts = [towers.text(tokens[i : i + batch_size]) for i in range(0, len(tokens), batch_size)]
    return torch.cat(parts).numpy()


@torch.inference_mode()
def encode_clips(towers: Towers, clips: Sequence[np.ndarray], batch_size: int = 32) -> np.ndarray:
    """(N, D) of clips of at most 32 s."""
    parts = [towers.video(clips[i : i + batch_size])[0] for i in range(0, len(clips), batch_size)]
    return torch.cat(parts).numpy()


@torch.inference_mode()
def second_scores(towers: Towers, video: np.ndarray, texts: np.ndarray, one_by_one: bool = True) -> np.ndarray:
    """Scores (T, K) of a video's seconds with texts (K, D), CLS hidden; windows of 32 s every 16 s, averaged.

    one_by_one: each window is a batch; else all windows of the video are one, as the reference code has it.
    """
    window = towers.config.max_video_tokens
    starts = [0]
    while len(video) - starts[-1] > window:
        starts.append(starts[-1] + STRIDE)
    clips = [video[s : s + window] for s in starts]
    batches = [[clip] for clip in clips] if one_by_one else [clips]
    states = torch.cat([towers.video(batch, hide_cls=True)[1] for batch in batches])  # (windows, 32, D)
    logits, count = torch.zeros(len(video), len(texts)), torch.zeros(len(video), 1)
    for start, own in zip(starts, states @ torch.from_numpy(texts).T, strict=True):
        n = min(window, len(video) - start)
        logits[start : start + n] += own[:n]
        count[start : start + n] += 1
    return (logits / count).numpy()


def ordered_seconds(cost: np.ndarray) -> np.ndarray:
    """CrossTask's dynamic program, second by second and state by state; cost (T, K) -> one second a step, (K,)."""
    n_seconds, n_steps = cost.shape
    states = 2 * n_steps + 1  # odd: a step, one second; even: background around it, free
    best = [0.0, float(cost[0, 0])] + [math.inf] * (states - 2)
    back: list[list[int]] = []
    for t in range(1, n_seconds):
        row, chosen = [], []
        for k in range(states):
            ways = [(best[k], k)] if k % 2 == 0 else []
            ways += [(best[k - 1], k - 1)] if k else []
            ways += [(best[k - 2], k - 2)] if k % 2 and k > 1 else []
            value, came = min(ways, key=lambda way: way[0])  # of equal ones the first named
            row.append(value + (float(cost[t, k // 2]) if k % 2 else 0.0))
            chosen.append(came)
        best, back = row, [*back, chosen]
    state, seconds = (states - 1 if best[-1] < best[-2] else states - 2), np.zeros(n_steps, int)
    for t in range(n_seconds - 1, -1, -1):
        if state % 2:
            seconds[state // 2] = t
        state = back[t - 1][state] if t else state
    return seconds


# ------------------------------------------------------------------------------------------------------------- pairs


class Pairs:
    """16 pairs of each of 32 videos, item by item, from files of many videos as the reference code packs them.

    `folder` has three of rows, `seconds`, `times` and `pieces` (C, 32), behind whose words is -1, and beside each where
    a video's rows begin: all six are mapped whenever a video is wanted, and its pieces become lists, row by row.
    Drawn by Python's `random`, as the paper's Section 3.1 and the reference code's order of draws have it. Gives
    features (B, 32, W), ids (B, 64) and their masks.
    """

    def __init__(self, folder: Path, tokenizer: Tokenizer, width: int) -> None:
        self.folder, self.tokenizer, self.width = folder, tokenizer, width

    def batch(self, videos: Iterable[int], clips: int, random) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        items = []
        for video in videos:
            features, times = self.rows("seconds", video), self.rows("times", video)  # (T, W) float16, (C, 2)
            said = [row[row >= 0].tolist() for row in self.rows("pieces", video)]
            for _ in range(clips):
                tokens, start, end = draw((*times.T.tolist(), said), len(features), random)
                items.append(self.item(features[start:end], tokens))
        return tuple(torch.stack(column) for column in zip(*items, strict=True))

    def rows(self, part: str, video: int) -> np.ndarray:
        """Those of a video, from files opened for it."""
        data, starts = (np.load(self.folder / f"{part}_{of}.npy", mmap_mode="r") for of in ("data", "starts"))
        return data[starts[video] : starts[video + 1]]

    def item(self, clip: np.ndarray, tokens: Sequence[int]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """One pair as the reference lays it out: 32 seconds, and CLS SEP text SEP padded to 64."""
        features, seen = torch.zeros(32, self.width), torch.zeros(32, dtype=torch.bool)
        features[: len(clip)] = torch.from_numpy(clip.astype(np.float32))
        seen[: len(clip)] = True
        t = self.tokenizer
        line = [t.cls, t.sep, *tokens[:61], t.sep]
        ids = torch.tensor(line + [t.pad] * (64 - len(line)))
        return features, seen, ids, torch.arange(64) < len(line)


def draw(track: tuple, seconds: int, random) -> tuple[list[int], int, int]:
    """Tokens of a text clip, and the video clip's first second and end."""
    starts, ends, tokens = track
    first = last = random.randint(0, len(tokens) - 1)
    wanted, length = random.randint(8, 64), len(tokens[first])
    while length < wanted and ends[last] - starts[first] < 256:
        right = random.random() > 0.5
        if (right and last + 1 < len(tokens)) or (first == 0 and last + 1 < len(tokens)):
            last += 1
            length += len(tokens[last])
        elif first > 0:
            first -= 1
            length += len(tokens[first])
        else:
            break
        random.random()  # whether to skip the neighbour: drawn, and never so
    low, high = math.floor(starts[first]), math.ceil(ends[last])
    centre = random.randint(low, high) if low < high else (low + high) // 2
    start = end = min(max(centre, 0), seconds - 1)
    most = min(random.randint(3, 32), seconds)
    while end - start < most:
        if start <= 0 or (end < seconds and random.random() > 0.5):
            end += 1
        else:
            start -= 1
    return [t for row in tokens[first : last + 1] for t in row], start, end


# ------------------------------------------------------------------------------------------------------------- video


@torch.inference_mode()
def s3d(weights: Weights, frames: np.ndarray) -> np.ndarray:
    """S3D's feature of a chunk, uint8 (30, 224, 224, 3) -> (512,) of length 1: float32, channels first."""
    video = torch.from_numpy(frames).permute(3, 0, 1, 2)[None].float() / 255  # (1, 3, T, H, W)
    b, c, t, h, w = video.shape
    x = video.view(b, c, t // 2, 2, h // 2, 2, w // 2, 2).permute(0, 3, 5, 7, 1, 2, 4, 6)
    x = x.reshape(b, 8 * c, t // 2, h // 2, w // 2)  # (1, 24, T/2, H/2, W/2)
    x = _conv(weights, "conv1", x, padding=(1, 2, 2), cut=True)
    x = _conv(weights, "conv_2b", _halved(x, (1, 3, 3)))
    x = _gate(weights, "gating", _separable(weights, "conv_2c", x))
    x = _halved(x, (1, 3, 3))
    for name in ("3b", "3c", "4b", "4c", "4d", "4e", "4f", "5b", "5c"):
        x = _inception(weights, f"mixed_{name}", x)
        if name in ("3c", "4f"):
            x = _halved(x, (3, 3, 3) if name == "3c" else (2, 2, 2))
    feature = F.linear(x.mean((2, 3, 4)), weights["fc.weight"], weights["fc.bias"])[0].numpy()  # (512,)
    return feature / np.linalg.norm(feature)


def _conv(w: Weights, name: str, x: Tensor, n: int = 1, padding: tuple = (0, 0, 0), cut: bool = False) -> Tensor:
    x = F.conv3d(x, w[f"{name}.conv{n}.weight"], padding=padding)
    bn = [w[f"{name}.bn{n}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
    x = F.relu(F.batch_norm(x, *bn, eps=1e-5))
    return x[:, :, 1:, 1:, 1:] if cut else x  # an even kernel pads one too many


def _separable(w: Weights, name: str, x: Tensor) -> Tensor:
    return _conv(w, name, _conv(w, name, x, 1, (0, 1, 1)), 2, (1, 0, 0))


def _gate(w: Weights, name: str, x: Tensor) -> Tensor:
    weight = torch.sigmoid(F.linear(x.mean((2, 3, 4)), w[f"{name}.fc.weight"], w[f"{name}.fc.bias"]))
    return weight[:, :, None, None, None] * x


def _halved(x: Tensor, kernel: tuple[int, int, int]) -> Tensor:
    """Max-pooling with stride 2 where the kernel is longer than 1, zeros at the far end."""
    far = [max(0, k - 2) for k in kernel]
    x = F.pad(x, (0, far[2], 0, far[1], 0, far[0]))
    return F.max_pool3d(x, kernel, tuple(min(2, k) for k in kernel), ceil_mode=True)


def _inception(w: Weights, name: str, x: Tensor) -> Tensor:
    branches = (
        _conv(w, f"{name}.conv_b0", x),
        _separable(w, f"{name}.conv_b1_b", _conv(w, f"{name}.conv_b1_a", x)),
        _separable(w, f"{name}.conv_b2_b", _conv(w, f"{name}.conv_b2_a", x)),
        _conv(w, f"{name}.conv_b3_b", F.max_pool3d(x, 3, 1, 1)),
    )
    return torch.cat([_gate(w, f"{name}.gating_b{i}", branch) for i, branch in enumerate(branches)], 1)


def decoded(path: Path, size: int = 224, frames: int = 30) -> Iterable[np.ndarray]:
    """Every frame as RGB, short side `size`, the middle square, 30 together: uint8 (n, size, size, 3).

    The scaler starts its threads anew for each frame, as it does when nobody says otherwise.
    """
    import av

    held = []
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        for frame in container.decode(stream):
            short = min(frame.width, frame.height)
            width, height = frame.width * size // short, frame.height * size // short
            image = frame.reformat(width, height, "rgb24", interpolation="BICUBIC").to_ndarray()
            top, left = (height - size) // 2, (width - size) // 2
            held.append(image[top : top + size, left : left + size])
            if len(held) == frames:
                yield np.stack(held)
                held = []
    if held:
        yield np.stack(held)
