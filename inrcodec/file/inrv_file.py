"""An `.inrv` file as an object: any part of its volume as an array, a volume or samples.

In: a path, bytes, a stream or a URL.  Out: what users ask of it.
Invariant: equal requests give equal bits, whatever was asked before, beside them or in another process; the
encoder runs this very code on what it is about to write.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Unpack

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from inrcodec.file import indexing, parts
from inrcodec.file import preview as previews
from inrcodec.file.continuous import Continuous
from inrcodec.file.decoder import Slab
from inrcodec.file.late import decoded_late
from inrcodec.layers.decode_options import DecodeKeywords, DecodeOptions
from inrcodec.progress import Progress
from inrcodec.validate.rows import lists_keywords
from inrcodec.volume.arrays import Array, Float
from inrcodec.volume.box import Box, BoxLike
from inrcodec.volume.volume import Volume


class InrvFile(Continuous):
    """What is in a file; its voxels are read and decoded on request.

    Opening reads and checks the section table and the header.  Every other section is read, and its checksum
    compared, when it is first needed: :meth:`verify` reads them all.  Threads may share the object, and so
    may a process that was forked; it can be pickled, without voxels, unless a file object is its source.

    It is an array of three axes for NumPy, dask and napari: ``file[3]``, ``file[..., ::2]`` and
    ``numpy.asarray(file)`` decode what they name.  An image has one slice, ``file[0]``.

    Parameters
    ----------
    source : path, bytes, binary file object, URL or UPath
        A path is not held open.  A file object is the caller's to close; one that cannot seek is read whole.
    max_bytes : int or str, optional
        Read no more of the file than this; it may end there.  What is whole by then can be decoded.

    Attributes
    ----------
    header : Header
    sections : Sections

    Raises
    ------
    InputError
        No such file, or it cannot be read.
    CorruptFile, UnsupportedFile, LimitExceeded
        Table or header are damaged, newer than this version, or describe more than the format allows.
    UsageError
        ``max_bytes`` ends within the header.

    Examples
    --------
    >>> import numpy as np, inrcodec
    >>> ramp = np.add.outer(np.arange(24), np.arange(32)).astype(np.int16)
    >>> with inrcodec.open(inrcodec.encode(ramp, lossless=True)) as file:
    ...     assert file.shape == (1, 24, 32) and file.dtype == ramp.dtype
    ...     assert (file[0, 4:20:2] == ramp[4:20:2]).all()
    """

    # --- voxels

    @lists_keywords(DecodeOptions)
    def read(
        self,
        box: BoxLike = None,
        level: int = 0,
        *,
        options: DecodeOptions | None = None,
        progress: Progress | None = None,
        **keywords: Unpack[DecodeKeywords],
    ) -> Array:
        """Stored values of any part of the volume, at any level.

        Only the tiles, streams and blocks of the low-res volume, and the bricks and steps of a refinement,
        are read and decoded that the box needs.

        Parameters
        ----------
        box : Box, slice or up to three slices, optional
            Voxels of the level, along (z, y, x), steps too, also backwards; all by default.  :meth:`box_mm`
            makes one of millimetres.
        level : int
            A number of :attr:`levels`.
        options : DecodeOptions, optional
            All options at once; keywords replace some of them.
        progress : as for :func:`inrcodec.decode`.
        {keywords}

        Returns
        -------
        ndarray, (z, y, x), of the file's dtype

        Raises
        ------
        UsageError
            The box reaches beyond the level, the level is not there, the file is closed, or options do not
            fit the file: another model than its own, or low-res of a file that has none.
        CorruptFile
            A chunk that the box needs is damaged; other boxes can still be read.
        ModelNotFound
            The file's super-resolution model is not installed.

        Examples
        --------
        >>> import numpy as np, inrcodec
        >>> file = inrcodec.open(inrcodec.encode(np.zeros((8, 16, 16), np.int16)))
        >>> file.read((slice(2, 4), slice(None), slice(0, 16, 4))).shape
        (2, 16, 4)
        """
        chosen = DecodeOptions.of(options, keywords)
        return self._decoder.read(box, self._decoder.level(level, chosen), chosen, progress)

    @lists_keywords(DecodeOptions)
    def volume(
        self,
        box: BoxLike = None,
        level: int = 0,
        *,
        late: bool = False,
        options: DecodeOptions | None = None,
        progress: Progress | None = None,
        **keywords: Unpack[DecodeKeywords],
    ) -> Volume:
        """Any part of the volume with its geometry and units: its affine leads to where the part lies.

        Errors are those of :meth:`read`, and a box without voxels.

        Parameters
        ----------
        box, level, options, progress : as for :meth:`read`.
        late : bool
            Voxels are decoded when they are needed, of a box without steps: for volumes larger than memory.
            The array is a :class:`~inrcodec.volume.lazy.LazyArray`, which is indexed as an ndarray is.
        {keywords}
        """
        chosen = DecodeOptions.of(options, keywords)
        found = self._decoder.level(level, chosen)
        ranges = parts.voxels_of(box, found)
        if late:
            array = decoded_late(self._decoder, box, found, chosen, progress)
        else:
            array = self._decoder.read(box, found, chosen, progress)
        return parts.volume_of(self.header, array, found, ranges)

    @lists_keywords(DecodeOptions)
    def slabs(
        self,
        box: BoxLike = None,
        level: int = 0,
        *,
        options: DecodeOptions | None = None,
        progress: Progress | None = None,
        **keywords: Unpack[DecodeKeywords],
    ) -> Iterator[Slab]:
        """The slices of a box, a slab at a time, in order; errors are those of :meth:`read`.

        Parameters
        ----------
        box : as for :meth:`read`, without steps.
        level, options, progress : as for :meth:`read`.
        {keywords}

        Yields
        ------
        Slab
            Its slices and their stored values, (z, y, x).
        """
        chosen = DecodeOptions.of(options, keywords)
        yield from self._decoder.slabs(box, self._decoder.level(level, chosen), chosen, progress)

    @lists_keywords(DecodeOptions)
    def bytes_needed(
        self,
        box: BoxLike = None,
        level: int = 0,
        *,
        options: DecodeOptions | None = None,
        **keywords: Unpack[DecodeKeywords],
    ) -> int:
        """Bytes of the file that :meth:`read` takes for a box, of a file of which nothing was read yet.

        Of the bricks, tiles and masks that the box needs, and of their indexes; without the section table and
        the header, which opening reads.  Only the indexes are read to find out, and, if there is a model, the
        mask of the networks, or the streams of slices that it sees for the box.  Over a network short gaps
        between chunks are read along, up to 16 kB each.

        Parameters
        ----------
        box, level, options : as for :meth:`read`.
        {keywords}

        Examples
        --------
        >>> import numpy as np, inrcodec
        >>> noise = np.random.default_rng(0).integers(0, 4000, (16, 64, 64), np.uint16)
        >>> file = inrcodec.open(inrcodec.encode(noise, lossless=True, brick=(8, 32, 32)))
        >>> file.bytes_needed((slice(0, 8), slice(32), slice(32))) < 0.15 * file.bytes_needed()
        True
        """
        chosen = DecodeOptions.of(options, keywords)
        return self._decoder.bytes_needed(box, self._decoder.level(level, chosen), chosen)

    def __getitem__(self, index: indexing.Key) -> Array:
        """Stored values, as the same index gives of the decoded array: integers, slices and ``...``."""
        slices, dropped = indexing.parsed(index, self.shape)
        found: Array = self.read(slices).squeeze(dropped)
        return found

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> Iterator[Array]:
        """The slices, (y, x), in order."""
        for slab in self.slabs():
            yield from slab.stored

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> Array:
        """All voxels, decoded anew: raises `UsageError`, which is a `ValueError`, for ``copy=False``."""
        indexing.refuse_view(copy)
        return self.read().astype(self.dtype if dtype is None else dtype, copy=False)

    def box_mm(self, low: ArrayLike, high: ArrayLike, level: int = 0) -> Box:
        """The smallest box of a level that holds a cuboid given in millimetres.

        Parameters
        ----------
        low, high : array_like, (3,), LPS mm
            Two opposite corners.  Where the volume's axes are oblique, the box is that around all eight.
        level : int

        Returns
        -------
        Box
            Of all voxels that the cuboid meets; what reaches beyond the volume is cut off.

        Raises
        ------
        UsageError
            The cuboid lies outside the volume, or is none; the level is not there.

        Examples
        --------
        >>> import numpy as np, inrcodec
        >>> ramp = inrcodec.Volume.from_array(np.zeros((8, 16, 16), np.int16), spacing=(3, 0.5, 0.5))
        >>> file = inrcodec.open(inrcodec.encode(ramp, lossless=True))
        >>> file.box_mm((1, 2, 4), (3, 5, 8))
        Box(low=(1, 4, 2), high=(4, 11, 7))
        """
        return parts.box_mm(self._decoder.level(level), low, high)

    def lowres(
        self, box: BoxLike = None, *, threads: int | None = None, progress: Progress | None = None
    ) -> Float:
        """The low-res volume as the file holds it.

        Parameters
        ----------
        box : low-res voxels, as for :meth:`read`; only the tiles, or streams, that they cross are decoded.

        Returns
        -------
        ndarray, (z, y, x), float64, in [-1, 1]: the ends of the header's range

        Raises
        ------
        UsageError
            The file has none.
        """
        return self._decoder.lowres(box, threads=threads, progress=progress)

    def lowres_volume(self, *, threads: int | None = None, progress: Progress | None = None) -> Volume:
        """The low-res volume in the source's dtype and units, on its coarser grid, without its padding."""
        return self.volume(lowres=True, threads=threads, progress=progress)

    def preview(self) -> NDArray[np.uint8]:
        """The central low-res slice, (y, x), grey from its 1st to its 99.5th percentile.

        Of a file without a low-res volume, a slice of the refinement's coarse lattice.  Rows or columns
        repeat where one axis is coarser, so that the picture has the proportions of the volume.
        """
        return previews.preview(self._decoder)
