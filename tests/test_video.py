"""Video: what is written can be read; odd, broken and rotated files; no sample off by a frame."""

import os

import av
import numpy as np
import pytest
from checks import refused

from vcwork.base.errors import VcworkError
from vcwork.data import video
from vcwork.data.film import first_frame
from vcwork.data.video import frames_at, iter_chunks, iter_seconds, probe, write_mp4


def _grey(level, shape=(48, 64)):
    return np.full((*shape, 3), level, np.uint8)


def _clip(path, levels, fps=8, **options):
    write_mp4(path, (_grey(level) for level in levels), fps, **options)
    return path


def _levels(seconds):
    return [round(float(frame.mean())) for second in seconds for frame in second]


def test_written_frames_come_back_in_order(tmp_path):
    levels = list(range(20, 220, 10))
    path = _clip(tmp_path / "a.mp4", levels)
    seconds = list(iter_seconds(path, 8, 32))
    assert [s.shape for s in seconds] == [(8, 32, 32, 3), (8, 32, 32, 3), (4, 32, 32, 3)]
    assert seconds[0].dtype == np.uint8
    assert np.abs(np.array(_levels(seconds)) - levels).max() <= 3
    info = probe(path)
    assert (info.duration_s, info.fps, info.width, info.height) == (2.5, 8.0, 64, 48)


def test_sampling_takes_the_frame_on_display(tmp_path):
    levels = list(range(20, 180, 10))  # 16 frames, 2 s
    path = _clip(tmp_path / "a.mp4", levels)
    at_half = _levels(iter_seconds(path, 1, 32))  # 0.5 s and 1.5 s: frames 4 and 12
    assert np.allclose(at_half, [levels[4], levels[12]], atol=3)
    held = _levels(iter_seconds(path, 16, 32))  # each frame twice
    assert np.allclose(held, np.repeat(levels, 2), atol=3)


@pytest.mark.parametrize(("frames", "seconds"), [(1, 1), (3, 1), (8, 1), (11, 1), (12, 2), (16, 2)])
@pytest.mark.parametrize("fps", [1, 2, 8, 10])
def test_seconds_are_the_rounded_duration_at_any_rate(tmp_path, frames, seconds, fps):
    path = _clip(tmp_path / "a.mp4", [100] * frames)
    got = list(iter_seconds(path, fps, 16))
    assert len(got) == seconds and all(1 <= len(second) <= fps for second in got)


def test_centre_square(tmp_path):
    frame = _grey(0)
    frame[:, 8:56] = 200  # the middle square of 48 x 64
    write_mp4(tmp_path / "a.mp4", [frame] * 8, 8)
    second = next(iter_seconds(tmp_path / "a.mp4", 1, 48))
    assert second[0, :, 4:-4].min() > 150


def test_thumbnails_of_the_seconds_asked_for(tmp_path):
    path = _clip(tmp_path / "a.mp4", np.repeat([20, 60, 100, 140], 8))
    frames = frames_at(path, [2.9, 0, 99, 2], 16)
    assert [f.shape for f in frames] == [(16, 16, 3)] * 4
    assert np.allclose([f.mean() for f in frames], [100, 20, 140, 100], atol=3)
    assert frames_at(path, []) == []


def test_sought_pictures_are_those_of_reading_on(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    base = rng.integers(0, 255, (48, 64, 3), dtype=np.uint8)
    write_mp4(tmp_path / "a.mp4", (np.roll(base, i, 1) for i in range(300)), 10, preset="medium")  # with B-frames
    asked = [[9.3], [28.9, 0], [23.5, 12.1], [27], [29], [99, 1]]
    sought = [frames_at(tmp_path / "a.mp4", at, 32) for at in asked]
    monkeypatch.setattr(video, "SEEK_S", 1e9)
    read = [frames_at(tmp_path / "a.mp4", at, 32) for at in asked]
    for mine, theirs in zip(sought, read, strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_same_frames_same_bytes_and_either_coder_the_same_pictures(tmp_path):
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 255, (48, 64, 3), dtype=np.uint8)[:, ::-1] for _ in range(20)]
    for name in ("a", "b", "c"):
        assert write_mp4(tmp_path / f"{name}.mp4", iter(frames), 8, cabac=name != "c") == 20
    a, b, c = ((tmp_path / f"{name}.mp4").read_bytes() for name in ("a", "b", "c"))
    assert a == b and len(c) > len(a)
    pictures = [np.concatenate(list(iter_seconds(tmp_path / f"{name}.mp4", 8, None))) for name in ("a", "c")]
    np.testing.assert_array_equal(*pictures)


def test_a_browser_can_play_it(tmp_path):
    path = _clip(tmp_path / "a.mp4", [10, 20] * 20)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.pix_fmt) == ("h264", "yuv420p")
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")  # playable before it is loaded


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        ([], "no frames to write"),
        ([_grey(1, (48, 63))], "H and W even, got uint8"),
        ([_grey(1).astype(np.float32)], "got float32"),
        ([_grey(1), _grey(1, (32, 32))], r"expected every frame \(48, 64, 3\), got \(32, 32, 3\) at frame 1"),
    ],
)
def test_wrong_frames_leave_nothing_behind(tmp_path, frames, message):
    refused(message, write_mp4, tmp_path / "a.mp4", frames, 8)
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_write_keeps_the_old_file(tmp_path):
    path = _clip(tmp_path / "a.mp4", [50] * 8)
    before = path.read_bytes()

    def broken():
        yield _grey(1)
        raise RuntimeError("drawing failed")

    with pytest.raises(RuntimeError):
        write_mp4(path, broken(), 8)
    assert path.read_bytes() == before and len(list(tmp_path.iterdir())) == 1


def test_full_disk_while_writing(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    refused(r"a\.mp4: could not be written \(No space left on device\)", _clip, tmp_path / "a.mp4", [1] * 8)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("reader", [probe, lambda path: list(iter_seconds(path, 2, 32))])
def test_unreadable_files_are_named(tmp_path, reader):
    (tmp_path / "zero.mp4").write_bytes(b"")
    (tmp_path / "text.mp4").write_text("not a video")
    for name, message in [("none.mp4", "no such"), ("zero.mp4", "could not be dec"), ("text.mp4", "could not be dec")]:
        with pytest.raises(VcworkError, match=message) as caught:
            reader(tmp_path / name)
        assert str(tmp_path / name) in str(caught.value)


def test_a_file_that_goes_away_while_it_is_looked_at_is_named(tmp_path, monkeypatch):
    _clip(path := tmp_path / "a.mp4", [100] * 8)
    monkeypatch.setattr(video, "first_frame", lambda *of: path.unlink() or first_frame(*of))
    refused(r"a\.mp4: could not be read \(No such file", probe, path)


def test_sound_alone_is_not_a_video(tmp_path):
    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    refused(r"sound\.mp4: holds no video stream", probe, path)


@pytest.mark.parametrize("reader", [lambda path: iter_seconds(path, 8, 32), lambda path: iter_chunks(path, 8, 32, 8)])
def test_a_truncated_download_is_not_a_shorter_video(tmp_path, reader):
    rng = np.random.default_rng(0)
    path = tmp_path / "a.mp4"
    write_mp4(path, (rng.integers(0, 255, (48, 64, 3), dtype=np.uint8) for _ in range(80)), 8)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    refused(r"a\.mp4: ", list, reader(path))


@pytest.mark.parametrize(("fps", "size"), [(0, 32), (2.5, 32), (8, 0)])
def test_senseless_requests_are_refused(tmp_path, fps, size):
    with pytest.raises(VcworkError, match="expected a whole number of frames a second"):
        next(iter_seconds(_clip(tmp_path / "a.mp4", [1] * 8), fps, size))


def test_files_are_closed_even_when_reading_stops_early(tmp_path):
    path = _clip(tmp_path / "a.mp4", [1] * 40)
    handles = "/proc/self/fd"
    if not os.path.isdir(handles):
        pytest.skip("no /proc on this system to count open files")
    before = len(os.listdir(handles))
    for _ in range(5):
        seconds = iter_seconds(path, 8, 32)
        next(seconds)
        seconds.close()
        probe(path)
    assert len(os.listdir(handles)) == before


def test_real_clips_have_one_array_a_second(real):
    expected = {"01_dog.mp4": 10, "nasa_13013.mp4": 13, "flipping_a_pancake.mkv": 10, "v_GGSY1Qvo990.mp4": 18}
    for name, seconds in expected.items():
        path = real / "clips" / name
        assert len(list(iter_seconds(path, 2, 32))) == seconds == round(probe(path).duration_s)


def test_real_odd_files(real):
    odd = real / "clips" / "odd"
    refused(r"corrupted\.mp4: could not be decoded", list, iter_seconds(odd / "corrupted.mp4", 2, 32))
    assert [s.shape for s in iter_seconds(odd / "unordered.mov", 32, 32)] == [(4, 32, 32, 3)]
    assert (probe(odd / "video_90.mov").width, probe(odd / "video_90.mov").height) == (320, 568)


def test_rotation_is_honoured(real):
    path = real / "clips" / "odd" / "video_90.mov"
    with av.open(str(path)) as container:
        stored = next(container.decode(video=0)).to_ndarray(format="rgb24")  # (320, 568, 3), lying on its left side
    upright = np.rot90(stored[:, 124:444], -1)
    shown = next(iter_seconds(path, 30, 320))[0]
    assert np.abs(shown.astype(int) - upright).mean() < 2


def test_a_frame_of_another_shape_fills_the_first_ones_width():
    """A width of 154 times 320 / 154 is 319.99…, which left a black column."""
    convert = video.Converter(None)
    convert(av.VideoFrame.from_ndarray(np.full((180, 320, 3), 255, np.uint8)))
    fitted = convert(av.VideoFrame.from_ndarray(np.full((80, 154, 3), 255, np.uint8)))
    assert (fitted[90] > 250).all() and fitted.shape == (180, 320, 3)
