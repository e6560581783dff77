"""HowTo100M-shaped data: every form of source converts to the same stores, a kill changes nothing, nothing is lost."""

import argparse
import json
import math
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from checks import Runs, flip, refused, tree
from safetensors.torch import save

from vcwork.base.errors import VcworkError
from vcwork.base.sealed import read_manifest, write_manifest, write_sealed
from vcwork.core.batches import PairData
from vcwork.core.config import ClusterConfig, ModelConfig, OverlapConfig, TrainConfig
from vcwork.core.loop import pretrain
from vcwork.core.model import VideoCLIP
from vcwork.core.sampling import first_seconds
from vcwork.core.text import SPECIAL, Tokenizer
from vcwork.data.captions import deduplicate, read_captions
from vcwork.data.howto100m.captions import CaptionWriter, open_caption_store
from vcwork.data.howto100m.convert import CONVERSION, add_arguments, convert_howto100m, main, open_converted
from vcwork.data.howto100m.packed import PackedSplit, RaggedFile, read_meta
from vcwork.data.howto100m.sources import HowTo100M, read_id_list, stream_object
from vcwork.data.store import Contract, ShardWriter, open_store, write_store
from vcwork.training.pairs import caption_track
from vcwork.training.recipe import Recipe
from vcwork.training.run import train_converted
from vcwork.training.validation import validation_nce

WORDS = ["salt", "stir", "cut", "the", "carrot", "onion", "pan", "heat", "then", "now", "fry", "add"]
LETTERS = "abcdefghijklmnopqrstuvwxyz"
TOKENIZER = Tokenizer([*SPECIAL, *LETTERS, *(f"##{letter}" for letter in LETTERS), *WORDS])
WIDTH = 8
CONTRACT = Contract("toy", "none", 1.0, 8, "none", WIDTH)
SMALL = {"tokenizer": TOKENIZER, "contract": CONTRACT, "progress": False, "videos_per_part": 3, "shard_rows": 40}


def entry(rng: np.random.Generator) -> dict:
    """One video's rolling captions: each repeats the second half of the one before."""
    words = [WORDS[i] for i in rng.integers(0, len(WORDS), 40)]
    n = int(rng.integers(2, 8))
    return {
        "start": [round(2.31 * i, 2) for i in range(n)],
        "end": [round(2.31 * i + 2.3, 2) for i in range(n)],
        "text": [" ".join(words[3 * i : 3 * i + 6]) for i in range(n)],
    }


class World:
    """14 videos in two lists, their captions and features in every form, and what is wrong with a few."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        rng = np.random.default_rng(0)
        self.train, self.val = [f"t{i:02d}" for i in range(10)], [f"v{i}" for i in range(4)]
        ids = [*self.train, *self.val]
        self.entries = {id: entry(rng) for id in ids}
        self.features = {id: rng.normal(size=(int(rng.integers(5, 20)), WIDTH)).astype(np.float32) for id in ids}
        for split in ("train", "val"):
            (folder / f"{split}.lst").write_text("\n".join(getattr(self, split)) + "\n")
        self.json = folder / "raw_caption.json"
        self.json.write_text(json.dumps({id: self.entries[id] for id in reversed(ids)}))
        (folder / "csv").mkdir()
        (folder / "npy").mkdir()
        for id in ids:
            rows = zip(*(self.entries[id][key] for key in ("start", "end", "text")), strict=True)
            lines = ["start,end,text", *(",".join(map(str, row)) for row in rows)]
            (folder / "csv" / f"{id}.csv").write_text("\n".join(lines) + "\n")
            np.save(folder / "npy" / f"{id}.npy", self.features[id])

    def source(self, captions="raw_caption.json", features="npy") -> HowTo100M:
        ids = {split: self.folder / f"{split}.lst" for split in ("train", "val")}
        paths = (str(self.folder / name) if name else "" for name in (captions, features))
        return HowTo100M(ids, *paths)

    def track(self, id: str):
        captions = deduplicate(read_captions(self.folder / "csv" / f"{id}.csv"))
        return caption_track(id, captions, TOKENIZER, len(self.features[id]))


@pytest.fixture
def world(tmp_path):
    (tmp_path / "source").mkdir()
    return World(tmp_path / "source")


def said(track) -> list[list[int]]:
    """The tokens of each caption."""
    return [row.tolist() for row in track.tokens]


def pack(folder: Path, split: str, shards: list[list[str]], world: World) -> None:
    """Write features, captions and meta in the packed layout."""
    folder.mkdir(exist_ok=True)
    (folder / f"{split}_meta.pkl").write_bytes(pickle.dumps(dict(enumerate(shards))))
    for n, ids in enumerate(shards):
        tracks = [world.track(id) for id in ids]
        clips = [len(track.tokens) for track in tracks]
        rows = np.full((sum(clips), 32), -1, np.int32)
        for row, tokens in zip(rows, (tokens for track in tracks for tokens in track.tokens), strict=True):
            row[: len(tokens)] = tokens
        times = [np.stack([track.start_s, track.end_s], 1) for track in tracks]
        arrays = {
            "_data": np.concatenate([world.features[id] for id in ids]).astype(np.float16),
            "_starts": np.cumsum([0, *(len(world.features[id]) for id in ids)]),
            ".startends_data": np.concatenate(times).astype(np.float32),
            ".startends_starts": np.cumsum([0, *clips]),
            ".caps_ids_data": rows,
            ".caps_ids_starts": np.cumsum([0, *clips]),
        }
        for name, array in arrays.items():
            prefix = "text." if name.startswith(".") else ""
            np.save(folder / f"{prefix}{split}_{n}{name}.npy", array)


def test_json_and_npy_become_what_was_in_them(world, tmp_path):
    done = convert_howto100m(world.source(), tmp_path / "out", **SMALL)
    assert done.coverage.complete and done.coverage.denominators["train videos with both"] == (10, 10)
    assert done.ids == {"train": world.train, "val": world.val}
    assert done.captions.ids == [*world.val[::-1], *world.train[::-1]], "captions in the order of the source"
    assert len(done.captions.parts) == 5 and len(done.features.manifest["shards"]) > 3
    for id in (*world.train, *world.val):
        wanted, got = world.track(id), done.captions.track(id, len(world.features[id]))
        assert said(got) == said(wanted) and got.seconds == wanted.seconds
        assert np.array_equal(got.start_s, wanted.start_s.astype(np.float32))
        assert np.array_equal(got.end_s, wanted.end_s.astype(np.float32))
        assert np.array_equal(done.features[id], world.features[id].astype(np.float16))
    open_caption_store(tmp_path / "out" / "captions"), open_store(tmp_path / "out" / "features")  # verified
    write_store(tmp_path / "plain", CONTRACT, world.features, shard_rows=40)
    assert tree(tmp_path / "out" / "features") == tree(tmp_path / "plain")


def test_every_form_of_source_gives_the_same_stores(world, tmp_path):
    pack(world.folder / "packed", "train", [world.train[:4], world.train[4:]], world)
    pack(world.folder / "packed", "val", [world.val], world)
    plain = convert_howto100m(world.source("csv"), tmp_path / "csv", **SMALL)
    prefix = "packed/text."
    packed = convert_howto100m(world.source(prefix, "packed"), tmp_path / "packed", **SMALL)
    assert packed.report["sources"] == {"captions": "packed", "features": "packed"}
    assert packed.features.digest() == plain.features.digest() and packed.features.ids == plain.features.ids
    assert packed.captions.rule.dedup == "as published" and packed.captions.ids == plain.captions.ids
    for id in packed.captions.ids:
        assert said(packed.captions.track(id)) == said(plain.captions.track(id))
        assert np.array_equal(packed.captions.track(id).end_s, plain.captions.track(id).end_s)
    alone = HowTo100M({}, str(world.folder / prefix), str(world.folder / "packed"))
    assert convert_howto100m(alone, tmp_path / "alone", **SMALL).ids == packed.ids, "packed data brings its ids"
    apart = HowTo100M({}, alone.captions, "", meta=alone.features)
    assert convert_howto100m(apart, tmp_path / "apart", **SMALL).captions.digest() == packed.captions.digest()
    test_reads_val = HowTo100M({"test": world.folder / "val.lst"}, alone.captions, alone.features)
    assert convert_howto100m(test_reads_val, tmp_path / "test", **SMALL).captions.ids == world.val


class Killed(Exception):
    """Stands for the kill: nothing in the converter catches it."""


@pytest.mark.parametrize("form", ["json", "csv", "packed"])
def test_killed_anywhere_ends_with_the_same_bytes(world, tmp_path, monkeypatch, form):
    if form == "packed":
        pack(world.folder / "packed", "train", [world.train[:4], world.train[4:]], world)
        pack(world.folder / "packed", "val", [world.val], world)
    source = world.source(*{"json": (), "csv": ("csv",), "packed": ("packed/text.", "packed")}[form])
    convert_howto100m(source, tmp_path / "whole", **SMALL)
    wanted, left = tree(tmp_path / "whole"), 0

    def counted(real):
        def write(writer, *what):
            nonlocal left
            if left == 0:
                writer.folder.mkdir(parents=True, exist_ok=True)
                (writer.folder / ".half.npy.1.part").write_text("half")
                raise Killed
            left -= 1
            return real(writer, *what)

        return write

    for writer in (CaptionWriter, ShardWriter):
        monkeypatch.setattr(writer, "write", counted(writer.write))
    kills = 0
    for steps in (0, 1, 3, 2, 1, 99):
        left = steps
        try:
            convert_howto100m(source, tmp_path / "out", **SMALL)
        except Killed:
            kills += 1
            refused("incomplete HowTo100M conversion: run the conversion again", open_converted, tmp_path / "out")
    assert kills == 5 and 99 - left < 10, "the last run must not have started anew"
    assert tree(tmp_path / "out") == wanted
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*")}
    convert_howto100m(source, tmp_path / "out", **SMALL)
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*")} == before, "a finished one is only opened"


@pytest.mark.parametrize(
    "name", [".parts/00000.json", "part-00000/start_s.npy", "part-00000/ids.json", "part-00001/tokens.npy"]
)
def test_a_part_or_a_record_with_one_bit_flipped_is_made_again(world, tmp_path, monkeypatch, name):
    convert_howto100m(world.source(), tmp_path / "whole", **SMALL)
    monkeypatch.setattr(ShardWriter, "write", lambda *_: (_ for _ in ()).throw(Killed))
    with pytest.raises(Killed):
        convert_howto100m(world.source(), tmp_path / "out", **SMALL)
    monkeypatch.undo()
    flip(tmp_path / "out" / "captions" / name)
    convert_howto100m(world.source(), tmp_path / "out", **SMALL)
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")


def test_every_missing_video_has_its_reason(world, tmp_path):
    entries = dict(reversed(world.entries.items()))
    del entries["t01"]
    entries["t02"] = {"start": [0], "end": [1], "text": [math.nan]}
    entries["t03"] = {"start": [0, 1], "end": [1], "text": ["a", "b"]}
    entries["t04"] = entries["t04"] | {"end": [-1.0, *entries["t04"]["end"][1:]]}
    entries["stranger"] = entries["t05"]
    text = json.dumps(entries)
    world.json.write_text(text[:-1] + ', "t05": ' + json.dumps(entries["t06"]) + "}")
    npy = world.folder / "npy"
    (npy / "t01.npy").unlink()
    np.save(npy / "t06.npy", np.full((3, WIDTH), np.nan, np.float32))
    np.save(npy / "v0.npy", np.zeros((3, WIDTH + 1), np.float32))
    (npy / "t07.npy").write_bytes(pickle.dumps([1]))
    (world.folder / "train.lst").write_text("\n".join([*world.train, "t00", "", "v1"]))
    done = convert_howto100m(world.source(), tmp_path / "out", **SMALL)
    missing = {name: count.missing for name, count in done.coverage.counts.items()}
    assert missing["train captions"].keys() == {"t01", "t02", "t03"} and missing["val captions"] == {}
    assert missing["train captions"]["t01"] == "not in the captions"
    assert missing["train captions"]["t02"] == "captions without a word"
    assert "three lists of one length" in missing["train captions"]["t03"]
    assert missing["train features"].keys() == {"t01", "t06", "t07"} and missing["val features"].keys() == {"v0"}
    assert missing["train features"]["t01"] == "t01.npy is missing"
    assert "nan at second 0" in missing["train features"]["t06"]
    assert "plain .npy array" in missing["train features"]["t07"] and str(tmp_path) not in str(missing)
    assert f"expected numbers (T, {WIDTH})" in missing["val features"]["v0"]
    counts = done.coverage.counts
    assert (counts["train captions"].expected, counts["train captions"].present) == (11, 8)
    assert done.coverage.denominators["train videos with both"] == (11, 6)
    assert done.coverage.denominators["val videos with both"] == (4, 3)
    notes = "\n".join(done.coverage.notes)
    assert "train: 1 ids stand in the list more than once" in notes
    assert "LEAK: 1 ids are in train and in val, among them v1" in notes
    assert "captions: 1 videos that no list names" in notes and "captions: 1 ids that came again" in notes
    assert "caption cues dropped: 1; first: raw_caption.json: t04 cue 0: ends at -1.0 s" in notes
    assert said(done.captions.track("t05")) == said(world.track("t05")), "the first of two entries counts"
    assert open_converted(tmp_path / "out").coverage.as_dict() == done.coverage.as_dict()


def _zip(path: Path) -> None:
    np.savez(path.with_suffix(".npz"), np.zeros((3, WIDTH)))
    path.with_suffix(".npz").rename(path)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-3])


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _loop(path: Path) -> None:
    path.unlink()
    path.symlink_to(path)


@pytest.mark.parametrize(
    "damage",
    [
        _zip, _cut, _folder, _loop,
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"PK\x03\x04 no archive"),
        lambda path: path.write_bytes(b"<!DOCTYPE html><title>404</title>"),
        lambda path: np.save(path, np.array([{}], object), allow_pickle=True),
        lambda path: np.save(path, np.array(["a" * WIDTH] * 3)),
        lambda path: np.save(path, np.zeros((0, WIDTH), np.float32)),
        lambda path: np.save(path, np.zeros((3, WIDTH), np.complex64)),
        lambda path: np.save(path, np.full((3, WIDTH), 1e30)),
    ],
)  # fmt: skip
def test_a_damaged_feature_file_costs_that_video_alone(world, tmp_path, damage):
    damage(world.folder / "npy" / "t01.npy")
    for _ in range(2):  # made, and opened
        done = convert_howto100m(world.source(captions=""), tmp_path / "out", **SMALL)
    lost = {id: why for count in done.coverage.counts.values() for id, why in count.missing.items()}
    assert lost.keys() == {"t01"} and lost["t01"] and len(done.features) == 13


@pytest.mark.parametrize("entry", [
    '{"start": [1' + "0" * 400 + '], "end": [2], "text": ["a"]}',
    '{"start": [0], "end": [' + "9" * 5000 + '], "text": ["a"]}',
    '{"start": [-1' + "0" * 400 + '], "end": [2], "text": ["a"]}', '{"start": [1e999], "end": [2], "text": ["a"]}',
    '{"start": [[]], "end": [{}], "text": [null]}', '{"start": "abc", "end": "abc", "text": "abc"}', "[1, 2]", "null",
    '"words"', '{"start": [true], "end": [false], "text": [[]]}', '{"start": ["1"], "end": ["NaN"], "text": ["a"]}',
    "[" * 500 + "]" * 500, "1" * 5000,
])  # fmt: skip
def test_a_damaged_caption_entry_costs_that_video_alone(world, tmp_path, entry):
    text = json.dumps(world.entries)
    world.json.write_text(text.replace(f'"t01": {json.dumps(world.entries["t01"])}', f'"t01": {entry}'))
    for _ in range(2):
        done = convert_howto100m(world.source(features=""), tmp_path / "out", **SMALL)
    assert done.captions.failed.keys() == {"t01"} and len(done.captions) == 13


def test_a_name_that_is_too_long_for_a_file_costs_that_video_alone(world, tmp_path):
    (world.folder / "train.lst").write_text("\n".join([*world.train, "x" * 300]))
    done = convert_howto100m(world.source("csv"), tmp_path / "out", **SMALL)
    assert done.features.failed.keys() == done.captions.failed.keys() == {"x" * 300}


def test_source_without_any_use_is_an_error(world, tmp_path):
    for id in world.entries:
        (world.folder / "npy" / f"{id}.npy").unlink()
    with pytest.raises(VcworkError, match=r"none of 14 videos has features; t00: t00\.npy is missing"):
        convert_howto100m(world.source(captions=""), tmp_path / "out", **SMALL)
    np.save(world.folder / "npy" / "v0.npy", np.zeros((3, WIDTH + 1), np.float32))
    with pytest.raises(VcworkError, match=r"none of 14 videos has features; v0: .* expected numbers \(T, 8\)"):
        convert_howto100m(world.source(captions=""), tmp_path / "out", **SMALL)
    for id, features in world.features.items():
        np.save(world.folder / "npy" / f"{id}.npy", features)
    done = convert_howto100m(world.source(captions=""), tmp_path / "out", **SMALL)
    assert done.coverage.complete, "what failed goes on with what is there now"
    world.json.write_text("{}")
    with pytest.raises(VcworkError, match="none of 14 videos has captions; t00: not in the captions"):
        convert_howto100m(world.source(features=""), tmp_path / "out2", **SMALL)
    for source, message in (
        (HowTo100M({"train": world.folder / "train.lst"}), "expected captions, features, or both"),
        (HowTo100M({}, str(world.json)), "only packed data brings its own"),
        (HowTo100M({"dev": "x"}, str(world.json)), "expected the splits train, val, test, got 'dev'"),
        (HowTo100M({"train": "x"}, "nothing.json"), "expected raw_caption.json, a folder"),
        (HowTo100M({"train": "x"}, "", "nothing"), "expected a folder of <id>.npy"),
    ):
        refused(message, convert_howto100m, source, tmp_path / "out3", **SMALL)


def test_another_conversion_in_the_folder_is_refused(world, tmp_path):
    out = tmp_path / "out"
    convert_howto100m(world.source(), out, **SMALL)
    refused("holds another conversion", convert_howto100m, world.source("csv"), out, **SMALL)
    strange = tmp_path / "strange"
    strange.mkdir()
    (strange / "conversion.json").write_text('{"from": "inches"}')
    refused("conversion.json", convert_howto100m, world.source(), strange, **SMALL)
    assert [path.name for path in strange.iterdir()] == ["conversion.json"]
    (tmp_path / "half").mkdir()
    write_sealed(tmp_path / "half" / ".conversion.json", {"ids": 1})
    with pytest.raises(VcworkError, match=r"holds another conversion \(contract, ids, "):
        convert_howto100m(world.source(), tmp_path / "half", **SMALL)
    other = convert_howto100m(world.source(), tmp_path / "other", **(SMALL | {"dedup": "none"}))
    shutil.rmtree(out / "captions")
    shutil.copytree(other.folder / "captions", out / "captions")
    refused("captions: expected the captions that this conversion made", open_converted, out)


def test_rules_reach_the_store(world, tmp_path):
    plain = convert_howto100m(world.source(features=""), tmp_path / "words", **SMALL)
    raw = convert_howto100m(world.source(features=""), tmp_path / "none", **SMALL, dedup="none")
    character = [
        convert_howto100m(world.source(features=""), tmp_path / f"c{n}", **SMALL, dedup="characters", seed=seed)
        for n, seed in enumerate((0, 0, 1))
    ]
    tokens = [c.report["captions"]["counts"]["tokens"] for c in (plain, raw)]
    assert tokens[0] < 0.7 * tokens[1], "half of every caption but the first is a repeat"
    digests = [c.captions.digest() for c in character]
    assert digests[0] == digests[1] != digests[2]
    long = {id: {"start": [0], "end": [9], "text": ["salt " * 60]} for id in world.entries}
    world.json.write_text(json.dumps(long))
    cut = convert_howto100m(world.source(features=""), tmp_path / "cut", **SMALL, cut="reference")
    assert len(cut.captions.track("t00").tokens[0]) == 20
    refused("dedup: expected", convert_howto100m, world.source(), tmp_path / "x", **SMALL, dedup="letters")


def test_contract_that_the_features_contradict_is_told(world, tmp_path):
    unit = {id: x / np.linalg.norm(x, axis=1, keepdims=True) for id, x in world.features.items()}
    claims = CONTRACT.__class__(**(vars(CONTRACT) | {"normalisation": "unit length"}))
    raw = convert_howto100m(world.source(captions=""), tmp_path / "a", **(SMALL | {"contract": claims}))
    assert any("CONTRACT" in note and "says 'unit length'" in note for note in raw.coverage.notes)
    for id, x in unit.items():
        np.save(world.folder / "npy" / f"{id}.npy", x)
    good = convert_howto100m(world.source(captions=""), tmp_path / "b", **(SMALL | {"contract": claims}))
    assert good.coverage.notes == [] and "rows of unit length" in good.report["features"]["counts"]
    other = convert_howto100m(world.source(captions=""), tmp_path / "c", **SMALL)
    assert any("says 'none'" in note for note in other.coverage.notes)


@pytest.mark.parametrize("rule", ["overlapped", "each"])
def test_training_from_the_stores_is_training_from_memory(world, tmp_path, rule):
    done = convert_howto100m(world.source(), tmp_path / "out", **SMALL)
    config = TrainConfig(
        epochs=2, passes_per_epoch=2, lr=1e-3, warmup=1, pairs=OverlapConfig(rule=rule, max_text_tokens=12),
        clusters=ClusterConfig(videos_per_batch=4, clips_per_video=3, clips_for_vector=2),
    )  # fmt: skip
    stored, lost = done.pairs("train"), []
    features = {id: world.features[id].astype(np.float16) for id in world.train}
    tracks = [first_seconds(world.track(id), len(seconds)) for id, seconds in features.items()]
    memory = PairData(tracks, [*features.values()])

    def train(data):
        torch.manual_seed(0)
        sizes = {"hidden": 16, "heads": 2, "ffn": 32, "video_layers": 1, "text_layers": 1}
        model = VideoCLIP(ModelConfig(feature_dim=WIDTH, vocab_size=len(TOKENIZER), **sizes))
        lost.append([record.loss for record in pretrain(model, TOKENIZER, data, config)])
        return save(model.state_dict())

    assert train(stored) == train(memory) and lost[0] == lost[1] and len(lost[0]) == 10


def test_training_into_a_folder_from_converted_data(world, tmp_path):
    """Chosen by the NCE of val, resumed to the same weights, opened when done, refused for what it cannot hold."""
    done = convert_howto100m(world.source(), tmp_path / "out", **SMALL)
    sizes = {"hidden": 16, "heads": 2, "ffn": 32, "video_layers": 1, "text_layers": 1}
    pairs = OverlapConfig(min_text_tokens=2, max_text_tokens=8, min_video_s=2, max_video_s=6)
    clusters = ClusterConfig(videos_per_batch=4, clips_per_video=2, clips_for_vector=2)
    config = TrainConfig(epochs=3, lr=1e-2, warmup=0, pairs=pairs, clusters=clusters, keep="best", save_every=1)
    recipe = Recipe(model=sizes, train=config)
    seen: list = []
    first = train_converted(done, tmp_path / "one", recipe, watch=seen.append)
    log = [json.loads(line) for line in (tmp_path / "one" / "log.jsonl").read_text().splitlines()]
    scores = [row["val_nce"] for row in log if "val_nce" in row]
    assert len(scores) == 3 and len(set(scores)) == 3
    best = validation_nce(first, done.pairs("val"), config)["val_nce"]
    assert best == pytest.approx(min(scores), abs=1e-6), "the checkpoint is the epoch with the lowest"

    class Stop(Exception):
        pass

    def stop(record) -> None:
        if record.step == len(seen) // 2:
            raise Stop

    with pytest.raises(Stop):
        train_converted(done, tmp_path / "two", recipe, watch=stop)
    assert train_converted(done, tmp_path / "two", recipe).digest == first.digest, "resumed"
    assert train_converted(done, tmp_path / "two", recipe).digest == first.digest, "opened"
    with pytest.raises(VcworkError, match="input_transform: is fitted in memory"):
        train_converted(done, tmp_path / "three", Recipe(model=sizes | {"input_transform": "sqrt"}, train=config))
    only_captions = convert_howto100m(world.source(features=""), tmp_path / "text", **SMALL)
    refused("expected captions and features", train_converted, only_captions, tmp_path / "four", recipe)


@pytest.mark.parametrize("kind", ["features/*.npy", "captions/part-*/*.npy"])
def test_nothing_is_trained_on_before_all_of_it_is_read(world, tmp_path, kind):
    """A flipped bit trained on other numbers, under the name of the undamaged ones."""
    done = convert_howto100m(world.source(), tmp_path / "out", **SMALL)
    path = sorted((tmp_path / "out").glob(kind))[0]
    flip(path, 1)
    refused(path.name, train_converted, open_converted(done.folder), tmp_path / "run", Recipe())
    assert not (tmp_path / "run" / "log.jsonl").exists()


def test_pairs_are_read_when_asked_and_leave_out_what_is_missing(world, tmp_path):
    (world.folder / "npy" / "t03.npy").unlink()
    done = convert_howto100m(world.source(), tmp_path / "out", **SMALL)
    data = done.pairs()
    assert done.captions._map.cache_info().misses == 0, "nothing was read yet"
    ids = [id for id in world.train if id != "t03"]
    assert [track.video_id for track in data.tracks] == ids and len(data.features) == 9
    assert data.tracks[np.int64(2)].seconds == len(data.features[2]) == len(world.features["t02"])
    with pytest.raises(IndexError):
        data.tracks[9]
    refused(r"split 'test'; has \['train', 'val'\]", done.pairs, "test")
    for id in world.val:
        (world.folder / "npy" / f"{id}.npy").unlink()
    less = convert_howto100m(world.source(), tmp_path / "less", **SMALL)
    refused("no video of split 'val' has both", less.pairs, "val")


# --- id lists, json, packed files ---------------------------------------------------------------------------------


def test_id_lists(tmp_path):
    path = tmp_path / "a.lst"
    path.write_bytes(b"\xef\xbb\xbfone\r\n\n two\none\n")
    assert read_id_list(path) == ["one", "two", "one"]
    for content, message in (
        (b"../x", "line 1: expected one video id"),
        (b"a\nb c", "line 2: expected one video id"),
        (b"a\xe2\x80\xa8b", "line 1: expected one video id"),
        (b"a\n..", "line 2"),
        (b"\n\n", "got none"),
        (b"\xff\xfe", "not readable"),
        (None, "no such file"),
    ):
        path.unlink() if content is None else path.write_bytes(content)
        refused(message, read_id_list, path)


@pytest.mark.parametrize("block", [1, 3, 1 << 20])
@pytest.mark.parametrize("indent", [None, 2])
def test_stream_reads_what_json_reads(tmp_path, block, indent):
    whole = {"a": {"text": ["é😀", 'q"}\\', math.nan], "n": None}, "ü": [], "c": 12, "": {"deep": [[{}]]}}
    path = tmp_path / "a.json"
    path.write_text(json.dumps(whole, ensure_ascii=False, indent=indent), encoding="utf-8")
    assert repr(list(stream_object(path, block))) == repr(list(whole.items()))
    path.write_text(" { } ")
    assert list(stream_object(path, block)) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "entry 0: .*ends too soon; cut short"),
        (b"[1]", r"entry 0: .*expected {, got '\['"),
        (b'{"a": 1', "entry 0: .*ends too soon; cut short"),
        (b'{"a": 1, "b": {"b": [1, 2', "entry 1: not readable as JSON .*cut short"),
        (b'{"a": 1} x', "expected the end of the file after 1 entries, got 'x'"),
        (b'{"a": 1 "b": 2}', "entry 0: .*expected , or } after 'a', got '\"'"),
        (b"{1: 2}", 'entry 0: .*expected a "key", got 1'),
        (b'{"\xc3\xa9": 1, "b": "\xff"}', "expected UTF-8"),
        (b'{"a": ' + b"[" * 100_000, "nested too deep"),
        (None, "could not be read"),
    ],
)
def test_stream_tells_file_and_entry(tmp_path, content, message):
    path = tmp_path / "a.json"
    if content is not None:
        path.write_bytes(content)
    refused(f"a.json.*{message}", list, stream_object(path))


def test_stream_does_not_read_on_for_ever(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{"a": 1, "b": {no json}' + " " * 500_000)
    rows = stream_object(path, block=100, limit=1000)
    assert next(rows) == ("a", 1)
    with pytest.raises(VcworkError, match=r"entry 1: not readable as JSON .Expecting property name") as error:
        next(rows)
    assert "cut short" not in str(error.value), "the end was never reached"


def _rewrite(path: Path, change) -> None:
    path.unlink() if change is None else np.save(path, change(np.load(path)))


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("train_1_data.npy", None, "train_1_data.npy: not readable .*No such file"),
        ("train_1_starts.npy", None, "train_1_starts.npy: not readable .*No such file"),
        ("train_0_starts.npy", lambda x: x + 1, "train_0_starts.npy: expected starts that rise from 0 to the"),
        ("train_0_starts.npy", lambda x: x[[0, 2, 1, 3, 4]], "falling at 1 places"),
        ("train_0_starts.npy", lambda x: x[[0, 1, 2, 4]], r"whole numbers .5,., one a video of .* got int64 .4,."),
        ("train_0_starts.npy", lambda x: x.astype(float), "expected whole numbers"),
        ("train_0_data.npy", lambda x: x.astype(int), "train_0_data.npy: expected numbers of kind 'f'"),
        ("train_0_data.npy", lambda x: x[:, 0], "train_0_data.npy: expected numbers of kind 'f'"),
        ("text.train_0.startends_data.npy", lambda x: x[:, :1], "expected numbers of kind 'f' .rows, 2."),
        ("text.train_0.caps_ids_data.npy", lambda x: x[:-1], "caps_ids_starts.npy: expected starts that rise from 0"),
        ("text.train_0.caps_ids_starts.npy", lambda x: x[[0, 0, 2, 3, 4]], "the starts of startends_starts.npy"),
    ],
)
def test_packed_file_at_fault_is_named(world, name, change, message):
    folder = world.folder / "packed"
    pack(folder, "train", [world.train[:4], world.train[4:]], world)
    _rewrite(folder / name, change)
    refused(message, PackedSplit, folder, "train", str(folder / "text."))


def test_packed_file_cut_short_or_pickled(tmp_path):
    stem = str(tmp_path / "a")
    np.save(f"{stem}_starts.npy", np.array([0, 4]))
    np.save(f"{stem}_data.npy", np.zeros((4, 3), np.float16))
    assert RaggedFile(stem, "f", 1, 3)[0].shape == (4, 3)
    path = tmp_path / "a_data.npy"
    path.write_bytes(path.read_bytes()[:-2])
    refused(r"a_data\.npy: not readable as a whole, plain", RaggedFile, stem, "f", 1, 3)
    np.save(path, np.array([[{}]]), allow_pickle=True)
    refused(r"a_data\.npy: not readable as a whole, plain", RaggedFile, stem, "f", 1)


def test_meta_runs_nothing(tmp_path):
    path = tmp_path / "train_meta.pkl"
    for value, message in (
        ({0: Runs(tmp_path / "ran")}, r"train_meta\.pkl: .*open, which is never loaded"),
        ({0: [np.int64(1)]}, "never loaded"),
        ({"a": ["x"]}, "shard 'a': expected a number"),
        ({True: ["x"]}, "shard True"),
        ({0: "x"}, "expected a number and a list of ids"),
        ({0: [1]}, "expected a number and a list of ids"),
        ({0: ["x", "../x"]}, "expected a number and a list of ids"),
        ({0: ["x\n"]}, "expected a number and a list of ids"),
        ({0: ["\ud800"]}, "expected a number and a list of ids"),
        ([], "got list"),
        ({}, "got dict"),
    ):
        path.write_bytes(pickle.dumps(value))
        refused(message, read_meta, path)
    for content in (b"", b"no pickle", pickle.dumps({0: ["x"]})[:-3]):
        path.write_bytes(content)
        refused("not readable as a pickle of plain values", read_meta, path)
    assert not (tmp_path / "ran").exists()
    path.write_bytes(pickle.dumps({1: ["b"], 0: ("a",)}))
    assert read_meta(path) == {0: ["a"], 1: ["b"]} and list(read_meta(path)) == [0, 1]


def test_packed_video_at_fault_has_its_reason(world, tmp_path):
    folder = world.folder / "packed"
    pack(folder, "train", [world.train], world)
    _rewrite(folder / "text.train_0.startends_data.npy", lambda x: np.where(np.arange(len(x))[:, None] == 0, np.nan, x))
    _rewrite(folder / "train_0_data.npy", lambda x: np.where(np.arange(len(x))[:, None] == len(x) - 1, np.inf, x))
    done = convert_howto100m(HowTo100M({}, str(folder / "text."), str(folder)), tmp_path / "out", **SMALL)
    assert done.captions.failed == {"t00": "caption times that are no numbers"}
    assert done.features.failed.keys() == {"t09"} and "got inf" in done.features.failed["t09"]


def test_packed_captions_whose_times_cannot_be_are_left_out(world, tmp_path):
    folder = world.folder / "packed"
    pack(folder, "train", [world.train], world)
    n = [len(world.track(id).tokens) for id in world.train[:3]]

    def change(times):
        times = times.astype(np.float64)
        times[0], times[n[0]], times[n[0] + n[1]] = (-3, 2), (5, 1), (1, 1e300)
        return times

    _rewrite(folder / "text.train_0.startends_data.npy", change)
    done = convert_howto100m(HowTo100M({}, str(folder / "text."), str(folder)), tmp_path / "out", **SMALL)
    for id in world.train[:2]:
        assert said(done.captions.track(id)) == said(world.track(id))[1:]
    assert done.captions.failed == {"t02": "caption times beyond float32"}
    assert "caption cues dropped: 2; first: t00 caption 0: from -3 to 2 s" in done.coverage.notes


def test_captions_behind_the_features_are_left_out_and_counted(world, tmp_path):
    entries = {id: world.entries[id] for id in world.train}
    entries["t00"] = {"start": [100, 1, 101], "end": [101, 2, 102], "text": ["add", "salt", "fry"]}
    entries["t01"] = {"start": [200], "end": [201], "text": ["stir"]}
    entries["t02"] = {"start": [1], "end": [1e39], "text": ["stir"]}
    world.json.write_text(json.dumps(entries))
    for id, features in world.features.items():
        np.save(world.folder / "npy" / f"{id}.npy", np.resize(features, (40, WIDTH)))
    made = convert_howto100m(world.source(), tmp_path / "out", **SMALL)
    older = read_manifest(shutil.copytree(made.folder, tmp_path / "older"), CONVERSION)
    older["notes"] = [note for note in older["notes"] if "after their features end" not in note]
    write_manifest(tmp_path / "older", CONVERSION, {key: older[key] for key in older if key != "late"})
    for done in (made, open_converted(made.folder), open_converted(tmp_path / "older")):
        data, counts = done.pairs(), done.coverage.counts
        assert [track.video_id for track in data.tracks] == ["t00", *world.train[3:]]
        assert said(data.tracks[0]) == said(done.captions.track("t00"))[:1] and data.tracks[0].start_s.tolist() == [1]
        assert "captions that begin after their features end, left out: 3" in done.coverage.notes
        assert counts["train captions"].missing == {
            "t01": "no caption begins before the features end, at 40 s", "t02": "caption times beyond float32",
        }  # fmt: skip
        assert done.coverage.denominators["train videos with both"] == (10, 8)


def test_packed_ids_that_come_again_and_tokens_of_another_vocabulary(world, tmp_path):
    folder = world.folder / "packed"
    pack(folder, "train", [world.train[:4], world.train[3:]], world)
    refused(r"train_meta\.pkl: expected every id once; 1 come again", PackedSplit, folder, "train")
    pack(folder, "train", [world.train[:4], world.train[4:]], world)
    small = Tokenizer(TOKENIZER.vocabulary[:40])
    source = HowTo100M({}, str(folder / "text."), str(folder))
    with pytest.raises(VcworkError, match="t00: expected tokens below 40"):
        convert_howto100m(source, tmp_path / "out", **(SMALL | {"tokenizer": small}))
    with pytest.raises(VcworkError, match="cut: packed captions are cut already"):
        convert_howto100m(source, tmp_path / "out", **SMALL, cut="reference")
    alone = HowTo100M({}, str(folder / "text."), str(world.folder / "npy"))
    refused(r"expected the packed captions' \*_meta\.pkl", convert_howto100m, alone, tmp_path / "out", **SMALL)


# --- command line, real files -------------------------------------------------------------------------------------


def command_line(*words: object) -> int:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return main(parser.parse_args([str(word) for word in words]))


def test_command_line(world, tmp_path, capsys):
    TOKENIZER.save(world.folder)
    ids = ["--ids", f"train={world.folder / 'train.lst'}", "--ids", f"val={world.folder / 'val.lst'}"]
    rest = ["--features", world.folder / "npy", "--vocab", world.folder, "--out", tmp_path / "out", "--quiet"]
    rest += ["--width", WIDTH, "--fps", "1.0"]
    assert command_line(*ids, "--captions", world.json, *rest) == 0
    out = capsys.readouterr().out
    assert "train captions" in out and "CONTRACT" in out, "the default contract promises unit length"
    done = open_converted(tmp_path / "out")
    assert done.features.contract.fps == 1.0 and done.features.contract.backbone == "s3d"
    for wrong in (["--ids", "train"], ["--ids", "train="], [*ids, "--ids", "train=x"]):
        refused("--ids: expected SPLIT=FILE", command_line, *wrong, *rest)
    refused("expected at least 1", command_line, *ids, *rest, "--shard-rows", 0)
    refused("expected at least 1", command_line, *ids, *rest, "--size", -5)
    for fps in ("nan", "inf", "0"):
        refused(f"--fps: expected a number above 0, got {fps}", command_line, *ids, *rest, "--fps", fps)
    with pytest.raises(SystemExit):
        command_line(*ids, *rest, "--seed", "-1")


def test_real_captions(real, tmp_path):
    """80 real files: ours keeps every word somewhere, the reference's rule and cut are what they are known to be."""
    folder = real / "howto100m_asr"
    ids = sorted(path.stem for path in folder.glob("*.csv"))
    (tmp_path / "train.lst").write_text("\n".join(ids))
    tokenizer = Tokenizer.load(real / "backbones" / "bert-base-uncased-vocab")
    source = HowTo100M({"train": tmp_path / "train.lst"}, str(folder))
    ours = convert_howto100m(source, tmp_path / "ours", tokenizer, progress=False, videos_per_part=32)
    theirs = convert_howto100m(
        source, tmp_path / "theirs", tokenizer, dedup="characters", cut="reference", progress=False
    )
    assert ours.coverage.complete and len(ours.captions) == 80 and len(ours.captions.parts) == 3
    counts, others = (c.report["captions"]["counts"] for c in (ours, theirs))
    assert counts["captions_before_dedup"] == others["captions_before_dedup"] == 8006
    for id in ids[:5]:
        captions = deduplicate(read_captions(folder / f"{id}.csv"))
        assert said(ours.captions.track(id)) == said(caption_track(id, captions, tokenizer, 1))
    assert max(len(row) for id in ids for row in theirs.captions.track(id).tokens) <= 32
