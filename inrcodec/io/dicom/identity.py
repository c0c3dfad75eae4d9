"""Whose image it is: taken from a template, or nobody's.

In: a folder of the source series, or nothing.  Out: the attributes of patient, study and equipment.
Invariant: no identity comes from anywhere but the template.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from inrcodec.errors import InputError, UsageError
from inrcodec.io.dicom.series import Image, find_images

if TYPE_CHECKING:
    from pydicom.dataelem import DataElement

_STUDY = [
    *("SpecificCharacterSet", "StudyInstanceUID", "StudyDate", "StudyTime", "StudyID"),
    *("StudyDescription", "AccessionNumber", "IssuerOfAccessionNumberSequence"),
    *("ReferringPhysicianName", "TimezoneOffsetFromUTC", "AdmissionID", "FrameOfReferenceUID"),
    *("PositionReferenceIndicator", "Modality", "SeriesDescription", "BodyPartExamined", "Laterality"),
    *("PatientPosition", "ProtocolName", "Manufacturer", "ManufacturerModelName", "InstitutionName"),
    *("AcquisitionDate", "AcquisitionTime", "ContrastBolusAgent", "KVP", "ConvolutionKernel"),
    *("ScanningSequence", "SequenceVariant", "MRAcquisitionType", "EchoTime", "EchoTrainLength"),
    *("RepetitionTime", "WindowCenter", "WindowWidth"),
]
_PATIENT_GROUP = 0x0010


def anonymous() -> Dataset:
    """Identity of nobody: new UIDs, the empty values that the standard allows."""
    identity = Dataset()
    identity.PatientName = "ANONYMOUS"
    identity.PatientID = "ANONYMOUS"
    identity.PatientBirthDate = identity.PatientSex = ""
    identity.PatientIdentityRemoved = "YES"
    identity.DeidentificationMethod = "No identity in the INRV file"
    identity.StudyInstanceUID = generate_uid()
    identity.StudyDate = identity.StudyTime = identity.StudyID = ""
    identity.AccessionNumber = identity.ReferringPhysicianName = ""
    identity.FrameOfReferenceUID = generate_uid()
    identity.PositionReferenceIndicator = ""
    identity.Manufacturer = ""
    return identity


def from_template(template: str | os.PathLike[str], modality: str) -> Dataset:
    """Identity of the patient and study in a folder (or file) of DICOM images.

    Parameters
    ----------
    template : path
        Usually the source series. Its pixels and geometry are not used.
    modality : str
        Modality of the volume.

    Raises
    ------
    InputError
        No image, or more than one patient or study.
    UsageError
        Images of another modality, or a volume of an unknown one: an MR would become a CT of the patient.
    """
    series: dict[str, Image] = {}
    for image in find_images(Path(template)):
        series.setdefault(image.series, image)
    # All series of a study have one identity; technical attributes are taken from one of this modality.
    ordered = sorted(
        series.values(), key=lambda image: (image.is_localizer, image.header.get("Modality") != modality)
    )
    headers = [pydicom.dcmread(image.path, stop_before_pixels=True, force=True) for image in ordered]
    for word in ("PatientID", "PatientName", "StudyInstanceUID"):
        if len({str(header.get(word) or "") for header in headers}) > 1:
            raise InputError(
                f"the template {template} holds several values of {word}, pass one study", value=word
            )
    header = headers[0]
    if not modality:
        raise UsageError(
            f"the volume does not say its modality and the template is {header.get('Modality') or 'silent'}: "
            "give it if you know that they are the same",
            value=str(header.get("Modality") or ""),
            option="modality",
        )
    if header.get("Modality", modality) != modality:
        raise UsageError(
            f"the template is {header.Modality} and the volume is {modality}, pass its source series",
            value=str(header.Modality),
        )
    return _identity_of(header)


def _identity_of(header: Dataset) -> Dataset:
    identity = anonymous()
    for word in ("PatientIdentityRemoved", "DeidentificationMethod"):
        delattr(identity, word)
    for element in header:
        if _belongs(element):
            identity[element.tag] = element
    return identity


def _belongs(element: DataElement) -> bool:
    return element.tag.group == _PATIENT_GROUP or element.keyword in _STUDY
