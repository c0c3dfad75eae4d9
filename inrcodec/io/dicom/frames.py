"""Where each plane of a series lies and what its numbers mean.

Headers are classic (a file a slice) or enhanced (many frames a file).
Invariant: a plane is what its own header says, and a series whose planes disagree is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from pydicom.datadict import keyword_for_tag

from inrcodec.errors import IncompleteSeries, InputError, InrvError, UsageError, reason
from inrcodec.io.dicom import special
from inrcodec.io.dicom.files import Image, Pixels
from inrcodec.io.dicom.grids import is_grid, tiles_of
from inrcodec.io.dicom.terms import values_of

if TYPE_CHECKING:
    from pydicom import Dataset

# Direction cosines and spacings are often rounded to a few digits, differently in each file.
COSINE_TOLERANCE = 1e-3
SPACING_TOLERANCE = 1e-3  # relative
_NO_SPACING = "the pixel spacing is not in the header, 1 mm is assumed: give it as the spacing"
_AT_DETECTOR = "the pixel spacing is that at the detector (Imager Pixel Spacing), not in the patient"
_TILE_DISTANCE = "the distance of slices is not in the header, their thickness is taken"
# What reading pixels needs: anything else than a number is a malformed header.
_NUMBERS = (
    *("Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"),
    *("PixelPaddingValue", "PixelPaddingRangeLimit"),
)
_REQUIRED = {
    "Rows": "Rows (0028,0010)",
    "Columns": "Columns (0028,0011)",
    "BitsAllocated": "Bits Allocated (0028,0100)",
}
_GROUPS = ("PlanePosition", "PlaneOrientation", "PixelMeasures", "PixelValueTransformation")


@dataclass(frozen=True, eq=False)
class Frame:
    """One plane of pixels."""

    path: Path
    index: int  # number of the frame in its file, from 0
    header: Dataset
    pixels: Pixels
    position: NDArray[np.float64] | None  # centre of the first pixel, LPS mm
    orientation: NDArray[np.float64] | None  # (2, 3): directions along a row and along a column
    spacing: tuple[float, float] | None  # mm between rows, between columns
    thickness: float | None  # mm, if the header has one
    rescale: tuple[float, float]  # slope, intercept
    assumed: str = ""  # what stands in for a spacing that the header lacks, for the user
    window: tuple[slice, slice] | None = None  # the part of a stored plane that this is, (rows, columns)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        if self.window is None:
            return int(self.header.Rows), int(self.header.Columns)
        rows, columns = self.window
        return rows.stop - rows.start, columns.stop - columns.start


def frames_of(images: list[Image], given: Sequence[float] | None = None) -> list[Frame]:
    """All planes of a series, in no order.

    Parameters
    ----------
    given : sequence of float, (z, y, x) or (y, x), mm, optional
        Spacing of images that state none.

    Raises
    ------
    InputError
        Colour, or a multi-frame image whose frames have no place; as `IncompleteSeries` planes of different
        sizes, spacings or orientations.
    UsageError
        `given`, and the headers have their own.
    """
    frames: list[Frame] = []
    for image in images:
        with understood(image.path):
            frames += _frames_of_file(image)
    if given is not None:
        frames = [_scaled(frame, given) for frame in frames]
    with understood(images[0].path):
        _check_alike(frames)
    return frames


def _scaled(frame: Frame, given: Sequence[float]) -> Frame:
    """A plane with the spacing that was given; its thickness too, where it has none."""
    if frame.spacing is not None and frame.assumed != _AT_DETECTOR:
        own = " x ".join(f"{edge:g}" for edge in frame.spacing)
        cause = f"the header of {frame.path} has its own, {own} mm: leave it out"
        raise UsageError(cause, value=given, option="spacing")
    edges = [float(edge) for edge in given]
    if len(edges) not in (2, 3) or not all(np.isfinite(edge) and edge > 0 for edge in edges):
        cause = f"{tuple(given)} is not possible, pass (z, y, x) or (y, x) in mm"
        raise UsageError(cause, value=given, option="spacing")
    thickness = frame.thickness or (edges[0] if len(edges) == 3 else None)
    return replace(frame, spacing=(edges[-2], edges[-1]), thickness=thickness, assumed="")


@contextmanager
def understood(path: Path) -> Iterator[None]:
    """Refuse a header that has something else where a number or a sequence belongs, as an `InputError`."""
    try:
        yield
    except InrvError:
        raise
    except (ValueError, TypeError, AttributeError, KeyError, OverflowError) as error:
        raise InputError(f"{path} has a malformed header: {reason(error)}", value=str(path)) from error


def _frames_of_file(image: Image) -> list[Frame]:
    _check_kind(image)
    count = int(image.header.get("NumberOfFrames") or 1)
    if "PerFrameFunctionalGroupsSequence" in image.header:
        return _enhanced(image, count)
    if count > 1 and special.is_dose(image.header):
        return _dose(image)
    if count == 1:
        plane = _frame(image, 0, [image.header] * len(_GROUPS))
        return _tiles(image, plane) if is_grid(image.header) else [plane]
    steps = [keyword_for_tag(tag) or str(tag) for tag in values_of(image.header, "FrameIncrementPointer")]
    by = f", they follow each other by {', '.join(steps)}" if steps else ""
    raise InputError(
        f"{image.path} has {count} frames without a place in space for each{by}: only enhanced multi-frame "
        "images, whose frames have positions, are volumes",
        value=count,
    )


def _dose(image: Image) -> list[Frame]:
    """The planes of a dose, which has one position and their offsets."""
    plane = _frame(image, 0, [image.header] * len(_GROUPS))
    if plane.position is None or plane.orientation is None:
        cause = f"{image.path} is a dose without position or orientation, export it again"
        raise InputError(cause, value=str(image.path))
    positions = special.dose_positions(image.header, plane.position, plane.orientation)
    return [replace(plane, index=i, position=position) for i, position in enumerate(positions)]


def _tiles(image: Image, plane: Frame) -> list[Frame]:
    """The slices of a mosaic."""
    if plane.orientation is None or plane.spacing is None:
        cause = f"{image.path} is a mosaic without orientation or pixel spacing"
        raise InputError(f"{cause}, export the series again", value=str(image.path))
    assumed = "" if image.header.get("SpacingBetweenSlices") else _TILE_DISTANCE
    return [
        replace(plane, position=tile.position, window=(tile.rows, tile.columns), assumed=assumed)
        for tile in tiles_of(image, plane.orientation, plane.spacing)
    ]


def _check_kind(image: Image) -> None:
    header = image.header
    for word in _NUMBERS:
        value = header.get(word)
        if not isinstance(value, bytes) and value not in (None, ""):
            int(value)
    for word, said in _REQUIRED.items():
        if header.get(word) in (None, ""):
            raise ValueError(f"it does not say the {said}")
    kind = str(header.get("PhotometricInterpretation") or "MONOCHROME2")
    grey = ("MONOCHROME", "PALETTE") if header.get("SegmentationType") == "LABELMAP" else "MONOCHROME"
    if int(header.get("SamplesPerPixel") or 1) != 1 or not kind.startswith(grey):
        raise InputError(f"{image.path} is a colour image ({kind}), pass a monochrome series", value=kind)
    if header.get("ModalityLUTSequence"):
        cause = f"{image.path} scales values by a table (Modality LUT)"
        raise InputError(f"{cause}, only slope and intercept are supported", value=str(image.path))


def _enhanced(image: Image, count: int) -> list[Frame]:
    own = list(image.header.PerFrameFunctionalGroupsSequence)
    if len(own) != count:
        cause = f"{image.path} announces {count} frames and describes {len(own)}, export the series again"
        raise IncompleteSeries(cause, value=count)
    shared = (image.header.get("SharedFunctionalGroupsSequence") or [None])[0]
    frames = [
        _frame(image, index, [_group(item, shared, f"{word}Sequence") for word in _GROUPS])
        for index, item in enumerate(own)
    ]
    if special.is_map(image.header):
        pairs = [special.mapped_rescale((item, shared)) for item in own]
        frames = [replace(frame, rescale=pair) for frame, pair in zip(frames, pairs, strict=True)]
    return frames


def _frame(image: Image, index: int, holders: Sequence[Dataset | None]) -> Frame:
    """A frame, from what holds the attributes of each of `_GROUPS`: a group, or the whole header."""
    place, orientation, measures, transform = holders
    spacing, assumed = _spacing(measures, "PixelSpacing"), ""
    if spacing is None:
        spacing = _spacing(measures, "ImagerPixelSpacing")
        assumed = _NO_SPACING if spacing is None else _AT_DETECTOR
    return Frame(
        path=image.path,
        index=index,
        header=image.header,
        pixels=image.pixels,
        position=_numbers(place, "ImagePositionPatient", 3),
        orientation=_orientation(orientation),
        spacing=spacing,
        thickness=_thickness(measures),
        rescale=_rescale(transform, image.header, image.path),
        assumed=assumed,
    )


def _check_alike(frames: list[Frame]) -> None:
    first = frames[0]
    for frame in frames[1:]:
        for words in (("Rows", "Columns"), ("PhotometricInterpretation",), ("Modality",)):
            here, there = ([f.header.get(word) for word in words] for f in (frame, first))
            if here != there:
                _refuse("/".join(words), frame, first, f"{here} and {there}")
        if frame.shape != first.shape:
            _refuse("sizes of slices", frame, first, f"{frame.shape} and {first.shape}")
        spaces = [f.header.get("FrameOfReferenceUID") for f in (frame, first)]
        if all(spaces) and spaces[0] != spaces[1]:
            _refuse("FrameOfReferenceUID", frame, first, "positions are not of one space")
        if not _close(frame.orientation, first.orientation, COSINE_TOLERANCE):
            directions = f"{_text(frame.orientation)} and {_text(first.orientation)}"
            _refuse("orientations", frame, first, directions)
        limit = SPACING_TOLERANCE * max(first.spacing or (0.0,))
        if not _close(frame.spacing, first.spacing, limit):
            _refuse("pixel spacings", frame, first, f"{frame.spacing} and {first.spacing}")


def _refuse(what: str, frame: Frame, first: Frame, values: str) -> None:
    raise IncompleteSeries(
        f"mixed {what} in one series: {values} in {frame.path} and {first.path}, "
        "move images of another kind out of the folder",
        value=(str(frame.path), str(first.path)),
    )


def _close(a: object, b: object, tolerance: float) -> bool:
    if a is None or b is None:
        return a is b
    return bool(np.allclose(np.asarray(a, float), np.asarray(b, float), rtol=0, atol=tolerance))


def _text(values: NDArray[np.float64] | None) -> str:
    return "none" if values is None else str([round(v, 4) for v in values.ravel().tolist()])


def _group(own: Dataset, shared: Dataset | None, word: str) -> Dataset | None:
    """Functional group of a frame: its own, or else the shared one."""
    for holder in (own, shared):
        if holder is not None and holder.get(word):
            item: Dataset = holder.get(word)[0]
            return item
    return None


def _numbers(header: Dataset | None, word: str, count: int) -> NDArray[np.float64] | None:
    value = header.get(word) if header is not None else None
    if value is None or value == "":
        return None
    numbers = np.atleast_1d(np.asarray(value, dtype=np.float64))
    return numbers if numbers.shape == (count,) and np.isfinite(numbers).all() else None


def _orientation(header: Dataset | None) -> NDArray[np.float64] | None:
    """Directions along a row and along a column, made exactly orthonormal (cosines are rounded in the file).

    The same three products as ITK takes, so that both give the same geometry.
    """
    numbers = _numbers(header, "ImageOrientationPatient", 6)
    if numbers is None:
        return None
    row, column = numbers[:3], numbers[3:]
    normal = np.cross(row, column)
    if abs(np.linalg.norm(normal) - 1) > 0.05:  # far beyond rounding: not two directions at right angles
        cause = f"orientation {numbers.tolist()} is not two perpendicular unit vectors"
        raise InputError(cause, value=numbers)
    normal /= np.linalg.norm(normal)
    row = np.cross(column, normal)
    row /= np.linalg.norm(row)
    return np.stack([row, np.cross(normal, row)])


def _spacing(header: Dataset | None, word: str) -> tuple[float, float] | None:
    numbers = _numbers(header, word, 2)
    return None if numbers is None or (numbers <= 0).any() else (float(numbers[0]), float(numbers[1]))


def _thickness(header: Dataset | None) -> float | None:
    value = header.get("SliceThickness") if header is not None else None
    return float(value) if value and 0 < float(value) < inf else None


def _rescale(header: Dataset | None, fallback: Dataset, path: Path) -> tuple[float, float]:
    if special.is_dose(fallback):
        return special.dose_rescale(fallback)
    source = header if header is not None and header.get("RescaleSlope") is not None else fallback
    # Absent or empty elements mean that the stored values are the values.
    given = source.get("RescaleSlope"), source.get("RescaleIntercept")
    slope = 1.0 if given[0] in (None, "") else float(given[0])
    intercept = 0.0 if given[1] in (None, "") else float(given[1])
    if slope == 0 or not np.isfinite([slope, intercept]).all():
        cause = f"{path} has rescale slope {slope} and intercept {intercept}, which do not scale"
        raise InputError(cause, value=(slope, intercept))
    return slope, intercept
