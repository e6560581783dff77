"""Training into a folder: who the run is, going on with it, validation after each epoch, last or best checkpoint.

A folder holds one run: `train.json` says which, `log.jsonl` and `state.pt` how far it is, and the checkpoint, written
at the end, that it is done. The data are a corpus with its features, or HowTo100M-shaped stores too big for memory.
"""

import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from safetensors import safe_open
from tqdm.auto import tqdm

from vcwork.base.errors import NoData, VcworkError
from vcwork.base.files import alone, read_json, resolve, write_json
from vcwork.base.sealed import read_tensors, write_tensors
from vcwork.core.batches import PairData, caption_track, collate, draw_pairs
from vcwork.core.config import ModelConfig, TrainConfig
from vcwork.core.engine import Engine
from vcwork.core.loop import StepRecord, pretrain, updates
from vcwork.core.loss import symmetric_nce
from vcwork.core.model import VideoCLIP
from vcwork.core.text import Tokenizer
from vcwork.data.corpus import Corpus
from vcwork.data.store import Contract, FeatureStore
from vcwork.encoders.checkpoint import save_encoder
from vcwork.encoders.encoder import Encoder
from vcwork.encoders.from_bert import bert_folder, start_from_bert
from vcwork.encoders.load import load_encoder
from vcwork.measure.metrics import recall_at_k
from vcwork.tasks.cases import annotated_clips, clip_scores, labels_of
from vcwork.training import window_choice as choices
from vcwork.training.closed_form import start_from_captions
from vcwork.training.watch import Stopped, Watcher, as_watcher, interrupts

if TYPE_CHECKING:
    from vcwork.data.howto100m.convert import Converted

VALIDATION = "val_t2v_R@1"  # what the best epoch is chosen by, where validation clips are annotated
VALIDATION_NCE = "val_nce"  # where they are not (lower is better)

Watch = Watcher | Callable[[StepRecord], None]


def train(
    corpus: Corpus, store: FeatureStore, folder: str | Path, sizes: dict, config: TrainConfig, progress: bool = False,
    bert: str = "", watch: Watch | None = None, alignment: dict[str, int] | None = None,
) -> Encoder:  # fmt: skip
    """Train on the corpus's training split into `folder`: log.jsonl, state.pt, and the checkpoint at the end.

    `sizes`: fields of ModelConfig other than width and vocabulary. `bert`: a BERT to begin with, whose vocabulary is
    taken, too. `watch` gets every step record, a `Watcher` the rest as well. Called again with the same arguments it
    resumes an interrupted run, or opens the finished one; with others it is refused (VcworkError). An interrupt ends
    it after the current update with its state kept, and raises `Stopped`. After each epoch the log gets the validation
    numbers of `validate`; with `config.keep` "best" the checkpoint is the epoch best on them. `alignment` (window_s,
    stride_s) adds which windows val sentences choose (`vcwork.training.window_choice`). Under torchrun all ranks call
    this, on a folder they share, and the first one writes.
    """

    def start() -> tuple[Encoder, PairData]:
        encoder = new_encoder(corpus, store, sizes, config, bert)
        return encoder, pair_data(corpus, store, encoder.tokenizer)

    identity = {"sizes": sizes, "config": config.model_dump(), "features": store.digest()}
    identity |= {"bert": bert} if bert else {}

    def check(encoder: Encoder) -> dict[str, float]:
        found = validate(encoder, corpus, store) or validation_nce(encoder, _val_pairs(corpus, store, encoder), config)
        return found | ({} if alignment is None else choices.numbers(encoder, corpus, store, "val", **alignment))

    folder = resolve(folder)
    with alone(folder):
        return train_into(folder, identity, config, start, check, progress, watch, Ours(store.contract))


def train_converted(
    data: "Converted", folder: str | Path, sizes: dict, config: TrainConfig, progress: bool = False, bert: str = "",
    watch: Watch | None = None,
) -> Encoder:  # fmt: skip
    """As `train`, on converted HowTo100M-shaped data: nothing of it is held in memory, the vocabulary is its own.

    Validation is the NCE of `validation_nce` on its val split, where it has one.
    """
    if data.captions is None or data.features is None:
        raise VcworkError(f"{data.folder}: expected captions and features to train on")
    contract, tokenizer = data.features.contract, data.captions.tokenizer()
    digests = {"features": data.features.digest(), "captions": data.captions.digest()}

    def start() -> tuple[Encoder, PairData]:
        model = _new_model(tokenizer, contract, sizes, config, bert_folder(bert) if bert else None)
        if model.config.input_transform != "none":
            raise VcworkError("input_transform: is fitted in memory, and has no place on stored data of this size")
        card = {"train": config.model_dump(), **digests, **({"bert": bert} if bert else {})}
        return Encoder(model, tokenizer, contract, card=card), data.pairs("train")

    identity = {"sizes": sizes, "config": config.model_dump(), **digests, **({"bert": bert} if bert else {})}
    held_out = data.pairs("val") if "val" in data.ids else None

    def check(encoder: Encoder) -> dict[str, float]:
        return validation_nce(encoder, held_out, config)

    return train_into(resolve(folder), identity, config, start, check, progress, watch, Ours(contract))


@dataclass(frozen=True)
class Ours:
    """What a finished run leaves: the file that says so, how it is written, and opened again."""

    contract: Contract
    done: str = "checkpoint.json"

    def save(self, folder: Path, encoder: Encoder) -> None:
        save_encoder(folder, encoder)

    def load(self, folder: Path) -> Encoder:
        return load_encoder(folder, self.contract)


def train_into(
    folder: Path, identity: dict, config: TrainConfig, start: Callable[[], tuple[Encoder, PairData]],
    check: Callable[[Encoder], dict[str, float]], progress: bool, watch: Watch | None, kept: "Ours",
    why: str = "holds a run of another configuration or other features",
) -> Encoder:  # fmt: skip
    """Open the finished run of this identity in `folder`, or go on with it, or begin it; `kept`: its checkpoint's form,
    `why`: what a folder of another identity is told. VcworkError for such a folder."""
    engine, identity = Engine(), json.loads(json.dumps(identity))
    if (folder / "train.json").exists() and _as_now(read_json(folder / "train.json")) != identity:
        raise VcworkError(f"{folder}: {why}; delete it or choose another folder")
    finished, watcher, log = (folder / kept.done).exists(), as_watcher(watch), folder / "log.jsonl"
    engine.wait()
    if finished:
        watcher.began(0, log)
        watcher.ended("This run was finished before: it is opened, not trained again.")
        return kept.load(folder)
    if engine.main:
        write_json(folder / "train.json", identity)
    encoder, data = start()
    if config.start == "closed form":
        start_from_captions(encoder.model, encoder.tokenizer, data, config)
    best = _Best(folder, config.keep == "best")
    progress, total, alone = progress and engine.main, updates(data, config, engine.world), engine.world == 1
    watcher.began(total, log)
    with (
        interrupts(alone) as interrupted,
        _told(watcher),
        tqdm(total=total, desc="training", unit="step", disable=not progress) as bar,
    ):

        def on_epoch(epoch: int, _: object) -> dict:
            numbers = check(encoder)
            best.look(encoder.model, numbers)
            watcher.validated(epoch, (epoch + 1) * total // config.epochs - 1, numbers)
            if progress:
                bar.write(f"epoch {epoch + 1}/{config.epochs} {' '.join(f'{k} {v:.3f}' for k, v in numbers.items())}")
            return numbers

        done = total
        for record in pretrain(encoder.model, encoder.tokenizer, data, config, folder, on_epoch, interrupted):
            done = record.step + 1
            bar.update(done - bar.n)
            bar.set_postfix(loss=f"{record.loss:.2f}", refresh=False)
            watcher(record)
        if done < total:
            kept_in = f"the folder {folder.name} keeps the state: run it again to go on"
            raise Stopped(f"stopped after update {done} of {total}; {kept_in}")
    encoder.model.eval()
    if engine.main:
        best.put_back(encoder.model)
        kept.save(folder, encoder)
    if interrupted():
        raise Stopped("interrupted after the last update: the checkpoint is written")
    engine.wait()
    return encoder if engine.world == 1 else kept.load(folder)


@contextmanager
def _told(watcher: Watcher) -> Iterator[None]:
    """Says to the watcher how what is inside ended."""
    try:
        yield
    except Stopped as stopped:
        watcher.ended(f"{str(stopped).capitalize()}.")
        raise
    except BaseException as error:
        watcher.ended(f"Broken off ({type(error).__name__}): the same call goes on from the last state that was kept.")
        raise
    watcher.ended("Finished.")


class _Best:
    """The weights of the epoch best on validation, in `best.safetensors` with its score; test is not looked at."""

    def __init__(self, folder: Path, wanted: bool):
        self.path, self.wanted = folder / "best.safetensors", wanted

    def look(self, model: VideoCLIP, numbers: dict[str, float]) -> None:
        if not self.wanted:
            return
        if not numbers:
            raise VcworkError("keep: best needs validation videos, annotated or with captions; there are none")
        score = numbers.get(VALIDATION, -numbers.get(VALIDATION_NCE, math.inf))
        if not self.path.exists() or score > self.score():
            write_tensors(self.path, model.state_dict(), {"score": repr(score)})

    def score(self) -> float:
        with safe_open(self.path, "pt") as file:
            return float(file.metadata()["score"])

    def put_back(self, model: VideoCLIP) -> None:
        if self.wanted:
            model.load_state_dict(read_tensors(self.path))


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
    model = _new_model(tokenizer, store.contract, sizes, config, folder)
    if model.config.input_transform != "none":
        rows = np.concatenate([store[v.id] for v in corpus.split("train") if v.id in store]).astype(np.float32)
        model.fit_input(torch.from_numpy(rows))
    card = {"train": config.model_dump(), "features": store.digest()} | ({"bert": bert} if bert else {})
    return Encoder(model, tokenizer, store.contract, card=card)


def _new_model(
    tokenizer: Tokenizer, contract: Contract, sizes: dict, config: TrainConfig, bert: Path | None
) -> VideoCLIP:
    torch.manual_seed(config.seed)
    data = {"feature_dim": contract.width, "vocab_size": len(tokenizer)}
    if sizes.get("shared"):
        data |= {"cls_id": tokenizer.cls, "sep_id": tokenizer.sep}
    model = VideoCLIP(ModelConfig.checked(**(sizes | data)))
    if bert:
        start_from_bert(model, bert, tokenizer)
    if model.config.learn_temperature:
        torch.nn.init.constant_(model.log_temperature, math.log(config.temperature))
    return model


@torch.no_grad()
def validation_nce(encoder: Encoder, data: PairData | None, config: TrainConfig, batches: int = 20) -> dict[str, float]:
    """Mean symmetric NCE of pairs drawn, always the same ones, from consecutive groups of videos, at most `batches`.

    As the reference code validates, whose groups are not made of neighbours either; noisy, and no measure of a task.
    Empty without data.
    """
    if data is None:
        return {}
    k = min(config.clusters.videos_per_batch, len(data.tracks))
    plain, losses = config.model_copy(update={"word_dropout": 0.0}), []
    for b in range(min(batches, len(data.tracks) // k)):
        videos = np.arange(b * k, (b + 1) * k)
        pairs = draw_pairs(data, videos, plain, np.random.default_rng([config.seed, 14, b]))
        video, text = encoder.model(*collate(pairs, data, videos, encoder.model, encoder.tokenizer, plain))
        temperature = encoder.model.temperature(config.temperature)
        losses.append(symmetric_nce(video.pooled, text.pooled, temperature).item())
    return {VALIDATION_NCE: float(np.mean(losses))}


def _val_pairs(corpus: Corpus, store: FeatureStore, encoder: Encoder) -> PairData | None:
    try:
        return pair_data(corpus, store, encoder.tokenizer, "val")
    except NoData:
        return None


def validate(encoder: Encoder, corpus: Corpus, store: FeatureStore) -> dict[str, float]:
    """R@1 text to video among the validation split's annotated clips; empty where there are none."""
    try:
        clips = annotated_clips(corpus, store, "val")
    except NoData:
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
            steps.append(labels_of(video, index, store.lengths[video.id]))
    if not tracks:
        raise NoData(f"{corpus.folder}: no {split} video has both captions and features in {store.folder}")
    return PairData(tracks, features, steps if index else None)
