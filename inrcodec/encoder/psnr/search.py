"""The attempts to reach a PSNR on one grid: what all ways to steer a coder have in common.

In: the first plan on a grid, and when the last fit ends.  Out: the smallest `Measured` that reaches it.
Invariant: what is returned was decoded and measured.

The squared error of a file is what its grid costs plus a multiple of the low-res error, whose decibels grow
with the logarithm of the bytes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from math import inf, log10
from time import monotonic

from inrcodec.encoder import fitted, measure
from inrcodec.encoder.fitted import Fitted
from inrcodec.encoder.measured import Measured
from inrcodec.encoder.plan import Plan
from inrcodec.errors import TargetNotReached
from inrcodec.progress import Progress

ATTEMPTS = 6  # fits at most, for one grid
SLOPE, GENTLEST, STEEPEST = 16.0, 8.0, 40.0  # dB of low-res PSNR for ten times the bytes; on the head 16
LARGEST_STEP = 4.0  # times the bytes, or the low-res error, of the attempt before
HOPELESS = 1.5  # times the bytes that another way takes: no further fit is tried for an estimate above
SHARE = 0.5  # of the time that is left, for one fit


class PsnrSearch(ABC):
    """The attempts on one grid.

    Parameters
    ----------
    first : the plan without a size.
    deadline : when the last fit ends, on the clock of :func:`time.monotonic`.

    Attributes
    ----------
    best : the highest PSNR that was reached, in dB.
    """

    spare: float  # dB above the PSNR: where attempts aim

    def __init__(self, first: Plan, deadline: float, progress: Progress | None) -> None:
        self.first, self.deadline, self.progress = first, deadline, progress
        assert first.options.psnr is not None
        self.psnr: float = first.options.psnr
        self.attempts: list[Measured] = []
        self.fitted: Fitted | None = None  # of the last attempt
        self.best = -inf

    @abstractmethod
    def start(self) -> Plan | None:
        """The first attempt; ``None`` where the grid is seen not to reach the PSNR."""

    @abstractmethod
    def is_near(self, attempt: Measured) -> bool:
        """Whether an attempt that reaches the PSNR is near enough to the smallest that does."""

    @abstractmethod
    def following(self, attempt: Measured) -> Plan:
        """The next attempt, by what the last came to."""

    @abstractmethod
    def cost_of_grid(self) -> float:
        """Squared error, of the squared peak, that is left without any of the base, after an attempt."""

    def run(self, most: float) -> Measured | None:
        """The smallest attempt that reaches the PSNR; ``None`` where this grid does not in so many bytes."""
        here = self.start()
        if here is None:
            return None
        for _ in range(ATTEMPTS):
            try:
                attempt = self._attempt(here)
            except TargetNotReached:  # too few bytes for any base: the attempts before must do
                if not self.attempts:
                    raise
                break
            if attempt is None:
                break
            self.best = max(self.best, attempt.psnr)
            if attempt.psnr == inf:  # one value: no size is too small
                break
            if attempt.psnr >= self.psnr and self.is_near(attempt):
                break
            if self.needed(attempt) > most * HOPELESS or monotonic() > self.deadline:
                break
            here = self.following(attempt)
        enough = [a for a in self.attempts if a.psnr >= self.psnr]
        return min(enough, key=lambda m: m.size, default=None)

    def needed(self, attempt: Measured) -> float:
        """Bytes that the PSNR takes, as far as the attempts tell."""
        more = -10 * log10(self.wanted(attempt)) - lowres_psnr(attempt)  # dB of the low-res volume
        return float(attempt.size * 10 ** (more / self._slope()))

    def wanted(self, attempt: Measured) -> float:
        """The low-res error, of the squared peak, that the PSNR takes, as far as an attempt tells."""
        cost, total = self.cost_of_grid(), 10 ** (-attempt.psnr / 10)
        share = max(total - cost, 1e-3 * total) / max(lowres_error(attempt), 1e-15)  # of it that is seen
        return float(max((10 ** (-(self.psnr + self.spare) / 10) - cost) / share, 1e-15))

    def _attempt(self, here: Plan) -> Measured | None:
        """Code a plan, from the attempt before, in a part of the time that is left.

        ``None`` where nothing else comes of it than of an attempt before.
        """
        if self.deadline < inf:
            left = max(self.deadline - monotonic(), 0.01)
            here = replace(here, options=replace(here.options, time_budget=SHARE * left))
        self.fitted = fitted.fit(here, self.progress, self.fitted)
        if any(self.fitted.sections == before.sections for before in self.attempts):
            return None
        attempt = measure.base(self.fitted, self.progress)
        self.attempts.append(attempt)
        return attempt

    def _slope(self) -> float:
        """Decibels of low-res PSNR for ten times the bytes, from the last two attempts."""
        if len(self.attempts) < 2:
            return SLOPE
        a, b = self.attempts[-2:]
        decades = log10(b.size / a.size)
        if abs(decades) < 0.02:
            return SLOPE
        return min(max((lowres_psnr(b) - lowres_psnr(a)) / decades, GENTLEST), STEEPEST)


def lowres_psnr(attempt: Measured) -> float:
    """PSNR of the low-res volume against what was fitted to, in dB."""
    return inf if attempt.lowres is None else attempt.lowres.psnr_target


def lowres_error(attempt: Measured) -> float:
    """The same as a share of the squared peak."""
    return float(10 ** (-lowres_psnr(attempt) / 10))
