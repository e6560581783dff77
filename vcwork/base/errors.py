"""The one error a person sees: a message that names what is wrong, what was expected, and what came.

`NoData` is the one that a caller may take for an answer, "there is none"; any other tells of a fault.
"""

import contextlib
from collections.abc import Iterator

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
