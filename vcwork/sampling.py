"""Clip-pair rules: which seconds of a video go with which words.

*Overlapped* (paper, and the reference code's draws in their order): a text clip grows around a random caption to a
random length, a moment inside its time range becomes the centre, and a video clip of a random length grows around
that centre. Text and video share that moment and little else is promised. *Strict*: the video clip is the text
clip's own time range. *Each*: caption by caption, strict, nothing drawn. All
randomness comes from the generator passed in.
"""

from dataclasses import dataclass

import numpy as np

from vcwork.config import OverlapConfig
from vcwork.errors import VcworkError


@dataclass(frozen=True)
class Track:
    """A video's captions as arrays: start_s, end_s (C,), tokens per caption; `seconds` = number of features."""

    video_id: str
    start_s: np.ndarray
    end_s: np.ndarray
    tokens: tuple[tuple[int, ...], ...]
    seconds: int

    def __post_init__(self) -> None:
        if not len(self.start_s) == len(self.end_s) == len(self.tokens):
            raise VcworkError(f"{self.video_id}: expected as many starts as ends and token lists")


@dataclass(frozen=True)
class Pair:
    """A positive pair: captions [first, last], their tokens, and video seconds [start, end)."""

    video_id: str
    first: int
    last: int
    tokens: list[int]
    text_start_s: float
    text_end_s: float
    video_start: int
    video_end: int


def sample_pair(track: Track, rule: OverlapConfig, rng: np.random.Generator) -> Pair:
    """One positive pair from `track` under `rule`. Raises VcworkError for a track without captions or features."""
    if not track.tokens or track.seconds < 1:
        raise VcworkError(
            f"{track.video_id}: expected captions and features, got {len(track.tokens)} and {track.seconds}"
        )
    first, last = grow_text(track, rule, rng)
    start_s, end_s = float(track.start_s[first]), float(track.end_s[last])
    tokens = [t for row in track.tokens[first : last + 1] for t in row]
    if rule.rule == "strict":
        start, end = strict_span(start_s, end_s, track.seconds, rule.max_video_s)
    else:
        start, end = overlapped_span(start_s, end_s, track.seconds, rule, rng)
    return Pair(track.video_id, first, last, tokens, start_s, end_s, start, end)


def caption_pair(track: Track, i: int, rule: OverlapConfig) -> Pair:
    """Caption `i` of `track` with its own time range; nothing is drawn."""
    start_s, end_s = float(track.start_s[i]), float(track.end_s[i])
    span = strict_span(start_s, end_s, track.seconds, rule.max_video_s)
    return Pair(track.video_id, i, i, list(track.tokens[i]), start_s, end_s, *span)


def grow_text(track: Track, rule: OverlapConfig, rng: np.random.Generator) -> tuple[int, int]:
    """A contiguous run of captions around a random one, until a random number of tokens is reached.

    The last caption is kept whole, so the run may exceed that number.
    """
    n = len(track.tokens)
    first = last = int(rng.integers(n))
    wanted = int(rng.integers(rule.min_text_tokens, rule.max_text_tokens + 1))
    length = len(track.tokens[first])
    while length < wanted and track.end_s[last] - track.start_s[first] < rule.max_text_s:
        if rng.random() > 0.5 and last + 1 < n:
            last += 1
            length += len(track.tokens[last])
        elif first > 0:
            first -= 1
            length += len(track.tokens[first])
        elif last + 1 < n:
            last += 1
            length += len(track.tokens[last])
        else:
            break
    return first, last


def overlapped_span(
    start_s: float, end_s: float, seconds: int, rule: OverlapConfig, rng: np.random.Generator
) -> tuple[int, int]:
    """Seconds [start, end) grown one at a time from a centre inside [start_s, end_s] to a random length."""
    low, high = int(np.floor(start_s)), int(np.ceil(end_s))
    centre = int(rng.integers(low, high + 1)) if low < high else (low + high) // 2
    centre = min(max(centre, 0), seconds - 1)
    wanted = int(rng.integers(rule.min_video_s, rule.max_video_s + 1))
    start = end = centre
    while end - start < min(wanted, seconds):
        if start <= 0:
            end += 1
        elif end >= seconds:
            start -= 1
        elif rng.random() > 0.5:
            end += 1
        else:
            start -= 1
    return start, end


def strict_span(start_s: float, end_s: float, seconds: int, max_video_s: int) -> tuple[int, int]:
    """Seconds covered by the text itself, at least one, cut to the first `max_video_s`."""
    start = min(int(np.floor(start_s)), seconds - 1)
    end = min(int(np.ceil(end_s)), seconds)
    return start, min(max(end, start + 1), start + max_video_s)


def span_iou(pair: Pair) -> float:
    """Intersection over union of the text's and the video clip's time ranges."""
    inter = min(pair.text_end_s, pair.video_end) - max(pair.text_start_s, pair.video_start)
    union = max(pair.text_end_s, pair.video_end) - min(pair.text_start_s, pair.video_start)
    return max(inter, 0.0) / union if union > 0 else 0.0
