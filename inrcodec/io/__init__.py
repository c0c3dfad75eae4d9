"""Sources and sinks: whatever holds a volume, one foreign format a module, found through one table.

Invariant of this room: a format is a row of the table in `formats` and a module, imported when needed.
"""

from inrcodec.io.atomic import atomic_write, check_file
from inrcodec.io.formats import Source, check_sink, read, refuse_modality, refuse_other_ending, write
from inrcodec.io.provenance import Provenance

__all__ = ["Provenance", "Source", "atomic_write", "check_file", "check_sink", "read", "refuse_modality"]
__all__ += ["refuse_other_ending", "write"]
