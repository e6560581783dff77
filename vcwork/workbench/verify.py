"""Whether what lies here is whole: every sealed folder and file at a path or below it, each byte of it read.

A folder is known by its manifest: what that says of itself and of each file is compared with what is there. `OTHERS`
are the things that keep their digests in another way. Nothing is run, and nothing changed unless `seal` asks for it.
Known gap: files that no manifest names are not spoken of.
"""

import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from tqdm import tqdm

from vcwork.base.console import say
from vcwork.base.errors import VcworkError
from vcwork.base.files import read_json, sha256_file
from vcwork.base.sealed import MARK, SEALED, Kind, differs, manifest_alone, member, reseal, well_formed, write_sealed

KINDS = {  # manifest -> where the kinds of folders that have one of that name are
    "manifest.json": ("vcwork.data.store:STORE", "vcwork.data.howto100m.captions:CAPTIONS"),
    "corpus.json": ("vcwork.data.corpus:CORPUS",),
    "conversion.json": ("vcwork.data.howto100m.convert:CONVERSION",),
    "audit.json": ("vcwork.workbench.audit_page:AUDIT",),
    "explore.json": ("vcwork.workbench.own_folder:EXPLORE",),
    "checkpoint.json": ("vcwork.encoders.checkpoint:CHECKPOINT",),
    "frames.json": ("vcwork.encoders.frames:FRAMES",),
    "train.json": ("vcwork.training.kept:TRAINING",),
    "run.json": ("vcwork.workbench.records:RUN",),
}
MORE = {  # format -> what raises VcworkError, given folder and manifest, for what the digests cannot say
    "vcwork-run-2": "vcwork.workbench.records:check_ended",
    "vcwork-own-videos-1": "vcwork.workbench.own_words:check_cache",
}
OTHERS = {  # file -> what it is, and what raises VcworkError where the file or its folder is not whole
    "index.sqlite": ("search index", "vcwork.workbench.verify:check_index"),
}
PARTS = {"metrics.json": ("vcwork-metrics-2", "run.json")}  # a file that has a digest, its format -> and its manifest
_END = f'"{SEALED}": "'.encode()  # then 64 digits, a quotation mark, a brace, and line ends
HOW = "to keep it as it is, `python -m vcwork verify --seal`"


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
            if seal and found.faults:
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
    named: set[Path] = set()  # by a manifest above
    for folder, below, names in os.walk(path):
        below.sort()
        files = [file for name in sorted(names) if (file := Path(folder) / name).is_file()]
        if MARK in names and not any(map(kind_of, files)):
            yield Found(Path(folder), "unfinished folder", ("begun and never finished: do the same again to go on",))
        for manifest, kind in ((file, kind_of(file)) for file in files):
            if kind:
                found, its = _folder(manifest, kind)
                named.update(its)
                yield found
        yield from (_other(file) for file in files if file not in named and (file.name in OTHERS or _is_sealed(file)))


def _folder(manifest: Path, kind: Kind) -> tuple[Found, list[Path]]:
    """A folder with a manifest: all that is wrong with it, and the files that its manifest names."""
    folder = manifest.parent
    faults: list[str] = []
    there = [manifest]
    try:
        stored = manifest_alone(folder, kind)
        check_written(manifest)
        with well_formed(manifest):
            files = stored.get("files", {}).items()
            for name, sealed in tqdm(files, desc=folder.name, unit="file", disable=None, leave=False):
                there.append(member(folder, name))
                faults += [f"{name}: {why}" for why in [differs(there[-1], sealed)] if why]
            if kind.format in MORE:
                resolve_name(MORE[kind.format])(folder, stored)
    except VcworkError as error:
        faults.append(str(error))
    size = sum(file.stat().st_size for file in there if file.is_file())
    return Found(folder, kind.what, tuple(faults), len(there), size, sha256_file(manifest), kind), there


def kind_of(file: Path) -> Kind | None:
    """The kind of folder whose manifest this is, by its name and format; None where it is not one of ours."""
    places = KINDS.get(file.name, ())
    try:
        stored = read_json(file) if places else None
    except VcworkError:
        return resolve_name(places[0])  # whose reader says what is wrong with it
    came = str(stored.get("format")) if isinstance(stored, dict) else ""
    known = places if came.startswith("vcwork-") else ()
    for kind in map(resolve_name, known):  # imported one by one: some take seconds
        if kind.format == came:
            return kind
    return resolve_name(known[0]) if known else None


def _other(file: Path) -> Found:
    what, where = OTHERS.get(file.name, ("file with a digest", "vcwork.base.sealed:check_kept"))
    try:
        resolve_name(where)(file)
        check_written(file)
        form, manifest = PARTS.get(file.name, ("", ""))
        if form and read_json(file).get("format") == form and not (file.parent / manifest).is_file():
            raise VcworkError(
                f"{file.parent / manifest}: no such file, and without it {file.name} is no finished run's"
            )
    except VcworkError as error:
        return Found(file, what, (str(error),))
    return Found(file, what, size=file.stat().st_size, digest=sha256_file(file))


def _is_sealed(file: Path) -> bool:
    """Whether it is JSON of ours: one that ends as `write_sealed` does, but for two bytes; that has a format of ours;
    or begins like one, and is cut off."""
    if file.suffix != ".json":
        return False
    with file.open("rb") as stream:
        begins = stream.read(24)
        stream.seek(max(0, file.stat().st_size - len(_END) - 68))
        end = stream.read(len(_END))
    if len(end) == len(_END) and sum(a != b for a, b in zip(end, _END, strict=True)) <= 2:
        return True
    try:
        return begins.startswith(b'{\n "format": "vcwork-') or (begins.startswith(b'{\n "') and not read_json(file))
    except VcworkError:
        return True


def _file(path: Path) -> Found:
    """One file: by itself, or as the manifest of a folder above it has it."""
    if kind := kind_of(path):
        return _folder(path, kind)[0]
    if path.name in OTHERS or _is_sealed(path):
        return _other(path)
    for folder in list(path.absolute().parents)[:3]:
        for manifest in sorted(folder.iterdir()):
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
    """The same after it is sealed as it is; where a file is another than its manifest says, nothing changes."""
    try:
        if found.kind:
            reseal(found.path, found.kind)
            return _folder(found.path / found.kind.manifest, found.kind)[0]
        if found.path.suffix == ".json" and isinstance(stored := read_json(found.path), dict):
            write_sealed(found.path, {key: value for key, value in stored.items() if key != SEALED})
            return _other(found.path)
    except VcworkError as error:
        return replace(found, faults=(*found.faults, f"not sealed: {error}"))
    return found


def check_written(file: Path) -> None:
    """VcworkError where JSON with a digest holds the same values in other bytes: `E` of `1E-3`, other line ends."""
    stored = read_json(file) if file.suffix == ".json" else None
    if not isinstance(stored, dict) or SEALED not in stored:
        return
    if file.read_bytes() != (json.dumps(stored, indent=1) + "\n").encode():
        raise VcworkError(f"{file}: not in the bytes that were written, though its values are the same; {HOW} {file}")


def check_index(file: Path) -> None:
    """An index opens only when every row and every file has its digest; here the bytes between rows count, too."""
    from vcwork.search.index import VideoIndex

    VideoIndex.open(file.parent).check()
