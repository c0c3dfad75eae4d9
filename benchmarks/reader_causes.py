"""Why another reader's grid differs from ours, where the headers can tell; each cause is checked."""

from __future__ import annotations

from itertools import product

import nibabel
import numpy as np
from reader_grids import ROUNDING, Difference, Float, Grid, aligned
from reader_sources import Source, attribute, groups_of

ROUNDED = 0.01  # of a pixel that corners may move when rounded cosines are made orthonormal


def cause(source: Source, name: str, mine: Grid, theirs: Grid, difference: Difference) -> str:
    """Why ``theirs`` differs, if the headers show that ours is what they say; else nothing."""
    if difference.shape is not None:
        return f"{name} does not unpack mosaics" if is_unpacked(source, mine, difference.shape) else ""
    if not source.headers:
        return _nifti(source, name)
    theirs = aligned(mine, theirs)
    found = []
    if difference.voxels:
        found.append(_values(source, name, mine, theirs, difference))
    if difference.is_elsewhere:
        found.append(_place(source, name, mine, theirs))
    return "; ".join(found) if all(found) else ""


def _values(source: Source, name: str, mine: Grid, theirs: Grid, difference: Difference) -> str:
    first, values = source.headers[0], theirs.values.astype(np.float64)
    if first.get("PhotometricInterpretation") == "MONOCHROME1":
        total = mine.values + values
        return f"{name} inverts MONOCHROME1" if np.ptp(total) <= ROUNDING * np.abs(total).max() else ""
    if first.get("Modality") == "RTDOSE":
        scaling, words = float(first.DoseGridScaling), theirs.values.astype(np.uint32)
        orders = {
            "": words,
            "swaps halves and ": words >> 16 | words << 16,
            "swaps bytes and ": words.byteswap(),
        }
        for order, stored in orders.items():
            if np.allclose(stored * scaling, mine.values, rtol=ROUNDING):
                return f"{name} {order}leaves out the scaling of doses"
    if first.get("BitsAllocated") == 1 and name == "SimpleITK" and difference.largest > 1:
        return f"{name} does not unpack single bits"
    span = 2 ** int(first.get("BitsStored") or 16)
    if first.get("PixelRepresentation") == 1 and set(np.unique(values - mine.values)) == {0, span}:
        return f"{name} reads signed integers as unsigned"
    return ""


def is_unpacked(source: Source, mine: Grid, shape: tuple[int, ...]) -> bool:
    """Whether images that hold several slices side by side are such in another grid, and slices in ours."""
    is_mosaic = any("MOSAIC" in str(h.get("ImageType")).upper() for h in source.headers)
    return is_mosaic and shape[0] == len(source.files) < mine.values.shape[0]


def _nifti(source: Source, name: str) -> str:
    """Whether a NIfTI file says two things about its place; this package and nibabel take the sform."""
    path = source.files[0]
    if not path.name.endswith((".nii", ".nii.gz")):
        return ""
    header = nibabel.load(path).header
    (qform, first), (sform, second) = header.get_qform(coded=True), header.get_sform(coded=True)
    if not (first and second) or np.allclose(qform, sform, atol=1e-3):
        return ""
    return f"qform and sform contradict each other, {name} takes the qform"


def _place(source: Source, name: str, mine: Grid, theirs: Grid) -> str:
    planes = planes_of(source)
    if planes is None or mine.affine is None or theirs.affine is None or len(planes) != mine.values.shape[0]:
        return ""
    shape = mine.values.shape[1:]
    off_mine, off_theirs = (off_headers(planes, shape, grid.affine) for grid in (mine, theirs))
    if off_mine <= off_theirs:
        return f"planes of {name} are {off_theirs:.2g} mm off the headers, ours {off_mine:.2g} mm"
    pixel = float(np.linalg.norm(mine.affine[:3, 0]))
    if len(planes) == 1 and off_mine <= ROUNDED * pixel:
        return f"{name} keeps rounded cosines, ours are orthonormal"
    return ""


def planes_of(source: Source) -> Float | None:
    """Affines (n, 4, 4) of all planes as their headers say, ascending along the normal."""
    planes = []
    for header in source.headers:
        for holders in groups_of(header):
            position = attribute(holders, "PlanePositionSequence", "ImagePositionPatient")
            cosines = attribute(holders, "PlaneOrientationSequence", "ImageOrientationPatient")
            spacing = attribute(holders, "PixelMeasuresSequence", "PixelSpacing")
            if position is None or not (cosines and spacing):
                return None
            plane = np.eye(4)
            row, column = np.reshape([float(v) for v in cosines], (2, 3))
            plane[:3, 0], plane[:3, 1] = row * float(spacing[1]), column * float(spacing[0])
            plane[:3, 2] = np.cross(row, column)
            plane[:3, 3] = [float(v) for v in position]
            planes.append(plane)
    return np.array(sorted(planes, key=lambda plane: float(plane[:3, 3] @ planes[0][:3, 2])))


def off_headers(planes: Float, shape: tuple[int, ...], affine: Float) -> float:
    """Largest distance in mm between a corner of a plane in the grid and where its header puts it."""
    rows, columns = shape
    flat = np.array([[x, y, 0, 1.0] for x, y in product((0, columns - 1), (0, rows - 1))])
    worst = 0.0
    for index, plane in enumerate(planes):
        inside = flat + np.array([0, 0, index, 0])
        gap = (flat @ plane.T - inside @ affine.T)[:, :3]
        worst = max(worst, float(np.linalg.norm(gap, axis=1).max()))
    return worst
