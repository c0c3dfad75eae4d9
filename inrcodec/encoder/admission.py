"""What may be coded with loss, and in which values.

In: a volume as it was read, and options.  Out: the volume that is encoded, or a refusal.
Invariant: only stored values that come back bit for bit keep a scale of their own in each slice.
"""

from __future__ import annotations

from dataclasses import replace

from inrcodec.encoder.options import ResolvedOptions
from inrcodec.errors import UsageError
from inrcodec.volume.volume import Volume


def admitted(volume: Volume, options: ResolvedOptions) -> Volume:
    """The volume that is encoded: stored values without loss, else values on one scale.

    Raises
    ------
    UsageError
        Networks for slices that have scales of their own.
    """
    if options.max_error != 0:
        return _on_one_scale(volume)
    if options.base and volume.slice_rescale is not None:
        raise UsageError(
            "the slices have scales of their own, which networks cannot follow: leave it out",
            value=True,
            option="base",
        )
    return volume


def _on_one_scale(volume: Volume) -> Volume:
    if volume.slice_rescale is None:
        return volume
    uniform = volume.uniform()
    notice = f"each slice has its own scale: its physical values are coded, as {uniform.array.dtype}"
    return replace(uniform, notices=(*volume.notices, notice))
