"""The alignment panel: answers worked out by hand, data that cannot become code, what is missing said in place."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from checks import refused

from vcwork.base.errors import VcworkError
from vcwork.core.text import Tokenizer
from vcwork.data.corpus import open_corpus
from vcwork.data.store import open_store
from vcwork.encoders.encoder import encode_seconds, encode_text
from vcwork.panels.alignment import AlignmentExplorer, Asked, Row
from vcwork.panels.base import Narrated
from vcwork.panels.make_alignment import asking, explore, explore_query, fits_nowhere, steps_of
from vcwork.search.library import build_library
from vcwork.search.sentence import unknown_words
from vcwork.tasks.moments import Moment

SCORES = np.array([[0, 0, 4, 3, 0, 0], [1, 1, 1, 1, 1, 1.0]])
VIDEO = Narrated("a", 6, [(0, 2, "hello again")], [(2, 4, "cut the onion")])
HELLO = Row("hello again")


@pytest.fixture
def panel():
    rows = [Row("cut the onion", "steps", truth=((2, 4),), elsewhere=(("b", Moment(7, 9, 7.5, 5)),)), HELLO]
    return AlignmentExplorer(VIDEO, rows, SCORES, title="kitchen", top=2)


def test_stored_sentence_answers_with_its_row_and_moments(panel):
    answer = panel.update("  Cut  the ONION ")
    assert answer["row"] == 0 and answer["sentence"] == "Cut the ONION" and answer["scores"] == SCORES[0].tolist()
    # median 0, peak 4: the moment lasts while the score is above 2, so seconds 2 and 3
    assert answer["moments"][0] == {"start_s": 2, "end_s": 4, "peak_s": 2.5, "score": 4}
    assert answer["elsewhere"] == [{"video": "b", "start_s": 7, "end_s": 9, "peak_s": 7.5, "score": 5}]
    assert answer["note"] == ""
    json.dumps(answer, allow_nan=False)


def test_nothing_stands_out_where_all_seconds_are_alike(panel):
    answer = panel.update("hello again")
    assert answer["row"] == 1 and answer["moments"] == [] and "nothing stands out" in answer["note"]


@pytest.mark.parametrize(
    ("sentence", "said"), [("", "Type a sentence"), ("  ", "Type a"), ("fry it", "only the stored")]
)
def test_what_cannot_be_asked_is_said(panel, sentence, said):
    answer = panel.update(sentence)
    assert said in answer["note"] and answer["row"] is None and answer["scores"] == [] and answer["moments"] == []


def test_new_sentence_is_asked_and_faults_become_notes(panel):
    def ask(sentence):
        if sentence == "qqq":
            raise VcworkError("no known word")
        return Asked(np.arange(6.0), note="one word left out")

    panel = replace(panel, ask=ask)
    before = panel.panel()
    answer = panel.update("fry it")
    assert answer["scores"] == [0, 1, 2, 3, 4, 5] and answer["moments"][0]["peak_s"] == 5.5
    assert answer["note"] == "one word left out" and answer["row"] is None
    assert panel.update("qqq")["note"] == "no known word"
    assert panel.panel() == before, "update changes nothing"


def test_another_video_is_opened_whole(panel):
    other = AlignmentExplorer(Narrated("b", 3, clip=b"clip"), [Row("pour the tea")], np.array([[0, 9, 0.0]]), title="b",
                              ask=lambda sentence: Asked(np.array([5, 0, 1.0])))  # fmt: skip
    panel = replace(panel, opener={"b": other}.__getitem__, videos=["a", "b"])
    assert panel.panel()["videos"] == ["a", "b"] and panel.panel()["video"] == "a"
    opened = panel.open("b", 2, "pour the TEA")
    assert opened["panel"] == other.panel() and opened["media"] == {"video": b"clip"} and opened["note"] == ""
    assert opened["second"] == 2
    assert opened["answer"]["row"] == 0 and opened["answer"]["moments"][0]["peak_s"] == 1.5
    assert panel.open("b")["answer"] is None
    assert panel.open("a", 1)["panel"]["title"] == "kitchen", "the own id opens the panel itself"
    sent = []
    panel.receive({"open": "b", "second": 1, "sentence": "stir", "view": "v"}, lambda *parts: sent.append(parts))
    message, files = sent[0]
    assert message["files"] == ["video"] and files == [b"clip"] and message["view"] == "v"
    assert json.loads(json.dumps(message, allow_nan=False))["answer"]["answer"]["scores"] == [5, 0, 1]
    # asked while the other is on the screen, the sentence is that one's; what is no question is let be
    assert panel.answer({"ask": 3}) is panel.answer({"other": 1}) is None
    assert panel.answer({"ask": "stir", "video": "b"})["scores"] == [5, 0, 1]
    assert panel.answer({"ask": "stir"})["note"].startswith("Without a model")


def test_a_video_that_does_not_open_is_said(panel):
    def opener(video_id):
        if video_id == "gone":
            raise FileNotFoundError(2, "No such file or directory", "/elsewhere/of/someone/0.npy")
        raise VcworkError(f"no video {video_id!r} among 2")

    assert "knows no other video" in panel.open("b")["note"] and panel.panel()["videos"] == []
    panel = replace(panel, opener=opener)
    gone = panel.open("gone", 3, "hello again")
    assert gone["panel"] is None and gone["media"] == {} and gone["answer"] is None
    assert "gone cannot be opened: No such file" in gone["note"] and "moved" in gone["note"]
    assert "someone" not in gone["note"]
    assert "no video 'x' among 2" in panel.open("x")["note"]
    asked = panel.answer({"ask": "hello", "video": "gone"})
    assert "gone cannot be opened" in asked["note"] and asked["scores"] == [] and asked["sentence"] == "hello"


# ------------------------------------------------------------------------------------------------ from a corpus


@pytest.fixture(scope="module")
def held(ws):
    return {v.id: ws.store[v.id] for v in ws.corpus.split("test")}


@pytest.fixture(scope="module")
def library(ws, held):
    return build_library(ws.encoder, held, per="second")


def test_explore_makes_the_arrays_of_a_video(ws, held, library):
    panel = explore(ws.corpus, ws.store, ws.encoder, library=library, top=3)
    video = ws.corpus.split("test")[0]
    assert panel.title == video.id and panel.video.seconds == ws.store.lengths[video.id] and panel.unit == "second"
    assert [r.text for r in panel.rows if r.kind == "what is said"] == [c.text for c in ws.corpus.captions(video.id)]
    segment_of = dict(enumerate(ws.corpus.truth(video.id)["caption_segment"]))
    raw = [i for i, _ in ws.corpus.indexed_captions(video.id)]
    spoken = [r for r in panel.rows if r.kind == "what is said"]
    for i, row in zip(raw, spoken, strict=True):
        segment = video.segments[segment_of[i]] if segment_of[i] >= 0 else None
        assert row.truth == (((segment.start_s, segment.end_s),) if segment else ())
    steps = [r for r in panel.rows if r.kind == "steps"]
    assert {r.text for r in steps} == {ws.corpus.steps[s] for s in steps_of(ws.corpus, video)}
    best = max(m.score for _, m in steps[0].elsewhere)
    assert best >= panel.scores[panel.rows.index(steps[0])].max() - 1e-4, "the library holds this video, too"
    asked = panel.update(steps[0].text.upper() + " now")
    assert len(asked["scores"]) == panel.video.seconds and asked["row"] is None and len(asked["elsewhere"]) == 3


def test_gamma_decides_what_is_predicted(ws):
    low, high = (explore(ws.corpus, ws.store, ws.encoder, gamma=g, max_kb=1) for g in (-1e9, 1e9))
    assert high.prediction == [] and sum(end - start for start, end, _ in low.prediction) == low.video.seconds
    assert any("does not fit" in note for note in low.notes) and low.video.clip is None


def test_what_is_missing_is_said_in_the_panel(ws):
    video = ws.corpus.split("test")[0]
    for change, told in (({"video": None}, "No video"), ({"captions": None}, "No captions")):
        corpus = replace(ws.corpus, videos={video.id: replace(video, **change)}, _raw={})
        assert any(told in note for note in explore(corpus, ws.store, ws.encoder, video.id).notes)
    blind = explore(ws.corpus, ws.store, None, video.id)
    assert blind.rows == [] and any("No checkpoint" in note for note in blind.notes) and blind.video.captions
    refused("no video 'nobody'", explore, ws.corpus, ws.store, ws.encoder, "nobody")


def test_a_moment_of_another_video_opens(ws, held, library):
    panel = explore(ws.corpus, ws.store, ws.encoder, library=library)
    assert panel.videos == [v.id for v in ws.corpus.split("test")] and panel.video.id == panel.videos[0]
    row = panel.rows[0]
    video, moment = next((video, moment) for video, moment in row.elsewhere if video != panel.video.id)
    opened = panel.open(video, moment.peak_s, row.text)
    assert opened["panel"]["title"] == video and opened["media"]["video"][4:8] == b"ftyp"
    scores = opened["answer"]["scores"]
    assert int(np.argmax(scores)) == int(moment.peak_s) and np.isclose(max(scores), moment.score, atol=1e-3)
    assert panel.opener(video) is panel.opener(video), "its clip is made once"
    assert panel.answer({"ask": row.text, "video": video})["scores"] == scores


def test_a_corpus_that_moved_is_said_in_the_panel(ws, tmp_path):
    shutil.copytree(ws.corpus.folder, tmp_path / "corpus")
    shutil.copytree(ws.store.folder, tmp_path / "features")
    corpus, store = open_corpus(tmp_path / "corpus"), open_store(tmp_path / "features")
    panel = explore(corpus, store, ws.encoder)
    (tmp_path / "corpus").rename(tmp_path / "elsewhere")
    other = panel.open(panel.videos[1], 1, "hello")
    told = " ".join(other["panel"]["notes"])
    assert "No video" in told and "No captions" in told and "moved?" in told and str(tmp_path) not in told
    shutil.rmtree(tmp_path / "features")
    store._map.cache_clear()  # as in a kernel that had not read this shard yet
    shut = panel.open(panel.videos[2])
    assert shut["panel"] is None and "was the corpus moved?" in shut["note"] and str(tmp_path) not in shut["note"]


def test_words_that_the_model_does_not_know():
    tokenizer = Tokenizer.train(["cut the onion", "cut the onion with a knife", "a knife"])
    assert unknown_words(tokenizer, ["cut", "fou", "a", "onion", "%"]) == ["fou", "%"]
    assert unknown_words(None, ["fou"]) == []


def test_a_query_of_no_known_words_is_refused_with_a_reason(ws):
    ask = asking(ws.encoder, np.ones((4, ws.encoder.model.config.embedding), np.float32))
    refused("none of these words", ask, "xqzt wkvv")
    known = ws.corpus.captions(ws.corpus.split("train")[0].id)[0].text.split()[0]
    assert "xqzt" in ask(f"{known} xqzt").note and ask(f"{known} xqzt").scores.shape == (4,)


def test_a_query_opens_at_the_best_second_of_all_videos(ws, held, library):
    for video in list(held)[:4]:
        step = ws.corpus[video].segments[0].step
        sentence = ws.corpus.steps[step]
        panel = explore_query(ws.corpus, ws.store, ws.encoder, f"  {sentence} ", library)
        text = encode_text(ws.encoder, [sentence])[0]
        curves = {v: encode_seconds(ws.encoder, held[v]) @ text for v in held}
        best = max(curves, key=lambda v: curves[v].max())
        assert panel.title == best and panel.rows[0].text == sentence
        np.testing.assert_allclose(panel.scores[0], curves[best], rtol=1e-4, atol=1e-4)
        spans = [(s.start_s, s.end_s) for s in ws.corpus[best].segments if s.step == step]
        assert list(panel.rows[0].truth) == spans
        assert [row.text for row in panel.rows].count(sentence) == 1
        assert panel.panel()["first"] == 0
        answer = panel.update(sentence)
        assert answer["row"] == 0 and answer["elsewhere"][0]["video"] == best


def test_other_sentences_and_what_cannot_be_asked(ws, held, library):
    panel = explore_query(ws.corpus, ws.store, ws.encoder, "Open the window", library)
    assert panel.rows[0].truth == () and any(row.truth for row in panel.rows) and panel.panel()["first"] == 0
    assert any("does not show what was asked for" in note for note in panel.notes)
    refused("expected a sentence", explore_query, ws.corpus, ws.store, ws.encoder, "  ", library)
    windows = build_library(ws.encoder, held, per="window", window_s=8)
    refused("one vector a second", explore_query, ws.corpus, ws.store, ws.encoder, "Open the window", windows)


def test_a_sentence_that_fits_nowhere_says_so(ws):
    assert fits_nowhere(5.0, np.arange(19.0)) == "", "too few to say anything"
    assert fits_nowhere(97.5, np.arange(100.0)) == ""
    told = fits_nowhere(49.5, np.arange(100.0))
    assert told.startswith("It may fit nowhere here: 50% of 100 sentences said in other videos score as high")
    panel = explore(ws.corpus, ws.store, ws.encoder)
    elsewhere = [text for v in ws.corpus.split("test")[1:] for text in (c.text for c in ws.corpus.captions(v.id))]
    asked = (panel.update(f"{text} now")["note"] for text in elsewhere[:30])
    assert sum("fit nowhere" in note for note in asked) > 15, (
        "what other videos say does mostly not stand out in this one"
    )
