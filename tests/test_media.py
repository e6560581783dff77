"""What a page shows of a film, and stretches as mp4: nothing is copied that a browser plays, and no second moves."""

import base64
import os
import struct
from pathlib import Path
from urllib.parse import unquote

import av
import numpy as np
import pytest
from checks import refused
from films import film, heard, levels

from vcwork.base.files import sha256_file
from vcwork.data import copies, media
from vcwork.data.copies import CUT, Look, cut, shrunk, write_copy
from vcwork.data.media import address, media_of
from vcwork.data.video import probe

KINDS = {  # a file name: how it is made, what a page shows of it, the reason that is told
    "plain.mp4": ({"sound": "aac"}, "original", ""),
    "plain.m4v": ({"sound": "aac", "format": "mp4"}, "original", ""),
    "vp9.webm": ({"codec": "libvpx-vp9", "sound": "libopus"}, "original", ""),
    "begins.mp4": ({"sound": "aac", "start": 5.0, "sound_start": 5.0}, "rewrapped", "(begins at 5.0 s)"),
    "begins.m4v": ({"start": 4.0, "bframes": 3, "format": "mp4"}, "rewrapped", "(begins at 4.0 s)"),
    "begins.webm": (
        {"codec": "libvpx-vp9", "sound": "libopus", "start": 4.0, "sound_start": 4.0},
        "rewrapped",
        "(begins at 4.0 s)",
    ),
    "b.mp4": ({"sound": "aac", "bframes": 3}, "original", ""),
    "phone.mov": ({"sound": "aac"}, "rewrapped", "(mov)"),
    "plain.mkv": ({"sound": "aac", "bframes": 3}, "rewrapped", "(matroska)"),
    "vp8.mkv": ({"codec": "libvpx", "sound": "libopus"}, "rewrapped", "(matroska)"),
    "av1.mkv": ({"codec": "libsvtav1", "sound": "libopus"}, "rewrapped", "(matroska)"),
    "tv.ts": ({"sound": "aac"}, "rewrapped", "(mpegts)"),
    "named.mp4": ({"sound": "aac", "format": "mpegts"}, "rewrapped", "(mpegts)"),
    "stream.flv": ({"sound": "aac"}, "rewrapped", "(flv)"),
    "dolby.mkv": (
        {"sound": "ac3"},
        "rewrapped",
        "its picture is in a new container, its sound as AAC",
    ),
    "camera.mov": ({"sound": "pcm_s16le"}, "rewrapped", "(mov, pcm_s16le)"),
    "old.avi": ({"codec": "mpeg4", "sound": "libmp3lame"}, "transcoded", "(avi, mpeg4)"),
    "disc.mpg": ({"codec": "mpeg2video", "sound": "mp2", "fps": 25}, "transcoded", "(mpeg, mpeg2video, mp2)"),
    "old.wmv": ({"codec": "wmv2", "sound": "wmav2", "format": "asf"}, "transcoded", "(asf, wmv2, wmav2)"),
    "deep.mp4": ({"pixels": "yuv420p10le"}, "transcoded", "(h264 in yuv420p10le)"),
    "colour.mp4": ({"pixels": "yuv444p"}, "transcoded", "(h264 in yuv444p)"),
    "still.gif": ({"codec": "gif", "pixels": "rgb8"}, "transcoded", "gif"),
}


@pytest.mark.parametrize("name", KINDS)
def test_what_a_browser_plays_is_linked_and_anything_else_copied_without_moving_a_second(tmp_path, name):
    made, kind, why = KINDS[name]
    path = film(tmp_path / name, **made)
    (tmp_path / "out" / "pages").mkdir(parents=True)
    shown = media_of(path, tmp_path / "out" / "films", tmp_path / "out" / "pages")
    assert shown.kind == kind and why in "".join(shown.notes) and bool(shown.notes) == (kind != "original")
    file = tmp_path / "out" / "pages" / shown.src
    assert file.resolve() == path if kind == "original" else file.resolve().parent == tmp_path / "out" / "films"
    assert levels(file) == pytest.approx(levels(path), abs=4) and len(levels(file)) == 5
    assert heard(file) == heard(path) == ([1, 3] if "sound" in made else [])
    with av.open(str(file)) as container:
        assert abs(container.start_time) / av.time_base < 0.1, "browsers count from 0, not from the file's start"
        video = container.streams.video[0].codec_context
        assert (video.codec.canonical_name, video.pix_fmt) in {(c, "yuv420p") for c in ("h264", "vp8", "vp9", "av1")}
        assert all(s.codec_context.name in ("aac", "opus", "libopus") for s in container.streams.audio)


def test_a_copy_is_made_once_for_a_content(tmp_path, monkeypatch):
    path = film(tmp_path / "a.avi", "mpeg4")
    first = media_of(path, tmp_path / "films", tmp_path)
    monkeypatch.setattr(media, "write_copy", lambda *_: pytest.fail("made again"))
    path.rename(tmp_path / "b.avi")
    assert media_of(tmp_path / "b.avi", tmp_path / "films", tmp_path) == first
    (tmp_path / first.src).unlink()
    monkeypatch.undo()
    assert media_of(tmp_path / "b.avi", tmp_path / "films", tmp_path) == first and (tmp_path / first.src).is_file()


@pytest.mark.parametrize(
    ("name", "made"),
    [
        ("late.mkv", {"start": 3.0, "sound": "aac", "sound_s": 8}),
        ("late.webm", {"codec": "libvpx", "start": 3.0, "sound": "libopus", "sound_s": 8}),
        ("late.ts", {"start": 3.0, "sound": "aac", "sound_s": 8}),
        ("sound.avi", {"codec": "mpeg4", "sound": "libmp3lame", "sound_s": 8}),
        ("tensecond.mkv", {"start": 10.0, "sound": "ac3", "sound_start": 10.0}),
        ("latesound.mkv", {"sound": "ac3", "sound_start": 2.0, "sound_s": 3}),
    ],
)
def test_late_pictures_and_sounds_stay_where_they_were(tmp_path, name, made):
    path = film(tmp_path / name, **made)
    shown = media_of(path, tmp_path / "films", tmp_path)
    write_copy(path, tmp_path / "copy.mp4", Look(64, 20, 10))
    for file in (tmp_path / shown.src, tmp_path / "copy.mp4"):
        assert levels(file) == pytest.approx(levels(path), abs=4) and heard(file) == heard(path)


def test_joined_parts_and_a_last_slide_are_as_long_in_the_copy(tmp_path):
    part = film(tmp_path / "part.ts", sound="aac", seconds=4).read_bytes()
    (tmp_path / "two.ts").write_bytes(part + part)
    shown = media_of(tmp_path / "two.ts", tmp_path / "films", tmp_path)
    assert shown.kind == "transcoded" and "jump (4.0 s): the parts were put together" in shown.notes[0]
    assert levels(tmp_path / shown.src) == pytest.approx(2 * [20, 30, 40, 50], abs=3)
    assert heard(tmp_path / shown.src) == [1, 3, 5, 7]
    film(tmp_path / "slides.gif", "gif", pixels="rgb8", times=[0.0, 1.0], last=6.0)
    assert round(probe(tmp_path / media_of(tmp_path / "slides.gif", tmp_path / "films", tmp_path).src).duration_s) == 7


def test_sound_that_changes_its_rate_goes_on_where_it_was(tmp_path):
    parts = [film(tmp_path / f"{rate}.ts", sound="mp2", seconds=4, rate=rate) for rate in (48000, 32000)]
    path = tmp_path / "two.ts"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    shown = media_of(path, tmp_path / "films", tmp_path)
    assert heard(tmp_path / shown.src) == [1, 3, 5, 7] and len(levels(tmp_path / shown.src)) == 8
    write_copy(path, tmp_path / "copy.mp4", Look(None, 20, None, 48))
    assert heard(tmp_path / "copy.mp4") == [1, 3, 5, 7]


@pytest.mark.parametrize(
    ("made", "size"),
    [
        ({"size": (65, 47), "codec": "ffv1", "pixels": "yuv444p"}, (64, 48)),
        ({"size": (1, 1), "codec": "ffv1", "pixels": "yuv444p"}, (2, 2)),
        ({"size": (1280, 20), "codec": "ffv1", "pixels": "yuv444p"}, (640, 10)),
        ({"size": (64, 48), "pixels": "yuv444p", "aspect": "2/1"}, (128, 48)),
    ],
)
def test_a_copy_is_whole_even_at_most_640_and_has_square_pixels(tmp_path, made, size):
    path = film(tmp_path / "a.mkv", seconds=1, **made)
    info = probe(tmp_path / media_of(path, tmp_path / "films", tmp_path).src)
    assert (info.width, info.height) == size


def test_a_mirrored_film_is_encoded_upright_and_a_turned_one_linked(tmp_path):
    for name, matrix, kind in (("flip", (-1, 0, 0, 1), "transcoded"), ("turn", (0, 1, -1, 0), "original")):
        a, b, c, d = (n << 16 for n in matrix)
        path = film(tmp_path / f"{name}.mp4", seconds=1, matrix=[a, b, 0, c, d, 0, 0, 0, 1 << 30])
        shown = media_of(path, tmp_path / "films", tmp_path)
        info = probe(tmp_path / shown.src)
        assert shown.kind == kind and (info.width, info.height) == ((64, 48) if name == "flip" else (48, 64))


def test_addresses_of_odd_names_lead_to_their_files(tmp_path):
    pages = tmp_path / "out" / "videos"
    for name in ("Make [Best] {Soup} #1 100% – 日本語 'q' \"x\" & <b>?.mp4", "-a..b...mp4", "12:30 talk.mp4", "🍲.mp4"):
        found = address(tmp_path / "my films" / name, pages)
        assert found.isascii() and not set(found) & set("#?\"'<>& :[]{}")
        assert os.path.normpath(pages / unquote(found)) == str(tmp_path / "my films" / name)
    assert unquote(address(os.fsencode(tmp_path / "caf").decode() + "\udce9.mp4", tmp_path), errors="surrogateescape") \
        == "caf\udce9.mp4"  # fmt: skip


def test_a_portable_film_travels_inside_the_page_or_says_why_not(tmp_path, monkeypatch):
    path = film(tmp_path / "a.mp4", sound="aac")
    there = media_of(path, tmp_path / "films", tmp_path, portable=True)
    assert (
        there.kind == "embedded"
        and base64.b64decode(there.src.removeprefix("data:video/mp4;base64,")) == path.read_bytes()
    )
    digest = sha256_file(path)
    path.unlink()
    gone = media_of(path, tmp_path / "films", tmp_path, True, digest)
    assert gone.kind == "none" and "No such file" in gone.notes[0]
    monkeypatch.setattr(media, "PORTABLE_MB", 0.03)
    film(tmp_path / "b.mkv", sound="aac", size=(640, 480))
    made = media_of(tmp_path / "b.mkv", tmp_path / "films", tmp_path, portable=True)
    assert made.kind == "embedded" and "small copy" in made.notes[0] and len(made.src) < 41_000
    monkeypatch.setattr(media, "PORTABLE_MB", 0.001)
    film(tmp_path / "c.mkv", sound="aac", size=(640, 480), seconds=6)
    none = media_of(tmp_path / "c.mkv", tmp_path / "films", tmp_path, portable=True)
    assert (none.kind, none.src) == ("none", "") and "do not fit" in none.notes[0]
    assert not list((tmp_path / "films").glob("*.part"))


def test_what_cannot_be_shown_is_one_sentence_without_paths(tmp_path):
    (tmp_path / "text.mp4").write_text("no film")
    for name, why in (("text.mp4", "could not be decoded"), ("gone.mp4", "No such file")):
        shown = media_of(tmp_path / name, tmp_path / "films", tmp_path)
        assert (shown.kind, shown.src) == ("none", "") and why in shown.notes[0] and str(tmp_path) not in shown.notes[0]


# ------------------------------------------------------------------------------------------------------------ cutting


def frames(path: Path) -> list[int]:
    with av.open(str(path)) as container:
        return [round(float(frame.to_ndarray(format="rgb24").mean())) for frame in container.decode(video=0)]


CUTS = [  # film, from, to, how, frames, their first and last grey, seconds with a tone
    ("gop.mp4", 5.0, 10.0, "copied", 50, 70, 110, [0, 2, 4]),
    ("gop.mp4", 0.0, 5.0, "copied", 50, 20, 60, [1, 3]),
    ("gop.mp4", 5.03, 10.0, "copied", 50, 70, 110, [0, 2, 4]),  # the frame on display then is the key frame
    ("gop.mp4", 4.97, 10.0, "encoded", 51, 60, 110, [0, 2, 4]),
    ("gop.mp4", 5.0, 7.35, "encoded", 24, 70, 90, [0]),  # the last frames need one beyond the end
    ("gop.mp4", 11.0, 99.0, "encoded", 10, 130, 130, [0]),
    ("flat.mp4", 1.0, 3.0, "copied", 20, 30, 40, [0]),
    ("av1.mkv", 0.0, 9.0, "copied", 50, 20, 60, [1, 3]),
    ("joined.ts", 1.3, 4.2, "encoded", 30, 30, 20, [0, 2]),  # seeking knows the first part's times only
    ("joined.mkv", 2.3, 4.0, "encoded", 18, 20, 30, [1]),
    ("raw.mp4", 1.0, 3.0, "encoded", 51, 20, 40, []),  # cannot be sought in
    ("edits.mp4", 0.0, 4.0, "encoded", 40, 20, 70, []),  # its times step back behind an edit
    ("plain.ts", 1.0, 3.0, "encoded", 21, 20, 40, [0]),
    ("plain.avi", 1.0, 3.0, "encoded", 20, 20, 40, [0]),
    ("plain.wmv", 3.0, 5.0, "encoded", 21, 40, 60, [0]),
    ("late.webm", 1.0, 5.0, "encoded", 20, 20, 30, [0, 2]),
    ("slides.mkv", 3.0, 6.0, "encoded", 1, 30, 30, []),
    ("slides.mp4", 70.0, 73.0, "encoded", 1, 20, 20, [1]),
    ("slides.mp4", 119.0, 121.0, "encoded", 2, 20, 20, [0]),
    ("slides.mp4", 60.0, 120.0, "copied", 1, 20, 20, [*range(1, 60, 2)]),
]  # fmt: skip


def _edited(path: Path, edits: list[tuple[int, int]]) -> None:
    """Another list of edits: (milliseconds, second of the film or -1 for nothing); the index lies behind the film."""
    data = path.read_bytes()
    at, ticks = data.index(b"edts") - 4, int.from_bytes(data[data.index(b"mdhd") + 16 :][:4])
    told = b"".join(struct.pack(">IiI", ms, -1 if s < 0 else s * ticks, 1 << 16) for ms, s in edits)
    boxes = struct.pack(">I4sI4sII", 24 + len(told), b"edts", 16 + len(told), b"elst", 0, len(edits)) + told
    more = len(boxes) - int.from_bytes(data[at : at + 4])
    data = bytearray(data[:at] + boxes + data[at + len(boxes) - more :])
    for name in (b"moov", b"trak"):
        place = data.index(name) - 4
        struct.pack_into(">I", data, place, int.from_bytes(data[place : place + 4]) + more)
    path.write_bytes(data)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    at = tmp_path_factory.mktemp("films")
    film(at / "gop.mp4", sound="aac", seconds=12, gop=50, bframes=2)
    film(at / "flat.mp4", sound="aac", gop=10)
    film(at / "av1.mkv", "libsvtav1", "libopus")
    for kind in ("ts", "mkv"):
        part = film(at / f"part.{kind}", sound="ac3", seconds=2).read_bytes()
        (at / f"joined.{kind}").write_bytes(part * {"ts": 4, "mkv": 2}[kind])
    film(at / "raw.mp4", format="h264", fps=25)
    _edited(film(at / "edits.mp4", seconds=8, gop=10), [(1000, 0), (1500, -1), (1500, 4)])
    film(at / "plain.ts", sound="aac")
    film(at / "plain.avi", "mpeg4", "libmp3lame")
    film(at / "plain.wmv", "wmv2", "wmav2", format="asf")
    film(at / "late.webm", "libvpx", "libopus", start=3.0, sound_s=8)
    film(at / "slides.mkv", times=[0.0, 1.0], last=9.0)
    film(at / "slides.mp4", sound="aac", times=[0, 60, 120, 180], last=60, sound_s=240, gop=1)
    return at


@pytest.mark.parametrize(("name", "start", "end", "how", "count", "first", "last", "tones"), CUTS)
def test_a_stretch_is_cut_at_the_frame_with_its_sound(made, tmp_path, name, start, end, how, count, first, last, tones):
    out = tmp_path / "cut.mp4"
    assert cut(made / name, start, end, out) == how
    got = frames(out)
    assert len(got) == count and (got[0], got[-1]) == pytest.approx((first, last), abs=3) and heard(out) == tones
    assert probe(out).duration_s == pytest.approx(min(end, probe(made / name).duration_s) - start, abs=0.16)


def test_turned_films_are_cut_upright(tmp_path):
    a, b, c, d = (n << 16 for n in (0, 1, -1, 0))
    path = film(tmp_path / "a.mov", matrix=[a, b, 0, c, d, 0, 0, 0, 1 << 30])
    for number, (start, how) in enumerate([(0, "copied"), (1, "encoded")]):
        assert cut(path, start, 5, tmp_path / f"{number}.mp4") == how
        assert (probe(tmp_path / f"{number}.mp4").width, probe(tmp_path / f"{number}.mp4").height) == (48, 64)


def test_nothing_is_written_over_and_nothing_half_written_stays(made, tmp_path, monkeypatch):
    out = tmp_path / "cut.mp4"
    out.write_text("mine")
    refused("exists, and is not written over", cut, made / "flat.mp4", 0, 1, out)
    assert out.read_text() == "mine"
    out.unlink()
    refused("ends at 5.0 s, so nothing is shown from 7.0 s on", cut, made / "flat.mp4", 7, 8, out)
    for start, end in ((2, 2), (3, 1), (-1, 2), (0, float("nan"))):
        refused("expected 0 <= start < end", cut, made / "flat.mp4", start, end, out)
    refused("no such video file", cut, tmp_path / "none.mp4", 0, 1, out)
    monkeypatch.setattr(copies._Sound, "end", lambda self: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        cut(made / "flat.mp4", 0, 1, out)
    assert list(tmp_path.iterdir()) == []


def test_a_look_that_fits_is_the_first_that_does(made, tmp_path):
    looks = [Look(64, 18, 10), Look(16, 51, 2, 12)]
    assert shrunk(made / "flat.mp4", tmp_path / "a.mp4", looks, 1e6) is looks[0]
    assert shrunk(made / "flat.mp4", tmp_path / "a.mp4", looks, 15_000) is looks[1]
    assert shrunk(made / "flat.mp4", tmp_path / "a.mp4", looks, 100) is None and not list(tmp_path.iterdir())
    assert CUT.side is None
    assert np.allclose(levels(made / "flat.mp4"), [20, 30, 40, 50, 60], atol=3)
