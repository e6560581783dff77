"""Paths, atomic writes and digests: nothing half-written is ever read later as whole.

Notebooks run with different working folders (JupyterLab: the notebook's, papermill: the caller's), so relative
paths are resolved here, against the project root.
"""

import contextlib
import hashlib
import json
import os
import platform
import sys
import zlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock, Timeout

from vcwork.base.console import say
from vcwork.base.errors import VcworkError


def project_root() -> Path:
    """The folder that holds `notebooks/` and `params/`: $VCWORK_ROOT, else the nearest one above the working folder."""
    if os.environ.get("VCWORK_ROOT"):
        return Path(os.environ["VCWORK_ROOT"])
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "notebooks").is_dir() and (folder / "params").is_dir():
            return folder
    return here


def resolve(path: str | Path) -> Path:
    """A path as the user meant it: `~` expanded, relative ones against the project root."""
    path = Path(path).expanduser()
    return path if path.is_absolute() else project_root() / path


@contextlib.contextmanager
def atomic_write(path: str | Path, mode: str = "w") -> Iterator[Any]:
    """Open a temporary neighbour of `path` for writing and move it into place only if the block succeeds.

    A process that is killed leaves its neighbour behind; the next one that writes into the folder removes it.
    """
    path = Path(path)
    part = path.with_name(f".{path.name}.{_machine()}-{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path.parent)
        with open(part, mode, encoding=None if "b" in mode else "utf-8") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        raise VcworkError(f"{path}: could not be written ({error.strerror or error})") from error
    finally:
        part.unlink(missing_ok=True)


@cache
def _machine() -> str:
    """Which machine this is, for names on a disk that several share."""
    return f"{zlib.crc32(platform.node().encode()):08x}"


@cache  # once a folder and process
def _sweep(folder: Path) -> None:
    """Remove what processes of this machine that are no more were writing into `folder`."""
    for part in folder.glob(f".*.{_machine()}-*.part"):
        import psutil  # takes a moment, and there is rarely one

        number = part.name.rsplit("-", 1)[1].removesuffix(".part")
        if number.isdecimal() and not psutil.pid_exists(int(number)):
            part.unlink(missing_ok=True)


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """One process at a time makes `folder`; others wait here until it is done, and then find it made; they say so.

    The lock is a file beside the folder, free again when its process ends, however it ends. Ranks of one run share
    their folder and are not kept apart; where no lock can be written (a read-only place) nothing can be made either.
    """
    with contextlib.ExitStack() as stack:
        if os.environ.get("WORLD_SIZE", "1") == "1":
            with contextlib.suppress(OSError):
                folder.parent.mkdir(parents=True, exist_ok=True)
                lock = FileLock(
                    folder.with_name(f".{folder.name}.lock"), is_singleton=True
                )  # held twice by who holds it
                try:
                    stack.enter_context(lock.acquire(timeout=1))
                except Timeout:
                    say(f"{folder}: another process is at work in it; waiting for its end", file=sys.stderr)
                    stack.enter_context(lock.acquire())
        yield


def write_json(path: str | Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically; NaN is refused because JSON has none."""
    with atomic_write(path) as file:
        json.dump(value, file, indent=1, allow_nan=False)
        file.write("\n")


def read_json(path: str | Path) -> Any:
    """Read JSON; a missing or broken file is a VcworkError that names it."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise VcworkError(f"{path}: no such file") from None
    except (ValueError, OSError) as error:
        raise VcworkError(f"{path}: not readable as JSON ({error})") from error


def sha256_file(path: str | Path) -> str:
    """Hex digest of a file's bytes, read in blocks."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def sha256_json(value: Any) -> str:
    """Hex digest of a JSON value, independent of key order."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


class _UniqueLoader(yaml.SafeLoader):
    """YAML in which a key given twice is an error; PyYAML silently keeps the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise VcworkError(f"key {key!r} is given twice")
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> dict[str, Any]:
    """A parameter file's keys and values; empty or all comments gives {}. VcworkError tells line and fault."""
    try:
        value = yaml.load(Path(path).read_text(encoding="utf-8"), _UniqueLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else "?"
        raise VcworkError(f"line {line}: not YAML ({error.problem})") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise VcworkError(f"not readable ({error})") from None
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise VcworkError(f"expected `name: value` lines, got a {type(value).__name__}")
    return value


@cache
def template(room: str, name: str) -> Any:
    """A Jinja2 template that lies beside the code of a room (a package's name).

    What it is given is escaped, unless it is Markup; a name it is not given is an error.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    loader = PackageLoader(room, "")
    made = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return made.get_template(name)
