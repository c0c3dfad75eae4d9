"""What a PET image says beside its pixels: read into a volume's description, and written again.

In: the headers of a series in the order of its slices; a volume.  Out: facts of a description; attributes of
the PET modules (PS3.3, C.8.9).
Invariant: technical facts only, none of which identifies a person; dates come from a template or are today's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydicom import Dataset
from pydicom.valuerep import DSfloat

from inrcodec.format.fields import LONGEST_TEXT
from inrcodec.io.dicom.terms import term, values_of
from inrcodec.volume.description import Fact
from inrcodec.volume.volume import Volume

PET = "PT"
# What a header has to be searched for; the first row stays with the series, the second differs by slice.
_OF_SERIES = {
    "series_type": "SeriesType",
    "counts": "CountsSource",
    "corrected": "CorrectedImage",
    "decay_correction": "DecayCorrection",
    "collimator": "CollimatorType",
    "suv": "SUVType",
}
# Defined terms, PS3.3 C.8.9.1 and C.8.9.4: free text might name the patient.
_TERMS = {
    "SeriesType": frozenset({"STATIC", "DYNAMIC", "GATED", "WHOLE BODY", "IMAGE", "REPROJECTION"}),
    "CountsSource": frozenset({"EMISSION", "TRANSMISSION"}),
    "CorrectedImage": frozenset("DECY ATTN SCAT DTIM MOTN PMOT CLN RAN RADL DCAL NORM".split()),
    "DecayCorrection": frozenset({"NONE", "START", "ADMIN"}),
    "CollimatorType": frozenset({"NONE", "RING"}),
    "SUVType": frozenset({"BSA", "BW", "LBM", "LBMJAMES128", "LBMJANMA", "IBW"}),
}
UNITS = frozenset(
    """CNTS NONE CM2 CM2ML PCNT CPS BQML MGMINML UMOLMINML MLMING MLG 1CM UMOLML PROPCNTS PROPCPS MLMINML MLML
    GML STDDEV""".split()
)
_OF_SLICES = {
    "frame_ms": "ActualFrameDuration",
    "frame_reference_ms": "FrameReferenceTime",
    "decay_factor": "DecayFactor",
}
_ORIENTATION, _ENTRY = "PatientOrientationCodeSequence", "PatientGantryRelationshipCodeSequence"
TAGS = ("Units", *_OF_SERIES.values(), *_OF_SLICES.values(), _ORIENTATION, _ENTRY)
# Of the template: what decay and uptake are computed from.
IDENTITY = (
    *("SeriesDate", "SeriesTime", "RadiopharmaceuticalInformationSequence"),
    *(_ORIENTATION, _ENTRY),
)
# The two parts of a patient position such as HFS, which PET has as codes of SNOMED instead (CID 19 to 21).
_ENTRIES = {"HF": ("102540008", "headfirst"), "FF": ("102541007", "feet-first")}
_RECUMBENT = ("102538003", "recumbent")
_SIDES = {
    "S": ("40199007", "supine"),
    "P": ("1240000", "prone"),
    "DR": ("102535000", "right lateral decubitus"),
    "DL": ("102536004", "left lateral decubitus"),
}
_LARGEST = 2**31  # ms or factor: what DICOM's integers hold
_MOST_RUNS = 12  # of slices with one value of a fact: bed positions
_SEPARATOR = "\\"


def pet_facts(headers: Sequence[Dataset]) -> dict[str, Fact]:
    """Facts of a PET series; of those that differ from slice to slice, where each value begins."""
    facts: dict[str, Fact] = {}
    for name, word in _OF_SERIES.items():
        found = (term(value, _TERMS[word]) for value in values_of(headers[0], word))
        text = _SEPARATOR.join(filter(None, found))
        if text and len(text) <= LONGEST_TEXT:
            facts[name] = text
    for name, word in _OF_SLICES.items():
        facts |= _runs(name, [_number(header.get(word)) for header in headers])
    position = _position(headers[0])
    return facts | ({"position": position} if position else {})


def declare_pet(header: Dataset, volume: Volume) -> None:
    """The modules of a PET series: attributes of type 1, and of type 2 where they may be empty."""
    known = volume.description
    # One volume is static, or a scan of the body in parts: dynamic and gated series are several volumes.
    whole_body = str(known.get("series_type", "")).startswith("WHOLE BODY")
    header.SeriesType = ["WHOLE BODY" if whole_body else "STATIC", "IMAGE"]
    header.Units = volume.unit or "NONE"
    header.CountsSource = str(known.get("counts") or "EMISSION")
    header.DecayCorrection = str(known.get("decay_correction") or "NONE")
    header.CorrectedImage = str(known.get("corrected") or "").split(_SEPARATOR)
    header.CollimatorType = str(known.get("collimator") or "")
    if known.get("suv"):
        header.SUVType = str(known["suv"])
    header.NumberOfSlices = volume.shape[0]
    for word in IDENTITY[:2]:  # type 1: of the template, or of this series
        setattr(header, word, header.get(word) or header[f"Content{word[6:]}"].value)
    entry, side = _ENTRIES.get(header.PatientPosition[:2]), _SIDES.get(header.PatientPosition[2:])
    del header.PatientPosition  # the two sequences are in its place
    if entry and side and not header.get(_ORIENTATION):
        header.PatientOrientationCodeSequence = [_code(*_RECUMBENT)]
        header.PatientOrientationCodeSequence[0].PatientOrientationModifierCodeSequence = [_code(*side)]
        header.PatientGantryRelationshipCodeSequence = [_code(*entry)]
    for word in IDENTITY[2:]:
        if word not in header:
            setattr(header, word, [])
    for word in ("AcquisitionDate", "AcquisitionTime"):
        setattr(header, word, header.get(word) or "")
    header.FrameReferenceTime, header.ActualFrameDuration = DSfloat(0.0), None


def declare_slice(header: Dataset, volume: Volume, z: int) -> None:
    """What differs from slice to slice; called for each in turn, from the first on."""
    header.ImageIndex = z + 1
    for name, word in _OF_SLICES.items():
        value = volume.description.get(f"{name}@{z}", volume.description.get(name) if z == 0 else None)
        if isinstance(value, int | float) and abs(value) < _LARGEST:
            whole = word == "ActualFrameDuration"
            setattr(header, word, round(value) if whole else DSfloat(float(value), auto_format=True))


def _runs(name: str, values: list[float | None]) -> dict[str, Fact]:
    """A fact and, as "name@z", what it changes to; nothing where a slice lacks it or it changes too often."""
    starts = [z for z, value in enumerate(values) if z == 0 or value != values[z - 1]]
    runs = {f"{name}@{z}" if z else name: value for z in starts if (value := values[z]) is not None}
    return dict(runs) if len(runs) == len(starts) <= _MOST_RUNS else {}


def _position(header: Dataset) -> str:
    """The patient position that the codes of a PET stand for, "" if it is another one."""
    sides = [item.get("PatientOrientationModifierCodeSequence") for item in header.get(_ORIENTATION) or []]
    values = [
        str(sequence[0].get("CodeValue")) if sequence else ""
        for sequence in (header.get(_ENTRY), sides[0] if sides else None)
    ]
    words = [
        next((word for word, (code, _) in table.items() if code == value), "")
        for table, value in zip((_ENTRIES, _SIDES), values, strict=True)
    ]
    return "".join(words) if all(words) else ""


def _code(value: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "SCT", meaning
    return item


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None
