"""A batch of look-alikes as thumbnails: who was drawn, how hard it is, how false, what moved: `ClusterInspector`.

The class knows vectors and plain data only (`vcwork.panels.make_clusters` makes them). Every batch on the page is
computed here; the page adds which tiles share a step, by comparing labels. Batches of one draw number take the same
clips of a video, in every epoch and for every query, so that what changes between two batches is who is in them.
Known gaps: only the queries given travel with the page; the reference code's search in one cell is not shown.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, asdict, dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from vcwork.base.errors import VcworkError
from vcwork.core.clusters import nearest
from vcwork.measure import metrics
from vcwork.panels import plots
from vcwork.panels.base import Panel
from vcwork.panels.parts import Pictures
from vcwork.review.geometry import unit

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
    video v, empty: none known; pictures: frames of some videos; queries: the videos that can be asked for, None: all.
    Distances are L2; similarity is the cosine of vectors around their mean. VcworkError where shapes do not fit, or
    without a video.
    """

    module = "clusters.js"
    vectors: Mapping[str, np.ndarray]
    videos: Sequence[ClusterVideo]
    _: KW_ONLY
    k: int = 32
    pool_factor: int = 2
    draws: int = 3
    clips: Sequence[Sequence[Sequence[BatchClip]]] = ()
    pictures: Pictures = field(default_factory=dict)
    queries: Sequence[int] | None = None
    seed: int = 0
    title: str = ""
    notes: Sequence[str] = ()

    def __post_init__(self) -> None:
        n = len(self.videos)
        if not n or not self.vectors or min(self.k, self.pool_factor, self.draws) < 1:
            raise VcworkError(
                f"expected a video, an epoch, and k, pool_factor, draws of at least 1, "
                f"got {n} videos, {len(self.vectors)} epochs, {self.k}, {self.pool_factor}, {self.draws}"
            )
        for name, vectors in self.vectors.items():
            if np.ndim(vectors) != 2 or len(vectors) != n:
                raise VcworkError(f"epoch {name!r}: expected vectors ({n}, D) of {n} videos, got {np.shape(vectors)}")
            metrics.check_scores(vectors, f"epoch {name!r}")
        if self.clips and (len(self.clips) != self.draws or any(len(draw) != n for draw in self.clips)):
            raise VcworkError(f"clips: expected {self.draws} draws of {n} videos, got {[len(d) for d in self.clips]}")
        object.__setattr__(self, "k", min(self.k, n))
        object.__setattr__(self, "queries", [int(q) for q in (range(n) if self.queries is None else self.queries)])
        if any(not 0 <= q < n for q in self.queries):
            raise VcworkError(f"queries: expected videos 0 to {n - 1}, got {self.queries}")

    @property
    def epochs(self) -> list[str]:
        """Their names, earliest first."""
        return list(self.vectors)

    @cached_property
    def spaces(self) -> list[_Space]:
        """Pools and unit vectors, an epoch each."""
        size = min(self.pool_factor * self.k, len(self.videos))
        return [_space(vectors, size) for vectors in self.vectors.values()]

    @cached_property
    def steps(self) -> list[str]:
        """All that happens in a video or is shown by a clip."""
        happen = {step for video in self.videos for step in video.steps}
        return sorted((happen | {c.step for draw in self.clips for v in draw for c in v}) - {""})

    @cached_property
    def happens(self) -> np.ndarray:
        """(V, S) which steps happen in which video."""
        return self._table([video.steps for video in self.videos]) > 0

    @cached_property
    def shown(self) -> list[np.ndarray]:
        """(V, S) how many clips of a video show a step, a draw each."""
        return [self._table([[clip.step for clip in clips] for clips in draw]) for draw in self.clips]

    def _table(self, lists: Sequence[Sequence[str]]) -> np.ndarray:
        """How often each step stands in each list, (len(lists), S)."""
        at, out = {step: i for i, step in enumerate(self.steps)}, np.zeros((len(lists), len(self.steps)), int)
        for row, steps in enumerate(lists):
            for step in filter(None, steps):
                out[row, at[step]] += 1
        return out

    # ------------------------------------------------------------------------------------------------- one batch

    def members(self, query: int, draw: int, epoch: int) -> np.ndarray:
        """The videos (k,) of a batch, nearest first: a random k of the pool, so the query itself may drop out."""
        return self.spaces[epoch].pool[query][self.places(query, draw)]

    def places(self, query: int, draw: int) -> np.ndarray:
        """Which places (k,) of the pool are drawn, ascending; the same in every epoch."""
        rng = np.random.default_rng([self.seed, 15, query, draw])
        return np.sort(rng.permutation(self.spaces[0].pool.shape[1])[: self.k])

    def update(self, query: int, draw: int = 0, epoch: int = -1) -> dict[str, Any]:
        """What the panel shows for a batch; nothing is changed.

        `dropped`: is the query itself left out; `members` and `left_out` of the pool, ids, nearest first; `numbers` of
        the batch and `random`, the same of random batches (None where truth is not known). VcworkError for a query,
        draw or epoch that is not there.
        """
        query, draw = _index("query", query, len(self.videos)), _index("draw", draw, self.draws)
        epoch = _index("epoch", epoch, len(self.epochs))
        members, pool = self.members(query, draw, epoch).tolist(), self.spaces[epoch].pool[query].tolist()
        return {
            "query": self.videos[query].id,
            "dropped": query not in members,
            "members": [self.videos[v].id for v in members],
            "left_out": [self.videos[v].id for v in pool if v not in members],
            "numbers": self.numbers(members, draw, epoch),
            "random": self.random[epoch],
        }

    # ---------------------------------------------------------------------------------------------- its numbers

    def numbers(self, members: Sequence[int], draw: int, epoch: int) -> dict[str, float | int | None]:
        """hardness: mean cosine of two videos; purity: share of the commonest recipe; steps_in_common: mean over two
        videos of shared over all their steps; false_negatives: share of two clips of different videos that show one
        step, and how many such `false_pairs`. None where truth or clips are not known."""
        members = np.asarray(members, int)
        u, recipes = self.spaces[epoch].unit[members], [self.videos[v].recipe for v in members]
        pairs, share = self._false(members, draw)
        return {
            "hardness": _mean((u @ u.T)[~np.eye(len(members), dtype=bool)]),
            "purity": round(metrics.purity(np.zeros(len(recipes)), np.array(recipes)), 4) if all(recipes) else None,
            "steps_in_common": self._steps_in_common(members),
            "false_negatives": share,
            "false_pairs": pairs,
        }

    def _steps_in_common(self, members: np.ndarray) -> float | None:
        known = self.happens[members][self.happens[members].any(1)].astype(int)  # (M, S)
        if len(known) < 2:
            return None
        both, size = known @ known.T, known.sum(1)
        return _mean((both / (size[:, None] + size - both))[~np.eye(len(known), dtype=bool)])

    def _false(self, members: np.ndarray, draw: int) -> tuple[int | None, float | None]:
        if not any(table.any() for table in self.shown):
            return None, None
        counts = self.shown[draw][members]  # (M, S) clips that show a step
        clips = np.array([len(self.clips[draw][v]) for v in members])
        same = (counts.sum(0) ** 2 - (counts**2).sum(0)).sum() // 2
        pairs = (clips.sum() ** 2 - (clips**2).sum()) // 2
        return int(same), round(float(same / pairs), 4) if pairs else None

    def _meets(self, v: int, members: list[int]) -> bool:
        """Does a clip of v show what a clip of another member shows, in the first draw?"""
        return any((shown[v] * shown[w]).any() for shown in self.shown[:1] for w in members if w != v)

    @cached_property
    def random_batches(self) -> list[np.ndarray]:
        """Batches of random videos (k,), which a batch is compared with."""
        rng = np.random.default_rng([self.seed, 16])
        return [rng.permutation(len(self.videos))[: self.k] for _ in range(RANDOM)]

    @cached_property
    def random(self) -> list[dict[str, Any]]:
        """Of each epoch the mean numbers of random batches, and between which hardnesses 95 % of them lie."""
        return [self._random(epoch) for epoch in range(len(self.epochs))]

    def _random(self, epoch: int) -> dict[str, Any]:
        found = [self.numbers(batch, i % self.draws, epoch) for i, batch in enumerate(self.random_batches)]
        hard = np.array([one["hardness"] for one in found])
        low, high = (round(float(np.quantile(hard, q)), 4) for q in (0.025, 0.975))
        known = {name: [one[name] for one in found if one[name] is not None] for name in SHARES}
        means = {name: _mean(some) if some else None for name, some in known.items()}
        return {"hardness": _mean(hard), "low": low, "high": high} | means

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
        at = {step: i for i, step in enumerate(self.steps)}
        epochs, draws = range(len(self.epochs)), range(self.draws)
        seen = {*self.queries} | {int(v) for space in self.spaces for q in self.queries for v in space.pool[q]}

        def numbers(query: int, draw: int, epoch: int) -> dict:
            return self.numbers(self.members(query, draw, epoch), draw, epoch)

        def clips(some: Sequence[BatchClip]) -> list[list]:
            return [[float(c.start_s), float(c.end_s), at.get(c.step, -1)] for c in some]

        def video(one: ClusterVideo) -> dict[str, Any]:
            return asdict(one) | {"steps": [at[step] for step in one.steps if step]}

        return self.common() | {
            "k": self.k,
            "epochs": self.epochs,
            "draws": self.draws,
            "videos": [video(one) if v in seen else None for v, one in enumerate(self.videos)],
            "steps": self.steps,
            "queries": self.queries,
            "places": [[self.places(q, d).tolist() for d in draws] for q in self.queries],
            "pools": [[space.of(q) for q in self.queries] for space in self.spaces],
            "numbers": [[[numbers(q, d, e) for d in draws] for q in self.queries] for e in epochs],
            "random": self.random,
            "kept": [[self.kept(e, s) for s in epochs] for e in epochs],
            "clips": [[clips(some) if v in seen else [] for v, some in enumerate(draw)] for draw in self.clips],
        }

    def words(self) -> str:
        """What the picture shows."""
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
        batches = {"random": [(batch, 0) for batch in self.random_batches]}
        retrieved = [(self.members(q, d, last), d) for q, d in itertools.product(self.queries, range(self.draws))]
        batches |= {"retrieved": retrieved} if retrieved else {}
        sets = {
            name: np.array([self.numbers(batch, draw, last)["hardness"] for batch, draw in some])
            for name, some in batches.items()
        }
        xlabel = "hardness: mean cosine of two videos of a batch"
        plots.histogram(ax, sets, 24, xlabel=xlabel, ylabel="share of batches")
        return fig

    def _strip(self, epoch: int) -> tuple[list[np.ndarray], list[str]]:
        """Middle frames of the first query's video and its batch, of one size, and what is known of each."""
        if not self.queries:
            return [], []
        query, members = self.queries[0], self.members(self.queries[0], 0, epoch).tolist()
        tiles = [(query, "query" if query in members else "query, dropped")]
        for rank, v in enumerate((v for v in self.spaces[epoch].pool[query].tolist() if v != query), 1):
            kin = self.videos[query].kin(self.videos[v]) or self.videos[v].id
            false = " · false negatives" if self._meets(v, members) else ""
            tiles += [(v, f"rank {rank}: {kin}{false}")] if v in members else []
        shown = [(self.pictures[v][len(self.pictures[v]) // 2], text) for v, text in tiles if v in self.pictures]
        shown = [(frame, text) for frame, text in shown if frame.shape == shown[0][0].shape][:DRAWN_TILES]
        return [frame for frame, _ in shown], [text for _, text in shown]


def _index(name: str, value: int, n: int) -> int:
    if not -n <= value < n:
        raise VcworkError(f"{name}: expected 0 to {n - 1}, got {value}")
    return value % n


def _space(vectors: np.ndarray, pool: int) -> _Space:
    ids, squared = nearest(vectors, pool)
    vectors = np.asarray(vectors, float)
    return _Space(ids, np.sqrt(np.maximum(squared, 0)), unit(vectors - vectors.mean(0)))


def _mean(values: np.ndarray | Sequence[float]) -> float:
    """Rounded; 0 of nothing, such as the pairs of a batch of one."""
    return round(float(np.mean(values)), 4) if len(values) else 0.0
