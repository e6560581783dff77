"""Training an encoder from pixels: frames of clips decoded by processes, and a run in a folder.

With workers the next update's frames are decoded while this one is computed. The loop, its log and its states to resume
from are pre-training's.
"""

import itertools
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from vcwork.base.errors import NoData
from vcwork.base.files import resolve, sha256_json
from vcwork.base.sealed import seal
from vcwork.core.batches import Batch, PairData
from vcwork.core.text import Tokenizer
from vcwork.data.corpus import Corpus
from vcwork.encoders.frames import FrameEncoder, load_frames, new_frames, save_frames, sources_digest
from vcwork.encoders.pixels import LazyFrames, Span, View, load_spans, seconds_of_video
from vcwork.measure.metrics import seconds_of
from vcwork.tasks.cases import Clips, as_clips
from vcwork.training.pairs import tracks_of
from vcwork.training.recipe import Recipe
from vcwork.training.run import Run, begin_temperature, check_best, train_into
from vcwork.training.validation import clip_recall
from vcwork.training.watch import Watch


def train_frames(
    corpus: Corpus, folder: str | Path, recipe: Recipe, workers: int = 2, progress: bool = False,
    watch: Watch | None = None,
) -> FrameEncoder:  # fmt: skip
    """Train on videos and captions of the corpus's training split into `folder`, as `vcwork.training.run.train` does.

    The folder gets log.jsonl, a state and at the end the encoder; called again with the same arguments it resumes, or
    opens what is finished, and with others it is refused (VcworkError). After each epoch the log gets val_t2v_R@1 where
    the validation split is annotated. `workers` processes decode; their number changes no weight.
    """
    videos = sha256_json([[v.id, v.video and seal(v.video)["sha256"], v.split] for v in corpus.videos.values()])

    def start() -> tuple[FrameEncoder, PairData]:
        check_best(recipe.train, any(v.video and v.segments for v in corpus.split("val")))
        encoder = new_frames(corpus, recipe.frames, recipe.train.seed, workers)
        begin_temperature(encoder.model, recipe.train)
        encoder.card = {"train": recipe.train.model_dump(), "videos": videos}
        return encoder, frame_pairs(corpus, encoder.tokenizer, encoder.view, workers)

    def check(encoder: FrameEncoder) -> dict[str, float]:
        return clip_recall(encoder, lambda: frame_clips(corpus, "val"))

    identity = recipe.identity | {"videos": videos, "corpus": corpus.digest(), "files": sources_digest(recipe.frames)}
    run = Run(resolve(folder), identity, lambda at: load_frames(at, workers), save_frames, "frames.json")
    return train_into(run, recipe.train, start, check, watch, progress)


@dataclass
class PixelPairs(PairData):
    """PairData whose clips are frames. With workers the next update's are decoded while this one is computed."""

    view: View = field(kw_only=True)
    workers: int = field(default=0, kw_only=True)

    def clips(self, spans: list[tuple[int, int, int]]) -> list[np.ndarray]:
        """Frames (n_i, 3, crop, crop) of each (track, first second, end)."""
        workers = min(self.workers, len(spans) // 8)  # starting a process is dearer than some clips
        return list(load_spans(map(self._span, spans), self.view, workers, len(spans)))

    def read(self, drawn: Iterable[Batch], longest: int) -> Generator[Batch]:
        """As `PairData.read`, by processes that stay until the last batch."""
        drawn, coming = iter(drawn), deque()
        first = next(drawn, None) if self.workers else None
        if first is None:
            yield from super().read(drawn, longest)
            return

        def announced() -> Iterator[Span]:
            for batch in itertools.chain([first], drawn):
                coming.append(batch)
                yield from map(self._span, batch.spans)

        with closing(load_spans(announced(), self.view, self.workers, len(first.spans))) as frames:
            for clip in frames:
                batch = coming.popleft()
                yield batch.with_clips([clip, *itertools.islice(frames, len(batch.spans) - 1)], longest)

    def _span(self, span: tuple[int, int, int]) -> Span:
        v, start, end = span
        return Span(self.features[v].path, start, end)


def frame_pairs(corpus: Corpus, tokenizer: Tokenizer, view: View, workers: int = 0) -> PixelPairs:
    """The training videos that have a file and captions, to train on; nothing is decoded yet. NoData: none.

    VcworkError for a film that is not the one that its corpus seals.
    """
    videos = [v for v in corpus.split("train") if v.video]
    for video in videos:
        corpus.check(video.video)
    lazy = lambda video, seconds: LazyFrames(video.video, seconds, view)  # noqa: E731
    tracks, features, steps = tracks_of(corpus, videos, tokenizer, seconds_of_video, lazy)
    if not tracks:
        raise NoData(f"{corpus.folder}: no train video has both a file and captions")
    return PixelPairs(tracks, features, steps, view=view, workers=workers)


def frame_clips(corpus: Corpus, split: str) -> Clips:
    """`vcwork.tasks.cases.annotated_clips` of video files: `features` are Spans, the same seconds as there."""
    rows = []
    for video in corpus.split(split):
        seconds = seconds_of_video(video) if video.video and video.segments else 0
        cuts = [(s, seconds_of(s.start_s, s.end_s, seconds)) for s in video.segments] if seconds else []
        rows += [(video, s, Span(video.video, cut.start, cut.stop)) for s, cut in cuts if cut.stop > cut.start]
    if not rows:
        raise NoData(f"{corpus.folder}: no {split} video has both a file and annotated segments")
    return as_clips(corpus, rows)
