"""How far decoded voxels are from their source.

In: parts of a volume, before and after.  Out: errors of all of them.
Invariant: a sum of parts in one order is the same whoever computed which.
"""

from __future__ import annotations

from dataclasses import dataclass

from inrcodec.encoder.options import ResolvedOptions
from inrcodec.volume import metrics, windows
from inrcodec.volume.arrays import Array
from inrcodec.volume.box import Box
from inrcodec.volume.flat_tissue import FlatTissue
from inrcodec.volume.low_pass import BoxErrors
from inrcodec.volume.metrics import Errors, WindowErrors
from inrcodec.volume.value_range import Range
from inrcodec.volume.volume import Volume
from inrcodec.volume.windows import Focus


@dataclass(frozen=True)
class Outcome:
    """Errors of some voxels, in stored units."""

    errors: Errors
    windows: WindowErrors
    flat: BoxErrors  # where flat tissue is

    @classmethod
    def nothing(cls, volume: Volume, span: Range, focus: Focus, tissue: FlatTissue | None = None) -> Outcome:
        """Of no voxel yet: the peak and the windows of a volume, and where its flat tissue is."""
        errors = Errors(metrics.peak_for(volume, span), metrics.cap_for(volume, span))
        inside = WindowErrors(windows.error_windows(focus, volume, span))
        return cls(errors, inside, BoxErrors(() if tissue is None else tissue.boxes))

    def of(self, source: Array, decoded: Array, at: Box) -> Outcome:
        """Of a part alone, (z, y, x), the voxels of a box; what is measured is as in this outcome."""
        peak = self.errors.peak
        found = Outcome(
            Errors(peak, self.errors.cap), WindowErrors(self.windows.windows), BoxErrors(self.flat.boxes)
        )
        found.errors.add(source, decoded)
        found.windows.add(source, decoded)
        found.flat.add(at, source, decoded, peak)
        return found

    def is_nearer(self, other: Outcome, options: ResolvedOptions) -> bool:
        """Whether the decoded volume is better than that of another way.

        A PSNR that is requested counts every error in full; else a little metal is not to say which way
        serves the tissue.
        """
        if options.psnr is not None:
            return self.errors.squares < other.errors.squares
        return self.errors.capped < other.errors.capped

    def __add__(self, other: Outcome) -> Outcome:
        """Of the voxels of both."""
        return Outcome(self.errors + other.errors, self.windows + other.windows, self.flat + other.flat)


@dataclass(frozen=True)
class Sum:
    """What comes of all voxels of a volume."""

    outcome: Outcome
    digest: bytes  # of the decoded volume, see `format.digest`; none of what was not decoded
