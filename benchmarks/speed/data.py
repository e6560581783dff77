"""Stages of data: pairs drawn and gathered from converted stores, and features extracted by one process or more."""

import functools
import importlib.util
import json
import random
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from benchmarks.speed import made
from benchmarks.speed import reference_like as like
from benchmarks.speed.floor import one_core
from benchmarks.speed.made import WIDTH, Size
from benchmarks.speed.timing import OURS, REFERENCE, Asked, Row, expect_equal, in_turns
from vcwork.core.batches import PairData, pairs_of
from vcwork.core.config import ClusterConfig, ModelConfig, TrainConfig
from vcwork.core.engine import Engine
from vcwork.core.model import VideoCLIP
from vcwork.data.backbones.s3d import UNTRAINED, S3DBackbone
from vcwork.data.corpus import Corpus, scan_folder
from vcwork.data.extract import extract
from vcwork.data.howto100m.convert import convert_howto100m
from vcwork.data.howto100m.sources import HowTo100M
from vcwork.data.video import write_mp4

VOCABULARY, VIDEO_S, CAPTIONS = 30522, 390, 110  # a video of HowTo100M
CLIPS = 16  # pairs of a video in a batch


def pairs(size: Size) -> Iterator[Row]:
    """Batches of 512 pairs as training draws them, on one core: 32 videos, 16 overlapped pairs of each, as tensors.

    Ours reads the stores that `convert` writes, the reference-like path files packed as the reference's. Equal are the
    features and tokens of our pairs, found again by the other path; each draws its own, and mean lengths are compared.
    """
    with tempfile.TemporaryDirectory(prefix="speed-pairs-") as folder:
        yield from _pairs(size, Path(folder))


def _pairs(size: Size, folder: Path) -> Iterator[Row]:
    rng, tokenizer = np.random.default_rng(6), made.tokenizer(VOCABULARY)
    source = _source(size.videos, folder, rng)
    data = convert_howto100m(source, folder / "converted", tokenizer, dedup="none", progress=False).pairs("train")
    model = VideoCLIP(ModelConfig(hidden=8, heads=1, ffn=8, video_layers=0, text_layers=0))  # for sizes and a device
    videos = min(32, size.videos)
    config = TrainConfig(clusters=ClusterConfig(videos_per_batch=videos, clips_per_video=CLIPS))
    groups = [rng.permutation(size.videos)[:videos] for _ in range(50)]
    _pack(data, folder)
    other = like.Pairs(folder, tokenizer, WIDTH)
    _same(data, groups, config, other, model, tokenizer)
    if not size.repeats:
        return
    turn, draws = iter(range(10**9)), random.Random(0)

    def ours() -> None:
        pairs_of(data, groups, next(turn) % len(groups), next(turn), config, Engine())(model, tokenizer)

    ways = {REFERENCE: lambda: other.batch(draws.choice(groups), CLIPS, draws), OURS: ours}
    with one_core():
        taken = in_turns(ways, 4 * size.repeats)
    amount = videos * CLIPS
    moved = amount * 17.5 * WIDTH * 2
    yield Row("data preparation, one core", taken, amount, "pairs", Asked("ratio", 10), moved, "copy, one core",
              "ours in float16 as stored, which the step widens; the other in float32")  # fmt: skip


def _pack(data: PairData, folder: Path) -> None:
    """What `like.Pairs` reads."""
    for part, of in (
        ("seconds", data.features),
        ("times", [np.stack([t.start_s, t.end_s], 1).astype(np.float32) for t in data.tracks]),
        ("pieces", [np.stack([np.pad(row, (0, 32 - len(row)), constant_values=-1) for row in t.tokens])
                    for t in data.tracks]),
    ):  # fmt: skip
        np.save(folder / f"{part}_data.npy", np.concatenate(list(of)))
        np.save(folder / f"{part}_starts.npy", np.cumsum([0, *map(len, of)]))


def _source(videos: int, folder: Path, rng: np.random.Generator) -> HowTo100M:
    """A folder of HowTo100M's shape: a list of ids, captions in one file, a file of features a video."""
    (folder / "features").mkdir()
    starts = np.linspace(0, VIDEO_S - 4, CAPTIONS)
    said, ids = {}, [f"video{i:05d}" for i in range(videos)]
    for id in ids:
        np.save(folder / "features" / f"{id}.npy", made.features([VIDEO_S], rng)[0].astype(np.float16))
        texts = made.sentences(rng.integers(4, 13, CAPTIONS), VOCABULARY, rng)
        said[id] = {"start": starts.tolist(), "end": (starts + 3.4).tolist(), "text": texts}
    (folder / "train.lst").write_text("\n".join(ids) + "\n")
    (folder / "captions.json").write_text(json.dumps(said))
    return HowTo100M({"train": folder / "train.lst"}, str(folder / "captions.json"), str(folder / "features"))


def _same(data: PairData, groups: list, config: TrainConfig, other: like.Pairs, model, tokenizer) -> None:
    """Our pairs, laid out by the other path, hold the same numbers; and its own are as long on average."""
    batch, draws = pairs_of(data, groups, 0, 0, config, Engine()), random.Random(1)
    features, seen, ids, valid = batch(model, tokenizer)
    items = [other.item(other.rows("seconds", video)[start:end], tokens.tolist())
             for (video, start, end), tokens in zip(batch.spans, batch.texts, strict=True)]  # fmt: skip
    theirs, there, words, spoken = (torch.stack(column) for column in zip(*items, strict=True))
    expect_equal("pairs: features", features[seen], theirs[there], 0)
    without_sep = [line[mask][2:] for line, mask in zip(words, spoken, strict=True)]  # CLS and the seconds' SEP
    expect_equal("pairs: tokens", ids[:, 1:][valid[:, 1:]], torch.cat(without_sep), 0)
    drawn = other.batch(groups[0], CLIPS, draws)
    for name, mine, own in (("seconds", seen, drawn[1]), ("tokens", valid, drawn[3])):
        expect_equal(f"pairs: mean {name}", mine.sum(1).float().mean(), own.sum(1).float().mean(), 0.25)


def extraction(size: Size) -> Iterator[Row]:
    """S3D's features of a folder of videos: one process, two, and two on Ray where it is; stores equal byte by byte."""
    with tempfile.TemporaryDirectory(prefix="speed-extraction-") as folder:
        yield from _extraction(size, Path(folder))


def _extraction(size: Size, folder: Path) -> Iterator[Row]:
    backbone = S3DBackbone(UNTRAINED)
    corpus = films(folder / "corpus", size.extracted, size.extracted_s)

    def by(*how) -> str:
        shutil.rmtree(folder / "features", ignore_errors=True)
        return extract(corpus, backbone, folder / "features", *how).digest()

    ways = {"one process": (1, False), "two processes": (2, False)}
    if importlib.util.find_spec("ray"):
        ways["Ray, two workers"] = (2, False, "ray")
    if len({by(*how) for how in ways.values()}) > 1:
        raise AssertionError("extraction: another number or kind of workers writes another store")
    if not size.repeats:
        return
    runs = {name: functools.partial(by, *how) for name, how in ways.items()}
    taken, amount = in_turns(runs, min(3, size.repeats), warm=True), float(size.extracted * size.extracted_s)
    alone = taken.pop("one process")
    for name, seconds in taken.items():
        yield Row(f"extraction, {name}", {"one process": alone, OURS: seconds}, amount, "seconds of video",
                  Asked("ratio", 1.7), note="S3D; starting the workers is included")  # fmt: skip


def films(folder: Path, videos: int, seconds: int) -> Corpus:
    """A corpus of made videos without captions, 640 x 360 at 30 frames a second."""
    folder.mkdir(parents=True)
    for i in range(videos):
        write_mp4(folder / f"film{i}.mp4", film(seconds, seed=i), 30)
    return scan_folder(folder)


def film(seconds: int, fps: int = 30, seed: int = 0, rough: bool = True) -> Iterator[np.ndarray]:
    """Frames (360, 640, 3) uint8: a picture that drifts, and a square that crosses it; no two are equal.

    rough: small squares of any colour, and noise; else large squares, each of one colour.
    """
    rng, side = np.random.default_rng(seed), 8 if rough else 80
    coarse = rng.integers(0, 256, (480 // side, 800 // side, 3), np.uint8)
    ground = np.kron(coarse, np.ones((side, side, 1), np.uint8))  # (480, 800, 3)
    if rough:
        ground = (0.8 * ground + 0.2 * rng.integers(0, 256, ground.shape)).astype(np.uint8)
    for k in range(seconds * fps):
        frame = ground[k // 3 % 120 :, k // 2 % 160 :][:360, :640].copy()
        x = 5 * k % 560
        frame[140:220, x : x + 80] = (220, 40 + k % 100, 60)
        yield frame
