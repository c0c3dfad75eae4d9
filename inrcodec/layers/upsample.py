"""From the low-res volume to stored slices: Lanczos, the network's residual, rounding, padding.

In: the low-res volume in [-1, 1].  Out: slabs of stored values.
The one law: a voxel does not depend on the slab, the band of rows or the thread that it was computed in.

Nothing of full resolution is held but a few slabs, and the floats of a slice only a band of rows at a time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from inrcodec.entropy.padding import Planes
from inrcodec.errors import CorruptFile
from inrcodec.format.header import Header
from inrcodec.layers import resample
from inrcodec.layers.decode_options import REFERENCE, DecodeOptions
from inrcodec.layers.superres import registry
from inrcodec.layers.superres.conditioning import noise_of, window_of
from inrcodec.parallel import InterruptiblePool, thread_count
from inrcodec.volume.value_range import Range

if TYPE_CHECKING:
    from inrcodec.layers.superres.upsampler import Layer

Float = NDArray[np.float64]
Bool = NDArray[np.bool_]
Array = NDArray[np.generic]

SLAB = 16  # full-res slices handed out at a time
AHEAD = 1  # slabs that are computed while one is in use


@dataclass(frozen=True)
class Slab:
    """Full-res slices ``[start, stop)`` as the source stored them: decoded, and by Lanczos alone.

    ``plain`` is ``stored`` itself where there is no network, or nobody asked.
    """

    start: int
    stop: int
    stored: Array
    plain: Array


@dataclass(frozen=True, eq=False)
class Fullres:
    """What full-res slices are made of.

    Parameters
    ----------
    header : of the file.
    lowres : ndarray, (z, y, x), in [-1, 1].
    active : ndarray, (z, y, x), low-res voxels that a network stands for.
    padding : full-res voxels that hold the padding value, slice by slice, or None.
    """

    header: Header
    lowres: Float
    active: Bool
    padding: Planes | None

    def slabs(self, how: DecodeOptions = REFERENCE, *, plain: bool = False) -> Iterator[Slab]:
        """All slices, a slab at a time, in order; the next is computed while one is in use.

        Parameters
        ----------
        how : with "lanczos" the network is left out; by default it is the header's.
        plain : whether the slabs are to hold the slices by Lanczos alone too.
        """
        threads = thread_count(how.threads)
        layers = self._residuals(how, threads)
        begun: deque[tuple[Slab, list[Future[None]]]] = deque()
        with InterruptiblePool(threads) as pool:
            for start in range(0, self.header.shape[0], SLAB):
                slab = self._slab(start, plain and layers is not None)
                filling = [
                    pool.submit(self._fill, slab, z, None if layers is None else next(layers))
                    for z in range(start, slab.stop)
                ]
                begun.append((slab, filling))
                if len(begun) > AHEAD:
                    yield _filled(*begun.popleft())
            while begun:
                yield _filled(*begun.popleft())

    def _slab(self, start: int, plain: bool) -> Slab:
        stop = min(start + SLAB, self.header.shape[0])
        stored = np.empty((stop - start, *self.header.shape[1:]), np.dtype(self.header.dtype))
        return Slab(start, stop, stored, np.empty_like(stored) if plain else stored)

    def _fill(self, slab: Slab, z: int, layer: Layer | None) -> None:
        """One slice of a slab, a band of rows at a time."""
        padding = None if self.padding is None else self.padding[z]
        for rows, unit in resample.up_slice(self.lowres, self.header.factor, self.header.shape, z):
            if slab.plain is not slab.stored:
                slab.plain[z - slab.start, rows] = self._stored(unit, padding, rows)
            if layer is not None:
                low, high = window_of(self.header)
                layer.add_to(unit, z, rows.start, (high - low) / 2)
            slab.stored[z - slab.start, rows] = self._stored(unit, padding, rows)

    def _stored(self, unit: Float, padding: Bool | None, rows: slice) -> Array:
        """Unit values of some rows as the source stored them, padding included."""
        dtype = np.dtype(self.header.dtype)
        values = self._span.to_stored(unit, dtype)
        if padding is not None:
            values[padding[rows]] = dtype.type(self.header.padding or 0)
        return values

    def _residuals(self, how: DecodeOptions, threads: int) -> Iterator[Layer] | None:
        """For each slice the layer of blocks that its residual is in; ``None`` where there is no network."""
        sr = how.sr or self.header.sr
        if sr == registry.LANCZOS or self._span.low == self._span.high:
            return None
        registry.check_work(self.header, how.ensemble)
        from inrcodec.layers.superres.upsampler import Upsampler

        if registry.manifest(sr).factor != self.header.factor:
            raise CorruptFile(
                f"model {sr!r} brings back {registry.manifest(sr).factor}, the file is reduced by "
                f"{self.header.factor}; the file is damaged, sr 'lanczos' decodes it without the model",
                value=self.header.factor,
            )
        network = registry.load(sr, self.header.sr_sha256)
        low, high = window_of(self.header)
        inside = np.empty(self.lowres.shape, dtype=np.float32)
        for plane, unit in zip(inside, self.lowres, strict=True):
            plane[:] = np.clip((unit - low) * (2 / (high - low)) - 1, -1, 1)
        layers = Upsampler(
            network,
            inside,
            self.active,
            how.device,
            threads,
            noise_of(self.header),
            how.precision,
            how.ensemble or self.header.sr_ensemble,
        ).layers()
        return (layer for layer in layers for _ in range(layer.start, layer.stop))

    @property
    def _span(self) -> Range:
        return span_of(self.header)


def span_of(header: Header) -> Range:
    """The stored values that -1 and 1 stand for."""
    return Range(float(header.low), float(header.high))


def _filled(slab: Slab, filling: list[Future[None]]) -> Slab:
    for slice_of_slab in filling:
        slice_of_slab.result()
    return slab
