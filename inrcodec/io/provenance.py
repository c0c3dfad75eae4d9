"""The statement about lossy compression that goes into an output's header.

In: how a volume was compressed.  Out: sentences for DICOM and NIfTI.
Invariant: a lossy image says that it is one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Detail = Literal["guessed", "interpolated", "low-res", "coarse", "refined"]

_NETWORKS = "Lossy: decoded from an INRV file, which holds a low-resolution volume as a neural network. "
_LATTICE = "Lossy: decoded from an INRV file, which holds every voxel as far as its quantisation goes. "
_SENTENCES: dict[Detail, str] = {
    "guessed": f"{_NETWORKS}Detail finer than that volume is super-resolved: a guess learnt from other "
    "patients, not a measurement of this one.",
    "interpolated": f"{_NETWORKS}That volume was interpolated (Lanczos) to the size of the original; finer "
    "detail is missing.",
    "low-res": f"{_NETWORKS}This is that volume, on its coarser grid; finer detail is missing.",
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
        Compression ratio, bytes of these voxels / bytes of the file: DICOM (0028,2112).
    method : str
        DICOM (0028,2114).
    detail : {"guessed", "interpolated", "low-res", "coarse", "refined"}
        Where detail finer than the low-res volume comes from: a super-resolution model, Lanczos, or
        nowhere, as the low-res volume itself is written; or a refinement, decoded in part or whole.
    bound : str
        Largest error of any voxel, with its unit, where a bound was promised; else "".
    """

    ratio: float
    method: str = "INRV_1"
    detail: Detail = "guessed"
    bound: str = ""

    @property
    def derivation(self) -> str:
        """Sentences for DICOM (0008,2111), at most 1024 characters."""
        promise = f"No voxel differs from the original by more than {self.bound}." if self.bound else ""
        return f"{_SENTENCES[self.detail]}{promise}".strip()

    @property
    def summary(self) -> str:
        """The same within the 79 characters of NIfTI's descrip."""
        ratio = f"{self.ratio:.0f}" if self.ratio >= 10 else f"{self.ratio:.2g}"
        detail = f"error up to {self.bound}" if self.bound else _WORDS[self.detail]
        return f"{self.method} lossy {ratio}:1, {detail}"
