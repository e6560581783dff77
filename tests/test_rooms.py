"""The house: which room may import which, what a door offers, and that `core/` can be read in one sitting."""

import importlib
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

import vcwork

ROOMS = ["base", "core", "measure", "data", "encoders", "tasks", "search", "training", "review", "panels", "workbench"]


def test_rooms_and_nothing_else_at_the_top(root):
    found = {path.name for path in (root / "vcwork").iterdir() if path.name != "__pycache__"}
    assert found == {*ROOMS, "__init__.py", "__main__.py"}


def test_imports_go_one_way(root):
    """The contracts of pyproject.toml: layers, no circle, no torch where none is needed."""
    script = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([script, "--no-cache"], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]


def test_core_is_read_in_one_sitting(root):
    lines = {
        path.name: len(path.read_text(encoding="utf-8").splitlines()) for path in (root / "vcwork/core").glob("*.py")
    }
    assert sum(lines.values()) <= 1700, lines


@pytest.mark.parametrize("room", ROOMS)
def test_a_door_offers_what_is_there(root, room):
    """Every name resolves, always to the same thing: no file of the room has a door's name, which would hide it."""
    package = importlib.import_module(f"vcwork.{room}")
    assert package.__doc__ and package.__doc__.strip()
    files = {path.stem for path in (root / "vcwork" / room).iterdir()}
    names = getattr(package, "__all__", [])
    assert not files & set(names)
    for name in names:
        assert getattr(package, name) is getattr(package, name)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = package.nothing


def test_public_names_stay_what_they_are():
    """`vcwork.search` is a room and a verb: it answers a call whatever was imported before."""
    assert len(vcwork.__all__) == 19
    for room in ROOMS:
        importlib.import_module(f"vcwork.{room}")
    for name in vcwork.__all__:
        assert callable(getattr(vcwork, name)), name
    from vcwork import evaluation, metrics, plots

    assert evaluation.annotated_clips and metrics.recall_at_k and plots.colour


def test_notebooks_come_in_by_the_doors(root):
    paths = set()
    for path in (root / "notebooks").glob("*.ipynb"):
        for cell in nbformat.read(path, as_version=4).cells:
            if cell.cell_type == "code":
                words = [
                    line.split()
                    for line in cell.source.splitlines()
                    if line.startswith(("from vcwork", "import vcwork"))
                ]
                paths |= {word[1] for word in words}
    assert paths <= {"vcwork", *(f"vcwork.{room}" for room in ROOMS)}
