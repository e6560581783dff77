"""YouCook2: cooking videos, each step with its sentence. Text-to-video retrieval, one clip a sentence.

Two files are in circulation, with different galleries. HowTo100M's `validation_youcook.csv` (end, start, task, text,
video_id) has 3,350 clips of the validation videos that could still be downloaded; the official
`youcookii_annotations_trainval.json` has 3,492 of 457 validation videos. The "validation" videos are what everybody
tests on: their role here is test, and whoever needs a val split carves it out of training.
"""

from pathlib import Path
from typing import Any

from vcwork.base.errors import VcworkError
from vcwork.base.files import resolve
from vcwork.data.benchmarks.common import Benchmark, Clip, Listed, Tally, Task
from vcwork.data.benchmarks.reading import At, read_rows, read_strict_json

NAME = "YouCook2"
PUBLISHED = {"csv": 3350, "training": 10337, "validation": 3492}  # clips


def read_youcook2_csv(path: str | Path) -> Benchmark:
    """The HowTo100M csv, role test; the recipe type is its `task`. Lengths of videos are unknown.

    VcworkError besides the common ones: a video with two recipe types.
    """
    tally, videos = Tally(), {}
    for at, row in read_rows(path, ("video_id", "start", "end", "task", "text")):
        at = at.id(row["video_id"])
        recipe = str(at.whole(row["task"], "task"))
        if videos.setdefault(at.video, Listed(recipe=recipe)).recipe != recipe:
            at.fail(f"task {recipe}, but {videos[at.video].recipe} in an earlier line")
        start_s, end_s = at.seconds(row["start"], "start"), at.seconds(row["end"], "end")
        tally.add(at, Clip(at.video, start_s, end_s, row["text"].strip(), recipe))
    tally.compare(tally.expected, PUBLISHED["csv"], "clips in the csv")
    return tally.close(NAME, "YouCook2 val {n} (HowTo100M csv)", "test", "clips", videos, tasks=_tasks(videos))


def read_youcook2_json(path: str | Path, subset: str = "validation") -> Benchmark:
    """One subset of the official json: training (role train) or validation (role test).

    Counted: a clip that reaches beyond its video's `duration` is cut, one that begins there is left out. VcworkError
    besides the common ones: a subset that is neither training, validation nor testing.
    """
    if subset not in ("training", "validation"):
        raise VcworkError(f"subset: expected training or validation, got {subset!r}; testing has no annotations")
    top = At(resolve(path))
    tally, videos = Tally(), {}
    for key, found in top.entry(read_strict_json(path), database=dict)["database"].items():
        at = top.id(key)
        found = at.entry(found, subset=str, duration=(int, float), recipe_type=(str, int))
        if found["subset"] not in ("training", "validation", "testing"):
            at.fail(f"subset: expected training, validation or testing, got {found['subset']!r}")
        if found["subset"] == subset:
            videos[at.video] = _add_video(at, found, tally)
    tally.compare(tally.expected, PUBLISHED[subset], f"{subset} clips in the json")
    role, part = ("train", "train") if subset == "training" else ("test", "val")
    return tally.close(NAME, f"YouCook2 {part} {{n}} (official json)", role, "clips", videos, tasks=_tasks(videos))


def _add_video(at: At, found: dict[str, Any], tally: Tally) -> Listed:
    duration_s, recipe = at.seconds(found["duration"], "duration"), str(at.whole(found["recipe_type"], "recipe_type"))
    for number, annotation in enumerate(at.entry(found, annotations=list)["annotations"]):
        place = At(at.path, f"annotation {number}", at.video)
        annotation = place.entry(annotation, segment=list, sentence=str)
        span = place.span(annotation["segment"])
        tally.add(place, Clip(at.video, *span, annotation["sentence"].strip(), recipe), duration_s)
    return Listed(duration_s, recipe)


def _tasks(videos: dict[str, Listed]) -> dict[str, Task]:
    return {listed.recipe: Task(f"recipe type {listed.recipe}") for listed in videos.values()}
