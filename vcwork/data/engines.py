"""One function over many jobs: in this process, in processes of this machine, or on a Ray cluster. Ray lives here.

A job is small (where a file lies); what all jobs share (a backbone) is part of the function and reaches each worker
once. Workers compute in one thread each. Results come as they are done, and whoever asks for them writes them, so
that workers on other machines need no folder in common. A long job says how far it is: `report`.
On Ray a worker that dies, or leaves with its machine, is replaced and its jobs are done again; in processes the run
stops with an error. Known gap: Ray is told of all jobs at once, some kilobytes each.
"""

import contextlib
import itertools
import multiprocessing
import os
import pickle
import threading
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import psutil

from vcwork.base.errors import VcworkError
from vcwork.base.settings import environment

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")  # each process
ENGINES = ("processes", "ray")
BLOCKS = 10_000  # Ray's units of work: one job each up to here, then several
AHEAD = 4  # jobs of processes handed out for each: the next is there when one ends, a million are not
TOLD_S = 0.5  # between two looks at how far the jobs are
AGAIN = 3  # times that Ray does a job again whose worker died; a file that kills each of them ends the run
Work = Callable[[Any], Any]
Told = Callable[[float], Any]
Results = Generator[Any, None, None]


def each(
    work: Work, jobs: Sequence, workers: int | None = None, engine: str = "processes", more: Told = lambda amount: None
) -> Results:
    """`work(job)` of every job, as they are done; `engine`: processes (1 worker: this process) or ray.

    `workers` None: one a core. Whoever may stop before the end closes it, or the workers go on until it is forgotten.
    `more` is told while they work what they `report`; Ray's workers report nothing.
    `ray` joins the cluster that $RAY_ADDRESS names, or starts one of `workers` on this machine for as long as it lasts.
    VcworkError: what `work` raises as one, another engine, no package ray, no cluster, a worker that died for good.
    """
    if engine not in ENGINES:
        raise VcworkError(f"engine: expected one of {', '.join(ENGINES)}, got {engine!r}")
    workers = max(1, min(cores() if workers is None else workers, len(jobs)))
    if engine == "ray" and len(jobs):
        return _on_ray(work, jobs, workers)
    return _in_pool(work, jobs, workers, more) if workers > 1 else _here(work, jobs, more)


_told: Told | None = None  # whom this process tells, while it works


def report(amount: float) -> None:
    """Within a job: so much more of it is done, in whatever its asker counts."""
    if _told:
        _told(amount)


def _here(work: Work, jobs: Sequence, more: Told) -> Results:
    global _told
    before = _told
    for job in jobs:
        _told = more
        try:
            result = work(job)
        finally:
            _told = before
        yield result


def cores() -> int:
    """Processors that this process may use."""
    me = psutil.Process()
    return len(me.cpu_affinity()) if hasattr(me, "cpu_affinity") else psutil.cpu_count() or 1


def _in_pool(work: Work, jobs: Sequence, workers: int, more: Told) -> Results:
    context = multiprocessing.get_context("spawn")
    reported, known = context.Value("d"), 0.0
    with (
        environment(ONE_THREAD),
        ProcessPoolExecutor(workers, context, initializer=_start_worker, initargs=(work, reported)) as pool,
    ):
        rest, running, others = iter(jobs), set(), multiprocessing.active_children()
        try:
            while True:
                coming = itertools.islice(rest, AHEAD * workers - len(running))
                running |= {_submitted(pool, job) for job in coming}
                if not running:
                    return
                done, running = wait(running, TOLD_S, FIRST_COMPLETED)
                known, before = reported.get_obj().value, known  # without its lock, which a killed worker may have
                more(known - before)
                yield from (future.result() for future in done)
        except BrokenProcessPool as error:
            for worker in {*multiprocessing.active_children()} - {*others}:
                worker.kill()  # the pool forgets one that started meanwhile, and would wait for it without end
            hint = 'out of memory, or a script without `if __name__ == "__main__":`'
            raise VcworkError(f"a worker process ended ({hint}); run again to resume, or with workers=1") from error
        finally:  # all done: one that still starts is waited for, or finds that what it shares with us is gone
            pool.shutdown(wait=not running, cancel_futures=True)


def _submitted(pool: ProcessPoolExecutor, job: Any) -> Future:
    """A job of the pool. A worker that dies while the next one is started closes what that one would be given.

    OSError where that is noticed; ValueError where a pipe of the next one already has a closed one's number.
    """
    try:
        return pool.submit(_work_here, job)
    except (OSError, ValueError) as error:
        raise BrokenProcessPool(str(error)) from error


_work: Work | None = None


def _start_worker(work: Work, reported: Any) -> None:
    global _work, _told

    def add(amount: float) -> None:
        with reported.get_lock():
            reported.value += amount

    _work, _told = work, add
    end_with_parent()


def end_with_parent() -> None:
    """From now on this process ends when its parent does: killed, that one would leave it waiting for work for ever."""

    def watch() -> None:
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _work_here(job: Any) -> Any:
    return _work(job)


# -------------------------------------------------------------------------------------------------------------- Ray


def _on_ray(work: Work, jobs: Sequence, workers: int) -> Results:
    try:
        import ray
        import ray.data
    except ModuleNotFoundError as error:
        raise VcworkError("engine ray: no package ray here; pip install 'ray[data]', or use processes") from error
    with _cluster(ray, workers):
        rows = ray.data.from_items(
            [{"job": pickle.dumps(job)} for job in jobs], override_num_blocks=min(len(jobs), BLOCKS)
        )
        done = rows.map_batches(
            _RayWorker, fn_constructor_args=(work,), batch_size=1, num_cpus=1,
            compute=ray.data.ActorPoolStrategy(size=workers), max_restarts=-1, max_task_retries=AGAIN,
        )  # fmt: skip
        try:
            for batch in done.iter_batches(batch_size=None, prefetch_batches=0):
                for answer in map(pickle.loads, batch["answer"]):  # of our own workers
                    if isinstance(answer, VcworkError):
                        raise answer
                    yield answer
        except ray.exceptions.RayError as error:
            why = str(error).strip().splitlines()[0]
            raise VcworkError(f"Ray gave up ({type(error).__name__}: {why}); run again to resume") from error


class _RayWorker:
    """What an actor of Ray Data holds; an expected error travels as an answer, without Ray's traceback around it."""

    def __init__(self, work: Work) -> None:
        self.work = work

    def __call__(self, batch: dict) -> dict:
        try:
            answer = self.work(pickle.loads(batch["job"][0]))
        except VcworkError as error:
            answer = error
        return {"answer": [pickle.dumps(answer)]}


@contextlib.contextmanager
def _cluster(ray: Any, workers: int) -> Iterator[None]:
    """Inside, Ray is connected: as it was before, to the cluster of $RAY_ADDRESS, or to one of its own."""
    started = not ray.is_initialized()
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is reported to anybody unless asked for
    here = {} if os.environ.get("RAY_ADDRESS") else {"address": "local", "num_cpus": workers}
    quiet = {"include_dashboard": False, "object_store_memory": 200_000_000} if here else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Ray's own next versions
        if started:
            try:
                with environment(ONE_THREAD):
                    ray.init(log_to_driver=False, logging_level="ERROR", **here, **quiet)
            except Exception as error:  # Ray raises plain ones, too, where a node does not come up in time
                why = str(error).strip().splitlines()[0]
                raise VcworkError(f"Ray: no cluster at {os.environ.get('RAY_ADDRESS', 'hand')} ({why})") from error
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = context.print_on_execution_start = False
        context.target_max_block_size = 1  # a result is told when it is there, not when its block is full
        try:
            yield
        finally:
            if started:
                ray.shutdown()
