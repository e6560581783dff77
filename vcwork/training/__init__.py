"""A run in a folder: pre-training, fine-tuning, few labels, the switchboard of ingredients."""

from vcwork.base.doors import door

_WHERE = {
    "curve_table": "few_shot",
    "curves": "few_shot",
    "distinct_shots": "few_shot",
    "draw": "few_shot",
    "draws_table": "few_shot",
    "few_shot_points": "few_shot",
    "own_tasks": "few_shot",
    "shared_with_train": "few_shot",
    "silence_table": "few_shot",
    "small_recipe": "few_shot",
    "INGREDIENTS": "ingredients",
    "SOURCES": "ingredients",
    "configure": "ingredients",
    "disagreements": "ingredients",
    "Recipe": "recipe",
    "read_recipe": "recipe",
    "new_encoder": "run",
    "pair_data": "pairs",
    "train": "run",
    "prepare": "workspace",
    "tiny_recipe": "workspace",
}
__all__, __getattr__, __dir__ = door(__name__, _WHERE)
