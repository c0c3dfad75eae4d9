"""Synthetic DICOM for tests: a small series as a scanner would write it, with one thing changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from copy import deepcopy
from pathlib import Path
from struct import pack

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import (
    CTImageStorage,
    EnhancedCTImageStorage,
    ExplicitVRLittleEndian,
    ParametricMapStorage,
    PositronEmissionTomographyImageStorage,
    RTDoseStorage,
    SegmentationStorage,
    generate_uid,
)

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
Edit = Callable[[int, Dataset], None]


def ramp(z: int = 5, y: int = 6, x: int = 7) -> NDArray[np.int16]:
    """Volume whose voxels all differ, so that no mix-up of axes goes unseen."""
    return np.arange(z * y * x, dtype=np.int16).reshape(z, y, x)


def dataset(plane: NDArray[np.integer], position: Iterable[float] | None, **attributes: object) -> Dataset:
    """One slice; attributes replace or, if None, remove what a plain CT has."""
    header = Dataset()
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    header.SOPClassUID = CTImageStorage
    header.SOPInstanceUID = generate_uid()
    header.SeriesInstanceUID = "1.2.3"
    header.StudyInstanceUID = "1.2"
    header.Modality = "CT"
    header.PatientName, header.PatientID = "Doe^Jane", "4711"
    header.Rows, header.Columns = plane.shape[-2:]
    header.SamplesPerPixel, header.PhotometricInterpretation = 1, "MONOCHROME2"
    header.BitsAllocated = header.BitsStored = 8 * plane.dtype.itemsize
    header.PixelRepresentation = int(plane.dtype.kind == "i")
    header.PixelSpacing = [0.5, 0.25]
    header.SliceThickness = 2.0
    header.ImageOrientationPatient = list(AXIAL)
    if position is not None:
        header.ImagePositionPatient = [round(float(v), 9) for v in position]
    header.RescaleSlope, header.RescaleIntercept = 1, -1024
    header.PixelData = plane.tobytes()
    for word, value in attributes.items():
        if value is None:
            header.pop(word, None)
        else:
            setattr(header, word, value)
    header.HighBit = header.get("HighBit", header.BitsStored - 1)
    header["PixelData"].VR = "OW" if header.BitsAllocated > 8 else "OB"
    return header


def save(header: Dataset, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    header.file_meta.MediaStorageSOPClassUID = header.SOPClassUID
    header.file_meta.MediaStorageSOPInstanceUID = header.SOPInstanceUID
    header.save_as(path, enforce_file_format=True)
    return path


def save_bare(header: Dataset, path: Path, *, implicit: bool, little: bool = True) -> Path:
    """The data set alone, without preamble and meta information, as archives from before them hold it."""
    copy = deepcopy(header)
    if not little:
        copy.PixelData = np.frombuffer(header.PixelData, "<i2").astype(">i2").tobytes()
    stream = DicomBytesIO()
    stream.is_implicit_VR, stream.is_little_endian = implicit, little
    write_dataset(stream, copy)
    path.write_bytes(stream.getvalue())
    return path


def write_series(
    folder: Path,
    array: NDArray[np.integer],
    *,
    positions: Iterable[Iterable[float]] | None = None,
    edit: Edit | None = None,
    **attributes: object,
) -> list[Path]:
    """Slices 2 mm apart, named so that the order of names is not that of positions."""
    if positions is None:
        positions = [(10.0, -20.0, 100.0 + 2 * k) for k in range(len(array))]
    paths = []
    for k, (plane, position) in enumerate(zip(array, positions, strict=True)):
        header = dataset(plane, position, **attributes)
        if edit is not None:
            edit(k, header)
        paths.append(save(header, folder / f"IM{(k * 7 + 3) % 101:04d}"))
    return paths


def write_pet(
    folder: Path,
    array: NDArray[np.integer],
    slopes: Iterable[float],
    edit: Edit | None = None,
    **words: object,
) -> list[Path]:
    """A PET as scanners write it: each slice has its own slope, and nothing is the intercept."""
    slopes = list(slopes)

    def scale(k: int, header: Dataset) -> None:
        header.RescaleSlope = slopes[k]
        if edit is not None:
            edit(k, header)

    about = {
        "SOPClassUID": PositronEmissionTomographyImageStorage,
        "Modality": "PT",
        "RescaleIntercept": 0,
        "Units": "BQML",
        "SeriesType": ["WHOLE BODY", "IMAGE"],
        "CountsSource": "EMISSION",
        "CorrectedImage": ["DECY", "ATTN", "SCAT"],
        "DecayCorrection": "START",
        "CollimatorType": "NONE",
        "ActualFrameDuration": "120000",
        "FrameReferenceTime": "1500.5",
        "DecayFactor": "1.0125",
    }
    return write_series(folder, array, edit=scale, **about | words)


def item(**attributes: object) -> list[Dataset]:
    """A sequence of one item."""
    only = Dataset()
    for word, value in attributes.items():
        setattr(only, word, value)
    return [only]


def enhanced(array: NDArray[np.integer], heights: Iterable[float], **attributes: object) -> Dataset:
    """Multi-frame image with a position and a slope for each frame, spacing and orientation shared."""
    header = dataset(array, None, PixelSpacing=None, ImageOrientationPatient=None, SliceThickness=None)
    del header.RescaleSlope, header.RescaleIntercept
    header.SOPClassUID = EnhancedCTImageStorage
    header.NumberOfFrames = len(array)
    shared = item(
        PlaneOrientationSequence=item(ImageOrientationPatient=list(AXIAL)),
        PixelMeasuresSequence=item(PixelSpacing=[0.5, 0.25], SliceThickness=2.0),
    )
    header.SharedFunctionalGroupsSequence = shared
    header.PerFrameFunctionalGroupsSequence = [
        item(
            PlanePositionSequence=item(ImagePositionPatient=[10.0, -20.0, float(z)]),
            PixelValueTransformationSequence=item(RescaleSlope=1, RescaleIntercept=-1024, RescaleType="HU"),
        )[0]
        for z in heights
    ]
    for word, value in attributes.items():
        setattr(header, word, value)
    return header


def side_by_side(array: NDArray[np.integer]) -> NDArray[np.integer]:
    """Slices in one plane, row by row, as many across as down."""
    across = int(np.ceil(np.sqrt(len(array))))
    blank = np.zeros((across**2 - len(array), *array.shape[1:]), array.dtype)
    tiles = np.concatenate([array, blank]).reshape(across, across, *array.shape[1:])
    return np.concatenate([np.concatenate(list(row), axis=1) for row in tiles])


def csa_header(**values: list[object]) -> bytes:
    """The block in which Siemens keeps elements of its own (version 2), with numbers as text."""
    block = b"SV10\4\3\2\1" + pack("<2I", len(values), 77)
    for name, items in values.items():
        kind = {int: b"IS", float: b"FD", str: b"SH"}[type(items[0])]
        block += pack("<64si4s3i", name.encode(), len(items), kind, 0, len(items), 77)
        for number in items:
            text = str(number).encode() + b"\0"
            block += pack("<4i", len(text), len(text), 77, len(text)) + text + b"\0" * (-len(text) % 4)
    return block


def mosaic(
    array: NDArray[np.integer],
    first: Iterable[float],
    normal: Iterable[float],
    *,
    csa: bool = True,
    **attributes: object,
) -> Dataset:
    """Siemens' mosaic of a volume whose first slice has its first pixel at ``first``."""
    header = dataset(side_by_side(array), None, **attributes)
    header.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]
    row, column = np.reshape(header.ImageOrientationPatient, (2, 3)).astype(float)
    large, small = np.array([header.Rows, header.Columns]), np.array(array.shape[1:])
    inset = (large - small) / 2 * np.array(header.PixelSpacing, float)
    header.ImagePositionPatient = [
        round(float(v), 9) for v in np.asarray(first) - column * inset[0] - row * inset[1]
    ]
    if csa:
        vector = [round(float(v), 8) for v in normal]
        block = csa_header(
            AcquisitionMatrixText=[f"{small[0]}*{small[1]}"],
            NumberOfImagesInMosaic=[len(array)],
            SliceNormalVector=vector,
        )
        header.private_block(0x29, "SIEMENS CSA HEADER", create=True).add_new(0x10, "OB", block)
    return header


def segmentation(
    masks: NDArray[np.integer], heights: Iterable[Iterable[float]], **attributes: object
) -> Dataset:
    """BINARY segments 1, 2 ..., (segment, plane, y, x), with the heights of their planes."""
    planes, groups = [], []
    for number, (mask, places) in enumerate(zip(masks, heights, strict=True), 1):
        for plane, z in zip(mask, places, strict=False):
            planes.append(plane)
            groups.append((number, float(z)))
    array = np.stack(planes).astype(np.uint8)
    header = enhanced(array, [z for _, z in groups], Modality="SEG", SegmentationType="BINARY")
    header.SOPClassUID = SegmentationStorage
    header.SegmentSequence = [
        item(SegmentNumber=number, SegmentLabel=f"organ {number}")[0] for number in range(1, len(masks) + 1)
    ]
    for group, (number, _) in zip(header.PerFrameFunctionalGroupsSequence, groups, strict=True):
        group.SegmentIdentificationSequence = item(ReferencedSegmentNumber=number)
        del group.PixelValueTransformationSequence
    header.BitsAllocated = header.BitsStored = 1
    header.HighBit = 0
    header.PixelData = np.packbits(array.ravel(), bitorder="little").tobytes()
    if len(header.PixelData) % 2:
        header.PixelData += bytes(1)
    header["PixelData"].VR = "OB"
    for word, value in attributes.items():
        setattr(header, word, value)
    return header


def dose(array: NDArray[np.integer], offsets: Iterable[float] | None, **attributes: object) -> Dataset:
    """A dose of radiotherapy: one position, and where its planes are from there."""
    header = dataset(array, (10.0, -20.0, 100.0), RescaleSlope=None, RescaleIntercept=None)
    header.SOPClassUID, header.Modality = RTDoseStorage, "RTDOSE"
    header.NumberOfFrames = len(array)
    header.DoseUnits, header.DoseGridScaling = "GY", "2.5e-5"
    if offsets is not None:
        header.GridFrameOffsetVector = list(offsets)
    for word, value in attributes.items():
        setattr(header, word, value)
    return header


def parametric_map(array: NDArray[np.float32], slopes: Iterable[float], unit: str = "mm2/s") -> Dataset:
    """A map of floats with a mapping to real values for each plane."""
    slopes = list(slopes)
    header = enhanced(array.view(np.int32), [2.0 * k for k in range(len(array))], Modality="MR")
    header.SOPClassUID = ParametricMapStorage
    for group, slope in zip(header.PerFrameFunctionalGroupsSequence, slopes, strict=True):
        del group.PixelValueTransformationSequence
        group.RealWorldValueMappingSequence = item(
            RealWorldValueSlope=slope,
            RealWorldValueIntercept=0.0,
            MeasurementUnitsCodeSequence=item(CodeValue=unit, CodingSchemeDesignator="UCUM"),
        )
    del header.PixelData, header.PixelRepresentation, header.BitsStored, header.HighBit
    header.FloatPixelData = array.tobytes()
    return header
