"""One update of the weights: encode a batch, contrast it, take the gradient, and say what happened.

The batch may be encoded whole or in parts, alone or as one rank's share; the gradient is the same. Adam, its rate and
the clipping follow the reference code, gradients are averaged over ranks by hand as there. The diagnostics are those
that users of contrastive training ask for when a loss stands still.
"""

import math
from inspect import unwrap
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize
from torch.utils.checkpoint import checkpoint

from vcwork.base.errors import VcworkError
from vcwork.core.config import TrainConfig
from vcwork.core.engine import Engine
from vcwork.core.loss import Contrast, Groups, objective_of


class Learner:
    """A model and what trains it, chosen once for a run of `steps` updates: optimizer, rate, objective."""

    def __init__(self, model: nn.Module, config: TrainConfig, steps: int, engine: Engine | None = None) -> None:
        self.model: Any = model  # a VideoCLIP in `update`; any module where the loss is made elsewhere
        self.config, self.engine = config, engine or Engine(config.precision)
        self.optimizer, self.schedule = make_optimizer(model, config, steps)
        self.objective = objective_of(config, getattr(model, "bias", 0.0))

    def update(self, batch: tuple, groups: Groups | None = None, total: int | None = None) -> dict[str, float]:
        """One update on a collated batch, this rank's share of `total` pairs; returns what `StepRecord` says.

        groups: whom clips and texts belong to (`Batch.groups`), for the objectives that ask. Local negatives, and a
        loss of candidates: each rank's loss of its own batch, gradients averaged (reference code). Global: one loss of
        all pairs. With `config.micro_batch` pairs are encoded in parts, twice; the gradient is that of the whole.
        """
        config, total = self.config, None if self.config.negatives == "local" else total
        if self.engine.world > 1 and total and config.candidates:
            raise VcworkError(f"loss {config.loss} contrasts each rank's own batch: set negatives to local")
        self.model.zero_grad(set_to_none=True)  # before the forward pass, which needs the memory
        video, text = self._encode(batch)
        found = self._contrast(video, text, groups, None if config.candidates else total)
        told = diagnose(found.video, found.text) | {"log_batch": found.flat}
        told["temperature"] = torch.as_tensor(self.model.temperature(config.temperature)).detach().clone()  # of now
        return self.learn(found.loss, told)

    def learn(self, loss: Tensor, told: dict[str, Tensor] | None = None) -> dict[str, float]:
        """One update from this rank's mean loss of whatever: its value, the rate, the gradient's norm, and `told`."""
        self.model.zero_grad(set_to_none=True)
        loss.backward()
        self.engine.average_gradients(self.model.parameters())
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip_norm)
        told = (told or {}) | {"loss": loss.detach(), "grad_norm": norm}
        numbers = dict(zip(told, torch.stack([x.to(loss) for x in told.values()]).tolist(), strict=True))
        if not math.isfinite(numbers["loss"] + numbers["grad_norm"]):
            came = f"the loss became {numbers['loss']}, its gradient {numbers['grad_norm']}"
            raise VcworkError(f"{came}; lower lr ({self.config.lr}) or look for bad features")
        numbers["lr"] = self.schedule.get_last_lr()[0]  # the rate of this update, not of the next
        self.optimizer.step()
        self.schedule.step()
        return numbers

    def _encode(self, batch: tuple) -> list[Tensor]:
        """Pooled (N, D) and (B, D). In parts, each is encoded without its graph, and again on the way back."""
        if not 0 < self.config.micro_batch < len(batch[0]):
            return self._pooled(*batch)
        parts = zip(*(tensor.split(self.config.micro_batch) for tensor in batch), strict=True)
        # the second time with the first one's dropout; source: Gao et al., 2021 (GradCache)
        encoded = [checkpoint(self._pooled, *part, use_reentrant=False) for part in parts]
        return [torch.cat(side) for side in zip(*encoded, strict=True)]

    def _pooled(self, *batch: Tensor) -> list[Tensor]:
        with self.engine.autocast():
            return [side.pooled for side in self.model(*batch)]

    def _contrast(self, video: Tensor, text: Tensor, groups: Groups | None, total: int | None) -> Contrast:
        """Pooled (N, D) and (B, D), or with `total` those of all ranks."""
        video, text = video.float(), text.float()
        if total:
            video, text = self.engine.gather(video, total), self.engine.gather(text, total)  # (total, D)
            if groups:
                groups = (self.engine.gather(groups[0].float(), total),) * 2  # (total,); pairs: one of each
        return self.objective(video, text, groups, self.model.temperature(self.config.temperature))


class AdamW(torch.optim.AdamW):
    """torch's, without the compiler that its decorators load in order to be left alone by it: 2.6 s and 80 MB."""

    add_param_group = unwrap(torch.optim.AdamW.add_param_group)
    state_dict = unwrap(torch.optim.AdamW.state_dict)
    load_state_dict = unwrap(torch.optim.AdamW.load_state_dict)
    step = torch.no_grad()(unwrap(torch.optim.AdamW.step))


def make_optimizer(model: nn.Module, config: TrainConfig, steps: int):
    """Adam (0.9, 0.98, eps 1e-8), weight decay decoupled, and its rate: warm-up from 0, then, if asked, linear decay.

    Decay ends after `steps` updates, or `config.decay_updates`. Source: reference code, whose update n has the rate of
    n - 1, so that the first changes nothing; `first_update="warm"` starts one later. `adam="fairseq"` adds epsilon
    before the bias correction, as that code does: gradients near epsilon move less at first.
    """
    optimizer = AdamW(model.parameters(), lr=config.lr, betas=(0.9, 0.98), weight_decay=config.weight_decay, fused=True)
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


@torch.no_grad()
def diagnose(video: Tensor, text: Tensor) -> dict[str, Tensor]:
    """What pooled (B, D) partners look like, before the update.

    Alignment and uniformity: Wang and Isola, ICML 2020, on vectors scaled to length 1; uniformity is the mean of both
    sides. Accuracy is text to video, on the raw dot products.
    """
    v, t = normalize(video), normalize(text)  # (B, D)
    own = (text @ video.T).argmax(1) == torch.arange(len(text), device=text.device)  # (B,)
    return {
        "in_batch_accuracy": own.float().mean(),
        "video_norm": video.norm(dim=1).mean(),
        "text_norm": text.norm(dim=1).mean(),
        "alignment": (v - t).square().sum(1).mean(),
        "uniformity": (_uniformity(v) + _uniformity(t)) / 2,
    }


def _uniformity(x: Tensor) -> Tensor:
    """log of the mean over different pairs of exp(-2 d^2); x (B, D) of length 1. 0 for a batch of one."""
    other = ~torch.eye(len(x), dtype=torch.bool, device=x.device)
    distance = (2 - 2 * x @ x.T).clamp(min=0)[other]  # (B * (B - 1),), squared
    return distance.mul(-2).exp().mean().log() if len(x) > 1 else x.new_zeros(())
