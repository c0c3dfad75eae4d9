"""`inrv-train`: volumes become a super-resolution model.

In: volumes that `inrv-enc` reads, and options. Out: weights, model card, log and checkpoint in a folder.
Invariant: it can be stopped at any time, and the same command resumes it.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from inrcodec.cli.arguments import Parser, given
from inrcodec.cli.exits import run
from inrcodec.cli.progress import StageBar
from inrcodec.cli.stdio import put_json, say
from inrcodec.training.options import OPTIONS, TrainOptions


def main(argv: Sequence[str] | None = None) -> int:
    """Run `inrv-train` and return its exit code."""
    return run(parser(), _train, argv)


def parser() -> Parser:
    """The parser of `inrv-train`."""
    made = Parser("inrv-train", "Train a super-resolution model on volumes.")
    made.add("input", nargs="+", metavar="VOLUME", help="anything that inrv-enc reads")
    made.add_rows({name: option for name, option in OPTIONS.items() if name != "force"})
    made.add_manners(force=OPTIONS["force"].help)
    return made


def _train(args: argparse.Namespace) -> None:
    options = TrainOptions(volumes=list(map(Path, args.input)), **given(args, OPTIONS))
    from inrcodec.training.run import checkpoint_of, train  # torch, after all that is refused at once

    said = partial(say, quiet=args.quiet or args.json)
    try:
        with StageBar(quiet=args.quiet, verbose=args.verbose) as bar:
            path = train(options, said, bar)
    except KeyboardInterrupt:
        if checkpoint_of(options).exists():
            said(f"{checkpoint_of(options)} holds the training so far: the same command resumes it")
        raise
    if args.json:
        put_json({"card": str(path), "id": options.model})
    said(f"{path}\nto use it: INRCODEC_MODELS={options.out} inrv-enc … --sr {options.model}; so too inrv-dec")
