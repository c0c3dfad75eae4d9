"""Slices of a volume along three axes, packed for a page.

In: volumes on one grid.  Out: planes as a browser unpacks them: 12 bits, differences along rows, deflate.
The one law: head up, front up, the patient's right on the left, as far as the affine tells; values that are
shown were in the volume.
"""

from __future__ import annotations

import zlib
from base64 import b64encode
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inrcodec.volume import Volume

POSITIONS = 40  # slices along an axis at most
LONGEST = 320  # pixels along a side at most
LEVELS = 4095  # steps of the values
EMPTY = 0.1  # of the range above its lowest value: air and its noise, which need no margin
NAMES = ("sagittal", "coronal", "axial")  # planes by the patient's axis that they are across: L, P, S

Codes = NDArray[np.uint16]


@dataclass(frozen=True)
class Scale:
    """What a code stands for: ``low + step * code``, in physical units."""

    low: float
    step: float

    @classmethod
    def of(cls, *volumes: Volume) -> Scale:
        """Steps of one stored unit where 12 bits hold the range, wider ones elsewhere."""
        ends = [end for v in volumes for end in ends_of(v)]
        low, high = min(ends), max(ends)
        whole = all(v.array.dtype.kind in "iu" for v in volumes)
        finest = abs(volumes[0].rescale[0]) if whole else 0.0
        return cls(low, max(finest, (high - low) / LEVELS) or 1.0)

    def codes(self, volume: Volume) -> Codes:
        """A volume's values as codes; at most a slice of floats at a time."""
        slope, intercept = volume.rescale
        found = np.empty(volume.shape, np.uint16)
        for z, plane in enumerate(volume.array):
            physical = plane.astype(np.float64) * slope + intercept
            found[z] = np.rint((physical - self.low) / self.step).clip(0, LEVELS)
        return found


def ends_of(volume: Volume) -> tuple[float, float]:
    """The lowest and the highest physical value."""
    slope, intercept = volume.rescale
    low, high = sorted(float(end) * slope + intercept for end in (volume.array.min(), volume.array.max()))
    return low, high


def planes(decoded: Volume, source: Volume | None) -> dict[str, Any]:
    """All that the page draws, in plain types.

    Parameters
    ----------
    decoded, source : on the same grid.
    """
    volumes = [decoded] if source is None else [decoded, source]
    scale = Scale.of(*volumes)
    coded = [scale.codes(v) for v in volumes]
    order, signs = _orientation(decoded.affine)
    coded = [_turned(codes, order, signs) for codes in coded]
    first = _content(coded[-1])
    spacing = [decoded.spacing[k] for k in order]
    found = []
    for axis in (0, 1, 2):  # across S, P, L
        if axis and decoded.shape[order[0]] == 1:
            continue  # an image has one plane
        found.append(_plane(coded, axis, first, spacing, order, signs, decoded.shape))
    return {"low": scale.low, "step": scale.step, "unit": decoded.unit, "planes": found}


def _plane(
    coded: list[Codes],
    axis: int,
    box: list[tuple[int, int]],
    spacing: list[float],
    order: list[int],
    signs: list[int],
    shape: tuple[int, int, int],
) -> dict[str, Any]:
    """Slices across one axis of volumes that are turned to (S, P, L)."""
    low, high = box[axis]
    count = min(POSITIONS, high - low)
    at = np.unique(np.rint(np.linspace(low, high - 1, count)).astype(int))
    sides = [k for k in (0, 1, 2) if k != axis]
    strides = [-(-(box[k][1] - box[k][0]) // LONGEST) for k in sides]
    cut: list[Any] = [slice(None)] * 3
    for k, stride in zip(sides, strides, strict=True):
        cut[k] = slice(box[k][0], box[k][1], stride)
    cut[axis] = at
    stacks = [np.moveaxis(codes[tuple(cut)], axis, 0) for codes in coded]
    if sides[0] == 0:  # rows go from the feet up: the head belongs on top
        stacks = [stack[:, ::-1] for stack in stacks]
    n = shape[order[axis]]
    index = at if signs[axis] > 0 else n - 1 - at
    return {
        "name": NAMES[2 - axis],
        "axis": "zyx"[order[axis]],
        "index": index.tolist(),
        "of": n,
        "rows": stacks[0].shape[1],
        "columns": stacks[0].shape[2],
        "strides": strides,
        "pixel": [spacing[k] * stride for k, stride in zip(sides, strides, strict=True)],
        "decoded": packed(stacks[0]),
        "source": packed(stacks[1]) if len(stacks) > 1 else None,
    }


def packed(stack: Codes) -> str:
    """Codes (n, rows, columns) as base64 of deflate: differences along rows, low bytes, then high ones."""
    steps = stack.copy()
    steps[..., 1:] -= stack[..., :-1]  # modulo 2^16
    flat = steps.reshape(-1)
    parts = (flat & 0xFF).astype(np.uint8).tobytes() + (flat >> 8).astype(np.uint8).tobytes()
    return b64encode(zlib.compress(parts, 9)).decode("ascii")


def _orientation(affine: NDArray[np.float64]) -> tuple[list[int], list[int]]:
    """Axes of the array (z, y, x) that run nearest to S, P and L, and whether they do or run against it."""
    columns = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)  # of x, y, z; rows L, P, S
    order, signs, left = [], [], [0, 1, 2]
    for patient in (2, 1, 0):
        column = max(left, key=lambda k: abs(columns[patient, k]))
        left.remove(column)
        order.append(2 - column)
        signs.append(1 if columns[patient, column] >= 0 else -1)
    return order, signs


def _turned(codes: Codes, order: list[int], signs: list[int]) -> Codes:
    """To (S, P, L), ascending."""
    flips = tuple(slice(None, None, sign) for sign in signs)
    return codes.transpose(order)[flips]


def _content(codes: Codes) -> list[tuple[int, int]]:
    """The box of what is brighter than the background; the whole where that is nothing."""
    inside = codes > int(codes.min()) + EMPTY * (int(codes.max()) - int(codes.min()))
    box = []
    for axis in (0, 1, 2):
        seen = np.flatnonzero(inside.any(axis=tuple(k for k in (0, 1, 2) if k != axis)))
        box.append((int(seen[0]), int(seen[-1]) + 1) if len(seen) else (0, codes.shape[axis]))
    return box
