"""A result never stands alone: no number without chance, interval, trivial scores and a protocol."""

import json
from dataclasses import replace

import numpy as np
import pytest

from vcwork.base.errors import VcworkError
from vcwork.measure import result as result_tables
from vcwork.measure import trivial
from vcwork.measure.card import Card
from vcwork.measure.result import Result, as_result
from vcwork.workbench.recording import record

CARD = Card("retrieval", "toy test", "100 clips", pool=100, captions=1, ties="expected")


def _result(**changes) -> Result:
    given = {
        "name": "t2v_R@1", "value": 0.5, "low": 0.4, "high": 0.6, "chance": 0.01, "protocol": CARD, "n": 100,
        "trivial": {"constant score": 0.01},
    }  # fmt: skip
    return Result(**given | changes)


# ---------------------------------------------------------------------------------------------------- results


@pytest.mark.parametrize(("changes", "message"), [
    ({"value": float("nan")}, "expected value to be a finite number"),
    ({"chance": None}, "expected chance to be a finite number"),
    ({"protocol": Card()}, "expected a name and a protocol card"),
    ({"protocol": "100 clips"}, "expected a name and a protocol card, got '100 clips'"),
    ({"trivial": {"longest": float("nan")}}, "expected longest to be a finite number"),
    ({"low": 0.7, "high": 0.6}, "low 0.7 above high 0.6"),
    ({"n": 0}, "n 0 below 1"),
    ({"unit": "percent"}, "expected unit to be one of share, rank"),
])  # fmt: skip
def test_a_result_without_its_company_is_refused(changes, message):
    with pytest.raises(VcworkError, match=message):
        _result(**changes)


def test_chance_and_protocol_cannot_be_left_out():
    with pytest.raises(TypeError):
        Result("t2v_R@1", 0.5, 0.4, 0.6)


def test_result_as_dict_is_json_and_numpy_numbers_become_plain():
    stored = json.loads(json.dumps(_result(value=np.float32(0.5)).as_dict(), allow_nan=False))
    assert stored["value"] == 0.5 and stored["chance"] == 0.01 and stored["unit"] == "share"
    assert stored["protocol"] == str(CARD) and stored["card"]["pool"] == 100
    assert as_result(stored) == _result()


def test_best_trivial_and_times_chance_know_the_direction():
    assert _result(trivial={"longest": 0.3, "random": 0.2}).best_trivial == ("longest", 0.3)
    assert _result(trivial={"constant score": 0.01 + 1e-15}).best_trivial[0] == "chance"  # rounding beats nobody
    told = _result(trivial={"constant score": 0.02, "video known": 0.4, "recipe known": 0.1})
    assert told.best_trivial == ("constant score", 0.02) and told.best_told == ("video known", 0.4)
    assert _result().best_told is None and "if told" not in result_tables.results_table([_result()])
    assert "40.0 % video known" in result_tables.results_table([told])
    rank = _result(value=5, low=4, high=6, chance=50, trivial={"constant": 60}, unit="rank")
    assert rank.best_trivial == ("chance", 50)
    assert _result().times_chance == pytest.approx(50) and rank.times_chance == 10


def test_text_table():
    other = {"trivial": {"constant score": 50}, "unit": "rank", "protocol": CARD.but("other")}
    rank = _result(name="t2v_MdR", value=5, low=4, high=6, chance=50, **other)
    assert result_tables.results_table([_result(), rank]).splitlines() == [
        "metric   value   95 % interval     chance  best trivial  n    protocol",
        "-------  ------  ----------------  ------  ------------  ---  --------",
        "t2v_R@1  50.0 %  40.0 % .. 60.0 %  1.0 %   1.0 % chance  100  [1]",
        "t2v_MdR  5.0     4.0 .. 6.0        50.0    50.0 chance   100  [2]",
        "",
        "[1] toy test; 100 clips; pool of 100; 1 text each; expected ties",
        "[2] toy test; 100 clips; other; pool of 100; 1 text each; expected ties",
    ]


def test_any_small_table():
    table = result_tables.text_table(("gamma", "value"), [("chosen", 0.5), ("paper", 12)])
    assert table.splitlines() == ["gamma   value", "------  -----", "chosen  0.5", "paper   12"]


def test_small_shares_keep_a_digit_that_says_something():
    shown = [result_tables.show(v) for v in (0, 0.0003, 0.02, 1)]
    assert shown == ["0.0 %", "0.03 %", "2.0 %", "100.0 %"] and result_tables.show(17, "rank") == "17.0"


def test_paper_column_appears_only_when_there_is_one():
    assert "paper" not in result_tables.results_table([_result()])
    table = result_tables.results_table([_result(paper=0.227, paper_protocol=CARD), _result()])
    assert "paper" in table and "22.7 %" in table


def test_over_seeds():
    runs = [[_result(value=v)] for v in (0.5, 0.6, 0.7)]
    assert result_tables.seeds_table(runs).splitlines()[2].split("  ") == [
        "t2v_R@1", "60.0 %", "35.2 % .. 84.8 %", "50.0 % .. 70.0 %", "1.0 %", " 50.0 %, 60.0 %, 70.0 %",
    ]  # fmt: skip
    with pytest.raises(VcworkError, match="same metrics"):
        result_tables.seeds_table([[_result()], [_result(name="other")]])
    with pytest.raises(VcworkError, match="at least 2 runs"):
        result_tables.seeds_table(runs[:1])


def test_a_row_shows_every_column_and_the_table_shows_the_row():
    over = {"opponent": "constant score", "difference": 0.113, "low": 0.09, "high": 0.14, "p": 0.01}
    result = _result(value=0.123, paper=0.2, paper_protocol=CARD, extra={"over": over})
    cells = result_tables.row(result)
    assert cells["over it"] == "11.3 % (9.0 % .. 14.0 %)" and "over it" not in result_tables.results_table([_result()])
    for column in ("value", "95 % interval", "over it", "paper", "n"):
        assert cells[column] in result_tables.results_table([result])


@pytest.mark.parametrize("task", trivial.REGISTRY)
def test_a_result_of_a_registered_task_without_its_trivial_rows_is_refused(task, monkeypatch):
    monkeypatch.delenv("VCWORK_RESULTS_DIR", raising=False)
    always = [name for name, p in trivial.REGISTRY[task].items() if not p.needs]
    assert always, f"{task} has no predictor that is always there"
    card = Card(task, "toy test", "a rule", pool=100, captions=1, ties="expected", model="m", features="f")
    whole = _result(protocol=card, trivial=dict.fromkeys(always, 0.1))
    for show in (result_tables.results_table, lambda rows: record(rows, "any")):
        show([whole])
        for name in always:
            with pytest.raises(VcworkError, match=rf"\({task}\): stands without its trivial predictors {name}$"):
                show([replace(whole, trivial={key: 0.1 for key in always if key != name})])
