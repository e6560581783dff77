"""Beginning with BERT: the text tower takes all its layers, the video tower its first ones and its CLS and SEP.

Source: paper and reference code (bert-base-uncased, first 6 layers for seconds, 12 for words); the video MLP starts at
random. The model comes from a local folder (config.json, model.safetensors, vocab.txt), by name from the hub, or is one
that was fetched (minilm).
A model wider than its BERT (ours): the new columns are zero and the old ones do as before, but for the mean that a norm
takes away, which is small. They have heads of their own, of the same size, which do nothing yet.
"""

from pathlib import Path

import torch
from torch import Tensor

from vcwork.base.errors import VcworkError
from vcwork.base.files import read_json, resolve
from vcwork.base.sealed import read_tensors
from vcwork.core.model import VideoCLIP
from vcwork.core.text import Tokenizer
from vcwork.data.backbones.hugging_face import as_error, hub_folder
from vcwork.data.backbones.weights import weights_folder
from vcwork.encoders.sentences import MINILM


def bert_folder(source: str) -> Path:
    """The folder of a BERT: `source` itself, or where what was fetched, or the hub's model, of that name was stored."""
    source = str(weights_folder(source)) if source == MINILM and not resolve(source).is_dir() else source
    patterns = ("config.json", "model.safetensors", "vocab.txt")
    expected = "expected a folder with config.json, model.safetensors and vocab.txt, or a name on the hub"
    folder = hub_folder("bert", source, patterns, expected)
    for name in patterns:
        if not (folder / name).is_file():
            raise VcworkError(f"{folder / name}: no such file; a BERT to begin with needs it")
    return folder


@torch.no_grad()
def start_from_bert(model: VideoCLIP, folder: Path, tokenizer: Tokenizer) -> None:
    """Copy BERT's weights into both towers of `model` (a shared tower: once); VcworkError where sizes do not fit."""
    told, wanted = read_json(folder / "config.json", dict), model.config
    found = {name: value for name, value in told.items() if isinstance(value, int)}
    width, heads = (found.get(name, 0) for name in ("hidden_size", "num_attention_heads"))
    if not (width < wanted.hidden and width * wanted.heads == wanted.hidden * heads):  # not the same heads and new ones
        width, heads = wanted.hidden, wanted.heads
    sizes = {"hidden_size": width, "num_attention_heads": heads,
             "intermediate_size": wanted.ffn, "vocab_size": wanted.vocab_size}  # fmt: skip
    if wrong := [f"{k} {found.get(k)} against {v} of the model" for k, v in sizes.items() if found.get(k) != v]:
        raise VcworkError(f"{folder}: does not fit, {'; '.join(wrong)}")
    if found.get("num_hidden_layers", 0) < max(wanted.text_layers, wanted.video_layers):
        raise VcworkError(f"{folder}: has {found.get('num_hidden_layers')} layers, too few for the model")
    weights = folder / "model.safetensors"
    source = {_as_now(name): tensor for name, tensor in read_tensors(weights).items()}
    with as_error(f"{weights}: not the weights that config.json tells of"):
        words = source["embeddings.word_embeddings.weight"]  # (V, D)
        towers = [(model.text_bert, words)]
        if not wanted.shared:
            towers.append((model.video_bert, words[[tokenizer.cls, tokenizer.sep]]))
        for tower, table in towers:
            mine = {name: source[name] for name in tower.state_dict()} | {"embeddings.word_embeddings.weight": table}
            tower.load_state_dict({name: _grown(name, mine[name], own) for name, own in tower.state_dict().items()})
    if broken := [name for name, tensor in model.state_dict().items() if not tensor.isfinite().all()]:
        raise VcworkError(f"{weights}: expected finite weights, got NaN or infinity in {len(broken)}, as {broken[0]}")


def _grown(name: str, tensor: Tensor, own: Tensor) -> Tensor:
    """`tensor` in the first rows and columns of the shape of `own`; norms allow for the columns that are zero."""
    out = torch.zeros_like(own)
    out[tuple(map(slice, tensor.shape))] = tensor
    return out * (len(tensor) / len(own)) ** 0.5 if name.endswith("LayerNorm.weight") else out


def _as_now(name: str) -> str:
    """A weight's name without what stands before it in models with heads, and norms as they are called since 2019."""
    name = name.removeprefix("bert.")
    return name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")
