"""What can be chosen: each ingredient, its choices, who says so and where, and what to change in a training for it.

Declared once, in ingredients.yaml; the switchboard trains by it, and the table of disagreements is made from it. The
first choice of an ingredient is the paper's, and all first choices together are the baseline.
"""

from dataclasses import dataclass, field
from typing import Any

from vcwork.base.errors import VcworkError
from vcwork.base.files import own_yaml
from vcwork.core.config import TrainConfig
from vcwork.training.recipe import Recipe

SOURCES = ("paper", "code", "document 1", "document 2", "document 3")


@dataclass(frozen=True)
class Choice:
    """One way: `says` {source: place and words of its own}, `model` and `train` what to change (nested by key)."""

    name: str
    says: dict[str, str] = field(default_factory=dict)
    model: dict[str, Any] = field(default_factory=dict)
    train: dict[str, Any] = field(default_factory=dict)
    note: str = ""
    elsewhere: str = ""  # where it is built, when it is no switch of this training


@dataclass(frozen=True)
class Ingredient:
    """A question of design and the answers to it, the paper's first."""

    name: str
    question: str
    choices: tuple[Choice, ...]

    def __getitem__(self, name: str) -> Choice:
        for choice in self.choices:
            if choice.name == name:
                return choice
        raise VcworkError(f"{self.name}: expected one of {', '.join(c.name for c in self.choices)}, got {name!r}")


def _read() -> tuple[dict[str, dict], tuple[Ingredient, ...]]:
    """Model and training of the baseline by size, and the ingredients, as the file beside this one declares them."""
    told = own_yaml(__package__, "ingredients.yaml")
    made = (Ingredient(i["name"], i["question"], tuple(Choice(**c) for c in i["choices"])) for i in told["ingredients"])
    return told["sizes"], tuple(made)


SIZES, INGREDIENTS = _read()


def ingredient(name: str) -> Ingredient:
    """The ingredient of this name. VcworkError lists them."""
    for found in INGREDIENTS:
        if found.name == name:
            return found
    raise VcworkError(f"expected an ingredient of {', '.join(i.name for i in INGREDIENTS)}, got {name!r}")


def configure(picked: dict[str, str], seed: int, size: str = "lab", epochs: int = 0) -> Recipe:
    """The baseline's recipe with `picked` {ingredient: choice}; `epochs` 0: the size's own.

    VcworkError for an unknown name, a choice that is built elsewhere, or two that cannot go together.
    """
    if size not in SIZES:
        raise VcworkError(f"size: expected {' or '.join(SIZES)}, got {size!r}")
    model, train = (dict(SIZES[size][part]) for part in ("model", "train"))
    train["epochs"] = epochs or train["epochs"]
    for name, value in picked.items():
        choice = ingredient(name)[value]
        if choice.elsewhere:
            raise VcworkError(f"{name} {value}: is no switch of this training; see {choice.elsewhere}")
        model |= choice.model
        times = choice.train.get("epochs_times", 1)
        train = _merged(train, {k: v for k, v in choice.train.items() if k != "epochs_times"})
        train["epochs"] *= times
    return Recipe.checked(model=model, train=TrainConfig.checked(**train, seed=seed))


def _merged(base: dict, change: dict) -> dict:
    """`change` over `base`, key by key also one level down."""
    out = dict(base)
    for key, value in change.items():
        out[key] = {**base.get(key, {}), **value} if isinstance(value, dict) else value
    return out


def disagreements() -> list[tuple[str, ...]]:
    """Rows (ingredient, choice of the paper, of the code, of each document) where at least two sources name others.

    A cell holds the names of the choices a source stands for, "" where it says nothing.
    """
    rows = []
    for i in INGREDIENTS:
        cells = [
            ", ".join(c.name for c in i.choices if source in c.says and not _ablation(c, source)) for source in SOURCES
        ]
        if len({cell for cell in cells if cell}) > 1:
            rows.append((i.name, *cells))
    return rows


def _ablation(choice: Choice, source: str) -> bool:
    """The paper also tries what it does not stand for, and the code fine-tunes otherwise than it pre-trains."""
    return (source == "paper" and "Table 7" in choice.says[source]) or "fine-tuning" in choice.says[source]
