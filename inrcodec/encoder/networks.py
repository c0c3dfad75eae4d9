"""Sizes of the networks: tiles, layers, width, rate and steps for one low-res volume.

In: the active low-res voxels, the options, and a byte budget where a file size is requested.
Out: `Networks`, numbers that the fit takes as they are.
Invariant: a rule of the volume and the options, so that the same request gives the same networks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import ceil, prod, sqrt
from typing import Any

from inrcodec.encoder import omega
from inrcodec.encoder.options import ResolvedOptions
from inrcodec.errors import TargetNotReached, UsageError
from inrcodec.layers.base.siren import tiles
from inrcodec.layers.base.siren.siren import OMEGA, Layout
from inrcodec.volume.arrays import Bool, Float
from inrcodec.volume.box import Shape
from inrcodec.volume.value_range import amplitude

WIDTHS = (10, 64)  # units a layer; below, quality falls; above, time grows with the square
NARROWEST = 2  # units of a layer
# Bits a weight at rate 1, steps and spreads included: 17 289 bytes for the head's 28 188 weights.
BITS = 4.9
# Loss units a bit at rate 1, for an amplitude of 1 and one active voxel; 5e-9 for the head's 219k voxels
# and amplitude of 0.65.
RATE = 2.57e-3
# Fewer tiles leave time for more steps: USUAL_TILES take the preset's. Past OFTEN_ENOUGH looks at each voxel
# there is little left to learn.
USUAL_TILES, OFTEN_ENOUGH, MOST_STEPS = 8, 1500, 4.0


@dataclass(frozen=True)
class Networks:
    """Tiles, networks and steps for one low-res volume."""

    parts: Shape  # tiles along (z, y, x)
    layout: Layout  # the network of every tile
    rate: float  # loss units a bit, for the fit
    bytes: int  # of all weights, estimated before the fit
    steps: int  # of the fit
    cuts: tuple[int, ...] = ()  # first index of each next tile, in k-d order
    tiles: tuple[tiles.Tile | None, ...] = (None,)  # of all boxes; ``None`` for one of pure background


def smallest(options: ResolvedOptions) -> Networks:
    """The fewest and narrowest networks that the options allow."""
    parts, layout = options.tiles or (1, 1, 1), Layout(options.layers, options.width or NARROWEST)
    return Networks(parts, layout, 0.0, ceil(prod(parts) * layout.weights * BITS / 8), 0)


def networks_for(
    targets: Callable[[Any], Float], active: Bool, options: ResolvedOptions, budget: int | None
) -> Networks:
    """Networks of a low-res volume, cut into tiles.

    Parameters
    ----------
    targets : gives the targets, (n,), in [-1, 1], at low-res places.
    active : (z, y, x), bool, low-res.
    budget : bytes for all weights, where a file size is requested.
    """
    found = sized(targets(active), active, options, budget)
    cuts = tiles.cut(active, found.parts)
    boxes, layout = tuple(tiles.tiles_of(active, found.parts, cuts)), found.layout
    if options.omega is None:
        omega_0 = omega.omega_for(targets, active.shape, [t for t in boxes if t is not None])
        layout = replace(layout, omega=omega_0)
    return replace(found, layout=layout, cuts=cuts, tiles=boxes)


def sized(values: Float, active: Bool, options: ResolvedOptions, budget: int | None) -> Networks:
    """Sizes and rate, without cuts, and with the reference omega_0 where none is set.

    ``values`` are those of the active voxels, (n,); the rest is as for :func:`networks_for`.
    """
    count = max(1, len(values))
    parts = options.tiles or tiles.parts_for(active, max(1, round(count / options.voxels_per_tile)))
    for name, n, part in zip("zyx", active.shape, parts, strict=True):
        if part > n:
            raise UsageError(
                f"{part} along {name} are more than the {n} low-res voxels there; "
                f"did you mean {min(part, n)}, or a smaller factor?",
                value=parts,
                option="tiles",
            )
    width = options.width or options.usual_width
    if options.width is None and budget is not None:
        parts, width = _spend(budget, parts, active, options)
    elif options.width is None:
        # A volume of less than one tile's voxels gets a network in proportion.
        full = options.voxels_per_tile * prod(parts)
        width = min(width, max(WIDTHS[0], round(width * sqrt(count / full))))
    layout = Layout(options.layers, width, options.omega or OMEGA)
    rate = 0.0 if options.optimizer == "adam" else options.rate * RATE * amplitude(values) ** 2 / count
    size = int(prod(parts) * layout.weights * BITS / 8)
    return Networks(parts, layout, rate, size, _steps(options, prod(parts), count))


def _steps(options: ResolvedOptions, parts: int, count: int) -> int:
    """The preset's steps; more for few tiles, as long as each voxel is not seen too often."""
    if options.steps_given or options.optimizer == "adam":
        return options.steps
    seen = options.steps * options.batch_per_tile * parts / count  # times, each voxel
    more = min(USUAL_TILES / parts, OFTEN_ENOUGH / seen, MOST_STEPS)
    return round(options.steps * max(more, 1.0))


def _spend(budget: int, parts: Shape, active: Bool, options: ResolvedOptions) -> tuple[Shape, int]:
    """Parts and width whose weights take the budget, with widths that serve."""
    width = _width_for(budget * 8 / BITS / prod(parts), options.layers)
    within = min(max(width, WIDTHS[0]), WIDTHS[1])
    if width != within and options.tiles is None:  # fewer networks, or more
        parts = tiles.parts_for(active, max(1, prod(parts) * width**2 // within**2))
        width = _width_for(budget * 8 / BITS / prod(parts), options.layers)
    if width < NARROWEST:
        raise TargetNotReached(
            f"{max(budget, 0)} bytes are left for the weights of {prod(parts)} networks, too few for any; "
            f"request {options.more_bytes}",
            value=budget,
            option=options.limits_bytes,
        )
    return parts, width


def _width_for(weights: float, layers: int) -> int:
    """The widest network of at most so many weights: (layers - 1) w^2 + (layers + 4) w + 1."""
    a, b, c = layers - 1, layers + 4, 1 - weights
    if a == 0:
        return int(-c / b)
    return int((-b + sqrt(max(0.0, b * b - 4 * a * c))) / (2 * a))
