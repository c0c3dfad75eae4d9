"""Slices of a volume along the patient's axes, packed for a page.

Invariant: head up, front up, the patient's right on the left, where the affine says where these are; what is
left out is stated with the plane.
"""

from __future__ import annotations

import zlib
from base64 import b64encode
from dataclasses import dataclass
from typing import Any

import numpy as np
from nibabel import orientations
from numpy.typing import NDArray
from scipy.ndimage import find_objects

from inrcodec.volume.affine import PLANES, is_placed
from inrcodec.volume.value_range import Range
from inrcodec.volume.volume import Volume

POSITIONS = 40  # slices along an axis at most: 3 to 6 MB a page for a head with its source
LONGEST = 320  # pixels along a side at most
LEVELS = 65_535  # steps of the values: every integer of 16 bits is exact
EMPTY = 0.1  # of the usual range above its lower end: air and its noise, which need no margin
USUAL = (1.0, 99.5)  # percentiles, so that one bright voxel does not set the range
SAMPLE = 2_000_000  # voxels that the percentiles are taken of
WAYS = ("RL", "AP", "FH")  # where the patient's axes L, P and S come from and run to

Codes = NDArray[np.uint16]
Ends = list[tuple[int, int]]
"""First and last place plus one along S, P and L."""


@dataclass(frozen=True)
class Scale:
    """The value of a code: ``low + step * code``, in physical units."""

    low: float
    step: float

    @classmethod
    def of(cls, *volumes: Volume) -> Scale:
        """Steps of one stored unit where 16 bits hold the range, wider ones elsewhere."""
        ends = [end for v in volumes for end in ends_of(v)]
        low, high = min(ends), max(ends)
        whole = all(v.array.dtype.kind in "iu" for v in volumes)
        finest = abs(volumes[0].rescale[0]) if whole else 0.0
        return cls(low, max(finest, (high - low) / LEVELS) or 1.0)

    def codes(self, volume: Volume, part: NDArray[Any]) -> Codes:
        """Some of a volume's stored values as codes."""
        slope, intercept = volume.rescale
        physical = part.astype(np.float64) * slope + intercept
        return np.rint((physical - self.low) / self.step).clip(0, LEVELS).astype(np.uint16)


@dataclass(frozen=True)
class Turn:
    """How a volume (z, y, x) lies in the patient: the axes nearest to S, P and L, and their signs."""

    order: tuple[int, int, int]
    signs: tuple[int, int, int]

    @classmethod
    def of(cls, affine: NDArray[np.float64]) -> Turn:
        orient: Any = orientations.io_orientation  # nibabel is typed in parts only
        nearest = orient(affine).astype(int)  # of x, y and z: index and sign among L, P and S
        across, along, up = np.argsort(nearest[:, 0]).tolist()
        order = (2 - up, 2 - along, 2 - across)
        return cls(order, (nearest[up, 1], nearest[along, 1], nearest[across, 1]))

    def seen(self, array: NDArray[Any]) -> NDArray[Any]:
        """A view with axes S, P and L, ascending."""
        flips = tuple(slice(None, None, sign) for sign in self.signs)
        return array.transpose(self.order)[flips]

    def index(self, axis: int, place: int, n: int) -> int:
        """In the array, of a place along one of the axes S, P and L."""
        return place if self.signs[axis] > 0 else n - 1 - place


def ends_of(volume: Volume) -> tuple[float, float]:
    """The lowest and the highest physical value."""
    return Range(float(volume.array.min()), float(volume.array.max())).physical(volume.rescale)


def usual_of(volume: Volume) -> tuple[float, float]:
    """Where nearly all physical values are, padding left out."""
    flat = volume.array.reshape(-1)
    sample = flat[:: -(-flat.size // SAMPLE)]
    if volume.padding is not None:
        inside = sample[sample != volume.padding]
        sample = inside if inside.size else sample
    low, high = np.percentile(sample, USUAL).tolist()
    return Range(low, high).physical(volume.rescale)


def planes(decoded: Volume, source: Volume | None) -> dict[str, Any]:
    """Everything that the page draws of volumes on one grid, in plain types."""
    volumes = [volume.uniform() for volume in (decoded, source) if volume is not None]
    scale, turn = Scale.of(*volumes), Turn.of(decoded.affine)
    box = _content(volumes[-1], turn)
    thin = [axis for axis in (0, 1, 2) if decoded.shape[turn.order[axis]] == 1]
    across = thin[:1] or [0, 1, 2]  # an image has one plane
    cuts = [_plane(volumes, scale, turn, axis, box) for axis in across]
    return {"low": scale.low, "step": scale.step, "unit": decoded.unit, "planes": cuts}


def _plane(volumes: list[Volume], scale: Scale, turn: Turn, axis: int, box: Ends) -> dict[str, Any]:
    """Slices across one of the axes S, P and L."""
    shape = [volumes[0].shape[k] for k in turn.order]
    spacing = [volumes[0].spacing[k] for k in turn.order]
    sides = [k for k in (0, 1, 2) if k != axis]
    strides = [-(-(box[k][1] - box[k][0]) // LONGEST) for k in sides]
    low, high = box[axis]
    at = np.unique(np.rint(np.linspace(low, high - 1, min(POSITIONS, high - low))).astype(int))
    cut: list[Any] = [slice(None)] * 3
    for k, stride in zip(sides, strides, strict=True):
        cut[k] = slice(box[k][0], box[k][1], stride)
    cut[axis] = at
    stacks = [scale.codes(v, np.moveaxis(turn.seen(v.array)[tuple(cut)], axis, 0)) for v in volumes]
    if sides[0] == 0:  # rows go from the feet up: the head belongs on top
        stacks = [stack[:, ::-1] for stack in stacks]
    placed = is_placed(volumes[0].affine, volumes[0].description)
    letters = ["zyx"[k] for k in turn.order]
    down, right = (
        list(WAYS[2 - k])
        if placed
        else [f"{end} {letters[k]}" for end in ("first", "last")[:: turn.signs[k]]]
        for k in sides
    )
    return {
        "name": PLANES[2 - axis] if placed else f"across-{letters[axis]}",
        "axis": letters[axis],
        "index": [turn.index(axis, int(k), shape[axis]) for k in at],
        "of": shape[axis],
        "rows": stacks[0].shape[1],
        "columns": stacks[0].shape[2],
        "strides": strides,
        "shown": [_shown(turn, k, box, shape) for k in sides],
        "pixel": [spacing[k] * stride for k, stride in zip(sides, strides, strict=True)],
        "down": down[::-1] if sides[0] == 0 else down,
        "right": right,
        "decoded": packed(stacks[0]),
        "source": packed(stacks[1]) if len(stacks) > 1 else None,
    }


def _shown(turn: Turn, axis: int, box: Ends, shape: list[int]) -> str:
    """Which of an axis is shown, in words; "" for all of it."""
    n = shape[axis]
    if box[axis] == (0, n):
        return ""
    first, last = sorted(turn.index(axis, place, n) for place in (box[axis][0], box[axis][1] - 1))
    return f"{'zyx'[turn.order[axis]]} {first}–{last} of {n}"


def packed(stack: Codes) -> str:
    """Codes (n, rows, columns) as base64 of deflate: differences along rows, low bytes, then high ones."""
    steps = stack.copy()
    steps[..., 1:] -= stack[..., :-1]  # modulo 2^16
    parts = steps.astype("<u2").view(np.uint8).reshape(-1, 2).T.tobytes()
    return b64encode(zlib.compress(parts, 9)).decode("ascii")


def _content(volume: Volume, turn: Turn) -> Ends:
    """The box of what is brighter than the background, along S, P and L; the whole where that is nothing."""
    slope, intercept = volume.rescale
    low, high = usual_of(volume)
    threshold = (low + EMPTY * (high - low) - intercept) / slope
    seen = turn.seen(volume.array)
    inside = seen > threshold if slope > 0 else seen < threshold
    if volume.padding is not None:
        inside &= seen != volume.padding
    found = find_objects(inside.view(np.uint8))
    return [(part.start, part.stop) for part in found[0]] if found else [(0, n) for n in seen.shape]
