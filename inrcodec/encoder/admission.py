"""What may be coded with loss, and in which values.

In: a volume as it was read, the modality that the user states, and options.  Out: the volume that is encoded,
or a refusal.
Invariant: labels are never coded with loss, the modalities of a table only where that is asked for by name;
and only values that come back bit for bit keep a scale of their own in each slice.

The table has mammography, of which many countries forbid lossy copies; the environment variable
``INRCODEC_NEVER_LOSSY`` adds modalities to it: ``MG,XA``.
"""

from __future__ import annotations

import os
from dataclasses import replace

import numpy as np

from inrcodec.encoder.options import ResolvedOptions
from inrcodec.errors import CorruptFile, InputError, UsageError
from inrcodec.format.fields import LONGEST_TEXT, MOST_ENTRIES, SCALARS, TEXT
from inrcodec.volume.modality import parse_modality, reconcile
from inrcodec.volume.volume import Volume

NEVER_LOSSY = frozenset({"MG"})
TABLE = "INRCODEC_NEVER_LOSSY"

MOST_LABELS = 64  # distinct values of what is taken for a label map
SAME_NEIGHBOURS = 0.9  # share of its voxels that equal the next one along x
LOOKED_AT = 32  # slices


def admitted(volume: Volume, stated: str | None, options: ResolvedOptions) -> Volume:
    """The volume that is encoded: stored values without loss, else values on one scale.

    Raises
    ------
    UsageError
        Loss for labels or for a modality of the table; networks for slices that have scales of their own.
    """
    if options.max_error == 0:
        if options.base and volume.slice_rescale is not None:
            raise UsageError(
                "the slices have scales of their own, which a base cannot follow: leave it out",
                value=options.base,
                option="base",
            )
        return volume
    if volume.labels:
        raise UsageError(
            "the values are numbers of segments, which loss would turn into others: set it for label maps",
            value=False,
            option="lossless",
        )
    modality = reconcile(volume.modality, stated)
    if modality in never_lossy() and not options.i_know_lossy:
        raise UsageError(
            f"{modality} is never coded with loss unless this is set: set it, or lossless",
            value=modality,
            option="i_know_lossy",
        )
    return _on_one_scale(_with_label_notice(volume))


def bound_notices(extent: float, bound: float | None) -> tuple[str, ...]:
    """What to say of a bound of the error, beside how far apart the values are, both in physical units."""
    if bound is None or not 0 < extent <= bound:
        return ()
    return (f"all values lie within {extent:g}, which is no more than the bound: they may become one value",)


def never_lossy() -> frozenset[str]:
    """Modalities that are not coded with loss; raises `UsageError` where the variable lists others."""
    words = filter(str.strip, os.environ.get(TABLE, "").split(","))
    try:
        return NEVER_LOSSY | {term for word in words if (term := parse_modality(word))}
    except UsageError as error:
        raise UsageError(f"the environment variable {TABLE}: {error.args[0]}", value=error.value) from error


def looks_like_labels(volume: Volume) -> bool:
    """Whether a volume has few, whole values from 0 up that fill regions, as a label map has."""
    part = volume.array[:: -(-len(volume.array) // LOOKED_AT)]
    if part.dtype.kind not in "iu" or part.min() < 0 or part.shape[2] < 2:
        return False
    if not 2 <= len(np.unique(part)) <= MOST_LABELS:
        return False
    return bool(np.mean(part[..., 1:] == part[..., :-1]) >= SAME_NEIGHBOURS)


def _with_label_notice(volume: Volume) -> Volume:
    if not looks_like_labels(volume):
        return volume
    notice = "the values look like labels of segments: loss turns them into others, lossless keeps them"
    return replace(volume, notices=(*volume.notices, notice))


def _on_one_scale(volume: Volume) -> Volume:
    if volume.slice_rescale is None:
        return volume
    uniform = volume.uniform()
    notice = f"each slice has its own scale: its physical values are coded, as {uniform.array.dtype}"
    return replace(uniform, notices=(*volume.notices, notice))


def refuse_unstorable(volume: Volume) -> None:
    """Refuse texts of a volume from memory that no file can hold."""
    for what, kind, value in (("unit", TEXT, volume.unit), ("description", SCALARS, volume.description)):
        try:
            kind.emit(value)
        except CorruptFile as error:
            raise InputError(
                f"the volume's {what} {value!r:.80} cannot be stored: texts are printable ASCII of up to "
                f"{LONGEST_TEXT} characters, numbers finite, entries at most {MOST_ENTRIES}",
                value=value,
            ) from error
