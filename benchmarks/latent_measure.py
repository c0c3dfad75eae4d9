"""The latent grid of `latent_network.py` against AV1, both as coders of the same low-res volume.

    python benchmarks/latent_measure.py VOLUME --weights FILE.safetensors [--factor 4,4,4] [--slices 0:232]
        [--rates -0.4 0 0.4 0.8] [--refine 30] [--real] [--speed 1]

Prints PSNR at a peak of 4 095 HU (or 4.095 in the units of `latent_train.values_of`), ideal bytes of the
latents, what AV1 (`aomenc`, 12 bits) takes for that PSNR by its curve, and their ratio.  ``--refine`` takes
gradient steps on the latents under the frozen networks first.  ``--real``: bytes of the range coder with the
contexts in integers, and the PSNR of what is decoded from them.
"""

import argparse
import math
from pathlib import Path
from time import monotonic

import av1
import numpy as np
import torch
from latent_coder import LATENT, Reader, Writer
from latent_integers import IntegerGrid
from latent_network import LatentGrid, step_of, straight_through
from latent_train import WORTH, Values, blocks_of, decibels, lowres, padded, values_of
from safetensors.torch import load_file

from inrcodec import io

QUALITIES = (63, 58, 52, 46, 40, 34, 28, 22)  # of aomenc, from few bytes to many
LEARNING_RATE = 0.005  # of a latent, in steps


def av1_curve(values: Values, speed: int) -> list[tuple[float, int]]:
    """(PSNR in dB, bytes) of each quality, from few bytes to many."""
    codes = np.clip(np.rint(values * 1000 + 1024), 0, 4095).astype(np.uint16)
    curve = []
    for quality in QUALITIES:
        stream = av1.encode(codes, quality, speed)
        error = av1.decode(stream, codes.shape).astype(np.float64) - (values * 1000.0 + 1024)
        curve.append((10 * math.log10(4095**2 / float(np.mean(error**2))), len(stream)))
    return curve


def av1_bytes(curve: list[tuple[float, int]], decibels: float) -> float:
    """Bytes of AV1 for a PSNR, by the logarithms; ``nan`` outside of what was measured."""
    at = np.interp(decibels, [db for db, _ in curve], [math.log(n) for _, n in curve], math.nan, math.nan)
    return math.exp(at)


def latents_of(network: LatentGrid, x: torch.Tensor, rate: torch.Tensor, inside: tuple[int, ...], steps: int):
    """Latents and hyper-latents, refined by gradient steps through the frozen networks."""
    with torch.no_grad():
        latents = network.analyzed(x, rate)
        hyper = network.hyper(latents, rate)
    if not steps:
        return latents, hyper
    latents.requires_grad_()
    hyper.requires_grad_()
    adam = torch.optim.Adam([latents, hyper], lr=LEARNING_RATE)
    worth = WORTH * float(step_of(rate)) ** 2
    for _ in range(steps):
        flat, level, bits = network.code(latents, hyper, rate, straight_through, True, inside)
        error = (network.synthesized(flat, level, rate) - x).square()
        loss = bits.sum() + error.sum() / worth
        adam.zero_grad()
        loss.backward()
        adam.step()
    return latents.detach(), hyper.detach()


def coded(
    network: LatentGrid, values: Values, rate: float, steps: int = 0, real: bool = False
) -> tuple[float, float]:
    """PSNR in dB, and ideal bytes; or real ones, of what is decoded from them by integers."""
    x, told = torch.tensor(padded(values))[None, None], torch.tensor([rate])
    inside = blocks_of(values)
    latents, hyper = latents_of(network, x, told, inside, steps)
    with torch.no_grad():
        if real:
            size, *parts = written(network, latents, hyper, rate, inside)
        else:
            *parts, bits = network.code(latents, hyper, told, torch.round, False, inside)
            size = float(bits.sum()) / 8
        decoded = network.synthesized(*parts, told)
    return decibels(decoded, values), size


def written(
    network: LatentGrid, latents: torch.Tensor, hyper: torch.Tensor, rate: float, inside: tuple[int, ...]
) -> tuple[int, torch.Tensor, torch.Tensor]:
    """Bytes of the latents, and what is decoded of them: latents less their level, and that level."""
    grid, writer, shape = IntegerGrid(network, rate), Writer(), tuple(latents.shape[2:])
    given = latents[0].double().numpy(), hyper[0].double().numpy()
    coded = grid.run(shape, writer.code, inside, given)
    data = writer.bytes()
    decoded = grid.run(shape, Reader(data).code, inside)
    if not all(np.array_equal(a, b) for a, b in zip(coded, decoded, strict=True)):
        raise AssertionError("the bytes decode to other latents")
    flat, level = (torch.tensor(part[None] / (1 << LATENT), dtype=torch.float32) for part in decoded)
    return len(data), flat, level


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("volume", type=Path)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--factor", default="4,4,4")
    parser.add_argument("--slices", default=":")
    parser.add_argument("--rates", nargs="*", type=float, default=[-0.4, 0.0, 0.4, 0.8])
    parser.add_argument("--refine", type=int, default=0)
    parser.add_argument("--real", action="store_true")
    parser.add_argument("--speed", type=int, default=1)
    options = parser.parse_args()
    network = LatentGrid().eval().requires_grad_(False)
    network.load_state_dict(load_file(options.weights), strict=False)
    first, last = (int(word) if word else None for word in options.slices.split(":"))
    z, y, x = map(int, options.factor.split(","))
    values = lowres(values_of(io.read(options.volume))[first:last], (z, y, x))
    curve = av1_curve(values, options.speed)
    print(
        f"{options.volume.name} {values.shape}; AV1:", *(f"{n} B {db:.2f} dB" for db, n in curve), flush=True
    )
    for rate in options.rates:
        began = monotonic()
        decibels, size = coded(network, values, rate, options.refine, options.real)
        peer = av1_bytes(curve, decibels)
        told = f"rate {rate:+.1f}: {decibels:.2f} dB in {size:.0f} B, AV1 {peer:.0f} B: {size / peer:.2f}"
        print(f"{told}; {monotonic() - began:.1f} s", flush=True)


if __name__ == "__main__":
    main()
