"""What a run has made and every later run would make again: films of the lab world and their features.

Files lie in `outputs/cache`, named `<what decides it>-<what it holds>`: the first digest is of the source code, its
input, the library versions and the processor's units, so nothing stale is ever taken; the second is of the content, so
a damaged file is noticed, removed and made again. What was not used for the longest goes when there are over two
gigabytes. Nothing refers to the folder: delete it at any time.
"""

import contextlib
import os
import platform
import shutil
from pathlib import Path
from typing import Any

import av
import numpy as np

from vcwork.base.files import resolve, sha256_file, sha256_json

FOLDER = "outputs/cache"
LIMIT = 2 << 30  # bytes; a seed of profile lab takes 450 MB
_LETTERS = 32  # of a sha256, in a file's name


class Kept:
    """The files of one folder; None: nothing is kept."""

    def __init__(self, folder: str | Path | None = FOLDER) -> None:
        self.folder = None if folder is None else resolve(folder)
        self._at: dict[str, Path] = {}
        if self.folder is not None:
            with contextlib.suppress(OSError):  # no folder yet, or another process tidies up
                self._read(self.folder)

    def _read(self, folder: Path) -> None:
        """Note what is there and let go what is too much."""
        total = 0
        ours = folder.glob(f"*{'?' * _LETTERS}-*")
        for path in sorted(ours, key=lambda path: path.stat().st_mtime, reverse=True):
            total += path.stat().st_size
            if total > LIMIT:
                path.unlink()
            elif not path.name.startswith("."):
                self._at[path.name[:_LETTERS]] = path

    @property
    def where(self) -> str:
        """The folder, and that it may go: for whoever reports what was taken from it."""
        return f"{FOLDER if self.folder == resolve(FOLDER) else self.folder} (delete it at any time)"

    def take(self, decided_by: Any, target: Path) -> bool:
        """Copy what `decided_by` makes to `target`; False where it is not there, or not what was put there."""
        path = self._at.get(_name(decided_by))
        if path is None:
            return False
        part = target.with_name(f".{target.name}.kept")
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            shutil.copyfile(path, part)
            if sha256_file(part)[:_LETTERS] == path.stem[_LETTERS + 1 :]:
                part.replace(target)
                os.utime(path)  # used today
                return True
            path.unlink()
        except OSError:  # gone by now, or not readable: it is made again, and a full disk says so then
            return False
        finally:
            part.unlink(missing_ok=True)
        return False

    def keep(self, decided_by: Any, source: Path) -> None:
        """Keep a copy of `source`, which `decided_by` made; a folder that cannot be written keeps nothing."""
        if self.folder is None:
            return
        path = self.folder / f"{_name(decided_by)}-{sha256_file(source)[:_LETTERS]}{source.suffix}"
        part = path.with_name(f".{path.name}.{id(self)}.part")
        with contextlib.suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
            try:
                shutil.copyfile(source, part)
                part.replace(path)
            finally:
                part.unlink(missing_ok=True)


def _name(decided_by: Any) -> str:
    return sha256_json(decided_by)[:_LETTERS]


def code_digest(*sources: str | Path) -> str:
    """Of source files and of what else decides what they compute: library versions and the processor's units."""
    units = np.show_config(mode="dicts")["SIMD Extensions"]
    versions = [np.__version__, av.__version__, {name: list(v) for name, v in av.library_versions.items()}]
    return sha256_json([[sha256_file(path) for path in sources], versions, platform.machine(), units])
