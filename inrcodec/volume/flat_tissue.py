"""Where a volume is flat tissue: boxes of it, found from its values alone.

In: a volume and the range of its values.  Out: boxes, and in each the voxels that are flat tissue.
Invariant: deterministic; a few boxes serve however large the volume is, and few of its slices are read.

Of a CT it is what is soft tissue after a Gaussian of one voxel, `FROM_EDGES` voxels away from what is not.
Values of other modalities have no meaning of their own: it is the flattest `FLATTEST` of the voxels that are
no background, by the gradients around them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from math import ceil, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inrcodec.volume.arrays import Bool, Float32
from inrcodec.volume.box import Box
from inrcodec.volume.value_range import Range, unit_part
from inrcodec.volume.volume import Volume
from inrcodec.volume.windows import WINDOWS, Window, is_hounsfield

BOXES = 24  # of a volume, at most: with their rims 25 MB of errors
EDGE = 64  # voxels of a box with its rim, at most
RIM = 9  # voxels: SIGMAS of SIGMA, and what FROM_EDGES and DENOISED reach over
WIDEST = 20  # voxels of a rim, where voxels are so small that WIDTH would reach further
SIGMA = 3.0  # voxels: noise of a voxel falls to a thirtieth, a blotch of a centimetre stays
WIDTH = 5.0  # mm, of the other Gaussian at half of its height
SIGMAS = 3.0  # that a Gaussian reaches over
DENOISED = 1.0  # voxels: tissue is found on a source that is smoothed this much
FROM_EDGES = 6  # voxels along each axis: two SIGMA, so that a blurred edge is no false structure
TOLERANCE = 1 / 40  # of the window's width: 10 HU of soft tissue's 400
FLATTEST = 0.25  # of the tissue, for other modalities
AROUND = 2.0  # voxels: sigma of the neighbourhood whose gradients tell what is flat
USUAL = (1.0, 99.5)  # percentiles, so that one bright vessel does not set the range
EMPTY = 0.1  # of the usual range above its lower end: air and its noise
THIN = 4  # voxels from one to the next that are looked at to choose boxes
ROWS = 32  # rows of boxes along z that are looked at, at most
ENOUGH = 0.5  # of the tissue that the best box has, for a box to be taken


@dataclass(frozen=True, eq=False)
class Region:
    """A box, and its voxels of flat tissue."""

    box: Box  # with the rim that filters need
    core: Box  # within it
    flat: Bool  # of the core


@dataclass(frozen=True, eq=False)
class FlatTissue:
    """Flat tissue of a volume.

    Attributes
    ----------
    regions : in raster order; none where there is no such tissue, or values are not finite.
    name : of what counts as tissue.
    window : of its values, (low, high), physical.
    sigmas : of a Gaussian of `WIDTH`, in voxels along (z, y, x).
    """

    regions: tuple[Region, ...]
    name: str
    window: Window
    sigmas: tuple[float, float, float]

    @classmethod
    def of(cls, volume: Volume, span: Range, most: int | None = BOXES) -> FlatTissue:
        """The flat tissue of some boxes of a volume; with ``most`` None, of all of them.

        Parameters
        ----------
        span : smallest and largest stored value that is signal.
        """
        hounsfield = is_hounsfield(volume, span)
        z, y, x = (WIDTH / sqrt(8 * np.log(2)) / edge for edge in volume.spacing)
        known = span.low < span.high and volume.slice_rescale is None and not span.special
        source = _Source(volume, span, tuple(min(max(RIM, ceil(SIGMAS * s)), WIDEST) for s in (z, y, x)))
        thin = source.looked_at(most is None) if known else {}
        name, window = ("soft tissue", source.hounsfield) if hounsfield else ("flat tissue", _usual(thin))
        cores = _chosen(thin, window, most)
        regions = (_soft_tissue if hounsfield else _flattest)(source, cores, window)
        return cls(tuple(r for r in regions if r.flat.any()), name, source.physical(window), (z, y, x))

    @property
    def boxes(self) -> tuple[Box, ...]:
        """Those whose errors are wanted."""
        return tuple(region.box for region in self.regions)

    @property
    def label(self) -> str:
        """What counts as tissue: "soft tissue, -160 to 240"."""
        low, high = self.window
        return f"{self.name}, {low:.4g} to {high:.4g}"

    @property
    def voxels(self) -> int:
        """Of flat tissue."""
        return sum(int(region.flat.sum()) for region in self.regions)

    @property
    def tolerance(self) -> float:
        """An error that a reader might take for a finding, in physical units."""
        return (self.window[1] - self.window[0]) * TOLERANCE


@dataclass(frozen=True, eq=False)
class _Source:
    """Values of a volume in [-1, 1], such that they rise with the physical ones."""

    volume: Volume
    span: Range
    rims: tuple[int, ...]

    def values(self, place: tuple[slice, ...]) -> NDArray[np.float32]:
        unit = unit_part(self.volume, self.span, place) * self.sign
        return unit.astype(np.float32)

    @property
    def sign(self) -> float:
        return 1.0 if self.volume.rescale[0] > 0 else -1.0

    @property
    def hounsfield(self) -> Window:
        """The window of soft tissue."""
        ends = self.span.window(WINDOWS["soft-tissue"], self.volume.rescale)
        low, high = sorted(self.sign * end for end in ends)
        return low, high

    def physical(self, window: Window) -> Window:
        """A window in physical units."""
        low, high = self.span.physical(self.volume.rescale)
        first, last = (low + (end + 1) / 2 * (high - low) for end in window)
        return first, last

    def looked_at(self, whole: bool) -> dict[Box, Float32]:
        """Every few voxels of each box that might be taken, without its rim."""
        shape = self.volume.shape
        edges = [min(n, (EDGE - 2 * rim) // THIN * THIN) for n, rim in zip(shape, self.rims, strict=True)]
        z, y, x = (range(0, n, edge) for n, edge in zip(shape, edges, strict=True))
        rows = z if whole else [z[i] for i in np.unique(np.linspace(0, len(z) - 1, ROWS).astype(int))]
        found = {}
        for first in rows:
            step = THIN if edges[0] > THIN else 1
            every = slice(None, None, THIN)
            slices = self.values((slice(first, first + edges[0], step), every, every))
            for corner in product(y, x):
                low = (first, *corner)
                high = tuple(min(a + e, n) for a, e, n in zip(low, edges, shape, strict=True))
                across = (slice(a // THIN, -(-b // THIN)) for a, b in zip(low[1:], high[1:], strict=True))
                found[Box(low, (high[0], high[1], high[2]))] = slices[:, *across]
        return found

    def around(self, core: Box) -> Box:
        """A box with its rim, where the volume goes on."""
        low = [max(0, a - rim) for a, rim in zip(core.low, self.rims, strict=True)]
        ends = zip(core.high, self.rims, self.volume.shape, strict=True)
        high = [min(b + rim, n) for b, rim, n in ends]
        return Box((low[0], low[1], low[2]), (high[0], high[1], high[2]))


def _usual(thin: dict[Box, Float32]) -> Window:
    """From above the background up to the usual largest value."""
    if not thin:
        return -1.0, 1.0
    low, high = np.percentile(np.concatenate([part.ravel() for part in thin.values()]), USUAL).tolist()
    return low + EMPTY * (high - low), high


def _chosen(thin: dict[Box, Float32], window: Window, most: int | None) -> list[Box]:
    """The boxes that have tissue; of too many, evenly spread ones of those with much."""
    low, high = window
    counts = {core: int(((part > low) & (part < high)).sum()) for core, part in thin.items()}
    some = [core for core, count in counts.items() if count]
    if most is None or len(some) <= most:
        return some
    rich = [core for core in some if counts[core] >= ENOUGH * max(counts.values())]
    return [rich[i] for i in np.linspace(0, len(rich) - 1, min(most, len(rich))).astype(int)]


def _soft_tissue(source: _Source, cores: Sequence[Box], window: Window) -> list[Region]:
    """What is in the window, away from what is not."""
    from scipy.ndimage import minimum_filter

    regions = []
    for core in cores:
        box = source.around(core)
        values = smoothed(source.values(box.slices), (DENOISED,) * 3)
        tissue = (values > window[0]) & (values < window[1])
        flat = minimum_filter(tissue, 2 * FROM_EDGES + 1, mode="nearest")
        regions.append(Region(box, core, flat[core.slices_in(box)]))
    return regions


def _flattest(source: _Source, cores: Sequence[Box], window: Window) -> list[Region]:
    """What has the smallest gradients around it, of what is in the window."""
    found = []
    for core in cores:
        box = source.around(core)
        values = smoothed(source.values(box.slices), (DENOISED,) * 3)
        steep = np.zeros_like(values)
        for axis in (a for a in range(3) if values.shape[a] > 1):
            steep += np.square(np.gradient(values, axis=axis))
        inside = core.slices_in(box)
        tissue = ((values > window[0]) & (values < window[1]))[inside]
        found.append((box, core, tissue, smoothed(steep, (AROUND,) * 3)[inside]))
    steepness = [steep[tissue] for _, _, tissue, steep in found]
    limit = np.quantile(np.concatenate(steepness), FLATTEST) if any(map(len, steepness)) else 0.0
    return [Region(box, core, tissue & (steep <= limit)) for box, core, tissue, steep in found]


def smoothed(values: NDArray[Any], sigmas: Sequence[float]) -> Float32:
    """Values after a Gaussian that reaches over `SIGMAS`, or over a rim; 0 leaves an axis as it is."""
    from scipy.ndimage import gaussian_filter  # not at the top: headers are read without it

    radius = [min(ceil(SIGMAS * sigma), WIDEST) for sigma in sigmas]
    found: Float32 = gaussian_filter(values, sigmas, radius=radius)
    return found
