"""Training into a folder: the command and the function, the epoch that is kept, what is refused."""

import csv
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml

from vcwork.__main__ import main
from vcwork.base.errors import VcworkError
from vcwork.data.keyframes import keyframes_corpus
from vcwork.data.store import Contract
from vcwork.encoders.load import load_encoder
from vcwork.training.recipe import Recipe, read_recipe
from vcwork.training.run import train
from vcwork.training.validation import VALIDATION
from vcwork.training.workspace import prepare

SIZES = {"hidden": 32, "heads": 2, "ffn": 64, "video_layers": 1, "text_layers": 1, "dropout": 0.0}
TRAIN = {
    "epochs": 6,
    "passes_per_epoch": 4,
    "lr": 3e-3,
    "warmup": 2,
    "pairs": {"rule": "each", "min_video_s": 1, "max_video_s": 1},
    "clusters": {"videos_per_batch": 8, "clips_for_vector": 2},
}
OBJECTS, ACTIONS = ("onion", "carrot", "bread", "apple"), ("cut", "fry", "wash")


def recipe(**more: object) -> Recipe:
    return Recipe(model=SIZES, train=TRAIN | more)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """24 train and 6 val videos of three keyframes: the feature tells object and action, noisily."""
    source, rng = tmp_path_factory.mktemp("source"), np.random.default_rng(0)
    (source / "features" / "toy").mkdir(parents=True)
    for split, n in (("train", 24), ("val", 6)):
        ids = [f"{split}{i}" for i in range(n)]
        with open(source / f"videos_{split}.csv", "w", newline="") as file:
            csv.writer(file).writerows([["video_id", "recipe_type", "split"], *([id, "1", split] for id in ids)])
        captions = {}
        for id in ids:
            parts = [(int(rng.integers(4)), a) for a in rng.permutation(3)]
            features = [np.eye(7)[o] + np.eye(7)[4 + a] + rng.normal(size=7) * 0.4 for o, a in parts]
            np.save(source / "features" / "toy" / f"{id}.npy", np.array(features, np.float16))
            text = [f"{ACTIONS[a]} the {OBJECTS[o]}" for o, a in parts]
            captions[id] = {"start": [0.0, 1.0, 2.0], "end": [1.0, 2.0, 3.0], "text": text}
        (source / f"captions_{split}.json").write_text(json.dumps(captions))
    out = tmp_path_factory.mktemp("world")
    return keyframes_corpus(source, out / "corpus", out / "features", backbone="toy", width=7)


def _log(folder: Path) -> list[float]:
    lines = map(json.loads, (folder / "log.jsonl").read_text().splitlines())
    return [line[VALIDATION] for line in lines if VALIDATION in line]


def test_the_best_epoch_by_validation_is_kept(world, tmp_path):
    """The second of four epochs scores best; a later equal one does not replace it."""
    corpus, store = world
    scores, weights = [0.1, 0.7, 0.3, 0.7], []

    def told(encoder):
        weights.append({name: t.clone() for name, t in encoder.model.state_dict().items()})
        return {VALIDATION: scores[(len(weights) - 1) % 4]}

    for keep, epoch in (("best", 1), ("last", 3)):
        weights.clear()
        train(corpus, store, tmp_path / keep, recipe(epochs=4, keep=keep), check=told)
        kept = load_encoder(tmp_path / keep).model.state_dict()
        assert [all(torch.equal(kept[n], w[n]) for n in kept) for w in weights] == [i == epoch for i in range(4)]
        assert _log(tmp_path / keep) == scores


def test_best_survives_an_interruption(world, tmp_path):
    corpus, store = world
    best = recipe(keep="best", save_every=5)

    class Stop(Exception):
        pass

    def stop(record):
        if record.step == 40:
            raise Stop

    with pytest.raises(Stop):
        train(corpus, store, tmp_path / "cut", best, watch=stop)
    resumed = train(corpus, store, tmp_path / "cut", best)
    whole = train(corpus, store, tmp_path / "whole", best)
    assert resumed.digest == whole.digest and _log(tmp_path / "cut") == _log(tmp_path / "whole")


def test_best_needs_validation(world, tmp_path):
    import dataclasses

    corpus, store = world
    only_train = dataclasses.replace(corpus, videos={v.id: v for v in corpus.split("train")})
    with pytest.raises(VcworkError, match="keep: best needs validation videos"):
        train(only_train, store, tmp_path / "none", recipe(keep="best"))


def test_pretrain_command(world, tmp_path, capsys):
    corpus, store = world
    file = tmp_path / "recipe.yaml"
    file.write_text(yaml.safe_dump({"model": SIZES, "train": TRAIN | {"epochs": 1}}))
    paths = ["--corpus", str(corpus.folder), "--features", str(store.folder), "--checkpoint", str(tmp_path / "out")]
    assert main(["pretrain", str(file), *paths, "--seed", "2"]) == 0
    encoder = load_encoder(tmp_path / "out", store.contract)
    assert encoder.digest in capsys.readouterr().out and encoder.card["train"]["seed"] == 2
    file.write_text(yaml.safe_dump({"model": SIZES, "train": TRAIN | {"epoch": 1}}))
    assert main(["pretrain", str(file), *paths]) == 2
    assert "train.epoch" in capsys.readouterr().err
    file.write_text(yaml.safe_dump({"model": SIZES, "train": TRAIN | {"epochs": 2}}))
    assert main(["pretrain", str(file), *paths]) == 2
    assert "another configuration" in capsys.readouterr().err


def test_pretrain_command_from_pixels(tmp_path, capsys):
    """A recipe with a section `frames` reads the corpus's videos; features have no place beside it."""
    small = {"image_size": 16, "patch": 8, "width": 8, "layers": 1, "backbone_heads": 1, "frames": 2, "hidden": 8}
    small |= {"temporal_layers": 1, "heads": 1, "ffn": 8, "projection": 0, "text_layers": 1, "max_text_tokens": 8}
    few = {"videos_per_batch": 8, "clips_per_video": 1, "retrieve": False}
    file, corpus = tmp_path / "recipe.yaml", prepare().corpus
    file.write_text(yaml.safe_dump({"frames": small, "train": {"epochs": 1, "clusters": few}}))
    asked = ["pretrain", str(file), "--corpus", str(corpus.folder), "--checkpoint", str(tmp_path / "out")]
    assert main([*asked, "--features", str(tmp_path)]) == 2
    assert "--corpus alone" in capsys.readouterr().err
    assert main(asked) == 0
    encoder = load_encoder(tmp_path / "out")
    assert encoder.digest in capsys.readouterr().out and encoder.model.frame_config.frames == 2
    with pytest.raises(VcworkError, match="frames: this recipe trains from video files"):
        train(corpus, prepare().store, tmp_path / "in", read_recipe(file))
    assert not (tmp_path / "in").exists(), "nothing was begun"


def test_data_are_a_corpus_or_converted(world, tmp_path, capsys):
    corpus, store = world
    file = tmp_path / "recipe.yaml"
    file.write_text(yaml.safe_dump({"model": SIZES, "train": TRAIN}))
    pair = ["--corpus", str(corpus.folder), "--features", str(store.folder)]
    for paths in ([], pair[:2], [*pair, "--converted", str(tmp_path)]):
        assert main(["pretrain", str(file), *paths, "--checkpoint", str(tmp_path / "out")]) == 2
        assert "expected --corpus and --features, or --converted alone" in capsys.readouterr().err
    assert main(["pretrain", str(file), "--converted", str(tmp_path), "--checkpoint", str(tmp_path / "out")]) == 2
    assert "conversion.json" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_finetune_command(world, tmp_path, capsys):
    corpus, store = world
    start = train(corpus, store, tmp_path / "start", recipe(epochs=1))
    file = tmp_path / "recipe.yaml"
    file.write_text(yaml.safe_dump({"task": "retrieval", "epochs": 2, "batch_size": 8, "warmup": 0}))
    paths = ["--corpus", str(corpus.folder), "--features", str(store.folder), "--checkpoint", str(tmp_path / "start")]
    assert main(["finetune", str(file), *paths, "--out", str(tmp_path / "out")]) == 0
    tuned = load_encoder(tmp_path / "out", store.contract)
    assert tuned.digest in capsys.readouterr().out and tuned.card["finetuned"]["from"] == start.digest
    assert main(["finetune", str(file), *paths, "--out", str(tmp_path / "out")]) == 2
    assert "holds a checkpoint" in capsys.readouterr().err


def test_a_run_of_an_older_version_is_known_again(world, tmp_path):
    """Settings that came later count as their defaults."""
    corpus, store = world
    first = train(corpus, store, tmp_path, recipe(epochs=1))
    stored = json.loads((tmp_path / "train.json").read_text())
    del stored["config"]["save_every"]
    (tmp_path / "train.json").write_text(json.dumps(stored))
    assert train(corpus, store, tmp_path, recipe(epochs=1)).digest == first.digest


ALONE = """
import sys, time
from pathlib import Path
from vcwork.base.files import alone
folder = Path(sys.argv[1])
with alone(folder):
    if not folder.exists():
        time.sleep(1)
        folder.mkdir()  # fails where the other one made it meanwhile
        print("made")
"""


def test_what_two_processes_want_is_made_once(tmp_path, monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    command = [sys.executable, "-c", ALONE, str(tmp_path / "world")]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert sorted(p.communicate(timeout=60)[0] for p in both) == ["", "made\n"]
    assert [p.returncode for p in both] == [0, 0]


def test_features_of_another_contract_are_named_or_refused():
    ws = prepare("corpus", "features", "checkpoint", contract="accept")
    trained = Contract("motion-1", "none", 1.0, 8, "none", 6)
    ws.__dict__["encoder"] = SimpleNamespace(contract=trained)
    for here, told in ((trained, "this very contract"), (replace(trained, width=7), "width: trained on '6', here '7'")):
        ws.__dict__["store"] = SimpleNamespace(contract=here)
        assert told in ws.contract_note()
    bare = prepare("corpus", "features")
    assert bare.encoder_if_any is None and "mean of its features" in bare.contract_note()
    with pytest.raises(VcworkError, match="expected strict or accept, got 'any'"):
        prepare(contract="any")
