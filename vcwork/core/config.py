"""What can be set, one strict and frozen model per concern.

Paper values are the defaults unless a line says otherwise.
"""

from typing import Literal

from pydantic import Field, model_validator

from vcwork.base.console import SEEDS
from vcwork.base.settings import Strict


class ModelConfig(Strict):
    """Sizes of the dual encoder. Source: VideoCLIP (EMNLP 2021), BERT-base towers, six video layers."""

    feature_dim: int = Field(512, ge=1)  # width of one second's feature
    vocab_size: int = Field(30522, ge=5)
    hidden: int = Field(768, ge=8)
    heads: int = Field(12, ge=1)
    ffn: int = Field(3072, ge=8)
    video_layers: int = Field(6, ge=0, le=512)
    text_layers: int = Field(12, ge=0, le=512)
    max_video_tokens: int = Field(32, ge=1, le=510)  # seconds
    max_text_tokens: int = Field(61, ge=1, le=510)  # without CLS and SEP
    dropout: float = Field(0.1, ge=0, lt=1)
    feature_dropout: float = Field(0.0, ge=0, lt=1)  # our choice, for small data: whole input dimensions dropped
    input_transform: Literal["none", "sqrt"] = "none"  # our choice, for ReLU features: root, centre, scale
    pooling: Literal["mean", "cls"] = "mean"  # cls: the paper's ablation
    shared: bool = False  # one transformer for seconds and words (the paper's ablation); it has text_layers layers
    unit_length: bool = False  # embeddings and states scaled to length 1 (paper and code: raw)
    learn_temperature: bool = False  # paper and code: fixed at 1
    learn_bias: bool = False  # of scores, from -10; for loss sigmoid, where most pairs are wrong (SigLIP)
    projection: int = Field(0, ge=0)  # width of an MLP head after each tower (third document); 0: none (paper, code)
    cls_id: int = Field(101, ge=0)  # word pieces around the seconds when `shared`
    sep_id: int = Field(102, ge=0)

    @property
    def embedding(self) -> int:
        """Width of the embeddings that are compared."""
        return self.projection or self.hidden

    @model_validator(mode="after")
    def _fits(self) -> "ModelConfig":
        if self.hidden % self.heads:
            raise ValueError(f"hidden must be a multiple of heads, got {self.hidden} and {self.heads}")
        if self.shared and self.video_layers != self.text_layers:
            raise ValueError(f"shared needs as many video as text layers, got {self.video_layers}, {self.text_layers}")
        return self


class OverlapConfig(Strict):
    """The overlapped pair rule; both ends of each range are drawn. Source: paper (3-32 s, 8-61 tokens), code (8-64)."""

    # each: every caption once a batch, strict span (ours); iou, windows: the source documents' rules; bag: MIL-NCE's
    rule: Literal["overlapped", "strict", "each", "iou", "windows", "bag"] = "overlapped"
    min_text_tokens: int = Field(8, ge=1)
    max_text_tokens: int = Field(64, ge=1)
    min_video_s: int = Field(3, ge=1)
    max_video_s: int = Field(32, ge=1)
    max_text_s: float = Field(256.0, gt=0)  # a text clip stops growing at this length
    min_iou: float = Field(0.5, gt=0, le=1)  # rule iou: pairs below are drawn again
    stride_s: int = Field(16, ge=1)  # rule windows: a window of max_video_s begins every stride_s
    bag: int = Field(5, ge=1)  # rule bag: a clip of min_video_s around a caption, and the captions nearest in time

    @model_validator(mode="after")
    def _ranges(self) -> "OverlapConfig":
        if self.min_text_tokens > self.max_text_tokens or self.min_video_s > self.max_video_s:
            raise ValueError("expected min <= max in both ranges")
        if self.rule == "windows" and self.stride_s > self.max_video_s:
            raise ValueError(f"windows of {self.max_video_s} s every {self.stride_s} s leave gaps")
        return self


class ClusterConfig(Strict):
    """Batches of mutually similar videos. Source: paper, Algorithm 1: k of the 2k nearest of a drawn centre."""

    videos_per_batch: int = Field(32, ge=1)  # k
    clips_per_video: int = Field(16, ge=1)
    pool_factor: int = Field(2, ge=1)  # 2k candidates; 1: the paper's ablation "retrieve k"
    retrieve: bool = True  # False: batches are random videos
    start_epoch: int = Field(1, ge=0)  # reference code: retrieval begins at epoch 1
    clips_for_vector: int = Field(16, ge=1)
    pool_rule: Literal["overlapped", "varied"] = "overlapped"  # clips of a vector: as in training; varied: reference
    vector_first_s: int = Field(0, ge=0)  # vectors see a video's first seconds only; 0: all; 32: the paper's ablation
    search: Literal["exact", "reference cell"] = "exact"  # reference cell: one faiss cell of one rank's videos
    nlist: int = Field(512, ge=1)  # reference cell: cells of a rank's index
    ranks: int = Field(8, ge=1)  # reference cell: the videos are dealt out to so many indexes


class TrainConfig(Strict):
    """Optimisation. Source: paper (Adam 0.9/0.98, lr 5e-5, 1000 warm-up updates, clip 2.0, 25 epochs)."""

    epochs: int = Field(25, ge=1)
    passes_per_epoch: int = Field(1, ge=1)  # our choice: batches per epoch = passes * videos / k
    lr: float = Field(5.0e-5, gt=0)
    warmup: int = Field(1000, ge=0)
    weight_decay: float = Field(0.0, ge=0)
    clip_norm: float = Field(2.0, gt=0)
    schedule: Literal["linear", "constant"] = "linear"  # to zero over the run, after warm-up
    decay_updates: int = Field(0, ge=0)  # updates until the rate is 0; 0: the length of the run (code: 1,000,000)
    first_update: Literal["zero", "warm"] = "zero"  # zero: update n has the rate of n - 1, so the first has 0 (code)
    adam: Literal["torch", "fairseq"] = "torch"  # fairseq (code): epsilon added before the bias correction
    loss: Literal["symmetric", "reference", "t2v", "v2t", "sigmoid", "mil", "best fit"] = "symmetric"  # in loss.py
    temperature: float = Field(1.0, gt=0)
    own_negatives: bool = True  # best fit: a text's other candidates stand in the denominator (third document)
    same_video: Literal["negative", "left out"] = "negative"  # other clips of the anchor's video (paper: negatives)
    mining: Literal["all", "nearest"] = "all"  # nearest: the hardest negatives of the batch alone (first document)
    mining_threshold: float = Field(0.5, ge=-1, le=1)  # as near as this, by the cosine of two clips
    negative_ratio: float = Field(0.5, gt=0, le=1)  # at most this share of the batch
    seed: int = Field(0, ge=0, lt=SEEDS.stop)
    word_dropout: float = Field(0.0, ge=0, lt=1)  # our choice, for small data: tokens replaced by [UNK]
    start: Literal["random", "closed form"] = "random"  # our choice, for small data: a solution from captions
    freeze_text: bool = False  # our choice, for small data: the text tower stays as it started
    shuffle_captions: bool = False  # control: captions of another video; everything must fall to chance
    negatives: Literal["global", "local"] = "global"  # local: each rank contrasts its own batch (code)
    precision: Literal["float32", "bf16", "auto"] = "float32"  # of the forward passes (code: fp16); auto: bf16 if fast
    micro_batch: int = Field(0, ge=0)  # pairs encoded at once, the gradient being that of the whole batch; 0: all
    save_every: int = Field(0, ge=0)  # updates between states to resume from; 0: after each epoch
    keep: Literal["last", "best"] = "last"  # best: of the epochs, by validation
    pairs: OverlapConfig = OverlapConfig()
    clusters: ClusterConfig = ClusterConfig()

    @property
    def candidates(self) -> bool:
        """Does the loss choose among several clips or texts?"""
        return self.loss in ("mil", "best fit")

    @model_validator(mode="after")
    def _fits(self) -> "TrainConfig":
        rules = {"mil": ("windows", "bag"), "best fit": ("windows",)}.get(self.loss)
        if rules and self.pairs.rule not in rules:
            raise ValueError(f"loss {self.loss} chooses among candidates: pairs.rule must be {' or '.join(rules)}")
        if self.pairs.rule == "bag" and self.loss != "mil":
            raise ValueError("pairs.rule bag gives several texts a clip, which only loss mil can use")
        if rules and (self.micro_batch or self.same_video != "negative" or self.mining != "all"):
            raise ValueError(f"loss {self.loss}: micro_batch, same_video and mining are for pairs; leave them out")
        return self
