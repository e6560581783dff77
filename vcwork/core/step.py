"""One update of the weights: encode a batch, contrast it, take the gradient, and say what happened.

The batch may be encoded whole or in parts, alone or as one rank's share; the gradient is the same. The diagnostics are
those that users of contrastive training ask for when a loss stands still.
"""

from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import normalize

from vcwork.base.errors import VcworkError
from vcwork.core.config import TrainConfig
from vcwork.core.engine import Engine
from vcwork.core.loss import LOSSES, best_fit, chosen, mil_nce, nearest_negatives, other_videos
from vcwork.core.model import VideoCLIP


def apply_update(
    model: VideoCLIP, optimizer, schedule, batch: tuple, config: TrainConfig, engine: Engine | None = None,
    total: int | None = None, groups: tuple[Tensor, Tensor] | None = None,
) -> dict[str, float]:  # fmt: skip
    """One update of `model` on a collated batch, this rank's share of `total` pairs; returns what `StepRecord` says.

    groups: whom clips (N,) and texts (B,) belong to (`Batch.groups`), for the objectives that ask. A loss of candidates
    contrasts each rank's own batch.

    Local negatives: each rank's loss of its own batch, gradients averaged (reference code). Global: one loss of all
    pairs. With `config.micro_batch` pairs are encoded in parts, twice, and the gradient is still that of the whole.
    """
    engine = engine or Engine(config.precision)
    optimizer.zero_grad(set_to_none=True)
    total = None if config.negatives == "local" else total
    if engine.world > 1 and total and config.candidates:
        raise VcworkError(f"loss {config.loss} contrasts each rank's own batch: set negatives to local")
    backward = _backward_in_parts if 0 < config.micro_batch < len(batch[0]) else _backward
    contrast = partial(
        _contrast, model=model, config=config, engine=engine, total=total or len(batch[0]),
        gathered=total is not None and not config.candidates, groups=groups,
    )  # fmt: skip
    loss, flat, video, text = backward(model, batch, config, engine, contrast)
    if not torch.isfinite(loss):
        raise VcworkError(f"the loss became {loss.item()}; lower lr ({config.lr}) or look for bad features")
    engine.average_gradients(model.parameters())
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm)
    temperature = float(torch.as_tensor(model.temperature(config.temperature)).detach())  # the one this update used
    lr = schedule.get_last_lr()[0]  # the rate of this update, not of the next
    optimizer.step()
    schedule.step()
    return diagnose(video, text) | {
        "loss": loss.item(), "log_batch": flat.item(), "lr": lr, "grad_norm": norm.item(), "temperature": temperature
    }  # fmt: skip


@torch.no_grad()
def diagnose(video: Tensor, text: Tensor) -> dict[str, float]:
    """What pooled (B, D) partners look like, before the update.

    Alignment and uniformity: Wang and Isola, ICML 2020, on vectors scaled to length 1; uniformity is the mean of both
    sides. Accuracy is text to video, on the raw dot products.
    """
    v, t = normalize(video), normalize(text)  # (B, D)
    best = (text @ video.T).argmax(1)  # (B,)
    return {
        "in_batch_accuracy": (best == torch.arange(len(best), device=best.device)).float().mean().item(),
        "video_norm": video.norm(dim=1).mean().item(),
        "text_norm": text.norm(dim=1).mean().item(),
        "alignment": (v - t).square().sum(1).mean().item(),
        "uniformity": (_uniformity(v) + _uniformity(t)) / 2,
    }


def _uniformity(x: Tensor) -> float:
    """log of the mean over different pairs of exp(-2 d^2); x (B, D) of length 1. 0 for a batch of one."""
    if len(x) < 2:
        return 0.0
    distance = (2 - 2 * x @ x.T).clamp(min=0)  # (B, B), squared
    other = ~torch.eye(len(x), dtype=torch.bool, device=x.device)
    return distance[other].mul(-2).exp().mean().log().item()


def _contrast(
    video: Tensor, text: Tensor, model: VideoCLIP, config: TrainConfig, engine: Engine, total: int, gathered: bool,
    groups: tuple[Tensor, Tensor] | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Loss of pooled (N, D) and (B, D), that of equal scores, and what was contrasted, pair by pair, gathered if asked.

    Of candidates the pairs are each text and the clip it scores highest.
    """
    temperature = model.temperature(config.temperature)
    if config.candidates:
        video, text = video.float(), text.float()
        own = groups[1][:, None] == groups[0]  # (B, N)
        objective = partial(_of_candidates, own=own, temperature=temperature, config=config)
        pairs = video[chosen(video, text, own)].detach()  # (B, D)
    else:
        if gathered:
            video, text = engine.gather(video.float(), total), engine.gather(text.float(), total)  # (total, D)
        video, text = video.float(), text.float()
        keep = _kept(video, config, engine, total, gathered, groups)
        objective = partial(LOSSES[config.loss], temperature=temperature, keep=keep)
        pairs = video.detach()
    with torch.no_grad():
        flat = objective(torch.zeros_like(video), torch.zeros_like(text))
    return objective(video, text), flat, pairs, text.detach()


def _of_candidates(
    video: Tensor, text: Tensor, own: Tensor, temperature: Tensor | float, config: TrainConfig
) -> Tensor:
    if config.loss == "best fit":
        return best_fit(video, text, own, temperature, config.own_negatives)
    if config.pairs.rule == "bag":  # texts for a clip
        return mil_nce(video, text, temperature, own=own.T)
    return mil_nce(text, video, temperature, own=own)  # clips for a text


def _kept(video: Tensor, config: TrainConfig, engine: Engine, total: int, gathered: bool, groups) -> Tensor | None:
    """Which negatives count (B, B), or None for all."""
    keep = None
    if config.mining == "nearest":
        keep = nearest_negatives(video.detach(), config.mining_threshold, config.negative_ratio)
    if config.same_video == "left out":
        of = groups[0].to(video.device)
        of = engine.gather(of[:, None].float(), total)[:, 0] if gathered else of  # (B,)
        keep = other_videos(of) if keep is None else keep & other_videos(of)
    return keep


def _backward(model, batch, config, engine, contrast):
    with engine.autocast():
        video, text = model(*batch)
    loss, flat, video, text = contrast(video.pooled, text.pooled)
    loss.backward()
    return loss.detach(), flat, video, text


def _backward_in_parts(model, batch, config, engine, contrast):
    """Encode without graph, take the loss's gradient at the embeddings, encode again part by part with it.

    The second pass repeats the first one's dropout. Source: Gao et al., 2021 (GradCache).
    """
    parts = list(zip(*(tensor.split(config.micro_batch) for tensor in batch), strict=True))
    randoms, encoded = [], []
    with torch.no_grad():
        for part in parts:
            randoms.append(engine.local_random())
            with engine.autocast():
                encoded.append([side.pooled.float() for side in model(*part)])
    leaves = [torch.cat(side).requires_grad_() for side in zip(*encoded, strict=True)]  # (B, D) each
    loss, flat, video, text = contrast(*leaves)
    loss.backward()
    grads = [leaf.grad.split(config.micro_batch) for leaf in leaves]
    for part, random, video_grad, text_grad in zip(parts, randoms, *grads, strict=True):
        engine.set_local_random(random)
        with engine.autocast():
            again = [side.pooled for side in model(*part)]
        torch.autograd.backward(again, [video_grad.to(again[0]), text_grad.to(again[1])])
    return loss.detach(), flat, video, text
