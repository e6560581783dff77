"""How a training is looked at after each epoch, on val alone: R@1 of annotated clips, else the NCE of drawn pairs.

What `vcwork.training.run` takes as `check`: a function of the encoder, whose numbers go to the log and choose the best
epoch. A caller with another idea of "best" gives another function.
"""

from collections.abc import Callable

import numpy as np
import torch

from vcwork.base.errors import NoData
from vcwork.core.batches import PairData, collate, draw_pairs
from vcwork.core.config import TrainConfig
from vcwork.core.loss import symmetric_nce
from vcwork.data.corpus import Corpus
from vcwork.data.store import FeatureStore
from vcwork.encoders.encoder import Encoder
from vcwork.measure.metrics import recall_at_k
from vcwork.tasks.cases import Clips, annotated_clips, clip_scores
from vcwork.training.pairs import pair_data

VALIDATION = "val_t2v_R@1"  # what the best epoch is chosen by, where validation clips are annotated
VALIDATION_NCE = "val_nce"  # where they are not (lower is better)

Check = Callable[[Encoder], dict[str, float]]


def corpus_check(corpus: Corpus, store: FeatureStore, config: TrainConfig) -> Check:
    """R@1 among the val split's annotated clips; where there are none, the NCE of its captions; empty without both."""

    def nce(encoder: Encoder) -> dict[str, float]:
        try:
            return validation_nce(encoder, pair_data(corpus, store, encoder.tokenizer, "val"), config)
        except NoData:
            return {}

    return lambda encoder: clip_recall(encoder, lambda: annotated_clips(corpus, store, "val")) or nce(encoder)


def clip_recall(encoder: Encoder, read: Callable[[], Clips]) -> dict[str, float]:
    """R@1 text to video among the clips that `read` finds, a step's other clips counting as right; empty on NoData."""
    try:
        clips = read()
    except NoData:
        return {}
    return {VALIDATION: recall_at_k(clip_scores(encoder, clips), 1, clips.same)}


@torch.no_grad()
def validation_nce(encoder: Encoder, data: PairData, config: TrainConfig) -> dict[str, float]:
    """Mean symmetric NCE of pairs drawn, always the same ones, from consecutive groups of videos, at most 20.

    As the reference code validates, whose groups are not made of neighbours either; noisy, and no measure of a task.
    """
    k = min(config.clusters.videos_per_batch, len(data.tracks))
    plain, losses = config.model_copy(update={"word_dropout": 0.0}), []
    for b in range(min(20, len(data.tracks) // k)):
        videos = np.arange(b * k, (b + 1) * k)
        pairs = draw_pairs(data, videos, plain, np.random.default_rng([config.seed, 14, b]))
        video, text = encoder.model(*collate(pairs, data, videos, encoder.model, encoder.tokenizer, plain))
        temperature = encoder.model.temperature(config.temperature)
        losses.append(symmetric_nce(video.pooled, text.pooled, temperature).item())
    return {VALIDATION_NCE: float(np.mean(losses))}
