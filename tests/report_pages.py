"""Slices as a page shows them."""

import numpy as np

from inrcodec.report.page import views


def planes_of(volume):
    return views.planes(volume.affine, volume.shape, volume.description)


def shown(array, plane, index=0):
    """A slice as the page draws it."""
    axes = [plane["across"], plane["down"]["axis"], plane["right"]["axis"]]
    turned = array.transpose(axes)[index]
    return turned[:: -1 if plane["down"]["flip"] else 1, :: -1 if plane["right"]["flip"] else 1]


def labelled(shape=(6, 8, 10)):
    """Each voxel has a value of its own."""
    return np.arange(np.prod(shape), dtype=np.int16).reshape(shape)
