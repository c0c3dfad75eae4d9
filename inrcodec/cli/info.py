"""`inrv-info`: what is in an `.inrv` file.

In: the file. Out: its header and ledger, a preview, a verdict. The one law: without ``--verify`` neither
torch nor SciPy is imported, so that a folder of files is listed at once.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from inrcodec.cli.arguments import STREAM, Parser, add_manners
from inrcodec.cli.exits import run
from inrcodec.cli.ledger import facts
from inrcodec.cli.png import enlarged, png_bytes
from inrcodec.cli.streams import input_bytes, put_json, refuse_same_file, refuse_stream, say
from inrcodec.errors import UsageError

DIFFERS = (
    "the digest differs, though all checksums are right: the file is undamaged, but the volume decoded here "
    "is not the encoder's bit for bit. Another machine, or a version other than {version}, may differ by one "
    "stored unit in single voxels; on the machine and version that wrote the file it is an error, please "
    "report it"
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run `inrv-info` and return its exit code."""
    return run(_parser(), _describe, argv)


def _parser() -> Parser:
    parser = Parser("inrv-info", "Say what is in an .inrv file.")
    parser.add_argument("input", metavar="FILE.inrv", help="file to read; - is standard input")
    parser.add_argument("--verify", action="store_true", help="also decode, and compare with the digest")
    parser.add_argument(
        "--preview",
        metavar="OUT.png",
        help="write the central axial slice of the low-res volume, small ones in larger pixels",
    )
    add_manners(parser)
    return parser


def _describe(args: argparse.Namespace) -> None:
    if args.preview is not None:
        _check_preview(args)
    source = input_bytes(args.input)
    from inrcodec import api

    result = dict(api.info(source))
    if args.preview is not None:
        from inrcodec.io.atomic import atomic_write

        atomic_write(args.preview, png_bytes(enlarged(api.preview(source))), args.force)
        result["preview"] = args.preview
    if args.verify:
        result["verify"] = api.verify(source)
    if args.json:
        put_json(result)
    elif not args.quiet:
        print(facts(result))  # the answer that was asked for: data, so stdout
    if args.verify and result["verify"]["digest"] != "equal":
        say(f"note: {DIFFERS.format(version=result['encoder']['version'])}")  # no chatter: also when quiet


def _check_preview(args: argparse.Namespace) -> None:
    from inrcodec.io.atomic import check_file

    refuse_stream(args.preview, "name a .png file")
    if args.input != STREAM:
        refuse_same_file(args.input, args.preview)
    if not args.preview.lower().endswith(".png"):
        raise UsageError(f"the preview is a PNG file, {args.preview} is not named as one: name a .png file")
    check_file(args.preview, args.force)
