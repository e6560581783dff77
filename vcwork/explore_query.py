"""The alignment panel opened where a sentence is found best: `explore_query`."""

import numpy as np

from vcwork.checkpoint import Encoder
from vcwork.corpus import Corpus
from vcwork.encode import encode_seconds, encode_text
from vcwork.errors import VcworkError
from vcwork.explore import explore
from vcwork.library import find_moments
from vcwork.store import FeatureStore
from vcwork.video_index import VideoIndex
from vcwork.widgets.alignment import AlignmentExplorer, Row


def explore_query(
    corpus: Corpus, store: FeatureStore, encoder: Encoder, sentence: str, library: VideoIndex, split: str = "test",
    *, top: int = 5, max_kb: int = 300,
) -> AlignmentExplorer:  # fmt: skip
    """`explore` of the video with the best second of the library for this sentence, which is its first row.

    library: one vector a second, made by this encoder. A sentence that is a step of the corpus has its truth.
    VcworkError for a sentence without words, or a library without videos.
    """
    sentence = " ".join(sentence.split())
    if not sentence or not len(library):
        raise VcworkError(f"expected a sentence and a library with videos, got {sentence!r} and {len(library)} vectors")
    text = encode_text(encoder, [sentence])[0]  # (D,)
    found = tuple((answer.video, answer.moment) for answer in find_moments(library, text, top, videos=top))
    panel = explore(corpus, store, encoder, found[0][0], split, library=library, top=top, max_kb=max_kb)
    video = corpus[found[0][0]]
    truth = tuple((s.start_s, s.end_s) for s in video.segments if corpus.steps[s.step] == sentence)
    others = [i for i, row in enumerate(panel.rows) if row.text.casefold() != sentence.casefold()]
    panel.scores = np.concatenate([(encode_seconds(encoder, store[video.id]) @ text)[None], panel.scores[others]])
    panel.rows = [Row(sentence, "asked for", None, truth, found), *(panel.rows[i] for i in others)]
    panel.first = 0
    if video.segments and not truth:
        told = "As far as is known, this video does not show what was asked for; its lane says what it does."
        panel.notes.append(told)
    return panel
