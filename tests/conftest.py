"""Shared fixtures: where the optional real data lies, and a browser. What is absent skips its tests, by name.

Numbers recorded from the reference code are in `data/reference`, so every clone has them; S3D's vectors alone are too
large for that. `VCWORK_REAL` and `VCWORK_REFERENCE` point elsewhere than the neighbours `../shared/real` and
`../shared/reference`, `VCWORK_CHROMIUM` names the browser.
"""

import contextlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vcwork.base.errors import VcworkError
from vcwork.data.video import write_mp4

ROOT = Path(__file__).resolve().parents[1]
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # no test waits for a hub, and no command fetches by itself


def pytest_configure(config: pytest.Config) -> None:
    """nbval's kernels are forked as those of `./run workbench` are: twenty of them load their packages once."""
    if not (config.getoption("nbval", False) or config.getoption("nbval_lax", False)):
        return
    import nbval.kernel
    from jupyter_client.manager import KernelManager

    from vcwork.workbench import kernels

    if not kernels.FORKS:
        return
    forked = kernels.manager(ROOT / "notebooks", Path(os.devnull), {})

    class Manager(KernelManager):  # which waits; ours does not
        kernel_spec = forked.kernel_spec

        async def _async_launch_kernel(self, *given: Any, **options: Any) -> None:
            kernels.get_ready(1)
            await forked._async_launch_kernel(self, *given, **options)

    nbval.kernel.KernelManager = Manager


def _folder_or_skip(variable: str, default: str) -> Path:
    folder = Path(os.environ.get(variable) or ROOT / default).resolve()
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent; set {variable} to run this test")
    return folder


@pytest.fixture(scope="session")
def root() -> Path:
    """The project's top folder."""
    return ROOT


@pytest.fixture(scope="session")
def real() -> Path:
    """Folder of real videos, captions and features; the test is skipped without it."""
    return _folder_or_skip("VCWORK_REAL", "../shared/real")


@pytest.fixture(scope="session")
def cases() -> Path:
    """Small inputs made from public bug reports, each with what is right; tests are skipped without them."""
    return _folder_or_skip("VCWORK_CASES", "../shared/cases")


@pytest.fixture(scope="session")
def reference() -> Path:
    """Folder of values recorded from the reference code, weights of a small model among them."""
    return ROOT / "tests" / "data" / "reference"


@pytest.fixture(scope="session")
def s3d_vectors() -> Path:
    """Inputs and outputs of the S3D network (6 MB), recorded from the reference code; skipped without them."""
    return _folder_or_skip("VCWORK_REFERENCE", "../shared/reference") / "s3d_vectors.npz"


@pytest.fixture(scope="session")
def weights():
    """`weights("minilm")`: the folder of real weights, fetched once into outputs/weights (workers wait for the first).

    The test is skipped, with the reason, where none of their places can be reached.
    """
    from vcwork.data.backbones.weights import FOLDER, fetch

    told: dict[str, str] = {}

    def folder(name: str) -> Path:
        if name not in told:
            try:
                told[name] = ""
                fetch(name, ROOT / FOLDER / name, progress=False)
            except VcworkError as error:
                told[name] = str(error)
        if told[name]:
            pytest.skip(told[name])
        return ROOT / FOLDER / name

    return folder


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium, for one file of tests: playwright's event loop must not be open while nbval runs."""
    from browser.browsing import chromium  # where a file needs it, so that other tests load no notebook library

    program = chromium()
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    # as root, Chromium's sandbox cannot be had; only pages made here are opened
    arguments = ["--no-sandbox", "--disable-gpu"]
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=program, args=arguments)
        with contextlib.closing(opened):
            yield opened


@pytest.fixture(scope="session")
def ws():
    """The tiny lab world, made or opened; no test changes it."""
    from vcwork.training.workspace import prepare

    return prepare()


@pytest.fixture(scope="session")
def clips(ws):
    """The annotated clips of its test videos."""
    from vcwork.tasks.cases import annotated_clips

    return annotated_clips(ws.corpus, ws.store, "test")


@pytest.fixture(scope="session")
def make_films():
    """Into a folder, films of 1 to n seconds, four frames a second, each second with its own brightness."""

    def make(folder: Path, n: int) -> Path:
        for number in range(1, n + 1):
            levels = (number * 20 + second for second in range(number) for _ in range(4))
            write_mp4(folder / f"v{number}.mp4", (np.full((16, 16, 3), level, np.uint8) for level in levels), 4)
        return folder

    return make
