"""A file's low-res values as its model takes them: in a window, and with so much noise.

In: a header.  Out: the window in unit values, and the noise; or the header that tells it.
The one law: what the encoder measures in the window is what the decoder tells the model.
"""

from __future__ import annotations

from dataclasses import replace
from math import sqrt

import numpy as np

from inrcodec.format.header import LANCZOS, NOISE_STEPS, Header
from inrcodec.volume.value_range import Range


def window_of(header: Header) -> tuple[float, float]:
    """The network's window, in the file's unit values."""
    slope, intercept = header.rescale
    span = Range(float(header.low), float(header.high))
    low, high = span.to_unit((np.array(header.sr_window) - intercept) / slope)
    return float(low), float(high)


def noise_of(header: Header) -> float:
    """Root mean square error of the low-res volume that the network is told, in the values that it takes."""
    return header.sr_noise / NOISE_STEPS


def telling(header: Header, error: float) -> Header:
    """The header of a low-res volume that errs by so much.

    Parameters
    ----------
    error : mean squared error of what is active, in unit values.
    """
    if header.sr == LANCZOS or header.low == header.high:
        return replace(header, sr_noise=0)
    low, high = window_of(header)
    return replace(header, sr_noise=min(round(sqrt(error) * 2 / (high - low) * NOISE_STEPS), NOISE_STEPS))
