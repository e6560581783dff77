"""A training recipe in one YAML file: sizes of the model, settings of the training, weights to begin with.

Notebook 20 and `python -m vcwork pretrain` (alone or under torchrun) read the same file. Every key is a field of
ModelConfig or TrainConfig, whose defaults are the paper's; feature width and vocabulary come from the data.
"""

from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from vcwork.base.errors import VcworkError
from vcwork.base.files import read_yaml, resolve
from vcwork.core.config import ModelConfig, Strict, TrainConfig

FROM_DATA = ("feature_dim", "vocab_size", "cls_id", "sep_id")


class Recipe(Strict):
    """`model`: fields of ModelConfig but those that the data decide; `bert`: folder or hub name to begin with."""

    model: dict[str, Any] = Field(default_factory=dict)
    train: TrainConfig = TrainConfig()
    bert: str = ""

    @model_validator(mode="after")
    def _fits(self) -> "Recipe":
        if wrong := [name for name in FROM_DATA if name in self.model]:
            raise ValueError(f"model: {', '.join(wrong)} come from the data")
        ModelConfig.checked(**self.model)
        return self

    @property
    def sizes(self) -> dict[str, Any]:
        """What differs from ModelConfig's defaults, so that a field added later changes no stored identity."""
        fields = ModelConfig.model_fields
        return {name: value for name, value in self.model.items() if value != fields[name].default}


def read_recipe(path: str | Path, seed: int | None = None) -> Recipe:
    """The recipe in a YAML file; `seed` replaces its own. VcworkError naming file, key and what was expected."""
    path = resolve(path)
    try:
        recipe = Recipe.checked(**read_yaml(path))
    except VcworkError as error:
        raise VcworkError(f"{path}: {error}") from None
    if seed is None:
        return recipe
    return recipe.model_copy(update={"train": recipe.train.model_copy(update={"seed": seed})})
