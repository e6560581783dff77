"""Fixtures of the browser tests beside `browser`; `browsing` says what they are made of and when they are skipped."""

import pytest

from vcwork.panels.alignment import AlignmentExplorer
from vcwork.panels.make_alignment import explore
from vcwork.panels.make_segmentation import segmentation_studio
from vcwork.panels.segmentation import SegmentationStudio
from vcwork.search.library import build_library
from vcwork.tasks.cases import videos_of
from vcwork.training.workspace import Workspace


@pytest.fixture(scope="session")
def panel(ws: Workspace) -> AlignmentExplorer:
    """Notebook 40's panel."""
    clips = {v.id: ws.store[v.id] for v in videos_of(ws.corpus, ws.store, "test")}
    return explore(ws.corpus, ws.store, ws.encoder, library=build_library(ws.encoder, clips, per="second"))


@pytest.fixture(scope="session")
def studio(ws: Workspace) -> SegmentationStudio:
    """Gamma, window and stride over the test videos."""
    return segmentation_studio(ws.corpus, ws.store, ws.encoder)
