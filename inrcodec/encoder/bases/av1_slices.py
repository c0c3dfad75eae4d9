"""A low-res volume as AV1 streams, at any quality.

In: a low-res volume.  Out: its streams.
Invariant: a quality is sought at a low effort first, and taken for what it gave at that of the file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import log2

from inrcodec.encoder.bases import streams
from inrcodec.encoder.lowres import Lowres
from inrcodec.layers.base import activity
from inrcodec.layers.base.av1 import codec, video
from inrcodec.layers.base.companding import Nodes
from inrcodec.volume.arrays import Bool, Float
from inrcodec.volume.value_range import amplitude

QUICK, QUICKER = 4, 8  # efforts at which a quality is sought first: of few voxels, and of many
MANY = 1 << 23  # voxels
LESS = 0.83  # of the error at the effort where a quality is sought first, at lower ones
# Voxels that are encoded at the preset's effort; of each following 1.5th power of two, at the next one.
AT_BEST = 1 << 22


class Encoder(streams.Encoder):
    """What one low-res volume is encoded to.

    Parameters
    ----------
    target : ndarray, (z, y, x), in [-1, 1].
    active : ndarray, (z, y, x), the voxels that are not background.
    curve : of the companding.
    effort : of the file, one of `video.PRESETS`.
    """

    def __init__(self, target: Float, active: Bool, curve: Nodes, effort: int, threads: int) -> None:
        z, y, x = target.shape
        quickly = max(effort, QUICK if target.size <= MANY else QUICKER)
        step = codec.slices_of((z, y, x)) or z
        super().__init__(target, active, video.QUALITIES, step, effort=effort, quickly=quickly, less=LESS)
        self.curve, self.threads, self.levels = curve, threads, codec.levels(curve)

    def stream(self, part: slice, setting: int, effort: int) -> tuple[bytes, Iterable[Float]]:
        """See `streams.Encoder.stream`."""
        codes = codec.to_codes(self.target[part], self.curve)
        stream, decoded = codec.write_stream(codes, setting, effort, self.threads)
        return stream, (self.levels[plane] for plane in decoded)

    def sections_of(self, streams: list[bytes]) -> Mapping[str, bytes]:
        """See `streams.Encoder.sections_of`."""
        return codec.sections_of(streams)


def effort_for(preset: int, voxels: int) -> int:
    """The effort for so many voxels, from that of a preset on."""
    return min(preset + max(0, round(log2(voxels / AT_BEST) / 1.5)), video.PRESETS[-1])


def flat_codes(low: Lowres, curve: Nodes) -> tuple[int, ...]:
    """The codes of background, as the header states them; none where every voxel is active."""
    if low.cells is None:
        return ()
    return codec.flat_codes(low.background, activity.TOLERANCE * amplitude(low.values), curve)
