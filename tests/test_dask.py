"""Volumes on a Dask cluster: the file of one process, also where workers end; and files as arrays of Dask."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

import inrcodec
import inrcodec.dask
from inrcodec.cli import enc
from inrcodec.errors import InputError, InrvError, MissingExtra, UsageError
from inrcodec.io import large
from inrcodec.plugins.dask import cluster
from inrcodec.plugins.dask_tasks import Workers
from inrcodec.volume.box import Box

da = pytest.importorskip("dask.array")
h5py = pytest.importorskip("h5py")
from distributed import KilledWorker  # noqa: E402
from distributed.client import FutureCancelledError  # noqa: E402


@pytest.fixture(scope="module")
def client():
    with cluster(2) as client:
        yield client


@pytest.fixture(scope="module")
def array():
    rng = np.random.default_rng(0)
    found = np.add.outer(np.add.outer(np.arange(24), np.arange(40)), np.arange(50)) * 9
    return (found + rng.integers(0, 9, found.shape)).astype(np.int16)


@pytest.fixture(scope="module")
def blob(array):
    return inrcodec.encode(array, lossless=True, brick=16)


def encoded(source, path, client, **options):
    report = inrcodec.dask.encode(source, path, client, force=True, **options)
    assert report.file_bytes == path.stat().st_size
    return path.read_bytes()


def test_any_source_gives_the_file_of_one_process(tmp_path, client, array, blob):
    np.save(tmp_path / "a.npy", array)
    blocks = da.from_array(array, chunks=(7, 40, 25))
    for source in (array, tmp_path / "a.npy", blocks, blocks.persist(scheduler=client)):
        assert encoded(source, tmp_path / "a.inrv", client, lossless=True, brick=16) == blob


def test_geometry_comes_with_an_array_of_dask(tmp_path, client, array):
    options = {"spacing": (3.0, 1.0, 1.0), "max_error": 2, "brick": 16}
    found = encoded(da.from_array(array, chunks=16), tmp_path / "a.inrv", client, **options)
    assert found == inrcodec.encode(array, **options)
    assert inrcodec.open(found).spacing == (3.0, 1.0, 1.0)


def test_networks_are_those_of_one_process(tmp_path, client, array):
    options = {"factor": 2, "tiles": (1, 1, 2), "width": 10, "steps": 60, "sr": "lanczos"}
    assert encoded(array, tmp_path / "a.inrv", client, **options) == inrcodec.encode(array, **options)


def test_an_image_and_values_that_are_refused(tmp_path, client, array):
    assert encoded(da.from_array(array[0]), tmp_path / "a.inrv", client, lossless=True) == inrcodec.encode(
        array[0], lossless=True
    )
    wrong = da.from_array(np.where(np.eye(16, dtype=bool), np.nan, np.ones((4, 16, 16))), chunks=8)
    with pytest.raises(InputError, match="NaN"):
        inrcodec.dask.encode(wrong, tmp_path / "b.inrv", client, size=9000)
    with pytest.raises(UsageError, match="brick"):
        inrcodec.dask.encode(array, tmp_path / "b.inrv", client, lossless=True, brick=7)
    assert not (tmp_path / "b.inrv").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
def test_a_killed_worker_costs_time_and_no_byte(tmp_path, client, array, blob):
    (victim, *_) = client.run(os.getpid).values()
    killed = []

    def kill(stage, fraction):
        if stage == "refine" and fraction > 0.1 and not killed:
            killed.append(os.kill(victim, signal.SIGKILL))

    assert encoded(array, tmp_path / "a.inrv", client, lossless=True, brick=16, progress=kill) == blob
    assert killed


class Broken:
    """A client whose first parts end as they do where workers are lost."""

    def __init__(self, *ends):
        self.ends = list(ends)

    def nthreads(self):
        return {"one": 1}

    def submit(self, function, *args, **_):
        end = self.ends.pop(0) if self.ends else None
        return SimpleNamespace(result=lambda: self.come_to(end, function, args), cancel=lambda: None)

    def come_to(self, end, function, args):
        if end is not None:
            raise end
        return function(*args)


def total(values, given, threads, report):
    return int(values.sum())


def test_parts_are_tried_again_and_given_up_in_the_end():
    killed, boxes = KilledWorker("a part", None, 3), [Box((0, 0, 0), (1, 2, 2)), Box((1, 0, 0), (2, 2, 2))]
    array = np.arange(8).reshape(2, 2, 2)
    assert list(Workers(Broken(killed, None, killed)).map(total, array, boxes)) == [6, 22]
    with pytest.raises(InrvError, match="more memory"):
        list(Workers(Broken(*[killed] * 9)).map(total, array, boxes))
    with pytest.raises(InrvError, match="the cluster is gone"):
        list(Workers(Broken(FutureCancelledError("a part", "scheduler"))).map(total, array, boxes))


def test_slices_of_an_array_of_dask_are_those_of_the_same_array(tmp_path, client, array):
    path, options = tmp_path / "a.inrv", {"lossless": True, "brick": 16, "slices": slice(3, 20)}
    inrcodec.dask.encode(da.from_array(array, chunks=(8, 16, 32)), path, client, **options)
    assert path.read_bytes() == inrcodec.encode(array, **options)


def test_an_array_that_only_this_process_has_is_sent_part_by_part(tmp_path, client, array, monkeypatch):
    monkeypatch.setattr(large, "LARGE", 1)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        source = file.create_dataset("a", data=array)
        for options in ({"lossless": True}, {"lossless": True, "slices": slice(3, 20)}):
            options |= {"brick": 16}
            found = encoded(source, tmp_path / "a.inrv", client, **options)
            assert found == inrcodec.encode(array, **options)


def threads_of(values, given, threads, report):
    return threads


def test_a_part_takes_the_threads_that_were_requested(monkeypatch):
    monkeypatch.setenv("INRCODEC_THREADS", "5")
    array, boxes = np.zeros((1, 2, 2)), [Box((0, 0, 0), (1, 2, 2))]
    assert list(Workers(Broken()).map(threads_of, array, boxes)) == [5]
    assert list(Workers(Broken(), 3).map(threads_of, array, boxes)) == [3]


def test_an_array_of_dask_that_cannot_be_computed_is_refused(tmp_path, client):
    wrong = da.from_array(np.zeros((4, 8, 8), np.int16), chunks=4).map_blocks(np.linalg.inv, dtype=np.int16)
    with pytest.raises(InputError, match="Dask array"):
        inrcodec.dask.encode(wrong, tmp_path / "a.inrv", client, lossless=True)


@pytest.mark.parametrize("change", [lambda block: block[:1], lambda block: block + 0.5])
def test_blocks_that_are_not_what_the_array_says_are_refused(tmp_path, client, array, change):
    blocks = da.from_array(array, chunks=(7, 40, 25))
    wrong = blocks.map_blocks(change, dtype=array.dtype, chunks=blocks.chunks, meta=array[:0])
    with pytest.raises(InputError, match="says"):
        inrcodec.dask.encode(wrong, tmp_path / "a.inrv", client, lossless=True, brick=16)
    assert not (tmp_path / "a.inrv").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX words")
def test_a_script_that_starts_itself_again_is_told_why(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import inrcodec.dask\nimport numpy as np\n"
        "inrcodec.dask.encode(np.zeros((2, 8, 8), np.int16), 'a.inrv', lossless=True)\n"
    )
    ended = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True)
    last = ended.stderr.splitlines()[-1]
    assert "UsageError" in last and "__main__" in last and not (tmp_path / "a.inrv").exists()


def test_a_file_is_an_array_of_dask(tmp_path, client, array, blob):
    path = tmp_path / "a.inrv"
    path.write_bytes(blob)
    found = inrcodec.dask.open(path)
    assert found.shape == array.shape and found.dtype == array.dtype and found.chunksize == (16, 16, 16)
    assert np.array_equal(found[3:20, :, ::7].compute(scheduler=client), array[3:20, :, ::7])
    assert np.array_equal(found.compute(scheduler="sync"), array)
    coarse = inrcodec.dask.open(path, 1)
    assert np.array_equal(coarse.compute(scheduler="threads"), inrcodec.open(path).read(level=1))
    assert found.name == inrcodec.dask.open(path).name != coarse.name
    with pytest.raises(UsageError):
        inrcodec.dask.open(path, 99)


def test_without_a_client_there_is_a_cluster_for_the_while(tmp_path, array, blob, monkeypatch):
    monkeypatch.setattr(inrcodec.dask, "cluster", lambda: cluster(1))
    assert encoded(array, tmp_path / "a.inrv", None, lossless=True, brick=16) == blob


def test_a_command_encodes_one_volume_on_a_cluster(tmp_path, client, array, blob):
    np.save(tmp_path / "a.npy", array)
    words = [str(tmp_path / "a.npy"), str(tmp_path / "a.inrv"), "--lossless", "--brick", "16", "-q"]
    assert enc.main([*words, "--scheduler", client.scheduler.address]) == 0
    assert (tmp_path / "a.inrv").read_bytes() == blob


def test_without_dask_the_extra_is_named(tmp_path, array, monkeypatch):
    for name in ("distributed", "dask.array", "dask"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtra, match=r"inrcodec\[dask\]"):
        inrcodec.dask.encode(array, tmp_path / "a.inrv", lossless=True)
    with pytest.raises(MissingExtra, match=r"inrcodec\[dask\]"):
        inrcodec.dask.open(tmp_path / "a.inrv")
