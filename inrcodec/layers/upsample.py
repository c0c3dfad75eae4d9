"""From the low-res volume to stored slices: Lanczos, the network's residual, filter, rounding, padding.

In: the low-res volume in [-1, 1], and a full-res box.  Out: slabs of stored values.
Invariant: a voxel depends on neither the box, nor the slab, the band of rows or the thread that it was
computed in.

Nothing of full resolution is held but a few slabs, and the floats of a slice only a band of rows at a time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Container, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from itertools import repeat
from math import sqrt
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from inrcodec.format.header import LANCZOS, NOISE_STEPS, Header
from inrcodec.layers import resample, wiener
from inrcodec.layers.decode_options import REFERENCE, DecodeOptions
from inrcodec.layers.padding import Padding as Padding
from inrcodec.layers.superres import blocks, registry
from inrcodec.layers.superres.registry import check_model as check_model
from inrcodec.parallel import InterruptiblePool, import_ahead, thread_count
from inrcodec.volume.arrays import Active, Array, Float
from inrcodec.volume.box import Box
from inrcodec.volume.value_range import Range

if TYPE_CHECKING:
    from inrcodec.layers.superres.upsampler import Layer, Upsampler


SLAB = 16  # full-res slices handed out at a time
PART = 1 << 23  # low-res voxels that are decoded at a time, about
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
    kept: blocks.Cache | None = None

    @classmethod
    def of_file(cls, header: Header, active: Active, padding: Padding | None) -> Upsampling:
        """For the one low-res volume that a file has: its blocks are remembered."""
        return cls(header, active, padding, blocks.Cache(blocks.KEPT))

    def prepare(self, options: DecodeOptions = REFERENCE) -> None:
        """Begin to import what a model needs, which takes as long as a low-res volume does."""
        if self._model(options) != LANCZOS and thread_count(options.threads) > 1:
            import_ahead("inrcodec.layers.superres.upsampler")

    def support(self, box: Box, options: DecodeOptions = REFERENCE) -> Box:
        """The low-res voxels that a box, which is not empty, depends on."""
        header = self.header
        if self._weights(options):
            box = wiener.around(box, header.shape)
        taps = resample.support(box, header.lowres_shape, header.factor, header.shape)
        if self._model(options) == LANCZOS:
            return taps
        registry.check_work(header, options.ensemble)  # before the networks are evaluated
        return blocks.support(self.active, box, header.factor, taps)

    def parts(self, box: Box, options: DecodeOptions = REFERENCE) -> Iterator[Box]:
        """A full-res box in parts along z that depend on about `PART` low-res voxels each.

        They end where layers of a model's blocks do, so that none is computed twice.
        """
        depth, rows, columns = self.header.lowres_shape
        thickness = 1
        if self._model(options) != LANCZOS:
            thickness = blocks.spans_of(depth)[0].stop
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
        weights = self._weights(options)
        seen = wiener.around(box, self.header.shape) if weights else box
        layers = self._residuals(held, options, seen, threads)
        begun: deque[tuple[Slab, list[Future[None]]]] = deque()
        with InterruptiblePool(threads) as pool:

            def unit(z: int) -> Future[Float]:
                return pool.submit(self._unit, z, held, box, next(layers))

            def fill(slab: Slab, z: int) -> Future[None]:
                if weights:  # what it waits for was submitted before it
                    return pool.submit(self._filter, slab, z, held, box, window.around(z), weights)
                return pool.submit(self._fill, slab, z, held, box, next(layers))

            window = _Window(unit, seen)
            for start in range(box.low[0], box.high[0], SLAB):
                slab = self._empty(start, box, plain and self._model(options) != LANCZOS)
                filling = [fill(slab, z) for z in range(start, slab.stop)]
                begun.append((slab, filling))
                if len(begun) > AHEAD:
                    yield _filled(*begun.popleft())
            while begun:
                yield _filled(*begun.popleft())

    def _empty(self, start: int, box: Box, plain: bool) -> Slab:
        stop = min(start + SLAB, box.high[0])
        stored = np.empty((stop - start, *box.shape[1:]), np.dtype(self.header.dtype))
        return Slab(start, stop, stored, np.empty_like(stored) if plain else stored)

    def unit(
        self, lowres: Float, box: Box, slices: Container[int], threads: int | None = None
    ) -> Iterator[tuple[int, Float]]:
        """Some slices of :func:`wiener.around` a box, unit values before the filter, with their borders.

        Parameters
        ----------
        lowres : the whole grid, as in :meth:`slabs`.
        slices : numbers of those that are computed.
        """
        held, seen = _Held(lowres, 0), wiener.around(box, self.header.shape)
        layers = self._residuals(held, REFERENCE, seen, thread_count(threads))
        for z, layer in zip(range(seen.low[0], seen.high[0]), layers, strict=False):
            if z in slices:
                yield z, self._unit(z, held, box, layer)

    def _fill(self, slab: Slab, z: int, held: _Held, box: Box, layer: Layer | None) -> None:
        """One slice of a slab, a band of rows at a time."""
        for rows, unit in self._rows(z, held, box):
            if slab.plain is not slab.stored:
                self._store(slab.plain, slab.start, z, rows, box, unit)
            self._add(layer, unit, z, rows, box)
            self._store(slab.stored, slab.start, z, rows, box, unit)

    def _unit(self, z: int, held: _Held, box: Box, layer: Layer | None) -> Float:
        """One slice around a box, before the filter."""
        seen = wiener.around(box, self.header.shape)
        plane = np.empty(seen.shape[1:])
        for rows, unit in self._rows(z, held, seen):
            self._add(layer, unit, z, rows, seen)
            plane[rows.start - seen.low[1] : rows.stop - seen.low[1]] = unit
        return wiener.bordered(plane, box, self.header.shape)

    def _filter(
        self,
        slab: Slab,
        z: int,
        held: _Held,
        box: Box,
        planes: Sequence[Future[Float]],
        weights: Sequence[int],
    ) -> None:
        """One slice of a slab, from slices around it."""
        if slab.plain is not slab.stored:
            for rows, unit in self._rows(z, held, box):
                self._store(slab.plain, slab.start, z, rows, box, unit)
        for rows, unit in wiener.filtered([plane.result() for plane in planes], weights):
            here = slice(rows.start + box.low[1], rows.stop + box.low[1])
            self._store(slab.stored, slab.start, z, here, box, unit)

    def _rows(self, z: int, held: _Held, box: Box) -> Iterator[tuple[slice, Float]]:
        """One slice by Lanczos, a band of rows at a time."""
        return resample.up_slice(held.values, self.header.factor, self.header.shape, z, box, held.first)

    def _add(self, layer: Layer | None, unit: Float, z: int, rows: slice, box: Box) -> None:
        """The model's residual, in place."""
        if layer is not None:
            low, high = window_of(self.header)
            layer.add_to(unit, (z, rows.start, box.low[2]), (high - low) / 2)

    def _store(self, out: Array, start: int, z: int, rows: slice, box: Box, unit: Float) -> None:
        """Rows of slice ``z`` as the source stored them, padding included; ``out`` begins at ``start``."""
        values = span_of(self.header).to_stored(unit, np.dtype(self.header.dtype))
        if self.padding is not None:
            padded = self.padding.part(z, rows, box.slices[2])
            values[padded] = values.dtype.type(self.header.padding or 0)
        out[z - start, rows.start - box.low[1] : rows.stop - box.low[1]] = values

    def _model(self, options: DecodeOptions) -> str:
        """The model that is used; a constant volume needs none."""
        constant = self.header.low == self.header.high
        return LANCZOS if constant else options.sr or self.header.sr

    def _weights(self, options: DecodeOptions) -> tuple[int, ...]:
        """Of the filter; it was fitted to what the header's own way of up-sampling gives."""
        own = self._model(options) == self.header.sr and self.header.low != self.header.high
        return self.header.wiener if own else ()

    def _residuals(
        self, held: _Held, options: DecodeOptions, box: Box, threads: int
    ) -> Iterator[Layer | None]:
        """For each slice of a box the layer of blocks that its residual is in; ``None`` without a model."""
        if self._model(options) == LANCZOS:
            return repeat(None)
        layers = self._upsampler(held, options, box, threads).layers(box)
        return (
            layer
            for layer in layers
            for _ in range(max(layer.start, box.low[0]), min(layer.stop, box.high[0]))
        )

    def _upsampler(self, held: _Held, options: DecodeOptions, box: Box, threads: int) -> Upsampler:
        from inrcodec.layers.superres.upsampler import Upsampler

        network = registry.network_of(self.header)
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


class _Window:
    """The slices around those that are filtered, in order; each is computed once."""

    def __init__(self, unit: Callable[[int], Future[Float]], box: Box) -> None:
        self.unit, self.first, self.last = unit, box.low[0], box.high[0] - 1
        self.planes: deque[tuple[int, Future[Float]]] = deque()

    def around(self, z: int) -> list[Future[Float]]:
        """From `wiener.REACH` in front of a slice to as many behind; the outermost stand for those beyond."""
        reach, _, _ = wiener.REACH
        begun = self.planes[-1][0] + 1 if self.planes else self.first
        self.planes += [(k, self.unit(k)) for k in range(begun, min(z + reach, self.last) + 1)]
        while self.planes[0][0] < max(z - reach, self.first):
            self.planes.popleft()
        start = self.planes[0][0]
        places = (min(max(k, self.first), self.last) for k in range(z - reach, z + reach + 1))
        return [self.planes[k - start][1] for k in places]


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
