"""A real series, the headers of a folder, and an oblique grid."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom

from inrcodec.io import Provenance

SAMPLE = Path(__file__).parent / "data" / "vhf-head-dicom"
LOSSY = Provenance(ratio=6123.4567890123456)


def slices(folder: Path) -> list[pydicom.Dataset]:
    return [pydicom.dcmread(path) for path in sorted(folder.iterdir())]


def turned() -> np.ndarray:
    """Affine of an oblique grid with numbers that decimal strings cannot hold exactly."""
    a, b = np.radians([23.7, 11.3])
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_z = np.array([[np.cos(b), -np.sin(b), 0], [np.sin(b), np.cos(b), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = about_x @ about_z @ np.diag([250 / 512, 250 / 512, 1 / 1.6])
    affine[:3, 3] = -1000 / 7, -210.33333333333, 1234.56789
    return affine
