"""The public verbs: a volume goes down the corridor, and comes back up the same corridor.

    encode:  source > Volume > unit > low-res > tiles > networks > integers > sections > .inrv
    decode:  .inrv > sections > integers > networks > low-res > full-res > Volume > sink

In: sources and options.  Out: bytes, arrays, volumes, reports.  The one law: no arithmetic here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from os import PathLike
from typing import Any, BinaryIO, overload

import numpy as np
from numpy.typing import NDArray

from inrcodec import io, validate
from inrcodec.encoder.fit import checkpoint
from inrcodec.encoder.ledger import EncodeReport
from inrcodec.encoder.options import EncodeOptions, ResolvedOptions
from inrcodec.file import InrvFile
from inrcodec.format import summary
from inrcodec.layers.decode_options import DecodeOptions, Precision, Quality
from inrcodec.progress import Progress, Stages
from inrcodec.volume.modality import parse_modality
from inrcodec.volume.volume import Volume

Source = str | PathLike[str] | NDArray[Any] | Volume
File = str | PathLike[str] | bytes | BinaryIO


@overload
def encode(source: Source, target: None = None, **wishes: Any) -> bytes: ...


@overload
def encode(source: Source, target: str | PathLike[str], **wishes: Any) -> EncodeReport: ...


def encode(
    source: Source,
    target: str | PathLike[str] | None = None,
    *,
    spacing: Sequence[float] | None = None,
    series: str | None = None,
    modality: str | None = None,
    force: bool = False,
    progress: Progress | None = None,
    options: EncodeOptions | None = None,
    **knobs: Any,
) -> bytes | EncodeReport:
    """Encode a volume.

    Parameters
    ----------
    source : path of a DICOM folder or file, ``.nii``, ``.nii.gz``, ``.npy``, ``.npz``; ndarray; Volume
        Arrays are (z, y, x) or (y, x), of any integer or float dtype.
    target : path, optional
        File to write, whole or not at all.  Without it the bytes are returned.
    spacing : (z, y, x) or (y, x) in mm
        Of arrays and NumPy files; 1 mm without it.
    series : str, optional
        Series Instance UID, where a DICOM folder holds several.
    modality : "CT", "MR" ..., optional
        Of NIfTI files, NumPy files and arrays, which do not say it; without it, values that look like
        Hounsfield units are taken for CT.
    force : bool
        Replace an existing target.
    progress : callable, optional
        Called with a stage's name and the fraction of it that is done.
    options : EncodeOptions, optional
        All knobs at once; or give them one by one: ``preset="fast", ratio=5000, …``.

    Returns
    -------
    bytes, or an EncodeReport where a target was given.

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
    if target is not None:
        io.refuse_other_ending(target)
        io.check_file(target, force)
    wishes = _wished(options, knobs)
    if wishes.resume is not None:
        checkpoint.Checkpoint(wishes.resume).check(target)
    blob, report = encode_report(
        source,
        spacing=spacing,
        series=series,
        modality=modality,
        progress=progress,
        options=wishes,
    )
    if target is not None:
        io.atomic_write(target, blob, force=force)
    checkpoint.discard(wishes.resume)
    return blob if target is None else report


def encode_report(
    source: Source,
    *,
    spacing: Sequence[float] | None = None,
    series: str | None = None,
    modality: str | None = None,
    progress: Progress | None = None,
    options: EncodeOptions | None = None,
    **knobs: Any,
) -> tuple[bytes, EncodeReport]:
    """Encode to bytes, with the ledger; parameters as for :func:`encode`.

    A checkpoint is left to the caller, who removes it when the bytes are where they should be.
    """
    from inrcodec.encoder import pipeline  # torch and scipy: not for those who only ask for a header
    from inrcodec.encoder.facts import Facts

    wishes, modality = _resolved(options, knobs), parse_modality(modality)
    if wishes.checkpoint is not None:
        wishes.checkpoint.check()
    stages = Stages(progress)
    volume = io.read(source, spacing=spacing, series=series)
    stages("read", 1.0)
    return pipeline.encode(Facts.of(volume, modality), wishes, stages)


def plan(
    source: Source,
    *,
    spacing: Sequence[float] | None = None,
    series: str | None = None,
    modality: str | None = None,
    options: EncodeOptions | None = None,
    **knobs: Any,
) -> dict[str, Any]:
    """What :func:`encode` would do: factor, low-res shape, tiles, network, model, predicted bytes."""
    from inrcodec.encoder import pipeline
    from inrcodec.encoder.facts import Facts

    wishes, modality = _resolved(options, knobs), parse_modality(modality)
    volume = io.read(source, spacing=spacing, series=series)
    return pipeline.forecast(Facts.of(volume, modality), wishes)


def decode(
    source: File,
    *,
    quality: Quality = "full",
    max_bytes: int | None = None,
    lowres: bool = False,
    sr: str | None = None,
    device: str = "cpu",
    threads: int | None = None,
    precision: Precision = "float32",
    ensemble: int | None = None,
    progress: Progress | None = None,
) -> NDArray[Any]:
    """Decode to the array that :func:`encode` was given: same shape, dtype and units.

    Parameters
    ----------
    source : path, bytes or binary file object.
    quality : "full", "base" or "preview"
        "full" is all that the file holds; "base" leaves a refinement out; "preview" is the fastest look at
        the whole volume.
    max_bytes : int, optional
        Read no more of the file than this, and decode what of it is whole: a coarser version.  The file may
        end there; without this, a file that ends early is an error.
    lowres : bool
        Stop before the up-sampling.
    sr : "lanczos", optional
        Bring the resolution back without the model that the file names.
    device, threads : where and how wide to compute.  Threads change no voxel; a GPU's float32 is not a CPU's,
        so single voxels may differ by a stored unit there.
    precision : "float32", the reference, or "bfloat16"
        Of the model: the second is faster on processors that have it, within 0.05 dB of the first.
    ensemble : 1, 2, 4 or 8, optional
        Mirror images that the model's result is averaged over: the file's number is the reference, 1 is the
        fastest.

    Returns
    -------
    ndarray, (z, y, x) or (y, x).
    """
    volume = decode_volume(
        source,
        quality=quality,
        max_bytes=max_bytes,
        lowres=lowres,
        sr=sr,
        device=device,
        threads=threads,
        precision=precision,
        ensemble=ensemble,
        progress=progress,
    )
    return volume.array[0] if volume.ndim == 2 else volume.array


def decode_volume(
    source: File,
    *,
    quality: Quality = "full",
    max_bytes: int | None = None,
    lowres: bool = False,
    sr: str | None = None,
    device: str = "cpu",
    threads: int | None = None,
    precision: Precision = "float32",
    ensemble: int | None = None,
    progress: Progress | None = None,
) -> Volume:
    """Decode to a :class:`Volume`: array, affine, spacing, modality; parameters as for :func:`decode`."""
    how = DecodeOptions(
        lowres=lowres,
        sr=sr,
        device=device,
        threads=threads,
        quality=quality,
        precision=precision,
        ensemble=ensemble,
    )
    validate.check_device(device)
    return open(source, max_bytes).volume(how, progress)


def open(source: File, max_bytes: int | None = None) -> InrvFile:
    """A file to read parts of: boxes, slabs, the low-res volume; nothing but its header is read yet.

    With ``max_bytes`` no more of it is read, and it may end there.
    """
    return InrvFile(source, max_bytes=max_bytes)


def info(source: File) -> dict[str, Any]:
    """Header and ledger of a file as plain types; imports neither torch nor scipy."""
    file = open(source)
    return summary.facts(file.header, file.sections.lengths)


def preview(source: File) -> NDArray[np.uint8]:
    """The central low-res slice, (y, x), windowed to 0..255; imports neither torch nor scipy."""
    return open(source).preview()


def verify(source: File, *, device: str = "cpu", threads: int | None = None) -> dict[str, Any]:
    """Read every checksum, decode, and compare with the digest that the encoder stored.

    On the machine and version that wrote the file the digest is equal.  Elsewhere single voxels may differ
    by one stored unit (specification, section on exactness), and the digest with them.

    Returns
    -------
    dict with "digest", "equal" or "differs", and "ok", whether it is equal; a wrong checksum raises.
    """
    validate.check_device(device)
    equal = open(source).verify(DecodeOptions(device=device, threads=threads))
    return {"ok": equal, "digest": "equal" if equal else "differs"}


def _resolved(options: EncodeOptions | None, knobs: dict[str, Any]) -> ResolvedOptions:
    wishes = _wished(options, knobs)
    validate.check_device(wishes.device)
    return wishes.resolved()


def _wished(options: EncodeOptions | None, knobs: dict[str, Any]) -> EncodeOptions:
    return EncodeOptions.from_preset(**(asdict(options) if options else {}) | knobs)
