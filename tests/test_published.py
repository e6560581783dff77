"""The paper's numbers: beside results of the very benchmark only, never an error, and never where they mislead."""

from dataclasses import replace

import numpy as np
import pytest

from vcwork.data.corpus import Corpus
from vcwork.measure import result as result_tables
from vcwork.measure.card import Card
from vcwork.measure.result import Result, as_result
from vcwork.review.published import ROWS, with_paper
from vcwork.tasks import retrieval

PAPERS_WAY = {"right": "own pair", "windows": "first", "cls": "attended"}


def corpus(name: str = "", test: str = "") -> Corpus:
    """A benchmark whose test split has this full name; without a name, no benchmark."""
    meta = {"benchmark": {"name": name, "splits": {"train": "some train", "test": test}}} if name else {}
    return Corpus(None, name or "lab", {}, meta=meta)


def beside(*results: Result, benchmark: str) -> list[Result]:
    return with_paper(results, corpus(benchmark, results[0].protocol.split))


def result(name: str, split: str, pool: float, n: int = 1000, task: str = "retrieval", **more) -> Result:
    card = Card(task, split, "some rule", pool=pool, captions=1, ties="expected", **PAPERS_WAY)
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
    assert {key: claim.published for key, claim in ROWS.items()} == typed


def test_the_papers_number_stands_where_the_protocol_is_its_own():
    (found,) = beside(result("t2v_R@1", "MSR-VTT 1k-A 1,000", 1000), benchmark="MSR-VTT")
    assert cell(found) == "10.4 %" and "MSR-VTT 1k-A 1,000" in found.paper_protocol.rule
    assert as_result(found.as_dict()).paper_protocol == found.paper_protocol


@pytest.mark.parametrize("split, pool", [
    ("YouCook2 val 3,350 (HowTo100M csv)", 3350), ("YouCook2 val 3,260 of 3,350 (HowTo100M csv)", 3260),
    ("YouCook2 val 4 (official json)", 4),
])  # fmt: skip
def test_another_gallery_of_the_same_part_is_named_and_no_error(split: str, pool: int):
    (found,) = beside(result("t2v_R@1", split, pool), benchmark="YouCook2")
    assert cell(found) == "not comparable (there pool 3,305)" and "22.7" not in result_tables.results_table([found])
    assert "YouCook2 val 3,305 (paper)" in found.paper_protocol.rule


@pytest.mark.parametrize("field, ours, said", [
    ("windows", "overlapping", "windows first"), ("cls", "hidden", "cls attended"), ("cls", "", "cls attended"),
    ("right", "same group", "right own pair"),
])  # fmt: skip
def test_a_number_read_another_way_is_not_comparable_and_says_in_what(field: str, ours: str, said: str):
    one = result("t2v_R@5", "MSR-VTT 1k-A 1,000", 1000)
    one = replace(one, protocol=one.protocol.but(**{field: ours}))
    (found,) = beside(one, benchmark="MSR-VTT")
    assert cell(found) == f"not comparable (there {said})" and "22.2" not in result_tables.results_table([found])


def test_how_long_clips_are_read_does_not_matter_where_none_is_long():
    one = result("t2v_R@5", "MSR-VTT 1k-A 1,000", 1000)
    for share, there in ((0.0, "22.2 %"), (0.154, "not comparable (there windows first)")):
        card = one.protocol.but(windows="overlapping", truncation=("clips over 32 s in windows", share))
        assert cell(beside(replace(one, protocol=card), benchmark="MSR-VTT")[0]) == there


def seconds(gamma: str, cls: str, videos: int = 2797) -> Result:
    """COIN's frame accuracy; repeated labels kept or dropped, CLS hidden or attended."""
    way = {"gamma": gamma, "cls": cls, "windows": "overlapping"}
    card = Card("segmentation", "COIN testing 2,797 videos", "some rule", 778, missing=(0, videos), **way)
    known = {"all background": 0.5, "majority step": 0.1}
    return Result("paper_gamma_frame_accuracy", 0.6, 0.5, 0.7, 0.1, card, 400_000, known)


@pytest.mark.parametrize("one, there", [
    (seconds("repeats kept", "hidden"), "58.9 %"),
    (seconds("repeats dropped", "hidden"), "not comparable (there gamma repeats kept)"),
    (seconds("repeats kept", "attended"), "not comparable (there cls hidden)"),
    (seconds("repeats dropped", "attended"), "not comparable (there cls hidden, gamma repeats kept)"),
    (seconds("repeats kept", "hidden", 2700), ""),
])  # fmt: skip
def test_zero_shot_coin_needs_the_papers_gamma_and_a_hidden_cls(one: Result, there: str):
    (found,) = beside(one, benchmark="COIN")
    assert cell(found) == there and (there or "measured on 2,797 videos" in found.protocol.rule)


def test_other_splits_other_corpora_and_other_metrics_get_nothing():
    one = result("t2v_R@1", "YouCook2 val 3,305 (paper)", 3305)
    assert with_paper([one], corpus("YouCook2", "YouCook2 val 3,305 (paper)"))[0].paper == 0.227
    carved = replace(one, protocol=one.protocol.but(split="YouCook2 train 900 (official json): val carved from it"))
    mdr = replace(one, name="t2v_MdR")
    for known in (corpus("YouCook2", one.protocol.split), corpus("YouCook2")):
        assert with_paper([carved, mdr], known) == [carved, mdr]
    for other in (corpus(), corpus("MSR-VTT", "MSR-VTT 1k-A 1,000")):  # whatever a lab corpus calls its split
        assert with_paper([one], other) == [one]


def test_a_difference_that_no_field_of_the_card_holds_is_said_in_words():
    fewer = result("qa_accuracy", "MSR-VTT-QA multiple choice 2,900 of 2,990", 5, 2900, "videoqa")
    whole = result("qa_accuracy", "MSR-VTT-QA multiple choice 2,990", 5, 2990, "videoqa")
    (fewer,), (whole,) = (beside(one, benchmark="MSR-VTT-QA") for one in (fewer, whole))
    assert cell(fewer) == "" and cell(whole) == "73.9 %"
    assert "73.9 % is not comparable: measured on 2,990 clips" in str(fewer.protocol)
    assert fewer.protocol.split != whole.protocol.split and fewer.protocol.pool == 5


def test_repeated_texts_are_not_the_papers_way_but_the_very_pair_is():
    way = PAPERS_WAY | {"split": "MSR-VTT 1k-A 1,000"}
    scores, card = np.eye(1000), Card(**{key: value for key, value in way.items() if key != "right"})
    for groups, there in ((np.arange(1000), "10.4 %"), (np.arange(1000) // 2, "not comparable (there right own pair)")):
        own = retrieval.evaluate(scores, groups, groups, np.arange(1000), np.arange(1000), setting=card, n_boot=2)
        named = {r.name: r for r in beside(*own, benchmark="MSR-VTT")}
        assert cell(named["t2v_R@1"]) == there and cell(named["t2v_instance_R@1"]) == "10.4 %"
    own = retrieval.evaluate(scores, groups, groups, np.arange(1000), np.arange(1000), ties="reference", setting=card,
                             n_boot=2)  # fmt: skip
    assert [cell(r) for r in beside(*own, benchmark="MSR-VTT")] == ["10.4 %", "22.2 %", "30.0 %", ""]


def test_moments_have_a_mean_pool_and_the_benchmarks_own_order():
    split = "DiDeMo test 4,021 sentences (moments, not paragraphs)"
    ours = result("moment_rank5", split, 20.9, 4021, "didemo")
    order = replace(ours, name="reference_moment_rank5", protocol=ours.protocol.but(ties="reference"))
    found = beside(ours, order, benchmark="DiDeMo")
    assert [cell(r) for r in found] == ["not comparable (there ties reference)", "46.9 %"]


def test_a_test_time_trick_is_never_compared():
    one = result("t2v_R@1", "MSR-VTT 1k-A 1,000", 1000)
    one = replace(one, protocol=one.protocol.but(tricks=("dual softmax",)))
    (found,) = beside(one, benchmark="MSR-VTT")
    assert cell(found) == "" and "10.4 % is not comparable: there without dual softmax" in found.protocol.rule
