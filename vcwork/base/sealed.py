"""One way to write and open a folder of files that belong together: the files first, last a manifest that seals them.

A folder without its manifest is unfinished, whatever lies in it. The manifest says its format and the files' digests,
and a file other than the one described is refused. A `Kind` tells what all folders of one kind have in common.
It is written once (`write_manifest`, `read_manifest`, `seal`, `check`, and for weights `write_tensors`,
`load_weights`); what changes in place is `vcwork.search.store`.
"""

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vcwork.base.errors import VcworkError
from vcwork.base.files import atomic_write, read_json, sha256_file, write_json


@dataclass(frozen=True)
class Kind:
    """A kind of folder, and of its manifest."""

    what: str  # as messages call it
    format: str  # what the manifest's `format` must say
    manifest: str = "manifest.json"
    make: str = ""  # how to get one, for whoever has none
    resume: str = "do the same again to go on"  # what finishes an unfinished one
    begun: tuple[str, ...] = ()  # patterns of what lies in such a folder
    fields: Mapping[str, type] = field(default_factory=dict)  # that the manifest must have


# ------------------------------------------------------------------------------------------------------- manifests


def write_manifest(folder: Path, kind: Kind, fields: Mapping[str, Any]) -> None:
    """The manifest of a folder whose other files are written: from now on it is whole."""
    flush(folder)  # the files' names must be on disk before a manifest that speaks of them
    write_json(folder / kind.manifest, {"format": kind.format, **fields})
    flush(folder)


def read_manifest(folder: Path, kind: Kind) -> dict[str, Any]:
    """The manifest; VcworkError where it is absent, unfinished, unreadable, of another format or lacks a field."""
    path = folder / kind.manifest
    if not path.is_file():
        if any(next(folder.glob(pattern), None) for pattern in kind.begun):
            raise VcworkError(f"{folder}: incomplete {kind.what}: {kind.resume} (no {kind.manifest} yet)")
        hint = f"; {kind.make}" if kind.make else ""
        raise VcworkError(f"{folder}: expected a finished {kind.what} ({kind.manifest}), found none{hint}")
    stored = read_json(path)
    came = stored.get("format") if isinstance(stored, dict) else type(stored).__name__
    if came != kind.format:
        raise VcworkError(f"{path}: expected format {kind.format!r}, got {came!r}")
    for key, wanted in kind.fields.items():
        if type(stored.get(key)) is not wanted:
            raise VcworkError(f"{path}: {key} should be {wanted.__name__}, got {stored.get(key)!r}")
    return stored


@contextlib.contextmanager
def well_formed(path: Path) -> Iterator[None]:
    """What is read of a manifest inside: whatever is not where it should be is a VcworkError that names `path`."""
    try:
        yield
    except VcworkError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise VcworkError(f"{path}: expected another structure ({type(error).__name__}: {error})") from error


# ----------------------------------------------------------------------------------------------------------- files


def member(folder: Path, name: Any) -> Path:
    """A file that a manifest names, which must lie in its folder; VcworkError for any other name."""
    if not isinstance(name, str) or Path(name).name != name or name == "..":
        raise VcworkError(f"{folder}: expected a plain file name in its manifest, got {name!r}")
    return folder / name


def seal(path: Path) -> dict[str, Any]:
    """What a manifest says of a file: {bytes, sha256}."""
    return {"bytes": path.stat().st_size, "sha256": sha256_file(path)}


def differs(path: Path, sealed: Mapping[str, Any], verify: bool = True) -> str:
    """Why this is not the file that was sealed, "" if it is; only `verify` reads it for its sha256."""
    if not path.is_file():
        return "no such file"
    size = path.stat().st_size
    if size != sealed.get("bytes", size):
        return f"{size} bytes, expected {sealed['bytes']}"
    return "its sha256 differs" if verify and sha256_file(path) != sealed["sha256"] else ""


def check(path: Path, sealed: Mapping[str, Any], manifest: str = "manifest.json", verify: bool = True) -> None:
    """VcworkError unless this is the file that was sealed."""
    if why := differs(path, sealed, verify):
        raise VcworkError(f"{path}: missing, or not the file of {manifest} ({why}); damaged or swapped, make it again")


def write_tensors(path: Path, tensors: Mapping[str, Any], metadata: dict[str, str] | None = None) -> str:
    """Named tensors as safetensors, whole or not at all; the file's sha256."""
    from safetensors.torch import save  # imports torch, which most folders do without

    with atomic_write(path, "wb") as file:
        file.write(save({name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}, metadata))
    return sha256_file(path)


def read_tensors(path: Path) -> dict[str, Any]:
    """What `write_tensors` wrote."""
    from safetensors.torch import load_file

    return load_file(path)


def load_weights(module: Any, path: Path, sha256: str, manifest: str) -> None:
    """A torch module's weights from the file that `manifest` seals; VcworkError: another file, or other shapes."""
    check(path, {"sha256": sha256}, manifest)
    try:
        module.load_state_dict(read_tensors(path))
    except RuntimeError as error:
        raise VcworkError(f"{path}: the weights do not fit the configuration in {manifest}") from error


def flush(folder: Path) -> None:
    """The folder's names onto the disk, where the system can do that."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
