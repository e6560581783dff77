"""Kernels of headless runs, each a fork of one process that has the heavy packages loaded.

That process is Python's own fork server: it imports `LOADED`, computes nothing and starts no thread. A kernel has
what was imported in common with the others, and no state: folder, environment, session and the file of what no cell
shows are its own, and nothing that one notebook does is seen by another. Forking a process that has loaded libraries
is sound on Linux alone; elsewhere each kernel starts as Jupyter starts it, which takes some seconds more.
"""

import atexit
import contextlib
import gc
import multiprocessing
import os
import shutil
import signal
import sys
from collections.abc import Callable
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

from vcwork.base.console import say
from vcwork.base.settings import environment
from vcwork.data.engines import end_with_parent

FORKS = sys.platform == "linux"
CONTEXT = multiprocessing.get_context("forkserver" if FORKS else "spawn")
LOADED = (
    "ipykernel.ipkernel", "ipywidgets", "matplotlib.pyplot", "torch", "scipy.special", "pydantic", "av", "PIL.Image",
    "tokenizers",
)  # fmt: skip
# nothing that asks at import where it runs, as tqdm.auto does, and all that imports it
START_S = (30, 120)  # for a kernel to answer, and for the one that is started in its place
LARGE = str(4 << 20)  # bytes: blocks as large go back to the system once freed; glibc would keep those up to 32 MB


def get_ready(threads: int) -> str:
    """Begin to load the packages, beside whatever the caller does next; a line for the reader where that cannot be.

    threads: of each kernel, unless the environment says how many; libraries ask it when they are loaded.
    """
    if not FORKS:
        return f"each notebook loads its packages anew: kernels are forked on Linux alone, not on {sys.platform}"
    told = {"OMP_NUM_THREADS": str(max(1, threads)), "MALLOC_MMAP_THRESHOLD_": LARGE}
    told = {name: value for name, value in told.items() if name not in os.environ}
    CONTEXT.set_forkserver_preload(list(LOADED))
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal's Ctrl-C is for the runner; kernels set theirs
    try:
        with environment(told):  # for the server alone: the next run of this process asks anew
            forkserver.ensure_running()
    finally:
        signal.signal(signal.SIGINT, before)
    return ""


class ForkedKernel(CONTEXT.Process):  # type: ignore[name-defined, misc]
    """The process of a kernel, as jupyter_client holds one: with the methods that it calls on a `subprocess.Popen`."""

    stdin = stdout = stderr = None

    def __init__(self, arguments: list[str], env: dict[str, str], cwd: Path, log: Path) -> None:
        super().__init__()
        self.arguments, self.env, self.cwd, self.log = arguments, env, cwd, log

    def run(self) -> None:
        """In the new process: become an IPython kernel."""
        os.setsid()  # a group of its own: interrupts reach what it starts, and the terminal's Ctrl-C the runner alone
        atexit.unregister(shutil.rmtree)  # folders that the fork server made are not ours to remove (matplotlib's)
        gc.freeze()  # what came with the fork is never looked at again, and so stays memory in common
        with open(self.log, "ab") as stderr:
            os.dup2(stderr.fileno(), 2)
        os.environ.clear()
        os.environ.update(self.env)
        os.chdir(self.cwd)
        sys.argv = ["ipykernel_launcher", *self.arguments]
        end_with_parent()
        import matplotlib
        import torch
        from ipykernel.kernelapp import IPKernelApp

        if (threads := self.env.get("OMP_NUM_THREADS", "")).isdecimal():
            torch.set_num_threads(int(threads))  # torch was loaded with the fork server's number
        matplotlib.rcParams["backend"] = "module://matplotlib_inline.backend_inline"  # as set before a usual import

        try:
            IPKernelApp.launch_instance(self.arguments, parent_handle=1)  # 1: the thread above looks for the parent
        finally:
            control = IPKernelApp.instance().control_thread
            if control and control.is_alive():  # first: it would wait for the thread that shows output, ended below
                control.stop()
                control.join()
            atexit._run_exitfuncs()  # a forked process ends without them: temporary folders, history

    def poll(self) -> int | None:
        return self.exitcode

    def wait(self) -> int | None:
        self.join()
        return self.exitcode

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)


def manager(folder: Path, log: Path, told: dict[str, str], tell: Callable[[str], None] = say) -> type:
    """A kernel manager whose kernel works in `folder`, has `told` in its environment, and writes what no cell shows
    into `log`; `tell` hears of a kernel that was replaced.

    That is what crashes and native libraries say. The kernel is this Python's, whatever a kernelspec named python3 in
    the home folder or in $JUPYTER_PATH says: it may belong to another Python, or to one that is gone.
    """
    from ipykernel.kernelspec import get_kernel_dict
    from jupyter_client.asynchronous import AsyncKernelClient
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.manager import AsyncKernelManager

    class Client(AsyncKernelClient):
        async def wait_for_ready(self, timeout: float | None = None) -> None:
            """Until the kernel answers; one that lives and is silent (one in thousands, why is unknown) is replaced."""
            for last, patience_s in enumerate(START_S):
                try:
                    return await super().wait_for_ready(patience_s)
                except RuntimeError as error:
                    if last or not await self.parent.is_alive():
                        await self.parent.shutdown_kernel(now=True)  # it would hear nothing else
                        raise
                    tell(f"{error}; once more with another one")
                    await self.parent.restart_kernel(now=True)

    class Manager(AsyncKernelManager):
        client_factory = Client
        kernel_spec = KernelSpec(**get_kernel_dict())

        async def _async_launch_kernel(self, kernel_cmd: list[str], env: dict[str, str], **options: Any) -> None:
            _started.append(self.provisioner)
            options |= {"env": env | told, "cwd": folder}
            if not FORKS or "ipykernel_launcher" not in kernel_cmd:
                with open(log, "wb") as stderr:
                    return await super()._async_launch_kernel(kernel_cmd, stderr=stderr, **options)
            arguments = kernel_cmd[kernel_cmd.index("ipykernel_launcher") + 1 :]
            kernel = ForkedKernel(arguments, options["env"], folder, log)
            kernel.start()
            self.provisioner.process = kernel
            self.provisioner.pid = self.provisioner.pgid = kernel.pid

    return Manager


_started: list[Any] = []  # what holds the process of each kernel, while it runs


def tell_all(number: int) -> None:
    """A signal to every kernel that runs, and to what it has started."""
    for kernel in _started:
        with contextlib.suppress(OSError):
            if kernel.has_process and hasattr(os, "killpg"):
                os.killpg(kernel.pid, number)
            elif kernel.has_process:
                kernel.process.terminate()
