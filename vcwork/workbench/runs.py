"""Executing a plan: one folder per run, notebooks side by side, records that are true at every moment.

`outputs/<run>/` holds `index.html`, `run.json` (what ran, on what, how long: `records`), `metrics.json` (numbers
alone, so that two runs can be compared byte by byte), `notebooks/` (executed copies), `pages/`, `figures/`, `results/`
(what notebooks recorded) and whatever the notebooks write under `{run}`. A notebook that fails leaves its copy up to
the error, and the others still run; one whose `{run}` input was never written is skipped and says what it needed.
Where the records can no longer be written (full disk, a folder that was moved) the run ends. A run that was stopped or
killed goes on with what it had not done (`rerun.resume`).
A notebook starts once those that it waits for have ended, in a thread that talks to its kernel.
"""

import contextlib
import datetime
import os
import platform
import re
import shlex
import shutil
import signal
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from types import MappingProxyType
from typing import Any

import nbformat
from nbformat.sign import NotebookNotary
from tqdm import tqdm

from vcwork.base.console import say, shown
from vcwork.base.errors import VcworkError, could_not
from vcwork.base.files import alone, atomic_write
from vcwork.base.progress import WIRE, Place, interrupts, waiting
from vcwork.base.sealed import seal, well_formed, write_manifest, write_sealed
from vcwork.data.engines import cores
from vcwork.measure.result import METRICS, plain
from vcwork.workbench import kernels, machine, notebook_html, page
from vcwork.workbench.profiles import Plan, Step, profile_names, relative
from vcwork.workbench.recording import recorded
from vcwork.workbench.records import RUN, cells_digest

OK, FAILED, INTERRUPTED = 0, 1, 130  # exit codes; 2 is for a mistake found before the run
PATIENCE_S = 10  # for a notebook to stop, when the run is interrupted
QUIET_S = 15  # without a word, where no bar can be drawn
BAR = "{n} of {total} notebooks |{bar:12}| {elapsed}{postfix}"


def run(plan: Plan, out: Path | None = None, copy_to: Path | None = None, at_once: int = 0) -> int:
    """`execute_plan`, and its exit code."""
    return exit_code(execute_plan(plan, out, copy_to, at_once))


def exit_code(log: "RunLog") -> int:
    return {"done": OK, "interrupted": INTERRUPTED}.get(log.state["status"], FAILED)


def execute_plan(
    plan: Plan,
    out: Path | None = None,
    copy_to: Path | None = None,
    at_once: int = 0,
    threads: Mapping[str, int] = MappingProxyType({}),
    stopped: Mapping[str, Any] = MappingProxyType({}),
) -> "RunLog":
    """Execute `plan` into `out` (must not exist; by default a new folder in `outputs/`).

    `copy_to` also receives the last executed notebook. at_once: notebooks side by side, which share the machine's
    cores, 0: as many as suit it. threads: of notebooks by name, instead of their share of the cores. stopped: the
    record of the run in `out`, which goes on with what it has not done. Raises VcworkError only for what stops the
    whole run."""
    for path in (None if stopped else out, copy_to):
        if path and path.exists():
            raise VcworkError(f"{path}: exists already; runs never overwrite each other")
    say(f"{plan.profile}: {', '.join(step.name for step in plan.steps)}")
    began, entries = time.monotonic(), [_new_entry(step) for step in plan.steps]
    at_once = min(at_once or machine.at_once(), len(plan.steps))
    threads = {step.name: threads.get(step.name) or _threads(plan, step, at_once) for step in plan.steps}
    if note := kernels.get_ready(min(threads.values())):
        say(note)
    with waiting("loading packages"):  # beside the kernels', which are loading meanwhile
        import nbconvert  # noqa: F401
        import papermill  # noqa: F401

        hardware = machine.hardware()  # takes seconds, because torch is asked; so before there is a folder
    log = RunLog(plan, out if stopped else make_folder(plan, out), hardware, began, entries)
    for entry in log.entries:
        entry["threads"] = threads[entry["name"]]
    with alone(log.folder):
        if stopped:
            log.take_up(stopped)
        try:
            _run_steps(plan, log, at_once)
        finally:
            log.finish()
    executed = [log.folder / entry["executed"] for entry in log.entries if entry["executed"]]
    if copy_to and executed:
        with atomic_write(copy_to, "wb") as file:
            file.write(executed[-1].read_bytes())
    say(
        f"\n{page.metrics_text(log.entries)}\n\n{log.state['status']} after {page.duration(log.state['wall_s'])}: "
        f"{relative(log.folder / 'index.html', plan.root)}",
    )
    if log.state["status"] != "done" and plan.profile in profile_names(plan.root):
        say(f"to go on: {how_to_resume(plan.profile, relative(log.folder, plan.root))}")
    return log


def how_to_resume(profile: str, folder: str) -> str:
    """The command that goes on with the run in `folder`."""
    return f"./run {'workbench' if profile == 'lab' else f'profile {profile}'} --resume {shlex.quote(folder)}"


def _threads(plan: Plan, step: Step, at_once: int) -> int:
    """Threads of a notebook: its share of the cores, or all where it runs alone.

    Known before the run, because the last bits of what is trained depend on it; $OMP_NUM_THREADS goes before.
    """
    if (given := os.environ.get("OMP_NUM_THREADS", "")).isdecimal():
        return int(given)
    return cores() if step in _alone(plan.steps) else max(1, cores() // at_once)


def _alone(steps: Sequence[Step]) -> list[Step]:
    """Those that half of the plan waits for: whatever ran beside them would make all wait longer."""
    return [step for step in steps if 2 * sum(other.waits_for(step) for other in steps) > len(steps)]


def make_folder(plan: Plan, out: Path | None) -> Path:
    """Create the run's folder, never one that exists: two runs at once get two folders."""
    if out is not None:
        try:
            out.mkdir(parents=True)
        except FileExistsError:
            raise VcworkError(f"{out}: exists already; runs never overwrite each other") from None
        except OSError as error:
            raise VcworkError(f"{out}: could not be created ({error.strerror})") from error
        return out
    stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    for suffix in ["", *(f"-{n}" for n in range(2, 1000))]:
        with contextlib.suppress(FileExistsError):
            folder = plan.root / "outputs" / f"{plan.profile}-{stamp}{suffix}"
            folder.mkdir(parents=True)
            return folder
    raise VcworkError(f"{plan.root / 'outputs'}: no free folder name for {plan.profile}-{stamp}")


class RunLog:
    """The state of a run, and the files that show it; saved after every notebook, by one thread at a time (`lock`)."""

    def __init__(
        self, plan: Plan, folder: Path, hardware: dict[str, Any], began: float, entries: list[dict[str, Any]]
    ) -> None:
        self.folder, self.began, self.lock, self.entries = folder, began, threading.RLock(), entries
        self.saved, self.seals, self.memory = False, dict[str, dict[str, Any]](), machine.PeakMemory()
        self.state: dict[str, Any] = {
            "profile": plan.profile,
            "seed": plan.seed,
            "parameter_files": plan.files,
            "changed": plan.changed,
            "status": "running",
            "started": _now(),
            "ended": None,
            "wall_s": 0.0,
            "git": machine.git_state(plan.root),
            "python": platform.python_version(),
            "packages": machine.package_versions(),
            "hardware": hardware,
            "peak_memory_mb": None,
            "peak_memory_how": "",
            "notebooks": self.entries,
        }

    def take_up(self, stopped: Mapping[str, Any]) -> None:
        """Keep what a run that was stopped has done, whole; what the others of its notebooks recorded goes.

        VcworkError where it was begun with other code or on another machine: numbers of two would not belong together.
        """
        with well_formed(self.folder / RUN.manifest):
            before = {entry["name"]: entry for entry in stopped["notebooks"]}
            same = [(stopped.get(name), self.state[name]) for name in ("git", "python", "packages")]
            same += [(stopped["hardware"].get(name), self.state["hardware"].get(name)) for name in ("processor", "gpu")]
            same += [(before[entry["name"]]["code"], entry["code"]) for entry in self.entries]
            if other := [f"{was} then, {now} now" for was, now in same if was != now]:
                raise VcworkError(f"{self.folder}: was begun otherwise ({other[0]}); ./run rerun repeats it whole")
            self.state |= {name: stopped[name] for name in ("started", "peak_memory_mb", "peak_memory_how")}
            self.state["resumed"] = [*stopped.get("resumed", []), _now()]
            self.began -= stopped["wall_s"]
            for entry in self.entries:
                folder = self.folder / "results" / entry["name"]
                if before[entry["name"]]["status"] == "done":
                    entry |= before[entry["name"]] | recorded(folder)
                else:
                    shutil.rmtree(folder, ignore_errors=True)
            self.saved = True

    def note_memory(self) -> None:
        """Keep the highest so far."""
        self.state["peak_memory_mb"] = max(self.state["peak_memory_mb"] or 0, round(self.memory.peak_mb)) or None
        self.state["peak_memory_how"] = self.memory.how

    @property
    def interrupted(self) -> bool:
        return self.state["status"] == "interrupted"

    def finish(self) -> None:
        """Settle the run's status and write everything a last time, with the digest of each file."""
        if not self.interrupted:
            done = all(entry["status"] == "done" for entry in self.entries)
            self.state["status"] = "done" if done else "failed"
        self.state["ended"] = _now()
        self.save(sealed=True)

    def save(self, sealed: bool = False) -> None:
        """Write `metrics.json`, `index.html` and last `run.json`, each atomically.

        VcworkError where they cannot be written, or the folder is another one than it was.
        """
        with self.lock:
            if self.saved and not (self.folder / RUN.manifest).is_file():
                raise VcworkError(f"{self.folder}: the run's folder was moved or removed meanwhile; it cannot go on")
            self.state["wall_s"] = round(time.monotonic() - self.began, 1)
            rows = [{"notebook": entry["name"], **row} for entry in self.entries for row in entry["results"]]
            numbers = {"format": "vcwork-metrics-2", "profile": self.state["profile"], "results": rows}
            write_sealed(self.folder / METRICS, numbers)
            for entry in [] if self.saved else self.entries:
                notebook_html.hold_place(self.folder / "pages" / f"{entry['name']}.html", entry["name"])
            with atomic_write(self.folder / "index.html") as file:
                file.write(page.page_html(self.state, self._panels()))
            notebooks = [{key: entry[key] for key in entry if key != "results"} for entry in self.entries]
            told = self.state | {"notebooks": notebooks, "files": self._files(sealed)}
            write_manifest(self.folder, RUN, plain(told, RUN.manifest))
            self.saved = True

    def _panels(self) -> dict[str, str]:
        """The first panel of each executed notebook that shows one."""
        executed = {entry["name"]: self.folder / entry["executed"] for entry in self.entries if entry["executed"]}
        found = {name: notebook_html.panel_of(path) for name, path in executed.items()}
        return {name: panel for name, panel in found.items() if panel}

    def _files(self, ended: bool) -> dict[str, dict[str, Any]]:
        """What the runner wrote, with size and digest: pages, figures, executed notebooks, numbers.

        Before the run has ended, those of notebooks that are done, as they were then: another process may go on.
        """
        names = ["index.html", METRICS] if ended else []
        for entry in self.entries if ended else [entry for entry in self.entries if entry["status"] == "done"]:
            names += [name for key in ("executed", "page", "log") if (name := entry[key])]
            names += [f"figures/{one}" for name in entry["figures"] for one in (name, page.dark(name))]
            names += [f"results/{entry['name']}/{METRICS}"]
        known, there = {} if ended else self.seals, [name for name in names if (self.folder / name).is_file()]
        self.seals = {name: known.get(name) or seal(self.folder / name) for name in there}
        return self.seals


def _new_entry(step: Step) -> dict[str, Any]:
    """Parameters are told with `{run}` and `{root}` in them: where the run lies may change."""
    with could_not(f"{step.path}: not a notebook that can be run", Exception):  # nbformat's errors are of many kinds
        notebook = nbformat.read(step.path, as_version=4)
    state = {"status": "waiting", "started": None, "wall_s": 0.0, "peak_memory_mb": None}
    given = {"given": step.given, "parameters": step.raw(), "code": cells_digest(notebook), "hashes": {}}
    files = {"executed": None, "page": None, "log": None, "figures": {}}
    title = notebook_html.title(notebook)
    return {"name": step.name, "title": title, **state, **given, "error": None, **files, "results": []}


def _run_steps(plan: Plan, log: RunLog, at_once: int) -> None:
    """Run every notebook, each once those that it waits for have ended.

    Of several the plan's first one, or side by side its last: those that train anew stand there, and end last of all.
    """
    entries = {entry["name"]: entry for entry in log.entries}
    todo = [step for step in plan.steps if entries[step.name]["status"] != "done"]
    running: dict[Future, Step] = {}  # by the future of their thread
    bar = tqdm(
        total=len(plan.steps),
        initial=len(plan.steps) - len(todo),
        bar_format=BAR,
        disable=not sys.stderr.isatty(),
        dynamic_ncols="TQDM_NCOLS" not in os.environ,  # as wide as the terminal, which may change
    )
    with ThreadPoolExecutor(at_once) as pool, bar, tempfile.TemporaryDirectory() as wires, log.memory:
        places = {step.name: Place(Path(wires) / f"{step.name}.txt") for step in plan.steps}
        try:
            with interrupts() as interrupted:  # else tqdm may keep its lock for ever, on which the notebooks wait
                while todo or running:
                    free = _free(todo, list(running.values()), _alone(plan.steps))
                    for step in (free if at_once == 1 else free[::-1])[: at_once - len(running)]:
                        todo.remove(step)
                        if bar.disable:
                            tell(f"[{len(plan.steps) - len(todo)}/{len(plan.steps)}] {step.name}")
                        place = places[step.name]
                        running[pool.submit(_run_step, plan, step, entries[step.name], log, place)] = step
                    while not (done := _ended(running, QUIET_S if bar.disable else 1, interrupted)):
                        _tell_where(bar, {step.name: places[step.name] for step in running.values()})
                    for ended in done:
                        running.pop(ended)
                        ended.result()
                        bar.update()
        except BaseException as error:
            log.state["status"] = "interrupted"
            if isinstance(error, KeyboardInterrupt):
                tell("stopping, once what runs is kept; another Ctrl-C does not wait for it")
            _stop(running)
            if not isinstance(error, KeyboardInterrupt):  # the records cannot be written
                raise


def _ended(running: Iterable[Future], seconds: float, interrupted: Callable[[], bool]) -> set[Future]:
    """Those of `running` that end within `seconds`; KeyboardInterrupt soon after the signal came."""
    until, done = time.monotonic() + seconds, set()
    while not done and time.monotonic() < until:
        done = wait(running, min(seconds, 0.25), FIRST_COMPLETED).done
        if interrupted():
            raise KeyboardInterrupt
    return done


def _tell_where(bar: tqdm, places: Mapping[str, Place]) -> None:
    """The cell of each notebook that runs, and what it does there: behind the bar, or else a line each."""
    where = [f"{name}: {place}" for name, place in places.items() if str(place)]
    bar.set_postfix_str("; ".join(where))
    for line in where if bar.disable else ():
        tell(f"    {line}")


def _stop(running: Iterable[Future]) -> None:
    """The cells stop as by their notebooks' own interrupt, or else at a word, or else; at Ctrl-C without patience."""
    for number in (signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGKILL", signal.SIGTERM)):
        kernels.tell_all(number)
        with contextlib.suppress(KeyboardInterrupt):
            if not wait(running, timeout=PATIENCE_S).not_done:
                return


def _free(todo: list[Step], running: list[Step], alone: Sequence[Step] = ()) -> list[Step]:
    """Those that wait for nothing that has not ended; first one of `alone`, and beside such a one nothing."""
    if any(step in alone for step in running):
        return []
    free = [step for step in todo if not any(step.waits_for(other) for other in (*todo, *running))]
    return [step for step in free if step in alone][:1] or free


def _run_step(plan: Plan, step: Step, entry: dict[str, Any], log: RunLog, place: Place) -> None:
    """Run one notebook and fill in its entry, whatever happens to it."""
    missing = step.needs(log.folder, plan.root)
    if missing:
        entry |= {"status": "skipped", "error": _error(f"needs {', '.join(missing)}, which nothing has written")}
    else:
        began = time.monotonic()
        entry |= {"status": "running", "started": _now()}
        log.save()
        result = execute(step, log.folder, plan.root, entry["threads"], place)
        entry |= {"status": "interrupted"} if log.interrupted else result
        peak = round(log.memory.since(began)) or None
        entry |= {"wall_s": round(time.monotonic() - began, 1), "peak_memory_mb": peak}
    with log.lock:  # matplotlib, which draws a page's formulas, works for one thread at a time
        if not missing:
            log.note_memory()
            try:
                entry |= recorded(log.folder / "results" / step.name)
            except VcworkError as error:
                entry |= {"status": "failed", "error": _error(str(error))}
            _show_notebook(entry, log.folder, [step.name for step in plan.steps])
        log.save()
    tell(
        f"{step.name}: {entry['status']} in {page.duration(entry['wall_s'])}"
        + (f"\n{textwrap.indent(page.error_text(entry['error']), '    ')}" if entry["error"] else "")
    )


def execute(step: Step, folder: Path, root: Path, threads: int, place: Place) -> dict[str, Any]:
    """Execute a notebook with papermill into `folder/notebooks/`; returns `status` and `error` for its entry.

    The kernel runs in the notebook's folder, so that paths mean the same as in JupyterLab and under nbval."""
    import papermill  # takes a second, and checking a profile does not need it
    from papermill.exceptions import PapermillExecutionError

    target, log = folder / "notebooks" / f"{step.name}.ipynb", folder / "logs" / f"{step.name}.txt"
    values = step.values(folder, root)
    values = {n: v for n, v in values.items() if n in step.given or v != step.parameters[n].default}
    told = {"VCWORK_RESULTS_DIR": str(folder / "results" / step.name), "VCWORK_ROOT": str(root)}
    told |= {"OMP_NUM_THREADS": str(threads), WIRE: str(place.wire)}
    manager = kernels.manager(step.path.parent, log, told, lambda line: tell(f"{step.name}: {line}"))
    try:
        for made in (target, log):
            made.parent.mkdir(exist_ok=True)
        executed = papermill.execute_notebook(
            _no_braces(step.path),
            _no_braces(target),
            values,
            kernel_name="python3",
            language="python",  # which the notebook's own metadata may not tell
            progress_bar={"file": place, "bar_format": "{n} of {total} cells", "mininterval": 0, "miniters": 1},
            extra_arguments=["--log-level=ERROR"],
            kernel_manager_class=manager,
        )
    except PapermillExecutionError as error:
        message = f"{error.ename}: {_without_colours(error.evalue)}".strip()
        return {"status": "failed", "error": _error(message, error.exec_count, _failing_line(error))}
    except Exception as error:  # a dead kernel, or a notebook papermill cannot run: the other notebooks still may
        return {"status": "failed", "error": _outside_error(target, error)}
    code = [cell for cell in executed.cells if cell.cell_type == "code"]
    left = sum(cell.metadata.papermill.status == "pending" for cell in code)
    if left:  # sys.exit(0) in a cell, which papermill takes for an end
        return {
            "status": "failed",
            "error": _error(f"the kernel was told to exit: {left} of {len(code)} code cells were not run"),
        }
    return {"status": "done", "error": None}


def _show_notebook(entry: dict[str, Any], folder: Path, names: list[str]) -> None:
    """Page, figures and trust for an executed copy; a fault here is told and must not cost the run."""
    executed = folder / "notebooks" / f"{entry['name']}.ipynb"
    if not executed.exists():
        return
    log = folder / "logs" / f"{entry['name']}.txt"
    if log.is_file() and log.stat().st_size:
        entry["log"] = f"logs/{log.name}"
    try:
        notebook = nbformat.read(executed, as_version=4)
        entry["executed"] = f"notebooks/{entry['name']}.ipynb"
        entry["figures"] = notebook_html.write_figures(executed, folder / "figures")
        notebook_html.write_html(executed, folder / "pages" / f"{entry['name']}.html", names)
        entry["page"] = f"pages/{entry['name']}.html"
    except Exception as error:
        if not entry["executed"]:
            executed.unlink(missing_ok=True)  # half written: the disk is full
        tell(f"{entry['name']}: no page ({type(error).__name__}: {error})")
        return
    try:  # as made by this user, so that JupyterLab shows its widgets and HTML at once
        NotebookNotary().sign(notebook)
    except Exception as error:
        tell(f"{entry['name']}: JupyterLab will not trust the executed copy ({error}); HOME should be a folder")


def _outside_error(target: Path, error: Exception) -> dict[str, Any]:
    """An error that no cell reported: the last line of what happened, and the cell that was running."""
    from nbclient.exceptions import DeadKernelError

    lines = _without_colours(str(error)).strip().splitlines()
    message = ": ".join([type(error).__name__, *lines[-1:]])
    if isinstance(error, DeadKernelError):
        message += " (most often: out of memory)"
    with contextlib.suppress(Exception):  # there may be no copy yet
        cells = [cell for cell in nbformat.read(target, as_version=4).cells if cell.cell_type == "code"]
        begun = [cell for cell in cells if cell.metadata.papermill.start_time]
        return _error(message, len(begun), (begun[-1].source.strip().splitlines() or [""])[0])
    return _error(message)


def _failing_line(error: Any) -> str:
    """The line of the cell that failed: the first one IPython's traceback points at, else the cell's first."""
    text = _without_colours("\n".join(error.traceback))
    pointed = re.search(r"^-+> \d+ (.*)$", text, re.MULTILINE)
    return pointed[1].strip() if pointed else error.source.strip().split("\n")[0]


def _error(message: str, cell: int | None = None, line: str = "") -> dict[str, Any]:
    return {"cell": cell, "line": line, "message": message}


def tell(text: str) -> None:
    """Print a line above any progress bar."""
    tqdm.write(shown(text), file=sys.stdout)
    sys.stdout.flush()


def _no_braces(path: Path) -> str:
    """papermill fills `{name}` in output paths; doubled braces stay as they are."""
    return str(path).replace("{", "{{").replace("}", "}}")


def _without_colours(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def _now() -> str:
    return datetime.datetime.now().astimezone().isoformat(timespec="seconds")
