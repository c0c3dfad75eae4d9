"""Iterative back-projection: a low-res volume to fit to that is better after up-sampling.

In: a plan.  Out: the plan with another low-res volume to fit to.
Invariant: only what the decoder will see counts: padding, and what it clips, does not.

Down-sampling and up-sampling are not made for each other: a low-res volume that is a little sharper than the
plain one gives a better full-res volume, with a super-resolution network or with Lanczos alone.  Half the
squared error after up-sampling has a gradient, the error taken back through the network and through the
adjoint of Lanczos; one step against it gains most of what there is to gain (iterative back-projection, Irani
and Peleg 1991, with the network in the loop).

The volume is processed in the decoder's blocks, one layer after another; nothing of full resolution is held
but the blocks that are computed.  A block is computed on one thread, and blocks are added up in their order.
A preset may have the model computed in bfloat16, where the processor has that: in less than half the time,
for some bytes (`presets.Settings.rounded`).
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from math import inf, prod
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from inrcodec import parallel
from inrcodec.encoder import planner
from inrcodec.encoder.plan import Plan
from inrcodec.format.header import Header
from inrcodec.layers import resample
from inrcodec.layers.superres import registry, upsampler
from inrcodec.layers.superres.network import NATIVE_BFLOAT16
from inrcodec.layers.superres.upsampler import Place
from inrcodec.layers.upsample import noise_of, span_of, window_of, with_noise
from inrcodec.progress import Progress
from inrcodec.volume.arrays import Array, Bool, Float
from inrcodec.volume.volume import Volume

STAGE = "project"
# Of the gradient over the voxels that a low-res voxel stands for.
STEP = 0.3  # 6 kB of an ankle: 34.86 dB without, 35.09 at 0.2, 35.19 at 0.3, 35.02 at 0.5
STEP_PLAIN = 1.0  # Lanczos alone, 6 kB of a chest: 33.91 dB without, 34.02 at 0.5, 34.09 at 1


# Of the error before the step, about: 0.76 to 0.92 in seven of eight, four training volumes on two grids.
LEFT = 0.87


class Projected(NamedTuple):
    """A low-res volume to fit to."""

    values: Float  # (z, y, x), in [-1, 1]
    error: float  # mean squared, of all full-res voxels in unit values, that a perfect fit leaves, about


class Slope(NamedTuple):
    """Half the squared error, in unit values, and how it changes with the low-res volume."""

    squared: float  # the whole error of all blocks
    judged: float  # where no error counts for more than a cap
    plain: float  # the same of Lanczos without the model
    gradient: Array  # (z, y, x)


def project(plan: Plan, progress: Progress | None = None, *, share: float = 1.0) -> Plan:
    """The plan with a low-res volume to fit to that is better after up-sampling, if ``through_sr`` is set.

    Without the model, and with a notice, where the model is no gain on this volume.

    Parameters
    ----------
    share : of a step.
    """
    if not plan.options.through_sr:
        return plan
    facts, low, options = plan.facts, plan.lowres, plan.options
    decoded = np.where(low.active, low.values.clip(-1, 1), low.background)
    assert plan.coding is not None
    header = with_noise(plan.header, plan.coding.expected_error(plan))
    step = partial(
        projected, facts.volume, low=decoded, active=low.active, threads=options.threads, progress=progress
    )
    half = (facts.span.high - facts.span.low) / 2
    cap = facts.cap if options.psnr is None else inf
    found = step(header, rounded=options.rounded, cap=cap / (half or 1.0), share=share)
    if found is None:
        notice = f"model {plan.header.sr!r} is no gain on this volume: Lanczos is used"
        plan = planner.without_model(plan)
        plan = replace(plan, notices=(*plan.notices, notice))
        found = step(plan.header, share=share)
    assert found is not None
    return replace(plan, lowres=replace(low, projected=found.values), grid_error=found.error)


def projected(
    volume: Volume,
    header: Header,
    low: Float,
    active: Bool,
    *,
    rounded: bool = False,
    cap: float = inf,
    share: float = 1.0,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Projected | None:
    """A low-res volume in [-1, 1], one step against the gradient of the error after up-sampling.

    ``None`` where Lanczos alone is nearer than the model, which is then of no use for this volume.

    Parameters
    ----------
    header : with the model, the range and the factor of the file.
    low : (z, y, x), in [-1, 1]; what the decoder would have without any error of the networks.
    active : (z, y, x); all other voxels stay as they are.
    rounded : whether the model may be computed in bfloat16.
    cap : unit value that no error counts for more than where the model is judged.
    share : of a step.
    """
    if header.low == header.high or prod(header.factor) == 1 or not active.any():
        return Projected(low, 0.0)
    dtype = torch.bfloat16 if rounded and NATIVE_BFLOAT16 else torch.float32
    found = _Upsampled(volume, header, active, dtype, cap).slope(
        low, parallel.thread_count(threads), progress
    )
    if header.sr != registry.LANCZOS and not found.judged < found.plain:
        return None
    step = share * (STEP_PLAIN if header.sr == registry.LANCZOS else STEP)
    nearer = np.clip(low - found.gradient * (step / prod(header.factor)), -1, 1)
    return Projected(np.where(active, nearer, low), LEFT * found.squared / volume.array.size)


class _Upsampled:
    """The decoder's up-sampling, with its derivative, against the source."""

    def __init__(
        self,
        volume: Volume,
        header: Header,
        active: Bool,
        dtype: torch.dtype = torch.float32,
        cap: float = inf,
    ) -> None:
        self.volume, self.header, self.active = volume, header, active
        self.span, self.window = span_of(header), window_of(header)
        self.network, self.dtype, self.cap = None, dtype, cap
        if header.sr != registry.LANCZOS:
            network = registry.load(header.sr, header.sr_sha256)
            self.network = upsampler.laid_out(network, "cpu").to(self.dtype)

    def slope(self, low: Float, threads: int, progress: Progress | None = None) -> Slope:
        """Of all blocks."""
        gradient, sums = np.zeros(low.shape), np.zeros(3)
        with parallel.single_threaded(threads) as pool:
            for z in upsampler.spans_of(len(low)):
                places = upsampler.places_of(self.active, z)
                found = pool(partial(self._block, low), places)
                for place, block in zip(places, found, strict=True):
                    sums += block.squared, block.judged, block.plain
                    gradient[self._seen(place)] += block.gradient
                if progress:
                    progress(STAGE, min(z.stop / len(low), 1.0))
        squared, judged, plain = map(float, sums)
        return Slope(squared, judged, plain, gradient)

    def _block(self, low: Float, place: Place) -> Slope:
        """Of one block, by all that it sees."""
        source, counts = self._source(place)
        with torch.enable_grad():
            x = torch.from_numpy(low[self._seen(place)].astype(np.float32)).requires_grad_()
            decoded = self._lanczos(x, place)
            plain = self._judged((decoded.detach().clamp(-1, 1) - source) * counts)
            if self.network is not None:
                z, y, x_ = (slice(n) for n in decoded.shape)  # the last block may reach beyond the volume
                decoded = decoded + self._residual(x, place)[z, y, x_]
            decoded = decoded.clamp(-1, 1)
            error = (decoded.detach() - source) * counts
            (gradient,) = torch.autograd.grad(decoded, x, error)
        squared = float(error.square().sum(dtype=torch.float64))
        return Slope(squared, self._judged(error), plain, gradient.numpy())

    def _judged(self, error: Tensor) -> float:
        return float(error.clamp(-self.cap, self.cap).square().sum(dtype=torch.float64))

    def _seen(self, place: Place) -> tuple[slice, ...]:
        """The low-res voxels that a block is made of: the reach of Lanczos, which is wider than the halo."""
        return tuple(
            slice(max(0, part.start - resample.LOBES), min(n, part.stop + resample.LOBES))
            for part, n in zip(place, self.active.shape, strict=True)
        )

    def _full(self, place: Place) -> tuple[slice, ...]:
        """The full-res voxels of a block."""
        axes = zip(place, self.header.factor, self.volume.shape, strict=True)
        return tuple(slice(part.start * f, min(part.stop * f, n)) for part, f, n in axes)

    def _source(self, place: Place) -> tuple[Tensor, Tensor]:
        """The source's unit values of a block, and which of them are no padding."""
        stored = self.volume.array[self._full(place)]
        padding = self.volume.padding
        counts = np.ones(stored.shape, np.bool_) if padding is None else np.asarray(stored != padding)
        return torch.from_numpy(self.span.to_unit(stored).astype(np.float32)), torch.from_numpy(counts)

    def _lanczos(self, x: Tensor, place: Place) -> Tensor:
        axes = zip(self.active.shape, self.header.factor, self.volume.shape, strict=True)
        parts = zip(axes, self._full(place), self._seen(place), strict=True)
        z, y, x_ = (
            torch.from_numpy(resample.matrix_up(*axis, rows, columns).astype(np.float32))
            for axis, rows, columns in parts
        )
        up: Tensor = torch.tensordot(z, y @ (x @ x_.T), 1)
        return up

    def _residual(self, x: Tensor, place: Place) -> Tensor:
        """What the network adds, in unit values."""
        assert self.network is not None
        low, high = self.window
        inside = ((x - low) * (2 / (high - low)) - 1).clamp(-1, 1)
        halo = upsampler.halo_of(self.network)
        for axis, (part, h, n) in enumerate(zip(place, halo, self.active.shape, strict=True)):
            index = torch.arange(part.start - h, part.stop + h).clamp(0, n - 1)
            inside = inside.index_select(axis, index - self._seen(place)[axis].start)
        noise, ensemble = noise_of(self.header), self.header.sr_ensemble
        residual = upsampler.residual_of(self.network, inside.to(self.dtype), noise, ensemble)
        return residual.float() * ((high - low) / 2)
