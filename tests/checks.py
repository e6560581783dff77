"""What many tests ask in the same words: a refusal with its reason, a training that breaks off, a panel's page.

The fixture `browser` is in conftest.py; what drives whole pages and servers is in browser/browsing.py.
"""

import contextlib
import errno
import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest

from vcwork.base.errors import VcworkError
from vcwork.base.sealed import SEALED, Kind, write_manifest


def refused(words: str, ask: Callable, /, *given: object, **named: object) -> None:
    """`ask(*given, **named)` raises VcworkError with a message in which the regular expression `words` is found."""
    __tracebackhide__ = True
    with pytest.raises(VcworkError, match=words):
        ask(*given, **named)


def edited(folder: Path, kind: Kind, change: dict | Callable[[dict], None], seal: bool = True) -> None:
    """The manifest of `folder` with these keys, or as `change` leaves it; without `seal` its digest is the old one."""
    stored = json.loads((folder / kind.manifest).read_text(encoding="utf-8"))
    old = stored.pop(SEALED, None)
    if isinstance(change, dict):
        stored |= change
    else:
        change(stored)
    if seal:
        write_manifest(folder, kind, stored)
    else:
        (folder / kind.manifest).write_text(json.dumps(stored | {SEALED: old}), encoding="utf-8")


def flip(path: Path, share: float = 0.5) -> None:
    """One bit at this share of the file's bytes; twice is once undone."""
    data = bytearray(path.read_bytes())
    data[min(int(share * len(data)), len(data) - 1)] ^= 1
    path.write_bytes(data)


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below `folder`, by its name."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def full(*_: object) -> None:
    """What the system says where the disk is full."""
    raise OSError(errno.ENOSPC, "No space left on device")


def with_keys(path: Path, **changes: object) -> None:
    """These keys of a JSON file otherwise."""
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


class Runs:
    """Unpickled naively, this creates a file."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


class Stop(Exception):
    """What `stop_at` raises."""


def stop_at(step: int) -> Callable:
    """A function that watches a training and breaks it off after this update."""

    def watch(record: object) -> None:
        if record.step == step:
            raise Stop

    return watch


def node(source: str, tmp_path: Path, *options: str) -> str:
    """What node prints when it runs a module; the test is skipped where there is no node."""
    if not shutil.which("node"):
        pytest.skip("node is not installed")
    file = tmp_path / "module.mjs"
    file.write_text(source, encoding="utf-8")
    done = subprocess.run(["node", *options, str(file)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextlib.contextmanager
def opened(browser, panel, tmp_path: Path) -> Iterator:
    """playwright's page of a panel, from disk and offline; at the end nothing may have been said on its console."""
    file, faults = tmp_path / "page.html", []
    file.write_text(panel.page(), encoding="utf-8")
    with contextlib.closing(browser.new_page(viewport={"width": 900, "height": 1000}, offline=True)) as page:
        page.on("console", lambda told: faults.append(told.text) if told.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.goto(file.as_uri())
        page.wait_for_selector(".vcwork")  # drawn whole in the task that puts it there
        yield page
        assert faults == []


def seen(page) -> dict:
    """What the page shows, as the panel's `update` would say it."""
    return page.evaluate("document.querySelector('.vcwork').shown")


class _Links(HTMLParser):
    """What a page names: the links of its tags, and its places."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.links, self.places = [], [""]
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, given: list[tuple[str, str | None]]) -> None:
        self.links += [value for key, value in given if key in ("href", "src")]
        self.places += [value for key, value in given if key == "id"]


def dead_links(page: Path) -> list[str]:
    """Links of a page that lead nowhere: to a file that is not there, or a place that its page does not have."""
    dead = []
    for link in (text for text in _Links(page).links if not re.match("(https?|data):", text)):
        path, _, place = link.partition("#")
        target = page.parent / unquote(path) if path else page
        if not target.exists() or (place and unquote(place) not in _Links(target).places):
            dead.append(link)
    return dead
