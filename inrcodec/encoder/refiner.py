"""The encoder of the refinement layer: quantisation steps to a coded layer.

In: a volume and quantisation steps.  Out: header fields, sections, and what they decode to.
Invariant: a layer that is not a trial was decoded, brick by brick.
"""

from __future__ import annotations

from collections.abc import Sequence

from inrcodec.encoder.all_bricks import BrickTasks
from inrcodec.encoder.layer import Layer
from inrcodec.format import limits
from inrcodec.format.header_checks import LARGEST_STEP
from inrcodec.format.spool import Spool
from inrcodec.layers.lattice import scan
from inrcodec.layers.lattice.bricks import Coding
from inrcodec.layers.lattice.codec import Lattice
from inrcodec.layers.lattice.integers import Scale
from inrcodec.progress import Progress
from inrcodec.volume.value_range import Range


class Refiner:
    """Codes layers of one volume, whose smallest and largest value but for the padding is ``span``."""

    def __init__(self, tasks: BrickTasks, span: Range, scratch: str | None) -> None:
        self.tasks, self.span, self.scratch = tasks, span, scratch
        self.volume, self.bricks = tasks.volume, tasks.bricks

    def code(
        self,
        unit: float,
        steps: Sequence[float],
        trade: int = 0,
        progress: Progress | None = None,
        *,
        weights: tuple[int, ...] = (),
        trial: bool = False,
        is_exact: bool = False,
    ) -> Layer:
        """A layer.

        Parameters
        ----------
        unit : stored units of an integer; 0 codes the bits of floats.
        steps : quantisation steps of the levels, the finest first; the last is for all coarser ones.
        trade : what a bit is worth, see `codec.Source`; 0 bounds the error.
        weights : of the filter; without any there is none.
        is_exact : whether every voxel comes back bit for bit, as unit and steps allow.
        trial : whether it is one of several, of which `Layer.checked` decodes the one that is taken.
        """
        scale = Scale(self.volume.array.dtype, self.span.low, self.span.high, unit)
        scale.check()
        axes = scan.axes_for(self.bricks.edges, self.volume.spacing, self._incomparable)
        by_stage = _by_stage(axes, steps)
        weights = weights if max(by_stage) > 1 else ()  # nothing is quantised
        lattice = Lattice(axes=axes, steps=by_stage, most=scale.most, filter=weights)
        coding = Coding(
            scale=scale, lattice=lattice, trade=trade, padding=self.volume.padding, is_exact=is_exact
        )
        spool = Spool(len(lattice.steps) + scale.has_lower_halves, self.scratch)
        aparts, halves, found = self.tasks.coded(coding, spool, trial, progress)
        fields = {
            "refine_axes": axes,
            "refine_steps": by_stage,
            "refine_unit": unit,
            "refine_filter": weights,
        }
        fields["brick"] = () if len(self.bricks) == 1 else self.bricks.edges
        return Layer(fields, coding, self.tasks, spool, aparts, halves, found, trial)

    @property
    def _incomparable(self) -> tuple[int, ...]:
        """The axis z where slices have scales of their own: their integers say little of each other.

        This takes 3 % more bytes of a PET, but what a preview interpolates keeps to the scale of its slice.
        The first lattice has a voxel of each slice, so that very many slices are predicted all the same.
        """
        scaled = self.volume.slice_rescale is not None and self.bricks.edges[0] <= limits.FIRST
        return (0,) if scaled else ()


def _by_stage(axes: Sequence[int], steps: Sequence[float]) -> tuple[int, ...]:
    """Steps of the first lattice and of all stages, from those of levels, the finest first."""
    per_level = max(1, min(3, len(set(axes))))
    levels = [min(following // per_level, len(steps) - 1) for following in range(len(axes), -1, -1)]
    return tuple(min(max(1, round(steps[level])), LARGEST_STEP) for level in levels)
