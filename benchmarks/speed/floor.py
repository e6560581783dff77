"""The machine: its name, what its processor can do, and how fast it multiplies and copies when nothing else is asked.

A stage is held against these rates: what it must compute or move, over its time, over the rate.
"""

import contextlib
import datetime
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from vcwork.base.files import project_root
from vcwork.core.engine import has_bf16
from vcwork.workbench.machine import git_state, hardware

FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
ROWS, INNER, COLUMNS = 1024, 768, 3072  # the largest product of a BERT-base layer, for 1,024 tokens


def machine() -> dict[str, Any]:
    """Processor, flags, cores, threads, memory, GPUs, version of torch, and a `name` that a file can have."""
    found, flags = hardware(), processor_flags()
    told = [flag for flag in FLAGS if flag in flags]
    best = told[-1].replace("_", "-") if told else "plain"
    name = re.sub(r"(\((r|tm)\)|[^a-z0-9])+", "-", f"{found['processor']} {found['cores']} cores {best}".lower())
    kept = {key: found[key] for key in ("platform", "processor", "cores", "memory_mb", "gpu")}
    return {
        "name": name.strip("-"),
        **kept,
        "flags": told,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


def processor_flags() -> set[str]:
    """What Linux says the processor can do; empty elsewhere."""
    try:
        match = re.search(r"^flags\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        match = None
    return set(match[1].split()) if match else set()


def run_record() -> dict[str, Any]:
    """When, of which code, and beside how much other work this run was made."""
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    load = [round(n, 2) for n in os.getloadavg()] if hasattr(os, "getloadavg") else None
    return {"date": now, "load_before": load, **git_state(project_root())}


def measure(seconds: float = 1.0) -> dict[str, float]:
    """Rates of this machine: FLOP/s of float32 (all cores, one) and, where it has the units, bfloat16; bytes/s copied.

    Copied bytes are counted once, although each is read and written.
    """
    rates = {"fp32": gemm(torch.float32, seconds)}
    if has_bf16("cpu"):
        rates["bf16"] = gemm(torch.bfloat16, seconds)
    rates["copy"] = copying(seconds)
    with one_core():
        return rates | {"fp32, one core": gemm(torch.float32, seconds), "copy, one core": copying(seconds)}


@contextlib.contextmanager
def one_core() -> Iterator[None]:
    """What runs inside, and the threads it starts, share one core where the system lets a process choose (Linux)."""
    threads, chooses = torch.get_num_threads(), hasattr(os, "sched_setaffinity")
    cores = os.sched_getaffinity(0) if chooses else set()
    torch.set_num_threads(1)
    if chooses:
        os.sched_setaffinity(0, {min(cores)})
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        if chooses:
            os.sched_setaffinity(0, cores)


def gemm(kind: torch.dtype, seconds: float, device: str = "cpu", times: int = 1) -> float:
    """FLOP/s of (1024 * times, 768) @ (768, 3072), the best of some runs."""
    a = torch.randn(ROWS * times, INNER, dtype=kind, device=device)
    b = torch.randn(INNER, COLUMNS, dtype=kind, device=device)
    return 2.0 * a.shape[0] * INNER * COLUMNS / _best(lambda: a @ b, seconds)


def copying(seconds: float, megabytes: int = 256) -> float:
    """Bytes/s of copying an array far larger than the caches."""
    a = torch.zeros(megabytes << 18)
    b = torch.empty_like(a)
    return a.numel() * 4 / _best(lambda: b.copy_(a), seconds)


def _best(run, seconds: float) -> float:
    """The shortest run's seconds: a floor is what the machine can do, not what it does on average."""
    run()
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        run()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - start)
    return best
