"""What a few-shot point measures on the test split: retrieval, localization, and segmentation in two ways.

A segmentation head knows the labelled steps and no others; scores against step texts can name any step. Both are
measured by `vcwork.tasks`, beside chance and the predictors that know nothing, fitted on the same labels.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from vcwork.base.errors import NoData
from vcwork.data.corpus import Corpus, Video
from vcwork.data.store import FeatureStore
from vcwork.encoders.encoder import Encoder, encode_text
from vcwork.measure.card import Card
from vcwork.measure.metrics import inside, place
from vcwork.measure.result import Result
from vcwork.tasks import localization, opponents, retrieval, segmentation
from vcwork.tasks.cases import (
    Seconds,
    annotated_clips,
    clip_scores,
    localization_cases,
    seconds_of_split,
    split_steps,
    truths_of,
    videos_of,
)
from vcwork.training.finetune import FinetuneRecipe
from vcwork.training.segmentation_head import TokenClassifier, label_logits

OBJECTIVE = "frame accuracy and foreground recall"  # what gamma maximises on val, as in notebook 33
FORMS = {"raw": lambda scores: scores, "centred": segmentation.centred}

Counts = dict[str, list]  # video: [hits, total, group]; a metric is sum of hits / sum of totals, mean over groups
Measured = tuple[list[Result], dict[str, Counts]]  # all results, and counts by video of the metrics a curve shows


@dataclass(frozen=True)
class Subject:
    """Who is measured: an encoder, its head and label names where it has one, and `known`, the labels it learned from.

    corpus: with all truth; known: the same one with only the labelled truth; recipe: whose `test_stride` counts.
    """

    corpus: Corpus
    known: Corpus
    store: FeatureStore
    encoder: Encoder
    recipe: FinetuneRecipe
    card: Card
    head: tuple[TokenClassifier, list[str]] | None = None

    @property
    def windowed(self) -> Card:
        """The card of what is read in windows, CLS hidden as these tasks are trained."""
        return self.card.but(f"windows of {self.encoder.window} s every {self.recipe.test_stride} s", cls="hidden")


def measure_retrieval(who: Subject) -> Measured:
    """Sentences and clips of the test split, as notebook 30 measures them."""
    clips = annotated_clips(who.corpus, who.store, "test")
    scores = clip_scores(who.encoder, clips)  # (N, N)
    beside = opponents.of_retrieval(who.corpus, clips, who.encoder)
    results = retrieval.evaluate(scores, *clips.labels, **beside, setting=who.card)
    hits = place(scores, clips.same).hit(1)
    own = {str(v): clips.videos == v for v in dict.fromkeys(clips.videos)}
    return results, {"t2v_R@1": {v: [float(hits[mine].sum()), int(mine.sum()), ""] for v, mine in own.items()}}


def measure_localization(who: Subject) -> Measured:
    """Localization; and segmentation (`texts_...`) by the same scores, against the texts of all steps of the split."""
    seconds = seconds_by_text(who, "test")
    cases = localization_cases(seconds, who.corpus)
    beside = opponents.of_localization(who.known, who.store, seconds)
    results = localization.evaluate(cases, **beside, setting=who.windowed)
    counts, picked = {}, localization.localize_all([case.scores for case in cases])
    for case, seconds_of_steps in zip(cases, picked, strict=True):
        mask = np.array([inside(spans, len(case.scores)) for spans in case.intervals])  # (K, T)
        hits = mask[np.arange(len(mask)), seconds_of_steps].sum()
        counts[case.video] = [int(hits), int(mask.any(1).sum()), case.task]
    other, more = _by_texts(who, seconds)
    results += [replace(r, name=f"texts_{r.name}") for r in other]
    return results, {"recall": counts, **{f"texts_{name}": value for name, value in more.items()}}


def measure_segmentation(who: Subject) -> Measured:
    """Segmentation by the new head, whose classes are the labelled steps; without labels, by step texts."""
    if who.head is None:
        return _by_texts(who, seconds_by_text(who, "test"))
    classifier, names = who.head
    videos, own = annotated(who.corpus, who.store, "test"), split_steps(who.corpus, "test")
    steps = sorted({*own, *names[1:]})
    scores = head_scores(classifier, names, steps, [who.store[v.id] for v in videos], who.recipe)
    has = len(set(own) & set(names))
    card = who.windowed.but(f"a head of {len(names) - 1} labelled steps, {has} of the {len(own)} steps measured")
    return _segmented(who, Seconds(videos, steps, scores, truths_of(videos, steps, who.store)), scores, 0.0, card)


MEASURE = {
    "retrieval": measure_retrieval,
    "localization": measure_localization,
    "segmentation": measure_segmentation,
}


def _by_texts(who: Subject, seconds: Seconds) -> Measured:
    """Segmentation without a head: the best step text where it scores above the gamma that val chose."""
    form, gamma, chosen = choose_gamma(who, seconds)
    scores = [FORMS[form](s) for s in seconds.scores]
    return _segmented(who, seconds, scores, gamma, who.windowed.but(f"{form} scores, gamma {chosen}"))


def _segmented(who: Subject, seconds: Seconds, scores: list[np.ndarray], gamma: float, card: Card) -> Measured:
    beside = opponents.of_segmentation(who.known, who.store, seconds, _unread(who, "val"), OBJECTIVE)
    results = segmentation.evaluate(scores, seconds.truths, seconds.ids, gamma, **beside, setting=card)
    right = [int((segmentation.segment(s, gamma) == t).sum()) for s, t in zip(scores, seconds.truths, strict=True)]
    counts = {v: [hits, len(t), ""] for v, hits, t in zip(seconds.ids, right, seconds.truths, strict=True)}
    return results, {"frame_accuracy": counts}


def _unread(who: Subject, split: str) -> Seconds | None:
    """Truth of a split's annotated videos without any score; None where there are none."""
    videos = [v for v in who.corpus.split(split) if v.id in who.store and v.recipe and v.segments]
    steps = split_steps(who.corpus, split)
    return Seconds(videos, steps, [], truths_of(videos, steps, who.store)) if videos else None


def choose_gamma(who: Subject, seconds: Seconds) -> tuple[str, float, str]:
    """Form of the scores and gamma that are best on val, and how they were chosen; without val, the paper's rule."""
    try:
        held = seconds_by_text(who, "val")
    except NoData:
        sentences = [who.corpus.steps[s] for s in seconds.steps]
        return "raw", segmentation.text_gamma(encode_text(who.encoder, sentences), sentences), "by the paper's rule"
    found = []
    for form, change in FORMS.items():
        curve = segmentation.gamma_curve([change(s) for s in held.scores], held.truths)
        value = segmentation.OBJECTIVES[OBJECTIVE](curve)
        found.append((float(value.max()), form, float(curve.gamma[value.argmax()])))
    _, form, gamma = max(found, key=lambda row: row[0])
    return form, gamma, "chosen on val"


# ------------------------------------------------------------------------------------------------------- scores


def annotated(corpus: Corpus, store: FeatureStore, split: str) -> list[Video]:
    """Videos of a split with features, recipe and annotations; NoData when there are none."""
    videos = [v for v in videos_of(corpus, store, split) if v.recipe and v.segments]
    if not videos:
        raise NoData(f"{corpus.folder}: no {split} video has a recipe and annotated segments")
    return videos


def seconds_by_text(who: Subject, split: str) -> Seconds:
    """Scores of all steps of the split at every second of its annotated videos, as localization trains: CLS hidden."""
    videos = annotated(who.corpus, who.store, split)
    return seconds_of_split(who.encoder, who.corpus, who.store, split, videos=videos, stride=who.recipe.test_stride)


def head_scores(
    classifier: TokenClassifier,
    names: Sequence[str],
    steps: Sequence[str],
    videos: Sequence[np.ndarray],
    recipe: FinetuneRecipe,
) -> list[np.ndarray]:
    """How far each step's logit lies above background's, (T, K) a video: above 0 where the head says the step.

    Steps that the head has no class for get -1 and are never said.
    """
    own = [list(steps).index(name) for name in names[1:]]
    scores = [np.full((len(features), len(steps)), -1.0) for features in videos]
    for each, logits in zip(scores, label_logits(classifier, videos, recipe), strict=True):
        each[:, own] = logits[:, 1:] - logits[:, :1]  # (T, C - 1)
    return scores
