"""Grading a folder by its own captions: by hand, at chance, perfect, and with too few videos to say anything."""

from dataclasses import replace

import numpy as np
import pytest
from checks import refused

from vcwork.measure.metrics import chance_recall_at_k
from vcwork.review import graded
from vcwork.review.graded import TOGETHER, Windows, grade
from vcwork.search.evidence import words
from vcwork.search.fused import SAID, SHOWN, Kind, Piece

LENGTHS = {f"v{i}": 100 for i in range(6)}


def _line(video: str, start_s: float, text: str, end_s: float | None = None) -> Piece:
    return Piece(video, start_s, start_s + 4 if end_s is None else end_s, 0.0, text)


LINES = [_line(video, 10 * i + 2, f"{video} sentence {i}") for video in LENGTHS for i in range(10)]
AT = {line.text: line for line in LINES}


def _kind(name: str, evidence: str, answer) -> Kind:
    return Kind(name, evidence, lambda queries, k: [answer(query)[:k] for query in queries])


def seen(query: str) -> list[Piece]:
    """A picture model that knows: first the right moment, told by its peak alone, then a wrong one."""
    line = AT[query]
    return [Piece(line.video, 0.0, 100.0, 1.0, peak_s=line.start_s), Piece("v0", 0.0, 100.0, 0.5, peak_s=95.0)]


def test_windows_by_hand():
    windows = Windows({"a": 25, "b": 0, "c": 10})
    assert windows.n == 5
    assert [windows.at("a", s) for s in (0, 9.9, 10, 24, 99)] == [0, 0, 1, 2, 2] and windows.at("b", 3) == 3
    assert [*windows.of("a")] == [0, 1, 2] and [*windows.of("a", 5, 10)] == [0] and [*windows.of("a", 5, 11)] == [0, 1]
    assert [*windows.of("c", 0, 10)] == [4]


def test_a_model_that_knows_is_perfect_and_one_that_does_not_is_at_chance():
    none = _kind("words", SAID, lambda query: [])
    made = grade([none, _kind("pictures", SHOWN, seen)], LINES, LENGTHS)
    assert list(made.results) == ["words", "pictures", TOGETHER]
    by_name = {kind: {r.name: r for r in results} for kind, results in made.results.items()}
    assert [r.value for r in made.results["pictures"]] == [1, 1, 1, 1, 1] == [r.value for r in made.results[TOGETHER]]
    assert (
        by_name["words"]["R@10"].value == pytest.approx(chance_recall_at_k(60, 10)) == by_name["words"]["R@10"].chance
    )
    assert by_name["words"]["pointing"].value == pytest.approx(0.1) == by_name["words"]["pointing"].chance
    assert by_name["words"]["median rank"].value == pytest.approx(30.5) == by_name["words"]["median rank"].chance
    gain = made.gains["words"]["R@1"]
    assert gain.low > 0 and gain.difference == pytest.approx(1 - 1 / 60) and made.gains["pictures"]["R@1"].high == 0
    assert "R@1" in made.text() and "together - words" in made.text() and "6 videos tell little" in made.text()


def test_what_is_shown_beside_a_caption_opens_where_it_is_shown():
    """The held-out caption's neighbour is said right after what is shown, so both are one hit; it is not worse."""
    lines = [_line("v1", 2, "asked"), _line("v1", 11, "after it", 19)]
    shown = _kind("pictures", SHOWN, lambda query: [Piece("v1", 1.0, 10.0, 1.0, peak_s=3.0)])
    said = _kind("words", SAID, lambda query: [replace(lines[1], strength=1.0)])
    results = grade([said, shown], lines, LENGTHS, only={"v1"}, most=1).results
    assert results["pictures"][0].value == results[TOGETHER][0].value == 1 and results["words"][0].value == 0


def test_a_captions_own_words_are_held_out():
    made = grade([words(LINES)], LINES, LENGTHS)  # "v3 sentence 4" shares words with its video's and with number 4
    assert made.results["words"][0].value == 0, "its own entry would have been the first answer"
    rolling = [*LINES, *(_line(line.video, line.start_s + 1, line.text + " more") for line in LINES)]
    assert grade([words(rolling)], rolling, LENGTHS).results["words"][0].value == 0, (
        "nor does what is said over it count"
    )
    beside = [*LINES, *(_line(line.video, line.start_s + 5, line.text) for line in LINES)]
    assert grade([words(beside)], beside, LENGTHS).results["words"][0].value == 1, "said again right after it does"


def test_the_rule_that_reads_no_question():
    lines = [_line("a", 1, "one"), _line("a", 5.5, "two"), _line("a", 12, "three"), _line("b", 2, "four")]
    made = grade([_kind("pictures", SHOWN, lambda q: [])], lines, {"a": 30, "b": 30})
    recall = made.results["pictures"][0]
    # asked "one": its window has one other, as many as the two windows of "three" and "four"; "three": none is left
    assert recall.trivial["where most is said"] == pytest.approx((1 / 3 + 1 / 3 + 0 + 0) / 4)
    pointing = made.results["pictures"][3]
    assert pointing.trivial["middle of the video"] == 0.25 and pointing.chance == pytest.approx(1 / 3)


def test_what_little_can_be_said():
    kind = _kind("pictures", SHOWN, seen)
    one = grade([kind], [line for line in LINES if line.video == "v1"], LENGTHS)
    assert (one.results["pictures"][0].low, one.results["pictures"][0].high) == (0, 1) and not one.gains
    assert "One video: no interval" in one.text()
    some = grade([kind], LINES, LENGTHS, most=7)
    assert some.results["pictures"][0].n == 7 and "7 of 60 captions" in some.text()
    only = grade([kind], LINES, LENGTHS, only={"v2", "v3"})
    assert only.results["pictures"][0].n == 20 and only.results["pictures"][0].protocol.pool == 60
    untimed = [Piece("v1", None, None, 0.0, "described")]
    for kinds, lines in (([kind], untimed), ([], LINES), ([kind], [])):
        refused("there are none whose times are known", grade, kinds, lines, LENGTHS)


def test_random_answers_are_at_chance():
    rng = np.random.default_rng(0)
    draw = lambda q: [Piece(f"v{rng.integers(6)}", 0.0, 1.0, 0.0, peak_s=float(rng.integers(100))) for _ in range(20)]  # noqa: E731
    lines = [_line(f"v{i % 6}", 10 * (i % 10) + 2, f"line {i}") for i in range(400)]
    results = grade([_kind("pictures", SHOWN, draw)], lines, LENGTHS).results["pictures"]
    for result in results[:4]:
        assert abs(result.value - result.chance) < 0.06
    assert graded.WINDOW_S == 10
