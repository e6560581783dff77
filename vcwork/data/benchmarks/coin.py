"""COIN: instructional videos of 180 tasks, steps from a taxonomy of 778 labels. Action segmentation.

`COIN.json`: {database: {video id: {subset, class, recipe_type, duration, annotation: [{id, label, segment}]}}}. Label
ids are the classes: 25 label texts occur under several ids and stay separate. `training` and `testing` are all there
is; a val split must be carved out of training, because whoever selects on testing reports the best of many.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from vcwork.base.errors import VcworkError
from vcwork.base.files import resolve
from vcwork.data.benchmarks.common import Benchmark, Clip, Listed, Tally, Task, plain
from vcwork.data.benchmarks.reading import At, read_rows, read_strict_json

NAME, LABELS = "COIN", 778
SUBSETS = {"training": "train", "testing": "test"}


def read_coin_taxonomy(path: str | Path) -> dict[str, str]:
    """{label id: label} of the taxonomy's sheet saved as csv (columns `Action Id`, `Action Label`)."""
    found: dict[str, str] = {}
    for at, row in read_rows(path, ("Action Id", "Action Label")):
        id = str(at.whole(row["Action Id"], "Action Id", 1))
        if id in found:
            at.fail(f"label id {id} is given twice")
        found[id] = row["Action Label"].strip()
    if not found:
        raise VcworkError(f"{resolve(path)}: holds no label")
    return found


def read_coin(path: str | Path, subset: str = "testing", taxonomy: Mapping[str, str] | None = None) -> Benchmark:
    """One subset of COIN.json: training (role train) or testing (role test); a clip's text is its label.

    `steps` holds the labels of both subsets, or the taxonomy's, in the order of their ids; `tasks` every class with its
    labels in that order. VcworkError besides the common ones: a label id that the taxonomy lacks, or without one is not
    1 to 778; an id with two different labels; another subset.
    """
    if subset not in SUBSETS:
        raise VcworkError(f"subset: expected training or testing, got {subset!r}")
    top = At(resolve(path))
    tally, videos, labels = Tally(), {}, _Labels(taxonomy)
    members: dict[str, set[str]] = {}
    for key, found in top.entry(read_strict_json(path), database=dict)["database"].items():
        at = top.id(key)
        found = at.entry(found, annotation=list, duration=(int, float), subset=str, **{"class": str})
        if found["subset"] not in SUBSETS:
            at.fail(f"subset: expected training or testing, got {found['subset']!r}")
        listed = Listed(at.seconds(found["duration"], "duration"), found["class"])
        clips = [labels.clip(At(at.path, f"annotation {n}", at.video), a, listed.recipe)
                 for n, a in enumerate(found["annotation"])]  # fmt: skip
        members.setdefault(listed.recipe, set()).update(clip.step for _, clip in clips)
        if found["subset"] == subset:
            videos[at.video] = listed
            for place, clip in clips:
                tally.add(place, clip, listed.duration_s)
    steps = {id: labels.known[id] for id in sorted(labels.known, key=int)}
    tally.compare(len(steps), LABELS, "labels")
    tally.notes.append(f"different label texts: {len(set(map(plain, steps.values())))} of {len(steps)} labels")
    tasks = {name: Task(in_words(name), tuple(sorted(own, key=int))) for name, own in members.items()}
    return tally.close(NAME, f"COIN {subset} {{n}} videos", SUBSETS[subset], "videos", videos, steps, tasks)


def in_words(name: str) -> str:
    """A class's name in words: FixLaptopScreen is fix laptop screen."""
    return " ".join(re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+", name)).lower() or name


class _Labels:
    """Labels by id, from the taxonomy or as they occur, checked against each other."""

    def __init__(self, taxonomy: Mapping[str, str] | None) -> None:
        self.known, self.given = dict(taxonomy or {}), taxonomy is not None

    def clip(self, at: At, found: object, recipe: str) -> tuple[At, Clip]:
        found = at.entry(found, id=(str, int), segment=list, label=str)
        step, label = str(at.whole(found["id"], "label id", 1)), found["label"].strip()
        if self.given and step not in self.known:
            at.fail(f"label id: expected one of {len(self.known)} in the taxonomy, got {step} ({label!r})")
        if not self.given:
            at.whole(found["id"], "label id", 1, LABELS)
        if plain(self.known.setdefault(step, label)) != plain(label):
            at.fail(f"label id {step} is {self.known[step]!r} elsewhere, got {label!r}")
        return at, Clip(at.video, *at.span(found["segment"]), self.known[step], recipe, step)
