"""Files at an address: whatever fsspec reads (s3://, gs://, https://, memory://), listed here and fetched whole.

A film is copied to this machine while it is read and goes when it was: decoding jumps about in a file, which costs a
request each time. Known gap: only what lies directly under an address is listed.
"""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from vcwork.base.errors import VcworkError
from vcwork.base.files import sha256_json


@dataclass(frozen=True)
class Address:
    """A file elsewhere; `stamp` is a digest of what its store tells of it (size, tag, time), so of its version."""

    url: str
    stamp: str = ""

    def __str__(self) -> str:
        return self.url

    @property
    def name(self) -> str:
        return PurePosixPath(self.url).name

    @property
    def stem(self) -> str:
        return PurePosixPath(self.url).stem

    @property
    def suffix(self) -> str:
        return PurePosixPath(self.url).suffix


def is_address(place: object) -> bool:
    """Does this name something for fsspec, rather than a path?"""
    return "://" in str(place)


def listed(address: str) -> list[Address]:
    """The files directly under an address, by name; VcworkError where it cannot be reached or read, or is none."""
    try:
        with _reached(address):
            from fsspec.core import url_to_fs

            system, path = url_to_fs(address)
            files = {PurePosixPath(e["name"]).name: e for e in system.ls(path, detail=True) if e["type"] == "file"}
            return [Address(f"{address.rstrip('/')}/{name}", sha256_json(files[name])) for name in sorted(files)]
    except FileNotFoundError:
        raise VcworkError(f"{address}: no such folder") from None


@contextlib.contextmanager
def at_hand(place: Path | Address) -> Iterator[Path]:
    """The file at a place, on this machine: itself, or a copy for as long as the block lasts.

    VcworkError as `listed`; FileNotFoundError where the address is reached and holds no such file.
    """
    if not isinstance(place, Address):
        yield place
        return
    with tempfile.TemporaryDirectory(prefix="vcwork-") as folder:
        path = Path(folder) / place.name
        with _reached(place.url):
            from fsspec.core import url_to_fs

            system, name = url_to_fs(place.url)
            system.get_file(name, os.fspath(path))
        yield path


@contextlib.contextmanager
def _reached(address: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise
    except ImportError as error:  # fsspec knows the protocol and says which package reads it
        raise VcworkError(f"{address}: {error}") from error
    except Exception as error:  # each store has errors of its own, with no class in common
        why = (getattr(error, "strerror", None) or str(error) or type(error).__name__).strip().splitlines()[0]
        raise VcworkError(f"{address}: could not be read ({why}); run again to go on") from error
