"""What does exploring a folder cost, and does "nothing found" keep its promise?

    python benchmarks/own_videos.py times FOLDER ... --json record.json
    python benchmarks/own_videos.py long --hours 3 --json record.json
    python benchmarks/own_videos.py grade LAB_RUN ... --json record.json
    python benchmarks/own_videos.py alarms --clips FOLDER --lab RUN --others msrvtt_test.csv --json record.json

`times`: each folder is explored from nothing, in a process of its own: seconds to the first page and to everything, of
which decoding, features and speech alone once more, peak memory. `long`: the same of one long film, made here.
`grade`: search in worlds of several seeds, by their own captions. `alarms`: for five seeds half of the topics of
`elsewhere.txt` set the floor and the other half ask; so do sentences that others wrote about other videos.
What is in the json already stays beside what is new.
Known gaps: weights must be fetched before; one machine, one run each.
"""

import argparse
import csv
import datetime
import itertools
import json
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from vcwork.measure.intervals import bootstrap_by_video, t_half_width
from vcwork.search.fused import Kind, elsewhere, learned, strongest, sureness
from vcwork.workbench.machine import hardware

SEEDS = 5
SHORT = 3  # words of a short question, at most
SNIPPET = "import sys; from benchmarks.own_videos import explored; explored(*sys.argv[1:])"


def explored(folder: str, out: str) -> None:
    """Explore a folder into `out` and print what it took, in a process that does nothing else."""
    from vcwork.workbench import own_asking, own_folder, own_pages, own_videos

    start = time.monotonic()
    took = {}
    corpus = own_folder.look_at(folder)
    took["looked at"] = time.monotonic() - start
    own = own_videos.own_videos(corpus, out=out, progress=False, offline=True)
    took["features and words"] = time.monotonic() - start
    own_asking.asking(own)
    own_asking.floor_of(own)
    took["searchable"] = time.monotonic() - start
    begun = time.time() - (time.monotonic() - start)
    own_pages.write_pages(own, progress=False)
    took["first page"] = min(page.stat().st_mtime for page in (own.out / "videos").glob("*.html")) - begun
    took["everything"] = time.monotonic() - start
    seconds = sum(own.store.lengths.values())
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    record = {"videos": len(own.ids), "seconds": seconds, "backbone": own.store.contract.backbone, "took_s": took}
    print(
        json.dumps(
            record | {"peak_mb": round(peak_mb), "alone": _alone(own), "words_from": own.words_from, "told": own.told}
        )
    )


def _alone(own: object) -> dict[str, float]:
    """Seconds of video a second of decoding, of features (decoding with it), of speech."""

    from vcwork.data.extract import chunks_of
    from vcwork.data.speech import transcribe

    films = [own.corpus[id].video for id in own.ids]
    length, found = sum(own.store.lengths.values()), {}
    work = {
        "decode": lambda path: sum(1 for _ in chunks_of(own.eye, path)),
        "features": lambda path: sum(own.eye(frames).size for frames in chunks_of(own.eye, path)),
        "speech": transcribe,
    }
    for name, do in work.items():
        start = time.monotonic()
        for path in films:
            do(path)
        found[name] = length / (time.monotonic() - start)
    return found


def times(folders: list[str]) -> list[dict]:
    """A record a folder."""
    records = []
    for folder in folders:
        with tempfile.TemporaryDirectory() as out:
            start = time.monotonic()
            command = [sys.executable, "-c", SNIPPET, folder, f"{out}/pages"]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            record = json.loads(done.stdout.splitlines()[-1])
            records.append({"folder": Path(folder).name, "with_imports_s": time.monotonic() - start} | record)
    return records


def long_film(path: Path, hours: float, fps: int = 5, rate: int = 16_000) -> None:
    """Moving checks, others every twenty seconds, 320 x 180, and a tone that changes every second."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:180, 0:320]
    t = np.arange(rate) / rate
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=fps, options={"preset": "ultrafast"})
        video.width, video.height, video.pix_fmt = 320, 180, "yuv420p"
        audio = container.add_stream("aac", rate=rate, layout="mono")
        for second in range(round(3600 * hours)):
            if second % 20 == 0:
                side = rng.integers(5, 40)
                checks = (((x // side + y // side) % 2)[..., None] * rng.integers(0, 255, 3)).astype(np.uint8)
            for count in range(second * fps, (second + 1) * fps):
                frame = av.VideoFrame.from_ndarray(np.roll(checks, 3 * count, axis=1), "rgb24")
                frame.pts, frame.time_base = count, Fraction(1, fps)
                container.mux(video.encode(frame))
            tone = 0.2 * np.sin(2 * np.pi * (220 + second % 50) * t, dtype=np.float32)[None]
            heard = av.AudioFrame.from_ndarray(tone, "fltp", "mono")
            heard.sample_rate, heard.pts, heard.time_base = rate, second * rate, Fraction(1, rate)
            container.mux(audio.encode(heard))
        container.mux(video.encode())
        container.mux(audio.encode())


def long(hours: float) -> list[dict]:
    with tempfile.TemporaryDirectory() as folder:
        long_film(Path(folder) / "long.mp4", hours)
        return times([folder])


# ---------------------------------------------------------------------------------------------------- false alarms


def alarms(kinds: list[Kind], others: list[str], known: list[str], close: list[str] = (), rate: float = 0.05) -> dict:
    """Share of questions without an answer that get one, of half of the topics and of `others`, seed by seed; the same
    of `close`, a word away from what has an answer; and the share of `known`, which have one, that get it.

    of_topics: of short and of long questions of the other halves, with an interval over topics.
    """
    topics, rows, halves = elsewhere(), [], []
    lines = [line for topic in topics for line in topic]
    place = np.repeat(np.arange(len(topics)), [len(topic) for topic in topics])
    asked = {"other topics": lines, "others' sentences": others, "close": close, "known": known}
    best = {name: strongest(kinds, some) for name, some in asked.items() if some}
    for seed in range(SEEDS):
        half = np.isin(place, np.random.default_rng(seed).permutation(len(topics))[: len(topics) // 2])
        floor = learned(kinds, rate, [lines[i] for i in np.flatnonzero(half)])
        hits = {name: sureness(floor.scale, of, len(asked[name])) > floor.level for name, of in best.items()}
        hits["other topics"] = hits["other topics"][~half]
        halves.append(
            (hits["other topics"], np.array([len(line.split()) <= SHORT for line in lines])[~half], place[~half])
        )
        row = {"seed": seed, "asked": rate, "interval": [floor.low, floor.high]}
        rows.append(row | {name: float(hit.mean()) for name, hit in hits.items()})
    mean = {key: float(np.mean([row[key] for row in rows])) for key in ("asked", *best)}
    hit, short, topic = (np.concatenate(part) for part in zip(*halves, strict=True))
    of_topics = {
        name: {
            "got": float(hit[which].mean()),
            "interval": bootstrap_by_video(hit[which], topic[which]),
            "seeds": [float(some[brief == (name == "short")].mean()) for some, brief, _ in halves],
        }
        for name, which in {"short": short, "long": ~short}.items()
    }
    sizes = {name: len(asked[name]) for name in best}
    about = {"kinds": [kind.name for kind in kinds], "questions": sizes}
    return about | {"mean": mean, "of_topics": of_topics, "seeds": rows}


def of_clips(folder: str, others: list[str]) -> dict:
    """The real clips, by words, meaning and the image network."""
    from vcwork.workbench import own_asking, own_videos

    with tempfile.TemporaryDirectory() as out:
        own = own_videos.own_videos(folder, out=f"{out}/pages", progress=False, offline=True)
        known = [line.text for line in own_asking.lines_of(own)]
        here = own_asking.asking(own)
        return {"videos": len(own.ids), "told": here.told} | alarms(here.kinds, others, known)


def lab_folder(run: str, splits: tuple[str, ...]) -> object:
    """The videos of some splits of a run of profile lab, as a folder of one's own, with the run's checkpoint."""
    from vcwork.search import build_library
    from vcwork.workbench import own_videos

    own = own_videos.opened(*(str(Path(run) / part) for part in ("corpus", "features", "checkpoint")))
    videos = {video.id: video for split in splits for video in own.corpus.split(split)}
    library = build_library(own.encoder, {id: own.store[id] for id in videos}, "second")
    return replace(own, corpus=replace(own.corpus, videos=videos), library=library)


def graded(runs: list[str]) -> dict:
    """Grades of runs of profile lab with different seeds, on the videos that their checkpoints were not trained on:
    each kind of evidence, and what all together have more, seed by seed and as a mean with its interval over seeds."""
    from vcwork.workbench.own_grade import grade_own

    found, gains = [], {}
    for run in runs:
        own = lab_folder(run, ("val", "test"))
        made = grade_own(own, progress=False)
        head, rows = made.rows()
        found.append({"videos": len(own.ids), "table": [head, *rows], "notes": made.notes})
        for kind, by_metric in made.gains.items():
            for metric, gain in by_metric.items():
                gains.setdefault(f"together - {kind}", {}).setdefault(metric, []).append(gain.difference)
    mean = {
        kind: {m: [float(np.mean(each)), t_half_width(each), each] for m, each in by_metric.items()}
        for kind, by_metric in gains.items()
    }
    return {"runs": found, "mean, half of the interval over seeds, seeds": mean}


def of_lab(run: str, others: list[str]) -> dict:
    """The test videos of a run of profile lab, by words, meaning and its checkpoint."""
    from vcwork.workbench import own_asking

    own = lab_folder(run, ("test",))
    videos = own.corpus.videos
    shown = sorted({segment.step for video in videos.values() for segment in video.segments})
    here = own_asking.asking(own)
    known = [own.corpus.steps[step] for step in shown]
    close = [sentence for step, sentence in own.corpus.steps.items() if step not in shown]
    return {"videos": len(own.ids), "told": here.told} | alarms(here.kinds, others, known, close)


def main() -> int:
    """The program: 0, or 1 where the rate asked for lies outside of what was got."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    kinds = parser.add_subparsers(dest="what", required=True)
    timed, asked, grading, lasting = (kinds.add_parser(name) for name in ("times", "alarms", "grade", "long"))
    lasting.add_argument("--hours", type=float, default=3)
    grading.add_argument("runs", nargs="+")
    timed.add_argument("folders", nargs="+")
    asked.add_argument("--clips", default="")
    asked.add_argument("--lab", default="")
    asked.add_argument("--others", default="", help="a table with a column `sentence`")
    for one in (timed, asked, grading, lasting):
        one.add_argument("--json", default="")
    options = parser.parse_args()
    if options.what == "times":
        record = {"times": times(options.folders)}
    elif options.what == "long":
        record = {"long": long(options.hours)}
    elif options.what == "grade":
        record = {"grade": graded(options.runs)}
    else:
        others = []
        if options.others:
            with open(options.others, newline="", encoding="utf-8") as file:
                others = [row["sentence"] for row in itertools.islice(csv.DictReader(file), 500)]
        ways = {"clips": (of_clips, options.clips), "lab": (of_lab, options.lab)}
        record = {"alarms": {name: do(given, others) for name, (do, given) in ways.items() if given}}
    print(json.dumps(record, indent=1))
    if options.json:
        path = Path(options.json)
        known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        about = {"date": str(datetime.date.today()), "machine": hardware()}
        path.write_text(json.dumps(known | about | record, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
