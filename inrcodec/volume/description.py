"""Technical facts of a volume, which identify nobody: what a sink needs to write the same kind again.

In: a mapping of names to numbers and texts.  Out: what some of them mean, whatever a file holds.
Invariant: a fact may be absent or impossible, and is then as if it were not there.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite

Fact = int | float | str

# Keys of a description: the values are numbers of segments; bits of a voxel in the source.
LABELS, ALLOCATED, STORED = "labels", "bits_allocated", "bits_stored"
THICKNESS = "thickness"  # of a slice in mm, where it is not the distance of slices
MOST_BITS = 64  # of a voxel


def bits_of(facts: Mapping[str, Fact], fact: str, otherwise: int) -> int:
    """Bits of a voxel that a description states, if it does and they can be."""
    bits = facts.get(fact)
    return bits if isinstance(bits, int) and 1 <= bits <= MOST_BITS else otherwise


def length_of(facts: Mapping[str, Fact], fact: str) -> float | None:
    """A length that a description states, if it does and it can be."""
    length = facts.get(fact)
    return length if isinstance(length, int | float) and isfinite(length) and length > 0 else None


def facts_from(facts: Mapping[str, Fact], start: int, stop: int) -> dict[str, Fact]:
    """Facts of a run of slices: those that begin to hold before it hold from its first slice on."""
    moved: dict[str, Fact] = {}
    for key in sorted(facts, key=_named):  # a file has them in the order of their letters
        (name, first), value = _named(key), facts[key]
        if first <= start:
            moved[name] = value
        elif first < stop:
            moved[f"{name}@{first - start}"] = value
    return moved


def facts_of_any_grid(facts: Mapping[str, Fact]) -> dict[str, Fact]:
    """Facts that are true of a coarser version too: not of a slice, nor of slices from one on."""
    return {key: value for key, value in facts.items() if key != THICKNESS and "@" not in key}


def _named(key: str) -> tuple[str, int]:
    """Name of a fact, and the slice from which on it holds."""
    name, _, at = key.rpartition("@")
    return (name, int(at)) if at.isdecimal() and name else (key, 0)
