"""The paper's numbers: beside results of the very benchmark only, never an error, and never where they mislead."""

from dataclasses import replace

import numpy as np
import pytest

from vcwork.data.corpus import Corpus
from vcwork.measure import result as result_tables
from vcwork.measure.card import Card
from vcwork.measure.result import Result, as_result
from vcwork.review.published import ROWS, part_of, with_paper
from vcwork.tasks import retrieval


def corpus(name: str = "") -> Corpus:
    meta = {"benchmark": {"name": name, "splits": {}}} if name else {}
    return Corpus(None, name or "lab", {}, meta=meta)


def result(name: str, split: str, pool: float, n: int = 1000, task: str = "retrieval", **more) -> Result:
    card = Card(task, split, "some rule", pool=pool, captions=1, ties="expected")
    trivial = {"constant score": 0.0, "longest caption": 0.0, "list order": 0.0}
    return Result(name, 0.2, 0.1, 0.3, 1 / pool, card, n, trivial, **more)


def cell(one: Result) -> str:
    return result_tables.row(one)["paper"]


def test_every_row_is_a_number_of_the_papers_tables():
    """Against Tables 1 to 5 of the paper, typed here once more."""
    typed = {
        ("YouCook2", "t2v_R@1"): 0.227, ("YouCook2", "t2v_R@5"): 0.504, ("YouCook2", "t2v_R@10"): 0.631,
        ("MSR-VTT", "t2v_R@1"): 0.104, ("MSR-VTT", "t2v_R@5"): 0.222, ("MSR-VTT", "t2v_R@10"): 0.300,
        ("YouCook2", "t2v_instance_R@1"): 0.227, ("MSR-VTT", "t2v_instance_R@1"): 0.104,
        ("MSR-VTT-QA", "qa_accuracy"): 0.739, ("COIN", "paper_gamma_frame_accuracy"): 0.589,
        ("CrossTask", "recall"): 0.339, ("DiDeMo", "moment_rank1"): 0.166, ("DiDeMo", "moment_rank5"): 0.469,
        ("DiDeMo", "reference_moment_rank1"): 0.166, ("DiDeMo", "reference_moment_rank5"): 0.469,
    }  # fmt: skip
    assert {key: row.value for key, row in ROWS.items()} == typed


@pytest.mark.parametrize("split, part", [
    ("YouCook2 val 3,305 (paper)", "YouCook2 val"),
    ("YouCook2 val 3,260 of 3,350 (HowTo100M csv)", "YouCook2 val"),
    ("YouCook2 train 2 (official json): val carved from it", "YouCook2 train"),
    ("MSR-VTT 1k-A 998 of 1,000", "MSR-VTT 1k-A"),
    ("MSR-VTT full test 2,990 videos", "MSR-VTT full test videos"),
    ("CrossTask test 1,690 videos of 18 tasks (30 a task to train, RandomState(0))", "CrossTask test videos of tasks"),
])  # fmt: skip
def test_part_of_a_benchmark(split: str, part: str):
    assert part_of(split) == part


def test_the_papers_number_stands_where_the_protocol_is_its_own():
    (found,) = with_paper([result("t2v_R@1", "MSR-VTT 1k-A 1,000", 1000)], corpus("MSR-VTT"))
    assert cell(found) == "10.4 %" and "MSR-VTT 1k-A 1,000" in found.paper_protocol.rule
    assert as_result(found.as_dict()).paper_protocol == found.paper_protocol


@pytest.mark.parametrize("split, pool", [
    ("YouCook2 val 3,350 (HowTo100M csv)", 3350), ("YouCook2 val 3,260 of 3,350 (HowTo100M csv)", 3260),
    ("YouCook2 val 4 (official json)", 4),
])  # fmt: skip
def test_another_gallery_of_the_same_part_is_named_and_no_error(split: str, pool: int):
    (found,) = with_paper([result("t2v_R@1", split, pool)], corpus("YouCook2"))
    assert cell(found) == "not comparable (pool)" and "22.7" not in result_tables.results_table([found])
    assert "YouCook2 val 3,305 (paper)" in found.paper_protocol.rule


def test_other_parts_other_corpora_and_other_metrics_get_nothing():
    carved = result("t2v_R@1", "YouCook2 train 900 (official json): val carved from it", 3305)
    mdr = result("t2v_MdR", "YouCook2 val 3,305 (paper)", 3305)
    assert with_paper([carved, mdr], corpus("YouCook2")) == [carved, mdr]
    lab = result("t2v_R@1", "YouCook2 val 3,305 (paper)", 3305)  # whatever a lab corpus calls its split
    assert with_paper([lab], corpus()) == [lab] and with_paper([lab], corpus("MSR-VTT")) == [lab]


def test_a_difference_that_no_field_of_the_card_holds_is_said_in_words():
    fewer = result("qa_accuracy", "MSR-VTT-QA multiple choice 2,900 of 2,990", 5, 2900, "videoqa")
    lost = result("qa_accuracy", "MSR-VTT-QA multiple choice 2,990", 5, 2980, "videoqa")
    whole = result("qa_accuracy", "MSR-VTT-QA multiple choice 2,990", 5, 2990, "videoqa")
    fewer, lost, whole = with_paper([fewer, lost, whole], corpus("MSR-VTT-QA"))
    assert cell(fewer) == cell(lost) == "" and cell(whole) == "73.9 %"
    assert "73.9 % is not comparable: measured on MSR-VTT-QA multiple choice 2,990" in str(fewer.protocol)
    assert "not comparable: measured on 2,990 items" in str(lost.protocol)
    assert fewer.protocol.split != whole.protocol.split and fewer.protocol.pool == 5


def test_repeated_texts_are_not_the_papers_way_but_the_very_pair_is():
    scores, card = np.eye(1000), Card(split="MSR-VTT 1k-A 1,000")
    for groups, there in ((np.arange(1000), "10.4 %"), (np.arange(1000) // 2, "")):
        own = retrieval.evaluate(scores, groups, groups, np.arange(1000), np.arange(1000), setting=card, n_boot=2)
        named = {r.name: r for r in with_paper(own, corpus("MSR-VTT"))}
        assert cell(named["t2v_R@1"]) == there and cell(named["t2v_instance_R@1"]) == "10.4 %"
        assert ("only the very pair counts" in named["t2v_R@5"].protocol.rule) == (there == "")
    own = retrieval.evaluate(scores, groups, groups, np.arange(1000), np.arange(1000), ties="reference", setting=card,
                             n_boot=2)  # fmt: skip
    assert [cell(r) for r in with_paper(own, corpus("MSR-VTT"))] == ["10.4 %", "22.2 %", "30.0 %", ""]


def test_moments_have_a_mean_pool_and_the_benchmarks_own_order():
    split = "DiDeMo test 4,021 sentences (moments, not paragraphs)"
    ours = result("moment_rank5", split, 20.9, 4021, "didemo")
    order = replace(ours, name="reference_moment_rank5", protocol=ours.protocol.but(ties="reference"))
    assert [cell(r) for r in with_paper([ours, order], corpus("DiDeMo"))] == ["not comparable (ties)", "46.9 %"]


def test_a_test_time_trick_is_never_compared():
    one = result("t2v_R@1", "MSR-VTT 1k-A 1,000", 1000)
    one = replace(one, protocol=one.protocol.but(tricks=("dual softmax",)))
    (found,) = with_paper([one], corpus("MSR-VTT"))
    assert cell(found) == "" and "10.4 % is not comparable: there without dual softmax" in found.protocol.rule
