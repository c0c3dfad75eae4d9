"""`inrv-enc`: a volume becomes an `.inrv` file.

In: a DICOM folder or file, NIfTI or NumPy file, and wishes. Out: the file, and its ledger. The one law:
every refusal comes before the first minute of work, and an output is whole or not there.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from inrcodec.cli.arguments import STREAM, Parser, add_machine, add_manners, numbers, whole_numbers
from inrcodec.cli.exits import run
from inrcodec.cli.progress import StageBar
from inrcodec.cli.stdio import put_bytes, put_json, refuse_same_file, refuse_stream, refuse_terminal, say
from inrcodec.encoder.options import PRESETS, EncodeOptions
from inrcodec.errors import UsageError
from inrcodec.report.text import encode_ledger, facts, grid_lines
from inrcodec.validate import check_device
from inrcodec.volume.windows import WINDOWS

KNOBS = (
    "factor",
    "tiles",
    "layers",
    "width",
    "ratio",
    "size",
    "psnr",
    "max_error",
    "lossless",
    "base",
    "sr",
    "ensemble",
    "through_sr",
    "focus",
    "seed",
    "device",
    "threads",
    "time_budget",
    "steps",
    "resume",
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run `inrv-enc` and return its exit code."""
    return run(_parser(), _encode, argv)


def _parser() -> Parser:
    parser = Parser("inrv-enc", "Compress a CT or MR volume.")
    parser.add_argument("input", metavar="INPUT", help="DICOM folder or file, .nii, .nii.gz, .npy or .npz")
    parser.add_argument("output", metavar="OUTPUT.inrv", help="file to write; - is standard output")
    parser.add_argument("--series", metavar="UID", help="which series, where a folder holds several")
    parser.add_argument(
        "--spacing", type=numbers, metavar="Z,Y,X", help="voxel spacing in mm, for .npy and .npz"
    )
    parser.add_argument("--modality", metavar="CT|MR|...", help="of sources that do not say it: NIfTI, NumPy")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, and do not do it")
    _add_knobs(parser)
    add_machine(parser)
    add_manners(parser)
    return parser


def _add_knobs(parser: Parser) -> None:
    knobs = parser.add_argument_group("knobs", "what is not given comes from the preset")
    knobs.add_argument(
        "--preset", default="balanced", metavar="NAME", help=f"{', '.join(PRESETS)} (balanced)"
    )
    knobs.add_argument("--ratio", type=float, metavar="R", help="at least R times smaller than the voxels")
    knobs.add_argument("--size", type=int, metavar="BYTES", help="at most so many bytes in all")
    knobs.add_argument("--psnr", type=float, metavar="DB", help="at least this PSNR, in few bytes")
    knobs.add_argument("--max-error", type=float, metavar="E", help="no voxel off by more (HU, for CT)")
    knobs.add_argument("--lossless", action="store_true", help="every voxel bit for bit")
    knobs.add_argument(
        "--base", action="store_true", help="networks in front of a refinement, for a preview (none)"
    )
    knobs.add_argument(
        "--factor",
        type=whole_numbers,
        metavar="N|Z,Y,X",
        help="down-sampling, 1..8 (from spacing, target)",
    )
    knobs.add_argument(
        "--tiles", type=whole_numbers, metavar="Z,Y,X", help="networks along each axis (from voxels)"
    )
    knobs.add_argument("--layers", type=int, metavar="N", help="hidden layers of a network")
    knobs.add_argument("--width", type=int, metavar="N", help="units of a hidden layer")
    knobs.add_argument("--sr", metavar="ID", help="super-resolution model, or lanczos for none (auto)")
    knobs.add_argument(
        "--ensemble", type=int, metavar="N", help="mirror images that it averages: 1, 2, 4 or 8 (preset)"
    )
    knobs.add_argument(
        "--through-sr",
        action=argparse.BooleanOptionalAction,
        help="fit to what gives a better decoded volume (balanced, best), or to plain down-sampling",
    )
    knobs.add_argument(
        "--focus",
        default="all",
        metavar="WINDOW",
        help=f"values that matter: all, {', '.join(WINDOWS)} or LO:HI (all)",
    )
    knobs.add_argument("--seed", type=int, default=0, metavar="N", help="of all randomness (0)")
    knobs.add_argument("--steps", type=int, metavar="N", help="steps of the fit")
    knobs.add_argument(
        "--time-budget", type=float, metavar="S", help="end the fit after S seconds; the check comes on top"
    )
    knobs.add_argument("--resume", metavar="FILE", help="keep the state of the fit there, and go on from it")


def _encode(args: argparse.Namespace) -> None:
    options = _options(args)
    about = _about_source(args)
    refuse_stream(args.input, "a volume is read from a file or folder")
    check_device(options.device)
    _check_model(options)
    if not args.dry_run:
        _check_output(args)
    from inrcodec import api  # torch is imported from here on, after everything that can be refused at once
    from inrcodec.encoder.fit.checkpoint import discard
    from inrcodec.io.atomic import atomic_write

    if args.dry_run:
        plan = api.plan(args.input, options=options, **about)
        _print_plan(plan, args)
        return
    with _told_how_to_go_on(args), StageBar(quiet=args.quiet, verbose=args.verbose) as bar:
        data, report = api.encode_report(
            args.input,
            **about,
            progress=bar,
            options=options,
        )
    if args.output == STREAM:
        put_bytes(data)
    else:
        atomic_write(args.output, data, args.force)
    discard(args.resume)
    if args.json:
        put_json(report.to_dict())
    say(encode_ledger(report, args.output, verbose=args.verbose), quiet=args.quiet or args.json)


@contextmanager
def _told_how_to_go_on(args: argparse.Namespace) -> Iterator[None]:
    """Say after an interrupt that the state of the fit was kept, where it was."""
    try:
        yield
    except KeyboardInterrupt:
        if args.resume is not None and os.path.exists(args.resume):
            say(f"the fit was kept in {args.resume}: the same command goes on with it", quiet=args.quiet)
        raise


def _options(args: argparse.Namespace) -> EncodeOptions:
    return EncodeOptions.from_preset(args.preset, **{name: getattr(args, name) for name in KNOBS})


def _check_model(options: EncodeOptions) -> None:
    from inrcodec.layers.superres.registry import LANCZOS, manifest

    if options.sr not in (None, "auto", LANCZOS):
        manifest(options.sr)


def _about_source(args: argparse.Namespace) -> dict[str, Any]:
    from inrcodec.volume.modality import parse_modality

    return {"spacing": args.spacing, "series": args.series, "modality": parse_modality(args.modality)}


def _check_output(args: argparse.Namespace) -> None:
    if args.resume is not None:
        from inrcodec.encoder.fit.checkpoint import Checkpoint

        refuse_stream(args.resume, "the state of a fit is kept in a file")
        Checkpoint(args.resume).check(None if args.output == STREAM else args.output)
    if args.output == STREAM:
        if args.json:
            raise UsageError(
                "the file and --json would both go to standard output, name an output", value=STREAM
            )
        refuse_terminal()
        return
    from inrcodec.io import refuse_other_ending
    from inrcodec.io.atomic import check_file

    refuse_same_file(args.input, args.output)
    refuse_other_ending(args.output)
    check_file(args.output, args.force)


def _print_plan(plan: dict[str, Any], args: argparse.Namespace) -> None:
    if args.json:
        put_json(plan)
    words = plan | {"considered": grid_lines(plan["considered"])}
    say(facts(words), quiet=args.quiet or args.json)
