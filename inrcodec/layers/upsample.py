"""From the low-res volume to stored slices: Lanczos, the network's residual, rounding, padding.

In: the low-res volume in [-1, 1], and a full-res box.  Out: slabs of stored values.
Invariant: a voxel depends on neither the box, nor the slab, the band of rows or the thread that it was
computed in.

Nothing of full resolution is held but a few slabs, and the floats of a slice only a band of rows at a time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass, replace
from math import sqrt
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from inrcodec.errors import CorruptFile
from inrcodec.format.header import LANCZOS, NOISE_STEPS, Header
from inrcodec.layers import resample
from inrcodec.layers.cache import Cache
from inrcodec.layers.decode_options import REFERENCE, DecodeOptions
from inrcodec.layers.padding import Padding as Padding
from inrcodec.layers.superres import registry
from inrcodec.layers.superres.registry import check_model as check_model
from inrcodec.parallel import InterruptiblePool, thread_count
from inrcodec.volume.arrays import Active, Array, Bool, Float
from inrcodec.volume.box import Box, Shape
from inrcodec.volume.value_range import Range

if TYPE_CHECKING:
    from inrcodec.layers.superres.upsampler import Layer, Upsampler


SLAB = 16  # full-res slices handed out at a time
PART = 1 << 23  # low-res voxels that are decoded at a time, about
BLOCKS = 1 << 26  # bytes of super-resolution that are kept: a layer of blocks of 512 x 512 voxels
AHEAD = 1  # slabs that are computed while one is in use


@dataclass(frozen=True)
class Slab:
    """Full-res slices ``[start, stop)`` as the source stored them: decoded, and by Lanczos alone.

    Attributes
    ----------
    start, stop : int
    stored : ndarray, (z, y, x)
    plain : ndarray, (z, y, x)
        By Lanczos alone; ``stored`` itself where there is no network, or this was not requested.
    """

    start: int
    stop: int
    stored: Array
    plain: Array


class _Held(NamedTuple):
    """Slices of the low-res volume, and the number of the first."""

    values: Float
    first: int


@dataclass(frozen=True, eq=False)
class Upsampling:
    """The step from a file's low-res volume to its stored slices.

    Parameters
    ----------
    header : of the file.
    active : low-res voxels that are coded; only there a model adds to Lanczos.
    padding : full-res voxels that hold the padding value, or ``None``.
    kept : blocks that are remembered, of one and the same low-res volume.
    """

    header: Header
    active: Active
    padding: Padding | None
    kept: Cache | None = None

    @classmethod
    def of_file(cls, header: Header, active: Active, padding: Padding | None) -> Upsampling:
        """For the one low-res volume that a file has: its blocks are remembered."""
        return cls(header, active, padding, Cache(BLOCKS))

    def support(self, box: Box, options: DecodeOptions = REFERENCE) -> Box:
        """The low-res voxels that a box, which is not empty, depends on."""
        header = self.header
        taps = resample.support(box, header.lowres_shape, header.factor, header.shape)
        if self._model(options) == LANCZOS:
            return taps
        registry.check_work(header, options.ensemble)  # before the networks are evaluated
        from inrcodec.layers.superres import upsampler

        return upsampler.support(self.active, box, header.factor, taps, self._cell)

    def parts(self, box: Box, options: DecodeOptions = REFERENCE) -> Iterator[Box]:
        """A full-res box in parts along z that depend on about `PART` low-res voxels each.

        They end where layers of a model's blocks do, so that none is computed twice.
        """
        depth, rows, columns = self.header.lowres_shape
        thickness = 1
        if self._model(options) != LANCZOS:
            from inrcodec.layers.superres import upsampler

            thickness = upsampler.spans_of(depth, self._cell)[0].stop
        layers = max(1, PART // (rows * columns * thickness))
        step = layers * thickness * self.header.factor[0]
        (z, *low), (stop, *high) = box.low, box.high
        while z < stop:
            end = min((z // step + 1) * step, stop)
            yield Box((z, low[0], low[1]), (end, high[0], high[1]))
            z = end

    def slabs(
        self,
        lowres: Float,
        options: DecodeOptions = REFERENCE,
        *,
        box: Box | None = None,
        plain: bool = False,
        first: int = 0,
    ) -> Iterator[Slab]:
        """The slices of a box, a slab at a time, in order; the next is computed while one is in use.

        Parameters
        ----------
        lowres : ndarray, (z, y, x), float64, in [-1, 1]
            Slices of the grid; anything may stand where :meth:`support` does not reach.
        options : with "lanczos" the network is left out; by default it is the header's.
        box : full-res, not empty; all by default.
        plain : whether the slabs are to hold the slices by Lanczos alone too.
        first : slice of the grid that ``lowres`` begins with.
        """
        box = box or Box((0, 0, 0), self.header.shape)
        threads = thread_count(options.threads)
        held = _Held(lowres, first)
        layers = self._residuals(held, options, box, threads)
        begun: deque[tuple[Slab, list[Future[None]]]] = deque()
        with InterruptiblePool(threads) as pool:
            for start in range(box.low[0], box.high[0], SLAB):
                slab = self._empty(start, box, plain and layers is not None)
                filling = [
                    pool.submit(self._fill, slab, z, held, box, None if layers is None else next(layers))
                    for z in range(start, slab.stop)
                ]
                begun.append((slab, filling))
                if len(begun) > AHEAD:
                    yield _filled(*begun.popleft())
            while begun:
                yield _filled(*begun.popleft())

    def _empty(self, start: int, box: Box, plain: bool) -> Slab:
        stop = min(start + SLAB, box.high[0])
        stored = np.empty((stop - start, *box.shape[1:]), np.dtype(self.header.dtype))
        return Slab(start, stop, stored, np.empty_like(stored) if plain else stored)

    def _fill(self, slab: Slab, z: int, held: _Held, box: Box, layer: Layer | None) -> None:
        """One slice of a slab, a band of rows at a time."""
        header = self.header
        for rows, unit in resample.up_slice(held.values, header.factor, header.shape, z, box, held.first):
            place = z - slab.start, slice(rows.start - box.low[1], rows.stop - box.low[1])
            padded = None if self.padding is None else self.padding.part(z, rows, box.slices[2])
            if slab.plain is not slab.stored:
                slab.plain[place] = self._stored(unit, padded)
            if layer is not None:
                low, high = window_of(header)
                layer.add_to(unit, (z, rows.start, box.low[2]), (high - low) / 2)
            slab.stored[place] = self._stored(unit, padded)

    def _stored(self, unit: Float, padded: Bool | None) -> Array:
        """Unit values as the source stored them, padding included."""
        dtype = np.dtype(self.header.dtype)
        values = span_of(self.header).to_stored(unit, dtype)
        if padded is not None:
            values[padded] = dtype.type(self.header.padding or 0)
        return values

    @property
    def _cell(self) -> Shape:
        """Of the header's model."""
        return registry.matching(self.header.sr, self.header.sr_sha256).architecture.cell

    def _model(self, options: DecodeOptions) -> str:
        """The model that is used; a constant volume needs none."""
        constant = self.header.low == self.header.high
        return LANCZOS if constant else options.sr or self.header.sr

    def _residuals(
        self, held: _Held, options: DecodeOptions, box: Box, threads: int
    ) -> Iterator[Layer] | None:
        """For each slice of a box the layer of blocks that its residual is in; ``None`` without a model."""
        model = self._model(options)
        if model == LANCZOS:
            return None
        layers = self._upsampler(model, held, options, box, threads).layers(box)
        return (
            layer
            for layer in layers
            for _ in range(max(layer.start, box.low[0]), min(layer.stop, box.high[0]))
        )

    def _upsampler(
        self, model: str, held: _Held, options: DecodeOptions, box: Box, threads: int
    ) -> Upsampler:
        from inrcodec.layers.superres.upsampler import Upsampler

        factor = registry.matching(model, self.header.sr_sha256).factor
        if factor != self.header.factor:
            raise CorruptFile(
                f"model {model!r} up-samples by {factor}, the file is reduced by {self.header.factor}",
                value=self.header.factor,
                remedy="sr 'lanczos' decodes it without the model",
            )
        network = registry.load(model, self.header.sr_sha256)
        low, high = window_of(self.header)
        inside = np.zeros(held.values.shape, dtype=np.float32)
        slices, *plane = self.support(box, options).slices
        part = slice(slices.start - held.first, slices.stop - held.first), *plane
        for plane, unit in zip(inside[part], held.values[part], strict=True):
            plane[:] = np.clip((unit - low) * (2 / (high - low)) - 1, -1, 1)
        return Upsampler(
            network,
            inside,
            self.active,
            options.device,
            threads,
            noise_of(self.header),
            options.precision,
            options.ensemble or self.header.sr_ensemble,
            self.kept,
            held.first,
        )


def slabs_of(stored: Array, first: int) -> Iterator[Slab]:
    """Slices in memory, of which the first has an index, as slabs."""
    for start in range(0, len(stored), SLAB):
        part = stored[start : start + SLAB]
        yield Slab(first + start, first + start + len(part), part, part)


def span_of(header: Header) -> Range:
    """The stored values that -1 and 1 stand for."""
    return Range(float(header.low), float(header.high))


def window_of(header: Header) -> tuple[float, float]:
    """The network's window, in the file's unit values."""
    return span_of(header).window(header.sr_window, header.rescale)


def noise_of(header: Header) -> float:
    """Noise level: the root mean square error of the low-res volume, in units of the network's window."""
    return header.sr_noise / NOISE_STEPS


def with_noise(header: Header, error: float) -> Header:
    """A header that states the noise level of its low-res volume.

    Parameters
    ----------
    error : mean squared error of the active voxels, in unit values.
    """
    if header.sr == LANCZOS or header.low == header.high:
        return replace(header, sr_noise=0)
    low, high = window_of(header)
    return replace(header, sr_noise=min(round(sqrt(error) * 2 / (high - low) * NOISE_STEPS), NOISE_STEPS))


def _filled(slab: Slab, filling: list[Future[None]]) -> Slab:
    for slice_of_slab in filling:
        slice_of_slab.result()
    return slab
