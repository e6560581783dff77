"""Looking at positive pairs: many draws at once, their lengths and overlaps, and what the truth says of them.

Training never sees this. Truth tells which steps a text clip names and which seconds of the video show them, so a rule
can be judged by how often the two have anything to do with each other.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from vcwork.base.errors import VcworkError
from vcwork.core.config import OverlapConfig
from vcwork.core.sampling import Pair, Track, sample_pair, span_iou
from vcwork.data.corpus import Corpus, Video
from vcwork.data.store import FeatureStore
from vcwork.measure.card import Card
from vcwork.measure.intervals import bootstrap_by_video
from vcwork.measure.result import Result, text_table


def draw(tracks: Sequence[Track], rule: OverlapConfig, count: int, seed: int = 0) -> list[Pair]:
    """`count` pairs, the tracks taking turns."""
    rng = np.random.default_rng(seed)
    return [sample_pair(tracks[i % len(tracks)], rule, rng) for i in range(count)]


def lengths(pairs: Sequence[Pair]) -> dict[str, np.ndarray]:
    """Of each pair (P,): tokens and seconds of the text clip, seconds of the video clip, how their times overlap.

    `iou` of the two time ranges; `inside`: the share of the video clip during which the text is spoken.
    """
    shared = [min(p.text_end_s, p.video_end) - max(p.text_start_s, p.video_start) for p in pairs]
    video_s = np.array([p.video_end - p.video_start for p in pairs])
    return {
        "tokens": np.array([len(p.tokens) for p in pairs]),
        "text_s": np.array([p.text_end_s - p.text_start_s for p in pairs]),
        "video_s": video_s,
        "iou": np.array([span_iou(p) for p in pairs]),
        "inside": np.maximum(shared, 0) / video_s,
    }


def table(drawn: Mapping[str, Sequence[Pair]]) -> str:
    """Averages of several sets of pairs as text, the paper's rule at HowTo100M's speech rate in a column of its own."""
    sets = {name: lengths(pairs) for name, pairs in drawn.items()}
    rows = [
        [label, *(show.format(reduce(found)).replace("%", " %") for found in sets.values()), published]
        for label, reduce, show, published in _ROWS
    ]
    return text_table(["mean of the pairs", *sets, "HowTo100M, paper's rule"], rows)


_ROWS = (  # last: 100,000 draws by the paper's rule at 2.4 tokens a second and 5.2 a caption, made in a test
    ("tokens of the text clip", lambda found: found["tokens"].mean(), "{:.0f}", "38"),
    ("seconds of the text clip", lambda found: found["text_s"].mean(), "{:.1f}", "15.9"),
    ("seconds of the video clip", lambda found: found["video_s"].mean(), "{:.1f}", "17.5"),
    ("IoU of their times", lambda found: found["iou"].mean(), "{:.2f}", "0.45"),
    ("pairs with IoU of 0.5 or more", lambda found: (found["iou"] >= 0.5).mean(), "{:.0%}", "38 %"),
    ("pairs with IoU below 0.25", lambda found: (found["iou"] < 0.25).mean(), "{:.0%}", "18 %"),
    ("share of the video clip inside the text", lambda found: found["inside"].mean(), "{:.0%}", "64 %"),
)


@dataclass(frozen=True)
class Named:
    """Pairs (P,) whose text names a step, the ids it names (P,), {video: (T,) step shown, "" for none}, their split."""

    pairs: list[Pair]
    steps: list[set[str]]
    shown: Mapping[str, np.ndarray]
    split: str = ""

    def showing(self, pair: Pair, steps: set[str]) -> np.ndarray:
        """Which seconds of the pair's video show one of `steps`, (T,) bool."""
        return np.isin(self.shown[pair.video_id], list(steps))


def named(corpus: Corpus, store: FeatureStore, pairs: Sequence[Pair]) -> Named:
    """What truth says of these pairs; those whose text names no step are left out.

    VcworkError where the corpus does not know what its captions speak of, or no text names anything.
    """
    about, shown = {}, {}
    for id in dict.fromkeys(p.video_id for p in pairs):
        segment_of = corpus.truth(id).get("caption_segment")
        if segment_of is None:
            raise VcworkError(f"{corpus.name}: nobody knows which step a caption of {id} speaks of")
        about[id] = [segment_of[raw] for raw, _ in corpus.indexed_captions(id)]
        shown[id] = _shown(corpus[id], store.lengths[id])
    steps = [{corpus[p.video_id].segments[k].step for k in about[p.video_id][p.first : p.last + 1] if k >= 0}
             for p in pairs]  # fmt: skip
    kept = [i for i, names in enumerate(steps) if names]
    if not kept:
        raise VcworkError(f"{corpus.name}: none of {len(pairs)} texts names a step")
    split = f"{corpus.name} {' and '.join(sorted({corpus[id].split for id in shown}))}"
    return Named([pairs[i] for i in kept], [steps[i] for i in kept], shown, split)


def judge(found: Named, prefix: str, setting: str, seed: int = 0) -> list[Result]:
    """Two shares over the pairs: clips that show a named step for a second at least, and seconds that show one.

    Chance: the text of another video. Trivial: a clip of the same length anywhere in the same video.
    """
    own = np.array([_in_clip(found, p, s) for p, s in zip(found.pairs, found.steps, strict=True)])  # (P, 2)
    other = [_in_clip(found, p, s) for p, s in zip(found.pairs, _of_another_video(found, seed), strict=True)]
    anywhere = [_anywhere(found, p, s) for p, s in zip(found.pairs, found.steps, strict=True)]
    chance, trivial = np.mean(other, axis=0), np.mean(anywhere, axis=0)
    videos, results = [p.video_id for p in found.pairs], []
    rule = (
        f"{setting}; {len(own)} pairs whose text names a step, {len(set(videos))} videos; chance: the text of another "
        "video"
    )
    protocol = Card(task="pairs", split=found.split, rule=rule, interval="videos")
    for i, name in enumerate(("shows_named_step", "seconds_on_named_step")):
        low, high = bootstrap_by_video(own[:, i], videos, seed=seed)
        known = {"same video, anywhere": float(trivial[i])}
        value, chance_i = float(own[:, i].mean()), float(chance[i])
        results.append(Result(f"{prefix}_{name}", value, low, high, chance_i, protocol, len(own), known))
    return results


def _shown(video: Video, seconds: int) -> np.ndarray:
    """(T,) step id of each second by what its middle shows, "" where that is background."""
    steps = np.full(seconds, "", dtype=object)
    for s in video.segments:
        steps[int(np.ceil(s.start_s - 0.5)) : int(np.ceil(s.end_s - 0.5))] = s.step
    return steps.astype(str)


def _in_clip(found: Named, pair: Pair, steps: set[str]) -> tuple[float, float]:
    """Does the clip show one of the steps, and in what share of its seconds?"""
    right = found.showing(pair, steps)[pair.video_start : pair.video_end]
    return float(right.any()), float(right.mean())


def _anywhere(found: Named, pair: Pair, steps: set[str]) -> tuple[float, float]:
    """The same, averaged over every place where a clip of that length fits into the video."""
    length = pair.video_end - pair.video_start
    sums = np.convolve(found.showing(pair, steps), np.ones(length), "valid")
    return float((sums > 0).mean()), float(sums.mean() / length)


def _of_another_video(found: Named, seed: int) -> list[set[str]]:
    """For each pair the steps named by the text of a random pair of another video."""
    rng, videos = np.random.default_rng(seed), np.array([p.video_id for p in found.pairs])
    if len(set(videos)) < 2:
        raise VcworkError("expected pairs of at least two videos")
    drawn = rng.integers(len(videos), size=len(videos))
    while (same := videos[drawn] == videos).any():
        drawn[same] = rng.integers(len(videos), size=int(same.sum()))
    return [found.steps[i] for i in drawn]
