"""From a corpus and an encoder to the arrays that the tasks score: clips, label texts, per-second scores.

Truth is read here to cut clips and to score, never to train.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import Any

import numpy as np
import torch

from vcwork.base.errors import NoData
from vcwork.core.sampling import Pair
from vcwork.data.benchmarks.corpora import questions
from vcwork.data.corpus import Corpus, Segment, Video
from vcwork.data.store import FeatureStore
from vcwork.encoders.encoder import AnyEncoder, encode_all_seconds, encode_text, encode_video
from vcwork.measure.card import Card
from vcwork.measure.metrics import seconds_of, unit
from vcwork.measure.result import text_table
from vcwork.tasks import classification, didemo, localization, moments

FIRST_S = 32  # of a longer clip, what the reference code reads


@dataclass(frozen=True)
class Clips:
    """Annotated segments of one split: row i of every field is one clip with its annotator's sentence.

    cut: how many were cut to their first `FIRST_S` seconds; None where none may be.
    """

    features: list[np.ndarray]  # (T_i, W)
    sentences: list[str]
    steps: np.ndarray
    videos: np.ndarray
    recipes: np.ndarray
    spans: list[tuple[float, float]]
    cut: int | None = None

    def __len__(self) -> int:
        return len(self.sentences)

    def some(self, rows: np.ndarray) -> "Clips":
        """The clips where `rows` (N,) is True."""
        at = np.flatnonzero(rows)
        lists = {name: [getattr(self, name)[i] for i in at] for name in ("features", "sentences", "spans")}
        return replace(self, steps=self.steps[at], videos=self.videos[at], recipes=self.recipes[at], **lists)

    @property
    def labels(self) -> tuple[np.ndarray, ...]:
        """What `retrieval.evaluate` asks of queries and clips after their scores: steps, videos, recipes."""
        return self.steps, self.steps, self.videos, self.videos, self.recipes

    @property
    def same(self) -> np.ndarray:
        """Is clip n a right answer to sentence q? (N, N) bool: it shows the same step."""
        return self.steps[:, None] == self.steps


def overview(corpus: Corpus, store: FeatureStore, encoder: AnyEncoder | None, split: str) -> str:
    """What a notebook stands on, as a small text table."""
    videos = [v for v in corpus.split(split) if v.id in store]
    recipes, segments = {v.recipe for v in videos if v.recipe}, sum(len(v.segments) for v in videos)
    unit = corpus.meta.get("second_is", "second")  # of a keyframe corpus, each row of features stands for a step
    found = f"{len(videos)} videos, {len(recipes)} recipes, {segments} annotated segments, "
    rows = [(f"corpus {corpus.name}, {split}", found + f"{sum(store.lengths[v.id] for v in videos)} {unit}s"),
            (f"features {store.contract.backbone}", f"{store.contract.width} numbers a {unit}")]  # fmt: skip
    if encoder is not None:
        rows.append(encoder.described)
    return text_table(("what", "value"), rows)


def setting_of(
    corpus: Corpus,
    split: str,
    store: FeatureStore | None = None,
    encoder: AnyEncoder | None = None,
    of: "Clips | Seconds | None" = None,
) -> Card:
    """The protocol card that the tasks extend: the split, how far it is from what was trained on, and what was used.

    store: hash of the features, and how many of the split's videos have none; encoder: hash of the model; with both,
    how the clips or seconds that are scored, `of`, were read (without it, whole videos): what happens to those that do
    not fit the model's window at once, their share, and whether CLS was seen.
    """
    benchmark = corpus.meta.get("benchmark", {}).get("name", "")
    card = Card(split=_full_name(corpus, split), rule=_distance(corpus, split), benchmark=benchmark)
    if store is None:
        return card if encoder is None else card.but(model=encoder.digest)
    videos = corpus.split(split)
    absent = sum(v.id not in store for v in videos)
    card = card.but(missing=(absent, len(videos)), features=store.digest())
    if encoder is None:
        return card.but(model="none")
    return card.but(model=encoder.digest, **_read(store, encoder, videos, of))


def _read(
    store: FeatureStore, encoder: AnyEncoder, videos: list[Video], of: "Clips | Seconds | None"
) -> dict[str, Any]:
    """Fields of the card that say how an encoder read what is longer than its window."""
    clips = of if isinstance(of, Clips) else None
    if clips is not None and clips.cut is not None:
        cut = f"clips over {FIRST_S} s cut to their first {FIRST_S} s", clips.cut / len(clips)
        return {"truncation": cut, "windows": "first", "cls": "attended"}
    lengths = [*map(len, clips.features)] if clips else [store.lengths[v.id] for v in videos if v.id in store]
    share = float(np.mean(np.array(lengths) > encoder.window)) if lengths else 0.0
    rule = f"{'clips' if clips else 'videos'} over {encoder.window} s read in half-overlapping windows"
    cls = "hidden" if isinstance(of, Seconds) and of.hidden_cls else "attended"
    return {"truncation": (rule, share), "windows": "overlapping", "cls": cls}


def _full_name(corpus: Corpus, split: str) -> str:
    """The split as a score must name it; a published benchmark's says which of its versions, and how many are left."""
    return corpus.meta.get("benchmark", {}).get("splits", {}).get(split, f"{corpus.name} {split}")


def _distance(corpus: Corpus, split: str) -> str:
    """How far a split is from what was trained on: recipes nobody saw, or only other videos."""
    recipes, trained = ({v.recipe for v in corpus.split(name) if v.recipe} for name in (split, "train"))
    if split == "train":
        return "seen in training"
    if not corpus.split("train"):
        return "zero-shot on another corpus"
    return "videos of trained recipes" if recipes & trained else "zero-shot on unseen recipes"


def videos_of(corpus: Corpus, store: FeatureStore, split: str) -> list[Video]:
    """Videos of a split that have features; NoData when there are none."""
    videos = [v for v in corpus.split(split) if v.id in store]
    if not videos:
        raise NoData(f"{corpus.folder}: no {split} video has features in {store.folder}")
    return videos


def annotated_clips(corpus: Corpus, store: FeatureStore, split: str, as_reference: bool = False) -> Clips:
    """Every true segment of the split's videos as a clip; seconds [floor(start), ceil(end)).

    as_reference: of a longer clip only the first `FIRST_S` seconds, as the reference code has it; False: all of it.
    A video without a recipe gets one of its own: that nobody knows what two videos show does not make it the same.
    """
    rows = [(v, s, store[v.id][seconds_of(s.start_s, s.end_s, store.lengths[v.id])])
            for v in videos_of(corpus, store, split) for s in v.segments]  # fmt: skip
    rows = [row for row in rows if len(row[2])]
    if not rows:
        raise NoData(f"{corpus.folder}: the {split} videos have no annotated segments")
    clips = as_clips(corpus, rows)
    if not as_reference:
        return clips
    first = [f[:FIRST_S] for f in clips.features]
    return replace(clips, features=first, cut=sum(len(f) > FIRST_S for f in clips.features))


def as_clips(corpus: Corpus, rows: Sequence[tuple[Video, Segment, Any]]) -> Clips:
    """Clips of (video, its segment, what is read of it); see `annotated_clips`."""
    return Clips(
        [f for _, _, f in rows], [s.sentence or corpus.steps[s.step] for _, s, _ in rows],
        np.array([s.step for _, s, _ in rows]), np.array([v.id for v, _, _ in rows]),
        np.array([v.recipe or f"video {v.id}" for v, _, _ in rows]), [(s.start_s, s.end_s) for _, s, _ in rows],
    )  # fmt: skip


def step_parts(corpus: Corpus, steps: np.ndarray) -> dict[str, np.ndarray]:
    """Object and action of each step id (N,), where the corpus knows them (the lab does); else empty."""
    parts = corpus.meta.get("step_parts", {})
    if not all(step in parts for step in steps):
        return {}
    return {name: np.array([parts[s][key] for s in steps]) for name, key in (("object", "thing"), ("action", "action"))}


def pair_steps(corpus: Corpus, pairs: list[Pair]) -> list[str]:
    """The step that fills most of each pair's video clip, "" where that is background."""
    out = []
    for pair in pairs:
        shown: dict[str, float] = {}
        for s in corpus[pair.video_id].segments:
            seconds = min(s.end_s, pair.video_end) - max(s.start_s, pair.video_start)
            if seconds > 0:
                shown[s.step] = shown.get(s.step, 0.0) + seconds
        best = max(shown, key=shown.get, default="")
        out.append(best if shown.get(best, 0) * 2 > pair.video_end - pair.video_start else "")
    return out


def clip_scores(encoder: AnyEncoder, clips: Clips) -> np.ndarray:
    """scores[q, n] of every sentence with every clip, (N, N)."""
    return encode_text(encoder, clips.sentences) @ encode_video(encoder, clips.features).T


def published_choices(corpus: Corpus, clips: Clips, split: str) -> tuple[list[str], np.ndarray, np.ndarray] | None:
    """The choices that an MSR-VTT-QA corpus was published with; None for any other corpus.

    (captions, choices, answer): the clips' own sentences (N) and behind them the wrong ones, each text once; choices
    (N, C) indexes into them; answer (N,), the place of the clip's own. Nothing is drawn here.
    """
    asked: dict[tuple, list] = {}
    for q in questions(corpus, split):
        asked.setdefault((q.video, q.start_s, q.end_s, q.text), []).append(q)
    if not asked:
        return None
    keys = zip(clips.videos, clips.spans, clips.sentences, strict=True)
    mine = [asked[video, *span, text].pop(0) for video, span, text in keys]
    wrong = dict.fromkeys(text for q in mine for i, text in enumerate(q.choices) if i != q.answer)
    place = {text: len(clips) + i for i, text in enumerate(wrong)}
    choices = [[n if i == q.answer else place[text] for i, text in enumerate(q.choices)] for n, q in enumerate(mine)]
    return [*clips.sentences, *wrong], np.array(choices), np.array([q.answer for q in mine])


def whole_video_vectors(encoder: AnyEncoder, store: FeatureStore, clips: Clips) -> np.ndarray:
    """Each clip read inside its whole video: mean of the video's states over the clip's seconds, (N, D).

    The model sees what comes before and after, and with it the place of a step in the order.
    """
    videos, spans = dict.fromkeys(clips.videos), np.array(clips.spans)
    out = np.zeros((len(clips), encoder.width), np.float32)
    for video, states in zip(videos, encode_all_seconds(encoder, (store[v] for v in videos)), strict=True):
        for n in np.flatnonzero(clips.videos == video):
            out[n] = states[seconds_of(*spans[n], len(states))].mean(0)
    return out


def places(clips: Clips) -> np.ndarray:
    """Which clip of its video each is, by start, from 0; (N,)."""
    starts = np.array([start_s for start_s, _ in clips.spans])
    return np.array([((clips.videos == v) & (starts < s)).sum() for v, s in zip(clips.videos, starts, strict=True)])


def split_steps(corpus: Corpus, split: str) -> list[str]:
    """Ids of all steps that recipes of the split's videos contain, sorted: the label set of segmentation."""
    recipes = {v.recipe for v in corpus.split(split)}
    return sorted({step for r in recipes if r for step in corpus.recipes[r].steps})


@dataclass(frozen=True)
class Seconds:
    """A split seen second by second: scores (T, K) and truth (T,) of each video, step k + 1 of `steps` or 0.

    hidden_cls: whether CLS was hidden from the seconds; None where no video tower read them.
    """

    videos: list[Video]
    steps: list[str]
    scores: list[np.ndarray]
    truths: list[np.ndarray]
    hidden_cls: bool | None = None

    @property
    def ids(self) -> list[str]:
        return [v.id for v in self.videos]


def seconds_of_split(
    encoder: AnyEncoder, corpus: Corpus, store: FeatureStore, split: str, as_reference: bool = True,
    videos: Sequence[Video] | None = None, stride: int | None = None,
) -> Seconds:  # fmt: skip
    """Scores of all steps of the split at every second of its videos (or of those given), and the truth beside them.

    as_reference: CLS is hidden, as the reference code does here and as fine-tuning for these tasks trains; False: it is
    seen, as in pre-training. Windows begin every `stride` s, half a window unless said (reference: 32 s every 16).
    """
    videos, steps = videos or videos_of(corpus, store, split), split_steps(corpus, split)
    texts = encode_text(encoder, [corpus.steps[s] for s in steps])  # (K, D)
    states = encode_all_seconds(encoder, (store[v.id] for v in videos), stride, hide_cls=as_reference)
    scores = [each @ texts.T for each in states]  # (T, K); a video's states (T, D) are not kept
    return Seconds(list(videos), steps, scores, truths_of(videos, steps, store), as_reference)


def truths_of(videos: Sequence[Video], steps: Sequence[str], store: FeatureStore) -> list[np.ndarray]:
    """Label of every second of each video, (T,): k + 1 where steps[k] happens, else 0. VcworkError for other steps."""
    index = {step: k for k, step in enumerate(steps)}
    return [v.labels(index, store.lengths[v.id]) for v in videos]


def localization_cases(seconds: Seconds, corpus: Corpus) -> list[localization.Case]:
    """One case a video: scores of its recipe's steps in canonical order, and where they truly happen."""
    cases = []
    for video, scores, own in zip(seconds.videos, seconds.scores, own_columns(seconds, corpus), strict=True):
        steps = corpus.recipes[video.recipe].steps
        spans = [[(s.start_s, s.end_s) for s in video.segments if s.step == step] for step in steps]
        cases.append(localization.Case(scores[:, own], spans, video.id, video.recipe))
    return cases


def own_columns(seconds: Seconds, corpus: Corpus) -> list[np.ndarray]:
    """Per video (K,): where the steps of its recipe stand among the split's steps."""
    index = {step: k for k, step in enumerate(seconds.steps)}
    return [np.array([index[step] for step in corpus.recipes[v.recipe].steps]) for v in seconds.videos]


def moment_cases(seconds: Seconds) -> list[moments.Case]:
    """One case for each step that occurs in a video: its score a second, and where it truly happens."""
    cases = []
    for video, scores in zip(seconds.videos, seconds.scores, strict=True):
        for step in dict.fromkeys(s.step for s in video.segments):
            spans = [(s.start_s, s.end_s) for s in video.segments if s.step == step]
            cases.append(moments.Case(scores[:, seconds.steps.index(step)], spans, video.id))
    return cases


def didemo_sentences(corpus: Corpus, split: str) -> list[tuple[str, str, list[tuple[int, int]]]]:
    """Every sentence of a DiDeMo split: its video, its text, each annotator's (first, last) chunk.

    A corpus that is not DiDeMo plays it: each annotated segment of the first 30 s is a sentence, and the chunks that it
    touches are what one annotator chose. [] where there is none. Features are not needed:
    `didemo.fit_moment_frequency` takes the third of each.
    """
    found = [(v.id, s["caption"], [(first, last) for first, last in s["chunks"]])
             for v in corpus.split(split) for s in corpus.truth(v.id).get("segments", []) if "chunks" in s]  # fmt: skip
    chunk_s, last = didemo.CHUNK_S, didemo.N_CHUNKS * didemo.CHUNK_S
    return found or [
        (v.id, s.sentence or corpus.steps[s.step], [(int(s.start_s // chunk_s), ceil(s.end_s / chunk_s) - 1)])
        for v in corpus.split(split) for s in v.segments if s.start_s < s.end_s <= last
    ]  # fmt: skip


def didemo_cases(
    encoder: AnyEncoder, corpus: Corpus, store: FeatureStore, split: str, reference: bool = False
) -> list[didemo.Case]:
    """Each sentence with the scores (21,) of its own video's moments: the mean state of a moment times the text.

    Left out: sentences of videos without features, and those whose chosen chunks all lie behind them. `reference`: as
    the reference code, which in videos of less than 30 s averages the states of padding, too; without it only a
    video's own seconds count.
    """
    told = [(video, text, times) for video, text, times in didemo_sentences(corpus, split) if video in store
            and any(first * didemo.CHUNK_S < store.lengths[video] for first, _ in times)]  # fmt: skip
    if not told:
        raise NoData(f"{corpus.folder}: no {split} sentence of DiDeMo has features in {store.folder}")
    videos = dict.fromkeys(video for video, _, _ in told)
    if reference:
        states = {video: _with_padding(encoder, store[video]) for video in videos}  # (window, D)
        vectors = {v: didemo.moment_vectors(s, min(store.lengths[v], len(s)), True) for v, s in states.items()}
    else:
        states = encode_all_seconds(encoder, (store[video] for video in videos))
        vectors = {video: didemo.moment_vectors(each) for video, each in zip(videos, states, strict=True)}
    texts = encode_text(encoder, [text for _, text, _ in told])  # (S, D)
    return [didemo.Case(didemo.moment_scores(vectors[video], text), times, video)
            for (video, _, times), text in zip(told, texts, strict=True)]  # fmt: skip


def _with_padding(encoder: AnyEncoder, features: np.ndarray) -> np.ndarray:
    """States of a whole window, (window, D), those of its padding included; seconds beyond the window are cut."""
    window = encoder.window
    rows = np.zeros((1, window, features.shape[1]), np.float32)
    n = min(len(features), window)
    rows[0, :n] = features[:n]
    mask = torch.arange(window)[None] < n  # (1, window)
    device = next(encoder.model.parameters()).device
    with torch.inference_mode():
        states = encoder.model.encode_video(torch.from_numpy(rows).to(device), mask.to(device)).states
    return states[0].float().cpu().numpy()


def didemo_paragraphs(
    encoder: AnyEncoder, corpus: Corpus, store: FeatureStore, split: str
) -> tuple[np.ndarray, list[str]]:
    """scores (V, V) of each video's sentences, as one text, with every whole video, and the videos' ids."""
    told = [(video, text) for video, text, _ in didemo_sentences(corpus, split) if video in store]
    texts = didemo.paragraphs([text for _, text in told], [video for video, _ in told])
    seen = encode_video(encoder, [store[video] for video in texts])  # (V, D)
    return encode_text(encoder, list(texts.values())) @ seen.T, list(texts)


def prompt_vectors(encoder: AnyEncoder, names: Sequence[str], templates: Sequence[str]) -> np.ndarray:
    """Embeddings of every class name in every template, (C, P, D)."""
    prompts = classification.fill(templates, names)
    return encode_text(encoder, [p for row in prompts for p in row]).reshape(len(names), len(templates), -1)


def mean_vectors(clips: Sequence[np.ndarray]) -> np.ndarray:
    """Without an encoder: each clip's mean feature scaled to length 1, (N, W), so that dot products are cosines."""
    return unit(np.stack([np.asarray(clip, dtype=np.float32).mean(0) for clip in clips]))
