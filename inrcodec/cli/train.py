"""`inrv-train`: volumes become a super-resolution model.

In: volumes that `inrv-enc` reads, and options. Out: weights, model card, log and checkpoint in a folder.
Invariant: it can be stopped at any time, and the same command resumes it.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from inrcodec.cli.arguments import Parser, given, parse_ints
from inrcodec.cli.exits import run
from inrcodec.cli.progress import StageBar
from inrcodec.cli.stdio import put_json, say
from inrcodec.errors import UsageError
from inrcodec.layers.decode_options import OPTIONS
from inrcodec.layers.superres.architectures import COMPACT, NAMES
from inrcodec.training.options import CLEAN, LOSSES, TrainOptions

MACHINE = {name: OPTIONS[name] for name in ("device", "threads")}
AS_THEY_ARE = (
    *("arch", "start", "model", "fit_steps", "clean", "steps", "minutes", "batch", "learning_rate", "loss"),
    *("report", "seed", "curve", "force"),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run `inrv-train` and return its exit code."""
    return run(parser(), _train, argv)


def parser() -> Parser:
    """The parser of `inrv-train`."""
    made = Parser("inrv-train", "Train a super-resolution model on volumes.")
    made.add("input", nargs="+", metavar="VOLUME", help="anything that inrv-enc reads")
    model = partial(made.add, group="model", main=True)
    model("--out", required=True, metavar="DIR", help="folder of the model; a training in it is resumed")
    model("--factor", required=True, type=parse_ints, metavar="N|Z,Y,X", help="up-sampling (1 to 8)")
    model("--modality", required=True, metavar="TERM", help="of all volumes (CT, MR …)")
    model("--arch", default=COMPACT, metavar="NAME", help=f"architecture ({', '.join(NAMES)})", main=False)
    model("--id", dest="model", default="", metavar="ID", help="name of the model (default: my-MODALITY-…)")
    model("--start", metavar="ID", help="begin with the weights of this model (default: random)", main=False)
    data = partial(made.add, group="data")
    data("--held-out", nargs="*", default=[], metavar="VOLUME", help="to report on (default: one in five)")
    data("--offset", dest="offsets", nargs="*", default=[], metavar="NAME=HU", help="of CT that is not in HU")
    data("--licence", dest="licences", nargs="*", default=[], metavar="NAME=TEXT", help="for the model card")
    data(
        "--fits",
        type=parse_ints,
        default=(20, 28, 40),
        metavar="W,W,…",
        help="widths of the real fits that are trained on (0: none; default: 20,28,40)",
    )
    data("--fit-steps", type=parse_ints, default=1000, metavar="N", help="steps of each fit (default: 1000)")
    data(
        "--clean",
        type=float,
        default=CLEAN,
        metavar="SHARE",
        help=f"of the patches that are not degraded (0 to 1; default: {CLEAN})",
    )
    work = partial(made.add, group="training")
    work("--steps", type=parse_ints, default=20_000, metavar="N", main=True, help="steps (default: 20000)")
    work("--minutes", type=float, metavar="M", main=True, help="end after this time (above 0 minutes)")
    work("--batch", type=parse_ints, default=4, metavar="N", help="patches a step (1 to 4096; default: 4)")
    work(
        "--patch",
        type=parse_ints,
        default=(12, 24, 24),
        metavar="Z,Y,X",
        help="low-res voxels of a patch (default: 12,24,24)",
    )
    work("--learning-rate", type=float, default=2e-3, metavar="R", help="at its peak (default: 0.002)")
    work("--loss", default="mse", metavar="NAME", help=f"{' or '.join(LOSSES)} (default: mse)")
    work("--report", type=parse_ints, default=500, metavar="N", help="steps between reports (default: 500)")
    work("--seed", type=parse_ints, default=0, metavar="N", help="of all randomness (default: 0)")
    made.add_rows(MACHINE)
    made.add("--curve", group="output", action="store_true", help="plot the gains over the steps as PNG")
    made.add_manners(force="replace an existing model")
    return made


def _train(args: argparse.Namespace) -> None:
    machine = given(args, MACHINE)
    options = TrainOptions(
        volumes=list(map(Path, args.input)),
        held_out=list(map(Path, args.held_out)),
        modality=args.modality,
        factor=_three(args.factor, "factor"),
        out=Path(args.out),
        fits=[width for width in _several(args.fits) if width],
        patch=_three(args.patch, "patch"),
        device=machine.get("device", "cpu"),
        threads=machine.get("threads", os.cpu_count() or 1),
        offsets={name: _number(value) for name, value in _pairs(args.offsets, "offsets")},
        licences=dict(_pairs(args.licences, "licences")),
        **{name: getattr(args, name) for name in AS_THEY_ARE},
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


def _several(words: Any) -> tuple[Any, ...]:
    return words if isinstance(words, tuple) else (words,)


def _three(words: Any, name: str) -> tuple[int, int, int]:
    several = _several(words)
    several = several * 3 if len(several) == 1 else several
    if len(several) != 3:
        raise UsageError(f"{words!r} is not possible, allowed: one number or Z,Y,X", value=words, option=name)
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
