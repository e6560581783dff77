"""The entries of one JSON object, read as a stream: a file of many GB needs the memory of its largest entry.

Built on the standard library's decoder, because such files are written by it and hold its NaN, which ijson refuses.
Each entry comes with the byte after it, from where a later call goes on.
"""

import codecs
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vcwork.base.errors import VcworkError

BLOCK = 1 << 20
MAX_ENTRY = 1 << 26  # characters; what does not parse within them is an error, not a reason to read on

_SPACE = re.compile(r"[ \t\n\r\ufeff]*")


def stream_object(
    path: str | Path, offset: int = 0, block: int = BLOCK, limit: int = MAX_ENTRY
) -> Iterator[tuple[int, str, Any]]:
    """(byte after the entry, key, value) of each entry of the object in `path`, in order; repeated keys come again.

    `offset` is a byte that an earlier call gave. VcworkError, naming file and byte: missing, not UTF-8, not one JSON
    object, cut short, or an entry of more than `limit` characters.
    """
    try:
        with open(path, "rb") as file:
            file.seek(offset)
            yield from _Reader(path, file, offset, block, limit).entries(first=offset == 0)
    except OSError as error:
        raise VcworkError(f"{path}: could not be read ({error.strerror or error})") from error


class _Reader:
    """A sliding window of text on the file; `at` is the place in it, `base` the place of byte `start`."""

    def __init__(self, path: str | Path, file: Any, offset: int, block: int, limit: int) -> None:
        self.path, self.file, self.start, self.block, self.limit = path, file, offset, block, limit
        self.text, self.base, self.at, self.ended = "", 0, 0, False
        self.utf8 = codecs.getincrementaldecoder("utf-8")()
        self.json = json.JSONDecoder()

    def entries(self, first: bool) -> Iterator[tuple[int, str, Any]]:
        if first:
            self._expect("{")
        if self._expect("}" if first else ",}", optional=first) == "}":
            return self._end()
        while True:
            key = self._value()
            if not isinstance(key, str):
                raise self._error(f'expected a "key", got {str(key)[:40]}')
            self._expect(":")
            value = self._value()
            yield self._here(), key, value
            if self._expect(",}") == "}":
                return self._end()

    def _end(self) -> None:
        if self._peek():
            raise self._error(f"expected the end of the file, got {self._peek()!r}")

    def _fill(self) -> bool:
        """Forget what was read and read on, twice as far each time nothing was used in between."""
        self._here()
        self.text, self.base, self.at = self.text[self.at :], 0, 0
        data = b"" if self.ended else self.file.read(max(self.block, len(self.text)))
        self.ended = not data
        try:
            self.text += self.utf8.decode(data, final=self.ended)
        except UnicodeDecodeError as error:
            raise self._error(f"expected UTF-8 ({error.reason})") from None
        return not self.ended

    def _peek(self) -> str:
        """The next character that is not space; empty at the end of the file."""
        while True:
            self.at = _SPACE.match(self.text, self.at).end()
            if self.at < len(self.text):
                return self.text[self.at]
            if not self._fill() and not self.text:
                return ""

    def _expect(self, characters: str, optional: bool = False) -> str:
        found = self._peek()
        if found and found in characters:
            self.at += 1
        elif not optional:
            wanted = " or ".join(characters)
            raise self._error(f"expected {wanted}, got {found!r}" if found else f"ends before its {wanted}; cut short?")
        return found

    def _value(self) -> Any:
        """One whole value. At the window's edge a value may be half there, so it must end before it."""
        self._peek()
        while True:
            try:
                value, end = self.json.raw_decode(self.text, self.at)
                if end < len(self.text) or not self._fill():
                    self.at = end
                    return value
            except (ValueError, RecursionError) as error:
                if len(self.text) - self.at > self.limit or not self._fill():
                    why = getattr(error, "msg", "nested too deep") + ("; cut short?" if self.ended else "")
                    raise self._error(f"not readable as JSON ({why})") from None

    def _here(self) -> int:
        """The byte at which the reader is."""
        self.start += len(self.text[self.base : self.at].encode())
        self.base = self.at
        return self.start

    def _error(self, why: str) -> VcworkError:
        return VcworkError(f"{self.path}, byte {self._here()}: {why}")
