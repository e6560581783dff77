"""What a run has made and a later run would make again: films of the lab world, features, parts of an extraction.

Files lie in a folder, `outputs/cache` unless said, named `<what decides it>-<what it holds>`: the first digest is of
the source code, its input, the library versions and the processor's units, so nothing stale is ever taken; the second
is of the content, so a damaged file is noticed, removed and made again. What was not used for the longest goes when
there are over two gigabytes. Nothing refers to `outputs/cache`: delete it at any time.
"""

import contextlib
import hashlib
import os
import platform
from pathlib import Path
from typing import Any

import av
import numpy as np

from vcwork.base.errors import VcworkError
from vcwork.base.files import atomic_write, resolve, sha256_file, sha256_json

FOLDER = "outputs/cache"
LIMIT = 2 << 30  # bytes; a seed of profile lab takes 450 MB
_LETTERS = 32  # of a sha256, in a file's name


class Kept:
    """The files of one folder, of `limit` bytes at most (None: LIMIT); folder None: nothing is kept."""

    def __init__(self, folder: str | Path | None = FOLDER, limit: float | None = None) -> None:
        self.folder, self.limit = None if folder is None else resolve(folder), LIMIT if limit is None else limit
        self._at: dict[str, Path] = {}
        if self.folder is not None:
            with contextlib.suppress(OSError):  # no folder yet, or another process tidies up
                self._read(self.folder)

    def _read(self, folder: Path) -> None:
        """Note what is there and let go what is too much."""
        total = 0
        ours = folder.glob(f"{'?' * _LETTERS}-*")
        for path in sorted(ours, key=lambda path: path.stat().st_mtime, reverse=True):
            total += path.stat().st_size
            if total > self.limit:
                path.unlink()
            else:
                self._at[path.name[:_LETTERS]] = path

    @property
    def where(self) -> str:
        """The folder, and that it may go: for whoever reports what was taken from it."""
        return f"{FOLDER if self.folder == resolve(FOLDER) else self.folder} (delete it at any time)"

    def find(self, decided_by: Any) -> Path | None:
        """The file that `decided_by` makes, if it is there and what was put there; a damaged one goes."""
        path = self._at.get(_name(decided_by))
        with contextlib.suppress(OSError):  # gone by now, or not readable: it is made again
            if path is not None and sha256_file(path)[:_LETTERS] == path.stem[_LETTERS + 1 :]:
                with contextlib.suppress(OSError):
                    os.utime(path)  # used today
                return path
            if path is not None:
                path.unlink()
        return None

    def take(self, decided_by: Any, target: Path) -> bool:
        """Copy what `decided_by` makes to `target`; False where there is none, or no room for it."""
        if (path := self.find(decided_by)) is None:
            return False
        with contextlib.suppress(VcworkError, OSError):  # a full disk says so when it is made again
            with atomic_write(target, "wb") as file:
                file.write(path.read_bytes())
            return True
        return False

    def put(self, decided_by: Any, data: bytes, suffix: str) -> Path:
        """Keep what `decided_by` made; VcworkError where it cannot be written."""
        path = self.folder / f"{_name(decided_by)}-{hashlib.sha256(data).hexdigest()[:_LETTERS]}{suffix}"
        with atomic_write(path, "wb") as file:
            file.write(data)
        self._at[_name(decided_by)] = path
        return path

    def keep(self, decided_by: Any, source: Path) -> None:
        """Keep a copy of `source`, which `decided_by` made; a folder that cannot be written keeps nothing."""
        if self.folder is not None:
            with contextlib.suppress(VcworkError, OSError):
                self.put(decided_by, source.read_bytes(), source.suffix)


def _name(decided_by: Any) -> str:
    return sha256_json(decided_by)[:_LETTERS]


def code_digest(*sources: str | Path) -> str:
    """Of source files and of what else decides what they compute: library versions and the processor's units."""
    units = np.show_config(mode="dicts")["SIMD Extensions"]
    versions = [np.__version__, av.__version__, {name: list(v) for name, v in av.library_versions.items()}]
    return sha256_json([[sha256_file(path) for path in sources], versions, platform.machine(), units])
