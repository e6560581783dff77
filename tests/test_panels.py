"""What holds of every panel: text that stays text, a page that needs nobody, a picture beside it, live and stored."""

import base64
import json
import re

import numpy as np
import pytest
from panel_checks import NASTY, check_page, check_text_stays_text, opened

from vcwork.base.errors import VcworkError
from vcwork.core.config import OverlapConfig
from vcwork.core.sampling import Pair
from vcwork.panels.alignment import AlignmentExplorer, Row
from vcwork.panels.base import Panel, as_script, someone_watches
from vcwork.panels.clusters import BatchClip, ClusterInspector, ClusterVideo
from vcwork.panels.embedding import EmbeddingMap, MapClip
from vcwork.panels.failures import Direction, Entry, FailureBrowser
from vcwork.panels.pairs import Drawing, PairExplorer
from vcwork.panels.parts import Narrated, sheet
from vcwork.panels.segmentation import SegmentationStudio, Watched
from vcwork.panels.training import TrainingPanel
from vcwork.panels.wall import Card, Said, VideoWall

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
    (lambda: PairExplorer([], {}), "at least one video"),
    (lambda: SegmentationStudio([], [], {}), "at least one video"),
    (lambda: SegmentationStudio([Watched("a")], ["b"], {(4, 2): [np.ones((3, 2))]}), r"expected scores \(3, 1\)"),
    (lambda: SegmentationStudio([Watched("a")], ["b"], {(4, 2): [np.full((3, 1), np.nan)]}), "NaN"),
    (lambda: TrainingPanel([{"loss": 1}]), "with step, loss"),
    (lambda: sheet({0: [np.zeros((4, 4), np.uint8)]}), r"pictures \(H, W, 3\) uint8"),
]


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
    assert panel.png().startswith(b"\x89PNG") and panel.words()
    with opened(browser, panel, tmp_path) as page:
        assert page.inner_text("h3") == "kitchen"
    check_page(panel, tmp_path)


@pytest.mark.parametrize("name", EMPTY)
def test_where_there_is_nothing_the_panel_says_so(browser, name, tmp_path):
    panel = EMPTY[name]
    json.dumps(panel.panel(), allow_nan=False)
    assert panel.png().startswith(b"\x89PNG")
    with opened(browser, panel, tmp_path) as page:
        assert ("nothing is here" in page.inner_text("body")) == ("nothing is here" in panel.notes)


@pytest.mark.parametrize(("wrong", "told"), REFUSED)
def test_what_does_not_fit_is_refused(wrong, told):
    with pytest.raises(VcworkError, match=told):
        wrong()


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
