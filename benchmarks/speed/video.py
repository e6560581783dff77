"""Stages of pixels, each on one core: frames decoded and made small, and S3D over a second of them."""

import itertools
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import av
import numpy as np
import torch

from benchmarks.speed import reference_like as like
from benchmarks.speed.data import film
from benchmarks.speed.floor import one_core
from benchmarks.speed.made import Size
from benchmarks.speed.timing import OURS, REFERENCE, Asked, Row, expect_equal, in_turns
from vcwork.data.backbones.hugging_face import one_thread
from vcwork.data.backbones.s3d import FPS, SIZE, UNTRAINED, S3DBackbone, untrained_state
from vcwork.data.video import iter_chunks, write_mp4


def decoding(size: Size) -> Iterator[Row]:
    """Every frame of H.264 films, 640 x 360 at 30 a second, as S3D reads it: 224 x 224, bicubic. Equal bytes.

    One film is hard to compress, one easy. Beside each: libav's decoder alone, whose pictures nobody converts.
    """
    with tempfile.TemporaryDirectory(prefix="speed-film-") as folder:
        for kind, rough in (("noise", True), ("flat", False)):
            path = Path(folder) / f"{kind}.mp4"
            write_mp4(path, film(size.film_s, FPS, rough=rough), FPS)
            yield from _decoding(path, size.repeats)


def _decoding(path: Path, repeats: int) -> Iterator[Row]:
    ours, other = (np.concatenate([*chunks]) for chunks in (iter_chunks(path, FPS, SIZE, FPS), like.decoded(path)))
    expect_equal("decoding", ours, other, 0)
    if not repeats:
        return
    alone = "libav alone"
    ways = {
        REFERENCE: lambda: _ended(like.decoded(path)),
        OURS: lambda: _ended(iter_chunks(path, FPS, SIZE, FPS)),
        alone: lambda: _ended(_pictures(path)),
    }
    with one_core():
        taken = in_turns(ways, repeats)
    name, amount = f"decode at 640 x 360, {path.stem}", float(len(ours))
    floor = {alone: taken.pop(alone), OURS: taken[OURS]}
    yield Row(name, taken, amount, "frames", Asked("rate", 1000), float(ours.nbytes), "copy, one core",
              "floor: writing the small frames once; one process")  # fmt: skip
    yield Row(f"{name}, libav's share", floor, amount, "frames", note="decoded, neither converted nor made small")


def _pictures(path: Path) -> Iterator[av.VideoFrame]:
    with av.open(str(path)) as container:
        container.streams.video[0].codec_context.thread_count = 1
        yield from container.decode(video=0)


def _ended(items: Iterable) -> None:
    for _ in items:
        pass


def s3d(size: Size) -> Iterator[Row]:
    """S3D over chunks of 30 frames of 224 x 224, one core, random weights; features equal."""
    weights, backbone = untrained_state(), S3DBackbone(UNTRAINED)
    chunks = [_small(second) for second in range(size.chunks)]

    def ours() -> np.ndarray:
        return np.stack([backbone(chunk) for chunk in chunks])

    def other() -> np.ndarray:
        with one_thread():
            return np.stack([like.s3d(weights, chunk) for chunk in chunks])

    expect_equal("S3D", ours(), other(), 1e-3)
    if size.repeats:
        with one_core():
            taken = in_turns({REFERENCE: other, OURS: ours}, size.repeats)
        work = len(chunks) * _flops(weights)
        about = (float(len(chunks)), "seconds of video", Asked("ratio", 1.5))
        yield Row("S3D", taken, *about, work, "fp32, one core", "30 frames of 224 x 224 a second of video")


def _small(second: int) -> np.ndarray:
    """A second of film, (30, 224, 224, 3)."""
    frames = itertools.islice(film(second + 1), second * FPS, None)
    return np.stack([frame[:SIZE, :SIZE] for frame in frames])


def _flops(weights: dict[str, torch.Tensor]) -> float:
    """Of one chunk, counted by torch: convolutions and products."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter, one_thread():
        like.s3d(weights, np.zeros((FPS, SIZE, SIZE, 3), np.uint8))
    return float(counter.get_total_flops())
