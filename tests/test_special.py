"""NaN and infinities: files with a promise keep them bit for bit, all others refuse them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import inrcodec
from inrcodec import Volume, api, io
from inrcodec.encoder import exact_unit
from inrcodec.encoder.facts import Facts
from inrcodec.entropy import padding as padcode
from inrcodec.errors import CorruptFile, InputError, LimitExceeded, UnsupportedFile, WriteError
from inrcodec.format import container, limits
from inrcodec.format.sections import Sections
from inrcodec.layers import special
from inrcodec.layers.special import LENGTH, Special
from inrcodec.volume.comparison import compare
from inrcodec.volume.metrics import Errors

PATTERNS = {"float16": ("u2", [0x7E00, 0xFE01, 0x7C00, 0xFC00]), "float32": ("u4", [0x7FC00000, 0xFF800001])}
PATTERNS["float32"][1].extend([0x7F800000, 0xFF800000, 0x7FA00001])
PATTERNS["float64"] = ("u8", [0x7FF8000000000000, 0xFFF0000000000001, 0x7FF0000000000000])


def some(dtype="float32", shape=(9, 20, 23), share=0.2, seed=0):
    """Whole numbers, and special values of every kind: a slab of NaN, and here and there."""
    rng = np.random.default_rng(seed)
    array = np.rint(np.cumsum(rng.normal(size=shape), 2) * 9).astype(dtype)
    bits, patterns = PATTERNS[dtype]
    array[:, : shape[1] // 4] = np.nan
    places = rng.random(shape) < share
    array.view(bits)[places] = rng.choice(np.array(patterns, bits), int(places.sum()))
    return array


def same(a, b):
    return a.dtype == b.dtype and a.tobytes() == b.tobytes()


@given(
    st.sampled_from(sorted(PATTERNS)),
    st.tuples(st.integers(1, 6), st.integers(1, 12), st.integers(1, 30)),
    st.sampled_from([0.0, 0.01, 0.5, 1.0]),
    st.booleans(),
    st.integers(0, 99),
)
@settings(max_examples=25)
def test_lossless_keeps_every_bit(dtype, shape, share, in_bricks, seed):
    array = some(dtype, shape, share, seed)
    blob = inrcodec.encode(array, lossless=True, brick=8 if in_bricks else None)
    assert same(inrcodec.decode(blob), array)


def test_the_index_of_special_values_is_read_once(monkeypatch):
    read, seen = Sections.chunks, []
    blob = inrcodec.encode(some(), lossless=True, brick=8)
    monkeypatch.setattr(Sections, "chunks", lambda self, name: (seen.append(name), read(self, name))[1])
    inrcodec.decode(blob)
    assert seen.count("SPCL") == 1


def test_corners_of_infinity_are_no_padding():
    array = np.full((4, 9, 9), -np.inf, np.float16)
    array[:, 2:7, 2:7] = 3
    assert same(inrcodec.decode(inrcodec.encode(array, lossless=True)), array)


@pytest.mark.parametrize("padding", [None, 0.0, 5.0])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_bound_keeps_what_is_not_finite(dtype, padding):
    array = some(dtype)
    finite = np.isfinite(array)
    blob = inrcodec.encode(Volume(array, np.eye(4), padding=padding), max_error=3)
    decoded, bits = inrcodec.decode(blob), PATTERNS[dtype][0]
    assert np.abs(decoded[finite] - array[finite]).max() <= 3 and api.info(blob)["quality"]["bound"] == 3
    assert np.array_equal(decoded.view(bits)[~finite], array.view(bits)[~finite])
    assert api.verify(blob)["ok"]


@pytest.mark.parametrize("brick", [None, 8, (8, 8, 16)])
def test_a_box_and_a_level_hold_their_part(brick):
    array = some(share=0.05)
    with inrcodec.open(inrcodec.encode(array, lossless=True, brick=brick)) as file:
        assert same(file.read(), array)
        for box in (
            (slice(2, 7), slice(3, 18), slice(5, 20)),
            (slice(1, 9, 3), slice(0, 20, 2), slice(4, 5)),
        ):
            assert same(file.read(box), np.ascontiguousarray(array[box]))
        level = file.levels[1]
        z, y, x = level.factor
        assert same(file.read(level=1), np.ascontiguousarray(array[::z, ::y, ::x]))


def test_nothing_but_nan():
    array = np.full((3, 4, 5), np.nan, np.float32)
    assert same(inrcodec.decode(inrcodec.encode(array, lossless=True)), array)


def test_where_all_is_finite_there_is_no_section():
    array = np.nan_to_num(some(), posinf=1, neginf=2) + 0.0  # no -0
    assert {"SPCL", "SIDX"}.isdisjoint(container.read(inrcodec.encode(array, lossless=True))[1])
    assert {"SPCL"} <= set(container.read(inrcodec.encode(some(), max_error=1))[1])


@pytest.mark.parametrize("options", [{}, {"size": 9000}, {"psnr": 40.0}, {"lossless": True, "base": "siren"}])
def test_all_that_looks_between_voxels_refuses_them(options):
    array = some(share=0)
    with pytest.raises(InputError, match=r"NaN or infinite values of 4140: lossless and max_error keep"):
        inrcodec.encode(array, **options)


def test_errors_count_what_is_no_number_where_only_one_side_is():
    nan, inf = np.nan, np.inf
    found = Errors(1.0)
    found.add(np.array([nan, inf, -inf, 1.0]), np.array([nan, inf, -inf, 1.5]))
    assert (found.largest, found.count) == (0.5, 4)
    for before, after in ((nan, 1.0), (1.0, nan), (inf, -inf), (inf, 1.0)):
        found = Errors(1.0)
        found.add(np.array([before]), np.array([after]))
        assert found.largest == inf


def test_a_comparison_leaves_out_what_is_alike_and_refuses_what_is_not():
    array = some("float64")
    volume = Volume(array, np.eye(4))
    shifted, inside = array.copy(), np.isfinite(array)
    shifted[inside] += 1
    found, finite = compare(volume, Volume(shifted, np.eye(4))), inside.mean()
    assert (found.max_error, found.equal) == (1, pytest.approx(1 - finite))
    assert (found.bias, sum(found.counts)) == (pytest.approx(finite), array.size)
    with pytest.raises(InputError, match="not those of the other"):
        compare(volume, Volume(np.nan_to_num(array), np.eye(4)))


def test_dicom_has_no_nan(tmp_path):
    with pytest.raises(WriteError, match="NaN and infinities"):
        io.write(Volume(some(), np.eye(4), modality="CT"), tmp_path / "series")


# --- units


@pytest.mark.parametrize("unit", [1.0, 0.5, 0.3, 2.0**-30])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_multiples_of_a_unit_are_counted_by_it(dtype, unit):
    whole = np.random.default_rng(0).integers(0, 99, (5, 40, 41))
    array = (whole * unit - 7 * unit).astype(dtype)
    facts = Facts.of(Volume(array, np.eye(4)))
    found = exact_unit.exact_unit(facts.volume, facts.span)
    assert found == pytest.approx(unit) or (dtype, unit) == ("float32", 0.3)
    if found:
        assert same(inrcodec.decode(inrcodec.encode(array, lossless=True)), array)


def test_a_unit_that_one_voxel_does_not_keep_is_not_taken():
    array = np.random.default_rng(0).integers(0, 99, (5, 40, 41)).astype(np.float32)
    array[4, 39, 40] += 0.25
    facts = Facts.of(Volume(array, np.eye(4)))
    assert exact_unit.exact_unit(facts.volume, facts.span) == 0
    assert same(inrcodec.decode(inrcodec.encode(array, lossless=True)), array)


# --- hostile chunks

SHAPE = (2, 3, 4)


def chunk(array=None):
    array = some(shape=SHAPE) if array is None else array
    return special.encode(array, ~np.isfinite(array))


def test_a_chunk_comes_back():
    array = some(shape=SHAPE)
    found, held = Special.decoded(chunk(array), SHAPE, array.dtype), np.nan_to_num(array)
    found.restore(held)
    inside = ~np.isfinite(array)
    assert inside.any() and np.array_equal(held.view("u4")[inside], array.view("u4")[inside])


MASK = padcode.encode_bits(np.zeros(SHAPE, np.bool_))
DAMAGED = {
    "nothing": (b"", CorruptFile),
    "no length": (b"\1\0\0", CorruptFile),
    "a mask beyond the end": (LENGTH.pack(2**32 - 1) + chunk()[4:], CorruptFile),
    "no mask": (LENGTH.pack(0) + chunk()[4:], CorruptFile),
    "an unknown mask": (LENGTH.pack(1) + b"\7", UnsupportedFile),
    "a mask without voxels": (
        LENGTH.pack(len(MASK)) + MASK + bytes.fromhex("28b52ffd2000010000"),
        CorruptFile,
    ),
    "fewer values": (chunk()[:-3], CorruptFile),
    "more behind": (chunk() + b"\0", CorruptFile),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_a_damaged_chunk_is_refused(case):
    data, error = DAMAGED[case]
    with pytest.raises(error):
        Special.decoded(data, SHAPE, np.dtype("float32"))


def test_values_beyond_a_section_are_refused_before_they_are_read(monkeypatch):
    monkeypatch.setattr(limits, "SECTION", 3)
    with pytest.raises(LimitExceeded, match="special values"):
        Special.decoded(chunk(), SHAPE, np.dtype("float32"))


@pytest.mark.parametrize("change", ["integers", "no index", "another index", "empty"])
def test_sections_that_do_not_fit_are_refused(change):
    array = some()
    head, sections = container.read(inrcodec.encode(array, lossless=True, brick=8))
    bodies = {name: sections[name] for name in sections}
    if change == "integers":
        other = inrcodec.encode(np.zeros(array.shape, np.int16), lossless=True, brick=8)
        bodies["HEAD"] = container.read(other)[1]["HEAD"]
    elif change == "no index":
        del bodies["SIDX"]
    elif change == "another index":
        bodies["SIDX"] = bodies["SIDX"][:-8]
    else:
        head, sections = container.read(inrcodec.encode(array, lossless=True))
        bodies = {name: sections[name] for name in sections} | {"SPCL": b""}
    packed = container.pack([(name, bodies[name]) for name in container.KNOWN if name in bodies])
    with pytest.raises(CorruptFile):
        inrcodec.decode(packed)
    assert isinstance(sections, Sections) and head.shape == array.shape
