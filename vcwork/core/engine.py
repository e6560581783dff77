"""One process or many: where tensors live, how ranks talk, in which precision.

Launched by torchrun, every rank runs the same code and finds its device, its share of a batch and the others'
embeddings here; alone, nothing of this does anything. Gradients are averaged by hand after backward, as the reference
code does, so that one rule serves any number of backward passes per update.
Gap: every rank holds the whole model and optimizer (177 million numbers fit one GPU); no sharding.
"""

import atexit
import os
import warnings
from collections.abc import Iterable
from functools import cache

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn


class Engine:
    """`device`, `rank`, `world` of this process; `main` is the one that writes files."""

    def __init__(self, precision: str = "float32") -> None:
        self.device = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
        self.rank, self.world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
        self.main, self.precision = self.rank == 0, settled(precision, self.device.type)
        if self.world > 1 and self.device.type == "cuda":  # a GPU for each
            self.device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
            torch.cuda.set_device(self.device)
        if self.world > 1 and not dist.is_initialized():
            dist.init_process_group("nccl" if self.device.type == "cuda" else "gloo")
            atexit.register(dist.destroy_process_group)  # left to the end, gloo's threads abort one rank in three

    def autocast(self) -> torch.autocast:
        """Forward passes in bfloat16 where asked for; the loss stays in float32."""
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.precision == "bf16")

    def wait(self) -> None:
        """Until every rank is here."""
        if self.world > 1:
            dist.barrier()

    def share(self, items: list) -> list:
        """This rank's part of a list: consecutive, sizes differing by one at most."""
        return items[_shares(len(items), self.world)[self.rank]]

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


class _Gather(torch.autograd.Function):
    """All ranks' rows, in order. Each rank computes the same loss of them; its gradients are summed on the way back,
    and the mean over ranks that follows makes them the gradient of one process with the whole batch."""

    @staticmethod
    def forward(ctx, mine: Tensor, total: int, rank: int, world: int) -> Tensor:
        shares = _shares(total, world)
        ctx.rows = shares[rank]
        sizes = [rows.stop - rows.start for rows in shares]
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


@cache
def settled(precision: str, device: str) -> str:
    """float32 or bf16: what `auto` means on this kind of device. bf16 where it is slow is warned of, once."""
    if precision == "bf16" and not has_bf16(device):
        took = f"{_seconds(torch.bfloat16, device) / _seconds(torch.float32, device):.1f} times as long as in float32"
        warnings.warn(f"precision bf16: no units here, a matrix product took {took}; auto avoids that", stacklevel=3)
    return precision if precision != "auto" else "bf16" if has_bf16(device) else "float32"


def has_bf16(device: str) -> bool:
    """Are there units for bfloat16 that torch may use? CUDA from 8.0 on; AVX512-BF16 or AMX of a CPU, unless
    ATEN_CPU_CAPABILITY keeps torch below AVX-512."""
    if device == "cuda":
        return torch.cuda.get_device_capability() >= (8, 0)
    found, used = torch.cpu.get_capabilities(), torch.backends.cpu.get_cpu_capability()
    return device == "cpu" and "AVX512" in used and bool(found.get("avx512_bf16") or found.get("amx_bf16"))


def _seconds(dtype: torch.dtype, device: str) -> float:  # of a matrix product
    from torch.utils.benchmark import Timer  # it waits for the device

    a, b = (torch.ones(size, dtype=dtype, device=device) for size in ((256, 768), (768, 768)))
    return Timer("a @ b", globals={"a": a, "b": b}, num_threads=torch.get_num_threads()).timeit(3).mean


def _shares(total: int, parts: int) -> list[slice]:
    """`parts` consecutive shares of `total`, sizes differing by one at most."""
    return [slice(total * i // parts, total * (i + 1) // parts) for i in range(parts)]
