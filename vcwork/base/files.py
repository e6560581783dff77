"""Paths, atomic writes, digests, JSON and YAML: nothing half-written is ever read later as whole.

Notebooks run with different working folders (JupyterLab: the notebook's, papermill: the caller's), so relative
paths are resolved here, against the project root.
"""

import base64
import contextlib
import hashlib
import importlib.resources
import itertools
import json
import multiprocessing
import os
import platform
import re
import sys
import zlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import yaml
from filelock import FileLock, Timeout

from vcwork.base.console import say
from vcwork.base.errors import VcworkError, could_not


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
    path = at_home(path)
    return path if path.is_absolute() else project_root() / path


def at_home(path: str | Path) -> Path:
    """With `~` expanded; `~name` of nobody here is a name, as in a shell. VcworkError where no home is known."""
    path = Path(path)
    with contextlib.suppress(RuntimeError):
        path = path.expanduser()
    if path.parts[:1] == ("~",):
        raise VcworkError(f"{path}: no home folder is known here (HOME is not set); write the whole path")
    return path


@contextlib.contextmanager
def atomic_write(path: str | Path, mode: str = "w") -> Iterator[Any]:
    """Open a temporary neighbour of `path` for writing and move it into place only if the block succeeds.

    A process that is killed leaves its neighbour behind; the next one that writes into the folder removes it.
    """
    path = Path(path)
    part = path.with_name(f".{path.name}.{_machine()}-{os.getpid()}.part")
    try:
        with could_not(f"{path}: could not be written"):
            path.parent.mkdir(parents=True, exist_ok=True)
            _sweep(path.parent)
            encoding, newline = (None, None) if "b" in mode else ("utf-8", "\n")  # the same bytes on every system
            with open(part, mode, encoding=encoding, newline=newline) as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, path)
    finally:
        with contextlib.suppress(OSError):  # which a read-only place raises of a file that is not there, too
            part.unlink()


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
    A worker that still imports its parent's script never waits here: the parent, who has the lock, waits for it.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):  # as multiprocessing itself asks
        sys.exit(
            "this script starts processes, and each of them runs the script anew: "
            'put what it does under `if __name__ == "__main__":`'
        )
    with contextlib.ExitStack() as stack:
        if os.environ.get("WORLD_SIZE", "1") == "1":
            with contextlib.suppress(OSError):
                folder.parent.mkdir(parents=True, exist_ok=True)
                lock = FileLock(folder.with_name(f".{folder.name}.lock"), is_singleton=True)  # held twice by one
                try:
                    stack.enter_context(lock.acquire(timeout=1))
                except Timeout:
                    say(f"{folder}: another process is at work in it; waiting for its end", file=sys.stderr)
                    stack.enter_context(lock.acquire())
        yield


def append(path: Path, text: str) -> None:
    """`text` at the end of a file; VcworkError where it cannot be written."""
    with could_not(f"{path}: could not be written"), path.open("a", encoding="utf-8") as file:
        file.write(text)


def write_json(path: str | Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically; NaN is refused because JSON has none."""
    with atomic_write(path) as file:
        json.dump(value, file, indent=1, allow_nan=False)
        file.write("\n")


DEPTH = 64  # how deep lists and objects may lie in each other in what is read; ours need six
DIGITS = 40  # of a whole number
YAML_CHARACTERS = 1 << 18  # PyYAML reads about 50,000 a second


def parse_json(text: str, **hooks: Any) -> Any:
    """The value of a JSON text, `hooks` as `json.loads` takes them; ValueError: not JSON, or beyond DEPTH or DIGITS."""
    try:
        return _limited(json.loads(text, **{"parse_int": _whole, **hooks}))
    except RecursionError:
        raise ValueError("nested too deep") from None


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; ValueError where it has a key twice, of which Python's reader silently keeps the last."""
    if len(found := dict(pairs)) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"{next(key for key in keys if keys.count(key) > 1)!r} is given twice in one object")
    return found


def _limited(value: Any, most: int = sys.maxsize) -> Any:
    """The value; ValueError where it is deeper than DEPTH, or has more parts and letters, if `most` is given."""
    level, size = [value], 0
    for _ in range(DEPTH + 1):
        parts = (one.values() if isinstance(one, dict) else one for one in level if isinstance(one, dict | list))
        level = list(itertools.islice(itertools.chain.from_iterable(parts), most))
        size += sum(len(str(one)) for one in level if not isinstance(one, dict | list)) if most < sys.maxsize else 0
        if not level:
            return value
        if len(level) == most or size > most:
            raise ValueError(f"more than {most:,} letters, every alias (*) written out")
    raise ValueError(f"nested more than {DEPTH} deep")


def _whole(digits: str) -> int:
    if len(digits) > DIGITS:
        raise ValueError(f"a whole number of {len(digits)} digits")
    return int(digits)


def read_text(path: str | Path, what: str = "file") -> str:
    """UTF-8, with or without a mark; VcworkError, which calls it `what`, for a missing file or another encoding."""
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise VcworkError(f"{path}: no such {what}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise VcworkError(f"{path}: not readable as text ({error})") from error


def read_json(path: str | Path, kind: type = object) -> Any:
    """Read JSON; a missing or broken file, or a value that is no `kind`, is a VcworkError that names it."""
    text = read_text(path)
    try:
        value = parse_json(text, object_pairs_hook=once)
    except ValueError as error:
        raise VcworkError(f"{path}: not readable as JSON ({error})") from error
    if not isinstance(value, kind):
        raise VcworkError(f"{path}: expected a {kind.__name__}, got a {type(value).__name__}")
    return value


def sha256_file(path: str | Path) -> str:
    """Hex digest of a file's bytes, read in blocks."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_json(value: Any) -> str:
    """Hex digest of a JSON value, independent of key order."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


_PLAIN = {f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "int", "float", "str", "seq", "map")}
_FORMS, _MAKERS = yaml.SafeLoader.yaml_implicit_resolvers, yaml.SafeLoader.yaml_constructors
_INT = re.compile(r"[-+]?(0b[01_]+|0x[0-9a-fA-F_]+|[0-9][0-9_]*)$")


def _form(tag: str, form: re.Pattern) -> re.Pattern:
    """How a plain value is written: what YAML 1.1 reads to base 60 (1:30) is a text."""
    return _INT if tag.endswith(":int") else re.compile(f"(?!.*:){form.pattern}", form.flags)


def _yaml_int(text: str) -> int:
    number = int(text.replace("_", ""), {"0b": 2, "0x": 16}.get(text.lstrip("+-")[:2], 10))
    return _whole(str(number))


class _PlainLoader(yaml.SafeLoader):
    """YAML of plain values under names, each given once: PyYAML keeps the last. A date stays text, 010 is ten."""

    yaml_implicit_resolvers: ClassVar = {  # type: ignore[misc]  # its stubs say of an instance
        key: [(tag, _form(tag, form)) for tag, form in some if tag in _PLAIN] for key, some in _FORMS.items()
    }
    yaml_constructors: ClassVar = {tag: make for tag, make in _MAKERS.items() if tag is None or tag in _PLAIN}
    yaml_constructors["tag:yaml.org,2002:int"] = lambda loader, node: _yaml_int(loader.construct_scalar(node))

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (yaml.YAMLError, VcworkError):
            raise
        except (ValueError, LookupError, OverflowError):
            raise _fault(node, f"{node.value[:80]!r} is no {node.tag.rpartition(':')[2]}") from None

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or not key.tag.endswith(":str"):
                came = repr(key.value) if isinstance(key, yaml.ScalarNode) else f"a {key.id}"
                raise _fault(key, f"expected a name as key (numbers, yes and no in quotes), got {came}")
            if key.value in seen:
                raise _fault(key, f"key {key.value!r} is given twice")
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def _fault(at: Any, why: str) -> VcworkError:
    return VcworkError(f"line {at.start_mark.line + 1}: {why}")


def parse_yaml(text: str) -> Any:
    """The value of a YAML text; VcworkError tells line and fault."""
    try:
        if len(text) > YAML_CHARACTERS:
            raise ValueError(f"more than {YAML_CHARACTERS:,} letters")
        return _limited(yaml.load(text, _PlainLoader), YAML_CHARACTERS)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else "?"
        raise VcworkError(f"line {line}: not YAML ({error.problem})") from None
    except VcworkError:
        raise
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        raise VcworkError(f"not readable as YAML ({error})") from None
    except RecursionError:
        raise VcworkError(f"nested more than {DEPTH} deep") from None


def read_yaml(path: Path) -> dict[str, Any]:
    """A parameter file's keys and values; empty or all comments gives {}. VcworkError tells line and fault."""
    try:
        value = parse_yaml(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise VcworkError(f"not readable ({error})") from None
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise VcworkError(f"expected `name: value` lines, got a {type(value).__name__}")
    return value


def own_yaml(room: str, name: str) -> dict[str, Any]:
    """What a YAML file that lies beside the code of a room (a package's name) declares.

    By libyaml where PyYAML has it, a dozen times as fast; not for others' files: deep nesting ends its process.
    """
    text = (importlib.resources.files(room) / name).read_text(encoding="utf-8")
    return yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def policy(scripts: str = "'none'") -> str:
    """A page's Content-Security-Policy: what lies in it or beside it, nothing from elsewhere, and these scripts alone.

    scripts: sources as CSP writes them, such as `script_hash` gives.
    """
    from markupsafe import Markup

    told = f"default-src 'none'; script-src {scripts}; style-src 'self' 'unsafe-inline'; connect-src 'self'; "
    told += "img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; base-uri 'none'"
    return Markup(f'<meta http-equiv="Content-Security-Policy" content="{told}">')


def script_hash(text: str) -> str:
    """What lets a page run this very script."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


@cache
def template(room: str, name: str) -> Any:
    """A Jinja2 template that lies beside the code of a room (a package's name).

    What it is given is escaped, unless it is Markup; a name it is not given is an error.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    loader = PackageLoader(room, "")
    made = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    made.globals["policy"] = policy
    return made.get_template(name)
