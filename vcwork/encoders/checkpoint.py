"""A trained encoder on disk: weights (safetensors), configuration, vocabulary, and the contract of its features.

`checkpoint.json` is written last and carries the weights' hash: without it, or with other weights, nothing is loaded.
No pickle is ever read.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save

from vcwork.base.errors import VcworkError
from vcwork.base.files import atomic_write, read_json, resolve, sha256_file, sha256_json, write_json
from vcwork.core.config import ModelConfig
from vcwork.core.model import VideoCLIP
from vcwork.data.store import Contract
from vcwork.encoders.encoder import Encoder

FORMAT = "vcwork-checkpoint-1"


def save_encoder(folder: str | Path, encoder: Encoder) -> Encoder:
    """Write the checkpoint; returns the encoder with its digest filled in."""
    if not isinstance(encoder.model, VideoCLIP):
        raise VcworkError(f"{folder}: a peer is not written as a checkpoint; copy its own folder instead")
    folder = resolve(folder)
    weights = {name: tensor.contiguous().cpu() for name, tensor in encoder.model.state_dict().items()}
    with atomic_write(folder / "model.safetensors", "wb") as file:
        file.write(save(weights))
    if encoder.tokenizer:
        encoder.tokenizer.save(folder)
    encoder.digest = sha256_file(folder / "model.safetensors")
    write_json(folder / "checkpoint.json", {
        "format": FORMAT, "digest": encoder.digest, "model": encoder.model.config.model_dump(),
        "vocabulary": sha256_json(encoder.tokenizer.vocabulary) if encoder.tokenizer else None,
        "contract": asdict(encoder.contract), "card": json.loads(json.dumps(encoder.card, default=str)),
    })  # fmt: skip
    return encoder


def load_model(folder: str | Path) -> VideoCLIP:
    """The model alone, in evaluation mode; VcworkError as `load_encoder`, which also wants the vocabulary."""
    folder = resolve(folder)
    card, weights = load_card(folder), folder / "model.safetensors"
    if not weights.is_file() or sha256_file(weights) != card.get("digest"):
        raise VcworkError(f"{weights}: missing, or not the weights of checkpoint.json; damaged or swapped")
    model = VideoCLIP(ModelConfig.checked(**card["model"]))
    try:
        model.load_state_dict(load_file(weights))
    except RuntimeError as error:
        raise VcworkError(f"{weights}: the weights do not fit the configuration in checkpoint.json") from error
    return model.eval()


def load_card(folder: str | Path) -> dict[str, Any]:
    """checkpoint.json, its format and structure checked."""
    where = resolve(folder) / "checkpoint.json"
    if not where.exists():
        raise VcworkError(
            f"{where.parent}: expected a checkpoint ({where.name}), found none; train one with notebook 20"
        )
    card = read_json(where)
    if card.get("format") != FORMAT:
        raise VcworkError(f"{where}: expected format {FORMAT}, got {card.get('format')!r}")
    try:
        Contract(**card["contract"]), ModelConfig.checked(**card["model"])
    except (KeyError, TypeError) as error:
        raise VcworkError(f"{where}: expected another structure ({type(error).__name__}: {error})") from error
    return card
