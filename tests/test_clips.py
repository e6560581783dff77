"""What panels show of video files: a small copy that plays again, frames of many, and what cannot be shown."""

import numpy as np
import pytest

from vcwork.base.errors import VcworkError
from vcwork.data.corpus import Corpus, Video
from vcwork.data.video import frames_at, iter_seconds, probe, write_mp4
from vcwork.panels.clips import clip_of, small_mp4, thumbnails


@pytest.fixture
def film(tmp_path):
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 255, (60, 64, 64, 3), dtype=np.uint8)
    write_mp4(tmp_path / "a.mp4", noise, 10)
    return tmp_path / "a.mp4"


def test_seconds_asked_for_as_a_small_file(film, tmp_path):
    (tmp_path / "small.mp4").write_bytes(small_mp4(film, 2, 5, size=32))
    info = probe(tmp_path / "small.mp4")
    assert (info.duration_s, info.width) == (3, 32) and len(list(iter_seconds(tmp_path / "small.mp4", 2, 32))) == 3


def test_quality_gives_way_to_size_and_then_it_is_refused(film):
    whole = len(small_mp4(film, size=64))
    tight = small_mp4(film, size=64, max_kb=whole // 1000 - 20)
    assert len(tight) < whole
    with pytest.raises(VcworkError, match="does not fit into 1 kB"):
        small_mp4(film, max_kb=1)
    with pytest.raises(VcworkError, match="no frames"):
        small_mp4(film, 90)


@pytest.mark.parametrize(("most", "room", "shown", "each"), [(2, 99, 2, 2), (4, 2, 2, 1), (4, 1, 1, 1)])
def test_frames_of_spans_are_evenly_spaced_as_far_as_there_is_room(film, tmp_path, most, room, shown, each):
    corpus = Corpus(tmp_path, "toy", {"a": Video("a", film, None, 6.0, "test")})
    frames, notes = thumbnails(corpus, {3: ("a", 0, 2), 5: ("a", 4, 6)}, room, most, 32)
    assert list(frames) == [3, 5][:shown] and [len(some) for some in frames.values()] == [each] * shown
    assert ("Only the first 1 of 2 clips" in " ".join(notes)) == (shown < 2)
    if most == 2:
        for place, seconds in ((3, [0.5, 1.5]), (5, [4.5, 5.5])):
            assert np.array_equal(frames[place], frames_at(film, seconds, 32))


def test_missing_files_are_counted_and_named_without_their_paths(film, tmp_path):
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    files = {"a": film, "b": None, "c": tmp_path / "broken.mp4"}
    corpus = Corpus(tmp_path, "toy", {id: Video(id, file, None, 6.0, "test") for id, file in files.items()})
    frames, notes = thumbnails(corpus, {i: (id, 0, 6) for i, id in enumerate(files)}, 9)
    assert list(frames) == [0] and "No pictures of 2 of 3 videos" in notes[0] and str(tmp_path) not in notes[0]
    clip, notes = clip_of(corpus, corpus["c"])
    assert clip is None and "broken.mp4" in notes[0] and str(tmp_path) not in notes[0]
    corpus.meta["second_is"] = "keyframe"
    assert thumbnails(corpus, {0: ("a", 0, 6)}, 9) == ({}, []), "its times are not the film's"


def test_another_shape_becomes_a_small_square_clip(tmp_path):
    rng = np.random.default_rng(0)
    write_mp4(tmp_path / "wide.mp4", rng.integers(0, 255, (40, 128, 256, 3), dtype=np.uint8), 20)
    corpus = Corpus(tmp_path, "toy", {"w": Video("w", tmp_path / "wide.mp4", None, 2.0, "test")})
    clip, notes = clip_of(corpus, corpus["w"])
    assert clip[4:8] == b"ftyp" and "middle square: 128 pixels, 10 frames" in notes[0]
