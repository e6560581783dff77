"""From videos to features: run a frozen backbone over a corpus, in a few processes or on a cluster, into a store.

Extraction keeps one part per video, named by the video's content and by its own, so an interrupted run resumes and an
edited video or a damaged part is done again; shards are joined in corpus order, so neither the number of workers nor an
interruption changes a byte. Of two extractions into one folder the second waits, and finds it done.
The store itself is `vcwork.data.store`, the report `vcwork.data.coverage`, who works `vcwork.data.engines`.
"""

import contextlib
import functools
import math
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from vcwork.base.console import say
from vcwork.base.errors import VcworkError, could_not
from vcwork.base.files import alone, resolve, sha256_file
from vcwork.base.progress import SecondsBar
from vcwork.base.sealed import begin
from vcwork.data.addresses import Address, at_hand
from vcwork.data.backbones.image import Backbone
from vcwork.data.corpus import Corpus
from vcwork.data.engines import each, report
from vcwork.data.kept import Kept
from vcwork.data.store import STORE, Contract, FeatureStore, as_float16, load_npy, npy_bytes, open_store, write_store
from vcwork.data.video import iter_seconds

STILL = 10  # chunks of the same frames after which more of them are not looked at


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
    sources, failed = _sources(corpus)
    with alone(folder):
        if (folder / STORE.manifest).exists():
            shutil.rmtree(folder / ".parts", ignore_errors=True)  # of a process that was killed just before
            return _reusable(open_store(folder, contract), sources)
        code = getattr(backbone, "code", "") if corpus.name == "lab" else ""  # nothing is kept of a user's own videos
        parts = _Parts(folder, contract, sources, code)
        jobs = [(id, corpus.videos[id].video) for id in sources if id not in parts]
        parts.tell(progress)
        seconds = {id: corpus.videos[id].duration_s for id in sources}
        with (
            SecondsBar("features", seconds, [id for id, _ in jobs], progress) as told,
            contextlib.closing(each(functools.partial(_one, backbone), jobs, workers, engine, told.more)) as results,
        ):
            for id, array, why in results:
                told.ended(id)
                if why:
                    failed[id] = why
                else:
                    parts[id] = array
        done = [id for id in sources if id not in failed]
        if not done:
            raise VcworkError(f"{folder}: no video gave features; {next(iter(failed.values()), 'the corpus is empty')}")
        failed = {id: corpus.relative(failed[id]) for id in corpus.videos if id in failed}  # whoever finished first
        store = write_store(folder, contract, ((id, parts[id]) for id in done), failed, sources=sources)
        shutil.rmtree(parts.folder, ignore_errors=True)
        return store


def carry_over(store: FeatureStore, folder: str | Path) -> int:
    """Make what a finished store holds the beginning of an extraction into `folder`; how many videos that is.

    `extract` with the store's backbone then runs only over videos that are new or whose file has changed.
    """
    sources = {id: source for id, source in store.manifest.get("sources", {}).items() if id in store}
    parts = _Parts(resolve(folder), store.contract, sources)
    for id in sources:
        if id not in parts:
            parts[id] = store[id]
    return len(sources)


class _Parts(Kept):
    """Features of single videos, which wait for the others; those of another film or contract have another name.

    With `code`, the backbone's, they are also kept for later runs, and taken from earlier ones.
    """

    def __init__(self, folder: Path, contract: Contract, sources: dict[str, str], code: str = "") -> None:
        begin(folder, STORE)
        super().__init__(folder / ".parts", math.inf)
        self._made = {id: ["features", contract.digest(), code, source] for id, source in sources.items()}
        self._earlier, self._taken = Kept() if code else Kept(None), 0

    def __contains__(self, id: str) -> bool:
        if self.find(self._made[id]):
            return True
        if path := self._earlier.find(self._made[id]):
            self.put(self._made[id], path.read_bytes(), ".npy")
            self._taken += 1
        return path is not None

    def __getitem__(self, id: str) -> np.ndarray:
        path = self.find(self._made[id])
        if path is None:
            raise VcworkError(f"{self.folder}: features of {id!r} were damaged in the meantime; run it again")
        return load_npy(path)

    def __setitem__(self, id: str, array: np.ndarray) -> None:
        self._earlier.keep(self._made[id], self.put(self._made[id], npy_bytes(array), ".npy"))

    def tell(self, progress: bool) -> None:
        """How many come from earlier runs."""
        if progress and self._taken:
            told = f"features of {self._taken} of {len(self._made)} videos come from an earlier run"
            say(f"{told}: {self._earlier.where}")


def _sources(corpus: Corpus) -> tuple[dict[str, str], dict[str, str]]:
    """{id: what changes with its film} of every video that is there, and {id: why} of those that are not."""
    failed = {id: why for id, why in corpus.missing_videos.items() if id in corpus.videos}
    sources = {}
    for video in corpus.videos.values():
        try:
            if video.video is not None:
                sources[video.id] = _source_hash(corpus, video.video)
        except VcworkError as error:  # gone since the corpus was looked at
            failed[video.id] = str(error)
    return sources, failed


def _reusable(store: FeatureStore, sources: dict[str, str]) -> FeatureStore:
    made = store.manifest.get("sources", {})
    other = [id for id in {**sources, **made} if sources.get(id) != made.get(id)]
    if other:
        what = f"{len(other)} videos differ, among them {other[0]!r}"
        raise VcworkError(f"{store.folder}: holds features of another corpus, {what}; choose another folder")
    return store


def _source_hash(corpus: Corpus, film: Path | Address) -> str:
    """What changes with the film: sha256 of a file, what its store tells of one at an address."""
    if isinstance(film, Address):
        return film.stamp
    with could_not(f"{film}: could not be read"):
        digest = sha256_file(film)
    corpus.check(film, digest)
    return digest


def _one(backbone: Backbone, job: tuple[str, Path | Address]) -> tuple[str, np.ndarray | None, str]:
    """(id, features, why none). Not decoding is a result, as (id, None, why); everything else wrong is raised.

    Each row is copied: kept in torch's memory, it leaves a hole among what the network takes and frees, and a film of
    three hours took 11 GB.
    """
    (id, film), features, before, still = job, [], None, 0
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
                still = still + 1 if np.array_equal(frames, before) else 0
                features.append(features[-1] if still > STILL else np.array(backbone(frames)))
                before = frames
                report(1)
    except FileNotFoundError:  # of an address; a path that leads nowhere is told by the decoder
        return id, None, f"{film}: no such video file"
    return id, as_float16(np.stack(features), backbone.width, f"{film}: features of {backbone.name}"), ""
