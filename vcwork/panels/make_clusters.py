"""From a corpus, its training pairs and vectors of several epochs to the panel of batches: `inspect_clusters`.

Truth is read to judge the batches, never to draw them. What is missing (files, truth) is said in the panel.
Known gap: for large corpora only some queries and pictures travel, since the page holds all that it shows.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from vcwork.base.errors import VcworkError
from vcwork.core.batches import PairData, draw_pairs, video_vectors
from vcwork.core.config import TrainConfig
from vcwork.core.loop import pretrain
from vcwork.data.corpus import Corpus
from vcwork.encoders.encoder import Encoder
from vcwork.panels.clips import thumbnails
from vcwork.panels.clusters import BatchClip, ClusterInspector, ClusterVideo
from vcwork.tasks.cases import pair_steps
from vcwork.training.pairs import control
from vcwork.training.reference_cells import search

QUERIES, DRAWS = 40, 3  # videos that can be asked for, evenly over the list, and batches of each
PICTURES, FRAMES = 240, 3  # room on the sheet, and frames of a video where there is room


def inspect_clusters(
    corpus: Corpus,
    data: PairData,
    epochs: Mapping[str, np.ndarray],
    config: TrainConfig,
    clips: int | None = None,
) -> ClusterInspector:
    """The panel of the batches that `config` would draw from each epoch's video vectors (V, D) of `data`'s tracks.

    epochs: {name: vectors}, earliest first, as of `epoch_vectors`. clips: of a video in a batch, None:
    `config.clusters.clips_per_video`. VcworkError for vectors that do not fit the tracks, or another search than the
    exact.
    """
    if config.clusters.search != "exact":
        raise VcworkError(f"inspect_clusters: expected search 'exact', got {config.clusters.search!r}")
    ids = [track.video_id for track in data.tracks]
    videos = [_video(corpus, id) for id in ids]
    asked = np.unique(np.linspace(0, len(ids) - 1, min(QUERIES, len(ids))).round().astype(int))
    taken = [_clips(corpus, data, config, draw, clips) for draw in range(DRAWS)]
    notes = []
    if not any(v.recipe for v in videos) and not any(v.steps for v in videos):
        notes.append("No truth: this corpus knows neither recipes nor steps; purity and false negatives are unknown.")
    if len(asked) < len(ids):
        notes.append(f"{len(asked)} of {len(ids)} videos can be asked for here, spread evenly over the list.")
    panel = ClusterInspector(
        epochs,
        videos,
        k=config.clusters.videos_per_batch,
        pool_factor=config.clusters.pool_factor,
        clips=taken,
        queries=asked,
        seed=config.seed,
        title=f"hard-negative batches, {corpus.name}",
    )
    spans = {v: (ids[v], 0.0, corpus[ids[v]].duration_s) for v in _most_shown(panel, PICTURES)}
    frames, failed = thumbnails(corpus, spans, PICTURES, FRAMES)
    return replace(panel, pictures=frames, notes=[*notes, *failed])


def epoch_vectors(
    encoder: Encoder, data: PairData, training: TrainConfig, epochs: int, config: TrainConfig
) -> dict[str, np.ndarray]:
    """{"untrained": vectors (V, D), "epoch 1": ...} of `encoder` before and after each of its first `epochs` of
    `training`. The encoder is trained in place, as a whole run of that configuration begins; `config` says how a
    video's clips are drawn for its vector."""

    def vectors() -> np.ndarray:
        return video_vectors(encoder.model, encoder.tokenizer, data, config, epoch=0)

    found = {"untrained": vectors()}

    def keep(epoch: int, _: object) -> dict:
        found[f"epoch {epoch + 1}"] = vectors()
        return {}

    seen = control(data, training)
    for _ in pretrain(encoder.model, encoder.tokenizer, seen, training, on_epoch=keep, search=search):
        if len(found) > epochs:
            break
    return found


def _video(corpus: Corpus, id: str) -> ClusterVideo:
    video = corpus[id]
    recipe = corpus.recipes.get(video.recipe or "")
    steps = tuple(dict.fromkeys(corpus.steps.get(s.step, s.step) for s in video.segments))
    lookalike = recipe.lookalike if recipe and recipe.lookalike else ""
    return ClusterVideo(id, recipe.name if recipe else id, video.recipe or "", lookalike, steps)


def _clips(corpus: Corpus, data: PairData, config: TrainConfig, draw: int, clips: int | None) -> list[list[BatchClip]]:
    """Clips of every track as a batch of this draw takes them."""
    rng = np.random.default_rng([config.seed, 17, draw])
    out = []
    for v in range(len(data.tracks)):
        pairs = draw_pairs(data, np.array([v]), config, rng, clips)
        steps = pair_steps(corpus, pairs)
        out.append(
            [BatchClip(p.video_start, p.video_end, corpus.steps.get(s, s)) for p, s in zip(pairs, steps, strict=True)]
        )
    return out


def _most_shown(panel: ClusterInspector, room: int) -> list[int]:
    """The videos that any batch of the panel shows, at most `room`: queries first, then the most frequent."""
    count = Counter({q: len(panel.queries) * len(panel.epochs) + 1 for q in panel.queries})
    for space in panel.spaces:
        for query in panel.queries:
            count.update(space.pool[query].tolist())
    return [v for v, _ in count.most_common(room)]
