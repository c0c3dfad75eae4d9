"""What a grid can give, forecast from a sample of the volume: the error of down-sampling, and that of coding.

In: a volume, the range of its values, a grid.  Out: the error that is forecast for any number of bytes.
Invariant: deterministic, without torch, and a few boxes of the volume serve however large it is.

The squared error of a file is what its grid costs plus what is seen of the low-res error.  The first is
measured: boxes of the volume go down and up again.  The second is taken from the boxes' spectrum: orthonormal
cosines of 6 x 6 x 6 low-res voxels, their energies water-filled (every coefficient above a level ``D`` takes
``log2(c^2 / D) / 2`` bits and errs by ``D``, the others err by themselves).  A SIREN is no transform coder,
but its bits for an active voxel grow with the 1.2th power of those bits; ``BITS`` is the factor between them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import product
from math import ceil, inf, prod

import numpy as np

from inrcodec.layers import resample
from inrcodec.layers.base import activity
from inrcodec.volume.arrays import Array, Bool, Float
from inrcodec.volume.box import Shape, lowres_shape
from inrcodec.volume.value_range import Range, amplitude, filled_unit, unit_part
from inrcodec.volume.volume import Volume

EDGE = 48  # of a box in full-res voxels: at most: two blocks of cosines at factor 4
BOXES = 32  # boxes that are looked at
THIN = 4  # voxels from one to the next that are looked at to tell what is flat
RIM = 12  # full-res voxels around a box: half of a kernel at factor 4
GROUPS, SLICES = 3, 8  # groups of slices that a refinement is forecast and timed from
BLOCK = 6  # low-res voxels of a block of cosines: 8 and 4 rank the volumes that were tried less well
POWER = 1.2
BITS = 2.4  # for the power of each: of an active voxel in a fit, for one bit by water-filling
SEEN, SEEN_MODEL = 1.1, 1.4  # times the low-res error in the full-res one: 1.10 to 1.15, and 1.31 to 1.54


@dataclass(frozen=True, eq=False)
class Box:
    """A part of a volume with what its Lanczos kernels want around it."""

    values: Float  # (z, y, x), in [-1, 1]
    core: tuple[tuple[int, int], ...]  # (first, stop) of the part itself; multiples of 4, or the volume's end


@dataclass(frozen=True, eq=False)
class Sample:
    """What is known of a volume from a few parts of it."""

    boxes: list[Box]  # evenly spread ones of those that are not flat
    share: float  # of the volume that is not flat
    flat: float  # variance of what is flat
    shape: Shape  # of the volume
    background: float  # the commonest value
    tolerance: float  # what differs from it by less is background
    far: Bool  # of every few voxels along each axis, whether they are more than background
    steps: Shape  # voxels from one of those to the next


@dataclass(frozen=True, eq=False)
class Forecast:
    """What one grid gives at any number of bytes."""

    factor: Shape
    lowres_shape: Shape
    ceiling: float  # mean squared error of down and up alone, in [-1, 1]; a model's lift counted
    active: float  # low-res voxels that are not background, in the whole volume
    seen: float  # times the low-res error in the full-res one
    voxels: float  # low-res, of the part of the volume that is not flat
    energies: Float  # of the sampled coefficients, ascending

    def error(self, size: float) -> float:
        """Mean squared error in [-1, 1] with so many bytes for the weights."""
        return self.ceiling + self.seen * self.coding(size)

    def size(self, psnr: float) -> float:
        """Bytes of the weights for a PSNR against the volume's own range; infinite where none reach it."""
        wanted = 4 / 10 ** (psnr / 10)
        if self.error(inf) >= wanted:
            return inf
        low, high = 0.0, 60.0  # log2 of the bytes
        for _ in range(40):
            middle = (low + high) / 2
            low, high = (middle, high) if self.error(2**middle) > wanted else (low, middle)
        return float(2**high)

    def coding(self, size: float) -> float:
        """Mean squared error of the low-res volume with so many bytes, by water-filling."""
        count = len(self.energies)
        if not count or size == inf:
            return 0.0
        sampled = count / self.voxels
        bits = self.active * sampled * (8 * max(size, 1.0) / max(self.active, 1.0) / BITS) ** (1 / POWER)
        below, above, spent = self._sums
        first = min(int(np.searchsorted(-spent, -bits)), count - 1)  # the smallest above the level
        more = count - first
        level = min(2 ** ((above[first] - 2 * bits) / more), self.energies[first])
        error = (float(below[first]) + level * more) / count
        return float(error * self.voxels / prod(self.lowres_shape))

    @cached_property
    def _sums(self) -> tuple[Float, Float, Float]:
        """For each coefficient as the smallest that is coded: energy below it, log2 of the energies from it
        on, and the bits that they take with the level at it."""
        logs = np.log2(self.energies)
        above = np.cumsum(logs[::-1])[::-1]
        below = np.cumsum(self.energies) - self.energies
        return below, above, (above - np.arange(len(logs), 0, -1) * logs) / 2


def sample(volume: Volume, span: Range) -> Sample:
    """Boxes of what is not flat, evenly spread; no box where all is."""
    edges = [_edge(n) for n in volume.shape]
    starts = [_starts(n, e) for n, e in zip(volume.shape, edges, strict=True)]
    corners = list(product(*starts))
    z, y, x = (THIN if n > EDGE else 1 for n in volume.shape)
    thin = unit_part(volume, span, (slice(None, None, z), slice(None, None, y), slice(None, None, x)))
    background, tolerance = activity.background_of(thin), activity.TOLERANCE * amplitude(thin)
    spread = np.concatenate([_spread(volume, span, z, starts, edges) for z in starts[0]])
    lively = np.flatnonzero(spread > tolerance**2)
    chosen = lively[np.linspace(0, len(lively) - 1, min(BOXES, len(lively))).astype(int)]
    return Sample(
        [_box(volume, span, corners[i], edges) for i in chosen],
        len(lively) / len(corners),
        float(spread[spread <= tolerance**2].mean()) if len(lively) < len(corners) else 0.0,
        volume.shape,
        background,
        tolerance,
        np.abs(thin - background) > tolerance,
        (z, y, x),
    )


def _spread(volume: Volume, span: Range, first: int, starts: list[list[int]], edges: list[int]) -> Float:
    """Variances of the boxes whose first slice is given, of which every few voxels are looked at."""
    z, y, x = (THIN if edge > THIN else 1 for edge in edges)
    slices = volume.array[first : first + edges[0] : z]  # read once for all of them
    boxes = (slices[:, b : b + edges[1] : y, c : c + edges[2] : x] for b, c in product(starts[1], starts[2]))
    return np.array([filled_unit(box, span, volume.padding, volume.rescale[0]).var() for box in boxes])


def forecast(found: Sample, factor: Shape, lift: float = 0.0) -> Forecast:
    """What a grid gives, each factor 1, 2 or 4, from at least one box.

    ``lift`` is what a super-resolution model takes off the error of down-sampling, in dB.
    """
    costs, far, energies = [], [], []
    for box in found.boxes:
        small, cost = _down_and_up(box, factor)
        costs.append(cost)
        far.append(float((np.abs(small - found.background) > found.tolerance).mean()))
        energies.append(np.square(_cosines(small)).ravel())
    lost = found.flat * (1 - 1 / prod(factor))  # noise of what is flat
    ceiling = found.share * sum(costs) / len(costs) + (1 - found.share) * lost
    lowres = lowres_shape(found.shape, factor)
    voxels = found.share * prod(lowres)
    return Forecast(
        factor,
        lowres,
        ceiling / 10 ** (lift / 10),
        sum(far) / len(far) * voxels,
        SEEN_MODEL if lift else SEEN,
        voxels,
        np.maximum(np.sort(np.concatenate(energies)), 1e-12),
    )


def some_slices(array: Array) -> Array:
    """Groups of slices from all over a volume, one behind the other; all slices of a thin one."""
    if len(array) <= GROUPS * SLICES:
        return array
    starts = np.linspace(0, len(array), GROUPS + 2)[1:-1].astype(int) - SLICES // 2
    return np.concatenate([array[a : a + SLICES] for a in starts])


def coding_error(found: Sample, factor: Shape, size: float) -> float:
    """Mean squared error of the low-res volume in [-1, 1] that so many bytes are forecast to leave."""
    return forecast(found, factor).coding(size) if found.boxes else 0.0


def _down_and_up(box: Box, factor: Shape) -> tuple[Float, float]:
    """The low-res core of a box, and the mean squared error of its core down and up."""
    axes = [_matrices(n, f) for n, f in zip(box.values.shape, factor, strict=True)]
    small = box.values
    for axis, found in enumerate(axes):
        small = small if found is None else _along(axis, found[0], small)
    again = small
    for axis, found in enumerate(axes):
        again = again if found is None else _along(axis, found[1], again)
    core = tuple(slice(a, b) for a, b in box.core)
    low = tuple(slice(a // f, -(-b // f)) for (a, b), f in zip(box.core, factor, strict=True))
    return small[low], float(np.square((again - box.values)[core]).mean())


@lru_cache(maxsize=64)
def _matrices(n: int, factor: int) -> tuple[Float, Float] | None:
    """Both matrices of an axis; nothing to do at factor 1."""
    return None if factor == 1 else resample.matrices(n, factor)


def _edge(n: int) -> int:
    """Edge of the boxes along an axis: all alike, in multiples of 4."""
    return min(n, -(-n // ceil(n / EDGE) // 4) * 4)


def _starts(n: int, edge: int) -> list[int]:
    """First voxels of the boxes along an axis, multiples of 4."""
    return [int(a) // 4 * 4 for a in np.linspace(0, n - edge, ceil(n / EDGE))]


def _box(volume: Volume, span: Range, corner: tuple[int, ...], edges: list[int]) -> Box:
    """A box, with a rim where the volume goes on."""
    outer, core = [], []
    for a, e, n in zip(corner, edges, volume.shape, strict=True):
        first = max(0, a - RIM)
        outer.append(slice(first, min(n, a + e + RIM)))
        core.append((a - first, a - first + e))
    return Box(unit_part(volume, span, tuple(outer)), tuple(core))


def _along(axis: int, matrix: Float, values: Float) -> Float:
    """A matrix times one axis."""
    return np.moveaxis(np.tensordot(values, matrix, (axis, 1)), -1, axis)


def _cosines(values: Float) -> Float:
    """Orthonormal cosines of blocks of at most 6 x 6 x 6, which overlap where they do not fit."""
    from scipy.fft import dctn  # not at the top: headers are read without it

    for axis, n in enumerate(values.shape):
        edge = min(BLOCK, n)
        starts = np.linspace(0, n - edge, ceil(n / edge)).astype(int)
        values = np.take(values, np.add.outer(starts, np.arange(edge)), axis=2 * axis)
    coefficients: Float = dctn(values, axes=(1, 3, 5), norm="ortho")
    return coefficients
