"""Positive pairs drawn on a real timeline, rule by rule, and how their times overlap: `PairExplorer`.

The class knows arrays only (`vcwork.panels.make_pairs` makes them): the pairs are drawn beforehand by the samplers that
training uses, so a page without a kernel steps through stored draws, and live new ones are asked of the kernel.
Known gaps: captions without times are not drawn as pairs; IoU is kept in steps of 1/10,000.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from vcwork.base.errors import VcworkError
from vcwork.core.config import OverlapConfig
from vcwork.core.sampling import Pair, span_iou
from vcwork.panels import plots
from vcwork.panels.base import Panel
from vcwork.panels.parts import Narrated, Span

BINS, STEPS = 20, 10_000  # of the histogram; of an IoU of 1
LIMITS = {"max_text_tokens": int, "max_video_s": int, "min_iou": float}  # what a page may ask to change
DRAWN_PAIRS = 6  # of the static figure


@dataclass(frozen=True)
class Drawing:
    """What a rule gave: `pairs` and `shows` per video, and over `many` pairs of all videos their IoU (N,).

    shows: does the clip show a step that the text names, None where it names none or nobody knows; many_shows: that
    share over the many; accepted: the share of tries that the rule kept, where it draws again.
    """

    rule: OverlapConfig
    pairs: Sequence[Sequence[Pair]]
    shows: Sequence[Sequence[bool | None]]
    many: np.ndarray
    many_shows: float | None = None
    accepted: float | None = None


Again = Callable[[str, dict[str, Any], int], Drawing]


@dataclass(frozen=True, eq=False)
class PairExplorer(Panel):
    """Pairs of some videos by rule, one after the other, with the histogram of their IoU growing.

    drawings: {name of the rule: `Drawing`}, each with pairs of every video. again: (rule, changed limits, seed) ->
    `Drawing`, None: only the stored draws can be seen. VcworkError where the counts do not fit, a pair lies outside
    its video or nothing is there to draw.
    """

    module = "pairs.js"
    videos: Sequence[Narrated]
    drawings: Mapping[str, Drawing]
    _: KW_ONLY
    title: str = ""
    notes: Sequence[str] = ()
    unit: str = "second"
    again: Again | None = None

    def __post_init__(self) -> None:
        if not self.videos:
            raise VcworkError("expected at least one video, got none")
        for name, drawing in self.drawings.items():
            self._check(name, drawing)

    def _check(self, name: str, drawing: Drawing) -> None:
        if not len(drawing.pairs) == len(drawing.shows) == len(self.videos):
            raise VcworkError(f"{name}: expected pairs of {len(self.videos)} videos, got {len(drawing.pairs)}")
        for video, pairs, shows in zip(self.videos, drawing.pairs, drawing.shows, strict=True):
            if len(pairs) != len(shows) or not pairs:
                raise VcworkError(f"{name}, {video.id}: expected pairs and as many answers, got {len(pairs)}")
            for p in pairs:
                if not 0 <= p.first <= p.last < len(video.captions) or not 0 <= p.video_start <= p.video_end:
                    raise VcworkError(f"{name}, {video.id}: expected captions below {len(video.captions)}, got {p}")

    def update(self, video: str, rule: str, draw: int) -> dict[str, Any]:
        """What the panel shows after draws 0 to `draw` of a video; nothing is changed.

        `pair`: the last of them; `words`: its captions; `histogram` (20,) of IoU, `mean_iou`, `half` (share of at least
        one half) and `shows` (share of `judged`, None without any) over all of them. VcworkError for what is not there.
        """
        at = {v.id: i for i, v in enumerate(self.videos)}
        if video not in at or rule not in self.drawings:
            known = f"{', '.join(at)} and {', '.join(self.drawings)}"
            raise VcworkError(f"nothing drawn for {video!r} by {rule!r}; there are {known}")
        told, drawing = self.videos[at[video]], self.drawings[rule]
        pairs, shows = drawing.pairs[at[video]], drawing.shows[at[video]]
        if not 0 <= draw < len(pairs):
            raise VcworkError(f"expected draw from 0 to {len(pairs) - 1}, got {draw}")
        rows = [_row(p, s) for p, s in zip(pairs[: draw + 1], shows, strict=False)]
        first, last, start, end, tokens, iou, right = rows[-1]
        said = told.captions[first : last + 1]
        judged = [row[6] for row in rows if row[6] is not None]
        return {
            "video": video, "rule": rule, "draw": draw,
            "pair": {"first": first, "last": last, "text": [_time(said[0][0]), _time(said[-1][1])],
                     "clip": [start, end], "tokens": tokens, "iou": iou / STEPS, "shows": right},
            "words": [text for _, _, text in said],
            "histogram": _histogram([row[5] for row in rows]), **_summary([row[5] for row in rows]),
            "shows": sum(judged) / len(judged) if judged else None, "judged": len(judged),
        }  # fmt: skip

    def panel(self) -> dict[str, Any]:
        """All that `pairs.js` draws."""
        return self.common() | {
            "unit": self.unit,
            "videos": [
                {"id": v.id, "seconds": v.seconds, "captions": _timed(v.captions), "truth": _timed(v.truth),
                 "names": list(v.names)}
                for v in self.videos
            ],
            "drawings": {name: self._plain(drawing) for name, drawing in self.drawings.items()},
            "asks": self.again is not None,
        }  # fmt: skip

    @staticmethod
    def _plain(drawing: Drawing) -> dict[str, Any]:
        """A drawing as JSON: rows of (first, last, start, end, tokens, IoU in steps, shows) per video, and the many."""
        many = [_steps(iou) for iou in drawing.many]
        return {
            "pairs": [
                [_row(p, s) for p, s in zip(pairs, shows, strict=True)]
                for pairs, shows in zip(drawing.pairs, drawing.shows, strict=True)
            ],
            "many": {"n": len(many), "histogram": _histogram(many), **_summary(many), "shows": drawing.many_shows},
            "accepted": drawing.accepted,
            "limits": {name: getattr(drawing.rule, name) for name in LIMITS},
            "told": rule_words(drawing.rule),
        }

    def answer(self, message: dict[str, Any]) -> dict[str, Any] | None:
        """`{"draw": {"rule", "seed", and any of max_text_tokens, max_video_s, min_iou}}`: new draws, or a `note`."""
        wish = message.get("draw")
        if not isinstance(wish, dict) or not isinstance(wish.get("rule"), str):
            return None
        rule = wish["rule"]
        try:
            if self.again is None or rule not in self.drawings:
                raise VcworkError(f"nothing can be drawn by {rule!r} here")
            limits = {name: _number(name, kind, wish[name]) for name, kind in LIMITS.items() if name in wish}
            drawing = self.again(rule, limits, _number("seed", int, wish.get("seed", 0)))
            self._check(rule, drawing)
        except VcworkError as error:
            return {"rule": rule, "note": str(error)}
        return {"rule": rule, "note": "", "drawing": self._plain(drawing)}

    def figure(self) -> Figure:
        """Without a browser: the first pairs of the first rule on their video, and the IoU of many by every rule."""
        fig, (above, below) = plots.figure(9, 5.4, rows=2, height_ratios=[1.3, 1])
        video = self.videos[0]
        if not self.drawings:
            plots.blank(above, "\n".join(self.notes) or "nothing to draw")
            plots.blank(below, "")
            return fig
        name, drawing = next(iter(self.drawings.items()))
        steps = [(start, end, str(i)) for i, (start, end, _) in enumerate(video.truth, 1)]
        shown = f"{min(DRAWN_PAIRS, len(drawing.pairs[0]))} {name} pairs of {video.id}"
        plots.pair_spans(above, list(drawing.pairs[0])[:DRAWN_PAIRS], steps, video.seconds, shown)
        ious = {rule: d.many for rule, d in self.drawings.items() if len(d.many)}
        if ious:
            told = "IoU of text's and video clip's time, pairs of all videos"
            plots.histogram(below, ious, np.linspace(0, 1, BINS + 1), xlabel=told)
        return fig

    def words(self) -> str:
        """What the picture shows."""
        return f"positive pairs of {self.videos[0].id} by {', '.join(self.drawings) or 'no rule'}, and their IoU"


def rule_words(rule: OverlapConfig) -> str:
    """A rule in a sentence."""
    low, high, long = rule.min_video_s, rule.max_video_s, rule.max_text_tokens
    text = f"Text: captions around a random one, aiming at {rule.min_text_tokens} to {long} tokens."
    return {
        "overlapped": f"{text} Video: {low} to {high} s grown around a moment inside the text.",
        "strict": f"{text} Video: its own seconds, cut at {high}.",
        "each": f"Text: one caption, each once. Video: its own seconds, cut at {high}.",
        "iou": f"Text and video: two ranges of up to {high} s drawn apart from each other, again and again until the "
               f"IoU is at least {rule.min_iou:g}.",
        "windows": f"Text: a random caption. Video: a window that touches it, {high} s long, every {rule.stride_s} s.",
        "bag": f"Text: a random caption and its nearest {rule.bag - 1}. Video: {low} s around its middle.",
    }[rule.rule]  # fmt: skip


def _row(pair: Pair, shows: bool | None) -> tuple:
    right = None if shows is None else bool(shows)
    return (pair.first, pair.last, pair.video_start, pair.video_end, len(pair.tokens), _steps(span_iou(pair)), right)


def _steps(iou: float) -> int:
    return int(float(iou) * STEPS + 0.5)


def _time(seconds: float) -> float:
    return round(float(seconds), 2)


def _timed(spans: Sequence[Span]) -> list[Span]:
    return [(_time(start), _time(end), text) for start, end, text in spans]


def _histogram(steps: Sequence[int]) -> list[int]:
    """Counts (20,) of IoUs in equal bins; 1 belongs to the last."""
    counts = [0] * BINS
    for step in steps:
        counts[min(BINS - 1, step * BINS // STEPS)] += 1
    return counts


def _summary(steps: Sequence[int]) -> dict[str, float | None]:
    if not steps:
        return {"mean_iou": None, "half": None}
    half = sum(2 * step >= STEPS for step in steps)
    return {"mean_iou": int(sum(steps) / len(steps) + 0.5) / STEPS, "half": half / len(steps)}


def _number(name: str, kind: type, value: Any) -> Any:
    number = isinstance(value, (int, float)) and not isinstance(value, bool) and np.isfinite(value)
    if not number or kind(value) != value or value < 0:
        raise VcworkError(f"{name}: expected {'a whole number' if kind is int else 'a number'} from 0, got {value!r}")
    return kind(value)
