"""A folder of files that change together: each under a name of its own, and a manifest, replaced last, that names them.

The manifest holds every file's sha256 and a digest of itself. A save that dies at any moment leaves what the folder
held before; its leftovers are cleaned by the next save. One process may write a folder at a time; readers are safe,
except one that opens while a save ends: it may be told that a file is missing, and opens it the second time.
"""

import contextlib
import os
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vcwork.base.errors import VcworkError
from vcwork.base.files import atomic_write, read_json, sha256_file, sha256_json, write_json

MANIFEST = "manifest.json"
Writer = Callable[[Any], None]


def write_folder(folder: Path, format: str, header: dict[str, Any], writers: dict[str, tuple[str, Writer]]) -> None:
    """Write the files, {name: (suffix, function of an open binary file)}, then the manifest with `header`.

    Raises VcworkError on a folder that another program's manifest describes, or that holds other files.
    """
    names = {key: f"{key}-{uuid.uuid4().hex[:12]}{suffix}" for key, (suffix, _) in writers.items()}
    if (folder / MANIFEST).exists():
        _read_manifest(folder, format)
    elif folder.is_dir() and not all(_ours(p) or p.name.startswith(".") for p in folder.iterdir()):
        raise VcworkError(f"{folder}: holds other files and no index; choose an empty or a new folder")
    for key, (_, writer) in writers.items():
        with atomic_write(folder / names[key], "wb") as file:
            writer(file)
    stored = {"format": format, **header, "files": names}
    stored["bytes"] = {key: (folder / name).stat().st_size for key, name in names.items()}
    stored["sha256"] = {key: sha256_file(folder / name) for key, name in names.items()}
    _flush(folder)  # the files' names must be on disk before a manifest that speaks of them
    write_json(folder / MANIFEST, stored | {"digest": sha256_json(stored)})
    _flush(folder)
    for path in folder.iterdir():  # what an older manifest named, or a save that never came to its end
        if _ours(path) and path.name not in (MANIFEST, *names.values()):
            path.unlink(missing_ok=True)


def read_folder(folder: Path, format: str, types: dict[str, type], verify: bool = True) -> tuple[dict, dict[str, Path]]:
    """The header and the files by name, sizes compared, and with `verify` every digest (for one file: `check`).

    Raises VcworkError where the folder is absent, unfinished, foreign, damaged, or lacks a header key of `types`.
    """
    stored = _read_manifest(folder, format)
    for key, kind in types.items():
        if type(stored.get(key)) is not kind:
            raise VcworkError(f"{folder / MANIFEST}: {key} should be {kind.__name__}, got {stored.get(key)!r}")
    files = {key: folder / name for key, name in stored["files"].items()}
    for key, path in files.items():
        size = path.stat().st_size if path.is_file() else None
        if size != stored["bytes"][key]:
            raise VcworkError(f"{path}: missing, or not the file the manifest describes ({size} bytes)")
        if verify:
            check(path, stored["sha256"][key])
    return stored, files


def check(path: Path, sha256: str) -> None:
    """Raises VcworkError unless the file's bytes have that digest."""
    if sha256_file(path) != sha256:
        raise VcworkError(f"{path}: not the file the manifest describes (its sha256 differs)")


def _read_manifest(folder: Path, format: str) -> dict[str, Any]:
    """The manifest of a complete folder of this format; every wrong one is named."""
    path = folder / MANIFEST
    if not path.is_file():
        raise VcworkError(f"{folder}: no index here (no {MANIFEST}), or its saving never finished")
    stored = read_json(path)
    came = stored.get("format") if isinstance(stored, dict) else type(stored).__name__
    if came != format:
        raise VcworkError(f"{path}: expected format {format}, got {came!r}")
    digest = stored.pop("digest", None)
    if digest != sha256_json(stored):
        raise VcworkError(f"{path}: its digest does not fit its content; it was altered, or is damaged")
    tables = [stored.get(key) for key in ("files", "bytes", "sha256")]
    if not all(isinstance(table, dict) and table.keys() == tables[0].keys() for table in tables):
        raise VcworkError(f"{path}: expected files, bytes and sha256 of the same names")
    for key, name in stored["files"].items():
        if not isinstance(name, str) or Path(name).name != name or not name.startswith(f"{key}-"):
            raise VcworkError(f"{path}: no plain file name for {key}, got {name!r}")
    return stored


def _ours(path: Path) -> bool:
    """Is this a file, or the unfinished part of one, that only we would write?"""
    patterns = ("vectors-*.npy", "entries-*.jsonl", "index-*.faiss", MANIFEST)
    return any(path.match(p) or path.match(f".{p}.*.part") for p in patterns)


def _flush(folder: Path) -> None:
    """The folder's names onto the disk, where the system can do that."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
