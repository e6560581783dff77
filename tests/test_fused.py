"""One search over kinds of evidence: ranks fused by hand, "nothing found" at the rate asked for, still seconds."""

import numpy as np
import pytest
from checks import refused

from vcwork.search import evidence
from vcwork.search.fused import (
    DESCRIBED,
    SAID,
    SHOWN,
    Floor,
    Kind,
    Piece,
    elsewhere,
    fused,
    learned,
    search_all,
)  # fmt: skip


def kind(name: str, how: str, *pieces: Piece) -> Kind:
    return Kind(name, how, lambda queries, k: [list(pieces)[:k] for _ in queries])


WORDS = kind("words", SAID, Piece("a", 0, 4, 0.9, "chop it"), Piece("b", 5, 7, 0.5, "stir"))
PICTURES = kind("pictures", SHOWN, Piece("b", 8, 9, 3.0, peak_s=8.5), Piece("c", 0, 2, 2.0), Piece("b", 9.5, 11, 1.0))


def test_ranks_are_fused_and_what_touches_is_one():
    hits = fused([(one, one.ask([""], 9)[0]) for one in (WORDS, PICTURES)])
    assert [(hit.video, hit.start_s) for hit in hits] == [("b", 5), ("a", 0), ("c", 0), ("b", 9.5)]
    assert hits[0].score == pytest.approx(1 / 62 + 1 / 61) and hits[1].score == pytest.approx(1 / 61)
    assert hits[0].evidence == (SAID, SHOWN) and (hits[0].text, hits[0].peak_s) == ("stir", 8.5)
    again = fused([(WORDS, [Piece("a", 0, 4, 0.5, "x"), Piece("a", 5, 6, 0.9, "y")])])
    assert len(again) == 1 and again[0].folded == 1 and again[0].strengths == {"words": 0.9}


def test_a_description_is_not_said_and_opens_where_it_is_shown():
    told = kind("words", SAID, Piece("a", None, None, 1.0, "dog"), Piece("a", None, None, 0.5, "cat"))
    hits = fused([(told, told.ask([""], 9)[0]), (PICTURES, [Piece("a", 3, 4, 2.0, peak_s=3.5)])])
    assert [(hit.start_s, hit.evidence) for hit in hits] == [(3, (DESCRIBED, SHOWN)), (None, (DESCRIBED,))]
    floor = Floor(0.05, 0.0, 0.0, 1.0, 99, {"words": (0.2, 0.1), "pictures": (9.0, 1.0)})
    found = search_all([told, kind("pictures", SHOWN, Piece("a", 3, 4, 2.0))], "dog", floor=floor)
    assert [(hit.start_s, hit.evidence) for hit in found.hits] == [(None, (DESCRIBED,))] * 2, "the picture is too weak"


def test_evidence_is_what_passes_the_floor():
    floor = Floor(0.05, 2.0, 0.0, 1.0, 99, {"words": (0.5, 0.1), "pictures": (0.5, 1.0)})
    found = search_all([WORDS, PICTURES], "q", floor=floor)
    assert [(hit.video, hit.evidence) for hit in found.hits] == [("b", (SHOWN,)), ("a", (SAID,))]
    assert found.below == 2 and found.best.video == "c" and not floor.passes(found.best.strengths)
    assert len(search_all([WORDS, PICTURES], "q", floor=floor, anyway=True).hits) == 4
    for query in (" ", "-", "?!", "\u200b"):
        refused("no words", search_all, [WORDS], query)


def test_near_equal_hits_are_counted():
    found = search_all([WORDS, PICTURES], "q", alike=lambda better, hit: {better.video, hit.video} == {"a", "c"})
    assert [(hit.video, hit.like) for hit in found.hits[:2]] == [("b", ()), ("a", (("c", 0),))]


def test_the_floor_lets_through_what_was_asked_for():
    """Exact by exchangeability: of new questions a share of `rate`, over many draws of the questions without answer."""
    rng, got = np.random.default_rng(0), []
    for _ in range(300):
        strengths = iter(rng.normal(size=199 + 40) ** 3)
        one = Kind("k", SAID, lambda queries, k, s=strengths: [[Piece("v", 0, 1, float(next(s)))] for _ in queries])
        floor = learned([one], 0.1, ["q"] * 199)
        got.append(np.mean([bool(search_all([one], "q", floor=floor).hits) for _ in range(40)]))
    assert np.mean(got) == pytest.approx(0.1, abs=3 * np.std(got) / np.sqrt(len(got)))
    assert floor.low < 0.1 < floor.high and floor.queries == 199
    refused("rate from 0.005", learned, [one], 0.001, ["q"] * 199)


def test_questions_of_other_topics():
    topics = elsewhere()
    assert len(topics) == 40 and all(len(topic) == 12 for topic in topics)
    assert len({line for topic in topics for line in topic}) == 480
    assert all(4 <= sum(len(line.split()) <= 3 for line in topic) <= 8 for topic in topics), "of both lengths"


def test_words_are_weighed_by_how_rare_they_are():
    texts = ["stir the soup", "the salt", "the Crème brûlée", "the end", 'a < b "quoted" AND']
    one = evidence.words([Piece("v", i, i + 1, 0.0, text) for i, text in enumerate(texts)])
    others = [set(evidence.tokens(line)) for topic in elsewhere() for line in topic]
    n, the = len(others) + 5, sum("the" in line for line in others) + 4
    assert not any("soup" in line for line in others)
    rare = [np.log(1 + (n - df + 0.5) / (df + 0.5)) for df in (the, 1)]
    found = one.ask(["the soup"], 9)[0]
    assert found[0].text == "stir the soup" and found[0].strength == pytest.approx(1)
    assert len(found) == 4 and all(p.strength == pytest.approx(rare[0] / sum(rare)) for p in found[1:])
    assert found[1].strength < 0.3, "who says `the` says little, even in a folder of five lines"
    assert one.ask(["creme BRULEE"], 1)[0][0].strength == pytest.approx(1)
    assert 0 < one.ask(["soup of unicorns"], 1)[0][0].strength < 0.5, "what nobody says weighs most"
    [half] = evidence.words([Piece("v", 0, 1, 0.0, "ខ្ញុំកាត់ខ្ទឹមបារាំង")]).ask(["ខ្ទឹម"], 1)[0]
    assert half.strength == pytest.approx(1), "a word inside a line without spaces"
    assert one.ask(['"', "OR AND NOT *", "", "NEAR(the"], 2)[0] == [] and one.ask(['quoted" OR "salt'], 5)[0]


def test_still_and_black_seconds_are_passed_over():
    rng = np.random.default_rng(0)
    rows, black = rng.normal(size=(6, 8)), rng.normal(size=8)
    rows[2] = rows[1] + 1e-4
    rows[4] = black * 1.001
    assert evidence.still(rows, black).tolist() == [False, False, True, False, True, False]
    films = evidence.films({"a": rows, "b": rng.normal(size=(3, 8))}, black)
    scores = np.array([0, 1, 9, 2, 8, 0, 3, 0, 0.0])
    found = films.moments(scores, 4)
    assert [(piece.video, piece.peak_s) for piece in found[:2]] == [("b", 0.5), ("a", 3.5)]
    assert all(not films.still[films.of(piece.video)][int(piece.peak_s)] for piece in found)


def test_conse_by_hand():
    names = np.eye(12)[:, :6] + np.eye(12, 6, -6)  # classes i and i + 6 share a name vector
    probabilities = np.zeros((2, 12))
    probabilities[0, [0, 1]], probabilities[1, [6, 2]] = (0.8, 0.2), (0.6, 0.4)
    top, weights = evidence.likeliest(iter([probabilities]), names)
    films = evidence.films({"v": np.random.default_rng(0).normal(size=(2, 4))})
    one = evidence.classes(films, top, weights, names, lambda queries: np.eye(6)[[int(q) for q in queries]])
    strengths = {piece.peak_s: piece.strength for piece in one.ask(["0"], 5)[0]}
    assert strengths[0.5] == pytest.approx(0.8 / np.hypot(0.8, 0.2))
    assert one.ask(["2"], 1)[0][0].strength == pytest.approx(0.4 / np.hypot(0.6, 0.4))


def test_a_moment_may_be_its_whole_shot():
    one = evidence.in_shots(PICTURES, {"b": [(0, 8.2), (8.2, 9.7)]})
    stretches = [(piece.video, piece.start_s, piece.end_s) for piece in one.ask([""], 2)[0]]
    assert stretches == [("b", 8.2, 9.7), ("c", 0, 2)]
