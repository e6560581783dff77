"""What can be set, one strict and frozen model per concern.

Paper values are the defaults unless a line says otherwise.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from vcwork.errors import VcworkError


class Strict(BaseModel):
    """Unknown keys and wrong types are refused; instances do not change."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @classmethod
    def checked(cls, **values: object) -> "Strict":
        """Build from a person's values; all mistakes come back in one VcworkError."""
        try:
            return cls(**values)
        except ValidationError as error:
            lines = [
                f"{'.'.join(map(str, e['loc'])) or cls.__name__}: {e['msg']}, got {e['input']!r}"
                for e in error.errors()
            ]
            raise VcworkError(f"{cls.__name__}: " + "; ".join(lines)) from None


class ModelConfig(Strict):
    """Sizes of the dual encoder. Source: VideoCLIP (EMNLP 2021), BERT-base towers, six video layers."""

    feature_dim: int = Field(512, ge=1)  # width of one second's feature
    vocab_size: int = Field(30522, ge=5)
    hidden: int = Field(768, ge=8)
    heads: int = Field(12, ge=1)
    ffn: int = Field(3072, ge=8)
    video_layers: int = Field(6, ge=0)
    text_layers: int = Field(12, ge=0)
    max_video_tokens: int = Field(32, ge=1)  # seconds
    max_text_tokens: int = Field(61, ge=1)  # without CLS and SEP
    dropout: float = Field(0.1, ge=0, lt=1)
    feature_dropout: float = Field(0.0, ge=0, lt=1)  # our choice, for small data: whole input dimensions dropped
    input_transform: Literal["none", "sqrt"] = "none"  # our choice, for ReLU features: root, centre, scale

    @model_validator(mode="after")
    def _heads_divide(self) -> "ModelConfig":
        if self.hidden % self.heads:
            raise ValueError(f"hidden must be a multiple of heads, got {self.hidden} and {self.heads}")
        return self


class OverlapConfig(Strict):
    """The overlapped pair rule; both ends of each range are drawn. Source: paper (3-32 s, 8-61 tokens), code (8-64)."""

    rule: Literal["overlapped", "strict", "each"] = "overlapped"  # each: every caption once a batch, strict span (ours)
    min_text_tokens: int = Field(8, ge=1)
    max_text_tokens: int = Field(64, ge=1)
    min_video_s: int = Field(3, ge=1)
    max_video_s: int = Field(32, ge=1)
    max_text_s: float = 256.0  # a text clip stops growing at this length

    @model_validator(mode="after")
    def _ranges(self) -> "OverlapConfig":
        if self.min_text_tokens > self.max_text_tokens or self.min_video_s > self.max_video_s:
            raise ValueError("expected min <= max in both ranges")
        return self


class ClusterConfig(Strict):
    """Batches of mutually similar videos. Source: paper, Algorithm 1: k of the 2k nearest of a drawn centre."""

    videos_per_batch: int = Field(32, ge=1)  # k
    clips_per_video: int = Field(16, ge=1)
    pool_factor: int = Field(2, ge=1)  # 2k candidates
    retrieve: bool = True  # False: batches are random videos
    start_epoch: int = Field(1, ge=0)  # reference code: retrieval begins at epoch 1
    clips_for_vector: int = Field(16, ge=1)


class TrainConfig(Strict):
    """Optimisation. Source: paper (Adam 0.9/0.98, lr 5e-5, 1000 warm-up updates, clip 2.0, 25 epochs)."""

    epochs: int = Field(25, ge=1)
    passes_per_epoch: int = Field(1, ge=1)  # our choice: batches per epoch = passes * videos / k
    lr: float = Field(5.0e-5, gt=0)
    warmup: int = Field(1000, ge=0)
    weight_decay: float = Field(0.0, ge=0)
    clip_norm: float = Field(2.0, gt=0)
    schedule: Literal["linear", "constant"] = "linear"  # to zero over the run, after warm-up
    temperature: float = Field(1.0, gt=0)
    seed: int = 0
    word_dropout: float = Field(0.0, ge=0, lt=1)  # our choice, for small data: tokens replaced by [UNK]
    start: Literal["random", "closed form"] = "random"  # our choice, for small data: vcwork.closed_form
    freeze_text: bool = False  # our choice, for small data: the text tower stays as it started
    shuffle_captions: bool = False  # control: captions of another video; everything must fall to chance
    pairs: OverlapConfig = OverlapConfig()
    clusters: ClusterConfig = ClusterConfig()
