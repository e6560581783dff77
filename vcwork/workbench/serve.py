"""The pages of a folder, served to this machine alone, whose search answers any sentence with the models: `serve`.

It listens on 127.0.0.1 only. The address holds a random token, and nothing is given without it, compared in constant
time; a request under another host's name is refused, so that no page of the web can ask through a name that it points
here. Given out are pages, their pictures, films by their pages' names, answers, and stretches of these films as mp4; no
path of a request ever becomes a path of the disk.
Known gap: one question at a time, as the models work in the server's own thread.
"""

import asyncio
import contextlib
import hmac
import json
import re
import secrets
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tornado.web
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets

from vcwork.base.console import say
from vcwork.base.errors import VcworkError

_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' data: blob:; connect-src 'self'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",  # the token stands in the address
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
}
Answer = Callable[[str, str, bool], dict[str, Any]]  # sentence, plain name of a video or "", anyway -> JSON values
Cut = Callable[[str, float, float, Path], Any]  # plain name of a video, start_s, end_s, file to write


class _Guarded(tornado.web.RequestHandler):
    """A request with the token in its path, under this machine's own name."""

    def set_default_headers(self) -> None:
        for name, value in _HEADERS.items():
            self.set_header(name, value)

    def prepare(self) -> None:
        token = f"{self.request.path}/".split("/")[1]
        known = hmac.compare_digest(token.encode(), self.settings["token"].encode())
        if not known or self.request.host.partition(":")[0] not in ("127.0.0.1", "localhost"):
            raise tornado.web.HTTPError(403)

    def known(self, kind: str, name: str) -> Path:
        if (path := self.settings[kind].get(name)) and path.is_file():
            return path
        raise tornado.web.HTTPError(404)

    def write_error(self, status_code: int, **more: Any) -> None:
        self.finish(f"{status_code}: {self._reason}. The address that explore --serve printed is the way in.\n")


class _Page(_Guarded):
    """An HTML page, told that it is served."""

    def get(self, name: str) -> None:
        text = self.known("pages", name or "index.html").read_text(encoding="utf-8")
        self.finish(text.replace("<head>", '<head><meta name="vcwork-served" content="yes">', 1))


class _File(_Guarded, tornado.web.StaticFileHandler):
    """One of the files that are known by name, whole or a range of it."""

    def initialize(self) -> None:
        super().initialize("/")

    @classmethod
    def get_absolute_path(cls, root: str, path: str) -> str:
        return path  # `validate_absolute_path` finds the file, by this name alone

    def validate_absolute_path(self, root: str, absolute_path: str) -> str:
        return str(self.known("files", absolute_path))

    def compute_etag(self) -> str | None:
        return None  # tornado would read a film whole for it


class _Search(_Guarded):
    """The answer to `q`, as JSON; a fault is its `note`."""

    def get(self) -> None:
        query, video, anyway = (self.get_argument(name, "") for name in ("q", "video", "anyway"))
        try:
            answer = self.settings["answer"](" ".join(query.split()), video, anyway == "1")
        except VcworkError as error:
            answer = {"hits": [], "found": False, "note": str(error)}
        self.set_header("Content-Type", "application/json")
        self.finish(json.dumps(answer, allow_nan=False))

    post = get  # a page asks so: an address has no room for a long question


class _Cut(_Guarded):
    """[start, end) of a video, by its page's plain name, as a file to keep."""

    async def get(self) -> None:
        video = self.get_query_argument("video")
        try:
            start_s, end_s = (float(self.get_query_argument(name)) for name in ("start", "end"))
        except ValueError:
            raise tornado.web.HTTPError(400) from None
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "cut.mp4"
            try:
                await asyncio.to_thread(self.settings["cut"], video, start_s, end_s, out)
            except VcworkError as error:
                raise tornado.web.HTTPError(404, reason="nothing to cut there") from error
            name = re.sub("[^A-Za-z0-9]+", "_", video)[:60]
            self.set_header("Content-Type", "video/mp4")
            self.set_header("Content-Disposition", f'attachment; filename="{name}-{start_s:.1f}.mp4"')
            self.finish(out.read_bytes())


def application(pages: dict[str, Path], files: dict[str, Path], answer: Answer, cut: Cut, token: str) -> Any:
    """The server's application; pages and files by their name behind the token, all that a request can ask for."""
    known = {"search": _Search, "cut": _Cut, r"((?:videos/)?[^/]*\.html|)": _Page, "(.+)": _File}
    routes = [*((f"/[^/]*/{path}", handler) for path, handler in known.items()), (".*", _Guarded)]
    settings = {"pages": pages, "files": files, "answer": answer, "cut": cut, "token": token}
    return tornado.web.Application(routes, log_function=lambda handler: None, **settings)


def serve(make: Callable[[str], Any], port: int = 0, told: Callable[[str], None] = say) -> None:
    """Serve `make(token)`, an `application`, until Ctrl-C; `told` gets the address; VcworkError for a port not free."""
    token = secrets.token_urlsafe(24)
    try:
        if not 0 <= port < 65536:
            raise VcworkError(f"--port: expected 0 to 65535, got {port}")
        sockets = bind_sockets(port, "127.0.0.1")
    except OSError as error:
        raise VcworkError(f"--port {port}: cannot be had ({error}); give another one, or none") from error

    async def run() -> None:
        stopped = asyncio.Event()
        with contextlib.suppress(NotImplementedError):  # Windows ends it by KeyboardInterrupt
            for name in (signal.SIGINT, signal.SIGTERM):
                asyncio.get_running_loop().add_signal_handler(name, stopped.set)
        server = HTTPServer(make(token))
        server.add_sockets(sockets)
        told(f"http://127.0.0.1:{sockets[0].getsockname()[1]}/{token}/")
        await stopped.wait()
        await server.close_all_connections()

    asyncio.run(run())
