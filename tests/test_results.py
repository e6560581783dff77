"""record(): what a notebook says is what the runner reads; what is no number is refused."""

import json
from pathlib import Path

import numpy as np
import pytest

from vcwork.base.errors import VcworkError
from vcwork.measure.card import Card
from vcwork.measure.result import Result, plain
from vcwork.workbench.recording import record, recorded

CARD = Card("retrieval", "toy test", pool=100, captions=1, ties="expected", model="none", features="none")
FIELDS = {"name": "t2v_R@1", "value": 0.5, "low": 0.4, "high": 0.6, "chance": 0.01, "protocol": CARD, "n": 100}
FIELDS |= {"trivial": {"constant score": 0.01}}


class Other:
    """Something that is no Result but can say what it is."""

    def as_dict(self) -> dict:
        return FIELDS | {"name": "v2t_R@1"}


def test_results_dicts_and_lookalikes_arrive_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setenv("VCWORK_RESULTS_DIR", str(tmp_path / "results"))
    dictionary = FIELDS | {"name": "t2v_MdR", "unit": "rank", "value": 3, "low": 2, "high": np.int64(4), "chance": 50}
    record([Result(**FIELDS), Other(), dictionary], "30_any", hashes={"features": "abc"})
    payload = recorded(tmp_path / "results")
    assert [row["name"] for row in payload["results"]] == ["t2v_R@1", "v2t_R@1", "t2v_MdR"]
    assert payload["results"][0]["value"] == 0.5 and payload["hashes"] == {"features": "abc"}
    assert "t2v_MdR" in capsys.readouterr().out


def test_without_a_runner_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VCWORK_RESULTS_DIR", raising=False)
    monkeypatch.chdir(tmp_path)
    record([FIELDS], "30_any")
    assert list(tmp_path.iterdir()) == [] and recorded(tmp_path) == {"results": [], "hashes": {}}


@pytest.mark.parametrize(
    "change, message",
    [
        ({"value": float("nan")}, "value"),
        ({"chance": np.inf}, "chance"),
        ({"extra": {"x": [np.nan]}}, "extra: x"),
        ({"trivial": {"order": float("nan")}}, "order"),
        ({"valeu": 1}, "unknown valeu"),
        ({"extra": {"x": object()}}, "object"),
    ],
)
def test_what_is_no_number_or_no_field_is_refused(change: dict, message: str) -> None:
    with pytest.raises(VcworkError, match=message):
        record([FIELDS | change], "30_any")


def test_missing_fields_and_doubles_are_refused() -> None:
    with pytest.raises(VcworkError, match="no chance"):
        record([{key: value for key, value in FIELDS.items() if key != "chance"}], "30_any")
    with pytest.raises(VcworkError, match="recorded twice"):
        record([FIELDS, FIELDS], "30_any")


def test_plain_values_survive_json() -> None:
    value = plain({"a": np.float32(0.5), "b": (np.arange(2), Path("x")), 3: True, "none": None}, "here")
    assert json.loads(json.dumps(value)) == {"a": 0.5, "b": [[0, 1], "x"], "3": True, "none": None}
