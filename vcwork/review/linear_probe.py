"""What do one second's features know? A linear probe: ridge regression to one-hot labels, arg-max.

Fitted on the true seconds of training videos and tested on held-out ones, it tells what a frozen backbone lets through,
before any model is trained. `OneFrame` hides the motion from a backbone, so that what is lost shows what motion gave.
A probe is privileged (it sees labels), so its numbers never stand beside zero-shot ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from vcwork.base.errors import VcworkError
from vcwork.data.backbones.image import Backbone
from vcwork.data.corpus import Corpus, Video
from vcwork.data.kept import code_digest
from vcwork.data.store import FeatureStore
from vcwork.measure.card import Card
from vcwork.measure.intervals import bootstrap_by_video
from vcwork.measure.result import Result

PARTS = {"object": "thing", "action": "action", "tool": "tool"}  # as shown, and as the lab corpus names them


class OneFrame:
    """A backbone that sees only the middle frame of each second, repeated: objects stay, motion goes."""

    def __init__(self, backbone: Backbone) -> None:
        self.backbone = backbone
        self.name, self.weights = f"{backbone.name}, one frame", backbone.weights
        self.fps, self.size, self.width = backbone.fps, backbone.size, backbone.width
        self.normalisation = backbone.normalisation

    @property
    def code(self) -> str:
        inner = getattr(self.backbone, "code", "")
        return inner and f"{inner} {code_digest(__file__)}"

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        """uint8 (n, H, W, 3) -> float32 (width,)."""
        return self.backbone(np.repeat(frames[len(frames) // 2][None], len(frames), axis=0))


@dataclass(frozen=True)
class StepSeconds:
    """Seconds that lie wholly inside a true step: features (N, W), the step's parts (N,) each, videos (N,), split."""

    features: np.ndarray
    labels: dict[str, np.ndarray]
    videos: np.ndarray
    split: str = ""


def some_videos(corpus: Corpus, splits: Sequence[str], at_most: int) -> Corpus:
    """The corpus with `at_most` videos of each of these splits, spread evenly over it, so over the recipes."""
    kept: list[Video] = []
    for split in splits:
        videos = corpus.split(split)
        chosen = np.linspace(0, len(videos) - 1, min(at_most, len(videos))).round()
        kept += [videos[int(i)] for i in chosen]
    return replace(corpus, videos={video.id: video for video in kept})


def step_seconds(corpus: Corpus, store: FeatureStore, split: str) -> StepSeconds:
    """The seconds of a split whose step's parts are known; VcworkError where the corpus knows none."""
    parts = corpus.meta.get("step_parts", {})
    rows = [
        (video.id, second, segment.step)
        for video in corpus.split(split)
        if video.id in store
        for segment in video.segments
        if segment.step in parts
        for second in range(int(np.ceil(segment.start_s)), min(int(segment.end_s), store.lengths[video.id]))
    ]
    if not rows:
        raise VcworkError(f"{corpus.name}: no {split} second of which action and object are known")
    labels = {name: np.array([parts[step][key] for _, _, step in rows]) for name, key in PARTS.items()}
    features = np.stack([store[id][second] for id, second, _ in rows]).astype(np.float32)
    return StepSeconds(features, labels, np.array([id for id, _, _ in rows]), f"{corpus.name} {split}")


def fitted(features: np.ndarray, labels: np.ndarray, penalty: float = 100.0) -> Any:
    """The probe of features (N, W), standardised, and their labels (N,): a scikit-learn pipeline."""
    from sklearn.linear_model import RidgeClassifier  # seconds to import, as all of scikit-learn
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), RidgeClassifier(alpha=penalty)).fit(features.astype(np.float64), labels)


def probe(train: StepSeconds, test: StepSeconds, prefix: str, setting: str, seed: int = 0) -> list[Result]:
    """Accuracy of the probe for each part, `<prefix>_object` and so on; chance: one of the labels seen in training."""
    results = []
    for part, truth in test.labels.items():
        known = train.labels[part]
        right = fitted(train.features, known).predict(test.features.astype(np.float64)) == truth
        low, high = bootstrap_by_video(right, test.videos, seed=seed)
        names, counts = np.unique(known, return_counts=True)
        rule = (
            f"{setting}; ridge probe fitted on {len(known)} seconds of {len(set(train.videos))} videos, tested on "
            f"{len(truth)} seconds of {len(set(test.videos))}; unseen action-object combinations"
        )
        protocol = Card("probe", test.split, rule, pool=len(names), interval="videos")
        trivial = {"most frequent": float((truth == names[counts.argmax()]).mean())}
        results.append(
            Result(f"{prefix}_{part}", right.mean(), low, high, 1 / len(names), protocol, len(truth), trivial)
        )
    return results
