"""Fixtures of the browser tests; `browsing` says what they are made of and when they are skipped."""

import contextlib

import pytest
from browsing import chromium

from vcwork.evaluation import videos_of
from vcwork.explore import explore
from vcwork.library import build_library
from vcwork.studio import segmentation_studio
from vcwork.widgets.alignment import AlignmentExplorer
from vcwork.widgets.segmentation import SegmentationStudio
from vcwork.workspace import Workspace, prepare


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium, for one file of tests: playwright's event loop must not be open while nbval runs."""
    program = chromium()
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    # as root, Chromium's sandbox cannot be had; only pages made here are opened
    arguments = ["--no-sandbox", "--disable-gpu"]
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=program, args=arguments)
        with contextlib.closing(opened):
            yield opened


@pytest.fixture(scope="session")
def world() -> Workspace:
    """The tiny lab world, made or opened."""
    ws = prepare()
    assert ws.encoder is not None and len(ws.store)
    return ws


@pytest.fixture(scope="session")
def panel(world: Workspace) -> AlignmentExplorer:
    """Notebook 40's panel."""
    clips = {v.id: world.store[v.id] for v in videos_of(world.corpus, world.store, "test")}
    return explore(world.corpus, world.store, world.encoder, library=build_library(world.encoder, clips, per="second"))


@pytest.fixture(scope="session")
def studio(world: Workspace) -> SegmentationStudio:
    """Gamma, window and stride over the test videos."""
    return segmentation_studio(world.corpus, world.store, world.encoder, windows=(8, 4), strides=(4,))
