"""Retrieval beside ridge regression, on the same queries: clip by clip, and with the whole video in view.

Ridge is fitted on the annotated clips of the train split. Read as a whole, a video tells which of its clips comes
first, and a sentence often gives its place away; so there the opponents know the place, too, or the words alone.
"""

import itertools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from vcwork.data.corpus import Corpus
from vcwork.data.store import FeatureStore
from vcwork.encoders.encoder import Encoder, encode_text
from vcwork.encoders.sentences import load_sentences
from vcwork.measure import metrics
from vcwork.measure.card import Card
from vcwork.measure.intervals import paired_bootstrap, paired_randomisation
from vcwork.measure.result import Result, points, show, text_table
from vcwork.review.baselines import Encode, OrderFromWords, RidgeForm, TextRidge, order_columns
from vcwork.tasks import retrieval
from vcwork.tasks.cases import Clips, annotated_clips, places, whole_video_vectors


class ClipRidge:
    """Ridge from the mean feature of a clip to vectors of its sentence, fitted on the train split's clips.

    `sentences`: an encoder of sentences whose vectors the target may hold (minilm, or as `load_sentences`); empty:
    tf-idf alone. Of all `forms` the one best in cross-validation over the train split's videos is taken: `form`.
    `tried` has each form's R@10 and `within_video_R@1`, best first.
    """

    def __init__(self, corpus: Corpus, store: FeatureStore, sentences: str = ""):
        self.clips = annotated_clips(corpus, store, "train")
        self.features = _means(self.clips)
        self.encode = _remembering(load_sentences(sentences).encode) if sentences else None
        self.tried = cross_validated(self.clips, self.features, self.encode)
        self.form = self.tried[0][0]
        self.ridge = self._fit()

    def _fit(self, extra: np.ndarray | None = None) -> TextRidge:
        return TextRidge(self.form, self.encode).fit(self.features, self.clips.sentences, extra)

    def score(self, clips: Clips) -> np.ndarray:
        """scores[q, n] of every sentence with every clip, (N, N)."""
        return self.ridge.score(clips.sentences, _means(clips))

    def readings(self, clips: Clips) -> dict[str, np.ndarray]:
        """Scores (N, N) of ridge, of ridge that knows each clip's place, and of the place guessed from the words."""
        slots, fitted = places(clips), places(self.clips)
        n = int(fitted.max()) + 1
        ordered = self._fit(order_columns(fitted, n))
        words = OrderFromWords(self.clips.sentences, fitted)
        return {
            "ridge": self.score(clips),
            "ridge_order": ordered.score(clips.sentences, _means(clips), order_columns(slots, n)),
            "order_alone": words.score(clips.sentences, slots),
        }


PENALTIES, SHARES = (3.0e3, 1.0e4, 3.0e4, 1.0e5), (0.0, 0.2, 0.35, 0.5, 1.0)


def cross_validated(
    clips: Clips, features: np.ndarray, encode: Encode | None = None, folds: int = 5, seed: int = 0
) -> list[tuple[RidgeForm, float, float]]:
    """(form, R@10, within_video_R@1) as means over folds of videos, best first by the mean of both.

    features (N, W) of the clips. A fold's gallery is its own clips. With fewer videos than folds: today's default form.
    """
    videos, found = np.unique(clips.videos), defaultdict(list)
    if len(videos) < folds:
        return [(RidgeForm(), np.nan, np.nan)]
    order = np.random.default_rng(seed).permutation(videos)
    read_as = list(itertools.product(SHARES if encode else (0.0,), (False, True)))
    for f, penalty, one_scale in itertools.product(range(folds), PENALTIES, (False, True)):
        held = np.isin(clips.videos, order[f::folds])
        known, asked = clips.some(~held), clips.some(held)
        fitted = TextRidge(RidgeForm(penalty, one_scale), encode).fit(features[~held], known.sentences)
        parts = fitted.parts(asked.sentences, features[held])
        for form in (RidgeForm(penalty, one_scale, *how) for how in read_as):
            scores = form.combine(parts)
            hits = metrics.place(scores, asked.same).hit(10), within_video_hits(scores, asked)
            found[form].append([np.mean(h[~np.isnan(h)]) if (~np.isnan(h)).any() else 0.0 for h in hits])
    means = {form: np.mean(rows, 0) for form, rows in found.items()}
    return [(form, *means[form].tolist()) for form in sorted(means, key=lambda form: -means[form].mean())]


def beside_ridge(
    ridge: ClipRidge, clips: Clips, scores: np.ndarray, results: Sequence[Result], others: Mapping[str, Any],
    setting: Card, ties: str = "expected", seed: int = 0,
) -> list[Result]:  # fmt: skip
    """Ridge's own results, `ridge_...`, on the clips whose scores (N, N) gave `results`, measured in `setting`.

    others: the predictors of `opponents.of_retrieval`, beside ridge as beside the model. What the model is ahead,
    paired by query with whole videos drawn again, goes into the model's results: `extra`, `minus_ridge`.
    """
    theirs, named = ridge.score(clips), {r.name: r for r in results}
    card = setting.but("ridge baseline", model=f"ridge fitted on train: {ridge.form}")
    found = _evaluated(theirs, clips, others, card, ties, seed)
    hits = {f"t2v_R@{k}": [metrics.place(s, clips.same).hit(k, ties) for s in (scores, theirs)] for k in (1, 10)}
    hits["t2v_within_video_R@1"] = [within_video_hits(s, clips, ties) for s in (scores, theirs)]
    for name in hits.keys() & named.keys():
        named[name].extra["minus_ridge"] = _gain(*hits[name], clips, seed, [setting, card])
    kept = [r for r in found if r.name.endswith(("R@1", "R@10", "MdR")) and "instance" not in r.name]
    return [replace(r, name=f"ridge_{r.name}") for r in kept]


def whole_video_results(
    encoder: Encoder, store: FeatureStore, clips: Clips, others: Mapping[str, Any], setting: Card,
    ridge: ClipRidge | None = None, ties: str = "expected", seed: int = 0,
) -> list[Result]:  # fmt: skip
    """`whole_video_R@1`: the clip found among its own video's, the model reading each video as a whole.

    With `ridge` its `readings` follow, and the model's result holds what it is ahead of each. Empty where no video has
    two different steps.
    """
    readings = {"": encode_text(encoder, clips.sentences) @ whole_video_vectors(encoder, store, clips).T}
    readings |= ridge.readings(clips) if ridge else {}
    rows = []
    for name, scores in readings.items():
        reader = {"model": name.replace("_", " ")} if name else {}
        card = setting.but("the whole video in view", truncation=None, **reader)
        within = [r for r in _evaluated(scores, clips, others, card, ties, seed) if r.name == "t2v_within_video_R@1"]
        rows += [replace(r, name=f"{name}_whole_video_R@1".lstrip("_")) for r in within]
    hits = {name: within_video_hits(scores, clips, ties) for name, scores in readings.items()}
    for name in readings if rows else ():
        if name:
            rows[0].extra[f"minus_{name}"] = _gain(hits[""], hits[name], clips, seed)
    if rows and "order_alone" in hits:
        rows[0].trivial["order from the words alone"] = float(np.nanmean(hits["order_alone"]))
    return rows


def gains_table(results: Sequence[Result]) -> str:
    """What results are ahead of their opponents, in points, with the 95 % interval over videos and two p-values."""
    rows = []
    for r in results:
        for key, gain in r.extra.items():
            if key.startswith("minus_"):
                clear = "clear" if gain["low"] > 0 or gain["high"] < 0 else "not clear"
                ahead = points(gain["difference"], gain["low"], gain["high"])
                rows.append((r.name, show(r.value), key.removeprefix("minus_").replace("_", " "), ahead, clear,
                             f"{gain['randomisation_p']:.3f}"))  # fmt: skip
    return text_table(("metric", "model", "beside", "ahead (95 % interval)", "", "p by randomisation"), rows)


def within_video_hits(scores: np.ndarray, clips: Clips, ties: str = "expected") -> np.ndarray:
    """Is the clip ranked first among those of the query's own video a right one? scores (N, N) -> (N,).

    NaN where that video has no other step to pick: `within_video_R@1` leaves these queries out.
    """
    own = clips.videos[:, None] == clips.videos
    hits = metrics.place(np.where(own, scores, -np.inf), clips.same & own).hit(1, ties)
    return np.where(retrieval.choosable(clips.same, own), hits, np.nan)


def _evaluated(scores: np.ndarray, clips: Clips, others: Mapping, card: Card, ties: str, seed: int) -> list[Result]:
    return retrieval.evaluate(scores, *clips.labels, ties=ties, **others, setting=card, seed=seed)


def _gain(a: np.ndarray, b: np.ndarray, clips: Clips, seed: int, cards: Sequence[Card] = ()) -> dict[str, float]:
    asked = ~np.isnan(a)
    pair = a[asked], b[asked], clips.videos[asked]
    gain = paired_bootstrap(*pair, seed=seed, cards=cards)
    return asdict(gain) | {"randomisation_p": paired_randomisation(*pair, seed=seed)}


def _means(clips: Clips) -> np.ndarray:
    return np.stack([np.asarray(f, dtype=np.float32).mean(0) for f in clips.features])


def _remembering(encode: Encode) -> Encode:
    """As `encode`, each sentence encoded once."""
    known: dict[str, np.ndarray] = {}

    def encoded(sentences: Sequence[str]) -> np.ndarray:
        new = [sentence for sentence in dict.fromkeys(sentences) if sentence not in known]
        known.update(zip(new, encode(new), strict=True))
        return np.stack([known[sentence] for sentence in sentences])  # (N, D)

    return encoded
