"""Train the latent grid of `latent_network.py` on low-res volumes; stopped, it goes on where it was.

    python benchmarks/latent_train.py VOLUME [VOLUME …] [--hold-out NAME …] --minutes M --state FILE.pt
        [--start FILE.safetensors] [--export FILE.safetensors] [--rate 1e-3] [--threads 1]

Volumes are read as the encoder reads them, clipped to 12 bits where they are CT (1 = 1 000 HU) and scaled to
their 99.5th percentile elsewhere, and down-sampled by several factors each.  Volumes whose name contains a
word of ``--hold-out`` are not trained on: PSNR and bytes are printed for them.  The loss is bits a voxel plus
the squared error in units of what a bit is worth at that step, of crops at random rates; crops are mirrored,
transposed, scaled and made noisy.  ``--state`` is written by `torch.save`, for one's own use; ``--export``
holds weights alone, the running mean, in half precision.
"""

import argparse
import copy
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

import numpy as np
import torch
from latent_network import MULTIPLE, LatentGrid, step_of
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from shared import CLIP

from inrcodec import Volume, io
from inrcodec.layers import resample
from inrcodec.volume.modality import with_modality

WORTH = 0.12  # squared error that a bit is worth, in squared steps
SHAPES = ((32, 48, 48), (16, 64, 64))  # of crops; where a volume has fewer slices, of the second shape
SLOWER = 0.5  # rate of the linear layers: what they see is not companded
WARM, END = 100, 0.03  # steps to the full rate, and the share of it at the end
PAIRS = 0.6  # share of the training after which a step sees two crops
SHARES = {
    4: 5.0,
    5: 3.0,
    3: 3.0,
    2: 1.0,
}  # weight of a volume by its in-plane factor, beside the root of its voxels
EVERY = 500  # steps between checkpoints
PEAK = 4.095  # of every PSNR
RATES = (-0.5, 0.0, 0.5)  # at which is measured

Values = NDArray[np.float32]


@dataclass(frozen=True)
class Material:
    """A low-res volume, its edges multiples of 16."""

    name: str
    factor: tuple[int, int, int]
    values: Values

    @property
    def weight(self) -> float:
        """How often it is drawn, beside others."""
        return SHARES[self.factor[1]] * math.sqrt(self.values.size)


def values_of(volume: Volume) -> Values:
    """Voxels as the networks see them: 1 000 HU are 1; MR from -1 to 0.5 at its 99.5th percentile."""
    voxels = volume.values().astype(np.float32)
    if with_modality(volume, None)[0].modality == "CT":
        return np.clip(voxels, *CLIP) / 1000
    return voxels / np.percentile(voxels, 99.5) * 1.5 - 1


def lowres(values: Values, factor: tuple[int, int, int]) -> Values:
    """Down-sampled as the encoder does."""
    low = resample.down(lambda z, rows: values[z, rows].astype(np.float64), values.shape, factor, threads=2)
    return low.astype(np.float32)


def padded(values: Values) -> Values:
    """The last voxel repeated, up to a multiple of 16 along each axis."""
    return np.pad(values, [(0, -n % MULTIPLE) for n in values.shape], mode="edge")


def factors_for(spacing: tuple[float, float, float]) -> list[tuple[int, int, int]]:
    """Factors that leave about cubic voxels, and finer ones."""
    ratio = spacing[0] / spacing[2]
    if ratio <= 2.1:
        return [(4, 4, 4), (3, 4, 4), (3, 3, 3), (2, 4, 4), (2, 2, 2), (1, 2, 2)]
    if ratio <= 4:
        return [(2, 4, 4), (1, 4, 4), (1, 3, 3), (2, 3, 3), (1, 2, 2)]
    return [(1, 4, 4), (1, 5, 5), (1, 3, 3), (1, 2, 2)]


def materials(paths: list[Path], held: list[str]) -> tuple[list[Material], list[Material]]:
    """Volumes to train on, and those that are held out."""
    seen: list[Material] = []
    kept: list[Material] = []
    for path in paths:
        volume = io.read(path)
        values, out = values_of(volume), any(word in path.name for word in held)
        for factor in factors_for(volume.spacing)[: 1 if out else None]:
            (kept if out else seen).append(Material(path.name, factor, padded(lowres(values, factor))))
        print(path.name, volume.shape, "held out" if out else "", flush=True)
    return seen, kept


def crops(seen: list[Material], rng: np.random.Generator) -> Iterator[Values]:
    """Crops without end; two in a row have the same shape."""
    weights = np.array([material.weight for material in seen])
    weights /= weights.sum()
    while True:
        shape = SHAPES[rng.integers(len(SHAPES))]
        for _ in range(2):
            yield _augmented(_crop(seen, weights, shape, rng), rng)


def _crop(
    seen: list[Material], weights: NDArray[np.float64], shape: tuple[int, ...], rng: np.random.Generator
) -> Values:
    while True:
        values = seen[rng.choice(len(seen), p=weights)].values
        if any(n < m for n, m in zip(values.shape, shape, strict=True)):
            continue
        first = [int(rng.integers(0, n - m + 1)) for n, m in zip(values.shape, shape, strict=True)]
        crop = values[tuple(slice(a, a + m) for a, m in zip(first, shape, strict=True))]
        if crop.std() >= 0.02 or rng.random() < 0.1:  # seldom air alone
            return crop


def _augmented(crop: Values, rng: np.random.Generator) -> Values:
    for axis in range(3):
        if rng.random() < 0.5:
            crop = np.flip(crop, axis)
    if rng.random() < 0.5:
        crop = crop.transpose(0, 2, 1)
    if rng.random() < 0.35:
        crop = (crop + 1) * float(np.exp(rng.normal() * 0.4)) - 1
    if rng.random() < 0.1:
        crop = crop + rng.normal(size=crop.shape) * rng.random() * 0.02
    if rng.random() < 0.05:
        crop = -crop
    return np.ascontiguousarray(crop, dtype=np.float32)


def loss_of(network: LatentGrid, x: torch.Tensor, rate: torch.Tensor) -> torch.Tensor:
    """Bits and squared error of each crop, about as a logarithm of them: rates count alike."""
    decoded, bits = network(x, rate, noise=True)
    worth = WORTH * step_of(rate).flatten() ** 2
    each = (bits.sum(1) + (decoded - x).square().sum((1, 2, 3, 4)) / worth) / x[0].numel()
    return (each / (each.detach() + 0.1)).mean()


def decibels(decoded: torch.Tensor, values: Values) -> float:
    """PSNR of a decoded batch of one, padded, at a peak of 4.095."""
    error = decoded[0, 0].numpy()[tuple(slice(0, n) for n in values.shape)] - values
    return 10 * math.log10(PEAK**2 / float(np.mean(error**2)))


def blocks_of(values: Values) -> tuple[int, ...]:
    """Blocks (z, y, x) of 4 voxels that are coded of a volume, which may be padded beyond them."""
    return tuple(-(-n // 4) for n in values.shape)


def score(network: LatentGrid, values: Values, rate: float) -> tuple[float, float]:
    """PSNR in dB, and bytes."""
    x = torch.tensor(padded(values))[None, None]
    with torch.no_grad():
        decoded, bits = network(x, torch.tensor([rate]), inside=blocks_of(values))
    return decibels(decoded, values), float(bits.sum()) / 8


class Training:
    """Networks, their running mean and the optimizer."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options, self.network = options, LatentGrid()
        if options.start:
            self.network.load_state_dict(load_file(options.start), strict=False)
        self.mean = copy.deepcopy(self.network).requires_grad_(False)
        linear = [p for name, p in self.network.named_parameters() if "linear" in name or "overlap" in name]
        slow = {id(p) for p in linear}
        others = [p for p in self.network.parameters() if id(p) not in slow]
        self.groups = (others, linear)
        self.adam = torch.optim.Adam(
            [{"params": others}, {"params": linear}], lr=options.rate, betas=(0.9, 0.98)
        )
        self.steps, self.seconds = 0, 0.0
        if options.state.exists():
            state = torch.load(options.state)
            self.network.load_state_dict(state["network"])
            self.mean.load_state_dict(state["mean"])
            self.adam.load_state_dict(state["adam"])
            self.steps, self.seconds = state["steps"], state["seconds"]
        self.network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]

    def step(self, x: torch.Tensor, rate: torch.Tensor, share: float) -> float:
        """One step; the loss."""
        down = END + (1 - END) * 0.5 * (1 + math.cos(math.pi * share))
        for group, factor in zip(self.adam.param_groups, (1.0, SLOWER), strict=True):
            group["lr"] = self.options.rate * down * factor * min(1, (self.steps + 1) / WARM)
        loss = loss_of(self.network, x, rate)
        self.adam.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        for parameters in self.groups:  # apart: the gradients of linear layers are far larger
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        self.adam.step()
        self.steps += 1
        decay = min(0.999, (self.steps + 1) / (self.steps + 50))
        with torch.no_grad():
            for mean, now in zip(self.mean.parameters(), self.network.parameters(), strict=True):
                mean.lerp_(now, 1 - decay)
        return float(loss.detach())

    def keep(self) -> None:
        """Write the state, whole or not at all."""
        part = self.options.state.with_suffix(".part")
        state = {"network": self.network.state_dict(), "mean": self.mean.state_dict()}
        state |= {"adam": self.adam.state_dict(), "steps": self.steps, "seconds": self.seconds}
        torch.save(state, part)
        os.replace(part, self.options.state)

    def export(self, path: Path) -> None:
        """Write the running mean in half precision; the DCT is made anew."""
        state = {k: v.half().contiguous() for k, v in self.mean.state_dict().items() if not k.endswith("dct")}
        save_file(state, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("volumes", nargs="+", type=Path)
    parser.add_argument("--hold-out", nargs="*", default=[])
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--start", type=Path)
    parser.add_argument("--export", type=Path)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    seen, kept = materials(options.volumes, options.hold_out)
    training = Training(options)
    rng = np.random.default_rng(options.seed + training.steps)
    supply, losses, before, began = crops(seen, rng), [], training.seconds, monotonic()
    while training.seconds < options.minutes * 60:
        share = training.seconds / (options.minutes * 60)
        drawn = [next(supply), next(supply)][: 1 if share < PAIRS else 2]
        rates = torch.tensor(rng.uniform(-1, 1, len(drawn)), dtype=torch.float32)
        losses.append(training.step(torch.tensor(np.stack(drawn))[:, None], rates, share))
        training.seconds = before + monotonic() - began
        if training.steps % EVERY == 0:
            print(f"{training.steps} steps, {training.seconds:.0f} s, loss {np.mean(losses[-EVERY:]):.4f}")
            for material in kept:
                told = (score(training.mean, material.values, rate) for rate in RATES)
                print("  ", material.name, *(f"{db:.2f} dB {size:.0f} B" for db, size in told), flush=True)
            training.keep()
    training.keep()
    if options.export:
        training.export(options.export)


if __name__ == "__main__":
    main()
