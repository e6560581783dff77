"""Frames of clips, decoded when they are asked for: N of them spread evenly over a span of seconds, by processes.

A training reads `PixelPairs`, an evaluation `frame_clips`; both know only where the clips lie, so what is in memory are
the frames of the update at hand and of the next one, or, where they fit, some frames a second of every video, decoded
once (`KeptPairs`). Which frames a clip has depends on its span alone, so neither the number of workers nor where a
decoder had to begin changes a pixel.
Known gaps: no crops, flips or colour changes are drawn. Workers are processes of torch's DataLoader: a program that
asks for some needs `if __name__ == "__main__":` where the system does not fork.
"""

import itertools
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset
from tqdm.auto import tqdm

from vcwork.batches import Batch, PairData
from vcwork.corpus import Corpus, Video
from vcwork.errors import VcworkError
from vcwork.evaluation import Clips, as_clips
from vcwork.tasks.common import seconds_of
from vcwork.tasks.segmentation import truth_labels
from vcwork.text import Tokenizer
from vcwork.training import caption_track
from vcwork.video import _check_length, _Converter, _declared_s, _open, _TimedFrames, probe

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
    end_s = _end_s(span.path) if span.end_s is None else span.end_s
    if end_s <= span.start_s:
        return np.zeros((0, 3, view.crop, view.crop), np.uint8)
    convert, at, frames = _Converter(view.size), (view.size - view.crop) // 2, []
    with _open(span.path) as opened:
        for frame in _shown(*opened, span.path, sample_times(span.start_s, end_s, view.frames), seek_s):
            if frame is not convert.frame:
                frames.append(convert(frame)[at : at + view.crop, at : at + view.crop])
    return np.ascontiguousarray(np.stack(frames).transpose(0, 3, 1, 2))  # (n, 3, crop, crop)


def _end_s(path: Path) -> float:
    with _open(path) as (container, stream):
        timed = _TimedFrames(container, stream, path)
        if not (declared_s := _declared_s(container, stream)):
            deque(timed, maxlen=0)  # the header does not say: look
        return declared_s or timed.end_s


def _shown(container: Any, stream: Any, path: Path, times: np.ndarray, seek_s: float) -> Iterator[av.VideoFrame]:
    """The frame on display at each of the rising `times`; before the first that one, after the end the last."""
    timed = _TimedFrames(container, stream, path)
    frames, held, coming = iter(timed), None, None
    for t in times:
        now_s = 0.0 if held is None else np.inf if coming is None else coming[0]  # at the end nothing is far
        if t - now_s > seek_s:
            frames, held, coming = _entered(container, stream, timed, t), None, None
        while held is None or (coming is not None and coming[0] <= t):
            held, coming = coming, next(frames, None)
            if coming is None:
                _check_length(path, timed.end_s, _declared_s(container, stream))
        yield held[1]


def _entered(container: Any, stream: Any, timed: _TimedFrames, t: float) -> Iterator[tuple[float, av.VideoFrame]]:
    """Timed frames from a key frame at or before `t` on."""
    try:
        origin_s = (container.start_time or 0) / av.time_base
        container.seek(int((t + origin_s) / stream.time_base), stream=stream)
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

    def __getitem__(self, span: Span) -> torch.Tensor | str:
        try:
            return torch.from_numpy(read_span(span, self.view))
        except VcworkError as error:
            return str(error)


def _as_is(item: Any) -> Any:
    return item


def load_spans(spans: Iterable[Span], view: View, workers: int = 0, ahead: int = 16) -> Iterator[np.ndarray]:
    """`read_span` of each, in order, by `workers` processes (0: this one) that work about `ahead` spans in advance."""
    loader = DataLoader(
        _Reads(view), batch_size=None, sampler=spans, num_workers=workers, collate_fn=_as_is,
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


@dataclass
class PixelPairs(PairData):
    """PairData whose clips are frames. With workers the next update's are decoded while this one is computed."""

    view: View = field(kw_only=True)
    workers: int = field(default=0, kw_only=True)
    _coming: deque = field(default_factory=deque, init=False, repr=False)
    _stream: Iterator[np.ndarray] | None = field(default=None, init=False, repr=False)

    def clips(self, spans: list[tuple[int, int, int]]) -> list[np.ndarray]:
        """Frames (n_i, 3, crop, crop) of each (track, first second, end)."""
        if self._coming and self._coming[0] == spans:
            self._coming.popleft()
            return list(itertools.islice(self._stream, len(spans)))
        workers = min(self.workers, len(spans) // 8)  # starting a process is dearer than some clips
        return list(load_spans(map(self._span, spans), self.view, workers, len(spans)))

    def expect(self, batch: Batch, following: Iterator[Batch]) -> None:
        """Has workers decode what `clips` will be asked for; right whatever is asked for then."""
        spans = batch.spans() if self.workers else []
        if not spans or (self._coming and self._coming[0] == spans):
            return
        self._coming = coming = deque([spans])

        def announced() -> Iterator[Span]:
            yield from map(self._span, spans)
            for later in following:
                coming.append(later.spans())
                yield from map(self._span, coming[-1])

        self._stream = load_spans(announced(), self.view, self.workers, len(spans))

    def _span(self, span: tuple[int, int, int]) -> Span:
        v, start, end = span
        return Span(self.features[v].path, start, end)


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


def seconds_of_video(video: Video) -> int:
    """Whole seconds, as a feature store would have rows; the header is read where the corpus does not know."""
    return max(1, round(video.duration_s or probe(video.video).duration_s))


def frame_pairs(corpus: Corpus, tokenizer: Tokenizer, view: View, split: str = "train", workers: int = 0) -> PixelPairs:
    """The split's videos that have a file and captions, to train on; nothing is decoded yet. VcworkError: none."""
    tracks, features, steps = [], [], []
    index = {step: k for k, step in enumerate(corpus.steps)}
    for video in corpus.split(split):
        captions = corpus.captions(video.id)
        if video.video and captions:
            seconds = seconds_of_video(video)
            tracks.append(caption_track(video.id, captions, tokenizer, seconds))
            features.append(LazyFrames(video.video, seconds, view))
            steps.append(truth_labels([(s.start_s, s.end_s, s.step) for s in video.segments], index, seconds))
    if not tracks:
        raise VcworkError(f"{corpus.folder}: no {split} video has both a file and captions")
    return PixelPairs(tracks, features, steps if index else None, view=view, workers=workers)


def frame_clips(corpus: Corpus, split: str) -> Clips:
    """`vcwork.evaluation.annotated_clips` of video files: `features` are Spans, the same seconds as there."""
    rows = []
    for video in corpus.split(split):
        seconds = seconds_of_video(video) if video.video and video.segments else 0
        cuts = [(s, seconds_of(s.start_s, s.end_s, seconds)) for s in video.segments] if seconds else []
        rows += [(video, s, Span(video.video, cut.start, cut.stop)) for s, cut in cuts if cut.stop > cut.start]
    if not rows:
        raise VcworkError(f"{corpus.folder}: no {split} video has both a file and annotated segments")
    return as_clips(corpus, rows)
