"""A million vectors in the vector database: build, save, reopen, query, change, for every kind of index.

    python benchmarks/vector_database.py --vectors 1000000

Vectors of 512 numbers are made from a seed: clusters of unit vectors whose spread falls off by direction as that of
embeddings does (`blocks`). Queries are stored vectors with noise, so each has one right answer. Every kind runs in a
process of its own and is asked the same; its answers are held against those of the exact index, and the exact index's
against plain multiplication with every vector. Then 100 items are deleted (the best answers of as many queries), 100
are added (half of them under the deleted ids), and what comes out is checked, saved, reopened and checked again. Prints
one JSON record and exits 1 when an answer is wrong. Needs Linux (/proc) and room on disk for four copies of the
vectors.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import faiss
import numpy as np

from vcwork.base.files import write_json
from vcwork.search.approximate import usual_effort
from vcwork.search.index import Hit, VideoIndex

K, CHANGES = 10, 100
ROWS = 1 << 15  # made together


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def blocks(options: argparse.Namespace) -> Iterator[tuple[int, np.ndarray]]:
    """(first row, unit vectors (n, D) float32): a centre, and noise of the same length, half of it in 5 % of D."""
    world = np.random.default_rng(options.seed)
    d, many = options.dimension, max(8, options.vectors // 500)
    centres = unit(world.standard_normal((many, d), np.float32))
    fading = np.arange(1, d + 1, dtype=np.float32) ** -0.75
    turn = np.linalg.qr(world.standard_normal((d, d), np.float32))[0] * (fading / np.linalg.norm(fading))[:, None]
    for first in range(0, options.vectors, ROWS):
        rng = np.random.default_rng([options.seed, first])
        n = min(ROWS, options.vectors - first)
        yield first, unit(centres[rng.integers(0, many, n)] + rng.standard_normal((n, d), np.float32) @ turn)


def asked(options: argparse.Namespace) -> tuple[np.ndarray, list[int]]:
    """Queries (Q, D): stored vectors with noise `options.noise` times as long; and their rows."""
    rng = np.random.default_rng(options.seed + 1)
    rows = np.sort(rng.choice(options.vectors, options.queries, replace=False))
    found = [block[rows[(rows >= first) & (rows < first + len(block))] - first] for first, block in blocks(options)]
    noise = unit(rng.standard_normal((options.queries, options.dimension), np.float32))
    return unit(np.concatenate(found) + options.noise * noise), rows.tolist()


def brute(options: argparse.Namespace, queries: np.ndarray) -> np.ndarray:
    """The K best scores of each query by multiplying with every vector, (Q, K)."""
    best = np.full((len(queries), K), -np.inf, np.float32)
    for _, block in blocks(options):
        best = -np.sort(-np.concatenate([best, queries @ block.T], axis=1), axis=1)[:, :K]
    return best


def memory_mb(peak: bool = True) -> int:
    """Memory of this process, mapped files that were touched included: the most so far, or now."""
    name, lines = "VmHWM:" if peak else "VmRSS:", Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1]) // 1024


class Clock:
    """Seconds since it was last asked."""

    def __init__(self) -> None:
        self.last = time.monotonic()

    def __call__(self) -> float:
        before, self.last = self.last, time.monotonic()
        return round(self.last - before, 3)


def one(kind: str, options: argparse.Namespace, folder: Path) -> dict:
    """Everything about one kind; `folder` holds the exact answers once `flat` has run."""
    index = VideoIndex(options.dimension, "made", kind)
    record: dict = {"kind": kind, "seconds_adding": 0.0}
    for first, block in blocks(options):
        clock = Clock()
        rows = range(first, first + len(block))
        index.add(block, [f"v{row}" for row in rows], [{"video": f"video {row // 60}", "start_s": row} for row in rows])
        record["seconds_adding"] = round(record["seconds_adding"] + clock(), 3)
    queries, right = asked(options)
    clock = Clock()
    index.rebuild()
    record |= {"seconds_building": clock(), "peak_mb_building": memory_mb()}
    clock()
    index.save(folder / kind)
    record |= {"seconds_saving": clock(), "bytes": sum(p.stat().st_size for p in (folder / kind).iterdir())}
    del index
    clock()
    index = VideoIndex.open(folder / kind, encoder="made")
    record |= {"seconds_opening": clock(), "mb_opened": memory_mb(peak=False)}
    index.query(queries, K)  # the rows it reads from disk are in memory then
    clock()
    hits = index.query(queries, K)
    record["queries_per_s"] = round(len(queries) / clock(), 1)
    for query in queries[:50]:
        index.query(query, K)
    record["queries_per_s_one_by_one"] = round(50 / clock(), 1)
    record["R@10"] = float(
        np.mean([f"v{row}" in {h.id for h in found} for row, found in zip(right, hits, strict=True)])
    )
    record |= against_exact(kind, hits, folder / "exact.json")
    record["efforts"] = efforts(index, queries, folder, kind)
    if kind == "flat":
        scores = np.array([[h.score for h in found] for found in hits[:20]])
        record["equals_multiplying"] = bool(np.allclose(scores, brute(options, queries[:20]), atol=1e-5))
    record |= changed(index, queries, folder, kind)
    return record | {"peak_mb": memory_mb()}


def against_exact(kind: str, hits: list[list[Hit]], path: Path) -> dict:
    """Recall of the exact index's answers, by score (a score is the same number in every kind); `flat` stores them."""
    if kind == "flat":
        write_json(path, [[[h.id, h.score] for h in found] for found in hits])
    exact = json.loads(path.read_text())
    shares = [sum(h.score >= best[-1][1] for h in found) / len(best) for found, best in zip(hits, exact, strict=True)]
    return {"recall@10": round(float(np.mean(shares)), 4), "recall@10_worst": round(float(min(shares)), 4)}


def efforts(index: VideoIndex, queries: np.ndarray, folder: Path, kind: str) -> list[dict]:
    """Recall and speed when the index built looks into 2, 4 and 8 times as many cells, or keeps as many candidates."""
    out = []
    for effort in [times * usual_effort(index.ann) for times in (2, 4, 8) if index.covered]:
        clock = Clock()
        hits = index.query(queries, K, effort=effort)
        speed = round(len(queries) / clock(), 1)
        out.append({"effort": effort, "queries_per_s": speed, **against_exact(kind, hits, folder / "exact.json")})
    return out


def changed(index: VideoIndex, queries: np.ndarray, folder: Path, kind: str) -> dict:
    """Delete the best answers of the first queries, add the next queries themselves, and check what is found."""
    best = [found[0][0] for found in json.loads((folder / "exact.json").read_text())]
    gone = list(dict.fromkeys(best[:CHANGES]))
    new = gone[: CHANGES // 2] + [f"new{i}" for i in range(CHANGES - len(gone[: CHANGES // 2]))]
    own = queries[CHANGES : 2 * CHANGES]
    clock = Clock()
    index.delete(gone)
    record = {"seconds_deleting_100": clock()}
    index.add(own, new, [{"added": True}] * len(new))
    record["seconds_adding_100"] = clock()
    hits = index.query(queries[: 2 * CHANGES], K)
    record["queries_per_s_changed"] = round(2 * CHANGES / clock(), 1)
    record |= {f"{key}_changed": value for key, value in against_exact(kind, hits, folder / "changed.json").items()}
    lost = [h for found in hits for h in found if h.id in gone and not h.metadata.get("added")]
    first = [found[0].id == id for found, id in zip(hits[CHANGES:], new, strict=True)]
    vectors = [index.scores(query, [h.id for h in found]) for query, found in zip(queries, hits, strict=False)]
    record["deleted_stay_away"] = not lost
    record["added_come_first"] = all(first)
    record["scores_are_products"] = all(
        np.array_equal(scores, np.float32([h.score for h in found]))
        for scores, found in zip(vectors, hits, strict=True)
    )
    clock()
    index.save(folder / kind)
    record["seconds_saving_changed"] = clock()
    again = VideoIndex.open(folder / kind)
    record["same_after_reopening"] = len(again) == len(index) and again.query(queries[: 2 * CHANGES], K) == hits
    return record


CHECKS = ("deleted_stay_away", "added_come_first", "scores_are_products", "same_after_reopening", "equals_multiplying")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vectors", type=int, default=1_000_000)
    parser.add_argument("--dimension", type=int, default=512)
    parser.add_argument("--queries", type=int, default=1000, help="at least 200")
    parser.add_argument("--noise", type=float, default=4, help="length of a query's noise; a stored vector's is 1")
    parser.add_argument("--hnsw", action="store_true", help="also the graph, which is slow to build")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", help="where to work (default: a temporary folder); everything made is removed")
    parser.add_argument("--json", help="also write the record to this file")
    parser.add_argument("--one", nargs=2, metavar=("KIND", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.queries < 2 * CHANGES or options.vectors < options.queries:
        parser.error(f"expected --queries from {2 * CHANGES} to --vectors, got {options.queries} of {options.vectors}")
    if options.one:
        print(json.dumps(one(options.one[0], options, Path(options.one[1]))))
        return 0
    record = {"vectors": options.vectors, "dimension": options.dimension, "unit_length": True}
    record |= {
        "queries": options.queries,
        "noise": options.noise,
        "threads": faiss.omp_get_max_threads(),
        "faiss": faiss.__version__,
    }
    record |= {"load_before": round(os.getloadavg()[0], 2), "kinds": []}
    folder = Path(tempfile.mkdtemp(prefix="vectors-", dir=options.folder))
    try:
        for kind in ("flat", "ivf", "pq", *(["hnsw"] if options.hnsw else [])):
            print(f"{kind} ...", file=sys.stderr, flush=True)
            command = [sys.executable, *sys.argv, "--one", kind, str(folder)]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            record["kinds"].append(json.loads(done.stdout))
            shutil.rmtree(folder / kind)
    finally:
        shutil.rmtree(folder)
    record["right"] = all(row.get(check, True) for row in record["kinds"] for check in CHECKS)
    text = json.dumps(record, indent=1)
    print(text)
    if options.json:
        Path(options.json).write_text(text + "\n")
    return 0 if record["right"] else 1


if __name__ == "__main__":
    sys.exit(main())
