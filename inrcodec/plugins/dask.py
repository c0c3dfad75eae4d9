"""A Dask cluster to compute on: one of processes of this machine, or one that is there.

In: a number of processes, or the address of a scheduler.  Out: a client.
Invariant: a cluster that was started here listens on this machine only and ends with its context.
"""

from __future__ import annotations

import logging
import os
import socket
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, TypeVar

from inrcodec.errors import InputError, InrvError, MissingExtra, UsageError, reason
from inrcodec.parallel import thread_count
from inrcodec.validate import MAX_THREADS, integer

if TYPE_CHECKING:
    from distributed import Client, LocalCluster
    from tornado.ioloop import IOLoop

Task = TypeVar("Task")
Result = TypeVar("Result")

THREADS = "INRCODEC_THREADS"  # in the environment of a worker
UNINTERRUPTED = "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)"  # Ctrl-C is for who started it
WAIT = 10  # seconds in which a scheduler has to answer
LOOK = 5.0  # seconds between two looks for processes that are gone


def is_requested(jobs: int | None, scheduler: str | None) -> bool:
    """Whether a number of jobs, or an address, asks for more than this process."""
    return scheduler is not None or jobs not in (None, 1)


def distributed_package() -> ModuleType:
    """Dask's scheduler; raises `MissingExtra` where it is not installed."""
    try:
        return import_module("distributed")
    except ImportError as error:
        raise MissingExtra("Dask and its distributed scheduler are not installed", extra="dask") from error


@contextmanager
def cluster(jobs: int | None = None, scheduler: str | None = None) -> Iterator[Client]:
    """A client of a cluster.

    Parameters
    ----------
    jobs : int, optional
        Processes of a cluster on this machine, one a core by default. The cores are shared out among them.
    scheduler : str, optional
        Address of a scheduler that runs, such as "tcp://10.0.0.1:8786". Its workers have the same version of
        this package, and see the same files under the same paths.

    Raises
    ------
    MissingExtra
        Dask or its distributed scheduler is not installed.
    UsageError
        The number is not from 1 to 1,024; both are given, or the address is malformed. A script starts
        itself again in every process, for lack of ``if __name__ == "__main__":``; or a process was killed
        as it started.
    InputError
        No scheduler answers there.
    """
    if jobs is not None and scheduler is not None:
        raise UsageError("a cluster that runs has its own workers", value=jobs, option=("jobs", "scheduler"))
    jobs = None if jobs is None else integer("jobs", jobs, 1, MAX_THREADS)
    distributed = distributed_package()
    if scheduler is None:
        with _local(thread_count(jobs)) as client:
            yield client
        return
    _reach(scheduler)
    try:
        client = distributed.Client(scheduler, timeout=WAIT, set_as_default=False)
    except Exception as error:  # what listens there may say anything
        cause = f"no scheduler answers at {scheduler}: {reason(error)}, check the address"
        raise InputError(cause, value=scheduler, option="scheduler") from error
    with client:
        yield client


def task_threads() -> int:
    """Threads that a task may use, asked in the task: what the worker's environment says, else one."""
    named = os.environ.get(THREADS, "")
    return int(named) if named.isdecimal() and int(named) else 1


def finished(
    client: Client, function: Callable[[Task], Result], tasks: Sequence[Task]
) -> Iterator[tuple[Task, Result | BaseException]]:
    """Tasks as they are done, each with its result, or the error that it ended with."""
    from distributed import KilledWorker, as_completed

    submitted = {client.submit(function, task, pure=False): task for task in tasks}
    for future in as_completed(list(submitted), loop=client.loop):
        error = future.exception()
        if isinstance(error, KilledWorker):
            error = InrvError("its process was ended again and again, give it more memory or use fewer jobs")
        yield submitted.pop(future), future.result() if error is None else error


def _reach(scheduler: str) -> None:
    """Refuse an address at which nothing listens: Dask's own client goes on trying long after its refusal."""
    from distributed.comm.addressing import get_address_host_port, normalize_address

    try:
        place = get_address_host_port(normalize_address(scheduler), strict=True)
    except (ValueError, TypeError) as error:
        cause = f"{scheduler} is not the address of a scheduler, such as tcp://host:8786"
        raise UsageError(cause, value=scheduler, option="scheduler") from error
    try:
        socket.create_connection(place, timeout=WAIT).close()
    except OSError as error:
        cause = f"nothing answers at {scheduler}: {reason(error)}, check the address"
        raise InputError(cause, value=scheduler, option="scheduler") from error


@contextmanager
def _local(jobs: int) -> Iterator[Client]:
    """A cluster of processes that compute one task at a time; nothing is shown, and nothing logged."""
    from distributed import Client

    with (
        _silence("distributed"),
        _workers(jobs) as workers,
        Client(workers, set_as_default=False) as client,
        _kept_up(workers, client.loop, jobs),
    ):
        yield client


@contextmanager
def _kept_up(workers: LocalCluster, loop: IOLoop, jobs: int) -> Iterator[None]:
    """Start processes again that were killed while they started, which Dask itself does not."""
    from distributed.core import Status
    from tornado.ioloop import PeriodicCallback

    def look() -> None:
        for name, nanny in list(workers.workers.items()):
            if nanny.status in (Status.closed, Status.failed):
                del workers.workers[name]
        workers.scale(jobs)

    again = PeriodicCallback(look, 1000 * LOOK)
    loop.add_callback(again.start)
    try:
        yield
    finally:
        loop.add_callback(again.stop)


def _workers(jobs: int) -> LocalCluster:
    """Processes that wait for a client."""
    from distributed import LocalCluster

    threads = max(1, thread_count(None) // jobs)
    try:
        return LocalCluster(
            n_workers=jobs,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            silence_logs=logging.CRITICAL,
            memory_limit=0,  # dask's own limit stops or ends workers that hold most of the memory
            local_directory=tempfile.gettempdir(),  # where Dask itself clears away what killed workers left
            env={THREADS: str(threads)},
            preload=[UNINTERRUPTED],
        )
    except RuntimeError as error:
        killed = "try again if one was killed as it started"  # which Dask does not tell from the other
        script = "in a script, keep what it does behind 'if __name__ == \"__main__\":'"
        cause = f"cannot start processes ({reason(error)})"
        raise UsageError(f"{cause}: {killed}; {script}", value=jobs) from error


@contextmanager
def _silence(name: str) -> Iterator[None]:
    """Nothing from a logger, nor from those below it, whoever listens."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)
