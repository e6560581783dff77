"""Clips and their sentences on a map that can be walked: `EmbeddingMap`.

The class knows arrays only; `map_clips` makes them from a corpus, and says in the panel what is missing (files, steps,
openTSNE, which lives here where it is installed). Neighbours, ranks, hubs and the gap are
computed in the whole space, by raw dot products as the model scores; only the places on the map are flattened, and the
panel says how much of the spread they hold. Points 0 to N - 1 are clips, N to 2N - 1 their sentences, in the same
order. Known gaps: all N x N scores are held while the panel is made; a pair of one step counts as right whoever wrote
it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, asdict, dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vcwork.base.errors import VcworkError
from vcwork.data.corpus import Corpus
from vcwork.measure.metrics import check_scores, ranks
from vcwork.panels import plots
from vcwork.panels.base import Panel, packed
from vcwork.panels.clips import thumbnails
from vcwork.review.geometry import Gap, hubness, modality_gap
from vcwork.tasks.cases import Clips

HUBS = 5  # of each modality that are ringed
MOST = 3000  # clips on a map; of more, some that are evenly spread
PICTURES = 600  # room on the sheet, up to four frames a clip
CLOSED = "Each modality is moved to its own centre, for the picture alone: scores are those of the vectors as they are."


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


@dataclass(frozen=True)
class Meeting:
    """Of each of 2N points: the k `nearest` of the other modality and their `scores` (2N, k), rank and score of its
    partner (2N,), among the k best of how many it is (2N,); `hubs`: points that more than usual are near to."""

    nearest: np.ndarray
    scores: np.ndarray
    own_rank: np.ndarray
    own_score: np.ndarray
    hub_counts: np.ndarray
    hubs: list[int]


@dataclass(frozen=True, eq=False)
class EmbeddingMap(Panel):
    """Vectors of N clips, video (N, D) and text (N, D), row i a pair, with neighbours of the other modality.

    clips: N; labels: further colourings {name: N labels} beside modality, recipe and step; k: neighbours shown, and the
    k of the hubs; more: layouts after PCA. VcworkError where shapes do not fit; fewer than two clips make an empty map
    that says so.
    """

    module = "embedding.js"
    video: np.ndarray
    text: np.ndarray
    clips: Sequence[MapClip]
    _: KW_ONLY
    labels: Mapping[str, Sequence[str]] = field(default_factory=dict)
    k: int = 5
    more: Sequence[Layout] = ()

    def __post_init__(self) -> None:
        video, text, n = np.asarray(self.video, float), np.asarray(self.text, float), self.n
        if video.shape != text.shape or video.ndim != 2 or len(video) != n or n > 32_000:
            got = f"{video.shape} and {text.shape}"
            raise VcworkError(f"expected video and text ({n}, D), at most 32000 pairs, got {got}")
        few = [f"A map needs at least two clips, there are {n}."] if n < 2 else []
        for name, some in (("video", video), ("text", text)):
            self.set(**{name: check_scores(some, name) if n else some})
        self.set(k=min(self.k, n), notes=[*self.notes, *few])

    @property
    def n(self) -> int:
        return len(self.clips)

    @cached_property
    def colourings(self) -> dict[str, list[str]]:
        """Recipe and step where any is known, then the other labels."""
        own = {name: [getattr(clip, name) for clip in self.clips] for name in ("recipe", "step")}
        return {name: list(map(str, some)) for name, some in (own | dict(self.labels)).items() if any(some)}

    @cached_property
    def layouts(self) -> list[Layout]:
        """PCA, PCA of each modality around its own centre, and what else was given; none for fewer than two clips."""
        if self.n < 2:
            return []
        xy, shares = plots.pca_2d(np.concatenate([self.video, self.text]))
        closed, closed_shares = plots.pca_2d(np.concatenate([v - v.mean(0) for v in (self.video, self.text)]))
        pca = Layout("PCA", xy, tuple(shares))
        return [pca, Layout("PCA, gap taken out", closed, tuple(closed_shares), CLOSED, gap=False), *self.more]

    @cached_property
    def gap(self) -> Gap:
        return modality_gap(self.video, self.text)

    @cached_property
    def meeting(self) -> Meeting:
        """Who is near whom, in the whole space."""
        return _meeting(self.text @ self.video.T, self.k)

    def right(self, point: int, other: int) -> bool:
        """Do two points belong together: a pair, or of one step where steps are known."""
        a, b = point % self.n, other % self.n
        return a == b or self.clips[a].step == self.clips[b].step != ""

    # ----------------------------------------------------------------------------------------------- the hosts

    def panel(self) -> dict[str, Any]:
        """All that `embedding.js` draws, as JSON values; numbers of points as base64 of little-endian arrays."""
        state = self.common() | {
            "n": self.n,
            "k": self.k,
            "clips": [asdict(c) for c in self.clips],
            "colourings": self.colourings,
            "layouts": [self._layout(layout) for layout in self.layouts],
        }
        if self.n < 2:
            return state
        found = self.meeting
        return state | {
            "nearest": packed(found.nearest, "<u2"),
            "scores": packed(found.scores, "<f4"),
            "own_rank": packed(found.own_rank, "<f4"),
            "own_score": packed(found.own_score, "<f4"),
            "hub_counts": packed(found.hub_counts, "<f4"),
            "hubs": found.hubs,
            "gap": {"length": round(self.gap.length, 4), "spread": round(self.gap.spread, 4)},
        }

    def _layout(self, layout: Layout) -> dict[str, Any]:
        shares = None if layout.shares is None else [round(float(s), 4) for s in layout.shares]
        out = {"name": layout.name, "shares": shares, "note": layout.note, "xy": packed(layout.xy, "<f4"), "gap": None}
        if layout.gap:
            out["gap"] = [layout.xy[side].mean(0).round(4).tolist() for side in (slice(self.n), slice(self.n, None))]
        return out

    def words(self) -> str:
        return f"map of {self.n} clips and their sentences"

    def figure(self) -> Figure:
        """The same without a browser: both modalities with gap and hubs, and the clips by recipe or step."""
        if self.n < 2:
            return plots.empty("\n".join(self.notes))
        fig, axes = plots.figure(11, 3.8, columns=2)
        layout, shares = self.layouts[0], np.array(self.layouts[0].shares)
        sides = ["clip"] * self.n + ["sentence"] * self.n
        plots.embedding_scatter(axes[0], layout.xy, sides, shares=shares, title="gap, and hubs ringed")
        self._mark(axes[0], layout.xy)
        if not self.colourings:
            plots.blank(axes[1], "")
            return fig
        name, labels = next(iter(self.colourings.items()))
        labels = [label or "unknown" for label in labels]
        plots.embedding_scatter(axes[1], layout.xy[: self.n], labels, shares=shares, title=f"the clips by {name}")
        return fig

    def _mark(self, ax: Axes, xy: np.ndarray) -> None:
        """Centres joined, hubs ringed with their counts; xy (2N, 2)."""
        centres = np.stack([xy[: self.n].mean(0), xy[self.n :].mean(0)])
        told = f"gap {self.gap.length:.3g}\n(spread {self.gap.spread:.3g})"
        ax.plot(*centres.T, "k--", lw=1.2, marker="P", ms=7, label=told)
        for hub in self.meeting.hubs:
            ax.scatter(*xy[hub], s=90, facecolor="none", edgecolor="black", lw=1)
            count = f"{self.meeting.hub_counts[hub]:.0f}"
            ax.annotate(count, xy[hub], (5, 5), textcoords="offset points", fontsize=plots.SMALL)
        plots.legend(ax)


def _meeting(scores: np.ndarray, k: int) -> Meeting:
    """Who is near whom by scores (N, N), rows are sentences; ties come in order of place."""
    n, sides = len(scores), (scores.T, scores)  # of clips, of sentences
    orders = [np.argsort(-side, axis=1, kind="stable")[:, :k] for side in sides]
    found = [hubness(s, k, HUBS) for s in (scores, scores.T)]  # clips are found by sentences, and the other way
    return Meeting(
        nearest=np.concatenate([orders[0] + n, orders[1]]),
        scores=np.concatenate([np.take_along_axis(s, o, 1) for s, o in zip(sides, orders, strict=True)]),
        own_rank=np.concatenate([ranks(s) for s in sides]),
        own_score=np.tile(np.diag(scores), 2),
        hub_counts=np.concatenate([one.counts for one in found]),
        hubs=[i + at for one, at in zip(found, (0, n), strict=True) for i, count in one.top if count > k],
    )


# ----------------------------------------------------------------------------------------------- from a corpus


def map_clips(
    corpus: Corpus,
    clips: Clips,
    video: np.ndarray,
    text: np.ndarray,
    *,
    labels: Mapping[str, Sequence[str]] | None = None,
    tsne: bool = False,
    seed: int = 0,
) -> EmbeddingMap:
    """The map of clips (N) with their vectors, video (N, D) and text (N, D).

    labels: further colourings {name: N labels}; tsne: a t-SNE map beside PCA, which needs openTSNE. VcworkError where
    shapes do not fit.
    """
    n, notes, labels = len(clips), [], dict(labels or {})
    if len(video) != n or len(text) != n or any(len(some) != n for some in labels.values()):
        raise VcworkError(f"expected vectors and labels of {n} clips, got {len(video)} videos and {len(text)} texts")
    kept = np.arange(n)
    if n > MOST:
        kept = np.linspace(0, n - 1, MOST).round().astype(int)
        notes.append(f"{MOST} of {n} clips are on the map, spread evenly; ranks and hubs count these.")
    shown = [_clip(corpus, clips, i) for i in kept]
    if not any(clip.step for clip in shown):
        notes.append("No steps are known: only a clip's own sentence counts as right.")
    spans = {i: (clip.video, clip.start_s, clip.end_s) for i, clip in enumerate(shown)}
    frames, failed = thumbnails(corpus, spans, PICTURES)
    video, text = np.asarray(video)[kept], np.asarray(text)[kept]
    layouts, about = _tsne(np.concatenate([video, text]), seed) if tsne and len(kept) > 1 else ([], [])
    return EmbeddingMap(
        video, text, shown, labels={name: np.asarray(some)[kept].tolist() for name, some in labels.items()},
        more=layouts, pictures=frames, title=f"embedding map, {corpus.name}", notes=[*notes, *failed, *about],
        unit=corpus.meta.get("second_is", "second"),
    )  # fmt: skip


def _clip(corpus: Corpus, clips: Clips, i: int) -> MapClip:
    recipe, step = str(clips.recipes[i]), str(clips.steps[i])
    name = corpus.recipes[recipe].name if recipe in corpus.recipes else recipe
    start_s, end_s = (round(float(t), 2) for t in clips.spans[i])
    return MapClip(clips.sentences[i], str(clips.videos[i]), start_s, end_s, name, corpus.steps.get(step, step))


def _tsne(vectors: np.ndarray, seed: int) -> tuple[list[Layout], list[str]]:
    """A t-SNE layout of points (P, D), or the reason why there is none."""
    try:
        from openTSNE import TSNE
    except ImportError:
        return [], ["No t-SNE map: openTSNE is not installed here. PCA needs nothing else."]
    perplexity = min(30.0, (len(vectors) - 1) / 3)
    xy = np.asarray(TSNE(perplexity=perplexity, random_state=seed, initialization="pca").fit(vectors), float)
    note = "t-SNE keeps neighbours together; distances between groups and their sizes mean nothing on it."
    return [Layout("t-SNE", xy, None, note, gap=False)], []
