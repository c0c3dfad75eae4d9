"""From a volume to sections: the first half of the corridor.

In: a volume and resolved options.  Out: a header without its quality, the bodies of the sections, and
notices.
The one law: every step is its own module's; here they only follow each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from math import ceil, prod
from os import cpu_count
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inrcodec._version import __version__
from inrcodec.encoder import back_projection, forecast, grid_search, model_choice
from inrcodec.encoder import omega as frequency
from inrcodec.encoder import plan as planning
from inrcodec.encoder.fit import loop
from inrcodec.encoder.fit.loop import Fitted
from inrcodec.encoder.measure import Reached
from inrcodec.encoder.options import ResolvedOptions
from inrcodec.encoder.plan import Plan
from inrcodec.entropy import laplace
from inrcodec.errors import CorruptFile, InputError, TargetNotReached
from inrcodec.format import container, limits
from inrcodec.format.fields import LONGEST_TEXT, MOST_ENTRIES, SCALARS, TEXT
from inrcodec.format.header import NOISE_STEPS, Header
from inrcodec.layers import resample
from inrcodec.layers.base.siren import activity, codec, companding, tiles, weights
from inrcodec.layers.base.siren.siren import Layout
from inrcodec.layers.superres import registry
from inrcodec.layers.superres.conditioning import telling
from inrcodec.progress import Progress
from inrcodec.volume import windows as focus
from inrcodec.volume.box import Shape, lowres_shape
from inrcodec.volume.padding import padding_masks
from inrcodec.volume.value_range import Range, unit_rows
from inrcodec.volume.volume import Volume

Float = NDArray[np.float64]
Bool = NDArray[np.bool_]

UNPLANNED = Plan((1, 1, 1), Layout(1, 1), 0.0, 0, 0)  # for a header that is only measured
NARROWEST = 2  # units of a layer
CELL = 2  # edge of a mask cell in low-res voxels: on the head 0.5 kB where single voxels cost 1.9 kB (zstd)


@dataclass
class Encoded:
    """What the first half leaves."""

    header: Header
    sections: dict[str, bytes]
    lowres: Float  # the clean low-res volume, to measure the fit against
    aim: Float  # the one that was fitted to
    windows: dict[str, focus.Window] = field(default_factory=dict)  # stored, whose errors are to be told
    notices: list[str] = field(default_factory=list)
    choice: grid_search.Choice | None = None  # of the grid, and why


@dataclass(frozen=True)
class Lowres:
    """The low-res volume and which of its voxels are worth a network."""

    values: Float  # clean and linear; companded ones are for the networks alone
    factor: Shape
    background: float
    cell: Shape
    cells: Bool | None
    nodes: companding.Nodes = ()
    aim: Float | None = None  # what the networks are fitted to, where it is not the clean values

    @property
    def active(self) -> Bool:
        z, y, x = self.values.shape
        return activity.active_voxels(self.cells, self.cell, (z, y, x))

    @property
    def aimed(self) -> Float:
        return self.values if self.aim is None else self.aim

    def targets(self, places: Any) -> Float:
        """What the networks are fitted to at some voxels."""
        return companding.compress(self.nodes, self.aimed[places])


@dataclass(frozen=True)
class Job:
    """All that is decided before anything is fitted."""

    low: Lowres
    plan: Plan
    tiles: list[tiles.Tile | None]  # of all boxes; ``None`` for one of pure background
    header: Header
    masks: dict[str, bytes]
    room: int | None  # bytes for all tiles' streams, where a size was asked for
    predicted: int  # bytes of the file
    notices: list[str]
    choice: grid_search.Choice | None = None


def span_of(volume: Volume, options: ResolvedOptions) -> Range:
    """The range of a volume's values; wishes that they contradict are refused here, before any work.

    Raises
    ------
    InputError, UsageError
    """
    span = volume.value_range
    focus.unit_window(options.focus, volume, span)
    return span


def prepare(volume: Volume, options: ResolvedOptions, progress: Progress | None = None) -> Job:
    """Decide on grid, mask, model and networks.

    Raises
    ------
    InputError, UsageError, ModelNotFound, TargetNotReached, LimitExceeded
    """
    span = span_of(volume, options)
    wished = planning.wished_bytes(volume, options)
    choice = grid_search.choose(volume, span, options, wished)
    if progress is not None:
        progress("grid", 1.0)
    low = downsample(volume, span, choice.factor, options.threads, progress)
    return replace(job_for(volume, span, low, masks_of(volume, low), options, wished), choice=choice)


def job_for(
    volume: Volume,
    span: Range,
    low: Lowres,
    masks: dict[str, bytes],
    options: ResolvedOptions,
    wished: int | None,
) -> Job:
    """Decide on model and networks for a low-res volume.

    Parameters
    ----------
    masks : of :func:`masks_of`.
    wished : bytes of the file, where a size is asked for.

    Raises
    ------
    UsageError, ModelNotFound, TargetNotReached, LimitExceeded
    """
    _check_words(volume)
    window, about_focus = focus.unit_window(options.focus, volume, span)
    low = replace(low, nodes=companding.curve(*window) if window else ())
    model, notices = model_choice.model_for(volume, span, low.factor, options)
    active = low.active
    about_model = model_choice.fields_of(model, volume, options)
    fixed = _fixed_bytes(header_of(volume, span, low, about_model, options), masks)
    _refuse_too_small(wished, fixed, options)
    plan = planning.plan(low.targets(active), active, options, None if wished is None else wished - fixed)
    cuts = tiles.cut(active, plan.parts)
    found = tiles.of(active, plan.parts, cuts)
    if options.omega is None:
        omega = frequency.omega_for(low.targets, active.shape, [t for t in found if t is not None])
        plan = replace(plan, layout=replace(plan.layout, omega=omega))
    header = header_of(volume, span, low, about_model, options, plan, cuts)
    limits.check_header(Header.from_bytes(header.to_bytes()), "MASK" in masks)
    fixed = _fixed_bytes(header, masks)
    room = None if wished is None else wished - fixed
    predicted = wished or fixed + plan.bytes
    return Job(low, plan, found, header, masks, room, predicted, about_focus + notices)


def _refuse_too_small(wished: int | None, fixed: int, options: ResolvedOptions) -> None:
    """Refuse a size that the narrowest network in the fewest tiles is beyond, and say which is not."""
    tiles_at_least = prod(options.tiles or (1, 1, 1))
    narrowest = Layout(options.layers, options.width or NARROWEST)
    least = fixed + ceil(tiles_at_least * narrowest.weights * planning.BITS / 8)
    if wished is not None and wished < least:
        raise TargetNotReached(
            f"{wished} bytes are too few for this volume: header, mask and the smallest networks take about "
            f"{least}; ask for a larger size{' or fewer tiles' if tiles_at_least > 1 else ''}",
            value=wished,
        )


def _check_words(volume: Volume) -> None:
    """Refuse what a volume from memory may say and no file could hold."""
    for what, kind, value in (("unit", TEXT, volume.unit), ("description", SCALARS, volume.description)):
        try:
            kind.emit(value)
        except CorruptFile as error:
            raise InputError(
                f"the volume's {what} {value!r:.80} cannot be stored: texts are printable ASCII of up to "
                f"{LONGEST_TEXT} characters, numbers finite, entries at most {MOST_ENTRIES}",
                value=value,
            ) from error


def encode(volume: Volume, options: ResolvedOptions, progress: Progress | None = None) -> Encoded:
    """All that precedes the check of the result.

    Raises
    ------
    InputError, UsageError, ModelNotFound, TargetNotReached, FitFailed, LimitExceeded
    """
    job = aimed(volume, prepare(volume, options, progress), options, progress)
    return written(volume, job, options, fitted(job, options, progress))


def aimed(volume: Volume, job: Job, options: ResolvedOptions, progress: Progress | None = None) -> Job:
    """The job with another low-res volume to fit to, where that is wished; without a model that is no use."""
    if not options.through_sr:
        return job
    active = job.low.active
    decoded = np.where(active, job.low.values.clip(-1, 1), job.header.background)
    found = partial(back_projection.compensated, threads=options.threads, progress=progress)
    span, room = Range(job.header.low, job.header.high), job.plan.bytes if job.room is None else job.room
    error = forecast.coding_error(volume, span, job.low.factor, room) * active.size / max(active.sum(), 1)
    aim = found(volume, telling(job.header, error), decoded, active)
    if aim is None:
        notice = f"model {job.header.sr!r} is no gain on this volume: Lanczos is used"
        plain, wished = replace(options, sr=registry.LANCZOS), planning.wished_bytes(volume, options)
        again = job_for(volume, span, job.low, job.masks, plain, wished)
        job = replace(again, choice=job.choice, notices=[*job.notices, notice])
        aim = found(volume, job.header, decoded, active)
    return replace(job, low=replace(job.low, aim=aim))


def written(volume: Volume, job: Job, options: ResolvedOptions, networks: Fitted | None) -> Encoded:
    """The sections of a job's networks; a box of pure background has an empty stream."""
    codes, integers = (networks.codes, networks.integers) if networks else ((), ())
    sections = {**job.masks, **codec.encode(job.tiles, codes, integers)}
    span = Range(job.header.low, job.header.high)
    windows = focus.error_windows(options.focus, volume, span)
    return Encoded(job.header, sections, job.low.values, job.low.aimed, windows, job.notices, job.choice)


def downsample(
    volume: Volume, span: Range, factor: Shape, threads: int | None = None, progress: Progress | None = None
) -> Lowres:
    """The low-res volume, its background and the cells that hold more than background."""
    values = resample.down(
        partial(unit_rows, volume, span),
        volume.shape,
        factor,
        threads=threads or cpu_count() or 1,
        progress=None if progress is None else partial(progress, "downsample"),
    )
    background = activity.background_of(values)
    cell = activity.cell_for(lowres_shape(volume.shape, factor), CELL)
    return Lowres(values, factor, background, cell, activity.active_cells(values, background, cell))


def masks_of(volume: Volume, low: Lowres) -> dict[str, bytes]:
    """The sections of the active cells and of the padding, where there are any."""
    sections = {}
    if low.cells is not None:
        sections["MASK"] = laplace.encode_mask(low.cells)
    padded = padding_masks(volume)
    if padded is not None:
        sections["PADM"] = laplace.encode_bits(padded)
    return sections


def fitted(
    job: Job, options: ResolvedOptions, progress: Progress | None = None, start: Fitted | None = None
) -> Fitted | None:
    """Fit all tiles; ``None`` where there is nothing but background.

    ``start`` is a fit of the same tiles to go on from: half of the steps serve then.
    """
    present = [t for t in job.tiles if t is not None]
    if not present:
        if options.checkpoint is not None:
            options.checkpoint.refuse_any()
        return None
    settings = loop.FitSettings(
        steps=job.plan.steps if start is None else -(-job.plan.steps // 2),
        begin=0.0 if start is None else 0.5,
        batch=options.batch_per_tile,
        rate=job.plan.rate,
        room=job.room,
        measure=lambda codes, integers: sum(map(len, map(weights.write_tile, codes, integers))),
        learning_rate=options.learning_rate if options.optimizer == "adam" else None,
        seed=options.seed,
        device=options.device,
        threads=options.threads,
        seconds=options.time_budget,
        checkpoint=options.checkpoint,
    )
    values = [job.low.targets(tuple(t.index.T)) for t in present]
    return loop.fit(job.plan.layout, present, values, settings, progress, start)


def header_of(
    volume: Volume,
    span: Range,
    low: Lowres,
    model: Mapping[str, Any],
    options: ResolvedOptions,
    plan: Plan = UNPLANNED,
    cuts: tuple[int, ...] = (),
) -> Header:
    """The header of an encoding, without its quality."""
    return Header(
        shape=volume.shape,
        dtype=volume.array.dtype.name,
        affine=volume.affine,
        low=span.low,
        high=span.high,
        factor=low.factor,
        layers=plan.layout.layers,
        width=plan.layout.width,
        tiles=plan.parts,
        cuts=cuts,
        ndim=volume.ndim,
        rescale=volume.rescale,
        modality=volume.modality,
        unit=volume.unit,
        padding=volume.padding,
        description=volume.description,
        companding=low.nodes,
        background=low.background if low.cells is not None else 0.0,
        cell=low.cell if low.cells is not None else (1, 1, 1),
        omega=plan.layout.omega,
        version=__version__,
        seed=options.seed,
        **model,
    )


def _fixed_bytes(header: Header, sections: dict[str, bytes]) -> int:
    """Bytes of the file but for the weights, with as long a header as its quality can make it."""
    plain = None if header.sr == registry.LANCZOS else 0.1
    head = replace(
        header,
        psnr=0.1,
        psnr_lanczos=plain,
        sr_noise=0 if plain is None else NOISE_STEPS,
        peak=0.1,
        max_error=0.1,
        digest=bytes([1] * 16),
    ).to_bytes()
    index = bytes(4 * prod(header.tiles))
    return container.size([("HEAD", head), *sections.items(), ("INDX", index), ("WGHT", b"")])


def size_of(encoded: Encoded, found: Reached) -> int:
    """Bytes of the file, all in."""
    head = finished(encoded, found).to_bytes()
    return container.size([("HEAD", head), *encoded.sections.items()])


def model_left_out(encoded: Encoded, found: Reached, plain: Reached | None = None) -> list[str]:
    """A notice, where Lanczos serves better than the model; ``plain`` is what a fit without it reached."""
    if plain is None and found.best == encoded.header.sr:
        return []
    wished = found.outcomes[encoded.header.sr].errors.psnr
    best = (plain or found).outcomes[registry.LANCZOS].errors.psnr
    words = f"model {encoded.header.sr!r} reaches {wished:.2f} dB on this volume, Lanczos {best:.2f} dB"
    return [f"{words}: Lanczos is used"]


def finished(encoded: Encoded, found: Reached) -> Header:
    """The header with what was reached, by the better way to bring the resolution back."""
    best, helped = found.refined or found.outcomes[found.best], found.best != registry.LANCZOS
    return replace(
        encoded.header,
        **({"sr_noise": found.noise} if helped else model_choice.PLAIN),
        psnr=best.errors.psnr,
        psnr_lanczos=found.outcomes[registry.LANCZOS].errors.psnr if helped and not found.refined else None,
        peak=best.errors.peak,
        max_error=best.errors.largest * abs(encoded.header.rescale[0]),
        digest=best.digest,
    )
