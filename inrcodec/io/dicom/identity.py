"""Whose image it is: patient, study and equipment of a template, or nobody's.

Invariant: no identity comes from anywhere but the template.
"""

from __future__ import annotations

from pathlib import Path

import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from inrcodec.errors import InputError, UsageError
from inrcodec.io.atomic import Location
from inrcodec.io.dicom import pet
from inrcodec.io.dicom.files import Image, find_images

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
    identity.PatientName = identity.PatientID = "ANONYMOUS"
    identity.PatientBirthDate = identity.PatientSex = ""
    identity.PatientIdentityRemoved = "YES"
    identity.DeidentificationMethod = "No identity in the INRV file"
    identity.StudyInstanceUID, identity.FrameOfReferenceUID = generate_uid(), generate_uid()
    identity.StudyDate = identity.StudyTime = identity.StudyID = ""
    identity.AccessionNumber = identity.ReferringPhysicianName = ""
    identity.PositionReferenceIndicator = identity.Manufacturer = ""
    return identity


def from_template(template: Location, modality: str) -> Dataset:
    """Identity of the patient and study in a folder (or file) of DICOM images, usually the source series.

    Its pixels and geometry are not used. Raises `InputError` without an image, or with more than one patient
    or study; `UsageError` for images of another modality than the volume's, or a volume of an unknown one: an
    MR would become a CT of the patient.
    """
    series: dict[str, Image] = {}
    for image in find_images(Path(template)).images:
        series.setdefault(image.series, image)
    # All series of a study have one identity; technical attributes are taken from one of this modality.
    ordered = sorted(
        series.values(), key=lambda image: (image.is_localizer, image.header.get("Modality") != modality)
    )
    headers = [pydicom.dcmread(image.path, stop_before_pixels=True, force=True) for image in ordered]
    for word in ("PatientID", "PatientName", "StudyInstanceUID"):
        if len({str(header.get(word) or "") for header in headers}) > 1:
            cause = f"the template {template} holds several values of {word}, pass one study"
            raise InputError(cause, value=word)
    header, stated = headers[0], str(headers[0].get("Modality") or "")
    if not modality:
        raise UsageError(
            f"the volume does not say its modality and the template is {stated or 'silent'}: give it if you "
            "know that they are the same",
            value=stated,
            option="modality",
        )
    if header.get("Modality", modality) != modality:
        cause = f"the template is {stated} and the volume is {modality}, pass its source series"
        raise UsageError(cause, value=stated)
    identity = anonymous()
    for word in ("PatientIdentityRemoved", "DeidentificationMethod"):
        delattr(identity, word)
    words = {*_STUDY, *(pet.IDENTITY if modality == pet.PET else ())}
    for element in header:
        if element.tag.group == _PATIENT_GROUP or element.keyword in words:
            identity[element.tag] = element
    return identity
