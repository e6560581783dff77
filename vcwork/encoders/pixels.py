"""Frames of clips, decoded when they are asked for: N of them spread evenly over a span of seconds, by processes.

A training reads `PixelPairs`, an evaluation `frame_clips`; both know only where the clips lie, so what is in memory are
the frames of the update at hand and of the next one. Which frames a clip has depends on its span alone, so neither the
number of workers nor where a decoder had to begin changes a pixel.
Known gaps: no crops, flips or colour changes are drawn. Workers are processes of torch's DataLoader: a program that
asks for some needs `if __name__ == "__main__":` where the system does not fork.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from vcwork.base.errors import VcworkError
from vcwork.data.copies import end_of
from vcwork.data.corpus import Video
from vcwork.data.video import pictures_at, probe


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
    end_s = end_of(span.path) if span.end_s is None else span.end_s
    if end_s <= span.start_s:
        return np.zeros((0, 3, view.crop, view.crop), np.uint8)
    pictures = pictures_at(span.path, sample_times(span.start_s, end_s, view.frames), view.size)
    once = [new for last, new in zip([None, *pictures], pictures, strict=False) if new is not last]
    at = slice((view.size - view.crop) // 2, (view.size + view.crop) // 2)
    return np.ascontiguousarray(np.stack(once)[:, at, at].transpose(0, 3, 1, 2))  # (n, 3, crop, crop)


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
