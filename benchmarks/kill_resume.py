"""Kill pre-training with SIGKILL at random moments, resume each time, and compare the weights with an undisturbed run.

    python benchmarks/kill_resume.py --corpus outputs/RUN/corpus --features outputs/RUN/features --kills 20

One CPU process. Prints one JSON record and exits 1 when the weights differ.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from vcwork.base.files import sha256_file

RECIPE = """
model: {hidden: 128, heads: 4, ffn: 256, video_layers: 1, text_layers: 1, feature_dropout: 0.1}
train:
  epochs: 4
  passes_per_epoch: 4
  lr: 1.0e-3
  warmup: 20
  save_every: 7
  word_dropout: 0.1
  pairs: {min_text_tokens: 8, max_text_tokens: 24, min_video_s: 3, max_video_s: 12}
  clusters: {videos_per_batch: 16, clips_per_video: 4, clips_for_vector: 2}
"""


def command(options: argparse.Namespace, recipe: Path, out: Path) -> list[str]:
    paths = ["--corpus", options.corpus, "--features", options.features, "--checkpoint", str(out)]
    return [sys.executable, "-m", "vcwork", "pretrain", str(recipe), *paths]


def updates_done(out: Path) -> int:
    """Updates in the log, whole lines only."""
    log = out / "log.jsonl"
    lines = log.read_text().splitlines() if log.exists() else []
    return sum('"loss"' in line and line.endswith("}") for line in lines)


def kill_after(process: subprocess.Popen, out: Path, update: int, more_s: float) -> bool:
    """SIGKILL the process once `update` is in its log and `more_s` went by; False if it ended before."""
    while updates_done(out) < update and process.poll() is None:
        time.sleep(0.01)
    time.sleep(more_s)
    if process.poll() is not None:
        return False
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    return True


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", required=True)
    parser.add_argument("--features", required=True)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    options = parser.parse_args()
    moments = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        recipe, whole, cut = (Path(folder) / name for name in ("recipe.yaml", "whole", "cut"))
        recipe.write_text(RECIPE)
        subprocess.run(
            command(options, recipe, whole), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        total, killed = updates_done(whole), []
        for update in sorted(moments.randrange(total) for _ in range(options.kills)):
            process = subprocess.Popen(
                command(options, recipe, cut), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            if kill_after(process, cut, update, moments.uniform(0, 0.2)):
                killed.append(updates_done(cut))
        subprocess.run(command(options, recipe, cut), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        digests = [sha256_file(run / "model.safetensors") for run in (whole, cut)]
        logs = [(run / "log.jsonl").read_text() for run in (whole, cut)]
    equal = {"weights_equal": len(set(digests)) == 1, "logs_equal": logs[0] == logs[1]}
    record = {"updates": total, "kills": len(killed), "killed_after_update": killed, **equal, "digest": digests[0]}
    print(json.dumps(record))
    return 0 if record["weights_equal"] else 1


if __name__ == "__main__":
    sys.exit(main())
