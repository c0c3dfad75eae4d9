"""The statement about lossy compression in an output's header: a lossy image says that it is one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Detail = Literal["guessed", "interpolated", "low-res", "coarse", "refined"]

_LOWRES = "Lossy: decoded from an INRV file, which holds a low-resolution volume. "
_LATTICE = "Lossy: decoded from an INRV file, which holds every voxel as far as its quantisation goes. "
_SENTENCES: dict[Detail, str] = {
    "guessed": f"{_LOWRES}Detail finer than that volume is super-resolved: a guess learnt from other "
    "patients, not a measurement of this one.",
    "interpolated": f"{_LOWRES}That volume was interpolated (Lanczos) to the size of the original; finer "
    "detail is missing.",
    "low-res": f"{_LOWRES}This is that volume, on its coarser grid; finer detail is missing.",
    "coarse": f"{_LATTICE}Only a part of them was decoded, the others are interpolated; fine detail is "
    "missing.",
    "refined": _LATTICE,
}
_WORDS: dict[Detail, str] = {
    "guessed": "fine detail is guessed",
    "interpolated": "fine detail is missing",
    "low-res": "low-res volume",
    "coarse": "coarse preview",
    "refined": "quantised",
}


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Statement about lossy compression.

    Parameters
    ----------
    ratio : float
        Compression ratio, bytes of these voxels as the source allocates them / bytes of the file. DICOM's
        (0028,2112) is this one: the size of uncompressed pixel data by that of the compressed stream.
    method : str
        DICOM (0028,2114).
    detail : {"guessed", "interpolated", "low-res", "coarse", "refined"}
        Where detail finer than the low-res volume comes from: a super-resolution model, Lanczos, or
        nowhere, as the low-res volume itself is written; or a refinement, decoded in part or whole.
    allocated, stored : int
        Bits of a voxel in the source: that it takes, and that hold its value. Of the stored bits alone the
        ratio is smaller.
    bound : str
        Largest error of any voxel, with its unit, where a bound was promised; else "".
    """

    ratio: float
    method: str = "INRV_1"
    detail: Detail = "guessed"
    bound: str = ""
    allocated: int = 16
    stored: int = 16

    @property
    def derivation(self) -> str:
        """Sentences for DICOM (0008,2111), at most 1024 characters."""
        promise = f"No voxel differs from the original by more than {self.bound}." if self.bound else ""
        return f"{_SENTENCES[self.detail]}{promise} {self._ratios}".strip()

    @property
    def _ratios(self) -> str:
        of_stored = self.ratio * self.stored / self.allocated
        return (
            f"Compression ratio {_short(self.ratio)}:1 by the bits allocated ({self.allocated}), "
            f"{_short(of_stored)}:1 by the bits stored ({self.stored})."
        )

    @property
    def summary(self) -> str:
        """The same within the 79 characters of NIfTI's descrip."""
        detail = f"error up to {self.bound}" if self.bound else _WORDS[self.detail]
        return f"{self.method} lossy {_short(self.ratio)}:1, {detail}"


def _short(ratio: float) -> str:
    return f"{ratio:.0f}" if ratio >= 10 else f"{ratio:.2g}"
