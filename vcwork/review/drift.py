"""How far subtitles lie from what is said: `drift_of` gives the line that puts them right, `write_fixed` a copy.

Words of the subtitles are matched with words of a transcript by runs of words that occur once in both, so a word heard
wrong or left out costs itself alone. The line is the one with most matches near it, then least squares of those; its
interval comes from drawing captions again. A stretch is claimed only where its interval leaves out 1.
Known gaps: without words that are heard nothing can be told. A film cut otherwise (advertisements) needs several lines:
told, not mended. A caption's words are spread over its time by their letters, and people write captions a little early
or late: some tenths of a second stay, which the interval does not know.
"""

import contextlib
import re
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.special import stdtrit

from vcwork.base.errors import VcworkError
from vcwork.base.files import atomic_write
from vcwork.data.captions import Caption, CaptionReport, clock, read_captions, write_vtt
from vcwork.data.speech import Word

STRETCHES = sorted(np.round(np.arange(0.94, 1.0601, 0.0005), 4), key=lambda b: abs(b - 1))
NEAR_S = 1.0  # of the line: a match
OTHER = 0.1  # of the words matched: fewer is another film (50 pairs of HowTo100M's: 0.04 at most; 60 % wrong: 0.22)
FEWEST = 5  # matches
DRAWS = 1000


@dataclass(frozen=True)
class Drift:
    """A subtitle's time t belongs at `shift_s` + `stretch` t; in mid-film `mid_s` later, 95 % `low_s` … `high_s`.

    off_s: how far the worst caption is off. share: of the words that were matched. wrong: why there is no such line, ""
    where there is one.
    """

    shift_s: float = 0.0
    stretch: float = 1.0
    mid_s: float = 0.0
    low_s: float = 0.0
    high_s: float = 0.0
    off_s: float = 0.0
    share: float = 0.0
    wrong: str = ""

    def at(self, time_s: float) -> float:
        """Where a subtitle's time belongs; nothing is said before 0."""
        return max(0.0, self.shift_s + self.stretch * time_s)

    def __str__(self) -> str:
        if self.wrong:
            return self.wrong
        drifts = f", drifting by {600 * abs(self.stretch - 1):.1f} s in ten minutes" if self.stretch != 1 else ""
        between = f"{self.low_s:+.1f} … {self.high_s:+.1f}"
        return f"belongs {self.mid_s:+.1f} s ({between}) from where it is in mid-film{drifts}"


# ------------------------------------------------------------------------------------------------------------ words


def drift_of(captions: Sequence[Caption], words: Sequence[Word]) -> Drift:
    """The line from timed captions to the words that are said; `wrong` tells where there is none."""
    whole = [c for c in captions if 0 < c.start_s < c.end_s]  # one at 0 may have been cut there
    captions = whole or captions
    own, times, cues = _spread(captions)
    said, at, _ = _spread([Caption(w.start_s, w.end_s, w.text) for w in words])
    pairs = _matched(own, said)
    i, j = np.array(sorted(pairs.items()), int).reshape(-1, 2).T
    if min(len(own), len(said)) < FEWEST:
        return Drift(wrong="too few words to tell")
    near = _near_a_line(times[i], at[j])
    share = near.sum() / min(len(own), len(said))
    if share < OTHER or near.sum() < FEWEST:
        told = f"only {share:.0%} of the words are said in this order and pace"
        return Drift(share=share, wrong=f"seems to be of another film, or in another language: {told}")
    if near.mean() < 0.5:
        return Drift(share=share, wrong="no one line fits: parts of the film are cut, added or moved")
    return _fit(times[i][near], at[j][near], cues[i][near], captions, share)


def _spread(captions: Sequence[Caption]) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Words (N), when each is said (N,), by letters, and its caption (N,)."""
    words: list[str] = []
    times, cues = [], []
    for number, caption in enumerate(captions):
        here = re.findall(r"[^\W_]+(?:['’][^\W_]+)*", caption.text.casefold().replace("’", "'"))
        lengths = np.array([len(word) + 1 for word in here])
        middles = (np.cumsum(lengths) - lengths / 2) / max(1, lengths.sum())
        words += here
        times += list(caption.start_s + middles * (caption.end_s - caption.start_s))
        cues += [number] * len(here)
    return words, np.array(times), np.array(cues, int)


def _matched(own: list[str], said: list[str]) -> dict[int, int]:
    """Places in `said` by places in `own`, of the words in runs that occur once in both: longer runs decide first."""
    pairs: dict[int, int] = {}
    for n in (3, 2, 1):
        a, b = (_once(words, n) for words in (own, said))
        for run in a.keys() & b.keys():
            for k in range(n):
                pairs.setdefault(a[run] + k, b[run] + k)
    return pairs


def _once(words: list[str], n: int) -> dict[tuple[str, ...], int]:
    runs = [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
    counts = Counter(runs)
    return {run: i for i, run in enumerate(runs) if counts[run] == 1}


def _near_a_line(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Which of the pairs (N,) lie within NEAR_S of the line that has most of them; nearer to no stretch where equal."""
    most, near = 0, np.zeros(len(x), bool)
    for stretch in STRETCHES:
        rest = np.sort(y - stretch * x)
        counts = np.searchsorted(rest, rest + 2 * NEAR_S, "right") - np.arange(len(rest))  # (N,)
        if len(rest) and counts.max() > most:
            most, low = counts.max(), rest[counts.argmax()]
            near = (y - stretch * x >= low) & (y - stretch * x <= low + 2 * NEAR_S)
    return near


def _fit(x: np.ndarray, y: np.ndarray, cues: np.ndarray, captions: Sequence[Caption], share: float) -> Drift:
    """Least squares and its interval, by t: whole captions drawn again, for a caption's words are off together."""
    middle = x.mean()
    x, z = x - middle, y - x
    _, cue = np.unique(cues, return_inverse=True)
    sums = np.stack([np.bincount(cue, v) for v in (np.ones(len(x)), x, z, x * x, x * z)], 1)  # (K, 5)
    draws = np.random.default_rng(0).multinomial(len(sums), np.full(len(sums), 1 / len(sums)), DRAWS) @ sums
    if len(sums) < 2:
        return _told(z.mean(), 1.0, float(z.mean()), NEAR_S, captions, share=float(share))
    wide = stdtrit(len(sums) - 1, 0.975) * np.sqrt(len(sums) / (len(sums) - 1))
    slope, slopes = _slope(sums.sum(0)), _slope(draws)
    if not abs(slope) > wide * np.nanstd(slopes):
        slope, slopes = 0.0, np.zeros(DRAWS)
    mid_s = float(z.mean() - slope * x.mean())
    half_s = wide * np.nanstd((draws[:, 2] - slopes * draws[:, 1]) / draws[:, 0])
    return _told(mid_s - slope * middle, 1 + slope, mid_s, half_s, captions, share=float(share))


def _told(shift_s: float, stretch: float, mid_s: float, half_s: float, captions: Sequence[Caption], **more) -> Drift:
    found = Drift(float(shift_s), float(stretch), mid_s, mid_s - half_s, mid_s + half_s, **more)
    return replace(found, off_s=max(abs(found.at(c.start_s) - c.start_s) for c in captions))


def _slope(sums: np.ndarray) -> np.ndarray:
    n, x, z, xx, xz = np.moveaxis(sums, -1, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (n * xz - x * z) / (n * xx - x * x)


# ------------------------------------------------------------------------------------------------------ a fixed copy

_TIME = re.compile(rb"(?<![\d:])(?:(\d+):)?(\d{1,2}):(\d{2})([.,])(\d{1,3})(?!\d)")
_TIMES = re.compile(rb"\s*\[?\s*" + _TIME.pattern + rb"\s*-->")
_TAG = re.compile(rb"<[\d:.]+>")  # a word's time in a cue


def write_fixed(source: Path, captions: Sequence[Caption], drift: Drift) -> Path:
    """A copy beside the subtitles, `name.fixed.srt`, its times moved and its text left as it is; another there stays.

    captions: those of the file, for formats in which times cannot be exchanged in place: written as `.vtt`, as are
    files of which some times are written otherwise. VcworkError where there is such a file, no line, or no room.
    """
    in_place = source.suffix.lower() in (".vtt", ".srt")
    data = source.read_bytes() if in_place else b""
    in_place &= not data.startswith((b"\xff\xfe", b"\xfe\xff")) and b"X-TIMESTAMP-MAP" not in data
    captions = read_captions(source, CaptionReport()) if in_place else captions
    wanted = [Caption(drift.at(c.start_s), drift.at(c.end_s), c.text) for c in captions]

    def moved(match: re.Match) -> bytes:
        hours, minutes, seconds, point, fraction = match.groups()
        time_s = int(hours or 0) * 3600 + int(minutes) * 60 + int(seconds) + int(fraction) / 10 ** len(fraction)
        return clock(drift.at(time_s)).encode().replace(b".", point)

    def line(text: bytes) -> bytes:
        return _TIME.sub(moved, text) if _TIMES.match(text) else _TAG.sub(lambda tag: _TIME.sub(moved, tag[0]), text)

    fixed = b"".join(map(line, data.splitlines(keepends=True)))
    in_place = in_place and _says(fixed, source.suffix, wanted)
    target = source.with_suffix(f".fixed{source.suffix if in_place else '.vtt'}")
    if drift.wrong or target.exists():
        raise VcworkError(f"{target}: not written; {drift.wrong or 'it is there already, move it away'}")
    if not in_place:
        write_vtt(target, wanted)
        return target
    with atomic_write(target, "wb") as file:
        file.write(fixed)
    return target


def _says(data: bytes, suffix: str, wanted: Sequence[Caption]) -> bool:
    """Whether a subtitle file with these bytes is read as these captions, to two milliseconds."""
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(VcworkError):
        path = Path(folder) / f"fixed{suffix}"
        path.write_bytes(data)
        read = read_captions(path, CaptionReport())
        near = np.allclose([(c.start_s, c.end_s) for c in read], [(c.start_s, c.end_s) for c in wanted], 0, 2e-3)
        return near and [c.text for c in read] == [c.text for c in wanted]
    return False
