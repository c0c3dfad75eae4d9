"""`inrv-enc`: a volume becomes an `.inrv` file.

In: a DICOM folder or file, or a file of another format, and options. Out: the file, and its report.
Invariant: every refusal comes before the first minute of work, and an output is whole or not there.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from inrcodec.cli.arguments import STREAM, Parser, given
from inrcodec.cli.cluster import add_cluster, encoder, refuse_cluster
from inrcodec.cli.exits import OK, run
from inrcodec.cli.progress import StageBar
from inrcodec.cli.stdio import STDOUT, put_json, refuse_same_file, refuse_stream, refuse_terminal, say
from inrcodec.cli.trees import add_collection, is_collection, report, require, sources_of
from inrcodec.encoder.options import OPTIONS
from inrcodec.encoder.source_options import SOURCE_OPTIONS
from inrcodec.errors import UsageError
from inrcodec.report.text import plan_text, report_text

ROWS = {**OPTIONS, **SOURCE_OPTIONS}


def main(argv: Sequence[str] | None = None) -> int:
    """Run `inrv-enc` and return its exit code."""
    return run(parser(), _encode, argv)


def parser() -> Parser:
    """The parser of `inrv-enc`."""
    made = Parser("inrv-enc", "Compress a CT or MR volume.")
    source = "DICOM folder or file, .nii.gz, .npy, .nrrd, .mha, .tif …"
    made.add("input", nargs="?", metavar="INPUT", help=source)
    made.add("output", nargs="?", metavar="OUTPUT.inrv", help="file to write; - is standard output")
    made.add_rows(ROWS)
    add_cluster(made, "encode")
    add_collection(made, "all volumes")
    plan = "show the plan, its bytes and seconds; write nothing"
    made.add("--dry-run", group="output", main=True, action="store_true", help=plan)
    made.add_manners()
    return made


def _encode(args: argparse.Namespace) -> int:
    keywords = given(args, ROWS)
    if is_collection(args):
        return _encode_all(args, keywords)
    require(args, input="INPUT", output="OUTPUT.inrv")
    refuse_stream(args.input, "a volume is read from a file or folder")
    if not args.dry_run:
        _check_output(args)
    from inrcodec import api

    if args.dry_run:
        refuse_cluster(args, "a plan is made")
        plan = api.plan(args.input, **keywords) | {"options": keywords}
        if args.json:
            put_json(plan)
        say(plan_text(plan, ROWS), quiet=args.quiet or args.json)
        return OK
    bar = StageBar(quiet=args.quiet, verbose=args.verbose)
    with _resume_hint(args), encoder(args) as encode, bar:
        target = STDOUT if args.output == STREAM else args.output
        report = encode(args.input, target, force=args.force, progress=bar, **keywords)
    if args.json:
        put_json(report.to_dict())
    say(report_text(report, args.output, verbose=args.verbose), quiet=args.quiet or args.json)
    return OK


def _encode_all(args: argparse.Namespace, keywords: dict[str, Any]) -> int:
    if args.dry_run:
        raise UsageError("a plan is of one source: name one, and an output", option="dry_run")
    tree = sources_of(args)
    from inrcodec.collection.tree import encode_tree

    return report(
        args,
        lambda bar: encode_tree(
            tree,
            args.output_dir_mirror,
            manifest=args.manifest,
            force=args.force,
            jobs=args.jobs,
            scheduler=args.scheduler,
            progress=bar,
            **keywords,
        ),
    )


@contextmanager
def _resume_hint(args: argparse.Namespace) -> Iterator[None]:
    """After an interrupt, say that the state of the fit was kept, if it was."""
    try:
        yield
    except KeyboardInterrupt:
        kept = getattr(args, "resume", None)
        if kept is not None and os.path.exists(kept):
            say(f"the fit is kept in {kept}: the same command resumes it", quiet=args.quiet)
        raise


def _check_output(args: argparse.Namespace) -> None:
    if getattr(args, "resume", None) == STREAM:
        refuse_stream(args.resume, "the state of a fit is kept in a file")
    if args.output == STREAM:
        if args.json:
            raise UsageError(
                "the file and --json would both go to standard output, name an output", value=STREAM
            )
        refuse_terminal()
    else:
        refuse_same_file(args.input, args.output)
