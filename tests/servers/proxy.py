"""A reverse proxy that misbehaves as it is told, while it runs.

What it does to a call, in this order: it waits ``delay_s``, never answers (``hang``), refuses a
body over ``largest_body`` (413), cuts the connection or answers with one of ``statuses`` before the
server has seen the call (``cut_before``, ``fail``), passes it on, and cuts the connection although
the server has done what was asked (``cut_after``).
"""

import http.client
import random
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

_HOP = {"connection", "transfer-encoding", "keep-alive", "host", "content-length"}


@dataclass(frozen=True)
class Trouble:
    """How a proxy misbehaves; shares are of the calls whose ``METHOD /path`` contains ``only``."""

    delay_s: float = 0.0
    fail: float = 0.0
    statuses: tuple[int, ...] = (429, 500, 502)
    cut_before: float = 0.0
    cut_after: float = 0.0
    hang: bool = False
    largest_body: int | None = None
    only: str = ""


@dataclass(frozen=True)
class Call:
    """One request as a client made it; ``answer`` is a status, or what was done to it."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    answer: int | str


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes


class CutError(Exception):
    """The connection is to be closed without an answer."""


class Proxy:
    """Passes calls below ``prefix`` on to a server; see the module for what else it can do."""

    def __init__(self, upstream: str, prefix: str = "", seed: int = 0) -> None:
        self.upstream, self.prefix = urlsplit(upstream), prefix
        self.trouble = Trouble()
        self.seen: list[Call] = []
        self._chance, self._lock, self._closed = random.Random(seed), threading.Lock(), False
        self._released = threading.Event()
        self._listener = self._listen(0)
        self.port: int = self._listener.server_address[1]
        self.host = f"http://127.0.0.1:{self.port}"
        self.url = self.host + prefix

    @property
    def calls(self) -> Counter[str]:
        """How often each ``METHOD /path`` was called, without its query and the prefix."""
        return Counter(f"{call.method} {self.inner(call.path)}" for call in list(self.seen))

    def inner(self, path: str) -> str:
        """Return a path as the server sees it, without its query."""
        return urlsplit(path).path.removeprefix(self.prefix)

    def down(self) -> None:
        """Refuse connections, and cut those that are open at their next call."""
        if not self._closed:
            self._closed = True
            self._listener.shutdown()
            self._listener.server_close()

    def up(self) -> None:
        """Listen again, on the same port."""
        if self._closed:
            self._listener, self._closed = self._listen(self.port), False

    def close(self) -> None:
        """End it, and let go whom it keeps waiting."""
        self._released.set()
        self.down()

    def answer(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Return what the client gets from a call that no trouble met.

        Raises:
            CutError: it gets nothing.
        """
        if not path.startswith(self.prefix):
            return Answer(404, {"Content-Type": "text/plain"}, b"not found")
        return self.forward(method, path.removeprefix(self.prefix) or "/", headers, body)

    def forward(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Return the server's own answer, 502 where it has none."""
        assert self.upstream.hostname
        connection = http.client.HTTPConnection(
            self.upstream.hostname, self.upstream.port, timeout=120
        )
        try:
            kept = {k: v for k, v in headers.items() if k.lower() not in _HOP}
            connection.request(method, path, body, kept)
            response = connection.getresponse()
            given = {k: v for k, v in response.getheaders() if k.lower() not in _HOP}
            return Answer(response.status, given, response.read())
        except (OSError, http.client.HTTPException) as error:
            return Answer(502, {"Content-Type": "text/html"}, f"<html>{error}</html>".encode())
        finally:
            connection.close()

    def handle(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Do to one call what the trouble of this moment asks, and remember it."""
        trouble = self.trouble if self.trouble.only in f"{method} {path}" else Trouble()
        done: int | str = "cut"
        try:
            answer = self._troubled(trouble, method, path, headers, body)
            done = answer.status
            return answer
        finally:
            self.seen.append(Call(method, path, headers, body, done))

    def _troubled(
        self, trouble: Trouble, method: str, path: str, headers: Mapping[str, str], body: bytes
    ) -> Answer:
        time.sleep(trouble.delay_s)
        if trouble.hang:
            self._released.wait()
        if self._closed or trouble.hang:
            raise CutError
        if trouble.largest_body is not None and len(body) > trouble.largest_body:
            return _page(413)
        with self._lock:
            chance, status = self._chance.random(), self._chance.choice(trouble.statuses)
        if chance < trouble.cut_before:
            raise CutError
        if chance < trouble.cut_before + trouble.fail:
            return _page(status)
        answer = self.answer(method, path, headers, body)
        if chance < trouble.cut_before + trouble.fail + trouble.cut_after:
            raise CutError
        return answer

    def _listen(self, port: int) -> ThreadingHTTPServer:
        proxy = self

        class Handler(_Handler):
            owner = proxy

        listener = _Listener(("127.0.0.1", port), Handler)
        threading.Thread(target=listener.serve_forever, args=(0.02,), daemon=True).start()
        return listener


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that went away."""


class _Handler(BaseHTTPRequestHandler):
    owner: Proxy
    protocol_version = "HTTP/1.1"

    def _pass_on(self) -> None:
        body = self._body()
        try:
            answer = self.owner.handle(self.command, self.path, dict(self.headers), body)
        except CutError:
            self.close_connection = True
            return
        self.send_response_only(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = _pass_on  # noqa: N815

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def log_message(self, format: str, *args: Any) -> None:
        """Keep the test's output clean; ``Proxy.seen`` has every call."""


def _page(status: int) -> Answer:
    headers = {"Content-Type": "text/html"} | ({"Retry-After": "1"} if status == 429 else {})
    title = http.client.responses[status]
    return Answer(status, headers, f"<html><h1>{status} {title}</h1></html>".encode())
