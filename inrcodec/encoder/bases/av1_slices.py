"""A low-res volume as AV1 streams: what each quality gives, and the quality for a size or an error.

In: a low-res volume.  Out: `Slices`.
Invariant: what is said of a quality was decoded; each is encoded once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import log2
from typing import TypeAlias

import numpy as np

from inrcodec.encoder.bases.dial import Dial
from inrcodec.encoder.lowres import Lowres
from inrcodec.layers.base import activity
from inrcodec.layers.base.av1 import codec, video
from inrcodec.layers.base.companding import Nodes
from inrcodec.volume.arrays import Bool, Float
from inrcodec.volume.value_range import amplitude

QUICK, QUICKER = 4, 8  # efforts at which a quality is sought first: of few voxels, and of many
MANY = 1 << 23  # voxels
TRIES = 4  # encodings of either effort, at most
# Share that may be left over: of the bytes, of the error, and of either at first. A quality is 1.5 % of both.
NEAR, NEAR_ERROR, FAR = 0.01, 0.04, 0.1
LESS = 0.83  # of the error at the effort where a quality is sought first, at lower ones
# Root mean square error of the active voxels where nothing is requested, of their amplitude.
USUAL = 0.02
# Voxels that are encoded at the preset's effort; of each following 1.5th power of two, at the next one.
AT_BEST = 1 << 22

Value: TypeAlias = Callable[["Slices"], float]


@dataclass(frozen=True, eq=False)
class Slices:
    """A low-res volume, encoded at one quality."""

    quality: int
    sections: Mapping[str, bytes]
    error: float  # mean squared, of all voxels, in unit values
    active: float  # the same of the active voxels

    @property
    def bytes(self) -> int:
        """Of all sections."""
        return sum(map(len, self.sections.values()))


class Encoder:
    """What one low-res volume is encoded to.

    Parameters
    ----------
    target : ndarray, (z, y, x), in [-1, 1].
    active : ndarray, (z, y, x), the voxels that are not background.
    curve : of the companding.
    effort : of the file, one of `video.PRESETS`.
    """

    def __init__(self, target: Float, active: Bool, curve: Nodes, effort: int, threads: int) -> None:
        self.target, self.active, self.threads = target, active, threads
        self.effort, self.quickly = effort, max(effort, QUICK if target.size <= MANY else QUICKER)
        self.levels = codec.levels(curve)
        self.curve = curve
        z, y, x = target.shape
        self.step = codec.slices_of((z, y, x)) or z
        self.found: dict[tuple[int, int], Slices] = {}

    def at(self, quality: int, effort: int | None = None) -> Slices:
        """The low-res volume at a quality, at the effort of the file or another."""
        key = self.effort if effort is None else effort, quality
        if key not in self.found:
            self.found[key] = self._encoded(*key)
        return self.found[key]

    def best(self, most: int | None, error: float) -> Slices:
        """The finest of at most so many bytes, else the coarsest; without a limit, the coarsest of an error.

        Where no quality has so few bytes, or so little error, the nearest.
        """
        value, goal, qualities = _goal(most, error)
        self.quick(most, error)
        known = self._known(value, qualities, self.quickly)
        dial = self._dial(value, qualities, self.effort, known, 1.0 if most is not None else LESS)
        place = dial.last_within(goal, TRIES, NEAR if most is not None else NEAR_ERROR)
        return self.at(qualities[place or 0])

    def quick(self, most: int | None, error: float) -> Slices:
        """About what `best` gives, sooner."""
        value, goal, qualities = _goal(most, error)
        place = self._dial(value, qualities, self.quickly).last_within(goal, TRIES, FAR)
        return self.at(qualities[place or 0], self.quickly)

    def _dial(
        self,
        value: Value,
        qualities: Sequence[int],
        effort: int,
        hints: Mapping[int, float] | None = None,
        factor: float = 1.0,
    ) -> Dial:
        dial = Dial(lambda place: value(self.at(qualities[place], effort)), len(qualities), hints, factor)
        dial.known |= self._known(value, qualities, effort)
        return dial

    def _known(self, value: Value, qualities: Sequence[int], effort: int) -> dict[int, float]:
        tried = {quality: slices for (at, quality), slices in self.found.items() if at == effort}
        return {place: value(tried[q]) for place, q in enumerate(qualities) if q in tried}

    def _encoded(self, effort: int, quality: int) -> Slices:
        streams, error, active = [], 0.0, 0.0
        for z in range(0, len(self.target), self.step):
            part = slice(z, z + self.step)
            codes = codec.to_codes(self.target[part], self.curve)
            stream, decoded = codec.write_stream(codes, quality, effort, self.threads)
            streams.append(stream)
            for plane, target, inside in zip(decoded, self.target[part], self.active[part], strict=True):
                squares = np.square(self.levels[plane] - target)
                error += float(squares.sum())
                active += float(squares[inside].sum())
        count = max(int(self.active.sum()), 1)
        sections = codec.sections_of(streams)
        return Slices(quality, sections, error / self.target.size, active / count)


def _goal(most: int | None, error: float) -> tuple[Value, float, Sequence[int]]:
    """What is to be within a goal, the goal, and the qualities from the surest on."""
    if most is None:
        return (lambda slices: slices.error), error, video.QUALITIES
    return (lambda slices: slices.bytes), most, video.QUALITIES[::-1]


def effort_for(preset: int, voxels: int) -> int:
    """The effort for so many voxels, from that of a preset on."""
    return min(preset + max(0, round(log2(voxels / AT_BEST) / 1.5)), video.PRESETS[-1])


def usual_error(low: Lowres) -> float:
    """Mean squared error of all voxels where nothing is requested, in unit values."""
    return float((USUAL * amplitude(low.values)) ** 2 * low.active.mean())


def flat_codes(low: Lowres, curve: Nodes) -> tuple[int, ...]:
    """The codes of background, as the header states them; none where every voxel is active."""
    if low.cells is None:
        return ()
    return codec.flat_codes(low.background, activity.TOLERANCE * amplitude(low.values), curve)
