"""Pre-training as a generator of step records: look at each, stop when you like, go on later.

One step: k similar videos, several overlapped pairs of each, symmetric NCE over all of them. Once an epoch the
videos are embedded anew and the batches rebuilt (hard negatives). Everything drawn depends on (seed, epoch, batch)
alone, so a resumed run goes where an uninterrupted one would have gone.
One process or, under torchrun, many; the text and video of all ranks meet in one loss, or each rank has its own.
Known gap: a run resumed on another number of ranks goes on, but not as the first would have gone.
"""

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from vcwork.core.batches import PairData, Search, epoch_batches, false_negatives, pairs_of
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


class Keeping:
    """What a run leaves behind: here nothing. `vcwork.training.kept` leaves a log, and states to go on from."""

    def open(self, learner: Learner, per_epoch: int) -> dict[str, Any]:
        """Where to begin, the state already in the learner."""
        return {"epoch": 0}

    def write(self, record: dict) -> None:
        """A line for the log."""

    def save(self, place: dict) -> None:
        """A state: `place` has the epoch to go on with, and inside it how many updates are done, of which batches."""


def pretrain(
    model: VideoCLIP, tokenizer: Tokenizer, data: PairData, config: TrainConfig, kept: Keeping | None = None,
    on_epoch: Callable[[int, VideoCLIP], dict] | None = None, stop: Callable[[], bool] | None = None,
    search: Search | None = None,
) -> Iterator[StepRecord]:  # fmt: skip
    """Train `model` in place; yields a record an update. Under torchrun every rank calls this alike.

    `kept` is told each record and, after each epoch or `config.save_every` updates, a state from which a later call
    goes on. `on_epoch(epoch, model)`, on the main rank, may return numbers for the log (validation). Where `stop()` is
    true after a record, the state is kept and the records end; all ranks have to be told alike. `search` makes batches
    of neighbours. `config.shuffle_captions` is the caller's to do, who has the data (`vcwork.training.pairs.control`).
    """
    engine = Engine(config.precision)
    model.to(engine.device)
    model.text_bert.requires_grad_(not config.freeze_text)
    per_epoch = updates(data, config, engine.world) // config.epochs
    learner = Learner(model, config, config.epochs * per_epoch, engine)
    kept = kept or Keeping()
    place: dict[str, Any] = kept.open(learner, per_epoch)
    for epoch in range(place["epoch"], config.epochs):
        done = place.pop("done", 0)
        if not done:  # dropout follows the epoch and the rank, not the process
            seed = np.random.SeedSequence([config.seed, epoch, *([engine.rank] if engine.rank else [])])
            torch.manual_seed(int(seed.generate_state(1)[0]))
            batches, retrieved = epoch_batches(model, tokenizer, data, config, epoch, per_epoch, engine, search)
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
