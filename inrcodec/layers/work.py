"""What decoding takes: bytes in memory, from the header alone, and the work of models, from their cards.

In: a header.  Out: bytes and multiply-adds, by name.
Invariant: nothing is loaded to find out; ``None`` stands for the work of a model that is not installed.
"""

from __future__ import annotations

from inrcodec.format import limits
from inrcodec.format.header import LATENT, Header
from inrcodec.layers.base.latent import models
from inrcodec.layers.superres import registry


def costs(header: Header) -> dict[str, int | None]:
    """`limits.costs`, with the multiply-adds of latents and of super-resolution."""
    known: dict[str, int | None] = {**limits.costs(header)}
    if header.coder == LATENT:
        known["multiply_adds"] = models.work_of(header)
    return known | {"superres_multiply_adds": registry.work_of(header)}
