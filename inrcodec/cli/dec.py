"""`inrv-dec`: an `.inrv` file becomes a volume again.

In: the file, and where and how to write it. Out: NumPy, NIfTI or a DICOM series. The one law: what comes
back has the geometry, dtype and units of what went in.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from inrcodec.cli.arguments import Parser, add_machine, add_manners
from inrcodec.cli.exits import run
from inrcodec.cli.progress import StageBar
from inrcodec.cli.stdio import input_bytes, put_json, refuse_same_file, refuse_stream, say
from inrcodec.layers.decode_options import PRECISIONS, QUALITIES, DecodeOptions
from inrcodec.report.text import facts, shortest
from inrcodec.validate import check_device, integer

if TYPE_CHECKING:
    from inrcodec import io
    from inrcodec.file import InrvFile
    from inrcodec.io.provenance import Detail
    from inrcodec.volume.volume import Volume


def main(argv: Sequence[str] | None = None) -> int:
    """Run `inrv-dec` and return its exit code."""
    return run(_parser(), _decode, argv)


def _parser() -> Parser:
    parser = Parser("inrv-dec", "Decompress an .inrv file.")
    parser.add_argument("input", metavar="FILE.inrv", help="file to read; - is standard input")
    parser.add_argument("output", metavar="OUTPUT", help=".npy, .nii or .nii.gz; a folder for a DICOM series")
    parser.add_argument("--template", metavar="DIR", help="DICOM series to take patient and study from")
    parser.add_argument(
        "--modality", metavar="CT|MR|...", help="of a DICOM series, if the file does not say it"
    )
    parser.add_argument(
        "--lowres", action="store_true", help="write the low-res volume, without super-resolution"
    )
    parser.add_argument(
        "--quality", default="full", metavar="WHAT", help=f"of a refined file: {', '.join(QUALITIES)} (full)"
    )
    parser.add_argument(
        "--max-bytes", type=int, metavar="N", help="read the first N bytes only: a coarser version"
    )
    parser.add_argument("--sr", metavar="ID", help="lanczos decodes any file without its model")
    parser.add_argument(
        "--precision", default="float32", metavar="TYPE", help=f"of the model: {' or '.join(PRECISIONS)}"
    )
    parser.add_argument(
        "--ensemble",
        type=int,
        metavar="N",
        help="mirror images that it averages (the file's number; 1: fastest)",
    )
    add_machine(parser)
    add_manners(parser)
    return parser


def _decode(args: argparse.Namespace) -> None:
    options = DecodeOptions(**_knobs(args))
    if args.max_bytes is not None:
        integer("max_bytes", args.max_bytes, 1, 2**63 - 1)
    check_device(args.device)
    refuse_stream(args.output, "a volume is written to a file or folder")
    refuse_same_file(args.input, args.output)
    from inrcodec import io
    from inrcodec.file import InrvFile
    from inrcodec.volume.modality import parse_modality, reconcile

    wished = parse_modality(args.modality)
    io.refuse_modality(args.output, wished)
    source = input_bytes(args.input)
    file = InrvFile(source, max_bytes=args.max_bytes)
    file.check_options(options)
    modality = reconcile(file.header.modality, wished)
    io.check_sink(args.output, args.force, template=args.template, modality=modality)
    with StageBar(quiet=args.quiet, verbose=args.verbose) as bar:
        volume = file.volume(options, bar)
        bar("write", 0.0)
        io.write(
            replace(volume, modality=modality),
            args.output,
            template=args.template,
            force=args.force,
            provenance=_provenance(args, volume, file, options),
        )
        bar("write", 1.0)
    result = _result(args, volume, bar.seconds)
    if args.json:
        put_json(result)
    say(facts(result), quiet=args.quiet or args.json)


def _knobs(args: argparse.Namespace) -> dict[str, Any]:
    return {
        name: getattr(args, name)
        for name in ("lowres", "sr", "ensemble", "device", "threads", "precision", "quality")
    }


def _provenance(
    args: argparse.Namespace, volume: Volume, file: InrvFile, how: DecodeOptions
) -> io.Provenance | None:
    """What a sink must say of a lossy copy, for the very voxels that it holds; nothing of a lossless one."""
    from inrcodec.io.provenance import Provenance

    header = file.header
    whole = how.quality == "full" and file.uses_refinement(how) and not file.missing
    bound = header.bound if whole else None
    if volume.array.dtype.kind == "f" and not args.output.lower().endswith((".npy", ".nii", ".nii.gz")):
        bound = None  # DICOM has 65 536 steps for floats
    if bound == 0:
        return None
    return Provenance(
        ratio=volume.array.nbytes / file.file_bytes,
        detail=_detail(how, file, whole=whole),
        bound="" if bound is None else f"{shortest(bound)} {header.unit}".strip(),
    )


def _detail(how: DecodeOptions, file: InrvFile, *, whole: bool) -> Detail:
    from inrcodec.layers.superres.registry import LANCZOS

    if how.lowres:
        return "low-res"
    if file.uses_refinement(how):
        return "refined" if whole else "coarse"
    plain = how.quality == "preview" or (how.sr or file.header.sr) == LANCZOS
    return "interpolated" if plain else "guessed"


def _result(args: argparse.Namespace, volume: Volume, seconds: dict[str, float]) -> dict[str, Any]:
    return {
        "output": args.output,
        "shape": list(volume.shape),
        "dtype": str(volume.array.dtype),
        "spacing": [float(edge) for edge in volume.spacing],
        "unit": volume.unit,
        "lowres": args.lowres,
        "seconds": {stage: round(spent, 3) for stage, spent in seconds.items()},
    }
