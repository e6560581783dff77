"""MSR-VTT: 10,000 short clips, 20 captions each. Text-to-video retrieval, a whole video a caption.

Whoever says "MSR-VTT" must say which: `1k-A`, 1,000 captions of 1,000 test videos (JSFusion's csv: key, vid_key,
video_id, sentence); `full`, the official 6,513 / 497 / 2,990 videos; and for training `7k`, official train and
validate, or `9k`, all that is not in 1k-A, which takes in 1,990 official test videos.
The official json is `videodatainfo` ({videos: [...], sentences: [...]}), as one file or as trainval and test.
"""

import math
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from vcwork.base.errors import VcworkError
from vcwork.base.files import resolve
from vcwork.data.benchmarks.common import Benchmark, Clip, Listed, Tally, check_no_leak
from vcwork.data.benchmarks.reading import At, read_rows, read_strict_json

NAME = "MSR-VTT"
SPLITS = {  # split: role, official splits in it (9k: all), published number of videos
    "full train": ("train", ("train",), 6513),
    "full validate": ("val", ("validate",), 497),
    "full test": ("test", ("test",), 2990),
    "7k": ("train", ("train", "validate"), 7010),
    "9k": ("train", ("train", "validate", "test"), 9000),
}


def read_msrvtt_1ka(path: str | Path) -> Benchmark:
    """JSFusion's 1k-A csv, role test: one caption a video, all of the video. VcworkError: a video listed twice."""
    tally = Tally()
    for at, row in read_rows(path, ("key", "vid_key", "video_id", "sentence"), "video_id"):
        tally.video(at, Listed())
        if of_key(at, row["vid_key"]) != at.video:
            at.fail(f"vid_key: expected {at.video.replace('video', 'msr')}, got {row['vid_key']!r}")
        tally.add(at, Clip(at.video, 0.0, math.inf, row["sentence"].strip()))
    tally.compare(tally.expected, 1000, "rows in the csv")
    return tally.close(NAME, "MSR-VTT 1k-A {n}", "test", "clips")


def described(test: Benchmark, full: Benchmark) -> Benchmark:
    """1k-A with the lengths and categories that the official json tells of its videos."""
    videos = {id: full.videos.get(id, listed) for id, listed in test.videos.items()}
    clips = [replace(c, end_s=videos[c.video].duration_s or c.end_s, recipe=videos[c.video].recipe) for c in test.clips]
    return replace(test, videos=videos, clips=tuple(clips), tasks=full.tasks)


def of_key(at: At, key: str) -> str:
    """The video id of JSFusion's key: msr1234 is video1234."""
    if not key.startswith("msr") or not key[3:].isdecimal():
        at.fail(f"vid_key: expected msr and a number, got {key!r}")
    return f"video{key[3:]}"


def read_msrvtt_ids(path: str | Path) -> list[str]:
    """Video ids of a training list (`MSRVTT_train.7k.csv`, `.9k.csv`: column video_id); VcworkError: one twice."""
    listed = Tally()
    for at, _ in read_rows(path, ("video_id",), "video_id"):
        listed.video(at, Listed())
    if not listed.videos:
        raise VcworkError(f"{resolve(path)}: lists no video")
    return list(listed.videos)


def read_msrvtt_json(
    paths: str | Path | Iterable[str | Path], split: str, test_ids: Iterable[str] = (), ids: Iterable[str] | None = None
) -> Benchmark:
    """A split of the official json, every caption a clip of all of its video; a video's category is its recipe.

    split: a key of `SPLITS`; 9k needs `test_ids`, the videos of 1k-A. `ids` (`read_msrvtt_ids`): the list of 7k or 9k
    as published, instead of working it out; a video of it that the json lacks is counted as missing.
    VcworkError besides the common ones: a video twice, a caption of an unknown video, an unknown official split, a
    training list that holds a video of `test_ids`.
    """
    if split not in SPLITS or (ids is not None and split not in ("7k", "9k")):
        raise VcworkError(f"split: expected one of {', '.join(SPLITS)} (a list only for 7k and 9k), got {split!r}")
    known, captions = _read([paths] if isinstance(paths, str | Path) else paths)
    worked_out = _worked_out(split, known, set(test_ids))
    chosen, (role, _, published) = dict.fromkeys(worked_out if ids is None else ids), SPLITS[split]
    if role == "train":
        check_no_leak(chosen, test_ids)
    tally = Tally()
    tally.videos = {id: known[id][1] for id in chosen if id in known}
    tally.lost = {id: "in the list, not in the json" for id in chosen if id not in known}
    for at, text in captions:
        if listed := tally.videos.get(at.video):
            tally.add(at, Clip(at.video, 0.0, listed.duration_s or math.inf, text, listed.recipe))
    tally.compare(len(chosen), published, f"videos of {split}")
    words = split if split.startswith("full") else f"{split} train"
    return tally.close(NAME, f"MSR-VTT {words} {{n}} videos", role, "videos", tasks="category")


def _worked_out(split: str, known: dict[str, tuple[str, Listed]], test_ids: set[str]) -> list[str]:
    """The videos of a split by what the json says of each; 9k is everything but 1k-A."""
    if split == "9k" and not test_ids:
        raise VcworkError("split 9k: is everything but 1k-A, so it needs the video ids of 1k-A as test_ids")
    if split == "9k" and not any(own == "test" for own, _ in known.values()):
        raise VcworkError("split 9k: takes in official test videos, and the json holds none; give both halves of it")
    left_out = test_ids if split == "9k" else ()
    return [id for id, (own, _) in known.items() if own in SPLITS[split][1] and id not in left_out]


def _read(paths: Iterable[str | Path]) -> tuple[dict[str, tuple[str, Listed]], list[tuple[At, str]]]:
    """{video: (official split, Listed)}, and place and text of every caption."""
    known: dict[str, tuple[str, Listed]] = {}
    captions: list[tuple[At, str]] = []
    for top in map(At, map(resolve, paths)):
        raw = top.entry(read_strict_json(top.path), videos=list, sentences=list)
        for at, found in top.entries(raw["videos"], "videos entry", video_id=str, split=str):
            at = at.id(found["video_id"])
            if at.video in known:
                at.fail("listed twice")
            known[at.video] = (at.choice(found["split"], "split", ("train", "validate", "test")), _listed(at, found))
        for at, found in top.entries(raw["sentences"], "sentences entry", video_id=str, caption=str):
            captions.append((at.id(found["video_id"]), found["caption"].strip()))
    for at, _ in captions:
        if at.video not in known:
            at.fail("a caption of a video that is not among the videos")
    return known, captions


def _listed(at: At, found: dict[str, Any]) -> Listed:
    """Length (the json's times are those of the web video) and category."""
    duration_s = 0.0
    if "start time" in found or "end time" in found:
        start_s, end_s = (at.seconds(found.get(key), key) for key in ("start time", "end time"))
        if end_s <= start_s:
            at.fail(f"ends before it starts, {start_s:g} to {end_s:g} s")
        duration_s = end_s - start_s
    return Listed(duration_s, str(at.whole(found["category"], "category")) if "category" in found else "")
