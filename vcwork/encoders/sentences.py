"""Sentences as vectors whose cosine compares meaning: all-MiniLM-L6-v2 as fetched, or any sentence-transformers model.

A BERT runs through our own layers, which need no padding and start without transformers; other kinds go through
transformers' AutoModel. Vectors as sentence-transformers makes them: the mean over a text's tokens, CLS and SEP among
them (or the state of CLS, where the folder says so), scaled to length 1. No code and no pickle of a folder is run.
Known gaps: no prompts before a text ("query: "), and nothing behind the pooling but the scaling; texts are cut at the
length that the authors set (MiniLM: 256 tokens, trained on 128).
Source: Reimers and Gurevych, Sentence-BERT (EMNLP 2019); `modules.json` of such folders.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from vcwork.base.errors import VcworkError, as_texts
from vcwork.base.files import read_json, resolve, sha256_file, sha256_json
from vcwork.base.sealed import read_tensors, well_formed
from vcwork.core.bert import Bert, Packed
from vcwork.core.config import ModelConfig
from vcwork.data.backbones.hugging_face import as_error, hub_folder, model_files, read_model, weights_digest
from vcwork.data.backbones.weights import weights_folder
from vcwork.encoders.encoder import by_length, finite

MINILM = "minilm"
MOST = 1 << 20  # tokens of a text
_STEPS = {"Transformer", "Pooling", "Normalize"}  # of modules.json, by the last word of their types
_WANTED = ("*.json", "model*.safetensors")


def load_sentences(source: str | Path = MINILM) -> "SentenceEncoder":
    """The encoder `minilm` (fetched before), of a folder, or of a model of the hub by its name (owner/model).

    VcworkError: not fetched, no such folder or model, not a sentence encoder that can be read here.
    """
    name = str(source)
    expected = f"expected {MINILM}, a folder of a sentence-transformers model, or its name on the hub"
    is_fetched = name == MINILM and not resolve(name).is_dir()
    return SentenceEncoder(weights_folder(MINILM) if is_fetched else hub_folder("sentences", name, _WANTED, expected))


class SentenceEncoder:
    """`encode` gives a vector (width,) of length 1 for each text; equal digests give equal vectors."""

    def __init__(self, folder: Path) -> None:
        config = read_json(folder / "config.json", dict)
        self.name, self.cls, longest = folder.name, _by_cls(folder), _longest(folder, config)
        self._pad, self._lower = config.get("pad_token_id") or 0, bool(_told(folder).get("do_lower_case"))
        read = _bert if config.get("model_type") == "bert" else _other
        self._states, self.width, places = read(folder, config)
        self.longest = min(longest, places)
        self._tokens = _tokenizer(folder, self.longest, config)
        weights, words = weights_digest(folder, model_files(folder)), sha256_file(folder / "tokenizer.json")
        self.digest = sha256_json([weights, words, self.cls, self.longest, self._lower])

    def encode(self, texts: Sequence[str], batch_size: int = 64) -> np.ndarray:
        """Vectors (N, width) float32 of N texts; equal texts are encoded once, with others of about their length."""
        place: dict[str, int] = {}
        rows = [place.setdefault(t.lower() if self._lower else t, len(place)) for t in as_texts(texts, "texts")]
        pieces = [tuple(found.ids) for found in self._tokens.encode_batch(list(place))]
        vectors = by_length(pieces, self.longest, batch_size, self._vectors)
        return finite(np.stack(vectors)[rows], "text") if rows else np.empty((0, self.width), np.float32)  # (N, D)

    def _vectors(self, pieces: list[tuple[int, ...]]) -> Tensor:
        lengths = torch.tensor([len(piece) for piece in pieces])  # (B,)
        mask = torch.arange(int(lengths.max())) < lengths[:, None]  # (B, L)
        ids = torch.full(mask.shape, self._pad)
        ids[mask] = torch.tensor([i for piece in pieces for i in piece])
        states = self._states(ids, mask)  # (B, L, D)
        pooled = states[:, 0] if self.cls else (states * mask[..., None]).sum(1) / lengths[:, None]  # (B, D)
        return nn.functional.normalize(pooled, dim=-1)


States = tuple[Callable[[Tensor, Tensor], Tensor], int, int]  # ids and mask (B, L) -> states (B, L, D); D; most of L


def _bert(folder: Path, config: dict[str, Any]) -> States:
    """By our own layers, whose constants (512 places, GELU, epsilon) must be the model's."""
    constants = {"max_position_embeddings": 512, "hidden_act": "gelu", "layer_norm_eps": 1e-12}
    if any(config.get(key, value) != value for key, value in constants.items()):
        return _other(folder, config)
    weights_digest(folder, model_files(folder))  # says what is missing
    tensors = [read_tensors(path) for path in model_files(folder)]
    found = {name.removeprefix("bert."): tensor for each in tensors for name, tensor in each.items()}
    with as_error(f"{folder}: not usable as a BERT"):
        sizes = {"hidden": "hidden_size", "heads": "num_attention_heads", "ffn": "intermediate_size"}
        model_config = ModelConfig(**{ours: config[theirs] for ours, theirs in sizes.items()})
        model = Bert(model_config, config["num_hidden_layers"], config["vocab_size"]).eval()
        model.load_state_dict({name: found[name] for name in model.state_dict()})

    def states(ids: Tensor, mask: Tensor) -> Tensor:
        layout = Packed(mask)
        places = torch.arange(ids.shape[1]).expand(ids.shape)
        words = model.embeddings.word_embeddings(layout.rows(ids))
        return layout.padded(model(words, layout.rows(places), layout))

    return states, model_config.hidden, _places(model)


def _other(folder: Path, config: dict[str, Any]) -> States:
    from transformers import AutoModel

    model = read_model(AutoModel, folder)
    states = lambda ids, mask: model(ids, attention_mask=mask.long()).last_hidden_state  # noqa: E731
    return states, model.config.hidden_size, _places(model)


def _places(model: nn.Module) -> int:
    """Tokens that it has places for; of a kind that counts them from its padding's id on, the first are never used."""
    named = (module for name, module in model.named_modules() if name.endswith("position_embeddings"))
    tables = [module for module in named if isinstance(module, nn.Embedding)]
    unused = (0 if table.padding_idx is None else table.padding_idx + 1 for table in tables)
    return min((len(table.weight) - n for table, n in zip(tables, unused, strict=True)), default=MOST)


# --------------------------------------------------------------------------------------------------------- folder


def _tokenizer(folder: Path, longest: int, config: dict[str, Any]) -> Tokenizer:
    if not (folder / "tokenizer.json").is_file():
        raise VcworkError(f"{folder}: expected a tokenizer (tokenizer.json), found none")
    with as_error(f"{folder / 'tokenizer.json'}: not usable as a tokenizer"):
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    highest = max(tokenizer.get_vocab().values(), default=-1)
    if highest >= config.get("vocab_size", highest + 1):
        raise VcworkError(f"{folder}: the tokenizer gives ids up to {highest}, the model has {config['vocab_size']}")
    tokenizer.no_padding()
    tokenizer.enable_truncation(longest)
    return tokenizer


def _by_cls(folder: Path) -> bool:
    """Whether a text's vector is the state of its CLS, else the mean; VcworkError for what is read in another way."""
    modules = read_json(folder / "modules.json", list) if (folder / "modules.json").is_file() else []
    with well_formed(folder / "modules.json"):
        if strange := [step["type"] for step in modules if step["type"].rpartition(".")[2] not in _STEPS]:
            known = ", ".join(sorted(_STEPS))
            raise VcworkError(f"{folder / 'modules.json'}: expected {known} alone, got {strange[0]}")
        path = folder / next((step["path"] for step in modules if step["type"].endswith(".Pooling")), "1_Pooling")
        path = path.resolve() / "config.json"
    if not path.is_relative_to(folder.resolve()):
        raise VcworkError(f"{folder / 'modules.json'}: expected a path inside the folder, got {path}")
    told = read_json(path, dict) if path.is_file() else {"pooling_mode_mean_tokens": True}
    ways = [key for key, value in told.items() if key.startswith("pooling_mode_") and value is True]
    if ways not in (["pooling_mode_mean_tokens"], ["pooling_mode_cls_token"]):
        raise VcworkError(f"{path}: expected pooling by the mean of the tokens or by CLS, got {ways}")
    return ways == ["pooling_mode_cls_token"]


def _told(folder: Path) -> dict[str, Any]:
    path = folder / "sentence_bert_config.json"
    return read_json(path, dict) if path.is_file() else {}


def _longest(folder: Path, config: dict[str, Any]) -> int:
    """Tokens of a text that are read, CLS and SEP among them."""
    with well_formed(folder / "sentence_bert_config.json"):
        longest = int(_told(folder).get("max_seq_length") or config.get("max_position_embeddings") or 512)
        if not 3 <= longest <= MOST:
            raise VcworkError(f"{folder}: expected 3 to {MOST} tokens as max_seq_length, got {longest}")
        return longest
