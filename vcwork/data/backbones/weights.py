"""Weights and vocabularies for those who have a network: `python -m vcwork fetch s3d`. Several locations, one checksum.

Hosts of research weights disappear, so every asset has a list of locations, and the user may put more in front: a URL,
a folder, a file. A cut download resumes (HTTP Range) from its `.part` file; only a whole file with the right sha256 is
moved to its name. Where nobody has published a sha256, the first one fetched is written beside the file, and another
content is an error from then on. Nothing fetched is opened here, let alone run.
Known gaps: none of the locations could be reached when this was written; two fetches of one file at once are not
kept apart; a location behind a login or a form is not supported.
"""

import argparse
import http.client
import os
import re
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit
from urllib.request import url2pathname

from tqdm.auto import tqdm

from vcwork.base.errors import VcworkError
from vcwork.base.files import atomic_write, read_json, resolve, sha256_file, write_json

FOLDER = "outputs/weights"
ATTEMPTS = 3  # at one location, as long as each brings something
TIMEOUT_S = 30
_BLOCK = 1 << 18
_TORCH = (b"PK\x03\x04", b"\x80")  # a zip, or the pickle of older versions


@dataclass(frozen=True)
class AssetFile:
    """One file: its name, where it may lie, its sha256 where known, and how its bytes must begin (any of `starts`)."""

    name: str
    locations: tuple[str, ...]
    sha256: str | None = None
    starts: tuple[bytes, ...] = ()

    def __post_init__(self) -> None:
        if not re.fullmatch(r"\w[\w.-]*", self.name):
            raise VcworkError(f"expected a plain file name, got {self.name!r}")


@dataclass(frozen=True)
class Asset:
    """What one name fetches, and what is known of it."""

    what: str
    files: tuple[AssetFile, ...]
    note: str


# A pinned revision of the hub's repository; `main` behind it, in case the repository is ever rewritten.
_BERT = tuple(
    f"https://huggingface.co/google-bert/bert-base-uncased/resolve/{revision}/"
    for revision in ("86b5e0934494bd15c9632b12f734a8a67f723594", "main")
)
_S3D = ("https://www.rocq.inria.fr/cluster-willow/amiech/howto100m/", "https://www.di.ens.fr/~miech/S3D_howto100m/")
_DRIVE = "https://drive.usercontent.google.com/download?export=download&confirm=t&id="
_S3D_NOTE = (
    "two locations the author has named (the first reported dead since June 2024), then a reader's copy on Google "
    "Drive, named in issue 14 of antoine77340/S3D_HowTo100M; not verified, no checksum published"
)


def _bert(name: str, sha256: str) -> AssetFile:
    return AssetFile(name, tuple(base + name for base in _BERT), sha256)


ASSETS = {
    "s3d": Asset(
        "S3D video network trained on HowTo100M (125 MB)",
        (
            AssetFile(
                "s3d_howto100m.pth",
                (*(base + "s3d_howto100m.pth" for base in _S3D), _DRIVE + "1DN8t1feS0t5hYYTfXQfZd596Pu9yXJIr"),
                starts=_TORCH,
            ),
        ),
        _S3D_NOTE,
    ),
    "s3d-dict": Asset(
        "words of S3D's text module, which vcwork does not build (6 MB)",
        (
            AssetFile(
                "s3d_dict.npy",
                (*(base + "s3d_dict.npy" for base in _S3D), _DRIVE + "1p_CMGppAQk3B0_Z0i1r2AN_D1FM3kUFW"),
                starts=(b"\x93NUMPY",),
            ),
        ),
        _S3D_NOTE,
    ),
    "videoclip": Asset(
        "VideoCLIP as released, pre-trained on HowTo100M; CC BY-NC",
        (
            AssetFile(
                "checkpoint_best.pt",
                ("https://dl.fbaipublicfiles.com/MMPT/retri/videoclip/checkpoint_best.pt",),
                starts=_TORCH,
            ),
        ),
        "the location its README names; not verified, no checksum published",
    ),
    "bert": Asset(
        "bert-base-uncased: vocabulary, configuration, weights (440 MB)",
        (
            _bert("vocab.txt", "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"),
            _bert("config.json", "7160e1553ad2ca51d8c1cb066be533db31826e12d173824c1bb0cb1a4f187d20"),
            _bert("model.safetensors", "68d45e234eb4a928074dfd868cead0219ab85354cc53d20e772753c6bb9169d3"),
        ),
        "a pinned revision on the Hugging Face hub, locations not verified; the vocabulary's checksum is computed from "
        "a copy, the others are as several projects record them",
    ),
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


def default_folder(name: str) -> Path:
    """Where `fetch` on the command line puts an asset, and where `vcwork` looks for it."""
    return resolve(FOLDER) / name


def fetch(
    name: str, folder: str | Path, locations: Sequence[str | Path] | str | Path | None = None, progress: bool = True
) -> list[Path]:
    """The files of asset `name`, in `folder`; those already there are checked, not fetched again.

    `locations` are tried before the asset's own: a URL of the file; a URL ending in "/", or for an asset of several
    files any URL, of a folder that holds them; a folder or a file here. VcworkError: no such asset, no location that
    gives the right file (it says what to put where), another content than before, a full disk.
    """
    if name not in ASSETS:
        raise VcworkError(f"asset {name!r}: expected one of {', '.join(ASSETS)}")
    extra = [locations] if isinstance(locations, (str, Path)) else list(locations or [])
    for location in extra:
        _checked(str(location))
    files, folder = ASSETS[name].files, resolve(folder)
    done = []
    for file in files:
        with _disk(folder / file.name):
            done.append(_fetch_file(file, folder, _ways(file, extra, len(files) > 1), progress))
    return done


@contextmanager
def _disk(target: Path) -> Iterator[None]:
    """What goes wrong with the disk names the file; what goes wrong with the network is a _Failed by then."""
    try:
        yield
    except OSError as error:
        raise VcworkError(f"{target}: could not be written or read ({error.strerror or error})") from error


def _checked(location: str) -> str:
    """A URL of a scheme that is none of ours is a mistake, not a file."""
    scheme = _scheme(location)
    if scheme not in ("", "http", "https", "file"):
        raise VcworkError(f"location {location!r}: expected http, https, or a path of a file or folder, got {scheme}:")
    return location


def _scheme(location: str) -> str:
    """Of `C:\\weights`, none."""
    scheme = urlsplit(location).scheme
    return scheme if len(scheme) > 1 else ""


def _ways(file: AssetFile, extra: list, several: bool) -> list[str]:
    return [_place(file, str(location), several) for location in extra] + list(file.locations)


def _place(file: AssetFile, location: str, several: bool) -> str:
    """Where `file` lies at a location that the user gave."""
    if _scheme(location) in ("http", "https"):
        parts = urlsplit(location)
        if parts.path.endswith("/") or not parts.path:
            return urljoin(location if parts.path else f"{location}/", file.name)
        return f"{location}/{file.name}" if several and not parts.query else location
    path = Path(url2pathname(urlsplit(location).path)) if _scheme(location) == "file" else resolve(location)
    return str(path / file.name if path.is_dir() or several else path)


def _fetch_file(file: AssetFile, folder: Path, ways: list[str], progress: bool) -> Path:
    target = folder / file.name
    expected = file.sha256 or _recorded(target)
    if target.is_file():
        return _kept(target, expected)
    part, reasons = _Part(target), []
    for way in ways:
        try:
            _get(way, part, progress)
            found = _verified(part, file, expected)
        except _Failed as failed:
            reasons.append(f"  {way}: {failed}")
            continue
        os.replace(part.path, target)
        part.forget()
        _note(target, found, expected)
        return target
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


def _kept(target: Path, expected: str | None) -> Path:
    """A file that is already there: whatever put it there, it must be the right one."""
    found = sha256_file(target)
    if expected and found != expected:
        raise VcworkError(f"{target}: expected sha256 {expected}, got {found}; delete it (or fetch to another folder)")
    _note(target, found, expected)
    return target


def _note(target: Path, found: str, expected: str | None) -> None:
    print(f"{target}: sha256 {found}" + ("" if expected else " (nobody published one to compare with)"))
    if not expected:
        with atomic_write(_record(target)) as file:
            file.write(f"{found}  {target.name}\n")


class _Part:
    """The `.part` file beside the target, and which URL and version of it (`.part.json`) its bytes are from."""

    def __init__(self, target: Path) -> None:
        self.target = target
        self.path = target.with_name(f"{target.name}.part")
        self.about = target.with_name(f"{target.name}.part.json")

    def held(self, url: str) -> tuple[int, dict[str, Any]]:
        """(bytes already here from `url`, what is known of them); (0, {}) when they cannot be gone on with."""
        try:
            about = read_json(self.about)
            known = isinstance(about, dict) and (about.get("version") or about.get("total"))
            if known and about.get("url") == url:
                return self.path.stat().st_size, about
        except (VcworkError, OSError):
            pass  # no notes, no resuming
        return 0, {}

    def forget(self) -> None:
        self.path.unlink(missing_ok=True)
        self.about.unlink(missing_ok=True)


def _verified(part: _Part, file: AssetFile, expected: str | None) -> str:
    """sha256 of a whole download; what is not the file leaves nothing behind."""
    with part.path.open("rb") as opened:
        start = opened.read(16)
    found = sha256_file(part.path)
    wrong = ""
    if expected and found != expected:
        wrong = f"expected sha256 {expected}, got {found}"
    elif file.starts and not start.startswith(file.starts):
        wrong = f"not the file, but something that begins with {start!r}"
    if wrong:
        part.forget()
        raise _Failed(wrong)
    return found


def _get(way: str, part: _Part, progress: bool) -> None:
    """All bytes of one location into the part file, or _Failed."""
    if not _scheme(way):
        return _copy(Path(way), part, progress)
    for attempt in range(1, ATTEMPTS + 1):
        before = part.held(way)[0]
        try:
            return _download(way, part, progress)
        except _Changed:
            part.forget()
            if attempt == ATTEMPTS:
                raise
        except _Cut as cut:
            if attempt == ATTEMPTS or part.held(way)[0] <= before:
                raise _Failed(f"{cut} (what came is kept, to resume)") from cut


def _copy(path: Path, part: _Part, progress: bool) -> None:
    try:
        if part.path.exists() and path.samefile(part.path):
            raise _Failed("this is the unfinished download itself")
        source = path.open("rb")
    except OSError as error:
        raise _Failed(error.strerror or str(error)) from error
    part.forget()
    with source, _bar(part, 0, path.stat().st_size, progress) as bar:
        _append(part, "wb", iter(lambda: source.read(_BLOCK), b""), bar)


class _Cut(_Failed):
    """A connection that ended early; what came is kept."""


class _Changed(_Failed):
    """The file at a location is not the one that the bytes here are from."""


def _download(url: str, part: _Part, progress: bool) -> None:
    held, about = part.held(url)
    if held and held == about.get("total"):  # ended between the last byte and the check
        return
    with _opened(url, held, about) as response:
        begin = _begin(response, held)
        length = response.headers.get("Content-Length", "")
        total = begin + int(length) if length.isdigit() else None
        if total is None and not response.chunked:
            raise _Failed("the server does not say how long the file is; a cut could not be told from its end")
        if begin and about.get("total") not in (None, total):
            raise _Changed(f"{about['total']} bytes before, {total} now")
        if not begin:
            part.forget()
        version = response.headers.get("ETag") or response.headers.get("Last-Modified")
        write_json(part.about, {"url": url, "version": version, "total": total})
        with _bar(part, begin, total, progress) as bar:
            _append(part, "ab" if begin else "wb", _blocks(response), bar)
    size = part.path.stat().st_size
    if total is not None and size != total:
        raise _Cut(f"ended after {size} of {total} bytes")


@contextmanager
def _opened(url: str, held: int, about: dict[str, Any]) -> Iterator[http.client.HTTPResponse]:
    """The response to a request for the bytes from `held` on."""
    headers = {"User-Agent": "vcwork", "Accept-Encoding": "identity"}
    if held:
        headers["Range"] = f"bytes={held}-"
        version = about.get("version")
        if version and not str(version).startswith("W/"):  # a weak one may not be asked for
            headers["If-Range"] = version
    try:
        response = _opener().open(urllib.request.Request(url, headers=headers), timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        with error:
            kind = _Changed if error.code == 416 and held else _Failed
            raise kind(f"HTTP {error.code} {error.reason}") from error
    except (urllib.error.URLError, OSError, http.client.HTTPException, ValueError) as error:
        raise _Failed(_reason(error)) from error
    with response:
        yield response


def _reason(error: Exception) -> str:
    inner = getattr(error, "reason", None) or error
    return f"{getattr(inner, 'strerror', None) or inner or type(error).__name__}"


def _begin(response: http.client.HTTPResponse, held: int) -> int:
    """From which byte on the server answers: `held`, or 0 when it does not know ranges or has another version."""
    if response.status != 206:
        return 0
    found = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    if not found or int(found[1]) != held:
        raise _Changed(f"asked for the bytes from {held} on, got {response.headers.get('Content-Range')!r}")
    return held


def _blocks(response: http.client.HTTPResponse) -> Iterator[bytes]:
    while True:
        try:
            block = response.read(_BLOCK)
        except (OSError, http.client.HTTPException) as error:
            raise _Cut(f"connection cut ({_reason(error)})") from error
        if not block:
            return
        yield block


def _append(part: _Part, mode: str, blocks: Iterator[bytes], bar: tqdm) -> None:
    part.path.parent.mkdir(parents=True, exist_ok=True)
    with part.path.open(mode) as file:
        for block in blocks:
            file.write(block)
            bar.update(len(block))
        file.flush()
        os.fsync(file.fileno())


def _bar(part: _Part, begin: int, total: int | None, progress: bool) -> tqdm:
    units = {"unit": "B", "unit_scale": True, "unit_divisor": 1024}
    return tqdm(total=total, initial=begin, desc=part.target.name, disable=not progress, **units)


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows to http and https only, and never from https to http: a checksum is not always known."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        allowed = ("https",) if urlsplit(req.full_url).scheme == "https" else ("http", "https")
        if urlsplit(newurl).scheme not in allowed:
            raise urllib.error.HTTPError(newurl, code, f"redirect to {newurl} refused", headers, fp)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener() -> urllib.request.OpenerDirector:
    """http and https with the system's proxies, and nothing else (urllib's own would also take ftp:, file:, data:)."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.UnknownHandler(),
        _Redirects(),
    ):
        opener.add_handler(handler)
    return opener


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `python -m vcwork fetch`."""
    parser.add_argument("name", nargs="?", choices=list(ASSETS), help="what to fetch (default: show what there is)")
    parser.add_argument("--to", metavar="FOLDER", help=f"where to put it (default: {FOLDER}/NAME)")
    parser.add_argument(
        "--from",
        dest="locations",
        action="append",
        default=[],
        metavar="LOCATION",
        help="a URL, folder or file to try first; may be given more than once",
    )


def main(options: argparse.Namespace) -> int:
    """`fetch`: 0 when the files are there and right; VcworkError (exit code 2) when not."""
    if not options.name:
        print(describe_assets())
        return 0
    fetch(options.name, options.to or default_folder(options.name), options.locations)
    return 0
