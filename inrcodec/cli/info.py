"""`inrv-info`: what is in an `.inrv` file.

In: the file. Out: its header and bytes, a preview, a page, a verdict. Invariant: without ``--verify`` and
``--report`` neither torch nor SciPy is imported, so that a folder of files is listed at once.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from inrcodec.cli.arguments import STREAM, Parser, given
from inrcodec.cli.exits import run
from inrcodec.cli.stdio import input_bytes, put_json, refuse_same_file, refuse_stream, say
from inrcodec.errors import UsageError
from inrcodec.layers.decode_options import OPTIONS
from inrcodec.report.png import enlarged, png_bytes
from inrcodec.report.text import facts

DIFFERS = (
    "the digest differs, though all checksums are right: the file is undamaged, but the volume decoded here "
    "is not the encoder's bit for bit. Another machine, or a version other than {version}, may differ by one "
    "stored unit in single voxels; on the machine and version that wrote the file it is an error, please "
    "report it"
)


MACHINE = {name: OPTIONS[name] for name in ("device", "threads")}


def main(argv: Sequence[str] | None = None) -> int:
    """Run `inrv-info` and return its exit code."""
    return run(parser(), _describe, argv)


def parser() -> Parser:
    """The parser of `inrv-info`."""
    made = Parser("inrv-info", "Show what is in an .inrv file.")
    made.add("input", metavar="FILE.inrv", help="file to read; - is standard input")
    checks = "checks and pictures"
    add = partial(made.add, group=checks, main=True)
    add("--verify", action="store_true", help="also decode, and compare with the digest")
    add("--preview", metavar="OUT.png", help="write the central slice of the low-res volume")
    add("--report", metavar="OUT.html", help="decode, and write a page with slices and bytes")
    add("--reference", metavar="SOURCE", help="what was encoded, for errors on the page")
    series = "which series of the reference, where a folder holds several"
    made.add("--series", group=checks, metavar="UID", help=series)
    made.add_rows(MACHINE)
    made.add_manners()
    return made


def _describe(args: argparse.Namespace) -> None:
    if args.preview is not None:
        check_output(args, args.preview, "preview", ("png",))
    if args.report is not None:
        check_output(args, args.report, "report", ("html", "htm"))
    elif args.reference is not None:
        raise UsageError(
            "has no meaning without the page: name that with --report OUT.html", option="reference"
        )
    if args.series is not None and args.reference is None:
        raise UsageError(
            "has no meaning without the reference: name that with --reference SOURCE", option="series"
        )
    source = input_bytes(args.input)
    from inrcodec import api

    result = dict(api.info(source))
    if args.preview is not None:
        from inrcodec.io.atomic import atomic_write

        atomic_write(args.preview, png_bytes(enlarged(api.open(source).preview())), args.force)
        result["preview"] = args.preview
    if args.report is not None:
        _write_report(args, source)
        result["report"] = args.report
    if args.verify:
        result["verify"] = api.verify(source, **given(args, MACHINE))
    if args.json:
        put_json(result)
    elif not args.quiet:
        print(facts(result))  # the result, so stdout
    if args.verify and result["verify"]["digest"] != "equal":
        say(f"note: {DIFFERS.format(version=result['encoder']['version'])}")  # no chatter: also when quiet


def _write_report(args: argparse.Namespace, source: str | bytes) -> None:
    from inrcodec.io.atomic import atomic_write
    from inrcodec.report.page import html_report

    page = html_report(
        source,
        args.reference,
        name="standard input" if args.input == STREAM else Path(args.input).name,
        series=args.series,
        **given(args, MACHINE),
    )
    atomic_write(args.report, page.encode(errors="replace"), args.force)


def check_output(args: argparse.Namespace, path: str, what: str, endings: Sequence[str]) -> None:
    """Refuse what is not a file of its kind, or would replace something."""
    from inrcodec.io.atomic import check_file

    named = f"name a .{endings[0]} file"
    refuse_stream(path, named)
    for other in (args.input, getattr(args, "reference", None)):
        if other not in (None, STREAM):
            refuse_same_file(other, path)
    if path.lower().rpartition(".")[2] not in endings:
        raise UsageError(f"the {what} is a {endings[0].upper()} file, {path} is not named as one: {named}")
    check_file(path, args.force)
