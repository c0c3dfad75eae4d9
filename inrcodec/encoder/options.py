"""How a volume is encoded: the table of options.

In: options by name, from Python or the command line.  Out: `EncodeOptions` as they were given, and
`ResolvedOptions` with the preset's values filled in.
Invariant: conflicting, impossible or misspelt options are refused here.  Imports neither torch nor NumPy.

To add an option: one row in `EncodeOptions` and its type in `EncodeKeywords`; its field in
`presets.ResolvedOptions` (or `presets.Settings`, if presets differ in it); and the code that uses it.
Signatures, docstrings, the parser, ``--help``, the manual and the tests of the table follow from the row.

Examples
--------
>>> options = EncodeOptions.from_preset("fast", factor=(1, 4, 4), seed=7)
>>> options.resolved().steps, options.resolved().factor
(1200, (1, 4, 4))
>>> OPTIONS["layers"].flag, OPTIONS["layers"].range, OPTIONS["layers"].default
('--layers', '1 to 16', None)
>>> EncodeOptions.from_preset("fast", facter=4)
Traceback (most recent call last):
    ...
inrcodec.errors.UsageError: unknown option 'facter', did you mean 'factor'?
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from os import PathLike
from typing import TYPE_CHECKING, Any

from inrcodec import validate
from inrcodec.encoder import conflicts
from inrcodec.encoder.presets import BASES, PRESETS, Preset, ResolvedOptions, Settings, Triple, by_preset
from inrcodec.encoder.source_options import SourceKeywords
from inrcodec.format import limits
from inrcodec.validate import LARGEST, SWITCH, Kind, number, triples, whole
from inrcodec.validate.rows import check_all, lists_keywords, refuse_unknown, row, table
from inrcodec.volume import windows
from inrcodec.volume.windows import Focus

if TYPE_CHECKING:
    from inrcodec.encoder.fit.checkpoint import Checkpoint
    from inrcodec.encoder.tasks import Tasks as Tasks

__all__ = [
    "OPTIONS",
    "PRESETS",
    "EncodeKeywords",
    "EncodeOptions",
    "Preset",
    "ResolvedOptions",
]

MAX_STEPS = 10_000_000
LARGEST_BRICK = 1 << 15  # voxels along an axis
MAX_SEED = LARGEST  # what torch takes

TARGET = "target, at most one"
EFFORT = "effort"
LOWRES = "low-res volume"
SUPERRES = "super-resolution"
MACHINE = "machine"


class EncodeKeywords(SourceKeywords, total=False):
    """Types of the keywords of :func:`inrcodec.encode`: the fields of `SourceOptions` and `EncodeOptions`."""

    preset: str
    ratio: float | None
    size: int | str | None
    psnr: float | None
    max_error: float | None
    lossless: bool
    base: str | None
    i_know_lossy: bool
    brick: int | Triple | None
    steps: int | None
    time_budget: float | None
    factor: int | Triple | None
    tiles: Triple | None
    layers: int | None
    width: int | None
    focus: Focus
    sr: str | None
    ensemble: int | None
    through_sr: bool | None
    seed: int
    device: str
    threads: int | None
    resume: str | PathLike[str] | None


def _brick(name: str, value: object) -> Triple:
    edges = validate.triple(name, (value,) * 3 if isinstance(value, int) else value, LARGEST_BRICK)
    validate.require(all(e >= 8 and e & (e - 1) == 0 for e in edges), name, value, "powers of two from 8 on")
    return edges


@lists_keywords()
@dataclass(frozen=True, kw_only=True)
class EncodeOptions:
    """How a volume is encoded; the keywords of :func:`inrcodec.encode`.

    Parameters
    ----------
    {keywords}

    Raises
    ------
    UsageError
        For a value outside its range, and for options that cannot be given together.
    """

    preset: str = row(
        "balanced",  # minutes on two cores for a whole head; "best" takes five times longer
        validate.choice(PRESETS),
        "effort of the fit",
        EFFORT,
        detail="a preset has a value for every option that is not given",
        metavar="NAME",
        main=True,
    )
    ratio: float | None = row(
        None,
        number(1.0, open_at_low=True),
        "at least this compression ratio",
        TARGET,
        detail="bytes of the voxels by bytes of the file",
        metavar="R",
        main=True,
        exclusive="target",
    )
    size: int | str | None = row(
        None,
        validate.BYTES,
        "at most this file size",
        TARGET,
        detail="kB and MB are 1,000 and 1,000,000, KiB and MiB 1,024 and 1,048,576",
        unit="bytes",
        main=True,
        exclusive="target",
    )
    psnr: float | None = row(
        None,
        number(5.0, 150.0),
        "at least this PSNR",
        TARGET,
        detail="over the whole volume, against its own peak, in few bytes",
        metavar="DB",
        unit="dB",
        main=True,
        exclusive="target",
    )
    max_error: float | None = row(
        None,
        number(0.0),
        "largest error of any voxel",
        TARGET,
        metavar="E",
        unit="HU, for CT",
        main=True,
        exclusive="target",
    )
    lossless: bool = row(
        False, SWITCH, "every voxel comes back bit for bit", TARGET, main=True, exclusive="target"
    )
    i_know_lossy: bool = row(
        False,
        SWITCH,
        "code with loss what never is",
        TARGET,
        detail="mammography (MG), and the modalities that INRCODEC_NEVER_LOSSY lists",
        without=("lossless", True),
    )
    brick: int | Triple | None = row(
        None,
        Kind("powers of two from 8 on", _brick, validate.parse_ints, "N|Z,Y,X"),
        "parts that are decoded alone",
        TARGET,
        detail="of a file with a promise; smaller ones are read faster and make the file larger",
        unit="voxels",
        otherwise="about 64,256,256",
        needs=("lossless", "max_error", "psnr"),
    )
    steps: int | None = row(
        None,
        whole(1, MAX_STEPS),
        "steps of the fit",
        EFFORT,
        for_networks=True,
        for_fit=True,
        otherwise=f"{by_preset('steps')}; more for small volumes",
    )
    time_budget: float | None = row(
        None,
        number(0.0, open_at_low=True),
        "end the fit after this time",
        EFFORT,
        detail="reading the source and checking the file come on top",
        metavar="S",
        unit="s",
        main=True,
        for_networks=True,
        for_fit=True,
    )
    base: str | None = row(
        None,
        validate.choice(BASES),
        "coder of the low-res volume",
        LOWRES,
        detail="siren: networks, a continuous field; av1 (extra av1): fewer bytes in less time, a head in "
        "10 kB at 39.5 dB in half a minute where networks reach 38.6 in more than one; latent: a trained "
        "model, in as little time; auto: the best of them. With psnr a refinement takes their place where it "
        "is smaller; with lossless or max_error a base stands in front of it, for a preview from the first "
        "bytes, which makes the file larger",
        metavar="NAME",
        otherwise="siren; none with lossless or max_error",
        main=True,
    )
    factor: int | Triple | None = row(
        None,
        triples(limits.FACTOR, or_one=True),
        "down-sampling of each axis",
        LOWRES,
        for_networks=True,
        otherwise="by voxel spacing and target",
    )
    tiles: Triple | None = row(
        None,
        triples(limits.TILES, most=limits.TILES),
        "networks along each axis",
        LOWRES,
        for_networks=True,
        for_fit=True,
        otherwise="by the number of low-res voxels",
    )
    layers: int | None = row(
        None,
        whole(1, limits.LAYERS),
        "hidden layers of each network",
        LOWRES,
        for_networks=True,
        for_fit=True,
        otherwise=by_preset("layers"),
    )
    width: int | None = row(
        None,
        whole(2, limits.WIDTH),
        "units of each hidden layer",
        LOWRES,
        for_networks=True,
        for_fit=True,
        otherwise=f"by target, {by_preset('width')}",
    )
    focus: Focus = row(
        windows.ALL,
        Kind(
            f"{windows.ALL}, {', '.join(windows.WINDOWS)} or LO:HI",
            lambda _, value: windows.parse_focus(value),
            metavar="WINDOW",
        ),
        "values that matter most",
        LOWRES,
        detail="a window by name, for CT, or by its ends in the volume's unit",
        for_networks=True,
    )
    sr: str | None = row(
        None,
        validate.MODEL,
        "ID of a model, or 'lanczos' for none",
        SUPERRES,
        for_networks=True,
        otherwise="'auto', by modality and factor",
    )
    ensemble: int | None = row(
        None,
        validate.ENSEMBLE,
        "mirror images that are averaged",
        SUPERRES,
        detail="the decoder computes the model as many times",
        metavar="N",
        without=("sr", "lanczos"),
        for_networks=True,
        otherwise="as many as the preset has time for",
    )
    through_sr: bool | None = row(
        None,
        SWITCH,
        "fit for the best up-sampled volume",
        SUPERRES,
        detail="not for the volume that plain down-sampling gives",
        for_networks=True,
        otherwise=by_preset("through_sr"),
    )
    seed: int = row(
        0,
        whole(0, MAX_SEED, "0 to 2^63 - 1"),
        "of all randomness, stored in the file",
        MACHINE,
        for_fit=True,
    )
    device: str = row("cpu", validate.DEVICE, "where the networks are fitted", MACHINE, for_fit=True)
    threads: int | None = row(
        None,
        validate.THREADS,
        "threads of the computation",
        MACHINE,
        detail="they change no byte",
        otherwise="one a core",
        main=True,
    )
    resume: str | PathLike[str] | None = row(
        None,
        validate.PATH,
        "checkpoint of the fit",
        MACHINE,
        detail="its state is kept there, and taken from there if the file exists",
        for_networks=True,
        for_fit=True,
    )

    def __post_init__(self) -> None:
        check_all(self)
        conflicts.refuse(self, OPTIONS)

    @classmethod
    def from_preset(cls, preset: str = "balanced", **options: Any) -> EncodeOptions:
        """The preset with some options set; an option that does not exist is refused.

        Raises
        ------
        UsageError
            As for the class itself, and for an unknown option, with the nearest one that exists.
        """
        return cls().updated({"preset": preset, **options})

    def updated(self, options: Mapping[str, Any]) -> EncodeOptions:
        """These options with some replaced; raises `UsageError` as `from_preset` does."""
        refuse_unknown(options, OPTIONS)
        return replace(self, **options)

    def resolved(self) -> ResolvedOptions:
        """These options with the preset's values where nothing was given.

        Raises
        ------
        UsageError, ModelNotFound
            There is no such device or model here.
        """
        from inrcodec.encoder.tasks import Threads  # imports NumPy, for those who need it

        validate.check_device(self.device)
        self._check_model()
        self._check_base()
        preset = PRESETS[self.preset]
        values: dict[str, Any] = {f.name: getattr(self, f.name, None) for f in fields(ResolvedOptions)}
        factor, sr = self.factor, None if self.sr == "auto" else self.sr
        values |= {
            "factor": (factor, factor, factor) if isinstance(factor, int) else factor,
            "sr": sr,
            "sr_given": sr is not None,
            "steps_given": self.steps is not None,
            "max_error": 0.0 if self.lossless else self.max_error,
            "checkpoint": self._checkpoint(),
            "tasks": Threads(self.threads),
        }
        filled = {f.name: getattr(preset, f.name) for f in fields(Settings) if values[f.name] is None}
        return ResolvedOptions(**values | filled)

    def _check_model(self) -> None:
        if self.sr not in (None, "auto", "lanczos"):
            from inrcodec.layers.superres.registry import manifest

            manifest(self.sr)

    def _check_base(self) -> None:
        if self.base == "av1":
            from inrcodec.layers.base.av1 import video

            video.check_installed()
        if self.base == "latent":
            from inrcodec.layers.base.latent import models

            models.usual()

    def _checkpoint(self) -> Checkpoint | None:
        """A new one for each encoding: it counts the fits."""
        if self.resume is None:
            return None
        from inrcodec.encoder.fit.checkpoint import Checkpoint  # imports NumPy, for those who need it

        return Checkpoint(self.resume)


OPTIONS = table(EncodeOptions)
