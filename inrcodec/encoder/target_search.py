"""The smallest file that reaches a PSNR: a search over plans.

In: facts of a volume, and options with a PSNR.  Out: the smallest `Measured` found that reaches it.
Invariant: what is returned was decoded and measured; a PSNR that was not reached is an error.

A base or a refinement, whichever takes fewer bytes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf

from inrcodec.encoder import bounded, grid_search, measure, planner
from inrcodec.encoder.bases.table import BASES
from inrcodec.encoder.facts import Facts
from inrcodec.encoder.grid_search import Choice
from inrcodec.encoder.measured import Measured
from inrcodec.encoder.options import ResolvedOptions
from inrcodec.encoder.psnr import grids as psnr_grids
from inrcodec.errors import InputError, TargetNotReached
from inrcodec.progress import Progress

FAR_LARGER = 4  # times the bytes of networks: then a third of the slices is enough of a forecast
# Of a refinement's forecast: networks that take less are not held against a refinement.
CLEARLY_SMALLER = 0.7


@dataclass(frozen=True)
class Forecasts:
    """Bytes that either way is forecast to take for a PSNR; ``None`` where it cannot reach it."""

    grids: list[Choice]  # in the order to try them, the one with the fewest bytes first
    networks: int | None
    refinement: int | None
    start: bounded.Start | None  # of the search for that refinement
    worth: float  # see `Base.worth`

    @property
    def favours_networks(self) -> bool:
        """Whether networks are worth a try."""
        if self.refinement is None:
            return True
        return self.networks is not None and self.networks < self.refinement * self.worth


def forecast(facts: Facts, options: ResolvedOptions) -> Forecasts:
    """What either way is forecast to take, from a part of the volume."""
    assert options.psnr is not None
    grids = grid_search.in_order(facts, options, options.psnr)
    networks = next((row.bytes for row in grids[0].considered if row.chosen), 0)
    refinement, start = _of_refinement(facts, options, networks)
    return Forecasts(grids, networks, refinement, start, BASES[options.coder].worth)


def _of_refinement(
    facts: Facts, options: ResolvedOptions, networks: int | None
) -> tuple[int | None, bounded.Start | None]:
    """Bytes of a refinement by some slices; by a few, where these say that networks take far fewer."""
    some, start = facts.part.array, None
    few = some[len(some) // 3 : -(-2 * len(some) // 3)]
    for array in (few, some):
        try:
            part = replace(facts.part, array=array)
            layer = bounded.with_psnr(part, facts.span, options, start=start)
        except (InputError, TargetNotReached):  # no values that a refinement could count
            return None, None
        start = None if layer.is_exact else bounded.Start.of(layer)
        size = layer.size * facts.volume.shape[0] // len(array)
        if networks is not None and size > FAR_LARGER * networks:
            break
    return size, start


def smallest(facts: Facts, options: ResolvedOptions, progress: Progress | None = None) -> Measured:
    """The smallest file found that reaches ``options.psnr``."""
    forecasts = forecast(facts, options)
    if progress is not None:
        progress("grid", 1.0)
    if not forecasts.favours_networks:
        return _refined(facts, options, forecasts, None, progress)
    most = inf if forecasts.refinement is None else forecasts.refinement
    try:
        found = psnr_grids.smallest(facts, options, forecasts.grids, most, progress)
    except TargetNotReached:
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
    layer = bounded.with_psnr(facts.volume, facts.span, options, progress, facts.flat_tissue, forecasts.start)
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
