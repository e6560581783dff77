"""A folder of one's own videos in one go: looked at, features, embedded: `own_videos`.

Everything lies in a cache by content, so that a second run extracts nothing again, an interrupted one goes on, and a
changed, new or vanished file costs only itself. Without a checkpoint features are the image network's, whose classes
have names. It is asked by `vcwork.workbench.own_asking`; the pages made of it are `vcwork.workbench.own_pages`.
One run at a time works in a cache, others wait for it. Known gap: an encoder from frames (no vector a second) is not
taken.
"""

import os
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from vcwork.base.console import say
from vcwork.base.errors import VcworkError
from vcwork.base.files import alone, resolve, sha256_file, sha256_json
from vcwork.base.progress import SecondsBar
from vcwork.base.sealed import kept
from vcwork.data.backbones.image import Backbone, get_backbone
from vcwork.data.backbones.weights import fetched, have
from vcwork.data.corpus import Corpus, Video
from vcwork.data.extract import carry_over, contract_of, extract
from vcwork.data.speech import MODEL
from vcwork.data.store import Contract, FeatureStore, check_same, open_store
from vcwork.encoders.encoder import Encoder
from vcwork.encoders.load import load_encoder
from vcwork.measure.metrics import unit
from vcwork.review.drift import Drift
from vcwork.review.geometry import centred_units
from vcwork.search.index import VideoIndex
from vcwork.search.library import add_video
from vcwork.training.workspace import prepare
from vcwork.workbench.own_folder import digests, listed, look_at, place_of
from vcwork.workbench.own_words import NO_FILE, add_drift, add_words, words_line

NO_CHECKPOINT = (
    "No checkpoint, so what is shown is searched by the image network alone, or not at all. Any of these is one: a "
    "CLIP or SigLIP model, its folder or hub name; the released VideoCLIP (python -m vcwork fetch videoclip, then "
    "import); a model of your own (notebook 20)."
)
IMAGES = "efficientnet-lite0"  # the image network
SHOTS = "transnetv2"
WANTED = (IMAGES, "minilm")  # weights that a folder is better searched with
SHORT_MIN = 10  # of video: other processes would take longer to start than to help
SAVE_EVERY_S = 20  # of embedding: what an interruption can cost


@dataclass
class Own:
    """What was made of a folder: `out` holds cache and pages, `told` what a person should know.

    `library` has one vector a second and `means` one a video, both None without an encoder; `sources` are the sha256 of
    the video files by id; `eye` makes the features, None where it is not at hand; `ready` names the weights that are
    there; `asking` is what `vcwork.workbench.own_asking` makes of it, once. `words_from` says by id "subtitles FILE",
    "speech (MODEL)", which may be followed by "and text FILE", "text FILE" (without times) or ""; where asked for,
    `drift` is how far subtitles are off and `shots` are (start_s, end_s) by id.
    """

    corpus: Corpus
    store: FeatureStore
    encoder: Encoder | None
    out: Path
    library: VideoIndex | None = None
    means: VideoIndex | None = None
    sources: dict[str, str] = field(default_factory=dict)
    told: list[str] = field(default_factory=list)
    hashes: dict[str, str] = field(default_factory=dict)
    words_from: dict[str, str] = field(default_factory=dict)
    drift: dict[str, Drift] = field(default_factory=dict)
    eye: Backbone | None = None
    ready: Sequence[str] = ()
    shots: dict[str, list] = field(default_factory=dict)
    asking: Any = None

    @property
    def keeps(self) -> bool:
        """May something be kept in `out`? A feature store that somebody gave is left as it is."""
        return (self.out / "explore.json").is_file()

    @property
    def ids(self) -> list[str]:
        """Videos that have features, in the folder's order."""
        return [id for id in self.corpus.videos if id in self.store]


def own_videos(
    folder: str | Path | Corpus,
    checkpoint: str = "",
    backbone: str | Backbone = "",
    out: str | Path = "",
    *,
    limit: int = 0,
    links: bool = False,
    accept_contract: bool = False,
    workers: int = 0,
    speech: str = MODEL,
    drift: bool = False,
    fix: bool = False,
    progress: bool = True,
    offline: bool = False,
    shots: bool = False,
) -> Own:
    """Features and, with a checkpoint, embeddings of every video in `folder`, or what is missing of them.

    folder: as `look_at`, or the corpus that it gave. backbone: as `backbone_for`. out: the folder of cache and pages,
    empty: one under outputs/explore. limit: only so many videos, the first. links: also videos that are links to files
    outside of the folder. workers: processes, 0: as the work needs. speech: the model that hears what is said where no
    subtitle tells (`add_words`), empty: none. drift, fix: how far subtitles are off, and corrected copies
    (`add_drift`). offline: weights that are not there are not fetched. shots: moments that are shown are whole shots.
    VcworkError: a folder that is absent or holds no video that can be read, features that are not those the checkpoint
    reads (unless accept_contract), an `out` of another folder.
    """
    corpus = folder if isinstance(folder, Corpus) else look_at(folder, links)
    encoder, lacking = load_encoder(checkpoint) if checkpoint else None, []
    ready = have([*WANTED[bool(checkpoint or backbone) :], *[SHOTS] * shots], offline, lacking)
    eye = backbone_for(encoder, backbone or (IMAGES if IMAGES in ready else ""), checkpoint)
    if encoder is not None:
        check_contract(encoder.contract, contract_of(eye), checkpoint, accept_contract)
    out = place_of(corpus.folder, out)
    own = Own(corpus, None, encoder, out, eye=eye, ready=ready)
    with alone(out):
        own.sources, own.told = digests(corpus, out / "cache" / "files.json", limit, progress)
        own.told += lacking
        if limit:
            own.corpus = replace(corpus, videos=dict(list(corpus.videos.items())[:limit]))
        add_words(own, speech, offline, progress)
        if drift or fix:
            add_drift(own, speech, offline, fix, progress)
        own.store = _features(own, corpus, eye, workers, progress)
        own.hashes["features"] = own.store.digest()
        if encoder is None:
            own.told.append(NO_CHECKPOINT)
        else:
            own.hashes["checkpoint"] = encoder.digest
            own.library, own.means = _embedded(own, set(corpus.videos), progress)
        if shots and SHOTS in ready:
            own.shots = _shots(own, progress)
    return own


def opened(
    corpus: str, features: str, checkpoint: str, backbone: str = "", contract: str = "strict", seed: int = 0
) -> Own:
    """What notebook 40 stands on, by its parameters: the tiny lab world (nothing given), a corpus with its features,
    a feature store alone, or a folder of one's own videos, whose features are made here unless they are given.

    Without a checkpoint `encoder` is None, but for the lab world, which trains one. contract: strict, or accept a
    checkpoint trained on other features of the same width. VcworkError as the parts of it.
    """
    ws = prepare(corpus, features, checkpoint, seed, contract=contract)
    videos = bool(corpus) and not (resolve(corpus) / "corpus.json").is_file()
    if videos and not features:
        return own_videos(corpus, checkpoint, backbone, accept_contract=ws.any_contract)
    if videos:
        world = look_at(corpus)
        told = _moved(world, ws.store)
    elif features and not corpus:
        world, told = corpus_of(ws.store), ["A feature store alone: there is no video to play and nothing said."]
    else:
        world, told = ws.corpus, []
    encoder = ws.encoder if checkpoint or not (corpus or features) else None
    if encoder is not None:
        check_contract(encoder.contract, ws.store.contract, checkpoint, ws.any_contract)
    ready = [name for name in WANTED if fetched(name)]
    return Own(world, ws.store, encoder, ws.store.folder, told=told, hashes=ws.hashes, ready=ready)


def corpus_of(store: FeatureStore) -> Corpus:
    """A corpus of nothing but the store's ids and lengths."""
    videos = {id: Video(id, None, None, float(length), "test") for id, length in store.lengths.items()}
    return Corpus(store.folder, store.folder.name, videos)


def _moved(corpus: Corpus, store: FeatureStore) -> list[str]:
    """What no longer is as it was when the store was made of these videos."""
    made = store.manifest.get("sources", {})
    here = {v.id: sha256_file(v.video) for v in corpus.videos.values() if v.video is not None}
    lists = {
        "gone": [id for id in made if id not in here],
        "changed": [id for id in made if id in here and here[id] != made[id]],
        "without features": [id for id in here if id not in store],
    }
    return [f"Since the features were made: {some}." for some in listed(lists)]


# --------------------------------------------------------------------------------------------------------- features


def backbone_for(encoder: Encoder | None, name: str | Backbone = "", checkpoint: str = "") -> Backbone:
    """The backbone that makes what `encoder` reads; without an encoder the one of that name, or `motion`.

    name: motion, s3d, s3d:FILE of weights, the folder or hub name of an image model, or `peer:` and a dual encoder's;
    or a backbone, which is that one.
    VcworkError where it cannot be found out or had, saying what to give.
    """
    if encoder is None:
        return _named(name or "motion")
    if not encoder.per_second:
        raise VcworkError(f"{checkpoint}: reads whole clips and gives no vector a second, which this needs")
    if name:
        return _named(name, int(encoder.contract.fps))
    return encoder.own_backbone(f"{checkpoint}: give its folder as backbone")


def _named(name: str | Backbone, fps: int | None = None) -> Backbone:
    if not isinstance(name, str):
        return name
    if name.startswith("s3d:"):
        return get_backbone("s3d", weights=name.removeprefix("s3d:"))
    return get_backbone(name, **({} if fps is None or name in ("motion", "s3d") else {"fps": fps}))


def check_contract(wanted: Contract, here: Contract, checkpoint: str, accept: bool = False) -> None:
    """VcworkError naming what differs between the features a checkpoint reads and those to be made, unless accepted.

    Another width is never accepted.
    """
    if not accept or wanted.width != here.width:
        hint = "" if wanted.width != here.width else ", or --accept-contract to use it knowingly"
        complaint = f"{checkpoint}: was trained on other features; give its own backbone{hint}"
        check_same(complaint, wanted, here)


def _features(own: Own, whole: Corpus, eye: Backbone, workers: int, progress: bool) -> FeatureStore:
    """A finished store that has these very files, or a new one that begins with all that older ones have of them."""
    cache, contract = own.out / "cache", contract_of(eye)
    wanted = {id: own.sources[id] for id in own.corpus.videos if id in own.sources}
    stores = _stores(cache, contract)
    for store in stores:
        made = store.manifest.get("sources", {})
        if all(made.get(id) == source for id, source in wanted.items()):
            return store
    known = {id for store in stores for id, s in store.manifest["sources"].items() if own.sources.get(id) == s}
    videos = {id: video for id, video in whole.videos.items() if id in wanted or id in known}
    content = sha256_json({id: own.sources[id] for id in videos if id in own.sources})[:12]
    folder = cache / f"features-{contract.digest()[:12]}-{content}"
    for store in stores:
        carry_over(store, folder)
    minutes = sum(video.duration_s for id, video in videos.items() if id not in known) / 60
    workers = workers or (1 if minutes < SHORT_MIN else min(4, os.cpu_count() or 1))
    made = extract(replace(whole, videos=videos), eye, folder, workers, progress)
    for path in cache.glob(f"features-{contract.digest()[:12]}-*"):
        if path != folder:  # all of it that still counts is in the new one
            shutil.rmtree(path, ignore_errors=True)
    return made


def _stores(cache: Path, contract: Contract) -> list[FeatureStore]:
    """Finished stores of this contract in the cache; a damaged one is made again."""
    found = []
    for path in sorted(cache.glob(f"features-{contract.digest()[:12]}-*/manifest.json")):
        try:
            found.append(open_store(path.parent, contract, verify=True))
        except VcworkError as error:
            _made_again(path.parent, error)
    return found


# -------------------------------------------------------------------------------------------------------- embedding


def _embedded(own: Own, in_folder: set[str], progress: bool) -> tuple[VideoIndex, VideoIndex]:
    """Indices of seconds and of videos, kept up with the folder; those of `own`'s videos, the rest stays on disk."""
    key = sha256_json([own.encoder.digest, own.store.contract.digest()])[:12]
    at = [own.out / "cache" / f"{what}-{key}" for what in ("videos", "seconds")]
    about = own.encoder.digest, own.encoder.width
    means, seconds = (open_index(path, *about) for path in at)
    known = {id: means.entry(id)["source"] for id in means.ids}
    held = {e["video"] for e in seconds.metadata} & in_folder
    old = [id for id, source in known.items() if id not in held or own.sources.get(id, source) != source]
    if old:  # forgotten first, so that an interruption never leaves a video under another file's name
        means.delete(old)
        means.save(at[0])
    if _forget(seconds, {e["video"] for e in seconds.metadata} - set(means.ids)):
        seconds.save(at[1])
    try:
        _add_missing(own, means, seconds, at, progress)
    except BaseException:  # whoever keeps the error keeps the indices, and with them the lock of what is not saved
        means.detach()
        seconds.detach()
        raise
    if others := set(means.ids) - set(own.ids):
        means.detach()
        seconds.detach()
        means.delete(list(others))
        _forget(seconds, others)
    return seconds, means


def _add_missing(own: Own, means: VideoIndex, seconds: VideoIndex, at: list[Path], progress: bool) -> None:
    """Embed the videos that are not in the indices yet, and save these in the folders `at`."""
    saved = time.monotonic()
    todo = [id for id in own.ids if id not in means]
    with SecondsBar("embedding", _lengths(own), todo, progress and bool(todo)) as bar:
        for id in todo:
            vectors = add_video(seconds, own.encoder, id, own.store[id], "second")  # (T, D)
            means.add(vectors.mean(0, keepdims=True), [id], [{"video": id, "source": own.sources.get(id, "")}])
            if time.monotonic() - saved > SAVE_EVERY_S or id == todo[-1]:
                seconds.save(at[1])
                means.save(at[0])
                saved = time.monotonic()
            bar.ended(id)


def open_index(path: Path | None, digest: str, width: int) -> VideoIndex:
    """The index in a folder, an empty one where it is absent, unfinished, damaged or of another maker."""
    try:
        if path is not None and path.exists():
            return VideoIndex.open(path, digest)
    except VcworkError as error:
        _made_again(path, error)
    return VideoIndex(width, digest)


def _made_again(folder: Path, error: VcworkError) -> None:
    say(f"{error}; it is made again", file=sys.stderr)
    shutil.rmtree(folder, ignore_errors=True)


def _forget(seconds: VideoIndex, videos: set[str]) -> bool:
    """Whether there was something of these videos to delete."""
    ids = [id for id, e in zip(seconds.ids, seconds.metadata, strict=True) if e["video"] in videos] if videos else []
    if ids:
        seconds.delete(ids)
    return bool(ids)


def _lengths(own: Own) -> dict[str, float]:
    return {id: own.corpus[id].duration_s for id in own.ids}


def _shots(own: Own, progress: bool) -> dict[str, list]:
    """Shots of each video, found once for its file's content."""
    from vcwork.data.shots import shots  # torch

    found = {}
    with SecondsBar("shots", _lengths(own), own.ids, progress) as bar:
        for id in own.ids:
            path = own.out / "cache" / "shots" / f"{own.sources[id][:24]}.json"
            try:
                found[id] = kept(path, own.sources[id], lambda id=id: shots(own.corpus[id].video, bar.more))
            except VcworkError as error:
                own.told.append(f"No shots of {id}: {own.corpus.relative(error)}")
            bar.ended(id)
    return found


def video_vectors(own: Own) -> np.ndarray:
    """One vector a video of `own.ids`, (N, D): the mean over its seconds, of embeddings or, without, of features."""
    if own.means is not None:
        place = {id: i for i, id in enumerate(own.means.ids)}
        return own.means.vectors[[place[id] for id in own.ids]]
    return np.stack([own.store[id].mean(0, dtype=np.float32) for id in own.ids])


def nearest(vectors: np.ndarray, k: int = 4) -> list[list[tuple[int, float]]]:
    """The k nearest others of each of N vectors (N, D), best first, as (place, cosine).

    What all have in common, their mean, is taken off first (of three or more): it would make all look alike. Equal
    cosines come in order of place; a vector that is nothing but the mean has cosine 0 with all.
    """
    vectors = np.asarray(vectors, dtype=np.float64)
    units = centred_units(vectors) if len(vectors) >= 3 else unit(vectors)
    found = []
    for i, cosines in enumerate(units @ own for own in units):
        others = [int(j) for j in np.argsort(-cosines, kind="stable") if j != i][:k]
        found.append([(j, float(cosines[j])) for j in others])
    return found


# ------------------------------------------------------------------------------------------------------------ told


def clock(seconds: float) -> str:
    """`0:07`, `1:02:03`."""
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute}:{second:02d}"


def summary(own: Own) -> str:
    """What was found, what is missing and why, a line each."""
    captioned = sum(bool(own.corpus.captions(id)) for id in own.ids)
    seconds = sum(own.store.lengths[id] for id in own.ids)
    lines = [
        f"{own.corpus.folder.name}: {len(own.ids)} videos, {clock(seconds)} in all, {captioned} with captions; "
        f"features of {own.store.contract.backbone}"
    ]
    lines += [words_line(own)] if own.words_from else []
    lines += [f"not used: {why}" for why in problems(own)]
    return "\n".join([*lines, *own.told])


def problems(own: Own) -> list[str]:
    """Every file that is not used, and why: videos, then captions."""
    failed = {id: why for id, why in own.store.failed.items() if id in own.corpus.videos}
    unread = {id: why for id, why in own.corpus.missing_captions.items() if not why.startswith(NO_FILE)}
    found = [*(own.corpus.missing_videos | failed).items(), *unread.items()]
    told = [(id, own.corpus.relative(why)) for id, why in found]
    return [why if why.startswith(id) else f"{id}: {why}" for id, why in told]  # most begin with the file
