"""A terminal: numbers that were typed, and what is printed. A name or a text that came as data cannot steer it.

A line break stays one here, as texts have lines of their own; errors write out those of what they name.
"""

import argparse
import re
import sys
from typing import Any, TextIO

SEEDS = range(1 << 63)  # what every generator takes
_STEERING = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")  # and what turns the reading direction


def shown(text: Any) -> str:
    """A text with the signs that steer terminals written out, `\\x1b` for an escape; line breaks and tabs stay."""
    return _STEERING.sub(lambda sign: sign[0].encode("unicode_escape").decode(), str(text))


def say(*texts: Any, sep: str = " ", file: TextIO | None = None) -> None:
    """Print texts at once, whatever stands in them."""
    print(*map(shown, texts), sep=sep, file=file or sys.stdout, flush=True)


def seed(text: str) -> int:
    """An option's value; what no generator takes is a mistake of the command."""
    if not (text.isdecimal() and int(text[:30]) in SEEDS):
        raise argparse.ArgumentTypeError(f"expected a whole number from 0 to 2^63 - 1, got {text!r}")
    return int(text)


def share(text: str) -> float:
    """An option's value between 0 and 1."""
    try:
        if 0 < (found := float(text)) < 1:
            return found
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"expected a number between 0 and 1, got {text!r}")
