"""What is in an `.inrv` file, and any part of its volume at any of its levels.

In: a path, bytes, a stream or a URL.  Out: its header, and voxels, samples and volumes of it.

`inrv_file` is the object that users hold, `levels` the grids that it can be read at, `decoder` how the layers
make voxels of its sections, `indexing` NumPy's indices, `preview` one grey slice.
"""

from inrcodec.file.inrv_file import InrvFile as InrvFile
from inrcodec.file.levels import Level as Level
from inrcodec.format.container import Source as Source
