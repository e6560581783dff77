"""Frozen encoders behind one small interface: one second of frames in, one feature out.

`get_backbone("motion")` is the light one that needs no weights, `"s3d"` the paper's, `"efficientnet-lite0"` an image
network that pip can bring; any other name is a Hugging Face image model, a folder or a hub name, run on each frame and
averaged over the second. One of your own is any object such as `Backbone`; a command line may name its class. torch
and transformers load only when such a model is made, so that workers of the motion backbone stay small. Resizing and
normalising follow preprocessor_config.json, done here in a few lines because transformers' own processors want another
image library.
A backbone whose chunks are not seconds brings its own `read(path)` (see `vcwork.data.extract.chunks_of`).
Known gaps: an image model sees one second. Its weights in pickle files are not loaded.
"""

import pkgutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from vcwork.base.errors import VcworkError
from vcwork.base.files import read_json, resolve
from vcwork.base.sealed import well_formed
from vcwork.data.backbones.hugging_face import hub_folder, load_model, one_thread, weights_digest

if TYPE_CHECKING:
    import torch


@runtime_checkable
class Backbone(Protocol):
    """What the feature store needs to know of an encoder; the attributes are its preprocessing contract.

    `__call__`: uint8 RGB (n, size, size, 3), n <= fps frames of one second -> float32 (width,).
    """

    name: str
    weights: str
    fps: int
    size: int
    normalisation: str
    width: int

    def __call__(self, frames: np.ndarray) -> np.ndarray: ...


def get_backbone(name: str, **options: Any) -> Backbone:
    """The backbone called `motion`, `s3d` (options: those of S3DBackbone) or `efficientnet-lite0` (option: `fps`), or a
    Hugging Face image model by folder or hub name (option: `fps`); `peer:` before it asks for the image side of a dual
    encoder (`vcwork.encoders.peers`)."""
    if name == "motion":
        from vcwork.data.backbones.motion import MotionBackbone

        return MotionBackbone(**options)
    if name == "s3d":
        from vcwork.data.backbones.s3d import S3DBackbone

        return S3DBackbone(**options)
    if name == "efficientnet-lite0":
        from vcwork.data.backbones.efficientnet import EfficientNetBackbone

        return EfficientNetBackbone(**options)
    if name.startswith("peer:"):
        from vcwork.data.backbones.dual import PeerBackbone

        return PeerBackbone(name, **options)
    return HFImageBackbone(name, **options)


def given_backbone(text: str) -> Backbone | str:
    """A backbone of the user's own, made from `package.module:Class`; any other text comes back as it is.

    For a command line alone, since it imports what is named: the text may never come out of a file or a record.
    VcworkError where that cannot be imported, or lacks something that a `Backbone` has.
    """
    module, _, name = text.partition(":")
    if module in ("", "s3d", "peer") or not all(map(str.isidentifier, [*module.split("."), *name.split(".")])):
        return text
    try:
        made = pkgutil.resolve_name(text)()
    except (ImportError, AttributeError, TypeError) as error:
        where = "a module beside `run`, an installed one, or one in a folder of $PYTHONPATH, and a class made without"
        raise VcworkError(f"{text}: expected package.module:Class ({where} arguments), got {error}") from error
    if lacks := [part for part in (*Backbone.__annotations__, "__call__") if not hasattr(made, part)]:
        raise VcworkError(f"{text}: expected a backbone with {', '.join(Backbone.__annotations__)}; no {lacks[0]}")
    return made


class HFImageBackbone:
    """A Hugging Face image model on each of `fps` frames a second; the feature is the mean of its pooled outputs.

    Pooled means: the model's pooler output; without one, the mean of its last hidden states over positions.
    Runs in one thread (workers are processes) and in float32 whatever the stored precision, so features do not depend
    on the number of workers. VcworkError when the model or its preprocessor_config.json cannot be found or used.
    """

    def __init__(self, name: str | Path, fps: int = 2) -> None:
        self.source, self.fps = str(name), fps
        folder = model_folder(self.source)
        self.name = f"hf:{Path(self.source).name}" if resolve(self.source).is_dir() else f"hf:{self.source}"
        self.weights = weights_digest(folder)
        self.size, self._crop, self._scale, self._mean, self._std = preprocessing(folder)
        self.normalisation = f"crop {self._crop}, (x * {self._scale:.6g} - {self._mean}) / {self._std}"
        self._model = _load_model(folder)
        self.width = len(self(np.zeros((1, self.size, self.size, 3), np.uint8)))

    def __reduce__(self) -> tuple:
        return HFImageBackbone, (self.source, self.fps)  # a worker loads its own copy

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        """uint8 RGB (n, H, W, 3) -> float32 (width,); another size than `size` is resized first."""
        with one_thread():
            return self._pooled(self._prepared(frames)).mean(0).numpy()  # mean of (n, width)

    def _prepared(self, frames: np.ndarray) -> "torch.Tensor":
        import torch

        pixels = torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2).float()  # (n, 3, H, W)
        if pixels.shape[2:] != (self.size, self.size):
            pixels = torch.nn.functional.interpolate(pixels, (self.size, self.size), mode="bilinear", antialias=True)
        at = (self.size - self._crop) // 2
        pixels = pixels[:, :, at : at + self._crop, at : at + self._crop]
        mean, std = (torch.tensor(value).view(1, 3, 1, 1) for value in (self._mean, self._std))
        return (pixels * self._scale - mean) / std

    def _pooled(self, pixels: "torch.Tensor") -> "torch.Tensor":
        output = self._model(pixel_values=pixels)
        pooled = getattr(output, "pooler_output", None)
        if pooled is not None:
            return pooled.flatten(1)
        states = output.last_hidden_state  # (n, positions, width), or (n, width, h, w) of a convolutional model
        return states.mean((2, 3)) if states.ndim == 4 else states.mean(1)


def model_folder(name: str) -> Path:
    """The folder of an image model: `name` itself, or where the hub's model of that name was stored."""
    known = "'motion', 's3d', 'efficientnet-lite0'"
    expected = f"expected {known}, a folder of a Hugging Face image model, or a name on its hub"
    return hub_folder("backbone", name, ("*.json", "*.safetensors"), expected)


def preprocessing(folder: Path) -> tuple[int, int, float, list[float], list[float]]:
    """(size of the short side, centre crop, factor, mean, std) of preprocessor_config.json."""
    path = folder / "preprocessor_config.json"
    config = read_json(path, dict)
    size = _side(config["size"] if "size" in config else config.get("crop_size"), folder)
    crop = _side(config["crop_size"], folder) if config.get("do_center_crop") and "crop_size" in config else size
    scale = config.get("rescale_factor", 1 / 255) if config.get("do_rescale", True) else 1.0
    normalise = config.get("do_normalize", True) and "image_mean" in config
    with well_formed(path):
        mean, std = (config["image_mean"], config["image_std"]) if normalise else ([0.0] * 3, [1.0] * 3)
        return max(size, crop), crop, float(scale), [float(m) for m in mean], [float(s) for s in std]


def _side(size: object, folder: Path) -> int:
    if isinstance(size, dict):
        size = size.get("shortest_edge") or (size.get("height") if size.get("height") == size.get("width") else None)
    if not isinstance(size, int) or size < 1:
        raise VcworkError(
            f"{folder / 'preprocessor_config.json'}: expected a square size or a shortest edge, got {size!r}"
        )
    return size


def _load_model(folder: Path) -> Any:
    from transformers import AutoModel

    model, absent = load_model(AutoModel, folder, "an image model")
    if broken := [name for name in absent if not name.startswith("pooler.")]:
        raise VcworkError(f"{folder}: {len(broken)} weights of the model are absent, among them {broken[0]}")
    if absent:
        model.pooler = None  # saved without one, as classifiers are: positions are averaged, not pooled at random
    return getattr(model, "vision_model", model)  # of CLIP, the tower that sees
