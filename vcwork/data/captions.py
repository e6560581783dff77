"""Timed captions: read subtitles and entries of HowTo100M's raw_caption.json, remove rolling repeats, write VTT.

`vcwork.data.subtitle_forms` finds the cues in a text, here they are checked. A bad cue is dropped and counted with its
line and the file goes on; only a file of which nothing can be read is an error. Cues come back sorted by time, so the
n-th cue is the n-th in time, not in the file.
Rolling captions show a line twice; de-duplication works on words, so no word is ever cut (the reference code's rule,
which does cut words, is `vcwork.data.howto100m.stores`).
Known gap: speaker names and cue positions are lost.
"""

import html
import itertools
import math
import re
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from vcwork.base.console import shown
from vcwork.base.errors import VcworkError, could_not
from vcwork.base.files import atomic_write
from vcwork.data.subtitle_forms import READERS, Cue, seconds, unescaped

CAPTION_SUFFIXES = tuple(READERS)  # in order of preference when a video has several
LARGEST = 1 << 26  # bytes of a file; a film's captions have less than a million
MAX_GAP_S = 3.0  # a repeat after a longer silence is speech, not display

_INVISIBLE = re.compile(r"[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\u200b\u200e\u200f\u202a-\u202e\u2060\ufeff]")
_HALF = re.compile("[\ud800-\udfff]")  # of a pair, as broken JSON escapes give: no file and no page can hold it
_MARKS = (("utf-8", b"\xef\xbb\xbf"), ("utf-32-le", b"\xff\xfe\0\0"), ("utf-32-be", b"\0\0\xfe\xff"),
          ("utf-16-le", b"\xff\xfe"), ("utf-16-be", b"\xfe\xff"))  # fmt: skip


@dataclass(frozen=True, slots=True)
class Caption:
    """One caption, times in seconds. Without times it holds for the whole video: start 0, end infinite."""

    start_s: float
    end_s: float
    text: str


@dataclass
class CaptionReport:
    """What reading changed: `dropped` says file, line and reason of each cue, `reordered` counts steps back in time.

    `clamped` counts captions cut at the video's end; only a corpus knows that end.
    """

    dropped: list[str] = field(default_factory=list)
    reordered: int = 0
    clamped: int = 0


def read_captions(path: str | Path, report: CaptionReport | None = None) -> list[Caption]:
    """Captions of a subtitle file, a csv (start,end,text) or a .txt file (one caption a line, for the whole video).

    The forms are those of `CAPTION_SUFFIXES`. Text is unescaped, on one line, never empty; captions are sorted by
    start. Cues with malformed times, or an end before the start, are dropped into `report` or, without one, told by a
    warning. An empty file gives an empty list. VcworkError: unknown suffix, missing file, text that is neither UTF-8
    nor UTF-16 or -32, no readable cue.
    """
    path = Path(path)
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise VcworkError(f"{path}: expected captions as {', '.join(READERS)}, got {path.suffix!r}")
    found = CaptionReport()
    captions, cues = _finish(reader(path, _read_text(path)), found)
    if cues and len(found.dropped) == cues:
        raise VcworkError(f"{path}: no readable cue among {cues}; {found.dropped[0]}")
    if len(captions) > 1 and not any(caption.end_s for caption in captions):
        raise VcworkError(f"{path}: expected times, got {len(captions)} cues that all begin and end at 0 s")
    _tell(path, found, report)
    return captions


def captions_of_entry(where: str, entry: object, report: CaptionReport) -> list[Caption]:
    """One video's entry of raw_caption.json, {start: [], end: [], text: []}, as `read_captions`.

    Bad cues go to `report`, named after `where`. VcworkError: an entry that is not three lists of one length.
    """
    columns = [entry.get(name) if isinstance(entry, dict) else None for name in ("start", "end", "text")]
    if not all(isinstance(column, list) and len(column) == len(columns[0]) for column in columns):
        raise VcworkError(f"{where}: expected start, end and text as three lists of one length")
    rows = enumerate(zip(*columns, strict=True))
    cues = (Cue(f"{where} cue {n}", seconds(a), seconds(b), text) for n, (a, b, text) in rows)
    return _finish(cues, report)[0]


def deduplicate(captions: Iterable[Caption]) -> list[Caption]:
    """Remove rolling repeats: the words a caption starts with that the ones before it ended with; see below."""
    return [caption for _, caption in deduplicate_indexed(captions)]


def deduplicate_indexed(captions: Iterable[Caption]) -> list[tuple[int, Caption]]:
    """`deduplicate`, each caption with the index of the one it came from.

    The longest run of words that ends what was said so far and starts the caption goes (case aside). A caption of which
    nothing is left is dropped, and the one before it lasts to its end. After `MAX_GAP_S` of silence a repeat is speech,
    not display, and stays. In 80 HowTo100M files 35.0 % of the words go, whether the gap is 1 s or unlimited.
    """
    kept: list[tuple[int, Caption]] = []
    for index, caption, fresh in _fresh_words(captions):
        if fresh:
            kept.append((index, Caption(caption.start_s, caption.end_s, " ".join(fresh))))
        else:
            before, last = kept[-1]
            kept[-1] = (before, Caption(last.start_s, max(last.end_s, caption.end_s), last.text))
    return kept


def repeated_word_share(captions: Iterable[Caption]) -> float:
    """Share of the words that `deduplicate` removes, in [0, 1]; 0 without words."""
    captions = list(captions)
    words = sum(len(caption.text.split()) for caption in captions)
    fresh = sum(len(fresh) for _, _, fresh in _fresh_words(captions))
    return 1 - fresh / words if words else 0.0


def write_vtt(path: str | Path, captions: Iterable[Caption]) -> None:
    """Write captions as WebVTT, times to the millisecond. Captions sorted by start read back as they were."""
    with atomic_write(path) as file:
        file.write("WEBVTT\n")
        for number, caption in enumerate(captions):
            if not (0 <= caption.start_s <= caption.end_s < math.inf) or not caption.text.strip():
                raise VcworkError(f"{path}: caption {number} needs text and 0 <= start <= end, got {caption}")
            text = html.escape(" ".join(caption.text.split()), quote=False)
            file.write(f"\n{clock(caption.start_s)} --> {clock(caption.end_s)}\n{text}\n")


def _fresh_words(captions: Iterable[Caption]) -> Iterator[tuple[int, Caption, list[str]]]:
    """(index, caption, its words that are no repeat), compared with all that was said so far."""
    said: list[str] = []
    end_s = 0.0
    for index, caption in enumerate(captions):
        words = caption.text.split()
        if not words:
            continue
        folded = [word.casefold() for word in words]
        if caption.start_s - end_s > MAX_GAP_S or math.isinf(caption.end_s):
            said = []
        longest = min(len(folded), len(said))
        repeated = next((n for n in range(longest, 0, -1) if said[-n:] == folded[:n]), 0)
        said = (said + folded[repeated:])[-200:]  # no caption is longer
        end_s = max(end_s, caption.end_s)
        yield index, caption, words[repeated:]


def _read_text(path: Path) -> str:
    """UTF-8, or UTF-16 or -32 with a mark or with the zeros of its digits; lines end in \\n."""
    with could_not(f"{path}: could not be read"):
        if path.stat().st_size > LARGEST:
            raise VcworkError(f"{path}: expected captions of at most {LARGEST:,} bytes, got {path.stat().st_size:,}")
        data = path.read_bytes()
    encoding, mark = next(((e, m) for e, m in _MARKS if data.startswith(m)), (_unmarked(data), b""))
    try:
        text = data[len(mark) :].decode(encoding).lstrip("\ufeff")
    except UnicodeDecodeError as error:
        offset = error.start + len(mark)
        line = data[:offset].count(b"\n") + 1
        came = f"got byte 0x{data[offset]:02x} at offset {offset}, line {line}"
        raise VcworkError(f"{path}: expected {encoding.upper()} text, {came}; save it as UTF-8") from error
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _unmarked(data: bytes) -> str:
    """Encoding of text without a mark: ASCII's letters (all times) leave every other byte of UTF-16 zero.

    In UTF-32 it is three of four. Zeros at both ends of four bytes are a broken file's.
    """
    head = data[:4096].rstrip(b"\0")
    zeros = [head[start::4].count(0) for start in range(4)]
    few, many = sorted((zeros[0], zeros[3]))
    if max(zeros[0] + zeros[2], zeros[1] + zeros[3]) * 8 < len(head) or few * 4 >= many:
        return "utf-8"
    order, inner = ("be", zeros[1]) if zeros[0] == many else ("le", zeros[2])
    return f"utf-{32 if inner * 8 > len(head) else 16}-{order}"


def _finish(cues: Iterable[Cue], found: CaptionReport) -> tuple[list[Caption], int]:
    """(checked, cleaned and sorted captions, number of cues), what is wrong to the report; no text is no error.

    No cue is kept: of a million small ones Python's collector would look at each again and again.
    """
    captions: list[Caption] = []
    count = 0
    for cue in cues:
        count += 1
        said = "" if cue.text is None or cue.text != cue.text else cue.text  # nothing, as JSON and pandas write it
        said = str(said) if isinstance(said, int | float) and not isinstance(said, bool) else said
        text = " ".join(_INVISIBLE.sub("", unescaped(said)).split()) if isinstance(said, str) else ""
        text = _HALF.sub("\ufffd", text)
        wrong = _what_is_wrong(cue) or ("" if isinstance(said, str) else f"expected text, got {str(said)[:40]}")
        if wrong:
            found.dropped.append(f"{cue.where}: {wrong}")
        elif text:
            captions.append(Caption(cue.start_s, cue.end_s, text))
    found.reordered += sum(b.start_s < a.start_s for a, b in itertools.pairwise(captions))
    captions.sort(key=lambda caption: caption.start_s)
    return captions, count


def _what_is_wrong(cue: Cue) -> str:
    if math.isnan(cue.start_s) or math.isnan(cue.end_s) or math.isinf(cue.start_s):
        return "malformed times"
    if cue.start_s < 0:
        return f"starts before 0, at {cue.start_s} s"
    return f"ends at {cue.end_s} s, before its start at {cue.start_s} s" if cue.end_s < cue.start_s else ""


def _tell(path: object, found: CaptionReport, report: CaptionReport | None) -> None:
    if report is not None:
        report.dropped += found.dropped
        report.reordered += found.reordered
    elif found.dropped:
        warnings.warn(shown(f"{path}: {len(found.dropped)} cues dropped; {found.dropped[0]}"), stacklevel=3)


def clock(time_s: float) -> str:
    """`01:02:03.450`, as WebVTT writes a time."""
    seconds, millis = divmod(round(time_s * 1000), 1000)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}.{millis:03d}"
