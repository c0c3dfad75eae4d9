"""The last of some settings whose value is within a goal, where values rise from one to the next.

In: a function that measures a setting, which is dear, and what is known of others.  Out: a setting.
Invariant: what is returned was measured and is within the goal.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping
from math import exp, log

import numpy as np

SMALLEST = 1e-300  # value: what is exact is above 0 too
SURER = 0.9  # of the goal: where guesses aim, once more each time, when the tries are used up in vain
SLOPE = 0.02  # of the logarithm of a value from one setting to the next, where nothing is known


class Dial:
    """Values of settings ``0 .. count - 1``, above 0, that nearly always rise.

    Parameters
    ----------
    measure : the value of a setting.
    hints : values of some settings that are near to theirs by one and the same factor.
    factor : that is expected.
    """

    def __init__(
        self,
        measure: Callable[[int], float],
        count: int,
        hints: Mapping[int, float] | None = None,
        factor: float = 1.0,
    ) -> None:
        self.measure, self.count, self.hints, self.factor = measure, count, dict(hints or {}), factor
        self.known: dict[int, float] = {}

    def last_within(self, goal: float, tries: int, near: float = 0.0) -> int | None:
        """The last setting whose value is at most a goal, or one that is close to it.

        Parameters
        ----------
        tries : measurements at most, but for those that it takes to find any setting within the goal.
        near : share of the goal that a value may be below it to end the search.
        """
        low = max((place for place, value in self.known.items() if value <= goal), default=-1)
        high = min((place for place, value in self.known.items() if value > goal), default=self.count)
        while high - low > 1 and (tries > 0 or low < 0):
            if low >= 0 and self.known[low] >= goal * (1 - near):
                break
            surely = goal * SURER ** max(1 - tries, 0)
            place = self._guess(surely, low, high) if self.known or self.hints else (low + high) // 2
            self.known[place] = value = max(self.measure(place), SMALLEST)
            low, high, tries = (place, high, tries - 1) if value <= goal else (low, place, tries - 1)
        return low if low >= 0 else None

    def _guess(self, goal: float, low: int, high: int) -> int:
        """The last setting between two that is expected to be within the goal."""
        inside = range(low + 1, high)
        found = bisect_right(inside, goal, key=self._expected)
        return inside[min(max(found - 1, 0), len(inside) - 1)]

    def _expected(self, place: int) -> float:
        """A value by interpolation among what was measured, or hinted at with the factor of the nearest."""
        if len(self.known) > 1 or not self.hints:
            return _between(self.known, place)
        factor = next((value / _between(self.hints, at) for at, value in self.known.items()), self.factor)
        return _between(self.hints, place) * factor


def _between(known: Mapping[int, float], place: int) -> float:
    """By the logarithms of the two nearest values, on both sides where there are some."""
    places = sorted(known)
    if len(places) == 1:
        return known[places[0]] * exp(SLOPE * (place - places[0]))
    at = min(max(int(np.searchsorted(places, place)), 1), len(places) - 1)
    a, b = places[at - 1], places[at]
    low, high = (log(max(known[at], SMALLEST)) for at in (a, b))
    slope = max((high - low) / (b - a), SLOPE / 100)
    return max(exp(min(low + slope * (place - a), 700.0)), SMALLEST)
