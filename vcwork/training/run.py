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

from vcwork.base.errors import VcworkError
from vcwork.base.files import alone, read_json, resolve, write_json
from vcwork.base.sealed import read_tensors, write_tensors
from vcwork.core.batches import PairData
from vcwork.core.config import ModelConfig, TrainConfig
from vcwork.core.engine import Engine
from vcwork.core.loop import pretrain, updates
from vcwork.core.model import VideoCLIP
from vcwork.core.text import Tokenizer
from vcwork.data.corpus import Corpus
from vcwork.data.store import Contract, FeatureStore
from vcwork.encoders.checkpoint import save_encoder
from vcwork.encoders.encoder import Encoder
from vcwork.encoders.from_bert import bert_folder, start_from_bert
from vcwork.encoders.load import load_encoder
from vcwork.training.closed_form import start_from_captions
from vcwork.training.kept import KeptRun
from vcwork.training.pairs import control, pair_data
from vcwork.training.recipe import Recipe
from vcwork.training.reference_cells import search
from vcwork.training.validation import VALIDATION, VALIDATION_NCE, Check, corpus_check, validation_nce
from vcwork.training.watch import Stopped, Watch, Watcher, as_watcher, interrupts

if TYPE_CHECKING:
    from vcwork.data.howto100m.convert import Converted


def train(
    corpus: Corpus, store: FeatureStore, folder: str | Path, recipe: Recipe, progress: bool = False,
    watch: Watch | None = None, check: Check | None = None,
) -> Encoder:  # fmt: skip
    """Train on the corpus's training split into `folder`: log.jsonl, state.pt, and the checkpoint at the end.

    `watch` gets every step record, a `Watcher` the rest as well. Called again with the same arguments it resumes an
    interrupted run, or opens the finished one; with others it is refused (VcworkError). An interrupt ends it after the
    current update with its state kept, and raises `Stopped`. After each epoch the log gets the numbers of
    `check(encoder)`, validation on the corpus's val split unless given; with `keep` "best" the checkpoint is the epoch
    best on them. Under torchrun all ranks call this, on a folder they share, and the first one writes.
    """

    def start() -> tuple[Encoder, PairData]:
        encoder = new_encoder(corpus, store, recipe)
        return encoder, pair_data(corpus, store, encoder.tokenizer)

    run = _run_of(recipe, folder, {"features": store.digest()}, store.contract)
    with alone(run.folder):
        return train_into(run, recipe.train, start, check or corpus_check(corpus, store, recipe.train), watch, progress)


def train_converted(
    data: "Converted", folder: str | Path, recipe: Recipe, progress: bool = False, watch: Watch | None = None
) -> Encoder:
    """As `train`, on converted HowTo100M-shaped data: nothing of it is held in memory, the vocabulary is its own.

    Validation is the NCE of `validation_nce` on its val split, where it has one.
    """
    if data.captions is None or data.features is None:
        raise VcworkError(f"{data.folder}: expected captions and features to train on")
    contract, config = data.features.contract, recipe.train
    made_of = {"features": data.features.digest(), "captions": data.captions.digest()}

    def start() -> tuple[Encoder, PairData]:
        encoder = _new_encoder(data.captions.tokenizer(), contract, recipe, made_of)
        if encoder.model.config.input_transform != "none":
            raise VcworkError("input_transform: is fitted in memory, and has no place on stored data of this size")
        return encoder, data.pairs("train")

    run = _run_of(recipe, folder, made_of, contract)
    held_out = data.pairs("val") if "val" in data.ids else None
    check = (lambda encoder: validation_nce(encoder, held_out, config)) if held_out else (lambda _: {})
    return train_into(run, config, start, check, watch, progress)


def _run_of(recipe: Recipe, folder: str | Path, made_of: dict[str, str], contract: Contract) -> "Run":
    _refuse_frames(recipe)  # before anything is written into the folder
    return Run(resolve(folder), recipe.identity | made_of, lambda at: load_encoder(at, contract))


def _refuse_frames(recipe: Recipe) -> None:
    if recipe.frames:
        how = "./run pretrain RECIPE --corpus FOLDER --checkpoint FOLDER, without --features"
        raise VcworkError(f"frames: this recipe trains from video files, not from features: {how}")


@dataclass(frozen=True)
class Run:
    """Where a run lies, what it is known by there, and how its checkpoint is opened and written.

    `done`: the file whose presence says that the run is finished.
    """

    folder: Path
    identity: dict
    load: Callable[[Path], Encoder]
    save: Callable[[Path, Encoder], object] = save_encoder
    done: str = "checkpoint.json"

    @property
    def finished(self) -> bool:
        """Is its checkpoint there? VcworkError for a folder of another run."""
        told = self.folder / "train.json"
        if told.exists() and _as_now(read_json(told)) != json.loads(json.dumps(self.identity)):
            why = "holds a run of another configuration or other data"
            raise VcworkError(f"{self.folder}: {why}; delete it or choose another folder")
        return (self.folder / self.done).exists()


def train_into(
    run: Run, config: TrainConfig, start: Callable[[], tuple[Encoder, PairData]], check: Check, watch: Watch | None,
    progress: bool,
) -> Encoder:  # fmt: skip
    """Open the finished run of this identity, or go on with it, or begin it. VcworkError for another run's folder."""
    engine, finished, watcher, log = Engine(), run.finished, as_watcher(watch), run.folder / "log.jsonl"
    engine.wait()
    if finished:
        watcher.began(0, log)
        watcher.ended("This run was finished before: it is opened, not trained again.")
        return run.load(run.folder)
    if engine.main:
        write_json(run.folder / "train.json", run.identity)
    encoder, data = start()
    if config.start == "closed form":
        start_from_captions(encoder.model, encoder.tokenizer, data, config)
    best, total = _Best(run.folder, config.keep == "best"), updates(data, config, engine.world)
    watcher.began(total, log)

    bar = tqdm(total=total, desc="training", unit="step", disable=not (progress and engine.main))

    def on_epoch(epoch: int, _: object) -> dict:
        numbers = check(encoder)
        best.look(encoder.model, numbers)
        watcher.validated(epoch, (epoch + 1) * total // config.epochs - 1, numbers)
        if not bar.disable:
            bar.write(f"epoch {epoch + 1}/{config.epochs} {' '.join(f'{k} {v:.3f}' for k, v in numbers.items())}")
        return numbers

    with interrupts(engine.world == 1) as interrupted, _told(watcher), bar:
        done = total
        model, words, pairs = encoder.model, encoder.tokenizer, control(data, config)
        for record in pretrain(model, words, pairs, config, KeptRun(run.folder), on_epoch, interrupted, search):
            done = record.step + 1
            bar.update(done - bar.n)
            bar.set_postfix(loss=f"{record.loss:.2f}", refresh=False)
            watcher(record)
        if done < total:
            kept_in = f"the folder {run.folder.name} keeps the state: run it again to go on"
            raise Stopped(f"stopped after update {done} of {total}; {kept_in}")
    encoder.model.eval()
    if engine.main:
        best.put_back(encoder.model)
        run.save(run.folder, encoder)
    if interrupted():
        raise Stopped("interrupted after the last update: the checkpoint is written")
    engine.wait()
    return encoder if engine.world == 1 else run.load(run.folder)


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


def new_encoder(corpus: Corpus, store: FeatureStore, recipe: Recipe) -> Encoder:
    """Untrained: vocabulary from the training captions, feature width from the store, weights from the seed.

    With the recipe's `bert` vocabulary and transformer weights are that model's.
    """
    captions = (c.text for v in corpus.split("train") for c in corpus.captions(v.id))
    tokenizer = Tokenizer.load(bert_folder(recipe.bert)) if recipe.bert else Tokenizer.train(captions)
    encoder = _new_encoder(tokenizer, store.contract, recipe, {"features": store.digest(), "corpus": corpus.name})
    if encoder.model.config.input_transform != "none":
        rows = np.concatenate([store[v.id] for v in corpus.split("train") if v.id in store]).astype(np.float32)
        fit_input(encoder.model, torch.from_numpy(rows))
    return encoder


def _new_encoder(tokenizer: Tokenizer, contract: Contract, recipe: Recipe, made_of: dict[str, str]) -> Encoder:
    _refuse_frames(recipe)
    torch.manual_seed(recipe.train.seed)
    data = {"feature_dim": contract.width, "vocab_size": len(tokenizer)}
    if recipe.model.get("shared"):
        data |= {"cls_id": tokenizer.cls, "sep_id": tokenizer.sep}
    model = VideoCLIP(ModelConfig.checked(**(recipe.model | data)))
    if recipe.bert:
        start_from_bert(model, bert_folder(recipe.bert), tokenizer)
    begin_temperature(model, recipe.train)
    card = {"train": recipe.train.model_dump(), **made_of} | ({"bert": recipe.bert} if recipe.bert else {})
    return Encoder(model, tokenizer, contract, card=card)


def begin_temperature(model: VideoCLIP, config: TrainConfig) -> None:
    """A learned temperature begins at the fixed one's value."""
    if model.config.learn_temperature:
        torch.nn.init.constant_(model.log_temperature, math.log(config.temperature))


@torch.no_grad()
def fit_input(model: VideoCLIP, features: torch.Tensor) -> None:
    """Set mean and scale of the input transform from training features (N, W); one scale for all dimensions."""
    if model.config.input_transform == "sqrt":
        root = features.clamp(min=0).sqrt()  # (N, W)
        model.input_mean.copy_(root.mean(0))
        model.input_scale.copy_((root - root.mean(0)).std(correction=0).clamp(min=1e-6))
