"""What a corpus is: videos, timed captions, splits, and truth when it is known.

`open_corpus` reads a folder with a corpus.json (the lab writes one), `scan_folder` finds a person's own videos and
subtitles. What is absent or unreadable is never silent: `missing_videos` and `missing_captions` keep it for the
coverage report, so a score can say of how many it speaks.
A corpus.json that was written here seals captions and truth, those of the lab world its films too: each is compared
when it is read. One by hand needs no seals.
Times are seconds. Truth is only for scoring; nothing that trains may look at it.
"""

import hashlib
import json
import math
import os
import re
import shutil
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import astuple, dataclass, field, replace
from itertools import islice
from pathlib import Path, PurePath, PurePosixPath
from typing import Any, TypeGuard

import numpy as np

from vcwork.base.errors import VcworkError, could_not
from vcwork.base.files import alone, atomic_write, read_json, resolve, sha256_file, sha256_json
from vcwork.base.sealed import Kind, begin, differs, manifest_alone, seal, well_formed, write_manifest
from vcwork.data.addresses import Address, at_hand, is_address, listed
from vcwork.data.captions import CAPTION_SUFFIXES, Caption, CaptionReport, deduplicate_indexed, read_captions
from vcwork.measure.metrics import truth_labels

CORPUS = Kind(
    "corpus", "vcwork-corpus-1", "corpus.json", "make a lab corpus here, or use scan_folder for own videos",
    begun=("lab.json",), owns=("videos", "captions", "truth", "accounting.json", "lab.json", ".parts"), by_hand=True,
)  # fmt: skip
SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Segment:
    """A stretch of video in which `step` (an id) happens; `sentence` is the annotator's paraphrase of it."""

    start_s: float
    end_s: float
    step: str
    sentence: str = ""


@dataclass(frozen=True)
class Recipe:
    """A task: its name in plain words, its step ids in canonical order, the id of the recipe it is easily taken for."""

    id: str
    name: str
    steps: tuple[str, ...] = ()
    lookalike: str | None = None


@dataclass(frozen=True)
class Video:
    """One video; a path is None where there is no such file. `duration_s` is 0 where nobody knows it."""

    id: str
    video: Path | Address | None
    captions: Path | Address | None
    duration_s: float
    split: str
    recipe: str | None = None
    segments: tuple[Segment, ...] = ()
    truth: Path | None = None

    def labels(self, index: dict[str, int], seconds: int) -> np.ndarray:
        """What each second truly shows, (T,) int: step k of `index` as k + 1, 0 = background."""
        return truth_labels([(s.start_s, s.end_s, s.step) for s in self.segments], index, seconds)


@dataclass
class Corpus:
    """Videos by id, in a fixed order. `missing_videos` and `missing_captions` tell what is not there, and why."""

    folder: Path | str  # a str: an address
    name: str
    videos: dict[str, Video]
    steps: dict[str, str] = field(default_factory=dict)
    recipes: dict[str, Recipe] = field(default_factory=dict)
    meta: dict[str, Any] = field(default_factory=dict)
    missing_videos: dict[str, str] = field(default_factory=dict)
    missing_captions: dict[str, str] = field(default_factory=dict)
    files: dict[str, dict[str, Any]] = field(default_factory=dict)  # {name: {bytes, sha256}} of what corpus.json seals
    _raw: dict[str, tuple[list[Caption], CaptionReport]] = field(default_factory=dict, repr=False)

    def __getitem__(self, video_id: str) -> Video:
        if video_id not in self.videos:
            raise VcworkError(f"{self.folder}: no video {video_id!r} among {len(self.videos)}")
        return self.videos[video_id]

    def split(self, name: str) -> list[Video]:
        """The videos of one split, `train`, `val` or `test`, in corpus order."""
        if name not in SPLITS:
            raise VcworkError(f"split: expected one of {', '.join(SPLITS)}, got {name!r}")
        return [video for video in self.videos.values() if video.split == name]

    def relative(self, message: object) -> str:
        """A message on one line, without the folder's own path: reports are stored, and paths are personal."""
        return str(message).replace(f"{self.folder}{os.sep}", "").replace("\n", "\\n")

    def raw_captions(self, video_id: str) -> list[Caption]:
        """The cues as they stand in the file, sorted by start: truth counts these. Empty without a caption file."""
        return self._read(video_id)[0]

    def caption_report(self, video_id: str) -> CaptionReport:
        """What reading and clamping the captions left out."""
        return self._read(video_id)[1]

    def captions(self, video_id: str) -> list[Caption]:
        """The captions to work with: ended by the video's end, rolling repeats removed."""
        return [caption for _, caption in self.indexed_captions(video_id)]

    def indexed_captions(self, video_id: str) -> list[tuple[int, Caption]]:
        """`captions`, each with its index among `raw_captions`.

        Captions without times, and those that meta says do not roll (annotators' sentences), are kept word for word.
        """
        end_s = self[video_id].duration_s or math.inf
        inside = [(i, c) for i, c in enumerate(self.raw_captions(video_id)) if c.start_s < end_s]
        clamped = [Caption(c.start_s, min(c.end_s, end_s), c.text) for _, c in inside]
        untimed = bool(inside) and all(math.isinf(c.end_s) for _, c in inside)
        whole = untimed or not self.meta.get("rolling_captions", True)
        kept = list(enumerate(clamped)) if whole else deduplicate_indexed(clamped)
        return [(inside[i][0], caption) for i, caption in kept]

    def digest(self) -> str:
        """sha256 of what a training reads beside the features: captions, splits and truth of train and val."""
        told = [self.meta.get("rolling_captions", True), list(self.steps)]
        for video in self.split("train") + self.split("val"):
            told.append([video.id, video.split, video.duration_s, [astuple(segment) for segment in video.segments]])
            told.append([(c.start_s, c.end_s, c.text) for c in self.raw_captions(video.id)])
        return sha256_json(told)

    def truth(self, video_id: str) -> dict[str, Any]:
        """The truth file as it is; {} where there is none."""
        path = self[video_id].truth
        if path:
            self.check(path)
        return read_json(path) if path else {}

    def check(self, path: Path | Address, sha256: str = "") -> None:
        """VcworkError where corpus.json seals this file otherwise; `sha256` where it is known."""
        sealed = self.files.get(path.relative_to(self.folder).as_posix()) if self.files else None
        if sealed and path.is_file() and sealed["sha256"] != (sha256 or sha256_file(path)):
            how = f"put it back, or take it out of `files` there and run `python -m vcwork verify --seal {self.folder}`"
            raise VcworkError(f"{path}: damaged or edited: its sha256 is not the one in {CORPUS.manifest}; {how}")

    def _read(self, video_id: str) -> tuple[list[Caption], CaptionReport]:
        if video_id not in self._raw:
            video, report = self[video_id], CaptionReport()
            if video.captions:
                self.check(video.captions)
            captions = _read_at(video.captions, report) if video.captions else []
            report.dropped += _beyond_the_end(video, captions)
            report.clamped = sum(c.start_s < video.duration_s < c.end_s < math.inf for c in captions)
            self._raw[video_id] = (captions, report)
        return self._raw[video_id]


def open_corpus(folder: str | Path) -> Corpus:
    """The corpus that corpus.json in `folder` describes.

    VcworkError: no corpus.json, another format, an unfinished one, an id or path that leaves the folder, a truth file
    that is absent or another than the one that was sealed. A video or caption file that is absent is a problem of that
    video, counted, not an error.
    """
    folder = resolve(folder)
    raw, path = manifest_alone(folder, CORPUS), folder / CORPUS.manifest
    if raw.get("complete") is not True:
        raise VcworkError(f"{path}: the corpus is not complete; run what makes it again to resume")
    with well_formed(path):
        return _from_json(folder, raw)


def save_corpus(corpus: Corpus, *more: Path) -> None:
    """Write corpus.json, so that `open_corpus` finds a scanned folder again; paths relative to the folder.

    It seals captions, truth and `more`; films are somebody else's, and what is made of them keeps their digests.
    """
    videos = [
        {"id": v.id, "duration_s": v.duration_s, "split": v.split, "recipe": v.recipe}
        | {key: getattr(v, key) and getattr(v, key).relative_to(corpus.folder).as_posix() for key in _PATHS}
        for v in corpus.videos.values()
    ]
    recipes = {
        r.id: {"name": r.name, "steps": list(r.steps), "lookalike": r.lookalike} for r in corpus.recipes.values()
    }
    head = {"name": corpus.name, "complete": True, **corpus.meta}
    head |= {"missing_videos": corpus.missing_videos, "missing_captions": corpus.missing_captions}
    head |= {"steps": corpus.steps, "recipes": recipes, "videos": videos, "files": _seals(corpus, *more)}
    write_manifest(corpus.folder, CORPUS, head)


def _seals(corpus: Corpus, *more: Path) -> dict[str, dict[str, Any]]:
    own = [getattr(video, key) for video in corpus.videos.values() for key in ("captions", "truth")]
    return {path.relative_to(corpus.folder).as_posix(): seal(path) for path in (*own, *more) if path is not None}


def corpus_once(folder: Path, digest: str, make: Callable[[], None]) -> Corpus:
    """The corpus in `folder`, which `make` writes where there is none; VcworkError when it came from other data.

    `digest` of the data stands in the corpus's meta as source_digest.
    """
    with alone(folder):
        if not (folder / CORPUS.manifest).exists():
            begin(folder, CORPUS)
            make()
    corpus = open_corpus(folder)
    if corpus.meta.get("source_digest") != digest:
        raise VcworkError(f"{folder}: holds another corpus ({corpus.name}); choose another folder")
    return corpus


def scan_folder(folder: str | Path, split: str = "test", language: str = "") -> Corpus:
    """A corpus of the videos in `folder` and below it, and their subtitles: x.mp4 with x.vtt, or else x.en.vtt.

    Of several languages the one asked for comes first, such as en, eng, English or pt-BR (`subtitles_of`); what is left
    is kept in meta as `subtitles_left`, {id: names}, and which videos' are in another as `language_lacking`.

    An id is the path without its suffix, "x" or "sub/x"; films that differ in their suffix alone keep it. Every file is
    opened once. What cannot be read or used is told in `missing_videos` and `missing_captions`; folders that are links,
    or that hold a corpus or pages of ours, are not looked into. At an address (s3://…, see `vcwork.data.addresses`)
    files directly under it are listed, not opened: nobody knows how long they are. split: of all of them, or shares as
    `dealt` takes them, such as 80/10/10. VcworkError when the folder is missing or no video at all can be read.
    """
    from vcwork.data.video import VIDEO_SUFFIXES  # PyAV is only needed here

    _shares(split)
    if is_address(folder):
        folder = str(folder).rstrip("/")
        corpus = Corpus(folder, PurePath(folder).name, {})
        files = [file for file in listed(folder) if not file.name.startswith(".")]
    else:
        folder = resolve(folder)
        if not folder.is_dir():
            raise VcworkError(f"{folder}: no such folder")
        corpus = Corpus(folder, folder.name, {})
        files = _below(corpus, VIDEO_SUFFIXES + CAPTION_SUFFIXES)
    found = [path for path in files if path.suffix.lower() in VIDEO_SUFFIXES]
    subtitles = [path for path in files if path.suffix.lower() in CAPTION_SUFFIXES]
    if not found:
        also = "".join(f"; {why}" for why in islice(corpus.missing_videos.values(), 1))
        what = f"expected videos ({', '.join(VIDEO_SUFFIXES)}), found {len(files)} other files"
        raise VcworkError(f"{folder}: {what}{also}")
    theirs, alone = subtitles_of(found, subtitles, language)
    for path, id in _ids(corpus, found).items():
        _add_video(corpus, id, path, theirs[path], "test" if "/" in split else split)
    left = {v.id: [path.name for path in theirs[v.video] if path != v.captions] for v in corpus.videos.values()}
    if any(left.values()):
        corpus.meta["subtitles_left"] = {id: names for id, names in left.items() if names}
    if language and (others := _in_another(corpus, language)):
        corpus.meta["language_lacking"] = {language: others}
    for path in alone:  # a text may be anything, a subtitle had a film
        missing = corpus.missing_captions if path.suffix.lower() in _LOOSE else corpus.missing_videos
        missing.setdefault(_id(corpus, path), f"{corpus.relative(path)} has no video of the same name")
    _tell_unused(corpus, [path for path in files if path not in theirs and path not in subtitles])
    if not corpus.videos:
        raise VcworkError(
            f"{folder}: none of {len(found)} videos can be read; {next(iter(corpus.missing_videos.values()))}"
        )
    return dealt(corpus, split) if "/" in split else corpus


def dealt(corpus: Corpus, shares: str = "80/10/10") -> Corpus:
    """The same videos in splits of their own: percent of train, val and test, by the order of their ids' sha256.

    Of three videos or more each split that has a share gets one at least. Videos with captions
    are dealt apart from those without, which train nothing. A video that is added later moves at most one neighbour
    over each border. The rule is written to meta as `split_rule`. VcworkError: shares that are not three that make 100.
    """
    parts = _shares(shares)
    given: dict[str, str] = {}
    for said in (True, False):
        ids = [id for id, video in corpus.videos.items() if (video.captions is not None) == said]
        ids.sort(key=lambda id: hashlib.sha256(id.encode("utf-8", "surrogateescape")).hexdigest())
        counts = _counts(len(ids), parts)
        names = [name for name, count in zip(SPLITS, counts, strict=True) for _ in range(count)]
        given |= dict(zip(ids, names, strict=True))
    videos = {id: replace(video, split=given[id]) for id, video in corpus.videos.items()}
    rule = f"{shares} % train/val/test, by the order of sha256 of the ids, videos with captions apart from the others"
    return replace(corpus, videos=videos, meta=corpus.meta | {"split_rule": rule})


def _shares(split: str) -> list[int]:
    """Percent of train, val and test; VcworkError for what is neither one of them nor shares."""
    if split in SPLITS:
        return [100 * (name == split) for name in SPLITS]
    parts = [int(part) if part.isdecimal() else -1 for part in split.split("/")]
    if len(parts) != 3 or min(parts) < 0 or sum(parts) != 100:
        expected = f"expected {', '.join(SPLITS)}, or three shares that make 100 (80/10/10)"
        raise VcworkError(f"split: {expected}, got {split!r}")
    return parts


def _counts(n: int, parts: list[int]) -> list[int]:
    """Whole numbers that make n, near to the shares; none that has a share is 0 while n suffices."""
    counts = [n * part // 100 for part in parts]
    counts[parts.index(max(parts))] += n - sum(counts)
    for i in range(3):
        richest = counts.index(max(counts))
        if parts[i] and not counts[i] and counts[richest] > 1:
            counts[i], counts[richest] = 1, counts[richest] - 1
    return counts


_LOOSE = (".txt", ".json", ".csv", ".tsv")  # suffixes of much that is no subtitle
_UNREAD = (".sub", ".idx", ".smi", ".sami", ".sup", ".stl", ".scc", ".mpl", ".rt", ".usf")  # times in frames, pictures
_OWN_FOLDERS = ("corpus.json", "explore.json")  # what is in them is ours: copies of films, among others


def _below(corpus: Corpus, known: tuple[str, ...]) -> list[Path]:
    """The files of a folder and of those below, by path; what of it is left out is told.

    A name that is not UTF-8 could stand in no page and no manifest. VcworkError where the folder itself cannot be read.
    """
    from vcwork.data.video import VIDEO_SUFFIXES

    def unreadable(error: OSError) -> None:
        if Path(error.filename) == corpus.folder:
            raise VcworkError(f"{corpus.folder}: could not be read ({error.strerror or error})") from error
        name = _shown(corpus.relative(error.filename))
        corpus.missing_videos[name] = f"{name}: could not be read ({error.strerror or error})"

    found = []
    for at, folders, names in os.walk(corpus.folder, onerror=unreadable):
        here = Path(at)
        folders[:] = sorted(name for name in folders if not name.startswith(".") and _looked_into(corpus, here / name))
        for path in (here / name for name in names if not name.startswith(".")):
            name = corpus.relative(path)
            missing = corpus.missing_videos if path.suffix.lower() in VIDEO_SUFFIXES else corpus.missing_captions
            if _shown(name) != name:
                missing[_shown(name)] = f"{_shown(name)}: its name is not UTF-8; rename it"
                continue
            try:
                if path.is_file():
                    found.append(path)
                elif path.suffix.lower() in known:
                    why = "is a link that leads nowhere" if path.is_symlink() else "is no file, or no longer there"
                    missing[_id(corpus, path)] = f"{name} {why}"
            except OSError as error:  # in, or a link into, a place that may not be entered
                unreadable(error)
    return sorted(found)


def _looked_into(corpus: Corpus, folder: Path) -> bool:
    name = _shown(corpus.relative(folder))
    ours = next((file for file in _OWN_FOLDERS if os.path.isfile(folder / file)), "")
    if os.path.islink(folder):
        corpus.missing_videos[name] = f"{name}: is a link to a folder, which is not followed"
    elif ours:
        corpus.missing_captions[name] = f"{name}: holds {ours}, so it is not looked into"
    return not os.path.islink(folder) and not ours


def _shown(name: str) -> str:
    """A name as it can be written; bytes that are no UTF-8 as \\xe9."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _id(corpus: Corpus, path: Path | Address) -> str:
    name = path.name if isinstance(path, Address) else path.relative_to(corpus.folder).as_posix()
    return name.removesuffix(path.suffix).replace("\n", "\\n")  # one line wherever it is told


def _ids(corpus: Corpus, videos: list) -> dict:
    """{video: its id}."""
    ids = {path: _id(corpus, path) for path in videos}
    often = Counter(ids.values())
    return {path: id if often[id] == 1 else f"{id}{path.suffix}" for path, id in ids.items()}


def _tell_unused(corpus: Corpus, files: list) -> None:
    """A line for each subtitle in a form that is not read, and for each suffix of other files."""
    by_suffix: dict[str, list[str]] = {}
    for path in files:
        name = corpus.relative(path)
        if path.suffix.lower() in _UNREAD:
            corpus.missing_captions[name] = f"{name}: subtitles in a form that is not read; save them as .srt"
            continue
        by_suffix.setdefault(path.suffix.lower(), []).append(name)
    for names in by_suffix.values():
        rest = f" and {len(names) - 3} more" if len(names) > 3 else ""
        what = f"{', '.join(names[:3])}{rest}"
        corpus.missing_captions[what] = f"{what}: neither a film nor words in a form that is read"


def gather(corpus: Corpus, folder: str | Path) -> Corpus:
    """The same corpus in a folder of its own: its files linked (copied where links are refused), and a corpus.json.

    The folder the files come from stays as it is. Called again for the same corpus it opens it; VcworkError when
    `folder` holds another one.
    """
    folder = resolve(folder)
    videos = {id: _moved(video, corpus.folder, folder) for id, video in corpus.videos.items() if _is_safe(id)}
    left = {id: f"{id}: a name with a backslash or a line break, by which no corpus can tell it; rename the film"
            for id in corpus.videos if id not in videos}  # fmt: skip
    moved = replace(corpus, folder=folder, videos=videos, missing_videos=corpus.missing_videos | left)
    with alone(folder):
        if (folder / CORPUS.manifest).exists():
            there = open_corpus(folder)
            if list(there.videos.values()) != list(moved.videos.values()):
                raise VcworkError(f"{folder}: holds another corpus ({there.name}); choose another folder")
            if there.files == _seals(moved):
                return there
        begin(folder, CORPUS)
        for id, video in moved.videos.items():
            for key in _PATHS:
                _link(getattr(corpus.videos[id], key), getattr(video, key))
        save_corpus(moved)
    return open_corpus(folder)


def _moved(video: Video, home: Path, folder: Path) -> Video:
    paths = {key: getattr(video, key) for key in _PATHS}
    return replace(
        video, **{key: path and folder / _PATHS[key] / _below_home(path, home) for key, path in paths.items()}
    )


def _below_home(path: Path, home: Path) -> Path | str:
    """Films of one name in two folders stay two."""
    return path.relative_to(home) if path.is_relative_to(home) else path.name


def _link(source: Path | None, target: Path | None) -> None:
    if source is None or target is None or target.exists():
        return
    with could_not(f"{target}: could not be written"):
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)  # a link that leads nowhere
        try:
            target.symlink_to(source.resolve())
        except OSError:  # Windows asks for a privilege
            with open(source, "rb") as film, atomic_write(target, "wb") as copy:
                shutil.copyfileobj(film, copy)


_PATHS = {"video": "videos", "captions": "captions", "truth": "truth"}  # of a video: its folder in a gathered corpus


def _from_json(folder: Path, raw: dict[str, Any]) -> Corpus:
    recipes = {
        key: Recipe(key, value["name"], tuple(value["steps"]), value.get("lookalike"))
        for key, value in raw.get("recipes", {}).items()
    }
    known = ("format", "name", "complete", "steps", "recipes", "videos", "missing_videos", "missing_captions", "files")
    meta = {key: value for key, value in raw.items() if key not in known}
    steps, *missing = (dict(raw.get(key, {})) for key in ("steps", "missing_videos", "missing_captions"))
    files = {name: {key: sealed[key] for key in ("bytes", "sha256")} for name, sealed in raw.get("files", {}).items()}
    corpus = Corpus(folder, raw["name"], {}, steps, recipes, meta, *missing, files)
    for entry in raw["videos"]:
        video = _video(corpus, entry)
        if video.id in corpus.videos:
            raise VcworkError(f"{folder / 'corpus.json'}: video id {video.id!r} appears twice")
        corpus.videos[video.id] = video
    return corpus


def _video(corpus: Corpus, entry: dict[str, Any]) -> Video:
    id, where = _safe_id(entry["id"], corpus.folder), f"{corpus.folder / 'corpus.json'}: video {entry['id']}"
    paths = {key: _inside(corpus.folder, entry.get(key), f"{where}: {key}") for key in _PATHS}
    duration_s, split, recipe = float(entry["duration_s"]), entry.get("split"), entry.get("recipe")
    if isinstance(entry["duration_s"], bool) or not 0 <= duration_s < math.inf:
        raise VcworkError(f"{where}: expected duration_s in seconds, got {entry['duration_s']!r}")
    if split not in SPLITS:
        raise VcworkError(f"{where}: expected split to be one of {', '.join(SPLITS)}, got {split!r}")
    if recipe is not None and recipe not in corpus.recipes:
        raise VcworkError(f"{where}: unknown recipe {recipe!r}")
    for key, missing in (("video", corpus.missing_videos), ("captions", corpus.missing_captions)):
        sealed = corpus.files.get(entry.get(key), {}) if key == "video" else {}  # captions are compared when read
        if paths[key] is not None and (why := differs(paths[key], sealed, verify=False)):
            told = f"is not the film that was made ({why})" if os.path.isfile(paths[key]) else "is missing"
            missing[id], paths[key] = f"{entry[key]} {told}", None
    if paths["truth"]:
        corpus.check(paths["truth"])
    segments = tuple(_segments(paths["truth"], corpus.steps)) if paths["truth"] else ()
    return Video(id, duration_s=duration_s, split=split, recipe=recipe, segments=segments, **paths)


def _segments(path: Path, steps: dict[str, str]) -> Iterator[Segment]:
    with well_formed(path):
        found = [
            (Segment(float(e["start_s"]), float(e["end_s"]), e["step"], e.get("caption", "")), e)
            for e in read_json(path)["segments"]
        ]
    for number, (segment, entry) in enumerate(found):
        if segment.step not in steps or not 0 <= segment.start_s <= segment.end_s < math.inf:
            raise VcworkError(f"{path}: segment {number}: unknown step or times out of order, {entry}")
        yield segment


def _safe_id(id: object, folder: Path) -> str:
    """Ids become file names; one that could lead elsewhere is refused."""
    if not _is_safe(id):
        raise VcworkError(f"{folder / 'corpus.json'}: expected a video id as a path inside the folder, got {id!r}")
    return id


def _is_safe(id: object) -> TypeGuard[str]:
    return isinstance(id, str) and not {"", ".", ".."} & set(id.split("/")) and not set("\\\0") & set(id)


def _inside(folder: Path, value: str | None, where: str) -> Path | None:
    if value is None:
        return None
    parts = PurePosixPath(value).parts
    if not parts or value.startswith("/") or ".." in parts or "\\" in value or ":" in parts[0]:
        raise VcworkError(f"{where}: expected a path inside the corpus folder, got {json.dumps(value)}")
    return folder.joinpath(*parts)


def subtitles_of(
    videos: list[Path], subtitles: list[Path], language: str = ""
) -> tuple[dict[Path, list[Path]], list[Path]]:
    """The subtitle files of each video, the one to take first, and those that belong to no video.

    x.vtt, x.mp4.vtt and x.en.vtt are x's: between its name and the suffix stands nothing but what tells of language or
    kind. Of several names that fit the longest counts, so "Part 1.5.en.vtt" is never taken for "Part 1". A letter with
    an accent is the same letter, however the file system spells it. Order: the language asked for, a name without any,
    English, others; within a language automatic ones last, x.en before x.en-GB and x.en-de (which may be translated),
    those of no kind before others (sdh); a corrected copy (x.fixed.vtt) before what it was made of; x.vtt, x.srt, … as
    CAPTION_SUFFIXES. Subtitles of the foreign parts alone (forced), and texts without times, come last.
    """
    named: dict[str, list[Path]] = {}
    for video in videos:
        for name in (video.stem, video.name):
            named.setdefault(_spelt(video, name), []).append(video)
    found: dict[Path, list] = {video: [] for video in videos}  # (preference, path)
    alone = []
    for path in subtitles:
        parts = path.stem.split(".")
        names = ((".".join(parts[:n]), parts[n:]) for n in range(len(parts), 0, -1))
        fits = (
            (named.get(_spelt(path, name), []), rest) for name, rest in names if all(map(_LANGUAGE.fullmatch, rest))
        )
        owners, rest = next(((some, rest) for some, rest in fits if some), ([], []))
        for video in owners:
            found[video].append((_preference(path, rest, language), path))
        alone += [] if owners else [path]
    return {video: [path for _, path in sorted(paths)] for video, paths in found.items()}, alone


def _preference(path: Path, rest: list[str], language: str) -> tuple:
    """Where a subtitle file stands among those of its video; `rest` tells its language and kind."""
    tongue, wanted = _tongue(rest), _tongue([language])
    parts = [part.casefold() for part in rest]
    kinds = {part for part in parts if _KINDS.fullmatch(part)}
    kinds |= {"hi"} & {*[part for part in parts if part not in kinds][1:]}  # behind a language: for the hard of hearing
    order = [wanted, wanted.partition("-")[0], "", "en"] if wanted else ["", "", "en"]
    places = [i for i, one in enumerate(order) if one == (tongue if i == 0 else tongue.partition("-")[0])]
    suffix = CAPTION_SUFFIXES.index(path.suffix.lower())
    last = "forced" in kinds or path.suffix.lower() == ".txt"
    plain = "auto" in kinds, tongue.count("-"), bool(kinds - {"fixed"})
    return last, min(places, default=len(order)), *plain, "fixed" not in kinds, suffix, path.name


def _tongue(parts: Iterable[str]) -> str:
    """The language that parts of a file's name tell, such as de or pt-br; "" where they tell none."""
    told = next((part for part in map(str.casefold, parts) if not _KINDS.fullmatch(part)), "").replace("_", "-")
    code, *more = told.split("-")
    return "-".join([_CODES.get(code, code), *more])


def _in_another(corpus: Corpus, language: str) -> list[str]:
    """Ids of the videos whose subtitles are, by their name, in another language."""
    behind = {v.id: _behind(v.video, v.captions) for v in corpus.videos.values() if v.video and v.captions}
    tongues = {id: _tongue(parts).partition("-")[0] for id, parts in behind.items()}
    return [id for id, tongue in tongues.items() if tongue not in ("", _tongue([language]).partition("-")[0])]


def _behind(video: Path | Address, own: Path | Address) -> list[str]:
    """The parts of the name of a video's own subtitles that are not the video's, which may have dots, too."""
    whole = _spelt(own, f"{own.stem}.")
    name = next(name for name in (video.name, video.stem) if whole.startswith(_spelt(video, f"{name}.")))
    return own.stem.split(".")[name.count(".") + 1 :]


_KINDS = re.compile(r"auto|forced|fixed|sdh|cc|default|captions?|subtitles?|transcript")
_NAMES = {"english": "en", "german": "de", "deutsch": "de", "french": "fr", "français": "fr", "spanish": "es",
          "español": "es", "italian": "it", "italiano": "it", "portuguese": "pt", "português": "pt", "dutch": "nl",
          "russian": "ru", "chinese": "zh", "japanese": "ja", "korean": "ko", "arabic": "ar", "hindi": "hi",
          "turkish": "tr", "polish": "pl"}  # fmt: skip
# of a language: its code of two letters, where it has one, those of three, older ones; no other word may stand there
_TONGUES = """
    aa,aar ab,abk ae,ave af,afr ak,aka am,amh an,arg ar,ara as,asm av,ava ay,aym az,aze ba,bak be,bel bg,bul bh bi,bis
    bm,bam bn,ben bo,bod,tib br,bre bs,bos ca,cat ce,che ch,cha co,cos cr,cre cs,ces,cze cu,chu cv,chv cy,cym,wel
    da,dan de,deu,ger dv,div dz,dzo ee,ewe el,ell,gre en,eng eo,epo es,spa et,est eu,baq,eus fa,fas,per ff,ful fi,fin
    fj,fij fo,fao fr,fra,fre fy,fry ga,gle gd,gla gl,glg gn,grn gu,guj gv,glv ha,hau he,iw,heb hi,hin ho,hmo hr,hrv
    ht,hat hu,hun hy,arm,hye hz,her ia,ina id,in,ind ie,ile ig,ibo ii ik,ipk io,ido is,ice,isl it,ita iu,iku ja,jp,jpn
    jv,jw,jav ka,geo,kat kg,kon ki,kik kj,kua kk,kaz kl,kal km,khm kn,kan ko,kor kr,kau ks,kas ku,kur kv,kom kw,cor
    ky,kir la,lat lb,ltz lg,lug li,lim ln,lin lo,lao lt,lit lu,lub lv,lav mg,mlg mh,mah mi,mao,mri mk,mac,mkd ml,mal
    mn,mon mr,mar ms,may,msa mt,mlt my,bur,mya na,nau nb,nob nd,nde ne,nep ng,ndo nl,dut,nld nn,nno no,nor nr,nbl
    nv,nav ny,nya oc,oci oj,oji om,orm or,ori os,oss pa,pan pi,pli pl,pol ps,pus pt,por qu,que rm,roh rn,run
    ro,mo,ron,rum ru,rus rw,kin sa,san sc,srd sd,snd se,sme sg,sag sh si,sin sk,slk,slo sl,slv sm,smo sn,sna so,som
    sq,alb,sqi sr,srp ss,ssw st,sot su,sun sv,swe sw,swa ta,tam te,tel tg,tgk th,tha ti,tir tk,tuk tl,tgl tn,tsn
    to,ton tr,tur ts,tso tt,tat tw,twi ty,tah ug,uig uk,ukr ur,urd uz,uzb ve,ven vi,vie vo,vol wa,wln wo,wol xh,xho
    yi,yid yo,yor za,zha zh,chi,zho zu,zul bho ceb cmn fil haw hmn kri lus mul nso und yue
"""
_CODES = _NAMES | {code: group.split(",")[0] for group in _TONGUES.split() for code in group.split(",")}
_ANY = "|".join(_TONGUES.replace(",", " ").split())
# en, en-US, en_GB, en-orig, zh-Hans, en-nP7-2PuUl7o (yt-dlp), English; and what players write beside it. II is a number
_LANGUAGE = re.compile(rf"(?i:({_ANY})[-_][\w-]+|{'|'.join([_KINDS.pattern, *_NAMES])})|(?![IVX]+$)(?i:{_ANY})")


def _spelt(path: Path, name: str) -> str:
    """A name in its folder, with composed letters."""
    return unicodedata.normalize("NFC", f"{str(path)[: -len(path.name)]}{name}")


def _add_video(corpus: Corpus, id: str, path: Path | Address, subtitles: list, split: str) -> None:
    """The video with the first of its subtitle files that can be read; what cannot is told."""
    from vcwork.data.video import probe

    if isinstance(path, Address):
        corpus.videos[id] = Video(id, path, next(iter(subtitles), None), 0.0, split)
        return
    try:
        info = probe(path)
    except VcworkError as error:
        corpus.missing_videos[id] = corpus.relative(error)
        return
    captions, why = None, []
    for subtitle in subtitles:
        try:
            if read_captions(subtitle, CaptionReport()):
                captions = subtitle
                break
            captions = captions or subtitle  # an empty one, where there is nothing better
        except VcworkError as error:
            why.append(corpus.relative(error))
    if why:
        corpus.missing_captions[id] = "; ".join(why) + (f"; {captions.name} is used" if captions else "")
    elif not captions and info.texts:
        inside = f"{corpus.relative(path)}: the subtitles inside it ({', '.join(info.texts)}) are not read"
        corpus.missing_captions[id] = f"{inside}; save them beside it, as `ffmpeg -i FILM FILM.srt` does"
    corpus.videos[id] = Video(id, path, captions, info.duration_s, split)


def _read_at(place: Path | Address, report: CaptionReport) -> list[Caption]:
    """A subtitle file's cues; messages name it as the corpus does, wherever it was read."""
    try:
        with at_hand(place) as path:
            try:
                return read_captions(path, report)
            except VcworkError as error:
                raise VcworkError(str(error).replace(str(path), str(place))) from error
    except FileNotFoundError:
        raise VcworkError(f"{place}: no such file") from None


def _beyond_the_end(video: Video, captions: list[Caption]) -> list[str]:
    late = [c for c in captions if video.duration_s and c.start_s >= video.duration_s]
    return [f"{video.captions}: starts at {c.start_s} s, the video ends at {video.duration_s} s" for c in late]
