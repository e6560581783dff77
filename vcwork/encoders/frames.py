"""An encoder from pixels: a ViT or ResNet on each of N frames, a transformer over them; trained end to end or frozen.

`FrameCLIP` is `VideoCLIP` with a frame encoder in front, so that a frame's state stands where a second's feature
stands, and the pre-training loop, its losses, its logs and its states to resume from are the same. The words are read
by BERT or by CLIP's causal transformer. Sources: the third source document (16 frames spread evenly, ViT, temporal
transformer, CLIP's text transformer, projection heads), the first one (ResNet-50 a frame).
Departs: a clip with fewer frames than asked for is padded, not stretched; scores are raw dot products unless asked.
Known gaps: a clip has one vector, its single seconds have none (no segmentation, no localization, no vector database
from a feature store). Ranks do not share a ResNet's running statistics; the first rank's are kept.
"""

import contextlib
import itertools
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import CLIPTextConfig, CLIPTextModel, ResNetConfig, ResNetModel, ViTConfig, ViTModel

from vcwork.base.errors import VcworkError
from vcwork.base.files import read_json, resolve
from vcwork.base.sealed import Kind, load_weights, read_manifest
from vcwork.core.bert import init_bert
from vcwork.core.model import Encoded, VideoCLIP, mlp_head
from vcwork.core.text import Tokenizer
from vcwork.data.backbones.dual import peer_folder
from vcwork.data.backbones.hugging_face import as_error, folder_digest, quiet, read_model
from vcwork.data.backbones.image import model_folder, preprocessing
from vcwork.data.corpus import Corpus
from vcwork.data.store import Contract
from vcwork.encoders.checkpoint import CHECKPOINT, WEIGHTS, check_vocabulary, check_words, digest_of, write_encoder
from vcwork.encoders.encoder import Encoder, batched, finite
from vcwork.encoders.frame_config import FrameConfig
from vcwork.encoders.from_bert import bert_folder, start_from_bert
from vcwork.encoders.peers import PeerTokenizer
from vcwork.encoders.pixels import Span, View, load_spans

FRAMES = Kind("encoder from frames", "vcwork-frames-1", "frames.json", begun=CHECKPOINT.begun, owns=CHECKPOINT.owns,
              fields=CHECKPOINT.fields)  # fmt: skip
AT_ONCE = 256  # frames that go through the backbone together where no gradient is taken
KINDS = {  # model, configuration, options of the model
    "vit": (ViTModel, ViTConfig, {"add_pooling_layer": False}),
    "resnet": (ResNetModel, ResNetConfig, {}),
}


# ---------------------------------------------------------------------------------------------------------- model


class FrameCLIP(VideoCLIP):
    """VideoCLIP whose video features are made from frames, by `backbone`; `text` replaces BERT where it is given.

    `config` are the sizes of the towers, `frame_config` is all of it. The parameter `text_bert` keeps its name
    whatever reads the words: the training loop knows it so.
    """

    def __init__(
        self, config: FrameConfig, backbone: ViTModel | ResNetModel, vocab_size: int, text: CLIPTextModel | None = None
    ):
        super().__init__(config.towers(_width(backbone), 5 if text else vocab_size))
        self.frame_config, self.backbone = config, backbone
        self.register_buffer("pixel_scale", torch.tensor(1 / 255))
        self.register_buffer("pixel_mean", torch.full((3, 1, 1), 0.5))
        self.register_buffer("pixel_std", torch.full((3, 1, 1), 0.5))
        self.backbone.requires_grad_(not config.frozen)
        if config.checkpointing and isinstance(backbone, ViTModel):
            switch = "activation_checkpointing_enable"  # its name since transformers 5.2x; the older one goes in 6
            getattr(backbone, switch, backbone.gradient_checkpointing_enable)()
        if text is not None:
            self._read_by(text)

    def _read_by(self, text: CLIPTextModel) -> None:
        width = text.config.hidden_size
        if width != self.config.hidden and not self.config.projection:
            raise VcworkError(f"projection: text of width {width} and video of {self.config.hidden} need heads, got 0")
        self.text_bert = text
        if self.config.projection:
            self.text_head = mlp_head(width, self.config.projection).apply(init_bert)

    def train(self, mode: bool = True) -> "FrameCLIP":
        """As always, but a frozen backbone stays in evaluation mode."""
        super().train(mode)
        if self.frame_config.frozen:
            self.backbone.eval()
        return self

    def encode_video(self, features: Tensor, mask: Tensor, hide_cls: bool = False) -> Encoded:
        """features (B, N, 3, S, S), RGB of 0 to 255, uint8 or float, mask (B, N) bool -> Encoded; states are frames.

        Frames that the mask leaves out are not looked at.
        """
        return super().encode_video(self.frame_states(features, mask.bool()), mask, hide_cls)

    def frame_states(self, pixels: Tensor, mask: Tensor) -> Tensor:
        """What the backbone says of each real frame, zero elsewhere: (B, N, 3, S, S), (B, N) -> (B, N, W)."""
        shown = pixels[mask]  # (M, 3, S, S)
        learning = torch.is_grad_enabled() and not self.frame_config.frozen
        # in parts only where that changes nothing: not with a batch's statistics
        parts = [shown] if self.backbone.training else shown.split(AT_ONCE)
        with contextlib.nullcontext() if learning else torch.no_grad():
            states = [self._see(part) for part in parts if len(part)]
        none = torch.zeros(0, self.config.feature_dim, device=pixels.device)
        states = torch.cat(states) if states else none  # (M, W)
        out = states.new_zeros(*mask.shape, states.shape[1])
        out[mask] = states
        return out

    def _see(self, pixels: Tensor) -> Tensor:
        pixels = (pixels.float() * self.pixel_scale - self.pixel_mean) / self.pixel_std  # (M, 3, S, S)
        if isinstance(self.backbone, ViTModel):
            other = pixels.shape[-1] != self.backbone.config.image_size
            states = self.backbone(pixel_values=pixels, interpolate_pos_encoding=other).last_hidden_state  # (M, P+1, W)
            return states[:, 0] if self.frame_config.patches == "cls" else states[:, 1:].mean(1)  # (M, W)
        again = self.frame_config.checkpointing and torch.is_grad_enabled()
        states = self.backbone.embedder(pixels)
        for block in (block for stage in self.backbone.encoder.stages for block in stage.layers):
            states = _checkpointed(block, states) if again else block(states)
        return self.backbone.pooler(states).flatten(1)  # (M, W)

    def encode_text(self, ids: Tensor, mask: Tensor) -> Encoded:
        """ids and mask (B, L) as the tokenizer gives them -> Encoded; CLIP: pooled is the state of the end token."""
        if not isinstance(self.text_bert, CLIPTextModel):
            return super().encode_text(ids, mask)
        mask = mask.bool()
        states = self.text_bert(input_ids=ids, attention_mask=mask.long()).last_hidden_state  # (B, L, D)
        pooled = states[torch.arange(len(ids), device=ids.device), mask.sum(1) - 1]  # (B, D)
        content = states[:, 1:]
        if self.config.projection:
            pooled, content = self.text_head(pooled), self.text_head(content)
        if self.config.unit_length:
            pooled, content = (nn.functional.normalize(x, dim=-1) for x in (pooled, content))
        return Encoded(pooled, content, mask[:, 1:])


def _width(backbone: ViTModel | ResNetModel) -> int:
    return backbone.config.hidden_size if isinstance(backbone, ViTModel) else backbone.config.hidden_sizes[-1]


def _checkpointed(block: nn.Module, states: Tensor) -> Tensor:
    """Run again on the way back, when its running statistics must not move a second time."""
    return checkpoint(
        block, states, use_reentrant=False, context_fn=lambda: (contextlib.nullcontext(), _still_statistics(block))
    )


@contextlib.contextmanager
def _still_statistics(block: nn.Module) -> Iterator[None]:
    norms = [m for m in block.modules() if isinstance(m, nn.BatchNorm2d)]
    were = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for norm, (momentum, count) in zip(norms, were, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, count


# ------------------------------------------------------------------------------------------------------- building


def _new_backbone(config: FrameConfig) -> tuple[ViTModel | ResNetModel, View, tuple]:
    """The frame encoder, what it looks at, and (factor, mean, std) of its pixels."""
    if config.source:
        return _stored_backbone(config)
    size = config.image_size or 224
    model = _random_backbone(config, size)
    return model, View(config.frames, size, size), (1 / 255, [0.5] * 3, [0.5] * 3)


def _random_backbone(config: FrameConfig, size: int) -> ViTModel | ResNetModel:
    if config.backbone == "vit":
        width = config.width or 768
        vit = ViTConfig(
            hidden_size=width, intermediate_size=4 * width, num_hidden_layers=config.layers,
            num_attention_heads=config.backbone_heads, patch_size=config.patch, image_size=size,
        )  # fmt: skip
        return ViTModel(vit, add_pooling_layer=False)
    width, stages = config.width or 2048, len(config.depths)
    widths = [max(4, width >> (stages - 1 - i)) for i in range(stages)]
    return ResNetModel(
        ResNetConfig(embedding_size=max(4, widths[0] // 4), hidden_sizes=widths, depths=[*config.depths])
    )


def _stored_backbone(config: FrameConfig) -> tuple[ViTModel | ResNetModel, View, tuple]:
    """From a folder with config.json, model.safetensors and preprocessor_config.json; VcworkError for anything else."""
    folder = model_folder(config.source)
    reader, _, options = KINDS[config.backbone]
    kind = str(read_json(folder / "config.json", dict).get("model_type"))
    if kind != config.backbone:
        raise VcworkError(f"{folder / 'config.json'}: expected model_type {config.backbone}, got {kind!r}")
    model = read_model(reader, folder, **options)
    size, crop, scale, mean, std = preprocessing(folder)
    wanted = config.image_size or crop
    view = View(config.frames, round(size * wanted / crop), wanted)
    if config.backbone == "vit" and wanted % model.config.patch_size:
        raise VcworkError(f"image_size: expected a multiple of the patch, {model.config.patch_size}, got {wanted}")
    return model, view, (scale, mean, std)


def sources_digest(config: FrameConfig) -> list[str]:
    """Who the models are that an encoder of this configuration begins with."""
    text = bert_folder if config.text == "bert" else peer_folder
    found = ((model_folder, config.source), (text, config.text_source))
    return [folder_digest(folder_of(source)) for folder_of, source in found if source]


def _new_text(
    config: FrameConfig, captions: Iterable[str]
) -> tuple[Tokenizer | PeerTokenizer, CLIPTextModel | None, Path | None]:
    """Tokenizer, CLIP's text transformer if that is asked for, folder of the BERT to begin with if there is one."""
    if config.text == "bert":
        folder = bert_folder(config.text_source) if config.text_source else None
        return (Tokenizer.load(folder) if folder else Tokenizer.train(captions)), None, folder
    if config.text_source:
        folder = peer_folder(config.text_source)
        model = read_model(CLIPTextModel, folder)
        return PeerTokenizer(folder, "clip", model.config), model, None
    tokenizer = Tokenizer.train(captions)
    clip = CLIPTextConfig(
        vocab_size=len(tokenizer), hidden_size=config.hidden, intermediate_size=config.ffn,
        projection_dim=config.projection or config.hidden, num_hidden_layers=config.text_layers,
        num_attention_heads=config.heads, max_position_embeddings=config.max_text_tokens + 2,
        attention_dropout=config.dropout, pad_token_id=tokenizer.pad, bos_token_id=tokenizer.cls,
        eos_token_id=tokenizer.sep,
    )  # fmt: skip
    return tokenizer, CLIPTextModel(clip), None


# -------------------------------------------------------------------------------------------------------- encoder


@dataclass
class FrameEncoder(Encoder):
    """An Encoder that reads video files and spans of them; `workers` decode for it. Sentences as every Encoder."""

    view: View = field(default_factory=lambda: View(16, 224, 224))
    workers: int = 0

    per_second: ClassVar[bool] = False

    def encode_clips(self, clips: Iterable[Span | str | Path | np.ndarray], batch_size: int = 32) -> np.ndarray:
        """One vector a clip, (N, D) float32; a path is the whole file, an array uint8 frames (n, 3, S, S).

        Only `batch_size` clips are in memory. VcworkError names a file that cannot be read, and another shape of array.
        """
        return finite(batched(self._frames(list(clips)), batch_size, self.pooled), "clip")  # (N, D)

    def encode_seconds(self, clip: Span | str | Path | np.ndarray, *options: Any) -> np.ndarray:
        raise VcworkError("an encoder from frames gives one vector a clip, none a second; give spans to encode_video")

    def _frames(self, clips: list) -> Iterator[np.ndarray]:
        for is_array, group in itertools.groupby(enumerate(clips), lambda item: isinstance(item[1], np.ndarray)):
            if is_array:
                yield from (self._checked(clip, i) for i, clip in group)
            else:
                spans = [clip if isinstance(clip, Span) else Span(Path(clip)) for _, clip in group]
                yield from load_spans(spans, self.view, self.workers)

    def _checked(self, clip: np.ndarray, i: int) -> np.ndarray:
        frame = (3, self.view.crop, self.view.crop)
        if clip.dtype != np.uint8 or clip.shape[1:] != frame or not 0 < len(clip) <= self.view.frames:
            expected = f"expected a file, a span of one, or at most {self.view.frames} uint8 frames (n, *{frame})"
            raise VcworkError(f"clip {i}: {expected}, got {clip.dtype} {clip.shape}")
        return clip


def new_frames(corpus: Corpus, config: FrameConfig, seed: int = 0, workers: int = 0) -> FrameEncoder:
    """Untrained: words from the training captions or a folder, weights from the seed or from folders.

    VcworkError: a folder that holds no such model, or only pickled weights; sizes that do not fit each other.
    """
    torch.manual_seed(seed)
    backbone, view, pixels = _new_backbone(config)
    captions = (c.text for v in corpus.split("train") for c in corpus.captions(v.id))
    tokenizer, text, bert = _new_text(config, captions)
    model = FrameCLIP(config, backbone, len(tokenizer), text)
    for name, value in zip(("pixel_scale", "pixel_mean", "pixel_std"), pixels, strict=True):
        buffer = getattr(model, name)
        buffer.copy_(torch.tensor(value).view(buffer.shape))
    if bert:
        start_from_bert(model, bert, tokenizer)
    return _encoder(model, tokenizer, view, workers)


def _encoder(model: FrameCLIP, tokenizer: Any, view: View, workers: int, digest: str = "unsaved", card: Any = None):
    config, std = model.frame_config, model.pixel_std.flatten().tolist()
    what = f"{config.frames} frames a clip, mean {model.pixel_mean.flatten().tolist()}, std {std}"
    contract = Contract(f"frames:{config.backbone}", config.source or "random", 0.0, view.crop, what, 3 * view.crop**2)
    return FrameEncoder(model, tokenizer, contract, digest, card or {}, view=view, workers=workers)


def save_frames(folder: str | Path, encoder: FrameEncoder) -> FrameEncoder:
    """The encoder in a folder of its own, frames.json last; returns it with its digest."""
    model = encoder.model
    clip = model.text_bert.config.to_dict() if isinstance(model.text_bert, CLIPTextModel) else None
    more = {"config": json.loads(model.frame_config.model_dump_json()), "view": asdict(encoder.view)}
    more |= {"backbone": model.backbone.config.to_dict(), "text": clip}
    return write_encoder(
        folder, FRAMES, encoder, more, np.zeros((1, 3, encoder.view.crop, encoder.view.crop), np.uint8)
    )


def load_frames(folder: str | Path, workers: int = 0) -> FrameEncoder:
    """What `save_frames` wrote, in evaluation mode; the folders it began with are not needed any more.

    VcworkError when it is absent, of another structure, damaged, or put together from several.
    """
    folder = resolve(folder)
    card = read_manifest(folder, FRAMES)
    with as_error(f"{folder / FRAMES.manifest}: expected another structure"), quiet():
        config, view = FrameConfig.checked(**card["config"]), View(**card["view"])
        model_kind, config_kind, options = KINDS[config.backbone]
        backbone = model_kind(config_kind.from_dict(card["backbone"]), **options)
        text = CLIPTextModel(CLIPTextConfig.from_dict(card["text"])) if card["text"] else None
        check_words(folder, card, FRAMES.manifest)
        own = not (folder / "tokenizer").is_dir()
        tokenizer = Tokenizer.load(folder) if own else PeerTokenizer(folder / "tokenizer", "clip", text.config)
        model = FrameCLIP(config, backbone, len(tokenizer), text)
    load_weights(model, folder / WEIGHTS, card["files"][WEIGHTS], FRAMES.manifest)
    check_vocabulary(folder, tokenizer, card["vocabulary"], len(tokenizer))
    return _encoder(model.eval(), tokenizer, view, workers, digest_of(card), card.get("card", {}))
