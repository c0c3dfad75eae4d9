"""What a quantised residual costs, and whether a smaller one is worth its error.

In: residuals of a phase.  Out: bits of each token in each context, or magnitudes.
Invariant: an encoder's choice, made in whole numbers: every implementation makes the same.

A magnitude s of step t leaves an error d; s - j leaves d + j t.  It is taken where the bits that it saves,
times ``trade / ONE`` of t^2, are worth more than the squared error that it adds, j t (2 d + j t).
"""

from __future__ import annotations

import numpy as np

from inrcodec.entropy import tokens
from inrcodec.entropy.adaptive import CONTEXTS
from inrcodec.volume.arrays import Bool, Bytes, Ints

ONE = 1 << 8  # of bits, and of a trade
SMALLER = 2  # steps that a magnitude is lowered by at most
ROUNDING = 0.35  # of a step, added to a magnitude before it is divided, where tokens are counted
UNSEEN = 0.02  # times that any token is taken to be there, beside those that are counted


def rounding(step: int) -> int:
    """What is added to a magnitude before it is divided by its step, to count tokens."""
    return int(ROUNDING * step)


def costs_of(contexts: Bytes, folded: Ints) -> Ints:
    """Bits of each token in each context, plain ones included, (contexts, tokens), in 1 / `ONE`.

    By how often each is there: tables that adapt come close to it.
    """
    places = contexts.astype(np.int64) * tokens.COUNT + tokens.tokens_of(folded)
    counts = np.bincount(places, minlength=CONTEXTS * tokens.COUNT).reshape(CONTEXTS, -1) + UNSEEN
    bits = np.log2(counts.sum(1, keepdims=True) / counts) + tokens.PLAIN_BITS
    costs: Ints = np.rint(ONE * bits).astype(np.int64)
    return costs


def cheaper(left: Ints, size: Ints, ends: tuple[Ints, Bytes], costs: Ints, step: int, trade: int) -> Ints:
    """Magnitudes that are worth their bits.

    Parameters
    ----------
    left : residuals, (n,).
    size : the magnitudes nearest to them.
    ends : of each voxel, steps that both signs may take, and its context.
    costs : of `costs_of`.
    """
    both, contexts = ends
    error, positive = np.abs(left) - size * step, left > 0
    best, found = np.zeros(len(size), np.int64), size
    full = _cost(size, positive, both, contexts, costs)
    for lower in range(1, SMALLER + 1):
        smaller = np.maximum(size - lower, 0)
        saved = full - _cost(smaller, positive, both, contexts, costs)
        gain = trade * step * saved - lower * (2 * error + lower * step) * ONE**2
        taken = (size >= lower) & (gain > best)
        best, found = np.where(taken, gain, best), np.where(taken, smaller, found)
    return found


def _cost(size: Ints, positive: Bool, both: Ints, contexts: Bytes, costs: Ints) -> Ints:
    folded = np.where(size <= both, 2 * size - (positive & (size > 0)), size + both)
    found: Ints = costs[contexts, tokens.tokens_of(folded)]
    return found
