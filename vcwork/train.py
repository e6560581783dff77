"""Pre-training as a generator of step records: look at each, stop when you like, go on later.

One step: k similar videos, several overlapped pairs of each, symmetric NCE over all of them. Once an epoch the
videos are embedded anew and the batches rebuilt (hard negatives). Everything drawn depends on (seed, epoch, batch)
alone, so a resumed run goes where an uninterrupted one would have gone.
One process or, under torchrun, many; the text and video of all ranks meet in one loss, or each rank has its own.
Known gap: a run resumed on another number of ranks goes on, but not as the first would have gone.
"""

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vcwork.clusters import cluster_batches, random_batches
from vcwork.config import TrainConfig
from vcwork.engine import Engine
from vcwork.errors import VcworkError
from vcwork.files import atomic_write
from vcwork.loss import LOSSES
from vcwork.model import VideoCLIP
from vcwork.sampling import Pair, Track, caption_pair, first_seconds, sample_pair, varied_pair
from vcwork.text import Tokenizer


@dataclass(frozen=True)
class StepRecord:
    """What one update did. `log_batch` = log B is the loss of equal scores, the line to beat."""

    epoch: int
    step: int
    loss: float
    log_batch: float
    in_batch_accuracy: float  # share of rows whose own partner scores highest, text to video
    lr: float
    grad_norm: float
    retrieved: bool  # batch made of neighbours


@dataclass
class PairData:
    """Tracks with captions, and their features: `features[i]` (T, W) belongs to `tracks[i]`."""

    tracks: list[Track]
    features: list[np.ndarray]

    def __post_init__(self) -> None:
        if not self.tracks or len(self.tracks) != len(self.features):
            raise VcworkError(f"expected one feature array a track and at least one, got {len(self.tracks)} tracks")


def pretrain(
    model: VideoCLIP, tokenizer: Tokenizer, data: PairData, config: TrainConfig,
    folder: str | Path | None = None, on_epoch: Callable[[int, VideoCLIP], dict] | None = None,
) -> Iterator[StepRecord]:  # fmt: skip
    """Train `model` in place; yields a record an update. Under torchrun every rank calls this alike.

    `folder` receives `log.jsonl` and, after each epoch or `config.save_every` updates, `state.pt` from which a later
    call goes on. `on_epoch(epoch, model)`, on the main rank, may return numbers for the log (validation). With
    `config.shuffle_captions` each video trains with the captions of another.
    """
    engine = Engine(config.precision)
    model.to(engine.device)
    data = derange(data, config.seed) if config.shuffle_captions else data
    model.text_bert.requires_grad_(not config.freeze_text)
    per_epoch = updates(data, config, engine.world) // config.epochs
    optimizer, schedule = make_optimizer(model, config, config.epochs * per_epoch)
    log = _Log(folder if engine.main else None)
    state = _restore(folder, model, optimizer, schedule, config, engine.device) if folder else {"epoch": 0}
    log.cut(state["epoch"] * per_epoch + state.get("done", 0))
    for epoch in range(state["epoch"], config.epochs):
        done = state.get("done", 0) if epoch == state["epoch"] else 0
        if done:
            batches, retrieved = [videos.numpy() for videos in state["batches"]], state["retrieved"]
            engine.restore_random(state["random"])
        else:  # dropout follows the epoch and the rank, not the process
            torch.manual_seed(_mix(config.seed, epoch, *([engine.rank] if engine.rank else [])))
            batches, retrieved = epoch_batches(model, tokenizer, data, config, epoch, per_epoch, engine)
        model.train()
        model.text_bert.train(not config.freeze_text)  # nothing is dropped in a frozen tower
        for i in range(done, per_epoch):
            batch = _pairs_of(data, batches, i, epoch, config, engine)
            numbers = apply_update(model, optimizer, schedule, batch(model, tokenizer), config, engine, batch.total)
            record = StepRecord(epoch, epoch * per_epoch + i, retrieved=retrieved, **numbers)
            log.write(asdict(record))
            if folder and config.save_every and (i + 1) % config.save_every == 0 and i + 1 < per_epoch:
                place = {"epoch": epoch, "done": i + 1, "retrieved": retrieved}
                place["batches"] = [torch.from_numpy(np.array(videos)) for videos in batches]
                _save_state(folder, model, optimizer, schedule, config, engine, place)
            yield record
        model.eval()
        if on_epoch and engine.main:
            log.write({"epoch": epoch, "step": (epoch + 1) * per_epoch - 1, **on_epoch(epoch, model)})
        if folder:
            _save_state(folder, model, optimizer, schedule, config, engine, {"epoch": epoch + 1})
        engine.wait()


@dataclass
class _Batch:
    """This rank's pairs of an update; `total` pairs are in the contrast."""

    pairs: list[Pair]
    videos: np.ndarray
    total: int
    data: PairData
    config: TrainConfig

    def __call__(self, model: VideoCLIP, tokenizer: Tokenizer) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return collate(self.pairs, self.data, self.videos, model, tokenizer, self.config)


def _pairs_of(
    data: PairData, batches: list[np.ndarray], i: int, epoch: int, config: TrainConfig, engine: Engine
) -> _Batch:
    """Update i: a batch of its own for each rank (local negatives), or each rank's share of one batch."""
    local = config.negatives == "local"
    i = i * engine.world + engine.rank if local else i
    videos = batches[i]
    pairs = draw_pairs(data, videos, config, np.random.default_rng([config.seed, 10, epoch, i]))
    return _Batch(pairs if local else engine.share(pairs), videos, len(pairs), data, config)


def updates(data: PairData, config: TrainConfig, world: int = 1) -> int:
    """Number of updates of the whole run: on average every video is in a batch `passes_per_epoch` times an epoch.

    With local negatives an update takes a batch for each of `world` ranks.
    """
    k = min(config.clusters.videos_per_batch, len(data.tracks)) * (world if config.negatives == "local" else 1)
    return config.epochs * max(1, config.passes_per_epoch * len(data.tracks) // k)


def make_optimizer(model: VideoCLIP, config: TrainConfig, steps: int):
    """Adam (0.9, 0.98, eps 1e-8), weight decay decoupled, and its rate: warm-up from 0, then, if asked, linear decay.

    Decay ends after `steps` updates, or `config.decay_updates`. Source: reference code, whose update n has the rate of
    n - 1, so that the first changes nothing; `first_update="warm"` starts one later. `adam="fairseq"` adds epsilon
    before the bias correction, as that code does; gradients near epsilon then move less in the first updates.
    """
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=config.lr, betas=(0.9, 0.98), weight_decay=config.weight_decay, fused=True
    )
    if config.adam == "fairseq":
        optimizer.register_step_pre_hook(_fairseq_epsilon)
    steps = config.decay_updates or steps

    def factor(n: int) -> float:
        n += config.first_update == "warm"
        if n < config.warmup:
            return n / config.warmup
        left = max(0.0, (steps - n) / max(1, steps - config.warmup))
        return left if config.schedule == "linear" else 1.0

    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, factor)


def _fairseq_epsilon(optimizer: torch.optim.Optimizer, *_: object) -> None:
    """(sqrt(v) + eps) / c = sqrt(v) / c + eps / c, with c = sqrt(1 - b2^n): the last term is ours to set."""
    for group in optimizer.param_groups:
        done = (optimizer.state[p]["step"].item() for p in group["params"] if p in optimizer.state)
        group["eps"] = 1e-8 / math.sqrt(1 - group["betas"][1] ** (1 + next(done, 0)))


def epoch_batches(
    model: VideoCLIP, tokenizer: Tokenizer, data: PairData, config: TrainConfig, epoch: int, updates: int,
    engine: Engine | None = None,
) -> tuple[list[np.ndarray], bool]:  # fmt: skip
    """Video indexes of each batch of an epoch of `updates`, and whether they were retrieved; alike on every rank."""
    engine = engine or Engine()
    batches = updates * (engine.world if config.negatives == "local" else 1)
    rng = np.random.default_rng([config.seed, 11, epoch])
    if not config.clusters.retrieve or epoch < config.clusters.start_epoch:
        return random_batches(len(data.tracks), config.clusters, batches, rng), False
    vectors = video_vectors(model, tokenizer, data, config, epoch, engine)
    return cluster_batches(vectors, config.clusters, batches, rng), True


@torch.no_grad()
def video_vectors(
    model: VideoCLIP, tokenizer: Tokenizer, data: PairData, config: TrainConfig, epoch: int,
    engine: Engine | None = None,
) -> np.ndarray:  # fmt: skip
    """(V, D) float32: mean over a video's clips of (pooled video + pooled text) / 2, in evaluation mode.

    Clips are drawn as in training, or by `pool_rule` varied with the text's own seconds (reference code); with
    `vector_first_s` they come from the video's first seconds only.
    """
    was_training = model.training
    model.eval()
    engine = engine or Engine()
    clips, first_s, pool = config.clusters.clips_for_vector, config.clusters.vector_first_s, data
    out = np.zeros((len(data.tracks), model.config.hidden), np.float32)
    if first_s:
        pool = PairData([first_seconds(track, first_s) for track in data.tracks], data.features)
    chunks = np.array_split(np.arange(len(data.tracks)), math.ceil(len(data.tracks) * clips / 512))
    for chunk in chunks[engine.rank :: engine.world]:  # each draws from its own generator, so any rank may do it
        rng = np.random.default_rng([config.seed, 12, epoch, int(chunk[0])])
        plain = config.model_copy(update={"word_dropout": 0.0})
        if config.clusters.pool_rule == "varied":
            pairs = [varied_pair(pool.tracks[v], config.pairs, rng) for v in chunk for _ in range(clips)]
        else:
            pairs = draw_pairs(pool, chunk, plain, rng, clips)
        video, text = model(*collate(pairs, data, chunk, model, tokenizer, plain))
        out[chunk] = ((video.pooled + text.pooled) / 2).view(len(chunk), clips, -1).mean(1).float().cpu()  # (chunk, D)
    model.train(was_training)
    return engine.sum(out)


def draw_pairs(
    data: PairData, videos: np.ndarray, config: TrainConfig, rng: np.random.Generator, clips: int | None = None
) -> list[Pair]:
    """`clips` pairs of each of `videos`, in order; rule `each`: all its captions, or `clips` of them, cyclic."""
    if config.pairs.rule == "each":
        tracks = [data.tracks[v] for v in videos]
        return [caption_pair(t, i % len(t.tokens), config.pairs) for t in tracks for i in range(clips or len(t.tokens))]
    clips = clips or config.clusters.clips_per_video
    return [sample_pair(data.tracks[v], config.pairs, rng) for v in videos for _ in range(clips)]


def collate(
    pairs: list[Pair], data: PairData, videos: np.ndarray, model: VideoCLIP, tokenizer: Tokenizer, config: TrainConfig
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """features (B, T, W), mask (B, T), ids (B, L), mask (B, L), padded to the batch's longest."""
    of = {data.tracks[v].video_id: data.features[v] for v in videos}
    features, mask = pad_clips(
        [of[p.video_id][p.video_start : p.video_end] for p in pairs], model.config.max_video_tokens
    )
    tokens = [p.tokens for p in pairs]
    if config.word_dropout:
        tokens = [[tokenizer.unk if torch.rand(()) < config.word_dropout else t for t in row] for row in tokens]
    batch = features, mask, *tokenizer.batch(tokens, model.config.max_text_tokens)
    device = next(model.parameters()).device
    return tuple(tensor.to(device) for tensor in batch)


def pad_clips(clips: list[np.ndarray], max_tokens: int) -> tuple[Tensor, Tensor]:
    """Clips (T_i, W) -> features (B, T, W) float32 and mask (B, T); only the first `max_tokens` seconds are kept."""
    length = max(1, min(max_tokens, max(len(c) for c in clips)))
    features = np.zeros((len(clips), length, clips[0].shape[1]), np.float32)
    mask = np.zeros((len(clips), length), bool)
    for row, clip in enumerate(clips):
        n = min(len(clip), length)
        features[row, :n], mask[row, :n] = clip[:n], True
    return torch.from_numpy(features), torch.from_numpy(mask)


def apply_update(
    model: VideoCLIP, optimizer, schedule, batch: tuple, config: TrainConfig, engine: Engine | None = None,
    total: int | None = None,
) -> dict[str, float]:  # fmt: skip
    """One update of `model` on a collated batch, this rank's share of `total` pairs; returns what `StepRecord` says.

    Local negatives: each rank's loss of its own batch, gradients averaged (reference code). Global: one loss of all
    pairs. With `config.micro_batch` pairs are encoded in parts, twice, and the gradient is still that of the whole.
    """
    engine = engine or Engine(config.precision)
    optimizer.zero_grad(set_to_none=True)
    total = None if config.negatives == "local" else total
    backward = _backward_in_parts if 0 < config.micro_batch < len(batch[0]) else _backward
    loss, accuracy, rows = backward(model, batch, config, engine, total or len(batch[0]), total is not None)
    if not torch.isfinite(loss):
        raise VcworkError(f"the loss became {loss.item()}; lower lr ({config.lr}) or look for bad features")
    engine.average_gradients(model.parameters())
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm)
    lr = schedule.get_last_lr()[0]  # the rate of this update, not of the next
    optimizer.step()
    schedule.step()
    return {
        "loss": loss.item(),
        "log_batch": math.log(rows),
        "in_batch_accuracy": accuracy.item(),
        "lr": lr,
        "grad_norm": norm.item(),
    }


def _contrast(
    model: VideoCLIP, video: Tensor, text: Tensor, config: TrainConfig, engine: Engine, total: int, gathered: bool
) -> tuple[Tensor, Tensor, int]:
    """Loss, in-batch accuracy and number of rows of pooled (B, D), gathered over ranks where asked; in float32."""
    if gathered:
        video, text = engine.gather(video.float(), total), engine.gather(text.float(), total)  # (total, D)
    video, text = video.float(), text.float()
    loss = LOSSES[config.loss](video, text, model.temperature(config.temperature))
    with torch.no_grad():
        best = (text @ video.T).argmax(1)  # (B,)
        accuracy = (best == torch.arange(len(best), device=best.device)).float().mean()
    return loss, accuracy, len(video)


def _backward(model, batch, config, engine, total, gathered):
    with engine.autocast():
        video, text = model(*batch)
    loss, accuracy, rows = _contrast(model, video.pooled, text.pooled, config, engine, total, gathered)
    loss.backward()
    return loss.detach(), accuracy, rows


def _backward_in_parts(model, batch, config, engine, total, gathered):
    """Encode without graph, take the loss's gradient at the embeddings, encode again part by part with it.

    The second pass repeats the first one's dropout. Source: Gao et al., 2021 (GradCache).
    """
    parts = list(zip(*(tensor.split(config.micro_batch) for tensor in batch), strict=True))
    randoms, encoded = [], []
    with torch.no_grad():
        for part in parts:
            randoms.append(engine.local_random())
            with engine.autocast():
                video, text = model(*part)
            encoded.append((video.pooled.float(), text.pooled.float()))
    leaves = [torch.cat(side).requires_grad_() for side in zip(*encoded, strict=True)]  # (B, D) each
    loss, accuracy, rows = _contrast(model, *leaves, config, engine, total, gathered)
    loss.backward()
    grads = [leaf.grad.split(config.micro_batch) for leaf in leaves]
    for part, random, video_grad, text_grad in zip(parts, randoms, *grads, strict=True):
        engine.set_local_random(random)
        with engine.autocast():
            video, text = model(*part)
        torch.autograd.backward([video.pooled, text.pooled], [video_grad.to(video.pooled), text_grad.to(text.pooled)])
    return loss.detach(), accuracy, rows


def derange(data: PairData, seed: int) -> PairData:
    """Captions of another video, stretched to this one's length."""
    n = len(data.tracks)
    order = np.random.default_rng([seed, 13]).permutation(n)
    other = np.empty(n, int)
    other[order] = np.roll(order, 1)  # one cycle: nobody keeps their own
    tracks = []
    for i, track in enumerate(data.tracks):
        donor = data.tracks[other[i]]
        stretch = track.seconds / donor.seconds
        tracks.append(
            Track(track.video_id, donor.start_s * stretch, donor.end_s * stretch, donor.tokens, track.seconds)
        )
    return PairData(tracks, data.features)


def _mix(*numbers: int) -> int:
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


class _Log:
    """JSON lines, one an update; lines of updates that will be done again are cut on resuming."""

    def __init__(self, folder: str | Path | None):
        self.path = Path(folder) / "log.jsonl" if folder else None

    def cut(self, step: int) -> None:
        if self.path:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            lines = self.path.read_text().splitlines() if self.path.exists() else []
            kept = [line for line in lines if line.endswith("}") and json.loads(line)["step"] < step]
            with atomic_write(self.path) as file:
                file.write("".join(line + "\n" for line in kept))

    def write(self, record: dict) -> None:
        if self.path:
            with self.path.open("a") as file:
                file.write(json.dumps(record) + "\n")


def _save_state(
    folder: str | Path, model: VideoCLIP, optimizer, schedule, config: TrainConfig, engine: Engine, place: dict
) -> None:
    """`place`: epoch to go on with, and inside it how many updates are done, of which batches."""
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "schedule": schedule.state_dict(),
             "config": config.model_dump_json(), "random": engine.random_states(), **place}  # fmt: skip
    if engine.main:
        with atomic_write(Path(folder) / "state.pt", "wb") as file:
            torch.save(state, file)


def _restore(
    folder: str | Path, model: VideoCLIP, optimizer, schedule, config: TrainConfig, device: torch.device
) -> dict:
    """What `_save_state` wrote, already put into model and optimizer; a state of another configuration is refused."""
    path = Path(folder) / "state.pt"
    if not path.exists():
        return {"epoch": 0}
    state = torch.load(path, weights_only=True, map_location=device)
    if TrainConfig.model_validate_json(state["config"]) != config:  # a setting newer than the state has its default
        raise VcworkError(f"{path}: was trained with another configuration; choose another folder")
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    schedule.load_state_dict(state["schedule"])
    return state
