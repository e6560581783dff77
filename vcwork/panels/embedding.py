"""Clips and their sentences on a map that can be walked: `EmbeddingMap`.

The class knows arrays only (`vcwork.panels.make_embedding` makes them). Neighbours, ranks, hubs and the gap are
computed in the whole space, by raw dot products as the model scores; only the places on the map are flattened, and the
panel says how much of the spread they hold. Points 0 to N - 1 are clips, N to 2N - 1 their sentences, in the same
order. Known gaps: all N x N scores are held while the panel is made; a pair of one step counts as right whoever wrote
it.
"""

import base64
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vcwork.base.errors import VcworkError
from vcwork.measure.metrics import check_scores, ranks
from vcwork.panels import plots
from vcwork.panels.base import Panel, sheet
from vcwork.review.geometry import hubness, modality_gap

HUBS = 5  # of each modality that are ringed


@dataclass(frozen=True)
class MapClip:
    """A clip and its sentence; "" where recipe or step is not known."""

    text: str
    video: str = ""
    start_s: float = 0.0
    end_s: float = 0.0
    recipe: str = ""
    step: str = ""


@dataclass(frozen=True)
class Layout:
    """A flattening: xy (2N, 2), the share of the spread that each axis holds (None: no such thing), what to know of it.

    gap: do the centres of the modalities keep a meaning on it.
    """

    name: str
    xy: np.ndarray
    shares: tuple[float, float] | None = None
    note: str = ""
    gap: bool = True


class EmbeddingMap(Panel):
    """Vectors of N clips, video (N, D) and text (N, D), row i a pair, with neighbours of the other modality.

    clips: N; labels: further colourings {name: N labels} beside modality, recipe and step; k: neighbours shown, and the
    k of the hubs; layouts: more of them after PCA; pictures: {i: frames (H, W, 3) uint8}; unit: what times count.
    VcworkError where shapes do not fit; fewer than two clips make an empty map that says so.
    """

    module = "embedding.js"

    def __init__(
        self,
        video: np.ndarray,
        text: np.ndarray,
        clips: Sequence[MapClip],
        *,
        labels: Mapping[str, Sequence[str]] | None = None,
        k: int = 5,
        layouts: Sequence[Layout] = (),
        pictures: Mapping[int, Sequence[np.ndarray]] | None = None,
        title: str = "",
        notes: Sequence[str] = (),
        unit: str = "second",
    ) -> None:
        self.clips, self.title, self.notes, self.unit = list(clips), title, list(notes), unit
        video, text = (np.asarray(v, dtype=float) for v in (video, text))
        _check(video, text, self.clips, labels or {}, k)
        self.labels = _colourings(self.clips, labels or {})
        frames = {int(i): list(some) for i, some in sorted((pictures or {}).items()) if len(some)}
        self.sheet = sheet([frame for some in frames.values() for frame in some]) if frames else None
        self.pictures = _places(frames)
        self.layouts: list[Layout] = []
        self.gap = None
        if self.n < 2:
            self.k = 0
            self.notes.append(f"A map needs at least two clips, there are {self.n}.")
            return
        self.k = min(k, self.n)
        self.gap = modality_gap(video, text)
        self.layouts = [*_pca_layouts(video, text), *layouts]
        for layout in layouts:
            if np.shape(layout.xy) != (2 * self.n, 2) or not np.isfinite(layout.xy).all():
                raise VcworkError(f"{layout.name}: expected xy ({2 * self.n}, 2), got {np.shape(layout.xy)}")
        self._meet(text @ video.T)

    @property
    def n(self) -> int:
        return len(self.clips)

    def _meet(self, scores: np.ndarray) -> None:
        """Neighbours (2N, k) of the other modality with their scores, own ranks and hub counts (2N,); scores (N, N),
        rows are sentences."""
        sides = (scores.T, scores)  # of clips, of sentences
        orders = [np.argsort(-side, axis=1, kind="stable")[:, : self.k] for side in sides]
        self.nearest = np.concatenate(orders)
        self.near_scores = np.concatenate([np.take_along_axis(s, o, 1) for s, o in zip(sides, orders, strict=True)])
        self.nearest[: self.n] += self.n
        self.own_rank = np.concatenate([ranks(s) for s in sides])  # (2N,)
        self.own_score = np.tile(np.diag(scores), 2)
        found = [hubness(s, self.k) for s in (scores, scores.T)]  # clips are found by sentences, and the other way
        self.hub_counts = np.concatenate([one.counts for one in found])  # (2N,)
        self.skew = tuple(one.skew for one in found)
        tops = [
            [i + at for i, count in one.top[:HUBS] if count > self.k]
            for one, at in zip(found, (0, self.n), strict=True)
        ]
        self.hubs = tops[0] + tops[1]

    # -------------------------------------------------------------------------------------------------- questions

    def update(self, point: int) -> dict[str, Any]:
        """What the panel tells of a point; nothing is changed.

        `neighbours`: the k best of the other modality, best first, with `own` (its partner) and `right` (its partner,
        or of its step); `own_rank` of the partner from 1, ties at their mean; `hub`: among the k best of how many.
        VcworkError for a point that is not there.
        """
        if not 0 <= point < 2 * self.n or self.n < 2:
            raise VcworkError(f"point: expected 0 to {2 * self.n - 1}, got {point}")
        partner = (point + self.n) % (2 * self.n)
        near = zip(self.nearest[point].tolist(), self.near_scores[point].tolist(), strict=True)
        return {
            "point": point,
            "modality": "clip" if point < self.n else "sentence",
            **asdict(self.clips[point % self.n]),
            "partner": partner,
            "own_rank": float(self.own_rank[point]),
            "own_score": float(self.own_score[point]),
            "hub": float(self.hub_counts[point]),
            "neighbours": [
                {"point": other, "score": score, "own": other == partner, "right": self.right(point, other)}
                for other, score in near
            ],
        }

    def right(self, point: int, other: int) -> bool:
        """Do two points belong together: a pair, or of one step where steps are known."""
        a, b = point % self.n, other % self.n
        return a == b or self.clips[a].step == self.clips[b].step != ""

    def find(self, words: str) -> list[int]:
        """The clips whose sentence, step or recipe holds all the words, in order; none for no word."""
        wanted = words.casefold().split()
        texts = [f"{c.text} {c.step} {c.recipe}".casefold() for c in self.clips]
        return [i for i, text in enumerate(texts) if wanted and all(word in text for word in wanted)]

    # ----------------------------------------------------------------------------------------------- the hosts

    def panel(self) -> dict[str, Any]:
        """All that `embedding.js` draws, as JSON values; numbers of points as base64 of little-endian arrays."""
        state = self.common() | {
            "n": self.n,
            "k": self.k,
            "unit": self.unit,
            "clips": [asdict(c) for c in self.clips],
            "colourings": [_coded(name, labels) for name, labels in self.labels.items()],
            "pictures": {str(i): where for i, where in self.pictures.items()},
            "sheet": self.sheet[1] if self.sheet else None,
            "layouts": [],
        }
        if self.gap is None:
            return state
        return state | {
            "layouts": [self._layout(layout) for layout in self.layouts],
            "nearest": _packed(self.nearest, "<u2"),
            "scores": _packed(self.near_scores, "<f4"),
            "own_rank": _packed(self.own_rank, "<f4"),
            "own_score": _packed(self.own_score, "<f4"),
            "hub_counts": _packed(self.hub_counts, "<f4"),
            "hubs": self.hubs,
            "gap": {"length": round(self.gap.length, 4), "spread": round(self.gap.spread, 4)},
        }

    def _layout(self, layout: Layout) -> dict[str, Any]:
        shares = None if layout.shares is None else [round(float(s), 4) for s in layout.shares]
        out = {"name": layout.name, "shares": shares, "note": layout.note, "xy": _packed(layout.xy, "<f4"), "gap": None}
        if layout.gap:
            out["gap"] = [layout.xy[side].mean(0).round(4).tolist() for side in (slice(self.n), slice(self.n, None))]
        return out

    def media(self) -> dict[str, bytes]:
        """The sheet of thumbnails."""
        return {"sheet": self.sheet[0]} if self.sheet else {}

    def words(self) -> str:
        """What the picture shows."""
        return f"map of {self.n} clips and their sentences"

    def figure(self) -> Figure:
        """The same without a browser: both modalities with gap and hubs, and the clips by recipe or step."""
        fig, axes = plots.figure(11, 3.8, columns=2)
        if self.gap is None:
            for ax in axes:
                ax.set_axis_off()
            axes[0].text(0.5, 0.5, "\n".join(self.notes), ha="center", va="center", wrap=True)
            return fig
        layout = self.layouts[0]
        shares = None if layout.shares is None else np.array(layout.shares)
        sides = ["clip"] * self.n + ["sentence"] * self.n
        _mark(
            plots.embedding_scatter(axes[0], layout.xy, sides, shares=shares, title="gap, and hubs ringed"),
            layout,
            self,
        )
        name = next((name for name in ("recipe", "step", *self.labels) if name in self.labels), None)
        if name is None:
            axes[1].set_axis_off()
            return fig
        labels = [label or "unknown" for label in self.labels[name]]
        plots.embedding_scatter(axes[1], layout.xy[: self.n], labels, shares=shares, title=f"the clips by {name}")
        return fig


def _check(video: np.ndarray, text: np.ndarray, clips: list, labels: Mapping[str, Sequence[str]], k: int) -> None:
    n = len(clips)
    if video.shape != text.shape or video.ndim != 2 or len(video) != n or n > 32_000:
        raise VcworkError(f"expected video and text ({n}, D), at most 32000 pairs, got {video.shape} and {text.shape}")
    if n:
        check_scores(video, "video"), check_scores(text, "text")
    if k < 1:
        raise VcworkError(f"k: expected at least 1, got {k}")
    for name, some in labels.items():
        if len(some) != n or name == "modality":
            raise VcworkError(f"labels {name!r}: expected {n} under another name than modality, got {len(some)}")


def _colourings(clips: list[MapClip], labels: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Recipe and step where any is known, then the others."""
    own = {name: [getattr(clip, name) for clip in clips] for name in ("recipe", "step")}
    return {name: list(map(str, some)) for name, some in (own | dict(labels)).items() if any(some)}


def _coded(name: str, labels: Sequence[str]) -> dict[str, Any]:
    """Labels by frequency, most frequent first, and which of them each clip has."""
    counts = Counter(labels)
    names = sorted(counts, key=lambda label: (-counts[label], label))
    at = {label: i for i, label in enumerate(names)}
    return {
        "name": name,
        "labels": [label or "unknown" for label in names],
        "counts": [counts[label] for label in names],
        "codes": _packed(np.array([at[label] for label in labels]), "<u2"),
    }


def _packed(values: np.ndarray, kind: str) -> str:
    return base64.b64encode(np.ascontiguousarray(values, dtype=kind).tobytes()).decode()


def _places(frames: Mapping[int, list]) -> dict[int, list[int]]:
    """Where on the sheet the frames of each clip are."""
    out, at = {}, 0
    for i, some in frames.items():
        out[i], at = list(range(at, at + len(some))), at + len(some)
    return out


def _pca_layouts(video: np.ndarray, text: np.ndarray) -> list[Layout]:
    xy, shares = plots.pca_2d(np.concatenate([video, text]))
    closed, closed_shares = plots.pca_2d(np.concatenate([video - video.mean(0), text - text.mean(0)]))
    note = (
        "Each modality is moved to its own centre, for the picture alone: scores are those of the vectors as they are."
    )
    return [
        Layout("PCA", xy, tuple(shares)),
        Layout("PCA, gap taken out", closed, tuple(closed_shares), note, gap=False),
    ]


def _mark(ax: Axes, layout: Layout, panel: EmbeddingMap) -> None:
    """Centres joined, hubs ringed with their counts."""
    centres = np.stack([layout.xy[: panel.n].mean(0), layout.xy[panel.n :].mean(0)])
    ax.plot(
        *centres.T,
        "k--",
        lw=1.2,
        marker="P",
        ms=7,
        label=f"gap {panel.gap.length:.3g}\n(spread {panel.gap.spread:.3g})",
    )
    for hub in panel.hubs:
        ax.scatter(*layout.xy[hub], s=90, facecolor="none", edgecolor="black", lw=1)
        ax.annotate(
            f"{panel.hub_counts[hub]:.0f}", layout.xy[hub], (5, 5), textcoords="offset points", fontsize=plots.SMALL
        )
    ax.legend(fontsize=plots.SMALL, frameon=False, loc="upper left", bbox_to_anchor=(1.01, 1.02))
