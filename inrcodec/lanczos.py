"""Separable Lanczos-3 resampling by integer factors, down and up (paper, section 3.2, equation 1).

In: full-res slices or a low-res volume.  Out: the low-res volume, or any range of full-res slices.
The one law: linear; constant in, constant out.

Low-res voxel ``i`` covers the full-res voxels ``[f*i, f*(i + 1))``, so both grids share one physical extent
and the low-res length is ``ceil(n / f)``.  The kernel is widened by ``f`` on the way down (anti-aliasing, as
in Pillow's ``LANCZOS``); taps that fall outside the volume are dropped and the others renormalised.  Every
output is a sum over taps in a fixed order, element by element, so it does not depend on slabs, threads or
BLAS.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]
Shape = tuple[int, int, int]

LOBES = 3  # the "a" of equation 1; Pillow's LANCZOS has the same


def kernel(x: NDArray[np.floating[Any]]) -> Float:
    """Lanczos-3 window: ``sinc(x) sinc(x/3)`` for ``|x| < 3``, else 0 (equation 1)."""
    return np.where(np.abs(x) < LOBES, np.sinc(x) * np.sinc(x / LOBES), 0.0)


def lowres_shape(shape: Shape, factor: Shape) -> Shape:
    """Low-res lengths ``ceil(n / f)`` of each axis."""
    z, y, x = (-(-n // f) for n, f in zip(shape, factor, strict=True))
    return z, y, x


def down(slice_at: Callable[[int], Float], shape: Shape, factor: Shape) -> Float:
    """Down-sample a volume that is given slice by slice, so that it is never held in floats.

    Parameters
    ----------
    slice_at : callable, z -> (y, x) float64
        The full-res slice at index ``z``.
    shape : full-res (z, y, x).
    factor : (z, y, x), each >= 1.

    Returns
    -------
    ndarray, (z, y, x), float64, of shape ``lowres_shape(shape, factor)``.
    """
    low = np.zeros(lowres_shape(shape, factor))
    taps_z = _taps_down(shape[0], factor[0])
    users: list[list[tuple[int, float]]] = [[] for _ in range(shape[0])]
    for i, row in enumerate(taps_z):
        for source, weight in row:
            users[source].append((i, weight))
    for z, outputs in enumerate(users):
        small = _down_axis(_down_axis(slice_at(z), factor[1], 0), factor[2], 1)
        for i, weight in outputs:
            low[i] += weight * small
    return low


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
    taps = _taps_up(lowres.shape[0], factor[0])
    for k, z in enumerate(range(start, stop)):
        plane = np.zeros(lowres.shape[1:])
        for source, weight in taps[z]:
            plane += weight * lowres[source]
        out[k] = _up_axis(_up_axis(plane, factor[1], 0, shape[1]), factor[2], 1, shape[2])
    return out


def _taps_down(n: int, factor: int) -> list[list[tuple[int, float]]]:
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


def _taps_up(n_low: int, factor: int) -> list[list[tuple[int, float]]]:
    """For each full-res index of ``n_low * factor``, its low-res sources and normalised weights."""
    rows = []
    for j in range(n_low * factor):
        position = (j + 0.5) / factor - 0.5
        first = int(np.floor(position)) - LOBES + 1
        sources = np.arange(max(0, first), min(n_low, first + 2 * LOBES))
        rows.append(_normalised(sources, kernel(position - sources)))
    return rows


def _normalised(sources: NDArray[np.int64], weights: Float) -> list[tuple[int, float]]:
    weights = weights / weights.sum()
    return [(int(s), float(w)) for s, w in zip(sources, weights, strict=True) if w != 0.0]


def _down_axis(plane: Float, factor: int, axis: int) -> Float:
    """One axis of a (y, x) plane; interior outputs share their weights, so taps are strided slices."""
    if factor == 1:
        return plane
    rows = np.moveaxis(plane, axis, 0)
    n, count = rows.shape[0], -(-rows.shape[0] // factor)
    reach = range(-(LOBES * factor), (LOBES + 1) * factor)
    offsets = np.array(reach, dtype=np.float64)
    weights = kernel((offsets - (factor - 1) / 2) / factor)
    total, norm = np.zeros((count, rows.shape[1])), np.zeros((count, 1))
    for offset, weight in zip(reach, weights.tolist(), strict=True):
        first = max(0, -(offset // factor))  # smallest i with i*factor + offset >= 0
        last = min(count, (n - 1 - offset) // factor + 1)
        if weight == 0.0 or first >= last:
            continue
        begin = first * factor + offset
        total[first:last] += weight * rows[begin : begin + (last - first - 1) * factor + 1 : factor]
        norm[first:last] += weight
    return np.moveaxis(total / norm, 0, axis)


def _up_axis(plane: Float, factor: int, axis: int, n: int) -> Float:
    """One axis of a (y, x) plane; each of the ``factor`` phases is a sum over six shifted copies."""
    if factor == 1:
        return plane
    rows = np.moveaxis(plane, axis, 0)
    n_low = rows.shape[0]
    out = np.empty((n_low, factor, rows.shape[1]))
    for phase in range(factor):
        position = (phase + 0.5) / factor - 0.5
        total, norm = np.zeros((n_low, rows.shape[1])), np.zeros((n_low, 1))
        nearest = int(np.floor(position))
        for offset in range(nearest - LOBES + 1, nearest + LOBES + 1):
            weight = float(kernel(np.array(position - offset)))
            first, last = max(0, -offset), min(n_low, n_low - offset)
            if weight == 0.0 or first >= last:
                continue
            total[first:last] += weight * rows[first + offset : last + offset]
            norm[first:last] += weight
        out[:, phase] = total / norm
    return np.moveaxis(out.reshape(n_low * factor, -1)[:n], 0, axis)
