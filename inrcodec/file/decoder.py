"""What the sections of a file decode to: voxels of any box, at any level.

In: a header and its sections, boxes and `DecodeOptions`.  Out: stored values, or low-res values in [-1, 1].
Invariant: a voxel does not depend on threads, slabs or the box that was read, and nothing is read or decoded
that a box does not need.  The low-res volume needs neither torch nor scipy, so that a preview does not wait
for them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property

import numpy as np

from inrcodec.errors import UsageError
from inrcodec.file.levels import Level, levels_of, lowres_level
from inrcodec.format.header import LANCZOS, Header
from inrcodec.format.sections import Sections
from inrcodec.layers.base.coders import Base, Field, base_of, field_of
from inrcodec.layers.decode_options import REFERENCE, DecodeOptions
from inrcodec.layers.lattice.layer import STAGE, Refinement
from inrcodec.layers.upsample import Padding, Upsampling, check_model, slabs_of, span_of
from inrcodec.layers.upsample import Slab as Slab
from inrcodec.parallel import thread_count
from inrcodec.progress import Progress, one_stage, shares
from inrcodec.volume.arrays import Array, Float, empty
from inrcodec.volume.box import Box, BoxLike, Ranges, Shape, bounds, ranges_of, within

PREVIEW_VOXELS = 1 << 18  # of the refinement's lattice that a preview is made of, at most


class Decoder:
    """The layers of one file; threads may share it.

    Parameters
    ----------
    header : checked against the limits.
    sections : read when they are needed; of a file that is cut, what is there.
    """

    def __init__(self, header: Header, sections: Sections) -> None:
        self.header, self.sections = header, sections

    def __reduce__(self) -> tuple[type[Decoder], tuple[Header, Sections]]:
        return type(self), (self.header, self.sections)  # nothing that was decoded

    # --- what there is

    @cached_property
    def base(self) -> Base | None:
        """The coder of the low-res volume; ``None`` where the file, or what was read of it, has none."""
        return base_of(self.header, self.sections)

    @cached_property
    def refinement(self) -> Refinement | None:
        """The layer that keeps a bound; ``None`` where the file, or what was read of it, has none."""
        found = Refinement(self.header, self.sections) if self.header.refine_steps else None
        return found if found is not None and found.there else None

    @cached_property
    def upsampling(self) -> Upsampling:
        """The step from the low-res volume to the stored slices."""
        return Upsampling.of_file(self.header, self.require_base().active, self.padding)

    @cached_property
    def field(self) -> Field:
        """The networks as a function of the position; raises `UsageError` where there are none."""
        return field_of(self.base)

    @cached_property
    def padding(self) -> Padding | None:
        """Which voxels hold the padding value."""
        return Padding.of(self.header, self.sections)

    @cached_property
    def levels(self) -> tuple[Level, ...]:
        """The grids that the volume can be read at, the full one first."""
        return levels_of(self.header)

    @property
    def missing(self) -> int:
        """Steps of the refinement that were not read, where a file was cut; each doubles the voxels."""
        steps = len(self.header.refine_steps)
        return steps if self.refinement is None else self.refinement.missing

    def uses_refinement(self, options: DecodeOptions = REFERENCE) -> bool:
        """Whether voxels come from the refinement: all but its last step are there, or nothing else is."""
        if options.lowres or options.quality == "base" or self.refinement is None:
            return False
        return self.base is None or (options.quality == "full" and self.missing <= 1)

    def check_options(self, options: DecodeOptions) -> None:
        """Refuse options that this file cannot serve; raises `UsageError`."""
        check_model(self.header, options.sr)
        if not self.uses_refinement(options):
            self.require_base("lowres" if options.lowres else "quality", options.quality)

    def require_base(self, option: str | None = None, value: object = None) -> Base:
        """The coder of the low-res volume; raises `UsageError` where there is none."""
        if self.base is None:
            cut = self.missing > 0 or self.header.has_lowres
            cause = "what was read of this file" if cut else "this file"
            cause += " has no low-res volume"
            if cut and self.refinement is None:  # no quality would help
                raise UsageError(f"{cause}: read more bytes", value=value, option="max_bytes")
            remedy = ", or read more bytes" if cut else ""
            raise UsageError(f"{cause}: use quality 'full' or 'preview'{remedy}", value=value, option=option)
        return self.base

    def level(self, number: int, options: DecodeOptions = REFERENCE) -> Level:
        """A level by its number, or the low-res one where the options say so; raises `UsageError`."""
        count = len(self.levels)
        if isinstance(number, bool) or not isinstance(number, int | np.integer) or not 0 <= number < count:
            known = f"levels 0 to {count - 1}, 0 is full" if count > 1 else "level 0 alone"
            cause = f"{number!r} is not a level: this file has {known}"
            raise UsageError(cause, value=number, option="level")
        if number == 0:
            self.check_options(options)
        found = self.levels[number]
        if not options.lowres or found.kind == "lowres":
            return found
        if number:
            cause = f"level {number} is not the low-res volume: leave level or lowres out"
            raise UsageError(cause, value=number, option=("level", "lowres"))
        return lowres_level(self.header)

    # --- voxels

    def read(
        self,
        box: BoxLike,
        level: Level,
        options: DecodeOptions = REFERENCE,
        progress: Progress | None = None,
    ) -> Array:
        """Stored values of a box of a level, (z, y, x), steps too."""
        self.sections.check_open()
        ranges = ranges_of(box, level.shape)
        around = bounds(ranges)
        out = empty([len(part) for part in ranges], self.header.dtype)
        if around is None:
            return out
        slices, *others = (within(part, low) for part, low in zip(ranges, around.low, strict=True))
        if level.kind == "lowres":
            unit = self.require_base().read(around, threads=options.threads, progress=progress)
            return span_of(self.header).to_stored(unit[(slices, *others)], out.dtype)
        if level.kind == "lattice":
            return self._lattice(around, level, options, progress)[(slices, *others)]
        places = {index: k for k, index in enumerate(ranges[0])}
        for slab in self._slabs(around, options, progress):
            for index, plane in enumerate(slab.stored, slab.start):
                if index in places:
                    out[places[index]] = plane[tuple(others)]
        return out

    def slabs(
        self, box: BoxLike, level: Level, options: DecodeOptions = REFERENCE, progress: Progress | None = None
    ) -> Iterator[Slab]:
        """The slices of a box without steps, a slab at a time, in order."""
        self.sections.check_open()
        around = contiguous(box, level.shape)
        if around is not None and level.kind == "full":
            yield from self._slabs(around, options, progress)
        elif around is not None:
            yield from slabs_of(self.read(around, level, options, progress), around.low[0])

    def lowres(
        self, box: BoxLike = None, *, threads: int | None = None, progress: Progress | None = None
    ) -> Float:
        """Low-res values of a box, (z, y, x), float64, in [-1, 1]: the ends of the header's range."""
        self.sections.check_open()
        base = self.require_base()
        ranges = ranges_of(box, base.shape)
        around = bounds(ranges)
        if around is None:
            return np.empty([len(part) for part in ranges])
        values: Float = base.read(around, threads=threads, progress=progress)
        z, y, x = (within(part, low) for part, low in zip(ranges, around.low, strict=True))
        return values[z, y, x]

    def bytes_needed(self, box: BoxLike, level: Level, options: DecodeOptions = REFERENCE) -> int:
        """Bytes of all sections but HEAD that a read of a box takes from the file."""
        self.sections.check_open()
        around = bounds(ranges_of(box, level.shape))
        if around is None:
            return 0
        if level.kind == "lowres":
            return self.require_base().bytes_needed(around)
        if level.kind == "lattice":
            refinement, steps = self._require_refinement(level), level.steps
            around = refinement.voxels_of(around, steps)
            needed = refinement.bytes_needed(around, steps, spaced=True)
        elif self.uses_refinement(options) and self.refinement is not None:
            needed = self.refinement.bytes_needed(around, self._steps(options))
        else:
            options = _of_preview(options)
            needed = self.require_base().bytes_needed(self.upsampling.support(around, options))
        return needed + (self.padding.bytes_needed(around) if self.padding is not None else 0)

    def _steps(self, options: DecodeOptions) -> int | None:
        """Steps of the refinement that are decoded, at most."""
        if options.quality != "preview" or self.refinement is None:
            return None
        return self.refinement.within(PREVIEW_VOXELS)

    def _require_refinement(self, level: Level) -> Refinement:
        if self.refinement is None:
            cause = "what was read of this file has no refinement: read more bytes"
            raise UsageError(cause, value=level, option="level")
        return self.refinement

    def _slabs(self, box: Box, options: DecodeOptions, progress: Progress | None) -> Iterator[Slab]:
        if not self.uses_refinement(options) or self.refinement is None:
            yield from self._upsampled(box, options, progress)
            return
        steps = self._steps(options)
        rows = list(self.refinement.bricks.rows(box, thread_count(options.threads)))
        report = shares(progress, STAGE, [row.shape[0] for row in rows])
        for number, row in enumerate(rows):
            stored = self.refinement.read(
                row, steps=steps, threads=options.threads, progress=one_stage(report(number))
            )
            self._restore_padding(stored, _ranges(row))
            yield from slabs_of(stored, row.low[0])

    def _upsampled(self, box: Box, options: DecodeOptions, progress: Progress | None) -> Iterator[Slab]:
        options = _of_preview(options)
        base, upsampling = self.require_base(), self.upsampling
        upsampling.prepare(options)
        stage = "upsample" if (options.sr or self.header.sr) == LANCZOS else "superres"
        parts = list(upsampling.parts(box, options))
        for part in parts:
            needed = upsampling.support(part, options)
            held = Box((needed.low[0], 0, 0), (needed.high[0], *base.shape[1:]))
            lowres = np.empty(held.shape)  # memory is taken only where it is filled
            report = progress if len(parts) == 1 else None  # one stage alone where they alternate
            values = base.read(needed, threads=options.threads, progress=report)
            lowres[needed.slices_in(held)] = values
            for slab in upsampling.slabs(lowres, options, box=part, first=held.low[0]):
                yield slab
                if progress:
                    progress(stage, (slab.stop - box.low[0]) / box.shape[0])

    def _lattice(self, box: Box, level: Level, options: DecodeOptions, progress: Progress | None) -> Array:
        """Every so many voxels of a refinement; ``box`` counts them."""
        stored = self._require_refinement(level).lattice_points(
            box, level.steps, threads=options.threads, progress=progress
        )
        axes = zip(box.low, box.high, level.factor, strict=True)
        z, y, x = (range(a * step, b * step, step) for a, b, step in axes)
        self._restore_padding(stored, (z, y, x))
        return stored

    def _restore_padding(self, stored: Array, voxels: Ranges) -> None:
        """Set the padding value where a mask says so, in stored values of some full-res voxels."""
        if self.padding is None:
            return
        z, y, x = voxels
        rows, columns = slice(y.start, y[-1] + 1), slice(x.start, x[-1] + 1)
        for index, plane in zip(z, stored, strict=True):
            padded = self.padding.part(index, rows, columns)[:: y.step, :: x.step]
            plane[padded] = plane.dtype.type(self.header.padding or 0)


def _of_preview(options: DecodeOptions) -> DecodeOptions:
    """What a preview means for networks: no model."""
    return replace(options, sr=LANCZOS) if options.quality == "preview" else options


def contiguous(box: BoxLike, shape: Shape) -> Box | None:
    """A box of a grid, ``None`` if it holds no voxel; raises `UsageError` where it has steps."""
    ranges = ranges_of(box, shape)
    if any(part.step != 1 for part in ranges):
        raise UsageError("slabs are contiguous: leave steps out, or use read", value=box, option="box")
    return bounds(ranges)


def _ranges(box: Box) -> Ranges:
    z, y, x = (range(a, b) for a, b in zip(box.low, box.high, strict=True))
    return z, y, x
