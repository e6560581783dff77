"""From a corpus, its features and a model to the panel in which gamma, window and stride can be moved.

Truth is laid beside the prediction and scored; the gamma shown first is the paper's, which needs none,
unless it calls everything background.
Known gap: labels are the split's own, as segmentation has them everywhere here, so they tell which recipes are there.
"""

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np

from vcwork.base.errors import VcworkError
from vcwork.data.corpus import Corpus, Video
from vcwork.data.store import FeatureStore
from vcwork.encoders.encoder import Encoder, encode_all_seconds, encode_text
from vcwork.panels.segmentation import REPEATS, Reading, SegmentationStudio, Watched
from vcwork.tasks import segmentation
from vcwork.tasks.cases import split_steps, videos_of


def segmentation_studio(
    corpus: Corpus,
    store: FeatureStore,
    encoder: Encoder | None,
    split: str = "test",
    videos: int = 6,
    *,
    again: Sequence[str] = (),
    marks: Mapping[str, float] | None = None,
    as_reference: bool = True,
) -> SegmentationStudio:
    """The panel of a split's first `videos` that have features, read in all ways of `readings_of`.

    again: ids of steps to list a second time, under another id, as COIN's labels have it; the panel says so. marks:
    gammas with a name. as_reference: CLS is hidden, as `seconds_of_split` has it. VcworkError for an unknown step.
    """
    chosen = videos_of(corpus, store, split)[: max(1, videos)]
    steps = _steps(corpus, split, chosen)
    if unknown := [s for s in again if s not in steps]:
        raise VcworkError(f"again: {unknown[0]!r} is none of the {len(steps)} steps of {corpus.name} {split}")
    index = {step: k for k, step in enumerate(steps)}
    truths = [v.labels(index, store.lengths[v.id]) if v.segments else None for v in chosen]
    watched = [Watched(v.id, truth) for v, truth in zip(chosen, truths, strict=True)]
    notes = _notes(encoder, steps, watched, again)
    names = [corpus.steps[s] for s in [*steps, *again]]
    unit = corpus.meta.get("second_is", "second")
    about: dict[str, Any] = {"title": f"{corpus.name}, {split}", "notes": notes, "unit": unit}
    if encoder is None or not steps:
        return SegmentationStudio(watched, names, {}, **about)
    texts = encode_text(encoder, names)  # (K, D)
    texts = texts[segmentation.first_of_same(names)]  # equal to the last bit, as one sentence's vectors should be
    scores = {
        (window, stride): [
            states @ texts.T
            for states in encode_all_seconds(
                encoder, (store[v.id] for v in chosen), stride, hide_cls=as_reference, window=window
            )
        ]
        for window, stride in readings_of(encoder.window)
    }
    return SegmentationStudio(watched, names, scores, paper=_paper(texts, names), marks=marks or {}, **about)


def _steps(corpus: Corpus, split: str, videos: Sequence[Video]) -> list[str]:
    """Ids of the split's steps and of whatever else happens in these videos."""
    return sorted({*split_steps(corpus, split), *(s.step for v in videos for s in v.segments)})


def _notes(encoder: Any, steps: Sequence[str], videos: Sequence[Watched], again: Sequence[str]) -> list[str]:
    notes = []
    if encoder is None:
        notes.append("No checkpoint: nothing can be predicted. Train one with notebook 20, or give one.")
    if not steps:
        notes.append("This corpus knows no steps, so there is nothing to name.")
    if blind := [v.id for v in videos if v.truth is None]:
        some = ", ".join(blind[:3]) + (" …" if len(blind) > 3 else "")
        notes.append(f"No annotated segment in {some}: shown, not scored.")
    if again:
        many = "step is" if len(again) == 1 else "steps are"
        notes.append(f"{len(again)} {many} listed twice on purpose: COIN's 778 labels hold 749 different texts.")
    return notes


def readings_of(tower: int) -> list[Reading]:
    """(window, stride): the tower's window, its half and its quarter, with strides down to an eighth that leave no gap.

    The tower's own window with half of it as stride (the paper's 32 and 16) comes first.
    """
    halves = [max(1, tower // n) for n in (1, 2, 4, 8)]
    pairs = sorted({(w, s) for w, s in product(halves[:3], halves) if s <= w}, reverse=True)
    return sorted(pairs, key=lambda pair: pair != (tower, max(1, tower // 2)))


def _paper(texts: np.ndarray, names: Sequence[str]) -> dict[str, float] | None:
    """The paper's gamma of texts (K, D), repeats removed and kept; None where fewer than two are left."""
    try:
        gammas = segmentation.text_gamma(texts, names), segmentation.text_gamma(texts, naive=True)
    except VcworkError:
        return None
    return dict(zip(REPEATS, gammas, strict=True))
