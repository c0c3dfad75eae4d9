"""Plans that are coded before one is taken: on several grids of a small volume, on coarser ones in need.

In: facts of a volume, and options.  Out: plans, in the order to code them.
Invariant: a grid that the options fix is the only one.

A forecast counts on a usual header.  Of a small volume in few bytes the header is the larger part, and 100
bytes of it are decibels; such a volume is coded in a moment, so that what each grid gives is found out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from inrcodec.encoder import grid_search, planner
from inrcodec.encoder.bases.table import BASES
from inrcodec.encoder.facts import Facts
from inrcodec.encoder.grid_search import Choice
from inrcodec.encoder.options import ResolvedOptions
from inrcodec.encoder.plan import Plan
from inrcodec.errors import TargetNotReached
from inrcodec.format import limits
from inrcodec.progress import Progress
from inrcodec.volume.box import Shape

SMALL = 1 << 16  # voxels: of a larger volume the header is a small part
WITHIN = 4.0  # dB below the best forecast: of 8 slices of 32 x 32 forecasts were off by 3


def plans(facts: Facts, options: ResolvedOptions, progress: Progress | None = None) -> Iterator[Plan]:
    """The plan to code; then those that take fewer bytes: without a model, and on coarser grids.

    Raises
    ------
    TargetNotReached
        None of them is for so few bytes as were requested.
    """
    first = planner.chosen(facts, options, progress)
    ways = [options] if options.sr_given else [options, planner.plain(options)]
    refusal: TargetNotReached | None = None
    found = False
    for choice in [first, *_coarser(facts, options, first)]:
        for way in ways:
            try:
                plan = planner.on_grid(facts, way, choice, progress)
            except TargetNotReached as error:
                refusal = error
                continue
            found = True
            yield plan
    if refusal is not None and not found:
        raise refusal


def rivals(plan: Plan, progress: Progress | None = None) -> Iterator[Plan]:
    """Plans of as many bytes that may be better than this one, where that is soon found out."""
    facts, options, choice = plan.facts, plan.options, plan.grid
    if plan.size is None or not is_small(facts, options):
        return
    expected = {row.factor: row.psnr for row in choice.considered if row.psnr is not None}
    least = max(expected.values(), default=0.0) - WITHIN
    grids = [grid for grid, psnr in expected.items() if psnr > least]
    grids += [coarse.factor for coarse in _coarser(facts, options, choice)]
    for grid in grids:
        if grid != choice.factor:
            other = _instead(choice, grid, f"the best in {plan.size:,} bytes of the grids that were coded")
            try:
                yield planner.on_grid(facts, options, other, progress)
            except TargetNotReached:
                continue


def is_small(facts: Facts, options: ResolvedOptions) -> bool:
    """Whether a volume is coded so soon that it is coded more than once."""
    return BASES[options.coder].quick and facts.volume.array.size <= SMALL


def _coarser(facts: Facts, options: ResolvedOptions, choice: Choice) -> Iterator[Choice]:
    """Coarser and coarser grids, to the coarsest of the format."""
    grid, reason = choice.factor, f"too few bytes for {grid_search.across(choice.factor)}"
    while not grid_search.is_fixed(options) and (next_ := _doubled(grid, facts.volume.shape)) != grid:
        grid = next_
        yield _instead(choice, grid, reason)


def _doubled(grid: Shape, shape: Shape) -> Shape:
    """The grid with its finest axes twice as coarse, as far as the format and the volume allow."""
    most = [min(limits.FACTOR, n) for n in shape]
    finest = min((f for f, m in zip(grid, most, strict=True) if f < m), default=0)
    z, y, x = (min(2 * f, m) if f == finest else f for f, m in zip(grid, most, strict=True))
    return z, y, x


def _instead(choice: Choice, grid: Shape, reason: str) -> Choice:
    rows = [replace(row, chosen=row.factor == grid) for row in choice.considered]
    return replace(choice, factor=grid, reason=reason, considered=rows)
