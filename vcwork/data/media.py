"""What a page shows of a film: the file itself where a browser plays it, else a copy: `media_of`.

A relative link to the original where container, codec, pixels and sound are all what browsers play; its streams as they
are in a new container where only that is in the way, as where it begins later than 0, which browsers count
along; else H.264 and AAC, the whole picture, made once by the file's content (`vcwork.data.copies`). What was done, and
why, is told in the notes.
Known gaps: what browsers play is a table of today's; an mp4 whose picture changes its size is linked as it is.
"""

import base64
import functools
import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import av

from vcwork.base.errors import VcworkError
from vcwork.base.files import sha256_file
from vcwork.base.sealed import kept, member
from vcwork.data.copies import Look, end_of, rewrapped, shrunk, sound_of, write_copy
from vcwork.data.film import MATROSKA, MP4, first_frame, jumps, open_video, orientation, origin_s

_PICTURE = {"mp4": {"h264", "vp9", "av1"}, "webm": {"vp8", "vp9", "av1"}}  # what browsers of today play, 8-bit 4:2:0
_SOUND = {"mp4": {"aac", "mp3", "opus", "flac"}, "webm": {"opus", "vorbis"}}
_PIXELS = ("yuv420p", "yuvj420p")
_LATE_S = 0.1  # a start from which a player shows another second; pictures put in order and sound's run-up begin sooner
_REWRAPPED = (MP4, MATROSKA, "mpegts", "flv")  # formats whose packets carry whole times
COPY = Look(640, 26, 30)
SMALL = ((150, Look(480, 28, 25, 48)), (600, Look(320, 32, 12, 32)), (3600, Look(192, 36, 5, 16)))  # up to so many s
PORTABLE_MB = 8.0  # of one film inside a page


@dataclass(frozen=True)
class Media:
    """What a page shows of a film, and how it came about.

    src: address for a page in the folder that was asked for, relative and percent-encoded; "" where nothing can be
    shown; a data: address where the film travels inside the page.
    kind: `original`, `rewrapped` (its streams in a new container), `transcoded`, `embedded`, `none`. notes: sentences.
    """

    src: str
    kind: str
    notes: tuple[str, ...] = ()


def media_of(path: str | Path, cache: str | Path, pages: str | Path, portable: bool = False, digest: str = "") -> Media:
    """What a page in the folder `pages` shows of the film at `path`; copies are made once, in the folder `cache`.

    portable: it travels inside the page, small enough (PORTABLE_MB), or not at all. digest: the file's sha256 where it
    is known. Never raises for the film's sake: what does not decode has kind `none`, and a note that says why.
    """
    path, cache = Path(path), Path(cache)
    try:
        told = cache / f"{(digest or sha256_file(path))[:24]}{'-small' if portable else ''}.json"
        make, copy = (_small if portable else _shown), functools.partial(_copy, cache)
        made = kept(told, told.stem, lambda: make(path, told), copy)
        file = next(iter(copy(made)), path)
        inside = base64.b64encode(file.read_bytes()).decode() if made["kind"] == "embedded" else ""
    except (VcworkError, OSError) as error:
        return Media("", "none", (f"No video: {str(error).replace(str(path), path.name)}.",))
    if inside:
        kind = "video/webm" if file.suffix.lower() == ".webm" else "video/mp4"
        return Media(f"data:{kind};base64,{inside}", "embedded", (*made["notes"],))
    return Media("" if made["kind"] == "none" else address(file, pages), made["kind"], (*made["notes"],))


def _copy(cache: Path, made: dict) -> list[Path]:
    """The copy that was made, which lies in the cache; none where the file itself is shown."""
    return [member(cache, made["file"])] if made["file"] else []


def address(file: str | Path, pages: str | Path) -> str:
    """A file's address for a page in the folder `pages`: relative, percent-encoded whatever its name."""
    try:
        relative = os.path.relpath(os.path.abspath(file), os.path.abspath(pages))
    except ValueError:  # another drive
        return Path(os.path.abspath(file)).as_uri()
    return quote(os.fsencode(relative.replace(os.sep, "/")), safe="/")


# --------------------------------------------------------------------------------------------------- what is played


@dataclass(frozen=True)
class _Parts:
    """What of a film a browser does not play, each "" where it does: container, picture, sound; and where it may go."""

    container: str
    picture: str
    sound: str
    suffix: str  # of the container that takes both streams as they are, or all of it but the sound
    told: list[str]  # of joined parts


def _parts(path: Path) -> _Parts:
    with open_video(path) as (container, stream):
        codec, pixels = stream.codec_context.codec.canonical_name, stream.codec_context.pix_fmt or ""
        heard = sound_of(container)
        sound = heard.codec_context.codec.canonical_name if heard else ""
        mirrored = _mirrored(first_frame(container, stream, path))
        joined = jumps(container, stream, path)
        name, brand = container.format.name, container.metadata.get("major_brand", "")
        lasts, begins_s = bool(container.duration), origin_s(container)
    held = "webm" if codec in _PICTURE["webm"] and sound in {"", *_SOUND["webm"]} else "mp4"
    odd = "" if codec in _PICTURE[held] else codec
    odd = odd or ("" if pixels in _PIXELS else f"{codec} in {pixels}") or ("mirrored" if mirrored else "")
    plain = (name == MP4 and brand != "qt  " and path.suffix.lower() in (".mp4", ".m4v")) or (
        name == MATROSKA and path.suffix.lower() == ".webm" and held == "webm" and lasts and not joined
    )
    kind = path.suffix[1:].lower() if name == MP4 else name.split(",")[0]
    if plain and begins_s >= _LATE_S:
        plain, kind = False, f"begins at {begins_s:.1f} s"
    wrapped = "" if plain else "joined parts" if joined else kind if lasts else "no length"
    bad_sound = sound if sound and sound not in _SOUND["webm" if name == MATROSKA and plain else "mp4"] else ""
    may = "" if joined or name not in _REWRAPPED or (name == MP4 and codec == "vp8") else f".{held}"
    at = ", ".join(f"{second:.1f} s" for second in joined[:3])
    told = [f"Its times start again or jump ({at}): the parts were put together."] if joined else []
    return _Parts(wrapped, odd, bad_sound if held == "mp4" else "", may, told)


def _mirrored(frame: av.VideoFrame) -> bool:
    """Browsers turn a picture, but none but one mirrors it."""
    turned, rows, columns = orientation(frame)
    return (turned + rows + columns) % 2 == 1


def _shown(path: Path, told: Path) -> dict:
    """The file itself, or a copy beside `told`."""
    parts = _parts(path)
    if not (parts.container or parts.picture or parts.sound):
        return {"kind": "original", "file": "", "notes": []}
    why = ", ".join(filter(None, (parts.container, parts.picture, parts.sound)))
    if parts.suffix and not parts.picture and rewrapped(path, told.with_suffix(parts.suffix), not parts.sound):
        also = ", its sound as AAC" if parts.sound else ""
        note = f"Browsers do not all play this file as it is ({why}): its picture is in a new container{also}."
        return {"kind": "rewrapped", "file": told.with_suffix(parts.suffix).name, "notes": [*parts.told, note]}
    file = told.with_suffix(".mp4")
    write_copy(path, file, COPY)
    note = f"Browsers do not all play this file ({why}): a copy in H.264 and AAC, at most {COPY.side} pixels."
    return {"kind": "transcoded", "file": file.name, "notes": [*parts.told, note]}


def _small(path: Path, told: Path) -> dict:
    """A copy that travels inside a page: the file itself where it is small and played, else one made smaller."""
    parts, room = _parts(path), PORTABLE_MB * 1e6
    if not (parts.container or parts.picture or parts.sound) and path.stat().st_size <= room:
        return {"kind": "embedded", "file": "", "notes": parts.told}
    length_s, file = end_of(path), told.with_suffix(".mp4")
    look = shrunk(path, file, [look for most_s, look in SMALL if length_s <= most_s], room)
    if look is None:
        note = f"No video: {length_s / 60:.0f} minutes do not fit into {PORTABLE_MB:.0f} MB inside a page."
        return {"kind": "none", "file": "", "notes": [*parts.told, note]}
    note = f"A small copy travels inside this page: {look.side} pixels, {look.fps} frames a second at most."
    return {"kind": "embedded", "file": file.name, "notes": [*parts.told, note]}
