"""Video files: decode to square frames second by second, and write small mp4 files. PyAV lives here.

Main ideas: frames are picked by time stamp, so variable frame rates do no harm; one thread everywhere, because
parallelism belongs to processes (swscale with its default threads runs at half the speed), and because x264 with one
thread writes the same bytes each time.
A file that cannot be read to its end is an error naming it: a silently shortened video would shift every caption.
Which stream, on which clock and which way up: `vcwork.data.film`.
Known gaps: non-square pixels are not stretched, interlaced lines not woven (as ffmpeg decodes); sound is ignored.
"""

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from vcwork.base.errors import VcworkError, could_not
from vcwork.base.files import atomic_write
from vcwork.data.film import (  # fmt: skip
    TimedFrames,
    check_length,
    check_still,
    first_frame,
    open_video,
    picture_end,
    shown_size,
    upright,
)

SEEK_S = 5.0  # x264 puts a key frame about so often or more
VIDEO_SUFFIXES = (
    *(".mp4", ".mkv", ".mov", ".webm", ".avi", ".m4v", ".ts", ".m2ts", ".mts", ".mpg", ".mpeg", ".vob", ".wmv", ".asf"),
    *(".flv", ".f4v", ".3gp", ".3g2", ".ogv", ".gif"),
)


@dataclass(frozen=True)
class VideoInfo:
    """What a header says, as displayed (rotation applied)."""

    duration_s: float
    fps: float
    width: int
    height: int
    texts: tuple[str, ...] = ()  # languages of the subtitles inside the file


def probe(path: str | Path) -> VideoInfo:
    """Header of a video, its first frame decoded as a check. VcworkError when there is no readable picture."""
    with open_video(path) as (container, stream):
        frame = first_frame(container, stream, path)
        texts = tuple(track.language or "und" for track in container.streams.subtitles)
        size = shown_size(frame)
        return VideoInfo(picture_end(container, stream, path), float(stream.average_rate or 0), *size, texts)


def iter_seconds(path: str | Path, fps: int, size: int | None) -> Iterator[np.ndarray]:
    """One uint8 RGB array (n, size, size, 3) for each second; n = fps, fewer only in a last, partial second.

    Sample k of second s is the frame on display at s + (k + 0.5) / fps. Short side resized to `size` (the long one in
    proportion, rounded down), centre square cropped, rotation honoured; `size` None: whole, (n, H, W, 3) as filmed, for
    who squeezes a picture into a square or crops it himself. A last partial second counts from half a second on, so
    T = round(duration), at least 1.
    VcworkError names the file when it is missing, has no frame, does not decode, or ends early (over 1 s and 10 %).
    """
    return _shown(path, fps, Converter(size), fps, by_seconds=True)


def iter_chunks(path: str | Path, fps: int, size: int, frames: int) -> Iterator[np.ndarray]:
    """The same stream of frames as `iter_seconds` gives, cut every `frames`: uint8 RGB (n, size, size, 3).

    n = `frames`, fewer in the last; no frame is left out, so there are ceil(frames of the video / `frames`) of them.
    Resized bicubically, as ffmpeg's scale filter does (`iter_seconds`: bilinearly). VcworkError as for `iter_seconds`.
    """
    return _shown(path, fps, Converter(size, "BICUBIC"), frames, by_seconds=False)


def _shown(path: str | Path, fps: int, convert: "Converter", frames: int, by_seconds: bool) -> Iterator[np.ndarray]:
    """The frames on display, cut every `frames`; `by_seconds` decides whether a last, partial one is given."""
    size = 1 if convert.size is None else convert.size
    if any(int(n) != n or n < 1 for n in (fps, size, frames)):
        expected = "expected a whole number of frames a second, of frames together, and a size, each at least 1"
        raise VcworkError(f"{expected}, got {fps}, {frames} and {size}")
    with open_video(path) as (container, stream):
        timed, done = TimedFrames(container, stream, path), 0
        shown = map(convert, on_display(timed, int(fps)))
        while len(chunk := list(itertools.islice(shown, int(frames)))) == frames:
            yield np.stack(chunk)
            done += 1
        check_length(path, timed.end_s, picture_end(container, stream, path))
        if by_seconds and (timed.end_s - done >= 0.5 or not done):
            yield np.stack(chunk or [convert.array])
        elif chunk and not by_seconds:
            yield np.stack(chunk)


def frames_at(path: str | Path, at_s: Sequence[float], size: int = 96) -> list[np.ndarray]:
    """Thumbnails (size, size, 3) uint8 of the seconds asked for, in that order: what is shown three quarters into each.

    Times beyond the end give the last one. VcworkError as for `iter_seconds`.
    """
    wanted = [max(0, int(t)) + 0.75 for t in at_s]
    times = sorted({*wanted})
    found = dict(zip(times, pictures_at(path, times, size), strict=True))
    return [found[time] for time in wanted]


def pictures_at(path: str | Path, times: Sequence[float], size: int) -> list[np.ndarray]:
    """Squares (size, size, 3) uint8 of what is on display at rising `times`; one that is held is the same array again.

    Before the first picture that one, after the end the last. A gap longer than SEEK_S is jumped over where the file
    can be entered in its middle. VcworkError names a file that is missing, does not decode or ends early.
    """
    found = _pictures_at(path, times, Converter(size), SEEK_S)
    return _pictures_at(path, times, Converter(size), math.inf) if found is None else found


def _pictures_at(
    path: str | Path, times: Sequence[float], convert: "Converter", seek_s: float
) -> list[np.ndarray] | None:
    """None where a gap of more than `seek_s` cannot be jumped over."""
    found = []
    with open_video(path) as (container, stream):
        timed = TimedFrames(container, stream, path)
        frames, held, coming = iter(timed), None, None
        for t in times:
            now_s = 0.0 if held is None else math.inf if coming is None else coming[0]  # at the end nothing is far
            if t - now_s > seek_s:
                frames, held, coming = timed.entered(t), None, None
            if frames is None:
                return None
            while held is None or (coming is not None and coming[0] <= t):
                held, coming = coming, next(frames, None)
                if coming is None:
                    check_length(path, timed.end_s, picture_end(container, stream, path))
            found.append(convert(held[1]))
    return found


def write_mp4(
    path: str | Path,
    frames: Iterable[np.ndarray],
    fps: float,
    crf: int = 23,
    preset: str = "superfast",
    cabac: bool = True,
) -> int:
    """Write uint8 RGB frames (H, W, 3), H and W even, as H.264 yuv420p that a browser plays; returns their number.

    Same frames, same bytes: x264 runs in one thread. A key frame every two seconds keeps seeking quick. Written beside
    its place and moved there only when whole. On 112-pixel frames `superfast` is as quick as `ultrafast` and its files
    are a sixth of the size. Without `cabac` the same pictures take a seventh more bytes, and are read in half the time.
    """
    with (
        could_not(f"{path}: could not be written", av.FFmpegError),
        atomic_write(path, "wb") as file,  # libav opens it again, by its name
        av.open(file.name, "w", format="mp4", options={"movflags": "+faststart"}) as container,
    ):
        options = {"crf": str(crf), "preset": preset, "threads": "1", "x264-params": f"cabac={int(cabac)}"}
        return _encode(container, frames, Fraction(fps).limit_denominator(1001), options, Path(path))


def _encode(container, frames: Iterable[np.ndarray], rate: Fraction, options: dict[str, str], path: Path) -> int:
    stream, shape, count = None, None, 0
    to_yuv = VideoReformatter()
    for count, array in enumerate(frames, 1):
        if stream is None:
            shape = _checked_shape(array, path)
            key_frames = {"g": str(max(1, round(2 * rate)))}
            stream = container.add_stream("libx264", rate=rate, options=options | key_frames)
            stream.height, stream.width, stream.pix_fmt = shape[0], shape[1], "yuv420p"
            stream.codec_context.thread_count = 1
        elif array.shape != shape:
            raise VcworkError(f"{path}: expected every frame {shape}, got {array.shape} at frame {count - 1}")
        shown = av.VideoFrame.from_numpy_buffer(np.ascontiguousarray(array), "rgb24")  # no copy: read at once
        frame = to_yuv.reformat(shown, format="yuv420p", threads=1)
        frame.pts, frame.time_base = count - 1, 1 / rate
        container.mux(stream.encode(frame))
    if stream is None:
        raise VcworkError(f"{path}: no frames to write")
    container.mux(stream.encode())
    return count


def _checked_shape(array: np.ndarray, path: Path) -> tuple[int, ...]:
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or array.shape[0] % 2 or array.shape[1] % 2:
        raise VcworkError(f"{path}: expected uint8 frames (H, W, 3), H and W even, got {array.dtype} {array.shape}")
    return array.shape


def on_display(frames: TimedFrames, fps: int) -> Iterator[av.VideoFrame]:
    """The frame on display at (k + 0.5) / fps, k = 0, 1, ...; each holds until the next; at least one is given.

    The first is shown before it begins, too. VcworkError where one would be held for hours.
    """
    count, shown, since_s = 0, None, 0.0
    for start_s, frame in frames:
        check_still(frames.path, since_s, start_s)
        while shown is not None and (count + 0.5) / fps < start_s:
            yield shown
            count += 1
        shown, since_s = frame, start_s
    check_still(frames.path, since_s, frames.end_s)
    while (count + 0.5) / fps < frames.end_s or not count:
        yield shown
        count += 1


class Converter:
    """Frame -> uint8 (size, size, 3), or whole (H, W, 3) where size is None, by the first frame's size.

    A frame of another shape (a turned phone) is fitted into the first one's, on black, where frames are whole. One
    reformatter for a whole video, the last result kept for held frames.
    """

    def __init__(self, size: int | None, interpolation: str = "BILINEAR") -> None:
        self.size, self.interpolation, self.reformatter = size, interpolation, VideoReformatter()
        self.frame: av.VideoFrame | None = None
        self.array = np.empty(0, np.uint8)
        self._whole: tuple[int, int] | None = None  # width, height

    def __call__(self, frame: av.VideoFrame) -> np.ndarray:
        if frame is not self.frame:
            image = self._uncropped(frame) if self.size is None else self._square(frame, self.size)
            self.frame, self.array = frame, image
        return self.array

    def _uncropped(self, frame: av.VideoFrame) -> np.ndarray:
        shown = shown_size(frame)
        self._whole = self._whole or shown
        whole, shown_side = min(zip(self._whole, shown, strict=True), key=lambda pair: pair[0] / pair[1])
        sides = (max(1, side * whole // shown_side) for side in (frame.width, frame.height))
        image = upright(self.reformatter.reformat(frame, *sides, "rgb24", threads=1).to_ndarray(), frame)
        if shown == self._whole:
            return image
        canvas = np.zeros((*self._whole[::-1], 3), np.uint8)
        top, left = ((room - side) // 2 for room, side in zip(canvas.shape, image.shape[:2], strict=False))
        canvas[top : top + image.shape[0], left : left + image.shape[1]] = image
        return canvas

    def _square(self, frame: av.VideoFrame, size: int) -> np.ndarray:
        short = min(frame.width, frame.height)
        width, height = (side * size // short for side in (frame.width, frame.height))
        image = self.reformatter.reformat(
            frame, width, height, "rgb24", interpolation=self.interpolation, threads=1
        ).to_ndarray()
        top, left = (height - size) // 2, (width - size) // 2
        return upright(image[top : top + size, left : left + size], frame)
