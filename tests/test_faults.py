"""A short list of faults (`python -m tests.faults --long` is the whole one): nothing is lost, nothing is believed."""

import random

import pytest
from faults import damage, harness, world
from faults.harness import Fault

FAULTS = ("kill -9", "full disk", "Ctrl-C")


@pytest.fixture(scope="module")
def commands(tmp_path_factory, root):
    """The commands on tiny data; the environment is as before afterwards."""
    folder = tmp_path_factory.mktemp("faults") / "world"
    with pytest.MonkeyPatch.context() as patch:
        for name, value in world.environment(folder).items():
            patch.setenv(name, value)
        harness.end_server()
        yield world.commands(world.make(folder))
        harness.end_server()


@pytest.mark.parametrize(
    "name", ["extract", "pretrain", "finetune segmentation", "convert", "explore", "index", "lab", "audit"]
)
def test_killed_interrupted_and_out_of_disk_it_ends_with_the_same_bytes(name, commands, tmp_path):
    """At three places between the first and the last file: each time another one of the three faults."""
    command = commands[name]
    whole, end = harness.undisturbed(command, tmp_path / "whole")
    for number, what in enumerate(FAULTS, 1):
        trial = harness.tried(command, Fault(what, round(end.deeds * number / 4)), whole, tmp_path / "tried")
        assert trial.came == "equal", harness.told_of(trial)


@pytest.mark.parametrize("name", damage.OPEN)
def test_a_flipped_bit_and_a_cut_are_noticed_when_verified(name, commands, tmp_path):
    """Three bits of every stored file, and cuts at every tenth; what opens or refuses raises nothing but ours."""
    harness.undisturbed(commands[name], tmp_path)
    for asked in damage.noticed(name, tmp_path / "out", 3):
        said = damage.summary(asked)
        assert said["tried"] and not said["unnoticed"]["when verified"] and not said["errors of others"], said


def test_a_worker_that_dies_and_a_parent_that_does(commands, tmp_path):
    command = commands["extract in two processes"]
    whole, end = harness.undisturbed(command, tmp_path / "whole")
    trial = harness.worker_dies(command, whole, tmp_path / "tried")
    assert trial.came == "equal", harness.told_of(trial)
    trial = harness.tried(command, Fault("kill -9", after_s=end.seconds / 2), whole, tmp_path / "tried")
    assert trial.came == "equal", f"no worker outlives its parent: {harness.told_of(trial)}"


def test_two_processes_in_one_folder(commands, tmp_path):
    for name in ("extract", "pretrain", "convert", "index"):
        whole, _ = harness.undisturbed(commands[name], tmp_path / "whole")
        trial = harness.together(commands[name], whole, tmp_path / "tried")
        assert trial.came == "equal", harness.told_of(trial)


def test_the_damage_is_one_bit_and_a_tenth():
    whole = bytes(range(50))
    for _, flipped in damage.flips(whole, 20, random.Random(0)):
        assert sum((a ^ b).bit_count() for a, b in zip(whole, flipped, strict=True)) == 1
    assert [len(cut) for _, cut in damage.cuts(whole)] == list(range(0, 50, 5))
