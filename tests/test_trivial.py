"""Predictors that know nothing score what they must, exactly."""

import numpy as np
import pytest

from vcwork.base.errors import VcworkError
from vcwork.measure import trivial


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


def test_what_is_said_places_a_step_and_the_order_those_never_spoken_of():
    said = np.zeros((30, 3))
    said[[7, 8], 0] = 0.2, 0.9
    assert trivial.spoken_in_order(said).argmax(0).tolist() == [8, 15, 25]
