"""How good a search is: what an approximate index misses, and what steps of known videos find in a library."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from vcwork.base.errors import VcworkError
from vcwork.data.corpus import Corpus
from vcwork.encoders.encoder import Encoder, encode_text
from vcwork.measure import metrics
from vcwork.measure.card import Card
from vcwork.measure.result import Result, show, text_table
from vcwork.search.hits import Hit
from vcwork.search.index import VideoIndex
from vcwork.search.library import ask, right_items
from vcwork.tasks import moments, opponents

EFFORTS = {"flat": (0,), "ivf": (1, 2, 4, 8), "hnsw": (20, 100)}


def recall_of(
    exact: VideoIndex, approximate: VideoIndex, queries: np.ndarray, k: int = 10, effort: int = 0
) -> np.ndarray:
    """Recall@k of one index against an exact one of the same items, query by query: (Q, D) -> (Q,).

    An answer counts when its exact score is as high as the k-th exact one, so of equal items any will do.
    """
    if set(exact.ids) != set(approximate.ids) or exact.covered:
        raise VcworkError(f"expected an exact index and one of its {len(exact)} items, got one of {exact.kind!r} first")
    best, found = exact.query(queries, k), approximate.query(queries, k, effort)
    return np.array([_found(exact, *row) for row in zip(queries, best, found, strict=True)])


def step_queries(encoder: Encoder, corpus: Corpus, index: VideoIndex, most: int = 200) -> tuple:
    """Sentences of at most so many steps as vectors (Q, D), and of each the ids of its right items; truth is read.

    (None, None) where no item shows a known step.
    """
    right = right_items(corpus, index)
    steps = sorted(right)[:most]
    if not steps:
        return None, None
    return encode_text(encoder, [corpus.steps[s] for s in steps]), [right[s] for s in steps]


def videos_table(encoder: Encoder, corpus: Corpus, libraries: Mapping[str, VideoIndex], most: int = 200) -> str:
    """Is a video that shows a step among the first? R@1 and R@5 by MaxSim, of libraries {one vector a ...}, as text.

    The libraries hold the same videos; chance knows how many of them show each step. "" where no step is known.
    """
    holding: dict[str, set[str]] = {}  # step: the videos that show it
    videos = {entry["video"] for index in libraries.values() for entry in index.metadata}
    for video in videos:
        for segment in corpus[video].segments:
            holding.setdefault(segment.step, set()).add(video)
    rows, steps, ks = [], sorted(holding)[:most], (1, 5)
    for per, index in libraries.items() if steps else ():
        answers = ask(index, encoder, [corpus.steps[s] for s in steps], k=max(ks), videos=True)
        good = [[hit.metadata["video"] in holding[s] for hit in hits] for hits, s in zip(answers, steps, strict=True)]
        rows.append((f"one a {per}", *(show(float(np.mean([any(g[:k]) for g in good]))) for k in ks)))
    n_right = np.array([len(holding[s]) for s in steps])
    if steps:
        rows.append(("chance", *(show(metrics.chance_recall_at_k(len(videos), k, n_right)) for k in ks)))
    return text_table(("vectors", "R@1 of a right video", "R@5"), rows) if steps else ""


def search_results(
    encoder: Encoder, corpus: Corpus, index: VideoIndex, steps: Sequence[str], setting: Card, seed: int = 0
) -> list[Result]:
    """library_R@k: the sentences of steps among all windows of a library, right where the window's middle shows it."""
    sentences, right = [corpus.steps[s] for s in steps], right_items(corpus, index)
    relevant = np.array([np.isin(index.ids, right.get(step, [])) for step in steps])  # (Q, N)
    at = [(entry["video"], entry["start_s"], entry["end_s"]) for entry in index.metadata]
    beside = opponents.of_windows(corpus, sentences, at)
    rule = setting.but(f"windows of {max(end - start for _, start, end in at)} s, right when its middle is in the step")
    scores = encode_text(encoder, sentences) @ index.vectors.T  # (Q, N)
    return moments.evaluate_search(scores, relevant, beside=beside, setting=rule, seed=seed)


def _found(exact: VideoIndex, query: np.ndarray, best: list[Hit], found: list[Hit]) -> float:
    """Share of the best that was found, judged by the exact scores of what was found."""
    if not best or not found:
        return float(not best)
    scores = exact.scores(query, [hit.id for hit in found])
    return float((scores >= best[-1].score).sum() / len(best))


def right_share(lists: Sequence[Sequence[Hit]], truth: Sequence[Iterable[str]]) -> float:
    """Share of queries with a right item among their hits; of equal scores the item added first is ahead."""
    return float(np.mean([any(hit.id in set(right) for hit in hits) for hits, right in zip(lists, truth, strict=True)]))


def kinds_table(
    exact: VideoIndex, queries: np.ndarray, k: int = 10, truth: Sequence[Iterable[str]] | None = None
) -> str:
    """`recall_of` indexes of the same vectors, of each kind and effort, as text; why, where a kind cannot be had.

    truth: ids of the right items of each query, for the share of queries that have one among their k best.
    """
    rows, head = [], ("kind", "effort", f"found of {k}", f"R@{k}", f"exact R@{k}")
    by_exact = None if truth is None else right_share(exact.query(queries, k), truth)
    for kind, efforts in EFFORTS.items():
        try:
            index = VideoIndex.build(exact.vectors, exact.ids, kind=kind)
        except VcworkError as error:
            rows.append((kind, str(error), *[""] * (1 if truth is None else 3)))
            continue
        for effort in efforts:
            shares = [float(recall_of(exact, index, queries, k, effort).mean())]
            if truth is not None:
                shares += [right_share(index.query(queries, k, effort), truth), by_exact]
            rows.append((kind, effort or "all", *map(show, shares)))
    return text_table(head[: len(rows[0])], rows)
