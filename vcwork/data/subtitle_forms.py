"""Forms in which words with times are written: each reader gives the cues of a text, as they stand in it.

Read: WebVTT and SubRip (told apart by what stands in the file, not by its name), sbv, ass and ssa, lrc, YouTube's json3
and srv, TTML, csv and tsv, the JSON of Whisper, whisper.cpp and youtube-transcript-api, and plain lines without times.
WebVTT and SubRip are split here, because webvtt-py (which did it before) passes over all that stands between a blank
line and the next times, and players do not. Our choices: text after a blank line belongs to the cue before it; a number
alone before times is the cue's number; only tags that one of the formats has are taken for tags.
Known gaps: positions, styles and speakers are lost; times counted in frames (MicroDVD's .sub) are not read.
"""

import csv
import html
import io
import itertools
import math
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from vcwork.base.errors import VcworkError
from vcwork.base.files import DEPTH, parse_json


@dataclass(frozen=True, slots=True)
class Cue:
    """What a file says, unchecked: `where` names file and line, times are NaN where they could not be read."""

    where: str
    start_s: float
    end_s: float
    text: object


# no form may look at a character once for each before it: files of strangers are long (`*+` never goes back)
_TIME = r"(-?)(?:(\d+):)?(\d{1,2}):(\d{1,2})(?:[.,:](\d{3,}|(?<!:)\d+))?"
_TIMING = re.compile(rf"\s*+(?:\[\s*+)?{_TIME}\s*-->\s*{_TIME}\s*\]?(?=\s|$)")
_SECONDS = re.compile(r"\s*(\d+(?:\.\d+)?)\s*-->\s*(\d+(?:\.\d+)?)\s*$")
_CLOCKS = re.compile(r"[\d:\s]+[.,]\d{3}\W{1,5}[\d:]+[.,]\d{3}\s*$")  # without the arrow
_ROUGH = r"\s*+\d{1,2}(?:\s?[:.,;]\s?\d{1,3}){2,3}\s*+"
_ALIKE = re.compile(rf"{_ROUGH}(?:[-=–—]{{1,3}}\s?>+|[→–—-]){_ROUGH}$")  # two clocks however written, and an arrow
_CLOCK = re.compile(r"\s*+\S*?\d:\d")
_SETTINGS = re.compile(r"(\s*+\w++\s*+:\s*+\S++)*+\s*")
_NUMBER = re.compile(r"\W*(\d{1,18})\W*")
_ASIDE = re.compile(r"(NOTE|STYLE|REGION)(\s|$)")
_MAP = re.compile(
    r"X-TIMESTAMP-MAP=.*?(?:LOCAL:(?P<early>[\d:.]+),)?MPEGTS:(?P<ticks>\d+)(?:,LOCAL:(?P<late>[\d:.]+))?"
)
_BRACES = re.compile(r"(\{[^}]*\})")
_MARKS = re.compile(r"\{(\\|[yYfFsScCP]:)")  # SubStation's and MicroDVD's; {words} are words
_BREAK = re.compile(r"\\[Nh]|<br\s*/?>", re.IGNORECASE)
_TAG = re.compile(
    r"</?(?:[ibusc]|em|strong|ruby|rt|rp)(?:\.[\w.-]+)?\s*/?>|<\d[\d:.]*>|</?(?:font|span|p|v|lang)>"
    r"|<(?:font|span|p)\s+[\w-]+\s*=[^<>]*>",
    re.IGNORECASE,
)
_VOICE = re.compile(r"<(?:v|lang)(?:\.[\w.-]+)?\s[^<>]*>|<c\s[^<>]*>")  # of WebVTT alone: "if x <v and w> y" is text
_ENTITY = re.compile(r"&(?:#\d{1,9}|#x[\da-f]{1,8}|\w{1,40});", re.IGNORECASE)  # "stop&notify" has no semicolon


def plain(text: str, voices: bool = False, braces: bool = True) -> str:
    """A cue's text without its markup; braces: those without a mark in them are words."""
    text = _BREAK.sub(" ", _undrawn(text, braces))
    return _TAG.sub("", _VOICE.sub("", text) if voices else text)


def _undrawn(text: str, braces: bool) -> str:
    """Without marks in braces, and without the drawings that stand from {\\p1} to {\\p0} or the end."""
    last = text.rfind("}") + 1  # no brace behind it is closed
    kept, drawing = [], False
    for number, part in enumerate(_BRACES.split(text[:last])):
        pens = re.findall(r"\\p(\d)", part) if number % 2 else []  # every other one is a brace
        if pens:
            drawing = pens[-1] != "0"
        elif not drawing and (number % 2 == 0 or (braces and not _MARKS.match(part))):
            kept.append(part)
    return "".join(kept) + text[last:] * (not drawing)


def unescaped(text: str) -> str:
    """`salt &amp; pepper` -> `salt & pepper`."""
    return _ENTITY.sub(lambda match: html.unescape(match[0]), text)


def clock_s(text: str) -> float:
    """Seconds of `1:02:03.5`, `02:03,5`, `1.5`, `1.5s` or `1500ms`; NaN where it is none of these."""
    text = text.strip()
    match = re.fullmatch(_TIME, text)
    if match:
        return _time_s(match.groups())
    unit = 0.001 if text.endswith("ms") else 1.0
    try:
        return float(text.removesuffix("ms").removesuffix("s").replace(",", ".")) * unit
    except ValueError:
        return math.nan


def _time_s(parts: tuple) -> float:
    sign, hours, minutes, seconds, fraction = parts
    if int(minutes) > 59 or int(seconds) > 59:
        return math.nan
    whole = float(hours or 0) * 3600 + int(minutes) * 60 + int(seconds) + float(f"0.{fraction or 0}")
    return -whole if sign else whole if whole < math.inf else math.nan


# ------------------------------------------------------------------------------------------------ WebVTT and SubRip


def subtitle_cues(path: Path, text: str) -> Iterator[Cue]:
    """Cues of WebVTT or SubRip. VcworkError where there is text and no line with times."""
    lines = text.split("\n")
    first = next((number for number, line in enumerate(lines) if line.strip()), None)
    if first is None:
        return
    head = re.match(r"WEBVTT(?:\s|$)", lines[first].strip(), re.IGNORECASE)
    web = bool(head) or path.suffix.lower() == ".vtt"
    lines, moves = (_without_asides(lines) if web else lines), _moves(lines)
    timings = [n for n, line in enumerate(lines) if _like_timing(line)]
    exact = bool(timings) and "." in lines[timings[0]].replace(",", ".")
    timings = [n for n in timings if not (exact and _told(lines[n], lines[n - 1]))]
    if not timings and not head and web:
        raise VcworkError(f"{path}, line {first + 1}: expected WEBVTT, got {lines[first][:40]!r}")
    if not timings and any(map(str.strip, lines)):
        raise VcworkError(f"{path}: no readable cue; expected lines like 00:00:01,000 --> 00:00:02,000")
    numbers = _Numbers(web)
    before = numbers.without(lines[: timings[0]], first=True) if timings else []
    if at := next((n for n, line in enumerate(before, 1) if line.strip()), 0):
        words = " ".join(before).strip()
        yield Cue(f"{path}, line {at}: {words[:40]!r} before any times", math.nan, math.nan, words)
    for at, end in itertools.pairwise([*timings, len(lines)]):
        start_s, end_s, rest = _timing(lines[at])
        body = lines[at + 1 : end] if end == len(lines) else numbers.without(lines[at + 1 : end])
        words = plain("\n".join([rest, *body]), web)
        yield Cue(f"{path}, line {at + 1}", start_s + moves[at], end_s + moves[at], words)


def _like_timing(line: str) -> bool:
    """True for a line of times, also where they are malformed."""
    before, *behind = line.split("-->")
    arrow = behind and ((len(before.split()) == 1 and _CLOCK.match(before)) or any(map(_CLOCK.match, behind)))
    return bool(arrow or _CLOCKS.match(line) or _ALIKE.match(line) or _SECONDS.match(line))


def _told(line: str, before: str) -> bool:
    """True for words of a cue that begin with a time of day, `12:30 --> 13:45 train`, in a file of exact times."""
    times = _TIMING.match(line)
    behind = before.strip() and not _NUMBER.fullmatch(before)
    return bool(times and behind and not times[5] and not times[10] and _timing(line)[2])


def _without_asides(lines: list[str]) -> list[str]:
    """The same lines of WebVTT, blank where a header, note, style or region stands.

    A header may stand anywhere (parts of a stream, one behind the other) and ends where cues begin; a note ends at a
    blank line or at times.
    """
    kept, aside, blank = [], "", True
    for line in lines:
        word = line.strip()
        if (blank or word == "WEBVTT") and re.match(r"WEBVTT(\s|$)", word, re.IGNORECASE):
            aside = "head"
        elif blank and _ASIDE.match(word):
            aside = "note"
        elif not word or (aside and (_TIMING.match(line) or (aside == "head" and _NUMBER.fullmatch(word)))):
            aside = ""
        kept.append("" if aside else line)
        blank = not word
    return kept


def _moves(lines: list[str]) -> list[float]:
    """By line: seconds to add to its times, because parts of a stream (HLS) tell their own zero; the first is kept."""
    moves, here, origin = [], 0.0, None
    for line in lines:
        match = _MAP.match(line)
        if match:
            zero = float(match["ticks"]) / 90_000 - clock_s(match["early"] or match["late"] or "0")
            origin = zero if origin is None else origin
            wrap = 2**33 / 90_000  # the counter starts again after 26.5 hours
            here = (zero - origin + wrap / 2) % wrap - wrap / 2
        moves.append(here)
    return moves


class _Numbers:
    """Takes the numbers (WebVTT: any name) of cues from the ends of the lines before their times."""

    def __init__(self, web: bool) -> None:
        self._web, self._last = web, None

    def without(self, lines: list[str], first: bool = False) -> list[str]:
        """Lines between two times (or before the first) without the next cue's number.

        A file whose first cue has none is not numbered: there a number is words, unless it stands as a number would.
        """
        filled = [n for n, line in enumerate(lines) if line.strip()]
        if not filled:
            return []
        at = filled[-1]
        number, apart = _NUMBER.fullmatch(lines[at]), at == 0 or not lines[at - 1].strip()
        close = at == len(lines) - 1
        if number and (
            (apart and at > 0 and (close or self._last is None)) or first or int(number[1]) - 1 == self._last
        ):
            self._last = int(number[1])
            return lines[:at]
        named = self._web and close and apart and at > 0
        return lines[:at] if named else lines


def _timing(line: str) -> tuple[float, float, str]:
    """Start, end and words that stand on the line itself; NaN where its times are malformed."""
    match = _TIMING.match(line)
    if match:
        rest = line[match.end() :]
        times = match.groups()
        return _time_s(times[:5]), _time_s(times[5:]), "" if _SETTINGS.fullmatch(rest) else rest
    plain_seconds = _SECONDS.match(line)
    if plain_seconds:
        return float(plain_seconds[1]), float(plain_seconds[2]), ""
    return math.nan, math.nan, ""


# ------------------------------------------------------------------------------------------------- other forms of text


def sbv_cues(path: Path, text: str) -> Iterator[Cue]:
    """YouTube's sbv: `0:00:01.000,0:00:03.000`, then text."""
    space = r"[^\S\n]*"
    times = rf"(?m)^{space}({_TIME}){space},{space}({_TIME}){space}$"
    return subtitle_cues(path, re.sub(times, r"\1 --> \7", text))


def ass_cues(path: Path, text: str) -> Iterator[Cue]:
    """SubStation Alpha's dialogue lines; comments are not shown, so not read."""
    columns = ["layer", "start", "end", "style", "name", "marginl", "marginr", "marginv", "effect", "text"]
    events, head = True, False
    for number, line in enumerate(text.split("\n"), 1):
        key, _, value = line.partition(":")
        key = key.strip().lower()
        if key.startswith("["):
            events, head = key.startswith("[events]"), True
        elif events and key == "format":
            columns = [name.strip().lower() for name in value.split(",")]
        elif events and key == "dialogue":
            row = dict(zip(columns, value.split(",", len(columns) - 1), strict=False))
            times = (clock_s(row.get(name, "")) for name in ("start", "end"))
            words = plain(re.sub(r"\\n", " ", row.get("text", "")), braces=False)  # those without marks are comments
            yield Cue(f"{path}, line {number}", *times, words)
        elif not head and key and key[0] not in ";!" and key != "comment":
            yield Cue(f"{path}, line {number}: {line[:40]!r} outside [Events]", math.nan, math.nan, line)


def lrc_cues(path: Path, text: str) -> Iterator[Cue]:
    """Lyrics: `[01:02.30]words`, shown until the next ones (the last for 5 s, our choice).

    `[offset:+500]` shows all of them half a second earlier.
    """
    shift = re.search(r"(?mi)^[^\S\n]*\[offset: *([+-]?\d{1,9}) *\]", text)
    earlier_s = int(shift[1]) / 1000 if shift else 0.0
    found = []
    for number, line in enumerate(text.split("\n"), 1):
        stamps = re.match(r"(\s*\[\d+:\d+(?:[.:]\d+)?\])+", line)
        if stamps:
            words = re.sub(r"<\d+:\d+(?:\.\d+)?>", "", line[stamps.end() :])
            found += [(clock_s(t) - earlier_s, number, words) for t in re.findall(r"\[([\d:.]+)\]", stamps[0])]
        elif line.strip() and not re.match(r"\s*\[[a-z#]+:", line, re.IGNORECASE):
            yield Cue(f"{path}, line {number}: {line[:40]!r} without a time", math.nan, math.nan, line)
    found.sort(key=lambda entry: entry[0])
    ends = [start_s for start_s, _, _ in found[1:]] + [start_s + 5.0 for start_s, _, _ in found[-1:]]
    for (start_s, number, words), end_s in zip(found, ends, strict=True):
        yield Cue(f"{path}, line {number}", max(start_s, 0.0), max(end_s, 0.0), words)


def csv_cues(path: Path, text: str) -> Iterator[Cue]:
    """Rows of start, end and text, in any order, by comma, semicolon, tab or |; `sep=;` may stand before them.

    Times in seconds or as a clock; all whole numbers and steps of 100 and more, as Whisper's tsv: milliseconds. Cells
    beyond a last column `text` belong to it (it had commas and no quotes).
    """
    sep = re.match(r'sep=([^\w" \n])\n', text)
    body = text[sep.end() :] if sep else text
    skipped, head = bool(sep), next(iter(body.split("\n", 1)), "")
    mark = sep[1] if sep else max(",;\t|", key=head.count)
    lines = io.StringIO(body).readlines()
    unquoted = mark == "\t" and len({line.count(mark) for line in lines if line.strip()}) == 1  # a row is a line there
    quoting = csv.QUOTE_NONE if unquoted else csv.QUOTE_MINIMAL

    def rows() -> Iterator[tuple[int, list[str]]]:
        reader, done = csv.reader(lines, delimiter=mark, skipinitialspace=True, quoting=quoting), 0
        try:
            for row in reader:
                if reader.line_num == len(lines) > done + 1 and sum(line.count('"') for line in lines[done:]) % 2:
                    raise csv.Error("a quote is opened and not closed")
                if row:
                    yield reader.line_num + skipped, row
                done = reader.line_num
        except csv.Error as error:
            raise VcworkError(f"{path}, line {done + 1 + skipped}: not readable as csv ({error})") from error

    names = [name.strip().lower() for name in next(rows(), (0, []))[1]]
    if text.strip() and not {"start", "end", "text"} <= set(names):
        raise VcworkError(f"{path}, line {1 + skipped}: expected columns start,end,text, got {head[:40]!r}")
    start, end, said = (names.index(name) if name in names else 0 for name in ("start", "end", "text"))
    times = ((row[start], row[end]) for _, row in itertools.islice(rows(), 1, None) if len(row) > max(start, end))
    unit = 0.001 if path.suffix.lower() == ".tsv" and _milliseconds(times) else 1.0
    for line, row in itertools.islice(rows(), 1, None):
        cells = dict(enumerate(row))
        words, surplus = cells.get(said, ""), len(row) > len(names)
        if surplus and said == len(names) - 1:
            words = f"{mark} ".join(row[said:])
        if unquoted and re.fullmatch(r'"(?:[^"]|"")*"', words):
            words = words[1:-1].replace('""', '"')
        broken = surplus and said != len(names) - 1
        times = [math.nan if broken else clock_s(cells.get(n, "")) * unit for n in (start, end)]
        yield Cue(f"{path}, line {line}", *times, words)


def _milliseconds(times: Iterable[tuple[str, str]]) -> bool:
    lengths = [seconds(b) - seconds(a) if a.isdecimal() and b.isdecimal() else -math.inf for a, b in times]
    return bool(lengths) and min(lengths) > -math.inf and sorted(lengths)[len(lengths) // 2] >= 100


def line_cues(path: Path, text: str) -> Iterator[Cue]:
    """A caption a line, for the whole video."""
    for number, line in enumerate(text.split("\n"), 1):
        yield Cue(f"{path}, line {number}", 0.0, math.inf, line)


# ------------------------------------------------------------------------------------------------------ JSON and XML


def json_cues(path: Path, text: str) -> Iterator[Cue]:
    """Whisper's segments, whisper.cpp's transcription, youtube-transcript-api's list, YouTube's events (json3)."""
    try:
        raw = parse_json(text) if text.strip() else []
    except ValueError as error:
        raise VcworkError(f"{path}: not readable as JSON ({error})") from error
    lists = [raw] if isinstance(raw, list) else []
    if isinstance(raw, dict):
        lists = [
            raw[key] for key in ("segments", "events", "transcription", "chunks") if isinstance(raw.get(key), list)
        ]
    entries = next((some for some in lists if some), [])
    if not lists or not all(isinstance(entry, dict) for entry in entries):
        raise VcworkError(
            f"{path}: expected a transcript: segments (Whisper), events (YouTube), or start, end and text"
        )
    for number, entry in enumerate(entries):
        if not ("tStartMs" in entry and "segs" not in entry):  # an event that opens a window says nothing
            yield Cue(f"{path}, entry {number}", *_entry({"text": entry} | entry))


def _entry(entry: dict) -> tuple[float, float, object]:
    """Start, end and words of one entry, whichever of the four."""
    if "segs" in entry:
        segs = entry["segs"] if isinstance(entry["segs"], list) else []
        words = "".join(str(s.get("utf8", "")) for s in segs if isinstance(s, dict))
        start_s = seconds(entry.get("tStartMs")) / 1000
        return start_s, start_s + seconds(entry.get("dDurationMs", 0)) / 1000, words
    if isinstance(entry.get("offsets"), dict):
        return *(seconds(entry["offsets"].get(key)) / 1000 for key in ("from", "to")), entry["text"]
    if isinstance(entry.get("timestamp"), list) and len(entry["timestamp"]) == 2:
        return *map(seconds, entry["timestamp"]), entry["text"]
    start_s = seconds(entry.get("start"))
    end_s = start_s + seconds(entry["duration"]) if "duration" in entry else seconds(entry.get("end"))
    return start_s, end_s, entry["text"]


def seconds(value: object) -> float:
    """A number, or NaN."""
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return math.nan


def xml_cues(path: Path, text: str) -> Iterator[Cue]:
    """TTML's paragraphs, and YouTube's srv forms. A file that declares entities is refused, not expanded."""
    if re.search(r"<!(DOCTYPE|ENTITY)", text):
        raise VcworkError(
            f"{path}: declares a document type, which subtitles do not need; expected TTML or YouTube's XML"
        )
    try:
        tree = io.StringIO(text if text.strip() else "<tt/>")
        root = ElementTree.parse(tree, ElementTree.XMLParser(target=_Shallow())).getroot()
    except (ElementTree.ParseError, RecursionError) as error:
        raise VcworkError(f"{path}: not readable as XML ({error})") from error
    found = list(_timed(root, _Frames.of(root.attrib), 0.0, math.nan))
    if not found and any(map(str.strip, _said_in(root))):
        raise VcworkError(f"{path}: no readable cue; expected TTML's p, or YouTube's p or text")
    for number, (element, start_s, end_s) in enumerate(found):
        words = plain(" ".join(_spoken(element)))
        if words.strip():
            yield Cue(f"{path}, {_kind(element)} {number}", start_s, end_s, words)


def _kind(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]


def _said_in(element: ElementTree.Element) -> Iterator[str]:
    """All text but a head's, which tells about the file."""
    yield element.text or ""
    for child in element:
        yield from () if _kind(child) == "head" else _said_in(child)
        yield child.tail or ""


def _timed(
    element: ElementTree.Element, frames: "_Frames", start_s: float, end_s: float
) -> Iterator[tuple[ElementTree.Element, float, float]]:
    """Paragraphs, or the spans of one that have times of their own, with start and end.

    TTML's times count from the start of what an element stands in, in a sequence from the end of the one before it;
    one without an end lasts as long as what it stands in. YouTube's t and d are milliseconds, start and dur seconds.
    """
    kind, given = _kind(element), element.attrib
    if "t" in given or "start" in given:
        (begin, length), unit = (("t", "d"), 0.001) if "t" in given else (("start", "dur"), 1.0)
        start_s = seconds(given[begin]) * unit
        end_s = start_s + seconds(given.get(length, 0)) * unit
    elif kind in ("body", "div", "p", "span"):
        zero, start_s = start_s, start_s + frames.seconds(given.get("begin", "0s"))
        ends = [zero + frames.seconds(given["end"])] if "end" in given else []
        ends += [start_s + frames.seconds(given["dur"])] if "dur" in given else []
        end_s = min(ends, default=end_s)
    spans = [child for child in element if _kind(child) == "span" and {"begin", "dur", "end"} & set(child.attrib)]
    if kind in ("p", "text", "span") and not (kind == "p" and spans):
        yield element, start_s, end_s
        return
    at = start_s
    for child in spans if kind == "p" else element:
        for found in _timed(child, frames, at, end_s):
            yield found
            at = found[2] if given.get("timeContainer") == "seq" else at


class _Shallow(ElementTree.TreeBuilder):
    """A tree of at most `DEPTH` levels: of what is nested deeper no more is read."""

    depth = 0

    def start(self, tag: str, attrs: dict[str, str]) -> ElementTree.Element:
        self.depth += 1
        if self.depth > DEPTH:
            raise RecursionError(f"elements nested more than {DEPTH} deep")
        return super().start(tag, attrs)

    def end(self, tag: str) -> ElementTree.Element:
        self.depth -= 1
        return super().end(tag)


def _spoken(element: ElementTree.Element) -> Iterator[str]:
    """Text of an element; words of neighbouring runs stay whole, a line break parts them."""
    run = element.text or ""
    for child in element:
        if child.tag.rpartition("}")[2] == "br":
            yield run
            run = child.tail or ""
        else:
            run += " ".join(_spoken(child)) + (child.tail or "")
    yield run


@dataclass(frozen=True)
class _Frames:
    """How many frames and ticks a second has, by the attributes of TTML's root."""

    per_s: float
    ticks: float

    @classmethod
    def of(cls, given: dict[str, str]) -> "_Frames":
        told = {key.rpartition("}")[2]: value.split() for key, value in given.items()}
        rate, tick = (seconds(*told.get(key, ["nan"])[:1]) for key in ("frameRate", "tickRate"))
        above, below = map(seconds, (*told.get("frameRateMultiplier", []), "1", "1")[:2])
        per_s = (30.0 if math.isnan(rate) else rate) * above / (below or math.nan)
        return cls(per_s or math.nan, per_s if math.isnan(tick) else tick or math.nan)

    def seconds(self, text: str) -> float:
        """TTML's times: clock, clock with frames, seconds, ticks and frames."""
        counted = re.fullmatch(r"([\d.]+)([tfhm])", text.strip())
        if counted:
            return seconds(counted[1]) * {"t": 1 / self.ticks, "f": 1 / self.per_s, "h": 3600.0, "m": 60.0}[counted[2]]
        clock = re.fullmatch(r"(\d+:\d\d:\d\d):(\d{1,2})", text.strip())
        return clock_s(clock[1]) + int(clock[2]) / self.per_s if clock else clock_s(text)


Reader = Callable[[Path, str], Iterable[Cue]]


def _unless_timed(reader: Reader) -> Reader:
    """Text with WebVTT's or SubRip's times in it is what it looks like, whatever its name."""
    return lambda path, text: (subtitle_cues if any(map(_TIMING.match, text.split("\n"))) else reader)(path, text)


READERS: dict[str, Reader] = {  # by suffix, in order of preference
    ".vtt": subtitle_cues, ".srt": subtitle_cues, ".ass": _unless_timed(ass_cues), ".ssa": _unless_timed(ass_cues),
    ".sbv": sbv_cues,
    ".ttml": xml_cues, ".dfxp": xml_cues, ".json3": json_cues, ".srv1": xml_cues, ".srv2": xml_cues, ".srv3": xml_cues,
    ".csv": csv_cues, ".tsv": csv_cues, ".lrc": _unless_timed(lrc_cues), ".json": json_cues,
    ".txt": _unless_timed(line_cues),
}  # fmt: skip
