"""From scores of a search to the panel of its failures: `browse_retrieval`, and `browse_moments` for windows of video.

Frames are taken from the video files where there are any; a file that cannot be read is said in the panel. Truth is
read to name errors, for nothing else.
Known gap: frames are decoded from the start of each video, so for long films the first opening takes a while.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from vcwork.base.errors import VcworkError
from vcwork.data.corpus import Corpus, Segment
from vcwork.measure.metrics import check_scores
from vcwork.panels.clips import thumbnails
from vcwork.panels.failures import Direction, Entry, FailureBrowser
from vcwork.search.index import VideoIndex
from vcwork.tasks.cases import Clips, step_parts
from vcwork.tasks.retrieval import error_kinds

SAME, OWN = "same step elsewhere", "its own pair"
HERE, THIS = "right video, wrong moment", "right moment"
SAID, AWAY = "step is in its recipe, not its video", "another recipe"


def browse_retrieval(corpus: Corpus, clips: Clips, scores: np.ndarray, pictures: int = 480) -> FailureBrowser:
    """The failures of scores (N, N), sentences against clips, in both directions; kinds as `retrieval.errors` has them.

    Another clip of the query's own step is right. pictures: frames kept at most, at most four a clip.
    VcworkError where scores are not those of these clips.
    """
    scores = check_scores(scores)
    if scores.shape != (len(clips), len(clips)):
        raise VcworkError(f"expected scores ({len(clips)}, {len(clips)}) of these clips, got {scores.shape}")
    parts = step_parts(corpus, clips.steps)
    entries = [
        Entry(text, str(video), span, {name: str(values[i]) for name, values in parts.items()})
        for i, (text, video, span) in enumerate(zip(clips.sentences, clips.videos, clips.spans, strict=True))
    ]
    kinds, own = retrieval_kinds(clips), range(len(clips))
    turned = {name: mask.T for name, mask in kinds.items()}
    ways = {
        "text to video": Direction(scores, kinds, (SAME, OWN), own, own, own),
        "video to text": Direction(scores.T, turned, (SAME, OWN), own, own, own, "clip"),
    }
    title = f"{corpus.name}: {len(clips)} sentences and {len(clips)} clips"
    return with_frames(FailureBrowser(entries, ways, title=title), corpus, pictures)


def retrieval_kinds(clips: Clips) -> dict[str, np.ndarray]:
    """Masks (N, N) of what each clip would be as the answer, worst first; what is right is parted into two."""
    same, own = clips.steps[:, None] == clips.steps, np.eye(len(clips), dtype=bool)
    found = error_kinds(same, clips.videos, clips.videos, clips.recipes, clips.recipes)
    right = found.pop("right")
    return {name: found[name] for name in reversed(found)} | {SAME: right & ~own, OWN: own}


def browse_moments(
    corpus: Corpus, library: VideoIndex, steps: Sequence[str], vectors: np.ndarray, pictures: int = 480
) -> FailureBrowser:
    """The failures of a search for steps (Q ids, vectors (Q, D)) among the library's stretches of video.

    A stretch is right when its middle lies in the step. Steps without such a stretch are left out, which a note says.
    VcworkError when none is left.
    """
    metadata = library.metadata
    shown = [_in_the_middle(corpus[m["video"]].segments, m["start_s"], m["end_s"]) for m in metadata]
    right = np.array([[any(s.step == step for s in here) for here in shown] for step in steps])  # (Q, N)
    if not right.any():
        raise VcworkError(f"none of {len(steps)} steps lies in the middle of one of {len(metadata)} stretches of video")
    keep = np.flatnonzero(right.any(1))
    steps, right = [steps[q] for q in keep], right[keep]
    kinds = _moment_kinds(corpus, steps, [m["video"] for m in metadata], right)
    entries = [Entry(corpus.steps[step]) for step in steps]
    entries += [
        Entry(here[0].sentence or corpus.steps[here[0].step] if here else "", m["video"], (m["start_s"], m["end_s"]))
        for m, here in zip(metadata, shown, strict=True)
    ]
    scores, n = vectors[keep] @ library.vectors.T, len(steps)
    way = Direction(scores, kinds, (THIS,), range(n), range(n, n + len(metadata)), None, "step")
    lost = [f"{len(vectors) - n} steps have no stretch of video with them in its middle."] if n < len(vectors) else []
    title = f"{corpus.name}: {n} steps looked for in {len(metadata)} stretches of video"
    panel = FailureBrowser(entries, {"text to moment": way}, title=title, notes=lost)
    return with_frames(panel, corpus, pictures)


def _in_the_middle(segments: Sequence[Segment], start_s: float, end_s: float) -> list[Segment]:
    return [s for s in segments if s.start_s <= (start_s + end_s) / 2 < s.end_s]


def _moment_kinds(corpus: Corpus, steps: Sequence[str], videos: Sequence[str], right: np.ndarray) -> dict:
    """Masks (Q, N), worst first; a video without a recipe has only the steps that happen in it."""
    happen = {v: {s.step for s in corpus[v].segments} for v in dict.fromkeys(videos)}
    of_recipe = {v: set(corpus.recipes[corpus[v].recipe].steps) if corpus[v].recipe else set() for v in happen}
    here = np.array([[step in happen[v] for v in videos] for step in steps])
    said = np.array([[step in of_recipe[v] for v in videos] for step in steps])
    return {AWAY: ~right & ~here & ~said, SAID: ~right & ~here & said, HERE: ~right & here, THIS: right}


def with_frames(panel: FailureBrowser, corpus: Corpus, pictures: int) -> FailureBrowser:
    """The panel with frames of the entries that it shows, at most four of each, and notes of what failed."""
    entries = {i: panel.entries[i] for i in panel.shown() if panel.entries[i].span}
    spans = {i: (entry.video, *entry.span) for i, entry in entries.items()}
    frames, notes = thumbnails(corpus, spans, pictures, size=panel.side)
    return replace(panel, pictures=frames, notes=[*panel.notes, *notes])
