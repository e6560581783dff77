"""Fine-tuning on a corpus's annotated videos: train teaches, val chooses, test is not read.

One function for the four tasks, by the recipe's `task`. A record an update goes to `log.jsonl`; the checkpoint is
written at the end. What a second is called, and where a step happens, is the annotators' truth of the train split.
Known gap: segmentation names only steps that occur in the train split; a step seen first in val or test is missed.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from vcwork.base.errors import NoData, VcworkError
from vcwork.base.files import alone, append, resolve
from vcwork.base.sealed import begin
from vcwork.core.engine import Engine
from vcwork.data.corpus import Corpus
from vcwork.data.store import Contract, FeatureStore
from vcwork.encoders.checkpoint import CHECKPOINT, digest_of, load_card, refuse_taken
from vcwork.encoders.encoder import Encoder, encode_text, encode_video
from vcwork.encoders.load import load_encoder
from vcwork.measure.metrics import frame_accuracy, recall_at_k
from vcwork.measure.result import Result
from vcwork.tasks import segmentation
from vcwork.tasks.cases import annotated_clips, setting_of, truths_of, videos_of
from vcwork.tasks.localization import localize_all
from vcwork.training.finetune import ClipSet, FinetuneRecipe, FinetuneRecord, finetune_pairs, save_finetuned
from vcwork.training.segmentation_head import (
    LabelledVideo,
    TokenClassifier,
    finetune_segmentation,
    load_classifier,
    predict_labels,
    save_classifier,
)
from vcwork.training.step_scorer import StepVideo, finetune_localization, step_scores
from vcwork.training.watch import Stopped


@dataclass(frozen=True)
class Tuning:
    """A fine-tuning that can begin: its updates, how to save what comes of it, and a head with its label names."""

    training: Iterator[FinetuneRecord]
    save: Callable[[Path], Encoder]
    head: tuple[TokenClassifier, list[str]] | None = None


def finetune(
    corpus: Corpus, store: FeatureStore, encoder: Encoder, recipe: FinetuneRecipe, folder: str | Path,
    watch: Callable[[FinetuneRecord], None] | None = None,
) -> Encoder:  # fmt: skip
    """Fine-tune `encoder` in place into `folder`; VcworkError where the folder holds a checkpoint already, or more.

    An interrupted one begins anew.

    Validation, where val videos have annotations: R@1 text to video (retrieval) or video to text (VideoQA) among
    their clips, steps of one text counting as one; frame accuracy with background (segmentation); share of the present
    steps found in order (localization). Under torchrun every rank calls this alike and the first writes.
    """
    folder, engine = resolve(folder), Engine()
    with alone(folder), _interruptible():
        refuse_taken(folder)
        engine.wait()
        if engine.main:
            begin(folder, CHECKPOINT)
        run = tuning_of(corpus, store, encoder, recipe)
        _follow(run.training, folder / "log.jsonl", engine, watch or (lambda record: None))
        if engine.main:
            run.save(folder)
        engine.wait()
    return load_encoder(folder, store.contract)


def _follow(
    training: Iterator[FinetuneRecord], log: Path, engine: Engine, watch: Callable[[FinetuneRecord], None]
) -> None:
    """To the end of the training, a line of the log for each record."""
    if engine.main:
        log.unlink(missing_ok=True)
    for record in training:
        if engine.main:
            append(log, json.dumps(asdict(record)) + "\n")
        watch(record)


@contextmanager
def _interruptible() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        raise Stopped("interrupted: a fine-tuning keeps no state, the same command begins it anew") from None


def tuning_of(corpus: Corpus, store: FeatureStore, encoder: Encoder, recipe: FinetuneRecipe) -> Tuning:
    """What `finetune` runs and saves, nothing done yet; the encoder is trained in place."""
    return _TUNINGS[recipe.task](corpus, store, encoder, recipe)


def head_results(
    corpus: Corpus, store: FeatureStore, folder: str | Path, split: str = "test", **draws: int
) -> list[Result]:
    """Segmentation of a split by a checkpoint's own head, fine-tuned here or brought along by a released file (COIN).

    A step that the head does not know is missed. VcworkError: no head, or one for other features.
    """
    classifier, names, recipe = load_classifier(folder)
    card = load_card(folder)
    if (reads := Contract(**card["contract"])) != store.contract:
        raise VcworkError(f"{folder}: trained on features of {reads}, asked to read features of {store.contract}")
    videos = labelled_videos(corpus, store, split, names[1:])
    predicted = predict_labels(classifier, [v.features for v in videos], recipe)
    setting = setting_of(corpus, split, store).but(model=digest_of(card), windows="overlapping", cls="hidden")
    truths, ids = [v.labels for v in videos], [v.video_id for v in videos]
    return segmentation.evaluate_labels(predicted, truths, ids, setting=setting, **draws)


def clip_set(corpus: Corpus, store: FeatureStore, split: str) -> ClipSet:
    """Every annotated stretch of a split's videos and its sentences, several where several describe it."""
    clips = annotated_clips(corpus, store, split)
    sentences: dict[tuple, list[str]] = {}
    for video, span, sentence in zip(clips.videos, clips.spans, clips.sentences, strict=True):
        sentences.setdefault((video, *span), []).append(sentence)
    features = {(video, *span): f for video, span, f in zip(clips.videos, clips.spans, clips.features, strict=True)}
    return ClipSet([np.asarray(features[key], np.float32) for key in sentences], list(sentences.values()))


def trained_steps(corpus: Corpus, store: FeatureStore) -> list[str]:
    """Ids of the steps that occur in the train split, sorted: class k + 1 is step k, class 0 background."""
    return sorted({s.step for v in videos_of(corpus, store, "train") for s in v.segments})


def labelled_videos(corpus: Corpus, store: FeatureStore, split: str, steps: list[str]) -> list[LabelledVideo]:
    """A label for every second of a split's annotated videos; steps not among `steps` get numbers beyond them."""
    videos = [v for v in videos_of(corpus, store, split) if v.segments]
    truths = truths_of(videos, [*steps, *sorted(corpus.steps.keys() - set(steps))], store)
    return [LabelledVideo(v.id, np.asarray(store[v.id], np.float32), t) for v, t in zip(videos, truths, strict=True)]


def step_videos(corpus: Corpus, store: FeatureStore, split: str) -> list[StepVideo]:
    """A split's annotated videos with the steps of their recipe, in its order."""
    out = []
    for v in videos_of(corpus, store, split):
        if v.segments and v.recipe:
            steps = corpus.recipes[v.recipe].steps
            spans = [[(s.start_s, s.end_s) for s in v.segments if s.step == step] for step in steps]
            out.append(StepVideo(v.id, np.asarray(store[v.id], np.float32), [corpus.steps[s] for s in steps], spans))
    return out


def _pairs(corpus: Corpus, store: FeatureStore, encoder: Encoder, recipe: FinetuneRecipe) -> Tuning:
    held = _of_val(lambda: annotated_clips(corpus, store, "val"))

    def validate() -> float:
        scores = encode_text(encoder, held.sentences) @ encode_video(encoder, held.features).T  # (N, N)
        return recall_at_k(scores if recipe.task == "retrieval" else scores.T, 1, held.same)

    training = finetune_pairs(encoder, clip_set(corpus, store, "train"), recipe, validate if held else None)
    return Tuning(training, lambda folder: save_finetuned(folder, encoder, recipe))


def _segmentation(corpus: Corpus, store: FeatureStore, encoder: Encoder, recipe: FinetuneRecipe) -> Tuning:
    steps = trained_steps(corpus, store)
    held = _of_val(lambda: labelled_videos(corpus, store, "val", steps))
    torch.manual_seed(recipe.train.seed)  # the head begins alike on every rank and in every run of this seed
    classifier = TokenClassifier(encoder.model, 1 + len(steps))

    def validate() -> float:
        predicted = predict_labels(classifier, [v.features for v in held], recipe)
        return frame_accuracy(np.concatenate(predicted), np.concatenate([v.labels for v in held]))

    train = labelled_videos(corpus, store, "train", steps)
    training = finetune_segmentation(classifier, train, recipe, validate if held else None)
    names = ["", *steps]
    save = lambda folder: save_classifier(folder, encoder, classifier, names, recipe)  # noqa: E731
    return Tuning(training, save, (classifier, names))


def _localization(corpus: Corpus, store: FeatureStore, encoder: Encoder, recipe: FinetuneRecipe) -> Tuning:
    held = _of_val(lambda: [v for v in step_videos(corpus, store, "val") if len(v.features) >= len(v.steps)])

    def validate() -> float:
        targets = [v.targets() for v in held]  # (T, K) each
        chosen = localize_all(step_scores(encoder, held, recipe))
        hits = sum(t[seconds, np.arange(len(seconds))].sum() for t, seconds in zip(targets, chosen, strict=True))
        return float(hits / max(1, sum(t.any(0).sum() for t in targets)))

    train = step_videos(corpus, store, "train")
    training = finetune_localization(encoder, train, recipe, validate if held else None)
    return Tuning(training, lambda folder: save_finetuned(folder, encoder, recipe))


def _of_val(read: Callable):
    """What `read` finds, or None where no val video has features and annotations."""
    try:
        return read() or None
    except NoData:
        return None


_TUNINGS: dict[str, Callable[..., Tuning]] = {
    "retrieval": _pairs,
    "videoqa": _pairs,
    "segmentation": _segmentation,
    "localization": _localization,
}
