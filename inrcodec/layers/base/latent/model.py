"""A model of the latent grid: the integers of its networks, and all latents of a volume by them.

In: tensors of a model file.  Out: latents, given a coder.
Invariant: a model that was made has layers that fit each other; what it computes is equal on every machine.

level       means of 16 voxels along each axis, then of 8, each as a residual to the interpolation of those
            before it; so are the first latents of blocks of 4 x 4 x 4 voxels
hyper       latents of 8 voxels along each axis, of which the level is the first
latents     64 for a block, in groups of channels, low frequencies first, each under its context
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from inrcodec.entropy.logistic import Tables
from inrcodec.layers.base.latent.analysis import Analysis, Wanted
from inrcodec.layers.base.latent.contexts import NEAREST, Context, Given
from inrcodec.layers.base.latent.convolution import Convolution
from inrcodec.layers.base.latent.integers import (
    LATENT,
    Companding,
    Int16,
    Int64,
    doubled,
    down,
    latents,
    rectified,
    slopes,
    to_voxels,
)
from inrcodec.layers.base.latent.synthesis import Synthesis
from inrcodec.volume.arrays import Bytes, Float, Int32

RATES = 128
EDGE, BLOCK = 16, 4  # voxels: edges of what a model sees are multiples; of a block
# Types of tensors, by the last word of their names; those of the analysis are floats.
TYPES = {"weight": "i2", "sines": "i2", "reach": "i2", "frequencies": "u2", "point": "u1", "shift": "u1"}
TYPES |= dict.fromkeys(("bias", "offsets", "modulation", "companding", "steps", "gains", "inverse"), "i4")
INVERSE = 16  # bits behind the point of the inverse gain of the hyper-latents' level


class Coder(Protocol):
    """Latents by their means and scales: read, or decided and written."""

    def code(self, mean: Int64, index: Bytes, wanted: Float | None, weights: Float) -> Int64:
        """Latents, (n, channels).

        Parameters
        ----------
        mean, index : (n, channels), means, and indices of scales.
        wanted : (n, channels), in steps; ``None`` where they are read.
        weights : (channels,), squared gains of the synthesis.
        """


class Latents(NamedTuple):
    """Latents of a volume."""

    flat: Int32  # (z, y, x, 64), less their level
    level: Int32  # (z, y, x, 1)


@dataclass(frozen=True, eq=False)
class Model:
    """The networks of a model.

    Attributes
    ----------
    inverse : (128,), int32, of INVERSE bits: 1 / gain of the first hyper-latent, by the rate.
    """

    level: Context
    hyper: Context
    hints: list[Convolution]
    contexts: list[Context]
    synthesis: Synthesis
    inverse: Int32
    companding: Companding
    tables: Tables
    analysis: Analysis

    @classmethod
    def of(cls, tensors: Mapping[str, NDArray[np.generic]]) -> Model:
        """A model of a file's tensors; raises `ValueError`, `LookupError` where one is missing or wrong."""
        for name, tensor in tensors.items():
            wanted = TYPES.get(name.rpartition(".")[2], tensor.dtype)
            if tensor.dtype != wanted and not name.startswith("analysis."):
                raise ValueError(f"{name} is of {tensor.dtype}")
        companding = Companding.of(np.asarray(tensors["companding"], np.int32))
        names = sorted({name.split(".")[1] for name in tensors if name.startswith("contexts.")}, key=int)
        coder = (np.asarray(tensors[f"coder.{part}"]) for part in ("shift", "reach", "frequencies"))
        found = cls(
            level=Context.of(tensors, "level", companding),
            hyper=Context.of(tensors, "hyper", companding),
            hints=[Convolution.of(tensors, f"hints.{part}") for part in ("in", "up", "out")],
            contexts=[Context.of(tensors, f"contexts.{name}", companding) for name in names],
            synthesis=Synthesis.of(tensors, companding),
            inverse=np.asarray(tensors["inverse"], np.int32),
            companding=companding,
            tables=Tables(*coder),
            analysis=Analysis.of(tensors),
        )
        first, up, last = found.hints
        features = last.outputs
        before = np.cumsum([0, *(context.count for context in found.contexts)]).tolist()
        fits = (
            found.level.count == 1
            and _reads(found.level, 0, None)
            and _reads(found.hyper, 0, 3)
            and first.inputs == found.hyper.count == len(found.analysis.out[1])
            and (up.inputs, up.outputs, last.inputs) == (first.outputs, 8 * features, features)
            and before[-1] == found.synthesis.overlap.inputs
            and all(_reads(c, n, features + 3) for c, n in zip(found.contexts, before, strict=False))
            and found.inverse.shape == (RATES,)
        )
        if not fits:
            raise ValueError("the networks do not fit each other")
        return found

    @property
    def multiply_adds(self) -> int:
        """Of a low-res voxel, about."""
        block = sum(layer.multiply_adds * times for layer, times in self.synthesis.layers)
        block += sum(layer.multiply_adds for context in self.contexts for layer in context.layers)
        block += self.hints[2].multiply_adds
        return -(-block // BLOCK**3)

    def latents(
        self, shape: tuple[int, ...], rate: int, coder: Coder, wanted: Wanted | None = None, threads: int = 1
    ) -> Latents:
        """All latents of a volume.

        Parameters
        ----------
        shape : voxels (z, y, x) that are coded.
        wanted : of the encoder.
        """
        inside = [-(-n // BLOCK) for n in shape]
        z, y, x = (-(-n // EDGE) for n in shape)
        ones = np.ones(1)

        def coded(context: Context, given: Given, stride: int, goal: Float | None, weights: Float) -> Int32:
            within = tuple(-(-n // stride) for n in inside)
            grid = (z * BLOCK // stride, y * BLOCK // stride, x * BLOCK // stride)

            def code(mean: Int64, index: Bytes, some: Float | None) -> Int64:
                return coder.code(mean, index, some, weights)

            return context.run(within, grid, given, rate, code, goal, threads)

        hyper = None if wanted is None else wanted.hyper
        pooled = None if hyper is None else _pooled(hyper[..., :1])
        level = doubled(coded(self.level, Given(), 4, pooled, ones))
        if wanted is not None and hyper is not None:
            apart = hyper[..., :1] - level / (1 << LATENT)
            hyper = np.concatenate([apart, hyper[..., 1:]], -1) * wanted.hyper_gains
        weights = np.ones(self.hyper.count)
        found = coded(self.hyper, Given(linear=slopes(level)), 2, hyper, weights)
        residual = down(found[..., :1].astype(np.int64) * int(self.inverse[rate]), INVERSE)
        level = doubled(latents(residual + level))
        features = self._features(found, threads)
        flat = None
        if wanted is not None:
            apart = wanted.latents[..., :1] - level / (1 << LATENT)
            flat = np.concatenate([apart, wanted.latents[..., 1:]], -1)
        known: Int32 | None = None
        linear, start = slopes(level), 0
        weights = np.square(self.synthesis.gains[rate] / 2.0**14)
        for context in self.contexts:
            part = slice(start, start + context.count)
            goal = None if flat is None else flat[..., part]
            group = coded(context, Given(known, features, linear), 1, goal, weights[part])
            known = group if known is None else np.concatenate([known, group], -1)
            start += context.count
        assert known is not None
        return Latents(known, level)

    def _features(self, hyper: Int32, threads: int) -> Int16:
        first, up, last = self.hints
        maps = first.rounded(self.companding(hyper), first.point, 0, threads)
        maps = rectified(to_voxels(down(up.maps(maps, threads), up.point)).astype(np.int64))
        return last.rounded(maps, last.point, 0, threads)


def _reads(context: Context, before: int, hints: int | None) -> bool:
    """Whether a context reads so many channels that were decoded before, and so many maps of hints."""
    channels, features, linear = context.channels, context.features, context.linear_channels
    plain = before + (0 if hints is None else 3)
    return (
        (channels.inputs if channels else 0) == before + min(before, NEAREST)
        and (features.inputs if features else None) == hints
        and (linear.inputs if linear else 0) == plain
    )


def _pooled(x: Float) -> Float:
    """Means of 2 x 2 x 2 positions."""
    z, y, w, n = x.shape
    found: Float = x.reshape(z // 2, 2, y // 2, 2, w // 2, 2, n).mean((1, 3, 5))
    return found
