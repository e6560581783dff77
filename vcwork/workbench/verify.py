"""Whether what lies here is whole: every sealed folder and file at a path or below it, each byte of it read.

A folder is known by its manifest: what that says of itself and of each file is compared with what is there. `OTHERS`
are the things that keep their digests in another way. Nothing is run, and nothing changed unless `seal` asks for it.
Known gap: files that no manifest names are not spoken of.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from tqdm import tqdm

from vcwork.base.console import say
from vcwork.base.errors import VcworkError
from vcwork.base.files import read_json, sha256_file
from vcwork.base.sealed import Kind, differs, manifest_alone, member, reseal, well_formed

KINDS = {  # manifest -> where the kinds of folders that have one of that name are
    "manifest.json": ("data.store:STORE", "data.howto100m.captions:CAPTIONS"),
    "corpus.json": ("data.corpus:CORPUS",),
    "conversion.json": ("data.howto100m.convert:CONVERSION",),
    "checkpoint.json": ("encoders.checkpoint:CHECKPOINT",),
    "frames.json": ("encoders.frames:FRAMES",),
}
OTHERS = {  # file -> what it is, and what raises VcworkError where the file or its folder is not whole
    "index.sqlite": ("search index", "workbench.verify:check_index"),
}


@dataclass(frozen=True)
class Found:
    """Something that is sealed: `faults` is empty where it is whole; `digest` speaks for all its files and bytes."""

    path: Path
    what: str
    faults: tuple[str, ...] = ()
    files: int = 1
    size: int = 0
    digest: str = ""
    kind: Kind | None = None

    def text(self) -> str:
        """`outputs/x/features: feature store: whole (3 files, 1.2 MB, sha256 0123…)`; or a line for each fault."""
        if self.faults:
            return "\n    ".join([f"{self.path}: {self.what}: NOT WHOLE", *self.faults])
        many = f"{self.files} file{'s' * (self.files != 1)}"
        return f"{self.path}: {self.what}: whole ({many}, {self.size / 1e6:.1f} MB, sha256 {self.digest[:16]}…)"


def verify(paths: Iterable[Path], seal: bool = False, told: Callable[[str], Any] = say) -> bool:
    """Tell of everything sealed at each path; whether all of it is whole. VcworkError for a path where nothing is.

    seal: manifests that lost only their own digest, edited or of an older version, are sealed as they are.
    """
    whole = True
    for path in paths:
        found = None
        for found in look(path):
            if seal and found.faults and found.kind:
                found = _sealed(found)
            whole &= not found.faults
            told(found.text())
        if found is None:
            raise VcworkError(f"{path}: expected something that is sealed ({', '.join([*KINDS, *OTHERS])}), found none")
    return whole


def look(path: Path) -> Iterator[Found]:
    """What is sealed at this path and below it, folder by folder; links to folders below it are not followed."""
    if not path.exists():
        raise VcworkError(f"{path}: no such file or folder")
    if path.is_file():
        yield _file(path)
        return
    for folder, below, names in os.walk(path):
        below.sort()
        yield from _of_folder(Path(folder), names)


def _of_folder(folder: Path, names: Iterable[str]) -> Iterator[Found]:
    for name in sorted(names):
        if name in KINDS:
            yield _folder(folder, name)
        elif name in OTHERS:
            yield _other(folder / name)


def _folder(folder: Path, manifest: str) -> Found:
    """A folder with a manifest: all that is wrong with it."""
    kind = kind_of(folder / manifest)
    path = folder / manifest
    if kind is None:
        return Found(folder, f"folder with a {manifest}", (f"{manifest}: of no kind or version that is known here",))
    faults, files = [], {}
    try:
        files = manifest_alone(folder, kind).get("files", {})
    except VcworkError as error:
        faults.append(str(error))
    try:
        with well_formed(path):
            wrong = [(name, differs(member(folder, name), files[name])) for name in _bar(files, folder)]
            faults += [f"{name}: {why}" for name, why in wrong if why]
    except VcworkError as error:
        faults.append(str(error))
    there = [member(folder, name) for name in files] if not faults else []
    size = sum(file.stat().st_size for file in (path, *there))
    return Found(folder, kind.what, tuple(faults), 1 + len(there), size, sha256_file(path), kind)


def kind_of(manifest: Path) -> Kind | None:
    """The kind of folder whose manifest this is, by its name and format; None for one that nobody here writes."""
    kinds = [_named(where) for where in KINDS[manifest.name]]
    try:
        stored = read_json(manifest)
    except VcworkError:
        return kinds[0]  # whose reader says what is wrong with it
    came = stored.get("format") if isinstance(stored, dict) else None
    return next((kind for kind in kinds if kind.format == came), kinds[0] if len(kinds) == 1 else None)


def _bar(files: Iterable[str], folder: Path) -> Iterable[str]:
    return tqdm(files, desc=folder.name, unit="file", disable=None, leave=False)


def _other(file: Path) -> Found:
    what, where = OTHERS[file.name]
    try:
        _named(where)(file)
    except VcworkError as error:
        return Found(file, what, (str(error),))
    return Found(file, what, size=file.stat().st_size, digest=sha256_file(file))


def _file(path: Path) -> Found:
    """One file: by itself, or as the manifest of a folder above it has it."""
    if path.name in KINDS:
        return _folder(path.parent, path.name)
    if path.name in OTHERS:
        return _other(path)
    for folder in list(path.absolute().parents)[:3]:
        for manifest in sorted(file for file in folder.iterdir() if file.name in KINDS):
            if sealed := _files(manifest).get(path.absolute().relative_to(folder).as_posix()):
                faults = tuple(filter(None, [differs(path, sealed)]))
                return Found(path, f"file of {manifest}", faults, 1, path.stat().st_size, sealed["sha256"])
    raise VcworkError(f"{path}: no manifest of a folder above it speaks of this file")


def _files(manifest: Path) -> dict[str, Any]:
    """The files that a manifest names; VcworkError where it is not whole itself."""
    kind = kind_of(manifest)
    with well_formed(manifest):
        return dict(manifest_alone(manifest.parent, kind).get("files", {})) if kind else {}


def _sealed(found: Found) -> Found:
    """The folder after its manifest is sealed as it is; where a file is another than it says, nothing changes."""
    try:
        reseal(found.path, found.kind)
    except VcworkError:
        return found
    return _folder(found.path, found.kind.manifest)


def check_index(file: Path) -> None:
    """An index opens only when every row and every file of it has its digest."""
    from vcwork.search.index import VideoIndex

    VideoIndex.open(file.parent)


def _named(where: str) -> Any:
    module, _, name = where.partition(":")
    return getattr(import_module(f"vcwork.{module}"), name)
