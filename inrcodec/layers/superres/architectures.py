"""Architectures by name: the published ones, and compact ones that a laptop runs.

In: a name and a factor.  Out: the integers of :class:`inrcodec.layers.superres.network.Architecture`.
The one law: a name and a factor say everything.  Imports no torch.
"""

from __future__ import annotations

from math import prod
from typing import Any

from inrcodec.errors import UsageError
from inrcodec.validate import did_you_mean
from inrcodec.volume.box import Shape

COMPACT, DEEP = "compact", "deep"
# Tong et al. 2017 as the paper takes it over; in-plane only, 3 x 3 deconvolutions.
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


def named(name: str, factor: Shape) -> dict[str, Any]:
    """Keywords of the architecture of a name for a (z, y, x) factor.

    ``compact`` is 2-D where z stays as it is and 3-D elsewhere, with a sub-pixel head; up to eight voxels for
    one take half as many maps, as the low-res volume is that much larger.  ``deep`` is the same with 30
    convolutions in its blocks instead of 8 to 16.

    Raises
    ------
    UsageError
        Unknown name, or a factor that it does not serve.
    """
    if name in VARIANTS:
        if factor[0] != 1 or factor[1] != factor[2] or factor[1] not in (2, 4, 8):
            raise UsageError(
                f"architecture {name!r} is in-plane, with factor 1,2,2 or 1,4,4 or 1,8,8, got {factor}; "
                f"did you mean {COMPACT!r}?",
                value=factor,
            )
        return {**PUBLISHED, "factor": factor, "variant": VARIANTS[name]}
    if name not in (COMPACT, DEEP):
        raise UsageError(
            f"no architecture {name!r}{did_you_mean(name, NAMES)}; there are {', '.join(NAMES)}", value=name
        )
    if prod(factor) == 1:
        raise UsageError("factor 1 leaves nothing to bring back, pass one above 1", value=factor)
    flat, few = factor[0] == 1, prod(factor) <= 8
    blocks, layers = (5, 6) if name == DEEP else ((4 if flat else 3) - few, 4)
    return {
        "dims": 2 if flat else 3,
        "factor": factor,
        "features": 32 if few else 64,
        "blocks": blocks,
        "layers": layers,
        "growth": 16,
        "bottleneck": 64 if few else 96,
        "noise_map": True,
    }
