"""Files served over HTTP as OME-Zarr images, decoded on request: for programs without the codec.

In: a file or a folder.  Out: answers to requests.
Invariant: nothing outside the folder is served, memory is bounded, and no answer says more of a patient than
the voxels and their geometry.
"""

from inrcodec.plugins.serve.server import Server
from inrcodec.plugins.serve.volumes import Volumes

__all__ = ["Server", "Volumes"]
