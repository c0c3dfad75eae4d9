"""What a sink says about how the voxels came to be.

In: how a volume was compressed. Out: the statement that goes into the output's header. The one law: a lossy
image says that it is one.
"""

from __future__ import annotations

from dataclasses import dataclass

DERIVATION = (
    "Lossy: decoded from an INRV file, which holds a low-resolution volume as a neural network. Detail "
    "finer than that volume is super-resolved: a guess learnt from other patients, not a measurement of "
    "this one."
)


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Statement about lossy compression.

    Parameters
    ----------
    ratio : float
        Compression ratio, bytes before / bytes after: DICOM (0028,2112).
    method : str
        DICOM (0028,2114).
    derivation : str
        Sentence for DICOM (0008,2111), at most 1024 characters.
    """

    ratio: float
    method: str = "INRV_1"
    derivation: str = DERIVATION
