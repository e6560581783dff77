"""Arrays, files or stored features in, embeddings out: the same answer for any batch size, whatever kind of encoder.

A video needs no caption and a caption no video.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from vcwork.base.errors import VcworkError
from vcwork.encoders.encoder import Clip, Encoder


def encode_video(encoder: Encoder, clips: Iterable[Clip], batch_size: int = 64) -> np.ndarray:
    """One vector a clip, (N, D) float32: features (T, W) each, or paths of video files.

    A clip longer than the window is the mean over its windows (half overlapping). Raises VcworkError on NaN, on
    another feature width, and for files when the encoder's backbone is not to be had.
    An encoder from frames (`vcwork.encoders.frames`) takes files and spans of files, and reads each as one clip.
    """
    return encoder.encode_clips(clips, batch_size)


def encode_text(encoder: Encoder, sentences: Sequence[str], batch_size: int = 64) -> np.ndarray:
    """One vector a sentence, (N, D) float32; words beyond the text tower's length are cut."""
    return encoder.encode_texts(sentences, batch_size)


def encode_seconds(
    encoder: Encoder, clip: Clip, stride: int | None = None, batch_size: int = 16, hide_cls: bool = False,
    window: int = 0,
) -> np.ndarray:  # fmt: skip
    """One vector a second, (T, D) float32: token states, averaged where windows overlap.

    `window` seconds are read at once (0: as many as the tower takes), `stride` seconds lie between windows (None: half
    a window; paper: 32 and 16). `hide_cls`: nothing attends to CLS, as the reference code's localization and
    segmentation have it; pre-training lets it be seen. VcworkError for an encoder without vectors of seconds.
    """
    return encoder.encode_seconds(clip, stride, batch_size, hide_cls, window)


def score(text: np.ndarray, video: np.ndarray) -> np.ndarray:
    """Raw dot products, rows are texts: (Q, D), (N, D) -> (Q, N). Higher is better; not a probability."""
    text, video = np.asarray(text), np.asarray(video)
    if text.ndim != 2 or video.ndim != 2 or text.shape[1] != video.shape[1]:
        raise VcworkError(f"expected (Q, D) and (N, D) of one width, got {text.shape} and {video.shape}")
    return text @ video.T  # (Q, N)
