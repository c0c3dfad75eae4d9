"""A brick of the refinement: coded, decoded as a reader would, and compared.

In: the stored values of a brick, and where it is.  Out: its streams, and how far off what they decode to is.
Invariant: whatever is said of a brick was decoded from its streams, unless it is one of several trials.
"""

from __future__ import annotations

from dataclasses import dataclass

from inrcodec.encoder.outcome import Outcome
from inrcodec.format import digest
from inrcodec.layers.lattice.bricks import Apart, Coding
from inrcodec.parallel import one_blas_thread
from inrcodec.progress import Report
from inrcodec.volume.arrays import Array
from inrcodec.volume.box import Box


@dataclass(frozen=True)
class Brick:
    """What came of a brick."""

    streams: list[bytes]
    apart: Apart
    outcome: Outcome
    digest: bytes  # of the decoded brick; none of a trial


def coded(
    coding: Coding,
    nothing: Outcome,
    trial: bool,
    values: Array,
    at: Box,
    threads: int,
    report: Report | None,
) -> Brick:
    """Code a brick; of a trial, what the encoder takes it to decode to is compared."""
    half = None if report is None else lambda done: report(done if trial else done / 2)
    with one_blas_thread():
        streams, apart, decoded = coding.encode(values, threads, half)
    if trial:
        return Brick(streams, apart, nothing.of(values, decoded, at), b"")
    del decoded
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
