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
from vcwork.base.settings import Strict
from vcwork.core.batches import pad_clips
from vcwork.core.config import TrainConfig
from vcwork.core.engine import Engine
from vcwork.core.step import Learner
from vcwork.encoders.checkpoint import save_encoder
from vcwork.encoders.encoder import Encoder
from vcwork.training.watch import tell_warm_up

DEFAULTS = {"epochs": 10, "warmup": 122, "decay_updates": 1_000_000, "adam": "fairseq", "negatives": "local", "seed": 1}
LOSS = {"retrieval": "t2v", "videoqa": "v2t"}  # the reference code's; the other tasks have one of their own
UNUSED = (
    "passes_per_epoch", "own_negatives", "same_video", "mining", "word_dropout", "start", "freeze_text",
    "shuffle_captions", "save_every", "pairs", "clusters",
)  # fmt: skip


class FinetuneRecipe(Strict):
    """Settings of one fine-tuning: what of a video is shown, and `train`, whose defaults are the reference code's."""

    task: Literal["retrieval", "videoqa", "segmentation", "localization"]
    batch_size: int = Field(128, ge=1)  # pairs, or videos, of one rank's update
    repeats: int = Field(1, ge=1)  # times a clip is listed in an epoch, each time with a sentence of its own drawn
    stride: int = Field(8, ge=1)  # tokens between windows in training (segmentation, localization)
    test_stride: int = Field(16, ge=1)  # and when predicting
    train: TrainConfig

    @model_validator(mode="before")
    @classmethod
    def _completed(cls, told: dict[str, Any]) -> dict[str, Any]:
        """`train` over the reference's values; its keys may also stand beside the others."""
        train = told.get("train", {})
        if not isinstance(train, dict | TrainConfig):
            return told
        beside = {name: told[name] for name in told if name in TrainConfig.model_fields}
        own = {"loss": LOSS[told["task"]]} if told.get("task") in LOSS else {}
        rest = {name: value for name, value in told.items() if name not in TrainConfig.model_fields}
        return {**rest, "train": {**DEFAULTS, **own, **beside, **dict(train)}}

    @model_validator(mode="after")
    def _fits(self) -> "FinetuneRecipe":
        plain = TrainConfig()
        unused = UNUSED if self.task in LOSS else (*UNUSED, "loss")
        if wrong := [name for name in unused if getattr(self.train, name) != getattr(plain, name)]:
            raise ValueError(f"train.{wrong[0]}: means nothing for {self.task}; leave it out")
        return self

    def but(self, **changes: Any) -> "FinetuneRecipe":
        """This recipe with other settings of `train`."""
        return self.model_copy(update={"train": self.train.model_copy(update=changes)})


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


Update = Callable[[Learner, np.ndarray, int], dict[str, float]]  # of items, in this step -> loss, flat, accuracy, ...


def fit(
    model: nn.Module, n_items: int, recipe: FinetuneRecipe, update: Update, validate: Callable[[], float] | None = None
) -> Iterator[FinetuneRecord]:
    """Epochs of shuffled items 0..n-1, in place; `update` trains on some of them. `validate()`: higher is better.

    Everything drawn depends on (seed, epoch, step) alone. With `keep="best"` the model ends as it was after its best
    epoch, the earliest of equal ones; it must then be iterated to its end. Under torchrun every rank calls this alike.
    """
    config = recipe.train
    if config.keep == "best" and validate is None:
        raise VcworkError("keep: best needs validation data; give some, or keep the last epoch")
    engine = Engine(config.precision)
    total = n_updates(n_items, recipe, engine.world)
    if engine.main:
        tell_warm_up(config.warmup, total)
    learner = Learner(model.to(engine.device), config, total, engine)
    best, kept = -math.inf, None
    for epoch in range(config.epochs):
        chunks = chunks_of(n_items, recipe, engine.world, epoch)
        torch.manual_seed(int(np.random.SeedSequence([config.seed, 20, epoch, engine.rank]).generate_state(1)[0]))
        for i, items in enumerate(chunks):
            model.train()
            step = epoch * len(chunks) + i
            numbers = update(learner, items, step)
            if validate is not None and i + 1 == len(chunks):
                model.eval()
                numbers["validation"] = float(validate())
                if numbers["validation"] > best:
                    best = numbers["validation"]
                    kept = copy.deepcopy(model.state_dict()) if config.keep == "best" else None
            yield FinetuneRecord(epoch, step, **numbers)
    if kept is not None:
        model.load_state_dict(kept)
    model.eval()


def chunks_of(n_items: int, recipe: FinetuneRecipe, world: int, epoch: int) -> list[np.ndarray]:
    """Items of each update of an epoch, for all ranks together; the last may be smaller, but has one for each rank."""
    order = np.random.default_rng([recipe.train.seed, 21, epoch]).permutation(
        np.repeat(np.arange(n_items), recipe.repeats)
    )
    size = recipe.batch_size * world
    chunks = [order[i : i + size] for i in range(0, len(order), size)]
    chunks = [chunk for chunk in chunks if len(chunk) >= world]
    if not chunks:
        raise VcworkError(
            f"{recipe.task}: expected something to learn from for each of {world} ranks, got {len(order)}"
        )
    return chunks


def n_updates(n_items: int, recipe: FinetuneRecipe, world: int = 1) -> int:
    return recipe.train.epochs * len(chunks_of(n_items, recipe, world, 0))


# ------------------------------------------------------------------------------------------ retrieval and VideoQA


@dataclass(frozen=True)
class ClipSet:
    """Clips (T, W) and the sentences of each, one or more: of several, one is drawn each time."""

    clips: list[np.ndarray]
    sentences: list[list[str]]


def finetune_pairs(
    encoder: Encoder, data: ClipSet, recipe: FinetuneRecipe, validate: Callable[[], float] | None = None
) -> Iterator[FinetuneRecord]:
    """Fine-tune `encoder.model` for retrieval (each text finds its clip) or VideoQA (each clip its text); see `fit`.

    Of a clip the first `max_video_tokens` seconds are seen, of a sentence the first `max_text_tokens` tokens. Listed
    more than once, a clip may meet itself as a negative, as in the reference code, whose MSR-VTT recipe lists each 20
    times.
    """

    def update(learner: Learner, items: np.ndarray, step: int) -> dict[str, float]:
        rng, engine = np.random.default_rng([recipe.train.seed, 22, step]), learner.engine
        drawn = [data.sentences[i][rng.integers(len(data.sentences[i]))] for i in items]
        own = engine.share(list(zip(items, drawn, strict=True)))
        clips = pad_clips([data.clips[i] for i, _ in own], encoder.window)
        words = encoder.tokenizer.encode([text for _, text in own], encoder.model.config.max_text_tokens)
        batch = tuple(tensor.to(engine.device) for tensor in (*clips, *words))
        numbers = learner.update(batch, total=len(items))
        own_names = {"log_batch": "flat", "in_batch_accuracy": "accuracy"}
        return {own_names.get(k, k): numbers[k] for k in ("loss", "lr", "grad_norm", *own_names)}

    return fit(encoder.model, len(data.clips), recipe, update, validate)


def save_finetuned(folder: str | Path, encoder: Encoder, recipe: FinetuneRecipe, **more: object) -> Encoder:
    """The fine-tuned encoder as a checkpoint of its own; its card names the one it came from and the recipe."""
    card = {**encoder.card, "finetuned": {"from": encoder.digest, "recipe": recipe.model_dump(), **more}}
    return save_encoder(folder, replace(encoder, digest="unsaved", card=card))
