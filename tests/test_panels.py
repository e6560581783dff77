"""What holds of every panel: text that stays text, a page that needs nobody, pictures and clips; the wall of videos."""

import base64
import contextlib
import json
import re
from dataclasses import replace
from types import SimpleNamespace
from urllib.parse import parse_qsl

import numpy as np
import pytest
from checks import node, opened, refused

from vcwork.core.config import OverlapConfig
from vcwork.core.sampling import Pair
from vcwork.data.corpus import Corpus, Video
from vcwork.data.video import frames_at, probe, write_mp4
from vcwork.panels.alignment import AlignmentExplorer, Row
from vcwork.panels.base import Narrated, Panel, as_script, script, sheet, someone_watches
from vcwork.panels.clips import clip_of, thumbnails
from vcwork.panels.clusters import BatchClip, ClusterInspector, ClusterVideo
from vcwork.panels.embedding import EmbeddingMap, MapClip
from vcwork.panels.failures import Direction, Entry, FailureBrowser
from vcwork.panels.pairs import Drawing, PairExplorer
from vcwork.panels.segmentation import SegmentationStudio, Watched
from vcwork.panels.training import TrainingPanel
from vcwork.panels.wall import MOST_SHOWN, Card, Said, VideoWall
from vcwork.search.evidence import tokens

NASTY = "</script><img src=x onerror=alert(1)> \"double\" 'single' & \\ \u2028 <!--"
NETWORK = r"https?:|//cdn|url\((?!.\$)|\bimport\s"  # thumbnails are url("${...}") of what the page holds
MARKUP = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\("  # would make code of a text
INSIDE = re.compile(r'<script type="module">(.*)</script>', re.DOTALL)
GREY = [np.full((20, 30, 3), 128, np.uint8)]
EYE = np.eye(2, dtype=bool)
MP4 = b"not really an mp4"


def alignment(text: str, **more) -> AlignmentExplorer:
    video = Narrated(text, 6, [(0, 1, text)], [(0, 1, text)], clip=MP4)
    return AlignmentExplorer(video, [Row(text)], np.array([[0, 0, 4, 3, 0, 0.0]]), **more)


def clusters(text: str, **more) -> ClusterInspector:
    videos = [ClusterVideo(text, text, text, text, (text,))] * 2
    clips = [[[BatchClip(0, 1, text)]] * 2]
    return ClusterInspector({text: np.eye(2)}, videos, k=2, clips=clips, pictures={0: GREY}, **more)


def embedding(text: str, **more) -> EmbeddingMap:
    clips = [MapClip(text, text, 0, 1, text, text)] * 2
    return EmbeddingMap(np.eye(2), np.eye(2), clips, labels={text: [text] * 2}, pictures={1: GREY * 2}, **more)


def failures(text: str, **more) -> FailureBrowser:
    way = Direction(np.eye(2), {"wrong": ~EYE, "own": EYE}, ("own",), range(2), range(2), range(2))
    entries = [Entry(text, text, (0.0, 2.0), {"object": text})] * 2
    return FailureBrowser(entries, {text: way}, pictures={0: GREY}, **more)


def pairs(text: str, **more) -> PairExplorer:
    video, pair = Narrated(text, 4, [(0, 4, text)], [(0, 4, text)], [text]), Pair(text, 0, 0, [7], 0.0, 4.0, 0, 4)
    return PairExplorer([video], {"iou": Drawing(OverlapConfig(rule="iou"), [[pair]], [[True]], np.ones(2))}, **more)


def segmentation(text: str, **more) -> SegmentationStudio:
    scores = np.array([[5, 1, 0], [1, 2, 4], [0, 3, 1], [0, 1, 0.5]])
    video = Watched(text, np.array([1, 0, 0, 2]))
    return SegmentationStudio([video], [text, "b", "c"], {(4, 2): [scores]}, marks={text: 1.0}, **more)


def training(text: str, **more) -> TrainingPanel:
    records = [{"step": i, "loss": 1.0 + i, "log_batch": 2.0, "retrieved": i > 1} for i in range(3)]
    return TrainingPanel(records, [{"epoch": 0, "step": 1, text: 1.0}], title=more["title"])


def wall(text: str, **more) -> VideoWall:
    return VideoWall([Card(text, 1, notes=(text,))], [Said(text, 0)], pictures={0: GREY}, **more)


MADE = [alignment, clusters, embedding, failures, pairs, segmentation, training, wall]
SAYS = {"notes": ["nothing is here"]}
EMPTY = {
    "no sentence": AlignmentExplorer(Narrated("a", 9), [], np.zeros((0, 9)), **SAYS),
    "no query": ClusterInspector({"now": np.eye(2)}, [ClusterVideo("a")] * 2, queries=[], **SAYS),
    "one video": ClusterInspector({"now": np.zeros((1, 3))}, [ClusterVideo("alone")], **SAYS),
    "no clip": EmbeddingMap(np.zeros((0, 2)), np.zeros((0, 2)), [], **SAYS),
    "one clip": EmbeddingMap(np.eye(1, 2), np.eye(1, 2), [MapClip("a")], **SAYS),
    "no rule": PairExplorer([Narrated("v", 10)], {}, **SAYS),
    "no scores": SegmentationStudio([Watched("a", np.array([0, 1]))], ["b"], {}, **SAYS),
    "no truth": SegmentationStudio([Watched("a")], ["b"], {(4, 2): [np.ones((3, 1))]}, **SAYS),
    "no update": TrainingPanel(),
    "no card": VideoWall([], **SAYS),
}
SIX = Narrated("a", 6)
DIRECTION = (("own",), range(2), range(2))
REFUSED = [
    (lambda: AlignmentExplorer(SIX, [Row("b")], np.zeros((2, 6))), r"\(1, 6\) of .* got \(2, 6\)"),
    (lambda: AlignmentExplorer(SIX, [Row("b")], np.zeros(6)), "expected scores"),
    (lambda: AlignmentExplorer(Narrated("a", 0), [], np.zeros((0, 0))), "T >= 1"),
    (lambda: AlignmentExplorer(SIX, [Row("b")], np.full((1, 6), np.nan)), "NaN"),
    (lambda: Narrated("a", 6, [(3, 2, "back")]), "'back'"),
    (lambda: Narrated("a", 6, truth=[(0, np.inf, "for ever")]), "for ever"),
    (lambda: ClusterInspector({}, [ClusterVideo("a")]), "an epoch"),
    (lambda: ClusterInspector({"now": np.eye(2)}, [ClusterVideo("a")]), r"'now': expected vectors \(1, D\)"),
    (lambda: ClusterInspector({"now": np.eye(1) * np.nan}, [ClusterVideo("a")]), "NaN"),
    (lambda: EmbeddingMap(np.eye(3), np.eye(2), [MapClip("a")] * 3), r"video and text \(3, D\)"),
    (lambda: EmbeddingMap(np.eye(2), np.eye(2), [MapClip("a")] * 3), r"video and text \(3, D\)"),
    (lambda: EmbeddingMap(np.full((2, 2), np.nan), np.eye(2), [MapClip("a")] * 2), "NaN"),
    (lambda: Direction(np.eye(2), {"wrong": np.ones((2, 2)), "own": EYE}, *DIRECTION), "exactly one"),
    (lambda: Direction(np.eye(2), {"wrong": ~EYE[:1], "own": EYE}, *DIRECTION), r"kinds \(2, 2\)"),
    (lambda: Direction(np.eye(2) * np.nan, {"wrong": ~EYE, "own": EYE}, *DIRECTION), "NaN"),
    (lambda: Direction(np.eye(2), {"wrong": EYE | True, "own": EYE & False}, *DIRECTION), "query 0 has no relevant"),
    (lambda: FailureBrowser([], {}), "at least one direction"),
    (lambda: PairExplorer([], {}), "at least one video"),
    (lambda: SegmentationStudio([], [], {}), "at least one video"),
    (lambda: SegmentationStudio([Watched("a")], ["b"], {(4, 2): []}), r"reading \(4, 2\): expected scores of 1 videos"),
    (lambda: SegmentationStudio([Watched("a")], ["b"], {(4, 2): [np.ones((3, 2))]}), r"expected scores \(3, 1\)"),
    (lambda: SegmentationStudio([Watched("a")], ["b"], {(4, 2): [np.full((3, 1), np.nan)]}), "NaN"),
    (lambda: TrainingPanel([{"loss": 1}]), "with step, loss"),
    (lambda: sheet({0: [np.zeros((4, 4), np.uint8)]}), r"pictures \(H, W, 3\) uint8"),
]


def check_page(panel: Panel, tmp_path) -> None:
    """The page of a panel is whole and needs nobody; call it last: without node the test ends here as skipped."""
    html, page, module = panel.html(), panel.page(), script(panel.module)
    assert html in page, "the same panel, the same text"
    check_one_script(html)
    assert not re.search(NETWORK, page)
    assert page.count("data:image/png;base64,") == 1, "a picture for where no script runs"
    assert "</script" not in module and "export default { render }" in module and not re.search(MARKUP, module)
    for source in (module, INSIDE.search(html)[1]):
        node(source, tmp_path, "--check")


def check_text_stays_text(panel: Panel) -> None:
    """A panel that was given NASTY as title and wherever it takes a text makes neither elements nor code of it."""
    html = panel.html()
    assert as_script(NASTY)[1:-1] in html, "the text is there"
    check_one_script(html)
    assert "<img src=x" not in html and "onerror=alert(1)>" not in html and "<!--" not in html
    assert NASTY.split()[0] not in panel.page().split("<body>")[0]
    assert not re.search(MARKUP, script(panel.module))


def check_one_script(html: str) -> None:
    assert html.count("</script>") == 1 and html.count("<script") == 1 and html.rstrip().endswith("</script>")


@pytest.fixture(params=MADE, ids=lambda make: make.__name__)
def make(request):
    return request.param


def test_data_never_becomes_code(make):
    check_text_stays_text(make(NASTY, title=NASTY, notes=[NASTY]))
    literal = as_script({"text": NASTY})
    assert json.loads(literal) == {"text": NASTY} and not re.search(r"[<>&\u2028]", literal)


def test_a_page_needs_no_network_and_runs_without_a_fault(browser, make, tmp_path):
    panel = make("a", title="kitchen")
    json.dumps(panel.panel(), allow_nan=False)
    for name, start in (("sheet", b"\xff\xd8"), ("video", MP4)):
        assert panel.media().get(name, start).startswith(start)
    assert all(base64.b64encode(data).decode() in panel.page() for data in panel.media().values())
    png, told = panel.picture()
    assert png.startswith("iVBOR") and told.startswith(f"{panel.words()}. ")
    with opened(browser, panel, tmp_path) as page:
        assert page.inner_text("h3") == "kitchen"
    check_page(panel, tmp_path)


@pytest.mark.parametrize("name", EMPTY)
def test_where_there_is_nothing_the_panel_says_so(browser, name, tmp_path):
    panel = EMPTY[name]
    json.dumps(panel.panel(), allow_nan=False)
    assert panel.picture()[0].startswith("iVBOR")
    with opened(browser, panel, tmp_path) as page:
        assert ("nothing is here" in page.inner_text("body")) == ("nothing is here" in panel.notes)


@pytest.mark.parametrize(("wrong", "told"), REFUSED)
def test_what_does_not_fit_is_refused(wrong, told):
    refused(told, wrong)


def test_pictures_travel_as_one_sheet():
    made = sheet({2: GREY * 2, 0: GREY}, side=16)
    assert made.where == {0: [0], 2: [1, 2]} and made.measures == {"side": 16, "columns": 3, "n": 3}
    state = embedding("a").panel()
    assert state["pictures"] == {"1": [0, 1]} and state["sheet"] == {"side": 64, "columns": 2, "n": 2}
    assert failures("a").panel()["sheet"]["side"] == 96


def test_live_panel_answers_and_show_chooses(monkeypatch):
    class Echo(Panel):
        module = "wall.js"
        panel, figure = Panel.common, VideoWall([]).figure

        def answer(self, message):
            return {"said": message["ask"], "media": {"clip": MP4}} if message.get("ask") else None

    echo, sent, shown = Echo(title="kitchen"), [], []
    made = echo.widget()
    assert made.panel["title"] == "kitchen" and made.live and made.media == {}
    monkeypatch.setattr(made, "send", lambda *parts: sent.append(parts))
    for message in ({"ask": "hello", "view": "v"}, {"ask": ""}, "ask", {"other": 1}, None):
        made._handle_custom_msg(message, [])
    assert sent == [({"answer": {"said": "hello"}, "view": "v", "files": ["clip"]}, [MP4])]
    monkeypatch.setattr("IPython.display.display", lambda bundle, raw: shown.append(bundle))
    assert not someone_watches()
    echo.show()
    echo.show(live=True)
    widget = "application/vnd.jupyter.widget-view+json"
    assert [set(b) for b in shown] == [{"text/plain", "text/html", "image/png"},
                                       {"text/plain", "text/html", "image/png", widget}]  # fmt: skip


def test_a_cell_that_runs_again_lets_the_widgets_of_its_last_run_go(monkeypatch):
    """ipywidgets keeps every widget that is not closed, its pictures and clip with it."""
    asked, shown = {"metadata": {}, "header": {}}, []
    shell = SimpleNamespace(kernel=SimpleNamespace(get_parent=lambda channel: asked))
    monkeypatch.setattr("IPython.get_ipython", lambda: shell)
    for cell, run in (("a", 1), ("a", 1), ("b", 2), ("a", 3), ("b", 4), (None, 5), (None, 6)):
        asked |= {"metadata": {"cellId": cell} if cell else {}, "header": {"msg_id": f"run {run}"}}
        shown.append(VideoWall([]).widget())
    kept = [made.comm is not None for made in shown]
    assert kept == [False, False, False, True, True, True, True], "of each cell the last run; without a cell all"
    for made in shown:
        made.close()


@pytest.fixture
def film(tmp_path):
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 255, (60, 64, 64, 3), dtype=np.uint8)
    write_mp4(tmp_path / "a.mp4", noise, 10)
    return tmp_path / "a.mp4"


def test_quality_gives_way_to_size_and_then_it_is_refused(film, tmp_path):
    corpus = Corpus(tmp_path, "toy", {"a": Video("a", film, None, 6.0, "test")})
    whole, notes = clip_of(corpus, corpus["a"])
    assert notes == []
    tight, _ = clip_of(corpus, corpus["a"], max_kb=len(whole) // 1000 - 10)
    assert len(tight) < len(whole)
    assert clip_of(corpus, corpus["a"], max_kb=1) == (None, ["No video: it does not fit into 1 kB."])


@pytest.mark.parametrize(("most", "room", "shown", "each"), [(2, 99, 2, 2), (4, 2, 2, 1), (4, 1, 1, 1)])
def test_frames_of_spans_are_evenly_spaced_as_far_as_there_is_room(film, tmp_path, most, room, shown, each):
    corpus = Corpus(tmp_path, "toy", {"a": Video("a", film, None, 6.0, "test")})
    frames, notes = thumbnails(corpus, {3: ("a", 0, 2), 5: ("a", 4, 6)}, room, most, 32)
    assert list(frames) == [3, 5][:shown] and [len(some) for some in frames.values()] == [each] * shown
    assert ("Only the first 1 of 2 clips" in " ".join(notes)) == (shown < 2)
    if most == 2:
        for place, seconds in ((3, [0.5, 1.5]), (5, [4.5, 5.5])):
            assert np.array_equal(frames[place], frames_at(film, seconds, 32))


def test_missing_files_are_counted_and_named_without_their_paths(film, tmp_path):
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    files = {"a": film, "b": None, "c": tmp_path / "broken.mp4"}
    corpus = Corpus(tmp_path, "toy", {id: Video(id, file, None, 6.0, "test") for id, file in files.items()})
    frames, notes = thumbnails(corpus, {i: (id, 0, 6) for i, id in enumerate(files)}, 9)
    assert list(frames) == [0] and "No pictures of 2 of 3 videos" in notes[0] and str(tmp_path) not in notes[0]
    clip, notes = clip_of(corpus, corpus["c"])
    assert clip is None and "broken.mp4" in notes[0] and str(tmp_path) not in notes[0]
    corpus.meta["second_is"] = "keyframe"
    assert thumbnails(corpus, {0: ("a", 0, 6)}, 9) == ({}, []), "its times are not the film's"


def test_another_shape_becomes_a_small_clip_of_the_whole_picture(tmp_path):
    rng = np.random.default_rng(0)
    write_mp4(tmp_path / "wide.mp4", rng.integers(0, 255, (40, 192, 384, 3), dtype=np.uint8), 20)
    corpus = Corpus(tmp_path, "toy", {"w": Video("w", tmp_path / "wide.mp4", None, 2.0, "test")})
    clip, notes = clip_of(corpus, corpus["w"], 3000)
    (tmp_path / "clip.mp4").write_bytes(clip)
    info = probe(tmp_path / "clip.mp4")
    assert (info.width, info.height, round(info.duration_s)) == (256, 128, 2)
    assert notes == ["The clip is a small copy: at most 256 pixels, 10 frames a second."]


RED = np.full((40, 60, 3), (200, 0, 0), np.uint8)


@pytest.fixture
def kitchen():
    cards = [
        Card("onions", 12, 2, "videos/onions.html", near=((1, 0.5),), words="subtitles", file="onions.mp4", fps=25),
        Card("bread", 70, 2, "videos/bread.html", ("No captions: it is empty.",), words="speech"),
        Card("silent", 5),
    ]
    said = [
        Said("Cut the onion", 0, 3.5, 4.5, ((1, 4, 6, 5.5, 0.9), (0, 2, 4, 2.5, 0.7))),
        Said("now fry the onion", 0, 7, 8, like=(3,)),
        Said("slice the bread", 1),
        Said("Fríes are onions’ friends", 1, 30, 31),
    ]
    return VideoWall(cards, said, pictures={0: [RED], 1: [RED]}, title="kitchen")


def test_what_is_drawn(kitchen):
    state = json.loads(json.dumps(kitchen.panel(), allow_nan=False))
    assert state["cards"][0]["near"] == [[1, 0.5]] and state["said"][0][4][0] == [1, 4, 6, 5.5, 0.9]
    assert state["stored"] == 4 and kitchen.media() == {}
    far = replace(kitchen, beside="words.js")
    assert far.panel()["said"] == [] and far.panel()["stored"] == 4
    assert json.loads(far.sentences().removeprefix("vcworkWords(").removesuffix(");\n")) == state["said"]


def found(page) -> list:
    """[video, start_s, ways] of each hit on the wall."""
    return json.loads(page.get_attribute(".vcwork-wall", "data-found"))


def test_long_lists_are_cut_and_counted(browser, tmp_path):
    many = range(MOST_SHOWN + 5)
    said = [Said("again", i, 1, 2) for i in many]
    with opened(browser, VideoWall([Card(f"film {i}", 1) for i in many], said), tmp_path) as page:
        assert page.locator(".card").count() < MOST_SHOWN, "the rest is drawn when it comes near"
        page.fill("input", "again")
        assert 0 < page.locator("ol > li").count() < MOST_SHOWN, "nor are hits that are far below"
        assert f"{MOST_SHOWN + 5} hits in {MOST_SHOWN + 5} of" in page.inner_text("[role=status]")
        for what, n in (("ol > li", MOST_SHOWN), (".card", MOST_SHOWN + 5)):
            while page.locator(what).count() < n:
                page.evaluate("scrollTo(0, document.body.scrollHeight)")
                page.wait_for_timeout(50)
        assert page.locator("ol > li").count() == MOST_SHOWN
        page.fill("input", "")
        while page.locator(".more").is_visible():
            page.evaluate("scrollTo(0, document.body.scrollHeight)")
            page.wait_for_timeout(50)
        assert page.locator(".card").count() == MOST_SHOWN + 5
        assert page.locator(".more").is_hidden()


def test_typed_words_find_what_is_said_and_named(browser, kitchen, tmp_path):
    told = {
        "onion": ([[0, 3.5, ["said"]], [0, 7, ["said"]], [1, 30, ["said"]]], "3 hits in 2 of 3"),
        "fry ONION": ([[0, 7, ["said"]]], "1 hit in 1"),
        "fries": ([[1, 30, ["said"]]], "1 hit"),  # without its accent
        "sli": ([[1, None, ["described"]]], "1 hit"),  # a word's beginning
        "onion qqq": ([[0, 3.5, ["said"]], [0, 7, ["said"]], [1, 30, ["said"]]], "No sentence has all these words"),
        "qqq": ([], "Nothing here is said or named"),
        "silent": ([], "1 video is named so"),
        "": ([], "4 stored"),
    }
    with opened(browser, kitchen, tmp_path) as page:
        for query, (hits, words) in told.items():
            page.fill("input", query)
            assert sorted(found(page), key=str) == sorted(hits, key=str) and words in page.inner_text("[role=status]")
        page.fill("input", "silent")
        assert "is said with these words. 1 video is named so." in page.inner_text("[role=status]")
        assert page.locator(".card .name").all_inner_texts() == ["silent"]
        assert page.locator(".card a").count() == 0, "a video without a page is no link"


def test_a_stored_sentence_answers_with_its_meaning_and_what_is_shown(browser, kitchen, tmp_path):
    with opened(browser, kitchen, tmp_path) as page:
        page.fill("input", "cut the onion")
        assert found(page) == [[0, 3.5, ["said", "shown"]], [1, 4, ["shown"]]], "found both ways comes first"
        links = page.eval_on_selector_all("ol a", "found => found.map((a) => a.getAttribute('href'))")
        assert links == ["videos/onions.html#t=3.5", "videos/bread.html#t=5.5"]
        assert page.locator(".how").all_inner_texts() == ["said and shown", "shown"]
        page.fill("input", "fry")
        page.get_by_role("button", name="more like this sentence").first.click()
        assert page.input_value("input") == "now fry the onion"
        assert [1, 30, ["meant"]] in found(page)


def test_choices_are_offered_where_they_change_something(browser, kitchen, tmp_path):
    with opened(browser, kitchen, tmp_path) as page:
        assert page.locator("select").count() == 3
        page.fill("input", "cut the onion")
        page.get_by_label("said or shown").select_option("shown")
        assert found(page) == [[1, 4, ["shown"]]]
        page.get_by_label("said or shown").select_option("both")
        assert found(page) == [[0, 3.5, ["said", "shown"]]]
        page.fill("input", "now fry the onion")
        assert found(page) == [] and "hits is both" in page.inner_text("[role=status]")
        page.get_by_label("said or shown").select_option("said")
        assert [1, 30, ["meant"]] in found(page), "what is meant is said"
        page.fill("input", "sli")
        assert found(page) == []
        page.get_by_label("said or shown").select_option("described")
        assert found(page) == [[1, None, ["described"]]]
        page.fill("input", "cut the onion")
        page.get_by_label("said or shown").select_option("")
        page.get_by_label("words from anywhere").select_option("speech")
        assert {video for video, *_ in found(page)} == {1} and [1, 4, ["shown"]] in found(page)
        assert "No sentence in the chosen videos has all these words" in page.inner_text("[role=status]")
        page.get_by_label("words from anywhere").select_option("")
        page.get_by_label("any length").select_option("under a minute")
        assert {video for video, *_ in found(page)} == {0}
    plain = VideoWall([Card("a", 9, 1, words="subtitles")], [Said("hello", 0, 1, 2)])
    with opened(browser, plain, tmp_path) as page:
        assert page.locator("select").count() == 0


def hit(video: str, start_s: float | None, **more) -> dict:
    """As the server of one's own videos gives one."""
    times = {"start_s": start_s, "end_s": start_s and start_s + 2, "peak_s": None, "folded": 0, "like": []}
    about = {"page": f"{video}.html", "file": f"{video}.mp4", "fps": 10, "seconds": 70}
    return {"video": video, "score": 0.5, "evidence": ["said"], "text": "", **times, **about, **more}


@contextlib.contextmanager
def served(browser, panel, *hits):
    """The page as it is served: (page, searches); each is what is asked and what answers it with these hits."""
    page, searches, answer = browser.new_page(), [], {"hits": hits, "found": bool(hits), "more": False, "note": "told."}

    def give(route) -> None:
        if not route.request.url.endswith("search"):
            return route.fulfill(body=panel.page().replace("<head>", '<head><meta name="vcwork-served">', 1))
        asked = dict(parse_qsl(route.request.post_data, keep_blank_values=True))
        searches.append((asked, lambda: route.fulfill(body=json.dumps(answer))))

    page.route("**/*", give)
    page.goto("http://vcwork.test/videos/v.html")
    yield page, searches
    page.close()


def answer_next(page, searches) -> dict:
    """Answer the next search; what it asks."""
    while not searches:
        page.wait_for_timeout(20)
    asked, reply = searches.pop(0)
    reply()
    return asked


def test_a_served_wall_tells_what_it_leaves_out(browser, kitchen):
    many, like = hit("onions", 3, folded=2, like=[["bread", 3]]), hit("bread", None, evidence=["described"])
    with served(browser, kitchen, many, like) as (page, searches):
        page.fill("input", "\ud83d" + "玉" * 10_000)
        assert answer_next(page, searches)["q"] == "\ufffd" + "玉" * 10_000, "there is room for all of it"
        page.get_by_text("2 hits in 2 of 3 videos. told.").wait_for()
        about = page.locator("ol .about").first.inner_text()
        assert "and 2 more beside it" in about and "and 1 like it" in about
        cut = page.get_by_role("link", name="save as mp4").get_attribute("href")
        assert cut == "cut?video=onions&start=3&end=5", "a video by its page's plain name"
        page.get_by_label("words from anywhere").select_option("subtitles")
        answer_next(page, searches)
        page.get_by_text("1 hit in 1 of 3 videos. told.").wait_for()
        page.get_by_label("any length").select_option("1 to 10 minutes")
        answer_next(page, searches)
        page.get_by_text("None of 2 hits is in the chosen videos. told.").wait_for()


def test_a_served_video_lists_its_hits_with_all_that_lists_need(browser):
    own = [hit("v", start_s, page="v.html") for start_s in range(13)]
    panel = AlignmentExplorer(Narrated("v", 40, file="v.mp4", fps=30), [], np.zeros((0, 40)))
    with served(browser, panel, hit("w", None, evidence=["described"]), *own) as (page, searches):
        page.get_by_label("sentence to look for").fill("ONION")
        page.keyboard.press("Enter")
        page.keyboard.type("s")
        asked = answer_next(page, searches)
        assert asked == {"q": "ONION", "video": "v", "anyway": ""} and answer_next(page, searches)["video"] == ""
        page.get_by_text("best of all videos").wait_for()
        assert "told." in page.locator("p.note[role=status]").inner_text(), "also where somebody typed on meanwhile"
        told = page.locator("h4:has-text('best of all videos') ~ p").first
        assert "The first 12 of 14; keep this list" in told.inner_text()
        with page.expect_download() as kept:
            told.get_by_role("button", name="CSV").click()
        rows = kept.value.path().read_text("utf-8").splitlines()
        assert len(rows) == 15 and rows[1].startswith("1,ONION,w,w.mp4,00:00:00.000,00:01:10.000,")
        with page.expect_download() as kept:
            told.get_by_role("button", name="EDL").click()
        assert "(10.000 frames a second)" in kept.value.path().read_text("utf-8"), "of the first hit's video"


def test_a_page_reads_words_as_python_does(browser):
    texts = ["Straße STRASSE", "ΟΔΟΣ οδος οδοσ", "İstanbul", "नमस्ते दुनिया", "玉ねぎを切る cut", "ตัดหัวหอม", "ຕັດຫົວຜັກ"]
    texts += ["កាត់ខ្ទឹម", "ကြက်သွန်", "a_b ﬁne ９"]
    page, source = browser.new_page(), script("words.js").replace("export default", "")
    read = page.evaluate(f"texts => {{ {source}\nreturn texts.map(tokensOf); }}", texts)
    page.close()
    assert read == [tokens(text) for text in texts] and read[1] == ["οδοσ"] * 3 and len(read[8]) == 4


def test_a_list_is_taken_away(browser, kitchen, tmp_path):
    with opened(browser, kitchen, tmp_path) as page:
        page.fill("input", "fry the")
        with page.expect_download() as kept:
            page.get_by_role("button", name="CSV").click()
        assert "\r\n1,fry the,onions,onions.mp4," in kept.value.path().read_bytes().decode()
        with page.expect_download() as kept:
            page.get_by_role("button", name="EDL").click()
        text = kept.value.path().read_text()
        assert kept.value.suggested_filename == "fry the.edl" and "00:00:07:00 00:00:08:00" in text
        assert "* FROM CLIP NAME: onions.mp4" in text
        assert page.get_by_role("button", name="WebVTT").count() == 1, "one video's times"
        page.fill("input", "onion")
        assert page.get_by_role("button", name="WebVTT").count() == 0
