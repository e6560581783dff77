"""COIN: instructional videos of 180 tasks, steps from a taxonomy of 778 labels. Action segmentation.

`COIN.json`: {database: {video id: {subset, class, recipe_type, duration, annotation: [{id, label, segment}]}}}. Label
ids are the classes: 25 label texts occur under several ids and stay separate. `training` and `testing` are all there
is; a val split must be carved out of training, because whoever selects on testing reports the best of many.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vcwork.base.errors import VcworkError
from vcwork.base.files import resolve
from vcwork.data.benchmarks.common import Benchmark, Clip, Listed, Tally, Task, plain
from vcwork.data.benchmarks.reading import At, read_database, read_rows

NAME, LABELS = "COIN", 778
SUBSETS = {"training": "train", "testing": "test"}


def read_coin_taxonomy(path: str | Path) -> dict[str, str]:
    """{label id: label, "" where there is none} of a taxonomy's csv (columns `Action Id`, `Action Label`)."""
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
    labels in that order. An annotation without a label has no text; a row of the taxonomy without one is counted, and
    its id has the label of the first annotation. VcworkError besides the common ones: a label id that the taxonomy
    lacks, or without one is not 1 to 778; an id with two different labels; another subset.
    """
    At(resolve(path)).choice(subset, "subset", SUBSETS)
    tally, known = Tally(path), dict(taxonomy or {})
    members: dict[str, set[str]] = {}
    for at, found in read_database(path, annotation=list, duration=(int, float), subset=str, **{"class": str}):
        at.choice(found["subset"], "subset", SUBSETS)
        listed = Listed(at.seconds(found["duration"], "duration"), found["class"])
        own = members.setdefault(listed.recipe, set())
        if found["subset"] == subset:
            tally.video(at, listed)
        for place, told in at.entries(found["annotation"], "annotation", id=(str, int), segment=list, label=str):
            step, label = _step(place, told, known, taxonomy)
            clip = Clip(at.video, *place.span(told["segment"]), label, listed.recipe, step)
            own |= {step} if label else set()
            if found["subset"] == subset:
                tally.add(place, clip, listed.duration_s)
    steps = {id: known[id] for id in sorted(known, key=int) if known[id]}
    tally.changed["rows of the taxonomy without a label"] += list((taxonomy or {}).values()).count("")
    tally.compare(len(steps), LABELS, "labels")
    tally.notes.append(f"different label texts: {len(set(map(plain, steps.values())))} of {len(steps)} labels")
    tasks = {name: Task(in_words(name), tuple(sorted(own, key=int))) for name, own in members.items()}
    return tally.close(NAME, f"COIN {subset} {{n}} videos", SUBSETS[subset], "videos", steps, tasks)


def in_words(name: str) -> str:
    """A class's name in words: FixLaptopScreen is fix laptop screen."""
    return " ".join(re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+", name)).lower() or name


def _step(at: At, told: dict[str, Any], known: dict[str, str], taxonomy: Mapping[str, str] | None) -> tuple[str, str]:
    """The annotation's label id and label, checked against the taxonomy, or against the labels that were met before."""
    step, label = str(at.whole(told["id"], "label id", 1, None if taxonomy else LABELS)), told["label"].strip()
    if taxonomy and step not in taxonomy:
        at.fail(f"label id: expected one of {len(taxonomy)} in the taxonomy, got {step} ({label!r})")
    if not label:
        return step, ""
    known[step] = known.get(step) or label
    if plain(known[step]) != plain(label):
        at.fail(f"label id {step} is {known[step]!r} elsewhere, got {label!r}")
    return step, known[step]
