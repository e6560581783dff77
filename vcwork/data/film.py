"""A film file opened: which stream is the film, on which clock its pictures stand, where they end, which way is up.

Main ideas: there is one clock for pictures, words and sound: seconds since the container's start, as ffmpeg and players
count. A header's length is believed where it speaks of the picture itself (mp4); elsewhere it may be that of a longer
sound or subtitle track, be absent or be guessed, and the packets are read, without decoding.
Times that start again, or jump in a format where they may (MPEG transport and program streams), are put together as
ffmpeg does, by what packets tell, for decoders give pictures out of order where some are lost; elsewhere a jump is a
gap, and a gap has a limit, so that no file gives hours of one still picture. A long film that is too small for its
length is refused, so that no small file gives days of them.
Known gaps: a display matrix that is no quarter turn or mirror is taken for the nearest one; who seeks gets the first
part's times of a file that was put together, so nobody should (`jumps`).
"""

import contextlib
import itertools
import math
import os
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import av
import numpy as np
from av.format import Flags
from av.stream import Disposition

from vcwork.base.errors import VcworkError, could_not

STEP_BACK_S = 1.0  # in the order of decoding: a packet further back begins a new part
STEP_BACK_JOINED_S = 0.1  # the same in formats whose times may start again, as ffmpeg has it
GAP_S = 60.0  # between frames where times may jump: more is a jump (ffmpeg: 10 s, which slides on a screen exceed)
STILL_S = 1800.0  # one picture: more is a fault of its times
LONG_S, LEAST = 7200, 20  # a film longer than this has so many bytes a second at least (one picture a minute: 50)
MOST_PIXELS = 1 << 27  # of a picture (16384 x 8192): a kilobyte can say that it holds billions
_NO_FILM = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image
MP4 = "mov,mp4,m4a,3gp,3g2,mj2"  # FFmpeg's name of the family; its header counts the time of each stream
MATROSKA = "matroska,webm"
_NOT_COUNTED = 1 << 30  # frames of an AVI written into a pipe, where nobody could go back to tell them
_GUESSED = ("mpegts", "mpeg", MP4)  # their length is worked out from first and last time, or told for each stream


def container_of(path: str | Path):
    """The file opened by PyAV, whatever letters its tags are in; a playlist opens nothing that lies on a network."""
    return av.open(str(path), options={"protocol_whitelist": "file"}, metadata_errors="replace")


@contextlib.contextmanager
def open_video(path: str | Path) -> Iterator[tuple]:
    """Container and film stream, closed on the way out; every PyAV error becomes one that names the file."""
    if not Path(path).is_file():
        raise VcworkError(f"{path}: no such video file")
    with could_not(f"{path}: could not be decoded as video", av.FFmpegError), container_of(path) as container:
        stream = _film_of(container, path)
        stream.thread_type = "NONE"
        stream.codec_context.options = {"max_pixels": str(MOST_PIXELS)}
        yield container, stream


def _film_of(container, path: str | Path):
    """The first video stream that is no cover picture; one that can be decoded first, then one marked as default."""
    films = [s for s in container.streams.video if not s.disposition & _NO_FILM]
    if not films:
        held = "no film, only a cover picture" if container.streams.video else "no video stream"
        raise VcworkError(f"{path}: holds {held}")
    film = min(films, key=lambda s: (s.codec_context is None, not s.disposition & Disposition.default))
    if film.codec_context is None:
        raise VcworkError(f"{path}: could not be decoded as video (no decoder for its codec; encrypted or very new?)")
    if film.width * film.height > MOST_PIXELS:
        raise VcworkError(f"{path}: pictures of {film.width} x {film.height}; expected at most {MOST_PIXELS} pixels")
    return film


def is_empty(packet) -> bool:
    """Whether the picture before stays; those that PyAV adds, to empty the decoder, lie nowhere in a file."""
    return not packet.size and packet.pos is not None


def decoded(packet) -> list:
    """The frames that come of a packet; none of an empty one, nor of damaged sound."""
    try:
        return [] if is_empty(packet) else packet.decode()
    except av.FFmpegError:
        if packet.stream.type == "audio":  # a click is no reason to lose a film or its words
            return []
        raise


def first_frame(container, stream, path: str | Path) -> av.VideoFrame:
    """VcworkError where there is none."""
    for packet in container.demux(stream):
        for frame in decoded(packet):
            return frame
    raise VcworkError(f"{path}: holds no video frame")


# ------------------------------------------------------------------------------------------------------------ clock


def origin_s(container) -> float:
    """The container's start, which is 0 on the clock."""
    return (container.start_time or 0) / av.time_base


class Packets:
    """Yields the packets of `streams` once, in the file's order; where times start again or jump in the order of
    decoding, a part is put behind the one before, picture and sound by one shift. `jumps` are the seconds at which.
    """

    def __init__(self, container, *streams) -> None:
        self.container, self.streams, self.jumps = container, streams, []
        may_jump = bool(container.format.flags & Flags.ts_discont.value)
        self.back_s, self.gap_s = (STEP_BACK_JOINED_S, GAP_S) if may_jump else (STEP_BACK_S, math.inf)
        judged = (*container.streams.video, *container.streams.audio)
        self.ticks = {stream.index: (float(stream.time_base), _step_s(stream)) for stream in judged}
        self.shift_s, self.front_s = 0.0, math.inf  # of the newest part; where the last packet ends
        self.reach_s = -math.inf  # where what is shown or heard ends, which may be decoded well before
        self.seen: dict[int, tuple[float, float, float]] = {}  # stream: its shift, where its last packet begins, ends

    def __iter__(self) -> Iterator[av.Packet]:
        wanted = {stream.index for stream in self.streams}
        all_tell = self.container.format.name != MP4  # which counts the times of each stream without a break
        for packet in self.container.demux(() if all_tell else self.streams):
            if packet.stream.index in self.ticks:  # `stream_index` is 0 for all that PyAV adds, to empty the decoders
                self._put(packet)
            if packet.stream.index in wanted:
                yield packet

    def _put(self, packet) -> None:
        tick_s, step_s = self.ticks[packet.stream.index]
        shift_s, last_s, end_s = self.seen.get(packet.stream.index, (self.shift_s, -math.inf, self.front_s))
        if packet.dts is not None:
            told_s = packet.dts * tick_s
            waits_s = 0.0 if packet.pts is None else max(0, packet.pts - packet.dts) * tick_s
            if shift_s != self.shift_s:  # a late packet of the part before, or one of the newest
                shift_s = min(self.shift_s, shift_s, key=lambda by_s: abs(told_s + by_s - self.front_s))
            at_s = told_s + shift_s
            if at_s < last_s - self.back_s or end_s < at_s - self.gap_s > self.front_s:
                at_s = self.reach_s - waits_s
                self.jumps.append(at_s - origin_s(self.container))
                self.shift_s = shift_s = at_s - told_s
            self.front_s = at_s + ((packet.duration or 0) * tick_s or step_s)
            self.reach_s = max(self.reach_s, self.front_s + waits_s)
            self.seen[packet.stream.index] = shift_s, at_s, self.front_s
        if shift_s:
            ticks = round(shift_s / tick_s)
            packet.pts, packet.dts = (None if t is None else t + ticks for t in (packet.pts, packet.dts))


def _step_s(stream) -> float:
    """How long a mean frame lasts."""
    rate = getattr(stream, "average_rate", None)
    return float(1 / rate) if rate else 0.04


class Clock:
    """Puts the times of one stream, in order, on the clock: `place`; `end_s` is where the last one placed ends."""

    def __init__(self, container, stream) -> None:
        self.shift_s, self.step_s, self.tick_s = -origin_s(container), _step_s(stream), float(stream.time_base)
        self.end_s, self.last_s = 0.0, None
        self.of_decoding, self.late = container.format.name == "avi", 0  # by so many ticks for the first picture

    def place_frame(self, frame: av.VideoFrame) -> float | None:
        """`place` of a picture. AVI has times of decoding alone: pictures come at those, from the first one's on."""
        ticks = frame.pts
        if self.of_decoding and self.last_s is None:
            self.late = 0 if None in (frame.dts, frame.pts) else frame.dts - frame.pts
        elif self.of_decoding:
            ticks = None if frame.dts is None else frame.dts - self.late
        return self.place(None if ticks is None else ticks * self.tick_s, (frame.duration or 0) * self.tick_s)

    def place(self, time_s: float | None, lasts_s: float = 0.0) -> float | None:
        """Where what the file has at `time_s` begins (None: right behind the last); None where it is to be left out."""
        start_s = self.end_s if time_s is None else time_s + self.shift_s
        if self.last_s is not None and start_s <= self.last_s:
            return None
        self.last_s, self.end_s = start_s, start_s + (lasts_s or self.step_s)
        return start_s


class TimedFrames:
    """Yields (start_s, frame); knows `end_s`, the end of the last frame it gave, and `clock`.

    A frame that steps back in time is left out; one without a time stamp follows the one before it. The last
    one is shown as long as the file says (a slide show's: long), else for a mean frame's time.
    """

    def __init__(self, container, stream, path: str | Path) -> None:
        self.container, self.stream, self.path = container, stream, path
        self.clock, self.end_s = Clock(container, stream), 0.0

    def __iter__(self) -> Iterator[tuple[float, av.VideoFrame]]:
        self.clock = clock = Clock(self.container, self.stream)
        reach_s = 0.0
        for packet in Packets(self.container, self.stream):
            if is_empty(packet) and packet.pts is not None:
                reach_s = max(reach_s, (packet.pts + (packet.duration or 0)) * clock.tick_s + clock.shift_s)
            for frame in decoded(packet):
                start_s = clock.place_frame(frame)
                if start_s is not None:
                    self.end_s, reach_s = clock.end_s, max(reach_s, clock.end_s)
                    yield start_s, frame
        if clock.last_s is None:
            raise VcworkError(f"{self.path}: holds no video frame")
        # empty packets, or mp4, which counts in the order of decoding: the last hold may be told of a frame before
        if reach_s > self.end_s:
            self.end_s = max(self.end_s, min(reach_s, picture_end(self.container, self.stream, self.path)))

    def entered(self, t: float) -> Iterator[tuple[float, av.VideoFrame]] | None:
        """As iteration, from a key frame at or before `t` on; None where the file cannot be entered in its middle."""
        if jumps(self.container, self.stream, self.path):
            return None
        with contextlib.suppress(av.FFmpegError, VcworkError):
            origin = origin_s(self.container)
            self.container.seek(int((t + origin) / self.stream.time_base), stream=self.stream)
            frames = iter(self)
            first = next(frames)
            if first[1].time is not None and first[0] <= t:
                return itertools.chain([first], frames)
        return None


def check_still(path: str | Path, since_s: float, until_s: float) -> None:
    """VcworkError where a picture would stand longer than STILL_S, naming the jump, or so short a file last so long."""
    if until_s - since_s > STILL_S:
        most = f"expected no more than {STILL_S / 60:.0f} minutes without a new picture"
        raise VcworkError(f"{path}: its times jump from {since_s:.1f} s to {until_s:.1f} s; {most}; is it damaged?")
    if until_s > LONG_S and until_s * LEAST > (size := _stat(path).st_size):
        why = f"expected at least {LEAST} bytes a second of so long a film, got {size} in all"
        raise VcworkError(f"{path}: lasts {until_s:.0f} s by its times; {why}; is it damaged?")


# ----------------------------------------------------------------------------------------------------------- length


def picture_end(container, stream, path: str | Path) -> float:
    """Seconds on the clock at which the picture ends. VcworkError where packets end well before the header's length."""
    return _length(container, stream, path)[0]


def jumps(container, stream, path: str | Path) -> list[float]:
    """Seconds at which the picture's times were put together, so that seeking misleads."""
    return _length(container, stream, path)[1]


def _length(container, stream, path: str | Path) -> tuple[float, list[float]]:
    stat = _stat(path)
    end_s, jumps, boxes = _packets(str(path), stat.st_mtime_ns, stat.st_size)
    if container.format.name == MP4 and stream.duration:  # of decoding; pictures in another order may end later
        begins = 0 if boxes[b"sidx"] else stream.start_time or 0  # with sidx FFmpeg's duration is the end, no length
        told_s = float((begins + stream.duration) * stream.time_base) - origin_s(container)
        end_s, jumps = max(end_s, told_s), []
    check_still(path, end_s, end_s)
    return end_s, jumps


def _stat(path: str | Path) -> os.stat_result:
    with could_not(f"{path}: could not be read"):  # it went away, or was closed, since it was opened
        return os.stat(path)


@lru_cache(maxsize=1024)
def _packets(path: str, changed_ns: int, size: int) -> tuple[float, list[float], dict[bytes, int]]:
    """(end of the picture, its jumps, `_boxes`) by all packets; where there is an index, by the last if they fit."""
    with open_video(path) as (container, stream):
        kind, boxes = container.format.name, _boxes(path)
        joined = kind == "flv" or (kind == MP4 and boxes[b"moov"] > 1)
        joined = joined or (kind == MATROSKA and not _one_segment(path, size))
        if kind in (MP4, MATROSKA) and container.duration and not joined:
            container.seek(container.duration)
            clock, end_s, found, _ = _read_on(container, stream, path)
            if (clock.last_s and not found) or kind == MP4:
                return end_s, [], boxes
    with open_video(path) as (container, stream):
        _, end_s, found, read = _read_on(container, stream, path)
        # FFmpeg reads the first of several files in one, of Matroska the first two
        if joined and read < 0.9 * _filled(path, size):
            raise VcworkError(f"{path}: can be read up to byte {read} of {size}; is it joined of several files?")
        return end_s, found, boxes


def _one_segment(path: str, size: int) -> bool:
    """Whether a Matroska file's first segment is all of it; where another follows, seeking may lead into that."""
    with could_not(f"{path}: could not be read"), open(path, "rb") as file:
        head = file.read(4096)
    at = head.find(b"\x18\x53\x80\x67") + 4  # the segment's mark; how many bytes tell its length the first one tells
    more = 8 - head[at].bit_length() if 4 <= at < len(head) else 8
    return at + 1 + more + (int.from_bytes(head[at : at + 1 + more]) & ~(1 << 7 * (more + 1))) >= size


def _boxes(path: str) -> dict[bytes, int]:
    """How many headers and indices of segments are among an mp4 file's outermost boxes, up to what is none."""
    found, at = {b"moov": 0, b"sidx": 0}, 0
    with could_not(f"{path}: could not be read"), open(path, "rb") as file:
        while len(head := file.read(16)) >= 8:
            if head[4:8] in found:
                found[head[4:8]] += 1
            length = int.from_bytes(head[:4])
            length = int.from_bytes(head[8:]) if length == 1 else length
            if not 8 <= length < 1 << 48:  # 0: up to the file's end
                break
            at += length
            file.seek(at)
    return found


def _filled(path: str, size: int) -> int:
    """Bytes up to the zeros at a file's end, which downloads leave that take their room first."""
    with could_not(f"{path}: could not be read"), open(path, "rb") as file:
        for at in reversed(range(0, size, 1 << 20)):
            file.seek(at)
            if block := file.read(min(1 << 20, size - at)).rstrip(b"\0"):
                return at + len(block)
    return 0


def _read_on(container, stream, path: str) -> tuple[Clock, float, list[float], int]:
    """(clock, picture's end, jumps, last byte read) from here to the end; other streams tell if a file is cut short."""
    clock, end_s, others_s, read = Clock(container, stream), 0.0, 0.0, 0
    packets = Packets(container, *container.streams)
    for packet in packets:
        lasts_s = float((packet.duration or 0) * packet.time_base)
        shown, decoded = (None if t is None else float(t * packet.time_base) for t in (packet.pts, packet.dts))
        if packet.stream.index != stream.index:
            others_s = max(others_s, (shown or decoded or 0.0) + lasts_s)
        elif (packet.size or is_empty(packet)) and not packet.is_discard:
            if decoded is not None or shown is None:  # in the order of decoding times only grow
                clock.place(decoded, lasts_s)
            ends_s = clock.end_s if shown is None else shown + clock.shift_s + (lasts_s or clock.step_s)
            end_s = max(end_s, ends_s)
        read = max(read, (packet.pos or 0) + packet.size)
    piped = container.format.name == "avi" and stream.frames == _NOT_COUNTED
    if not packets.jumps and container.format.name not in _GUESSED and not piped:
        counted_s = stream.frames * clock.step_s if container.format.name == "avi" else 0.0  # of the picture itself
        reached_s = max(end_s + max(0.0, origin_s(container)), others_s)
        check_length(path, reached_s, counted_s or (container.duration or 0) / av.time_base)
    return clock, end_s, packets.jumps, read


def check_length(path: str | Path, end_s: float, declared_s: float) -> None:
    """VcworkError where decoding ended well before what the header promised."""
    if declared_s - end_s > max(1.0, 0.1 * declared_s):
        raise VcworkError(f"{path}: ends at {end_s:.1f} s, its header says {declared_s:.1f} s; is it truncated?")


# ------------------------------------------------------------------------------------------------------ orientation


def orientation(frame: av.VideoFrame) -> tuple[bool, bool, bool]:
    """How a frame is shown: (rows and columns exchanged, then rows reversed, then columns reversed).

    From its display matrix, as ffmpeg's autorotate reads it: all four turns, mirrored or not.
    """
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return False, False, False
    a, b, _, c, d = np.frombuffer(bytes(matrix), np.int32)[:5].tolist()  # x' = a x + c y, y' = b x + d y
    turned = abs(b) > abs(a)
    return turned, (b if turned else d) < 0, (c if turned else a) < 0


def upright(image: np.ndarray, frame: av.VideoFrame) -> np.ndarray:
    """A frame's pixels (H, W, 3) as they are to be shown."""
    turned, rows, columns = orientation(frame)
    image = image.transpose(1, 0, 2) if turned else image
    return image[:: -1 if rows else 1, :: -1 if columns else 1]


def shown_size(frame: av.VideoFrame) -> tuple[int, int]:
    """(width, height) as shown, in pixels of the file: those that are not square are not stretched."""
    sides = (frame.width, frame.height)
    return sides[::-1] if orientation(frame)[0] else sides
