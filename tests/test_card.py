"""A card says how a number was measured; what it leaves out, no table shows; two splits are never compared."""

import json
from dataclasses import replace

import numpy as np
import pytest

from vcwork.base.errors import VcworkError
from vcwork.measure import intervals
from vcwork.measure import result as result_tables
from vcwork.measure.card import NEEDS, Card, as_card, one_split
from vcwork.measure.result import Result, as_result
from vcwork.measure.trivial import REGISTRY
from vcwork.workbench.recording import record, recorded

FULL = Card(
    "retrieval", "lab test", "zero-shot", 3305, 1, (2, 80), ("first 32 s of a clip", 0.154), "expected",
    ("dual softmax over 27 queries",), "0123456789abcdef" * 4, "none", "videos", 3,
)  # fmt: skip


def _result(card: Card, name: str = "t2v_R@1", **more) -> Result:
    return Result(name, 0.5, 0.4, 0.6, 0.01, card, 100, **({"trivial": {"constant score": 0.01}} | more))


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
    with pytest.raises(VcworkError, match=f"protocol card: expected {message}"):
        Card(**{field: value})
    with pytest.raises(VcworkError, match="expected the fields benchmark, captions"):
        as_card({"galery": 3})


@pytest.mark.parametrize("task", NEEDS)
def test_no_table_shows_a_result_whose_card_lacks_what_its_task_needs(task, monkeypatch):
    monkeypatch.delenv("VCWORK_RESULTS_DIR", raising=False)
    whole, known = replace(FULL, task=task), dict.fromkeys(REGISTRY.get(task, {}), 0.01)
    for show in (result_tables.results_table, lambda rows: record(rows, "any")):
        show([_result(whole, trivial=known)])
        for name in NEEDS[task]:
            empty = None if name in ("pool", "captions") else ""
            with pytest.raises(VcworkError, match=rf"t2v_R@1 \({task}\): its protocol card lacks {name}$"):
                show([_result(replace(whole, **{name: empty}), trivial=known)])
        with pytest.raises(VcworkError, match=r"no task named.*lacks task"):
            show([_result(replace(whole, task=""))])


def test_a_task_nobody_listed_needs_a_split_and_a_rule():
    assert Card("weather", "toy").lacks() == ["rule"] and Card("weather", rule="r").lacks() == ["split"]


def test_a_record_names_model_and_features_or_takes_the_notebooks(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("VCWORK_RESULTS_DIR", str(tmp_path))
    bare = replace(FULL, model="", features="")
    with pytest.raises(VcworkError, match="lacks model, features"):
        record([_result(bare)], "any")
    ridge = replace(bare, model="ridge on train")
    record([_result(bare), _result(ridge)], "any", {"checkpoint": "c" * 64, "features": "f" * 64})
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
    with pytest.raises(VcworkError, match="no protocol"):
        as_result({key: value for key, value in old.items() if key != "protocol"})


def test_a_test_time_trick_stands_beside_the_very_name():
    plain, crowd = _result(FULL.but(tricks=())), _result(FULL.but(tricks=("dual softmax",), transductive=True))
    bank = _result(FULL.but(tricks=("query bank of 9 texts of lab train",)))
    names = [result_tables.row(r)["metric"] for r in (plain, crowd, bank)]
    assert names == ["t2v_R@1", "t2v_R@1 [transductive]", "t2v_R@1 [test-time trick]"]
    assert "[transductive]" in result_tables.results_table([crowd])


def test_two_splits_are_never_compared():
    val, test = replace(FULL, split="lab val"), FULL
    message = "numbers of two splits are not compared: 'lab test' and 'lab val'"
    with pytest.raises(VcworkError, match=message):
        result_tables.seeds_table([[_result(test)], [_result(val)]])
    with pytest.raises(VcworkError, match=message):
        intervals.paired_bootstrap(np.ones(4), np.zeros(4), list("aabb"), cards=(test, val))
    with pytest.raises(VcworkError, match=message):
        _result(test, paper=0.2, paper_protocol=val)
    with pytest.raises(VcworkError, match=r"'lab test' and 'unknown \(a record without a card\)'"):
        one_split([test, Card(rule="old")], "seeds")
    assert intervals.paired_bootstrap(np.ones(4), np.zeros(4), list("aabb"), cards=(test, test)).difference == 1


def test_a_papers_number_stands_only_beside_its_own_protocol():
    published = Card("retrieval", "lab test", pool=1000, ties="expected")
    with pytest.raises(VcworkError, match="needs the card of its own protocol"):
        _result(FULL, paper=0.2)
    same = replace(FULL, pool=1000, tricks=())
    assert "22.7 %" in result_tables.results_table([_result(same, paper=0.227, paper_protocol=published)])
    other = result_tables.results_table([_result(FULL.but(tricks=()), paper=0.227, paper_protocol=published)])
    assert "22.7 %" not in other and "not comparable (there pool 1,000)" in other
    stored = _result(same, paper=0.227, paper_protocol=published).as_dict()
    assert stored["paper"] == 0.227 and as_result(stored).paper_protocol == published
