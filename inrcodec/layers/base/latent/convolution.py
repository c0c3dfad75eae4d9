"""Convolutions of integers, of 3 x 3 x 3 positions or of one.

In: a grid, (z, y, x, inputs).  Out: sums, (z, y, x, outputs), int64.
Invariant: a sum of 16-bit products is taken modulo 2^32, one of latents is exact: in neither does the order
matter, nor how the grid is cut.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from inrcodec.layers.base.latent.integers import SHORT, Int16, Int64, bordered, down, slabs
from inrcodec.native.library import Kernels, kernels
from inrcodec.native.maps import Finish, Rounded, Sums, convolve, packed
from inrcodec.parallel import mapped
from inrcodec.volume.arrays import Array, Float, Int32

FEWEST_BITS = 8  # that a pass of the kernels takes of latents
FINEST = (4, 15)  # bits behind the point of weights, at least and at most
ROWS = 1 << 12  # positions of which float64 copies are made at a time, about


@dataclass(frozen=True, eq=False)
class Convolution:
    """A layer.

    Attributes
    ----------
    weight : (outputs, inputs, taps), int16; taps are 27, z slowest, or 1.
    bias : (outputs,), int32, in units of a sum.
    point : bits of the weights behind the point.
    """

    weight: Int16
    bias: Int32
    point: int

    @classmethod
    def of(cls, tensors: Mapping[str, NDArray[np.generic]], name: str) -> Convolution:
        """The layer of a name; raises `ValueError` where it is none."""
        weight, bias, point = (tensors[f"{name}.{part}"] for part in ("weight", "bias", "point"))
        edges = weight.shape[2:]
        if weight.dtype != np.int16 or edges not in ((3, 3, 3), (1, 1, 1)) or not weight.size:
            raise ValueError(f"{name} has weights of {weight.dtype} {weight.shape}")
        if bias.dtype != np.int32 or bias.shape != weight.shape[:1]:
            raise ValueError(f"{name} has a bias of {bias.dtype} {bias.shape}")
        if point.shape != (1,) or not FINEST[0] <= int(point[0]) <= FINEST[1]:
            raise ValueError(f"{name} has weights of {point} bits behind the point")
        return cls(
            np.ascontiguousarray(weight.reshape(*weight.shape[:2], -1)),
            np.asarray(bias, np.int32),
            int(point[0]),
        )

    @property
    def inputs(self) -> int:
        """Channels that it reads."""
        return int(self.weight.shape[1])

    @property
    def outputs(self) -> int:
        """Channels that it gives."""
        return int(self.weight.shape[0])

    @property
    def multiply_adds(self) -> int:
        """Of a position."""
        return int(self.weight.size)

    def maps(self, x: Int16, threads: int = 1) -> Int32:
        """Sums of maps, modulo 2^32, with MAP + point bits behind the point, or those of ``x`` + point."""
        if (native := kernels()) is not None:
            return self._compiled(native, x, self.bias, Sums(), threads)
        return self._sums(x, np.int32, threads)

    def exact(self, x: Int32, threads: int = 1) -> Int64:
        """Sums of latents, which stay below 2^53."""
        native, bits = kernels(), self._exact_bits
        if native is None or bits < FEWEST_BITS:
            return self._sums(x, np.int64, threads)
        total = np.empty((*x.shape[:3], self.outputs), np.int64)
        total[:] = self.bias
        none = np.zeros_like(self.bias)
        for part, shift in _parts(x, bits):
            sums = self._compiled(native, part, none, Sums(), threads)
            for slab in slabs(total.shape):
                total[slab] += np.left_shift(sums[slab], shift, dtype=np.int64)
        return total

    def rounded(self, x: Int16, bits: int, least: int = -SHORT, threads: int = 1) -> Int16:
        """Maps: sums divided by 2^bits, to the nearest, and clipped from ``least`` on."""

        def plain(sums: Int32, slab: slice) -> Int16:
            return down(sums, bits).clip(least, SHORT).astype(np.int16)

        return self.finished(x, Rounded(bits, least), plain, threads)

    def finished(
        self, x: Int16, last: Finish, plain: Callable[[Int32, slice], Int16], threads: int = 1
    ) -> Int16:
        """Maps of sums, as the kernels make them, or as ``plain`` makes the same of some planes."""
        native = kernels()
        if native is not None:
            return self._compiled(native, x, self.bias, last, threads)
        sums = self.maps(x, threads)
        found = np.empty(sums.shape, np.int16)

        def fill(slab: slice) -> None:
            found[slab] = plain(sums[slab], slab)

        mapped(fill, slabs(sums.shape), threads)
        return found

    def _compiled(self, native: Kernels, x: Int16, bias: Int32, last: Finish, threads: int) -> Array:
        """What the kernels give, (z, y, x, outputs)."""
        border = int(self.weight.shape[2] > 1)
        width = [(border, border)] * 3 + [(0, self.inputs % 2)]
        padded = np.pad(x, width) if border or self.inputs % 2 else np.ascontiguousarray(x)
        out = np.empty((*x.shape[:3], self.outputs), np.int32 if isinstance(last, Sums) else np.int16)
        flat, strides = out.reshape(-1, self.outputs), np.array(padded.strides[:3], np.int64) // 2
        z, y, w = (np.arange(n) * stride for n, stride in zip(x.shape, strides, strict=False))
        places = (z[:, None, None] + y[:, None] + w).reshape(-1)
        taps = np.arange(3 if border else 1)
        runs = (taps[:, None] * strides[0] + taps * strides[1]).reshape(-1)
        step = max(1, -(-len(flat) // max(1, threads)))

        def fill(first: int) -> None:
            part = slice(first, first + step)
            convolve(native, padded, places[part], runs, (self._packed, bias), last.of(part), flat[part])

        mapped(fill, range(0, len(flat), step), threads)
        return out

    @cached_property
    def _packed(self) -> Int16:
        """Weights as the kernels read them."""
        return packed(self.weight)

    @cached_property
    def _exact_bits(self) -> int:
        """Bits of inputs, 15 at most, whose sums stay below 2^31."""
        largest = int(np.abs(self.weight.astype(np.int64)).sum((1, 2)).max())
        return min(15, 31 - largest.bit_length())

    @cached_property
    def _taps(self) -> Float:
        """(taps, inputs, outputs)."""
        return np.ascontiguousarray(self.weight.transpose(2, 1, 0), np.float64)

    def _sums(self, x: NDArray[np.signedinteger], dtype: type, threads: int) -> Array:
        """Sums by NumPy, as int64 or modulo 2^32."""
        z, y, w, _ = x.shape
        out: Array = np.empty((z, y, w, self.outputs), dtype)
        if len(self._taps) == 1:
            flat, rows = x.reshape(-1, self.inputs), out.reshape(-1, self.outputs)

            def cut(start: int) -> None:
                part = slice(start, start + ROWS)
                sums = flat[part].astype(np.float64) @ self._taps[0] + self.bias
                rows[part] = sums.astype(np.int64)

            mapped(cut, range(0, len(flat), ROWS), threads)
        else:
            padded = bordered(x, "constant")
            step = max(1, ROWS // ((y + 2) * (w + 2)))
            mapped(self._slab(padded, out, step), range(0, z, step), threads)
        return out

    def _slab(self, padded: NDArray[np.signedinteger], out: Array, step: int) -> Callable[[int], None]:
        """What fills some planes: products of the flat grid with its border, shifted for each tap."""
        _, rows, columns, _ = padded.shape

        def fill(first: int) -> None:
            part = padded[first : first + step + 2].astype(np.float64)
            planes = len(part) - 2
            flat = part.reshape(-1, self.inputs)
            count = (planes * rows - 2) * columns - 2  # from the first position within to the last
            total = np.zeros((planes * rows * columns, self.outputs))
            product = np.empty((count, self.outputs))
            for tap, weights in enumerate(self._taps):
                a, b, c = tap // 9, tap // 3 % 3, tap % 3
                start = (a * rows + b) * columns + c
                total[:count] += np.matmul(flat[start : start + count], weights, out=product)
            grid = total.reshape(planes, rows, columns, self.outputs)[:, : rows - 2, : columns - 2]
            out[first : first + planes] = (grid + self.bias).astype(np.int64)

        return fill


def _parts(x: Int32, bits: int) -> Iterator[tuple[Int16, int]]:
    """Parts of integers, of so many bits each, and how far each is shifted; the last one has the signs."""
    shift = 0
    while x.size and (int(x.min()) < -(1 << bits) or int(x.max()) >= 1 << bits):
        yield (x & (1 << bits) - 1).astype(np.int16), shift
        x, shift = x >> bits, shift + bits
    yield x.astype(np.int16), shift
