"""Fine-tuning for segmentation: a label for every second, from one linear layer on the video tower's states.

A video is read in windows of `max_video_tokens`; CLS is hidden from attention and nothing is dropped before the linear
layer, as in the reference code; logits are averaged where windows overlap. A caller may make the windows (as
`benchmarks/salads50.py` does, which knows more ways to train on little).
Known gap: the tower sees one window, never the whole video.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from vcwork.base.errors import VcworkError
from vcwork.base.files import resolve
from vcwork.base.sealed import begin, check, load_weights, read_tensors, write_tensors
from vcwork.core.batches import pad_clips
from vcwork.core.model import VideoCLIP
from vcwork.core.step import Learner
from vcwork.encoders.checkpoint import CHECKPOINT, load_card, load_model
from vcwork.encoders.encoder import Encoder, window_means, windows
from vcwork.encoders.released import HEAD_OF, KEPT
from vcwork.training.finetune import FinetuneRecipe, FinetuneRecord, fit, save_finetuned

HEAD = "head.safetensors"
IGNORED = -100


@dataclass(frozen=True)
class LabelledVideo:
    """Features (T, W) and labels (T,) int, one a row; rows labelled -100 are not trained on."""

    video_id: str
    features: np.ndarray
    labels: np.ndarray


class TokenClassifier(nn.Module):
    """A label for every token: the video tower and one linear layer, N(0, 0.02), bias 0. Source: reference code."""

    def __init__(self, model: VideoCLIP, classes: int):
        super().__init__()
        self.model = model
        self.head = nn.Linear(model.config.embedding, classes)
        nn.init.normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)

    def forward(self, features: Tensor, mask: Tensor) -> Tensor:
        """features (B, T, W), mask (B, T) -> logits (B, T, C); CLS takes no part."""
        return self.head(self.model.encode_video(features, mask, hide_cls=True).states)


def windows_of(
    videos: Sequence[LabelledVideo], item: int, recipe: FinetuneRecipe, window: int, rng: np.random.Generator
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Windows (n, W) of one video and their labels (n,), one every `stride` rows; `rng` is for other ways."""
    video = videos[item]
    starts = windows(len(video.features), window, recipe.stride)
    return [(video.features[s : s + window], video.labels[s : s + window]) for s in starts]


def finetune_segmentation(
    classifier: TokenClassifier, videos: Sequence[LabelledVideo], recipe: FinetuneRecipe,
    validate: Callable[[], float] | None = None, windows_of: Callable[..., list] = windows_of,
) -> Iterator[FinetuneRecord]:  # fmt: skip
    """Train tower and head: cross-entropy over all tokens of all windows of `batch_size` videos an update; see `fit`.

    Labels 0..C-1, or -100 where nothing is known. `windows_of`: another way to make the windows than that function's.
    Source: reference code (windows of 32 every 8, one video an update).
    """
    classes, window = classifier.head.out_features, classifier.model.config.max_video_tokens

    def update(learner: Learner, items: np.ndarray, step: int) -> dict[str, float]:
        pieces, labels, engine = [], [], learner.engine
        for item in engine.share(list(items)):
            rng = np.random.default_rng([recipe.train.seed, 23, step, int(item)])
            for clip, own in windows_of(videos, item, recipe, window, rng):
                pieces.append(clip)
                labels.append(own)
        features, mask = (x.to(engine.device) for x in pad_clips(pieces, window))
        target = torch.full(mask.shape, IGNORED)  # (B, T)
        for row, own in enumerate(labels):
            target[row, : len(own)] = torch.from_numpy(own)
        target = target.to(engine.device)
        with engine.autocast():
            logits = classifier(features, mask)  # (B, T, C)
        loss = cross_entropy(logits.float().flatten(0, 1), target.flatten(), ignore_index=IGNORED)
        right = (logits.argmax(-1) == target)[target != IGNORED].float().mean().item()
        return {**learner.learn(loss), "flat": float(np.log(classes)), "accuracy": right}

    return fit(classifier, len(videos), recipe, update, validate)


# ---------------------------------------------------------------------------------------------------- predicting


def label_logits(
    classifier: TokenClassifier, videos: Sequence[np.ndarray], recipe: FinetuneRecipe
) -> Iterator[np.ndarray]:
    """Logits of every row of each video in turn, (T, W) -> (T, C), from windows every `test_stride` rows."""
    device = classifier.head.weight.device
    rows = (np.asarray(features, np.float32) for features in videos)
    run = lambda f, m: classifier.eval()(f.to(device), m.to(device))  # noqa: E731
    return window_means(rows, classifier.model.config.max_video_tokens, recipe.test_stride, run)


def predict_labels(
    classifier: TokenClassifier, videos: Sequence[np.ndarray], recipe: FinetuneRecipe
) -> list[np.ndarray]:
    """The best label of every row of each video, (T, W) -> (T,) int."""
    return [logits.argmax(1) for logits in label_logits(classifier, videos, recipe)]


# --------------------------------------------------------------------------------------------------- on disk


def save_classifier(
    folder: str | Path, encoder: Encoder, classifier: TokenClassifier, labels: Sequence[str], recipe: FinetuneRecipe
) -> Encoder:
    """The fine-tuned tower as a checkpoint, and beside it the head; `labels[c]` names class c.

    The card holds the head's hash, so that a head of another run is refused.
    """
    begin(resolve(folder), CHECKPOINT)
    head = write_tensors(resolve(folder) / HEAD, classifier.head.state_dict())
    return save_finetuned(folder, encoder, recipe, labels=list(labels), head=head)


def load_classifier(folder: str | Path) -> tuple[TokenClassifier, list[str], FinetuneRecipe]:
    """Tower and head, label names, and the recipe, whose windows predicting needs. VcworkError where one is missing.

    A head that a released file brought along (`vcwork.encoders.released`) counts: its classes are COIN's step ids.
    """
    folder = resolve(folder)
    whole = load_card(folder)
    card = whole.get("card", {}).get("finetuned", {})
    if "head" not in card:
        return _released(folder, whole)
    classifier = TokenClassifier(load_model(folder), len(card["labels"]))
    load_weights(classifier.head, folder / HEAD, {"sha256": card["head"]}, "checkpoint.json")
    return classifier.eval(), card["labels"], FinetuneRecipe.checked(**card["recipe"])


def _released(folder: Path, card: Mapping[str, Any]) -> tuple[TokenClassifier, list[str], FinetuneRecipe]:
    """The head of COIN's fine-tuning in the reference code, class k for step id k and 0 for background."""
    path, head = folder / KEPT, {}
    if path.is_file():
        check(path, card["files"][KEPT], CHECKPOINT.manifest)
        head = {name.removeprefix(HEAD_OF): t.float() for name, t in read_tensors(path).items() if HEAD_OF in name}
    model = load_model(folder)
    if head.keys() != {"weight", "bias"} or head["weight"].shape != (len(head["bias"]), model.config.embedding):
        raise VcworkError(f"{folder}: has no segmentation head; fine-tune for segmentation first")
    classifier = TokenClassifier(model, len(head["bias"]))
    classifier.head.load_state_dict(head)
    names = ["", *map(str, range(1, len(head["bias"])))]
    return classifier.eval(), names, FinetuneRecipe.checked(task="segmentation", train={})
