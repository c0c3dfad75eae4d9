"""A Dask cluster of this machine, or one that is there."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from contextlib import suppress

import numpy as np
import pytest

import inrcodec
from inrcodec.cli import enc
from inrcodec.errors import InputError, InrvError, MissingExtra, UsageError
from inrcodec.plugins.dask import cluster, finished, task_threads


@pytest.fixture(scope="module")
def client():
    with cluster(2) as client:
        yield client


def test_a_task_runs_in_another_process_and_knows_its_share_of_the_cores(client):
    tasks = client.submit(os.getpid), client.submit(task_threads)
    pid, threads = client.gather(tasks)
    assert pid != os.getpid()
    assert threads == max(1, os.cpu_count() // 2)


def test_a_cluster_listens_on_this_machine_only(client):
    info = client.scheduler_info(n_workers=-1)
    assert all("127.0.0.1" in address for address in (info["address"], *info["workers"]))


def test_a_cluster_that_runs_is_used_and_stays(client):
    with cluster(scheduler=client.scheduler.address) as other:
        assert other.submit(sum, (1, 2)).result() == 3
    assert client.submit(sum, (2, 3)).result() == 5


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
def test_processes_that_are_killed_as_they_start_are_started_again(monkeypatch):
    monkeypatch.setattr("inrcodec.plugins.dask.LOOK", 0.2)
    with cluster(1) as client:
        first = client.submit(os.getpid, pure=False).result()
        ended = {None, first}
        os.kill(first, signal.SIGKILL)
        while len(ended) < 4:
            for started in {nanny.pid for nanny in list(client.cluster.workers.values())} - ended:
                with suppress(ProcessLookupError):
                    os.kill(started, signal.SIGKILL)
                ended.add(started)
            time.sleep(0.01)
        assert client.submit(os.getpid, pure=False).result() not in ended


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
def test_a_task_that_ends_each_process_is_named_and_the_others_are_done(client):
    ends = dict(finished(client, _end_of, [False, True]))
    assert ends[False] == "done"
    assert isinstance(ends[True], InrvError) and "again and again" in str(ends[True])


def _end_of(dies):
    if dies:
        os.kill(os.getpid(), signal.SIGKILL)
    return "done"


@pytest.mark.parametrize("address", ["nonsense", "foo://x:1", "tcp://127.0.0.1"])
def test_what_is_no_address_is_refused(address):
    with pytest.raises(UsageError, match="not the address of a scheduler"), cluster(scheduler=address):
        pass


def test_an_address_where_nothing_listens_is_refused():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(InputError, match="nothing answers at"), cluster(scheduler=address):
            pass


def test_processes_of_ones_own_and_a_cluster_that_runs_exclude_each_other():
    with pytest.raises(UsageError, match="jobs, scheduler"), cluster(2, "tcp://127.0.0.1:8786"):
        pass


def test_without_dask_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(MissingExtra, match=r"inrcodec\[dask\]"), cluster(1):
        pass


@pytest.mark.parametrize(("named", "threads"), [("3", 3), ("0", 1), ("many", 1), ("", 1)])
def test_the_environment_of_a_worker_says_the_threads_of_a_task(monkeypatch, named, threads):
    monkeypatch.setenv("INRCODEC_THREADS", named)
    assert task_threads() == threads


def test_one_volume_is_encoded_by_a_cluster_to_the_same_file(client, tmp_path, capsys):
    np.save(tmp_path / "in.npy", np.arange(16**3, dtype=np.int16).reshape(16, 16, 16) % 77)
    words = [str(tmp_path / "in.npy"), "--lossless", "--brick", "8"]
    address = client.scheduler.address
    assert enc.main([words[0], str(tmp_path / "one.inrv"), *words[1:]]) == 0
    assert enc.main([words[0], str(tmp_path / "two.inrv"), *words[1:], "--scheduler", address]) == 0
    assert (tmp_path / "one.inrv").read_bytes() == (tmp_path / "two.inrv").read_bytes()
    assert enc.main([words[0], str(tmp_path / "three.inrv"), "--dry-run", "--scheduler", address]) == 2
    assert "--scheduler: a plan is made in this process" in capsys.readouterr().err


def test_a_collection_is_done_by_a_cluster_that_runs(client, tmp_path):
    tree = tmp_path / "tree"
    tree.mkdir()
    for name in ("a", "b"):
        np.save(tree / f"{name}.npy", np.eye(9, dtype=np.int16))
    address = client.scheduler.address
    assert len(inrcodec.encode_tree(tree, tmp_path / "out", scheduler=address, lossless=True).done) == 2
    assert len(inrcodec.verify_tree(tmp_path / "out", scheduler=address).done) == 2
    back = inrcodec.decode_tree(tmp_path / "out", tmp_path / "back", format="npy", scheduler=address)
    assert len(back.done) == 2 and (np.load(tmp_path / "back" / "a.npy") == np.eye(9)).all()
