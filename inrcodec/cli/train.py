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
from typing import Any

from inrcodec.allowed import check_device, checked_id
from inrcodec.cli.arguments import Parser, add_machine, add_manners, whole_numbers
from inrcodec.cli.exits import run
from inrcodec.cli.progress import StageBar
from inrcodec.cli.streams import put_json, say
from inrcodec.errors import InputError, UsageError
from inrcodec.superres.architectures import COMPACT, NAMES, named


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
    parser.add_argument("--modality", default="CT", metavar="CT|MR|...", help="of all volumes (CT)")
    parser.add_argument("--id", metavar="ID", help="name of the model (from modality and factor)")
    data = parser.add_argument_group("data")
    data.add_argument(
        "--held-out", nargs="*", default=[], metavar="VOLUME", help="to report on (one in five)"
    )
    data.add_argument("--offset", nargs="*", default=[], metavar="NAME=HU", help="of CT that is not in HU")
    data.add_argument("--licence", nargs="*", default=[], metavar="NAME=TEXT", help="for the model card")
    data.add_argument(
        "--fits",
        type=whole_numbers,
        default=(20, 28, 40),
        metavar="W,W,..",
        help="widths of real fits; 0: none",
    )
    data.add_argument("--fit-steps", type=int, default=1000, metavar="N", help="of each of them (1000)")
    knobs = parser.add_argument_group("training")
    knobs.add_argument("--steps", type=int, default=20_000, metavar="N", help="of the training (20000)")
    knobs.add_argument("--minutes", type=float, default=24 * 60, metavar="M", help="end it after that long")
    knobs.add_argument("--batch", type=int, default=4, metavar="N", help="patches a step (4)")
    knobs.add_argument(
        "--patch", type=whole_numbers, default=(12, 24, 24), metavar="Z,Y,X", help="low-res voxels"
    )
    knobs.add_argument("--rate", type=float, default=2e-3, metavar="R", help="peak learning rate (0.002)")
    knobs.add_argument("--loss", choices=("mse", "l1"), default="mse", help="(mse)")
    knobs.add_argument("--report", type=int, default=500, metavar="N", help="steps between reports (500)")
    knobs.add_argument("--curve", action="store_true", help="draw the gains over the steps as PNG")
    knobs.add_argument("--seed", type=int, default=0, metavar="N", help="of all randomness (0)")
    add_machine(parser)
    add_manners(parser)
    return parser


def _train(args: argparse.Namespace) -> None:
    check_device(args.device)
    factor = _three(args.factor, "factor")
    named(args.arch, factor)
    modality = _modality(args.modality)
    model = checked_id(args.id or _usual_id(modality, args.arch, factor))
    out = Path(args.out)
    _check(args, out, model)
    from inrcodec.superres.training.train import Wishes, train
    from inrcodec.superres.training.trainer import Settings

    settings = Settings(
        steps=args.steps,
        minutes=args.minutes,
        batch=args.batch,
        rate=args.rate,
        loss=args.loss,
        report=args.report,
        device=args.device,
    )
    wishes = Wishes(
        volumes=list(map(Path, args.input)),
        held_out=list(map(Path, args.held_out)),
        arch=args.arch,
        factor=factor,
        modality=modality,
        model=model,
        out=out,
        settings=settings,
        widths=[w for w in _list(args.fits) if w],
        fit_steps=args.fit_steps,
        patch=_three(args.patch, "patch"),
        seed=args.seed,
        threads=args.threads or os.cpu_count() or 1,
        offsets={name: _number(value) for name, value in _pairs(args.offset, "offset")},
        licences=dict(_pairs(args.licence, "licence")),
        curve=args.curve,
        force=args.force,
    )
    said = partial(say, quiet=args.quiet or args.json)
    try:
        with StageBar(quiet=args.quiet, verbose=args.verbose) as bar:
            path = train(wishes, said, bar)
    except KeyboardInterrupt:
        said(f"what was learnt is kept in {out}: the same command goes on with it")
        raise
    if args.json:
        put_json({"card": str(path), "id": model})
    words = f"{path}\nto use it: INRCODEC_MODELS={out} inrv-enc … --sr {model}, and the same for inrv-dec"
    said(words)


def _check(args: argparse.Namespace, out: Path, model: str) -> None:
    """Refuse what cannot be, before the first minute of work."""
    for name in ("steps", "minutes", "batch", "rate", "report", "fit_steps"):
        if not getattr(args, name) > 0:
            raise UsageError(
                f"{name} {getattr(args, name)} is not possible, allowed: a number above 0",
                value=getattr(args, name),
            )
    for path in [*args.input, *args.held_out]:
        if not Path(path).exists():
            raise InputError(f"{path} does not exist, check the path", value=path)
    if not set(args.input) - set(args.held_out):
        raise UsageError("every volume is held out, leave one to train on", value=args.held_out)
    from inrcodec.io.atomic import check_file

    if out.is_dir():
        for ending in ("safetensors", "json"):
            check_file(out / f"{model}.{ending}", args.force)


def _usual_id(modality: str, arch: str, factor: tuple[int, int, int]) -> str:
    """Such as ct-3d-x4, mr-3d-x2, ct-2d-x4, ct-3d-x2.4.4 or ct-srdensenet-all-x4."""
    z, y, x = factor
    across = str(x) if y == x and z in (1, x) else f"{z}.{y}.{x}"
    kind = ("2d" if z == 1 else "3d") if arch == COMPACT else arch
    return f"{modality.lower()}-{kind}-x{across}"


def _modality(word: str) -> str:
    from inrcodec.modality import checked

    return checked(word) or ""


def _list(found: int | tuple[int, ...]) -> tuple[int, ...]:
    return (found,) if isinstance(found, int) else found


def _three(found: int | tuple[int, ...], name: str) -> tuple[int, int, int]:
    several = _list(found)
    z, y, x = several * 3 if len(several) == 1 else several if len(several) == 3 else (0, 0, 0)
    if min(z, y, x) < 1:
        raise UsageError(f"{name} {found} is not possible, allowed: one number or Z,Y,X above 0", value=found)
    return z, y, x


def _pairs(words: Sequence[str], name: str) -> list[tuple[str, str]]:
    pairs = []
    for word in words:
        key, sign, value = word.partition("=")
        if not (key and sign and value):
            raise UsageError(f"{name} {word!r} is no NAME=VALUE", value=word)
        pairs.append((key, value))
    return pairs


def _number(word: str) -> Any:
    try:
        return float(word)
    except ValueError:
        raise UsageError(f"offset {word!r} is no number of HU", value=word) from None
