"""Features beside the annotations: `<source>/features/<video id>.npy`, [seconds, width], one row a second.

Their contract is that of the released VideoCLIP's S3D features, or what `features/contract.json` says (the fields of
`vcwork.data.store.Contract`). A video without a file is counted, with its reason; a file that is there and cannot be
used (another width, NaN, no rows, a pickle) is an error, because it says that something else is wrong with the folder.
"""

import hashlib
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, replace
from pathlib import Path

import numpy as np

from vcwork.base.errors import VcworkError
from vcwork.data.benchmarks.common import Benchmark, Listed
from vcwork.data.benchmarks.reading import At, read_strict_json
from vcwork.data.coverage import Count
from vcwork.data.store import S3D_FEATURES, Contract, as_float16, load_npy


class FeatureFolder(Mapping[str, np.ndarray]):
    """Features by video id, read from their files when asked for; only `ids` that have a file, in their order.

    `lengths` {id: seconds}; `lost` {id: why} of the others. VcworkError naming a file that cannot be used.
    """

    def __init__(self, folder: Path, contract: Contract, ids: Iterable[str]) -> None:
        self.folder, self.contract = folder, contract
        ids = list(dict.fromkeys(ids))
        self.lost = {id: f"{id}.npy is missing" for id in ids if not os.path.isfile(self.path(id))}
        self.lengths = {id: len(self[id]) for id in ids if id not in self.lost}
        self.unlisted = sorted(have(folder) - set(ids))

    def path(self, id: str) -> Path:
        return self.folder / f"{id}.npy"

    def __getitem__(self, id: str) -> np.ndarray:
        return as_float16(load_npy(self.path(id)), self.contract.width, str(self.path(id)))  # (T, W)

    def __iter__(self) -> Iterator[str]:
        return iter(self.lengths)

    def __len__(self) -> int:
        return len(self.lengths)


def have(folder: Path) -> set[str]:
    """Ids of all videos that have a feature file; VcworkError where there is none."""
    if found := {path.name.removesuffix(".npy") for path in folder.glob("*.npy")}:
        return found
    raise VcworkError(f"{folder}: expected features as <video id>.npy, found none; the annotations alone can be read "
                      "with the readers of vcwork.data.benchmarks")  # fmt: skip


def contract_beside(folder: Path) -> Contract:
    """What `contract.json` in the features' folder says, or the contract of the released VideoCLIP's features."""
    path = folder / "contract.json"
    if not path.is_file():
        return S3D_FEATURES
    kinds = {"backbone": str, "weights": str, "fps": (int, float), "size": int, "normalisation": str, "width": int}
    raw = At(path).entry(read_strict_json(path), **kinds)
    if more := sorted(set(raw) - {field.name for field in fields(Contract)}):
        raise VcworkError(f"{path}: expected the keys {', '.join(kinds)}; got {', '.join(more)} as well")
    return Contract(**raw | {"fps": float(raw["fps"])})


def with_features(read: Benchmark, lengths: Mapping[str, int], lost: Mapping[str, str]) -> Benchmark:
    """The split as it can be measured: only clips whose video has features in the second where they begin.

    `lengths` {video: seconds of features}, `lost` {video: why it has none}. Counted: videos without features and their
    clips, clips that begin after the features end, and, kept, clips that end after them and videos whose features are
    longer or shorter than they. The split's name changes with what is lost; nothing may be left.
    """
    why = {id: lost.get(id, f"{id}.npy is missing") for id in read.videos if id not in lengths}
    without, kept, late, longer = dict(why), [], {}, 0
    for clip in read.clips:
        seconds = lengths.get(clip.video, 0)
        if clip.start_s >= seconds:
            ends = f"starts at {clip.start_s:g} s, the features end at {seconds} s"
            late[f"{clip.where}, {clip.video}"] = ends if seconds else "no features"
            continue
        longer += math.isfinite(clip.end_s) and math.ceil(clip.end_s) > seconds
        kept.append(replace(clip, end_s=float(seconds)) if math.isinf(clip.end_s) else clip)
    there = {clip.video for clip in kept}
    videos = {id: listed for id, listed in read.videos.items() if id in there}
    why |= {id: "no clip begins before its features end" for id in read.videos if id not in videos and id not in why}
    gone = {"videos": why, "clips": late}
    counts = {k: Count(c.expected, {**c.missing, **gone.get(k, {})}) for k, c in read.counts.items()}
    counts["features"] = Count(len(read.videos), without)
    pools = {"videos": (len(read.videos), len(videos)), "clips": (len(read.clips), len(kept))}
    notes = (*read.notes, *([f"clips that end after their features: {longer}"] if longer else []))
    far = [f"{id}: features of {lengths[id]} s, the video has {listed.duration_s:g} s"
           for id, listed in videos.items() if abs(lengths[id] - listed.duration_s) > _rounding(listed)]  # fmt: skip
    notes += (f"features of another length than their video: {len(far)}, first {far[0]}",) if far else ()
    return replace(read, clips=tuple(kept), videos=videos, counts=counts, notes=notes, pools=pools)


def _rounding(listed: Listed) -> float:
    """Seconds by which features of one row a second may differ from a video's length; more is another rate."""
    return max(5.0, 0.1 * listed.duration_s) if listed.duration_s else math.inf


def carve_val(train: Benchmark, share: float = 0.1) -> tuple[Benchmark, Benchmark]:
    """(train, val): the videos whose id's sha256 falls into the lowest `share` leave training, at least one does.

    An id falls where it falls, whatever other videos there are. VcworkError for fewer than two videos.
    """
    if len(train.videos) < 2:
        raise VcworkError(f"{train.split}: {len(train.videos)} video, so none can be carved out for validation")
    place = {id: int(hashlib.sha256(id.encode()).hexdigest()[:8], 16) / 2**32 for id in train.videos}
    val = {id for id, at in place.items() if at < share} or {min(place, key=place.get)}
    rule = f"{share:.0%} of the training videos, by hash of the id"
    left = _part(train, set(train.videos) - val, f"{train.title} without val", "train", f"val took {rule}")
    return left, _part(train, val, f"{train.title}: val carved from it", "val", f"val is {rule}")


def _part(whole: Benchmark, ids: set[str], title: str, role: str, note: str) -> Benchmark:
    """The clips and videos of `ids`; training keeps the account of what is missing and was changed."""
    videos = {id: listed for id, listed in whole.videos.items() if id in ids}
    clips = tuple(clip for clip in whole.clips if clip.video in ids)
    trains = role == "train"
    counts = dict(whole.counts) if trains else {}
    for kind, there in (("videos", videos), ("clips", clips)):
        missing = whole.counts[kind].missing if trains else {}
        counts[kind] = Count(len(there) + len(missing), missing)
    notes = (*whole.notes, note) if trains else (note, "what is missing is counted under train")
    return replace(whole, title=title, role=role, clips=clips, videos=videos, counts=counts, notes=notes)
