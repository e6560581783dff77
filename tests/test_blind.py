"""What annotations alone are worth: ceilings, priors and shares by hand, by slow rewrites, and on real annotations."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from checks import refused

from vcwork.base.errors import VcworkError
from vcwork.measure.metrics import recall_at_k
from vcwork.measure.result import Result, results_table
from vcwork.review import annotated, blind
from vcwork.review.annotated import Clips, Located, Moments, Segmented


def by_name(results: list[Result]) -> dict[str, Result]:
    return {r.name: r for r in results}


def percent(results: list[Result]) -> dict[str, float]:
    return {r.name: round(100 * r.value, 1) for r in results}


# -------------------------------------------------------------------------------------------------- retrieval


def test_knowing_a_label_is_a_random_order_of_its_items() -> None:
    labels, k = ["a", "a", "a", "b", "c", "c"], 2
    orders = [list(o) for o in itertools.permutations(range(6))]
    hits = np.zeros(6)
    for order in orders:  # the known label's items first, in the order's order
        for q, label in enumerate(labels):
            first = [i for i in order if labels[i] == label]
            hits[q] += first.index(q) < k
    assert blind.known_hits(labels, k) == pytest.approx(hits / len(orders))
    refused("k of at least 1", blind.known_hits, labels, 0)


def test_the_ceiling_is_what_a_perfect_model_of_texts_reaches() -> None:
    texts = ["heat oil", "chop", "heat oil", "stir", "heat oil", "chop"]
    perfect = np.array([[a == b for b in texts] for a in texts], float)  # finds exactly the clips of that text
    for k in (1, 2):
        assert recall_at_k(perfect, k) == pytest.approx(blind.known_hits(texts, k).mean())


def test_the_ceiling_is_distinct_texts_over_queries() -> None:
    clips = Clips(list("aabcc"), list("uvuvw"), list("xxxxx"), [10, 33, 32, 40, 5])
    found = by_name(blind.retrieval(clips, "toy"))
    assert found["toy_ceiling_R@1"].value == pytest.approx(3 / 5)
    assert found["toy_video_known_R@1"].value == pytest.approx(3 / 5) and found["toy_recipe_known_R@1"].value == 0.2
    assert found["toy_ceiling_R@1"].extra == {
        "distinct_texts": 3, "queries_sharing_a_text": 4, "clips_a_video": pytest.approx(5 / 3),
        "longer_than_32_s": 0.4, "times_chance": pytest.approx(3),
    }  # fmt: skip
    alone = by_name(blind.retrieval(Clips(list("aab"), list("uvw")), "toy"))
    assert list(alone) == ["toy_ceiling_R@1", "toy_ceiling_R@5"], "of a clip a video, to know it is the answer"


def test_tie_rules_of_constant_scores() -> None:
    found = blind.tie_rules(np.zeros((50, 50)))
    assert found["expected"] == pytest.approx(1 / 50) and found["optimistic"] == 1 and found["pessimistic"] == 0
    assert (found["reference"], found["denominator"], found["queries"]) == (pytest.approx(1 / 50), 2500, 50)
    twice = np.repeat(np.eye(10), 2, axis=1)[np.repeat(np.arange(10), 2)]  # every video is there twice
    found = blind.tie_rules(twice)
    assert (found["expected"], found["reference"], found["denominator"]) == (0.5, 0.5, 40)
    rng = np.random.default_rng(0)
    plain = blind.tie_rules(rng.normal(size=(30, 30)))
    assert len({plain[k] for k in ("expected", "optimistic", "pessimistic", "reference")}) == 1


# ---------------------------------------------------------------------------------------------- segmentation


def coin(segments: list, durations: list, tasks: list, training: list) -> Segmented:
    return Segmented([f"v{i}" for i in range(len(tasks))], segments, durations, tasks, training, {})


def test_silence_earns_the_background_share_exactly() -> None:
    one = [(2.0, 5.0, "7"), (6.4, 7.0, "9")]  # seconds 2, 3, 4, 6 of 10.5
    found = by_name(blind.segmentation(coin([one] * 4, [10.5] * 4, ["t"] * 4, [True, True, False, False]), "toy"))
    assert found["toy_all_background"].value == pytest.approx(7 / 11)
    assert found["toy_all_background_floor"].value == pytest.approx(6 / 10)
    assert found["toy_task_and_time"].value > found["toy_all_background"].value
    assert found["toy_all_background"].n == 22 and "2 videos" in str(found["toy_all_background"].protocol)


def test_the_task_and_the_time_tell_what_time_alone_cannot() -> None:
    early, late = [(0.0, 5.0, "1")], [(5.0, 10.0, "2")]
    videos = coin([early, late] * 3, [10.0] * 6, list("xyxyxy"), [True] * 2 + [False] * 4)
    found = by_name(blind.segmentation(videos, "toy"))
    assert found["toy_task_and_time"].value == found["toy_task_and_time_foreground_recall"].value == 1
    assert found["toy_relative_time"].value < 1


def test_without_training_videos_there_is_silence_alone() -> None:
    found = by_name(blind.segmentation(coin([[(0.0, 2.0, "1")]] * 3, [4.0] * 3, ["t"] * 3, [False] * 3), "toy"))
    assert list(found) == ["toy_all_background", "toy_all_background_floor"]
    assert found["toy_all_background"].value == 0.5
    with pytest.raises(VcworkError, match="toy: expected at least 2 videos that are not for training, got 1"):
        blind.segmentation(coin([[(0.0, 2.0, "1")]] * 3, [4.0] * 3, ["t"] * 3, [True, True, False]), "toy")


def test_a_repeated_label_raises_the_naive_gamma_above_every_score() -> None:
    different = {str(i): f"step {i}" for i in range(40)}
    naive, fixed, best = blind.gamma_with_repeats(different)
    assert naive == fixed < best
    repeated = different | {"40": "step 3"}
    naive, again, best = blind.gamma_with_repeats(repeated)
    assert naive > best > again, "one text twice silences every second; without the repeat it does not"


# ---------------------------------------------------------------------------------------------- localization


def test_uniform_and_random_in_order_against_closed_forms() -> None:
    """One video of 290 s: step k is there around the middle of its part; only steps 0, 2, 4, 6 are annotated."""
    n_steps, length, half = 7, 290, 15
    middles = [(k + 0.5) / n_steps * length for k in range(n_steps)]
    spans = [[(round(m) - half, round(m) + half)] if k % 2 == 0 else [] for k, m in enumerate(middles)]
    results = by_name(blind.localization(Located(["a", "b"], [spans] * 2, [float(length)] * 2, ["t", "t"]), "toy"))
    assert results["toy_uniform_in_order"].value == 1
    assert results["toy_uniform_in_order"].chance == pytest.approx(2 * half / length)
    rng = np.random.default_rng(0)
    draws = np.sort(np.array([rng.choice(length, n_steps, replace=False) for _ in range(4000)]), axis=1)
    hit = [(draws[:, k] >= spans[k][0][0]) & (draws[:, k] < spans[k][0][1]) for k in range(0, n_steps, 2)]
    assert results["toy_random_in_order"].value == pytest.approx(np.mean(hit), abs=0.01)


def test_recall_is_a_mean_over_tasks_and_short_videos_are_counted() -> None:
    always, never = [[(0.0, 10.0)], [(0.0, 10.0)]], [[(0.0, 1.0)], [(0.0, 1.0)]]
    spans = [always, never, never, never, [[(0.0, 1.0)]] * 3]
    found = Located(list("abcde"), spans, [10.0] * 4 + [2.0], list("xyyyz"))
    results = by_name(blind.localization(found, "toy"))
    assert results["toy_uniform_in_order"].value == 0.5, "task x 1, task y 0, whatever the number of videos"
    assert results["toy_uniform_in_order"].protocol.missing == (1, 5), "two seconds cannot hold three steps"


def test_every_videos_labels_are_computed_once_whatever_the_number_of_test_videos(monkeypatch) -> None:
    calls, truths = [], blind.truths
    monkeypatch.setattr(blind, "truths", lambda *args, **more: calls.append(args) or truths(*args, **more))
    blind.segmentation(annotated.made_annotations(0).coin, n_boot=2)
    assert len(calls) == 2, "lengths rounded up, and down"


# ---------------------------------------------------------------------------------------- made up, and folders


def test_made_annotations_give_a_full_table_and_depend_on_the_seed() -> None:
    one, again, other = (blind.everything(annotated.made_annotations(s), n_boot=50) for s in (0, 0, 1))
    assert percent(one) == percent(again) != percent(other)
    assert all(name.startswith(blind.MADE_UP) for name in percent(one)), "nobody takes them for the benchmark"
    assert {name.split("_")[2] for name in percent(one)} == {"youcook2", "msrvtt", "didemo", "coin", "crosstask"}
    assert "made up" in results_table(one), "the protocol says so, and no card lacks anything"
    assert 0.4 < by_name(one)["made_up_coin_all_background"].value < 0.6
    assert {r.protocol.split for r in one} == {r.protocol.split for r in other}, "runs of several seeds share a table"
    labels = annotated.made_annotations(0).coin.labels.values()
    assert len(set(labels)) < len(labels), "some labels share a text, as COIN's do"


def test_a_folder_without_annotations_is_refused(tmp_path: Path) -> None:
    refused("no such folder", annotated.read_annotations, tmp_path / "none")
    refused(r"none of these is there: validation_youcook\.csv", annotated.read_annotations, tmp_path)
    (tmp_path / "validation_youcook.csv").write_text(
        "end,start,task,text,video_id\n60,47,226,cut it,aaaaaaaaaaa\n70,61,226,cut it,bbbbbbbbbbb\n"
    )
    found = annotated.read_annotations(tmp_path)
    assert found.found() == ["youcook2"] and found.youcook2.durations_s == [13, 9]


def test_a_release_with_a_test_split_alone_or_an_empty_one_is_read(tmp_path: Path) -> None:
    sentence = {"description": "a dog", "num_segments": 6}
    rows = [sentence | {"video": f"{v}.avi", "times": [[at, at]] * 4, "annotation_id": i}
            for i, (v, at) in enumerate([("a", 0), ("b", 2), ("c", 2)])]  # fmt: skip
    (tmp_path / "test_data.json").write_text(json.dumps(rows))
    (tmp_path / "val_data.json").write_text("[]")
    found = annotated.read_annotations(tmp_path)
    assert found.didemo.fit == [] and len(found.didemo.times) == 3
    prior = by_name(blind.moments(found.didemo, n_boot=2))["didemo_prior_rank1"]
    assert prior.value == pytest.approx((0 + 1 / 2 + 1 / 2) / 3)  # b and c: a's and the other's moment are as frequent
    assert "the other videos' sentences" in str(prior.protocol)
    (tmp_path / "test_data.json").write_text("[]")
    refused("no usable annotation among 0", annotated.read_annotations, tmp_path)
    (tmp_path / "test_data.json").unlink()
    (tmp_path / "val_data.json").write_text(json.dumps(rows))
    refused("the test split of none of these is there: test_data", annotated.read_annotations, tmp_path, ("didemo",))


# ------------------------------------------------------------------------------------------------- real files


@pytest.fixture(scope="module")
def folder(real: Path) -> Path:
    if not (real / "annotations").is_dir():
        pytest.skip(f"{real / 'annotations'} is absent")
    return real / "annotations"


@pytest.fixture(scope="module")
def measured(folder: Path) -> dict[str, Result]:
    found = annotated.read_annotations(folder)
    assert found.found() == ["youcook2", "msrvtt", "didemo", "coin", "crosstask"] and not found.made_up
    return by_name(blind.everything(found, n_boot=200))


def test_real_retrieval_galleries(measured) -> None:
    youcook, msrvtt = measured["youcook2_ceiling_R@1"], measured["msrvtt_ceiling_R@1"]
    assert (youcook.n, youcook.extra["distinct_texts"], youcook.extra["queries_sharing_a_text"]) == (3350, 3273, 141)
    assert (msrvtt.n, msrvtt.extra["distinct_texts"]) == (1000, 995)
    names = ("ceiling_R@1", "video_known_R@1", "video_known_R@5", "recipe_known_R@1", "recipe_known_R@5")
    values = [round(100 * measured[f"youcook2_{name}"].value, 1) for name in names]
    assert values == [97.7, 13.0, 63.6, 2.7, 13.3]
    assert round(100 * msrvtt.value, 1) == 99.5
    assert round(100 * youcook.extra["longer_than_32_s"], 1) == 15.4 and round(youcook.extra["clips_a_video"], 1) == 7.7
    assert "3,350" in youcook.protocol.split


def test_real_coin_sample(folder: Path, measured) -> None:
    """Shares of silence as an independent count of the sample gave them; of all of COIN they are 0.587 and 0.584."""
    ceil, floor = measured["coin_all_background"], measured["coin_all_background_floor"]
    assert (round(ceil.value, 4), round(floor.value, 4)) == (0.5944, 0.5916)
    assert ceil.low < 0.589 < ceil.high, "the paper's 58.9 lies inside the interval of silence"
    by_class, overall = (measured[f"coin_task_and_time_{k}_recall"].value for k in ("class_mean", "foreground"))
    assert by_class < overall
    labels = annotated.read_annotations(folder).coin.labels
    assert len(labels) > len(set(labels.values()))
    naive, fixed, best = blind.gamma_with_repeats(labels)
    assert naive > best > fixed


def test_real_crosstask_sample(folder: Path, measured) -> None:
    """Recalls of a second of each step, as an independent count of the files gave them."""
    rounded = [round(100 * measured[f"crosstask_{k}_in_order"].value, 1) for k in ("uniform", "random")]
    assert rounded == [12.3, 12.3] and len(set(annotated.read_annotations(folder).crosstask.tasks)) == 6


def test_moments_keep_their_task_apart() -> None:
    found = Moments([[(0, 0)] * 4] * 3, [[(0, 0)] * 4, [(3, 4)] * 4], ["a", "b"])
    first, second, _ = blind.moments(found, "toy", n_boot=20)
    assert (first.value, first.name, first.protocol.task) == (0.5, "toy_prior_rank1", "annotations")
    assert second.value == pytest.approx(0.5 + 0.5 * 4 / 20), "the others tie behind the first for 4 of 20 places"
