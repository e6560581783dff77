"""What a search found, as a sheet of frames."""

from collections.abc import Sequence

import matplotlib.pyplot as plt

from vcwork.data.corpus import Corpus
from vcwork.data.video import frames_at
from vcwork.panels import plots
from vcwork.search.index import Hit
from vcwork.search.library import middle_s


def show_hits(corpus: Corpus, hits: Sequence[Hit], title: str, side: int = 96) -> None:
    """The middle frame of each hit in a row, with its video and second; nothing where the corpus has no video files."""
    paths = [corpus[hit.metadata["video"]].video for hit in hits]
    if not all(paths) or not hits:
        return
    frames = [frames_at(path, [middle_s(hit.metadata)], side)[0] for path, hit in zip(paths, hits, strict=True)]
    notes = [f"{hit.metadata['video']}, {hit.metadata['start_s']} s" for hit in hits]
    _, ax = plots.figure(1.7 * len(hits), 2.2)
    plots.frame_strip(ax, frames, notes, title=title)
    plt.show()
