"""Pre-training as a generator of step records: look at each, stop when you like, go on later.

One step: k similar videos, several overlapped pairs of each, symmetric NCE over all of them. Once an epoch the
videos are embedded anew and the batches rebuilt (hard negatives). Everything drawn depends on (seed, epoch, batch)
alone, so a resumed run goes where an uninterrupted one would have gone.
One process or, under torchrun, many; the text and video of all ranks meet in one loss, or each rank has its own.
Known gap: a run resumed on another number of ranks goes on, but not as the first would have gone.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vcwork.base.errors import VcworkError
from vcwork.base.files import atomic_write
from vcwork.core.batches import PairData, derange, epoch_batches, false_negatives, pairs_of
from vcwork.core.config import TrainConfig
from vcwork.core.engine import Engine
from vcwork.core.model import VideoCLIP
from vcwork.core.step import Learner
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
    learner = Learner(model, config, config.epochs * per_epoch, engine)
    kept = _Folder(folder, learner)
    place: dict[str, Any] = kept.open(per_epoch)
    for epoch in range(place["epoch"], config.epochs):
        done = place.pop("done", 0)
        if done:
            engine.restore_random(place["random"])
            place = {name: place[name] for name in ("epoch", "retrieved", "batches")}
        else:  # dropout follows the epoch and the rank, not the process
            torch.manual_seed(_mix(config.seed, epoch, *([engine.rank] if engine.rank else [])))
            batches, retrieved = epoch_batches(model, tokenizer, data, config, epoch, per_epoch, engine)
            place = {"epoch": epoch, "retrieved": retrieved, "batches": [torch.tensor(b) for b in batches]}
        batches = [videos.cpu().numpy() for videos in place["batches"]]
        model.train()
        model.text_bert.train(not config.freeze_text)  # nothing is dropped in a frozen tower
        stopping = False
        drawn = (pairs_of(data, batches, i, epoch, config, engine) for i in range(done, per_epoch))
        with closing(data.read(drawn, model.config.max_video_tokens)) as read:
            for i, batch in enumerate(read, done):
                numbers = learner.update(batch(model, tokenizer), batch.groups(engine.device), len(batch.all_pairs))
                about: dict[str, Any] = {"false_negatives": false_negatives(batch.all_pairs, data), **numbers}
                record = StepRecord(epoch, epoch * per_epoch + i, retrieved=place["retrieved"], **about)
                kept.write(asdict(record))
                inside = i + 1 < per_epoch
                if inside and config.save_every and (i + 1) % config.save_every == 0:
                    kept.save(place | {"done": i + 1})
                yield record
                stopping = stop is not None and stop()
                if stopping and inside:
                    kept.save(place | {"done": i + 1})
                    return
        model.eval()
        if on_epoch and engine.main:
            kept.write({"epoch": epoch, "step": (epoch + 1) * per_epoch - 1, **on_epoch(epoch, model)})
        place = {"epoch": epoch + 1}
        kept.save(place)
        engine.wait()
        if stopping:
            return


def updates(data: PairData, config: TrainConfig, world: int = 1) -> int:
    """Number of updates of the whole run: on average every video is in a batch `passes_per_epoch` times an epoch.

    With local negatives an update takes a batch for each of `world` ranks.
    """
    k = min(config.clusters.videos_per_batch, len(data.tracks)) * (world if config.negatives == "local" else 1)
    return config.epochs * max(1, config.passes_per_epoch * len(data.tracks) // k)


def _mix(*numbers: int) -> int:
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


class _Folder:
    """What a run leaves where it has a folder: `log.jsonl`, a line an update, and `state.pt`, from which it goes on."""

    def __init__(self, folder: str | Path | None, learner: Learner) -> None:
        self.folder, self.learner = Path(folder) if folder else None, learner
        self.log = self.folder / "log.jsonl" if self.folder and learner.engine.main else None

    def open(self, per_epoch: int) -> dict[str, Any]:
        """Where to go on, the state already in the learner; log lines of updates that will be done again are cut."""
        state = self.folder / "state.pt" if self.folder else None
        place = self._restore(state) if state and state.exists() else {"epoch": 0}
        if self.log:
            self.log.parent.mkdir(parents=True, exist_ok=True)
            lines = self.log.read_text().splitlines() if self.log.exists() else []
            step = place["epoch"] * per_epoch + place.get("done", 0)
            kept = [line for line in lines if line.endswith("}") and json.loads(line)["step"] < step]
            with atomic_write(self.log) as file:
                file.write("".join(line + "\n" for line in kept))
        return place

    def write(self, record: dict) -> None:
        """A line of the log."""
        if self.log:
            with self.log.open("a") as file:
                file.write(json.dumps(record) + "\n")

    def save(self, place: dict) -> None:
        """`place`: epoch to go on with, and inside it how many updates are done, of which batches."""
        if not self.folder:
            return
        learner = self.learner
        state = {"model": learner.model.state_dict(), "optimizer": learner.optimizer.state_dict(),
                 "schedule": learner.schedule.state_dict(), "config": learner.config.model_dump_json(),
                 "random": learner.engine.random_states(), **place}  # fmt: skip
        if learner.engine.main:
            with atomic_write(self.folder / "state.pt", "wb") as file:
                torch.save(state, file)

    def _restore(self, path: Path) -> dict[str, Any]:
        learner = self.learner
        state = torch.load(path, weights_only=True, map_location=learner.engine.device)
        known = TrainConfig.model_validate_json(state["config"])  # a setting newer than the state has its default
        if known != learner.config:
            raise VcworkError(f"{path}: was trained with another configuration; choose another folder")
        learner.model.load_state_dict(state.pop("model"))
        learner.optimizer.load_state_dict(state.pop("optimizer"))
        learner.schedule.load_state_dict(state.pop("schedule"))
        return state
