"""What a run ran on: code version, packages, hardware, and the peak memory of the runner and all it started.

Nothing heavy is imported here; torch is asked in a short-lived process, which starts as a kernel does.
"""

import contextlib
import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import threading
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import psutil

from vcwork.data.engines import cores
from vcwork.workbench.kernels import CONTEXT


def git_state(root: Path) -> dict[str, Any]:
    """Commit and whether tracked or new files differ from it; both None outside git or without git."""
    commit = _output(["git", "-C", str(root), "rev-parse", "HEAD"])
    status = _output(["git", "-C", str(root), "status", "--porcelain"]) if commit else None
    return {"commit": commit.strip() if commit else None, "dirty": bool(status.strip()) if status is not None else None}


def package_versions() -> dict[str, str]:
    """Installed versions of the packages `vcwork` asks for by name; empty when it is not installed."""
    try:
        wanted = importlib.metadata.requires("vcwork") or []
        names = [re.match(r"[\w.-]+", line)[0] for line in wanted if "extra ==" not in line]
        return {name: importlib.metadata.version(name) for name in sorted(names)}
    except importlib.metadata.PackageNotFoundError:
        return {}


def hardware() -> dict[str, Any]:
    """Platform, processor, usable cores, memory, and what torch sees: its threads and the names of its GPUs."""
    return {
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": cores(),
        "memory_mb": psutil.virtual_memory().total // 2**20,
        "omp_num_threads": os.environ.get("OMP_NUM_THREADS"),
        **torch_facts(),
    }


def at_once() -> int:
    """How many notebooks suit this machine: two where they have a core each, and no GPU's memory to fight about."""
    return 1 if shutil.which("nvidia-smi") else min(2, cores())


def torch_facts() -> dict[str, Any]:
    """Thread count and GPU names as a fresh process sees them; None and [] when torch is absent or does not load."""
    ours, theirs = CONTEXT.Pipe(duplex=False)
    asked = CONTEXT.Process(target=_torch_facts, args=(theirs,), daemon=True)
    asked.start()
    theirs.close()
    with contextlib.suppress(EOFError, OSError):  # it died
        if ours.poll(120):
            return ours.recv()
    asked.kill()
    return {"torch_threads": None, "gpu": []}


def _torch_facts(answer: Connection) -> None:
    with contextlib.suppress(Exception):  # absent, or it does not load
        import torch

        gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        answer.send({"torch_threads": torch.get_num_threads(), "gpu": gpus})


class PeakMemory:
    """Highest memory of this process and all its descendants while the block runs (`peak_mb`), measured as `how` says.

    Every `interval_s`, the sum over the process tree: on Linux of proportional set sizes (shared pages are shared out,
    not counted per process), elsewhere of what is each process's alone, which leaves shared pages out. Each look costs
    milliseconds, in which the processes looked at wait for memory: one block for all that runs, `since` for a part.
    """

    def __init__(self, interval_s: float = 0.5) -> None:
        self.interval_s, self.seen = interval_s, [(0.0, 0.0)]  # when, by time.monotonic, and MB
        kind = "proportional" if psutil.LINUX else "unique"
        self.how = f"sum of {kind} set sizes over the process tree, every {interval_s:g} s"

    def __enter__(self) -> "PeakMemory":
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def since(self, began: float) -> float:
        """Highest since then."""
        return max(mb for at, mb in self.seen if at >= min(began, self.seen[-1][0]))

    @property
    def peak_mb(self) -> float:
        return self.since(0)

    def _watch(self) -> None:
        me = psutil.Process()
        while True:
            self.seen.append((time.monotonic(), sum(map(_own_mb, [me, *me.children(recursive=True)]))))
            if self._stop.wait(self.interval_s):
                return


def _own_mb(process: psutil.Process) -> float:
    """A process's share of memory; 0 for one that has ended meanwhile or belongs to somebody else."""
    try:
        told = process.memory_full_info()
    except psutil.Error:
        return 0.0
    return (told.pss if psutil.LINUX else told.uss) / 2**20


def _processor() -> str:
    """The processor's name; psutil has none, and on Linux `platform` knows the architecture alone."""
    try:
        match = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        match = None
    return match[1].strip() if match else platform.processor() or platform.machine()


def _output(command: list[str], timeout_s: float = 20) -> str | None:
    """A command's output, or None when it cannot be run, fails or takes too long."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout
