"""What does each stage cost at 1, 10 and 100 times the size, and what would HowTo100M cost? Exponents are fitted here.

    python -m benchmarks.scale --measure --write        # minutes of one core, alone on the machine
    python -m benchmarks.scale --gpu-price 3 --core-price 0.04 --pairs-a-second 10000

Without --measure the plan is computed from docs/numbers/scale.json. What is measured and what is assumed stands in two
tables there: rates and exponents of one core are measured, rates of a GPU, of the network and the bits of a film are
assumed until they are given. --write puts both tables into docs/scale.md, without prices.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from benchmarks.speed.page import between_marks
from vcwork.base.files import project_root, read_json, write_json
from vcwork.workbench.machine import hardware

NUMBERS, PAGE = "docs/numbers/scale.json", "docs/scale.md"
# as published: videos, hours, pairs of all epochs, captions a video, tokens a second
HOWTO100M = {"videos": 1_100_000, "hours": 134_472, "pairs": 437_000_000, "epochs": 25, "clips": 110, "tokens": 2.4}
ASSUMED = {
    "pairs_a_second": 10_000.0,  # of one H200 in bf16: what a step should reach, 25 % of its peak by counting
    "inside_gb_s": 400.0,  # between GPUs of one machine (NVLink)
    "between_gb_s": 50.0,  # between machines (400 Gbit/s)
    "film_mbit_s": 0.5,  # of a film at 360 lines
    "share_of_step": 512.0,  # pairs a GPU and update
}
WEIGHTS = 177_000_000  # of the paper's model, float32 on the wire


# -------------------------------------------------------------------------------------------------------- measuring

Ready = Iterator[Callable[[], Any]]


@contextmanager
def extraction(n: int) -> Ready:
    """2 n seconds of film, 30 frames a second, by the motion backbone: decoding is most of it."""
    from vcwork.data.backbones.image import get_backbone
    from vcwork.data.corpus import scan_folder
    from vcwork.data.extract import extract
    from vcwork.data.video import write_mp4

    with tempfile.TemporaryDirectory() as folder:
        big = np.random.default_rng(0).integers(0, 256, (30, 60, 3)).astype(np.uint8).repeat(8, 0).repeat(8, 1)
        for film in range(n):
            frames = (np.roll(big, 2 * t, 1)[:, :320] for t in range(60))
            write_mp4(Path(folder) / "films" / f"{film}.mp4", frames, 30)
        corpus = scan_folder(Path(folder) / "films")
        yield lambda: extract(corpus, get_backbone("motion"), Path(folder) / "out", workers=1, progress=False)


@contextmanager
def conversion(n: int) -> Ready:
    """20 n videos of 390 s and 110 captions, as HowTo100M's, into both stores."""
    from benchmarks import convert_howto100m as made
    from vcwork.core.text import Tokenizer
    from vcwork.data.howto100m.convert import convert_howto100m
    from vcwork.data.howto100m.sources import HowTo100M

    with tempfile.TemporaryDirectory() as folder:
        at = Path(folder) / "source"
        made.generate(at, SimpleNamespace(seconds=390, captions=110, width=512), 20 * n)
        ids = {"train": at / "train.lst", "val": at / "val.lst"}
        source = HowTo100M(ids, str(at / "raw_caption.json"), str(at / "features"))
        words = Tokenizer.load(at)
        yield lambda: convert_howto100m(source, Path(folder) / "out", words, progress=False)


@contextmanager
def drawing(n: int) -> Ready:
    """512 n pairs of videos of 390 s and 110 captions."""
    from vcwork.core.batches import PairData, draw_pairs
    from vcwork.core.config import TrainConfig
    from vcwork.core.sampling import Track

    starts = np.arange(110) * 3.5
    tracks = [
        Track(f"v{i}", starts, starts + 3.4, ((7, 8, 9, 10, 11, 12, 13, 14, 15, 16),) * 110, 390) for i in range(64)
    ]
    data, config = PairData(tracks, [np.zeros((390, 4), np.float32)] * 64), TrainConfig()
    yield lambda: draw_pairs(data, np.arange(32), config, np.random.default_rng(0), 16 * n)


@contextmanager
def neighbours(n: int) -> Ready:
    """The centres of an epoch of 1,000 n videos, one in 32, among all of them; width 768."""
    from vcwork.core.batches import nearest

    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((1000 * n, 768), np.float32)
    centres = rng.permutation(len(vectors))[: len(vectors) // 32]
    yield lambda: nearest(vectors, 64, centres)


@contextmanager
def training(n: int) -> Ready:
    """One update of 8 n pairs by two towers of width 128 and two layers; the paper's width is 768, its layers 18."""
    import torch

    from vcwork.core.config import ModelConfig, TrainConfig
    from vcwork.core.model import VideoCLIP
    from vcwork.core.step import Learner

    torch.manual_seed(0)
    sizes = {"hidden": 128, "heads": 4, "ffn": 512, "video_layers": 2, "text_layers": 2}
    model = VideoCLIP(ModelConfig(feature_dim=512, vocab_size=1000, **sizes))
    learner, b = Learner(model, TrainConfig(), 10), 8 * n
    tensors = (torch.randn(b, 18, 512), torch.ones(b, 18, dtype=torch.bool), torch.randint(5, 1000, (b, 38)),
               torch.ones(b, 38, dtype=torch.bool))  # fmt: skip
    yield lambda: learner.update(tensors)


@contextmanager
def indexing(n: int) -> Ready:
    """1,000 n vectors of width 768 into an exact index, and saved."""
    from vcwork.search.index import VideoIndex

    vectors = np.random.default_rng(0).standard_normal((1000 * n, 768), np.float32)
    with tempfile.TemporaryDirectory() as folder:

        def indexed() -> None:
            index = VideoIndex(768)
            index.add(vectors, [str(i) for i in range(len(vectors))])
            index.save(Path(folder) / "index")

        yield indexed


@contextmanager
def evaluation(n: int) -> Ready:
    """Ranks and every metric of 33 n sentences among as many clips, with opponents and 1,000 bootstrap samples."""
    from vcwork.tasks import retrieval

    rng, size = np.random.default_rng(0), 33 * n
    scores = rng.standard_normal((size, size), np.float32)
    videos = np.arange(size) // 8
    yield lambda: retrieval.evaluate(scores, np.arange(size), np.arange(size), videos, videos, videos % 89)


# of a stage: how it is made ready, what one unit is, units at 1x, how many of them HowTo100M has
STAGES: dict[str, tuple[Callable, str, int, str]] = {
    "extraction": (extraction, "seconds of film", 2, "seconds"),
    "conversion": (conversion, "videos", 20, "videos"),
    "drawing": (drawing, "pairs", 512, "pairs"),
    "neighbours": (neighbours, "videos", 1000, "videos"),
    "training step": (training, "pairs", 8, ""),
    "indexing": (indexing, "vectors", 1000, "videos"),
    "evaluation": (evaluation, "sentences", 33, ""),
}


def measure(sizes: tuple[int, ...] = (1, 10, 100)) -> dict[str, Any]:
    """{stage: unit, units, seconds at each size, exponent}: the slope of log seconds over log size of the larger two.

    The smallest size is shown and not fitted: what any start costs would pass for a low exponent.
    """
    found = {}
    for name, (ready, unit, each, _) in STAGES.items():
        with ready(1) as warm:
            warm()  # imports, threads, caches
        took = []
        for n in sizes:
            with ready(n) as work:
                start = time.process_time()
                work()
                took.append(time.process_time() - start)
        slope = np.log(took[-1] / took[-2]) / np.log(sizes[-1] / sizes[-2])
        found[name] = {"unit": unit, "units": [each * n for n in sizes], "seconds": took, "exponent": float(slope)}
        print(f"{name}: {took}", file=sys.stderr)
    return found


# --------------------------------------------------------------------------------------------------------- the plan


def core_hours(stage: dict[str, Any], units: float) -> float:
    """Hours of one core for so many units, from the largest measured size along the fitted exponent, at least 1.

    A lower one is what a start costs, and ends.
    """
    return stage["seconds"][-1] * (units / stage["units"][-1]) ** max(1.0, stage["exponent"]) / 3600


def gpu_hours(gpus: int, given: dict[str, float]) -> float:
    """Hours until all pairs are trained: steps in a row, and gradients averaged after each, nothing overlapping."""
    of_step = given["share_of_step"] / given["pairs_a_second"]
    speed = given["inside_gb_s"] if gpus <= 8 else given["between_gb_s"]
    averaging = 2 * WEIGHTS * 4 / 1e9 * (gpus - 1) / gpus / speed
    return HOWTO100M["pairs"] / (given["share_of_step"] * gpus) * (of_step + averaging) / 3600


def storage(given: dict[str, float]) -> dict[str, float]:
    """Gigabytes of everything that lies on disk."""
    seconds, videos = HOWTO100M["hours"] * 3600, HOWTO100M["videos"]
    captions = videos * HOWTO100M["clips"] * 16 + seconds * HOWTO100M["tokens"] * 2  # bytes
    return {
        "films": seconds * given["film_mbit_s"] / 8e3,
        "features, float16 (twice while they are joined)": seconds * 512 * 2 / 1e9,
        "captions: times, offsets and tokens": captions / 1e9,
        "vectors of all videos, float32 (in memory, each rank)": videos * 768 * 4 / 1e9,
        "state: weights and both moments": WEIGHTS * 12 / 1e9,
    }


def plan(stored: dict[str, Any], given: dict[str, float], gpu_price: float, core_price: float) -> str:
    """Markdown: storage, then hours and, with prices, money of each stage."""
    sizes = {"seconds": HOWTO100M["hours"] * 3600, "videos": HOWTO100M["videos"], "pairs": HOWTO100M["pairs"]}
    lines = ["| on disk | GB |", "|---|---|", *(f"| {what} | {gb:,.0f} |" for what, gb in storage(given).items()), ""]
    lines += ["| work | hours of a core | hours of a GPU | hours to wait | price |", "|---|---|---|---|---|"]
    s3d = stored["s3d_core_seconds_a_second"]
    rows = [("S3D on every second", s3d * sizes["seconds"] / 3600, "all cores at once")]
    for name in ("conversion", "drawing", "neighbours", "indexing"):
        again = HOWTO100M["epochs"] if name == "neighbours" else 1
        rows.append((name, again * core_hours(stored["stages"][name], sizes[STAGES[name][3]]), "all cores at once"))
    for name, hours, wait in rows:
        lines.append(f"| {name} | {hours:,.1f} | | {wait} | {money(hours, core_price)} |")
    for gpus in (1, 8, 64):
        wait = gpu_hours(gpus, given)
        lines.append(f"| training on {gpus} GPU{'s' * (gpus > 1)} | | {gpus * wait:,.1f} | {wait:,.1f} | "
                     f"{money(gpus * wait, gpu_price)} |")  # fmt: skip
    return "\n".join(lines) + "\n"


def money(hours: float, price: float) -> str:
    return f"{hours * price:,.0f}" if price else ""


def measured(stored: dict[str, Any]) -> str:
    """Markdown: seconds of each stage at 1, 10 and 100 times, and the exponent."""
    lines = ["| stage | at 1 × | 1 × | 10 × | 100 × | exponent |", "|---|---|---|---|---|---|"]
    for name, stage in stored["stages"].items():
        took = " | ".join(f"{s:.3g} s" for s in stage["seconds"])
        lines.append(f"| {name} | {stage['units'][0]:,} {stage['unit']} | {took} | {stage['exponent']:.2f} |")
    return "\n".join(lines) + "\n"


def filled(text: str, stored: dict[str, Any]) -> str:
    """The page with both tables as they are now."""
    for name, table in (("measured", measured(stored)), ("plan", plan(stored, ASSUMED, 0, 0))):
        text = between_marks(text, f"scale: {name}", table, PAGE)
    return text


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--measure", action="store_true", help="run the stages, seconds to a minute each")
    parser.add_argument("--write", action="store_true", help=f"keep the numbers in {NUMBERS}, the tables in {PAGE}")
    parser.add_argument("--gpu-price", type=float, default=0.0, help="of one GPU for one hour")
    parser.add_argument("--core-price", type=float, default=0.0, help="of one core for one hour")
    parser.add_argument("--s3d-seconds", type=float, help="of a core for a second of film, as measured on yours")
    for name, value in ASSUMED.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=float, default=value, help=f"(default: {value:g})")
    options = parser.parse_args()
    at = project_root() / NUMBERS
    stored = read_json(at) if at.exists() else {"s3d_core_seconds_a_second": 1.0}
    stored["s3d_core_seconds_a_second"] = options.s3d_seconds or stored["s3d_core_seconds_a_second"]
    if options.measure:
        stored |= {"machine": hardware()["processor"], "date": time.strftime("%Y-%m-%d"), "stages": measure()}
    if options.write:
        write_json(at, stored)
        page = project_root() / PAGE
        page.write_text(filled(page.read_text(encoding="utf-8"), stored), encoding="utf-8")
    print(measured(stored), plan(stored, {name: getattr(options, name) for name in ASSUMED}, options.gpu_price,
                                 options.core_price), sep="\n")  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
