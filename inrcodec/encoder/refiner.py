"""The encoder of the refinement layer: quantisation steps to a coded layer.

In: a volume and quantisation steps.  Out: header fields, sections, and the voxels that they decode to.
Invariant: the voxels of a layer are those that its sections decode to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from inrcodec.encoder.presets import ResolvedOptions
from inrcodec.format import limits
from inrcodec.format.header_checks import LARGEST_STEP
from inrcodec.layers.lattice import scan
from inrcodec.layers.lattice.bricks import Coding
from inrcodec.layers.lattice.codec import Lattice
from inrcodec.layers.lattice.integers import Scale
from inrcodec.progress import Progress
from inrcodec.volume.bricks import Bricks
from inrcodec.volume.metrics import Errors
from inrcodec.volume.value_range import Range
from inrcodec.volume.volume import Volume


@dataclass(frozen=True, eq=False)
class Layer:
    """A coded refinement."""

    fields: dict[str, Any]  # of the header
    sections: dict[str, bytes]  # of the padding, LIDX and LATT
    stored: NDArray[Any]  # (z, y, x), stored values that it decodes to

    @property
    def size(self) -> int:
        """Bytes of the sections."""
        return sum(map(len, self.sections.values()))

    @property
    def is_exact(self) -> bool:
        """Whether no voxel is quantised."""
        return bool(max(self.fields["refine_steps"]) == 1)


class Refiner:
    """Codes layers of one volume, whose smallest and largest value but for the padding is ``span``."""

    def __init__(self, volume: Volume, span: Range, options: ResolvedOptions) -> None:
        self.volume, self.span, self.threads = volume, span, options.threads
        self.bricks = Bricks.of(volume.shape, options.brick)

    def code(
        self, unit: float, steps: Sequence[float], up: float = 0.5, progress: Progress | None = None
    ) -> Layer:
        """A layer.

        Parameters
        ----------
        unit : stored units of an integer; 0 codes the bits of floats.
        steps : quantisation steps of the levels, the finest first; the last is for all coarser ones.
        up : share of a step that is added to a magnitude before it is divided; 0.5 rounds to nearest.
        """
        scale = Scale(self.volume.array.dtype, self.span.low, self.span.high, unit)
        scale.check()
        axes = scan.axes_for(self.bricks.edges, self.volume.spacing, self._incomparable)
        lattice = Lattice(axes=axes, steps=_by_stage(axes, steps), most=scale.most)
        added = tuple(int(up * s) for s in lattice.steps)
        coding = Coding(scale=scale, lattice=lattice, up=added, padding=self.volume.padding)
        sections, stored = coding.sections(self.volume.array, self.bricks, self.threads, progress)
        fields = {"refine_axes": axes, "refine_steps": lattice.steps, "refine_unit": unit}
        fields["brick"] = () if len(self.bricks) == 1 else self.bricks.edges
        return Layer(fields, sections, stored)

    @property
    def _incomparable(self) -> tuple[int, ...]:
        """The axis z where slices have scales of their own: their integers say little of each other.

        This takes 3 % more bytes of a PET, but what a preview interpolates keeps to the scale of its slice.
        The first lattice has a voxel of each slice, so that very many slices are predicted all the same.
        """
        scaled = self.volume.slice_rescale is not None and self.bricks.edges[0] <= limits.FIRST
        return (0,) if scaled else ()

    def errors(self, layer: Layer, peak: float = 1.0) -> Errors:
        """Errors of a layer, in stored units."""
        errors = Errors(peak)
        errors.add(self.volume.array, layer.stored)
        return errors


def _by_stage(axes: Sequence[int], steps: Sequence[float]) -> tuple[int, ...]:
    """Steps of the first lattice and of all stages, from those of levels, the finest first."""
    per_level = max(1, min(3, len(set(axes))))
    levels = [min(following // per_level, len(steps) - 1) for following in range(len(axes), -1, -1)]
    return tuple(min(max(1, round(steps[level])), LARGEST_STEP) for level in levels)
