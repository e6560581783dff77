"""Fine-tuning of a pre-trained VideoCLIP: the recipe of a task, the loop all tasks share, retrieval and VideoQA.

Retrieval and VideoQA train on whole clips and their sentences, each direction with its own loss; segmentation and
localization, which train on seconds, are in `vcwork.training.segmentation_head`. Hyper-parameters of the reference code
lie in `params/paper/recipes/`. An epoch is chosen by validation only: `keep="best"` asks for a `validate`, and there is
no place to hand in test data.
Known gaps: a run is not resumed (they take minutes to an hour); under torchrun every rank validates for itself.
"""

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import nn

from vcwork.base.errors import VcworkError
from vcwork.base.files import read_yaml, resolve
from vcwork.base.settings import Strict
from vcwork.core.batches import pad_clips
from vcwork.core.config import ModelConfig, TrainConfig
from vcwork.core.engine import Engine
from vcwork.core.step import Learner
from vcwork.encoders.checkpoint import save_encoder
from vcwork.encoders.encoder import Encoder
from vcwork.training.recipe import FROM_DATA

LOSSES_OF = {
    "retrieval": ("t2v", "v2t", "symmetric", "reference"),
    "videoqa": ("v2t", "t2v", "symmetric", "reference"),
    "segmentation": ("cross entropy",),
    "localization": ("binary cross entropy",),
}  # the first is the reference code's
OF_TRAINING = (
    "epochs", "lr", "warmup", "weight_decay", "clip_norm", "schedule", "decay_updates", "first_update", "adam", "seed",
    "precision", "micro_batch", "negatives",
)  # fmt: skip


class FinetuneRecipe(Strict):
    """Settings of one fine-tuning. Defaults are the reference code's where it has one for every task."""

    task: Literal["retrieval", "videoqa", "segmentation", "localization"]
    loss: str = ""  # empty: the reference's for the task
    model: dict[str, Any] = Field(default_factory=dict)  # sizes of a random start; empty: a checkpoint's
    epochs: int = Field(10, ge=1)
    batch_size: int = Field(128, ge=1)  # pairs, or videos, of one rank's update
    repeats: int = Field(1, ge=1)  # times a clip is listed in an epoch, each time with a sentence of its own drawn
    lr: float = Field(5.0e-5, gt=0)
    warmup: int = Field(122, ge=0)
    weight_decay: float = Field(0.0, ge=0)
    clip_norm: float = Field(2.0, gt=0)
    schedule: Literal["linear", "constant"] = "linear"
    decay_updates: int = Field(1_000_000, ge=0)  # 0: the length of the run
    first_update: Literal["zero", "warm"] = "zero"
    adam: Literal["torch", "fairseq"] = "fairseq"
    negatives: Literal["global", "local"] = "local"
    precision: Literal["float32", "bf16"] = "float32"
    micro_batch: int = Field(0, ge=0)
    keep: Literal["last", "best"] = "last"  # best: of the epochs, by validation
    seed: int = 1
    stride: int = Field(8, ge=1)  # tokens between windows in training (segmentation, localization)
    test_stride: int = Field(16, ge=1)  # and when predicting
    shift: bool = False  # ours: windows begin at a random token, anew each epoch
    rows_per_token: int = Field(1, ge=1)  # ours: rows of features averaged into one token (segmentation)
    time_input: bool = False  # ours: where in the video a token lies, as more features (segmentation)
    label_smoothing: float = Field(0.0, ge=0, lt=1)  # ours (segmentation)
    foreign: float = Field(0.0, ge=0)  # ours: up to this much of another training video added to a piece (segmentation)
    foreign_tokens: int = Field(8, ge=1)  # mean length of such a piece
    switch_cost: float = Field(0.0, ge=0)  # ours: nats a change of label costs when predicting (segmentation)

    @model_validator(mode="after")
    def _fits(self) -> "FinetuneRecipe":
        if self.loss and self.loss not in LOSSES_OF[self.task]:
            raise ValueError(f"loss of {self.task}: expected one of {', '.join(LOSSES_OF[self.task])}")
        if wrong := [name for name in FROM_DATA if name in self.model]:
            raise ValueError(f"model: {', '.join(wrong)} come from the data")
        if self.model:
            ModelConfig.checked(**self.model)
        return self

    def train_config(self) -> TrainConfig:
        """What `vcwork.core.loop`'s optimizer and update read."""
        shared = {name: getattr(self, name) for name in OF_TRAINING}
        pairs = self.task in ("retrieval", "videoqa")
        return TrainConfig(**shared, **({"loss": self.loss or LOSSES_OF[self.task][0]} if pairs else {}))


def read_finetune_recipe(path: str | Path, seed: int | None = None) -> FinetuneRecipe:
    """The recipe in a YAML file; `seed` replaces its own. VcworkError naming file, key and what was expected."""
    path = resolve(path)
    try:
        recipe = FinetuneRecipe.checked(**read_yaml(path))
    except VcworkError as error:
        raise VcworkError(f"{path}: {error}") from None
    return recipe if seed is None else recipe.model_copy(update={"seed": seed})


@dataclass(frozen=True)
class FinetuneRecord:
    """What one update did. `flat` is the loss of equal scores, the line to beat: log B, log C or log 2."""

    epoch: int
    step: int
    loss: float
    flat: float
    accuracy: float  # of this batch, in training mode: pairs, seconds, or seconds times steps
    lr: float
    grad_norm: float
    validation: float | None = None  # after the last update of an epoch


# ------------------------------------------------------------------------------------------------------ the loop


Update = Callable[[np.ndarray, int, int], dict[str, float]]  # items, epoch, step -> loss, flat, accuracy, ...


def fit(
    model: nn.Module, n_items: int, recipe: FinetuneRecipe, update: Update, engine: Engine,
    validate: Callable[[], float] | None = None,
) -> Iterator[FinetuneRecord]:  # fmt: skip
    """Epochs of shuffled items 0..n-1; `update` trains on some of them. `validate()`: higher is better.

    Everything drawn depends on (seed, epoch, step) alone. With `keep="best"` the model ends as it was after its best
    epoch, the earliest of equal ones; it must then be iterated to its end.
    """
    if recipe.keep == "best" and validate is None:
        raise VcworkError("keep: best needs validation data; give some, or keep the last epoch")
    best, kept = -math.inf, None
    for epoch in range(recipe.epochs):
        chunks = chunks_of(n_items, recipe, engine.world, epoch)
        torch.manual_seed(int(np.random.SeedSequence([recipe.seed, 20, epoch, engine.rank]).generate_state(1)[0]))
        for i, items in enumerate(chunks):
            model.train()
            step = epoch * len(chunks) + i
            numbers = update(items, epoch, step)
            if validate is not None and i + 1 == len(chunks):
                model.eval()
                numbers["validation"] = float(validate())
                if numbers["validation"] > best:
                    best = numbers["validation"]
                    kept = copy.deepcopy(model.state_dict()) if recipe.keep == "best" else None
            yield FinetuneRecord(epoch, step, **numbers)
    if kept is not None:
        model.load_state_dict(kept)
    model.eval()


def chunks_of(n_items: int, recipe: FinetuneRecipe, world: int, epoch: int) -> list[np.ndarray]:
    """Items of each update of an epoch, for all ranks together; the last may be smaller, but has one for each rank."""
    order = np.random.default_rng([recipe.seed, 21, epoch]).permutation(np.repeat(np.arange(n_items), recipe.repeats))
    size = recipe.batch_size * world
    chunks = [order[i : i + size] for i in range(0, len(order), size)]
    chunks = [chunk for chunk in chunks if len(chunk) >= world]
    if not chunks:
        raise VcworkError(f"expected at least one item for each of {world} ranks, got {len(order)}")
    return chunks


def n_updates(n_items: int, recipe: FinetuneRecipe, world: int = 1) -> int:
    """Updates of the whole run."""
    return recipe.epochs * len(chunks_of(n_items, recipe, world, 0))


# ------------------------------------------------------------------------------------------ retrieval and VideoQA


@dataclass
class ClipSet:
    """Clips (T, W) and the sentences of each, one or more: of several, one is drawn each time."""

    clips: list[np.ndarray]
    sentences: list[list[str]]

    def __post_init__(self) -> None:
        if not self.clips or len(self.clips) != len(self.sentences):
            counts = f"{len(self.clips)} clips, {len(self.sentences)} lists of sentences"
            raise VcworkError(f"expected one list of sentences a clip and at least one clip, got {counts}")
        for i, (clip, own) in enumerate(zip(self.clips, self.sentences, strict=True)):
            if isinstance(own, str) or not own:
                raise VcworkError(f"clip {i}: expected a list of sentences, got {own!r}")
            if np.ndim(clip) != 2 or not len(clip):
                raise VcworkError(f"clip {i}: expected features (T, W) with T >= 1, got {np.shape(clip)}")


def finetune_pairs(
    encoder: Encoder, data: ClipSet, recipe: FinetuneRecipe, validate: Callable[[], float] | None = None
) -> Iterator[FinetuneRecord]:
    """Fine-tune `encoder.model` in place for retrieval (each text finds its clip) or VideoQA (each clip its text).

    Of a clip the first `max_video_tokens` seconds are seen, of a sentence the first `max_text_tokens` tokens. Listed
    more than once, a clip may meet itself as a negative, as in the reference code, whose MSR-VTT recipe lists each 20
    times. `validate()` after each epoch, the model in evaluation mode. Under torchrun every rank calls this alike.
    """
    if recipe.task not in ("retrieval", "videoqa"):
        raise VcworkError(f"task: expected retrieval or videoqa, got {recipe.task!r}")
    engine, config = Engine(recipe.precision), recipe.train_config()
    model = encoder.model.to(engine.device)
    learner = Learner(model, config, n_updates(len(data.clips), recipe, engine.world), engine)

    def update(items: np.ndarray, epoch: int, step: int) -> dict[str, float]:
        rng = np.random.default_rng([recipe.seed, 22, step])
        drawn = [data.sentences[i][rng.integers(len(data.sentences[i]))] for i in items]
        own = engine.share(list(zip(items, drawn, strict=True)))
        clips = pad_clips([data.clips[i] for i, _ in own], encoder.window)
        words = encoder.tokenizer.encode([text for _, text in own], model.config.max_text_tokens)
        batch = tuple(tensor.to(engine.device) for tensor in (*clips, *words))
        total = len(own) if config.negatives == "local" else len(items)
        numbers = learner.update(batch, total=total)
        own_names = {"log_batch": "flat", "in_batch_accuracy": "accuracy"}
        return {own_names.get(k, k): numbers[k] for k in ("loss", "lr", "grad_norm", *own_names)}

    yield from fit(model, len(data.clips), recipe, update, engine, validate)


def save_finetuned(folder: str | Path, encoder: Encoder, recipe: FinetuneRecipe, **more: object) -> Encoder:
    """The fine-tuned encoder as a checkpoint of its own; its card names the one it came from and the recipe."""
    card = {**encoder.card, "finetuned": {"from": encoder.digest, "recipe": recipe.model_dump(), **more}}
    return save_encoder(folder, replace(encoder, digest="unsaved", card=card))
