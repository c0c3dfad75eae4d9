"""One choice of the fitting engine at a time, changed and measured on the low-res version of a volume.

    python benchmarks/ablation.py VOLUME [--size BYTES] [--steps N] [--tiles Z,Y,X] [--width W] …
                                  [--set encoder.fit.trainer.ETA_OUT=0.3] …

``--set`` gives a constant of a module another value for this run.  Prints one line: what was changed, the
low-res PSNR, the bytes of the networks, bits per weight, CPU seconds of the fit, and the error at tile faces
over that elsewhere.  Compare at equal bytes: around 16 kB one percent of the bytes is worth some 0.07 dB.
"""

import argparse
from dataclasses import replace
from importlib import import_module
from math import prod
from pathlib import Path
from time import process_time

import numpy as np
from quality import rings_of
from shared import Shape, cropped, parsed_region, parser_of, skipped, twelve_bits

from inrcodec import io
from inrcodec.encoder import fitted, planner
from inrcodec.encoder.bases.siren import FittedNetworks, SirenCoding
from inrcodec.encoder.facts import Facts
from inrcodec.encoder.options import EncodeOptions
from inrcodec.encoder.plan import Plan
from inrcodec.file import InrvFile
from inrcodec.layers.base.siren import tiles
from inrcodec.layers.base.siren.codec import SirenTiles
from inrcodec.layers.base.siren.siren import Layout
from inrcodec.volume.metrics import psnr


def triple(text: str) -> Shape:
    """Parse ``1,2,2``."""
    z, y, x = map(int, text.split(","))
    return z, y, x


def changed(usual: Plan, args: argparse.Namespace) -> Plan:
    """The plan with the requested tiles, networks and rate."""
    coding, active = networks_of(usual), usual.lowres.active
    old = coding.networks
    layout = Layout(
        args.layers or old.layout.layers, args.width or old.layout.width, args.omega or old.layout.omega
    )
    parts = args.tiles or old.parts
    cuts = tiles.cut(active, parts)
    boxes = tuple(tiles.tiles_of(active, parts, cuts))
    networks = replace(old, parts=parts, layout=layout, rate=old.rate * args.rate, cuts=cuts, tiles=boxes)
    return replace(usual, coding=replace(coding, networks=networks))


def networks_of(plan: Plan) -> SirenCoding:
    """The coding of a plan whose base is SIREN tiles."""
    assert isinstance(plan.coding, SirenCoding)
    return plan.coding


def measured(this: Plan) -> str:
    """Fit, decode, and describe the result."""
    start = process_time()
    result = fitted.fit(this)
    seconds = process_time() - start
    assert isinstance(result.coded, FittedNetworks) and result.coded.found is not None
    planned, networks, sections = networks_of(this).networks, result.coded.found, result.sections
    decoder = InrvFile.from_sections(this.header, sections)
    base = decoder.decoder.require_base()
    assert isinstance(base, SirenTiles)
    squares = np.square((decoder.lowres() - this.lowres.target) / 2)  # of the range
    rings = rings_of(base.boxes, decoder.lowres_shape, base.active)
    at, rest = (squares[rings[name]] for name in ("at a cut", "elsewhere"))
    seam = at.mean() / rest.mean() if at.size else float("nan")
    size, layout = len(sections["WGHT"]), planned.layout
    bits = 8 * size / (layout.weights * len(networks.codes))
    return (
        f"{psnr(float(squares.mean())):.2f} dB  {size} B  {bits:.2f} bits/weight  {seconds:.0f} CPU s  "
        f"seam {seam:.2f}  {prod(planned.parts)} of {layout.layers} x {layout.width}  "
        f"{networks.restarts} restarts"
    )


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("volume", type=Path)
    parser.add_argument("--crop", type=parsed_region, metavar="Z:Z,Y:Y,X:X")
    parser.add_argument("--preset", default="balanced")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--size", type=int)
    parser.add_argument("--factor", type=triple, metavar="Z,Y,X")
    parser.add_argument("--tiles", type=triple, metavar="Z,Y,X")
    parser.add_argument("--width", type=int)
    parser.add_argument("--layers", type=int)
    parser.add_argument("--omega", type=float, help="by default from the content")
    parser.add_argument("--rate", type=float, default=1.0, help="times the usual price of a bit")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", action="append", default=[], metavar="module.NAME=value")
    args = parser.parse_args()
    if skipped(args.volume):
        return
    for change in args.set:
        name, _, value = change.partition("=")
        module, _, constant = name.rpartition(".")
        target = import_module(f"inrcodec.{module}")
        setattr(target, constant, type(getattr(target, constant))(value))
    volume = twelve_bits(io.read(args.volume))
    if args.crop:
        volume = cropped(volume, args.crop)
    options = EncodeOptions(
        preset=args.preset, steps=args.steps, size=args.size, factor=args.factor, seed=args.seed
    ).resolved()
    this = changed(planner.make(Facts.of(volume), options), args)
    steps = networks_of(this).networks.steps
    print(f"{args.volume.name} {steps} steps {' '.join(args.set)}: {measured(this)}", flush=True)


if __name__ == "__main__":
    main()
