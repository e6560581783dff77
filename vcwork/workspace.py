"""What a notebook stands on: a corpus, its features, a trained encoder, each opened from an explicit path.

An empty path means the tiny lab corpus, built once under `outputs/tiny-seed<seed>` and reused when it is whole. A path
that is given is opened, never built: a run must not quietly measure something else.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from vcwork.backbones import get_backbone
from vcwork.checkpoint import Encoder, load_encoder, save_encoder
from vcwork.config import ClusterConfig, ModelConfig, OverlapConfig, TrainConfig
from vcwork.corpus import Corpus, open_corpus
from vcwork.errors import VcworkError
from vcwork.features import extract
from vcwork.files import project_root, resolve
from vcwork.lab import LabConfig, make_corpus
from vcwork.model import VideoCLIP
from vcwork.sampling import Track
from vcwork.store import FeatureStore, open_store
from vcwork.text import Tokenizer
from vcwork.train import PairData, StepRecord, pretrain


@dataclass(frozen=True)
class Workspace:
    """`corpus`, `store`, `encoder`: opened, or for the tiny default built, when first asked for."""

    corpus_path: str = ""
    features_path: str = ""
    checkpoint_path: str = ""
    seed: int = 0
    progress: bool = False
    hashes: dict[str, str] = field(default_factory=dict)

    @property
    def tiny(self) -> Path:
        return project_root() / "outputs" / f"tiny-seed{self.seed}"

    @cached_property
    def corpus(self) -> Corpus:
        if self.corpus_path:
            corpus = open_corpus(resolve(self.corpus_path))
        else:
            corpus = make_corpus(self.tiny / "corpus", LabConfig.named("tiny", self.seed), progress=self.progress)
        return corpus

    @cached_property
    def store(self) -> FeatureStore:
        if self.features_path:
            store = open_store(resolve(self.features_path))
        elif self.corpus_path:
            raise VcworkError("features: a corpus was given without its features; give both, or neither")
        else:
            store = extract(self.corpus, get_backbone("motion"), self.tiny / "features", progress=self.progress)
        self.hashes["features"] = store.digest()
        return store

    @cached_property
    def encoder(self) -> Encoder:
        if self.checkpoint_path:
            encoder = load_encoder(resolve(self.checkpoint_path), self.store.contract)
        elif self.corpus_path:
            raise VcworkError("checkpoint: a corpus was given without a checkpoint; train one with notebook 20")
        elif (self.tiny / "checkpoint" / "checkpoint.json").exists():
            encoder = load_encoder(self.tiny / "checkpoint", self.store.contract)
        else:
            encoder, steps = new_run(self.corpus, self.store, tiny_model(), tiny_training(self.seed))
            for _ in steps:
                pass
            save_encoder(self.tiny / "checkpoint", encoder)
            encoder.model.eval()
        self.hashes["checkpoint"] = encoder.digest
        return encoder


def prepare(
    corpus: str = "", features: str = "", checkpoint: str = "", seed: int = 0, progress: bool = False
) -> Workspace:
    """Workspace for these paths; nothing is opened or built before it is used."""
    return Workspace(corpus, features, checkpoint, seed, progress)


def tiny_model() -> dict:
    """Sizes of the tiny model: notebook 20's defaults."""
    return {"hidden": 128, "heads": 4, "ffn": 256, "video_layers": 1, "text_layers": 1}


def tiny_training(seed: int = 0) -> TrainConfig:
    """A few seconds of training: notebook 20's defaults."""
    return TrainConfig(
        epochs=3, passes_per_epoch=15, lr=1.5e-3, warmup=20, seed=seed,
        pairs=OverlapConfig(min_text_tokens=8, max_text_tokens=24, min_video_s=3, max_video_s=12),
        clusters=ClusterConfig(videos_per_batch=16, clips_per_video=6, clips_for_vector=4),
    )  # fmt: skip


def new_run(
    corpus: Corpus,
    store: FeatureStore,
    sizes: dict,
    config: TrainConfig,
    folder: str | Path | None = None,
    on_epoch=None,
) -> tuple[Encoder, Iterator[StepRecord]]:
    """A fresh encoder for this corpus and the generator that trains it in place.

    The vocabulary comes from the training captions, the feature width from the store; `sizes` are the other fields of
    ModelConfig. `on_epoch(epoch, encoder)` may return numbers for the log.
    """
    tokenizer = Tokenizer.train(c.text for v in corpus.split("train") for c in corpus.captions(v.id))
    torch.manual_seed(config.seed)
    model = VideoCLIP(ModelConfig.checked(feature_dim=store.contract.width, vocab_size=len(tokenizer), **sizes))
    encoder = Encoder(model, tokenizer, store.contract, card={"train": config.model_dump(), "features": store.digest()})
    data = pair_data(corpus, store, tokenizer)
    hook = (lambda epoch, _: on_epoch(epoch, encoder)) if on_epoch else None
    return encoder, pretrain(model, tokenizer, data, config, folder, hook)


def pair_data(corpus: Corpus, store: FeatureStore, tokenizer: Tokenizer, split: str = "train") -> PairData:
    """Tracks and features of the split's videos that have captions and features; the others stay out."""
    tracks, features = [], []
    for video in corpus.split(split):
        captions = corpus.captions(video.id)
        if video.id in store and captions:
            tracks.append(caption_track(video.id, captions, tokenizer, store.lengths[video.id]))
            features.append(store[video.id])
    if not tracks:
        raise VcworkError(f"{corpus.folder}: no {split} video has both captions and features in {store.folder}")
    return PairData(tracks, features)


def caption_track(video_id: str, captions: list, tokenizer: Tokenizer, seconds: int) -> Track:
    """Captions as the arrays the sampler draws from."""
    starts, ends = np.array([[c.start_s, c.end_s] for c in captions]).T
    return Track(video_id, starts, ends, tuple(map(tuple, tokenizer.tokens([c.text for c in captions]))), seconds)
