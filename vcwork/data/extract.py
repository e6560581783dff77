"""From videos to features: run a frozen backbone over a corpus, in a few processes, into a feature store.

Extraction keeps one part per video, named by the video's content, so an interrupted run resumes and an edited video is
done again; shards are joined in corpus order, so neither the number of workers nor an interruption changes a byte.
The store itself is `vcwork.data.store`, the report `vcwork.data.coverage`.
"""

import contextlib
import multiprocessing
import os
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from vcwork.base.errors import VcworkError
from vcwork.base.files import atomic_write, resolve, sha256_file, sha256_json
from vcwork.data.backbones.image import Backbone
from vcwork.data.corpus import Corpus, Video
from vcwork.data.store import Contract, FeatureStore, as_float16, load_npy, open_store, save_npy, write_store
from vcwork.data.video import iter_seconds

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def contract_of(backbone: Backbone) -> Contract:
    """The contract that features of `backbone` stand under."""
    return Contract(
        backbone.name, backbone.weights, float(backbone.fps), backbone.size, backbone.normalisation, backbone.width
    )


def chunks_of(backbone: Backbone, path: str | Path) -> Iterator[np.ndarray]:
    """The frames of each feature of a video, in order: the backbone's own `read(path)` if it has one, else seconds.

    A backbone reads for itself where its chunks are not seconds, or its resizing is not that of `iter_seconds`.
    """
    read = getattr(backbone, "read", None)
    return read(path) if read else iter_seconds(path, int(backbone.fps), backbone.size)


def extract(
    corpus: Corpus, backbone: Backbone, folder: str | Path, workers: int = 2, progress: bool = True
) -> FeatureStore:
    """Features of every video of `corpus`, one a second, into `folder`; a finished store of the same videos is reused.

    A video that does not decode is counted in `failed`; features that are not finite or of another width than promised,
    a full disk, and a folder holding other features stop it (VcworkError). `workers` processes of one thread each; 1
    works in this one. A script that calls this with more needs the usual `if __name__ == "__main__":`.
    """
    folder, contract = resolve(folder), contract_of(backbone)
    videos = [v for v in corpus.videos.values() if v.video is not None]
    sources = {v.id: _source_hash(v) for v in videos}
    if (folder / "manifest.json").exists():
        return _reusable(open_store(folder, contract), sources)
    paths = {id: _part(folder, contract, id, source) for id, source in sources.items()}
    jobs = [(v, paths[v.id]) for v in videos if not paths[v.id].exists()]
    failed = {id: why for id, why in corpus.missing_videos.items() if id in corpus.videos}
    failed |= {id: why for id, why in _run(jobs, backbone, workers, progress, len(videos)) if why}
    done = [v.id for v in videos if v.id not in failed]
    if not done:
        raise VcworkError(f"{folder}: no video gave features; {next(iter(failed.values()), 'the corpus is empty')}")
    failed = {id: corpus.relative(failed[id]) for id in corpus.videos if id in failed}  # whoever finished first
    arrays = ((id, load_npy(paths[id])) for id in done)
    store = write_store(folder, contract, arrays, failed, sources=sources)
    shutil.rmtree(folder / ".parts", ignore_errors=True)
    return store


def carry_over(store: FeatureStore, folder: str | Path) -> int:
    """Make what a finished store holds the beginning of an extraction into `folder`; how many videos that is.

    `extract` with the store's backbone then runs only over videos that are new or whose file has changed.
    """
    count = 0
    for id, source in store.manifest.get("sources", {}).items():
        part = _part(resolve(folder), store.contract, id, source)
        if id in store and not part.exists():
            _save_part(part, store[id])
        count += id in store
    return count


def _part(folder: Path, contract: Contract, id: str, source: str) -> Path:
    """Where one video's features wait for the others; another file of that name, or contract, has another place."""
    return folder / ".parts" / contract.digest()[:16] / f"{sha256_json([id, source])[:32]}.npy"


def _reusable(store: FeatureStore, sources: dict[str, str]) -> FeatureStore:
    made = store.manifest.get("sources", {})
    other = [id for id in {**sources, **made} if sources.get(id) != made.get(id)]
    if other:
        what = f"{len(other)} videos differ, among them {other[0]!r}"
        raise VcworkError(f"{store.folder}: holds features of another corpus, {what}; choose another folder")
    return store


def _source_hash(video: Video) -> str:
    try:
        return sha256_file(video.video)
    except OSError as error:
        raise VcworkError(f"{video.video}: could not be read ({error.strerror or error})") from error


def _run(jobs: list, backbone: Backbone, workers: int, progress: bool, total: int) -> Iterator[tuple[str, str]]:
    """(id, '' or why it failed) of each job, as they finish."""
    workers = max(1, min(workers, len(jobs)))
    bar = tqdm(total=total, initial=total - len(jobs), desc="features", unit="video", disable=not progress)
    with bar:
        for result in _in_pool(jobs, backbone, workers) if workers > 1 else (_one(backbone, *job) for job in jobs):
            bar.update()
            yield result


def _in_pool(jobs: list, backbone: Backbone, workers: int) -> Iterator[tuple[str, str]]:
    context = multiprocessing.get_context("spawn")
    with (
        _one_thread_each(),
        ProcessPoolExecutor(workers, context, initializer=_start_worker, initargs=(backbone,)) as pool,
    ):
        try:
            for future in as_completed([pool.submit(_one_here, *job) for job in jobs]):
                yield future.result()
        except BrokenProcessPool as error:
            hint = 'out of memory, or a script without `if __name__ == "__main__":`'
            raise VcworkError(f"a worker process ended ({hint}); run again to resume, or with workers=1") from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


@contextlib.contextmanager
def _one_thread_each() -> Iterator[None]:
    """Processes that start inside compute with one thread each: their libraries ask the environment when loaded."""
    before = {name: os.environ[name] for name in THREADS if name in os.environ}
    os.environ.update(dict.fromkeys(THREADS, "1"))
    try:
        yield
    finally:
        for name in THREADS:
            os.environ.pop(name, None)
        os.environ.update(before)


_worker_backbone: Backbone | None = None


def _start_worker(backbone: Backbone) -> None:
    global _worker_backbone
    _worker_backbone = backbone
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A worker whose parent was killed would wait for its next video for ever."""
    multiprocessing.parent_process().join()
    os._exit(1)


def _one_here(video: Video, part: Path) -> tuple[str, str]:
    return _one(_worker_backbone, video, part)


def _one(backbone: Backbone, video: Video, part: Path) -> tuple[str, str]:
    """Write one video's part. Not decoding is a result, told as (id, why); everything else wrong is raised."""
    chunks, features = chunks_of(backbone, video.video), []
    while True:
        try:
            frames = next(chunks, None)
        except VcworkError as error:
            return video.id, str(error)
        if frames is None:
            break
        features.append(backbone(frames))
    array = as_float16(np.stack(features), backbone.width, f"{video.video}: features of {backbone.name}")
    _save_part(part, array)
    return video.id, ""


def _save_part(part: Path, array: np.ndarray) -> None:
    with atomic_write(part, "wb") as file:
        save_npy(file, array)
