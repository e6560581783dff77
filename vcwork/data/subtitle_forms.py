"""Forms in which words with times are written: each reader gives the cues of a text, as they stand in it.

Read: WebVTT and SubRip (told apart by what stands in the file, not by its name), sbv, ass and ssa, lrc, YouTube's json3
and srv, TTML, csv and tsv, the JSON of Whisper, whisper.cpp and youtube-transcript-api, and plain lines without times.
WebVTT and SubRip are split here, because webvtt-py (which did it before) passes over all that stands between a blank
line and the next times, and players do not. Our choices: text after a blank line belongs to the cue before it; a number
before times is the cue's where the file's first cue has one, or where it stands alone directly before them; only tags
that one of the formats has are taken for tags. SubStation's breaks (\\N, \\n, \\h), which other forms keep of it, are
spaces there, too, but not in a path: C:\\New is one, a speaker's Q:\\NWhat is none. In lyrics, TTML and transcripts
what has no end lasts until something later starts, or 5 s. Words that no times can be given are a cue without times, so
counted.
Known gaps: positions, styles and speakers are lost; times counted in frames (MicroDVD's .sub) are not read.
"""

import bisect
import csv
import html
import io
import itertools
import math
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
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
_SECONDS = re.compile(r"\s*(\d+(?:\.\d+)?)\s*-->\s*(\d+(?:\.\d+)?)(?=\s|$)")
_SURE = re.compile(r"[\[.,]|:\d{3}")  # "12:30 --> 13:45 train" is text
_SETTINGS = re.compile(r"(\s*+\w++\s*+:\s*+\S++)*+\s*")
_LIKELY = re.compile(r"\d\s?[:.,;]|-->")  # what no line of times lacks
_ARROW = re.compile(r"[-–—=]{1,3}\s?>|→")  # malformed times: beside it a clock with fractions, or two whole ones
_FINE = re.compile(r"\W{0,3}\d+(?:\s?[:.]\s?\w+){1,2}\s?[.,;]\s?\w?\d\d")
_WHOLE = re.compile(r"\s*+\d+(?:\s?:\s?\d+){2,3}\s*$")
_CLOCKS = re.compile(r"[\d:\s]+[.,]\d{3}\W{1,5}[\d:]+[.,]\d{3}\s*$")  # or no arrow
_NUMBER = re.compile(r"\W*(\d{1,18})\W*")
_ASIDE = re.compile(r"(NOTE|STYLE|REGION)(\s|$)|X-TIMESTAMP-MAP=")
_MAP = re.compile(
    r"X-TIMESTAMP-MAP=.*?(?:LOCAL:(?P<early>[\d:.]+),)?MPEGTS:(?P<ticks>\d+)(?:,LOCAL:(?P<late>[\d:.]+))?"
)
_ALL = re.compile("")  # of SubStation: what stands in braces is never shown
_BRACES = re.compile(r"(\{[^}]*\})")
_MARKS = re.compile(r"\{(\\|[yYfFsScCP]:)")  # SubStation's and MicroDVD's; {words} are words
_BREAK = re.compile(  # or, in 1, a path: with a backslash that is no break, or on a disk of C to H and in small letters
    r"((?<!\w)[A-Za-z]:\\(?:(?![Nnh])|(?=[^\s<]{0,260}\\(?![Nnh]))|(?<=[C-Hc-h]:\\)(?=.[a-z]))[^\s<]*"
    r"|(?<!\S)\\\\\w[^\s<]*)|\\[Nnh]|(?i:<br\s*/?>)"
)
_TAG = re.compile(
    r"</?(?:[ibusc]|em|strong|ruby|rt|rp)(?:\.[\w.-]+)?\s*/?>|<\d[\d:.]*>|</?(?:font|span|p|v|lang)>"
    r"|<(?:font|span|p)\s+[\w-]+\s*=[^<>]*>",
    re.IGNORECASE,
)
_VOICE = re.compile(r"<(?:v|lang)(?:\.[\w.-]+)?\s[^<>]*>|<c\s[^<>]*>")  # of WebVTT alone: "if x <v and w> y" is text
_ENTITY = re.compile(r"&(?:#\d{1,9}|#x[\da-f]{1,8}|\w{1,40});", re.IGNORECASE)  # "stop&notify" has no semicolon


def plain(text: str, voices: bool = False) -> str:
    """A cue's text without its markup."""
    text = _BREAK.sub(lambda match: match[1] or " ", _undrawn(text))
    return _TAG.sub("", _VOICE.sub("", text) if voices else text)


def _undrawn(text: str, marks: re.Pattern = _MARKS) -> str:
    """Without these marks in braces, and without the drawings that stand from {\\p1} to {\\p0} or the end."""
    last = text.rfind("}") + 1  # no brace behind it is closed
    kept, drawing = [], False
    for number, part in enumerate(_BRACES.split(text[:last])):
        pens = re.findall(r"\\p(\d)", part) if number % 2 else []  # every other one is a brace
        if pens:
            drawing = pens[-1] != "0"
        elif not drawing and not (number % 2 and marks.match(part)):
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
    """Cues of WebVTT or SubRip (or sbv). VcworkError where there is text and no line with times."""
    lines = text.split("\n")
    first = next((number for number, line in enumerate(lines) if line.strip()), None)
    if first is None:
        return
    head = re.match(r"WEBVTT(?:\s|$)", lines[first].strip(), re.IGNORECASE)
    web = bool(head) or path.suffix.lower() == ".vtt"
    lines, moves = (_without_asides(lines) if web else lines), _moves(lines)
    times = _times(lines)
    if not times and not head and path.suffix.lower() == ".vtt":
        raise VcworkError(f"{path}, line {first + 1}: expected WEBVTT, got {lines[first][:40]!r}")
    numbers = _Numbers(web, path.suffix.lower() == ".sbv")
    before = numbers.without(lines[: next(iter(times))], first=True) if times else lines
    at, words = next(((n, line.strip()[:40]) for n, line in enumerate(before, 1) if line.strip()), (0, ""))
    if words and not times:
        form = "expected lines like 00:00:01,000 --> 00:00:02,000"
        raise VcworkError(f"{path}: no readable cue; {form}, got {words!r} at line {at}")
    if words:
        yield Cue(f"{path}, line {at}: {words!r} before any times", math.nan, math.nan, " ".join(before))
    for at, end in itertools.pairwise([*times, *[len(lines)] * bool(times)]):
        start_s, end_s, rest = times[at]
        body = lines[at + 1 : end] if end == len(lines) else numbers.without(lines[at + 1 : end])
        words = plain("\n".join([rest, *body]), web)
        yield Cue(f"{path}, line {at + 1}", start_s + moves[at], end_s + moves[at], words)


def _times(lines: list[str]) -> dict[int, tuple[float, float, str]]:
    """By index of each line of times what `_timing` gives."""
    likely = [n for n, line in enumerate(lines) if _LIKELY.search(line)]
    clocks = [match for n in likely if (match := _TIMING.match(lines[n]))]
    # where no time of the file can be told from words, or there are seconds alone, all are times
    loose = {_TIMING: not any(map(_sure, clocks)), _SECONDS: not clocks}
    found = {}
    for n in likely:
        before = lines[n - 1].strip() if n else ""
        timing = _timing(lines[n], not before or bool(_NUMBER.fullmatch(before)), loose)
        if timing:
            found[n] = timing
    return found


def _sure(match: re.Match) -> bool:
    """Times that nobody says: with fractions, brackets, or hours on both sides."""
    return bool(_SURE.search(match[0]) or (match[2] and match[7]))


def _timing(line: str, opens: bool, loose: dict[re.Pattern, bool]) -> tuple[float, float, str] | None:
    """Start, end and words that stand on the line itself; NaN where its times are malformed, None where it has none.

    opens: the line follows a blank one or a number. Times that could be words must, and stand alone, but of a form that
    is `loose`.
    """
    match = _TIMING.match(line)
    found = match or _SECONDS.match(line)
    if found:
        rest, parts = line[found.end() :], found.groups()
        free = loose[found.re]
        sure, alone = free or (_sure(match) if match else _SURE.search(found[0])), _SETTINGS.fullmatch(rest)
        if (sure or opens) if alone else (free or (sure and match)):
            times = (_time_s(parts[:5]), _time_s(parts[5:])) if match else (float(parts[0]), float(parts[1]))
            return *times, "" if alone else rest
    sides = _ARROW.split(line, maxsplit=1)
    nearly = len(sides) == 2 and (any(map(_FINE.match, sides)) or all(map(_WHOLE.match, sides)))
    return (math.nan, math.nan, "") if nearly or _CLOCKS.match(line) else None


def _without_asides(lines: list[str]) -> list[str]:
    """The same lines of WebVTT, blank where a header, note, style or region stands.

    A header may stand anywhere (parts of a stream, one behind the other), in other letters than WEBVTT only first, and
    ends where cues begin; a note ends at a blank line or at times.
    """
    kept, aside, blank, begun = [], "", True, False
    for line in lines:
        word = line.strip()
        if word == "WEBVTT" or (blank and re.match(r"WEBVTT(\s|$)", word if begun else word.upper())):
            aside = "head"
        elif blank and _ASIDE.match(word):
            aside = "note"
        elif not word or (aside and (_TIMING.match(line) or (aside == "head" and _NUMBER.fullmatch(word)))):
            aside = ""
        kept.append("" if aside else line)
        blank, begun = not word, begun or bool(word)
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

    def __init__(self, web: bool, none: bool) -> None:
        self._web, self._none, self._last = web, none, math.nan  # the last number so far

    def without(self, lines: list[str], first: bool = False) -> list[str]:
        """Lines between two times, or before the first, without the next cue's number."""
        at = next((n for n in reversed(range(len(lines))) if lines[n].strip()), -1)
        if at < 0 or self._none:
            return lines
        number, close = _NUMBER.fullmatch(lines[at]), at == len(lines) - 1
        alone = close and (first if at == 0 else not lines[at - 1].strip())
        if number and (first or alone or int(number[1]) == self._last + 1):
            self._last = int(number[1])
            return lines[:at]
        return lines[:at] if self._web and alone else lines


# ------------------------------------------------------------------------------------------------- other forms of text


def sbv_cues(path: Path, text: str) -> Iterator[Cue]:
    """YouTube's sbv: `0:00:01.000,0:00:03.000`, then text."""
    space = r"[^\S\n]*"
    times = rf"(?m)^{space}({_TIME}){space},{space}({_TIME}){space}$"
    return subtitle_cues(path, re.sub(times, r"\1 --> \7", text))


def ass_cues(path: Path, text: str) -> Iterator[Cue]:
    """SubStation Alpha's dialogue lines; comments are not shown, so not read. VcworkError without [Events]."""
    columns = ["layer", "start", "end", "style", "name", "marginl", "marginr", "marginv", "effect", "text"]
    events, begun = False, not text.strip()
    for number, line in enumerate(text.split("\n"), 1):
        key, _, value = line.partition(":")
        key = key.strip().lower()
        if key.startswith("["):
            events = key.startswith("[events]")
            begun = begun or events
        elif events and key == "format":
            columns = [name.strip().lower() for name in value.split(",")]
        elif events and key == "dialogue":
            row = dict(zip(columns, value.split(",", len(columns) - 1), strict=False))
            times = (clock_s(row.get(name, "")) for name in ("start", "end"))
            words = _undrawn(re.sub(r"\\[Nnh]", " ", row.get("text", "")), _ALL)
            yield Cue(f"{path}, line {number}", *times, plain(words))
    if not begun:
        raise VcworkError(f"{path}: expected [Events] with lines of Dialogue, found none")


def lrc_cues(path: Path, text: str) -> Iterator[Cue]:
    """Lyrics: `[01:02.30]words`, until the next ones, sooner by `[offset:500]` ms."""
    found, offset = [], re.search(r"(?mi)^[^\S\n]*+\[offset:\s*([+-]?\d{1,9})\s*\]", text)
    sooner_s = int(offset[1]) / 1000 if offset else 0.0
    for number, line in enumerate(text.split("\n"), 1):
        stamps = re.match(r"(\s*\[\d+:\d+(?:[.:]\d+)?\])+", line)
        if stamps:
            words = re.sub(r"<\d+:\d+(?:\.\d+)?>", "", line[stamps.end() :])
            for minutes, rest, part in re.findall(r"\[(\d+):(\d+)(?:[.:](\d+))?\]", stamps[0]):
                start_s = max(float(minutes) * 60 + float(f"{rest}.{part or 0}") - sooner_s, 0.0)
                found.append(Cue(f"{path}, line {number}", start_s, math.inf, words))
        elif line.strip() and not re.fullmatch(r"\s*\[[a-z#]\w*:[^\]]*\]\s*", line, re.IGNORECASE):
            yield Cue(f"{path}, line {number}: {line.strip()[:40]!r}", math.nan, math.nan, line)
    yield from _until_later(sorted(found, key=lambda cue: cue.start_s))


def _until_later(cues: list[Cue]) -> Iterator[Cue]:
    """Those with an endless end last until a later one starts, the last ones for 5 s."""
    starts = sorted(cue.start_s for cue in cues if not math.isnan(cue.start_s))
    for cue in cues:
        if cue.end_s == math.inf:
            later = bisect.bisect_right(starts, cue.start_s)
            cue = replace(cue, end_s=starts[later] if later < len(starts) else cue.start_s + 5.0)
        yield cue


def csv_cues(path: Path, text: str) -> Iterator[Cue]:
    """Rows of start, end and text, in any order, by comma, semicolon, tab or |; `sep=;` may stand before them.

    Times in seconds or as a clock, or in milliseconds (`_milliseconds`). Cells beyond a last column `text` belong to it
    (it had commas and no quotes). A quote that is not closed is an error; where each line is a row of its own between
    tabs, it is a letter, unless they stand around a whole cell.
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
                    yield reader.line_num + skipped, list(map(_unquoted, row)) if unquoted else row
                done = reader.line_num
        except csv.Error as error:
            raise VcworkError(f"{path}, line {done + 1 + skipped}: not readable as csv ({error})") from error

    reading = rows()
    names = [name.strip().lower() for name in next(reading, (0, []))[1]]
    if text.strip() and not {"start", "end", "text"} <= set(names):
        raise VcworkError(f"{path}, line {1 + skipped}: expected columns start,end,text, got {head[:40]!r}")
    if twice := [name for name in ("start", "end", "text") if names.count(name) > 1]:
        raise VcworkError(f"{path}, line {1 + skipped}: expected each column once, got {twice[0]!r} twice")
    start, end, said = (names.index(name) if name in names else 0 for name in ("start", "end", "text"))
    table = list(reading)
    timed = (row for _, row in table if len(row) > max(start, end))
    triples = ((row[start], row[end], "".join(row[said : said + 1])) for row in timed)
    unit = 0.001 if _milliseconds(triples, path.suffix.lower() == ".tsv") else 1.0
    for line, row in table:
        cells = dict(enumerate(row))
        words, surplus = cells.get(said, ""), len(row) > len(names)
        if surplus and said == len(names) - 1:
            words = f"{mark} ".join(row[said:])
        broken = surplus and said != len(names) - 1
        times = [math.nan if broken else clock_s(cells.get(n, "")) * unit for n in (start, end)]
        yield Cue(f"{path}, line {line}", *times, words)


def _unquoted(cell: str) -> str:
    whole = re.fullmatch(r'"((?:[^"]|"")*+)"', cell)
    return whole[1].replace('""', '"') if whole else cell


def _milliseconds(rows: Iterable[tuple[str, str, str]], sure: bool) -> bool:
    """Whether all times of rows (start, end, text) are whole, and half the steps 100 and more, as in Whisper's tsv.

    A csv (not `sure`) may have chapters so, in seconds: there each text must begin with a space, as whisper.cpp writes
    it between quotes, or a time be beyond a day's seconds and the first be within the first minute. Known gap: chapters
    of more than a day that begin so, too.
    """
    lengths, first, latest, spaced = [], math.inf, 0.0, True
    for a, b, text in rows:
        if a.isdecimal() and b.isdecimal():
            lengths.append(seconds(b) - seconds(a))
            first, latest, spaced = min(first, seconds(a)), max(latest, seconds(b)), spaced and text[:1] in ("", " ")
        elif not math.isnan(clock_s(a) + clock_s(b)):  # a row that is cut short says nothing
            return False
    steps = bool(lengths) and sorted(lengths)[len(lengths) // 2] >= 100
    return steps and (sure or spaced or (latest > 86_400 and first < 60_000))


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
    entries = next(filter(None, lists), [])
    if not lists or not all(isinstance(entry, dict) for entry in entries):
        raise VcworkError(
            f"{path}: expected a transcript: segments (Whisper), events (YouTube), or start, end and text"
        )
    yield from _until_later(list(_entries(path, entries)))


def _entries(path: Path, entries: list[dict]) -> Iterator[Cue]:
    for number, entry in enumerate(entries):
        if "text" in entry or "segs" in entry:
            yield Cue(f"{path}, entry {number}", *_entry(entry))
        elif "tStartMs" not in entry:  # YouTube's windows have no words
            yield Cue(f"{path}, entry {number}: no text among {', '.join(entry)[:40]}", math.nan, math.nan, None)


def _entry(entry: dict) -> tuple[float, float, object]:
    """Start, end and words of one entry, whichever of the four."""
    if "segs" in entry:
        segs = entry["segs"] if isinstance(entry["segs"], list) else []
        words = [s.get("utf8") or "" for s in segs if isinstance(s, dict)]
        start_s = seconds(entry.get("tStartMs")) / 1000
        said = "".join(words) if all(isinstance(word, str) for word in words) else words
        return start_s, start_s + seconds(entry.get("dDurationMs", 0)) / 1000, said
    if isinstance(entry.get("offsets"), dict):
        return *(seconds(entry["offsets"].get(key)) / 1000 for key in ("from", "to")), entry["text"]
    if isinstance(entry.get("timestamp"), list) and len(entry["timestamp"]) == 2:
        start_s, end_s = entry["timestamp"]  # of transformers, whose last one often has no end
        return seconds(start_s), math.inf if end_s is None else seconds(end_s), entry["text"]
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
    """TTML's paragraphs and timed spans, and YouTube's srv forms. A file that declares entities is refused."""
    if re.search(r"<!(DOCTYPE|ENTITY)", text):
        raise VcworkError(
            f"{path}: declares a document type, which subtitles do not need; expected TTML or YouTube's XML"
        )
    try:
        tree = io.StringIO(text if text.strip() else "<tt/>")
        root = ElementTree.parse(tree, ElementTree.XMLParser(target=_Shallow())).getroot()
    except (ElementTree.ParseError, RecursionError) as error:
        raise VcworkError(f"{path}: not readable as XML ({error})") from error
    given = {_name(key): value for key, value in root.attrib.items()}
    said = (shown for shown in _shown(root, 0.0, math.inf, _rates(given)) if shown[3].strip())
    cues = [Cue(f"{path}, {kind} {number}", *times, words) for number, (kind, *times, words) in enumerate(said)]
    yield from _until_later(cues)


def _rates(given: dict[str, str]) -> dict[str, float]:
    """Seconds of each unit of time, and of a clock's second, by a file's attributes."""
    named = {key: seconds(given[key]) or math.nan for key in ("frameRate", "tickRate") if key in given}
    times, per, *_ = [*map(seconds, given.get("frameRateMultiplier", "").split()), 1.0, 1.0]
    slower = times / (per or math.nan) or math.nan
    frames = named.get("frameRate", 30.0) * slower or math.nan
    # SMPTE's clock counts frames, 30 to a second that lasts 1.001 s; one that drops numbers keeps to 0.07 s of time
    counts = given.get("timeBase") == "smpte" and not given.get("dropMode", "").startswith("drop")
    ticks = named.get("tickRate", frames if "frameRate" in named else 1.0)
    return {"f": 1 / frames, "t": 1 / ticks, "m": 60.0, "h": 3600.0, "clock": 1 / slower if counts else 1.0}


def _name(key: str) -> str:
    """Of a tag or attribute, without its namespace."""
    return key.rpartition("}")[2]


def _is_about(element: ElementTree.Element) -> bool:
    """Whether it says something about the film, and is not said in it."""
    space, _, name = element.tag.rpartition("}")
    return space.endswith("#metadata") or name in ("head", "metadata", "data")


def _has_times(element: ElementTree.Element) -> bool:
    return any(key in element.attrib for key in ("begin", "dur", "end")) or _is_youtube_s(element)


def _is_youtube_s(element: ElementTree.Element) -> bool:
    return _name(element.tag) in ("p", "text") and ("t" in element.attrib or "start" in element.attrib)


def _span(element: ElementTree.Element, start_s: float, end_s: float, rates: dict[str, float]) -> tuple[float, float]:
    """Start and end of an element in one of these times, from which its own count; NaN where they are malformed."""
    given = element.attrib
    if _is_youtube_s(element):
        keys, unit = (("t", "d"), 0.001) if "t" in given else (("start", "dur"), 1.0)
        start_s = seconds(given[keys[0]]) * unit
        return start_s, start_s + seconds(given.get(keys[1], 0)) * unit
    if not _has_times(element):
        return start_s, end_s
    ends, zero = [end_s], start_s
    start_s += _offset(given.get("begin", "0s"), rates)
    ends += [zero + _offset(given["end"], rates)] if "end" in given else []
    ends += [start_s + _offset(given["dur"], rates)] if "dur" in given else []
    return start_s, math.nan if any(map(math.isnan, ends)) else min(ends)


_PAUSE_S = 3.0  # parts captions; between words of one line it is shorter
Shown = tuple[str, float, float, str]  # kind of element, start, end, words


def _shown(element: ElementTree.Element, start_s: float, end_s: float, rates: dict[str, float]) -> list[Shown]:
    """What an element with these times says, and all in it with times of its own; NaN ends where there are no times.

    A start alone has an endless end.
    """
    kind, pieces = _name(element.tag), []
    runs, words, zero = kind in ("p", "span", "text"), element.text or "", start_s
    for child in element:
        times = _span(child, zero, end_s, rates)
        if runs and not any(map(_has_times, child.iter())):
            words += _spoken(child)
        elif not _is_about(child):
            inner = _shown(child, *times, rates)
            pieces += inner
            words += " " if inner or not runs else ""  # TTML's <set begin="…"> says nothing
        words += child.tail or ""
        zero = times[1] if element.get("timeContainer") == "seq" and _has_times(child) else zero
    if runs and pieces and _has_times(element):
        whole, sung = _spoken(element), not words.strip() and _word_by_word(pieces, start_s, end_s)
        if (sung and len(whole.split()) > 1) or _of_the_film(pieces, start_s, end_s):
            pieces, words = [], whole
    if words.strip():
        ends_s = end_s if end_s < math.inf or _has_times(element) else math.nan
        own = (kind, start_s, ends_s, plain(words) if _is_youtube_s(element) else words)
        pieces.insert(0 if runs else len(pieces), own)
    return pieces


def _word_by_word(pieces: list[Shown], start_s: float, end_s: float) -> bool:
    """Whether timed spans of a paragraph are a line's words, without a pause: with it, one caption."""
    reached, pause = start_s, 0.0
    for _, start, end, _ in sorted(pieces, key=lambda piece: piece[1]):
        reached, pause = max(reached, end), max(pause, start - reached)
    return all(len(words.split()) == 1 for *_, words in pieces) and max(pause, end_s - reached) < _PAUSE_S


def _of_the_film(pieces: list[Shown], start_s: float, end_s: float) -> bool:
    """Whether spans lie in their paragraph only if not counted from its start, but the film's (Apple's lyrics)."""
    starts = [start for _, start, _, _ in pieces]
    return max(starts) >= end_s and all(start_s <= start - start_s < end_s for start in starts)


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


def _spoken(element: ElementTree.Element) -> str:
    """Text of an element; words of neighbouring runs stay whole, a line break parts them."""
    if _name(element.tag) == "br":
        return "\n"
    if _is_about(element):
        return ""
    return (element.text or "") + "".join(_spoken(child) + (child.tail or "") for child in element)


def _offset(text: str, rates: dict[str, float]) -> float:
    """TTML's times: clock, clock with frames, seconds, ticks and frames."""
    counted = re.fullmatch(r"([\d.]+)([tfhm])", text.strip())
    if counted:
        return seconds(counted[1]) * rates[counted[2]]
    clock = re.fullmatch(r"(\d+:\d\d:\d\d)(?::(\d{1,2}))?", text.strip())
    return clock_s(clock[1]) * rates["clock"] + int(clock[2] or 0) * rates["f"] if clock else clock_s(text)


Reader = Callable[[Path, str], Iterable[Cue]]


def _unless_timed(reader: Reader) -> Reader:
    """Text with WebVTT's or SubRip's times in it is what it looks like, whatever its name."""

    def read(path: Path, text: str) -> Iterable[Cue]:
        lines = text.split("\n")
        return (subtitle_cues if any(_TIMING.match(lines[n]) for n in _times(lines)) else reader)(path, text)

    return read


READERS: dict[str, Reader] = {  # by suffix, in order of preference
    ".vtt": subtitle_cues, ".srt": subtitle_cues, ".ass": _unless_timed(ass_cues), ".ssa": _unless_timed(ass_cues),
    ".sbv": sbv_cues,
    ".ttml": xml_cues, ".dfxp": xml_cues, ".json3": json_cues, ".srv1": xml_cues, ".srv2": xml_cues, ".srv3": xml_cues,
    ".csv": csv_cues, ".tsv": csv_cues, ".lrc": _unless_timed(lrc_cues), ".json": json_cues,
    ".txt": _unless_timed(line_cues),
}  # fmt: skip
