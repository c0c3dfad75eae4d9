"""How far decoded voxels are from their source.

In: parts of a volume, before and after.  Out: errors of all of them.
Invariant: a sum of parts in one order is the same whoever computed which.
"""

from __future__ import annotations

from dataclasses import dataclass

from inrcodec.volume import metrics, windows
from inrcodec.volume.arrays import Array
from inrcodec.volume.metrics import Errors, WindowErrors
from inrcodec.volume.value_range import Range
from inrcodec.volume.volume import Volume
from inrcodec.volume.windows import Focus


@dataclass(frozen=True)
class Outcome:
    """Errors of some voxels, in stored units."""

    errors: Errors
    windows: WindowErrors

    @classmethod
    def nothing(cls, volume: Volume, span: Range, focus: Focus) -> Outcome:
        """Of no voxel yet: the peak and the windows of a volume."""
        peak = metrics.peak_for(volume, span)
        return cls(Errors(peak), WindowErrors(windows.error_windows(focus, volume, span)))

    def of(self, source: Array, decoded: Array) -> Outcome:
        """Of a part alone, (z, y, x); peak and windows are those of this outcome."""
        found = Outcome(Errors(self.errors.peak), WindowErrors(self.windows.windows))
        found.errors.add(source, decoded)
        found.windows.add(source, decoded)
        return found

    def __add__(self, other: Outcome) -> Outcome:
        """Of the voxels of both."""
        return Outcome(self.errors + other.errors, self.windows + other.windows)


@dataclass(frozen=True)
class Sum:
    """What comes of all voxels of a volume."""

    outcome: Outcome
    digest: bytes  # of the decoded volume, see `format.digest`; none of what was not decoded
