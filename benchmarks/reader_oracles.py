"""Readers of others, each from files to grids, and facts of headers that a refusal must agree with.

A reader takes the staged files of one series (all files of a folder) and returns the grids that it makes of
them; it raises whatever it raises.  ``ORACLES`` is the table.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from reader_grids import Float, Grid
from reader_sources import attribute, groups_of

CHOSEN = 3  # volumes of a source that holds several
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])  # times an affine to RAS


def ours(files: list[Path]) -> list[Grid]:
    """`inrcodec.io.read` of the folder, or of the file where there is one."""
    from inrcodec import io

    return [_ours(io.read(_source(files)))]


def our_volumes(files: list[Path]) -> list[Grid]:
    """The first volumes of a source that holds several, each chosen by its number."""
    from inrcodec import io
    from inrcodec.errors import InrvError

    grids: list[Grid] = []
    for number in range(CHOSEN):
        try:
            grids.append(_ours(io.read(_source(files), volume=number)))
        except InrvError:  # there are fewer
            if not number:
                raise
            break
    return grids


def _source(files: list[Path]) -> Path:
    return files[0] if len(files) == 1 else files[0].parent


def _ours(volume: Any) -> Grid:
    slope, intercept = volume.rescale
    values = volume.array
    if volume.rescale != (1.0, 0.0):
        values = values.astype(np.float64) * slope + intercept
    padding = None if volume.padding is None else volume.padding * slope + intercept
    return Grid(values, volume.affine, f"padding {padding}" if padding is not None else "")


def simpleitk(files: list[Path]) -> list[Grid]:
    """ITK and GDCM: the series in the order of its positions."""
    import SimpleITK as itk

    itk.ProcessObject.GlobalWarningDisplayOff()
    kind = itk.sitkFloat64
    if len(files) == 1:
        image = itk.ReadImage(str(files[0]))
    else:
        reader = itk.ImageSeriesReader()
        names = reader.GetGDCMSeriesFileNames(str(files[0].parent))
        reader.SetFileNames(names)
        reader.SetOutputPixelType(kind)  # of the first file otherwise, to which the others are rounded
        image = reader.Execute()
    values, count = itk.GetArrayFromImage(image), image.GetNumberOfComponentsPerPixel()
    if count > 1 and files[0].suffix.lower() not in (".mha", ".mhd", ".nrrd", ".nhdr"):
        raise ValueError(f"{count} components")
    if count > 1:
        values = np.moveaxis(values, -1, 0)
    affine = np.eye(4)
    n = image.GetDimension()
    axes = np.reshape(image.GetDirection(), (n, n)) * np.array(image.GetSpacing())
    affine[: min(n, 3), : min(n, 3)] = axes[:3, :3]
    affine[: min(n, 3), 3] = image.GetOrigin()[:3]
    return _each_volume(values[:, np.newaxis] if count > 1 and n == 2 else values, affine)


def _each_volume(values: Any, affine: Float) -> list[Grid]:
    """A grid, or one for each volume of more dimensions."""
    while values.ndim < 3:
        values = values[np.newaxis]
    return [Grid(volume, affine) for volume in values.reshape(-1, *values.shape[-3:])]


def dcm2niix(files: list[Path]) -> list[Grid]:
    """All volumes that dcm2niix writes, without those that it made upright or evenly spaced."""
    import nibabel

    with tempfile.TemporaryDirectory() as folder:
        program = Path(sys.executable).parent / "dcm2niix"
        words = [str(program), "-z", "n", "-b", "n", "-l", "o", "-f", "%s_%p", "-o", folder]
        source = str(files[0].parent)
        done = subprocess.run([*words, source], capture_output=True, text=True, check=False)
        made = [p for p in sorted(Path(folder).glob("*.nii")) if not p.stem.endswith(("_Tilt", "_Eq"))]
        if not made:
            raise ValueError((done.stdout + done.stderr).strip().splitlines()[-1])
        grids = []
        for path in made:
            image = nibabel.load(path)
            if image.get_data_dtype().names:
                raise ValueError("colour")
            grids += _of_nifti(image)
        return grids


def nibabel_(files: list[Path]) -> list[Grid]:
    """nibabel, for NIfTI."""
    import nibabel

    return _of_nifti(nibabel.load(files[0]))


def _of_nifti(image: Any) -> list[Grid]:
    return _each_volume(np.asanyarray(image.dataobj).T, LPS @ np.asarray(image.affine, np.float64))


def pydicom(files: list[Path]) -> list[Grid]:
    """pydicom's pixels and rescaling, stacked by the formula of the standard (PS3.3, C.7.6.2.1.1)."""
    import pydicom as library
    from pydicom.pixels import apply_rescale

    planes: list[tuple[np.ndarray, Any]] = []
    datasets = [library.dcmread(path, force=True) for path in files]
    for dataset in sorted(datasets, key=lambda d: int(d.get("InstanceNumber") or 0)):
        if dataset.get("SamplesPerPixel", 1) != 1:
            raise ValueError("colour")
        pixels = dataset.pixel_array
        frames = [pixels] if pixels.ndim == 2 else list(pixels)
        own = dataset.get("PerFrameFunctionalGroupsSequence")
        if own is None and len(frames) > len(groups_of(dataset)):
            return [Grid(np.asarray(apply_rescale(pixels, dataset)), None, "frames without places")]
        for frame, holders in zip(frames, groups_of(dataset), strict=False):
            planes.append((_rescaled(frame, holders), _place(holders)))
    if any(place is None for _, place in planes):
        if len(planes) > 1:
            raise ValueError("no positions")
        return [Grid(planes[0][0][np.newaxis], None)]
    return [_stacked(stack) for stack in _stacks(planes)]


def _stacks(planes: list[tuple[Any, Any]]) -> list[list[tuple[Any, Any]]]:
    """Planes in the order of files; the first at every place, the second at every place …"""
    stacks: list[list[tuple[Any, Any]]] = []
    seen: Counter[tuple[float, ...]] = Counter()
    for plane in planes:
        place = tuple(np.round(plane[1][0], 2))
        if seen[place] == len(stacks):
            stacks.append([])
        stacks[seen[place]].append(plane)
        seen[place] += 1
    return stacks


def _rescaled(frame: Any, holders: list[Any]) -> Any:
    slope = attribute(holders, "PixelValueTransformationSequence", "RescaleSlope")
    intercept = attribute(holders, "PixelValueTransformationSequence", "RescaleIntercept")
    if holders[-1].get("Modality") == "RTDOSE":
        slope = holders[-1].DoseGridScaling
    if slope is None and intercept is None:
        return frame
    return frame.astype(np.float64) * float(1 if slope is None else slope) + float(intercept or 0)


def _place(holders: list[Any]) -> tuple[Float, Float, Float] | None:
    """Position, (2, 3) directions and (row, column) spacing."""
    position = attribute(holders, "PlanePositionSequence", "ImagePositionPatient")
    cosines = attribute(holders, "PlaneOrientationSequence", "ImageOrientationPatient")
    spacing = attribute(holders, "PixelMeasuresSequence", "PixelSpacing")
    if position is None or cosines is None or spacing is None:
        return None
    values = [np.array([float(v) for v in given]) for given in (position, cosines, spacing)]
    return values[0], values[1].reshape(2, 3), values[2]


def _stacked(planes: list[tuple[Any, Any]]) -> Grid:
    (_, (_, directions, spacing)) = planes[0]
    normal = np.cross(*directions)
    planes = sorted(planes, key=lambda plane: float(plane[1][0] @ normal))
    first, last = planes[0][1][0], planes[-1][1][0]
    affine = np.eye(4)
    affine[:3, 0] = directions[0] * spacing[1]
    affine[:3, 1] = directions[1] * spacing[0]
    affine[:3, 2] = (last - first) / (len(planes) - 1) if len(planes) > 1 else normal
    affine[:3, 3] = first
    if not np.linalg.det(affine):
        raise ValueError("all planes at one place")
    return Grid(np.stack([pixels for pixels, _ in planes]), affine)


def highdicom(files: list[Path]) -> list[Grid]:
    """highdicom's volume of an enhanced image, or of a series; its indices are (slice, row, column)."""
    import highdicom as library
    import pydicom as parser

    if len(files) == 1:
        volume = library.imread(files[0]).get_volume()
    else:
        volume = library.get_volume_from_series([parser.dcmread(path) for path in files])
    if volume.number_of_channel_dimensions:
        raise ValueError("channels")
    affine = np.asarray(volume.affine, np.float64)[:, [2, 1, 0, 3]]
    return [Grid(np.asarray(volume.array), affine)]


DICOM: dict[str, Callable[[list[Path]], list[Grid]]] = {
    "SimpleITK": simpleitk,
    "dcm2niix": dcm2niix,
    "pydicom": pydicom,
    "highdicom": highdicom,
}
OTHERS: dict[str, Callable[[list[Path]], list[Grid]]] = {"SimpleITK": simpleitk, "nibabel": nibabel_}
READERS = {"inrcodec": ours, "inrcodec volumes": our_volumes, **DICOM, **OTHERS}
