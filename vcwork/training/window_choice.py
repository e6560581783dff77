"""Which clip of its video does a sentence choose, is it the right one, and is it always the same one?

Objectives that pick the best candidate may settle on one clip of a video whatever is said ("collapse"), which their
loss does not show. Where truth says which caption speaks of which segment, the choice is scored: does the chosen window
point into the segment (its middle lies inside), and how well does it fit (IoU). Truth is only scored here, never
trained on. What guessing gives stands beside it: a random window, and the window at the time the sentence is spoken.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vcwork.base.errors import NoData
from vcwork.core.sampling import sliding_windows
from vcwork.data.corpus import Corpus
from vcwork.data.store import FeatureStore
from vcwork.encoders.encoder import Encoder, encode_text, encode_video
from vcwork.measure.card import BLANK, Card
from vcwork.measure.metrics import tiou
from vcwork.measure.result import Result, mean_result
from vcwork.tasks.cases import setting_of

WINDOW_S, STRIDE_S = 8, 4  # the sliding windows among which a sentence chooses
COLLAPSED = 0.5  # of the way from what random choices give to always the same window


@dataclass(frozen=True)
class Spoken:
    """A video's sentences that speak of a segment: texts (S,), when spoken (S,), segments (S, 2), windows (N, 2)."""

    video_id: str
    texts: list[str]
    spoken_s: np.ndarray
    segments: np.ndarray
    windows: np.ndarray


def spoken_of(corpus: Corpus, store: FeatureStore, split: str) -> list[Spoken]:
    """The videos of a split in which truth knows what at least one sentence speaks of, cut into sliding windows.

    NoData where no video's truth says so.
    """
    out = []
    for video in corpus.split(split):
        segment_of = corpus.truth(video.id).get("caption_segment")
        if segment_of is None or video.id not in store:
            continue
        about = [
            (c, video.segments[segment_of[raw]]) for raw, c in corpus.indexed_captions(video.id) if segment_of[raw] >= 0
        ]
        if about:
            windows = np.array(sliding_windows(store.lengths[video.id], WINDOW_S, STRIDE_S), float)
            out.append(Spoken(
                video.id, [c.text for c, _ in about], np.array([(c.start_s + c.end_s) / 2 for c, _ in about]),
                np.array([(s.start_s, s.end_s) for _, s in about], float), windows,
            ))  # fmt: skip
    if not out:
        raise NoData(f"{corpus.name}: nobody knows which segment a caption of a {split} video speaks of")
    return out


def scores_of(encoder: Encoder, store: FeatureStore, spoken: Sequence[Spoken]) -> list[np.ndarray]:
    """Each video's sentences against its windows, (S, N) raw dot products."""
    clips = [store[v.video_id][int(a) : int(b)] for v in spoken for a, b in v.windows]
    video, text = encode_video(encoder, clips), encode_text(encoder, [t for v in spoken for t in v.texts])
    at_clip = np.split(video, np.cumsum([len(v.windows) for v in spoken])[:-1])
    at_text = np.split(text, np.cumsum([len(v.texts) for v in spoken])[:-1])
    return [t @ v.T for t, v in zip(at_text, at_clip, strict=True)]


def evaluate(
    scores: Sequence[np.ndarray], spoken: Sequence[Spoken], *, setting: Card = BLANK, n_boot: int = 1000, seed: int = 0
) -> list[Result]:
    """`choice_pointing`, `choice_IoU`, and `same_choice`: how often a video's sentences choose its favourite window.

    scores: (S, N) a video. `same_choice` is the share of a video's sentences that choose the window chosen most, over
    videos with two of them or more; its chance is that of uniformly random choices (1,000 drawn), 1 means that what is
    said does not matter. `extra["collapsed"]` is True where it lies more than halfway from chance to 1.
    """
    picked = [s.argmax(1) for s in scores]
    pointing = [_inside(v)[np.arange(len(p)), p] for v, p in zip(spoken, picked, strict=True)]
    fit = [_fit(v)[np.arange(len(p)), p] for v, p in zip(spoken, picked, strict=True)]
    ids = np.repeat([v.video_id for v in spoken], [len(v.texts) for v in spoken])
    card = setting.but(
        "a sentence chooses among the sliding windows of its own video; sentences that speak of an annotated segment",
        task="alignment", pool=float(np.mean([len(v.windows) for v in spoken])), interval="videos",
    )  # fmt: skip
    options = {"n_boot": n_boot, "seed": seed}
    results = []
    for name, found, of in (("choice_pointing", pointing, _inside), ("choice_IoU", fit, _fit)):
        chance = float(np.concatenate([of(v).mean(1) for v in spoken]).mean())
        known = {"the window where it is spoken": float(np.concatenate([_when_spoken(v, of) for v in spoken]).mean())}
        results.append(mean_result(name, np.concatenate(found), ids, chance, card, trivial=known, **options))
    results.append(_same_choice(picked, spoken, card, options))
    return results


def numbers(encoder: Encoder, corpus: Corpus, store: FeatureStore) -> dict[str, float]:
    """On val, for an epoch's line of a training log: `val_choice_pointing`, ...; empty without such truth."""
    try:
        spoken = spoken_of(corpus, store, "val")
        results = evaluate(scores_of(encoder, store, spoken), spoken, setting=setting_of(corpus, "val"), n_boot=10)
    except NoData:
        return {}
    return {f"val_{r.name}": r.value for r in results}


def _inside(v: Spoken) -> np.ndarray:
    """(S, N) float: does a window's middle lie in the segment the sentence speaks of?"""
    middle = v.windows.mean(1)
    return ((middle >= v.segments[:, :1]) & (middle <= v.segments[:, 1:])).astype(float)


def _fit(v: Spoken) -> np.ndarray:
    """(S, N) IoU of each window with the segment."""
    return tiou(v.segments[:, None], v.windows)


def _when_spoken(v: Spoken, of) -> np.ndarray:
    nearest = np.abs(v.windows.mean(1) - v.spoken_s[:, None]).argmin(1)  # (S,)
    return of(v)[np.arange(len(nearest)), nearest]


def _same_choice(picked: list[np.ndarray], spoken: Sequence[Spoken], card: Card, options: dict) -> Result:
    several = [(p, len(v.windows), v.video_id) for p, v in zip(picked, spoken, strict=True) if len(p) > 1]
    if len(several) < 2:
        raise NoData("same_choice needs two videos with two sentences each")
    rng = np.random.default_rng(options["seed"])
    share = np.array([np.bincount(p).max() / len(p) for p, _, _ in several])
    drawn = [_favourite(rng.integers(n, size=(1000, len(p))), n).mean() for p, n, _ in several]
    chance = float(np.mean(drawn))
    collapsed = bool(share.mean() > chance + COLLAPSED * (1 - chance))
    return mean_result(
        "same_choice", share, [id for _, _, id in several], chance, card.but("lower is better"),
        trivial={"always the same window": 1.0}, extra={"collapsed": collapsed}, **options,
    )  # fmt: skip


def _favourite(drawn: np.ndarray, n: int) -> np.ndarray:
    """Share of the most frequent value in each row of drawn (R, S), values below n -> (R,)."""
    counts = np.zeros((len(drawn), n), int)
    np.add.at(counts, (np.arange(len(drawn))[:, None], drawn), 1)
    return counts.max(1) / drawn.shape[1]
