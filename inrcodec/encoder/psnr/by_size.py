"""A coder that is steered to a size: warm-started fits, until one is little larger than the PSNR takes.

In: the first plan on a grid.  Out: the smallest `Measured` found that reaches the PSNR.
Invariant: the grid's own cost is measured once, before anything is fitted.
"""

from __future__ import annotations

from dataclasses import replace

from inrcodec.encoder import back_projection, measure, planner
from inrcodec.encoder.measured import Measured
from inrcodec.encoder.plan import Plan
from inrcodec.encoder.psnr.search import LARGEST_STEP, PsnrSearch

CLOSE = 0.03  # share of the bytes that a file may have more than the estimate of the smallest
ROOM_BELOW_CEILING = 0.3  # dB that a grid's ceiling must be above the PSNR


class SearchBySize(PsnrSearch):
    """Attempts of other and other sizes."""

    spare = 0.02

    def start(self) -> Plan | None:
        """See `PsnrSearch.start`."""
        self.first = back_projection.project(self.first, self.progress)
        self.ceiling = measure.ceiling(self.first)
        if self.ceiling < self.psnr + ROOM_BELOW_CEILING:
            self.best = self.ceiling
            return None
        return self._sized(None)

    def is_near(self, attempt: Measured) -> bool:
        """See `PsnrSearch.is_near`."""
        return attempt.size <= self.needed(attempt) * (1 + CLOSE)

    def following(self, attempt: Measured) -> Plan:
        """See `PsnrSearch.following`."""
        needed, took = self.needed(attempt), attempt.size
        return self._sized(round(min(max(needed, took / LARGEST_STEP), took * LARGEST_STEP)))

    def cost_of_grid(self) -> float:
        """See `PsnrSearch.cost_of_grid`."""
        return float(10 ** (-self.ceiling / 10))

    def _sized(self, size: int | None) -> Plan:
        return replace(planner.resized(self.first, size), notices=self.first.notices)
