"""Peers: Hugging Face dual encoders (CLIP, SigLIP, X-CLIP, VideoPrism, PE-AV) behind the interface of our `Encoder`.

A peer's features (`vcwork.data.backbones.dual`) are already in the joint space, one row a second, so one store serves
everything. Its video tower only averages seconds; its text tower is the model's own, with its own padding and end
rules. `load_peer`, and `load_encoder` with such a folder or with `peer:<hub name>`, give an Encoder,
which goes wherever one goes: encoding, search, segment, localize, classify, the task notebooks, the vector database.
Known gaps: X-CLIP's own score changes each sentence for the video it meets, which no index can hold: its sentences
here are those of `get_text_features`. All but CLIP and X-CLIP need tokenizer.json (a spiece.model alone is not read).
PE-AV hears nothing here, and needs timm. Peers are not trained here.
"""

import string
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vcwork.base.errors import VcworkError, as_texts
from vcwork.base.files import read_json, resolve, sha256_file, sha256_json
from vcwork.core.model import Encoded
from vcwork.data.backbones import pe_av
from vcwork.data.backbones.dual import KINDS, PREFIX, Kind, PeerBackbone, load_model, peer_name
from vcwork.data.backbones.hugging_face import as_error, is_hub_name, quiet
from vcwork.data.extract import contract_of
from vcwork.data.store import Contract
from vcwork.encoders.encoder import Encoder


@dataclass(frozen=True)
class PeerConfig:
    """Sizes, under the names of `ModelConfig`; features, states and embeddings are of one width."""

    feature_dim: int
    hidden: int
    embedding: int
    video_layers: int
    text_layers: int
    max_text_tokens: int
    max_video_tokens: int = 7200  # nothing limits a mean of seconds; longer videos are read in windows like everybody's


def is_peer(source: str | Path) -> bool:
    """Whether this names a peer: `peer:...`, a model of the hub by its name (`openai/clip-vit-large-patch14`), or a
    folder with a Hugging Face config.json and no checkpoint of ours."""
    folder = resolve(source)
    theirs = (folder / "config.json").is_file() and not (folder / "checkpoint.json").exists()
    return PREFIX in str(source) or is_hub_name(source) or theirs


def load_peer(source: str | Path, contract: Contract | None = None) -> Encoder:
    """The peer of a folder, or of a hub name such as `openai/clip-vit-base-patch32`, in evaluation mode.

    Seconds and sentences have length 1, and a clip is the mean of its seconds scaled to length 1 again (what CLIP4Clip
    calls mean pooling). The frame rate is what `contract` says, else the peer's own.
    The digest is that of the weights, the rate, and the folder's files of settings and words.
    VcworkError: no such folder, a model type that is not known, weights that are absent, incomplete or only pickled,
    no tokenizer or image processor or one that does not fit, a `contract` of other features.
    """
    asked = contract is not None and contract.backbone.startswith(PREFIX)
    backbone = PeerBackbone(source, contract.fps if asked else None)
    mine = contract_of(backbone)
    if contract not in (None, mine):
        raise VcworkError(
            f"{backbone.folder}: reads features of {mine}, asked to read features of {contract}; "
            f"extract them with the backbone {PREFIX}{peer_name(source)}"
        )
    model, tokenizer = _peer_model(backbone)
    how = {"scale": "cosine", "fps": backbone.fps}
    digest = sha256_json([backbone.weights, how, {file.name: sha256_file(file) for file in _words(backbone.folder)}])
    card = {"peer": backbone.kind, "folder": backbone.folder.name, **how}
    return Encoder(model, tokenizer, mine, digest, card, backbone)


def _words(folder: Path) -> list[Path]:
    """Files beside the weights on which vectors depend."""
    names = ("config.json", "preprocessor_config.json", "video_preprocessor_config.json", "processor_config.json",
             "tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt", "special_tokens_map.json",
             "added_tokens.json")  # fmt: skip
    return [folder / name for name in names if (folder / name).is_file()]


def _peer_model(backbone: PeerBackbone) -> tuple["PeerModel", "PeerTokenizer"]:
    """Both towers, shared with the backbone, and the tokenizer that fits them."""
    kind, config = KINDS[backbone.kind], backbone.config
    tokenizer = PeerTokenizer(backbone.folder, backbone.kind, config.text_config)
    backbone.model = load_model(backbone.folder, kind)
    vision, text = config.video_config if kind.pe else config.vision_config, config.text_config
    depth = sum(n for name, n in vision.to_dict().items() if "num_" in name and name.endswith("_layers"))
    width, words = backbone.width, tokenizer.max_tokens
    sizes = PeerConfig(width, width, width, depth, text.num_hidden_layers, words)
    return PeerModel(backbone.model, sizes, kind).eval(), tokenizer


class PeerModel(nn.Module):
    """The surface of `vcwork.core.model.VideoCLIP` that encoding needs; `towers` is the Hugging Face model."""

    def __init__(self, towers: nn.Module, config: PeerConfig, kind: Kind) -> None:
        super().__init__()
        self.towers, self.config, self.kind = towers, config, kind

    def encode_video(self, features: Tensor, mask: Tensor, hide_cls: bool = False) -> Encoded:
        """features (B, T, W), mask (B, T) True where real -> Encoded: states are the seconds, pooled their mean.

        An all-False row has the zero vector. `hide_cls` means nothing here: there is no CLS.
        """
        states = nn.functional.normalize(features, dim=-1)  # (B, T, D)
        weight = mask.unsqueeze(-1).to(states.dtype)  # (B, T, 1); padding must not count
        pooled = (states * weight).sum(1) / weight.sum(1).clamp(min=1)  # (B, D)
        return Encoded(nn.functional.normalize(pooled, dim=-1), states, mask.bool())

    def encode_text(self, ids: Tensor, mask: Tensor) -> Encoded:
        """ids and mask (B, L) of PeerTokenizer -> Encoded; the one state is the sentence (no word is in this space)."""
        seen = None if self.kind.fixed else mask.long()
        if self.kind.pe:
            pooled = pe_av.read(self.towers, ids, seen)  # (B, D)
        else:
            pooled = self.towers.get_text_features(input_ids=ids, attention_mask=seen).pooler_output  # (B, D)
        pooled = nn.functional.normalize(pooled, dim=-1)
        return Encoded(pooled, pooled.unsqueeze(1), mask.new_ones(len(ids), 1, dtype=torch.bool))

    def train(self, mode: bool = True) -> "PeerModel":
        """Refused: a peer is compared with as it is. VcworkError unless `mode` is False."""
        if mode:
            raise VcworkError("a peer is not trained here; its features can be trained on with notebook 20")
        return super().train(False)


# ---------------------------------------------------------------------------------------------------------- words


class PeerTokenizer:
    """Sentences to ids by the folder's tokenizer, with the surface of `vcwork.core.text.Tokenizer` that encoding needs.

    CLIP and X-CLIP: padded to the longest of a batch, which a causal tower cannot see. SigLIP: always to full length,
    because the tower reads the padding and takes its last place as the sentence; lower case as in its training, and
    the first SigLIP's (class SiglipTokenizer) without punctuation. VideoPrism: lower case, punctuation become blanks,
    a full stop at the end, as its authors' code has it; no id ends a sentence, and padding is masked.
    """

    def __init__(self, folder: Path, kind: str, text_config: Any) -> None:
        self.where, self.length, self.fixed = folder, text_config.max_position_embeddings, KINDS[kind].fixed
        self._prism = KINDS[kind].prism
        self._inner = _tokenizer(folder, kind)
        self._bare = self.fixed and _declared_class(folder) in ("SiglipTokenizer", "SiglipTokenizerFast")
        self.pad, self.end = self._inner.pad_token_id, self._inner.eos_token_id
        highest = max(self._inner.get_vocab().values(), default=-1)
        if highest >= text_config.vocab_size:
            raise VcworkError(
                f"{folder}: the tokenizer gives ids up to {highest}, the model has {text_config.vocab_size}"
            )
        self._before, self._after = self._frame()
        end = text_config.eos_token_id if not self.fixed else self.end
        if KINDS[kind].last_id or (end == 2 and not self.fixed):  # CLIP's first configurations said 2 and meant this
            end = highest
        if self.pad is None or (self._after[-1:] != [end] and not self._prism):
            came = f"padding {self.pad}, after a sentence {self._after}"
            raise VcworkError(
                f"{folder}: expected a tokenizer with padding that ends a sentence with id {end}, got {came}"
            )

    def __len__(self) -> int:
        return len(self._inner)

    @property
    def vocabulary(self) -> list[str]:
        """The pieces, a piece's place is its id."""
        return self._inner.convert_ids_to_tokens(list(range(len(self))))

    @property
    def max_tokens(self) -> int:
        """Tokens of a sentence that fit between what stands before and after it."""
        return self.length - len(self._before) - len(self._after)

    def save(self, folder: Path) -> None:
        """Into `folder`/tokenizer, to be read by this class."""
        self._inner.save_pretrained(folder / "tokenizer")

    def _frame(self) -> tuple[list[int], list[int]]:
        """Ids that the tokenizer puts before and after a sentence."""
        plain, whole = (self._inner("a", add_special_tokens=special)["input_ids"] for special in (False, True))
        starts = [i for i in range(len(whole)) if plain and whole[i : i + len(plain)] == plain]
        if not starts:
            raise VcworkError(f"{self.where}: the tokenizer turns 'a' into {plain}, and with its special ids {whole}")
        return whole[: starts[0]], whole[starts[0] + len(plain) :]

    def tokens(self, sentences: Sequence[str]) -> list[list[int]]:
        """Ids without anything before, after or cut."""
        clean = [self._clean(sentence) for sentence in as_texts(sentences)]
        return self._inner(clean, add_special_tokens=False, verbose=False)["input_ids"] if clean else []

    def encode(self, sentences: Sequence[str], max_tokens: int) -> tuple[Tensor, Tensor]:
        """ids and mask, both (B, L), padded and ended as the tower was trained; words beyond `max_tokens` are cut."""
        return self.batch(self.tokens(sentences), max_tokens)

    def batch(self, tokens: Sequence[Sequence[int]], max_tokens: int) -> tuple[Tensor, Tensor]:
        """As `encode`, for sentences that are ids already."""
        rows = [[*self._before, *row[: min(max_tokens, self.max_tokens)], *self._after] for row in tokens]
        how = {"padding": "max_length", "max_length": self.length} if self.fixed else {"padding": True}
        told = self._inner.pad({"input_ids": rows}, return_tensors="pt", verbose=False, **how)  # (B, L) each
        return told["input_ids"], told["attention_mask"].bool()

    def _clean(self, sentence: str) -> str:
        if self._prism:
            return " ".join(sentence.translate(_BLANKS).lower().split()) + "."
        if not self.fixed:
            return sentence
        sentence = sentence.lower()
        return " ".join(sentence.translate(_NO_PUNCTUATION).split()) if self._bare else sentence


_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
_BLANKS = str.maketrans(string.punctuation, " " * len(string.punctuation))


def _tokenizer(folder: Path, kind: str) -> Any:
    from transformers import CLIPTokenizer, PreTrainedTokenizerFast

    whole = KINDS[kind].fixed or KINDS[kind].prism or KINDS[kind].pe  # tokenizer.json says it all
    choices = [("tokenizer.json",)] if whole else [("tokenizer.json",), ("vocab.json", "merges.txt")]
    if not any(all((folder / name).is_file() for name in names) for names in choices):
        # CLIP's class would make up a vocabulary of two, and say nothing
        raise VcworkError(f"{folder}: expected a tokenizer ({' or '.join(map(' with '.join, choices))}), found none")
    reader = PreTrainedTokenizerFast if whole else CLIPTokenizer
    with quiet(), as_error(f"{folder}: not usable as a tokenizer"):
        return reader.from_pretrained(folder, local_files_only=True)


def _declared_class(folder: Path) -> str:
    path = folder / "tokenizer_config.json"
    return str(read_json(path, dict).get("tokenizer_class", "")) if path.is_file() else ""
