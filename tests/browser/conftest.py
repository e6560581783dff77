"""Fixtures of the browser tests beside `browser`; `browsing` says what they are made of and when they are skipped."""

import pytest

from vcwork.panels.alignment import AlignmentExplorer
from vcwork.panels.make_alignment import explore
from vcwork.panels.make_segmentation import segmentation_studio
from vcwork.panels.segmentation import SegmentationStudio
from vcwork.search.library import build_library
from vcwork.tasks.cases import videos_of
from vcwork.training.workspace import Workspace, prepare


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
