"""One `.inrv` file to one file or folder of another format.

In: the file, the target and options.  Out: the target, and its facts in plain types.
Invariant: what can be refused is refused before a voxel is decoded.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from inrcodec import api, io
from inrcodec.file.parts import grid_of, voxels_of
from inrcodec.layers.decode_options import DecodeOptions
from inrcodec.progress import Progress
from inrcodec.report.provenance import statement
from inrcodec.volume.box import BoxLike
from inrcodec.volume.modality import parse_modality, reconcile


def decode_file(
    source: api.File,
    target: str,
    options: DecodeOptions,
    progress: Progress,
    *,
    max_bytes: int | str | None = None,
    template: str | None = None,
    modality: str | None = None,
    force: bool = False,
    box: BoxLike = None,
    level: int = 0,
) -> dict[str, Any]:
    """Decode and write a volume, whole or not at all.

    Parameters
    ----------
    source, max_bytes : as for :func:`inrcodec.decode`.
    target, template, force : as for `inrcodec.io.write`.
    modality : str, optional
        Of a DICOM series whose file does not say it.
    box, level : as for :meth:`inrcodec.InrvFile.volume`.

    Returns
    -------
    dict with "shape", "dtype", "spacing" and "unit" of what was written
    """
    requested = parse_modality(modality)
    io.refuse_modality(target, requested)
    file = api.open(source, max_bytes)
    found = file.decoder.level(level, options)
    stated = reconcile(file.header.modality, requested)
    ranges = voxels_of(box, found)
    grid = grid_of(found, ranges)
    io.check_sink(target, force, template=template, modality=stated, grid=grid)
    late = all(part.step == 1 for part in ranges)  # the writer works beside the decoder
    volume = file.volume(box, level, late=late, options=options, progress=progress)
    if not late:
        progress("write", 0.0)
    io.write(
        replace(volume, modality=stated),
        target,
        template=template,
        force=force,
        provenance=statement(target, volume, file, options, found),
    )
    progress("write", 1.0)
    return {
        "shape": list(volume.shape),
        "dtype": str(volume.array.dtype),
        "spacing": [float(edge) for edge in volume.spacing],
        "unit": volume.unit,
    }
