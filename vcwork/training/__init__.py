"""A run in a folder: pre-training, fine-tuning, few labels, the switchboard of ingredients."""

from vcwork.base.doors import door

_WHERE = {
    "INGREDIENTS": "ingredients",
    "SOURCES": "ingredients",
    "configure": "ingredients",
    "disagreements": "ingredients",
    "Recipe": "recipe",
    "read_recipe": "recipe",
    "cell_candidates": "reference_cells",
    "search": "reference_cells",
    "new_encoder": "run",
    "pair_data": "pairs",
    "train": "run",
    "prepare": "workspace",
    "tiny_recipe": "workspace",
}
__all__, __getattr__, __dir__ = door(__name__, _WHERE)
