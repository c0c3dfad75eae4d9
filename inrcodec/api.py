"""The public verbs: each reads its options once and hands them to the rooms below.

    encode:  source > Volume > facts > plan > networks or lattice > sections > .inrv
    decode:  .inrv > sections > networks or lattice > Volume

In: sources and options.  Out: bytes, arrays, volumes, reports.  Invariant: no arithmetic here.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from os import PathLike
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, Unpack

from numpy.typing import NDArray

from inrcodec import io
from inrcodec.encoder.ledger import EncodeReport
from inrcodec.encoder.options import EncodeKeywords, EncodeOptions, ResolvedOptions
from inrcodec.encoder.source_options import SOURCE_OPTIONS, SourceOptions
from inrcodec.file import InrvFile
from inrcodec.file import Source as FileSource
from inrcodec.layers.decode_options import DecodeKeywords, DecodeOptions
from inrcodec.progress import Progress, Stages
from inrcodec.validate.rows import lists_keywords
from inrcodec.volume.volume import Volume

if TYPE_CHECKING:
    from inrcodec.encoder.options import Tasks

Source: TypeAlias = io.Source
File: TypeAlias = FileSource


class Writable(Protocol):
    """What takes the bytes of a file, such as an open binary file."""

    def write(self, data: bytes, /) -> object: ...


@lists_keywords(SourceOptions, EncodeOptions)
def encode(
    source: Source,
    *,
    options: EncodeOptions | None = None,
    progress: Progress | None = None,
    **keywords: Unpack[EncodeKeywords],
) -> bytes:
    """Encode a volume to the bytes of an ``.inrv`` file.

    Parameters
    ----------
    source : path of a DICOM folder or file, a file of another format; array, image or Volume
        Arrays are (z, y, x) or (y, x), of any integer or float dtype: of NumPy, torch, dask or whatever NumPy
        makes one of. Images of SimpleITK, nibabel and xarray (dimensions z, y, x) keep their geometry.
    options : EncodeOptions, optional
        All options at once; keywords replace some of them.
    progress : callable, optional
        Called with a stage's name and the fraction of it that is done.
    {keywords}

    Raises
    ------
    InrvError
        See :mod:`inrcodec.errors` for the kinds.

    Examples
    --------
    >>> import numpy as np, inrcodec
    >>> ramp = np.add.outer(np.arange(24), np.arange(32)).astype(np.int16) * 20
    >>> blob = inrcodec.encode(ramp, steps=300, factor=2)
    >>> decoded = inrcodec.decode(blob)
    >>> assert decoded.shape == ramp.shape and decoded.dtype == ramp.dtype
    """
    about, resolved = _resolved(options, keywords)
    file = BytesIO()
    _encode(source, about, resolved, progress, lambda write: write(file))
    return file.getvalue()


@lists_keywords(SourceOptions, EncodeOptions)
def encode_file(
    source: Source,
    target: str | PathLike[str] | Writable,
    *,
    force: bool = False,
    options: EncodeOptions | None = None,
    progress: Progress | None = None,
    tasks: Tasks | None = None,
    **keywords: Unpack[EncodeKeywords],
) -> EncodeReport:
    """Encode a volume to a file, which is written whole or not at all.

    A source that is read lazily, and what it is encoded to, may be larger than memory.

    Parameters
    ----------
    source : as for :func:`encode`.
    target : path, or an open binary file
    force : bool
        Replace an existing target.
    options, progress : as for :func:`encode`.
    tasks : optional
        What computes the parts of the volume; threads of this process by default, for a cluster see
        :func:`inrcodec.dask.encode`.
    {keywords}

    Raises
    ------
    InrvError
        See :mod:`inrcodec.errors` for the kinds; `WriteError` comes before the work, where it can.
    """
    path = target if isinstance(target, str | PathLike) else None
    about, resolved = _resolved(options, keywords, path)
    if tasks is not None:
        resolved = replace(resolved, tasks=tasks)
    if path is not None:
        io.refuse_other_ending(path)
        io.check_file(path, force)
        resolved = replace(resolved, scratch=os.path.dirname(os.path.realpath(path)))
        return _encode(
            source, about, resolved, progress, lambda write: io.atomic_write(path, write, force=force)
        )
    assert not isinstance(target, str | PathLike)
    return _encode(source, about, resolved, progress, lambda write: write(target))


@lists_keywords(SourceOptions, EncodeOptions)
def plan(
    source: Source, *, options: EncodeOptions | None = None, **keywords: Unpack[EncodeKeywords]
) -> dict[str, Any]:
    """What :func:`encode` would do: factor, low-res shape, tiles, network, model, predicted bytes.

    Parameters
    ----------
    source, options : as for :func:`encode`.
    {keywords}

    Returns
    -------
    dict of plain types, lengths in voxels, sizes in bytes, times in seconds
    """
    from inrcodec.encoder.dry_run import dry_run  # torch and SciPy: not for those who only read a header

    about, resolved = _resolved(options, keywords)
    return dry_run(_read(source, about), about.modality, resolved)


@lists_keywords(DecodeOptions)
def decode(
    source: File,
    *,
    max_bytes: int | str | None = None,
    progress: Progress | None = None,
    **keywords: Unpack[DecodeKeywords],
) -> NDArray[Any]:
    """Decode to the array that :func:`encode` was given: same shape, dtype and units.

    Parameters
    ----------
    source : path, bytes, binary file object, URL or UPath.
    max_bytes : int or str, optional
        Read no more of the file than this, such as 64_000 or "64kB", and decode what of it is whole: a
        coarser version.  The file may end there; without this, a file that ends early is an error.
    progress : callable, optional
        Called with a stage's name and the fraction of it that is done.
    {keywords}

    Returns
    -------
    ndarray, (z, y, x) or (y, x).

    Raises
    ------
    InrvError
        See :mod:`inrcodec.errors` for the kinds.
    """
    volume = decode_volume(source, max_bytes=max_bytes, progress=progress, **keywords)
    return volume.array[0] if volume.ndim == 2 else volume.array


@lists_keywords(DecodeOptions)
def decode_volume(
    source: File,
    *,
    max_bytes: int | str | None = None,
    progress: Progress | None = None,
    **keywords: Unpack[DecodeKeywords],
) -> Volume:
    """Decode to a :class:`Volume`: array, affine, spacing, modality.

    Parameters
    ----------
    source, max_bytes, progress : as for :func:`decode`.
    {keywords}
    """
    options = DecodeOptions.of(None, keywords)  # refused before the file is opened
    return open(source, max_bytes).volume(options=options, progress=progress)


def open(source: File, max_bytes: int | str | None = None) -> InrvFile:
    """Open a file to read parts of its volume; only its table and header are read yet.

    Parameters
    ----------
    source : path, bytes, binary file object, URL or UPath.
    max_bytes : int or str, optional
        Read no more of it than this; it may end there.
    """
    return InrvFile(source, max_bytes=max_bytes)


def info(source: File) -> dict[str, Any]:
    """Header, quality, bytes and cost of a file as plain types; imports neither torch nor scipy."""
    return open(source).facts


def verify(source: File, *, device: str = "cpu", threads: int | None = None) -> dict[str, Any]:
    """Check every checksum, decode, and compare with the digest that the encoder stored.

    On the machine and version that wrote the file the digest is equal.  Elsewhere single voxels may differ
    by one stored unit (specification, section on exactness), and the digest with them.

    Returns
    -------
    dict with "digest", "equal" or "differs", and "ok", whether it is equal; a wrong checksum raises.
    """
    options = DecodeOptions(device=device, threads=threads)
    options.check_device()
    equal = open(source).verify(options)
    return {"ok": equal, "digest": "equal" if equal else "differs"}


def _resolved(
    options: EncodeOptions | None, keywords: EncodeKeywords, target: str | PathLike[str] | None = None
) -> tuple[SourceOptions, ResolvedOptions]:
    """Options of the source and of the encoder; what can be refused without the source is refused here."""
    about: dict[str, Any] = {name: value for name, value in keywords.items() if name in SOURCE_OPTIONS}
    given = {name: value for name, value in keywords.items() if name not in SOURCE_OPTIONS}
    source, resolved = SourceOptions(**about), (options or EncodeOptions()).updated(given).resolved()
    if resolved.checkpoint is not None:
        resolved.checkpoint.check(target)
    return source, resolved


def _read(source: Source, about: SourceOptions) -> Volume:
    return io.read(source, **about.reading)


def _encode(
    source: Source,
    about: SourceOptions,
    options: ResolvedOptions,
    progress: Progress | None,
    sink: Callable[[Callable[[Writable], None]], object],
) -> EncodeReport:
    """Encode; ``sink`` is given what writes the file."""
    from inrcodec.encoder import pipeline

    stages = Stages(progress)
    volume = _read(source, about)
    stages("read", 1.0)
    write, report = pipeline.encode(volume, about.modality, options, stages)
    sink(write)
    if options.checkpoint is not None:
        options.checkpoint.discard()
    return report
