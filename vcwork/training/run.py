"""Training into a folder: who the run is, going on with it, validation after each epoch, last or best checkpoint.

A folder holds one run, known by its settings and by what it is made of: captions, features, vocabulary. `train.json`
says which, and how far it is (`vcwork.training.kept`); the checkpoint, written at the end, says that it is done. The
data are a corpus with its features, or HowTo100M-shaped stores too big for memory.
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

from vcwork.base.errors import VcworkError
from vcwork.base.files import alone, resolve, sha256_json
from vcwork.base.progress import bar, interrupts
from vcwork.base.sealed import manifest_alone, well_formed
from vcwork.core.batches import PairData
from vcwork.core.config import ModelConfig, TrainConfig
from vcwork.core.engine import Engine
from vcwork.core.loop import pretrain, updates
from vcwork.core.model import VideoCLIP
from vcwork.core.text import Tokenizer
from vcwork.data.backbones.hugging_face import folder_digest
from vcwork.data.corpus import Corpus
from vcwork.data.store import Contract, FeatureStore
from vcwork.encoders.checkpoint import save_encoder
from vcwork.encoders.encoder import Encoder
from vcwork.encoders.from_bert import bert_folder, start_from_bert
from vcwork.encoders.load import load_encoder
from vcwork.training.closed_form import start_from_captions
from vcwork.training.kept import TRAINING, KeptRun
from vcwork.training.pairs import control, pair_data
from vcwork.training.recipe import Recipe
from vcwork.training.reference_cells import refuse_few, search
from vcwork.training.validation import VALIDATION, VALIDATION_NCE, Check, corpus_check, validation_nce
from vcwork.training.watch import Stopped, Watch, Watcher, as_watcher, tell_batches, tell_warm_up

if TYPE_CHECKING:
    from vcwork.data.howto100m.convert import Converted


def train(
    corpus: Corpus, store: FeatureStore, folder: str | Path, recipe: Recipe, progress: bool = False,
    watch: Watch | None = None, check: Check | None = None,
) -> Encoder:  # fmt: skip
    """Train on the corpus's training split into `folder`: log.jsonl, a state, and the checkpoint at the end.

    `watch` gets every step record, a `Watcher` the rest as well. Called again with the same arguments it resumes an
    interrupted run, or opens the finished one; with others, or with captions or features that are not the same any
    more, it is refused (VcworkError). An interrupt ends it after the current update with its state kept, and raises
    `Stopped`. After each epoch the log gets the numbers of `check(encoder)`, validation on the corpus's val split
    unless given; with `keep` "best" the checkpoint is the epoch best on them. Under torchrun all ranks call this, on a
    folder they share, and the first one writes.
    """
    tokenizer = _tokenizer(corpus, recipe)

    def start() -> tuple[Encoder, PairData]:
        if check is None:
            held_out = (v for v in corpus.split("val") if v.id in store)
            check_best(recipe.train, any(v.segments or corpus.captions(v.id) for v in held_out))
        return new_encoder(corpus, store, recipe, tokenizer), pair_data(corpus, store, tokenizer)

    run = run_of(corpus, store, folder, recipe, tokenizer)
    return train_into(run, recipe.train, start, check or corpus_check(corpus, store, recipe.train), watch, progress)


def run_of(
    corpus: Corpus, store: FeatureStore, folder: str | Path, recipe: Recipe, tokenizer: Tokenizer | None = None
) -> "Run":
    """What `train` with these arguments is known by, and whether it is done; nothing is trained."""
    made_of = {"features": store.digest(), "corpus": corpus.digest()}
    return _run_of(recipe, folder, made_of, tokenizer or _tokenizer(corpus, recipe), store.contract)


def train_converted(
    data: "Converted", folder: str | Path, recipe: Recipe, progress: bool = False, watch: Watch | None = None
) -> Encoder:
    """As `train`, on converted HowTo100M-shaped data: nothing of it is held in memory, the vocabulary is its own.

    Validation is the NCE of `validation_nce` on its val split, where it has one. Before the first update the stores are
    read whole, to see that they are what was written.
    """
    from vcwork.data.howto100m.convert import open_converted

    captions, features, config = data.captions, data.features, recipe.train
    if captions is None or features is None:
        raise VcworkError(f"{data.folder}: expected captions and features to train on")
    made_of = {"features": features.digest(), "captions": captions.digest(), "ids": sha256_json(data.ids)}
    tokenizer = captions.tokenizer()

    def start() -> tuple[Encoder, PairData]:
        check_best(config, "val" in data.ids)
        open_converted(data.folder, verify=True)
        encoder = _new_encoder(tokenizer, features.contract, recipe, made_of)
        if encoder.model.config.input_transform != "none":
            raise VcworkError("input_transform: is fitted in memory, and has no place on stored data of this size")
        return encoder, data.pairs("train")

    run = _run_of(recipe, folder, made_of, tokenizer, features.contract)
    held_out = data.pairs("val") if "val" in data.ids else None
    check = (lambda encoder: validation_nce(encoder, held_out, config)) if held_out else (lambda _: {})
    return train_into(run, config, start, check, watch, progress)


def _run_of(recipe: Recipe, folder: str | Path, made_of: dict, tokenizer: Tokenizer, contract: Contract) -> "Run":
    _refuse_frames(recipe)  # before anything is written into the folder
    made_of |= {"vocabulary": sha256_json(tokenizer.vocabulary)}
    made_of |= {"bert_files": folder_digest(bert_folder(recipe.bert))} if recipe.bert else {}
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
        """Is its checkpoint there? VcworkError for a folder of another run, or with a checkpoint of unknown origin."""
        done = (self.folder / self.done).exists()
        if not (self.folder / TRAINING.manifest).exists():
            if done:
                raise VcworkError(f"{self.folder}: holds a checkpoint, no {TRAINING.manifest}; choose another folder")
            return False
        came, wanted = manifest_alone(self.folder, TRAINING)["identity"], json.loads(json.dumps(self.identity))
        with well_formed(self.folder / TRAINING.manifest):  # newer settings
            came |= {"config": TrainConfig.checked(**came.get("config", {})).model_dump(mode="json")}
        if other := sorted(key for key in {*came, *wanted} if came.get(key) != wanted.get(key)):
            why = f"holds a run of another configuration or other data ({', '.join(other)} differ)"
            raise VcworkError(f"{self.folder}: {why}; delete it or choose another folder")
        return done


def train_into(
    run: Run, config: TrainConfig, start: Callable[[], tuple[Encoder, PairData]], check: Check, watch: Watch | None,
    progress: bool,
) -> Encoder:  # fmt: skip
    """Open the finished run of this identity, or go on with it, or begin it. VcworkError for another run's folder."""
    with alone(run.folder):
        try:
            return _train_into(run, config, start, check, as_watcher(watch), progress)
        except KeyboardInterrupt as stopped:
            told = f"interrupted: what state the folder {run.folder.name} keeps, the same call goes on from"
            raise stopped if isinstance(stopped, Stopped) else Stopped(told) from None


def _train_into(
    run: Run, config: TrainConfig, start: Callable[[], tuple[Encoder, PairData]], check: Check, watcher: Watcher,
    progress: bool,
) -> Encoder:  # fmt: skip
    engine, finished, kept = Engine(), run.finished, KeptRun(run.folder, run.identity)
    engine.wait()
    if finished:
        if engine.main:
            kept.finish()  # where it was cut off between the two
        watcher.began(0, kept.log)
        watcher.ended("This run was finished before: it is opened, not trained again.")
        return run.load(run.folder)
    if engine.main:
        kept.begin()  # it is known by its settings only once all that can be refused of them has been looked at
    encoder, data = start()
    pairs, clusters = control(data, config), config.clusters
    if clusters.search == "reference cell" and clusters.retrieve and clusters.start_epoch < config.epochs:
        refuse_few(len(data.tracks), clusters, "videos_per_batch", "nlist")
    if config.start == "closed form":
        start_from_captions(encoder.model, encoder.tokenizer, data, config)
    total = updates(data, config, engine.world)
    watcher.began(total, kept.log)
    if engine.main:
        tell_warm_up(config.warmup, total)
        tell_batches(clusters.videos_per_batch, len(data.tracks))

    progress &= engine.main
    shown = bar(wanted=progress, total=total, desc="training", unit="step")

    def on_epoch(epoch: int, _: object) -> dict:
        numbers = check(encoder)
        check_best(config, numbers)
        if config.keep == "best":
            kept.look(encoder.model, epoch, _score(numbers))
        watcher.validated(epoch, (epoch + 1) * total // config.epochs - 1, numbers)
        if progress:
            shown.write(f"epoch {epoch + 1}/{config.epochs} {' '.join(f'{k} {v:.3f}' for k, v in numbers.items())}")
        return numbers

    with interrupts(engine.world == 1) as interrupted, _told(watcher), shown:
        done = total
        model, words = encoder.model, encoder.tokenizer
        for record in pretrain(model, words, pairs, config, kept, on_epoch, interrupted, search):
            done = record.step + 1
            shown.update(done - shown.n)
            shown.set_postfix(loss=f"{record.loss:.2f}", refresh=False)
            watcher(record)
        if done < total:
            kept_in = f"the folder {run.folder.name} keeps the state: run it again to go on"
            raise Stopped(f"stopped after update {done} of {total}; {kept_in}")
    encoder.model.eval()
    if engine.main:
        kept.put_back(encoder.model)
        run.save(run.folder, encoder)
        kept.finish()
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


def check_best(config: TrainConfig, validated: bool | dict) -> None:
    """VcworkError where the best epoch is to be kept, and no validation tells which one is."""
    if config.keep == "best" and not validated:
        raise VcworkError("keep: best needs validation videos, annotated or with captions; there are none")


def _score(numbers: dict[str, float]) -> float:
    """What the best epoch is chosen by, of the numbers of a validation; test is not looked at."""
    return numbers.get(VALIDATION, -numbers.get(VALIDATION_NCE, math.inf))


def _tokenizer(corpus: Corpus, recipe: Recipe) -> Tokenizer:
    if recipe.bert:
        return Tokenizer.load(bert_folder(recipe.bert))
    return Tokenizer.train(c.text for v in corpus.split("train") for c in corpus.captions(v.id))


def new_encoder(corpus: Corpus, store: FeatureStore, recipe: Recipe, tokenizer: Tokenizer | None = None) -> Encoder:
    """Untrained: vocabulary from the training captions, feature width from the store, weights from the seed.

    With the recipe's `bert` vocabulary and transformer weights are that model's.
    """
    tokenizer = tokenizer or _tokenizer(corpus, recipe)
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
