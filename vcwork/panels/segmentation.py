"""Gamma, window, stride and repeated labels, and what they do to every second: `SegmentationStudio`.

The class knows arrays only (`vcwork.panels.make_segmentation` makes them). A reading is one (window, stride) of the
video tower; of each reading it keeps the best step of every second and its score, so a page without a kernel needs no
more than a comparison with gamma. Metrics are the library's own, worked out for every gamma of a grid and looked up.
Known gaps: scores are raw, as the paper's gamma wants them (notebook 33 also takes each second's mean away); a reading
that is not stored cannot be shown; the page compares rounded scores (three decimals), and so does Python; the tables
take a second for minutes of video, half a minute for two hours.
"""

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from vcwork.base.errors import VcworkError
from vcwork.measure import metrics
from vcwork.measure.metrics import BACKGROUND, check_scores
from vcwork.panels import plots
from vcwork.panels.base import Panel, packed
from vcwork.tasks import segmentation

Reading = tuple[int, int]  # window and stride, seconds
REPEATS = ("removed", "kept")  # steps with one text count as one, or each as its own
METRICS = ("frame accuracy", "foreground recall", "foreground precision", "predicted background",
           "edit score", "F1@10", "F1@25", "F1@50")  # fmt: skip
FRAMES = 4  # so many of them are about seconds, the others about segments
OVERLAPS = (0.1, 0.25, 0.5)
DECIMALS, UNKNOWN = 3, 65535
DRAWN_NAMES = 10  # steps that the static figure names


@dataclass(frozen=True)
class Watched:
    """A video of the panel: truth (T,) int, k + 1 of the steps or 0, or None where nobody knows it."""

    id: str
    truth: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class SegmentationStudio(Panel):
    """The best of K steps at every second of some videos, under (window, stride), gamma, repeated labels or not.

    readings: {(window, stride): per video scores (T, K)}, the first one shown first; paper: the paper's gamma with
    repeated texts removed and kept, None where fewer than two texts are left; marks: more gammas with a name, such as
    one chosen on validation videos, of raw scores; levels: of the grid of gammas. VcworkError where shapes do not fit.
    Without readings the panel shows truth and notes.
    """

    module = "segmentation.js"
    videos: Sequence[Watched]
    steps: Sequence[str]
    scores: Mapping[Reading, Sequence[np.ndarray]]
    _: KW_ONLY
    paper: Mapping[str, float] | None = None
    marks: Mapping[str, float] = field(default_factory=dict)
    levels: int = 49

    def __post_init__(self) -> None:
        if not self.videos:
            raise VcworkError("expected at least one video, got none")
        for reading, rows in self.scores.items():
            if len(rows) != len(self.videos):
                raise VcworkError(f"reading {reading}: expected scores of {len(self.videos)} videos, got {len(rows)}")
            for video, scores in zip(self.videos, rows, strict=True):
                seconds = len(scores) if video.truth is None else len(video.truth)
                if check_scores(scores, f"{video.id}: scores").shape != (seconds, len(self.steps)):
                    raise VcworkError(f"{video.id}: expected scores ({seconds}, {len(self.steps)}), got {scores.shape}")
        for name in ("paper", "marks"):
            named = getattr(self, name)
            rounded = None if named is None else {text: round(float(gamma), DECIMALS) for text, gamma in named.items()}
            self.set(**{name: rounded})

    @cached_property
    def same(self) -> np.ndarray:
        """(K,) the first step with the same text."""
        return segmentation.first_of_same(self.steps)

    @cached_property
    def step(self) -> dict[Reading, list[np.ndarray]]:
        """(T,) the best step at every second, by reading and video."""
        return {reading: [scores.argmax(1) for scores in rows] for reading, rows in self.scores.items()}

    @cached_property
    def best(self) -> dict[Reading, list[np.ndarray]]:
        """(T,) its score."""
        return {
            reading: [np.round(scores.max(1).astype(float), DECIMALS) for scores in rows]
            for reading, rows in self.scores.items()
        }

    @cached_property
    def gammas(self) -> np.ndarray:
        """(G,) from all foreground to all background, the named ones among them, increasing."""
        named = [*(self.paper or {}).values(), *self.marks.values()]
        known = np.concatenate([*(b for rows in self.best.values() for b in rows), named])
        if not len(known):
            return np.zeros(0)
        low, high = known.min(), known.max()
        edge = 0.02 * max(high - low, 0.1)
        return np.unique(np.round([*np.linspace(low - edge, high + edge, self.levels), *named], DECIMALS))

    @property
    def readings(self) -> list[Reading]:
        return list(self.scores)

    @property
    def repeated(self) -> int:
        """Steps whose text an earlier step has."""
        return len(self.steps) - len(np.unique(self.same))

    @property
    def gamma(self) -> float:
        """What is shown first: the paper's, or else a mark, if it calls any second of the first video a step.

        Else about where half of its seconds are called one.
        """
        if not self.scores:
            return 0.0
        named, first = (
            [*([self.paper["removed"]] if self.paper else []), *self.marks.values()],
            self.best[self.readings[0]][0],
        )
        half = float(self.gammas[np.abs(self.gammas - np.median(first)).argmin()])
        return next((gamma for gamma in named if gamma < first.max()), half)

    def labels(self, i: int, gamma: float, reading: Reading, duplicates: str) -> np.ndarray:
        """Predicted labels (T,) of video i: the best step + 1 where it scores above gamma, else 0."""
        best = self._labels(self.step[reading][i], duplicates)
        return np.where(self.best[reading][i] > gamma, best, BACKGROUND)

    def truth(self, i: int, duplicates: str) -> np.ndarray | None:
        """True labels (T,) of video i, in the numbering of the predictions."""
        truth = self.videos[i].truth
        if truth is None or duplicates == "kept" or not len(self.same):
            return truth
        return np.where(truth > BACKGROUND, self.same[np.maximum(truth - 1, 0)] + 1, BACKGROUND)

    def _labels(self, steps: np.ndarray, duplicates: str) -> np.ndarray:
        return (self.same[steps] if duplicates == "removed" else steps) + 1

    def measure(self, gamma: float, reading: Reading, duplicates: str) -> np.ndarray:
        """`METRICS` of each video and, last, of all: (V + 1, M), NaN where truth is unknown.

        All: seconds counted together, segment metrics as means over videos, as `segmentation.evaluate` has them.
        """
        out = np.full((len(self.videos) + 1, len(METRICS)), np.nan)
        seen = [(i, t) for i in range(len(self.videos)) if (t := self.truth(i, duplicates)) is not None]
        if not seen:
            return out
        labels = {i: self.labels(i, gamma, reading, duplicates) for i, _ in seen}
        for i, truth in seen:
            out[i] = [*_seconds(labels[i], truth), *metrics.segment_scores(labels[i], truth, OVERLAPS)]
        out[-1, :FRAMES] = _seconds(np.concatenate(list(labels.values())), np.concatenate([t for _, t in seen]))
        out[-1, FRAMES:] = out[[i for i, _ in seen], FRAMES:].mean(0)
        return out

    def panel(self) -> dict[str, Any]:
        """All that `segmentation.js` draws; metrics as 16-bit steps of 1/10,000, in order of `tables`' readings."""
        return self.common() | {
            "steps": self.steps,
            "same": self.same.tolist(),
            "repeated": self.repeated,
            "videos": [
                {"id": v.id, "truth": None if v.truth is None else v.truth.tolist(), "seconds": self._length(i)}
                for i, v in enumerate(self.videos)
            ],
            "readings": self.readings,
            "best": [[(s + 1).tolist() for s in self.step[r]] for r in self.readings],
            "scores": [[b.tolist() for b in self.best[r]] for r in self.readings],
            "gammas": self.gammas.tolist(),
            "metrics": list(METRICS),
            "tables": self._tables,
            "silent": {kind: self._table([self.measure(np.inf, self.readings[0], kind)]) for kind in self._tables},
            "paper": self.paper,
            "marks": self.marks,
            "start": self.gamma,
        }

    @cached_property
    def _tables(self) -> dict[str, list[str]]:
        """Metrics at every gamma, by what is done with repeats and by reading; worked out once."""
        if not self.scores:
            return {}
        kinds = REPEATS if self.repeated else REPEATS[:1]  # without repeats both are the same
        return {
            kind: [self._table([self.measure(g, reading, kind) for g in self.gammas]) for reading in self.readings]
            for kind in kinds
        }

    def _length(self, i: int) -> int:
        truth = self.videos[i].truth
        return len(self.best[self.readings[0]][i]) if self.scores else 0 if truth is None else len(truth)

    @staticmethod
    def _table(values: Sequence[np.ndarray]) -> str:
        """(G, V + 1, M) shares as 16-bit steps, base64; UNKNOWN for NaN."""
        steps = np.round(np.array(values) * 10_000)
        return packed(np.where(np.isnan(steps), UNKNOWN, steps), "<u2")

    def figure(self) -> Figure:
        """The first view without a browser: lanes, the best score with gamma, and every gamma over all videos."""
        fig, (lanes, curve, sweep) = plots.figure(9, 6.2, rows=3, height_ratios=[1, 1.1, 1.7])
        if not self.scores:
            plots.timeline(lanes, {"truth": self._spans(self.truth(0, "removed"))}, self._length(0) or None, self.title)
            plots.blank(curve, "\n".join(self.notes) or "no scores to compare")
            plots.blank(sweep, "")
            return fig
        reading, gamma = self.readings[0], self.gamma
        predicted = self.labels(0, gamma, reading, "removed")
        shown = {"truth": self._spans(self.truth(0, "removed")), "predicted": self._spans(predicted)}
        plots.timeline(lanes, shown, len(predicted), f"{plots.short(self.title, 60)} {self.videos[0].id}".strip())
        lanes.set_xlabel("")
        if len(lanes.get_legend_handles_labels()[0]) > DRAWN_NAMES:
            lanes.get_legend().remove()
        plots.score_curve(curve, self.best[reading][0], label="best step's score")
        curve.axhline(gamma, color=plots.COLOURS[5], lw=1.3, label=f"gamma = {gamma:.3g}")
        low, high = curve.get_ylim()
        curve.set_ylim(min(low, gamma - 1), max(high, gamma + 1))
        plots.legend(curve)
        self._draw_sweep(sweep, reading)
        return fig

    def _draw_sweep(self, ax: Any, reading: Reading) -> None:
        values = np.array([self.measure(g, reading, "removed")[-1] for g in self.gammas])  # (G, M)
        if np.isnan(values).all():
            plots.blank(ax, "truth is unknown: nothing can be scored")
            return
        names = ("frame accuracy", "foreground recall", "predicted background", "F1@10")
        marks = {} if self.paper is None else {"paper's rule": self.paper["removed"]}
        lines = {name: values[:, METRICS.index(name)] for name in names}
        plots.over_gamma(ax, self.gammas, lines, marks | dict(self.marks))
        plots.finish(ax, "", "gamma", "percent, all videos")

    def _spans(self, labels: np.ndarray | None) -> list[tuple[float, float, str]]:
        if labels is None:
            return []
        truth = self.truth(0, "removed")
        there = set(np.unique(truth).tolist()) if truth is not None else set(labels.tolist())
        return [(float(a), float(b), self.steps[k - 1] if k in there else "a step this video does not hold")
                for k, a, b in zip(*metrics.runs(labels), strict=True)]  # fmt: skip

    def words(self) -> str:
        return f"prediction and truth of {self.videos[0].id}, one label a {self.unit}, and what each gamma gives"


def _seconds(predicted: np.ndarray, truth: np.ndarray) -> list[float]:
    return [
        metrics.frame_accuracy(predicted, truth),
        metrics.foreground_recall(predicted, truth),
        metrics.foreground_precision(predicted, truth),
        metrics.predicted_background_share(predicted),
    ]
