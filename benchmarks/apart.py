"""Work in a process of its own: how long it took, and what it held at its peak.

In: a function of a module, and its arguments.  Out: what it returns, seconds, MiB.
The one law: nothing that went before counts, and a process that dies is an error, not a wait.
"""

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from time import monotonic
from typing import Any

Measured = tuple[Any, float, float]


def apart(work: Callable[..., Any], *words: Any) -> Any:
    """What ``work(*words)`` returns, in a new process; it imports its own modules."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(work, *words).result()


def timed(work: Callable[[], Any]) -> Measured:
    """What it returns, seconds, and MiB that this process held at the peak beyond what it held before.

    Linux alone counts that.
    """
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before, start = _held("VmRSS"), monotonic()
    found = work()
    return found, monotonic() - start, (_held("VmHWM") - before) / 1024


def _held(name: str) -> int:
    """KiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))
