"""All that is decided before anything is fitted.

In: facts of a volume, and options.  Out: a `Plan`: grid, low-res volume, model, networks, byte budget.
Invariant: a plan is never changed; another size, or another model, is another plan.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inrcodec._version import __version__
from inrcodec.encoder import grid_search, lowres, model_choice, networks, omega
from inrcodec.encoder.facts import Facts
from inrcodec.encoder.grid_search import Choice
from inrcodec.encoder.lowres import Lowres
from inrcodec.encoder.networks import Networks
from inrcodec.encoder.options import ResolvedOptions
from inrcodec.errors import TargetNotReached
from inrcodec.format import container, limits
from inrcodec.format.header import NOISE_STEPS, Header, check
from inrcodec.layers.base.siren import companding, tiles
from inrcodec.progress import Progress
from inrcodec.volume import windows

Float = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Plan:
    """One encoding, decided.

    Attributes
    ----------
    facts, options : what it follows from.
    grid : the factor, and why.
    lowres : the low-res volume.
    curve : nodes of the companding; none without a focus.
    model : header fields of the super-resolution model.
    networks : sizes of all networks; ``None`` in a file without any.
    cuts : first index of each next tile, in k-d order.
    tiles : of all boxes; ``None`` for one of pure background.
    size : bytes that the file may have at most, where that is requested.
    notices : what the user should know about the choices.
    """

    facts: Facts
    options: ResolvedOptions
    grid: Choice
    lowres: Lowres
    curve: companding.Nodes
    model: Mapping[str, Any]
    networks: Networks
    cuts: tuple[int, ...] = ()
    tiles: tuple[tiles.Tile | None, ...] = (None,)
    size: int | None = None
    notices: tuple[str, ...] = ()

    @cached_property
    def header(self) -> Header:
        """The file's header, without its quality."""
        volume, span, low = self.facts.volume, self.facts.span, self.lowres
        masked = low.cells is not None
        return Header(
            shape=volume.shape,
            dtype=volume.array.dtype.name,
            affine=volume.affine,
            low=span.low,
            high=span.high,
            factor=low.factor,
            layers=self.networks.layout.layers,
            width=self.networks.layout.width,
            tiles=self.networks.parts,
            cuts=self.cuts,
            ndim=volume.ndim,
            rescale=volume.rescale,
            modality=volume.modality,
            unit=volume.unit,
            padding=volume.padding,
            description=volume.description,
            companding=self.curve,
            background=low.background if masked else 0.0,
            cell=low.cell if masked else (1, 1, 1),
            omega=self.networks.layout.omega,
            version=__version__,
            seed=self.options.seed,
            **self.model,
        )

    @cached_property
    def masks(self) -> Mapping[str, bytes]:
        """Sections of the active low-res cells and of the padding, where there are any."""
        padding = {"PADM": self.facts.padding} if self.facts.padding else {}
        return {**self.lowres.sections, **padding}

    @cached_property
    def overhead(self) -> int:
        """Bytes of the file but for the weights, with as long a header as its quality can make it."""
        plain = self.header.sr == model_choice.PLAIN["sr"]
        longest = replace(
            self.header,
            psnr=0.1,
            psnr_lanczos=None if plain else 0.1,
            sr_noise=0 if plain else NOISE_STEPS,
            peak=0.1,
            max_error=0.1,
            digest=bytes([1] * 16),
        )
        index = bytes(4 * prod(self.networks.parts))
        sections = {"HEAD": longest.to_bytes(), **self.masks, "INDX": index, "WGHT": b""}
        return container.size(list(sections.items()))

    @property
    def budget(self) -> int | None:
        """Bytes for the weights of all tiles, where a size is requested."""
        return None if self.size is None else self.size - self.overhead

    @property
    def predicted(self) -> int:
        """Bytes of the file, as far as can be told before the fit."""
        return self.size or self.overhead + self.networks.bytes

    def targets(self, places: Any) -> Float:
        """What the networks are fitted to at some low-res voxels, (n,), companded."""
        return companding.compress(self.curve, self.lowres.target[places])

    def resized(self, size: int | None) -> Plan:
        """The plan for another file size on the same low-res volume."""
        return for_lowres(self.facts, self.options, self.grid, self.lowres, size)

    def without_model(self) -> Plan:
        """The plan without its super-resolution model, on the same low-res volume."""
        return for_lowres(self.facts, self._plain, self.grid, self.lowres, self.size)

    def rival(self) -> Plan:
        """The plan that there would be if there were no model; its grid may be another."""
        return make(self.facts, self._plain, known=self.lowres)

    @property
    def _plain(self) -> ResolvedOptions:
        return replace(self.options, sr=model_choice.PLAIN["sr"])


def make(
    facts: Facts, options: ResolvedOptions, progress: Progress | None = None, *, known: Lowres | None = None
) -> Plan:
    """Decide on grid, mask, model and networks.

    Parameters
    ----------
    known : a low-res volume that has been computed; taken where its factor is the one that is chosen.

    Raises
    ------
    InputError, UsageError, ModelNotFound, TargetNotReached, LimitExceeded
    """
    size = requested_size(facts, options)
    windows.unit_window(options.focus, facts.volume, facts.span)  # refuses before any work
    grid = grid_search.choose(facts, options, size)
    if progress is not None:
        progress("grid", 1.0)
    if known is not None and known.factor == grid.factor:
        return for_lowres(facts, options, grid, replace(known, projected=None), size)
    return on_grid(facts, options, grid, progress, size)


def on_grid(
    facts: Facts,
    options: ResolvedOptions,
    grid: Choice,
    progress: Progress | None = None,
    size: int | None = None,
) -> Plan:
    """Decide on mask, model and networks for a grid."""
    low = lowres.downsample(facts, grid.factor, options.threads, progress)
    return for_lowres(facts, options, grid, low, size)


def for_lowres(
    facts: Facts, options: ResolvedOptions, grid: Choice, low: Lowres, size: int | None = None
) -> Plan:
    """Decide on model and networks for a low-res volume.

    Raises
    ------
    UsageError, ModelNotFound, TargetNotReached, LimitExceeded
    """
    window, about_focus = windows.unit_window(options.focus, facts.volume, facts.span)
    model, about_model = model_choice.fields_for(facts, low.factor, options)
    least = Plan(
        facts,
        options,
        grid,
        low,
        companding.curve(*window) if window else (),
        model,
        networks.smallest(options),
        size=size,
        notices=(*about_focus, *about_model),
    )
    if size is not None:
        _refuse_too_small(size, least)
    found = networks.networks_for(least.targets(low.active), low.active, options, least.budget)
    cuts = tiles.cut(low.active, found.parts)
    boxes = tuple(tiles.of(low.active, found.parts, cuts))
    if options.omega is None:
        omega_0 = omega.omega_for(least.targets, low.shape, [t for t in boxes if t is not None])
        found = replace(found, layout=replace(found.layout, omega=omega_0))
    plan = replace(least, networks=found, cuts=cuts, tiles=boxes)
    check(plan.header)
    limits.check_header(plan.header, "MASK" in plan.masks)
    return plan


def without_networks(facts: Facts, options: ResolvedOptions) -> Plan:
    """The plan of a file that a refinement makes alone."""
    low = lowres.empty(facts.volume.shape)
    return Plan(facts, options, Choice(low.factor, ""), low, (), model_choice.PLAIN, networks.NONE)


def requested_size(facts: Facts, options: ResolvedOptions) -> int | None:
    """Bytes that the file may have, where a size or a ratio to the voxels' bytes is requested."""
    if options.ratio is not None:
        return int(facts.volume.array.nbytes / options.ratio)
    return options.size


def _refuse_too_small(size: int, least: Plan) -> None:
    """Refuse a size that the narrowest network in the fewest tiles is beyond, and say which is not."""
    smallest = least.overhead + least.networks.bytes
    if size < smallest:
        fewer = " or fewer tiles" if prod(least.networks.parts) > 1 else ""
        raise TargetNotReached(
            f"{size} bytes are too few for this volume: header, mask and the smallest networks take about "
            f"{smallest}; request a larger size{fewer}",
            value=size,
            option="size",
        )
