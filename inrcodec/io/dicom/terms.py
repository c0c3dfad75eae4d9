"""Values of elements, and words that the standard defines.

In: what a header holds.  Out: values; terms that are not free, as a free text might name the patient.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from pydicom import Dataset
from pydicom.multival import MultiValue

_LONGEST_CODE = 16  # characters of a code string


def values_of(header: Dataset, word: str) -> list[Any]:
    """Values of an element that may be absent, empty, single or multiple."""
    value = header.get(word)
    if value in (None, ""):
        return []
    return list(value) if isinstance(value, MultiValue) else [value]


def term(value: object, known: Collection[str]) -> str:
    """A defined term of the standard; "" for anything else, as a free text might name the patient."""
    found = code(value)
    return found if found in known else ""


def code(value: object) -> str:
    """A code string as the standard defines it, short and printable ASCII, whatever a file holds."""
    return "".join(c for c in str(value) if c.isascii() and c.isprintable())[:_LONGEST_CODE]
