"""Every kind of folder that its manifest seals: what is gone, cut, changed or somebody else's is named, never used."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checks import edited, refused
from toys import toy_contract, toy_encoder

from vcwork.base.errors import VcworkError
from vcwork.base.sealed import MARK, SEALED, Kind
from vcwork.core.text import SPECIAL, Tokenizer
from vcwork.data.corpus import CORPUS, gather, open_corpus, scan_folder
from vcwork.data.howto100m.captions import CAPTIONS, CaptionRule, CaptionWriter, as_stored, open_caption_store
from vcwork.data.howto100m.convert import CONVERSION, convert_howto100m, open_converted
from vcwork.data.howto100m.sources import HowTo100M
from vcwork.data.store import STORE, open_store, write_store
from vcwork.data.video import write_mp4
from vcwork.encoders.checkpoint import CHECKPOINT, save_encoder
from vcwork.encoders.load import load_encoder

TOKENIZER = Tokenizer([*SPECIAL, *"abcdefghij"])


@dataclass(frozen=True)
class Made:
    """How a kind of folder is made, and read: `verify` reads all of it."""

    kind: Kind
    make: Callable[[Path], Any]
    read: Callable[[Path, bool], Any]


def _store(folder: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(7, 3))
    write_store(folder, toy_contract(3), {"a": rows, "b": rows[:3]}, {"c": "no such file"}, shard_rows=7)


def _captions(folder: Path) -> None:
    writer = CaptionWriter(folder, CaptionRule.of(TOKENIZER))
    for id in "ab":
        writer.write([id], [as_stored(writer.rule, id, [0.0, 1.0], [1.0, 2.5], [[5, 6], [7]])])
    writer.finish(TOKENIZER, {"c": "no captions"})


def _read_captions(folder: Path, verify: bool) -> None:
    store = open_caption_store(folder, verify=verify)
    store.tokenizer(), store.track("b")


def _conversion(folder: Path) -> None:
    source = folder.with_name("source")
    source.mkdir(exist_ok=True)
    for id in "ab":
        (source / f"{id}.csv").write_text("start,end,text\n0,1,a b\n")
        np.save(source / f"{id}.npy", np.ones((3, 2), np.float32))
    (source / "train.lst").write_text("a\nb\n")
    data = HowTo100M({"train": source / "train.lst"}, str(source), str(source))
    convert_howto100m(data, folder, TOKENIZER, toy_contract(2), progress=False)


def _corpus(folder: Path) -> None:
    films = folder.with_name("films")
    write_mp4(films / "a.mp4", [np.full((16, 16, 3), 99, np.uint8)] * 8, 4)
    (films / "a.vtt").write_text("WEBVTT\n\n00:00.000 --> 00:01.000\ncut onions\n")
    gather(scan_folder(films), folder)


def _read_corpus(folder: Path, verify: bool) -> None:
    corpus = open_corpus(folder)
    for id in corpus.videos:
        corpus.captions(id)


FOLDERS = {
    "features": Made(STORE, _store, lambda folder, verify: open_store(folder, verify=verify)),
    "captions": Made(CAPTIONS, _captions, _read_captions),
    "conversion": Made(CONVERSION, _conversion, lambda folder, verify: open_converted(folder, verify=verify)),
    "checkpoint": Made(CHECKPOINT, lambda folder: save_encoder(folder, toy_encoder(TOKENIZER, 6)),
                       lambda folder, verify: load_encoder(folder)),
    "corpus": Made(CORPUS, _corpus, _read_corpus),
}  # fmt: skip


@pytest.fixture(params=FOLDERS)
def kind(request) -> Made:
    return FOLDERS[request.param]


@pytest.fixture
def folder(kind, tmp_path) -> Path:
    kind.make(tmp_path / "made")
    kind.read(tmp_path / "made", True)
    return tmp_path / "made"


def files(folder: Path, kind: Made) -> list[Path]:
    """All but the manifest, and films, which a corpus of one's own does not seal."""
    every = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return [path for path in every if path.name != kind.kind.manifest and path.suffix != ".mp4"]


def test_a_file_that_is_gone_cut_or_changed_is_named(kind, folder):
    for path in files(folder, kind):
        whole = path.read_bytes()
        for damaged in (whole[:-1] + bytes([whole[-1] ^ 1]), whole[:-2]):
            path.write_bytes(damaged)
            refused(re.escape(path.name), kind.read, folder, True)
            if len(damaged) < len(whole):  # seen at a cheap open
                refused(re.escape(path.name), kind.read, folder, False)
        path.write_bytes(whole)
        if kind.kind != CORPUS:  # there a caption file that is absent is a problem of its video, and counted
            path.unlink()
            refused(re.escape(path.name), kind.read, folder, False)
            path.write_bytes(whole)


def changed(value: Any) -> Iterator[Any]:
    """The value with one of its leaves otherwise, for each of them."""
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            for other in changed(value[key]):
                copy = value.copy()
                copy[key] = other
                yield copy
    else:
        yield {str: f"{value}x", bool: not value, int: 7, float: 0.25}.get(type(value), "x")


def test_no_value_of_a_manifest_changes_unnoticed(kind, folder):
    """However cheaply it is opened: ids, lengths, contract, settings, history, each would load."""
    path = folder / kind.kind.manifest
    whole = json.loads(path.read_text())
    kept = whole.pop(SEALED)
    others = [other for other in changed(whole) if other != whole]
    for other in others:
        path.write_text(json.dumps(other | {SEALED: kept}))
        refused(rf"{path.name}: (its own digest .*differs.*verify --seal|expected format)", kind.read, folder, False)
    assert len(others) > 8


@pytest.mark.parametrize("odd", [None, "x", [], [1], {}, {"a": 1}, -1, "absent"], ids=str)
def test_a_manifest_that_is_sealed_and_odd_inside_is_one_sentence_or_opens(kind, folder, odd):
    path, refusals = folder / kind.kind.manifest, 0
    whole = json.loads(path.read_text())
    for key in whole.keys() - {SEALED}:
        edited(folder, kind.kind, lambda told, key=key: told.pop(key) if odd == "absent" else told.update({key: odd}))
        try:
            kind.read(folder, True)
        except VcworkError as error:
            refusals += 1
            assert str(folder) in str(error) or "Config" in str(error)
        path.write_text(json.dumps(whole))
    assert refusals


def test_a_manifest_names_no_file_outside(kind, folder):
    edited(folder, kind.kind, lambda told: told["files"].update({"../x.npy": {"bytes": 1, "sha256": ""}}))
    if kind.kind != CORPUS:  # which opens the files of its videos alone
        refused("expected a plain file name", kind.read, folder, False)


def test_files_of_somebody_else_are_never_written_over(kind, folder, tmp_path):
    """Also where they have the very names of ours: without a manifest they are theirs."""
    ours = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    for number, name in enumerate(["diary.txt", *sorted(ours - {kind.kind.manifest, *kind.kind.begun})]):
        theirs = tmp_path / str(number) / "made" / name
        theirs.parent.mkdir(parents=True)
        theirs.write_text("dear")
        refused("expected a new folder", kind.make, tmp_path / str(number) / "made")
        there = [path for path in (tmp_path / str(number) / "made").rglob("*") if path.is_file()]
        assert there == [theirs] and theirs.read_text() == "dear"


def test_what_is_begun_and_not_finished_is_told(kind, folder):
    (folder / kind.kind.manifest).unlink()
    refused(f"(expected a finished|incomplete) {kind.kind.what}", kind.read, folder, False)
    (folder / MARK).touch()
    refused(f"incomplete {kind.kind.what}", kind.read, folder, False)
