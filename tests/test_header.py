"""The header: one byte string for one header, and nothing in it that means nothing."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import msgpack
import numpy as np
import pytest
from header_cases import (
    BEYOND,
    FULL,
    FUTURE,
    HEADERS,
    NOT_CANONICAL,
    PLAIN,
    REFUSED,
    UNFIT_FOR_ANY_MINOR,
    nested,
    refined,
    refined_at,
    tree,
)

from inrcodec.errors import CorruptFile, LimitExceeded
from inrcodec.format import messagepack
from inrcodec.format.header import DTYPES, FIELDS, LANCZOS, Header
from inrcodec.format.limits import check_header

WITHOUT_MODEL = {"sr": LANCZOS, "sr_sha256": b"", "sr_noise": 0, "sr_ensemble": 1}


@pytest.mark.parametrize("name", HEADERS)
def test_every_field_comes_back(name: str) -> None:
    header = HEADERS[name]
    again = Header.from_bytes(header.to_bytes())
    for field in fields(Header):
        value, expected = getattr(again, field.name), getattr(header, field.name)
        assert np.array_equal(value, expected) and isinstance(value, type(expected))


@pytest.mark.parametrize("name", HEADERS)
def test_bytes_are_canonical(name: str) -> None:
    data = HEADERS[name].to_bytes()
    assert messagepack.dumps(msgpack.unpackb(data)) == data == Header.from_bytes(data).to_bytes()


def test_header_is_short() -> None:
    assert len(PLAIN.to_bytes()) < 150 and len(FULL.to_bytes()) < 576  # every field there is


def test_defaults_are_left_out() -> None:
    assert set(tree(PLAIN)) == {"volume", "range", "lowres", "net"}


def test_every_attribute_has_its_place() -> None:
    assert sorted(attribute for attribute, _ in FIELDS.values()) == sorted(f.name for f in fields(Header))


TYPES = {f"{kind}{bits}" for kind in ("int", "uint", "float") for bits in (8, 16, 32, 64)} - {"float8"}


def test_types_are_those_that_were_promised() -> None:
    assert set(DTYPES) == TYPES


@pytest.mark.parametrize("dtype", sorted(TYPES))
def test_every_type_is_known(dtype: str) -> None:
    header = replace(PLAIN, dtype=dtype, low=0, high=100)
    assert Header.from_bytes(header.to_bytes()).dtype == dtype


def test_numpy_scalars_are_written_as_numbers() -> None:
    header = replace(PLAIN, low=np.int16(-1024), high=np.float32(3071), width=np.int64(10), cuts=())
    assert header.to_bytes() == PLAIN.to_bytes()


def test_header_with_a_refinement_is_read() -> None:
    header = Header.from_bytes(refined(bound=0))
    assert (header.refine_axes, header.refine_steps, header.bound) == ((0, 1, 2), (1, 1, 1, 1), 0)


@pytest.mark.parametrize("case", REFUSED)
def test_header_is_refused(case: str) -> None:
    data, error = REFUSED[case]
    with pytest.raises(error):
        Header.from_bytes(data)


def test_newer_minor_version_may_have_more_fields() -> None:
    data = messagepack.dumps({**tree(), **FUTURE, "net": {**tree()["net"], "shared": 1}})
    assert Header.from_bytes(data, minor=1).cuts == FULL.cuts


@pytest.mark.parametrize("case", UNFIT_FOR_ANY_MINOR)
def test_known_part_of_a_newer_minor_version_is_canonical_too(case: str) -> None:
    with pytest.raises(CorruptFile):
        Header.from_bytes(messagepack.dumps({**tree(), **UNFIT_FOR_ANY_MINOR[case]}), minor=1)


@pytest.mark.parametrize(
    "change",
    [
        {"sr_window": (-1000.0, -999.998)},
        {"low": 5.0, "high": 5.0},
        {"rescale": (-0.5, 0.0)},
        {"omega": 1000.0},
        {"dtype": "float64", "low": -1e300, "high": 1e300, **WITHOUT_MODEL},
        {"sr_noise": 4096},
    ],
    ids=[
        "narrow window",
        "constant volume with a model",
        "falling slope",
        "largest omega",
        "huge values",
        "most noise",
    ],
)
def test_header_at_the_edge_is_read(change: dict[str, Any]) -> None:
    header = replace(FULL, **change)
    assert Header.from_bytes(header.to_bytes()).to_bytes() == header.to_bytes()


@pytest.mark.parametrize("case", NOT_CANONICAL)
def test_bytes_that_no_writer_would_choose_are_refused(case: str) -> None:
    with pytest.raises(CorruptFile):
        messagepack.loads(NOT_CANONICAL[case])


def test_nesting_up_to_the_limit_is_read() -> None:
    assert messagepack.loads(nested(8)) == [[[[[[[[]]]]]]]]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1 << 64])
def test_what_has_no_canonical_form_is_not_written(value: float) -> None:
    with pytest.raises((ValueError, OverflowError)):
        messagepack.dumps({"a": value})


@pytest.mark.parametrize("case", BEYOND)
def test_what_is_too_large_is_known_from_the_header(case: str) -> None:
    with pytest.raises(LimitExceeded, match=rf"{case} is \d") as caught:
        check_header(BEYOND[case](), padded=True)
    assert isinstance(caught.value.value, int)


def test_volume_at_the_ceiling_is_allowed() -> None:
    check_header(replace(PLAIN, shape=(1024, 1024, 1024), factor=(8, 8, 8), cell=(2, 2, 2)), padded=True)
    check_header(replace(PLAIN, shape=(2048, 2048, 2048), factor=(8, 8, 8), cell=(4, 4, 4)))
    check_header(replace(PLAIN, shape=(512, 512, 512), factor=(1, 1, 1)), masked=False)
    check_header(refined_at(1024))
    check_header(refined_at(512, dtype="float32", refine_unit=0.0))
