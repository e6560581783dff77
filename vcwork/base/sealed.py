"""One way to write and open a folder of files that belong together: the files first, last a manifest that seals them.

A folder without its manifest is unfinished, whatever lies in it. The manifest says its format, under `files` every
file's size and sha256, and under `sealed` the sha256 of all the rest of itself, so that nothing of what it tells can
change unnoticed. A `Kind` tells what all folders of one kind have in common.
Opening (`read_manifest`) is cheap: the manifest's own digest and the files' sizes. `verify=True` reads every file; so
does everything that is derived from a folder. A folder that holds what is not its own is never written into (`begin`):
until its manifest is there, a mark in it says that what lies in it is ours.
A single file of JSON is sealed in the same way (`write_sealed`, `read_sealed`, and `kept` for what can be made again).
"""

import contextlib
import json
import os
import sys
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from vcwork.base.console import say
from vcwork.base.errors import VcworkError, could_not
from vcwork.base.files import atomic_write, read_json, sha256_file, sha256_json, write_json

SEALED = "sealed"  # the manifest's key for its own digest
MARK = ".unfinished"  # in a folder that `begin` began and no manifest ended


@dataclass(frozen=True)
class Kind:
    """A kind of folder, and of its manifest."""

    what: str  # as messages call it
    format: str  # what the manifest's `format` must say
    manifest: str = "manifest.json"
    make: str = ""  # how to get one, for whoever has none
    resume: str = "do the same again to go on"  # what finishes an unfinished one
    begun: tuple[str, ...] = ()  # patterns of what lies in an unfinished one
    owns: tuple[str, ...] = ()  # patterns of all that may lie in one beside the manifest; () where it is not asked
    fields: Mapping[str, type] = field(default_factory=dict)  # that the manifest must have
    by_hand: bool = False  # a person may write the manifest, who has no seal


# ------------------------------------------------------------------------------------------------------- manifests


def begin(folder: Path, kind: Kind) -> None:
    """Make the folder, or take one that holds nothing else than ours; VcworkError names what is not ours.

    A file of somebody else may have a name of ours: without manifest, mark or what `kind.begun` tells, none is ours.
    What comes into one that we began, as a file manager's or a logger's, stays and costs nothing.
    """
    with could_not(f"{folder}: could not be made, written or read"):
        folder.mkdir(parents=True, exist_ok=True)
        there = sorted(path.name for path in folder.iterdir())
        began = [name for name in there if any(fnmatch(name, pattern) for pattern in (MARK, *kind.begun))]
        finished = kind.manifest in there
        ours = (".*.part", ".*.lock", *((MARK, kind.manifest, *kind.begun, *kind.owns) if began or finished else ()))
        takes_all = not finished and any(_is_ours(folder / name) for name in began)
        foreign = [name for name in there if not (takes_all or any(fnmatch(name, pattern) for pattern in ours))]
        if foreign := foreign + [MARK] * (folder / MARK).is_dir():
            held = f"{', '.join(foreign[:3])}{' …' * (len(foreign) > 3)}"
            wanted = f"expected a new folder, or one of {'an' if kind.what[0] in 'aeiou' else 'a'} {kind.what}"
            raise VcworkError(f"{folder}: {wanted}; it holds {held}. Choose another folder")
        if not finished:
            (folder / MARK).touch()


def _is_ours(path: Path) -> bool:
    """Whether it is the mark, or a manifest of ours: data of others are called `train.json`, too."""
    with contextlib.suppress(OSError), open(path, "rb") as file:
        return path.name == MARK or b'"format": "vcwork-' in file.read(80)
    return False


def write_manifest(folder: Path, kind: Kind, fields: Mapping[str, Any]) -> None:
    """The manifest of a folder whose other files are written and told in `fields["files"]`: from now on it is whole."""
    flush(folder)  # the files' names must be on disk before a manifest that speaks of them
    write_sealed(folder / kind.manifest, {"format": kind.format, **fields})
    (folder / MARK).unlink(missing_ok=True)
    flush(folder)


def read_manifest(folder: Path, kind: Kind, verify: bool = False) -> dict[str, Any]:
    """The manifest, every file that it names there and of its size, or with `verify` of its sha256.

    VcworkError where it is absent, unfinished, unreadable, of another format, changed, or lacks a field.
    """
    stored = manifest_alone(folder, kind)
    with well_formed(folder / kind.manifest):
        for name, sealed in _shown(stored.get("files", {}), folder, verify):
            check(member(folder, name), sealed, kind.manifest, verify)
    return stored


def _shown(files: Mapping[str, Any], folder: Path, verify: bool) -> Iterable[tuple[str, Any]]:
    """The files and their seals; whoever sits before a terminal sees how far reading them is."""
    if not verify:
        return files.items()
    from tqdm import tqdm  # takes a moment

    return tqdm(files.items(), f"verifying {folder.name}", unit="file", leave=False, disable=None)


def manifest_alone(folder: Path, kind: Kind) -> dict[str, Any]:
    """As `read_manifest`, without a look at the files that it names."""
    path = folder / kind.manifest
    if not path.is_file():
        if any(next(folder.glob(pattern), None) for pattern in (MARK, *kind.begun)):
            raise VcworkError(f"{folder}: incomplete {kind.what}: {kind.resume} (no {kind.manifest} yet)")
        hint = f"; {kind.make}" if kind.make else ""
        raise VcworkError(f"{folder}: expected a finished {kind.what} ({kind.manifest}), found none{hint}")
    stored = read_json(path)
    came = stored.get("format") if isinstance(stored, dict) else type(stored).__name__
    if came != kind.format:
        raise VcworkError(f"{path}: expected format {kind.format!r}, got {came!r}")
    if not (kind.by_hand and SEALED not in stored and "files" not in stored):
        _unsealed(path, stored, f"to keep it as it is, `python -m vcwork verify --seal {folder}`")
    for key, wanted in kind.fields.items():
        if type(stored.get(key)) is not wanted:
            came = f"got {stored.get(key)!r}; if it is of an older version, make it again"
            raise VcworkError(f"{path}: {key} should be {wanted.__name__}, {came}")
    return stored


def reseal(folder: Path, kind: Kind) -> None:
    """Take the manifest as it is, edited by hand, and seal it anew.

    VcworkError: a file that it names is another than it says.
    """
    stored = read_json(folder / kind.manifest, dict)
    stored.pop(SEALED, None)
    with well_formed(folder / kind.manifest):
        for name, sealed in stored.get("files", {}).items():
            check(member(folder, name), sealed, kind.manifest)
    write_manifest(folder, kind, stored)


@contextlib.contextmanager
def well_formed(path: Path) -> Iterator[None]:
    """What is read of a manifest inside: whatever is not where it should be is a VcworkError that names `path`."""
    try:
        yield
    except VcworkError:
        raise
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, OSError) as error:
        raise VcworkError(f"{path}: expected another structure ({type(error).__name__}: {error})") from error


# ------------------------------------------------------------------------------------------------ single JSON files


def write_sealed(path: Path, value: Mapping[str, Any]) -> None:
    """A JSON object as a file, and in it, under `sealed`, the digest of all the rest."""
    write_json(path, with_seal(value))


def with_seal(value: Mapping[str, Any]) -> dict[str, Any]:
    """The object as it will be read, and in it its digest."""
    told = json.loads(json.dumps(value, allow_nan=False))
    return told | {SEALED: sha256_json(told)}


def read_sealed(path: Path, how: str = "delete it to have it made again") -> dict[str, Any]:
    """What `write_sealed` wrote; VcworkError, with `how` to go on, for anything else."""
    try:
        stored = read_json(path, dict)
    except VcworkError as error:
        raise VcworkError(f"{error}; {how}") from None
    _unsealed(path, stored, how)
    return stored


def kept(
    path: Path, key: Any, make: Callable[[], Any], files: Callable[[Any], Iterable[Path]] = lambda made: ()
) -> Any:
    """What `make()` gave when `path` was written, or gives now: a cache. `key`: all that it is made of.

    files: those that `make` writes, too, of what it gave. What is of another key is made anew; what is damaged as well,
    which is said on stderr.
    """
    key = json.loads(json.dumps(key))
    if path.is_file():
        try:
            found = read_sealed(path, "it is made again")
            if found.get("key") == key and "value" in found:
                check_kept(path, found)
                return found["value"]
        except VcworkError as error:
            say(error, file=sys.stderr)
    value = json.loads(json.dumps(make(), allow_nan=False))
    sealed = {os.path.relpath(file, path.parent): seal(file) for file in files(value)}
    write_sealed(path, {"key": key, "value": value, "files": sealed})
    return value


def check_kept(path: Path, found: Mapping[str, Any] | None = None) -> None:
    """VcworkError where a sealed JSON file, which may be read already, or one that it tells of is not as it was."""
    found = read_sealed(path) if found is None else found
    with well_formed(path):
        for name, sealed in found.get("files", {}).items():
            check(path.parent / name, sealed, path.name)


def _unsealed(path: Path, stored: dict[str, Any], how: str) -> None:
    """Take the seal off; VcworkError where it is not that of the rest."""
    if stored.pop(SEALED, None) != sha256_json(stored):
        raise VcworkError(f"{path}: its own digest ({SEALED!r}) is missing or differs: damaged, edited or older; {how}")


# ----------------------------------------------------------------------------------------------------------- files


def member(folder: Path, name: Any) -> Path:
    """A file that a manifest names (`/` between folders), which must lie inside; VcworkError for any other name."""
    parts = name.split("/") if isinstance(name, str) else [""]
    if any(part in ("", ".", "..") or "\\" in part or ":" in parts[0] or "\0" in part for part in parts):
        raise VcworkError(f"{folder}: expected a plain file name in its manifest, got {name!r}")
    return folder / name


def seal(path: Path) -> dict[str, Any]:
    """What a manifest says of a file: {bytes, sha256}; VcworkError where it cannot be read (any more)."""
    with could_not(f"{path}: could not be read"):
        return {"bytes": path.stat().st_size, "sha256": sha256_file(path)}


def differs(path: Path, sealed: Mapping[str, Any], verify: bool = True) -> str:
    """Why this is not the file that was sealed, "" if it is; only `verify` reads it for its sha256."""
    if not os.path.isfile(path):  # no error for a name that is too long
        return "no such file"
    size = path.stat().st_size
    if size != sealed.get("bytes", size):
        return f"{size} bytes, expected {sealed['bytes']}"
    if not verify or (came := sha256_file(path)) == (expected := sealed["sha256"]):
        return ""
    return f"its sha256 differs: {came[:16]}…, expected {str(expected)[:16]}…"


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
    """What `write_tensors` wrote; VcworkError for any other file."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError, RuntimeError, KeyError) as error:
        raise VcworkError(f"{path}: not readable as safetensors ({error})") from error


def load_weights(module: Any, path: Path, sealed: Mapping[str, Any], manifest: str) -> None:
    """A torch module's weights from the file that `manifest` seals; VcworkError: another file, or other shapes."""
    check(path, sealed, manifest)
    try:
        module.load_state_dict(read_tensors(path))
    except RuntimeError as error:
        raise VcworkError(f"{path}: the weights do not fit the configuration in {manifest}") from error


def refuse_packed(path: Path) -> None:
    """VcworkError where parts of a file in torch's format are compressed: torch never does, and a MB may hold a GB.

    So it is where a part differs from its checksum, which torch does not look at, unless it was told to write none.
    """
    packed, damaged = False, None
    with contextlib.suppress(Exception), zipfile.ZipFile(path) as parts:  # what is wrong with it, its reader says
        packed = any(part.compress_type for part in parts.infolist())
        summed = any(part.CRC for part in parts.infolist())  # torch.serialization.set_crc32_options(False): all are 0
        damaged = parts.testzip() if summed and not packed else None
    if packed:
        raise VcworkError(f"{path}: expected weights as torch.save writes them, got a compressed archive")
    if damaged:
        raise VcworkError(f"{path}: damaged: {damaged} in it differs from its checksum; fetch or save it anew")


def flush(folder: Path) -> None:
    """The folder's names onto the disk, where the system can do that."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
