"""Processes and machines that share the work: ``--jobs`` and ``--scheduler``.

In: arguments.  Out: where one volume is encoded.
Invariant: without these flags, and with one job, everything is done in this process and Dask is not needed.
"""

from __future__ import annotations

import argparse
from functools import partial

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


def refuse_cluster(args: argparse.Namespace) -> None:
    """Refuse the flags of a cluster for one file."""
    for name in ("jobs", "scheduler"):
        if getattr(args, name) is not None:
            raise UsageError("is for a collection: one file is done in this process", option=name)
