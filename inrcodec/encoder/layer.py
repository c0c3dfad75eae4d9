"""The refinement layer of a volume while it is made, brick by brick.

In: a volume, and how its values are counted and quantised.  Out: `Layer`, with its sections.
Invariant: bricks are taken in their order, whoever computes them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from math import prod
from typing import Any

from inrcodec.encoder import brick_tasks
from inrcodec.encoder.brick_tasks import Brick
from inrcodec.encoder.outcome import Outcome, Sum
from inrcodec.encoder.presets import ResolvedOptions
from inrcodec.encoder.tasks import Reports, Tasks, silent
from inrcodec.format import digest
from inrcodec.format.spool import Spool
from inrcodec.layers import padding, special
from inrcodec.layers.lattice.bricks import Apart, Coding
from inrcodec.progress import Progress, shares
from inrcodec.volume.bricks import Bricks
from inrcodec.volume.volume import Volume

REFINE, VERIFY = "refine", "verify"


@dataclass(frozen=True)
class BrickTasks:
    """How the bricks of a volume are coded and compared.

    Attributes
    ----------
    volume : in memory or read lazily.
    nothing : an outcome of no voxel: what is to be measured.
    """

    volume: Volume
    bricks: Bricks
    tasks: Tasks
    nothing: Outcome

    @classmethod
    def of(cls, volume: Volume, options: ResolvedOptions, nothing: Outcome) -> BrickTasks:
        """Of the bricks of a volume, as the options have them."""
        return cls(volume, Bricks.of(volume.shape, options.brick), options.tasks, nothing)

    def coded(
        self, coding: Coding, spool: Spool, trial: bool, progress: Progress | None = None
    ) -> tuple[list[Apart], Sum]:
        """Code all bricks: what is stored beside their streams, and what they come to.

        Parameters
        ----------
        spool : takes their streams.
        trial : whether they are not decoded from them yet.
        """
        reports = self._reports(REFINE, progress)
        work = partial(brick_tasks.coded, coding, self.nothing, trial)
        bricks = list(self.bricks)
        found = self.tasks.map(work, self.volume.array, bricks, bricks, reports)
        aparts: list[Apart] = []

        def kept() -> Iterator[Brick]:
            for brick in found:
                spool.add(brick.streams)
                aparts.append(brick.apart)
                yield brick

        return aparts, self._sum(kept())

    def checked(
        self, coding: Coding, spool: Spool, aparts: list[Apart], progress: Progress | None = None
    ) -> Sum:
        """Decode all bricks from all that is stored of them."""
        given = ((spool.streams(k), apart, self.bricks[k]) for k, apart in enumerate(aparts))
        work, reports = partial(brick_tasks.checked, coding, self.nothing), self._reports(VERIFY, progress)
        return self._sum(self.tasks.map(work, self.volume.array, list(self.bricks), given, reports))

    def _reports(self, stage: str, progress: Progress | None) -> Reports:
        if progress is None:
            return silent
        return shares(progress, stage, [prod(brick.shape) for brick in self.bricks])

    def _sum(self, found: Iterator[Brick]) -> Sum:
        outcome, digests = self.nothing, []
        for brick in found:
            outcome += brick.outcome
            digests.append(brick.digest)
        return Sum(outcome, digest.combined(digests))


@dataclass(frozen=True, eq=False)
class Layer:
    """A coded refinement."""

    fields: dict[str, Any]  # of the header
    coding: Coding
    tasks: BrickTasks
    spool: Spool  # the streams of all bricks
    aparts: list[Apart]  # what is stored of them beside the streams
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
    def is_exact(self) -> bool:
        """Whether no voxel is quantised."""
        return bool(max(self.fields["refine_steps"]) == 1)
