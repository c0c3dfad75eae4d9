"""Groups of tiles that are fitted by themselves: what a fit holds has a bound, and others may fit beside it.

In: the tiles of a volume, and how they are to be fitted together.  Out: fits of groups, and those joined.
Invariant: the groups, their seeds and their bytes follow from the tiles alone; few tiles are one group, and
the fit of one group is that of all tiles.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil

import numpy as np

from inrcodec.encoder.fit import loop
from inrcodec.encoder.fit.loop import FitSettings, FittedTiles
from inrcodec.layers.base import companding
from inrcodec.layers.base.siren.siren import Layout
from inrcodec.layers.base.siren.tiles import Tile
from inrcodec.parallel import torch_count
from inrcodec.progress import Report
from inrcodec.volume.arrays import Float
from inrcodec.volume.box import Box

TILES = 64  # of a group, at most: full ones are some 1.7 million voxels, of 30 bytes each in a fit
VOXELS = 1 << 22  # of a group, at most


@dataclass(frozen=True, eq=False)
class Group:
    """Tiles that are fitted together."""

    tiles: list[Tile]
    settings: FitSettings
    start: FittedTiles | None  # an earlier fit of them

    @property
    def voxels(self) -> int:
        """Active ones of all tiles."""
        return sum(len(tile.index) for tile in self.tiles)

    @property
    def box(self) -> Box:
        """The low-res box around them."""
        low = np.min([tile.index.min(0) for tile in self.tiles], axis=0).tolist()
        high = np.max([tile.index.max(0) for tile in self.tiles], axis=0).tolist()
        return Box((low[0], low[1], low[2]), (high[0] + 1, high[1] + 1, high[2] + 1))


def groups_of(tiles: Sequence[Tile], settings: FitSettings, start: FittedTiles | None) -> list[Group]:
    """Groups of consecutive tiles; bytes and time are shared out by their voxels.

    Parameters
    ----------
    tiles : all that are to be fitted.
    settings : of all of them together.
    start : an earlier fit of all of them.
    """
    counts = [len(tile.index) for tile in tiles]
    number = min(max(ceil(len(tiles) / TILES), ceil(sum(counts) / VOXELS)), len(tiles))
    if number == 1:
        return [Group(list(tiles), settings, start)]
    groups = []
    for k, members in enumerate(np.array_split(np.arange(len(tiles)), number)):
        part = slice(int(members[0]), int(members[-1]) + 1)
        share = sum(counts[part]) / sum(counts)
        own = settings.of_part(share, k)
        begun = None
        if start is not None:
            begun = replace(start, codes=start.codes[part], integers=start.integers[part])
        groups.append(Group(list(tiles[part]), own, begun))
    return groups


def fit(
    layout: Layout,
    curve: companding.Nodes,
    lowres: Float,
    group: Group,
    threads: int,
    report: Report | None,
) -> FittedTiles:
    """Fit a group to the low-res volume of its box."""
    low = np.array(group.box.low)
    values = [companding.compress(curve, lowres[tuple((t.index - low).T)]) for t in group.tiles]
    settings = replace(group.settings, threads=group.settings.threads or min(threads, torch_count()))
    progress = None if report is None else lambda _, done: report(done)
    return loop.fit(layout, group.tiles, values, settings, progress, group.start)


def joined(fits: Sequence[FittedTiles]) -> FittedTiles:
    """The fits of all groups as one."""
    return replace(
        fits[0],
        codes=[codes for found in fits for codes in found.codes],
        integers=[integers for found in fits for integers in found.integers],
        steps=max(found.steps for found in fits),
        restarts=sum(found.restarts for found in fits),
        notices=tuple(dict.fromkeys(notice for found in fits for notice in found.notices)),
    )
