"""What a benchmark asks in its own format: published choices, DiDeMo's moments and paragraphs, on made releases."""

import dataclasses
import json
from pathlib import Path

import made_benchmarks as made
import numpy as np
import pytest
import torch

from vcwork.base.errors import NoData
from vcwork.core.config import ModelConfig
from vcwork.core.model import VideoCLIP
from vcwork.core.text import Tokenizer
from vcwork.data.benchmarks.corpora import benchmark_corpus
from vcwork.encoders.encoder import Encoder
from vcwork.tasks import cases as evaluation
from vcwork.tasks import didemo, videoqa

SEEN = np.eye(made.WIDTH)


@pytest.fixture
def plain_model(monkeypatch):
    """Vectors that can be read off: a second is its feature, a clip their mean, a text its number's direction."""

    def of_text(encoder, sentences):
        return np.stack([SEEN[[int(c) for c in s if c.isdigit()]].sum(0) for s in sentences])

    monkeypatch.setattr(evaluation, "encode_text", of_text)
    monkeypatch.setattr(evaluation, "encode_all_seconds", lambda encoder, clips: (np.asarray(c, float) for c in clips))
    monkeypatch.setattr(evaluation, "encode_video", lambda encoder, clips: np.stack([c.mean(0) for c in clips]))


def build(folder: Path, features: dict[str, np.ndarray]):
    made.write_json(folder / "features" / "contract.json", made.CONTRACT)
    for id, array in features.items():
        np.save(folder / "features" / f"{id}.npy", array.astype(np.float16))
    return benchmark_corpus(folder.name, folder, folder.parent / "corpus", folder.parent / "store")


def shown(seconds: int, *spans: tuple[int, int, int]) -> np.ndarray:
    """(T, WIDTH): direction d in seconds [a, b), nothing else."""
    array = np.zeros((seconds, made.WIDTH))
    for a, b, d in spans:
        array[a:b, d] = 1
    return array


@pytest.fixture
def didemo_world(tmp_path):
    """Sentence 0 of a2.mov is about chunk 1, say all; 1 of a2.mov and 2 of b2.m4v about 1 to 2, most say."""
    test = {"a2.mov": shown(30, (5, 10, 0), (20, 30, 1)), "b2.m4v": shown(23, (5, 15, 2))}
    others = {f"{id}{at}.{kind}": shown(25) for at in (0, 1) for id, kind in (("a", "mov"), ("b", "m4v"))}
    folder = made.didemo(tmp_path / "didemo")
    made.edit(folder / "test_data.json", lambda raw: raw[0].update(times=[[1, 1]] * 4))
    return build(folder, test | others)


def test_didemo_sentences_keep_all_choices(didemo_world):
    corpus, _ = didemo_world
    told = evaluation.didemo_sentences(corpus, "val")
    assert [(v, text) for v, text, _ in told] == [(f"{v}", f"someone waves {i}") for i, v in
                                                  enumerate(("a1.mov", "a1.mov", "b1.m4v"))]  # fmt: skip
    assert told[2][2] == [(4, 4), (1, 2), (1, 2), (0, 0)]
    prior = didemo.fit_moment_frequency([times for _, _, times in told])
    assert prior[didemo.SEGMENTS.index((1, 2))] == 6 and prior.sum() == 12


def test_the_moment_that_is_shown_is_ranked_first(didemo_world, plain_model):
    corpus, store = didemo_world
    cases = evaluation.didemo_cases(None, corpus, store, "test")
    assert [case.video for case in cases] == ["a2.mov", "a2.mov", "b2.m4v"]
    assert didemo.SEGMENTS[int(cases[0].scores.argmax())] == (1, 1) and cases[0].scores.max() == 1
    tied = {didemo.SEGMENTS[i] for i in np.flatnonzero(np.isclose(cases[2].scores, 1))}
    assert tied == {(1, 1), (2, 2), (1, 2)}, "chunks 1 and 2 show it in full, alone and together"
    wrong = cases[1].scores  # shown in chunks 4 and 5, its annotators said 1 to 2
    assert didemo.SEGMENTS[int(wrong.argmax())] == (4, 4) and wrong[didemo.SEGMENTS.index((1, 2))] == 0
    assert np.isneginf(cases[2].scores[didemo.SEGMENTS.index((5, 5))]), "b2 ends before chunk 5"
    each = didemo.score(cases)
    assert each.rank1.tolist() == [1, 0, 0] and each.iou[0] == 1
    found = {r.name: r.value for r in didemo.evaluate_moments(cases, n_boot=2)}
    assert found["moment_rank1"] == pytest.approx(1 / 3)


def test_the_reference_averages_padding_too(didemo_world, monkeypatch):
    """In b2, 23 s long, its moments that reach past the end hold states of padding; those that do not are the same."""
    corpus, store = didemo_world
    torch.manual_seed(0)
    tokenizer = Tokenizer.train(["someone waves 0 1 2"] * 3)
    sizes = {"hidden": 32, "heads": 2, "ffn": 64, "video_layers": 1, "text_layers": 1, "max_video_tokens": 32}
    model = VideoCLIP(ModelConfig(feature_dim=made.WIDTH, vocab_size=len(tokenizer), **sizes)).eval()
    encoder = Encoder(model, tokenizer, store.contract)
    ours, theirs = (evaluation.didemo_cases(encoder, corpus, store, "test", r) for r in (False, True))
    np.testing.assert_allclose(ours[0].scores, theirs[0].scores, rtol=1e-4, atol=1e-4)  # 30 s: no padding in it
    last = np.array([segment[1] for segment in didemo.SEGMENTS])
    short = [case.scores for case in (ours[2], theirs[2])]
    assert np.array_equal(np.isneginf(short[0]), np.isneginf(short[1]))
    np.testing.assert_allclose(short[0][last < 4], short[1][last < 4], rtol=1e-4, atol=1e-4)
    past = (last == 4) & np.isfinite(short[0])
    assert past.any() and not np.isclose(short[0][past], short[1][past], rtol=1e-3).any()
    rows = torch.zeros(1, 32, made.WIDTH)
    rows[0, :23] = torch.from_numpy(np.asarray(store["b2.m4v"], np.float32))
    with torch.no_grad():
        states = model.encode_video(rows, torch.arange(32)[None] < 23).states[0]  # (32, D)
        text = evaluation.encode_text(encoder, [corpus.steps[corpus["b2.m4v"].segments[0].step]])[0]
    by_hand = states[20:25].mean(0).numpy() @ text
    assert theirs[2].scores[didemo.SEGMENTS.index((4, 4))] == pytest.approx(by_hand, rel=1e-4)


def test_sentences_behind_the_features_are_left_out(tmp_path, plain_model):
    folder = made.didemo(tmp_path / "didemo")
    made.edit(folder / "test_data.json", lambda raw: raw[0].update(times=[[5, 5]] * 4))
    corpus, store = build(folder, {"a2.mov": shown(20, (5, 15, 1))})
    cases = evaluation.didemo_cases(None, corpus, store, "test")
    assert [(case.video, case.times[0]) for case in cases] == [("a2.mov", (5, 5))]
    assert len(cases) == 1 and np.isfinite(cases[0].scores).sum() == didemo.candidates(20).sum() == 18


def test_a_corpus_that_is_not_didemo_plays_it_with_its_segments(tmp_path, plain_model):
    folder = made.youcook2(tmp_path / "youcook2")
    corpus, store = build(folder, {"v0": shown(71), "v1": shown(71)})
    assert ("v0", "cut the onion", [(0, 2)]) in evaluation.didemo_sentences(corpus, "test")
    bare = dataclasses.replace(
        corpus, videos={i: dataclasses.replace(v, segments=()) for i, v in corpus.videos.items()}
    )
    assert evaluation.didemo_sentences(bare, "test") == []
    with pytest.raises(NoData, match="no test sentence of DiDeMo has features"):
        evaluation.didemo_cases(None, bare, store, "test")
    clips = evaluation.annotated_clips(corpus, store, "test")
    assert evaluation.published_choices(corpus, clips, "test") is None


def test_a_paragraph_is_all_sentences_of_a_video(didemo_world, plain_model):
    corpus, store = didemo_world
    scores, videos = evaluation.didemo_paragraphs(None, corpus, store, "test")
    assert videos == ["a2.mov", "b2.m4v"]
    assert scores[0, 0] == pytest.approx(15 / 30, rel=1e-3) and scores[1, 1] == pytest.approx(10 / 23, rel=1e-3)
    assert scores[0, 1] == scores[1, 0] == 0
    names = [r.name for r in didemo.evaluate_paragraphs(scores, videos, n_boot=2)]
    assert all(name.startswith("paragraph_") for name in names)


def test_published_choices_point_at_the_clips_own_captions(tmp_path, plain_model):
    corpus, store = build(made.msrvtt_qa(tmp_path / "msrvtt_qa"), {"video7": shown(12), "video9": shown(10)})
    clips = evaluation.annotated_clips(corpus, store, "test")
    captions, choices, answer = evaluation.published_choices(corpus, clips, "test")
    assert captions[:3] == clips.sentences == ["a dog runs", "a man cooks", "Food is made"]
    assert len(captions) == len(set(captions)) and answer.tolist() == [0, 1, 4]
    texts = [[captions[i] for i in row] for row in choices]
    assert texts[0] == ["a dog runs", "a cat", "a car", "rain", "a song"]
    assert texts[2] == ["snow", "a car", "food  is made", "wind", "Food is made"]
    assert choices[np.arange(3), answer].tolist() == [0, 1, 2]
    scores = np.zeros((3, len(captions)))
    scores[0, 0] = scores[1, captions.index("rain")] = 1  # right, wrong, and five equal ones
    (found,) = videoqa.evaluate(scores[np.arange(3)[:, None], choices], answer, clips.videos, n_boot=2)
    assert found.value == pytest.approx((1 + 0 + 1 / 5) / 3)


def test_two_questions_with_one_caption_keep_their_own_choices(tmp_path, plain_model):
    folder = made.msrvtt_qa(tmp_path / "msrvtt_qa")
    rows = [["vid_key", "a1", "a2", "a3", "a4", "a5", "answer"]]
    rows += [["msr7", "a dog", "b", "c", "d", "e", 0], ["msr7", "v", "w", "x", "y", "a dog", 4]]
    made.write_csv(folder / "MSR_MC_test.tsv", rows, "\t")
    corpus, store = build(folder, {"video7": shown(12)})
    clips = evaluation.annotated_clips(corpus, store, "test")
    captions, choices, answer = evaluation.published_choices(corpus, clips, "test")
    assert [captions[i] for i in choices[1]] == ["v", "w", "x", "y", "a dog"] and answer.tolist() == [0, 4]
    assert json.loads((corpus.folder / "truth" / "video7.json").read_text())["segments"][1]["answer"] == 4
