"""Architectures: the published ones by name, and compact ones that run on a laptop.

In: a name and a factor, or a model card's integers.  Out: an `Architecture` and its work.
Invariant: a handful of integers define a network; imports no torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

from inrcodec.errors import UsageError
from inrcodec.validate import did_you_mean
from inrcodec.volume.box import Shape

MOST = 1024  # maps, blocks or layers of a network


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """The integers that define an SRDenseNet.

    Parameters
    ----------
    dims : 2 (slice by slice) or 3 (whole volume).
    factor : (z, y, x) up-sampling factors; z is 1 where ``dims`` is 2; powers of two for "deconvolution".
    features : maps of the first convolution.
    blocks, layers, growth : dense blocks, convolutions per block, maps that each convolution adds.
    bottleneck : maps of the 1x1 bottleneck.
    variant : input of the bottleneck: "All" maps, "HL" the first and the last ones, "H" the last only.
    head : "deconvolution" (stride 2 each, as published) or "subpixel" (one convolution, then interleaving).
    noise_map : whether there is a noise-level input, a second map beside the low-res volume (Zhang et al.,
        FFDNet, 2018); the published network has none.
    """

    dims: int = 3
    factor: tuple[int, int, int] = (4, 4, 4)
    features: int = 64
    blocks: int = 3
    layers: int = 4
    growth: int = 16
    bottleneck: int = 96
    variant: str = "All"
    head: str = "subpixel"
    noise_map: bool = False

    def __post_init__(self) -> None:
        if self.dims not in (2, 3) or (self.dims == 2 and self.factor[0] != 1):
            raise ValueError(f"dims {self.dims} with factor {self.factor}: use 3, or 2 with a z factor of 1")
        sizes = (self.features, self.blocks, self.layers, self.growth, self.bottleneck)
        if not all(isinstance(n, int) and 1 <= n <= MOST for n in sizes):
            raise ValueError(f"sizes {sizes}: use whole numbers from 1 to {MOST}")
        if self.variant not in ("H", "HL", "All") or self.head not in ("deconvolution", "subpixel"):
            raise ValueError(
                f"variant {self.variant!r}, head {self.head!r}: use H, HL or All; deconvolution or subpixel"
            )
        if self.head == "deconvolution" and any(f & (f - 1) for f in self.factor):
            raise ValueError(f"factor {self.factor}: deconvolutions of stride 2 need powers of two")

    @property
    def inputs(self) -> int:
        """Maps that the first convolution reads."""
        return 1 + self.noise_map

    @property
    def trunk(self) -> int:
        """Maps that the bottleneck reads."""
        block = self.growth * self.layers
        return {"All": self.features + block * self.blocks, "HL": self.features + block, "H": block}[
            self.variant
        ]

    @property
    def strides(self) -> list[Shape]:
        """(z, y, x) strides of the deconvolutions, until every axis has its factor."""
        doublings = [f.bit_length() - 1 for f in self.factor]
        steps = range(max(doublings) if self.head == "deconvolution" else 0)
        return [(1 + (z > k), 1 + (y > k), 1 + (x > k)) for k in steps for z, y, x in [doublings]]

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds per low-res voxel, without biases and without the halo of a block.

        A deconvolution multiplies each of its inputs with all of its weights; what follows it runs on as many
        more voxels as its strides make.
        """
        taps: int = 3**self.dims
        block = self.growth * self.layers
        within = self.growth * sum(range(self.layers))  # maps that the layers of a block read of their own
        inputs = [self.features + block * k + within for k in range(self.blocks)]
        total = taps * (self.inputs * self.features + self.growth * sum(inputs))
        total += self.trunk * self.bottleneck
        if self.head == "subpixel":
            return total + taps * self.bottleneck * prod(self.factor)
        voxels = 1
        for stride in self.strides:
            total += voxels * taps * self.bottleneck**2
            voxels *= prod(stride)
        return total + voxels * taps * self.bottleneck


COMPACT, DEEP = "compact", "deep"
# Tong et al. 2017 as the paper adopts it: in-plane only, 3 x 3 deconvolutions.
PUBLISHED: dict[str, Any] = {
    "dims": 2,
    "features": 128,
    "blocks": 8,
    "layers": 8,
    "growth": 16,
    "bottleneck": 256,
    "head": "deconvolution",
}
VARIANTS = {"srdensenet-all": "All", "srdensenet-hl": "HL", "srdensenet-h": "H"}
NAMES = (COMPACT, DEEP, *VARIANTS)


def named(name: str, factor: Shape) -> Architecture:
    """The named architecture for a (z, y, x) factor.

    ``compact`` is 2-D where z is not reduced and 3-D elsewhere, with a sub-pixel head; up to a reduction of
    eight it has half as many maps, as the low-res volume is that much larger.  ``deep`` is the same with 30
    convolutions in its blocks instead of 8 to 16.

    Raises
    ------
    UsageError
        Unknown name, or a factor that it does not support.
    """
    if name in VARIANTS:
        if factor[0] != 1 or factor[1] != factor[2] or factor[1] not in (2, 4, 8):
            raise UsageError(
                f"architecture {name!r} is in-plane, with factor 1,2,2 or 1,4,4 or 1,8,8, got {factor}; "
                f"did you mean {COMPACT!r}?",
                value=factor,
                option="factor",
            )
        return Architecture(**PUBLISHED, factor=factor, variant=VARIANTS[name])
    if name not in (COMPACT, DEEP):
        raise UsageError(
            f"architecture {name!r} is unknown{did_you_mean(name, NAMES)}; known are {', '.join(NAMES)}",
            value=name,
            option="arch",
        )
    if prod(factor) == 1:
        raise UsageError(
            "factor 1 leaves nothing to up-sample; did you mean 2? What a coder took away at full resolution "
            "is given back by a filter that every file has of its own",
            value=factor,
            option="factor",
        )
    flat, few = factor[0] == 1, prod(factor) <= 8
    blocks, layers = (5, 6) if name == DEEP else ((4 if flat else 3) - few, 4)
    return Architecture(
        dims=2 if flat else 3,
        factor=factor,
        features=32 if few else 64,
        blocks=blocks,
        layers=layers,
        growth=16,
        bottleneck=64 if few else 96,
        noise_map=True,
    )
