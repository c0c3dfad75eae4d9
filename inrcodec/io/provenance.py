"""What a sink says about how the voxels came to be.

In: how a volume was compressed. Out: the statement that goes into the output's header. The one law: a lossy
image says that it is one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Detail = Literal["guessed", "interpolated", "low-res"]

_SOURCE = "Lossy: decoded from an INRV file, which holds a low-resolution volume as a neural network. "
_SENTENCES: dict[Detail, str] = {
    "guessed": "Detail finer than that volume is super-resolved: a guess learnt from other patients, not a "
    "measurement of this one.",
    "interpolated": "That volume was interpolated (Lanczos) to the size of the original; finer detail is "
    "missing.",
    "low-res": "This is that volume, on its coarser grid; finer detail is missing.",
}
_WORDS: dict[Detail, str] = {
    "guessed": "fine detail is guessed",
    "interpolated": "fine detail is missing",
    "low-res": "low-res volume",
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
    detail : {"guessed", "interpolated", "low-res"}
        Where detail finer than the low-res volume comes from: a super-resolution model, Lanczos, or
        nowhere, as the low-res volume itself is written.
    """

    ratio: float
    method: str = "INRV_1"
    detail: Detail = "guessed"

    @property
    def derivation(self) -> str:
        """Sentences for DICOM (0008,2111), at most 1024 characters."""
        return _SOURCE + _SENTENCES[self.detail]

    @property
    def summary(self) -> str:
        """The same for NIfTI's 79 characters."""
        ratio = f"{self.ratio:.0f}" if self.ratio >= 10 else f"{self.ratio:.2g}"
        return f"{self.method} lossy {ratio}:1, {_WORDS[self.detail]}"
