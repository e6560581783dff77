"""DiDeMo: personal videos of at most 30 s, sentences, and which 5-second chunks several annotators chose for each.

Two different tasks go by this name: finding the moment in its video (LocalizingMoments, and the reference code's 16.6),
and paragraph retrieval, all sentences of a video joined. Their numbers share no column; the split's name says which.
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vcwork.base.files import resolve
from vcwork.data.benchmarks.common import Benchmark, Clip, Listed, Tally
from vcwork.data.benchmarks.reading import At, read_strict_json

NAME, CHUNK_S = "DiDeMo", 5
PUBLISHED = {"train": 33005, "val": 4180, "test": 4021}  # sentences


@dataclass(frozen=True)
class Moment(Clip):
    """A clip that is the annotators' commonest choice; `chunks` holds all choices, (first, last) chunk inclusive.

    Of choices made equally often the one named first is the clip. `n_chunks`: how many the video has, 5 or 6.
    """

    chunks: tuple[tuple[int, int], ...] = ()
    n_chunks: int = 6
    annotation: int = 0


def read_didemo(path: str | Path) -> Benchmark:
    """{train,val,test}_data.json as moments; the file's name says which split it is.

    A chunk is 5 s and the last may be shorter: a video's length is known only up to that. VcworkError besides the
    common ones: chunks out of order or beyond `num_segments`, no choice at all, an annotation id twice, a video whose
    number of chunks changes.
    """
    path = resolve(path)
    split = At(path).choice(path.name.partition("_")[0], "split", PUBLISHED)
    raw = read_strict_json(path)
    if not isinstance(raw, list):
        At(path).fail(f"expected a list of descriptions, got {type(raw).__name__}")
    tally, seen = Tally(path), set()
    for at, found in At(path).entries(raw, "entry", **_KINDS):
        moment = _moment(at := at.id(found["video"]), found)
        if moment.annotation in seen:
            at.fail(f"annotation_id {moment.annotation} is given twice")
        seen.add(moment.annotation)
        listed = Listed(float(CHUNK_S * moment.n_chunks))
        tally.video(at, listed, f"num_segments {moment.n_chunks}")
        tally.add(at, moment, listed.duration_s)
    tally.compare(tally.expected, PUBLISHED[split], f"{split} sentences")
    tally.notes.append(f"a video's length is known to {CHUNK_S} s: the last chunk may be shorter")
    return tally.close(NAME, f"DiDeMo {split} {{n}} sentences (moments, not paragraphs)", split, "clips")


_KINDS = {"video": str, "description": str, "times": list, "num_segments": int, "annotation_id": int}


def _moment(at: At, found: dict[str, Any]) -> Moment:
    n_chunks, chunks = at.whole(found["num_segments"], "num_segments", 1), []
    for pair in found["times"]:
        if not isinstance(pair, list) or len(pair) != 2:
            at.fail(f"times: expected [first, last] chunks, got {pair!r}")
        first = at.whole(pair[0], "times", 0, n_chunks - 1)
        chunks.append((first, at.whole(pair[1], "times", first, n_chunks - 1)))
    if not chunks:
        at.fail("times: no annotator chose anything")
    first, last = Counter(chunks).most_common(1)[0][0]
    span = float(CHUNK_S * first), float(CHUNK_S * (last + 1))
    more = {"chunks": tuple(chunks), "n_chunks": n_chunks, "annotation": found["annotation_id"]}
    return Moment(at.video, *span, found["description"].strip(), **more)
