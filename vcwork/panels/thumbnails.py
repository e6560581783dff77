"""Small pictures of a corpus's videos for the panels: `thumbnails`. A video that cannot be read is told, not raised.

Known gap: a video is decoded from its start to the latest second asked for.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from vcwork.base.errors import VcworkError
from vcwork.data.corpus import Corpus
from vcwork.data.video import frames_at


def thumbnails(
    corpus: Corpus, seconds: Mapping[str, Sequence[float]], size: int = 64
) -> tuple[dict[str, list[np.ndarray]], list[str]]:
    """({id: frames (size, size, 3) uint8}, what could not be shown) of the seconds asked for of each video.

    Videos without a file, or with one that does not decode, are left out and counted in a note with the first reason.
    """
    found, failed = {}, []
    for id, at_s in seconds.items():
        file = corpus[id].video
        if file is None:
            failed.append(f"{id}: {corpus.missing_videos.get(id, 'this corpus has no video file')}")
            continue
        try:
            found[id] = frames_at(file, at_s, size)
        except VcworkError as error:
            failed.append(str(error).replace(str(file), file.name))
    notes = [f"No pictures of {len(failed)} of {len(seconds)} videos ({failed[0]})."] if failed else []
    return found, notes
