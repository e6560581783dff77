"""The pages of one's own videos in a real browser, from disk and served: played with sound, searched, taken."""

import subprocess
import sys
import threading
from urllib.parse import quote

import pytest
from browsing import WAIT_MS, barriers, watched
from films import film

from vcwork.workbench.own_folder import plain_name
from vcwork.workbench.own_pages import write_pages
from vcwork.workbench.own_serving import answering
from vcwork.workbench.own_videos import own_videos

ODD = "<img src=x onerror=alert(1)> 'a' & $$b$$"
SAID = "</script><script>alert(2)</script> $$x$$ \u2028 “q\" 'r'"
QUARTER = ((0, 65536, 0), (-65536, 0, 0))  # of a phone held upright


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """Three films with sound: a wide one with subtitles, an odd name, and one of a codec that browsers do not play."""
    folder = tmp_path_factory.mktemp("own") / "films"
    folder.mkdir()
    film(folder / "kitchen.mp4", sound="aac", seconds=8, size=(160, 90))
    (folder / "kitchen.vtt").write_text(
        "WEBVTT\n\n00:01.000 --> 00:02.500\ncut the onion\n\n00:04.500 --> 00:06.000\nknead the dough\n", "utf-8"
    )
    film(folder / f"{ODD}.mp4", sound="aac", seconds=4, size=(90, 160))
    (folder / f"{ODD}.srt").write_text(f"1\n00:00:01,000 --> 00:00:02,000\n{SAID}\n", "utf-8")
    film(folder / "old.avi", "mpeg4", sound="mp3", seconds=4, size=(160, 90))
    (folder / "old.txt").write_text("an old film of an onion\n", "utf-8")
    made = own_videos(folder, out=folder.parent / "out", backbone="motion", speech="", offline=True, progress=False)
    write_pages(made, progress=False)
    return made


@pytest.fixture
def page(browser):
    with watched(browser, offline=True, viewport={"width": 1000, "height": 900}) as one:
        yield one
        assert one.outside == [] and one.errors == []


def play(page, video) -> dict:
    """What a second of playing shows of a video element."""
    video.evaluate("v => v.play()")
    page.wait_for_function("v => v.currentTime > 0.8", arg=video.element_handle(), timeout=WAIT_MS)
    return video.evaluate("""v => { v.pause(); const box = v.getBoundingClientRect(); return { muted: v.muted,
        sound: v.webkitAudioDecodedByteCount, wide: v.videoWidth, high: v.videoHeight, fits: box.height <= innerHeight
        && box.right <= innerWidth, controls: v.controls, duration: v.duration }; }""")


@pytest.mark.parametrize("id, size", [("kitchen", (160, 90)), (ODD, (90, 160)), ("old", (160, 90))])
def test_a_film_plays_whole_and_with_its_sound(own, page, id, size):
    page.page.goto((own.out / "videos" / f"{plain_name(id)}.html").as_uri())
    seen = play(page.page, page.page.locator("video"))
    assert seen["sound"] > 0 and not seen["muted"] and seen["controls"] and seen["fits"]
    assert (seen["wide"], seen["high"]) == size, "the whole picture, not its middle square"


def test_a_link_opens_at_its_moment_and_lines_lead_to_theirs(own, page):
    page.page.goto(f"{(own.out / 'videos' / 'kitchen.html').as_uri()}#t=4.5")
    at = "([v, s]) => v.readyState >= 2 && !v.seeking && Math.abs(v.currentTime - s) < 0.01"
    video = page.page.locator("video").element_handle()
    page.page.wait_for_function(at, arg=[video, 4.5], timeout=WAIT_MS)
    assert page.page.locator(".transcript .now").inner_text().endswith("knead the dough")
    page.page.get_by_label("sentence to look for").fill("onio")
    assert page.page.locator(".transcript li").count() == 1
    page.page.locator(".transcript button").click()
    page.page.wait_for_function(at, arg=[video, 1], timeout=WAIT_MS)
    with page.page.expect_download() as kept:
        page.page.get_by_role("button", name="WebVTT").click()
    assert "00:00:01.000 --> 00:00:02.500\ncut the onion" in kept.value.path().read_text("utf-8")
    page.page.evaluate("location.hash = '#t=6'")
    page.page.wait_for_function(at, arg=[video, 6], timeout=WAIT_MS)
    assert page.page.locator("select:visible").count() == 0, "without a model there is nothing to choose"


def test_from_the_wall_to_the_moment(own, page):
    page.page.goto((own.out / "index.html").as_uri())
    page.page.get_by_label("search").fill("onion")
    texts = page.page.locator("ol .about").all_inner_texts()
    assert len(texts) == 2 and any("said" in text and "kitchen at 0:01" in text for text in texts)
    assert any("described" in text and "old" in text for text in texts)
    page.page.get_by_role("link", name="kitchen at").click()
    page.page.wait_for_function("() => document.querySelector('video')?.currentTime === 1", timeout=WAIT_MS)
    page.page.get_by_role("link", name="all videos").click()
    page.page.wait_for_function(
        "() => [...document.images].length >= 3 && [...document.images].every((one) => one.naturalWidth)"
    )


def test_names_and_words_are_text_wherever_they_stand(own, page):
    page.page.on("dialog", lambda dialog: pytest.fail(f"ran: {dialog.message}"))
    page.page.goto((own.out / "index.html").as_uri())
    page.page.get_by_label("search").fill("script alert")
    said = page.page.locator("ol .said").inner_text()
    assert said.startswith("“") and "alert(2)" in said and page.page.locator("img[onerror]").count() == 0
    assert ODD in page.page.locator(".card .name").all_inner_texts()
    page.page.locator("ol a").first.click()
    page.page.get_by_role("heading", name=ODD).wait_for()
    assert "alert(2)" in page.page.locator(".transcript").inner_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_every_page_fits_its_window(own, browser, scheme, width):
    with watched(browser, offline=True, color_scheme=scheme, viewport={"width": width, "height": 800}) as one:
        for path in [own.out / "index.html", *(own.out / "videos").glob("*.html")]:
            one.page.goto(path.as_uri())
            one.page.locator("input").first.fill("the")
            assert one.page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path.name
            assert width < 1000 or barriers(one.page) == [], path.name
        one.shot(f"own-{scheme}-{width}")


# ------------------------------------------------------------------------------------------------------------ served


@pytest.fixture(scope="module")
def address(own):
    """The pages served by a process of their own, which is asked to stop and says that it did."""
    command = [sys.executable, "-m", "vcwork", "explore", str(own.corpus.folder), "--out", str(own.out), "--serve"]
    command += ["--backbone", "motion", "--speech", "", "--offline"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as started:
        watch = threading.Timer(120, started.kill)
        watch.start()
        told = next(line for line in started.stdout if line.startswith("serving "))
        yield told.split()[1]
        started.send_signal(2)
        assert started.stdout.read().endswith("stopped\n") and started.wait() == 0
        watch.cancel()


def test_served_pages_answer_play_and_hand_over(own, browser, address):
    with watched(browser, viewport={"width": 1000, "height": 900}) as one:
        one.page.goto(address)
        one.page.get_by_label("search").fill("knead that dough")
        one.page.wait_for_selector("ol .about a[download]")
        assert "kitchen at 0:04" in one.page.locator("ol .about").first.inner_text()
        with one.page.expect_download() as kept:
            one.page.get_by_role("link", name="save as mp4").first.click()
        assert kept.value.path().read_bytes()[4:8] == b"ftyp"
        one.page.get_by_label("search").fill("xqzt wkvv")
        one.page.wait_for_function("() => /nothing found/.test(document.querySelector('[role=status]').textContent)")
        one.page.get_by_label("search").fill("knead")
        one.page.get_by_role("link", name="kitchen at").first.click()
        assert play(one.page, one.page.locator("video"))["sound"] > 0
        one.page.get_by_label("sentence to look for").fill("cut the onion")
        one.page.keyboard.press("Enter")
        one.page.get_by_text("best of this video").wait_for()
        assert one.errors == [] and all(
            url.startswith(("http://127.0.0.1:", *("data:", "blob:"))) for url in one.requests
        )


def test_a_film_is_served_under_its_pages_name_only(own, address):
    import urllib.error
    import urllib.request

    files = own.corpus.folder
    with urllib.request.urlopen(f"{address}media/{plain_name(ODD)}", timeout=30) as answer:
        assert answer.read() == (files / f"{ODD}.mp4").read_bytes()
    for path in (
        quote(f"media/{ODD}"),
        "media/kitchen.mp4",
        "cache/files.json",
        "explore.json",
        "../films/kitchen.mp4",
    ):
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"{address}{path}", timeout=30)


def test_the_floor_is_told_where_nothing_is_found(own):
    answer = answering(own)
    told = answer("xqzt wkvv", "kitchen", False)
    assert told["found"] is False and "Of questions that have no answer here" in told["note"]
    assert "1% are to get one" in answering(own, false_alarms=0.01)("xqzt wkvv", "", False)["note"]
    found = answer("knead the dough", "", False)
    assert found["hits"][0]["page"] == "kitchen.html" and "curve" not in found
    assert [found["hits"][0][name] for name in ("file", "fps", "seconds")] == ["kitchen.mp4", 10, 8]
