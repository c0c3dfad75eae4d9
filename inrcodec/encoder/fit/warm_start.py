"""A trained network made wider or narrower, to start the next fit from.

In: the weights of a network and another width.  Out: weights of that width.
Invariant: a wider network computes the same function; a narrower one keeps the units that matter most.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from inrcodec.layers.base.siren.siren import Layout
from inrcodec.volume.arrays import Float


def resized(weights: Sequence[Float], layout: Layout, rng: np.random.Generator) -> list[Float]:
    """The weights of one network, one (in, out) array a tensor, at the width of another layout.

    New units have random incoming weights, like those of new networks, and no outgoing ones; the units that
    are dropped are those with the smallest outgoing weights.  Both have the same number of layers.
    """
    tensors = [w.copy() for w in weights]
    for k in range(0, 2 * layout.layers, 2):
        width, target = tensors[k].shape[1], layout.width
        if target < width:
            kept = np.sort(np.argsort(np.abs(tensors[k + 2]).sum(1), kind="stable")[width - target :])
            tensors[k], tensors[k + 1] = tensors[k][:, kept], tensors[k + 1][:, kept]
            tensors[k + 2] = tensors[k + 2][kept]
        elif target > width:
            for j in (k, k + 1):
                more = rng.uniform(-layout.bounds[j], layout.bounds[j], (len(tensors[j]), target - width))
                tensors[j] = np.hstack([tensors[j], more])
            tensors[k + 2] = np.pad(tensors[k + 2], ((0, target - width), (0, 0)))
    return tensors
