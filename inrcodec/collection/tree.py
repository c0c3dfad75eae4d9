"""The verbs for collections: encode, decode and verify what is in a tree or a list.

In: a folder, or paths; options for all.  Out: a folder of outputs with a manifest, and a `Summary`.
Invariant: what is wrong with the options is refused before the first source is read.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Unpack

from inrcodec import io
from inrcodec.collection import manifest as manifests
from inrcodec.collection.run import Summary, collect, is_requested
from inrcodec.collection.sources import SUFFIX, Listing, Location, files, volumes
from inrcodec.collection.tasks import Task
from inrcodec.encoder.options import EncodeKeywords, EncodeOptions
from inrcodec.encoder.source_options import SOURCE_OPTIONS, SourceOptions
from inrcodec.errors import UsageError, WriteError
from inrcodec.layers.decode_options import OPTIONS as DECODE_OPTIONS
from inrcodec.layers.decode_options import DecodeKeywords, DecodeOptions
from inrcodec.progress import Progress
from inrcodec.validate.rows import lists_keywords, refuse_unknown
from inrcodec.volume.modality import parse_modality

OF_ONE = ("series", "volume", "slices", "resume", "template", "box", "level")
"""Options that mean something for one source only."""

DICOM = "dicom"


@lists_keywords(SourceOptions, EncodeOptions)
def encode_tree(
    tree: Location | Sequence[Location],
    out: Location,
    *,
    manifest: Location | None = None,
    force: bool = False,
    jobs: int | None = None,
    scheduler: str | None = None,
    progress: Progress | None = None,
    **keywords: Unpack[EncodeKeywords],
) -> Summary:
    """Encode every volume of a tree, each to a file of its own.

    A DICOM series is a volume, also where a folder holds several, and so is every file of a known format. One
    that cannot be encoded does not stop the others. A second call does what is missing, failed or changed.

    Parameters
    ----------
    tree : path of a folder, or several paths of folders and files
        Hidden files, linked folders and `out` are left out.
    out : path of a folder
        ``out/sub/name.inrv`` is of ``tree/sub/name.nii.gz``, or of the series in ``tree/sub/name``.
    manifest : path, by default ``out/inrcodec-manifest.jsonl``
        What was done, a JSON object a line. It holds paths, which may name patients, and nothing of a header.
    force : bool
        Replace files that are there and of which the manifest knows nothing.
    jobs : int, optional
        Volumes that are encoded at a time, each in a process of its own; the extra "dask" is needed. Each
        takes its share of the cores.
    scheduler : str, optional
        Address of a Dask scheduler whose workers do it; they see the same paths.
    progress : callable, optional
        Called with "check", then "encode", and the fraction of the volumes that are done.
    {keywords}
        ``series``, ``volume``, ``slices`` and ``resume`` are for one source only.

    Returns
    -------
    Summary

    Raises
    ------
    InrvError
        For the options, the tree as a whole and the manifest; what is wrong with a source is in the summary.
    """
    given: dict[str, Any] = dict(keywords)
    refuse_of_one(given)
    SourceOptions(**{name: value for name, value in given.items() if name in SOURCE_OPTIONS})
    coding = {name: value for name, value in given.items() if name not in SOURCE_OPTIONS}
    EncodeOptions().updated(coding).resolved()
    return _collected(
        "encode", volumes(tree, out), out, SUFFIX, given, manifest, force, jobs, scheduler, progress
    )


@lists_keywords(DecodeOptions)
def decode_tree(
    tree: Location | Sequence[Location],
    out: Location,
    *,
    format: str = ".nii.gz",
    modality: str | None = None,
    max_bytes: int | str | None = None,
    manifest: Location | None = None,
    force: bool = False,
    jobs: int | None = None,
    scheduler: str | None = None,
    progress: Progress | None = None,
    **keywords: Unpack[DecodeKeywords],
) -> Summary:
    """Decode every ``.inrv`` file of a tree, each to a file or folder of its own.

    Parameters
    ----------
    tree, out, manifest, force, jobs, scheduler, progress : as for :func:`encode_tree`.
    format : str
        Ending of the files, such as ".nii.gz" or ".npy"; "dicom" for a folder with a series each.
    modality : str, optional
        Of DICOM series whose file does not say it.
    max_bytes : as for :func:`decode`.
    {keywords}
    """
    refuse_unknown(keywords, DECODE_OPTIONS)
    DecodeOptions(**keywords).check_device()
    ending = _ending(format)
    io.refuse_modality(f"x{ending}", parse_modality(modality))
    own = {"format": ending, "modality": modality, "max_bytes": max_bytes}
    given = {name: value for name, value in own.items() if value is not None} | dict(keywords)
    return _collected(
        "decode", files(tree, out), out, ending, given, manifest, force, jobs, scheduler, progress
    )


def verify_tree(
    tree: Location | Sequence[Location],
    *,
    device: str = "cpu",
    threads: int | None = None,
    jobs: int | None = None,
    scheduler: str | None = None,
    progress: Progress | None = None,
) -> Summary:
    """Verify every ``.inrv`` file of a tree; nothing is written.

    Parameters
    ----------
    tree, jobs, scheduler, progress : as for :func:`encode_tree`.
    device, threads : as for :func:`verify`.

    Returns
    -------
    Summary
        Rows of `done` have "digest", "equal" or "differs".
    """
    DecodeOptions(device=device, threads=threads).check_device()
    options: dict[str, Any] = {"device": device} | ({} if threads is None else {"threads": threads})
    listing = files(tree, None)
    tasks = [
        Task("verify", source, options=options, on_cluster=is_requested(jobs, scheduler))
        for source in listing.sources
    ]
    return collect(tasks, listing.notices, manifest=None, jobs=jobs, scheduler=scheduler, progress=progress)


def refuse_of_one(options: dict[str, Any]) -> None:
    """Refuse options that mean something for one source only."""
    for name in OF_ONE:
        if options.get(name) is not None:
            cause = "is for one source, not for all of a collection: leave it out"
            raise UsageError(cause, value=options[name], option=name)


def _collected(
    command: str,
    listing: Listing,
    out: Location,
    ending: str,
    options: dict[str, Any],
    manifest: Location | None,
    force: bool,
    jobs: int | None,
    scheduler: str | None,
    progress: Progress | None,
) -> Summary:
    folder = Path(out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WriteError.of_system(error, str(folder)) from error
    tasks = [
        Task(
            command,
            source,
            folder,
            source.stem + ending.rstrip("/"),
            ending,
            command == "decode" and io.is_folder(f"x{ending}"),
            options,
            on_cluster=is_requested(jobs, scheduler),
        )
        for source in listing.sources
    ]
    path = folder / manifests.NAME if manifest is None else Path(manifest)
    return collect(
        tasks,
        listing.notices,
        manifest=path,
        force=force,
        jobs=jobs,
        scheduler=scheduler,
        progress=progress,
    )


def _ending(format: str) -> str:
    """The ending of a kind of file, "/" for DICOM; raises `UsageError` for one that is not written."""
    if format.lower() == DICOM:
        return "/"
    ending = "." + format.lower().removeprefix(".")
    if not ending[1:] or os.sep in ending or io.is_dicom(f"x{ending}"):
        cause = f"{format!r} is not possible, allowed: an ending such as .nii.gz or .npy, or {DICOM}"
        raise UsageError(cause, value=format, option="format")
    return ending
