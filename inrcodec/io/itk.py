"""ITK, through SimpleITK: an image in memory; both have LPS axes, so that no sign changes."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np

from inrcodec.errors import MissingExtra
from inrcodec.volume.volume import Volume


def to_simpleitk(volume: Volume) -> Any:
    """A 3-D `SimpleITK.Image` of a volume: physical values, spacing, origin and direction in mm.

    Raises
    ------
    MissingExtra
        SimpleITK is not installed (extra "itk").
    """
    try:
        itk: Any = import_module("SimpleITK")
    except ImportError as error:
        raise MissingExtra("SimpleITK is not installed", extra="itk") from error
    image = itk.GetImageFromArray(volume.values())
    spacing = np.array(volume.spacing[::-1])
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(volume.affine[:3, 3].tolist())
    image.SetDirection((volume.affine[:3, :3] / spacing).ravel().tolist())
    return image
