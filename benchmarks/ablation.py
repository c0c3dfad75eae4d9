"""One choice of the fitting engine at a time, changed and measured on a volume's low-res version.

    python benchmarks/ablation.py VOLUME [--size BYTES] [--steps N] [--tiles Z,Y,X] [--width W] …
                                  [--set networks.ETA_OUT=0.3] [--set optimize.REFRESH=4] …

``--set`` gives a constant of a module another value for this run.  Prints one line: what was changed, the
low-res PSNR, the bytes of the networks, bits a weight, CPU seconds of the fit, and how much larger the error
is beside the cuts.  Compare at equal bytes: around 16 kB one percent of the bytes is worth some 0.07 dB.
"""

import argparse
from dataclasses import replace
from importlib import import_module
from math import prod
from pathlib import Path
from time import process_time

import numpy as np
from encoded import cropped, twelve_bits
from quality import rings_of

from inrcodec import io
from inrcodec.encoder import pipeline
from inrcodec.encoder import plan as planning
from inrcodec.encoder.fit import loop
from inrcodec.encoder.options import EncodeOptions, ResolvedOptions
from inrcodec.encoder.pipeline import Job
from inrcodec.file import InrvFile
from inrcodec.layers.base.siren import tiles
from inrcodec.layers.base.siren.siren import Layout
from inrcodec.volume.metrics import psnr
from inrcodec.volume.volume import Volume


def changed(job: Job, args: argparse.Namespace) -> Job:
    """The job with the tiles, networks and rate that were asked for."""
    old, active = job.plan, job.low.active
    parts = tuple(map(int, args.tiles.split(","))) if args.tiles else old.parts
    layout = Layout(
        args.layers or old.layout.layers, args.width or old.layout.width, args.omega or old.layout.omega
    )
    plan = planning.Plan(parts, layout, old.rate * args.rate, old.bytes, old.steps)
    cuts = tiles.cut(active, parts)
    shape = {"layers": layout.layers, "width": layout.width, "omega": layout.omega}
    header = replace(job.header, tiles=parts, cuts=cuts, **shape)
    return replace(job, plan=plan, header=header, tiles=tiles.of(active, parts, cuts))


def measure(volume: Volume, job: Job, options: ResolvedOptions) -> str:
    """Fit, decode, and say what came of it."""
    start = process_time()
    fitted = pipeline.fitted(job, options)
    seconds = process_time() - start
    assert isinstance(fitted, loop.Fitted)
    encoded = pipeline.written(volume, job, options, fitted)
    decoder = InrvFile.from_sections(encoded.header, encoded.sections)
    squares = np.square((decoder.lowres() - encoded.lowres) / 2)  # of the range
    rings = rings_of(decoder.base.boxes, decoder.lowres_shape, decoder.base.active)
    at, rest = (squares[rings[name]] for name in ("at a cut", "elsewhere"))
    seam = at.mean() / rest.mean() if at.size else float("nan")
    size = len(encoded.sections["WGHT"])
    bits = 8 * size / (fitted.layout.weights * len(fitted.codes))
    return (
        f"{psnr(float(squares.mean())):.2f} dB  {size} B  {bits:.2f} bits/weight  {seconds:.0f} CPU s  "
        f"seam {seam:.2f}  {prod(job.header.tiles)} of {fitted.layout.layers} x {fitted.layout.width}  "
        f"{fitted.restarts} restarts"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("volume", type=Path)
    parser.add_argument("--crop", help="Z:Z,Y:Y,X:X of the volume")
    parser.add_argument("--preset", default="balanced")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--size", type=int)
    parser.add_argument("--factor", help="Z,Y,X")
    parser.add_argument("--tiles", help="Z,Y,X")
    parser.add_argument("--width", type=int)
    parser.add_argument("--layers", type=int)
    parser.add_argument("--omega", type=float, help="by default from the content")
    parser.add_argument("--rate", type=float, default=1.0, help="times the usual price of a bit")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", action="append", default=[], metavar="module.NAME=value")
    args = parser.parse_args()
    if not args.volume.exists():
        print(f"skipped: {args.volume} is not here")
        return
    for change in args.set:
        name, _, value = change.partition("=")
        module, _, constant = name.rpartition(".")
        found = import_module(f"inrcodec.{module}")
        setattr(found, constant, type(getattr(found, constant))(value))
    volume = twelve_bits(io.read(args.volume))
    if args.crop:
        region = tuple(slice(*map(int, span.split(":"))) for span in args.crop.split(","))
        volume = cropped(volume, region)
    factor = tuple(map(int, args.factor.split(","))) if args.factor else None
    options = EncodeOptions(
        preset=args.preset, steps=args.steps, size=args.size, factor=factor, seed=args.seed
    ).resolved()
    job = changed(pipeline.prepare(volume, options), args)
    print(
        f"{args.volume.name} {job.plan.steps} steps {' '.join(args.set)}: {measure(volume, job, options)}",
        flush=True,
    )


if __name__ == "__main__":
    main()
