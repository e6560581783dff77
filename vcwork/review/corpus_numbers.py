"""A corpus in numbers, beside what is published of HowTo100M and COIN; each world in a column of its own.

The published figures are not ours to reach: they tell how far a generated or small corpus is from the real ones.
Sources: HowTo100M's from the VideoCLIP paper (EMNLP 2021) and, for repeated words, 60 of its caption files; COIN's
from its paper (CVPR 2019), the background share from its annotations.
"""

import math

import numpy as np

from vcwork.data.captions import repeated_word_share
from vcwork.data.corpus import Corpus, Video
from vcwork.measure.result import text_table

_ROWS = {  # name: how it is shown, as published of HowTo100M, of COIN
    "videos": ("{:.0f}", "-", "-"),
    "minutes a video": ("{:.2f}", "6.5", "2.36"),
    "captions a video": ("{:.1f}", "110", "-"),
    "words a second": ("{:.2f}", "2.4 (tokens)", "-"),
    "repeated words, raw": ("{:.1%}", "29 %", "-"),
    "background": ("{:.1%}", "-", "58.5 %"),
    "segments a video": ("{:.2f}", "-", "3.91"),
    "seconds a segment": ("{:.2f}", "-", "14.91"),
    "steps mentioned": ("{:.1%}", "-", "-"),
    "offset of a mention, mean (s)": ("{:+.2f}", "-", "-"),
    "offset of a mention, spread (s)": ("{:.2f}", "-", "-"),
}


def describe(corpus: Corpus) -> dict[str, float]:
    """The numbers by name, NaN where this corpus cannot tell (no truth, no captions, no times in seconds).

    Words and captions are counted after de-duplication, `repeated words, raw` before. An offset is where a step is
    first spoken of, minus where it starts: negative means announced.
    """
    videos = list(corpus.videos.values())
    timed = corpus.meta.get("second_is", "second") == "second"
    seconds = np.array([v.duration_s for v in videos]) if timed else np.full(len(videos), np.nan)
    numbers = {"videos": float(len(videos)), "minutes a video": seconds.mean() / 60}
    numbers |= _of_captions(corpus, [v for v in videos if v.captions], timed)
    numbers |= _of_truth(corpus, [v for v in videos if v.segments], timed)
    return {name: float(numbers.get(name, math.nan)) for name in _ROWS}


def table(corpus: Corpus) -> str:
    """`describe` as text, a dash where nothing is known, the published figures in their own columns."""
    rows = []
    for name, value in describe(corpus).items():
        shown, *published = _ROWS[name]
        own = "-" if math.isnan(value) else shown.format(value).replace("%", " %")
        rows.append([name, own, *published])
    return text_table(["", "this corpus", "HowTo100M, published", "COIN, published"], rows)


def mention_offsets(corpus: Corpus) -> np.ndarray:
    """(M,) seconds between the start of a step and the words that name it; empty where the truth does not say."""
    mentions = [m for video in corpus.videos.values() for m in corpus.truth(video.id).get("mentions", [])]
    return np.array([m["offset_s"] for m in mentions], dtype=float)


def _of_captions(corpus: Corpus, videos: list[Video], timed: bool) -> dict[str, float]:
    if not videos:
        return {}
    captions = [corpus.captions(v.id) for v in videos]
    words = sum(len(c.text.split()) for own in captions for c in own)
    raw = [corpus.raw_captions(v.id) for v in videos]
    repeats = [(repeated_word_share(own), sum(len(c.text.split()) for c in own)) for own in raw]
    seconds = sum(v.duration_s for v in videos) if timed else math.nan
    return {
        "captions a video": sum(map(len, captions)) / len(videos),
        "words a second": words / seconds if seconds else math.nan,
        "repeated words, raw": sum(s * n for s, n in repeats) / max(1, sum(n for _, n in repeats))
        if timed
        else math.nan,
    }


def _covered(video: Video) -> float:
    """Seconds in which anything is annotated; where annotations overlap they count once."""
    seconds, last = 0.0, 0.0
    for s in sorted(video.segments, key=lambda s: s.start_s):
        seconds += max(0.0, s.end_s - max(s.start_s, last))
        last = max(last, s.end_s)
    return seconds


def _of_truth(corpus: Corpus, videos: list[Video], timed: bool) -> dict[str, float]:
    if not videos or not timed:
        return {"segments a video": float(np.mean([len(v.segments) for v in videos])) if videos else math.nan}
    lengths = np.array([s.end_s - s.start_s for v in videos for s in v.segments])
    offsets, known = mention_offsets(corpus), [v for v in videos if v.duration_s]
    numbers = {
        "background": 1 - sum(map(_covered, known)) / sum(v.duration_s for v in known) if known else math.nan,
        "segments a video": len(lengths) / len(videos),
        "seconds a segment": lengths.mean(),
    }
    if len(offsets):
        numbers |= {"steps mentioned": len(offsets) / len(lengths), "offset of a mention, mean (s)": offsets.mean(),
                    "offset of a mention, spread (s)": offsets.std()}  # fmt: skip
    return numbers
