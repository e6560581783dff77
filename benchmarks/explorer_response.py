"""How fast the AlignmentExplorer answers, and how much memory it takes, measured in a real Chromium.

    python benchmarks/explorer_response.py --json record.json

Three panels in a page each, at 1,400 x 1,000 pixels: notebook 40's (the tiny lab world), one of 20 minutes and 100
sentences with a film, and one of a library of 2,000 videos with a vector for each of about 80 seconds. Times of a click
run from the moment the browser had it until the frame that shows it is drawn. What is typed goes through a bridge to
`Panel.answer` in this process, as it would to a kernel, without Jupyter between. After 0, 100 and 200 interactions
(clicks, keys, sentences, other videos opened and left) the page's memory is read, garbage collected first. Prints one
JSON record and exits 1 when a median click takes over --limit ms, memory grows between 100 and 200 interactions by more
than a tenth, notebook 40 has 6 MB or its page 10 MB. Needs Chromium (VCWORK_CHROMIUM or chromium on the path) and, for
the memory of its processes, Linux.
"""

import argparse
import base64
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from playwright.sync_api import Browser, Page, sync_playwright

from vcwork.base.files import project_root, write_json
from vcwork.data.video import write_mp4
from vcwork.encoders.encoder import encode_text
from vcwork.panels.alignment import AlignmentExplorer, Row
from vcwork.panels.base import Narrated, as_script, script
from vcwork.panels.make_alignment import asking, explore
from vcwork.search.index import VideoIndex
from vcwork.search.library import build_library, find_moments
from vcwork.tasks.cases import videos_of
from vcwork.tasks.moments import Moment
from vcwork.training.workspace import Workspace, prepare
from vcwork.workbench.notebook_html import write_html

NOTEBOOK = "40_alignment_explorer"
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

BRIDGE = """
const listeners = new Set(), bytes = (text) => new DataView(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);
const files = Object.fromEntries(Object.entries(MEDIA).map(([name, text]) => [name, bytes(text)]));
const model = { get: (key) => (key === "media" ? files : STATE[key]), on: (name, act) => listeners.add(act),
  off: (name, act) => listeners.delete(act),
  send: (message) => window.kernel(message).then(([answer, sent]) =>
    answer && [...listeners].forEach((act) => act(answer, sent.map(bytes)))) };
const drawn = (act) => requestAnimationFrame(() => {
  const after = new MessageChannel();
  after.port1.onmessage = () => act(performance.now());
  after.port2.postMessage(0);
});
window.times = [];
window.addEventListener("click", (event) => drawn((now) => window.times.push(now - event.timeStamp)), true);
render({ model, el: document.getElementById("panel") });
"""
ANSWERED = """([words, gone]) => new Promise((done) => {
  const root = document.querySelector(".vcwork"), begun = performance.now();
  const look = () => {
    const now = document.querySelector(".vcwork");
    if (gone ? now && now !== root : now.querySelector(".lists").textContent.includes(words))
      requestAnimationFrame(() => setTimeout(() => done(performance.now() - begun)));
    else setTimeout(look, 1);
  };
  const box = root.querySelector(gone ? "select[aria-label=video]" : "input");
  box.value = words;
  box.dispatchEvent(gone ? new Event("change") : new KeyboardEvent("keydown", { key: "Enter", bubbles: true }));
  look();
})"""


def tiny_panel(ws: Workspace) -> AlignmentExplorer:
    """Notebook 40's panel."""
    clips = {v.id: ws.store[v.id] for v in videos_of(ws.corpus, ws.store, "test")}
    return explore(ws.corpus, ws.store, ws.encoder, library=build_library(ws.encoder, clips, per="second"))


def film(seconds: int, side: int = 96, fps: int = 2) -> bytes:
    """A made-up video: a square that wanders over noise that stands still."""
    rng = np.random.default_rng(0)
    ground = rng.integers(60, 120, (side, side, 3), dtype=np.uint8)

    def frames() -> Iterator[np.ndarray]:
        for i in range(seconds * fps):
            frame = ground.copy()
            at = 8 + int((side - 32) * (0.5 + 0.5 * np.sin(i / 40)))
            frame[at : at + 16, at : at + 16] = (200, 80, i % 255)
            yield frame

    with tempfile.TemporaryDirectory() as folder:
        write_mp4(Path(folder) / "film.mp4", frames(), fps, 40)
        return (Path(folder) / "film.mp4").read_bytes()


def long_panel(options: argparse.Namespace, ws: Workspace) -> AlignmentExplorer:
    """Random scores of many sentences at every second of a long video, captions all the way."""
    rng, t = np.random.default_rng(options.seed), options.seconds
    scores = rng.normal(size=(options.rows, t)).cumsum(1) / 10
    starts = np.sort(rng.integers(0, t - 8, options.rows))
    texts = [f"sentence {i} of a long video about many things" for i in range(options.rows)]
    rows = [Row(x, "steps", (float(s), s + 5.0), ((s + 1.0, s + 7.0),)) for x, s in zip(texts, starts, strict=True)]
    said = [(float(s), s + 5.0, text) for s, text in zip(starts, texts, strict=True)]
    truth = [(s + 1.0, s + 7.0, text) for s, text in list(zip(starts, texts, strict=True))[::8]]
    vectors = rng.normal(size=(t, ws.encoder.model.config.embedding)).astype(np.float32)
    seen = Narrated("long", t, said, truth, clip=film(t))
    return AlignmentExplorer(seen, rows, scores, title=f"{t} seconds", ask=asking(ws.encoder, vectors))


def library_panel(options: argparse.Namespace, ws: Workspace) -> tuple[AlignmentExplorer, dict[str, Any]]:
    """A panel beside a made-up library of unit vectors; with how long its parts took."""
    rng, d = np.random.default_rng(options.seed), ws.encoder.model.config.embedding
    lengths = rng.integers(60, 101, options.videos)
    index, begun = VideoIndex(d, ws.encoder.digest), time.perf_counter()
    kept: dict[str, np.ndarray] = {}
    for n, length in enumerate(lengths):
        vectors = rng.normal(size=(length, d)).astype(np.float32)
        vectors *= 20 / np.linalg.norm(vectors, axis=1, keepdims=True)
        video = f"video-{n:04d}"
        kept[video] = vectors
        spans = [{"video": video, "start_s": t, "end_s": t + 1} for t in range(length)]
        index.add(vectors, [f"{video}@{t}" for t in range(length)], spans)
    told = {"vectors": int(lengths.sum()), "dimension": d, "build_s": round(time.perf_counter() - begun, 2)}
    sentences = [ws.corpus.steps[s] for s in list(ws.corpus.steps)[:20]]
    clip = film(60)
    texts = encode_text(ws.encoder, sentences)

    def opener(video: str) -> AlignmentExplorer:
        vectors = kept[video]
        found = [tuple((f.video, f.moment) for f in find_moments(index, text)) for text in texts]
        rows = [Row(s, "steps", elsewhere=there) for s, there in zip(sentences, found, strict=True)]
        ask = asking(ws.encoder, vectors, index)
        seen = Narrated(video, len(vectors), clip=clip)
        return AlignmentExplorer(seen, rows, texts @ vectors.T, title=video, videos=list(kept), opener=opener, ask=ask)

    begun = time.perf_counter()
    panel = opener("video-0000")
    return panel, told | {"panel_s": round(time.perf_counter() - begun, 2), "panel_rows": len(sentences)}


def open_live(browser: Browser, panel: AlignmentExplorer) -> Page:
    """The panel in a page whose kernel is this process."""
    page = browser.new_page(viewport={"width": 1400, "height": 1000})
    page.set_default_timeout(120_000)

    def kernel(message: dict) -> list:
        sent: list = [None, []]
        panel.receive(message, lambda answer, buffers=(): sent.__setitem__(slice(None), [answer, list(buffers)]))
        return [sent[0], [base64.b64encode(b).decode() for b in sent[1]]]

    page.expose_function("kernel", kernel)
    media = {name: base64.b64encode(data).decode() for name, data in panel.media().items()}
    state = as_script({"panel": panel.panel(), "live": True})
    bridge = BRIDGE.replace("MEDIA", as_script(media), 1).replace("STATE", "state", 1)
    head = '<!DOCTYPE html><meta charset="utf-8"><style>body { margin: 1rem; }</style><div id="panel"></div>'
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "live.html"
        text = f'{head}<script type="module">{script(panel.module)}\nconst state = {state};\n{bridge}</script>'
        file.write_text(text, encoding="utf-8")
        page.goto(file.as_uri())
        page.wait_for_selector(".vcwork h3")
    return page


def clicks(page: Page, n: int, rng: np.random.Generator) -> list[float]:
    """Milliseconds of n clicks on random cells that are in sight."""
    page.evaluate("window.times = []")
    for done in range(1, n + 1):
        box = page.locator(".vcwork .rows").bounding_box()
        across, down = rng.uniform(0.35, 0.95), rng.uniform(0.02, 0.95)
        page.mouse.click(box["x"] + across * box["width"], box["y"] + down * box["height"])
        page.wait_for_function("n => window.times.length >= n", arg=done)
    return page.evaluate("window.times")


def spread(times: list[float]) -> dict[str, float]:
    """Median, 95th percentile and largest, ms."""
    cut = statistics.quantiles(times, n=20)[-1] if len(times) > 1 else times[0]
    return {"n": len(times), "median_ms": round(statistics.median(times), 1), "p95_ms": round(cut, 1),
            "max_ms": round(max(times), 1)}  # fmt: skip


def answered(page: Page, words: str, gone: bool = False) -> float:
    """Milliseconds from Enter to the sentence's curve, or with gone from choosing a video to its panel."""
    return page.evaluate(ANSWERED, [words, gone])


def memory(browser: Browser, page: Page) -> dict[str, float]:
    """MB after collecting garbage: JavaScript's heap, and all of Chromium's processes (proportional set size)."""
    session = page.context.new_cdp_session(page)
    for _ in range(2):
        session.send("HeapProfiler.collectGarbage")
    session.send("Performance.enable")
    found = {m["name"]: m["value"] for m in session.send("Performance.getMetrics")["metrics"]}
    session.detach()
    whole = browser.new_browser_cdp_session()
    processes = whole.send("SystemInfo.getProcessInfo")["processInfo"]
    whole.detach()
    return {
        "heap_mb": round(found["JSHeapUsedSize"] / 2**20, 2),
        "nodes": int(found["Nodes"]),
        "listeners": int(found["JSEventListeners"]),
        "chromium_mb": sum(pss_mb(p["id"]) for p in processes),
    }


def pss_mb(process: int) -> int:
    """Proportional memory of a process, 0 where the system does not tell."""
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return int(next(line for line in lines if line.startswith("Pss:")).split()[1]) // 1024


def interact(page: Page, panel: AlignmentExplorer, n: int, rng: np.random.Generator) -> None:
    """n things that a person does: of ten six clicks, a key, a stored sentence, a new one, another video or a key."""
    for i in range(n):
        kind = i % 10
        if kind < 6:
            clicks(page, 1, rng)
        elif kind == 7 and panel.rows:
            page.locator(".vcwork input").fill(panel.rows[int(rng.integers(len(panel.rows)))].text)
            page.keyboard.press("Enter")
        elif kind == 8:
            answered(page, f"now {panel.rows[0].text} again {'and again ' * (i % 4)}".strip())
        elif kind == 9 and len(panel.videos) > 1:
            now = page.locator(".vcwork h3").inner_text()
            others = [v for v in panel.videos[:50] if v != now]
            answered(page, others[int(rng.integers(len(others)))], gone=True)
        else:
            page.locator(".vcwork .plot").press("ArrowRight")


def measure(browser: Browser, panel: AlignmentExplorer, options: argparse.Namespace) -> dict[str, Any]:
    """Everything about one panel."""
    rng = np.random.default_rng(options.seed)
    begun = time.perf_counter()
    page = open_live(browser, panel)
    out: dict[str, Any] = {"seconds": panel.video.seconds, "rows": len(panel.rows), "videos": len(panel.videos),
                           "open_ms": round(1000 * (time.perf_counter() - begun))}  # fmt: skip
    clicks(page, 5, rng)
    out["click"] = spread(clicks(page, options.clicks, rng))
    text = panel.rows[0].text if "sentence" not in panel.rows[0].text else "pour the water"
    out["new_sentence"] = spread([answered(page, f"{'now ' * (i + 1)}{text}") for i in range(options.sentences)])
    if len(panel.videos) > 1:
        some = [panel.videos[i] for i in rng.permutation(np.arange(1, len(panel.videos)))[: options.sentences]]
        out["other_video"] = spread([answered(page, video, gone=True) for video in some])
    page.close()
    page = open_live(browser, panel)
    out["memory"] = {"0": memory(browser, page)}
    for total in (100, 200):
        interact(page, panel, 100, rng)
        out["memory"][str(total)] = memory(browser, page)
    page.close()
    return out


def library_alone(options: argparse.Namespace) -> dict[str, float]:
    """The library's part of an answer at a paper-sized width: seconds of one query among unit vectors."""
    rng, d = np.random.default_rng(options.seed), options.width
    index = VideoIndex(d)
    for n in range(options.videos):
        vectors = rng.normal(size=(80, d)).astype(np.float32) / np.sqrt(d)
        spans = [{"video": str(n), "start_s": t, "end_s": t + 1} for t in range(80)]
        index.add(vectors.astype(np.float32), [f"{n}@{t}" for t in range(80)], spans)
    times = []
    for _ in range(options.sentences):
        begun = time.perf_counter()
        found = find_moments(index, rng.normal(size=d).astype(np.float32))
        times.append(1000 * (time.perf_counter() - begun))
        assert len(found) == 5 and all(isinstance(one.moment, Moment) for one in found)
    return {"width": d, "vectors": len(index)} | spread(times)


def sizes() -> dict[str, int]:
    """Bytes of the stored notebook 40 and of its page."""
    notebook = project_root() / "notebooks" / f"{NOTEBOOK}.ipynb"
    with tempfile.TemporaryDirectory() as folder:
        write_html(notebook, Path(folder) / "page.html")
        return {"notebook_bytes": notebook.stat().st_size, "page_bytes": (Path(folder) / "page.html").stat().st_size}


def wrong(record: dict[str, Any], limit: float) -> list[str]:
    """What does not hold."""
    out = []
    for name, told in record["panels"].items():
        if told["click"]["median_ms"] > limit:
            out.append(f"{name}: a click takes {told['click']['median_ms']} ms, more than {limit}")
        before, after = told["memory"]["100"], told["memory"]["200"]
        grown = [key for key in before if after[key] > 1.1 * before[key]]
        out += [f"{name}: {key} grew from {before[key]} to {after[key]} over 100 interactions" for key in grown]
    if record["sizes"]["notebook_bytes"] >= 6e6 or record["sizes"]["page_bytes"] >= 10e6:
        out.append(f"notebook 40 or its page is too large: {record['sizes']}")
    return out


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=1200, help="length of the long video")
    parser.add_argument("--rows", type=int, default=100, help="its sentences")
    parser.add_argument("--videos", type=int, default=2000, help="of the library, 60 to 100 seconds each")
    parser.add_argument("--width", type=int, default=768, help="of the library's vectors where it is asked alone")
    parser.add_argument("--clicks", type=int, default=100)
    parser.add_argument("--sentences", type=int, default=20, help="new sentences, and other videos")
    parser.add_argument("--limit", type=float, default=100, help="of the median click, ms")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write the record here, too")
    options = parser.parse_args()
    program = os.environ.get("VCWORK_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if not program:
        print("no Chromium: install it, or name it in VCWORK_CHROMIUM", file=sys.stderr)
        return 1
    ws, load = prepare(), os.getloadavg()
    library, about = library_panel(options, ws)
    panels = {"lab": tiny_panel(ws), "long": long_panel(options, ws), "library": library}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        version = browser.version
        measured = {name: measure(browser, panel, options) for name, panel in panels.items()}
        browser.close()
    record = {
        "chromium": version,
        "load_before": [round(n, 1) for n in load],
        "load_after": [round(n, 1) for n in os.getloadavg()],
        "panels": measured,
        "library": about | {"alone": library_alone(options)},
        "sizes": sizes(),
    }
    record["wrong"] = wrong(record, options.limit)
    print(json.dumps(record, indent=1))
    if options.json:
        write_json(options.json, record)
    return int(bool(record["wrong"]))


if __name__ == "__main__":
    sys.exit(main())
