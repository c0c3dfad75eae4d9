"""Weights of a filter by least squares: the normal equations of Wiener and Hopf, of parts of a volume.

In: what each weight adds to some voxels, and the errors of these.  Out: the weights, or none.
Invariant: a sum of parts in one order is the same whoever computed which.

A part may be unlike the rest: weights of four blocks cost a head half a decibel.  So those of one half of the
parts must be of use to the other half.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log10

import numpy as np

from inrcodec.format.header_checks import WEIGHTS
from inrcodec.volume.arrays import Array, Float

SMALLEST, LARGEST = WEIGHTS
SCALE = 256  # integer of the weight 1, of both filters
RIDGE = 1e-5  # of the mean energy of what a weight adds
WORTH = 2.0  # share of the squared error that a share of the bytes is worth


@dataclass(frozen=True, eq=False)
class Equations:
    """Of some voxels.

    Attributes
    ----------
    products : (weights, weights)
    moments : (weights,)
    energy : of the errors.
    voxels : how many.
    """

    products: Float
    moments: Float
    energy: float = 0.0
    voxels: int = 0

    @classmethod
    def nothing(cls, count: int) -> Equations:
        """Of no voxel."""
        return cls(np.zeros((count, count)), np.zeros(count))

    @classmethod
    def of(cls, differences: Sequence[Array], errors: Array) -> Equations:
        """Of voxels.

        Parameters
        ----------
        differences : (voxels,) for each weight, what a weight of 1 would add.
        errors : (voxels,), what is to be added.
        """
        rows, sought = np.empty((len(differences), len(errors))), errors.astype(np.float64)
        for row, difference in zip(rows, differences, strict=True):
            row[:] = difference
        return cls(rows @ rows.T, rows @ sought, float(sought @ sought), len(errors))

    def __add__(self, other: Equations) -> Equations:
        """Of the voxels of both."""
        return Equations(
            self.products + other.products,
            self.moments + other.moments,
            self.energy + other.energy,
            self.voxels + other.voxels,
        )

    def best(self) -> Float:
        """The weights, in steps of the header; 0 where there is nothing to explain."""
        count = len(self.moments)
        scale = self.products.trace() / count
        if not self.energy > 0 or not scale > 0:
            return np.zeros(count)
        exact = np.linalg.solve(self.products + RIDGE * scale * np.eye(count), self.moments)
        exact *= SCALE
        # Where some are out of range all become smaller: a part of the way to the best is better than none.
        return np.rint(exact / max(1.0, float(exact.max()) / LARGEST, float(exact.min()) / SMALLEST))

    def explained(self, weights: Float) -> float:
        """The energy that weights take off the errors."""
        used = weights / SCALE
        return float(2 * (used * self.moments).sum() - (used * (self.products * used).sum(1)).sum())


@dataclass(frozen=True, eq=False)
class Halves:
    """Equations of either half of the parts of a volume."""

    one: Equations
    other: Equations

    @classmethod
    def nothing(cls, count: int) -> Halves:
        """Of no voxel."""
        return cls(Equations.nothing(count), Equations.nothing(count))

    def __add__(self, other: Halves) -> Halves:
        """Of the parts of both."""
        return Halves(self.one + other.one, self.other + other.other)

    def weights(self, size: float, rounding: float = 0.0) -> tuple[int, ...]:
        """The weights as a header states them; none where they would not be worth their bytes.

        Parameters
        ----------
        size : of the file, in bytes.
        rounding : mean squared error that comes with what is filtered, as nothing was rounded before.
        """
        whole = self.one + self.other
        least = WORTH * 2 * len(whole.moments) / max(size, 1.0) * whole.energy + rounding * whole.voxels
        weights = whole.best()
        if not min(whole.explained(weights), self._crossed(whole)) > least:
            return ()
        return tuple(int(weight) for weight in weights)

    def _crossed(self, whole: Equations) -> float:
        """The energy that the weights of either half take off the other's errors, if there are two."""
        if not (self.one.energy > 0 and self.other.energy > 0):
            return whole.energy
        return self.one.explained(self.other.best()) + self.other.explained(self.one.best())

    def gain(self, weights: tuple[int, ...], rounding: float = 0.0) -> float:
        """dB that weights take off the error; 0 without any."""
        whole = self.one + self.other
        if not weights or not whole.energy > 0:
            return 0.0
        gone = whole.explained(np.array(weights, np.float64)) - rounding * whole.voxels
        return -10 * log10(max(1 - gone / whole.energy, 1e-6))
