"""One clip through two ways of preparing it: where they first part, by how much, and what it does to scores.

Two people run "CLIP on video" and get different numbers. A `Pipeline` states every choice between a file and a score:
which frames, resize, crop, colour, normalisation, model, pooling, prompt. Each stage of the second way is tried alone
within the first, so that a difference is laid at the stage that makes it and not at those that inherit it.
Models are dual encoders that transformers holds (CLIP, SigLIP), by folder or hub name; what is not said is as the
model's own processor has it. Known gaps: models that read several frames together (X-CLIP); sound.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from PIL import Image
from pydantic import Field

from vcwork.base.errors import VcworkError
from vcwork.base.files import read_yaml, resolve
from vcwork.base.settings import Strict
from vcwork.data.video import iter_seconds
from vcwork.measure.metrics import unit

FINE = 8  # parts of a frame's interval, the first of which is its start
EXAMPLES = ("somebody is cooking", "a person is outdoors", "an animal", "text on a screen")  # where none is given
SAME = 1e-5  # of a stage's largest number: below, arithmetic in another order
FILTERS = {
    name: getattr(Image.Resampling, name.upper()) for name in ("nearest", "box", "bilinear", "bicubic", "lanczos")
}
STAGES: dict[str, tuple[str, ...]] = {  # in order: the settings of which each stage is made
    "frames": ("fps", "moment", "count"),
    "resize": ("resize", "side", "filter"),
    "crop": ("crop", "size"),
    "colour": ("colour",),
    "normalisation": ("scale", "mean", "std"),
    "model": ("model",),
    "pooling": ("unit", "pooling"),
    "prompt": ("prompt", "lower"),
}
READS = {  # a sentence about each stage's numbers
    "frames": "frames", "resize": "pixels", "crop": "pixels", "colour": "pixels", "normalisation": "pixels",
    "model": "vectors of frames", "pooling": "vector of the clip", "prompt": "vectors of the sentences",
}  # fmt: skip
Positive, Finite = Annotated[float, Field(ge=1e-6, le=1e6)], Annotated[float, Field(ge=-1e6, le=1e6)]  # in float32


class Pipeline(Strict):
    """Every choice between a video file and a score; the defaults of those left None are the model's own.

    fps: frames a second; moment: which instant of a frame's interval; count: so many frames spread over the clip (0:
    all of them); resize: the short side to `side`, or both; crop: a square of `size`; scale: what a pixel of 0 to 255
    is multiplied by; unit: frames' vectors are scaled to length 1 before they are pooled; prompt: {} is the sentence.
    """

    model: str
    fps: int = 1
    moment: Literal["middle", "start"] = "middle"
    count: int = 0
    resize: Literal["short", "squash"] | None = None
    side: int | None = Field(None, ge=1, le=4096)
    filter: Literal["nearest", "box", "bilinear", "bicubic", "lanczos"] | None = None
    crop: Literal["centre", "top left", "none"] | None = None
    size: int | None = Field(None, ge=1, le=4096)
    colour: Literal["rgb", "bgr"] = "rgb"
    scale: Positive | None = None
    mean: tuple[Finite, Finite, Finite] | None = None
    std: tuple[Positive, Positive, Positive] | None = None
    unit: bool = True
    pooling: Literal["mean", "max", "first"] = "mean"
    prompt: str = "{}"
    lower: bool = False

    def with_stage(self, other: "Pipeline", stage: str) -> "Pipeline":
        return self.model_copy(update={name: getattr(other, name) for name in STAGES[stage]})


def read_pipeline(told: str) -> Pipeline:
    """From `FOLDER` or a hub name, from `FOLDER,fps=2,crop=none`, or from a YAML file with the same names.

    All that is left out is filled in from the model's own processor. VcworkError names an unknown or wrong setting.
    """
    if told.endswith((".yaml", ".yml")):
        given: dict[str, Any] = read_yaml(resolve(told))
    else:
        model, *pairs = told.split(",")
        wrong = [pair for pair in pairs if "=" not in pair]
        if wrong:
            raise VcworkError(f"pipeline {told}: expected MODEL,name=value,…, got {wrong[0]!r}")
        given = {"model": model}
        for name, value in (pair.split("=", 1) for pair in pairs):
            if name in given:
                raise VcworkError(f"pipeline {told}: {name!r} is given twice")
            given[name] = _value(value)
    pipeline = Pipeline.checked(**given)
    if not 0 < pipeline.fps <= 60 or pipeline.count < 0 or "{}" not in pipeline.prompt:
        raise VcworkError(f"pipeline {told}: expected fps from 1 to 60, count from 0 and a prompt with {{}}")
    own = _defaults(pipeline.model)
    return pipeline.model_copy(update={name: value for name, value in own.items() if getattr(pipeline, name) is None})


def _value(text: str) -> Any:
    """`2` a number, `0.5/0.4/0.3` three, `true` yes, else the text."""
    if text in ("true", "false"):
        return text == "true"
    try:
        numbers = [float(part) for part in text.split("/")]
    except ValueError:
        return text
    return tuple(numbers) if len(numbers) > 1 else int(numbers[0]) if numbers[0].is_integer() else numbers[0]


def _defaults(model: str) -> dict[str, Any]:
    """What a model's own processor says of the settings that may be left None."""
    told = _towers(model).backbone.preprocessing
    size, crop = told.get("size") or {}, told.get("crop_size") or {}
    short = size.get("shortest_edge")
    side = short or size.get("height") or _towers(model).backbone.size
    filters = {value: name for name, value in FILTERS.items()}
    centre = bool(told.get("do_center_crop"))
    return {
        "resize": "short" if short else "squash", "side": side, "crop": "centre" if centre else "none",
        "filter": filters.get(told.get("resample"), "bicubic"), "size": crop.get("height") if centre else side,
        "scale": told.get("rescale_factor", 1 / 255) if told.get("do_rescale", True) else 1.0,
        "mean": tuple(told["image_mean"]) if told.get("do_normalize") else (0.0, 0.0, 0.0),
        "std": tuple(told["image_std"]) if told.get("do_normalize") else (1.0, 1.0, 1.0),
    }  # fmt: skip


# ------------------------------------------------------------------------------------------------------- running


class _Towers:
    """A dual encoder's two sides."""

    def __init__(self, model: str) -> None:
        from vcwork.encoders.peers import load_peer

        self.encoder = load_peer(model)
        self.backbone: Any = self.encoder.backbone
        if self.backbone.frames > 1:
            raise VcworkError(f"{model}: reads several frames together; expected a model of single pictures")

    def pictures(self, pixels: np.ndarray) -> np.ndarray:
        """(F, S, S, 3) as the tower reads them -> (F, D)."""
        import torch

        if pixels.shape[1:3] != (self.backbone.size, self.backbone.size):
            expected = (
                f"{self.backbone.size} by {self.backbone.size} pixels, got {pixels.shape[1]} by {pixels.shape[2]}"
            )
            raise VcworkError(f"{self.backbone.folder}: the model reads {expected} (resize, side, crop, size)")
        with torch.no_grad():
            batch = torch.from_numpy(pixels.astype(np.float32)).permute(0, 3, 1, 2)  # (F, 3, S, S)
            return self.backbone.model.get_image_features(pixel_values=batch).pooler_output.numpy()

    def sentences(self, texts: Sequence[str]) -> np.ndarray:
        """-> (N, D), length 1."""
        return self.encoder.encode_texts(list(texts))


@lru_cache(maxsize=2)
def _towers(model: str) -> _Towers:
    return _Towers(model)


class Run:
    """A clip on its way through a pipeline; every stage is made when it is asked for, and once."""

    def __init__(self, clip: Path, texts: Sequence[str], pipeline: Pipeline) -> None:
        self.clip, self.texts, self.how = clip, texts, pipeline

    def __getitem__(self, stage: str) -> np.ndarray:
        return getattr(self, stage)

    @cached_property
    def frames(self) -> np.ndarray:
        """(F, H, W, 3) uint8, as filmed."""
        fine = FINE if self.how.moment == "start" else 1
        seconds = [second[::fine] for second in iter_seconds(self.clip, self.how.fps * fine, None)]
        frames = np.concatenate(seconds)
        if self.how.count:
            at = ((np.arange(self.how.count) + 0.5) * len(frames) / self.how.count).astype(int)
            frames = frames[at]
        return frames

    @cached_property
    def resize(self) -> np.ndarray:
        """(F, h, w, 3) uint8."""
        height, width = self.frames.shape[1:3]
        side, short = self.how.side, min(height, width)
        sides = (side, side) if self.how.resize == "squash" else (side * width // short, side * height // short)
        images = (Image.fromarray(frame).resize(sides, FILTERS[self.how.filter]) for frame in self.frames)
        return np.stack([np.asarray(image) for image in images])

    @cached_property
    def crop(self) -> np.ndarray:
        """(F, S, S, 3) uint8."""
        if self.how.crop == "none":
            return self.resize
        room = [length - self.how.size for length in self.resize.shape[1:3]]
        if min(room) < 0:
            raise VcworkError(
                f"crop: expected pictures of at least {self.how.size} pixels, got {self.resize.shape[1:3]}"
            )
        top, left = (0, 0) if self.how.crop == "top left" else (room[0] // 2, room[1] // 2)
        return self.resize[:, top : top + self.how.size, left : left + self.how.size]

    @cached_property
    def colour(self) -> np.ndarray:
        """The same, in the order of colours that the model is given."""
        return self.crop if self.how.colour == "rgb" else self.crop[..., ::-1]

    @cached_property
    def normalisation(self) -> np.ndarray:
        """(F, S, S, 3) float."""
        mean, std = (np.array(value, dtype=np.float64) for value in (self.how.mean, self.how.std))
        return ((self.colour * self.how.scale - mean) / std).astype(np.float32)

    @cached_property
    def model(self) -> np.ndarray:
        """(F, D): a vector a frame."""
        return _towers(self.how.model).pictures(self.normalisation)

    @cached_property
    def pooling(self) -> np.ndarray:
        """(D,), length 1."""
        rows = unit(self.model) if self.how.unit else self.model
        pooled = {"mean": rows.mean(0), "max": rows.max(0), "first": rows[0]}[self.how.pooling]
        return unit(pooled[None])[0]

    @cached_property
    def prompt(self) -> np.ndarray:
        """(N, D): the sentences, length 1."""
        told = [self.how.prompt.replace("{}", text) for text in self.texts]
        return _towers(self.how.model).sentences([text.lower() for text in told] if self.how.lower else told)

    @cached_property
    def scores(self) -> np.ndarray:
        """(N,): cosine of each sentence with the clip."""
        return self.prompt @ self.pooling


@dataclass(frozen=True)
class Finding:
    """A stage: what both ways set there, how far it alone takes the numbers of that stage and the scores.

    alone: largest difference of the stage's numbers when only this stage is the second's, a share of the largest (nan:
    of another shape); so_far: the same with all stages before; scores: largest change of a score by it alone.
    """

    stage: str
    first: str
    second: str
    alone: float
    so_far: float
    scores: float

    @property
    def parts(self) -> bool:
        """Does this stage itself make a difference?"""
        return not self.alone <= SAME


@dataclass(frozen=True)
class Diagnosis:
    """All stages, the scores (N,) of both ways, and how the sentences' order agrees."""

    findings: list[Finding]
    texts: Sequence[str]
    first: np.ndarray
    second: np.ndarray

    @property
    def where(self) -> Finding | None:
        """The first stage at which the two ways part."""
        return next((found for found in self.findings if found.parts), None)

    def told(self) -> str:
        if self.where is None:
            return "The two ways give the same numbers at every stage."
        found, change = self.where, np.abs(self.first - self.second).max()
        later = [other.stage for other in self.findings if other.parts and other is not found]
        by = "of another shape" if np.isnan(found.alone) else f"by {found.alone:.1%} of the largest"
        more = f"; so do {', '.join(later)}" if later else ""
        best = "the best sentence stays" if self.first.argmax() == self.second.argmax() else "another one is best"
        alone = (
            "cannot be tried alone" if np.isnan(found.scores) else f"alone moves a score by up to {found.scores:.3f}"
        )
        where = f"They part at {found.stage} ({found.first} against {found.second}), {READS[found.stage]} {by}"
        return f"{where}, which {alone}{more}. In all up to {change:.3f}, and {best}."

    def rows(self) -> list[tuple[str, ...]]:
        """stage, what the first and the second have there, alone, with all before, change of a score."""
        share = lambda value: "other shape" if np.isnan(value) else f"{value:.2%}"  # noqa: E731
        return [(f.stage, f.first or "same", f.second or "same", share(f.alone), share(f.so_far),
                 "not alone" if np.isnan(f.scores) else f"{f.scores:.4f}") for f in self.findings]  # fmt: skip


def diagnose(clip: str | Path, first: Pipeline, second: Pipeline, texts: Sequence[str]) -> Diagnosis:
    """The clip through both ways, and through the first with each stage of the second. VcworkError: no sentence."""
    if not texts:
        raise VcworkError("doctor: expected at least one sentence to score the clip with")
    path = resolve(clip)
    a, b = Run(path, texts, first), Run(path, texts, second)
    findings = []
    for stage, names in STAGES.items():
        mixed = Run(path, texts, first.with_stage(second, stage))
        told = [", ".join(f"{name} {getattr(how, name)}" for name in names
                          if getattr(first, name) != getattr(second, name)) for how in (first, second)]  # fmt: skip
        if not told[0]:
            findings.append(Finding(stage, "", "", 0.0, apart(a[stage], b[stage]), 0.0))
            continue
        alone, so_far = apart(a[stage], mixed[stage]), apart(a[stage], b[stage])
        findings.append(Finding(stage, *told, alone, so_far, _moved(mixed, a)))
    return Diagnosis(findings, texts, a.scores, b.scores)


def _moved(mixed: Run, first: Run) -> float:
    """Largest change of a score; NaN where the mixture cannot be run, as a crop that has no room."""
    try:
        return float(np.abs(mixed.scores - first.scores).max())
    except VcworkError:
        return float("nan")


def apart(a: np.ndarray, b: np.ndarray) -> float:
    """Largest difference of two arrays, a share of the largest number; NaN where they are of two shapes."""
    if a.shape != b.shape:
        return float("nan")
    a, b = a.astype(float), b.astype(float)
    return float(np.abs(a - b).max() / max(np.abs(a).max(), np.abs(b).max(), 1e-12))
