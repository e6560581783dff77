"""Toys that several files train and search: a small random encoder, and videos whose seconds are of a few themes."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from transformers import CLIPTokenizer

from vcwork.core.batches import PairData
from vcwork.core.config import ModelConfig
from vcwork.core.model import VideoCLIP
from vcwork.core.sampling import Track
from vcwork.core.text import Tokenizer
from vcwork.data.corpus import Segment, Video
from vcwork.data.store import Contract
from vcwork.encoders.encoder import Encoder
from vcwork.training.recipe import Recipe
from vcwork.training.workspace import tiny_recipe

THEMES, PART_S, FIRST = 12, 4, 5  # themes, seconds of each, the token of the first one


def toy_contract(width: int) -> Contract:
    return Contract("toy", "none", 1.0, 8, "none", width)


def toy_encoder(tokenizer: Tokenizer, width: int, seed: int = 0, digest: str = "unsaved", **sizes) -> Encoder:
    """Random weights, one layer a tower, a window of 8 s; `sizes` are fields of ModelConfig."""
    torch.manual_seed(seed)
    small = {"hidden": 32, "heads": 2, "ffn": 64, "video_layers": 1, "text_layers": 1, "max_video_tokens": 8}
    model = VideoCLIP(ModelConfig(feature_dim=width, vocab_size=len(tokenizer), **(small | sizes)))
    return Encoder(model.eval(), tokenizer, toy_contract(width), digest=digest)


def letters_clip(folder: Path, more: str = "", **options: int) -> CLIPTokenizer:
    """CLIP's kind of tokenizer, of single letters; the end of a text has the highest id, as in the real vocabulary."""
    letters = [*"abcdefghijklmnopqrstuvwxyz", *more]
    pieces = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    tokenizer = CLIPTokenizer(vocab={piece: i for i, piece in enumerate(pieces)}, merges=[], **options)
    tokenizer.save_pretrained(folder)
    return tokenizer


def short_recipe(epochs: int, passes: int) -> Recipe:
    """The tiny world's recipe with fewer updates."""
    train = tiny_recipe().train.model_copy(update={"epochs": epochs, "passes_per_epoch": passes})
    return tiny_recipe().model_copy(update={"train": train})


def theme_seconds(themes: np.ndarray, width: int, rng: np.random.Generator) -> np.ndarray:
    """A second of theme i is feature i and noise, (T, width)."""
    return (np.eye(width)[themes] * 2 + rng.normal(size=(len(themes), width)) * 0.5).astype(np.float32)


def recipe_video(
    id: str, split: str, recipe: str, steps: Sequence[int], width: int, rng: np.random.Generator, step_s: int
) -> tuple[Video, np.ndarray]:
    """Three of the recipe's steps in order, two seconds of rest after each; step k is theme k and named `s<k>`."""
    part, own = step_s + 2, np.sort(rng.permutation(len(steps))[:3])
    themes = np.zeros(3 * part, int)
    for place, k in enumerate(own):
        themes[place * part :][:step_s] = steps[k]
    segments = tuple(Segment(p * part, p * part + step_s, f"s{steps[k]}") for p, k in enumerate(own))
    features = theme_seconds(themes, width, rng).astype(np.float16)
    return Video(id, None, None, float(len(themes)), split, recipe, segments), features


def theme_pairs(videos: int, second_token: int) -> PairData:
    """A theme every four seconds: its direction, and one caption that names it; each video has three of them."""
    rng, tracks, features = np.random.default_rng(0), [], []
    directions = rng.normal(size=(THEMES, 16)).astype(np.float32)
    for v in range(videos):
        order = rng.permutation(THEMES)[:3]
        features.append(np.repeat(directions[order], PART_S, 0) + 0.1 * rng.normal(size=(12, 16)).astype(np.float32))
        starts = np.arange(0, 12, 4.0)
        tokens = tuple((FIRST + int(t), second_token) for t in order)
        tracks.append(Track(f"v{v}", starts, starts + PART_S, tokens, 12))
    return PairData(tracks, features)


def theme_clips(data: PairData) -> np.ndarray:
    """The first clip of each theme, (THEMES, PART_S, 16)."""
    parts = {
        track.tokens[p][0] - FIRST: features[PART_S * p : PART_S * (p + 1)]
        for track, features in zip(data.tracks[::-1], data.features[::-1], strict=True)
        for p in (2, 1, 0)
    }
    return np.stack([parts[theme] for theme in range(THEMES)])
