"""What a notebook stands on: a corpus, its features, a trained encoder, each opened from an explicit path.

An empty path means the tiny lab corpus, built once under `outputs/tiny-seed<seed>` and reused when it is whole. A path
that is given is opened, never built: a run must not quietly measure something else.
"""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save
from tqdm.auto import tqdm

from vcwork.backbones import get_backbone
from vcwork.checkpoint import Encoder, load_encoder, save_encoder
from vcwork.closed_form import start_from_captions
from vcwork.config import ClusterConfig, ModelConfig, OverlapConfig, TrainConfig
from vcwork.corpus import Corpus, open_corpus
from vcwork.engine import Engine
from vcwork.errors import VcworkError
from vcwork.evaluation import annotated_clips, clip_scores
from vcwork.features import extract
from vcwork.files import atomic_write, project_root, read_json, resolve, write_json
from vcwork.lab import LabConfig, make_corpus
from vcwork.metrics import recall_at_k
from vcwork.model import VideoCLIP
from vcwork.pretrained import bert_folder, start_from_bert
from vcwork.sampling import Track
from vcwork.store import FeatureStore, open_store
from vcwork.tasks.segmentation import truth_labels
from vcwork.text import Tokenizer
from vcwork.train import PairData, StepRecord, pretrain, updates


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
        else:
            encoder = train(self.corpus, self.store, self.tiny / "checkpoint", TINY_SIZES, tiny_training(self.seed))
        self.hashes["checkpoint"] = encoder.digest
        return encoder


def prepare(
    corpus: str = "", features: str = "", checkpoint: str = "", seed: int = 0, progress: bool = False
) -> Workspace:
    """Workspace for these paths; nothing is opened or built before it is used."""
    return Workspace(corpus, features, checkpoint, seed, progress)


VALIDATION = "val_t2v_R@1"  # what the best epoch is chosen by
TINY_SIZES = {"hidden": 128, "heads": 4, "ffn": 256, "video_layers": 1, "text_layers": 1}  # notebook 20's defaults


def tiny_training(seed: int = 0) -> TrainConfig:
    """A few seconds of training: notebook 20's defaults."""
    return TrainConfig(
        epochs=4,
        passes_per_epoch=20,
        lr=1.5e-3,
        warmup=20,
        seed=seed,
        pairs=OverlapConfig(min_text_tokens=8, max_text_tokens=24, min_video_s=3, max_video_s=12),
        clusters=ClusterConfig(videos_per_batch=16, clips_per_video=6, clips_for_vector=4),
    )


def train(
    corpus: Corpus, store: FeatureStore, folder: str | Path, sizes: dict, config: TrainConfig, progress: bool = False,
    bert: str = "", watch: Callable[[StepRecord], None] | None = None,
) -> Encoder:  # fmt: skip
    """Train on the corpus's training split into `folder`: log.jsonl, state.pt, and the checkpoint at the end.

    `sizes`: fields of ModelConfig other than width and vocabulary. `bert`: a BERT to begin with, whose vocabulary is
    taken, too. `watch` gets every step record. Called again with the same arguments it resumes an
    interrupted run, or opens the finished one; with others it is refused (VcworkError). After each epoch the log gets
    the validation numbers of `validate`; with `config.keep` "best" the checkpoint is the epoch best on them. Under
    torchrun all ranks call this, on a folder they share, and the first one writes.
    """
    folder, engine = resolve(folder), Engine()
    identity = {"sizes": sizes, "config": config.model_dump(), "features": store.digest()}
    identity = json.loads(json.dumps(identity | ({"bert": bert} if bert else {})))
    if (folder / "train.json").exists() and _as_now(read_json(folder / "train.json")) != identity:
        why = "holds a run of another configuration or other features"
        raise VcworkError(f"{folder}: {why}; delete it or choose another folder")
    finished = (folder / "checkpoint.json").exists()
    engine.wait()
    if finished:
        return load_encoder(folder, store.contract)
    if engine.main:
        write_json(folder / "train.json", identity)
    encoder = new_encoder(corpus, store, sizes, config, bert)
    data = pair_data(corpus, store, encoder.tokenizer)
    if config.start == "closed form":
        start_from_captions(encoder.model, encoder.tokenizer, data, config)
    best = _Best(folder, config.keep == "best")
    progress = progress and engine.main
    with tqdm(total=updates(data, config, engine.world), desc="training", unit="step", disable=not progress) as bar:

        def on_epoch(epoch: int, _: object) -> dict:
            numbers = validate(encoder, corpus, store)
            best.look(encoder.model, numbers)
            if progress:
                bar.write(f"epoch {epoch + 1}/{config.epochs} {' '.join(f'{k} {v:.3f}' for k, v in numbers.items())}")
            return numbers

        for record in pretrain(encoder.model, encoder.tokenizer, data, config, folder, on_epoch):
            bar.update(record.step + 1 - bar.n)
            bar.set_postfix(loss=f"{record.loss:.2f}", refresh=False)
            if watch:
                watch(record)
    encoder.model.eval()
    if engine.main:
        best.put_back(encoder.model)
        save_encoder(folder, encoder)
    engine.wait()
    return encoder if engine.world == 1 else load_encoder(folder, store.contract)


class _Best:
    """The weights of the epoch best on validation, in `best.safetensors` with its score; test is not looked at."""

    def __init__(self, folder: Path, wanted: bool):
        self.path, self.wanted = folder / "best.safetensors", wanted

    def look(self, model: VideoCLIP, numbers: dict[str, float]) -> None:
        if not self.wanted:
            return
        if VALIDATION not in numbers:
            raise VcworkError(f"keep: best needs annotated validation videos; without them {VALIDATION} is unknown")
        if not self.path.exists() or numbers[VALIDATION] > self.score():
            weights = {name: tensor.contiguous().cpu() for name, tensor in model.state_dict().items()}
            with atomic_write(self.path, "wb") as file:
                file.write(save(weights, {VALIDATION: repr(numbers[VALIDATION])}))

    def score(self) -> float:
        with safe_open(self.path, "pt") as file:
            return float(file.metadata()[VALIDATION])

    def put_back(self, model: VideoCLIP) -> None:
        if self.wanted:
            model.load_state_dict(load_file(self.path))


def _as_now(identity: dict) -> dict:
    """An older run's identity with the settings that came later, at their defaults."""
    return identity | {"config": json.loads(TrainConfig.checked(**identity["config"]).model_dump_json())}


def new_encoder(corpus: Corpus, store: FeatureStore, sizes: dict, config: TrainConfig, bert: str = "") -> Encoder:
    """Untrained: vocabulary from the training captions, feature width from the store, weights from the seed.

    With `bert`, a folder or hub name, vocabulary and transformer weights are that model's.
    """
    folder = bert_folder(bert) if bert else None
    captions = (c.text for v in corpus.split("train") for c in corpus.captions(v.id))
    tokenizer = Tokenizer.load(folder) if folder else Tokenizer.train(captions)
    torch.manual_seed(config.seed)
    data = {"feature_dim": store.contract.width, "vocab_size": len(tokenizer)}
    if sizes.get("shared"):
        data |= {"cls_id": tokenizer.cls, "sep_id": tokenizer.sep}
    model = VideoCLIP(ModelConfig.checked(**(sizes | data)))
    if folder:
        start_from_bert(model, folder, tokenizer)
    if model.config.learn_temperature:
        torch.nn.init.constant_(model.log_temperature, math.log(config.temperature))
    if model.config.input_transform != "none":
        rows = np.concatenate([store[v.id] for v in corpus.split("train") if v.id in store]).astype(np.float32)
        model.fit_input(torch.from_numpy(rows))
    card = {"train": config.model_dump(), "features": store.digest()} | ({"bert": bert} if bert else {})
    return Encoder(model, tokenizer, store.contract, card=card)


def validate(encoder: Encoder, corpus: Corpus, store: FeatureStore) -> dict[str, float]:
    """R@1 text to video among the validation split's annotated clips; empty where there are none."""
    try:
        clips = annotated_clips(corpus, store, "val")
    except VcworkError:
        return {}
    same = clips.steps[:, None] == clips.steps
    return {VALIDATION: recall_at_k(clip_scores(encoder, clips), 1, same)}


def pair_data(corpus: Corpus, store: FeatureStore, tokenizer: Tokenizer, split: str = "train") -> PairData:
    """Tracks and features of the split's videos that have captions and features; the others stay out."""
    tracks, features, steps = [], [], []
    index = {step: k for k, step in enumerate(corpus.steps)}
    for video in corpus.split(split):
        captions = corpus.captions(video.id)
        if video.id in store and captions:
            tracks.append(caption_track(video.id, captions, tokenizer, store.lengths[video.id]))
            features.append(store[video.id])
            truth = [(s.start_s, s.end_s, s.step) for s in video.segments]
            steps.append(truth_labels(truth, index, store.lengths[video.id]))
    if not tracks:
        raise VcworkError(f"{corpus.folder}: no {split} video has both captions and features in {store.folder}")
    return PairData(tracks, features, steps if index else None)


def caption_track(video_id: str, captions: list, tokenizer: Tokenizer, seconds: int) -> Track:
    """Captions as the arrays the sampler draws from."""
    starts, ends = np.array([[c.start_s, c.end_s] for c in captions]).T
    return Track(video_id, starts, ends, tuple(map(tuple, tokenizer.tokens([c.text for c in captions]))), seconds)
