"""The contexts of the latent grid in integers, by NumPy alone: the same on every machine.

In: the networks of `latent_network.py` at one rate.  Out: mean and scale of every latent, by way of a coder.
Invariant: sums are of integers below 2^53 in float64, so that their order is of no matter.  All that is a
float is rounded once, when the networks are made ready for a rate; a decoder would be shipped those integers.

latents    Q6: 64ths of a step; a latent is an integer number of steps from its mean
maps       Q8, weights Q12; products are shifted down by a rounding shift
scales     an index, of which eight make a factor of e
"""

from collections.abc import Callable
from functools import cache

import numpy as np
import torch
from latent_coder import EACH, LATENT, LEAST_SCALE, SCALES, Grid
from latent_network import GROUPS, NEAREST, WIDE, Context, LatentGrid
from numpy.typing import NDArray

MAP, WEIGHT = 8, 12  # bits behind the point
PART = round(0.3 * (1 << MAP))  # of an amplitude, that a mean may be off in units of a map
WIDEST = 1 << 17  # latent that is companded as itself

Code = Callable[[Grid, Grid, NDArray[np.bool_], NDArray[np.float64] | None], Grid]


def down(x: Grid, bits: int) -> Grid:
    """Divided by a power of two, to the nearest."""
    return (x + (1 << bits >> 1)) >> bits


@cache
def companding() -> Grid:
    """asinh of a latent, Q8, for 0 … 2^17 in units of a latent."""
    return np.rint(np.arcsinh(np.arange(WIDEST + 1) / (1 << LATENT)) * (1 << MAP)).astype(np.int64)


def companded(x: Grid) -> Grid:
    """See `companding`; larger ones as the largest."""
    return np.sign(x) * companding()[np.minimum(np.abs(x), WIDEST)]


def around(x: Grid, how: str) -> Grid:
    """A grid and one position more on each side, zeros or the nearest."""
    width = [(0, 0), *[(1, 1)] * 3]
    return np.pad(x, width) if how == "zero" else np.pad(x, width, mode="edge")


def shifted(x: Grid) -> list[Grid]:
    """The 27 neighbours of every position, of a grid with a border."""
    z, y, w = (n - 2 for n in x.shape[1:])
    return [x[:, a : a + z, b : b + y, c : c + w] for a in range(3) for b in range(3) for c in range(3)]


def doubled(x: Grid) -> Grid:
    """Trilinear by 2, cell-centred, to the nearest."""
    for axis in (1, 2, 3):
        p = np.moveaxis(
            np.pad(x, [(0, 0)] + [(int(k == axis),) * 2 for k in (1, 2, 3)], mode="edge"), axis, 0
        )
        pair = np.stack([p[:-2] + 3 * p[1:-1], 3 * p[1:-1] + p[2:]], 1)
        x = np.moveaxis(pair.reshape(-1, *pair.shape[2:]), 0, axis)
    return down(x, 6)


def slopes(x: Grid) -> Grid:
    """Central differences of a level, (3, z, y, x)."""
    p = around(x, "edge")[0]
    inner = slice(1, -1)
    differences = [
        p[2:, inner, inner] - p[:-2, inner, inner],
        p[inner, 2:, inner] - p[inner, :-2, inner],
        p[inner, inner, 2:] - p[inner, inner, :-2],
    ]
    return down(np.stack(differences), 1)


def amplitude(*parts: Grid) -> Grid:
    """1 + half the sum of magnitudes, the mean of 27 positions, rounded down."""
    total = np.concatenate(parts).__abs__().sum(0, keepdims=True)
    return (1 << LATENT) + sum(shifted(around(total, "zero"))) // 54


def relative(x: Grid, scale: Grid) -> Grid:
    """Latents in units of their amplitude, Q8, rounded down."""
    return (x << MAP) // scale


class Convolution:
    """A layer of 27 taps or of one, weights Q12."""

    def __init__(self, layer: torch.nn.Conv3d) -> None:
        weights = layer.weight.detach().double().numpy()
        whole = np.rint(weights * (1 << WEIGHT))
        self.taps = np.moveaxis(whole.reshape(*whole.shape[:2], -1), -1, 0)
        self.bias = layer.bias.detach().double().numpy()[:, None]

    def __call__(self, x: Grid, point: int) -> Grid:
        """Sums with ``point`` + 12 bits behind the point; ``point`` is that of the input."""
        parts = shifted(around(x, "zero")) if len(self.taps) > 1 else [x]
        flat = [part.reshape(len(part), -1).astype(np.float64) for part in parts]
        sums = sum(w @ part for w, part in zip(self.taps, flat, strict=True))
        total = sums + np.rint(self.bias * 2.0 ** (WEIGHT + point))
        return total.astype(np.int64).reshape(-1, *x.shape[1:])


class IntegerContext:
    """A `Context` at one rate."""

    def __init__(self, context: Context, rate: float) -> None:
        found = {name: Convolution(layer) for name, layer in context.named_children() if layer is not None}
        self.layers, self.count = found, context.count
        by_rate = torch.tensor([rate, rate * rate]) @ context.rate
        offsets = (context.phase + by_rate).detach().double().numpy()
        self.offsets = np.rint(offsets * (1 << MAP + WEIGHT)).astype(np.int64)[:, :, None, None, None]

    def __call__(
        self,
        values: NDArray[np.float64] | None,
        shape: tuple[int, ...],
        known: Grid | None,
        features: Grid | None,
        linear: Grid | None,
        code: Code,
    ) -> Grid:
        """Latents of a group, as decoded; ``values`` of the encoder alone, in steps."""
        even = (np.indices(shape).sum(0) % 2 == 0)[None]
        hidden = np.zeros((WIDE, *shape), np.int64)
        mean = np.zeros((self.count, *shape), np.int64)
        scale = np.full((1, *shape), 1 << LATENT)
        first = [] if known is None else [known[:NEAREST]]
        if linear is not None:
            scale = amplitude(linear, *first)
            hints = relative(linear, scale)
            given = hints if features is None else np.concatenate([features, hints])
            hidden += self.layers["features"](given, MAP)
            raw = linear if known is None else np.concatenate([known, linear])
            mean += self.layers["linear_channels"](raw, LATENT)
        if known is not None:
            seen = np.concatenate([companded(known), relative(known[:NEAREST], scale)])
            hidden += self.layers["channels"](seen, MAP)
        half = self._half(values, hidden, mean, scale, 0, even, code)
        near = amplitude(half[:NEAREST])
        beside = near if linear is None else scale + near - (1 << LATENT)
        seen = np.concatenate([companded(half), relative(half[:NEAREST], beside)])
        hidden += self.layers["neighbours"](seen, MAP)
        mean += self.layers["linear_neighbours"](half, LATENT)
        scale = scale if linear is None else beside
        return half + self._half(values, hidden, mean, scale, 1, ~even, code)

    def _half(
        self,
        values: NDArray[np.float64] | None,
        hidden: Grid,
        linear_mean: Grid,
        scale: Grid,
        phase: int,
        chosen: NDArray[np.bool_],
        code: Code,
    ) -> Grid:
        maps = np.maximum(down(hidden + self.offsets[phase], WEIGHT), 0)
        maps = np.maximum(down(self.layers["hidden"](maps, MAP), WEIGHT), 0)
        means, scales, parts = np.split(self.layers["out"](maps, MAP), 3)
        mean = down(linear_mean, WEIGHT) + down(means, MAP + WEIGHT - LATENT)
        mean += down(scale * down(parts, WEIGHT) * PART, 2 * MAP)
        lowest = round(-LEAST_SCALE * EACH) << MAP + WEIGHT
        index = np.clip(down(scales * EACH + lowest, MAP + WEIGHT), 0, SCALES - 1)
        wanted = np.broadcast_to(chosen, mean.shape)
        return code(mean, index, wanted, values)


class IntegerGrid:
    """The contexts of a `LatentGrid` at one rate."""

    def __init__(self, network: LatentGrid, rate: float) -> None:
        self.level, self.hyper = (
            IntegerContext(c, rate) for c in (network.level_context, network.hyper_context)
        )
        self.contexts = [IntegerContext(context, rate) for context in network.contexts]
        self.hints = [Convolution(layer) for layer in (network.hints_in, network.hints_up, network.hints_out)]
        gains = torch.exp(network.hyper_gains[0] + network.hyper_gains[1] * rate).detach().double().numpy()
        self.gains = gains[:, None, None, None]
        self.inverse = round(65536 / float(gains[0]))

    def run(
        self,
        shape: tuple[int, ...],
        code: Code,
        inside: tuple[int, ...],
        given: tuple[Grid, Grid] | None = None,
    ) -> tuple[Grid, Grid]:
        """Latents less their level, and that level.

        Parameters
        ----------
        shape : positions (z, y, x) of latents, multiples of 4; those of ``inside`` are coded.
        given : latents and hyper-latents of the encoder, in steps.
        """

        def part(stride: int) -> Code:
            """Codes what is inside of a coarser grid; the rest is its mean."""

            def limited(mean: Grid, index: Grid, wanted: NDArray[np.bool_], values: object) -> Grid:
                within = np.zeros(mean.shape, np.bool_)
                within[(slice(None), *(slice(0, -(-n // stride)) for n in inside))] = True
                found = code(mean, index, wanted & within, values)  # type: ignore[arg-type]
                return np.where(wanted & ~within, mean, found)

            return limited

        latents, hyper = given if given is not None else (None, None)
        z, y, x = shape
        found = self.level(
            None if hyper is None else _pooled(hyper[:1]), (z // 4, y // 4, x // 4), None, None, None, part(4)
        )
        level = doubled(found)
        if hyper is not None:
            hyper = np.concatenate([hyper[:1] - level / (1 << LATENT), hyper[1:]]) * self.gains
        found = self.hyper(hyper, (z // 2, y // 2, x // 2), None, None, slopes(level), part(2))
        level = doubled(down(found[:1] * self.inverse, 16) + level)
        first, up, last = self.hints
        maps = np.maximum(down(first(companded(found), MAP), WEIGHT), 0)
        maps = np.maximum(_to_voxels(down(up(maps, MAP), WEIGHT)), 0)
        hints = np.maximum(down(last(maps, MAP), WEIGHT), 0)
        flat = None if latents is None else np.concatenate([latents[:1] - level / (1 << LATENT), latents[1:]])
        known: Grid | None = None
        for k, context in enumerate(self.contexts):
            first_channel = sum(GROUPS[:k])
            values = None if flat is None else flat[first_channel : first_channel + GROUPS[k]]
            group = context(values, shape, known, hints, slopes(level), part(1))
            known = group if known is None else np.concatenate([known, group])
        assert known is not None
        return known, level


def _pooled(x: NDArray[np.float64]) -> NDArray[np.float64]:
    z, y, w = (n // 2 for n in x.shape[1:])
    return x.reshape(len(x), z, 2, y, 2, w, 2).mean((2, 4, 6))


def _to_voxels(x: Grid) -> Grid:
    n, z, y, w = x.shape
    x = x.reshape(n // 8, 2, 2, 2, z, y, w).transpose(0, 4, 1, 5, 2, 6, 3)
    return np.ascontiguousarray(x).reshape(n // 8, 2 * z, 2 * y, 2 * w)
