"""What a learned model must beat on real data: ridge regression from features to tf-idf text.

Features are standardised with the training mean and spread, sentences become tf-idf vectors of words and word pairs,
one closed-form solution maps the first onto the second, and a text is scored by its dot product with the prediction.
Features with a spread of zero are only centred. The penalty is on standardised features and is not divided by N.
`order_columns` let the regression know a clip's place in its video; `OrderFromWords` sees no picture at all.
"""

from collections.abc import Sequence

import numpy as np

from vcwork.base.errors import VcworkError

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


class TfidfRidge:
    """Ridge regression from features (N, W) to the tf-idf vectors of their sentences."""

    def __init__(self, penalty: float = 1.0e4):
        self.penalty = penalty

    def fit(self, features: np.ndarray, sentences: list[str], extra: np.ndarray | None = None) -> "TfidfRidge":
        """Solve for the weights (W, V); features (N, W), N sentences. Returns itself.

        extra (N, E): more columns, taken as they are; then `score` wants theirs too. VcworkError unless there is a row
        of finite features for each sentence.
        """
        from sklearn.preprocessing import StandardScaler

        features = np.asarray(features, dtype=np.float64)
        if features.ndim != 2 or len(features) != len(sentences) or not np.isfinite(features).all():
            raise VcworkError(f"expected finite features ({len(sentences)}, W), a row a sentence, got {features.shape}")
        self.text, self.scale = Tfidf(sentences), StandardScaler().fit(features)
        y = self.text(sentences)
        self.offset = y.mean(0)  # (V,)
        self.weights = ridge(self._columns(features, extra), y - self.offset, self.penalty)  # (W + E, V)
        return self

    def score(self, sentences: list[str], features: np.ndarray, extra: np.ndarray | None = None) -> np.ndarray:
        """`scores[q, n]` of Q sentences and N features, (Q, N): tf-idf times prediction, higher is better."""
        predicted = self._columns(features, extra) @ self.weights + self.offset  # (N, V)
        return self.text(sentences) @ predicted.T

    def _columns(self, features: np.ndarray, extra: np.ndarray | None) -> np.ndarray:
        standard = self.scale.transform(np.asarray(features, dtype=np.float64))
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
