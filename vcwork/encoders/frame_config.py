"""What an encoder from pixels is built of: `FrameConfig`. Apart, so that a recipe can be read without any model."""

from typing import Literal

from pydantic import Field, model_validator

from vcwork.base.settings import Strict
from vcwork.core.config import ModelConfig


class FrameConfig(Strict):
    """What is built. Source of the defaults: the third source document; sizes of ViT-B/16, BERT-base, CLIP."""

    backbone: Literal["vit", "resnet"] = "vit"
    source: str = ""  # folder or hub name of such a model; "": random weights of the sizes below
    image_size: int = Field(0, ge=0)  # pixels; 0: what the folder was made for, 224 without one
    width: int = Field(0, ge=0)  # of a random backbone's last states; 0: 768 (ViT-B), 2048 (ResNet-50)
    patch: int = Field(16, ge=1)  # ViT, here and in the next two lines
    layers: int = Field(12, ge=1, le=512)
    backbone_heads: int = Field(12, ge=1)
    patches: Literal["cls", "mean"] = "cls"  # which state of a ViT is the frame
    depths: tuple[int, ...] = (3, 4, 6, 3)  # ResNet: blocks of each stage
    frozen: bool = False  # the backbone stays as it began; all else learns
    checkpointing: bool = False  # the backbone's activations are computed again on the way back: less memory, more time
    frames: int = Field(16, ge=1, le=510)
    temporal_layers: int = Field(4, ge=0, le=512)
    hidden: int = Field(768, ge=8)  # of the temporal transformer, and of random words
    heads: int = Field(12, ge=1)
    ffn: int = Field(3072, ge=8)
    dropout: float = Field(0.1, ge=0, lt=1)
    pooling: Literal["mean", "cls"] = "mean"  # of frames (and of BERT's words); CLIP's words: the end token, always
    projection: int = Field(512, ge=0)  # width of the MLP heads; 0: none
    unit_length: bool = False
    learn_temperature: bool = False
    text: Literal["bert", "clip"] = "bert"
    text_source: str = ""  # folder or hub name; "": random weights, words of the training captions
    text_layers: int = Field(12, ge=1, le=512)
    max_text_tokens: int = Field(61, ge=1, le=510)

    @model_validator(mode="after")
    def _fits(self) -> "FrameConfig":
        if self.hidden % self.heads:
            raise ValueError(f"hidden must be a multiple of heads, got {self.hidden} and {self.heads}")
        if self.frozen and self.checkpointing:
            raise ValueError("checkpointing is for a backbone that learns; frozen has no activations to keep")
        if self.source or self.backbone == "resnet":
            return self
        if (self.width or 768) % self.backbone_heads:
            raise ValueError(f"width must be a multiple of backbone_heads, got {self.width} and {self.backbone_heads}")
        if (self.image_size or 224) % self.patch:
            raise ValueError(f"image_size must be a multiple of patch, got {self.image_size or 224} and {self.patch}")
        return self

    def towers(self, feature_dim: int, vocab_size: int) -> ModelConfig:
        """Sizes of what comes after the backbone, as VideoCLIP knows them: a frame is a token, as a second is there."""
        same = ("hidden", "heads", "ffn", "dropout", "pooling", "projection", "unit_length", "learn_temperature")
        return ModelConfig.checked(
            feature_dim=feature_dim, vocab_size=vocab_size, max_video_tokens=self.frames,
            video_layers=self.temporal_layers, text_layers=0 if self.text == "clip" else self.text_layers,
            max_text_tokens=self.max_text_tokens, **{name: getattr(self, name) for name in same},
        )  # fmt: skip
