"""MONAI: after ``import inrcodec.plugins.monai`` ``LoadImage`` and ``SaveImage`` know `.inrv` files.

In: paths.  Out: arrays (x, y, z) of physical values with an RAS affine, as MONAI's readers have them.
Invariant: the same array and affine as by way of NIfTI.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from inrcodec import api
from inrcodec.errors import InputError, MissingExtra
from inrcodec.io.nifti import from_nibabel
from inrcodec.layers.decode_options import DecodeOptions
from inrcodec.plugins.geometry import ras, xyz
from inrcodec.plugins.physical import physical
from inrcodec.volume.arrays import Array
from inrcodec.volume.volume import Volume

try:
    from monai.data.image_reader import ImageReader
    from monai.data.image_writer import ImageWriter, NibabelWriter, register_writer
    from monai.data.utils import is_supported_format
    from monai.transforms.io.array import SUPPORTED_READERS
    from monai.utils import MetaKeys, SpaceKeys
except ImportError as error:
    raise MissingExtra("MONAI is not installed", extra="monai") from error

ENDING = "inrv"
_NO_CHANNEL = float("nan")  # MONAI's own word for it


class InrvReader(ImageReader):
    """Reads `.inrv` files; several are stacked as channels.

    Parameters
    ----------
    level : a number of the file's levels.
    keywords : those of :func:`inrcodec.decode`, such as ``quality="preview"`` or ``threads=1``.

    Examples
    --------
    ``LoadImage(reader="inrcodec.plugins.monai.InrvReader")`` needs no import.
    """

    def __init__(self, level: int = 0, **keywords: Any) -> None:
        super().__init__()
        self.level, self.keywords = level, keywords

    def verify_suffix(self, filename: Sequence[os.PathLike[str] | str] | os.PathLike[str] | str) -> bool:
        """Whether all files end in ``.inrv``."""
        return bool(is_supported_format(filename, [ENDING]))

    def read(self, data: Any, **keywords: Any) -> list[Volume]:
        """The volumes of one path, or of several; their voxels are decoded by `get_data`."""
        paths = [data] if isinstance(data, str | os.PathLike) else list(data)
        chosen: Any = {"level": self.level, **self.keywords, **keywords}
        level = int(chosen.pop("level"))
        options = DecodeOptions.of(None, chosen)
        return [physical(path, level, options, half=False) for path in paths]

    def get_data(self, img: list[Volume]) -> tuple[Array, dict[str, Any]]:
        """Array and metadata; raises `InputError` where volumes of several files lie apart."""
        first, *others = img
        for other in others:
            if other.shape != first.shape or not np.allclose(other.affine, first.affine):
                cause = f"volumes of {first.shape} and {other.shape} voxels, or of different places"
                raise InputError(f"{cause}, are no channels of one image", value=other.shape)
        arrays = [xyz(np.asarray(volume.array)) for volume in img]
        affine = ras(first.affine)
        about = {
            MetaKeys.ORIGINAL_CHANNEL_DIM: 0 if others else _NO_CHANNEL,
            MetaKeys.SPATIAL_SHAPE: np.array(arrays[0].shape),
            MetaKeys.SPACE: SpaceKeys.RAS,
            MetaKeys.AFFINE: affine,
            MetaKeys.ORIGINAL_AFFINE: affine.copy(),
            "modality": first.modality,
        }
        return np.stack(arrays) if others else arrays[0], about


class InrvWriter(NibabelWriter):
    """Writes one channel as an `.inrv` file.

    The keywords of `write`, or ``write_kwargs`` of ``SaveImage.set_options``, are those of
    :func:`inrcodec.encode`; without any, nothing is lost.  ``output_dtype=np.int16`` suits a CT.
    """

    def write(self, filename: Any, verbose: bool = False, **options: Any) -> None:
        """Encode; an existing file is replaced, as other writers do."""
        ImageWriter.write(self, filename, verbose=verbose)
        image = self.create_backend_obj(self.data_obj, affine=self.affine, dtype=self.output_dtype)
        api.encode_file(from_nibabel(image), filename, force=True, **(options or {"lossless": True}))


SUPPORTED_READERS["inrvreader"] = InrvReader
register_writer(ENDING, InrvWriter)
