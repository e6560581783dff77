"""How long a wall of many videos takes to be seen, and to answer: `python -m benchmarks.wall [VIDEOS] [SENTENCES]`.

The folder is made up: so many videos, of each so many sentences from a vocabulary drawn by Zipf's law, thumbnails as
files, stored moments and neighbours. Chromium opens it from disk. First paint is what the browser itself records; a
query is timed in the page, from its event to the next frame. Then all are typed, key by key, and taken away again: from
a key to what it paints is what the browser's Event Timing says, in steps of 8 ms.
Known gap: other machines' disks and browsers; nothing is said of scrolling.
"""

import json
import os
import shutil
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from vcwork.panels.wall import Card, Said, VideoWall

QUERIES = ("w1", "w10 w200", "", "w3 w5 w7", "w2999", "film", "film 17", "w", "w12 w34 zzz", "w1 w2", "w1 w2 w3 w4 w5")
LISTEN = """window.keys = [];
new PerformanceObserver((list) => keys.push(...list.getEntries().map((e) => [e.name, e.duration])))
  .observe({ type: "event", durationThreshold: 16 });"""
TIMED = """async (query) => {
  const input = document.querySelector("input[type=search]"), begun = performance.now();
  input.value = query;
  input.dispatchEvent(new Event("input"));
  const computed = performance.now() - begun;
  await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
  return [computed, performance.now() - begun];
}"""


def made(folder: Path, videos: int, each: int) -> Path:
    """The made-up folder's index.html."""
    rng = np.random.default_rng(0)
    (folder / "thumbnails").mkdir()
    for i in range(videos):
        noise = Image.fromarray(rng.integers(0, 256, (12, 12, 3), dtype=np.uint8)).resize((96, 96))
        noise.save(folder / "thumbnails" / f"{i}.jpg", quality=85)
    near = [tuple((int(j), 0.5) for j in rng.choice(videos, 3)) for _ in range(videos)]
    cards = [
        Card(f"film {i}", 600, each, f"videos/{i}.html", near=near[i], picture=f"thumbnails/{i}.jpg", words="subtitles")
        for i in range(videos)
    ]
    words = np.minimum(rng.zipf(1.3, (videos * each, 9)), 30_000)
    said = []
    for i, row in enumerate(words):
        start = 12.0 * (i % each)
        hits = tuple((int(v), 3.0, 5.0, 4.5, 0.7) for v in rng.integers(0, videos, 5)) if i % each < 5 else ()
        like = tuple(int(j) for j in rng.integers(0, len(words), 5)) if i % each < 5 else ()
        said.append(Said(" ".join(f"w{n}" for n in row), i // each, start, start + 4, hits, like))
    wall = VideoWall(cards, said, title="made up", beside="words.js")
    (folder / "words.js").write_text(wall.sentences(), encoding="utf-8")
    (folder / "index.html").write_text(wall.page(), encoding="utf-8")
    return folder / "index.html"


def measure(index: Path) -> dict[str, object]:
    """Milliseconds: first paint, until all sentences are searched, and the queries' median and worst."""
    program = os.environ.get("VCWORK_CHROMIUM") or shutil.which("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        opened = []
        for _ in range(3):
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            page.goto(index.as_uri())
            page.wait_for_selector(".vcwork-wall[data-ready]", timeout=120_000)
            entries = page.evaluate("performance.getEntriesByName('first-contentful-paint').map((e) => e.startTime)")
            opened.append((entries[0], page.evaluate("performance.now()")))
        page.wait_for_timeout(500)
        rounds = [[page.evaluate(TIMED, query) for query in QUERIES] for _ in range(5)]
        took = dict(zip(QUERIES, zip(*rounds, strict=True), strict=True))
        typed = keyed(page)
        thumbnails = page.evaluate("[...document.images].filter((one) => one.naturalWidth).length")
        browser.close()
    whole = [one[1] for some in took.values() for one in some]
    return {
        "first_paint_ms": [round(first) for first, _ in opened],
        "all_searched_ms": [round(ready) for _, ready in opened],
        "query_median_ms": round(statistics.median(whole), 1),
        "query_worst_ms": round(max(whole), 1),
        "query_ms": {query: [round(max(one[i] for one in some), 1) for i in (0, 1)] for query, some in took.items()},
        "keys": typed,
        "thumbnails_loaded": thumbnails,
        "index_kB": round(index.stat().st_size / 1000),
        "words_kB": round(index.with_name("words.js").stat().st_size / 1000),
    }


def keyed(page: Page) -> dict[str, object]:
    """How many keys, those that took 16 ms or more to be painted, and the slowest of them, in ms."""
    page.evaluate(LISTEN)
    page.focus("input[type=search]")
    for query in filter(None, QUERIES):
        for key in [*query, "Control+A", "Backspace"]:
            page.keyboard.press("Space" if key == " " else key)
            page.wait_for_timeout(100)
    page.wait_for_timeout(500)
    slow = [duration for name, duration in page.evaluate("keys") if name in ("keydown", "input", "keypress")]
    return {
        "pressed": sum(len(query) + 2 for query in QUERIES if query),
        "slow": len(slow),
        "worst_ms": max(slow, default=0),
    }


if __name__ == "__main__":
    given = [int(n) for n in sys.argv[1:]]
    videos, each = [*given, *(2000, 50)[len(given) :]]
    with tempfile.TemporaryDirectory() as folder:
        found = measure(made(Path(folder), videos, each))
        print(json.dumps({"videos": videos, "sentences": videos * each} | found, indent=1))
