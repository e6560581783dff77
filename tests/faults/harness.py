"""A long command as a process to which something happens, and what is left of its folder afterwards.

A process is forked from a server that has loaded the heavy packages once, so a trial takes a second, not ten. What
happens comes at a moment in time, or when the process does the n-th thing to a file of its folder (Python's audit
events): so every place between two writes can be tried, not only the likely ones. Then the same command runs once more,
undisturbed, and its folder must hold the bytes of one that nothing ever happened to.
Known gaps: what C libraries write (SQLite, faiss, FFmpeg) is no audit event and is met by moments in time only; a
power cut, after which a disk may lack what was written, cannot be made here.
"""

import contextlib
import errno
import hashlib
import importlib
import json
import multiprocessing
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import psutil

from vcwork.base.errors import VcworkError
from vcwork.base.sealed import MARK

CONTEXT = multiprocessing.get_context("forkserver")
LOADED = (
    "vcwork.__main__", "vcwork.data.howto100m.convert", "vcwork.data.lab.make", "vcwork.encoders.released",
    "vcwork.training.run", "vcwork.training.finetune_corpus", "vcwork.training.frames", "vcwork.workbench.own_pages",
    "vcwork.workbench.own_asking", "vcwork.workbench.auditing", "vcwork.workbench.runs", "papermill", "torch._dynamo",
    "vcwork.base.blas", "safetensors.torch", "nbconvert", "ipykernel.kernelapp", "sphinx.cmd.build", "myst_nb",
    "scipy.stats", "scipy.interpolate", "matplotlib.backends.backend_agg", "matplotlib.backends.backend_svg",
)  # fmt: skip
EVENTS = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "shutil.copyfile", "shutil.move", "sqlite3.connect")
SIGNALS = {"kill -9": signal.SIGKILL, "Ctrl-C": signal.SIGINT, "SIGTERM": signal.SIGTERM}
TRACE = "Traceback (most recent call last)"
PATIENCE_S = 180.0  # a command that takes longer hangs
ORPHANS_S = 60.0  # for processes of a killed one to end: some load their packages first


@dataclass(frozen=True)
class Command:
    """What is tried: `function` ("module:name") is called with `arguments`, in which {out} is the folder it makes."""

    name: str
    arguments: tuple[str, ...]
    function: str = "vcwork.__main__:main"
    content: Callable[[Path], dict[str, str]] | None = None  # what must be equal; None: every file
    again: bool = True  # may run again into the same folder; else the next run has another one


@dataclass(frozen=True)
class Fault:
    """`what` happens, `after_s` seconds or at the process's `at`-th deed to a file of its folder."""

    what: str  # kill -9, Ctrl-C, SIGTERM, full disk, moved
    at: int = 0
    after_s: float | None = None
    limit: int = 0  # bytes that a file may have (RLIMIT_FSIZE); 0: any


@dataclass
class Ended:
    """How a process ended: its exit code (negative: the signal), all that it printed, seconds, deeds to files."""

    code: int | None
    text: str
    seconds: float
    deeds: int = 0
    orphans: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Trial:
    """One fault and what came of it: "equal", "refused" (one sentence), or why it is none of these."""

    command: str
    fault: Fault
    came: str
    why: str = ""

    @property
    def survived(self) -> bool:
        return self.came in ("equal", "refused")

    @property
    def kind(self) -> str:
        """Of the fault, without its place."""
        return self.fault.what.split(": ")[0]


# --------------------------------------------------------------------------------------------------- in the process


def _work(
    function: str, arguments: list[str], folder: str, told: str, fault: Fault | None, here: dict[str, str]
) -> None:
    """Runs in the process: prints into the file `told`, counts its deeds, and may bring its own fault about."""
    os.setsid()
    os.environ.update(here)
    out = os.open(told, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(out, 1), os.dup2(out, 2)
    if fault and fault.limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (fault.limit, fault.limit))
    import torch  # loaded before, in the server

    torch.set_num_threads(1)
    module, name = function.split(":")
    do = getattr(importlib.import_module(module), name)
    deeds = _watched(folder, fault)
    Path(f"{told}.began").touch()
    try:
        code = do(arguments)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # it is done; Python's own end is not tried here
    except VcworkError as error:  # as the command line tells it, of functions that are no command
        code = print(f"{function}: {error}") or 2
    except KeyboardInterrupt:
        code = print(f"{function}: interrupted") or 130
    finally:
        sys.stdout.flush()
        with open(f"{told}.deeds", "w") as file:
            file.write(str(deeds[0]))
    sys.exit(code)


def _watched(folder: str, fault: Fault | None) -> list[int]:
    """[how often the process did something to a file in `folder` or beside it], counted from now on."""
    deeds, full = [0], [False]

    def hook(event: str, given: tuple) -> None:
        if event not in EVENTS or not str(given[0]).startswith(folder):
            return
        if event == "open" and not given[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            return
        deeds[0] += 1
        if full[0] and event in ("open", "os.mkdir", "shutil.copyfile"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(given[0]))
        if not fault or deeds[0] != fault.at:
            return
        if fault.what == "full disk":
            full[0] = True
            hook(event, given)
        elif fault.what == "moved":
            os.rename(folder, f"{folder} moved")
        else:
            os.kill(os.getpid(), SIGNALS[fault.what])

    sys.addaudithook(hook)
    return deeds


# --------------------------------------------------------------------------------------------------- from outside


def end_server() -> None:
    """The fork server goes: what another one has loaded is not what the next one's processes need."""
    if pid := forkserver._forkserver._forkserver_pid:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)  # its owner sees that it is gone, and begins another


def start(command: Command, out: Path, told: Path, fault: Fault | None = None) -> Any:
    """The process, its work begun."""
    CONTEXT.set_forkserver_preload(list(LOADED))
    arguments = [text.replace("{out}", str(out)) for text in command.arguments]
    for path in (told, Path(f"{told}.began"), Path(f"{told}.deeds")):
        path.unlink(missing_ok=True)
    process = CONTEXT.Process(
        target=_work, args=(command.function, arguments, str(out), str(told), fault, dict(os.environ))
    )
    process.start()
    while process.is_alive() and not Path(f"{told}.began").exists():
        time.sleep(0.002)
    return process


def ended(process: Any, told: Path, began: float) -> Ended:
    """Wait for its end, and for that of every process that it started; what still runs then is ended here."""
    process.join(PATIENCE_S)
    if hangs := process.is_alive():
        process.kill()
        process.join()
    seconds, deeds = time.monotonic() - began, Path(f"{told}.deeds")
    until = time.monotonic() + ORPHANS_S
    while (left := _of_session(process.pid)) and time.monotonic() < until:
        time.sleep(0.05)
    names = [" ".join(one.cmdline()[:4]) for one in left if one.is_running()]
    for one in left:
        with contextlib.suppress(psutil.Error):
            one.kill()
    text = told.read_text(errors="replace") if told.exists() else ""
    count = int(deeds.read_text()) if deeds.exists() else 0
    return Ended(None if hangs else process.exitcode, text, seconds, count, names)


def _of_session(pid: int) -> list[psutil.Process]:
    """Live processes of the session that process `pid` began."""
    found = []
    for one in psutil.process_iter():
        with contextlib.suppress(psutil.Error, ProcessLookupError):
            if os.getsid(one.pid) == pid and one.status() != psutil.STATUS_ZOMBIE:
                found.append(one)
    return found


def run(command: Command, out: Path, told: Path, fault: Fault | None = None) -> Ended:
    """Run it to its end, or to what `fault` makes of it."""
    process = start(command, out, told, fault)
    began = time.monotonic()
    if fault and fault.after_s is not None:
        process.join(fault.after_s)
        with contextlib.suppress(ProcessLookupError):
            if process.is_alive():  # a terminal's Ctrl-C reaches all processes, a signal only one
                send = os.killpg if fault.what == "Ctrl-C" else os.kill
                send(process.pid, SIGNALS[fault.what])
    return ended(process, told, began)


# -------------------------------------------------------------------------------------------------------- what is left


def files_of(folder: Path) -> dict[str, str]:
    """{file: sha256} of all that lies in a folder but locks, and marks that say nothing beside a manifest."""
    paths = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock" and path.name != MARK)
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(paths)}


def content_of(command: Command, folder: Path) -> dict[str, str]:
    """What must be equal in the folder of a command."""
    return (command.content or files_of)(folder)


def wrong_end(fault: Fault, end: Ended) -> str:
    """Why a process should not have ended as it did, "" where it may."""
    if end.code is None:
        return "hangs"
    if end.orphans:
        return f"left running: {', '.join(end.orphans)}"
    if TRACE in end.text:
        return f"a stack trace: {end.text.strip().splitlines()[-1]}"
    if end.code in (0, 1, 2, 130) or (end.code < 0 and -end.code == SIGNALS.get(fault.what)):
        return "" if end.code == 0 or end.code < 0 or end.text.strip() else "not a word"
    return f"exit code {end.code}"


def tried(command: Command, fault: Fault, whole: dict[str, str], work: Path, chain: tuple[Fault, ...] = ()) -> Trial:
    """The command with this fault (and those of `chain` after it) in a new folder, then once more without any."""
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    out, told = work / "out", work / "told"
    for one in (fault, *chain):
        end = run(command, out, told, one)
        if why := wrong_end(one, end):
            return Trial(command.name, one, "broken", why)
        if (moved := Path(f"{out} moved")).exists():
            shutil.rmtree(out, ignore_errors=True)
            moved.rename(out)
    return tried_again(command, fault, whole, out if command.again else work / "again", told)


def tried_again(command: Command, fault: Fault, whole: dict[str, str], out: Path, told: Path) -> Trial:
    """What the next run makes of a folder; one that refuses a folder that is whole already leaves it equal."""
    end = run(command, out, told)
    if TRACE in end.text or end.code not in (0, 2):
        return Trial(command.name, fault, "broken", f"the next run: {end.code}: {end.text.strip()[-400:]}")
    try:
        here = content_of(command, out)
    except (VcworkError, OSError, ValueError) as error:
        here = {"unreadable": str(error)}
    other = sorted(name for name in here.keys() | whole.keys() if here.get(name) != whole.get(name))
    if end.code and other:
        return Trial(command.name, fault, "refused", end.text.strip().splitlines()[-1])
    return Trial(command.name, fault, "other bytes" if other else "equal", ", ".join(other[:5]))


def undisturbed(command: Command, work: Path) -> tuple[dict[str, str], Ended]:
    """What the command makes when nothing happens, and how it ended; AssertionError where it does not work at all."""
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    end = run(command, work / "out", work / "told")
    assert end.code == 0, f"{command.name}: {end.code}: {end.text[-2000:]}"
    assert not end.orphans, f"{command.name}: {end.orphans}"
    return content_of(command, work / "out"), end


# ------------------------------------------------------------------------------------------------ other kinds of faults


def together(command: Command, whole: dict[str, str], work: Path) -> Trial:
    """Two processes of it at once in one folder: each ends well, or says one sentence; then one more run."""
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    out, fault = work / "out", Fault("two at once")
    began = time.monotonic()
    both = [start(command, out, work / f"told {n}") for n in range(2)]
    for n, process in enumerate(both):
        end = ended(process, work / f"told {n}", began)
        if why := wrong_end(fault, end):
            return Trial(command.name, fault, "broken", why)
    return tried_again(command, fault, whole, out if command.again else work / "again", work / "told")


def small_disk_tried(command: Command, whole: dict[str, str], size: int, work: Path) -> Trial:
    """On a file system of `size` bytes, which then grows."""
    fault, told = Fault("disk of so many bytes", limit=size), work.with_name("told")
    with small_disk(work, size):
        end = run(command, work / "out", told)
        if why := wrong_end(fault, end):
            return Trial(command.name, fault, "broken", why)
        remount(work, "size=1G")
        return tried_again(command, fault, whole, work / ("out" if command.again else "again"), told)


def read_only_tried(command: Command, whole: dict[str, str], begun: Fault | None, work: Path) -> Trial:
    """Into a folder that cannot be written, empty or with what `begun` left there; then into it made writable."""
    fault = Fault(f"read-only folder, {'half full' if begun else 'new'}")
    out, told = work / "out", work.with_name("told")
    with small_disk(work, 1 << 30):
        if begun:
            run(command, out, told, begun)
        remount(work, "ro")
        end = run(command, out, told)
        remount(work, "rw")
        if why := wrong_end(fault, end) or ("" if end.code else "ended well where nothing could be written"):
            return Trial(command.name, fault, "broken", why)
        return tried_again(command, fault, whole, out if command.again else work / "again", told)


def worker_dies(command: Command, whole: dict[str, str], work: Path) -> Trial:
    """One of its worker processes is killed as soon as it is there."""
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    out, told, fault = work / "out", work / "told", Fault("a worker dies")
    process = start(command, out, told)
    began = time.monotonic()
    while process.is_alive():
        workers = [one for one in _of_session(process.pid) if "spawn_main" in " ".join(_line(one))]
        if workers:
            with contextlib.suppress(psutil.Error):
                workers[0].kill()
            break
        time.sleep(0.002)
    end = ended(process, told, began)
    if why := wrong_end(fault, end):
        return Trial(command.name, fault, "broken", why)
    return tried_again(command, fault, whole, out, told)


def _line(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def while_loading(command: Command, after_s: float, work: Path) -> Trial:
    """Ctrl-C to the command line itself, in a process of its own that still loads its packages."""
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    arguments = [text.replace("{out}", str(work / "out")) for text in command.arguments]
    fault = Fault("Ctrl-C while loading", after_s=after_s)
    with open(work / "told", "w") as told:
        process = subprocess.Popen(
            [sys.executable, "-m", "vcwork", *arguments], stdout=told, stderr=told, start_new_session=True
        )
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(after_s)
        os.killpg(process.pid, signal.SIGINT)
        code = process.wait(PATIENCE_S)
    said = (work / "told").read_text(errors="replace")
    ours = "__main__.py" in said or code != -signal.SIGINT  # else Python itself still starts
    why = wrong_end(fault, Ended(code, said, after_s)) if ours else ""
    return Trial(command.name, fault, "broken" if why else "refused", why)


@contextlib.contextmanager
def small_disk(folder: Path, size: int) -> Iterator[bool]:
    """`folder` as a file system of `size` bytes of its own; False where this machine does not let us."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    mounted = os.system(f"mount -t tmpfs -o size={size} tmpfs '{folder}' 2>/dev/null") == 0
    try:
        yield mounted
    finally:
        if mounted:
            os.system(f"umount -l '{folder}'")


def remount(folder: Path, how: str) -> None:
    """Change what a `small_disk` is: "ro", "rw", "size=BYTES"."""
    assert os.system(f"mount -o remount,{how} '{folder}'") == 0


def counted(trials: list[Trial]) -> dict[str, dict[str, dict[str, int]]]:
    """{command: {fault: {injected, equal, refused}}}; what is neither was not survived."""
    counts: dict[str, dict[str, dict[str, int]]] = {}
    for trial in trials:
        own = counts.setdefault(trial.command, {})
        at = own.setdefault(trial.kind, {"injected": 0, "equal": 0, "refused": 0})
        at["injected"] += 1
        if trial.survived:
            at[trial.came] += 1
    return counts


def told_of(trial: Trial) -> str:
    """A trial on one line."""
    fault = {key: value for key, value in vars(trial.fault).items() if value}
    return f"{trial.command}: {json.dumps(fault)}: {trial.came}" + (f": {trial.why}" if trial.why else "")
