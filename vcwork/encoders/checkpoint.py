"""A trained encoder on disk: weights (safetensors), configuration, vocabulary, and the contract of its features.

`checkpoint.json` is written last and carries the weights' hash: without it, or with other weights, nothing is loaded.
No pickle is ever read.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from vcwork.base.errors import VcworkError
from vcwork.base.files import resolve, sha256_json
from vcwork.base.sealed import Kind, load_weights, read_manifest, well_formed, write_manifest, write_tensors
from vcwork.core.config import ModelConfig
from vcwork.core.model import VideoCLIP
from vcwork.core.text import Tokenizer
from vcwork.data.store import Contract
from vcwork.encoders.encoder import Encoder

CHECKPOINT = Kind("checkpoint", "vcwork-checkpoint-1", "checkpoint.json", "train one with notebook 20")
WEIGHTS = "model.safetensors"


def save_encoder(folder: str | Path, encoder: Encoder) -> Encoder:
    """Write the checkpoint; returns the encoder with its digest filled in."""
    if type(encoder.model) is not VideoCLIP:
        came = type(encoder.model).__name__
        raise VcworkError(
            f"{folder}: only VideoCLIP is written as a checkpoint, got {came}; copy its own folder instead"
        )
    more = {"model": encoder.model.config.model_dump(), "contract": asdict(encoder.contract)}
    return write_encoder(folder, CHECKPOINT, encoder, more)


def write_encoder(folder: str | Path, kind: Kind, encoder: Encoder, more: Mapping[str, Any]) -> Encoder:
    """Weights (safetensors), tokenizer, then the manifest with the weights' hash and `more`."""
    folder = resolve(folder)
    encoder.digest = write_tensors(folder / WEIGHTS, encoder.model.state_dict())
    if encoder.tokenizer:
        encoder.tokenizer.save(folder)
    vocabulary = sha256_json(encoder.tokenizer.vocabulary) if encoder.tokenizer else None
    told = {"vocabulary": vocabulary, "card": json.loads(json.dumps(encoder.card, default=str))}
    write_manifest(folder, kind, {"digest": encoder.digest, **more, **told})
    return encoder


def load_card(folder: str | Path) -> dict[str, Any]:
    """checkpoint.json, its format and structure checked."""
    folder = resolve(folder)
    card = read_manifest(folder, CHECKPOINT)
    with well_formed(folder / CHECKPOINT.manifest):
        Contract(**card["contract"]), ModelConfig.checked(**card["model"])
    return card


def load_model(folder: str | Path) -> VideoCLIP:
    """The model alone, in evaluation mode; VcworkError as `load_checkpoint`, which also wants the vocabulary."""
    folder = resolve(folder)
    card = load_card(folder)
    model = VideoCLIP(ModelConfig.checked(**card["model"]))
    load_weights(model, folder / WEIGHTS, card.get("digest"), CHECKPOINT.manifest)
    return model.eval()


def load_checkpoint(folder: str | Path, contract: Contract | None = None) -> Encoder:
    """The encoder of a checkpoint, in evaluation mode.

    VcworkError when it is absent, incomplete, damaged, put together from several, or trained on features of another
    contract than `contract`.
    """
    folder = resolve(folder)
    card = load_card(folder)
    trained_on = Contract(**card["contract"])
    if contract is not None and contract != trained_on:
        raise VcworkError(f"{folder}: trained on features of {trained_on}, asked to read features of {contract}")
    model, tokenizer = load_model(folder), Tokenizer.load(folder)
    check_vocabulary(folder, tokenizer, card.get("vocabulary"), model.config.vocab_size)
    return Encoder(model, tokenizer, trained_on, card["digest"], card.get("card", {}))


def check_vocabulary(folder: Path, tokenizer: Any, written: str | None, size: int) -> None:
    """VcworkError unless the pieces are those the encoder was saved with (None: only their number is known)."""
    if len(tokenizer) != size or written not in (None, sha256_json(tokenizer.vocabulary)):
        expected = f"the {size} pieces it was trained with"
        raise VcworkError(f"{folder / 'vocab.txt'}: expected {expected}, got {len(tokenizer)} that differ")
