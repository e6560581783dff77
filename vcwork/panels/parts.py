"""What panels are given, checked once: a video with what is said and happens in it, pictures that travel as a sheet."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from vcwork.base.errors import VcworkError

Span = tuple[float, float, str]  # start_s, end_s, label
Pictures = Mapping[int, Sequence[np.ndarray]]  # frames (H, W, 3) uint8 by the place of what they show


@dataclass(frozen=True)
class Narrated:
    """A video of a panel: captions and true segments (start_s, end_s, text) over its `seconds`.

    names: the step each caption speaks of, "" for none; empty where nobody knows. clip: an mp4 that browsers play.
    VcworkError for times that run backwards or never end.
    """

    id: str
    seconds: int
    captions: Sequence[Span] = ()
    truth: Sequence[Span] = ()
    names: Sequence[str] = ()
    clip: bytes | None = None

    def __post_init__(self) -> None:
        for start, end, label in (*self.captions, *self.truth):
            if not 0 <= start <= end or not np.isfinite(end):
                raise VcworkError(f"{label!r}: expected times in seconds, start <= end, got {start} to {end}")


@dataclass(frozen=True)
class Sheet:
    """Pictures on one JPEG, row by row: its `measures` {"side", "columns", "n"}, and which are those of a place.

    JavaScript's `thumbnail` cuts the i-th out.
    """

    jpeg: bytes
    measures: dict[str, int]
    where: dict[int, list[int]]


def sheet(pictures: Pictures, side: int = 64, quality: int = 70) -> Sheet:
    """All pictures, made square, in order of their places. VcworkError for something else than (H, W, 3) uint8."""
    where, flat = {}, []
    for place, some in sorted(pictures.items()):
        where[int(place)] = list(range(len(flat), len(flat) + len(some)))
        flat += [_square(np.asarray(picture), side) for picture in some]
    columns = max(1, min(32, len(flat)))
    whole = Image.new("RGB", (columns * side, max(1, -(-len(flat) // columns)) * side))
    for i, picture in enumerate(flat):
        whole.paste(picture, (i % columns * side, i // columns * side))
    out = io.BytesIO()
    whole.save(out, "JPEG", quality=quality)
    return Sheet(out.getvalue(), {"side": side, "columns": columns, "n": len(flat)}, where)


def _square(picture: np.ndarray, side: int) -> Image.Image:
    """The middle of a picture (H, W, 3), `side` pixels wide and high."""
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
        raise VcworkError(f"expected pictures (H, W, 3) uint8, got {picture.dtype} {picture.shape}")
    short = min(picture.shape[:2])
    top, left = ((n - short) // 2 for n in picture.shape[:2])
    return Image.fromarray(picture[top : top + short, left : left + short]).resize((side, side))


def packed(values: np.ndarray, kind: str) -> str:
    """An array as base64 of its bytes, which JavaScript reads as a typed array."""
    return base64.b64encode(np.ascontiguousarray(values, dtype=kind).tobytes()).decode()
