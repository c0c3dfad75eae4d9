"""Synthesis: decoded latents to low-res values.

In: latents less their level, and that level.  Out: low-res values in quantisation steps, FINE bits behind the
point.
Invariant: equal on every machine.

A block of 4 x 4 x 4 voxels is the inverse DCT of its latents with an overlap of its neighbours'; a residual
network of sine units adds what that cannot give: coarse maps of blocks, then fine ones of 2 x 2 x 2 voxels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inrcodec.layers.base.latent.contexts import by_rate
from inrcodec.layers.base.latent.convolution import Convolution
from inrcodec.layers.base.latent.integers import (
    FINE,
    LATENT,
    MAP,
    SHORT,
    Companding,
    Int16,
    down,
    mean_around,
    short,
    slabs,
    to_voxels,
)
from inrcodec.native.maps import Rounded, Waves
from inrcodec.parallel import mapped
from inrcodec.volume.arrays import Int32

STEP, GAIN = 16, 14  # bits behind the point: of quantisation steps, of gains of channels
SINE = 10  # of a sine
TURN, TURNS = 10430, 16  # 1 / (2 pi) of a table of sines for an angle of FINE bits, and bits behind its point
SINES = 4096  # of a turn
WIDEST = 1 << 27  # value in steps, either way
LARGEST_GAIN, LARGEST_STEP, LARGEST_MODULATION = 1 << 17, 1 << 24, 1 << 16  # no sum is then beyond 2^53


@dataclass(frozen=True, eq=False)
class Residual:
    """Two convolutions with a sine between them, beside the identity.

    Attributes
    ----------
    modulation : (3, 2, maps), int32: gain less 1, and offset, of FINE bits each, by the rate (`by_rate`).
    sines : of a turn, (4096,), int16.
    """

    first: Convolution
    second: Convolution
    modulation: Int32
    sines: Int16

    def __call__(self, x: Int16, rate: int, threads: int) -> Int16:
        """Maps."""
        gain, offset = by_rate(self.modulation, rate)
        gain += 1 << FINE
        bits = MAP + self.first.point - FINE

        def waves(sums: Int32, slab: slice) -> Int16:
            angle = down(down(sums, bits) * gain, FINE) + offset
            result: Int16 = self.sines[down(angle * TURN, TURNS) & SINES - 1]
            return result

        hidden = self.first.finished(x, Waves(bits, gain, offset, self.sines), waves, threads)
        after = SINE + self.second.point - MAP

        def added(sums: Int32, slab: slice) -> Int16:
            return short(x[slab] + down(sums, after))

        last = Rounded(after, -SHORT, x.reshape(-1, self.second.outputs))
        return self.second.finished(hidden, last, added, threads)


@dataclass(frozen=True, eq=False)
class Synthesis:
    """The networks of the synthesis.

    Attributes
    ----------
    gains : (128, channels), int32, of GAIN bits, by the rate.
    steps : (128,), int32, of STEP bits, by the rate: quantisation steps in network values.
    """

    overlap: Convolution
    transform: Convolution
    enter: Convolution
    coarse: list[Residual]
    narrow: Convolution
    beside: Convolution
    fine: list[Residual]
    out: Convolution
    gains: Int32
    steps: Int32
    companding: Companding

    @classmethod
    def of(cls, tensors: Mapping[str, NDArray[np.generic]], companding: Companding) -> Synthesis:
        """The networks of a model; raises `ValueError` where they do not fit each other."""
        names = ("overlap", "transform", "enter", "narrow", "beside", "out")
        layers = {name: Convolution.of(tensors, f"synthesis.{name}") for name in names}
        sines = np.asarray(tensors["sines"], np.int16)
        rows = {
            kind: [_residual(tensors, f"synthesis.{kind}.{k}", sines) for k in range(count)]
            for kind in ("coarse", "fine")
            if (count := _count(tensors, f"synthesis.{kind}."))
        }
        gains, steps = (np.asarray(tensors[name], np.int32) for name in ("gains", "steps"))
        found = cls(
            **layers,
            coarse=rows["coarse"],
            fine=rows["fine"],
            gains=gains,
            steps=steps,
            companding=companding,
        )
        channels, wide, thin = found.overlap.inputs, found.enter.outputs, found.beside.outputs
        fits = (
            channels == found.overlap.outputs == found.transform.inputs == found.transform.outputs == 64
            and found.enter.inputs == channels + 1
            and found.narrow.inputs == wide
            and found.narrow.outputs == 8 * thin
            and found.beside.inputs == 9
            and (found.out.inputs, found.out.outputs) == (thin, 8)
            and all(row.first.inputs == row.second.outputs == wide for row in found.coarse)
            and all(row.first.inputs == row.second.outputs == thin for row in found.fine)
            and gains.shape == (128, channels)
            and steps.shape == (128,)
            and 1 <= int(steps.min()) <= int(steps.max()) <= LARGEST_STEP
            and 1 <= int(gains.min()) <= int(gains.max()) <= LARGEST_GAIN
            and sines.shape == (SINES,)
            and int(np.abs(sines.astype(np.int32)).max()) <= 1 << SINE
        )
        if not fits:
            raise ValueError("the layers of the synthesis do not fit each other")
        return found

    @property
    def layers(self) -> list[tuple[Convolution, int]]:
        """All that there are, and how often each is evaluated for a block."""
        blocks = [self.overlap, self.transform, self.enter, self.narrow]
        blocks += [layer for row in self.coarse for layer in (row.first, row.second)]
        voxels = [self.beside, self.out, *(layer for row in self.fine for layer in (row.first, row.second))]
        return [(layer, 1) for layer in blocks] + [(layer, 8) for layer in voxels]

    def __call__(self, flat: Int32, level: Int32, rate: int, threads: int) -> Int32:
        """Values, (4 z, 4 y, 4 x), in steps.

        Parameters
        ----------
        flat : (z, y, x, channels), latents less their level.
        level : (z, y, x, 1).
        """
        plain = self._plain(flat, level, rate, threads)
        maps = self._coarse(flat, level, rate, threads)
        maps = self._joined(maps, plain, int(self.steps[rate]), threads)
        for row in self.fine:
            maps = row(maps, rate, threads)
        return self._values(plain, maps, threads)

    def _plain(self, flat: Int32, level: Int32, rate: int, threads: int) -> Int32:
        """Values of the transform alone, (2 z, 2 y, 2 x, 8)."""
        gains = self.gains[rate].astype(np.int64)
        scaled = np.empty(flat.shape, np.int32)
        found = np.empty((*(2 * n for n in flat.shape[:3]), 8), np.int32)

        def scale(slab: slice) -> None:
            whole = flat[slab].astype(np.int64)
            whole[..., :1] += level[slab]
            scaled[slab] = down(whole * gains, GAIN + LATENT - MAP)

        def transform(slab: slice) -> None:
            added = down(overlap[slab], MAP + self.overlap.point - FINE)
            blocks = np.left_shift(scaled[slab], FINE - MAP, dtype=np.int64) + added
            values = self.transform.exact(blocks.clip(-WIDEST, WIDEST).astype(np.int32))
            values = down(values, self.transform.point).clip(-WIDEST, WIDEST)
            found[_doubled(slab)] = to_voxels(values)

        mapped(scale, slabs(flat.shape), threads)
        overlapping = scaled.copy()
        overlapping[..., 0] = flat[..., 0] << MAP - LATENT
        overlap = self.overlap.exact(overlapping, threads)
        mapped(transform, slabs(flat.shape), threads)
        return found

    def _coarse(self, flat: Int32, level: Int32, rate: int, threads: int) -> Int16:
        """Maps of blocks, (z, y, x, maps)."""
        units = down(level * self.gains[rate, :1].astype(np.int64), GAIN) * int(self.steps[rate])
        seen = [self.companding(flat), short(down(units, LATENT + STEP + 3 - MAP))]
        maps = self.enter.rounded(np.concatenate(seen, -1), self.enter.point, threads=threads)
        for row in self.coarse:
            maps = row(maps, rate, threads)
        return maps

    def _joined(self, maps: Int16, plain: Int32, step: int, threads: int) -> Int16:
        """Maps of blocks and those of what stands out, (2 z, 2 y, 2 x, maps)."""
        beside = self.beside.maps(self._standing_out(plain, step, threads), threads)
        found = np.empty(beside.shape, np.int16)

        def join(slab: slice) -> None:
            narrowed = to_voxels(down(self.narrow.maps(maps[slab]), self.narrow.point))
            fine = _doubled(slab)
            found[fine] = short(narrowed + down(beside[fine], self.beside.point))

        mapped(join, slabs((*maps.shape[:3], self.narrow.outputs)), threads)
        return found

    def _standing_out(self, plain: Int32, step: int, threads: int) -> Int16:
        """What stands out of its surroundings, companded; and those."""
        around = mean_around(down(plain.sum(-1, keepdims=True, dtype=np.int64), 3))
        found = np.empty((*plain.shape[:3], 9), np.int16)
        found[..., 8:] = short(down(around * step, FINE + STEP - MAP))

        def compand(slab: slice) -> None:
            found[slab, ..., :8] = self.companding(down(plain[slab] - around[slab], FINE - LATENT))

        mapped(compand, slabs(plain.shape), threads)
        return found

    def _values(self, plain: Int32, maps: Int16, threads: int) -> Int32:
        """What the transform and the networks give, (4 z, 4 y, 4 x)."""
        sums, point = self.out.maps(maps, threads), MAP + self.out.point - FINE
        found = np.empty([2 * n for n in plain.shape[:3]], np.int32)

        def add(slab: slice) -> None:
            values = (plain[slab] + down(sums[slab], point)).clip(-WIDEST, WIDEST)
            found[_doubled(slab)] = to_voxels(values)[..., 0]

        mapped(add, slabs(plain.shape), threads)
        return found


def _doubled(slab: slice) -> slice:
    """The same planes of a grid that is twice as fine."""
    return slice(2 * slab.start, 2 * slab.stop)


def _residual(tensors: Mapping[str, NDArray[np.generic]], name: str, sines: Int16) -> Residual:
    first, second = (Convolution.of(tensors, f"{name}.{part}") for part in ("first", "second"))
    modulation = np.asarray(tensors[f"{name}.modulation"], np.int32)
    if first.outputs != second.inputs or modulation.shape != (3, 2, first.outputs):
        raise ValueError(f"the layers of {name} do not fit each other")
    if int(np.abs(modulation.astype(np.int64)).max()) > LARGEST_MODULATION:
        raise ValueError(f"{name} is modulated beyond what sums hold")
    return Residual(first, second, modulation, sines)


def _count(tensors: Mapping[str, object], prefix: str) -> int:
    return len({name[len(prefix) :].split(".")[0] for name in tensors if name.startswith(prefix)})
