"""One file that is served on this machine, in place of a hub or of a published address."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class OneFile(ThreadingHTTPServer):
    """Serves a file under every path that ends so.

    Attributes:
        content: of the file; None: it is not there.
        status: of the answer where it is.
        said_length: bytes that are promised; None: as many as there are.
        asked: methods and paths.
    """

    daemon_threads = True

    def __init__(self, ending: str, content: bytes | None = None) -> None:
        self.ending, self.content = ending, content
        self.status, self.said_length = 200, None
        self.asked: list[str] = []
        super().__init__(("127.0.0.1", 0), _Page)
        self.address = f"http://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def end(self) -> None:
        self.shutdown()
        self.server_close()


class _Page(BaseHTTPRequestHandler):
    server: OneFile

    def do_GET(self) -> None:
        one, content = self.server, self.server.content
        one.asked.append(f"{self.command} {self.path}")
        if content is None or not self.path.endswith(one.ending):
            missing = "EntryNotFound" if content else "RepoNotFound"  # as the hub says it
            self._begin(404, 0, {"X-Error-Code": missing})
            return
        length = len(content) if one.said_length is None else one.said_length
        self._begin(one.status, length, {"X-Repo-Commit": "0" * 40, "ETag": '"stand-in"'})
        if self.command == "GET":
            self.wfile.write(content)

    def do_HEAD(self) -> None:
        self.do_GET()

    def _begin(self, status: int, length: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(length)}.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass
