"""Threads: pools that leave at once on an interrupt, and workers that compute on one thread each.

In: how many threads.  Out: an executor, or a ``map`` over pieces of work.
The one law: this is the only module that touches thread counts; torch is imported where it computes, never
for the low-res decode.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import TracebackType
from typing import Any, TypeVar

__all__ = ["InterruptiblePool"]


class InterruptiblePool(ThreadPoolExecutor):
    """A `ThreadPoolExecutor` that leaves its ``with`` block at once on Ctrl-C.

    An error cancels what has not begun and waits for the rest, as nothing may change behind the caller's
    back.  An interrupt does not wait: a piece of work can be many seconds long on a busy machine.
    """

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        interrupted = kind is not None and issubclass(kind, KeyboardInterrupt)
        self.shutdown(wait=not interrupted, cancel_futures=kind is not None)


Piece = TypeVar("Piece")
Result = TypeVar("Result")


Pool = Callable[[Callable[[Piece], Result], Iterable[Piece]], list[Result]]


@contextmanager
def single_threaded(workers: int) -> Iterator[Pool[Any, Any]]:
    """A pool's ``map(function, pieces)``, which waits for all; torch's own threads come back afterwards."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with InterruptiblePool(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        try:
            yield lambda function, pieces: list(pool.map(function, pieces))
        finally:
            torch.set_num_threads(before)
