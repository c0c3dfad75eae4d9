"""A volume as a folder of DICOM slices.

Invariant: a reader finds the same grid and values, and that the image is derived and lossy.
"""

from __future__ import annotations

import datetime
import re
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.filereader import read_file_meta_info
from pydicom.uid import (
    CTImageStorage,
    ExplicitVRLittleEndian,
    MRImageStorage,
    PositronEmissionTomographyImageStorage,
    SecondaryCaptureImageStorage,
    generate_uid,
)
from pydicom.valuerep import DSfloat

from inrcodec._version import __version__
from inrcodec.errors import WriteError, reason
from inrcodec.io.atomic import Location, atomic_folder, check_folder
from inrcodec.io.dicom.identity import anonymous, from_template
from inrcodec.io.dicom.lossy import declare_lossy
from inrcodec.io.dicom.pet import PET, declare_pet, declare_slice
from inrcodec.io.dicom.special import DOSE, INVERTED, SEGMENTATION
from inrcodec.io.dicom.stored_integers import Coding, coding_of
from inrcodec.io.provenance import Provenance
from inrcodec.volume.affine import Grid
from inrcodec.volume.volume import Volume
from inrcodec.volume.windows import WINDOWS

_CLASSES = {"CT": CTImageStorage, "MR": MRImageStorage, PET: PositronEmissionTomographyImageStorage}
_OTHER_OBJECTS = {SEGMENTATION: "a segmentation", DOSE: "a dose"}
_WRITER = "INRCODEC"  # start of the implementation version name, which marks a folder that `write` made
# Body parts of which there is one (PS3.16, annex L): of all others a Laterality is asked for, be it empty.
_UNPAIRED = frozenset(
    """ABDOMEN ABDOMENPELVIS AORTA BACK BLADDER BRAIN CEREBELLUM CERVIX CHEST CHESTABDOMEN CHESTABDPELVIS
    CIRCLEOFWILLIS COCCYX COLON CORONARYARTERY CSPINE CTSPINE DUODENUM ESOPHAGUS FACE GALLBLADDER
    HEAD HEADNECK HEART ILEUM ILIUM JAW JEJUNUM LARYNX LIVER LSPINE LSSPINE MAXILLA MEDIASTINUM
    MOUTH NECK NECKCHEST NECKCHESTABDOMEN NECKCHESTABDPELV NOSE PANCREAS PELVIS PENIS PHARYNX
    PROSTATE RECTUM SCALP SKULL SPINE SPLEEN SSPINE STERNUM STOMACH THYMUS THYROID TLSPINE TONGUE
    TRACHEA TSPINE URETER URETHRA UTERUS VAGINA VULVA WHOLEBODY""".split()
)
_NAME = re.compile(r"slice_\d{4,}\.dcm")
# Cosine between rows and columns from which an affine counts as sheared in plane: beyond rounding.
_SHEAR = 1e-4


def write(
    volume: Volume,
    path: Location,
    *,
    template: Location | None = None,
    force: bool = False,
    provenance: Provenance | None = None,
) -> None:
    """Write a volume as a new DICOM series, as `inrcodec.io.write`."""
    _refuse_kind(volume.modality, labels=volume.labels)
    grid = Grid(volume.affine, volume.shape)
    identity = anonymous() if template is None else from_template(template, volume.modality, grid)
    coding = coding_of(volume)
    header = _series(volume, identity)
    _describe_image(header, volume, coding)
    declare_lossy(header, volume.description, provenance)
    origin, step = volume.affine[:3, 3], volume.affine[:3, 2]
    with atomic_folder(path, our_files, force) as folder:
        for number, plane in enumerate(volume.array):
            header.SOPInstanceUID = header.file_meta.MediaStorageSOPInstanceUID = generate_uid()
            header.InstanceNumber = number + 1
            header.ImagePositionPatient = _decimals(origin + number * step)
            _rescale(header, volume, coding, number)
            header.PixelData = coding.integers(plane, number).tobytes()
            header["PixelData"].VR = "OW"
            header.save_as(folder / f"slice_{number + 1:04d}.dcm", enforce_file_format=True)


def check_target(
    path: Location, force: bool, *, template: Location | None, modality: str, grid: Grid | None = None
) -> None:
    """Refuse a target or a template of `write` before the work is done; raises what it would."""
    check_folder(path, our_files, force)
    _refuse_kind(modality)
    if template is not None:
        from_template(template, modality, grid)


def _refuse_kind(modality: str, *, labels: bool = False) -> None:
    """Refuse what is no series of images in DICOM: labels or a dose would be taken for a scan."""
    if labels or modality in _OTHER_OBJECTS:
        what = _OTHER_OBJECTS.get(modality, "a label map")
        cause = f"{what} is no series of images in DICOM, and cannot be written as one: write .nii.gz"
        raise WriteError(cause, value=modality)


def our_files(folder: Path) -> list[Path]:
    """Content of a folder that `write` made; raises `WriteError` if anything in it is something else."""
    entries = sorted(folder.iterdir())
    for entry in entries:
        if not _is_ours(entry):
            cause = f"{folder} holds {entry.name}, which was not written by inrcodec: name another folder"
            raise WriteError(cause, value=str(entry))
    return entries


def _is_ours(path: Path) -> bool:
    if not _NAME.fullmatch(path.name) or not path.is_file() or path.is_symlink():
        return False
    try:
        return str(read_file_meta_info(path).get("ImplementationVersionName", "")).startswith(_WRITER)
    except OSError as error:
        cause = f"cannot read {path}, which would be replaced: {reason(error)}, name another folder"
        raise WriteError(cause, value=str(path)) from error
    except Exception:  # whatever a foreign file makes the parser raise: it is foreign
        return False


def _series(volume: Volume, header: Dataset) -> Dataset:
    """Add what is the same in all slices of the new series to the identity."""
    modality = volume.modality or str(header.get("Modality") or "")
    now = datetime.datetime.now()
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    header.file_meta.ImplementationVersionName = f"{_WRITER}_{__version__}"[:16]
    header.SOPClassUID = _CLASSES.get(modality, SecondaryCaptureImageStorage)
    header.file_meta.MediaStorageSOPClassUID = header.SOPClassUID
    header.Modality = modality or "OT"
    header.SeriesInstanceUID = generate_uid()
    header.SeriesNumber = None
    header.SeriesDescription = f"{str(header.get('SeriesDescription') or '')[:48]} (inrcodec)".strip()
    header.ContentDate, header.ContentTime = now.strftime("%Y%m%d"), now.strftime("%H%M%S")
    header.InstanceCreationDate, header.InstanceCreationTime = header.ContentDate, header.ContentTime
    header.SoftwareVersions = f"inrcodec {__version__}"
    header.AcquisitionNumber = None
    if "Laterality" not in header and str(header.get("BodyPartExamined") or "").upper() not in _UNPAIRED:
        header.Laterality = ""  # type 2C: of a paired body part, which one that is unknown may be
    header.PatientPosition = str(volume.description.get("position") or header.get("PatientPosition") or "")
    if modality == "CT":
        header.KVP = header.get("KVP")
    elif modality == "MR":
        header.ScanningSequence = header.get("ScanningSequence") or "RM"
        header.SequenceVariant = header.get("SequenceVariant") or "NONE"
        header.ScanOptions = ""
        if "IR" in np.atleast_1d(header.ScanningSequence):
            header.InversionTime = header.get("InversionTime")
        for word in ("MRAcquisitionType", "EchoTime", "EchoTrainLength", "RepetitionTime"):
            setattr(header, word, header.get(word))
    elif modality == PET:
        declare_pet(header, volume)
    else:
        header.ConversionType, header.PatientOrientation = "WSD", ""
    return header


def _describe_image(header: Dataset, volume: Volume, coding: Coding) -> None:
    axes = volume.affine[:3, :3]
    edges = np.linalg.norm(axes, axis=0)
    row, column = (axes / edges).T[:2]
    if abs(float(row @ column)) > _SHEAR:
        raise WriteError("the affine is sheared in plane, which DICOM cannot hold: write .nii.gz", value=axes)
    # AXIAL is the standard's word for any cross-section, coronal and sagittal ones too (PS3.3 C.8.2.1.1.1).
    header.ImageType = ["DERIVED", "SECONDARY", "AXIAL" if header.Modality == "CT" else "OTHER"]
    if header.Modality == PET:
        header.ImageType = ["DERIVED", "PRIMARY"]  # all that the standard allows (PS3.3 C.8.9.4.1.1)
    header.ImageOrientationPatient = _decimals([*row, *column])
    header.PixelSpacing = _decimals([edges[1], edges[0]])
    distance = abs(axes[:, 2] @ np.cross(row, column))
    header.SliceThickness, between = _decimals([volume.thickness or distance, distance])
    if header.Modality == "MR":
        header.SpacingBetweenSlices = between
    header.Rows, header.Columns = volume.shape[1:]
    header.SamplesPerPixel = 1
    inverted = volume.description.get("photometric") == INVERTED
    header.PhotometricInterpretation = INVERTED if inverted else "MONOCHROME2"
    header.BitsAllocated = 8 * coding.dtype.itemsize
    header.BitsStored, header.HighBit = coding.bits, coding.bits - 1
    header.PixelRepresentation = int(coding.signed)
    if volume.padding is not None and len(set(coding.steps)) <= 1:
        (step,), limits = set(coding.steps) or {1.0}, np.iinfo(coding.dtype)
        written = round((volume.padding - coding.low) / step)
        if limits.bits == 16 and limits.min <= written <= limits.max:
            header.add_new("PixelPaddingValue", "SS" if coding.signed else "US", written)
    if volume.unit == "HU" and "WindowCenter" not in header:
        low, high = WINDOWS["soft-tissue"]
        header.WindowCenter, header.WindowWidth = round((low + high) / 2), round(high - low)


def _rescale(header: Dataset, volume: Volume, coding: Coding, z: int) -> None:
    """What the numbers of a slice mean."""
    slope, intercept = coding.rescale[z]
    if header.Modality in ("CT", PET) or set(coding.rescale) != {(1.0, 0.0)}:
        header.RescaleIntercept, header.RescaleSlope = _decimals([intercept, slope])
        if header.Modality != PET:
            header.RescaleType = volume.unit or "US"
    if header.Modality == PET:
        declare_slice(header, volume, z)


def _decimals(values: Any) -> list[DSfloat]:
    """Numbers as decimal strings: their 16 characters hold 1e-10 mm, and geometry is kept to 1e-6."""
    return [DSfloat(float(value), auto_format=True) for value in values]
