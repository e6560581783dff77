"""Fetching: whole or not at all, resumed after a cut, from the location that works, and never another file's bytes."""

import argparse
import errno
import hashlib
import json
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from vcwork.base.errors import VcworkError
from vcwork.data.backbones import weights as module
from vcwork.data.backbones.weights import ASSETS, Asset, AssetFile, describe_assets, fetch

NAME = "weights.pth"
DATA = b"PK\x03\x04" + np.random.default_rng(0).bytes(900_000)
SHA = hashlib.sha256(DATA).hexdigest()
CUT = 400_000


class Handler(BaseHTTPRequestHandler):
    """The first folder of the path says how the server behaves."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        kind, _, name = self.path.strip("/").partition("/")
        server, begin = self.server, 0
        asked = self.headers.get("Range")
        server.seen.append((kind, name, asked, self.headers.get("If-Range")))
        if kind in ("dead", "gone") or name not in server.files:
            return self.send_error(404)
        if kind.startswith("redirect"):
            where = {"redirect": f"/ok/{name}", "redirect-ftp": f"ftp://127.0.0.1/{name}"}[kind]
            self.send_response(302)
            self.send_header("Location", where)
            self.send_header("Content-Length", "0")
            return self.end_headers()
        data = server.files[name] if kind != "html" else b"<!DOCTYPE html><p>too many downloads</p>"
        version = self.headers.get("If-Range")
        if asked and "norange" not in kind and version in (None, server.version):
            begin = int(asked.removeprefix("bytes=").removesuffix("-"))
            if begin >= len(data):
                return self.send_error(416)
        self.send_response(206 if begin else 200)
        if begin:
            self.send_header("Content-Range", f"bytes {begin + (kind == 'shifted')}-{len(data) - 1}/{len(data)}")
        if "noversion" not in kind:
            self.send_header("ETag", server.version)
        self._send(kind, data[begin:], server)

    def _send(self, kind, data, server):
        if kind == "chunked":
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for i in range(0, len(data), 100_000):
                block = data[i : i + 100_000]
                self.wfile.write(b"%x\r\n" % len(block) + block + b"\r\n")
            return self.wfile.write(b"0\r\n\r\n")
        if kind == "nolength":
            self.send_header("Connection", "close")
        else:
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if "cut" in kind and server.cuts:
            server.cuts -= 1
            data, self.close_connection = data[:CUT], True
        try:
            self.wfile.write(data)
        except ConnectionError:  # the client gave up, as in the test of a full disk
            self.close_connection = True
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
    running.files, running.version, running.cuts, running.seen = {NAME: DATA}, '"1"', 0, []
    return running


@pytest.fixture
def url(server):
    return lambda kind, name=NAME: f"http://127.0.0.1:{server.server_port}/{kind}/{name}"


@pytest.fixture
def asset(monkeypatch):
    """`toy`, one file at the locations given; its sha256 is known unless said."""

    def make(*locations, sha256=SHA, starts=module._TORCH):
        monkeypatch.setitem(ASSETS, "toy", Asset("a toy", (AssetFile(NAME, locations, sha256, starts),), ""))
        return "toy"

    return make


def _names(folder):
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def _get(name, folder, *locations):
    return fetch(name, folder, locations, progress=False)


def test_a_whole_download(url, asset, server, tmp_path, capsys):
    (path,) = _get(asset(url("ok")), tmp_path / "w")
    assert path == tmp_path / "w" / NAME and path.read_bytes() == DATA and _names(tmp_path / "w") == [NAME]
    assert f"sha256 {SHA}" in capsys.readouterr().out
    _get("toy", tmp_path / "w")
    assert server.seen == [("ok", NAME, None, None)], "what is there and right is not fetched again"


@pytest.mark.parametrize("kind", ["chunked", "redirect", "noversion"])
def test_other_ways_of_sending(url, asset, tmp_path, kind):
    assert _get(asset(url(kind)), tmp_path)[0].read_bytes() == DATA


@pytest.mark.parametrize(("kind", "versions"), [("cut", ['"1"', '"1"']), ("cut-noversion", [None, None])])
def test_a_cut_connection_is_resumed_at_once(url, asset, server, tmp_path, kind, versions):
    server.cuts = 2
    assert _get(asset(url(kind)), tmp_path)[0].read_bytes() == DATA
    assert [seen[2] for seen in server.seen] == [None, f"bytes={CUT}-", f"bytes={2 * CUT}-"]
    assert [seen[3] for seen in server.seen[1:]] == versions and _names(tmp_path) == [NAME]


def test_a_download_is_resumed_later(url, asset, server, tmp_path):
    server.cuts = 99
    server.files[NAME] = DATA + bytes(3_000_000)
    name = asset(url("cut"), sha256=hashlib.sha256(server.files[NAME]).hexdigest())
    with pytest.raises(VcworkError, match=rf"{NAME}: could not be fetched.*\n.*ended after {3 * CUT} of \d+ bytes"):
        _get(name, tmp_path)
    assert _names(tmp_path) == [f"{NAME}.part", f"{NAME}.part.json"]
    server.cuts, server.seen = 0, []
    assert _get(name, tmp_path)[0].read_bytes() == server.files[NAME] and _names(tmp_path) == [NAME]
    assert server.seen == [("cut", NAME, f"bytes={3 * CUT}-", '"1"')]


@pytest.mark.parametrize("kind", ["cut-norange", "shifted"])
def test_a_server_that_ignores_ranges_is_started_anew(url, asset, server, tmp_path, kind):
    server.cuts = 1
    _leave_part(tmp_path, url(kind), b"x" * 1000, version='"1"', total=len(DATA))
    assert _get(asset(url(kind)), tmp_path)[0].read_bytes() == DATA
    assert server.seen[0][2] == "bytes=1000-" and len(server.seen) == 2


def _leave_part(folder, url, data, **about):
    (folder / f"{NAME}.part").write_bytes(data)
    (folder / f"{NAME}.part.json").write_text(json.dumps({"url": url, **about}))


@pytest.mark.parametrize(
    "about",
    [
        {"version": '"0"', "total": len(DATA)},  # If-Range: the server sends the whole of its other version
        {"version": None, "total": len(DATA) - 7},  # no version to ask for, but another length
        {"version": None, "total": 2_000_000},
        {"version": None, "total": None},  # nothing known: not resumed
    ],
)
def test_bytes_of_an_older_file_are_never_joined_to_a_newer(url, asset, tmp_path, about):
    _leave_part(tmp_path, url("ok"), b"x" * 1000, **about)
    assert _get(asset(url("ok"), sha256=None), tmp_path)[0].read_bytes() == DATA


def test_a_part_longer_than_the_file_now(url, asset, server, tmp_path):
    _leave_part(tmp_path, url("ok"), b"x" * (len(DATA) + 9), version='"1"', total=len(DATA) + 99)
    assert _get(asset(url("ok")), tmp_path)[0].read_bytes() == DATA
    assert [seen[2] for seen in server.seen] == [f"bytes={len(DATA) + 9}-", None]


def test_bytes_of_another_location_are_not_resumed(url, asset, tmp_path):
    _leave_part(tmp_path, url("gone"), b"x" * 1000, version='"1"', total=len(DATA))
    assert _get(asset(url("gone"), url("ok"), sha256=None), tmp_path)[0].read_bytes() == DATA


def test_a_download_that_was_whole_but_not_moved(url, asset, server, tmp_path):
    _leave_part(tmp_path, url("ok"), DATA, version='"1"', total=len(DATA))
    assert _get(asset(url("ok")), tmp_path)[0].read_bytes() == DATA and not server.seen
    (tmp_path / NAME).unlink()
    (tmp_path / f"{NAME}.part.json").write_text("{")
    (tmp_path / f"{NAME}.part").write_bytes(b"x")
    assert _get("toy", tmp_path)[0].read_bytes() == DATA and len(server.seen) == 1


def test_the_first_location_that_works(url, asset, server, tmp_path):
    name = asset("http://127.0.0.1:1/refused", url("dead"), url("html"), url("ok"), url("chunked"))
    assert _get(name, tmp_path)[0].read_bytes() == DATA
    assert [seen[0] for seen in server.seen] == ["dead", "html", "ok"]


def test_a_wrong_checksum_keeps_nothing(url, asset, server, tmp_path):
    name = asset(url("ok"), sha256="0" * 64)
    with pytest.raises(VcworkError, match=rf"sha256 0{{64}}\).*\n  http.*: expected sha256 0{{64}}, got {SHA}"):
        _get(name, tmp_path)
    assert _names(tmp_path) == []
    server.files["good.pth"] = DATA + b"good"
    name = asset(url("ok"), url("ok", "good.pth"), sha256=hashlib.sha256(DATA + b"good").hexdigest())
    assert _get(name, tmp_path)[0].read_bytes() == DATA + b"good"


def test_an_answer_that_is_another_thing(url, asset, tmp_path):
    with pytest.raises(VcworkError, match="not the file, but something that begins with b'<!DOCTYPE html>"):
        _get(asset(url("html"), sha256=None), tmp_path)
    assert _names(tmp_path) == []


def test_without_a_length_a_cut_could_not_be_told(url, asset, tmp_path):
    with pytest.raises(VcworkError, match="does not say how long the file is"):
        _get(asset(url("nolength"), sha256=None), tmp_path)
    assert _names(tmp_path) == []


def test_an_unknown_checksum_is_written_down_and_held_to(url, asset, server, tmp_path, capsys):
    name = asset(url("ok"), sha256=None)
    (path,) = _get(name, tmp_path)
    record = tmp_path / f"{NAME}.sha256"
    assert record.read_text() == f"{SHA}  {NAME}\n" and "nobody published" in capsys.readouterr().out
    path.unlink()
    server.files[NAME] = DATA + b"other"
    with pytest.raises(VcworkError, match=f"expected sha256 {SHA}, got [0-9a-f]{{64}}"):
        _get(name, tmp_path)
    assert _names(tmp_path) == [record.name]
    path.write_bytes(DATA[:-1])
    with pytest.raises(VcworkError, match=f"expected sha256 {SHA}, got .* delete it"):
        _get(name, tmp_path)
    record.write_text("no checksum\n")
    with pytest.raises(VcworkError, match="expected a sha256 and a file name"):
        _get(name, tmp_path)


def test_a_file_put_there_by_hand(url, asset, server, tmp_path):
    (tmp_path / NAME).write_bytes(DATA)
    assert _get(asset(url("ok"), sha256=None), tmp_path) == [tmp_path / NAME] and not server.seen
    assert (tmp_path / f"{NAME}.sha256").read_text().startswith(SHA)
    (tmp_path / NAME).write_bytes(b"not the file")
    with pytest.raises(VcworkError, match=f"expected sha256 {SHA}, got"):
        _get(asset(url("ok")), tmp_path)


def test_locations_of_ones_own_come_first(url, asset, server, tmp_path):
    name = asset(url("dead"))
    store = tmp_path / "store"
    store.mkdir()
    (store / NAME).write_bytes(DATA)
    (tmp_path / "other.bin").write_bytes(DATA)
    base = url("ok", "")
    for i, own in enumerate([store, f"{store}/", tmp_path / "other.bin", store.as_uri(), base, url("ok")]):
        assert _get(name, tmp_path / str(i), own)[0].read_bytes() == DATA
    assert [seen[:2] for seen in server.seen] == [("ok", NAME)] * 2
    assert fetch(name, tmp_path / "text", str(store), progress=False)[0].read_bytes() == DATA
    with pytest.raises(VcworkError, match=r"nowhere.*: No such file.*\n.*HTTP 404"):
        _get(name, tmp_path / "none", tmp_path / "nowhere")


@pytest.mark.parametrize("location", ["ftp://host/x", "data:,x", "s3://bucket/x", "javascript:alert"])
def test_only_http_and_paths(asset, tmp_path, location):
    with pytest.raises(VcworkError, match="expected http, https, or a path"):
        _get(asset(), tmp_path, location)


def test_redirects_stay_with_http(url, asset, tmp_path):
    with pytest.raises(VcworkError, match=r"redirect to ftp://127\.0\.0\.1/weights\.pth refused"):
        _get(asset(url("redirect-ftp")), tmp_path)


def test_redirects_do_not_leave_https():
    request = module.urllib.request.Request("https://host/a")
    with pytest.raises(module.urllib.error.HTTPError, match="redirect to http://host/a refused"):
        module._Redirects().redirect_request(request, None, 302, "", {}, "http://host/a")


def test_the_unfinished_download_is_no_location(asset, tmp_path):
    (tmp_path / f"{NAME}.part").write_bytes(DATA)
    with pytest.raises(VcworkError, match="the unfinished download itself"):
        _get(asset(), tmp_path, tmp_path / f"{NAME}.part")
    assert (tmp_path / f"{NAME}.part").read_bytes() == DATA


@pytest.mark.parametrize("name", ["../x", "a/b", "/x", "..", "", ".hidden"])
def test_no_name_leads_out_of_the_folder(name):
    with pytest.raises(VcworkError, match="expected a plain file name"):
        AssetFile(name, ())


def test_a_full_disk(url, asset, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    name = asset(url("ok"))
    monkeypatch.setattr(module.os, "fsync", full)
    with pytest.raises(VcworkError, match=rf"{NAME}.* could not be written.*\(No space left on device\)"):
        _get(name, tmp_path)
    assert NAME not in _names(tmp_path)
    monkeypatch.undo()
    monkeypatch.setattr(module.os, "replace", full)
    with pytest.raises(VcworkError, match=r"could not be written.*\(No space left on device\)"):
        _get(asset(url("ok")), tmp_path)
    assert NAME not in _names(tmp_path)
    monkeypatch.undo()
    assert _get(asset(url("ok")), tmp_path)[0].read_bytes() == DATA and _names(tmp_path) == [NAME]


def test_a_folder_that_cannot_be(url, asset, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(VcworkError, match=r"could not be written"):
        _get(asset(url("ok")), tmp_path / "file")


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
    with pytest.raises(VcworkError, match="expected one of s3d, s3d-dict, videoclip, bert"):
        fetch("nothing", tmp_path)


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
    with pytest.raises(VcworkError, match=r"config\.json: could not be fetched"):
        _get("toy", tmp_path / "new", tmp_path / "half")
    assert _names(tmp_path / "new") == ["vocab.txt"]


def test_what_is_said_of_the_assets(real):
    text = describe_assets()
    for name, asset in ASSETS.items():
        assert f"{name}: " in text and "not verified" in asset.note
        for file in asset.files:
            assert file.locations and all(location.startswith("https://") for location in file.locations)
            assert all(location in text for location in file.locations)
            assert file.sha256 is None or len(file.sha256) == 64
    vocabulary = (real / "backbones" / "bert-base-uncased-vocab" / "vocab.txt").read_bytes()
    assert ASSETS["bert"].files[0].sha256 == hashlib.sha256(vocabulary).hexdigest()
