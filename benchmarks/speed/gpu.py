"""Stage of a GPU: the paper's step, 512 pairs in bfloat16. Without a GPU nothing is measured."""

import time
from collections.abc import Iterator

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
    """Updates of 512 pairs (32 videos, 16 clips each), drawing and moving included: pairs/s, share of peak, memory.

    Ours alone: the reference code's own speed on such a card is not known here.
    """
    if not torch.cuda.is_available() or not size.repeats:
        return
    device, engine = torch.device("cuda"), Engine("bf16")
    torch.backends.cuda.matmul.allow_tf32 = True
    data = made.narrated(VIDEOS, size.model.vocab_size, np.random.default_rng(0))
    train = TrainConfig(precision="bf16", clusters=ClusterConfig(videos_per_batch=VIDEOS, clips_per_video=CLIPS))
    tokenizer, model = made.tokenizer(size.model.vocab_size), VideoCLIP(size.model).to(device).train()
    learner, groups = Learner(model, train, 1000, engine), [np.arange(VIDEOS)] * (WARM + 10 * size.repeats)
    taken, work = [], 0.0
    for i in range(len(groups)):
        torch.cuda.synchronize()
        start = time.perf_counter()
        batch = pairs_of(data, groups, i, 0, train, engine)
        learner.update(batch(model, tokenizer), batch.groups(device), VIDEOS * CLIPS)
        torch.cuda.synchronize()
        taken.append(time.perf_counter() - start)
        lengths = [end - first for _, first, end in batch.spans], [len(row) for row in batch.texts]
        work += 3 * (video_flops(size.model, lengths[0]) + text_flops(size.model, lengths[1]))
    peak = gemm(torch.bfloat16, 2.0, "cuda", times=16)
    name, memory = torch.cuda.get_device_name(), torch.cuda.max_memory_allocated() / 2**30
    per_step = work / len(groups)
    share = per_step / float(np.median(taken[WARM:])) / peak
    note = f"{name}: {memory:.1f} GiB; {peak / 1e12:.0f} TFLOP/s in one large product, {share:.0%} of them here"
    yield Row("training step on a GPU, 512 pairs, bf16", {OURS: taken[WARM:]}, VIDEOS * CLIPS, "pairs",
              Asked("rate", 10_000), per_step, "", note)  # fmt: skip
