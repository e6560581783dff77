"""A result never stands alone; intervals cover the truth as often as they claim; trivial scores are exact."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest

from vcwork.base.errors import VcworkError
from vcwork.measure import intervals, trivial
from vcwork.measure import result as result_tables
from vcwork.measure.card import Card
from vcwork.measure.result import Result, as_result, latex
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
    (summary,) = result_tables.over_seeds(runs)
    assert (summary.mean, summary.low, summary.high) == (pytest.approx(0.6), 0.5, 0.7)
    assert "50.0 % .. 70.0 %" in result_tables.seeds_table([summary])
    assert (summary.t_low, summary.t_high) == pytest.approx((0.6 - 0.2484, 0.6 + 0.2484), abs=1e-4)
    assert "35.2 % .. 84.8 %" in result_tables.seeds_table([summary])
    with pytest.raises(VcworkError, match="same metrics"):
        result_tables.over_seeds([[_result()], [_result(name="other")]])
    with pytest.raises(VcworkError, match="at least 2 runs"):
        result_tables.over_seeds(runs[:1])


def _is_balanced(text: str) -> bool:
    depth, bare = 0, text.replace("\\\\", "").replace("\\{", "").replace("\\}", "")
    for c in bare:
        depth += (c == "{") - (c == "}")
        if depth < 0:
            return False
    return depth == 0


def test_latex_table_is_escaped_and_balanced():
    nasty = CARD.but("50% of {a_b} & c#d $x^2$ ~ \\ <1|2>")
    both = [_result(protocol=nasty), _result(name="t2v_MdR", paper=0.2, paper_protocol=CARD)]
    table = result_tables.results_latex(both)
    lines = table.splitlines()
    assert _is_balanced(table) and lines[0] == r"\begin{tabular}{lrrrrrrr}" and r"\end{tabular}" in lines
    cells = [line for line in lines if line.endswith(r" \\")]
    assert len(cells) == 3 and {len(re.findall(r"(?<!\\)&", line)) for line in cells} == {7}
    assert cells[1].startswith(r"t2v\_R@1 & 50.0 \% & 40.0 \% .. 60.0 \% & 1.0 \%")
    assert r"50\% of \{a\_b\} \& c\#d \$x\textasciicircum{}2\$ \textasciitilde{} \textbackslash{} " in table
    for special in "_%#$":
        assert not re.search(rf"(?<!\\){re.escape(special)}", table), special
    assert result_tables.results_latex([]) == "% no results" and result_tables.results_table([]) == "no results"


def test_text_and_latex_show_the_same_row():
    cells = result_tables.row(_result(value=0.123, paper=0.2, paper_protocol=CARD))
    assert list(cells) == [
        "metric",
        "value",
        "95 % interval",
        "chance",
        "best trivial",
        "if told",
        "paper",
        "n",
        "protocol",
    ]
    result = _result(value=0.123, paper=0.2, paper_protocol=CARD)
    for text in (cells["value"], cells["95 % interval"], cells["paper"], cells["n"]):
        assert text in result_tables.results_table([result])
        assert latex(text) in result_tables.results_latex([result])


@pytest.mark.parametrize("task", trivial.REGISTRY)
def test_a_result_of_a_registered_task_without_its_trivial_rows_is_refused(task, monkeypatch):
    monkeypatch.delenv("VCWORK_RESULTS_DIR", raising=False)
    always = [name for name, p in trivial.REGISTRY[task].items() if not p.needs]
    assert always, f"{task} has no predictor that is always there"
    card = Card(task, "toy test", "a rule", pool=100, captions=1, ties="expected", model="m", features="f")
    whole = _result(protocol=card, trivial=dict.fromkeys(always, 0.1))
    for show in (result_tables.results_table, result_tables.results_latex, lambda rows: record(rows, "any")):
        show([whole])
        for name in always:
            with pytest.raises(VcworkError, match=rf"\({task}\): stands without its trivial predictors {name}$"):
                show([replace(whole, trivial={key: 0.1 for key in always if key != name})])


# -------------------------------------------------------------------------------------------------- intervals


def _world(rng, n_videos):
    """Items of a video share its own difficulty; the true mean is one half."""
    sizes = rng.integers(3, 9, n_videos)
    video = np.repeat(np.arange(n_videos), sizes)
    return (rng.random(len(video)) < rng.beta(2, 2, n_videos)[video]).astype(float), video


@pytest.mark.parametrize("n_videos", [12, 60])
def test_the_interval_covers_the_truth_as_often_as_it_claims(n_videos):
    rng, covered, covered_items = np.random.default_rng(0), 0, 0
    for _ in range(1000):
        items, video = _world(rng, n_videos)
        low, high = intervals.bootstrap_by_video(items, video)
        covered += low <= 0.5 <= high
        low, high = intervals.bootstrap_by_video(items, np.arange(len(items)))
        covered_items += low <= 0.5 <= high
    assert 0.93 <= covered / 1000 <= 0.97
    assert covered_items / 1000 < 0.92  # pretending that clips are independent is too sure of itself


def test_bootstrap_equals_the_slow_way():
    rng = np.random.default_rng(1)
    items, video = _world(rng, 40)
    low, high = intervals.bootstrap_by_video(items, video, n_boot=4000)
    groups = [items[video == v] for v in range(40)]
    slow = [np.concatenate([groups[i] for i in rng.integers(0, 40, 40)]).mean() for _ in range(4000)]
    assert (low, high) == pytest.approx(tuple(np.quantile(slow, [0.02, 0.98])), abs=0.012)


def test_bootstrap_same_seed_same_interval_and_order_does_not_matter():
    items, video = _world(np.random.default_rng(2), 20)
    shuffled = np.random.default_rng(3).permutation(len(items))
    first = intervals.bootstrap_by_video(items, video, seed=5)
    assert first == pytest.approx(intervals.bootstrap_by_video(items[shuffled], video[shuffled], seed=5))
    assert first != intervals.bootstrap_by_video(items, video, seed=6)
    named = np.array([f"video-{v:03d}" for v in video])
    assert first == intervals.bootstrap_by_video(items, named, seed=5)


def test_all_right_or_all_wrong_still_has_an_interval():
    assert intervals.bootstrap_by_video(np.zeros(10), np.arange(10)) == pytest.approx((0, 0.3085), abs=1e-3)
    assert intervals.bootstrap_by_video(np.ones(10), np.arange(10)) == pytest.approx((0.6915, 1), abs=1e-3)


def test_videos_that_all_have_one_share_still_have_an_interval():
    items = np.tile([1.0, 0, 0], 4)  # each of four videos has a third
    low, high = intervals.bootstrap_by_video(items, np.repeat(np.arange(4), 3))
    assert (low, high) == pytest.approx((0.0751, 0.7549), abs=1e-4)  # Wilson: 0.415 +- 0.340
    wide, narrow = (
        np.ptp(intervals.bootstrap_by_video(np.tile([1.0, 0], n), np.repeat(np.arange(n), 2))) for n in (5, 50)
    )
    assert narrow < wide / 2


def test_mean_over_groups_skips_groups_a_draw_does_not_hold():
    totals = np.kron(np.eye(2), np.ones((10, 1)))  # ten videos of each of two tasks
    low, high = intervals.bootstrap_ratio(totals * [1, 0], totals)
    assert low == high == 0.5  # one task always right, the other always wrong


def test_bootstrap_median():
    rng = np.random.default_rng(4)
    ranks, video = rng.integers(1, 100, 400).astype(float), np.repeat(np.arange(100), 4)
    low, high = intervals.bootstrap_median(ranks, video)
    assert low < np.median(ranks) < high and high - low < 25


def test_bad_bootstrap_input_is_named():
    with pytest.raises(VcworkError, match="at least 2 videos, got 1"):
        intervals.bootstrap_by_video(np.ones(3), ["a", "a", "a"])
    with pytest.raises(VcworkError, match="hold NaN"):
        intervals.bootstrap_by_video(np.array([1, np.nan]), ["a", "b"])
    with pytest.raises(VcworkError, match=r"one video id per item \(3\), got \(2,\)"):
        intervals.bootstrap_by_video(np.ones(3), ["a", "b"])


def test_paired_comparison_is_sharper_than_two_intervals():
    rng = np.random.default_rng(5)
    hard = rng.random(300)  # each item's own difficulty, shared by both systems
    video = np.repeat(np.arange(60), 5)
    a, b = (hard > 0.4).astype(float), (hard > 0.45).astype(float)
    paired = intervals.paired_bootstrap(a, b, video)
    assert paired.clear and paired.difference > 0 and paired.p < 0.05
    assert intervals.bootstrap_by_video(a, video)[0] < intervals.bootstrap_by_video(b, video)[1]  # these overlap
    same = intervals.paired_bootstrap(a, a, video)
    assert not same.clear and same.p == 1


def test_paired_comparison_of_equal_systems_is_rarely_clear():
    rng, clear = np.random.default_rng(6), 0
    for _ in range(400):
        a, b = rng.random((2, 120)) < 0.5
        clear += intervals.paired_bootstrap(a, b, np.repeat(np.arange(40), 3), n_boot=1000).clear
    assert clear / 400 < 0.08


def test_paired_randomisation_counts_all_sign_changes():
    a, b = np.array([1, 1, 1, 0, 1.0]), np.array([0, 0, 0, 0, 1.0])
    # by video: +2, +1, 0: of the 8 ways (4 without the zero) +-3 is as far as it gets, two of four
    assert intervals.paired_randomisation(a, b, list("xxyzz")) == pytest.approx(2 / 4)
    assert intervals.paired_randomisation(a, a, list("xxyzz")) == 1
    with pytest.raises(VcworkError, match="same items for both systems"):
        intervals.paired_randomisation(a, b[:4], list("xxyzz"))


def test_drawn_randomisation_agrees_with_all_of_them_and_with_the_bootstrap():
    rng = np.random.default_rng(8)
    video = np.repeat(np.arange(13), 4)
    b = (rng.random(52) < 0.5).astype(float)
    a = np.maximum(b, rng.random(52) < 0.6)
    every = intervals.paired_randomisation(a, b, video)
    wide = np.append(video, [13, 14])  # two more videos without a difference: random signs instead of all
    drawn = intervals.paired_randomisation(np.append(a, [1, 1]), np.append(b, [1, 1]), wide, n_draws=20_000)
    assert drawn == pytest.approx(every, abs=0.01) and 0 < drawn < 0.05
    assert intervals.paired_bootstrap(a, b, video).clear


def test_randomisation_of_equal_systems_is_rarely_clear():
    rng, clear = np.random.default_rng(9), 0
    for _ in range(400):
        a, b = rng.random((2, 60)) < 0.5
        clear += intervals.paired_randomisation(a, b, np.repeat(np.arange(20), 3), n_draws=500) <= 0.05
    assert 0 < clear / 400 < 0.08


def test_t_quantiles_are_the_published_ones():
    table = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 9: 2.262, 30: 2.042, 120: 1.980}
    assert {k: round(intervals.t_quantile(k), 3) for k in table} == table
    assert intervals.t_quantile(5, 0.99) == pytest.approx(4.032, abs=1e-3)


def test_the_t_interval_of_three_seeds_covers_as_often_as_it_claims():
    rng, covered, in_range = np.random.default_rng(10), 0, 0
    for _ in range(2000):
        values = rng.normal(0.3, 0.02, 3)
        covered += abs(values.mean() - 0.3) <= intervals.t_half_width(values)
        in_range += values.min() <= 0.3 <= values.max()
    assert 0.94 < covered / 2000 < 0.96 and in_range / 2000 < 0.8, "the range of three seeds holds the truth 3 in 4"
    with pytest.raises(VcworkError, match="at least 2 numbers"):
        intervals.t_half_width([0.3])


# ------------------------------------------------------------------------------------- predictors that know nothing


def test_uniform_in_order_worked():
    assert trivial.uniform_in_order(3, 30).tolist() == [5, 15, 25]
    assert trivial.uniform_in_order(4, 4).tolist() == [0, 1, 2, 3]


def test_random_in_order_equals_simulation():
    rng = np.random.default_rng(7)
    inside = np.zeros((3, 20), bool)
    inside[0, 2:6] = inside[1, 8:10] = inside[2, 0:9] = True
    draws = np.array([np.sort(rng.choice(20, 3, replace=False)) for _ in range(20000)])
    simulated = [inside[k, draws[:, k]].mean() for k in range(3)]
    assert trivial.random_in_order_hits(inside) == pytest.approx(simulated, abs=0.012)
    assert trivial.random_in_order_hits(np.ones((5, 300), bool)) == pytest.approx(np.ones(5))
    assert trivial.random_hits(inside).tolist() == [4 / 20, 2 / 20, 9 / 20]
    with pytest.raises(VcworkError, match="3 steps do not fit"):
        trivial.random_in_order_hits(inside[:, :2])


def test_linear_in_time_recovers_a_line():
    centres = [np.array([20.0, np.nan, 60.0]), np.array([15.0, 35.0])]
    intercept, slope = trivial.fit_linear_in_time(centres, [100, 50])
    at = [(1 / 6, 0.2), (5 / 6, 0.6), (1 / 4, 0.3), (3 / 4, 0.7)]
    assert (slope, intercept) == pytest.approx(tuple(np.polyfit(*zip(*at, strict=True), 1)))
    assert trivial.linear_in_time(2, 10, (0.5, 3.0)).tolist() == [9, 9]  # never beyond the video


def test_bag_of_words_finds_what_is_said_and_nothing_else():
    said = ["now fry the onion", "stir the soup slowly", "", "fry the fish and the onion"]
    scores = trivial.bag_of_words(["Fry the fish!", "stir", "dance"], said)
    assert scores.shape == (3, 4) and scores[0].argmax() == 3 and scores[1].argmax() == 1
    assert not scores[:, 2].any() and not scores[2].any() and scores.max() <= 1 + 1e-9
    assert trivial.bag_of_words(["a b", "c"], ["b a", "c c"])[[0, 1], [0, 1]] == pytest.approx([1, 1])
    assert not trivial.bag_of_words(["..."], ["", "!"]).any()


def test_text_prior_prefers_usual_words():
    prior = trivial.fit_text_prior(["stir the soup", "stir the sauce"])
    scores = trivial.text_prior(prior, [["stir the soup", "juggle three knives", "stir the knives", ""]])[0]
    assert scores[0] > scores[2] > scores[1] == scores[3]
    assert sum(np.exp(p) for p in prior.values()) == pytest.approx(1)


def test_one_second_is_the_mean():
    assert trivial.one_second(np.array([[0.0, 2], [4, 4]])).tolist() == [[2, 3]]


def test_steps_in_order_fill_equal_parts():
    assert trivial.steps_in_order([4, 2], 5).tolist() == [4, 4, 2, 2, 2]
    assert trivial.steps_in_order([], 3).tolist() == [0, 0, 0]


def test_relative_time_prior():
    truths = [np.array([0, 0, 1, 1, 0, 0, 2, 2]), np.array([0, 1, 0, 2])]
    prior = trivial.fit_relative_time(truths, n_bins=4)
    assert prior.tolist() == [0, 1, 0, 2]
    assert trivial.relative_time(prior, 8).tolist() == [0, 0, 1, 1, 0, 0, 2, 2]
    assert trivial.majority_step(truths) == 1
    assert trivial.majority_step([np.zeros(5, int)]) == 0
