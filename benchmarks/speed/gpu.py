"""Stage of a GPU: the paper's step, 512 pairs in bfloat16. Without a GPU nothing is measured."""

import time
from collections.abc import Iterator
from contextlib import closing

import numpy as np
import torch

from benchmarks.speed import made
from benchmarks.speed.floor import gemm
from benchmarks.speed.made import Size
from benchmarks.speed.model import text_flops, video_flops
from benchmarks.speed.timing import OURS, Asked, Row
from vcwork.core.batches import pairs_of
from vcwork.core.config import ClusterConfig, TrainConfig
from vcwork.core.engine import Engine
from vcwork.core.model import VideoCLIP
from vcwork.core.step import Learner

VIDEOS, CLIPS = 32, 16
WARM = 3  # updates that are not counted: kernels are chosen, memory is taken


def step(size: Size) -> Iterator[Row]:
    """Updates of 512 pairs as training makes them, drawing and moving included: pairs/s, share of peak, memory.

    Ours alone: how fast the reference code is on such a card is not known here. Tiny, it runs on a CPU as well.
    """
    if not size.repeats:
        _updates(size, "float32", 2)
    if not torch.cuda.is_available() or not size.repeats:
        return
    taken, work = _updates(size, "bf16", WARM + 10 * size.repeats)
    peak = gemm(torch.bfloat16, 2.0, "cuda", times=16)
    name, memory = torch.cuda.get_device_name(), torch.cuda.max_memory_allocated() / 2**30
    share = work / float(np.median(taken[WARM:])) / peak
    note = f"{name}: {memory:.1f} GiB; {peak / 1e12:.0f} TFLOP/s in one large product, {share:.0%} of them here"
    asked = Asked("rate", 10_000)
    yield Row("training step on a GPU, bf16", {OURS: taken[WARM:]}, VIDEOS * CLIPS, "pairs", asked, work, note=note)


def _updates(size: Size, precision: str, n: int) -> tuple[list[float], float]:
    """Seconds of n updates, and FLOPs of one on average over valid tokens."""
    engine, config = Engine(precision), size.model
    data = made.narrated(VIDEOS, config.vocab_size, np.random.default_rng(0))
    train = TrainConfig(precision=precision, clusters=ClusterConfig(videos_per_batch=VIDEOS, clips_per_video=CLIPS))
    tokenizer, model = made.tokenizer(config.vocab_size), VideoCLIP(config).to(engine.device).train()
    learner, groups, taken, work = Learner(model, train, 1000, engine), [np.arange(VIDEOS)] * n, [], 0.0
    drawn = (pairs_of(data, groups, i, 0, train, engine) for i in range(n))
    with closing(data.read(drawn, config.max_video_tokens)) as read:
        start = time.perf_counter()
        for batch in read:
            learner.update(batch(model, tokenizer), batch.groups(engine.device), VIDEOS * CLIPS)  # waits for its loss
            taken.append(time.perf_counter() - start)
            work += 3 * video_flops(config, (end - first for _, first, end in batch.spans))
            work += 3 * text_flops(config, map(len, batch.texts))
            start = time.perf_counter()
    return taken, work / n
