"""The wall of videos: what a search finds, worked out by hand; data that cannot become code or a foreign address."""

import json

import numpy as np
import pytest
from panel_checks import NASTY, check_page, check_text_stays_text, opened

from vcwork.base.errors import VcworkError
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
    return VideoWall(cards, [RED, RED, None], said, title="kitchen")


@pytest.mark.parametrize(
    ("query", "found"), [("onion", [0, 1]), ("ONION the", [0, 1]), ("fry onion", [1]), ("the", [0, 1, 2]), ("", [])]
)
def test_a_sentence_is_found_by_all_its_words(wall, query, found):
    before = wall.panel()
    answer = wall.update(query)
    assert answer["found"] == found and answer["count"] == len(found) and answer["note"] == ""
    assert wall.panel() == before, "update changes nothing"


def test_nothing_found_is_said(wall):
    assert wall.update("potato onion") == {
        "found": [],
        "count": 0,
        "note": "None of 3 stored sentences has these words.",
    }
    wall.said = []
    assert "Nothing is said" in wall.update("onion")["note"]


def test_a_long_list_is_cut_and_counted(wall):
    wall.said = [Said("again", 0)] * (MOST_SHOWN + 5)
    answer = wall.update("again")
    assert len(answer["found"]) == MOST_SHOWN and answer["count"] == MOST_SHOWN + 5


def test_what_is_drawn(wall):
    state = json.loads(json.dumps(wall.panel(), allow_nan=False))
    assert state["cards"][0]["near"] == [[1, 0.5], [2, -0.1]] and state["said"][0][3][0] == [1, 4, 6, 5.5, 0.9]
    assert state["thumbs"]["n"] == 3 and wall.media()["thumbs"][:2] == b"\xff\xd8"
    assert wall.png().startswith(b"\x89PNG")
    empty = VideoWall([], [], notes=["nothing"])
    assert empty.media() == {} and empty.png().startswith(b"\x89PNG") and "nothing" in empty.html()


def test_places_pictures_and_addresses_are_checked():
    for cards, pictures, said, told in (
        ([Card("a", 1)], [], [], "picture"),
        ([Card("a", 1, near=((1, 0.5),))], [None], [], "places of 1"),
        ([Card("a", 1)], [None], [Said("x", 1)], "places of 1"),
        ([Card("a", 1)], [None], [Said("x", 0, None, ((2, 0, 1, 0.5, 1),))], "places of 1"),
        ([Card("a", 1, page="javascript:alert(1)")], [None], [], "relative address"),
    ):
        with pytest.raises(VcworkError, match=told):
            VideoWall(cards, pictures, said)


def test_data_never_becomes_code(tmp_path):
    wall = VideoWall([Card(NASTY, 1, notes=(NASTY,))], [None], [Said(NASTY, 0)], title=NASTY, notes=[NASTY])
    check_text_stays_text(wall)
    check_page(wall, tmp_path)


def test_page_needs_no_network_and_its_module_is_valid(wall, tmp_path):
    check_page(wall, tmp_path)


def test_the_page_searches_as_update_does(browser, wall, tmp_path):
    """In a browser: typing marks the cards, links lead to the second, and nothing is said on the console."""
    with opened(browser, wall, tmp_path) as page:
        for query in ("onion", "fry ONION", "potato", ""):
            page.fill("input", query)
            assert json.loads(page.get_attribute(".vcwork-wall", "data-found")) == wall.update(query)["found"]
        page.fill("input", "cut")
        links = page.eval_on_selector_all("ol a", "found => found.map((a) => a.getAttribute('href'))")
        assert links == ["videos/onions.html#t=3", "videos/bread.html#t=5", "videos/onions.html#t=2"]
        assert page.locator(".card.meant .name").all_inner_texts() == ["onions"]
        assert page.locator(".card").nth(2).locator("a").count() == 0, "a video without a page is no link"
