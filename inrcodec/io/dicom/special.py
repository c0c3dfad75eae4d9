"""Images whose place or meaning is said in words of their own: radiotherapy doses and parametric maps.

In: a header.  Out: positions of its planes; slope, intercept and unit of its values.
Invariant: a scale is linear and stated, or the image is refused with the reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.uid import ParametricMapStorage

from inrcodec.errors import IncompleteSeries, InputError
from inrcodec.io.dicom.terms import code, values_of

DOSE, SEGMENTATION = "RTDOSE", "SEG"  # modalities
INVERTED = "MONOCHROME1"  # small values are shown bright
_MAPPING = "RealWorldValueMappingSequence"


def is_dose(header: Dataset) -> bool:
    """Whether this is a dose of radiotherapy, whose planes share one position."""
    return bool(header.get("Modality") == DOSE)


def is_map(header: Dataset) -> bool:
    """Whether this is a parametric map; other images have their scale elsewhere."""
    return bool(header.get("SOPClassUID") == ParametricMapStorage)


def dose_positions(
    header: Dataset, first: NDArray[np.float64], orientation: NDArray[np.float64]
) -> list[NDArray[np.float64]]:
    """Positions of the planes of a dose in LPS mm (PS3.3 C.8.8.3.2): by distance, or by height z.

    Raises
    ------
    IncompleteSeries
        Not as many offsets as planes.
    InputError
        Offsets that are neither distances from the first plane nor its height.
    """
    offsets = np.array([float(value) for value in values_of(header, "GridFrameOffsetVector")])
    count = int(header.get("NumberOfFrames") or 1)
    if len(offsets) != count or not np.isfinite(offsets).all():
        cause = f"a dose of {count} planes has {len(offsets)} offsets, export it again"
        raise IncompleteSeries(cause, value=len(offsets))
    normal = np.cross(*orientation)
    if offsets[0] == 0:
        along = normal
    elif abs(offsets[0] - first[2]) < 1e-3 and abs(normal[2]) > 1 - 1e-6:
        along, offsets = np.array([0.0, 0.0, 1.0]), offsets - offsets[0]
    else:
        cause = f"a dose's planes begin at {offsets[0]:g} mm, which is neither 0 nor its height {first[2]:g}"
        raise InputError(f"{cause}: export it again", value=float(offsets[0]))
    return [first + offset * along for offset in offsets]


def dose_rescale(header: Dataset) -> tuple[float, float]:
    """Slope and intercept of a dose; raises `InputError` where it does not say its scale."""
    scaling = header.get("DoseGridScaling")
    if not scaling:
        raise InputError("a dose does not say its scale (3004,000E), export it again", value=scaling)
    return float(scaling), 0.0


def mapped_rescale(holders: Sequence[Dataset | None]) -> tuple[float, float]:
    """Slope and intercept of a plane of a parametric map, by the first of its groups that has a mapping.

    Raises
    ------
    InputError
        A table, or several mappings that differ.
    """
    items: Sequence[Dataset] = next(
        (group.get(_MAPPING) for group in holders if group and group.get(_MAPPING)), []
    )
    pairs = {_linear(item) for item in items} or {(1.0, 0.0)}
    if len(pairs) > 1:
        listed = ", ".join(f"{slope:g} x + {intercept:g}" for slope, intercept in sorted(pairs))
        raise InputError(f"a parametric map has several mappings of its values: {listed}", value=len(pairs))
    return pairs.pop()


def mapped_unit(header: Dataset) -> str:
    """Unit of a parametric map, as a code of UCUM; raises `InputError` where planes differ in it."""
    words = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
    groups = chain(*(header.get(word) or [] for word in words))
    items = chain(*(group.get(_MAPPING) or [] for group in groups))
    codes = chain(*(item.get("MeasurementUnitsCodeSequence") or [] for item in items))
    units = {
        code(unit.get("CodeValue") or "") for unit in codes if unit.get("CodingSchemeDesignator") == "UCUM"
    }
    if len(units) > 1:
        raise InputError(f"a parametric map has several units: {', '.join(sorted(units))}", value=len(units))
    return units.pop() if units else ""


def _linear(item: Dataset) -> tuple[float, float]:
    slope = item.get("RealWorldValueSlope")
    if slope is None:
        cause = "a parametric map scales values by a table (Real World Value LUT)"
        raise InputError(f"{cause}, only slope and intercept are supported", value=slope)
    return float(slope), float(item.get("RealWorldValueIntercept") or 0.0)
