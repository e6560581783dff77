"""Strict reading of csv and JSON: an error names file, line or entry, and video; nothing is dropped silently."""

import csv
import io
import json
import math
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

from vcwork.base.errors import VcworkError
from vcwork.base.files import parse_json, read_text, resolve


@dataclass(frozen=True)
class At:
    """A place in a file: what a message about it begins with, and the checks of what stands there."""

    path: Path
    where: str = ""  # line 7, annotation 3
    video: str = ""

    @property
    def short(self) -> str:
        """File name and line or entry, without the folders above it."""
        return f"{self.path.name} {self.where}".strip()

    def fail(self, why: str) -> NoReturn:
        """VcworkError naming file, line or entry, and video."""
        raise VcworkError(
            ": ".join(x for x in (str(self.path), self.where, self.video and f"video {self.video}", why) if x)
        )

    def seconds(self, value: Any, name: str) -> float:
        """A time, finite and not negative, from a cell or a JSON number."""
        return self.number(value, name, 0.0, "seconds")

    def number(self, value: Any, name: str, low: float = -sys.float_info.max, what: str = "a finite number") -> float:
        """A finite number of at least `low`, from a cell or a JSON number; `what` is asked for in the message."""
        try:
            number = math.nan if isinstance(value, bool) or "_" in str(value) else float(value)
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if not low <= number < math.inf:
            self.fail(f"{name}: expected {what}, got {value!r}")
        return number

    def span(self, raw: Any) -> tuple[float, float]:
        """[start, end] of a JSON annotation."""
        if not isinstance(raw, list) or len(raw) != 2:
            self.fail(f"segment: expected [start, end], got {raw!r}")
        return self.seconds(raw[0], "start"), self.seconds(raw[1], "end")

    def choice(self, value: Any, name: str, options: Iterable[str]) -> str:
        if value not in (options := list(options)):
            self.fail(f"{name}: expected one of {', '.join(options)}, got {value!r}")
        return value

    def whole(self, value: Any, name: str, low: int = 0, high: int | None = None) -> int:
        """A whole number of at least `low` and at most `high`, from a cell or a JSON value."""
        digits = str(value).strip()
        if isinstance(value, bool | float) or not digits.removeprefix("-").isdecimal() or len(digits) > 18:
            self.fail(f"{name}: expected a whole number, got {value!r}")
        if int(digits) < low or (high is not None and int(digits) > high):
            self.fail(f"{name}: expected {low} {'or more' if high is None else f'to {high}'}, got {digits}")
        return int(digits)

    def id(self, value: Any) -> "At":
        """The same place, of this video; an id that is empty or could lead to another folder is refused."""
        safe = isinstance(value, str) and value not in ("", ".", "..") and value == value.strip() and len(value) <= 200
        if not safe or re.search("[/\\\\\0\ud800-\udfff]", value):
            self.fail(f"expected a video id without / or \\ and without blanks around it, got {value!r}")
        return replace(self, video=value)

    def entry(self, raw: Any, **kinds: type | tuple[type, ...]) -> dict[str, Any]:
        """`raw`, an object that has these keys in these types."""
        if not isinstance(raw, dict):
            self.fail(f"expected an object, got {type(raw).__name__}")
        for key, kind in kinds.items():
            names = " or ".join(k.__name__ for k in (kind if isinstance(kind, tuple) else (kind,)))
            if key not in raw:
                self.fail(f"{key!r} is missing")
            if not isinstance(raw[key], kind) or isinstance(raw[key], bool):
                self.fail(f"{key}: expected {names}, got {raw[key]!r}")
        return raw

    def entries(self, raw: list, what: str, **kinds: type | tuple[type, ...]) -> Iterator[tuple["At", dict[str, Any]]]:
        """(place, object) of each of a list's objects, which have these keys; `what` and its number name the place."""
        for number, found in enumerate(raw):
            at = replace(self, where=f"{what} {number}")
            yield at, at.entry(found, **kinds)


def same_ids(path: Path, found: Iterable[str], wanted: Iterable[str], what: str) -> None:
    """VcworkError unless both hold the same ids: how many are missing or unknown, and the first of them."""
    found, wanted = dict.fromkeys(found), dict.fromkeys(wanted)
    apart = {"missing": [id for id in wanted if id not in found], "unknown": [id for id in found if id not in wanted]}
    if told := ", ".join(f"{len(ids):,} {how} ({ids[0]!r} …)" for how, ids in apart.items() if ids):
        raise VcworkError(f"{path}: expected the {len(wanted):,} {what} of the annotations, got {told}")


def read_strict_json(path: str | Path) -> Any:
    """JSON in which no object has a key twice (Python's reader silently keeps the last) and no number is NaN."""
    text, twice = read_text(resolve(path)), []

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(found := dict(pairs)) < len(pairs):
            twice.extend(key for key, n in Counter(key for key, _ in pairs).items() if n > 1)
        return found

    def refuse(word: str) -> NoReturn:
        raise ValueError(f"holds {word}")

    try:
        raw = parse_json(text, object_pairs_hook=unique, parse_constant=refuse)
    except ValueError as error:
        raise VcworkError(f"{resolve(path)}: not readable as JSON, cut short or damaged ({error})") from error
    if twice:
        line = text.count("\n", 0, text.rfind(json.dumps(twice[0]))) + 1
        raise VcworkError(f"{resolve(path)}: line {line}: {twice[0]!r} is given twice in one object")
    return raw


def read_database(path: str | Path, **kinds: type | tuple[type, ...]) -> Iterator[tuple[At, dict[str, Any]]]:
    """(place, entry) of every video of a JSON {database: {video id: entry}}; an entry has these keys."""
    top = At(resolve(path))
    for key, found in top.entry(read_strict_json(path), database=dict)["database"].items():
        at = top.id(key)
        yield at, at.entry(found, **kinds)


def read_rows(
    path: str | Path,
    columns: Iterable[str],
    id: str = "",
    header: bool = True,
    delimiter: str = ",",
    optional: tuple[str, ...] = (),
) -> Iterator[tuple[At, dict[str, str]]]:
    """(place, {column: cell}) of every row of a csv; blank lines are passed over, other columns than asked for kept.

    `id`: the column that names the video, so that the place does too. Without a header the columns are those named, in
    order. `optional`: how names of others begin that the caller reads. VcworkError: a column missing, one that is read
    there twice, a row of another width.
    """
    path, columns = resolve(path), list(columns)
    reader = csv.reader(io.StringIO(read_text(path), newline=""), delimiter=delimiter, strict=True)
    try:
        names = [name.strip() for name in next(reader, [])] if header else columns
        if lost := [name for name in columns if name not in names]:
            raise VcworkError(f"{path}: line 1: expected the columns {', '.join(columns)}; missing {', '.join(lost)}")
        read = [name for name in names if name in columns or name.startswith(optional)]
        if twice := [name for name in read if read.count(name) > 1]:
            raise VcworkError(f"{path}: line 1: expected each column once, got {twice[0]!r} twice")
        for row in reader:
            if row and len(row) != len(names):
                raise VcworkError(f"{path}: line {reader.line_num}: expected {len(names)} cells, got {len(row)}: {row}")
            if row:
                at, cells = At(path, f"line {reader.line_num}"), dict(zip(names, row, strict=True))
                yield at.id(cells[id]) if id else at, cells
    except csv.Error as error:
        raise VcworkError(f"{path}: line {reader.line_num}: not readable as csv ({error})") from error
