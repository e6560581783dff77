"""Weights and vocabularies for those who have a network: `python -m vcwork fetch s3d`. Several locations, one checksum.

Hosts of research weights disappear, so every asset (weights.yaml) has a list of locations, and the user may put more in
front: a URL, a folder, a file. torch.hub or huggingface_hub downloads; only a whole file with the right sha256 is moved
to its name. Where nobody has published a sha256, the length that the server tells must have come, the first sha256 is
written down beside the file, and another content is an error from then on. Nothing fetched is opened here, nor run.
Known gaps: none of the locations could be reached when this was written; a cut download starts anew (files of the
Hugging Face hub go on where they stopped); a location behind a login or a form is not supported.
"""

import argparse
import http.client
import os
import re
import shutil
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from urllib.parse import urljoin, urlsplit
from urllib.request import url2pathname

from vcwork.base.errors import VcworkError
from vcwork.base.files import atomic_write, read_yaml, resolve, sha256_file

FOLDER = "outputs/weights"
TIMEOUT_S = 30
_HUB = re.compile(r"https://huggingface\.co/([^/]+/[^/]+)/resolve/([^/]+)/(.+)")  # repository, revision, file


@dataclass(frozen=True)
class AssetFile:
    """One file: where it may lie, its sha256 where known, and how it must begin (any of `starts`, a letter a byte)."""

    name: str
    locations: Sequence[str]
    sha256: str | None = None
    starts: Sequence[str] = ()


@dataclass(frozen=True)
class Asset:
    """What one name fetches, and what is known of it."""

    what: str
    files: Sequence[AssetFile]
    note: str


ASSETS = {
    name: Asset(told["what"], [AssetFile(**file) for file in told["files"]], told["note"])
    for name, told in read_yaml(Path(str(files(__package__) / "weights.yaml"))).items()
}


class _Failed(Exception):
    """A location that does not give the file; its text is the reason."""


def describe_assets() -> str:
    """What can be fetched: one paragraph a name, with files, checksums and locations."""
    lines = []
    for name, asset in ASSETS.items():
        lines += [f"{name}: {asset.what}", f"    {asset.note}"]
        for file in asset.files:
            lines.append(f"    {file.name}  sha256 {file.sha256 or 'not known: written down at the first fetch'}")
            lines += [f"        {location}" for location in file.locations]
    return "\n".join(lines)


def fetch(name: str, folder: str | Path, locations: Sequence[str] = (), progress: bool = True) -> list[Path]:
    """The files of asset `name`, in `folder`; those already there are checked, not fetched again.

    `locations` are tried before the asset's own: a URL of the file; a URL ending in "/", or for an asset of several
    files any URL, of a folder that holds them; a folder or a file here. VcworkError: no such asset, no location that
    gives the right file (it says what to put where), another content than before, a full disk.
    """
    if name not in ASSETS:
        raise VcworkError(f"asset {name!r}: expected one of {', '.join(ASSETS)}")
    wanted, folder, done = ASSETS[name].files, resolve(folder), []
    for file in wanted:
        ways = [*(_place(file, location, len(wanted) > 1) for location in locations), *file.locations]
        with _disk(folder / file.name):
            done.append(_fetch_file(file, folder / file.name, ways, progress))
    return done


@contextmanager
def _disk(target: Path) -> Iterator[None]:
    """What goes wrong with the disk names the file; what goes wrong with the network is a _Failed by then."""
    try:
        yield
    except OSError as error:
        raise VcworkError(f"{target}: could not be written or read ({error.strerror or error})") from error


def _scheme(location: str) -> str:
    """Of `C:\\weights`, none."""
    scheme = urlsplit(location).scheme
    return scheme if len(scheme) > 1 else ""


def _place(file: AssetFile, location: str, several: bool) -> str:
    """Where `file` lies at a location that the user gave; a URL of another scheme is a mistake, not a file."""
    scheme, parts = _scheme(location), urlsplit(location)
    if scheme in ("http", "https"):
        if parts.path.endswith("/") or not parts.path:
            return urljoin(location if parts.path else f"{location}/", file.name)
        return f"{location}/{file.name}" if several and not parts.query else location
    if scheme not in ("", "file"):
        raise VcworkError(f"location {location!r}: expected http, https, or a path of a file or folder, got {scheme}:")
    path = Path(url2pathname(parts.path)) if scheme else resolve(location)
    return str(path / file.name if path.is_dir() or several else path)


def _fetch_file(file: AssetFile, target: Path, ways: list[str], progress: bool) -> Path:
    expected, reasons = file.sha256 or _recorded(target), []
    if target.is_file():  # whatever put it there, it must be the right one
        found = sha256_file(target)
        if expected and found != expected:
            raise VcworkError(
                f"{target}: expected sha256 {expected}, got {found}; delete it (or fetch to another folder)"
            )
        return _noted(target, found, expected)
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        for way in ways:
            try:
                _get(way, part, expected is None, progress)
                found = _verified(part, file, expected)
            except _Failed as failed:
                reasons.append(f"  {way}: {failed}")
                continue
            os.replace(part, target)
            return _noted(target, found, expected)
    finally:
        part.unlink(missing_ok=True)
    what = f"put {file.name} there yourself, or name a place that has it: --from URL_OR_FOLDER"
    sha = f" (sha256 {expected})" if expected else ""
    raise VcworkError(f"{target}: could not be fetched; {what}{sha}. Tried:\n" + "\n".join(reasons))


def _recorded(target: Path) -> str | None:
    """The sha256 written down beside the file when it was first seen, in the format of sha256sum."""
    path = _record(target)
    if not path.is_file():
        return None
    found = re.match(r"[0-9a-f]{64}\b", path.read_text(encoding="utf-8", errors="replace"))
    if not found:
        raise VcworkError(f"{path}: expected a sha256 and a file name, got another text; delete it to start anew")
    return found[0]


def _record(target: Path) -> Path:
    return target.with_name(f"{target.name}.sha256")


def _noted(target: Path, found: str, expected: str | None) -> Path:
    print(f"{target}: sha256 {found}" + ("" if expected else " (nobody published one to compare with)"))
    if not expected:
        with atomic_write(_record(target)) as file:
            file.write(f"{found}  {target.name}\n")
    return target


def _verified(part: Path, file: AssetFile, expected: str | None) -> str:
    """sha256 of a download that is the file."""
    with part.open("rb") as opened:
        start = opened.read(16)
    found = sha256_file(part)
    if expected and found != expected:
        raise _Failed(f"expected sha256 {expected}, got {found}")
    if file.starts and not start.decode("latin-1").startswith(tuple(file.starts)):
        raise _Failed(f"not the file, but something that begins with {start!r}")
    return found


def _get(way: str, part: Path, unchecked: bool, progress: bool) -> None:
    """All bytes of one location into `part`, or _Failed; `unchecked`: no checksum would tell a cut download."""
    if not _scheme(way):
        if not Path(way).is_file():
            raise _Failed("no such file")
        shutil.copyfile(way, part)
    elif hub := _HUB.fullmatch(way):
        _get_from_hub(*hub.groups(), part)
    else:
        _download(way, part, unchecked, progress)


def _get_from_hub(repository: str, revision: str, name: str, part: Path) -> None:
    from huggingface_hub import hf_hub_download

    try:
        shutil.copyfile(hf_hub_download(repository, name, revision=revision), part)
    except Exception as error:  # it has an exception of its own for everything that a network may do
        raise _Failed(f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}") from error


def _download(url: str, part: Path, unchecked: bool, progress: bool) -> None:
    from torch.hub import download_url_to_file

    try:
        length = _announced(url)
        if length is None and unchecked:
            raise _Failed("the server does not say how long the file is; a cut could not be told from its end")
        download_url_to_file(url, str(part), progress=progress)
    except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        code = f"HTTP {error.code} " if isinstance(error, urllib.error.HTTPError) else ""
        raise _Failed(f"{code}{getattr(reason, 'strerror', None) or reason}") from error
    size = part.stat().st_size
    if length is not None and size != length:
        raise _Failed(f"ended after {size} of {length} bytes")


def _announced(url: str) -> int | None:
    """How many bytes the server will send, where it says so; torch.hub itself would take a cut file for a whole one."""
    request = urllib.request.Request(url, headers={"User-Agent": "vcwork"})
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
        if urlsplit(answer.url).scheme not in ("https", urlsplit(url).scheme):
            raise _Failed(f"redirect to {answer.url} refused")
        length = answer.headers.get("Content-Length", "")
    return int(length) if length.isdigit() else None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `python -m vcwork fetch`."""
    parser.add_argument("name", nargs="?", choices=list(ASSETS), help="what to fetch (default: show what there is)")
    parser.add_argument("--to", metavar="FOLDER", help=f"where to put it (default: {FOLDER}/NAME)")
    first = "a URL, folder or file to try first; may be given more than once"
    parser.add_argument("--from", dest="locations", action="append", default=[], metavar="LOCATION", help=first)


def main(options: argparse.Namespace) -> int:
    """`fetch`: 0 when the files are there and right; VcworkError (exit code 2) when not."""
    if not options.name:
        print(describe_assets())
        return 0
    fetch(options.name, options.to or resolve(FOLDER) / options.name, options.locations)
    return 0
