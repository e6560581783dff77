"""One process or many: where tensors live, how ranks talk, in which precision. accelerate lives here.

Launched by torchrun, every rank runs the same code and finds its device, its share of a batch and the others'
embeddings here; alone, nothing of this does anything. Gradients are averaged by hand after backward, as the reference
code does, so that one rule serves any number of backward passes per update.
Gap: every rank holds the whole model and optimizer (177 million numbers fit one GPU); no sharding.
"""

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from itertools import pairwise

import numpy as np
import torch
import torch.distributed as dist
from accelerate import PartialState
from torch import Tensor, nn


class Engine:
    """`device`, `rank`, `world` of this process; `main` is the one that writes files."""

    def __init__(self, precision: str = "float32") -> None:
        state = PartialState(cpu=not torch.accelerator.is_available())  # else several processes on CPUs stay alone
        self.device, self.rank, self.world = state.device, state.process_index, state.num_processes
        self.main, self._wait = self.rank == 0, state.wait_for_everyone
        self.precision = precision

    def autocast(self) -> AbstractContextManager:
        """Forward passes in bfloat16 where asked for; the loss stays in float32."""
        if self.precision == "bf16":
            return torch.autocast(self.device.type, dtype=torch.bfloat16)
        return nullcontext()

    def wait(self) -> None:
        """Until every rank is here."""
        self._wait()

    def share(self, items: list) -> list:
        """This rank's part of a list: consecutive, sizes differing by one at most."""
        edges = _edges(len(items), self.world)
        return items[edges[self.rank] : edges[self.rank + 1]]

    def gather(self, mine: Tensor, total: int) -> Tensor:
        """Rows of all ranks, (total, D), from this rank's share; gradients reach every rank's rows."""
        return mine if self.world == 1 else _Gather.apply(mine, total, self.rank, self.world)

    def sum(self, array: np.ndarray) -> np.ndarray:
        """Elementwise sum over ranks."""
        if self.world == 1:
            return array
        tensor = torch.from_numpy(array).to(self.device)
        dist.all_reduce(tensor)
        return tensor.cpu().numpy()

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Every gradient becomes its mean over ranks; one message for all of them."""
        grads = [p.grad for p in parameters if p.grad is not None]
        if self.world == 1 or not grads:
            return
        flat = torch.cat([grad.reshape(-1) for grad in grads])
        dist.all_reduce(flat)
        flat /= self.world
        for grad, part in zip(grads, flat.split([grad.numel() for grad in grads]), strict=True):
            grad.copy_(part.view_as(grad))

    def local_random(self) -> Tensor:
        """State of torch's generator, and of this rank's GPU behind it."""
        mine = torch.get_rng_state()
        return torch.cat([mine, torch.cuda.get_rng_state(self.device)]) if self.device.type == "cuda" else mine

    def random_states(self) -> list[Tensor]:
        """`local_random` of every rank, for a state to resume from."""
        if self.world == 1:
            return [self.local_random()]
        states: list = [None] * self.world
        dist.all_gather_object(states, self.local_random())
        return states

    def restore_random(self, states: list[Tensor]) -> None:
        """Put back what `random_states` gave; another number of ranks starts from rank 0's."""
        self.set_local_random(states[self.rank] if len(states) == self.world else states[0])

    def set_local_random(self, mine: Tensor) -> None:
        """Put back what `local_random` gave."""
        size = len(torch.get_rng_state())
        torch.set_rng_state(mine[:size].cpu())
        if self.device.type == "cuda" and len(mine) > size:
            torch.cuda.set_rng_state(mine[size:].cpu(), self.device)


class _Gather(torch.autograd.Function):
    """All ranks' rows, in order. Each rank computes the same loss of them; its gradients are summed on the way back,
    and the mean over ranks that follows makes them the gradient of one process with the whole batch."""

    @staticmethod
    def forward(ctx, mine: Tensor, total: int, rank: int, world: int) -> Tensor:
        edges = _edges(total, world)
        ctx.rows = slice(edges[rank], edges[rank + 1])
        sizes = [b - a for a, b in pairwise(edges)]
        padded = mine.new_zeros(max(sizes), *mine.shape[1:])
        padded[: len(mine)] = mine
        parts = [torch.empty_like(padded) for _ in range(world)]
        dist.all_gather(parts, padded)
        return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])  # (total, D)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple:
        grad = grad.contiguous()
        dist.all_reduce(grad)
        return grad[ctx.rows], None, None, None


def _edges(total: int, parts: int) -> list[int]:
    """Borders of `parts` consecutive shares of `total`."""
    return [total * i // parts for i in range(parts + 1)]
