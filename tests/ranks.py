"""What test_engine.py runs, alone or under torchrun: gradients, neighbours and a short run on the toy of test_train."""

import sys
from pathlib import Path

import numpy as np
import torch
from test_train import CONFIG, new_model, toy

from vcwork.core.batches import epoch_batches, pairs_of, video_vectors
from vcwork.core.config import TrainConfig
from vcwork.core.engine import Engine
from vcwork.core.loop import pretrain
from vcwork.core.step import Learner


def gradient(config: TrainConfig, batches: list[np.ndarray]) -> torch.Tensor:
    """All gradients of one update, after clipping, in one vector."""
    data, tokenizer = toy()
    model, engine = new_model(dropout=0.0), Engine()
    batch = pairs_of(data, batches, 0, 0, config, engine)
    Learner(model, config, 10, engine).update(batch(model, tokenizer), total=len(batch.all_pairs))
    return torch.cat([p.grad.flatten() for p in model.parameters()])


def everything() -> dict:
    engine = Engine()
    batches = [np.array([0, 3, 5, 7]), np.array([1, 2, 9, 11])]
    found = {"global": gradient(CONFIG, batches), "world": engine.world}
    found["micro"] = gradient(CONFIG.model_copy(update={"micro_batch": 3}), batches)
    found["local"] = gradient(CONFIG.model_copy(update={"negatives": "local", "clip_norm": 1e9}), batches)
    data, tokenizer = toy()
    found["vectors"] = torch.from_numpy(video_vectors(new_model(), tokenizer, data, CONFIG, 1, engine))
    lists, _ = epoch_batches(new_model(), tokenizer, data, CONFIG, 1, 5, engine)
    found["lists"] = torch.from_numpy(np.stack(lists))
    model = new_model(dropout=0.0)
    records = list(pretrain(model, tokenizer, data, CONFIG.model_copy(update={"epochs": 2, "passes_per_epoch": 2})))
    found["losses"] = torch.tensor([r.loss for r in records])
    found["weights"] = torch.cat([p.detach().flatten() for p in model.parameters()])
    return found


if __name__ == "__main__":
    found = everything()
    torch.save(found, Path(sys.argv[1]) / f"rank{Engine().rank}.pt")
