"""A folder of one's own videos as it is: `look_at` finds what can be used, `place_of` where its cache lies.

Nothing here needs a model, so that a wrong folder is told at once. Every file that is not used is told, and why.
Known gap: a file replaced by another of the same size and time stamp is taken for the old one.
"""

import hashlib
import os
import re
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from tqdm.auto import tqdm

from vcwork.base.console import say
from vcwork.base.errors import VcworkError, could_not
from vcwork.base.files import project_root, resolve, sha256_file
from vcwork.base.sealed import Kind, manifest_alone, read_sealed, write_manifest, write_sealed
from vcwork.data.corpus import Corpus, open_corpus, scan_folder

EXPLORE = Kind(
    "folder of one's own videos", "vcwork-own-videos-1", "explore.json", fields={"folder": str}, by_hand=True
)


def look_at(folder: str | Path, links: bool = False, language: str = "") -> Corpus:
    """The corpus of a folder; `missing_videos` and `missing_captions` tell every file that is not used, and why.

    language: of subtitles, as `scan_folder`. VcworkError as that; also for a file in place of a folder, and where all
    videos are links to elsewhere.
    """
    if not str(folder):  # resolved it would be the project's own
        raise VcworkError("expected a folder of videos, got an empty text")
    folder = resolve(folder)
    if str(folder) != os.fsencode(folder).decode("utf-8", "backslashreplace"):
        raise VcworkError(f"{str(folder)!r}: the folder's name is not UTF-8; rename it")
    if folder.is_file():
        raise VcworkError(f"{folder}: expected a folder of videos, got a file; give the folder it lies in")
    with could_not(f"{folder}: could not be read"):
        corpus = open_corpus(folder) if (folder / "corpus.json").is_file() else scan_folder(folder, language=language)
    if not links and not (folder / "corpus.json").is_file():
        _without_links(corpus)
    _say_empty_captions(corpus)
    if not any(v.video for v in corpus.videos.values()):
        why = next(iter(corpus.missing_videos.values()), "it has none")
        raise VcworkError(f"{folder}: no video can be used; {why}")
    return corpus


def _without_links(corpus: Corpus) -> None:
    """Leave out files that are links out of the folder: a page that is sent around shows what lies in it."""
    home = corpus.folder.resolve()
    for id, video in list(corpus.videos.items()):
        if not video.video.resolve().is_relative_to(home):
            del corpus.videos[id]
            corpus.missing_videos[id] = f"{video.video.name} is a link out of the folder; --links takes these, too"
        elif video.captions and not video.captions.resolve().is_relative_to(home):
            corpus.videos[id] = replace(video, captions=None)
            corpus.missing_captions[id] = f"{video.captions.name} is a link out of the folder; --links takes these, too"


def _say_empty_captions(corpus: Corpus) -> None:
    """Tell of subtitles that give nothing, and of cues that were left out of the others."""
    for id, video in corpus.videos.items():
        if not video.captions:
            continue
        try:
            kept, dropped = corpus.captions(id), corpus.caption_report(id).dropped
        except VcworkError as error:  # it has changed since it was looked at
            corpus.videos[id] = replace(video, captions=None)
            corpus.missing_captions[id] = corpus.relative(error)
            continue
        if not kept:
            why = f"no caption begins before the video ends at {video.duration_s:.0f} s" if dropped else "it is empty"
            corpus.missing_captions[id] = f"{video.captions.name}: {why}"
        elif dropped:
            told = f"{video.captions.name}: {len(dropped)} cues are left out; {corpus.relative(dropped[0])}"
            corpus.missing_captions.setdefault(id, told)


def place_of(folder: str | Path, out: str | Path = "") -> Path:
    """The folder of cache and pages; one that another folder made is taken over when that folder is gone.

    VcworkError where `out` holds something else, or belongs to another folder that is still there.
    """
    folder = resolve(folder).resolve()
    if out:
        out, owner = resolve(out), _owner(resolve(out))
        if owner is None and out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise VcworkError(f"{out}: holds something else; choose an empty or new folder")
        if owner not in (None, folder) and owner.exists():
            raise VcworkError(f"{out}: was made for {owner}; choose another folder")
    else:
        base = project_root() / "outputs" / "explore"
        base, number = base / plain_name(folder.name), 1
        out, owner = base, None
        while out.exists() and ((owner := _owner(out)) is None or (owner != folder and owner.exists())):
            number += 1
            out = base.with_name(f"{base.name}-{number}")
    try:
        if owner != folder:
            write_manifest(out, EXPLORE, {"folder": str(folder)})
        with tempfile.TemporaryFile(dir=out):  # a folder of an earlier run may be closed by now
            return out
    except (VcworkError, OSError) as error:
        raise VcworkError(f"{out}: could not be written; give a folder elsewhere: --out FOLDER") from error


def _owner(out: Path) -> Path | None:
    """The folder that `out` was made for, which may be gone; None where it is none of ours."""
    path = out / EXPLORE.manifest
    try:
        return Path(manifest_alone(out, EXPLORE)["folder"]) if path.is_file() else None
    except VcworkError as error:
        if not (out / "cache").is_dir():
            return None
        say(f"{error}; it is written anew", file=sys.stderr)
        return path / "unknown"  # a folder that is gone


def plain_name(id: str) -> str:
    """A file name for any id, plain in every file system and address; another id, another name."""
    plain = re.sub(r"[^\w.-]+", "_", id, flags=re.ASCII)[:80].rstrip(".").lstrip(".-") or "_"
    return plain if plain == id else f"{plain}-{hashlib.sha256(id.encode()).hexdigest()[:8]}"


def digests(
    corpus: Corpus, remembered: Path, limit: int = 0, progress: bool = False
) -> tuple[dict[str, str], list[str]]:
    """sha256 of the video files by id, and what has changed since they were written to the file `remembered`.

    Files whose size and time stamp are as remembered are not read again. limit: of the files after so many only what is
    remembered. A file that is gone, cannot be read or grows meanwhile has none, and `missing_videos` says why.
    """
    path, limit, told = remembered, limit or len(corpus.videos), []
    try:
        before = read_sealed(path, "every file is read again")["videos"] if path.is_file() else {}
    except VcworkError as error:
        before = say(error, file=sys.stderr) or {}
    now: dict[str, list] = {}
    videos = [video for video in corpus.videos.values() if video.video is not None]
    bar = tqdm(videos, desc="looking at files", unit="video", disable=not progress, leave=False)
    for number, video in enumerate(bar):
        try:
            here = _stamp(video.video)
            same = before.get(video.id, [])[:3] == here
            if same or number < limit:
                digest = before[video.id][3] if same else sha256_file(video.video)
                if _stamp(video.video) != here:
                    corpus.missing_videos[video.id] = f"{video.video.name} changes while it is read; ask again later"
                else:
                    now[video.id] = [*here, digest]
        except OSError as error:
            why = f"{video.video.name}: could not be read ({error.strerror or error})"
            corpus.missing_videos[video.id] = why
    if before:
        lists = {
            "new": [id for id in now if id not in before],
            "changed": [id for id in now if id in before and before[id][3] != now[id][3]],
            "gone": [id for id in before if id not in corpus.videos],
        }
        told = [f"Since last time: {some}." for some in listed(lists)]
    write_sealed(path, {"videos": now})
    return {id: entry[3] for id, entry in now.items()}, told


def _stamp(path: Path) -> list:
    stat = path.stat()
    return [path.name, stat.st_size, stat.st_mtime_ns]


def listed(lists: dict[str, list[str]]) -> list[str]:
    """`{"gone": ["a", "b"]}` -> `["2 gone (a, b)"]`; empty ones are left out."""
    return [
        f"{len(ids)} {what} ({', '.join(ids[:3])}{' …' if len(ids) > 3 else ''})" for what, ids in lists.items() if ids
    ]
