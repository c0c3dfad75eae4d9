"""The server: any request, and any file in its folder.

In: a request, or the bytes of a file.  Out: what it declares to need, in bytes; or `Wrong`.
"""

from __future__ import annotations

import shutil
import socket
import sys
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path
from threading import Thread

import inrcodec
from fuzz.oracle import Wrong, soon
from fuzz.readers import SCRATCH
from inrcodec.errors import InrvError
from inrcodec.format.limits import costs
from inrcodec.layers.superres import registry
from inrcodec.plugins.serve import Server, Volumes
from inrcodec.plugins.serve.volumes import NotThere

GOOD = Path(__file__).parents[1] / "spec" / "vectors" / "bricks" / "input.inrv"
SECRET = b"what no answer may hold " * 8
WORK = 1 << 27  # multiply-adds of the low-res decode
HELD = 1 << 24  # bytes that any part of a file takes


class Watched(Server):
    """A server that keeps what its handlers raise; a client that went away is no error."""

    def __init__(self, volumes: Volumes) -> None:
        self.errors: list[BaseException] = []
        super().__init__(volumes)

    def handle_error(self, request: object, client_address: object) -> None:
        error = sys.exc_info()[1]
        if error is not None and not isinstance(error, ConnectionError | TimeoutError):
            self.errors.append(error)


@cache
def _served() -> Watched:
    folder = Path(tempfile.mkdtemp(dir=SCRATCH))
    (folder / "in").mkdir()
    shutil.copy(GOOD, folder / "in" / "a.inrv")
    (folder / "secret.inrv").write_bytes(SECRET)
    (folder / "in" / "secret").write_bytes(SECRET)
    (folder / "in" / "out.inrv").symlink_to(folder / "secret.inrv")
    server = Watched(Volumes(folder / "in", 1 << 24, threads=1))
    Thread(target=server.serve_forever, daemon=True).start()
    return server


def request(data: bytes) -> int:
    """Any bytes, behind which the client closes: an answer of HTTP, or none."""
    served = _served()
    served.errors.clear()
    answer = b""
    with socket.create_connection(served.server_address[:2], timeout=20) as link:
        with suppress(ConnectionError):
            link.sendall(data[: 1 << 15])
            link.shutdown(socket.SHUT_WR)
        with suppress(ConnectionError):
            while piece := link.recv(1 << 16):
                answer += piece
    for error in served.errors:
        raise error
    if SECRET[:24] in answer:
        raise Wrong("a file outside was served")
    if answer and not answer.startswith(b"HTTP/") and not answer[:3].isdigit():  # of HTTP/0.9
        raise Wrong(f"no answer of HTTP: {answer[:40]!r}")
    return 0


def file(data: bytes) -> int:
    """A hostile file in the folder: documents and chunks, or a documented error."""
    header = inrcodec.open(data).header
    work = costs(header)
    held = work["brick_bytes"] + work["lowres_bytes"]
    if work["multiply_adds"] > WORK or (registry.work_of(header) or 0) > 0 or held > HELD:
        return 0
    with tempfile.TemporaryDirectory(dir=SCRATCH) as folder:
        (Path(folder) / "a.inrv").write_bytes(data)
        volumes = Volumes(folder, 1 << 24, threads=1)
        for rest in ("", "/zarr.json", "/0/zarr.json", "/0/c/0/0/0", "/1/c/0/0/0", "/0/c/1/0/1"):
            with suppress(InrvError, NotThere):
                soon(lambda rest=rest: volumes.answer(f"/a.inrv{rest}"))
    return held + (8 << 18)


def requests() -> list[bytes]:
    """Good ones, and ones that ask for what is outside."""
    paths = ["/a.inrv", "/a.inrv/zarr.json", "/a.inrv/0/c/0/0/0", "/out.inrv", "/../secret.inrv", "/"]
    paths += ["/%2e%2e/secret.inrv", "/a.inrv/../../secret.inrv", "/secret", "//a.inrv", "http://x/a.inrv"]
    paths += ["/a.inrv/0/c/9999999/0/0", "/a.inrv/0/c/0/0/0?x#y"]
    heads = ["", "Range: bytes=0-9\r\n", "Range: bytes=-5\r\n", "Content-Length: 5\r\n"]
    heads += ['If-None-Match: "x"\r\nRange: bytes=9-1\r\n']
    host = "Host: localhost\r\nConnection: close\r\n"
    made = [f"GET {path} HTTP/1.1\r\n{host}\r\n" for path in paths]
    made += [f"HEAD {paths[0]} HTTP/1.1\r\n{host}{head}\r\n" for head in heads]
    return [*(one.encode() for one in made), b"OPTIONS * HTTP/1.0\r\n\r\n"]
