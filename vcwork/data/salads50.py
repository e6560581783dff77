"""Real features with a label for every row, in the layout of 50Salads. What does not fit is an error.

A folder holds `features/<id>.npy` [T, W], `groundTruth/<id>.txt` (one label a row), `mapping.txt` (number and label)
and `split<n>_{train,test}.txt` (one id a line).
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from vcwork.base.errors import VcworkError
from vcwork.base.files import resolve
from vcwork.data.benchmarks.reading import At, read_text
from vcwork.data.store import as_float16, load_npy


@dataclass(frozen=True)
class FrameLabels:
    """Videos by split; of each features (T, W) float32 and labels (T,) int64; `names[c]` is the label of class c."""

    folder: Path
    names: list[str]
    ids: dict[str, list[str]]
    features: dict[str, np.ndarray] = field(default_factory=dict, repr=False)
    labels: dict[str, np.ndarray] = field(default_factory=dict, repr=False)


def read_frame_labels(folder: str | Path, split: int = 1, width: int | None = None) -> FrameLabels:
    """Train and test videos of one split; `width`: what every feature must have, else that of the first.

    VcworkError, naming file and line: what is missing or unreadable, a label that `mapping.txt` does not know, another
    number of labels than of rows, a video listed twice.
    """
    folder = resolve(folder)
    names = _read_mapping(folder / "mapping.txt")
    paths = {part: folder / f"split{split}_{part}.txt" for part in ("train", "test")}
    read = FrameLabels(folder, names, {part: [id for _, id in _lines(path)] for part, path in paths.items()})
    listed = [id for part in read.ids.values() for id in part]
    if twice := [id for id in listed if listed.count(id) > 1]:
        raise VcworkError(f"{paths['test']}: {twice[0]} is listed twice in {paths['train'].name} and this file")
    number = {name: c for c, name in enumerate(names)}
    for id in listed:
        path, truth = folder / "features" / f"{id}.npy", folder / "groundTruth" / f"{id}.txt"
        array = load_npy(path)
        width = width or array.shape[-1]
        features = as_float16(array, width, str(path)).astype(np.float32)  # (T, W)
        labels = [number[at.choice(label, "label of mapping.txt", number)] for at, label in _lines(truth)]
        if len(labels) != len(features):
            raise VcworkError(f"{truth}: expected a label for each of {len(features)} rows, got {len(labels)}")
        read.features[id], read.labels[id] = features, np.array(labels, dtype=np.int64)
    return read


def _read_mapping(path: Path) -> list[str]:
    """Labels in the order of their numbers, which are 0, 1, ..."""
    table: dict[int, str] = {}
    for at, text in _lines(path):
        number, _, name = text.partition(" ")
        if not number.isdecimal() or not name.strip() or int(number) in table or name.strip() in table.values():
            at.fail(f"expected a new number and a new label, got {text!r}")
        table[int(number)] = name.strip()
    if sorted(table) != list(range(len(table))):
        raise VcworkError(f"{path}: expected the numbers 0 to {len(table) - 1}, got {sorted(table)}")
    return [table[c] for c in range(len(table))]


def _lines(path: Path) -> list[tuple[At, str]]:
    """(place, line) without the blanks around lines and without empty ones at the end; at least one."""
    lines = [line.strip() for line in read_text(path).rstrip().splitlines()]
    if not lines:
        raise VcworkError(f"{path}: empty")
    return [(At(path, f"line {number}"), line) for number, line in enumerate(lines, 1)]
