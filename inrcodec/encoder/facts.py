"""What is true of a volume whatever the options: found in one pass, once for an encoding.

In: a volume, and the modality that the user states.  Out: `Facts`, which every later step takes as they are.
Invariant: options decide which values are coded (`admission`), and change no fact of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from inrcodec.encoder import admission, first_pass, forecast
from inrcodec.encoder.forecast import Forecast, Sample
from inrcodec.encoder.options import ResolvedOptions
from inrcodec.layers import padding
from inrcodec.volume import metrics, modality
from inrcodec.volume.box import Shape
from inrcodec.volume.bricks import Bricks
from inrcodec.volume.flat_tissue import FlatTissue
from inrcodec.volume.value_range import Range, sampled
from inrcodec.volume.volume import Volume

if TYPE_CHECKING:
    from inrcodec.encoder.options import Tasks

ONE_BRICK = 1 << 26  # voxels of a volume that is one brick of networks: 256 slices of 512 x 512
LARGEST_BRICK = 1 << 29  # voxels of a brick of networks, whose source is in memory while it is compared
TAIL_SLICES = 32  # evenly spread, that the tails are looked for in
LAYER = 64  # slices: a layer of super-resolution at factor 4, which a thinner brick would share with others


@dataclass(frozen=True, eq=False)
class Facts:
    """A volume and what its values say."""

    volume: Volume  # the source; its modality is settled
    span: Range  # smallest and largest stored value that is signal
    notices: tuple[str, ...] = ()  # what the user should know about the source

    @classmethod
    def admitted(cls, volume: Volume, stated: str | None, options: ResolvedOptions) -> Facts:
        """Facts of what is coded of a volume; errors are those of `of` and of `admission.admitted`."""
        facts = cls.of(admission.admitted(volume, stated, options), stated, options.tasks)
        if options.max_error is None or options.base:
            facts.volume.refuse_special()
        extent = float(facts.span.high - facts.span.low) * abs(facts.volume.rescale[0])
        said = admission.bound_notices(extent, options.max_error)
        return replace(facts, notices=(*facts.notices, *said))

    @classmethod
    def of(cls, volume: Volume, stated: str | None = None, tasks: Tasks | None = None) -> Facts:
        """Facts of a volume; ``stated`` is the modality, as `modality.parse_modality` returns it."""
        admission.refuse_unstorable(volume)
        span = first_pass.value_range(volume, tasks)
        known, notices = modality.with_modality(volume, stated)
        return cls(known, span, tuple(notices))

    @property
    def peak(self) -> float:
        """The peak of every PSNR, in stored units; 0 for a constant volume of floats."""
        return metrics.peak_for(self.volume, self.span)

    @property
    def cap(self) -> float:
        """What an error counts for at most, in stored units, where ways are held against each other."""
        return metrics.cap_for(self.volume, self.span) * (self.peak or 1.0)

    @property
    def is_constant(self) -> bool:
        return self.span.low == self.span.high

    @cached_property
    def padding(self) -> Mapping[str, bytes]:
        """Sections of the voxels that hold the padding value, where networks stand alone."""
        return padding.encode_all(self.volume.array, self.volume.padding, self.bricks)

    @property
    def bricks(self) -> Bricks:
        """The bricks of networks that stand alone: one, or slabs of a volume that is large."""
        shape, area = self.volume.shape, prod(self.volume.shape[1:])
        if prod(shape) <= ONE_BRICK:
            return Bricks.of(shape, shape)
        depth = max(1, ONE_BRICK // area // LAYER * LAYER, min(LAYER, LARGEST_BRICK // area))
        return Bricks.of(shape, (depth, *shape[1:]))

    @cached_property
    def part(self) -> Volume:
        """Groups of slices from all over the volume: what a refinement is forecast from."""
        return replace(self.volume, array=forecast.some_slices(self.volume.array), slice_rescale=None)

    @cached_property
    def forecasts(self) -> dict[tuple[str, Shape, float], Forecast]:
        """Forecasts that took long: by coder, factor, and what a model takes off."""
        return {}

    @cached_property
    def tails(self) -> tuple[float, float]:
        """Stored values below and above which there are 0.5 % each, of an even sample without padding."""
        volume = self.volume
        values = sampled(volume.array[:: -(-volume.shape[0] // TAIL_SLICES)])
        values = values[np.isfinite(values)]
        values = values if volume.padding is None else values[values != volume.padding]
        if not values.size:
            return float(self.span.low), float(self.span.high)
        low, high = np.percentile(values, [0.5, 99.5])
        return float(low), float(high)

    @cached_property
    def flat_tissue(self) -> FlatTissue:
        """Where a reader would take an error for a finding."""
        return FlatTissue.of(self.volume, self.span)

    @cached_property
    def sample(self) -> Sample:
        """Boxes of the volume that forecasts are made from."""
        return forecast.sample(self.volume, self.span)
