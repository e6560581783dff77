"""A trained encoder on disk: weights (safetensors), configuration, vocabulary, and the contract of its features.

`checkpoint.json` is written last and carries the weights' hash: without it, or with other weights, nothing is loaded.
No pickle is ever read.
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save

from vcwork.config import ModelConfig
from vcwork.errors import VcworkError
from vcwork.files import atomic_write, read_json, resolve, sha256_file, sha256_json, write_json
from vcwork.model import VideoCLIP
from vcwork.store import Contract
from vcwork.text import Tokenizer

FORMAT = "vcwork-checkpoint-1"


@dataclass
class Encoder:
    """What `encode_video` and `encode_text` need: model, tokenizer, the contract of its features, and who it is."""

    model: VideoCLIP
    tokenizer: Tokenizer | None  # None: a checkpoint imported without its vocabulary, not loadable as an encoder
    contract: Contract
    digest: str = "unsaved"  # sha256 of the weights
    card: dict = field(default_factory=dict)  # how it was trained

    @property
    def window(self) -> int:
        """Seconds the video tower takes at once."""
        return self.model.config.max_video_tokens


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


def load_encoder(folder: str | Path, contract: Contract | None = None) -> Encoder:
    """Read a checkpoint, in evaluation mode; a Hugging Face folder or `peer:<hub name>` becomes a `vcwork.peers.Peer`,
    an encoder from pixels a `vcwork.frames.FrameEncoder`.

    VcworkError when it is absent, incomplete, damaged, put together from several, or trained on features of another
    contract than `contract`.
    """
    from vcwork.peers import is_peer, load_peer

    if is_peer(folder):
        return load_peer(folder, contract)
    folder = resolve(folder)
    if (folder / "frames.json").is_file():
        from vcwork.frames import load_frames

        if contract is not None:
            raise VcworkError(f"{folder}: reads frames of video files, not features of {contract}")
        return load_frames(folder)
    card = load_card(folder)
    trained_on = Contract(**card["contract"])
    if contract is not None and contract != trained_on:
        raise VcworkError(f"{folder}: trained on features of {trained_on}, asked to read features of {contract}")
    model, tokenizer = load_model(folder), Tokenizer.load(folder)
    vocabulary = sha256_json(tokenizer.vocabulary)
    size = model.config.vocab_size
    if len(tokenizer) != size or vocabulary != (card.get("vocabulary") or vocabulary):
        expected = f"the {size} pieces it was trained with"
        raise VcworkError(f"{folder / 'vocab.txt'}: expected {expected}, got {len(tokenizer)} that differ")
    return Encoder(model, tokenizer, trained_on, card["digest"], card.get("card", {}))


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
