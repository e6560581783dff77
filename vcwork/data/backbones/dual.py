"""The image side of Hugging Face dual encoders (CLIP, SigLIP, X-CLIP, VideoPrism, PE-AV) as a backbone; their folders.

`get_backbone("peer:<folder or hub name>")`: one row a second, the projected embedding of that second's frames, so that
what a store holds is already in the space of the model's sentences (`vcwork.encoders.peers`).
Frames go whole through the folder's own image processor (Pillow's version of it, whatever else is installed). Weights
are read from safetensors only and classes are named here: no code and no pickle of a folder is ever run.
Known gaps: one second at a time goes through the image tower.
"""

import json
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vcwork.base.errors import VcworkError
from vcwork.base.files import read_json, resolve
from vcwork.data.backbones import pe_av
from vcwork.data.backbones.hugging_face import (
    as_error,
    hub_folder,
    is_hub_name,
    model_files,
    one_thread,
    quiet,
    read_model,
    weights_digest,
)
from vcwork.data.video import iter_seconds

PREFIX = "peer:"


@dataclass(frozen=True)
class Kind:
    """What differs between the model types that are known."""

    model: str  # class in transformers
    video: bool = False  # the image tower reads several frames together
    fixed: bool = False  # sentences are padded to full length and the padding is read like words
    last_id: bool = False  # a sentence's vector stands at its highest id, whatever the configuration says
    prism: bool = False  # VideoPrism: pixels from 0 to 1, sentences in its own spelling, which end with no id
    pe: bool = False  # PE-AV: any number of frames together, by `pe_av.py`


KINDS = {
    "clip": Kind("CLIPModel"),
    "siglip": Kind("SiglipModel", fixed=True),
    "xclip": Kind("XCLIPModel", video=True, last_id=True),
    "videoprism": Kind("VideoPrismClipModel", video=True, prism=True),
    "pe_video": Kind("PeVideoModel", video=True, pe=True),
    "pe_audio_video": Kind("PeVideoModel", video=True, pe=True),
}
UNREAD = {
    "siglip2": "reads patches of any shape; take a model of fixed size, such as google/siglip2-base-patch16-256",
    "bert": "compares sentences and sees nothing",
    "mpnet": "compares sentences and sees nothing",
}


class PeerBackbone:
    """A peer's image tower as a backbone: the raw projected embedding of a second, so a store serves every `scale`.

    CLIP, SigLIP: the mean over `fps` frames a second, 1 by default, the frame on display in its middle.
    X-CLIP, VideoPrism, PE-AV read N frames together: `fps`, by default N, must divide N; a row sees N / fps seconds,
    its own in their middle, the first and last second repeated beyond the ends. With N a second nothing is seen that
    lies outside of the second; fewer look further, as the model was trained, and blur where things begin.
    Runs in one thread and in float32 like HFImageBackbone. VcworkError as for `load_peer`.
    """

    def __init__(self, source: str | Path, fps: float | None = None) -> None:
        self.folder = peer_folder(source)
        self.kind, self.config = _configuration(self.folder)
        self.name, self.weights = f"{PREFIX}{self.kind}", weights_digest(self.folder, model_files(self.folder))
        if KINDS[self.kind].pe:
            self.size, self.width = self.config.side, self.config.text_config.hidden_size
            self._processor, self.frames = pe_av.processor(self.folder)
        else:
            sees = self.config.vision_config
            self.frames, self.size = sees.num_frames if KINDS[self.kind].video else 1, int(np.max(sees.image_size))
            self.width = getattr(self.config, "projection_dim", None) or sees.hidden_size  # SigLIP: the latter alone
            self._processor = _processor(self.folder, self.size if KINDS[self.kind].prism else None)
        self.fps = _frame_rate(fps, self.frames, KINDS[self.kind].video)
        shape = tuple(self.prepared([np.zeros((self.size + 8, 2 * self.size, 3), np.uint8)]).shape)
        if shape != (1, 3, self.size, self.size):
            expected = f"expected an image processor that gives {self.size} by {self.size} pixels"
            raise VcworkError(f"{self.folder}: {expected}, as the model reads, got {shape[2:]}")

    def __reduce__(self) -> tuple:
        return PeerBackbone, (str(self.folder), self.fps)  # a worker loads its own copy

    @cached_property
    def model(self) -> Any:
        """The Hugging Face model; without its text tower when nobody but this backbone uses it."""
        model = load_model(self.folder, KINDS[self.kind])
        model.text_model = None
        return model

    @property
    def preprocessing(self) -> dict[str, Any]:
        """The folder's own: preprocessor_config.json with transformers' defaults."""
        return self._processor.to_dict()

    @property
    def normalisation(self) -> str:
        """All that changes a number between the pixels and the stored feature."""
        told = self.preprocessing
        steps = {key: told[key] for key in _PREPROCESSING if told.get(key) is not None}
        seconds = f"{self.frames} frames read together over {self.frames // self.fps} s" if self.frames > 1 else "mean"
        return f"Pillow {json.dumps(steps, sort_keys=True, default=int)}; {seconds}, projected, raw"

    def read(self, path: str | Path) -> Iterator[np.ndarray]:
        """The frames of each second's feature, whole and at their own size: uint8 (n, H, W, 3)."""
        seconds = iter_seconds(path, self.fps, None)
        return _spans(seconds, self.fps, self.frames // self.fps) if self.frames > 1 else seconds

    def prepared(self, frames: Sequence[np.ndarray] | np.ndarray) -> Tensor:
        """uint8 RGB (n, H, W, 3) -> what the image tower reads, float32 (n, 3, size, size)."""
        pixels = self._processor(list(frames), return_tensors="pt", input_data_format="channels_last")["pixel_values"]
        return pixels.reshape(-1, *pixels.shape[-3:]).float()  # a processor of videos adds an axis

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        """uint8 RGB (n, H, W, 3) -> float32 (width,); where N are read together, the last stands for those absent."""
        pixels = self.prepared(frames).to(next(self.model.parameters()).device)  # (n, 3, S, S)
        with one_thread():
            if KINDS[self.kind].video:
                pixels = torch.cat([pixels, pixels[-1:].expand(self.frames - len(pixels), -1, -1, -1)])  # (N, 3, S, S)
            if KINDS[self.kind].pe:
                rows = pe_av.see(self.model, pixels)  # (1, W)
            elif KINDS[self.kind].video:
                name = "pixel_values_videos" if KINDS[self.kind].prism else "pixel_values"
                rows = self.model.get_video_features(**{name: pixels[None]}).pooler_output.reshape(1, -1)  # (1, W)
            else:
                rows = self.model.get_image_features(pixel_values=pixels).pooler_output  # (n, W)
        return rows.mean(0).float().cpu().numpy()


_PREPROCESSING = (
    *("do_resize", "size", "resample", "do_center_crop", "crop_size"),
    *("do_rescale", "rescale_factor", "do_normalize", "image_mean", "image_std"),
)


def _spans(seconds: Iterator[np.ndarray], fps: int, span: int) -> Iterator[np.ndarray]:
    """For every second the frames of `span` seconds around it, (span * fps, H, W, 3); ends and part seconds repeat."""

    def extended() -> Iterator[np.ndarray]:
        for i, second in enumerate(seconds):
            second = np.concatenate([second, *[second[-1:]] * (fps - len(second))])
            yield from [second] * (1 if i else 1 + (span - 1) // 2)
        yield from [second] * (span // 2)

    held: deque[np.ndarray] = deque(maxlen=span)
    for second in extended():
        held.append(second)
        if len(held) == span:
            yield np.concatenate(held)


def _frame_rate(fps: float | None, frames: int, video: bool) -> int:
    fps = frames if fps is None else fps
    if int(fps) != fps or fps < 1 or (video and frames % int(fps)):
        divisor = f", one that divides the {frames} it reads together" if video else ""
        raise VcworkError(f"fps: expected a whole number of frames a second{divisor}, got {fps}")
    return int(fps)


# --------------------------------------------------------------------------------------------------------- folder


def peer_name(source: str | Path) -> str:
    """Folder or hub name without `peer:` and what a notebook's path puts before it."""
    return Path(source).as_posix().rpartition(PREFIX)[2]


def peer_folder(source: str | Path) -> Path:
    """The folder of a peer: `source` itself, or where the hub's model of that name was stored; `peer:` may precede."""
    name = peer_name(source)
    folder = resolve(name)
    expected = "expected a folder with config.json and model.safetensors, or a name on the hub (owner/model)"
    if not folder.is_dir() and not is_hub_name(name):
        raise VcworkError(f"{folder}: no such folder; {expected}")
    return hub_folder("peer", name, ("*.json", "merges.txt", "model*.safetensors"), expected)


def _configuration(folder: Path) -> tuple[str, Any]:
    """(model type, Hugging Face configuration) of a folder."""
    import transformers

    kind = str(read_json(folder / "config.json", dict).get("model_type"))
    if kind not in KINDS:
        why = f" ({UNREAD[kind]})" if kind in UNREAD else ""
        raise VcworkError(f"{folder / 'config.json'}: expected model_type {', '.join(KINDS)}, got {kind!r}{why}")
    if KINDS[kind].pe:
        return kind, pe_av.configuration(folder)
    with quiet(), as_error(f"{folder / 'config.json'}: not usable"):
        return kind, getattr(transformers, KINDS[kind].model).config_class.from_pretrained(folder)


def load_model(folder: Path, kind: Kind) -> Any:
    """Both towers in evaluation mode, float32. Absent weights, which transformers draws at random, are an error."""
    import transformers

    return pe_av.load_model(folder) if kind.pe else read_model(getattr(transformers, kind.model), folder)


def _processor(folder: Path, side: int | None) -> Any:
    """The folder's own; for VideoPrism what its processor does whatever a file says: to side x side, from 0 to 1."""
    from transformers import AutoImageProcessor

    if side is not None:
        from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

        return SiglipImageProcessorPil(size={"height": side, "width": side}, do_normalize=False)
    if not any((folder / name).is_file() for name in ("preprocessor_config.json", "processor_config.json")):
        raise VcworkError(f"{folder}: expected an image processor (preprocessor_config.json), found none")
    with quiet(), as_error(f"{folder}: not usable as an image processor"):
        return AutoImageProcessor.from_pretrained(folder, backend="pil", trust_remote_code=False, local_files_only=True)
