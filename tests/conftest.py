"""Shared fixtures: where the optional real data lies. A test that asks for data which is absent is skipped, by name.

`VCWORK_REAL` and `VCWORK_REFERENCE` point elsewhere than the neighbours `../shared/real` and `../shared/reference`.
"""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


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
def reference() -> Path:
    """Folder of values recorded from the reference code; the test is skipped without it."""
    return _folder_or_skip("VCWORK_REFERENCE", "../shared/reference")
