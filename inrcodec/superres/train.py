"""Train an SRDenseNet on volumes: ``python -m inrcodec.superres.train VOLUME… --out DIR``.

In: volumes that :func:`inrcodec.io.read` takes, and what real fits made of their low-res versions.
Out: ``DIR/ID.safetensors`` and ``DIR/ID.json``, the pair that :mod:`inrcodec.superres.registry` reads.
The one law: resumable and seeded; nothing is unpickled.
"""

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from math import cos, log10, pi
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor

from inrcodec import io, lanczos
from inrcodec.superres import degrade
from inrcodec.superres.network import Architecture, SRDenseNet
from inrcodec.volume import Volume

Float32 = NDArray[np.float32]

WINDOW = (-1024.0, 3071.0)  # HU that map to -1 and +1: 12-bit CT, whatever the scan at hand holds
BORDER = 2  # low-res voxels at the rim of a patch that see padding instead of data: not in the loss
IMITATED = 0.3  # share of patches whose error is imitated on top of what they are


@dataclass(frozen=True)
class Material:
    """One low-res version of one volume; all arrays float32 in [-1, 1], tensors on the CPU."""

    name: str
    low: Tensor  # (z, y, x)
    target: Tensor  # (z*fz, y*fy, x*fx): full-res minus the Lanczos up-sampling of ``low``
    places: Tensor  # (n, 3): low-res voxels where something is


@dataclass(frozen=True)
class Fits:
    """Which real fits to train on: one for each width, kept in a folder; offsets to HU by file name."""

    folder: Path
    widths: list[int]
    steps: int
    offsets: dict[str, float]


def load(path: Path, factor: tuple[int, int, int], fits: Fits) -> list[Material]:
    """The clean low-res version of a volume, and what files of it decode to."""
    volume = windowed(io.read(path), factor, fits.offsets.get(path.name, 0.0))
    full = to_unit(volume.array)
    versions = [lanczos.down(lambda z, rows: full[z, rows].astype(np.float64), full.shape, factor)]
    for width in fits.widths:
        kept = fits.folder / f"{path.name}.{'x'.join(map(str, factor))}.w{width}.s{fits.steps}.npy"
        if not kept.exists():
            np.save(kept, degrade.decoded(volume, factor, width, fits.steps).astype(np.float32))
            print(f"fitted {kept.name}", flush=True)
        versions.append(to_unit(np.load(kept)).astype(np.float64))
    return [_material(path.name, full, low, factor) for low in versions]


def windowed(volume: Volume, factor: tuple[int, int, int], offset: float = 0.0) -> Volume:
    """Whole low-res voxels only, in HU, clipped to the window: padding and metal are no training material.

    ``offset`` is added to values that are not in HU, such as raw scanner units.
    """
    inside = tuple(slice(n // f * f) for n, f in zip(volume.shape, factor, strict=True))
    hu = volume.array[inside] * volume.rescale[0] + volume.rescale[1]
    array = np.clip(np.rint(hu + offset), *WINDOW).astype(np.int16)
    return Volume(array, volume.affine, modality="CT", unit="HU")


def to_unit(hu: NDArray[np.generic]) -> Float32:
    """HU to [-1, 1] by the window."""
    low, high = WINDOW
    return (np.clip(hu.astype(np.float32), low, high) - low) * np.float32(2 / (high - low)) - np.float32(1)


def _material(name: str, full: Float32, low: NDArray[np.float64], factor: tuple[int, int, int]) -> Material:
    low = low[tuple(slice(n // f) for n, f in zip(full.shape, factor, strict=True))]
    target = np.empty_like(full)
    for z in range(0, full.shape[0], 16):
        stop = min(z + 16, full.shape[0])
        target[z:stop] = full[z:stop] - lanczos.up(low, factor, full.shape, z, stop)
    inner = low[BORDER:-BORDER, BORDER:-BORDER, BORDER:-BORDER]
    places = np.argwhere(np.abs(inner + 1) > 0.015) + BORDER
    return Material(
        name, torch.from_numpy(low.astype(np.float32)), torch.from_numpy(target), torch.from_numpy(places)
    )


class Patches:
    """Random augmented patches: (batch, 1, *low) and (batch, 1, *high) residual targets."""

    def __init__(
        self, material: list[Material], arch: Architecture, size: tuple[int, int, int], seed: int
    ) -> None:
        self.material, self.arch, self.size = material, arch, size
        self.generator = torch.Generator().manual_seed(seed)
        self.up = [torch.from_numpy(_up_matrix(n, f)) for n, f in zip(size, arch.factor, strict=True)]
        weights = torch.tensor([float(len(m.places)) for m in material])
        self.weights = weights.sqrt()  # a large volume counts more, but not in proportion

    def draw(self, batch: int) -> tuple[Tensor, Tensor]:
        pairs = [self._one() for _ in range(batch)]
        low = torch.stack([p[0] for p in pairs])[:, None]
        target = torch.stack([p[1] for p in pairs])[:, None]
        share = torch.rand(batch, generator=self.generator)
        strength = torch.rand(batch, generator=self.generator) * (share < IMITATED)
        if bool(strength.any()):
            error = degrade.imitate(low, 1.0, self.generator) * strength[:, None, None, None, None]
            low = low + error
            up_z, up_y, up_x = self.up
            wide = up_y @ error @ up_x.T
            target = target - torch.einsum("az,nizyx->niayx", up_z, wide)
        return low, target

    def _one(self) -> tuple[Tensor, Tensor]:
        m = self.material[int(torch.multinomial(self.weights, 1, generator=self.generator))]
        place = m.places[self._integer(len(m.places))]
        corner = [
            min(max(int(p) - n // 2, 0), full - n)
            for p, n, full in zip(place, self.size, m.low.shape, strict=True)
        ]
        low = m.low[tuple(slice(c, c + n) for c, n in zip(corner, self.size, strict=True))]
        spans = zip(corner, self.size, self.arch.factor, strict=True)
        target = m.target[tuple(slice(c * f, (c + n) * f) for c, n, f in spans)]
        flips = [axis for axis in range(3) if self._integer(2)]
        low, target = low.flip(flips), target.flip(flips)
        return (low.mT, target.mT) if self._integer(2) else (low, target)

    def _integer(self, below: int) -> int:
        return int(torch.randint(below, (1,), generator=self.generator))


def _up_matrix(n: int, factor: int) -> Float32:
    identity = np.eye(n)[:, :, None]
    return lanczos.up(identity, (factor, 1, 1), (n * factor, n, 1))[:, :, 0].astype(np.float32)


class Run:
    """A training run: network, Adam, running average of the weights, step count; saved as safetensors."""

    def __init__(self, arch: Architecture, rate: float) -> None:
        self.network = SRDenseNet(arch).to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        self.average = {k: v.detach().clone() for k, v in self.network.state_dict().items()}
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=rate, betas=(0.9, 0.99))
        self.rate, self.steps = rate, 0

    def step(self, low: Tensor, target: Tensor, schedule: float) -> float:
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate * schedule
        low = low.to(memory_format=torch.channels_last_3d)
        with torch.autocast(low.device.type, dtype=torch.bfloat16):
            out = self.network(low)
        inside = (..., *(slice(BORDER * f, -BORDER * f) for f in self.network.arch.factor))
        loss = (out.float() - target)[inside].square().mean()
        self.optimizer.zero_grad()
        (loss * 1000).backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.step()
        self.steps += 1
        keep = min(0.999, self.steps / (self.steps + 10))
        with torch.no_grad():
            for k, v in self.network.state_dict().items():
                self.average[k].lerp_(v, 1 - keep)
        return float(loss.detach())

    def save(self, path: Path) -> None:
        tensors = {f"network.{k}": v for k, v in self.network.state_dict().items()}
        tensors |= {f"average.{k}": v for k, v in self.average.items()}
        for i, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"adam.{i}.{k}": torch.as_tensor(v) for k, v in state.items()}
        tensors["steps"] = torch.tensor(self.steps)
        save_file({k: v.contiguous() for k, v in tensors.items()}, path)

    def load(self, path: Path) -> None:
        tensors = load_file(path)

        def part(name: str) -> dict[str, Tensor]:
            return {k[len(name) :]: v for k, v in tensors.items() if k.startswith(name)}

        self.network.load_state_dict(part("network."))
        self.average = part("average.")
        state = self.optimizer.state_dict()
        states: dict[int, dict[str, Tensor]] = {}
        for key, value in part("adam.").items():
            index, name = key.split(".", 1)
            states.setdefault(int(index), {})[name] = value
        self.optimizer.load_state_dict(state | {"state": states})
        self.steps = int(tensors["steps"])


@torch.no_grad()
def gain(weights: dict[str, Tensor], arch: Architecture, material: Material) -> float:
    """dB over Lanczos on the material's middle slices (float32, where something is)."""
    network = SRDenseNet(arch)
    network.load_state_dict(weights)
    middle = material.low.shape[0] // 2
    slices = slice(max(0, middle - 6), middle + 6)
    low = material.low[slices]
    target = material.target[slices.start * arch.factor[0] : (slices.start + low.shape[0]) * arch.factor[0]]
    left = target - network(low[None, None])[0, 0]
    inside = slice(2 * arch.factor[0], -2 * arch.factor[0])
    return 10 * log10(float(target[inside].square().mean() / left[inside].square().mean()))


def train(run: Run, patches: Patches, held_out: list[Material], args: argparse.Namespace) -> None:
    """Cosine schedule over the steps or the minutes, whichever ends first; a checkpoint every few minutes."""
    start = saved = time.monotonic()
    first, mean = run.steps, 0.0
    checkpoint = args.out / f"{args.id}.checkpoint.safetensors"
    while True:
        elapsed = time.monotonic() - start
        progress = max((run.steps - first) / args.steps, elapsed / (60 * args.minutes))
        if progress >= 1:
            break
        schedule = min(1.0, (run.steps - first + 1) / 200) * (0.5 * (1 + cos(pi * progress)) * 0.99 + 0.01)
        mean += (run.step(*patches.draw(args.batch), schedule) - mean) * (0.01 if run.steps > 100 else 0.1)
        if run.steps % args.report == 0:
            gains = ", ".join(f"{gain(run.average, run.network.arch, m):+.2f}" for m in held_out)
            print(
                f"{run.steps:7d} {elapsed:6.0f} s  loss {mean * 1e4:.3f}e-4  held out {gains} dB", flush=True
            )
        if time.monotonic() - saved > 120:
            run.save(checkpoint)
            saved = time.monotonic()
    run.save(checkpoint)


def publish(run: Run, args: argparse.Namespace, names: list[str]) -> None:
    """Weights (the running average, float32) and the manifest."""
    weights = args.out / f"{args.id}.safetensors"
    save_file({k: v.contiguous() for k, v in run.average.items()}, weights)
    manifest = {
        "id": args.id,
        "modality": "CT",
        "window": list(WINDOW),
        "sha256": sha256(weights.read_bytes()).hexdigest(),
        "architecture": asdict(run.network.arch),
        "steps": run.steps,
        "fits": {"widths": args.widths, "steps": args.fit_steps},
        "trained_on": sorted(set(names)),
        "held_out": sorted(path.name for path in args.held_out),
    }
    (args.out / f"{args.id}.json").write_text(json.dumps(manifest, indent=2) + "\n")


def main(argv: Sequence[str] | None = None) -> None:
    p = argparse.ArgumentParser(prog="python -m inrcodec.superres.train", description=__doc__.splitlines()[0])
    p.add_argument("volumes", nargs="+", type=Path, help="training volumes, anything that inrv-enc reads")
    p.add_argument(
        "--held-out", nargs="*", type=Path, default=[], help="volumes to report on, never trained on"
    )
    p.add_argument("--widths", nargs="*", type=int, default=[24, 32, 40], help="of the real fits to train on")
    p.add_argument("--offset", nargs="*", default=[], metavar="NAME=HU", help="of volumes that are not in HU")
    p.add_argument("--fit-steps", type=int, default=3000, help="of those fits")
    p.add_argument("--factor", nargs=3, type=int, default=(4, 4, 4), metavar=("Z", "Y", "X"))
    p.add_argument("--id", required=True, help="model ID, the name of the two files")
    p.add_argument("--out", type=Path, required=True)
    p.add_argument("--steps", type=int, default=20_000)
    p.add_argument("--minutes", type=float, default=60)
    p.add_argument("--batch", type=int, default=4)
    p.add_argument("--patch", nargs=3, type=int, default=(16, 24, 24), help="low-res voxels")
    p.add_argument("--rate", type=float, default=2e-3)
    p.add_argument("--report", type=int, default=500)
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--resume", type=Path, help="checkpoint to go on from")
    args = p.parse_args(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(args.seed)
    arch = Architecture(factor=tuple(args.factor))

    offsets = {name: float(value) for name, _, value in (entry.rpartition("=") for entry in args.offset)}
    fits = Fits(args.out, args.widths, args.fit_steps, offsets)

    def material(paths: list[Path]) -> list[Material]:
        return [m for path in paths for m in load(path, arch.factor, fits)]

    training = material(args.volumes)
    run = Run(arch, args.rate)
    if args.resume:
        run.load(args.resume)
    seed = args.seed + run.steps
    train(run, Patches(training, arch, tuple(args.patch), seed), material(args.held_out), args)
    publish(run, args, [m.name for m in training])


if __name__ == "__main__":
    main()
