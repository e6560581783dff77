"""From videos to features: run a frozen backbone over a corpus, in a few processes or on a cluster, into a store.

Extraction keeps one part per video, named by the video's content, so an interrupted run resumes and an edited video is
done again; shards are joined in corpus order, so neither the number of workers nor an interruption changes a byte.
The store itself is `vcwork.data.store`, the report `vcwork.data.coverage`, who works `vcwork.data.engines`.
"""

import contextlib
import functools
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from vcwork.base.console import say
from vcwork.base.errors import VcworkError
from vcwork.base.files import atomic_write, resolve, sha256_file, sha256_json
from vcwork.data.addresses import Address, at_hand
from vcwork.data.backbones.image import Backbone
from vcwork.data.corpus import Corpus, Video
from vcwork.data.engines import each
from vcwork.data.kept import Kept
from vcwork.data.store import Contract, FeatureStore, as_float16, load_npy, open_store, save_npy, write_store
from vcwork.data.video import iter_seconds


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
    corpus: Corpus, backbone: Backbone, folder: str | Path, workers: int | None = None, progress: bool = True,
    engine: str = "processes",
) -> FeatureStore:  # fmt: skip
    """Features of every video of `corpus`, one a second, into `folder`; a finished store of the same videos is reused.

    A video that does not decode is counted in `failed`; features that are not finite or of another width than promised,
    a full disk, an address that cannot be reached and a folder holding other features stop it (VcworkError). `workers`
    of one thread each (None: one a core), `engine`: see `vcwork.data.engines.each`; 1 of processes works in this one. A
    script that calls this with more needs the usual `if __name__ == "__main__":`. Neither changes a byte of the store.
    Features of the lab world that an earlier run made lie in `outputs/cache` (`vcwork.data.kept`).
    """
    folder, contract = resolve(folder), contract_of(backbone)
    failed = {id: why for id, why in corpus.missing_videos.items() if id in corpus.videos}
    videos, sources = [v for v in corpus.videos.values() if v.video is not None], {}
    for video in videos:
        try:
            sources[video.id] = _source_hash(video)
        except VcworkError as error:  # gone since the corpus was looked at
            failed[video.id] = str(error)
    videos = [video for video in videos if video.id in sources]
    if (folder / "manifest.json").exists():
        return _reusable(open_store(folder, contract), sources)
    paths = {id: _part(folder, contract, id, source) for id, source in sources.items()}
    jobs = [(v.id, v.video) for v in videos if not paths[v.id].exists()]
    code = getattr(backbone, "code", "") if corpus.name == "lab" else ""  # nothing is kept of a user's own videos
    kept = Kept() if code else Kept(None)
    made = {id: ["features", contract.digest(), code, sources[id]] for id, _ in jobs}
    jobs = [(id, film) for id, film in jobs if not kept.take(made[id], paths[id])]
    if progress and len(jobs) < len(made):
        say(f"features of {len(made) - len(jobs)} of {len(videos)} videos come from an earlier run: {kept.where}")
    known = {"total": len(videos), "initial": len(videos) - len(jobs), "desc": "features", "unit": "video"}
    with contextlib.closing(each(functools.partial(_one, backbone), jobs, workers, engine)) as results:
        for id, array, why in tqdm(results, **known, disable=not progress):
            if why:
                failed[id] = why
                continue
            _save_part(paths[id], array)
            kept.keep(made[id], paths[id])
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
    """What changes with the film: sha256 of a file, what its store tells of one at an address."""
    if isinstance(video.video, Address):
        return video.video.stamp
    try:
        return sha256_file(video.video)
    except OSError as error:
        raise VcworkError(f"{video.video}: could not be read ({error.strerror or error})") from error


def _one(backbone: Backbone, job: tuple[str, Path | Address]) -> tuple[str, np.ndarray | None, str]:
    """(id, features, why none). Not decoding is a result, as (id, None, why); everything else wrong is raised."""
    (id, film), features = job, []
    try:
        with at_hand(film) as path:
            chunks = chunks_of(backbone, path)
            while True:
                try:
                    frames = next(chunks, None)
                except VcworkError as error:
                    return id, None, str(error).replace(str(path), str(film))
                if frames is None:
                    break
                features.append(backbone(frames))
    except FileNotFoundError:  # of an address; a path that leads nowhere is told by the decoder
        return id, None, f"{film}: no such video file"
    return id, as_float16(np.stack(features), backbone.width, f"{film}: features of {backbone.name}"), ""


def _save_part(part: Path, array: np.ndarray) -> None:
    with atomic_write(part, "wb") as file:
        save_npy(file, array)
