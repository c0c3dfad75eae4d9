"""Latents against AV1, both as coders of the same low-res volume.

    python benchmarks/latent_measure.py VOLUME [--model ID] [--factor 4,4,4] [--slices 0:232]
        [--rates 16 48 80 112] [--worth 0.06] [--speed 1] [--threads 1]

Prints for each rate the PSNR of what a stream of the model decodes to, at a peak of 4 095 HU (or 4.095 in the
units of `materials.network_values`), the bytes of the stream, what AV1 (`aomenc`, 12 bits) takes for that
PSNR by its curve, and their ratio.  ``--worth`` is what a bit is worth where latents are decided on, in
squared steps.
"""

import argparse
import math
from pathlib import Path
from time import monotonic

import av1
import numpy as np

from inrcodec import io
from inrcodec.layers.base.latent import models, stream
from inrcodec.training.latent.evaluate import PEAK
from inrcodec.training.latent.materials import lowres, network_values
from inrcodec.volume.arrays import Float, Float32
from inrcodec.volume.metrics import psnr

QUALITIES = (63, 58, 52, 46, 40, 34, 28, 22)  # of aomenc, from few bytes to many


def av1_curve(values: Float32, speed: int) -> list[tuple[float, int]]:
    """(PSNR in dB, bytes) of each quality, from few bytes to many."""
    codes = np.clip(np.rint(values * 1000 + 1024), 0, 4095).astype(np.uint16)
    curve = []
    for quality in QUALITIES:
        body = av1.encode(codes, quality, speed)
        decoded = (av1.decode(body, codes.shape).astype(np.float64) - 1024) / 1000
        curve.append((decibels(decoded, values), len(body)))
    return curve


def av1_bytes(curve: list[tuple[float, int]], psnr: float) -> float:
    """Bytes of AV1 for a PSNR, by the logarithms; ``nan`` outside of what was measured."""
    at = np.interp(psnr, [db for db, _ in curve], [math.log(n) for _, n in curve], math.nan, math.nan)
    return math.exp(at)


def decibels(decoded: Float, values: Float32) -> float:
    """PSNR at a peak of 4.095."""
    return psnr(float(np.square(decoded - values).mean()) / PEAK**2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("volume", type=Path)
    parser.add_argument("--model", default="")
    parser.add_argument("--factor", default="4,4,4")
    parser.add_argument("--slices", default=":")
    parser.add_argument("--rates", nargs="*", type=int, default=[16, 48, 80, 112])
    parser.add_argument("--worth", type=float, default=stream.WORTH)
    parser.add_argument("--speed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    known = models.manifest(options.model) if options.model else models.usual()
    model = models.load(known.id, bytes.fromhex(known.sha256))
    first, last = (int(word) if word else None for word in options.slices.split(":"))
    z, y, x = map(int, options.factor.split(","))
    values = lowres(network_values(io.read(options.volume), None)[first:last], (z, y, x))
    curve = av1_curve(values, options.speed)
    print(options.volume.name, values.shape, known.id, flush=True)
    print("AV1:", *(f"{n} B {db:.2f} dB" for db, n in curve), flush=True)
    for rate in options.rates:
        began = monotonic()
        body, integers = stream.write_stream(
            model, rate, values.astype(np.float64), options.worth, options.threads
        )
        found = decibels(stream.values_of(model, rate, integers), values)
        peer = av1_bytes(curve, found)
        told = f"rate {rate}: {found:.2f} dB in {len(body)} B, AV1 {peer:.0f} B: {len(body) / peer:.2f}"
        print(f"{told}; {monotonic() - began:.1f} s", flush=True)


if __name__ == "__main__":
    main()
