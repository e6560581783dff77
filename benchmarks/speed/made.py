"""What the stages work on: made words, clips and videos, as long as real ones are. Nothing here is anybody's data.

Lengths follow what was counted: captions of YouCook2's validation (9.8 word pieces, sd 4.5), labels of COIN (5.3, sd
2.4; 29 of 778 say what another one says), its videos (2.36 min), narration of 2.4 tokens a second.
"""

from dataclasses import dataclass, field

import numpy as np

from vcwork.core.batches import PairData
from vcwork.core.config import ModelConfig
from vcwork.core.sampling import Track
from vcwork.core.text import SPECIAL, Tokenizer

WIDTH = 512


@dataclass(frozen=True)
class Size:
    """How much each stage does. `repeats` 0: equalities are checked and nothing is timed."""

    repeats: int = 5
    model: ModelConfig = field(default_factory=ModelConfig)
    pairs: int = 32  # of a training step
    captions: int = 64
    labels: int = 130  # a sixth of COIN's
    clips: int = 256
    coin_videos: int = 8
    crosstask_videos: int = 8
    videos: int = 400  # converted, as long as HowTo100M's
    retrieval: int = 3350
    segmented: int = 2797  # videos whose scores are evaluated
    labels_scored: int = 778
    neighbours: int = 100_000
    vectors: int = 100_000
    queries: int = 1000
    film_s: int = 20
    chunks: int = 2  # of 30 frames, through S3D
    extracted: int = 4  # videos of `extracted_s` seconds
    extracted_s: int = 6


TINY_MODEL = ModelConfig(vocab_size=400, hidden=32, heads=4, ffn=64, video_layers=2, text_layers=2)
FULL = Size()
QUICK = Size(
    repeats=2, captions=32, labels=64, clips=64, coin_videos=2, crosstask_videos=2, videos=100, segmented=200,
    neighbours=20_000, vectors=20_000, film_s=5, chunks=1, extracted=2, extracted_s=3,
)  # fmt: skip
CHECK = Size(
    repeats=0, model=TINY_MODEL, pairs=8, captions=20, labels=30, clips=20, coin_videos=2, crosstask_videos=2, videos=8,
    retrieval=60, segmented=6, labels_scored=5, neighbours=200, vectors=400, queries=20, film_s=1, chunks=1,
    extracted=2, extracted_s=1,
)  # fmt: skip


def tokenizer(vocab_size: int) -> Tokenizer:
    """As many pieces as the model knows; word i is `w<i>`, one piece."""
    return Tokenizer([*SPECIAL, *(f"w{i}" for i in range(vocab_size - len(SPECIAL)))])


def sentences(lengths: np.ndarray, vocab_size: int, rng: np.random.Generator) -> list[str]:
    """Sentences of so many word pieces."""
    return [" ".join(f"w{i}" for i in rng.integers(0, vocab_size - len(SPECIAL), n)) for n in lengths]


def caption_lengths(n: int, rng: np.random.Generator) -> np.ndarray:
    """Word pieces of annotators' sentences, (n,): as in YouCook2."""
    return 2 + rng.negative_binomial(5, 5 / (5 + 7.83), n)


def narration_lengths(n: int, rng: np.random.Generator) -> np.ndarray:
    """Word pieces of pre-training's text clips, (n,): 8 to 61, 37 on average, one in ten cut at 61."""
    return np.minimum(rng.integers(8, 65, n) + rng.integers(0, 5, n), 61)


def step_labels(n: int, vocab_size: int, rng: np.random.Generator) -> list[str]:
    """n labels as COIN's, of which one in 27 repeats an earlier one."""
    made = sentences(1 + rng.negative_binomial(12, 12 / (12 + 4.32), n), vocab_size, rng)
    for place in rng.choice(np.arange(n // 2, n), round(n * 29 / 778), replace=False):
        made[place] = made[rng.integers(0, n // 2)]
    return made


def features(lengths: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
    """One feature a second, (T_i, 512) float32 of length 1."""
    made = [rng.standard_normal((n, WIDTH), np.float32) for n in lengths]
    return [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in made]


def coin_lengths(n: int, rng: np.random.Generator, mean_s: float = 2.36 * 60) -> np.ndarray:
    """Seconds of videos, (n,), spread about their mean by half of it."""
    return np.maximum(40, rng.gamma(4.0, mean_s / 4, n)).astype(int)


def narrated(n: int, vocab_size: int, rng: np.random.Generator, seconds: int = 120) -> PairData:
    """n videos in memory, a caption of about 8 tokens every 3.3 s."""
    starts = np.arange(0, seconds - 3.3, 3.3)
    tracks = []
    for i in range(n):
        rows = rng.integers(len(SPECIAL), vocab_size, (len(starts), 12))
        tokens = tuple(tuple(row[:k].tolist()) for row, k in zip(rows, rng.integers(4, 13, len(rows)), strict=True))
        tracks.append(Track(f"v{i}", starts, starts + 3.3, tokens, seconds))
    return PairData(tracks, features(np.full(n, seconds), rng))
