"""Files behind a URL: what is read over the wire, and what a bad server ends as."""

from __future__ import annotations

import io
import multiprocessing
import os
import pickle
import re
import sys
from pathlib import Path

import numpy as np
import pytest

import inrcodec
from inrcodec.cli import dec, info
from inrcodec.errors import CorruptFile, InputError
from inrcodec.format import container, remote

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
from range_server import RangeServer

fsspec = pytest.importorskip("fsspec")
pytest.importorskip("aiohttp")

ARRAY = np.random.default_rng(0).normal(scale=300, size=(40, 64, 64)).astype(np.int16)


@pytest.fixture(scope="module")
def blob():
    """A lossless file of 3 x 2 x 2 bricks."""
    return inrcodec.encode(ARRAY, lossless=True, brick=(16, 32, 32))


@pytest.fixture
def server(blob):
    found = RangeServer(blob)
    yield found
    found.shutdown()
    found.server_close()


def test_info_reads_the_beginning(server):
    assert inrcodec.info(server.url)["volume"]["shape"] == [40, 64, 64]
    assert server.given == [remote.FRONT] and len(server.blob) > 5 * remote.FRONT


def test_a_box_reads_its_bricks(server):
    file = inrcodec.open(server.url)
    opened = sum(server.given)
    box = slice(16, 32), slice(32, 64), slice(0, 32)
    assert np.array_equal(file.read(box), ARRAY[box])
    _, sections = container.read(server.blob)
    rows, count = sections.chunks("LATT"), len(file.header.bricks)
    brick = sum(row.length for row in rows[6::count])
    most = brick + len(rows) // count * remote.GAP  # what lies between two ranges is read along
    assert brick - remote.FRONT < sum(server.given) - opened < min(most, 0.5 * len(server.blob))


@pytest.mark.parametrize("level", [0, 1])
@pytest.mark.parametrize("box", [(slice(8, 16), slice(17, 31), slice(0, 9)), slice(5, 6)])
def test_bytes_needed_are_those_that_go_over_the_wire(server, monkeypatch, level, box):
    monkeypatch.setattr(remote, "FRONT", 600)  # table and header; nothing else is read along
    monkeypatch.setattr(remote, "GAP", 0)
    asked = inrcodec.open(server.url)
    server.given.clear()
    needed = asked.bytes_needed(box, level)
    index = sum(server.given)
    assert index == asked.sections.lengths["LIDX"]
    file = inrcodec.open(server.url)
    server.given.clear()
    file.read(box, level)
    assert sum(server.given) == needed > index
    server.given.clear()
    file.read(box, level)
    assert not server.given  # remembered


def test_a_file_behind_a_url_is_pickled_as_its_url(server):
    file = inrcodec.open(server.url)
    file.read(slice(0, 1))
    data = pickle.dumps(file)
    assert len(data) < 4000
    assert np.array_equal(pickle.loads(data).read(slice(3, 4)), ARRAY[3:4])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_has_a_connection_of_its_own(server):
    file = inrcodec.open(server.url)
    file.read(slice(0, 1))
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=lambda: sender.send(file.read(slice(20, 21))))
    child.start()
    assert receiver.poll(60), "the child hangs"
    assert np.array_equal(receiver.recv(), ARRAY[20:21])
    child.join(20)


def test_a_connection_that_breaks_off_while_a_box_is_read_costs_that_box(server):
    file = inrcodec.open(server.url)
    server.stops_after = 100
    with pytest.raises((InputError, CorruptFile), match="head"):
        file.read(slice(0, 1))
    server.stops_after = None
    assert np.array_equal(file.read(slice(0, 1)), ARRAY[:1])


@pytest.mark.parametrize("status", [403, 404, 429, 500, 502, 503])
def test_a_server_that_refuses_midway_costs_what_is_read_then(server, tmp_path, status, capsys):
    file = inrcodec.open(server.url)
    server.refuses = status
    with pytest.raises(InputError, match=rf"head\.inrv.*({status}|no such file)"):
        file.read(slice(0, 1))
    np.save(tmp_path / "v.npy", ARRAY)
    assert dec.main([server.url, str(tmp_path / "v.npy"), "-q", "--force"]) == 3
    said = capsys.readouterr().err
    assert "cannot read" in said and "unexpected" not in said
    assert np.array_equal(np.load(tmp_path / "v.npy"), ARRAY)
    assert [path.name for path in tmp_path.iterdir()] == ["v.npy"]
    server.refuses = 0
    assert np.array_equal(file.read(slice(0, 1)), ARRAY[:1])


@pytest.mark.parametrize(
    "spoils",
    [lambda body: b"", lambda body: body[:-1], lambda body: body + b"?", lambda body: bytes(len(body))],
    ids=["nothing", "a byte less", "a byte more", "zeros"],
)
def test_ranges_of_other_bytes_than_were_asked_for_are_refused(server, spoils):
    file = inrcodec.open(server.url)
    server.spoils = spoils
    with pytest.raises((InputError, CorruptFile), match=r"get|try"):
        file.read(slice(0, 1))
    with pytest.raises((InputError, CorruptFile)):
        inrcodec.decode(server.url)
    server.spoils = None
    assert np.array_equal(file.read(slice(0, 1)), ARRAY[:1])


def test_a_whole_file_comes_back(server, tmp_path):
    assert np.array_equal(inrcodec.decode(server.url), ARRAY)
    assert inrcodec.verify(server.url)["ok"]
    assert dec.main([server.url, str(tmp_path / "v.npy"), "-q"]) == 0
    assert np.array_equal(np.load(tmp_path / "v.npy"), ARRAY)


@pytest.mark.parametrize("scheme", ["memory://a/head.inrv", "UPath"])
def test_other_file_systems_are_read(blob, tmp_path, scheme):
    source = pytest.importorskip("upath").UPath("memory://a/head.inrv") if scheme == "UPath" else scheme
    with fsspec.open("memory://a/head.inrv", "wb") as stream:
        stream.write(blob)
    assert np.array_equal(inrcodec.open(source).read(slice(3, 4)), ARRAY[3:4])


def test_a_server_without_ranges_gives_the_whole_once_and_that_is_said(server, caplog):
    server.ranges = False
    file = inrcodec.open(server.url)
    for z in (0, 39):
        assert np.array_equal(file.read(slice(z, z + 1)), ARRAY[z : z + 1])
    assert server.given == [len(server.blob)]
    assert "is not served by ranges: all of its" in caplog.text


def test_a_connection_that_breaks_off_is_an_error_about_the_source(server):
    server.stops_after = 100
    with pytest.raises((InputError, CorruptFile), match="head"):
        inrcodec.info(server.url)


def test_what_is_not_there_is_an_error_about_the_source(server, capsys):
    for url in (server.url + "x", "http://127.0.0.1:1/a.inrv", "nosuchscheme://a/b.inrv"):
        with pytest.raises(InputError, match=re.escape(url)):
            inrcodec.info(url)
    assert info.main([server.url + "x"]) == 3
    assert "cannot read" in capsys.readouterr().err


def test_what_a_server_answers_is_told(server):
    with pytest.raises(InputError, match=": 404"):
        inrcodec.open(server.url + "x")
    with pytest.raises(InputError, match=r": .*[Cc]onnect"):
        inrcodec.open("http://127.0.0.1:1/a.inrv")
    with pytest.raises(InputError, match="nowhere: no such file"):
        inrcodec.open("memory://nowhere")


def test_errors_and_warnings_tell_no_password_and_no_query(server, caplog, capsys):
    secret = server.url.replace("://", "://me:hidden@") + "?token=hidden"
    for url in (secret.replace("head", "heads"), secret.replace("head.inrv", "head")):
        assert info.main([url]) == 3
    server.ranges = False
    server.blob = server.blob[:-1] + b"?"
    assert info.main([server.url + "?token=hidden&x=.inrv", "--verify"]) == 4
    said = capsys.readouterr().err + caplog.text
    assert "hidden" not in said and "head.inrv?…" in said and "127.0.0.1" in said


def test_damage_behind_a_url_is_seen(server):
    blob = bytearray(server.blob)
    blob[-100] ^= 1
    server.blob = bytes(blob)
    file = inrcodec.open(server.url)
    assert np.array_equal(file.read(slice(0, 16)), ARRAY[:16])
    with pytest.raises(CorruptFile, match="checksum"):
        file.read()


def test_a_name_with_a_colon_is_a_path(tmp_path, blob, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a:b.inrv").write_bytes(blob)
    assert inrcodec.info("a:b.inrv")["bytes"]["file"] == len(blob)


def test_a_file_object_of_fsspec_is_a_stream(blob):
    assert np.array_equal(inrcodec.decode(io.BytesIO(blob)), ARRAY)
