"""Trees and lists of sources on the command line: `-r`, `--filelist`, `--output-dir-mirror`, `--test`.

In: arguments.  Out: a summary, and exit code 12 where some inputs failed.
Invariant: what is not for a collection, or only for one, is refused before a source is looked at.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from inrcodec.cli.arguments import STREAM, Parser
from inrcodec.cli.exits import SOME_FAILED
from inrcodec.cli.progress import StageBar
from inrcodec.cli.stdio import put_json, say
from inrcodec.errors import InputError, UsageError, reason

if TYPE_CHECKING:
    from inrcodec.collection.run import Summary

GROUP = "collections"
KEPT = "interrupted, what was finished is kept: the same command does the rest"


def add_collection(made: Parser, sources: str) -> None:
    """Add the flags of collections; `sources` are what a tree holds."""
    add = partial(made.add, group=GROUP)
    tree = f"{sources} of a folder, to --output-dir-mirror OUT"
    add("-r", "--recursive", main=True, action="store_true", help=tree)
    mirror = "folder of the outputs, with the names and subfolders of the inputs"
    add("--output-dir-mirror", metavar="OUT", help=mirror)
    add("--filelist", metavar="FILE", help="instead of INPUT: a path on each line; - is standard input")
    add("--manifest", metavar="FILE", help="what was done (default: OUT/inrcodec-manifest.jsonl)")


def is_collection(args: argparse.Namespace) -> bool:
    """Whether a collection is meant; refuses flags that need one."""
    if args.recursive or args.filelist is not None:
        return True
    for name in ("output_dir_mirror", "manifest", "format"):
        if getattr(args, name, None) is not None:
            cause = "is for a collection: add -r and name a folder as input, or --filelist"
            raise UsageError(cause, value=getattr(args, name), option=name)
    return False


def require(args: argparse.Namespace, **places: str) -> None:
    """Refuse a single source without its arguments, as the parser does."""
    missing = [metavar for name, metavar in places.items() if getattr(args, name) is None]
    if missing:
        named = ", ".join(missing)
        raise UsageError(f"the following arguments are required: {named}, see --help", value=missing)


def sources_of(args: argparse.Namespace, *, writes: bool = True) -> str | list[str]:
    """The tree, or the paths of the list; raises `UsageError` for arguments that do not fit together."""
    if args.output is not None:
        remedy = "name the folder of the outputs by --output-dir-mirror" if writes else "leave it out"
        raise UsageError(f"{args.output} is one argument too many: {remedy}", value=args.output)
    if writes and args.output_dir_mirror is None:
        raise UsageError("a collection needs a folder for its outputs", option="output_dir_mirror")
    if not writes:
        for name in ("output_dir_mirror", "manifest"):
            if getattr(args, name) is not None:
                raise UsageError("nothing is written by a test: leave it out", option=name)
    if args.filelist is None:
        require(args, input="INPUT")
        if args.input == STREAM:
            raise UsageError("'-' is not possible here, a tree is a folder", value=STREAM)
        return str(args.input)
    if args.input is not None:
        raise UsageError(f"both {args.input} and a list are given, leave one out", option="filelist")
    return paths_in(args.filelist)


def paths_in(filelist: str) -> list[str]:
    """Paths of a list, one a line; blank lines are left out, and nothing is a comment."""
    try:
        if filelist == STREAM:
            text = sys.stdin.buffer.read()
        else:
            with open(filelist, "rb") as stream:
                text = stream.read()
    except OSError as error:
        raise InputError(f"cannot read the list {filelist}: {reason(error)}", value=filelist) from error
    paths = [os.fsdecode(line.removesuffix(b"\r")) for line in text.split(b"\n")]
    if any("\0" in path for path in paths):
        raise InputError(f"{filelist} is not a list of paths, one a line", value=filelist)
    if not (named := [path for path in paths if path.strip()]):
        raise InputError(f"the list {filelist} names no file", value=filelist)
    return named


def report(args: argparse.Namespace, collected: Callable[[StageBar], Summary]) -> int:
    """Do a collection with a bar over all of it, and say what came of it."""
    try:
        with StageBar(quiet=args.quiet, verbose=args.verbose) as bar:
            summary = collected(bar)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(KEPT) from None
    if args.json:
        put_json(summary.to_dict())
    quiet = args.quiet or args.json
    for notice in summary.notices:
        say(f"note: {notice}", quiet=quiet)
    if args.verbose:
        for row in summary.done:
            say(f"  {row['source']}: {row['output'] or 'whole'}, {row['seconds']:.1f} s", quiet=quiet)
    before = f", {len(summary.skipped)} done before" if summary.skipped else ""
    failed = f", {len(summary.failed)} failed:" if summary.failed else ""
    word = "whole" if args.output_dir_mirror is None else "done"
    say(f"{len(summary.done)} {word}{before}{failed}", quiet=quiet and not failed)
    for row in summary.failed:
        say(f"  {row['source']}: {row['error']}")
    differ = [row["source"] for row in summary.done if row.get("digest") == "differs"]
    if differ:
        say(f"note: the digest of {len(differ)} differs, inrv-info --verify says more: {', '.join(differ)}")
    return SOME_FAILED if summary.failed else 0
