"""`inrv-dec`: an `.inrv` file becomes a volume again.

In: the file, and where and how to write it. Out: NumPy, NIfTI or a DICOM series. The one law: what comes
back has the geometry, dtype and units of what went in.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from inrcodec.allowed import check_device
from inrcodec.cli.arguments import Parser, add_machine, add_manners
from inrcodec.cli.exits import run
from inrcodec.cli.ledger import facts
from inrcodec.cli.progress import StageBar
from inrcodec.cli.streams import input_bytes, put_json, refuse_same_file, refuse_stream, say
from inrcodec.options import PRECISIONS, DecodeOptions

if TYPE_CHECKING:
    from inrcodec import io
    from inrcodec.header import Header
    from inrcodec.volume import Volume


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
    parser.add_argument("--sr", metavar="ID", help="lanczos decodes any file without its model")
    parser.add_argument(
        "--precision", default="float32", metavar="TYPE", help=f"of the model: {' or '.join(PRECISIONS)}"
    )
    add_machine(parser)
    add_manners(parser)
    return parser


def _decode(args: argparse.Namespace) -> None:
    DecodeOptions(**_knobs(args))
    check_device(args.device)
    refuse_stream(args.output, "a volume is written to a file or folder")
    refuse_same_file(args.input, args.output)
    from inrcodec import api, container, io
    from inrcodec.decoder import Decoder
    from inrcodec.modality import agreed, checked

    wished = checked(args.modality)
    io.refuse_modality(args.output, wished)
    data = container.load(input_bytes(args.input))  # once: the file may change while it is decoded
    header, sections = container.read(data)
    Decoder(header, sections).refuse_other_model(args.sr)
    modality = agreed(header.modality, wished)
    io.check_sink(args.output, args.force, template=args.template, modality=modality)
    with StageBar(quiet=args.quiet, verbose=args.verbose) as bar:
        volume = api.decode_volume(
            data,
            **_knobs(args),
            progress=bar,
        )
        bar("write", 0.0)
        io.write(
            replace(volume, modality=modality),
            args.output,
            template=args.template,
            force=args.force,
            provenance=_provenance(args, volume, header, len(data)),
        )
        bar("write", 1.0)
    result = _result(args, volume, bar.seconds)
    if args.json:
        put_json(result)
    say(facts(result), quiet=args.quiet or args.json)


def _knobs(args: argparse.Namespace) -> dict[str, Any]:
    return {name: getattr(args, name) for name in ("lowres", "sr", "device", "threads", "precision")}


def _provenance(args: argparse.Namespace, volume: Volume, header: Header, size: int) -> io.Provenance:
    """What a sink must say of a lossy copy, for the very voxels that it holds."""
    from inrcodec.io.provenance import Provenance
    from inrcodec.superres.registry import LANCZOS

    interpolated = (args.sr or header.sr) == LANCZOS
    return Provenance(
        ratio=volume.array.nbytes / size,
        detail="low-res" if args.lowres else "interpolated" if interpolated else "guessed",
    )


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
