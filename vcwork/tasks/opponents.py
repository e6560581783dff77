"""Who never sees the pictures: the predictors beside each metric, made in one place from a corpus and its clips.

Each function makes what one task's `evaluate` takes beside the model's scores, so that every notebook which reports a
metric shows the same set (`vcwork.measure.trivial.REGISTRY`). Narration is read as a bag of words while it is said; a
corpus whose captions are the annotators' own sentences has none, since they would give the answer away. *Silent* are
steps that nobody speaks of in their video: there the narration knows nothing, and what is found was seen.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from vcwork.data.corpus import Corpus, Video
from vcwork.data.store import FeatureStore
from vcwork.encoders.encoder import Encoder, encode_text, encode_video
from vcwork.measure import trivial
from vcwork.tasks import segmentation
from vcwork.tasks.cases import Clips, Seconds, localization_cases, moment_cases, own_columns, truths_of

# ------------------------------------------------------------------------------------------ what is said, and when


def spoken(corpus: Corpus, spans: Sequence[tuple[str, float, float]]) -> list[str]:
    """What is said in each (video, start_s, end_s), all captions that touch it, (N,); "" in silence.

    Empty list where the captions are the annotators' own sentences, which would give the answer away.
    """
    if not corpus.meta.get("rolling_captions", True):
        return []
    said = {video: corpus.captions(video) for video in dict.fromkeys(video for video, _, _ in spans)}
    return [" ".join(c.text for c in said[video] if c.start_s < end_s and c.end_s > start_s)
            for video, start_s, end_s in spans]  # fmt: skip


def _spoken_in(corpus: Corpus, clips: Clips) -> list[str]:
    return spoken(corpus, [(video, *span) for video, span in zip(clips.videos, clips.spans, strict=True)])


def mentioned(corpus: Corpus, video: Video) -> set[str] | None:
    """Ids of the steps that the narration of a video speaks of; None where the corpus does not know."""
    about = corpus.truth(video.id).get("caption_segment") if video.segments else None
    return None if about is None else {video.segments[i].step for i in about if i >= 0}


def silent_clips(corpus: Corpus, clips: Clips) -> np.ndarray | None:
    """Which clips show a step that nobody speaks of in their video, (N,) bool; None where nothing is known of that.

    Where the corpus does not tell what a caption is about, those in which nothing is said.
    """
    said = _spoken_in(corpus, clips)
    if not any(said):
        return None
    named = {video: mentioned(corpus, corpus[video]) for video in dict.fromkeys(clips.videos)}
    return np.array([not text if named[video] is None else step not in named[video]
                     for video, step, text in zip(clips.videos, clips.steps, said, strict=True)])  # fmt: skip


def narrated(corpus: Corpus, seconds: Seconds) -> Seconds | None:
    """The same seconds scored by the narration alone: cosine, 0 to 1, of a step's words with what is said just then.

    None where nothing is said.
    """
    lengths = zip(seconds.ids, map(len, seconds.truths), strict=True)
    spans = [(video, t, t + 1) for video, length in lengths for t in range(length)]
    said = spoken(corpus, spans)
    if not any(said):
        return None
    texts, at = np.unique(said, return_inverse=True)
    scores = trivial.bag_of_words([corpus.steps[s] for s in seconds.steps], list(texts)).T[at]  # (all seconds, K)
    ends = np.cumsum([len(truth) for truth in seconds.truths])[:-1]
    return replace(seconds, scores=np.split(scores, ends), hidden_cls=None)


# -------------------------------------------------------------------------------------------------- task by task


def of_retrieval(corpus: Corpus, clips: Clips, encoder: Encoder | None = None) -> dict[str, Any]:
    """`beside` and `silent` of `retrieval.evaluate`; with an encoder also what one second of the clip tells it."""
    said, beside = _spoken_in(corpus, clips), {}
    if encoder is not None:
        seconds = [trivial.one_second(f) for f in clips.features]
        beside["one second"] = encode_text(encoder, clips.sentences) @ encode_video(encoder, seconds).T
    if any(said):
        beside["bag of words"] = trivial.bag_of_words(clips.sentences, said)
    return {"beside": beside, "silent": silent_clips(corpus, clips)}


def of_videoqa(corpus: Corpus, clips: Clips, captions: Sequence[str]) -> dict[str, np.ndarray]:
    """Scores (N clips, M captions) of readers who never look, for the choices of `videoqa.evaluate`'s beside."""
    train = [c.text for v in corpus.split("train") for c in corpus.captions(v.id)]
    one_row = {"longest caption": np.array([len(caption.split()) for caption in captions], float)}
    if train:
        one_row["text prior"] = trivial.text_prior(trivial.fit_text_prior(train), [captions])[0]
    beside = {name: np.tile(row, (len(clips), 1)) for name, row in one_row.items()}
    said = _spoken_in(corpus, clips)
    return beside | ({"bag of words": trivial.bag_of_words(captions, said).T} if any(said) else {})


def of_localization(corpus: Corpus, store: FeatureStore, seconds: Seconds) -> dict[str, Any]:
    """`prior`, `heard` and `silent` of `localization.evaluate`: the line is fitted on the truth of train videos."""
    centres, lengths = step_centres(corpus, store, "train")
    known = sum(int(np.isfinite(c).sum()) for c in centres)
    told, heard = [mentioned(corpus, v) for v in seconds.videos], narrated(corpus, seconds)
    silent = [np.array([step not in named for step in corpus.recipes[v.recipe].steps])
              for v, named in zip(seconds.videos, told, strict=True) if named is not None]  # fmt: skip
    return {
        "prior": trivial.fit_linear_in_time(centres, lengths) if known > 1 else None,
        "heard": heard and [case.scores for case in localization_cases(heard, corpus)],
        "silent": silent if heard and len(silent) == len(told) else None,
    }


def of_segmentation(
    corpus: Corpus, store: FeatureStore, seconds: Seconds, chosen_on: Seconds | None = None,
    objective: str = "frame accuracy",
) -> dict[str, Any]:  # fmt: skip
    """`beside` and `silent` of `segmentation.evaluate`: labels by place in time and in order, and by what is said.

    chosen_on: validation videos, on which the narration's gamma is chosen as the model's is; without it, none is used.
    """
    beside, silent = _by_time(corpus, store, seconds), None
    heard, held = narrated(corpus, seconds), chosen_on and narrated(corpus, chosen_on)
    if heard and held:
        gamma = segmentation.choose_gamma(held.scores, held.truths, objective)
        beside["bag of words"] = [segmentation.segment(s, gamma) for s in heard.scores]
    told = [mentioned(corpus, v) for v in seconds.videos]
    if heard and None not in told:
        numbers = {step: k + 1 for k, step in enumerate(seconds.steps)}
        silent = [(truth > 0) & ~np.isin(truth, [numbers[step] for step in named if step in numbers])
                  for truth, named in zip(seconds.truths, told, strict=True)]  # fmt: skip
    return {"beside": beside, "silent": silent}


def _by_time(corpus: Corpus, store: FeatureStore, seconds: Seconds) -> dict[str, list[np.ndarray]]:
    """Labels (T,) of each video by those who know the annotations of train videos, or each video's task, or both."""
    fitted_on, fitted_tasks = fitted_truths(corpus, store, seconds.steps)
    (tasks, task_steps), lengths = task_labels(seconds, corpus), [len(truth) for truth in seconds.truths]
    known = trivial.by_time(fitted_on, fitted_tasks, lengths, tasks)
    if tasks:
        pairs = zip(tasks, lengths, strict=True)
        known["oracle task"] = [trivial.steps_in_order(task_steps[task], n) for task, n in pairs]
    return known


def of_moments(corpus: Corpus, seconds: Seconds) -> list[np.ndarray] | None:
    """`heard` of `moments.evaluate`: scores (T,) of each of `moment_cases`; None where nothing is said."""
    heard = narrated(corpus, seconds)
    return heard and [case.scores for case in moment_cases(heard)]


def of_windows(
    corpus: Corpus, queries: Sequence[str], windows: Sequence[tuple[str, float, float]]
) -> dict[str, np.ndarray]:
    """`beside` of `moments.evaluate_search`: queries (Q,) and windows as (video, start_s, end_s), (N,)."""
    said = spoken(corpus, windows)
    return {"bag of words": trivial.bag_of_words(queries, said)} if any(said) else {}


def of_classification(
    corpus: Corpus, videos: Sequence[Video], prompts: Sequence[Sequence[str]]
) -> dict[str, np.ndarray]:
    """`beside` of `classification.evaluate`: prompts, P sentences for each of C classes -> scores (N, C)."""
    said = spoken(corpus, [(v.id, 0.0, np.inf) for v in videos])
    return {"bag of words": trivial.bag_of_words([" ".join(row) for row in prompts], said).T} if any(said) else {}


# ------------------------------------------------------------------------------------ what annotations tell of time


def fitted_truths(corpus: Corpus, store: FeatureStore, steps: Sequence[str]) -> tuple[list[np.ndarray], list[str]]:
    """Labels (T,) of train's annotated videos in the numbering of `steps`, and each video's recipe.

    Steps that are not among `steps` get numbers beyond them: nobody can be right with those. For `trivial.fit_…`.
    """
    videos = [v for v in corpus.split("train") if v.id in store and v.segments]
    others = sorted({s.step for v in videos for s in v.segments} - set(steps))
    return truths_of(videos, [*steps, *others], store), [v.recipe or "" for v in videos]


def task_labels(seconds: Seconds, corpus: Corpus) -> tuple[list[str], dict[str, list[int]]]:
    """Each video's recipe, and the labels of every recipe's steps in order; both empty where a video has no recipe."""
    if not all(v.recipe for v in seconds.videos):
        return [], {}
    own = zip(seconds.videos, own_columns(seconds, corpus), strict=True)
    return [v.recipe for v in seconds.videos], {v.recipe: (columns + 1).tolist() for v, columns in own}


def step_centres(corpus: Corpus, store: FeatureStore, split: str) -> tuple[list[np.ndarray], list[int]]:
    """Per video (K,) mean time of each step of its recipe, NaN where it does not occur, and the video's seconds.

    Truth: what `trivial.fit_linear_in_time` takes, so a predictor fitted on it is privileged.
    """
    centres, lengths = [], []
    for video in corpus.split(split):
        if video.recipe is None or not video.segments or video.id not in store:
            continue
        times = {step: [(s.start_s + s.end_s) / 2 for s in video.segments if s.step == step]
                 for step in corpus.recipes[video.recipe].steps}  # fmt: skip
        centres.append(np.array([np.mean(t) if t else np.nan for t in times.values()]))
        lengths.append(store.lengths[video.id])
    return centres, lengths
