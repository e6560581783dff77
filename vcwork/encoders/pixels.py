"""Frames of clips, decoded when they are asked for: N of them spread evenly over a span of seconds, by processes.

A training reads `PixelPairs`, an evaluation `frame_clips`; both know only where the clips lie, so what is in memory are
the frames of the update at hand and of the next one. Which frames a clip has depends on its span alone, so neither the
number of workers nor where a decoder had to begin changes a pixel.
Known gaps: no crops, flips or colour changes are drawn. Workers are processes of torch's DataLoader: a program that
asks for some needs `if __name__ == "__main__":` where the system does not fork.
"""

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from vcwork.base.errors import VcworkError
from vcwork.data.copies import end_of
from vcwork.data.corpus import Video
from vcwork.data.film import TimedFrames, check_length, jumps, open_video, origin_s, picture_end
from vcwork.data.video import Converter, probe

SEEK_S = 5.0  # a gap longer than this is jumped over; x264 puts a key frame about so often or more


@dataclass(frozen=True)
class View:
    """How a clip becomes numbers: at most `frames` of it, short side resized to `size`, the `crop` in its centre."""

    frames: int
    size: int
    crop: int


@dataclass(frozen=True)
class Span:
    """Seconds [start_s, end_s) of a video file; without an end, all that follows."""

    path: Path
    start_s: float = 0.0
    end_s: float | None = None


def sample_times(start_s: float, end_s: float, frames: int) -> np.ndarray:
    """(frames,) seconds: the middles of as many equal parts of [start_s, end_s)."""
    return start_s + (np.arange(frames) + 0.5) * (end_s - start_s) / frames


def read_span(span: Span, view: View) -> np.ndarray:
    """The frames on display at `sample_times`, uint8 RGB (n, 3, crop, crop), each of them once: n <= view.frames.

    So a span that holds fewer frames gives what it has, and an empty span none. A span beyond the file's end gives the
    last frame. VcworkError names a file that is missing, does not decode or ends early.
    """
    try:
        return _read(span, view, SEEK_S)
    except _NoEntryError:
        return _read(span, view, np.inf)


class _NoEntryError(Exception):
    """This file cannot be entered in its middle."""


def _read(span: Span, view: View, seek_s: float) -> np.ndarray:
    end_s = end_of(span.path) if span.end_s is None else span.end_s
    if end_s <= span.start_s:
        return np.zeros((0, 3, view.crop, view.crop), np.uint8)
    convert, at, frames = Converter(view.size), (view.size - view.crop) // 2, []
    with open_video(span.path) as opened:
        for frame in _shown(*opened, span.path, sample_times(span.start_s, end_s, view.frames), seek_s):
            if frame is not convert.frame:
                frames.append(convert(frame)[at : at + view.crop, at : at + view.crop])
    return np.ascontiguousarray(np.stack(frames).transpose(0, 3, 1, 2))  # (n, 3, crop, crop)


def _shown(container: Any, stream: Any, path: Path, times: np.ndarray, seek_s: float) -> Iterator[av.VideoFrame]:
    """The frame on display at each of the rising `times`; before the first that one, after the end the last."""
    timed = TimedFrames(container, stream, path)
    frames, held, coming = iter(timed), None, None
    for t in times:
        now_s = 0.0 if held is None else np.inf if coming is None else coming[0]  # at the end nothing is far
        if t - now_s > seek_s:
            frames, held, coming = _entered(container, stream, timed, t), None, None
        while held is None or (coming is not None and coming[0] <= t):
            held, coming = coming, next(frames, None)
            if coming is None:
                check_length(path, timed.end_s, picture_end(container, stream, path))
        yield held[1]


def _entered(container: Any, stream: Any, timed: TimedFrames, t: float) -> Iterator[tuple[float, av.VideoFrame]]:
    """Timed frames from a key frame at or before `t` on."""
    if jumps(container, stream, timed.path):
        raise _NoEntryError
    try:
        container.seek(int((t + origin_s(container)) / stream.time_base), stream=stream)
        frames = iter(timed)
        first = next(frames)
    except (av.FFmpegError, VcworkError) as error:
        raise _NoEntryError from error
    if first[1].time is None or first[0] > t:
        raise _NoEntryError
    return itertools.chain([first], frames)


# -------------------------------------------------------------------------------------------------------- workers


class _Reads(Dataset):
    """Spans to frames; what cannot be read comes back as words, so that the error is raised where it is seen."""

    def __init__(self, view: View) -> None:
        self.view = view

    def __getitem__(self, span: Span) -> np.ndarray | str:
        try:
            return read_span(span, self.view)
        except VcworkError as error:
            return str(error)


def load_spans(spans: Iterable[Span], view: View, workers: int = 0, ahead: int = 16) -> Iterator[np.ndarray]:
    """`read_span` of each, in order, by `workers` processes (0: this one) that work about `ahead` spans in advance."""
    loader = DataLoader(
        _Reads(view), batch_size=None, sampler=spans, num_workers=workers,
        prefetch_factor=max(1, -(-ahead // workers)) if workers else None,
        generator=torch.Generator(),  # else it draws from the training's, and dropout would follow the workers
    )  # fmt: skip
    try:
        for item in loader:
            if isinstance(item, str):
                raise VcworkError(item)
            yield item.numpy()
    except RuntimeError as error:
        raise VcworkError(f"a worker that decodes frames ended ({error}); try fewer workers, or 0") from error


# --------------------------------------------------------------------------------------------------------- corpus


@dataclass(frozen=True)
class LazyFrames:
    """Stands where a video's features stand: `[start:end]` decodes these seconds, (n, 3, crop, crop)."""

    path: Path
    seconds: int
    view: View

    def __len__(self) -> int:
        return self.seconds

    def __getitem__(self, span: slice) -> np.ndarray:
        start, end, _ = span.indices(self.seconds)
        return read_span(Span(self.path, start, end), self.view)


def seconds_of_video(video: Video) -> int:
    """Whole seconds, as a feature store would have rows; the header is read where the corpus does not know."""
    return max(1, round(video.duration_s or probe(video.video).duration_s))
