"""What the browser tests use: the system's Chromium by playwright, watched pages, hands on panels, servers.

`VCWORK_CHROMIUM` names the program; without it the usual names are looked for, and without one of these the tests are
skipped. Screenshots go to `outputs/browser/`. A server is always ended, with its kernels.
"""

import contextlib
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import nbformat
import numpy as np
import psutil
import pytest

from vcwork.base.files import atomic_write, sha256_file
from vcwork.panels.segmentation import METRICS

ROOT = Path(__file__).resolve().parents[2]
SHOTS = ROOT / "outputs" / "browser"
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
EXPLORER = ".vcwork-alignment"
INSIDE = ("file:", "data:", "blob:", "about:")
AXE = "4.14.1", "29348999450cdf2849a8e70b7912fc2da85a849da39c0d0d5394f51d4a9ed95c"  # version, sha256 of its one file
AXE_LEVELS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
WAIT_MS = 120_000  # the machine of continuous integration is slow, and other work may be beside
NOTEBOOK = "40_alignment_explorer"


def chromium() -> str:
    """The program, or the test is skipped; a named one that is absent is an error."""
    named = os.environ.get("VCWORK_CHROMIUM", "")
    if named and not shutil.which(named):
        pytest.fail(f"VCWORK_CHROMIUM={named}: no such program")
    found = named or next(filter(None, map(shutil.which, NAMES)), None)
    if not found:
        pytest.skip("no Chromium on this machine: install it (Debian: apt-get install chromium) or set VCWORK_CHROMIUM")
    return found


class Watched:
    """A page with what it asked for and complained of; `page` is playwright's."""

    def __init__(self, page) -> None:
        self.page, self.errors, self.requests = page, [], []
        page.set_default_timeout(WAIT_MS)
        page.on("console", lambda m: self.errors.append(f"{m.text} ({m.location})") if m.type == "error" else None)
        page.on("pageerror", lambda error: self.errors.append(f"uncaught: {error.stack or error}"))
        page.on("request", lambda request: self.requests.append(request.url))

    @property
    def outside(self) -> list[str]:
        """What was asked of a network."""
        return [url for url in self.requests if not url.startswith(INSIDE)]

    def shot(self, name: str, whole: bool = True) -> Path:
        SHOTS.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=SHOTS / f"{name}.png", full_page=whole)
        return SHOTS / f"{name}.png"


@contextlib.contextmanager
def watched(browser, offline: bool = False, **context) -> Iterator[Watched]:
    """A fresh page; `context` as playwright's new_context."""
    with contextlib.closing(browser.new_context(**context)) as made:
        made.set_offline(offline)
        yield Watched(made.new_page())


class Explorer:
    """Hands and eyes on the AlignmentExplorer of a page."""

    def __init__(self, page) -> None:
        self.page, self.root = page, page.locator(EXPLORER).last
        self.plot, self.heat = self.root.locator(".plot"), self.root.locator(".rows canvas").first
        self.input = self.root.get_by_label("sentence to look for")
        self.note = self.root.locator("p.note[role=status]")

    @property
    def title(self) -> str:
        return self.root.locator("h3").inner_text()

    def until_title(self, title: str) -> None:
        self.root.locator("h3").get_by_text(title, exact=True).wait_for()

    def readout(self) -> tuple[int, str, float]:
        """(second, sentence, score) that the line under the map tells."""
        told = self.root.locator("p.readout").inner_text()
        found = re.match(r"(?:(\d+) s|(\d+):(\d\d)) · “(.*)” · score (-?[\d.]+)", told)
        assert found, f"not a readout: {told!r}"
        short, minutes, seconds, text, score = found.groups()
        return int(short or 60 * int(minutes) + int(seconds)), text, float(score)

    def time(self) -> float:
        return self.root.locator("video").evaluate("v => v.currentTime")

    def until_time(self, second: float) -> None:
        """Wait until the video stands within this second."""
        inside = "([v, s]) => !v.seeking && v.readyState >= 2 && v.currentTime >= s && v.currentTime < s + 1"
        self.page.wait_for_function(inside, arg=[self.root.locator("video").element_handle(), second], timeout=WAIT_MS)

    def click(self, across: float, down: float = 0.5) -> tuple[int, str, float]:
        """Click the map at a share of its width and height; what the readout then tells."""
        self.heat.scroll_into_view_if_needed()
        box = self.heat.bounding_box()
        self.heat.click(position={"x": across * box["width"], "y": min(down * box["height"], box["height"] - 2)})
        return self.readout()

    def ask(self, sentence: str) -> None:
        self.input.fill(sentence)
        self.input.press("Enter")

    def moments(self) -> list[str]:
        """The buttons under "best moments of this video"."""
        return self.root.locator(".lists ol").first.get_by_role("button").all_inner_texts()

    def curve(self) -> str:
        """The picture of the curve, to see whether it changed."""
        return self.plot.locator("canvas").first.evaluate("c => c.toDataURL()")


class Studio:
    """Hands and eyes on the SegmentationStudio of a page."""

    def __init__(self, page) -> None:
        self.page, self.root = page, page.locator(".vcwork-segmentation").last
        self.gamma = self.root.get_by_label("gamma", exact=True)

    def metrics(self) -> dict[str, list[str]]:
        """The table: metric -> this video, silent, all videos, silent; as shown."""
        rows = [row.locator("td").all_inner_texts() for row in self.root.locator("tr").all()]
        return {cells[0]: cells[1:] for cells in rows if cells}

    def until_level(self, level: int) -> None:
        self.page.wait_for_function("([e, n]) => Number(e.value) === n", arg=[self.gamma.element_handle(), level])


def percents(panel, gamma: float) -> dict[str, list[str]]:
    """The table that a SegmentationStudio ought to show of its first video, at its start but for gamma."""
    seen, silent = (panel.measure(g, panel.readings[0], "removed") for g in (gamma, np.inf))
    columns = zip(METRICS, seen[0], silent[0], seen[-1], silent[-1], strict=True)
    return {name: [f"{100 * np.round(value, 4):.1f} %" for value in values] for name, *values in columns}


def axe() -> str:
    """axe-core's text, from npm's registry once into `outputs/`, or the test is skipped; `VCWORK_AXE` names a copy."""
    path = Path(os.environ.get("VCWORK_AXE") or ROOT / "outputs" / "axe-core" / f"{AXE[0]}.js")
    if not path.is_file():
        with tempfile.TemporaryDirectory() as folder:
            pack = [shutil.which("npm") or "npm", "pack", "--silent", f"axe-core@{AXE[0]}"]
            try:
                subprocess.run(pack, cwd=folder, check=True, capture_output=True, timeout=60)
            except (OSError, subprocess.SubprocessError) as error:
                pytest.skip(f"axe-core {AXE[0]} is not here and npm did not fetch it ({error}); or set VCWORK_AXE")
            with tarfile.open(Path(folder) / f"axe-core-{AXE[0]}.tgz") as packed:
                text = packed.extractfile("package/axe.min.js").read()
        with atomic_write(path, "wb") as file:
            file.write(text)
    assert sha256_file(path) == AXE[1], f"{path} is not axe-core {AXE[0]}: delete it"
    return path.read_text("utf-8")


def barriers(page) -> list[str]:
    """What axe finds on a playwright page against the levels A and AA of WCAG 2.2, each with its first element."""
    page.evaluate(axe())
    found = page.evaluate("tags => axe.run({ runOnly: { type: 'tag', values: tags } })", AXE_LEVELS)
    assert len(found["passes"]) > 5, "axe looked at the page"
    return [f"{v['id']}: {len(v['nodes'])} x {v['nodes'][0]['html'][:120]}" for v in found["violations"]]


def luminance(colour: str) -> float:
    """WCAG's relative luminance of rgb(r, g, b)."""
    parts = np.array([float(n) for n in re.findall(r"[\d.]+", colour)[:3]]) / 255
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def contrast(locator) -> float:
    """WCAG's contrast of an element's text with the ground it stands on."""
    ground = r"""e => { const of = (e) => getComputedStyle(e).backgroundColor;
        while (/, 0\)$/.test(of(e)) && e.parentElement) e = e.parentElement; return of(e); }"""
    ink, paper = luminance(locator.evaluate("e => getComputedStyle(e).color")), luminance(locator.evaluate(ground))
    return (max(ink, paper) + 0.05) / (min(ink, paper) + 0.05)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def project(folder: Path, world: Path, cell: str = "") -> Path:
    """A project beside this one: notebook 40 copied, the tiny world linked, so nothing of this one is written.

    cell: Python code that the copy runs after all other cells.
    """
    for name in ("notebooks", "params", "outputs"):
        (folder / name).mkdir(parents=True)
    notebook = nbformat.read(ROOT / "notebooks" / f"{NOTEBOOK}.ipynb", 4)
    notebook.cells += [nbformat.v4.new_code_cell(cell)] if cell else []
    nbformat.write(notebook, folder / "notebooks" / f"{NOTEBOOK}.ipynb")
    (folder / "outputs" / world.name).symlink_to(world, target_is_directory=True)
    return folder


@contextlib.contextmanager
def server(folder: Path, module: str, *arguments: str, ready: str) -> Iterator[tuple[str, str]]:
    """`python -m module` on a free port with its settings inside `folder`: (address, token), once `ready` answers."""
    port, token, home = free_port(), secrets.token_hex(12), folder / "home"
    names = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "JUPYTERLAB_SETTINGS_DIR",
             "JUPYTERLAB_WORKSPACES_DIR", "IPYTHONDIR", "HOME")  # fmt: skip
    environment = os.environ | {name: str(home / name.lower()) for name in names}
    environment |= {"OMP_NUM_THREADS": "1", "JUPYTER_TOKEN": token, "PYDEVD_DISABLE_FILE_VALIDATION": "1"}
    environment.pop("VCWORK_ROOT", None)
    for name in names:
        Path(environment[name]).mkdir(parents=True, exist_ok=True)
    quiet = home / "jupyter_config_dir" / "labconfig" / "page_config.json"  # asks for no news
    quiet.parent.mkdir(parents=True)
    quiet.write_text('{"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": true}}')
    log = (folder / "server.log").open("w")
    command = [sys.executable, "-m", module, *arguments, f"--port={port}", "--no-browser"]
    told = {"stdout": log, "stderr": subprocess.STDOUT}
    process = subprocess.Popen(command, cwd=folder, env=environment, start_new_session=True, **told)
    address = f"http://127.0.0.1:{port}"
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        wait_for(f"{address}{ready}?token={token}", process, folder / "server.log")
        yield address, token
        heard = [c.laddr.ip for one in _family(process.pid) for c in one.net_connections() if c.status == "LISTEN"]
        assert set(heard) <= {"127.0.0.1", "::1"}, f"somebody elsewhere could reach {heard}"
    finally:
        end(process)
        log.close()
        signal.signal(signal.SIGTERM, before)


def _family(pid: int) -> list[psutil.Process]:
    return [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]


def refused(url: str, **more) -> bool:
    """Whether who knows no token gets nothing but the way to log in."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, **more), timeout=20) as answer:
            return "/login" in answer.url
    except urllib.error.HTTPError as error:
        return error.code in (401, 403)


def interrupt(*_) -> None:
    """A run that is told to stop ends its servers, too, as one that is interrupted by hand."""
    raise KeyboardInterrupt


def wait_for(url: str, process: subprocess.Popen, log: Path, seconds: float = 180) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if process.poll() is not None:
            break
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5) as answer:
            if answer.status == 200:
                return
        time.sleep(0.3)
    pytest.fail(f"the server did not answer; the end of its log:\n{log.read_text()[-3000:]}")


def end(process: subprocess.Popen) -> None:
    """The server, asked first so that it ends its kernels, and whatever is left of its group."""
    process.send_signal(signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(20)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
