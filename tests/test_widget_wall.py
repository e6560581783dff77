"""The wall of videos: what a search finds, worked out by hand; data that cannot become code or a foreign address."""

import json

import numpy as np
import pytest
from panel_checks import node, opened

from vcwork.panels.base import script
from vcwork.panels.wall import MOST_SHOWN, Card, Said, VideoWall

RED = np.full((40, 60, 3), (200, 0, 0), np.uint8)


@pytest.fixture
def wall():
    cards = [
        Card("onions", 12, 2, "videos/onions.html", near=((1, 0.5), (2, -0.1))),
        Card("bread", 70, 1, "videos/bread.html", ("No captions: it is empty.",)),
        Card("silent", 5),
    ]
    said = [
        Said("Cut the onion", 0, 3.5, ((1, 4, 6, 5.5, 0.9), (0, 2, 4, 2.5, 0.7))),
        Said("now fry the onion", 0, 7),
        Said("slice the bread", 1),
    ]
    return VideoWall(cards, said, pictures={0: [RED], 1: [RED]}, title="kitchen")


def test_a_sentence_is_found_by_all_its_words(wall, tmp_path):
    queries = {"onion": [0, 1], "ONION the": [0, 1], "fry onion": [1], "the": [0, 1, 2], "": [], "potato onion": []}
    source = f"{script('wall.js')}\nconst panel = {json.dumps(wall.panel())};\nconsole.log(JSON.stringify("
    source += f"{json.dumps(list(queries))}.map((query) => placesOf(panel, wordsOf(query)))));"
    assert json.loads(node(source, tmp_path)) == list(queries.values())


def test_what_is_drawn(wall):
    state = json.loads(json.dumps(wall.panel(), allow_nan=False))
    assert state["cards"][0]["near"] == [[1, 0.5], [2, -0.1]] and state["said"][0][3][0] == [1, 4, 6, 5.5, 0.9]
    assert state["sheet"]["n"] == 2


def test_a_long_list_is_cut_and_counted(browser, tmp_path):
    with opened(browser, VideoWall([Card("a", 1)], [Said("again", 0)] * (MOST_SHOWN + 5)), tmp_path) as page:
        page.fill("input", "again")
        assert page.locator("ol > li").count() == MOST_SHOWN
        assert f"{MOST_SHOWN + 5} of" in page.inner_text("[role=status]")


def test_typing_marks_cards_and_links_lead_to_the_second(browser, wall, tmp_path):
    with opened(browser, wall, tmp_path) as page:
        told = {
            "onion": ([0, 1], "2 of 3"),
            "fry ONION": ([1], "1 of 3"),
            "potato": ([], "None of 3"),
            "": ([], "3 st"),
        }
        for query, (found, words) in told.items():
            page.fill("input", query)
            assert json.loads(page.get_attribute(".vcwork-wall", "data-found")) == found
            assert words in page.inner_text("[role=status]")
        page.fill("input", "cut")
        links = page.eval_on_selector_all("ol a", "found => found.map((a) => a.getAttribute('href'))")
        assert links == ["videos/onions.html#t=3", "videos/bread.html#t=5", "videos/onions.html#t=2"]
        assert page.locator(".card.meant .name").all_inner_texts() == ["onions"]
        assert page.locator(".card").nth(2).locator("a").count() == 0, "a video without a page is no link"
