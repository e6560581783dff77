"""The videos of a corpus that can be trained on: their captions as tracks, and what is read of them."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from vcwork.base.errors import NoData, VcworkError
from vcwork.base.feed import Rows
from vcwork.core.batches import PairData
from vcwork.core.config import TrainConfig
from vcwork.core.sampling import Track
from vcwork.core.text import Tokenizer
from vcwork.data.corpus import Corpus, Video
from vcwork.data.store import FeatureStore


def pair_data(corpus: Corpus, store: FeatureStore, tokenizer: Tokenizer, split: str = "train") -> PairData:
    """Tracks and features of the split's videos that have captions and features; the others stay out. NoData: none."""
    videos = [v for v in corpus.split(split) if v.id in store]
    tracks, features, steps = tracks_of(
        corpus, videos, tokenizer, lambda v: store.lengths[v.id], lambda v, _: store[v.id]
    )
    if not tracks:
        raise NoData(f"{corpus.folder}: no {split} video has both captions and features in {store.folder}")
    return PairData(tracks, features, steps)


def tracks_of(
    corpus: Corpus, videos: Sequence[Video], tokenizer: Tokenizer, seconds_of: Callable[[Video], int],
    read: Callable[[Video, int], Any],
) -> tuple[list[Track], list, list | None]:  # fmt: skip
    """Of the videos with captions: tracks, what `read` gives for (video, its seconds), and what each second shows.

    The last is None where the corpus knows no steps.
    """
    index = {step: k for k, step in enumerate(corpus.steps)}
    rows = []
    for video in videos:
        if captions := corpus.captions(video.id):
            seconds = seconds_of(video)
            track = caption_track(video.id, captions, tokenizer, seconds)
            rows.append((track, read(video, seconds), video.labels(index, seconds)))
    tracks, features, steps = map(list, zip(*rows, strict=True)) if rows else ([], [], [])
    return tracks, features, steps if index else None


def caption_track(video_id: str, captions: list, tokenizer: Tokenizer, seconds: int) -> Track:
    """Captions as the arrays the sampler draws from."""
    starts, ends = np.array([[c.start_s, c.end_s] for c in captions]).T
    return Track(video_id, starts, ends, Rows.of(tokenizer.tokens([c.text for c in captions])), seconds)


def control(data: PairData, config: TrainConfig) -> PairData:
    """The data themselves; with `config.shuffle_captions` captions of another video, stretched to this one's length."""
    if not config.shuffle_captions:
        return data
    n = len(data.tracks)
    if n < 2:
        raise VcworkError(f"shuffle_captions: expected two training videos or more, to change captions, got {n}")
    order = np.random.default_rng([config.seed, 13]).permutation(n)
    other = np.empty(n, int)
    other[order] = np.roll(order, 1)  # one cycle: nobody keeps their own
    tracks = []
    for track, donor in zip(data.tracks, (data.tracks[i] for i in other), strict=True):
        stretch = track.seconds / donor.seconds
        times = donor.start_s * stretch, donor.end_s * stretch
        tracks.append(Track(track.video_id, *times, donor.tokens, track.seconds))
    return replace(data, tracks=tracks)
