"""What is shown and handed on of a film: the file itself where a browser plays it, else a copy; a stretch of it as mp4.

`media_of` decides for a page: a relative link to the original where container, codec, pixels and sound are all what
browsers play; streams as they are in a new container where only that is in the way; else H.264 and AAC, the whole
picture, made once by the file's content. `cut` writes [start_s, end_s) as mp4: the packets themselves where that is
exact, else encoded again. Copies stand on the film's clock (`vcwork.data.film`), so that a second stays a second.
Known gaps: one sound track, in stereo where it is encoded again; high dynamic range is not mapped; subtitles inside
the file are not taken along; interlaced lines stay as they are.
"""

import base64
import contextlib
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from urllib.parse import quote

import av
from av.filter import Graph

from vcwork.base.errors import VcworkError
from vcwork.base.files import atomic_write, read_json, sha256_file, write_json
from vcwork.data.film import MATROSKA, MP4, Clock, jumps, open_video, orientation, origin_s, picture_end

_PICTURE = {"mp4": {"h264", "vp9", "av1"}, "webm": {"vp8", "vp9", "av1"}}  # what browsers of today play, 8-bit 4:2:0
_SOUND = {"mp4": {"aac", "mp3", "opus", "flac"}, "webm": {"opus", "vorbis"}}
_PIXELS = ("yuv420p", "yuvj420p")
_REMUXED = (MP4, MATROSKA, "mpegts", "flv")  # formats whose packets carry whole times
_CUT = ("h264", "hevc", "vp9", "av1")  # codecs that are cut without encoding
_TICKS = 90_000  # a second of a copy
_RATE = 48_000  # samples a second of a copy's sound
PORTABLE_MB = 8.0  # of one film inside a page


@dataclass(frozen=True)
class Media:
    """What a page shows of a film, and how it came about.

    src: address for a page in the folder that was asked for, relative and percent-encoded; "" where nothing can be
    shown; a data: address where the film travels inside the page.
    kind: `original`, `rewrapped` (its streams in a new container), `transcoded`, `embedded`, `none`. notes: sentences.
    """

    src: str
    kind: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Look:
    """How pictures are encoded: at most `side` pixels long (None: as they are), x264's crf, frames a second at most."""

    side: int | None
    crf: int
    fps: float | None
    preset: str = "veryfast"


COPY = Look(640, 26, 30)
SMALL = ((150, Look(480, 28, 25)), (600, Look(320, 32, 12)), (3600, Look(192, 36, 5)))  # up to so many seconds
CUT = Look(None, 18, None)


def media_of(path: str | Path, cache: str | Path, pages: str | Path, portable: bool = False, digest: str = "") -> Media:
    """What a page in the folder `pages` shows of the film at `path`; copies are made once, in the folder `cache`.

    portable: it travels inside the page, small enough (PORTABLE_MB), or not at all. digest: the file's sha256 where it
    is known. Never raises for the film's sake: what does not decode has kind `none`, and a note that says why.
    """
    path, cache = Path(path), Path(cache)
    try:
        told = cache / f"{(digest or sha256_file(path))[:24]}{'-small' if portable else ''}.json"
        made = read_json(told) if told.is_file() else None
        if made is None or (made["file"] and not (cache / made["file"]).is_file()):
            made = _small(path, told) if portable else _shown(path, told)
            write_json(told, made)
    except (VcworkError, OSError) as error:
        return Media("", "none", (f"No video: {str(error).replace(str(path), path.name)}.",))
    file = cache / made["file"] if made["file"] else path
    if portable and made["kind"] == "embedded":
        kind = "video/webm" if file.suffix.lower() == ".webm" else "video/mp4"
        return Media(
            f"data:{kind};base64,{base64.b64encode(file.read_bytes()).decode()}", "embedded", (*made["notes"],)
        )
    return Media("" if made["kind"] == "none" else address(file, pages), made["kind"], (*made["notes"],))


def address(file: str | Path, pages: str | Path) -> str:
    """A file's address for a page in the folder `pages`: relative, percent-encoded whatever its name."""
    try:
        relative = os.path.relpath(os.path.abspath(file), os.path.abspath(pages))
    except ValueError:  # another drive
        return Path(os.path.abspath(file)).as_uri()
    return quote(os.fsencode(relative.replace(os.sep, "/")), safe="/")


# --------------------------------------------------------------------------------------------------- what is played


@dataclass(frozen=True)
class _Parts:
    """What of a film a browser does not play, each "" where it does: container, picture, sound; and where it may go."""

    container: str
    picture: str
    sound: str
    suffix: str  # of the container that takes both streams as they are, or all of it but the sound


def _parts(path: Path) -> _Parts:
    with open_video(path) as (container, stream):
        codec, pixels = stream.codec_context.codec.canonical_name, stream.codec_context.pix_fmt or ""
        heard = _sound_of(container)
        sound = heard.codec_context.codec.canonical_name if heard else ""
        mirrored = _mirrored(next(container.decode(stream), None), path)
        joined = jumps(container, stream, path)
        name, brand = container.format.name, container.metadata.get("major_brand", "")
        lasts = bool(container.duration)
    held = "webm" if codec in _PICTURE["webm"] and sound in {"", *_SOUND["webm"]} else "mp4"
    odd = "" if codec in _PICTURE[held] else codec
    odd = odd or ("" if pixels in _PIXELS else f"{codec} in {pixels}") or ("mirrored" if mirrored else "")
    plain = (name == MP4 and brand != "qt  " and path.suffix.lower() in (".mp4", ".m4v")) or (
        name == MATROSKA and path.suffix.lower() == ".webm" and held == "webm" and lasts and not joined
    )
    kind = path.suffix[1:].lower() if name == MP4 else name.split(",")[0]
    wrapped = "" if plain else "joined parts" if joined else kind if lasts else "no length"
    bad_sound = sound if sound and sound not in _SOUND["webm" if name == MATROSKA and plain else "mp4"] else ""
    may = "" if joined or name not in _REMUXED or (name == MP4 and codec == "vp8") else f".{held}"
    return _Parts(wrapped, odd, bad_sound if held == "mp4" else "", may)


def _end_s(path: Path) -> float:
    with open_video(path) as (container, stream):
        return picture_end(container, stream, path)


def _mirrored(frame: av.VideoFrame | None, path: Path) -> bool:
    """Browsers turn a picture, but none but one mirrors it."""
    if frame is None:
        raise VcworkError(f"{path}: holds no video frame")
    turned, rows, columns = orientation(frame)
    return (turned + rows + columns) % 2 == 1


def _sound_of(container):
    """The first sound track that can be decoded, the default one before others; None where there is none."""
    tracks = [s for s in container.streams.audio if s.codec_context is not None]
    return min(tracks, key=lambda s: not s.disposition & av.stream.Disposition.default, default=None)


def _shown(path: Path, told: Path) -> dict:
    """The file itself, or a copy beside `told`."""
    parts = _parts(path)
    if not (parts.container or parts.picture or parts.sound):
        return {"kind": "original", "file": "", "notes": []}
    why = ", ".join(filter(None, (parts.container, parts.picture, parts.sound)))
    if parts.suffix and not parts.picture:
        file = told.with_suffix(parts.suffix)
        with contextlib.suppress(VcworkError):  # packets that no container takes are encoded again
            _write(path, file, None, sound_copied=not parts.sound)
            if abs(_end_s(file) - _end_s(path)) > 0.5:
                raise VcworkError(f"{file}: its times were lost")
            also = ", its sound as AAC" if parts.sound else ""
            note = f"Browsers do not all play this file as it is ({why}): its picture is in a new container{also}."
            return {"kind": "rewrapped", "file": file.name, "notes": [note]}
    file = told.with_suffix(".mp4")
    _write(path, file, COPY)
    note = f"Browsers do not all play this file ({why}): a copy in H.264 and AAC, at most {COPY.side} pixels."
    return {"kind": "transcoded", "file": file.name, "notes": [note]}


def _small(path: Path, told: Path) -> dict:
    """A copy that travels inside a page: the file itself where it is small and played, else one made smaller."""
    parts, room = _parts(path), PORTABLE_MB * 1e6
    if not (parts.container or parts.picture or parts.sound) and path.stat().st_size <= room:
        return {"kind": "embedded", "file": "", "notes": []}
    length_s = _end_s(path)
    file = told.with_suffix(".mp4")
    for most_s, look in SMALL:
        if length_s <= most_s:
            _write(path, file, look)
            if file.stat().st_size <= room:
                note = f"A small copy travels inside this page: {look.side} pixels, {look.fps} frames a second at most."
                return {"kind": "embedded", "file": file.name, "notes": [note]}
            file.unlink()
    note = f"No video: {length_s / 60:.0f} minutes do not fit into {PORTABLE_MB:.0f} MB inside a page."
    return {"kind": "none", "file": "", "notes": [note]}


# ----------------------------------------------------------------------------------------------------------- writing


def cut(path: str | Path, start_s: float, end_s: float, out: str | Path) -> str:
    """Write what is shown and heard in [start_s, end_s) as mp4; returns `copied` or `encoded`.

    It begins with the frame on display at `start_s` and ends before the first that begins at `end_s` or later. Packets
    are copied where the first frame is a key frame and no other frame would be needed; sound is always encoded, cut to
    the sample. VcworkError: nothing between, `out` exists, a film that does not decode.
    """
    path, out = Path(path), Path(out)
    if out.exists():
        raise VcworkError(f"{out}: exists, and is not written over; choose another name")
    if not 0 <= start_s < end_s:
        raise VcworkError(f"{path}: expected 0 <= start < end in seconds, got {start_s} and {end_s}")
    last_s = _end_s(path)
    if start_s >= last_s:
        raise VcworkError(f"{path}: ends at {last_s:.1f} s, so nothing is shown from {start_s:.1f} s on")
    first_s = _copied_from(path, start_s, end_s)
    _write(path, out, CUT if first_s is None else None, start_s if first_s is None else first_s, min(end_s, last_s))
    return "encoded" if first_s is None else "copied"


def _copied_from(path: Path, start_s: float, end_s: float) -> float | None:
    """Where the key frame begins with which packets alone give [start_s, end_s) exactly; None where none does."""
    with open_video(path) as (container, stream):
        wanted = (
            stream.codec_context.codec.canonical_name in ("h264", "hevc", "vp9", "av1")
            and container.format.name in _REMUXED
        )
        if not wanted or jumps(container, stream, path):
            return None
        tick = stream.time_base
        container.seek(int((start_s + origin_s(container)) / tick), stream=stream)
        key, begins_s, later = None, None, False
        for packet in container.demux(stream):
            if packet.pts is None:
                if packet.size:
                    return None
                continue
            at_s = float(packet.pts * tick) - origin_s(container)
            if begins_s is None or (at_s <= start_s + 1e-6 and at_s >= begins_s):
                begins_s, key = at_s, packet.is_keyframe
            if at_s >= end_s:
                later = True
                if packet.is_keyframe:
                    break
            elif later and at_s >= start_s:
                return None  # needs a frame that lies beyond the end
        return begins_s if key and begins_s is not None and begins_s <= start_s + 1e-6 else None


def _write(
    path: Path, target: Path, look: Look | None, start_s: float = 0.0, end_s: float = math.inf, *, sound_copied=False
) -> None:
    """[start_s, end_s) of a film into a new file, whole or not at all. look None: the picture's packets as they are."""
    try:
        _write_from(path, target, look, start_s, end_s, sound_copied, sought=start_s > 0)
    except _NoEntryError:
        _write_from(path, target, look, start_s, end_s, sound_copied, sought=False)


class _NoEntryError(Exception):
    """Seeking did not lead before the time that was asked for."""


def _write_from(path, target, look, start_s, end_s, sound_copied, sought) -> None:
    kind = "webm" if target.suffix == ".webm" else "mp4"
    options = {"movflags": "+faststart"} if kind == "mp4" else {}
    try:
        with (
            atomic_write(target, "wb") as file,  # libav opens it again, by its name
            av.open(file.name, "w", format=kind, options=options) as output,
            open_video(path) as (container, stream),
        ):
            heard = _sound_of(container)
            if sought and not jumps(container, stream, path):
                container.seek(int((start_s + origin_s(container)) / stream.time_base), stream=stream)
            span = (start_s, end_s, sought)
            tracks = {stream.index: (_Picture(output, container, stream, look, span, _first(path)) if look else
                                     _Copied(output, container, stream, span))}  # fmt: skip
            if heard:
                made = _Copied if sound_copied else _Sound
                tracks[heard.index] = made(output, container, heard, span)
            for packet in container.demux([stream, *([heard] if heard else [])]):
                output.mux(list(tracks[packet.stream.index].feed(packet)))
                if all(track.done for track in tracks.values()):
                    break
            for track in tracks.values():
                output.mux(list(track.end()))
    except av.FFmpegError as error:
        raise VcworkError(f"{target}: could not be written ({error.strerror or error})") from error


def _first(path: Path) -> av.VideoFrame:
    with open_video(path) as (container, stream):
        for frame in container.decode(stream):
            return frame
    raise VcworkError(f"{path}: holds no video frame")


class _Copied:
    """Packets as they are, on the new file's clock; those of [start_s, end_s)."""

    def __init__(self, output, container, stream, span) -> None:
        self.start_s, self.end_s, _ = span
        self.out, self.tick = output.add_stream_from_template(stream), stream.time_base
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
        self.clock, self.look, self.tick_s = Clock(container, stream), look, float(stream.time_base)
        self.start_s, self.end_s, self.sought = span
        self.held: tuple[float, av.VideoFrame] | None = None
        self.done, self.graph, self.key = False, None, None
        self.aspect = float(stream.sample_aspect_ratio or 1)
        self.size = _even_size(_shape(first, self.aspect), look.side)
        rate = min(stream.average_rate or 25, Fraction(look.fps or 1000))
        options = {"crf": str(look.crf), "preset": look.preset, "bf": "0", "g": str(max(1, round(2 * rate)))}
        self.out = output.add_stream("libx264", rate=rate, options=options)
        self.out.width, self.out.height = self.size
        self.out.pix_fmt, self.out.codec_context.time_base = "yuv420p", Fraction(1, _TICKS)

    def feed(self, packet) -> Iterator[av.Packet]:
        for frame in packet.decode():
            at_s = self.clock.place(frame.time, (frame.duration or 0) * self.tick_s)
            if at_s is None or self.done:
                continue
            if at_s >= self.end_s:
                self.done = True
            elif at_s <= self.start_s or self.held is None:
                if at_s > self.start_s and self.sought:
                    raise _NoEntryError
                self.held = (self.start_s, frame)  # also before the picture begins, as features have it
            elif not self.look.fps or at_s - self.held[0] > 0.97 / self.look.fps:
                yield from self._encoded()
                self.held = (at_s, frame)

    def end(self) -> Iterator[av.Packet]:
        if self.held is not None:
            until_s = min(self.end_s, self.clock.end_s)
            yield from self._encoded()
            if until_s - self.held[0] > 1:  # a slide show's last picture: once more, so that the file lasts as long
                self.held = (until_s - self.clock.step_s, self.held[1])
                yield from self._encoded()
        elif self.sought:
            raise _NoEntryError
        yield from self.out.encode()

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

    def __init__(self, output, container, stream, span) -> None:
        self.clock = Clock(container, stream)
        self.start_s, self.end_s, _ = span
        self.done, self.graph = False, None
        self.out = output.add_stream("aac", rate=_RATE, layout="stereo")
        self.out.bit_rate = 96_000

    def feed(self, packet) -> Iterator[av.Packet]:
        try:
            frames = packet.decode()
        except av.InvalidDataError:  # a click is no reason to lose a film
            return
        for frame in frames:
            at_s = self.clock.place(frame.time, frame.samples / frame.sample_rate)
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
        graph, ends = Graph(), "" if self.end_s == math.inf else f":end={self.end_s - self.start_s}"
        source = graph.add_abuffer(
            sample_rate=frame.sample_rate, format=frame.format, layout=frame.layout.name, time_base=frame.time_base
        )
        steps = [
            ("aresample", f"{_RATE}:async=1:first_pts=0"),
            ("aformat", f"sample_fmts=fltp:sample_rates={_RATE}:channel_layouts=stereo"),
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
            yield from self.out.encode(frame)

    def _drained(self) -> Iterator[av.Packet]:
        if self.graph is not None:
            with contextlib.suppress(EOFError):
                self.graph[1].push(None)
            yield from self._pulled()

    def end(self) -> Iterator[av.Packet]:
        yield from self._drained()
        yield from self.out.encode()
