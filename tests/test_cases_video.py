"""Kinds of video files that public bug reports tell of: the shared cases, where they are, and siblings made here."""

import numpy as np
import pytest

from vcwork.base.errors import VcworkError
from vcwork.data.video import iter_seconds, probe


@pytest.fixture(scope="session")
def cases(root):
    """Small inputs made from public bug reports; skipped without them."""
    folder = root.parent / "shared" / "cases"
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent")
    return folder


def levels(path) -> list[int]:
    """The mean grey of each second."""
    return [round(float(second.mean())) for second in iter_seconds(path, 1, 16)]


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
