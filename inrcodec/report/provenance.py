"""What a decoded volume has to say of its loss, wherever it is written.

In: the voxels, the file that they come from, and how they were decoded.  Out: a statement, or none.
Invariant: it is true of the very voxels that are written.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from inrcodec.layers.decode_options import DecodeOptions
from inrcodec.report.text import shortest

if TYPE_CHECKING:
    from inrcodec.file import InrvFile, Level
    from inrcodec.io.provenance import Detail, Provenance
    from inrcodec.volume.volume import Volume


def statement(
    output: str, volume: Volume, file: InrvFile, options: DecodeOptions, level: Level
) -> Provenance | None:
    """What a sink must say of a lossy copy, for the very voxels that it holds; nothing of a lossless one.

    Parameters
    ----------
    volume : the level, or a part of it.
    """
    from inrcodec.io import Provenance, is_dicom  # loads nothing until a volume is written

    refined = file.decoder.uses_refinement(options) and level.kind == "full"
    whole_lattice = refined and options.quality == "full" and not file.decoder.missing
    bound = file.header.bound if whole_lattice else None
    if volume.array.dtype.kind == "f" and is_dicom(output):
        bound = None  # DICOM has 65 536 steps for floats
    if bound == 0:
        return None
    return Provenance(
        ratio=prod(level.shape) * volume.bits_allocated // 8 / file.file_bytes,
        allocated=volume.bits_allocated,
        stored=volume.bits_stored,
        detail=_detail(options, file, level, whole=whole_lattice),
        bound="" if bound is None else f"{shortest(bound)} {file.header.unit}".strip(),
    )


def _detail(options: DecodeOptions, file: InrvFile, level: Level, *, whole: bool) -> Detail:
    if level.kind == "lowres":
        return "low-res"
    if level.kind == "lattice" or file.decoder.uses_refinement(options):
        return "refined" if whole else "coarse"
    interpolated = options.quality == "preview" or (options.sr or file.header.sr) == "lanczos"
    return "interpolated" if interpolated else "guessed"
