"""What the headers of a series say of its volume, beside voxels and place.

In: headers, in the order of the slices.  Out: the unit of the values, and a description.
Invariant: technical facts only; none of them identifies a person.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from inrcodec.io.dicom.frames import Frame
from inrcodec.io.dicom.lossy import lossy_facts
from inrcodec.io.dicom.pet import PET, UNITS, pet_facts
from inrcodec.io.dicom.special import INVERTED, SEGMENTATION, is_dose, is_map, mapped_unit
from inrcodec.io.dicom.terms import term
from inrcodec.volume.description import ALLOCATED, LABELS, STORED, THICKNESS, Fact

# Defined terms of Patient Position: PS3.3, C.7.3.1.1.2.
POSITIONS = frozenset("HFP HFS HFDR HFDL FFP FFS FFDR FFDL LFP LFS RFP RFS AFDR AFDL PFDR PFDL".split())


DOSE_UNITS = frozenset({"GY", "RELATIVE"})  # C.8.8.3


def unit_of(header: Dataset) -> str:
    """Unit of the physical values, "" if unknown."""
    if header.get("Modality") == PET:
        return term(header.get("Units") or "", UNITS)
    if is_dose(header):
        return term(header.get("DoseUnits") or "", DOSE_UNITS)
    if is_map(header):
        return mapped_unit(header)
    kind = str(header.get("RescaleType") or "HU")
    # Enhanced images have slope and type in the frames' groups; a CT without any slope is not in HU.
    scaled = "RescaleSlope" in header or "PerFrameFunctionalGroupsSequence" in header
    return "HU" if header.get("Modality") == "CT" and kind == "HU" and scaled else ""


def description_of(frames: list[Frame], affine: NDArray[np.float64]) -> dict[str, Fact]:
    """Facts that a DICOM sink needs beyond the volume, where they are not the default."""
    header, thickness = frames[0].header, frames[0].thickness
    facts: dict[str, Fact] = {}
    if header.get("PhotometricInterpretation") == INVERTED:
        facts["photometric"] = INVERTED
    bits = (header.get("BitsAllocated"), header.get("BitsStored"))
    if all(bits) and bits[1] != bits[0]:
        facts |= {ALLOCATED: int(bits[0]), STORED: int(bits[1])}
    if thickness is not None and thickness != round(float(np.linalg.norm(affine[:3, 2])), 6):
        facts[THICKNESS] = thickness
    if position := term(header.get("PatientPosition"), POSITIONS):
        facts["position"] = position
    if header.get("Modality") == SEGMENTATION:
        facts[LABELS] = 1
    if header.get("Modality") == PET:
        facts |= pet_facts([frame.header for frame in frames])
    return facts | lossy_facts(header)
