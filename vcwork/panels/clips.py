"""What panels show of video files: a small copy of one, frames of many, and what is said and happens in it.

A file that is absent or does not decode is told, not raised.
Known gaps: a video over half an hour is not shown; for frames one is decoded from its start to the latest second asked
for.
"""

import itertools
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from vcwork.base.errors import VcworkError
from vcwork.data.copies import Look, shrunk
from vcwork.data.corpus import Corpus, Video
from vcwork.data.video import frames_at, probe
from vcwork.panels import plots
from vcwork.panels.base import Span
from vcwork.search.hits import Hit
from vcwork.search.library import middle_s

CLIPS = (  # up to so many seconds, the first that fits: side in pixels, x264's crf, frames a second, sound in kbit/s
    *((150, Look(side, crf, 10, 24)) for side, crf in ((256, 30), (192, 36), (160, 42))),
    *((450, Look(side, crf, 5, 16)) for side, crf in ((144, 36), (112, 44))),
    (1800, Look(96, 44, 2, 12)),
)


def clip_of(corpus: Corpus, video: Video, max_kb: int = 300) -> tuple[bytes | None, list[str]]:
    """A small mp4 that browsers play, whole and with its sound, or None; and what has to be said of it."""
    if video.video is None:
        return None, [f"No video: {corpus.missing_videos.get(video.id, 'this corpus has no video files')}."]
    try:
        info = probe(video.video)
        looks = [look for most_s, look in CLIPS if info.duration_s <= most_s]
        if not looks:
            return None, [f"No video: {info.duration_s / 60:.0f} minutes are too long to travel inside this panel."]
        with tempfile.TemporaryDirectory() as folder:
            target = Path(folder) / "clip.mp4"
            look = shrunk(video.video, target, looks, 1000 * max_kb)
            mp4 = target.read_bytes() if look else None
    except VcworkError as error:
        return None, [f"No video: {_named(error, video.video)}."]
    if look is None:
        return None, [f"No video: it does not fit into {max_kb} kB."]
    small = look.side < max(info.width, info.height) or look.fps < info.fps
    told = f"The clip is a small copy: at most {look.side} pixels, {look.fps} frames a second."
    return mp4, [told] if small else []


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
