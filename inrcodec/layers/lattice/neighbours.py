"""The decoded neighbours of the voxels of a phase, as differences.

In: the known lattice, and the new voxels decoded so far.  Out: a row per neighbour.
Invariant: whole numbers, in floats wide enough for all their sums: exact in any order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inrcodec.layers.lattice.scan import PHASES, Stage
from inrcodec.volume.arrays import Array

Float = NDArray[np.floating[Any]]
Places = tuple[list[int], list[int], list[int]]  # steps, first indices and counts along (z, y, x)
Offset = tuple[int, int, int]  # along the halved axis, and along the two others

REACH = 1  # of a neighbour along the two other axes
SIDES = ((1, 0), (-1, 0), (0, 1), (0, -1))
CORNERS = ((1, 1), (-1, 1), (1, -1), (-1, -1))
# Of the known lattice: 0 and 1 are the voxels on either side.
KNOWN: tuple[Offset, ...] = (
    *((a, 0, 0) for a in (0, 1)),
    *((a, b, c) for a in (0, 1) for b, c in SIDES),
    *((a, b, c) for a in (0, 1) for b, c in CORNERS),
    *((a, 0, 0) for a in (-1, 2)),
)
# Of the new voxels, by phase: those of earlier phases.
NEW: tuple[tuple[Offset, ...], ...] = (
    (),
    tuple((0, b, c) for b, c in CORNERS),
    tuple((0, b, c) for b, c in SIDES),
    tuple((0, b, c) for b, c in (*SIDES, *CORNERS)),
)


def rows_of(phase: int) -> int:
    """Neighbours of a voxel of a phase."""
    return len(KNOWN) + len(NEW[phase])


@dataclass(frozen=True, eq=False)
class Around:
    """Neighbours of some voxels.

    Attributes
    ----------
    middle : (n,), sum of the two known voxels on either side.
    rows : (neighbours, n), twice each neighbour minus that sum.
    is_flat : whether all of them are known to be 0; they are then one 0, and read-only.
    """

    middle: Float
    rows: Float
    is_flat: bool = False


@dataclass(frozen=True, eq=False)
class Neighbourhood:
    """The neighbours of a phase.

    Parameters
    ----------
    stage, phase : the voxels.
    known, fresh : known and new voxels of the stage; of the new ones, only earlier phases are read.
    """

    stage: Stage
    phase: int
    known: Array
    fresh: Array

    def is_flat(self, part: slice) -> bool:
        """Whether all voxels around a range of the phase's first axis are equal."""
        places = self._places(part)
        known = self.known[self._inside(self.known, places, (1, 2))]
        if not (known == known[0, 0, 0]).all():
            return False
        inside = self._inside(self.fresh, places, (0, 0))
        for phase in PHASES[: self.phase]:
            odd = dict(zip(self.stage.others, phase, strict=True))
            spans = [s if k not in odd else _of_parity(s, odd[k]) for k, s in enumerate(inside)]
            if not (self.fresh[tuple(spans)] == known[0, 0, 0]).all():
                return False
        return True

    def around(self, part: slice, dtype: type[np.floating[Any]] = np.float64) -> Around:
        """Neighbours of a range of the phase's first axis, as floats of a type."""
        places = self._places(part)
        known = self._block(self.known, places, (1, 2), _held, dtype)
        if self.is_flat(part):
            count = prod(places[2])
            nothing = np.broadcast_to(dtype(0), (rows_of(self.phase), count))
            return Around(np.full(count, 2 * dtype(known.flat[0])), nothing, is_flat=True)
        fresh = self._block(self.fresh, places, (0, 0), _mirrored, dtype) if self.phase else known
        rows = [self._seen(known, offset, 1, places) for offset in KNOWN]
        rows += [self._seen(fresh, offset, 0, places) for offset in NEW[self.phase]]
        differences = np.empty((len(rows), rows[0].size), dtype)
        middle = (rows[0] + rows[1]).reshape(-1)
        for row, values in zip(differences, rows, strict=True):
            np.multiply(values.reshape(-1), 2, out=row)
            row -= middle
        return Around(middle, differences)

    def _places(self, part: slice) -> Places:
        """Steps, first indices and counts of the voxels along each axis of the new ones."""
        odd = dict(zip(self.stage.others, PHASES[self.phase], strict=True))
        steps = [1 if k == self.stage.axis else 2 for k in range(3)]
        firsts = [odd.get(k, 0) for k in range(3)]
        counts = [-(-(n - f) // s) for n, f, s in zip(self.fresh.shape, firsts, steps, strict=True)]
        firsts[0] += part.start * steps[0]
        counts[0] = part.stop - part.start
        return steps, firsts, counts

    def _spans(self, places: Places, rim: tuple[int, int]) -> list[range]:
        """Indices around the voxels: ``rim`` along the axis, one voxel along the others."""
        spans = []
        for k, (step, first, count) in enumerate(zip(*places, strict=True)):
            before, after = rim if k == self.stage.axis else (REACH, REACH)
            spans.append(range(first - before, first + (count - 1) * step + 1 + after))
        return spans

    def _inside(self, source: Array, places: Places, rim: tuple[int, int]) -> tuple[slice, ...]:
        """Those of them that an array has."""
        spans = self._spans(places, rim)
        return tuple(slice(max(s.start, 0), min(s.stop, n)) for s, n in zip(spans, source.shape, strict=True))

    def _block(
        self,
        source: Array,
        places: Places,
        rim: tuple[int, int],
        beyond: Callable[[int, int], int],
        dtype: type[np.floating[Any]],
    ) -> Float:
        """The part of an array around the voxels, see `_spans`."""
        spans, inside = self._spans(places, rim), self._inside(source, places, rim)
        block = np.empty([len(span) for span in spans], dtype)
        to = tuple(slice(i.start - s.start, i.stop - s.start) for s, i in zip(spans, inside, strict=True))
        block[to] = source[inside]
        for k, (span, within) in enumerate(zip(spans, inside, strict=True)):
            planes = np.moveaxis(block, k, 0)
            for index in (*range(span.start, within.start), *range(within.stop, span.stop)):
                planes[index - span.start] = planes[beyond(index, source.shape[k]) - span.start]
        return block

    def _seen(self, block: Float, offset: Offset, rim: int, places: Places) -> Float:
        along, *others = offset
        moved = dict(zip(self.stage.others, others, strict=True))
        spans = []
        for k, (step, _, count) in enumerate(zip(*places, strict=True)):
            start = rim + along if k == self.stage.axis else REACH + moved[k]
            spans.append(slice(start, start + (count - 1) * step + 1, step))
        return block[tuple(spans)]


def _of_parity(span: slice, odd: int) -> slice:
    """The even or the odd indices of a range."""
    return slice(span.start + (span.start + odd) % 2, span.stop, 2)


def _held(index: int, n: int) -> int:
    """Beyond an end, the last voxel."""
    return min(max(index, 0), n - 1)


def _mirrored(index: int, n: int) -> int:
    """Mirrored at an end, which keeps the phase."""
    index = abs(index)
    return _held(2 * (n - 1) - index if index >= n else index, n)
