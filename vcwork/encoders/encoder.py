"""What stands between a trained model and a task: model, tokenizer, the contract of its features, and who it is.

Every kind of encoder answers `encode_clips`, `encode_texts` and `encode_seconds` with arrays (`vcwork.encoders.encode`
has them as functions), and says by `per_second` whether it has the last one. An `Encoder` reads features, one row a
second: a checkpoint's, or a peer's (`vcwork.encoders.peers`); `vcwork.encoders.frames` reads frames of video files.
A clip longer than the video tower's window is read in overlapping windows and averaged, never cut silently.
"""

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from vcwork.base.errors import VcworkError
from vcwork.core.batches import pad_clips
from vcwork.core.model import VideoCLIP
from vcwork.core.text import Tokenizer
from vcwork.data.backbones.image import Backbone, get_backbone
from vcwork.data.extract import chunks_of, contract_of
from vcwork.data.store import Contract

Clip = np.ndarray | str | Path


@dataclass
class Encoder:
    """A model with all that it takes to encode: arrays (T, W) or video files in, vectors (N, D) float32 out."""

    model: VideoCLIP
    tokenizer: Tokenizer | None  # None: a checkpoint imported without its vocabulary, not loadable as an encoder
    contract: Contract
    digest: str = "unsaved"  # sha256 of the weights
    card: dict = field(default_factory=dict)  # how it was trained
    backbone: Backbone | None = None  # what makes its features, where it brings that along

    per_second: ClassVar[bool] = True  # has a vector for every second of a clip

    @property
    def window(self) -> int:
        """Seconds the video tower takes at once."""
        return self.model.config.max_video_tokens

    def encode_clips(self, clips: Iterable[Clip], batch_size: int = 64) -> np.ndarray:
        """One vector a clip, (N, D); a clip longer than the window is the mean over its windows (half overlapping)."""
        clips = [self._features(clip, i) for i, clip in enumerate(clips)]
        starts = [windows(len(clip), self.window) for clip in clips]
        pieces = [clip[s : s + self.window] for clip, own in zip(clips, starts, strict=True) for s in own]
        pooled = batched(pieces, batch_size, self.pooled)  # (P, D)
        owner = np.repeat(np.arange(len(clips)), list(map(len, starts)))  # (P,)
        out = np.zeros((len(clips), self.model.config.embedding), np.float32)
        np.add.at(out, owner, pooled)
        return out / np.bincount(owner)[:, None].astype(np.float32)  # (N, D)

    def encode_texts(self, sentences: Sequence[str], batch_size: int = 64) -> np.ndarray:
        """One vector a sentence, (N, D); words beyond the text tower's length are cut."""
        if isinstance(sentences, str):
            raise VcworkError(f"expected a list of sentences, got one string {sentences!r}")
        return batched(sentences, batch_size, self._text)  # (N, D)

    def encode_seconds(
        self, clip: Clip, stride: int | None = None, batch_size: int = 16, hide_cls: bool = False, window: int = 0
    ) -> np.ndarray:
        """One vector a second, (T, D): token states, averaged where windows overlap."""
        clip, window = self._features(clip, 0), window or self.window
        run = lambda *clips: self.model.encode_video(*self._here(clips), hide_cls=hide_cls).states  # noqa: E731
        return window_mean(clip, window, stride, run, batch_size)  # (T, D)

    def features_of(self, path: str | Path, backbone: Backbone | None = None) -> np.ndarray:
        """Features (T, W) of a video file, as a store would keep them, under the encoder's own contract.

        Without `backbone` it is made from the contract's name; give one whose weights lie in a folder of yours.
        VcworkError when it works under another contract.
        """
        hint = "give the features as an array, from encoder.features_of(path, backbone) with a backbone of yours"
        backbone = backbone or self.own_backbone(f"{path}: {hint}")
        if (found := contract_of(backbone)) != self.contract:
            raise VcworkError(f"{path}: encoder wants features of {self.contract}, backbone gives {found}")
        return np.stack([backbone(frames) for frames in chunks_of(backbone, path)]).astype(np.float16)  # (T, W)

    def own_backbone(self, hint: str) -> Backbone:
        """What makes its features: brought along, or by the contract's name; VcworkError with `hint` where it cannot.

        A contract knows an image model of the hub by its whole name, one that lay in a folder only by the folder's.
        """
        name = self.contract.backbone.removeprefix("hf:")
        try:
            if self.backbone is not None or name.startswith("motion"):
                return self.backbone or get_backbone("motion")
            if "/" not in name and name != "s3d":
                raise VcworkError("it lay in a folder")
            return get_backbone(name, fps=int(self.contract.fps))
        except VcworkError as error:
            raise VcworkError(
                f"{hint}; the encoder reads features of {name!r}, which cannot be had: {error}"
            ) from error

    def _features(self, clip: Clip, i: int) -> np.ndarray:
        clip = self.features_of(clip) if isinstance(clip, str | Path) else clip
        clip = np.asarray(clip, dtype=np.float32)
        width = self.model.config.feature_dim
        if clip.ndim != 2 or clip.shape[1] != width or not len(clip):
            raise VcworkError(f"clip {i}: expected features (T, {width}) with T >= 1, got {clip.shape}")
        if not np.isfinite(clip).all():
            raise VcworkError(f"clip {i}: features hold NaN or infinity")
        return clip

    def pooled(self, clips: list[np.ndarray]) -> Tensor:
        """One vector a clip, (B, D), of clips that one window holds."""
        return self.model.encode_video(*self._here(pad_clips(clips, self.window))).pooled

    def _text(self, sentences: list[str]) -> Tensor:
        ids = self._here(self.tokenizer.encode(sentences, self.model.config.max_text_tokens))
        return self.model.encode_text(*ids).pooled

    def _here(self, tensors: tuple) -> tuple:
        """Where the model is."""
        device = next(self.model.parameters()).device
        return tuple(tensor.to(device) for tensor in tensors)


def windows(seconds: int, window: int, stride: int | None = None) -> list[int]:
    """Starts of the windows over a video: 0, stride, ... until the rest fits into one."""
    stride = stride or max(1, window // 2)
    starts = [0]
    while seconds - starts[-1] > window:
        starts.append(starts[-1] + stride)
    return starts


@torch.inference_mode()
def window_mean(
    rows: np.ndarray, window: int, stride: int | None, run: Callable[[Tensor, Tensor], Tensor], batch_size: int = 16
) -> np.ndarray:
    """`run` on overlapping windows of rows (T, W), its outputs averaged where windows overlap -> (T, C) float32.

    `run` gets clips (B, window, W) and a mask (B, window), and gives (B, window, C).
    """
    starts, total, count = windows(len(rows), window, stride), None, np.zeros((len(rows), 1))
    for first in range(0, len(starts), batch_size):
        part = starts[first : first + batch_size]
        given = run(*pad_clips([rows[s : s + window] for s in part], window)).float().cpu().numpy()  # (B, window, C)
        total = np.zeros((len(rows), given.shape[2])) if total is None else total
        for s, row in zip(part, given, strict=True):
            n = min(window, len(rows) - s)
            total[s : s + n] += row[:n]
            count[s : s + n] += 1
    return (total / count).astype(np.float32)


@torch.inference_mode()
def batched(items: Iterable, batch_size: int, run: Callable[[list], Tensor]) -> np.ndarray:
    """`run` on so many items at a time, (B, D) each, as one float32 array; items are taken when their turn comes."""
    items, parts = iter(items), []
    while part := list(itertools.islice(items, batch_size)):
        parts.append(run(part).float().cpu().numpy())
    if not parts:
        raise VcworkError("expected at least one clip or sentence, got none")
    return np.concatenate(parts)
