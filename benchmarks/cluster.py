"""Past one machine, on one: extraction on Ray beside one process, and pre-training by two torchruns of which one dies.

    python benchmarks/cluster.py extract --films 16 --seconds 4
    python benchmarks/cluster.py nodes --corpus outputs/RUN/corpus --features outputs/RUN/features

`extract` (extra `cluster`): S3D with random weights over made films, in this process, on two workers of Ray, and on two
of which one is killed; every store must have the same bytes. `nodes`: the same recipe
in one process, on two nodes, and on two nodes of which one is killed: the other must go on from its state, alone, to
the end, with the same losses (nothing is dropped out at random, so that ranks draw nothing of their own).
Prints one JSON record and exits 1 where something differs. Run it alone: its times mean nothing beside other work.
"""

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil

RECIPE = """
model: {hidden: 128, heads: 4, ffn: 256, video_layers: 1, text_layers: 1, feature_dropout: 0.0, dropout: 0.0}
train:
  epochs: 3
  passes_per_epoch: 4
  lr: 1.0e-3
  warmup: 20
  save_every: 10
  negatives: global
  pairs: {min_text_tokens: 8, max_text_tokens: 24, min_video_s: 3, max_video_s: 12}
  clusters: {videos_per_batch: 16, clips_per_video: 4, clips_for_vector: 2}
"""
QUICK = "last_call_timeout=12,keep_alive_interval=1"  # seconds that torchrun waits for a node; 30 and 5 by default


def extraction(options: argparse.Namespace) -> dict[str, Any]:
    """Seconds of each way of extracting, and whether the stores are equal."""
    import ray

    from vcwork.data.backbones.s3d import S3DBackbone
    from vcwork.data.corpus import scan_folder
    from vcwork.data.extract import extract

    with tempfile.TemporaryDirectory() as folder:
        at = Path(folder)
        made_films(at / "films", options.films, options.seconds)
        corpus, eye = scan_folder(at / "films"), S3DBackbone(weights="untrained")
        took: dict[str, float] = {}

        def run(name: str, **how: Any) -> None:
            took[name] = seconds(lambda: extract(corpus, eye, at / name, progress=False, **how))
            print(f"{name}: {took[name]:.1f} s", file=sys.stderr, flush=True)

        run("one process", workers=1)
        os.environ["OMP_NUM_THREADS"] = "1"
        quiet = {"log_to_driver": False, "logging_level": "ERROR", "include_dashboard": False}
        start = seconds(lambda: ray.init(address="local", num_cpus=2, **quiet))
        run("Ray, two workers", workers=2, engine="ray")
        watcher = subprocess.Popen([sys.executable, __file__, "kill-a-worker", str(os.getpid())])
        run("Ray, one of two workers killed", workers=2, engine="ray")
        ray.shutdown()
        stores = {name: [path.read_bytes() for path in sorted((at / name).iterdir())] for name in took}
    equal = {name: store == stores["one process"] for name, store in stores.items()}
    one, two = took["one process"], took["Ray, two workers"]
    ratio = {"Ray there already": one / two, "with Ray's start": one / (start + two)}
    return {"seconds": took, "seconds_to_start_ray": start, "ratio": ratio, "equal": equal,
            "killed": watcher.wait() == 0, "video_seconds": options.films * options.seconds}  # fmt: skip


def made_films(folder: Path, films: int, length_s: int) -> None:
    """Noise that moves, 30 frames a second, 256 x 256."""
    from vcwork.data.video import write_mp4

    for number in range(films):
        rng = np.random.default_rng(number)
        big = rng.integers(0, 256, (32, 64, 3)).astype(np.uint8).repeat(8, 0).repeat(8, 1)  # (256, 512, 3)
        write_mp4(folder / f"film{number:02d}.mp4", (np.roll(big, 2 * t, 1)[:, :256] for t in range(30 * length_s)), 30)


def kill_a_worker(parent: int) -> int:
    """SIGKILL one of Ray's busy workers below process `parent` once it has worked for three seconds."""
    until = time.monotonic() + 120
    while time.monotonic() < until:
        for child in psutil.Process(parent).children(recursive=True):
            with_work = "MapWorker" in " ".join(child.cmdline()) and sum(child.cpu_times()[:2]) > 8
            if with_work:
                child.kill()
                return 0
        time.sleep(0.2)
    return 1


def seconds(do: Callable[[], Any]) -> float:
    start = time.perf_counter()
    do()
    return time.perf_counter() - start


# ------------------------------------------------------------------------------------------------------------ nodes


def nodes(options: argparse.Namespace) -> dict[str, Any]:
    """Losses of one process, two nodes, and two nodes of which one is killed in the second of three epochs."""
    with tempfile.TemporaryDirectory() as folder:
        at = Path(folder)
        (at / "recipe.yaml").write_text(RECIPE)
        data = ["--corpus", options.corpus, "--features", options.features]
        task = ["-m", "vcwork", "pretrain", str(at / "recipe.yaml"), *data]
        subprocess.run([sys.executable, *task, "--checkpoint", str(at / "one")], check=True, **SILENT)
        one = losses(at / "one")
        for node in started(task, at / "two", "2"):
            node.wait()
        first, second = started(task, at / "left", "1:2")
        while len(losses(at / "left")) < len(one) // 2 and first.poll() is None:
            time.sleep(0.05)
        killed_at, since = len(losses(at / "left")), time.perf_counter()
        for process in [psutil.Process(second.pid), *psutil.Process(second.pid).children(recursive=True)]:
            process.send_signal(signal.SIGKILL)
        second.wait()
        code, alone_s = first.wait(timeout=280), time.perf_counter() - since
        apart = {name: difference(losses(at / name), one) for name in ("two", "left")}
    return {"updates": len(one), "largest_relative_difference_of_losses": apart, "killed_after_update": killed_at,
            "the_other_ended_with": code, "and_took_s": alone_s,
            "equal": {name: d is not None and d < 1e-3 for name, d in apart.items()}}  # fmt: skip


SILENT: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


def started(task: list[str], out: Path, how_many: str) -> list[subprocess.Popen]:
    """Two nodes of one process each that meet at a free port of this machine."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        meet = f"127.0.0.1:{free.getsockname()[1]}"
    command = [sys.executable, "-m", "torch.distributed.run", "--nnodes", how_many, "--nproc-per-node", "1"]
    command += ["--max-restarts", "3", "--rdzv-backend", "c10d", "--rdzv-endpoint", meet, "--rdzv-conf", QUICK]
    command += ["--local-addr", "127.0.0.1", *task, "--checkpoint", str(out)]
    nodes = []
    for _ in range(2):  # the first keeps the meeting place
        nodes.append(subprocess.Popen(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, **SILENT))
        time.sleep(2)
    return nodes


def losses(out: Path) -> list[float]:
    """The loss of every update in the log of a run, whole lines only."""
    lines = (out / "log.jsonl").read_text().splitlines() if (out / "log.jsonl").exists() else []
    records = [json.loads(line) for line in lines if line.endswith("}")]
    return [record["loss"] for record in records if "loss" in record]


def difference(some: list[float], one: list[float]) -> float | None:
    """Largest relative difference; None where one of them has more updates."""
    return float(np.max(np.abs(np.subtract(some, one)) / one)) if len(some) == len(one) else None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    kinds = parser.add_subparsers(required=True, dest="kind")
    films = kinds.add_parser("extract")
    films.add_argument("--films", type=int, default=16)
    films.add_argument("--seconds", type=int, default=4, help="of each film")
    two = kinds.add_parser("nodes")
    two.add_argument("--corpus", required=True)
    two.add_argument("--features", required=True)
    kinds.add_parser("kill-a-worker").add_argument("parent", type=int)
    options = parser.parse_args()
    if options.kind == "kill-a-worker":
        return kill_a_worker(options.parent)
    record = extraction(options) if options.kind == "extract" else nodes(options)
    print(json.dumps(record, indent=1))
    return 0 if all(record["equal"].values()) else 1


if __name__ == "__main__":
    sys.exit(main())
