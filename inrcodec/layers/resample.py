"""Separable Lanczos-3 resampling by integer factors, down and up (paper, section 3.2, equation 1).

Low-res voxel ``i`` covers the full-res voxels ``[f*i, f*(i + 1))``, so both grids share one physical extent
and the low-res length is ``ceil(n / f)``.  The kernel is widened by ``f`` on the way down (anti-aliasing, as
in Pillow's ``LANCZOS``); taps that fall outside the volume are dropped and the others renormalised.  Every
output is a sum over taps in a fixed order, so it does not depend on slabs, threads or BLAS.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from inrcodec.parallel import InterruptiblePool
from inrcodec.volume.arrays import Float
from inrcodec.volume.box import Box, Shape, lowres_shape

if TYPE_CHECKING:
    from scipy.sparse import csr_array

Taps = list[list[tuple[int, float]]]  # for each output, its sources in ascending order and their weights

LOBES = 3  # the "a" of equation 1; Pillow's LANCZOS has the same


def kernel(x: NDArray[np.floating[Any]]) -> Float:
    """Lanczos-3 window: ``sinc(x) sinc(x/3)`` for ``|x| < 3``, else 0 (equation 1)."""
    return np.where(np.abs(x) < LOBES, np.sinc(x) * np.sinc(x / LOBES), 0.0)


BATCH = 8  # full-res slices that are shared out among threads at a time
BAND = 1 << 15  # voxels of a band of rows: its floats stay in a core's cache, and its memory is used again


def bands(start: int, stop: int, width: int) -> list[slice]:
    """The rows ``[start, stop)`` in bands of at most ``BAND`` voxels, or of one row."""
    height = max(1, BAND // width)
    return [slice(y, min(y + height, stop)) for y in range(start, stop, height)]


def down(
    rows_at: Callable[[int, slice], Float],
    shape: Shape,
    factor: Shape,
    *,
    part: slice = slice(None),
    threads: int = 1,
    progress: Callable[[float], None] | None = None,
) -> Float:
    """Down-sample a volume that is given row by row, so that it is never held in floats.

    Parameters
    ----------
    rows_at : callable, z and a slice of rows -> (y, x) float64
        Rows of the full-res slice at index ``z``; called from any thread.
    shape : full-res (z, y, x).
    factor : (z, y, x), each >= 1.
    part : low-res slices that are computed, all by default; only the slices of their `reach` are called for.
    threads : slices at a time.
    progress : called with the fraction that is done.

    Returns
    -------
    ndarray, (z, y, x), float64, of shape ``lowres_shape(shape, factor)`` or those slices of it.
    """
    whole = lowres_shape(shape, factor)
    first, stop, _ = part.indices(whole[0])
    low = np.zeros((stop - first, *whole[1:]))
    slices, rows, columns = (_matrix(_taps_down(n, f), n) for n, f in zip(shape, factor, strict=True))
    users = slices[first:stop].T.tocsr()
    sources = reach(shape[0], factor[0], part)

    def small(z: int) -> Float:
        narrow = np.concatenate([(columns @ rows_at(z, band).T).T for band in bands(0, shape[1], shape[2])])
        plane: Float = rows @ narrow
        return plane

    with InterruptiblePool(threads) as pool:
        for begin in range(sources.start, sources.stop, BATCH):
            batch = range(begin, min(begin + BATCH, sources.stop))
            for z, plane in zip(batch, pool.map(small, batch), strict=True):
                for i, weight in _taps_of(users, z):
                    low[i] += weight * plane
            if progress:
                progress((batch.stop - sources.start) / len(sources))
    return low


def reach(n: int, factor: int, part: slice = slice(None)) -> range:
    """The full-res indices, of ``n``, that low-res indices of an axis are made of; all by default."""
    taps = _taps_down(n, factor)[part]
    return range(taps[0][0][0], taps[-1][-1][0] + 1)


def up(lowres: Float, factor: Shape, shape: Shape, start: int = 0, stop: int | None = None) -> Float:
    """Up-sample the full-res slices ``[start, stop)`` of a low-res volume.

    Parameters
    ----------
    lowres : ndarray, (z, y, x), float64.
    factor, shape : per-axis factors and the full-res shape to crop to.
    start, stop : range of full-res slices; the whole volume by default.

    Returns
    -------
    ndarray, (stop - start, y, x), float64.
    """
    stop = shape[0] if stop is None else stop
    out = np.empty((stop - start, *shape[1:]))
    for k, z in enumerate(range(start, stop)):
        for rows, values in up_slice(lowres, factor, shape, z):
            out[k, rows] = values
    return out


def support(box: Box, low_shape: Shape, factor: Shape, shape: Shape) -> Box:
    """The low-res voxels that a full-res box, which is not empty, is up-sampled from."""
    axes = zip(low_shape, factor, shape, box.low, box.high, strict=True)
    z, y, x = (_part_up(n_low, f, n, start, stop)[1] for n_low, f, n, start, stop in axes)
    return Box((z.start, y.start, x.start), (z.stop, y.stop, x.stop))


def up_slice(
    lowres: Float, factor: Shape, shape: Shape, z: int, box: Box | None = None, first: int = 0
) -> Iterator[tuple[slice, Float]]:
    """Full-res slice ``z``, or what of it is in a box, a band of rows (y, x) after the other.

    The low-res volume may hold anything where no voxel of the box is up-sampled from; so it may begin with
    another slice than the first.
    """
    box = box or Box((0, 0, 0), shape)
    (low_z, low_y, low_x), (fz, fy, fx), (_, y, x) = lowres_shape(shape, factor), factor, shape
    _, down = _part_up(low_y, fy, y, box.low[1], box.high[1])
    columns, across = _part_up(low_x, fx, x, box.low[2], box.high[2])
    plane = np.zeros((down.stop - down.start, across.stop - across.start))
    for source, weight in _taps_of(_matrix_up(low_z, fz, shape[0]), z):
        plane += weight * lowres[source - first, down, across]
    wide = plane if fx == 1 else (columns @ plane.T).T
    for rows, matrix, used in _bands_up(low_y, fy, y, box.low[1], box.high[1], box.shape[2]):
        part = wide[used.start - down.start : used.stop - down.start]
        yield rows, part if fy == 1 else matrix @ part


def matrix_up(n_low: int, factor: int, n: int, rows: slice, columns: slice) -> Float:
    """Part of the matrix (full-res, low-res) that up-samples one axis."""
    part: Float = _matrix_up(n_low, factor, n)[rows, columns].toarray()
    return part


def matrices(n: int, factor: int) -> tuple[Float, Float]:
    """The whole matrices of one short axis: down (low-res, full-res), and up (full-res, low-res)."""
    n_low = -(-n // factor)
    return _matrix(_taps_down(n, factor), n).toarray(), _matrix(_taps_up(n_low, factor, n), n_low).toarray()


def _taps_down(n: int, factor: int) -> Taps:
    """For each low-res index, its full-res sources and normalised weights."""
    if factor == 1:
        return [[(i, 1.0)] for i in range(n)]
    rows = []
    for i in range(-(-n // factor)):
        centre = (i + 0.5) * factor - 0.5
        sources = np.arange(max(0, int(centre - LOBES * factor)), min(n, int(centre + LOBES * factor) + 2))
        weights = kernel((sources - centre) / factor)
        rows.append(_normalised(sources, weights))
    return rows


def _taps_up(n_low: int, factor: int, n: int) -> Taps:
    """For each full-res index below ``n``, its low-res sources and normalised weights."""
    if factor == 1:
        return [[(i, 1.0)] for i in range(n)]
    rows = []
    for j in range(n):
        position = (j + 0.5) / factor - 0.5
        first = int(np.floor(position)) - LOBES + 1
        sources = np.arange(max(0, first), min(n_low, first + 2 * LOBES))
        rows.append(_normalised(sources, kernel(position - sources)))
    return rows


def _normalised(sources: NDArray[np.int64], weights: Float) -> list[tuple[int, float]]:
    weights = weights / weights.sum()
    return [(int(s), float(w)) for s, w in zip(sources, weights, strict=True) if w != 0.0]


def _matrix(taps: Taps, sources: int) -> csr_array:
    from scipy.sparse import csr_array  # not at the top: a preview needs no full resolution

    ends = np.cumsum([0, *map(len, taps)])
    places, weights = zip(*(tap for row in taps for tap in row), strict=True)
    return csr_array((np.array(weights), np.array(places), ends), shape=(len(taps), sources))


@lru_cache(maxsize=8)
def _matrix_up(n_low: int, factor: int, n: int) -> csr_array:
    return _matrix(_taps_up(n_low, factor, n), n_low)


@lru_cache(maxsize=16)
def _part_up(n_low: int, factor: int, n: int, start: int, stop: int) -> tuple[csr_array, slice]:
    """The matrix of some outputs of an axis, and the sources that it takes."""
    matrix = _matrix_up(n_low, factor, n)[start:stop]
    sources = slice(int(matrix.indices.min()), int(matrix.indices.max()) + 1)
    return matrix[:, sources], sources


@lru_cache(maxsize=4)
def _bands_up(
    n_low: int, factor: int, n: int, start: int, stop: int, width: int
) -> list[tuple[slice, csr_array, slice]]:
    return [(rows, *_part_up(n_low, factor, n, rows.start, rows.stop)) for rows in bands(start, stop, width)]


def _taps_of(matrix: csr_array, output: int) -> list[tuple[int, float]]:
    """The sources of one output and their weights."""
    row = slice(matrix.indptr[output], matrix.indptr[output + 1])
    return list(zip(matrix.indices[row].tolist(), matrix.data[row].tolist(), strict=True))
