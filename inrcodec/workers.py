"""A pool of workers that compute on one thread each.

In: how many workers.  Out: a ``map`` over pieces of work.
The one law: a piece never sees more than one thread of torch, so its bits do not depend on its neighbours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

Piece = TypeVar("Piece")
Result = TypeVar("Result")


@contextmanager
def single_threaded(
    workers: int,
) -> Iterator[Callable[[Callable[[Piece], Result], Iterable[Piece]], list[Result]]]:
    """A pool's ``map(function, pieces)``, which waits for all; torch's own threads come back afterwards."""
    before = torch.get_num_threads()
    with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        try:
            yield lambda function, pieces: list(pool.map(function, pieces))
        finally:
            torch.set_num_threads(before)
