"""Extraction from addresses and on Ray: the same bytes as one process, whatever dies, leaves or cannot be reached."""

import errno
import functools
import http.server
import os
import signal
import sys
import threading

import numpy as np
import pytest
from checks import refused, tree

from vcwork.base.errors import VcworkError
from vcwork.core.text import Tokenizer
from vcwork.data.captions import CaptionReport, read_captions
from vcwork.data.corpus import scan_folder
from vcwork.data.coverage import coverage_of
from vcwork.data.engines import each
from vcwork.data.extract import extract
from vcwork.data.store import open_store


class Toy:
    """Mean colour of a second. Asked to, it kills its process: once, leaving a note, or each time it sees a film."""

    name, weights, fps, size, normalisation, width = "toy", "none", 4, 16, "x / 255", 3
    note, dies_at = "", None

    def __call__(self, frames):
        if self.dies_at is not None and abs(float(frames.mean()) - self.dies_at) < 1 and not os.path.exists(self.note):
            if self.note:
                open(self.note, "w").close()
            os.kill(os.getpid(), signal.SIGKILL)
        return (frames / 255).mean((0, 1, 2)).astype(np.float32)


@pytest.fixture(scope="module")
def films(tmp_path_factory, make_films):
    """Six films of 1 to 6 seconds, a damaged one, and subtitles of two."""
    folder = make_films(tmp_path_factory.mktemp("films"), 6)
    (folder / "v2.vtt").write_text("WEBVTT\n\n00:00.000 --> 00:01.500\nstir it\n")
    (folder / "v3.vtt").write_text("no subtitles at all")
    (folder / "w.mp4").write_bytes((folder / "v6.mp4").read_bytes()[:700])
    return folder


@pytest.fixture
def memory(films):
    """The same films in a store in memory, which fsspec reads as it reads s3://."""
    import fsspec

    system = fsspec.filesystem("memory")
    system.put(str(films), "/bucket/films", recursive=True)
    yield "memory://bucket/films"
    system.rm("/bucket", recursive=True)


@pytest.fixture
def s3(films, monkeypatch):
    """The same films behind S3's protocol, which moto speaks on this machine."""
    s3fs = pytest.importorskip("s3fs", reason="fsspec reads s3 through s3fs")
    server = pytest.importorskip("moto.server", reason="moto, which stands in for S3, is not installed")
    server = server.ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    settings = {"ENDPOINT_URL": f"http://{host}:{port}", "ACCESS_KEY_ID": "a", "SECRET_ACCESS_KEY": "b"}
    for name, value in settings.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    system = s3fs.S3FileSystem()
    system.mkdir("bucket")
    system.put(str(films), "bucket/films", recursive=True)
    yield "s3://bucket/films"
    server.stop()


@pytest.fixture
def ray(monkeypatch):
    """Ray, where it is installed; its workers find this file."""
    ray = pytest.importorskip("ray", reason="extra cluster (ray) is not installed")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([os.path.dirname(__file__), *sys.path]))
    return ray


@pytest.fixture(scope="module")
def one(films, tmp_path_factory):
    """What one process makes of the films, and its bytes."""
    folder = tmp_path_factory.mktemp("one") / "store"
    extract(scan_folder(f"file://{films}"), Toy(), folder, workers=1, progress=False)
    return folder


# -------------------------------------------------------------------------------------------------------- addresses


@pytest.mark.parametrize("kind", ["memory", "s3"])
def test_an_address_gives_the_features_of_the_folder(kind, films, one, tmp_path, request):
    place = request.getfixturevalue(kind)
    here = extract(scan_folder(films), Toy(), tmp_path / "here", workers=1, progress=False)
    for address in (place, f"{place}/"):
        corpus = scan_folder(address)
        there = extract(corpus, Toy(), tmp_path / "there", workers=1, progress=False)
        assert there.digest() == here.digest() == open_store(one).digest()
        assert tree(tmp_path / "there")["shard-00000.npy"] == tree(one)["shard-00000.npy"]
    assert there.failed["w"].startswith("w.mp4: could not be decoded") and list(there.lengths.values())[-1] == 6
    assert [c.text for c in corpus.captions("v2")] == ["stir it"]
    report = coverage_of(corpus, there)
    assert report.counts["captions"].missing["v3"].startswith("v3.vtt, line 1: expected WEBVTT")


def test_films_over_http(films, one, tmp_path):
    pytest.importorskip("aiohttp", reason="fsspec reads http through aiohttp")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(films))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        corpus = scan_folder(f"http://127.0.0.1:{server.server_port}/")
        store = extract(corpus, Toy(), tmp_path / "f", workers=1, progress=False)
        server.shutdown()
    assert store.digest() == open_store(one).digest()
    refused(r"http://127.0.0.1:\d+: could not be read", scan_folder, f"http://127.0.0.1:{server.server_port}/")


@pytest.mark.parametrize(("address", "said"), [
    ("memory://nowhere/at/all", "memory://nowhere/at/all: no such folder"),
    ("nosuch://bucket/films", "nosuch://bucket/films: could not be read .Protocol not known: nosuch"),
])  # fmt: skip
def test_no_such_address(address, said):
    refused(said, scan_folder, address)


def test_a_film_gone_from_its_address_is_counted(memory, tmp_path):
    import fsspec

    corpus = scan_folder(memory)
    fsspec.filesystem("memory").rm("/bucket/films/v4.mp4")
    store = extract(corpus, Toy(), tmp_path / "f", workers=1, progress=False)
    assert store.failed["v4"] == "v4.mp4: no such video file" and "v5" in store


def test_an_address_lost_on_the_way_stops_and_goes_on(memory, tmp_path, monkeypatch):
    from fsspec.implementations.memory import MemoryFileSystem

    fetched, fetch = [], MemoryFileSystem.get_file

    def lost(self, name, *rest, **more):
        if len(fetched) == 3:
            raise ConnectionResetError(104, "Connection reset by peer")
        fetched.append(name)
        return fetch(self, name, *rest, **more)

    monkeypatch.setattr(MemoryFileSystem, "get_file", lost)
    said = r"v4.mp4: could not be read .Connection reset by peer.; run again to go on"
    refused(said, extract, scan_folder(memory), Toy(), tmp_path / "f", workers=1, progress=False)
    assert len(list((tmp_path / "f" / ".parts").rglob("*.npy"))) == 3
    monkeypatch.setattr(MemoryFileSystem, "get_file", lambda *a, **k: fetched.append(a[1]) or fetch(*a, **k))
    del fetched[:]
    extract(scan_folder(memory), Toy(), tmp_path / "f", workers=1, progress=False)
    assert [name.rpartition("/")[2] for name in fetched] == ["v4.mp4", "v5.mp4", "v6.mp4", "w.mp4"]


def words_of(tokenizer, file):
    """A subtitle file's cues as tokens, or why not: any function of one file goes over the engines like this."""
    try:
        return file.name, tokenizer.tokens([caption.text for caption in read_captions(file, CaptionReport())])
    except VcworkError:
        return file.name, []


def tokenised(films, engine):
    tokenizer = Tokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "stir", "it"])
    return sorted(each(functools.partial(words_of, tokenizer), sorted(films.glob("*.vtt")), 2, engine))


def test_subtitles_are_read_and_tokenised_by_the_same_engines(films):
    assert tokenised(films, "processes") == [("v2.vtt", [[5, 6]]), ("v3.vtt", [])]


# -------------------------------------------------------------------------------------------------------------- Ray


def test_without_ray_one_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    refused(r"no package ray here; pip install 'ray\[data\]'", list, each(str, [1], engine="ray"))
    refused("engine: expected one of processes, ray, got 'slurm'", each, str, [1], engine="slurm")


def test_ray_gives_the_bytes_of_one_process_whatever_fails(ray, films, one, tmp_path, monkeypatch):
    """The disk is full after one part; the next run goes on, a worker is killed in it, and its film done again."""
    replace, written = os.replace, []

    def full(source, target):
        if tmp_path in getattr(target, "parents", ()):  # not what Ray itself writes
            if written:
                raise OSError(errno.ENOSPC, "No space left on device")
            written.append(target)
        replace(source, target)

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(VcworkError, match=r"could not be written .No space left on device"):
        extract(scan_folder(f"file://{films}"), Toy(), tmp_path / "f", workers=2, progress=False, engine="ray")
    monkeypatch.setattr(os, "replace", replace)
    assert len(list((tmp_path / "f").rglob("*.npy"))) == 1 and not list(tmp_path.rglob("*.part"))
    assert not ray.is_initialized()
    toy = Toy()
    toy.dies_at, toy.note = 82, str(tmp_path / "died")  # inside the fourth film
    extract(scan_folder(f"file://{films}"), toy, tmp_path / "f", workers=2, progress=False, engine="ray")
    assert os.path.exists(toy.note) and tree(tmp_path / "f") == tree(one)
    assert tokenised(films, "ray") == [("v2.vtt", [[5, 6]]), ("v3.vtt", [])]
    assert not ray.is_initialized()


def test_a_film_that_kills_every_worker_ends_the_run_and_the_rest_is_kept(ray, films, one, tmp_path):
    toy = Toy()
    toy.dies_at = 82
    with pytest.raises(VcworkError, match=r"Ray gave up .*run again to resume") as caught:
        extract(scan_folder(f"file://{films}"), toy, tmp_path / "f", workers=1, progress=False, engine="ray")
    assert "\n" not in str(caught.value)
    extract(scan_folder(f"file://{films}"), Toy(), tmp_path / "f", workers=1, progress=False)
    assert tree(tmp_path / "f") == tree(one)
