"""Films for tests: second s is grey 20 + 10 s (again after 20 s), a tone sounds in every odd second of its sound."""

import itertools
import os
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from vcwork.data.video import iter_seconds

_FORMS = {"libopus": "flt", "pcm_s16le": "s16", "mp2": "s16"}  # what an encoder takes; others fltp


def film(
    path: Path, codec="libx264", sound="", *, seconds=5.0, fps=10, size=(64, 48), pixels="yuv420p", times=None,
    start=0.0, sound_start=0.0, sound_s=None, last=None, gop=None, bframes=0, aspect=None, matrix=None, format=None,
    rate=48000, movflags="",
) -> Path:  # fmt: skip
    """times: of frames instead of `seconds`; last: how long the last is shown; matrix: display's; rate: sound's."""
    times = [k / fps for k in range(round(seconds * fps))] if times is None else times
    with av.open(str(path), "w", format=format, options={"movflags": movflags} if movflags else {}) as container:
        options = {"bf": str(bframes), "g": str(gop or 250)} if codec == "libx264" else {}
        video = container.add_stream(codec, rate=fps, options=options)
        video.width, video.height, video.pix_fmt = *size, pixels
        fixed = codec in ("mpeg4", "mpeg2video", "wmv2", "gif", "flv")
        video.codec_context.time_base = tick = Fraction(1, fps) if fixed else Fraction(1, 1000)
        if aspect:
            video.codec_context.sample_aspect_ratio = Fraction(aspect)
        if matrix is not None:
            video.set_display_matrix(matrix)
        audio = container.add_stream(sound, rate=44100 if sound == "wmav2" else rate) if sound else None
        pictures = _pictures(video, times, start, size, tick, last)
        sounds = _sounds(audio, sound_start, sound_s or seconds) if audio else iter(())
        for _, packets in sorted([*pictures, *sounds], key=lambda timed: timed[0]):
            container.mux(packets)
        container.mux([] if last else video.encode())
        if audio:
            container.mux(audio.encode())
    if codec == "libsvtav1" and hasattr(os, "sched_setscheduler"):  # of root it makes a thread that nobody else outruns
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    return path


def _pictures(stream, times, start, size, tick, last):
    for i, time in enumerate(times):
        level = 20 + 10 * (int(time) % 20)
        frame = av.VideoFrame.from_ndarray(np.full((size[1], size[0], 3), level, np.uint8))
        frame.pts, frame.time_base = round((time + start) / tick), tick
        packets = stream.encode(frame)
        if last and i == len(times) - 1:
            packets = [*packets, *stream.encode()]
            packets[-1].duration = round(last / packets[-1].time_base)
        yield time + start, packets


def _sounds(stream, start, seconds):
    stream.layout, stream.bit_rate, rate = "stereo", 128_000, stream.rate
    form = _FORMS.get(stream.codec_context.name, "fltp")
    for k in range(round(seconds * 10)):
        t = np.arange(k * rate // 10, (k + 1) * rate // 10) / rate
        wave = np.stack([np.sin(2 * np.pi * 440 * t) * 0.5 * (t.astype(int) % 2)] * 2).astype(np.float32)
        array = wave if form == "fltp" else np.ascontiguousarray(wave.T.reshape(1, -1))
        array = (array * 32767).astype(np.int16) if form == "s16" else array
        frame = av.AudioFrame.from_ndarray(array, format=form, layout="stereo")
        frame.sample_rate, frame.time_base = rate, Fraction(1, rate)
        frame.pts = round(start * rate) + k * rate // 10
        yield start + k / 10, stream.encode(frame)


def remuxed(path: Path, target: Path, edit) -> Path:
    """The packets in a new file; edit(kind of stream, number in it, packet) gives a packet or None."""
    with av.open(str(path)) as source, av.open(str(target), "w") as output:
        streams = {s.index: output.add_stream_from_template(s) for s in source.streams}
        counts = {index: itertools.count() for index in streams}
        for packet in source.demux():
            index = packet.stream.index
            if packet.size and (changed := edit(packet.stream.type, next(counts[index]), packet)) is not None:
                changed.stream = streams[index]
                output.mux(changed)
    return target


def replaced(packet: av.Packet, data: bytes | int) -> av.Packet:
    """A packet of other bytes, or so many zeros, at the same time."""
    made = av.Packet(data)
    made.pts, made.dts, made.duration, made.time_base = packet.pts, packet.dts, packet.duration, packet.time_base
    made.is_keyframe = packet.is_keyframe
    return made


def levels(path: Path) -> list[int]:
    """The mean grey of each second."""
    return [round(float(second.mean())) for second in iter_seconds(path, 1, 16)]


def heard(path: Path) -> list[int]:
    """Whole seconds, on the container's clock, in which a tone sounds for the most part; [] for a silent film."""
    with av.open(str(path)) as container:
        if not container.streams.audio:
            return []
        loud, at = np.zeros(100), 0.0
        for frame in container.decode(container.streams.audio[0]):
            at = at if frame.time is None else frame.time - (container.start_time or 0) / av.time_base
            level = np.abs(frame.to_ndarray().astype(np.float32)).mean() / (32768 if "s16" in frame.format.name else 1)
            lasts = frame.samples / frame.sample_rate
            loud[max(0, int(at + lasts / 2))] += lasts * (level > 0.1)
            at += lasts
        return np.flatnonzero(loud > 0.5).tolist()
