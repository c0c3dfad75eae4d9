"""Sources and sinks: whatever holds a volume, one foreign format a module, found through one table.

Invariant of this room: a format is a row of the table in `registry` and a module, imported when needed.
"""

from inrcodec.io.atomic import atomic_write, check_file
from inrcodec.io.formats import (
    Source,
    check_sink,
    format_of,
    is_dicom,
    is_folder,
    parts,
    read,
    read_series,
    refuse_modality,
    refuse_other_ending,
    write,
)
from inrcodec.io.provenance import Provenance
from inrcodec.io.registry import Format

__all__ = ["Format", "Provenance", "Source", "atomic_write", "check_file", "check_sink", "format_of"]
__all__ += [
    "is_dicom",
    "is_folder",
    "parts",
    "read",
    "read_series",
    "refuse_modality",
    "refuse_other_ending",
]
__all__ += ["write"]
