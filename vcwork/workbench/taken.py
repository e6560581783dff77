"""A list of hits taken away: CSV for spreadsheets, EDL for editing programs, WebVTT for players: `save_hits`.

`vcwork/panels/taken.js` writes the same three texts in a page, without a server; a test compares both.
CSV: UTF-8 with a mark, as spreadsheets want it; a text that a spreadsheet would take for a formula gets an apostrophe
before it. EDL: CMX3600, one event a hit, cut one after the other; its one frame rate stands in the title. WebVTT: times
of one video, so several videos make several files.
Known gaps: an EDL has one frame rate, that of its first video, and counts 29.97 without drop frames; CMX3600 has room
for 999 events, and what comes after is counted in the last one's comment.
"""

import contextlib
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vcwork.base.errors import VcworkError
from vcwork.base.files import atomic_write
from vcwork.data.video import probe
from vcwork.workbench.own_folder import plain_name

SUFFIXES = (".csv", ".edl", ".vtt")
MOST_EVENTS = 999  # CMX3600 numbers events with three digits
FPS = 25.0  # of an EDL where no video says its own
# what spreadsheets take for the beginning of a formula, some of them also behind other spaces and in letters' width
_FORMULA = re.compile("(?:[ \n\v\f\u00a0\u200b\ufeff]*[=+\\-@\uff1d\uff0b\uff0d\uff20\t\r]|\\|)")
_SPACE = re.compile(r"[\0-\x20\x7f\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+")  # and control signs


@dataclass(frozen=True)
class Taken:
    """A hit as it leaves: `query` it answers, `video` an id, `file` its file's name, `fps` 0 where nobody knows.

    evidence: in words, such as "said and shown". text: what is said there, "" for nothing.
    """

    query: str
    video: str
    start_s: float
    end_s: float
    score: float
    evidence: str = ""
    text: str = ""
    file: str = ""
    fps: float = 0.0


def taken(own: Any, query: str, hits: Sequence[Any]) -> list[Taken]:
    """Hits of `vcwork.search.fused` for a query of an `Own`; one without times is its whole video."""
    films = {}
    for video in dict.fromkeys(hit.video for hit in hits):
        file = own.corpus[video].video
        with contextlib.suppress(VcworkError):  # a file that is gone since: nobody knows its frames
            films[video] = (file.name if file else "", probe(file).fps if file else 0.0)
    made = []
    for hit in hits:
        times = (0.0, float(own.store.lengths[hit.video])) if hit.start_s is None else (hit.start_s, hit.end_s)
        about = (hit.score, " and ".join(hit.evidence), hit.text, *films.get(hit.video, ("", 0.0)))
        made.append(Taken(query, hit.video, *times, *about))
    return made


def check_target(path: Path) -> None:
    """VcworkError where no list can be written under this name, or something has it."""
    if path.suffix.lower() not in SUFFIXES:
        raise VcworkError(f"{path}: expected a file ending in {', '.join(SUFFIXES)}, got {path.suffix!r}")
    if path.exists():
        raise VcworkError(f"{path}: exists already; choose another name")


def save_hits(path: str | Path, hits: Sequence[Taken]) -> list[Path]:
    """Write the hits as the file's ending says; the files written: several where WebVTT is asked of several videos.

    These are named after the video, `list.VIDEO.vtt`. VcworkError for another ending, a file that is there, or where
    nothing can be written.
    """
    path, kind = Path(path), Path(path).suffix.lower()
    check_target(path)
    videos = list(dict.fromkeys(hit.video for hit in hits))
    if kind != ".vtt" or len(videos) <= 1:
        texts = {path: {".csv": as_csv, ".edl": as_edl, ".vtt": as_vtt}[kind](hits)}
    else:
        named = {path.with_name(f"{path.stem}.{plain_name(video)}{path.suffix}"): video for video in videos}
        texts = {file: as_vtt([hit for hit in hits if hit.video == video]) for file, video in named.items()}
    for file in texts:
        check_target(file)
    try:
        for file, text in texts.items():
            with atomic_write(file, "wb") as out:
                out.write(text.encode("utf-8", "replace"))  # a query may hold a byte that is no letter
    except OSError as error:
        raise VcworkError(f"{file}: could not be written ({error.strerror or error})") from error
    return list(texts)


def as_csv(hits: Sequence[Taken]) -> str:
    """A row a hit, under names, as RFC 4180 has it."""
    rows = [["rank", "query", "video", "file", "start", "end", "start_s", "end_s", "score", "evidence", "text"]]
    for rank, hit in enumerate(hits, 1):
        times = [clock(hit.start_s), clock(hit.end_s), fixed(hit.start_s, 3), fixed(hit.end_s, 3)]
        texts = [_cell(text) for text in (hit.query, hit.video, hit.file)]
        rows.append([str(rank), *texts, *times, fixed(hit.score, 4), _cell(hit.evidence), _cell(hit.text)])
    return "\ufeff" + "".join(",".join(row) + "\r\n" for row in rows)


def as_edl(hits: Sequence[Taken]) -> str:
    """CMX3600, non-drop: event after event, each named by a comment; films of other frame rates are cut by time."""
    fps = next((hit.fps for hit in hits if hit.fps > 0), FPS)
    queries = ", ".join(dict.fromkeys(_line(hit.query) for hit in hits))
    lines = [f"TITLE: {queries[:60] or 'hits'} ({fixed(fps, 3)} frames a second)", "FCM: NON-DROP FRAME"]
    at = 0  # frame of the list that is being put together
    for number, hit in enumerate(hits[:MOST_EVENTS], 1):
        start = math.floor(hit.start_s * fps + 0.5)
        end = max(start + 1, math.floor(hit.end_s * fps + 0.5))
        codes = [timecode(frame, fps) for frame in (start, end, at, at + end - start)]
        at += end - start
        lines += ["", f"{number:03d}  AX       B     C        {' '.join(codes)}"]
        lines += [f"* FROM CLIP NAME: {_line(hit.file or hit.video)}"]
        lines += [f"* COMMENT: {_line(': '.join(filter(None, [hit.evidence, hit.text])))}"]
    if len(hits) > MOST_EVENTS:
        lines.append(f"* COMMENT: {len(hits) - MOST_EVENTS} more hits have no room in this format")
    return "\n".join(lines) + "\n"


def as_vtt(hits: Sequence[Taken]) -> str:
    """A cue a hit, in order of time; the hits are of one video."""
    queries = ", ".join(dict.fromkeys(_line(hit.query) for hit in hits))
    parts = ["WEBVTT", f"NOTE {queries.replace('-->', '→')}"]
    for hit in sorted(hits, key=lambda hit: (hit.start_s, hit.end_s)):
        text = _line(hit.text or hit.evidence or hit.query)
        for sign, name in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
            text = text.replace(sign, name)
        parts.append(f"{clock(hit.start_s)} --> {clock(max(hit.end_s, hit.start_s + 0.001))}\n{text}")
    return "\n\n".join(parts) + "\n"


def clock(seconds: float) -> str:
    """`01:02:03.450`, to the millisecond."""
    second, ms = divmod(math.floor(seconds * 1000 + 0.5), 1000)
    return f"{second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}.{ms:03d}"


def timecode(frame: int, fps: float) -> str:
    """`01:02:03:12` of a frame's number, counted without drops."""
    base = max(1, math.floor(fps + 0.5))
    second, left = divmod(frame, base)
    return f"{second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}:{left:02d}"


def fixed(value: float, digits: int) -> str:
    """The value with so many digits after the point, halves upwards: the one rule that JavaScript has, too."""
    whole = math.floor(abs(value) * 10**digits + 0.5)
    left = f"{whole // 10**digits}.{whole % 10**digits:0{digits}d}"
    return f"-{left}" if value < 0 and whole else left


def _line(text: str) -> str:
    """On one line, without signs that steer a terminal or a parser."""
    return _SPACE.sub(" ", text).strip(" ")


def _cell(text: str) -> str:
    text = f"'{text}" if _FORMULA.match(text) else text
    return '"' + text.replace('"', '""') + '"' if any(sign in text for sign in '",\n\r') else text
