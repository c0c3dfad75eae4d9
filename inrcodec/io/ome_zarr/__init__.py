"""Zarr: `.zarr` folders, and ZIP files of them; OME-Zarr, which says what the axes are, and plain arrays.

In: a path.  Out: a volume of the full resolution; and OME-Zarr 0.5 again, a chunk for each brick.
Invariant: OME-Zarr knows voxel edges and no place in the patient; nothing is unpickled, and no chunk is read
before its codecs are known.
"""

from inrcodec.io.ome_zarr.read import read
from inrcodec.io.ome_zarr.write import check_target, write

__all__ = ["check_target", "read", "write"]
