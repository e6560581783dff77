"""From clips with their vectors to the map that can be walked: `map_clips`. openTSNE lives here, where installed.

What is missing (files, steps, openTSNE) is said in the panel and does not stop it.
Known gap: above `most` clips only some, evenly spread, are on the map.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from vcwork.base.errors import VcworkError
from vcwork.data.corpus import Corpus
from vcwork.panels.clips import thumbnails
from vcwork.panels.embedding import EmbeddingMap, Layout, MapClip
from vcwork.tasks.cases import Clips


def map_clips(
    corpus: Corpus,
    clips: Clips,
    video: np.ndarray,
    text: np.ndarray,
    *,
    labels: Mapping[str, Sequence[str]] | None = None,
    k: int = 5,
    pictures: int = 600,
    most: int = 3000,
    tsne: bool = False,
    seed: int = 0,
) -> EmbeddingMap:
    """The map of clips (N) with their vectors, video (N, D) and text (N, D).

    labels: further colourings {name: N labels}; pictures: room on the sheet, up to four frames a clip; tsne: a t-SNE
    map beside PCA, which needs openTSNE. VcworkError where shapes do not fit.
    """
    n, notes, labels = len(clips), [], dict(labels or {})
    if len(video) != n or len(text) != n or any(len(some) != n for some in labels.values()):
        raise VcworkError(f"expected vectors and labels of {n} clips, got {len(video)} videos and {len(text)} texts")
    kept = np.arange(n)
    if n > most:
        kept = np.linspace(0, n - 1, most).round().astype(int)
        notes.append(f"{most} of {n} clips are on the map, spread evenly; ranks and hubs count these.")
    shown = [_clip(corpus, clips, i) for i in kept]
    if not any(clip.step for clip in shown):
        notes.append("No steps are known: only a clip's own sentence counts as right.")
    spans = {i: (clip.video, clip.start_s, clip.end_s) for i, clip in enumerate(shown)}
    frames, failed = thumbnails(corpus, spans, pictures)
    video, text = np.asarray(video)[kept], np.asarray(text)[kept]
    layouts, about = _tsne(np.concatenate([video, text]), seed) if tsne and len(kept) > 1 else ([], [])
    return EmbeddingMap(
        video, text, shown, labels={name: np.asarray(some)[kept].tolist() for name, some in labels.items()}, k=k,
        more=layouts, pictures=frames, title=f"embedding map, {corpus.name}", notes=[*notes, *failed, *about],
        unit=corpus.meta.get("second_is", "second"),
    )  # fmt: skip


def _clip(corpus: Corpus, clips: Clips, i: int) -> MapClip:
    recipe, step = str(clips.recipes[i]), str(clips.steps[i])
    name = corpus.recipes[recipe].name if recipe in corpus.recipes else recipe
    start_s, end_s = (round(float(t), 2) for t in clips.spans[i])
    return MapClip(clips.sentences[i], str(clips.videos[i]), start_s, end_s, name, corpus.steps.get(step, step))


def _tsne(vectors: np.ndarray, seed: int) -> tuple[list[Layout], list[str]]:
    """A t-SNE layout of points (P, D), or the reason why there is none."""
    try:
        from openTSNE import TSNE
    except ImportError:
        return [], ["No t-SNE map: openTSNE is not installed here. PCA needs nothing else."]
    perplexity = min(30.0, (len(vectors) - 1) / 3)
    xy = np.asarray(TSNE(perplexity=perplexity, random_state=seed, initialization="pca").fit(vectors), float)
    note = "t-SNE keeps neighbours together; distances between groups and their sizes mean nothing on it."
    return [Layout("t-SNE", xy, None, note, gap=False)], []
