"""HiREST: how-to queries, the videos found for each, the moment that answers it, and the steps of that moment.

`all_data_{train,val,test}.json`: {query: {video: {relevant, clip, v_duration, bounds: [start, end], steps: [{heading,
absolute_bounds}]}}}. `clip`: only a part of the video answers; moments are asked for there alone. The published test
withholds moments ([0, 1] everywhere) and steps; steps of its videos are in the release's file for evaluation, {video:
{bounds: [[start, end], …]}}. Predictions come in the release's own forms. Gap: headings are not scored.
Source: Zala et al., Hierarchical Video-Moment Retrieval and Step-Captioning (CVPR 2023).
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from vcwork.base.errors import VcworkError
from vcwork.base.files import resolve
from vcwork.data.benchmarks.reading import At, read_strict_json
from vcwork.data.benchmarks.spans import Sought, SpanBenchmark, closed, inside_of

NAME = "HiREST"
WITHHELD = [0, 1]


def read_videos(path: str | Path) -> dict[str, list[str]]:
    """{query: videos that are listed under it}; each is right for it, as the release's own evaluation counts."""
    found: dict[str, list[str]] = {}
    for query, at, _ in _listed(path):
        found.setdefault(query, []).append(at.video)
    if not found:
        raise VcworkError(f"{resolve(path)}: holds no query")
    return found


def read_moments(path: str | Path) -> SpanBenchmark:
    """The moment of each query in each of its videos of which only a part answers; its id is `QUERY | VIDEO`.

    VcworkError names the query and the video; and refuses the published test file, which withholds the moments.
    """
    sentences = []
    for query, at, told in _listed(path):
        at.entry(told, v_duration=(int, float), bounds=list)
        if told.get("clip") is True:
            length = at.seconds(told["v_duration"], "v_duration")
            span = inside_of(at, [at.span(told["bounds"])], length)
            sentences.append(Sought(f"{query} | {at.video}", query, at.video, span, length))
    if sentences and all(each.truth[0].tolist() == WITHHELD for each in sentences):
        raise VcworkError(f"{resolve(path)}: every moment is [0, 1]: the published test withholds them; use val")
    return closed(NAME, path, sentences, ("videos that answer their query as a whole are not asked for",))


def read_steps(path: str | Path) -> SpanBenchmark:
    """The steps of each video that has some, from a split's file or the release's file for evaluation; ids are videos.

    A step may be of no length, as some are: none can be found for it. VcworkError: a video with two lists of steps.
    """
    found: dict[str, Sought] = {}
    for at, told, spans in _stepped(path):
        if at.video in found:
            at.fail("has steps under another query, too")
        told_s = told.get("v_duration")
        length = at.seconds(told_s, "v_duration") if told_s else max(end for _, end in spans)
        found[at.video] = Sought(at.video, "", at.video, inside_of(at, spans, length), length)
    return closed(NAME, path, list(found.values()), (), "moments")


def _stepped(path: str | Path) -> Iterator[tuple[At, dict[str, Any], list[tuple[float, float]]]]:
    """Place, entry and steps of every video that has steps, of either kind of file."""
    top = At(resolve(path))
    raw = top.entry(read_strict_json(path))
    if all(isinstance(told, dict) and "bounds" in told for told in raw.values()):
        for video, told in raw.items():
            at = top.id(video)
            if bounds := at.entry(told, bounds=list)["bounds"]:
                yield at, told, [at.span(span) for span in bounds]
        return
    for _, at, told in _listed(path):
        if steps := at.entry(told, steps=list)["steps"]:
            yield at, told, [at.span(each["absolute_bounds"])
                             for _, each in at.entries(steps, "step", absolute_bounds=list)]  # fmt: skip


def _listed(path: str | Path) -> Iterator[tuple[str, At, dict[str, Any]]]:
    """Query, place and entry of every video under every query."""
    top = At(resolve(path))
    for query, videos in top.entry(read_strict_json(path)).items():
        place = At(top.path, f"query {query!r}")
        for video, told in place.entry(videos).items():
            at = place.id(video)
            yield query, at, at.entry(told)


def read_predicted(path: str | Path) -> dict[str, np.ndarray]:
    """{id: spans (P, 2)} of {video: {bounds: [[start, end], …]}} or {query: {video: {bounds: [start, end]}}}."""
    top, out = At(resolve(path)), {}
    for name, told in top.entry(read_strict_json(path)).items():
        at = At(top.path, repr(name))
        if "bounds" in at.entry(told):
            out[name] = np.array([at.span(span) for span in at.entry(told, bounds=list)["bounds"]])
            continue
        for video, each in told.items():
            out[f"{name} | {video}"] = np.array([at.id(video).span(at.entry(each, bounds=list)["bounds"])])
    return {id: spans for id, spans in out.items() if len(spans)}
