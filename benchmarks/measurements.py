"""Measurements that a user takes of a CT or an MR, of a source and of what it was decoded to.

In: a volume, then arrays decoded from files of it.  Out: figures by name.  Invariant: a measurement is one
function of an array, the same for all, and masks are found anew in what was decoded; only the regions of the
radiomics features are the source's, as a reader's outline would be.

CT  emphysema index (%LAA-950), in per cent of the lung; masks of lung, bone and body
MR  brain volume by deepbet, in cm³, and its mask
both  concordance of radiomics features by mirp, over regions of soft tissue or brain

Of a mask: Dice, and HD95, the 95th percentile of the distances of either surface from the other, in mm.
"""

import logging
import sys
import warnings
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any, TypeAlias

import numpy as np
import SimpleITK
from numpy.typing import NDArray
from scipy import ndimage

from inrcodec import Volume

Bool: TypeAlias = NDArray[np.bool_]
Row: TypeAlias = dict[str, Any]
Region: TypeAlias = tuple[tuple[slice, ...], Bool]

EMPHYSEMA = -950.0  # HU
AIR, BONE = -400.0, 200.0  # HU
SOFT = (-150.0, 200.0)  # HU: fat, muscle and organs
SMALLEST = 1000  # voxels of a part of a mask: less is noise

RADIUS = 6.0  # mm, of a region: a small lesion
REGIONS = 12  # at most
FAMILIES = ("stat", "ih", "glcm", "rlm", "szm", "dzm", "ngtdm", "ngldm")  # of features: all but of the shape
BINS: dict[str, Row] = {  # as IBSI advises: steps of HU, and a number of them where units are arbitrary
    "CT": {
        "base_discretisation_method": "fixed_bin_size",
        "base_discretisation_bin_width": 25.0,
        "resegmentation_intensity_range": [-1024.0, 3071.0],
    },
    "MR": {"base_discretisation_method": "fixed_bin_number", "base_discretisation_n_bins": 32},
}
CONCORDANT = 0.9  # of Lin's coefficient: a feature that is taken for reproduced


def require(modality: str) -> None:
    """End with a word where a package is missing, or where there is nothing to measure."""
    if modality not in BINS:
        sys.exit(f"{modality or 'no modality'}: measurements are of CT and MR, name one with --modality")
    names = ["mirp"] + ["deepbet"] * (modality == "MR")
    if missing := [name for name in names if find_spec(name) is None]:
        sys.exit(f"{' and '.join(missing)} is missing: pip install 'inrcodec[tasks]'")


class Measured:
    """A source, and its measurements.

    Parameters
    ----------
    volume : CT, or MR of a whole head.
    """

    def __init__(self, volume: Volume) -> None:
        self.volume = volume
        values = self._physical(volume.array)
        self.masks = self._masks(values)
        inside = (
            self.masks["brain"]
            if volume.modality == "MR"
            else _between(ndimage.median_filter(values, 3), SOFT)
        )
        self.regions = regions(inside, volume.spacing)
        self.features = radiomics(values, self.regions, volume.modality)
        self.figure = self._figure(values, self.masks)

    def beside(self, decoded: NDArray[Any]) -> Row:
        """What a decoded array measures, beside the source."""
        values = self._physical(decoded)
        masks, spacing = self._masks(values), self.volume.spacing
        row: Row = {"source": self.figure, "decoded": self._figure(values, masks)}
        for name, mask in self.masks.items():
            row |= {
                f"dice_{name}": dice(mask, masks[name]),
                f"hd95_{name}": hd95(mask, masks[name], spacing),
            }
        found = concordance(self.features, radiomics(values, self.regions, self.volume.modality))
        return row | {
            "features": len(found),
            "concordant": float((found >= CONCORDANT).mean()) if len(found) else float("nan"),
            "concordance": float(np.median(found)) if len(found) else float("nan"),
        }

    def _physical(self, array: NDArray[Any]) -> NDArray[np.float32]:
        slope, intercept = self.volume.rescale
        return array.astype(np.float32) * np.float32(slope) + np.float32(intercept)

    def _masks(self, values: NDArray[Any]) -> dict[str, Bool]:
        if self.volume.modality == "MR":
            return {"brain": brain(values, self.volume.affine)}
        return tissues(values)

    def _figure(self, values: NDArray[Any], masks: dict[str, Bool]) -> float:
        """Emphysema index in per cent, or brain volume in cm³."""
        if self.volume.modality == "MR":
            return float(masks["brain"].sum() * np.prod(self.volume.spacing) / 1000)
        return emphysema(values, masks["lung"])


def tissues(hounsfield: NDArray[Any]) -> dict[str, Bool]:
    """Masks of lung, bone and body, each of its parts that are not noise."""
    smooth = ndimage.median_filter(hounsfield, 3)
    dense = smooth > AIR
    body = np.stack([ndimage.binary_fill_holes(plane) for plane in _large(dense)])
    return {"lung": _large(body & ~dense), "bone": _large(smooth > BONE), "body": body}


def _large(mask: Bool) -> Bool:
    labels, count = ndimage.label(mask)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    sizes[0] = 0
    return (sizes >= SMALLEST)[labels]


def _between(values: NDArray[Any], bounds: tuple[float, float]) -> Bool:
    return (values > bounds[0]) & (values < bounds[1])


def emphysema(hounsfield: NDArray[Any], lung: Bool) -> float:
    """Per cent of the lung below `EMPHYSEMA`; NaN without a lung."""
    return 100 * float((hounsfield[lung] < EMPHYSEMA).mean()) if lung.any() else float("nan")


def brain(values: NDArray[Any], affine: NDArray[np.float64]) -> Bool:
    """Mask of the brain by deepbet, whose networks are in its package."""
    import nibabel
    from deepbet.bet import BrainExtraction

    image = nibabel.Nifti1Image(values.transpose(2, 1, 0), affine)
    _, mask, _ = BrainExtraction(no_gpu=True).run(image)
    return np.asarray(mask.dataobj).transpose(2, 1, 0) > 0


def dice(first: Bool, second: Bool) -> float:
    """Overlap of two masks, 0 to 1; NaN where both are empty."""
    both = int(first.sum()) + int(second.sum())
    return 2 * int((first & second).sum()) / both if both else float("nan")


def hd95(first: Bool, second: Bool, spacing: Sequence[float]) -> float:
    """95th percentile of the distances of either surface from the other, in mm; NaN where one has none.

    An empty mask has none, nor has one that fills the volume: its border is no surface.
    """
    distances, edges = [], []
    for mask in (first, second):
        image = SimpleITK.GetImageFromArray(mask.astype(np.uint8))
        image.SetSpacing([float(edge) for edge in spacing[::-1]])
        edge = SimpleITK.LabelContour(image)
        away = SimpleITK.SignedMaurerDistanceMap(edge, squaredDistance=False, useImageSpacing=True)
        distances.append(np.abs(SimpleITK.GetArrayViewFromImage(away)))
        edges.append(SimpleITK.GetArrayViewFromImage(edge).astype(bool))
    if not all(edge.any() for edge in edges):
        return float("nan")
    found = [distances[0][edges[1]], distances[1][edges[0]]]
    return float(np.percentile(np.concatenate(found), 95))


def regions(tissue: Bool, spacing: Sequence[float]) -> list[Region]:
    """Spheres of `RADIUS` in the tissue, apart from each other; fewer than `REGIONS` where it is small.

    Each is a box and the mask in it.  The same tissue gives the same spheres.
    """
    edges = np.array(spacing, float)
    depth = ndimage.distance_transform_edt(np.pad(tissue, 1), sampling=edges)[1:-1, 1:-1, 1:-1]
    centres = np.argwhere(depth > RADIUS)
    centres = np.random.default_rng(0).permutation(centres)
    chosen: list[Region] = []
    while len(centres) and len(chosen) < REGIONS:
        centre = centres[0]
        reach = (RADIUS // edges).astype(int)
        grid = np.meshgrid(
            *(np.arange(-r, r + 1) * e for r, e in zip(reach, edges, strict=True)), indexing="ij"
        )
        box = tuple(slice(int(c - r), int(c + r + 1)) for c, r in zip(centre, reach, strict=True))
        chosen.append((box, sum(np.square(axis) for axis in grid) <= RADIUS**2))
        centres = centres[np.linalg.norm((centres - centre) * edges, axis=1) > 2 * RADIUS]
    return chosen


def radiomics(values: NDArray[Any], places: Sequence[Region], modality: str) -> NDArray[np.float64]:
    """Features of each region by mirp, (region, feature); distances count in voxels."""
    from mirp import extract_features

    found = []
    logging.disable(logging.INFO)  # of each step of each region
    try:
        for box, mask in places:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of features that a flat region does not have
                frame = extract_features(
                    image=np.ascontiguousarray(values[box]),
                    mask=mask.astype(np.uint8),
                    base_feature_families=list(FAMILIES),
                    **BINS[modality],
                )[0]
            found.append(frame.loc[:, ~frame.columns.str.match("sample_|image_")].to_numpy(float)[0])
    finally:
        logging.disable(logging.NOTSET)
    return np.array(found)


def concordance(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """Lin's coefficient over the regions, of each feature that differs between regions of the source.

    1 where every region has the value that it had, less for scatter, for a shift and for another scale.
    """
    if len(first) < 2:
        return np.zeros(0)
    kept = np.isfinite(first).all(0) & (first.std(0) > 0)
    ours, theirs = first[:, kept], second[:, kept]
    shift = ours.mean(0) - theirs.mean(0)
    shared = ((ours - ours.mean(0)) * (theirs - theirs.mean(0))).mean(0)
    found = 2 * shared / (ours.var(0) + theirs.var(0) + np.square(shift))
    return np.where(np.isfinite(found), found, 0.0)  # a feature that is gone agrees with nothing
