"""Processes and machines that share the work: ``--jobs`` and ``--scheduler``.

In: arguments.  Out: where one volume is encoded.
Invariant: without these flags, and with one job, everything is done in this process and Dask is not needed.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from inrcodec.cli.arguments import Parser
from inrcodec.errors import UsageError
from inrcodec.validate import THREADS


def add_cluster(made: Parser, what: str) -> None:
    """Add the flags of a cluster; `what` is done by its processes."""
    add = partial(made.add, group="machine")
    jobs = f"processes that {what}; they share the cores (1 to 1,024; needs the extra 'dask')"
    add("--jobs", type=THREADS.parse, metavar="N", help=jobs)
    address = "address of a Dask scheduler whose workers do it, such as tcp://host:8786"
    add("--scheduler", metavar="ADDRESS", help=address)


@contextmanager
def encoder(args: argparse.Namespace) -> Iterator[Callable[..., Any]]:
    """What encodes one volume, as `api.encode_file` does: this process, or a cluster that lives as long."""
    from inrcodec import api
    from inrcodec.plugins.dask import cluster, is_requested

    if not is_requested(args.jobs, args.scheduler):
        yield api.encode_file
        return
    from inrcodec import dask

    with cluster(args.jobs, args.scheduler) as client:
        yield partial(dask.encode, client=client)


def refuse_cluster(args: argparse.Namespace, what: str) -> None:
    """Refuse the flags of a cluster for what is done without one."""
    for name in ("jobs", "scheduler"):
        if getattr(args, name) is not None:
            raise UsageError(f"{what} in this process: leave it out", option=name)
