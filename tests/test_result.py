"""A result never stands alone: chance, interval, trivial scores, and a card that says how it was measured."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from checks import refused

from vcwork.base.errors import VcworkError
from vcwork.measure import intervals, trivial
from vcwork.measure import result as result_tables
from vcwork.measure.card import NEEDS, Card, as_card, one_split
from vcwork.measure.result import Result, as_result, plain
from vcwork.measure.trivial import REGISTRY
from vcwork.workbench.recording import record, recorded

CARD = Card("retrieval", "toy test", "100 clips", pool=100, captions=1, ties="expected")
FIELDS = {"name": "t2v_R@1", "value": 0.5, "low": 0.4, "high": 0.6, "chance": 0.01, "protocol": CARD, "n": 100}
FIELDS |= {"trivial": {"constant score": 0.01}}


def _result(**changes) -> Result:
    return Result(**FIELDS | changes)


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
    refused(message, _result, **changes)


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
    assert (
        _result(trivial={"longest": 0.3}).verdict == "above"
        and _result(trivial={"longest": 0.45}).verdict == "level with"
    )
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
    refused("same metrics", result_tables.seeds_table, [[_result()], [_result(name="other")]])
    refused("at least 2 runs", result_tables.seeds_table, runs[:1])


def test_a_row_shows_every_column_and_the_table_shows_the_row():
    over = {"opponent": "constant score", "difference": 0.113, "low": 0.09, "high": 0.14, "p": 0.01}
    result = _result(value=0.123, paper=0.2, paper_protocol=CARD, extra={"over": over})
    cells = result_tables.row(result)
    assert cells["over it"] == "+11.3 points (+9.0 .. +14.0)", "shares differ by points, not by per cent"
    assert "over it" not in result_tables.results_table([_result()])
    assert result_tables.points(0.0004, -0.0001, 0.0009) == "+0.04 points (-0.01 .. +0.1)"
    assert result_tables.points(-3, unit="rank") == "-3.0", "places need no word"
    assert result.verdict == "above" and replace(result, extra={"over": over | {"low": -0.01}}).verdict == "level with"
    assert replace(result, extra={"over": over | {"low": -0.2, "high": -0.1}}).verdict == "below"
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


# ------------------------------------------------------------------------------------------ what a notebook says


RECORD = FIELDS | {"protocol": CARD.but(model="none", features="none")}


class Other:
    """Something that is no Result but can say what it is."""

    def as_dict(self) -> dict:
        return RECORD | {"name": "v2t_R@1"}


def test_results_dicts_and_lookalikes_arrive_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setenv("VCWORK_RESULTS_DIR", str(tmp_path / "results"))
    dictionary = RECORD | {"name": "t2v_MdR", "unit": "rank", "value": 3, "low": 2, "high": np.int64(4), "chance": 50}
    record([Result(**RECORD), Other(), dictionary], "30_any", hashes={"features": "abc"})
    payload = recorded(tmp_path / "results")
    assert [row["name"] for row in payload["results"]] == ["t2v_R@1", "v2t_R@1", "t2v_MdR"]
    assert payload["results"][0]["value"] == 0.5 and payload["hashes"] == {"features": "abc"}
    assert "t2v_MdR" in capsys.readouterr().out


def test_without_a_runner_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VCWORK_RESULTS_DIR", raising=False)
    monkeypatch.chdir(tmp_path)
    record([RECORD], "30_any")
    assert list(tmp_path.iterdir()) == [] and recorded(tmp_path) == {"results": [], "hashes": {}}


@pytest.mark.parametrize("change, message", [
    ({"extra": {"x": [np.nan]}}, "extra: x"),
    ({"valeu": 1}, "unknown valeu"),
    ({"extra": {"x": object()}}, "object"),
])  # fmt: skip
def test_what_is_no_number_or_no_field_is_refused(change: dict, message: str) -> None:
    refused(message, record, [RECORD | change], "30_any")


def test_missing_fields_and_doubles_are_refused() -> None:
    refused("no chance", record, [{key: value for key, value in RECORD.items() if key != "chance"}], "30_any")
    refused("recorded twice", record, [RECORD, RECORD], "30_any")


def test_plain_values_survive_json() -> None:
    value = plain({"a": np.float32(0.5), "b": (np.arange(2), Path("x")), 3: True, "none": None}, "here")
    assert json.loads(json.dumps(value)) == {"a": 0.5, "b": [[0, 1], "x"], "3": True, "none": None}


FULL = Card(
    "retrieval", "lab test", "zero-shot", 3305, 1, (2, 80), ("first 32 s of a clip", 0.154), "expected",
    ("dual softmax over 27 queries",), "0123456789abcdef" * 4, "none", "videos", 3,
)  # fmt: skip


def _held(card: Card, name: str = "t2v_R@1", **more) -> Result:
    return _result(protocol=card, name=name, **more)


def test_the_sentence_says_everything_the_card_knows():
    assert str(FULL) == (
        "lab test; zero-shot; pool of 3,305; 1 text each; 2 of 80 missing; first 32 s of a clip (15%); "
        "expected ties (3 ties); TEST-TIME TRICK: dual softmax over 27 queries; 95 % interval over videos; "
        "model 01234567, features none"
    )
    assert str(Card(ties="expected", tied=0)) == "expected ties (no ties)" and str(Card(tied=1)) == "1 tie"
    assert str(Card(missing=(0, 8), pool=3.42, captions=2.0)) == "pool of 3.4; 2 texts each; none of 8 missing"


def test_a_card_survives_json_and_compares_as_before():
    again = as_card(json.loads(json.dumps(FULL.as_dict())))
    assert again == FULL and hash(again) == hash(FULL) and Card().as_dict() == {}
    assert (
        json.dumps(Card(pool=np.float64(23.4), captions=np.float64(1)).as_dict()) == '{"pool": 23.4, "captions": 1.0}'
    )


def test_but_adds_to_the_rule_and_replaces_the_rest():
    changed = FULL.but("two clips a video", pool=10, tricks=())
    assert (changed.rule, changed.pool, changed.tricks) == ("zero-shot; two clips a video", 10, ())
    assert changed.split == FULL.split and FULL.pool == 3305


@pytest.mark.parametrize(("field", "value", "message"), [
    ("pool", 0, "pool to be a number above 0, got 0"),
    ("captions", "1", "captions to be a number above 0, got '1'"),
    ("missing", (3, 2), r"missing to be \(absent, expected\) counts"),
    ("truncation", ("cut", 1.5), r"truncation to be \(rule, share from 0 to 1\)"),
    ("ties", "lucky", "ties to be one of expected, optimistic, pessimistic, reference, got 'lucky'"),
    ("cls", "masked", "cls to be one of attended, hidden, got 'masked'"),
    ("windows", "last", "windows to be one of overlapping, first, got 'last'"),
    ("tricks", "dsl", "tricks to be a tuple of names"),
    ("split", None, "split to be a text, got None"),
])  # fmt: skip
def test_a_field_that_cannot_be_is_named(field, value, message):
    refused(f"protocol card: expected {message}", Card, **{field: value})
    refused("expected the fields benchmark, captions", as_card, {"galery": 3})


@pytest.mark.parametrize("task", NEEDS)
def test_no_table_shows_a_result_whose_card_lacks_what_its_task_needs(task, monkeypatch):
    monkeypatch.delenv("VCWORK_RESULTS_DIR", raising=False)
    whole, known = replace(FULL, task=task), dict.fromkeys(REGISTRY.get(task, {}), 0.01)
    for show in (result_tables.results_table, lambda rows: record(rows, "any")):
        show([_held(whole, trivial=known)])
        for name in NEEDS[task]:
            empty = None if name in ("pool", "captions") else ""
            with pytest.raises(VcworkError, match=rf"t2v_R@1 \({task}\): its protocol card lacks {name}$"):
                show([_held(replace(whole, **{name: empty}), trivial=known)])
        refused(r"no task named.*lacks task", show, [_held(replace(whole, task=""))])


def test_a_task_nobody_listed_needs_a_split_and_a_rule():
    assert Card("weather", "toy").lacks() == ["rule"] and Card("weather", rule="r").lacks() == ["split"]


def test_a_record_names_model_and_features_or_takes_the_notebooks(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("VCWORK_RESULTS_DIR", str(tmp_path))
    bare = replace(FULL, model="", features="")
    refused("lacks model, features", record, [_held(bare)], "any")
    ridge = replace(bare, model="ridge on train")
    record([_held(bare), _held(ridge)], "any", {"checkpoint": "c" * 64, "features": "f" * 64})
    rows = recorded(tmp_path)["results"]
    assert [row["card"]["model"] for row in rows] == ["c" * 64, "ridge on train"]
    assert rows[0]["card"]["features"] == "f" * 64 and rows[0]["protocol"].endswith("model cccccccc, features ffffffff")
    assert as_result(rows[0]).protocol.pool == 3305


def test_a_record_older_than_cards_still_opens():
    old = {"name": "R@1", "value": 0.5, "low": 0.4, "high": 0.6, "chance": 0.1, "protocol": "27 clips", "n": 27}
    old |= {"trivial": {}, "paper": None, "extra": {}, "unit": "share"}
    result = as_result(old)
    assert str(result.protocol) == "27 clips" and result.protocol.lacks() == ["task", "split"]
    assert as_result(old | {"paper": 0.2}).paper == 0.2
    refused("no protocol", as_result, {key: value for key, value in old.items() if key != "protocol"})


def test_a_test_time_trick_stands_beside_the_very_name():
    plain, crowd = _held(FULL.but(tricks=())), _held(FULL.but(tricks=("dual softmax",), transductive=True))
    bank = _held(FULL.but(tricks=("query bank of 9 texts of lab train",)))
    names = [result_tables.row(r)["metric"] for r in (plain, crowd, bank)]
    assert names == ["t2v_R@1", "t2v_R@1 [transductive]", "t2v_R@1 [test-time trick]"]
    assert "[transductive]" in result_tables.results_table([crowd])


def test_two_splits_are_never_compared():
    val, test = replace(FULL, split="lab val"), FULL
    message = "numbers of two splits are not compared: 'lab test' and 'lab val'"
    refused(message, result_tables.seeds_table, [[_held(test)], [_held(val)]])
    refused(message, intervals.paired_bootstrap, np.ones(4), np.zeros(4), list("aabb"), cards=(test, val))
    refused(message, _held, test, paper=0.2, paper_protocol=val)
    refused(r"'lab test' and 'unknown \(a record without a card\)'", one_split, [test, Card(rule="old")], "seeds")
    assert intervals.paired_bootstrap(np.ones(4), np.zeros(4), list("aabb"), cards=(test, test)).difference == 1


def test_a_papers_number_stands_only_beside_its_own_protocol():
    published = Card("retrieval", "lab test", pool=1000, ties="expected")
    refused("needs the card of its own protocol", _held, FULL, paper=0.2)
    same = replace(FULL, pool=1000, tricks=())
    assert "22.7 %" in result_tables.results_table([_held(same, paper=0.227, paper_protocol=published)])
    other = result_tables.results_table([_held(FULL.but(tricks=()), paper=0.227, paper_protocol=published)])
    assert "22.7 %" not in other and "not comparable (there pool 1,000)" in other
    stored = _held(same, paper=0.227, paper_protocol=published).as_dict()
    assert stored["paper"] == 0.227 and as_result(stored).paper_protocol == published
