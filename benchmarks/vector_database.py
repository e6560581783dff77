"""A million vectors in the vector database: build, save, open, query, change; beside raw faiss, Milvus, and older code.

    python benchmarks/vector_database.py --vectors 1000000
    python benchmarks/vector_database.py --engines ours faiss milvus --kinds ivf --before /folder/of/an/older/checkout

Vectors of 512 numbers are made from a seed: clusters of unit vectors whose spread falls off by direction as that of
embeddings does (`make`). Queries are stored vectors with noise, so each has one right answer. Every engine and kind
runs in a process of its own on the same vectors, and is asked the same; its answers are held against plain
multiplication with every vector. Then 100 items are deleted (the best answers of as many queries), 100 are added (half
of them under the deleted ids), and what comes out is checked, saved, opened and checked again. Prints one JSON record
and exits 1 when an answer is wrong. Needs Linux (/proc) and room on disk for four copies of the vectors; with --keep
the vectors made stay in --folder, and a later call goes on with them.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_info

try:
    from vcwork.base.blas import faiss
except ModuleNotFoundError:  # an older checkout, whose faiss is as it comes
    import faiss
from vcwork.search.approximate import usual_effort
from vcwork.search.index import VideoIndex

K, CHANGES, TOGETHER = 10, 100, 64
ROWS = 1 << 15  # made, and added, together
CHECKS = ("deleted_stay_away", "added_come_first", "same_after_opening", "equals_multiplying")


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def make(options: argparse.Namespace, folder: Path) -> None:
    """vectors.npy: unit vectors, a centre and noise of the same length, half of it in 5 % of D. queries.npy: stored
    vectors with noise `options.noise` times as long; rows.npy: which. best.npy: the K best scores of each, by BLAS."""
    world = np.random.default_rng(options.seed)
    d, many = options.dimension, max(8, options.vectors // 500)
    centres = unit(world.standard_normal((many, d), np.float32))
    fading = np.arange(1, d + 1, dtype=np.float32) ** -0.75
    turn = np.linalg.qr(world.standard_normal((d, d), np.float32))[0] * (fading / np.linalg.norm(fading))[:, None]
    made = np.lib.format.open_memmap(folder / "vectors.npy", "w+", np.float32, (options.vectors, d))
    for first in range(0, options.vectors, ROWS):
        rng = np.random.default_rng([options.seed, first])
        n = min(ROWS, options.vectors - first)
        made[first : first + n] = unit(
            centres[rng.integers(0, many, n)] + rng.standard_normal((n, d), np.float32) @ turn
        )
    rng = np.random.default_rng(options.seed + 1)
    rows = np.sort(rng.choice(options.vectors, options.queries, replace=False))
    queries = unit(made[rows] + options.noise * unit(rng.standard_normal((options.queries, d), np.float32)))
    best = np.full((len(queries), K), -np.inf, np.float32)
    for first in range(0, options.vectors, ROWS):
        best = -np.sort(-np.concatenate([best, queries @ made[first : first + ROWS].T], axis=1), axis=1)[:, :K]
    for name, array in (("queries", queries), ("rows", rows), ("best", best)):
        np.save(folder / f"{name}.npy", array)


def memory_mb(name: str) -> int:
    """Of this process: VmHWM the most so far, VmRSS now with mapped files that were touched, RssAnon without them."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name + ":"))
    return int(line.split()[1]) // 1024


def blas() -> str:
    """The kernels that faiss's OpenBLAS computes with."""
    found = (one for one in threadpool_info() if "faiss" in one["filepath"] and one["user_api"] == "blas")
    return ", ".join(str(one.get("architecture")) for one in found)


class Clock:
    """Seconds since it was last asked."""

    def __init__(self) -> None:
        self.last = time.monotonic()

    def __call__(self) -> float:
        before, self.last = self.last, time.monotonic()
        return round(self.last - before, 3)


Answers = list[list[tuple[str, float]]]  # of each query, best first: id and score
Ask = Callable[[np.ndarray, int], Answers]  # queries (Q, D), effort (0: the usual one)


def made_items(made: np.ndarray, add: Callable[[np.ndarray, list[str], list[dict]], None]) -> None:
    for first in range(0, len(made), ROWS):
        rows = range(first, min(first + ROWS, len(made)))
        spans = [{"video": f"video {row // 60}", "start_s": row} for row in rows]
        add(np.array(made[first : first + ROWS]), [f"v{row}" for row in rows], spans)


def hits(lists: Any) -> Answers:
    return [[(hit.id, hit.score) for hit in found] for found in lists]


def ours(kind: str, made: np.ndarray, place: Path, record: dict) -> tuple[VideoIndex, Ask, list[int]]:
    """Built, saved and opened again; also of an older checkout, whose names are the same."""
    index, clock = VideoIndex(made.shape[1], "made", kind), Clock()
    made_items(made, index.add)
    record["seconds_adding"] = clock()
    index.rebuild()
    record["seconds_building"] = clock()
    index.save(place)
    record |= {"seconds_saving": clock(), "peak_mb_building": memory_mb("VmHWM")}
    del index
    clock()
    index = VideoIndex.open(place, encoder="made")
    record["seconds_opening"] = clock()
    usual = usual_effort(index.ann) if index.covered else 0
    return index, lambda queries, effort: hits(index.query(queries, K, effort)), [usual * n for n in (1, 2, 4)]


def raw(kind: str, made: np.ndarray, place: Path, record: dict) -> tuple[Any, Ask, list[int]]:
    """faiss alone, with the settings of ours: no ids but numbers, no metadata, no digests."""
    cells, clock = round(2 * len(made) ** 0.5), Clock()
    index = faiss.index_factory(made.shape[1], {"flat": "Flat", "ivf": f"IVF{cells},Flat"}[kind],
                                faiss.METRIC_INNER_PRODUCT)  # fmt: skip
    if kind == "ivf":
        index.train(
            made[np.sort(np.random.default_rng(0).choice(len(made), min(len(made), 48 * cells), replace=False))]
        )
    for first in range(0, len(made), ROWS):
        index.add(np.array(made[first : first + ROWS]))
    record["seconds_building"] = clock()
    place.mkdir()
    faiss.write_index(index, str(place / "index"))
    record |= {"seconds_saving": clock(), "peak_mb_building": memory_mb("VmHWM")}
    del index
    clock()
    index = faiss.read_index(str(place / "index"))
    record["seconds_opening"] = clock()

    def ask(queries: np.ndarray, effort: int) -> Answers:
        options = faiss.SearchParametersIVF(nprobe=effort or usual_effort(index)) if kind == "ivf" else None
        scores, places = index.search(queries, K, params=options)
        return [
            [(f"v{p}", s) for p, s in zip(*row, strict=True)]
            for row in zip(places.tolist(), scores.tolist(), strict=True)
        ]

    return None, ask, [usual_effort(index) * n for n in (1, 2, 4)] if kind == "ivf" else [0]


def milvus(kind: str, made: np.ndarray, place: Path, record: dict) -> tuple[Any, Ask, list[int]]:
    """Milvus Lite by our verbs, each change at once on its disk."""
    address, clock = f"milvus:{place}/index.db", Clock()
    VideoIndex(made.shape[1], "made", kind).save(address)
    index = VideoIndex.open(address)
    made_items(made, index.add)
    record["seconds_adding"] = clock()
    index.rebuild()
    record |= {"seconds_building": clock(), "peak_mb_building": memory_mb("VmHWM")}
    index.query(made[:1])
    record["seconds_first_query"] = clock()
    cells = round(2 * len(made) ** 0.5)
    usual = {"ivf": max(8, cells // 32), "hnsw": 256}.get(kind, 0)
    return None, lambda queries, effort: hits(index.query(queries, K, effort)), [usual * n for n in (1, 2, 4)]


def one(engine: str, kind: str, options: argparse.Namespace, folder: Path) -> dict:
    """Everything about one engine and kind."""
    made = np.load(folder / "vectors.npy", mmap_mode="r")
    queries, rows, best = (np.load(folder / f"{name}.npy") for name in ("queries", "rows", "best"))
    record: dict[str, Any] = {"engine": engine, "kind": kind, "blas": blas()}
    place = folder / f"{engine}-{kind}"
    index, ask, efforts = {"faiss": raw, "milvus": milvus}.get(engine, ours)(kind, made, place, record)
    record["bytes"] = sum(p.stat().st_size for p in place.rglob("*") if p.is_file())
    some = options.timed or len(queries)
    ask(queries[:some], 0)  # what it reads from disk is in memory then
    record |= {"mb_asked": memory_mb("VmRSS"), "mb_asked_heap": memory_mb("RssAnon"), "efforts": []}
    for effort in dict.fromkeys(efforts):
        clock = Clock()
        for query in queries[: min(50, some)]:
            ask(query[None], effort)
        alone, found = clock(), []
        for first in range(0, some, TOGETHER):
            found += ask(queries[first : min(first + TOGETHER, some)], effort)
        seconds = clock()
        whole = ask(queries[:some], effort)
        shares = [
            np.mean([score >= line[-1] - 1e-5 for _, score in one]) for one, line in zip(found, best, strict=False)
        ]
        right = np.mean([f"v{row}" in {id for id, _ in one} for one, row in zip(found, rows, strict=False)])
        record["efforts"].append({"effort": effort, "queries_per_s_one_by_one": round(min(50, some) / alone, 1),
                                  f"queries_per_s_{TOGETHER}_at_once": round(some / seconds, 1),
                                  "queries_per_s_all_at_once": round(some / clock(), 1),
                                  "recall@10": round(float(np.mean(shares)), 4), "R@10": round(float(right), 4),
                                  "same_in_any_batch": whole == found})  # fmt: skip
    if kind == "flat":
        scores = np.array([[score for _, score in line] for line in found])
        record["equals_multiplying"] = bool(np.allclose(scores, best[:some], atol=1e-5))
    if index is not None:
        record |= changed(index, queries, place)
    return record | {"peak_mb": memory_mb("VmHWM")}


def changed(index: VideoIndex, queries: np.ndarray, place: Path) -> dict:
    """Delete the best answers of the first queries, add the next queries themselves, and check what is found."""
    gone = list(dict.fromkeys(found[0].id for found in index.query(queries[:CHANGES], 1)))
    new = gone[: CHANGES // 2] + [f"new{i}" for i in range(CHANGES - len(gone[: CHANGES // 2]))]
    own = queries[CHANGES : 2 * CHANGES]
    clock = Clock()
    index.delete(gone)
    record: dict[str, Any] = {"seconds_deleting_100": clock()}
    index.add(own, new, [{"added": True}] * len(new))
    record["seconds_adding_100"] = clock()
    found = index.query(queries[: 2 * CHANGES], K)
    record["queries_per_s_changed"] = round(2 * CHANGES / clock(), 1)
    lost = [hit for line in found for hit in line if hit.id in gone and not hit.metadata.get("added")]
    record["deleted_stay_away"] = not lost
    record["added_come_first"] = all(line[0].id == id for line, id in zip(found[CHANGES:], new, strict=True))
    clock()
    index.save(place)
    record["seconds_saving_changed"] = clock()
    again = VideoIndex.open(place)
    record["same_after_opening"] = len(again) == len(index) and again.query(queries[: 2 * CHANGES], K) == found
    return record


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vectors", type=int, default=1_000_000)
    parser.add_argument("--dimension", type=int, default=512)
    parser.add_argument("--queries", type=int, default=1000, help="at least 200")
    parser.add_argument("--timed", type=int, default=0, help="ask only so many of the queries (default: all)")
    parser.add_argument("--noise", type=float, default=4, help="length of a query's noise; a stored vector's is 1")
    parser.add_argument(
        "--engines", nargs="+", default=["ours", "faiss"], choices=["before", "ours", "faiss", "milvus"]
    )
    parser.add_argument("--kinds", nargs="+", default=["flat", "ivf"], help="flat ivf pq hnsw; faiss alone: flat ivf")
    parser.add_argument("--before", help="folder of an older checkout, for the engine `before`")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", help="where to work (default: a temporary folder)")
    parser.add_argument("--keep", action="store_true", help="leave the vectors made in --folder for a later call")
    parser.add_argument("--json", help="also write the record to this file")
    parser.add_argument("--one", nargs=3, metavar=("ENGINE", "KIND", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.queries < 2 * CHANGES or options.vectors < options.queries:
        parser.error(f"expected --queries from {2 * CHANGES} to --vectors, got {options.queries} of {options.vectors}")
    if options.one:
        print(json.dumps(one(*options.one[:2], options, Path(options.one[2]))))
        return 0
    record: dict[str, Any] = {"vectors": options.vectors, "dimension": options.dimension, "queries": options.queries}
    record |= {"noise": options.noise, "threads": faiss.omp_get_max_threads(), "faiss": faiss.__version__}
    record |= {"load_before": round(os.getloadavg()[0], 2), "runs": []}
    folder = Path(options.folder or tempfile.mkdtemp(prefix="vectors-"))
    folder.mkdir(exist_ok=True)
    try:
        if not (folder / "best.npy").is_file():
            make(options, folder)
        for engine in options.engines:
            for kind in options.kinds:
                print(f"{engine} {kind} ...", file=sys.stderr, flush=True)
                command = [sys.executable, *sys.argv, "--one", engine, kind, str(folder)]
                paths = {"PYTHONPATH": options.before} if engine == "before" else {}
                try:
                    done = subprocess.run(
                        command, check=True, stdout=subprocess.PIPE, text=True, env=os.environ | paths
                    )
                    record["runs"].append(json.loads(done.stdout.splitlines()[-1]))
                    if options.json:  # what is measured stays, should a later one not end
                        Path(options.json).write_text(json.dumps(record, indent=1) + "\n")
                finally:
                    shutil.rmtree(folder / f"{engine}-{kind}", ignore_errors=True)
    finally:
        if not options.keep:
            shutil.rmtree(folder)
    record["right"] = all(row.get(check, True) for row in record["runs"] for check in CHECKS)
    text = json.dumps(record, indent=1)
    print(text)
    if options.json:
        Path(options.json).write_text(text + "\n")
    return 0 if record["right"] else 1


if __name__ == "__main__":
    sys.exit(main())
