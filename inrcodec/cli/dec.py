"""`inrv-dec`: an `.inrv` file becomes a volume again.

In: the file, and where and how to write it. Out: a DICOM series, or a file of another format. Invariant: what
comes back has the geometry, dtype and units of what went in.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace

from inrcodec.cli.arguments import Parser, given
from inrcodec.cli.exits import run
from inrcodec.cli.progress import StageBar
from inrcodec.cli.provenance import statement
from inrcodec.cli.stdio import input_bytes, put_json, refuse_same_file, refuse_stream, say
from inrcodec.layers.decode_options import OPTIONS, DecodeOptions
from inrcodec.report.text import facts
from inrcodec.validate import BYTES


def main(argv: Sequence[str] | None = None) -> int:
    """Run `inrv-dec` and return its exit code."""
    return run(parser(), _decode, argv)


def parser() -> Parser:
    """The parser of `inrv-dec`."""
    made = Parser("inrv-dec", "Decompress an .inrv file.")
    made.add("input", metavar="FILE.inrv", help="file to read; - is standard input")
    made.add(
        "output",
        metavar="OUTPUT",
        help=".nii.gz, .npy, .nrrd, .mha, .tif …; a folder for a DICOM series",
    )
    made.add_rows(OPTIONS)
    version, dicom = OPTIONS["quality"].group, "DICOM"
    start = "read the first bytes only: a coarser version"
    made.add("--max-bytes", group=version, main=True, type=BYTES.parse, metavar="BYTES", help=start)
    template = "DICOM series to take patient and study from"
    made.add("--template", group=dicom, main=True, metavar="DIR", help=template)
    modality = "CT, MR …, of a series whose file does not say it"
    made.add("--modality", group=dicom, metavar="TERM", help=modality)
    made.add_manners()
    return made


def _decode(args: argparse.Namespace) -> None:
    options = DecodeOptions(**given(args, OPTIONS))
    options.check_device()
    refuse_stream(args.output, "a volume is written to a file or folder")
    refuse_same_file(args.input, args.output)
    from inrcodec import api, io
    from inrcodec.volume.affine import Grid
    from inrcodec.volume.modality import parse_modality, reconcile

    requested = parse_modality(args.modality)
    io.refuse_modality(args.output, requested)
    file = api.open(input_bytes(args.input), args.max_bytes)
    file.decoder.check_options(options)
    modality = reconcile(file.header.modality, requested)
    grid = Grid(file.affine, file.shape)
    io.check_sink(args.output, args.force, template=args.template, modality=modality, grid=grid)
    with StageBar(quiet=args.quiet, verbose=args.verbose) as bar:
        volume = file.volume(options=options, progress=bar)
        bar("write", 0.0)
        io.write(
            replace(volume, modality=modality),
            args.output,
            template=args.template,
            force=args.force,
            provenance=statement(args.output, volume, file, options),
        )
        bar("write", 1.0)
    result = {
        "output": args.output,
        "shape": list(volume.shape),
        "dtype": str(volume.array.dtype),
        "spacing": [float(edge) for edge in volume.spacing],
        "unit": volume.unit,
        "lowres": options.lowres,
        "seconds": {stage: round(spent, 3) for stage, spent in bar.seconds.items()},
    }
    if args.json:
        put_json(result)
    say(facts(result), quiet=args.quiet or args.json)
