"""MSR-VTT: 10,000 short clips, 20 captions each. Text-to-video retrieval, a whole video a caption.

Whoever says "MSR-VTT" must say which: `1k-A`, 1,000 captions of 1,000 test videos (JSFusion's csv: key, vid_key,
video_id, sentence); `full`, the 2,990 official test videos with 20 captions each; and for training `7k`, official train
and validate, or `9k`, all that is not in 1k-A, which takes in 1,990 official test videos.
The official json is `videodatainfo` ({videos: [...], sentences: [...]}), as one file or as trainval and test.
"""

import math
from collections.abc import Collection, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from vcwork.base.errors import NoData, VcworkError
from vcwork.base.files import resolve
from vcwork.data.benchmarks.common import Benchmark, Clip, Listed, Tally, check_no_leak, numbered
from vcwork.data.benchmarks.reading import At, read_rows, read_strict_json

NAME = "MSR-VTT"
OFFICIAL = ("train", "validate", "test")
SPLITS = {"7k": 7010, "9k": 9000, "full": 2990}  # published number of videos


def read_msrvtt_1ka(path: str | Path) -> Benchmark:
    """JSFusion's 1k-A csv, role test: one caption a video, all of the video. VcworkError: a video listed twice."""
    tally = Tally(path)
    for at, row in read_rows(path, ("key", "vid_key", "video_id", "sentence"), "video_id"):
        tally.video(at, Listed())
        if of_key(at, row["vid_key"]) != at.video:
            at.fail(f"vid_key: expected {at.video.replace('video', 'msr')}, got {row['vid_key']!r}")
        tally.add(at, Clip(at.video, 0.0, math.inf, row["sentence"].strip()))
    tally.compare(tally.expected, 1000, "rows in the csv")
    return tally.close(NAME, "MSR-VTT 1k-A {n}", "test", "clips")


def described(test: Benchmark, paths: Iterable[str | Path]) -> Benchmark:
    """1k-A with the lengths and categories that the official json tells of its videos."""
    known, _ = _read(paths)
    videos = {id: known[id][1] if id in known else listed for id, listed in test.videos.items()}
    clips = [replace(c, end_s=videos[c.video].duration_s or c.end_s, recipe=videos[c.video].recipe) for c in test.clips]
    return replace(test, videos=videos, clips=tuple(clips), tasks=numbered("category", videos))


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
    paths: Iterable[str | Path], split: str, test_ids: Collection[str] = (), ids: Iterable[str] | None = None
) -> Benchmark:
    """Training split 7k or 9k of the official json, or its full test: every caption a clip of all of its video.

    Categories are recipes.

    `test_ids`: the videos of 1k-A, which 9k needs. `ids` (`read_msrvtt_ids`): the list as published, instead of working
    it out; a video of it that the json lacks is counted as missing. VcworkError besides the common ones: a video twice,
    a caption of an unknown video, an unknown official split, a list that holds a video of `test_ids`.
    """
    if split not in SPLITS:
        raise VcworkError(f"split: expected one of {', '.join(SPLITS)}, got {split!r}")
    known, captions = _read(paths := list(paths))
    chosen = list(_worked_out(split, known, test_ids) if ids is None else ids)
    check_no_leak(chosen, test_ids)
    tally = Tally(*paths)
    tally.videos = {id: known[id][1] for id in chosen if id in known}
    tally.lost = {id: "in the list, not in the json" for id in chosen if id not in known}
    for at, text in captions:
        if listed := tally.videos.get(at.video):
            tally.add(at, Clip(at.video, 0.0, listed.duration_s or math.inf, text, listed.recipe))
    tally.compare(len(chosen), SPLITS[split], f"videos of {split}")
    tasks, role = numbered("category", tally.videos), "test" if split == "full" else "train"
    return tally.close(NAME, f"MSR-VTT {split} {role} {{n}} videos", role, "videos", tasks=tasks)


def _worked_out(split: str, known: dict[str, tuple[str, Listed]], test_ids: Collection[str]) -> list[str]:
    """The videos of a split by what the json says of each; 9k is everything but 1k-A."""
    if split != "9k":
        return [id for id, (official, _) in known.items() if (official == "test") == (split == "full")]
    if not test_ids:
        raise VcworkError("split 9k: is everything but 1k-A, so it needs the video ids of 1k-A as test_ids")
    if not any(official == "test" for official, _ in known.values()):
        raise NoData("split 9k: takes in official test videos, and the json holds none; give both halves of it")
    return [id for id in known if id not in test_ids]


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
            known[at.video] = (at.choice(found["split"], "split", OFFICIAL), _listed(at, found))
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
