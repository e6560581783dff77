"""A batch of look-alikes as thumbnails: who was drawn, how hard it is, how false, what moved: `ClusterInspector`.

The class knows vectors and plain data only (`vcwork.panels.make_clusters` makes them). Every batch on the page is
computed here; the page adds which tiles share a step, by comparing labels. Batches of one draw number take the same
clips of a video, in every epoch and for every query, so that what changes between two batches is who is in them.
Known gaps: only the queries given travel with the page; the reference code's search in one cell is not shown.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from functools import cached_property
from itertools import combinations
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from vcwork.base.errors import VcworkError
from vcwork.core.batches import nearest
from vcwork.measure import metrics
from vcwork.panels import plots
from vcwork.panels.base import Panel
from vcwork.review.geometry import centred_units

RANDOM = 200  # batches of random videos that a batch is compared with
SHARES = ("purity", "steps_in_common", "false_negatives")  # what truth is needed for
DRAWN_TILES = 8  # of the static figure


@dataclass(frozen=True)
class ClusterVideo:
    """A video: `recipe` and `lookalike` are what it is and what it is easily taken for, "" where nobody knows;
    `steps`: what truly happens in it."""

    id: str
    title: str = ""
    recipe: str = ""
    lookalike: str = ""
    steps: tuple[str, ...] = ()

    def kin(self, other: "ClusterVideo") -> str:
        """What truth says of two videos: "same recipe", "look-alike", "other", or "" where a recipe is not known."""
        if not self.recipe or not other.recipe:
            return ""
        if self.recipe == other.recipe:
            return "same recipe"
        return "look-alike" if self.lookalike == other.recipe or other.lookalike == self.recipe else "other"


@dataclass(frozen=True)
class BatchClip:
    """A clip that a batch takes of a video: its seconds, and the step it truly shows, "" for none or unknown."""

    start_s: float
    end_s: float
    step: str = ""


@dataclass(frozen=True)
class _Space:
    """One epoch: pool (V, P) of nearest videos and their distances, unit vectors around the mean (V, D)."""

    pool: np.ndarray
    distance: np.ndarray
    unit: np.ndarray

    def of(self, query: int) -> dict[str, list]:
        """A query's pool as JSON: its videos, their distances and cosines."""
        distance, cosine = self.distance[query], self.unit[self.pool[query]] @ self.unit[query]
        numbers = {"distance": distance, "cosine": cosine}
        return {"videos": self.pool[query].tolist()} | {k: [round(float(x), 4) for x in v] for k, v in numbers.items()}


@dataclass(frozen=True, eq=False)
class ClusterInspector(Panel):
    """Batches of k videos drawn from the pool_factor * k nearest of a query video (paper, Algorithm 1), by epoch.

    vectors: {epoch: (V, D)}, earliest first; videos: V; clips[draw][v]: the clips that batches of this draw take of
    video v, empty: one draw, and no clip known; queries: the videos that can be asked for, None: all.
    Distances are L2; similarity is the cosine of vectors around their mean. VcworkError where vectors do not fit, or
    without a video.
    """

    module = "clusters.js"
    vectors: Mapping[str, np.ndarray]
    videos: Sequence[ClusterVideo]
    _: KW_ONLY
    k: int = 32
    pool_factor: int = 2
    clips: Sequence[Sequence[Sequence[BatchClip]]] = ()
    queries: Sequence[int] | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        n = len(self.videos)
        if not n or not self.vectors:
            raise VcworkError(f"expected a video and an epoch, got {n} videos, {len(self.vectors)} epochs")
        for name, vectors in self.vectors.items():
            if len(metrics.check_scores(vectors, f"epoch {name!r}")) != n:
                raise VcworkError(f"epoch {name!r}: expected vectors ({n}, D) of {n} videos, got {np.shape(vectors)}")
        queries = range(n) if self.queries is None else self.queries
        self.set(k=min(self.k, n), queries=[int(q) for q in queries])

    @property
    def epochs(self) -> list[str]:
        """Their names, earliest first."""
        return list(self.vectors)

    @property
    def draws(self) -> int:
        return max(1, len(self.clips))

    @cached_property
    def spaces(self) -> list[_Space]:
        """Pools and unit vectors, an epoch each."""
        size = min(self.pool_factor * self.k, len(self.videos))
        return [_space(vectors, size) for vectors in self.vectors.values()]

    @cached_property
    def shown(self) -> list[list[Counter]]:
        """How many clips of a video show each step, by draw and video; empty where no step is known at all."""
        found = [[Counter(clip.step for clip in clips if clip.step) for clips in draw] for draw in self.clips]
        return found if any(map(any, found)) else []

    # ------------------------------------------------------------------------------------------------- one batch

    def members(self, query: int, draw: int, epoch: int) -> np.ndarray:
        """The videos (k,) of a batch, nearest first: a random k of the pool, so the query itself may drop out."""
        return self.spaces[epoch].pool[query][self.places(query, draw)]

    def places(self, query: int, draw: int) -> np.ndarray:
        """Which places (k,) of the pool are drawn, ascending; the same in every epoch."""
        rng = np.random.default_rng([self.seed, 15, query, draw])
        return np.sort(rng.permutation(self.spaces[0].pool.shape[1])[: self.k])

    def numbers(self, members: Sequence[int], draw: int, epoch: int) -> dict[str, float | int | None]:
        """hardness: mean cosine of two videos; purity: share of the commonest recipe; steps_in_common: mean over two
        videos of shared over all their steps; false_negatives: share of two clips of different videos that show one
        step, and how many such `false_pairs`. None where truth or clips are not known."""
        u, some = self.spaces[epoch].unit[members], [self.videos[v] for v in members]
        recipes, happen = np.array([v.recipe for v in some]), [set(v.steps) for v in some if any(v.steps)]
        shared = [len(a & b) / len(a | b) for a, b in combinations(happen, 2)]
        pairs, share = self._false(members, draw)
        return {
            "hardness": _mean((u @ u.T)[~np.eye(len(some), dtype=bool)]),
            "purity": round(metrics.purity(np.zeros(len(some)), recipes), 4) if all(recipes) else None,
            "steps_in_common": _mean(shared) if shared else None,
            "false_negatives": share,
            "false_pairs": pairs,
        }

    def _false(self, members: Sequence[int], draw: int) -> tuple[int | None, float | None]:
        """How many pairs of clips of different videos show one step, and which share of all such pairs."""
        if not self.shown:
            return None, None
        counts, sizes = [self.shown[draw][v] for v in members], [len(self.clips[draw][v]) for v in members]
        same = (_squares(sum(counts, Counter()).values()) - sum(_squares(one.values()) for one in counts)) // 2
        pairs = (sum(sizes) ** 2 - _squares(sizes)) // 2
        return same, round(same / pairs, 4) if pairs else None

    # ----------------------------------------------------------------------------------------------- all of them

    @cached_property
    def drawn(self) -> list[list[list[dict[str, Any]]]]:
        """Numbers of the batches by epoch, query and draw."""
        return [
            [[self.numbers(self.members(q, d, e), d, e) for d in range(self.draws)] for q in self.queries]
            for e in range(len(self.epochs))
        ]

    @cached_property
    def by_chance(self) -> list[list[dict[str, Any]]]:
        """Of each epoch the numbers of batches of random videos, which a batch is compared with."""
        rng = np.random.default_rng([self.seed, 16])
        batches = [rng.permutation(len(self.videos))[: self.k] for _ in range(RANDOM)]
        return [
            [self.numbers(batch, i % self.draws, epoch) for i, batch in enumerate(batches)]
            for epoch in range(len(self.epochs))
        ]

    @cached_property
    def random(self) -> list[dict[str, Any]]:
        """Of each epoch the mean numbers of random batches, and between which hardnesses 95 % of them lie."""
        return [_summary(found) for found in self.by_chance]

    def kept(self, epoch: int, since: int) -> float | None:
        """Mean share of a pool, the query apart, that was in the query's pool at the epoch `since`, too."""
        pools = [[set(self.spaces[e].pool[q].tolist()) - {q} for e in (epoch, since)] for q in self.queries]
        shares = [round(len(now & then) / len(now), 4) for now, then in pools if now]
        return _mean(shares) if shares else None

    # ----------------------------------------------------------------------------------------------- the hosts

    def panel(self) -> dict[str, Any]:
        """All that `clusters.js` draws, as JSON values; lists by epoch, then by query, then by draw.

        Videos that no query's pool holds are None, and their clips are left out.
        """
        steps = sorted({clip.step for draw in self.clips for some in draw for clip in some} - {""})
        at, epochs = {step: i for i, step in enumerate(steps)}, range(len(self.epochs))
        seen = {*self.queries} | {int(v) for space in self.spaces for q in self.queries for v in space.pool[q]}

        def clips(some: Sequence[BatchClip]) -> list[list]:
            return [[float(c.start_s), float(c.end_s), at.get(c.step, -1)] for c in some]

        def video(v: int, one: ClusterVideo) -> dict[str, str] | None:
            return {key: getattr(one, key) for key in ("id", "title", "recipe", "lookalike")} if v in seen else None

        return self.common() | {
            "k": self.k,
            "epochs": self.epochs,
            "draws": self.draws,
            "videos": [video(v, one) for v, one in enumerate(self.videos)],
            "steps": steps,
            "queries": self.queries,
            "places": [[self.places(q, d).tolist() for d in range(self.draws)] for q in self.queries],
            "pools": [[space.of(q) for q in self.queries] for space in self.spaces],
            "numbers": self.drawn,
            "random": self.random,
            "kept": [[self.kept(e, s) for s in epochs] for e in epochs],
            "clips": [[clips(some) if v in seen else [] for v, some in enumerate(draw)] for draw in self.clips],
        }

    def words(self) -> str:
        pool = self.spaces[0].pool.shape[1]
        return f"batches of {self.k} of the {pool} videos nearest to a query video, {len(self.epochs)} epochs"

    def figure(self) -> Figure:
        """The same without a browser: the first query's batch, and the hardness of all batches beside random ones."""
        last = len(self.epochs) - 1
        fig, (above, ax) = plots.figure(8.5, 4.4, rows=2, height_ratios=[2, 2.2])
        frames, captions = self._strip(last)
        if frames:
            title = f"query video (left) and who was drawn for it, {self.epochs[last]}"
            plots.frame_strip(above, frames, captions, title)
        else:
            plots.blank(above, "no pictures")
        retrieved = [numbers for draws in self.drawn[last] for numbers in draws]
        sets = {"random": self.by_chance[last], "retrieved": retrieved}
        sets = {name: np.array([one["hardness"] for one in found]) for name, found in sets.items() if found}
        xlabel = "hardness: mean cosine of two videos of a batch"
        plots.histogram(ax, sets, 24, xlabel=xlabel, ylabel="share of batches")
        return fig

    def _strip(self, epoch: int) -> tuple[list[np.ndarray], list[str]]:
        """Middle frames of the first query's video and its batch, and what is known of each."""
        if not self.queries:
            return [], []
        query, members = self.queries[0], self.members(self.queries[0], 0, epoch).tolist()
        tiles = [(query, "query" if query in members else "query, dropped")]
        for rank, v in enumerate((v for v in self.spaces[epoch].pool[query].tolist() if v != query), 1):
            kin = self.videos[query].kin(self.videos[v]) or self.videos[v].id
            meets = self.shown and any(self.shown[0][v] & self.shown[0][w] for w in members if w != v)
            false = " · false negatives" if meets else ""
            tiles += [(v, f"rank {rank}: {kin}{false}")] if v in members else []
        shown = [(self.pictures[v][len(self.pictures[v]) // 2], text) for v, text in tiles if v in self.pictures]
        return [frame for frame, _ in shown[:DRAWN_TILES]], [text for _, text in shown[:DRAWN_TILES]]


def _space(vectors: np.ndarray, pool: int) -> _Space:
    ids, squared = nearest(vectors, pool)
    vectors = np.asarray(vectors, float)
    return _Space(ids, np.sqrt(np.maximum(squared, 0)), centred_units(vectors))


def _summary(found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    hard = [one["hardness"] for one in found]
    low, high = (round(float(np.quantile(hard, q)), 4) for q in (0.025, 0.975))
    known = {name: [one[name] for one in found if one[name] is not None] for name in SHARES}
    return {"hardness": _mean(hard), "low": low, "high": high} | {k: _mean(v) if v else None for k, v in known.items()}


def _squares(counts: Iterable[int]) -> int:
    return sum(n * n for n in counts)


def _mean(values: np.ndarray | Sequence[float]) -> float:
    """Rounded; 0 of nothing, such as the pairs of a batch of one."""
    return round(float(np.mean(values)), 4) if len(values) else 0.0
