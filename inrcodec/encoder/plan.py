"""What to do with a volume: the spacing's factor, tiles, network and rate, before anything is fitted.

In: the volume's geometry, its low-res version, the user's options.  Out: numbers that the steps take as they
are.
The one law: every choice is a rule of the volume and the options, so that the same wish gives the same plan.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import floor, log2, prod, sqrt

import numpy as np
from numpy.typing import NDArray

from inrcodec.encoder.options import ResolvedOptions
from inrcodec.errors import TargetNotReached, UsageError
from inrcodec.layers.base.siren import tiles
from inrcodec.layers.base.siren.siren import OMEGA, Layout
from inrcodec.volume.box import Shape
from inrcodec.volume.value_range import amplitude
from inrcodec.volume.volume import Volume

COARSEST = 4  # factor of the finest axis: the paper's, and the highest that a shipped model brings back
SHORTEST = 4  # low-res voxels that an axis keeps: fewer leave nothing for a kernel of six taps
WIDTHS = (10, 64)  # below, quality falls; above, time grows with the square
BITS = 4.9  # of a weight at rate 1, steps and spreads included: 17 289 bytes for the head's 28 188 weights
# Loss units a bit at rate 1, for an amplitude of 1 and one active voxel; 5e-9 for the head's 219k voxels
# and amplitude of 0.65.
RATE = 2.57e-3
# Fewer tiles leave time for more steps: USUAL_TILES take the preset's. Past OFTEN_ENOUGH looks at each voxel
# there is little left to learn.
USUAL_TILES, OFTEN_ENOUGH, MOST_STEPS = 8, 1500, 4.0


@dataclass(frozen=True)
class Plan:
    """Tiles, networks and steps for one low-res volume.

    Attributes
    ----------
    parts : tiles along (z, y, x).
    layout : the network of every tile.
    rate : loss units a bit, for the fit.
    steps : of the fit.
    bytes : of all weights, as far as can be told before the fit.
    """

    parts: Shape
    layout: Layout
    rate: float
    bytes: int
    steps: int


def factor_for(volume: Volume, options: ResolvedOptions) -> Shape:
    """Per-axis factors: as wished, else powers of two that bring the low-res voxels nearest to cubes.

    Raises
    ------
    UsageError
        A wished factor is longer than its axis.
    """
    if options.factor is not None:
        wished = (1, *options.factor[1:]) if volume.ndim == 2 else options.factor
        for name, n, f in zip("zyx", volume.shape, wished, strict=True):
            if f > n and options.preset != "paper":  # the paper's factor shrinks to what there is
                raise UsageError(
                    f"{f} along {name} is more than the {n} voxels there; did you mean 1 for it?",
                    value=f,
                    option="factor",
                )
        z, y, x = (min(f, n) for f, n in zip(wished, volume.shape, strict=True))
        return z, y, x
    finest = min(
        s for s, n in zip(volume.spacing, volume.shape, strict=True) if n > 1 or max(volume.shape) == 1
    )
    z, y, x = (_factor_of(n, s / finest) for n, s in zip(volume.shape, volume.spacing, strict=True))
    return z, y, x


def wished_bytes(volume: Volume, options: ResolvedOptions) -> int | None:
    """The file size asked for, as a size or as a ratio of the volume's voxel bytes."""
    if options.ratio is not None:
        return int(volume.array.nbytes / options.ratio)
    return options.size


def hold_to(options: ResolvedOptions, volume: Volume, size: int) -> None:
    """A promise that was not met is an error, never a file.

    Raises
    ------
    TargetNotReached
        The file is larger than was asked for.
    """
    wished = wished_bytes(volume, options)
    if wished is not None and size > wished:
        raise TargetNotReached(
            f"the file has {size} bytes, {size - wished} more than the {wished} asked for; "
            "ask for a larger size, a larger factor or more steps",
            value=size,
        )


def plan(
    values: NDArray[np.float64], active: NDArray[np.bool_], options: ResolvedOptions, room: int | None
) -> Plan:
    """Tiles, networks and rate.

    Parameters
    ----------
    values : active low-res voxels, (n,), in [-1, 1].
    active : low-res (z, y, x).
    options : the user's wishes.
    room : bytes for the weights where a size was asked for.

    Raises
    ------
    TargetNotReached
        The size asked for leaves no room for any network.
    UsageError
        More tiles along an axis than it has low-res voxels.
    """
    count = max(1, len(values))
    wanted = max(1, round(count / options.voxels_per_tile))
    parts = options.tiles or tiles.parts_for(active, wanted)
    for name, n, part in zip("zyx", active.shape, parts, strict=True):
        if part > n:
            raise UsageError(
                f"{part} along {name} are more than the {n} low-res voxels there; "
                f"did you mean {min(part, n)}, or a smaller factor?",
                value=parts,
                option="tiles",
            )
    width = options.width or options.usual_width
    if options.width is None and room is not None:
        parts, width = _spend(room, parts, active, options)
    elif options.width is None:
        # A volume of less than one tile's voxels gets a network in proportion.
        full = options.voxels_per_tile * prod(parts)
        width = min(width, max(WIDTHS[0], round(width * sqrt(count / full))))
    layout = Layout(options.layers, width, options.omega or OMEGA)
    rate = 0.0 if options.optimizer == "adam" else options.rate * RATE * amplitude(values) ** 2 / count
    size = int(prod(parts) * layout.weights * BITS / 8)
    return Plan(parts, layout, rate, size, _steps(options, prod(parts), count))


def _steps(options: ResolvedOptions, parts: int, count: int) -> int:
    """The preset's steps; more for few tiles, as long as each voxel is not seen too often."""
    if options.steps_wished or options.optimizer == "adam":
        return options.steps
    seen = options.steps * options.batch_per_tile * parts / count  # times, each voxel
    more = min(USUAL_TILES / parts, OFTEN_ENOUGH / seen, MOST_STEPS)
    return round(options.steps * max(more, 1.0))


def _spend(room: int, parts: Shape, active: NDArray[np.bool_], options: ResolvedOptions) -> tuple[Shape, int]:
    """Parts and width whose weights take the room, with widths that serve."""
    width = _width_for(room * 8 / BITS / prod(parts), options.layers)
    within = min(max(width, WIDTHS[0]), WIDTHS[1])
    if width != within and options.tiles is None:  # fewer networks, or more
        parts = tiles.parts_for(active, max(1, prod(parts) * width**2 // within**2))
        width = _width_for(room * 8 / BITS / prod(parts), options.layers)
    if width < 2:
        raise TargetNotReached(
            f"{max(room, 0)} bytes are left for the weights of {prod(parts)} networks, too few for any; "
            "ask for a larger size",
            value=room,
        )
    return parts, width


def _factor_of(n: int, anisotropy: float) -> int:
    longest = max(1, n // SHORTEST)
    exponent = min(log2(COARSEST), max(0.0, log2(COARSEST / anisotropy)), floor(log2(longest)))
    return int(2 ** round(exponent))


def _width_for(weights: float, layers: int) -> int:
    """The widest network of at most so many weights: (layers - 1) w^2 + (layers + 4) w + 1."""
    a, b, c = layers - 1, layers + 4, 1 - weights
    if a == 0:
        return int(-c / b)
    return int((-b + sqrt(max(0.0, b * b - 4 * a * c))) / (2 * a))
