"""What a file gives back, found out by decoding it.

In: sections that are about to be written, or that were read, and the source where there is one.
Out: quality, digest, and which up-sampling serves this volume better.
The one law: the decoder that is measured here is the decoder that the user gets.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inrcodec.file import InrvFile
from inrcodec.format.digest import Digest
from inrcodec.format.header import Header
from inrcodec.layers.base.siren.codec import SirenTiles
from inrcodec.layers.decode_options import DecodeOptions
from inrcodec.layers.superres import registry
from inrcodec.layers.superres.conditioning import telling
from inrcodec.layers.upsample import Upsampling, padding_of
from inrcodec.progress import Progress
from inrcodec.volume import metrics
from inrcodec.volume.metrics import Errors, WindowErrors
from inrcodec.volume.volume import Volume


@dataclass
class Outcome:
    """Errors and digest of one way to bring the full resolution back."""

    errors: Errors
    windows: WindowErrors
    digest: bytes = b""


@dataclass(frozen=True)
class Reached:
    """What a set of sections gives back, against its source.

    ``outcomes`` has one entry for Lanczos and one for the header's model, if it has one; ``lowres`` is the
    PSNR of the low-res volume alone, ``lowres_windows`` its mean errors by window, ``fit`` its PSNR against
    what was fitted to, ``noise`` what the header has to tell the model of that; ``refined`` is
    the whole of a file with a refinement.
    """

    outcomes: dict[str, Outcome]
    lowres: float | None
    lowres_windows: WindowErrors
    fit: float
    noise: int = 0
    refined: Outcome | None = None

    @property
    def best(self) -> str:
        """The model with the smaller error on this volume; Lanczos where they are level."""
        return min(self.outcomes, key=lambda sr: (self.outcomes[sr].errors.mse, sr != registry.LANCZOS))

    @property
    def best_errors(self) -> Errors:
        """The errors with the better one."""
        return self.outcomes[self.best].errors


def reached(
    header: Header,
    sections: Mapping[str, bytes],
    volume: Volume,
    target: NDArray[np.float64],
    *,
    windows: Mapping[str, tuple[float, float]] | None = None,
    lowres: NDArray[np.float64] | None = None,
    aim: NDArray[np.float64] | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Reached:
    """Decode what is about to be written and measure it, with the model and without.

    On the CPU, wherever it was fitted: that is the reference decode, whose digest the file states.

    Parameters
    ----------
    volume : the source.
    target : its clean low-res volume, in [-1, 1].
    windows : ranges of stored values, by name, whose mean errors are to be told.
    lowres : taken for what the networks decode to; by default they are evaluated.
    aim : what the networks were fitted to; by default the target.
    """
    if lowres is None:
        lowres = InrvFile.from_sections(header, sections).lowres(threads=threads)
    active = SirenTiles(header, sections).active
    fitted = target if aim is None else aim
    header = telling(header, _error(lowres, fitted, active))
    upsampling = Upsampling(header, active, padding_of(header, sections))
    peak = metrics.peak_of(float(header.low), float(header.high), volume.array.dtype)
    names = list(dict.fromkeys([registry.LANCZOS, header.sr]))
    outcomes = {name: Outcome(Errors(peak), WindowErrors(windows or {})) for name in names}
    hashes = {name: Digest() for name in names}
    for slab in upsampling.slabs(lowres, DecodeOptions(threads=threads), plain=True):
        for name, stored in ((registry.LANCZOS, slab.plain), (header.sr, slab.stored))[: len(names)]:
            source = volume.array[slab.start : slab.stop]
            outcomes[name].errors.add(source, stored)
            outcomes[name].windows.add(source, stored)
            hashes[name].add(stored)
        if progress:
            progress("verify", slab.stop / header.shape[0])
    for name, outcome in outcomes.items():
        outcome.digest = hashes[name].value
    scale = (float(header.high) - float(header.low)) / 2 / (peak or 1.0)
    inside = WindowErrors(windows or {})
    for clean, decoded in zip(target, lowres, strict=True):
        inside.add(*(header.low + (unit + 1) * ((header.high - header.low) / 2) for unit in (clean, decoded)))
    psnr, fit = (_psnr(lowres, of, scale) for of in (target, fitted))
    return Reached(outcomes, psnr, inside, fit, header.sr_noise)


def _error(lowres: NDArray[np.float64], fitted: NDArray[np.float64], active: NDArray[np.bool_]) -> float:
    """Mean squared error of the active low-res voxels, in unit values."""
    squares = [
        float(np.square(a[inside] - b[inside]).sum())
        for a, b, inside in zip(lowres, fitted, active, strict=True)
    ]
    return sum(squares) / max(int(active.sum()), 1)


def _psnr(found: NDArray[np.float64], target: NDArray[np.float64], scale: float) -> float:
    """Of unit values; ``scale`` turns them into shares of the peak."""
    squares = [float(np.square((a - b) * scale).sum()) for a, b in zip(found, target, strict=True)]
    return metrics.psnr(sum(squares) / target.size)


def decoded(
    header: Header,
    sections: Mapping[str, bytes],
    volume: Volume,
    windows: Mapping[str, tuple[float, float]],
    progress: Progress | None = None,
    threads: int | None = None,
) -> Outcome:
    """The whole of a file with a refinement, against its source."""
    peak = metrics.peak_of(float(header.low), float(header.high), volume.array.dtype)
    told = None if progress is None else lambda _, done: progress("verify", done)
    found, digests = Outcome(Errors(peak), WindowErrors(windows)), Digest()
    for slab in InrvFile.from_sections(header, sections).slabs(DecodeOptions(threads=threads), progress=told):
        source = volume.array[slab.start : slab.stop]
        found.errors.add(source, slab.stored)
        found.windows.add(source, slab.stored)
        digests.add(slab.stored)
    found.digest = digests.value
    return found
