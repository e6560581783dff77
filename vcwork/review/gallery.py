"""What a score matrix is about: texts, items, which item is right for which text, and the videos they are of.

From a benchmark's own annotation file, from a csv or a TREC qrels file of one's own, or from nothing, where row i is
taken for column i. `aligned` puts somebody's scores into this order by their ids, and refuses what does not fit.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from vcwork.base.errors import VcworkError
from vcwork.base.files import resolve
from vcwork.data.benchmarks.common import Benchmark, plain
from vcwork.data.benchmarks.hirest import read_videos
from vcwork.data.benchmarks.msrvtt import read_msrvtt_json
from vcwork.data.benchmarks.reading import At, read_rows, read_text, same_ids
from vcwork.data.benchmarks.sources import SOURCES, lacking, read_splits
from vcwork.data.benchmarks.youcook2 import read_youcook2_json
from vcwork.measure.streamed import Pairs
from vcwork.review.scores import SPARSE, Scores, trec_pairs

BENCHMARKS = ("youcook2", "msrvtt", "hirest")
COLUMNS = ("text", "item_id", "query_id", "video", "group", "recipe", "seconds")


@dataclass(frozen=True)
class Gallery:
    """Q texts and N items. item_of (Q,): the place of each text's own item.

    group_of (Q,) and groups (N,): what a text asks for and an item shows, where several items may be right; videos
    (N,), recipes (N,) and seconds (N,), () where unknown. split: its full name; benchmark: a published one's name.
    judged, grades (P,): where texts have several right items, of one grade or several, and no own one (item_of empty).
    """

    split: str
    texts: Sequence[str]
    query_ids: Sequence[str]
    item_ids: Sequence[str]
    item_of: np.ndarray
    videos: Sequence[str]
    group_of: Sequence[str] = ()
    groups: Sequence[str] = ()
    recipes: Sequence[str] = ()
    seconds: Sequence[float] = ()
    benchmark: str = ""
    notes: list[str] = field(default_factory=list)
    judged: Pairs | None = None
    grades: np.ndarray | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """(Q, N)."""
        return len(self.query_ids), len(self.item_ids)

    @property
    def paired(self) -> bool:
        """Does every item have exactly one text of its own?"""
        return self.shape[0] == self.shape[1] == len(np.unique(self.item_of))


def unknown_gallery(scores: Scores) -> Gallery:
    """Row i belongs to column i; ids of the file's own where it has them. VcworkError unless the matrix is square."""
    n_queries, n_items = scores.shape
    if n_queries != n_items:
        needed = "tell which item is right (--benchmark with --annotations, or --items FILE.csv)"
        raise VcworkError(f"{scores.path}: without annotations scores must be square, got {scores.shape}; {needed}")
    names = [str(i) for i in range(n_items)]
    items, queries = scores.item_ids or names, scores.query_ids or names
    place = {id: i for i, id in enumerate(items)}
    if scores.item_ids and scores.query_ids and set(items) == set(queries):
        item_of, notes = np.array([place[id] for id in queries]), ["the right item of a row is the column of its id"]
    else:
        item_of, notes = np.arange(n_items), ["the right item of row i is taken to be column i"]
    return Gallery(f"{scores.path.name} {n_items:,}", (), queries, items, item_of, items, notes=notes)


def benchmark_gallery(name: str, annotations: str | Path) -> Gallery:
    """The test split of a benchmark, from its own annotation file, or the folder where that lies.

    A file says which gallery: YouCook2's csv or its official json, MSR-VTT's 1k-A csv or the json of its full test.
    Items of MSR-VTT are named by their video; clips of YouCook2 are VIDEO:START-END, or by their line in the file.
    """
    source = resolve(annotations)
    if source.suffix == ".json" and name in ("youcook2", "msrvtt"):
        return _of_benchmark(read_youcook2_json(source) if name == "youcook2" else read_msrvtt_json([source], "full"))
    parts = read_splits(name, source)
    if "test" not in parts:
        told = "; ".join([f"it needs {SOURCES[name]}", *lacking(parts)])
        raise VcworkError(f"{source}: no test split of {name} there; {told}")
    return _of_benchmark(parts["test"])


def _of_benchmark(part: Benchmark) -> Gallery:
    clips, n, lost = part.clips, len(part.clips), part.counts["clips"].missing
    notes = [f"clips left out of the annotations: {len(lost)}; first: {at}: {why}" for at, why in [*lost.items()][:1]]
    videos = [clip.video for clip in clips]
    if part.unit == "videos":  # several captions ask for one
        items, queries = list(part.videos), [str(i) for i in range(n)]
        place = {video: i for i, video in enumerate(items)}
        own = np.array([place[video] for video in videos])
        return Gallery(part.split, part.texts, queries, items, own, items, benchmark=part.name, notes=notes)
    ids = videos if len(set(videos)) == n else [f"{c.video}:{c.start_s:g}-{c.end_s:g}" for c in clips]
    if len(set(ids)) < n:  # clips annotated twice
        ids = [str(i) for i in range(n)]
    recipes = [clip.recipe for clip in clips] if all(clip.recipe for clip in clips) else ()
    lengths = [clip.end_s - clip.start_s for clip in clips]
    seconds = lengths if all(map(math.isfinite, lengths)) else ()
    return Gallery(part.split, part.texts, ids, ids, np.arange(n), videos, (), (), recipes, seconds, part.name, notes)


def read_gallery(path: str | Path) -> Gallery:
    """A csv with a line a text: `text, item_id`, and where known `query_id, video, group, recipe, seconds`.

    A line without a text is an item that nobody asks for. VcworkError names the line: another column, no item id, a
    query id twice, an item that comes with two videos, groups, recipes or lengths.
    """
    path = resolve(path)
    items: dict[str, dict[str, str]] = {}
    asked: dict[str, tuple[str, str, str]] = {}  # query id: item, text, group
    for at, row in read_rows(path, COLUMNS[:2], optional=COLUMNS):
        if set(row) - set(COLUMNS):
            raise VcworkError(f"{path}: expected text, item_id, and of {', '.join(COLUMNS[2:])}; got {[*row]}")
        id, about = _item(at, row)
        if items.setdefault(id, about) != about:
            at.fail(f"item {id!r} was told of before with {items[id]}, now with {about}")
        if row["text"].strip():
            query = row.get("query_id") or str(len(asked))
            if query in asked:
                at.fail(f"query id {query!r} comes twice")
            asked[query] = id, row["text"], row.get("group") or ""
    return _of_rows(path, items, asked)


def _item(at: At, row: dict) -> tuple[str, dict[str, str]]:
    if not row["item_id"]:
        at.fail("expected an item_id")
    if row.get("seconds"):
        at.seconds(row["seconds"], "seconds")
    return row["item_id"], {name: row[name] for name in ("video", "group", "recipe", "seconds") if name in row}


def _of_rows(path: Path, items: dict[str, dict[str, str]], asked: dict[str, tuple[str, str, str]]) -> Gallery:
    if not asked:
        raise VcworkError(f"{path}: no line has a text")
    place = {id: i for i, id in enumerate(items)}

    def each(name: str) -> list[str]:
        told = [about.get(name, "") for about in items.values()]
        return told if all(told) else []

    groups = each("group")
    texts, own = [plain(text) for _, text, _ in asked.values()], np.array([place[id] for id, _, _ in asked.values()])
    wanted = [group for _, _, group in asked.values()] if groups else []
    seconds = [float(s) for s in each("seconds")]
    split = f"{path.stem} {len(asked):,} texts, {len(items):,} items"
    videos = each("video") or list(items)
    return Gallery(split, texts, list(asked), list(items), own, videos, wanted, groups, each("recipe"), seconds)


def read_qrels(path: str | Path, scores: Scores) -> Gallery:
    """A TREC qrels file, `query 0 item grade` a line; the items are its own and all others of the scores.

    VcworkError names the line: not four cells, a grade that is no number from 0, a pair twice; scores without ids.
    """
    path, found = resolve(path), dict[str, dict[str, float]]()
    for (query, item), grade in trec_pairs(path, "query 0 item grade", 0.0).items():
        found.setdefault(query, {})[item] = grade
    return judged_gallery(path.stem, {query: (query, grades) for query, grades in found.items()}, scores)


def judged_gallery(
    name: str, found: Mapping[str, tuple[str, Mapping[str, float]]], scores: Scores, benchmark: str = ""
) -> Gallery:
    """{query: (text, {item: grade})} as a gallery, in which stand all other items of the scores as well.

    VcworkError: no grade above 0, or scores that do not name their items.
    """
    judged = dict.fromkeys(item for _, grades in found.values() for item in grades)
    if scores.item_ids is None or scores.query_ids is None:
        raise VcworkError(f"{scores.path}: expected ids of queries and items in the file, as several may be right")
    items = list(judged | dict.fromkeys(scores.item_ids))
    place, queries = {item: i for i, item in enumerate(items)}, [*found]
    rows = sorted((q, place[item], grade) for q, query in enumerate(queries) for item, grade in found[query][1].items())
    if not any(grade > 0 for _, _, grade in rows):
        raise VcworkError(f"{name}: no item is right for any query")
    of, which, grades = map(np.array, zip(*rows, strict=True))
    pairs = Pairs(of, which, len(queries), len(items))
    split = f"{name} {len(queries):,} texts, {len(items):,} items"
    note = f"{len(items) - len(judged):,} items are in the scores alone, and right for no text"
    texts = [plain(text) for text, _ in found.values()]
    none = np.empty(0, int)
    return Gallery(split, texts, queries, items, none, items, benchmark=benchmark, notes=[note], judged=pairs,
                   grades=grades.astype(float))  # fmt: skip


def hirest_gallery(annotations: str | Path, scores: Scores) -> Gallery:
    """HiREST's video retrieval: every video that is listed under a query is right for it."""
    found = {query: (query, dict.fromkeys(videos, 1.0)) for query, videos in read_videos(annotations).items()}
    return judged_gallery(f"HiREST {resolve(annotations).stem}", found, scores, "HiREST")


def aligned(scores: Scores, gallery: Gallery) -> Scores:
    """The scores with rows and columns in the gallery's order, by ids where the file has them, else as they lie.

    VcworkError: rows and columns swapped, ids that are missing, or a matrix of another shape.
    """
    ours, theirs = gallery.shape, scores.shape
    here, there = set(gallery.query_ids), set(gallery.item_ids)
    swapped = scores.query_ids is not None and set(scores.query_ids) <= there and not set(scores.query_ids) <= here
    if swapped or (scores.query_ids is None and ours != theirs and ours == theirs[::-1]):
        raise VcworkError(f"{scores.path}: rows and columns are swapped: expected texts by items {ours}, got {theirs}")
    sparse = scores.path.suffix in SPARSE
    queries = _order(scores, "query", scores.query_ids, gallery.query_ids, False)
    items = _order(scores, "item", scores.item_ids, gallery.item_ids, sparse)
    found = scores.ordered(queries, items)
    if found.shape != ours:
        raise VcworkError(f"{scores.path}: expected scores of {ours[0]:,} texts by {ours[1]:,} items, got {theirs}")
    return found


def within(gallery: Gallery, scores: Scores, pool: str | Path) -> tuple[Gallery, Scores]:
    """The same where only the items that a file lists are there, an id a line, and the texts that are theirs.

    scores: in the gallery's order. VcworkError: an id that the gallery does not have, or twice.
    """
    path = resolve(pool)
    if gallery.judged is not None:
        raise VcworkError("--pool: is for galleries in which each text has an item of its own")
    ids = read_text(path).split("\n")
    listed = [id.strip() for id in ids if id.strip()]
    place = {id: i for i, id in enumerate(gallery.item_ids)}
    unknown = [id for id in listed if id not in place]
    if unknown or len(set(listed)) < len(listed) or len(listed) < 2:
        came = f"{unknown[0]!r}" if unknown else "one twice" if listed[1:] else "too few"
        raise VcworkError(f"{path}: expected item ids of {gallery.split}, two at least and each once, got {came}")
    items = np.array(sorted(place[id] for id in listed))
    queries = np.flatnonzero(np.isin(gallery.item_of, items))
    new = {old: i for i, old in enumerate(items.tolist())}

    def some(values: Sequence, at: np.ndarray) -> Sequence:
        return [values[i] for i in at] if len(values) else values

    own = {name: some(getattr(gallery, name), items) for name in ("item_ids", "videos", "groups", "recipes", "seconds")}
    asked = {name: some(getattr(gallery, name), queries) for name in ("texts", "query_ids", "group_of")}
    own |= {"item_of": np.array([new[i] for i in gallery.item_of[queries].tolist()])}
    split = f"{gallery.split}, the {len(items):,} of {path.name}"
    return replace(gallery, split=split, **own, **asked), scores.ordered(queries, items)


def _order(
    scores: Scores, what: str, ids: Sequence[str] | None, wanted: Sequence[str], sparse: bool
) -> np.ndarray | None:
    """Places of the wanted ids among those of the file, -1 for what a run does not list; None where they lie so."""
    if ids is None or list(ids) == list(wanted):
        return None
    place, numbers = {id: i for i, id in enumerate(ids)}, [str(i) for i in range(len(wanted))]
    if list(ids) == numbers:  # a file's own row numbers
        return None
    if set(ids) == set(numbers):
        wanted = numbers
    if not sparse or not set(ids) <= set(wanted):
        same_ids(scores.path, ids, wanted, f"{what} ids")
    return np.array([place.get(id, -1) for id in wanted])


def same_texts(gallery: Gallery) -> np.ndarray:
    """(Q,) how many texts are word for word this one, itself included."""
    copies = Counter(gallery.texts)
    return np.array([copies[text] for text in gallery.texts])
