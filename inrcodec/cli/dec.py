"""`inrv-dec`: an `.inrv` file becomes a volume again.

In: the file, and where and how to write it. Out: a DICOM series, or a file of another format. Invariant: what
comes back has the geometry, dtype and units of what went in.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from inrcodec.cli.arguments import Parser, given
from inrcodec.cli.check import check
from inrcodec.cli.cluster import add_cluster, refuse_cluster
from inrcodec.cli.exits import OK, run
from inrcodec.cli.progress import StageBar
from inrcodec.cli.stdio import input_bytes, put_json, refuse_same_file, refuse_stream, say
from inrcodec.cli.trees import (
    GROUP,
    add_collection,
    is_collection,
    report,
    require,
    sources_of,
)
from inrcodec.layers.decode_options import OPTIONS, PART_OPTIONS, DecodeOptions, PartOptions
from inrcodec.report.text import facts
from inrcodec.validate import BYTES


def main(argv: Sequence[str] | None = None) -> int:
    """Run `inrv-dec` and return its exit code."""
    return run(parser(), _decode, argv)


def parser() -> Parser:
    """The parser of `inrv-dec`."""
    made = Parser("inrv-dec", "Decompress an .inrv file.")
    made.add("input", nargs="?", metavar="FILE.inrv", help="file to read; - is standard input")
    made.add(
        "output",
        nargs="?",
        metavar="OUTPUT",
        help=".nii.gz, .npy, .nrrd, .mha, .tif …; a folder for a DICOM series",
    )
    made.add_rows(OPTIONS)
    made.add_rows(PART_OPTIONS)
    version, dicom = OPTIONS["quality"].group, "DICOM"
    start = "read the first bytes only: a coarser version"
    made.add("--max-bytes", group=version, main=True, type=BYTES.parse, metavar="BYTES", help=start)
    template = "DICOM series to take patient and study from"
    made.add("--template", group=dicom, main=True, metavar="DIR", help=template)
    modality = "CT, MR …, of a series whose file does not say it"
    made.add("--modality", group=dicom, metavar="TERM", help=modality)
    add_collection(made, "all files")
    kind = "of the outputs: an ending, or 'dicom' for a folder each (default: .nii.gz)"
    made.add("--format", group=GROUP, metavar="ENDING", help=kind)
    add_cluster(made, "decode the files of a collection")
    test = "check checksums and digest, write nothing"
    made.add("-t", "--test", group="output", main=True, action="store_true", help=test)
    made.add_manners()
    return made


def _decode(args: argparse.Namespace) -> int:
    options = DecodeOptions(**given(args, OPTIONS))
    part = PartOptions(**given(args, PART_OPTIONS))
    options.check_device()
    if args.test:
        return check(args, given(args, {**OPTIONS, **PART_OPTIONS}))
    if is_collection(args):
        return _decode_all(args)
    refuse_cluster(args, "one file is decoded")
    require(args, input="FILE.inrv", output="OUTPUT")
    refuse_stream(args.output, "a volume is written to a file or folder")
    refuse_same_file(args.input, args.output)
    from inrcodec.collection.decode import decode_file

    with StageBar(quiet=args.quiet, verbose=args.verbose) as bar:
        written = decode_file(
            input_bytes(args.input),
            args.output,
            options,
            bar,
            max_bytes=args.max_bytes,
            template=args.template,
            modality=args.modality,
            force=args.force,
            box=part.box,
            level=part.level,
        )
    seconds = {stage: round(spent, 3) for stage, spent in bar.seconds.items()}
    result = {"output": args.output, **written, "lowres": options.lowres, "seconds": seconds}
    if args.json:
        put_json(result)
    say(facts(result), quiet=args.quiet or args.json)
    return OK


def _decode_all(args: argparse.Namespace) -> int:
    tree = sources_of(args)
    from inrcodec.collection.tree import decode_tree, refuse_of_one

    refuse_of_one({"template": args.template, **given(args, PART_OPTIONS)})
    named = {} if args.format is None else {"format": args.format}
    return report(
        args,
        lambda bar: decode_tree(
            tree,
            args.output_dir_mirror,
            modality=args.modality,
            max_bytes=args.max_bytes,
            manifest=args.manifest,
            force=args.force,
            jobs=args.jobs,
            scheduler=args.scheduler,
            progress=bar,
            **named,
            **given(args, OPTIONS),
        ),
    )
