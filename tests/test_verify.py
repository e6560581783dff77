"""`verify`: what lies somewhere, whether it is whole, which file is not; and `--seal` for what was edited knowingly."""

from pathlib import Path

import numpy as np
import pytest
from checks import edited, refused

from vcwork import __main__ as cli
from vcwork.base.sealed import begin, write_sealed
from vcwork.data.store import STORE, Contract, write_store
from vcwork.workbench.verify import look, verify


def write_folder(folder: Path) -> Path:
    """A feature store of two videos."""
    write_store(folder, Contract("toy", "none", 1.0, 8, "none", 4), {id: np.ones((9, 4)) for id in "ab"})
    return folder


@pytest.fixture
def store(tmp_path):
    """Two folders down."""
    return write_folder(tmp_path / "made" / "features")


def told(path) -> str:
    lines = []
    told.whole = verify([path], told=lines.append)
    return "\n".join(lines)


def test_a_whole_folder_is_told_with_what_it_is(tmp_path, store):
    assert "feature store: whole (" in told(tmp_path) and told.whole
    assert str(store) in told(tmp_path)
    assert "file of" in told(next(store.glob("*.npy"))) and told.whole


def test_every_fault_is_named_with_its_file_and_digest(tmp_path, store):
    shard = next(store.glob("shard-*.npy"))
    raw = bytearray(shard.read_bytes())
    raw[-3] ^= 4
    shard.write_bytes(raw)
    for path in (tmp_path, store, shard):
        text = told(path)
        assert "sha256 differs" in text and shard.name in text and not told.whole
    assert "NOT WHOLE" in text
    shard.unlink()
    assert "no such file" in told(tmp_path) and not told.whole


def test_a_manifest_speaks_for_itself(store):
    edited(store, STORE, {"contract": {"backbone": "other"}}, seal=False)
    assert "its own digest" in told(store) and not told.whole
    assert cli.main(["verify", str(store)]) == 1
    (store / "manifest.json").write_text("[1")
    assert "not readable as JSON" in told(store) and not told.whole
    (store / "manifest.json").write_text('{"format": "vcwork-features-9"}')
    assert "expected format 'vcwork-features-1', got 'vcwork-features-9'" in told(store) and not told.whole
    (store / "manifest.json").write_text('{"name": "somebody\'s web page"}')
    refused("expected something that is sealed", told, store)


def test_the_same_values_in_other_bytes_are_told(store):
    """A flipped bit makes `E` of the `e` in 1e-3, which is the same number; a key given twice hides the first."""
    edited(store, STORE, {"rate": 1e-9})
    manifest = store / "manifest.json"
    whole = manifest.read_text()
    twice, other = whole.replace('"rate"', '"rate": 2, "rate"'), whole.replace("1e-09", "1E-09")
    for changed in (twice, other, whole.replace("\n", "\r\n")):
        assert changed != whole
        manifest.write_text(changed, newline="")
        assert "not in the bytes that were written" in told(store) or "given twice" in told(store)
        assert not told.whole
    assert verify([store], seal=True, told=str) and manifest.read_text() == whole


def test_what_was_begun_and_never_finished_is_told(tmp_path, store):
    begin(tmp_path / "made" / "other", STORE)
    assert "other: unfinished folder: NOT WHOLE" in told(tmp_path) and not told.whole
    assert "unfinished" not in told(store)


def test_a_single_file_with_a_digest_is_found_and_damage_to_its_end_as_well(tmp_path):
    file = tmp_path / "made" / "words.json"
    write_sealed(file, {"key": [1, 2], "value": "said"})
    whole = file.read_bytes()
    assert "words.json: file with a digest: whole (1 file" in told(tmp_path) and told.whole
    for place in range(len(whole)):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << place % 8]) + whole[place + 1 :])
        assert "NOT WHOLE" in told(tmp_path), place
    for cut in (len(whole) // 3, len(whole) - 5):
        file.write_bytes(whole[:cut])
        assert "NOT WHOLE" in told(tmp_path), cut
    theirs = '{\n "key": 3\n}\n'
    (tmp_path / "made" / "metrics.json").write_text(theirs)
    file.write_text(theirs)
    refused("expected something that is sealed", verify, [tmp_path], seal=True)
    assert file.read_text() == theirs
    file.write_text('{\n "format": "vcwork-metrics-2"\n}\n')  # ours, of a version that had no digests
    assert "its own digest" in told(tmp_path) and verify([tmp_path], seal=True, told=str)
    assert told(tmp_path) and told.whole


@pytest.mark.parametrize("instead", [None, Path.mkdir, lambda path: path.symlink_to("/no/where")])
def test_numbers_of_a_run_without_its_record_are_not_whole(tmp_path, instead):
    write_sealed(tmp_path / "metrics.json", {"format": "vcwork-metrics-2", "results": []})
    if instead:
        instead(tmp_path / "run.json")
    assert "NOT WHOLE" in told(tmp_path) and "run.json: no such file" in told(tmp_path)
    write_sealed(tmp_path / "metrics.json", {"results": []})  # a notebook's, which a run's record is not beside
    assert told(tmp_path) and told.whole


def test_seal_takes_an_edit_as_it_is_and_never_another_file(store, capsys):
    edited(store, STORE, {"note": "by hand"}, seal=False)
    assert cli.main(["verify", "--seal", str(store)]) == 0 and "whole (" in capsys.readouterr().out
    assert verify([store])
    edited(store, STORE, {"note": "again"}, seal=False)
    shard = next(store.glob("shard-*.npy"))
    shard.write_bytes(shard.read_bytes()[:-1])
    before = (store / "manifest.json").read_bytes()
    assert cli.main(["verify", "--seal", str(store)]) == 1
    assert (store / "manifest.json").read_bytes() == before


def test_where_nothing_is_sealed_is_a_mistake(tmp_path, capsys):
    refused("no such file or folder", verify, [tmp_path / "none"])
    (tmp_path / "notes.txt").write_text("mine")
    refused("expected something that is sealed", verify, [tmp_path])
    refused("no manifest of a folder above it speaks of this file", verify, [tmp_path / "notes.txt"])
    assert cli.main(["verify", str(tmp_path)]) == 2 and "found none" in capsys.readouterr().err


def test_what_a_manifest_names_outside_of_its_folder_is_not_read(tmp_path, store):
    edited(store, STORE, lambda stored: stored.update(files={"../../secret": {"bytes": 1, "sha256": "0" * 64}}))
    assert "expected a plain file name" in told(store) and not told.whole


def test_one_fault_hides_no_other(tmp_path, store):
    other = tmp_path / "made" / "b"
    write_folder(other)
    (store / "manifest.json").write_text("{")
    assert [bool(found.faults) for found in look(tmp_path)] == [False, True]
