"""Stored files that are cut or in which one bit is another: who notices.

`noticed` damages files of finished folders and asks twice, a cheap opening and `vcwork.workbench.verify`; both may say
VcworkError or nothing, and nothing else. `healed` damages what an interrupted command left, or a cache, and runs the
command again: it must end with the bytes of an undisturbed one, or refuse in one sentence.
Known gap: of a file that says the same after a flip (`1e-05` and `1E-05`) only the bytes differ; it counts as same.
"""

import json
import os
import random
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vcwork.base.errors import VcworkError
from vcwork.base.sealed import read_manifest
from vcwork.data.corpus import open_corpus
from vcwork.data.howto100m.convert import open_converted
from vcwork.data.store import open_store
from vcwork.encoders.load import load_encoder
from vcwork.search.index import VideoIndex
from vcwork.training.segmentation_head import load_classifier
from vcwork.workbench.audit_page import AUDIT
from vcwork.workbench.seeds import read_runs
from vcwork.workbench.verify import look

from .harness import Command, Fault, Trial, tried_again

OPEN: dict[str, Callable[[Path], Any]] = {  # a command's folder, opened as who uses it does
    "extract": lambda folder: open_store(folder, verify=False),
    "pretrain": load_encoder,
    "finetune segmentation": load_classifier,
    "convert": lambda folder: open_converted(folder).pairs("train").tracks[0],
    "index": VideoIndex.open,
    "lab": lambda folder: [open_corpus(folder).captions(id) for id in open_corpus(folder).videos],
    "audit": lambda folder: read_manifest(folder, AUDIT),
    "run": lambda folder: read_runs([folder]),
}

MOST = 2000  # flips of one folder


@dataclass
class Asked:
    """What opening and verifying said to damaged files of one folder: {file: {said: how often}}."""

    opened: dict[str, Counter] = field(default_factory=dict)
    verified: dict[str, Counter] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)  # of others than us

    def note(self, file: str, how: str, opened: str, verified: str) -> None:
        """`opened`, `verified`: "told", "nothing", or an error of others."""
        for name, said, where in (("opened", opened, self.opened), ("verified", verified, self.verified)):
            if said not in ("told", "nothing", "same"):
                self.errors.append(f"{file}: {how}: {name}: {said}")
            where.setdefault(file, Counter())[said] += 1


def files_in(folder: Path) -> list[Path]:
    """Files of a folder that say something."""
    return sorted(
        path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock" and path.stat().st_size
    )


def flips(whole: bytes, many: int, rng: random.Random) -> Iterator[tuple[str, bytes]]:
    """The file with one bit changed, `many` times."""
    for _ in range(many):
        at, bit = rng.randrange(len(whole)), rng.randrange(8)
        yield f"bit {bit} of byte {at}", whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1 :]


def cuts(whole: bytes) -> Iterator[tuple[str, bytes]]:
    """The file cut at every tenth."""
    for tenth in range(10):
        if (size := len(whole) * tenth // 10) < len(whole):
            yield f"cut to {size} of {len(whole)} bytes", whole[:size]


def put(path: Path, content: bytes) -> None:
    """Other bytes in place of a file, which may be mapped."""
    part = path.with_name(f"{path.name}.new")
    part.write_bytes(content)
    os.replace(part, path)


def noticed(name: str, folder: Path, many: int, seed: int = 0) -> tuple[Asked, Asked]:
    """What is said to `many` flips of every file (a folder of many files gets `MOST` in all), and to cuts."""
    flipped, cut, files = Asked(), Asked(), files_in(folder)
    many = min(many, max(20, MOST // len(files)))
    for path in files:
        whole, rng, file = path.read_bytes(), random.Random(f"{seed} {path.name}"), str(path.relative_to(folder))
        for asked, damaged in ((flipped, flips(whole, many, rng)), (cut, cuts(whole))):
            for how, content in damaged:
                put(path, content)
                verified = _said(lambda: _verified(folder))
                same = verified == "nothing" and _same_json(whole, content)
                asked.note(file, how, _said(lambda: OPEN[name](folder)), "same" if same else verified)
        put(path, whole)
    return flipped, cut


def _verified(folder: Path) -> None:
    if faults := [fault for found in look(folder) for fault in found.faults]:
        raise VcworkError(faults[0])


def _said(ask: Callable[[], Any]) -> str:
    try:
        ask()
    except VcworkError:
        return "told"
    except Exception as error:
        return f"{type(error).__name__}: {error}"[:200]
    return "nothing"


def _same_json(one: bytes, other: bytes) -> bool:
    try:
        return json.loads(one) == json.loads(other)
    except ValueError:
        return False


def healed(
    command: Command, whole: dict[str, str], left: Path, work: Path, many: int, seed: int = 0
) -> Iterator[Trial]:
    """Each file of `left` damaged (the half of it cut away, then `many` flips), and the command run again over it."""
    for path in files_in(left):
        rng, content = random.Random(f"{seed} {path.name}"), path.read_bytes()
        damaged = [("half", content[: len(content) // 2]), ("empty", b""), *flips(content, many, rng)]
        for how, bytes_ in damaged:
            shutil.rmtree(work, ignore_errors=True)
            shutil.copytree(left, work / "out")
            put(work / "out" / path.relative_to(left), bytes_)
            what = Fault(f"damaged before it goes on: {path.relative_to(left)}: {how}")
            trial = tried_again(command, what, whole, work / "out", work / "told")
            if trial.came == "other bytes":  # a page may tell of what was damaged; only the next one is as ever
                trial = tried_again(command, what, whole, work / "out", work / "told")
            yield trial


def summary(asked: Asked) -> dict[str, Any]:
    """How many, and of which files how many nobody noticed."""
    said: Counter = sum(asked.verified.values(), Counter())
    unnoticed = {
        how: {file: counter["nothing"] for file, counter in where.items() if counter["nothing"]}
        for how, where in (("at a cheap open", asked.opened), ("when verified", asked.verified))
    }
    return {
        "tried": said.total(), "the bytes alone differ": said["same"], "unnoticed": unnoticed,
        "errors of others": len(asked.errors), "first of them": asked.errors[:5],
    }  # fmt: skip
