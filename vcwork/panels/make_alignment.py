"""From a corpus, its features and a model to the panel that lets one touch the alignment: `explore`.

What is missing (the file, its captions, its truth, the model) is said in the panel and does not stop it; only a video
that has no features, or is not in the corpus at all, is an error. The panel opens the split's other videos by the same
function. Truth is shown and used to score, for nothing else.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np

from vcwork.base.errors import VcworkError
from vcwork.data.captions import Caption
from vcwork.data.corpus import Corpus, Segment, Video
from vcwork.data.store import FeatureStore
from vcwork.encoders.encoder import Encoder, encode_seconds, encode_text
from vcwork.measure.metrics import runs
from vcwork.panels.alignment import AlignmentExplorer, Asked, Row
from vcwork.panels.base import Narrated, Span
from vcwork.panels.clips import clip_of, truth_of
from vcwork.search.index import VideoIndex
from vcwork.search.library import find_moments
from vcwork.search.sentence import understood
from vcwork.tasks import segmentation
from vcwork.tasks.cases import videos_of
from vcwork.tasks.moments import Moment

OPENED = 8  # panels of other videos that are kept, with their clips
FEW, MOST_OTHERS = 20, 200  # sentences of other videos to compare an answer with: at least, at most
RARE = 0.05  # the share of them that may score as high as an answer that fits
MOST_STEPS = 60  # rows of steps where no recipe says which belong to the video


def explore(
    corpus: Corpus,
    store: FeatureStore,
    encoder: Encoder | None,
    video_id: str = "",
    split: str = "test",
    *,
    library: VideoIndex | None = None,
    gamma: float | None = None,
    max_kb: int = 300,
    top: int = 5,
    clip: tuple[bytes | None, Sequence[str]] | None = None,
) -> AlignmentExplorer:
    """The panel of one video (empty id: the first of the split that has features), as `AlignmentExplorer`.

    Rows are the steps of its recipe and its captions. library: an index of one vector a second, made by this encoder,
    for the best moments of all videos. gamma: score above which a second is predicted to show its best step, None:
    the paper's rule. max_kb: room for the clip. clip: one made before and what has to be said of it, None: made here.
    VcworkError for an unknown id, or one without features.
    """

    @lru_cache(maxsize=OPENED)
    def opener(other: str) -> AlignmentExplorer:
        return explore(corpus, store, encoder, other, split, library=library, gamma=gamma, max_kb=max_kb, top=top)

    video = corpus[video_id] if video_id else videos_of(corpus, store, split)[0]
    if video.id not in store:
        raise VcworkError(f"{video.id}: no features in {store.folder}; {store.failed.get(video.id, 'extract them')}")
    said, truth, notes = said_of(corpus, video)
    mp4, about_clip = clip or clip_of(corpus, video, max_kb)
    notes += about_clip
    steps = steps_of(corpus, video)
    open_ended = untimed(corpus, video.id) if said else set()
    timed = [(c.start_s, c.end_s, c.text) for i, c in said if i not in open_ended]
    lines = [c.text for i, c in said if i in open_ended]
    seen = Narrated(video.id, store.lengths[video.id], timed, truth_of(corpus, video), clip=mp4, described=lines)
    others = [v.id for v in corpus.split(split) if v.id in store]
    about: dict[str, Any] = {"title": video.id, "unit": corpus.meta.get("second_is", "second"), "top": top,
                             "videos": others, "opener": opener}  # fmt: skip
    if encoder is None:
        notes.append("No checkpoint: nothing can be compared. Train one with notebook 20, or give one.")
        return AlignmentExplorer(seen, [], np.zeros((0, seen.seconds)), notes=notes, **about)
    rows = [Row(corpus.steps[step], "steps", None, _when(video.segments, step)) for step in steps]
    rows += _caption_rows(truth, video, said, open_ended)
    seconds = encode_seconds(encoder, store[video.id])  # (T, D)
    texts = encode_text(encoder, [row.text for row in rows]) if rows else np.zeros((0, seconds.shape[1]))  # (S, D)
    scores, k = texts @ seconds.T, len(steps)  # (S, T), of which the steps come first
    if library is not None:
        rows = [replace(row, elsewhere=_elsewhere(library, t, top)) for row, t in zip(rows, texts, strict=True)]
    prediction = _prediction([row.text for row in rows[:k]], texts[:k], scores[:k], gamma)
    ask = asking(encoder, seconds, library, top, lambda: _said_elsewhere(corpus, video, others))
    return AlignmentExplorer(seen, rows, scores, prediction=prediction, notes=notes, ask=ask, **about)


def explore_query(
    corpus: Corpus, store: FeatureStore, encoder: Encoder, sentence: str, library: VideoIndex, split: str = "test",
    *, top: int = 5,
) -> AlignmentExplorer:  # fmt: skip
    """`explore` of the video with the best second of the library for this sentence, which is its first row.

    library: one vector a second, made by this encoder. A sentence that is a step of the corpus has its truth.
    VcworkError for a sentence without words, or a library without videos.
    """
    sentence = " ".join(sentence.split())
    if not sentence or not len(library):
        raise VcworkError(f"expected a sentence and a library with videos, got {sentence!r} and {len(library)} vectors")
    text = encode_text(encoder, [sentence])[0]  # (D,)
    found = _elsewhere(library, text, top)
    video = corpus[found[0][0]]
    panel = explore(corpus, store, encoder, video.id, split, library=library, top=top)
    truth = tuple((s.start_s, s.end_s) for s in video.segments if corpus.steps[s.step] == sentence)
    others = [i for i, row in enumerate(panel.rows) if row.text.casefold() != sentence.casefold()]
    rows = [Row(sentence, "asked for", None, truth, found), *(panel.rows[i] for i in others)]
    scores = np.concatenate([(encode_seconds(encoder, store[video.id]) @ text)[None], panel.scores[others]])
    told = "As far as is known, this video does not show what was asked for; its lane says what it does."
    notes = [*panel.notes, *([told] if video.segments and not truth else [])]
    return replace(panel, rows=rows, scores=scores, notes=notes, first=0)


def asking(
    encoder: Encoder,
    seconds: np.ndarray,
    library: VideoIndex | None = None,
    top: int = 5,
    others: Callable[[], Sequence[str]] = list,
) -> Callable[[str], Asked]:
    """What answers a sentence: its score at every second (T, D) of one video, and the library's best moments.

    others: what is said in other videos; where it often scores as high in this one, the answer says so.
    """

    @lru_cache(maxsize=1)
    def usual() -> np.ndarray:
        texts = list(others())
        return (encode_text(encoder, texts) @ seconds.T).max(1) if texts else np.zeros(0)  # (N,)

    def ask(sentence: str) -> Asked:
        text, note = understood(encoder, sentence)  # (D,)
        scores = seconds @ text
        told = " ".join(filter(None, (note, fits_nowhere(float(scores.max()), usual()))))
        return Asked(scores, _elsewhere(library, text, top) if library is not None else (), told)

    return ask


def fits_nowhere(score: float, usual: np.ndarray) -> str:
    """What to say of a best score that sentences of other videos reach as well, by their best scores here (N,).

    "" where at most one in twenty does, or too few are known.
    """
    share = float(np.mean(usual >= score)) if len(usual) >= FEW else 0.0
    told = f"{share:.0%} of {len(usual)} sentences said in other videos score as high somewhere in this one."
    return f"It may fit nowhere here: {told}" if share > RARE else ""


def _said_elsewhere(corpus: Corpus, video: Video, ids: Sequence[str]) -> list[str]:
    """Sentences of other videos that this one does not say, evenly over all of them."""
    own = {c.text for _, c in said_of(corpus, video)[0]}
    texts = dict.fromkeys(c.text for id in ids if id != video.id for _, c in said_of(corpus, corpus[id])[0])
    texts = [text for text in texts if text not in own]
    return texts[:: max(1, len(texts) // MOST_OTHERS)][:MOST_OTHERS]


def steps_of(corpus: Corpus, video: Video) -> list[str]:
    """Ids of the steps to compare with: the recipe's, or else those that happen, or else all where they are few."""
    if video.recipe and corpus.recipes[video.recipe].steps:
        return list(dict.fromkeys(corpus.recipes[video.recipe].steps))
    happen = list(dict.fromkeys(s.step for s in video.segments))
    return happen or (list(corpus.steps) if len(corpus.steps) <= MOST_STEPS else [])


def said_of(corpus: Corpus, video: Video) -> tuple[list[tuple[int, Caption]], dict[str, Any], list[str]]:
    """Captions with their index, the truth file, and a note where there are none or they cannot be read any more."""
    said, truth = [], {}
    try:
        said = corpus.indexed_captions(video.id)
        truth = corpus.truth(video.id)
    except (VcworkError, OSError) as error:
        lost = "The truth file is lost" if said else "No captions"
        return said, truth, [f"{lost}: {corpus.relative(error).rstrip('.')}. Was the corpus moved?"]
    why = corpus.missing_captions.get(video.id, "there is no subtitle file")
    return said, truth, [] if said else [f"No captions: {why}."]


def untimed(corpus: Corpus, video_id: str) -> set[int]:
    """Which of the raw captions have no times: lines of a text file, which describe the video and are not said."""
    return {i for i, c in enumerate(corpus.raw_captions(video_id)) if np.isinf(c.end_s)}


def _caption_rows(
    truth: dict[str, Any], video: Video, said: Sequence[tuple[int, Caption]], open_ended: set[int]
) -> list[Row]:
    """A row a caption, with when it is said and, where truth knows it, the segment that it speaks of."""
    about = {i: video.segments[s] for i, s in enumerate(truth.get("caption_segment", [])) if s >= 0}
    return [
        Row(
            c.text,
            "described" if i in open_ended else "what is said",
            None if i in open_ended else (c.start_s, c.end_s),
            ((about[i].start_s, about[i].end_s),) if i in about else (),
        )
        for i, c in said
    ]


def _when(segments: Sequence[Segment], step: str) -> tuple[tuple[float, float], ...]:
    return tuple((s.start_s, s.end_s) for s in segments if s.step == step)


def _prediction(names: Sequence[str], texts: np.ndarray, scores: np.ndarray, gamma: float | None) -> list[Span]:
    """Stretches of seconds with one predicted step; texts (K, D), scores (K, T); none where no gamma can be had."""
    if not len(scores) or (gamma is None and len(set(names)) < 2):
        return []
    gamma = segmentation.text_gamma(texts, list(names)) if gamma is None else gamma
    labels = segmentation.segment(scores.T, gamma, segmentation.first_of_same(names))  # (T,)
    return [(float(a), float(b), names[label - 1]) for label, a, b in zip(*runs(labels), strict=True)]


def _elsewhere(library: VideoIndex, text: np.ndarray, top: int) -> tuple[tuple[str, Moment], ...]:
    return tuple((found.video, found.moment) for found in find_moments(library, text, top, videos=top))
