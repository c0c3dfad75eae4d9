"""Planes that lie side by side in one large one: Siemens mosaics and the grids of United Imaging.

In: header of the large plane.  Out: where each slice is in it, and in space.
Invariant: a grid is taken apart by what its maker states, or refused; it is never taken for one slice.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from math import ceil, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from inrcodec.errors import InputError
from inrcodec.io.dicom.files import Image
from inrcodec.io.dicom.terms import values_of

_SIEMENS_COUNT = 0x0019100A
_UIH_COUNT, _UIH_SLICES = 0x00651050, 0x00651051


@dataclass(frozen=True)
class Tile:
    """One slice of a grid."""

    rows: slice
    columns: slice
    position: NDArray[np.float64]  # centre of its first pixel, LPS mm


def is_grid(header: Dataset) -> bool:
    """Whether a plane holds the slices of a volume side by side."""
    words = {str(word).upper() for word in values_of(header, "ImageType")}
    return bool(words & {"MOSAIC", "VFRAME"}) or (_number(header, _UIH_COUNT) or 0) > 1


def tiles_of(image: Image, axes: NDArray[np.float64], spacing: tuple[float, float]) -> list[Tile]:
    """Slices of a grid.

    Parameters
    ----------
    axes : ndarray, (2, 3)
        Directions along a row and along a column.
    spacing : (float, float), mm
        Between rows and between columns.

    Raises
    ------
    InputError
        The maker's own elements are not there (removed by an anonymizer), or contradict the image.
    """
    header = image.header
    is_uih = _number(header, _UIH_COUNT) is not None
    count = _number(header, _UIH_COUNT) if is_uih else _siemens_count(header)
    if count is None:
        raise _refusal(image, "does not state how many slices it holds")
    across = ceil(sqrt(count))
    size = np.array([header.Rows, header.Columns]) // across
    if count < 1 or (size * across != [header.Rows, header.Columns]).any():
        raise _refusal(image, f"cannot hold {count} slices in {header.Rows} x {header.Columns} pixels")
    places = _uih_places(image, count) if is_uih else _siemens_places(image, count, size, axes, spacing)
    windows = [divmod(k, across) * size for k in range(count)]
    return [
        Tile(slice(y, y + size[0]), slice(x, x + size[1]), place)
        for (y, x), place in zip(windows, places, strict=True)
    ]


def _siemens_places(
    image: Image, count: int, size: Any, axes: NDArray[np.float64], spacing: tuple[float, float]
) -> list[NDArray[np.float64]]:
    """Positions of the slices of a mosaic.

    Its own position is that of a plane as large as the mosaic around the centre of a slice, so that the
    corner of the first slice is half the difference of the two sizes further in (nibabel, "Siemens mosaic").
    """
    header = image.header
    edge = _number_of(header, "SpacingBetweenSlices") or _number_of(header, "SliceThickness")
    stated = np.asarray(_csa(header, "SliceNormalVector"), float)
    corner = np.asarray(values_of(header, "ImagePositionPatient"), float)
    if edge is None or corner.shape != (3,):
        raise _refusal(image, "does not state the distance or the position of its slices")
    normal = np.cross(*axes)
    if stated.shape != (3,) or abs(abs(stated @ normal) - 1) > 0.01:
        raise _refusal(image, "does not state the direction in which its slices follow each other")
    inset = (np.array([header.Rows, header.Columns]) - size) / 2 * spacing  # mm along a column, along a row
    first = corner + axes[1] * inset[0] + axes[0] * inset[1]
    step = normal * edge * np.sign(stated @ normal)
    return [first + k * step for k in range(count)]


def _uih_places(image: Image, count: int) -> list[NDArray[np.float64]]:
    found = image.header.get(_UIH_SLICES)
    listed = found.value if found is not None and found.VR == "SQ" else []
    places = [np.asarray(values_of(item, "ImagePositionPatient"), float) for item in listed]
    if len(places) != count or any(place.shape != (3,) for place in places):
        raise _refusal(image, "does not state the positions of its slices")
    return places


def _siemens_count(header: Dataset) -> int | None:
    count = _number(header, _SIEMENS_COUNT)
    stated = _csa(header, "NumberOfImagesInMosaic")
    return int(stated[0]) if count is None and stated else count


def _csa(header: Dataset, name: str) -> list[Any]:
    """Values in the block of Siemens' own elements; none if it is not there or cannot be read."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # nibabel calls its own reader experimental
        from nibabel.nicom import csareader
    try:
        block: Any = csareader.get_csa_header(header)  # type: ignore[no-untyped-call]
        return list(block["tags"][name]["items"]) if block else []
    except Exception:  # of a foreign parser on foreign bytes: what it cannot read is not stated
        return []


def _number(header: Dataset, tag: int) -> int | None:
    """A private number, None where it is absent or of an unknown type."""
    element = header.get(tag)
    try:
        return None if element is None else int(float(element.value))
    except (TypeError, ValueError):
        return None


def _number_of(header: Dataset, word: str) -> float | None:
    value = header.get(word)
    return float(value) if value and float(value) > 0 else None


def _refusal(image: Image, cause: str) -> InputError:
    return InputError(
        f"{image.path} is a mosaic, a volume with its slices side by side, and {cause}: convert the original "
        "series to NIfTI (dcm2niix), or export it as single slices or enhanced images",
        value=str(image.path),
    )
