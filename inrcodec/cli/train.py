"""`inrv-train`: volumes become a super-resolution model, or a model of latents.

In: volumes that `inrv-enc` reads, and options. Out: weights, model card, log and checkpoint in a folder.
Invariant: it can be stopped at any time, and the same command resumes it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from inrcodec.cli.arguments import Parser, given
from inrcodec.cli.exits import run
from inrcodec.cli.progress import StageBar
from inrcodec.cli.stdio import put_json, say
from inrcodec.training.latent import options as latent
from inrcodec.training.options import OPTIONS, AnyTraining, TrainOptions

LATENT = "latent"  # of --base: whose model is trained instead of one of super-resolution
Train = Callable[[Callable[[str], None], StageBar], Path]


def main(argv: Sequence[str] | None = None) -> int:
    """Run `inrv-train` and return its exit code."""
    base = _base_in(sys.argv[1:] if argv is None else argv)
    return run(parser(base), _train_latent if base == LATENT else _train, argv)


def parser(base: str = "") -> Parser:
    """The parser of `inrv-train`, and with ``--base`` that of another kind of model."""
    of_latents = base == LATENT
    kind = "latent model, a coder of low-res volumes," if of_latents else "super-resolution model"
    made = Parser("inrv-train", f"Train a {kind} on volumes.")
    made.add("input", nargs="+", metavar="VOLUME", help="anything that inrv-enc reads")
    about = "train a coder of low-res volumes: latent, which has options of its own"
    made.add("--base", group="model", main=True, choices=(LATENT,), metavar="KIND", help=about)
    rows = latent.OPTIONS if of_latents else OPTIONS
    made.add_rows({name: option for name, option in rows.items() if name != "force"})
    made.add_manners(force=rows["force"].help)
    return made


def _base_in(words: Sequence[str]) -> str:
    """What comes after the last ``--base``."""
    found = ""
    for word, following in zip(words, [*words[1:], ""], strict=True):
        flag, _, value = word.partition("=")
        found = (value or following) if flag == "--base" else found
    return found


def _train(args: argparse.Namespace) -> None:
    options = TrainOptions(volumes=list(map(Path, args.input)), **given(args, OPTIONS))
    from inrcodec.training.run import train  # torch, after all that is refused at once

    _run(args, options, options.checkpoint, partial(train, options), f"--sr {options.model}")


def _train_latent(args: argparse.Namespace) -> None:
    options = latent.LatentOptions(volumes=list(map(Path, args.input)), **given(args, latent.OPTIONS))
    from inrcodec.training.latent.run import train

    _run(args, options, options.checkpoint, partial(train, options), f"--base {LATENT}")


def _run(args: argparse.Namespace, options: AnyTraining, checkpoint: Path, train: Train, usage: str) -> None:
    said = partial(say, quiet=args.quiet or args.json)
    try:
        with StageBar(quiet=args.quiet, verbose=args.verbose) as bar:
            path = train(said, bar)
    except KeyboardInterrupt:
        if checkpoint.exists():
            said(f"{checkpoint} holds the training so far: the same command resumes it")
        raise
    if args.json:
        put_json({"card": str(path), "id": options.model})
    said(f"{path}\nto use it: INRCODEC_MODELS={options.out} inrv-enc … {usage}; so too inrv-dec")
