"""The pages of one's own videos: one a video to touch its alignment, and a wall of them all: `write_pages`.

They are files that need neither kernel nor network, written in one step and only when something in them has changed.
A clip is encoded once, small and in a codec that browsers play, and kept in the cache; thumbnails lie beside the pages.
Known gaps: as of the clips (`vcwork.panels.clips`): no sound, the middle square, nothing over half an hour.
Beyond MOST_SENTENCES the wall's search knows only the first sentences of each video, and says so.
"""

import io
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from PIL import Image
from tqdm.auto import tqdm

from vcwork.base.errors import VcworkError
from vcwork.base.files import (
    atomic_write,
    project_root,
    read_json,
    resolve,
    sha256_file,
    sha256_json,
    template,
    write_json,
)
from vcwork.data.corpus import Video
from vcwork.data.video import codec_of, frames_at, probe
from vcwork.panels.alignment import AlignmentExplorer
from vcwork.panels.base import script
from vcwork.panels.clips import clip_of
from vcwork.panels.make_alignment import explore, said_of
from vcwork.panels.wall import DESCRIBED, DRAWN, SIDE, SPEECH, SUBTITLES, Card, Said, VideoWall
from vcwork.workbench.own_folder import plain_name
from vcwork.workbench.own_videos import Own, nearest, problems, video_vectors

MOST_SENTENCES = 200_000  # of the wall, some 20 MB
IN_PAGE = 2_000  # sentences that the wall's page carries itself; more lie in a file beside it, read after the page
NEAR = 3  # videos most like one
LIKE = 0.1  # cosine from which a video is called like another; 0 is no more alike than any two
_PLAYED = {"h264", "vp8", "vp9", "av1"}  # by the browsers of today, where the pixels are 8-bit 4:2:0


@dataclass(frozen=True)
class Clip:
    """A video's small copy (None: `notes` say why) and the JPEG of its thumbnail, None where no frame decodes.

    notes: what is odd about this video; copy: how small the copy is, as most are.
    """

    mp4: bytes | None
    thumbnail: Path | None
    notes: tuple[str, ...] = ()
    copy: tuple[str, ...] = ()
    fps: float = 0.0


def write_pages(own: Own, top: int = 5, progress: bool = True) -> Path:
    """Write `videos/<name>.html` for each video and `index.html`, all under `own.out`; the path of the latter.

    Pages of videos that are no longer there are removed. VcworkError where something cannot be written.
    """
    folder = own.out / "videos"
    for left in folder.glob(".*.part"):  # of a run that was killed
        left.unlink(missing_ok=True)
    near = [
        [(other, round(cosine, 3)) for other, cosine in one if cosine >= LIKE]  # the last bits are no news
        for one in nearest(video_vectors(own), NEAR)
    ]
    everything = sha256_json({id: own.sources.get(id, "") for id in own.ids}) if own.library is not None else ""
    cards, pictures, said = [], {}, []
    bar = tqdm(own.ids, desc="pages", unit="video", disable=not progress)
    for place, id in enumerate(bar):
        clip = clip_in_cache(own, id)
        record = _page(own, id, clip, [(own.ids[j], c) for j, c in near[place]], top, everything)
        cards.append(_card(own, id, clip, record, near[place]))
        if clip.thumbnail and place < DRAWN:
            pictures[place] = [np.asarray(Image.open(clip.thumbnail).convert("RGB"))]
        said.append(record["said"])
    stored = _sentences(own, said)
    beside = "words.js" if len(stored) > IN_PAGE else ""
    about = {"title": own.corpus.folder.name, "notes": _notes(own, said), "beside": beside}
    wall = VideoWall(cards, stored, pictures=pictures, **about)
    _write(own.out / "words.js", wall.sentences() if beside else "")
    _write(own.out / "index.html", wall.page())
    _remove_others(own)
    return own.out / "index.html"


def _write(path: Path, text: str) -> None:
    """A file of the folder; without a text there is none."""
    if not text:
        return path.unlink(missing_ok=True)
    with atomic_write(path) as file:
        file.write(text)


def open_lab(own: Own, checkpoint: str = "", accept_contract: bool = False) -> int:
    """JupyterLab at a copy of notebook 40 whose parameters are this folder, its features and the checkpoint.

    Returns JupyterLab's exit code when it is closed. The stored notebook is left as it is.
    """
    import nbformat  # takes seconds
    from papermill.iorw import load_notebook_node
    from papermill.parameterize import parameterize_notebook

    from vcwork.workbench.stored_notebooks import clean

    given = {
        "corpus": own.corpus.folder,
        "features": own.store.folder,
        "checkpoint": checkpoint and resolve(checkpoint),
    }
    parameters = {name: str(value) for name, value in given.items()}
    parameters |= {"checkpoint_contract": "accept"} if accept_contract else {}
    notebook = load_notebook_node(str(project_root() / "notebooks" / "40_alignment_explorer.ipynb"))
    made = clean(parameterize_notebook(notebook, parameters))
    path = own.out / "alignment_explorer.ipynb"
    with atomic_write(path) as file:
        nbformat.write(made, file)
    environment = os.environ | {"VCWORK_ROOT": str(project_root().resolve())}
    return subprocess.call([sys.executable, "-m", "jupyter", "lab", str(path)], env=environment)


def _card(own: Own, id: str, clip: Clip, record: dict[str, Any], near: list[tuple[int, float]]) -> Card:
    """What the wall shows of a video."""
    file, lines = own.corpus[id].video, record["said"]
    return Card(
        id,
        record["seconds"],
        len(lines),
        f"videos/{plain_name(id)}.html",
        tuple(record["notes"]),
        tuple(near),
        picture=f"{clip.thumbnail.parent.name}/{clip.thumbnail.name}" if clip.thumbnail else "",
        words=kind_of_words(own, id) if lines else "",
        file=file.name if file else "",
        fps=record["fps"],
    )


def kind_of_words(own: Own, id: str) -> str:
    """SPEECH where they were heard, DESCRIBED where nobody knows when they are said, SUBTITLES otherwise."""
    if all(not np.isfinite(caption.end_s) for caption in own.corpus.captions(id)):
        return DESCRIBED
    return SPEECH if getattr(own, "words_from", {}).get(id, "").startswith("speech") else SUBTITLES


def _sentences(own: Own, said: list[list]) -> list[Said]:
    """The wall's stored sentences from each video's [text, start_s, end_s, hits by id], as many as there is room."""
    place = {id: i for i, id in enumerate(own.ids)}
    return [
        Said(text, video, start_s, end_s, tuple((place[id], *rest) for id, *rest in hits if id in place))
        for video, lines in enumerate(said)
        for text, start_s, end_s, hits in lines[: _room(said)]
    ]


def _room(said: list[list]) -> int:
    """How many sentences of each video the wall knows."""
    return max(1, MOST_SENTENCES // max(1, len(said)))


def _notes(own: Own, said: list[list]) -> list[str]:
    """What the wall has to say: of the run, and of every file that is not on it."""
    notes = list(own.told)
    notes += [f"Not used: {why.rstrip('.')}." for why in problems(own)]
    if any(len(lines) > _room(said) for lines in said):
        notes.append(f"The search below knows the first {_room(said)} sentences of each video only.")
    return notes


# -------------------------------------------------------------------------------------------------------- one video


def clip_in_cache(own: Own, id: str) -> Clip:
    """The clip of a video, made once for its file's content."""
    video = own.corpus[id]
    name = own.sources.get(id, sha256_json(id))[:24]
    at = own.out / "cache" / "clips" / name
    made, picture = at.with_suffix(".json"), own.out / "thumbnails" / f"{name}.jpg"
    told = read_json(made) if made.is_file() else {}
    if "fps" not in told or (told["thumbnail"] and not picture.is_file()):  # older ones do not say all
        _make_clip(own, video, at, picture)
        told = read_json(made)
    mp4 = at.with_suffix(".mp4").read_bytes() if told["clip"] else None
    return Clip(mp4, picture if told["thumbnail"] else None, tuple(told["notes"]), tuple(told["copy"]), told["fps"])


def _make_clip(own: Own, video: Video, at: Path, thumbnail: Path) -> None:
    """Clip, thumbnail, and last the file that says that both are whole."""
    room_kb = 300 + int(2 * video.duration_s)
    mp4, told = clip_of(own.corpus, video, room_kb)
    notes, copy = ([], told) if mp4 is not None else (told, [])
    if mp4 is not None:
        with atomic_write(at.with_suffix(".mp4"), "wb") as file:
            file.write(mp4)
    picture, fps = None, 0.0
    try:
        if mp4 is not None:
            fps = probe(video.video).fps
            codec, pixels = codec_of(video.video)
            if codec not in _PLAYED or pixels not in ("yuv420p", "yuvj420p"):
                kind = f"{codec}, {pixels}" if codec in _PLAYED else codec
                notes = [f"Browsers do not all play this file's codec ({kind}): transcoded once to H.264."]
        source = at.with_suffix(".mp4") if mp4 is not None else video.video
        middle = video.duration_s / 2 if mp4 is not None else min(video.duration_s / 2, 30)
        picture = frames_at(source, [middle], SIDE)[0] if source else None
    except VcworkError:
        pass  # the notes say already that it does not decode
    if picture is not None:
        out = io.BytesIO()
        Image.fromarray(picture).save(out, "JPEG", quality=85)
        with atomic_write(thumbnail, "wb") as file:
            file.write(out.getvalue())
    there = {"clip": mp4 is not None, "thumbnail": picture is not None}
    write_json(at.with_suffix(".json"), {**there, "notes": notes, "copy": copy, "fps": fps})


def _page(own: Own, id: str, clip: Clip, near: list[tuple[str, float]], top: int, everything: str) -> dict[str, Any]:
    """Write a video's page, unless all it depends on is as it was; what the wall needs to know of it.

    everything: digest of all videos that its moments are sought in.
    """
    page = own.out / "videos" / f"{plain_name(id)}.html"
    record = own.out / "cache" / "pages" / f"{plain_name(id)}.json"
    key = _key(own, id, clip, near, top, everything)
    if page.is_file() and record.is_file() and (found := read_json(record)).get("key") == key:
        return found
    video = own.corpus[id]
    notes = [*_about(own, id), *said_of(own.corpus, video)[2], *clip.notes]  # what the wall says of this video, too
    more = {"library": own.library, "top": top, "clip": (clip.mp4, [*clip.notes, *clip.copy])}
    panel = explore(own.corpus, own.store, own.encoder, id, video.split, **more)
    pages = {other: f"{plain_name(other)}.html" for other in own.ids}
    # no kernel opens another video here: its page does
    panel = replace(panel, notes=[*_about(own, id), *panel.notes], opener=None, pages=pages)
    with atomic_write(page) as file:
        file.write(panel.page(Markup(_ways(near))))
    said = list(_said(own, id, panel))
    found = {"key": key, "seconds": panel.video.seconds, "notes": notes, "said": said, "fps": clip.fps}
    write_json(record, found)
    return found


def _key(own: Own, id: str, clip: Clip, near: list[tuple[str, float]], top: int, everything: str) -> str:
    """Digest of all that a page is made of."""
    captions = own.corpus[id].captions
    about = [clip.notes, clip.copy]
    made_of = [id, own.sources.get(id, ""), captions and sha256_file(captions), about, everything, top, _ways(near)]
    made_of += [own.encoder and own.encoder.digest, own.store.contract.digest()]
    made_of += [script(*AlignmentExplorer.parts, AlignmentExplorer.module)]
    return sha256_json([*made_of, own.corpus.missing_captions.get(id, "")])


def _ways(near: list[tuple[str, float]]) -> str:
    """What stands above the panel: a way to the other pages, and a jump to the second that a link names."""
    others = [(f"{plain_name(id)}.html", id, cosine) for id, cosine in near]
    return template(__package__, "own_ways.html.j2").render(near=others)


def _about(own: Own, id: str) -> list[str]:
    """What reading the captions left out."""
    dropped = own.corpus.caption_report(id).dropped
    one = own.corpus.relative(dropped[0]) if dropped else ""
    return [f"{len(dropped)} captions were left out, the first: {one}."] if dropped else []


def _said(own: Own, id: str, panel: AlignmentExplorer) -> Iterator[list]:
    """[text, start_s, end_s, hits] of each caption, times None where nobody knows them.

    A hit is [video, start_s, end_s, peak_s, score].
    """
    rows = {row.text: row.elsewhere for row in panel.rows}
    raw = own.corpus.raw_captions(id)
    for i, caption in own.corpus.indexed_captions(id):
        hits = [
            [video, *(round(float(value), 4) for value in (m.start_s, m.end_s, m.peak_s, m.score))]
            for video, m in rows.get(caption.text, ())
        ]
        timed = np.isfinite(raw[i].end_s)
        yield [caption.text, *((caption.start_s, caption.end_s) if timed else (None, None)), hits]


def _remove_others(own: Own) -> None:
    """Pages and thumbnails of videos that are gone from the folder; a limited run leaves those of the others."""
    pictures = {f"{source[:24]}.jpg" for source in own.sources.values()}
    for picture in (own.out / "thumbnails").glob("*.jpg"):
        if own.sources and picture.name not in pictures:
            picture.unlink()
    there = {f"{plain_name(id)}.html" for id in own.sources}
    for page in (own.out / "videos").glob("*.html"):
        if page.name not in there:
            page.unlink()
            (own.out / "cache" / "pages" / f"{page.stem}.json").unlink(missing_ok=True)
