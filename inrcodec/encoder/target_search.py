"""The smallest file that reaches a PSNR: a search over plans.

In: facts of a volume, and options with a PSNR.  Out: the smallest `Measured` found that reaches it.
Invariant: what is returned was decoded and measured; a PSNR that was not reached is an error.

Networks or a refinement, whichever takes fewer bytes.  Grids are tried in the order of the bytes that are
forecast for the PSNR, until one reaches it.  The squared error of a file is what its grid costs, a ceiling
that is measured once, plus a multiple of the low-res error.  A coder that can be steered to a low-res error
is; of another the size is found by warm-started fits: the decibels of the low-res error grow with the
logarithm of the bytes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf, log10
from time import monotonic

from inrcodec.encoder import back_projection, bounded, fitted, grid_search, measure, planner
from inrcodec.encoder.facts import Facts
from inrcodec.encoder.fitted import Fitted
from inrcodec.encoder.grid_search import Choice
from inrcodec.encoder.measured import Measured
from inrcodec.encoder.options import ResolvedOptions
from inrcodec.encoder.plan import Plan
from inrcodec.errors import FitFailed, InputError, TargetNotReached
from inrcodec.progress import Progress

ATTEMPTS = 6  # fits at most, for one grid
SEEN = 1.4  # times the low-res error in the full-res one, until an attempt has told; 1.47 on a head
LEAST_OF_BASE = 0.25  # of the error, what a first attempt leaves to the base
OVER = 0.08  # dB above the PSNR that end a search that is steered to an error
SPARE = 0.02  # dB above the PSNR: where the fits aim
CLOSE = 0.03  # share of the bytes that a file may have more than the estimate of the smallest
SLOPE, GENTLEST, STEEPEST = 16.0, 8.0, 40.0  # dB of low-res PSNR for ten times the bytes; on the head 16
LARGEST_STEP = 4.0  # times the bytes of the attempt before
# Of a refinement's bytes: networks that are forecast to take more are not tried; forecasts flatter.
WORTH_TRYING = 0.8
# Of a refinement's forecast: networks that take less are not held against a refinement.
CLEARLY_SMALLER = 0.7
HOPELESS = 1.5  # times the bytes that another way takes: no further fit is tried for an estimate above
ROOM_BELOW_CEILING = 0.3  # dB that a grid's ceiling must be above the PSNR
SHARE = 0.5  # of the time that is left, for one fit


@dataclass(frozen=True)
class Forecasts:
    """Bytes that either way is forecast to take for a PSNR; ``None`` where it cannot reach it."""

    grids: list[Choice]  # in the order to try them, the one with the fewest bytes first
    networks: int | None
    refinement: int | None

    @property
    def favours_networks(self) -> bool:
        """Whether networks are worth a try."""
        if self.refinement is None:
            return True
        return self.networks is not None and self.networks < self.refinement * WORTH_TRYING


def forecast(facts: Facts, options: ResolvedOptions) -> Forecasts:
    """What either way is forecast to take, from a part of the volume."""
    assert options.psnr is not None
    grids = grid_search.in_order(facts, options, options.psnr)
    networks = next((row.bytes for row in grids[0].considered if row.chosen), 0)
    try:
        layer = bounded.with_psnr(facts.part, facts.span, options)
    except (InputError, TargetNotReached):  # no values that a refinement could count
        return Forecasts(grids, networks, None)
    size = layer.size * facts.volume.shape[0] // facts.part.shape[0]
    return Forecasts(grids, networks, size)


def smallest(facts: Facts, options: ResolvedOptions, progress: Progress | None = None) -> Measured:
    """The smallest file found that reaches ``options.psnr``."""
    forecasts = forecast(facts, options)
    if progress is not None:
        progress("grid", 1.0)
    if not forecasts.favours_networks:
        return _refined(facts, options, forecasts, None, progress)
    most = inf if forecasts.refinement is None else forecasts.refinement
    try:
        found = _by_networks(facts, options, forecasts, most, progress)
    except (TargetNotReached, FitFailed):
        if forecasts.refinement is None:
            raise
        return _refined(facts, options, forecasts, None, progress)
    if found.size < most * CLEARLY_SMALLER:
        return found
    refined = _refined(facts, options, forecasts, found, progress)
    return min(found, refined, key=lambda m: m.size)


def _refined(
    facts: Facts,
    options: ResolvedOptions,
    forecasts: Forecasts,
    networks: Measured | None,
    progress: Progress | None,
) -> Measured:
    """A refinement alone."""
    layer = bounded.with_psnr(facts.volume, facts.span, options, progress, facts.flat_tissue)
    found = measure.refinement(planner.without_base(facts, options), layer, progress=progress)
    if networks is not None:
        took = f"takes {networks.size:,} bytes"
    elif forecasts.favours_networks:
        took = "does not reach it in as many"
    elif forecasts.networks is not None:
        took = f"is forecast to take {forecasts.networks:,} bytes"
    else:
        took = "does not reach it"
    notice = f"a refinement alone reaches {options.psnr:g} dB in fewer bytes: base {options.coder!r} {took}"
    return replace(found, notices=(*found.notices, notice))


def _by_networks(
    facts: Facts, options: ResolvedOptions, forecasts: Forecasts, most: float, progress: Progress | None
) -> Measured:
    """Networks alone; not sought further where they need over ``most`` bytes."""
    best, limit = -inf, options.time_budget
    deadline = inf if limit is None else monotonic() + limit
    for grid in forecasts.grids:
        search = _Search(planner.on_grid(facts, options, grid, progress), deadline, progress)
        found = search.run(most)
        if found is not None:
            return found
        best = max(best, search.best)
    raise TargetNotReached(
        f"{options.psnr:g} dB were requested, {best:.2f} dB is the most that was reached; "
        "request less, or allow a finer factor or more steps",
        value=best,
        option="psnr",
    )


class _Search:
    """The attempts on one grid.

    Parameters
    ----------
    first : the plan without a size.
    deadline : when the last fit ends, on the clock of :func:`time.monotonic`.
    """

    def __init__(self, first: Plan, deadline: float, progress: Progress | None) -> None:
        self.first, self.deadline, self.progress = first, deadline, progress
        self.aims = planner.aims(first)
        assert first.options.psnr is not None
        self.psnr: float = first.options.psnr
        self.attempts: list[Measured] = []
        self.fitted: Fitted | None = None  # of the last attempt
        self.best = -inf  # dB

    def run(self, most: float) -> Measured | None:
        """The smallest attempt that reaches the PSNR; ``None`` where this grid does not in so many bytes."""
        if self.aims:
            ceiling = self._forecast_ceiling()
            here = self.first = back_projection.project(self._aimed_first(ceiling), self.progress)
        else:
            self.first = back_projection.project(self.first, self.progress)
            ceiling = measure.ceiling(self.first)
            if ceiling < self.psnr + ROOM_BELOW_CEILING:
                self.best = ceiling
                return None
            here = self._sized(None)
        for _ in range(ATTEMPTS):
            try:
                attempt = self._attempt(here)
            except TargetNotReached:  # too few bytes for any network: the attempts before must do
                if not self.attempts:
                    raise
                break
            reached, took = attempt.psnr, attempt.size
            self.best = max(self.best, reached)
            if reached == inf:  # one value: no size is too small
                break
            needed = self._needed(attempt, ceiling)
            near = reached <= self.psnr + OVER if self.aims else took <= needed * (1 + CLOSE)
            if reached >= self.psnr and near:
                break
            if needed > most * HOPELESS or monotonic() > self.deadline:
                break
            here = self._next(attempt, ceiling)
        enough = [a for a in self.attempts if a.psnr >= self.psnr]
        return min(enough, key=lambda m: m.size, default=None)

    def _forecast_ceiling(self) -> float:
        """PSNR that the grid allows by its forecast: attempts that are quick find out soon enough."""
        return next((row.ceiling for row in self.first.grid.considered if row.chosen), None) or inf

    def _aimed_first(self, ceiling: float) -> Plan:
        """The first attempt: the low-res error that is forecast to serve."""
        whole = 10 ** (-(self.psnr + SPARE) / 10)
        return self._aimed(max(whole - 10 ** (-ceiling / 10), LEAST_OF_BASE * whole) / SEEN)

    def _next(self, attempt: Measured, ceiling: float) -> Plan:
        """The next attempt, by what the last came to."""
        if self.aims:
            had = 10 ** (-_lowres(attempt) / 10)
            wanted = max(self._wanted(attempt, ceiling), had / LARGEST_STEP)
            return self._aimed(min(wanted, had * LARGEST_STEP))
        took = attempt.size
        needed = self._needed(attempt, ceiling)
        return self._sized(round(min(max(needed, took / LARGEST_STEP), took * LARGEST_STEP)))

    def _sized(self, size: int | None) -> Plan:
        return replace(planner.resized(self.first, size), notices=self.first.notices)

    def _aimed(self, error: float) -> Plan:
        """The plan for a low-res error, at the peak of the PSNR."""
        facts = self.first.facts
        share = (facts.span.high - facts.span.low) / 2 / (facts.peak or 1.0)
        return replace(self.first, error=error / share**2 if share else 1.0)  # a constant has no error

    def _attempt(self, here: Plan) -> Measured:
        """Code a plan, from the attempt before, in a part of the time that is left."""
        if self.deadline < inf:
            left = max(self.deadline - monotonic(), 0.01)
            here = replace(here, options=replace(here.options, time_budget=SHARE * left))
        self.fitted = fitted.fit(here, self.progress, self.fitted)
        attempt = measure.base(self.fitted, self.progress)
        self.attempts.append(attempt)
        return attempt

    def _needed(self, attempt: Measured, ceiling: float) -> float:
        """Bytes that the PSNR takes, as far as the attempts tell."""
        more = -10 * log10(self._wanted(attempt, ceiling)) - _lowres(attempt)  # dB of the low-res volume
        return float(attempt.size * 10 ** (more / self._slope()))

    def _wanted(self, attempt: Measured, ceiling: float) -> float:
        """The low-res error that the PSNR takes, as far as an attempt tells."""
        cost, total = 10 ** (-ceiling / 10), 10 ** (-attempt.psnr / 10)
        low = 10 ** (-_lowres(attempt) / 10)
        if self.aims:
            cost = self._cost_of_grid()
        share = max(total - cost, 1e-3 * total) / max(low, 1e-15)  # of the low-res error that is seen
        spare = OVER / 2 if self.aims else SPARE
        return float(max((10 ** (-(self.psnr + spare) / 10) - cost) / share, 1e-15))

    def _cost_of_grid(self) -> float:
        """The error without any of the base: on the line through the last two attempts, if there are two."""
        if len(self.attempts) == 1:
            (attempt,) = self.attempts
            return max(10 ** (-attempt.psnr / 10) - SEEN * 10 ** (-_lowres(attempt) / 10), 0.0)
        (a, x), (b, y) = (
            (10 ** (-_lowres(attempt) / 10), 10 ** (-attempt.psnr / 10)) for attempt in self.attempts[-2:]
        )
        return max(x - a * (y - x) / (b - a), 0.0) if a != b else 0.0

    def _slope(self) -> float:
        """Decibels of low-res PSNR for ten times the bytes, from the last two attempts."""
        if len(self.attempts) < 2:
            return SLOPE
        a, b = self.attempts[-2:]
        decades = log10(b.size / a.size)
        if abs(decades) < 0.02:
            return SLOPE
        return min(max((_lowres(b) - _lowres(a)) / decades, GENTLEST), STEEPEST)


def _lowres(attempt: Measured) -> float:
    """PSNR of the low-res volume against what was fitted to, in dB."""
    return inf if attempt.lowres is None else attempt.lowres.psnr_target
