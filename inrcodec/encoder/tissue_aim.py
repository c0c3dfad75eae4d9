"""What an encoding without a target aims at: an error of flat tissue.

In: facts of a volume, and options.  Out: the error, if there is anything to aim at.
Invariant: a rule of the volume's tissue, not of its range: metal changes no aim.  Imports no torch.
"""

from __future__ import annotations

from inrcodec.encoder.facts import Facts
from inrcodec.encoder.options import ResolvedOptions

AIM = 0.2  # of the tolerance: 2 HU, where a scan of a head itself varies by 5


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
