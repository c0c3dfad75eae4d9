"""All that is decided before anything is fitted: grid, low-res volume, model, networks, byte budget.

In: what `planner` decided.  Out: the header, and what the fit may spend.
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
from inrcodec.encoder.facts import Facts
from inrcodec.encoder.grid_search import Choice
from inrcodec.encoder.lowres import Lowres
from inrcodec.encoder.networks import Networks
from inrcodec.encoder.options import ResolvedOptions
from inrcodec.format import container, header_checks, limits
from inrcodec.format.header import LANCZOS, NOISE_STEPS, Header
from inrcodec.layers.base.siren import companding

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
    networks : tiles and sizes of all networks.
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
            cuts=self.networks.cuts,
            ndim=volume.ndim,
            rescale=volume.rescale,
            slice_rescale=()
            if volume.slice_rescale is None
            else tuple(map(tuple, volume.slice_rescale.tolist())),
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
        plain = self.header.sr == LANCZOS
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
    def predicted_least(self) -> int:
        """Bytes of the file with these networks, estimated before the fit."""
        return self.overhead + self.networks.bytes

    @property
    def predicted(self) -> int:
        """Bytes of the file: the size that it is fitted to, if there is one."""
        return self.size or self.predicted_least

    def targets(self, places: Any) -> Float:
        """What the networks are fitted to at some low-res voxels, (n,), companded."""
        return companding.compress(self.curve, self.lowres.target[places])

    def check(self) -> None:
        """Refuse what no reader would take.

        Raises
        ------
        CorruptFile, UnsupportedFile, LimitExceeded
        """
        header_checks.check(self.header)
        limits.check_header(self.header, "MASK" in self.masks)
