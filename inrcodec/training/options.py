"""What a model is trained on and how: the table of options.

In: volumes and options, from Python or the command line.  Out: a frozen `TrainOptions`.
Invariant: an impossible option is refused before the first volume is read.  Imports no torch.

To add an option, add a row to `TrainOptions`, or to `AnyTraining` where models of all kinds need it;
docstring, parser, help and manual follow.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from inrcodec import parallel, validate
from inrcodec.encoder.options import MAX_SEED, MAX_STEPS
from inrcodec.errors import InputError, UsageError
from inrcodec.io.atomic import check_file
from inrcodec.layers.models import PACKED, PLAIN
from inrcodec.layers.superres.architectures import COMPACT, DEEP, NAMES, Architecture, named
from inrcodec.report import plots
from inrcodec.training import kinds
from inrcodec.validate import SWITCH, Kind, number, whole
from inrcodec.validate.rows import check_all, lists_keywords, row, table
from inrcodec.volume.box import Shape
from inrcodec.volume.modality import parse_modality

Loss: TypeAlias = Literal["mse", "l1"]
LOSSES: tuple[Loss, ...] = get_args(Loss)

HELD_OUT = 5  # one volume in this many is held out where none is named
CLEAN = 0.3  # share of the patches that are not degraded
AV1_PRESET = 2  # 0.6 s for a low-res head
CT = "CT"

MODEL, DATA, TRAINING, MACHINE, OUTPUT = "model", "data", "training", "machine", "output"


@dataclass(frozen=True, kw_only=True)
class AnyTraining:
    """What models of all kinds are trained by.

    Attributes
    ----------
    volumes : anything that :func:`inrcodec.encode` reads.
    """

    volumes: Sequence[Path]
    out: Path = row(
        MISSING,
        Kind("", lambda name, value: Path(validate.path(name, value)), metavar="DIR"),
        "folder of the model",
        MODEL,
        detail="a training that was begun there is resumed",
        main=True,
    )
    model: str = row(
        "",
        Kind("", lambda _, value: str(value), metavar="ID"),
        "ID of the model",
        MODEL,
        otherwise="my-MODALITY-…",
        main=True,
    )
    start: str | None = row(
        None,
        validate.MODEL,
        "model whose weights to start from",
        MODEL,
        detail="of the same architecture and factor",
        otherwise="random weights",
    )
    held_out: Sequence[Path] = row(
        (),
        kinds.VOLUMES,
        "volumes for evaluation alone",
        DATA,
        otherwise=f"one in {HELD_OUT}, or the last fifth of the slices of a single one",
    )
    offsets: Mapping[str, float] = row((), kinds.OFFSETS, "added to CT that is not in HU", DATA)
    licences: Mapping[str, str] = row((), kinds.LICENCES, "of volumes, for the model card", DATA)
    steps: int = row(20_000, whole(1, MAX_STEPS), "steps of the training", TRAINING, main=True)
    minutes: float | None = row(
        None,
        number(0.0, open_at_low=True),
        "end the training after this time",
        TRAINING,
        metavar="M",
        unit="min",
        main=True,
    )
    learning_rate: float = row(
        2e-3, number(0.0, open_at_low=True), "learning rate of Adam at its peak", TRAINING, metavar="R"
    )
    report: int = row(500, whole(1, MAX_STEPS), "steps between two evaluations", TRAINING)
    seed: int = row(0, whole(0, MAX_SEED, "0 to 2^63 - 1"), "of all randomness", TRAINING)
    device: str = row("cpu", validate.DEVICE, "where the network is trained", MACHINE)
    threads: int = row(
        None, validate.THREADS, "threads of the computation", MACHINE, otherwise="one a core", main=True
    )
    force: bool = row(False, SWITCH, "replace an existing model", OUTPUT)

    def __post_init__(self) -> None:
        check_all(self)
        self._check()
        self._check_volumes()
        object.__setattr__(self, "model", validate.checked_id(self.model or self._usual_id()))
        object.__setattr__(self, "threads", parallel.thread_count(self.threads))
        self._check_out()

    @property
    def names(self) -> dict[Path, str]:
        """Names of the volumes: the shortest ends of their paths that are unique."""
        return _names([*self.volumes, *self.held_out])

    @property
    def checkpoint(self) -> Path:
        """Where the state of the training is kept."""
        return self.out / f"{self.model}.checkpoint.safetensors"

    def split(self) -> tuple[list[Path], list[Path]]:
        """Volumes to train on and to hold out; none of the latter where a single one serves for both."""
        volumes, held_out = list(self.volumes), list(self.held_out)
        if not held_out and len(volumes) > 1:
            held_out = random.Random(self.seed).sample(volumes, -(-len(volumes) // HELD_OUT))
        return [v for v in volumes if v not in held_out], held_out

    def _check(self) -> None:
        """What the kind of the model refuses."""

    def _usual_id(self) -> str:
        raise NotImplementedError

    def _check_volumes(self) -> None:
        paths = [*self.volumes, *self.held_out]
        for path in paths:
            if not path.exists():
                raise InputError(f"{path} does not exist, check the path", value=str(path))
        places = [path.resolve() for path in paths]
        for path, place in zip(paths, places, strict=True):
            if places.count(place) > 1:
                raise UsageError(
                    f"{path} is named twice: a volume is for training or for evaluation, name it once",
                    value=str(path),
                )
        if not self.volumes:
            raise UsageError("no volume to train on, name one", value=self.volumes)
        names = set(self.names.values())
        for option, given in (("offsets", self.offsets), ("licences", self.licences)):
            for name in [n for n in given if n not in names]:
                words = f"{name!r} is none of the volumes {', '.join(sorted(names))}"
                raise UsageError(words, value=name, option=option)

    def _check_out(self) -> None:
        if self.out.exists() and not self.out.is_dir():
            raise UsageError(
                f"{self.out} is a file, name a folder for the model", value=str(self.out), option="out"
            )
        if self.out.is_dir():
            for ending in (PACKED, PLAIN, ".json"):
                check_file(self.out / f"{self.model}{ending}", self.force)


@lists_keywords()
@dataclass(frozen=True, kw_only=True)
class TrainOptions(AnyTraining):
    """What super-resolution model to train, on what, and for how long.

    Parameters
    ----------
    volumes : sequence of paths
        Anything that :func:`inrcodec.encode` reads.
    {keywords}

    Raises
    ------
    UsageError
        An option is out of range, or options conflict.
    InputError
        A volume does not exist, or Matplotlib is missing for the plot.
    WriteError
        There is a model of this ID.
    """

    modality: str = row(
        MISSING,
        Kind("CT, MR …", lambda _, value: parse_modality(str(value)), metavar="TERM"),
        "modality of all volumes",
        MODEL,
        main=True,
    )
    factor: Shape = row(MISSING, kinds.FACTOR, "up-sampling of each axis", MODEL, main=True)
    arch: str = row(COMPACT, validate.choice(NAMES), "architecture", MODEL, metavar="NAME")
    fits: Sequence[int] = row(
        (20, 28, 40),
        kinds.WIDTHS,
        "widths of the real fits",
        DATA,
        detail="what files decode to is trained on; wider networks are larger files",
    )
    fit_steps: int = row(1000, whole(1, MAX_STEPS), "steps of each of these fits", DATA)
    av1_qualities: Sequence[int] = row(
        (),
        kinds.AV1,
        "qualities of real AV1 streams",
        DATA,
        detail="what the streams decode to is trained on; smaller is finer, needs the extra av1",
    )
    latent_rates: Sequence[int] = row(
        (),
        kinds.LATENT,
        "rates of real streams of latents",
        DATA,
        detail="what the streams decode to is trained on; smaller is finer",
    )
    clean: float = row(CLEAN, number(0.0, 1.0), "share of patches not degraded", DATA, metavar="SHARE")
    batch: int = row(4, whole(1, 4096), "patches in a step", TRAINING)
    patch: Shape = row((12, 24, 24), kinds.PATCH, "low-res voxels of a patch", TRAINING)
    loss: Loss = row("mse", validate.choice(LOSSES), "what is minimised", TRAINING, metavar="NAME")
    curve: bool = row(False, SWITCH, "plot the gains over the steps as PNG", OUTPUT)

    @property
    def architecture(self) -> Architecture:
        return named(self.arch, self.factor)

    def _check(self) -> None:
        named(self.arch, self.factor)
        if self.curve:
            plots.require()
        if self.offsets and self.modality != CT:
            raise UsageError(
                f"brings values to HU, and {self.modality} has none: leave it out",
                value=self.offsets,
                option="offsets",
            )

    def _usual_id(self) -> str:
        """Such as my-ct-3d-x4, my-mr-2d-deep-x2, my-ct-3d-x2.4.4 or my-ct-srdensenet-all-x4."""
        z, y, x = self.factor
        across = str(x) if y == x and z in (1, x) else f"{z}.{y}.{x}"
        own = {COMPACT: "", DEEP: "-deep"}
        kind = ("2d" if z == 1 else "3d") + own[self.arch] if self.arch in own else self.arch
        modality = self.modality.lower().replace(" ", "-").replace("_", "-")
        return f"my-{modality}-{kind}-x{across}"


def _names(paths: Sequence[Path]) -> dict[Path, str]:
    places = {path: path.resolve().parts for path in paths}
    names = {}
    for path, parts in places.items():
        length = 1
        while sum(other[-length:] == parts[-length:] for other in places.values()) > 1:
            length += 1
        names[path] = "/".join(parts[-length:])
    return names


OPTIONS = table(TrainOptions)
