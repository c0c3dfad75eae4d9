"""Wishes of the user: presets, knobs and targets, checked once and then frozen.

In: knobs by name (from Python or the command line). Out: `EncodeOptions` as wished, `ResolvedOptions` with
the preset's values filled in. The one law: contradictory, impossible or misspelt wishes are refused here
with the way out, so that no later step has to ask. Imports neither torch nor numpy.

Examples
--------
>>> options = EncodeOptions.from_preset("fast", factor=(1, 4, 4), seed=7)
>>> options.resolved().steps, options.resolved().factor
(1200, (1, 4, 4))
>>> EncodeOptions.from_preset("fast", facter=4)
Traceback (most recent call last):
    ...
inrcodec.errors.UsageError: unknown option 'facter', did you mean 'factor'?
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, fields
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from inrcodec import validate
from inrcodec.encoder import conflicts
from inrcodec.encoder.presets import PRESETS, Preset, Triple
from inrcodec.errors import UsageError
from inrcodec.format import limits
from inrcodec.layers.decode_options import DecodeOptions, Precision
from inrcodec.progress import Progress
from inrcodec.validate import did_you_mean
from inrcodec.volume import windows as focusing

if TYPE_CHECKING:
    from inrcodec.encoder.fit.checkpoint import Checkpoint

__all__ = ["PRESETS", "DecodeOptions", "EncodeOptions", "Precision", "Preset", "Progress", "ResolvedOptions"]


T = TypeVar("T")


MAX_STEPS = 10_000_000
MAX_SEED = 2**63 - 1  # what torch takes
MAX_PSNR = 150.0


@dataclass(frozen=True, kw_only=True)
class ResolvedOptions:
    """`EncodeOptions` with the preset's values filled in.

    None still means "by rule": `factor` from the voxel spacing, `tiles` from the number of active voxels,
    `sr` from the modality, `ensemble` from the `work` that the preset allows. `sr_wished` is False where the
    model is not the user's word; such a choice may fall back, with a notice.
    """

    preset: str
    steps: int
    steps_wished: bool
    batch_per_tile: int
    omega: float | None
    layers: int
    voxels_per_tile: int
    width: int | None
    usual_width: int
    rate: float
    optimizer: Literal["soap", "adam"]
    learning_rate: float | None
    factor: Triple | None
    tiles: Triple | None
    sr: str | None
    sr_wished: bool
    ensemble: int | None
    work: float
    through_sr: bool
    ratio: float | None
    size: int | None
    psnr: float | None
    max_error: float | None
    base: bool
    focus: focusing.Focus
    seed: int
    device: str
    threads: int | None
    time_budget: float | None
    checkpoint: Checkpoint | None


@dataclass(frozen=True, kw_only=True)
class EncodeOptions:
    """What the user asks of the encoder.

    Parameters
    ----------
    preset : {"fast", "balanced", "best", "paper"}
        Values for everything that is not given.
    factor : int or (z, y, x), optional
        Down-sampling per axis, 1..8. By default from the spacing, so that low-res voxels are near-isotropic;
        with a target, the grid that is forecast to serve it best.
    tiles : (z, y, x), optional
        Number of networks along each axis. By default from the number of active voxels.
    layers, width : int, optional
        Hidden layers (1..16) and units of each (2..1024) of a tile's network.
    ratio : float, optional
        At least this compression ratio (bytes of the voxels / bytes of the file), > 1. Excludes `size`.
    size : int, optional
        At most this many bytes. Excludes `ratio`. A target that cannot be reached is an error, never a file.
    psnr : float, optional
        At least this PSNR in dB, 5..150, over the whole volume and against its own peak, in as few bytes as
        some fits that go on from each other can find, or in a refinement where that takes fewer. Excludes
        `ratio` and `size`.
    max_error : float, optional
        No voxel is off by more than this, in physical units (HU, for CT): a refinement keeps the promise.
        Excludes `ratio`, `size` and `psnr`.
    lossless : bool
        Every voxel comes back as it was, bit for bit: `max_error` 0.
    base : bool
        Put networks in front of the refinement too, for a preview from the first bytes, which it then has
        more of: without it there are none.
    sr : str, optional
        ID of a super-resolution model, or "lanczos" for none. By default, and with "auto", by modality.
    ensemble : {1, 2, 4, 8}, optional
        Mirror images of the low-res volume that the model's result is averaged over; the decoder computes the
        model as many times. By default as many as the preset's `work` for a voxel allows.
    through_sr : bool, optional
        Fit to a low-res volume that gives a better full-res one, not to the one nearest to plain
        down-sampling. By default from the preset.
    focus : str or (low, high)
        Values that matter most: "all", a window of `focus.WINDOWS` (CT), or "LO:HI" in physical units.
    seed : int
        Of all randomness, 0..2^63 - 1; stored in the file.
    device : str
        "cpu", "cuda" or "cuda:N".
    threads : int, optional
        Of the arithmetic, 1..1024. By default one a core.
    time_budget : float, optional
        Seconds after which the fit ends its schedule, if `steps` have not ended it before. Reading, the last
        rounding to a size that was asked for, and the check of the result come on top.
    steps : int, optional
        Of the fit, 1..10 000 000. By default the preset's; up to four times as many for volumes of few tiles,
        which take no longer then than large ones.
    resume : path, optional
        Checkpoint: the state of the fit is kept there, and taken from there if it exists.

    Raises
    ------
    UsageError
        For a value outside its range, a contradiction, an unknown preset.
    """

    preset: str = "balanced"  # minutes on two cores for a whole head; "best" takes five times longer
    factor: int | Triple | None = None
    tiles: Triple | None = None
    layers: int | None = None
    width: int | None = None
    ratio: float | None = None
    size: int | None = None
    psnr: float | None = None
    max_error: float | None = None
    lossless: bool = False
    base: bool = False
    sr: str | None = None
    ensemble: int | None = None
    through_sr: bool | None = None
    focus: focusing.Focus = focusing.ALL
    seed: int = 0
    device: str = "cpu"
    threads: int | None = None
    time_budget: float | None = None
    steps: int | None = None
    resume: str | PathLike[str] | None = None

    def __post_init__(self) -> None:
        if self.preset not in PRESETS:
            hint = did_you_mean(self.preset, PRESETS) or f", there are {', '.join(PRESETS)}"
            raise UsageError(f"{self.preset!r} is unknown{hint}", value=self.preset, option="preset")
        self._check_numbers()
        validate.check_device_name(self.device)
        validate.check_model_id(self.sr)
        validate.check_ensemble(self.ensemble)
        validate.require(
            self.through_sr in (None, False, True), "through_sr", self.through_sr, "True or False"
        )
        for name in ("lossless", "base"):
            validate.require(
                isinstance(getattr(self, name), bool), name, getattr(self, name), "True or False"
            )
        if self.resume is not None:
            self._settle("resume", validate.path("resume", self.resume))
        self._settle("focus", focusing.parse_focus(self.focus))
        conflicts.refuse(self, _triple_of(self.factor))

    @classmethod
    def from_preset(cls, preset: str = "balanced", **knobs: Any) -> EncodeOptions:
        """Return the preset with some knobs set; a knob that does not exist is refused.

        Raises
        ------
        UsageError
            As for the class itself, and for an unknown knob, with the nearest one that exists.
        """
        known = [field.name for field in fields(cls)]
        for name in knobs:
            if name not in known:
                hint = did_you_mean(name, known) or f", known are {', '.join(known)}"
                raise UsageError(f"unknown option {name!r}{hint}", value=name)
        return cls(preset=preset, **knobs)

    def resolved(self) -> ResolvedOptions:
        """Return these options with the preset's values where nothing was asked."""
        preset = PRESETS[self.preset]
        sr = None if self.sr == "auto" else self.sr
        return ResolvedOptions(
            preset=self.preset,
            steps=_first(self.steps, preset.steps),
            steps_wished=self.steps is not None,
            batch_per_tile=preset.batch_per_tile,
            omega=preset.omega,
            layers=_first(self.layers, preset.layers),
            voxels_per_tile=preset.voxels_per_tile,
            width=_first(self.width, preset.width),
            usual_width=preset.usual_width,
            rate=preset.rate,
            optimizer=preset.optimizer,
            learning_rate=preset.learning_rate,
            factor=_first(_triple_of(self.factor), preset.factor),
            tiles=_first(self.tiles, preset.tiles),
            sr=_first(sr, preset.sr),
            sr_wished=sr is not None,
            ensemble=self.ensemble,
            work=preset.work,
            through_sr=_first(self.through_sr, preset.through_sr),
            ratio=self.ratio,
            size=self.size,
            psnr=self.psnr,
            max_error=0.0 if self.lossless else self.max_error,
            base=self.base,
            focus=self.focus,
            seed=self.seed,
            device=self.device,
            threads=self.threads,
            time_budget=self.time_budget,
            checkpoint=self._checkpoint(),
        )

    def _checkpoint(self) -> Checkpoint | None:
        """A new one for each encoding: it counts the fits."""
        from inrcodec.encoder.fit.checkpoint import (
            Checkpoint,  # NumPy is not for those who only ask for options
        )

        return None if self.resume is None else Checkpoint(self.resume)

    def _check_numbers(self) -> None:
        factor = self.factor
        if isinstance(factor, Iterable):
            self._settle("factor", validate.triple("factor", factor, limits.FACTOR))
        elif factor is not None:
            self._settle("factor", validate.integer("factor", factor, 1, limits.FACTOR))
        if self.tiles is not None:
            tiles = validate.triple("tiles", self.tiles, limits.TILES)
            validate.require(
                math.prod(tiles) <= limits.TILES, "tiles", tiles, f"at most {limits.TILES} tiles in all"
            )
            self._settle("tiles", tiles)
        for name, low, high in (
            ("layers", 1, limits.LAYERS),
            ("width", 2, limits.WIDTH),
            ("size", 1, 2**63 - 1),
            ("seed", 0, MAX_SEED),
            ("threads", 1, validate.MAX_THREADS),
            ("steps", 1, MAX_STEPS),
        ):
            value = getattr(self, name)
            if value is not None or name == "seed":
                self._settle(name, validate.integer(name, value, low, high))
        for name, floor in (("ratio", 1.0), ("time_budget", 0.0)):
            value = getattr(self, name)
            if value is not None:
                self._settle(name, validate.number_above(name, value, floor))
        if self.max_error is not None:
            self._settle("max_error", validate.number_from("max_error", self.max_error, 0.0))
        if self.psnr is not None:
            psnr = validate.number_above("psnr", self.psnr, 5.0)
            validate.require(
                psnr <= MAX_PSNR, "psnr", self.psnr, f"a number of decibels from 5 to {MAX_PSNR:g}"
            )
            self._settle("psnr", psnr)

    def _settle(self, name: str, value: object) -> None:
        """Keep the checked, plain-Python form of a value; the only writes that a frozen object sees."""
        object.__setattr__(self, name, value)


def _triple_of(factor: int | Triple | None) -> Triple | None:
    return (factor, factor, factor) if isinstance(factor, int) else factor


def _first(wished: T | None, otherwise: T) -> T:
    return otherwise if wished is None else wished
