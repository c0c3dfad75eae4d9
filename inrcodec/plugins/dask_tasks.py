"""Parts of a volume on the workers of a Dask cluster, and volumes that are Dask arrays.

In: a client.  Out: `Workers`, which computes what `encoder.tasks.Threads` would compute here.
Invariant: what a worker that ends was to compute is computed again, and only a few parts for each worker are
on their way at a time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass
from itertools import repeat
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from inrcodec.encoder.tasks import AHEAD, Function, Reports, silent
from inrcodec.errors import InputError, InrvError, reason
from inrcodec.format.header import Header
from inrcodec.io.fetched import as_told
from inrcodec.plugins.dask import task_threads
from inrcodec.volume.arrays import Array
from inrcodec.volume.box import Box, Shape
from inrcodec.volume.bricks import usual_edges
from inrcodec.volume.lazy import LazyArray

if TYPE_CHECKING:
    import dask.array as da
    from distributed import Client, Future

Result = TypeVar("Result")

AGAIN = 3  # times that a part is tried; each time Dask itself tries it on a few workers


class Blocks(LazyArray):
    """An array of Dask as an array that is read when it is needed.

    Parameters
    ----------
    blocks : (z, y, x).
    client : whose workers compute it.
    """

    NAME = "the Dask array"
    travels = False  # with its client

    def __init__(self, blocks: da.Array, client: Client) -> None:
        super().__init__(blocks.shape, blocks.dtype, self.NAME, thickness=blocks.chunks[0][0])
        self.blocks, self.client = blocks, client

    def read(self, box: Box) -> Array:
        """As `LazyArray.read`."""
        try:
            found: Array = self.future(box).result()
            return as_told(found, box.shape, self.dtype, self.name)
        except InrvError:
            raise
        except Exception as error:  # of whatever the array is computed by
            raise InputError(f"cannot compute the Dask array: {reason(error)}", value=box) from error

    def part(self, slices: slice) -> LazyArray:
        """As `LazyArray.part`: of the blocks, as a client cannot be sent to a worker."""
        return Blocks(self.blocks[slices], self.client)

    def future(self, box: Box) -> Future[Array]:
        """The voxels of a box, on a worker."""
        found: Future[Array] = self.client.compute(self.blocks[box.slices].astype(self.dtype))  # type: ignore[no-untyped-call]
        return found


@dataclass(frozen=True)
class Workers:
    """The workers of a cluster, for `encoder.tasks`."""

    client: Client
    threads: int | None = None  # of a part; by default those that the cluster gave its workers

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
        """See `encoder.tasks.Tasks.map`.

        A lazy array of a file is read by the workers, of other arrays a block is sent to them.  How many a
        worker computes at a time is its cluster's, whatever ``at_once`` says.
        """
        begun: deque[_Part] = deque()
        try:
            for number, what in zip(range(len(boxes)), given, strict=False):
                begun.append(_Part(self, function, array, boxes[number], what, reports(number)))
                if len(begun) >= AHEAD * self._count:
                    yield begun.popleft().result()
            while begun:
                yield begun.popleft().result()
        finally:
            for part in begun:
                part.cancel()

    @property
    def _count(self) -> int:
        """Parts that are computed at a time; clusters may grow meanwhile."""
        threads: dict[str, int] = self.client.nthreads()  # type: ignore[no-untyped-call]
        return max(1, sum(threads.values()))


class _Part:
    """One part on its way."""

    def __init__(
        self, workers: Workers, function: Function[Any, Any], array: Array, box: Box, given: Any, report: Any
    ) -> None:
        self.workers, self.function, self.given, self.report = workers, function, given, report
        self.array, self.box = array, box
        self.future = self._submitted()

    def _submitted(self) -> Future[Any]:
        """A future whose inputs are those of its graph: nothing that only one worker holds."""
        import dask

        values: Any = self.array
        if isinstance(self.array, Blocks):
            values = self.array.future(self.box)
        elif not getattr(self.array, "travels", False):
            values = np.ascontiguousarray(self.array[self.box.slices])
        about = self.function, values, self.box, np.dtype(self.array.dtype), self.given, self.workers.threads
        with dask.config.set({"distributed.admin.large-graph-warning-threshold": "1 TB"}):  # a block is large
            return self.workers.client.submit(_run, *about, pure=False)

    def result(self) -> Any:
        """What came of it; computed again where workers ended under it."""
        from distributed import KilledWorker

        for left in reversed(range(AGAIN)):
            try:
                found = self.future.result()
                break
            except KilledWorker as error:
                if not left:
                    cause = "a part of the volume ended its worker again and again"
                    raise InrvError(f"{cause}: give workers more memory, or choose smaller bricks") from error
                self.future = self._submitted()
            except CancelledError as error:
                raise InrvError(f"the cluster is gone: {reason(error)}, start it and try again") from error
        if self.report is not None:
            self.report(1.0)
        return found

    def cancel(self) -> None:
        """Give it up."""
        self.future.cancel()  # type: ignore[no-untyped-call]


def _run(
    function: Function[Any, Result],
    values: Any,
    box: Box,
    dtype: np.dtype[Any],
    given: Any,
    threads: int | None,
) -> Result:
    """A part, on a worker: its own voxels, or a lazy array to take them from."""
    part = values[box.slices] if isinstance(values, LazyArray) else values
    found = as_told(part, box.shape, dtype, Blocks.NAME)
    return function(found, given, threads or task_threads(), None)


def chunks(header: Header, shape: Shape) -> Shape:
    """Voxels of a chunk at a level: those of a brick, where bricks are decoded one by one."""
    edges = header.bricks.edges if header.refine_steps else usual_edges(header.shape)
    # The level's voxels are about evenly spread over the volume.
    z, y, x = (max(1, -(-e * n // whole)) for e, n, whole in zip(edges, shape, header.shape, strict=True))
    return z, y, x
