"""The server: what it shows is what is decoded, and nothing else is to be had of it."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from plugged import AFFINE, ARRAY

import inrcodec
from inrcodec.cli import serve
from inrcodec.errors import InputError
from inrcodec.plugins.serve import Server, Volumes, volumes
from inrcodec.plugins.serve.server import is_loopback

SAMPLE = Path(inrcodec.__file__).parent / "plugins" / "sample.inrv"
LARGE = np.random.default_rng(5).integers(0, 4000, (70, 80, 66)).astype(np.uint16)
CHUNK = "application/octet-stream"
NOWHERE = """
/ /nothing.inrv /notes.txt /a%20b /a%20b/ /pipe.inrv /loop.inrv /../secret.inrv /%2e%2e/secret.inrv
/a%20b/../../secret.inrv /a%20b/..%2f..%2fsecret.inrv /..%5csecret.inrv /%252e%252e/secret.inrv
/.%2e/secret.inrv //../secret.inrv /out.inrv /out.inrv/zarr.json /up/secret.inrv /up/root/../secret.inrv
/../rootless.inrv /large.inrv%00 /large.inrv%00.txt /%ff.inrv /C:/large.inrv /%2fetc%2fx.inrv
/large.inrv/9/zarr.json /large.inrv/00/zarr.json /large.inrv/-1/zarr.json /large.inrv/0/c/9/0/0
/large.inrv/0/c/-1/0/0 /large.inrv/0/c/0/0 /large.inrv/0/c/0/0/0/0 /large.inrv/0/c/0/0/%30%31
/large.inrv/0/c/1e3/0/0 /large.inrv/0/.zarray /large.inrv/x
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Files in folders, a secret beside them, and links."""
    top = tmp_path_factory.mktemp("served")
    root = top / "root"
    (root / "a b").mkdir(parents=True)
    scaled = inrcodec.Volume(ARRAY.astype(np.uint8), AFFINE, rescale=(2.0, -7.0), modality="MR")
    inrcodec.encode_file(scaled, root / "a b" / "mr.inrv", lossless=True)
    inrcodec.encode_file(LARGE, root / "large.inrv", lossless=True, brick=(64, 64, 64))
    (root / "notes.txt").write_text("secret")
    (root / "damaged.inrv").write_bytes((root / "large.inrv").read_bytes()[:-9])
    inrcodec.encode_file(ARRAY, top / "secret.inrv", lossless=True)
    (top / "rootless.inrv").write_bytes(b"secret")
    (root / "out.inrv").symlink_to(top / "secret.inrv")
    (root / "up").symlink_to(top)
    (root / "loop.inrv").symlink_to(root / "loop.inrv")
    (root / "in.inrv").symlink_to(root / "large.inrv")
    os.mkfifo(root / "pipe.inrv")
    return root


def running(server):
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    return server


@pytest.fixture(scope="module")
def server(folder):
    with running(Server(Volumes(folder, 1 << 24, threads=1))) as made:
        yield made
        made.shutdown()


def ask(server, path, method="GET", **headers):
    """Status, headers and body of a request whose path is sent as it is."""
    connection = http.client.HTTPConnection(*server.server_address[:2], timeout=60)
    connection.putrequest(method, path, skip_host="Host" in headers, skip_accept_encoding=True)
    for name, value in headers.items():
        connection.putheader(name.replace("_", "-"), value)
    connection.endheaders()
    reply = connection.getresponse()
    body = reply.read()
    connection.close()
    return reply.status, dict(reply.getheaders()), body


# --- what is served


def test_chunks_are_the_decoded_voxels(server, folder):
    file = inrcodec.open(folder / "large.inrv")
    for number, level in enumerate(file.levels):
        status, _, body = ask(server, f"/large.inrv/{number}/zarr.json")
        about = json.loads(body)
        edges = about["chunk_grid"]["configuration"]["chunk_shape"]
        assert status == 200 and about["shape"] == list(level.shape)
        whole = np.zeros(level.shape, np.uint16)
        for place in np.ndindex(*(-(-n // e) for n, e in zip(level.shape, edges, strict=True))):
            status, headers, body = ask(server, f"/large.inrv/{number}/c/{'/'.join(map(str, place))}")
            assert (status, headers["Content-Type"]) == (200, CHUNK)
            chunk = np.frombuffer(body, "<u2").reshape(edges)
            part = tuple(slice(k * e, (k + 1) * e) for k, e in zip(place, edges, strict=True))
            whole[part] = chunk[tuple(slice(n) for n in whole[part].shape)]
        np.testing.assert_array_equal(whole, file.read(level=number))


def test_zarr_reads_it_without_the_codec(server, folder):
    zarr = pytest.importorskip("zarr", minversion="3")
    pytest.importorskip("aiohttp")
    image = zarr.open_group(server.url_of("a b/mr.inrv"), mode="r", zarr_format=3)
    volume = inrcodec.decode_volume(folder / "a b" / "mr.inrv")
    np.testing.assert_array_equal(image["0"][:], volume.physical())
    assert "inrv" not in str(image["0"].metadata.codecs)
    (shown,) = image.attrs["ome"]["multiscales"]
    assert shown["datasets"][0]["coordinateTransformations"][0]["scale"] == pytest.approx(volume.spacing)


def test_nothing_of_a_patient_but_voxels_and_geometry(server):
    _, headers, body = ask(server, "/a%20b/mr.inrv/zarr.json")
    about = json.loads(body)
    assert set(about["attributes"]) == {"ome", "inrcodec"}
    assert set(about["attributes"]["inrcodec"]) == {"affine_lps", "modality"}
    assert headers["Server"] == "inrv" and "Access-Control-Allow-Origin" not in headers
    assert headers["Cache-Control"] == "private, no-cache"


def test_the_file_itself_is_served_by_ranges(server, folder):
    stored = (folder / "large.inrv").read_bytes()
    assert ask(server, "/large.inrv")[2] == ask(server, "/in.inrv")[2] == stored
    count = len(stored)
    for asked, part, stated in (
        ("bytes=10-19", stored[10:20], f"bytes 10-19/{count}"),
        ("bytes=-7", stored[-7:], f"bytes {count - 7}-{count - 1}/{count}"),
        (f"bytes={count - 3}-{10**12}", stored[-3:], f"bytes {count - 3}-{count - 1}/{count}"),
        ("bytes=0-", stored, f"bytes 0-{count - 1}/{count}"),
    ):
        status, headers, body = ask(server, "/large.inrv", Range=asked)
        assert (status, headers["Content-Range"], body) == (206, stated, part)
    for asked in (f"bytes={count}-", "bytes=9-3", "bytes=-0"):
        status, headers, body = ask(server, "/large.inrv", Range=asked)
        assert (status, headers["Content-Range"], body) == (416, f"bytes */{count}", b"")
    for asked in ("bytes=0-1,5-6", "bytes=-", "lines=1-2", "bytes=a-b"):
        assert ask(server, "/large.inrv", Range=asked)[2] == stored
    assert inrcodec.decode(server.url_of("large.inrv")).shape == LARGE.shape


def test_a_range_of_a_chunk_and_a_tag(server):
    path = "/large.inrv/0/c/0/0/0"
    _, headers, whole = ask(server, path)
    assert ask(server, path, Range="bytes=4-7")[2] == whole[4:8]
    assert ask(server, path, If_None_Match=headers["ETag"])[::2] == (304, b"")
    assert ask(server, path, Range="bytes=4-7", If_Range='"other"')[2] == whole
    status, told, body = ask(server, path, "HEAD")
    assert (status, int(told["Content-Length"]), body) == (200, len(whole), b"")


# --- what is not


@pytest.mark.parametrize(
    "path",
    [
        *NOWHERE.split(),
        "/" + "a/" * 9000,
    ],
)
def test_other_paths_lead_nowhere(server, folder, path):
    status, _, body = ask(server, path)
    assert (status, body) == (404, b"404 Not Found\n")


def test_what_is_wrong_with_a_file_is_told_here_alone(folder):
    told = []
    with running(Server(Volumes(folder, 1 << 20), warn=told.append)) as server:
        status, _, body = ask(server, "/damaged.inrv/zarr.json")
        server.shutdown()
    assert (status, body) == (500, b"500 Internal Server Error\n")
    assert len(told) == 1 and "damaged.inrv" in told[0]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "TRACE"])
def test_nothing_is_done_but_reading(server, method):
    assert ask(server, "/large.inrv", method)[0] == 501


def test_another_name_of_the_server_is_refused(server):
    port = server.server_address[1]
    assert ask(server, "/large.inrv/zarr.json", Host=f"localhost:{port}")[0] == 200
    assert ask(server, "/large.inrv/zarr.json", Host=f"[::1]:{port}")[0] == 200
    assert ask(server, "/large.inrv/zarr.json", Host="attacker.example")[0] == 421
    assert ask(server, "/large.inrv/zarr.json", Host="")[0] == 421


def test_nonsense_ends_its_connection_alone(server):
    with socket.create_connection(server.server_address[:2], timeout=30) as raw:
        raw.sendall(b"\0\1\2 nonsense\r\n\r\n")
        assert b"400" in raw.recv(1000)
    assert ask(server, "/large.inrv/zarr.json")[0] == 200


def test_a_body_is_not_the_next_request(server):
    inner = b"GET /large.inrv/zarr.json HTTP/1.1\r\nHost: localhost\r\n\r\n"
    outer = b"GET /nothing HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(inner)
    with socket.create_connection(server.server_address[:2], timeout=30) as raw:
        raw.sendall(outer + inner)
        told = b""
        try:
            while more := raw.recv(1000):
                told += more
        except ConnectionResetError:  # as what was sent was not read
            pass
    assert told.startswith(b"HTTP/1.1 404") and told.count(b"HTTP/1.1") == 1


def test_pages_of_an_allowed_origin_may_read(folder):
    origin = "https://viewer.example"
    with running(Server(Volumes(folder, 1 << 20), origin=origin)) as server:
        for path, status in (("/large.inrv/zarr.json", 200), ("/nothing.inrv", 404)):
            told = ask(server, path, Origin=origin)
            assert (told[0], told[1]["Access-Control-Allow-Origin"]) == (status, origin)
        status, headers, _ = ask(server, "/large.inrv", "OPTIONS", Origin=origin)
        assert status == 204 and "Range" in headers["Access-Control-Allow-Headers"]
        server.shutdown()


def test_one_file_is_served_alone(folder):
    with running(Server(Volumes(folder / "large.inrv", 1 << 20))) as server:
        assert ask(server, "/large.inrv/zarr.json")[0] == 200
        for path in ("/in.inrv", "/a%20b/mr.inrv", "/damaged.inrv"):
            assert ask(server, path)[0] == 404
        server.shutdown()


def test_names_are_those_of_the_folder(folder):
    names = Volumes(folder, 1).names()
    assert names == ["a b/mr.inrv", "damaged.inrv", "in.inrv", "large.inrv"]
    for path, cause in ((folder / "notes.txt", "not an .inrv file"), (folder / "gone", "does not exist")):
        with pytest.raises(InputError, match=cause):
            Volumes(path, 1)


# --- many at once


def test_fifty_requests_at_once_decode_each_chunk_once(folder, monkeypatch):
    decoded = []
    original = Volumes._decoded

    def counted(self, *about):
        decoded.append(about[2])
        return original(self, *about)

    monkeypatch.setattr(Volumes, "_decoded", counted)
    with running(Server(Volumes(folder, 1 << 24, threads=1))) as server:
        paths = [f"/large.inrv/0/c/{k % 2}/{k // 2 % 2}/0" for k in range(50)]
        with ThreadPoolExecutor(50) as pool:
            found = list(pool.map(lambda path: ask(server, path), paths))
        server.shutdown()
    assert {status for status, _, _ in found} == {200}
    assert len({body for _, _, body in found}) == 4 == len(decoded)


def test_what_is_kept_is_bounded(folder, monkeypatch):
    monkeypatch.setattr(volumes, "MOST_OPEN", 1)
    served = Volumes(folder, 2 * 64**3 * 2, threads=1)
    for k in range(4):
        served.answer(f"/large.inrv/0/c/{k % 2}/{k // 2 % 2}/0")
    served.answer("/a%20b/mr.inrv/0/c/0/0/0")
    assert served._chunks._held <= served._chunks.most
    assert len(served._open) == 1


def test_a_file_that_was_replaced_is_read_anew(tmp_path):
    path = tmp_path / "a.inrv"
    inrcodec.encode_file(ARRAY, path, lossless=True)
    served = Volumes(tmp_path, 1 << 20, threads=1)
    first = served.answer("/a.inrv/0/c/0/0/0")
    inrcodec.encode_file(ARRAY + 1, path, lossless=True, force=True)
    second = served.answer("/a.inrv/0/c/0/0/0")
    assert first.tag != second.tag
    np.testing.assert_array_equal(np.frombuffer(second.body, "<i2"), np.frombuffer(first.body, "<i2") + 1)


# --- the command


def test_the_command_serves_until_it_is_interrupted(folder):
    words = ["serve", str(folder / "large.inrv"), "--port", "0", "--json", "--threads", "1"]
    root = str(Path(inrcodec.__file__).parents[1])
    command, here = [sys.executable, "-m", "inrcodec", *words], os.environ | {"PYTHONPATH": root}
    # A shell makes programs in its background deaf to Ctrl-C, and their children are too.
    ears = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=here, preexec_fn=ears) as process:
        try:
            about = json.loads("".join(iter(process.stdout.readline, "}\n")) + "}")
            assert about["volumes"] == [about["url"] + "large.inrv"]
            np.testing.assert_array_equal(inrcodec.decode(about["volumes"][0]), LARGE)
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=60) == 0
        finally:
            process.kill()


def test_an_open_door_is_told(folder, capsys, monkeypatch):
    monkeypatch.setattr(Server, "serve_forever", lambda self: None)
    assert serve.main([str(folder), "--port", "0"]) == 0
    quiet = capsys.readouterr()
    assert "warning" not in quiet.err and "http://127.0.0.1:" in quiet.out and "a%20b/mr.inrv" in quiet.out
    assert serve.main([str(folder), "--port", "0", "--host", "0.0.0.0", "-q"]) == 0
    assert "identifies its patient" in capsys.readouterr().err


def test_a_port_that_is_taken_is_told(folder, server, capsys):
    assert serve.main([str(folder), "--port", str(server.server_address[1])]) == 3
    assert "choose another address or port" in capsys.readouterr().err
    assert serve.main([str(folder), "--port", "99999"]) == 2


@pytest.mark.parametrize(
    ("host", "own"),
    [
        *((name, True) for name in ("127.0.0.1", "127.9.9.9", "::1", "localhost", "LOCALHOST.")),
        *((name, False) for name in ("0.0.0.0", "10.0.0.1", "localhost.example", "")),
    ],
)
def test_which_addresses_are_this_machines_own(host, own):
    assert is_loopback(host) == own


def test_what_a_model_needs_is_imported_before_a_chunk_is_asked_for(tmp_path):
    """In a process of its own: this one has torch."""
    (tmp_path / "a.inrv").write_bytes(b"no file")
    (tmp_path / "b.inrv").write_bytes(inrcodec.encode(np.zeros((3, 4, 5), np.int16), lossless=True))
    (tmp_path / "c.inrv").symlink_to(SAMPLE)
    (tmp_path / "d.inrv").write_bytes(SAMPLE.read_bytes())
    code = (
        "import sys\n"
        "from inrcodec.plugins.serve import Volumes\n"
        "volumes = Volumes(sys.argv[1], 1 << 20)\n"
        "for names in (['a.inrv', 'b.inrv', 'c.inrv', 'no.inrv'], volumes.names()):\n"
        "    volumes.warm(names)\n"
        "    print('torch' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["False", "True"]
