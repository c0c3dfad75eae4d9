"""What a DICOM image says of its lossy compressions: read into a volume's description, and written again.

Invariant: the statement that an image was compressed with loss is never lost.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf, isfinite
from typing import Any

from pydicom import Dataset
from pydicom.valuerep import DSfloat

from inrcodec.format.fields import LONGEST_TEXT
from inrcodec.io.dicom.terms import term, values_of
from inrcodec.io.provenance import Provenance

# Defined terms, PS3.3 C.7.6.1.1.5.1, and that of this package; what is another is said to be one.
METHODS = frozenset(
    """ISO_10918_1 ISO_14495_1 ISO_15444_1 ISO_15444_15 ISO_18181_1 ISO_13818_2 ISO_14496_10 ISO_23008_2
    INRV_1""".split()
)
UNKNOWN = "UNKNOWN"
_SEPARATOR = "\\"
_DERIVATION = 1024  # characters of a short text


def lossy_facts(header: Dataset) -> dict[str, int | float | str]:
    """Methods and ratios of earlier compressions, as texts that fit an `.inrv` header: at most the latest."""
    methods = [term(value, METHODS) or UNKNOWN for value in values_of(header, "LossyImageCompressionMethod")]
    try:
        numbers = [float(value) for value in values_of(header, "LossyImageCompressionRatio")]
    except ValueError:  # malformed, which is no reason to refuse the pixels
        numbers = []
    ratios = [f"{number:.6g}" for number in numbers if isfinite(number)]
    # A method and its ratio go together, or the two lists would no longer be of the same steps.
    for kept in range(max(len(methods), len(ratios)), 0, -1):
        texts = _SEPARATOR.join(methods[-kept:]), _SEPARATOR.join(ratios[-kept:])
        if max(map(len, texts)) <= LONGEST_TEXT:
            facts = zip(("lossy_method", "lossy_ratio"), texts, strict=True)
            return {name: text for name, text in facts if text}
    return {}


def declare_lossy(header: Dataset, description: Mapping[str, Any], provenance: Provenance | None) -> None:
    """Add the source's compressions to the header, and then our own."""
    methods = [m for m in str(description.get("lossy_method") or "").split(_SEPARATOR) if m]
    ratios = _ratios(str(description.get("lossy_ratio") or ""))
    if provenance is not None:
        methods.append(provenance.method)
        ratios.append(str(DSfloat(provenance.ratio, auto_format=True)))
        header.DerivationDescription = provenance.derivation[:_DERIVATION]
        lossy = Dataset()
        lossy.CodeValue, lossy.CodingSchemeDesignator = "113040", "DCM"
        lossy.CodeMeaning = "Lossy Compression"
        header.DerivationCodeSequence = [lossy]
    if methods or ratios:
        header.LossyImageCompression = "01"
        header.LossyImageCompressionMethod = methods
        header.LossyImageCompressionRatio = ratios


def _ratios(text: str) -> list[str]:
    """Ratios of a description; none where one of them cannot be."""
    words = [word for word in text.split(_SEPARATOR) if word]
    try:
        return words if all(0 < float(word) < inf for word in words) else []
    except ValueError:
        return []
