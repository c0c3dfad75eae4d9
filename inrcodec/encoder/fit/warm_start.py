"""A trained network made wider or narrower, to start the next fit from.

In: the weights of a network and another width.  Out: weights of that width.
Invariant: a wider network computes the same function; a narrower one keeps the units that matter most.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from inrcodec.layers.base.siren.siren import Layout

Float = NDArray[np.float64]


def resized(weights: Sequence[Float], layout: Layout, rng: np.random.Generator) -> list[Float]:
    """The weights of one network, one (in, out) array a tensor, at the width of another layout.

    New units have random incoming weights, like those of new networks, and no outgoing ones; the units that
    are dropped are those with the smallest outgoing weights.

    Parameters
    ----------
    weights : sequence of ndarray
        Of a network with the same number of layers.
    layout : Layout
        Of the network that comes out.
    rng : Generator
        Of the new units.
    """
    tensors = [w.copy() for w in weights]
    for k in range(0, 2 * layout.layers, 2):
        width, target = tensors[k].shape[1], layout.width
        if target < width:
            kept = np.sort(np.argsort(np.abs(tensors[k + 2]).sum(1), kind="stable")[width - target :])
            tensors[k], tensors[k + 1] = tensors[k][:, kept], tensors[k + 1][:, kept]
            tensors[k + 2] = tensors[k + 2][kept]
        elif target > width:
            more = [
                rng.uniform(-bound, bound, (len(tensors[j]), target - width))
                for j, bound in ((k, layout.bounds[k]), (k + 1, layout.bounds[k + 1]))
            ]
            tensors[k] = np.hstack([tensors[k], more[0]])
            tensors[k + 1] = np.hstack([tensors[k + 1], more[1]])
            none = np.zeros((target - width, tensors[k + 2].shape[1]))
            tensors[k + 2] = np.vstack([tensors[k + 2], none])
    return tensors
