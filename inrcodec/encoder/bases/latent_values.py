"""What values of a volume are to a latent model, which has seen tissue at one scale.

In: facts of a volume, and a curve of companding.  Out: `Way`, with the ends of the header.
Invariant: metal, or a pad far below air, changes what no other voxel is, but for the rounding of a curve.

CT      1 is 1 000 HU where a curve is least steep, so that what it favours is seen larger
others  0, or the darkest value where that is far from 0, is -1; the brightest is 0.5
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from inrcodec.encoder.facts import Facts
from inrcodec.format.header_checks import ONE
from inrcodec.layers.base import companding
from inrcodec.layers.base.companding import Nodes
from inrcodec.layers.base.latent import models
from inrcodec.layers.base.latent.model import Model
from inrcodec.volume import windows
from inrcodec.volume.arrays import Float
from inrcodec.volume.value_range import is_narrow

Ends = tuple[float, float]

PLAIN: Ends = (-1.0, 1.0)
HU = 1000.0
TWELVE_BITS = -1024.0, 3071.0  # HU: what lies beyond a curve may keep little of
DARK, BRIGHT = -1.0, 0.5  # the darkest and the brightest value to a model
FAR = 0.5  # of the brightest value: a darker one than that is near 0


@dataclass(frozen=True, eq=False)
class Way:
    """How values of a volume become latents."""

    manifest: models.Manifest
    ends: Ends = PLAIN
    curve: Nodes = ()

    @classmethod
    def plain(cls) -> Way:
        """By the usual model, of values that nothing is known of."""
        return cls(models.usual())

    @classmethod
    def of(cls, facts: Facts, curve: Nodes) -> Way:
        """By the usual model."""
        return cls(models.usual(), ends_of(facts, curve), curve)

    @property
    def model(self) -> Model:
        """Its networks."""
        return models.load(self.manifest.id, bytes.fromhex(self.manifest.sha256))


def ends_of(facts: Facts, curve: Nodes) -> Ends:
    """Model values of the coded values -1 and +1."""
    volume, span = facts.volume, facts.span
    if facts.is_constant:
        return PLAIN
    slope, intercept = volume.rescale
    physical = span.low * slope + intercept, span.high * slope + intercept
    if windows.is_hounsfield(volume, span):
        return ends_in_hounsfield(physical, curve)
    return ends_of_tissue(physical, _tissue(facts), curve)


def ends_in_hounsfield(physical: Ends, curve: Nodes) -> Ends:
    """Of unit values -1 and +1 that are these Hounsfield units."""
    at = np.array(physical)
    kept = np.sort(np.interp(TWELVE_BITS, *_rising(at, np.array(PLAIN))))
    return _companded(at / HU, kept, curve)


def ends_of_tissue(physical: Ends, tissue: Ends, curve: Nodes = ()) -> Ends:
    """Of unit values -1 and +1 that are these values without a unit, beside the darkest and the brightest."""
    dark, bright = tissue
    linear = (np.array(physical) - dark) * ((BRIGHT - DARK) / (bright - dark)) + DARK
    return _companded(linear, np.array(PLAIN), curve)


def _tissue(facts: Facts) -> Ends:
    """The darkest and the brightest physical value, but for a few."""
    slope, intercept = facts.volume.rescale
    dark, bright = sorted(end * slope + intercept for end in facts.tails)
    if bright <= dark:  # next to nothing but background
        dark, bright = facts.span.physical(facts.volume.rescale)
    return (0.0 if 0 <= dark < FAR * bright else dark), bright


def _companded(linear: Float, kept: Float, curve: Nodes) -> Ends:
    """The ends with a curve, the least steep part of which, of values that are kept, is as without one."""
    ends = _with_curve(linear, kept, curve) if curve else linear
    low, high = ends.tolist()
    return PLAIN if is_narrow(*sorted((low, high))) else (low, high)


def _with_curve(linear: Float, kept: Float, curve: Nodes) -> Float:
    nodes = np.array([-ONE, *curve[0::2], ONE]) / ONE
    middles = (nodes[1:] + nodes[:-1]) / 2
    inside = middles[(middles > kept[0]) & (middles < kept[1])]
    slopes = 1 / companding.slope_of_expand(curve, companding.compress(curve, inside))
    scale = (linear[1] - linear[0]) / 2 / slopes.min(initial=np.inf if len(inside) else 1.0)
    first = float(companding.compress(curve, kept[:1])[0])
    at_first = linear[0] + (kept[0] + 1) / 2 * (linear[1] - linear[0])
    ends: Float = at_first + (np.array(PLAIN) - first) * scale
    return ends


def _rising(x: Float, y: Float) -> tuple[Float, Float]:
    """Points of a line, as `numpy.interp` takes them."""
    order = np.argsort(x)
    return x[order], y[order]
