"""What is done over and over in a soak: one function a load, which says `tick()` after each unit.

Every load uses the workbench as a person would, on a world of six films that is made once (`world`).
"""

import asyncio
import http.client
import itertools
import threading
import time
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from films import film
from toys import toy_encoder

from soak.held import Highest
from vcwork.base.errors import VcworkError
from vcwork.core.batches import PairData
from vcwork.core.loop import StepRecord, pretrain
from vcwork.core.sampling import Track
from vcwork.core.text import SPECIAL, Tokenizer
from vcwork.data.backbones.image import get_backbone
from vcwork.data.corpus import Corpus, open_corpus
from vcwork.data.engines import each
from vcwork.data.extract import extract
from vcwork.data.film import open_video
from vcwork.data.kept import Kept
from vcwork.data.lab.make import LabConfig, make_corpus
from vcwork.data.store import FeatureStore, open_store, write_store
from vcwork.data.video import frames_at, iter_seconds, probe
from vcwork.encoders.encoder import Encoder, encode_all_seconds, encode_text
from vcwork.encoders.load import load_encoder
from vcwork.panels.make_alignment import explore
from vcwork.panels.training import TrainingPanel
from vcwork.search.index import VideoIndex
from vcwork.search.library import build_library
from vcwork.tasks.cases import annotated_clips
from vcwork.training.run import train
from vcwork.training.workspace import tiny_recipe

Tick = Callable[[], None]
SMALL = LabConfig(
    train_families=1, val_families=1, test_families=1, train_videos=1, val_videos=1, test_videos=1, steps=3, size=64
)
BATCHES_MB = 60  # of a training's batches, whatever the size of its store


class World:
    """Six films, their features, a model trained for a moment, and an index, each made when first asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @cached_property
    def corpus(self) -> Corpus:
        return make_corpus(self.folder / "corpus", SMALL, workers=1, progress=False, kept=Kept(None))

    @cached_property
    def store(self) -> FeatureStore:
        return extract(self.corpus, get_backbone("motion"), self.folder / "features", workers=1, progress=False)

    @cached_property
    def encoder(self) -> Encoder:
        return train(self.corpus, self.store, self.folder / "checkpoint", recipe_of(1))

    @cached_property
    def library(self) -> VideoIndex:
        return build_library(self.encoder, self.store, "second")


def recipe_of(epochs: int) -> Any:
    train = tiny_recipe().train.model_copy(update={"epochs": epochs, "passes_per_epoch": 4, "keep": "best"})
    return tiny_recipe().model_copy(update={"train": train})


def decoded(world: World, units: int, tick: Tick) -> None:
    """Films of several kinds read whole and in places; every fifth is cut off, or none at all."""
    kinds = {"h264.mp4": ("libx264", "aac"), "vp9.webm": ("libvpx-vp9", "libopus"), "mpeg4.avi": ("mpeg4", "")}
    films = [film(world.folder / name, *codecs, seconds=3.0) for name, codecs in kinds.items()]
    cut, none = world.folder / "cut.mp4", world.folder / "none.mp4"
    cut.write_bytes(films[0].read_bytes()[:-3000])
    none.write_bytes(b"no film at all" * 100)
    films += [cut, none]
    for unit in range(units):
        path = films[unit % len(films)]
        try:
            probe(path)
            list(iter_seconds(path, 10, 64))
            frames_at(path, [0.5, 2.0], 48)
            next(iter_seconds(path, 10, 64))  # looked into and left
            with open_video(path) as (container, stream):
                next(container.decode(stream))
        except VcworkError:
            assert path in (cut, none), path
        tick()


def trained(world: World, units: int, tick: Tick) -> None:
    """Epochs of one training: pairs drawn, read ahead, updated, validated, logged and kept."""
    from vcwork.training.watch import Watcher

    class Epochs(Watcher):
        def validated(self, *_: object) -> None:
            tick()

    train(world.corpus, world.store, world.folder / "trained", recipe_of(units), watch=Epochs())


def panels(world: World, units: int, tick: Tick) -> None:
    """Sentences asked of a panel, other videos opened in it, its page and picture made; curves pushed to a widget."""
    panel = explore(world.corpus, world.store, world.encoder, library=world.library, max_kb=60)
    curves = TrainingPanel()
    curves._live, curves._wait = curves.widget(), 0  # as `show_live` before somebody's eyes, every update pushed
    curves.began(units, None)
    for unit in range(units):
        others = panel.videos[unit % len(panel.videos)]
        assert panel.answer({"ask": f"pour the {unit}"}) and panel.answer({"open": others, "sentence": "cut"})
        if unit % 10 == 0:
            assert panel.page() and panel.picture()
        record = [0, unit % 20, 1.0, 2.0, 0.1, 1e-3, 1.0, False, 1.0, 1.0, 1.0, 1.0, -1.0, None]
        curves(StepRecord(*record))  # of twenty updates again and again: a log grows by right
        tick()


def stores(world: World, units: int, tick: Tick) -> None:
    """Stores, corpora, models and indexes opened, read a little, and let go."""
    at = world.library.save(world.folder / "library")
    text = encode_text(world.encoder, ["pour"])
    for unit in range(units):
        store = open_store(world.store.folder, verify=unit % 10 == 0)
        assert store[store.ids[unit % len(store)]].any()
        if unit % 5 == 0:
            corpus = open_corpus(world.corpus.folder)
            assert annotated_clips(corpus, store, "test") and corpus.captions(store.ids[0]) is not None
            assert VideoIndex.open(at).query(text, k=3) and load_encoder(world.folder / "checkpoint")
        tick()


def kept_open(world: World, units: int, tick: Tick) -> None:
    """Stores that all stay open, as the shards of a very large one would: none may keep a file."""
    held: list[tuple[FeatureStore, np.ndarray]] = []
    for unit in range(units):
        store = open_store(world.store.folder, verify=False)
        held.append((store, store[store.ids[unit % len(store)]]))
        tick()
    assert all(row.any() for _, row in held)


def pools(world: World, units: int, tick: Tick) -> None:
    """A pool of two processes a unit: every job done, or left after the first."""
    for unit in range(units):
        results = each(abs, [*range(-6, 0)], workers=2)
        assert next(results) > 0
        if unit % 2:
            assert len([*results]) == 5
        results.close()
        end = time.monotonic() + 20  # a pool that was left ends beside us
        while len(psutil.Process().children()) > 1 and time.monotonic() < end:  # one stays: multiprocessing's tracker
            time.sleep(0.05)
        tick()


def served(world: World, units: int, tick: Tick) -> None:
    """Requests to the server of pages, whole, in ranges, and hung up in the middle."""
    from tornado.httpserver import HTTPServer
    from tornado.netutil import bind_sockets

    from vcwork.workbench.serve import application

    page, clip, token = world.folder / "index.html", world.folder / "served.mp4", "t" * 32
    page.write_text("<html><head></head></html>")
    clip.write_bytes(bytes(2_000_000))
    app = application({"index.html": page}, {"clip": clip}, lambda *_: {"hits": []}, lambda *_: None, token)
    (socket,), loops = bind_sockets(0, "127.0.0.1")[:1], []
    ready = threading.Event()

    async def run() -> None:
        stop = asyncio.Event()
        loops.extend([asyncio.get_running_loop(), stop])
        server = HTTPServer(app)
        server.add_socket(socket)
        ready.set()
        await stop.wait()
        server.stop()
        await server.close_all_connections()

    thread = threading.Thread(target=asyncio.run, args=(run(),))
    thread.start()
    ready.wait(10)
    for unit in range(units):
        path = ("", "search?q=cut", "clip", "nothing")[unit % 4]
        connection = http.client.HTTPConnection("127.0.0.1", socket.getsockname()[1], timeout=10)
        connection.request("GET", f"/{token}/{path}")
        answer = connection.getresponse()
        answer.read(100 if unit % 3 else None)
        connection.close()
        asyncio.run_coroutine_threadsafe(asyncio.sleep(0.002), loops[0]).result()  # the server sees who hung up
        tick()
    loops[0].call_soon_threadsafe(loops[1].set)
    thread.join(10)


def beyond_memory(world: World, units: int, tick: Tick) -> None:
    """A store of ten times the memory that may be used: written, verified, trained on, and read whole by a model.

    A unit is 10 MB of it. VcworkError where more was held at any moment than a megabyte a unit, or than BATCHES_MB.
    """
    use_large(world.folder / "small", 1, lambda: None)  # what libraries load when they are first used
    with Highest() as highest:
        use_large(world.folder / "large", units, tick)
    if highest.mb > max(units, BATCHES_MB):
        raise VcworkError(f"of {units * 10} MB of features {highest.mb:.0f} MB were held")


def use_large(folder: Path, units: int, tick: Tick) -> None:
    seconds, width = 256, 512  # 1 kB a second, 40 videos a unit
    tokenizer = Tokenizer([*SPECIAL, "cut", "pour"])
    encoder, rng = toy_encoder(tokenizer, width), np.random.default_rng(0)
    block = rng.normal(size=(seconds + 40, width)).astype(np.float16)
    rows = ((f"v{v}", block[v % 40 :][:seconds]) for v in range(40 * units))
    write_store(folder, encoder.contract, rows, shard_rows=1 << 13)
    store = open_store(folder, verify=True)
    starts = np.arange(0, seconds, 8.0)
    tracks = [Track(id, starts, starts + 8, ((5, 6),) * len(starts), seconds) for id in store.ids]
    config = recipe_of(1).train.model_copy(update={"passes_per_epoch": 1})
    clusters = config.clusters.model_copy(update={"start_epoch": 0, "clips_for_vector": 1})
    config = config.model_copy(update={"clusters": clusters})
    updates = pretrain(encoder.model, tokenizer, PairData(tracks, [store[id] for id in store.ids]), config)
    assert len([*itertools.islice(updates, 30)]) == min(30, 40 * units // clusters.videos_per_batch)
    updates.close()
    for v, states in enumerate(encode_all_seconds(encoder, (store[id] for id in store.ids)), 1):
        assert len(states) == seconds
        if v % 40 == 0:
            tick()


# {name: (load, units of the whole soak, units in the tests)}
LOADS: dict[str, tuple[Callable[[World, int, Tick], None], int, int]] = {
    "films decoded": (decoded, 500, 40),
    "epochs trained": (trained, 50, 9),
    "updates of panels": (panels, 200, 12),
    "stores opened": (stores, 1000, 40),
    "stores kept open": (kept_open, 1000, 300),
    "requests served": (served, 1000, 80),
    "pools of processes": (pools, 24, 6),
    "ten times its memory": (beyond_memory, 200, 15),
}
