"""Seconds that evaluation takes at the size of the published benchmarks, on made-up scores. No model, no data.

    python benchmarks/evaluation_speed.py --json record.json

Retrieval: YouCook2's 3,350 x 3,350 scores, 430 videos, every metric in both directions with its trivial predictors and
1,000 bootstrap samples. Segmentation: 2,797 videos as long as COIN's (2.36 min on average), 778 labels, every metric.
Each part runs several times and prints its median; exit 1 when one is slower than --limit.
"""

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from vcwork.base.files import write_json
from vcwork.measure import trivial
from vcwork.review import geometry, retrieval_audit
from vcwork.tasks import retrieval, segmentation


def retrieval_part(n: int, seed: int) -> dict[str, Callable[[], object]]:
    """The task on (n, n) scores with about 7.8 clips a video, and its audit."""
    rng = np.random.default_rng(seed)
    scores = rng.standard_normal((n, n), dtype=np.float32)
    scores[np.arange(n), np.arange(n)] += 3
    videos = np.sort(rng.integers(0, max(2, round(n / 7.8)), n))
    groups, recipes = rng.integers(0, round(0.977 * n), n), videos % 89
    own = np.eye(n, dtype=bool)
    return {
        "retrieval, all metrics": lambda: retrieval.evaluate(scores, groups, groups, videos, videos, recipes),
        "pool curve": lambda: retrieval_audit.pool_curve(
            scores, videos, [10, 100, 1000, n] if n > 1000 else [10, n], own
        ),
        "dual softmax, batches of 1, 100, all": lambda: retrieval_audit.batch_curve(
            scores, own, videos, [1, 100, n], draws=1
        ),
        "hubness": lambda: geometry.hubness(scores),
    }


def segmentation_part(n: int, n_labels: int, mean_s: float, seed: int) -> dict[str, Callable[[], object]]:
    """n videos of `mean_s` seconds on average, steps of about 15 s and background between them, as in COIN."""
    rng = np.random.default_rng(seed)
    truths, scores = [], []
    for length in np.maximum(8, rng.gamma(4.0, mean_s / 4, n)).astype(int):
        pieces = rng.integers(1, n_labels + 1, length // 8 + 2) * (rng.random(length // 8 + 2) < 0.42)
        truth = np.repeat(pieces, rng.integers(4, 13, len(pieces)))[:length]
        truth = np.pad(truth, (0, length - len(truth)))
        each = rng.standard_normal((length, n_labels), dtype=np.float32)
        each = (each + np.roll(each, 1, 0) + np.roll(each, 2, 0)) / 2  # neighbouring seconds resemble each other
        each[truth > 0, truth[truth > 0] - 1] += 2
        truths.append(truth)
        scores.append(each)
    ids, prior = np.arange(n), trivial.fit_relative_time(truths[: n // 2])
    beside = {"relative time": [trivial.relative_time(prior, len(truth)) for truth in truths]}
    return {
        "choosing gamma": lambda: segmentation.choose_gamma(scores, truths),
        # gamma 2.8: 57 % of the seconds are called background, as in COIN
        "segmentation, all metrics": lambda: segmentation.evaluate(scores, truths, ids, 2.8, beside),
    }


def timed(run: Callable[[], object], repeats: int) -> list[float]:
    """Seconds of each of several runs."""
    taken = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        taken.append(time.perf_counter() - start)
    return taken


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=3350, help="queries and items of retrieval")
    parser.add_argument("--videos", type=int, default=2797, help="videos to segment")
    parser.add_argument("--labels", type=int, default=778)
    parser.add_argument("--seconds", type=float, default=2.36 * 60, help="mean length of a video to segment")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--limit", type=float, default=180, help="seconds that no part may exceed")
    parser.add_argument("--json", type=Path, help="also write the record here")
    options = parser.parse_args()
    made = {
        "retrieval": lambda: retrieval_part(options.clips, 0),
        "segmentation": lambda: segmentation_part(options.videos, options.labels, options.seconds, 0),
    }
    record = {"seconds": {}, "runs": {}, "cores": len(os.sched_getaffinity(0)), "numpy": np.__version__}
    record["settings"] = {name: value for name, value in vars(options).items() if name != "json"}
    for parts in made.values():
        for name, run in parts().items():
            taken = timed(run, options.repeats)
            record["runs"][name], record["seconds"][name] = taken, statistics.median(taken)
            print(f"{name:40s} {statistics.median(taken):7.2f} s", flush=True)
    record["ok"] = max(record["seconds"].values()) <= options.limit
    print(json.dumps(record))
    if options.json:
        write_json(options.json, record)
    return 0 if record["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
