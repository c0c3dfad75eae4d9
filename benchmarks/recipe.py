"""The published recipe, written plainly: one SIREN of 128 units, Adam at 0.0015, 65 536 points a step.

What the fit is measured against: how long that takes to its PSNR, and how many samples a second it trains.
``paper.py`` has its tables from it.
"""

from argparse import Namespace
from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise
from math import sqrt
from statistics import median
from time import monotonic
from typing import Any

import numpy as np
import torch
from shared import FACTOR, Encodings, Figure, Section, lowres_of, with_report, within
from torch import Tensor, nn

from inrcodec.encoder.fit import loop
from inrcodec.errors import FitFailed
from inrcodec.layers.base.siren import tiles
from inrcodec.layers.base.siren.siren import Layout
from inrcodec.volume import metrics
from inrcodec.volume.box import Box
from inrcodec.volume.value_range import Range
from inrcodec.volume.volume import Volume

LAYERS, WIDTH, OMEGA = 4, 128, 30.0
RATE, BATCH = 0.0015, 65_536
ITERATIONS = 2000  # whose PSNR is the mark
CHECKS = 10  # times that the PSNR is looked at on the way; they do not count as time
REPETITIONS, EAGER_STEPS, OUR_STEPS = 5, 3, 8


class Siren(nn.Module):
    """Sitzmann et al., 2020, section 3.2; the paper's tables 1 to 3 for 2, 3 and 4 layers."""

    def __init__(self, layers: int = LAYERS) -> None:
        super().__init__()
        sizes = [3, *[WIDTH] * layers, 1]
        self.layers = nn.ModuleList(nn.Linear(n, m) for n, m in pairwise(sizes))
        for k, layer in enumerate(self.layers):
            bound = 1 / 3 if k == 0 else sqrt(6 / WIDTH) / OMEGA
            nn.init.uniform_(layer.weight, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers[:-1]:
            x = torch.sin(OMEGA * layer(x))
        values: Tensor = self.layers[-1](x)[:, 0]
        return values


class Recipe:
    """The paper's training of one network on all voxels, background and all.

    Parameters
    ----------
    values : ndarray, (z, y, x), in [-1, 1].
    layers : hidden ones.
    """

    def __init__(self, values: np.ndarray, seed: int, layers: int = LAYERS, device: str = "cpu") -> None:
        torch.manual_seed(seed)
        axes = [torch.linspace(-1, 1, n) if n > 1 else torch.zeros(1) for n in values.shape]
        places = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).view(-1, 3)
        self.coordinates = places.to(device)
        self.values = torch.from_numpy(values.astype(np.float32)).view(-1).to(device)
        self.network = Siren(layers).to(device)
        self.adam = torch.optim.Adam(self.network.parameters(), lr=RATE)

    def step(self, batch: int | None = BATCH) -> None:
        """One iteration, on so many points drawn at random, or on all of them."""
        x, y = self.coordinates, self.values
        if batch is not None:
            rows = torch.randint(len(y), (batch,), device=y.device)
            x, y = x[rows], y[rows]
        error = (self.network(x) - y).square().mean()
        self.adam.zero_grad()
        error.backward()
        self.adam.step()

    @torch.no_grad()
    def mse(self) -> float:
        """Over all voxels, of values clipped to [-1, 1]."""
        pairs = zip(self.coordinates.split(BATCH), self.values.split(BATCH), strict=True)
        squares = [(self.network(x).clamp(-1, 1) - y).square().double().sum() for x, y in pairs]
        return float(torch.stack(squares).sum()) / len(self.values)


def time_to_psnr(encodings: Encodings, args: Namespace) -> Section:
    """Seconds that the recipe and the fit need to the same PSNR of the same low-res volume.

    The fits have growing numbers of steps, each its whole schedule, and are measured as decoded from the
    file; the seconds are those of the first that reaches the mark, with all that belongs to a fit.
    """
    torch.set_num_threads(args.threads or torch.get_num_threads())
    volume = encodings.head
    factor = within(FACTOR, volume)
    curve = list(_learning(volume, factor, args))
    note = f"{args.paper_iterations} iterations, {torch.get_num_threads()} threads"
    seconds, mark = curve[-1]["seconds"], max(point["psnr"] for point in curve)
    if args.paper_psnr is not None:  # few iterations: they tell the time of one, and no PSNR
        timed, mark = args.paper_timed, args.paper_psnr
        seconds *= args.paper_iterations / timed
        note = f"PSNR as given; time of {args.paper_iterations} iterations extrapolated from {timed}"
    fits = list(_fits(volume, factor, mark, args))
    reached = fits[-1]["psnr"] >= mark
    ours = fits[-1]["seconds"] if reached else None
    usual = args.paper_iterations == ITERATIONS
    words = f"{fits[-1]['steps']} steps" if reached else f"not reached in {fits[-1]['steps']} steps"
    figures = [
        Figure(name="recipe: low-res PSNR", value=mark, unit="dB", note=note),
        Figure(name="recipe: an iteration", value=seconds / args.paper_iterations, unit="s"),
        Figure(name="recipe: time", value=seconds, unit="s"),
        Figure(name="fit: low-res PSNR", value=fits[-1]["psnr"], unit="dB", note=words),
        Figure(name="fit: time", value=ours, unit="s"),
        Figure(
            name="fit's time / recipe's",
            value=None if ours is None else ours / seconds,
            most=0.02 if usual else None,
            note="" if usual else f"the target is for {ITERATIONS} iterations: not judged",
        ),
    ]
    return Section(figures, {"recipe": curve, "fits": fits})


def _learning(volume: Volume, factor: tuple[int, int, int], args: Namespace) -> Iterator[dict[str, float]]:
    """Iterations, seconds and PSNR of the recipe as it goes on."""
    span = Range.of(volume)
    recipe = Recipe(lowres_of(volume, factor), args.seed)
    count = args.paper_iterations if args.paper_psnr is None else args.paper_timed
    peak = metrics.peak_of(span.low, span.high, volume.array.dtype)
    scale = (span.high - span.low) / 2 / peak
    seconds, done = 0.0, 0
    for stop in sorted({max(1, round(count * k / CHECKS)) for k in range(1, CHECKS + 1)}):
        start = monotonic()
        for _ in range(stop - done):
            recipe.step()
        seconds, done = seconds + monotonic() - start, stop
        psnr = metrics.psnr(recipe.mse() * scale**2)
        print(f"  recipe: {done} iterations, {seconds:.1f} s, {psnr:.2f} dB", flush=True)
        yield {"iterations": done, "seconds": seconds, "psnr": psnr}


def _fits(
    volume: Volume, factor: tuple[int, int, int], mark: float, args: Namespace
) -> Iterator[dict[str, float]]:
    """Steps, seconds and PSNR of fits of growing length, until one reaches the mark."""
    fixed: dict[str, Any] = {"factor": factor, "seed": args.seed, "threads": args.threads, "sr": "lanczos"}
    for steps in args.ladder:
        report = with_report(volume, steps=steps, **fixed)[1]
        seconds, psnr = report.seconds["fit"], report.psnr_lowres
        print(f"  fit: {steps} steps, {seconds:.1f} s, {psnr:.2f} dB", flush=True)
        yield {"steps": steps, "seconds": seconds, "psnr": psnr}
        if psnr >= mark:
            return


def throughput(encodings: Encodings, args: Namespace) -> Section:
    """Training samples a second of one 4 x 128 network at 65 536 a step, in turns with the recipe.

    A step is all that it takes: drawing the samples, the gradient, the optimiser; for the coded fit also the
    rate.  Medians over all steps; what a fit does before and after its steps does not count.
    """
    torch.set_num_threads(args.threads or torch.get_num_threads())
    side = np.linspace(-1, 1, 64)
    smooth = np.sin(3 * np.add.outer(np.add.outer(side, side**2), np.cos(2 * side))) * 0.7
    recipe = Recipe(smooth, args.seed)
    recipe.step()
    seconds: dict[str, list[float]] = {"eager float32": [], "fit": [], "fit, coded": []}
    for _ in range(args.repetitions):
        for _ in range(EAGER_STEPS):
            start = monotonic()
            recipe.step()
            seconds["eager float32"].append(monotonic() - start)
        seconds["fit"] += _steps(smooth, 0.0, args)
        seconds["fit, coded"] += _steps(smooth, 1e-9, args)
    medians = {name: median(found) for name, found in seconds.items()}
    figures = [
        Figure(name=f"{name}: samples a second", value=BATCH / found, note=f"{found:.4f} s a step")
        for name, found in medians.items()
    ]
    eager = medians["eager float32"]
    figures += [
        Figure(name="fit / eager", value=eager / medians["fit"], least=6.0),
        Figure(name="fit, coded / eager", value=eager / medians["fit, coded"]),
    ]
    return Section(figures, {"seconds": seconds})


def _steps(values: np.ndarray, rate: float, args: Namespace) -> list[float]:
    """Seconds of each step of a short fit, from the calls of its progress."""
    tile = tiles.tile(np.ones(values.shape, dtype=bool), Box((0, 0, 0), values.shape))
    assert tile is not None
    seen: list[tuple[float, float]] = []
    settings = loop.FitSettings(
        steps=OUR_STEPS, batch=BATCH, lmbda=rate, seed=args.seed, threads=args.threads
    )
    layout = Layout(LAYERS, WIDTH, OMEGA)
    with suppress(FitFailed):  # so few steps need not lead anywhere
        loop.fit(
            layout, [tile], [values.ravel()], settings, lambda _, share: seen.append((monotonic(), share))
        )
    pairs = [(a, b) for a, b in pairwise(seen) if a[1] < b[1]]
    return [(b[0] - a[0]) / round((b[1] - a[1]) * OUR_STEPS) for a, b in pairs]
