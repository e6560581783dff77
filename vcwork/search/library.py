"""A library of videos in a vector database: embedded once, then asked by text, by video, and for moments.

One vector a video cannot say where, and mixes everything that happens in it; one a window or a second can, and the
video is then as good as its best vector (MaxSim). Seconds are the token states that every per-second task reads,
windows are embedded alone, and a whole video is the mean over its windows.
Known gap: MaxSim takes the best of a video's vectors for one query vector; queries of several vectors are not summed.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vcwork.base.errors import VcworkError
from vcwork.data.corpus import Corpus
from vcwork.data.store import FeatureStore
from vcwork.encoders.encoder import AnyEncoder, Clip, encode_all_seconds, encode_text, encode_video, windows
from vcwork.measure.result import text_table
from vcwork.search.hits import Hit
from vcwork.search.index import VideoIndex
from vcwork.tasks import moments
from vcwork.tasks.cases import mean_vectors
from vcwork.tasks.moments import Moment

PER = ("video", "window", "second")


@dataclass(frozen=True)
class Found:
    """A moment of one of the library's videos."""

    video: str
    moment: Moment


def build_library(
    encoder: AnyEncoder,
    clips: FeatureStore | Mapping[str, Clip],
    per: str = "video",
    window_s: int = 8,
    kind: str = "flat",
) -> VideoIndex:
    """An index of videos, {id: features (T, W) or a file}: one vector a video, a window (half overlapping) or a second.

    kind: of index, see `approximate`. Metadata: `video`, `start_s`, `end_s`. Ids: the video's, or `video@start_s`. A
    few videos are in memory at a time, those whose windows share a batch.
    """
    if per not in PER or window_s < 1:
        raise VcworkError(f"expected per in {PER} and window_s of at least 1, got {per!r} and {window_s}")
    index = VideoIndex(encoder.width, encoder.digest, kind)
    videos = clips.ids if isinstance(clips, FeatureStore) else list(clips)
    _add(index, encoder, videos, (clips[video] for video in videos), per, window_s)
    index.rebuild()
    return index


def add_video(
    index: VideoIndex, encoder: AnyEncoder, video: str, clip: Clip, per: str = "video", window_s: int = 8
) -> np.ndarray:
    """One more video, cut as `build_library` cuts; its vectors (S, D). VcworkError for an index of another encoder."""
    _same_encoder(index, encoder)
    return _add(index, encoder, [video], [clip], per, window_s)


def _add(
    index: VideoIndex, encoder: AnyEncoder, videos: Sequence[str], clips: Iterable[Clip], per: str, window_s: int
) -> np.ndarray:
    spans: list[dict[str, Any]] = []  # of each vector

    def pieces() -> Iterator[np.ndarray]:
        """What the encoder makes vectors of; their spans are noted on the way."""
        for video, clip in zip(videos, clips, strict=True):
            clip = encoder.features_of(clip) if not isinstance(clip, np.ndarray) else clip
            cut = _cut(len(clip), per, window_s)
            spans.extend({"video": video, "start_s": start, "end_s": end} for start, end in cut)
            yield from [clip] if per == "second" else (clip[start:end] for start, end in cut)

    if not videos:
        return np.empty((0, index.dimension), np.float32)
    if per == "second":
        vectors = np.concatenate([*encode_all_seconds(encoder, pieces())])  # (S, D)
    else:
        vectors = encode_video(encoder, pieces())  # (S, D)
    ids = [span["video"] if per == "video" else f"{span['video']}@{span['start_s']}" for span in spans]
    index.add(vectors, ids, spans)
    return vectors


def _cut(seconds: int, per: str, window_s: int) -> list[tuple[int, int]]:
    """(start, end) of each part of a video that has a vector of its own."""
    if per == "second":
        return [(t, t + 1) for t in range(seconds)]
    width = window_s if per == "window" else seconds
    return [(start, min(start + width, seconds)) for start in windows(seconds, width)]


def embed(encoder: AnyEncoder | None, clips: Sequence[np.ndarray]) -> np.ndarray:
    """Features (T, W) of clips -> (N, D) by the encoder; without one their mean features, scaled to length 1."""
    return mean_vectors(clips) if encoder is None else encode_video(encoder, clips)


def window_library(
    store: FeatureStore, videos: Sequence[str], window_s: int, encoder: AnyEncoder | None = None
) -> VideoIndex:
    """As `build_library` with one vector a window, of some of a store's videos, and with or without an encoder."""
    spans = [(v, *span) for v in videos for span in _cut(store.lengths[v], "window", window_s)]
    vectors = embed(encoder, [store[v][start:end] for v, start, end in spans])
    maker = encoder.digest if encoder is not None else f"mean features {store.digest()}"
    entries = [{"video": v, "start_s": start, "end_s": end} for v, start, end in spans]
    return VideoIndex.build(vectors, [f"{v}@{start}" for v, start, _ in spans], entries, maker)


def middle_s(entry: Mapping[str, Any]) -> float:
    """Middle of an item's stretch of video, in seconds."""
    return (entry["start_s"] + entry["end_s"]) / 2


def right_items(corpus: Corpus, index: VideoIndex) -> dict[str, list[str]]:
    """Step -> ids of the items whose middle lies in it: the right answers to the step's sentence. Truth is read."""
    found: dict[str, list[str]] = {}
    for id, entry in zip(index.ids, index.metadata, strict=True):
        shown = {s.step for s in corpus[entry["video"]].segments if s.start_s <= middle_s(entry) < s.end_s}
        for step in sorted(shown):
            found.setdefault(step, []).append(id)
    return found


def hits_table(hits: Sequence[Hit], right: Sequence[str] | None = None) -> str:
    """Hits as text: rank, video, seconds, score, and with `right` (ids) whether each is among them."""
    rows = [(h.rank, h.metadata["video"], f"{h.metadata['start_s']}-{h.metadata['end_s']} s", f"{h.score:.2f}",
             "" if right is None else "right" if h.id in right else "wrong") for h in hits]  # fmt: skip
    return text_table(("rank", "video", "where", "score", "step"), rows)


def ask(
    index: VideoIndex, encoder: AnyEncoder, queries: Sequence[str] | Sequence[Clip], k: int = 10, by: str = "text",
    videos: bool = False,
) -> list[list[Hit]]:  # fmt: skip
    """The k best items for each sentence, or with by="video" for each clip (features (T, W) or a file).

    `videos`: the k best videos instead, each by its best item. VcworkError for an index of another encoder.
    """
    _same_encoder(index, encoder)
    if by not in ("text", "video"):
        raise VcworkError(f"expected by 'text' or 'video', got {by!r}")
    vectors = encode_text(encoder, queries) if by == "text" else encode_video(encoder, queries)  # (Q, D)
    return index.query_videos(vectors, k) if videos else index.query(vectors, k)


def seconds_scores(index: VideoIndex, query: np.ndarray, video: str) -> np.ndarray:
    """Scores (T,) of one query vector (D,) over the seconds of a video stored one vector a second.

    Raises VcworkError where it is stored otherwise, or not at all.
    """
    spans = {id: span for id, span in index.beginning(f"{video}@").items() if span.get("video") == video}
    ids = [f"{video}@{second}" for second in range(len(spans))]
    if not ids or any(id not in spans or spans[id]["end_s"] - spans[id]["start_s"] != 1 for id in ids):
        raise VcworkError(f"video {video!r}: expected one vector a second in the index, from {video}@0 on")
    return index.scores(query, ids)


def find_moments(index: VideoIndex, query: np.ndarray, top: int = 5, videos: int = 5) -> list[Found]:
    """The best moments of the library for one query vector (D,), best first, none overlapping within a video.

    The `videos` best by MaxSim are looked at second by second, so the index holds one vector a second. A video's best
    second opens a moment, so with `videos` of at least `top` an exact index misses none.
    """
    found = []
    for hit in index.query_videos(query, videos)[0]:
        video = hit.metadata["video"]
        scores = seconds_scores(index, query, video)
        found += [Found(video, moment) for moment in moments.best_moments(scores, top)]
    return sorted(found, key=lambda one: -one.moment.score)[:top]


def _same_encoder(index: VideoIndex, encoder: AnyEncoder) -> None:
    if index.encoder != encoder.digest:
        raise VcworkError(f"the index was made by encoder {index.encoder!r}, not {encoder.digest!r}: build it again")
