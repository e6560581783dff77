"""Real data that comes as features, without video files: YouCook2 keyframes, one row a step.

A folder holds `videos_<split>.csv` (video_id, recipe_type), `captions_<split>.json` ({id: {start, end, text}}) and
`features/<backbone>/<id>.npy`, or the keyframes themselves as `frames/<id>_<i>.jpg`, i from 0, which EfficientNet-Lite0
reads. Its features come before MobileNetV2's where a folder has both. There is one keyframe a step, so "second" i of
such a video is step i: times count steps, not seconds of the film. What is absent or does not fit is left out and
counted; a broken file is an error.
Known gap: nothing here knows when a step happened in the film, so no moment of it can be shown.
"""

import math
import re
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from vcwork.base.errors import VcworkError
from vcwork.base.files import resolve, sha256_file, sha256_json, write_json
from vcwork.data.backbones.image import Backbone, get_backbone
from vcwork.data.benchmarks.reading import At, read_rows, read_strict_json
from vcwork.data.captions import Caption, CaptionReport, captions_of_entry, write_vtt
from vcwork.data.corpus import Corpus, Recipe, Video, corpus_once, save_corpus
from vcwork.data.kept import Kept
from vcwork.data.store import Contract, FeatureStore, as_float16, load_npy, npy_bytes, store_once

SPLITS = ("train", "val")
EFFICIENTNET, MOBILENET = "efficientnet-lite0", "mobilenet_v2"


@dataclass(frozen=True)
class Keyframes:
    """Videos by split; of each its recipe type, features (K, W) float16 and K captions, one a keyframe.

    Only videos that have both features and captions, of the same number, are here; `missing` tells of the rest, and of
    captions and features that belong to no listed video.
    """

    folder: Path
    ids: dict[str, list[str]] = field(default_factory=lambda: {split: [] for split in SPLITS})
    recipe: dict[str, str] = field(default_factory=dict)
    features: dict[str, np.ndarray] = field(default_factory=dict, repr=False)
    captions: dict[str, list[Caption]] = field(default_factory=dict, repr=False)
    missing: dict[str, str] = field(default_factory=dict)


def read_keyframes(
    folder: str | Path, backbone: str = MOBILENET, width: int = 1280, stored: dict[str, Path] | None = None
) -> Keyframes:
    """Both splits of a keyframe folder; `width` is what every feature must have, `stored` the files if not in there.

    Counted, not an error: a listed video without features or captions, or with another number of one than of the
    other; captions or features of a video that no csv lists. VcworkError, naming file and key: a missing folder or
    file, a video listed twice, features of another width or type, NaN, captions without a start and end each.
    """
    folder = resolve(folder)
    ready = folder / "features" / backbone
    for path in (folder, *([ready] if stored is None else [])):
        if not path.is_dir():
            raise VcworkError(f"{path}: no such folder")
    features = {path.stem: path for path in sorted(ready.glob("*.npy"))} if stored is None else dict(stored)
    read = Keyframes(folder)
    for split in SPLITS:
        captions = _read_captions(folder / f"captions_{split}.json")
        for at, row in read_rows(folder / f"videos_{split}.csv", ("video_id", "recipe_type"), "video_id"):
            if at.video in read.recipe or at.video in read.missing:
                at.fail("listed twice")
            id, own, path = at.video, captions.pop(at.video, []), features.pop(at.video, None)
            if path is None:
                read.missing[id] = f"{id}.npy is missing"
                continue
            array = as_float16(load_npy(path), width, str(path))  # (K, W)
            if len(array) != len(own):
                read.missing[id] = f"{len(array)} keyframes, {len(own)} captions"
                continue
            read.ids[split].append(id)
            read.recipe[id], read.features[id], read.captions[id] = row["recipe_type"], array, own
        read.missing.update(dict.fromkeys(captions, f"captions_{split}.json: in no csv of its split"))
    read.missing.update({id: f"{path.name} is in no csv" for id, path in features.items()})
    if not any(read.ids.values()):
        raise VcworkError(f"{folder}: none of {len(read.missing)} videos has both features and captions")
    return read


def keyframes_corpus(
    source: str | Path, folder: str | Path, features: str | Path, backbone: str = "", width: int = 1280
) -> tuple[Corpus, FeatureStore]:
    """A keyframe folder as a corpus in `folder` and a store in `features`, so that notebooks run on it unchanged.

    backbone: whose features; empty: EfficientNet-Lite0's where the folder has them or frames, else MobileNetV2's. Each
    caption is also a true segment with a step of its own, and each recipe type a recipe; there is no video file and no
    test split. Called again it opens what is there; VcworkError when that came from other data.
    """
    source, folder, stored = resolve(source), resolve(folder), None
    if not backbone:
        ready, frames = source / "features" / EFFICIENTNET, source / "frames"
        backbone = EFFICIENTNET if ready.is_dir() or frames.is_dir() else MOBILENET
        if backbone == EFFICIENTNET and not ready.is_dir():
            stored = features_of_frames(frames, resolve(f"{features}-of-frames"))
    read = read_keyframes(source, backbone, width, stored)
    texts = {id: [caption.text for caption in captions] for id, captions in read.captions.items()}
    digest = sha256_json({"ids": read.ids, "texts": texts, "recipe": {id: read.recipe[id] for id in texts}})
    corpus = corpus_once(folder, digest, lambda: save_corpus(_as_corpus(read, folder, digest)))
    contract = Contract(backbone, "as published", 1.0, 224, "as published", width)
    return corpus, store_once(features, contract, {id: read.features[id] for id in corpus.videos})


def features_of_frames(frames: Path, out: Path) -> dict[str, Path]:
    """EfficientNet-Lite0's features of `<id>_<i>.jpg` by id, as files in `out`; those of the same pictures are kept.

    VcworkError: another name, a number left out, a picture that cannot be read, or the network not fetched.
    """
    pictures: dict[str, list[Path]] = {}
    paths = {path: re.fullmatch(r"(.+)_(\d+)", path.stem) for path in frames.glob("*.jpg")}
    for path in sorted(paths, key=lambda path: int(paths[path][2]) if paths[path] else -1):
        own = pictures.setdefault(paths[path][1] if paths[path] else "", [])
        if not paths[path] or int(paths[path][2]) != len(own):
            raise VcworkError(f"{path}: expected <video>_<i>.jpg, i from 0 without a gap")
        own.append(path)
    eye, kept, found = get_backbone(EFFICIENTNET), Kept(out, math.inf), {}
    for id, own in pictures.items():
        try:
            decided = [EFFICIENTNET, id, [sha256_file(path) for path in own]]
            found[id] = kept.find(decided) or kept.put(decided, npy_bytes(_seen(eye, own)), ".npy")
        except OSError as error:
            raise VcworkError(f"{own[0]} and the video's others: {error}") from None
    return found


def _seen(eye: Backbone, pictures: list[Path]) -> np.ndarray:
    """(K, W): a row each."""
    from PIL import Image

    return np.stack([eye(np.asarray(Image.open(path).convert("RGB"))[None]) for path in pictures])


def _as_corpus(read: Keyframes, folder: Path, digest: str) -> Corpus:
    """Caption and truth files written, corpus.json not yet."""
    meta = {"second_is": "step", "rolling_captions": False, "source_digest": digest}
    corpus, members = Corpus(folder, read.folder.name, {}, meta=meta, missing_videos=read.missing), {}
    for split, ids in read.ids.items():
        for id in ids:
            captions, kind = read.captions[id], f"type-{read.recipe[id]}"
            steps = {f"{id}/{i}": caption.text for i, caption in enumerate(captions)}
            corpus.steps |= steps
            members.setdefault(kind, []).extend(steps)
            paths = {key: folder / key / f"{id}.{suffix}" for key, suffix in (("captions", "vtt"), ("truth", "json"))}
            write_vtt(paths["captions"], [Caption(i, i + 1, c.text) for i, c in enumerate(captions)])
            segments = [
                {"start_s": i, "end_s": i + 1, "step": step, "caption": steps[step]} for i, step in enumerate(steps)
            ]
            truth = {"segments": segments, "caption_segment": list(range(len(steps))), "mentions": []}
            write_json(paths["truth"], truth)
            corpus.videos[id] = Video(id, None, duration_s=float(len(captions)), split=split, recipe=kind, **paths)
    corpus.recipes = {kind: Recipe(kind, f"recipe {kind}", tuple(steps)) for kind, steps in members.items()}
    return corpus


def _read_captions(path: Path) -> dict[str, list[Caption]]:
    """{video id: captions}; VcworkError unless all are readable, in time order and with a text."""
    found = {}
    for id, entry in At(path).entry(read_strict_json(path)).items():
        at, report = At(path).id(id), CaptionReport()
        captions = captions_of_entry(f"{path}: video {id}", entry, report)
        if report.dropped:
            raise VcworkError(report.dropped[0])
        if report.reordered or len(captions) < len(entry["text"]):
            at.fail("expected texts in time order, none empty")
        found[id] = [replace(c, text=text.strip()) for c, text in zip(captions, entry["text"], strict=True)]
    return found
