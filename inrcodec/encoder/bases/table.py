"""The coders of the low-res volume that the encoder knows, by the header's ``coder``."""

from __future__ import annotations

from collections.abc import Mapping

from inrcodec.encoder.bases import siren
from inrcodec.encoder.bases.coding import Base
from inrcodec.format.header import SIREN

BASES: Mapping[str, Base] = {
    SIREN: Base(siren.smallest, siren.coding, "the smallest networks"),
}
