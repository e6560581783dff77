"""What a run ran on: code version, packages, hardware, and the peak memory of the runner and all it started.

Nothing heavy is imported here; torch is asked in a short-lived process of its own.
"""

import importlib.metadata
import importlib.util
import json
import os
import platform
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

TORCH_FACTS = """
import json, torch
gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
print(json.dumps({"torch_threads": torch.get_num_threads(), "gpu": gpus}))
"""


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
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": cores,
        "memory_mb": _memory_mb(),
        "omp_num_threads": os.environ.get("OMP_NUM_THREADS"),
        **torch_facts(),
    }


def torch_facts() -> dict[str, Any]:
    """Thread count and GPU names as a fresh process sees them; None and [] when torch is absent or does not load."""
    found = importlib.util.find_spec("torch") and _output([sys.executable, "-c", TORCH_FACTS], timeout_s=120)
    return json.loads(found) if found else {"torch_threads": None, "gpu": []}


class PeakMemory:
    """Highest memory of this process and all its descendants while the block runs: `peak_mb`, measured as `how` says.

    On Linux, twice a second, the sum of proportional set sizes (shared pages are shared out, not counted per process).
    Elsewhere the largest single finished child, which misses what ran side by side."""

    def __init__(self, interval_s: float = 0.5) -> None:
        self.interval_s, self.peak_mb = interval_s, 0.0
        self.linux = Path("/proc/self/smaps_rollup").exists()
        self.how = (
            f"sum of proportional set sizes over the process tree, every {interval_s:g} s"
            if self.linux
            else "largest resident size of any single child process"
        )

    def __enter__(self) -> "PeakMemory":
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        if self.linux:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self.linux:
            self._thread.join()
        else:
            self.peak_mb = _largest_child_mb()

    def _watch(self) -> None:
        while True:
            self.peak_mb = max(self.peak_mb, sum(map(_pss_mb, descendants(os.getpid()))))
            if self._stop.wait(self.interval_s):
                return


def descendants(pid: int) -> list[int]:
    """`pid` and every process below it (Linux); one that ends meanwhile is left out."""
    parents: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            fields = _quiet(lambda f=folder: (f / "stat").read_text().rsplit(")", 1)[1].split())
            if fields:
                parents.setdefault(int(fields[1]), []).append(int(folder.name))
    tree = [pid]
    for parent in tree:  # grows while it is walked
        tree += parents.get(parent, [])
    return tree


def _pss_mb(pid: int) -> float:
    text = _quiet(lambda: Path(f"/proc/{pid}/smaps_rollup").read_text())
    match = re.search(r"^Pss:\s+(\d+) kB", text or "", re.MULTILINE)
    return int(match[1]) / 1024 if match else 0.0


def _largest_child_mb() -> float:
    try:
        import resource
    except ImportError:  # Windows
        return 0.0
    size = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return size / 2**20 if sys.platform == "darwin" else size / 1024


def _processor() -> str:
    text = _quiet(lambda: Path("/proc/cpuinfo").read_text()) or ""
    match = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return match[1].strip() if match else platform.processor() or platform.machine()


def _memory_mb() -> int | None:
    return _quiet(lambda: os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20)


def _output(command: list[str], timeout_s: float = 20) -> str | None:
    """A command's output, or None when it cannot be run, fails or takes too long."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout


def _quiet(read: Callable[[], Any]) -> Any:
    """`read()`, or None where this system has no such thing (or no longer has it)."""
    try:
        return read()
    except (OSError, ValueError, IndexError, AttributeError):
        return None
