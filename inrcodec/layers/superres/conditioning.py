"""The inputs of a model beside its low-res values: their window and their noise level.

In: a header.  Out: the window in unit values, the noise level; or the header that states the noise level.
Invariant: the noise that the encoder measures in the window is the one that the decoder hands to the model.
"""

from __future__ import annotations

from dataclasses import replace
from math import sqrt

from inrcodec.format.header import LANCZOS, NOISE_STEPS, Header
from inrcodec.volume.value_range import Range


def window_of(header: Header) -> tuple[float, float]:
    """The network's window, in the file's unit values."""
    return Range(float(header.low), float(header.high)).window(header.sr_window, header.rescale)


def noise_of(header: Header) -> float:
    """Noise level: the root mean square error of the low-res volume, in units of the network's window."""
    return header.sr_noise / NOISE_STEPS


def with_noise(header: Header, error: float) -> Header:
    """A header that states the noise level of its low-res volume.

    Parameters
    ----------
    error : mean squared error of the active voxels, in unit values.
    """
    if header.sr == LANCZOS or header.low == header.high:
        return replace(header, sr_noise=0)
    low, high = window_of(header)
    return replace(header, sr_noise=min(round(sqrt(error) * 2 / (high - low) * NOISE_STEPS), NOISE_STEPS))
