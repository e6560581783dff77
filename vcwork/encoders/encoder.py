"""What stands between a trained model and a task: model, tokenizer, the contract of its features, and who it is.

Arrays, files or stored features in, embeddings out (`encode_video`, `encode_text`, `encode_seconds`): the same answer
for any batch size, whatever kind of encoder. An `Encoder` reads features, one row a second: a checkpoint's, or a peer's
(`vcwork.encoders.peers`); `vcwork.encoders.frames` reads frames of video files and has no vector of a second.
A clip longer than the video tower's window is read in overlapping windows and averaged, never cut silently. Equal texts
are encoded once; texts, and the windows of all clips, meet others of about their length, so that little is padded.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

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

KEPT = 8  # batches of windows in memory at once, among which those of one length meet


class AnyEncoder:
    """What a task needs of an encoder. A class of yours with `encode_clips` and `encode_texts` goes wherever one goes.

    contract: of the features that it reads; digest: who it is, by which indexes and results know it; width: of its
    vectors, D; window: seconds that it reads at once, longer clips are told on the protocol card.
    """

    contract: Contract
    digest: str
    width: int
    window: int = 7200  # nothing limits it
    card: Mapping[str, Any] = MappingProxyType({})  # how it was trained
    tokenizer: Any = None  # None: nothing is known of its words
    backbone: Any = None  # what makes its features, where it brings that along
    per_second: ClassVar[bool] = True  # has a vector for every second of a clip

    @property
    def described(self) -> tuple[str, str]:
        """What an overview says: a name, and what there is to say of it."""
        return f"encoder {type(self).__name__}", f"vectors of {self.width} numbers"

    def encode_clips(self, clips: Iterable[Clip], batch_size: int = 64) -> np.ndarray:
        """As `encode_video`."""
        raise NotImplementedError

    def encode_texts(self, sentences: Sequence[str], batch_size: int = 64) -> np.ndarray:
        """As `encode_text`."""
        raise NotImplementedError

    def encode_seconds(self, clips: Iterable[Clip], *options: Any, **more: Any) -> Iterator[np.ndarray]:
        """As `encode_all_seconds`."""
        raise VcworkError(f"{type(self).__name__} gives one vector a clip, none a second")


@dataclass
class Encoder(AnyEncoder):
    """A model with all that it takes to encode: arrays (T, W) or video files in, vectors (N, D) float32 out."""

    model: VideoCLIP
    tokenizer: Tokenizer | None = field()  # None: imported without its vocabulary, not loadable as an encoder
    contract: Contract
    digest: str = "unsaved"  # who it is: weights, configuration, vocabulary and contract
    card: dict = field(default_factory=dict)  # how it was trained
    backbone: Backbone | None = None  # what makes its features, where it brings that along

    @property
    def width(self) -> int:
        return self.model.config.embedding

    @property
    def described(self) -> tuple[str, str]:
        config, size = self.model.config, sum(p.numel() for p in self.model.parameters())
        depth = f"{config.video_layers} video and {config.text_layers} text layers, window {self.window} s"
        return f"model of width {config.hidden}", f"{size / 1e6:.2f} million weights, {depth}"

    @property
    def window(self) -> int:
        return self.model.config.max_video_tokens

    def encode_clips(self, clips: Iterable[Clip], batch_size: int = 64) -> np.ndarray:
        clips = (self._features(clip, i) for i, clip in enumerate(clips))
        means = [np.mean(rows, axis=0) for _, _, rows in by_windows(clips, self.window, None, self.pooled, batch_size)]
        return finite(np.stack(_some(means)), "clip")  # (N, D)

    def encode_texts(self, sentences: Sequence[str], batch_size: int = 64) -> np.ndarray:
        longest, place = self.model.config.max_text_tokens, {}
        tokens = self.tokenizer.tokens(sentences)
        rows = [place.setdefault(tuple(row[:longest]), len(place)) for row in tokens]  # (N,) into the different ones
        vectors = np.stack(by_length(_some(list(place)), longest, batch_size, self._text))
        return finite(vectors[rows], "sentence")  # (N, D)

    def encode_seconds(
        self, clips: Iterable[Clip], stride: int | None = None, batch_size: int = 32, hide_cls: bool = False,
        window: int = 0,
    ) -> Iterator[np.ndarray]:  # fmt: skip
        clips = (self._features(clip, i) for i, clip in enumerate(clips))
        run = lambda *clips: self.model.encode_video(*self._here(clips), hide_cls=hide_cls).states  # noqa: E731
        return window_means(clips, window or self.window, stride, run, batch_size)

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
            if "/" not in name and name not in ("s3d", "efficientnet-lite0"):
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

    def _text(self, tokens: list[tuple[int, ...]]) -> Tensor:
        ids = self._here(self.tokenizer.batch(tokens, self.model.config.max_text_tokens))
        return self.model.encode_text(*ids).pooled

    def _here(self, tensors: tuple) -> tuple:
        """Where the model is."""
        device = next(self.model.parameters()).device
        return tuple(tensor.to(device) for tensor in tensors)


def encode_video(encoder: AnyEncoder, clips: Iterable[Clip], batch_size: int = 64) -> np.ndarray:
    """One vector a clip, (N, D) float32: features (T, W) each, or paths of video files.

    A clip longer than the window is the mean over its windows (half overlapping). Raises VcworkError on NaN, on
    another feature width, and for files when the encoder's backbone is not to be had.
    An encoder from frames (`vcwork.encoders.frames`) takes files and spans of files, and reads each as one clip.
    """
    return encoder.encode_clips(clips, batch_size)


def encode_text(encoder: AnyEncoder, sentences: Sequence[str], batch_size: int = 64) -> np.ndarray:
    """One vector a sentence, (N, D) float32; words beyond the text tower's length are cut.

    Texts of the same tokens have the same vector to the last bit.
    """
    return encoder.encode_texts(sentences, batch_size)


def encode_seconds(encoder: AnyEncoder, clip: Clip, *options: Any, **more: Any) -> np.ndarray:
    """`encode_all_seconds` of one clip, with its options: one vector a second, (T, D) float32."""
    return next(iter(encoder.encode_seconds([clip], *options, **more)))


def encode_all_seconds(
    encoder: AnyEncoder, clips: Iterable[Clip], stride: int | None = None, batch_size: int = 32, hide_cls: bool = False,
    window: int = 0,
) -> Iterator[np.ndarray]:  # fmt: skip
    """One vector a second of each clip in turn, (T, D) float32: token states, averaged where windows overlap.

    `window` seconds are read at once (0: as many as the tower takes), `stride` seconds lie between windows (None: half
    a window; paper: 32 and 16). `hide_cls`: nothing attends to CLS, as the reference code's localization and
    segmentation have it; pre-training lets it be seen. VcworkError for an encoder without vectors of seconds.
    Clips are taken as they are needed (see `by_windows`), so memory does not grow with their number.
    """
    return encoder.encode_seconds(clips, stride, batch_size, hide_cls, window)


def score(text: np.ndarray, video: np.ndarray) -> np.ndarray:
    """Raw dot products, rows are texts: (Q, D), (N, D) -> (Q, N). Higher is better; not a probability."""
    text, video = np.asarray(text), np.asarray(video)
    if text.ndim != 2 or video.ndim != 2 or text.shape[1] != video.shape[1]:
        raise VcworkError(f"expected (Q, D) and (N, D) of one width, got {text.shape} and {video.shape}")
    return text @ video.T  # (Q, N)


# ----------------------------------------------------------------------------------------------- batches


def windows(seconds: int, window: int, stride: int | None = None) -> list[int]:
    """Starts of the windows over a video: 0, stride, ... until the rest fits into one."""
    stride = stride or max(1, window // 2)
    starts = [0]
    while seconds - starts[-1] > window:
        starts.append(starts[-1] + stride)
    return starts


def window_means(
    clips: Iterable[np.ndarray], window: int, stride: int | None, run: Callable[[Tensor, Tensor], Tensor],
    batch_size: int = 32,
) -> Iterator[np.ndarray]:  # fmt: skip
    """For each clip (T, W), `run` on its overlapping windows, averaged where they overlap -> (T, C) float32.

    `run` gets windows (B, T <= window, W) of several clips and a mask (B, T), and gives (B, T, C).
    """
    padded = lambda part: run(*pad_clips(part, window))  # noqa: E731
    for i, (clip, starts, rows) in enumerate(by_windows(clips, window, stride, padded, batch_size)):
        total, count = np.zeros((len(clip), rows[0].shape[1])), np.zeros((len(clip), 1))
        for s, row in zip(starts, rows, strict=True):
            n = min(window, len(clip) - s)
            total[s : s + n] += row[:n]
            count[s : s + n] += 1
        yield finite((total / count).astype(np.float32), f"clip {i}: second")


def by_windows(
    clips: Iterable[np.ndarray], window: int, stride: int | None, run: Callable[[list[np.ndarray]], Tensor],
    batch_size: int,
) -> Iterator[tuple[np.ndarray, list[int], list[np.ndarray]]]:  # fmt: skip
    """Each clip (T, W) in turn, the starts of its windows, and what `run` gives for each window.

    Windows of many clips share batches. In memory are as many clips as fill `KEPT` batches, with their results; the
    next ones are taken from `clips` when these are through.
    """
    for group in _groups(clips, KEPT * batch_size * window):
        starts = [windows(len(clip), window, stride) for clip in group]
        pieces = [clip[s : s + window] for clip, own in zip(group, starts, strict=True) for s in own]
        rows = iter(by_length(pieces, window, batch_size, run))
        for clip, own in zip(group, starts, strict=True):
            yield clip, own, list(itertools.islice(rows, len(own)))


def _groups(clips: Iterable[np.ndarray], seconds: int) -> Iterator[list[np.ndarray]]:
    """Clips together until they have so many seconds."""
    group, n = [], 0
    for clip in clips:
        group.append(clip)
        n += len(clip)
        if n >= seconds:
            yield group
            group, n = [], 0
    if group:
        yield group


@torch.inference_mode()
def by_length(pieces: Sequence, longest: int, batch_size: int, run: Callable[[list], Tensor]) -> list[np.ndarray]:
    """What `run` gives for each piece, float32, in the order asked; a batch holds pieces of about one length.

    A batch has as many tokens, padding included, as `batch_size` pieces of the `longest` kind, but not more than four
    times as many pieces.
    """
    lengths, out, first = np.array([len(piece) for piece in pieces]), [np.empty(0)] * len(pieces), 0
    order = np.argsort(-lengths, kind="stable")
    while first < len(order):
        n = batch_size * (longest + 2) // (lengths[order[first]] + 2)  # CLS and SEP are tokens, too
        part = order[first : first + min(n, 4 * batch_size)]
        for i, row in zip(part, run([pieces[i] for i in part]).float().cpu().numpy(), strict=True):
            out[i] = row
        first += len(part)
    return out


@torch.inference_mode()
def batched(items: Iterable, batch_size: int, run: Callable[[list], Tensor]) -> np.ndarray:
    """`run` on so many items at a time, (B, D) each, as one float32 array; items are taken when their turn comes."""
    items, parts = iter(items), []
    while part := list(itertools.islice(items, batch_size)):
        parts.append(run(part).float().cpu().numpy())
    return np.concatenate(_some(parts))


def finite(vectors: np.ndarray, what: str) -> np.ndarray:
    """The vectors (N, D); VcworkError, which names the first that holds NaN or infinity, and calls it `what`."""
    wrong = np.flatnonzero(~np.isfinite(vectors).all(1))
    if len(wrong):
        why = "features or weights are too large to compute with, or damaged"
        raise VcworkError(f"{what} {wrong[0]}: its vector is not finite ({len(wrong)} of {len(vectors)}); {why}")
    return vectors


def _some(items: list) -> list:
    if not items:
        raise VcworkError("expected at least one clip or sentence, got none")
    return items
