"""The words of one's own videos: of subtitles, or else what is said in them. And which subtitles drift.

What was heard in a film is kept under the film's sha256 and all that decides the words (model, gate): an interruption
costs the video under way, a damaged file is made anew. Beside it lies a table of captions, which the corpus reads in
place of a subtitle file; a text without times stays in it.
Known gap: a video with subtitles is listened to only for the drift meter.
"""

import csv
import io
import math
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import astuple, replace
from itertools import islice
from pathlib import Path
from typing import Any

from vcwork.base.console import say
from vcwork.base.errors import VcworkError
from vcwork.base.files import atomic_write, sha256_file, sha256_json
from vcwork.base.progress import SecondsBar
from vcwork.base.sealed import check_kept, read_sealed, well_formed, write_sealed
from vcwork.data.backbones.weights import ASSETS, have
from vcwork.data.captions import Caption
from vcwork.data.speech import (
    MODEL,
    Gate,
    Transcript,
    Word,
    has_sound,
    load_listener,
    model_folder,
    transcribe,
)
from vcwork.review.drift import Drift, drift_of, write_fixed
from vcwork.workbench.own_folder import listed

NO_FILE = "there is no subtitle file"
NOTED_S = 0.5  # subtitles further off are told and put right
WORST = 5  # subtitle files told by name
SHOWN = 3  # videos of whose several files is told which is taken
FORMAT = "vcwork-words-2"  # another one where the way from sound to words changes


def add_words(own: Any, model: str = MODEL, offline: bool = False, progress: bool = True) -> None:
    """Give every video of an `Own` its words: `words_from` says where they are from, `missing_captions` why none are.

    model: as `model_folder`; it hears what is said where captions have no times, or are none. Empty: nothing is
    listened to. VcworkError: a model that cannot be read.
    """
    corpus = own.corpus
    files = {v.id: v.captions.name for v in corpus.videos.values() if v.captions and corpus.captions(v.id)}
    timed = [id for id in files if any(map(_has_times, corpus.raw_captions(id)))]
    own.words_from = {id: "" for id in corpus.videos} | {id: f"text {name}" for id, name in files.items()}
    own.words_from |= {id: f"subtitles {files[id]}" for id in timed}
    left = {id: names for id, names in corpus.meta.get("subtitles_left", {}).items() if id in files}
    if left:
        some = [f"{files[id]} is taken, {', '.join(names)} left" for id, names in islice(left.items(), SHOWN)]
        some += [f"{len(left) - SHOWN} more as their pages tell"] * (len(left) > SHOWN)
        own.told.append(f"Videos with several files of words: {len(left)}; {'; '.join(some)}; --language takes others.")
    for language, ids in corpus.meta.get("language_lacking", {}).items():
        others = listed({"with subtitles in other languages alone": [id for id in ids if id in files]})
        own.told += [f"--language {language}: {some}." for some in others]
    if not model:
        return
    silent = [id for id in corpus.videos if id not in timed and id in own.sources]
    heard = Listening(own, model, offline).heard(silent, progress)
    videos, missing = dict(corpus.videos), dict(corpus.missing_captions)
    unheard: dict[str, list[str]] = {}
    for id, (transcript, path) in heard.items():
        if transcript.words:
            texts = corpus.raw_captions(id) if id in files else []
            _write_table(path, [*texts, *transcript.captions])
            videos[id] = replace(videos[id], captions=path)
            also = f" and text {files[id]}" if id in files else ""
            own.words_from[id] = f"speech ({Path(model).name}){also}"
            own.told += [f"{id}: {transcript.note}."] if transcript.note else []
        elif id not in files:
            missing[id] = f"{missing.get(id, NO_FILE)}; {transcript.note}"
        else:
            unheard.setdefault(transcript.note, []).append(id)
    own.told += [f"Beside a text without times: {some}." for some in listed(unheard)]
    read = {
        id: words for id, words in corpus._raw.items() if id in videos and videos[id] is corpus.videos[id]
    }  # their file may be gone
    own.corpus = replace(corpus, videos=videos, missing_captions=missing, _raw=read)


def _has_times(caption: Caption) -> bool:
    return math.isfinite(caption.end_s)


def words_line(own: Any) -> str:
    """How many videos have their words from where."""
    kinds = Counter(source.partition(" ")[0] for source in own.words_from.values())
    names = {"subtitles": "subtitles", "speech": "what is said in them", "text": "a text without times", "": "none"}
    return "words of videos: " + ", ".join(f"{kinds[kind]} {name}" for kind, name in names.items() if kinds[kind])


def add_drift(own: Any, model: str = MODEL, offline: bool = False, fix: bool = False, progress: bool = True) -> None:
    """How far each subtitle file lies from what is said, into `own.drift`, and the worst into `told`.

    fix: also write a corrected copy beside each file that is off by more than NOTED_S; what is there is never written
    over. VcworkError as `add_words`.
    """
    ids = [id for id, source in own.words_from.items() if source.startswith("subtitles ") and id in own.sources]
    heard = Listening(own, model or MODEL, offline).heard(ids, progress)
    for id in ids:
        captions, said = [c for c in own.corpus.captions(id) if _has_times(c)], heard[id][0]
        unheard = Drift(wrong=f"cannot be compared: {said.note or 'no words were heard'}")
        own.drift[id] = drift_of(captions, said.words) if said.words else unheard
    off = [id for id in ids if own.drift[id].wrong or own.drift[id].off_s > NOTED_S]
    off.sort(key=lambda id: (not own.drift[id].wrong, -own.drift[id].off_s))
    own.told += [f"{own.corpus[id].captions.name} {own.drift[id]}." for id in off[:WORST]]
    own.told += [f"{len(off) - WORST} more subtitle files are off."] if len(off) > WORST else []
    own.told.append(f"{len(ids) - len(off)} of {len(ids)} subtitle files lie within {NOTED_S} s of what is said.")
    for id in (id for id in off if fix and not own.drift[id].wrong):
        source = own.corpus[id].captions
        try:
            fixed = write_fixed(source, own.corpus.raw_captions(id), own.drift[id])
            own.told.append(f"{fixed.name} written: {source.name} with its times put right.")
        except (VcworkError, OSError) as error:
            own.told.append(f"{source.name} is left as it is: {own.corpus.relative(error)}.")


# -------------------------------------------------------------------------------------------------------- listening


class Listening:
    """What is said in the videos of a folder, by one model; see `heard`."""

    def __init__(self, own: Any, model: str = MODEL, offline: bool = False) -> None:
        self.own, self.model, self.offline = own, model, offline
        weights = str(ASSETS[model].files) if model in ASSETS else sha256_file(model_folder(model) / "model.bin")
        self.settings = sha256_json([FORMAT, weights, astuple(Gate())])[:8]

    def heard(self, ids: Iterable[str], progress: bool = True) -> dict[str, tuple[Transcript, Path]]:
        """By id, what is said and where a table of it may lie; from the cache where it is known.

        Where the model is not there and cannot be fetched, `own.told` says so, and each transcript's note.
        """
        own = self.own
        paths = {id: own.out / "cache" / "words" / f"{own.sources[id][:24]}-{self.settings}" for id in ids}
        found = {id: _kept(path.with_suffix(".json")) for id, path in paths.items()}
        todo = [id for id, one in found.items() if one is None]
        sounding = {id for id in todo if has_sound(own.corpus[id].video)}
        ready = bool(sounding) and (self.model not in ASSETS or bool(have([self.model], self.offline, own.told)))
        if ready:
            load_listener(self.model)  # what is wrong with it is not the videos' fault
        seconds = {id: own.corpus[id].duration_s for id in sounding}
        with SecondsBar("listening", seconds, sounding, progress and ready) as bar:
            for id in todo:
                path = paths[id].with_suffix(".json")
                if (again := _kept(path)) is not None:  # another copy of this film was heard just now
                    found[id] = again
                elif id not in sounding:
                    there = os.path.isfile(own.corpus[id].video)  # one that is gone for now may have sound
                    found[id] = _keep(path, Transcript(note="no sound")) if there else Transcript(note="it is gone")
                elif ready:
                    found[id] = self._listen(id, path, bar.more)
                else:
                    found[id] = Transcript(note=f"not listened to, without {self.model}")
                if id in sounding:
                    bar.ended(id)
        return {id: (one, paths[id].with_suffix(".csv")) for id, one in found.items()}

    def _listen(self, id: str, path: Path, more: Callable[[float], None]) -> Transcript:
        try:
            one = transcribe(self.own.corpus[id].video, self.model, heard=more)
        except VcworkError as error:
            return Transcript(note=self.own.corpus.relative(error))
        return _keep(path, one)


def _keep(path: Path, one: Transcript) -> Transcript:
    write_sealed(path, {"words": [astuple(word) for word in one.words], "language": one.language, "note": one.note})
    return one


def _kept(path: Path) -> Transcript | None:
    """What was heard before; None where there is nothing, or not what was written."""
    if not path.is_file():
        return None
    try:
        content = read_sealed(path, "it is made again")
        with well_formed(path):
            return Transcript([Word(*word) for word in content["words"]], content["language"], content["note"])
    except VcworkError as error:
        say(error, file=sys.stderr)
        return None


def check_cache(out: Path, about: Mapping[str, Any]) -> None:
    """VcworkError where a record of what was made of a folder, or a file that it tells of, is not as it was kept."""
    for place in ("cache", "cache/looks", "cache/pages", "cache/shots", "cache/words", "films"):
        for path in sorted((out / place).glob("*.json")):
            check_kept(path)


def _write_table(path: Path, captions: Iterable[Caption]) -> None:
    """A csv of captions, as `read_captions` reads it; an equal one is left as it is."""
    table = io.StringIO(newline="")
    csv.writer(table).writerows([("start", "end", "text"), *(astuple(caption) for caption in captions)])
    if not path.is_file() or path.read_bytes() != table.getvalue().encode():
        with atomic_write(path, "wb") as file:
            file.write(table.getvalue().encode())
