"""What the tests of plug-ins share: an oblique volume of uneven voxels, its file, and the way by NIfTI."""

from __future__ import annotations

import nibabel
import numpy as np

import inrcodec
from inrcodec.io.nifti import to_nibabel

AFFINE = np.array([[0.4, -0.1, 0, -62.25], [0.1, 0.4, 0, 10.5], [0, 0, 1.5, 1234.5], [0, 0, 0, 1]])
ARRAY = np.random.default_rng(0).integers(-1000, 1000, (9, 12, 10)).astype(np.int16)
CT = inrcodec.Volume(ARRAY, AFFINE, modality="CT", unit="HU")
SCALED = inrcodec.Volume(ARRAY.astype(np.uint8), AFFINE, rescale=(0.5, -3.0), modality="MR")
CLOSE = {"rtol": 0, "atol": 1e-4}  # mm: the affine of a NIfTI file is float32


def files(folder, volume=CT):
    """Paths of a volume as a file without loss, and as NIfTI."""
    paths = folder / "volume.inrv", folder / "volume.nii.gz"
    inrcodec.encode_file(volume, paths[0], lossless=True)
    nibabel.save(to_nibabel(volume), paths[1])
    return paths
