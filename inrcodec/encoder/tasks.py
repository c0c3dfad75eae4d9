"""Where the parts of a volume are computed: on threads of this process, or elsewhere (`plugins.dask`).

In: a function, and boxes of an array.  Out: its results, in the order of the boxes.
Invariant: a result depends on nothing but its part, so that where and beside what it is computed changes no
bit; and only a few parts are held at a time, however many there are.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import repeat
from typing import Any, Protocol, TypeAlias, TypeVar

from inrcodec.parallel import InterruptiblePool, awaited, thread_count
from inrcodec.progress import Report
from inrcodec.volume.arrays import Array
from inrcodec.volume.box import Box

Given = TypeVar("Given")
Result = TypeVar("Result")

Function: TypeAlias = Callable[[Array, Given, int, Report | None], Result]
"""Of the values of a box, what is given for it, the threads that it may use, and whom it reports to.

Another process may be where it runs: it is a function of a module, or a `functools.partial` of one.
"""

Reports: TypeAlias = Callable[[int], Report | None]
"""Whom a part reports to, by its number."""

AHEAD = 2  # parts for each worker that have begun or whose results wait: the next is there when one is done


def silent(_: int) -> None:
    """Nobody is reported to."""


class Tasks(Protocol):
    """What maps a function over the parts of a volume."""

    def map(
        self,
        function: Function[Any, Result],
        array: Array,
        boxes: Sequence[Box],
        given: Iterable[Any] = repeat(None),
        reports: Reports = silent,
        *,
        at_once: int | None = None,
    ) -> Iterator[Result]:
        """Results in the order of the boxes.

        Parameters
        ----------
        function : see `Function`.
        array : (z, y, x); the values of a box are read where they are used, if it is read lazily.
        boxes : of the array.
        given : for each box what the function takes beside its values; made as late as possible.
        reports : by the number of a box, whom it reports to.
        at_once : parts that a process computes side by side, at most: 1 for those that are large, or that
            know best what to do with many threads.
        """


@dataclass(frozen=True)
class Threads:
    """Threads of this process: one a part, or several where there are few parts."""

    count: int | None = None  # by default one a core

    def map(
        self,
        function: Function[Any, Result],
        array: Array,
        boxes: Sequence[Box],
        given: Iterable[Any] = repeat(None),
        reports: Reports = silent,
        *,
        at_once: int | None = None,
    ) -> Iterator[Result]:
        """See `Tasks.map`."""
        workers = max(1, min(thread_count(self.count), len(boxes), at_once or len(boxes)))
        each = thread_count(self.count) // workers

        def run(number: int, what: Any) -> Result:
            return function(array[boxes[number].slices], what, each, reports(number))

        numbered = zip(range(len(boxes)), given, strict=False)
        if workers == 1:
            yield from (run(*part) for part in numbered)
            return
        begun: deque[Future[Result]] = deque()
        with InterruptiblePool(workers) as pool:
            for part in numbered:
                begun.append(pool.submit(run, *part))
                if len(begun) == AHEAD * workers:
                    yield awaited(begun.popleft())
            while begun:
                yield awaited(begun.popleft())


HERE = Threads()
