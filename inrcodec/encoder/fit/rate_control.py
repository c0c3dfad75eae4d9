"""The weight of a bit in the loss, steered so that what is stored comes to the byte budget.

In: bits that the training counts, bytes that are stored.  Out: the Lagrange multiplier, and how many codes
coarser the steps should be.
Invariant: without a budget lambda stays what it was; numbers that are not finite steer nothing.
"""

from __future__ import annotations

from math import exp, inf, isfinite, log

from inrcodec.encoder.fit.checkpoint import State

# The logarithm of lambda moves by GAIN times that of (bytes / budget) in a whole schedule. Twice the lambda
# takes some 10 % of the bytes, and only after a tenth of the schedule: to steer harder crushes the weights.
STEER_FROM, GAIN, LARGEST_MOVE = 0.2, 30.0, 0.3
AIM = 0.99  # of the budget: lambda is steered a little below it
FULL, FILLED = 0.985, 0.994  # of the budget: below the first, steps are made finer until it is the second
A_CODE = 0.025  # share of the bytes that one code of the steps is worth


class RateControl:
    """Lambda, and the bytes that it leads to.

    Parameters
    ----------
    lmbda : loss units a bit to begin with.
    budget : bytes for all tiles.
    start_at : share of the schedule where the fit sets in.
    """

    def __init__(self, lmbda: float, budget: int | None, start_at: float = 0.0) -> None:
        self.lmbda, self.budget, self.start_at = lmbda, budget, start_at
        self.steered_at = start_at
        self.overhead = 1.0  # stored bits for a bit that the training counts
        self.size = 0  # bytes, as stored, when they were last measured

    @property
    def fits(self) -> bool:
        """Whether the last measured size is within the budget."""
        return self.budget is None or self.size <= self.budget

    def measure(self, size: int, bits: float) -> None:
        """Take note of the stored bytes of weights of which the training counts so many bits."""
        self.size, self.overhead = size, 8 * size / bits

    def steer(self, share: float, bits: float) -> None:
        """Make bits dearer where they are too many, cheaper where too few, at a share of the schedule.

        Bits that are not finite are those of a lost tile, which starts again: the others keep their lambda.
        """
        if self.budget is None:
            return
        excess = bits * self.overhead / (8 * AIM * self.budget)
        if not isfinite(excess):
            return
        begun = share > self.start_at + STEER_FROM * (1 - self.start_at)
        move = GAIN * (share - self.steered_at) * log(max(excess, 1e-3)) if begun else 0.0
        self.lmbda *= exp(min(max(move, -LARGEST_MOVE), LARGEST_MOVE))
        self.steered_at = share

    def coarser(self, safe: bool, over: bool) -> float:
        """By how many codes steps should be coarser (below 0: finer) to keep to the budget and to fill it.

        Once every tile has a state within the budget (``safe``), nothing more is given up; once the time is
        ``over``, too, nothing more is tried.
        """
        if self.budget is None:
            return 0.0
        used = self.size / self.budget
        if FULL <= used <= 1 or (safe and (used > 1 or over)):
            return 0.0
        return log(used / FILLED) / A_CODE

    def tensors(self) -> State:
        import torch

        values = [self.lmbda, self.overhead, self.size, self.steered_at]
        return {"values": torch.tensor(values, dtype=torch.float64)}

    def restore(self, state: State) -> None:
        lmbda, self.overhead, size, self.steered_at = state["values"].tolist()
        if not (0 <= lmbda < inf and isfinite(size) and 0 <= self.steered_at <= 1):
            raise ValueError("a lambda, a size or a place in the schedule that cannot be")
        self.lmbda, self.size = lmbda, int(size)
