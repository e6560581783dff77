"""Kinds of video files that public bug reports tell of: the shared cases, where they are, and siblings made here."""

import itertools
from collections import Counter

import av
import numpy as np
import pytest
from av.stream import Disposition
from checks import refused
from films import film, heard, levels, remuxed, replaced

from vcwork.base.errors import VcworkError
from vcwork.data import speech
from vcwork.data.backbones.motion import MotionBackbone
from vcwork.data.copies import Look, cut, write_copy
from vcwork.data.corpus import scan_folder
from vcwork.data.extract import extract
from vcwork.data.media import media_of
from vcwork.data.video import frames_at, iter_seconds, probe

FILMS = {
    "20-vfr-last-frame-long/slides.mp4": [20] + 19 * [110],
    "20-vfr-last-frame-long/slides.mkv": [20] + 19 * [110],
    "20-vfr-last-frame-long/two_slides.mp4": 10 * [20] + 10 * [110],
    "22-cover-first/film.mp4": [20, 30, 40, 50, 60],
    "23-no-duration/rec.webm": [20, 30, 40, 50, 60, 70],
    "24-mkv-longer-track/long_audio.mkv": [20, 30, 40, 50, 60],
    "24-mkv-longer-track/long_audio.mp4": [20, 30, 40, 50, 60],
    "24-mkv-longer-track/subs/late_subs.mkv": [20, 30, 40, 50, 60],
    "25-ts-discontinuity/reset.mp4": [20, 30, 40, 50, 100, 110, 120, 130],
    "25-ts-discontinuity/jump.mp4": [20, 30, 40, 50, 100, 110, 120, 130],
    "27-no-decoder/good.mp4": [20, 30, 40],
    "29-one-frame/a.mp4": [30],
    "30-odd-sizes/odd.mkv": [20, 30],
    "30-odd-sizes/strip.mov": [20, 30],
    "30-odd-sizes/strip2.mov": [20, 30],
    "30-odd-sizes/thin.mov": [20, 30],
    "31-size-change/turned.mp4": 6 * [124],
    **{f"33-codecs/{name}": [20, 30, 40] for name in ("av1.mp4", "hevc10.mp4", "mjpeg.avi", "prores.mov", "vp9.webm")},
    "33-codecs/xvid.avi": [20, 30, 40],
    "46-edit-lists-and-starts/cut.mp4": [40, 50, 60, 60],
    "46-edit-lists-and-starts/slow.mp4": [20, 20, 40, 40, 60, 60],
    **{f"46-edit-lists-and-starts/late_picture.{kind}": [20, 20, 20, 20, 30, 40, 50, 60] for kind in ("mp4", "mkv")},
    **{
        f"46-edit-lists-and-starts/{name}": [20, 30, 40, 50, 60]
        for name in ("alpha.webm", "attached.mkv", "b_frames.avi", "fast.mp4", "frag.mp4", "fullrange.mp4",
                     "interlaced.mp4", "long_gop.mp4", "raw_gray.avi", "sar2.mp4")
    },
}  # fmt: skip


@pytest.mark.parametrize("name", FILMS)
def test_every_second_is_there_with_its_grey_and_the_header_says_as_many(cases, name):
    got = levels(cases / name)
    assert got == pytest.approx(FILMS[name], abs=3)
    assert max(1, round(probe(cases / name).duration_s)) == len(got)


REFUSED = {
    "22-cover-first/song.mp4": "holds no film, only a cover picture",
    "27-no-decoder/cut.mp4": "could not be decoded as video",
    "27-no-decoder/encv.mp4": "no decoder for its codec",
    "27-no-decoder/xxcc.mp4": "no decoder for its codec",
    "28-moov-missing/empty.mp4": "could not be decoded as video",
    "28-moov-missing/nomoov.mp4": "could not be decoded as video",
    "28-moov-missing/text.mp4": "could not be decoded as video",
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_holds_no_film_is_one_sentence_with_its_name(cases, name):
    for reader in (probe, levels):
        with pytest.raises(VcworkError, match=REFUSED[name]) as caught:
            reader(cases / name)
        assert str(cases / name) in str(caught.value) and "\n" not in str(caught.value)


CORNERS = {"plain": "rgbw", "hflip": "grwb", "rot90": "brwg", "rot180": "wbgr", "rot270": "gwrb"}


def corners(picture: np.ndarray) -> str:
    """Colours of the four quarters, in the order of reading."""
    known = {"r": (255, 0, 0), "g": (0, 255, 0), "b": (0, 0, 255), "w": (255, 255, 255)}
    height, width = picture.shape[:2]
    at = [(y * height // 4, x * width // 4) for y in (1, 3) for x in (1, 3)]
    return "".join(min(known, key=lambda c: np.abs(picture[y, x].astype(int) - known[c]).sum()) for y, x in at)


@pytest.mark.parametrize("name", CORNERS)
@pytest.mark.parametrize("size", [None, 32])
def test_the_display_matrix_turns_and_mirrors(cases, name, size):
    assert corners(next(iter_seconds(cases / "21-mirrored" / f"{name}.mp4", 1, size))[0]) == CORNERS[name]


def test_a_turned_phone_is_fitted_whole_into_the_first_shape(cases):
    pictures = [second[0] for second in iter_seconds(cases / "31-size-change" / "turned.mp4", 1, None)]
    assert {picture.shape for picture in pictures} == {(48, 64, 3)}
    late = pictures[-1]
    assert late[:, :14].max() < 20 and late[:, -14:].max() < 20 and late[:, 20:44].mean() > 80


# ------------------------------------------------------------------------------------------------- siblings, made here


MADE = {  # how a film is made, and how many seconds long it is; second s has grey 20 + 10 s
    **{
        f"longer_sound.{kind}": (made | {"sound_s": 12}, 5)
        for kind, made in {
            "mkv": {"sound": "libopus"},
            "webm": {"codec": "libvpx", "sound": "libopus"},
            "flv": {"sound": "aac"},
            "ts": {"sound": "aac"},
            "m2ts": {"sound": "ac3", "format": "mpegts"},
            "mpg": {"codec": "mpeg2video", "sound": "mp2", "fps": 25, "format": "mpeg"},
            "wmv": {"codec": "wmv2", "sound": "wmav2", "format": "asf"},
            "avi": {"codec": "mpeg4", "sound": "libmp3lame"},
            "mov": {"sound": "pcm_s16le"},
            "3gp": {"sound": "aac"},
        }.items()
    },
    **{f"starts_at_10.{kind}": ({"start": 10.0, "codec": codec}, 5)
       for kind, codec in (("mkv", "libx264"), ("mp4", "libx264"), ("ts", "libx264"), ("webm", "libvpx"))},
    **{f"last_slide.{kind}": ({"times": [0.0, 0.5, 1.0], "last": 9.0} | made, [20] + 9 * [30])
       for kind, made in {"mkv": {}, "webm": {"codec": "libvpx"}, "gif": {"codec": "gif", "pixels": "rgb8"}}.items()},
    **{f"slides.{kind}": ({"times": [0.0, 0.5, 8.0, 8.5]}, 8 * [20] + [100]) for kind in ("mkv", "ts", "flv")},
    "late_sound.avi": ({"codec": "mpeg4", "sound": "libmp3lame", "sound_start": 2.0}, 5),
    "reordered.avi": ({"bframes": 3, "fps": 5}, 5),
    "reordered_slides.mp4": ({"times": [0.0, 0.1, 0.2, 8.0, 8.1], "bframes": 3}, 8 * [20]),
    **{f"one_frame.{kind}": ({"times": [0.0]} | made, 1)
       for kind, made in {"ts": {}, "webm": {"codec": "libvpx"}, "gif": {"codec": "gif", "pixels": "rgb8"}}.items()},
    **{f"late_picture.{kind}": ({"start": 3.0, "sound_s": 8} | made, [20, 20, 20, 20, 30, 40, 50, 60])
       for kind, made in {"ts": {"sound": "aac"}, "flv": {"sound": "aac"}, "mp4": {"sound": "aac"},
                          "webm": {"codec": "libvpx", "sound": "libopus"}}.items()},
    **{f"tiny{w}x{h}.mkv": ({"codec": "ffv1", "size": (w, h), "pixels": "yuv444p"}, 5) for w, h in ((1, 1), (3, 700))},
    "ten_bits.mkv": ({"codec": "libx265", "pixels": "yuv420p10le"}, 5),
}  # fmt: skip


@pytest.mark.parametrize("name", MADE)
def test_siblings_have_their_seconds_and_headers_that_say_so(tmp_path, name):
    made, expected = MADE[name]
    path = film(tmp_path / name, **made)
    expected = [20 + 10 * s for s in range(expected)] if isinstance(expected, int) else expected
    assert levels(path) == pytest.approx(expected, abs=4)
    assert max(1, round(probe(path).duration_s)) == len(expected)


@pytest.mark.parametrize("kind", ["ts", "mpg", "mkv", "webm", "avi"])
def test_joined_files_are_put_together_and_joined_flv_and_mp4_refused(tmp_path, kind):
    codecs = {"mpg": ("mpeg2video", "mp2"), "webm": ("libvpx", "libopus"), "avi": ("mpeg4", "libmp3lame")}
    codec, sound = codecs.get(kind, ("libx264", "ac3"))
    part = film(tmp_path / f"part.{kind}", codec, sound, seconds=4, fps=25).read_bytes()
    path = tmp_path / f"two.{kind}"
    path.write_bytes(part + part)
    assert levels(path) == pytest.approx(2 * [20, 30, 40, 50], abs=4) and round(probe(path).duration_s) == 8
    frames = frames_at(path, [6.5, 1.5], 16)
    assert [round(float(frame.mean())) for frame in frames] == pytest.approx([40, 30], abs=4)
    for name, times in (("flv", 2), ("mp4", 2), ("mkv", 4)):
        part = film(tmp_path / f"part.{name}", seconds=4).read_bytes()
        (tmp_path / f"all.{name}").write_bytes(times * part)
        refused("is it joined of several files", probe, tmp_path / f"all.{name}")


@pytest.mark.parametrize("name", ["a.mkv", "a.webm", "a.flv"])
def test_zeros_behind_a_film_are_no_other_file(tmp_path, name):
    path = film(tmp_path / name, "libvpx" if name == "a.webm" else "libx264", seconds=3)
    path.write_bytes(path.read_bytes() + bytes(3 << 20))
    assert levels(path) == pytest.approx([20, 30, 40], abs=4) and round(probe(path).duration_s) == 3


@pytest.mark.parametrize(("start", "bframes", "more"), [(100, 0, "+frag_discont+delay_moov"), (0, 2, "")])
def test_a_segment_with_its_index_lasts_as_long_as_its_pictures(tmp_path, start, bframes, more):
    path = film(tmp_path / "a.mp4", start=start, bframes=bframes, fps=1, movflags=f"dash{more}")
    assert levels(path) == pytest.approx([20, 30, 40, 50, 60], abs=4) and round(probe(path).duration_s) == 5


def test_short_parts_are_joined_too_and_sound_and_picture_stay_together(tmp_path):
    for bframes in (0, 2):
        part = film(tmp_path / "a.ts", sound="aac", seconds=1, fps=25, bframes=bframes).read_bytes()
        (tmp_path / "short.ts").write_bytes(8 * part)
        assert levels(tmp_path / "short.ts") == 8 * [20] and round(probe(tmp_path / "short.ts").duration_s) == 8
    path = tmp_path / "long.ts"
    path.write_bytes(3 * film(tmp_path / "b.ts", sound="mp2", seconds=3, sound_s=4, fps=25).read_bytes())
    assert levels(path) == pytest.approx([20, 30, 40, 40, 20, 30, 40, 40, 20, 30, 40], abs=3)
    write_copy(path, tmp_path / "copy.mp4", Look(None, 20, None))
    assert levels(tmp_path / "copy.mp4") == pytest.approx(levels(path), abs=3)
    assert heard(tmp_path / "copy.mp4") == [1, 3, 5, 7, 9, 11]
    tones = Counter(int(at_s) for at_s, samples in speech.sound(path) if np.abs(samples).mean() > 0.1)
    assert [second for second, blocks in sorted(tones.items()) if blocks > 20] == [1, 3, 5, 7, 9, 11]


@pytest.mark.parametrize("kind", ["mp4", "mkv", "ts"])
def test_lost_packets_move_nothing(tmp_path, kind):
    noise, whole = np.random.default_rng(0), tmp_path / "whole.mp4"
    with av.open(str(whole), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for i in range(200):
            picture = np.clip(20 + 20 * (i // 25) + noise.integers(-20, 21, (64, 96, 3)), 0, 255).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture)))
        container.mux(stream.encode())
    lost = remuxed(whole, tmp_path / f"lost.{kind}", lambda _, k, packet: None if 60 <= k < 85 else packet)
    got = levels(lost)
    assert len(got) == 8 and got[4:] == pytest.approx(levels(whole)[4:], abs=4)


@pytest.mark.parametrize(("name", "made"), [("j.mkv", {}), ("j.mp4", {}), ("j.webm", {"codec": "libvpx"})])
def test_a_jump_of_hours_is_named_and_gives_no_hours_of_rows(tmp_path, name, made):
    path = film(tmp_path / name, times=[0.0, 0.1, 18000.0, 18000.1], **made)
    seconds = iter_seconds(path, 1, 16)
    refused("times jump from 0.1 s to 18000.0 s", lambda: [*itertools.islice(seconds, 30)])
    refused("times jump from 0.0 s to 7200.0 s", levels, film(tmp_path / "late.mkv", start=7200, sound="aac"))


@pytest.mark.parametrize(("name", "made"), [
    ("a.mkv", {"sound": "ac3"}), ("a.webm", {"codec": "libvpx", "sound": "libopus", "sound_s": 12}),
    ("a.flv", {"sound": "aac"}), ("a.avi", {"codec": "mpeg4", "sound": "libmp3lame"}),
])  # fmt: skip
def test_a_file_cut_short_is_told_from_one_whose_sound_is_longer(tmp_path, name, made):
    whole = film(tmp_path / name, **made).read_bytes()
    (tmp_path / name).write_bytes(whole[: len(whole) // 2])
    refused("is it truncated", probe, tmp_path / name)


def test_an_avi_out_of_a_pipe_is_whole(tmp_path):
    path = film(tmp_path / "a.avi", "mpeg4")
    data = bytearray(path.read_bytes())
    counted = data.index(b"vids") + 32
    data[counted : counted + 4] = (1 << 30).to_bytes(4, "little")  # as FFmpeg writes where it cannot go back
    path.write_bytes(data)
    assert levels(path) == pytest.approx([20, 30, 40, 50, 60], abs=4) and round(probe(path).duration_s) == 5


@pytest.mark.parametrize("name", ["a.mkv", "a.mp4"])
def test_tags_that_are_no_utf8_cost_nothing(tmp_path, name):
    path = tmp_path / name
    with av.open(str(path), "w") as container:
        container.metadata["title"] = "a TITLE of eight"
        stream = container.add_stream("libx264", rate=5)
        stream.width, stream.height, stream.metadata["language"] = 64, 48, "eng"
        for level in (20,) * 5 + (30,) * 5:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((48, 64, 3), level, np.uint8))))
        container.mux(stream.encode())
    path.write_bytes(path.read_bytes().replace(b"TITLE", b"caf\xe9\xff"))
    assert levels(path) == [20, 30] and not speech.has_sound(path)
    assert media_of(path, tmp_path / "films", tmp_path).kind != "none"


def test_an_empty_packet_leaves_the_picture_before(tmp_path):
    path = film(tmp_path / "a.mp4", "mpeg4")
    data = bytearray(path.read_bytes())
    sizes = data.index(b"stsz") + 16  # of 50 frames, in four bytes each
    data[sizes + 4 * 35 : sizes + 4 * 50] = bytes(4 * 15)
    path.write_bytes(data)
    assert levels(path) == pytest.approx([20, 30, 40, 50, 50], abs=4) and round(probe(path).duration_s) == 5
    assert cut(path, 1, 4.5, tmp_path / "cut.mp4")
    assert levels(tmp_path / "cut.mp4") == pytest.approx([30, 40, 50, 50], abs=4)


@pytest.mark.parametrize(("name", "sound"), [("a.mp4", "aac"), ("a.mkv", "ac3"), ("a.ts", "mp2")])
def test_a_damaged_packet_of_sound_costs_no_film_and_no_word(tmp_path, name, sound):
    path = film(tmp_path / f"whole_{name}", sound=sound)
    remuxed(path, tmp_path / name, lambda kind, k, packet: (
        replaced(packet, b"\xff" * packet.size) if (kind, k) == ("audio", 100) else packet))  # fmt: skip
    lasts = [sum(len(samples) for _, samples in speech.sound(file)) / speech.RATE for file in (path, tmp_path / name)]
    assert 0 < lasts[0] - lasts[1] < 0.1
    assert cut(tmp_path / name, 0, 5, tmp_path / "cut.mp4") and heard(tmp_path / "cut.mp4") == [1, 3]


HOUR = 3600.0
BOMBS = {
    "last.mkv": {"times": [0, 0.1, 0.2, 1e7]},
    "held.mkv": {"times": [0, 0.1, 0.2], "last": 1e7},
    "late.webm": {"codec": "libvpx", "times": [0, 0.1, 5 * HOUR]},
    "many.mkv": {"times": [1790.0 * i for i in range(300)]},
    "many.ts": {"codec": "mpeg2video", "times": [59.0 * i for i in range(2000)]},
    "hours.mkv": {"times": [1790.0 * i for i in range(4)]},
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_small_file_gives_no_days_of_pictures(tmp_path, name):
    path = film(tmp_path / name, **BOMBS[name])
    if name != "hours.mkv":
        refused("bytes a second of so long a film|its times jump", probe, path)
        refused("bytes a second of so long a film|its times jump", lambda: sum(1 for _ in iter_seconds(path, 1, 16)))
        assert media_of(path, tmp_path / "films", tmp_path).kind == "none"
        assert not [*tmp_path.glob("films/*.mp4")]
    else:
        assert HOUR < len(levels(path)) < 2 * HOUR


def test_a_picture_that_stands_is_looked_at_once(tmp_path, monkeypatch):
    film(tmp_path / "a.mkv", times=[0, 0.1, 600.0, 600.1], last=300)
    seen, look = [], MotionBackbone.__call__

    def counted(eye, frames):
        seen.append(look(eye, frames))
        return seen[-1]

    monkeypatch.setattr(MotionBackbone, "__call__", counted)
    store = extract(scan_folder(tmp_path), MotionBackbone(), tmp_path / "out", workers=1, progress=False)
    assert len(seen) < 40 and store.lengths["a"] == 900
    seconds = iter_seconds(tmp_path / "a.mkv", MotionBackbone.fps, MotionBackbone.size)
    assert np.array_equal(store["a"], np.stack([look(MotionBackbone(), frames) for frames in seconds]).astype("f2"))


def test_a_picture_of_billions_of_pixels_is_refused_unseen(tmp_path, monkeypatch):
    monkeypatch.setattr("vcwork.data.film.MOST_PIXELS", 64 * 48 - 1)
    refused("a.mp4: pictures of 64 x 48; expected at most 3071 pixels", probe, film(tmp_path / "a.mp4"))


EIGHT = [(1, 0, 0, 1), (-1, 0, 0, 1), (1, 0, 0, -1), (-1, 0, 0, -1), (0, 1, 1, 0), (0, -1, 1, 0), (0, 1, -1, 0),
         (0, -1, -1, 0)]  # fmt: skip


@pytest.mark.parametrize("matrix", EIGHT)
def test_all_eight_orientations(tmp_path, matrix):
    a, b, c, d = matrix
    stored = np.zeros((32, 48, 3), np.uint8)
    quarters = itertools.product((0, 16), (0, 24))
    for colour, (y, x) in zip(((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)), quarters, strict=True):
        stored[y : y + 16, x : x + 24] = colour
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=2, options={"crf": "1"})
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
        stream.set_display_matrix([n << 16 for n in (a, b, 0, c, d, 0, 0, 0)] + [1 << 30])
        for _ in range(2):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(stored)))
        container.mux(stream.encode())
    places = {(a * x + c * y, b * x + d * y): (y, x) for y in (0, 1) for x in (0, 1)}  # x' = a x + c y, y' = b x + d y
    across, down = (sorted({place[axis] for place in places}) for axis in (0, 1))
    shown = "".join("rgbw"[2 * places[x, y][0] + places[x, y][1]] for y in down for x in across)
    for size in (None, 32):
        assert corners(next(iter_seconds(path, 1, size))[0]) == shown
    copy = tmp_path / "copy.mp4"
    write_copy(path, copy, Look(None, 1, None))
    assert corners(next(iter_seconds(copy, 1, None))[0]) == shown
    assert (probe(copy).width, probe(copy).height) == (probe(path).width, probe(path).height)


def test_the_film_among_several_pictures_is_the_default_one(tmp_path):
    path = tmp_path / "two.mkv"
    with av.open(str(path), "w") as container:
        streams = [container.add_stream("libx264", rate=5) for _ in range(2)]
        for stream, flag in zip(streams, (0, Disposition.default), strict=True):
            stream.width, stream.height, stream.pix_fmt, stream.disposition = 64, 48, "yuv420p", flag
        for level, stream in zip((40, 120), streams, strict=True):
            for _ in range(10):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((48, 64, 3), level, np.uint8))))
            container.mux(stream.encode())
    assert levels(path) == pytest.approx([120, 120], abs=3)


@pytest.mark.parametrize("order", ["vaa", "av", "vaf", "avf"])  # film, sound (a second one without packets), font
def test_whatever_else_a_file_holds_and_in_any_order_the_film_is_whole(tmp_path, order):
    path = tmp_path / "a.mkv"
    with av.open(str(film(tmp_path / "b.mkv", sound="aac", fps=1, bframes=3))) as source, av.open(path, "w") as output:
        of = {"v": source.streams.video[0], "a": source.streams.audio[0]}
        made = [(of[kind], output.add_stream_from_template(of[kind])) for kind in order.rstrip("f")]
        if "f" in order:
            output.add_attachment("a.ttf", "application/x-truetype-font", bytes(9))
        into = dict(reversed(made))
        for packet in source.demux():
            if packet.size:
                packet.stream = into[packet.stream]
                output.mux(packet)
    assert levels(path) == pytest.approx([20, 30, 40, 50, 60], abs=3)
    assert cut(path, 1, 5, tmp_path / "cut.mp4") and heard(tmp_path / "cut.mp4") == [0, 2]
    assert levels(tmp_path / "cut.mp4") == pytest.approx([30, 40, 50, 60], abs=3)


def test_a_stretch_before_a_late_picture_shows_the_first_one(tmp_path):
    path = film(tmp_path / "late.mp4", start=3, sound="aac", sound_s=8)
    for start_s in (0, 1):
        assert cut(path, start_s, start_s + 2, tmp_path / f"{start_s}.mp4")
        assert levels(tmp_path / f"{start_s}.mp4") == pytest.approx([20, 20], abs=3)


def test_words_and_features_have_one_clock(cases):
    late = scan_folder(cases / "46-edit-lists-and-starts" / "late")
    assert late["late_picture"].duration_s == 8 and not late.caption_report("late_picture").dropped
    bare = scan_folder(cases / "23-no-duration")
    kept = [caption.end_s for caption in bare.captions("rec")]
    assert bare["rec"].duration_s == 6 and kept and max(kept) <= 6
