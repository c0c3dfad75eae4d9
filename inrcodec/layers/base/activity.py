"""Which low-res voxels are worth a network: everything but the flat background.

In: the low-res volume.  Out: a boolean grid of cells, and the one value that all other voxels take.
Invariant: what is inactive differs from the background by less than the tolerance at the voxel itself and at
its neighbours, so that nothing visible is dropped.
"""

import numpy as np

from inrcodec.entropy.mask import decode_mask
from inrcodec.format.limits import CELLS
from inrcodec.volume.arrays import Bool, Float
from inrcodec.volume.box import Shape
from inrcodec.volume.value_range import amplitude, sampled

TOLERANCE = 0.0246  # of the amplitude: 30 HU on the head; keeps the skin's partial volume, drops air's noise
WORTH_IT = 0.9  # a mask that leaves more than this active costs more than it saves


def background_of(lowres: Float) -> float:
    """The most common value, in [-1, 1]: the median of the fullest bin of twice the tolerance."""
    values = sampled(lowres)
    width = 2 * TOLERANCE * amplitude(lowres)
    bins = np.floor((values + 1) / width).astype(np.int64)
    fullest = int(np.bincount(np.maximum(bins, 0)).argmax())
    inside = values[bins == fullest]
    # Resampling rounds: all that the lowest bin holds may lie a hair below -1.
    return float(np.clip(np.median(inside), -1.0, 1.0)) if inside.size else -1.0


def cell_for(shape: Shape, edge: int) -> Shape:
    """Cell edges (z, y, x) in low-res voxels, near ``edge`` and never longer than the axis.

    They grow until no more cells are left than the format allows.
    """
    while int(np.prod([-(-n // edge) for n in shape])) > CELLS:
        edge *= 2
    z, y, x = (min(edge, n) for n in shape)
    return z, y, x


def active_cells(lowres: Float, background: float, cell: Shape) -> Bool | None:
    """Cells that hold anything but background; ``None`` where a mask would not pay."""
    from scipy.ndimage import binary_dilation  # only what encodes waits for SciPy

    tolerance = TOLERANCE * amplitude(lowres)
    far = binary_dilation(np.stack([np.abs(plane - background) > tolerance for plane in lowres]))
    pad = [(0, -n % c) for n, c in zip(far.shape, cell, strict=True)]
    padded = np.pad(far, pad)
    z, y, x = (n // c for n, c in zip(padded.shape, cell, strict=True))
    cells = padded.reshape(z, cell[0], y, cell[1], x, cell[2]).any((1, 3, 5))
    active: Bool = np.asarray(cells, dtype=np.bool_)
    return active if active.mean() < WORTH_IT else None


def decoded(mask: bytes | None, cell: Shape, shape: Shape) -> Bool:
    """Active voxels of a section MASK, or of a file that has none; raises `CorruptFile`."""
    z, y, x = (-(-n // c) for n, c in zip(shape, cell, strict=True))
    return active_voxels(None if mask is None else decode_mask(mask, (z, y, x)), cell, shape)


def active_voxels(cells: Bool | None, cell: Shape, shape: Shape) -> Bool:
    """Cells spread over the low-res voxels; all active without a mask."""
    if cells is None:
        return np.ones(shape, dtype=np.bool_)
    for axis, edge in enumerate(cell):
        cells = cells.repeat(min(edge, shape[axis]), axis)
    return cells[: shape[0], : shape[1], : shape[2]]
