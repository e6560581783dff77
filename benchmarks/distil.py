"""A frame encoder's beginning where no stored weights are at hand: it learns to say what a feature store says.

From random weights a ViT stands still for a long time when narration is its only teacher. Here it first learns, without
any label or word, the features of the second that a frame is from (regression on standardised rows); then it is trained
end to end as any other. This takes the place that ImageNet weights have in a run on real videos. Source: ours.
Frames are decoded once and kept (`KeptPairs`), so that neither this nor the training after it waits for a decoder.
Known gaps: features that describe motion cannot be told from one frame, so the loss does not fall to 0.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from vcwork.base.errors import VcworkError
from vcwork.core.batches import PairData
from vcwork.encoders.frames import FrameCLIP
from vcwork.encoders.pixels import LazyFrames, Span, View, read_span, sample_times
from vcwork.training.frames import PixelPairs


@dataclass
class KeptPairs(PairData):
    """PairData whose clips are frames out of memory: `features` are uint8 (n, 3, crop, crop), `fps` of them a second.

    A clip's frames are those nearest to `sample_times`, each once. For corpora that fit: a minute of 2 frames of 64
    pixels a second takes 1.5 MB, and an update then costs no decoding at all.
    """

    view: View = field(kw_only=True)
    fps: int = field(kw_only=True)

    def clips(self, spans: list[tuple[int, int, int]]) -> list[np.ndarray]:
        """Frames (n_i, 3, crop, crop) of each (track, first second, end)."""
        return [self._cut(self.features[v], start, end) for v, start, end in spans]

    def _cut(self, frames: np.ndarray, start: int, end: int) -> np.ndarray:
        rows = (sample_times(start, end, self.view.frames) * self.fps).astype(int)  # row i shows [i, i + 1) / fps
        return frames[np.unique(np.minimum(rows, len(frames) - 1))]


def keep_frames(pairs: PixelPairs, fps: int, workers: int = 1, progress: bool = False) -> KeptPairs:
    """Decodes `fps` frames a second of every video of `pairs` now, `workers` threads at a time."""

    def read(lazy: LazyFrames) -> np.ndarray:
        return read_span(Span(lazy.path, 0, lazy.seconds), replace(lazy.view, frames=lazy.seconds * fps))

    with ThreadPoolExecutor(workers) as pool:
        found = pool.map(read, pairs.features)
        kept = list(tqdm(found, "decoding", len(pairs.features), unit="video", disable=not progress))
    return KeptPairs(pairs.tracks, kept, pairs.steps, view=pairs.view, fps=fps)


def distil(
    model: FrameCLIP, data: KeptPairs, features: Sequence[np.ndarray], updates: int = 500, frames: int = 128,
    lr: float = 1e-3, seed: int = 0, progress: bool = False,
) -> list[float]:  # fmt: skip
    """Trains `model.backbone` so that a linear map of a frame's state tells `features[i]` (T_i, W), one row a second.

    features belong to the videos of `data`, in its order; the linear map is thrown away. Returns each update's loss:
    the mean squared error in units of the features' variance, so 1 is what a constant would have. VcworkError where
    the numbers of videos differ.
    """
    if len(features) != len(data.features):
        raise VcworkError(f"expected features of {len(data.features)} videos, got {len(features)}")
    targets, rng = _standardised(features), np.random.default_rng(seed)
    device = next(model.parameters()).device
    head = nn.Linear(model.config.feature_dim, targets[0].shape[1]).to(device)
    learning = [*model.backbone.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(learning, lr=lr, weight_decay=0.01)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, updates, pct_start=0.1)
    model.train()
    losses = []
    for _ in tqdm(range(updates), "learning the features", unit="update", disable=not progress):
        pixels, target = _drawn(data, targets, frames, rng)  # (M, 3, S, S), (M, W)
        loss = nn.functional.mse_loss(head(_states(model, pixels.to(device))), target.to(device))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(learning, 1.0)
        optimizer.step()
        rate.step()
        losses.append(loss.item())
    return losses


def _states(model: FrameCLIP, pixels: Tensor) -> Tensor:
    everything = torch.ones(len(pixels), 1, dtype=torch.bool, device=pixels.device)
    return model.frame_states(pixels[:, None], everything)[:, 0]  # (M, D)


def _standardised(features: Sequence[np.ndarray]) -> list[Tensor]:
    """Each number of a row to mean 0 and variance 1 over all rows; one that never changes to 0."""
    rows = np.concatenate([np.asarray(f, np.float32) for f in features])  # (sum T, W)
    mean, std = rows.mean(0), rows.std(0)
    scale = np.where(std > 1e-6, 1 / np.maximum(std, 1e-6), 0)
    return [torch.from_numpy((np.asarray(f, np.float32) - mean) * scale).float() for f in features]


def _drawn(data: KeptPairs, targets: Sequence[Tensor], frames: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    pixels, rows = [], []
    for v in rng.integers(len(targets), size=frames):
        row = int(rng.integers(len(data.features[v])))
        pixels.append(data.features[v][row])
        rows.append(targets[v][min(row // data.fps, len(targets[v]) - 1)])
    return torch.from_numpy(np.stack(pixels)), torch.stack(rows)
