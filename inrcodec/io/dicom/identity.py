"""Whose image it is: patient, study and equipment of a template, or nobody's.

Invariant: no identity comes from anywhere but the template.
"""

from __future__ import annotations

import logging
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from inrcodec.errors import InputError, InrvError, UsageError
from inrcodec.io.atomic import Location
from inrcodec.io.dicom import pet
from inrcodec.io.dicom.files import Image, find_images
from inrcodec.io.dicom.frames import frames_of
from inrcodec.io.dicom.place import misfit
from inrcodec.volume.affine import Grid

logger = logging.getLogger(__name__)

_STUDY = [
    *("SpecificCharacterSet", "StudyInstanceUID", "StudyDate", "StudyTime", "StudyID"),
    *("StudyDescription", "AccessionNumber", "IssuerOfAccessionNumberSequence"),
    *("ReferringPhysicianName", "TimezoneOffsetFromUTC", "AdmissionID", "FrameOfReferenceUID"),
    *("PositionReferenceIndicator", "Modality", "SeriesDescription", "BodyPartExamined", "Laterality"),
    *("PatientPosition", "ProtocolName", "Manufacturer", "ManufacturerModelName", "InstitutionName"),
    *("AcquisitionDate", "AcquisitionTime", "ContrastBolusAgent", "KVP", "ConvolutionKernel"),
    *("ScanningSequence", "SequenceVariant", "MRAcquisitionType", "EchoTime", "EchoTrainLength"),
    *("RepetitionTime", "InversionTime", "WindowCenter", "WindowWidth"),
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


def from_template(template: Location, modality: str, grid: Grid | None) -> Dataset:
    """Identity of the patient and study in a folder (or file) of DICOM images, usually the source series.

    Of several series of one study, that is taken which lies where the volume does; pixels are not used.

    Parameters
    ----------
    grid : of the volume; None if it is not known, and the place is not compared.

    Raises
    ------
    InputError
        No image, or more than one patient or study.
    UsageError
        Images of another modality than the volume's, or a volume of an unknown one: an MR would become a CT
        of the patient. Images that all lie elsewhere: they are of another patient, or of another series,
        whose frame of reference the volume would then claim.
    """
    if not Path(template).exists():
        raise InputError(f"{template} does not exist, check the path", value=str(template))
    series: dict[str, list[Image]] = {}
    for image in find_images(Path(template)).images:
        series.setdefault(image.series, []).append(image)
    # All series of a study have one identity; technical attributes are taken from one of this modality.
    ordered = sorted(
        series.values(),
        key=lambda images: (images[0].is_localizer, images[0].header.get("Modality") != modality),
    )
    _refuse_several(template, [image.path for images in ordered for image in images])
    headers = [pydicom.dcmread(images[0].path, stop_before_pixels=True, force=True) for images in ordered]
    stated = str(headers[0].get("Modality") or "")
    if not modality:
        raise UsageError(
            f"the volume does not say its modality and the template is {stated or 'silent'}: give it if you "
            "know that they are the same",
            value=stated,
            option="modality",
        )
    if headers[0].get("Modality", modality) != modality:
        cause = f"the template is {stated} and the volume is {modality}, pass its source series"
        raise UsageError(cause, value=stated)
    header = headers[0] if grid is None else headers[_where(ordered, grid, modality)]
    identity = anonymous()
    for word in ("PatientIdentityRemoved", "DeidentificationMethod"):
        delattr(identity, word)
    words = {*_STUDY, *(pet.IDENTITY if modality == pet.PET else ())}
    for element in header:
        if element.tag.group == _PATIENT_GROUP or element.keyword in words:
            identity[element.tag] = element
    return identity


def _refuse_several(template: Location, paths: list[Path]) -> None:
    """Refuse images of several patients or studies, also in one series: files may be mixed up."""
    whose = ["PatientID", "PatientName", "StudyInstanceUID"]
    headers = [
        pydicom.dcmread(path, specific_tags=whose, stop_before_pixels=True, force=True) for path in paths
    ]
    for word in whose:
        if len({str(header.get(word) or "") for header in headers}) > 1:
            cause = f"the template {template} holds several values of {word}, pass one study"
            raise InputError(cause, value=word)


def _where(ordered: list[list[Image]], grid: Grid, modality: str) -> int:
    """Number of the first series of the modality that lies where the volume does; the others are told."""
    reasons: dict[int, str] = {}
    for number, images in enumerate(ordered):
        if images[0].header.get("Modality", modality) == modality:
            try:
                reasons[number] = misfit(frames_of(images), grid)
            except InrvError as error:
                reasons[number] = str(error)
    fitting = [number for number, reason in reasons.items() if not reason]
    if not fitting:
        raise UsageError(
            f"the template lies elsewhere: {next(iter(reasons.values()))}; pass the source series, or "
            "none for a series of nobody",
            value=list(reasons.values()),
            option="template",
        )
    if len(fitting) < len(reasons):
        logger.warning(
            "the template has %d series that lie elsewhere: patient and study are taken from %s",
            len(reasons) - len(fitting),
            ordered[fitting[0]][0].series,
        )
    return fitting[0]
