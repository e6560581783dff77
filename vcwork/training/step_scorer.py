"""Fine-tuning for localization: a second's logit for a step is its state times the step's pooled text, no scale.

Windows, hidden CLS and averaging are segmentation's (`vcwork.training.segmentation_head`). Every second is asked about
every step of its video's task, each question on its own: binary cross-entropy, its mean over seconds and steps. Source:
reference code (one video an update, windows of 32 every 16). What comes out are scores for `vcwork.tasks.localization`.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import log

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from vcwork.core.batches import pad_clips
from vcwork.core.step import Learner
from vcwork.encoders.encoder import Encoder, encode_all_seconds, encode_text, windows
from vcwork.measure.metrics import Intervals, inside
from vcwork.training.finetune import FinetuneRecipe, FinetuneRecord, fit


@dataclass(frozen=True)
class StepVideo:
    """Features (T, W), the K step texts of the video's task, and per step the annotated (start_s, end_s), if any."""

    video_id: str
    features: np.ndarray
    steps: Sequence[str]
    intervals: Sequence[Intervals]

    def targets(self) -> np.ndarray:
        """(T, K) float32: does the step happen in the second? [floor(start), ceil(end))"""
        return np.stack([inside(spans, len(self.features)) for spans in self.intervals], 1).astype(np.float32)


def finetune_localization(
    encoder: Encoder, videos: Sequence[StepVideo], recipe: FinetuneRecipe,
    validate: Callable[[], float] | None = None,
) -> Iterator[FinetuneRecord]:  # fmt: skip
    """Train both towers of `encoder.model` on `batch_size` videos an update; see `fit`.

    A video's loss is the mean over its seconds and steps; of several videos, the mean of theirs.
    """
    targets = [video.targets() for video in videos]

    def update(learner: Learner, items: np.ndarray, step: int) -> dict[str, float]:
        losses, right = [], []
        for item in learner.engine.share(list(items)):
            with learner.engine.autocast():
                logits, target = _step_logits(encoder, videos[item], targets[item], recipe)  # (N, K) each
            losses.append(binary_cross_entropy_with_logits(logits.float(), target))
            right.append(((logits > 0) == (target > 0)).float().mean())
        numbers = learner.learn(torch.stack(losses).mean())
        return {**numbers, "flat": log(2), "accuracy": torch.stack(right).mean().item()}

    return fit(encoder.model, len(videos), recipe, update, validate)


def _step_logits(
    encoder: Encoder, video: StepVideo, targets: np.ndarray, recipe: FinetuneRecipe
) -> tuple[Tensor, Tensor]:
    """Logits and targets of the seconds of all windows, below each other; a second counts once a window."""
    device, window = next(encoder.model.parameters()).device, encoder.window
    starts = windows(len(video.features), window, recipe.stride)
    features, mask = (x.to(device) for x in pad_clips([video.features[s : s + window] for s in starts], window))
    states = encoder.model.encode_video(features, mask, hide_cls=True).states  # (B, T, D)
    words = encoder.tokenizer.encode(list(video.steps), encoder.model.config.max_text_tokens)
    steps = encoder.model.encode_text(*(x.to(device) for x in words)).pooled  # (K, D)
    own = np.concatenate([targets[s : s + window] for s in starts])  # (N, K)
    return states[mask] @ steps.T, torch.from_numpy(own).to(device)


def step_scores(encoder: Encoder, videos: Sequence[StepVideo], recipe: FinetuneRecipe) -> list[np.ndarray]:
    """Logits of every second of each video for its own steps, (T, K), averaged over windows every `test_stride`."""
    encoder.model.eval()
    texts = encode_text(encoder, [step for video in videos for step in video.steps])
    own = np.split(texts, np.cumsum([len(video.steps) for video in videos])[:-1])  # (K, D) each
    states = encode_all_seconds(encoder, (video.features for video in videos), recipe.test_stride, hide_cls=True)
    return [each @ steps.T for each, steps in zip(states, own, strict=True)]
