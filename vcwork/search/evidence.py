"""The kinds of evidence that `vcwork.search.fused` asks: words, meaning, and what a model sees in each second.

Words: BM25 over all captions. How sure such an answer is, is another question than which comes first:
the share of the query's words that it says, each weighted by how rare it is. Meaning: cosines of sentence vectors.
Pictures: the seconds of a checkpoint; without one the classes of an image network, which is weak: a second is the mean
of its ten likeliest classes' name vectors, weighted by probability (ConSE, Norouzi et al., ICLR 2014).
A stretch that does not change counts as its first second, a black one as none.
Known gaps: words are compared as they are written, without stems; ImageNet's classes are things and animals, no deeds.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from vcwork.base.errors import VcworkError
from vcwork.encoders.encoder import Encoder
from vcwork.search.fused import SAID, SHOWN, Kind, Piece, elsewhere
from vcwork.search.index import VideoIndex
from vcwork.search.library import find_moments
from vcwork.search.sentence import understood
from vcwork.tasks.moments import best_moments

LIKELIEST = 10  # classes of a second, as in the paper
A_VIDEO = 10  # moments of one video
LOOKED_INTO = 30  # videos, second by second
WORDS_READ = 50  # captions whose words are weighed
STILL = 0.02  # of two seconds' features: |a - b| / (|a| + |b|); a second that is repeated frame by frame has 0

# letters of Thai, Lao, Burmese, Khmer, Chinese and Japanese; panels/words.js has the same
_ONE_SIGN = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u3031-\u30ff\u31f0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\ua9e0-\ua9ff\uaa60-\uaa7f\uf900-\ufaff\U0001b000-\U0001b16f\U00020000-\U0003ffff"
)
_TOKEN = re.compile(rf"(?=[^\W_])[{_ONE_SIGN}]|[^\W_{_ONE_SIGN}]+")

# ------------------------------------------------------------------------------------------------------------- said


def words(lines: Sequence[Piece]) -> Kind:
    """BM25 over lines (their `text`); strength: the share of the query's words that a line says, rare ones more.

    How rare a word is, a folder of few lines cannot tell ("a", "the"): the lines of `elsewhere` are counted, too.
    """
    texts = [{"text": " ".join(tokens(line.text))} for line in lines]
    nothing = np.zeros((len(lines), 1), np.float32)
    index = VideoIndex.build(nothing, [str(row) for row in range(len(lines))], texts)  # asked for words
    counted = [line.text for line in lines] + [line for topic in elsewhere() for line in topic]
    held = Counter(word for text in counted for word in set(tokens(text)))

    def rare(word: str) -> float:
        return float(np.log(1 + (len(counted) - held[word] + 0.5) / (held[word] + 0.5)))  # BM25's idf

    def one(query: str, k: int) -> list[Piece]:
        asked = {word: rare(word) for word in tokens(query)}
        found = [lines[int(hit.id)] for hit in index.words(" ".join(asked), max(k, WORDS_READ))]
        every = sum(asked.values())
        share = [sum(asked[word] for word in asked.keys() & set(tokens(line.text))) / every for line in found]
        return [replace(line, strength=value) for line, value in zip(found, share, strict=True)][:k]

    return Kind("words", SAID, lambda queries, k: [one(query, k) for query in queries])


def tokens(text: str) -> list[str]:
    """Runs of letters and digits, small and without accents; single letters of scripts that put no spaces."""
    return _TOKEN.findall(plain(text))


def plain(text: str) -> str:
    apart = unicodedata.normalize("NFKD", text.casefold())
    marked = (sign for sign in apart if unicodedata.category(sign)[0] != "M")
    return "".join(marked).encode("utf-8", "replace").decode()


def meaning(lines: Sequence[Piece], vectors: np.ndarray, encode: Callable[[Sequence[str]], np.ndarray]) -> Kind:
    """Cosines of the query with the lines' vectors (N, D) of length 1; `encode` makes such vectors."""

    def ask(queries: Sequence[str], k: int) -> list[list[Piece]]:
        found = []
        for query in encode(queries):
            cosines = vectors @ query  # (N,)
            best = np.argsort(-cosines, kind="stable")[:k]
            found.append([replace(lines[i], strength=float(cosines[i])) for i in best])
        return found

    return Kind("meaning", SAID, ask)


# ------------------------------------------------------------------------------------------------------------ shown


@dataclass(frozen=True)
class Films:
    """Videos as one row of seconds: lengths {id: T}, and still (S,): the seconds that are passed over."""

    lengths: Mapping[str, int]
    still: np.ndarray

    def of(self, id: str) -> slice:
        """A video's seconds among all."""
        ids = list(self.lengths)
        start = sum(self.lengths[other] for other in ids[: ids.index(id)])
        return slice(start, start + self.lengths[id])

    def moments(self, scores: np.ndarray, k: int, skip: str = "") -> list[Piece]:
        """The k best moments by scores (S,), best first; skip: a video that is left out."""
        scores = np.where(self.still, scores.min(), scores)
        starts = np.cumsum([0, *self.lengths.values()])[:-1]
        found, ids = [], list(self.lengths)
        for i in np.argsort(-np.maximum.reduceat(scores, starts), kind="stable")[: min(k, LOOKED_INTO)]:
            own = slice(starts[i], starts[i] + self.lengths[ids[i]])
            taken = [m for m in best_moments(scores[own], min(k, A_VIDEO)) if not self.still[own][int(m.peak_s)]]
            found += [Piece(ids[i], m.start_s, m.end_s, m.score, peak_s=m.peak_s) for m in taken if ids[i] != skip]
        return sorted(found, key=lambda piece: -piece.strength)[:k]


def films(features: Mapping[str, np.ndarray], black: np.ndarray | None = None) -> Films:
    """Of {id: features (T, W)}; black: the features of a black second, where they are known."""
    flags = [still(np.asarray(rows, np.float32), black) for rows in features.values()]
    return Films({id: len(rows) for id, rows in features.items()}, np.concatenate(flags))


def still(rows: np.ndarray, black: np.ndarray | None = None) -> np.ndarray:
    """Which seconds (T,) show what the second before did, or nothing, by features (T, W)."""
    same = np.zeros(len(rows), dtype=bool)
    same[1:] = near(rows[1:], rows[:-1], STILL)
    return same if black is None else same | near(rows, black, STILL)


def near(a: np.ndarray, b: np.ndarray, share: float) -> np.ndarray:
    """Do features (..., W) show the same: |a - b| <= share (|a| + |b|)?"""
    difference, one, other = (np.linalg.norm(x, axis=-1) for x in (a - b, a, b))
    return difference <= share * (one + other)


def classes(films: Films, top: np.ndarray, weights: np.ndarray, names: np.ndarray, encode: Callable) -> Kind:
    """ConSE: each second's likeliest classes, top (S, 10) and weights (S, 10) of `likeliest`, names (C, D)."""

    def ask(queries: Sequence[str], k: int) -> list[list[Piece]]:
        return [films.moments(scores, k) for scores in each(queries)]

    def each(queries: Sequence[str]) -> Iterator[np.ndarray]:
        yield from (((names @ query)[top] * weights).sum(1) for query in encode(queries))  # (S,)

    def best(queries: Sequence[str]) -> np.ndarray:
        return np.array([scores[~films.still].max(initial=-1.0) for scores in each(queries)])

    return Kind("pictures", SHOWN, ask, best)


def likeliest(probabilities: Iterator[np.ndarray], names: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The classes (S, 10) of each second and their weights: probabilities over the length of the mean name vector.

    probabilities: (T, C) of each video in turn; names: vectors (C, D) of the classes' names.
    """
    parts = []
    for rows in probabilities:
        top = np.argsort(-rows, axis=1, kind="stable")[:, :LIKELIEST]  # (T, 10)
        share = np.take_along_axis(rows, top, 1)
        length = np.linalg.norm((share[..., None] * names[top]).sum(1), axis=1, keepdims=True)
        parts.append((top.astype(np.int16), (share / length).astype(np.float32)))
    return np.concatenate([top for top, _ in parts]), np.concatenate([share for _, share in parts])


def in_shots(kind: Kind, shots: Mapping[str, Sequence[Sequence[float]]]) -> Kind:
    """The same, but a moment is the whole shot, (start_s, end_s) of {id: shots}, in which its best second lies."""

    def wide(piece: Piece) -> Piece:
        around = [shot for shot in shots.get(piece.video, ()) if shot[0] <= piece.peak_s < shot[1]]
        return replace(piece, start_s=around[0][0], end_s=around[0][1]) if around else piece

    return replace(kind, ask=lambda queries, k: [[wide(piece) for piece in found] for found in kind.ask(queries, k)])


def seconds(library: VideoIndex, encoder: Encoder, films: Films) -> Kind:
    """A checkpoint's vectors of seconds, by dot product; nothing for a sentence of which it knows no word."""

    def vector(query: str) -> np.ndarray | None:
        try:
            return understood(encoder, query)[0]
        except VcworkError:
            return None

    def one(query: str, k: int) -> list[Piece]:
        if (asked := vector(query)) is None:
            return []
        found = [(hit.video, hit.moment) for hit in find_moments(library, asked, k, min(k, LOOKED_INTO))]
        taken = [(id, m) for id, m in found if not films.still[films.of(id)][int(m.peak_s)]]
        return [Piece(id, m.start_s, m.end_s, m.score, peak_s=m.peak_s) for id, m in taken]

    def best(queries: Sequence[str]) -> np.ndarray:
        known = {i: asked for i, query in enumerate(queries) if (asked := vector(query)) is not None}
        found = np.full(len(queries), np.nan)
        if known:
            found[[*known]] = [hits[0].score for hits in library.query(np.stack([*known.values()]), 1)]
        return found

    return Kind("pictures", SHOWN, lambda queries, k: [one(query, k) for query in queries], best)


def alike_seconds(features: Mapping[str, np.ndarray], asked: np.ndarray) -> np.ndarray:
    """Cosines (S, Q) of all seconds with features asked (Q, W), once what all have in common is taken off both."""
    every = [np.asarray(rows, np.float32) for rows in features.values()]
    mean = sum(rows.sum(0) for rows in every) / sum(map(len, every))

    def scale(rows: np.ndarray) -> np.ndarray:
        return (rows - mean) / np.maximum(np.linalg.norm(rows - mean, axis=1, keepdims=True), 1e-9)

    query = scale(np.asarray(asked, np.float32)).T  # (W, Q)
    return np.concatenate([scale(rows) @ query for rows in every])
