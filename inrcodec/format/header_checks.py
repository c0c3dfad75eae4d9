"""Values of a header that mean nothing, or that this version does not know.

In: a header.  Out: nothing, or an error that names the field.
The one law: a header that passes is sound in itself; what is too large is for `limits`.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

ONE = 1 << 15  # the integer of unit value 1 among the nodes of a companding curve
MOST = 8  # nodes between the ends


def is_curve(nodes: Sequence[int]) -> bool:
    """Whether nodes are few, come in pairs, and rise between the ends in both coordinates."""
    if len(nodes) % 2 or len(nodes) > 2 * MOST:
        return False
    ends = [[-ONE, *axis, ONE] for axis in (nodes[0::2], nodes[1::2])]
    return all(a < b for axis in ends for a, b in pairwise(axis))
