"""A pool of workers that compute on one thread each.

In: how many workers.  Out: a ``map`` over pieces of work.
The one law: a piece never sees more than one thread of torch, so its bits do not depend on its neighbours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch

from inrcodec.pool import InterruptiblePool

Piece = TypeVar("Piece")
Result = TypeVar("Result")


Pool = Callable[[Callable[[Piece], Result], Iterable[Piece]], list[Result]]


@contextmanager
def single_threaded(workers: int) -> Iterator[Pool[Any, Any]]:
    """A pool's ``map(function, pieces)``, which waits for all; torch's own threads come back afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with InterruptiblePool(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        try:
            yield lambda function, pieces: list(pool.map(function, pieces))
        finally:
            torch.set_num_threads(before)
