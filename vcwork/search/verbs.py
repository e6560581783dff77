"""The four verbs: search, segment, localize, classify, on a loaded encoder and features, arrays or video files.

Each is a few lines over `encode` and the tasks; use those for anything out of the ordinary.
"""

import os
from collections.abc import Iterable, Sequence

import numpy as np

from vcwork.base.errors import listed
from vcwork.data.store import FeatureStore
from vcwork.encoders.encoder import Clip, Encoder, encode_seconds, encode_text, encode_video
from vcwork.search.hits import Asked, Hit
from vcwork.search.index import VideoIndex
from vcwork.search.library import ask
from vcwork.tasks import classification, localization, segmentation
from vcwork.tasks.cases import prompt_vectors


def search(
    encoder: Encoder, query: str | Clip, library: VideoIndex | FeatureStore | dict[str, Clip], k: int = 5
) -> list[Hit]:
    """The k best items of `library` for a sentence, or for a clip (features (T, W) or a video file).

    `library`: an index made by this encoder, or a feature store or {id: clip}, embedded on the spot. A string is a
    sentence unless a file of that name exists.
    """
    if not isinstance(library, Asked):
        ids = library.ids if isinstance(library, FeatureStore) else list(library)
        library = VideoIndex.build(encode_video(encoder, [library[i] for i in ids]), ids, encoder=encoder.digest)
    by = "text" if isinstance(query, str) and not os.path.isfile(query) else "video"
    return ask(library, encoder, [query], k, by)[0]


def segment(encoder: Encoder, clip: Clip, steps: Sequence[str], gamma: float | None = None) -> np.ndarray:
    """A label for every second of `clip`, (T,) int: 0 = none of the steps, k + 1 = steps[k].

    Without `gamma` the paper's rule is used: the largest similarity between two different step texts.
    """
    labels = encode_text(encoder, steps := listed(steps, "steps"))
    gamma = segmentation.text_gamma(labels, steps) if gamma is None else gamma
    return segmentation.segment(encode_seconds(encoder, clip, hide_cls=True) @ labels.T, gamma)


def localize(encoder: Encoder, clip: Clip, steps: Sequence[str]) -> np.ndarray:
    """The second of each step, (K,), steps given in the order in which they happen, each exactly once."""
    labels = encode_text(encoder, listed(steps, "steps"))
    return localization.localize(encode_seconds(encoder, clip, hide_cls=True) @ labels.T)


def classify(
    encoder: Encoder, clips: Iterable[Clip], names: Sequence[str], templates: Sequence[str] = ("{}",)
) -> np.ndarray:
    """scores (N, C) of clips and class names, each name put into every template and averaged."""
    prompts = prompt_vectors(encoder, listed(names, "names"), listed(templates, "templates"))
    classes = classification.ensemble(prompts)  # (C, D)
    return encode_video(encoder, clips) @ classes.T
