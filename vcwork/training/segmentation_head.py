"""Fine-tuning for segmentation: a label for every second, from one linear layer on the video tower's states.

A video is read in windows of `max_video_tokens`; CLS is hidden from attention and nothing is dropped before the linear
layer, as in the reference code; logits are averaged where windows overlap. What the reference does not have is off
by default: tokens of several rows, time as an input, windows that begin anywhere, foreign pieces, a cost of switching.
Known gap: the tower sees one window, never the whole video; time as an input is all that tells it where it is.
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
TIME_COLUMNS = 3


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


def as_tokens(features: np.ndarray, rows_per_token: int = 1, time_input: bool = False, first: int = 0) -> np.ndarray:
    """Rows (T, W) -> tokens (ceil((T - first) / rows_per_token), W or W + 3): means of consecutive rows from `first`.

    `time_input` appends where in the whole video a token begins, as 2 u - 1 and sine and cosine of 2 pi u, 0 <= u < 1.
    """
    rows = np.asarray(features, np.float32)[first:]
    edges = np.arange(0, len(rows), rows_per_token)
    tokens = np.add.reduceat(rows, edges) / np.diff(np.append(edges, len(rows)))[:, None]  # (N, W)
    if not time_input:
        return tokens
    u = (first + edges) / len(features)
    columns = np.stack([2 * u - 1, np.sin(2 * np.pi * u), np.cos(2 * np.pi * u)], 1)  # (N, 3)
    return np.concatenate([tokens, columns.astype(np.float32)], 1)


def token_labels(labels: np.ndarray, rows_per_token: int = 1, first: int = 0) -> np.ndarray:
    """The label of most rows of each token, the lowest of equal ones; -100 only where all rows have it."""
    out = []
    for start in range(first, len(labels), rows_per_token):
        part = labels[start : start + rows_per_token]
        part = part[part != IGNORED]
        out.append(np.bincount(part).argmax() if len(part) else IGNORED)
    return np.array(out, dtype=np.int64)


def finetune_segmentation(
    classifier: TokenClassifier, videos: Sequence[LabelledVideo], recipe: FinetuneRecipe,
    validate: Callable[[], float] | None = None,
) -> Iterator[FinetuneRecord]:  # fmt: skip
    """Train tower and head: cross-entropy over all tokens of all windows of `batch_size` videos an update; see `fit`.

    Labels 0..C-1, or -100 where nothing is known. Source: reference code (windows of 32 every 8, one video an update).
    `shift`, `rows_per_token`, `time_input`, `label_smoothing` are ours.
    """
    classes, window = classifier.head.out_features, classifier.model.config.max_video_tokens

    def update(learner: Learner, items: np.ndarray, step: int) -> dict[str, float]:
        pieces, labels, engine = [], [], learner.engine
        for item in engine.share(list(items)):
            rng = np.random.default_rng([recipe.train.seed, 23, step, int(item)])
            for clip, own in _labelled_windows(videos, item, recipe, window, rng):
                pieces.append(clip)
                labels.append(own)
        features, mask = (x.to(engine.device) for x in pad_clips(pieces, window))
        target = torch.full(mask.shape, IGNORED)  # (B, T)
        for row, own in enumerate(labels):
            target[row, : len(own)] = torch.from_numpy(own)
        target = target.to(engine.device)
        with engine.autocast():
            logits = classifier(features, mask)  # (B, T, C)
        loss = cross_entropy(
            logits.float().flatten(0, 1), target.flatten(), ignore_index=IGNORED, label_smoothing=recipe.label_smoothing
        )
        right = (logits.argmax(-1) == target)[target != IGNORED].float().mean().item()
        return {**learner.learn(loss), "flat": float(np.log(classes)), "accuracy": right}

    return fit(classifier, len(videos), recipe, update, validate)


def _labelled_windows(
    videos: Sequence[LabelledVideo], item: int, recipe: FinetuneRecipe, window: int, rng: np.random.Generator
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Windows of a video's tokens and their labels."""
    video, k = videos[item], recipe.rows_per_token
    first = int(rng.integers(min(k, len(video.labels)))) if recipe.shift else 0
    tokens = as_tokens(video.features, k, recipe.time_input, first)
    if recipe.foreign:
        width = video.features.shape[1]
        tokens[:, :width] += foreign_tokens(videos, len(tokens), recipe, rng)
    labels = token_labels(video.labels, k, first)
    starts = train_starts(len(tokens), window, recipe.stride, int(rng.integers(recipe.stride)) if recipe.shift else 0)
    return [(tokens[s : s + window], labels[s : s + window]) for s in starts]


def foreign_tokens(
    videos: Sequence[LabelledVideo], n_tokens: int, recipe: FinetuneRecipe, rng: np.random.Generator
) -> np.ndarray:
    """What to add to a video's tokens, (N, W): pieces of the training videos, each times its own 0 to `foreign`.

    For features that saw the training labels: a model that trusts each token fails where features are worse. Expects
    standardised features, whose zero says nothing.
    """
    out, k = np.zeros((n_tokens, videos[0].features.shape[1]), np.float32), recipe.rows_per_token
    at = 0
    while at < n_tokens:
        n = min(int(rng.geometric(1 / recipe.foreign_tokens)), n_tokens - at)
        other = videos[rng.integers(len(videos))].features
        start = int(rng.integers(max(1, len(other) - n * k)))
        piece = as_tokens(other[start : start + n * k], k)  # (<= n, W)
        out[at : at + len(piece)] = rng.uniform(0, recipe.foreign) * piece
        at += n
    return out


def train_starts(tokens: int, window: int, stride: int, offset: int = 0) -> list[int]:
    """Starts of the training windows; with an offset the first still begins at 0, so that no token is left out."""
    if not offset or tokens <= window:
        return windows(tokens, window, stride)
    return [0, *(offset + s for s in windows(tokens - offset, window, stride))]


# ---------------------------------------------------------------------------------------------------- predicting


def label_logits(
    classifier: TokenClassifier, videos: Sequence[np.ndarray], recipe: FinetuneRecipe
) -> Iterator[np.ndarray]:
    """Logits of every row of each video in turn, (T, W) -> (T, C); a token's logits are those of all its rows."""
    device = classifier.head.weight.device
    tokens = (as_tokens(features, recipe.rows_per_token, recipe.time_input) for features in videos)
    run = lambda f, m: classifier.eval()(f.to(device), m.to(device))  # noqa: E731
    means = window_means(tokens, classifier.model.config.max_video_tokens, recipe.test_stride, run)
    for features, logits in zip(videos, means, strict=True):
        yield np.repeat(logits, recipe.rows_per_token, axis=0)[: len(features)]


def predict_labels(
    classifier: TokenClassifier, videos: Sequence[np.ndarray], recipe: FinetuneRecipe
) -> list[np.ndarray]:
    """Label of every row of each video, (T, W) -> (T,) int."""
    return [decode(logits, recipe.switch_cost) for logits in label_logits(classifier, videos, recipe)]


def decode(logits: np.ndarray, switch_cost: float = 0.0) -> np.ndarray:
    """The best label of each row, (T, C) -> (T,), where each change of label costs `switch_cost` nats.

    0 is the argmax. Ours, not the reference's: the most likely path of a chain whose labels change at one rate.
    """
    logits = np.asarray(logits, float)
    if not switch_cost:
        return logits.argmax(1)
    score = logits - logits.max(1, keepdims=True)
    score -= np.log(np.exp(score).sum(1, keepdims=True))  # (T, C) log-probabilities
    best, back = score[0], np.zeros(score.shape, int)
    stay = np.arange(score.shape[1])
    for t in range(1, len(score)):
        leader = best.argmax()
        change = best[leader] - switch_cost > best
        back[t] = np.where(change, leader, stay)
        best = np.where(change, best[leader] - switch_cost, best) + score[t]
    path = np.empty(len(score), int)
    path[-1] = best.argmax()
    for t in range(len(score) - 1, 0, -1):
        path[t - 1] = back[t, path[t]]
    return path


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
