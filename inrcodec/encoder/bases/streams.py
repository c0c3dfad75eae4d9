"""A low-res volume as streams of a coder: what each setting gives, and the setting for a size or an error.

In: a low-res volume.  Out: `Slices`.
Invariant: what is said of a setting was decoded; each is encoded once.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np

from inrcodec.encoder.bases.dial import Dial
from inrcodec.encoder.lowres import Lowres
from inrcodec.volume.arrays import Bool, Float
from inrcodec.volume.value_range import amplitude

TRIES = 4  # encodings of either effort, at most
# Share that may be left over: of the bytes, of the error, and of either at first. A setting is 2 % of both.
NEAR, NEAR_ERROR, FAR = 0.01, 0.04, 0.1
NEAR_OF_MANY = 0.03  # of the bytes where voxels are so many that a part of them is tried first
# Root mean square error of the active voxels where nothing is requested, of their amplitude.
USUAL = 0.02


class Result(Protocol):
    """What a setting comes to."""

    @property
    def bytes(self) -> int:
        """Of all sections."""

    @property
    def error(self) -> float:
        """Mean squared, of all voxels, in unit values."""


class Outcome(NamedTuple):
    """What a setting is expected to come to, as `Result`."""

    bytes: int
    error: float


Value: TypeAlias = Callable[[Result], float]


@dataclass(frozen=True, eq=False)
class Slices:
    """A low-res volume, encoded at one setting."""

    setting: int
    sections: Mapping[str, bytes]  # of what was encoded
    bytes: int  # of all sections, of the whole volume
    error: float  # mean squared, of all voxels, in unit values
    active: float  # the same of the active voxels
    fields: Mapping[str, Any]  # see `Coded.fields`


class Encoder(ABC):
    """What one low-res volume is encoded to.

    Parameters
    ----------
    target : ndarray, (z, y, x), in [-1, 1].
    active : ndarray, (z, y, x), the voxels that are not background.
    settings : from the finest to the coarsest.
    step : slices of a stream.
    effort, quickly : of the file, and where a setting is sought first.
    less : of the error at that effort, at the other.
    part : slices that stand for all at that effort, where it is another; by default it is all of them.
    expected : what some settings come to, about, where that is known beforehand.
    """

    def __init__(
        self,
        target: Float,
        active: Bool,
        settings: Sequence[int],
        step: int,
        *,
        effort: int = 0,
        quickly: int = 0,
        less: float = 1.0,
        part: slice | None = None,
        expected: Mapping[int, Result] | None = None,
    ) -> None:
        self.target, self.active = target, active
        self.settings, self.step = settings, step
        self.effort, self.quickly, self.less = effort, quickly, less
        self.part, self.expected = part, expected or {}
        self.found: dict[tuple[int, int], Slices] = {}

    @abstractmethod
    def stream(self, part: slice, setting: int, effort: int) -> tuple[bytes, Iterable[Float]]:
        """The stream of some slices, and the unit values of each that it decodes to."""

    def fields(self, setting: int, effort: int) -> Mapping[str, Any]:
        """Header fields of a setting, after its streams were made: by default nothing."""
        return {}

    @abstractmethod
    def sections_of(self, streams: list[bytes]) -> Mapping[str, bytes]:
        """The sections of all streams, in their order."""

    def at(self, setting: int, effort: int | None = None) -> Slices:
        """The low-res volume at a setting, at the effort of the file or another."""
        key = self.effort if effort is None else effort, setting
        if key not in self.found:
            self.found[key] = self._encoded(*key)
        return self.found[key]

    def best(self, most: int | None, error: float) -> Slices:
        """The finest of at most so many bytes, else the coarsest; without a limit, the coarsest of an error.

        Where no setting has so few bytes, or so little error, the nearest.
        """
        value, goal, settings = self._goal(most, error)
        self.quick(most, error)
        known = self._known(value, settings, self.quickly)
        dial = self._dial(value, settings, self.effort, known, 1.0 if most is not None else self.less)
        near = NEAR if self.part is None else NEAR_OF_MANY
        place = dial.last_within(goal, TRIES, near if most is not None else NEAR_ERROR)
        return self.at(settings[place or 0])

    def quick(self, most: int | None, error: float) -> Slices:
        """About what `best` gives, sooner."""
        value, goal, settings = self._goal(most, error)
        hints = {p: value(self.expected[s]) for p, s in enumerate(settings) if s in self.expected}
        place = self._dial(value, settings, self.quickly, hints).last_within(goal, TRIES, FAR)
        return self.at(settings[place or 0], self.quickly)

    def _goal(self, most: int | None, error: float) -> tuple[Value, float, Sequence[int]]:
        """What is to be within a goal, the goal, and the settings from the surest on."""
        if most is None:
            return (lambda slices: slices.error), error, self.settings
        return (lambda slices: slices.bytes), most, self.settings[::-1]

    def _dial(
        self,
        value: Value,
        settings: Sequence[int],
        effort: int,
        hints: Mapping[int, float] | None = None,
        factor: float = 1.0,
    ) -> Dial:
        dial = Dial(lambda place: value(self.at(settings[place], effort)), len(settings), hints, factor)
        dial.known |= self._known(value, settings, effort)
        return dial

    def _known(self, value: Value, settings: Sequence[int], effort: int) -> dict[int, float]:
        tried = {setting: slices for (at, setting), slices in self.found.items() if at == effort}
        return {place: value(tried[s]) for place, s in enumerate(settings) if s in tried}

    def _encoded(self, effort: int, setting: int) -> Slices:
        streams, error, active = [], 0.0, 0.0
        some = self.part if self.part is not None and effort != self.effort else slice(len(self.target))
        first, last, _ = some.indices(len(self.target))
        for z in range(first, last, self.step):
            part = slice(z, min(z + self.step, last))
            stream, decoded = self.stream(part, setting, effort)
            streams.append(stream)
            for plane, target, inside in zip(decoded, self.target[part], self.active[part], strict=True):
                squares = np.square(plane - target)
                error += float(squares.sum())
                active += float(squares[inside].sum())
        sections, count = self.sections_of(streams), max(int(self.active[some].sum()), 1)
        more = max(int(self.active.sum()), 1) / count
        size = round(more * sum(map(len, sections.values())))
        fields = self.fields(setting, effort)
        return Slices(setting, sections, size, more * error / self.target.size, active / count, fields)


def usual_error(low: Lowres) -> float:
    """Mean squared error of all voxels where nothing is requested, in unit values."""
    return float((USUAL * amplitude(low.values)) ** 2 * low.active.mean())
