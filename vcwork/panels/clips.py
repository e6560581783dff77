"""What panels show of video files: a small copy of one, frames of many, and what is said and happens in it.

A file that is absent or does not decode is told, not raised.
Known gaps: a clip is re-encoded without sound, its middle square only; over half an hour it is not shown; for frames a
video is decoded from its start to the latest second asked for.
"""

import itertools
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from vcwork.base.errors import VcworkError
from vcwork.data.corpus import Corpus, Video
from vcwork.data.video import frames_at, iter_seconds, probe, write_mp4
from vcwork.panels import plots
from vcwork.panels.base import Span
from vcwork.search.index import Hit
from vcwork.search.library import middle_s

CLIPS = ((150, 160, 10), (450, 112, 5), (1800, 96, 2))  # up to so many seconds: side in pixels, frames a second
_QUALITIES = (32, 36, 40, 44)  # x264's crf, each about a third smaller than the one before


def clip_of(corpus: Corpus, video: Video, max_kb: int = 300) -> tuple[bytes | None, list[str]]:
    """A small H.264 copy that browsers play, whatever codec the file has, or None; and what has to be said of it."""
    if video.video is None:
        return None, [f"No video: {corpus.missing_videos.get(video.id, 'this corpus has no video files')}."]
    try:
        info = probe(video.video)
        fitting = [(side, fps) for most_s, side, fps in CLIPS if info.duration_s <= most_s]
        if not fitting:
            return None, [f"No video: {info.duration_s / 60:.0f} minutes are too long to travel inside this panel."]
        side = min(fitting[0][0], info.width // 2 * 2, info.height // 2 * 2)
        mp4 = small_mp4(video.video, 0, None, side, fitting[0][1], max_kb)
    except VcworkError as error:
        return None, [f"No video: {_named(error, video.video)}."]
    square = "" if info.width == info.height else ", its middle square"
    small = side < min(info.width, info.height) or fitting[0][1] < info.fps
    told = f"The clip is a small copy{square}: {side} pixels, {fitting[0][1]} frames a second, without sound."
    return mp4, [told] if small or square else []


def small_mp4(
    path: str | Path, start_s: int = 0, end_s: int | None = None, size: int = 112, fps: int = 10, max_kb: int = 200
) -> bytes:
    """Seconds [start_s, end_s) of a video as a small square mp4 (H.264), without sound, in the best quality that fits.

    VcworkError when there is nothing between these seconds, or when it does not fit into `max_kb` at all.
    """
    seconds = list(itertools.islice(iter_seconds(path, fps, size), start_s, end_s))  # decoded once, up to 120 MB
    with tempfile.TemporaryDirectory() as folder:
        for crf in _QUALITIES:
            target = Path(folder) / f"{crf}.mp4"
            write_mp4(target, (frame for frames in seconds for frame in frames), fps, crf, "medium")
            if target.stat().st_size <= 1000 * max_kb:
                return target.read_bytes()
    raise VcworkError(f"{path}: does not fit into {max_kb} kB; choose fewer seconds or a smaller size")


def thumbnails(
    corpus: Corpus, spans: Mapping[int, tuple[str, float, float]], room: int, most: int = 4, size: int = 64
) -> tuple[dict[int, list[np.ndarray]], list[str]]:
    """({place: frames (size, size, 3) uint8}, what could not be shown) of spans (video, start_s, end_s), evenly spaced.

    As many of each as `room` in all allows, one to `most`; where that is not enough, of the first spans only. Videos
    without a file, or with one that does not decode, are counted in a note with the first reason.
    """
    if corpus.meta.get("second_is", "second") != "second":
        return {}, []  # its times count something else than a film's seconds
    each = max(1, min(most, room // max(1, len(spans))))
    kept = dict(itertools.islice(spans.items(), room // each))
    shares = (np.arange(each) + 0.5) / each
    at_s: dict[str, list[float]] = {}
    for video, start_s, end_s in kept.values():
        at_s.setdefault(video, []).extend((start_s + shares * (end_s - start_s)).tolist())
    frames, failed = {}, []
    for id, seconds in at_s.items():
        file = corpus[id].video
        try:
            if file is None:
                raise VcworkError(f"{id}: {corpus.missing_videos.get(id, 'this corpus has no video file')}")
            frames[id] = iter(frames_at(file, seconds, size))
        except VcworkError as error:
            failed.append(_named(error, file))
    notes = [f"No pictures of {len(failed)} of {len(at_s)} videos ({failed[0]})."] if failed else []
    if len(kept) < len(spans):
        notes.append(f"Only the first {len(kept)} of {len(spans)} clips have a picture here.")
    return {i: [next(frames[span[0]]) for _ in shares] for i, span in kept.items() if span[0] in frames}, notes


def _named(error: VcworkError, file: Path | None) -> str:
    """Its words, with the file's name instead of whole paths, which are nobody's business."""
    return str(error).replace(str(file), file.name) if file else str(error)


def truth_of(corpus: Corpus, video: Video) -> list[Span]:
    """What truly happens in a video: (start_s, end_s, the step's text)."""
    return [(s.start_s, s.end_s, corpus.steps[s.step]) for s in video.segments]


def show_hits(corpus: Corpus, hits: Sequence[Hit], title: str) -> None:
    """The middle frame of each hit in a row, with its video and second; nothing where the corpus has no video files."""
    paths = [corpus[hit.metadata["video"]].video for hit in hits]
    if not all(paths) or not hits:
        return
    frames = [frames_at(path, [middle_s(hit.metadata)], 96)[0] for path, hit in zip(paths, hits, strict=True)]
    notes = [f"{hit.metadata['video']}, {hit.metadata['start_s']} s" for hit in hits]
    _, ax = plots.figure(1.7 * len(hits), 2.2)
    plots.frame_strip(ax, frames, notes, title=title)
    plt.show()
