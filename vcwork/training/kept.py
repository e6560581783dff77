"""What a training leaves in its folder, an update a line, and from where it goes on when it was cut off.

`train.json` is the folder's manifest: who the run is, and the seals of its last state, of its best weights, and of the
log as far as that state goes. A state is a new file, told of when it is whole, and then the one before goes: a training
that is killed, whenever, goes on from a state that is whole, or says which file is not.
Only files that the manifest named are ever removed.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from vcwork.base.errors import VcworkError
from vcwork.base.files import append, atomic_write
from vcwork.base.sealed import (
    Kind,
    begin,
    load_weights,
    manifest_alone,
    member,
    read_manifest,
    seal,
    write_manifest,
    write_tensors,
)
from vcwork.core.config import TrainConfig
from vcwork.core.loop import Keeping
from vcwork.core.step import Learner
from vcwork.data.backbones.hugging_face import as_error
from vcwork.encoders.checkpoint import CHECKPOINT, write_torch

TRAINING = Kind(
    "training", "vcwork-training-1", "train.json", owns=(*CHECKPOINT.owns, "checkpoint.json", "frames.json"),
    fields={"identity": dict, "files": dict},
)  # fmt: skip


class KeptRun(Keeping):
    """In `folder`: `train.json`, `log.jsonl`, a line an update, and the last state. `identity`: who the run is."""

    def __init__(self, folder: str | Path, identity: Mapping[str, Any] | None = None) -> None:
        self.folder, self.log = Path(folder), Path(folder) / "log.jsonl"
        self._told: dict[str, Any] = {"identity": identity or {}, "files": {}}
        self._best: dict[str, str] = {}  # file and score

    def begin(self) -> bool:
        """Make the folder, unless it is a training's, which it tells; VcworkError where it holds what is not ours."""
        if there := (self.folder / TRAINING.manifest).exists():
            return there
        begin(self.folder, TRAINING)
        return False

    def open(self, learner: Learner, per_epoch: int) -> dict[str, Any]:
        """Where to go on, the state already in the learner; log lines of updates that will be done again are cut."""
        self.learner, self.per_epoch = learner, per_epoch
        if learner.engine.main and not self.begin():
            write_manifest(self.folder, TRAINING, self._told)
        learner.engine.wait()
        self._told = read_manifest(self.folder, TRAINING, verify=True)
        with as_error(f"{self.folder / TRAINING.manifest}: not of a training that can go on"):
            place = self._restore() if "state" in self._told else {"epoch": 0}
            self._best = self._told.get("best", {})
        if learner.engine.main:
            self._sweep()
            self._cut_log()
        return place

    def write(self, record: dict) -> None:
        if self.learner.engine.main:
            append(self.log, json.dumps(record) + "\n")

    def save(self, place: dict) -> None:
        learner = self.learner
        name = f"state-{place['epoch'] * self.per_epoch + place.get('done', 0)}.pt"
        state = {"model": learner.model.state_dict(), "optimizer": learner.optimizer.state_dict(),
                 "schedule": learner.schedule.state_dict(), "config": learner.config.model_dump_json(),
                 "random": self._random(), **place}  # fmt: skip
        if learner.engine.main and self._told.get("state") != name:
            write_torch(self.folder / name, state)
            files = [name, self._best["file"]] if self._best else [name]
            self._tell(files, state=name, best=self._best, log=seal(self.log))

    def look(self, model: nn.Module, epoch: int, score: float) -> None:
        """Keep the weights of the epoch with the highest score, the earliest of equal ones."""
        if not self._best or score > float(self._best["score"]):
            self._best = {"file": f"best-{epoch}.safetensors", "score": repr(score)}
            write_tensors(self.folder / self._best["file"], model.state_dict())

    def put_back(self, model: nn.Module) -> None:
        """Those weights into the model, where there are some."""
        if self._best:
            name = self._best["file"]
            load_weights(model, self.folder / name, self._told["files"][name], TRAINING.manifest)

    def finish(self) -> None:
        """The checkpoint is written: the log is sealed whole, and the state is not needed any more."""
        self._told = manifest_alone(self.folder, TRAINING)
        if [*self._told["files"]] != [self.log.name]:
            self._tell([self.log.name])
        self._sweep()

    def _tell(self, files: list[str], **more: Any) -> None:
        """The manifest anew, with these files; others that it named before go."""
        before = self._told
        self._told = {"identity": before["identity"], "files": {name: seal(self.folder / name) for name in files}}
        self._told |= more | {"gone": sorted(before["files"].keys() - self._told["files"].keys())}
        write_manifest(self.folder, TRAINING, self._told)
        self._sweep()

    def _sweep(self) -> None:
        """Remove what the manifest names as gone: this may have been cut off before."""
        for name in self._told.get("gone", []):
            member(self.folder, name).unlink(missing_ok=True)

    def _cut_log(self) -> None:
        """Back to where it was at the last state; VcworkError where it is another one."""
        sealed = self._told.get("log", {"bytes": 0, "sha256": hashlib.sha256().hexdigest()})
        begun = self.log.read_bytes()[: sealed["bytes"]] if self.log.is_file() else b""
        if hashlib.sha256(begun).hexdigest() != sealed["sha256"]:
            how = "delete the folder to begin anew"
            raise VcworkError(f"{self.log}: missing, or not the log of {TRAINING.manifest}; damaged or swapped, {how}")
        with atomic_write(self.log, "wb") as file:
            file.write(begun)

    def _restore(self) -> dict[str, Any]:
        learner, path = self.learner, self.folder / self._told["state"]
        state = torch.load(path, weights_only=True, map_location=learner.engine.device)
        known = TrainConfig.model_validate_json(state["config"])  # a setting newer than the state has its default
        if known != learner.config:
            raise VcworkError(f"{path}: was trained with another configuration; choose another folder")
        learner.model.load_state_dict(state.pop("model"))
        learner.optimizer.load_state_dict(state.pop("optimizer"))
        learner.schedule.load_state_dict(state.pop("schedule"))
        if "done" in state:  # inside an epoch; another number of ranks starts from rank 0's
            random, engine = state["random"], learner.engine
            _set_random(random[engine.rank] if len(random) == engine.world else random[0], engine.device)
        return {name: value for name, value in state.items() if name not in ("config", "random")}

    def _random(self) -> list[torch.Tensor]:
        """State of every rank's generators."""
        engine = self.learner.engine
        mine = torch.get_rng_state()
        mine = torch.cat([mine, torch.cuda.get_rng_state(engine.device)]) if engine.device.type == "cuda" else mine
        states: list = [mine] * engine.world
        if engine.world > 1:
            dist.all_gather_object(states, mine)
        return states


def _set_random(state: torch.Tensor, device: torch.device) -> None:
    """Put back torch's generator, and the GPU's, whose state lies behind it."""
    size = len(torch.get_rng_state())
    torch.set_rng_state(state[:size].cpu())
    if device.type == "cuda" and len(state) > size:
        torch.cuda.set_rng_state(state[size:].cpu(), device)
