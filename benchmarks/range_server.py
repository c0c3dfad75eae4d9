"""An HTTP server of one file, on this machine: it gives ranges, counts them, and can be a bad one.

In: the bytes of a file.  Out: a URL; the sizes of what was given.
"""

import re
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread


class RangeServer(ThreadingHTTPServer):
    """Serves `blob` until it is shut down, and keeps the sizes of the bodies that it gave."""

    daemon_threads = True
    ranges = True  # whether it knows them
    stops_after: int | None = None  # bytes of an answer's body, where it breaks off
    refuses = 0  # status of all answers
    spoils: Callable[[bytes], bytes] | None = None  # what becomes of a range

    def __init__(self, blob: bytes) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.blob = blob
        self.given: list[int] = []
        Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/head.inrv"


class _Handler(BaseHTTPRequestHandler):
    server: RangeServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # header and body are two writes: the second would wait for 40 ms

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, *, with_body: bool) -> None:
        status = self.server.refuses or (0 if self.path.endswith(".inrv") else 404)
        if status:
            self.send_error(status)
            return
        body, asked = self.server.blob, re.match(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if asked and self.server.ranges:
            whole, start, stop = len(body), int(asked[1]), int(asked[2] or len(body) - 1) + 1
            body = body[start:stop]
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{start + len(body) - 1}/{whole}")
            body = self.server.spoils(body) if self.server.spoils else body
        else:
            self.send_response(200)
        if self.server.ranges:
            self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if with_body:
            self.server.given.append(len(body))
            self.wfile.write(body[: self.server.stops_after])
            self.close_connection = self.server.stops_after is not None

    def log_message(self, *_: object) -> None:
        pass
