"""DiDeMo: moments by the rule of LocalizingMoments, and paragraphs; against a slow rewrite and real annotations."""

import itertools
import json

import numpy as np
import pytest
from checks import refused

from vcwork.measure.card import Card
from vcwork.tasks import didemo
from vcwork.tasks.didemo import SEGMENTS, Case

CARD = Card(split="made up, test")


def by_lists(order: list[tuple[int, int]], times: list[tuple[int, int]]) -> tuple[float, float, float]:
    """rank1, rank5, IoU of one sentence for one strict order of moments, with sets of chunks and sorted lists."""
    chunks = [set(range(a, b + 1)) for a, b in [order[0], *times]]
    ious = sorted(len(chunks[0] & c) / len(chunks[0] | c) for c in chunks[1:])[-3:]
    mean_rank = np.mean(sorted(order.index(t) + 1 for t in times if t in order)[:3])
    return float(mean_rank <= 1), float(mean_rank <= 5), float(np.mean(ious))


def random_times(rng: np.random.Generator, n: int) -> list[tuple[int, int]]:
    """n annotators who partly agree."""
    few = [SEGMENTS[i] for i in rng.choice(21, size=3, replace=False)]
    return [few[rng.integers(3)] for _ in range(n)]


def one(scores: np.ndarray, times: list, ties: str = "expected") -> tuple[float, ...]:
    return tuple(float(column[0]) for column in didemo.score([Case(scores, times, "v")], ties))


def test_the_21_moments_in_the_benchmark_order() -> None:
    assert len(set(SEGMENTS)) == 21
    assert SEGMENTS[:6] == ((0, 0), (1, 1), (2, 2), (3, 3), (4, 4), (5, 5))
    assert SEGMENTS[6:9] == ((0, 1), (0, 2), (0, 3)) and SEGMENTS[-1] == (4, 5)


def test_worked_example() -> None:
    scores = np.zeros(21) - np.arange(21)  # list order
    agreed = [(0, 0)] * 3 + [(5, 5)]
    assert one(scores, agreed) == (1, 1, 1), "three annotators agree on the first moment: the fourth does not count"
    assert one(scores, [(0, 0), (0, 0), (1, 1), (1, 1)]) == (0, 1, pytest.approx(2 / 3)), "ranks 1, 1, 2; IoUs 1, 1, 0"
    assert one(scores, [(4, 4), (4, 4), (4, 4), (0, 1)]) == (0, 1, pytest.approx(1 / 6)), "ranks 5, 5, 5"
    assert one(scores, [(4, 4), (4, 4), (5, 5), (0, 1)])[1] == 0, "ranks 5, 5, 6"


@pytest.mark.parametrize("n_annotators", [1, 2, 4, 7])
def test_strict_orders_agree_with_lists(n_annotators: int) -> None:
    rng = np.random.default_rng(n_annotators)
    for _ in range(50):
        scores, times = rng.permutation(21).astype(float), random_times(rng, n_annotators)
        order = [SEGMENTS[i] for i in np.argsort(-scores)]
        assert one(scores, times) == pytest.approx(by_lists(order, times))


def test_expected_ties_are_the_mean_over_all_orders() -> None:
    rng, seen = np.random.default_rng(5), set()
    for _ in range(30):
        scores = rng.permutation(21).astype(float)
        top, low = np.argsort(-scores)[:3], np.argsort(-scores)[3:8]
        scores[top], scores[low] = 30.0, 20.0
        times = [SEGMENTS[i] for i in rng.choice(np.concatenate([top, low]), size=4)]
        rest = [SEGMENTS[i] for i in np.argsort(-scores)[8:]]
        orders = [[*(SEGMENTS[i] for i in (*a, *b)), *rest]
                  for a in itertools.permutations(top) for b in itertools.permutations(low)]  # fmt: skip
        expected = np.mean([by_lists(order, times) for order in orders], axis=0)
        assert one(scores, times) == pytest.approx(expected)
        seen.add(round(float(expected[1]), 3))
    assert len(seen) > 3, "the draws must make chances between 0 and 1, or nothing was compared"


def test_reference_ties_follow_the_list() -> None:
    times = [(0, 0), (0, 0), (0, 0), (3, 3)]
    assert one(np.zeros(21), times, "reference") == (1, 1, 1)
    chance = one(np.zeros(21), times)
    assert chance[0] == pytest.approx(1 / 21), "the agreed moment comes first in one of 21 places"
    assert chance[1] < 0.5
    refused("expected, reference", one, np.zeros(21), times, "optimistic")


def test_moments_that_are_no_candidates_are_skipped() -> None:
    short = np.where(didemo.candidates(25), -np.arange(21.0), -np.inf)
    assert np.isfinite(short).sum() == 20 and not np.isfinite(short[SEGMENTS.index((5, 5))])
    times = [(5, 5), (0, 0), (0, 0), (0, 0)]
    assert one(short, times)[0] == 1
    refused("sentence 0: none of its annotated moments", one, short, [(5, 5)] * 4)


@pytest.mark.parametrize("bad, message", [
    (Case(np.zeros(20), [(0, 0)], "v"), r"expected scores \(21,\)"),
    (Case(np.full(21, np.nan), [(0, 0)], "v"), "no NaN"),
    (Case(np.zeros(21), [(0, 6)], "v"), "chunks of 0..5"),
    (Case(np.zeros(21), [(2, 1)], "v"), "chunks of 0..5"),
])  # fmt: skip
def test_wrong_input_is_named(bad: Case, message: str) -> None:
    refused(message, didemo.score, [Case(np.zeros(21), [(0, 0)], "v"), bad])


def test_moment_vectors_are_means_of_the_videos_seconds() -> None:
    states = np.arange(30.0)[:, None] * [1, 10]  # second t -> (t, 10 t)
    vectors = didemo.moment_vectors(states, n_seconds=22)
    assert vectors[SEGMENTS.index((0, 0))].tolist() == [2, 20]
    assert vectors[SEGMENTS.index((4, 4)), 0] == pytest.approx((20 + 21) / 2), "seconds 22 to 24 are padding"
    assert np.isnan(vectors[SEGMENTS.index((5, 5))]).all()
    padded = didemo.moment_vectors(states, n_seconds=22, reference=True)
    assert padded[SEGMENTS.index((4, 4)), 0] == 22, "the reference code averages the states of padding too"
    scores = didemo.moment_scores(vectors, np.array([1.0, 0.0]))
    assert np.isneginf(scores[SEGMENTS.index((5, 5))]) and scores[SEGMENTS.index((0, 1))] == pytest.approx(4.5)
    refused("expected states \\(30 or more, D\\), got \\(22, 2\\)", didemo.moment_vectors, states[:22], reference=True)


def test_evaluate_moments_of_a_perfect_and_a_blind_model() -> None:
    rng = np.random.default_rng(0)
    times = [[SEGMENTS[rng.integers(21)]] * 4 for _ in range(60)]
    right = [Case(np.eye(21)[SEGMENTS.index(t[0])], t, f"v{i % 12}") for i, t in enumerate(times)]
    blind = [case._replace(scores=np.zeros(21)) for case in right]
    prior = didemo.fit_moment_frequency(times)
    for result in didemo.evaluate_moments(right, prior, setting=CARD):
        assert result.value == 1 and result.trivial["moment frequency"] < 0.6
    for result in didemo.evaluate_moments(blind, setting=CARD):
        assert result.value == pytest.approx(result.chance)
        assert not result.protocol.lacks() and result.protocol.pool == 21
    assert [r.name for r in didemo.evaluate_moments(blind, setting=CARD)] == [
        "moment_rank1", "moment_rank5", "moment_mIoU"]  # fmt: skip
    assert didemo.evaluate_moments(blind, setting=CARD)[0].chance == pytest.approx(1 / 21)


def test_paragraphs_join_a_videos_sentences() -> None:
    texts = didemo.paragraphs(["one ", "two", "three"], ["a", "b", "a"])
    assert texts == {"a": "one three", "b": "two"}
    results = {r.name: r for r in didemo.evaluate_paragraphs(np.eye(6), list("abcdef"), setting=CARD)}
    assert results["paragraph_t2v_R@1"].value == 1 and results["paragraph_v2t_R@1"].chance == pytest.approx(1 / 6)
    assert not [name for name in results if not name.startswith("paragraph_")], "no column shared with moments"
    assert "paragraph retrieval" in str(results["paragraph_t2v_R@1"].protocol)
    refused("expected one row a video, got 2 for 1", didemo.evaluate_paragraphs, np.eye(2), ["a", "a"], setting=CARD)


@pytest.fixture(scope="module")
def annotations(real) -> dict[str, list[dict]]:
    folder = real / "annotations" / "didemo"
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent")
    return {split: json.loads((folder / f"{split}_data.json").read_text()) for split in ("val", "test")}


def test_real_didemo_without_looking_at_a_video(annotations) -> None:
    """4,021 sentences: what the paper's 16.6 / 46.9 stands beside."""
    prior = didemo.fit_moment_frequency([row["times"] for row in annotations["val"]])
    cases = [Case(np.zeros(21), row["times"], row["video"]) for row in annotations["test"]]
    assert len(cases) == 4021
    rank1, rank5, iou = didemo.evaluate_moments(cases, prior, setting=CARD, n_boot=50)
    names = ("moment frequency", "list order")
    shown = [[round(100 * r.trivial[name], 1) for r in (rank1, rank5, iou)] for name in names]
    assert shown == [[19.4, 68.1, 25.4], [19.4, 65.7, 25.4]]
    assert [round(100 * r.chance, 1) for r in (rank1, rank5, iou)] == [3.6, 22.4, 22.6]
    assert rank1.value == pytest.approx(rank1.chance), "constant scores are chance unless ties follow the list"
    exact = didemo.score([case._replace(scores=prior) for case in cases[:300]])
    order = [SEGMENTS[i] for i in np.argsort(-prior, kind="stable")]
    slow = np.array([by_lists(order, [tuple(t) for t in case.times]) for case in cases[:300]]).T
    assert [column.tolist() for column in exact] == [pytest.approx(column.tolist()) for column in slow]
