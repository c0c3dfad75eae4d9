"""What a latent model is trained on and how: the table of options.

In: volumes and options, from Python or the command line.  Out: a frozen `LatentOptions`.
Invariant: an impossible option is refused before the first volume is read.  Imports no torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from inrcodec import validate
from inrcodec.encoder.options import MAX_STEPS
from inrcodec.io.atomic import check_file
from inrcodec.training.options import MODEL, OUTPUT, TRAINING, AnyTraining
from inrcodec.validate import Kind, number, whole
from inrcodec.validate.rows import lists_keywords, row, table

MAPS = 96  # 112 thousand multiply-adds a low-res voxel to decode
MOST_MAPS = 512


def _maps(name: str, value: object) -> int:
    maps = validate.integer(name, value, 4, MOST_MAPS)
    validate.require(maps % 4 == 0, name, value, f"a multiple of 4, from 4 to {MOST_MAPS}")
    return maps


FILE = Kind("", lambda name, value: Path(validate.path(name, value)), metavar="FILE")
WEIGHTS = Kind("", validate.path, metavar="ID|FILE")


@lists_keywords()
@dataclass(frozen=True, kw_only=True)
class LatentOptions(AnyTraining):
    """What latent model to train, on what, and for how long.

    Parameters
    ----------
    volumes : sequence of paths
        Anything that :func:`inrcodec.encode` reads, of any modality.
    {keywords}

    Raises
    ------
    UsageError
        An option is out of range, or options conflict.
    InputError
        A volume does not exist.
    WriteError
        There is a model of this ID, or a file to export to.
    """

    model: str = row(
        "",
        Kind("", lambda _, value: str(value), metavar="ID"),
        "ID of the model",
        MODEL,
        otherwise="my-latent",
        main=True,
    )
    start: str | None = row(
        None,
        WEIGHTS,
        "float weights to start from",
        MODEL,
        detail="a file that another training exported, or a model, of which the integers are taken",
        otherwise="random weights",
    )
    maps: int = row(
        MAPS,
        Kind(f"4 to {MOST_MAPS}, a multiple of 4", _maps, validate.parse_ints, "N"),
        "maps of the widest layers",
        MODEL,
        detail="of weights to start from, theirs; decoding takes about the square",
    )
    steps: int = row(
        20_000,
        whole(0, MAX_STEPS),
        "steps of the training",
        TRAINING,
        detail="0 makes a model of the weights to start from as they are",
        main=True,
    )
    learning_rate: float = row(
        1e-3, number(0.0, open_at_low=True), "learning rate of Adam at its peak", TRAINING, metavar="R"
    )
    export: Path | None = row(
        None, FILE, "float weights, to start another training from", OUTPUT, otherwise="not written"
    )

    def _check(self) -> None:
        if self.steps == 0 and self.start is None:
            validate.require(False, "steps", 0, "at least 1 from random weights")
        if self.export is not None and (self.export.parent != self.out or self.out.is_dir()):
            check_file(self.export, self.force)

    def _usual_id(self) -> str:
        return "my-latent"


OPTIONS = table(LatentOptions)
