"""A latent grid under shared networks, in floats: what is trained, and then frozen to integers.

In: a low-res volume (batch, 1, z, y, x), 1 = 1 000 HU, edges multiples of 16; a rate in [-1, 1].
Out: the decoded volume, and the bits of its latents.
Invariant: 64 latents for each block of 4 x 4 x 4 voxels, as many as there are voxels.

transform   the DCT of a block and an overlap of neighbouring blocks, learned; the synthesis mirrors it, with
            a residual network of sine units beside it.  Networks see values in quantisation steps, companded,
            so that one network serves all steps
level       means of 16, 8 and 4 voxels come first, each as a residual to the trilinear interpolation of those
            before it
context     mean and scale of the logistic distribution of each latent: from hyper-latents at a stride of
            8 voxels, from the channels before it, and from the other half of a checkerboard (He et al., ELIC,
            CVPR 2022)
rate        the step, from 60 to 1 200 HU; gains of the channels and of hidden maps depend on it
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import log

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from inrcodec.training.latent.grids import (
    CHANNELS,
    amplitude,
    bits_of,
    checkerboard,
    convolution,
    dct_basis,
    doubled,
    mean_around,
    slopes,
    straight_through,
    to_channels,
    to_voxels,
)

HYPER = 12  # channels of the hyper-latents
GROUPS = (1, 3, 8, 16, 36)  # channels that are coded together: the level, slopes, higher frequencies
DEEP = (2, 2, 1, 1, 1)  # phases of each group before which its maps pass a residual block
NEAREST = 12  # channels that contexts also see relative to their amplitude
STEPS = log(0.06), log(1.2)  # logarithm of the quantisation step at rates -1 and 1
MULTIPLE, BLOCK = 16, 4  # voxels: edges of a volume are multiples; of a block
SPATIAL = (..., None, None, None)
Quantizer = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Sizes:
    """Numbers of maps and layers.

    Attributes
    ----------
    wide, fine, features, body : maps at a stride of 4 voxels, of 2 voxels, of the hyper-decoder, and within
        the residual blocks of contexts.
    coarse_blocks, fine_blocks : residual blocks of the synthesis at these strides.
    """

    wide: int
    fine: int
    features: int
    body: int
    coarse_blocks: int = 4
    fine_blocks: int = 4

    @classmethod
    def of_maps(cls, wide: int) -> Sizes:
        """Those that go with a number of the widest maps."""
        return cls(wide, wide // 3, wide // 2, wide * 2 // 3)

    @classmethod
    def of(cls, weights: Mapping[str, Tensor]) -> Sizes:
        """Those of trained weights; raises `LookupError` where they are of other networks."""
        biases = {n: bias for n, bias in weights.items() if n.endswith(".linear_neighbours.bias")}
        groups = sorted(len(bias) for name, bias in biases.items() if name.startswith("contexts."))
        if groups != sorted(GROUPS):
            raise LookupError(f"groups of {groups} channels, not of {GROUPS}")
        blocks = [
            len({name.split(".")[2] for name in weights if name.startswith(f"synthesis.{part}.")})
            for part in ("coarse", "fine")
        ]
        layers = ("synthesis.enter", "synthesis.beside", "hints_out", "contexts.0.bodies.0.first")
        return cls(*(len(weights[f"{name}.bias"]) for name in layers), *blocks)


class Modulation(nn.Module):
    """Gain and offset of each map, by the rate."""

    def __init__(self, maps: int) -> None:
        super().__init__()
        self.gain, self.offset = (nn.Parameter(torch.zeros(2, maps)) for _ in range(2))

    def forward(self, x: Tensor, rate: Tensor) -> Tensor:
        powers = torch.stack([rate, rate * rate], 1)
        return x * (1 + (powers @ self.gain)[SPATIAL]) + (powers @ self.offset)[SPATIAL]


class Residual(nn.Module):
    """Two convolutions beside the identity."""

    def __init__(self, maps: int, unit: Quantizer) -> None:
        super().__init__()
        self.first, self.second = convolution(maps, maps), convolution(maps, maps, scale=0.3)
        self.modulation, self.unit = Modulation(maps), unit

    def forward(self, x: Tensor, rate: Tensor) -> Tensor:
        result: Tensor = x + self.second(self.unit(self.modulation(self.first(x), rate)))
        return result


def standing_out(x: Tensor, step: Tensor) -> Tensor:
    """Of 8 channels at a stride of 2: what stands out of its surroundings, in steps, companded; and those."""
    around = mean_around(x.mean(1, keepdim=True))
    return torch.cat([torch.asinh((x - around) / step), around], 1)


class Analysis(nn.Module):
    """A volume to latents in steps: linear; a residual network beside it found nothing to do."""

    dct: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("dct", dct_basis()[SPATIAL], persistent=False)
        self.overlap = convolution(CHANNELS, CHANNELS, scale=0.0)

    def forward(self, x: Tensor, step: Tensor) -> Tensor:
        blocks = F.conv3d(to_channels(x, 4), self.dct) / step
        flat = torch.cat([blocks[:, :1] - mean_around(blocks[:, :1]), blocks[:, 1:]], 1)
        result: Tensor = blocks + self.overlap(flat)
        return result


class Synthesis(nn.Module):
    """Latents in steps to a volume; ``flat`` are they less the ``level`` that was decoded before them."""

    dct: Tensor

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        # Channels of a stride of 2 and, within them, of one of 4, as to_voxels takes them in turn.
        order = torch.arange(CHANNELS).reshape([2] * 6).permute(1, 3, 5, 0, 2, 4).flatten()
        self.register_buffer("dct", dct_basis().T[order][SPATIAL], persistent=False)
        self.overlap = convolution(CHANNELS, CHANNELS, scale=0.0)
        wide, fine = sizes.wide, sizes.fine
        self.enter = convolution(CHANNELS + 1, wide)
        self.coarse = nn.ModuleList(Residual(wide, torch.sin) for _ in range(sizes.coarse_blocks))
        self.narrow, self.beside = convolution(wide, fine * 8, 1), convolution(9, fine)
        self.fine = nn.ModuleList(Residual(fine, torch.sin) for _ in range(sizes.fine_blocks))
        self.out = convolution(fine, 8, scale=0.1)

    def forward(self, latents: Tensor, flat: Tensor, level: Tensor, rate: Tensor, step: Tensor) -> Tensor:
        blocks = latents + self.overlap(torch.cat([flat[:, :1], latents[:, 1:]], 1))
        plain = to_voxels(F.conv3d(blocks * step, self.dct), 2)
        maps = self.enter(torch.cat([torch.asinh(flat), level * step / 8], 1))
        for layer in self.coarse:
            maps = layer(maps, rate)
        maps = to_voxels(self.narrow(maps), 2) + self.beside(standing_out(plain, step))
        for layer in self.fine:
            maps = layer(maps, rate)
        return to_voxels(plain + step * self.out(maps), 2)


class Body(nn.Module):
    """What is added to the maps of a context: two convolutions of what is above 0 of them."""

    def __init__(self, wide: int, maps: int) -> None:
        super().__init__()
        self.first, self.second = convolution(wide, maps), convolution(maps, wide, scale=0.0)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.second(F.relu(self.first(F.relu(x))))
        return result


class Context(nn.Module):
    """Mean and logarithmic scale of a group of channels, in the two phases of a checkerboard.

    Means are linear in what is known, and non-linear in it relative to its amplitude: large edges are
    predicted as well as small ones.
    """

    def __init__(
        self, wide: int, before: int, count: int, features: int, linear: int = 0, bodies: Sequence[int] = ()
    ) -> None:
        super().__init__()
        self.count = count
        self.bodies = nn.ModuleList(Body(wide, maps) for maps in bodies)
        hints = features + linear
        self.channels = convolution(before + min(before, NEAREST), wide, scale=0.5) if before else None
        self.neighbours = convolution(count + min(count, NEAREST), wide, scale=0.5)
        self.features = convolution(hints, wide, 1) if hints else None
        self.linear_neighbours = convolution(count, count, scale=0.0)
        self.linear_channels = convolution(before + linear, count, scale=0.0) if before + linear else None
        self.phase, self.rate = nn.Parameter(torch.zeros(2, wide)), nn.Parameter(torch.zeros(2, wide))
        self.hidden = convolution(wide, wide, 1, scale=1.4)
        self.out = convolution(wide, 3 * count, 1, scale=0.1)
        assert self.out.bias is not None
        nn.init.constant_(self.out.bias[count : 2 * count], 0.5)

    def forward(
        self,
        values: Tensor,
        known: Tensor | None,
        features: Tensor | None,
        linear: Tensor | None,
        rate: Tensor,
        quantize: Quantizer,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Decoded values, means and logarithmic scales of a group.

        Parameters
        ----------
        known : channels that were decoded before.
        features : of the hyper-latents.
        linear : slopes of the level.
        """
        even = checkerboard(values.shape[2:], values.device)
        hidden = values.new_zeros(len(values), len(self.rate[0]), *values.shape[2:])
        linear_mean = torch.zeros_like(values)
        scale = torch.ones_like(even) if linear is None else amplitude(linear, *_first(known))
        if self.channels is not None:
            assert known is not None
            hidden = hidden + self.channels(torch.cat([torch.asinh(known), known[:, :NEAREST] / scale], 1))
        if self.features is not None:
            assert linear is not None
            hints = [linear / scale] if features is None else [features, linear / scale]
            hidden = hidden + self.features(torch.cat(hints, 1))
        if self.linear_channels is not None:
            linear_mean = linear_mean + self.linear_channels(_joined(known, linear))
        hidden = self._deeper(hidden, rate, 0)
        mean, log_scale = self._distribution(hidden, linear_mean, scale, rate, 0)
        decoded = (quantize(values - mean) + mean) * even
        near = amplitude(decoded[:, :NEAREST])
        relative = near if linear is None else scale + near - 1
        scale = scale if linear is None else relative
        hidden = hidden + self.neighbours(
            torch.cat([torch.asinh(decoded), decoded[:, :NEAREST] / relative], 1)
        )
        linear_mean = linear_mean + self.linear_neighbours(decoded)
        hidden = self._deeper(hidden, rate, 1)
        mean_odd, log_scale_odd = self._distribution(hidden, linear_mean, scale, rate, 1)
        decoded = decoded + (quantize(values - mean_odd) + mean_odd) * (1 - even)
        return decoded, torch.lerp(mean_odd, mean, even), torch.lerp(log_scale_odd, log_scale, even)

    def _distribution(
        self, hidden: Tensor, linear_mean: Tensor, scale: Tensor, rate: Tensor, phase: int
    ) -> tuple[Tensor, Tensor]:
        maps = F.relu(hidden + self._offset(rate, phase))
        mean, log_scale, relative = self.out(F.relu(self.hidden(maps))).float().split(self.count, 1)
        return linear_mean + mean + scale * relative * 0.3, log_scale

    def _deeper(self, hidden: Tensor, rate: Tensor, phase: int) -> Tensor:
        if phase >= len(self.bodies):
            return hidden
        added: Tensor = self.bodies[phase](hidden + self._offset(rate, phase))
        return hidden + added

    def _offset(self, rate: Tensor, phase: int) -> Tensor:
        by_rate = torch.stack([rate, rate * rate], 1) @ self.rate
        return self.phase[phase][:, None, None, None] + by_rate[SPATIAL]


def _first(known: Tensor | None) -> list[Tensor]:
    return [] if known is None else [known[:, :NEAREST]]


def _joined(*parts: Tensor | None) -> Tensor:
    return torch.cat([part for part in parts if part is not None], 1)


class LatentGrid(nn.Module):
    """The whole codec, but for the range coder: bits are those of the distributions."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        wide, features = sizes.wide, sizes.features
        self.analysis, self.synthesis = Analysis(), Synthesis(sizes)
        self.gains, self.hyper_gains = (nn.Parameter(torch.zeros(2, n)) for n in (CHANNELS, HYPER))
        nn.init.constant_(self.hyper_gains[0, :1], 0.35)
        self.hyper_in, self.hyper_modulation = convolution(CHANNELS, features), Modulation(features)
        self.hyper_down = convolution(features * 8, wide, 1)
        self.hyper_out = convolution(wide, HYPER, scale=0.5)
        self.hints_in, self.hints_up = convolution(HYPER, wide), convolution(wide, features * 8, 1)
        self.hints_out = convolution(features, features)
        self.level_context, self.hyper_context = Context(wide, 0, 1, 0), Context(wide, 0, HYPER, 0, 3)
        before = [sum(GROUPS[:k]) for k in range(len(GROUPS))]
        self.contexts = nn.ModuleList(
            Context(wide, n, count, features, 3, [sizes.body] * deep)
            for n, count, deep in zip(before, GROUPS, DEEP, strict=True)
        )
        with torch.no_grad():  # the second half of the coarsest level begins as the mean of its neighbours
            middle = self.level_context.linear_neighbours.weight[0, 0]
            for place in ((0, 1, 1), (2, 1, 1), (1, 0, 1), (1, 2, 1), (1, 1, 0), (1, 1, 2)):
                middle[place] = 1 / 6
            assert self.level_context.out.bias is not None
            self.level_context.out.bias[1:2] = 3.0

    def forward(
        self,
        x: Tensor,
        rate: Tensor,
        *,
        noise: torch.Generator | None = None,
        inside: tuple[int, ...] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """The decoded volume, and bits (batch, 2 + groups) of the level, the hyper-latents and each group.

        Parameters
        ----------
        rate : (batch,), in [-1, 1].
        noise : bits are those of uniform noise instead of rounding, for training.
        inside : blocks (z, y, x) that are coded, where the volume was padded.
        """
        latents = self.analyzed(x, rate)
        hyper = self.hyper(latents, rate)
        flat, level, bits = self.code(latents, hyper, rate, straight_through, noise, inside)
        return self.synthesized(flat, level, rate), bits

    def analyzed(self, x: Tensor, rate: Tensor) -> Tensor:
        """Latents in steps, (batch, 64, z / 4, y / 4, x / 4)."""
        latents: Tensor = self.analysis(x + 1, step_of(rate)) / _gains(self.gains, rate)
        return latents

    def synthesized(self, flat: Tensor, level: Tensor, rate: Tensor) -> Tensor:
        """The volume of decoded latents less their level, and that level."""
        gains = _gains(self.gains, rate)
        decoded = torch.cat([flat[:, :1] + level, flat[:, 1:]], 1)
        volume: Tensor = self.synthesis(decoded * gains, flat, level * gains[:, :1], rate, step_of(rate)) - 1
        return volume

    def code(
        self,
        latents: Tensor,
        hyper: Tensor,
        rate: Tensor,
        quantize: Quantizer,
        noise: torch.Generator | None,
        inside: tuple[int, ...] | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Latents as the decoder has them less their level, that level, and bits."""
        blocks = latents.shape[-1]

        def cost(difference: Tensor, log_scale: Tensor) -> Tensor:
            if noise is None:
                steps = quantize(difference)
            else:
                steps = difference + torch.rand(difference.shape, generator=noise, device=noise.device) - 0.5
            bits = bits_of(steps, log_scale)
            if inside is not None:
                stride = blocks // bits.shape[-1]
                z, y, x = (-(-n // stride) for n in inside)
                bits = bits[:, :, :z, :y, :x]
            return bits.sum((1, 2, 3, 4))

        # In float32: of such small grids bfloat16 gained nothing, and oneDNN read memory that nobody had set.
        exactly = torch.autocast(latents.device.type, enabled=False)
        coarsest = F.avg_pool3d(hyper[:, :1], 2).float()
        with exactly:
            found, mean, scale = self.level_context(coarsest, None, None, None, rate, quantize)
        bits = [cost(coarsest - mean, scale)]
        level, gains = doubled(found), _gains(self.hyper_gains, rate)
        hyper = torch.cat([hyper[:, :1] - level, hyper[:, 1:]], 1) * gains
        with exactly:
            found, mean, scale = self.hyper_context(hyper.float(), None, None, slopes(level), rate, quantize)
        bits.append(cost(hyper - mean, scale))
        level = doubled((found / gains)[:, :1] + level)
        hints = to_voxels(self.hints_up(F.relu(self.hints_in(torch.asinh(found)))), 2)
        hints = F.relu(self.hints_out(F.relu(hints)))
        flat = torch.cat([latents[:, :1] - level, latents[:, 1:]], 1)
        known: Tensor | None = None
        for context, part in zip(self.contexts, torch.split(flat, list(GROUPS), 1), strict=True):
            found, mean, scale = context(part, known, hints, slopes(level), rate, quantize)
            bits.append(cost(part - mean, scale))
            known = found if known is None else torch.cat([known, found], 1)
        assert known is not None
        return known, level, torch.stack(bits, 1)

    def hyper(self, latents: Tensor, rate: Tensor) -> Tensor:
        """Hyper-latents, of which the first is the mean level of two blocks along each axis."""
        maps = F.gelu(self.hyper_modulation(self.hyper_in(torch.asinh(latents)), rate))
        hyper = self.hyper_out(F.gelu(self.hyper_down(to_channels(maps, 2))))
        return torch.cat([hyper[:, :1] * 0.1 + F.avg_pool3d(latents[:, :1], 2), hyper[:, 1:]], 1)


def step_of(rate: Tensor) -> Tensor:
    """Quantisation step of a rate, (batch, 1, 1, 1, 1); 1 = 1 000 HU."""
    low, high = STEPS
    return torch.exp(low + (rate + 1) / 2 * (high - low)).reshape(-1, 1, 1, 1, 1)


def _gains(parameters: Tensor, rate: Tensor) -> Tensor:
    return torch.exp(parameters[0] + parameters[1] * rate[:, None])[SPATIAL]
