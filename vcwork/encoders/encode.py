"""Arrays, files or stored features in, embeddings out: the same answer for any batch size.

A video needs no caption and a caption no video. A clip longer than the video tower's window is read in overlapping
windows and averaged, never cut silently.
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from vcwork.base.errors import VcworkError
from vcwork.core.batches import pad_clips
from vcwork.data.backbones.image import Backbone, get_backbone
from vcwork.encoders.encoder import Encoder

Clip = np.ndarray | str | Path


@runtime_checkable
class ReadsClips(Protocol):
    """An encoder that makes vectors of whole clips itself, without features in between."""

    def encode_clips(self, clips: Iterable[Clip], batch_size: int) -> np.ndarray: ...


def encode_video(encoder: Encoder, clips: Iterable[Clip], batch_size: int = 64) -> np.ndarray:
    """One vector a clip, (N, D) float32: features (T, W) each, or paths of video files.

    A clip longer than the window is the mean over its windows (half overlapping). Raises VcworkError on NaN, on
    another feature width, and for files when the encoder's backbone is not to be had.
    An encoder from frames (`vcwork.encoders.frames`) takes files and spans of files, and reads each as one clip.
    """
    if isinstance(encoder, ReadsClips):
        return encoder.encode_clips(clips, batch_size)
    clips = [_features(encoder, clip, i) for i, clip in enumerate(clips)]
    pieces = [
        (i, clip[s : s + encoder.window]) for i, clip in enumerate(clips) for s in windows(len(clip), encoder.window)
    ]
    pooled = _batched(pieces, batch_size, lambda part: _pooled(encoder, [clip for _, clip in part]))  # (P, D)
    owner = np.array([i for i, _ in pieces], dtype=int)
    out = np.zeros((len(clips), encoder.model.config.embedding), np.float32)
    np.add.at(out, owner, pooled)
    return out / np.maximum(np.bincount(owner, minlength=len(clips)), 1)[:, None].astype(np.float32)  # (N, D)


def encode_text(encoder: Encoder, sentences: Sequence[str], batch_size: int = 64) -> np.ndarray:
    """One vector a sentence, (N, D) float32; words beyond the text tower's length are cut."""
    if isinstance(sentences, str):
        raise VcworkError(f"expected a list of sentences, got one string {sentences!r}")
    return _batched(list(sentences), batch_size, lambda part: _sentences(encoder, part))  # (N, D)


def encode_seconds(
    encoder: Encoder, clip: Clip, stride: int | None = None, batch_size: int = 16, hide_cls: bool = False
) -> np.ndarray:
    """One vector a second, (T, D) float32: token states, averaged where windows overlap.

    `stride` seconds between windows, half a window unless said (paper: 32 and 16). `hide_cls`: nothing attends to CLS,
    as in the reference code's segmentation and localization.
    """
    if isinstance(encoder, ReadsClips):
        raise VcworkError("an encoder from frames gives one vector a clip, none a second; give spans to encode_video")

    def states(features: Tensor, mask: Tensor) -> Tensor:
        return encoder.model.encode_video(*_to(encoder, (features, mask)), hide_cls=hide_cls).states

    return window_mean(_features(encoder, clip, 0), encoder.window, stride, states, batch_size)  # (T, D)


def window_mean(
    tokens: np.ndarray, window: int, stride: int | None, run: Callable[[Tensor, Tensor], Tensor], batch_size: int = 16
) -> np.ndarray:
    """`run` on overlapping windows of (N, W), its outputs (B, T, C) averaged where windows overlap -> (N, C) float32.

    `run` takes a batch as `pad_clips` gives it.
    """
    starts = windows(len(tokens), window, stride)
    total, count = None, np.zeros((len(tokens), 1))
    for first in range(0, len(starts), batch_size):
        part = starts[first : first + batch_size]
        with torch.inference_mode():
            rows = run(*pad_clips([tokens[s : s + window] for s in part], window)).float().cpu().numpy()  # (B, T, C)
        total = np.zeros((len(tokens), rows.shape[-1])) if total is None else total
        for s, row in zip(part, rows, strict=True):
            n = min(window, len(tokens) - s)
            total[s : s + n] += row[:n]
            count[s : s + n] += 1
    return (total / count).astype(np.float32)


def score(text: np.ndarray, video: np.ndarray) -> np.ndarray:
    """Raw dot products, rows are texts: (Q, D), (N, D) -> (Q, N). Higher is better; not a probability."""
    text, video = np.asarray(text), np.asarray(video)
    if text.ndim != 2 or video.ndim != 2 or text.shape[1] != video.shape[1]:
        raise VcworkError(f"expected (Q, D) and (N, D) of one width, got {text.shape} and {video.shape}")
    return text @ video.T  # (Q, N)


def windows(seconds: int, window: int, stride: int | None = None) -> list[int]:
    """Starts of the windows over a video: 0, stride, ... until the rest fits into one."""
    stride = stride or max(1, window // 2)
    starts = [0]
    while seconds - starts[-1] > window:
        starts.append(starts[-1] + stride)
    return starts


def _features(encoder: Encoder, clip: Clip, i: int) -> np.ndarray:
    if isinstance(clip, (str, Path)):
        clip = features_of(encoder, clip)
    clip = np.asarray(clip, dtype=np.float32)
    width = encoder.model.config.feature_dim
    if clip.ndim != 2 or clip.shape[1] != width or not len(clip):
        raise VcworkError(f"clip {i}: expected features (T, {width}) with T >= 1, got {clip.shape}")
    if not np.isfinite(clip).all():
        raise VcworkError(f"clip {i}: features hold NaN or infinity")
    return clip


def features_of(encoder: Encoder, path: str | Path, backbone: Backbone | None = None) -> np.ndarray:
    """Features (T, W) of a video file, as a store would keep them, under the encoder's own contract.

    Without `backbone` it is made from the contract's name; give one whose weights lie in a folder of yours. VcworkError
    when it works under another contract.
    """
    from vcwork.data.extract import chunks_of, contract_of

    backbone = backbone or getattr(encoder, "backbone", None) or _backbone_of(encoder, path)
    if contract_of(backbone) != encoder.contract:
        raise VcworkError(
            f"{path}: encoder wants features of {encoder.contract}, backbone gives {contract_of(backbone)}"
        )
    return np.stack([backbone(frames) for frames in chunks_of(backbone, path)]).astype(np.float16)  # (T, W)


def _backbone_of(encoder: Encoder, path: str | Path) -> Backbone:
    name = encoder.contract.backbone
    try:
        if name.startswith("motion"):
            return get_backbone("motion")
        return get_backbone(name.removeprefix("hf:"), fps=int(encoder.contract.fps))
    except VcworkError as error:
        hint = "give the features as an array, from features_of(encoder, path, backbone) with a backbone of yours"
        raise VcworkError(
            f"{path}: the encoder reads features of {name}, which is not to be had here; {hint}"
        ) from error


@torch.inference_mode()
def _pooled(encoder: Encoder, clips: list[np.ndarray]) -> np.ndarray:
    return encoder.model.encode_video(*_to(encoder, pad_clips(clips, encoder.window))).pooled.float().cpu().numpy()


@torch.inference_mode()
def _sentences(encoder: Encoder, sentences: list[str]) -> np.ndarray:
    batch = encoder.tokenizer.encode(sentences, encoder.model.config.max_text_tokens)
    return encoder.model.encode_text(*_to(encoder, batch)).pooled.float().cpu().numpy()


def _to(encoder: Encoder, tensors: tuple) -> tuple:
    device = next(encoder.model.parameters()).device
    return tuple(tensor.to(device) for tensor in tensors)


def _batched(items: list, batch_size: int, run) -> np.ndarray:
    if not items:
        raise VcworkError("expected at least one clip or sentence, got none")
    return np.concatenate([run(items[i : i + batch_size]) for i in range(0, len(items), batch_size)])
