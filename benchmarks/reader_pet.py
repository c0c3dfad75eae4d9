"""A synthetic PET series, as scanners store them, with a slope of its own for every slice.

Counts of a body with organs and lesions are drawn (Poisson), smeared by the point spread of a scanner, and
scaled slice by slice so that the hottest voxel of each is the largest stored integer.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, PositronEmissionTomographyImageStorage, generate_uid
from scipy.ndimage import gaussian_filter

SHAPE = (48, 168, 168)
SPACING = (3.0, 4.07, 4.07)  # mm
SPREAD = 5.0  # mm, full width at half maximum
COUNTS = 60.0  # mean of a voxel of soft tissue: a scan of two minutes a bed
AIR = 0.02  # of soft tissue: what scatter and randoms leave around the body
BQML = 3000.0 / COUNTS  # Bq/ml a count
PLAIN = """Modality=PT SeriesNumber=1 StudyDate=20200101 SeriesDate=20200101 AcquisitionDate=20200101
    StudyTime=120000 SeriesTime=120000 AcquisitionTime=120000 PhotometricInterpretation=MONOCHROME2
    RescaleIntercept=0 Units=BQML CountsSource=EMISSION DecayCorrection=START CollimatorType=NONE
    DecayFactor=1 ActualFrameDuration=120000 FrameReferenceTime=0 LossyImageCompression=00"""
EMPTY = """Manufacturer PatientName PatientID PatientBirthDate PatientSex StudyID AccessionNumber Laterality
    ReferringPhysicianName PositionReferenceIndicator AttenuationCorrectionMethod"""
TYPES = {"int16": (np.int16, 32767), "uint16": (np.uint16, 65535)}


def activity(seed: int = 0) -> NDArray[np.float64]:
    """Bq/ml, (z, y, x)."""
    rng = np.random.default_rng(seed)
    z, y, x = (np.linspace(-1, 1, n) for n in SHAPE)
    z, y = z[:, None, None], y[:, None]
    inside, in_view = (x / 0.75) ** 2 + (y / 0.5) ** 2 < 1, x**2 + y**2 < 1
    uptake = np.where(inside, 1.0, np.where(in_view, AIR, 0.0)) * np.ones_like(z)
    organs = [((0.4, 0, 0.3), (0.5, 0.3, 0.25), 2.5), ((-0.5, 0.1, -0.3), (0.3, 0.2, 0.2), 0.3)]
    organs += [((0.7, 0.2, -0.25), (0.2, 0.12, 0.08), 12.0), ((-0.8, 0, 0), (0.3, 0.3, 0.3), 5.0)]
    organs += [(tuple(rng.uniform(-0.4, 0.4, 3)), (0.06, 0.04, 0.04), 8.0) for _ in range(6)]
    for (a, b, c), (dz, dy, dx), level in organs:
        uptake[((z - a) / dz) ** 2 + ((y - b) / dy) ** 2 + ((x - c) / dx) ** 2 < 1] = level
    counts = rng.poisson(uptake * COUNTS).astype(np.float64)
    sigma = [SPREAD / 2.355 / edge for edge in SPACING]
    return np.maximum(gaussian_filter(counts, sigma), 0) * BQML


def stored(values: NDArray[np.float64], kind: str) -> tuple[NDArray[Any], list[float]]:
    """Integers (z, y, x), and the slope of every slice."""
    dtype, largest = TYPES[kind]
    slopes = [float(f"{max(plane.max(), 1e-3) / largest:.9g}") for plane in values]
    planes = [
        np.clip(np.rint(plane / slope), 0, largest) for plane, slope in zip(values, slopes, strict=True)
    ]
    return np.stack(planes).astype(dtype), slopes


def write_series(folder: Path, kind: str = "int16") -> int:
    """A file a slice; returns the bytes of the stored pixels."""
    folder.mkdir(parents=True)
    pixels, slopes = stored(activity(), kind)
    header = _header(pixels)
    for index, (plane, slope) in enumerate(zip(pixels, slopes, strict=True)):
        uid = generate_uid()
        header.SOPInstanceUID = header.file_meta.MediaStorageSOPInstanceUID = uid
        header.InstanceNumber = header.ImageIndex = index + 1
        header.ImagePositionPatient = [-340, -340, index * SPACING[0]]
        header.RescaleSlope = slope
        header.PixelData = plane.tobytes()
        header.save_as(folder / f"{index:03d}.dcm", enforce_file_format=True)
    return pixels.nbytes


def _header(pixels: NDArray[Any]) -> Dataset:
    header = Dataset()
    header.file_meta = FileMetaDataset()
    header.file_meta.MediaStorageSOPClassUID = header.SOPClassUID = PositronEmissionTomographyImageStorage
    header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    for word in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
        setattr(header, word, generate_uid())
    for text in (PLAIN, EMPTY):
        for pair in text.split():
            word, _, value = pair.partition("=")
            setattr(header, word, value)
    header.SeriesType, header.CorrectedImage = ["STATIC", "IMAGE"], ["DECY", "ATTN"]
    header.ImageType, header.ImageOrientationPatient = ["ORIGINAL", "PRIMARY"], [1, 0, 0, 0, 1, 0]
    header.PixelSpacing, header.SliceThickness = list(SPACING[1:]), SPACING[0]
    header.NumberOfSlices, header.Rows, header.Columns = SHAPE
    header.SamplesPerPixel = 1
    header.BitsAllocated = header.BitsStored = 16
    header.HighBit = 15
    header.PixelRepresentation = int(pixels.dtype.kind == "i")
    header.RadiopharmaceuticalInformationSequence = []
    header.PatientOrientationCodeSequence = []
    header.PatientGantryRelationshipCodeSequence = []
    return header
