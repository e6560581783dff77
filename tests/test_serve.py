"""The server of pages: nothing without its token and name, nothing but what it knows, and an end when it is told to."""

import http.client
import json
import signal
import subprocess
import sys
import threading
from urllib.parse import quote

import pytest
from checks import refused
from tornado.httpserver import HTTPServer
from tornado.ioloop import IOLoop
from tornado.testing import bind_unused_port

from vcwork.base.errors import VcworkError
from vcwork.workbench.serve import application, serve

TOKEN = "s3cret-" + "x" * 20


@pytest.fixture(scope="module")
def port(tmp_path_factory):
    """A server with a page, a film, a file that is gone, and made-up answers."""
    folder = tmp_path_factory.mktemp("served")
    (folder / "index.html").write_text("<!DOCTYPE html>\n<html><head><title>x</title></head></html>")
    (folder / "film.mp4").write_bytes(bytes(range(256)) * 40)
    (folder / "secret.txt").write_text("secret")

    def answer(query, video, anyway):
        if query == "fault":
            raise VcworkError("the model knows none of these words")
        return {"hits": [], "found": anyway, "note": f"{query}|{video}"}

    def cut(id, start_s, end_s, out):
        if id != "a" or not 0 <= start_s < end_s:
            raise VcworkError("nothing there")
        out.write_bytes(f"{start_s}-{end_s}".encode())

    pages = {"index.html": folder / "index.html", "videos/gone.html": folder / "gone.html"}
    app = application(pages, {"media/a b": folder / "film.mp4"}, answer, cut, TOKEN)
    ready, loops = threading.Event(), []

    def run():
        loop = IOLoop(make_current=True)
        socket, number = bind_unused_port()
        HTTPServer(app).add_sockets([socket])
        loops.extend([loop, number])
        ready.set()
        loop.start()

    thread = threading.Thread(target=run)
    thread.start()
    ready.wait(10)
    yield loops[1]
    loops[0].add_callback(loops[0].stop)
    thread.join(10)


def ask(port: int, path: str, body: str = "", **headers: str) -> tuple[int, dict, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request("POST" if body else "GET", path, body or None, named)
    answer = connection.getresponse()
    return answer.status, dict(answer.getheaders()), answer.read()


def test_nothing_is_given_without_the_token_or_under_another_name(port):
    for path in ("/", "/index.html", "/media/a%20b", f"/{TOKEN[:-1]}/", f"/{TOKEN}x/media/a%20b", "//", "/%00/",
                 f"/x/{TOKEN}/", "/search?q=a", f"/{'y' * len(TOKEN)}/search?q=a", "/%C3%A9/"):  # fmt: skip
        status, _, body = ask(port, path)
        assert status == 403 and b"secret" not in body, path
    for host in ("evil.example", f"evil.example:{port}", "127.0.0.1.evil.example", ""):
        for path in (f"/{TOKEN}/", f"/{TOKEN}/media/a%20b", f"/{TOKEN}/search?q=a"):
            assert ask(port, path, Host=host)[0] in (400, 403), host
    assert ask(port, f"/{TOKEN}/", Host=f"localhost:{port}")[0] == 200


def test_pages_are_told_that_they_are_served_and_leak_nothing(port):
    status, headers, body = ask(port, f"/{TOKEN}/")
    assert status == 200 and b'<meta name="vcwork-served"' in body and ask(port, f"/{TOKEN}/index.html")[2] == body
    assert (
        headers["Referrer-Policy"] == "no-referrer" and "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    )
    assert "Access-Control-Allow-Origin" not in headers


def test_films_come_in_ranges(port):
    path = f"/{TOKEN}/media/a%20b"
    status, headers, body = ask(port, path)
    assert status == 200 and len(body) == 10240 and headers["Accept-Ranges"] == "bytes"
    status, headers, body = ask(port, path, Range="bytes=256-299")
    assert status == 206 and body == bytes(range(44)) and headers["Content-Range"] == "bytes 256-299/10240"
    assert ask(port, path, Range="bytes=-4")[2] == bytes(range(252, 256))
    assert ask(port, path, Range="bytes=20000-")[0] == 416


def test_no_path_leads_out_of_what_is_known(port):
    for name in ("secret.txt", "../secret.txt", "media/../secret.txt", "%2e%2e/secret.txt", "media/%2e%2e%2fsecret.txt",
                 "/etc/passwd", "%2fetc%2fpasswd", "videos/../../secret.txt", "film.mp4", "videos/gone.html",
                 "videos/x.html", "media/", "media/a", "C:%5Csecret.txt", "media/a b%00"):  # fmt: skip
        status, _, body = ask(port, f"/{TOKEN}/{name.replace(' ', '%20')}")
        assert status == 404 and b"secret" not in body.replace(TOKEN.encode(), b""), name


def test_answers_and_cuts(port):
    status, headers, body = ask(port, f"/{TOKEN}/search?q={quote(' knead  the dough ')}&video=v&anyway=1")
    assert status == 200 and headers["Content-Type"] == "application/json"
    assert json.loads(body) == {"hits": [], "found": True, "note": "knead the dough|v"}
    assert "none of these words" in json.loads(ask(port, f"/{TOKEN}/search?q=fault")[2])["note"]
    assert (
        ask(port, f"/{TOKEN}/search")[0] == 200
        and len(json.loads(ask(port, f"/{TOKEN}/search?q={'a' * 5000}")[2])["note"]) == 5001
    )
    long = {"body": f"q={quote('玉' * 20_000)}&video=v", "Content_Type": "application/x-www-form-urlencoded"}
    assert json.loads(ask(port, f"/{TOKEN}/search", **long)[2])["note"] == "玉" * 20_000 + "|v", "no letter is lost"
    status, headers, body = ask(port, f"/{TOKEN}/cut?video=a&start=1.5&end=3")
    assert (status, body) == (200, b"1.5-3.0") and headers["Content-Disposition"] == 'attachment; filename="a-1.5.mp4"'
    for query in ("video=b&start=1&end=2", "video=a&start=2&end=1", "video=a&start=nan&end=nan"):
        assert ask(port, f"/{TOKEN}/cut?{query}")[0] == 404
    assert ask(port, f"/{TOKEN}/cut?video=a&start=x&end=2")[0] == ask(port, f"/{TOKEN}/cut?video=a")[0] == 400


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_when_told_to(number):
    code = """
from vcwork.workbench.serve import application, serve
serve(lambda token: application({}, {}, None, None, token), 0, lambda url: print(url, flush=True))
print("ended", flush=True)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as started:
        address = started.stdout.readline().strip()
        assert address.startswith("http://127.0.0.1:") and len(address.split("/")[3]) >= 32
        started.send_signal(number)
        assert started.stdout.read() == "ended\n" and started.wait(10) == 0


def test_a_port_that_is_taken_is_one_sentence(port):
    refused(f"--port {port}: cannot be had", serve, lambda token: None, port)
    refused("--port: expected 0 to 65535, got 70000", serve, lambda token: None, 70000)
