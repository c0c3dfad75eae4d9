"""A volume as a folder of DICOM slices.

In: a volume, perhaps a template for the identity and a statement about its compression.  Out: a new series.
Invariant: a reader finds the same grid and values, and that the image is derived and lossy.
"""

from __future__ import annotations

import datetime
import os
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
    SecondaryCaptureImageStorage,
    generate_uid,
)
from pydicom.valuerep import DSfloat

from inrcodec._version import __version__
from inrcodec.errors import WriteError
from inrcodec.io.atomic import atomic_folder, check_folder
from inrcodec.io.dicom.identity import anonymous, from_template
from inrcodec.io.dicom.lossy import declare_lossy
from inrcodec.io.dicom.stored_integers import Coding, coding_of
from inrcodec.io.provenance import Provenance
from inrcodec.volume.volume import Volume
from inrcodec.volume.windows import WINDOWS

_CLASSES = {"CT": CTImageStorage, "MR": MRImageStorage}
_WRITER = "INRCODEC"  # start of the implementation version name, which marks a folder that `write` made
_NAME = re.compile(r"slice_\d{4,}\.dcm")
# Cosine between rows and columns from which an affine counts as sheared in plane: beyond rounding.
_SHEAR = 1e-4


def write(
    volume: Volume,
    path: str | os.PathLike[str],
    *,
    template: str | os.PathLike[str] | None = None,
    force: bool = False,
    provenance: Provenance | None = None,
) -> None:
    """Write a volume as a new DICOM series, one file a slice.

    Integers are written as they are (wider types narrowed where the values allow), floats in 65 535 steps.

    Parameters
    ----------
    path : path
        Folder; made, and complete or not there at all.
    template : path, optional
        Folder of DICOM images that the patient and the study are taken from. Without it: anonymous.
    force : bool
        Replace a folder that an earlier call wrote. Nothing else is ever replaced.
    provenance : Provenance, optional
        Marks the series as lossy.

    Raises
    ------
    WriteError
        The folder holds something, or the volume has no place in DICOM (in-plane shear, 64-bit values).
    InputError, UsageError
        The template is not a single study of the same modality.
    """
    identity = anonymous() if template is None else from_template(template, volume.modality)
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
            header.PixelData = coding.plane(plane).tobytes()
            header["PixelData"].VR = "OW"
            header.save_as(folder / f"slice_{number + 1:04d}.dcm", enforce_file_format=True)


def check_target(
    path: str | os.PathLike[str],
    force: bool = False,
    *,
    template: str | os.PathLike[str] | None = None,
    modality: str = "",
) -> None:
    """Refuse before the work is done.

    Raises
    ------
    WriteError
        The folder cannot be written.
    InputError, UsageError
        The template is not a single study, or of another modality.
    """
    check_folder(path, our_files, force)
    if template is not None:
        from_template(template, modality)


def our_files(folder: Path) -> list[Path]:
    """Content of a folder that `write` made.

    Raises
    ------
    WriteError
        Anything in it is something else.
    """
    entries = sorted(folder.iterdir())
    for entry in entries:
        if not (
            _NAME.fullmatch(entry.name) and entry.is_file() and not entry.is_symlink() and _is_ours(entry)
        ):
            raise WriteError(
                f"{folder} holds {entry.name}, which was not written by inrcodec: name another folder",
                value=str(entry),
            )
    return entries


def _is_ours(path: Path) -> bool:
    try:
        return str(read_file_meta_info(path).get("ImplementationVersionName", "")).startswith(_WRITER)
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
    header.PatientPosition = str(volume.description.get("position") or header.get("PatientPosition") or "")
    if modality == "CT":
        header.KVP = header.get("KVP")
    elif modality == "MR":
        header.ScanningSequence = header.get("ScanningSequence") or "RM"
        header.SequenceVariant = header.get("SequenceVariant") or "NONE"
        header.ScanOptions = ""
        for word in ("MRAcquisitionType", "EchoTime", "EchoTrainLength", "RepetitionTime"):
            setattr(header, word, header.get(word))
    else:
        header.ConversionType = "WSD"
    return header


def _describe_image(header: Dataset, volume: Volume, coding: Coding) -> None:
    axes = volume.affine[:3, :3]
    edges = np.linalg.norm(axes, axis=0)
    row, column = (axes / edges).T[:2]
    if abs(float(row @ column)) > _SHEAR:
        raise WriteError("the affine is sheared in plane, which DICOM cannot hold: write .nii.gz", value=axes)
    # AXIAL is the standard's word for any cross-section, coronal and sagittal ones too (PS3.3 C.8.2.1.1.1).
    header.ImageType = ["DERIVED", "SECONDARY", "AXIAL" if header.Modality == "CT" else "OTHER"]
    header.ImageOrientationPatient = _decimals([*row, *column])
    header.PixelSpacing = _decimals([edges[1], edges[0]])
    normal = np.cross(row, column)
    thickness = volume.description.get("thickness") or abs(float(axes[:, 2] @ normal))
    header.SliceThickness = _decimals([float(thickness)])[0]
    if header.Modality == "MR":
        header.SpacingBetweenSlices = _decimals([abs(float(axes[:, 2] @ normal))])[0]
    header.Rows, header.Columns = volume.shape[1:]
    header.SamplesPerPixel = 1
    header.PhotometricInterpretation = str(volume.description.get("photometric") or "MONOCHROME2")
    header.BitsAllocated = 8 * coding.dtype.itemsize
    header.BitsStored, header.HighBit = coding.bits, coding.bits - 1
    header.PixelRepresentation = int(coding.signed)
    if header.Modality == "CT" or (coding.slope, coding.intercept) != (1.0, 0.0):
        header.RescaleIntercept, header.RescaleSlope = _decimals([coding.intercept, coding.slope])
        header.RescaleType = volume.unit or "US"
    if volume.padding is not None:
        _declare_padding(header, coding, volume.padding)
    if volume.unit == "HU" and "WindowCenter" not in header:
        low, high = WINDOWS["soft-tissue"]
        header.WindowCenter, header.WindowWidth = round((low + high) / 2), round(high - low)


def _declare_padding(header: Dataset, coding: Coding, padding: float) -> None:
    written = round((padding - coding.low) / coding.step)
    limits = np.iinfo(coding.dtype)
    if limits.bits == 16 and limits.min <= written <= limits.max:
        header.add_new("PixelPaddingValue", "SS" if coding.signed else "US", written)


def _decimals(values: Any) -> list[DSfloat]:
    """Numbers as decimal strings: their 16 characters hold 1e-10 mm, and geometry is kept to 1e-6."""
    return [DSfloat(float(value), auto_format=True) for value in values]
