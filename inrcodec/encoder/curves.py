"""The companding of an encoding: which values get more of the coder's range, and so smaller errors.

In: facts of a volume, and options.  Out: nodes of `layers.base.companding`, and notices.
Invariant: a rule of physical values; metal, or a pad far below air, changes no slope between other values.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from inrcodec.encoder.facts import Facts
from inrcodec.encoder.options import ResolvedOptions
from inrcodec.encoder.tissue import aim as tissue_aim
from inrcodec.format.header import AV1, LATENT, SIREN
from inrcodec.format.header_checks import ONE
from inrcodec.layers.base import companding
from inrcodec.volume import windows

# Edges in Hounsfield units, and the slope below the first, between two and above the last. What soft tissue
# differs by is a hundredth of what a CT spans: with 2.5 times the slope its low-pass error is a third lower
# at equal bytes, for some 0.2 dB of the low-res volume (docs/experiments/fit.md). Beyond 12 bits there is
# metal, and below them padding: what little they keep is enough to tell that they are there.
EDGES = (-1024.0, *windows.WINDOWS["soft-tissue"], 3071.0)
SLOPES = (0.1, 1.0, 2.5, 1.0, 0.1)
# Where a PSNR is requested, which counts all values alike, 2.5 took AV1 7 to 27 % more bytes for 40 to 52 dB
# of a chest and of an abdomen, and 1.4 took 2 % fewer to 3 % more than no curve.
GENTLE = 1.4
# Where flat tissue is aimed at, by the coder. AV1: as steep as a focus; 2 HU of a head's crop then take 15 %
# fewer bytes than at 2.5, for 0.1 dB. Latents: their finest step leaves 1.7 HU of the low-res head at 7
# (59 kB), of which the file had 2.02, and 1.5 at 9 (66 kB); for the same error the bytes are much alike.
AIMED = {AV1: 5.0, LATENT: 9.0}


def curve_for(facts: Facts, options: ResolvedOptions) -> tuple[companding.Nodes, list[str]]:
    """The curve for a focus, or that for a CT, if the preset allows one; and notices for the user.

    Raises
    ------
    UsageError
        A focus that means nothing for this volume.
    """
    window, notices = windows.unit_window(options.focus, facts.volume, facts.span)
    if window is not None:
        return companding.curve(*window), notices
    if not options.companded:
        return (), notices
    return for_ct(facts, _steepest(facts, options)), notices


def _steepest(facts: Facts, options: ResolvedOptions) -> float:
    """The slope of soft tissue."""
    if options.psnr is not None and options.coder != SIREN:
        return GENTLE
    return max(SLOPES) if tissue_aim.steered(facts, options) is None else AIMED[options.coder]


def for_ct(facts: Facts, steepest: float = max(SLOPES)) -> companding.Nodes:
    """The curve for values in Hounsfield units; none for others, nor where all have one slope."""
    volume, span = facts.volume, facts.span
    if span.low == span.high or not windows.is_hounsfield(volume, span):
        return ()
    ends = span.physical(volume.rescale)
    return between(*ends, falling=volume.rescale[0] < 0, steepest=steepest)


def between(
    low: float, high: float, *, falling: bool = False, steepest: float = max(SLOPES)
) -> companding.Nodes:
    """The curve of a CT from a lowest value to a highest, in Hounsfield units.

    Parameters
    ----------
    falling : whether the lowest stored value is the highest in Hounsfield units.
    steepest : slope of soft tissue.
    """
    inside = [edge for edge in EDGES if low < edge < high]
    ends = np.array([low, *inside, high])
    usual = np.array([SLOPES[np.searchsorted(EDGES, (a + b) / 2)] for a, b in pairwise(ends)])
    slopes = np.where(usual == max(SLOPES), steepest, usual)
    reached = np.concatenate([[0.0], np.cumsum(np.diff(ends) * slopes)])
    unit = (2 * (ends - low) / (high - low) - 1, 2 * reached / reached[-1] - 1)
    if falling:
        unit = (-unit[0][::-1], -unit[1][::-1])
    nodes = np.rint(np.array(unit) * ONE).astype(int).T[1:-1]
    return _rising(nodes.tolist())


def _rising(nodes: list[list[int]]) -> companding.Nodes:
    """Nodes in steps of the header, without those that rounding has put upon another or upon an end."""
    kept = [[-ONE, -ONE]]
    for node in nodes:
        if min(n - before for n, before in zip(node, kept[-1], strict=True)) > 0 and max(node) < ONE:
            kept.append(node)
    return tuple(n for node in kept[1:] for n in node)
