"""What SIREN tiles give on a grid, and the bytes that they take where nothing is requested.

In: facts of a volume, options, a grid.  Out: a `Forecast`, and bytes.
Invariant: nothing is fitted.
"""

from __future__ import annotations

from inrcodec.encoder import forecast, networks
from inrcodec.encoder.facts import Facts
from inrcodec.encoder.options import ResolvedOptions
from inrcodec.layers.base.siren.siren import Layout
from inrcodec.volume.box import Shape


def of(facts: Facts, _: ResolvedOptions, factor: Shape, lift: float) -> forecast.Forecast:
    """See `forecast.forecast`."""
    return forecast.forecast(facts.sample, factor, lift)


def usual(options: ResolvedOptions, found: forecast.Forecast | None, voxels: int) -> float:
    """Bytes of the usual networks of a grid, of whose voxels all are active where there is no forecast."""
    per_tile = Layout(options.layers, options.width or options.usual_width).weights
    active = float(voxels) if found is None else found.active
    tiles = max(active / options.voxels_per_tile, 1 / per_tile)
    return tiles * per_tile * networks.BITS / 8
