"""Clip-pair rules: which seconds of a video go with which words.

*Overlapped* (paper): a text clip grows around a random caption to a random length, a moment inside its time range
becomes the centre, and a video clip of a random length grows around that centre. Text and video share that moment and
little else is promised. What is drawn, and in which order, is the reference code's; see `grow_text` for two draws that
decide nothing. *Strict*: the video clip is the text clip's own time range. *Each*: caption by caption, strict, nothing
drawn. *IoU*: two ranges drawn apart from each other and kept when they overlap enough. *Windows*: a caption and a
sliding window that touches it. *Bag*: a caption and a clip of fixed length around it, the nearest captions being
candidates, too. *Varied* is no training rule: the reference code draws so for the vectors of its retrieval pool.
All randomness comes from the generator passed in.

Known gap: at 2.4 tokens a second the overlapped draws meet in time less (mean IoU 0.44, 37 % of at least 0.5) than a
video clip laid evenly around a moment drawn on a continuous axis would (0.47, 42 %): whole seconds and coin flips.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from vcwork.base.errors import VcworkError
from vcwork.base.feed import Rows
from vcwork.core.config import OverlapConfig


@dataclass(frozen=True, eq=False)
class Track:
    """A video's captions as arrays: start_s, end_s (C,), `tokens` of each caption; `seconds` = number of features."""

    video_id: str
    start_s: np.ndarray
    end_s: np.ndarray
    tokens: Rows  # any rows will do when it is made
    seconds: int

    def __post_init__(self) -> None:
        if not isinstance(self.tokens, Rows):
            object.__setattr__(self, "tokens", Rows.of(self.tokens))
        if not len(self.start_s) == len(self.end_s) == len(self.tokens):
            raise VcworkError(f"{self.video_id}: expected as many starts as ends and token lists")

    @cached_property
    def lists(self) -> tuple[list[float], list[float], list[int]]:
        """start_s, end_s (C,) and tokens.offsets (C + 1,) for looking up one by one, which lists are faster at."""
        return self.start_s.tolist(), self.end_s.tolist(), self.tokens.offsets.tolist()


class Pair(NamedTuple):
    """A positive pair: captions [first, last], their tokens (L,), and video seconds [start, end)."""

    video_id: str
    first: int
    last: int
    tokens: np.ndarray
    text_start_s: float
    text_end_s: float
    video_start: int
    video_end: int


def sample_pair(track: Track, rule: OverlapConfig, rng: np.random.Generator) -> Pair:
    """One positive pair from `track` under `rule`. Raises VcworkError for a track without captions or features."""
    if not len(track.tokens) or track.seconds < 1:
        raise VcworkError(f"{track.video_id}: expected captions and features, got {len(track.tokens)}, {track.seconds}")
    if rule.rule in _OTHERS:
        return _OTHERS[rule.rule](track, rule, rng)
    first, last = grow_text(track, rule, rng)
    start_s, end_s = track.lists[0][first], track.lists[1][last]
    if rule.rule == "strict":
        return _pair(track, first, last, strict_span(start_s, end_s, track.seconds, rule.max_video_s))
    return _pair(track, first, last, overlapped_span(start_s, end_s, track.seconds, rule, rng))


def _pair(track: Track, first: int, last: int, span: tuple[int, int]) -> Pair:
    """Captions [first, last] whole, and the video seconds of `span`."""
    start_s, end_s, begins = track.lists
    tokens = track.tokens.flat[begins[first] : begins[last + 1]]  # (L,)
    return Pair(track.video_id, first, last, tokens, start_s[first], end_s[last], *span)


def caption_pair(track: Track, i: int, rule: OverlapConfig) -> Pair:
    """Caption `i` of `track` with its own time range; nothing is drawn."""
    start_s, end_s = float(track.start_s[i]), float(track.end_s[i])
    return _pair(track, i, i, strict_span(start_s, end_s, track.seconds, rule.max_video_s))


def varied_pair(track: Track, rule: OverlapConfig, rng: np.random.Generator) -> Pair:
    """A grown text clip and exactly its own seconds, clipped to the features: the reference code's retrieval pool.

    Where the captions outlast the features the video clip is empty (start = end) and its mask all False, as there;
    `strict_span` gives the nearest second instead. The span is not cut: a model reads its first `max_video_tokens`.
    """
    first, last = grow_text(track, rule, rng)
    end = min(int(np.ceil(track.end_s[last])), track.seconds)
    start = max(min(int(np.floor(track.start_s[first])), end), 0)
    return _pair(track, first, last, (start, max(end, start)))


def first_seconds(track: Track, seconds: int) -> Track:
    """The track cut to its first `seconds`: captions that begin before, at least the first one, and as many features.

    For the paper's ablation "first 32 s for retrieval"; the captions keep their times.
    """
    n = max(1, int((track.start_s < seconds).sum()))
    keep = np.sort(np.argsort(track.start_s, kind="stable")[:n])  # captions need not be sorted
    tokens = Rows.of([track.tokens[int(i)] for i in keep])
    return Track(track.video_id, track.start_s[keep], track.end_s[keep], tokens, min(track.seconds, seconds))


def iou_pair(track: Track, rule: OverlapConfig, rng: np.random.Generator, tries: int = 1000) -> tuple[Pair, int, bool]:
    """Two ranges drawn apart from each other, until the two clips' times have an IoU of at least `rule.min_iou`.

    The pair, how many tries it took, and whether the last of them was kept. Both lie on one axis of up to `max_video_s`
    seconds at a random place in the video; the captions spoken in the text's range are the text clip, whole, and their
    own time is what the IoU counts. After `tries` draws in vain a random caption with its own seconds is given instead.
    Source: a pseudo-code that compares word places with frame places and takes no notice of time; 12.4 % of its draws
    pass. How many of ours do depends on the captions.
    """
    axis = min(rule.max_video_s, track.seconds)
    for tried in range(1, tries + 1):
        offset = int(rng.integers(track.seconds - axis + 1))
        start, end = uniform_range(axis, rng)
        text_start, text_end = uniform_range(axis, rng)
        spoken = np.flatnonzero((track.start_s < offset + text_end) & (track.end_s > offset + text_start))
        if len(spoken):
            pair = _pair(track, int(spoken[0]), int(spoken[-1]), (offset + start, offset + end))
            if span_iou(pair) >= rule.min_iou:
                return pair, tried, True
    return caption_pair(track, int(rng.integers(len(track.tokens))), rule), tries, False


def uniform_range(length: int, rng: np.random.Generator) -> tuple[int, int]:
    """[start, end) within `length`: any start, then any end after it, as in that pseudo-code."""
    start = int(rng.integers(length))
    return start, int(rng.integers(start + 1, length + 1))


def window_pair(track: Track, rule: OverlapConfig, rng: np.random.Generator) -> Pair:
    """A random caption and a random one of the sliding windows that touch it."""
    i = int(rng.integers(len(track.tokens)))
    touching = windows_of(track, i, rule)
    return _pair(track, i, i, touching[int(rng.integers(len(touching)))])


def bag_pair(track: Track, rule: OverlapConfig, rng: np.random.Generator) -> Pair:
    """A random caption and `min_video_s` seconds around its middle, kept inside the video.

    Source: MIL-NCE (Miech et al., 2020), whose clips are 3.2 s; its captions come from `bag_of`.
    """
    i = int(rng.integers(len(track.tokens)))
    middle = (float(track.start_s[i]) + float(track.end_s[i])) / 2
    length = min(rule.min_video_s, track.seconds)
    start = min(max(round(middle - length / 2), 0), track.seconds - length)
    return _pair(track, i, i, (start, start + length))


def bag_of(track: Track, i: int, bag: int) -> list[int]:
    """The `bag` captions whose middles are nearest to caption i's, itself first; cyclic where there are fewer."""
    middle = (np.asarray(track.start_s) + np.asarray(track.end_s)) / 2
    order = [i, *(int(j) for j in np.argsort(np.abs(middle - middle[i]), kind="stable") if j != i)]
    return [order[k % len(order)] for k in range(bag)]


def windows_of(track: Track, i: int, rule: OverlapConfig) -> list[tuple[int, int]]:
    """The windows that share a second with caption `i`; where it lies beyond the features, with the last second."""
    start, end = strict_span(float(track.start_s[i]), float(track.end_s[i]), track.seconds, track.seconds)
    every = sliding_windows(track.seconds, rule.max_video_s, rule.stride_s)
    return [(s, e) for s, e in every if s < end and e > start]


def sliding_windows(seconds: int, length: int, stride: int) -> list[tuple[int, int]]:
    """Windows [start, end) of `length` seconds every `stride`, until the end is covered; the last may be shorter."""
    starts = range(0, max(1, seconds - length + stride), stride)
    return [(s, min(s + length, seconds)) for s in starts]


def grow_text(track: Track, rule: OverlapConfig, rng: np.random.Generator) -> tuple[int, int]:
    """A contiguous run of captions around a random one, until a random number of tokens is reached.

    The last caption is kept whole, so the run may exceed that number. The reference code draws once more after each
    neighbour (whether to skip it, which it never does); we draw once more when the transcript is used up.
    """
    start_s, end_s, begins = track.lists
    n = len(start_s)
    first = last = int(rng.integers(n))
    wanted = int(rng.integers(rule.min_text_tokens, rule.max_text_tokens + 1))
    while begins[last + 1] - begins[first] < wanted and end_s[last] - start_s[first] < rule.max_text_s:
        if rng.random() > 0.5 and last + 1 < n:
            last += 1
        elif first > 0:
            first -= 1
        elif last + 1 < n:
            last += 1
        else:
            break
    return first, last


def overlapped_span(
    start_s: float, end_s: float, seconds: int, rule: OverlapConfig, rng: np.random.Generator
) -> tuple[int, int]:
    """Seconds [start, end) grown one at a time from a centre inside [start_s, end_s] to a random length."""
    low, high = math.floor(start_s), math.ceil(end_s)
    centre = int(rng.integers(low, high + 1)) if low < high else (low + high) // 2
    centre = min(max(centre, 0), seconds - 1)
    wanted = min(int(rng.integers(rule.min_video_s, rule.max_video_s + 1)), seconds)
    if wanted <= centre <= seconds - wanted:  # no end of the video is in reach: all draws at once
        later = len([draw for draw in rng.random(wanted) if draw > 0.5])
        return centre - wanted + later, centre + later
    start = end = centre
    while end - start < wanted:
        if start <= 0 or (end < seconds and rng.random() > 0.5):
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


_OTHERS = {"windows": window_pair, "bag": bag_pair, "varied": varied_pair, "iou": lambda *of: iou_pair(*of)[0]}
