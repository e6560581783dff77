"""Copies of films: in another form, made smaller, or a stretch as mp4: `write_copy`, `rewrapped`, `shrunk`, `cut`.

`cut` copies the packets of [start_s, end_s) where that is exact and encodes them again elsewhere. Encoded pictures are
whole, upright and have square pixels. Everything stands on the film's clock (`vcwork.data.film`), so that a second of
the copy is a second of the film, also where sound or picture begin late or parts were joined.
Known gaps: one sound track, in stereo at most where it is encoded again; high dynamic range is not mapped; subtitles
inside the file are not taken along; interlaced lines stay as they are.
"""

import contextlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
from av.filter import Graph
from av.stream import Disposition

from vcwork.base.errors import VcworkError, could_not
from vcwork.base.files import atomic_write
from vcwork.data.film import (
    MATROSKA,
    MP4,
    STILL_S,
    Clock,
    Packets,
    decoded,
    first_frame,
    jumps,
    open_video,
    orientation,
    origin_s,
    picture_end,
)  # fmt: skip

_CUT = {"h264", "hevc", "vp9", "av1"}  # codecs that are cut without encoding, out of formats that tell whole times
_NEAR_S = 0.1  # before a stretch and behind it, that whole packets may bring along: a slide shows longer
_TICKS = 90_000  # a second of a copy
_RATE = 48_000  # samples a second of a copy's sound


@dataclass(frozen=True)
class Look:
    """How a copy is encoded: at most `side` pixels long (None: as it is), x264's crf, at most `fps` frames a second.

    sound: AAC's kilobits a second; below 64 it is mono.
    """

    side: int | None
    crf: int
    fps: float | None
    sound: int = 96


CUT = Look(None, 18, None, 128)


def write_copy(path: str | Path, target: Path, look: Look) -> None:
    """A film into a new mp4, encoded; VcworkError naming what cannot be read or written, and then nothing is there."""
    _write(Path(path), target, look)


def rewrapped(path: str | Path, target: Path, sound_copied: bool) -> bool:
    """The film's packets in a new container (by `target`'s suffix); False, and no file, where its times do not fit."""
    with contextlib.suppress(VcworkError):
        _write(Path(path), target, None, sound_copied=sound_copied)
        if abs(end_of(target) - end_of(path)) <= 0.5:
            return True
    target.unlink(missing_ok=True)
    return False


def shrunk(path: str | Path, target: Path, looks: Sequence[Look], most_bytes: float) -> Look | None:
    """A copy in the first of these looks that fits into so many bytes; None, and no file, where none does."""
    for look in looks:
        _write(Path(path), target, look)
        if target.stat().st_size <= most_bytes:
            return look
    target.unlink(missing_ok=True)
    return None


def end_of(path: str | Path) -> float:
    """Seconds on the film's clock at which its picture ends."""
    with open_video(path) as (container, stream):
        return picture_end(container, stream, path)


def sound_of(container):
    """The first sound track that can be decoded, the default one before others; None where there is none."""
    tracks = [s for s in container.streams.audio if s.codec_context is not None]
    return min(tracks, key=lambda s: not s.disposition & Disposition.default, default=None)


def cut(path: str | Path, start_s: float, end_s: float, out: str | Path) -> str:
    """Write what is shown and heard in [start_s, end_s) as mp4; returns `copied` or `encoded`, of the picture.

    It begins with the frame on display at `start_s` and ends before the first that begins at `end_s` or later. Packets
    are copied where the first frame is a key frame, no frame beyond the end is needed, and the first and the last begin
    and end within a tenth of a second of the stretch; sound is always encoded, cut to the sample. VcworkError: nothing
    between, `out` exists, a film that does not decode.
    """
    path, out = Path(path), Path(out)
    if out.exists():
        raise VcworkError(f"{out}: exists, and is not written over; choose another name")
    if not 0 <= start_s < end_s:
        raise VcworkError(f"{path}: expected 0 <= start < end in seconds, got {start_s} and {end_s}")
    last_s = end_of(path)
    if start_s >= last_s:
        raise VcworkError(f"{path}: ends at {last_s:.1f} s, so nothing is shown from {start_s:.1f} s on")
    first_s = _copied_from(path, start_s, end_s)
    _write(path, out, CUT if first_s is None else None, start_s if first_s is None else first_s, min(end_s, last_s))
    return "encoded" if first_s is None else "copied"


def _copied_from(path: Path, start_s: float, end_s: float) -> float | None:
    """Where the key frame begins with which packets alone give [start_s, end_s) exactly; None where none does."""
    with open_video(path) as (container, stream):
        codec = stream.codec_context.codec.canonical_name
        if codec not in _CUT or container.format.name not in (MP4, MATROSKA) or jumps(container, stream, path):
            return None
        container.seek(int((start_s + origin_s(container)) / stream.time_base), stream=stream)
        key, begins_s, ends_s, beyond, last = False, None, 0.0, False, -math.inf
        for packet in container.demux(stream):
            if packet.pts is None:  # at the end; elsewhere a packet without a time
                if packet.size:
                    return None
                break
            if packet.is_discard or (packet.dts is not None and packet.dts <= last):
                return None  # the film goes on behind an edit
            last = last if packet.dts is None else packet.dts
            at_s = float(packet.pts * stream.time_base) - origin_s(container)
            if at_s <= start_s + 1e-6 and (begins_s is None or at_s >= begins_s):
                begins_s, key = at_s, packet.is_keyframe
            if at_s >= end_s and packet.is_keyframe:
                break
            beyond = beyond or at_s >= end_s
            if at_s < end_s:
                ends_s = max(ends_s, at_s + float((packet.duration or 0) * stream.time_base))
            if beyond and start_s <= at_s < end_s:
                return None  # needs a frame that lies beyond the end
        return begins_s if key and start_s - begins_s < _NEAR_S and ends_s - end_s < _NEAR_S else None


class _NoEntryError(Exception):
    """Seeking is not possible, or did not lead before the time that was asked for."""


def _write(
    path: Path, target: Path, look: Look | None, start_s: float = 0.0, end_s: float = math.inf, *, sound_copied=False
) -> None:
    """[start_s, end_s) of a film into a new file, whole or not at all. look None: the picture's packets as they are."""
    kind = "webm" if target.suffix == ".webm" else "mp4"
    options = {"movflags": "+faststart"} if kind == "mp4" else {}
    for sought in [True, False] if start_s else [False]:
        with (
            contextlib.suppress(_NoEntryError),
            could_not(f"{target}: could not be written", av.FFmpegError),
            atomic_write(target, "wb") as file,  # libav opens it again, by its name
            av.open(file.name, "w", format=kind, options=options) as output,
        ):
            return _fill(output, path, look, (start_s, end_s, sought), sound_copied)


def _fill(output, path: Path, look: Look | None, span: tuple[float, float, bool], sound_copied: bool) -> None:
    with open_video(path) as (container, stream):
        first = first_frame(container, stream, path)
    with open_video(path) as (container, stream):
        heard = sound_of(container)
        if span[2]:
            _enter(container, stream, path, span[0])
        last_s = picture_end(container, stream, path)
        track = _Picture(output, container, stream, look, (*span, last_s), first) if look else _Copied(
            output, container, stream, span)  # fmt: skip
        tracks = {stream.index: track}
        if heard and sound_copied:
            tracks[heard.index] = _Copied(output, container, heard, span)
        elif heard:
            until_s = min(span[1], last_s + STILL_S)  # silence in a gap is work, too
            tracks[heard.index] = _Sound(output, container, heard, (span[0], until_s), (look or CUT).sound)
        for packet in Packets(container, stream, *([heard] if heard else [])):
            output.mux([*tracks[packet.stream.index].feed(packet)])
            if all(track.done for track in tracks.values()):
                break
        for track in tracks.values():
            output.mux([*track.end()])


def _enter(container, stream, path: Path, at_s: float) -> None:
    if jumps(container, stream, path):
        raise _NoEntryError
    try:
        container.seek(int((at_s + origin_s(container)) / stream.time_base), stream=stream)
    except av.FFmpegError as error:
        raise _NoEntryError from error


class _Copied:
    """Packets as they are, on the new file's clock; those of [start_s, end_s)."""

    def __init__(self, output, container, stream, span) -> None:
        self.start_s, self.end_s, _ = span
        # opaque: by the codec itself; else an encoder is looked up by the decoder's name, and libdav1d is none
        self.out, self.tick = output.add_stream_from_template(stream, opaque=True), stream.time_base
        self.begin = round((self.start_s + origin_s(container)) / self.tick)
        self.done = False

    def feed(self, packet) -> Iterator[av.Packet]:
        if packet.pts is None or not packet.size:
            return
        packet.pts -= self.begin
        packet.dts = None if packet.dts is None else packet.dts - self.begin
        at_s = float(packet.pts * self.tick)
        if at_s >= self.end_s - self.start_s:
            self.done = packet.is_keyframe
        elif at_s >= 0 or not self.start_s:
            packet.stream = self.out
            yield packet

    def end(self) -> Iterator[av.Packet]:
        return iter(())


class _Picture:
    """Frames of [start_s, end_s) upright and encoded, each until the next one begins."""

    def __init__(self, output, container, stream, look: Look, span, first: av.VideoFrame) -> None:
        self.clock, self.look = Clock(container, stream), look
        self.start_s, self.end_s, self.sought, self.last_s = span
        self.held: tuple[float, av.VideoFrame] | None = None
        self.done, self.graph, self.key = False, None, None
        self.aspect = float(stream.sample_aspect_ratio or 1)
        self.size = _even_size(_shape(first, self.aspect), look.side)
        rate = min(stream.average_rate or 25, Fraction(look.fps or 1000))
        options = {"crf": str(look.crf), "preset": "veryfast", "bf": "0", "g": str(max(1, round(2 * rate)))}
        self.out = output.add_stream("libx264", rate=rate, options=options)
        self.out.width, self.out.height = self.size
        self.out.pix_fmt, self.out.codec_context.time_base = "yuv420p", Fraction(1, _TICKS)

    def feed(self, packet) -> Iterator[av.Packet]:
        for frame in decoded(packet):
            at_s = self.clock.place_frame(frame)
            if at_s is None or self.done:
                continue
            self.done = at_s >= self.end_s
            if at_s <= self.start_s or self.held is None:
                if at_s > self.start_s and self.sought:
                    raise _NoEntryError
                self.held = (self.start_s, frame)  # also before the picture begins, as features have it
            elif self.done:
                return
            elif not self.look.fps or at_s - self.held[0] > 0.97 / self.look.fps:
                yield from self._encoded()
                self.held = (at_s, frame)

    def end(self) -> Iterator[av.Packet]:
        if self.held is not None:
            *packets, last = [*self._encoded(), *self.out.encode()]
            lasts_s = min(self.end_s, self.last_s) - self.held[0]  # a slide: long
            last.duration = max(1, round(lasts_s / last.time_base))
            yield from [*packets, last]
        elif self.sought:
            raise _NoEntryError

    def _encoded(self) -> Iterator[av.Packet]:
        at_s, frame = self.held
        frame.pts, frame.time_base = round((at_s - self.start_s) * _TICKS), Fraction(1, _TICKS)
        frame = self._fitted(frame)
        frame.pict_type = 0  # the encoder's choice
        yield from self.out.encode(frame)

    def _fitted(self, frame: av.VideoFrame) -> av.VideoFrame:
        """Upright, within the first frame's size, on black where its shape is another."""
        key = (frame.width, frame.height, frame.format.name, orientation(frame))
        if key != self.key:
            turned, rows, columns = key[3]
            width, height = _within(_shape(frame, self.aspect), self.size)
            steps = [("transpose", "cclock_flip")] * turned + [("vflip", "")] * rows + [("hflip", "")] * columns
            steps += [("scale", f"{width}:{height}:out_range=tv"), ("pad", f"{self.size[0]}:{self.size[1]}:-1:-1")]
            self.graph = _graph([("setsar", "1"), ("format", "yuv420p")], steps, frame)
            self.key = key
        self.graph.push(frame)
        return self.graph.pull()


def _shape(frame: av.VideoFrame, aspect: float) -> tuple[float, float]:
    """(width, height) as shown, in square pixels; `aspect` is the width of the file's."""
    sides = (frame.width * aspect, float(frame.height))
    return sides[::-1] if orientation(frame)[0] else sides


def _even_size(shape: tuple[float, float], side: int | None) -> tuple[int, int]:
    share = min(1.0, (side or math.inf) / max(shape))
    width, height = (max(2, 2 * round(length * share / 2)) for length in shape)
    return width, height


def _within(shape: tuple[float, float], size: tuple[int, int]) -> tuple[int, int]:
    """The size at which a picture of this shape fits; one that all but fills it does."""
    share = min(room / length for room, length in zip(size, shape, strict=True))
    wanted = (max(1, min(room, round(length * share))) for room, length in zip(size, shape, strict=True))
    width, height = (room if room - length < 3 else length for room, length in zip(size, wanted, strict=True))
    return width, height


def _graph(last: list, steps: list, frame: av.VideoFrame) -> Graph:
    graph = Graph()
    source = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base)
    filters = [source, *(graph.add(name, given or None) for name, given in [*steps, *last]), graph.add("buffersink")]
    graph.link_nodes(*filters).configure()
    return graph


class _Sound:
    """Sound of [start_s, end_s) as AAC, where the clock puts it: gaps are silence."""

    def __init__(self, output, container, stream, span, kilobits: int) -> None:
        self.clock, self.layout = Clock(container, stream), "mono" if kilobits < 64 else "stereo"
        self.start_s, self.end_s = span
        self.done, self.graph, self.samples = False, None, 0  # samples: that came out
        self.out = output.add_stream("aac", rate=_RATE, layout=self.layout)
        self.out.bit_rate = 1000 * kilobits

    def feed(self, packet) -> Iterator[av.Packet]:
        for frame in decoded(packet):
            time_s = frame.time
            if time_s is None and packet.pts is not None and self.clock.last_s is None:  # wma tells packets' times
                time_s = float(packet.pts * packet.time_base)
            at_s = self.clock.place(time_s, frame.samples / frame.sample_rate)
            if at_s is None or self.done:
                continue
            if at_s >= self.end_s:
                self.done = True
            elif self.clock.end_s > self.start_s:
                yield from self._encoded(frame, at_s - self.start_s)

    def _encoded(self, frame: av.AudioFrame, at_s: float) -> Iterator[av.Packet]:
        frame.pts, frame.time_base = round(at_s * frame.sample_rate), Fraction(1, frame.sample_rate)
        key = (frame.sample_rate, frame.format.name, frame.layout.name)
        if self.graph is None or key != self.graph[0]:
            yield from self._drained()
            self.graph = (key, self._made(frame))
        self.graph[1].push(frame)
        yield from self._pulled()

    def _made(self, frame: av.AudioFrame) -> Graph:
        first = round(self.samples / _RATE * frame.sample_rate)  # where rate or layout change the sound goes on
        graph, ends = Graph(), "" if self.end_s == math.inf else f":end={self.end_s - self.start_s}"
        source = graph.add_abuffer(
            sample_rate=frame.sample_rate, format=frame.format, layout=frame.layout.name, time_base=frame.time_base
        )
        steps = [
            ("aresample", f"{_RATE}:async=1:first_pts={first}"),
            ("aformat", f"sample_fmts=fltp:sample_rates={_RATE}:channel_layouts={self.layout}"),
            ("atrim", f"start=0{ends}"),
        ]
        filters = [source, *(graph.add(name, given) for name, given in steps), graph.add("abuffersink")]
        graph.link_nodes(*filters).configure()
        return graph

    def _pulled(self) -> Iterator[av.Packet]:
        while True:
            try:
                frame = self.graph[1].pull()
            except (BlockingIOError, EOFError):
                return
            self.samples += frame.samples
            yield from self.out.encode(frame)

    def _drained(self) -> Iterator[av.Packet]:
        if self.graph is not None:
            with contextlib.suppress(EOFError):
                self.graph[1].push(None)
            yield from self._pulled()

    def end(self) -> Iterator[av.Packet]:
        yield from self._drained()
        yield from self.out.encode()
