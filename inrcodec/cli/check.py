"""`inrv-dec --test`: whether a file, or every file of a tree, is whole.

In: arguments.  Out: a verdict, and an exit code.
Invariant: all checksums are compared and all voxels decoded, and nothing is written.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from inrcodec.cli.cluster import refuse_cluster
from inrcodec.cli.exits import OK
from inrcodec.cli.info import DIFFERS, MACHINE
from inrcodec.cli.stdio import input_bytes, put_json, say
from inrcodec.cli.trees import is_collection, report, require, sources_of
from inrcodec.errors import UsageError


def check(args: argparse.Namespace, options: Mapping[str, Any]) -> int:
    """Check a file or a tree; `options` are those of decoding that were given."""
    others = ("format", "max_bytes", "template", "modality")
    for name in (*options, *(name for name in others if getattr(args, name) is not None)):
        if name not in MACHINE:
            raise UsageError("has no meaning for a test, which decodes all of a file", option=name)
    if is_collection(args):
        tree = sources_of(args, writes=False)
        from inrcodec.collection.tree import verify_tree

        return report(
            args,
            lambda bar: verify_tree(tree, jobs=args.jobs, scheduler=args.scheduler, progress=bar, **options),
        )
    refuse_cluster(args, "one file is tested")
    require(args, input="FILE.inrv")
    if args.output is not None:
        raise UsageError(f"{args.output} is one argument too many: a test writes nothing", value=args.output)
    source = input_bytes(args.input)
    from inrcodec import api

    result = {"input": args.input, **api.verify(source, **options)}
    if args.json:
        put_json(result)
    verdict = "whole" if result["ok"] else "all checksums are right"
    say(f"{args.input}: {verdict}", quiet=args.quiet or args.json)
    if not result["ok"]:
        say(f"note: {DIFFERS.format(version=api.info(source)['encoder']['version'])}")
    return OK
