"""The weights of the filter (`layers.wiener`) that is best for a volume, by least squares.

In: a source, the low-res volume that its file decodes to, and its up-sampling.  Out: weights, or none.
Invariant: deterministic whatever the threads, and a few blocks serve however large the volume is.

The weights solve the normal equations of Wiener and Hopf over blocks of the volume, where the error of each
voxel is to be explained by the differences to its neighbours.  Blocks may be unlike the rest: weights of four
cost a head half a decibel.  So those of one half of the blocks must be of use to the other half.
"""

from __future__ import annotations

from math import prod

import numpy as np

from inrcodec.format.header import Header
from inrcodec.format.header_checks import WIENER
from inrcodec.layers import wiener
from inrcodec.layers.superres import upsampler
from inrcodec.layers.upsample import Upsampling, span_of
from inrcodec.volume.arrays import Array, Bool, Float
from inrcodec.volume.box import Box
from inrcodec.volume.volume import Volume

COUNT, SMALLEST, LARGEST = WIENER
VOXELS = 1 << 22  # full-res voxels that weights are fitted to, about
FEWEST = 16  # blocks, where there are so many
MOST = 48
RIDGE = 1e-5  # of the mean energy of a difference
WORTH = 2.0  # share of the squared error that a share of the bytes is worth


def weights(
    volume: Volume, upsampling: Upsampling, lowres: Float, predicted: float, threads: int | None = None
) -> tuple[int, ...]:
    """The weights; none where they would not be worth their bytes.

    Parameters
    ----------
    volume : the source.
    upsampling : of the file, without a filter.
    lowres : (z, y, x), in [-1, 1], of the whole grid.
    predicted : bytes of the file, about.
    """
    header, active = upsampling.header, np.asarray(upsampling.active[:])
    boxes = blocks(header, active)
    step = max(1, round(sum(prod(box.shape) for box in boxes) / VOXELS))
    one, other = _Equations(volume, header), _Equations(volume, header)
    for number, box in enumerate(boxes):
        (other if number % 2 else one).add(box, list(upsampling.unit(lowres, box, threads)), step)
    least = WORTH * 2 * COUNT / predicted
    if len(boxes) > 1 and not _serves_others(one, other, least):
        return ()
    return (one + other).solved(least)


def _serves_others(one: _Equations, other: _Equations, least: float) -> bool:
    """Whether the weights of either half of the blocks explain a share of the error of the other half."""
    explained = one.explained(other.best()) + other.explained(one.best())
    return explained > least * (one.energy + other.energy)


def blocks(header: Header, active: Bool) -> list[Box]:
    """Full-res boxes within blocks of super-resolution that have active voxels, spread over the volume.

    What a filter reads around each lies within the same block, so that a model computes no other.
    """
    places = [
        place
        for z in upsampler.spans_of(len(active))
        for place in upsampler.places_of(active, z)
        if active[place].any()
    ]
    boxes = [box for place in places if prod((box := _within(place, header)).shape) > 0]
    most = min(max(VOXELS // (prod(upsampler.BLOCK) * prod(header.factor)), FEWEST), MOST, len(boxes))
    return [boxes[(2 * k + 1) * len(boxes) // (2 * most)] for k in range(most)]


def _within(place: upsampler.Place, header: Header) -> Box:
    """The voxels of a block whose neighbours are in it or beyond the volume."""
    low, high = [], []
    for part, f, n, reach in zip(place, header.factor, header.shape, wiener.REACH, strict=True):
        first, last = part.start * f, part.stop * f
        low.append(first + reach if first > 0 else 0)
        high.append(max(last - reach if last < n else n, low[-1]))
    return Box((low[0], low[1], low[2]), (high[0], high[1], high[2]))


class _Equations:
    """Normal equations of the weights, summed over blocks."""

    def __init__(self, volume: Volume, header: Header) -> None:
        self.volume, self.header = volume, header
        self.products, self.moments = np.zeros((COUNT, COUNT)), np.zeros(COUNT)
        self.energy = 0.0  # of the error

    def __add__(self, other: _Equations) -> _Equations:
        """Of the voxels of both."""
        both = _Equations(self.volume, self.header)
        both.products, both.moments = self.products + other.products, self.moments + other.moments
        both.energy = self.energy + other.energy
        return both

    def add(self, box: Box, planes: list[Float], step: int = 1) -> None:
        """Every few slices of a box; ``planes`` are those around it, bordered."""
        z_reach, y_reach, x_reach = wiener.REACH
        first = wiener.around(box, self.header.shape).low[0]
        last = first + len(planes) - 1
        for z in range(box.low[0] + step // 2, box.high[0], step):
            near = range(z - z_reach, z + z_reach + 1)
            window = [planes[min(max(k, first), last) - first] for k in near]
            middle = window[z_reach][y_reach:-y_reach, x_reach:-x_reach]
            error, counts = self._error(box.run(z, z + 1), middle)
            parts = wiener.differences(window, slice(0, len(middle)))
            differences = [np.where(counts, difference, 0.0) for difference in parts]
            # Sums of products, since a product of matrices depends on the threads of the library.
            for i, one in enumerate(differences):
                self.moments[i] += (one * error).sum()
                for j in range(i + 1):
                    self.products[i, j] += (one * differences[j]).sum()
            self.energy += float(np.square(error).sum())

    def _error(self, box: Box, decoded: Float) -> tuple[Float, Bool]:
        """Of one slice, in unit values, and which voxels count."""
        stored: Array = np.asarray(self.volume.array[box.slices])[0]
        padding = self.volume.padding
        counts = np.ones(stored.shape, np.bool_) if padding is None else stored != padding
        error = np.where(counts, span_of(self.header).to_unit(stored) - decoded.clip(-1, 1), 0.0)
        return error, np.asarray(counts)

    def best(self) -> Float:
        """The weights, in steps of the header; 0 where there is nothing to explain."""
        products = self._symmetric
        scale = products.trace() / COUNT
        if not self.energy > 0 or not scale > 0:
            return np.zeros(COUNT)
        exact = np.linalg.solve(products + RIDGE * scale * np.eye(COUNT), self.moments)
        exact *= wiener.SCALE
        # Where some are out of range all become smaller: a part of the way to the best is better than none.
        return np.rint(exact / max(1.0, float(exact.max()) / LARGEST, float(exact.min()) / SMALLEST))

    def explained(self, weights: Float) -> float:
        """The energy that weights take off the error."""
        used = weights / wiener.SCALE
        return float(2 * (used * self.moments).sum() - (used * (self._symmetric * used).sum(1)).sum())

    def solved(self, least: float) -> tuple[int, ...]:
        """The weights as a header states them; none where they explain less than a share of the error."""
        weights = self.best()
        if not self.explained(weights) > least * self.energy:
            return ()
        return tuple(int(weight) for weight in weights)

    @property
    def _symmetric(self) -> Float:
        return self.products + np.tril(self.products, -1).T
