"""Convert a made-up HowTo100M: minutes, memory over time, a kill in the middle, and whether the result is the same.

    python benchmarks/convert_howto100m.py --videos 20000

Writes `--videos` videos in HowTo100M's form (id lists, one raw_caption.json, one float16 <id>.npy a video), converts
them in another process, kills that one with SIGKILL halfway through the features, resumes, and compares every byte
with an undisturbed conversion (of the first `--check-videos` videos by default: of all with `--check-videos 0`).
Videos are short, 40 s and 12 captions where the real ones have about 390 s and 110: `--seconds`, `--captions`. Words
are drawn at random, features are random rows of unit length. Prints one JSON record and exits 1 when bytes differ.
Needs Linux (/proc) and room for two copies of the features: 40 kB a video by default, so 1.7 GB for 20,000.
"""

import argparse
import contextlib
import hashlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

WIDTH = 512
LETTERS = "abcdefghijklmnopqrstuvwxyz"
CONVERTER = (
    "import argparse, sys; from vcwork.data.howto100m.convert import add_arguments, main; "
    "p = argparse.ArgumentParser(); add_arguments(p); sys.exit(main(p.parse_args()))"
)


def vocabulary() -> tuple[list[str], list[str]]:
    """(word pieces, words): letters, and 2000 made-up words of two to four syllables."""
    rng = np.random.default_rng(1)
    syllables = [a + b for a in "bcdfglmnprst" for b in "aeiou"]
    words = sorted({"".join(rng.choice(syllables, rng.integers(2, 5))) for _ in range(2000)})
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    return [*special, *LETTERS, *(f"##{letter}" for letter in LETTERS), *words], words


def captions(rng: np.random.Generator, words: list[str], clips: int) -> dict[str, list]:
    """Rolling captions: each begins with the second half of the one before."""
    said = [words[i] for i in np.minimum(rng.zipf(1.3, 6 * clips + 6) - 1, len(words) - 1)]
    starts = [round(3.3 * i, 2) for i in range(clips)]
    texts = [" ".join(said[6 * i : 6 * i + 12]) for i in range(clips)]
    return {"start": starts, "end": [round(start + 3.29, 2) for start in starts], "text": texts}


def generate(folder: Path, options: argparse.Namespace, videos: int) -> None:
    """The source data, one video at a time; every 500th video lacks its features, every 400th its captions."""
    pieces, words = vocabulary()
    folder.mkdir(parents=True)
    (folder / "vocab.txt").write_text("\n".join(pieces) + "\n")
    (folder / "features").mkdir()
    ids = [f"{hashlib.sha256(str(n).encode()).hexdigest()[:11]}" for n in range(videos)]
    held_out = max(1, videos // 50)
    (folder / "val.lst").write_text("\n".join(ids[:held_out]) + "\n")
    (folder / "train.lst").write_text("\n".join(ids[held_out:]) + "\n")
    with open(folder / "raw_caption.json", "w") as file:
        comma = "{"
        for n, id in enumerate(ids):
            rng = np.random.default_rng(n)
            if n % 400 != 399:
                file.write(f'{comma}"{id}": {json.dumps(captions(rng, words, options.captions))}')
                comma = ", "
            if n % 500 != 499:
                rows = rng.standard_normal((options.seconds, WIDTH), np.float32)
                np.save(
                    folder / "features" / f"{id}.npy", (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype("f2")
                )
        file.write("}")


def convert(source: Path, out: Path, options: argparse.Namespace, videos: int) -> list[str]:
    """The converter's command line. Parts are small enough to see a quarter of the way."""
    words = ["--ids", f"train={source / 'train.lst'}", "--ids", f"val={source / 'val.lst'}", "--quiet"]
    words += ["--captions", source / "raw_caption.json", "--features", source / "features", "--vocab", source]
    words += ["--videos-per-part", min(options.videos_per_part, max(1, videos // 24))]
    words += ["--shard-rows", min(options.shard_rows, max(1, videos * options.seconds // 24))]
    return [sys.executable, "-c", CONVERTER, *map(str, words), "--out", str(out)]


def rss_mb(pid: int) -> float:
    """Memory the process holds now, in MB, mapped files included; 0 once it is gone."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
    return 0.0


def records(out: Path, what: str) -> int:
    """Finished parts of one of the two stores."""
    return sum(not path.name.startswith(".") for path in (out / what / ".parts").glob("*.json"))


def watch(command: list[str], out: Path, kill_at: int | None) -> tuple[list[tuple[str, int, float]], float]:
    """Run the converter, sampled 50 times a second, killed at that many feature parts: (store, parts, MB), seconds."""
    samples, start = [], time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=os.environ | {"TOKENIZERS_PARALLELISM": "false"})
    while process.poll() is None:
        parts = records(out, "features")
        what = "features" if (out / "captions" / "manifest.json").exists() else "captions"
        samples.append((what, parts if what == "features" else records(out, "captions"), rss_mb(process.pid)))
        if kill_at is not None and parts >= kill_at:
            process.send_signal(signal.SIGKILL)
            process.wait()
            break
        time.sleep(0.02)
    killed = process.returncode == -signal.SIGKILL
    if killed != (kill_at is not None) or (not killed and process.returncode):
        raise SystemExit(f"the converter ended with {process.returncode}; expected a kill: {kill_at is not None}")
    return samples, time.monotonic() - start


def quarters(samples: list[tuple[str, int, float]], what: str) -> dict[str, float]:
    """Peak MB while each quarter of the parts of one store was made."""
    mine = [(parts, mb) for name, parts, mb in samples if name == what]
    last = max(parts for parts, _ in mine) or 1
    peaks = dict.fromkeys((25, 50, 75, 100), 0.0)
    for parts, mb in mine:
        quarter = 25 * min(4, 1 + 4 * parts // last)
        peaks[quarter] = max(peaks[quarter], mb)
    return {f"{quarter} %": round(mb) for quarter, mb in peaks.items()}


def digests(folder: Path) -> dict[str, str]:
    """sha256 of every file below a folder, by name."""
    found = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        with open(path, "rb") as file:
            found[str(path.relative_to(folder))] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def killed_and_resumed(source: Path, out: Path, options: argparse.Namespace, videos: int) -> dict:
    """Convert with a kill halfway through the features; what was seen."""
    command = convert(source, out, options, videos)
    rows = int(command[command.index("--shard-rows") + 1])
    half = max(1, videos * options.seconds // rows // 2)
    first, first_s = watch(command, out, half)
    finished = records(out, "features")
    second, second_s = watch(command, out, None)
    return {
        "minutes_until_kill": round(first_s / 60, 2),
        "minutes_after": round(second_s / 60, 2),
        "feature_parts_before_kill": finished,
        "peak_rss_mb_captions": quarters(first, "captions"),
        "peak_rss_mb_features": quarters([*first, *second], "features"),
        "peak_rss_mb": round(max(mb for _, _, mb in [*first, *second])),
    }


def drawing(out: Path, seconds: float) -> dict:
    """How fast pairs can be drawn from the stores: batches of 32 videos with 16 clips each, features included.

    The memory that grows is mapped files, which the system takes back when it needs room.
    """
    from vcwork.core.config import OverlapConfig
    from vcwork.core.sampling import sample_pair
    from vcwork.data.howto100m.convert import open_converted

    start = time.monotonic()
    data, rng, rule, batches = open_converted(out).pairs("train"), np.random.default_rng(0), OverlapConfig(), 0
    opened, before = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    while time.monotonic() - opened < seconds:
        for video in rng.permutation(len(data.tracks))[:32]:
            for _ in range(16):
                pair = sample_pair(data.tracks[video], rule, rng)
                np.asarray(data.features[video][pair.video_start : pair.video_end], np.float32)
        batches += 1
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    took = time.monotonic() - opened
    return {
        "seconds_to_open": round(opened - start, 2),
        "pairs_per_second": round(512 * batches / took),
        "mapped_mb": round(grown),
    }


def benchmark(folder: Path, options: argparse.Namespace) -> dict:
    source, out = folder / "source", folder / "out"
    start = time.monotonic()
    generate(source, options, options.videos)
    record = {
        "videos": options.videos,
        "seconds_a_video": options.seconds,
        "captions_a_video": options.captions,
        "load_before": round(os.getloadavg()[0], 2),
        "minutes_generating": round((time.monotonic() - start) / 60, 2),
        "source_bytes": size(source),
        **killed_and_resumed(source, out, options, options.videos),
        "out_bytes": size(out),
        "drawing": drawing(out, 5),
    }
    small_source, small_out = source, out
    videos = options.check_videos or options.videos
    if options.check_videos:
        small_source, small_out = folder / "small", folder / "small-killed"
        generate(small_source, options, videos)
        killed_and_resumed(small_source, small_out, options, videos)
    watch(convert(small_source, folder / "whole", options, videos), folder / "whole", None)
    coverage = json.loads((out / "coverage.json").read_text())["counts"]
    record["missing"] = {name: len(count["missing"]) for name, count in coverage.items()}
    return record | {"checked_videos": videos, "identical": digests(small_out) == digests(folder / "whole")}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=20_000)
    parser.add_argument("--seconds", type=int, default=40, help="features of one video (HowTo100M: about 390)")
    parser.add_argument("--captions", type=int, default=12, help="captions of one video (HowTo100M: about 110)")
    parser.add_argument("--check-videos", type=int, default=500, help="videos compared byte by byte; 0: all")
    parser.add_argument("--videos-per-part", type=int, default=512)
    parser.add_argument("--shard-rows", type=int, default=1 << 15)
    parser.add_argument("--folder", help="where to work (default: a temporary folder); everything made is removed")
    parser.add_argument("--json", help="also write the record to this file")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="convert-", dir=options.folder))
    try:
        record = benchmark(folder, options)
    finally:
        shutil.rmtree(folder)
    text = json.dumps(record, indent=1)
    print(text)
    if options.json:
        Path(options.json).write_text(text + "\n")
    return 0 if record["identical"] else 1


if __name__ == "__main__":
    sys.exit(main())
