"""From a corpus to the panel that draws positive pairs: the rules of `vcwork.core.sampling`, as training calls them.

Truth, where it is known, says whether the clip shows what the text names; no rule sees it. Everything follows from the
seed: the same one gives the same draws, and the pairs of `judged_pairs.draw`.
Known gap: acceptance is counted from outside, by how many numbers the IoU rule takes from the generator for a try.
"""

from collections.abc import Sequence
from itertools import islice
from typing import Any

import numpy as np

from vcwork.base.errors import VcworkError
from vcwork.core.config import OverlapConfig
from vcwork.core.sampling import Pair, Track, iou_pair, span_iou
from vcwork.core.text import Tokenizer
from vcwork.data.corpus import Corpus, Video
from vcwork.data.store import FeatureStore
from vcwork.panels.base import Narrated
from vcwork.panels.clips import truth_of
from vcwork.panels.pairs import Again, Drawing, PairExplorer
from vcwork.review import judged_pairs
from vcwork.training.pairs import caption_track

RULES = ("overlapped", "strict", "iou", "windows")
DRAWS, MANY = 200, 2000
MOST_TRACKS = 200  # the split's first videos, whose pairs make the distribution behind


def pair_explorer(
    corpus: Corpus,
    store: FeatureStore,
    tokenizer: Tokenizer,
    split: str = "train",
    videos: int = 3,
    *,
    seed: int = 0,
    **limits: Any,
) -> PairExplorer:
    """The panel of a split's first `videos` with captions and features.

    limits: of `OverlapConfig`, for all rules; the stride of windows is cut to their length. tokenizer: counts the
    text's length. VcworkError where there is no such video.
    """
    every = ((v.id, track) for v in corpus.split(split) if (track := _track(corpus, store, tokenizer, v)) is not None)
    tracks = dict(islice(every, MOST_TRACKS))
    shown = list(tracks)[: max(1, videos)]
    if not shown:
        raise VcworkError(f"{corpus.folder}: no {split} video has both timed captions and features in {store.folder}")
    told = [_narrated(corpus, corpus[id], tracks[id]) for id in shown]
    judged = all(video.names for video in told)
    notes = [] if judged else ["Nobody knows which step a caption speaks of, so no pair can be judged."]
    again = again_from(corpus, store, [tracks[id] for id in shown], list(tracks.values()), limits)
    drawings = {rule: again(rule, {}, seed) for rule in RULES}
    unit = corpus.meta.get("second_is", "second")
    return PairExplorer(told, drawings, title=f"{corpus.name}, {split}", notes=notes, unit=unit, again=again)


def again_from(
    corpus: Corpus, store: FeatureStore, shown: Sequence[Track], tracks: Sequence[Track], limits: dict[str, Any]
) -> Again:
    """What draws by a rule: DRAWS pairs of each shown track, and MANY of all tracks, in the histogram.

    Its own limits go before those given here. It raises VcworkError where a rule cannot have them.
    """

    def again(rule: str, changed: dict[str, Any], seed: int) -> Drawing:
        config = rule_of(rule, **(limits | changed))
        own = [judged_pairs.draw([track], config, DRAWS, seed) for track in shown]
        drawn, accepted = counted(tracks, config, MANY, seed)
        judged = [j for j in judge(corpus, store, drawn) if j is not None]
        share = float(np.mean(judged)) if judged else None
        shows = [judge(corpus, store, some) for some in own]
        return Drawing(config, own, shows, np.array([span_iou(p) for p in drawn]), share, accepted)

    return again


def rule_of(rule: str, **limits: Any) -> OverlapConfig:
    """The rule with these limits; shortest lengths and the stride of windows give way to what is asked for."""
    known = OverlapConfig()
    longest = {"min_text_tokens": "max_text_tokens", "min_video_s": "max_video_s"}
    if rule == "windows":
        longest["stride_s"] = "max_video_s"
    for short, long in longest.items():
        if long in limits:
            limits.setdefault(short, min(getattr(known, short), limits[long]))
    return OverlapConfig.checked(rule=rule, **limits)


def counted(tracks: Sequence[Track], rule: OverlapConfig, count: int, seed: int) -> tuple[list[Pair], float | None]:
    """The pairs of `judged_pairs.draw`, and for the rule "iou" the share of tries that it kept, else None."""
    if rule.rule != "iou" or not count:
        return judged_pairs.draw(tracks, rule, count, seed), None
    rng = np.random.default_rng(seed)
    drawn, tries, kept = zip(*(iou_pair(tracks[i % len(tracks)], rule, rng) for i in range(count)), strict=True)
    return list(drawn), sum(kept) / sum(tries)


def judge(corpus: Corpus, store: FeatureStore, drawn: Sequence[Pair]) -> list[bool | None]:
    """Does each pair's clip show a step its text names? None where it names none, or nobody knows."""
    try:
        found = judged_pairs.named(corpus, store, drawn)
    except VcworkError:
        return [None] * len(drawn)
    right = {
        id(p): bool(found.showing(p, steps)[p.video_start : p.video_end].any())
        for p, steps in zip(found.pairs, found.steps, strict=True)
    }
    return [right.get(id(p)) for p in drawn]


def _track(corpus: Corpus, store: FeatureStore, tokenizer: Tokenizer, video: Video) -> Track | None:
    if video.id not in store:
        return None
    captions = corpus.captions(video.id)
    if not captions or not all(np.isfinite(c.end_s) for c in captions):
        return None
    return caption_track(video.id, captions, tokenizer, store.lengths[video.id])


def _narrated(corpus: Corpus, video: Video, track: Track) -> Narrated:
    said = corpus.indexed_captions(video.id)
    about = corpus.truth(video.id).get("caption_segment")
    names: list[str] = []
    if about:
        names = [corpus.steps[video.segments[about[raw]].step] if about[raw] >= 0 else "" for raw, _ in said]
    captions = [(c.start_s, c.end_s, c.text) for _, c in said]
    return Narrated(video.id, track.seconds, captions, truth_of(corpus, video), names)
