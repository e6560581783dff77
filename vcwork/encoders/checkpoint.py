"""A trained encoder on disk: weights (safetensors), configuration, vocabulary, and the contract of its features.

`checkpoint.json` is written last and seals all files of the folder: without it, or with others, nothing is loaded. Who
an encoder is (`Encoder.digest`) follows from weights, configuration, vocabulary and contract. No pickle is ever read.
A checkpoint is never written over another one, which a kill in between would leave neither.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from vcwork.base.errors import VcworkError
from vcwork.base.files import atomic_write, resolve, sha256_json
from vcwork.base.sealed import (
    Kind,
    begin,
    check,
    load_weights,
    read_manifest,
    seal,
    well_formed,
    write_manifest,
    write_tensors,
)
from vcwork.core.config import ModelConfig
from vcwork.core.model import VideoCLIP
from vcwork.core.text import Tokenizer
from vcwork.data.backbones.hugging_face import as_error
from vcwork.data.store import Contract
from vcwork.encoders.encoder import Encoder

WEIGHTS = "model.safetensors"
SEALS = (WEIGHTS, "vocab.txt", "tokenizer", "released.safetensors", "head.safetensors", "log.jsonl")
CHECKPOINT = Kind(
    "checkpoint", "vcwork-checkpoint-1", "checkpoint.json", "train one with notebook 20", begun=("train.json",),
    owns=(*SEALS, "state-*.pt", "best-*.safetensors"), fields={"files": dict},
)  # fmt: skip


def save_encoder(folder: str | Path, encoder: Encoder) -> Encoder:
    """Write the checkpoint; returns the encoder with its digest filled in. VcworkError where one is there already."""
    if type(encoder.model) is not VideoCLIP:
        came = type(encoder.model).__name__
        raise VcworkError(
            f"{folder}: only VideoCLIP is written as a checkpoint, got {came}; copy its own folder instead"
        )
    more = {"model": encoder.model.config.model_dump(), "contract": asdict(encoder.contract)}
    second = np.ones((1, encoder.model.config.feature_dim), np.float32)
    return write_encoder(folder, CHECKPOINT, encoder, more, second)


def write_encoder(folder: str | Path, kind: Kind, encoder: Encoder, more: Mapping[str, Any], clip: Any) -> Encoder:
    """Weights (safetensors), tokenizer, then the manifest: `more`, and the seals of these and what lies beside them.

    VcworkError where weights, or its vectors of a word and of `clip`, are not finite: the last update may do that.
    """
    folder = resolve(folder)
    if (folder / kind.manifest).exists():
        raise VcworkError(f"{folder}: holds a checkpoint ({kind.manifest}); choose another folder")
    try:
        if broken := [name for name, tensor in encoder.model.state_dict().items() if not tensor.isfinite().all()]:
            raise VcworkError(f"{broken[0]} holds NaN or infinity")
        encoder.encode_clips([clip])
        if encoder.tokenizer:
            encoder.encode_texts(["a"])
    except VcworkError as error:
        raise VcworkError(f"{folder}: no checkpoint is written, the model is spoiled ({error}); lower lr") from None
    begin(folder, kind)
    write_tensors(folder / WEIGHTS, encoder.model.state_dict())
    if encoder.tokenizer:
        encoder.tokenizer.save(folder)
    vocabulary = sha256_json(encoder.tokenizer.vocabulary) if encoder.tokenizer else None
    there = (path for name in SEALS for path in (folder / name, *folder.glob(f"{name}/*")) if path.is_file())
    files = {path.relative_to(folder).as_posix(): seal(path) for path in sorted({folder / WEIGHTS, *there})}
    told = {"files": files, **more}
    told |= {"vocabulary": vocabulary, "card": json.loads(json.dumps(encoder.card, default=str))}
    write_manifest(folder, kind, told)
    encoder.digest = digest_of(told)
    return encoder


def digest_of(card: Mapping[str, Any]) -> str:
    """Who the encoder of a manifest is: all that its vectors depend on, and not how it was trained."""
    made_of = {name: value for name, value in card.items() if name not in ("format", "files", "card")}
    return sha256_json(made_of | {"weights": card["files"][WEIGHTS]["sha256"]})


def write_torch(path: Path, value: Any) -> None:
    """A file in torch's own format, whole or not at all; VcworkError where the disk is full."""
    with atomic_write(path, "wb") as file:
        try:
            torch.save(value, file)
        except RuntimeError as error:  # torch's account of it; what the system said lies below
            raise (error.__context__ if isinstance(error.__context__, OSError) else error) from None


def check_words(folder: Path, card: Mapping[str, Any], manifest: str) -> None:
    """VcworkError unless the tokenizer's files are those that the manifest seals; they are small."""
    for name, sealed in card["files"].items():
        if name == "vocab.txt" or name.startswith("tokenizer/"):
            check(folder / name, sealed, manifest)


def refuse_taken(folder: Path) -> None:
    """VcworkError where a checkpoint or a training lies in the folder already."""
    for name in ("checkpoint.json", "frames.json", "train.json"):
        if (folder / name).exists():
            what = "training" if name == "train.json" else "checkpoint"
            raise VcworkError(f"{folder}: holds a {what} ({name}); choose another folder")


def load_card(folder: str | Path) -> dict[str, Any]:
    """checkpoint.json, its format and structure checked."""
    folder = resolve(folder)
    card = read_manifest(folder, CHECKPOINT)
    with well_formed(folder / CHECKPOINT.manifest):
        Contract(**card["contract"]), ModelConfig.checked(**card["model"]), digest_of(card)
        check_words(folder, card, CHECKPOINT.manifest)
    return card


class _Undrawn(TorchFunctionMode):
    """No first weights are drawn; on the meta device torch loads its compiler to do so: seconds of every start."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        begun = func in (nn.init.normal_, nn.init.uniform_, nn.init.kaiming_uniform_)
        return (*args, *(kwargs or {}).values())[0] if begun else func(*args, **(kwargs or {}))


def load_model(folder: str | Path) -> VideoCLIP:
    """The model alone, in evaluation mode; VcworkError as `load_checkpoint`, which also wants the vocabulary."""
    folder = resolve(folder)
    card = load_card(folder)
    config, weights = ModelConfig.checked(**card["model"]), folder / WEIGHTS
    with as_error(f"{folder / CHECKPOINT.manifest}: no such model can be made"), torch.device("meta"), _Undrawn():
        size = sum(tensor.nbytes for tensor in VideoCLIP(config).state_dict().values())  # before it takes memory
    if weights.is_file() and size > 2 * weights.stat().st_size:
        raise VcworkError(f"{weights}: the weights do not fit the configuration in {CHECKPOINT.manifest}")
    model = VideoCLIP(config)
    load_weights(model, folder / WEIGHTS, card["files"][WEIGHTS], CHECKPOINT.manifest)
    return model.eval()


def load_checkpoint(folder: str | Path, contract: Contract | None = None) -> Encoder:
    """The encoder of a checkpoint, in evaluation mode; VcworkError as `load_encoder`."""
    folder = resolve(folder)
    card = load_card(folder)
    trained_on = Contract(**card["contract"])
    if contract is not None and contract != trained_on:
        raise VcworkError(f"{folder}: trained on features of {trained_on}, asked to read features of {contract}")
    model, tokenizer = load_model(folder), Tokenizer.load(folder)
    check_vocabulary(folder, tokenizer, card.get("vocabulary"), model.config.vocab_size)
    return Encoder(model, tokenizer, trained_on, digest_of(card), card.get("card", {}))


def check_vocabulary(folder: Path, tokenizer: Any, written: str | None, size: int) -> None:
    """VcworkError unless the pieces are those the encoder was saved with (None: only their number is known)."""
    if len(tokenizer) != size or written not in (None, sha256_json(tokenizer.vocabulary)):
        expected = f"the {size} pieces it was trained with"
        raise VcworkError(f"{folder / 'vocab.txt'}: expected {expected}, got {len(tokenizer)} that differ")
