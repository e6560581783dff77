"""What a training promises of its folder: it is known by all that it is made of, no byte of it is believed unread, a
full disk, an interrupt or a second process loses nothing, and what somebody else put there is left alone."""

import json
import resource
import shutil
import signal
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from checks import Stop, edited, refused, stop_at
from filelock import FileLock
from test_watching import own_handler  # noqa: F401
from test_workspace import SIZES, TRAIN, recipe, world  # noqa: F401

from vcwork.__main__ import main
from vcwork.base.files import alone
from vcwork.base.sealed import seal
from vcwork.data.corpus import CORPUS, open_corpus
from vcwork.encoders.checkpoint import load_card
from vcwork.encoders.load import load_encoder
from vcwork.training.finetune import FinetuneRecipe
from vcwork.training.finetune_corpus import finetune
from vcwork.training.kept import TRAINING, KeptRun
from vcwork.training.recipe import Recipe
from vcwork.training.run import train
from vcwork.training.watch import Stopped, Watcher
from vcwork.workbench.verify import look

SHORT = recipe(epochs=2, save_every=5, keep="best")
FINISHED = ["checkpoint.json", "log.jsonl", "model.safetensors", "train.json", "vocab.txt"]


@pytest.fixture(scope="module")
def whole(world, tmp_path_factory):  # noqa: F811
    """An undisturbed run, to compare with."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    train(*world, folder, SHORT)
    return folder


@pytest.fixture
def cut(world, tmp_path):  # noqa: F811
    """A run that broke off in its second epoch: a state, the best weights so far, and a log that goes beyond both."""
    with pytest.raises(Stop):
        train(*world, tmp_path / "cut", SHORT, watch=stop_at(18))
    assert sorted(json.loads((tmp_path / "cut" / "train.json").read_text())["files"]) == FILES
    return tmp_path / "cut"


FILES = ["best-0.safetensors", "state-17.pt"]


def same(one: Path, other: Path) -> bool:
    return all((one / name).read_bytes() == (other / name).read_bytes() for name in FINISHED)


def flip(path: Path, share: float = 0.5) -> None:
    damaged = bytearray(path.read_bytes())
    damaged[int(share * len(damaged))] ^= 1
    path.write_bytes(damaged)


def test_a_finished_run_keeps_what_it_is_known_by_and_nothing_else(world, whole, cut):  # noqa: F811
    assert sorted(path.name for path in whole.iterdir()) == FINISHED
    train(*world, cut, SHORT)
    assert sorted(path.name for path in cut.iterdir()) == FINISHED and same(cut, whole)
    told = load_card(whole)["files"] | json.loads((whole / "train.json").read_text())["files"]
    assert {*told, "checkpoint.json", "train.json"} == {*FINISHED}, "the two manifests seal themselves and all others"


@pytest.mark.parametrize("name", [*FILES, "train.json", "log.jsonl"])
@pytest.mark.parametrize("damage", [flip, lambda path: path.write_bytes(path.read_bytes()[:-9]), Path.unlink])
def test_what_a_run_goes_on_from_is_read_whole_or_not_at_all(world, cut, name, damage):  # noqa: F811
    """Every one of these resumed before: into other weights, or with a message of torch's own."""
    if name == "log.jsonl":  # of which only the part before the state counts
        lines = (cut / name).read_text().splitlines()
        (cut / name).write_text("\n".join(lines[:15]))
    damage(cut / name)
    if name == "train.json" and not (cut / name).exists():
        refused(r"expected a new folder.*it holds best-0", train, *world, cut, SHORT)
    else:
        refused(name, train, *world, cut, SHORT)
        assert any(name in fault for found in look(cut) for fault in found.faults) or name == "log.jsonl"


def test_a_folder_where_the_log_should_be_is_told(world, cut):  # noqa: F811
    (cut / "log.jsonl").unlink()
    (cut / "log.jsonl").mkdir()
    refused("log.jsonl: missing, or not the log", train, *world, cut, SHORT)


def test_what_a_kill_between_two_steps_leaves_is_removed(world, whole, cut, monkeypatch):  # noqa: F811
    """After a state was told of, before the one before went; and after the checkpoint, before the last state went."""
    with monkeypatch.context() as patch, pytest.raises(Stop):
        patch.setattr(KeptRun, "_sweep", lambda self: None)
        train(*world, cut, SHORT, watch=stop_at(22))
    assert (cut / FILES[1]).exists() and (cut / "state-22.pt").exists()

    def killed(self):
        raise Stop

    with monkeypatch.context() as patch, pytest.raises(Stop):
        patch.setattr(KeptRun, "finish", killed)
        train(*world, cut, SHORT)
    assert not (cut / FILES[1]).exists() and (cut / "checkpoint.json").exists() and (cut / "state-24.pt").exists()
    train(*world, cut, SHORT)
    assert sorted(path.name for path in cut.iterdir()) == FINISHED
    assert (cut / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()


def test_a_state_that_is_sealed_and_none_is_told_by_name(world, cut):  # noqa: F811
    import hashlib

    path, told = cut / FILES[1], "train.json: not of a training that can go on"
    for content in (b"no state", (cut / FILES[0]).read_bytes()):
        path.write_bytes(content)
        seals = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        edited(cut, TRAINING, lambda card, seals=seals: card["files"].update({path.name: seals}))
        refused(told, train, *world, cut, SHORT)
    for change in ({"state": "../state.pt"}, {"state": 7}, {"best": [1]}, {"log": {}}):
        edited(cut, TRAINING, change)
        refused("train.json|state.pt", train, *world, cut, SHORT)


def test_captions_that_were_replaced_are_another_run(world, cut, tmp_path):  # noqa: F811
    corpus, store = world
    shutil.copytree(corpus.folder, tmp_path / "corpus")
    same_words = open_corpus(tmp_path / "corpus")
    assert train(same_words, store, cut, SHORT).digest, "a corpus that moved is the same one"
    for path in (tmp_path / "corpus").rglob("*.vtt"):
        path.write_text(path.read_text().replace("cut the", "chop the"))
        sealed = {path.relative_to(tmp_path / "corpus").as_posix(): seal(path)}
        edited(tmp_path / "corpus", CORPUS, lambda told, sealed=sealed: told["files"].update(sealed))
    others = open_corpus(tmp_path / "corpus")
    told = r"holds a run of another configuration or other data \(corpus, vocabulary differ\)"
    refused(told, train, others, store, cut, SHORT)
    with pytest.raises(Stop):
        train(same_words, store, tmp_path / "begun", SHORT, watch=stop_at(7))
    refused(told, train, others, store, tmp_path / "begun", SHORT)


def test_a_checkpoint_of_unknown_origin_is_not_taken_for_a_finished_run(world, whole, tmp_path, capsys):  # noqa: F811
    """It ended with exit code 0 and the old weights."""
    shutil.copytree(whole, tmp_path / "out", ignore=shutil.ignore_patterns("train.json"))
    assert main(command(world, tmp_path)) == 2
    assert "holds a checkpoint, no train.json; choose another folder" in capsys.readouterr().err


def test_a_folder_with_somebodys_files_is_not_written_into(world, tmp_path):  # noqa: F811
    for name in ("state-1.pt", "log.jsonl", "model.safetensors"):
        (tmp_path / name).write_text("mine")
    refused(r"it holds log.jsonl, model.safetensors, state-1.pt", train, *world, tmp_path, SHORT)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["mine"] * 3


def test_somebodys_state_beside_ours_stays(world, cut):  # noqa: F811
    for name in ("state-of-mine.pt", "state-2024.pt"):
        shutil.copy(cut / FILES[1], cut / name)
    train(*world, cut, SHORT)
    assert (cut / "state-of-mine.pt").exists() and (cut / "state-2024.pt").exists()


def test_what_comes_into_the_folder_meanwhile_costs_no_checkpoint(world, whole, cut, tmp_path):  # noqa: F811
    """What a file manager, nohup or a logger writes was refused where the finished run was to be saved."""
    for name in (".DS_Store", "nohup.out"):
        (cut / name).write_text("theirs")
    train(*world, cut, SHORT)
    assert same(cut, whole) and (cut / "nohup.out").read_text() == "theirs"
    tune = FinetuneRecipe.checked(**TUNE)
    came = lambda record: (tmp_path / "tuned" / ".ipynb_checkpoints").mkdir(exist_ok=True)  # noqa: E731
    assert finetune(*world, load_encoder(whole), tune, tmp_path / "tuned", came).digest


def test_a_full_disk_is_told_and_the_next_call_goes_on(world, whole, tmp_path, capfd):  # noqa: F811
    """At the first state, and at the second; torch's own error said `unexpected pos`."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    for at in (2, 7):
        folder = tmp_path / str(at)

        def full(record, at=at):
            if record.step == at:
                resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))

        try:
            refused(r"state-\d+.pt: could not be written \(File too large\)", train, *world, folder, SHORT, watch=full)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert not [*folder.glob(".*.part")]
        train(*world, folder, SHORT)
        assert same(folder, whole)


def test_a_log_that_cannot_be_written_is_told(world, tmp_path):  # noqa: F811
    def away(record):
        (tmp_path / "run").rename(tmp_path / "moved")

    refused(r"run.log.jsonl: could not be written \(No such file", train, *world, tmp_path / "run", SHORT, watch=away)
    train(*world, tmp_path / "moved", SHORT)


def command(world, tmp_path, what="pretrain", **more) -> list[str]:  # noqa: F811
    file = tmp_path / "recipe.yaml"
    file.write_text(yaml.safe_dump(more or {"model": SIZES, "train": TRAIN | {"epochs": 2}}))
    paths = ["--corpus", str(world[0].folder), "--features", str(world[1].folder)]
    return [what, str(file), *paths, *([] if what == "finetune" else ["--checkpoint", str(tmp_path / "out")])]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_says_what_is_kept_and_how_to_go_on(world, tmp_path, capsys, monkeypatch, number):  # noqa: F811
    monkeypatch.setattr(Watcher, "__call__", lambda self, record: record.step == 3 and signal.raise_signal(number))
    assert main(command(world, tmp_path)) == 130
    assert "stopped after update 4 of 24; the folder out keeps the state: run it again" in capsys.readouterr().err
    assert (tmp_path / "out" / "state-4.pt").exists()
    assert main(command(world, tmp_path)) == 0, "the same command goes on"
    log = (tmp_path / "out" / "log.jsonl").read_text().splitlines()
    assert [row["step"] for row in map(json.loads, log) if "loss" in row] == [*range(24)]


def test_a_second_interrupt_says_so_too(world, tmp_path, capsys, monkeypatch):  # noqa: F811
    def twice(self, record):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Watcher, "__call__", twice)
    assert main(command(world, tmp_path)) == 130
    assert "what state the folder out keeps, the same call goes on from" in capsys.readouterr().err


def test_one_training_at_a_time_in_a_folder_and_the_other_one_says_that_it_waits(world, whole, tmp_path, capsys):  # noqa: F811
    lock, done = FileLock(tmp_path / ".run.lock"), []
    with lock:
        other = threading.Thread(target=lambda: done.append(train(*world, tmp_path / "run", SHORT)))
        other.start()
        other.join(3)
        assert not done and not (tmp_path / "run").exists(), "nothing is begun"
        assert "another process is at work in it" in capsys.readouterr().err
    other.join()
    assert done and same(tmp_path / "run", whole)
    with alone(tmp_path / "run"):
        assert train(*world, tmp_path / "run", SHORT).digest == done[0].digest


def test_a_gradient_that_is_no_number_ends_it_before_the_weights_are_spoiled(world, tmp_path):  # noqa: F811
    corpus, store = world
    huge = Recipe(model=SIZES, train=TRAIN | {"lr": 1e30, "warmup": 0, "epochs": 1, "save_every": 1})
    refused(r"the loss became .* its gradient .*; lower lr \(1e\+30\)", train, corpus, store, tmp_path / "run", huge)
    told = json.loads((tmp_path / "run" / "train.json").read_text())
    state = torch.load(tmp_path / "run" / told["state"], weights_only=True)["model"]
    assert all(tensor.isfinite().all() for tensor in state.values())


def test_a_last_update_that_spoils_the_weights_leaves_no_checkpoint(world, tmp_path):  # noqa: F811
    """Each update looks at the loss before it, and without validation nothing looked at the weights after the last."""
    last = TRAIN | {"epochs": 1, "passes_per_epoch": 1, "warmup": 0, "first_update": "warm", "schedule": "constant"}
    last["clusters"] = {"videos_per_batch": 24, "clips_for_vector": 2}
    for lr, told in ((3e38, "holds NaN or infinity"), (1e25, "its vector is not finite")):
        huge, nothing = Recipe(model=SIZES, train=last | {"lr": lr}), lambda encoder: {}
        refused(f"no checkpoint is written.*{told}", train, *world, tmp_path / str(lr), huge, check=nothing)
        assert not (tmp_path / str(lr) / "checkpoint.json").exists()


def test_a_warm_up_as_long_as_the_run_is_told(world, whole, tmp_path, capsys):  # noqa: F811
    """Else nothing says that the checkpoint may be the start, bit for bit."""
    train(*world, tmp_path / "run", recipe(epochs=1, warmup=1000))
    assert "warm-up (1000) is as long as the run's updates (12), or longer" in capsys.readouterr().err
    tune = FinetuneRecipe.checked(**TUNE | {"train": {"epochs": 1, "warmup": 122}})
    finetune(*world, load_encoder(whole), tune, tmp_path / "tuned")
    assert "warm-up (122) is as long as the run's updates" in capsys.readouterr().err
    train(*world, tmp_path / "other", SHORT)
    assert "warm-up" not in capsys.readouterr().err


TUNE = {"task": "retrieval", "batch_size": 8, "train": {"epochs": 1, "warmup": 0}}


def test_a_finetuning_that_was_cut_off_begins_anew_and_ends_alike(world, whole, tmp_path):  # noqa: F811
    tune = FinetuneRecipe.checked(**TUNE)

    def run(folder: Path, watch=None):
        return finetune(*world, load_encoder(whole), tune, folder, watch)

    def interrupted(record):
        raise KeyboardInterrupt

    first = run(tmp_path / "whole")
    for watch, error in ((stop_at(1), Stop), (interrupted, Stopped)):
        with pytest.raises(error):
            run(tmp_path / "cut", watch)
    assert run(tmp_path / "cut").digest == first.digest
    names = sorted(path.name for path in (tmp_path / "whole").iterdir())
    assert names == ["checkpoint.json", "log.jsonl", "model.safetensors", "vocab.txt"]
    assert all((tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes() for name in names)
    refused("holds a checkpoint", run, tmp_path / "cut")
    refused("holds a training", run, train_begun(world, tmp_path / "begun"))
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "log.jsonl").write_text("mine")
    refused("it holds log.jsonl", run, tmp_path / "own")
    assert (tmp_path / "own" / "log.jsonl").read_text() == "mine"


def train_begun(world, folder: Path) -> Path:  # noqa: F811
    with pytest.raises(Stop):
        train(*world, folder, SHORT, watch=stop_at(0))
    return folder


def test_an_interrupted_finetuning_says_so(world, whole, tmp_path, capsys, monkeypatch):  # noqa: F811
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("vcwork.training.finetune_corpus.append", stop)
    paths = ["--checkpoint", str(whole), "--out", str(tmp_path / "out")]
    assert main([*command(world, tmp_path, "finetune", **TUNE), *paths]) == 130
    assert "a fine-tuning keeps no state, the same command begins it anew" in capsys.readouterr().err


def test_no_bit_of_a_finished_training_changes_unnoticed(whole, tmp_path):
    """`verify` reads every byte; opening the encoder notices all but what is only read when asked for."""
    draws, unnoticed = np.random.default_rng(0), []
    for name in FINISHED:
        for share in draws.random(12):
            shutil.copytree(whole, tmp_path / "copy", dirs_exist_ok=True)
            flip(tmp_path / "copy" / name, share)
            unnoticed += [(name, share)] * (not any(found.faults for found in look(tmp_path / "copy")))
    assert unnoticed == []
