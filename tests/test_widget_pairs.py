"""The pair panel: histogram, shares and acceptance worked out by hand, and a page that counts as Python does."""

from dataclasses import replace

import numpy as np
import pytest
from checks import opened, refused, seen

from vcwork.core.config import OverlapConfig
from vcwork.core.sampling import Pair, Track, iou_pair, span_iou
from vcwork.panels.base import Narrated, as_script, script
from vcwork.panels.make_pairs import RULES, counted, pair_explorer, rule_of
from vcwork.panels.pairs import Drawing, PairExplorer
from vcwork.review import judged_pairs

SAID = [(0, 4, "now cut the onion"), (4, 8, "and stir it"), (8, 10, "good")]


def pair(first, last, start, end, tokens=3):
    return Pair("v", first, last, [7] * tokens, SAID[first][0], SAID[last][1], start, end)


THREE = [pair(0, 0, 0, 4), pair(0, 1, 4, 8, 5), pair(2, 2, 0, 4)]  # IoU 1, 4/8 and 0
SHOWS = [True, False, None]


def drawing(rule="overlapped", **more):
    many = np.array([0.1, 0.12, 0.5, 1.0])
    return Drawing(OverlapConfig.checked(rule=rule), [THREE], [SHOWS], many, 0.75, **more)


@pytest.fixture
def panel():
    video = Narrated("v", 10, SAID, [(0, 4, "cut")], ["cut", "", ""])
    return PairExplorer([video], {"overlapped": drawing(), "iou": drawing("iou", accepted=0.125)}, title="toy")


def test_many_stand_behind(panel):
    state = panel.panel()
    many = state["drawings"]["iou"]["many"]
    assert many["n"] == 4 and many["histogram"][2] == 2 and many["mean_iou"] == 0.43 and many["half"] == 0.5
    assert many["shows"] == 0.75 and state["drawings"]["iou"]["accepted"] == 0.125
    assert state["drawings"]["overlapped"]["accepted"] is None and not state["asks"]
    assert state["drawings"]["iou"]["rule"]["min_iou"] == 0.5


def test_new_draws_are_asked_and_faults_become_notes(panel):
    asked = []

    def again(rule, limits, seed):
        asked.append((rule, limits, seed))
        return replace(drawing(rule), pairs=[THREE[:1]], shows=[SHOWS[:1]])

    panel, before = replace(panel, again=again), panel.panel()["drawings"]
    answer = panel.answer({"draw": {"rule": "iou", "seed": 3, "min_iou": 0.25, "max_video_s": 8.0}})
    assert asked == [("iou", {"max_video_s": 8, "min_iou": 0.25}, 3)] and len(answer["drawing"]["pairs"][0]) == 1
    assert panel.panel()["drawings"] == before, "nothing of the panel changes"
    for wish, told in (
        ({"rule": "bag"}, "nothing can be drawn"),
        ({"rule": "iou", "max_video_s": 2.5}, "whole number"),
        ({"rule": "iou", "min_iou": "much"}, "a number"),
        ({"rule": "iou", "min_iou": float("nan")}, "a number"),
        ({"rule": "iou", "seed": -1}, "from 0"),
    ):
        answer = panel.answer({"draw": wish})
        assert told in answer["note"] and "drawing" not in answer
    assert len(asked) == 1 and panel.answer({"draw": "iou"}) is None and panel.answer({"ask": "iou"}) is None


# ------------------------------------------------------------------------------------------------- in a browser


def test_draws_are_counted_by_hand(browser, panel, tmp_path):
    with opened(browser, panel, tmp_path) as page:
        first, second, third = (page.evaluate(UPDATE, ["v", "overlapped", i]) for i in range(3))
    pair = {"first": 0, "last": 0, "text": [0, 4], "clip": [0, 4], "tokens": 3, "iou": 1, "shows": True}
    assert first["pair"] == pair and first["words"] == ["now cut the onion"]
    assert first["mean_iou"] == 1 and first["half"] == 1
    assert second["pair"]["iou"] == 0.5 and second["mean_iou"] == 0.75 and second["half"] == 1
    assert second["shows"] == 0.5 and second["words"] == ["now cut the onion", "and stir it"]
    assert third["mean_iou"] == 0.5 and third["half"] == 2 / 3, "0, one half and 1"
    assert (third["shows"], third["judged"], third["pair"]["shows"]) == (0.5, 2, None)
    assert third["histogram"] == [1] + [0] * 9 + [1] + [0] * 8 + [1], "IoU 1 belongs to the last bin"


def test_buttons_and_keys_move_the_page(browser, panel, tmp_path):
    with opened(browser, panel, tmp_path) as page:
        assert place(page) == ("overlapped", 0)
        page.click("text=draw another")
        assert place(page) == ("overlapped", 1) and "IoU 0.50" in page.inner_text(".readout")
        page.focus(".plot")
        page.keyboard.press("ArrowRight")
        page.keyboard.press("ArrowRight")
        assert place(page) == ("overlapped", 2), "there is no fourth"
        page.keyboard.press("ArrowDown")
        assert place(page) == ("iou", 0) and "12.5 %" in page.inner_text("table")
        assert "at least 0.5" in page.inner_text(".vcwork"), "the rule in a sentence"
        page.keyboard.press("End")
        page.keyboard.press("ArrowLeft")
        assert place(page) == ("iou", 1)
        assert "Run the notebook" in page.inner_text(".vcwork"), "without a kernel nothing new is drawn"


def place(page) -> tuple[str, int]:
    return seen(page)["rule"], seen(page)["draw"]


UPDATE = "choice => document.querySelector('.vcwork').update(...choice)"
LIVE = """
const heard = [], state = STATE;
const model = { get: (key) => (key === "media" ? {} : state[key]), on: (_, act) => heard.push(act), off() {},
  send: async (message) => { const answer = await window.kernel(message); heard.forEach((act) => act({ answer })); } };
render({ model, el: document.querySelector("main") });
"""


def test_live_the_kernel_draws_anew(browser, made, tmp_path):
    file, faults = tmp_path / "live.html", []
    code = script("pairs.js") + LIVE.replace("STATE", as_script({"panel": made.panel(), "live": True}))
    file.write_text(f'<meta charset="utf-8"><main></main><script type="module">{code}</script>', encoding="utf-8")
    page = browser.new_page()
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.expose_function("kernel", lambda message: made.answer(message))
    page.goto(file.as_uri())
    page.click("button:text-is('windows')")
    page.fill("input[aria-label='seconds up to']", "6")
    page.click("text=new draws")
    page.wait_for_function("document.querySelector('[role=status].note').textContent.startsWith('New')")
    start, end = seen(page)["pair"]["clip"]
    assert end - start <= 6 and "6 s long" in page.inner_text(".vcwork") and seen(page)["rule"] == "windows"
    page.fill("input[aria-label='seconds up to']", "0")
    page.click("text=new draws")
    page.wait_for_function("document.querySelector('[role=status].note').textContent.includes('max_video_s')")
    assert seen(page)["pair"]["clip"] == [start, end] and faults == [], "a fault changes nothing"


# ------------------------------------------------------------------------------------------------ from a corpus


@pytest.fixture(scope="module", autouse=True)
def few():
    """Draws of each video and of all of them, fewer than a panel has."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vcwork.panels.make_pairs.DRAWS", 40)
        patch.setattr("vcwork.panels.make_pairs.MANY", 60)
        yield


@pytest.fixture(scope="module")
def made(ws, few):
    return pair_explorer(ws.corpus, ws.store, ws.encoder.tokenizer, videos=2, max_text_tokens=32)


def plain(pairs):
    """Pairs that can be compared: their tokens are arrays."""
    return [pair._replace(tokens=list(pair.tokens)) for pair in pairs]


def test_the_panel_holds_the_draws_of_the_samplers(ws, made):
    assert list(made.drawings) == list(RULES) and len(made.videos) == 2 and made.notes == []
    for rule, drawn in made.drawings.items():
        assert drawn.rule.rule == rule and drawn.rule.max_text_tokens == 32
        assert all(p.video_id == v.id for v, some in zip(made.videos, drawn.pairs, strict=True) for p in some)
        told = judged_pairs.named(ws.corpus, ws.store, drawn.pairs[0])
        judged = [s for s in drawn.shows[0] if s is not None]
        named = zip(told.pairs, told.steps, strict=True)
        assert judged == [told.showing(p, s)[p.video_start : p.video_end].any() for p, s in named]
        assert (drawn.accepted is None) == (rule != "iou")
    assert all(span_iou(p) >= 0.5 for some in made.drawings["iou"].pairs for p in some)
    video = made.videos[0]
    assert [text for *_, text in video.captions] == [c.text for c in ws.corpus.captions(video.id)]


def test_the_same_seed_draws_the_same(ws, made):
    again = made.again("overlapped", {}, 0)
    assert plain(again.pairs[0]) == plain(made.drawings["overlapped"].pairs[0])
    assert plain(made.again("overlapped", {}, 1).pairs[0]) != plain(again.pairs[0])
    shorter = made.again("windows", {"max_video_s": 8}, 0)
    assert shorter.rule.stride_s == 8 and max(p.video_end - p.video_start for p in shorter.pairs[0]) <= 8
    refused("min_iou", made.again, "iou", {"min_iou": 2.0}, 0)


def test_acceptance_is_the_share_of_tries_kept():
    track = Track("v", np.arange(0, 30, 2.5), np.arange(2.5, 32, 2.5), ((1, 2),) * 12, 30)
    rule = rule_of("iou", max_video_s=30)
    drawn, accepted = counted([track], rule, 50, seed=3)
    assert plain(drawn) == plain(judged_pairs.draw([track], rule, 50, seed=3)), "counting changes no draw"
    rng, tries = np.random.default_rng(3), 0
    for _ in range(50):
        rng.integers(1)  # which track
        tries += iou_pair(track, rule, rng)[1]
    assert accepted == pytest.approx(50 / tries) and 0.05 < accepted < 0.4
    assert counted([track], rule_of("strict"), 5, seed=0)[1] is None
    silent = Track("v", np.array([29.9]), np.array([30.0]), ((1,),), 30)
    never = rule_of("iou", max_video_s=30, min_iou=1.0)
    assert counted([silent], never, 2, seed=0)[1] == 0
    assert iou_pair(silent, never, np.random.default_rng(0), tries=7)[1:] == (7, False)


def test_what_is_missing_is_said(ws):
    one, two = ws.corpus.split("train")[:2]
    mute = replace(ws.corpus, videos={one.id: replace(one, captions=None), two.id: two}, _raw={})
    assert [v.id for v in pair_explorer(mute, ws.store, ws.encoder.tokenizer).videos] == [two.id]
    blind = replace(ws.corpus, videos={two.id: replace(two, truth=None, segments=())}, _raw={})
    panel = pair_explorer(blind, ws.store, ws.encoder.tokenizer)
    assert any("Nobody knows" in note for note in panel.notes) and panel.drawings["strict"].shows == [[None] * 40]
    silent = replace(ws.corpus, videos={one.id: replace(one, captions=None)}, _raw={})
    refused("no train video has both", pair_explorer, silent, ws.store, ws.encoder.tokenizer)


def test_only_so_many_videos_make_the_distribution(ws, monkeypatch):
    monkeypatch.setattr("vcwork.panels.make_pairs.MOST_TRACKS", 4)
    asked, drawing = [], judged_pairs.draw
    monkeypatch.setattr(judged_pairs, "draw", lambda tracks, *more: asked.append(tracks) or drawing(tracks, *more))
    first = [v.id for v in ws.corpus.split("train")[:4]]
    made = pair_explorer(ws.corpus, ws.store, ws.encoder.tokenizer, videos=2)
    assert [v.id for v in made.videos] == first[:2] and [t.video_id for t in max(asked, key=len)] == first
