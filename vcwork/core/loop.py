"""Pre-training as a generator of step records: look at each, stop when you like, go on later.

One step: k similar videos, several overlapped pairs of each, symmetric NCE over all of them. Once an epoch the
videos are embedded anew and the batches rebuilt (hard negatives). Everything drawn depends on (seed, epoch, batch)
alone, so a resumed run goes where an uninterrupted one would have gone.
One process or, under torchrun, many; the text and video of all ranks meet in one loss, or each rank has its own.
Known gap: a run resumed on another number of ranks goes on, but not as the first would have gone.
"""

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from vcwork.base.errors import VcworkError
from vcwork.base.files import atomic_write
from vcwork.core.batches import (
    PairData,
    derange,
    epoch_batches,
    false_negatives,
    pairs_of,
)
from vcwork.core.config import TrainConfig
from vcwork.core.engine import Engine
from vcwork.core.model import VideoCLIP
from vcwork.core.step import apply_update
from vcwork.core.text import Tokenizer


@dataclass(frozen=True)
class StepRecord:
    """What one update did. `log_batch` is the loss of equal scores, the line to beat: log B of B pairs."""

    epoch: int
    step: int
    loss: float
    log_batch: float
    in_batch_accuracy: float  # share of rows whose own partner scores highest, text to video
    lr: float
    grad_norm: float  # before clipping
    retrieved: bool  # batch made of neighbours
    temperature: float
    video_norm: float  # mean length of the pooled vectors
    text_norm: float
    alignment: float  # mean squared distance of partners on the unit sphere, 0 to 4
    uniformity: float  # log mean exp(-2 d^2) over other pairs of one side; lower is more spread, at least about -4
    false_negatives: float | None  # share of negatives that show the anchor's own step; None where truth is unknown


def pretrain(
    model: VideoCLIP, tokenizer: Tokenizer, data: PairData, config: TrainConfig,
    folder: str | Path | None = None, on_epoch: Callable[[int, VideoCLIP], dict] | None = None,
    stop: Callable[[], bool] | None = None,
) -> Iterator[StepRecord]:  # fmt: skip
    """Train `model` in place; yields a record an update. Under torchrun every rank calls this alike.

    `folder` receives `log.jsonl` and, after each epoch or `config.save_every` updates, `state.pt` from which a later
    call goes on. `on_epoch(epoch, model)`, on the main rank, may return numbers for the log (validation). Where
    `stop()` is true after a record, the state is kept and the records end; all ranks have to be told alike. With
    `config.shuffle_captions` each video trains with the captions of another.
    """
    engine = Engine(config.precision)
    model.to(engine.device)
    data = derange(data, config.seed) if config.shuffle_captions else data
    model.text_bert.requires_grad_(not config.freeze_text)
    per_epoch = updates(data, config, engine.world) // config.epochs
    optimizer, schedule = make_optimizer(model, config, config.epochs * per_epoch)
    log = _Log(folder if engine.main else None)
    state = _restore(folder, model, optimizer, schedule, config, engine.device) if folder else {"epoch": 0}
    log.cut(state["epoch"] * per_epoch + state.get("done", 0))
    for epoch in range(state["epoch"], config.epochs):
        done = state.get("done", 0) if epoch == state["epoch"] else 0
        if done:
            batches, retrieved = [videos.numpy() for videos in state["batches"]], state["retrieved"]
            engine.restore_random(state["random"])
        else:  # dropout follows the epoch and the rank, not the process
            torch.manual_seed(_mix(config.seed, epoch, *([engine.rank] if engine.rank else [])))
            batches, retrieved = epoch_batches(model, tokenizer, data, config, epoch, per_epoch, engine)
        model.train()
        model.text_bert.train(not config.freeze_text)  # nothing is dropped in a frozen tower

        def keep(done: int, epoch: int = epoch, batches: list = batches, retrieved: bool = retrieved) -> None:
            place = {"epoch": epoch, "done": done, "retrieved": retrieved}
            place["batches"] = [torch.from_numpy(np.array(videos)) for videos in batches]
            _save_state(folder, model, optimizer, schedule, config, engine, place)

        stopping = False
        for i in range(done, per_epoch):
            batch = pairs_of(data, batches, i, epoch, config, engine)
            groups = batch.groups(engine.device)
            given = batch(model, tokenizer)
            numbers = apply_update(model, optimizer, schedule, given, config, engine, batch.total, groups)
            numbers["false_negatives"] = false_negatives(batch.all_pairs, data)
            record = StepRecord(epoch, epoch * per_epoch + i, retrieved=retrieved, **numbers)
            log.write(asdict(record))
            inside = i + 1 < per_epoch
            if folder and inside and config.save_every and (i + 1) % config.save_every == 0:
                keep(i + 1)
            yield record
            stopping = stop is not None and stop()
            if stopping and inside:
                if folder:
                    keep(i + 1)
                return
        model.eval()
        if on_epoch and engine.main:
            log.write({"epoch": epoch, "step": (epoch + 1) * per_epoch - 1, **on_epoch(epoch, model)})
        if folder:
            _save_state(folder, model, optimizer, schedule, config, engine, {"epoch": epoch + 1})
        engine.wait()
        if stopping:
            return


def updates(data: PairData, config: TrainConfig, world: int = 1) -> int:
    """Number of updates of the whole run: on average every video is in a batch `passes_per_epoch` times an epoch.

    With local negatives an update takes a batch for each of `world` ranks.
    """
    k = min(config.clusters.videos_per_batch, len(data.tracks)) * (world if config.negatives == "local" else 1)
    return config.epochs * max(1, config.passes_per_epoch * len(data.tracks) // k)


def make_optimizer(model: VideoCLIP, config: TrainConfig, steps: int):
    """Adam (0.9, 0.98, eps 1e-8), weight decay decoupled, and its rate: warm-up from 0, then, if asked, linear decay.

    Decay ends after `steps` updates, or `config.decay_updates`. Source: reference code, whose update n has the rate of
    n - 1, so that the first changes nothing; `first_update="warm"` starts one later. `adam="fairseq"` adds epsilon
    before the bias correction, as that code does; gradients near epsilon then move less in the first updates.
    """
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=config.lr, betas=(0.9, 0.98), weight_decay=config.weight_decay, fused=True
    )
    if config.adam == "fairseq":
        optimizer.register_step_pre_hook(_fairseq_epsilon)
    steps = config.decay_updates or steps

    def factor(n: int) -> float:
        n += config.first_update == "warm"
        if n < config.warmup:
            return n / config.warmup
        left = max(0.0, (steps - n) / max(1, steps - config.warmup))
        return left if config.schedule == "linear" else 1.0

    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, factor)


def _fairseq_epsilon(optimizer: torch.optim.Optimizer, *_: object) -> None:
    """(sqrt(v) + eps) / c = sqrt(v) / c + eps / c, with c = sqrt(1 - b2^n): the last term is ours to set."""
    for group in optimizer.param_groups:
        done = (optimizer.state[p]["step"].item() for p in group["params"] if p in optimizer.state)
        group["eps"] = 1e-8 / math.sqrt(1 - group["betas"][1] ** (1 + next(done, 0)))


def _mix(*numbers: int) -> int:
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


class _Log:
    """JSON lines, one an update; lines of updates that will be done again are cut on resuming."""

    def __init__(self, folder: str | Path | None):
        self.path = Path(folder) / "log.jsonl" if folder else None

    def cut(self, step: int) -> None:
        if self.path:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            lines = self.path.read_text().splitlines() if self.path.exists() else []
            kept = [line for line in lines if line.endswith("}") and json.loads(line)["step"] < step]
            with atomic_write(self.path) as file:
                file.write("".join(line + "\n" for line in kept))

    def write(self, record: dict) -> None:
        if self.path:
            with self.path.open("a") as file:
                file.write(json.dumps(record) + "\n")


def _save_state(
    folder: str | Path, model: VideoCLIP, optimizer, schedule, config: TrainConfig, engine: Engine, place: dict
) -> None:
    """`place`: epoch to go on with, and inside it how many updates are done, of which batches."""
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "schedule": schedule.state_dict(),
             "config": config.model_dump_json(), "random": engine.random_states(), **place}  # fmt: skip
    if engine.main:
        with atomic_write(Path(folder) / "state.pt", "wb") as file:
            torch.save(state, file)


def _restore(
    folder: str | Path, model: VideoCLIP, optimizer, schedule, config: TrainConfig, device: torch.device
) -> dict:
    """What `_save_state` wrote, already put into model and optimizer; a state of another configuration is refused."""
    path = Path(folder) / "state.pt"
    if not path.exists():
        return {"epoch": 0}
    state = torch.load(path, weights_only=True, map_location=device)
    if TrainConfig.model_validate_json(state["config"]) != config:  # a setting newer than the state has its default
        raise VcworkError(f"{path}: was trained with another configuration; choose another folder")
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    schedule.load_state_dict(state["schedule"])
    return state
