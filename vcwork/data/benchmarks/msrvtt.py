"""MSR-VTT: 10,000 short clips, 20 captions each. Text-to-video retrieval, a whole video a caption.

Whoever says "MSR-VTT" must say which: `1k-A`, 1,000 captions of 1,000 test videos (JSFusion's csv: key, vid_key,
video_id, sentence); `full`, the official 6,513 / 497 / 2,990 videos; and for training `7k`, official train and
validate, or `9k`, all that is not in 1k-A, which takes in 1,990 official test videos.
The official json is `videodatainfo` ({videos: [...], sentences: [...]}), as one file or as trainval and test.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from vcwork.base.errors import VcworkError
from vcwork.base.files import resolve
from vcwork.data.benchmarks.common import Benchmark, Clip, Listed, Tally, Task, check_no_leak
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
    tally, videos = Tally(), {}
    for at, row in read_rows(path, ("key", "vid_key", "video_id", "sentence")):
        at = at.id(row["video_id"])
        if at.video in videos:
            at.fail("listed twice; every video has one caption here")
        if of_key(at, row["vid_key"]) != at.video:
            at.fail(f"vid_key: expected {at.video.replace('video', 'msr')}, got {row['vid_key']!r}")
        videos[at.video] = Listed()
        tally.add(at, Clip(at.video, 0.0, math.inf, row["sentence"].strip()))
    tally.compare(tally.expected, 1000, "rows in the csv")
    return tally.close(NAME, "MSR-VTT 1k-A {n}", "test", "clips", videos)


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
    found: dict[str, None] = {}
    for at, row in read_rows(path, ("video_id",)):
        at = at.id(row["video_id"])
        if at.video in found:
            at.fail("listed twice")
        found[at.video] = None
    if not found:
        raise VcworkError(f"{resolve(path)}: lists no video")
    return list(found)


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
    role, official, published = SPLITS[split]
    test_ids = set(test_ids)
    if split == "9k" and not test_ids:
        raise VcworkError("split 9k: is everything but 1k-A, so it needs the video ids of 1k-A as test_ids")
    known, captions = _read([paths] if isinstance(paths, str | Path) else paths)
    worked_out = [id for id, (own, _) in known.items() if own in official and not (split == "9k" and id in test_ids)]
    chosen = dict.fromkeys(worked_out if ids is None else ids)
    if split == "9k" and not any(own == "test" for own, _ in known.values()):
        raise VcworkError("split 9k: takes in official test videos, and the json holds none; give both halves of it")
    if role == "train":
        check_no_leak(chosen, test_ids)
    tally, videos = Tally(), {id: known[id][1] for id in chosen if id in known}
    tally.lost = {id: "in the list, not in the json" for id in chosen if id not in known}
    for at, text in captions:
        if at.video in videos:
            listed = videos[at.video]
            tally.add(at, Clip(at.video, 0.0, listed.duration_s or math.inf, text, listed.recipe))
    tally.compare(len(chosen), published, f"videos of {split}")
    tasks = {v.recipe: Task(f"category {v.recipe}") for v in videos.values() if v.recipe}
    words = split if split.startswith("full") else f"{split} train"
    return tally.close(NAME, f"MSR-VTT {words} {{n}} videos", role, "videos", videos, tasks=tasks)


def _read(paths: Iterable[str | Path]) -> tuple[dict[str, tuple[str, Listed]], list[tuple[At, str]]]:
    """{video: (official split, Listed)}, and place and text of every caption."""
    known: dict[str, tuple[str, Listed]] = {}
    captions: list[tuple[At, str]] = []
    for path in map(resolve, paths):
        raw = At(path).entry(read_strict_json(path), videos=list, sentences=list)
        for at, split, listed in _videos(path, raw["videos"]):
            if at.video in known:
                at.fail("listed twice")
            known[at.video] = (split, listed)
        for number, found in enumerate(raw["sentences"]):
            at = At(path, f"sentences entry {number}")
            found = at.entry(found, video_id=str, caption=str)
            captions.append((at.id(found["video_id"]), found["caption"].strip()))
    for at, _ in captions:
        if at.video not in known:
            at.fail("a caption of a video that is not among the videos")
    return known, captions


def _videos(path: Path, raw: list) -> Iterator[tuple[At, str, Listed]]:
    """Place, official split, length (the json's times on the web video) and category of every video."""
    for number, found in enumerate(raw):
        at, duration_s, recipe = At(path, f"videos entry {number}"), 0.0, ""
        at = at.id(at.entry(found, video_id=str, split=str)["video_id"])
        if found["split"] not in ("train", "validate", "test"):
            at.fail(f"split: expected train, validate or test, got {found['split']!r}")
        if "start time" in found or "end time" in found:
            start_s, end_s = (at.seconds(found.get(key), key) for key in ("start time", "end time"))
            if end_s <= start_s:
                at.fail(f"ends before it starts, {start_s:g} to {end_s:g} s")
            duration_s = end_s - start_s
        if "category" in found:
            recipe = str(at.whole(found["category"], "category"))
        yield at, found["split"], Listed(duration_s, recipe)
