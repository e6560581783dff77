"""From clips, files and sentences to embeddings and scores: the same answer however one asks, and faults by name."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from checks import refused
from toys import toy_contract, toy_encoder

from vcwork.base.errors import VcworkError
from vcwork.core.text import Tokenizer
from vcwork.data.backbones.image import get_backbone
from vcwork.data.captions import Caption, write_vtt
from vcwork.data.corpus import Corpus, Recipe, Segment, Video, scan_folder
from vcwork.data.extract import contract_of, extract
from vcwork.data.store import Contract, write_store
from vcwork.data.video import write_mp4
from vcwork.encoders.encoder import (
    Encoder,
    encode_all_seconds,
    encode_seconds,
    encode_text,
    encode_video,
    score,
    windows,
)
from vcwork.search import verbs as apply
from vcwork.search.index import VideoIndex
from vcwork.tasks import cases as evaluation
from vcwork.tasks import localization, opponents, segmentation

WIDTH, WINDOW = 6, 8
STEPS = {"s1": "chop the onion", "s2": "stir the soup", "s3": "peel the beet", "s4": "toss the salad"}


def _encoder(contract: Contract) -> Encoder:
    tokenizer = Tokenizer.train([*STEPS.values(), *STEPS.values(), "today we are making stew", "stew stew pie pie"])
    made = toy_encoder(tokenizer, contract.width, digest="random", hidden=16, ffn=32, max_text_tokens=12)
    return replace(made, contract=contract)


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return _encoder(toy_contract(WIDTH))


def _clips(lengths, seed=0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(n, WIDTH)).astype(np.float32) for n in lengths]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Corpus and store: two recipes, three test videos, one train video, one test video without features."""
    folder = tmp_path_factory.mktemp("world")
    segments = {
        "a": (Segment(1, 3.5, "s1", "dice the onion"), Segment(5, 8, "s2")),
        "b": (Segment(0, 2, "s2"), Segment(4, 6, "s1", "mince the onion"), Segment(8, 9.5, "s1")),
        "c": (Segment(2, 5, "s3"), Segment(30, 31, "s4", "beyond the features")),
        "t": (Segment(2, 4, "s1"), Segment(6, 8, "s2")),
        "lost": (Segment(0, 1, "s3"),),
    }
    recipe = {"a": "stew", "b": "stew", "c": "pie", "t": "stew", "lost": "pie"}
    videos = {
        id: Video(id, None, None, 10.0, "train" if id == "t" else "test", recipe[id], spans)
        for id, spans in segments.items()
    }
    recipes = {"stew": Recipe("stew", "stew", ("s1", "s2"), "pie"), "pie": Recipe("pie", "pie", ("s3", "s4"), "stew")}
    corpus = Corpus(folder, "toy", videos, STEPS, recipes)
    arrays = dict(zip("abct", _clips([10, 12, 9, 10]), strict=True))
    return corpus, write_store(folder / "features", toy_contract(WIDTH), arrays)


# ----------------------------------------------------------------------------------------------------- encode


def test_any_batch_size_gives_the_same_answer(encoder):
    clips, sentences = _clips([3, 1, 8, 20, 5, 9, 2]), [*STEPS.values(), "stew", "", "something never heard before"]
    video, text = encode_video(encoder, clips), encode_text(encoder, sentences)
    assert video.shape == (7, 16) and text.shape == (7, 16) and video.dtype == text.dtype == np.float32
    long = _clips([50])[0]
    for size in (1, 3, 64):
        np.testing.assert_allclose(encode_video(encoder, clips, size), video, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(encode_text(encoder, sentences, size), text, rtol=1e-4, atol=1e-5)
        seconds = encode_seconds(encoder, long, batch_size=size)
        np.testing.assert_allclose(seconds, encode_seconds(encoder, long), rtol=1e-4, atol=1e-5)


def test_equal_texts_are_encoded_once_and_in_batches_of_like_lengths(encoder, monkeypatch):
    sentences = [
        "stew pie",
        "Stew  pie",
        "stew",
        "today we are making stew",
        "stew pie",
        "pie",
        "stew, pie",
        *STEPS.values(),
    ]
    by_hand = np.stack([_padded(encoder, sentence) for sentence in sentences])
    shapes, run = [], encoder.model.encode_text  # (B, L) of what the text tower reads
    monkeypatch.setattr(encoder.model, "encode_text", lambda *ids: (shapes.append(ids[0].shape), run(*ids))[1])
    vectors = encode_text(encoder, sentences, 2)
    np.testing.assert_allclose(vectors, by_hand, rtol=1e-5, atol=1e-6)
    assert np.array_equal(vectors[0], vectors[1]) and np.array_equal(vectors[0], vectors[4]), "the same tokens"
    assert not np.array_equal(vectors[0], vectors[6]), "a comma is a token"
    assert sum(n for n, _ in shapes) == 9 and all(n * length <= 2 * 14 for n, length in shapes)
    lengths = [length for _, length in shapes]
    assert lengths == sorted(lengths, reverse=True) and len(lengths) < 9, "more than two where they are short"


def _padded(encoder, sentence: str) -> np.ndarray:
    """As the reference code reads a sentence: alone, padded to the full length."""
    ids, mask = (torch.zeros(1, 14, dtype=kind) for kind in (torch.long, torch.bool))
    tokens = encoder.tokenizer.tokens([sentence])[0][:12]
    ids[0, : len(tokens) + 2] = torch.tensor([encoder.tokenizer.cls, *tokens, encoder.tokenizer.sep])
    mask[0, : len(tokens) + 2] = True
    with torch.inference_mode():
        return encoder.model.encode_text(ids, mask).pooled[0].numpy()


def test_windows_of_many_videos_share_batches_and_are_read_when_their_turn_comes(encoder, monkeypatch):
    monkeypatch.setattr("vcwork.encoders.encoder.KEPT", 2)
    clips, taken = _clips([20, 3, 9, 50, 1, 12, 8, 30]), []
    each = encode_all_seconds(encoder, (taken.append(len(c)) or c for c in clips), 3, 2, True)
    first = next(each)
    assert taken == [20, 3, 9], "as many as fill two batches of two windows of 8 s"
    alone = [encode_seconds(encoder, clip, 3, 2, True) for clip in clips]
    for one, other in zip([first, *each], alone, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
    one_by_one = np.concatenate([encode_video(encoder, [clip]) for clip in clips])
    np.testing.assert_allclose(encode_video(encoder, clips, 2), one_by_one, rtol=1e-5, atol=1e-6)


def test_a_long_clip_is_the_mean_of_its_windows(encoder):
    clip = _clips([21])[0]
    assert windows(21, WINDOW) == [0, 4, 8, 12, 16] and windows(WINDOW, WINDOW) == [0]
    assert windows(40, 32, 16) == [0, 16] and windows(1, 32) == [0]
    parts = [clip[s : s + WINDOW] for s in (0, 4, 8, 12, 16)]
    by_hand = encode_video(encoder, parts).mean(0)
    np.testing.assert_allclose(encode_video(encoder, [clip])[0], by_hand, rtol=1e-4, atol=1e-5)


def test_seconds_are_token_states_averaged_where_windows_overlap(encoder):
    clip = _clips([12])[0]
    states = []
    for start in (0, 4):
        part = torch.from_numpy(clip[start : start + WINDOW])[None]
        with torch.inference_mode():
            states.append(encoder.model.encode_video(part, torch.ones(1, WINDOW, dtype=torch.bool)).states[0].numpy())
    seconds = encode_seconds(encoder, clip)
    assert seconds.shape == (12, 16)
    np.testing.assert_allclose(seconds[:4], states[0][:4], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(seconds[4:8], (states[0][4:] + states[1][:4]) / 2, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(seconds[8:], states[1][4:], rtol=1e-4, atol=1e-5)


def test_score_is_the_raw_dot_product():
    assert score([[1, 2]], [[3, 4], [0, 1]]).tolist() == [[11, 2]]
    refused(r"of one width, got \(1, 2\) and \(1, 3\)", score, np.ones((1, 2)), np.ones((1, 3)))


def test_array_stored_feature_and_file_give_the_same_answer(tmp_path):
    rng = np.random.default_rng(0)
    base = rng.integers(0, 255, (64, 64, 3)).astype(np.uint8)
    write_mp4(tmp_path / "a.mp4", (np.roll(base, 2 * i, 1) for i in range(35)), 10)
    backbone = get_backbone("motion")
    store = extract(scan_folder(tmp_path), backbone, tmp_path / "features", workers=1, progress=False)
    encoder = _encoder(contract_of(backbone))
    path = tmp_path / "a.mp4"
    stored = encode_video(encoder, [store["a"]])
    assert store.lengths == {"a": 4}
    for clip in (np.array(store["a"]), np.array(store["a"], np.float32), path, str(path)):
        np.testing.assert_allclose(encode_video(encoder, [clip]), stored, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(encode_seconds(encoder, path), encode_seconds(encoder, store["a"]))
    assert apply.search(encoder, str(path), store, 1)[0].id == "a", "a string that names a file is a video"


@pytest.mark.parametrize("ask", [encode_video, lambda e, clips: encode_seconds(e, clips[0])])
def test_bad_features_are_named(encoder, ask):
    holed = _clips([4])[0]
    holed[2, 1] = np.nan
    refused("clip 0: features hold NaN or infinity", ask, encoder, [holed])
    for wrong in (np.ones((4, WIDTH + 1)), np.ones(WIDTH), np.ones((0, WIDTH))):
        refused(r"clip 0: expected features \(T, 6\) with T >= 1, got \(", ask, encoder, [wrong])


def test_numbers_too_large_to_compute_with_are_told_and_no_answer_goes_missing(encoder):
    """Finite features, or finite weights, whose vectors are not."""
    good = _clips([4, 5])
    huge = [*good, np.full((4, WIDTH), 3e38, np.float32)]
    refused(r"clip 2: its vector is not finite \(1 of 3\)", encode_video, encoder, huge)
    refused("clip 2: second 0: its vector is not finite", lambda: list(encoder.encode_seconds(huge)))
    spoilt = replace(encoder, model=copy.deepcopy(encoder.model))
    with torch.no_grad():
        for weight in spoilt.model.parameters():
            weight.mul_(1e30)
    refused("clip 0: its vector is not finite", encode_video, spoilt, good)
    refused("sentence 0: its vector is not finite", encode_text, spoilt, ["stew"])


def test_other_bad_input_is_named(encoder, tmp_path):
    refused("clip 1: features hold NaN", encode_video, encoder, [*_clips([2]), np.full((2, WIDTH), np.inf)])
    refused("expected a list of sentences, got 'stew'", encode_text, encoder, "stew")
    for strange in (None, b"stew", ["stew"]):
        refused("expected a list of sentences, got one with ", encode_text, encoder, ["chop", strange])
    for nothing in (encode_text, encode_video):
        refused("at least one clip or sentence, got none", nothing, encoder, [])
    write_mp4(tmp_path / "a.mp4", [np.zeros((32, 32, 3), np.uint8)] * 10, 10)
    with pytest.raises(VcworkError, match=r"a.mp4: encoder wants features of .*'toy'.*backbone gives .*'motion"):
        encoder.features_of(tmp_path / "a.mp4", get_backbone("motion"))


# ------------------------------------------------------------------------------------------------------ apply


def test_search_by_sentence_by_clip_and_in_an_index(encoder):
    clips = dict(zip("abcde", _clips([3, 5, 8, 12, 4]), strict=True))
    vectors = encode_video(encoder, clips.values())
    by_hand = (encode_text(encoder, ["chop the onion"]) @ vectors.T)[0]
    hits = apply.search(encoder, "chop the onion", clips, k=3)
    assert [h.id for h in hits] == [list(clips)[n] for n in np.argsort(-by_hand)[:3]]
    assert np.allclose([h.score for h in hits], np.sort(by_hand)[::-1][:3], atol=1e-4)
    index = VideoIndex.build(vectors, list(clips), encoder=encoder.digest)
    assert apply.search(encoder, "chop the onion", index, k=3) == hits
    like = vectors @ vectors[2]
    assert apply.search(encoder, clips["c"], index, k=1)[0].id == list(clips)[like.argmax()]
    with pytest.raises(VcworkError, match="made by encoder 'other'"):
        apply.search(encoder, "stew", VideoIndex.build(vectors, list(clips), encoder="other"))
    assert len(apply.search(encoder, "chop the onion " * 40, index)) == 5, "longer than a file's name may be"


def test_a_sentence_that_is_no_utf_8_is_read_as_it_is_shown(encoder):
    """As from a terminal of another encoding: half a surrogate, which no tokenizer takes."""
    assert np.array_equal(encode_text(encoder, ["chop \udce9 stew"]), encode_text(encoder, ["chop ? stew"]))
    assert Tokenizer.train(["\udce9 stew", "stew"]).vocabulary[-1] == "stew"


def test_one_text_is_no_list_of_its_letters(encoder):
    clip = _clips([9])[0]
    refused("expected a list of steps, got 'chop'", apply.segment, encoder, clip, "chop")
    refused("expected a list of steps, got 'chop'", apply.localize, encoder, clip, "chop")
    refused("expected a list of names, got 'ab'", apply.classify, encoder, [clip], "ab")
    refused("expected a list of templates, got '{}'", apply.classify, encoder, [clip], ["a", "b"], "{}")


def test_segment_and_localize_are_what_the_tasks_do_on_the_scores(encoder):
    clip, steps = _clips([20])[0], list(STEPS.values())
    scores = encode_seconds(encoder, clip, hide_cls=True) @ encode_text(encoder, steps).T
    middle = float(np.median(scores.max(1)))
    by_hand = np.where(scores.max(1) > middle, scores.argmax(1) + 1, 0)
    assert np.array_equal(apply.segment(encoder, clip, steps, middle), by_hand)
    assert (apply.segment(encoder, clip, steps, -1e9) > 0).all() and not apply.segment(encoder, clip, steps, 1e9).any()
    assert set(apply.segment(encoder, clip, steps)) <= set(range(5)), "without gamma the paper's rule"
    seconds = apply.localize(encoder, clip, steps)
    assert seconds.shape == (4,) and (np.diff(seconds) > 0).all()


def test_classify_averages_the_templates(encoder):
    clips, names, templates = _clips([4, 9]), ["stew", "pie"], ["{}", "today we are making {}"]
    both = apply.classify(encoder, clips, names, templates)
    each = [apply.classify(encoder, clips, names, [t]) for t in templates]
    assert both.shape == (2, 2)
    np.testing.assert_allclose(both, np.mean(each, axis=0), rtol=1e-4, atol=1e-5)
    assert evaluation.prompt_vectors(encoder, names, templates).shape == (2, 2, 16)


# ------------------------------------------------------------------------------------------------- evaluation


def test_annotated_clips_are_the_seconds_an_annotation_touches(world):
    corpus, store = world
    clips = evaluation.annotated_clips(corpus, store, "test")
    assert clips.videos.tolist() == list("aabbbc"), "neither beyond the features nor without them"
    assert [len(f) for f in clips.features] == [3, 3, 2, 2, 2, 3]
    assert np.array_equal(clips.features[0], store["a"][1:4]) and clips.spans[0] == (1, 3.5)
    assert clips.sentences[:2] == ["dice the onion", "stir the soup"], "the annotator's words, or else the step's"
    assert clips.steps.tolist() == ["s1", "s2", "s2", "s1", "s1", "s3"] and len(clips) == 6
    assert clips.recipes.tolist() == ["stew"] * 5 + ["pie"]


def test_clip_scores_are_texts_by_clips(world, encoder):
    clips = evaluation.annotated_clips(*world, "test")
    scores = evaluation.clip_scores(encoder, clips)
    assert scores.shape == (6, 6)
    one = encode_text(encoder, [clips.sentences[1]]) @ encode_video(encoder, [clips.features[2]]).T
    assert np.isclose(scores[1, 2], one[0, 0], atol=1e-4)


def test_seconds_of_a_split_and_what_the_tasks_make_of_them(world, encoder):
    corpus, store = world
    seconds = evaluation.seconds_of_split(encoder, corpus, store, "test")
    assert seconds.ids == ["a", "b", "c"] and seconds.steps == ["s1", "s2", "s3", "s4"]
    assert [s.shape for s in seconds.scores] == [(10, 4), (12, 4), (9, 4)]
    assert seconds.truths[0].tolist() == [0, 1, 1, 1, 0, 2, 2, 2, 0, 0]
    assert [c.tolist() for c in evaluation.own_columns(seconds, corpus)] == [[0, 1], [0, 1], [2, 3]]
    cases = evaluation.localization_cases(seconds, corpus)
    assert [(c.video, c.task) for c in cases] == [("a", "stew"), ("b", "stew"), ("c", "pie")]
    assert cases[1].intervals == [[(4, 6), (8, 9.5)], [(0, 2)]]
    assert np.array_equal(cases[2].scores, seconds.scores[2][:, 2:])
    queries = evaluation.moment_cases(seconds)
    assert [(q.video, len(q.intervals)) for q in queries] == [
        ("a", 1),
        ("a", 1),
        ("b", 1),
        ("b", 2),
        ("c", 1),
        ("c", 1),
    ]
    assert np.array_equal(queries[3].scores, seconds.scores[1][:, 0])


def test_step_centres_are_shares_of_truth(world):
    centres, lengths = opponents.step_centres(*world, "test")
    assert lengths == [10, 12, 9]
    np.testing.assert_allclose(centres[0], [2.25, 6.5])
    np.testing.assert_allclose(centres[1], [(5 + 8.75) / 2, 1])
    np.testing.assert_allclose(opponents.step_centres(*world, "train")[0][0], [3, 7])


@pytest.fixture
def told(world, tmp_path):
    """The world with a narration of video a: it speaks of the onion late, and of nothing that is done in it last."""
    corpus, store = world
    write_vtt(
        tmp_path / "a.vtt", [Caption(0, 0.9, "hello"), Caption(3, 5.5, "now dice that onion"), Caption(9, 10, "ah")]
    )
    return replace(
        corpus, videos=corpus.videos | {"a": replace(corpus["a"], captions=tmp_path / "a.vtt")}, _raw={}
    ), store


def test_what_is_said_in_a_span(told):
    corpus, _ = told
    spans = [("a", 1, 3.5), ("a", 5, 8), ("a", 6, 9), ("b", 0, 9)]
    assert opponents.spoken(corpus, spans) == ["now dice that onion", "now dice that onion", "", ""]
    own = replace(corpus, meta={"rolling_captions": False})
    assert opponents.spoken(own, spans) == [], "annotators' sentences would give the answer away"


def test_opponents_of_retrieval(world, told, encoder):
    clips = evaluation.annotated_clips(*world, "test")
    mute = opponents.of_retrieval(world[0], clips, encoder)
    assert list(mute["beside"]) == ["one second"] and mute["silent"] is None, "nothing is said in these videos"
    mean = encode_video(encoder, [np.asarray(clips.features[2], np.float32).mean(0, keepdims=True)])
    by_hand = encode_text(encoder, clips.sentences) @ mean[0]
    np.testing.assert_allclose(mute["beside"]["one second"][:, 2], by_hand, rtol=1e-4, atol=1e-4)
    found = opponents.of_retrieval(told[0], clips)
    words = found["beside"]["bag of words"]
    assert words.shape == (6, 6) and words[0, 0] > words[1, 0] == 0 and not words[:, 3].any()
    assert found["silent"].tolist() == [False, False, True, True, True, True], "where nothing is said"
    assert evaluation.annotated_clips(*world, "test", as_reference=True).cut == 0


def test_the_narration_scores_seconds_and_knows_nothing_of_silent_steps(told, encoder, monkeypatch):
    corpus, store = told
    about = {"a": {"caption_segment": [-1, 0, -1]}, "b": {"caption_segment": []}, "c": {"caption_segment": []}}
    monkeypatch.setattr(Corpus, "truth", lambda self, video: about.get(video, {}))
    seconds = evaluation.seconds_of_split(encoder, corpus, store, "test")
    heard = opponents.narrated(corpus, seconds)
    at = np.flatnonzero(heard.scores[0][:, 0])
    assert at.tolist() == [3, 4, 5] and not heard.scores[0][:, 1].any(), "the onion from 3 to 5.5 s, stirring never"
    beside = opponents.of_localization(corpus, store, seconds)
    assert [quiet.tolist() for quiet in beside["silent"]] == [[False, True], [True, True], [True, True]]
    cases = evaluation.localization_cases(seconds, corpus)
    found = {r.name: r for r in localization.evaluate(cases, **beside, n_boot=20)}
    assert found["recall_silent"].n == found["recall"].n - 1 == 4 and "bag of words" in found["step_tIoU"].trivial
    more = opponents.of_segmentation(corpus, store, seconds, seconds)
    assert [int(quiet.sum()) for quiet in more["silent"]] == [3, 6, 3], "all step seconds but those of a's onion"
    named = {
        r.name: r for r in segmentation.evaluate(seconds.scores, seconds.truths, seconds.ids, 0.0, **more, n_boot=20)
    }
    assert named["foreground_recall_silent"].trivial["bag of words"] == 0 and named["foreground_recall_silent"].n == 12
    assert [len(s) for s in opponents.of_moments(corpus, seconds)] == [10, 10, 12, 12, 9, 9]
    assert opponents.of_windows(corpus, ["onion"], [("a", 0, 2), ("a", 2, 9)])["bag of words"].argmax() == 1
    videos = [corpus["a"], corpus["b"]]
    classes = opponents.of_classification(corpus, videos, [["dice an onion"], ["pie"]])["bag of words"]
    assert classes.shape == (2, 2) and classes[0, 0] > 0 == classes[0, 1]


def test_hidden_cls_is_the_references_and_the_card_says_so(world, encoder):
    hidden, seen = (evaluation.seconds_of_split(encoder, *world, "test", as_reference=way) for way in (True, False))
    by_hand = encode_seconds(encoder, world[1]["a"], hide_cls=True)
    texts = encode_text(encoder, [world[0].steps[s] for s in hidden.steps])
    np.testing.assert_allclose(hidden.scores[0], by_hand @ texts.T, rtol=1e-4, atol=1e-5)
    assert not np.allclose(hidden.scores[0], seen.scores[0], rtol=1e-3)
    cards = [evaluation.setting_of(world[0], "test", world[1], encoder, part) for part in (hidden, seen)]
    assert [card.cls for card in cards] == ["hidden", "attended"] and cards[0].windows == "overlapping"


def test_truths_of_train_in_the_numbers_of_test(world, encoder):
    corpus, store = world
    truths, recipes = opponents.fitted_truths(corpus, store, ["s2", "s3"])
    assert recipes == ["stew"] and truths[0].tolist() == [0, 0, 3, 3, 0, 0, 1, 1, 0, 0], "s1 is beyond the two"
    seconds = evaluation.seconds_of_split(encoder, corpus, store, "train")
    known = opponents.of_segmentation(corpus, store, seconds)["beside"]
    assert np.array_equal(known["task and time"][0], seconds.truths[0]), "fitted on this very video"
    assert np.array_equal(known["relative time"][0], known["task and time"][0]), "one task only"
    assert known["oracle task"][0].tolist() == [1] * 5 + [2] * 5, "its two steps in equal parts"
    seconds = evaluation.seconds_of_split(encoder, corpus, store, "test")
    unseen = opponents.of_segmentation(corpus, store, seconds)["beside"]
    assert np.array_equal(unseen["task and time"][2], unseen["relative time"][2]), "nobody fitted pie"
    assert opponents.task_labels(seconds, corpus) == (["stew", "stew", "pie"], {"stew": [1, 2], "pie": [3, 4]})
    bare = replace(seconds, videos=[replace(v, recipe=None) for v in seconds.videos])
    assert opponents.task_labels(bare, corpus) == ([], {})


def test_without_an_encoder_a_clip_is_its_mean_direction():
    vectors = evaluation.mean_vectors([np.array([[3.0, 0], [3, 8]]), np.zeros((2, 2))])
    np.testing.assert_allclose(vectors, [[0.6, 0.8], [0, 0]], rtol=1e-6)


def test_words_about_a_split(world, encoder):
    corpus, store = world
    table = evaluation.overview(corpus, store, encoder, "test")
    assert "corpus toy, test" in table and "3 videos, 2 recipes, 7 annotated segments, 31 seconds" in table
    assert "window 8 s" in table and "model" not in evaluation.overview(corpus, store, None, "test")


def test_the_base_card_knows_split_distance_hashes_and_what_is_missing(world, encoder):
    corpus, store = world
    assert str(evaluation.setting_of(corpus, "test")) == "toy test; videos of trained recipes"
    unseen = {id: v for id, v in corpus.videos.items() if id in "ct"}
    new = Corpus(corpus.folder, "new", unseen, STEPS, corpus.recipes)
    assert evaluation.setting_of(new, "test").rule == "zero-shot on unseen recipes"
    assert "seen in training" in evaluation.setting_of(corpus, "train").rule
    alone = Corpus(corpus.folder, "own", {"c": corpus["c"]}, STEPS, corpus.recipes)
    assert str(evaluation.setting_of(alone, "test")) == "own test; zero-shot on another corpus"
    card = evaluation.setting_of(corpus, "test", store, encoder)
    assert card.missing == (1, 4), "one of four test videos has no features"
    assert card.model == encoder.digest == "random" and card.features == store.digest()
    assert card.truncation == ("videos over 8 s read in half-overlapping windows", 1.0)
    clips = evaluation.annotated_clips(corpus, store, "test")
    assert evaluation.setting_of(corpus, "test", store, encoder, clips).truncation[1] == 0, "no clip is over 8 s"
    assert evaluation.setting_of(corpus, "test", store).model == "none"


def test_a_split_without_anything_is_named(world):
    corpus, store = world
    refused("no val video has features in", evaluation.annotated_clips, corpus, store, "val")
    bare = Corpus(corpus.folder, "bare", {"a": Video("a", None, None, 10.0, "test")}, {}, {})
    refused("the test videos have no annotated segments", evaluation.annotated_clips, bare, store, "test")


def test_a_corpus_that_is_not_didemo_plays_it(encoder, world):
    corpus, store = world
    told = evaluation.didemo_sentences(corpus, "test")
    assert ("a", "dice the onion", [(0, 0)]) in told and ("b", "mince the onion", [(0, 1)]) in told
    assert not any(text == "beyond the features" for _, text, _ in told)  # after 30 s
    cases = evaluation.didemo_cases(encoder, corpus, store, "test")
    assert {case.video for case in cases} == {"a", "b", "c"} and all(case.scores.shape == (21,) for case in cases)


def test_clips_inside_their_whole_video(encoder, world):
    corpus, store = world
    clips = evaluation.annotated_clips(corpus, store, "test")
    vectors = evaluation.whole_video_vectors(encoder, store, clips)
    assert vectors.shape == (len(clips), 16)
    row = int(np.flatnonzero(clips.videos == "b")[1])  # seconds 4 to 6
    np.testing.assert_allclose(vectors[row], encode_seconds(encoder, store["b"])[4:6].mean(0), rtol=1e-5)
    assert evaluation.places(clips)[clips.videos == "b"].tolist() == [0, 1, 2]
