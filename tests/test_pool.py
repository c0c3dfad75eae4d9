"""The pool of threads: what an error and an interrupt do to work that is waiting."""

from __future__ import annotations

from threading import Event

import pytest

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
