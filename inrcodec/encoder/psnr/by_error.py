"""A coder that is steered to a low-res error: attempts on the line from the low-res error to the file's.

In: the first plan on a grid.  Out: the smallest `Measured` found that reaches the PSNR.
Invariant: a grid that cannot reach the PSNR is found out by its attempts, which take seconds.
"""

from __future__ import annotations

from dataclasses import replace

from inrcodec.encoder import back_projection
from inrcodec.encoder.measured import Measured
from inrcodec.encoder.plan import Plan
from inrcodec.encoder.psnr.search import LARGEST_STEP, PsnrSearch, lowres_error

SEEN = 1.4  # times the low-res error in the full-res one, until an attempt has told; 1.47 on a head
LEAST_OF_BASE = 0.25  # of the error, what a first attempt leaves to the base
OVER = 0.08  # dB above the PSNR that end a search


class SearchByError(PsnrSearch):
    """Attempts of other and other low-res errors."""

    spare = OVER / 2

    def start(self) -> Plan | None:
        """The low-res error that serves by what the grid costs: by its forecast, then by back-projection."""
        row = next((row for row in self.first.grid.considered if row.chosen), None)
        forecast = 10 ** (-row.ceiling / 10) if row is not None and row.ceiling is not None else 0.0
        here = back_projection.project(self._aimed(self._first(forecast)), self.progress)
        self.first = here
        if here.grid_error is None:
            return here
        return self._aimed(self._first(here.grid_error * self._share**2))

    def _first(self, cost: float) -> float:
        """The low-res error, of the squared peak, of a first attempt, by what the grid costs."""
        whole = 10 ** (-(self.psnr + self.spare) / 10)
        return float(max(whole - cost, LEAST_OF_BASE * whole) / SEEN)

    def is_near(self, attempt: Measured) -> bool:
        """See `PsnrSearch.is_near`."""
        return attempt.psnr <= self.psnr + OVER

    def following(self, attempt: Measured) -> Plan:
        """See `PsnrSearch.following`."""
        had = lowres_error(attempt)
        return self._aimed(min(max(self.wanted(attempt), had / LARGEST_STEP), had * LARGEST_STEP))

    def cost_of_grid(self) -> float:
        """On the line through the last two attempts, if there are two."""
        points = [(lowres_error(attempt), 10 ** (-attempt.psnr / 10)) for attempt in self.attempts[-2:]]
        (b, y), (a, x) = points[-1], points[0]
        slope = (y - x) / (b - a) if a != b else SEEN if len(points) == 1 else y / b
        return max(y - b * slope, 0.0)

    def _aimed(self, error: float) -> Plan:
        """The plan for a low-res error, of the squared peak."""
        share = self._share
        return replace(self.first, error=error / share**2 if share else 1.0)  # a constant has no error

    @property
    def _share(self) -> float:
        """An error of unit values, of the peak."""
        facts = self.first.facts
        return (facts.span.high - facts.span.low) / 2 / (facts.peak or 1.0)
