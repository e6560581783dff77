"""Two machines compute what one process does; a batch in parts has the gradient of the whole; kills change nothing."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from ranks import everything, gradient
from test_train import CONFIG, digest, new_model, run, toy

from vcwork.core.engine import settled
from vcwork.core.step import Learner

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def two(tmp_path_factory) -> list[dict]:
    """What each of two ranks found, each started by a torchrun of its own, as on two machines."""
    out = tmp_path_factory.mktemp("ranks")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        meet = ["--rdzv-backend", "c10d", "--rdzv-endpoint", f"127.0.0.1:{free.getsockname()[1]}"]
    command = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1", *meet]
    command += ["--local-addr", "127.0.0.1", str(HERE / "ranks.py"), str(out)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": f"{HERE}{os.pathsep}{HERE.parent}"}
    how = {"env": environment, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    nodes = [subprocess.Popen(command, **how) for _ in range(2)]
    said = [node.communicate(timeout=280)[1] for node in nodes]
    assert [node.returncode for node in nodes] == [0, 0], said[0][-3000:]
    return [torch.load(out / f"rank{rank}.pt", weights_only=True) for rank in (0, 1)]


@pytest.fixture(scope="module")
def one() -> dict:
    return everything()


def _apart(a: torch.Tensor, b: torch.Tensor) -> float:
    return ((a - b).norm() / b.norm()).item()


@pytest.mark.parametrize("which", ["global", "micro"])
def test_gradient_of_two_ranks_is_that_of_one_process_with_the_big_batch(one, two, which):
    assert one["world"] == 1 and two[0]["world"] == two[1]["world"] == 2
    assert _apart(two[0][which], one["global"]) < 1e-6
    assert torch.equal(two[0][which], two[1][which]), "all ranks make the same update"


def test_local_negatives_are_the_mean_of_two_separate_batches(two):
    batches = [np.array([0, 3, 5, 7]), np.array([1, 2, 9, 11])]
    config = CONFIG.model_copy(update={"clip_norm": 1e9})
    separate = [_gradient_of(config, batches, i) for i in (0, 1)]
    assert _apart(two[0]["local"], sum(separate) / 2) < 1e-6
    assert _apart(two[0]["local"], two[0]["global"]) > 0.01, "another contrast, another gradient"


def _gradient_of(config, batches, i: int) -> torch.Tensor:
    from vcwork.core.batches import collate, draw_pairs

    data, tokenizer = toy()
    model = new_model(dropout=0.0)
    pairs = draw_pairs(data, batches[i], config, np.random.default_rng([config.seed, 10, 0, i]))
    batch = collate(pairs, data, batches[i], model, tokenizer, config)
    Learner(model, config, 10).update(batch)
    return torch.cat([p.grad.flatten() for p in model.parameters()])


def test_neighbours_do_not_depend_on_the_number_of_ranks(one, two):
    for rank in two:
        assert torch.equal(rank["vectors"], one["vectors"])
        assert torch.equal(rank["lists"], one["lists"])


def test_a_run_on_two_ranks_is_that_of_one(one, two):
    assert torch.allclose(two[0]["losses"], one["losses"], rtol=1e-3)
    assert torch.equal(two[0]["weights"], two[1]["weights"])


@pytest.mark.parametrize("size", [1, 5, 16])
def test_a_batch_in_parts_has_the_gradient_of_the_whole(size):
    batches = [np.array([0, 3, 5, 7])]
    whole, parts = (gradient(CONFIG.model_copy(update={"micro_batch": n}), batches) for n in (0, size))
    assert _apart(parts, whole) < 1e-6


def test_parts_repeat_their_own_dropout():
    """With dropout the two passes over a part must agree, or the gradient is that of no loss."""
    from vcwork.core.batches import collate, draw_pairs

    data, tokenizer = toy()
    videos = np.array([0, 3, 5, 7])
    model = new_model(dropout=0.5).double()
    pairs = draw_pairs(data, videos, CONFIG, np.random.default_rng(0))
    features, mask, ids, text_mask = collate(pairs, data, videos, model, tokenizer, CONFIG)
    config = CONFIG.model_copy(update={"micro_batch": len(pairs) // 2, "clip_norm": 1e9})
    losses = []
    for shift in (0.0, 1e-3, -1e-3):  # a difference quotient along one weight, dropout held fixed by the seed
        model = new_model(dropout=0.5).double()
        with torch.no_grad():
            model.video_mlp.linear2.bias[0] += shift
        torch.manual_seed(3)
        numbers = Learner(model, config, 10).update((features.double(), mask, ids, text_mask))
        losses.append(numbers["loss"])
        if not shift:
            slope = model.video_mlp.linear2.bias.grad[0].item()
    assert (losses[1] - losses[2]) / 2e-3 == pytest.approx(slope, rel=1e-2, abs=1e-3)


def test_states_inside_an_epoch_resume_to_the_same_weights(tmp_path):
    config = CONFIG.model_copy(update={"save_every": 7, "word_dropout": 0.2})
    whole, _ = run(config, tmp_path / "whole")
    run(config, tmp_path / "cut", stop=40)
    resumed, records = run(config, tmp_path / "cut")
    assert records[0].step == 37, "seven updates into the second epoch"
    assert digest(resumed) == digest(whole)
    assert (tmp_path / "cut" / "log.jsonl").read_text() == (tmp_path / "whole" / "log.jsonl").read_text()


def test_bf16_trains():
    model, records = run(CONFIG.model_copy(update={"precision": "bf16", "epochs": 1}))
    exact, _ = run(CONFIG.model_copy(update={"epochs": 1}))
    assert records[-1].loss < records[0].loss
    assert digest(model) != digest(exact) and next(model.parameters()).dtype == torch.float32


def test_bf16_by_itself_only_where_the_machine_has_units_and_else_one_warning_with_a_factor(monkeypatch):
    monkeypatch.setattr("vcwork.core.engine.has_bf16", lambda device: device == "fast")
    assert settled("auto", "fast") == "bf16" and settled("auto", "cpu") == settled("float32", "cpu") == "float32"
    settled.cache_clear()
    with pytest.warns(UserWarning, match=r"took \d+\.\d times as long as in float32") as told:
        assert [settled("bf16", "cpu") for _ in range(3)] == ["bf16"] * 3
    assert len(told) == 1
    settled.cache_clear()


def test_units_that_torch_was_told_to_leave_are_not_there():
    """ATEN_CPU_CAPABILITY is read when torch starts."""
    code = "from vcwork.core.engine import Engine, has_bf16; print(has_bf16('cpu'), Engine('auto').precision)"
    told = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"ATEN_CPU_CAPABILITY": "avx2", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert told.stdout.split() == ["False", "float32"]
