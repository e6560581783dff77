"""QVHighlights and Charades-STA: sentences, and the spans of their own video in which they are true.

QVHighlights' jsonl has an object a line: `qid`, `query`, `vid`, `duration`, `relevant_windows` [[start, end], …].
Charades-STA's text has `VIDEO START END##SENTENCE` a line and no length of any video: there the end of a video's last
annotated moment stands for it, which is told. Predictions come as QVHighlights' submissions do, or as a csv.
Gap: QVHighlights' saliency scores are not read; whoever wants highlights has another task.
"""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vcwork.base.errors import VcworkError
from vcwork.base.files import once, parse_json, resolve
from vcwork.data.benchmarks.reading import At, read_rows, read_text

PUBLISHED = {"highlight_val_release.jsonl": 1550, "highlight_test_release.jsonl": 1542, "charades_sta_test.txt": 3720}


@dataclass(frozen=True)
class Sought:
    """One sentence: its id, text and video, the true spans (M, 2) in seconds, and the video's length."""

    id: str
    text: str
    video: str
    truth: np.ndarray
    duration_s: float


@dataclass(frozen=True)
class SpanBenchmark:
    """A split's sentences in the file's order, its full name, and what is to know of how it was read."""

    name: str
    split: str
    sentences: tuple[Sought, ...]
    notes: tuple[str, ...] = ()


def read_qvhighlights(path: str | Path) -> SpanBenchmark:
    """VcworkError names the line: no JSON, a key missing, an id twice, a span outside of its video or none at all."""
    sentences: dict[str, Sought] = {}
    for at, raw in _lines(path):
        found = at.entry(raw, qid=(int, str), query=str, vid=str, duration=(int, float), relevant_windows=list)
        at, id = at.id(found["vid"]), str(found["qid"])
        length = at.seconds(found["duration"], "duration")
        spans = [at.span(span) for span in found["relevant_windows"]]
        if not spans or not length:
            at.fail("expected a length above 0 and at least one of relevant_windows")
        if id in sentences:
            at.fail(f"qid {id} comes twice")
        sentences[id] = Sought(id, found["query"].strip(), at.video, inside_of(at, spans, length), length)
    return closed("QVHighlights", path, list(sentences.values()), ())


def read_charades(path: str | Path) -> SpanBenchmark:
    """VcworkError names the line: not `VIDEO START END##SENTENCE`, a span that ends before it starts."""
    rows: list[tuple[str, str, tuple[float, float]]] = []
    for number, line in enumerate(read_text(path).split("\n"), 1):
        at = At(resolve(path), f"line {number}")
        head, mark, text = line.partition("##")
        cells = head.split()
        if not line.strip():
            continue
        if not mark or len(cells) != 3 or not text.strip():
            at.fail(f"expected `VIDEO START END##SENTENCE`, got {line[:80]!r}")
        at = at.id(cells[0])
        rows.append((at.video, text.strip(), _span(at, cells[1:])))
    last: dict[str, float] = {}
    for video, _, (_, end) in rows:
        last[video] = max(end, last.get(video, 0.0))
    sentences = [
        Sought(str(i), text, video, np.array([span]), last[video]) for i, (video, text, span) in enumerate(rows)
    ]
    told = "no lengths of videos in the file: a video is taken to end with its last annotated moment"
    return closed("Charades-STA", path, sentences, (told,))


def read_own_spans(path: str | Path) -> SpanBenchmark:
    """A csv `query_id, video, start_s, end_s, duration_s`, a line a true span; lines of one query are one sentence."""
    found: dict[str, tuple[str, float, list]] = {}
    for at, row in read_rows(path, ("query_id", "video", "start_s", "end_s", "duration_s"), "video"):
        length = at.seconds(row["duration_s"], "duration_s")
        told = found.setdefault(row["query_id"], (at.video, length, []))
        if told[:2] != (at.video, length) or not length:
            at.fail(f"query {row['query_id']}: expected one video of one length above 0, got {told[:2]} before")
        told[2].extend(inside_of(at, [at.span([row["start_s"], row["end_s"]])], length))
    sentences = [Sought(id, "", video, np.array(spans), length) for id, (video, length, spans) in found.items()]
    return closed(resolve(path).stem, path, sentences, ())


def read_predicted(path: str | Path) -> dict[str, np.ndarray]:
    """{query id: spans (P, 2), best first}: jsonl with `qid` and `pred_relevant_windows` [[start, end, score], …], or
    a csv `query_id, start_s, end_s, score`. VcworkError names the line: an id twice (jsonl), a score that is none."""
    rows: dict[str, list[tuple[float, float, float]]] = {}
    if resolve(path).suffix.lower() == ".csv":
        for at, row in read_rows(path, ("query_id", "start_s", "end_s", "score")):
            span = _span(at, [row["start_s"], row["end_s"]])
            rows.setdefault(row["query_id"], []).append((*span, at.number(row["score"], "score")))
    else:
        for at, raw in _lines(path):
            found = at.entry(raw, qid=(int, str), pred_relevant_windows=list)
            if (id := str(found["qid"])) in rows:
                at.fail(f"qid {id} comes twice")
            if any(not isinstance(each, list) or len(each) != 3 for each in found["pred_relevant_windows"]):
                at.fail("pred_relevant_windows: expected [[start, end, score], …]")
            rows[id] = [(*_span(at, each[:2]), at.number(each[2], "score")) for each in found["pred_relevant_windows"]]
    ranked = {id: sorted(spans, key=lambda span: -span[2]) for id, spans in rows.items()}
    return {id: np.array(spans)[:, :2] for id, spans in ranked.items() if spans}


def _span(at: At, raw: list) -> tuple[float, float]:
    start, end = at.span(raw)
    if end < start:
        at.fail(f"ends before it starts, {start:g} to {end:g} s")
    return start, end


def inside_of(at: At, spans: list[tuple[float, float]], length: float) -> np.ndarray:
    """The spans (M, 2); VcworkError unless they lie within a video of this length in seconds."""
    for start, end in spans:
        if end < start or start >= length or end > np.ceil(length):
            at.fail(f"span {start:g} to {end:g} s: expected one within the video's {length:g} s")
    return np.array(spans)


def _lines(path: str | Path):
    """(place, value) of each line of a jsonl."""
    for number, line in enumerate(io.StringIO(read_text(path)), 1):
        at = At(resolve(path), f"line {number}")
        if not line.strip():
            continue
        try:
            yield at, parse_json(line, object_pairs_hook=once)
        except ValueError as error:
            at.fail(f"not readable as JSON ({error})")


def closed(
    name: str, path: str | Path, sentences: list[Sought], notes: tuple[str, ...], what: str = "sentences"
) -> SpanBenchmark:
    """The split under its full name; notes on another number than published, and on truth that nothing can meet."""
    file = resolve(path)
    if not sentences:
        raise VcworkError(f"{file}: holds no {what}")
    published = PUBLISHED.get(file.name, len(sentences))
    if published != len(sentences):
        notes += (f"{file.name}: {len(sentences):,} sentences here, {published:,} published",)
    if empty := sum(int((each.truth[:, 0] == each.truth[:, 1]).sum()) for each in sentences):
        notes += (f"true spans of no length, which no prediction meets: {empty}",)
    return SpanBenchmark(name, f"{name} {file.stem} {len(sentences):,} {what}", tuple(sentences), notes)
