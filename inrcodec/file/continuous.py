"""What lies between the voxels of a file: samples, other grids, and a torch module.

In: points and grids in millimetres.  Out: physical values, gradients, volumes.
Invariant: torch is imported for :meth:`Continuous.as_module` and for super-resolution alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Unpack

from numpy.typing import ArrayLike

from inrcodec.file import resampling, sampling
from inrcodec.file.opened import OpenFile
from inrcodec.layers.base.coders import module_of
from inrcodec.layers.decode_options import DecodeKeywords, DecodeOptions
from inrcodec.progress import Progress
from inrcodec.validate.rows import lists_keywords
from inrcodec.volume.arrays import Float
from inrcodec.volume.volume import Volume

if TYPE_CHECKING:
    import torch


class Continuous(OpenFile):
    """A file as a function of the position."""

    @lists_keywords(DecodeOptions)
    def sample(
        self,
        points: ArrayLike,
        order: int | None = None,
        *,
        gradient: bool = False,
        options: DecodeOptions | None = None,
        **keywords: Unpack[DecodeKeywords],
    ) -> Float | tuple[Float, Float]:
        """Physical values at any points: of the networks, which are a continuous field, or of voxels.

        The field is that of the low-res volume, as networks hold it: super-resolution adds nothing to it.  A
        file whose low-res volume is AV1 or latents has none.
        Where tiles meet it may jump by about the error of the fit; where they leave out the background it is
        the background.  The manual says what it is worth beside an interpolation of decoded voxels.

        Parameters
        ----------
        points : array_like, (..., 3), LPS mm
        order : {None, 0, 1, 3}
            None for the networks.  Else decoded voxels are interpolated: 0 is the nearest, 1 linear, 3 cubic
            convolution; next to padding the nearest voxel counts.  Without networks None is 1, of labels 0.
        gradient : bool
            Whether gradients are returned too.
        options : as for :meth:`read`; of use to the interpolation.
        {keywords}

        Returns
        -------
        ndarray, (...), float64
            Physical values, as ``Volume.physical``; NaN beyond the outer faces of the volume.
        ndarray, (..., 3), float64, if ``gradient``
            Derivatives along L, P and S, per mm; 0 in the background.

        Raises
        ------
        UsageError
            Points of another shape; an order that is not possible; a gradient of order 0.

        Examples
        --------
        >>> import numpy as np, inrcodec
        >>> ramp = np.add.outer(np.arange(8), np.zeros((16, 16))).astype(np.int16) * 10
        >>> file = inrcodec.open(inrcodec.encode(ramp, lossless=True))
        >>> values, gradients = file.sample([(7.5, 7.5, 2.25)], gradient=True)
        >>> float(values[0]), gradients[0].tolist()
        (22.5, [0.0, 0.0, 10.0])
        """
        samples = sampling.Samples(self._decoder, order, DecodeOptions.of(options, keywords))
        return samples.at_points(points, gradient=gradient)

    @lists_keywords(DecodeOptions)
    def resample(
        self,
        spacing: float | Sequence[float] | None = None,
        *,
        like: resampling.Like | None = None,
        order: int | None = None,
        outside: float | None = None,
        options: DecodeOptions | None = None,
        progress: Progress | None = None,
        **keywords: Unpack[DecodeKeywords],
    ) -> Volume:
        """The volume on another grid, also an oblique one: what :meth:`sample` gives at its voxels' centres.

        Nothing is smoothed: of a much coarser grid, begin with a coarser level.

        Parameters
        ----------
        spacing : float or (z, y, x), mm
            Of a grid in the same place; its outer faces differ by less than half a voxel.
        like : Volume, InrvFile or (shape, affine)
            Another grid, in place of a spacing: of a plane, a shape such as (1, 256, 256).
        order : as for :meth:`sample`.
        outside : float, optional
            Physical value beyond the volume; by default the padding, or else the smallest value.
        options, progress : as for :meth:`read`.
        {keywords}

        Returns
        -------
        Volume
            Of the file's dtype and scale; of physical values in float32 where slices have their own scales.

        Raises
        ------
        UsageError
            Both or neither of spacing and grid, or one that is not possible; an order that is not.
        """
        samples = sampling.Samples(self._decoder, order, DecodeOptions.of(options, keywords))
        grid = resampling.grid_of(self.header, spacing, like)
        return resampling.Resampling(samples, grid, outside).volume(progress)

    def as_module(self) -> torch.nn.Module:
        """The continuous field of :meth:`sample` as a torch module, differentiable in points and weights.

        ``module(points)`` are physical values, (n,), at points (n, 3) in LPS mm, and NaN beyond the volume.
        The parameters are the networks' weights, in float64: ``.float()`` and ``.to("cuda")`` work as usual.

        Raises
        ------
        UsageError
            The file has no networks.

        Examples
        --------
        >>> import numpy as np, inrcodec, torch
        >>> file = inrcodec.open(inrcodec.encode(np.eye(16, dtype=np.int16), factor=1, steps=5))
        >>> points = torch.tensor([[3.2, 4.1, 0.0]], dtype=torch.float64, requires_grad=True)
        >>> file.as_module()(points).sum().backward()
        >>> points.grad.shape
        torch.Size([1, 3])
        """
        return module_of(self._decoder.field, sampling.frame_of(self.header))
