"""The pages of one's own videos: one a video to touch its alignment, and a wall of them all: `write_pages`.

They are files that need neither kernel nor network, written in one step and only when something in them has changed.
A page plays the file itself by a relative link, or a copy where browsers do not all play it (`vcwork.data.media`), made
once; copies and thumbnails lie beside the pages. A portable page carries its film inside.
Known gaps: pages that are moved away from the videos lose those that they link to; portable ones do not. Beyond
MOST_SENTENCES the wall's search knows only the first sentences of each video, and says so.
"""

import io
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from markupsafe import Markup
from PIL import Image
from tqdm.auto import tqdm

from vcwork.base.console import say
from vcwork.base.errors import VcworkError, could_not
from vcwork.base.files import (
    alone,
    atomic_write,
    project_root,
    resolve,
    sha256_json,
    template,
)
from vcwork.base.sealed import kept
from vcwork.data.backbones.hugging_face import is_hub_name
from vcwork.data.corpus import Video
from vcwork.data.media import Media, media_of
from vcwork.data.video import frames_at, probe
from vcwork.panels.alignment import AlignmentExplorer
from vcwork.panels.base import script
from vcwork.panels.make_alignment import explore, said_of, untimed
from vcwork.panels.wall import DESCRIBED, DRAWN, SIDE, SPEECH, SUBTITLES, Card, Said, VideoWall
from vcwork.search.fused import FALSE_ALARMS, Floor, Piece
from vcwork.workbench.own_asking import floor_of, sentences
from vcwork.workbench.own_folder import plain_name
from vcwork.workbench.own_grade import graded_html
from vcwork.workbench.own_videos import Own, nearest, problems, video_vectors
from vcwork.workbench.own_words import NOTED_S

MOST_SENTENCES = 200_000  # of the wall, some 20 MB
IN_PAGE = 2_000  # sentences that the wall's page carries itself; more lie in a file beside it, read after the page
MEANT = 5_000  # of them that know the sentences nearest in meaning, the first ones: half a minute of work
LIKE_SAID = 5  # sentences nearest in meaning
NEAR = 3  # videos most like one
OURS = re.compile(r"[0-9a-f]{24}(-small)?\.(jpg|json|mp4|webm)")  # thumbnails and copies of films
LIKE = 0.1  # cosine from which a video is called like another; 0 is no more alike than any two


@dataclass(frozen=True)
class Film:
    """What pages show of a video's file: its media, a thumbnail's JPEG (None: no frame decodes), frames a second."""

    media: Media
    thumbnail: Path | None
    fps: float


def write_pages(
    own: Own, top: int = 5, progress: bool = True, portable: bool = False, false_alarms: float = FALSE_ALARMS
) -> Path:
    """Write `videos/<name>.html` for each video and `index.html`, all under `own.out`; the path of the latter.

    portable: films travel inside their pages. false_alarms: as `ask` has it, of what stored sentences find. Pages of
    videos that are no longer there are removed. VcworkError where something cannot be written.
    """
    with could_not(f"{own.out}: could not be read or written"), alone(own.out):  # moved away meanwhile, or closed
        return _pages(own, top, progress, portable, false_alarms)


def _pages(own: Own, top: int, progress: bool, portable: bool, false_alarms: float) -> Path:
    near = [
        [(other, round(cosine, 3)) for other, cosine in one if cosine >= LIKE]  # the last bits are no news
        for one in nearest(video_vectors(own), NEAR)
    ]
    everything = sha256_json({id: own.sources.get(id, "") for id in own.ids}) if own.library is not None else ""
    cards, pictures, said = [], {}, []
    bar = tqdm(own.ids, desc="pages", unit="video", disable=not progress)
    for place, id in enumerate(bar):
        film = film_of(own, id, portable)
        record = _page(own, id, film, [(own.ids[j], c) for j, c in near[place]], top, everything)
        cards.append(_card(own, id, film, record, near[place]))
        if film.thumbnail and place < DRAWN:
            pictures[place] = [np.asarray(Image.open(film.thumbnail).convert("RGB"))]
        said.append(record["said"])
    stored = _known(own, _sentences(own, said), progress, false_alarms)
    beside = "words.js" if len(stored) > IN_PAGE else ""
    about = {"title": own.corpus.folder.name, "notes": _notes(own, said), "beside": beside}
    wall = VideoWall(cards, stored, pictures=pictures, **about)
    _write(own.out / "words.js", wall.sentences() if beside else "")
    _write(own.out / "index.html", wall.page(graded_html(own)))
    _remove_others(own)
    return own.out / "index.html"


def _write(path: Path, text: str) -> None:
    """A file of the folder; without a text there is none."""
    if not text:
        return path.unlink(missing_ok=True)
    with atomic_write(path) as file:
        file.write(text)


def open_lab(own: Own, checkpoint: str = "", accept_contract: bool = False) -> NoReturn:
    """Become JupyterLab at a copy of notebook 40 whose parameters are this folder, its features and the checkpoint.

    The stored notebook is left as it is; so is a copy that was made before with the same parameters, and maybe changed.
    """
    import nbformat  # takes a moment
    from papermill.iorw import load_notebook_node
    from papermill.parameterize import parameterize_notebook

    from vcwork.workbench.servers import become
    from vcwork.workbench.stored_notebooks import clean

    given = {
        "corpus": own.corpus.folder,
        "features": own.store.folder,
        "checkpoint": checkpoint if not checkpoint or is_hub_name(checkpoint) else resolve(checkpoint),
    }
    parameters = {name: str(value) for name, value in given.items()}
    parameters |= {"checkpoint_contract": "accept"} if accept_contract else {}
    path = own.out / f"alignment_explorer-{sha256_json(parameters)[:8]}.ipynb"
    if path.exists():
        say(f"{path}: opened as it was left; delete it to begin with a new one")
    else:
        notebook = load_notebook_node(str(project_root() / "notebooks" / "40_alignment_explorer.ipynb"))
        with atomic_write(path) as file:
            nbformat.write(clean(parameterize_notebook(notebook, parameters)), file)
    become(project_root(), "jupyter", "lab", str(path))


def _card(own: Own, id: str, film: Film, record: dict[str, Any], near: list[tuple[int, float]]) -> Card:
    """What the wall shows of a video."""
    file, lines = own.corpus[id].video, record["said"]
    return Card(
        id,
        record["seconds"],
        len(lines),
        f"videos/{plain_name(id)}.html",
        tuple(record["notes"]),
        tuple(near),
        picture=f"thumbnails/{film.thumbnail.name}" if film.thumbnail else "",
        words=kind_of_words(own, id),
        file=file.name if file else "",
        fps=film.fps,
    )


def words_of(own: Own, id: str) -> str:
    """Where a video's words come from, in words; "" where it has none."""
    captions, kind = own.corpus[id].captions, kind_of_words(own, id)
    names = {SUBTITLES: "subtitles", DESCRIBED: "text"}
    return own.words_from.get(id, "") or (f"{names[kind]} {captions.name}" if kind in names else kind)


def kind_of_words(own: Own, id: str) -> str:
    """SPEECH where they were heard, DESCRIBED where they have no times, SUBTITLES otherwise; "" for none."""
    captions = own.corpus.raw_captions(id) if own.corpus.captions(id) else []  # none before the film's end: none
    if captions and len(untimed(own.corpus, id)) == len(captions):
        return DESCRIBED
    heard = own.words_from.get(id, "").startswith("speech")
    return SPEECH if heard else SUBTITLES if captions else ""


def _sentences(own: Own, said: list[list]) -> list[Said]:
    """The wall's stored sentences from each video's [text, start_s, end_s, hits by id], as many as there is room."""
    place = {id: i for i, id in enumerate(own.ids)}
    return [
        Said(text, video, start_s, end_s, tuple((place[id], *rest) for id, *rest in hits if id in place))
        for video, lines in enumerate(said)
        for text, start_s, end_s, hits in lines[: _room(said)]
    ]


def _known(own: Own, stored: list[Said], progress: bool, false_alarms: float) -> list[Said]:
    """The first MEANT sentences also with those nearest in meaning and, without a checkpoint, what is shown.

    Both only where they are stronger than what questions without an answer get; as they are without the weights.
    """
    asked, encode = stored[:MEANT], sentences(own) if stored else None
    if encode is None:
        return stored
    floor, texts = floor_of(own, false_alarms), [one.text for one in asked]
    near = alike(encode(texts, progress), texts, lambda cosine: floor.passes({"meaning": cosine}))
    shown: list[tuple] = [one.hits for one in asked]
    pictures = next((kind for kind in own.asking.kinds if kind.name == "pictures" and own.library is None), None)
    if pictures is not None:
        place = {id: i for i, id in enumerate(own.ids)}
        shown = [
            tuple(
                (place[p.video], p.start_s, p.end_s, p.peak_s, round(p.strength, 4)) for p in found if _sure(floor, p)
            )
            for found in pictures.ask(texts, NEAR)
        ]
    parts = zip(asked, near, shown, strict=True)
    return [replace(one, like=like, hits=hits) for one, like, hits in parts] + stored[MEANT:]


def _sure(floor: Floor, piece: Piece) -> bool:
    return floor.passes({"pictures": piece.strength})


def alike(vectors: np.ndarray, texts: Sequence[str], enough: Callable[[float], bool]) -> list[tuple[int, ...]]:
    """Of vectors (N, D) of length 1, the places of the LIKE_SAID nearest others whose text is another one."""
    found = []
    for start in range(0, len(vectors), 1000):
        cosines = vectors[start : start + 1000] @ vectors.T  # (n, N)
        best = np.argsort(-cosines, axis=1, kind="stable")[:, : 4 * LIKE_SAID]
        for row, places in enumerate(best):
            own = texts[start + row].casefold()
            others = [int(j) for j in places if texts[j].casefold() != own and enough(float(cosines[row, j]))]
            found.append(tuple(others[:LIKE_SAID]))
    return found


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


def film_of(own: Own, id: str, portable: bool = False) -> Film:
    """What the pages show of a video, made once for its file's content."""
    video = own.corpus[id]
    if video.video is None:
        return Film(
            Media("", "none", (f"No video: {own.corpus.missing_videos.get(id, 'there is no file')}.",)), None, 0.0
        )
    digest = own.sources.get(id, "")
    media = media_of(video.video, own.out / "films", own.out / "videos", portable, digest)
    name = (digest or sha256_json(id))[:24]
    about, picture = own.out / "cache" / "looks" / f"{name}.json", own.out / "thumbnails" / f"{name}.jpg"
    known = kept(about, name, lambda: _look(video, picture), lambda made: [picture] * made["thumbnail"])
    return Film(media, picture if known["thumbnail"] else None, known["fps"])


def _look(video: Video, picture: Path) -> dict[str, Any]:
    """The thumbnail, written; whether there is one, and frames a second."""
    try:
        fps = probe(video.video).fps
        frame = frames_at(video.video, [video.duration_s / 2], SIDE)[0]
    except VcworkError:  # the notes of its media say why
        return {"thumbnail": False, "fps": 0.0}
    out = io.BytesIO()
    Image.fromarray(frame).save(out, "JPEG", quality=85)
    with atomic_write(picture, "wb") as file:
        file.write(out.getvalue())
    return {"thumbnail": True, "fps": fps}


def _page(own: Own, id: str, film: Film, near: list[tuple[str, float]], top: int, everything: str) -> dict[str, Any]:
    """Write a video's page, unless all it depends on is as it was; what the wall needs to know of it.

    everything: digest of all videos that its moments are sought in.
    """
    page = own.out / "videos" / f"{plain_name(id)}.html"
    record = own.out / "cache" / "pages" / f"{plain_name(id)}.json"
    key = _key(own, id, film, near, top, everything)
    return kept(record, key, lambda: _written(own, id, film, near, top, page), lambda made: [page])


def _written(own: Own, id: str, film: Film, near: list[tuple[str, float]], top: int, page: Path) -> dict[str, Any]:
    """Write a video's page; what the wall needs to know of it."""
    video = own.corpus[id]
    notes = [
        *_about(own, id),
        *said_of(own.corpus, video)[2],
        *film.media.notes,
    ]  # what the wall says of this video, too
    more = {"library": own.library, "top": top, "clip": (None, film.media.notes)}
    panel = explore(own.corpus, own.store, own.encoder, id, video.split, **more)
    pages = {other: f"{plain_name(other)}.html" for other in own.ids}
    file = video.video.name if video.video else ""
    seen = replace(panel.video, src=film.media.src, file=file, fps=film.fps, words=words_of(own, id))
    # no kernel opens another video here: its page does
    panel = replace(panel, video=seen, notes=notes, opener=None, pages=pages)
    with atomic_write(page) as file:
        file.write(panel.page(Markup(_ways(near))))
    return {"seconds": panel.video.seconds, "notes": notes, "said": list(_said(own, id, panel))}


def _key(own: Own, id: str, film: Film, near: list[tuple[str, float]], top: int, everything: str) -> str:
    """Digest of all that a page is made of."""
    said = [(c.start_s, c.end_s, c.text) for c in own.corpus.captions(id)]
    media = film.media
    about = [
        media.kind,
        "" if media.kind == "embedded" else media.src,
        media.notes,
        film.fps,
        words_of(own, id),
        _about(own, id),
    ]
    made_of = [id, own.sources.get(id, ""), said, about, everything, top, _ways(near)]
    made_of += [own.encoder and own.encoder.digest, own.store.contract.digest()]
    made_of += [script(*AlignmentExplorer.parts, AlignmentExplorer.module)]
    return sha256_json([*made_of, own.corpus.missing_captions.get(id, "")])


def _ways(near: list[tuple[str, float]]) -> str:
    """What stands above the panel: a way to the other pages, and a jump to the second that a link names."""
    others = [(f"{plain_name(id)}.html", id, cosine) for id, cosine in near]
    return template(__package__, "own_ways.html.j2").render(near=others)


def _about(own: Own, id: str) -> list[str]:
    """What reading the captions left out, files left beside them, and how far off they are where that was measured."""
    dropped = own.corpus.caption_report(id).dropped
    one = own.corpus.relative(dropped[0]) if dropped else ""
    notes = [f"{len(dropped)} captions were left out, the first: {one}."] if dropped else []
    if left := own.corpus.meta.get("subtitles_left", {}).get(id):
        notes.append(f"Other files of words, which are left: {', '.join(left)}.")
    drift = own.drift.get(id)
    if drift is not None and (drift.wrong or drift.off_s > NOTED_S):
        notes.append(f"{own.corpus[id].captions.name} {drift}.")
    return notes


def _said(own: Own, id: str, panel: AlignmentExplorer) -> Iterator[list]:
    """[text, start_s, end_s, hits] of each caption, times None where nobody knows them.

    A hit is [video, start_s, end_s, peak_s, score].
    """
    rows = {row.text: row.elsewhere for row in panel.rows}
    open_ended = untimed(own.corpus, id)
    for i, caption in own.corpus.indexed_captions(id):
        hits = [
            [video, *(round(float(value), 4) for value in (m.start_s, m.end_s, m.peak_s, m.score))]
            for video, m in rows.get(caption.text, ())
        ]
        yield [caption.text, *((None, None) if i in open_ended else (caption.start_s, caption.end_s)), hits]


def _remove_others(own: Own) -> None:
    """Pages, thumbnails, copies of videos that are gone, or can no longer be read; a limited run leaves the others'."""
    contents = {source[:24] for source in own.sources.values()}
    for beside in (path for where in ("thumbnails", "films", "cache/looks") for path in (own.out / where).glob("*")):
        if contents and OURS.fullmatch(beside.name) and beside.name[:24] not in contents:
            beside.unlink()
    there = {plain_name(id) for id in own.sources if id not in own.store.failed | own.corpus.missing_videos}
    for record in (own.out / "cache" / "pages").glob("*.json"):  # what has none is somebody else's
        if record.stem not in there:
            (own.out / "videos" / f"{record.stem}.html").unlink(missing_ok=True)
            record.unlink()
