"""All bricks of a volume: coded, or decoded from what is stored of them.

In: a volume, and how its values are counted and quantised.  Out: what is stored, and what it comes to.
Invariant: bricks are taken in their order, whoever computes them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from math import prod

from inrcodec.encoder import brick_tasks
from inrcodec.encoder.brick_tasks import Brick
from inrcodec.encoder.normal_equations import Halves
from inrcodec.encoder.outcome import Outcome, Sum
from inrcodec.encoder.presets import ResolvedOptions
from inrcodec.encoder.tasks import Reports, Tasks, silent
from inrcodec.format import digest
from inrcodec.format.spool import Spool
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
    ) -> tuple[list[Apart], Halves, Sum]:
        """Code all bricks: what is stored beside their streams, what filters are fitted to, and an outcome.

        Parameters
        ----------
        spool : takes their streams.
        trial : whether they are not decoded from them yet, and a filter may be fitted to them.
        """
        reports = self._reports(REFINE, progress)
        of_trial = brick_tasks.trial_of(self.volume.shape) if trial else None
        work = partial(brick_tasks.coded, coding, self.nothing, of_trial)
        bricks = list(self.bricks)
        found = self.tasks.map(work, self.volume.array, bricks, bricks, reports)
        aparts: list[Apart] = []
        halves = brick_tasks.NOTHING

        def kept() -> Iterator[Brick]:
            nonlocal halves
            for brick in found:
                spool.add(brick.streams)
                aparts.append(brick.apart)
                halves += brick.halves
                yield brick

        come_to = self._sum(kept())
        return aparts, halves, come_to

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
