"""The browser of failures: kinds, margins and ranks worked out by hand; the page lists what Python lists."""

import json
from dataclasses import replace

import numpy as np
import pytest
from checks import node, refused

from vcwork.encoders.encoder import encode_text
from vcwork.panels.base import script
from vcwork.panels.failures import Direction, Entry, FailureBrowser
from vcwork.panels.make_failures import HERE, OWN, SAME, THIS, browse_moments, browse_retrieval, retrieval_kinds
from vcwork.search.library import build_library
from vcwork.tasks import retrieval
from vcwork.tasks.cases import clip_scores

TEXTS = ["cut the onion", "Fry the onion", "cut the leek", "cut an onion"]
VIDEOS = ["a", "a", "b", "c"]
# clips 0 and 3 show the same step; clips 0, 1 and 3 are of one recipe
SCORES = np.array([[1, 4, 0, 2], [0, 5, 1, 0], [9, 3, 2, 0], [7, 0, 0, 3.0]])
STEP, RECIPE = np.array([0, 1, 2, 0]), np.array([0, 0, 1, 0])


def kinds(scores: np.ndarray) -> dict[str, np.ndarray]:
    same, own, video = STEP[:, None] == STEP, np.eye(4, dtype=bool), np.array(VIDEOS)[:, None] == np.array(VIDEOS)
    recipe = RECIPE[:, None] == RECIPE
    return {
        "wrong recipe": ~same & ~video & ~recipe,
        "wrong video": ~same & ~video & recipe,
        "wrong clip": ~same & video,
        "elsewhere": same & ~own,
        "own": own,
    }


def browser(scores: np.ndarray = SCORES, texts: list = TEXTS, **more) -> FailureBrowser:
    entries = [Entry(t, v, (0.0, 2.0), {"object": t.split()[-1]}) for t, v in zip(texts, VIDEOS, strict=True)]
    way = Direction(scores, kinds(scores), ("elsewhere", "own"), range(4), range(4), range(4))
    back = Direction(scores.T, {n: m.T for n, m in kinds(scores).items()}, way.right, *[range(4)] * 3, "clip")
    return FailureBrowser(entries, {"text to video": way, "video to text": back}, **more)


def told(panel: FailureBrowser, tmp_path) -> str:
    """What the page says of its first list."""
    source = f"{script('failures.js')}\nconst panel = {json.dumps(panel.panel())};\n"
    return node(source + "console.log(toldOf(panel, panel.directions[0]).join(' '));", tmp_path)


def test_cases_by_hand():
    cases = {c["query"]: c for c in browser().cases["text to video"]}
    # query 0 likes clip 1 of its own video (4); the best right clip is clip 3 (2), its own stands third (1)
    first = cases[0]
    assert (first["kind"], first["winner"], first["best"], first["truth"]) == ("wrong clip", 1, 3, 0)
    assert (first["margin"], first["rank"], first["truth_rank"]) == (2, 2, 3)
    assert first["top"][0] == [1, 4, "wrong clip"] and first["top"][1] == [3, 2, "elsewhere"]
    assert (cases[1]["kind"], cases[1]["margin"], cases[1]["rank"]) == ("own", -4, 1), "5, the best wrong one has 1"
    assert (cases[2]["kind"], cases[2]["winner"], cases[2]["margin"]) == ("wrong recipe", 0, 7)
    # query 3's own clip has 3, but clip 0 of the same step has 7: no error, 7 ahead of the best wrong one
    assert (cases[3]["kind"], cases[3]["margin"], cases[3]["truth_rank"], cases[3]["rank"]) == ("elsewhere", -7, 2, 1)


def test_counts_chance_and_ranks_by_hand():
    side = browser().directions["text to video"]
    assert {k["name"]: k["count"] for k in side.counts} == {
        "wrong recipe": 1, "wrong video": 0, "wrong clip": 1, "elsewhere": 1, "own": 1
    }  # fmt: skip
    chance = {k["name"]: k["chance"] for k in side.counts}
    assert chance["own"] == 1 and chance["elsewhere"] == 0.5, "4 of 16 pairs, and 2 of 16, times 4 queries"
    assert sum(chance.values()) == 4
    assert [(b["low"], b["high"], b["n"]) for b in side.bars] == [(1, 1, 2), (2, 2, 1), (3, 3, 1), (4, 4, 0)]
    # two queries with 2 of 4 right, two with 1 of 4: rank 1 by chance in 2 * 1/2 + 2 * 1/4
    assert [b["chance"] for b in side.bars] == pytest.approx([1.5, 2 / 3 + 0.5, 1 / 3 + 0.5, 0.5], abs=1e-4)


CHOICES = [  # of kind, words, rank and order, and which queries are listed
    ({}, [2, 0]),  # errors, the one furthest ahead first
    ({"kind": "right"}, [1, 3]),
    ({"kind": "all"}, [2, 0, 1, 3]),
    ({"kind": "elsewhere"}, [3]),
    ({"kind": "wrong video"}, []),
    ({"kind": "all", "by": "rank"}, [2, 0, 1, 3]),
    ({"kind": "all", "ranks": 1}, [0]),
    ({"kind": "all", "ranks": 0}, [1, 3]),
    ({"kind": "all", "find": "FRY onion"}, [0, 1]),  # the winner's text counts as well
    ({"kind": "all", "find": "leek b"}, [2]),
]


def test_the_page_lists_what_is_asked_for(tmp_path):
    panel = browser()
    states = [{"direction": 0, "kind": "errors", "find": "", "ranks": None, "by": "margin"} | c for c, _ in CHOICES]
    source = f"{script('failures.js')}\nconst panel = {json.dumps(panel.panel())};\n"
    source += f"console.log(JSON.stringify({json.dumps(states)}.map((state) => listed(panel, state))));"
    source += "console.log(JSON.stringify(inCommon(panel.entries[0], panel.entries[1])));"
    found, common = map(json.loads, node(source, tmp_path).splitlines())
    cases = panel.cases["text to video"]
    assert [[cases[i]["query"] for i in listed] for listed in found] == [queries for _, queries in CHOICES]
    assert common == {"common": ["onion", "the"], "agrees": {"object": True}}, "what query and winner share"


def test_equal_scores_are_never_counted_right_in_the_list(tmp_path):
    panel = browser(np.zeros((4, 4)))
    cases = panel.cases["text to video"]
    assert {c["kind"] for c in cases} == {"wrong recipe"} and all(c["tied"] == 4 for c in cases)
    counts = panel.directions["text to video"].counts
    assert all(k["count"] == k["chance"] for k in counts), "a constant score is chance"
    assert "4 sentences have equal answers in the first place" in told(panel, tmp_path)


def test_where_nothing_can_be_wrong_there_is_no_margin():
    masks = {"wrong": np.zeros((1, 2), bool), "right": np.ones((1, 2), bool)}
    way = Direction(np.array([[1.0, 2]]), masks, ["right"], [0], [1, 2])
    panel = FailureBrowser([Entry("q"), Entry("x"), Entry("y")], {"one": way})
    assert [(case["kind"], case["margin"]) for case in panel.cases["one"]] == [("right", None)]
    json.dumps(panel.panel(), allow_nan=False)
    assert panel.picture()[0].startswith("iVBOR")


def test_of_many_some_are_listed_and_all_are_counted(tmp_path):
    rng, n = np.random.default_rng(0), 40
    scores, own = rng.normal(size=(n, n)) + np.eye(n), np.eye(n, dtype=bool)
    way = Direction(scores, {"wrong": ~own, "own": own}, ["own"], range(n), range(n), range(n))
    panel = FailureBrowser([Entry(str(i)) for i in range(n)], {"one": way}, most=3)
    cases = panel.cases["one"]
    margins = np.array([np.delete(scores[q], q).max() - scores[q, q] for q in range(n)])
    assert sum(k["count"] for k in way.counts) == n and len(cases) == 3 + min(3, (margins < 0).sum())
    assert [c["margin"] for c in cases[:3]] == pytest.approx(sorted(margins)[::-1][:3], abs=1e-4)
    assert "3 sentences at most" in told(panel, tmp_path)


# -------------------------------------------------------------------------------------------- from a corpus


@pytest.fixture(scope="module")
def found(ws, clips):
    return ws, clips, clip_scores(ws.encoder, clips)


def test_counts_agree_with_the_metrics(found):
    ws, clips, scores = found
    panel = browse_retrieval(ws.corpus, clips, scores)
    same = clips.steps[:, None] == clips.steps
    who = clips.videos, clips.videos, clips.recipes, clips.recipes
    for name, way, right in (("text to video", scores, same), ("video to text", scores.T, same.T)):
        counts = {k["name"]: k["count"] for k in panel.directions[name].counts}
        errors = retrieval.errors(way, right, *who)
        assert counts.pop(SAME) + counts.pop(OWN) == pytest.approx(errors.pop("right"), abs=1e-3)
        assert counts == pytest.approx(errors, abs=1e-3)
        blind = retrieval.errors(np.zeros_like(scores), right, *who)
        chance = {k["name"]: k["chance"] for k in panel.directions[name].counts}
        assert chance["wrong recipe"] == pytest.approx(blind["wrong recipe"], abs=1e-3)
        assert sum(b["n"] for b in panel.directions[name].bars) == len(clips)
        assert sum(b["chance"] for b in panel.directions[name].bars) == pytest.approx(len(clips), abs=1e-3)
    assert sum(retrieval_kinds(clips).values()).tolist() == np.ones((len(clips),) * 2).tolist()
    winner = panel.cases["text to video"][0]["winner"]
    assert len(panel.pictures[winner]) == 4 and panel.pictures[winner][0].shape == (96, 96, 3)
    refused("of these clips", browse_retrieval, ws.corpus, clips, scores[:, 1:])


def test_frames_that_cannot_be_had_are_said(found):
    ws, clips, scores = found
    few = browse_retrieval(ws.corpus, clips, scores, pictures=5)
    assert len(few.pictures) == 5 and any("Only the first 5 of" in note for note in few.notes)
    silent = replace(ws.corpus, videos={v: replace(one, video=None) for v, one in ws.corpus.videos.items()})
    panel = browse_retrieval(silent, clips, scores)
    assert panel.pictures == {} and any("No pictures of" in note for note in panel.notes)


def test_moments_are_browsed_as_well(found):
    ws, _, _ = found
    library = build_library(ws.encoder, {v.id: ws.store[v.id] for v in ws.corpus.split("test")}, "window", 8)
    steps = sorted({s.step for v in ws.corpus.split("test") for s in v.segments})
    vectors = encode_text(ws.encoder, [ws.corpus.steps[s] for s in steps])
    panel = browse_moments(ws.corpus, library, steps, vectors)
    way, meta = panel.directions["text to moment"], library.metadata
    for case in panel.cases["text to moment"]:
        step = next(s for s in steps if ws.corpus.steps[s] == panel.entries[case["query"]].text)
        video, (start_s, end_s) = panel.entries[case["winner"]].video, panel.entries[case["winner"]].span
        inside = any(s.step == step and s.start_s <= (start_s + end_s) / 2 < s.end_s for s in ws.corpus[video].segments)
        assert (case["kind"] == THIS) == inside
        if case["kind"] == HERE:
            assert any(s.step == step for s in ws.corpus[video].segments)
    assert len(way.items) == len(meta) and way.n <= len(steps)
    refused("none of 1 steps", browse_moments, ws.corpus, library, ["no such step"], vectors[:1])
