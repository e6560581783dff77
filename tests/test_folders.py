"""A folder that belongs together: begun, finished, opened; what is somebody else's stays as it is."""

import os
import subprocess
import sys

import pytest
from checks import edited, refused

from vcwork.base.sealed import MARK, Kind, begin, read_manifest, seal, write_manifest

BOX = Kind("box", "vcwork-box-1", owns=("in", "a.txt"))


def test_a_folder_is_begun_filled_and_finished(tmp_path):
    box = tmp_path / "new" / "box"
    begin(box, BOX)
    refused("incomplete box", read_manifest, box, BOX)
    (box / "a.txt").write_text("a")
    (box / ".DS_Store").write_text("a file manager's")
    begin(box, BOX)  # an interrupted one goes on, whatever came into it
    (box / ".DS_Store").unlink()
    write_manifest(box, BOX, {"files": {"a.txt": seal(box / "a.txt")}})
    assert sorted(path.name for path in box.iterdir()) == ["a.txt", "manifest.json"]
    begin(box, BOX)  # a finished one may be written anew
    assert not (box / MARK).exists() and read_manifest(box, BOX, verify=True)["files"]["a.txt"]["bytes"] == 1


@pytest.mark.parametrize("name", ["a.txt", "in", "diary.txt", "a-2024.txt"])
@pytest.mark.parametrize("finished", [False, True])
def test_a_folder_of_somebody_else_is_never_written_into(tmp_path, name, finished):
    """Also where their file has the very name of one of ours."""
    if finished:
        begin(tmp_path, BOX)
        write_manifest(tmp_path, BOX, {"files": {}})
    (tmp_path / name).write_text("dear")
    if not finished or name not in BOX.owns:
        refused(f"expected a new folder, or one of a box; it holds {name}", begin, tmp_path, BOX)
    assert (tmp_path / name).read_text() == "dear" and not (tmp_path / MARK).exists()


def test_data_of_others_may_be_named_as_what_we_begin_with(tmp_path):
    parcel = Kind("parcel", "vcwork-parcel-1", begun=("train.json",))
    (tmp_path / "train.json").write_text('{"format": "COCO"}')
    (tmp_path / "vocab.txt").write_text("dear")
    refused("or one of a parcel; it holds vocab.txt", begin, tmp_path, parcel)


def test_what_cannot_be_a_folder_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    refused("file: could not be made, written or read .File exists", begin, tmp_path / "file", BOX)
    refused("could not be made, written or read .Not a directory", begin, tmp_path / "file" / "below", BOX)


@pytest.mark.parametrize("finished", [False, True])
def test_a_mark_that_is_no_file_is_not_ours(tmp_path, finished):
    if finished:
        begin(tmp_path, BOX)
        write_manifest(tmp_path, BOX, {"files": {}})
    (tmp_path / MARK).mkdir()
    refused(f"or one of a box; it holds {MARK}", begin, tmp_path, BOX)


def test_an_edit_is_seen_at_a_cheap_open(tmp_path):
    begin(tmp_path, BOX)
    write_manifest(tmp_path, BOX, {"files": {}, "fps": 1.0})
    edited(tmp_path, BOX, {"fps": 2.0}, seal=False)
    refused("its own digest .* differs", read_manifest, tmp_path, BOX)


UNGUARDED = """
import multiprocessing
from pathlib import Path
from vcwork.base.files import alone
with alone(Path("box")):
    worker = multiprocessing.get_context("spawn").Process(target=print)
    worker.start()
    worker.join()
    print("ended with", worker.exitcode)
"""


def test_a_script_without_a_guard_says_so_instead_of_waiting_for_itself(tmp_path, root):
    (tmp_path / "mine.py").write_text(UNGUARDED)
    env = os.environ | {"PYTHONPATH": str(root)}
    run = subprocess.run(
        [sys.executable, "mine.py"], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60, check=True
    )
    assert run.stdout == "ended with 1\n" and "Traceback" not in run.stderr
    assert 'put what it does under `if __name__ == "__main__":`' in run.stderr
