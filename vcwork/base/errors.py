"""The one error a person sees: a message that names what is wrong, what was expected, and what came.

`NoData` is the one that a caller may take for an answer, "there is none"; any other tells of a fault. `listed` and
`as_texts` raise it for what was to be a list.
"""

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

LONGEST = 4000  # characters of a message


class VcworkError(ValueError):
    """A mistake in the input, not in the program. Its text is shown without a stack trace, and cut where it is long.

    It has as many lines as are given: a line break in one of them, as a file's name may hold, is written out.
    """

    def __init__(self, *lines: object) -> None:
        super().__init__(*(str(line).replace("\n", "\\n") for line in lines))

    def __str__(self) -> str:
        text = "\n".join(self.args)
        return text if len(text) <= LONGEST else f"{text[: LONGEST - 500]} … {text[-490:]}"


@contextlib.contextmanager
def could_not(what: str, kinds: type[Exception] = OSError) -> Iterator[None]:
    """`what` could not be done, and why: the system's errors, or those of a library (`kinds`), as a VcworkError."""
    try:
        yield
    except kinds as error:
        raise VcworkError(f"{what} ({getattr(error, 'strerror', None) or error})") from error


class NoData(VcworkError):
    """Nothing is broken, there is just none of it: no annotated clip, no video with captions and features."""


def listed(given: Iterable[Any], what: str) -> list[Any]:
    """All of `given`; VcworkError where it is no list, or one text, which would be taken for a list of its letters."""
    if isinstance(given, str | bytes) or not isinstance(given, Iterable):
        raise VcworkError(f"expected a list of {what}, got {given!r}")
    return list(given)


def as_texts(given: Iterable[str], what: str = "sentences") -> list[str]:
    """As `listed`, of texts as a tokenizer takes them: half a surrogate, as in a name that is no UTF-8, becomes `?`."""
    found = listed(given, what)
    if strange := [one for one in found if not isinstance(one, str)]:
        raise VcworkError(f"expected a list of {what}, got one with {strange[0]!r} in it")
    return [text.encode("utf-8", "replace").decode() for text in found]
