"""YouCook2: cooking videos, each step with its sentence. Text-to-video retrieval, one clip a sentence.

Two files are in circulation, with different galleries. HowTo100M's `validation_youcook.csv` (end, start, task, text,
video_id) has 3,350 clips of the validation videos that could still be downloaded; the official
`youcookii_annotations_trainval.json` has 3,492 of 457 validation videos. The "validation" videos are what everybody
tests on: their role here is test, and whoever needs a val split carves it out of training.
"""

from pathlib import Path

from vcwork.base.files import resolve
from vcwork.data.benchmarks.common import Benchmark, Clip, Listed, Tally, numbered
from vcwork.data.benchmarks.reading import At, read_database, read_rows

NAME = "YouCook2"
PUBLISHED = {"csv": 3350, "training": 10337, "validation": 3492}  # clips


def read_youcook2_csv(path: str | Path) -> Benchmark:
    """The HowTo100M csv, role test; the recipe type is its `task`. Lengths of videos are unknown.

    VcworkError besides the common ones: a video with two recipe types.
    """
    tally = Tally(path)
    for at, row in read_rows(path, ("video_id", "start", "end", "task", "text"), "video_id"):
        recipe = str(at.whole(row["task"], "task"))
        tally.video(at, Listed(recipe=recipe), f"task {recipe}")
        tally.add(at, Clip(at.video, *at.span([row["start"], row["end"]]), row["text"].strip(), recipe))
    tally.compare(tally.expected, PUBLISHED["csv"], "clips in the csv")
    return tally.close(
        NAME, "YouCook2 val {n} (HowTo100M csv)", "test", "clips", tasks=numbered("recipe type", tally.videos)
    )


def read_youcook2_json(path: str | Path, subset: str = "validation") -> Benchmark:
    """One subset of the official json: training (role train) or validation (role test).

    Counted: a clip that reaches beyond its video's `duration` is cut, one that begins there is left out. VcworkError
    besides the common ones: a subset that is neither training, validation nor testing, which has no annotations.
    """
    At(resolve(path)).choice(subset, "subset", ("training", "validation"))
    tally = Tally(path)
    for at, found in read_database(path, subset=str, duration=(int, float), recipe_type=(str, int)):
        if at.choice(found["subset"], "subset", ("training", "validation", "testing")) == subset:
            recipe = str(at.whole(found["recipe_type"], "recipe_type"))
            listed = Listed(at.seconds(found["duration"], "duration"), recipe)
            tally.video(at, listed)
            annotations = at.entry(found, annotations=list)["annotations"]
            for place, told in at.entries(annotations, "annotation", segment=list, sentence=str):
                clip = Clip(at.video, *place.span(told["segment"]), told["sentence"].strip(), recipe)
                tally.add(place, clip, listed.duration_s)
    tally.compare(tally.expected, PUBLISHED[subset], f"{subset} clips in the json")
    role, part = ("train", "train") if subset == "training" else ("test", "val")
    return tally.close(
        NAME, f"YouCook2 {part} {{n}} (official json)", role, "clips", tasks=numbered("recipe type", tally.videos)
    )
