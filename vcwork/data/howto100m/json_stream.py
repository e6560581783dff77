"""The entries of one JSON object, read as a stream: a file of many GB needs the memory of its largest entry.

Built on the standard library's decoder, because such files are written by it and hold its NaN, which ijson refuses.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from vcwork.base.errors import VcworkError

BLOCK = 1 << 20  # characters read at a time, more for an entry that is longer
MAX_ENTRY = 1 << 26  # characters; what does not parse within them is an error, not a reason to read on

_SPACE = re.compile(r"[ \t\n\r]*")
_decode = json.JSONDecoder().raw_decode


def stream_object(path: str | Path, block: int = BLOCK, limit: int = MAX_ENTRY) -> Iterator[tuple[str, Any]]:
    """(key, value) of each entry of the object in `path`, in order; repeated keys come again.

    VcworkError, naming file and entry: missing, not UTF-8, not one JSON object, cut short, or an entry of more than
    `limit` characters.
    """
    try:
        with open(path, encoding="utf-8-sig") as file:
            yield from _entries(path, file, block, limit)
    except OSError as error:
        raise VcworkError(f"{path}: could not be read ({error.strerror or error})") from error
    except UnicodeDecodeError as error:
        raise VcworkError(f"{path}: expected UTF-8 ({error.reason})") from None


def _entries(path: str | Path, file: TextIO, block: int, limit: int) -> Iterator[tuple[str, Any]]:
    text, at, where, number = "", 0, "{", 0
    while where != "}":
        try:
            where, entry, at = _entry(text, at, where)
        except (ValueError, IndexError, RecursionError) as error:  # wrong, or only half there yet
            more = file.read(max(block, len(text) - at)) if len(text) - at <= limit else None
            if not more:
                why = {IndexError: "ends too soon", RecursionError: "nested too deep"}.get(type(error), error)
                cut = "; cut short?" if more == "" else ""
                raise VcworkError(f"{path}, entry {number}: not readable as JSON ({why}{cut})") from None
            text, at = text[at:] + more, 0
            continue
        if entry:
            number += 1
            yield entry
    if rest := (text[at:] + file.read(block)).strip():
        raise VcworkError(f"{path}: expected the end of the file after {number} entries, got {rest[:20]!r}")


def _entry(text: str, at: int, where: str) -> tuple[str, tuple[str, Any] | None, int]:
    """What comes next ("," or "}"), the entry that `where`, "{" or ",", begins, and the place behind it.

    ValueError or IndexError where the text is not JSON, or ends before what comes next.
    """
    at = _skip(text, at, where)
    if where == "{" and text[_SPACE.match(text, at).end()] == "}":
        return "}", None, _skip(text, at, "}")
    key, at = _decode(text, _skip(text, at))
    if not isinstance(key, str):
        raise ValueError(f'expected a "key", got {key!r}')
    value, at = _decode(text, _skip(text, _skip(text, at, ":")))
    at = _SPACE.match(text, at).end()
    if text[at] not in ",}":
        raise ValueError(f"expected , or }} after {key!r}, got {text[at]!r}")
    return text[at], (key, value), at + (text[at] == "}")


def _skip(text: str, at: int, character: str = "") -> int:
    """The place behind spaces and, after them, `character`."""
    at = _SPACE.match(text, at).end()
    if character and text[at] != character:
        raise ValueError(f"expected {character}, got {text[at]!r}")
    return at + len(character)
