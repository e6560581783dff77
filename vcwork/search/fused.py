"""One search over everything that is known of films: what is said, by words and by meaning, and what is shown.

Each kind of evidence answers with moments of its own, best first; `fused` makes one list of them by reciprocal ranks,
as scores of different kinds have no common scale: a moment counts 1 / (60 + its rank) in every list that has it
(Cormack et al., SIGIR 2009; 60 is theirs). Moments of one video that touch are one, and so are near-equal ones of
several videos; how many were folded is counted.
A search engine that always answers cannot say "nothing". `learned` asks sentences that hardly any folder has an answer
to (`elsewhere.txt`: 480 of 40 topics, ours) and keeps how strong the best answer to such a question is; a hit is one
where it is stronger than that, but for a stated share of false alarms. Two in five of them have one to three words: one
word that is said by chance is much of a short question, so a floor learned from longer ones would let too many through.
Known gaps: the share holds for questions like those; a folder that does say or show some of them gets a higher floor
than asked for, so fewer false alarms and more that is not found. Interval and rate take the questions as independent.
"""

import math
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.resources import files

import numpy as np
from scipy.special import betaincinv

from vcwork.base.errors import VcworkError
from vcwork.measure.intervals import ALPHA

RRF = 60
DEPTH = 100  # moments of each kind that are fused
LOOKED = 5  # answers of each kind to a question without one, of which the strongest counts
TOUCH_S = 2  # moments of one video so near to each other are one
FALSE_ALARMS = 0.05
SAID, DESCRIBED, SHOWN = "said", "described", "shown"
LEAST_SPREAD = 0.02  # of strengths; a folder of few sentences may answer all questions alike


@dataclass(frozen=True)
class Piece:
    """A moment that one kind of evidence found: times None where nobody knows them, strength comparable in its kind."""

    video: str
    start_s: float | None
    end_s: float | None
    strength: float
    text: str = ""
    peak_s: float | None = None


@dataclass(frozen=True)
class Kind:
    """A kind of evidence: `ask(queries, k)` gives each query's k best pieces, best first, and may give fewer.

    best: a faster way to the strengths (Q,) of the best pieces alone, NaN where there is none.
    """

    name: str  # words, meaning, pictures
    evidence: str  # SAID or SHOWN
    ask: Callable[[Sequence[str], int], list[list[Piece]]]
    best: Callable[[Sequence[str]], np.ndarray] | None = None


@dataclass(frozen=True)
class FusedHit:
    """A moment with all that speaks for it.

    strengths: {kind: strength}; score: the sum of reciprocal ranks; folded: moments beside it that are left out; like:
    (video, start_s) of near-equal ones elsewhere.
    """

    video: str
    start_s: float | None
    end_s: float | None
    peak_s: float | None
    score: float
    evidence: tuple[str, ...]
    strengths: dict[str, float] = field(default_factory=dict)
    text: str = ""
    folded: int = 0
    like: tuple[tuple[str, float | None], ...] = ()

    def touches(self, piece: Piece) -> bool:
        """Are both of one stretch of one video? What describes a film without times is of its best moment."""
        if self.video != piece.video:
            return False
        if self.start_s is None and piece.start_s is not None:
            return True
        if piece.start_s is None:
            return self.start_s is None and self.text == piece.text
        return piece.start_s <= self.end_s + TOUCH_S and self.start_s <= piece.end_s + TOUCH_S


@dataclass(frozen=True)
class Answer:
    """Hits, best first; how many lie below the floor, and the best of those, whether they are among the hits or not."""

    hits: list[FusedHit]
    below: int = 0
    best: FusedHit | None = None


def fused(lists: Sequence[tuple[Kind, Sequence[Piece]]]) -> list[FusedHit]:
    """One list of hits, best first, of each kind's pieces, best first; of equal ones the first kind's come first."""
    kept: dict[str, list[FusedHit]] = {}
    for kind, pieces in lists:
        for rank, piece in enumerate(pieces, 1):
            there = kept.setdefault(piece.video, [])
            at = next((i for i, hit in enumerate(there) if hit.touches(piece)), None)
            if at is None:
                there.append(_hit(kind, piece, 1 / (RRF + rank)))
            else:
                there[at] = _joined(there[at], kind, piece, 1 / (RRF + rank))
    return sorted((hit for hits in kept.values() for hit in hits), key=lambda hit: -hit.score)


def _hit(kind: Kind, piece: Piece, worth: float) -> FusedHit:
    evidence = DESCRIBED if piece.start_s is None else kind.evidence  # nobody says what has no time
    about = (piece.video, piece.start_s, piece.end_s, piece.peak_s, worth, (evidence,))
    return FusedHit(*about, {kind.name: piece.strength}, piece.text)


def _joined(hit: FusedHit, kind: Kind, piece: Piece, worth: float) -> FusedHit:
    if kind.name in hit.strengths:
        strengths = hit.strengths | {kind.name: max(hit.strengths[kind.name], piece.strength)}
        return replace(hit, folded=hit.folded + 1, strengths=strengths)
    new = _hit(kind, piece, worth)
    times = hit if hit.start_s is not None else piece
    return replace(
        hit, start_s=times.start_s, end_s=times.end_s, score=hit.score + worth, text=hit.text or piece.text,
        peak_s=piece.peak_s if hit.peak_s is None else hit.peak_s, strengths=hit.strengths | new.strengths,
        evidence=tuple(dict.fromkeys(hit.evidence + new.evidence)),
    )  # fmt: skip


def folded(hits: Sequence[FusedHit], alike: Callable[[FusedHit, FusedHit], bool], most: int = DEPTH) -> list[FusedHit]:
    """The first `most` hits without those that are like a better one, which counts them."""
    kept: list[FusedHit] = []
    for hit in hits[:most]:
        at = next((i for i, better in enumerate(kept) if alike(better, hit)), None)
        if at is None:
            kept.append(hit)
        else:
            kept[at] = replace(kept[at], like=(*kept[at].like, (hit.video, hit.start_s)))
    return kept


def search_all(
    kinds: Sequence[Kind], query: str, top: int = 5, floor: "Floor | None" = None, anyway: bool = False,
    alike: Callable[[FusedHit, FusedHit], bool] = lambda better, hit: False, only: str = "",
) -> Answer:  # fmt: skip
    """The `top` best moments for a sentence, by all kinds of evidence together; only: in this video.

    floor: what is weaker is no hit (None: everything is one), unless `anyway`; a hit's evidence is what passes it.
    VcworkError for a query without words.
    """
    if all(unicodedata.category(letter)[0] in "PZC" for letter in query):  # marks, spaces and what is not shown
        raise VcworkError("the query has no words")
    query, depth = " ".join(query.split()), DEPTH * (10 if only else 1)
    lists = [(kind, kind.ask([query], depth)[0]) for kind in kinds]
    lists = [(kind, [piece for piece in pieces if only in ("", piece.video)]) for kind, pieces in lists]
    return answered(folded(fused(lists), alike), kinds, top, floor, anyway)


def answered(
    hits: Sequence[FusedHit], kinds: Sequence[Kind], top: int, floor: "Floor | None", anyway: bool = False
) -> Answer:
    """The `top` best of hits, best first, and what lies below the floor."""
    if floor is None:
        return Answer(list(hits[:top]))
    hits = [floor.judged(hit, kinds) for hit in hits]
    strong, weak = ([hit for hit in hits if floor.passes(hit.strengths) is passes] for passes in (True, False))
    return Answer((hits if anyway else strong)[:top], len(weak), weak[0] if weak else None)


# ------------------------------------------------------------------------------------------------- "nothing found"


@dataclass(frozen=True)
class Floor:
    """What a hit must exceed: `level`, in spreads above the mean of each kind's best answers to questions without one.

    rate: of false alarms asked for; low, high: 95 % interval of the rate that this level truly has, which `queries`
    questions leave open; scale: {kind: (mean, spread)}.
    """

    rate: float
    level: float
    low: float
    high: float
    queries: int
    scale: Mapping[str, tuple[float, float]]

    def sure(self, strengths: Mapping[str, float]) -> float:
        """How strong all evidence for a moment is: that of its strongest kind."""
        return max((self._scaled(kind, strength) for kind, strength in strengths.items()), default=-math.inf)

    def passes(self, strengths: Mapping[str, float]) -> bool:
        """Is it stronger than all but a share of `rate` of the best answers to questions without one?"""
        return self.sure(strengths) > self.level

    def judged(self, hit: FusedHit, kinds: Sequence[Kind]) -> FusedHit:
        """The hit with the evidence that passes; where none does, with the strongest."""
        sure = {kind: self._scaled(kind, strength) for kind, strength in hit.strengths.items()}
        telling = {kind for kind, value in sure.items() if value > min(self.level, max(sure.values()) - 1e-9)}
        words = DESCRIBED if DESCRIBED in hit.evidence else SAID
        told = [words if kind.evidence == SAID else kind.evidence for kind in kinds if kind.name in telling]
        if told == [DESCRIBED] * len(told):
            hit = replace(hit, start_s=None, end_s=None, peak_s=None)
        return replace(hit, evidence=tuple(dict.fromkeys(told)))

    def _scaled(self, kind: str, strength: float) -> float:
        mean, spread = self.scale[kind]
        return (strength - mean) / spread


def elsewhere() -> list[list[str]]:
    """The sentences of `elsewhere.txt`, by topic."""
    text = (files(__package__) / "elsewhere.txt").read_text(encoding="utf-8")
    topics = [[line for line in topic.splitlines() if not line.startswith("#")] for topic in text.split("\n\n")]
    return [topic for topic in topics if topic]


def learned(kinds: Sequence[Kind], rate: float = FALSE_ALARMS, questions: Sequence[str] = ()) -> Floor:
    """The floor of these kinds for a share of false alarms, from questions without an answer (none: `elsewhere`).

    Of n questions the m = rate (n + 1) best answers are false alarms, and the floor is the weakest of these m, so that
    a further question passes it with a probability of at most `rate` (split conformal; Vovk et al. 2005). VcworkError
    for a rate that so few questions cannot tell.
    """
    asked = list(questions) or [line for topic in elsewhere() for line in topic]
    m = int(rate * (len(asked) + 1) + 1e-9) if 0 < rate < 1 else 0
    if m < 1:
        raise VcworkError(f"false alarms: expected a rate from {1 / (len(asked) + 1):.3f} to below 1, got {rate}")
    best = strongest(kinds, asked)
    scale = {kind: (float(s.mean()), max(float(s.std()), LEAST_SPREAD)) for kind, s in best.items()}
    sure = sureness(scale, best, len(asked))
    return Floor(rate, float(np.sort(sure)[-m]), *between(m, len(asked)), len(asked), scale)


def between(m: int, n: int) -> tuple[float, float]:
    """95 % interval of the share of further answers beyond the m-th best of n: exact, of the beta distribution."""
    low, high = betaincinv(m, n + 1 - m, [ALPHA, 1 - ALPHA])
    return float(low), float(high)


def strongest(kinds: Sequence[Kind], queries: Sequence[str]) -> dict[str, np.ndarray]:
    """{kind: strengths (Q,) of its best answer to each query}; where it has none, those of the weakest."""
    found = {}
    for kind in kinds:
        if kind.best is not None:
            best = kind.best(queries)
        else:
            answers = kind.ask(queries, LOOKED)
            best = np.array([max((piece.strength for piece in pieces), default=np.nan) for pieces in answers])
        least = np.nanmin(best) if np.isfinite(best).any() else 0.0
        found[kind.name] = np.where(np.isfinite(best), best, least)
    return found


def sureness(scale: Mapping[str, tuple[float, float]], best: Mapping[str, np.ndarray], n: int) -> np.ndarray:
    """How sure the best answer to each of n queries is, (n,): `Floor.sure` of `strongest`."""
    rows = [(best[kind] - mean) / spread for kind, (mean, spread) in scale.items()]
    return np.max(rows, axis=0) if rows else np.full(n, -math.inf)
