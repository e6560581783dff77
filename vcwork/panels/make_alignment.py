"""From a corpus, its features and a model to the panel that lets one touch the alignment: `explore`.

What is missing (the file, its captions, its truth, the model) is said in the panel and does not stop it; only a video
that has no features, or is not in the corpus at all, is an error. The panel opens the split's other videos by the same
function. Truth is shown and used to score, for nothing else.
Known gaps: a clip is re-encoded without sound, its middle square only; over half an hour it is not shown.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from vcwork.base.errors import VcworkError
from vcwork.core.text import Tokenizer
from vcwork.data.captions import Caption
from vcwork.data.corpus import Corpus, Video
from vcwork.data.store import FeatureStore
from vcwork.data.video import probe
from vcwork.encoders.encode import encode_seconds, encode_text
from vcwork.encoders.encoder import Encoder
from vcwork.panels.alignment import AlignmentExplorer, Asked, Row, Span
from vcwork.panels.player import small_mp4
from vcwork.search.index import VideoIndex
from vcwork.search.library import find_moments
from vcwork.tasks import segmentation
from vcwork.tasks.cases import videos_of
from vcwork.tasks.moments import Moment

CLIPS = ((150, 160, 10), (450, 112, 5), (1800, 96, 2))  # up to so many seconds: side in pixels, frames a second
OPENED = 8  # panels of other videos that are kept, with their clips
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
) -> AlignmentExplorer:
    """The panel of one video (empty id: the first of the split that has features), as `AlignmentExplorer`.

    Rows are the steps of its recipe and its captions. library: an index of one vector a second, made by this encoder,
    for the best moments of all videos. gamma: score above which a second is predicted to show its best step, None:
    the paper's rule. max_kb: room for the clip. VcworkError for an unknown id, or one without features.
    """

    @lru_cache(maxsize=OPENED)
    def opener(other: str) -> AlignmentExplorer:
        return explore(corpus, store, encoder, other, split, library=library, gamma=gamma, max_kb=max_kb, top=top)

    video = corpus[video_id] if video_id else videos_of(corpus, store, split)[0]
    if video.id not in store:
        raise VcworkError(f"{video.id}: no features in {store.folder}; {store.failed.get(video.id, 'extract them')}")
    length, notes = store.lengths[video.id], []
    unit = corpus.meta.get("second_is", "second")
    said, truth = _if_there(corpus, video, notes)
    timed = [(i, c) for i, c in said if np.isfinite(c.end_s)]
    if not said and not notes:
        why = corpus.missing_captions.get(video.id, "there is no subtitle file")
        notes.append(f"No captions: {why}. Sentences can still be asked.")
    clip, about_clip = clip_of(corpus, video, max_kb)
    notes += about_clip
    steps = steps_of(corpus, video)
    rows = [*_step_rows(corpus, video, steps), *_caption_rows(truth, video, said)]
    panel = {"captions": [(c.start_s, c.end_s, c.text) for _, c in timed], "truth": _truth(corpus, video),
             "video": clip, "title": video.id, "unit": unit, "top": top, "video_id": video.id,
             "videos": [v.id for v in corpus.split(split) if v.id in store], "opener": opener}  # fmt: skip
    if encoder is None:
        notes.append("No checkpoint: nothing can be compared. Train one with notebook 20, or give one.")
        return AlignmentExplorer(np.zeros((0, length)), [], notes=notes, **panel)
    seconds = encode_seconds(encoder, store[video.id])  # (T, D)
    texts = encode_text(encoder, [row.text for row in rows]) if rows else np.zeros((0, seconds.shape[1]))  # (S, D)
    scores = texts @ seconds.T  # (S, T)
    if library is not None:
        found = [_elsewhere(library, text, top) for text in texts]
        rows = [replace(row, elsewhere=there) for row, there in zip(rows, found, strict=True)]
    own = [i for i, row in enumerate(rows) if row.kind == "steps"]
    prediction = _prediction([corpus.steps[s] for s in steps], texts[own], scores[own], gamma)
    ask = Ask(encoder, seconds, library, top)
    return AlignmentExplorer(scores, rows, prediction=prediction, notes=notes, ask=ask, **panel)


@dataclass(frozen=True)
class Ask:
    """Answers a sentence: its score at every second (T, D) of one video, and the library's best moments."""

    encoder: Encoder
    seconds: np.ndarray
    library: VideoIndex | None = None
    top: int = 5

    def __call__(self, sentence: str) -> Asked:
        words = sentence.split()
        strange = unknown_words(self.encoder.tokenizer, words)
        if len(strange) == len(words):
            none = "The model knows none of these words, so its answer would mean nothing. Try others."
            raise VcworkError(none)
        text = encode_text(self.encoder, [sentence])[0]  # (D,)
        note = f"Not known to the model, spelt out or left out: {', '.join(strange)}." if strange else ""
        found = _elsewhere(self.library, text, self.top) if self.library is not None else ()
        return Asked(self.seconds @ text, found, note)


def unknown_words(tokenizer: Tokenizer | None, words: Sequence[str]) -> list[str]:
    """The words that the vocabulary has only as single letters or not at all; longer pieces count as known.

    Empty where the tokenizer does not show its vocabulary (a peer's): then nothing is said.
    """
    if not isinstance(tokenizer, Tokenizer):
        return []
    pieces = [[tokenizer.vocabulary[i] for i in ids] for ids in tokenizer.tokens(list(words))]

    def strange(word: str, parts: list[str]) -> bool:
        letters = all(part == "[UNK]" or len(part.removeprefix("##")) == 1 for part in parts)
        return letters and (len(word) > 1 or not parts or "[UNK]" in parts)

    return [word for word, parts in zip(words, pieces, strict=True) if strange(word, parts)]


def clip_of(corpus: Corpus, video: Video, max_kb: int = 300) -> tuple[bytes | None, list[str]]:
    """A small H.264 copy that browsers play, whatever codec the file has, or None; and what has to be said of it."""
    if video.video is None:
        return None, [f"No video: {corpus.missing_videos.get(video.id, 'this corpus has no video files')}."]
    try:
        info = probe(video.video)
        fitting = [(side, fps) for most_s, side, fps in CLIPS if info.duration_s <= most_s]
        if not fitting:
            return None, [f"No video: {info.duration_s / 60:.0f} minutes are too long to travel inside this panel."]
        side = min(fitting[0][0], info.width // 2 * 2, info.height // 2 * 2)
        mp4 = small_mp4(video.video, 0, None, side, fitting[0][1], max_kb)
    except VcworkError as error:
        return None, [f"No video: {str(error).replace(str(video.video), video.video.name)}."]
    square = "" if info.width == info.height else ", its middle square"
    small = side < min(info.width, info.height) or fitting[0][1] < info.fps
    told = f"The clip is a small copy{square}: {side} pixels, {fitting[0][1]} frames a second, without sound."
    return mp4, [told] if small or square else []


def steps_of(corpus: Corpus, video: Video) -> list[str]:
    """Ids of the steps to compare with: the recipe's, or else those that happen, or else all where they are few."""
    if video.recipe and corpus.recipes[video.recipe].steps:
        return list(dict.fromkeys(corpus.recipes[video.recipe].steps))
    happen = list(dict.fromkeys(s.step for s in video.segments))
    return happen or (list(corpus.steps) if len(corpus.steps) <= MOST_STEPS else [])


def _if_there(corpus: Corpus, video: Video, notes: list[str]) -> tuple[list[tuple[int, Caption]], dict[str, Any]]:
    """Captions with their index, and the truth file; what cannot be read any more is noted."""
    said, truth = [], {}
    try:
        said = corpus.indexed_captions(video.id)
        truth = corpus.truth(video.id)
    except (VcworkError, OSError) as error:
        lost = "The truth file is lost" if said else "No captions"
        notes.append(f"{lost}: {corpus.relative(error).rstrip('.')}. Was the corpus moved?")
    return said, truth


def _caption_rows(truth: dict[str, Any], video: Video, said: Sequence) -> list[Row]:
    """A row a caption, with when it is said and, where truth knows it, the segment that it speaks of."""
    about = dict(enumerate(truth.get("caption_segment", [])))
    segments = {i: video.segments[s] for i, s in about.items() if s >= 0}
    return [
        Row(
            c.text,
            "what is said",
            (c.start_s, c.end_s) if np.isfinite(c.end_s) else None,
            ((segments[i].start_s, segments[i].end_s),) if i in segments else (),
        )
        for i, c in said
    ]


def _step_rows(corpus: Corpus, video: Video, steps: Sequence[str]) -> list[Row]:
    return [
        Row(corpus.steps[step], "steps", None, tuple((s.start_s, s.end_s) for s in video.segments if s.step == step))
        for step in steps
    ]


def _truth(corpus: Corpus, video: Video) -> list[Span]:
    return [(s.start_s, s.end_s, corpus.steps[s.step]) for s in video.segments]


def _prediction(names: Sequence[str], texts: np.ndarray, scores: np.ndarray, gamma: float | None) -> list[Span]:
    """Stretches of seconds with one predicted step; texts (K, D), scores (K, T); none where no gamma can be had."""
    if not len(scores) or (gamma is None and len(set(names)) < 2):
        return []
    gamma = segmentation.text_gamma(texts, list(names)) if gamma is None else gamma
    labels = segmentation.segment(scores.T, gamma, segmentation.first_of_same(names))  # (T,)
    cuts = [0, *(np.flatnonzero(np.diff(labels)) + 1).tolist(), len(labels)]
    runs = [(a, b, int(labels[a])) for a, b in itertools.pairwise(cuts)]
    return [(float(a), float(b), names[label - 1]) for a, b, label in runs if label]


def _elsewhere(library: VideoIndex, text: np.ndarray, top: int) -> tuple[tuple[str, Moment], ...]:
    return tuple((found.video, found.moment) for found in find_moments(library, text, top, videos=top))


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
