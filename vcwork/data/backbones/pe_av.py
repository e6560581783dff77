"""PE-AV (Perception Encoder for sound and video) as a peer: what of it sees and reads. Its picture tower is timm's.

`dual.py` treats it as any other kind. transformers (5.23) cannot load the whole model (an `AttributeError` about a
buffer of timm's), and hides its functions for one tower; so the part of video and text is loaded alone, from the files
of either (`pe_video`, `pe_audio_video`), and towers and heads are called one by one. Nothing is heard.
A folder's configuration may name none but timm's PE towers, and no file.
"""

import contextlib
import io
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from vcwork.base.errors import VcworkError
from vcwork.base.files import read_json
from vcwork.data.backbones.hugging_face import as_error, quiet, read_model

FRAMES = 16  # read together, where its processor does not say
_FILES = ("pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path", "cache_dir")  # of create_model


def configuration(folder: Path) -> Any:
    """Of video and text. VcworkError without timm, or for a picture tower that is not its PE, or wants files."""
    import transformers

    try:
        import timm
    except (ImportError, RuntimeError) as error:  # absent, or beside a torchvision of another PyTorch
        needs = "PE-AV's picture tower needs timm, with a torchvision that fits PyTorch: pip install 'vcwork[pe]'"
        raise VcworkError(f"{folder}: {needs} ({(str(error).splitlines() or [''])[0]})") from None
    whole = read_json(folder / "config.json", dict).get("model_type") == "pe_audio_video"
    with quiet(), as_error(f"{folder / 'config.json'}: not usable"):
        found = (transformers.PeAudioVideoConfig if whole else transformers.PeVideoConfig).from_pretrained(folder)
        found = found.video_config if whole else found
        tower = found.video_config.vision_config
        asked = tower.model_args or {}
        known = timm.list_models("vit_pe_core_*")
        if tower.architecture not in known or set(asked) & set(_FILES):
            expected = f"expected a picture tower of timm's, {known[0]} and its like, and no file"
            raise VcworkError(f"{folder / 'config.json'}: {expected}, got {tower.architecture!r}, {[*asked]}")
        found.side = int(np.max(asked.get("img_size") or timm.get_pretrained_cfg(tower.architecture).input_size[1:]))
    return found


def load_model(folder: Path) -> Any:
    """Both towers in evaluation mode, float32; VcworkError where weights are absent."""
    import transformers

    inner = {"config": configuration(folder), "key_mapping": {r"^video_model\.": ""}}  # of one that also hears
    with contextlib.redirect_stdout(io.StringIO()):  # transformers prints about its own docstrings
        return read_model(transformers.PeVideoModel, folder, **inner)


def processor(folder: Path) -> tuple[Any, int]:
    """What its processor of videos does to a frame, in Pillow's version, and how many frames are read together.

    VcworkError where there is none, and where it crops, or keeps a picture's shape.
    """
    from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

    names = ("video_preprocessor_config.json", "preprocessor_config.json", "processor_config.json")
    path = next((folder / name for name in names if (folder / name).is_file()), folder / names[0])
    told = read_json(path, dict)
    told = told.get("video_processor", told)
    if set(told.get("size") or ()) != {"height", "width"} or told.get("do_center_crop"):
        raise VcworkError(f"{path}: expected a size of height and width, and no crop, got {told.get('size')}")
    kept = ("size", "resample", "image_mean", "image_std", "rescale_factor")
    with as_error(f"{path}: not usable"):
        steps = {"resample": 2} | {key: told[key] for key in kept if told.get(key) is not None}
        return SiglipImageProcessorPil(**steps), int(told.get("num_frames") or FRAMES)


def see(model: Any, pixels: Tensor) -> Tensor:
    """Frames read together, (N, 3, S, S) -> (1, W)."""
    return model.video_head(model.video_encoder(pixel_values_videos=pixels[None]).pooler_output)


def read(model: Any, ids: Tensor, mask: Tensor) -> Tensor:
    """Sentences, (B, L) -> (B, W); [CLS] stands for one."""
    return model.text_video_head(model.text_model(input_ids=ids, attention_mask=mask).last_hidden_state[:, 0])
