"""Each task: worked answers, perfect = 1, meaningless scores at chance, bad input named."""

import itertools

import numpy as np
import pytest
from checks import refused

from vcwork.base.errors import VcworkError
from vcwork.measure import metrics, trivial
from vcwork.measure.card import Card
from vcwork.measure.metrics import truth_labels
from vcwork.tasks import classification, didemo, localization, moments, retrieval, segmentation, spans, videoqa


def _named(results):
    return {r.name: r for r in results}


# -------------------------------------------------------------------------------------------------- retrieval


def _clips(n_videos=40, per_video=4, n_groups=20, seed=0):
    """Clips of videos, each showing a step group; recipes of four videos."""
    rng = np.random.default_rng(seed)
    video = np.repeat(np.arange(n_videos), per_video)
    group = np.concatenate([rng.choice(n_groups, per_video, replace=False) for _ in range(n_videos)])
    return video, group, video // 4


def test_retrieval_worked():
    scores = np.array([[9, 8, 1, 0], [7, 8, 9, 0], [5, 6, 4, 0], [1, 2, 3, 9]], float)
    group, video = ["a", "b", "a", "c"], ["x", "x", "y", "y"]
    got = _named(retrieval.evaluate(scores, group, group, video, query_video=video, ks=(1, 2)))
    # t2v, same group counts: "a" right, "b" at rank 2, "a" (clip 0 counts) at rank 2, "c" right
    assert got["t2v_R@1"].value == 0.5 and got["t2v_R@2"].value == 1 and got["t2v_MdR"].value == 1.5
    assert got["t2v_instance_R@1"].value == 0.5
    # within the video: 0 of {0,1} right, 1 of {0,1} right, 2 of {2,3} right, 3 right
    assert got["t2v_within_video_R@1"].value == 1 and got["t2v_within_video_R@1"].chance == 0.5
    # columns: clip 0 best text 0 right; clip 1: texts 0 and 1 tied, text 1 right; clip 2: text 1 wrong; clip 3 right
    assert got["v2t_R@1"].value == pytest.approx((1 + 1 / 2 + 0 + 1) / 4)
    assert got["v2t_R@1"].protocol.tied == 1
    assert got["t2v_R@1"].chance == pytest.approx((2 / 4 + 1 / 4 + 2 / 4 + 1 / 4) / 4)
    assert got["t2v_R@1"].extra["times_chance"] == pytest.approx(0.5 / 0.375)
    assert got["t2v_MRR"].value == pytest.approx((1 + 1 / 2 + 1 / 2 + 1) / 4)


def test_retrieval_perfect_shuffled_and_collapsed():
    video, group, recipe = _clips()
    same = (group[:, None] == group).astype(float)
    rng = np.random.default_rng(1)
    perfect = _named(retrieval.evaluate(same + np.eye(160), group, group, video, video, recipe))
    assert all(r.value == 1 for r in perfect.values())
    assert perfect["t2v_R@1"].extra["errors"]["right"] == 160
    shuffled = _named(retrieval.evaluate(rng.standard_normal((160, 160)), group, group, video, video))
    for name in ("t2v_R@1", "t2v_R@10", "v2t_R@10", "t2v_within_video_R@1", "t2v_instance_R@1"):
        assert shuffled[name].value == pytest.approx(shuffled[name].chance, abs=0.09)
    collapsed = _named(retrieval.evaluate(np.zeros((160, 160)), group, group, video, video))
    for name, result in collapsed.items():
        if not name.endswith("MdR"):
            assert result.value == pytest.approx(result.chance)  # a constant embedding is exactly at chance
    assert collapsed["t2v_MdR"].value >= collapsed["t2v_MdR"].chance


def test_retrieval_errors_sum_to_the_queries_and_name_the_nearest_thing():
    # query 0 of video x (recipe r): each row ranks another clip first
    group = np.array(["a", "b", "c", "d", "a"])
    video, recipe = np.array(["x", "x", "y", "z", "z"]), np.array(["r", "r", "r", "s", "s"])
    rows = np.eye(5)[[0, 1, 2, 3, 4]]
    relevant = np.tile(group == "a", (5, 1))
    counts = retrieval.errors(rows, relevant, ["x"] * 5, video, ["r"] * 5, recipe)
    assert counts == {
        "right": 2, "right video, wrong clip": 1, "right recipe, wrong video": 1, "wrong recipe": 1,
    }  # fmt: skip
    tied = retrieval.errors(np.zeros((5, 5)), relevant, ["x"] * 5, video, ["r"] * 5, recipe)
    assert sum(tied.values()) == pytest.approx(5) and tied["right"] == pytest.approx(2)


def test_retrieval_with_label_sentences_that_belong_to_no_video():
    video, group, _ = _clips()
    labels = np.append(np.unique(group), 99)  # the last label occurs in no clip
    scores = (labels[:, None] == group).astype(float)
    got = _named(retrieval.evaluate(scores, labels, group, video))
    assert set(got) == {f"{way}_{m}" for way in ("t2v", "v2t") for m in ("R@1", "R@5", "R@10", "MdR", "MRR")}
    assert got["t2v_R@1"].n == 20 and "20 queries, 1 left out without a right" in got["t2v_R@1"].protocol.rule
    assert got["v2t_R@1"].value == 1 and got["v2t_R@1"].chance == pytest.approx(1 / 21)


# --------------------------------------------------------------------------------------------------- videoqa


def test_choices_hold_one_right_and_four_of_other_groups():
    _, group, _ = _clips()
    choices, answer = videoqa.build_choices(group, seed=3)
    assert choices.shape == (160, 5) and np.array_equal(choices[np.arange(160), answer], np.arange(160))
    for row in choices:
        assert len(set(group[row])) == 5
    assert np.bincount(answer, minlength=5).min() > 15  # every position is used
    again, _ = videoqa.build_choices(group, seed=3)
    other, _ = videoqa.build_choices(group, seed=4)
    assert np.array_equal(choices, again) and not np.array_equal(choices, other)


def test_hard_choices_come_from_the_same_video_or_recipe():
    video, group, recipe = _clips()
    choices, _ = videoqa.build_choices(group, seed=0, hard=True, near=(video, recipe))
    assert (recipe[choices] == recipe[:, None]).mean() > 0.95
    assert all(len(set(group[row])) == 5 for row in choices)
    filled, _ = videoqa.build_choices(group, seed=0, hard=True, near=(video,))  # a video holds 3 others: one is filled
    assert ((video[filled] == video[:, None]).sum(1) == 4).all()


def test_qa_evaluate():
    video, group, _ = _clips()
    choices, answer = videoqa.build_choices(group)
    scores = np.random.default_rng(0).standard_normal(choices.shape)
    lengths = np.where(np.arange(5) == answer[:, None], 9, 4)
    (random,) = videoqa.evaluate(scores, answer, video, {"longest caption": lengths})
    assert random.chance == 0.2 and random.value == pytest.approx(0.2, abs=0.08)
    assert random.trivial == {
        "constant score": pytest.approx(0.2),
        "longest caption": 1.0,
    }  # right captions that are longest give the answer away
    (perfect,) = videoqa.evaluate(scores + 10 * (np.arange(5) == answer[:, None]), answer, video)
    assert perfect.value == 1 and perfect.low > 0.85


# ---------------------------------------------------------------------------------------------- localization


def test_dynamic_program_equals_the_reference(reference):
    vectors = np.load(reference / "metric_vectors.npz")
    names = [name for name in vectors if name.startswith("dp_cost_")]
    assert len(names) == 7
    for name in names:
        expected = vectors[name.replace("cost", "out")].argmax(0)  # one 1 in each step's column
        assert np.array_equal(localization.ordered_seconds([vectors[name]])[0], expected), name


def test_localize_worked():
    scores = np.zeros((6, 2))
    scores[4, 0], scores[1, 1] = 5, 5  # the steps look swapped: in order only one of them can have its peak
    assert localization.localize_unordered(scores).tolist() == [4, 1]
    first, second = localization.localize(scores)
    assert first < second and (first == 4 or second == 1)
    log_probs = scores - np.log(np.exp(scores).sum(1, keepdims=True))
    assert np.array_equal(localization.localize(log_probs), localization.localize(scores))


def _cases(n=30, n_steps=4, n_seconds=60, seed=0, quality=0.0):
    """Steps in shuffled order with one absent; quality adds the truth to random scores."""
    rng, cases = np.random.default_rng(seed), []
    for i in range(n):
        starts = rng.choice(np.arange(0, n_seconds - 8, 9), n_steps, replace=False)
        spans = [[(float(s), float(s) + 4.5)] for s in (starts if i % 2 else np.sort(starts))]
        spans[rng.integers(n_steps)] = []
        scores = rng.standard_normal((n_seconds, n_steps))
        for k, span in enumerate(spans):
            for start, end in span:
                scores[int(start) : int(end), k] += quality
        cases.append(localization.Case(scores, spans, f"v{i}", f"task{i % 3}"))
    return cases


def test_localization_evaluate():
    random = _named(localization.evaluate(_cases()))
    for result in random.values():
        assert result.value == pytest.approx(result.chance, abs=0.12)
        assert {"uniform in order"} <= set(result.trivial)
    assert random["recall"].n == 90 and "90 steps present in 30 videos of 3 tasks" in random["recall"].protocol.rule
    good = _named(localization.evaluate(_cases(quality=9), prior=(0.0, 1.0)))
    assert good["recall_unordered"].value == 1  # each step alone is found, also where they are swapped
    assert random["recall"].value < good["recall"].value < 1
    known = good["recall"].trivial
    assert known["linear in time"] == known["uniform in order"]


def test_half_precision_and_unsigned_scores_are_read_as_floats():
    """Sums in float16 made of one set of numbers other seconds than in float32; unsigned scores wrapped around."""
    half = (np.random.default_rng(0).normal(size=(20, 120, 8)) * 30).astype(np.float16)
    chosen = [np.stack(localization.localize_all([*scores])) for scores in (half, half.astype(np.float32))]
    assert np.array_equal(*chosen)
    whole = np.array([0, 1, 5, 1], np.uint8)
    assert moments.best_moments(whole, 1) == moments.best_moments(whole.astype(float), 1)


def test_of_equal_seconds_those_that_the_card_tells_are_taken():
    assert localization.localize(np.zeros((10, 3))).tolist() == [0, 1, 9]
    constant = [localization.Case(np.zeros((10, 3)), [[(0, 1)]] * 3, f"v{i}", "t") for i in range(2)]
    card = localization.evaluate(constant)[0].protocol
    assert "of equal seconds the first; in order, the last step takes the video's last" in card.rule
    first = _named(moments.evaluate([(np.zeros(10), [(0, 1)], f"v{i}") for i in range(2)]))["moment_tIoU"].protocol
    assert first.rule.endswith("of equal seconds the first") and not first.ties and first.tied == 2


def test_a_step_alone_is_found_by_its_scores():
    """Its softmax is 1 in every second."""
    perfect = [localization.Case(9 * np.eye(10)[:, 1:2], [[(1, 2)]], f"v{i}", "t") for i in range(4)]
    found = _named(localization.evaluate(perfect))
    assert found["recall"].value == found["recall_unordered"].value == 1


def test_ladder_worked():
    # steps a, b of the task are columns 1 and 2 of three; truth: a at 0, b at 2 and 3; step c (column 0) is another's
    wide = np.array([[0, 5, 1], [0, 0, 0], [9, 0, 1], [0, 0, 3.0]])
    spans = [[(0, 1)], [(2, 4)]]
    cases = [localization.Case(wide[:, 1:], spans, video, "t") for video in "xy"]
    got = _named(localization.ladder(cases, [wide, wide], [np.array([1, 2])] * 2, setting=Card(split="s")))
    assert list(got) == ["seconds_named", "seconds_named_task", "recall_one_second", "recall_in_order",
                         "recall_steps_known"]  # fmt: skip
    assert got["seconds_named"].value == pytest.approx(2 / 3)  # second 2 goes to the step of another task
    assert got["seconds_named"].chance == pytest.approx(1 / 3)
    assert got["seconds_named_task"].value == 1 and got["seconds_named_task"].chance == pytest.approx(1 / 2)
    assert got["recall_one_second"].value == 1 and got["recall_one_second"].chance == pytest.approx((1 / 4 + 2 / 4) / 2)
    in_order = trivial.random_in_order_hits(np.array([[1, 0, 0, 0], [0, 0, 1, 1]], bool)).mean()
    assert got["recall_in_order"].chance == pytest.approx(in_order)
    assert [r.n for r in got.values()] == [6, 6, 4, 4, 4]  # seconds, then steps


def test_ladder_last_rung_knows_which_steps_occur():
    scores = np.array([[0, 9, 0], [1, 0, 0], [0, 0, 8.0]])  # step 0 does not occur, and steals second 0 from step 1
    cases = [localization.Case(scores, [[], [(0, 1)], [(2, 3)]], video, "t") for video in "xy"]
    got = _named(localization.ladder(cases, [scores] * 2, [np.arange(3)] * 2))
    assert got["recall_in_order"].value == 0.5 and got["recall_steps_known"].value == 1


# ---------------------------------------------------------------------------------------------- segmentation


def test_segment_worked():
    scores = np.array([[1, 5], [4, 2], [3, 3], [2, 1]], float)
    assert segmentation.segment(scores, 3).tolist() == [2, 1, 0, 0]  # strictly above
    same = segmentation.first_of_same(["stir", "stir"])
    assert segmentation.segment(scores, 2.5, same).tolist() == [1, 1, 1, 0]
    assert segmentation.first_of_same(["a", "b", "a", "c", "b"]).tolist() == [0, 1, 0, 3, 1]


def test_truth_labels_follow_the_reference_rule():
    index = {"chop": 0, "stir": 1}
    labels = truth_labels([(0.9, 2.1, "chop"), (2.5, 4.0, "stir"), (5.0, 99.0, "chop")], index, 7)
    assert labels.tolist() == [1, 1, 2, 2, 0, 1, 1]  # the later segment overwrites second 2


def test_naive_gamma_with_a_repeated_label_makes_everything_background():
    rng = np.random.default_rng(0)
    texts = rng.standard_normal((6, 16))
    texts[5] = texts[2] * (1 + 1e-7)  # the same label twice, up to rounding
    scores = (texts[[0, 2, 4]] * 0.9) @ texts.T  # frames that look like texts 0, 2, 4
    naive, fixed = segmentation.text_gamma(texts, naive=True), segmentation.text_gamma(texts)
    assert naive == pytest.approx(texts[2] @ texts[2], rel=1e-5)
    assert segmentation.segment(scores[[1]], naive).tolist() == [0]
    names = ["a", "b", "c", "d", "e", "c"]
    assert segmentation.segment(scores, fixed, segmentation.first_of_same(names)).tolist() == [1, 3, 5]
    assert segmentation.text_gamma(texts, names) == pytest.approx(fixed)


def _labelled(n=12, n_seconds=80, n_steps=5, seed=0, quality=3.0):
    """Videos half background; the true step's score is raised by `quality`."""
    rng, scores, truths = np.random.default_rng(seed), [], []
    for _ in range(n):
        blocks = np.where(rng.random(16) < 0.5, 0, rng.integers(1, n_steps + 1, 16))
        truth = np.repeat(blocks, n_seconds // 16)
        values = rng.standard_normal((n_seconds, n_steps))
        at = truth > 0
        values[at, truth[at] - 1] += quality
        scores.append(values)
        truths.append(truth)
    return scores, truths, [f"v{i}" for i in range(n)]


def test_gamma_curve_equals_segmenting_for_each_gamma():
    scores, truths, _ = _labelled()
    curve = segmentation.gamma_curve(scores, truths)
    truth = np.concatenate(truths)
    for i in range(0, len(curve.gamma), 25):
        labels = np.concatenate([segmentation.segment(s, curve.gamma[i]) for s in scores])
        claimed = labels > 0
        assert curve.frame_accuracy[i] == pytest.approx((labels == truth).mean())
        assert curve.foreground_recall[i] == pytest.approx((labels == truth)[truth > 0].mean())
        assert curve.predicted_background[i] == pytest.approx((~claimed).mean())
        assert curve.background_recall[i] == pytest.approx((~claimed)[truth == 0].mean())
        if claimed.any():
            assert curve.foreground_precision[i] == pytest.approx((labels == truth)[claimed].mean())
    assert curve.predicted_background[0] == 0 and curve.predicted_background[-1] == 1


def test_choose_gamma_beats_silence_on_other_videos():
    scores, truths, _ = _labelled(seed=1)
    gamma = segmentation.choose_gamma(scores, truths)
    every = [
        np.mean(np.concatenate([segmentation.segment(s, g) for s in scores]) == np.concatenate(truths))
        for g in np.unique(np.concatenate([s.max(1) for s in scores]))
    ]
    ours = np.mean(np.concatenate([segmentation.segment(s, gamma) for s in scores]) == np.concatenate(truths))
    assert ours >= max(every) - 0.002  # thinning costs next to nothing
    loud = segmentation.choose_gamma(scores, truths, "balanced accuracy")
    assert loud <= gamma + 0.5


def test_segmentation_evaluate():
    scores, truths, videos = _labelled()
    gamma = segmentation.choose_gamma(*_labelled(seed=1)[:2])
    got = _named(segmentation.evaluate(scores, truths, videos, gamma))
    background = np.mean(np.concatenate(truths) == 0)
    silent = {name: r.trivial["all background"] for name, r in got.items()}
    assert silent["frame_accuracy"] == pytest.approx(background)
    assert silent["foreground_recall"] == silent["class_mean_recall"] == silent["edit"] == silent["F1@10"] == 0
    assert got["frame_accuracy"].value > background and got["foreground_recall"].value > 0.6
    assert got["frame_accuracy"].extra["background_share"] == pytest.approx(background)
    assert got["F1@10"].value > got["F1@50"].value > got["F1@50"].chance
    assert set(got["edit"].trivial) == {"all background", "majority step"}


def test_segmentation_of_meaningless_scores_is_at_chance():
    scores, truths, videos = _labelled(n=30, quality=0)
    got = _named(segmentation.evaluate(scores, truths, videos, gamma=1.0))
    for name in ("frame_accuracy", "foreground_recall", "foreground_precision", "class_mean_recall", "edit", "F1@10"):
        assert got[name].value == pytest.approx(got[name].chance, abs=0.03), name
    silent = _named(segmentation.evaluate(scores, truths, videos, gamma=99.0))
    assert silent["frame_accuracy"].value == pytest.approx(silent["frame_accuracy"].chance)
    assert silent["frame_accuracy"].extra["predicted_background_share"] == 1
    assert silent["foreground_precision"].value == silent["foreground_recall"].value == 0


def test_reference_ties_count_text_to_video_as_the_reference_code_does():
    rng = np.random.default_rng(0)
    scores, video = rng.integers(0, 4, (24, 24)).astype(float), np.repeat(np.arange(6), 4)
    got = _named(retrieval.evaluate(scores, range(24), range(24), video, video, ties="reference"))
    assert list(got) == ["t2v_R@1", "t2v_R@5", "t2v_R@10", "t2v_MdR"]
    theirs = [*(metrics.recall_at_k(scores, k, ties="reference") for k in (1, 5, 10)),
              metrics.median_rank(scores, ties="reference")]  # fmt: skip
    assert [r.value for r in got.values()] == pytest.approx(theirs)
    card = got["t2v_R@5"].protocol
    assert card.ties == "reference" and card.tied > 0 and "entries counted" in card.rule
    assert all(r.low <= r.value <= r.high for r in got.values())
    flat = _named(retrieval.evaluate(np.zeros((24, 24)), range(24), range(24), video, video, ties="reference"))
    assert flat["t2v_R@1"].value == pytest.approx(1 / 24) == flat["t2v_R@1"].chance and flat["t2v_R@1"].n == 24 * 24
    assert flat["t2v_MdR"].value == 12.5 == flat["t2v_MdR"].trivial["constant score"]


def test_without_ties_reference_and_expected_are_one():
    rng, video = np.random.default_rng(1), np.repeat(np.arange(10), 3)
    scores = rng.standard_normal((30, 30))
    both = [_named(retrieval.evaluate(scores, range(30), range(30), video, video, ties=t))
            for t in ("reference", "expected")]  # fmt: skip
    for name, r in both[0].items():
        assert (r.value, r.low, r.high) == pytest.approx((both[1][name].value, both[1][name].low, both[1][name].high))


def test_retrieval_puts_every_predictor_beside_its_numbers_that_the_inputs_allow():
    video, group, recipe = _clips()
    rng = np.random.default_rng(0)
    scores, words = rng.standard_normal((160, 160)), rng.standard_normal((160, 160))
    beside = {"bag of words": words, "one second": scores}
    options = {"beside": beside, "n_boot": 20}
    got = _named(retrieval.evaluate(scores, group, group, video, video, recipe, **options))
    assert all(set(r.trivial) == set(trivial.REGISTRY["retrieval"]) for r in got.values())
    # told the video: the 4 clips of it, one of them right
    assert got["t2v_instance_R@1"].trivial["video known"] == pytest.approx(1 / 4)
    assert got["t2v_instance_R@1"].trivial["recipe known"] == pytest.approx(1 / 16)
    assert got["t2v_R@5"].trivial["video known"] == got["v2t_R@5"].trivial["video known"] == 1
    assert got["t2v_R@1"].trivial["one second"] == pytest.approx(got["t2v_R@1"].value)
    assert got["v2t_R@1"].trivial["bag of words"] == pytest.approx(
        np.mean([group[words[:, n].argmax()] == group[n] for n in range(160)])
    )
    alone = _named(retrieval.evaluate(scores, group, group, video, n_boot=20))
    assert set(alone["t2v_R@1"].trivial) == {"constant score"}
    with pytest.raises(VcworkError, match=r"trivial predictors among constant score, .*, got 'luck'"):
        retrieval.evaluate(scores, group, group, video, beside={"luck": words})
    with pytest.raises(VcworkError, match=r"bag of words: expected scores \(160, 160\), got \(2, 2\)"):
        retrieval.evaluate(scores, group, group, video, beside={"bag of words": words[:2, :2]})


def test_every_task_puts_its_registered_predictors_beside_the_number():
    rng = np.random.default_rng(0)
    scores, truths, ids = _labelled()
    usual = trivial.text_prior(trivial.fit_text_prior(["stir the soup", "stir it"]), [["stir it", "fry fish"]] * 6)
    read = {"longest caption": np.array([[7, 8]] * 6), "text prior": usual, "bag of words": usual}
    heard = [rng.random(9) for _ in range(3)]
    by_time = dict.fromkeys(("relative time", "task and time", "oracle task", "bag of words"), truths)
    found = {
        "segmentation": segmentation.evaluate(scores, truths, ids, 1.0, by_time, n_boot=20),
        "localization": localization.evaluate(_cases(), (0.0, 1.0), [c.scores for c in _cases()], n_boot=20),
        "classification": classification.evaluate(
            rng.random((9, 4)), [0, 1, 2] * 3, range(9), beside={"bag of words": rng.random((9, 4))}, n_boot=20
        ),
        "moments": moments.evaluate([(rng.random(9), [(2, 4.0)], v) for v in "abc"], heard[:3], n_boot=20),
        "library search": moments.evaluate_search(
            rng.random((4, 9)), np.eye(4, 9, dtype=bool), beside={"bag of words": rng.random((4, 9))}, n_boot=20
        ),
        "videoqa": videoqa.evaluate(rng.random((6, 2)), [0] * 6, range(6), read, n_boot=20),
    }
    cases = [didemo.Case(rng.random(21), [(0, 1)], video) for video in "abc"]
    found["didemo"] = didemo.evaluate_moments(cases, didemo.fit_moment_frequency([[(0, 0)]]), n_boot=20)
    own = np.array([[2.0, 4.0]])
    found["spans"] = spans.evaluate([spans.Case(own + i, own, video, 9.0) for i, video in enumerate("abc")], n_boot=20)
    steps = [spans.Case(own + i, np.array([[0.0, 2.0], [2.0, 4.0]]), video, 9.0) for i, video in enumerate("abc")]
    found["boundaries"] = spans.evaluate_boundaries(steps, n_boot=20)
    assert found.keys() | {"retrieval"} == trivial.REGISTRY.keys()
    for task, results in found.items():
        for r in results:
            assert r.protocol.task == task and set(r.trivial) == set(trivial.REGISTRY[task]), (task, r.name)
    assert found["videoqa"][0].trivial["text prior"] == 1 and found["videoqa"][0].trivial["longest caption"] == 0


def test_what_the_model_adds_over_the_strongest_that_saw_nothing_is_paired():
    video, group, recipe = _clips()
    same = (group[:, None] == group).astype(float)
    rng = np.random.default_rng(0)
    model, words = same + rng.random((160, 160)), same * (np.arange(160) % 2) + 1e-3 * rng.random((160, 160))
    beside = {"bag of words": words, "one second": same + 1}
    r = _named(retrieval.evaluate(model, group, group, video, video, recipe, beside=beside))["t2v_R@1"]
    assert r.best_trivial[0] == "bag of words", "who is shown a second of it, or told the video, is no opponent"
    over = r.extra["over"]
    assert over["opponent"] == "bag of words" and over["difference"] == pytest.approx(r.value - r.best_trivial[1])
    assert over["low"] < over["difference"] < over["high"] or over["difference"] == 0
    equal = _named(retrieval.evaluate(words, group, group, video, video, beside=beside))["v2t_R@1"]
    assert equal.extra["over"]["low"] == equal.extra["over"]["high"] == 0, "the same answers differ in no draw"


def test_silent_pairs_have_rows_that_words_cannot_win():
    video, group, _ = _clips()
    same, silent = group[:, None] == group, np.arange(160) % 4 == 0
    words = np.where(same & ~silent, 1.0, 0.0)  # every clip that is spoken of is found by its words
    got = _named(retrieval.evaluate(np.eye(160), group, group, video, video, beside={"bag of words": words},
                                    silent=silent))  # fmt: skip
    for name in ("t2v_R@1_silent", "v2t_R@1_silent"):
        assert got[name].n == 40 and got[name].value == 1
    left = got["t2v_R@1_silent"]
    own = [(same[i] & silent).sum() / (~(same[i] & ~silent)).sum() for i in np.flatnonzero(silent)]
    assert left.chance == pytest.approx(np.mean(own)), "clips of the step that are spoken of are not in the gallery"
    assert left.trivial["bag of words"] == pytest.approx(left.chance), "all that is left is equal to it"
    assert got["t2v_R@1"].trivial["bag of words"] > 0.9
    (_, quiet) = videoqa.evaluate(np.eye(160), range(160), video, silent=silent, n_boot=20)
    assert quiet.name == "qa_accuracy_silent" and quiet.n == 40 and quiet.value == 1


# -------------------------------------------------------------------------------------------- classification


def test_prompts():
    assert classification.fill(["how to make {}", "{}"], ["pie"]) == [["how to make pie", "pie"]]
    prompts = np.array([[[2.0, 0], [0, 4]], [[1, 1], [1, 1]]])
    assert classification.ensemble(prompts).tolist() == [[1, 2], [1, 1]]
    assert classification.ensemble(prompts, normalise=True)[0].tolist() == [0.5, 0.5]


def test_classification_evaluate():
    rng = np.random.default_rng(0)
    labels, videos = rng.integers(0, 8, 300), np.arange(300)
    random = _named(classification.evaluate(rng.standard_normal((300, 8)), labels, videos))
    assert random["accuracy@1"].chance == 1 / 8 and random["accuracy@5"].chance == 5 / 8
    assert random["accuracy@1"].value == pytest.approx(1 / 8, abs=0.06)
    assert random["accuracy@1"].trivial["majority class"] == np.bincount(labels).max() / 300
    perfect = _named(classification.evaluate(np.eye(8)[labels], labels, videos))
    assert perfect["accuracy@1"].value == 1 and perfect["accuracy@1"].extra["times_chance"] == 8


def test_lookalike_errors():
    scores = np.array([[5, 1, 0, 0], [5, 1, 0, 0], [0, 0, 1, 2], [3, 0, 9, 0], [0, 7, 7, 0.0]])
    labels, twin, videos = [0, 1, 2, 3, 3], [1, 0, 3, 2], list("abcde")
    got = classification.lookalike_errors(scores, labels, twin, videos)[0]
    # wrong: b -> its twin, c -> its twin, d -> its twin, e -> half another, half its twin
    assert got.n == 4 and got.value == pytest.approx(3.5 / 4) and got.chance == pytest.approx(1 / 3)
    assert classification.lookalike_errors(np.eye(4), range(4), twin, list("abcd")) == []
    alone = classification.lookalike_errors(scores, labels, [-1, 0, 3, -1], videos)
    assert alone[0].n == 2, "classes without a look-alike are left out"


# --------------------------------------------------------------------------------------------------- moments


def test_moments_worked():
    scores = np.zeros(20)
    scores[3:6], scores[12:15] = [5, 9, 6], [4, 7, 7]
    first, second = moments.best_moments(scores, top=2)
    assert (first.start_s, first.end_s, first.peak_s, first.score) == (3, 6, 4.5, 9)
    assert (second.start_s, second.end_s, second.score) == (12, 15, 7)


def test_moments_never_overlap_and_stay_inside():
    rng = np.random.default_rng(0)
    for _ in range(100):
        found = moments.best_moments(rng.standard_normal(40), top=9)
        spans = sorted((m.start_s, m.end_s) for m in found)
        assert spans[0][0] >= 0 and spans[-1][1] <= 40
        assert all(b[0] - a[1] >= moments.MIN_GAP_S for a, b in itertools.pairwise(spans))
        assert all(m.start_s < m.peak_s < m.end_s for m in found)
        assert [m.score for m in found] == sorted((m.score for m in found), reverse=True)


def test_moment_evaluate():
    rng, cases = np.random.default_rng(0), []
    for i in range(300):
        start = rng.integers(0, 50)
        cases.append((rng.standard_normal(60), [(start, start + 6.0)], f"v{i % 50}"))
    random = _named(moments.evaluate(cases))
    assert random["pointing"].chance == pytest.approx(0.1)
    assert random["pointing"].value == pytest.approx(0.1, abs=0.05)
    assert random["moment_tIoU"].value == pytest.approx(random["moment_tIoU"].chance, abs=0.03)
    perfect = [(np.array([a <= t < b for t in range(60)], float), [(a, b)], v) for _, [(a, b)], v in cases]
    for result in moments.evaluate(perfect):
        assert result.value == 1
    constant = _named(moments.evaluate([(np.zeros(60), spans, v) for _, spans, v in cases]))
    assert constant["pointing"].value == pytest.approx(constant["pointing"].chance)


def test_library_search():
    scores = np.array([[3, 2, 1, 0], [0, 1, 2, 3], [1, 1, 1, 1.0], [9, 8, 7, 6]])
    relevant = np.array([[1, 0, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 0, 0]], bool)
    [found] = moments.evaluate_search(scores, relevant, setting=Card(split="s"))  # of five there are not enough
    assert found.name == "library_R@1" and found.n == 3 and "1 queries without a right window" in found.protocol.rule
    assert found.value == pytest.approx((1 + 0 + 1 / 2) / 3)
    assert found.chance == pytest.approx((1 / 4 + 2 / 4 + 2 / 4) / 3) == found.trivial["constant score"]


def test_centring_removes_what_a_second_adds_to_all_its_scores():
    scores = np.random.default_rng(0).normal(size=(6, 4))
    level = np.random.default_rng(1).normal(size=(6, 1)) * 10
    np.testing.assert_allclose(segmentation.centred(scores + level), segmentation.centred(scores))
    np.testing.assert_array_equal(segmentation.centred(scores).argmax(1), scores.argmax(1))


def test_a_second_grows_to_the_stretch_in_which_its_step_is_best():
    best = np.array([0, 0, 1, 1, 1, 0, 2, 2])
    scores = np.eye(3)[best]
    assert localization.extents(scores, np.array([1, 3, 6])).tolist() == [[0, 2], [2, 5], [6, 8]]
    assert localization.extents(scores, np.array([5, 3, 6])).tolist()[0] == [5, 6], "the stretch around this second"
    lone = localization.extents(scores, np.array([0, 1, 6]))
    assert lone[1].tolist() == [1, 5], "grown from a second where another step is best"


def test_step_iou_of_a_perfect_and_of_an_ignorant_model():
    intervals = [[(0, 3)], [(3, 5)], []]
    perfect = np.array([[1, 0, 0]] * 3 + [[0, 1, 0]] * 2 + [[0, 0, 1]] * 5, float)
    cases = [localization.Case(5 * perfect, intervals, f"v{i}", "t") for i in range(4)]
    found = {r.name: r for r in localization.evaluate(cases, n_boot=20)}["step_tIoU"]
    assert found.value == pytest.approx(1) and found.n == 8, "the absent step counts nowhere"
    parts = [(0, 10 / 3), (10 / 3, 20 / 3)]
    by_hand = [3 / (10 / 3), (5 - 10 / 3) / (20 / 3 - 3)]
    assert found.trivial["uniform in order"] == pytest.approx(np.mean(by_hand)), parts
    rng = np.random.default_rng(0)
    drawn = [np.sort(rng.permutation(10)[:3]) for _ in range(20_000)]
    hits = [((t[0] < 3) / 3 + (3 <= t[1] < 5) / 2) / 2 for t in drawn]
    assert found.chance == pytest.approx(np.mean(hits), abs=0.01)


# ------------------------------------------------------------------------------------------------- what is wrong

NOTHING, CASE = np.zeros((4, 4)), localization.Case(np.zeros((6, 4)), [[(0, 2)], [], [], []], "v0", "t")
LADDER = [CASE], [np.zeros((6, 9))], [np.arange(4)]
LABELLED = _labelled(n=2)
SPAN = spans.Case(np.array([[0.0, 5]]), np.array([[0.0, 5]]), "v", 10.0)


def _labels(*predicted):
    return segmentation.evaluate_labels([np.array(p, int) for p in predicted], [np.array([1, 2]), np.array([0])], "ab")


@pytest.mark.parametrize(("ask", "message"), [
    (lambda: retrieval.evaluate(NOTHING * np.nan, range(4), range(4), range(4)), "NaN"),
    (lambda: retrieval.evaluate(NOTHING, range(3), range(4), range(4)), "'scores': 4, 'query_group': 3"),
    (lambda: retrieval.evaluate(NOTHING, range(4), range(4, 8), range(4)), "no query shares a group"),
    (lambda: retrieval.evaluate(NOTHING, *[range(4)] * 3, ties="reference"), "needs paired texts and clips"),
    (lambda: videoqa.build_choices(["a", "b", "c", "a"]), "5 choices need as many different groups, got 3"),
    (lambda: videoqa.build_choices(range(9), hard=True), "hard choices need `near`"),
    (lambda: localization.localize(CASE.scores[:3]), "4 steps do not fit in order into 3 seconds"),
    (lambda: localization.evaluate([CASE._replace(scores=CASE.scores[:3])]), "video v0: 4 steps do not fit"),
    (lambda: localization.evaluate([CASE._replace(intervals=[[]])]), "video v0: expected intervals for 4 steps, got 1"),
    (lambda: localization.evaluate([CASE._replace(intervals=[[(5, 1)]] * 4)]), "v0: expected an interval with 0 <= st"),
    (lambda: localization.evaluate([CASE._replace(intervals=[[]] * 4)]), "no step of any video is annotated"),
    (lambda: localization.evaluate([]), "no videos"),
    (lambda: localization.ladder([CASE._replace(intervals=[[]] * 4)], *LADDER[1:]), "no step of any video is"),
    (lambda: localization.ladder(2 * LADDER[0], *LADDER[1:]), "arrays of one length"),
    (lambda: truth_labels([(0, 1, "fry")], {"chop": 0}, 7), "step 'fry' is not among the 1 steps"),
    (lambda: segmentation.text_gamma(np.ones((2, 3))), "at least 2 different label texts, got 1"),
    (lambda: segmentation.choose_gamma(*LABELLED[:2], "luck"), "expected objective to be one of frame accuracy"),
    (lambda: segmentation.evaluate(LABELLED[0], [LABELLED[1][0], [1]], "xy", 1.0), "80 seconds of scores, 1 of truth"),
    (lambda: segmentation.evaluate(LABELLED[0], [np.zeros(80, int)] * 2, "xy", 1.0), "no second of any video belongs"),
    (lambda: classification.fill(["cooking"], ["pie"]), r"expected one \{\} in the prompt template"),
    (lambda: classification.evaluate(NOTHING[:2], [0, 4], [0, 1]), r"expected labels in 0\.\.3, got 0 to 4"),
    (lambda: moments.best_moments(np.zeros(9), top=0), "expected top of at least 1"),
    (lambda: moments.evaluate([(np.zeros(5), [], "v")]), "a true interval in each"),
    (lambda: moments.evaluate_search(NOTHING, NOTHING - 1), "expected relevant to hold True and False"),
    (lambda: moments.evaluate_search(NOTHING, NOTHING[:1]), "'scores': 4, 'relevant': 1"),
    (lambda: spans.evaluate([SPAN]), "expected two sentences or more"),
    (lambda: localization.ordered_seconds([np.full((3, 2), np.inf)]), "infinite on every way"),
    (lambda: segmentation.segment(NOTHING, np.nan), "expected gamma to be a number"),
    (lambda: _labels([1, -1], [0]), "video a: expected predicted labels from 0"),
    (lambda: _labels([1], [0]), r"video a: expected predicted labels \(2,\), got \(1,\)"),
    (lambda: _labels([1, 2]), "'predicted': 1, 'truths': 2"),
    (lambda: segmentation.evaluate_labels([np.zeros(0, int)], [np.zeros(0, int)], "a"), "a label or more"),
    (lambda: classification.evaluate(NOTHING[:2], [0.5, 1], [0, 1]), "expected labels as integers, got float64"),
    (lambda: moments.evaluate_search(NOTHING, NOTHING), "none of 4 queries has a right window"),
])  # fmt: skip
def test_what_is_wrong_is_named(ask, message):
    refused(message, ask)
