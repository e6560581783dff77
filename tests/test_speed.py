"""`python -m benchmarks`: every stage's two paths agree, records of stages join, and the page says what is stored."""

import json
from pathlib import Path

import pytest

from vcwork.base.errors import VcworkError

STAGES = (
    "data", "step", "captions", "labels", "clips", "segmentation", "localization", "retrieval", "segmented",
    "neighbours", "vectors", "s3d", "decode", "extraction", "startup", "gpu",
)  # fmt: skip
PROCESSES = ("extraction", "startup")  # they start others; what these do is held by test_features and test_rooms
RUN = {"date": "2026-01-01T00:00:00+00:00", "commit": None, "dirty": None, "load_before": [0.0], "floors": {}}
MACHINE = {"name": "m", "processor": "p", "cores": 2, "flags": [], "threads": 2, "torch": "2"}


@pytest.fixture(scope="module")
def speed(root: Path):
    """The command, and parts of the package, which is not installed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(root)
        import benchmarks.__main__ as command
        from benchmarks.speed import page, record, timing
    return command, page, record, timing


@pytest.mark.parametrize("stage", [name for name in STAGES if name not in PROCESSES])
def test_both_paths_of_a_stage_agree(speed, stage: str):
    """Losses, gradients, vectors, scores, pairs, features, frames: asserted inside, on tiny sizes."""
    assert speed[0].main(["--check", stage]) == 0


def test_unequal_results_are_not_timed(speed, monkeypatch, capsys):
    command, *_ = speed
    command.stage("clips")  # loaded
    name = "benchmarks.speed.reference_like.encode_clips"
    monkeypatch.setattr(name, lambda towers, clips: [[0.0] * 32] * len(clips))
    assert command.main(["--check", "clips"]) == 1
    assert "not equal, so not timed: clips, fp32: differ by" in capsys.readouterr().err


def test_every_stage_and_longer_experiment_is_told(speed, root: Path, capsys):
    command, *_ = speed
    assert (*command.STAGES,) == STAGES
    with pytest.raises(SystemExit):
        command.main(["--help"])
    told, programs = capsys.readouterr().out, (path.name for path in (root / "benchmarks").glob("[a-z]*.py"))
    assert all(f"  {name} " in told for name in (*STAGES, *programs))
    with pytest.raises(SystemExit):
        command.main(["stepp"])
    assert "expected stages among data, step" in capsys.readouterr().err


def test_stages_run_apart_join_in_one_record(speed, tmp_path: Path):
    _, page, record, timing = speed
    row = timing.Row("a", {"reference-like": [4.0, 6.0], "ours": [2.0, 2.0]}, 2, "pairs", timing.Asked("ratio", 2.6))
    path = tmp_path / "r.json"
    path.write_text(json.dumps(record.merged(path, MACHINE, RUN, {"x": [row], "y": [row]})))
    both = record.merged(path, MACHINE, RUN, {"y": [row, row]})
    assert [(r["stage"], r["run"]) for r in both["rows"]] == [("x", 0), ("y", 1), ("y", 1)] and len(both["runs"]) == 2
    assert len(record.merged(path, MACHINE, RUN, {"x": [row], "y": [row]})["runs"]) == 1  # the first has no row left
    line = "| a | reference-like | 5 (4 – 6) | 2 (2 – 2) | 2.50 (2.00 – 3.00) | ≥ 2.6 × | 2.50 ×, **not reached** |"
    assert line in page.tables([both])
    with pytest.raises(VcworkError, match="measured on m, this is other"):
        record.merged(path, MACHINE | {"name": "other"}, RUN, {})


def test_the_page_says_what_is_stored(speed, root: Path):
    _, page, *_ = speed
    text, records = (root / page.PAGE).read_text(encoding="utf-8"), page.stored(root)
    assert page.marks("speed").search(text)[0] == page.tables(records), "python -m benchmarks --page draws it anew"
    assert all(record["machine"]["name"] in path.name for record, path in zip(records, page.paths(root), strict=True))
