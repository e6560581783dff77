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
from vcwork.panels.base import Narrated, Panel, Span

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
    `Drawing`, None: only the stored draws can be seen. VcworkError without a video.
    """

    module = "pairs.js"
    videos: Sequence[Narrated]
    drawings: Mapping[str, Drawing]
    _: KW_ONLY
    again: Again | None = None

    def __post_init__(self) -> None:
        if not self.videos:
            raise VcworkError("expected at least one video, got none")

    def panel(self) -> dict[str, Any]:
        return self.common() | {
            "videos": [
                {"id": v.id, "seconds": v.seconds, "captions": _timed(v.captions), "truth": _timed(v.truth),
                 "names": list(v.names)}
                for v in self.videos
            ],
            "drawings": {name: _plain(drawing) for name, drawing in self.drawings.items()},
            "asks": self.again is not None,
        }  # fmt: skip

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
        except VcworkError as error:
            return {"rule": rule, "note": str(error)}
        return {"rule": rule, "note": "", "drawing": _plain(drawing)}

    def figure(self) -> Figure:
        """Without a browser: the first pairs of the first rule on their video, and the IoU of many by every rule."""
        if not self.drawings:
            return plots.empty("\n".join(self.notes) or "nothing to draw")
        fig, (above, below) = plots.figure(9, 5.4, rows=2, height_ratios=[1.3, 1])
        video = self.videos[0]
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
        return f"positive pairs of {self.videos[0].id} by {', '.join(self.drawings) or 'no rule'}, and their IoU"


def _plain(drawing: Drawing) -> dict[str, Any]:
    """A drawing as JSON: rows of (first, last, start, end, tokens, IoU in steps, shows) per video, and the many."""
    every = [zip(pairs, shows, strict=True) for pairs, shows in zip(drawing.pairs, drawing.shows, strict=True)]
    return {
        "pairs": [[_row(p, shows) for p, shows in rows] for rows in every],
        "many": _summary(_steps(drawing.many)) | {"shows": drawing.many_shows},
        "accepted": drawing.accepted,
        "rule": drawing.rule.model_dump(),
    }


def _row(pair: Pair, shows: bool | None) -> list:
    right = None if shows is None else bool(shows)
    iou = int(_steps(span_iou(pair)))
    return [pair.first, pair.last, pair.video_start, pair.video_end, len(pair.tokens), iou, right]


def _summary(steps: np.ndarray) -> dict[str, Any]:
    """Of IoUs (N,) in steps: how many, counts (20,) in equal bins, of which the last holds 1, mean, share of halves."""
    counts = np.bincount(np.minimum(steps * BINS // STEPS, BINS - 1), minlength=BINS).tolist()
    mean, half = (int(steps.mean() + 0.5) / STEPS, float((2 * steps >= STEPS).mean())) if len(steps) else (None, None)
    return {"n": len(steps), "histogram": counts, "mean_iou": mean, "half": half}


def _steps(iou: float | np.ndarray) -> np.ndarray:
    return np.floor(np.asarray(iou) * STEPS + 0.5).astype(int)


def _timed(spans: Sequence[Span]) -> list[Span]:
    return [(round(float(start), 2), round(float(end), 2), text) for start, end, text in spans]


def _number(name: str, kind: type, value: Any) -> Any:
    number = isinstance(value, (int, float)) and not isinstance(value, bool) and np.isfinite(value)
    if not number or kind(value) != value or value < 0:
        raise VcworkError(f"{name}: expected {'a whole number' if kind is int else 'a number'} from 0, got {value!r}")
    return kind(value)
