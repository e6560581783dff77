"""Showing a video in a notebook: a small copy, embedded, so that the page needs neither the file nor a network.

A static strip of frames belongs beside it: an untrusted notebook and a printed page do not play.
"""

import base64
import html
import itertools
import tempfile
from pathlib import Path

from IPython.display import HTML

from vcwork.base.errors import VcworkError
from vcwork.data.video import iter_seconds, write_mp4

_QUALITIES = (32, 36, 40, 44)  # x264's crf, each about a third smaller than the one before


def small_mp4(
    path: str | Path, start_s: int = 0, end_s: int | None = None, size: int = 112, fps: int = 10, max_kb: int = 200
) -> bytes:
    """Seconds [start_s, end_s) of a video as a small square mp4 (H.264), without sound, in the best quality that fits.

    VcworkError when there is nothing between these seconds, or when it does not fit into `max_kb` at all.
    """
    with tempfile.TemporaryDirectory() as folder:
        for crf in _QUALITIES:
            seconds = itertools.islice(iter_seconds(path, fps, size), start_s, end_s)
            target = Path(folder) / f"{crf}.mp4"
            write_mp4(target, (frame for frames in seconds for frame in frames), fps, crf, "medium")
            if target.stat().st_size <= 1000 * max_kb:
                return target.read_bytes()
    raise VcworkError(f"{path}: does not fit into {max_kb} kB; choose fewer seconds or a smaller size")


def embed(mp4: bytes, width: int = 280, caption: str = "") -> HTML:
    """The video as an HTML element with controls."""
    data = base64.b64encode(mp4).decode()
    words = f"<figcaption>{html.escape(caption)}</figcaption>" if caption else ""
    source = f'<source type="video/mp4" src="data:video/mp4;base64,{data}">'
    return HTML(f'<figure><video width="{width}" controls loop muted playsinline>{source}</video>{words}</figure>')
