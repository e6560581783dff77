"""Stages of the two towers: a training step, captions, labels, clips, videos second by second, steps in order.

Both paths have the same weights and are given the same words and features; losses, gradients, vectors and scores are
compared before anything is timed. FLOPs are counted over valid tokens alone, so a share of the floor is a share of what
must be done, whoever does more.
"""

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import torch

from benchmarks.speed import made
from benchmarks.speed import reference_like as like
from benchmarks.speed.made import Size
from benchmarks.speed.timing import OURS, REFERENCE, Asked, Row, expect_equal, in_turns
from vcwork.core.batches import pairs_of
from vcwork.core.config import ClusterConfig, ModelConfig, TrainConfig
from vcwork.core.engine import Engine, has_bf16
from vcwork.core.model import VideoCLIP
from vcwork.core.step import Learner
from vcwork.data.store import S3D_FEATURES
from vcwork.encoders.encoder import Encoder, encode_all_seconds, encode_text, encode_video
from vcwork.tasks.localization import localize_all

EXACT = 1e-4  # of the largest number: float32, summed in another order
CLS_SEP = 2


def flops(config: ModelConfig, lengths: Iterable[int], layers: int) -> float:
    """Of one forward pass of a tower over sequences of so many tokens, CLS and SEP among them."""
    tokens = np.asarray([*lengths], dtype=float)
    weights = 4 * config.hidden**2 + 2 * config.hidden * config.ffn  # multiplied with each token, a layer
    return float(layers * (2 * weights * tokens + 4 * config.hidden * tokens**2).sum())


def video_flops(config: ModelConfig, seconds: Iterable[int]) -> float:
    return flops(config, (n + CLS_SEP for n in seconds), config.video_layers)


def text_flops(config: ModelConfig, tokens: Iterable[int]) -> float:
    return flops(config, (min(n, config.max_text_tokens) + CLS_SEP for n in tokens), config.text_layers)


@functools.cache
def models(config: ModelConfig) -> tuple[Encoder, like.Towers]:
    """One set of random weights, seen by our encoder and by the reference-like towers."""
    torch.manual_seed(0)
    tokenizer, model = made.tokenizer(config.vocab_size), VideoCLIP(config).eval()
    return Encoder(model, tokenizer, S3D_FEATURES), like.Towers(dict(model.state_dict()), config, tokenizer)


# -------------------------------------------------------------------------------------------------------- training


def step(size: Size) -> Iterator[Row]:
    """An update of the weights, dropout on: forward, loss, backward, clipping, Adam; float32, and as fast as it goes.

    Equal are the loss and the gradient's norm of the same pairs without dropout.
    """
    config, rng = size.model, np.random.default_rng(0)
    data = made.narrated(size.pairs, config.vocab_size, rng)
    train = TrainConfig(
        loss="reference", warmup=0, lr=1e-6, first_update="warm", precision="float32",
        clusters=ClusterConfig(videos_per_batch=size.pairs, clips_per_video=1),
    )  # fmt: skip
    encoder, _ = models(config)
    batch = pairs_of(data, [np.arange(size.pairs)], 0, 0, train, Engine())
    inputs = batch(encoder.model, encoder.tokenizer)
    clips, tokens = data.clips(batch.spans), [row.tolist() for row in batch.texts]
    weights = dict(encoder.model.state_dict())

    def learner(precision: str, training: bool) -> Callable[[], dict]:
        model = VideoCLIP(config).train(training)
        model.load_state_dict(weights)
        chosen = Learner(model, train.model_copy(update={"precision": precision}), 1000)
        return lambda: chosen.update(inputs, batch.groups(), size.pairs)

    found = learner("float32", False)()
    expected = like.Trainer(weights, config, encoder.tokenizer, False, 1e-6).update(clips, tokens)
    expect_equal("training step: loss", found["loss"], expected[0], EXACT)
    expect_equal("training step: norm of the gradient", found["grad_norm"], expected[1], 10 * EXACT)
    if not size.repeats:
        return
    reference = like.Trainer(weights, config, encoder.tokenizer, True, 1e-6)
    ways = {REFERENCE: lambda: reference.update(clips, tokens), OURS: learner("float32", True)}
    if has_bf16("cpu"):
        ways["bf16"] = learner("auto", True)
    taken = in_turns(ways, size.repeats)
    work = 3 * (video_flops(config, map(len, clips)) + text_flops(config, map(len, tokens)))  # backward: twice forward
    about = {"amount": size.pairs, "unit": "pairs", "work": work}
    fast = taken.pop("bf16", None)
    yield Row("training step, fp32", taken, asked=Asked("ratio", 1.55), floor="fp32", **about)
    if fast:
        taken = {REFERENCE: taken[REFERENCE], OURS: fast}
        yield Row("training step, bf16", taken, asked=Asked("ratio", 3.3), floor="bf16", **about,
                  note="against the reference-like step in fp32")  # fmt: skip


# -------------------------------------------------------------------------------------------------------- encoding


def _compared(
    name: str, size: Size, ours: Callable[[], np.ndarray], other: Callable[[], np.ndarray], tolerance: float = EXACT
) -> dict[str, list[float]]:
    """Seconds of both ways, after their answers were found equal; {} where nothing is to be timed."""
    expect_equal(name, ours(), other(), tolerance)
    return in_turns({REFERENCE: other, OURS: ours}, size.repeats) if size.repeats else {}


def _sentences(name: str, size: Size, texts: Sequence[str], ratio: float, note: str) -> Iterator[Row]:
    encoder, towers = models(size.model)
    taken = _compared(
        name, size, lambda: encode_text(encoder, texts), lambda: like.encode_sentences(towers, texts)
    )  # fmt: skip
    if taken:
        work = text_flops(size.model, (len(text.split()) for text in dict.fromkeys(texts)))
        yield Row(name, taken, len(texts), "texts", Asked("ratio", ratio), work, "fp32", note)


def captions(size: Size) -> Iterator[Row]:
    """Sentences as long as YouCook2's captions, and as long as the text clips of pre-training."""
    rng, vocabulary = np.random.default_rng(1), size.model.vocab_size
    lengths = {
        "captions, YouCook2's lengths, fp32": (made.caption_lengths(size.captions, rng), "9.8 word pieces of 61"),
        "sentences, pre-training's lengths, fp32": (made.narration_lengths(size.captions, rng), "37 word pieces of 61"),
    }
    for name, (each, note) in lengths.items():
        yield from _sentences(name, size, made.sentences(each, vocabulary, rng), 1.9, f"{note}; a sample of 3,350")


def labels(size: Size) -> Iterator[Row]:
    """Step labels as COIN has them: short, and 29 of 778 repeat another one."""
    texts = made.step_labels(size.labels, size.model.vocab_size, np.random.default_rng(2))
    yield from _sentences(
        "step labels, fp32", size, texts, 6, "5.3 word pieces of 61; a sixth of COIN's 778, one in 27 repeated"
    )


def clips(size: Size) -> Iterator[Row]:
    """Clips of 3 to 32 s, all lengths alike, as the sampler draws them."""
    rng, name = np.random.default_rng(3), "clips, fp32"
    encoder, towers = models(size.model)
    made_clips = made.features(rng.integers(3, 33, size.clips), rng)
    taken = _compared(
        name, size, lambda: encode_video(encoder, made_clips), lambda: like.encode_clips(towers, made_clips)
    )  # fmt: skip
    if taken:
        work = video_flops(size.model, map(len, made_clips))
        yield Row(name, taken, len(made_clips), "clips", Asked("ratio", 1.5), work, "fp32", "17.5 s of 32 on average")


# --------------------------------------------------------------------------------------------- second by second


def _windows(seconds: int) -> list[int]:
    """Lengths of a video's windows of 32 s, one every 16 s."""
    starts = range(0, max(1, seconds - 32 + 16), 16)
    return [min(32, seconds - start) for start in starts]


def segmentation(size: Size) -> Iterator[Row]:
    """Every second of COIN-length videos against 778 labels that are encoded already: 32 s windows, one every 16 s."""
    rng = np.random.default_rng(4)
    encoder, towers = models(size.model)
    videos = made.features(made.coin_lengths(size.coin_videos, rng), rng)
    texts = rng.standard_normal((size.labels_scored, size.model.hidden), np.float32)

    def ours() -> np.ndarray:
        each = encode_all_seconds(encoder, videos, like.STRIDE, hide_cls=True)
        return np.concatenate([states @ texts.T for states in each])

    def other(one_by_one: bool) -> np.ndarray:
        return np.concatenate([like.second_scores(towers, video, texts, one_by_one) for video in videos])

    expect_equal("segmentation", ours(), other(True), EXACT)
    expect_equal("segmentation, windows together", ours(), other(False), EXACT)
    if not size.repeats:
        return
    together = "windows of a video together"
    taken = in_turns({REFERENCE: lambda: other(True), together: lambda: other(False), OURS: ours}, size.repeats)
    lengths = [n for video in videos for n in _windows(len(video))]
    products = 2.0 * sum(map(len, videos)) * texts.size
    about = (float(sum(map(len, videos))), "seconds of video", Asked("ratio", 2.5))
    work = video_flops(size.model, lengths) + products
    alone = {REFERENCE: taken[REFERENCE], OURS: taken[OURS]}
    yield Row("segmentation, fp32", alone, *about, work, "fp32", "reference-like: window by window")
    alone = {REFERENCE: taken[together], OURS: taken[OURS]}
    yield Row("segmentation, fp32, batches alike", alone, *about[:2], None, work, "fp32",
              "reference-like: the windows of a video in one batch, as the reference code has them")  # fmt: skip


def localization(size: Size) -> Iterator[Row]:
    """CrossTask-length videos (5 min, 7 steps): encode, score, give each step a second; the dynamic program's share."""
    rng = np.random.default_rng(5)
    encoder, towers = models(size.model)
    videos = made.features(made.coin_lengths(size.crosstask_videos, rng, 297.0), rng)
    steps = [made.step_labels(7, size.model.vocab_size, rng) for _ in videos]

    def scores() -> list[np.ndarray]:
        texts = encode_text(encoder, [step for own in steps for step in own]).reshape(len(videos), 7, -1)
        seconds = encode_all_seconds(encoder, videos, like.STRIDE, hide_cls=True)
        return [states @ own.T for states, own in zip(seconds, texts, strict=True)]

    def costs(each: np.ndarray) -> np.ndarray:
        return -torch.from_numpy(each).double().log_softmax(1).numpy()

    found = scores()
    for chosen, each in zip(localize_all(found), found, strict=True):
        expect_equal("dynamic program", chosen, like.ordered_seconds(costs(each)), 0)
    pair = zip(videos, steps, strict=True)
    texts = (like.second_scores(towers, video, like.encode_sentences(towers, own), False) for video, own in pair)
    expect_equal("localization", np.concatenate(found), np.concatenate([*texts]), EXACT)
    if not size.repeats:
        return

    ways = {
        "all of localization": lambda: localize_all(scores()),
        "plain loops": lambda: [like.ordered_seconds(costs(each)) for each in found],
        OURS: lambda: localize_all(found),
    }
    taken = in_turns(ways, size.repeats)
    loops, amount = taken.pop("plain loops"), (float(sum(map(len, videos))), "seconds of video")
    yield Row("dynamic program within localization", taken, *amount, Asked("share", 0.01))
    yield Row("dynamic program", {"plain loops": loops, OURS: taken[OURS]}, *amount, None,
              note="against plain Python loops; CrossTask's own is compiled")  # fmt: skip
