"""Threads: what an error and an interrupt do to waiting work, and thread counts that end up as they were."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_info, threadpool_limits

import inrcodec
from inrcodec import parallel
from inrcodec.format import container
from inrcodec.layers.lattice.layer import Refinement
from inrcodec.layers.superres.architectures import Architecture
from inrcodec.layers.superres.network import SRDenseNet
from inrcodec.layers.superres.upsampler import Upsampler
from inrcodec.parallel import InterruptiblePool


def test_results_come_in_order():
    with InterruptiblePool(3) as pool:
        assert list(pool.map(lambda n: n * n, range(20))) == [n * n for n in range(20)]


def test_an_interrupt_does_not_wait():
    begun, done = Event(), Event()

    def work():
        begun.set()
        done.wait()

    with pytest.raises(KeyboardInterrupt), InterruptiblePool(1) as pool:  # a pool that waits hangs here
        running, waiting = pool.submit(work), pool.submit(work)
        begun.wait()
        raise KeyboardInterrupt
    assert waiting.cancelled()
    assert not running.done()
    done.set()
    running.result()


def test_an_error_waits_for_what_has_begun_and_begins_no_more():
    begun, begins = Event(), []

    def work(number):
        begins.append(number)
        begun.wait()
        return number

    with pytest.raises(ValueError, match="reason"), InterruptiblePool(1) as pool:
        running, waiting = pool.submit(work, 0), pool.submit(work, 1)
        begun.set()
        running.result()
        later = [pool.submit(Event().wait, 0.01) for _ in range(1000)]
        raise ValueError("reason")
    assert waiting.done()
    assert later[-1].cancelled()
    assert all(future.done() for future in later)


# --- thread counts


@pytest.fixture
def counts():
    """Thread counts that are not one, whatever the machine; put back behind the test."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    with threadpool_limits(2, "blas"):
        yield
    torch.set_num_threads(before)


def blas_counts():
    return [row["num_threads"] for row in threadpool_info() if row["user_api"] == "blas"]


def in_new_thread(function):
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function).result()


def lattice_file():
    array = np.add.outer(np.arange(12), np.add.outer(np.arange(30), np.arange(30))).astype(np.int16)
    header, sections = container.read(inrcodec.encode(array, lossless=True))
    return array, header, sections


def test_concurrent_decodes_give_the_same_voxels_and_restore_what_they_found(counts):
    array, header, sections = lattice_file()
    before, second_started, first_done = blas_counts(), Event(), Event()

    def first():
        decoded = Refinement(header, sections).read(progress=lambda *_: second_started.wait(60))
        first_done.set()
        return decoded

    def second():
        def wait(*_):
            second_started.set()
            first_done.wait(60)
            assert set(blas_counts()) == {1}  # still held, though the first has left

        return Refinement(header, sections).read(progress=wait)

    with ThreadPoolExecutor(2) as pool:
        results = [pool.submit(first), pool.submit(second)]
        assert all(np.array_equal(r.result(), array) for r in results)
    assert blas_counts() == before


def test_concurrent_low_res_decodes_agree_and_leave_blas_as_it_was(counts, tiny_blob):
    expected, before = inrcodec.decode(tiny_blob, lowres=True), blas_counts()
    with ThreadPoolExecutor(4) as pool:
        decoded = list(pool.map(lambda _: inrcodec.decode(tiny_blob, lowres=True, threads=2), range(8)))
    assert all(np.array_equal(d, expected) for d in decoded) and blas_counts() == before


def residual_layers():
    torch.manual_seed(0)
    network = SRDenseNet(
        Architecture(dims=2, factor=(1, 2, 2), features=8, blocks=1, layers=2, growth=4, bottleneck=8)
    )
    low = np.linspace(-1, 1, 40 * 20 * 20, dtype=np.float32).reshape(40, 20, 20)
    return Upsampler(network.eval(), low, np.ones(low.shape, bool), "cpu", 2).layers()


def test_a_suspended_or_abandoned_generator_holds_no_thread_count(counts):
    layers = residual_layers()
    next(layers)
    assert torch.get_num_threads() == 2 and in_new_thread(torch.get_num_threads) == 2
    layers.close()
    assert torch.get_num_threads() == 2 and in_new_thread(torch.get_num_threads) == 2


def test_workers_compute_on_one_thread_and_nothing_is_left_behind(counts):
    with parallel.single_threaded(2) as pool:
        assert pool(lambda _: torch.get_num_threads(), range(4)) == [1] * 4
        assert torch.get_num_threads() == 1 and in_new_thread(torch.get_num_threads) == 2
    assert torch.get_num_threads() == 2 and in_new_thread(torch.get_num_threads) == 2


def test_overlapping_fits_in_two_threads_restore_both(counts):
    entered, left = Event(), Event()

    def first():
        with parallel.single_threaded(1):
            entered.wait(60)
        left.set()
        return torch.get_num_threads()

    def second():
        with parallel.single_threaded(1):
            entered.set()
            left.wait(60)
            inside = torch.get_num_threads()
        return inside, torch.get_num_threads()

    with ThreadPoolExecutor(2) as pool:
        results = pool.submit(first), pool.submit(second)
        assert results[0].result() == 2 and results[1].result() == (1, 2)
    assert in_new_thread(torch.get_num_threads) == 2


FORK = """
import multiprocessing
import numpy as np
import torch
from inrcodec.layers.superres import registry
from inrcodec.layers.superres.upsampler import Upsampler
torch.set_num_threads(2)

def residual():
    known = registry.manifest("ct-3d-x4")
    network = registry.load(known.id, bytes.fromhex(known.sha256))
    low = np.linspace(-1, 1, 6 * 8 * 8, dtype=np.float32).reshape(6, 8, 8)
    layers = Upsampler(network, low, np.ones(low.shape, bool), "cpu", 2).layers()
    return [values.tobytes() for layer in layers for _, values in layer.blocks]

expected = residual()
fork = multiprocessing.get_context("fork")
queue = fork.Queue()
child = fork.Process(target=lambda: queue.put(residual() == expected), daemon=True)
child.start()
print(queue.get(timeout=60))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_child_decodes_what_its_parent_decodes():
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", FORK], capture_output=True, text=True)
    assert done.stdout.strip() == "True", done.stderr


def test_a_child_forked_while_blas_is_held_has_all_of_it(counts):
    read, write = os.pipe()
    with parallel.one_blas_thread():
        child = os.fork()
        if not child:
            os.write(write, bytes(blas_counts()))
            os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert list(os.read(read, 16)) == blas_counts()


def test_counts_are_changed_in_one_module_alone():
    package = Path(inrcodec.__file__).parent
    users = {
        path.name
        for path in package.rglob("*.py")
        if re.search(r"threadpoolctl|\.set_num_threads", path.read_text())
    }
    assert users == {"parallel.py"}


def test_an_import_ahead_says_nothing_of_its_errors(tmp_path, monkeypatch, capfd):
    """Whoever needs the module meets them."""
    (tmp_path / "slow_module.py").write_text("import time\ntime.sleep(0.2)\nvalue = 7\n")
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("slow_module", "no_such_module"):
        parallel.import_ahead(name)
    assert importlib.import_module("slow_module").value == 7
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("no_such_module")
    assert capfd.readouterr().err == ""
