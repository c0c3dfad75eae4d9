"""Options of a training, checked once and then frozen.

In: volumes and options, from Python or the command line.  Out: `TrainOptions`.
Invariant: an impossible option is refused before the first volume is read.  Imports no torch.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from inrcodec import validate
from inrcodec.encoder.options import MAX_SEED, MAX_STEPS
from inrcodec.errors import InputError, UsageError
from inrcodec.format import limits
from inrcodec.io.atomic import check_file
from inrcodec.layers.superres.architectures import COMPACT, DEEP, named
from inrcodec.report import plots
from inrcodec.volume.box import Shape
from inrcodec.volume.modality import parse_modality

Loss: TypeAlias = Literal["mse", "l1"]
LOSSES: tuple[Loss, ...] = get_args(Loss)

HELD_OUT = 5  # one volume in this many is held out where none is named
CLEAN = 0.3  # share of the patches that are not degraded
CT = "CT"


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """What to train, on what, and for how long.

    Parameters
    ----------
    volumes : sequence of paths
        Anything that :func:`inrcodec.encode` reads.
    held_out : sequence of paths
        Volumes for evaluation alone.  By default one volume in five, or the last fifth of the slices of a
        single volume.
    modality : str
        "CT", "MR" …, of all volumes.
    factor : (z, y, x)
        What the model brings back, each 1..8.
    out : path
        Folder of everything that is written; a training that was begun there is resumed.
    arch : str
        A name of :mod:`inrcodec.layers.superres.architectures`.
    model : str
        ID of the model; by default from modality, architecture and factor.
    start : str, optional
        ID of a model of the same architecture whose weights to start from.
    fits : sequence of int
        Widths of the networks of the real fits to train on; empty for none.
    fit_steps : int
        Steps of each of these fits.
    clean : float
        Share of the patches, 0..1, with a clean low-res volume; the others have what files decode to.
    offsets : mapping of name to float
        Added to the values of CT volumes that are not in HU.
    licences : mapping of name to str
        For the model card.
    steps, minutes : int; float, optional
        Length of the training: whichever ends first.
    batch, patch : int; (z, y, x)
        Patches in a step, and low-res voxels of each.
    learning_rate : float
        Of Adam, at its peak.
    loss : {"mse", "l1"}
    report : int
        Steps between two evaluations.
    seed : int
    device, threads : str; int
    curve : bool
        Plot the gains over the steps.
    force : bool
        Replace an existing model.

    Raises
    ------
    UsageError
        An option is out of range, or options conflict.
    InputError
        A volume does not exist, or Matplotlib is missing for the plot.
    WriteError
        There is a model of this ID.
    """

    volumes: Sequence[Path]
    modality: str
    factor: Shape
    out: Path
    held_out: Sequence[Path] = ()
    arch: str = COMPACT
    model: str = ""
    start: str | None = None
    fits: Sequence[int] = (20, 28, 40)
    fit_steps: int = 1000
    clean: float = CLEAN
    offsets: Mapping[str, float] = field(default_factory=dict)
    licences: Mapping[str, str] = field(default_factory=dict)
    steps: int = 20_000
    minutes: float | None = None
    batch: int = 4
    patch: Shape = (12, 24, 24)
    learning_rate: float = 2e-3
    loss: Loss = "mse"
    report: int = 500
    seed: int = 0
    device: str = "cpu"
    threads: int = 1
    curve: bool = False
    force: bool = False

    def __post_init__(self) -> None:
        self._check_values()
        self._check_volumes()
        if not self.model:
            object.__setattr__(self, "model", _default_id(self.modality, self.arch, self.factor))
        validate.checked_id(self.model)
        self._check_out()

    @property
    def names(self) -> dict[Path, str]:
        """Names of the volumes: the shortest ends of their paths that are unique."""
        return _names([*self.volumes, *self.held_out])

    def split(self) -> tuple[list[Path], list[Path]]:
        """Volumes to train on and to hold out; none of the latter where a single one serves for both."""
        volumes, held_out = list(self.volumes), list(self.held_out)
        if not held_out and len(volumes) > 1:
            held_out = random.Random(self.seed).sample(volumes, -(-len(volumes) // HELD_OUT))
        return [v for v in volumes if v not in held_out], held_out

    def _check_values(self) -> None:
        object.__setattr__(self, "modality", parse_modality(self.modality))
        object.__setattr__(self, "factor", validate.triple("factor", self.factor, limits.FACTOR))
        named(self.arch, self.factor)
        for name, high in (
            ("steps", MAX_STEPS),
            ("fit_steps", MAX_STEPS),
            ("batch", 4096),
            ("report", MAX_STEPS),
        ):
            validate.integer(name, getattr(self, name), 1, high)
        validate.integer("seed", self.seed, 0, MAX_SEED)
        validate.integer("threads", self.threads, 1, validate.MAX_THREADS)
        validate.triple("patch", self.patch, 512)
        validate.number_above("learning_rate", self.learning_rate, 0.0)
        validate.require(0 <= self.clean <= 1, "clean", self.clean, "0 to 1")
        if self.minutes is not None:
            validate.number_above("minutes", self.minutes, 0.0)
        for width in self.fits:
            validate.integer("fits", width, 2, limits.WIDTH)
        validate.require(self.loss in LOSSES, "loss", self.loss, " or ".join(LOSSES))
        validate.check_device_name(self.device)
        validate.check_model_id(self.start)
        if self.curve:
            plots.require()

    def _check_volumes(self) -> None:
        for path in [*self.volumes, *self.held_out]:
            if not path.exists():
                raise InputError(f"{path} does not exist, check the path", value=str(path))
        places = [path.resolve() for path in [*self.volumes, *self.held_out]]
        for path, place in zip([*self.volumes, *self.held_out], places, strict=True):
            if places.count(place) > 1:
                raise UsageError(
                    f"{path} is named twice: a volume is for training or for evaluation, name it once",
                    value=str(path),
                )
        if not self.volumes:
            raise UsageError("no volume to train on, name one", value=self.volumes)
        names = set(self.names.values())
        for option, given in (("offsets", self.offsets), ("licences", self.licences)):
            for name in given:
                if name not in names:
                    raise UsageError(
                        f"{name!r} is none of the volumes {', '.join(sorted(names))}",
                        value=name,
                        option=option,
                    )
        if self.offsets and self.modality != CT:
            raise UsageError(
                f"brings values to HU, and {self.modality} has none: leave it out",
                value=self.offsets,
                option="offsets",
            )

    def _check_out(self) -> None:
        if self.out.exists() and not self.out.is_dir():
            raise UsageError(
                f"{self.out} is a file, name a folder for the model", value=str(self.out), option="out"
            )
        if self.out.is_dir():
            for ending in ("safetensors", "json"):
                check_file(self.out / f"{self.model}.{ending}", self.force)


def _names(paths: Sequence[Path]) -> dict[Path, str]:
    places = {path: path.resolve().parts for path in paths}
    names = {}
    for path, parts in places.items():
        length = 1
        while sum(other[-length:] == parts[-length:] for other in places.values()) > 1:
            length += 1
        names[path] = "/".join(parts[-length:])
    return names


def _default_id(modality: str, arch: str, factor: Shape) -> str:
    """Such as my-ct-3d-x4, my-mr-2d-deep-x2, my-ct-3d-x2.4.4 or my-ct-srdensenet-all-x4."""
    z, y, x = factor
    across = str(x) if y == x and z in (1, x) else f"{z}.{y}.{x}"
    own = {COMPACT: "", DEEP: "-deep"}
    kind = ("2d" if z == 1 else "3d") + own[arch] if arch in own else arch
    return f"my-{modality.lower().replace(' ', '-').replace('_', '-')}-{kind}-x{across}"
