"""What an audit costs, and whether its intervals hold: `python -m benchmarks.audit cost|coverage [N]`.

cost: N texts by N items (50,000; 10 GB of disk) as one .npy, eight clips a video, audited in a process of its own; wall
time and peak memory, of the scores as a file and of embeddings of 512 numbers. coverage: N made benchmarks (1,000),
each 60 videos of 4 clips whose chance of a hit differs from video to video; how often the 95 % interval holds the mean
that they were drawn from. What was measured before stays in the record. Gap: one machine, its disk's cache warm.
"""

import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from vcwork.measure.intervals import wilson
from vcwork.review.audit import audit_retrieval
from vcwork.review.gallery import Gallery
from vcwork.review.scores import open_scores

CLIPS, WIDTH, STEP = 8, 512, 512  # clips a video, width of embeddings, rows written at a time


def gallery(n: int, each: int = CLIPS) -> Gallery:
    """n texts and n items, `each` of one video."""
    ids, videos = [str(i) for i in range(n)], [f"v{i // each}" for i in range(n)]
    return Gallery(f"made {n}", [f"text {i}" for i in range(n)], ids, ids, np.arange(n), videos)


def write_scores(path: Path, n: int) -> None:
    """Noise, more of it for the own pair, as one .npy of float32, written by rows."""
    header = {"descr": "<f4", "fortran_order": False, "shape": (n, n)}
    rng = np.random.default_rng(0)
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for at in range(0, n, STEP):
            rows = rng.standard_normal((min(STEP, n - at), n), dtype=np.float32)
            rows[np.arange(len(rows)), at + np.arange(len(rows))] += 4
            file.write(rows.data)


def one(folder: Path, n: int, kind: str) -> dict[str, float]:
    """Audit what lies in the folder: seconds, peak memory in GB, and the number."""
    began = time.perf_counter()
    files = (folder / "scores.npy",) if kind == "scores" else (folder / "text.npy", folder / "video.npy")
    made = audit_retrieval(open_scores(*files), gallery(n))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {"seconds": time.perf_counter() - began, "peak_gb": peak, "t2v_R@1": made.headline.value}


def coverage(benchmarks: int, videos: int = 60, each: int = 4) -> dict[str, float]:
    """Share of the benchmarks whose interval of t2v_R@1 holds the true mean, and Wilson's interval of that share."""
    rng, shape, held = np.random.default_rng(0), (2.0, 3.0), 0
    n, truth = videos * each, 2.0 / 5.0
    told = gallery(n, each)
    with tempfile.TemporaryDirectory() as folder:
        for number in range(benchmarks):
            chance = np.repeat(rng.beta(*shape, videos), each)  # (n,)
            scores = np.full((n, n), 0.5, np.float32)
            scores[np.arange(n), np.arange(n)] = np.where(rng.random(n) < chance, 1.0, 0.25)
            path = Path(folder) / "scores.npy"
            np.save(path, scores)
            found = audit_retrieval(open_scores(path), told, ties="pessimistic", seed=number).headline
            held += found.low <= truth <= found.high
    low, high = wilson(held / benchmarks, benchmarks)
    return {"benchmarks": benchmarks, "coverage": held / benchmarks, "low": low, "high": high}


def cost(n: int) -> dict[str, object]:
    """Seconds, memory and the number, of scores and of embeddings, on this machine."""
    told: dict[str, object] = {"items": n, "machine": f"{platform.machine()}, {os.cpu_count()} cores"}
    with tempfile.TemporaryDirectory() as folder:
        rng = np.random.default_rng(1)
        text = rng.standard_normal((n, WIDTH), dtype=np.float32)
        np.save(Path(folder) / "text.npy", text)
        np.save(Path(folder) / "video.npy", text + 3 * rng.standard_normal((n, WIDTH), dtype=np.float32))
        write_scores(Path(folder) / "scores.npy", n)
        for kind in ("scores", "embeddings"):
            command = [sys.executable, "-m", "benchmarks.audit", "--one", folder, str(n), kind]
            found = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            told[kind] = json.loads(found.splitlines()[-1])
    return told


def main(arguments: list[str]) -> None:
    """Measure, print, and keep under `benchmarks/results`."""
    if arguments[:1] == ["--one"]:
        print(json.dumps(one(Path(arguments[1]), int(arguments[2]), arguments[3])))
        return
    what, n = arguments[0], [int(value) for value in arguments[1:]]
    made = cost(*n or [50_000]) if what == "cost" else coverage(*n or [1_000])
    path = Path(__file__).parent / "results" / "audit.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {what: made}, indent=1) + "\n")
    print(json.dumps(made))


if __name__ == "__main__":
    main(sys.argv[1:])
