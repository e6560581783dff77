"""What a training leaves in its folder, an update a line, and from where it goes on when it was cut off."""

import json
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from vcwork.base.errors import VcworkError
from vcwork.base.files import atomic_write
from vcwork.core.config import TrainConfig
from vcwork.core.loop import Keeping
from vcwork.core.step import Learner


class KeptRun(Keeping):
    """In `folder`: `log.jsonl`, a line an update, and `state.pt`."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def open(self, learner: Learner, per_epoch: int) -> dict[str, Any]:
        """Where to go on, the state already in the learner; log lines of updates that will be done again are cut."""
        self.learner, self.log = learner, self.folder / "log.jsonl" if learner.engine.main else None
        state = self.folder / "state.pt"
        place = self._restore(state) if state.exists() else {"epoch": 0}
        if self.log:
            self.log.parent.mkdir(parents=True, exist_ok=True)
            lines = self.log.read_text().splitlines() if self.log.exists() else []
            step = place["epoch"] * per_epoch + place.get("done", 0)
            kept = [line for line in lines if line.endswith("}") and json.loads(line)["step"] < step]
            with atomic_write(self.log) as file:
                file.write("".join(line + "\n" for line in kept))
        return place

    def write(self, record: dict) -> None:
        if self.log:
            with self.log.open("a") as file:
                file.write(json.dumps(record) + "\n")

    def save(self, place: dict) -> None:
        learner = self.learner
        state = {"model": learner.model.state_dict(), "optimizer": learner.optimizer.state_dict(),
                 "schedule": learner.schedule.state_dict(), "config": learner.config.model_dump_json(),
                 "random": self._random(), **place}  # fmt: skip
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
