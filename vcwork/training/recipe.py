"""A training recipe in one YAML file: sizes of the model, settings of the training, weights to begin with.

Notebook 20 and `python -m vcwork pretrain` (alone or under torchrun) read the same file. Every key is a field of
ModelConfig, TrainConfig or FrameConfig, whose defaults are those of the paper or document they come from; feature width
and vocabulary come from the data. Notebook 20 has a few switches on top (`Recipe.but`).
"""

from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from vcwork.base.errors import VcworkError
from vcwork.base.files import read_yaml, resolve
from vcwork.base.settings import Strict
from vcwork.core.config import ModelConfig, TrainConfig
from vcwork.encoders.frame_config import FrameConfig

FROM_DATA = ("feature_dim", "vocab_size", "cls_id", "sep_id")


class Recipe(Strict):
    """`model`: fields of ModelConfig but those that the data decide; `bert`: folder or hub name to begin with.

    `frames`: an encoder from pixels instead, which reads video files; it has its own sizes and words.
    """

    model: dict[str, Any] = Field(default_factory=dict)
    train: TrainConfig = TrainConfig()
    bert: str = ""
    frames: FrameConfig | None = None

    @model_validator(mode="after")
    def _fits(self) -> "Recipe":
        if wrong := [name for name in FROM_DATA if name in self.model]:
            raise ValueError(f"model: {', '.join(wrong)} come from the data")
        ModelConfig.checked(**self.model)
        if self.frames:
            self._fits_frames(self.frames)
        return self

    def _fits_frames(self, frames: FrameConfig) -> None:
        """Settings that mean nothing, or something else, with frames."""
        if self.model or self.bert:
            raise ValueError("model, bert: an encoder from pixels has its sizes and words in frames; leave them out")
        if self.train.start != "random":
            raise ValueError(f"start: {self.train.start} reads stored features; set random")
        if self.train.word_dropout and frames.text == "clip" and frames.text_source:
            raise ValueError("word_dropout: CLIP's own vocabulary has no unknown word to put in; set 0")
        if self.train.micro_batch and frames.backbone == "resnet" and not frames.frozen:
            raise ValueError("micro_batch: a ResNet's statistics would be each part's; set 0, or a frozen backbone")

    @property
    def identity(self) -> dict[str, Any]:
        """What a run is known by, beside its data."""
        own = {"frames": self.frames.model_dump()} if self.frames else {"sizes": self.sizes}
        return own | {"config": self.train.model_dump()} | ({"bert": self.bert} if self.bert else {})

    @property
    def sizes(self) -> dict[str, Any]:
        """What differs from ModelConfig's defaults, so that a field added later changes no stored identity."""
        fields = ModelConfig.model_fields
        return {name: value for name, value in self.model.items() if value != fields[name].default}

    def but(
        self, epochs: int = 0, lr: float = 0.0, videos_per_batch: int = 0, pair_rule: str = "", retrieve: bool = True,
        shuffle_captions: bool = False,
    ) -> "Recipe":  # fmt: skip
        """This recipe with notebook 20's switches set; each default leaves what is written. Raises VcworkError."""
        train = self.train.model_dump()
        train |= {name: value for name, value in {"epochs": epochs, "lr": lr}.items() if value}
        train["shuffle_captions"] |= shuffle_captions
        train["pairs"]["rule"] = pair_rule or train["pairs"]["rule"]
        train["clusters"]["videos_per_batch"] = videos_per_batch or train["clusters"]["videos_per_batch"]
        train["clusters"]["retrieve"] &= retrieve
        return self.model_copy(update={"train": TrainConfig.checked(**train)})

    def unlike_paper(self) -> list[tuple[str, Any, Any]]:
        """(setting, here, in the paper) of all that differs from the paper's recipe."""
        here, paper = self._flat(), Recipe()._flat()
        return [(name, value, paper[name]) for name, value in here.items() if value != paper[name] and name != "seed"]

    def _flat(self) -> dict[str, Any]:
        """Every setting by its name, as `hidden` and `pairs.rule`."""
        out = ModelConfig(**self.model).model_dump()
        for name, value in self.train.model_dump().items():
            out |= {f"{name}.{key}": v for key, v in value.items()} if isinstance(value, dict) else {name: value}
        return out


def read_recipe(path: str | Path, seed: int | None = None, kind: type[Strict] = Recipe) -> Any:
    """The recipe in a YAML file; `seed` replaces its own. VcworkError naming file, key and what was expected."""
    path = resolve(path)
    try:
        recipe = kind.checked(**read_yaml(path))
    except VcworkError as error:
        raise VcworkError(f"{path}: {error}") from None
    if seed is None:
        return recipe
    return recipe.model_copy(update={"train": type(recipe.train).checked(**recipe.train.model_dump() | {"seed": seed})})
