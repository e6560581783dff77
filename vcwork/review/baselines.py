"""What a learned model must beat on real data: ridge regression from features to vectors of text.

Features are standardised with the training mean and spread, sentences become tf-idf vectors of words and word pairs,
or vectors of their meaning, or both; one closed-form solution maps the first onto the second, and a text is scored by
its dot product with the prediction, or by the cosine. `RidgeForm` says which of these; `rivals` chooses it. Features
with a spread of zero are only centred. The penalty is on standardised features and is not divided by N.
`order_columns` let the regression know a clip's place in its video; `OrderFromWords` sees no picture at all.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from vcwork.base.errors import VcworkError

Encode = Callable[[Sequence[str]], np.ndarray]

# Our own short list: words that say neither what is in the picture nor what is done to it.
_STOP = """
    a an the this that these those it its them they their there and or but nor as if so then than
    of to in into on onto over at by for from with up down off out through about around
    before after while when until till once also again more some any all both each every other another
    is are was were be been being do does have has had will can may should you your we our
"""
STOP_WORDS = sorted(_STOP.split())


class Tfidf:
    """Sentences to unit vectors over words and neighbouring word pairs that occur in two training sentences at least.

    Weight: count * (log((1 + n) / (1 + df)) + 1), rows scaled to length 1; a sentence without a known word is zero.
    Words have two letters or digits at least; pairs are neighbours once stop words are out.
    """

    def __init__(self, sentences: Sequence[str], stop: Sequence[str] = STOP_WORDS):
        from sklearn.feature_extraction.text import TfidfVectorizer  # seconds to import, as all of scikit-learn

        stop_words = list(stop) or None
        self.vectors = TfidfVectorizer(
            token_pattern=r"[a-z0-9]{2,}", ngram_range=(1, 2), stop_words=stop_words, min_df=2
        )
        try:
            self.vectors.fit(sentences)
        except ValueError:
            raise VcworkError(f"tf-idf: no word occurs in 2 of {len(sentences)} sentences") from None

    def __call__(self, sentences: Sequence[str]) -> np.ndarray:
        """Sentences -> (N, V) float64."""
        return self.vectors.transform(sentences).toarray()


def ridge(x: np.ndarray, y: np.ndarray, penalty: float) -> np.ndarray:
    """Weights (W, V) of the least squares from x (N, W) to y (N, V) with `penalty` times their squared length."""
    from sklearn.linear_model import Ridge

    return Ridge(alpha=penalty, fit_intercept=False).fit(x, y).coef_.T


@dataclass(frozen=True)
class RidgeForm:
    """`meaning`: share of the vectors of meaning in a target, from 0, tf-idf alone, to 1. `cosine`: predictions have
    length 1. `one_scale`: all features divided by one spread, else each by its own."""

    penalty: float = 1.0e4
    one_scale: bool = False
    meaning: float = 0.0
    cosine: bool = False

    def __str__(self) -> str:
        target = {0.0: "tf-idf", 1.0: "meaning"}.get(self.meaning, f"tf-idf and {self.meaning:.0%} meaning")
        how, scale = "cosine" if self.cosine else "dot product", "one scale" if self.one_scale else "own scales"
        return f"{target}, {how}, penalty {self.penalty:g}, {scale}"

    def combine(self, parts: Sequence[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
        """`TextRidge.parts` to scores (Q, N): as if each kind of target had been multiplied by the root of its share.

        VcworkError where vectors of meaning are wanted and none were fitted.
        """
        shares = (1 - self.meaning, self.meaning)[: 2 if self.meaning else 1]
        if len(shares) > len(parts):
            raise VcworkError(f"ridge onto {self}: expected an encoder of sentences, got none")
        pairs = list(zip(shares, parts, strict=False))
        scores, square = (sum(share * part[i] for share, part in pairs) for i in (0, 1))
        return scores / (np.sqrt(square) + 1e-12) if self.cosine else scores


class TextRidge:
    """Ridge regression from features (N, W) to vectors of their sentences: tf-idf, and those of `encode` if given.

    `encode` gives vectors of meaning (N, D), such as `SentenceEncoder.encode`. Each kind is centred, and scaled to a
    mean squared length of 1 over the training sentences.
    """

    def __init__(self, form: RidgeForm = RidgeForm(), encode: Encode | None = None):
        self.form, self.encode = form, encode

    def fit(self, features: np.ndarray, sentences: list[str], extra: np.ndarray | None = None) -> "TextRidge":
        """Solve for the weights (W, V); features (N, W), N sentences. Returns itself.

        extra (N, E): more columns, taken as they are; then `score` wants theirs too. VcworkError unless there is a row
        of finite features for each sentence.
        """
        features = np.asarray(features, dtype=np.float64)
        if features.ndim != 2 or len(features) != len(sentences) or not np.isfinite(features).all():
            raise VcworkError(f"expected finite features ({len(sentences)}, W), a row a sentence, got {features.shape}")
        spread = features.std(0)  # (W,)
        if self.form.one_scale:
            spread[:] = np.sqrt((spread**2).mean())
        self.centre, self.spread = features.mean(0), np.where(spread > 0, spread, 1)
        self.kinds = [Tfidf(sentences), self.encode] if self.encode else [Tfidf(sentences)]
        y = [kind(sentences) for kind in self.kinds]  # (N, V) each
        self.scaling = [(z.mean(0), max(z.var(0).sum(), 1e-12) ** -0.5) for z in y]
        columns, targets = self._columns(features, extra), np.hstack(self.targets(sentences))
        weights = ridge(columns, targets, self.form.penalty)  # (W + E, sum of V)
        self.weights = np.split(weights, np.cumsum([z.shape[1] for z in y])[:-1], axis=1)
        return self

    def targets(self, sentences: Sequence[str]) -> list[np.ndarray]:
        """Vectors of sentences as they are regressed onto, (N, V) of each kind."""
        return [(kind(sentences) - centre) * f for kind, (centre, f) in zip(self.kinds, self.scaling, strict=True)]

    def parts(
        self, sentences: Sequence[str], features: np.ndarray, extra: np.ndarray | None = None
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """Of each kind: targets times predictions, (Q, N), and the squared lengths of the predictions, (N,)."""
        columns = self._columns(features, extra)
        predicted = [columns @ weights for weights in self.weights]  # (N, V) each
        return [(y @ p.T, (p**2).sum(1)) for y, p in zip(self.targets(sentences), predicted, strict=True)]

    def score(self, sentences: Sequence[str], features: np.ndarray, extra: np.ndarray | None = None) -> np.ndarray:
        """`scores[q, n]` of Q sentences and N features, (Q, N), higher is better."""
        return self.form.combine(self.parts(sentences, features, extra))

    def _columns(self, features: np.ndarray, extra: np.ndarray | None) -> np.ndarray:
        standard = (np.asarray(features, dtype=np.float64) - self.centre) / self.spread
        return standard if extra is None else np.hstack([standard, extra])


def order_columns(slots: np.ndarray, n_slots: int, weight: float = 40.0) -> np.ndarray:
    """Place of each clip in its video (N,) as centred columns (N, n_slots); a large weight escapes the penalty."""
    return (np.eye(n_slots)[np.minimum(slots, n_slots - 1)] - 1 / n_slots) * weight


class OrderFromWords:
    """The place of a step guessed from its words alone (stop words count): ridge from tf-idf to the place."""

    def __init__(self, sentences: list[str], slots: np.ndarray, penalty: float = 3.0):
        self.text, self.n_slots = Tfidf(sentences, stop=()), int(slots.max()) + 1
        self.weights = ridge(self.text(sentences), order_columns(slots, self.n_slots, 1.0), penalty)  # (V, S)

    def score(self, sentences: list[str], slots: np.ndarray) -> np.ndarray:
        """`scores[q, n]` of Q sentences and N clips at these places, (Q, N)."""
        return (self.text(sentences) @ self.weights)[:, np.minimum(slots, self.n_slots - 1)]
