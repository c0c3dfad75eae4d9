"""Companding: more of [-1, 1] for the values in focus, less for all others, and back.

Invariant: `expand` undoes `compress` to the rounding of float64, voxel by voxel: a value depends on nothing
but itself and the nodes.

The curve is piecewise linear, rises from (-1, -1) to (1, 1), and has few nodes between.  Nodes are integers
in steps of 2^-15, which float64 holds exactly, flat: linear, companded, linear, companded, …
"""

from collections.abc import Sequence

import numpy as np

from inrcodec.format.header_checks import ONE
from inrcodec.volume.arrays import Float

Nodes = tuple[int, ...]

# The slope in the window is then 5 times that outside: steeper ones gain little more of the low-res error and
# lose what is left of it after super-resolution (docs/experiments/fit.md).
POWER = 0.45


def compress(nodes: Nodes, unit: Float) -> Float:
    """Linear unit values, any shape, to companded ones; the array itself where there are no nodes."""
    return _mapped(nodes[0::2], nodes[1::2], unit) if nodes else unit


def expand(nodes: Nodes, companded: Float) -> Float:
    """Companded unit values, any shape, to linear ones; the array itself where there are no nodes."""
    return _mapped(nodes[1::2], nodes[0::2], companded) if nodes else companded


def slope_of_expand(nodes: Nodes, companded: Float) -> Float:
    """Derivative of `expand`; at a node that of what follows it."""
    if not nodes:
        return np.ones_like(companded)
    x, y = _axes(nodes[1::2], nodes[0::2])
    return (np.diff(y) / np.diff(x))[np.searchsorted(x[1:-1], companded, side="right")]


def curve(low: float, high: float) -> Nodes:
    """The curve for a window of values.

    A window that is a share w of all values gets the share w**POWER of the companded ones. So a narrow one
    gains much and takes little: of a 12-bit CT's values, the brain's 2 % become 17 %, and soft tissue's 10 %
    become 35 %. A wide one cannot swallow the rest: what is outside keeps at least POWER of its slope.

    Parameters
    ----------
    low, high : unit values, ascending, at least `focus.NARROWEST` apart.
    """
    width = high - low
    companded = 2 * (width / 2) ** POWER
    outside = (2 - companded) / (2 - width) if width < 2 else 1.0
    start = -1 + (low + 1) * outside
    ends = ((low, start), (high, start + companded))
    steps = [(round(x * ONE), round(y * ONE)) for x, y in ends]
    return tuple(n for node in steps if min(node) > -ONE and max(node) < ONE for n in node)


def _mapped(source: Sequence[int], target: Sequence[int], values: Float) -> Float:
    """Values along the curve from ``source`` nodes to ``target`` nodes; the ends are added here."""
    x, y = _axes(source, target)
    slope = np.diff(y) / np.diff(x)
    part = np.searchsorted(x[1:-1], values, side="right")
    return y[part] + (values - x[part]) * slope[part]


def _axes(source: Sequence[int], target: Sequence[int]) -> tuple[Float, Float]:
    """Both coordinates of all nodes, the ends among them."""
    x, y = (np.array([-ONE, *axis, ONE], dtype=np.float64) / ONE for axis in (source, target))
    return x, y
