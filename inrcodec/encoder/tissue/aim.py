"""What an encoding without a target aims at: an error of flat tissue; and which file is taken for it.

In: facts of a volume, and options; files that were decoded.  Out: the error, if there is anything to aim at;
one of the files.
Invariant: a rule of the volume's tissue, not of its range: metal changes no aim.  What is not reached is
told.  Imports no torch.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from inrcodec.encoder.facts import Facts
from inrcodec.encoder.options import ResolvedOptions
from inrcodec.format.header import SIREN

if TYPE_CHECKING:
    from inrcodec.encoder.measured import Measured

AIM = 0.2  # of the tolerance: 2 HU, where a scan of a head itself varies by 5
IN_VAIN = 0.95  # of an error: a file that leaves more than that of it is no better for its flat tissue


def aim(facts: Facts, options: ResolvedOptions) -> float | None:
    """The error of flat tissue after 5 mm that is aimed at, in physical units.

    ``None`` where a target says what is wanted, where the preset has no time for it or the options say how
    much is to be done, and where there is no flat tissue.
    """
    targets = (options.ratio, options.size, options.psnr, options.max_error, options.width)
    if options.tissue_fits is None or any(target is not None for target in targets):
        return None
    if options.time_budget is not None or options.steps_given:
        return None
    return AIM * facts.flat_tissue.tolerance if facts.flat_tissue.voxels else None


def steered(facts: Facts, options: ResolvedOptions) -> float | None:
    """The same of a coder that is steered to it; ``None`` of networks, whose fits take minutes."""
    return None if options.coder == SIREN else aim(facts, options)


def error_of(found: Measured) -> float:
    """The error of flat tissue after 5 mm, in physical units."""
    assert found.low_pass is not None
    return found.low_pass.error_mm


def best(attempts: list[Measured], wanted: float) -> Measured:
    """The smallest file whose flat tissue is within the aim; else one of the least error, with a notice."""
    enough = [a for a in attempts if error_of(a) <= wanted]
    if enough:
        return min(enough, key=lambda a: a.size)
    least = min(map(error_of, attempts))
    nearest = min((a for a in attempts if IN_VAIN * error_of(a) <= least), key=lambda a: a.size)
    unit = nearest.header.unit
    notice = (
        f"flat tissue is off by {error_of(nearest):.1f}{unit and f' {unit}'} after a Gaussian of 5 mm, "
        f"{wanted:.1f} were aimed at: look closely before you trust faint structures, or give a size"
    )
    return replace(nearest, notices=(*nearest.notices, notice))
