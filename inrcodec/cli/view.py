"""`inrv-view`: look at an `.inrv` file in the browser.

In: the file.  Out: one page that carries the file and a decoder, and a browser that shows it, or the page
alone.  Invariant: nothing is decoded here and nothing is sent anywhere; a page that is not asked for by name
is readable by its user alone.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import webbrowser
from collections.abc import Sequence
from pathlib import Path

from inrcodec.cli.arguments import STREAM, Parser
from inrcodec.cli.exits import run
from inrcodec.cli.info import check_output
from inrcodec.cli.stdio import input_bytes, put_json, say
from inrcodec.errors import UsageError

KEPT = "the page holds every voxel: delete it when you have looked"


def main(argv: Sequence[str] | None = None) -> int:
    """Run `inrv-view` and return its exit code."""
    return run(parser(), _view, argv)


def parser() -> Parser:
    """The parser of `inrv-view`."""
    made = Parser("inrv-view", "Show an .inrv file in the browser: every slice, without a server.")
    made.add("input", metavar="FILE.inrv", help="file to show; - is standard input")
    made.add("--page", group="page", main=True, metavar="OUT.html", help="write the page here, open nothing")
    models = "folder of a server with the models that the page may load to sharpen the slices"
    made.add("--superres", group="page", metavar="URL", default="", help=models)
    made.add_manners()
    return made


def _view(args: argparse.Namespace) -> None:
    if args.page is not None:
        check_output(args, args.page, "page", ("html", "htm"))
    source = input_bytes(args.input)
    from inrcodec.io.atomic import atomic_write
    from inrcodec.report.page import html_view

    name = "standard input" if args.input == STREAM else Path(args.input).name
    page = html_view(source, name=name, superres=args.superres).encode(errors="replace")
    if args.page is not None:
        atomic_write(args.page, page, args.force)
        path = args.page
    else:
        path = _shown(page)
        say(f"note: {path}: {KEPT}", quiet=args.quiet)
    if args.json:
        put_json({"page": path})


def _shown(page: bytes) -> str:
    """Write a page that only its user may read, and open it."""
    handle, path = tempfile.mkstemp(prefix="inrv-", suffix=".html")
    with os.fdopen(handle, "wb") as stream:
        stream.write(page)
    if not webbrowser.open(Path(path).as_uri()):
        os.unlink(path)
        raise UsageError("finds no browser here: name a page to write", option="page")
    return path
