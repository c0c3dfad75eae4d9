"""The refinement layer of a volume while it is made.

In: what all bricks came to.  Out: `Layer`, with its sections.
Invariant: what a layer says of itself was decoded, unless it is a trial.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from inrcodec.encoder.all_bricks import BrickTasks
from inrcodec.encoder.normal_equations import Halves
from inrcodec.encoder.outcome import Outcome, Sum
from inrcodec.format.spool import Spool
from inrcodec.layers import padding, special
from inrcodec.layers.lattice.bricks import Apart, Coding
from inrcodec.progress import Progress

ROUNDING = 1 / 12  # mean squared error of a filtered integer; one that a lattice gives back may have none


@dataclass(frozen=True, eq=False)
class Layer:
    """A coded refinement."""

    fields: dict[str, Any]  # of the header
    coding: Coding
    tasks: BrickTasks
    spool: Spool  # the streams of all bricks
    aparts: list[Apart]  # what is stored of them beside the streams
    halves: Halves  # of a trial: what the filter of the next is fitted to
    found: Sum  # what they come to
    trial: bool  # whether they were not decoded yet

    @property
    def sections(self) -> Mapping[str, bytes | Spool]:
        """Those of padding and special values, and LIDX and LATT."""
        exact = padding.sections_of([apart.mask for apart in self.aparts])
        exact |= special.sections_of([apart.special for apart in self.aparts])
        return {**exact, "LIDX": self.spool.index, "LATT": self.spool}

    def checked(self, progress: Progress | None = None) -> Layer:
        """The same layer, decoded."""
        if not self.trial:
            return self
        found = self.tasks.checked(self.coding, self.spool, self.aparts, progress)
        return replace(self, found=found, trial=False)

    @property
    def outcome(self) -> Outcome:
        """How far it is from the volume."""
        return self.found.outcome

    @property
    def size(self) -> int:
        """Bytes of the sections."""
        return sum(map(len, self.sections.values()))

    @property
    def next_filter(self) -> tuple[int, ...]:
        """Weights of the filter for the next trial, of nearly the same steps; none where none is of use."""
        return self.halves.weights(self.size, ROUNDING)

    def gain_of(self, weights: tuple[int, ...]) -> float:
        """dB that they bring this trial, if it had no filter."""
        return self.halves.gain(weights, ROUNDING)

    @property
    def is_exact(self) -> bool:
        """Whether no voxel is quantised."""
        return bool(max(self.fields["refine_steps"]) == 1)
