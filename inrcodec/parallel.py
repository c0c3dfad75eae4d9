"""Threads: pools that stop at once on an interrupt, and how many threads BLAS and torch use.

Invariant: this is the only module that changes thread counts, and none outlives its context.

OpenBLAS has one count for the whole process: it is reference-counted, so that the first of several concurrent
decodes sets it and the last restores it.  torch has one count per thread and a default for new threads: each
thread sets its own, and the default is put back at once.  Neither is held while a generator is suspended.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, contextmanager
from importlib import import_module
from threading import Barrier, Lock, Thread
from typing import Any, TypeVar

from threadpoolctl import LibController, ThreadpoolController

Task = TypeVar("Task")
Result = TypeVar("Result")

# Seconds: a signal that comes just before Python waits for a lock is only seen when the wait ends.
PULSE = 0.1


class InterruptiblePool(ThreadPoolExecutor):
    """A `ThreadPoolExecutor` that leaves its ``with`` block at once on Ctrl-C.

    An error cancels what has not started and waits for the rest, since nothing may change behind the caller's
    back.  An interrupt does not wait: a task can take many seconds on a busy machine.
    """

    def map(
        self,
        fn: Callable[..., Result],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
    ) -> Iterator[Result]:
        """Results in the order of the tasks; without a time-out, and one task at a time."""
        futures = [self.submit(fn, *task) for task in zip(*iterables, strict=False)]

        def results() -> Iterator[Result]:
            try:
                for future in futures:
                    yield awaited(future)
            finally:
                for future in futures:
                    future.cancel()

        return results()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        interrupted = kind is not None and issubclass(kind, KeyboardInterrupt)
        self.shutdown(wait=not interrupted, cancel_futures=kind is not None)


def awaited(future: Future[Result]) -> Result:
    """The result of a task, or its error; an interrupt is seen while it is waited for."""
    while not future.done():
        wait([future], timeout=PULSE)
    return future.result()


def import_ahead(module: str) -> None:
    """Import a module in another thread; whoever imports it next waits for it, and meets its errors."""
    pool = InterruptiblePool(1)
    pool.submit(import_module, module)
    pool.shutdown(wait=False)


def mapped(fn: Callable[[Task], Result], tasks: Sequence[Task], threads: int) -> list[Result]:
    """Results in the order of the tasks, of a pool of threads; of one thread or task, without any other."""
    if min(threads, len(tasks)) <= 1:
        return list(map(fn, tasks))
    with InterruptiblePool(min(threads, len(tasks))) as pool:
        return list(pool.map(fn, tasks))


Pool = Callable[[Callable[[Task], Result], Iterable[Task]], list[Result]]


def thread_count(threads: int | None) -> int:
    """The requested number of threads; by default one per core."""
    return threads or os.cpu_count() or 1


class _BlasGuard:
    """BLAS on one thread for as long as anyone needs it."""

    def __init__(self) -> None:
        self.lock, self.users = Lock(), 0
        self.before: list[tuple[LibController, int]] = []  # libraries, and their counts when the first came

    @contextmanager
    def held(self) -> Iterator[None]:
        with self.lock:
            if self.users == 0:
                libraries = ThreadpoolController().select(user_api="blas").lib_controllers
                self.before = [(library, library.num_threads) for library in libraries]
                for library in libraries:
                    _set_blas(library, 1)
            self.users += 1
        try:
            yield
        finally:
            with self.lock:
                self.users -= 1
                if self.users == 0:
                    self.restore()

    def restore(self) -> None:
        for library, count in self.before:
            _set_blas(library, count)
        self.before = []


def _set_blas(library: LibController, count: int) -> None:
    """Set the count of a library, from whichever thread.

    threadpoolctl 3.8 silently ignores all threads but the one that was first to set a count of OpenBLAS;
    here the guard's lock keeps them apart.
    """
    release = getattr(library, "clear_controlling_thread", lambda *, force: None)
    release(force=True)
    library.set_num_threads(count)
    release(force=True)


_blas = _BlasGuard()


def one_blas_thread() -> AbstractContextManager[None]:
    """BLAS on one thread: how it shares a product out would change the last bits."""
    return _blas.held()


_torch_lock = Lock()  # held while new threads would take another default


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """torch on ``count`` threads in the calling thread, and in no other."""
    import torch

    before = torch_count()
    with _torch_lock:
        torch.set_num_threads(count)
        _restore_default(before)
    try:
        yield
    finally:
        with _torch_lock:
            torch.set_num_threads(before)


def torch_pool(workers: int) -> InterruptiblePool:
    """A pool whose workers compute on one torch thread each; the caller's count stays as it is."""
    import torch

    default, pool, started = torch_count(), InterruptiblePool(workers), Barrier(workers)

    def start(_: int) -> None:
        torch.get_num_threads()  # takes the default, which would otherwise replace what follows
        torch.set_num_threads(1)
        started.wait()  # so that each task is another worker's

    with _torch_lock:
        try:
            list(pool.map(start, range(workers)))
        except BaseException:
            started.abort()
            raise
        finally:
            _restore_default(default)
    return pool


def torch_count() -> int:
    """torch's count in the calling thread, which takes the default for good at its first use of torch."""
    import torch

    with _torch_lock:
        return torch.get_num_threads()


def _restore_default(count: int) -> None:
    """Set the count that new threads take, without a change of the caller's: in a thread of its own."""
    import torch

    other = Thread(target=torch.set_num_threads, args=(count,))
    other.start()
    other.join()


@contextmanager
def single_threaded(workers: int) -> Iterator[Pool[Any, Any]]:
    """``map(function, tasks)`` of a pool, waiting for all; torch on one thread here and in its workers."""
    with torch_pool(workers) as pool, torch_threads(1):
        yield lambda function, tasks: list(pool.map(function, tasks))


def _after_fork() -> None:
    """Make a forked child fit to compute.

    Its OpenMP waits for ever for threads that only the parent has, unless it needs none (libgomp and fork are
    known not to mix); the threads that held BLAS at one are gone too.
    """
    global _blas, _torch_lock
    _blas.restore()
    _blas, _torch_lock = _BlasGuard(), Lock()
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(after_in_child=_after_fork)
