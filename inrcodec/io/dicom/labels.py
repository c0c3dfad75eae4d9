"""Attributes by which images at one position differ, wherever a header has them.

In: a plane.  Out: values that can be compared and shown.
Invariant: equal values mean the same acquisition, whatever the maker and the digits that a file rounds to.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydicom import Dataset

from inrcodec.io.dicom.frames import Frame


@dataclass(frozen=True)
class Label:
    """An attribute by which volumes differ."""

    name: str
    places: tuple[Any, ...]  # each a keyword or tag, or (sequence, ..., keyword) of a frame's groups
    unit: str = ""
    physical: bool = True  # one volume has one value of it

    def of(self, frame: Frame) -> Hashable:
        """Value in a frame, None without one."""
        for place in self.places:
            value = _look_up(frame, place if isinstance(place, tuple) else (place,))
            if value is not None:
                return value
        return None

    def text(self, value: Hashable) -> str:
        """As the list of volumes has it."""
        if value is None:
            return f"no {self.name}"
        if isinstance(value, tuple):
            shown = ", ".join(f"{v:.4g}" if isinstance(v, float) else str(v) for v in value)
            return f"{self.name} ({shown})"
        shown = f"{value:g}" if isinstance(value, float) else str(value)
        return f"{self.name} {shown}{self.unit and ' ' + self.unit}"


_DIFFUSION = "MRDiffusionSequence"
LABELS = (
    Label("stack", (("FrameContentSequence", "StackID"),)),
    Label("echo", ("EchoNumbers",)),
    Label("echo time", ("EchoTime", ("MREchoSequence", "EffectiveEchoTime")), "ms"),
    Label("type", (("MRImageFrameTypeSequence", "FrameType"), ("CTImageFrameTypeSequence", "FrameType"))),
    Label("type", ("ImageType",)),
    Label("part", (("MRImageFrameTypeSequence", "ComplexImageComponent"), 0x0043102F)),
    Label(
        "b", ((_DIFFUSION, "DiffusionBValue"), "DiffusionBValue", 0x0019100C, 0x20011003, 0x00651009), "s/mm2"
    ),
    Label("b", (0x00431039,)),
    Label(
        "direction",
        (
            (_DIFFUSION, "DiffusionGradientDirectionSequence", "DiffusionGradientOrientation"),
            *("DiffusionGradientOrientation", 0x0019100E, 0x00651037),
        ),
    ),
    *(Label("direction", (tag,)) for tag in (0x001910BB, 0x001910BC, 0x001910BD)),
    *(Label("direction", (tag,)) for tag in (0x200510B0, 0x200510B1, 0x200510B2)),
    Label("flip angle", ("FlipAngle", ("MRTimingAndRelatedParametersSequence", "FlipAngle")), "degrees"),
    Label("inversion time", ("InversionTime", ("MRModifierSequence", "InversionTimes")), "ms"),
    Label("tube voltage", ("KVP", ("CTXRayDetailsSequence", "KVP")), "kV"),
    Label(
        "time",
        ("TemporalPositionIdentifier", ("FrameContentSequence", "TemporalPositionIndex")),
        physical=False,
    ),
    Label(
        "acquisition",
        ("AcquisitionNumber", ("FrameContentSequence", "FrameAcquisitionNumber")),
        physical=False,
    ),
)
# Times that differ from slice to slice too: the volumes are the first, second ... image at each position.
TIMES = (
    Label(
        "trigger time",
        ("TriggerTime", ("CardiacSynchronizationSequence", "NominalCardiacTriggerDelayTime")),
        "ms",
    ),
    Label("time offset", (("TemporalPositionSequence", "TemporalPositionTimeOffset"),), "s"),
    Label("acquisition time", (("FrameContentSequence", "FrameAcquisitionDateTime"), "AcquisitionDateTime")),
    Label("acquisition time", ("AcquisitionTime",)),
)
NUMBER = Label("instance number", ("InstanceNumber",), physical=False)


def dimensions_of(frame: Frame) -> list[Label]:
    """Dimensions that an enhanced image says it is indexed by."""
    listed = frame.header.get("DimensionIndexSequence") or []
    return [
        _Dimension(str(item.get("DimensionDescriptionLabel") or f"dimension {k}"), (k,), physical=False)
        for k, item in enumerate(listed)
    ]


class _Dimension(Label):
    """A place in the dimension index values of a frame."""

    def of(self, frame: Frame) -> Hashable:
        values = _look_up(frame, ("FrameContentSequence", "DimensionIndexValues"))
        place = self.places[0]
        return values[place] if isinstance(values, tuple) and place < len(values) else None


def _look_up(frame: Frame, path: tuple[Any, ...]) -> Hashable:
    """Value of an element in a frame's own group, the shared one, or the header."""
    header = frame.header
    own: Sequence[Dataset] = header.get("PerFrameFunctionalGroupsSequence") or []
    shared: Sequence[Dataset] = header.get("SharedFunctionalGroupsSequence") or []
    holders = [*own[frame.index : frame.index + 1], *shared[:1]] if len(path) > 1 else [header]
    for holder in holders:
        item: Any = holder
        for word in path[:-1]:
            items = item.get(word) if item is not None else None
            item = items[0] if items else None
        value = item.get(path[-1]) if item is not None else None
        value = getattr(value, "value", value)  # a private element, by its tag
        if value not in (None, "", b""):
            return _plain(value)
    return None


def _plain(value: Any) -> Hashable:
    """A value that can be compared: numbers rounded, as files differ in their last digit."""
    if isinstance(value, (list, tuple)) or type(value).__name__ == "MultiValue":
        return tuple(_plain(part) for part in value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(np.round(float(value), 4))
    return value.hex() if isinstance(value, bytes) else str(value)
