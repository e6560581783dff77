"""One's own videos, served: what of a folder the server of `vcwork.workbench.serve` gives out, and what it answers.

Known gap: as long as it serves, videos that change on the disk are played as they are and answered as they were.
"""

import contextlib
import functools
import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

from vcwork.base.console import say
from vcwork.base.errors import VcworkError
from vcwork.encoders.encoder import encode_seconds
from vcwork.panels.make_alignment import asking
from vcwork.search.fused import FALSE_ALARMS
from vcwork.tasks.moments import best_moments
from vcwork.workbench.own_asking import cut_film, floor_of, of_floor, served
from vcwork.workbench.own_folder import plain_name
from vcwork.workbench.own_pages import film_of
from vcwork.workbench.own_videos import Own
from vcwork.workbench.serve import Answer, application, serve


def serve_pages(
    own: Own, top: int = 5, port: int = 0, told: Callable[[str], None] = say, false_alarms: float = FALSE_ALARMS
) -> None:
    """Serve the pages, as `write_pages` left them, until Ctrl-C, and answer any sentence."""
    names = {plain_name(id): id for id in own.ids}
    pages = {"index.html": own.out / "index.html"}
    pages |= {f"videos/{name}.html": own.out / "videos" / f"{name}.html" for name in names}
    files = {f"thumbnails/{path.name}": path for path in (own.out / "thumbnails").glob("*.jpg")}
    files |= {"words.js": own.out / "words.js"}
    for name, id in names.items():
        if src := film_of(own, id).media.src:  # relative to the page, which an address cannot follow
            files[f"media/{name}"] = own.out / "videos" / os.fsdecode(unquote_to_bytes(src))
    answer = answering(own, top, false_alarms)
    with contextlib.suppress(VcworkError):  # what cannot be asked is said to who asks
        answer("a", "", False)  # the models are there before the first question

    def hit_as_film(name: str, start_s: float, end_s: float, out: Path) -> None:
        if name not in names:
            raise VcworkError(f"{name}: no such video")
        cut_film(own, names[name], start_s, end_s, out)

    serve(lambda token: application(pages, files, answer, hit_as_film, token), port, told)


def answering(own: Own, top: int = 5, false_alarms: float = FALSE_ALARMS) -> Answer:
    """Answers a sentence, of the video with a page's plain name or of all (""), as JSON values.

    Hits name their video's page, file, frames a second and seconds; of one video the answer has its `curve`, too; where
    nothing is found, the floor.
    """
    names, ask = {plain_name(id): id for id in own.ids}, served(own, false_alarms)

    @functools.cache
    def about(id: str) -> dict[str, Any]:
        file = own.corpus[id].video
        fps, seconds = film_of(own, id).fps, own.store.lengths[id]
        return {"page": f"{plain_name(id)}.html", "file": file.name if file else "", "fps": fps, "seconds": seconds}

    def answer(sentence: str, name: str, anyway: bool) -> dict[str, Any]:
        id = names.get(name, "")
        found = ask(sentence, id, anyway)
        found["hits"] = [hit | about(hit["video"]) for hit in found["hits"]]
        if not found["found"]:
            found["note"] += f" {of_floor(floor_of(own, false_alarms))}"
        return found | ({"curve": _curve(own, id, sentence, top)} if id else {})

    return answer


def _curve(own: Own, id: str, sentence: str, top: int) -> dict[str, Any]:
    """A sentence's score at each second of a video and its best moments there; empty where no checkpoint knows it."""
    try:
        scores = asking(own.encoder, encode_seconds(own.encoder, own.store[id]))(sentence).scores if own.encoder else []
    except VcworkError:  # it knows none of the words; the answer says so
        scores = []
    moments = [asdict(moment) for moment in best_moments(scores, top)] if len(scores) else []
    return {"scores": [round(float(score), 5) for score in scores], "moments": moments}
