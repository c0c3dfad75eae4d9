"""`inrv-train`: volumes become a super-resolution model of one's own.

In: volumes that `inrv-enc` reads, and wishes. Out: weights, model card, log and checkpoint in a folder. The
one law: it can be stopped at any time and goes on with the same command.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from inrcodec.cli.arguments import Parser, add_machine, add_manners, whole_numbers
from inrcodec.cli.exits import run
from inrcodec.cli.progress import StageBar
from inrcodec.cli.stdio import put_json, say
from inrcodec.errors import UsageError
from inrcodec.layers.superres.architectures import COMPACT, NAMES
from inrcodec.training.options import CLEAN, LOSSES, TrainOptions

KNOBS = (
    "fit_steps",
    "clean",
    "steps",
    "minutes",
    "batch",
    "learning_rate",
    "loss",
    "report",
    "seed",
    "device",
    "curve",
    "force",
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run `inrv-train` and return its exit code."""
    return run(_parser(), _train, argv)


def _parser() -> Parser:
    parser = Parser("inrv-train", "Train a super-resolution model on volumes.")
    parser.add_argument("input", nargs="+", metavar="VOLUME", help="anything that inrv-enc reads")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder for the model; also to go on")
    parser.add_argument(
        "--factor", required=True, type=whole_numbers, metavar="N|Z,Y,X", help="to bring back"
    )
    parser.add_argument("--arch", default=COMPACT, metavar="NAME", help=f"{', '.join(NAMES)} (compact)")
    parser.add_argument("--modality", required=True, metavar="CT|MR|...", help="of all volumes")
    parser.add_argument(
        "--id", dest="model", default="", metavar="ID", help="name of the model (my-MODALITY-…)"
    )
    parser.add_argument("--start", metavar="ID", help="model whose weights to begin with (random ones)")
    data = parser.add_argument_group("data")
    data.add_argument(
        "--held-out", nargs="*", default=[], metavar="VOLUME", help="to report on (one in five)"
    )
    data.add_argument(
        "--offset", dest="offsets", nargs="*", default=[], metavar="NAME=HU", help="of CT that is not in HU"
    )
    data.add_argument(
        "--licence", dest="licences", nargs="*", default=[], metavar="NAME=TEXT", help="for the model card"
    )
    data.add_argument(
        "--fits",
        type=whole_numbers,
        default=(20, 28, 40),
        metavar="W,W,..",
        help="widths of real fits; 0: none",
    )
    data.add_argument("--fit-steps", type=int, default=1000, metavar="N", help="of each of them (1000)")
    data.add_argument(
        "--clean", type=float, default=CLEAN, metavar="SHARE", help=f"of patches not degraded ({CLEAN})"
    )
    knobs = parser.add_argument_group("training")
    knobs.add_argument("--steps", type=int, default=20_000, metavar="N", help="of the training (20000)")
    knobs.add_argument("--minutes", type=float, metavar="M", help="end after M minutes at most")
    knobs.add_argument("--batch", type=int, default=4, metavar="N", help="patches a step (4)")
    knobs.add_argument(
        "--patch", type=whole_numbers, default=(12, 24, 24), metavar="Z,Y,X", help="low-res voxels"
    )
    knobs.add_argument(
        "--learning-rate", type=float, default=2e-3, metavar="R", help="peak learning rate (0.002)"
    )
    knobs.add_argument("--loss", choices=LOSSES, default="mse", help="(mse)")
    knobs.add_argument("--report", type=int, default=500, metavar="N", help="steps between reports (500)")
    knobs.add_argument("--curve", action="store_true", help="draw the gains over the steps as PNG")
    knobs.add_argument("--seed", type=int, default=0, metavar="N", help="of all randomness (0)")
    add_machine(parser)
    add_manners(parser)
    return parser


def _train(args: argparse.Namespace) -> None:
    options = TrainOptions(
        volumes=list(map(Path, args.input)),
        held_out=list(map(Path, args.held_out)),
        modality=args.modality,
        factor=_three(args.factor, "factor"),
        out=Path(args.out),
        arch=args.arch,
        model=args.model,
        start=args.start,
        fits=[width for width in _several(args.fits) if width],
        patch=_three(args.patch, "patch"),
        threads=args.threads or os.cpu_count() or 1,
        offsets={name: _number(value) for name, value in _pairs(args.offsets, "offsets")},
        licences=dict(_pairs(args.licences, "licences")),
        **{name: getattr(args, name) for name in KNOBS},
    )
    from inrcodec.training.run import checkpoint_of, train  # torch, after all that is refused at once

    said = partial(say, quiet=args.quiet or args.json)
    try:
        with StageBar(quiet=args.quiet, verbose=args.verbose) as bar:
            path = train(options, said, bar)
    except KeyboardInterrupt:
        if checkpoint_of(options).exists():
            said(f"{checkpoint_of(options)} holds the training so far: the same command resumes it")
        raise
    if args.json:
        put_json({"card": str(path), "id": options.model})
    said(f"{path}\nto use it: INRCODEC_MODELS={options.out} inrv-enc … --sr {options.model}; so too inrv-dec")


def _several(found: int | tuple[int, ...]) -> tuple[int, ...]:
    return (found,) if isinstance(found, int) else found


def _three(found: int | tuple[int, ...], name: str) -> tuple[int, int, int]:
    several = _several(found)
    several = several * 3 if len(several) == 1 else several
    if len(several) != 3:
        raise UsageError(f"{found} is not possible, allowed: one number or Z,Y,X", value=found, option=name)
    z, y, x = several
    return z, y, x


def _pairs(words: Sequence[str], name: str) -> list[tuple[str, str]]:
    pairs = []
    for word in words:
        key, sign, value = word.partition("=")
        if not (key and sign and value):
            raise UsageError(f"{word!r} is not NAME=VALUE", value=word, option=name)
        pairs.append((key, value))
    return pairs


def _number(word: str) -> float:
    try:
        return float(word)
    except ValueError:
        raise UsageError(f"{word!r} is not a number of HU", value=word, option="offsets") from None
