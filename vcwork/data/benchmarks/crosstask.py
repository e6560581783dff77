"""CrossTask: videos of 18 primary tasks with known steps in order, and when each happens. Step localization.

The release folder: `tasks_primary.txt` and `tasks_related.txt` (id, title, url, number of steps, steps with commas, an
empty line), `videos.csv` and `videos_val.csv` (task, video, url; no header), `annotations/<task>_<video>.csv` (step
from 1, start, end; no header).
Train and test are drawn as the reference code draws them: of `videos.csv` without `videos_val.csv` the videos that have
annotations, and features; from `RandomState(0)`, task by task in the order of the file, 30 of every primary task that
has more go to training and the rest is the test; everything else trains. So the draw depends on which videos are there:
with one video less the split is another one, and its name shows the number.
`videos_val.csv` is held out by the release, and the reference uses it for nothing; here it is val.
"""

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from vcwork.base.errors import NoData, VcworkError
from vcwork.base.files import read_text, resolve
from vcwork.data.benchmarks.common import NONE_USABLE, Benchmark, Clip, Listed, Tally, Task
from vcwork.data.benchmarks.reading import At, read_rows
from vcwork.data.coverage import Count

NAME, N_TRAIN = "CrossTask", 30
Pair = tuple[str, str]  # task, video


def read_crosstask(folder: str | Path, part: str = "test", have: Collection[str] | None = None) -> Benchmark:
    """train, val or test of a release folder; `have`: the videos that have features (None: all of them).

    `counts["listed"]` counts what the csv lists and the draw cannot use: no annotation file, no features, a task of
    neither list. Missing from the part's videos: an empty annotation file; a video that another task has in this part
    already, in the test while this part trains, or in videos.csv while this is val. VcworkError besides the common
    ones: a step number that the task does not have, a task's number of steps that is not its steps', a task or a
    (task, video) listed twice.
    """
    folder, tally = resolve(folder), Tally("annotations")
    At(folder).choice(part, "part", ("train", "val", "test"))
    primary, tasks = _tasks(folder)
    val, every = (_videos(folder, name, tally) for name in ("videos_val.csv", "videos.csv"))
    if not (folder / "tasks_related.txt").is_file():
        tally.notes.append("tasks_related.txt is absent")
    named = {"_".join(pair) for pair in (*val, *every)}
    orphans = sorted(path.stem for path in (folder / "annotations").glob("*.csv") if path.stem not in named)
    tally.notes += [f"annotation files of no listed video: {len(orphans)}, first {orphans[0]}.csv"] if orphans else []
    held_out = set(val)
    rest = [pair for pair in every if pair not in held_out]
    listed = val if part == "val" else rest
    unusable = {f"{task}_{video}": why for task, video in listed if (why := _why_not(folder, task, video, tasks, have))}
    usable = [pair for pair in listed if "_".join(pair) not in unusable]
    if listed and not usable:
        why = "; ".join(f"{pair}: {why}" for pair, why in [*unusable.items()][:1])
        raise NoData(f"{folder}: CrossTask {part}: {NONE_USABLE} of {len(listed)} listed videos ({why})")
    if part == "val":
        pairs, taken = usable, {video: f"in videos.csv under task {task}" for task, video in rest}
    else:
        drawn = split_as_reference(usable, primary)
        pairs = [pair for pair in usable if drawn[pair] == part]
        test = [video for (_, video), own in drawn.items() if own == "test" and part == "train"]
        taken = dict.fromkeys(test, "a test video under another task")
    for task, video in _once(pairs, taken, tally.lost):
        tally.videos[video] = Listed(recipe=task)
        _add_steps(folder / "annotations" / f"{task}_{video}.csv", task, video, tasks[task].steps, tally)
    n_tasks = len({own.recipe for own in tally.videos.values()})
    rule = "videos_val.csv" if part == "val" else f"{N_TRAIN} a task to train, RandomState(0)"
    steps = {step: name for task, own in tasks.items() for step, name in _steps(task, own.steps).items()}
    titled = {task: Task(own.name, tuple(_steps(task, own.steps))) for task, own in tasks.items()}
    title = f"CrossTask {part} {{n}} videos of {n_tasks} tasks ({rule})"
    read = tally.close(NAME, title, part, "videos", steps, titled)
    read.counts["listed"] = Count(len(listed), unusable)
    return read


def read_tasks(path: str | Path) -> dict[str, Task]:
    """{task id: title, and steps as they are written, in canonical order} of a tasks file."""
    path, found, at = resolve(path), {}, 0
    lines = [line.strip() for line in read_text(path).split("\n")]
    while at < len(lines):
        if not lines[at]:
            at += 1
            continue
        task, title, _, number, text = [*lines[at : at + 5], *[""] * 5][:5]
        At(path, f"line {at + 1}").id(task)  # a part of file names
        steps = tuple(step.strip() for step in text.split(","))
        wanted = At(path, f"line {at + 4}").whole(number, f"task {task}: number of steps", 1)
        if len(steps) != wanted or not all(steps):
            At(path, f"line {at + 5}").fail(f"task {task}: expected {wanted} steps, got {len(steps)}: {text!r}")
        if task in found:
            At(path, f"line {at + 1}").fail(f"task {task} is given twice")
        found[task], at = Task(title, steps), at + 5
    if not found:
        raise VcworkError(f"{path}: holds no task")
    return found


def _videos(folder: Path, name: str, tally: Tally) -> list[Pair]:
    """(task, video) in the file's order; the held-out videos' file may be absent."""
    if name == "videos_val.csv" and not (folder / name).is_file():
        tally.notes.append(f"{name} is absent")
        return []
    found: dict[Pair, None] = {}
    for at, row in read_rows(folder / name, ("task", "video", "url"), "video", header=False):
        pair = (row["task"].strip(), at.video)
        if pair in found:
            at.fail(f"listed twice for task {pair[0]}")
        found[pair] = None
    return list(found)


def split_as_reference(pairs: Sequence[Pair], primary: Collection[str], n_train: int = N_TRAIN) -> dict[Pair, str]:
    """{(task, video): train or test}, drawn task by task in order of appearance from one legacy RandomState(0)."""
    rng, out = np.random.RandomState(0), {}
    by_task: dict[str, list[str]] = {}
    for task, video in pairs:
        by_task.setdefault(task, []).append(video)
    for task, videos in by_task.items():
        drawn = task in primary and len(videos) > n_train
        train = set(rng.choice(videos, n_train, replace=False).tolist()) if drawn else set(videos)
        out |= {(task, video): "train" if video in train else "test" for video in videos}
    return out


def _tasks(folder: Path) -> tuple[set[str], dict[str, Task]]:
    """Ids of the primary tasks; all tasks."""
    if not (folder / "annotations").is_dir():
        raise VcworkError(f"{folder / 'annotations'}: no such folder")
    primary, path = read_tasks(folder / "tasks_primary.txt"), folder / "tasks_related.txt"
    related = read_tasks(path) if path.is_file() else {}
    if both := sorted(primary.keys() & related.keys()):
        raise VcworkError(f"{path}: task {both[0]} is a primary task as well")
    return set(primary), primary | related


def _why_not(folder: Path, task: str, video: str, tasks: dict, have: Collection[str] | None) -> str:
    if task not in tasks:
        return f"task {task} is in no list of tasks"
    if not (folder / "annotations" / f"{task}_{video}.csv").is_file():
        return f"annotations/{task}_{video}.csv is missing"
    return f"{video}.npy is missing" if have is not None and video not in have else ""


def _once(pairs: list[Pair], taken: dict[str, str], lost: dict[str, str]) -> list[Pair]:
    """Each video under one task, the first, and none that is `taken`, {video: by what}; the others into `lost`."""
    first, kept = {}, []
    for task, video in pairs:
        other = "" if first.setdefault(video, task) == task else f"under task {first[video]} already"
        if why := taken.get(video) or other:
            lost[f"{task}_{video}"] = why
        else:
            kept.append((task, video))
    return kept


def _steps(task: str, names: Sequence[str]) -> dict[str, str]:
    return {f"{task}:{number}": name for number, name in enumerate(names, 1)}


def _add_steps(path: Path, task: str, video: str, names: Sequence[str], tally: Tally) -> None:
    steps = list(_steps(task, names).items())
    for at, row in read_rows(path, ("step", "start", "end"), header=False):
        at = at.id(video)
        step, name = steps[at.whole(row["step"], f"step of task {task}", 1, len(steps)) - 1]
        tally.add(at, Clip(video, *at.span([row["start"], row["end"]]), name, task, step))
