"""A batch of look-alikes as thumbnails: who was drawn, how hard it is, how false, what moved: `ClusterInspector`.

The class knows vectors and plain data only (`vcwork.panels.make_clusters` makes them). Every batch on the page is
computed here; the page adds which tiles share a step, by comparing labels. Batches of one draw number take the same
clips of a video, in every epoch and for every query, so that what changes between two batches is who is in them.
Known gaps: only the queries given travel with the page; the reference code's search in one cell is not shown.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from vcwork.base.errors import VcworkError
from vcwork.core.clusters import nearest
from vcwork.panels import plots
from vcwork.panels.base import Panel, sheet
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


class ClusterInspector(Panel):
    """Batches of k videos drawn from the pool_factor * k nearest of a query video (paper, Algorithm 1), by epoch.

    epochs: {name: vectors (V, D)}, earliest first; videos: V; clips[draw][v]: the clips that batches of this draw take
    of video v, empty: none known; pictures: {v: frames (H, W, 3) uint8}; queries: the videos that can be asked for,
    None: all. Distances are L2; similarity is the cosine of vectors around their mean. VcworkError where shapes do not
    fit, or without a video.
    """

    module = "clusters.js"

    def __init__(
        self,
        epochs: Mapping[str, np.ndarray],
        videos: Sequence[ClusterVideo],
        *,
        k: int = 32,
        pool_factor: int = 2,
        draws: int = 3,
        clips: Sequence[Sequence[Sequence[BatchClip]]] = (),
        pictures: Mapping[int, Sequence[np.ndarray]] | None = None,
        queries: Sequence[int] | None = None,
        seed: int = 0,
        title: str = "",
        notes: Sequence[str] = (),
    ) -> None:
        self.videos, self.clips = list(videos), [[list(c) for c in draw] for draw in clips]
        n = len(self.videos)
        _check(epochs, n, k, pool_factor, draws, self.clips)
        self.epochs, self.draws, self.seed = list(epochs), draws, seed
        self.k, self.pool = min(k, n), min(pool_factor * min(k, n), n)
        self.spaces = [_space(vectors, self.pool) for vectors in epochs.values()]
        self.queries = list(range(n)) if queries is None else [int(q) for q in queries]
        if any(not 0 <= q < n for q in self.queries):
            raise VcworkError(f"queries: expected videos 0 to {n - 1}, got {self.queries}")
        self.title, self.notes = title, list(notes)
        self.steps = sorted(
            {s for v in self.videos for s in v.steps} | {c.step for d in self.clips for v in d for c in v}
        )
        self.steps = [step for step in self.steps if step]
        self.happens = self._table([[s for s in v.steps if s] for v in self.videos]) > 0  # (V, S)
        self.shown = [self._table([[c.step for c in v if c.step] for v in draw]) for draw in self.clips]  # (V, S) each
        self.frames = {int(v): [np.asarray(f) for f in some] for v, some in (pictures or {}).items() if len(some)}
        self.sheet, self.pictures = _sheet(self.frames)
        self.random_batches = self._random_batches()
        self.random = [self._random(epoch) for epoch in range(len(self.epochs))]

    def _table(self, lists: Sequence[Sequence[str]]) -> np.ndarray:
        """How often each step stands in each list, (len(lists), S)."""
        at, out = {step: i for i, step in enumerate(self.steps)}, np.zeros((len(lists), len(self.steps)), int)
        for row, steps in enumerate(lists):
            for step in steps:
                out[row, at[step]] += 1
        return out

    # ------------------------------------------------------------------------------------------------- one batch

    def members(self, query: int, draw: int, epoch: int) -> np.ndarray:
        """The videos (k,) of a batch, nearest first: a random k of the pool, so the query itself may drop out."""
        return self.spaces[epoch].pool[query][self.places(query, draw)]

    def places(self, query: int, draw: int) -> np.ndarray:
        """Which places (k,) of the pool are drawn, ascending; the same in every epoch."""
        return np.sort(np.random.default_rng([self.seed, 15, query, draw]).permutation(self.pool)[: self.k])

    def update(self, query: int, draw: int = 0, epoch: int = -1, since: int = 0) -> dict[str, Any]:
        """What the panel shows for a batch; nothing is changed.

        `dropped`: is the query itself left out; `members` and `left_out` of the pool, nearest first; `numbers` of the
        batch and `random`, the same of random batches (None where truth is not known); `drift`: who of the pool stayed,
        came and left since the epoch `since`. VcworkError for a query, draw or epoch that is not there.
        """
        epoch, since = (range(len(self.epochs))[self._index("epoch", e, len(self.epochs))] for e in (epoch, since))
        query, draw = self._index("query", query, len(self.videos)), self._index("draw", draw, self.draws)
        members, pool = self.members(query, draw, epoch).tolist(), self.spaces[epoch].pool[query].tolist()
        return {
            "query": self.videos[query].id,
            "dropped": query not in members,
            "members": [self._member(query, v, members, draw, epoch) for v in members],
            "left_out": [self._member(query, v, members, draw, epoch) for v in pool if v not in members],
            "numbers": self.numbers(members, draw, epoch),
            "random": self.random[epoch],
            "drift": self.drift(query, epoch, since),
        }

    def _index(self, name: str, value: int, n: int) -> int:
        if not -n <= value < n:
            raise VcworkError(f"{name}: expected 0 to {n - 1}, got {value}")
        return value % n

    def _member(self, query: int, v: int, members: list[int], draw: int, epoch: int) -> dict[str, Any]:
        space, one = self.spaces[epoch], self.videos[v]
        place = space.pool[query].tolist().index(v)
        before = int(query in space.pool[query][:place].tolist())
        return {
            "video": one.id,
            "rank": 0 if v == query else place + 1 - before,
            "distance": round(float(space.distance[query, place]), 4),
            "cosine": round(float(space.unit[query] @ space.unit[v]), 4),
            "kin": self.kin(query, v),
            "false_with": {self.videos[w].id: steps for w in members if (steps := self.shared(v, w, draw))},
        }

    def kin(self, v: int, w: int) -> str:
        """What truth says of two videos: "same recipe", "look-alike", "other", or "" where a recipe is not known."""
        a, b = self.videos[v], self.videos[w]
        if not a.recipe or not b.recipe:
            return ""
        if a.recipe == b.recipe:
            return "same recipe"
        return "look-alike" if a.lookalike == b.recipe or b.lookalike == a.recipe else "other"

    def shared(self, v: int, w: int, draw: int) -> list[str]:
        """The steps that a clip of v and a clip of w both show: false negatives if the two meet. Empty for v = w."""
        if v == w or not self.clips:
            return []
        return [self.steps[s] for s in np.flatnonzero(self.shown[draw][v] * self.shown[draw][w])]

    # ---------------------------------------------------------------------------------------------- its numbers

    def numbers(self, members: Sequence[int], draw: int, epoch: int) -> dict[str, float | int | None]:
        """hardness: mean cosine of two videos; purity: share of the commonest recipe; steps_in_common: mean over two
        videos of shared over all their steps; false_negatives: share of two clips of different videos that show one
        step, and how many such `false_pairs`. None where truth or clips are not known."""
        members = np.asarray(members, int)
        u = self.spaces[epoch].unit[members]
        off = ~np.eye(len(members), dtype=bool)
        pairs, share = self._false(members, draw)
        return {
            "hardness": _mean((u @ u.T)[off]),
            "purity": self._purity(members),
            "steps_in_common": self._steps_in_common(members),
            "false_negatives": share,
            "false_pairs": pairs,
        }

    def _purity(self, members: np.ndarray) -> float | None:
        recipes = [self.videos[v].recipe for v in members]
        if not all(recipes):
            return None
        return round(float(np.unique(recipes, return_counts=True)[1].max()) / len(recipes), 4)

    def _steps_in_common(self, members: np.ndarray) -> float | None:
        known = self.happens[members][self.happens[members].any(1)].astype(int)  # (M, S)
        if len(known) < 2:
            return None
        both, size = known @ known.T, known.sum(1)
        return _mean((both / (size[:, None] + size - both))[~np.eye(len(known), dtype=bool)])

    def _false(self, members: np.ndarray, draw: int) -> tuple[int | None, float | None]:
        if not self.clips or not any(table.any() for table in self.shown):
            return None, None
        counts = self.shown[draw][members]  # (M, S) clips that show a step
        clips = np.array([len(self.clips[draw][v]) for v in members])
        same = (counts.sum(0) ** 2 - (counts**2).sum(0)).sum() // 2
        pairs = (clips.sum() ** 2 - (clips**2).sum()) // 2
        return int(same), round(float(same / pairs), 4) if pairs else None

    def _random(self, epoch: int) -> dict[str, Any]:
        """Mean numbers of `RANDOM` batches of random videos, and between which hardnesses 95 % of them lie."""
        found = [self.numbers(batch, i % self.draws, epoch) for i, batch in enumerate(self.random_batches)]
        hard = np.array([one["hardness"] for one in found])
        out = {"hardness": _mean(hard), "low": _quantile(hard, 0.025), "high": _quantile(hard, 0.975)}
        for name in SHARES:
            known = [one[name] for one in found if one[name] is not None]
            out[name] = _mean(known) if known else None
        return out

    def _random_batches(self) -> list[np.ndarray]:
        rng = np.random.default_rng([self.seed, 16])
        return [rng.permutation(len(self.videos))[: self.k] for _ in range(RANDOM)]

    def drift(self, query: int, epoch: int, since: int) -> dict[str, Any]:
        """The pool's videos, the query apart, that stayed, came and left between two epochs; `kept`: share that stayed,
        and its mean over all queries of the panel."""
        now, then = (
            [v for v in self.spaces[e].pool[query].tolist() if v != query] for e in (epoch, since)
        )  # nearest first
        return {
            "stayed": [self.videos[v].id for v in now if v in then],
            "came": [self.videos[v].id for v in now if v not in then],
            "left": [self.videos[v].id for v in then if v not in now],
            "kept": _share(now, then),
            "kept_by_all": self.kept(epoch, since),
        }

    def kept(self, epoch: int, since: int) -> float | None:
        """Mean share of a pool, the query apart, that was in the query's pool at the epoch `since`, too."""
        pools = [[[v for v in self.spaces[e].pool[q].tolist() if v != q] for e in (epoch, since)] for q in self.queries]
        shares = [share for now, then in pools if (share := _share(now, then)) is not None]
        return round(float(np.mean(shares)), 4) if shares else None

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

        return self.common() | {
            "k": self.k,
            "epochs": self.epochs,
            "draws": self.draws,
            "videos": [self._video(v, at) if v in seen else None for v in range(len(self.videos))],
            "steps": self.steps,
            "queries": self.queries,
            "places": [[self.places(q, d).tolist() for d in draws] for q in self.queries],
            "pools": [[self._pool(q, e) for q in self.queries] for e in epochs],
            "numbers": [[[numbers(q, d, e) for d in draws] for q in self.queries] for e in epochs],
            "random": self.random,
            "kept": [[self.kept(e, s) for s in epochs] for e in epochs],
            "clips": [[self._clips(clips, at) if v in seen else [] for v, clips in enumerate(d)] for d in self.clips],
            "pictures": {str(v): where for v, where in self.pictures.items()},
            "sheet": self.sheet[1] if self.sheet else None,
        }

    def _video(self, v: int, at: Mapping[str, int]) -> dict[str, Any]:
        return asdict(self.videos[v]) | {"steps": [at[step] for step in self.videos[v].steps if step]}

    def _clips(self, clips: Sequence[BatchClip], at: Mapping[str, int]) -> list[list]:
        return [[float(c.start_s), float(c.end_s), at.get(c.step, -1)] for c in clips]

    def _pool(self, query: int, epoch: int) -> dict[str, list]:
        space = self.spaces[epoch]
        pool = space.pool[query]
        return {
            "videos": pool.tolist(),
            "distance": [round(float(d), 4) for d in space.distance[query]],
            "cosine": [round(float(c), 4) for c in space.unit[pool] @ space.unit[query]],
        }

    def media(self) -> dict[str, bytes]:
        """The sheet of thumbnails."""
        return {"sheet": self.sheet[0]} if self.sheet else {}

    def words(self) -> str:
        """What the picture shows."""
        return f"batches of {self.k} of the {self.pool} videos nearest to a query video, {len(self.epochs)} epochs"

    def figure(self) -> Figure:
        """The same without a browser: the first query's batch, and the hardness of all batches beside random ones."""
        last, hard = len(self.epochs) - 1, []
        for q, d in itertools.product(self.queries, range(self.draws)):
            hard.append(self.numbers(self.members(q, d, last), d, last)["hardness"])
        fig, (above, ax) = plots.figure(8.5, 4.4, rows=2, height_ratios=[2, 2.2])
        frames, captions = self._strip(last)
        if frames:
            plots.frame_strip(
                above, frames, captions, f"query video (left) and who was drawn for it, {self.epochs[last]}"
            )
        else:
            above.set_axis_off()
            above.text(0.5, 0.5, "no pictures", ha="center", va="center")
        random = [self.numbers(batch, 0, last)["hardness"] for batch in self.random_batches]
        sets = {"random": np.array(random)} | ({"retrieved": np.array(hard)} if hard else {})
        plots.histogram(
            ax, sets, 24, xlabel="hardness: mean cosine of two videos of a batch", ylabel="share of batches"
        )
        return fig

    def _strip(self, epoch: int) -> tuple[list[np.ndarray], list[str]]:
        """Middle frames of the first query's video and its batch, of one size, and what is known of each."""
        if not self.queries:
            return [], []
        query = self.queries[0]
        found = self.update(query, 0, epoch)
        tiles = [(query, "query, dropped" if found["dropped"] else "query")]
        row = {v.id: i for i, v in enumerate(self.videos)}
        for one in found["members"]:
            if row[one["video"]] != query:
                false = " · false negatives" if one["false_with"] else ""
                tiles.append((row[one["video"]], f"rank {one['rank']}: {one['kin'] or one['video']}{false}"))
        tiles = [(self.frames[v][len(self.frames[v]) // 2], text) for v, text in tiles if v in self.frames]
        tiles = [(frame, text) for frame, text in tiles if frame.shape == tiles[0][0].shape][:DRAWN_TILES]
        return [frame for frame, _ in tiles], [text for _, text in tiles]


def _check(epochs: Mapping[str, np.ndarray], n: int, k: int, pool_factor: int, draws: int, clips: list) -> None:
    if not n or not epochs or min(k, pool_factor, draws) < 1:
        raise VcworkError(
            f"expected a video, an epoch, and k, pool_factor, draws of at least 1, "
            f"got {n} videos, {len(epochs)} epochs, {k}, {pool_factor}, {draws}"
        )
    for name, vectors in epochs.items():
        if np.ndim(vectors) != 2 or len(vectors) != n:
            raise VcworkError(f"epoch {name!r}: expected vectors ({n}, D) of {n} videos, got {np.shape(vectors)}")
    if clips and (len(clips) != draws or any(len(draw) != n for draw in clips)):
        raise VcworkError(f"clips: expected {draws} draws of {n} videos, got {[len(draw) for draw in clips]}")


def _space(vectors: np.ndarray, pool: int) -> _Space:
    ids, squared = nearest(vectors, pool)
    vectors = np.asarray(vectors, float)
    return _Space(ids, np.sqrt(np.maximum(squared, 0)), unit(vectors - vectors.mean(0)))


def _sheet(frames: Mapping[int, Sequence[np.ndarray]]) -> tuple[tuple[bytes, dict] | None, dict[int, list[int]]]:
    """All frames on one sheet, or None without any, and where on it those of each video are."""
    where, flat = {}, []
    for v, some in frames.items():
        where[v] = list(range(len(flat), len(flat) + len(some)))
        flat += some
    return (sheet(flat) if flat else None), where


def _mean(values: np.ndarray | Sequence[float]) -> float:
    """Rounded; 0 of nothing, such as the pairs of a batch of one."""
    return round(float(np.mean(values)), 4) if len(values) else 0.0


def _quantile(values: np.ndarray, q: float) -> float:
    return round(float(np.quantile(values, q)), 4)


def _share(now: Sequence[int], then: Sequence[int]) -> float | None:
    return round(sum(v in then for v in now) / len(now), 4) if now else None
