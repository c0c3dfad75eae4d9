"""A latent grid under shared networks, as an experiment (docs/experiments/latent.md).

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

from collections.abc import Callable
from math import cos, log, pi, sqrt

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CHANNELS, HYPER = 64, 12
GROUPS = (4, 8, 16, 36)  # channels that are coded together, low frequencies first
WIDE, FINE, FEATURES = 64, 16, 48  # maps at a stride of 4 voxels, of 2 voxels, and of the hyper-decoder
NEAREST = 12  # channels that contexts also see relative to their amplitude
STEPS = log(0.06), log(1.2)  # logarithm of the quantisation step at rates -1 and 1
MULTIPLE = 16  # edges of a volume
SPATIAL = (..., None, None, None)
Quantizer = Callable[[Tensor], Tensor]


def to_channels(x: Tensor, stride: int) -> Tensor:
    """(batch, c, z, y, x) -> (batch, c * stride**3, z / stride, …)."""
    n, c, *shape = x.shape
    z, y, w = (edge // stride for edge in shape)
    x = x.reshape(n, c, z, stride, y, stride, w, stride).permute(0, 1, 3, 5, 7, 2, 4, 6)
    return x.reshape(n, c * stride**3, z, y, w)


def to_voxels(x: Tensor, stride: int) -> Tensor:
    """The inverse of :func:`to_channels`."""
    n, c, z, y, w = x.shape
    x = x.reshape(n, c // stride**3, stride, stride, stride, z, y, w).permute(0, 1, 5, 2, 6, 3, 7, 4)
    return x.reshape(n, c // stride**3, z * stride, y * stride, w * stride)


def dct_basis() -> Tensor:
    """The orthonormal DCT-II of 4 x 4 x 4 voxels, (frequency, voxel), low frequencies first."""
    rows = [[cos(pi * (i + 0.5) * k / 4) * sqrt((1 + (k > 0)) / 4) for i in range(4)] for k in range(4)]
    one = torch.tensor(rows)
    basis = torch.einsum("az,by,cx->abczyx", one, one, one).reshape(CHANNELS, CHANNELS)
    axes = torch.cartesian_prod(*[torch.arange(4.0)] * 3)
    return basis[torch.argsort(axes.square().sum(1) + 0.01 * axes.sum(1), stable=True)]


def convolution(inputs: int, outputs: int, width: int = 3, scale: float = 1.0) -> nn.Conv3d:
    """A convolution that keeps the grid; ``scale`` of its outputs at first, 0 for none."""
    layer = nn.Conv3d(inputs, outputs, width, padding=width // 2)
    nn.init.normal_(layer.weight, std=scale / sqrt(inputs * width**3))
    nn.init.zeros_(layer.bias)
    return layer


def mean_around(x: Tensor) -> Tensor:
    """Mean of 3 x 3 x 3 voxels, of those that there are."""
    return F.avg_pool3d(x, 3, 1, 1, count_include_pad=False)


def doubled(x: Tensor) -> Tensor:
    """Trilinear interpolation by 2, cell-centred, the edges repeated."""
    return F.interpolate(x, scale_factor=2, mode="trilinear", align_corners=False)


def slopes(x: Tensor) -> Tensor:
    """Central differences along z, y and x, (batch, 3, z, y, x)."""
    p = F.pad(x, (1,) * 6, mode="replicate")
    along_z = p[:, :, 2:, 1:-1, 1:-1] - p[:, :, :-2, 1:-1, 1:-1]
    along_y = p[:, :, 1:-1, 2:, 1:-1] - p[:, :, 1:-1, :-2, 1:-1]
    along_x = p[:, :, 1:-1, 1:-1, 2:] - p[:, :, 1:-1, 1:-1, :-2]
    return torch.cat([along_z, along_y, along_x], 1) * 0.5


def checkerboard(shape: torch.Size, device: torch.device) -> Tensor:
    """1 where the sum of the indices is even, (1, 1, z, y, x)."""
    z, y, x = (torch.arange(n, device=device) for n in shape)
    return ((z[:, None, None] + y[:, None] + x) % 2 == 0).float()[None, None]


def straight_through(x: Tensor) -> Tensor:
    """Rounded; the gradient is that of x."""
    return x + (x.round() - x).detach()


def bits_of(difference: Tensor, log_scale: Tensor) -> Tensor:
    """Bits of an interval of 1 about a distance from the mean of a logistic distribution."""
    inverse, far = torch.exp(-log_scale.clamp(-3, 7)), difference.abs()
    below, above = (0.5 - far) * inverse, (0.5 + far) * inverse
    return -(F.logsigmoid(below) + F.logsigmoid(above) + torch.log(1e-12 - torch.expm1(-inverse))) / log(2)


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

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("dct", dct_basis()[SPATIAL])
        self.overlap = convolution(CHANNELS, CHANNELS, scale=0.0)

    def forward(self, x: Tensor, step: Tensor) -> Tensor:
        blocks = F.conv3d(to_channels(x, 4), self.dct) / step
        flat = torch.cat([blocks[:, :1] - mean_around(blocks[:, :1]), blocks[:, 1:]], 1)
        result: Tensor = blocks + self.overlap(flat)
        return result


class Synthesis(nn.Module):
    """Latents in steps to a volume; ``flat`` are they less the ``level`` that was decoded before them."""

    def __init__(self) -> None:
        super().__init__()
        # Channels of a stride of 2 and, within them, of one of 4, as to_voxels takes them in turn.
        order = torch.arange(CHANNELS).reshape([2] * 6).permute(1, 3, 5, 0, 2, 4).flatten()
        self.register_buffer("dct", dct_basis().T[order][SPATIAL])
        self.overlap = convolution(CHANNELS, CHANNELS, scale=0.0)
        self.enter = convolution(CHANNELS + 1, WIDE)
        self.coarse = nn.ModuleList(Residual(WIDE, torch.sin) for _ in range(3))
        self.narrow, self.beside = convolution(WIDE, FINE * 8, 1), convolution(9, FINE)
        self.fine = nn.ModuleList(Residual(FINE, torch.sin) for _ in range(2))
        self.out = convolution(FINE, 8, scale=0.1)

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


def amplitude(*parts: Tensor) -> Tensor:
    """1 + half the sum of the magnitudes of all channels, the mean of 3 x 3 x 3 positions."""
    total = torch.stack([part.abs().sum(1, keepdim=True) for part in parts]).sum(0)
    return 1 + F.avg_pool3d(F.pad(total, (1,) * 6), 3, 1) * 0.5


class Context(nn.Module):
    """Mean and logarithmic scale of a group of channels, in the two phases of a checkerboard.

    Means are linear in what is known, and non-linear in it relative to its amplitude: large edges are
    predicted as well as small ones.
    """

    def __init__(self, before: int, count: int, features: int, linear: int = 0) -> None:
        super().__init__()
        self.count = count
        hints = features + linear
        self.channels = convolution(before + min(before, NEAREST), WIDE, scale=0.5) if before else None
        self.neighbours = convolution(count + min(count, NEAREST), WIDE, scale=0.5)
        self.features = convolution(hints, WIDE, 1) if hints else None
        self.linear_neighbours = convolution(count, count, scale=0.0)
        self.linear_channels = convolution(before + linear, count, scale=0.0) if before + linear else None
        self.phase, self.rate = nn.Parameter(torch.zeros(2, WIDE)), nn.Parameter(torch.zeros(2, WIDE))
        self.hidden = convolution(WIDE, WIDE, 1, scale=1.4)
        self.out = convolution(WIDE, 3 * count, 1, scale=0.1)
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
        hidden = values.new_zeros(len(values), WIDE, *values.shape[2:])
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
        mean, log_scale = self._distribution(hidden, linear_mean, scale, rate, 0)
        decoded = (quantize(values - mean) + mean) * even
        near = amplitude(decoded[:, :NEAREST])
        relative = near if linear is None else scale + near - 1
        scale = scale if linear is None else relative
        hidden = hidden + self.neighbours(
            torch.cat([torch.asinh(decoded), decoded[:, :NEAREST] / relative], 1)
        )
        linear_mean = linear_mean + self.linear_neighbours(decoded)
        mean_odd, log_scale_odd = self._distribution(hidden, linear_mean, scale, rate, 1)
        decoded = decoded + (quantize(values - mean_odd) + mean_odd) * (1 - even)
        return decoded, torch.lerp(mean_odd, mean, even), torch.lerp(log_scale_odd, log_scale, even)

    def _distribution(
        self, hidden: Tensor, linear_mean: Tensor, scale: Tensor, rate: Tensor, phase: int
    ) -> tuple[Tensor, Tensor]:
        by_rate = torch.stack([rate, rate * rate], 1) @ self.rate
        maps = F.relu(hidden + self.phase[phase][:, None, None, None] + by_rate[SPATIAL])
        mean, log_scale, relative = self.out(F.relu(self.hidden(maps))).split(self.count, 1)
        return linear_mean + mean + scale * relative * 0.3, log_scale


def _first(known: Tensor | None) -> list[Tensor]:
    return [] if known is None else [known[:, :NEAREST]]


def _joined(*parts: Tensor | None) -> Tensor:
    return torch.cat([part for part in parts if part is not None], 1)


class LatentGrid(nn.Module):
    """The whole codec, but for the range coder: bits are those of the distributions."""

    def __init__(self) -> None:
        super().__init__()
        self.analysis, self.synthesis = Analysis(), Synthesis()
        self.gains, self.hyper_gains = (nn.Parameter(torch.zeros(2, n)) for n in (CHANNELS, HYPER))
        nn.init.constant_(self.hyper_gains[0, :1], 0.35)
        self.hyper_in, self.hyper_modulation = convolution(CHANNELS, FEATURES), Modulation(FEATURES)
        self.hyper_down = convolution(FEATURES * 8, WIDE, 1)
        self.hyper_out = convolution(WIDE, HYPER, scale=0.5)
        self.hints_in, self.hints_up = convolution(HYPER, WIDE), convolution(WIDE, FEATURES * 8, 1)
        self.hints_out = convolution(FEATURES, FEATURES)
        self.level_context, self.hyper_context = Context(0, 1, 0), Context(0, HYPER, 0, 3)
        before = [sum(GROUPS[:k]) for k in range(len(GROUPS))]
        self.contexts = nn.ModuleList(
            Context(n, count, FEATURES, 3) for n, count in zip(before, GROUPS, strict=True)
        )
        with (
            torch.no_grad()
        ):  # the second half of the coarsest level begins as the mean of its six neighbours
            middle = self.level_context.linear_neighbours.weight[0, 0]
            for place in ((0, 1, 1), (2, 1, 1), (1, 0, 1), (1, 2, 1), (1, 1, 0), (1, 1, 2)):
                middle[place] = 1 / 6
            self.level_context.out.bias[1:2] = 3.0

    def forward(
        self, x: Tensor, rate: Tensor, *, noise: bool = False, inside: tuple[int, ...] | None = None
    ) -> tuple[Tensor, Tensor]:
        """The decoded volume, and bits (batch, 2 + groups) of the level, the hyper-latents and each group.

        Parameters
        ----------
        rate : (batch,), in [-1, 1].
        noise : whether bits are those of uniform noise instead of rounding, for training.
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
        noise: bool,
        inside: tuple[int, ...] | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Latents as the decoder has them less their level, that level, and bits."""
        blocks = latents.shape[-1]

        def cost(difference: Tensor, log_scale: Tensor) -> Tensor:
            noisy = difference + torch.rand_like(difference) - 0.5 if noise else quantize(difference)
            bits = bits_of(noisy, log_scale)
            if inside is not None:
                stride = blocks // bits.shape[-1]
                z, y, x = (-(-n // stride) for n in inside)
                bits = bits[:, :, :z, :y, :x]
            return bits.sum((1, 2, 3, 4))

        coarsest = F.avg_pool3d(hyper[:, :1], 2)
        found, mean, scale = self.level_context(coarsest, None, None, None, rate, quantize)
        bits = [cost(coarsest - mean, scale)]
        level, gains = doubled(found), _gains(self.hyper_gains, rate)
        hyper = torch.cat([hyper[:, :1] - level, hyper[:, 1:]], 1) * gains
        found, mean, scale = self.hyper_context(hyper, None, None, slopes(level), rate, quantize)
        bits.append(cost(hyper - mean, scale))
        level = doubled((found / gains)[:, :1] + level)
        hints = to_voxels(self.hints_up(F.relu(self.hints_in(torch.asinh(found)))), 2)
        hints = F.relu(self.hints_out(F.relu(hints)))
        flat = torch.cat([latents[:, :1] - level, latents[:, 1:]], 1)
        known: Tensor | None = None
        for context, part in zip(self.contexts, flat.split(GROUPS, 1), strict=True):
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
