"""Low-res volumes as real files decode them.

In: a clean low-res/high-res pair.  Out: the low-res volume after encoding and decoding, kept on disk.
Invariant: what a network is trained on here is what the decoder feeds it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inrcodec import api, io
from inrcodec._version import __version__
from inrcodec.errors import CorruptFile
from inrcodec.io.npy import save
from inrcodec.volume.box import Shape
from inrcodec.volume.volume import Volume

Float32 = NDArray[np.float32]

STORED = 2000.0  # stored units per unit value: steps of half a HU in the CT window


@dataclass(frozen=True, kw_only=True)
class Fits:
    """Encodes and decodes parts of volumes, and keeps the results in a folder, named by their content.

    Attributes
    ----------
    folder : of the ``fit-*.npy`` files.
    factor : (z, y, x)
    steps, seed, threads : of each fit.
    """

    folder: Path
    factor: Shape
    steps: int
    seed: int
    threads: int

    def lowres(self, highres: Float32, width: int) -> Float32:
        """The low-res volume that a file of networks of this width decodes to.

        The networks are fitted to the plain low-res volume: which other target a model would want
        (``through_sr``) is not known before the model is trained.

        Parameters
        ----------
        highres : ndarray, (z * fz, y * fy, x * fx), float32 in [-1, 1]
        width : int
            Units of a hidden layer; sets the size of the file, and so how coarse the fit is.

        Returns
        -------
        ndarray, (z, y, x), float32, about [-1, 1]

        Raises
        ------
        CorruptFile
            The file of this fit in the folder holds something else.
        """
        stored = np.rint((highres + 1) * STORED).astype(np.int16)
        key = repr((__version__, self.factor, width, self.steps, self.seed, stored.shape)).encode()
        digest = blake2b(key + stored.tobytes(), digest_size=12).hexdigest()
        path = self.folder / f"fit-{digest}.npy"
        if not path.exists():
            decoded = self._decoded(Volume.from_array(stored), width)
            io.atomic_write(path, partial(save, decoded))
        kept: Float32 = np.load(path, allow_pickle=False)
        if kept.shape != tuple(n // f for n, f in zip(stored.shape, self.factor, strict=True)):
            raise CorruptFile(f"{path} is not a fit of this volume", remedy="delete it", value=str(path))
        return kept / np.float32(STORED) - 1

    def _decoded(self, volume: Volume, width: int) -> Float32:
        """In stored units."""
        blob = api.encode(
            volume,
            factor=self.factor,
            width=width,
            steps=self.steps,
            seed=self.seed,
            threads=self.threads,
            sr="lanczos",
            through_sr=False,
        )
        file = api.open(blob)
        low, high = file.header.low, file.header.high
        return (low + (file.lowres() + 1) * ((high - low) / 2)).astype(np.float32)
