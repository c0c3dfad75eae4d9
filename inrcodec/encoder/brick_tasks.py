"""A brick of the refinement: coded, decoded as a reader would, and compared.

In: the stored values of a brick, and where it is.  Out: its streams, and how far off what they decode to is.
Invariant: whatever is said of a brick was decoded from its streams, unless it is one of several trials.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from inrcodec.encoder import filter_fit
from inrcodec.encoder.normal_equations import Halves
from inrcodec.encoder.outcome import Outcome
from inrcodec.format import digest
from inrcodec.format.header_checks import REFINE_FILTER
from inrcodec.layers.lattice.bricks import Apart, Coding
from inrcodec.parallel import one_blas_thread
from inrcodec.progress import Report
from inrcodec.volume.arrays import Array
from inrcodec.volume.box import Box, Shape

NOTHING = Halves.nothing(REFINE_FILTER)


@dataclass(frozen=True)
class Brick:
    """What came of a brick."""

    streams: list[bytes]
    apart: Apart
    outcome: Outcome
    digest: bytes  # of the decoded brick; none of a trial
    halves: Halves = NOTHING  # what a filter is fitted to; of a trial


@dataclass(frozen=True)
class Trial:
    """What is wanted of one of several: no decoding."""

    share: float  # of the voxels, which a filter is fitted to


def trial_of(shape: Shape) -> Trial:
    """What is wanted of the bricks of a volume."""
    return Trial(min(1.0, filter_fit.VOXELS / prod(shape)))


def coded(
    coding: Coding,
    nothing: Outcome,
    trial: Trial | None,
    values: Array,
    at: Box,
    threads: int,
    report: Report | None,
) -> Brick:
    """Code a brick; of a trial, what the encoder takes it to decode to is compared."""
    half = None if report is None else lambda done: report(done if trial else done / 2)
    with one_blas_thread():
        found = coding.encode(values, threads, half)
        if trial is not None:
            halves = filter_fit.halves(coding, values, found.integers, trial.share)
            outcome = nothing.of(values, found.stored, at)
            return Brick(found.streams, found.apart, outcome, b"", halves)
    streams, apart = found.streams, found.apart
    del found
    rest = None if report is None else lambda done: report(0.5 + done / 2)
    return checked(coding, nothing, values, (streams, apart, at), threads, rest)


def checked(
    coding: Coding,
    nothing: Outcome,
    values: Array,
    given: tuple[list[bytes], Apart, Box],
    threads: int,
    report: Report | None,
) -> Brick:
    """Decode a brick from all that is stored of it."""
    streams, apart, at = given
    with one_blas_thread():
        decoded = coding.decode(streams, values.shape, apart, threads, report)
    return Brick(streams, apart, nothing.of(values, decoded, at), digest.of_brick(decoded))
