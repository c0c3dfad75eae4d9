"""HTTP for `Volumes`: ranges, tags, other origins where they are allowed, and nothing else.

In: requests.  Out: answers.
Invariant: only GET, HEAD and OPTIONS do anything, a request is answered for the names of this server alone (a
page that was given its address by another name reads nothing), and errors say no more than their number.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import BoundedSemaphore
from typing import Any, ClassVar
from urllib.parse import quote, urlsplit

from inrcodec.errors import InputError, InrvError, reason
from inrcodec.plugins.serve.volumes import Answer, NotThere, Volumes

LOOPBACK = "127.0.0.1"
AT_ONCE = 64  # connections; more wait
IDLE = 15  # seconds after which a connection without a request is closed
PIECE = 1 << 20  # bytes of a file that are held while it is sent
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


class Server(ThreadingHTTPServer):
    """Serves volumes until it is shut down.

    Parameters
    ----------
    volumes : what is served.
    host : name or address to listen at.
    port : 0 for any that is free.
    origin : of pages that may read answers, such as "https://neuroglancer-demo.appspot.com", or "*"; none
        but pages of this server by default.
    log : is given a line for each request.
    warn : is given a line for each file that cannot be served; its reader learns a number alone.

    Raises
    ------
    InputError
        The address is not this machine's, or the port is taken.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(
        self,
        volumes: Volumes,
        host: str = LOOPBACK,
        port: int = 0,
        *,
        origin: str | None = None,
        log: Callable[[str], object] | None = None,
        warn: Callable[[str], object] | None = None,
    ) -> None:
        self.volumes, self.origin, self.log, self.warn = volumes, origin, log, warn
        self.host, self._slots = host, BoundedSemaphore(AT_ONCE)
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            super().__init__((host, port), _Handler)
        except (OSError, OverflowError) as error:
            cause = f"cannot listen at {host}, port {port}: {reason(error)}"
            raise InputError(f"{cause}, choose another address or port", value=(host, port)) from error

    @property
    def url(self) -> str:
        """Where it is, with a / at the end."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.server_address[1]}/"

    def url_of(self, name: str) -> str:
        """Where the image of a file is."""
        return f"{self.url}{quote(name)}"

    @property
    def is_local(self) -> bool:
        """Whether only programs of this machine reach it."""
        return is_loopback(self.host)

    def answers_to(self, name: str) -> bool:
        """Whether a request that calls the server by a name is meant for it."""
        try:
            host = urlsplit(f"//{name}").hostname or ""
        except ValueError:  # no name at all
            return False
        return not self.is_local or is_loopback(host) or host == self.host

    def server_bind(self) -> None:
        """Without the look-up of a name that `http.server` makes."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = self.host, self.server_address[1]

    def process_request(self, request: Any, client_address: Any) -> None:
        """One more thread, when there is one to be had."""
        self._slots.acquire()
        try:
            super().process_request(request, client_address)
        except BaseException:
            self._slots.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """As `ThreadingHTTPServer`."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._slots.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no error."""


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    server: Server
    protocol_version = "HTTP/1.1"
    timeout = IDLE
    error_message_format = "%(code)d %(message)s\n"
    error_content_type = "text/plain"
    ALLOWED: ClassVar[str] = "GET, HEAD, OPTIONS"

    def parse_request(self) -> bool:
        """What follows a body is not taken for the next request: nothing here has a body.

        Requests of HTTP/0.9 have no names, and their answers no length.
        """
        parsed = super().parse_request()
        if parsed and self.request_version == "HTTP/0.9":
            self.send_error(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED)
            return False
        if parsed and ("Content-Length" in self.headers or "Transfer-Encoding" in self.headers):
            self.close_connection = True
        return parsed

    def do_GET(self) -> None:
        self._serve(body=True)

    def do_HEAD(self) -> None:
        self._serve(body=False)

    def do_OPTIONS(self) -> None:
        """What browsers ask before a page of an allowed origin reads a range."""
        self.send_response(HTTPStatus.NO_CONTENT)
        self.send_header("Allow", self.ALLOWED)
        if self.server.origin is not None:
            self.send_header("Access-Control-Allow-Methods", self.ALLOWED)
            self.send_header("Access-Control-Allow-Headers", "Range, If-None-Match, If-Range")
            self.send_header("Access-Control-Max-Age", "600")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _serve(self, *, body: bool) -> None:
        if not self.server.answers_to(self.headers.get("Host", "")):
            self.send_error(HTTPStatus.MISDIRECTED_REQUEST)
            return
        try:
            answer = self.server.volumes.answer(urlsplit(self.path).path if "://" in self.path else self.path)
            size = answer.body.stat().st_size if isinstance(answer.body, Path) else len(answer.body)
        except InrvError as error:  # a file that is damaged, or needs what is not installed
            if self.server.warn is not None:
                self.server.warn(f"error: {error}")
            self.send_error(HTTPStatus.INTERNAL_SERVER_ERROR)
        except (NotThere, OSError, ValueError):  # the last of bytes that are no text
            self.send_error(HTTPStatus.NOT_FOUND)
        else:
            self._send(answer, size, body)

    def _send(self, answer: Answer, size: int, body: bool) -> None:
        if self.headers.get("If-None-Match") == answer.tag:
            self._head(HTTPStatus.NOT_MODIFIED, answer, None, "")
            return
        span = self._span(answer, size)
        if span is not None and span[0] >= span[1]:
            self.send_response(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
            self.send_header("Content-Range", f"bytes */{size}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        start, stop = span or (0, size)
        status = HTTPStatus.PARTIAL_CONTENT if span else HTTPStatus.OK
        self._head(status, answer, stop - start, f"bytes {start}-{stop - 1}/{size}" if span else "")
        if not body:
            return
        if isinstance(answer.body, bytes):
            self.wfile.write(memoryview(answer.body)[start:stop])
            return
        with open(answer.body, "rb") as file:
            file.seek(start)
            while start < stop and (piece := file.read(min(PIECE, stop - start))):
                self.wfile.write(piece)
                start += len(piece)
        if start < stop:  # the file became shorter: the client must not wait for the rest
            self.close_connection = True

    def _head(self, status: HTTPStatus, answer: Answer, length: int | None, span: str) -> None:
        self.send_response(status)
        self.send_header("ETag", answer.tag)
        self.send_header("Cache-Control", "private, no-cache")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Accept-Ranges", "bytes")
        if length is not None:
            self.send_header("Content-Type", answer.kind)
            self.send_header("Content-Length", str(length))
        if span:
            self.send_header("Content-Range", span)
        self.end_headers()

    def _span(self, answer: Answer, size: int) -> tuple[int, int] | None:
        """First byte and the one behind the last of a range, which may hold none; nothing for the whole.

        Of several ranges too: the standard allows it.
        """
        asked = _RANGE.fullmatch(self.headers.get("Range", "").replace(" ", ""))
        if asked is None or not any(asked.groups()) or self.headers.get("If-Range", answer.tag) != answer.tag:
            return None
        first, last = asked.groups()
        if not first:
            return max(0, size - int(last)), size
        return int(first), min(size, int(last) + 1 if last else size)

    def end_headers(self) -> None:
        """Also of errors: what a page of an allowed origin may read."""
        if self.server.origin is not None:
            self.send_header("Access-Control-Allow-Origin", self.server.origin)
            self.send_header("Access-Control-Expose-Headers", "Content-Range, Content-Length, ETag")
            self.send_header("Vary", "Origin")
        super().end_headers()

    def version_string(self) -> str:
        """Of no version: it would tell what can be attacked."""
        return "inrv"

    def log_message(self, format: str, *arguments: Any) -> None:
        if self.server.log is not None:
            self.server.log(format % arguments)


def is_loopback(host: str) -> bool:
    """Whether a name or an address is this machine's own."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower().rstrip(".") == "localhost"
