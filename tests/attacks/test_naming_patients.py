"""No patient data: of 12 000 fields of a series none reaches an output, a message, a log or an answer."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from canaries import MARK, Canaries, Search, found_in, search, write_series


@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_no_field_of_a_series_is_told(modality: str, tmp_path: Path) -> None:
    canaries, searched = Canaries(), Search()
    write_series(tmp_path / "in" / "series", canaries, modality)
    stored = b"".join(path.read_bytes() for path in (tmp_path / "in" / "series").iterdir())
    assert len(found_in(stored)) > 5000
    search(tmp_path / "in" / "series", tmp_path / "work", searched, wide=modality == "MR")
    assert searched.hits == [] and searched.places > 20


def test_a_canary_is_found_in_whatever_form() -> None:
    text = f"say {MARK}000001".encode()
    for data in (text, gzip.compress(text), text.decode().encode("utf-16-le"), text.lower()):
        assert found_in(data)
    assert not found_in(b"nobody")
