"""Contexts: the distribution of each latent, from what was decoded before it.

In: latents that are known, and a coder.  Out: latents.
Invariant: encoder and decoder compute equal means and scales, as both see decoded latents alone.

A grid is coded in the two halves of a checkerboard: the second sees the first (He et al., ELIC, CVPR 2022).
Before either, hidden maps may pass a residual block, which sees further than one position.
Means are linear in what is known, and non-linear in it relative to its amplitude, so that a large edge is
predicted as well as a small one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from inrcodec.layers.base.latent.convolution import Convolution
from inrcodec.layers.base.latent.integers import (
    LATENT,
    MAP,
    Companding,
    Int16,
    Int64,
    amplitude,
    down,
    even,
    latents,
    rectified,
    relative,
    slabs,
)
from inrcodec.parallel import mapped
from inrcodec.volume.arrays import Bool, Bytes, Float, Int32

NEAREST = 12  # channels that are also seen relative to their amplitude, at most
HALVES = 2  # of a checkerboard
PART = 77  # 0.3 as a map: of an amplitude, that a mean may be off in units of a map
SCALES, EACH, LOWEST = 80, 8, 24  # scales are exp((index - LOWEST) / EACH) steps

Code = Callable[[Int64, Bytes, "Float | None"], Int64]
"""Means and scales of some positions, (n, channels), and what the encoder wants there, to latents."""


@dataclass(frozen=True, eq=False)
class Given:
    """What a context sees beside its own grid.

    Attributes
    ----------
    known : (z, y, x, channels), channels that were decoded before.
    features : (z, y, x, maps), of the hyper-latents.
    linear : (z, y, x, 3), slopes of the level.
    """

    known: Int32 | None = None
    features: Int16 | None = None
    linear: Int32 | None = None


@dataclass(frozen=True, eq=False)
class Context:
    """The networks of one grid; `Convolution` each, ``None`` where there is nothing that it would read.

    Attributes
    ----------
    bodies : residual blocks before the first half and before the second, of two convolutions each; as many
        as there are.
    offsets : (3, 2, maps), int32: by the rate, see `by_rate`.
    companding : of latents, see `integers.Companding`.
    """

    neighbours: Convolution
    linear_neighbours: Convolution
    hidden: Convolution
    out: Convolution
    bodies: list[tuple[Convolution, Convolution]]
    offsets: Int32
    companding: Companding
    channels: Convolution | None
    features: Convolution | None
    linear_channels: Convolution | None

    @classmethod
    def of(cls, tensors: Mapping[str, NDArray[np.generic]], name: str, companding: Companding) -> Context:
        """The context of a name; raises `ValueError` where its layers do not fit each other."""

        def layer(part: str) -> Convolution:
            return Convolution.of(tensors, f"{name}.{part}")

        def maybe(part: str) -> Convolution | None:
            return layer(part) if f"{name}.{part}.weight" in tensors else None

        bodies = [
            (layer(f"bodies.{k}.first"), layer(f"bodies.{k}.second")) for k in range(_bodies(tensors, name))
        ]
        found = cls(
            neighbours=layer("neighbours"),
            linear_neighbours=layer("linear_neighbours"),
            hidden=layer("hidden"),
            out=layer("out"),
            bodies=bodies,
            offsets=np.asarray(tensors[f"{name}.offsets"], np.int32),
            companding=companding,
            channels=maybe("channels"),
            features=maybe("features"),
            linear_channels=maybe("linear_channels"),
        )
        seconds = [second for _, second in bodies]
        summed = [part for part in (found.neighbours, found.channels, found.features, *seconds) if part]
        plain = [part for part in (found.linear_neighbours, found.linear_channels) if part]
        count, wide = found.count, found.hidden.inputs
        fits = (
            len({part.point for part in summed}) == 1
            and len({part.point for part in plain}) == 1
            and {part.outputs for part in summed} == {wide}
            and {part.outputs for part in plain} == {count}
            and all(a.inputs == wide and a.outputs == b.inputs for a, b in bodies)
            and found.neighbours.inputs == count + min(count, NEAREST)
            and found.out.outputs == 3 * count
            and found.out.inputs == found.hidden.outputs
            and found.offsets.shape == (3, 2, wide)
        )
        if not fits:
            raise ValueError(f"the layers of {name} do not fit each other")
        return found

    @property
    def count(self) -> int:
        """Channels of the grid."""
        return self.linear_neighbours.inputs

    @property
    def layers(self) -> list[Convolution]:
        """All that there are."""
        parts = (
            *(self.neighbours, self.linear_neighbours, self.hidden, self.out),
            *(self.channels, self.features, self.linear_channels),
            *chain.from_iterable(self.bodies),
        )
        return [part for part in parts if part is not None]

    def run(
        self,
        inside: tuple[int, ...],
        shape: tuple[int, ...],
        given: Given,
        rate: int,
        code: Code,
        wanted: Float | None,
        threads: int,
    ) -> Int32:
        """Latents of the grid, (z, y, x, channels).

        Parameters
        ----------
        inside : positions (z, y, x) that are coded; others have the mean that is expected of them.
        shape : positions (z, y, x) of the grid.
        wanted : (z, y, x, channels), in steps, where it is encoded.
        """
        known, linear = given.known, given.linear
        hidden = np.zeros((*shape, self.hidden.inputs), np.int32)
        mean = np.zeros((*shape, self.count), np.int64)
        scale = np.full((*shape, 1), 1 << LATENT, np.int64)
        if linear is not None:
            first = [] if known is None else [known[..., :NEAREST]]
            scale = amplitude(linear, *first)
            if self.features is not None:
                hints = relative(linear, scale)
                seen = hints if given.features is None else np.concatenate([given.features, hints], -1)
                hidden += self.features.maps(seen, threads)
            if self.linear_channels is not None:
                raw = linear if known is None else np.concatenate([known, linear], -1)
                mean += self.linear_channels.exact(raw, threads)
        if known is not None and self.channels is not None:
            hidden += self.channels.maps(self._seen(known, scale), threads)
        offsets = by_rate(self.offsets, rate).astype(np.int32)
        chosen = even(shape)
        self._deepen(hidden, offsets, 0, threads)
        half = self._half(offsets[0], hidden, mean, scale, chosen, inside, code, wanted)
        near = amplitude(half[..., :NEAREST])
        beside = near if linear is None else scale + near - (1 << LATENT)
        hidden += self.neighbours.maps(self._seen(half, beside), threads)
        mean += self.linear_neighbours.exact(half, threads)
        scale = scale if linear is None else beside
        self._deepen(hidden, offsets, 1, threads)
        return half + self._half(offsets[1], hidden, mean, scale, ~chosen, inside, code, wanted)

    def _deepen(self, hidden: Int32, offsets: Int32, half: int, threads: int) -> None:
        """Add what the residual block before a half gives, if there is one."""
        if half >= len(self.bodies):
            return
        first, second = self.bodies[half]
        maps = np.empty(hidden.shape, np.int16)

        def rectify(slab: slice) -> None:
            maps[slab] = rectified(down(hidden[slab] + offsets[half], second.point))

        mapped(rectify, slabs(hidden.shape), threads)
        hidden += second.maps(first.rounded(maps, first.point, 0, threads), threads)

    def _half(
        self,
        offset: Int32,
        hidden: Int32,
        linear: Int64,
        scale: Int64,
        chosen: Bool,
        inside: tuple[int, ...],
        code: Code,
        wanted: Float | None,
    ) -> Int32:
        """Latents of half of the positions; the others are 0."""
        first, plain = self.neighbours.point, self.linear_neighbours.point
        maps = rectified(down(hidden[chosen] + offset, first))[None, None]
        maps = self.hidden.rounded(maps, self.hidden.point, 0)
        means, scales, parts = np.split(self.out.maps(maps)[0, 0].astype(np.int64), 3, -1)
        last = self.out.point
        mean = down(linear[chosen], plain) + down(means, MAP + last - LATENT)
        mean = latents(mean + down(scale[chosen] * down(parts, last) * PART, 2 * MAP)).astype(np.int64)
        index = (down(scales * EACH, MAP + last) + LOWEST).clip(0, SCALES - 1).astype(np.uint8)
        coded = np.zeros(chosen.shape, np.bool_)
        coded[tuple(slice(n) for n in inside)] = True
        there = coded[chosen]
        goal = None if wanted is None else wanted[chosen][there]
        mean[there] = latents(code(mean[there], index[there], goal))
        half = np.zeros(linear.shape, np.int32)
        half[chosen] = mean
        return half

    def _seen(self, x: Int32, scale: Int64) -> Int16:
        """Latents, companded, and the first of them relative to their amplitude."""
        return np.concatenate([self.companding(x), relative(x[..., :NEAREST], scale)], -1)


def _bodies(tensors: Iterable[str], name: str) -> int:
    """How many residual blocks a context has; raises `ValueError` where there is a part that none reads."""
    start = f"{name}.bodies."
    found = {tensor.removeprefix(start).rpartition(".")[0] for tensor in tensors if tensor.startswith(start)}
    for count in range(HALVES + 1):
        if found == {f"{k}.{part}" for k in range(count) for part in ("first", "second")}:
            return count
    raise ValueError(
        f"{name} has {', '.join(sorted(found))} of residual blocks: each is first and second, and there is "
        "one before the second half only beside one before the first"
    )


def by_rate(parts: Int32, rate: int) -> Int64:
    """A polynomial of the rate: constant, linear and square part of each, the rate from -127 to 127."""
    constant, linear, square = parts.astype(np.int64)
    n = 2 * rate - 127
    found: Int64 = constant + down(linear * n, 7) + down(square * (n * n), 14)
    return found
